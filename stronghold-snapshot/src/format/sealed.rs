//! Sealed snapshots as bytes: pure functions that seal a payload and open it again.
//!
//! A [`Sealer`] is the state that remains after opening: see `sealer.rs`.

use core::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::format::cost::{KdfWork, PassphraseCost, PassphraseCostError};
use crate::format::sealer::Sealer;
use crate::format::slot::{MAX_LABEL, MAX_SLOTS, NewSlot, Unlock};

/// Seals `payload` as the first generation of a new file that each of `slots` opens.
///
/// # Errors
/// [`SealError`]; see [`Sealer::create`] and [`Sealer::seal_next`].
pub fn seal(slots: &[NewSlot<'_>], payload: &[u8]) -> Result<Vec<u8>, SealError> {
    Sealer::create(slots)?.seal_next(payload)
}

/// Opens a sealed snapshot. [`open_owned`] avoids the copy that this makes.
///
/// # Errors
/// [`OpenError`]: distinguishes a file that is not a snapshot, a newer version, a wrong key and a
/// damaged file.
pub fn open(bytes: &[u8], unlock: &Unlock<'_>) -> Result<Opened, OpenError> {
    open_owned(bytes.to_vec(), unlock)
}

/// Opens a sealed snapshot in place: its bytes become the payload.
///
/// # Errors
/// See [`open`].
pub fn open_owned(bytes: Vec<u8>, unlock: &Unlock<'_>) -> Result<Opened, OpenError> {
    Sealer::open(bytes, unlock)
}

/// An opened snapshot: its content, and the sealer for its next generation.
#[derive(Debug)]
pub struct Opened {
    /// The sealer, with the master key, slots and generation.
    pub sealer: Sealer,
    /// The content.
    pub payload: Payload,
}

/// The content of a snapshot, wiped when dropped. `Debug` shows only its length.
pub struct Payload(pub(crate) Zeroizing<Vec<u8>>);

/// An error of sealing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// A file needs at least one slot, so the last one can't be removed.
    #[error("a snapshot needs at least one key slot")]
    NoSlots,
    /// The file would have more than [`MAX_SLOTS`] slots.
    #[error("a snapshot has at most {MAX_SLOTS} key slots")]
    TooManySlots,
    /// There is no slot with this number.
    #[error("there is no key slot {0}")]
    NoSuchSlot(u16),
    /// This slot opens with the same secret already.
    #[error("this passphrase or key opens the snapshot already: it is that of key slot {0}")]
    SlotExists(u16),
    /// The slot's label is longer than [`MAX_LABEL`] bytes.
    #[error("a key slot's label has at most {MAX_LABEL} bytes")]
    LabelTooLong,
    /// All 65,535 slot numbers of the file were used.
    #[error("the file has no numbers left for key slots")]
    NoSlotNumbersLeft,
    /// The master key can't be renewed: this slot's secret is not at hand, so the slot would no
    /// longer open the file.
    #[error("key slot {0} can't be written anew: its passphrase or key is not at hand")]
    SlotNotAtHand(u16),
    /// The passphrase slots together would make opening too slow; see [`PassphraseCost`].
    #[error("the passphrase slots together cost more than a reader accepts")]
    TotalCost,
    /// The system refused the memory for Argon2id.
    #[error("no {} MiB of memory for the passphrase", .0.memory_kib().div_ceil(1024))]
    NoMemory(PassphraseCost),
    /// The passphrase is longer than 4 GiB.
    #[error("the passphrase is too long")]
    PassphraseTooLong,
    /// The KEM rejected the recipient's key.
    #[error("nothing can be sealed to this recipient key")]
    Recipient,
    /// The payload exceeds memory or the 2^32 chunks of the format.
    #[error("the content is too large")]
    TooLarge,
    /// The generation number has reached the 64-bit maximum.
    #[error("the file has no generations left")]
    NoGenerationsLeft,
    /// The operating system returned no random bytes.
    #[error("the operating system gave no randomness")]
    NoRandomness(#[from] getrandom::Error),
}

/// An error of opening a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The first bytes are not those of a sealed snapshot, or the file is empty.
    #[error("not a sealed snapshot")]
    NotASnapshot,
    /// The file was sealed by a newer version. It is undamaged as far as this version can check.
    #[error("sealed in format version {found}, this build reads up to {supported}")]
    NewerVersion {
        /// Version of the file.
        found: u16,
        /// Newest version that this crate reads.
        supported: u16,
    },
    /// The header is intact, but no slot opens with this passphrase or key.
    #[error("wrong passphrase or key")]
    WrongKey,
    /// The bytes differ from those that were sealed.
    #[error("the snapshot is damaged: {0}")]
    Damaged(Damage),
    /// The file is intact and of this version, but demands something that this crate refuses.
    #[error("the snapshot can't be opened by this build: {0}")]
    Unsupported(Unsupported),
    /// The system refused the memory that the passphrase slot demands.
    #[error("no {} MiB of memory for the passphrase", .0.memory_kib().div_ceil(1024))]
    NoMemory(PassphraseCost),
    /// Trying a passphrase would cost more than is allowed for an untrusted file.
    #[error(
        "to try a passphrase on it takes {} MiB of memory, gone over {} times in all; {} MiB and {} times are allowed for a file \
         that was not made here",
        .asked.memory_kib.div_ceil(1024),
        passes(.asked),
        .allowed.memory_kib.div_ceil(1024),
        passes(.allowed)
    )]
    TooCostly {
        /// Cost that the passphrase slots demand.
        asked: KdfWork,
        /// Allowed cost.
        allowed: KdfWork,
    },
}

