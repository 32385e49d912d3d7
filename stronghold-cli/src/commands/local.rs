//! Creates a snapshot, and reads and writes its records.

use std::io::IsTerminal;

use serde_json::json;
use stronghold_net::now;
use stronghold_sync::{DeviceId, Location, Selection, escape_untrusted, hex, message::Listing};
use stronghold_vault::{Labels, ReadError, RevisionInfo, Stronghold};

use super::{
    Context, changes, host_name, is_taken, location, peers::check_own_name, revision, selection, time,
};
use crate::{
    args::PutArgs,
    error::{About, DECISION, Failure, path_text, shown},
    lookalike, secrets,
};

pub(super) fn init(context: &Context, name: Option<String>) -> Result<(), Failure> {
    if let Some(name) = &name {
        check_own_name(context, name)?;
    }
    let path = context.path()?;
    if is_taken(&path)? {
        return Err(Failure::exists(&path));
    }
    let secret = secrets::of_new_snapshot(&context.global)?;
    context.make_default_folder(&path)?;
    let home = context.create(&path, &secret, new_stronghold(&name.unwrap_or_else(host_name))?)?;
    let device = home.stronghold().identity().device();
    let object = json!({
        "snapshot": path_text(home.file().path()), "device": device.to_string(), "name": home.stronghold().name(),
    });
    context.output.result(&object, || vec![format!("created {}", shown(home.file().path()))])
}

/// Creates an empty Stronghold.
pub(super) fn new_stronghold(name: &str) -> Result<Stronghold, Failure> {
    Ok(Stronghold::new(name).map_err(stronghold_vault::WriteError::from)?)
}

pub(super) fn put(context: &Context, args: &PutArgs) -> Result<(), Failure> {
    let (record, length) = args
        .record_and_length()
        .map_err(|wrong| Failure::usage(wrong, "for example: put wallet/web/mail --generate 24"))?;
    let location = location(record)?;
    let mut home = context.open()?;
    if !args.allow_lookalike {
        no_lookalike(home.stronghold(), &location)?;
    }
    let value = match length {
        Some(len) => secrets::generate(len)?,
        None => secrets::value(args.file.as_deref())?,
    };
    // `echo` without text writes a lone line end.
    if [&b""[..], b"\n", b"\r\n"].contains(&&**value) && !args.allow_empty {
        not_empty(context, &location, args.file.is_none() && std::io::stdin().is_terminal())?;
    }
    let revision =
        home.update(|stronghold| stronghold.write(&location, &value, Labels::new(), now()).about(&location))?;
    let object = json!({
        "location": location.to_string(), "revision": revision.to_string(), "size": value.len(),
    });
    context.output.result(&object, Vec::new)
}

/// Refuses a new record whose name looks like an existing one.
fn no_lookalike(stronghold: &Stronghold, location: &Location) -> Result<(), Failure> {
    if !matches!(stronghold.read(location), Err(ReadError::NotFound)) {
        return Ok(());
    }
    let there = stronghold.list(&Selection::everything())?;
    let Some(twin) = lookalike::of(location, there.iter().map(|entry| &entry.location)) else {
        return Ok(());
    };
    let (new, twin) = (lookalike::told(location), lookalike::told(twin));
    let message = format!("{new} looks like a name in {twin}, which is there; nothing was changed");
    Err(Failure::new("lookalike", DECISION, message)
        .hint("write to that name; if the new one is meant to look alike, say --allow-lookalike"))
}

/// Refuses an empty value, which a failed producer pipes too; asks if it was typed.
fn not_empty(context: &Context, location: &Location, typed: bool) -> Result<(), Failure> {
    let at = escape_untrusted(&location.to_string());
    if typed {
        return context.confirm(&format!("The value is empty. Write nothing to {at}?"));
    }
    Err(Failure::new("empty", DECISION, format!("the value for {at} is empty; nothing was changed"))
        .hint("did the command that makes it fail? If it is meant to be empty, say --allow-empty"))
}

pub(super) fn get(
    context: &Context,
    at: &str,
    of: Option<&str>,
    strict: bool,
    raw: bool,
) -> Result<(), Failure> {
    let location = location(at)?;
    let home = context.open()?;
    let (id, read, modified, in_conflict) = match of {
        Some(text) => {
            let id = revision(&home, &location, text)?;
            let read = home.stronghold().read_revision(&location, &id).about(&location)?;
            if read.deleted {
                return Err(ReadError::NotFound).about(&location);
            }
            let history = home.stronghold().history(&location)?;
            let shown = history.iter().find(|version| version.revision == id);
            let modified = shown.map_or(read.time, |version| version.time);
            (id, read, modified, home.stronghold().is_conflict(&location.id())?)
        }
        None => {
            let reading = home.stronghold().read(&location).about(&location)?;
            if reading.conflict {
                conflict(context, at, strict)?;
            }
            (reading.id, reading.revision, reading.modified, reading.conflict)
        }
    };
    if !context.output.is_json() {
        return context.output.value(&read.value, raw);
    }
    let text = std::str::from_utf8(&read.value).ok();
    let value = text.map_or_else(|| ("value_hex", hex::text(&read.value)), |text| ("value", text.to_owned()));
    let object = json!({
        "location": location.to_string(), "revision": id.to_string(), "modified": modified,
        "conflict": in_conflict, value.0: value.1,
    });
    context.output.result(&object, Vec::new)
}

