//! The plan of a sync, as one pure function of both sides' shapes. "Here" is this side and "there"
//! the peer's; the peer may be another snapshot on this machine or a remote device.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::{cmp::Ordering, fmt};

use crate::{Location, LocationId, RevisionId, Shape, model::shape::heads};

/// The treatment of concurrent heads. Nothing is ever discarded: a choice is written as a revision
/// that replaces both, and the replaced values stay in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Both stay heads, and the user decides later.
    #[default]
    KeepBoth,
    /// The local value is written again, on top of both.
    KeepLocal,
    /// The peer's value is written again, on top of both.
    TakeOther,
}

/// The directions of a sync, and its treatment of conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Take the entries that this side lacks.
    pub take: bool,
    /// Give the entries that the peer lacks.
    pub give: bool,
    /// Treatment of concurrent heads here.
    pub on_conflict: OnConflict,
}

/// The plan of a sync. Lists are sorted by location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Entries that this side takes.
    pub take: Vec<Shape>,
    /// Entries that this side gives.
    pub give: Vec<Shape>,
    /// Conflicts to resolve by writing, once the entries are taken: at each location, one of these
    /// heads wins.
    pub resolve: Vec<Resolution>,
    /// Records that will have more than one head here because of the taken entries. Equal values
    /// count too: shapes can't distinguish them.
    pub conflicts: u64,
    /// Records that are the same on both sides.
    pub unchanged: u64,
    /// Records that are readable here now and will be deleted.
    pub deletes_here: u64,
    /// Records that are readable there now and will be deleted.
    pub deletes_there: u64,
    /// Records whose value here will be empty, or less than half as large as now.
    pub shrinks_here: u64,
    /// Records whose value there will be empty, or less than half as large as now.
    pub shrinks_there: u64,
    /// Readable records here, among those compared.
    pub readable_here: u64,
    /// Readable records there, among those compared.
    pub readable_there: u64,
    /// Changes to records here.
    pub changes_here: Vec<(LocationId, Change)>,
    /// Changes to records there.
    pub changes_there: Vec<(LocationId, Change)>,
    /// Records of which this side lacks an entry and does not take it.
    pub not_taken: Vec<Skipped>,
    /// Records of which the peer lacks an entry, as far as is known here, and is not given it.
    pub not_given: Vec<Skipped>,
    /// Untaken entries that no rule of this side covers: an explicit take would add them.
    pub beyond: Vec<Shape>,
    /// `true` if the peer refuses every requested entry.
    pub pull_refused: bool,
    /// Names of records that are not held here, as the peer told them.
    pub names: BTreeMap<LocationId, Location>,
}

/// A change to a record on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It becomes readable.
    New,
    /// It changes value, or has the same value in another revision.
    Changed,
    /// It is no longer readable.
    Deleted,
    /// It has several heads.
    Conflict,
}

/// A record that the sync leaves out on one side, in whole or in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// The record.
    pub location: LocationId,
    /// The reason.
    pub why: SkipReason,
}

/// The reason why an entry stays on the side that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// The receiver has no rule that lets the sender write it there.
    MayNotPush,
    /// The receiver has no rule that lets the sender delete it there.
    MayNotDelete,
    /// The sender has no rule that lets the receiver pull any requested entry.
    MayNotPull,
    /// The record would have more heads from the sender than one device may add, or more than a
    /// record may have.
    TooManyHeads,
    /// It is larger than a value may be.
    TooLarge,
    /// The receiver declined it without a reason.
    Declined,
    /// It exceeds the volume of one session: the next one continues with it.
    Later,
}

impl SkipReason {
    /// Returns the machine-readable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::MayNotPush => "may_not_push",
            Self::MayNotDelete => "may_not_delete",
            Self::MayNotPull => "may_not_pull",
            Self::TooManyHeads => "too_many_heads",
            Self::TooLarge => "too_large",
            Self::Declined => "declined",
            Self::Later => "later",
        }
    }

    /// Returns whether a rule could lift the reason.
    pub fn is_of_rules(self) -> bool {
        matches!(self, Self::MayNotPush | Self::MayNotDelete | Self::MayNotPull)
    }
}

/// A conflict and the heads of the preferred side: the first of them in display order wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The record.
    pub location: LocationId,
    /// The preferred side's heads, at least one.
    pub winners: Vec<RevisionId>,
}

