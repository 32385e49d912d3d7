//! Complements: the entries that one side lacks, sealed to the receiver's key and signed by the sender.
//!
//! A complement is a sealed snapshot like any other, with one recipient slot. Its payload names the sender, the
//! receiver, the request that it answers and when it expires, so that it stands on its own outside a channel too.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stronghold_sync::DeviceId;
use stronghold_vault::{Entry, Identity, PublicIdentity, secret_bytes};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::encoding::{BadPayload, decode, encode};
use crate::recipient::{RecipientPublic, RecipientSecret};
use crate::sealed::{self, OpenError, SealError};
use crate::slot::{NewSlot, Unlock};

const SIGNED: &[u8] = b"stronghold/complement/v1";

/// Who sends a complement to whom, and in answer to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The sender, whose signature it carries.
    pub sender: DeviceId,
    /// The receiver.
    pub receiver: DeviceId,
    /// What it answers: 32 bytes that both sides derive from the request, fresh each time.
    #[serde(with = "serde_bytes")]
    pub request: [u8; 32],
    /// Which complement of that request it is, from zero.
    pub index: u64,
    /// Until when it may be taken, in milliseconds since 1970.
    pub expires: u64,
}

/// Why a complement is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ComplementError {
    /// It is not sealed to this key, or damaged.
    #[error("the complement can't be opened")]
    Open(#[from] OpenError),
    /// What was sealed is no complement.
    #[error(transparent)]
    Payload(#[from] BadPayload),
    /// The sender's signature is not on it.
    #[error("the complement is not signed by its sender")]
    Signature,
    /// It is of another sender, for another receiver or request, or out of turn.
    #[error("the complement does not answer this request")]
    NotThisRequest,
    /// It has expired.
    #[error("the complement has expired")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    #[serde(with = "serde_bytes")]
    manifest: Vec<u8>,
    #[serde(with = "serde_bytes")]
    signature: Vec<u8>,
    #[serde(with = "secret_bytes")]
    entries: Zeroizing<Vec<u8>>,
}

/// Seals entries to a receiver's key, signed as `sender`.
///
/// # Errors
/// [`SealError`].
pub fn seal_complement(
    entries: &[Entry],
    to: &RecipientPublic,
    sender: &Identity,
    manifest: &Manifest,
) -> Result<Vec<u8>, SealError> {
    let manifest = encode(manifest)?.to_vec();
    let entries = encode(entries)?;
    let signature = sender.sign(&to_sign(&manifest, &entries)).to_vec();
    let payload = encode(&Signed { manifest, signature, entries })?;
    sealed::seal(&[NewSlot::Recipient(to)], &payload)
}

/// Opens a complement that must be the one that `expected` describes (but for its expiry, which is the sender's to
/// say), at the time `now`.
///
/// # Errors
/// [`ComplementError`].
pub fn open_complement(
    sealed: &[u8],
    secret: &RecipientSecret,
    sender: &PublicIdentity,
    expected: &Manifest,
    now: u64,
) -> Result<Vec<Entry>, ComplementError> {
    let payload = sealed::open(sealed, &Unlock::Recipient(secret))?.payload;
    let signed: Signed = decode(&payload)?;
    sender
        .verify(&to_sign(&signed.manifest, &signed.entries), &signed.signature)
        .map_err(|_| ComplementError::Signature)?;
    let manifest: Manifest = decode(&signed.manifest)?;
    if (Manifest { expires: expected.expires, ..manifest }) != *expected || sender.device() != manifest.sender
    {
        return Err(ComplementError::NotThisRequest);
    }
    if manifest.expires <= now {
        return Err(ComplementError::Expired);
    }
    Ok(decode(&signed.entries)?)
}

fn to_sign(manifest: &[u8], entries: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(SIGNED);
    hash.update((manifest.len() as u64).to_be_bytes());
    hash.update(manifest);
    hash.update(entries);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stronghold_vault::{Labels, Revision};

    fn entry() -> Entry {
        let revision = Revision {
            salt: [1; 32],
            ancestors: stronghold_sync::Ancestors::default(),
            deleted: false,
            labels: Labels::new(),
            time: 1,
            value: b"hunter2".to_vec().into(),
        };
        Entry { location: "a/b/c".parse().unwrap(), revision }
    }

    #[test]
    fn a_complement_opens_only_for_its_receiver_request_turn_and_time() {
        let (sender, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let secret = RecipientSecret::generate().unwrap();
        let manifest = Manifest {
            sender: sender.device(),
            receiver: other.device(),
            request: [7; 32],
            index: 0,
            expires: 100,
        };
        let sealed = seal_complement(&[entry()], &secret.public(), &sender, &manifest).unwrap();
        let open = |secret: &RecipientSecret, from: &Identity, expected: &Manifest, now| {
            open_complement(&sealed, secret, from.public(), expected, now)
        };
        assert_eq!(open(&secret, &sender, &manifest, 99).unwrap(), [entry()]);
        assert_eq!(open(&secret, &sender, &manifest, 100), Err(ComplementError::Expired));
        let replayed = Manifest { request: [8; 32], ..manifest };
        assert_eq!(open(&secret, &sender, &replayed, 0), Err(ComplementError::NotThisRequest));
        let repeated = Manifest { index: 1, ..manifest };
        assert_eq!(open(&secret, &sender, &repeated, 0), Err(ComplementError::NotThisRequest));
        assert_eq!(open(&secret, &other, &manifest, 0), Err(ComplementError::Signature));
        let stranger = RecipientSecret::generate().unwrap();
        assert!(matches!(open(&stranger, &sender, &manifest, 0), Err(ComplementError::Open(_))));
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    }
}
