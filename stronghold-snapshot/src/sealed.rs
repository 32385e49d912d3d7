//! Sealed snapshots as bytes: pure functions that seal a payload and open it again.
//!
//! A [`Lineage`] is what remains after opening: the file's master key, its slots and which generation was seen. It
//! seals the next generation and opens later ones without running Argon2 again.

use core::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::body::BodyKey;
use crate::crypto::{self, Secret};
use crate::header::{Encoded, Header};
use crate::slot::{self, CostOutOfBounds, MAX_SLOTS, NewSlot, PassphraseCost, Slot, SlotKind, Unlock};

/// Seals `payload` as the first generation of a new file that each of `slots` opens.
///
/// # Errors
/// [`SealError`]; see [`Lineage::begin`] and [`Lineage::seal_next`].
pub fn seal(slots: &[NewSlot<'_>], payload: &[u8]) -> Result<Vec<u8>, SealError> {
    Lineage::begin(slots)?.seal_next(payload)
}

/// Opens a sealed snapshot. [`open_owned`] does without the copy that this makes.
///
/// # Errors
/// [`OpenError`]: of no snapshot, a newer version, a wrong key and a damaged file, exactly one.
pub fn open(bytes: &[u8], unlock: &Unlock<'_>) -> Result<Opened, OpenError> {
    open_owned(bytes.to_vec(), unlock)
}

/// Opens a sealed snapshot where it lies: its bytes become the payload.
///
/// # Errors
/// See [`open`].
pub fn open_owned(bytes: Vec<u8>, unlock: &Unlock<'_>) -> Result<Opened, OpenError> {
    let encoded = Encoded::parse(&bytes)?;
    let master = match find_slot(&encoded.header.slots, &encoded.header.file_id, unlock)? {
        Some((_, master)) => master,
        None => return Err(OpenError::WrongKey),
    };
    let (after, body) = authenticate(&encoded, master)?;
    body.open(bytes, after)
}

/// A snapshot that was opened: its content, and what seals its next generation.
#[derive(Debug)]
pub struct Opened {
    /// The master key, slots and generation.
    pub lineage: Lineage,
    /// The content.
    pub payload: Payload,
}

/// The content of a snapshot, wiped when dropped. `Debug` shows its length alone.
pub struct Payload(Zeroizing<Vec<u8>>);

/// One file through its generations: its master key, its slots and the generation last seen.
#[derive(Clone)]
pub struct Lineage {
    master: Secret,
    file_id: [u8; 16],
    generation: u64,
    header_hash: [u8; 32],
    slots: Vec<Slot>,
}

/// Why nothing was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// A file needs a slot; the last one can't be removed.
    #[error("a snapshot needs at least one key slot")]
    NoSlots,
    /// More than [`MAX_SLOTS`].
    #[error("a snapshot has at most {MAX_SLOTS} key slots")]
    TooManySlots,
    /// There is no slot with this index.
    #[error("there is no key slot {0}")]
    NoSuchSlot(usize),
    /// The passphrase slots together would make opening too slow; see [`PassphraseCost`].
    #[error("the passphrase slots together cost more than a reader accepts")]
    TotalCost,
    /// The memory that Argon2id was to use was refused.
    #[error("no {} MiB of memory for the passphrase", .0.memory_kib().div_ceil(1024))]
    NoMemory(PassphraseCost),
    /// The passphrase is longer than 4 GiB.
    #[error("the passphrase is too long")]
    PassphraseTooLong,
    /// The KEM refused the recipient's key.
    #[error("nothing can be sealed to this recipient key")]
    Recipient,
    /// The payload exceeds memory or the 2^32 chunks of the format.
    #[error("the content is too large")]
    TooLarge,
    /// No generation comes after the last 64-bit number.
    #[error("the file has no generations left")]
    NoGenerationsLeft,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness(#[from] getrandom::Error),
}

/// Why a snapshot was not opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The first bytes are not those of a sealed snapshot; an empty file is none either.
    #[error("not a sealed snapshot")]
    NotASnapshot,
    /// Sealed by a newer Stronghold, and undamaged as far as that can be told.
    #[error("sealed in format version {found}, this build reads up to {supported}")]
    NewerVersion {
        /// The file's version.
        found: u16,
        /// The newest version that this crate reads.
        supported: u16,
    },
    /// The header is whole, and no slot opens with this passphrase or key.
    #[error("wrong passphrase or key")]
    WrongKey,
    /// The bytes are not those that were sealed.
    #[error("the snapshot is damaged: {0}")]
    Damaged(Damage),
    /// Whole, and of this version, but it asks for something that this crate refuses.
    #[error("the snapshot can't be opened by this build: {0}")]
    Unsupported(Unsupported),
    /// The memory that the passphrase's slot asks for was refused.
    #[error("no {} MiB of memory for the passphrase", .0.memory_kib().div_ceil(1024))]
    NoMemory(PassphraseCost),
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damage {
    /// The header does not match its checksum, or its fields contradict each other.
    #[error("its header was changed")]
    Header,
    /// The file ends within its header, or has no whole body.
    #[error("it is cut short")]
    Truncated,
    /// A slot matches the key, but what it wraps was changed.
    #[error("its key slot was changed")]
    Slot,
    /// The header was not written by a holder of the master key.
    #[error("its header is not authentic")]
    HeaderMac,
    /// A chunk of the body was changed, moved, cut off or added.
    #[error("its content was changed or is incomplete")]
    Body,
    /// The body is authentic, but its padding is not as the format says.
    #[error("its padding is wrong")]
    Padding,
}

/// What a file asks for that is refused.
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
    Cost(CostOutOfBounds),
    /// Passphrase slots that together cost too much.
    #[error("its passphrase slots together cost too much")]
    TotalCost,
}

