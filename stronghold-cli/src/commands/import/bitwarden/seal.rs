//! Opens Bitwarden's password-protected export: a key of PBKDF2 or Argon2id, stretched by HKDF,
//! and AES-256-CBC with HMAC-SHA256 over it.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD};
use cbc::Decryptor;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Maximum cost of a key, unless more is allowed: four times as many rounds of PBKDF2 as Bitwarden
/// takes, and as much memory for Argon2id.
const MAX_ROUNDS: u32 = 8_000_000;
const MAX_MEBIBYTES: u32 = 1024;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;
/// Length of a key, and of a MAC.
const KEY: usize = 32;
/// Type of what is encrypted with AES-256-CBC and HMAC-SHA256.
const TYPE: &str = "2.";

/// Reason why a password-protected export was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenSealedError {
    #[error("the passphrase of the export is wrong")]
    WrongKey,
    #[error("the export takes more memory or time to open than is allowed")]
    TooCostly,
    #[error("the export is damaged")]
    Damaged,
    #[error("the export is encrypted in a way that is not known")]
    Unknown,
}

/// A password-protected export.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sealed {
    encrypted: bool,
    password_protected: bool,
    salt: String,
    kdf_type: u32,
    kdf_iterations: u32,
    kdf_memory: Option<u32>,
    kdf_parallelism: Option<u32>,
    #[serde(rename = "encKeyValidation_DO_NOT_EDIT")]
    validation: String,
    data: String,
}

impl Sealed {
    /// Returns the export in a file, or `None` if it is none that a passphrase protects.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let sealed: Self = serde_json::from_slice(bytes).ok()?;
        (sealed.encrypted && sealed.password_protected).then_some(sealed)
    }

    /// Decrypts the unencrypted export that is in it.
    ///
    /// # Errors
    /// [`OpenSealedError`] when the passphrase is wrong, or the export damaged.
    pub(crate) fn open(
        &self,
        passphrase: &[u8],
        allow_costly: bool,
    ) -> Result<Zeroizing<Vec<u8>>, OpenSealedError> {
        if !allow_costly && !self.is_affordable() {
            return Err(OpenSealedError::TooCostly);
        }
        let keys = self.keys(passphrase)?;
        let validation = Encrypted::parse(&self.validation)?;
        if !validation.is_authentic(&keys) {
            return Err(OpenSealedError::WrongKey);
        }
        let data = Encrypted::parse(&self.data)?;
        if !data.is_authentic(&keys) {
            return Err(OpenSealedError::Damaged);
        }
        data.decrypt(&keys)
    }

    fn is_affordable(&self) -> bool {
        match self.kdf_type {
            0 => self.kdf_iterations <= MAX_ROUNDS,
            _ => {
                self.kdf_iterations <= MAX_PASSES
                    && self.kdf_memory.is_none_or(|mebibytes| mebibytes <= MAX_MEBIBYTES)
                    && self.kdf_parallelism.is_none_or(|lanes| lanes <= MAX_LANES)
            }
        }
    }

    fn keys(&self, passphrase: &[u8]) -> Result<Keys, OpenSealedError> {
        // The salt is the text itself, not the bytes that it encodes.
        let salt = self.salt.as_bytes();
        let mut key = Zeroizing::new([0; KEY]);
        match (self.kdf_type, self.kdf_memory, self.kdf_parallelism) {
            (0, ..) if self.kdf_iterations > 0 => {
                pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, salt, self.kdf_iterations, &mut *key);
            }
            (1, Some(mebibytes), Some(lanes)) => {
                let kibibytes = mebibytes.checked_mul(1024).ok_or(OpenSealedError::Damaged)?;
                let params = Params::new(kibibytes, self.kdf_iterations, lanes, Some(KEY));
                let params = params.map_err(|_| OpenSealedError::Damaged)?;
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(passphrase, &Sha256::digest(salt), &mut *key)
                    .map_err(|_| OpenSealedError::Damaged)?;
            }
            (0 | 1, ..) => return Err(OpenSealedError::Damaged),
            _ => return Err(OpenSealedError::Unknown),
        }
        Keys::stretched(&key)
    }
}

