//! What leaves a Stronghold, and the one function in which a foreign value meets it.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use stronghold_sync::{
    Ancestors, DeviceId, EntryId, Grant, Location, LocationId, Mapping, RevisionId, VaultId, heads,
    is_shrunk, message::Listing, padme_len, session::Unexpected,
};

use crate::{
    locked::LockedKey,
    record::{Damaged, Inserted, MAX_HEADS, Origin, Record, RecordCipher, SealedRevision},
    revision::{Entry, Revision},
    stronghold::{Stronghold, entry, names, new_vault_key},
    write::WriteError,
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
pub enum RejectReason {
    /// It was not asked for, or it is not what its id commits to.
    #[error("an entry was not asked for, or was altered")]
    Unrequested,
    /// The policy does not let the giver write or delete it.
    #[error("the policy does not allow the entry")]
    NotPermitted,
    /// The policy let the giver write or delete it when it was asked for, and does not any more.
    #[error("the rule that allowed the entry was taken back, or has expired")]
    Withdrawn,
    /// Its value or labels are over the limits, or a deletion has a value.
    #[error("an entry is over the limits")]
    OverLimits,
    /// It would leave a record with more than [`crate::MAX_HEADS`] heads.
    #[error("a record would have too many versions beside each other")]
    TooManyHeads,
}

impl From<Unexpected> for RejectReason {
    fn from(why: Unexpected) -> Self {
        match why {
            Unexpected::Unrequested => Self::Unrequested,
            Unexpected::NotPermitted => Self::NotPermitted,
            Unexpected::Withdrawn => Self::Withdrawn,
        }
    }
}

/// Why a batch was not imported. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// One of its entries is not acceptable.
    #[error(transparent)]
    Unacceptable(#[from] RejectReason),
    /// An entry could not be sealed here.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Revisions that are heads now.
    pub received: u64,
    /// Records that were readable before and are deleted now.
    pub deleted: u64,
    /// Records whose value was emptied, or is less than half as large as before.
    pub shrunk: u64,
    /// Records in conflict now, of those received.
    pub conflicts: u64,
    /// Revisions that were known, or replaced already.
    pub known: u64,
}

impl Stronghold {
    /// Opens the entries asked for, as far as they are heads here, in their order; what is unknown here, or was replaced
    /// since, is left out. Each is checked once more against the grant and the policy as it stands now.
    ///
    /// # Errors
    /// [`ExportError::NotPermitted`] when one is not covered: then none is exported. [`ExportError::Damaged`] when one can't
    /// be opened.
    pub fn export(&self, grant: &Grant, wanted: &[EntryId], now: u64) -> Result<Vec<Entry>, ExportError> {
        let mut entries = Vec::with_capacity(wanted.len());
        for want in wanted {
            let Some((client, vault, record)) = self.record(&want.location) else { continue };
            let location = names(client, vault, record);
            if !self.policy.still_allows(grant, &location, now) {
                return Err(ExportError::NotPermitted);
            }
            if let Some(sealed) = record.heads().find(|head| head.id == want.revision) {
                sealed.shared.set();
                let revision = vault.record_cipher(want.location, &self.devices).open(sealed)?;
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
        let mut left = wanted.clone();
        for (id, client, vault, record) in self.records_in(grant.scope()) {
            let arrives = mapping.apply(&names(client, vault, record));
            let target = arrives.id();
            let mut asked = |head: &&SealedRevision| left.remove(&entry(target, head));
            let asked: Vec<EntryId> = record.heads().filter(&mut asked).map(|head| entry(id, head)).collect();
            let opened = self.export(grant, &asked, now)?;
            entries.extend(opened.into_iter().map(|entry| Entry { location: arrives.clone(), ..entry }));
        }
        Ok(entries)
    }

    /// Names and shapes of the readable records that the grant covers, in the order of names: what a peer sees that
    /// may browse. Sizes are padded.
    ///
    /// # Errors
    /// [`Damaged`] when a record with several heads can't be opened.
    pub fn list_for_peer(&self, grant: &Grant, now: u64) -> Result<Vec<Listing>, Damaged> {
        let mut listing =
            self.list_filtered(grant.scope(), |location| self.policy.still_allows(grant, location, now))?;
        listing.iter_mut().for_each(|entry| entry.size = padme_len(entry.size));
        Ok(listing)
    }

    /// Merges foreign entries in that the device `from` delivers at the time `now` (milliseconds since 1970, by this device's
    /// clock): checks the whole batch, then applies all of it or nothing.
    ///
    /// `accept` says, for each, whether it was asked for and is permitted; the id that it is given was computed
    /// from the content.
    ///
    /// # Errors
    /// [`ImportError`] with the first reason found; the Stronghold is then as it was.
    pub fn import(
        &mut self,
        entries: &[Entry],
        from: DeviceId,
        now: u64,
        mut accept: impl FnMut(&Location, &EntryId, &Revision) -> Result<(), RejectReason>,
    ) -> Result<ImportReport, ImportError> {
        let mut checked = Vec::with_capacity(entries.len());
        for Entry { location, revision } in entries {
            let id = EntryId { location: location.id(), revision: revision.id() };
            if !revision.is_within_limits() {
                return Err(RejectReason::OverLimits.into());
            }
            accept(location, &id, revision)?;
            checked.push((location, id, revision));
        }
        self.check_heads(&checked)?;
        let staged = self.seal_all(&checked, (from, now))?;
        Ok(self.apply(staged, now))
    }

    /// Whether every record will be left with a number of heads that it may have.
    fn check_heads(&self, checked: &[(&Location, EntryId, &Revision)]) -> Result<(), RejectReason> {
        let mut arriving: BTreeMap<LocationId, Vec<(RevisionId, &Ancestors)>> = BTreeMap::new();
        for (_, id, revision) in checked {
            arriving.entry(id.location).or_default().push((id.revision, &revision.ancestors));
        }
        for (location, mut all) in arriving {
            let held = self.record(&location).map(|(_, _, record)| record);
            if all.len() + held.map_or(0, Record::head_count) <= MAX_HEADS {
                continue;
            }
            all.extend(held.into_iter().flat_map(Record::heads).map(|head| (head.id, &head.ancestors)));
            if heads(all).len() > MAX_HEADS {
                return Err(RejectReason::TooManyHeads);
            }
        }
        Ok(())
    }

    /// Seals everything before anything is applied: whatever can fail has then failed.
    fn seal_all<'a>(
        &mut self,
        checked: &[(&'a Location, EntryId, &Revision)],
        (from, now): (DeviceId, u64),
    ) -> Result<PreparedBatch<'a>, WriteError> {
        let delivered = Some((self.devices.number(from), now));
        let mut staged =
            PreparedBatch { new_keys: BTreeMap::new(), sealed: Vec::with_capacity(checked.len()) };
        for (location, id, revision) in checked {
            let origin = Origin { author: self.devices.number(revision.author), delivered };
            let key = match self.vault(&id.location) {
                Some(vault) => &vault.key,
                None => staged.new_key(location, id.location)?,
            };
            let keeper = RecordCipher { key, location: id.location, devices: &self.devices };
            let sealed = keeper.seal(id.revision, revision, origin)?;
            staged.sealed.push((location, id.location, sealed));
        }
        Ok(staged)
    }

    /// Merges what is staged. Nothing here can fail.
    fn apply(&mut self, staged: PreparedBatch<'_>, now: u64) -> ImportReport {
        for (location, id, key) in staged.new_keys.into_values() {
            self.add_vault(location, id, key);
        }
        let mut report = ImportReport::default();
        let mut changed = BTreeMap::new();
        for (location, id, sealed) in staged.sealed {
            let before = self.largest(&id);
            match self.insert(location, id, sealed, now) {
                Some(Inserted::Head) => {
                    report.received += 1;
                    changed.entry(id).or_insert(before);
                }
                Some(Inserted::AlreadyPresent) | None => report.known += 1,
            }
        }
        for (id, before) in changed {
            match (before, self.largest(&id)) {
                (Some(_), None) => report.deleted += 1,
                (Some(before), Some(after)) => report.shrunk += u64::from(is_shrunk(before, after)),
                (None, _) => {}
            }
            // Heads of which one can't be opened are shown as a conflict: reading them tells why.
            report.conflicts += u64::from(self.is_conflict(&id).unwrap_or(true));
        }
        report
    }

    /// How many records can be read.
    #[must_use]
    pub fn readable(&self) -> u64 {
        self.records().filter(|(.., record)| record.is_readable()).count() as u64
    }

    /// The padded size of the largest value of a record, if it can be read.
    fn largest(&self, id: &LocationId) -> Option<u64> {
        let (_, _, record) = self.record(id)?;
        record.heads().filter(|head| !head.deleted).map(|head| head.shape(*id).size).max()
    }
}

/// A batch that has been checked and sealed.
struct PreparedBatch<'a> {
    /// The keys of vaults that are yet to be made.
    new_keys: BTreeMap<VaultId, (&'a Location, LocationId, LockedKey)>,
    sealed: Vec<(&'a Location, LocationId, SealedRevision)>,
}

impl<'a> PreparedBatch<'a> {
    fn new_key(&mut self, location: &'a Location, id: LocationId) -> Result<&LockedKey, WriteError> {
        let (_, _, key) = match self.new_keys.entry(id.vault) {
            btree_map::Entry::Occupied(made) => made.into_mut(),
            btree_map::Entry::Vacant(slot) => slot.insert((location, id, new_vault_key()?)),
        };
        Ok(key)
    }
}