/// Maximum number of deleted or shrunk records that never needs confirmation.
pub const MAX_UNCONFIRMED_DELETIONS: u64 = 10;
/// Maximum number of heads that an import may leave at a record: more than editing on any number of
/// devices causes.
pub const MAX_HEADS: usize = 256;
/// Maximum number of heads that one peer may add to a record.
pub const MAX_ADDED_HEADS: usize = 8;
/// Maximum padded size in a shape: a value of 4 MiB with labels.
pub(crate) const MAX_SHAPE_SIZE: u64 = (4 << 20) + (1 << 19);

/// Returns whether deleting or shrinking `deletions` of `readable` records needs confirmation: it
/// is more than [`MAX_UNCONFIRMED_DELETIONS`] and more than a tenth.
#[must_use]
pub fn needs_confirmation(deletions: u64, readable: u64) -> bool {
    deletions > MAX_UNCONFIRMED_DELETIONS && deletions.saturating_mul(10) > readable
}

/// The records that one side would lose: deleted, emptied, or shortened to less than half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Their number.
    pub lost: u64,
    /// The number of readable records among those compared.
    pub of: u64,
    /// `true` if it is the peer that would lose them.
    pub there: bool,
}

impl Losses {
    /// Returns whether a person must confirm them; see [`needs_confirmation`].
    pub fn need_confirmation(self) -> bool {
        needs_confirmation(self.lost, self.of)
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.there { "at the peer" } else { "here" };
        write!(f, "{} of {} records {place}", self.lost, self.of)
    }
}

impl Plan {
    /// Returns whether a person must confirm the losses on either side.
    pub fn needs_confirmation(&self) -> bool {
        self.unconfirmed().is_some()
    }

    /// Returns the losses that a person must confirm: of this side, else of the peer.
    pub fn unconfirmed(&self) -> Option<Losses> {
        let lost = self.deletes_there + self.shrinks_there;
        let there = Losses { lost, of: self.readable_there, there: true };
        [self.losses_here(), there].into_iter().find(|losses| losses.need_confirmation())
    }

    /// Returns the losses of this side.
    pub fn losses_here(&self) -> Losses {
        Losses { lost: self.deletes_here + self.shrinks_here, of: self.readable_here, there: false }
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.take.is_empty() && self.give.is_empty() && self.resolve.is_empty()
    }

    /// Counts records that are known to be the same on both sides without a comparison of each.
    #[must_use]
    pub fn and_unchanged(mut self, records: u64, readable: u64) -> Self {
        self.unchanged += records;
        self.readable_here += readable;
        self.readable_there += readable;
        self
    }
}

/// Plans a sync between two sets of heads, each sorted by location.
///
/// Shapes of a record that are not all heads, as a peer may send them, are merged first. If both
/// sides describe a revision, the local shape wins.
pub fn plan(local: &[Shape], remote: &[Shape], rules: PlanOptions) -> Plan {
    plan_through(local, remote, rules, &LimitsOnly)
}

/// A filter of the entries that a plan may take and give.
pub(crate) trait Sieve {
    /// Maximum number of heads of a record that the peer may add here, or this side there.
    const MOST_ADDED: usize = MAX_ADDED_HEADS;

    /// Checks whether this side may take an entry.
    ///
    /// # Errors
    /// [`SkipReason`] when it may not.
    fn take(&self, shape: &Shape) -> Result<(), SkipReason> {
        let _ = shape;
        Ok(())
    }

    /// Checks whether this side may give an entry.
    ///
    /// # Errors
    /// [`SkipReason`] when it may not; `None` if this side chooses not to, which is not reported.
    fn give(&self, shape: &Shape) -> Result<(), Option<SkipReason>> {
        let _ = shape;
        Ok(())
    }

    /// Returns whether a local head came from the peer.
    fn delivered(&self, head: &Shape) -> bool {
        let _ = head;
        false
    }
}

/// The sieve of a caller that holds the keys of both sides: it enforces only the limits of a
/// record.
struct LimitsOnly;

impl Sieve for LimitsOnly {
    const MOST_ADDED: usize = MAX_HEADS;
}

