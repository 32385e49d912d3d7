//! Reads a snapshot of version 2 or 3 with the engine.

use std::{collections::HashMap, convert::Infallible, fs::File, io, io::Read, path::Path};

use iota_stronghold::{
    Provider,
    engine::{
        snapshot::{self, migration},
        store::Cache,
        vault::{ClientId, DbView, Key, RecordError, RecordId, VaultError, VaultId},
    },
};
use zeroize::Zeroizing;

use crate::names::{Names, hex, shown};

/// A client's state, as the engine writes it: its vaults' keys, its vaults and its store.
type State = HashMap<ClientId, (HashMap<VaultId, Key<Provider>>, DbView<Provider>, Cache<Vec<u8>, Vec<u8>>)>;

/// First bytes of a snapshot.
const MAGIC: &[u8; 5] = b"PARTI";

/// A record of a vault, or an entry of a client's store.
#[derive(Debug)]
pub struct Entry {
    /// Name of the client, or its id.
    pub client: String,
    /// Name of the vault, or its id; `None` for an entry of the store.
    pub vault: Option<String>,
    /// Name of the record, or its id; the key of an entry of the store.
    pub name: String,
    /// Value.
    pub value: Zeroizing<Vec<u8>>,
}

/// Contents of a snapshot, in the order of their names.
#[derive(Debug, Default)]
pub struct Contents {
    /// Records and entries of stores.
    pub entries: Vec<Entry>,
    /// Number of records that were revoked.
    pub revoked: usize,
    /// Number of entries of stores whose lifetimes are over.
    pub expired: usize,
    /// Number of clients, vaults and records whose paths are not known.
    pub unnamed: usize,
}

/// Reason why a snapshot can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The file is something else.
    #[error("it is not a snapshot of IOTA Stronghold")]
    NotASnapshot,
    /// The snapshot is of a version that the engine does not read.
    #[error("it is a snapshot of version {0}; versions 2 and 3 are read")]
    Version(u16),
    /// The key is wrong, or the file was changed.
    #[error("the key is wrong, or the snapshot is damaged")]
    WrongKey,
    /// The decrypted content is no state of clients.
    #[error("what the snapshot holds can't be read: {0}")]
    Contents(String),
}

/// Reads a snapshot.
///
/// # Errors
/// [`ReadError`] when the file is no snapshot, or the key does not open it.
pub fn read(path: &Path, key: &[u8; 32], names: &Names) -> Result<Contents, ReadError> {
    let plain = match version(path)? {
        2 => plain_of_v2(path, key)?,
        3 => snapshot::decrypt_file(path, key).map_err(|error| of_engine(&error))?,
        other => return Err(ReadError::Version(other)),
    };
    let state: State =
        bincode::deserialize(&plain).map_err(|error| ReadError::Contents(error.to_string()))?;
    let mut contents = Contents::default();
    for (id, (keys, vaults, store)) in &state {
        let client = contents.name(names.client(id), id.as_ref());
        contents.add_vaults(&client, keys, vaults, names)?;
        contents.add_store(&client, store);
    }
    contents.entries.sort_by(|one, other| place(one).cmp(&place(other)));
    Ok(contents)
}

fn place(entry: &Entry) -> (&str, Option<&str>, &str) {
    (&entry.client, entry.vault.as_deref(), &entry.name)
}

/// Returns the version in a snapshot's header.
fn version(path: &Path) -> Result<u16, ReadError> {
    let mut header = [0; 7];
    match File::open(path)?.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadError::NotASnapshot),
        Err(error) => Err(error.into()),
        Ok(()) if header[..5] != *MAGIC => Err(ReadError::NotASnapshot),
        Ok(()) => Ok(u16::from_le_bytes([header[5], header[6]])),
    }
}

