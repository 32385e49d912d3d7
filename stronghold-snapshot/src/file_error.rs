//! Errors of operations on a snapshot file: one enum per operation, with the cause as source.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::file::safe_open::Obstacle;
use crate::format::sealed::{OpenError, SealError};

/// A failed file action.
#[derive(Debug, Error)]
#[error("can't {action} {}: {source}", path.display())]
pub struct StorageError {
    /// The action that failed.
    pub action: Action,
    /// The path: of the snapshot, its folder, or a file beside it.
    pub path: PathBuf,
    /// The error of the operating system.
    pub source: io::Error,
}

/// A file action; displayed as a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each is the verb that it displays
pub enum Action {
    #[error("find")]
    Find,
    #[error("read")]
    Read,
    #[error("lock")]
    Lock,
    #[error("create")]
    Create,
    #[error("write")]
    Write,
    #[error("sync")]
    Sync,
    #[error("sync the folder")]
    SyncFolder,
    #[error("put the new generation in place of")]
    Replace,
    #[error("remove")]
    Remove,
}

/// An error of opening a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenFileError {
    /// The file could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The file was read, but the key does not open it as a snapshot.
    #[error("{}: {source}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OpenError,
    },
    /// The file exceeds the size limit for an untrusted file.
    #[error("{} is larger than {} MiB, which is the most that is read of a file that was not made here", path.display(), max_len >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Maximum number of bytes to read.
        max_len: u64,
    },
}

/// An error of reloading a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// See [`OpenFileError`].
    #[error(transparent)]
    Open(#[from] OpenFileError),
    /// See [`CommitError::RolledBack`].
    #[error("the file was set back to generation {found}, generation {held} was read from it")]
    RolledBack {
        /// Generation on disk.
        found: u64,
        /// Generation read before.
        held: u64,
    },
}

/// An error of taking the lock.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or another handle in this process, held the lock for the whole waiting
    /// time.
    #[error("the snapshot is in use{}", by_process(*.holder))]
    InUse {
        /// The lock's holder, if it noted itself.
        holder: Option<u32>,
    },
    /// Something other than a lock file is in its place. It was not touched.
    #[error("the lock {} can't be used: {what}", path.display())]
    InTheWay {
        /// Path of the lock file.
        path: PathBuf,
        /// The obstacle there.
        what: Obstacle,
    },
    /// The lock file could not be opened or locked.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An error of committing. Unless stated otherwise, the file is unchanged, byte for byte.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// See [`LockError`].
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file changed since it was read: reload it and apply the change again.
    #[error("the file holds generation {found}, but this change is based on {held}")]
    Stale {
        /// Generation on disk.
        found: u64,
        /// Generation that the change is based on.
        held: u64,
    },
    /// The file is older than the one last read, or differs at the same generation: an old or
    /// foreign copy was put in its place.
    #[error("the file was set back to generation {found}, generation {held} was read from it")]
    RolledBack {
        /// Generation on disk.
        found: u64,
        /// Generation read before.
        held: u64,
    },
    /// Another snapshot, a damaged one or a file that is not a snapshot is in its place.
    #[error("what stands in place of the snapshot is not what was read from it: {0}")]
    Replaced(#[source] OpenError),
    /// The new generation could not be sealed.
    #[error("the new generation can't be sealed: {0}")]
    Seal(#[from] SealError),
    /// The written file reads back differently.
    #[error("the new generation was not written as it was sealed")]
    NotAsWritten,
    /// The file could not be opened within its limits.
    #[error(transparent)]
    Open(OpenFileError),
    /// A file action failed. If it was [`Action::SyncFolder`], the file already is the new
    /// generation, but a power loss may restore the old one: reload to find out.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An error of creating a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Something exists at the path already; it was not touched.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The first generation was not written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<OpenFileError> for CommitError {
    fn from(error: OpenFileError) -> Self {
        match error {
            OpenFileError::Storage(error) => Self::Storage(error),
            OpenFileError::Snapshot { source, .. } => Self::Replaced(source),
            other @ OpenFileError::TooLarge { .. } => Self::Open(other),
        }
    }
}

/// Adds the action and the path to an IO error.
pub(crate) trait IoContext<T> {
    fn context(self, action: Action, path: &Path) -> Result<T, StorageError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: Action, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError { action, path: path.to_owned(), source })
    }
}

fn by_process(holder: Option<u32>) -> String {
    holder.map(|id| format!(" by process {id}")).unwrap_or_default()
}
