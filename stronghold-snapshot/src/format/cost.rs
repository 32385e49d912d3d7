//! The cost of passphrases: bounds on Argon2id's parameters, and the limit for untrusted files.

use thiserror::Error;

/// Argon2id parameters, always within bounds: memory 8 KiB to 1 GiB and at least 8 KiB a lane, 1 to
/// 16 passes, 1 to 16 lanes. Memory times passes, summed over all passphrase slots of a file, is at
/// most 16 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Argon2id parameters outside the bounds of [`PassphraseCost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes is out of bounds")]
pub struct PassphraseCostError {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes computed in parallel.
    pub lanes: u32,
}

impl PassphraseCost {
    const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    pub(crate) const MAX_PASSES: u32 = 16;
    const MAX_LANES: u32 = 16;
    /// Maximum total cost of all slots of one file, in KiB times passes.
    pub(crate) const MAX_TOTAL_WORK: u64 = Self::MAX_MEMORY_KIB as u64 * Self::MAX_PASSES as u64;

    /// Creates parameters of `memory_kib` KiB of memory, `passes` passes and `lanes` parallel
    /// lanes.
    ///
    /// # Errors
    /// [`PassphraseCostError`] if they are out of bounds; see the type.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, PassphraseCostError> {
        let allowed = (1..=Self::MAX_LANES).contains(&lanes)
            && (1..=Self::MAX_PASSES).contains(&passes)
            && (8 * lanes..=Self::MAX_MEMORY_KIB).contains(&memory_kib);
        if !allowed {
            return Err(PassphraseCostError { memory_kib, passes, lanes });
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    /// Replaces the number of passes, which must be within the bounds.
    pub(crate) fn with_passes(self, passes: u32) -> Self {
        Self { passes, ..self }
    }

    /// Returns the memory in KiB.
    pub fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Returns the number of passes over the memory.
    pub fn passes(self) -> u32 {
        self.passes
    }

    /// Returns the number of lanes computed in parallel.
    pub fn lanes(self) -> u32 {
        self.lanes
    }

    /// Returns KiB times passes.
    pub(crate) fn work(self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.passes)
    }
}

impl Default for PassphraseCost {
    /// Returns 64 MiB, 3 passes, 4 lanes: the second choice of RFC 9106, section 4.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

/// The total work that a file's passphrase slots demand, known before the file is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfWork {
    /// Memory of the slot that takes the most, in KiB.
    pub memory_kib: u32,
    /// KiB times passes, summed over all slots.
    pub total_kib: u64,
}

impl KdfWork {
    /// The limit for an untrusted file: 64 MiB, with 16 passes in total. That is the default cost
    /// five times, or one slot of any [`PassphraseCost::calibrated`] cost.
    pub const FOREIGN: Self = Self { memory_kib: 64 * 1024, total_kib: 16 * 64 * 1024 };

    /// Everything that the format allows.
    pub const ANY: Self =
        Self { memory_kib: PassphraseCost::MAX_MEMORY_KIB, total_kib: PassphraseCost::MAX_TOTAL_WORK };

    pub(crate) const NONE: Self = Self { memory_kib: 0, total_kib: 0 };

    pub(crate) fn of(costs: impl Iterator<Item = PassphraseCost>) -> Self {
        costs.fold(Self::NONE, |sum, cost| Self {
            memory_kib: sum.memory_kib.max(cost.memory_kib()),
            total_kib: sum.total_kib + cost.work(),
        })
    }

    /// Returns the greater value of each field.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            memory_kib: self.memory_kib.max(other.memory_kib),
            total_kib: self.total_kib.max(other.total_kib),
        }
    }

    pub(crate) fn is_within(self, allowed: Self) -> bool {
        self.memory_kib <= allowed.memory_kib && self.total_kib <= allowed.total_kib
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_allowed_up_to_their_bounds() {
        for (memory_kib, passes, lanes, allowed) in [
            (8, 1, 1, true),
            (7, 1, 1, false),
            (128, 1, 16, true),
            (127, 1, 16, false),
            (1 << 20, 16, 16, true),
            ((1 << 20) + 1, 16, 16, false),
            (1 << 20, 17, 16, false),
            (1 << 20, 16, 17, false),
            (8, 0, 1, false),
            (8, 1, 0, false),
        ] {
            let cost = PassphraseCost::new(memory_kib, passes, lanes);
            let parts = cost.map(|cost| (cost.memory_kib(), cost.passes(), cost.lanes()));
            let refused = PassphraseCostError { memory_kib, passes, lanes };
            assert_eq!(parts, if allowed { Ok((memory_kib, passes, lanes)) } else { Err(refused) });
        }
        let least = PassphraseCost::default();
        assert_eq!(
            (least.memory_kib(), least.passes(), least.lanes(), least.work()),
            (65_536, 3, 4, 196_608)
        );
    }

    #[test]
    fn work_is_the_most_memory_and_the_sum_of_passes_over_it() {
        let cost = |memory_kib, passes| PassphraseCost::new(memory_kib, passes, 1).unwrap();
        let work = |memory_kib, total_kib| KdfWork { memory_kib, total_kib };
        assert_eq!(KdfWork::of([].into_iter()), KdfWork::NONE);
        assert_eq!(
            KdfWork::of([cost(8, 2), cost(100, 3), cost(50, 1)].into_iter()),
            work(100, 16 + 300 + 50)
        );
        assert_eq!(work(8, 20).max(work(9, 10)), work(9, 20));
        assert_eq!(work(9, 10).max(work(8, 20)), work(9, 20));
        for (asked, is_within) in
            [(work(9, 20), true), (work(10, 20), false), (work(9, 21), false), (work(0, 0), true)]
        {
            assert_eq!(asked.is_within(work(9, 20)), is_within, "{asked:?}");
        }
        assert_eq!((KdfWork::FOREIGN, KdfWork::ANY), (work(65_536, 1 << 20), work(1 << 20, 1 << 24)));
    }
}
