//! A record: its heads and its history, sealed in ordinary memory, each revision under its own key.

mod forgetting;
mod sealed;
mod stored;

use std::collections::BTreeSet;

use stronghold_sync::{Ancestors, LocationId, Replaced, RevisionId, Shape, ShortId, Timestamp};

use crate::{
    ages::{Ages, Forgetting, RETENTION},
    devices::DeviceNumber,
};
pub use sealed::Damaged;
pub(crate) use sealed::{Origin, RecordCipher, SealedRevision};

/// Number of replaced values that stay readable per record, whatever their age.
pub const MAX_HISTORY: usize = 10;
/// Maximum number of heads that an import may leave on a record. Editing on any realistic number of
/// devices stays below it.
pub const MAX_HEADS: usize = 256;

/// A record's heads and history. Nearly every record has one head, which is stored inline, not
/// behind a pointer: this makes iterating over all heads three times as fast.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) name: Box<str>,
    /// The head with the smallest id.
    head: SealedRevision,
    /// `None` if there are neither other heads nor a history.
    more: Option<Box<More>>,
}

/// The revisions of a record beside its first head.
#[derive(Clone, Debug, Default)]
struct More {
    /// The other heads, ordered by id.
    heads: Vec<SealedRevision>,
    /// The replaced revisions, newest first.
    history: Vec<SealedRevision>,
}

/// The effect of inserting a revision into a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// The revision is now a head.
    Head,
    /// The revision was already a head, or a head has replaced it.
    AlreadyPresent,
}

impl Record {
    pub(crate) fn new(name: &str, mut first: SealedRevision, forgetting: &Forgetting) -> Self {
        let ages = Ages::new(first.ancestors(), forgetting.generation);
        first.set_ancestors(first.ancestors().clone(), ages);
        Self { name: name.into(), head: first, more: None }
    }

