//! The sealer of one file: seals the next generation and opens others without running Argon2 again.

use core::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use stronghold_vault::{LockedKey, fill_random, random};
use zeroize::Zeroizing;

use crate::error::{OpenError, SealError};
use crate::format::MAX_SLOTS;
use crate::format::body::{BodyKey, BodySealing};
use crate::format::cost::KdfWork;
use crate::format::crypto;
use crate::format::header::{Header, ParsedHeader};
use crate::format::payload::Payload;
use crate::format::slot::{self, NewSlot, Slot, SlotInfo, Unlock, Unwrapped};

/// The sealing state of one file: its master key, its slots and the generation last seen.
#[derive(Clone)]
pub struct Sealer {
    master: Arc<LockedKey>,
    /// The secrets of slots at hand: of the slot that was opened, and of those created here. With
    /// them a new master key is wrapped for these slots, and a master key that another process
    /// renewed is found.
    secrets: Vec<Arc<LockedKey>>,
    file_id: [u8; 16],
    generation: u64,
    header_hash: [u8; 32],
    body_salt: [u8; 32],
    slots: Vec<Slot>,
    last_number: u16,
}

/// A generation being sealed, chunk by chunk. Holds at most one chunk besides the payload.
#[must_use = "nothing is sealed before the chunks are taken"]
pub struct SealStream<'a> {
    header: Vec<u8>,
    after: Sealer,
    key: BodyKey,
    payload: &'a [u8],
    body: BodySealing<'a>,
    part: Vec<u8>,
    header_returned: bool,
}

/// An opened snapshot: its content, and the sealer for its next generation.
#[derive(Debug)]
pub struct Opened {
    /// The sealer, with the master key, slots and generation.
    pub sealer: Sealer,
    /// The content.
    pub payload: Payload,
}