/// Plans a sync in which the sieve may leave out entries.
pub(crate) fn plan_through<S: Sieve>(
    local: &[Shape],
    remote: &[Shape],
    rules: PlanOptions,
    sieve: &S,
) -> Plan {
    let mut plan = Plan::default();
    for (here, there) in by_location(local, remote) {
        plan.readable_here += u64::from(readable(here));
        plan.readable_there += u64::from(readable(there));
        if same_revisions(here, there) {
            plan.unchanged += 1;
            continue;
        }
        let merged = heads(here.iter().chain(there));
        if rules.take {
            plan.take(here, there, &merged, rules.on_conflict, sieve);
        }
        if rules.give {
            plan.give(there, &merged, sieve);
        }
    }
    plan
}

impl Plan {
    /// Takes the entries of one record that this side lacks. `merged` are the record's heads on
    /// both sides together.
    fn take<S: Sieve>(
        &mut self,
        here: &[Shape],
        there: &[Shape],
        merged: &[&Shape],
        on_conflict: OnConflict,
        sieve: &S,
    ) {
        let mut take = missing(merged, here);
        let matters = readable(here) || readable(there);
        take.retain(|shape| {
            let verdict =
                if shape.size > MAX_SHAPE_SIZE { Err(SkipReason::TooLarge) } else { sieve.take(shape) };
            if let Err(why) = verdict {
                report_skipped(&mut self.not_taken, shape, why, matters);
                self.beyond.extend((why.is_of_rules() && matters).then(|| shape.clone()));
            }
            verdict.is_ok()
        });
        if take.is_empty() {
            return;
        }
        let kept = heads(here.iter().chain(&take));
        let taken: BTreeSet<RevisionId> = take.iter().map(|shape| shape.revision).collect();
        let is_taken = |head: &Shape| taken.contains(&head.revision);
        let from_there = |head: &&&Shape| is_taken(head) || sieve.delivered(head);
        if kept.len() > MAX_HEADS || kept.iter().filter(from_there).count() > S::MOST_ADDED {
            return report_skipped(&mut self.not_taken, &take[0], SkipReason::TooManyHeads, true);
        }
        let resolution = resolution(here, there, &kept, on_conflict);
        let stays_readable = match &resolution {
            Some(choice) => kept.iter().any(|head| !head.deleted && choice.winners.contains(&head.revision)),
            None => readable(kept.iter().copied()),
        };
        self.deletes_here += u64::from(readable(here) && !stays_readable);
        self.shrinks_here += u64::from(stays_readable && shrinks(here, &kept));
        self.conflicts += u64::from(kept.len() > 1);
        self.changes_here.extend(
            change(readable(here), stays_readable, kept.len()).map(|change| (take[0].location, change)),
        );
        self.resolve.extend(resolution);
        self.take.extend(take);
    }

    /// Gives the entries of one record that the peer lacks and may have.
    fn give<S: Sieve>(&mut self, there: &[Shape], merged: &[&Shape], sieve: &S) {
        let mut give = missing(merged, there);
        give.retain(|shape| {
            // A deletion of a record that the peer can't read is not worth reporting.
            let matters = !shape.deleted || readable(there);
            let tell = |why: &Option<SkipReason>| {
                why.iter().for_each(|why| report_skipped(&mut self.not_given, shape, *why, matters))
            };
            sieve.give(shape).inspect_err(tell).is_ok()
        });
        if give.is_empty() {
            return;
        }
        let kept = heads(there.iter().chain(&give));
        if kept.len() > MAX_HEADS || give.len() > S::MOST_ADDED {
            return report_skipped(&mut self.not_given, &give[0], SkipReason::TooManyHeads, true);
        }
        let stays_readable = readable(kept.iter().copied());
        self.deletes_there += u64::from(readable(there) && !stays_readable);
        self.shrinks_there += u64::from(stays_readable && shrinks(there, &kept));
        self.changes_there.extend(
            change(readable(there), stays_readable, kept.len()).map(|change| (give[0].location, change)),
        );
        self.give.extend(give);
    }
}

/// Records that an entry is left out: once for each record and reason.
pub(crate) fn report_skipped(list: &mut Vec<Skipped>, shape: &Shape, why: SkipReason, matters: bool) {
    let left = Skipped { location: shape.location, why };
    if matters && list.last() != Some(&left) {
        list.push(left);
    }
}