    /// Returns the heads, ordered by id.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &SealedRevision> {
        std::iter::once(&self.head).chain(self.other_heads())
    }

    fn heads_mut(&mut self) -> impl Iterator<Item = &mut SealedRevision> {
        let more = self.more.iter_mut().flat_map(|more| &mut more.heads);
        std::iter::once(&mut self.head).chain(more)
    }

    /// Returns the heads but the first, ordered by id.
    fn other_heads(&self) -> &[SealedRevision] {
        self.more.as_ref().map_or(&[], |more| &more.heads)
    }

    /// Returns the replaced revisions, newest first.
    fn history(&self) -> &[SealedRevision] {
        self.more.as_ref().map_or(&[], |more| &more.history)
    }

    /// Takes the other heads and the history out, to be changed and [set](Self::set_more) again.
    fn take_more(&mut self) -> More {
        self.more.take().map_or_else(More::default, |more| *more)
    }

    fn set_more(&mut self, mut more: More) {
        // Each record lives as long as the vault is open: none has room to spare.
        more.heads.shrink_to_fit();
        more.history.shrink_to_fit();
        self.more = (!more.heads.is_empty() || !more.history.is_empty()).then(|| Box::new(more));
    }

    /// Returns the number of heads.
    pub(crate) fn head_count(&self) -> usize {
        1 + self.other_heads().len()
    }

    /// Returns the heads, then the history.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = &SealedRevision> {
        self.heads().chain(self.history())
    }

    pub(crate) fn find(&self, id: &RevisionId) -> Option<&SealedRevision> {
        self.revisions().find(|revision| revision.id == *id)
    }

    /// Checks whether any head has a value.
    pub(crate) fn is_readable(&self) -> bool {
        self.heads().any(|head| !head.deleted)
    }

    /// Returns the head to show: values before deletions, then the latest time, then the greatest
    /// id.
    pub(crate) fn shown(&self) -> Option<&SealedRevision> {
        Self::shown_of(self.heads())
    }

    /// Returns the revision to show among `revisions`, by the same order.
    pub(crate) fn shown_of<'a>(
        revisions: impl IntoIterator<Item = &'a SealedRevision>,
    ) -> Option<&'a SealedRevision> {
        revisions.into_iter().max_by_key(|head| (!head.deleted, head.shown_time(), head.id))
    }

    /// Checks whether the heads differ in content: equal values written independently are not a
    /// conflict.
    pub(crate) fn is_conflict(&self, keeper: &RecordCipher<'_>) -> Result<bool, Damaged> {
        if self.other_heads().is_empty() || !self.is_readable() {
            return Ok(false);
        }
        let first_open = keeper.open(&self.head)?;
        for other in self.other_heads() {
            let other_open = keeper.open(other)?;
            if (first_open.deleted, &first_open.value) != (other_open.deleted, &other_open.value) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the ancestors of a revision that replaces all heads. `is_shared` tells which heads
    /// have been on another device.
    pub(crate) fn ancestors_of_next(&self, is_shared: impl Fn(&SealedRevision) -> bool) -> Ancestors {
        Self::ancestors_after(self.heads(), is_shared)
    }

    /// Returns the ancestors of a revision that replaces these heads.
    pub(crate) fn ancestors_after<'a>(
        heads: impl Iterator<Item = &'a SealedRevision>,
        is_shared: impl Fn(&SealedRevision) -> bool,
    ) -> Ancestors {
        let heads: Vec<Replaced<'_>> = heads.map(|head| head.as_replaced(is_shared(head))).collect();
        Ancestors::for_successor(&heads)
    }

    /// Merges one revision at the time `now`: forms the union, then moves replaced heads to the
    /// history.
    pub(crate) fn insert(
        &mut self,
        mut new: SealedRevision,
        now: Timestamp,
        forgetting: &Forgetting,
    ) -> Inserted {
        if self.heads().any(|head| head.id == new.id || head.ancestors().contains(&new.id)) {
            return Inserted::AlreadyPresent;
        }
        let ancestors = new.ancestors().clone();
        let replaces = |head: &SealedRevision| ancestors.contains(&head.id);
        let mut list = ancestors.clone();
        if new.origin.delivered().is_some() {
            let replaced = self.heads().filter(|head| replaces(head));
            let replaced: Vec<Replaced<'_>> = replaced.map(|head| head.as_replaced(true)).collect();
            list = ancestors.merged_with(&replaced);
        }
        let replaced = self.heads().filter(|head| replaces(head)).map(|head| (head.ancestors(), head.ages()));
        let ages = Ages::carried(&list, replaced, forgetting);
        new.set_ancestors(list, ages);
        let More { mut heads, mut history } = self.take_more();
        // A replaced revision that no head's ancestors reach any more can become a head again. It
        // then leaves the history.
        history.retain(|old| old.id != new.id);
        let mut replaced: Vec<SealedRevision> = heads.extract_if(.., |head| replaces(head)).collect();
        if replaces(&self.head) {
            replaced.insert(0, std::mem::replace(&mut self.head, new));
        } else {
            heads.push(new);
        }
        if let Some(least) =
            (0..heads.len()).min_by_key(|at| heads[*at].id).filter(|at| heads[*at].id < self.head.id)
        {
            std::mem::swap(&mut self.head, &mut heads[least]);
        }
        heads.sort_unstable_by_key(|head| head.id);
        replaced.iter_mut().for_each(|old| old.set_replaced(now));
        history.splice(..0, replaced);
        self.set_more(More { heads, history });
        Inserted::Head
    }

    /// Adds replaced revisions to the history, which stays ordered by the time of replacement.
    pub(crate) fn add_history(&mut self, replaced: Vec<SealedRevision>) {
        let held: BTreeSet<RevisionId> = self.revisions().map(|revision| revision.id).collect();
        let mut more = self.take_more();
        more.history.extend(replaced.into_iter().filter(|old| !held.contains(&old.id)));
        more.history.sort_by_key(|old| std::cmp::Reverse(old.replaced()));
        self.set_more(more);
    }

    /// Returns the number of replaced revisions.
    pub(crate) fn history_len(&self) -> usize {
        self.history().len()
    }

    /// Drops the oldest replaced revisions. Besides the newest [`MAX_HISTORY`], it keeps revisions
    /// that steps name, the parents of the heads and, for [`RETENTION`], the last value that each
    /// device delivered and the last one written here.
    pub(crate) fn trim(&mut self, named: &BTreeSet<ShortId>, now: Timestamp) {
        let is_kept = self.is_kept(named, now);
        let mut more = self.take_more();
        more.history.retain(is_kept);
        self.set_more(more);
    }

    /// Returns whether [`trim`](Self::trim) would drop nothing.
    pub(crate) fn is_trimmed(&self, named: &BTreeSet<ShortId>, now: Timestamp) -> bool {
        self.history().iter().all(self.is_kept(named, now))
    }

    /// Returns which replaced revisions stay, called with each of them from the newest on.
    fn is_kept<'a>(
        &self,
        named: &'a BTreeSet<ShortId>,
        now: Timestamp,
    ) -> impl FnMut(&SealedRevision) -> bool + use<'a> {
        let parents: BTreeSet<ShortId> =
            self.heads().flat_map(|head| head.ancestors().parents()).copied().collect();
        let (mut index, mut devices) = (0, BTreeSet::new());
        move |old| {
            index += 1;
            let via = old.origin.delivered().map(|(via, _)| via);
            let is_last_value = !old.deleted && devices.insert(via);
            let short = old.id.short();
            index <= MAX_HISTORY
                || named.contains(&short)
                || parents.contains(&short)
                || is_last_value && now.since(old.replaced()) < RETENTION
        }
    }

    /// Calls `visit` with the number of each device that a revision names.
    pub(crate) fn for_each_device(&mut self, mut visit: impl FnMut(&mut DeviceNumber)) {
        self.heads_mut().for_each(|head| head.origin.for_each_device(&mut visit));
        let history = self.more.iter_mut().flat_map(|more| &mut more.history);
        history.for_each(|old| old.origin.for_each_device(&mut visit));
    }

    /// Removes the history and returns the number of revisions removed.
    pub(crate) fn clear_history(&mut self) -> usize {
        let More { heads, history } = self.take_more();
        self.set_more(More { heads, history: Vec::new() });
        history.len()
    }

    pub(crate) fn shapes(&self, location: LocationId) -> impl Iterator<Item = Shape> {
        self.heads().map(move |head| head.shape(location))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        sealed::{Flag, OVERHEAD, TAG},
        *,
    };
    use crate::ages::ms;
    use crate::{
        devices::Devices,
        locked::LockedKey,
        revision::{Labels, Revision},
    };
    use stronghold_sync::{DeviceId, Location, MAX_RECORD_NAME, heads, padme_len};

    const HERE: Origin = Origin::written_by(0);
    const AT: Forgetting = Forgetting { generation: 1, newest_mark: 0, floor: 0 };

    fn devices() -> Devices {
        let mut devices = Devices::default();
        devices.number(DeviceId::from_bytes([4; 32]));
        devices
    }

    fn revision(value: &[u8], ancestors: Ancestors) -> Revision {
        let labels = Labels::from([("from".to_owned(), "csv".to_owned())]);
        Revision {
            salt: [3; 32],
            author: DeviceId::from_bytes([4; 32]),
            ancestors,
            deleted: false,
            labels,
            time: ms(1),
            value: value.to_vec().into(),
        }
    }

    fn location(text: &str) -> LocationId {
        text.parse::<Location>().unwrap().id()
    }

    #[test]
    fn a_sealed_revision_opens_only_with_its_key_location_and_id() {
        let (key, other) = (LockedKey::new(&[1; 32]), LockedKey::new(&[2; 32]));
        let devices = devices();
        let keeper = RecordCipher { key: &key, location: location("c/v/r"), devices: &devices };
        let revision = revision(b"hunter2", Ancestors::default());
        let sealed = keeper.seal(revision.id(), &revision, HERE).unwrap();
        assert_eq!(keeper.open(&sealed).unwrap(), revision);
        assert!(!sealed.content.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(RecordCipher { key: &other, ..keeper }.open(&sealed), Err(Damaged));
        let (at, elsewhere) = (location("c/v/r"), location("d/w/s"));
        for moved in [
            LocationId { client: elsewhere.client, ..at },
            LocationId { vault: elsewhere.vault, ..at },
            LocationId { record: elsewhere.record, ..at },
        ] {
            assert_eq!(RecordCipher { location: moved, ..keeper }.open(&sealed), Err(Damaged));
        }
        let renamed = SealedRevision { id: RevisionId::from_bytes([9; 32]), ..sealed.clone() };
        assert_eq!(keeper.open(&renamed), Err(Damaged));
        for at in 0..sealed.content.len() {
            let mut bent = sealed.clone();
            bent.content[at] ^= 1;
            assert_eq!(keeper.open(&bent), Err(Damaged));
        }
    }

    #[test]
    fn one_revision_under_two_names_is_sealed_under_two_keys() {
        let key = LockedKey::new(&[1; 32]);
        let revision = revision(b"hunter2", Ancestors::default());
        let sealed = |name| {
            let devices = devices();
            let keeper = RecordCipher { key: &key, location: location(name), devices: &devices };
            keeper.seal(revision.id(), &revision, HERE).unwrap().content
        };
        let (one, two) = (sealed("c/v/r"), sealed("c/v/s"));
        assert_ne!(one[..one.len() - TAG], two[..two.len() - TAG]);
    }

    #[test]
    fn inserting_gives_the_heads_of_the_union() {
        let key = LockedKey::new(&[1; 32]);
        let devices = devices();
        let keeper = RecordCipher { key: &key, location: location("c/v/r"), devices: &devices };
        let sealed = |value: u8, after: &[RevisionId]| {
            let revision = revision(&[value], Ancestors::from_newest_first(after.to_vec()).unwrap());
            keeper.seal(revision.id(), &revision, HERE).unwrap()
        };
        let root = sealed(0, &[]);
        let (left, right) = (sealed(1, &[root.id]), sealed(2, &[root.id]));
        let both = sealed(3, &[left.id, right.id, root.id]);
        let beside = sealed(4, &[]);
        let all = [root, left, right, both, beside];
        for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [1, 2, 0, 3, 4], [3, 4, 0, 1, 2]] {
            let mut record = Record::new("r", all[order[0]].clone(), &AT);
            let mut seen: Vec<&SealedRevision> = Vec::new();
            for next in order.map(|at| &all[at]) {
                seen.push(next);
                record.insert(next.clone(), ms(1), &AT);
                let expected: Vec<RevisionId> = heads(seen.clone()).iter().map(|head| head.id).collect();
                let held: Vec<RevisionId> = record.heads().map(|head| head.id).collect();
                assert_eq!(held, expected, "{order:?}");
                assert_eq!(record.insert(next.clone(), ms(1), &AT), Inserted::AlreadyPresent);
            }
        }
    }

    /// Ancestors that a peer omits from a revision are inherited from the heads it replaces, so a
    /// replaced revision does not come back.
    #[test]
    fn a_delivered_revision_inherits_what_the_heads_it_replaces_had_replaced() {
        let key = LockedKey::new(&[1; 32]);
        let devices = devices();
        let keeper = RecordCipher { key: &key, location: location("c/v/r"), devices: &devices };
        let sealed = |value: u8, after: &[RevisionId], origin: Origin| {
            let revision = revision(&[value], Ancestors::from_newest_first(after.to_vec()).unwrap());
            keeper.seal(revision.id(), &revision, origin).unwrap()
        };
        let old = sealed(0, &[], HERE);
        let mut record = Record::new("r", old.clone(), &AT);
        let next = sealed(1, &[old.id], HERE);
        record.insert(next.clone(), ms(1), &AT);
        let from_elsewhere = sealed(2, &[next.id], Origin::delivered_by(0, 0, ms(1)));
        assert!(!from_elsewhere.ancestors().contains(&old.id));
        assert_eq!(record.insert(from_elsewhere, ms(2), &AT), Inserted::Head);
        assert_eq!(record.insert(old, ms(3), &AT), Inserted::AlreadyPresent);
        assert_eq!(record.head_count(), 1);
    }

    #[test]
    fn a_replaced_revision_that_ancestors_do_not_reach_is_a_head_again_not_lost() {
        let key = LockedKey::new(&[1; 32]);
        let devices = devices();
        let keeper = RecordCipher { key: &key, location: location("c/v/r"), devices: &devices };
        let old = revision(b"old", Ancestors::default());
        let old = keeper.seal(old.id(), &old, HERE).unwrap();
        let mut record = Record::new("r", old.clone(), &AT);
        let far = revision(b"far", Ancestors::from_newest_first(vec![old.id]).unwrap());
        record.insert(keeper.seal(far.id(), &far, HERE).unwrap(), ms(1), &AT);
        let later = revision(b"later", Ancestors::from_newest_first(vec![far.id()]).unwrap());
        record.insert(keeper.seal(later.id(), &later, HERE).unwrap(), ms(1), &AT);
        assert_eq!(record.insert(old.clone(), ms(1), &AT), Inserted::Head);
        assert_eq!(record.revisions().filter(|held| held.id == old.id).count(), 1);
    }

    /// A revision that is told from others by its number alone, and can't be opened.
    fn plain(number: u8, after: &[u8]) -> SealedRevision {
        let ids = after.iter().map(|number| RevisionId::from_bytes([*number; 32])).collect();
        let mut plain = SealedRevision {
            id: RevisionId::from_bytes([number; 32]),
            content: vec![0; OVERHEAD].into(),
            time: ms(1),
            origin: HERE,
            succession: None,
            deleted: false,
            shared: Flag::new(false),
        };
        plain.set_ancestors(Ancestors::from_newest_first(ids).unwrap(), Ages::EMPTY);
        plain
    }

    fn numbers<'a>(revisions: impl IntoIterator<Item = &'a SealedRevision>) -> Vec<u8> {
        revisions.into_iter().map(|revision| revision.id.as_bytes()[0]).collect()
    }

    #[test]
    fn a_value_is_shown_before_a_deletion_then_the_latest_then_the_greatest_id() {
        let head = |number, deleted, time, arrived: Option<u64>| SealedRevision {
            deleted,
            time: ms(time),
            origin: arrived.map_or(HERE, |at| Origin::delivered_by(0, 0, ms(at))),
            ..plain(number, &[])
        };
        let shown =
            |heads: &[SealedRevision]| Record::shown_of(heads).map_or(0, |head| head.id.as_bytes()[0]);
        for (heads, expected) in [
            ([head(1, false, 1, None), head(2, true, 9, None)], 1),
            ([head(1, true, 9, None), head(2, true, 1, None)], 1),
            ([head(1, false, 5, None), head(2, false, 4, None)], 1),
            ([head(1, false, 5, None), head(2, false, 5, None)], 2),
            ([head(1, false, 5, None), head(2, false, 9, Some(4))], 1),
            ([head(1, false, 5, None), head(2, false, 9, Some(6))], 2),
            ([head(1, false, 5, Some(9)), head(2, false, 4, None)], 1),
        ] {
            assert_eq!(shown(&heads), expected, "{heads:?}");
        }
        assert_eq!(shown(&[]), 0);
        let mut record = Record::new("r", head(1, true, 9, None), &AT);
        assert!(!record.is_readable());
        record.insert(head(2, false, 1, None), ms(1), &AT);
        assert_eq!((record.is_readable(), record.shown().map(|head| head.time)), (true, Some(ms(1))));
    }

    #[test]
    fn what_is_replaced_goes_to_the_front_of_the_history_with_its_parents_and_the_time() {
        let mut record = Record::new("r", plain(9, &[]), &AT);
        record.insert(plain(5, &[9, 8]), ms(2), &AT);
        record.insert(plain(7, &[9]), ms(3), &AT);
        record.insert(plain(3, &[9]), ms(3), &AT);
        assert_eq!((numbers(record.heads()), numbers(record.history())), (vec![3, 5, 7], vec![9]));
        record.insert(plain(6, &[5, 3, 9]), ms(4), &AT);
        assert_eq!((numbers(record.heads()), numbers(record.history())), (vec![6, 7], vec![3, 5, 9]));
        let told: Vec<(Timestamp, usize)> =
            record.history().iter().map(|old| (old.replaced(), old.ancestors().as_slice().len())).collect();
        assert_eq!(
            told,
            [(ms(4), 1), (ms(4), 1), (ms(2), 0)],
            "what parents had replaced is known of heads alone"
        );
        assert!(record.heads().all(|head| head.replaced() == ms(0)));
        assert_eq!((record.head_count(), record.history_len()), (2, 3));
        assert_eq!(numbers(record.revisions()), [6, 7, 3, 5, 9]);
        let find = |number| record.find(&RevisionId::from_bytes([number; 32])).map(SealedRevision::replaced);
        assert_eq!((find(6), find(9), find(4)), (Some(ms(0)), Some(ms(2)), None));
        assert_eq!((record.clear_history(), record.history_len(), record.head_count()), (3, 0, 2));
    }

    #[test]
    fn of_the_history_beyond_ten_there_stays_what_is_named_a_parent_or_a_devices_last_value() {
        let now = ms(1_000).saturating_add(RETENTION);
        let old = |number, via: Option<DeviceNumber>, deleted, replaced| {
            let origin = via.map_or(HERE, |via| Origin::delivered_by(0, via, ms(1)));
            let mut old = SealedRevision { origin, deleted, ..plain(number, &[]) };
            old.set_replaced(replaced);
            old
        };
        let mut history = vec![old(1, None, true, now)]; // a deletion is no value, nor the owner's last one
        history.extend((2..=10).map(|number| old(number, Some(1), false, ms(0))));
        history.extend([
            old(21, Some(1), false, now), // not its last
            old(22, Some(1), false, ms(0)),
            old(23, Some(1), false, ms(0)), // named by a step
            old(24, Some(2), true, now),
            old(25, Some(2), false, ms(1001)),
            old(26, Some(3), false, ms(1000)), // ninety days ago
            old(27, Some(3), false, now),
            old(28, None, false, ms(now.as_millis() + 5)), // by a clock that was ahead
            old(29, None, false, now),
        ]);
        let mut record = Record::new("r", plain(100, &[22]), &AT);
        record.set_more(More { heads: Vec::new(), history });
        let named = BTreeSet::from([RevisionId::from_bytes([23; 32]).short()]);
        record.trim(&named, now);
        assert_eq!(numbers(record.history())[..10], (1..=10).collect::<Vec<u8>>());
        assert_eq!(numbers(record.history())[10..], [22, 23, 25, 28]);
        record.trim(&BTreeSet::new(), now);
        assert_eq!(numbers(record.history())[10..], [22, 25, 28]);
        record.insert(plain(101, &[100]), now, &AT);
        record.trim(&BTreeSet::new(), now);
        let left = [101, 100, 1, 2, 3, 4, 5, 6, 7, 8, 9, 25];
        assert_eq!(numbers(record.revisions()), left, "the parents' parents are not named any more");
    }

    #[test]
    fn a_record_has_a_name_and_heads_in_order_or_it_is_none() {
        let stored = |name: &str, heads: &[u8]| {
            let heads: Vec<SealedRevision> = heads.iter().map(|number| plain(*number, &[])).collect();
            let stored = rmp_serde::to_vec(&(name, heads, [plain(9, &[])])).unwrap();
            let held: Option<Record> = crate::encoding::decode_sealed(&stored).ok();
            held.map(|held| numbers(held.revisions()))
        };
        assert_eq!(stored("r", &[1, 2, 3]), Some(vec![1, 2, 3, 9]));
        assert_eq!(stored(&"n".repeat(MAX_RECORD_NAME), &[1]), Some(vec![1, 9]));
        let long = "n".repeat(MAX_RECORD_NAME + 1);
        for (name, heads) in [("", &[1][..]), (&long, &[1]), ("r", &[]), ("r", &[2, 1]), ("r", &[1, 1])] {
            assert_eq!(stored(name, heads), None, "{name} {heads:?}");
        }
    }

    #[test]
    fn a_delivery_names_a_device_and_no_device_has_the_number_that_stands_for_here() {
        let load = |origin: (DeviceNumber, Option<(DeviceNumber, u64)>)| {
            crate::encoding::decode_sealed::<Origin>(&rmp_serde::to_vec(&origin).unwrap())
                .ok()
                .map(|origin| (origin.author, origin.delivered()))
        };
        assert_eq!(load((3, None)), Some((3, None)));
        assert_eq!(load((3, Some((4, 5)))), Some((3, Some((4, ms(5))))));
        assert_eq!(
            load((3, Some((DeviceNumber::MAX - 1, 0)))),
            Some((3, Some((DeviceNumber::MAX - 1, ms(0)))))
        );
        assert_eq!(load((3, Some((DeviceNumber::MAX, 5)))), None);
    }

    /// A vault that is open holds so many bytes for each record, beside its name and its sealed
    /// value.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_record_that_was_never_replaced_takes_little_memory() {
        assert_eq!((size_of::<SealedRevision>(), size_of::<Record>()), (88, 112));
        let mut record = Record::new("r", plain(1, &[]), &AT);
        assert!(record.head.succession.is_none() && record.more.is_none());
        record.insert(plain(2, &[1]), ms(1), &AT);
        assert!(record.head.succession.is_some() && record.more.is_some());
        record.clear_history();
        assert!(record.more.is_none());
    }

    #[test]
    fn heads_are_a_conflict_where_what_they_say_differs() {
        let key = LockedKey::new(&[1; 32]);
        let devices = devices();
        let keeper = RecordCipher { key: &key, location: location("c/v/r"), devices: &devices };
        let is_conflict = |says: &[Option<&str>]| {
            let mut sealed = says.iter().zip(1..).map(|(says, time)| {
                let revision = Revision {
                    time: ms(time),
                    deleted: says.is_none(),
                    ..revision(says.unwrap_or_default().as_bytes(), Ancestors::default())
                };
                keeper.seal(revision.id(), &revision, HERE).unwrap()
            });
            let mut record = Record::new("r", sealed.next().unwrap(), &AT);
            sealed.for_each(|next| _ = record.insert(next, ms(1), &AT));
            assert_eq!(record.head_count(), says.len());
            record.is_conflict(&keeper).unwrap()
        };
        for (says, expected) in [
            (&[Some("a")][..], false),
            (&[Some("a"), Some("a")], false),
            (&[Some("a"), Some("b")], true),
            (&[Some("a"), Some("a"), Some("b")], true),
            (&[None, None], false),
            (&[None, Some("")], true),
            (&[Some(""), Some("")], false),
        ] {
            assert_eq!(is_conflict(says), expected, "{says:?}");
        }
        let mut damaged = Record::new("r", plain(1, &[]), &AT);
        assert_eq!(damaged.is_conflict(&keeper), Ok(false), "one is not opened for it");
        damaged.insert(plain(2, &[]), ms(1), &AT);
        assert_eq!(damaged.is_conflict(&keeper), Err(Damaged));
    }

    #[test]
    fn what_is_told_of_a_sealed_revision_is_its_size_and_what_it_replaced() {
        let key = LockedKey::new(&[1; 32]);
        let devices = devices();
        let at = location("c/v/r");
        let keeper = RecordCipher { key: &key, location: at, devices: &devices };
        let revision = Revision { deleted: true, ..revision(&[0; 100], Ancestors::default()) };
        let sealed = keeper.seal(revision.id(), &revision, HERE).unwrap();
        assert_eq!(sealed.len(), 100 + 11, "the value, and the labels with their lengths");
        let entry = stronghold_sync::EntryId { location: at, revision: revision.id() };
        assert_eq!(sealed.shape(at), revision.shape(&entry));
        assert_eq!(sealed.shape(at).size, padme_len(111));
        assert!(sealed.shape(at).deleted && !sealed.shared.is_set());
        let delivered = Origin::delivered_by(0, 0, ms(1));
        assert!(keeper.seal(revision.id(), &revision, delivered).unwrap().shared.is_set());
    }

    #[test]
    fn the_history_keeps_ten_newest_first() {
        let key = LockedKey::new(&[1; 32]);
        let devices = devices();
        let keeper = RecordCipher { key: &key, location: location("c/v/r"), devices: &devices };
        let first = revision(&[0], Ancestors::default());
        let mut record = Record::new("r", keeper.seal(first.id(), &first, HERE).unwrap(), &AT);
        for n in 1..15u8 {
            let next = revision(&[n], record.ancestors_of_next(|_| false));
            assert_eq!(
                record.insert(keeper.seal(next.id(), &next, HERE).unwrap(), ms(1), &AT),
                Inserted::Head
            );
            record.trim(&BTreeSet::new(), ms(1));
        }
        let values: Vec<u8> = record.history().iter().map(|old| keeper.open(old).unwrap().value[0]).collect();
        assert_eq!(values, (4..14).rev().collect::<Vec<u8>>());
        assert_eq!(record.head_count(), 1);
    }
}
