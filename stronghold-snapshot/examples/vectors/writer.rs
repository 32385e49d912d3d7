//! A writer of the format, made from FORMAT.md alone. It shares no code with the crate, so that the
//! two do not share errors. Every field can be set to an invalid value.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeS, Serializable, aead::AesGcm256, kdf::HkdfSha256, kem::MlKem768P256};
use sha2::{Digest, Sha256};

pub(crate) const CHUNK: usize = 65_536;

/// The fields of a file.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u16,
    pub(crate) suite: u16,
    pub(crate) file_id: [u8; 16],
    pub(crate) generation: u64,
    pub(crate) parent: [u8; 32],
    pub(crate) salt: [u8; 32],
    pub(crate) slots: Vec<Vec<u8>>,
    /// The highest number that a slot ever had.
    pub(crate) last: u16,
    /// Bytes between the fields and the HMAC; empty in a valid file.
    pub(crate) gap: Vec<u8>,
    pub(crate) count: Option<u8>,
    pub(crate) plain: Vec<u8>,
    /// The length of the plaintext, where the header gives another.
    pub(crate) body_len: Option<u64>,
}

pub(crate) const MASTER: [u8; 32] = *b"the master key of every vector.\n";

impl File {
    /// Creates a file with this payload and these slots.
    pub(crate) fn new(name: &str, payload: &[u8], slots: &[Slot]) -> Self {
        let file_id = random(&format!("file id of {name}"));
        Self {
            magic: *b"\x93SHOLD\r\n",
            version: 1,
            suite: 1,
            slots: slots
                .iter()
                .enumerate()
                .map(|(n, slot)| slot.encode(&format!("{name} {n}"), &file_id, n as u16 + 1))
                .collect(),
            last: slots.len() as u16,
            file_id,
            generation: 1,
            parent: [0; 32],
            salt: random(&format!("body salt of {name}")),
            gap: Vec::new(),
            count: None,
            plain: padded(payload),
            body_len: None,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.header(), self.chunks().concat()].concat()
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let mut content =
            [&self.file_id[..], &self.generation.to_be_bytes(), &self.parent, &self.salt].concat();
        content.extend(self.body_len.unwrap_or(self.plain.len() as u64).to_be_bytes());
        content.push(self.count.unwrap_or(self.slots.len() as u8));
        content.extend(self.last.to_be_bytes());
        content.extend(self.slots.concat());
        content.extend(&self.gap);
        let len = (32 + content.len() + 32) as u32;
        let mut start = self.magic.to_vec();
        start.extend([self.version.to_be_bytes(), self.suite.to_be_bytes()].concat());
        start.extend(len.to_be_bytes());
        let key = expand(&MASTER, &self.file_id, b"stronghold/snapshot/v1/header", 32);
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key).unwrap();
        mac.update(&start);
        mac.update(&content);
        content.extend(mac.finalize().into_bytes());
        with_checksum([start, vec![0; 16], content].concat())
    }

    /// Returns the sealed chunks, each with its tag.
    pub(crate) fn chunks(&self) -> Vec<Vec<u8>> {
        let parts: Vec<&[u8]> = self.plain.chunks(CHUNK).collect();
        let last = parts.len() - 1;
        parts.iter().enumerate().map(|(n, part)| self.chunk(n as u32, n == last, part)).collect()
    }

    pub(crate) fn chunk(&self, counter: u32, last: bool, plain: &[u8]) -> Vec<u8> {
        let info = [b"stronghold/snapshot/v1/body".as_slice(), &self.file_id].concat();
        let both = expand(&MASTER, &self.salt, &info, 39);
        let nonce = [&both[32..], &counter.to_be_bytes(), &[u8::from(last)]].concat();
        seal(&both[..32], &nonce, plain)
    }
}

/// A segment to write behind a base, or behind another segment.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) blocks: u32,
    pub(crate) generation: u64,
    pub(crate) salt: [u8; 32],
    pub(crate) previous: [u8; 32],
    /// The offset for which the key is derived.
    pub(crate) at: u64,
    pub(crate) plain: Vec<u8>,
    file_id: [u8; 16],
    body_salt: [u8; 32],
}

