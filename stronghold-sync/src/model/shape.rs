//! Shapes, and the order of revisions without clocks or counters (`DESIGN.md`, Revisions).

use alloc::{collections::BTreeSet, sync::Arc, vec, vec::Vec};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{LocationId, RevisionId, ShortId};

/// Maximum number of ancestors of a head. Beyond it an old revision may seem concurrent: a false
/// conflict, never a loss.
pub const MAX_ANCESTORS: usize = 4096;

/// The short ids of the revisions that a revision has replaced, directly or not: at most
/// [`MAX_ANCESTORS`].
///
/// First come its parents, the heads that it replaced directly: they are fixed, and the revision's
/// id covers them. Then come the revisions that these had replaced, which the id does not cover, so
/// that each device may truncate them differently. Within both groups, revisions that have been on
/// a device other than their author's come first, newest first: a device may still show them.
/// Revisions that never left their author's file follow, newest first, and are truncated before any
/// other.
///
/// The encoding is one byte string, empty if there are no ancestors: the numbers of parents, of
/// parents that have been elsewhere, and of others that have been elsewhere, 2 bytes each,
/// big-endian; then 8 bytes for each id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ancestors {
    ids: Option<Arc<[ShortId]>>,
    parents: u16,
    shared_parents: u16,
    shared: u16,
}

/// A head that a new revision replaces.
#[derive(Clone, Copy, Debug)]
pub struct Replaced<'a> {
    /// The head's id.
    pub id: RevisionId,
    /// `true` if the head has been, or may have been, on another device.
    pub shared: bool,
    /// The head's own ancestors.
    pub ancestors: &'a Ancestors,
}

/// The description of a revision that travels before its value: never content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The record.
    pub location: LocationId,
    /// The revision's id, the cryptographic hash of its content.
    pub revision: RevisionId,
    /// The revisions that it has replaced. In a message to a peer only the peer's heads among them,
    /// where the sender can tell which these are.
    pub ancestors: Ancestors,
    /// The value's size in bytes, padded (see [`crate::padme_len`]).
    pub size: u64,
    /// `true` for a deletion.
    pub deleted: bool,
}

/// One revision of one record: the unit that devices request and send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// The record.
    pub location: LocationId,
    /// The revision of the record.
    pub revision: RevisionId,
}

impl Shape {
    /// Returns the entry that the shape describes.
    pub fn entry(&self) -> EntryId {
        EntryId { location: self.location, revision: self.revision }
    }
}

impl Ancestors {
    /// Returns the ancestors of a record's first revision: none.
    pub const fn new() -> Self {
        Self { ids: None, parents: 0, shared_parents: 0, shared: 0 }
    }

