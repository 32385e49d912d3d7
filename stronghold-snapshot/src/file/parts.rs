//! Reading parts of a payload: only the chunks that hold them are opened.

use core::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::error::{Action, Damage, IoContext, OpenError, OpenFileError};
use crate::file::storage::{Disk, Storage};
use crate::format::body::{BodyKey, CHUNK_LEN, LENGTH_LEN, SEALED_CHUNK_LEN};

/// The payload of a snapshot's base, of which parts can be read, and the changes appended since.
pub struct PayloadReader<S: Storage = Disk> {
    pub(crate) file: S::Reader,
    pub(crate) path: PathBuf,
    pub(crate) key: BodyKey,
    /// Offset of the body in the file.
    pub(crate) body_at: u64,
    /// Length of the body's plaintext.
    pub(crate) plain_len: u64,
    pub(crate) changes: Vec<Zeroizing<Vec<u8>>>,
    pub(crate) is_torn: bool,
    /// The chunk opened last, with its number.
    pub(crate) opened: Option<(u64, Zeroizing<Vec<u8>>)>,
}

impl<S: Storage> PayloadReader<S> {
    /// Returns the length of the payload, in bytes.
    ///
    /// # Errors
    /// [`OpenFileError`] if the last chunk can't be read or opened.
    pub fn payload_len(&mut self) -> Result<u64, OpenFileError> {
        let at = self.plain_len.saturating_sub(LENGTH_LEN as u64);
        let bytes = self.read(at..self.plain_len)?;
        let len = bytes.first_chunk().map_or(u64::MAX, |len| u64::from_be_bytes(*len));
        if len > at {
            return Err(self.wrong(OpenError::Damaged(Damage::Padding)));
        }
        Ok(len)
    }

    /// Returns the changes appended since, oldest first.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.changes.iter().map(|changes| &changes[..])
    }

    /// Returns whether bytes follow the last change that are no whole one: see
    /// [`Payload::is_torn`](crate::Payload::is_torn).
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Reads a part of the payload. Zeros and its length follow it.
    ///
    /// # Errors
    /// [`OpenFileError`] if a chunk can't be read or opened, or the range exceeds the body.
    pub fn read(&mut self, range: Range<u64>) -> Result<Zeroizing<Vec<u8>>, OpenFileError> {
        if range.start > range.end || range.end > self.plain_len {
            return Err(self.wrong(OpenError::Damaged(Damage::Truncated)));
        }
        // The range lies within the file, whose length was checked.
        let mut part = Zeroizing::new(Vec::with_capacity((range.end - range.start) as usize));
        let mut at = range.start;
        while at < range.end {
            let number = at / CHUNK_LEN as u64;
            let from = (at % CHUNK_LEN as u64) as usize;
            let chunk = self.chunk(number)?;
            let len = (chunk.len() - from).min((range.end - at) as usize);
            part.extend_from_slice(&chunk[from..from + len]);
            at += len as u64;
        }
        Ok(part)
    }

    /// Returns the plaintext of a chunk.
    fn chunk(&mut self, number: u64) -> Result<&[u8], OpenFileError> {
        if self.opened.as_ref().is_none_or(|(opened, _)| *opened != number) {
            let sealed = self.read_chunk(number).context(Action::Read, &self.path)?;
            let mut chunk = Zeroizing::new(sealed);
            let is_last = (number + 1) * CHUNK_LEN as u64 >= self.plain_len;
            let expected = (self.plain_len - number * CHUNK_LEN as u64).min(CHUNK_LEN as u64);
            // At most 2^32 chunks: the header was checked.
            let opened = self.key.open_one(number as u32, is_last, &mut chunk);
            opened.map_err(|damage| self.wrong(damage))?;
            if chunk.len() as u64 != expected {
                return Err(self.wrong(OpenError::Damaged(Damage::Truncated)));
            }
            self.opened = Some((number, chunk));
        }
        Ok(self.opened.as_ref().map_or(&[], |(_, chunk)| &chunk[..]))
    }

    fn read_chunk(&mut self, number: u64) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(self.body_at + number * SEALED_CHUNK_LEN as u64))?;
        let left = self.plain_len - number * CHUNK_LEN as u64;
        let len = (left + (SEALED_CHUNK_LEN - CHUNK_LEN) as u64).min(SEALED_CHUNK_LEN as u64);
        let mut chunk = Vec::with_capacity(len as usize);
        (&mut self.file).take(len).read_to_end(&mut chunk)?;
        Ok(chunk)
    }

    fn wrong(&self, source: OpenError) -> OpenFileError {
        OpenFileError::Snapshot { path: self.path.clone(), source }
    }
}

impl<S: Storage> fmt::Debug for PayloadReader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadReader").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::format::crypto::StreamEncryptor;

    /// Seals a plaintext of one chunk, whatever its last bytes say of its length.
    fn reader(plain: &[u8]) -> PayloadReader {
        let mut chunk = plain.to_vec();
        let stream = StreamEncryptor::new((&[1; 32]).into(), (&[1; 7]).into());
        stream.encrypt_last_in_place(&[], &mut chunk).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&chunk).unwrap();
        PayloadReader {
            file,
            path: "vault".into(),
            key: BodyKey::from_bytes(&[1; 39]),
            body_at: 0,
            plain_len: plain.len() as u64,
            changes: Vec::new(),
            is_torn: false,
            opened: None,
        }
    }

    #[test]
    fn a_payload_ends_before_its_length() {
        for len in [0, 9, 10, 11, 18, 19, u64::MAX] {
            let told = reader(&[&[7; 10][..], &len.to_be_bytes()].concat()).payload_len();
            match told {
                Ok(told) => assert!(len <= 10 && told == len, "{len}"),
                Err(OpenFileError::Snapshot { source, .. }) => {
                    assert!(len > 10, "{len}");
                    assert_eq!(source, OpenError::Damaged(Damage::Padding));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
