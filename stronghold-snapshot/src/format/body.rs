//! The body: the payload in STREAM chunks, under a key derived from the master key and the header's
//! body salt.
//!
//! Plaintext: payload, zeros, and the payload's length in the last 8 bytes; its total length is
//! padded by Padmé (`stronghold_sync::padme_len`). The length is at the end so that neither sealing
//! nor opening has to move the payload. Sealing and verification hold one chunk besides the
//! payload; opening happens in place.

use core::cmp::Ordering;
use std::io::{self, Read};

use aes_gcm::aead::{self, Buffer};
use stronghold_sync::padme_len;
use zeroize::Zeroizing;

use crate::error::{Damage, OpenError, SealError};
use crate::format::crypto::{self, Secret, StreamDecryptor, StreamEncryptor, TAG_LEN};

/// Plaintext length of every chunk except the last, which has 1 to this many bytes.
pub(crate) const CHUNK_LEN: usize = 64 * 1024;

pub(crate) const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
pub(crate) const LENGTH_LEN: usize = 8;
const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 7; // of 12; STREAM keeps 5 for its counter and the mark of the last chunk
const LABEL: &[u8] = b"stronghold/snapshot/v1/body";

/// The key that seals and opens one body. Its salt is fresh, so no other body of any file has the
/// same key.
pub(crate) struct BodyKey {
    key: Secret,
    nonce: [u8; NONCE_LEN],
}

/// Chunks have no associated data: the salt of their key is in the header, under its HMAC.
const NO_DATA: &[u8] = &[];

impl BodyKey {
    pub(crate) fn derive(master: &[u8; 32], file_id: &[u8; 16], body_salt: &[u8; 32]) -> Self {
        Self::from_bytes(&crypto::derive(master, body_salt, &[LABEL, file_id]))
    }

    /// Takes key and nonce prefix out of derived bytes.
    pub(crate) fn from_bytes(both: &[u8; KEY_LEN + NONCE_LEN]) -> Self {
        let mut derived = Self { key: Secret::default(), nonce: [0; NONCE_LEN] };
        derived.key.copy_from_slice(&both[..KEY_LEN]);
        derived.nonce.copy_from_slice(&both[KEY_LEN..]);
        derived
    }

