//! The header: file id, generation, key slots, and proofs that none of it was changed.
//!
//! All integers are big-endian. The first [`PREAMBLE_LEN`] bytes have the same meaning in every
//! version, so a file of a newer version is distinguished from a damaged one. `FORMAT.md` has the
//! byte diagram.

use crate::error::{Damage, OpenError, SealError, Unsupported};
use crate::format::MAX_SLOTS;
use crate::format::slot::{self, Slot};
use crate::format::wire::Reader;
use crate::format::{body, crypto};

/// The version that this crate writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;

/// The first bytes of every sealed snapshot. They are not text, and a transfer in text mode changes
/// them.
pub(crate) const MAGIC: [u8; 8] = *b"\x93SHOLD\r\n";

/// Maximum length of a header of this version, in bytes. 16 recipient slots take less.
pub(crate) const MAX_LEN: usize = 64 * 1024;

const SUITE: u16 = 1;
pub(crate) const PREAMBLE_LEN: usize = 32;
const LEN_AT: usize = 12;
const CHECKSUM_AT: usize = 16;
const MAC_LEN: usize = 32;
const MAC_LABEL: &[u8] = b"stronghold/snapshot/v1/header";

/// The fields of a header, apart from its proofs.
#[derive(Clone)]
pub(crate) struct Header {
    pub(crate) file_id: [u8; 16],
    pub(crate) generation: u64,
    /// The chain value of the previous generation; zeros for the first.
    pub(crate) parent: [u8; 32],
    /// Fresh with every new body; the body's key depends on it.
    pub(crate) body_salt: [u8; 32],
    /// Length of the body's plaintext, in bytes.
    pub(crate) body_len: u64,
    /// The slots, ordered by number.
    pub(crate) slots: Vec<Slot>,
    /// The highest number that a slot of this file ever had.
    pub(crate) last_number: u16,
}

/// A header at the start of a file, with its bytes.
pub(crate) struct ParsedHeader<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) header: Header,
}

impl Header {
    /// Encodes the header, authenticated under `master`.
    pub(crate) fn encode(&self, master: &[u8; 32]) -> Result<Vec<u8>, SealError> {
        let mut out = vec![0; PREAMBLE_LEN];
        out.extend(self.file_id);
        out.extend(self.generation.to_be_bytes());
        out.extend(self.parent);
        out.extend(self.body_salt);
        out.extend(self.body_len.to_be_bytes());
        out.push(u8::try_from(self.slots.len()).map_err(|_| SealError::TooManySlots)?);
        out.extend(self.last_number.to_be_bytes());
        self.slots.iter().for_each(|slot| slot.encode(&mut out));
        let len = u32::try_from(out.len() + MAC_LEN).map_err(|_| SealError::TooManySlots)?;
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_be_bytes());
        out[10..12].copy_from_slice(&SUITE.to_be_bytes());
        out[12..16].copy_from_slice(&len.to_be_bytes());
        out.extend(header_mac(master, &self.file_id, &out));
        let checksum = checksum(&out);
        out[CHECKSUM_AT..PREAMBLE_LEN].copy_from_slice(&checksum);
        Ok(out)
    }
}

impl<'a> ParsedHeader<'a> {
    /// Parses the header at the start of `file`, as far as possible without a key. Ignores further
    /// bytes.
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self, OpenError> {
        let bytes = split_header(file)?;
        let (content, _mac) = bytes.split_at(bytes.len() - MAC_LEN);
        let mut input = Reader(&content[PREAMBLE_LEN..]);
        let mut header = Header {
            file_id: input.array()?,
            generation: input.u64()?,
            parent: input.array()?,
            body_salt: input.array()?,
            body_len: input.u64()?,
            slots: Vec::new(),
            last_number: 0,
        };
        let count = usize::from(input.byte()?);
        header.last_number = input.u16()?;
        header.slots = decode_slots(&mut input, count)?;
        let is_numbered = header.slots.is_sorted_by(|one, next| one.number < next.number)
            && header.slots.first().is_some_and(|slot| slot.number > 0)
            && header.slots.last().is_some_and(|slot| slot.number <= header.last_number);
        let is_possible = is_numbered && header.generation > 0 && body::is_possible_len(header.body_len);
        if !is_possible || !input.0.is_empty() {
            return Err(OpenError::Damaged(Damage::Header));
        }
        Ok(Self { bytes, header })
    }

    /// Checks that the author of this header had the master key.
    pub(crate) fn authenticate(&self, master: &[u8; 32]) -> Result<(), OpenError> {
        let (content, mac) = self.bytes.split_at(self.bytes.len() - MAC_LEN);
        match crypto::equal(&header_mac(master, &self.header.file_id, content), mac) {
            true => Ok(()),
            false => Err(OpenError::Damaged(Damage::HeaderMac)),
        }
    }

