//! The log of permission decisions: append-only and hash-chained, inside the snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stronghold_sync::{DeviceId, Operation};

/// One decision of the policy: who, what, which selection, how much, allowed or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// The device that asked.
    pub device: DeviceId,
    /// What it asked to do, or what was done about it.
    pub deed: Deed,
    /// On what, as text.
    pub selection: String,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Entries handed over or taken.
    pub entries: u64,
    /// Their padded sizes together, in bytes.
    pub bytes: u64,
}

/// What stands in the log: what a device asked to do here, or what was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// [`Operation::Import`].
    Import,
    /// [`Operation::Browse`].
    Browse,
    /// [`Operation::Pull`].
    Pull,
    /// [`Operation::Push`].
    Push,
    /// [`Operation::Delete`].
    Delete,
    /// Its rules and its trust were taken away.
    Revoked,
}

impl Deed {
    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => Operation::Import.name(),
            Self::Browse => Operation::Browse.name(),
            Self::Pull => Operation::Pull.name(),
            Self::Push => Operation::Push.name(),
            Self::Delete => Operation::Delete.name(),
            Self::Revoked => "revoked",
        }
    }
}

impl From<Operation> for Deed {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Import => Self::Import,
            Operation::Browse => Self::Browse,
            Operation::Pull => Self::Pull,
            Operation::Push => Self::Push,
            Operation::Delete => Self::Delete,
        }
    }
}

impl Decided {
    /// That something was done about a device, at this time.
    #[must_use]
    pub fn about(device: DeviceId, deed: Deed, time: u64) -> Self {
        Self { time, device, deed, selection: String::new(), allowed: true, entries: 0, bytes: 0 }
    }
}

/// The log.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct AuditLog {
    entries: Vec<Link>,
    /// Further refusals since a device's last entry: counted, so that a peer can't fill the disk.
    repeated: BTreeMap<DeviceId, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Link {
    decided: Decided,
    #[serde(with = "serde_bytes")]
    hash: [u8; 32],
}

impl AuditLog {
    /// Appends a decision. A refusal right after a refusal of the same device is counted, not appended.
    pub fn append(&mut self, decided: Decided) {
        let device = decided.device;
        let last = self.entries.iter().rev().find(|link| link.decided.device == device);
        if !decided.allowed && last.is_some_and(|link| !link.decided.allowed) {
            *self.repeated.entry(device).or_default() += 1;
            return;
        }
        self.repeated.remove(&device);
        let previous = self.entries.last().map_or([0; 32], |link| link.hash);
        let hash = chain(&previous, &decided);
        self.entries.push(Link { decided, hash });
    }

    /// The decisions, oldest first, each with how many refusals of the same device followed it uncounted.
    pub fn entries(&self) -> impl Iterator<Item = (&Decided, u64)> {
        let newest: BTreeMap<&DeviceId, usize> =
            self.entries.iter().enumerate().map(|(at, link)| (&link.decided.device, at)).collect();
        self.entries.iter().enumerate().map(move |(at, Link { decided, .. })| {
            let repeats =
                self.repeated.get(&decided.device).filter(|_| newest.get(&decided.device) == Some(&at));
            (decided, repeats.copied().unwrap_or(0))
        })
    }

    /// Whether every entry's hash follows from the one before. That the newest are missing can't be seen.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let mut previous = [0; 32];
        self.entries.iter().all(|link| {
            previous = chain(&previous, &link.decided);
            previous == link.hash
        })
    }
}

fn chain(previous: &[u8; 32], decided: &Decided) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"stronghold/log/v1");
    hash.update(previous);
    hash.update(decided.time.to_le_bytes());
    hash.update(decided.device.as_bytes());
    hash.update([decided.deed as u8, u8::from(decided.allowed)]);
    hash.update(decided.entries.to_le_bytes());
    hash.update(decided.bytes.to_le_bytes());
    hash.update(decided.selection.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(device: u8, allowed: bool) -> Decided {
        Decided {
            time: 1,
            device: DeviceId::from_bytes([device; 32]),
            deed: Deed::Pull,
            selection: "wallet/**".into(),
            allowed,
            entries: 0,
            bytes: 0,
        }
    }

    #[test]
    fn repeated_refusals_of_one_peer_are_counted_in_one_entry() {
        let mut log = AuditLog::default();
        for _ in 0..1000 {
            log.append(decided(1, false));
            log.append(decided(2, false));
        }
        let seen: Vec<u64> = log.entries().map(|(_, repeats)| repeats).collect();
        assert_eq!(seen, [999, 999]);
        log.append(decided(1, true));
        log.append(decided(1, false));
        assert_eq!(log.entries().count(), 4);
        assert!(log.is_intact());
    }

    #[test]
    fn a_changed_or_removed_entry_breaks_the_chain() {
        let mut log = AuditLog::default();
        (1..5).for_each(|device| log.append(decided(device, true)));
        log.entries.remove(1);
        assert!(!log.is_intact());
        let mut log = AuditLog::default();
        log.append(decided(1, false));
        log.entries[0].decided.allowed = true;
        assert!(!log.is_intact());
    }
}
