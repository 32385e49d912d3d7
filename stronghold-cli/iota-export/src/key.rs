//! Derives the key of a snapshot, as the applications of IOTA Stronghold do.

use std::{fs, io, path::Path};

use argon2::{Algorithm, Argon2, Params, Version};
use iota_stronghold::KeyProvider;
use zeroize::Zeroizing;

/// Length of a key, and of a salt of Tauri's plug-in, in bytes.
const LEN: usize = 32;

/// Source of a snapshot's key.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A file with the key: 32 bytes, or 64 hexadecimal digits.
    Key(&'a Path),
    /// A file whose first line is a passphrase, hashed as
    /// `KeyProvider::with_passphrase_hashed_blake2b` does.
    Passphrase(&'a Path),
    /// A file whose first line is a passphrase, and the salt file of Tauri's plug-in: Argon2id with
    /// 19 MiB, two passes and one lane, as its `Builder::with_argon2` does.
    Tauri {
        /// File with the passphrase.
        passphrase: &'a Path,
        /// File with the salt, 32 bytes.
        salt: &'a Path,
    },
}

/// Reason why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file can't be read.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// A file has no key in it.
    #[error("{0}: a key file has 32 bytes or 64 hexadecimal digits")]
    NoKey(String),
    /// A file has no passphrase in it.
    #[error("{0}: the first line is empty")]
    NoPassphrase(String),
    /// A file has no salt in it.
    #[error("{0}: the salt of Tauri's plug-in has 32 bytes")]
    NoSalt(String),
    /// The passphrase can't be hashed.
    #[error("the passphrase can't be hashed")]
    Hash,
}

impl Source<'_> {
    /// Derives the key.
    ///
    /// # Errors
    /// [`KeyError`] when a file can't be read, or does not hold what it should.
    pub fn key(self) -> Result<Zeroizing<[u8; LEN]>, KeyError> {
        match self {
            Self::Key(path) => {
                let bytes = file(path)?;
                key_in(&bytes).ok_or_else(|| KeyError::NoKey(path.display().to_string()))
            }
            Self::Passphrase(path) => {
                let provider = KeyProvider::with_passphrase_hashed_blake2b(passphrase(path)?.to_vec());
                let unlocked =
                    provider.map_err(|_| KeyError::Hash)?.try_unlock().map_err(|_| KeyError::Hash)?;
                let key = <[u8; LEN]>::try_from(&*unlocked.borrow()).map_err(|_| KeyError::Hash)?;
                Ok(Zeroizing::new(key))
            }
            Self::Tauri { passphrase: path, salt } => {
                let bytes = file(salt)?;
                if bytes.len() != LEN {
                    return Err(KeyError::NoSalt(salt.display().to_string()));
                }
                let params = Params::new(19 << 10, 2, 1, Some(LEN)).map_err(|_| KeyError::Hash)?;
                let mut key = Zeroizing::new([0; LEN]);
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let hashed = argon2.hash_password_into(&passphrase(path)?, &bytes, &mut *key);
                hashed.map(|()| key).map_err(|_| KeyError::Hash)
            }
        }
    }
}

fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let read = fs::read(path).map(Zeroizing::new);
    read.map_err(|error| KeyError::File(path.display().to_string(), error))
}

/// Returns the first line of a file.
fn passphrase(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let bytes = file(path)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(KeyError::NoPassphrase(path.display().to_string()));
    }
    Ok(Zeroizing::new(line.to_vec()))
}

fn key_in(bytes: &[u8]) -> Option<Zeroizing<[u8; LEN]>> {
    if let Ok(key) = <[u8; LEN]>::try_from(bytes) {
        return Some(Zeroizing::new(key));
    }
    let digits = bytes.trim_ascii();
    let mut key = Zeroizing::new([0; LEN]);
    let is_long_enough = digits.len() == 2 * LEN;
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        let digit =
            |at: usize| char::from(*pair.get(at)?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = 16 * digit(0)? + digit(1)?;
    }
    is_long_enough.then_some(key)
}