/// Reads a snapshot of version 2. The engine only converts it into a file of version 3: that is
/// sealed with a random passphrase, in a folder of this user alone, and removed at once.
fn plain_of_v2(path: &Path, key: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("snapshot");
    let passphrase = iota_stronghold::engine::runtime::utils::random_vec(32);
    // A random passphrase needs no stretching.
    snapshot::try_set_encrypt_work_factor(0).map_err(|error| ReadError::Contents(error.to_string()))?;
    let converted = migration::migrate(
        migration::Version::v2(path, key, &[]),
        migration::Version::v3(&copy, &passphrase),
    );
    converted.map_err(|error| match error {
        migration::Error::IoError(error) => ReadError::File(error),
        migration::Error::BadSnapshotFormat => ReadError::NotASnapshot,
        migration::Error::DecryptFailed => ReadError::WrongKey,
        other => ReadError::Contents(other.to_string()),
    })?;
    let provider = iota_stronghold::KeyProvider::with_passphrase_hashed_blake2b(passphrase.to_vec());
    let lost = || ReadError::Contents("the key of its copy is lost".into());
    let unlocked = provider.map_err(|_| lost())?.try_unlock().map_err(|_| lost())?;
    let copy_key = Zeroizing::new(<[u8; 32]>::try_from(&*unlocked.borrow()).map_err(|_| lost())?);
    snapshot::decrypt_file(&copy, &copy_key).map_err(|error| of_engine(&error))
}

fn of_engine(error: &snapshot::ReadError) -> ReadError {
    match error {
        snapshot::ReadError::InvalidFile => ReadError::NotASnapshot,
        snapshot::ReadError::AgeFormatError(_) => ReadError::WrongKey,
        other => ReadError::Contents(other.to_string()),
    }
}

impl Contents {
    /// Returns a name, or the id in its place.
    fn name(&mut self, name: Option<String>, id: &[u8]) -> String {
        self.unnamed += usize::from(name.is_none());
        name.unwrap_or_else(|| hex(id))
    }

    fn add_vaults(
        &mut self,
        client: &str,
        keys: &HashMap<VaultId, Key<Provider>>,
        vaults: &DbView<Provider>,
        names: &Names,
    ) -> Result<(), ReadError> {
        for vault_id in vaults.list_vaults() {
            let key = keys.get(&vault_id).ok_or_else(|| ReadError::Contents("a vault has no key".into()))?;
            let known = names.vault(&vault_id);
            let (vault, records) =
                known.map_or((None, HashMap::new()), |(vault, records)| (Some(vault), records));
            let vault = self.name(vault, vault_id.as_ref());
            for record in vaults.list_records(&vault_id) {
                let Some(value) = secret(vaults, key, vault_id, record)? else {
                    self.revoked += 1;
                    continue;
                };
                // The engine shows the bytes of this id in no other way.
                let id =
                    bincode::serialize(&record).map_err(|error| ReadError::Contents(error.to_string()))?;
                let name = self.name(records.get(&record).cloned(), &id);
                let (client, vault) = (client.to_owned(), Some(vault.clone()));
                self.entries.push(Entry { client, vault, name, value });
            }
        }
        Ok(())
    }

    fn add_store(&mut self, client: &str, store: &Cache<Vec<u8>, Vec<u8>>) {
        for key in store.keys() {
            match store.get(&key) {
                Some(value) => self.entries.push(Entry {
                    client: client.to_owned(),
                    vault: None,
                    name: shown(&key),
                    value: Zeroizing::new(value.clone()),
                }),
                None => self.expired += 1,
            }
        }
    }
}

/// Reads a record; returns `None` if it was revoked.
fn secret(
    vaults: &DbView<Provider>,
    key: &Key<Provider>,
    vault: VaultId,
    record: RecordId,
) -> Result<Option<Zeroizing<Vec<u8>>>, ReadError> {
    let read = vaults.get_guard::<_, Infallible, _>(key, vault, record, |guard| {
        Ok(Zeroizing::new(guard.borrow().to_vec()))
    });
    match read {
        Ok(value) => Ok(Some(value)),
        Err(VaultError::Record(RecordError::RecordNotFound(_))) => Ok(None),
        Err(error) => Err(ReadError::Contents(error.to_string())),
    }
}
