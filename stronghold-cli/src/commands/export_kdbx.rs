//! `export --format kdbx`: writes records as the logins of a KeePass database, by the inverse of
//! the import's mapping: `CLIENT/group/title/field`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use keepass::config::{DatabaseConfig, KdfConfig};
use keepass::db::{Entry, EntryMut, GroupId, History, Times, Value};
use keepass::{Database, DatabaseKey};
use serde_json::json;
use stronghold_sync::{Location, Selection, Timestamp, escape_untrusted};
use stronghold_vault::{ReadError, Stronghold};
use zeroize::Zeroizing;

use super::get::write_new;
use super::import::FIELDS;
use crate::context::Context;
use crate::error::{About, Failure, Kind, path_text, shown};
use crate::output::counted;

/// Cost of the key: Argon2id with 64 MiB and 10 passes.
const MEMORY: u64 = 64 << 20;
const PASSES: u64 = 10;
const LANES: u32 = 2;
/// Maximum length of a text that becomes a field, in bytes. What is longer becomes an attachment.
const MAX_TEXT: usize = 32 << 10;
/// Names that KeePass keeps for itself.
const TITLE: &str = "Title";
/// Field of an entry whose record has a title only.
const OWN: &str = "password";

/// A value with its time of writing.
type Version = (Timestamp, Zeroizing<Vec<u8>>);

/// The records of one title.
#[derive(Default)]
struct Login {
    /// Values of each field, oldest first; the last is the current one.
    fields: BTreeMap<String, Vec<Version>>,
}

/// The logins to write, and what becomes of records that are none.
#[derive(Default)]
struct Plan {
    /// Logins by client, groups and title. The last part tells a title's own value from its fields.
    logins: BTreeMap<(String, String, String, bool), Login>,
    records: u64,
    conflicts: u64,
    /// Records that have a title only, with the names by which an import would take them.
    renamed: Vec<(Location, Location)>,
    left_out: Vec<(Location, &'static str)>,
    /// Number of former values that a database can't hold.
    former_left_out: usize,
}

/// Writes the records of a selection to a new KeePass database that only this user can read.
pub(super) fn export(
    context: &Context,
    stronghold: &Stronghold,
    selection: &Selection,
    output: &Path,
    passphrase: &[u8],
) -> Result<(), Failure> {
    let mut plan = Plan::default();
    for listed in stronghold.list(selection) {
        plan.add(stronghold, listed?.location)?;
    }
    let passphrase = std::str::from_utf8(passphrase).map_err(|_| {
        Failure::usage(
            "the passphrase is not UTF-8; nothing was written",
            "KeePass takes only text: choose another",
        )
    })?;
    let bytes = {
        let _waiting = context.waiting(format!("writing {}", shown(output)));
        let database = plan.database();
        let mut bytes = Vec::new();
        database.save(&mut bytes, DatabaseKey::new().with_password(passphrase)).map_err(|error| {
            Failure::new(
                Kind::Unexpected,
                format!("the database could not be made: {error}; nothing was written"),
            )
        })?;
        bytes
    };
    write_new(output, &bytes)?;
    plan.report(context, output)
}

impl Plan {
    /// Adds a record with its history.
    fn add(&mut self, stronghold: &Stronghold, at: Location) -> Result<(), Failure> {
        let read = stronghold.read(&at).about(&at)?;
        if [at.client(), at.vault(), at.record()].iter().any(|name| name.contains(is_forbidden)) {
            self.left_out.push((at, "KeePass can't hold a character of its name"));
            return Ok(());
        }
        self.records += 1;
        self.conflicts += u64::from(read.conflict);
        let mut versions: Vec<Version> = Vec::new();
        for version in stronghold.history(&at).about(&at)?.iter().rev() {
            if version.deleted || version.revision == read.id {
                continue;
            }
            match stronghold.read_revision(&at, &version.revision) {
                Ok(revision) => versions.push((version.time, revision.value)),
                Err(ReadError::Damaged(error)) => return Err(error.into()),
                // Its value was removed by `purge`.
                Err(_) => {}
            }
        }
        versions.push((read.modified, read.revision.value));
        let (path, field) = match at.record().rsplit_once('/') {
            Some((path, field)) => (path, Some(field)),
            None => (at.record(), None),
        };
        let (groups, title) = path.rsplit_once('/').map_or(("", path), |(groups, title)| (groups, title));
        let groups = match (at.vault(), groups) {
            ("default", "") => String::new(),
            (vault, "") => vault.to_owned(),
            (vault, groups) => format!("{vault}/{groups}"),
        };
        let key = (at.client().to_owned(), groups, title.to_owned(), field.is_none());
        self.logins.entry(key).or_default().fields.insert(field.unwrap_or(OWN).to_owned(), versions);
        if field.is_none()
            && let Ok(to) = Location::new(at.client(), at.vault(), format!("{}/{OWN}", at.record()))
        {
            self.renamed.push((at, to));
        }
        Ok(())
    }

