//! The body: the payload in STREAM chunks, under a key derived from the master key and the header's
//! body salt.
//!
//! Plaintext: payload, zeros, and the payload's length in the last 8 bytes; its total length is
//! padded by Padmé (`stronghold_sync::padme_len`). The length is at the end so that neither sealing
//! nor opening has to move the payload. Sealing and verification hold one chunk besides the
//! payload; opening happens in place.

use std::io::{self, Read};

use aes_gcm::aead::{self, Buffer};
use stronghold_sync::padme_len;
use zeroize::Zeroizing;

use crate::error::{Damage, OpenError, SealError};
use crate::format::crypto::{self, Secret, StreamDecryptor, StreamEncryptor, TAG_LEN};

/// Plaintext length of every chunk except the last, which has 1 to this many bytes.
const CHUNK_LEN: usize = 64 * 1024;

const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
const LENGTH_LEN: usize = 8;
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
        let both = crypto::derive::<{ KEY_LEN + NONCE_LEN }>(master, body_salt, &[LABEL, file_id]);
        let mut derived = Self { key: Secret::default(), nonce: [0; NONCE_LEN] };
        derived.key.copy_from_slice(&both[..KEY_LEN]);
        derived.nonce.copy_from_slice(&both[KEY_LEN..]);
        derived
    }

    /// Returns an encoder that seals `payload` chunk by chunk.
    pub(crate) fn sealing<'a>(&self, payload: &'a [u8]) -> Result<BodySealing<'a>, SealError> {
        Ok(BodySealing {
            stream: Some(StreamEncryptor::new((&*self.key).into(), (&self.nonce).into())),
            plain: PaddedPlaintext::new(payload).ok_or(SealError::TooLarge)?,
        })
    }

    /// Opens the body at `body_at` in place: `file` becomes the payload.
    pub(crate) fn open(&self, file: &mut Zeroizing<Vec<u8>>, body_at: usize) -> Result<(), OpenError> {
        if !plausible_len(file.len().saturating_sub(body_at)) {
            return Err(OpenError::Damaged(Damage::Truncated));
        }
        let mut opening = self.opening();
        let (mut from, mut to) = (body_at, 0);
        while let Some(len) = opening.open_next(file.get_mut(from..).unwrap_or_default())? {
            file.copy_within(from..from + len, to);
            from += SEALED_CHUNK_LEN;
            to += len;
        }
        let len = payload_len(&file[..to])?;
        file.truncate(len);
        Ok(())
    }

    /// Opens a body from a reader; holds only authenticated content and one chunk. Returns `None`
    /// if the body exceeds `max` bytes.
    pub(crate) fn open_from(
        &self,
        body: &mut impl Read,
        max: u64,
    ) -> io::Result<Result<Option<Zeroizing<Vec<u8>>>, OpenError>> {
        let mut opening = self.opening();
        let mut plain = Zeroizing::new(Vec::new());
        // Reads one byte beyond a chunk to find out whether it is the last.
        let mut chunk = Zeroizing::new(vec![0; SEALED_CHUNK_LEN + 1]);
        let (mut held, mut read) = (0, 0_u64);
        loop {
            let more = read_full(body, &mut chunk[held..])?;
            read += more as u64;
            if read > max {
                return Ok(Ok(None));
            }
            held += more;
            let last = held <= SEALED_CHUNK_LEN;
            if last && (held <= TAG_LEN || plain.len() + held < LENGTH_LEN + TAG_LEN) {
                return Ok(Err(OpenError::Damaged(Damage::Truncated)));
            }
            let mut front = PrefixBuf { len: held.min(SEALED_CHUNK_LEN), bytes: &mut chunk[..] };
            if let Err(damage) = opening.open_chunk(&mut front, last) {
                return Ok(Err(damage));
            }
            append_wiped(&mut plain, front.as_ref());
            if last {
                break;
            }
            chunk[0] = chunk[SEALED_CHUNK_LEN];
            held = 1;
        }
        Ok(payload_len(&plain).map(|len| {
            plain.truncate(len);
            Some(plain)
        }))
    }

    /// Checks that `body` seals `payload` and nothing follows it.
    pub(crate) fn verify(&self, body: &mut impl Read, payload: &[u8]) -> io::Result<bool> {
        let Some(mut plain) = PaddedPlaintext::new(payload) else { return Ok(false) };
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

/// Checks whether a chunked plaintext can have this length: it holds the length field, and the last
/// chunk is not empty.
fn plausible_len(body_len: usize) -> bool {
    let tags = body_len.div_ceil(SEALED_CHUNK_LEN) * TAG_LEN;
    let last = body_len % SEALED_CHUNK_LEN;
    body_len.checked_sub(tags).is_some_and(|len| len >= LENGTH_LEN) && (last == 0 || last > TAG_LEN)
}

/// Checks whether a body can have this length: a padded payload, in chunks.
pub(crate) fn is_possible_len(len: u64) -> bool {
    let Ok(len) = usize::try_from(len) else { return false };
    let plain = len.saturating_sub(len.div_ceil(SEALED_CHUNK_LEN) * TAG_LEN) as u64;
    plausible_len(len) && padme_len(plain) == plain
}

/// Returns the payload's length in an opened body, after checking the whole padding.
fn payload_len(plain: &[u8]) -> Result<usize, OpenError> {
    let damaged = || OpenError::Damaged(Damage::Padding);
    let (padded, length) = plain.split_last_chunk::<LENGTH_LEN>().ok_or_else(damaged)?;
    let len = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| damaged())?;
    let padding = padded.get(len..).ok_or_else(damaged)?;
    let expected = padded_total(len).ok_or_else(damaged)?;
    match expected == plain.len() && padding.iter().all(|byte| *byte == 0) {
        true => Ok(len),
        false => Err(damaged()),
    }
}

