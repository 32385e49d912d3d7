//! `list`: prints the records.

use std::cell::Cell;

use serde::Serialize;
use stronghold_sync::escape_untrusted;
use stronghold_vault::{Damaged, RecordInfo};

use crate::context::{Context, selection, time};
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
    revision: String,
    size: u64,
}

pub(super) fn list(context: &Context, of: Option<&str>, shared_with: Option<&str>) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = context.open()?;
    let stronghold = home.stronghold();
    let Some(peer) = shared_with else { return print_records(context, || stronghold.list(&selection)) };
    let device = stronghold.peers().find_including_revoked(peer).about(&peer)?;
    let disclosed: Vec<_> = stronghold.disclosed_to(&device, &selection).collect::<Result<_, _>>()?;
    print_records(context, || disclosed.iter().cloned().map(Ok))
}

/// Prints records of this device, or those that a peer lists, one after the other. Goes through
/// them once before, to find damage and names that look alike.
pub(super) fn print_records<I: Iterator<Item = Result<RecordInfo, Damaged>>>(
    context: &Context,
    records: impl Fn() -> I,
) -> Result<(), Failure> {
    let damage = Cell::new(None);
    let records = || records().filter_map(|record| record.map_err(|error| damage.set(Some(error))).ok());
    let twins = Twins::among(|| records().map(|record| record.location.to_string()));
    if let Some(damaged) = damage.take() {
        return Err(damaged.into());
    }
    let entries = records().map(|record| {
        let location = record.location.to_string();
        let lookalike = twins.contains(&location);
        let RecordInfo { size, modified, conflict, .. } = record;
        Entry { conflict, location, lookalike, modified, revision: record.revision.to_string(), size }
    });
    context.output.list("entries", entries, line)
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