    /// Returns the database. Where there are several clients, each is a group.
    fn database(&mut self) -> Database {
        let mut config = DatabaseConfig::default();
        if let KdfConfig::Argon2 { version, .. } = config.kdf_config {
            config.kdf_config =
                KdfConfig::Argon2id { iterations: PASSES, memory: MEMORY, parallelism: LANES, version };
        }
        let mut database = Database::with_config(config);
        let mut made: BTreeMap<String, GroupId> = BTreeMap::new();
        let is_one = self.is_one_client();
        for ((client, groups, title, _), login) in &self.logins {
            let clients = (!is_one).then_some(client.as_str());
            let path = clients.into_iter().chain(groups.split('/').filter(|name| !name.is_empty()));
            let group = group_of(&mut database, &mut made, path);
            if let Some(mut group) = database.group_mut(group) {
                self.former_left_out += login.write(&mut group.add_entry(), title);
            }
        }
        database
    }

    fn is_one_client(&self) -> bool {
        let mut clients = self.logins.keys().map(|(client, ..)| client);
        let first = clients.next();
        clients.all(|client| Some(client) == first)
    }

    fn report(&self, context: &Context, output: &Path) -> Result<(), Failure> {
        let Self { records, conflicts, renamed, left_out, logins, former_left_out } = self;
        let object = json!({
            "exported": records,
            "entries": logins.len(),
            "file": path_text(output),
            "conflicts": conflicts,
            "former_left_out": former_left_out,
            "renamed": renamed.iter().map(|(from, to)| json!({ "from": from.to_string(), "to": to.to_string() })).collect::<Vec<_>>(),
            "left_out": left_out.iter().map(|(at, why)| json!({ "location": at.to_string(), "why": why })).collect::<Vec<_>>(),
        });
        context.output.result(&object, || {
            let name = |at: &Location| escape_untrusted(&at.to_string());
            let (count, entries) = (counted(*records, "record"), counted(logins.len() as u64, "entry"));
            let first = format!("exported {count} to {}, a KeePass database of {entries}", shown(output));
            let renamed = renamed
                .iter()
                .map(|(from, to)| format!("renamed: {}: it would come back as {}", name(from), name(to)));
            let left_out = left_out.iter().map(|(at, why)| format!("left out: {}: {why}", name(at)));
            let named = context.output.first_of(renamed).chain(context.output.first_of(left_out));
            let former = match former_left_out {
                0 => None,
                1 => Some("left out: 1 former value of an attachment".into()),
                count => Some(format!("left out: {count} former values of attachments")),
            };
            std::iter::once(first).chain(named).chain(former).collect()
        })?;
        if *conflicts > 0 {
            let count = counted(*conflicts, "record");
            let message = format!(
                "warning: {count} in conflict: the newest value of each is current, the others are in its history"
            );
            context.output.warning(&message);
        }
        match left_out.len() as u64 {
            0 => Ok(()),
            count => Err(Failure::new(
                Kind::LeftOut,
                format!("{} left out; the others are in the file", counted(count, "record")),
            )
            .hint("`export --plaintext json` has all of them")),
        }
    }
}

impl Login {
    /// Writes an entry with its former states. Returns the number of former values that it can't
    /// hold.
    fn write(&self, entry: &mut EntryMut<'_>, title: &str) -> usize {
        entry.set_unprotected(TITLE, title);
        let (mut lost, mut states) = (0, BTreeMap::<Timestamp, Vec<(&str, &str)>>::new());
        for (field, versions) in &self.fields {
            let Some((_, current)) = versions.last() else { continue };
            let Some(key) = key(field).filter(|_| text(current).is_some()) else {
                // The database has the current value of an attachment only.
                entry.add_attachment(field, Value::protected(current.to_vec()));
                lost += versions.len() - 1;
                continue;
            };
            for (time, value) in told_apart(versions) {
                match text(value) {
                    Some(text) => states.entry(time).or_default().push((key, text)),
                    None => lost += 1,
                }
            }
        }
        let (mut former, mut last) = (Vec::new(), None);
        for (time, values) in states {
            former.extend(last.replace(()).map(|()| Entry::clone(entry)));
            for (key, text) in values {
                entry.fields.insert(key.to_owned(), value(key, text));
            }
            entry.times.last_modification = Some(Times::epoch() + Duration::from_millis(time.as_millis()));
            if former.is_empty() {
                entry.times.creation = entry.times.last_modification;
            }
        }
        let mut history = History::default();
        // Each goes before those that are there; the oldest is to be the first.
        former.into_iter().rev().for_each(|state| history.add_entry(state));
        entry.history = Some(history);
        lost
    }
}

/// Returns the versions of a value, each a second or more before the next: a database counts in
/// seconds, and an import writes all versions at once.
fn told_apart(versions: &[Version]) -> impl Iterator<Item = (Timestamp, &Zeroizing<Vec<u8>>)> {
    let mut times: Vec<Timestamp> = versions.iter().map(|(time, _)| *time).collect();
    for index in (1..times.len()).rev() {
        times[index - 1] = times[index - 1].min(times[index].saturating_sub(Duration::from_secs(1)));
    }
    times.into_iter().zip(versions.iter().map(|(_, value)| value))
}

/// Returns the name that a field has in KeePass, or `None` if KeePass has another use for it.
fn key(field: &str) -> Option<&str> {
    let standard = FIELDS.iter().find(|(_, name)| *name == field).map(|(key, _)| *key);
    let is_kept = field == TITLE || FIELDS.iter().any(|(key, _)| *key == field);
    standard.or((!is_kept && !field.is_empty()).then_some(field))
}

/// Returns the text of a field, or `None` for what becomes an attachment.
fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_TEXT && !text.contains('\0'))
}

