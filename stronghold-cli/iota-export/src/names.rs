//! Finds the names of clients, vaults and records: their ids are hashes of the application's paths.

use std::{collections::HashMap, fs, io, path::Path};

use iota_stronghold::{
    LoadFromPath, Location, derive_record_id, derive_vault_id,
    engine::vault::{ClientId, RecordId, VaultId},
};

/// Number of counters tried in each vault.
const COUNTERS: usize = 1000;

/// The paths of an application, by the ids that they have as clients and as vaults.
#[derive(Debug, Default)]
pub struct Names {
    paths: Vec<Vec<u8>>,
    clients: HashMap<ClientId, usize>,
    vaults: HashMap<VaultId, usize>,
}

/// Reason why there is no list of paths.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// The file can't be read.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// A line is not what it should be.
    #[error("line {0}: hex: is followed by pairs of hexadecimal digits")]
    Hex(usize),
}

impl Names {
    /// Reads a list of paths, one a line, in any order: of clients, vaults and records. `hex:` is
    /// followed by the digits of a path that is not text.
    ///
    /// # Errors
    /// [`PathsError`] when the file can't be read, or a line is malformed.
    pub fn of_file(path: &Path) -> Result<Self, PathsError> {
        let bytes = fs::read(path).map_err(|error| PathsError::File(path.display().to_string(), error))?;
        let mut paths = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match line.strip_prefix(b"hex:") {
                Some(digits) => paths.push(unhex(digits).ok_or(PathsError::Hex(number))?),
                None if line.is_empty() => {}
                None => paths.push(line.to_vec()),
            }
        }
        Ok(Self::of(paths))
    }

    /// Takes a list of paths.
    #[must_use]
    pub fn of(paths: Vec<Vec<u8>>) -> Self {
        let mut names = Self { paths, ..Self::default() };
        for (index, path) in names.paths.iter().enumerate() {
            names.clients.entry(ClientId::load_from_path(path, path)).or_insert(index);
            names.vaults.entry(derive_vault_id(path)).or_insert(index);
        }
        names
    }

    /// Returns the name of a client, if its path is known.
    #[must_use]
    pub fn client(&self, id: &ClientId) -> Option<String> {
        self.clients.get(id).map(|index| shown(&self.paths[*index]))
    }

    /// Returns the name of a vault and a table of its records' names, if its path is known.
    #[must_use]
    pub fn vault(&self, id: &VaultId) -> Option<(String, HashMap<RecordId, String>)> {
        let vault = self.vaults.get(id).map(|index| self.paths[*index].as_slice())?;
        let counters =
            (0..COUNTERS).map(|number| (Location::counter(vault, number).resolve().1, number.to_string()));
        let paths = self.paths.iter().map(|path| (derive_record_id(vault, path), shown(path)));
        Some((shown(vault), counters.chain(paths).collect()))
    }
}

/// Returns a path as a name: its text, or its digits.
pub(crate) fn shown(path: &[u8]) -> String {
    std::str::from_utf8(path).map_or_else(|_| hex(path), ToOwned::to_owned)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some(16 * digit(high)? + digit(low)?),
        _ => None,
    };
    digits.trim_ascii().chunks(2).map(byte).collect()
}