    /// Returns the ancestors of a revision that replaces these heads.
    pub fn for_successor(heads: &[Replaced<'_>]) -> Self {
        let mut heads = heads.to_vec();
        heads.sort_by_key(|head| (!head.shared, head.id));
        let parents: Vec<ShortId> = heads.iter().map(|head| head.id.short()).collect();
        let shared_parents = heads.iter().filter(|head| head.shared).count();
        let lists = || heads.iter().map(|head| head.ancestors);
        let (mut shared, mut private) =
            (interleave(lists().map(Self::shared)), interleave(lists().map(Self::private)));
        if heads.len() > 1 {
            let mut seen: BTreeSet<ShortId> = parents.iter().copied().collect();
            shared.retain(|id| seen.insert(*id));
            private.retain(|id| seen.insert(*id));
        }
        Self::from_parts(parents, shared_parents, shared, private)
    }

    /// Creates ancestors from a line of revisions, newest first, each replaced by the one before
    /// it; returns `None` if there are more than [`MAX_ANCESTORS`]. All count as having been
    /// elsewhere.
    pub fn from_newest_first(ids: Vec<RevisionId>) -> Option<Self> {
        let mut seen = BTreeSet::new();
        let mut ids: Vec<ShortId> = ids.iter().map(RevisionId::short).filter(|id| seen.insert(*id)).collect();
        if ids.len() > MAX_ANCESTORS {
            return None;
        }
        let further = ids.split_off(ids.len().min(1));
        Some(Self::from_parts(ids.clone(), ids.len(), further, Vec::new()))
    }

    /// Returns these ancestors together with the replaced heads and their ancestors: a peer that
    /// leaves ids out of a list does not make this side forget them.
    pub fn merged_with(&self, replaced: &[Replaced<'_>]) -> Self {
        let mut seen: BTreeSet<ShortId> = self.as_slice().iter().copied().collect();
        let known = seen.len();
        let new = |ids: Vec<ShortId>, seen: &mut BTreeSet<ShortId>| -> Vec<ShortId> {
            ids.into_iter().filter(|id| seen.insert(*id)).collect()
        };
        let heads = |shared: bool| {
            replaced.iter().filter(move |head| head.shared == shared).map(|head| head.id.short())
        };
        let lists = || replaced.iter().map(|head| head.ancestors);
        let shared = new(heads(true).chain(interleave(lists().map(Self::shared))).collect(), &mut seen);
        let private = new(heads(false).chain(interleave(lists().map(Self::private))).collect(), &mut seen);
        if seen.len() == known {
            return self.clone();
        }
        let (parents, further) = self.as_slice().split_at(self.parents.into());
        let (own_shared, own_private) = further.split_at(self.shared.into());
        Self::from_parts(
            parents.to_vec(),
            self.shared_parents.into(),
            [own_shared, &shared].concat(),
            [own_private, &private].concat(),
        )
    }

    /// Returns the parents alone: the part that a revision keeps once it is no longer a head.
    pub fn parents_only(&self) -> Self {
        Self::from_parts(self.parents().to_vec(), self.shared_parents.into(), Vec::new(), Vec::new())
    }

    /// Returns the ancestors that `keep` keeps, in their order.
    pub fn only(&self, mut keep: impl FnMut(&ShortId) -> bool) -> Self {
        let (parents, further) = self.as_slice().split_at(self.parents.into());
        let (shared, private) = further.split_at(self.shared.into());
        let mut kept = |ids: &[ShortId]| ids.iter().copied().filter(&mut keep).collect::<Vec<_>>();
        let (shared_parents, private_parents) = parents.split_at(self.shared_parents.into());
        let (shared_parents, private_parents) = (kept(shared_parents), kept(private_parents));
        let number = shared_parents.len();
        Self::from_parts([shared_parents, private_parents].concat(), number, kept(shared), kept(private))
    }

    /// Returns all ids, the parents first.
    pub fn as_slice(&self) -> &[ShortId] {
        self.ids.as_deref().unwrap_or(&[])
    }

    /// Returns the parents: the heads that the revision replaced directly.
    pub fn parents(&self) -> &[ShortId] {
        &self.as_slice()[..self.parents.into()]
    }

    /// Returns whether `id` is an ancestor.
    pub fn contains(&self, id: &RevisionId) -> bool {
        self.as_slice().contains(&id.short())
    }

    /// Returns the ids that have been elsewhere, newest first.
    fn shared(&self) -> impl Iterator<Item = ShortId> {
        let (parents, further) = self.as_slice().split_at(self.parents.into());
        parents[..self.shared_parents.into()].iter().chain(&further[..self.shared.into()]).copied()
    }

    /// Returns the ids that never left their author's file, newest first.
    fn private(&self) -> impl Iterator<Item = ShortId> {
        let (parents, further) = self.as_slice().split_at(self.parents.into());
        parents[self.shared_parents.into()..].iter().chain(&further[self.shared.into()..]).copied()
    }

    /// Assembles the list, truncating ids that never left before those that did, and the oldest
    /// first.
    fn from_parts(
        parents: Vec<ShortId>,
        shared_parents: usize,
        mut shared: Vec<ShortId>,
        private: Vec<ShortId>,
    ) -> Self {
        let mut ids = parents;
        ids.truncate(MAX_ANCESTORS);
        let parents = ids.len();
        shared.truncate(MAX_ANCESTORS - parents);
        ids.extend_from_slice(&shared);
        ids.extend(private.into_iter().take(MAX_ANCESTORS - ids.len()));
        // All of these numbers are at most `MAX_ANCESTORS`.
        Self {
            parents: parents as u16,
            shared_parents: shared_parents.min(parents) as u16,
            shared: shared.len() as u16,
            ids: (!ids.is_empty()).then(|| ids.into()),
        }
    }
}

/// Interleaves lists: the first item of each, then the second of each, and so on.
fn interleave<I: Iterator<Item = ShortId>>(lists: impl Iterator<Item = I>) -> Vec<ShortId> {
    let mut lists: Vec<I> = lists.collect();
    if let [one] = &mut lists[..] {
        return one.collect();
    }
    let mut all = Vec::new();
    while !lists.is_empty() {
        lists.retain_mut(|list| list.next().map(|id| all.push(id)).is_some());
    }
    all
}

impl Serialize for Ancestors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(ids) = &self.ids else { return serializer.serialize_bytes(&[]) };
        let mut bytes = Vec::with_capacity(COUNTS + 8 * ids.len());
        for count in [self.parents, self.shared_parents, self.shared] {
            bytes.extend_from_slice(&count.to_be_bytes());
        }
        ids.iter().for_each(|id| bytes.extend_from_slice(id.as_bytes()));
        serializer.serialize_bytes(&bytes)
    }
}