impl Sealer {
    /// Creates the state of a new file, with a random id and master key, before its first
    /// generation. Runs Argon2 once per passphrase.
    ///
    /// # Errors
    /// [`SealError`] if there are no slots, too many or too costly ones, or the system refuses
    /// memory or random bytes.
    pub fn create(slots: &[NewSlot<'_>]) -> Result<Self, SealError> {
        let mut lineage = Self {
            master: new_master()?,
            secrets: Vec::new(),
            file_id: random()?,
            generation: 0,
            header_hash: [0; 32],
            body_salt: [0; 32],
            slots: Vec::new(),
            last_number: 0,
        };
        if slots.is_empty() {
            return Err(SealError::NoSlots);
        }
        slots.iter().try_for_each(|slot| lineage.add_slot(slot, "").map(drop))?;
        Ok(lineage)
    }

    /// Opens a sealed snapshot in place.
    pub(crate) fn open(bytes: Vec<u8>, unlock: &Unlock<'_>) -> Result<Opened, OpenError> {
        let encoded = ParsedHeader::parse(&bytes)?;
        let (lineage, key) = Self::unlock(&encoded, unlock, KdfWork::ANY)?;
        let at = encoded.bytes.len();
        let mut payload = Payload(Zeroizing::new(bytes));
        key.open(&mut payload.0, at)?;
        crypto::wipe_stack();
        Ok(Opened { sealer: lineage, payload })
    }

    /// Returns the sealer at this header's generation, and the key of its body.
    pub(crate) fn unlock(
        encoded: &ParsedHeader<'_>,
        unlock: &Unlock<'_>,
        allowed: KdfWork,
    ) -> Result<(Self, BodyKey), OpenError> {
        let asked = slot::work(&encoded.header.slots);
        if matches!(unlock, Unlock::Passphrase(_)) && !asked.is_within(allowed) {
            return Err(OpenError::TooCostly { asked, allowed });
        }
        let found = find_slot(&encoded.header.slots, &encoded.header.file_id, unlock)?;
        let (_, Unwrapped { master, secret }) = found.ok_or(OpenError::WrongKey)?;
        Self::authenticate(encoded, Arc::new(master), vec![Arc::new(secret)])
    }

    /// Opens the header of another generation of this file, without running Argon2. If the master
    /// key was renewed since, finds the new one through a slot whose secret is at hand; if there is
    /// none, returns [`OpenError::WrongKey`].
    pub(crate) fn follow(&self, encoded: &ParsedHeader<'_>) -> Result<(Self, BodyKey), OpenError> {
        if encoded.header.file_id != self.file_id {
            return Err(OpenError::WrongKey);
        }
        let same = Self::authenticate(encoded, self.master.clone(), self.secrets.clone());
        let Err(damage) = same else { return same };
        let mut has_slot = false;
        for (slot, secret) in
            encoded.header.slots.iter().flat_map(|slot| self.secrets.iter().map(move |s| (slot, s)))
        {
            if let Some(master) = slot.unwrap_with(secret, &self.file_id)? {
                has_slot = true;
                if *master.expose() != *self.master.expose() {
                    return Self::authenticate(encoded, Arc::new(master), self.secrets.clone());
                }
            }
        }
        Err(if has_slot { damage } else { OpenError::WrongKey })
    }

    /// Authenticates a header and returns the sealer and the body key for it.
    fn authenticate(
        encoded: &ParsedHeader<'_>,
        master: Arc<LockedKey>,
        secrets: Vec<Arc<LockedKey>>,
    ) -> Result<(Self, BodyKey), OpenError> {
        encoded.authenticate(master.expose())?;
        let Header { file_id, generation, body_salt, ref slots, last_number, .. } = encoded.header;
        let key = BodyKey::derive(master.expose(), &file_id, &body_salt);
        let (header_hash, slots) = (encoded.hash(), slots.clone());
        let lineage =
            Self { master, secrets, file_id, generation, header_hash, body_salt, slots, last_number };
        Ok((lineage, key))
    }

    /// Seals `payload` as the next generation. The slots stay the same, byte for byte; Argon2 does
    /// not run.
    ///
    /// # Errors
    /// [`SealError`] if the payload is too large or the system refuses random bytes.
    pub fn seal_next(&self, payload: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealing = self.seal_stream(payload)?;
        let mut out = Vec::new();
        out.try_reserve_exact(sealing.len()).map_err(|_| SealError::TooLarge)?;
        while let Some(part) = sealing.next_chunk()? {
            out.extend_from_slice(part);
        }
        crypto::wipe_stack();
        Ok(out)
    }

    /// Seals as [`seal_next`](Self::seal_next) does, chunk by chunk.
    ///
    /// # Errors
    /// As [`seal_next`](Self::seal_next).
    pub fn seal_stream<'a>(&self, payload: &'a [u8]) -> Result<SealStream<'a>, SealError> {
        let (after, header) = self.next(random()?)?;
        let key = BodyKey::derive(self.master.expose(), &self.file_id, &after.body_salt);
        let body = key.sealing(payload)?;
        crypto::wipe_stack();
        Ok(SealStream { header, after, key, payload, body, part: Vec::new(), header_returned: false })
    }

    /// Returns the next generation's header for the unchanged body of this one, after a change of
    /// slots.
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
            last_number: self.last_number,
        };
        let encoded = header.encode(self.master.expose())?;
        let header_hash = crypto::hash(&[&encoded]);
        Ok((Self { generation: header.generation, header_hash, body_salt, ..self.clone() }, encoded))
    }

    /// Opens another generation of the same file in place, without running Argon2.
    ///
    /// # Errors
    /// [`OpenError`]; for a different file [`OpenError::WrongKey`].
    pub fn reopen(&self, bytes: Vec<u8>) -> Result<Opened, OpenError> {
        let encoded = ParsedHeader::parse(&bytes)?;
        let (lineage, key) = self.follow(&encoded)?;
        let at = encoded.bytes.len();
        let mut payload = Payload(Zeroizing::new(bytes));
        key.open(&mut payload.0, at)?;
        crypto::wipe_stack();
        Ok(Opened { sealer: lineage, payload })
    }

    /// Returns the file's id: 16 random bytes, the same in all its generations.
    pub fn file_id(&self) -> [u8; 16] {
        self.file_id
    }

    /// Returns the number of the generation last seen: `1` for the first, `0` before it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns SHA-256 over the header of the generation last seen. It identifies that generation:
    /// if two files have the same id and generation but different hashes, neither was made from the
    /// other.
    pub fn header_hash(&self) -> [u8; 32] {
        self.header_hash
    }

    /// Returns the total cost of the passphrase slots.
    pub fn work(&self) -> KdfWork {
        slot::work(&self.slots)
    }

    /// Returns the slots, ordered by number.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = SlotInfo> {
        self.slots.iter().map(Slot::info)
    }

    /// Checks whether the master key differs from that of `other`.
    pub(crate) fn has_other_master(&self, other: &Self) -> bool {
        !Arc::ptr_eq(&self.master, &other.master)
    }

    /// Replaces the master key of future generations and wraps the new one for every slot. An old
    /// master key, known from an old copy and an old passphrase, does not open them. The file's id
    /// stays.
    ///
    /// Recipient slots contain the key to wrap for. For other slots the secret must be at hand:
    /// that of the slot that was opened, of slots added here, and of slots that `others` opens.
    ///
    /// # Errors
    /// [`SealError::SlotNotAtHand`] for the first slot that can't be wrapped; nothing has changed
    /// then.
    pub fn renew_master(&mut self, others: &[Unlock<'_>]) -> Result<(), SealError> {
        for unlock in others {
            let found = find_slot(&self.slots, &self.file_id, unlock);
            if let Ok(Some((_, Unwrapped { secret, .. }))) = found {
                self.secrets.push(Arc::new(secret));
            }
        }
        let (master, mut slots) = (new_master()?, self.slots.clone());
        for slot in &mut slots {
            let secrets = self.secrets.iter().map(|secret| &**secret);
            if !slot.rewrap(secrets, &self.file_id, &master)? {
                return Err(SealError::SlotNotAtHand(slot.number));
            }
        }
        (self.master, self.slots) = (master, slots);
        crypto::wipe_stack();
        Ok(())
    }

    /// Adds a slot to future generations and returns its number, the next one. Runs Argon2 for a
    /// passphrase, and once more for each slot that might have the same passphrase.
    ///
    /// # Errors
    /// [`SealError`] if there would be too many slots, they cost too much, a slot has the same
    /// secret, the label is too long, or the system refuses memory or random bytes.
    pub fn add_slot(&mut self, new: &NewSlot<'_>, label: &str) -> Result<u16, SealError> {
        if self.slots.len() == MAX_SLOTS {
            return Err(SealError::TooManySlots);
        }
        let number = self.last_number.checked_add(1).ok_or(SealError::NoSlotNumbersLeft)?;
        self.check_new(new, None)?;
        let slot = self.make_slot(new, label, number)?;
        self.slots.push(slot);
        self.last_number = number;
        Ok(number)
    }

    /// Replaces a slot's secret in future generations. The slot keeps its number, and its label if
    /// `label` is `None`.
    ///
    /// # Errors
    /// As [`add_slot`](Self::add_slot), and [`SealError::NoSuchSlot`].
    pub fn replace_slot(
        &mut self,
        number: u16,
        new: &NewSlot<'_>,
        label: Option<&str>,
    ) -> Result<(), SealError> {
        let index = self.index_of(number)?;
        self.check_new(new, Some(number))?;
        let label = label.unwrap_or(&self.slots[index].label).to_owned();
        self.slots[index] = self.make_slot(new, &label, number)?;
        Ok(())
    }

    /// Removes a slot from future generations. Anyone who could open an earlier generation may
    /// still know the master key: see [`renew_master`](Self::renew_master).
    ///
    /// # Errors
    /// [`SealError::NoSlots`] for the last slot, [`SealError::NoSuchSlot`].
    pub fn remove_slot(&mut self, number: u16) -> Result<(), SealError> {
        let index = self.index_of(number)?;
        if self.slots.len() == 1 {
            return Err(SealError::NoSlots);
        }
        self.slots.remove(index);
        Ok(())
    }

    /// Returns the number of the first slot that `unlock` opens. Runs Argon2 for a passphrase.
    ///
    /// # Errors
    /// [`OpenError`] if the system refuses memory or the slot was changed.
    pub fn find_slot(&self, unlock: &Unlock<'_>) -> Result<Option<u16>, OpenError> {
        Ok(find_slot(&self.slots, &self.file_id, unlock)?.map(|(number, _)| number))
    }

    fn index_of(&self, number: u16) -> Result<usize, SealError> {
        self.slots.iter().position(|slot| slot.number == number).ok_or(SealError::NoSuchSlot(number))
    }

    fn make_slot(&mut self, new: &NewSlot<'_>, label: &str, number: u16) -> Result<Slot, SealError> {
        if !slot::is_label(label) {
            return Err(SealError::LabelTooLong);
        }
        let (mut slot, secret) = Slot::wrap(new, &self.file_id, &self.master)?;
        (slot.number, slot.label) = (number, label.to_owned());
        self.secrets.push(Arc::new(secret));
        Ok(slot)
    }

    /// Checks that no slot except the `replaced` one opens with the new slot's secret: removing one
    /// of two equal slots would not lock its holder out. Checks also that all slots
    /// together stay within the KDF limit, before any of that work is spent.
    fn check_new(&self, new: &NewSlot<'_>, replaced: Option<u16>) -> Result<(), SealError> {
        let mut others = self.slots.iter().filter(|slot| Some(slot.number) != replaced);
        let costs = others.clone().filter_map(Slot::cost).chain(new.cost());
        if !KdfWork::of(costs).is_within(KdfWork::ANY) {
            return Err(SealError::TotalCost);
        }
        let opens = |slot: &Slot| match *new {
            NewSlot::Passphrase { passphrase, .. } => {
                opens(slot, &self.file_id, &Unlock::Passphrase(passphrase))
            }
            NewSlot::Key(key) => opens(slot, &self.file_id, &Unlock::Key(key)),
            NewSlot::Recipient(public) | NewSlot::RecipientOnce(public) => slot.is_for(public),
        };
        match others.find(|slot| opens(slot)) {
            Some(slot) => Err(SealError::SlotExists(slot.number)),
            None => Ok(()),
        }
    }
}

