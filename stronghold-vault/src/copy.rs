//! Copying a record to another location, with its history: who wrote a value and which devices have
//! received it is known there too.

use stronghold_sync::{Location, Timestamp};

use crate::{
    record::{Damaged, Record, SealedRevision},
    revision::Revision,
    stronghold::{Stronghold, new_vault_key},
    write::{Content, WriteError},
};

impl Stronghold {
    /// Writes the content of a record at another location, as a revision that replaces the copied
    /// one. A record in conflict arrives in conflict. The history comes along, but not to other
    /// devices.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if there is nothing to copy, [`WriteError::Exists`] if there is a
    /// record at `to`.
    pub fn copy(&mut self, from: &Location, to: &Location, now: Timestamp) -> Result<(), WriteError> {
        let (source, target) = (from.id(), to.id());
        if self.contains(to) {
            return Err(WriteError::Exists);
        }
        let held = self.record(&source).filter(|(.., record)| record.is_readable());
        let (_, vault, record) = held.ok_or(WriteError::NotFound)?;
        let cipher = vault.record_cipher(source, &self.devices);
        let opened = |sealed: &SealedRevision| Ok((sealed.clone(), cipher.open(sealed)?));
        let revisions = record.revisions().map(opened).collect::<Result<Vec<_>, Damaged>>()?;
        let shown = record.shown().map(|shown| shown.id);
        let (count, conflict) = (record.head_count(), record.is_conflict(&cipher)?);
        let heads =
            record.heads().chain(self.record(&target).into_iter().flat_map(|(.., held)| held.heads()));
        let ancestors = Record::ancestors_after(heads, |head| self.is_shared(head));
        if self.vault(&target).is_none() {
            self.add_vault(to, target, new_vault_key()?);
        }
        let history = self.sealed_at(to, &revisions, now)?;
        let is_written = |sealed: &SealedRevision| conflict || Some(sealed.id) == shown;
        for (_, head) in revisions[..count].iter().filter(|(sealed, _)| is_written(sealed)) {
            self.write_after(to, Content::of(head), ancestors.clone(), now)?;
        }
        let Self { clients, steps, .. } = self;
        let vault = clients.get_mut(&target.client).and_then(|client| client.vaults.get_mut(&target.vault));
        let written = vault.and_then(|vault| vault.records.get_mut(&target.record)).ok_or(Damaged)?;
        written.add_history(history);
        written.trim(&steps.named(&target), now);
        Ok(())
    }

    /// Seals revisions of another location for the history of the record at `to`.
    fn sealed_at(
        &self,
        to: &Location,
        revisions: &[(SealedRevision, Revision)],
        now: Timestamp,
    ) -> Result<Vec<SealedRevision>, Damaged> {
        let cipher = self.vault(&to.id()).ok_or(Damaged)?.record_cipher(to.id(), &self.devices);
        let sealed = |(old, revision): &(SealedRevision, Revision)| {
            let mut sealed = cipher.seal(old.id, revision, old.origin)?;
            sealed.shared = old.shared.clone();
            let is_head = old.replaced() == Timestamp::default();
            sealed.set_replaced(if is_head { now } else { old.replaced() });
            Ok(sealed)
        };
        revisions.iter().map(sealed).collect()
    }
}
