//! Local sync between two Strongholds in memory, as `stronghold-snapshot` does it.

use std::collections::BTreeSet;

use stronghold_sync::{
    DeviceId, EntryId, Location, LocationId, Mapping, OnConflict, Plan, PlanOptions, Scope, Selection, Shape,
    Timestamp, plan,
};
use stronghold_vault::{Entry, ExportError, ImportError, ImportReport, Labels, RejectReason, Stronghold};

/// Returns the time so many milliseconds after the beginning of 1970.
pub(crate) const fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn at(text: &str) -> Location {
    text.parse().unwrap()
}

pub(crate) fn everything() -> Scope {
    Scope::of(Selection::everything())
}

pub(crate) fn shapes(stronghold: &Stronghold) -> Vec<Shape> {
    stronghold.shapes(&everything(), &Mapping::default())
}

pub(crate) fn new() -> Stronghold {
    Stronghold::new("device").unwrap()
}

pub(crate) fn put(stronghold: &mut Stronghold, location: &str, value: &str, now: u64) {
    stronghold.write(&at(location), value.as_bytes(), Labels::new(), ms(now)).unwrap();
}

pub(crate) fn get(stronghold: &Stronghold, location: &str) -> Option<String> {
    let read = stronghold.read(&at(location)).ok()?;
    Some(String::from_utf8(read.revision.value.to_vec()).unwrap())
}

/// Encodes a whole Stronghold as a payload; decoding it makes another one with the same content.
pub(crate) fn bytes(stronghold: &Stronghold) -> Vec<u8> {
    stronghold.to_payload().unwrap().to_vec()
}

pub(crate) fn copy(stronghold: &Stronghold) -> Stronghold {
    Stronghold::from_payload(&bytes(stronghold)).unwrap()
}

pub(crate) fn import_all(into: &mut Stronghold, entries: &[Entry]) -> Result<ImportReport, ImportError> {
    into.import(entries, DeviceId::from_bytes([7; 32]), ms(1), |_, _, _| Ok(()))
}

/// Takes the revisions that `into` lacks from another Stronghold.
pub(crate) fn merge(into: &mut Stronghold, from: &Stronghold, now: u64) -> (Plan, ImportReport) {
    merge_with(into, from, &Mapping::default(), OnConflict::KeepBoth, now)
}

pub(crate) fn merge_with(
    into: &mut Stronghold,
    from: &Stronghold,
    mapping: &Mapping,
    on_conflict: OnConflict,
    now: u64,
) -> (Plan, ImportReport) {
    let theirs = from.shapes(&everything(), mapping);
    let arrive: BTreeSet<LocationId> = theirs.iter().map(|shape| shape.location).collect();
    let mut own = shapes(into);
    own.retain(|shape| mapping.is_empty() || arrive.contains(&shape.location));
    let plan = plan(&own, &theirs, PlanOptions { take: true, give: false, on_conflict });
    let wanted: BTreeSet<EntryId> = plan.take.iter().map(Shape::entry).collect();
    let entries = from.export_mapped(&Selection::everything(), mapping, &wanted).unwrap();
    assert_eq!(entries.len(), wanted.len());
    let asked = |_: &Location, entry: &EntryId, _: &_| match wanted.contains(entry) {
        true => Ok(()),
        false => Err(RejectReason::Unrequested),
    };
    let report = into.import(&entries, from.identity().device(), ms(now), asked).unwrap();
    for resolution in &plan.resolve {
        into.apply_resolution(resolution, ms(now)).unwrap();
    }
    (plan, report)
}

/// Exports entries as the owner of the Stronghold.
pub(crate) fn export(stronghold: &Stronghold, wanted: &[EntryId]) -> Result<Vec<Entry>, ExportError> {
    let wanted = wanted.iter().copied().collect();
    stronghold.export_mapped(&Selection::everything(), &Mapping::default(), &wanted)
}

/// Returns all entries of a Stronghold, decrypted.
pub(crate) fn all_entries(stronghold: &Stronghold) -> Vec<Entry> {
    let wanted: Vec<EntryId> = shapes(stronghold).iter().map(|shape| shape.entry()).collect();
    export(stronghold, &wanted).unwrap()
}
