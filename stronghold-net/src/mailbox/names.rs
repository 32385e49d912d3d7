//! Names of the objects in a mailbox. To everyone but the pair they are random bytes; the pair
//! reads writer, kind and number from them, so a listing tells which objects to get.

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use hkdf::Hkdf;
use sha2::Sha256;
use stronghold_sync::{DeviceId, hex, mailbox::Point};
use stronghold_vault::{RandomnessError, Rendezvous, random};
use zeroize::Zeroizing;

pub(super) const NONCE_LEN: usize = 12;
pub(super) const TAG_LEN: usize = 16;
/// Writer, kind, number and id.
const PLAIN_LEN: usize = 1 + 1 + 8 + 8;
const SEALED_LEN: usize = NONCE_LEN + PLAIN_LEN + TAG_LEN;

/// Length of an object's name, in characters: hexadecimal digits.
pub const NAME_LEN: usize = 2 * SEALED_LEN;

/// The device of a pair that writes an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// The device with the smaller id.
    Smaller,
    /// The device with the larger id.
    Larger,
}

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// The state of a device: the letters that it has taken, and the key for those that come.
    Card,
    /// Entries, sealed to the other device.
    Letter,
}

/// The content of an object's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// The device that writes the object.
    pub writer: Writer,
    /// The kind of the object.
    pub kind: ObjectKind,
    /// The number of the object among those of its writer and kind, and its random id.
    pub point: Point,
}

/// The secrets of a pair's mailbox, derived from the secret of its pairing.
pub struct PairKeys {
    names: Zeroizing<[u8; 32]>,
    cards: Zeroizing<[u8; 32]>,
    letters: Zeroizing<[u8; 32]>,
    folder: [u8; 16],
    own: Writer,
}

impl PairKeys {
    /// Derives the secrets by HKDF-SHA-256 (RFC 5869). Another pairing of the two devices makes
    /// others.
    pub fn new(pairing: &Rendezvous, own: &DeviceId, peer: &DeviceId) -> Self {
        let prk = Hkdf::<Sha256>::new(None, pairing.as_bytes());
        let [mut names, mut cards, mut letters] = [(); 3].map(|()| Zeroizing::new([0; 32]));
        let mut folder = [0; 16];
        let labels: [(&[u8], &mut [u8]); 4] = [
            (b"stronghold/mailbox/names/v1", names.as_mut_slice()),
            (b"stronghold/mailbox/cards/v1", cards.as_mut_slice()),
            (b"stronghold/mailbox/letters/v1", letters.as_mut_slice()),
            (b"stronghold/mailbox/folder/v1", &mut folder),
        ];
        for (label, out) in labels {
            let expanded = prk.expand(label, out);
            debug_assert!(expanded.is_ok(), "32 bytes are never too many");
        }
        let own = if own < peer { Writer::Smaller } else { Writer::Larger };
        Self { names, cards, letters, folder, own }
    }

    /// Returns the name of the pair's folder in a store: a pseudonym of 32 hexadecimal digits,
    /// equal on both devices.
    pub fn folder(&self) -> String {
        hex::text(&self.folder)
    }

    /// Returns this device as a writer.
    pub fn own(&self) -> Writer {
        self.own
    }

    /// Returns a new name of an object. Each call returns another one.
    ///
    /// # Errors
    /// [`RandomnessError`].
    pub fn seal_name(&self, name: &ObjectName) -> Result<String, RandomnessError> {
        let nonce = random()?;
        self.seal_with(name, &nonce).ok_or(RandomnessError::UNUSABLE)
    }

    /// Reads a name from a listing. Returns `None` for the name of an object that is not of this
    /// pair.
    pub fn open_name(&self, name: &str) -> Option<ObjectName> {
        let sealed = hex::read::<SEALED_LEN>(name).filter(|sealed| hex::text(sealed) == name)?;
        let plain = open(&self.names, "", &sealed)?;
        ObjectName::from_bytes(plain.as_slice().try_into().ok()?)
    }

    /// Returns the key under which cards are sealed.
    pub(super) fn cards(&self) -> &[u8; 32] {
        &self.cards
    }

    /// Returns the key under which letters are sealed once more.
    pub(super) fn letters(&self) -> &[u8; 32] {
        &self.letters
    }

    /// Seals a name under a given nonce.
    pub(crate) fn seal_with(&self, name: &ObjectName, nonce: &[u8; NONCE_LEN]) -> Option<String> {
        Some(hex::text(&seal(&self.names, "", nonce, name.to_bytes().to_vec())?))
    }
}

