//! A vault file as the one handle of an application: records by location, without slots, payloads
//! or times.

use std::{error::Error, io, path::Path};

use stronghold_sync::{Location, ParseLocationError, RevisionId, Selection};
use stronghold_vault::{
    Damaged, ExportError, ImportError, Labels, RandomnessError, ReadError, RecordInfo, Stronghold, WriteError,
};
use zeroize::Zeroizing;

use crate::{
    clock::now,
    error::{CreateError, OpenFileError},
    format::{
        cost::PassphraseCost,
        slot::{NewSlot, Unlock},
    },
    vault_file::{VaultFile, VaultFileError},
};

/// Name of a device whose Stronghold [`VaultFile::open_or_create`] creates, until it is renamed.
const NEW_DEVICE: &str = "stronghold";

/// An error of [`VaultFile::update`]: of the file or of the change. Nothing was written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// See [`VaultFileError`].
    #[error(transparent)]
    File(#[from] VaultFileError),
    /// See [`ReadError`].
    #[error(transparent)]
    Read(#[from] ReadError),
    /// See [`WriteError`].
    #[error(transparent)]
    Write(#[from] WriteError),
    /// See [`ExportError`].
    #[error(transparent)]
    Export(#[from] ExportError),
    /// See [`ImportError`].
    #[error(transparent)]
    Import(#[from] ImportError),
    /// See [`ParseLocationError`].
    #[error(transparent)]
    Location(#[from] ParseLocationError),
    /// Another error of the change.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl UpdateError {
    /// Wraps an error of the change that has no variant of its own.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

impl From<Damaged> for UpdateError {
    fn from(error: Damaged) -> Self {
        ReadError::from(error).into()
    }
}

impl From<RandomnessError> for UpdateError {
    fn from(error: RandomnessError) -> Self {
        WriteError::from(error).into()
    }
}

impl VaultFile {
    /// Opens the file that `key` opens, or creates it with an empty Stronghold if nothing exists at
    /// `path`. The folder must exist. A new file has one slot, for `key`; a passphrase has the
    /// default cost. A slot's key opens a file and creates none.
    ///
    /// # Errors
    /// [`VaultFileError`] if the file can't be read, opened or created.
    pub fn open_or_create(path: impl AsRef<Path>, key: &Unlock<'_>) -> Result<Self, VaultFileError> {
        let path = path.as_ref();
        let absent = match Self::open(path, key) {
            Err(VaultFileError::Open(OpenFileError::Storage(error)))
                if error.source.kind() == io::ErrorKind::NotFound =>
            {
                error
            }
            opened => return opened,
        };
        let recipient;
        let slot = match *key {
            Unlock::Passphrase(passphrase) => {
                NewSlot::Passphrase { passphrase, cost: PassphraseCost::default() }
            }
            Unlock::Key(key) => NewSlot::Key(key),
            Unlock::Recipient(secret) => {
                recipient = secret.public();
                NewSlot::Recipient(&recipient)
            }
            // The key of a slot of a file that is gone makes no slot of another.
            Unlock::SlotKey(_) => return Err(OpenFileError::Storage(absent).into()),
        };
        match Self::create(path, &[slot], Stronghold::new(NEW_DEVICE)?) {
            // Another process was faster.
            Err(VaultFileError::Create(CreateError::Exists(_))) => Self::open(path, key),
            created => created,
        }
    }

    /// Changes the Stronghold and commits it, as [`update_as`](Self::update_as) does. In `change`,
    /// `?` takes the errors of a Stronghold.
    ///
    /// # Errors
    /// [`UpdateError`]. Nothing is written then, and memory is as before.
    pub fn update<T>(
        &mut self,
        change: impl FnOnce(&mut Stronghold) -> Result<T, UpdateError>,
    ) -> Result<T, UpdateError> {
        self.update_as(change)
    }

    /// Writes a value, replaces the record's value if it has one, and returns the revision's id.
    /// When this returns `Ok`, the value is durable. Several changes are written at once by
    /// [`update`](Self::update).
    ///
    /// # Errors
    /// [`UpdateError`]. Nothing is written then.
    pub fn write(&mut self, location: &Location, value: &[u8]) -> Result<RevisionId, UpdateError> {
        self.update(|stronghold| Ok(stronghold.write(location, value, Labels::new(), now())?))
    }

    /// Deletes a record and returns whether it existed. Its last values stay in the history until
    /// [`Stronghold::purge`] removes them.
    ///
    /// # Errors
    /// [`UpdateError`]. Nothing is written then.
    pub fn remove(&mut self, location: &Location) -> Result<bool, UpdateError> {
        match self.update(|stronghold| Ok(stronghold.remove(location, now())?)) {
            Err(UpdateError::Write(WriteError::NotFound)) => Ok(false),
            removed => removed.map(|_| true),
        }
    }

    /// Returns a record's value, or `None` if the record does not exist. Reads from memory: call
    /// [`refresh`](Self::refresh) first if another process may have written the file.
    ///
    /// # Errors
    /// [`Damaged`] if the stored value is damaged.
    pub fn read(&self, location: &Location) -> Result<Option<Zeroizing<Vec<u8>>>, Damaged> {
        match self.stronghold().read(location) {
            Ok(read) => Ok(Some(read.revision.value)),
            Err(ReadError::Damaged(damaged)) => Err(damaged),
            Err(_) => Ok(None),
        }
    }

    /// Returns whether a record exists.
    pub fn contains(&self, location: &Location) -> bool {
        self.stronghold().contains(location)
    }

    /// Returns the names of the clients with records, sorted.
    pub fn clients(&self) -> Vec<&str> {
        self.stronghold().clients()
    }

    /// Returns the names of a client's vaults with records, sorted.
    pub fn vaults(&self, client: &str) -> Vec<&str> {
        self.stronghold().vaults(client)
    }

    /// Returns the records of a selection, ordered by location; see [`Stronghold::list`].
    pub fn list<'a>(
        &'a self,
        selection: &'a Selection,
    ) -> impl Iterator<Item = Result<RecordInfo, Damaged>> + use<'a> {
        self.stronghold().list(selection)
    }
}