fn padded_total(payload_len: usize) -> Option<usize> {
    let len = payload_len.checked_add(LENGTH_LEN)?;
    usize::try_from(padme_len(u64::try_from(len).ok()?)).ok()
}

/// The plaintext of a body, produced chunk by chunk.
struct PaddedPlaintext<'a> {
    payload: &'a [u8],
    length: [u8; LENGTH_LEN],
    total: usize,
    done: usize,
}

impl<'a> PaddedPlaintext<'a> {
    fn new(payload: &'a [u8]) -> Option<Self> {
        let length = u64::try_from(payload.len()).ok()?.to_be_bytes();
        Some(Self { payload, length, total: padded_total(payload.len())?, done: 0 })
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
        let mut sealing = key().sealing(payload).unwrap();
        let (mut out, mut chunk) = (Vec::new(), Vec::new());
        while sealing.next_chunk(&mut chunk).unwrap() {
            out.extend_from_slice(&chunk);
        }
        assert_eq!(out.len(), sealing.sealed_len());
        out
    }

    fn opened(key: &BodyKey, body: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut file = Zeroizing::new([b"header", body].concat());
        key.open(&mut file, 6).map(|()| file.to_vec())
    }

    /// Opens the body both in place and from a reader, which must agree.
    fn read(key: &BodyKey, body: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut body_left = body;
        let opened = key.open_from(&mut body_left, body.len() as u64).unwrap();
        assert_eq!(
            key.open_from(&mut &body[..], body.len().saturating_sub(1) as u64).unwrap().ok().flatten(),
            None
        );
        opened.map(|plain| plain.unwrap().to_vec())
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
            assert_eq!(opened(&key(), &body).unwrap(), payload, "{len}");
            assert_eq!(read(&key(), &body).unwrap(), payload, "{len}");
            let cut = &body[..body.len() - 1];
            assert_eq!(read(&key(), cut), opened(&key(), cut), "{len}");
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
        assert_eq!(opened(&key(), &exchanged), damaged);
        assert_eq!(read(&key(), &exchanged), damaged);
        assert_eq!(read(&key(), &body[..SEALED_CHUNK_LEN * 2]), damaged);
        assert_eq!(read(&key(), &[body.as_slice(), &[0; 100_000]].concat()), damaged);
        assert_eq!(opened(&key(), &body[..SEALED_CHUNK_LEN * 2]), damaged);
        assert_eq!(opened(&key(), &body[SEALED_CHUNK_LEN..]), damaged);
        let other = BodyKey { nonce: [4; NONCE_LEN], ..key() };
        assert_eq!(opened(&other, &body), damaged);
    }

    #[test]
    fn what_is_cut_short_is_told_from_what_was_changed() {
        let truncated = Err(OpenError::Damaged(Damage::Truncated));
        let body = sealed(b"");
        assert_eq!(body.len(), LENGTH_LEN + TAG_LEN);
        for len in 0..body.len() {
            assert_eq!(opened(&key(), &body[..len]), truncated, "{len}");
            assert_eq!(read(&key(), &body[..len]), truncated, "{len}");
        }
        let body = sealed(&vec![7; 200_000]);
        for chunks in 1..3 {
            for more in 1..=TAG_LEN {
                let cut = &body[..chunks * SEALED_CHUNK_LEN + more];
                assert_eq!((opened(&key(), cut), read(&key(), cut)), (truncated.clone(), truncated.clone()));
            }
            let cut = &body[..chunks * SEALED_CHUNK_LEN + TAG_LEN + 1];
            let damaged = Err(OpenError::Damaged(Damage::Body));
            assert_eq!((opened(&key(), cut), read(&key(), cut)), (damaged.clone(), damaged));
        }
        for (len, expected) in [
            (0, false),
            (23, false),
            (24, true),
            (SEALED_CHUNK_LEN, true),
            (SEALED_CHUNK_LEN + 1, false),
            (SEALED_CHUNK_LEN + TAG_LEN, false),
            (SEALED_CHUNK_LEN + TAG_LEN + 1, true),
            (2 * SEALED_CHUNK_LEN, true),
        ] {
            assert_eq!(plausible_len(len), expected, "{len}");
        }
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
            assert!(is_possible_len(sealed(&vec![1; len]).len() as u64), "{len}");
        }
        let body = sealed(&vec![1; 200_000]).len() as u64;
        let impossible = (0..body).filter(|len| !is_possible_len(*len)).count() as u64;
        assert!(impossible > body * 9 / 10, "{impossible} of {body}");
        assert!(!is_possible_len(0) && !is_possible_len(u64::MAX) && !is_possible_len(body - 1));
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
