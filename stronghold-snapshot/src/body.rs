//! The body: the payload in STREAM chunks, under a key that is made for one generation of one file.
//!
//! Plaintext: payload, zeros, and the payload's length in the last 8 bytes; its total length is Padmé's
//! (`stronghold_sync::padded_len`). The length stands at the end so that neither sealing nor opening has to move
//! the payload. Chunks are sealed and opened where they lie.

use aes_gcm::aead::{self, Buffer};
use stronghold_sync::padded_len;
use zeroize::Zeroizing;

use crate::crypto::{self, Secret, StreamDecryptor, StreamEncryptor, TAG_LEN};
use crate::header::Header;
use crate::sealed::{Damage, OpenError, SealError};

/// Plaintext bytes of every chunk but the last, which has 1 to this many.
const CHUNK_LEN: usize = 64 * 1024;

const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
const LENGTH_LEN: usize = 8;
const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 7; // of 12; STREAM keeps 5 for its counter and the mark of the last chunk
const LABEL: &[u8] = b"stronghold/snapshot/v1/body";

/// Seals and opens the body of one generation.
pub(crate) struct BodyKey {
    key: Secret,
    nonce: [u8; NONCE_LEN],
    /// Associated data of every chunk: binds it to every byte of the header.
    header_hash: [u8; 32],
}

impl BodyKey {
    pub(crate) fn derive(master: &Secret, header: &Header, header_hash: [u8; 32]) -> Self {
        let info: [&[u8]; 3] = [LABEL, &header.file_id, &header.generation.to_be_bytes()];
        let both = crypto::derive::<{ KEY_LEN + NONCE_LEN }>(master, &header.body_salt, &info);
        let mut derived = Self { key: Secret::default(), nonce: [0; NONCE_LEN], header_hash };
        derived.key.copy_from_slice(&both[..KEY_LEN]);
        derived.nonce.copy_from_slice(&both[KEY_LEN..]);
        derived
    }

    /// Appends the sealed `payload` to `out`.
    pub(crate) fn seal(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let mut plain = Plain::new(payload).ok_or(SealError::TooLarge)?;
        out.try_reserve_exact(plain.sealed_len()).map_err(|_| SealError::TooLarge)?;
        let mut stream = StreamEncryptor::new((&*self.key).into(), (&self.nonce).into());
        while plain.left() > CHUNK_LEN {
            let mut chunk = Tail::at_end_of(out);
            plain.append_chunk(chunk.vec);
            stream.encrypt_next_in_place(&self.header_hash, &mut chunk).map_err(|_| SealError::TooLarge)?;
        }
        let mut chunk = Tail::at_end_of(out);
        plain.append_chunk(chunk.vec);
        stream.encrypt_last_in_place(&self.header_hash, &mut chunk).map_err(|_| SealError::TooLarge)
    }

    /// Turns `file`, whose body begins at `body_at`, into the payload that the body seals, where it lies.
    pub(crate) fn open(&self, file: &mut Zeroizing<Vec<u8>>, body_at: usize) -> Result<(), OpenError> {
        let mut opening = self.opening(file, body_at)?;
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

    /// Whether the body of `file`, which begins at `body_at`, seals `payload`. Opens it where it lies.
    pub(crate) fn verify(
        &self,
        file: &mut Zeroizing<Vec<u8>>,
        body_at: usize,
        payload: &[u8],
    ) -> Result<bool, OpenError> {
        let Some(mut plain) = Plain::new(payload) else { return Ok(false) };
        let mut opening = self.opening(file, body_at)?;
        let mut expected = Zeroizing::new(Vec::with_capacity(CHUNK_LEN));
        let mut from = body_at;
        while let Some(len) = opening.open_next(file.get_mut(from..).unwrap_or_default())? {
            expected.clear();
            plain.append_chunk(&mut expected);
            if file[from..from + len] != **expected {
                return Ok(false);
            }
            from += SEALED_CHUNK_LEN;
        }
        expected.clear();
        Ok(plain.left() == 0)
    }

    fn opening(&self, file: &[u8], body_at: usize) -> Result<Opening<'_>, OpenError> {
        if !plausible_len(file.len().saturating_sub(body_at)) {
            return Err(OpenError::Damaged(Damage::Truncated));
        }
        let stream = StreamDecryptor::new((&*self.key).into(), (&self.nonce).into());
        Ok(Opening { stream: Some(stream), header_hash: &self.header_hash })
    }
}

/// Whether chunks of a whole plaintext can have this length: the length field fits in.
fn plausible_len(body_len: usize) -> bool {
    let tags = body_len.div_ceil(SEALED_CHUNK_LEN) * TAG_LEN;
    body_len.checked_sub(tags).is_some_and(|len| len >= LENGTH_LEN)
}

/// The payload's length within an opened body, after a check that all of the padding is what it must be.
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
    usize::try_from(padded_len(u64::try_from(len).ok()?)).ok()
}