const BLOCK: usize = 4096;

impl File {
    /// Returns the base as it is on disk: with zeros up to a multiple of 4096 bytes.
    pub(crate) fn on_disk(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    /// Returns the segment with this change that follows `before`: the whole file so far.
    pub(crate) fn segment(&self, name: &str, before: &[Segment], change: &[u8]) -> Segment {
        let least = padme(96 + sealed_len(change.len() + 8)).div_ceil(BLOCK);
        let fits = |blocks: &usize| plain_len(blocks * BLOCK - 96).is_some_and(|len| len >= change.len() + 8);
        let blocks = (least..).find(fits).unwrap();
        let mut plain = change.to_vec();
        plain.resize(plain_len(blocks * BLOCK - 96).unwrap() - 8, 0);
        plain.extend((change.len() as u64).to_be_bytes());
        let end = self.on_disk().len() + before.iter().map(|segment| segment.bytes().len()).sum::<usize>();
        let previous = match before.last() {
            Some(last) => Sha256::digest(&last.bytes()[..96]).into(),
            None => Sha256::digest(self.header()).into(),
        };
        Segment {
            blocks: blocks as u32,
            generation: self.generation + before.len() as u64 + 1,
            salt: random(&format!("salt of segment {} of {name}", before.len())),
            previous,
            at: end as u64,
            plain,
            file_id: self.file_id,
            body_salt: self.salt,
        }
    }
}

impl Segment {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut start = b"\x93SEG".to_vec();
        start.extend(self.blocks.to_be_bytes());
        start.extend(self.generation.to_be_bytes());
        let info = [
            b"stronghold/snapshot/v1/segment".as_slice(),
            &self.file_id,
            &self.body_salt,
            &self.at.to_be_bytes(),
            &start,
            &self.previous,
        ];
        let derived = expand(&MASTER, &self.salt, &info.concat(), 55);
        let header = [&start[..], &self.salt, &self.previous, &derived[39..]].concat();
        let parts: Vec<&[u8]> = self.plain.chunks(CHUNK).collect();
        let sealed = parts.iter().enumerate().map(|(n, part)| {
            let last = u8::from(n == parts.len() - 1);
            seal(&derived[..32], &[&derived[32..39], &(n as u32).to_be_bytes(), &[last]].concat(), part)
        });
        [header, sealed.collect::<Vec<_>>().concat()].concat()
    }
}

/// Returns the length of so many bytes in chunks with their tags.
fn sealed_len(plain: usize) -> usize {
    plain + 16 * plain.div_ceil(CHUNK)
}

/// Returns the number of bytes whose chunks and tags take `sealed` bytes.
fn plain_len(sealed: usize) -> Option<usize> {
    (sealed.saturating_sub(16 * (sealed / CHUNK + 2))..sealed).find(|plain| sealed_len(*plain) == sealed)
}

/// A key slot to write.
#[derive(Clone)]
pub(crate) enum Slot {
    Key([u8; 32]),
    Passphrase { passphrase: Vec<u8>, cost: [u32; 3] },
    Recipient([u8; 32]),
    Once([u8; 32]),
}

impl Slot {
    /// Encodes the slot with this number, created one second into 2024, without a label.
    pub(crate) fn encode(&self, name: &str, file_id: &[u8; 16], number: u16) -> Vec<u8> {
        self.encode_with(name, file_id, &trailer(number, 1_704_067_201_000, b""))
    }

