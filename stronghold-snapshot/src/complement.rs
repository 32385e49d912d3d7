//! Complements: entries that one side lacks, sealed to the receiver's key and signed by the sender.
//!
//! A complement is a sealed snapshot with one recipient slot. Its payload names the sender, the
//! receiver and the request that it answers, so it is self-contained outside a channel too: any
//! storage may carry it. The receiver opens it with a [`ComplementReceiver`], which accepts each
//! complement once, in answer to its own request, for as long as it keeps the one-time key. No
//! clock is involved, least of all the sender's.

mod content;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stronghold_sync::DeviceId;
use stronghold_vault::{DecodeError, Entry, Identity, PublicIdentity};
use thiserror::Error;

use crate::error::{OpenError, SealError};
use crate::format::recipient::{RecipientPublicKey, RecipientSecretKey};
use crate::format::sealed::{self};
use crate::format::slot::{NewSlot, Unlock};

const SIGNED: &[u8] = b"stronghold/complement/v1";
const SIGNATURE_LEN: usize = 64;

/// The sender and receiver of a complement, and the request that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The sender, who signs the complement.
    pub sender: DeviceId,
    /// The receiver.
    pub receiver: DeviceId,
    /// The request: 32 bytes that both sides derive from it, fresh each time.
    #[serde(with = "serde_bytes")]
    pub request: [u8; 32],
    /// Index of the complement among those that answer the request, from zero.
    pub index: u64,
}

