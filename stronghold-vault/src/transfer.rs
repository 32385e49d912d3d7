//! What leaves a Stronghold, and the one function in which a foreign value meets it.

use std::collections::{BTreeMap, BTreeSet};

use stronghold_sync::{EntryId, Grant, Location, LocationId, Mapping, VaultId, message::Listing, padded_len};

use crate::{
    locked::LockedKey,
    record::{Damaged, Inserted, Keeper, Sealed},
    revision::{Entry, Revision},
    stronghold::{Stronghold, WriteError, entry, names, new_vault_key},
};

/// Why entries may not leave, or can't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The grant, or the policy behind it, does not cover one of them (any more).
    #[error("the policy does not allow it")]
    NotPermitted,
    /// What is stored is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// Why a foreign entry is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// It was not asked for, or it is not what its id commits to.
    #[error("an entry was not asked for, or was altered")]
    NotAsked,
    /// The policy does not let the giver write or delete it.
    #[error("the policy does not allow the entry")]
    NotPermitted,
    /// Its value or labels are over the limits, or a deletion has a value.
    #[error("an entry is over the limits")]
    OverLimits,
}

/// Why a batch was not imported. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// One of its entries is not acceptable.
    #[error(transparent)]
    Unacceptable(#[from] Unacceptable),
    /// An entry could not be sealed here.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Revisions that are heads now.
    pub received: u64,
    /// Records that were readable before and are deleted now.
    pub deleted: u64,
    /// Records in conflict now, of those received.
    pub conflicts: u64,
    /// Revisions that were known, or replaced already.
    pub known: u64,
}

impl Stronghold {
    /// Opens the entries asked for, as far as they are held, in their order. Each is checked once more against
    /// the grant and the policy as it stands now.
    ///
    /// # Errors
    /// [`ExportError::NotPermitted`] when one is not covered: then none is exported.
    pub fn export(&self, grant: &Grant, wanted: &[EntryId], now: u64) -> Result<Vec<Entry>, ExportError> {
        let mut entries = Vec::with_capacity(wanted.len());
        for want in wanted {
            let Some((client, vault, record)) = self.record(&want.location) else { continue };
            let location = names(client, vault, record);
            if !self.policy.still_allows(grant, &location, now) {
                return Err(ExportError::NotPermitted);
            }
            if let Some(sealed) = record.find(&want.revision) {
                let revision = vault.keeper(want.location).open(sealed)?;
                entries.push(Entry { location, revision });
            }
        }
        Ok(entries)
    }

    /// The same under other names: `wanted` names the entries as they will arrive.
    ///
    /// # Errors
    /// As [`Stronghold::export`].
    pub fn export_mapped(
        &self,
        grant: &Grant,
        mapping: &Mapping,
        wanted: &BTreeSet<EntryId>,
        now: u64,
    ) -> Result<Vec<Entry>, ExportError> {
        if mapping.is_empty() {
            return self.export(grant, &wanted.iter().copied().collect::<Vec<_>>(), now);
        }
        let mut entries = Vec::new();
        for (id, client, vault, record) in self.records_in(grant.scope()) {
            let arrives = mapping.apply(&names(client, vault, record));
            let target = arrives.id();
            let asked = |head: &&Sealed| wanted.contains(&entry(target, head));
            let asked: Vec<EntryId> =
                record.heads().iter().filter(asked).map(|head| entry(id, head)).collect();
            let opened = self.export(grant, &asked, now)?;
            entries.extend(opened.into_iter().map(|entry| Entry { location: arrives.clone(), ..entry }));
        }
        Ok(entries)
    }

    /// Names and shapes of the readable records that the grant covers, in the order of names: what a peer sees that
    /// may browse.
    ///
    /// # Errors
    /// [`Damaged`] when a record with several heads can't be opened.
    pub fn listing(&self, grant: &Grant, now: u64) -> Result<Vec<Listing>, Damaged> {
        let mut listing = Vec::new();
        for (id, client, vault, record) in self.records_in(grant.scope()) {
            let location = names(client, vault, record);
            let shown = record.shown().filter(|head| !head.deleted);
            if let Some(shown) = shown.filter(|_| self.policy.still_allows(grant, &location, now)) {
                listing.push(Listing {
                    revision: shown.id,
                    size: padded_len(shown.len()),
                    modified: shown.time,
                    conflict: record.is_conflict(&vault.keeper(id))?,
                    location,
                });
            }
        }
        listing.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(listing)
    }

    /// Merges foreign entries in: checks the whole batch, then applies all of it or nothing.
    ///
    /// `accept` says, for each, whether it was asked for and is permitted; the id that it is given was computed
    /// from the content.
    ///
    /// # Errors
    /// [`ImportError`] with the first reason found; the Stronghold is then as it was.
    pub fn import(
        &mut self,
        entries: &[Entry],
        mut accept: impl FnMut(&Location, &EntryId, &Revision) -> Result<(), Unacceptable>,
    ) -> Result<Report, ImportError> {
        let mut checked = Vec::with_capacity(entries.len());
        for Entry { location, revision } in entries {
            let id = EntryId { location: location.id(), revision: revision.id() };
            if !revision.is_within_limits() {
                return Err(Unacceptable::OverLimits.into());
            }
            accept(location, &id, revision)?;
            checked.push((location, id, revision));
        }
        let staged = self.seal_all(&checked)?;
        self.apply(staged)
    }

    /// Seals everything before anything is applied: whatever can fail has then failed.
    fn seal_all<'a>(&self, checked: &[(&'a Location, EntryId, &Revision)]) -> Result<Staged<'a>, WriteError> {
        let mut staged = Staged { new_keys: BTreeMap::new(), sealed: Vec::with_capacity(checked.len()) };
        for (location, id, revision) in checked {
            let held = self.clients.get(&id.location.client).and_then(|c| c.vaults.get(&id.location.vault));
            if held.is_none() && !staged.new_keys.contains_key(&id.location.vault) {
                staged.new_keys.insert(id.location.vault, new_vault_key()?);
            }
            let key = held.map(|vault| &vault.key).or_else(|| staged.new_keys.get(&id.location.vault));
            let Some(key) = key else { continue };
            let keeper = Keeper { key, location: id.location };
            let sealed = keeper.seal(id.revision, revision)?;
            staged.sealed.push((location, id.location, sealed));
        }
        Ok(staged)
    }

    fn apply(&mut self, mut staged: Staged<'_>) -> Result<Report, ImportError> {
        let mut report = Report::default();
        let mut touched = BTreeMap::new();
        for (location, id, sealed) in staged.sealed {
            touched.entry(id).or_insert_with(|| self.is_readable(&id));
            self.vault_at(location, id, staged.new_keys.remove(&id.vault))?;
            match self.insert(location, id, sealed)? {
                Inserted::Head => report.received += 1,
                Inserted::Known => report.known += 1,
            }
        }
        for (id, was_readable) in touched {
            report.deleted += u64::from(was_readable && !self.is_readable(&id));
            report.conflicts += u64::from(self.is_conflict(&id).map_err(WriteError::from)?);
        }
        Ok(report)
    }

    fn is_readable(&self, id: &LocationId) -> bool {
        self.record(id).is_some_and(|(_, _, record)| record.is_readable())
    }
}

struct Staged<'a> {
    new_keys: BTreeMap<VaultId, LockedKey>,
    sealed: Vec<(&'a Location, LocationId, Sealed)>,
}
