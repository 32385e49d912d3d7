//! The plan: what a sync will do, as one pure function of both sides' shapes, the same for local and remote.

use alloc::{collections::BTreeSet, vec::Vec};
use core::cmp::Ordering;

use crate::{EntryId, LocationId, RevisionId, Shape, shape::heads};

/// What becomes of concurrent heads. Nothing is ever discarded: a choice is written as a revision that replaces
/// both, and the replaced values stay in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Both stay heads, and a person decides later.
    #[default]
    KeepBoth,
    /// The value held here is written again, on top of both.
    KeepLocal,
    /// The other side's value is written again, on top of both.
    TakeOther,
}

/// Which way entries go, and what becomes of conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Take what this side lacks.
    pub take: bool,
    /// Give what the other side lacks.
    pub give: bool,
    /// What becomes of concurrent heads here.
    pub on_conflict: OnConflict,
}

/// What a sync will do. Lists are in the order of locations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What this side takes.
    pub take: Vec<Shape>,
    /// What this side gives.
    pub give: Vec<Shape>,
    /// Conflicts to be resolved by writing, once the entries are taken: at each location, one of these wins.
    pub resolve: Vec<Resolution>,
    /// Records that will have more than one head here by what is taken. Equal values are counted too: shapes
    /// can't tell.
    pub conflicts: u64,
    /// Records that are the same on both sides.
    pub unchanged: u64,
    /// Records that are readable here now and will be deleted.
    pub deletes_here: u64,
    /// Records that are readable there now and will be deleted.
    pub deletes_there: u64,
    /// Readable records here, of those compared.
    pub readable_here: u64,
    /// Readable records there, of those compared.
    pub readable_there: u64,
}

/// A conflict and the heads of the preferred side: the one shown first among them wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The record.
    pub location: LocationId,
    /// The preferred side's heads, at least one.
    pub winners: Vec<RevisionId>,
}

/// A deletion of this many records or fewer needs no confirmation.
pub const DELETIONS_UNASKED: u64 = 10;

impl Plan {
    /// Whether a person must confirm first: it would delete more than a tenth of the selected records, and more
    /// than [`DELETIONS_UNASKED`], on either side.
    #[must_use]
    pub fn deletes_many(&self) -> bool {
        let many = |deleted: u64, of: u64| deleted > DELETIONS_UNASKED && deleted.saturating_mul(10) > of;
        many(self.deletes_here, self.readable_here) || many(self.deletes_there, self.readable_there)
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.take.is_empty() && self.give.is_empty() && self.resolve.is_empty()
    }

    /// Leaves out what may not be given.
    pub fn give_only(&mut self, may_give: impl Fn(&EntryId) -> bool) {
        self.give.retain(|shape| may_give(&shape.entry()));
    }

    /// Counts records that were found the same on both sides without being compared here one by one.
    #[must_use]
    pub fn and_unchanged(mut self, records: u64, readable: u64) -> Self {
        self.unchanged += records;
        self.readable_here += readable;
        self.readable_there += readable;
        self
    }
}

/// Plans a sync between two sets of heads, each in the order of location.
#[must_use]
pub fn plan(local: &[Shape], remote: &[Shape], rules: Rules) -> Plan {
    let mut plan = Plan::default();
    for (here, there) in by_location(local, remote) {
        plan.record(here, there, rules);
    }
    plan
}

impl Plan {
    /// One record: its heads here and there.
    fn record(&mut self, here: &[Shape], there: &[Shape], rules: Rules) {
        let readable = |heads: &[Shape]| heads.iter().any(|head| !head.deleted);
        self.readable_here += u64::from(readable(here));
        self.readable_there += u64::from(readable(there));
        if same_revisions(here, there) {
            self.unchanged += 1;
            return;
        }
        let merged = heads(here.iter().chain(there));
        let missing_in = |side: &[Shape]| -> Vec<Shape> {
            let lacks = |head: &&&Shape| !side.iter().any(|held| held.revision == head.revision);
            merged.iter().filter(lacks).map(|head| (*head).clone()).collect()
        };
        let (take, give) = (missing_in(here), missing_in(there));
        let merged_readable = merged.iter().any(|head| !head.deleted);
        if rules.give {
            self.deletes_there += u64::from(readable(there) && !merged_readable && !give.is_empty());
            self.give.extend(give);
        }
        if rules.take {
            self.deletes_here += u64::from(readable(here) && !merged_readable && !take.is_empty());
            self.conflicts += u64::from(merged.len() > 1 && !take.is_empty());
            self.resolve.extend(resolution(here, there, &merged, &take, rules.on_conflict));
            self.take.extend(take);
        }
    }
}

