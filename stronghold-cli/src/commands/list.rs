//! `list`: prints the records, as a table or a tree.

mod tree;

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use stronghold_sync::{Location, Mapping, RevisionId, Scope, Selection, Timestamp, escape_untrusted, hex};
use stronghold_vault::{Damaged, RecordInfo, RevisionInfo, Stronghold};

use super::history::{short_id, writer};
use crate::context::Context;
use crate::{
    clock, columns,
    error::{About, Failure},
    lookalike::{Twins, spelled},
    names,
};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Glob on locations, such as 'wallet/**', or the beginning of names, such as wallet/web.
    selection: Option<String>,
    /// List only records whose current value PEER has received from here; PEER may be revoked.
    #[arg(long, value_name = "PEER")]
    shared_with: Option<String>,
    /// Also show revision and writer of each value.
    #[arg(short, long, conflicts_with = "tree")]
    long: bool,
    /// Print names only, as a tree.
    #[arg(short, long)]
    tree: bool,
    /// List deleted records, with the time of deletion; `restore` brings them back.
    #[arg(long, conflicts_with_all = ["shared_with", "long"])]
    deleted: bool,
    /// Sort by name, by time or by size; the newest and the largest come first.
    #[arg(long, value_name = "BY", default_value = "name")]
    sort: Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Name,
    Time,
    Size,
}

/// A record as it is printed. The fields are in the order of JSON's keys.
#[derive(Serialize)]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    conflict: bool,
    location: String,
    lookalike: bool,
    modified: Timestamp,
    #[serde(serialize_with = "as_text")]
    revision: RevisionId,
    size: u64,
}

pub(super) fn list(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let selection = names::selection_of(args.selection.as_deref())?;
    let home = context.open()?;
    let stronghold = home.stronghold();
    let (mut records, is_all): (Vec<RecordInfo>, bool) = match &args.shared_with {
        _ if args.deleted => (deleted(stronghold, &selection)?, false),
        Some(peer) => {
            let device = stronghold.peers().find_including_revoked(peer).about(peer)?;
            (stronghold.disclosed_to(&device, &selection).collect::<Result<_, _>>()?, false)
        }
        None if !args.tree && !args.long && args.sort == Sort::Name => {
            print_held(context, stronghold, &selection, |_| true)?;
            return tell_if_none(
                context,
                stronghold,
                args,
                stronghold.locations(&selection).next().is_none(),
            );
        }
        None => (stronghold.list(&selection).collect::<Result<_, _>>()?, true),
    };
    match args.sort {
        Sort::Name => {}
        Sort::Time => records.sort_by_key(|record| std::cmp::Reverse(record.modified)),
        Sort::Size => records.sort_by_key(|record| std::cmp::Reverse(record.size)),
    }
    if args.tree && !context.output.is_json() {
        let named = records.iter().map(|record| (record.location.to_string(), record.conflict));
        context.output.result(&serde_json::Value::Null, || tree::lines(named))?;
    } else {
        let locations = || records.iter().map(|record| record.location.clone());
        let author = args.long.then_some(stronghold);
        print(context, locations, records.iter().cloned().map(Ok), author)?;
    }
    if args.deleted && records.is_empty() {
        context.output.nothing("no deleted records");
    }
    if is_all { tell_if_none(context, stronghold, args, records.is_empty()) } else { Ok(()) }
}

/// Tells a person how to find records if there is none of that name.
fn tell_if_none(
    context: &Context,
    stronghold: &Stronghold,
    args: &ListArgs,
    is_none: bool,
) -> Result<(), Failure> {
    if !is_none || context.output.is_json() {
        return Ok(());
    }
    let everything = Selection::everything();
    let hint = match &args.selection {
        None => "there are no records yet: `stronghold put CLIENT/VAULT/RECORD` writes one".into(),
        Some(text) => {
            let shown = escape_untrusted(text);
            let word = text.trim_matches(['*', '/', '?']).to_lowercase();
            let contains = |at: &Location| at.to_string().to_lowercase().contains(&word);
            match stronghold.locations(&everything).filter(contains).count() {
                0 => format!("nothing matches {shown}"),
                _ if word.is_empty() => format!("nothing matches {shown}"),
                found => format!(
                    "nothing matches {shown}; `stronghold find '{}'` lists {found}",
                    escape_untrusted(&word)
                ),
            }
        }
    };
    context.output.note(&hint);
    Ok(())
}

