//! The table by which a record is found without reading the others.

use std::ops::Range;

use crate::{encoding::DecodeError, order::SortKey};

/// Distance of two fences, in bytes: a record is found in at most twice as many.
pub(super) const FENCE_DISTANCE: u64 = 64 * 1024;
pub(super) const FENCE_LEN: u64 = 16;

/// The table of fences: sort keys of some entries and their offsets, ascending.
pub(super) struct Fences<B> {
    bytes: B,
    passed: usize,
}

impl<B: AsRef<[u8]>> Fences<B> {
    pub(super) fn new(bytes: B) -> Self {
        Self { bytes, passed: 0 }
    }

    fn all(&self) -> &[[u8; FENCE_LEN as usize]] {
        self.bytes.as_ref().as_chunks().0
    }

    fn at(&self, index: usize) -> Option<(SortKey, u64)> {
        let (key, at) = self.all().get(index)?.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*key), u64::from_be_bytes(at.try_into().ok()?)))
    }

    /// Returns the range of entries that may have this sort key.
    pub(super) fn range_of(&self, key: SortKey, end: u64) -> Range<u64> {
        let below = self.all().partition_point(|fence| fence[..8] < key.to_be_bytes()[..]);
        let up_to = self.all().partition_point(|fence| fence[..8] <= key.to_be_bytes()[..]);
        let from = below.checked_sub(1).and_then(|at| self.at(at)).map_or(0, |(_, at)| at);
        let to = self.at(up_to).map_or(end, |(_, at)| at).min(end);
        from.min(to)..to
    }

    /// Checks the entry at `from..to` against the table: it has a fence if it has to have one.
    pub(super) fn pass(&mut self, key: SortKey, from: u64, to: u64) -> Result<(), DecodeError> {
        let last = self.passed.checked_sub(1).and_then(|last| self.at(last));
        let is_due = last.is_none_or(|(_, at)| to > at + FENCE_DISTANCE);
        if !is_due {
            return Ok(());
        }
        let is_it = self.at(self.passed) == Some((key, from));
        self.passed += 1;
        is_it.then_some(()).ok_or(DecodeError)
    }

    pub(super) fn are_passed(&self) -> bool {
        self.passed == self.all().len()
    }
}
