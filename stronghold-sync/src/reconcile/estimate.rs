//! The estimate of a difference: odd strata.
//!
//! Entries are sorted into 16 levels, each taking half of what the one before left; a level is 48
//! bits, and an entry turns one of them over. Entries on both sides turn the same bit on both, so
//! the difference of two sides' bits is the parity of what differs: from how many bits are odd at
//! each level follows, by maximum likelihood, how many entries differ. 96 bytes, one bit turned per
//! entry, and removing an entry is the same as adding it.
//!
//! The README compares it with tug-of-war counters.

use serde::{Deserialize, Serialize};

use super::float;

/// Number of levels.
const LEVELS: usize = 16;
/// Bits of a level.
const BITS: usize = 48;
/// Bytes of an encoded estimator.
pub const STRATA_LEN: usize = LEVELS * BITS / 8;

/// A set, as far as its difference to another is to be estimated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DifferenceEstimator([u64; LEVELS]);

impl DifferenceEstimator {
    /// Adds an entry by its hash, or removes it: it is the same.
    pub fn toggle(&mut self, hash: u128) {
        let bits = (hash >> 64) as u64;
        let level = (bits.trailing_zeros() as usize).min(LEVELS - 1);
        // Bits that did not choose the level: the upper half, scaled to the width.
        let bit = ((bits >> 32) * BITS as u64) >> 32;
        self.0[level] ^= 1 << bit;
    }

    /// Returns about how many entries differ between the two sets.
    #[must_use]
    pub fn estimate(&self, other: &Self) -> u64 {
        let mut odd = [0u32; LEVELS];
        for (odd, (own, theirs)) in odd.iter_mut().zip(self.0.iter().zip(&other.0)) {
            *odd = (own ^ theirs).count_ones();
        }
        if odd == [0; LEVELS] { 0 } else { most_likely(&odd) }
    }
}

/// The number of entries under which these counts of odd bits are likeliest: on a grid of a quarter
/// of a doubling, then, around the best, of a 32nd.
fn most_likely(odd: &[u32; LEVELS]) -> u64 {
    let coarse = likeliest(odd, 1.0, COARSE, 112);
    let fine = likeliest(odd, coarse / COARSE, FINE, 17);
    fine as u64 + 1
}

/// The best of so many numbers, each `step` times the one before.
fn likeliest(odd: &[u32; LEVELS], first: f64, step: f64, count: u32) -> f64 {
    let (mut entries, mut best) = (first, (f64::NEG_INFINITY, first));
    for _ in 0..count {
        let likelihood = log_likelihood(odd, entries);
        if likelihood > best.0 {
            best = (likelihood, entries);
        }
        entries *= step;
    }
    best.1
}

fn log_likelihood(odd: &[u32; LEVELS], entries: f64) -> f64 {
    let mut share = 0.5;
    let mut sum = 0.0;
    for (level, odd) in odd.iter().enumerate() {
        // A level's bits are turned by a Poisson number of entries: odd with probability (1 -
        // e^-2λ) / 2.
        let rate = entries * share / BITS as f64;
        let p = (0.5 * (1.0 - float::exp(-2.0 * rate))).clamp(1e-12, 0.5);
        sum += f64::from(*odd) * float::ln(p) + f64::from(BITS as u32 - odd) * float::ln(1.0 - p);
        if level + 2 < LEVELS {
            share *= 0.5;
        }
    }
    sum
}

/// The fourth root of two, and the 32nd.
const COARSE: f64 = 1.189_207_115_002_721;
const FINE: f64 = 1.021_897_148_654_116_7;

impl Serialize for DifferenceEstimator {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = [0; STRATA_LEN];
        for (chunk, level) in bytes.chunks_exact_mut(BITS / 8).zip(&self.0) {
            chunk.copy_from_slice(&level.to_le_bytes()[..BITS / 8]);
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for DifferenceEstimator {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: [u8; STRATA_LEN] = serde_bytes::deserialize(deserializer)?;
        let mut strata = Self::default();
        for (level, chunk) in strata.0.iter_mut().zip(bytes.chunks_exact(BITS / 8)) {
            let mut word = [0; 8];
            word[..BITS / 8].copy_from_slice(chunk);
            *level = u64::from_le_bytes(word);
        }
        Ok(strata)
    }
}