impl Lineage {
    /// A new file with a random id and master key, before its first generation. Runs Argon2 once per passphrase.
    ///
    /// # Errors
    /// [`SealError`] when the slots are none, too many or too costly, or memory or randomness is refused.
    pub fn begin(slots: &[NewSlot<'_>]) -> Result<Self, SealError> {
        let mut lineage = Self {
            master: Secret::new(crypto::random()?),
            file_id: crypto::random()?,
            generation: 0,
            header_hash: [0; 32],
            slots: Vec::new(),
        };
        if slots.is_empty() {
            return Err(SealError::NoSlots);
        }
        slots.iter().try_for_each(|slot| lineage.add_slot(slot))?;
        Ok(lineage)
    }

    /// Seals `payload` as the generation after this one. The slots stay byte for byte; Argon2 does not run.
    ///
    /// # Errors
    /// [`SealError`] when the payload is too large or randomness is refused.
    pub fn seal_next(&self, payload: &[u8]) -> Result<Vec<u8>, SealError> {
        let header = Header {
            file_id: self.file_id,
            generation: self.generation.checked_add(1).ok_or(SealError::NoGenerationsLeft)?,
            parent: self.header_hash,
            body_salt: crypto::random()?,
            slots: self.slots.clone(),
        };
        let mut out = header.encode(&self.master)?;
        let header_hash = crypto::hash(&[&out]);
        BodyKey::derive(&self.master, &header, header_hash).seal(payload, &mut out)?;
        Ok(out)
    }

    /// Opens another generation of the same file, where it lies and without running Argon2.
    ///
    /// # Errors
    /// [`OpenError`]; a different file is [`OpenError::WrongKey`].
    pub fn reopen(&self, bytes: Vec<u8>) -> Result<Opened, OpenError> {
        let (after, body) = self.authenticate_own(&bytes)?;
        body.open(bytes, after)
    }

    /// The lineage after `bytes`, if they are a generation of this file that seals exactly `payload`; else none.
    ///
    /// # Errors
    /// [`OpenError`], as [`reopen`](Self::reopen).
    pub fn verify(&self, bytes: Vec<u8>, payload: &[u8]) -> Result<Option<Self>, OpenError> {
        let (after, body) = self.authenticate_own(&bytes)?;
        let mut file = Payload(Zeroizing::new(bytes));
        let same = body.key.verify(&mut file.0, body.at, payload)?;
        Ok(same.then_some(after))
    }

    /// 16 random bytes that name the file in all its generations.
    #[must_use]
    pub fn file_id(&self) -> [u8; 16] {
        self.file_id
    }

    /// The number of the generation last seen: 1 is the first, 0 stands before it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// SHA-256 over the header of the generation last seen. It names that generation: of two files with the same id
    /// and generation, one was not made from the other.
    #[must_use]
    pub fn header_hash(&self) -> [u8; 32] {
        self.header_hash
    }

    /// The kinds of the slots, by index.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = SlotKind> {
        self.slots.iter().map(Slot::kind)
    }

