//! Recipients: key pairs to which a snapshot can be sealed without a shared secret.
//!
//! HPKE (RFC 9180) in base mode: KEM ML-KEM-768 with P-256 (`0x0050`, draft-ietf-hpke-pq-04),
//! HKDF-SHA256, AES-256-GCM. A slot uses HPKE's secret export (RFC 9180, section 5.3). So a
//! recipient slot yields a secret like every other slot, with the same key commitment and wrapping.

use core::fmt;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::MlKem768P256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use stronghold_vault::{RandomnessError, random};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::format::crypto::{self, Secret};

type Public = <MlKem768P256 as Kem>::PublicKey;
type Private = <MlKem768P256 as Kem>::PrivateKey;
type Encapped = <MlKem768P256 as Kem>::EncappedKey;

/// Length of an encapsulated key in a recipient slot, in bytes.
pub(crate) const ENCAPPED_LEN: usize = 1153;

const EXPORT_LABEL: &[u8] = b"stronghold/snapshot/v1/recipient-secret";

/// A recipient's secret key. It opens everything sealed to the recipient.
#[derive(Clone)]
pub struct RecipientSecretKey(Private);

/// A recipient's public key, to seal to. Not secret, but it must come from the right peer.
#[derive(Clone, PartialEq, Eq)]
pub struct RecipientPublicKey(Public);

/// The bytes are not a recipient key: wrong length, or not a valid point and lattice vector of the
/// KEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a recipient key")]
pub struct RecipientKeyError;

impl RecipientSecretKey {
    /// Length of [`to_bytes`](Self::to_bytes), in bytes.
    pub const LEN: usize = 32;

    /// Generates a key pair.
    ///
    /// # Errors
    /// [`RandomnessError`] if the operating system returns no random bytes.
    pub fn generate() -> Result<Self, RandomnessError> {
        let seed = Zeroizing::new(random::<{ Self::LEN }>()?);
        Self::from_bytes(&*seed).map_err(|_| RandomnessError::UNUSABLE)
    }

    /// Creates the key pair from its seed of 32 bytes.
    ///
    /// # Errors
    /// [`RecipientKeyError`] for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecipientKeyError> {
        Private::from_bytes(bytes).map(Self).map_err(|_| RecipientKeyError)
    }

    /// Returns the seed: 32 secret bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        self.0.write_exact(&mut *bytes);
        bytes
    }

    /// Returns the public key.
    pub fn public(&self) -> RecipientPublicKey {
        RecipientPublicKey(MlKem768P256::sk_to_pk(&self.0))
    }

    /// Recovers the secret of [`RecipientPublicKey::encapsulate`]; `None` if the encapsulation is
    /// malformed. An encapsulation to another key yields a different secret, which the slot's
    /// commitment reveals.
    pub(crate) fn decapsulate(&self, encapped: &[u8; ENCAPPED_LEN], info: &[u8]) -> Option<Secret> {
        let encapped = Encapped::from_bytes(encapped).ok()?;
        let context = hpke::setup_receiver::<AesGcm256, HkdfSha256, MlKem768P256>(
            &OpModeR::Base,
            &self.0,
            &encapped,
            info,
        )
        .ok()?;
        let mut secret = Secret::default();
        context.export(EXPORT_LABEL, &mut *secret).ok()?;
        Some(secret)
    }
}

impl fmt::Debug for RecipientSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecipientSecret(..)")
    }
}

impl RecipientPublicKey {
    /// Length of [`to_bytes`](Self::to_bytes), in bytes: an ML-KEM-768 key (1184), then an
    /// uncompressed P-256 point (65).
    pub const LEN: usize = 1249;

    /// Parses the output of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`RecipientKeyError`] for another length, an unreduced ML-KEM key or a point that is not on
    /// the curve.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecipientKeyError> {
        Public::from_bytes(bytes).map(Self).map_err(|_| RecipientKeyError)
    }

    /// Returns the key as [`LEN`](Self::LEN) bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes().to_vec()
    }

    /// Returns a fresh secret and its encapsulation, which only the matching secret key opens;
    /// `None` if the KEM refuses.
    pub(crate) fn encapsulate(&self, info: &[u8]) -> Option<([u8; ENCAPPED_LEN], Secret)> {
        let (encapped, context) =
            hpke::setup_sender::<AesGcm256, HkdfSha256, MlKem768P256>(&OpModeS::Base, &self.0, info).ok()?;
        let mut secret = Secret::default();
        context.export(EXPORT_LABEL, &mut *secret).ok()?;
        Some((encapped.to_bytes().into(), secret))
    }
}

impl fmt::Debug for RecipientPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = crypto::hash(&[&self.to_bytes()]);
        f.write_str("RecipientPublic(")?;
        fingerprint.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_bytes_and_agree_on_a_secret() {
        let secret =
            RecipientSecretKey::from_bytes(&*RecipientSecretKey::generate().unwrap().to_bytes()).unwrap();
        let public = RecipientPublicKey::from_bytes(&secret.public().to_bytes()).unwrap();
        assert_eq!(public, secret.public());
        assert_eq!(public.to_bytes().len(), RecipientPublicKey::LEN);

        let (encapped, sent) = public.encapsulate(b"info").unwrap();
        assert_eq!(*secret.decapsulate(&encapped, b"info").unwrap(), *sent);
        assert_ne!(*secret.decapsulate(&encapped, b"other").unwrap(), *sent);
        let stranger = RecipientSecretKey::generate().unwrap();
        assert_ne!(*stranger.to_bytes(), *secret.to_bytes());
        assert_ne!(*stranger.decapsulate(&encapped, b"info").unwrap(), *sent);
        assert!(secret.decapsulate(&[0xff; ENCAPPED_LEN], b"info").is_none());
    }

    #[test]
    fn other_bytes_are_no_keys() {
        assert!(RecipientSecretKey::from_bytes(&[1; 31]).is_err());
        assert!(RecipientSecretKey::from_bytes(&[1; 33]).is_err());
        assert!(RecipientPublicKey::from_bytes(&[]).is_err());
        let longer = [RecipientSecretKey::generate().unwrap().public().to_bytes(), vec![0]].concat();
        assert!(RecipientPublicKey::from_bytes(&longer).is_err());
        assert!(RecipientPublicKey::from_bytes(&[0xff; RecipientPublicKey::LEN]).is_err());
        let mut off_curve = RecipientSecretKey::generate().unwrap().public().to_bytes();
        off_curve[RecipientPublicKey::LEN - 1] ^= 1;
        assert!(RecipientPublicKey::from_bytes(&off_curve).is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", RecipientSecretKey::generate().unwrap()), "RecipientSecret(..)");
        let public = RecipientSecretKey::from_bytes(&[7; 32]).unwrap().public();
        let hash = stronghold_sync::hex::text(&crypto::hash(&[&public.to_bytes()]));
        assert_eq!(format!("{public:?}"), format!("RecipientPublic({}..)", &hash[..8]));
    }
}
