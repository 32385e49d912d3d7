//! Reads passphrases, keys, codes and values from prompts, files, descriptors and stdin, never from
//! arguments.

mod key;
mod passphrase;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use stronghold_snapshot::{NewSlot, OpenError, OpenFileError, PassphraseCost, Unlock, VaultFileError};
use stronghold_vault::{LockedKey, MAX_VALUE, fill_random};
use zeroize::Zeroizing;

use crate::globals::Global;
use crate::{error::Failure, input, terminal};
use passphrase::Passphrase;

/// Maximum length of a pairing code or link, in bytes.
const MAX_CODE: usize = 1024;

/// A passphrase or key that opens or seals a snapshot.
pub(crate) enum Secret {
    Passphrase(Zeroizing<Vec<u8>>),
    Key(LockedKey),
}

impl Secret {
    pub(crate) fn unlock(&self) -> Unlock<'_> {
        match self {
            Self::Passphrase(passphrase) => Unlock::Passphrase(passphrase),
            Self::Key(key) => Unlock::Key(key.expose()),
        }
    }

    pub(crate) fn new_slot(&self) -> NewSlot<'_> {
        match self {
            Self::Passphrase(passphrase) => {
                NewSlot::Passphrase { passphrase, cost: PassphraseCost::default() }
            }
            Self::Key(key) => NewSlot::Key(key.expose()),
        }
    }
}

/// A secret given to open a snapshot: a key, or a passphrase in up to two encodings.
pub(crate) struct Given {
    secret: Secret,
    /// Exact bytes of the passphrase, if its Unicode form differs.
    exact: Option<Secret>,
}

impl Given {
    /// Returns the key, or the passphrase in its Unicode form.
    pub(crate) fn into_secret(self) -> Secret {
        self.secret
    }

    /// Opens with the passphrase's Unicode form and, if that is wrong, with its exact bytes.
    /// Returns the secret that fits.
    ///
    /// # Errors
    /// The error of `open`.
    pub(crate) fn open<T>(
        self,
        mut open: impl FnMut(&Unlock<'_>) -> Result<T, VaultFileError>,
    ) -> Result<(T, Secret), VaultFileError> {
        match (open(&self.secret.unlock()), self.exact) {
            (Err(error), Some(secret)) if is_wrong_key(&error) => {
                open(&secret.unlock()).map(|opened| (opened, secret))
            }
            (opened, _) => opened.map(|opened| (opened, self.secret)),
        }
    }
}

fn is_wrong_key(error: &VaultFileError) -> bool {
    matches!(error, VaultFileError::Open(OpenFileError::Snapshot { source: OpenError::WrongKey, .. }))
}

/// Source of a secret. A prompt, if no option names another.
#[derive(Debug, Default, Clone)]
pub(crate) struct Source {
    descriptor: Option<i32>,
    passphrase_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl Source {
    /// Returns the source that the global options name, else the environment.
    pub(crate) fn of_snapshot(global: &Global) -> Self {
        let Global { passphrase_file, passphrase_fd, key_file, .. } = global;
        let is_said = passphrase_file.is_some() || passphrase_fd.is_some() || key_file.is_some();
        let from_environment = || crate::globals::from_environment("STRONGHOLD_PASSPHRASE_FILE");
        Self {
            descriptor: *passphrase_fd,
            passphrase_file: if is_said { passphrase_file.clone() } else { from_environment() },
            key_file: key_file.clone(),
        }
    }

    /// Returns the source that these options name.
    pub(crate) fn of_files(passphrase_file: Option<&Path>, key_file: Option<&Path>) -> Self {
        let owned = |path: Option<&Path>| path.map(Path::to_owned);
        Self { descriptor: None, passphrase_file: owned(passphrase_file), key_file: owned(key_file) }
    }

    /// Reads the secret that opens a snapshot.
    ///
    /// # Errors
    /// [`Failure`] when there is none, or it is malformed.
    pub(crate) fn given(&self, prompt: &str) -> Result<Given, Failure> {
        if let Some(path) = &self.key_file {
            return Ok(Given { secret: Secret::Key(key::read(path)?), exact: None });
        }
        let Passphrase { text, exact } = self.passphrase(prompt, false)?;
        Ok(Given { secret: Secret::Passphrase(text), exact: exact.map(Secret::Passphrase) })
    }

    /// Reads the secret that seals a new snapshot or slot; a prompt asks twice.
    ///
    /// # Errors
    /// As [`given`](Self::given).
    pub(crate) fn new_secret(&self, prompt: &str) -> Result<Secret, Failure> {
        match &self.key_file {
            Some(path) => key::read(path).map(Secret::Key),
            None => Ok(Secret::Passphrase(self.passphrase(prompt, true)?.text)),
        }
    }

    fn passphrase(&self, prompt: &str, new: bool) -> Result<Passphrase, Failure> {
        match (self.descriptor, &self.passphrase_file) {
            // Opening by name needs no unsafe code, and works for pipes and files alike.
            (Some(number), _) => Passphrase::from_file(Path::new(&format!("/dev/fd/{number}"))),
            (None, Some(path)) => Passphrase::from_file(path),
            (None, None) => Passphrase::typed(prompt, new),
        }
    }
}

/// Reads the secret of a new snapshot from the source that the options name; a prompt asks twice.
pub(crate) fn of_new_snapshot(global: &Global) -> Result<Secret, Failure> {
    Source::of_snapshot(global).new_secret("Passphrase: ")
}

/// Reads a value from a file, else from a prompt if stdin is a terminal, else from stdin. One byte
/// over the limit is kept, so that the value is refused as too large.
pub(crate) fn value(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match file {
        Some(path) => input::all(path, MAX_VALUE),
        None if io::stdin().is_terminal() => terminal::hidden("Value: ", MAX_VALUE),
        None => input::rest_of_stdin(MAX_VALUE),
    }
}

/// Reads a pairing code from a prompt if stdin is a terminal, else the first line of stdin.
pub(crate) fn line(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let bytes = match io::stdin().is_terminal() {
        true => terminal::hidden(prompt, MAX_CODE)?,
        false => input::rest_of_stdin(MAX_CODE)?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let first = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default();
    Ok(Zeroizing::new(first.to_owned()))
}

/// Generates random letters, digits, `-` and `_`.
pub(crate) fn generate(len: u16) -> Result<Zeroizing<Vec<u8>>, Failure> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = Zeroizing::new(vec![0; len.into()]);
    fill_random(&mut bytes)?;
    bytes.iter_mut().for_each(|byte| *byte = LETTERS[usize::from(*byte % 64)]);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use stronghold_snapshot::{Damage, DecodeError};

    use super::*;

    /// Only a wrong passphrase is tried again as its exact bytes.
    #[test]
    fn a_passphrase_is_tried_as_it_is_where_it_was_wrong_and_nowhere_else() {
        let opening = |source| VaultFileError::from(OpenFileError::Snapshot { path: "vault".into(), source });
        assert!(is_wrong_key(&opening(OpenError::WrongKey)));
        for other in [
            opening(OpenError::NotASnapshot),
            opening(OpenError::Damaged(Damage::Body)),
            VaultFileError::Payload(DecodeError),
        ] {
            assert!(!is_wrong_key(&other), "{other}");
        }
    }
}
