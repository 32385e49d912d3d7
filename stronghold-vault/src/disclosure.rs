//! Revisions disclosed to each device. After a device is revoked, they show which values to change.

mod query;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use stronghold_sync::RevisionId;

/// The revisions disclosed to one device, and its last name here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Disclosed {
    pub(crate) name: String,
    pub(crate) revisions: Prefixes,
}

/// The first 8 bytes of revision ids, ascending: enough to find a revision among the held ones, at
/// a quarter of the size. Stored as one byte string, each prefix in big-endian order.
///
/// A copy shares most of them, since every change of what is known about a device makes one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prefixes {
    most: Arc<Vec<u64>>,
    /// Those that were added last, at most [`MAX_RECENT`]; none of them is among `most`.
    recent: Vec<u64>,
}

/// Number of prefixes up to which they stay apart from the shared ones.
const MAX_RECENT: usize = 1 << 12;

impl Prefixes {
    fn new(most: Vec<u64>) -> Self {
        Self { most: Arc::new(most), recent: Vec::new() }
    }

    pub(crate) fn extend(&mut self, revisions: impl IntoIterator<Item = RevisionId>) {
        self.add(revisions.into_iter().map(|revision| prefix(&revision)));
    }

    fn add(&mut self, prefixes: impl Iterator<Item = u64>) {
        let most = &self.most;
        self.recent.extend(prefixes.filter(|prefix| most.binary_search(prefix).is_err()));
        self.recent.sort_unstable();
        self.recent.dedup();
        if self.recent.len() > MAX_RECENT {
            *self = Self::new(self.iter().collect());
        }
    }

    fn has(&self, prefix: u64) -> bool {
        [&*self.most, &self.recent].iter().any(|some| some.binary_search(&prefix).is_ok())
    }

    /// Returns all prefixes, ascending.
    fn iter(&self) -> impl Iterator<Item = u64> {
        let (mut most, mut recent) =
            (self.most.iter().copied().peekable(), self.recent.iter().copied().peekable());
        std::iter::from_fn(move || match (most.peek(), recent.peek()) {
            (Some(one), Some(other)) if other < one => recent.next(),
            (None, _) => recent.next(),
            _ => most.next(),
        })
    }

    pub(crate) fn contains(&self, revision: &RevisionId) -> bool {
        self.has(prefix(revision))
    }

    /// Returns the prefixes that are not among `before`; `None` if one of those is missing.
    pub(crate) fn added_since(&self, before: &Self) -> Option<Self> {
        match Arc::ptr_eq(&self.most, &before.most) {
            true => added(self.recent.iter().copied(), before.recent.iter().copied()),
            false => added(self.iter(), before.iter()),
        }
    }

    pub(crate) fn merge(&mut self, others: &Self) {
        self.add(others.iter());
    }

    pub(crate) fn len(&self) -> usize {
        self.most.len() + self.recent.len()
    }

    /// Returns whether all prefixes are among `others`.
    pub(crate) fn are_among(&self, others: &Self) -> bool {
        self.iter().all(|prefix| others.has(prefix))
    }

    /// Removes all prefixes that are not among `others`.
    pub(crate) fn retain_among(&mut self, others: &Self) {
        *self = Self::new(self.iter().filter(|prefix| others.has(*prefix)).collect());
    }
}

fn added(now: impl Iterator<Item = u64>, before: impl Iterator<Item = u64>) -> Option<Prefixes> {
    let mut before = before.peekable();
    let added = now.filter(|prefix| before.next_if_eq(prefix).is_none()).collect();
    before.next().is_none().then(|| Prefixes::new(added))
}

impl PartialEq for Prefixes {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Prefixes {}

fn prefix(revision: &RevisionId) -> u64 {
    revision.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

impl Serialize for Prefixes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.iter().flat_map(u64::to_be_bytes).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Prefixes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        let (prefixes, rest) = bytes.as_chunks::<8>();
        let prefixes: Vec<u64> = prefixes.iter().map(|prefix| u64::from_be_bytes(*prefix)).collect();
        if !rest.is_empty() || !prefixes.is_sorted_by(|one, next| one < next) {
            return Err(D::Error::custom("revisions that are cut, or not in order"));
        }
        Ok(Self::new(prefixes))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, ops::Range};

    use stronghold_sync::{DeviceId, Location, Mapping, Scope, Shape};

    use super::*;
    use crate::ages::ms;
    use crate::{Labels, Stronghold};

    fn load(bytes: &[u8]) -> Option<Prefixes> {
        rmp_serde::from_slice(&rmp_serde::to_vec(serde_bytes::Bytes::new(bytes)).unwrap()).ok()
    }

    fn revision(first: u8, eighth: u8, ninth: u8) -> RevisionId {
        let mut id = [0; 32];
        (id[0], id[7], id[8]) = (first, eighth, ninth);
        RevisionId::from_bytes(id)
    }