impl SealStream<'_> {
    /// Returns the next part of the file, in order: the header, then chunk by chunk; `None` after
    /// the last.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] if the format has no chunks left.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, SealError> {
        if !self.header_returned {
            self.header_returned = true;
            return Ok(Some(&self.header));
        }
        let more = self.body.next_chunk(&mut self.part)?;
        Ok(more.then_some(&self.part))
    }

    /// Returns the total length of all parts, in bytes.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.header.len() + self.body.sealed_len()
    }

    /// Checks whether a file holds exactly the sealed generation: reads it back, opens it and
    /// compares the payload.
    pub(crate) fn matches_file(&self, file: &mut impl Read) -> io::Result<bool> {
        let mut header = vec![0; self.header.len()];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            result => result?,
        }
        Ok(header == self.header && self.key.verify(file, self.payload)?)
    }

    /// Returns the sealer at the sealed generation.
    pub(crate) fn into_next(self) -> Sealer {
        self.after
    }
}

impl fmt::Debug for SealStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealStream").field("after", &self.after).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("file_id", &self.file_id)
            .field("generation", &self.generation)
            .field("slots", &self.slots().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn new_master() -> Result<Arc<LockedKey>, SealError> {
    Ok(Arc::new(LockedKey::filled(|bytes| fill_random(bytes))?))
}

fn opens(slot: &Slot, file_id: &[u8; 16], unlock: &Unlock<'_>) -> bool {
    matches!(slot.unwrap(unlock, file_id), Ok(Some(_)) | Err(OpenError::Damaged(_)))
}

fn find_slot(
    slots: &[Slot],
    file_id: &[u8; 16],
    unlock: &Unlock<'_>,
) -> Result<Option<(u16, Unwrapped)>, OpenError> {
    for slot in slots {
        if let Some(unwrapped) = slot.unwrap(unlock, file_id)? {
            return Ok(Some((slot.number, unwrapped)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::cost::PassphraseCost;

    #[test]
    fn no_two_files_have_an_id_or_a_master_key_in_common() {
        let begin = || Sealer::create(&[NewSlot::Key(&[7; 32])]).unwrap();
        let (one, two) = (begin(), begin());
        assert_ne!(one.file_id, two.file_id);
        assert_ne!(one.master.expose(), two.master.expose());
        assert_ne!(new_master().unwrap().expose(), one.master.expose());
    }

    fn cheap(passphrase: &[u8]) -> NewSlot<'_> {
        NewSlot::Passphrase { passphrase, cost: PassphraseCost::new(8, 1, 1).unwrap() }
    }

    fn numbers(lineage: &Sealer) -> Vec<u16> {
        lineage.slots().map(|slot| slot.number).collect()
    }

    #[test]
    fn what_slots_cost_together_is_bounded_and_told_before_it_is_spent() {
        let most = PassphraseCost::new(1 << 20, 16, 1).unwrap();
        let almost = PassphraseCost::new((1 << 20) - 1, 16, 1).unwrap();
        let mut lineage = Sealer::create(&[cheap(b"p"), NewSlot::Key(&[7; 32])]).unwrap();
        assert_eq!(lineage.work(), KdfWork { memory_kib: 8, total_kib: 8 });
        lineage.slots.push(slot::costing(most, 3));
        lineage.last_number = 3;
        // The costly slot is never tried: that would take gigabytes.
        assert_eq!(lineage.add_slot(&cheap(b"q"), "q"), Err(SealError::TotalCost));
        assert_eq!(lineage.replace_slot(2, &cheap(b"q"), None), Err(SealError::TotalCost));
        lineage.remove_slot(1).unwrap();
        assert_eq!(lineage.add_slot(&cheap(b"q"), "q"), Err(SealError::TotalCost), "by one pass over 8 KiB");
        assert_eq!((numbers(&lineage), lineage.last_number), (vec![2, 3], 3));
        assert_eq!(lineage.add_slot(&NewSlot::Key(&[8; 32]), ""), Ok(4), "a key costs nothing");
        lineage.replace_slot(3, &cheap(b"q"), Some("in its place")).unwrap();
        assert_eq!(lineage.work(), KdfWork { memory_kib: 8, total_kib: 8 });
        lineage.slots[1] = slot::costing(almost, 3);
        let too_much = NewSlot::Passphrase { passphrase: b"r", cost: PassphraseCost::new(8, 3, 1).unwrap() };
        assert_eq!(lineage.add_slot(&too_much, ""), Err(SealError::TotalCost));
        let found = lineage.check_new(&NewSlot::Passphrase { passphrase: b"r", cost: most }, Some(3));
        assert_eq!(found, Ok(()), "in place of the only other one it may be all that is allowed");
    }

    #[test]
    fn a_file_has_no_more_numbers_than_there_are_and_no_more_generations() {
        let mut lineage = Sealer::create(&[NewSlot::Key(&[7; 32])]).unwrap();
        lineage.last_number = u16::MAX - 1;
        assert_eq!(lineage.add_slot(&NewSlot::Key(&[8; 32]), ""), Ok(u16::MAX));
        assert_eq!(lineage.add_slot(&NewSlot::Key(&[9; 32]), ""), Err(SealError::NoSlotNumbersLeft));
        assert_eq!(numbers(&lineage), [1, u16::MAX]);
        lineage.generation = u64::MAX - 1;
        let last = lineage.seal_next(b"last").unwrap();
        let opened = lineage.reopen(last).unwrap();
        assert_eq!(opened.sealer.generation(), u64::MAX);
        assert_eq!(opened.sealer.seal_next(b"").unwrap_err(), SealError::NoGenerationsLeft);
    }

    #[test]
    fn parts_make_the_file_and_it_is_known_again_from_any_other() {
        let lineage = Sealer::create(&[NewSlot::Key(&[7; 32])]).unwrap();
        let payload = vec![3; 150_000];
        let mut sealing = lineage.seal_stream(&payload).unwrap();
        let mut parts = Vec::new();
        while let Some(part) = sealing.next_chunk().unwrap() {
            parts.push(part.to_vec());
        }
        assert_eq!(parts.len(), 4, "the header and three chunks");
        let mut file = parts.concat();
        assert_eq!(file.len(), sealing.len());
        let is_in = |file: &[u8]| sealing.matches_file(&mut &file[..]).unwrap();
        assert!(is_in(&file));
        for len in [0, parts[0].len() - 1, parts[0].len(), file.len() - 1] {
            assert!(!is_in(&file[..len]), "{len} bytes");
        }
        for at in [0, parts[0].len() - 1, parts[0].len(), file.len() - 1] {
            file[at] ^= 1;
            assert!(!is_in(&file), "byte {at}");
            file[at] ^= 1;
        }
        assert!(!is_in(&[&file[..], &[0]].concat()));
        let shown = format!("{sealing:?}");
        assert!(shown.contains("generation: 1"), "{shown}");
        assert_eq!(sealing.into_next().generation(), 1);
    }

    /// A header that was altered is damaged, and no reason to ask for another key: the secret still
    /// opens its slot.
    #[test]
    fn an_altered_header_is_told_from_a_wrong_key() {
        let sealer = Sealer::create(&[NewSlot::Key(&[7; 32])]).unwrap();
        let bytes = sealer.seal_next(b"text").unwrap();
        let header = ParsedHeader::parse(&bytes).unwrap().bytes.len();
        let mut altered = bytes.clone();
        altered[header - 1] ^= 1;
        assert_eq!(sealer.reopen(altered).unwrap_err(), OpenError::Damaged(crate::Damage::Header));
        let other = Sealer::create(&[NewSlot::Key(&[7; 32])]).unwrap().seal_next(b"text").unwrap();
        assert_eq!(sealer.reopen(other).unwrap_err(), OpenError::WrongKey);
    }
}