    pub(crate) fn encode_with(&self, name: &str, file_id: &[u8; 16], trailer: &[u8]) -> Vec<u8> {
        let salt: [u8; 32] = random(&format!("salt of slot {name}"));
        let (mut fields, secret, salt) = match self {
            Self::Key(key) => ([&[2][..], &salt].concat(), key.to_vec(), salt.to_vec()),
            Self::Passphrase { passphrase, cost: [memory, passes, lanes] } => {
                let params = Params::new(*memory, *passes, *lanes, Some(32)).unwrap();
                let mut secret = vec![0; 32];
                let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                argon.hash_password_into(passphrase, &salt, &mut secret).unwrap();
                let cost = [memory, passes, lanes].map(|field| field.to_be_bytes()).concat();
                let wrap_salt: [u8; 32] = random(&format!("wrapping salt of slot {name}"));
                ([&[1][..], &salt, &cost, &wrap_salt].concat(), secret, wrap_salt.to_vec())
            }
            Self::Recipient(seed) => {
                let (public, encapped, secret) = encapsulate(seed, name, file_id);
                ([vec![3], public, encapped].concat(), secret, Vec::new())
            }
            Self::Once(seed) => {
                let (_, encapped, secret) = encapsulate(seed, name, file_id);
                ([vec![4], encapped].concat(), secret, Vec::new())
            }
        };
        let info = [b"stronghold/snapshot/v1/slot".as_slice(), file_id].concat();
        let keys = expand(&secret, &salt, &info, 64);
        fields.extend(&keys[32..]);
        fields.extend(seal(&keys[..32], &[0; 12], &MASTER));
        fields.extend(trailer);
        fields
    }
}

/// Returns the end of a slot: number, creation time and label.
pub(crate) fn trailer(number: u16, created: u64, label: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &created.to_be_bytes(), &[label.len() as u8], label].concat()
}

/// Returns the public key, an encapsulation to it, and the encapsulated secret.
fn encapsulate(seed: &[u8; 32], name: &str, file_id: &[u8; 16]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let secret = <MlKem768P256 as Kem>::PrivateKey::from_bytes(seed).unwrap();
    let public = MlKem768P256::sk_to_pk(&secret);
    let info = [b"stronghold/snapshot/v1/recipient".as_slice(), file_id].concat();
    let mut fixed = Fixed { label: format!("encapsulation of {name}"), calls: 0 };
    let (encapped, context) = hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, MlKem768P256>(
        &OpModeS::Base,
        &public,
        &info,
        &mut fixed,
    )
    .unwrap();
    let mut exported = vec![0; 32];
    context.export(b"stronghold/snapshot/v1/recipient-secret", &mut exported).unwrap();
    (public.to_bytes().to_vec(), encapped.to_bytes().to_vec(), exported)
}

/// Returns the plaintext of a body: payload, zeros, length.
pub(crate) fn padded(payload: &[u8]) -> Vec<u8> {
    let total = padme(payload.len() + 8);
    let mut plain = payload.to_vec();
    plain.resize(total - 8, 0);
    plain.extend((payload.len() as u64).to_be_bytes());
    plain
}

fn padme(len: usize) -> usize {
    let exponent = len.ilog2();
    let width = if exponent == 0 { 1 } else { exponent.ilog2() + 1 };
    let mask = (1usize << exponent.saturating_sub(width)) - 1;
    (len + mask) & !mask
}

/// Writes the correct checksum into a header.
pub(crate) fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    let hash = Sha256::new().chain_update(&header[..16]).chain_update(&header[32..]).finalize();
    header[16..32].copy_from_slice(&hash[..16]);
    header
}

fn expand(secret: &[u8], salt: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut out).unwrap();
    out
}

fn seal(key: &[u8], nonce: &[u8], plain: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new_from_slice(key).unwrap();
    let nonce = Nonce::from(<[u8; 12]>::try_from(nonce).unwrap());
    let mut text = plain.to_vec();
    let tag = cipher.encrypt_inout_detached(&nonce, &[], text.as_mut_slice().into()).unwrap();
    text.extend(tag);
    text
}

/// Returns deterministic bytes that look random: SHA-256 of a label.
pub(crate) fn random<const N: usize>(label: &str) -> [u8; N] {
    let hash = Sha256::digest(format!("stronghold vectors: {label}"));
    hash[..N].try_into().unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random number generator that always returns the same bytes.
struct Fixed {
    label: String,
    calls: u32,
}

impl TryRng for Fixed {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.calls += 1;
        Ok(u32::from_be_bytes(random(&format!("{} {}", self.label, self.calls))))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from(self.try_next_u32()?) << 32 | u64::from(self.try_next_u32()?))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.try_next_u32()?.to_be_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}