    #[test]
    fn prefixes_are_stored_in_order_each_once_and_nothing_else_is_loaded() {
        let mut known = Prefixes::default();
        known.extend([revision(2, 0, 0), revision(1, 1, 0)]);
        known.extend([revision(1, 0, 0), revision(1, 1, 9)]);
        let stored = rmp_serde::to_vec(&known).unwrap();
        let bytes = [[1, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(stored[2..], bytes);
        assert_eq!(load(&bytes), Some(known.clone()));
        assert!(known.contains(&revision(1, 1, 7)) && !known.contains(&revision(1, 2, 0)));

        let [one, two, three] = [&bytes[..8], &bytes[8..16], &bytes[16..]];
        assert!(load(&[]).is_some() && load(&[one, three].concat()).is_some());
        for refused in [&bytes[..23], &[two, one].concat(), &[one, one].concat(), &[0]] {
            assert_eq!(load(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn what_was_added_is_told_unless_something_is_gone() {
        let of = |numbers: &[u64]| Prefixes::new(numbers.to_vec());
        for (before, now, added) in [
            (&[][..], &[][..], Some(&[][..])),
            (&[], &[1, 2], Some(&[1, 2])),
            (&[2, 5], &[1, 2, 4, 5, 9], Some(&[1, 4, 9])),
            (&[2, 5], &[2, 5], Some(&[])),
            (&[2, 5], &[1, 2, 9], None),
            (&[5], &[], None),
        ] {
            assert_eq!(of(now).added_since(&of(before)), added.map(of), "{before:?} {now:?}");
            if let Some(added) = added {
                let mut merged = of(before);
                merged.merge(&of(added));
                assert_eq!(merged, of(now));
                merged.merge(&of(before));
                assert_eq!(merged, of(now), "each once");
            }
        }
    }

    #[test]
    fn a_copy_shares_what_both_have_and_tells_what_was_added() {
        let ids = |numbers: Range<u32>| {
            numbers.map(|number| {
                // Each is somewhere among those before.
                let mut id = [0; 32];
                id[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_be_bytes());
                RevisionId::from_bytes(id)
            })
        };
        let plain = |numbers: Range<u32>| -> Vec<u64> {
            let all: BTreeSet<u64> = ids(numbers).map(|id| prefix(&id)).collect();
            all.into_iter().collect()
        };
        let mut known = Prefixes::default();
        for (from, to) in [(0, 100), (50, 5_000), (5_000, 6_000), (6_000, 6_001), (5_900, 12_000)] {
            let before = known.clone();
            known.extend(ids(from..to));
            assert_eq!((known.len(), known.iter().collect::<Vec<_>>()), (to as usize, plain(0..to)));
            assert!(known.recent.len() <= MAX_RECENT);
            let added = known.added_since(&before).unwrap();
            let mut merged = before.clone();
            merged.merge(&added);
            assert_eq!((&merged, added.len()), (&known, known.len() - before.len()));
            assert_eq!((before.added_since(&known), before == known), (None, false));
            assert!(before.are_among(&known) && !known.are_among(&before));
            assert!(
                ids(0..to).all(|id| known.contains(&id)) && !known.contains(&ids(to..to + 1).next().unwrap())
            );
            let mut retained = known.clone();
            retained.retain_among(&before);
            assert_eq!(retained, before);
            let stored = rmp_serde::to_vec(&known).unwrap();
            assert_eq!(rmp_serde::from_slice::<Prefixes>(&stored).unwrap(), known);
        }
        let copy = known.clone();
        known.extend(ids(12_000..12_010));
        assert!(Arc::ptr_eq(&copy.most, &known.most) && known.len() == copy.len() + 10);
    }

    #[test]
    fn what_is_due_is_what_a_device_lacks_and_what_it_gets_again() {
        let (mut held, device) = (Stronghold::new("here").unwrap(), DeviceId::from_bytes([1; 32]));
        let at = |name: &str| name.parse::<Location>().unwrap();
        for name in ["a/v/had", "a/v/again", "a/v/gone", "a/v/never", "a/v/lacks", "b/v/lacks"] {
            held.write(&at(name), b"1", Labels::new(), ms(1)).unwrap();
        }
        let head = |held: &Stronghold, name: &str| held.shapes_at(&at(name).id())[0].revision;
        let known = ["a/v/had", "a/v/again", "a/v/gone"].map(|name| head(&held, name));
        held.record_disclosed(&device, known);
        held.remove(&at("a/v/gone"), ms(2)).unwrap();
        held.remove(&at("a/v/never"), ms(2)).unwrap();
        let again = known[1];
        for (scope, due) in [("a", &["a/v/again", "a/v/gone", "a/v/lacks"][..]), ("b", &["b/v/lacks"])] {
            let scope = Scope::of(scope.parse().unwrap());
            let found = held.due_to(&device, &scope, |revision| *revision == again);
            let mut names: Vec<String> =
                found.iter().map(|shape| held.names_of(&shape.location).unwrap().to_string()).collect();
            names.sort();
            assert_eq!(names, due);
            let shapes = held.shapes(&scope, &Mapping::default());
            let is_due = |shape: &&Shape| held.lacks(&device, shape) || shape.revision == again;
            assert_eq!(found, shapes.iter().filter(is_due).cloned().collect::<Vec<_>>());
        }
    }
}
