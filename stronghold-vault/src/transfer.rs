//! Export and import of entries. `import` is the only function through which a foreign value enters
//! a Stronghold.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use stronghold_sync::{
    Ancestors, DeviceId, EntryId, Grant, Location, LocationId, Mapping, RevisionId, Scope, Selection,
    Timestamp, VaultId, heads, is_shrunk, message::Listing, padme_len, session::Unexpected,
};

use crate::{
    locked::LockedKey,
    read::RecordInfo,
    record::{Damaged, Inserted, MAX_HEADS, Origin, RecordCipher, SealedRevision},
    revision::{Entry, Revision},
    stronghold::{Stronghold, entry, names, new_vault_key},
    write::WriteError,
};

/// An error of exporting entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The grant, or the policy behind it, does not cover one of the entries (any more).
    #[error("the policy does not allow it")]
    NotPermitted,
    /// A stored value is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// The reason why a foreign entry is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// The entry was not requested, or its content does not match its id.
    #[error("an entry was not asked for, or was altered")]
    Unrequested,
    /// The policy does not let the sender write or delete the entry.
    #[error("the policy does not allow the entry")]
    NotPermitted,
    /// The policy let the sender write or delete the entry at request time, but no longer does.
    #[error("the rule that allowed the entry was taken back, or has expired")]
    Withdrawn,
    /// The value or labels exceed the limits, or a deletion has a value.
    #[error("an entry is over the limits")]
    OverLimits,
    /// The entry would leave a record with more than [`crate::MAX_HEADS`] heads.
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

/// An error of importing a batch. Nothing of the batch was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// One of the entries is rejected.
    #[error(transparent)]
    Unacceptable(#[from] RejectReason),
    /// An entry could not be sealed here.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The effect of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Number of revisions that are now heads.
    pub received: u64,
    /// Number of records that were readable before and are deleted now.
    pub deleted: u64,
    /// Number of records whose value is now empty or less than half its former size.
    pub shrunk: u64,
    /// Number of received records that are now in conflict.
    pub conflicts: u64,
    /// Number of revisions that were already known or replaced.
    pub known: u64,
}

impl Stronghold {
    /// Decrypts the requested entries, in order. Entries that are unknown or no longer heads are
    /// skipped. Checks each entry again, against the grant and the current policy.
    ///
    /// # Errors
    /// [`ExportError::NotPermitted`] if the grant or the policy does not cover an entry; nothing is
    /// exported then. [`ExportError::Damaged`] if an entry can't be opened.
    pub fn export(
        &self,
        grant: &Grant,
        wanted: &[EntryId],
        now: Timestamp,
    ) -> Result<Vec<Entry>, ExportError> {
        self.open_entries(wanted, |location| self.policy.still_allows(grant, location, now))
    }

