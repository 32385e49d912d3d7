//! The log of permission decisions: hash-chained, inside the snapshot, and bounded in size.
//!
//! Equal decisions about one device on one day are one entry with a count, so that no device fills
//! the file by repeating requests. Of a long selection, the log keeps the beginning and a hash of
//! the whole. A device has at most [`OWN_WORDS`] entries a day with different selections; further
//! ones are counted together, one entry per kind of decision. Beyond [`MAX_BYTES`], the oldest
//! entries are folded into sums in a checkpoint, and the chain continues from the checkpoint's
//! hash.

mod checkpoint;
mod delta;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stronghold_sync::{DeviceId, Operation, Timestamp};

pub use self::checkpoint::AuditTotal;
use self::checkpoint::Checkpoint;
pub(crate) use self::delta::LogDelta;

/// Approximate maximum size of the log in the snapshot: 2 MiB.
const MAX_BYTES: usize = 2 << 20;
/// Maximum number of characters of a selection that an entry keeps.
const MAX_SELECTION_LEN: usize = 256;
/// Maximum number of entries per device and day before further selections are counted together.
const MAX_SELECTIONS_PER_DAY: usize = 64;

/// Size that remains after folding the oldest entries, so that folding does not recur with each
/// entry.
const AFTER_FOLDING: usize = MAX_BYTES / 8 * 7;
/// The selection text of an entry that counts decisions beyond [`OWN_WORDS`].
const FURTHER_SELECTIONS: &str = "(further selections)";
const DAY: u64 = 24 * 60 * 60 * 1000;

/// One decision of the policy: device, action, selection, amount, and whether it was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Time of the decision, in milliseconds since 1970.
    pub time: Timestamp,
    /// The device that sent or received the request.
    pub device: DeviceId,
    /// The action requested by the device, or taken about it.
    pub action: AuditAction,
    /// The selection, as text.
    pub selection: String,
    /// Set if the action was allowed.
    pub allowed: bool,
    /// Number of entries taken or offered: the peer may have wanted fewer.
    pub entries: u64,
    /// Total padded size of those entries, in bytes.
    pub bytes: u64,
}

/// A logged action: a request of a device here, an action about a device, or a request of this
/// device to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// The device's rules and its pairing were removed.
    Revoked,
    /// This device was the initiator and took values from it.
    Took,
    /// This device was the initiator and took deletions from it.
    TookDeletions,
    /// This device was the initiator and sent entries to it.
    Gave,
    /// The device is this one under an identity that it has replaced.
    Renewed,
}

/// An entry of the log: equal decisions about one device on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The device.
    pub device: DeviceId,
    /// The action requested by the device, or taken about it.
    pub action: AuditAction,
    /// The selection, as text of at most 256 characters.
    pub selection: String,
    /// SHA-256 of the whole selection if it is longer. In an entry that counts further selections:
    /// a hash of the previous hash and the last selection.
    pub whole: Option<SelectionHash>,
    /// Set if the action was allowed.
    pub allowed: bool,
    /// Number of decisions.
    pub count: u64,
    /// Time of the first decision, in milliseconds since 1970.
    pub first: Timestamp,
    /// Time of the last decision, in milliseconds since 1970.
    pub last: Timestamp,
    /// Total number of entries taken or offered.
    pub entries: u64,
    /// Total padded size of those entries, in bytes.
    pub bytes: u64,
}

/// A hash of a selection that is too long to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectionHash(#[serde(with = "serde_bytes")] [u8; 32]);

/// The log of permission decisions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuditLog {
    checkpoint: Checkpoint,
    entries: Vec<ChainedEntry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ChainedEntry {
    logged: AuditEntry,
    #[serde(with = "serde_bytes")]
    hash: [u8; 32],
}

impl AuditAction {
    /// Returns the action's display name.
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
    /// Creates a record of an action about a device at the time `time`.
    pub fn about(device: DeviceId, deed: AuditAction, time: Timestamp) -> Self {
        Self { time, device, action: deed, selection: String::new(), allowed: true, entries: 0, bytes: 0 }
    }
}

