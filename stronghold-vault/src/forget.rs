//! Forgets the ids, histories and tombstones that no paired device needs any more. It only
//! removes. What is forgotten too early shows up as a false conflict, never as a loss.

use std::{cmp::Reverse, time::Duration};

use stronghold_sync::{DeviceId, LocationId, Timestamp};

use crate::{
    ages::{Forgetting, Limits},
    stronghold::{Stronghold, names},
};

/// Number of the newest ids that stay of a deletion that all devices have.
const FLOOR_DELETED: usize = 4;

/// Deletions that a paired device has not acknowledged: see [`Stronghold::awaited`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Awaited {
    /// Number of deleted records.
    pub deletions: u64,
    /// Time of the first of these deletions, in milliseconds since 1970.
    pub since: Timestamp,
}

impl Stronghold {
    /// Sets the generation of the file that changes will be written to.
    #[doc(hidden)]
    pub fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Returns the generation of the file that changes will be written to.
    #[doc(hidden)]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Replaces the limits of forgetting by those of a test.
    #[doc(hidden)]
    pub fn set_forgetting(&mut self, floor: usize, tombstones: usize, retention: Duration) {
        self.limits = Limits { floor, tombstones, retention };
    }

    /// Returns how lists are extended. Ids are younger than any mark, whatever the file's
    /// generation is: a Stronghold may be stored in another file.
    pub(crate) fn forgetting(&self) -> Forgetting {
        let newest_mark = self.peers.newest_mark();
        let generation = self.generation.max(newest_mark.saturating_add(1));
        Forgetting { generation, newest_mark, floor: self.limits.floor }
    }

    /// Returns the length of the longest list of the record's heads; `0` if there is none.
    #[doc(hidden)]
    pub fn longest_list(&self, id: &LocationId) -> usize {
        self.record(id).map(|(.., record)| record.longest_list()).unwrap_or_default()
    }

    /// Forgets all that may be forgotten at the time `now`: ids in lists, the histories of deleted
    /// records and, of the tombstones that all devices have, the oldest. Does so when the whole is
    /// stored.
    #[doc(hidden)]
    pub fn forget(&mut self, now: Timestamp) {
        let Limits { floor, tombstones, retention } = self.limits;
        let held = self.records();
        let may_matter = held.filter(|(.., record)| !record.is_readable() || record.longest_list() > floor);
        let ids: Vec<LocationId> = may_matter.map(|(id, ..)| id).collect();
        let mut deleted: Vec<(Timestamp, LocationId)> = Vec::new();
        for id in ids {
            let passed = self.passed(&id);
            let since = self.record(&id).and_then(|(.., record)| record.deleted_since(passed));
            let is_over = |since: &Timestamp| now.since(*since) >= retention;
            match since.filter(is_over).filter(|_| self.steps.named(&id).is_empty()) {
                Some(since) => {
                    deleted.push((since, id));
                    self.clear_deleted(&id, passed);
                }
                None => self.shorten(&id, floor),
            }
        }
        deleted.sort_unstable_by_key(|(since, id)| (Reverse(*since), *id));
        for (_, id) in deleted.into_iter().skip(tombstones) {
            self.touch_record(&id);
            self.vault_mut(&id).map(|vault| vault.records.remove(&id.record));
        }
        self.forget_disclosures();
    }

    /// Returns the deletions that a paired device has not acknowledged; `None` if there are none.
    /// They stay until it has, or is revoked.
    pub fn awaited(&self, device: &DeviceId) -> Option<Awaited> {
        self.peers.get(device)?;
        let mut awaited = None;
        for (id, client, vault, record) in self.records().filter(|(.., record)| !record.is_readable()) {
            let name = names(client, vault, record).to_string();
            let passed = self.peers.passed_by(device, &self.policy, &id, &name);
            if passed.is_some_and(|passed| record.deleted_since(passed).is_none()) {
                let new = Awaited { deletions: 0, since: Timestamp::MAX };
                let awaited: &mut Awaited = awaited.get_or_insert(new);
                awaited.deletions += 1;
                awaited.since = awaited.since.min(record.deleted_at());
            }
        }
        awaited
    }

    /// Removes the history of a deleted record, and shortens its list.
    fn clear_deleted(&mut self, id: &LocationId, passed: u64) {
        let held = self.record(id);
        if held.is_some_and(|(.., record)| record.history_len() > 0 || record.longest_list() > FLOOR_DELETED)
        {
            self.touch_record(id);
            let record = self.vault_mut(id).and_then(|vault| vault.records.get_mut(&id.record));
            record.into_iter().for_each(|record| {
                record.clear_history();
                record.shorten(passed, FLOOR_DELETED);
            });
        }
    }

    /// Shortens the lists of a record to `floor` ids and what a device has not passed.
    pub(crate) fn shorten(&mut self, id: &LocationId, floor: usize) {
        let passed = self.passed(id);
        let is_first = self.touch_record(id);
        let record = self.vault_mut(id).and_then(|vault| vault.records.get_mut(&id.record));
        let changed = record.is_some_and(|record| record.shorten(passed, floor));
        if is_first && !changed {
            self.untouch_record(id);
        }
    }

    /// Returns the generation that every device has passed which may show the record.
    fn passed(&self, id: &LocationId) -> u64 {
        let Some((client, vault, record)) = self.record(id) else { return 0 };
        self.peers.passed(&self.policy, id, &names(client, vault, record).to_string())
    }
}
