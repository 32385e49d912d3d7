//! Segments: changes appended to a file behind its base, each sealed under a key of its own and
//! chained to the state before it.
//!
//! A segment opens in one place only: in this file, behind this base, at this offset, after this
//! state. So what is found behind the last whole segment is either the rest of a commit that power
//! or a crash cut short (*torn*), or, if an authentic segment follows, damage.

use crate::format::body::{self, CHUNK_LEN};
use crate::format::crypto::{self, TAG_LEN};
use crate::format::wire::Reader;

/// Unit of a file, in bytes: segments begin and end at multiples of it.
pub(crate) const BLOCK: u64 = 4096;
/// Length of a segment's header, in bytes.
pub(crate) const HEADER_LEN: usize = 96;
/// Bytes of a torn tail that are searched for an authentic segment.
pub(crate) const SEARCHED: u64 = 16 << 20;

pub(crate) const MAGIC: [u8; 4] = *b"\x93SEG";
pub(crate) const CHECK_LEN: usize = 16;

/// The header of a segment.
pub(crate) struct SegmentHeader {
    pub(crate) bytes: [u8; HEADER_LEN],
    /// Length of the segment, in blocks.
    pub(crate) blocks: u32,
    generation: u64,
    previous: [u8; 32],
    pub(crate) check: [u8; CHECK_LEN],
}

impl SegmentHeader {
    /// Parses the header at the start of `bytes`; `None` if there is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = *bytes.first_chunk::<HEADER_LEN>()?;
        let mut input = Reader(bytes.strip_prefix(&MAGIC)?);
        let (blocks, generation) = (input.u32().ok()?, input.u64().ok()?);
        let _salt: [u8; 32] = input.array().ok()?;
        let (previous, check) = (input.array().ok()?, input.array().ok()?);
        let header = Self { bytes, blocks, generation, previous, check };
        (header.blocks > 0).then_some(header)
    }

    /// Returns the length of the whole segment, in bytes.
    pub(crate) fn len(&self) -> u64 {
        u64::from(self.blocks) * BLOCK
    }

    /// Returns the chain value of the state after the segment.
    pub(crate) fn chain_value(&self) -> [u8; 32] {
        crypto::hash(&[&self.bytes])
    }

    /// Checks whether the segment claims to follow this state. Its author is not checked.
    pub(crate) fn follows(&self, generation: u64, chain_value: &[u8; 32]) -> bool {
        self.generation.checked_sub(1) == Some(generation) && self.previous == *chain_value
    }
}

/// Returns the least multiple of [`BLOCK`] that is not below `len`.
pub(crate) fn aligned(len: u64) -> u64 {
    len.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// Returns the length in blocks and the length of the plaintext of a segment with so many bytes of
/// changes; `None` if there is no such segment.
pub(crate) fn layout(changes: usize) -> Option<(u32, usize)> {
    let plain = changes.checked_add(body::LENGTH_LEN)? as u64;
    let least = stronghold_sync::padme_len(HEADER_LEN as u64 + body::sealed_len(plain));
    (aligned(least) / BLOCK..).take(3).find_map(|blocks| {
        let sealed = blocks.checked_mul(BLOCK)?.checked_sub(HEADER_LEN as u64)?;
        let total = plain_len(sealed)?;
        (total >= plain).then_some((u32::try_from(blocks).ok()?, usize::try_from(total).ok()?))
    })
}

/// Returns the length of the plaintext of chunks of so many bytes; `None` if the last one would be
/// empty.
fn plain_len(sealed: u64) -> Option<u64> {
    let chunk = (CHUNK_LEN + TAG_LEN) as u64;
    let last = sealed % chunk;
    (last == 0 || last > TAG_LEN as u64).then(|| sealed - sealed.div_ceil(chunk) * TAG_LEN as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_fits_into_a_block_looks_alike() {
        assert_eq!((layout(0), layout(3976)), (Some((1, 3984)), Some((1, 3984))));
        assert_eq!(layout(3977), Some((2, 8080)));
        for len in (0..200_000).step_by(997).chain([65_536, 1 << 20, 20 << 20]) {
            let (blocks, total) = layout(len).unwrap();
            assert!(total >= len + 8);
            let sealed = HEADER_LEN as u64 + body::sealed_len(total as u64);
            assert_eq!(sealed, u64::from(blocks) * BLOCK, "{len}");
            assert!(u64::from(blocks) * BLOCK <= (len as u64 + 5000) * 113 / 100, "{len}");
        }
        assert_eq!(layout(usize::MAX), None);
        assert_eq!(layout(1 << 45), None, "more blocks than are counted");
    }

    #[test]
    fn a_last_chunk_is_not_empty() {
        let chunk = (CHUNK_LEN + TAG_LEN) as u64;
        for (sealed, plain) in [
            (chunk, Some(CHUNK_LEN as u64)),
            (chunk + 16, None),
            (chunk + 17, Some(CHUNK_LEN as u64 + 1)),
            (4000, Some(3984)),
        ] {
            assert_eq!(plain_len(sealed), plain, "{sealed}");
        }
    }
}