/// Returns the deleted records of a selection, each with the time of its deletion and the revision
/// that had its last value.
fn deleted(stronghold: &Stronghold, selection: &Selection) -> Result<Vec<RecordInfo>, Failure> {
    let mut found = Vec::new();
    for shape in stronghold.shapes(&Scope::of(selection.clone()), &Mapping::default()) {
        let Some(location) = stronghold.names_of(&shape.location) else { continue };
        if !shape.deleted || stronghold.contains(&location) {
            continue;
        }
        let history = stronghold.history(&location)?;
        let last = history.iter().find(|version| !version.deleted).or(history.first());
        let removed = history.iter().filter(|version| version.head).map(|version| version.time).max();
        if let (Some(RevisionInfo { revision, size, .. }), Some(modified)) = (last, removed) {
            found.push(RecordInfo { location, revision: *revision, size: *size, modified, conflict: false });
        }
    }
    found.sort_by(|one, other| one.location.cmp(&other.location));
    found.dedup_by(|one, other| one.location == other.location);
    Ok(found)
}

/// Prints the records of a selection that `matches` accepts. Prints nothing if one of the selection
/// is damaged.
pub(super) fn print_held(
    context: &Context,
    stronghold: &Stronghold,
    selection: &Selection,
    matches: impl Fn(&Location) -> bool,
) -> Result<(), Failure> {
    stronghold.conflicts(selection)?;
    let records = stronghold.list(selection);
    let matching = records.filter(|record| record.as_ref().map_or(true, |record| matches(&record.location)));
    print_records(context, || stronghold.locations(selection).filter(&matches), matching)
}

/// Prints records of this device, or those that a peer lists, one after the other. Goes through
/// their locations before, to find names that look alike.
pub(super) fn print_records<L: Iterator<Item = Location>>(
    context: &Context,
    locations: impl Fn() -> L,
    records: impl Iterator<Item = Result<RecordInfo, Damaged>>,
) -> Result<(), Failure> {
    print(context, locations, records, None)
}

/// Prints records, each with its writer if a Stronghold is given to find that out.
fn print<L: Iterator<Item = Location>>(
    context: &Context,
    locations: impl Fn() -> L,
    records: impl Iterator<Item = Result<RecordInfo, Damaged>>,
    authors: Option<&Stronghold>,
) -> Result<(), Failure> {
    let twins = Twins::among(locations);
    let mut damage = None;
    let author = |location: &Location, revision: &RevisionId| {
        let stronghold = authors?;
        let history = stronghold.history(location).unwrap_or_default();
        let info = history.iter().find(|version| version.revision == *revision)?;
        Some(writer(stronghold, info))
    };
    let records = records.map_while(|record| record.map_err(|error| damage = Some(error)).ok());
    let entries = records.map(|RecordInfo { location, revision, size, modified, conflict }| {
        let author = author(&location, &revision);
        let location = location.to_string();
        let lookalike = twins.contains(&location);
        Entry { author, conflict, location, lookalike, modified, revision, size }
    });
    let time = if columns::is_narrow() { clock::day } else { clock::time };
    let changed = columns::padded("CHANGED", columns::width(&time(Timestamp::default())));
    if authors.is_some() {
        let entries: Vec<Entry> = entries.collect();
        let widths = entries.iter().filter_map(|entry| entry.author.as_deref()).map(columns::width);
        let width = widths.max().unwrap_or(0).max("BY".len());
        let header = format!("{changed}  {:>8}  REVISION  {:width$}  RECORD", "SIZE", "BY");
        context.output.list("entries", &header, entries.into_iter(), |entry| line(entry, time, width))?;
    } else {
        let header = format!("{changed}  {:>8}  RECORD", "SIZE");
        context.output.list("entries", &header, entries, |entry| line(entry, time, 0))?;
    }
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

fn as_text<S: Serializer>(id: &RevisionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::text(id.as_bytes()))
}

/// Returns the line of a record: its writer takes `width` columns.
fn line(entry: &Entry, time: impl Fn(Timestamp) -> String, width: usize) -> String {
    let conflict = if entry.conflict { "  (conflict)" } else { "" };
    let alike = match entry.lookalike {
        true => format!("  (looks like another: \"{}\")", spelled(&entry.location)),
        false => String::new(),
    };
    let (time, name) = (time(entry.modified), escape_untrusted(&entry.location));
    let author =
        |author: &String| format!("{}  {}  ", short_id(&entry.revision), columns::padded(author, width));
    let author = entry.author.as_ref().map(author).unwrap_or_default();
    format!("{time}  {:>8}  {author}{name}{conflict}{alike}", entry.size)
}
