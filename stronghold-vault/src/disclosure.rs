//! Revisions disclosed to each device. After a device is revoked, they show which values to change.

mod query;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefixes(Vec<u64>);

impl Prefixes {
    pub(crate) fn extend(&mut self, revisions: impl IntoIterator<Item = RevisionId>) {
        self.0.extend(revisions.into_iter().map(|revision| prefix(&revision)));
        self.0.sort();
        self.0.dedup();
    }

    pub(crate) fn contains(&self, revision: &RevisionId) -> bool {
        self.0.binary_search(&prefix(revision)).is_ok()
    }

    /// Returns the prefixes that are not among `before`; `None` if one of those is missing.
    pub(crate) fn added_since(&self, before: &Self) -> Option<Self> {
        let mut before = before.0.iter().peekable();
        let is_new = |prefix: &u64| before.next_if_eq(&prefix).is_none();
        let added = self.0.iter().copied().filter(is_new).collect();
        before.next().is_none().then_some(Self(added))
    }

    pub(crate) fn merge(&mut self, others: &Self) {
        self.0.extend(&others.0);
        self.0.sort();
        self.0.dedup();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether all prefixes are among `others`.
    pub(crate) fn are_among(&self, others: &Self) -> bool {
        self.0.iter().all(|prefix| others.0.binary_search(prefix).is_ok())
    }

    /// Removes all prefixes that are not among `others`.
    pub(crate) fn retain_among(&mut self, others: &Self) {
        self.0.retain(|prefix| others.0.binary_search(prefix).is_ok());
    }
}

fn prefix(revision: &RevisionId) -> u64 {
    revision.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

impl Serialize for Prefixes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|prefix| prefix.to_be_bytes()).collect();
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
        Ok(Self(prefixes))
    }
}

#[cfg(test)]
mod tests {
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
        let of = |numbers: &[u64]| Prefixes(numbers.to_vec());
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
