//! Why an operation on a snapshot file failed: one enum each, with the cause kept as source.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::safe_open::Obstacle;
use crate::sealed::{OpenError, SealError};

/// A file action that failed.
#[derive(Debug, Error)]
#[error("can't {action} {}: {source}", path.display())]
pub struct StorageError {
    /// What was tried.
    pub action: Action,
    /// On the snapshot, its folder, or a file beside it.
    pub path: PathBuf,
    /// What the operating system says.
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

/// Why a file was not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenFileError {
    /// It could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It was read, and is not what this key opens.
    #[error("{}: {source}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: OpenError,
    },
    /// It is larger than what is read of a file that may be anybody's.
    #[error("{} is larger than {} MiB, which is the most that is read of a file that was not made here", path.display(), max_len >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        max_len: u64,
    },
}

/// Why the generation on disk was not taken over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// See [`OpenFileError`].
    #[error(transparent)]
    Open(#[from] OpenFileError),
    /// See [`CommitError::RollbackError`].
    #[error("the file was set back to generation {found}, generation {held} was read from it")]
    RolledBack {
        /// On disk.
        found: u64,
        /// What was read before.
        held: u64,
    },
}

/// Why the lock was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or another opening in this one, had the lock for all of the time waited.
    #[error("the snapshot is in use{}", by_process(*.holder))]
    InUse {
        /// The process, if it noted itself.
        holder: Option<u32>,
    },
    /// Something else stands where the lock should be. It was not touched.
    #[error("the lock {} can't be used: {what}", path.display())]
    InTheWay {
        /// Where the lock should be.
        path: PathBuf,
        /// What stands there.
        what: Obstacle,
    },
    /// The lock file could not be opened or locked.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a commit was not acknowledged. Unless said otherwise the file is as it was before, byte for byte.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// See [`LockError`].
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file was changed since it was read: reload and apply the change again.
    #[error("the file holds generation {found}, but this change is based on {held}")]
    Stale {
        /// On disk.
        found: u64,
        /// What this change is based on.
        held: u64,
    },
    /// The file is older than what was read from it, or of the same generation and yet another: someone put an old
    /// or a foreign copy in its place.
    #[error("the file was set back to generation {found}, generation {held} was read from it")]
    RolledBack {
        /// On disk.
        found: u64,
        /// What was read before.
        held: u64,
    },
    /// Another snapshot, or something that is none or damaged, stands in its place.
    #[error("what stands in place of the snapshot is not what was read from it: {0}")]
    Replaced(#[source] OpenError),
    /// The new generation could not be sealed.
    #[error("the new generation can't be sealed: {0}")]
    Seal(#[from] SealError),
    /// What was written reads back differently.
    #[error("the new generation was not written as it was sealed")]
    NotAsWritten,
    /// The file as a whole could not be taken as it is.
    #[error(transparent)]
    Open(OpenFileError),
    /// A file action failed. If that was [`Action::SyncFolder`], the file is the new generation already, but a loss of power may bring the old one back: reload to know.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why no file was created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Something stands there already; it was not touched.
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

/// Says what was tried, and on what.
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
