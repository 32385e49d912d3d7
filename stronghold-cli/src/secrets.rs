//! Where passphrases, keys, codes and values come from: prompts, files, descriptors and stdin, never arguments.

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Read},
    path::Path,
};

use stronghold_snapshot::{NewSlot, PassphraseCost, Unlock};
use stronghold_vault::MAX_VALUE;
use zeroize::Zeroizing;

use crate::{args::Global, error::Failure};

/// What opens or seals a snapshot.
pub(crate) enum Secret {
    Passphrase(Zeroizing<Vec<u8>>),
    Key(Zeroizing<[u8; 32]>),
}

impl Secret {
    pub(crate) fn unlock(&self) -> Unlock<'_> {
        match self {
            Self::Passphrase(passphrase) => Unlock::Passphrase(passphrase),
            Self::Key(key) => Unlock::Key(key),
        }
    }

    pub(crate) fn new_slot(&self) -> NewSlot<'_> {
        match self {
            Self::Passphrase(passphrase) => {
                NewSlot::Passphrase { passphrase, cost: PassphraseCost::default() }
            }
            Self::Key(key) => NewSlot::Key(key),
        }
    }
}

/// What the options name, else a prompt; for a new snapshot the prompt asks twice.
pub(crate) fn of_snapshot(global: &Global, new: bool) -> Result<Secret, Failure> {
    if let Some(fd) = global.passphrase_fd {
        return passphrase_from_descriptor(fd).map(Secret::Passphrase);
    }
    from_files(global.passphrase_file.as_deref(), global.key_file.as_deref(), "Passphrase: ", new)
}

/// What these options name, else a prompt.
pub(crate) fn from_files(
    passphrase_file: Option<&Path>,
    key_file: Option<&Path>,
    prompt_text: &str,
    new: bool,
) -> Result<Secret, Failure> {
    match (passphrase_file, key_file) {
        (_, Some(path)) => key(path).map(Secret::Key),
        (Some(path), _) => {
            let bytes = read_file(path)?;
            non_empty(first_line(&bytes)).map(Secret::Passphrase)
        }
        (None, None) => passphrase_prompt(prompt_text, new).map(Secret::Passphrase),
    }
}

/// A value from a file, else stdin as it is, else (on a terminal) a prompt.
pub(crate) fn value(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if let Some(path) = file {
        return read_file(path);
    }
    if io::stdin().is_terminal() {
        return prompt("Value: ").map(|text| Zeroizing::new(text.as_bytes().to_vec()));
    }
    // One byte over the limit is enough to be refused as too large.
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = MAX_VALUE as u64 + 1;
    io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|error| Failure::terminal(&error))?;
    Ok(bytes)
}

/// A line from stdin, or a prompt on a terminal: a pairing code.
pub(crate) fn line(prompt_text: &str) -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() {
        return prompt(prompt_text);
    }
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().take(1024).read_line(&mut text).map_err(|error| Failure::terminal(&error))?;
    Ok(text)
}

/// Random letters, digits, `-` and `_`.
pub(crate) fn generate(len: u16) -> Result<Zeroizing<Vec<u8>>, Failure> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = Zeroizing::new(vec![0; len.into()]);
    getrandom::fill(&mut bytes).map_err(|_| {
        Failure::new("unexpected", crate::error::UNEXPECTED, "the system gave no random bytes")
    })?;
    bytes.iter_mut().for_each(|byte| *byte = LETTERS[usize::from(*byte % 64)]);
    Ok(bytes)
}

fn key(path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let bytes = read_file(path)?;
    let raw: Option<[u8; 32]> = bytes.as_slice().try_into().ok();
    let key = raw.or_else(|| std::str::from_utf8(first_line(&bytes)).ok().and_then(hex_key));
    key.map(Zeroizing::new).ok_or_else(|| {
        Failure::usage(
            format!("{} is no key", path.display()),
            "a key file has 32 raw bytes or 64 hexadecimal digits",
        )
    })
}

fn hex_key(text: &str) -> Option<[u8; 32]> {
    stronghold_sync::hex::read(text.trim())
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    fs::read(path).map(Zeroizing::new).map_err(|error| Failure::file(path, &error))
}

fn passphrase_from_descriptor(fd: i32) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Opening by name needs no unsafe code, and works for pipes and files alike.
    let path = format!("/dev/fd/{fd}");
    let bytes = read_file(Path::new(&path))?;
    non_empty(first_line(&bytes))
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn non_empty(passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if passphrase.is_empty() {
        return Err(Failure::usage("the passphrase is empty", "nothing was changed; give one"));
    }
    Ok(Zeroizing::new(passphrase.to_vec()))
}

fn passphrase_prompt(text: &str, new: bool) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let first = prompt(text)?;
    if new && *prompt("Once more: ")? != *first {
        return Err(Failure::usage("the two passphrases differ", "nothing was changed; try again"));
    }
    non_empty(first.as_bytes())
}

fn prompt(text: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(text).map(Zeroizing::new).map_err(|_| {
        Failure::usage(
            "there is no terminal to ask on",
            "use --passphrase-file, --passphrase-fd or --key-file; values come from stdin or --file",
        )
    })
}