    /// Returns an encoder that seals `payload`, padded to a plaintext of `total` bytes.
    pub(crate) fn sealing_padded<'a>(&self, payload: &'a [u8], total: usize) -> Option<BodySealing<'a>> {
        Some(BodySealing {
            stream: Some(StreamEncryptor::new((&*self.key).into(), (&self.nonce).into())),
            plain: PaddedPlaintext::new(payload, Some(total))?,
        })
    }

    /// Opens the body at `body_at` in place: `file` becomes the payload. `plain_len` is the length
    /// of its plaintext.
    pub(crate) fn open(
        &self,
        file: &mut Zeroizing<Vec<u8>>,
        body_at: usize,
        plain_len: u64,
    ) -> Result<(), OpenError> {
        match (file.len() as u64).cmp(&(body_at as u64 + sealed_len(plain_len))) {
            Ordering::Less => return Err(OpenError::Damaged(Damage::Truncated)),
            Ordering::Greater => return Err(OpenError::Damaged(Damage::Body)),
            Ordering::Equal => {}
        }
        self.open_plain(file, body_at)?;
        let len = payload_len(file)?;
        file.truncate(len);
        Ok(())
    }

    /// Opens all chunks from `body_at` on in place: `file` becomes the plaintext.
    pub(crate) fn open_plain(&self, file: &mut Zeroizing<Vec<u8>>, body_at: usize) -> Result<(), OpenError> {
        let mut opening = self.opening();
        let (mut from, mut to) = (body_at, 0);
        while let Some(len) = opening.open_next(file.get_mut(from..).unwrap_or_default())? {
            file.copy_within(from..from + len, to);
            from += SEALED_CHUNK_LEN;
            to += len;
        }
        file.truncate(to);
        Ok(())
    }

    /// Opens a body from a reader; holds only authenticated content and one chunk. Its plaintext
    /// has `plain_len` bytes. Reads nothing behind it.
    pub(crate) fn open_from(
        &self,
        body: &mut impl Read,
        plain_len: u64,
    ) -> io::Result<Result<Zeroizing<Vec<u8>>, OpenError>> {
        let mut opening = self.opening();
        let mut plain = Zeroizing::new(Vec::new());
        let mut chunk = Zeroizing::new(vec![0; SEALED_CHUNK_LEN]);
        let mut left = sealed_len(plain_len);
        while left > 0 {
            let len = left.min(SEALED_CHUNK_LEN as u64) as usize;
            if read_full(body, &mut chunk[..len])? < len {
                return Ok(Err(OpenError::Damaged(Damage::Truncated)));
            }
            left -= len as u64;
            let mut front = PrefixBuf { len, bytes: &mut chunk[..] };
            if let Err(damage) = opening.open_chunk(&mut front, left == 0) {
                return Ok(Err(damage));
            }
            append_wiped(&mut plain, front.as_ref());
        }
        Ok(payload_len(&plain).map(|len| {
            plain.truncate(len);
            plain
        }))
    }

    /// Opens one chunk by its number; `is_last` if no other follows.
    pub(crate) fn open_one(&self, number: u32, is_last: bool, chunk: &mut Vec<u8>) -> Result<(), OpenError> {
        let damaged = OpenError::Damaged(Damage::Body);
        let mut nonce = [0; 12];
        nonce[..NONCE_LEN].copy_from_slice(&self.nonce);
        nonce[NONCE_LEN..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(is_last);
        let tag = chunk.split_off(chunk.len().checked_sub(TAG_LEN).ok_or(damaged.clone())?);
        let tag = tag.try_into().map_err(|_| damaged.clone())?;
        crypto::decrypt(&self.key, &nonce, NO_DATA, chunk, &tag).map_err(|_| damaged)
    }

    /// Checks that `body` seals `payload` and nothing follows it.
    pub(crate) fn verify(&self, body: &mut impl Read, payload: &[u8]) -> io::Result<bool> {
        let Some(mut plain) = PaddedPlaintext::new(payload, padded_total(payload.len())) else {
            return Ok(false);
        };
        let mut opening = self.opening();
        let mut expected = Zeroizing::new(Vec::with_capacity(CHUNK_LEN));
        let mut chunk = Zeroizing::new(Vec::with_capacity(SEALED_CHUNK_LEN));
        while plain.left() > 0 {
            expected.clear();
            plain.append_chunk(&mut expected);
            chunk.clear();
            body.take((expected.len() + TAG_LEN) as u64).read_to_end(&mut chunk)?;
            let opened = opening.open_chunk(&mut *chunk, plain.left() == 0);
            if opened.is_err() || *chunk != *expected {
                return Ok(false);
            }
        }
        Ok(body.read(&mut [0])? == 0)
    }

    fn opening(&self) -> BodyOpening {
        BodyOpening { stream: Some(StreamDecryptor::new((&*self.key).into(), (&self.nonce).into())) }
    }
}

/// A body being sealed.
pub(crate) struct BodySealing<'a> {
    /// `None` after the last chunk.
    stream: Option<StreamEncryptor>,
    plain: PaddedPlaintext<'a>,
}

impl BodySealing<'_> {
    /// Seals the next chunk into `chunk`. Returns `false` and leaves `chunk` empty if there is none
    /// left.
    pub(crate) fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, SealError> {
        chunk.clear();
        chunk.reserve_exact(SEALED_CHUNK_LEN); // so that no half-made chunk is left behind by growing
        let Some(mut stream) = self.stream.take() else { return Ok(false) };
        self.plain.append_chunk(chunk);
        if self.plain.left() == 0 {
            stream.encrypt_last_in_place(NO_DATA, chunk)
        } else {
            let result = stream.encrypt_next_in_place(NO_DATA, chunk);
            self.stream = Some(stream);
            result
        }
        .map_err(|_| SealError::TooLarge)?;
        Ok(true)
    }

    /// Returns the length of the whole body, in bytes.
    pub(crate) fn sealed_len(&self) -> usize {
        self.plain.sealed_len()
    }
}

/// Reads until `bytes` is full or the input ends; returns the number of bytes read.
fn read_full(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < bytes.len() {
        match from.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Appends `more` and wipes the memory that a growing vector abandons.
fn append_wiped(to: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    if to.capacity() - to.len() < more.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((to.len() + more.len()).max(2 * to.capacity())));
        larger.extend_from_slice(to);
        core::mem::swap(to, &mut larger);
        larger.clear(); // unused capacity is wiped at once, elements one by one
    }
    to.extend_from_slice(more);
}

/// Checks whether the plaintext of a body can have this length: a padded payload and its length, in
/// at most 2^32 chunks.
pub(crate) fn is_possible_len(plain_len: u64) -> bool {
    let max = u64::from(u32::MAX) * CHUNK_LEN as u64;
    (LENGTH_LEN as u64..=max).contains(&plain_len) && padme_len(plain_len) == plain_len
}