/// An error of opening a complement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ComplementError {
    /// The complement is not sealed to this key, or is damaged.
    #[error("the complement can't be opened: {0}")]
    Open(#[from] OpenError),
    /// The sealed content is not a complement.
    #[error(transparent)]
    Payload(#[from] DecodeError),
    /// The sender's signature is missing or invalid.
    #[error("the complement is not signed by its sender")]
    Signature,
    /// The complement is of another sender, for another receiver or request, or out of order.
    #[error("the complement does not answer this request")]
    NotThisRequest,
}

/// The receiver's state for one request: the one-time key and the index of the next complement.
/// Accepts each complement once, in order; any other is refused and changes nothing.
#[derive(Debug)]
pub struct ComplementReceiver {
    secret: RecipientSecretKey,
    sender: PublicIdentity,
    receiver: DeviceId,
    request: [u8; 32],
    next: u64,
}

/// Seals entries to a receiver's key, signed by `sender`: at most
/// [`BATCH_ENTRIES`](stronghold_sync::session::BATCH_ENTRIES).
///
/// # Errors
/// [`SealError`].
pub fn seal_complement(
    entries: &[Entry],
    to: &RecipientPublicKey,
    sender: &Identity,
    manifest: &Manifest,
) -> Result<Vec<u8>, SealError> {
    let mut payload = content::encode(SIGNATURE_LEN, manifest, entries)?;
    let (signature, content) = payload.split_at_mut(SIGNATURE_LEN);
    signature.copy_from_slice(&sender.sign(&to_sign(content)));
    sealed::seal(&[NewSlot::RecipientOnce(to)], &payload)
}

/// Opens a complement in place. It must match `expected`.
///
/// # Errors
/// [`ComplementError`].
pub fn open_complement(
    sealed: Vec<u8>,
    secret: &RecipientSecretKey,
    sender: &PublicIdentity,
    expected: &Manifest,
) -> Result<Vec<Entry>, ComplementError> {
    let payload = sealed::open_alone(sealed, &Unlock::Recipient(secret))?.payload;
    let (signature, content) = payload.split_at_checked(SIGNATURE_LEN).ok_or(ComplementError::Signature)?;
    sender.verify(&to_sign(content), signature).map_err(|_| ComplementError::Signature)?;
    let (manifest, entries) = content::parse(content)?;
    if manifest != *expected || sender.device() != manifest.sender {
        return Err(ComplementError::NotThisRequest);
    }
    Ok(entries)
}

impl ComplementReceiver {
    /// Creates the state for the answer of `sender` to `request`, sealed to this one-time key, for
    /// this device. `request` is 32 bytes unique to the request, such as a hash of it and of the
    /// key.
    pub fn new(
        secret: RecipientSecretKey,
        sender: PublicIdentity,
        receiver: DeviceId,
        request: [u8; 32],
    ) -> Self {
        Self { secret, sender, receiver, request, next: 0 }
    }

    /// Restores the state after the first `taken` complements, as [`taken`](Self::taken) returned
    /// it: for a program that continues in a later run.
    pub fn with_taken(self, taken: u64) -> Self {
        Self { next: taken, ..self }
    }

    /// Returns the number of complements taken. Store it together with their entries.
    pub fn taken(&self) -> u64 {
        self.next
    }

    /// Returns the 32 bytes of the request.
    pub fn request(&self) -> &[u8; 32] {
        &self.request
    }

    /// Opens the next complement in place.
    ///
    /// # Errors
    /// [`ComplementError`] if it is not the next one for this receiver, of this sender, in answer
    /// to this request. The right one can still be opened afterwards.
    pub fn open(&mut self, sealed: Vec<u8>) -> Result<Vec<Entry>, ComplementError> {
        let expected = Manifest {
            sender: self.sender.device(),
            receiver: self.receiver,
            request: self.request,
            index: self.next,
        };
        let entries = open_complement(sealed, &self.secret, &self.sender, &expected)?;
        self.next += 1;
        Ok(entries)
    }
}

fn to_sign(content: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(SIGNED).chain_update(content).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stronghold_sync::Timestamp;
    use stronghold_vault::{Labels, Revision};

    fn entry() -> Entry {
        let revision = Revision {
            salt: [1; 32],
            author: stronghold_sync::DeviceId::from_bytes([2; 32]),
            ancestors: stronghold_sync::Ancestors::default(),
            deleted: false,
            labels: Labels::new(),
            time: Timestamp::from_millis(1),
            value: b"hunter2".to_vec().into(),
        };
        Entry { location: "a/b/c".parse().unwrap(), revision }
    }

    /// A request with both its ends.
    struct Letter {
        sender: Identity,
        receiver: Identity,
        secret: RecipientSecretKey,
    }

    impl Letter {
        fn new() -> Self {
            let (sender, receiver) = (Identity::generate().unwrap(), Identity::generate().unwrap());
            Self { sender, receiver, secret: RecipientSecretKey::generate().unwrap() }
        }

        fn awaited(&self) -> ComplementReceiver {
            let sender = self.sender.public().clone();
            ComplementReceiver::new(self.secret.clone(), sender, self.receiver.device(), [7; 32])
        }

        fn manifest(&self, index: u64) -> Manifest {
            let (sender, receiver) = (self.sender.device(), self.receiver.device());
            Manifest { sender, receiver, request: [7; 32], index }
        }

        fn sealed(&self, manifest: &Manifest) -> Vec<u8> {
            seal_complement(&[entry()], &self.secret.public(), &self.sender, manifest).unwrap()
        }
    }

    #[test]
    fn what_is_signed_begins_with_what_it_is_signed_for() {
        let hash = to_sign(b"content").map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hash, "ebc9ceab815f8a488ab4eb9c5cbbd3ab51cd06a03839a22e2bb192f169c668fc");
    }

    #[test]
    fn each_is_taken_once_and_in_turn() {
        let letter = Letter::new();
        let [first, second] = [0, 1].map(|index| letter.sealed(&letter.manifest(index)));
        let mut awaited = letter.awaited();
        assert_eq!(awaited.taken(), 0);
        assert_eq!(awaited.open(second.clone()), Err(ComplementError::NotThisRequest), "before its turn");
        assert_eq!(awaited.open(first.clone()).unwrap(), [entry()]);
        assert_eq!(awaited.open(first.clone()), Err(ComplementError::NotThisRequest), "replayed");
        assert_eq!(awaited.taken(), 1, "what is refused changes nothing");
        assert_eq!(awaited.request(), &[7; 32]);
        // A later run of the program has only kept the key's 32 bytes and the number taken.
        let secret = RecipientSecretKey::from_bytes(&*letter.secret.to_bytes()).unwrap();
        let mut awaited = ComplementReceiver { secret, ..letter.awaited() }.with_taken(awaited.taken());
        assert_eq!(awaited.open(first.clone()), Err(ComplementError::NotThisRequest), "replayed later");
        assert_eq!(awaited.open(second).unwrap(), [entry()]);
        assert_eq!(awaited.taken(), 2);
        assert!(!first.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn one_that_is_not_awaited_is_refused_and_the_right_one_still_taken() {
        let letter = Letter::new();
        let other = Letter::new();
        let manifest = letter.manifest(0);
        let sealed = |manifest: Manifest| letter.sealed(&manifest);
        let signed_by_other = seal_complement(&[entry()], &letter.secret.public(), &other.sender, &manifest);
        let to_other = seal_complement(&[entry()], &other.secret.public(), &letter.sender, &manifest);
        let no_complement = sealed::seal(&[NewSlot::RecipientOnce(&letter.secret.public())], b"x").unwrap();
        let refused = [
            (sealed(Manifest { request: [8; 32], ..manifest }), ComplementError::NotThisRequest),
            (sealed(Manifest { sender: other.sender.device(), ..manifest }), ComplementError::NotThisRequest),
            (
                sealed(Manifest { receiver: other.receiver.device(), ..manifest }),
                ComplementError::NotThisRequest,
            ),
            (signed_by_other.unwrap(), ComplementError::Signature),
            (to_other.unwrap(), ComplementError::Open(OpenError::WrongKey)),
            (Vec::new(), ComplementError::Open(OpenError::NotASnapshot)),
            (no_complement, ComplementError::Signature),
        ];
        let mut awaited = letter.awaited();
        for (sealed, reason) in refused {
            assert_eq!(awaited.open(sealed), Err(reason));
        }
        assert_eq!(awaited.open(sealed(manifest)).unwrap(), [entry()]);
    }

    #[test]
    fn no_bit_of_it_can_be_flipped_and_none_of_it_left_out() {
        let letter = Letter::new();
        let mut sealed = letter.sealed(&letter.manifest(0));
        let mut awaited = letter.awaited();
        for bit in 0..sealed.len() * 8 {
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert!(awaited.open(sealed.clone()).is_err(), "bit {bit}");
            sealed[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..sealed.len() {
            assert!(awaited.open(sealed[..len].to_vec()).is_err(), "{len} bytes");
        }
        assert_eq!(awaited.open(sealed).unwrap(), [entry()]);
    }

    #[test]
    fn it_is_bytes_that_any_place_may_carry() {
        let letter = Letter::new();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("for-the-phone");
        std::fs::write(&file, letter.sealed(&letter.manifest(0))).unwrap();
        // Everything that the receiver keeps, elsewhere: its own key and the sender's identity.
        let (secret, spki) = (letter.secret.to_bytes(), letter.sender.public().spki().to_vec());
        let receiver = letter.receiver.device();
        let taken = std::thread::spawn(move || {
            let sender = PublicIdentity::from_spki(&spki).unwrap();
            let secret = RecipientSecretKey::from_bytes(&*secret).unwrap();
            ComplementReceiver::new(secret, sender, receiver, [7; 32]).open(std::fs::read(file).unwrap())
        });
        assert_eq!(taken.join().unwrap().unwrap(), [entry()]);
    }
}