/// The keys of cipher and MAC.
struct Keys {
    cipher: Zeroizing<[u8; KEY]>,
    mac: Zeroizing<[u8; KEY]>,
}

impl Keys {
    /// Expands a key as RFC 5869 does in section 2.3, without extracting first.
    fn stretched(key: &[u8; KEY]) -> Result<Self, OpenSealedError> {
        let hkdf = Hkdf::<Sha256>::from_prk(key).map_err(|_| OpenSealedError::Damaged)?;
        let mut keys = Self { cipher: Zeroizing::default(), mac: Zeroizing::default() };
        for (info, key) in [("enc", &mut keys.cipher), ("mac", &mut keys.mac)] {
            hkdf.expand(info.as_bytes(), &mut **key).map_err(|_| OpenSealedError::Damaged)?;
        }
        Ok(keys)
    }
}

/// An encrypted text, taken apart: `2.IV|CIPHERTEXT|MAC`, each in base64.
struct Encrypted {
    iv: [u8; 16],
    ciphertext: Vec<u8>,
    mac: [u8; KEY],
}

impl Encrypted {
    fn parse(text: &str) -> Result<Self, OpenSealedError> {
        let parts = text.strip_prefix(TYPE).ok_or(OpenSealedError::Unknown)?;
        let mut parts = parts.split('|').map(|part| STANDARD.decode(part).ok());
        let mut next = || parts.next().flatten().ok_or(OpenSealedError::Damaged);
        let (iv, ciphertext, mac) = (next()?, next()?, next()?);
        match (iv.try_into(), mac.try_into(), parts.next()) {
            (Ok(iv), Ok(mac), None) => Ok(Self { iv, ciphertext, mac }),
            _ => Err(OpenSealedError::Damaged),
        }
    }

