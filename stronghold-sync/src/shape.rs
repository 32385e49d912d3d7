//! Shapes, and the order of revisions: no clocks, no counters (§4 of the design).

use alloc::{sync::Arc, vec, vec::Vec};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{LocationId, RevisionId};

/// The most ancestors that a revision keeps. Beyond it an old revision may seem concurrent: a false conflict,
/// never a loss.
pub const MAX_ANCESTORS: usize = 256;

/// The revisions that a revision has replaced, directly or not, newest first: at most [`MAX_ANCESTORS`].
///
/// Encoded as one byte string, 32 bytes an id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ancestors(Option<Arc<[RevisionId]>>);

/// What is told of a revision before its value is: never content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Which record it is of.
    pub location: LocationId,
    /// The revision's id, the cryptographic hash of its content.
    pub revision: RevisionId,
    /// What it has replaced.
    pub ancestors: Ancestors,
    /// The value's size in bytes, padded (see [`crate::padded_len`]).
    pub size: u64,
    /// Whether it is a deletion.
    pub deleted: bool,
}

/// One revision of one record: what is asked for and given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// The record.
    pub location: LocationId,
    /// The revision of it.
    pub revision: RevisionId,
}

impl Shape {
    /// Which entry it is the shape of.
    #[must_use]
    pub fn entry(&self) -> EntryId {
        EntryId { location: self.location, revision: self.revision }
    }
}

impl Ancestors {
    /// The ancestors of a revision that replaces these heads: the heads themselves, then theirs, newest first.
    #[must_use]
    pub fn of_successor(heads: &[(RevisionId, &Self)]) -> Self {
        let mut heads = heads.to_vec();
        heads.sort_by_key(|(id, _)| *id);
        let mut all: Vec<RevisionId> = heads.iter().map(|(id, _)| *id).collect();
        let deepest = heads.iter().map(|(_, ancestors)| ancestors.as_slice().len()).max().unwrap_or(0);
        let mut seen: alloc::collections::BTreeSet<RevisionId> = all.iter().copied().collect();
        for depth in 0..deepest {
            for (_, ancestors) in &heads {
                if let Some(id) = ancestors.as_slice().get(depth)
                    && seen.insert(*id)
                {
                    all.push(*id);
                }
            }
        }
        all.truncate(MAX_ANCESTORS);
        Self::from_capped(all)
    }

    /// Takes a list as it is, newest first; `None` if it is longer than [`MAX_ANCESTORS`].
    #[must_use]
    pub fn from_newest_first(ids: Vec<RevisionId>) -> Option<Self> {
        (ids.len() <= MAX_ANCESTORS).then(|| Self::from_capped(ids))
    }

    /// The ids, newest first.
    #[must_use]
    pub fn as_slice(&self) -> &[RevisionId] {
        self.0.as_deref().unwrap_or(&[])
    }

    /// Whether the revision with these ancestors is after `id`.
    #[must_use]
    pub fn contain(&self, id: &RevisionId) -> bool {
        self.as_slice().contains(id)
    }

    fn from_capped(ids: Vec<RevisionId>) -> Self {
        Self((!ids.is_empty()).then(|| ids.into()))
    }
}

impl Serialize for Ancestors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.as_slice().iter().flat_map(|id| *id.as_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Ancestors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ids;
        impl de::Visitor<'_> for Ids {
            type Value = Ancestors;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "at most {MAX_ANCESTORS} revision ids of 32 bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                let (ids, rest) = bytes.as_chunks::<32>();
                let ids = ids.iter().map(|id| RevisionId::from_bytes(*id)).collect();
                Ancestors::from_newest_first(ids)
                    .filter(|_| rest.is_empty())
                    .ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Ids)
    }
}

/// A revision as far as order goes.
pub trait Revisioned {
    /// Its id.
    fn revision(&self) -> RevisionId;
    /// What it has replaced.
    fn ancestors(&self) -> &Ancestors;
}

impl Revisioned for Shape {
    fn revision(&self) -> RevisionId {
        self.revision
    }

    fn ancestors(&self) -> &Ancestors {
        &self.ancestors
    }
}

impl Revisioned for (RevisionId, &Ancestors) {
    fn revision(&self) -> RevisionId {
        self.0
    }

    fn ancestors(&self) -> &Ancestors {
        self.1
    }
}

impl<T: Revisioned> Revisioned for &T {
    fn revision(&self) -> RevisionId {
        (*self).revision()
    }

    fn ancestors(&self) -> &Ancestors {
        (*self).ancestors()
    }
}

/// Merging: the union of what is given, less what another one of it replaces, in the order of ids.
///
/// Commutative, associative and idempotent as long as ancestors are complete, so replicas that have seen the same
/// revisions hold the same heads. Beyond [`MAX_ANCESTORS`] a replaced revision may be a head again.
///
/// The cost follows the number of revisions and of their ancestors, not its square: a peer may send many.
#[must_use]
pub fn heads<T: Revisioned>(revisions: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = revisions.into_iter().collect();
    all.sort_by_key(Revisioned::revision);
    all.dedup_by_key(|revision| revision.revision());
    if all.len() < 2 {
        return all;
    }
    let mut replaced = vec![false; all.len()];
    for ancestor in all.iter().flat_map(|revision| revision.ancestors().as_slice()) {
        if let Ok(at) = all.binary_search_by_key(ancestor, Revisioned::revision) {
            replaced[at] = true;
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

    #[test]
    fn ancestors_are_newest_first_and_the_oldest_fall_off_at_256() {
        let mut ancestors = Ancestors::default();
        for n in 0..300 {
            ancestors = Ancestors::of_successor(&[(id(n), &ancestors)]);
        }
        assert_eq!(ancestors.as_slice().len(), MAX_ANCESTORS);
        assert_eq!(ancestors.as_slice()[0], id(299));
        assert!(ancestors.contain(&id(44)) && !ancestors.contain(&id(43)));
    }

    #[test]
    fn a_successor_of_two_heads_is_after_both_and_all_theirs() {
        let left = Ancestors::of_successor(&[(id(1), &Ancestors::default())]);
        let right = Ancestors::of_successor(&[(id(2), &Ancestors::default())]);
        let both = Ancestors::of_successor(&[(id(3), &left), (id(4), &right)]);
        assert_eq!(both.as_slice(), &[id(3), id(4), id(1), id(2)]);
        assert_eq!(both, Ancestors::of_successor(&[(id(4), &right), (id(3), &left)]));
    }

    #[test]
    fn the_wire_form_refuses_more_than_the_cap() {
        let many: Vec<RevisionId> = (0..257).map(id).collect();
        assert!(Ancestors::from_newest_first(many.clone()).is_none());
        let bytes: Vec<u8> = many.iter().flat_map(|id| *id.as_bytes()).collect();
        let bytes = rmp_serde::to_vec(serde_bytes::Bytes::new(&bytes)).unwrap();
        assert!(rmp_serde::from_slice::<Ancestors>(&bytes).is_err());
        for kept in [vec![], vec![id(1)], many[..256].to_vec()] {
            let ancestors = Ancestors::from_newest_first(kept).unwrap();
            let bytes = rmp_serde::to_vec(&ancestors).unwrap();
            assert_eq!(rmp_serde::from_slice::<Ancestors>(&bytes).unwrap(), ancestors);
        }
    }
}
