//! MessagePack encoding of payloads. The length is measured first, so that a growing buffer never
//! copies secrets.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::error::SealError;
use crate::format::crypto;

/// The content does not decode as the expected type: another program or a newer version made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the content can't be read")]
pub struct DecodeError;

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Zeroizing<Vec<u8>>, SealError> {
    encode_after(0, value)
}

/// Encodes a value behind this many zeros, which the caller fills.
pub(crate) fn encode_after<T: Serialize + ?Sized>(
    zeros: usize,
    value: &T,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut length = Length(zeros);
    rmp_serde::encode::write(&mut length, value).map_err(|_| SealError::TooLarge)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    bytes.resize(zeros, 0);
    let written = rmp_serde::encode::write(&mut *bytes, value);
    // Keys pass over the stack during encoding, and later calls need not reach as deep.
    crypto::wipe_stack();
    written.map(|()| bytes).map_err(|_| SealError::TooLarge)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    // Decodes from the slice itself: a reader would copy every byte string, keys too, into a buffer
    // that is never wiped.
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    let value = T::deserialize(&mut deserializer);
    crypto::wipe_stack();
    let value = value.map_err(|_| DecodeError)?;
    // Rejects trailing bytes: at the end there is no further marker to read.
    match <()>::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(DecodeError),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer that grew would leave a copy of what it held behind.
    #[test]
    fn the_buffer_is_as_large_as_what_is_written() {
        for len in [0, 1, 31, 32, 1000, 70_000] {
            let bytes = encode(&("some text", vec![7_u8; len])).unwrap();
            assert_eq!(bytes.capacity(), bytes.len(), "{len}");
            let behind = encode_after(64, &("some text", vec![7_u8; len])).unwrap();
            assert_eq!((&behind[..64], &behind[64..]), (&[0; 64][..], &bytes[..]));
            assert_eq!(behind.capacity(), behind.len(), "{len}");
        }
    }

    #[test]
    fn nothing_may_follow_what_is_read() {
        let bytes = encode(&("a", 7_u8)).unwrap();
        assert_eq!(decode::<(String, u8)>(&bytes), Ok(("a".into(), 7)));
        for more in [0_u8, 0x91, 0xc0, 0xc1, 0xc4, 0xff] {
            let longer = [bytes.as_slice(), &[more]].concat();
            assert_eq!(decode::<(String, u8)>(&longer), Err(DecodeError), "{more:x}");
        }
        assert_eq!(decode::<(String, u8)>(&bytes[..bytes.len() - 1]), Err(DecodeError));
    }
}