/// Returns a value as KeePass shows it: open where it is no secret. A protected one keeps each
/// character, the others only those of XML.
fn value(key: &str, text: &str) -> Value<String> {
    let is_plain = !text.contains(|letter| letter != '\n' && is_forbidden(letter)) && text.trim() == text;
    match ["UserName", "URL", "Notes"].contains(&key) && is_plain {
        true => Value::unprotected(text),
        false => Value::protected(text),
    }
}

/// Returns whether XML can't hold a character as it is.
fn is_forbidden(letter: char) -> bool {
    letter.is_control() || ['\u{fffe}', '\u{ffff}'].contains(&letter)
}

/// Returns the group at a path, with all above it made where they are not there.
fn group_of<'a>(
    database: &mut Database,
    made: &mut BTreeMap<String, GroupId>,
    path: impl Iterator<Item = &'a str>,
) -> GroupId {
    let (mut id, mut name) = (database.root().id(), String::new());
    for part in path {
        name = format!("{name}/{part}");
        id = match made.get(&name) {
            Some(id) => *id,
            None => {
                let Some(mut above) = database.group_mut(id) else { return id };
                let mut group = above.add_group();
                part.clone_into(&mut group.name);
                let id = group.id();
                made.insert(name.clone(), id);
                id
            }
        };
    }
    id
}
