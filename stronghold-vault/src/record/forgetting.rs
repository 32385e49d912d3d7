//! Forgets parts of a record.

use stronghold_sync::Timestamp;

use super::Record;
use crate::ages::shortened;

impl Record {
    /// Returns the length of the longest list of ancestors.
    pub(crate) fn longest_list(&self) -> usize {
        self.heads().map(|head| head.ancestors().as_slice().len()).max().unwrap_or_default()
    }

    /// Shortens the heads' lists by what all devices have passed; returns whether that changed any.
    pub(crate) fn shorten(&mut self, passed: u64, floor: usize) -> bool {
        self.heads_mut().fold(false, |changed, head| {
            let shorter = shortened(head.ancestors(), head.ages(), passed, floor);
            let is_shorter = shorter.is_some();
            if let Some((ancestors, ages)) = shorter {
                head.set_ancestors(ancestors, ages);
            }
            changed || is_shorter
        })
    }

    /// Returns the time since which the record is deleted here, if all devices have the deletion.
    pub(crate) fn deleted_since(&self, passed: u64) -> Option<Timestamp> {
        let head = &self.head;
        let all_have_it = self.other_heads().is_empty()
            && head.deleted
            && head.ages().newest().is_some_and(|newest| newest <= passed);
        all_have_it.then(|| self.deleted_at())
    }

    /// Returns the time at which the first head was written here or arrived.
    pub(crate) fn deleted_at(&self) -> Timestamp {
        self.head.origin.delivered().map_or(self.head.time, |(_, arrived)| arrived)
    }
}
