//! Keys from passphrases by Argon2id, and the measured cost of one.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use stronghold_vault::LockedKey;
use zeroize::Zeroizing;

use crate::error::SealError;
use crate::format::cost::PassphraseCost;

impl PassphraseCost {
    /// Measures a cost that takes about `time` on this machine: at least the default, with as many
    /// more passes as fit.
    ///
    /// # Errors
    /// [`SealError::NoMemory`] if the system refuses the memory.
    pub fn calibrated(time: Duration) -> Result<Self, SealError> {
        let least = Self::default();
        let one_run = |cost: Self| {
            let start = Instant::now();
            let run = argon2id(b"calibration", &[0; 32], cost);
            run.map(|_| start.elapsed()).map_err(|_| SealError::NoMemory(cost))
        };
        // The first run also pays for mapping new memory.
        let run = one_run(least)?.min(one_run(least)?);
        Ok(Self::lasting(time, run))
    }

    /// Returns the cost that takes about `time` where the default takes `run`.
    fn lasting(time: Duration, run: Duration) -> Self {
        let least = Self::default();
        let of_one_pass = run.as_secs_f64() / f64::from(least.passes());
        let passes = (time.as_secs_f64() / of_one_pass.max(f64::EPSILON)) as u32;
        least.with_passes(passes.clamp(least.passes(), Self::MAX_PASSES))
    }
}

/// An error of deriving a key by Argon2id.
#[derive(Debug)]
pub(crate) enum PassphraseError {
    /// The system refused the memory.
    NoMemory,
    /// The passphrase exceeds Argon2's limit of 4 GiB.
    TooLong,
}

/// Derives 32 bytes from a passphrase by Argon2id, version 1.3 (RFC 9106). Wipes the working memory
/// afterwards.
pub(crate) fn argon2id(
    passphrase: &[u8],
    salt: &[u8],
    cost: PassphraseCost,
) -> Result<LockedKey, PassphraseError> {
    let params = Params::new(cost.memory_kib(), cost.passes(), cost.lanes(), Some(32))
        .map_err(|_| PassphraseError::NoMemory)?;
    let mut memory = Zeroizing::new(Vec::new());
    memory.try_reserve_exact(params.block_count()).map_err(|_| PassphraseError::NoMemory)?;
    memory.resize(params.block_count(), Block::default());
    let out = LockedKey::filled(|out| {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase, salt, out, memory.as_mut_slice())
            .map_err(|_| PassphraseError::TooLong)
    });
    memory.clear(); // unused capacity is wiped at once, elements one by one
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calibrated_cost_is_at_least_the_default_and_as_many_passes_as_there_may_be() {
        let passes = |time| PassphraseCost::calibrated(time).unwrap().passes();
        assert_eq!(passes(Duration::ZERO), 3);
        let most = PassphraseCost::calibrated(Duration::from_secs(3600)).unwrap();
        assert_eq!(most, PassphraseCost::default().with_passes(16));
    }

    #[test]
    fn the_passes_follow_the_time_of_a_run() {
        let ms = Duration::from_millis;
        for (time, run, passes) in
            [(0, 300, 3), (399, 300, 3), (450, 300, 4), (1000, 300, 10), (1000, 30, 16), (1000, 0, 16)]
        {
            assert_eq!(PassphraseCost::lasting(ms(time), ms(run)).passes(), passes, "{time} ms, {run} ms");
        }
    }

    /// Two lines of `test.c` in the reference implementation (P-H-C/phc-winner-argon2), Argon2id
    /// version 0x13.
    #[test]
    fn argon2id_matches_the_reference_implementation() {
        let vectors = [
            (256, 1, "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
            (256, 2, "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"),
        ];
        for (kib, lanes, expected) in vectors {
            let cost = PassphraseCost::new(kib, 2, lanes).unwrap();
            let key = argon2id(b"password", b"somesalt", cost).unwrap();
            assert_eq!(hex(key.expose()), expected, "{kib} KiB, {lanes} lanes");
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
