//! Questions to a Stronghold about what each device received.

use stronghold_sync::{DeviceId, EntryId, LocationId, RevisionId, Scope, Selection, Shape};

use super::Prefixes;
use crate::{
    read::RecordInfo,
    record::{Damaged, SealedRevision},
    stronghold::Stronghold,
};

impl Stronghold {
    /// Records that a device holds these revisions or is about to receive them. The record outlives
    /// revocation. If it grows to more than twice the number of revisions held here when that was
    /// last counted, all revisions that are not held here any more are forgotten.
    pub fn record_disclosed(&mut self, device: &DeviceId, revisions: impl IntoIterator<Item = RevisionId>) {
        self.touch_peers().record_disclosed(device, revisions);
        let known = self.peers.disclosed_count(device);
        if known <= self.unchecked_disclosures.max(2 * self.record_count()) {
            return;
        }
        let held = self.records().map(|(.., record)| record.revisions().count()).sum::<usize>();
        self.unchecked_disclosures = 2 * held;
        if known > self.unchecked_disclosures {
            let held = self.held_prefixes();
            self.touch_peers().forget_disclosed(device, &held);
        }
    }

    /// Forgets of all devices the revisions disclosed to them that are not held here any more.
    pub(crate) fn forget_disclosures(&mut self) {
        let held = self.held_prefixes();
        if self.peers.discloses_more_than(&held) {
            self.touch_peers().retain_disclosed(&held);
        }
    }

    fn held_prefixes(&self) -> Prefixes {
        let mut held = Prefixes::default();
        held.extend(self.records().flat_map(|(.., record)| record.revisions()).map(|sealed| sealed.id));
        held
    }

    /// Returns the records of [`list`](Self::list) of which the device received a current value. A
    /// changed record is omitted until that value is written again.
    ///
    /// An item is [`Damaged`] if a record that has to be opened can't be.
    pub fn disclosed_to<'a>(
        &'a self,
        device: &'a DeviceId,
        selection: &'a Selection,
    ) -> impl Iterator<Item = Result<RecordInfo, Damaged>> + use<'a> {
        self.list(selection).filter_map(|listed| {
            let disclosed =
                listed.and_then(|listed| Ok((self.was_disclosed_to(device, &listed.location.id())?, listed)));
            disclosed.map(|(is_known, listed)| is_known.then_some(listed)).transpose()
        })
    }

    /// Returns whether a device lacks a head, as far as disclosures tell. A tombstone counts as
    /// lacking if the device received an earlier revision of the record but not the tombstone.
    pub fn lacks(&self, device: &DeviceId, head: &Shape) -> bool {
        let knows = |revision: &RevisionId| self.peers.was_disclosed_to(device, revision);
        if !head.deleted || knows(&head.revision) {
            return !knows(&head.revision);
        }
        self.record(&head.location).is_some_and(|(.., record)| record.revisions().any(|old| knows(&old.id)))
    }

    /// Returns the shapes of the heads in a scope that a device [lacks](Self::lacks), and of those
    /// that it received and `is_again` names. Other heads cost no copy of their ancestors.
    pub fn due_to(
        &self,
        device: &DeviceId,
        scope: &Scope,
        is_again: impl Fn(&RevisionId) -> bool,
    ) -> Vec<Shape> {
        let knows = |revision: &RevisionId| self.peers.was_disclosed_to(device, revision);
        let mut due = Vec::new();
        for (id, .., record) in self.records_in(scope) {
            let is_due = |head: &&SealedRevision| match knows(&head.id) {
                true => is_again(&head.id),
                false => !head.deleted || record.revisions().any(|old| knows(&old.id)),
            };
            due.extend(record.heads().filter(is_due).map(|head| head.shape(id)));
        }
        due
    }

    /// Checks whether a device delivered this head.
    pub fn is_delivered_by(&self, device: &DeviceId, entry: &EntryId) -> bool {
        let Some((.., record)) = self.record(&entry.location) else { return false };
        let via = |head: &SealedRevision| head.origin.delivered().and_then(|(via, _)| self.devices.id(via));
        record.heads().any(|head| head.id == entry.revision && via(head) == Some(*device))
    }

    /// Returns whether the device received any current value of the record, under this or an
    /// earlier revision. Undo, for example, writes an earlier value again.
    fn was_disclosed_to(&self, device: &DeviceId, id: &LocationId) -> Result<bool, Damaged> {
        let Some((_, vault, record)) = self.record(id) else { return Ok(false) };
        let is_known =
            |sealed: &&SealedRevision| !sealed.deleted && self.peers.was_disclosed_to(device, &sealed.id);
        if record.heads().any(|head| is_known(&head)) {
            return Ok(true);
        }
        let keeper = vault.record_cipher(*id, &self.devices);
        for old in record.revisions().skip(record.head_count()).filter(is_known) {
            let had = keeper.open(old)?;
            for head in record.heads().filter(|head| !head.deleted) {
                if keeper.open(head)?.value == had.value {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