    fn open_entries(
        &self,
        wanted: &[EntryId],
        may: impl Fn(&Location) -> bool,
    ) -> Result<Vec<Entry>, ExportError> {
        let mut entries = Vec::with_capacity(wanted.len());
        for want in wanted {
            let Some((client, vault, record)) = self.record(&want.location) else { continue };
            let location = names(client, vault, record);
            if !may(&location) {
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

    /// Exports entries of a selection under mapped names, for whoever has this Stronghold and its
    /// key: `wanted` holds their ids after mapping.
    ///
    /// # Errors
    /// [`ExportError::NotPermitted`] if the selection does not cover an entry; nothing is exported
    /// then. [`ExportError::Damaged`] if an entry can't be opened.
    pub fn export_mapped(
        &self,
        selection: &Selection,
        mapping: &Mapping,
        wanted: &BTreeSet<EntryId>,
    ) -> Result<Vec<Entry>, ExportError> {
        let open = |wanted: &[EntryId]| self.open_entries(wanted, |location| selection.covers(location));
        if mapping.is_empty() {
            return open(&wanted.iter().copied().collect::<Vec<_>>());
        }
        let mut entries = Vec::new();
        let mut left = wanted.clone();
        for (id, client, vault, record) in self.records_in(&Scope::of(selection.clone())) {
            let arrives = mapping.apply(&names(client, vault, record));
            let target = arrives.id();
            let mut asked = |head: &&SealedRevision| left.remove(&entry(target, head));
            let asked: Vec<EntryId> = record.heads().filter(&mut asked).map(|head| entry(id, head)).collect();
            let opened = open(&asked)?;
            entries.extend(opened.into_iter().map(|entry| Entry { location: arrives.clone(), ..entry }));
        }
        Ok(entries)
    }

    /// Returns names and shapes of the readable records that the grant covers, ordered by name: the
    /// answer to a peer's browse request. Sizes are padded.
    ///
    /// # Errors
    /// [`Damaged`] if a record with several heads can't be opened.
    pub fn list_for_peer(&self, grant: &Grant, now: Timestamp) -> Result<Vec<Listing>, Damaged> {
        let scope = grant.scope();
        let may =
            |location: &Location| scope.covers(location) && self.policy.still_allows(grant, location, now);
        let listed = self.list_filtered(scope.first(), may);
        let padded = |entry: RecordInfo| Listing { size: padme_len(entry.size), ..entry.into() };
        listed.map(|entry| entry.map(padded)).collect()
    }

    /// Merges foreign entries that the device `from` delivers at the time `now` (milliseconds since
    /// 1970, by this device's clock). Checks the whole batch, then applies all of it or nothing.
    ///
    /// `accept` decides whether an entry was requested and is permitted; the id it receives was
    /// computed from the content.
    ///
    /// # Errors
    /// [`ImportError`] with the first reason found; the Stronghold is unchanged then.
    pub fn import(
        &mut self,
        entries: &[Entry],
        from: DeviceId,
        now: Timestamp,
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

    /// Checks that no record would exceed [`MAX_HEADS`].
    fn check_heads(&self, checked: &[(&Location, EntryId, &Revision)]) -> Result<(), RejectReason> {
        let mut arriving: BTreeMap<LocationId, Vec<(RevisionId, &Ancestors)>> = BTreeMap::new();
        for (_, id, revision) in checked {
            arriving.entry(id.location).or_default().push((id.revision, &revision.ancestors));
        }
        for (location, mut all) in arriving {
            let held = self.record(&location).into_iter().flat_map(|(.., record)| record.heads());
            all.extend(held.map(|head| (head.id, head.ancestors())));
            if heads(all).len() > MAX_HEADS {
                return Err(RejectReason::TooManyHeads);
            }
        }
        Ok(())
    }

    /// Seals all entries before any is applied, so that every possible failure happens first.
    fn seal_all<'a>(
        &mut self,
        checked: &[(&'a Location, EntryId, &Revision)],
        (from, now): (DeviceId, Timestamp),
    ) -> Result<PreparedBatch<'a>, WriteError> {
        let via = self.devices.number(from);
        let mut staged =
            PreparedBatch { new_keys: BTreeMap::new(), sealed: Vec::with_capacity(checked.len()) };
        for (location, id, revision) in checked {
            let origin = Origin::delivered_by(self.devices.number(revision.author), via, now);
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

    /// Merges a sealed batch. Can't fail.
    fn apply(&mut self, staged: PreparedBatch<'_>, now: Timestamp) -> ImportReport {
        for (location, id, key) in staged.new_keys.into_values() {
            self.add_vault(location, id, key);
        }
        let mut report = ImportReport::default();
        let mut changed = BTreeMap::new();
        for (location, id, sealed) in staged.sealed {
            let before = self.largest_value_size(&id);
            match self.insert(location, id, sealed, now) {
                Some(Inserted::Head) => {
                    report.received += 1;
                    changed.entry(id).or_insert(before);
                }
                Some(Inserted::AlreadyPresent) | None => report.known += 1,
            }
        }
        for (id, before) in changed {
            match (before, self.largest_value_size(&id)) {
                (Some(_), None) => report.deleted += 1,
                (Some(before), Some(after)) => report.shrunk += u64::from(is_shrunk(before, after)),
                (None, _) => {}
            }
            // Counts heads that can't be opened as a conflict: reading them then reports the
            // damage.
            report.conflicts += u64::from(self.is_conflict(&id).unwrap_or(true));
        }
        report
    }

    /// Returns the number of readable records.
    pub fn readable(&self) -> u64 {
        self.records().filter(|(.., record)| record.is_readable()).count() as u64
    }

    /// Returns the padded size of a record's largest value, or `None` if the record can't be read.
    fn largest_value_size(&self, id: &LocationId) -> Option<u64> {
        let (_, _, record) = self.record(id)?;
        record.heads().filter(|head| !head.deleted).map(|head| head.shape(*id).size).max()
    }
}

/// A batch that was checked and sealed.
struct PreparedBatch<'a> {
    /// Keys of the vaults to create.
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
