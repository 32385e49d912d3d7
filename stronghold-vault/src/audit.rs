//! The log of permission decisions: hash-chained, inside the snapshot, and bounded.
//!
//! Equal decisions of one device on one day are one entry with a count, so that no device fills the file by asking again. Of
//! a long selection the log keeps the beginning and a hash of the whole. A device that asks in ever new words has
//! [`OWN_WORDS`] entries a day; what it asks beyond them is counted in one. Over [`MAX_BYTES`] the oldest entries become sums
//! in a checkpoint, at whose hash the chain goes on.

mod checkpoint;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stronghold_sync::{DeviceId, Operation};

pub use self::checkpoint::AuditTotal;
use self::checkpoint::Checkpoint;

/// The most bytes that the log takes in the snapshot, about: 2 MiB.
const MAX_BYTES: usize = 2 << 20;
/// The most characters of a selection that an entry shows.
const SHOWN: usize = 256;
/// The most entries of one device and one day that differ in their selection.
const OWN_WORDS: usize = 64;

/// How much is left when the oldest entries are folded: so that it is not done with each entry.
const AFTER_FOLDING: usize = MAX_BYTES / 8 * 7;
/// The selection of the entry that counts what is beyond [`OWN_WORDS`].
const FURTHER: &str = "(further selections)";
const DAY: u64 = 24 * 60 * 60 * 1000;

/// One decision of the policy: who, what, which selection, how much, allowed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// The device that asked, or was asked.
    pub device: DeviceId,
    /// What it asked to do, or what was done about it.
    pub deed: AuditAction,
    /// On what, as text.
    pub selection: String,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Entries that were taken, or that the peer could take: it may have wanted fewer.
    pub entries: u64,
    /// Their padded sizes together, in bytes.
    pub bytes: u64,
}

/// What stands in the log: what a device asked to do here, what was done about it, or what this device did at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AuditAction {
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
    /// This device asked it, and took values from it.
    Took,
    /// This device asked it, and took deletions from it.
    TookDeletions,
    /// This device asked it, and gave entries to it.
    Gave,
    /// It was this device itself, which has another identity since.
    Renewed,
}

/// An entry of the log: equal decisions of one device on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The device.
    pub device: DeviceId,
    /// What it asked, or what was done.
    pub deed: AuditAction,
    /// On what, as text: 256 characters of it at most.
    pub selection: String,
    /// SHA-256 of the whole selection, where it is longer. Of an entry that counts further selections: of the one before and
    /// the last.
    pub whole: Option<SelectionHash>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// How often.
    pub count: u64,
    /// When first, in milliseconds since 1970.
    pub first: u64,
    /// When last.
    pub last: u64,
    /// Entries that were taken or could be, together.
    pub entries: u64,
    /// Their padded sizes together, in bytes.
    pub bytes: u64,
}

/// A hash of a selection that is too long to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectionHash(#[serde(with = "serde_bytes")] [u8; 32]);

/// The log.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct AuditLog {
    checkpoint: Checkpoint,
    entries: Vec<ChainedEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ChainedEntry {
    logged: AuditEntry,
    #[serde(with = "serde_bytes")]
    hash: [u8; 32],
}

impl AuditAction {
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
            Self::Took => "took",
            Self::TookDeletions => "took deletions",
            Self::Gave => "gave",
            Self::Renewed => "renewed",
        }
    }
}

impl From<Operation> for AuditAction {
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

impl AuditRecord {
    /// That something was done about a device, at this time.
    #[must_use]
    pub fn about(device: DeviceId, deed: AuditAction, time: u64) -> Self {
        Self { time, device, deed, selection: String::new(), allowed: true, entries: 0, bytes: 0 }
    }
}

impl SelectionHash {
    /// The hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(parts: [&[u8]; 2]) -> Self {
        let mut hash = Sha256::new();
        parts.into_iter().for_each(|part| hash.update(part));
        Self(hash.finalize().into())
    }
}

impl From<AuditRecord> for AuditEntry {
    fn from(decided: AuditRecord) -> Self {
        let AuditRecord { time, device, deed, mut selection, allowed, entries, bytes } = decided;
        let mut whole = None;
        if let Some((cut, _)) = selection.char_indices().nth(SHOWN) {
            whole = Some(SelectionHash::of([selection.as_bytes(), b""]));
            selection.truncate(cut);
            selection.shrink_to_fit();
        }
        Self { device, deed, selection, whole, allowed, count: 1, first: time, last: time, entries, bytes }
    }
}

impl AuditEntry {
    fn day(&self) -> u64 {
        self.first / DAY
    }

    fn is_further(&self) -> bool {
        self.whole.is_some() && self.selection == FURTHER
    }

    /// Whether only time, count and amount differ.
    fn equals(&self, other: &Self) -> bool {
        self.is_about_the_same(other) && (&self.selection, self.whole) == (&other.selection, other.whole)
    }

