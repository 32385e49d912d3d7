//! A reader of the fields of a header.

use crate::error::{Damage, OpenError};

/// Reads fields off the front of a slice. A missing field is a damaged header.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], OpenError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(OpenError::Damaged(Damage::Header))?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&[u8], OpenError> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(OpenError::Damaged(Damage::Header))?;
        self.0 = rest;
        Ok(field)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, OpenError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, OpenError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, OpenError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, OpenError> {
        self.array().map(u64::from_be_bytes)
    }
}