    /// Returns the offset behind the body.
    pub(crate) fn body_end(&self) -> u64 {
        self.bytes.len() as u64 + body::sealed_len(self.header.body_len)
    }

    /// Returns SHA-256 over the whole header: the chain value of this generation, and the parent
    /// field of the next.
    pub(crate) fn hash(&self) -> [u8; 32] {
        crypto::hash(&[self.bytes])
    }
}

/// Returns the length of a header as its first [`PREAMBLE_LEN`] bytes declare it, capped at the
/// maximum of this version. Returns `None` if they do not start a snapshot.
pub(crate) fn len_of(preamble: &[u8]) -> Option<usize> {
    let (len, _) = preamble.get(LEN_AT..)?.split_first_chunk()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(MAX_LEN);
    preamble.starts_with(&MAGIC).then_some(len.min(MAX_LEN))
}

/// Splits the header off the front of a file, after the checks that are the same in every version.
fn split_header(file: &[u8]) -> Result<&[u8], OpenError> {
    if !file.starts_with(&MAGIC) {
        return Err(OpenError::NotASnapshot);
    }
    let truncated = OpenError::Damaged(Damage::Truncated);
    let mut input = Reader(file.get(MAGIC.len()..PREAMBLE_LEN).ok_or(truncated)?);
    let (version, suite, len) = (input.u16()?, input.u16()?, input.u32()?);
    let len = usize::try_from(len).map_err(|_| OpenError::Damaged(Damage::Header))?;
    if len < PREAMBLE_LEN + MAC_LEN {
        return Err(OpenError::Damaged(Damage::Header));
    }
    let bytes = file.get(..len).ok_or(OpenError::Damaged(Damage::Truncated))?;
    if bytes[CHECKSUM_AT..PREAMBLE_LEN] != checksum(bytes) {
        return Err(OpenError::Damaged(Damage::Header));
    }
    match (version, suite) {
        (0, _) => Err(OpenError::Damaged(Damage::Header)),
        (VERSION, SUITE) => Ok(bytes),
        (VERSION, suite) => Err(OpenError::Unsupported(Unsupported::Suite(suite))),
        (found, _) => Err(OpenError::NewerVersion { found, supported: VERSION }),
    }
}

fn decode_slots(input: &mut Reader<'_>, count: usize) -> Result<Vec<Slot>, OpenError> {
    if !(1..=MAX_SLOTS).contains(&count) {
        return Err(OpenError::Damaged(Damage::Header));
    }
    let slots = (0..count).map(|_| Slot::decode(input)).collect::<Result<Vec<_>, _>>()?;
    match slot::total_work_allowed(&slots) {
        true => Ok(slots),
        false => Err(OpenError::Unsupported(Unsupported::TotalCost)),
    }
}

/// Computes the checksum: the first 16 bytes of SHA-256 over the header without the checksum. It
/// distinguishes damage from a wrong key before any key is tried; the HMAC protects against intent.
fn checksum(header: &[u8]) -> [u8; PREAMBLE_LEN - CHECKSUM_AT] {
    let hash = crypto::hash(&[&header[..CHECKSUM_AT], &header[PREAMBLE_LEN..]]);
    let mut checksum = [0; PREAMBLE_LEN - CHECKSUM_AT];
    checksum.copy_from_slice(&hash[..PREAMBLE_LEN - CHECKSUM_AT]);
    checksum
}

/// Computes HMAC-SHA-256 over everything before it except the checksum, which follows from the
/// rest.
fn header_mac(master: &[u8; 32], file_id: &[u8; 16], content: &[u8]) -> [u8; MAC_LEN] {
    let key = crypto::derive::<32>(master, file_id, &[MAC_LABEL]);
    crypto::mac(&key, &[&content[..CHECKSUM_AT], &content[PREAMBLE_LEN..]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preamble_tells_how_long_its_header_is_as_far_as_one_is_read() {
        let preamble = |magic: &[u8], len: u32| [magic, &[0, 1, 0, 1], &len.to_be_bytes(), &[0; 16]].concat();
        for (len, expected) in [(0, 0), (500, 500), (65_536, 65_536), (65_537, 65_536), (u32::MAX, 65_536)] {
            assert_eq!(len_of(&preamble(&MAGIC, len)), Some(expected));
        }
        assert_eq!(len_of(&preamble(b"\x93SHOLD\n\n", 500)), None);
        assert_eq!((len_of(&preamble(&MAGIC, 500)[..15]), len_of(&[])), (None, None));
        assert_eq!(len_of(&preamble(&MAGIC, 500)[..16]), Some(500));
    }
}