/// Returns the sealed length of a plaintext of this length, in bytes.
pub(crate) fn sealed_len(plain_len: u64) -> u64 {
    plain_len.saturating_add(plain_len.div_ceil(CHUNK_LEN as u64) * TAG_LEN as u64)
}

/// Returns the payload's length in an opened body, after checking the whole padding.
fn payload_len(plain: &[u8]) -> Result<usize, OpenError> {
    let len = unpadded_len(plain)?;
    match padded_total(len) == Some(plain.len()) {
        true => Ok(len),
        false => Err(OpenError::Damaged(Damage::Padding)),
    }
}

/// Returns the length of the content of a padded plaintext, after checking that zeros follow it.
pub(crate) fn unpadded_len(plain: &[u8]) -> Result<usize, OpenError> {
    let damaged = || OpenError::Damaged(Damage::Padding);
    let (padded, length) = plain.split_last_chunk::<LENGTH_LEN>().ok_or_else(damaged)?;
    let len = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| damaged())?;
    let padding = padded.get(len..).ok_or_else(damaged)?;
    padding.iter().all(|byte| *byte == 0).then_some(len).ok_or_else(damaged)
}

pub(crate) fn padded_total(payload_len: usize) -> Option<usize> {
    usize::try_from(total_of(u64::try_from(payload_len).ok()?)?).ok()
}

/// Returns the length of the plaintext of a payload of this length, in bytes.
pub(crate) fn total_of(payload_len: u64) -> Option<u64> {
    payload_len.checked_add(LENGTH_LEN as u64).map(padme_len)
}

/// The plaintext of a body, produced chunk by chunk.
struct PaddedPlaintext<'a> {
    payload: &'a [u8],
    length: [u8; LENGTH_LEN],
    total: usize,
    done: usize,
}

impl<'a> PaddedPlaintext<'a> {
    fn new(payload: &'a [u8], total: Option<usize>) -> Option<Self> {
        let (length, total) = (u64::try_from(payload.len()).ok()?.to_be_bytes(), total?);
        let fits = payload.len().checked_add(LENGTH_LEN)? <= total;
        fits.then_some(Self { payload, length, total, done: 0 })
    }

    fn sealed_len(&self) -> usize {
        self.total.saturating_add(self.total.div_ceil(CHUNK_LEN) * TAG_LEN)
    }

    fn left(&self) -> usize {
        self.total - self.done
    }

    /// Appends the next chunk's plaintext to `out`.
    fn append_chunk(&mut self, out: &mut Vec<u8>) {
        let (from, to) = (self.done, self.done + self.left().min(CHUNK_LEN));
        let length_at = self.total - LENGTH_LEN;
        out.extend_from_slice(clamped_slice(self.payload, from, to));
        let zeros_from = from.max(self.payload.len());
        out.resize(out.len() + to.min(length_at).saturating_sub(zeros_from), 0);
        out.extend_from_slice(clamped_slice(
            &self.length,
            from.saturating_sub(length_at),
            to.saturating_sub(length_at),
        ));
        self.done = to;
    }
}

/// Returns the bytes of `all` within `from..to`; both may lie beyond its end.
fn clamped_slice(all: &[u8], from: usize, to: usize) -> &[u8] {
    &all[from.min(all.len())..to.min(all.len())]
}

/// A body being opened, chunk by chunk.
struct BodyOpening {
    /// `None` after the last chunk.
    stream: Option<StreamDecryptor>,
}

impl BodyOpening {
    /// Opens the chunk at the front of `rest` in place and returns its plaintext length; `None` if
    /// the previous one was the last.
    fn open_next(&mut self, rest: &mut [u8]) -> Result<Option<usize>, OpenError> {
        if self.stream.is_none() {
            return Ok(None);
        }
        let last = rest.len() <= SEALED_CHUNK_LEN;
        let len = rest.len().min(SEALED_CHUNK_LEN);
        let mut chunk = PrefixBuf { bytes: rest, len };
        self.open_chunk(&mut chunk, last)?;
        Ok(Some(chunk.len))
    }

    fn open_chunk(&mut self, chunk: &mut dyn Buffer, last: bool) -> Result<(), OpenError> {
        let damaged = |_| OpenError::Damaged(Damage::Body);
        let mut stream = self.stream.take().ok_or(OpenError::Damaged(Damage::Body))?;
        if last {
            return stream.decrypt_last_in_place(NO_DATA, chunk).map_err(damaged);
        }
        let result = stream.decrypt_next_in_place(NO_DATA, chunk).map_err(damaged);
        self.stream = Some(stream);
        result
    }
}

