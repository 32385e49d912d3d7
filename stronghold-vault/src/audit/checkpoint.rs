//! The log's checkpoint: sums over its oldest entries, and the hash from which the chain continues.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stronghold_sync::{DeviceId, Timestamp};

use super::{AuditAction, AuditEntry};

/// Decisions of one kind about one device, summed from entries that are no longer kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditTotal {
    /// The device.
    pub device: DeviceId,
    /// The action requested by the device, or taken about it.
    pub action: AuditAction,
    /// Set if the action was allowed.
    pub allowed: bool,
    /// Number of decisions.
    pub count: u64,
    /// Time of the first decision, in milliseconds since 1970.
    pub first: Timestamp,
    /// Time of the last decision, in milliseconds since 1970.
    pub last: Timestamp,
    /// Total number of entries sent or taken.
    pub entries: u64,
    /// Total padded size of those entries, in bytes.
    pub bytes: u64,
}

/// Sums ordered by device, action and allowed flag; the hash of the last folded entry; a hash of
/// both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    sums: Vec<AuditTotal>,
    #[serde(with = "serde_bytes")]
    hash: [u8; 32],
    #[serde(with = "serde_bytes")]
    seal: [u8; 32],
}

impl Default for Checkpoint {
    fn default() -> Self {
        let mut empty = Self { sums: Vec::new(), hash: [0; 32], seal: [0; 32] };
        empty.seal = empty.sealed();
        empty
    }
}

impl Checkpoint {
    pub(super) fn sums(&self) -> &[AuditTotal] {
        &self.sums
    }

    pub(super) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    pub(super) fn is_intact(&self) -> bool {
        self.seal == self.sealed()
    }

    /// Adds an entry to the sums. The chain continues from `hash`.
    pub(super) fn fold(&mut self, logged: &AuditEntry, hash: [u8; 32]) {
        let AuditEntry { device, action: deed, allowed, count, first, last, entries, bytes, .. } = *logged;
        self.add(AuditTotal { device, action: deed, allowed, count, first, last, entries, bytes });
        self.hash = hash;
        self.seal = self.sealed();
    }

    /// Adds the sums of another checkpoint.
    pub(super) fn absorb(&mut self, other: &Self) {
        other.sums.iter().cloned().for_each(|sum| self.add(sum));
        self.seal = self.sealed();
    }

    fn add(&mut self, sum: AuditTotal) {
        let key = |sum: &AuditTotal| (sum.device, sum.action, sum.allowed);
        match self.sums.binary_search_by_key(&key(&sum), key) {
            Ok(at) => {
                let held = &mut self.sums[at];
                held.count = held.count.saturating_add(sum.count);
                held.first = held.first.min(sum.first);
                held.last = held.last.max(sum.last);
                held.entries = held.entries.saturating_add(sum.entries);
                held.bytes = held.bytes.saturating_add(sum.bytes);
            }
            Err(at) => self.sums.insert(at, sum),
        }
    }

    fn sealed(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"stronghold/log/checkpoint/v1");
        hash.update(self.hash);
        for sum in &self.sums {
            hash.update(sum.device.as_bytes());
            hash.update([sum.action as u8, u8::from(sum.allowed)]);
            for number in [sum.count, sum.first.as_millis(), sum.last.as_millis(), sum.entries, sum.bytes] {
                hash.update(number.to_le_bytes());
            }
        }
        hash.finalize().into()
    }
}

/// Returns changes of a sum or of the hash. The seal must detect each of them.
#[cfg(test)]
pub(super) fn tampered() -> [fn(&mut Checkpoint); 9] {
    [
        |checkpoint| checkpoint.sums[0].device = DeviceId::from_bytes([9; 32]),
        |checkpoint| checkpoint.sums[0].action = AuditAction::Revoked,
        |checkpoint| checkpoint.sums[0].allowed ^= true,
        |checkpoint| checkpoint.sums[0].count += 1,
        |checkpoint| checkpoint.sums[0].first = Timestamp::MAX,
        |checkpoint| checkpoint.sums[0].last = Timestamp::MAX,
        |checkpoint| checkpoint.sums[0].entries += 1,
        |checkpoint| checkpoint.sums[0].bytes += 1,
        |checkpoint| checkpoint.hash[0] ^= 1,
    ]
}
