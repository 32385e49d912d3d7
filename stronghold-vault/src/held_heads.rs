//! Computes digests of the heads in a scope, and keeps them up to date while records change:
//! comparing two devices that hold the same then costs what has changed since the last time.

use std::collections::BTreeSet;

use stronghold_sync::{
    DeviceId, EntryId, LocationId, RevisionId, Shape,
    message::MAX_CANDIDATES,
    session::{DigestQuery, HeldSet},
};

use crate::{
    digests::{Heads, Kept},
    record::Record,
    stronghold::{Client, Stronghold, Vault, names},
};

/// The digest of a scope, and the heads in it that a device is not known to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldHeads {
    /// The digest, the number of records, and the shapes of the unknown heads if they are few.
    pub held: HeldSet,
    /// The heads that the device is not known to hold.
    pub unknown: Vec<RevisionId>,
}

impl Stronghold {
    /// Returns the digest of the heads in the query's scope, and those that `device` is not known
    /// to hold. If the query's key is used again, the digest is kept, and costs the changes alone
    /// the next time.
    pub fn held_heads(&self, query: &DigestQuery, device: &DeviceId) -> HeldHeads {
        let mut kept = self.digests.take(query, device).unwrap_or_else(|| self.digest(query, device));
        kept.update(|id, query| heads_of(self.record(id), query));
        kept.unknown.retain(|entry| !self.peers.was_disclosed_to(device, &entry.revision));
        let unknown = kept.unknown.iter().map(|entry| entry.revision).collect();
        let held = HeldSet { candidates: self.candidates(&kept.unknown), ..kept.held.clone() };
        self.digests.keep(kept);
        HeldHeads { held, unknown }
    }

    /// Returns the shapes of these heads; `None` if they are of too many records.
    fn candidates(&self, heads: &BTreeSet<EntryId>) -> Option<Vec<Shape>> {
        let mut last = None;
        let is_new = |head: &&EntryId| last.replace(head.location) != Some(head.location);
        if heads.iter().filter(is_new).take(MAX_CANDIDATES + 1).count() > MAX_CANDIDATES {
            return None;
        }
        heads
            .iter()
            .map(|entry| {
                let (.., record) = self.record(&entry.location)?;
                let head = record.heads().find(|head| head.id == entry.revision)?;
                Some(head.shape(entry.location))
            })
            .collect()
    }

    fn digest(&self, query: &DigestQuery, device: &DeviceId) -> Kept {
        let mut kept = Kept::new(query, device);
        for (location, .., record) in self.records_in(&query.scope) {
            kept.held.records += 1;
            kept.held.readable += u64::from(record.is_readable());
            for head in record.heads() {
                let entry = EntryId { location, revision: head.id };
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
        digests.note(id, |query| {
            let client = clients.get(&id.client);
            let vault = client.and_then(|client| Some((client, client.vaults.get(&id.vault)?)));
            let record =
                vault.and_then(|(client, vault)| Some((client, vault, vault.records.get(&id.record)?)));
            heads_of(record, query)
        });
    }
}

fn heads_of(record: Option<(&Client, &Vault, &Record)>, query: &DigestQuery) -> Heads {
    let Some((client, vault, record)) = record else { return Heads::default() };
    Heads {
        ids: record.heads().map(|head| head.id).collect(),
        is_readable: record.is_readable(),
        is_covered: Some(query.scope.covers(&names(client, vault, record))),
    }
}
