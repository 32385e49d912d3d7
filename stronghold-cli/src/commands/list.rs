//! `list`: prints the records.

use serde::{Serialize, Serializer};
use stronghold_sync::{Location, RevisionId, Selection, escape_untrusted, hex};
use stronghold_vault::{Damaged, RecordInfo, Stronghold};

use crate::clock::time;
use crate::context::{Context, selection};
use crate::{
    error::{About, Failure},
    lookalike::{Twins, spelled},
};

/// A record as it is printed. The fields are in the order of JSON's keys.
#[derive(Serialize)]
struct Entry {
    conflict: bool,
    location: String,
    lookalike: bool,
    modified: u64,
    #[serde(serialize_with = "as_text")]
    revision: RevisionId,
    size: u64,
}

pub(super) fn list(context: &Context, of: Option<&str>, shared_with: Option<&str>) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = context.open()?;
    let stronghold = home.stronghold();
    let Some(peer) = shared_with else {
        return print_held(context, stronghold, &selection, |_| true);
    };
    let device = stronghold.peers().find_including_revoked(peer).about(&peer)?;
    let disclosed: Vec<_> = stronghold.disclosed_to(&device, &selection).collect::<Result<_, _>>()?;
    let locations = || disclosed.iter().map(|record| record.location.clone());
    print_records(context, locations, disclosed.iter().cloned().map(Ok))
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
    let twins = Twins::among(locations);
    let mut damage = None;
    let records = records.map_while(|record| record.map_err(|error| damage = Some(error)).ok());
    let entries = records.map(|RecordInfo { location, revision, size, modified, conflict }| {
        let location = location.to_string();
        let lookalike = twins.contains(&location);
        Entry { conflict, location, lookalike, modified, revision, size }
    });
    context.output.list("entries", entries, line)?;
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

fn as_text<S: Serializer>(id: &RevisionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::text(id.as_bytes()))
}

fn line(entry: &Entry) -> String {
    let conflict = if entry.conflict { "  (conflict)" } else { "" };
    let alike = match entry.lookalike {
        true => format!("  (looks like another: \"{}\")", spelled(&entry.location)),
        false => String::new(),
    };
    let (time, name) = (time(entry.modified), escape_untrusted(&entry.location));
    format!("{time}  {:>8}  {name}{conflict}{alike}", entry.size)
}