/// Returns the change to a record, if it is visible.
fn change(was_readable: bool, is_readable: bool, heads: usize) -> Option<Change> {
    match (was_readable, is_readable) {
        (false, false) => None,
        (true, false) => Some(Change::Deleted),
        (_, true) if heads > 1 => Some(Change::Conflict),
        (false, true) => Some(Change::New),
        (true, true) => Some(Change::Changed),
    }
}

/// Returns whether the largest value of a record becomes empty, or less than half as large. Padding
/// adds at most an eighth to sizes, so an edit of a few letters never counts.
fn shrinks(before: &[Shape], after: &[&Shape]) -> bool {
    let sizes = |shape: &Shape| (!shape.deleted).then_some(shape.size);
    let before = before.iter().filter_map(sizes).max().unwrap_or(0);
    let after = after.iter().filter_map(|shape| sizes(shape)).max().unwrap_or(0);
    is_shrunk(before, after)
}

/// Returns whether a value becomes empty, or less than half as large.
pub fn is_shrunk(before: u64, after: u64) -> bool {
    before > 0 && (after == 0 || after < before / 2)
}

fn readable<'a>(heads: impl IntoIterator<Item = &'a Shape>) -> bool {
    heads.into_iter().any(|head| !head.deleted)
}

/// Returns the merged heads that a side does not hold.
fn missing(merged: &[&Shape], side: &[Shape]) -> Vec<Shape> {
    let held: BTreeSet<RevisionId> = side.iter().map(|head| head.revision).collect();
    merged.iter().filter(|head| !held.contains(&head.revision)).map(|head| (*head).clone()).collect()
}

