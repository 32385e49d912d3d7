//! Holds digests of heads between syncs, and what has changed under them since.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use stronghold_sync::{
    DeviceId, EntryId, LocationId, RevisionId,
    reconcile::SetKey,
    session::{DigestQuery, HeldSet},
};

/// Maximum number of digests that are kept.
const MAX_KEPT: usize = 32;
/// Number of heads unknown to the device up to which a digest is kept: the first sync with a
/// device keeps none.
const MAX_UNKNOWN: usize = 1 << 12;
/// Number of changed records up to which a digest is kept, however small the scope.
const MAX_CHANGED: usize = 1 << 10;

/// The digests that are kept, the last used one last.
#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<Vec<Kept>>);

/// A digest, and the records that have changed since it was computed.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) query: DigestQuery,
    pub(crate) key: SetKey,
    device: DeviceId,
    pub(crate) held: HeldSet,
    /// Heads that the device was not known to hold when this was last asked for.
    pub(crate) unknown: BTreeSet<EntryId>,
    changed: BTreeMap<LocationId, Heads>,
}

/// The heads of one record.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    pub(crate) ids: Vec<RevisionId>,
    pub(crate) is_readable: bool,
    /// Set if the record is in the scope; `None` if it does not exist.
    pub(crate) is_covered: Option<bool>,
}

impl Digests {
    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the digest of this query for the device, if it is kept.
    pub(crate) fn take(&self, query: &DigestQuery, device: &DeviceId) -> Option<Kept> {
        let mut all = self.lock();
        let at = all.iter().position(|kept| kept.query == *query && kept.device == *device)?;
        Some(all.remove(at))
    }

    /// Keeps a digest if it is likely to be asked for again, and little has to be remembered for
    /// it.
    pub(crate) fn keep(&self, kept: Kept) {
        if kept.query.is_lasting && kept.unknown.len() <= MAX_UNKNOWN {
            let mut all = self.lock();
            if all.len() == MAX_KEPT {
                all.remove(0);
            }
            all.push(kept);
        }
    }

    /// Notes a record that is about to change. `heads` are those in the scope of a query.
    pub(crate) fn note(&mut self, id: &LocationId, heads: impl Fn(&DigestQuery) -> Heads) {
        let all = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for Kept { query, changed, .. } in &mut *all {
            changed.entry(*id).or_insert_with(|| heads(query));
        }
        all.retain(|kept| kept.changed.len() <= MAX_CHANGED.max(kept.held.records as usize / 8));
    }
}

impl Kept {
    /// Creates the digest of no record.
    pub(crate) fn new(query: &DigestQuery, device: &DeviceId) -> Self {
        Self {
            query: query.clone(),
            key: query.key(),
            device: *device,
            held: HeldSet::default(),
            unknown: BTreeSet::new(),
            changed: BTreeMap::new(),
        }
    }

    /// Replaces the heads that the changed records had by those that they have now.
    pub(crate) fn update(&mut self, heads: impl Fn(&LocationId, &DigestQuery) -> Heads) {
        for (id, before) in std::mem::take(&mut self.changed) {
            let now = heads(&id, &self.query);
            if before.is_covered.or(now.is_covered) == Some(true) {
                self.replace(id, &before, &now);
            }
        }
    }

    /// Replaces the heads of a record in the scope.
    pub(crate) fn replace(&mut self, location: LocationId, before: &Heads, now: &Heads) {
        let entry = |revision: &RevisionId| EntryId { location, revision: *revision };
        for gone in before.ids.iter().filter(|head| !now.ids.contains(head)).map(entry) {
            self.held.digest.remove(self.key.hash(&gone));
            self.unknown.remove(&gone);
        }
        for new in now.ids.iter().filter(|head| !before.ids.contains(head)).map(entry) {
            self.held.digest.add(self.key.hash(&new));
            self.unknown.insert(new);
        }
        let moved = |number: u64, was: bool, is: bool| number + u64::from(is) - u64::from(was);
        let HeldSet { records, readable, .. } = &mut self.held;
        *records = moved(*records, before.is_covered.is_some(), now.is_covered.is_some());
        *readable = moved(*readable, before.is_readable, now.is_readable);
    }
}
