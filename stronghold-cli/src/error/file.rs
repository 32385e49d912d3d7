//! Failures of opening, locking and writing the snapshot file.

use std::{error::Error, path::Path};

use stronghold_snapshot::{
    Action, CommitError, CreateError, LockError, OpenError, OpenFileError, ReloadError, RollbackError,
    SealError, StorageError, UpdateError, VaultFileError,
};

use super::{Failure, Kind, UNCHANGED, chain, shown};

const TOO_COSTLY: &str = "if you trust whoever made it, say --allow-costly; nothing was changed";

impl From<OpenFileError> for Failure {
    fn from(error: OpenFileError) -> Self {
        match &error {
            OpenFileError::Storage(storage) if storage.source.kind() == std::io::ErrorKind::NotFound => {
                Self::no_snapshot(&storage.path)
            }
            OpenFileError::Snapshot { path, source } => Self::opening(path, source),
            OpenFileError::TooLarge { .. } => Self::of(Kind::FileTooLarge, &error).hint(TOO_COSTLY),
            _ => Self::storage(&error),
        }
    }
}

impl Failure {
    /// Returns a disk failure that left the snapshot as it was.
    fn storage(error: &dyn Error) -> Self {
        Self::of(Kind::Storage, error).hint(UNCHANGED)
    }

    fn opening(path: &Path, error: &OpenError) -> Self {
        let message = format!("{}: {error}", shown(path));
        match error {
            OpenError::NotASnapshot => {
                Self::new(Kind::NotASnapshot, message).hint("check the path; the file was not touched")
            }
            OpenError::NewerVersion { .. } => {
                Self::new(Kind::NewerVersion, message).hint("update stronghold; the file was not touched")
            }
            OpenError::WrongKey => Self::new(Kind::WrongKey, message).hint("try again; nothing was changed"),
            OpenError::Damaged(_) => Self::new(Kind::Damaged, message)
                .hint("restore it from another device or a backup; the file was not touched"),
            OpenError::TooCostly { .. } => Self::new(Kind::TooCostly, message).hint(TOO_COSTLY),
            _ => Self::new(Kind::Unsupported, message),
        }
    }

    /// Returns the failure for an old copy in place of the snapshot.
    fn rolled_back(error: &dyn Error) -> Self {
        Self::new(Kind::RolledBack, format!("{}; it was not touched", chain(error)))
            .hint("if you restored an old copy yourself, say --accept-rollback; else someone put it there")
    }

    fn exchanged(error: &dyn Error) -> Self {
        Self::new(Kind::Exchanged, format!("{}; it was not touched", chain(error)))
            .hint("if you put it there yourself, say --accept-rollback; else someone did")
    }

    fn slots(error: &SealError) -> Option<Self> {
        Some(match error {
            SealError::SlotNotAtHand(_) => Self::new(Kind::SlotNotAtHand, format!("{error}; nothing was changed")).hint(
                "give it with --also-passphrase-file or --also-key-file, or remove the slot first; --keep-master-key does without: then \
                 whoever has an old copy and what opened it opens what comes later too",
            ),
            SealError::SlotExists(_) => Self::new(Kind::SlotExists, format!("{error}; nothing was changed"))
                .hint("see `stronghold passphrase --list`"),
            SealError::NoSuchSlot(_) => {
                Self::usage(format!("{error}; nothing was changed"), "see `stronghold passphrase --list`")
            }
            SealError::NoSlots => Self::usage(
                "this is the only one: without it nobody could open the snapshot; nothing was changed",
                "add another one first: stronghold passphrase --add",
            ),
            SealError::LabelTooLong | SealError::TooManySlots | SealError::TotalCost => {
                Self::new(Kind::Usage, format!("{error}; nothing was changed"))
            }
            _ => return None,
        })
    }
}

impl From<VaultFileError> for Failure {
    fn from(error: VaultFileError) -> Self {
        match error {
            VaultFileError::Open(error) | VaultFileError::Reload(ReloadError::Open(error)) => error.into(),
            VaultFileError::Create(CreateError::Exists(path)) => Self::exists(&path),
            VaultFileError::Create(CreateError::Commit(error)) | VaultFileError::Commit(error) => error.into(),
            VaultFileError::Lock(error) => error.into(),
            VaultFileError::Payload(_) => Self::new(
                Kind::Damaged,
                "the snapshot opens, but its content can't be read; the file was not touched",
            )
            .hint("update stronghold, or restore it from another device or a backup"),
            VaultFileError::RolledBack(error @ RollbackError::Exchanged { .. }) => Self::exchanged(&error),
            VaultFileError::RolledBack(error) => Self::rolled_back(&error),
            VaultFileError::Notes(_) => Self::of(Kind::RollbackNotes, &error).hint(
                "nothing was changed: notes of what was seen are required here; see `stronghold doctor`, and --accept-rollback, which writes \
                 a damaged note anew",
            ),
            VaultFileError::Reload(error) => Self::rolled_back(&error),
            other => Self::storage(&other),
        }
    }
}

impl From<UpdateError> for Failure {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::File(error) => error.into(),
            UpdateError::Read(error) => error.into(),
            UpdateError::Write(error) => error.into(),
            other => Self::of(Kind::Unexpected, &other),
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match error {
            LockError::InUse { .. } => Self::new(Kind::InUse, format!("{error}; nothing was changed"))
                .hint("wait for the other process to finish, then try again"),
            LockError::InTheWay { .. } => Self::new(
                Kind::LockInTheWay,
                format!("{}; nothing was changed, and it was not touched", chain(&error)),
            )
            .hint("look who put it there; the lock is a file that Stronghold makes by itself"),
            other => Self::storage(&other),
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Lock(error) => error.into(),
            CommitError::RolledBack { .. } => Self::rolled_back(&error),
            CommitError::Seal(ref seal) if Self::slots(seal).is_some() => {
                Self::slots(seal).unwrap_or_else(|| Self::storage(&error))
            }
            CommitError::Storage(StorageError { action: Action::Find, ref source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Self::of(Kind::Storage, &error).hint("make its folder first; nothing was changed")
            }
            CommitError::Unknown(_) => Self::of(Kind::Storage, &error)
                .hint("look whether the change is there; if not, run the command again"),
            other if is_in_place(&other) => Self::of(Kind::Storage, &other)
                .hint("the new state is in the file, but a loss of power may undo it: run the command again"),
            other => Self::storage(&other),
        }
    }
}

/// Returns whether the commit failed after the new generation was already in place.
fn is_in_place(error: &CommitError) -> bool {
    let CommitError::Storage(StorageError { action, .. }) = error else { return false };
    matches!(action, Action::Remove | Action::SyncFolder)
}
