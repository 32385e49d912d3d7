//! Reads passphrases, keys, codes and values from prompts, files, descriptors and stdin, never from
//! arguments.

mod generate;
mod key;
mod passphrase;
mod strength;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use stronghold_snapshot::{NewSlot, OpenError, OpenFileError, PassphraseCost, Unlock, VaultFileError};
use stronghold_sync::{Location, escape_untrusted};
use stronghold_vault::{LockedKey, MAX_VALUE};
use zeroize::Zeroizing;

use crate::globals::Global;
use crate::{
    error::{Failure, shown},
    input,
    output::Output,
    terminal,
};
pub(crate) use generate::Recipe;
use passphrase::Passphrase;

/// Number of tries at a prompt.
const TRIES: u32 = 3;
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
    ///
    /// # Errors
    /// The error of `open`.
    pub(crate) fn open<T>(
        &self,
        mut open: impl FnMut(&Unlock<'_>) -> Result<T, VaultFileError>,
    ) -> Result<T, VaultFileError> {
        match (open(&self.secret.unlock()), &self.exact) {
            (Err(error), Some(secret)) if is_wrong_key(&error) => open(&secret.unlock()),
            (opened, _) => opened,
        }
    }
}

/// Returns whether the snapshot has no slot for the passphrase or key.
pub(crate) fn is_wrong_key(error: &VaultFileError) -> bool {
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
    /// Returns the source that the global options name.
    pub(crate) fn of_snapshot(global: &Global) -> Self {
        let Global { passphrase_file, passphrase_fd, key_file, .. } = global;
        Self {
            descriptor: *passphrase_fd,
            passphrase_file: passphrase_file.clone(),
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
        let Passphrase { text, exact } = self.passphrase(|| Passphrase::typed(prompt))?;
        Ok(Given { secret: Secret::Passphrase(text), exact: exact.map(Secret::Passphrase) })
    }

    /// Returns whether the secret is asked for at a prompt: no option names another source.
    pub(crate) fn is_prompt(&self) -> bool {
        self.descriptor.is_none() && self.passphrase_file.is_none() && self.key_file.is_none()
    }

    /// Reads the secret of a snapshot, and opens it with that; a prompt asks up to three times.
    ///
    /// # Errors
    /// As [`given`](Self::given), and the error of `open`.
    pub(crate) fn open<T>(
        &self,
        path: &Path,
        mut open: impl FnMut(&Unlock<'_>) -> Result<T, VaultFileError>,
    ) -> Result<T, Failure> {
        let prompt = format!("Passphrase of {}: ", shown(path));
        let mut tries = if self.is_prompt() { TRIES } else { 1 };
        loop {
            tries -= 1;
            match self.given(&prompt)?.open(&mut open) {
                Err(error) if is_wrong_key(&error) && tries > 0 => {
                    terminal::tell("wrong passphrase; try again")?
                }
                opened => return Ok(opened?),
            }
        }
    }

    /// Reads the secret that seals a new snapshot or slot. A prompt asks twice, tells the
    /// passphrase's strength and offers a generated one; of one from elsewhere it is told if it is
    /// not good.
    ///
    /// # Errors
    /// As [`given`](Self::given).
    pub(crate) fn new_secret(&self, output: Output, path: &Path) -> Result<Secret, Failure> {
        match &self.key_file {
            Some(path) => key::read(path).map(Secret::Key),
            None => {
                let prompt = format!("New passphrase for {} (Enter: a generated one): ", shown(path));
                let new = self.passphrase(|| Passphrase::typed_new(&prompt))?;
                if !self.is_prompt() && !output.is_json() {
                    let _ = strength::advice(&new.text).map(|advice| output.note(&advice));
                }
                Ok(Secret::Passphrase(new.text))
            }
        }
    }

    fn passphrase(&self, ask: impl FnOnce() -> Result<Passphrase, Failure>) -> Result<Passphrase, Failure> {
        match (self.descriptor, &self.passphrase_file) {
            // Opening by name needs no unsafe code, and works for pipes and files alike.
            (Some(number), _) => Passphrase::from_file(Path::new(&format!("/dev/fd/{number}"))),
            (None, Some(path)) => Passphrase::from_file(path),
            (None, None) => ask(),
        }
    }
}

/// Reads the secret of a new snapshot from the source that the options name; a prompt asks twice.
pub(crate) fn of_new_snapshot(global: &Global, output: Output, path: &Path) -> Result<Secret, Failure> {
    Source::of_snapshot(global).new_secret(output, path)
}

/// Reads a value from a file, else from a prompt if stdin is a terminal, else from stdin. A prompt
/// asks twice. One byte over the limit is kept, so that the value is refused as too large.
pub(crate) fn value(file: Option<&Path>, at: &Location) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match file {
        Some(path) => input::all(path, MAX_VALUE),
        None if io::stdin().is_terminal() => {
            let prompt = format!("Value for {}: ", escape_untrusted(&at.to_string()));
            let value = terminal::hidden(&prompt, MAX_VALUE)?;
            if !value.is_empty() && terminal::hidden("Once more: ", MAX_VALUE)? != value {
                return Err(Failure::usage("the two values differ", "nothing was changed; try again"));
            }
            Ok(value)
        }
        None => input::rest_of_stdin(MAX_VALUE),
    }
}

/// Reads the passphrase of another program's file from a file, else from a prompt. It may be empty,
/// and is taken as it is.
pub(crate) fn of_database(path: &Path, file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match file {
        Some(file) => Ok(passphrase::Passphrase::from_file(file)?.into_exact()),
        None => terminal::hidden(&format!("Passphrase of {}: ", shown(path)), MAX_CODE),
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