/// The plaintext of a body, made chunk by chunk.
struct Plain<'a> {
    payload: &'a [u8],
    length: [u8; LENGTH_LEN],
    total: usize,
    done: usize,
}

impl<'a> Plain<'a> {
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
        out.extend_from_slice(part(self.payload, from, to));
        let zeros_from = from.max(self.payload.len());
        out.resize(out.len() + to.min(length_at).saturating_sub(zeros_from), 0);
        out.extend_from_slice(part(
            &self.length,
            from.saturating_sub(length_at),
            to.saturating_sub(length_at),
        ));
        self.done = to;
    }
}

/// The bytes of `all` that lie within `from..to`, where both may lie behind its end.
fn part(all: &[u8], from: usize, to: usize) -> &[u8] {
    &all[from.min(all.len())..to.min(all.len())]
}

/// A body that is being opened, chunk by chunk.
struct Opening<'a> {
    /// None after the last chunk.
    stream: Option<StreamDecryptor>,
    header_hash: &'a [u8; 32],
}

impl Opening<'_> {
    /// Opens the chunk at the front of `rest` in place and gives the length of its plaintext; none if the one
    /// before was the last.
    fn open_next(&mut self, rest: &mut [u8]) -> Result<Option<usize>, OpenError> {
        let Some(mut stream) = self.stream.take() else { return Ok(None) };
        let last = rest.len() <= SEALED_CHUNK_LEN;
        let len = rest.len().min(SEALED_CHUNK_LEN);
        let mut chunk = Front { bytes: rest, len };
        if last {
            stream.decrypt_last_in_place(self.header_hash, &mut chunk)
        } else {
            let result = stream.decrypt_next_in_place(self.header_hash, &mut chunk);
            self.stream = Some(stream);
            result
        }
        .map_err(|_| OpenError::Damaged(Damage::Body))?;
        Ok(Some(chunk.len))
    }
}

/// The front of a slice as the buffer that a cipher opens in.
struct Front<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl AsRef<[u8]> for Front<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsMut<[u8]> for Front<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Buffer for Front<'_> {
    fn extend_from_slice(&mut self, _other: &[u8]) -> aead::Result<()> {
        Err(aead::Error) // opening never grows
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

/// The end of a vector as the buffer that a cipher seals in, so that chunks need no vector of their own.
struct Tail<'a> {
    vec: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Tail<'a> {
    fn at_end_of(vec: &'a mut Vec<u8>) -> Self {
        let start = vec.len();
        Self { vec, start }
    }
}

impl AsRef<[u8]> for Tail<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.vec[self.start..]
    }
}

impl AsMut<[u8]> for Tail<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.vec[self.start..]
    }
}

impl Buffer for Tail<'_> {
    fn extend_from_slice(&mut self, other: &[u8]) -> aead::Result<()> {
        self.vec.extend_from_slice(other);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.vec.truncate(self.start + len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> BodyKey {
        BodyKey { key: Secret::new([1; 32]), nonce: [2; NONCE_LEN], header_hash: [3; 32] }
    }

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        key().seal(payload, &mut out).unwrap();
        out
    }

    fn opened(key: &BodyKey, body: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut file = Zeroizing::new([b"header", body].concat());
        key.open(&mut file, 6).map(|()| file.to_vec())
    }

    fn seals(body: &[u8], payload: &[u8]) -> bool {
        key().verify(&mut Zeroizing::new([b"header", body].concat()), 6, payload).unwrap()
    }

    #[test]
    fn payloads_around_the_edges_of_chunks_come_back() {
        let edges =
            (0..20).chain((1..4).flat_map(|n| n * CHUNK_LEN - 20..n * CHUNK_LEN + 4)).chain([300_000]);
        for len in edges {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
            let body = sealed(&payload);
            assert_eq!(opened(&key(), &body).unwrap(), payload, "{len}");
            assert!(seals(&body, &payload), "{len}");
            let other = [payload.as_slice(), &[0]].concat();
            assert!(!seals(&body, &other), "{len}");
            assert_eq!(body.len(), Plain::new(&payload).unwrap().sealed_len(), "{len}");
        }
    }

    #[test]
    fn chunks_exchanged_cut_or_of_another_header_are_refused() {
        let body = sealed(&vec![7; 200_000]);
        let mut exchanged = body.clone();
        let (first, second) = exchanged.split_at_mut(SEALED_CHUNK_LEN);
        first.swap_with_slice(&mut second[..SEALED_CHUNK_LEN]);
        let damaged = Err(OpenError::Damaged(Damage::Body));
        assert_eq!(opened(&key(), &exchanged), damaged);
        assert_eq!(opened(&key(), &body[..SEALED_CHUNK_LEN * 2]), damaged);
        assert_eq!(opened(&key(), &body[SEALED_CHUNK_LEN..]), damaged);
        let other_header = BodyKey { header_hash: [4; 32], ..key() };
        assert_eq!(opened(&other_header, &body), damaged);
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