fn conflict(context: &Context, at: &str, strict: bool) -> Result<(), Failure> {
    let hint = format!(
        "see `stronghold history '{0}'`, then `stronghold resolve '{0}' --keep REVISION`",
        escape_untrusted(at)
    );
    if strict {
        let message = format!("{} is in conflict; nothing was printed", escape_untrusted(at));
        return Err(Failure::new("conflict", DECISION, message).hint(hint));
    }
    context
        .output
        .warning(&format!("warning: {} is in conflict; this is its latest value", escape_untrusted(at)));
    context.output.warning(&format!("hint: {hint}"));
    Ok(())
}

pub(super) fn list(context: &Context, of: Option<&str>, shared_with: Option<&str>) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = context.open()?;
    let stronghold = home.stronghold();
    let listed = match shared_with {
        Some(peer) => stronghold
            .disclosed_to(&stronghold.peers().find_including_revoked(peer).about(&peer)?, &selection)?,
        None => stronghold.list(&selection)?,
    };
    print_listing(context, &listed)
}

/// Prints records of this device, or those that a peer lists.
pub(super) fn print_listing(context: &Context, listed: &[Listing]) -> Result<(), Failure> {
    let alike = lookalike::among(listed.iter().map(|entry| &entry.location));
    let entry = |entry: &Listing| {
        json!({
            "location": entry.location.to_string(),
            "size": entry.size,
            "modified": entry.modified,
            "revision": entry.revision.to_string(),
            "conflict": entry.conflict,
            "lookalike": alike.contains(&entry.location),
        })
    };
    let line = |entry: &Listing| {
        let conflict = if entry.conflict { "  (conflict)" } else { "" };
        let name = entry.location.to_string();
        let alike = match alike.contains(&entry.location) {
            true => format!("  (looks like another: \"{}\")", lookalike::spelled(&name)),
            false => String::new(),
        };
        format!("{}  {:>8}  {}{conflict}{alike}", time(entry.modified), entry.size, escape_untrusted(&name))
    };
    let entries: Vec<_> = listed.iter().map(entry).collect();
    context.output.result(&json!({ "entries": entries }), || listed.iter().map(line).collect())
}

pub(super) fn remove(context: &Context, at: &str, dry_run: bool) -> Result<(), Failure> {
    let location = location(at)?;
    let mut home = context.open()?;
    let (revision, changes) =
        changes::told(&mut home, dry_run, |stronghold| stronghold.remove(&location, now()).about(&location))?;
    if dry_run {
        let object = json!({ "location": location.to_string(), "records": changes.object() });
        return context.output.result(&object, || {
            std::iter::once("would remove:".to_owned()).chain(changes.lines()).collect()
        });
    }
    let object = json!({ "location": location.to_string(), "revision": revision.to_string() });
    context.output.result(&object, Vec::new)
}

pub(super) fn history(context: &Context, at: &str) -> Result<(), Failure> {
    let location = location(at)?;
    let home = context.open()?;
    let history = home.stronghold().history(&location).about(&location)?;
    let names = |device: &DeviceId| device_name(home.stronghold(), device);
    let versions: Vec<_> = history.iter().map(|one| version(one, &names)).collect();
    let object = json!({ "location": location.to_string(), "revisions": versions });
    context.output.result(&object, || history.iter().map(|one| version_line(one, "", &names)).collect())
}

pub(super) fn conflicts(context: &Context, of: Option<&str>) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = context.open()?;
    let found = home.stronghold().conflicts(&selection)?;
    let names = |device: &DeviceId| device_name(home.stronghold(), device);
    let conflicts: Vec<_> = found
        .iter()
        .map(|(location, heads)| {
            let heads: Vec<_> = heads.iter().map(|one| version(one, &names)).collect();
            json!({ "location": location.to_string(), "heads": heads })
        })
        .collect();
    context.output.result(&json!({ "conflicts": conflicts }), || {
        let lines = found.iter().flat_map(|(location, heads)| {
            let title = escape_untrusted(&location.to_string());
            std::iter::once(title).chain(heads.iter().map(|one| version_line(one, "  ", &names)))
        });
        lines.collect()
    })
}

/// Returns a device's name: this device's own, else the name given to it here, else its
/// fingerprint.
fn device_name(stronghold: &Stronghold, device: &DeviceId) -> String {
    if *device == stronghold.identity().device() {
        return stronghold.name().to_owned();
    }
    stronghold.peers().name_of(device)
}

fn version(version: &RevisionInfo, names: &dyn Fn(&DeviceId) -> String) -> serde_json::Value {
    json!({
        "revision": version.revision.to_string(),
        "modified": version.time,
        "size": version.size,
        "deleted": version.deleted,
        "head": version.head,
        "author": version.author.as_ref().map(names),
        "via": version.via.as_ref().map(names),
    })
}

fn version_line(version: &RevisionInfo, indent: &str, names: &dyn Fn(&DeviceId) -> String) -> String {
    let what = match (version.head, version.deleted) {
        (true, true) => "  head, deleted",
        (true, false) => "  head",
        (false, true) => "  deleted",
        (false, false) => "",
    };
    let by = version
        .author
        .as_ref()
        .map_or_else(String::new, |author| format!("  by {}", escape_untrusted(&names(author))));
    format!("{indent}{}  {}  {:>8}{by}{what}", version.revision, time(version.time), version.size)
}
