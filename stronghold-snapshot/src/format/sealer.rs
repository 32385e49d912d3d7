//! The sealer of one file: seals the next generation and opens others without running Argon2 again.

mod segments;
mod slots;
pub(crate) mod walk;

use core::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use stronghold_vault::{LockedKey, fill_random, random};
use zeroize::Zeroizing;

use crate::error::{Damage, OpenError, SealError};
use crate::format::body::{self, BodyKey, BodySealing};
use crate::format::cost::KdfWork;
use crate::format::crypto;
use crate::format::header::{Header, ParsedHeader};
use crate::format::payload::Payload;
use crate::format::segment::{self, SegmentHeader};
use crate::format::slot::{self, NewSlot, Slot, SlotInfo, Unlock, Unwrapped};
use walk::{Walked, walk};

/// The sealing state of one file: its master key, its slots and the generation last seen.
#[derive(Clone)]
pub struct Sealer {
    master: Arc<LockedKey>,
    /// The secrets of slots at hand: of the slot that was opened, and of those created here. With
    /// them a new master key is wrapped for these slots, and a master key that another process
    /// renewed is found.
    secrets: Vec<Arc<LockedKey>>,
    file_id: [u8; 16],
    base: Base,
    /// The chain values after each segment behind the base.
    links: Vec<[u8; 32]>,
    /// Offset of the last segment.
    last: Option<u64>,
    /// Offset behind the last segment, or behind the base.
    end: u64,
    slots: Vec<Slot>,
    last_number: u16,
}

