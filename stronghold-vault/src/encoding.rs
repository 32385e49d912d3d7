//! MessagePack encoding of what is stored and sealed. The length is measured first, so that a
//! growing buffer never copies secrets.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::locked::wipe_stack;

/// The content does not decode as the expected type: another program or a newer version made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content can't be read")]
pub struct DecodeError;

/// The content can't be encoded: it is too large, or only a part of it is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content can't be encoded")]
pub struct EncodeError;

/// Encodes a value behind this many zeros, which the caller fills.
///
/// # Errors
/// [`EncodeError`].
pub fn encode_after<T: Serialize + ?Sized>(
    zeros: usize,
    value: &T,
) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    fill(|out| {
        out.put(&vec![0; zeros]);
        out.write(value)
    })
}

/// Decodes a value that takes up all of `bytes`.
///
/// # Errors
/// [`DecodeError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let value = decode_sealed(bytes);
    wipe_stack();
    value
}

/// Decodes as [`decode`] does what contains no key: the stack is not wiped.
pub(crate) fn decode_sealed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    // Decodes from the slice itself: a reader would copy every byte string, keys too, into a buffer
    // that is never wiped.
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    let value = T::deserialize(&mut deserializer).map_err(|_| DecodeError)?;
    // Rejects trailing bytes: at the end there is no further marker to read.
    match <()>::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(DecodeError),
    }
}

/// Runs `work` twice: to measure, then to fill a buffer of exactly that length.
pub(crate) fn fill(
    work: impl Fn(&mut Output<'_>) -> Result<(), EncodeError>,
) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    let mut measured = Output::default();
    work(&mut measured)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(measured.len));
    let written = work(&mut Output { bytes: Some(&mut bytes), len: 0 });
    // Keys pass over the stack during encoding, and later calls need not reach as deep.
    wipe_stack();
    written.map(|()| bytes)
}

/// An output that counts, and keeps what is written if it has a buffer.
#[derive(Default)]
pub(crate) struct Output<'a> {
    bytes: Option<&'a mut Vec<u8>>,
    len: usize,
}

impl Output<'_> {
    /// Returns the number of bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        if let Some(out) = &mut self.bytes {
            out.extend_from_slice(bytes);
        }
    }

    /// Appends the encoding of a value.
    pub(crate) fn write<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        rmp_serde::encode::write(self, value).map_err(|_| EncodeError)
    }

    /// Appends a length (4 bytes, big-endian), then `front` and the encoding of a value, which the
    /// length covers.
    pub(crate) fn write_framed<T: Serialize + ?Sized>(
        &mut self,
        front: &[u8],
        value: &T,
    ) -> Result<(), EncodeError> {
        let from = self.len;
        self.put(&[0; 4]);
        self.put(front);
        self.write(value)?;
        let written = self.len - from;
        let len = u32::try_from(written - 4).map_err(|_| EncodeError)?;
        let place = self.bytes.as_mut().and_then(|out| out.rchunks_mut(written).next()?.first_chunk_mut());
        place.into_iter().for_each(|place| *place = len.to_be_bytes());
        Ok(())
    }
}

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
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
            let bytes = encode_after(0, &("some text", vec![7_u8; len])).unwrap();
            assert_eq!(bytes.capacity(), bytes.len(), "{len}");
            let behind = encode_after(64, &("some text", vec![7_u8; len])).unwrap();
            assert_eq!((&behind[..64], &behind[64..]), (&[0; 64][..], &bytes[..]));
            assert_eq!(behind.capacity(), behind.len(), "{len}");
        }
    }

    #[test]
    fn nothing_may_follow_what_is_read() {
        let bytes = encode_after(0, &("a", 7_u8)).unwrap();
        assert_eq!(decode::<(String, u8)>(&bytes), Ok(("a".into(), 7)));
        for more in [0_u8, 0x91, 0xc0, 0xc1, 0xc4, 0xff] {
            let longer = [bytes.as_slice(), &[more]].concat();
            assert_eq!(decode::<(String, u8)>(&longer), Err(DecodeError), "{more:x}");
        }
        assert_eq!(decode::<(String, u8)>(&bytes[..bytes.len() - 1]), Err(DecodeError));
    }

    #[test]
    fn a_frame_tells_the_length_of_what_follows() {
        let framed = fill(|out| out.write_framed(b"ab", &7_u8)).unwrap();
        assert_eq!(*framed, [0, 0, 0, 3, b'a', b'b', 7]);
    }
}