/// Returns the resolution of the conflict that taking these heads causes, if `on_conflict` asks for
/// one.
fn resolution(
    here: &[Shape],
    there: &[Shape],
    merged: &[&Shape],
    on_conflict: OnConflict,
) -> Option<Resolution> {
    let preferred = match on_conflict {
        OnConflict::KeepBoth => return None,
        OnConflict::KeepLocal => here,
        OnConflict::TakeOther => there,
    };
    let held = |side: &[Shape]| -> Vec<RevisionId> {
        let ids: BTreeSet<RevisionId> = side.iter().map(|head| head.revision).collect();
        merged.iter().map(|head| head.revision).filter(|id| ids.contains(id)).collect()
    };
    if held(here).is_empty() {
        return None;
    }
    let winners = held(preferred);
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

/// Iterates over two sorted lists in parallel, one record at a time.
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

/// Splits off the first record's heads.
pub(crate) fn split_first_record(shapes: &[Shape]) -> (&[Shape], &[Shape]) {
    let end = shapes.iter().take_while(|shape| shape.location == shapes[0].location).count();
    shapes.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ancestors, Location};
    use alloc::vec;

    const BOTH: PlanOptions = PlanOptions { take: true, give: true, on_conflict: OnConflict::KeepBoth };

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
        let rules = PlanOptions { on_conflict: OnConflict::KeepLocal, ..BOTH };
        let merged = plan(&[shape(1, 1, &[], false)], &[shape(1, 2, &[1], false)], rules);
        assert_eq!((merged.take.len(), merged.resolve.len()), (1, 0));
    }

    #[test]
    fn take_other_never_takes_an_older_revision_over_a_newer() {
        let rules = PlanOptions { on_conflict: OnConflict::TakeOther, ..BOTH };
        let merged = plan(&[shape(1, 2, &[1], false)], &[shape(1, 1, &[], false)], rules);
        assert!(merged.take.is_empty() && merged.resolve.is_empty());
    }

    #[test]
    fn only_deletions_that_will_happen_are_counted() {
        let live = |n: u8| shape(n, n, &[], false);
        let gone = |n: u8| shape(n, 100 + n, &[n], true);
        let there = sorted((0..50).map(live).collect());
        let here = sorted((0..20).map(gone).chain((20..50).map(live)).collect());
        assert!(plan(&here, &there, BOTH).needs_confirmation());
        assert!(
            !plan(&here, &there, PlanOptions { give: false, ..BOTH }).needs_confirmation(),
            "nothing is given"
        );
        struct NoDeletions;
        impl Sieve for NoDeletions {
            fn give(&self, shape: &Shape) -> Result<(), Option<SkipReason>> {
                if shape.deleted { Err(Some(SkipReason::MayNotDelete)) } else { Ok(()) }
            }
        }
        let no_deletions = plan_through(&here, &there, BOTH, &NoDeletions);
        assert_eq!(no_deletions.not_given.len(), 20);
        assert!(
            !no_deletions.needs_confirmation() && no_deletions.give.is_empty(),
            "deletions may not be given"
        );
    }

    #[test]
    fn each_reason_has_a_name_and_three_are_of_rules() {
        let names = [
            (SkipReason::MayNotPush, "may_not_push", true),
            (SkipReason::MayNotDelete, "may_not_delete", true),
            (SkipReason::MayNotPull, "may_not_pull", true),
            (SkipReason::TooManyHeads, "too_many_heads", false),
            (SkipReason::TooLarge, "too_large", false),
            (SkipReason::Declined, "declined", false),
            (SkipReason::Later, "later", false),
        ];
        for (why, name, is_of_rules) in names {
            assert_eq!((why.name(), why.is_of_rules()), (name, is_of_rules));
        }
    }

    #[test]
    fn a_plan_counts_each_record_once_and_on_the_side_that_it_changes() {
        let of = |size: u64, shape: Shape| Shape { size, ..shape };
        let here = sorted(vec![
            shape(1, 1, &[], false),          // the same on both sides
            of(100, shape(2, 2, &[], false)), // shrinks here
            shape(3, 3, &[], false),          // is deleted here
            shape(4, 4, &[], false),          // conflicts
            shape(5, 5, &[55], false),        // is newer here, and shrinks there
            shape(6, 6, &[66], true),         // is deleted there
            shape(7, 7, &[], false),          // is new there
            shape(9, 9, &[], true),           // a deletion of what is not there
        ]);
        let there = sorted(vec![
            shape(1, 1, &[], false),
            of(49, shape(2, 22, &[2], false)),
            shape(3, 33, &[3], true),
            shape(4, 44, &[], false),
            of(10, shape(5, 55, &[], false)),
            shape(6, 66, &[], false),
            shape(8, 8, &[], false), // is new here
        ]);
        let at = |record: u8| shape(record, 0, &[], false).location;
        let listed =
            |list: &[Shape]| list.iter().map(|shape| shape.revision.as_bytes()[0]).collect::<BTreeSet<_>>();
        let changes = |list: &[(LocationId, Change)]| list.iter().copied().collect::<BTreeMap<_, _>>();
        let both = plan(&here, &there, BOTH);
        assert_eq!(listed(&both.take), [22, 33, 44, 8].into());
        assert_eq!(listed(&both.give), [4, 5, 6, 7, 9].into());
        let counts = [both.conflicts, both.unchanged, both.deletes_here, both.deletes_there];
        assert_eq!(counts, [1, 1, 1, 1]);
        assert_eq!(
            [both.shrinks_here, both.shrinks_there, both.readable_here, both.readable_there],
            [1, 1, 6, 6]
        );
        let changes_here = [
            (at(2), Change::Changed),
            (at(3), Change::Deleted),
            (at(4), Change::Conflict),
            (at(8), Change::New),
        ];
        assert_eq!(changes(&both.changes_here), changes_here.into());
        let changes_there = [
            (at(4), Change::Conflict),
            (at(5), Change::Changed),
            (at(6), Change::Deleted),
            (at(7), Change::New),
        ];
        assert_eq!(changes(&both.changes_there), changes_there.into());
        assert!(both.not_taken.is_empty() && both.not_given.is_empty() && both.beyond.is_empty());
        assert!(!both.is_empty() && plan(&here, &here, BOTH).is_empty());
        let take = plan(&here, &there, PlanOptions { give: false, ..BOTH });
        assert_eq!((take.take, take.give.len(), take.deletes_there), (both.take, 0, 0));
        let give = plan(&here, &there, PlanOptions { take: false, ..BOTH });
        assert_eq!((give.give, give.take.len(), give.deletes_here), (both.give, 0, 0));
        let counted = Plan::default().and_unchanged(5, 3);
        assert_eq!((counted.unchanged, counted.readable_here, counted.readable_there), (5, 3, 3));
    }

    #[test]
    fn a_value_shrinks_where_it_is_emptied_or_less_than_half_is_left() {
        for (before, after, expected) in
            [(0, 0, false), (1, 0, true), (100, 49, true), (100, 50, false), (101, 50, false), (3, 1, false)]
        {
            assert_eq!(is_shrunk(before, after), expected, "{before} {after}");
        }
        // The largest of several heads counts.
        let of = |size: u64, revision: u8, after: &[u8]| Shape { size, ..shape(1, revision, after, false) };
        let here = [of(1000, 1, &[]), of(10, 2, &[])];
        let shrinks = |size| plan(&here, &[of(size, 3, &[1])], BOTH).shrinks_here;
        assert_eq!((shrinks(499), shrinks(500)), (1, 0));
        let all_but_small = plan(&here, &[of(600, 3, &[1]), of(1, 4, &[2])], BOTH);
        assert_eq!(all_but_small.shrinks_here, 0);
        let deleted = Shape { deleted: true, ..of(2000, 5, &[]) };
        assert_eq!(plan(&[of(1000, 1, &[])], &[of(100, 3, &[1]), deleted], BOTH).shrinks_here, 1);
    }

    #[test]
    fn what_no_record_can_have_is_left_with_the_reason() {
        let of = |size: u64| vec![Shape { size, ..shape(1, 1, &[], false) }];
        let location = of(0)[0].location;
        assert_eq!(plan(&[], &of(MAX_SHAPE_SIZE), BOTH).take.len(), 1);
        let too_large = plan(&[], &of(MAX_SHAPE_SIZE + 1), BOTH);
        assert_eq!(too_large.not_taken, [Skipped { location, why: SkipReason::TooLarge }]);
        assert!(too_large.take.is_empty() && too_large.beyond.is_empty(), "no rule would change it");
        let heads = |from: u16, number: u16| -> Vec<Shape> {
            let revision = |n: u16| {
                let mut id = [0; 32];
                id[..2].copy_from_slice(&n.to_be_bytes());
                RevisionId::from_bytes(id)
            };
            (from..from + number)
                .map(|n| Shape { revision: revision(n), ..shape(1, 0, &[], false) })
                .collect()
        };
        let full = plan(&heads(0, 100), &heads(100, 156), BOTH);
        assert_eq!((full.take.len(), full.give.len(), full.conflicts), (156, 100, 1));
        let over = plan(&heads(0, 100), &heads(100, 157), BOTH);
        let left = [Skipped { location, why: SkipReason::TooManyHeads }];
        assert_eq!((over.take.len(), over.give.len(), over.conflicts), (0, 0, 0));
        assert_eq!((&over.not_taken[..], &over.not_given[..]), (&left[..], &left[..]));
        struct Few;
        impl Sieve for Few {
            fn delivered(&self, head: &Shape) -> bool {
                head.revision.as_bytes()[1] < 4
            }
        }
        let added =
            |own: u16, number| plan_through(&heads(0, own), &heads(100, number), BOTH, &Few).take.len();
        assert_eq!((added(0, 8), added(0, 9), added(4, 4), added(4, 5), added(9, 4)), (8, 0, 4, 0, 4));
        let given = |number| plan_through(&heads(0, number), &heads(100, 1), BOTH, &Few).give.len();
        assert_eq!((given(8), given(9)), (8, 0));
    }

    #[test]
    fn what_a_rule_keeps_is_noted_once_for_each_reason_and_only_where_anybody_could_see_it() {
        struct Nothing;
        impl Sieve for Nothing {
            fn take(&self, shape: &Shape) -> Result<(), SkipReason> {
                Err(if shape.deleted { SkipReason::MayNotDelete } else { SkipReason::MayNotPush })
            }
            fn give(&self, shape: &Shape) -> Result<(), Option<SkipReason>> {
                Err((!shape.deleted).then_some(SkipReason::MayNotPush))
            }
        }
        let kept = |here: &[Shape], there: &[Shape]| plan_through(here, there, BOTH, &Nothing);
        let location = shape(1, 1, &[], false).location;
        let (push, delete) = (
            Skipped { location, why: SkipReason::MayNotPush },
            Skipped { location, why: SkipReason::MayNotDelete },
        );
        let two = [shape(1, 1, &[], false), shape(1, 2, &[], false)];
        let plan = kept(&[], &two);
        assert_eq!((plan.not_taken, plan.beyond, plan.take.len()), (vec![push], two.to_vec(), 0));
        assert_eq!(kept(&two, &[]).not_given, [push]);
        let gone = [shape(1, 3, &[1, 2], true)];
        assert_eq!((kept(&two, &gone).not_taken, kept(&gone, &two).not_given.len()), (vec![delete], 0));
        let unseen = kept(&[], &gone);
        assert_eq!((unseen.not_taken.len(), unseen.beyond.len()), (0, 0), "a deletion of nothing");
        assert!(kept(&[shape(1, 9, &[], true)], &gone).not_taken.is_empty());
    }

    #[test]
    fn a_conflict_is_resolved_for_the_heads_of_the_side_that_was_chosen() {
        let (here, there) = ([shape(1, 2, &[1], false)], [shape(1, 3, &[1], false), shape(1, 4, &[], false)]);
        let location = here[0].location;
        for (on_conflict, winners) in [
            (OnConflict::KeepBoth, None),
            (OnConflict::KeepLocal, Some(vec![id(2)])),
            (OnConflict::TakeOther, Some(vec![id(3), id(4)])),
        ] {
            let resolve = plan(&here, &there, PlanOptions { on_conflict, ..BOTH }).resolve;
            assert_eq!(
                resolve,
                winners.map(|winners| Resolution { location, winners }).into_iter().collect::<Vec<_>>()
            );
            let none = plan(&[], &there, PlanOptions { on_conflict, ..BOTH });
            assert!(none.resolve.is_empty(), "nothing here conflicts with it");
        }
    }

    #[test]
    fn many_are_counted_with_what_shrinks_on_either_side() {
        let plan = |deletes, shrinks, readable, here: bool| {
            let of = Plan::default();
            match here {
                true => Plan { deletes_here: deletes, shrinks_here: shrinks, readable_here: readable, ..of },
                false => {
                    Plan { deletes_there: deletes, shrinks_there: shrinks, readable_there: readable, ..of }
                }
            }
        };
        for (deletes, shrinks, readable, many) in
            [(6, 5, 50, true), (5, 5, 50, false), (11, 0, 110, false), (0, 11, 109, true)]
        {
            let (here, there) =
                (plan(deletes, shrinks, readable, true), plan(deletes, shrinks, readable, false));
            let losses = |there| Losses { lost: deletes + shrinks, of: readable, there };
            assert_eq!(
                (here.losses_here(), here.unconfirmed()),
                (losses(false), many.then_some(losses(false)))
            );
            assert_eq!((there.losses_here().lost, there.unconfirmed()), (0, many.then_some(losses(true))));
        }
        assert!(!needs_confirmation(u64::MAX / 5, u64::MAX), "it does not overflow");
    }

    #[test]
    fn taking_their_deletion_over_an_own_edit_counts_as_a_deletion() {
        let (edit, deletion) = ([shape(1, 2, &[1], false)], [shape(1, 3, &[1], true)]);
        let deletes = |on_conflict| plan(&edit, &deletion, PlanOptions { on_conflict, ..BOTH }).deletes_here;
        assert_eq!(deletes(OnConflict::TakeOther), 1);
        assert_eq!(deletes(OnConflict::KeepLocal), 0);
        assert_eq!(deletes(OnConflict::KeepBoth), 0);
    }

    #[test]
    fn many_deletions_need_a_decision_and_few_do_not() {
        let live = |n: u8| shape(n, n, &[], false);
        let gone = |n: u8| shape(n, 100 + n, &[n], true);
        let here = sorted((0..50).map(live).collect());
        let few = sorted((0..10).map(gone).chain((10..50).map(live)).collect());
        assert!(!plan(&here, &few, BOTH).needs_confirmation());
        let many = sorted((0..11).map(gone).chain((11..50).map(live)).collect());
        assert!(plan(&here, &many, BOTH).needs_confirmation());
        assert!(plan(&many, &here, BOTH).needs_confirmation(), "the other side's records count as well");
        assert!(!plan(&here, &many, BOTH).and_unchanged(100, 100).needs_confirmation(), "11 of 150");
    }
}