    fn is_about_the_same(&self, other: &Self) -> bool {
        let what = |logged: &Self| (logged.device, logged.deed, logged.allowed, logged.day());
        what(self) == what(other)
    }

    fn fold(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// The same without its own words; its words go into the hash.
    fn further(mut self, before: Option<SelectionHash>) -> Self {
        let words = self.whole.map_or_else(|| self.selection.as_bytes().to_vec(), |whole| whole.0.to_vec());
        self.whole = Some(SelectionHash::of([before.as_ref().map_or(&[][..], |whole| &whole.0), &words]));
        FURTHER.clone_into(&mut self.selection);
        self
    }

    /// About how many bytes it takes in the snapshot.
    fn weight(&self) -> usize {
        176 + self.selection.len() + self.whole.map_or(0, |_| 33)
    }
}

impl AuditLog {
    /// Appends a decision; one that equals another of its device and day is counted there.
    pub fn append(&mut self, decided: AuditRecord) {
        self.add(decided.into());
    }

    /// Appends what another log has, as by [`append`](Self::append): what was collected elsewhere.
    pub fn absorb(&mut self, other: &Self) {
        self.checkpoint.absorb(&other.checkpoint);
        other.entries().cloned().for_each(|logged| self.add(logged));
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.checkpoint.sums().is_empty()
    }

    /// The entries, in the order of their first decision.
    pub fn entries(&self) -> impl Iterator<Item = &AuditEntry> {
        self.entries.iter().map(|link| &link.logged)
    }

    /// What the entries before those amounted to: the oldest, folded to bound the log.
    #[must_use]
    pub fn totals(&self) -> &[AuditTotal] {
        self.checkpoint.sums()
    }

    /// Whether the checkpoint, and every entry's hash, follow from what was before. That the newest are missing can't be seen.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let mut previous = *self.checkpoint.hash();
        self.checkpoint.is_intact()
            && self.entries.iter().all(|link| {
                previous = chain(&previous, &link.logged);
                previous == link.hash
            })
    }

    fn add(&mut self, logged: AuditEntry) {
        let at = match self.entries.iter().rposition(|link| link.logged.equals(&logged)) {
            Some(at) => {
                self.entries[at].logged.fold(&logged);
                at
            }
            None => self.add_words(logged),
        };
        self.rehash(at);
        self.fold_oldest();
    }

    /// Adds an entry that equals none; or counts it among the further ones, where its device has had its words today.
    fn add_words(&mut self, logged: AuditEntry) -> usize {
        let same_day =
            |link: &&ChainedEntry| (link.logged.device, link.logged.day()) == (logged.device, logged.day());
        let words = self.entries.iter().filter(same_day).count();
        let mut new = logged;
        if words >= OWN_WORDS {
            let is_it = |link: &ChainedEntry| link.logged.is_further() && link.logged.is_about_the_same(&new);
            if let Some(at) = self.entries.iter().rposition(is_it) {
                let further = new.further(self.entries[at].logged.whole);
                self.entries[at].logged.fold(&further);
                self.entries[at].logged.whole = further.whole;
                return at;
            }
            new = new.further(None);
        }
        self.entries.push(ChainedEntry { logged: new, hash: [0; 32] });
        self.entries.len() - 1
    }

    /// Makes the chain follow again from this entry on.
    fn rehash(&mut self, at: usize) {
        let before = at.checked_sub(1).map_or(*self.checkpoint.hash(), |before| self.entries[before].hash);
        self.entries[at..].iter_mut().fold(before, |previous, link| {
            link.hash = chain(&previous, &link.logged);
            link.hash
        });
    }

    /// Folds the oldest entries into the checkpoint, where there are too many.
    fn fold_oldest(&mut self) {
        let mut weight: usize = self.entries().map(AuditEntry::weight).sum();
        if weight <= MAX_BYTES {
            return;
        }
        let is_enough = |link: &ChainedEntry| {
            let is_enough = weight <= AFTER_FOLDING;
            weight -= link.logged.weight();
            is_enough
        };
        let kept = self.entries.iter().position(is_enough).unwrap_or(self.entries.len());
        self.fold_first(kept);
    }

    /// Folds this many of the oldest entries.
    pub(crate) fn fold_first(&mut self, number: usize) {
        for link in self.entries.drain(..number) {
            self.checkpoint.fold(&link.logged, link.hash);
        }
    }
}

fn chain(previous: &[u8; 32], logged: &AuditEntry) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"stronghold/log/v1");
    hash.update(previous);
    hash.update(logged.device.as_bytes());
    hash.update([logged.deed as u8, u8::from(logged.allowed), u8::from(logged.whole.is_some())]);
    for number in [logged.count, logged.first, logged.last, logged.entries, logged.bytes] {
        hash.update(number.to_le_bytes());
    }
    hash.update(logged.whole.map_or([0; 32], |whole| whole.0));
    hash.update(logged.selection.as_bytes());
    hash.finalize().into()
}
