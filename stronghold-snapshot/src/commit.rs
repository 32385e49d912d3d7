//! Writing: the file locked, the generation on disk taken over if it is newer, and the commit. Durability is
//! decided here, in one function, `write_generation`, in the order of DESIGN.md, section 8.

use core::fmt;
use std::path::Path;

use crate::file::{SnapshotFile, Standing};
use crate::file_error::{Action, At, CommitError, CreateError, ReloadError, StorageError};

use crate::sealed::{Lineage, Payload, SealError};
use crate::storage::{Disk, Storage};

/// A snapshot file that this process alone may write, until this is dropped.
pub struct Locked<'a, S: Storage = Disk> {
    file: &'a mut SnapshotFile<S>,
    _lock: S::Lock,
}

/// What a commit leaves at `NAME.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Previous,
    Nothing,
}

impl<'a, S: Storage> Locked<'a, S> {
    pub(crate) fn new(file: &'a mut SnapshotFile<S>, lock: S::Lock) -> Self {
        Self { file, _lock: lock }
    }

    /// The file that is locked.
    #[must_use]
    pub fn file(&self) -> &SnapshotFile<S> {
        self.file
    }

    /// See [`SnapshotFile::reload_if_newer`].
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn reload_if_newer(&mut self) -> Result<Option<Payload>, ReloadError> {
        self.file.reload_if_newer()
    }

    /// Writes `payload` as the next generation and returns when it would survive a loss of power. The generation
    /// before is kept at [`previous_path`](SnapshotFile::previous_path).
    ///
    /// # Errors
    /// [`CommitError`]; [`CommitError::Stale`] when the file was changed since it was read.
    pub fn commit(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.commit_as(&self.file.lineage.clone(), payload, Keep::Previous)
    }

    /// As [`commit`](Self::commit), and removes the kept generation: what `payload` no longer has is then in no file
    /// of this snapshot. (What the disk itself still holds in unused blocks is beyond reach.)
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn commit_and_forget(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.commit_as(&self.file.lineage.clone(), payload, Keep::Nothing)
    }

    /// As [`commit_and_forget`](Self::commit_and_forget), with slots that `change` added or removed: afterwards no
    /// file of this snapshot opens with what was removed.
    ///
    /// # Errors
    /// [`CommitError`]; when `change` fails, nothing is written and the slots stay.
    pub fn commit_slots(
        &mut self,
        payload: &[u8],
        change: impl FnOnce(&mut Lineage) -> Result<(), SealError>,
    ) -> Result<(), CommitError> {
        let mut changed = self.file.lineage.clone();
        change(&mut changed)?;
        self.commit_as(&changed, payload, Keep::Nothing)
    }

    /// The first generation: nothing may be there yet.
    pub(crate) fn create(&mut self, payload: &[u8]) -> Result<(), CreateError> {
        let SnapshotFile { storage, paths, lineage, .. } = &*self.file;
        if storage.exists(&paths.file).at(Action::Find, &paths.file).map_err(CommitError::from)? {
            return Err(CreateError::Exists(paths.file.clone()));
        }
        Ok(self.write_generation(&lineage.clone(), payload, Keep::Previous)?)
    }

    fn commit_as(&mut self, lineage: &Lineage, payload: &[u8], keep: Keep) -> Result<(), CommitError> {
        let held = lineage.generation();
        match self.file.standing()? {
            Standing::Same => self.write_generation(lineage, payload, keep),
            Standing::Newer(found) => Err(CommitError::Stale { found, held }),
            Standing::NotNewer(found) => Err(CommitError::RolledBack { found, held }),
        }
    }

    /// The commit, once the generation on disk is known: all that comes between a payload and its durability. On an
    /// error before the rename the file is as it was.
    fn write_generation(&mut self, lineage: &Lineage, payload: &[u8], keep: Keep) -> Result<(), CommitError> {
        let SnapshotFile { storage, paths, .. } = &*self.file;
        let temporary = paths.temporary().map_err(SealError::from)?;
        let replaced = self.write_verified(&temporary, lineage, payload).and_then(|after| {
            if keep == Keep::Previous && lineage.generation() > 0 {
                self.keep_previous()?;
            }
            storage.rename(&temporary, &paths.file).at(Action::Replace, &paths.file)?;
            Ok(after)
        });
        if replaced.is_err() {
            let _ = storage.remove(&temporary);
        }
        let after = replaced?;
        if keep == Keep::Nothing {
            remove_if_there(storage, &paths.previous)?;
        }
        storage.sync_folder(&paths.folder).at(Action::Sync, &paths.folder)?;
        self.file.lineage = after;
        self.file.payload = None;
        Ok(())
    }

    /// Seals the next generation into a new file, syncs it, reads it back and compares. Gives the lineage after it.
    fn write_verified(
        &self,
        temporary: &Path,
        lineage: &Lineage,
        payload: &[u8],
    ) -> Result<Lineage, CommitError> {
        let storage = &self.file.storage;
        write_synced(storage, temporary, &lineage.seal_next(payload)?)?;
        let written = storage.read(temporary).at(Action::Read, temporary)?;
        match lineage.verify(written, payload) {
            Ok(Some(after)) => Ok(after),
            Ok(None) => Err(CommitError::NotAsWritten(None)),
            Err(error) => Err(CommitError::NotAsWritten(Some(error))),
        }
    }

    /// Makes `NAME.1` the generation on disk: a second name for the same file, or a copy where the file system has no
    /// second names. `NAME` itself is never touched, and the old `NAME.1` stands until the new one replaces it.
    fn keep_previous(&self) -> Result<(), CommitError> {
        let SnapshotFile { storage, paths, .. } = &*self.file;
        let second = paths.temporary().map_err(SealError::from)?;
        let named = match storage.link(&paths.file, &second) {
            Err(error) if links_are_missing(&error) => copy_synced(storage, &paths.file, &second),
            result => result.at(Action::Keep, &paths.previous),
        };
        let kept =
            named.and_then(|()| storage.rename(&second, &paths.previous).at(Action::Keep, &paths.previous));
        // After success too: renaming a file onto another name of itself does nothing, and leaves both.
        let _ = storage.remove(&second);
        Ok(kept?)
    }
}

impl<S: Storage> fmt::Debug for Locked<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Locked").field(&self.file).finish()
    }
}

fn write_synced<S: Storage>(storage: &S, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let mut file = storage.create(path).at(Action::Create, path)?;
    storage.write(&mut file, bytes).at(Action::Write, path)?;
    storage.sync(&file).at(Action::Sync, path)
}

fn copy_synced(storage: &impl Storage, from: &Path, to: &Path) -> Result<(), StorageError> {
    let bytes = storage.read(from).at(Action::Read, from)?;
    write_synced(storage, to, &bytes)
}

fn remove_if_there(storage: &impl Storage, path: &Path) -> Result<(), StorageError> {
    match storage.remove(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.at(Action::Remove, path),
    }
}

/// Whether the file system gives no second names, to anyone or to this file.
fn links_are_missing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), Unsupported | PermissionDenied | TooManyLinks)
}
