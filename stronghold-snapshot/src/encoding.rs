//! MessagePack for payloads: measured first, so that secrets are never copied by a growing buffer.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::sealed::SealError;

/// What was sealed can't be read as what it should be: another program made it, or a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the content can't be read")]
pub struct BadPayload;

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut length = Length(0);
    rmp_serde::encode::write(&mut length, value).map_err(|_| SealError::TooLarge)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    rmp_serde::encode::write(&mut *bytes, value).map_err(|_| SealError::TooLarge)?;
    Ok(bytes)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadPayload> {
    let mut rest = bytes;
    let value = T::deserialize(&mut rmp_serde::Deserializer::new(&mut rest)).map_err(|_| BadPayload)?;
    if rest.is_empty() { Ok(value) } else { Err(BadPayload) }
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