/// The header and body at the start of a file.
#[derive(Clone, Default)]
struct Base {
    generation: u64,
    /// The chain value of the state from which it was made.
    parent: [u8; 32],
    chain_value: [u8; 32],
    salt: [u8; 32],
    /// Offset behind it, a multiple of [`BLOCK`](segment::BLOCK).
    end: u64,
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
            base: Base::default(),
            links: Vec::new(),
            last: None,
            end: 0,
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
        Self::open_body(lineage, &key, bytes)
    }

    /// Opens the body in place, and the segments that follow it.
    fn open_body(mut sealer: Self, key: &BodyKey, bytes: Vec<u8>) -> Result<Opened, OpenError> {
        let encoded = ParsedHeader::parse(&bytes)?;
        let (at, len, end) = (encoded.bytes.len(), encoded.header.body_len, encoded.body_end());
        let cut = || OpenError::Damaged(Damage::Truncated);
        let end = usize::try_from(end).ok().filter(|end| *end <= bytes.len()).ok_or_else(cut)?;
        let gap = check_gap(&bytes[end..], sealer.end() as usize - end);
        let walked = walk(&mut io::Cursor::new(&bytes), &mut sealer).map_err(|_| cut())?;
        let mut base = Zeroizing::new(bytes);
        base.truncate(end);
        key.open(&mut base, at, len)?;
        crypto::wipe_stack();
        let Walked { changes, is_torn } = gap.and(walked)?;
        Ok(Opened { sealer, payload: Payload { base, changes, is_torn } })
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
        let Header { file_id, generation, parent, body_salt: salt, ref slots, last_number, .. } =
            encoded.header;
        let key = BodyKey::derive(master.expose(), &file_id, &salt);
        let end = segment::aligned(encoded.body_end());
        let base = Base { generation, parent, chain_value: encoded.hash(), salt, end };
        let (links, last, slots) = (Vec::new(), None, slots.clone());
        Ok((Self { master, secrets, file_id, base, links, last, end, slots, last_number }, key))
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
        let total = body::padded_total(payload.len()).ok_or(SealError::TooLarge)?;
        let (after, header) = self.next(random()?, total as u64)?;
        let key = BodyKey::derive(self.master.expose(), &self.file_id, &after.base.salt);
        let body = key.sealing_padded(payload, total).ok_or(SealError::TooLarge)?;
        crypto::wipe_stack();
        Ok(SealStream { header, after, key, payload, body, part: Vec::new(), header_returned: false })
    }

    fn next(&self, body_salt: [u8; 32], body_len: u64) -> Result<(Self, Vec<u8>), SealError> {
        let header = Header {
            file_id: self.file_id,
            generation: self.generation().checked_add(1).ok_or(SealError::NoGenerationsLeft)?,
            parent: self.chain_value(),
            body_salt,
            body_len,
            slots: self.slots.clone(),
            last_number: self.last_number,
        };
        let encoded = header.encode(self.master.expose())?;
        let end = segment::aligned(encoded.len() as u64 + body::sealed_len(body_len));
        let base = Base {
            generation: header.generation,
            parent: header.parent,
            chain_value: crypto::hash(&[&encoded]),
            salt: body_salt,
            end,
        };
        Ok((Self { base, links: Vec::new(), last: None, end, ..self.clone() }, encoded))
    }

    /// Opens another generation of the same file in place, without running Argon2.
    ///
    /// # Errors
    /// [`OpenError`]; for a different file [`OpenError::WrongKey`].
    pub fn reopen(&self, bytes: Vec<u8>) -> Result<Opened, OpenError> {
        let encoded = ParsedHeader::parse(&bytes)?;
        let (lineage, key) = self.follow(&encoded)?;
        Self::open_body(lineage, &key, bytes)
    }

    /// Returns the file's id: 16 random bytes, the same in all its generations.
    pub fn file_id(&self) -> [u8; 16] {
        self.file_id
    }

    /// Returns the number of the generation last seen: `1` for the first, `0` before it.
    pub fn generation(&self) -> u64 {
        self.base.generation.saturating_add(self.links.len() as u64)
    }

    /// Returns the chain value of the generation last seen: SHA-256 over the header of the base, or
    /// of the last segment. It identifies that generation: if two files have the same id and
    /// generation but different chain values, neither was made from the other.
    pub fn chain_value(&self) -> [u8; 32] {
        *self.links.last().unwrap_or(&self.base.chain_value)
    }

    /// Returns the chain value of an earlier generation, as far back as the one from which the base
    /// was made.
    pub(crate) fn value_at(&self, generation: u64) -> Option<[u8; 32]> {
        let Some(behind) = generation.checked_sub(self.base.generation) else {
            return (generation.checked_add(1) == Some(self.base.generation)).then_some(self.base.parent);
        };
        match usize::try_from(behind).ok()?.checked_sub(1) {
            Some(link) => self.links.get(link).copied(),
            None => Some(self.base.chain_value),
        }
    }

    /// Takes a segment over that is now part of the file.
    pub(crate) fn append(&mut self, segment: &SegmentHeader) {
        self.links.push(segment.chain_value());
        self.last = Some(self.end);
        self.end = self.end.saturating_add(segment.len());
    }

    /// Returns the chain value of the base.
    pub(crate) fn base_value(&self) -> &[u8; 32] {
        &self.base.chain_value
    }

    pub(crate) fn base_salt(&self) -> &[u8; 32] {
        &self.base.salt
    }

    /// Returns the length of the base, in bytes: a multiple of [`BLOCK`](segment::BLOCK).
    pub(crate) fn base_len(&self) -> u64 {
        self.base.end
    }

    /// Returns the offset of the last segment; `None` if there is none.
    pub(crate) fn last_segment(&self) -> Option<u64> {
        self.last
    }

    /// Returns the offset behind the last segment, or behind the base.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn master_key(&self) -> &[u8; 32] {
        self.master.expose()
    }

    /// Returns the total cost of the passphrase slots.
    pub fn work(&self) -> KdfWork {
        slot::work(&self.slots)
    }

    /// Returns the slots, ordered by number.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = SlotInfo> {
        self.slots.iter().map(Slot::info)
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

    /// Returns the number of zeros that follow in a file, up to a multiple of
    /// [`BLOCK`](segment::BLOCK).
    pub(crate) fn padding(&self) -> usize {
        (self.after.base.end as usize).saturating_sub(self.len())
    }

    /// Checks whether a file holds exactly the sealed generation and its padding: reads it back,
    /// opens it and compares the payload.
    pub(crate) fn matches_file(&self, file: &mut impl Read) -> io::Result<bool> {
        let mut header = vec![0; self.header.len()];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            result => result?,
        }
        let body = self.body.sealed_len() as u64;
        let is_sealed = header == self.header && self.key.verify(&mut file.take(body), self.payload)?;
        let mut behind = Vec::new();
        file.take(segment::BLOCK).read_to_end(&mut behind)?;
        Ok(is_sealed && behind.len() == self.padding() && behind.iter().all(|byte| *byte == 0))
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
            .field("generation", &self.generation())
            .field("slots", &self.slots().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn new_master() -> Result<Arc<LockedKey>, SealError> {
    Ok(Arc::new(LockedKey::filled(|bytes| fill_random(bytes))?))
}

/// Checks that the first `len` bytes behind a body are zeros, as far as there are any.
pub(crate) fn check_gap(behind: &[u8], len: usize) -> Result<(), OpenError> {
    let is_zero = behind.iter().take(len).all(|byte| *byte == 0);
    is_zero.then_some(()).ok_or(OpenError::Damaged(Damage::Gap))
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
        lineage.base.generation = u64::MAX - 1;
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
        let unpadded = file.len();
        file.resize(file.len() + sealing.padding(), 0);
        assert_eq!((file.len() % 4096, file.len() - unpadded < 4096), (0, true));
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