/// Size of the three numbers, in bytes.
const COUNTS: usize = 6;

/// Decodes the output of [`Serialize`]; returns `None` for anything else, such as an id that occurs
/// twice.
fn decode(bytes: &[u8]) -> Option<Ancestors> {
    if bytes.is_empty() {
        return Some(Ancestors::default());
    }
    let (counts, ids) = bytes.split_first_chunk::<COUNTS>()?;
    let (ids, rest) = ids.as_chunks::<8>();
    let [parents, shared_parents, shared] =
        [0, 2, 4].map(|at| u16::from_be_bytes([counts[at], counts[at + 1]]));
    let fits = rest.is_empty()
        && (1..=MAX_ANCESTORS).contains(&ids.len())
        && shared_parents <= parents
        && usize::from(parents) + usize::from(shared) <= ids.len();
    if !fits || !are_distinct(ids) {
        return None;
    }
    let ids = ids.iter().map(|id| ShortId::from_bytes(*id)).collect();
    Some(Ancestors { ids: Some(ids), parents, shared_parents, shared })
}

fn are_distinct(ids: &[[u8; 8]]) -> bool {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.is_sorted_by(|one, next| one < next)
}

impl<'de> Deserialize<'de> for Ancestors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ids;
        impl de::Visitor<'_> for Ids {
            type Value = Ancestors;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "three numbers and at most {MAX_ANCESTORS} short ids")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                decode(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Ids)
    }
}

/// A revision that can be ordered by its ancestors.
pub trait Versioned {
    /// Returns the revision's id.
    fn revision(&self) -> RevisionId;
    /// Returns the revisions that it has replaced.
    fn ancestors(&self) -> &Ancestors;
}

impl Versioned for Shape {
    fn revision(&self) -> RevisionId {
        self.revision
    }

    fn ancestors(&self) -> &Ancestors {
        &self.ancestors
    }
}

impl Versioned for (RevisionId, &Ancestors) {
    fn revision(&self) -> RevisionId {
        self.0
    }

    fn ancestors(&self) -> &Ancestors {
        self.1
    }
}

impl<T: Versioned> Versioned for &T {
    fn revision(&self) -> RevisionId {
        (*self).revision()
    }

    fn ancestors(&self) -> &Ancestors {
        (*self).ancestors()
    }
}