impl SelectionHash {
    /// Returns the hash as bytes.
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
        let AuditRecord { time, device, action: deed, mut selection, allowed, entries, bytes } = decided;
        let mut whole = None;
        if let Some((cut, _)) = selection.char_indices().nth(MAX_SELECTION_LEN) {
            whole = Some(SelectionHash::of([selection.as_bytes(), b""]));
            selection.truncate(cut);
            selection.shrink_to_fit();
        }
        Self {
            device,
            action: deed,
            selection,
            whole,
            allowed,
            count: 1,
            first: time,
            last: time,
            entries,
            bytes,
        }
    }
}

impl AuditEntry {
    fn day(&self) -> u64 {
        self.first.as_millis() / DAY
    }

    fn is_further(&self) -> bool {
        self.whole.is_some() && self.selection == FURTHER_SELECTIONS
    }

    /// Checks whether two entries differ at most in time, count and amount.
    fn equals(&self, other: &Self) -> bool {
        self.is_about_the_same(other) && (&self.selection, self.whole) == (&other.selection, other.whole)
    }

    fn is_about_the_same(&self, other: &Self) -> bool {
        let what = |logged: &Self| (logged.device, logged.action, logged.allowed, logged.day());
        what(self) == what(other)
    }

    fn fold(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Returns the entry with its selection folded into the hash of further selections.
    fn further(mut self, before: Option<SelectionHash>) -> Self {
        let words = self.whole.map_or_else(|| self.selection.as_bytes().to_vec(), |whole| whole.0.to_vec());
        self.whole = Some(SelectionHash::of([before.as_ref().map_or(&[][..], |whole| &whole.0), &words]));
        FURTHER_SELECTIONS.clone_into(&mut self.selection);
        self
    }

    /// Returns the entry's approximate size in the snapshot, in bytes.
    fn weight(&self) -> usize {
        176 + self.selection.len() + self.whole.map_or(0, |_| 33)
    }
}

impl AuditLog {
    /// Appends a decision. If an equal one about the same device on the same day exists, increases
    /// its count instead.
    pub fn append(&mut self, decided: AuditRecord) {
        self.add(decided.into());
    }

    /// Appends the decisions of another log, collected elsewhere, as [`append`](Self::append) does.
    pub fn absorb(&mut self, other: &Self) {
        self.checkpoint.absorb(&other.checkpoint);
        other.entries().cloned().for_each(|logged| self.add(logged));
    }

    /// Checks whether the log is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.checkpoint.sums().is_empty()
    }

    /// Returns the entries, ordered by their first decision.
    pub fn entries(&self) -> impl Iterator<Item = &AuditEntry> {
        self.entries.iter().map(|link| &link.logged)
    }

    /// Returns sums over the oldest entries, which were folded to bound the log.
    pub fn totals(&self) -> &[AuditTotal] {
        self.checkpoint.sums()
    }

    /// Checks the hash chain: the checkpoint and every entry's hash. Missing newest entries are not
    /// detected.
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
            None => self.add_distinct(logged),
        };
        self.rehash(at);
        self.fold_oldest();
    }

    /// Adds an entry that equals no other. If its device has used up its entries of the day, counts
    /// it in the entry of further selections.
    fn add_distinct(&mut self, logged: AuditEntry) -> usize {
        let same_day =
            |link: &&ChainedEntry| (link.logged.device, link.logged.day()) == (logged.device, logged.day());
        let words = self.entries.iter().filter(same_day).count();
        let mut new = logged;
        if words >= MAX_SELECTIONS_PER_DAY {
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

    /// Recomputes the hash chain from this entry on.
    fn rehash(&mut self, at: usize) {
        let before = at.checked_sub(1).map_or(*self.checkpoint.hash(), |before| self.entries[before].hash);
        self.entries[at..].iter_mut().fold(before, |previous, link| {
            link.hash = chain(&previous, &link.logged);
            link.hash
        });
    }

    /// Folds the oldest entries into the checkpoint if the log is too large.
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

    /// Folds the first `number` entries into the checkpoint.
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
    hash.update([logged.action as u8, u8::from(logged.allowed), u8::from(logged.whole.is_some())]);
    for number in
        [logged.count, logged.first.as_millis(), logged.last.as_millis(), logged.entries, logged.bytes]
    {
        hash.update(number.to_le_bytes());
    }
    hash.update(logged.whole.map_or([0; 32], |whole| whole.0));
    hash.update(logged.selection.as_bytes());
    hash.finalize().into()
}
