//! Reading parts of a payload: only the chunks that hold them are opened.

use core::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use zeroize::Zeroizing;

use crate::error::{Action, Damage, IoContext, OpenError, OpenFileError};
use crate::file::storage::{Disk, Storage};
use crate::format::body::{self, BodyKey, CHUNK_LEN, LENGTH_LEN, SEALED_CHUNK_LEN};
use crate::format::crypto;

/// Number of chunks that are opened before they are taken.
const CHUNKS_AHEAD: usize = 8;

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

    /// Calls `take` with all bytes of the payload up to `end`, in order and in pieces. A second
    /// thread opens the next pieces meanwhile, where the system has one.
    ///
    /// # Errors
    /// As [`read`](Self::read), or the error of `take`.
    pub(crate) fn read_in_order<E: From<OpenFileError>>(
        &mut self,
        end: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E>
    where
        S::Reader: Send,
    {
        let mut numbers = 0..end.div_ceil(CHUNK_LEN as u64);
        let mut take_up_to_end = |number: u64, chunk: &[u8]| {
            let left = usize::try_from(end - number * CHUNK_LEN as u64).unwrap_or(usize::MAX);
            take(&chunk[..chunk.len().min(left)])
        };
        if numbers.end > CHUNKS_AHEAD as u64 {
            let (ready, opened) = mpsc::sync_channel(CHUNKS_AHEAD);
            let (reader, all) = (&mut *self, numbers.clone());
            let work = move || {
                // An error ends it, and so does an error of the other side, which then hangs up.
                let mut chunks = all.map(|number| reader.open_chunk(number));
                _ = chunks.try_for_each(|chunk| ready.send(chunk));
                crypto::wipe_stack();
            };
            thread::scope(|scope| {
                // Where no thread can be had, all is opened below.
                if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    return Ok(());
                }
                for (number, chunk) in numbers.by_ref().zip(opened) {
                    take_up_to_end(number, &chunk?)?;
                }
                Ok::<(), E>(())
            })?;
        }
        for number in numbers {
            take_up_to_end(number, self.chunk(number)?)?;
        }
        Ok(())
    }

    /// Checks that zeros follow a payload of `len` bytes up to its length, and not more of them
    /// than padding takes.
    pub(crate) fn check_padding(&mut self, len: u64) -> Result<(), OpenFileError> {
        let padding = self.read(len..self.plain_len.saturating_sub(LENGTH_LEN as u64))?;
        let is_padding = body::total_of(len) == Some(self.plain_len) && padding.iter().all(|byte| *byte == 0);
        is_padding.then_some(()).ok_or_else(|| self.wrong(OpenError::Damaged(Damage::Padding)))
    }

    /// Returns the plaintext of a chunk, which stays open until the next one.
    fn chunk(&mut self, number: u64) -> Result<&[u8], OpenFileError> {
        if self.opened.as_ref().is_none_or(|(opened, _)| *opened != number) {
            self.opened = Some((number, self.open_chunk(number)?));
        }
        Ok(self.opened.as_ref().map_or(&[], |(_, chunk)| &chunk[..]))
    }

    fn open_chunk(&mut self, number: u64) -> Result<Zeroizing<Vec<u8>>, OpenFileError> {
        let sealed = self.read_chunk(number).context(Action::Read, &self.path)?;
        let mut chunk = Zeroizing::new(sealed);
        let is_last = (number + 1) * CHUNK_LEN as u64 >= self.plain_len;
        let expected = (self.plain_len - number * CHUNK_LEN as u64).min(CHUNK_LEN as u64);
        // At most 2^32 chunks: the header was checked.
        let opened = self.key.open_one(number as u32, is_last, &mut chunk);
        opened.map_err(|damage| self.wrong(damage))?;
        match chunk.len() as u64 == expected {
            true => Ok(chunk),
            false => Err(self.wrong(OpenError::Damaged(Damage::Truncated))),
        }
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
        reading(&chunk, plain.len() as u64)
    }

    fn reading(body: &[u8], plain_len: u64) -> PayloadReader {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(body).unwrap();
        PayloadReader {
            file,
            path: "vault".into(),
            key: BodyKey::from_bytes(&[1; 39]),
            body_at: 0,
            plain_len,
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

    /// Seals a payload of `len` bytes, padded to a plaintext of `total` bytes.
    fn sealed(len: usize, total: u64) -> (Vec<u8>, Vec<u8>) {
        let payload: Vec<u8> = (0..len).map(|at| (at / 7) as u8).collect();
        let key = BodyKey::from_bytes(&[1; 39]);
        let mut sealing = key.sealing_padded(&payload, total as usize).unwrap();
        let (mut body, mut chunk) = (Vec::new(), Vec::new());
        while sealing.next_chunk(&mut chunk).unwrap() {
            body.extend_from_slice(&chunk);
        }
        (payload, body)
    }

    fn in_order(reader: &mut PayloadReader, end: u64) -> Result<Vec<u8>, OpenFileError> {
        let mut all = Vec::new();
        reader.read_in_order(end, |piece| {
            all.extend_from_slice(piece);
            Ok::<(), OpenFileError>(())
        })?;
        Ok(all)
    }

    #[test]
    fn a_payload_is_read_in_order_up_to_any_end_with_and_without_another_thread() {
        for chunks in [1, 3, CHUNKS_AHEAD, CHUNKS_AHEAD + 1, 3 * CHUNKS_AHEAD] {
            let len = chunks * CHUNK_LEN - 100;
            let total = body::total_of(len as u64).unwrap();
            let (payload, body) = sealed(len, total);
            for end in [0, 1, CHUNK_LEN.min(len), len - 1, len] {
                let read = in_order(&mut reading(&body, total), end as u64).unwrap();
                assert!(read == payload[..end], "{end} of {len}");
            }
        }
    }

    #[test]
    fn an_error_ends_the_reading_on_either_side_of_the_threads() {
        let len = 5 * CHUNKS_AHEAD * CHUNK_LEN;
        let total = body::total_of(len as u64).unwrap();
        let (_, body) = sealed(len, total);
        for number in [0, 1, CHUNKS_AHEAD, 5 * CHUNKS_AHEAD - 1] {
            let mut damaged = body.clone();
            damaged[number * SEALED_CHUNK_LEN + 9] ^= 1;
            match in_order(&mut reading(&damaged, total), len as u64) {
                Err(OpenFileError::Snapshot { source, .. }) => {
                    assert_eq!(source, OpenError::Damaged(Damage::Body), "{number}");
                }
                other => panic!("{:?}", other.map(|read| read.len())),
            }
        }
        let mut reader = reading(&body, total);
        let mut taken = 0;
        let ended = reader.read_in_order(len as u64, |piece| {
            taken += piece.len();
            if taken > 3 * CHUNK_LEN { Err(reading(&[], 0).wrong(OpenError::WrongKey)) } else { Ok(()) }
        });
        assert!(matches!(ended, Err(OpenFileError::Snapshot { source: OpenError::WrongKey, .. })));
        assert_eq!(taken, 4 * CHUNK_LEN);
    }

    #[test]
    fn padding_is_zeros_and_as_long_as_it_has_to_be() {
        let len = 3 * CHUNK_LEN + 5_000;
        let total = body::total_of(len as u64).unwrap();
        let check = |body: &[u8], total, len| reading(body, total).check_padding(len).is_ok();
        let (_, body) = sealed(len, total);
        assert!(check(&body, total, len as u64));
        assert!(!check(&body, total, len as u64 - 1), "a byte that is no zero");
        let longer = body::total_of(total).unwrap();
        assert!(longer > total && !check(&sealed(len, longer).1, longer, len as u64));
        assert!(!check(&body, total, total), "longer than the body");
    }
}