/// Encrypts and authenticates bytes by AES-256-GCM, with a name as associated data. Returns the
/// nonce, then the rest; `None` if it is too long.
pub(super) fn seal(
    key: &[u8; 32],
    name: &str,
    nonce: &[u8; NONCE_LEN],
    mut plain: Vec<u8>,
) -> Option<Vec<u8>> {
    Aes256Gcm::new(key.into()).encrypt_in_place(nonce.into(), name.as_bytes(), &mut plain).ok()?;
    Some([nonce, plain.as_slice()].concat())
}

/// Decrypts and checks what [`seal`] returned; `None` if it is damaged or of another key or name.
pub(super) fn open(key: &[u8; 32], name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = rest.to_vec();
    Aes256Gcm::new(key.into()).decrypt_in_place(nonce.into(), name.as_bytes(), &mut plain).ok()?;
    Some(plain)
}

impl std::fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PairKeys(..)")
    }
}

impl ObjectName {
    fn to_bytes(self) -> [u8; PLAIN_LEN] {
        let mut bytes = [0; PLAIN_LEN];
        bytes[0] = (self.writer == Writer::Larger).into();
        bytes[1] = (self.kind == ObjectKind::Letter).into();
        bytes[2..10].copy_from_slice(&self.point.number.to_be_bytes());
        bytes[10..].copy_from_slice(&self.point.id);
        bytes
    }

    fn from_bytes(bytes: &[u8; PLAIN_LEN]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (number, id) = rest.split_first_chunk::<8>()?;
        let writer = [Writer::Smaller, Writer::Larger].get(usize::from(head[0])).copied()?;
        let kind = [ObjectKind::Card, ObjectKind::Letter].get(usize::from(head[1])).copied()?;
        let point = Point { number: u64::from_be_bytes(*number), id: id.try_into().ok()? };
        Some(Self { writer, kind, point })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn keys(secret: u8) -> PairKeys {
        let [own, peer] = [[1; 32], [2; 32]].map(DeviceId::from_bytes);
        PairKeys::new(&Rendezvous::from_bytes([secret; 32]), &own, &peer)
    }

    fn names() -> Vec<ObjectName> {
        let point = Point { number: 0x0102_0304_0506_0708, id: [9; 8] };
        let mut names = Vec::new();
        for writer in [Writer::Smaller, Writer::Larger] {
            for kind in [ObjectKind::Card, ObjectKind::Letter] {
                names.extend([Point::default(), point].map(|point| ObjectName { writer, kind, point }));
            }
        }
        names
    }

    #[test]
    fn both_devices_have_one_folder_and_read_each_others_names() {
        let [one, two] = [[1; 32], [2; 32]].map(DeviceId::from_bytes);
        let pairing = Rendezvous::from_bytes([5; 32]);
        let (here, there) = (PairKeys::new(&pairing, &one, &two), PairKeys::new(&pairing, &two, &one));
        assert_eq!((here.own(), there.own()), (Writer::Smaller, Writer::Larger));
        assert_eq!(here.folder(), there.folder());
        let mut seen = BTreeSet::new();
        for name in names() {
            for _ in 0..2 {
                let text = here.seal_name(&name).unwrap();
                assert_eq!(text.len(), NAME_LEN);
                assert_eq!(there.open_name(&text), Some(name));
                assert!(seen.insert(text), "no two names are alike");
            }
        }
        assert_eq!(format!("{here:?}"), "PairKeys(..)");
    }

    #[test]
    fn a_changed_name_and_one_of_another_pair_are_none_of_this_pair() {
        let name = names()[7];
        let text = keys(5).seal_name(&name).unwrap();
        assert_ne!(keys(5).folder(), keys(6).folder());
        assert_eq!(keys(6).open_name(&text), None);
        for at in 0..text.len() {
            assert_eq!(keys(5).open_name(&text[..at]), None, "{at} characters");
            for digit in ["0", "f", "F", "é"] {
                let changed = [&text[..at], digit, &text[at + 1..]].concat();
                assert!(changed == text || keys(5).open_name(&changed).is_none(), "{changed}");
            }
        }
        for other in [format!("{text} (conflicted copy)"), text.to_uppercase(), format!("{text}0")] {
            assert_eq!(keys(5).open_name(&other), None, "{other}");
        }
    }

    #[test]
    fn a_writer_or_kind_that_does_not_exist_is_no_name() {
        for at in 0..2 {
            let mut bytes = names()[0].to_bytes();
            bytes[at] = 2;
            assert_eq!(ObjectName::from_bytes(&bytes), None);
        }
    }
}
