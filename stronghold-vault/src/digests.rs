//! Digests of the heads in a scope, kept up to date while records change: comparing two devices
//! that hold the same then costs what has changed since the last time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use stronghold_sync::{
    DeviceId, EntryId, LocationId, RevisionId, Scope,
    reconcile::SetKey,
    session::{DigestQuery, HeldSet},
};

use crate::{
    record::Record,
    stronghold::{Client, Stronghold, Vault, names},
};

/// Maximum number of digests that are kept.
const MAX_KEPT: usize = 16;
/// Number of heads unknown to the device up to which a digest is kept: the first sync with a
/// device keeps none.
const MAX_UNKNOWN: usize = 1 << 12;
/// Number of changed records up to which a digest is updated, however small the scope.
const MAX_CHANGED: usize = 1 << 10;

/// The digest of a scope, and the heads in it that a device is not known to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldHeads {
    /// The digest, and the number of records.
    pub held: HeldSet,
    /// The heads that the device is not known to hold, ascending.
    pub unknown: Vec<RevisionId>,
}

/// The digests that are kept, the last used one last.
#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<Vec<Kept>>);

/// A digest, and the records that have changed since it was computed.
#[derive(Debug)]
struct Kept {
    query: DigestQuery,
    key: SetKey,
    device: DeviceId,
    held: HeldSet,
    /// Heads that the device was not known to hold when this was last asked for.
    unknown: BTreeSet<EntryId>,
    changed: BTreeMap<LocationId, Before>,
}

/// The heads of a record when the digest was computed.
#[derive(Debug)]
struct Before {
    heads: Vec<RevisionId>,
    is_readable: bool,
    /// Set if the record is in the scope; `None` if it did not exist.
    is_covered: Option<bool>,
}

impl Stronghold {
    /// Returns the digest of the heads in the query's scope, and those that `device` is not known
    /// to hold. If the query's key is used again, the digest is kept, and costs the changes alone
    /// the next time.
    pub fn held_heads(&self, query: &DigestQuery, device: &DeviceId) -> HeldHeads {
        let mut kept = self.digests.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|kept| kept.query == *query && kept.device == *device);
        let mut found = match at {
            Some(at) => kept.remove(at),
            None => self.compute(query, device),
        };
        found.update(self);
        let (held, unknown) =
            (found.held.clone(), found.unknown.iter().map(|entry| entry.revision).collect());
        if query.is_lasting && found.unknown.len() <= MAX_UNKNOWN {
            if kept.len() == MAX_KEPT {
                kept.remove(0);
            }
            kept.push(found);
        }
        HeldHeads { held, unknown }
    }

    fn compute(&self, query: &DigestQuery, device: &DeviceId) -> Kept {
        let mut kept = Kept {
            query: query.clone(),
            key: query.key(),
            device: *device,
            held: HeldSet::default(),
            unknown: BTreeSet::new(),
            changed: BTreeMap::new(),
        };
        for (id, .., record) in self.records_in(&query.scope) {
            kept.held.records += 1;
            kept.held.readable += u64::from(record.is_readable());
            for head in record.heads() {
                let entry = EntryId { location: id, revision: head.id };
                kept.held.digest.add(kept.key.hash(&entry));
                if !self.peers.was_disclosed_to(device, &head.id) {
                    kept.unknown.insert(entry);
                }
            }
        }
        kept
    }

    /// Notes a record that is about to change, for the digests that are kept.
    pub(crate) fn note_for_digests(&mut self, id: &LocationId) {
        let Self { digests, clients, .. } = self;
        let kept = digests.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() {
            return;
        }
        let client = clients.get(&id.client);
        let vault = client.and_then(|client| Some((client, client.vaults.get(&id.vault)?)));
        let record = vault.and_then(|(client, vault)| Some((client, vault, vault.records.get(&id.record)?)));
        kept.iter_mut().for_each(|kept| kept.note(id, record));
        kept.retain(|kept| kept.changed.len() <= MAX_CHANGED.max(kept.held.records as usize / 8));
    }
}

impl Kept {
    fn note(&mut self, id: &LocationId, record: Option<(&Client, &Vault, &Record)>) {
        let scope = &self.query.scope;
        self.changed.entry(*id).or_insert_with(|| Before {
            heads: record.into_iter().flat_map(|(.., record)| record.heads().map(|head| head.id)).collect(),
            is_readable: record.is_some_and(|(.., record)| record.is_readable()),
            is_covered: record.map(|(client, vault, record)| covers(scope, client, vault, record)),
        });
    }

    /// Brings the digest up to date with the changed records.
    fn update(&mut self, stronghold: &Stronghold) {
        for (id, before) in std::mem::take(&mut self.changed) {
            let record = stronghold.record(&id);
            let is_covered = before.is_covered.or_else(|| {
                record.map(|(client, vault, record)| covers(&self.query.scope, client, vault, record))
            });
            if is_covered != Some(true) {
                continue;
            }
            let heads: Vec<RevisionId> =
                record.into_iter().flat_map(|(.., record)| record.heads().map(|head| head.id)).collect();
            let entry = |revision: &RevisionId| EntryId { location: id, revision: *revision };
            for gone in before.heads.iter().filter(|head| !heads.contains(head)).map(entry) {
                self.held.digest.remove(self.key.hash(&gone));
                self.unknown.remove(&gone);
            }
            for new in heads.iter().filter(|head| !before.heads.contains(head)).map(entry) {
                self.held.digest.add(self.key.hash(&new));
                self.unknown.insert(new);
            }
            let count = |number: &mut u64, was: bool, is: bool| {
                *number = *number + u64::from(is) - u64::from(was);
            };
            count(&mut self.held.records, before.is_covered.is_some(), record.is_some());
            let is_readable = record.is_some_and(|(.., record)| record.is_readable());
            count(&mut self.held.readable, before.is_readable, is_readable);
        }
        let peers = stronghold.peers();
        self.unknown.retain(|entry| !peers.was_disclosed_to(&self.device, &entry.revision));
    }
}

fn covers(scope: &Scope, client: &Client, vault: &Vault, record: &Record) -> bool {
    scope.covers(&names(client, vault, record))
}