fn passes(work: &KdfWork) -> u64 {
    work.total_kib.div_ceil(u64::from(work.memory_kib.max(1)))
}

/// The damaged part of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damage {
    /// The header does not match its checksum, or its fields contradict each other.
    #[error("its header was changed")]
    Header,
    /// The file ends within its header, or its body is incomplete.
    #[error("it is cut short")]
    Truncated,
    /// A slot matches the key, but its wrapped master key was changed.
    #[error("its key slot was changed")]
    Slot,
    /// The header was not written by a holder of the master key.
    #[error("its header is not authentic")]
    HeaderMac,
    /// A chunk of the body was changed, moved, cut off or added.
    #[error("its content was changed or is incomplete")]
    Body,
    /// The body is authentic, but its padding violates the format.
    #[error("its padding is wrong")]
    Padding,
}

/// A demand of a file that this crate refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// An unknown set of algorithms.
    #[error("unknown cipher suite {0}")]
    Suite(u16),
    /// An unknown kind of key slot.
    #[error("unknown kind of key slot {0}")]
    SlotKind(u8),
    /// A passphrase slot outside the bounds.
    #[error(transparent)]
    Cost(PassphraseCostError),
    /// Passphrase slots whose total cost exceeds the bound.
    #[error("its passphrase slots together cost too much")]
    TotalCost,
}

impl Payload {
    /// Returns the bytes, still wiped when dropped.
    #[must_use]
    pub fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        core::mem::take(&mut self.0)
    }
}

impl Drop for Payload {
    /// Clears first: `Zeroizing` wipes a vector's unused capacity in one pass, but its elements one
    /// by one, many times slower.
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl core::ops::Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_passphrase_would_cost_is_told_in_mebibytes_and_passes() {
        let work = |memory_kib, total_kib| KdfWork { memory_kib, total_kib };
        for (asked, told) in [
            (work(65_536, 3 * 65_536), "64 MiB of memory, gone over 3 times"),
            (work(65_537, 3 * 65_537 + 1), "65 MiB of memory, gone over 4 times"),
            (work(0, 7), "0 MiB of memory, gone over 7 times"),
        ] {
            let said = OpenError::TooCostly { asked, allowed: KdfWork::FOREIGN }.to_string();
            assert!(said.contains(told) && said.contains("; 64 MiB and 16 times are allowed"), "{said}");
        }
        let cost = PassphraseCost::new(1025, 1, 1).unwrap();
        assert_eq!(OpenError::NoMemory(cost).to_string(), "no 2 MiB of memory for the passphrase");
        assert_eq!(SealError::NoMemory(cost).to_string(), "no 2 MiB of memory for the passphrase");
    }

    #[test]
    fn a_payload_gives_its_bytes_and_shows_their_number() {
        let payload = Payload(Zeroizing::new(b"secret".to_vec()));
        assert_eq!((format!("{payload:?}").as_str(), &payload[..]), ("Payload(6 bytes)", &b"secret"[..]));
        assert_eq!(**payload.into_bytes(), *b"secret");
    }
}
