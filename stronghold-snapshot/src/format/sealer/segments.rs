//! Sealing and opening of the segments behind a base.

use stronghold_vault::random;
use zeroize::Zeroizing;

use super::Sealer;
use crate::error::{Damage, OpenError, SealError};
use crate::format::body::{self, BodyKey};
use crate::format::crypto;
use crate::format::segment::{BLOCK, CHECK_LEN, HEADER_LEN, MAGIC, SegmentHeader, layout};

/// Length of the fields that the key is bound to directly: magic, blocks and generation.
const BOUND_LEN: usize = 16;
const DERIVED_LEN: usize = 39 + CHECK_LEN;
const LABEL: &[u8] = b"stronghold/snapshot/v1/segment";
const SALT_LABEL: &[u8] = b"stronghold/snapshot/v1/segment-salt";

impl Sealer {
    /// Seals changes as the segment behind the last one. [`append`](Self::append) takes it over
    /// once it is durable.
    pub(crate) fn seal_segment(&self, changes: &[u8]) -> Result<Vec<u8>, SealError> {
        let (blocks, total) = layout(changes.len()).ok_or(SealError::TooLarge)?;
        let generation = self.generation().checked_add(1).ok_or(SealError::NoGenerationsLeft)?;
        let previous = self.chain_value();
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&blocks.to_be_bytes());
        header[8..16].copy_from_slice(&generation.to_be_bytes());
        header[16..48].copy_from_slice(&self.segment_salt(changes)?);
        header[48..80].copy_from_slice(&previous);
        let (key, check) = self.segment_key(&header, self.end());
        header[80..].copy_from_slice(&check);
        let mut sealing = key.sealing_padded(changes, total).ok_or(SealError::TooLarge)?;
        let mut segment = Vec::new();
        segment.try_reserve_exact(blocks as usize * BLOCK as usize).map_err(|_| SealError::TooLarge)?;
        segment.extend_from_slice(&header);
        let mut chunk = Vec::new();
        while sealing.next_chunk(&mut chunk)? {
            segment.extend_from_slice(&chunk);
        }
        crypto::wipe_stack();
        Ok(segment)
    }

    /// Derives a fresh salt. It is random, and hedged: where a machine was cloned with its memory
    /// and draws equal bytes, the salts are equal only for equal changes of an equal state.
    fn segment_salt(&self, changes: &[u8]) -> Result<[u8; 32], SealError> {
        let random: [u8; 32] = random()?;
        let info: [&[u8]; 3] = [SALT_LABEL, &self.chain_value(), &crypto::hash(&[changes])];
        Ok(*crypto::derive::<32>(self.master_key(), &random, &info))
    }

    /// Derives the key and the check of the segment with this header at this offset.
    fn segment_key(&self, header: &[u8; HEADER_LEN], at: u64) -> (BodyKey, [u8; CHECK_LEN]) {
        let (bound, rest) = header.split_at(BOUND_LEN);
        let (salt, rest) = rest.split_at(32);
        let info: [&[u8]; 6] =
            [LABEL, &self.file_id(), self.base_salt(), &at.to_be_bytes(), bound, &rest[..32]];
        let derived = crypto::derive::<DERIVED_LEN>(self.master_key(), salt, &info);
        let mut check = [0; CHECK_LEN];
        check.copy_from_slice(&derived[39..]);
        let mut key = Zeroizing::new([0; 39]);
        key.copy_from_slice(&derived[..39]);
        (BodyKey::from_bytes(&key), check)
    }

    /// Checks whether a header at this offset was made for this base by a holder of the master key.
    pub(crate) fn is_authentic(&self, header: &SegmentHeader, at: u64) -> bool {
        crypto::equal(&self.segment_key(&header.bytes, at).1, &header.check)
    }

    /// Opens a whole segment whose header [follows](SegmentHeader::follows) the last one. Returns
    /// `None` if it was not made for this place, or is not all there.
    ///
    /// # Errors
    /// [`OpenError`] if it is, but could not have been sealed like this.
    pub(crate) fn open_segment(
        &self,
        header: &SegmentHeader,
        mut segment: Zeroizing<Vec<u8>>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, OpenError> {
        let (key, check) = self.segment_key(&header.bytes, self.end());
        let is_it = crypto::equal(&check, &header.check) && segment.len() as u64 == header.len();
        if !is_it || key.open_plain(&mut segment, HEADER_LEN).is_err() {
            return Ok(None);
        }
        let len = body::unpadded_len(&segment)?;
        match layout(len) {
            Some((blocks, _)) if blocks == header.blocks => {}
            _ => return Err(OpenError::Damaged(Damage::Padding)),
        }
        segment.truncate(len);
        crypto::wipe_stack();
        Ok(Some(segment))
    }
}