/// What the policy writes over a conflict that this merge brings about.
fn resolution(
    here: &[Shape],
    there: &[Shape],
    merged: &[&Shape],
    take: &[Shape],
    on_conflict: OnConflict,
) -> Option<Resolution> {
    let preferred = match on_conflict {
        OnConflict::KeepBoth => return None,
        OnConflict::KeepLocal => here,
        OnConflict::TakeOther => there,
    };
    let own_survives = merged.iter().any(|head| here.iter().any(|own| own.revision == head.revision));
    if take.is_empty() || !own_survives {
        return None;
    }
    let wins = |head: &&&Shape| preferred.iter().any(|own| own.revision == head.revision);
    let winners: Vec<RevisionId> = merged.iter().filter(wins).map(|head| head.revision).collect();
    (!winners.is_empty()).then(|| Resolution { location: merged[0].location, winners })
}

fn same_revisions(here: &[Shape], there: &[Shape]) -> bool {
    match (here, there) {
        ([a], [b]) => a.revision == b.revision,
        _ => {
            let ids = |side: &[Shape]| side.iter().map(|head| head.revision).collect::<BTreeSet<_>>();
            here.len() == there.len() && ids(here) == ids(there)
        }
    }
}

/// Walks two ordered lists side by side, a record at a time.
fn by_location<'a>(
    mut local: &'a [Shape],
    mut remote: &'a [Shape],
) -> impl Iterator<Item = (&'a [Shape], &'a [Shape])> {
    core::iter::from_fn(move || {
        let order = match (local.first(), remote.first()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(here), Some(there)) => here.location.cmp(&there.location),
        };
        let mut here: &[Shape] = &[];
        let mut there: &[Shape] = &[];
        if order != Ordering::Greater {
            (here, local) = split_first_record(local);
        }
        if order != Ordering::Less {
            (there, remote) = split_first_record(remote);
        }
        Some((here, there))
    })
}

/// The first record's heads, and the rest.
pub(crate) fn split_first_record(shapes: &[Shape]) -> (&[Shape], &[Shape]) {
    let end = shapes.iter().take_while(|shape| shape.location == shapes[0].location).count();
    shapes.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ancestors, Location};
    use alloc::vec;

    const BOTH: Rules = Rules { take: true, give: true, on_conflict: OnConflict::KeepBoth };

    fn id(n: u8) -> RevisionId {
        RevisionId::from_bytes([n; 32])
    }

    fn shape(record: u8, revision: u8, after: &[u8], deleted: bool) -> Shape {
        let location = Location::new("c", "v", alloc::format!("{record}")).unwrap().id();
        let ancestors = Ancestors::from_newest_first(after.iter().map(|n| id(*n)).collect()).unwrap();
        Shape { location, revision: id(revision), ancestors, size: 1, deleted }
    }

    fn sorted(mut shapes: Vec<Shape>) -> Vec<Shape> {
        shapes.sort_by_key(|shape| shape.location);
        shapes
    }

    #[test]
    fn newer_replaces_older_in_its_direction_only() {
        let (old, new) = (vec![shape(1, 1, &[], false)], vec![shape(1, 2, &[1], false)]);
        let forward = plan(&old, &new, BOTH);
        assert_eq!((forward.take, forward.give, forward.conflicts), (new.clone(), vec![], 0));
        let backward = plan(&new, &old, BOTH);
        assert_eq!((backward.take, backward.give), (vec![], new));
    }

    #[test]
    fn concurrent_heads_go_both_ways_and_are_a_conflict() {
        let (here, there) = (vec![shape(1, 2, &[1], false)], vec![shape(1, 3, &[1], false)]);
        let merged = plan(&here, &there, BOTH);
        assert_eq!((merged.take, merged.give, merged.conflicts), (there, here, 1));
    }

    #[test]
    fn keep_local_still_receives_an_update_that_conflicts_with_nothing() {
        let rules = Rules { on_conflict: OnConflict::KeepLocal, ..BOTH };
        let merged = plan(&[shape(1, 1, &[], false)], &[shape(1, 2, &[1], false)], rules);
        assert_eq!((merged.take.len(), merged.resolve.len()), (1, 0));
    }

    #[test]
    fn take_other_never_takes_an_older_revision_over_a_newer() {
        let rules = Rules { on_conflict: OnConflict::TakeOther, ..BOTH };
        let merged = plan(&[shape(1, 2, &[1], false)], &[shape(1, 1, &[], false)], rules);
        assert!(merged.take.is_empty() && merged.resolve.is_empty());
    }

    #[test]
    fn many_deletions_need_a_decision_and_few_do_not() {
        let live = |n: u8| shape(n, n, &[], false);
        let gone = |n: u8| shape(n, 100 + n, &[n], true);
        let here = sorted((0..50).map(live).collect());
        let few = sorted((0..10).map(gone).chain((10..50).map(live)).collect());
        assert!(!plan(&here, &few, BOTH).deletes_many());
        let many = sorted((0..11).map(gone).chain((11..50).map(live)).collect());
        assert!(plan(&here, &many, BOTH).deletes_many());
        assert!(plan(&many, &here, BOTH).deletes_many(), "the other side's records count as well");
        assert!(!plan(&here, &many, BOTH).and_unchanged(100, 100).deletes_many(), "11 of 150");
    }
}