    fn is_authentic(&self, keys: &Keys) -> bool {
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&*keys.mac) else { return false };
        mac.update(&self.iv);
        mac.update(&self.ciphertext);
        mac.verify((&self.mac).into()).is_ok()
    }

    /// Decrypts an authentic text.
    fn decrypt(self, keys: &Keys) -> Result<Zeroizing<Vec<u8>>, OpenSealedError> {
        let mut text = Zeroizing::new(self.ciphertext);
        let cipher = Decryptor::<Aes256>::new((&*keys.cipher).into(), (&self.iv).into());
        let len = cipher.decrypt_padded::<Pkcs7>(&mut text).map_err(|_| OpenSealedError::Damaged)?.len();
        text.truncate(len);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PBKDF2: &str = include_str!("../../../../tests/it/bitwarden/pbkdf2.json");
    const ARGON2ID: &str = include_str!("../../../../tests/it/bitwarden/argon2id.json");
    const PASSPHRASE: &str = "correct hörse";

    fn open(export: &str, passphrase: &str) -> Result<Value, OpenSealedError> {
        let opened = Sealed::of(export.as_bytes()).unwrap().open(passphrase.as_bytes(), false)?;
        Ok(serde_json::from_slice(&opened).unwrap())
    }

    /// Changes one part of an export.
    fn with(export: &str, part: &str, value: impl Into<Value>) -> String {
        let mut export: Value = serde_json::from_str(export).unwrap();
        export[part] = value.into();
        export.to_string()
    }

    #[test]
    fn an_export_opens_with_its_passphrase_only() {
        for export in [PBKDF2, ARGON2ID] {
            let opened = open(export, PASSPHRASE).unwrap();
            assert_eq!(opened["items"][0]["login"]["password"], "new pässword");
            for wrong in ["", "correct horse", "correct hörse "] {
                assert_eq!(open(export, wrong).unwrap_err(), OpenSealedError::WrongKey);
            }
        }
        for other in ["{}", "", "[]", &with(PBKDF2, "passwordProtected", false), &with(PBKDF2, "salt", 1)] {
            assert!(Sealed::of(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn a_costly_key_is_not_derived_unless_that_is_allowed() {
        for (export, part, most) in [
            (PBKDF2, "kdfIterations", MAX_ROUNDS),
            (ARGON2ID, "kdfIterations", MAX_PASSES),
            (ARGON2ID, "kdfMemory", MAX_MEBIBYTES),
            (ARGON2ID, "kdfParallelism", MAX_LANES),
        ] {
            let sealed = |value| Sealed::of(with(export, part, value).as_bytes()).unwrap();
            assert!(sealed(most).is_affordable() && !sealed(most + 1).is_affordable(), "{part}");
            let opened = sealed(most + 1).open(b"", false);
            assert_eq!(opened.unwrap_err(), OpenSealedError::TooCostly);
        }
        let memory = with(ARGON2ID, "kdfMemory", u32::MAX);
        let allowed = Sealed::of(memory.as_bytes()).unwrap().open(b"", true);
        assert_eq!(allowed.unwrap_err(), OpenSealedError::Damaged);
        let costly = with(PBKDF2, "kdfIterations", 8_000_001);
        assert_eq!(
            Sealed::of(costly.as_bytes()).unwrap().open(b"", true).unwrap_err(),
            OpenSealedError::WrongKey
        );
    }

    #[test]
    fn parameters_that_no_export_has_are_refused() {
        for (part, value, expected) in [
            ("kdfIterations", json!(0), OpenSealedError::Damaged),
            ("kdfMemory", json!(null), OpenSealedError::Damaged),
            ("kdfMemory", json!(0), OpenSealedError::Damaged),
            ("kdfParallelism", json!(0), OpenSealedError::Damaged),
            ("kdfParallelism", json!(null), OpenSealedError::Damaged),
            ("kdfType", json!(2), OpenSealedError::Unknown),
            ("salt", json!(""), OpenSealedError::WrongKey),
            ("encKeyValidation_DO_NOT_EDIT", json!("0.x"), OpenSealedError::Unknown),
            ("data", json!("7.x"), OpenSealedError::Unknown),
            ("data", json!("2.AA==|AA==|AA=="), OpenSealedError::Damaged),
            ("data", json!("2."), OpenSealedError::Damaged),
            ("data", json!(""), OpenSealedError::Unknown),
        ] {
            assert_eq!(open(&with(ARGON2ID, part, value), PASSPHRASE).unwrap_err(), expected, "{part}");
        }
        assert_eq!(
            open(&with(PBKDF2, "kdfIterations", 0), PASSPHRASE).unwrap_err(),
            OpenSealedError::Damaged
        );
    }

    #[test]
    fn a_changed_text_is_never_decrypted() {
        let export: Value = serde_json::from_str(ARGON2ID).unwrap();
        for (part, expected) in
            [("encKeyValidation_DO_NOT_EDIT", OpenSealedError::WrongKey), ("data", OpenSealedError::Damaged)]
        {
            let text = export[part].as_str().unwrap();
            let parts: Vec<&str> = text[2..].split('|').collect();
            for at in 0..3 {
                let mut changed: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
                let mut bytes = STANDARD.decode(parts[at]).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                changed[at] = STANDARD.encode(bytes);
                let changed = with(ARGON2ID, part, format!("2.{}", changed.join("|")));
                assert_eq!(open(&changed, PASSPHRASE).unwrap_err(), expected, "{part} {at}");
            }
            let more = with(ARGON2ID, part, format!("{text}|AAAA"));
            assert_eq!(open(&more, PASSPHRASE).unwrap_err(), OpenSealedError::Damaged);
        }
        // Both are made with the same keys, so that one in place of the other is authentic.
        let exchanged = with(ARGON2ID, "data", export["encKeyValidation_DO_NOT_EDIT"].clone());
        let opened = Sealed::of(exchanged.as_bytes()).unwrap().open(PASSPHRASE.as_bytes(), false).unwrap();
        assert_eq!(opened.len(), 36);
    }
}
