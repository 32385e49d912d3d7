//! One file through its generations: what seals the next one and opens others, without running Argon2 again.

use core::fmt;
use std::io::{self, Read};

use zeroize::Zeroizing;

use crate::body::{BodyKey, BodySealing};
use crate::crypto::{self, Secret};
use crate::header::{Encoded, Header};
use crate::sealed::{OpenError, Opened, Payload, SealError};
use crate::slot::{self, MAX_SLOTS, NewSlot, Slot, SlotKind, Unlock};

/// One file through its generations: its master key, its slots and the generation last seen.
#[derive(Clone)]
pub struct Lineage {
    master: Secret,
    file_id: [u8; 16],
    generation: u64,
    header_hash: [u8; 32],
    body_salt: [u8; 32],
    slots: Vec<Slot>,
}

/// A generation that is being sealed, part by part: no more than one chunk is held beside the payload.
pub struct Sealing<'a> {
    header: Vec<u8>,
    after: Lineage,
    key: BodyKey,
    payload: &'a [u8],
    body: BodySealing<'a>,
    part: Vec<u8>,
    header_given: bool,
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
            body_salt: [0; 32],
            slots: Vec::new(),
        };
        if slots.is_empty() {
            return Err(SealError::NoSlots);
        }
        slots.iter().try_for_each(|slot| lineage.add_slot(slot))?;
        Ok(lineage)
    }

    /// Opens a sealed snapshot where it lies.
    pub(crate) fn open(bytes: Vec<u8>, unlock: &Unlock<'_>) -> Result<Opened, OpenError> {
        let encoded = Encoded::parse(&bytes)?;
        let found = find_slot(&encoded.header.slots, &encoded.header.file_id, unlock)?;
        let (_, master) = found.ok_or(OpenError::WrongKey)?;
        let (after, body) = authenticate(&encoded, master)?;
        body.open(bytes, after)
    }

    /// Seals `payload` as the generation after this one. The slots stay byte for byte; Argon2 does not run.
    ///
    /// # Errors
    /// [`SealError`] when the payload is too large or randomness is refused.
    pub fn seal_next(&self, payload: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealing = self.sealing(payload)?;
        let mut out = Vec::new();
        out.try_reserve_exact(sealing.len()).map_err(|_| SealError::TooLarge)?;
        while let Some(part) = sealing.next_part()? {
            out.extend_from_slice(part);
        }
        Ok(out)
    }

    /// As [`seal_next`](Self::seal_next), part by part.
    ///
    /// # Errors
    /// [`SealError`], as [`seal_next`](Self::seal_next).
    pub fn sealing<'a>(&self, payload: &'a [u8]) -> Result<Sealing<'a>, SealError> {
        let (after, header) = self.next(crypto::random()?)?;
        let key = BodyKey::derive(&self.master, &self.file_id, &after.body_salt);
        let body = key.sealing(payload)?;
        Ok(Sealing { header, after, key, payload, body, part: Vec::new(), header_given: false })
    }

    /// The next generation's header with the body of this one, which stays as it is: for slots that changed.
    pub(crate) fn next_with_same_body(&self) -> Result<(Self, Vec<u8>), SealError> {
        self.next(self.body_salt)
    }

    fn next(&self, body_salt: [u8; 32]) -> Result<(Self, Vec<u8>), SealError> {
        let header = Header {
            file_id: self.file_id,
            generation: self.generation.checked_add(1).ok_or(SealError::NoGenerationsLeft)?,
            parent: self.header_hash,
            body_salt,
            slots: self.slots.clone(),
        };
        let encoded = header.encode(&self.master)?;
        let header_hash = crypto::hash(&[&encoded]);
        Ok((Self { generation: header.generation, header_hash, body_salt, ..self.clone() }, encoded))
    }

    /// Opens another generation of the same file, where it lies and without running Argon2.
    ///
    /// # Errors
    /// [`OpenError`]; a different file is [`OpenError::WrongKey`].
    pub fn reopen(&self, bytes: Vec<u8>) -> Result<Opened, OpenError> {
        let encoded = Encoded::parse(&bytes)?;
        if encoded.header.file_id != self.file_id {
            return Err(OpenError::WrongKey);
        }
        let (after, body) = authenticate(&encoded, self.master.clone())?;
        body.open(bytes, after)
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
}

impl Sealing<'_> {
    /// The next part of the file, in order: the header, then chunk by chunk; none after the last.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] when the format has no chunks left.
    pub fn next_part(&mut self) -> Result<Option<&[u8]>, SealError> {
        if !self.header_given {
            self.header_given = true;
            return Ok(Some(&self.header));
        }
        let more = self.body.next_chunk(&mut self.part)?;
        Ok(more.then_some(&self.part))
    }

    /// How many bytes all parts have together.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.header.len() + self.body.sealed_len()
    }

    /// Whether a file holds exactly what was sealed: read back, opened and compared with the payload.
    pub(crate) fn is_in(&self, file: &mut impl Read) -> io::Result<bool> {
        let mut header = vec![0; self.header.len()];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            result => result?,
        }
        Ok(header == self.header && self.key.verify(file, self.payload)?)
    }

    /// The lineage that ends with what was sealed.
    pub(crate) fn into_after(self) -> Lineage {
        self.after
    }
}

impl fmt::Debug for Sealing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("after", &self.after).finish_non_exhaustive()
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
    let Header { file_id, generation, body_salt, ref slots, .. } = encoded.header;
    let key = BodyKey::derive(&master, &file_id, &body_salt);
    let header_hash = encoded.hash();
    let lineage = Lineage { master, file_id, generation, header_hash, body_salt, slots: slots.clone() };
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