/// The front of a slice, as a buffer for decryption in place.
struct PrefixBuf<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl AsRef<[u8]> for PrefixBuf<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsMut<[u8]> for PrefixBuf<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Buffer for PrefixBuf<'_> {
    fn extend_from_slice(&mut self, _other: &[u8]) -> aead::Result<()> {
        Err(aead::Error) // opening never grows
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> BodyKey {
        BodyKey { key: Secret::new([1; 32]), nonce: [2; NONCE_LEN] }
    }

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let mut sealing = key().sealing_padded(payload, padded_total(payload.len()).unwrap()).unwrap();
        let (mut out, mut chunk) = (Vec::new(), Vec::new());
        while sealing.next_chunk(&mut chunk).unwrap() {
            out.extend_from_slice(&chunk);
        }
        assert_eq!(out.len(), sealing.sealed_len());
        out
    }

    /// Returns the length of the plaintext of a payload of `len` bytes.
    fn total(len: usize) -> u64 {
        padded_total(len).unwrap() as u64
    }

    /// Opens a body whose payload had `len` bytes.
    fn opened(key: &BodyKey, body: &[u8], len: usize) -> Result<Vec<u8>, OpenError> {
        let mut file = Zeroizing::new([b"header", body].concat());
        key.open(&mut file, 6, total(len)).map(|()| file.to_vec())
    }

    /// Opens it from a reader, and chunk by chunk in any order, which must agree.
    fn read(key: &BodyKey, mut body: &[u8], len: usize) -> Result<Vec<u8>, OpenError> {
        let mut plain = Vec::new();
        let chunks = body.chunks(SEALED_CHUNK_LEN).enumerate();
        let single = chunks.map(|(number, chunk)| {
            let mut chunk = chunk.to_vec();
            let is_last = (number + 1) * CHUNK_LEN >= total(len) as usize;
            key.open_one(number as u32, is_last, &mut chunk).map(|()| plain.extend(chunk))
        });
        let single: Result<Vec<()>, OpenError> = single.collect();
        let opened = key.open_from(&mut body, total(len)).unwrap();
        if let Ok(opened) = &opened {
            assert!(single.is_ok());
            assert_eq!((plain.len() as u64, &plain[..len]), (total(len), &opened[..]));
        }
        opened.map(|plain| plain.to_vec())
    }

    fn seals(mut body: &[u8], payload: &[u8]) -> bool {
        key().verify(&mut body, payload).unwrap()
    }

    #[test]
    fn payloads_around_the_edges_of_chunks_come_back() {
        let edges =
            (0..20).chain((1..4).flat_map(|n| n * CHUNK_LEN - 20..n * CHUNK_LEN + 4)).chain([300_000]);
        for len in edges {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
            let body = sealed(&payload);
            assert_eq!(opened(&key(), &body, len).unwrap(), payload, "{len}");
            assert_eq!(read(&key(), &body, len).unwrap(), payload, "{len}");
            let cut = &body[..body.len() - 1];
            assert_eq!(read(&key(), cut, len), opened(&key(), cut, len), "{len}");
            assert!(seals(&body, &payload), "{len}");
            let other = [payload.as_slice(), &[0]].concat();
            assert!(!seals(&body, &other), "{len}");
            assert!(!seals(&body[..body.len() - 1], &payload), "{len}");
            assert!(!seals(&[body.as_slice(), &[0]].concat(), &payload), "{len}");
        }
    }

    #[test]
    fn chunks_exchanged_cut_or_under_another_key_are_refused() {
        let body = sealed(&vec![7; 200_000]);
        let mut exchanged = body.clone();
        let (first, second) = exchanged.split_at_mut(SEALED_CHUNK_LEN);
        first.swap_with_slice(&mut second[..SEALED_CHUNK_LEN]);
        let damaged = Err(OpenError::Damaged(Damage::Body));
        let opened = |key: &BodyKey, body: &[u8]| opened(key, body, 200_000);
        let read = |key: &BodyKey, body: &[u8]| read(key, body, 200_000);
        assert_eq!(opened(&key(), &exchanged), damaged);
        assert_eq!(read(&key(), &exchanged), damaged);
        assert_eq!(opened(&key(), &[body.as_slice(), &[0]].concat()), damaged);
        let other = BodyKey { nonce: [4; NONCE_LEN], ..key() };
        assert_eq!((opened(&other, &body), read(&other, &body)), (damaged.clone(), damaged.clone()));
        let repeated = [&body[..SEALED_CHUNK_LEN], &body[..body.len() - SEALED_CHUNK_LEN]].concat();
        assert_eq!((opened(&key(), &repeated), read(&key(), &repeated)), (damaged.clone(), damaged));
    }

    #[test]
    fn what_is_cut_short_is_told_from_what_was_changed() {
        for len in [0, 200_000] {
            let body = sealed(&vec![7; len]);
            for cut in (0..body.len()).step_by(if len == 0 { 1 } else { 997 }).chain([body.len() - 1]) {
                let truncated = Err(OpenError::Damaged(Damage::Truncated));
                assert_eq!(opened(&key(), &body[..cut], len), truncated, "{cut}");
                assert_eq!(read(&key(), &body[..cut], len), truncated, "{cut}");
            }
        }
    }

    #[test]
    fn a_chunk_opens_only_as_the_one_that_it_is() {
        let body = sealed(&vec![7; 200_000]);
        let open = |at: usize, number, is_last| {
            let mut chunk = body.chunks(SEALED_CHUNK_LEN).nth(at).unwrap().to_vec();
            key().open_one(number, is_last, &mut chunk).is_ok()
        };
        for at in 0..4 {
            for number in 0..5 {
                for is_last in [false, true] {
                    let is_it = number as usize == at && is_last == (at == 3);
                    assert_eq!(open(at, number, is_last), is_it, "{at} {number} {is_last}");
                }
            }
        }
        assert!(key().open_one(0, true, &mut vec![0; TAG_LEN - 1]).is_err());
    }

    #[test]
    fn keys_of_bodies_follow_from_all_that_they_are_made_of() {
        let derive = |master: u8, id: u8, salt: u8| BodyKey::derive(&[master; 32], &[id; 16], &[salt; 32]);
        let (one, again) = (derive(1, 2, 3), derive(1, 2, 3));
        assert_eq!((&*one.key, one.nonce), (&*again.key, again.nonce));
        assert!(*one.key != [0; 32] && one.nonce != [0; NONCE_LEN]);
        for other in [derive(9, 2, 3), derive(1, 9, 3), derive(1, 2, 9)] {
            assert!(*other.key != *one.key && other.nonce != one.nonce);
        }
    }

    #[test]
    fn what_is_appended_stands_behind_what_was_there() {
        let (mut to, mut expected) = (Zeroizing::new(Vec::new()), Vec::new());
        for len in [0, 3, 1, 100, 100, 5000] {
            let more = vec![len as u8; len];
            append_wiped(&mut to, &more);
            expected.extend(more);
            assert_eq!(*to, expected);
        }
        assert!(to.capacity() >= 5204);
        to.truncate(5000);
        let place = to.as_ptr();
        append_wiped(&mut to, &[1; 204]);
        assert_eq!((to.as_ptr(), to.len()), (place, 5204), "where there is room it is not moved");
    }

    #[test]
    fn a_length_that_no_body_has_is_told_without_a_key() {
        for len in (0..3000).chain([65_527, 65_528, 65_529, 200_000]) {
            assert!(is_possible_len(total(len)), "{len}");
            assert_eq!(sealed_len(total(len)), sealed(&vec![1; len]).len() as u64, "{len}");
        }
        let possible = (0..200_000).filter(|len| is_possible_len(*len)).count();
        assert!(possible < 1000, "{possible}");
        assert!(!is_possible_len(7) && is_possible_len(8) && !is_possible_len(u64::MAX));
    }

    #[test]
    fn padding_must_be_zeros_of_the_right_number() {
        let plain =
            |payload: &[u8], zeros: usize, len: u64| [payload, &vec![0; zeros], &len.to_be_bytes()].concat();
        // 9 bytes and their length make 17, padded to 18.
        assert_eq!(payload_len(&plain(&[1; 9], 1, 9)), Ok(9));
        for wrong in [
            plain(&[1; 9], 2, 9),
            plain(&[1; 9], 0, 9),
            plain(&[1; 10], 0, 9),
            plain(&[1; 9], 1, 11),
            plain(&[1; 9], 1, u64::MAX),
        ] {
            assert_eq!(payload_len(&wrong), Err(OpenError::Damaged(Damage::Padding)), "{wrong:?}");
        }
    }
}
