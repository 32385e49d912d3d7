//! Estimates the size of a difference by odd strata.
//!
//! Entries fall into 16 levels, each taking half of those the level before left over. A level is 48
//! bits, and an entry flips one of them. Entries that both sides hold flip the same bit on both, so
//! the XOR of two sides' bits is the parity of the differing entries. The number of odd bits at
//! each level gives, by maximum likelihood, the number of differing entries. An estimator takes 96
//! bytes, an entry flips one bit, and removing an entry is the same as adding it.
//!
//! The README compares it with tug-of-war counters.

use serde::{Deserialize, Serialize};

use super::float;

/// Number of levels.
const LEVELS: usize = 16;
/// Number of bits of a level.
const BITS: usize = 48;
/// Size of an encoded estimator, in bytes.
pub const STRATA_LEN: usize = LEVELS * BITS / 8;

/// An estimator: a digest of a set from which the size of its difference to another set is
/// estimated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DifferenceEstimator([u64; LEVELS]);

impl DifferenceEstimator {
    /// Adds an entry by its hash, or removes it: both flip the same bit.
    pub fn toggle(&mut self, hash: u128) {
        let bits = (hash >> 64) as u64;
        let level = (bits.trailing_zeros() as usize).min(LEVELS - 1);
        // Bits that did not choose the level: the upper half, scaled to the width.
        let bit = ((bits >> 32) * BITS as u64) >> 32;
        self.0[level] ^= 1 << bit;
    }

    /// Returns the approximate number of entries that differ between the two sets.
    pub fn estimate(&self, other: &Self) -> u64 {
        let mut odd = [0u32; LEVELS];
        for (odd, (own, theirs)) in odd.iter_mut().zip(self.0.iter().zip(&other.0)) {
            *odd = (own ^ theirs).count_ones();
        }
        if odd == [0; LEVELS] { 0 } else { most_likely(&odd) }
    }
}

/// Returns the number of entries that makes these counts of odd bits most likely. Searches a grid
/// of factors 2^(1/4), then, around the best, one of factors 2^(1/32).
fn most_likely(odd: &[u32; LEVELS]) -> u64 {
    let coarse = likeliest(odd, 1.0, COARSE, 112);
    let fine = likeliest(odd, coarse / COARSE, FINE, 17);
    fine as u64 + 1
}

/// Returns the most likely of `count` numbers, each `step` times the one before.
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
        // A Poisson number of entries flips each bit of a level: odd with probability (1 - e^-2λ) /
        // 2.
        let rate = entries * share / BITS as f64;
        let p = (0.5 * (1.0 - float::exp(-2.0 * rate))).clamp(1e-12, 0.5);
        sum += f64::from(*odd) * float::ln(p) + f64::from(BITS as u32 - odd) * float::ln(1.0 - p);
        if level + 2 < LEVELS {
            share *= 0.5;
        }
    }
    sum
}

/// The 4th root of 2, and the 32nd root of 2.
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