/// Returns the heads: each revision that no other one replaces, sorted by id.
///
/// The merge is commutative, associative and idempotent as long as ancestors are complete, so
/// replicas that have seen the same revisions hold the same heads. Beyond [`MAX_ANCESTORS`] a
/// replaced revision may become a head again.
///
/// The cost is proportional to the number of revisions and their ancestors, not to its square: a
/// peer may send many.
pub fn heads<T: Versioned>(revisions: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = revisions.into_iter().collect();
    all.sort_by_key(Versioned::revision);
    all.dedup_by_key(|revision| revision.revision());
    if all.len() < 2 {
        return all;
    }
    let mut replaced = vec![false; all.len()];
    for (by, revision) in all.iter().enumerate() {
        for ancestor in revision.ancestors().as_slice() {
            // Ids are sorted, and so are their prefixes. A revision never replaces itself, even if
            // its list says so.
            let from = all.partition_point(|other| other.revision().short() < *ancestor);
            let named = all[from..].iter().take_while(|other| other.revision().short() == *ancestor).count();
            (from..from + named).filter(|at| *at != by).for_each(|at| replaced[at] = true);
        }
    }
    let mut replaced = replaced.into_iter();
    all.retain(|_| !replaced.next().unwrap_or(false));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> RevisionId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        RevisionId::from_bytes(bytes)
    }

    fn after(heads: &[(u16, bool, &Ancestors)]) -> Ancestors {
        let heads: Vec<Replaced<'_>> = heads
            .iter()
            .map(|(n, shared, ancestors)| Replaced { id: id(*n), shared: *shared, ancestors })
            .collect();
        Ancestors::for_successor(&heads)
    }

    fn short(numbers: &[u16]) -> Vec<ShortId> {
        numbers.iter().map(|n| id(*n).short()).collect()
    }

    #[test]
    fn what_never_left_is_cut_before_what_did_and_the_oldest_first() {
        let mut ancestors = Ancestors::default();
        for n in 0..10_000 {
            ancestors = after(&[(n, n % 1000 == 0, &ancestors)]);
        }
        assert_eq!(ancestors.as_slice().len(), MAX_ANCESTORS);
        assert_eq!(ancestors.parents(), short(&[9999]));
        assert!((0..10).all(|n| ancestors.contains(&id(1000 * n))), "however long ago");
        assert!(
            ancestors.contains(&id(9998)) && ancestors.contains(&id(5910)) && !ancestors.contains(&id(5899))
        );
        for n in 10_000..20_000 {
            ancestors = after(&[(n, true, &ancestors)]);
        }
        assert_eq!(ancestors.as_slice().len(), MAX_ANCESTORS);
        assert!(ancestors.contains(&id(15_904)) && !ancestors.contains(&id(15_903)));
    }

    #[test]
    fn a_successor_of_two_heads_is_after_both_and_all_theirs() {
        let none = Ancestors::default();
        let (left, right) = (after(&[(1, false, &none)]), after(&[(2, true, &none)]));
        let both = after(&[(3, false, &left), (4, true, &right)]);
        assert_eq!(both.as_slice(), short(&[4, 3, 2, 1]));
        assert_eq!(both.parents(), short(&[4, 3]));
        assert_eq!(both, after(&[(4, true, &right), (3, false, &left)]));
        assert_eq!(both.parents_only().as_slice(), short(&[4, 3]));
    }

    #[test]
    fn what_a_list_leaves_out_is_added_from_what_is_replaced() {
        let none = Ancestors::default();
        let old = after(&[(1, true, &none)]);
        let old = after(&[(2, false, &old)]);
        let forged = Ancestors::from_newest_first(vec![id(3)]).unwrap();
        let replaced = [Replaced { id: id(3), shared: true, ancestors: &old }];
        let whole = forged.merged_with(&replaced);
        assert_eq!(whole.as_slice(), short(&[3, 1, 2]));
        assert_eq!(whole.parents(), forged.parents());
        assert_eq!(whole.merged_with(&replaced), whole);
    }

    #[test]
    fn what_is_kept_of_a_list_stays_of_its_kind() {
        let none = Ancestors::default();
        let (left, right) = (after(&[(1, true, &none)]), after(&[(2, false, &none)]));
        let both = after(&[(3, false, &left), (4, true, &right)]);
        let only = |numbers: &[u16]| both.only(|id| short(numbers).contains(id));
        assert_eq!((only(&[1, 2, 3, 4]), only(&[])), (both.clone(), none));
        assert_eq!(only(&[1, 4]).as_slice(), short(&[4, 1]));
        let counts = |list: Ancestors| [list.parents, list.shared_parents, list.shared];
        assert_eq!([only(&[1, 4]), only(&[3, 2]), only(&[1])].map(counts), [[1, 1, 1], [1, 0, 0], [0, 0, 1]]);
    }

    #[test]
    fn of_several_heads_what_has_travelled_comes_first_and_each_has_its_turn() {
        let none = Ancestors::default();
        assert_eq!((none.as_slice(), none.parents()), (&[][..], &[][..]));
        let line = |numbers: &[(u16, bool)]| {
            numbers
                .iter()
                .fold(Ancestors::default(), |ancestors, (n, shared)| after(&[(*n, *shared, &ancestors)]))
        };
        let one = line(&[(11, true), (12, false), (13, true)]);
        let other = line(&[(21, false), (22, true), (11, true)]);
        assert_eq!(one.as_slice(), short(&[13, 11, 12]));
        let both = after(&[(2, false, &one), (1, true, &other), (3, true, &none)]);
        assert_eq!(both.parents(), short(&[1, 3, 2]), "shared first, then by id");
        assert_eq!(both.as_slice(), short(&[1, 3, 2, 11, 13, 22, 21, 12]));
        assert_eq!((both.shared_parents, both.shared), (2, 3));
        let next = after(&[(4, false, &both)]);
        assert_eq!(next.as_slice(), short(&[4, 1, 3, 11, 13, 22, 2, 21, 12]));
        assert_eq!((next.shared_parents, next.shared), (0, 5));
        assert!(next.contains(&id(21)) && !next.contains(&id(5)));
        assert_eq!(both.parents_only().as_slice(), short(&[1, 3, 2]));
        assert_eq!((both.parents_only().shared_parents, both.parents_only().shared), (2, 0));
    }

    #[test]
    fn what_is_added_goes_behind_what_was_there_of_its_kind() {
        let none = Ancestors::default();
        let own = after(&[(1, true, &after(&[(2, false, &after(&[(3, true, &none)]))]))]);
        assert_eq!((own.as_slice(), own.shared), (&short(&[1, 3, 2])[..], 1));
        let history = after(&[(5, false, &after(&[(6, true, &none)]))]);
        let whole = own.merged_with(&[
            Replaced { id: id(1), shared: true, ancestors: &history },
            Replaced { id: id(8), shared: false, ancestors: &none },
        ]);
        assert_eq!(whole.as_slice(), short(&[1, 3, 6, 2, 8, 5]));
        assert_eq!((whole.parents(), whole.shared_parents, whole.shared), (&short(&[1])[..], 1, 2));
        assert_eq!(own.merged_with(&[]), own);
    }

    #[test]
    fn heads_are_what_nothing_else_replaces_in_the_order_of_ids() {
        let none = Ancestors::default();
        let (two, far) = (after(&[(2, true, &none)]), after(&[(4, true, &after(&[(1, true, &none)]))]));
        let merged = |list: &[(u16, &Ancestors)]| -> Vec<RevisionId> {
            heads(list.iter().map(|(n, ancestors)| (id(*n), *ancestors))).iter().map(|head| head.0).collect()
        };
        assert_eq!(merged(&[]), []);
        assert_eq!(merged(&[(2, &none)]), [id(2)]);
        assert_eq!(merged(&[(3, &two), (2, &none), (1, &none), (3, &two)]), [id(1), id(3)]);
        assert_eq!(merged(&[(1, &none), (4, &none), (5, &far)]), [id(5)]);
        assert_eq!(merged(&[(9, &two), (5, &far), (3, &none)]), [id(3), id(5), id(9)]);
    }

    #[test]
    fn a_list_that_names_its_own_revision_replaces_it_not() {
        let itself = Ancestors::from_newest_first(vec![id(1)]).unwrap();
        assert_eq!(heads([(id(1), &itself), (id(2), &Ancestors::default())]).len(), 2);
    }

    #[test]
    fn the_wire_form_refuses_what_can_not_be() {
        let many: Vec<RevisionId> = (0..4097).map(id).collect();
        assert!(Ancestors::from_newest_first(many.clone()).is_none());
        let load = |bytes: &[u8]| {
            let bytes = rmp_serde::to_vec(serde_bytes::Bytes::new(bytes)).unwrap();
            rmp_serde::from_slice::<Ancestors>(&bytes)
        };
        let encoded = |counts: [u8; 6], ids: usize| {
            let ids = (0..ids as u64).flat_map(u64::to_be_bytes);
            counts.into_iter().chain(ids).collect::<Vec<u8>>()
        };
        assert!(load(&encoded([0, 1, 0, 1, 0, 1], 2)).is_ok());
        for refused in [
            encoded([0; 6], 4097),
            encoded([0; 6], 0),
            encoded([0, 2, 0, 0, 0, 0], 1),
            encoded([0, 1, 0, 2, 0, 0], 2),
            encoded([0, 1, 0, 0, 0, 2], 2),
            encoded([0; 6], 1)[..13].to_vec(),
            [encoded([0; 6], 3), vec![0; 8]].concat(),
            vec![0],
        ] {
            assert!(load(&refused).is_err(), "{refused:?}");
        }
        let one = after(&[(1, true, &after(&[(2, false, &Ancestors::default())]))]);
        let expected =
            [&[0, 1, 0, 1, 0, 0][..], &[0, 1, 0, 0, 0, 0, 0, 0], &[0, 2, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(rmp_serde::to_vec(&one).unwrap()[2..], expected);
        assert_eq!(load(&expected).unwrap(), one);
        for kept in [vec![], vec![id(1)], many[..4096].to_vec()] {
            let ancestors = Ancestors::from_newest_first(kept).unwrap();
            let bytes = rmp_serde::to_vec(&ancestors).unwrap();
            assert_eq!(rmp_serde::from_slice::<Ancestors>(&bytes).unwrap(), ancestors);
        }
    }
}