    /// Adds a slot to the generations to come. Runs Argon2 for a passphrase.
    ///
    /// # Errors
    /// [`SealError`] when there are too many slots, they cost too much, or memory or randomness is refused.
    pub fn add_slot(&mut self, new: &NewSlot<'_>) -> Result<(), SealError> {
        if self.slots.len() == MAX_SLOTS {
            return Err(SealError::TooManySlots);
        }
        self.slots.push(Slot::wrap(new, &self.file_id, &self.master)?);
        if !slot::total_work_allowed(&self.slots) {
            self.slots.pop();
            return Err(SealError::TotalCost);
        }
        Ok(())
    }

    /// Removes a slot from the generations to come. Whoever could open an earlier generation may still know the
    /// master key, which stays the same.
    ///
    /// # Errors
    /// [`SealError::NoSlots`] for the last one, [`SealError::NoSuchSlot`].
    pub fn remove_slot(&mut self, index: usize) -> Result<(), SealError> {
        match (index < self.slots.len(), self.slots.len()) {
            (false, _) => Err(SealError::NoSuchSlot(index)),
            (true, 1) => Err(SealError::NoSlots),
            (true, _) => {
                self.slots.remove(index);
                Ok(())
            }
        }
    }

    /// The index of the first slot that `unlock` opens, none if there is none. Runs Argon2 for a passphrase.
    ///
    /// # Errors
    /// [`OpenError`] when memory is refused or the slot was changed.
    pub fn find_slot(&self, unlock: &Unlock<'_>) -> Result<Option<usize>, OpenError> {
        Ok(find_slot(&self.slots, &self.file_id, unlock)?.map(|(index, _)| index))
    }

    fn authenticate_own(&self, bytes: &[u8]) -> Result<(Self, Body), OpenError> {
        let encoded = Encoded::parse(bytes)?;
        match encoded.header.file_id == self.file_id {
            true => authenticate(&encoded, self.master.clone()),
            false => Err(OpenError::WrongKey),
        }
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lineage")
            .field("file_id", &self.file_id)
            .field("generation", &self.generation)
            .field("slots", &self.slots().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Payload {
    /// The bytes, still wiped when dropped.
    #[must_use]
    pub fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        core::mem::take(&mut self.0)
    }
}

impl Drop for Payload {
    /// `Zeroizing` wipes the unused capacity of a vector at once, but its elements one by one, many times slower.
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

fn find_slot(
    slots: &[Slot],
    file_id: &[u8; 16],
    unlock: &Unlock<'_>,
) -> Result<Option<(usize, Secret)>, OpenError> {
    for (index, slot) in slots.iter().enumerate() {
        if let Some(master) = slot.unwrap(unlock, file_id)? {
            return Ok(Some((index, master)));
        }
    }
    Ok(None)
}

/// A header's proof, and what follows from it: the lineage that ends with it, and how to open the body behind it.
fn authenticate(encoded: &Encoded<'_>, master: Secret) -> Result<(Lineage, Body), OpenError> {
    encoded.authenticate(&master)?;
    let header_hash = encoded.hash();
    let key = BodyKey::derive(&master, &encoded.header, header_hash);
    let Header { file_id, generation, ref slots, .. } = encoded.header;
    let lineage = Lineage { master, file_id, generation, header_hash, slots: slots.clone() };
    Ok((lineage, Body { key, at: encoded.bytes.len() }))
}

/// Where a file's body begins, and its key.
struct Body {
    key: BodyKey,
    at: usize,
}

impl Body {
    fn open(self, bytes: Vec<u8>, lineage: Lineage) -> Result<Opened, OpenError> {
        let mut payload = Payload(Zeroizing::new(bytes));
        self.key.open(&mut payload.0, self.at)?;
        Ok(Opened { lineage, payload })
    }
}
