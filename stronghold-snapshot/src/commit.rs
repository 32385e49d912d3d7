//! Writing: the file locked, the generation on disk taken over if it is newer, and the commit. Durability is
//! decided here, in one function, `write_generation`, in the order of DESIGN.md, section 8.

use core::fmt;
use std::io::{self, Read};
use std::path::Path;

use crate::copy::{ChunkReader, copy_synced};
use crate::crypto;
use crate::file::{DiskState, SnapshotFile, read_header};
use crate::file_error::{Action, CommitError, CreateError, IoContext, LockError, ReloadError};
use crate::header::ParsedHeader;
use crate::safe_open::Obstacle;
use crate::sealed::{Payload, SealError};
use crate::sealer::{SealStream, Sealer};
use crate::slot::Unlock;
use crate::storage::{Disk, Storage};

/// A snapshot file that this process alone may write, until this is dropped.
pub struct SnapshotGuard<'a, S: Storage = Disk> {
    file: &'a mut SnapshotFile<S>,
    lock: S::Lock,
}

/// What the body of the next generation is.
#[derive(Clone, Copy)]
enum Body<'a> {
    /// This payload, sealed.
    Sealing(&'a [u8]),
    /// The bytes of the one on disk, as they are.
    AsOnDisk,
}

impl<'a, S: Storage> SnapshotGuard<'a, S> {
    pub(crate) fn new(file: &'a mut SnapshotFile<S>, lock: S::Lock) -> Self {
        Self { file, lock }
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

    /// Writes `payload` as the next generation and returns when it would survive a loss of power. What it no longer has
    /// is then in no file of this snapshot. (What the disk itself still holds in unused blocks is beyond reach.)
    ///
    /// # Errors
    /// [`CommitError`]; [`CommitError::Stale`] when the file was changed since it was read.
    pub fn commit(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.commit_as(&self.file.lineage.clone(), Body::Sealing(payload))
    }

    /// Writes `payload`, which must be what is in the file, with slots that `change` added or removed. Where `change` renewed the
    /// master key, the payload is sealed anew; else the body stays as it is, byte for byte.
    ///
    /// # Errors
    /// [`CommitError`]; when `change` fails, nothing is written and the slots stay.
    pub fn commit_slots(
        &mut self,
        payload: &[u8],
        change: impl FnOnce(&mut Sealer) -> Result<(), SealError>,
    ) -> Result<(), CommitError> {
        let mut changed = self.file.lineage.clone();
        change(&mut changed)?;
        let renewed = changed.has_other_master(&self.file.lineage);
        let body = if renewed { Body::Sealing(payload) } else { Body::AsOnDisk };
        self.commit_as(&changed, body)
    }

    /// As [`commit`](Self::commit), under a new master key: see [`Sealer::renew_master`].
    ///
    /// # Errors
    /// [`CommitError`]; [`SealError::SlotNotAtHand`] where a slot can't be written anew: nothing is written then.
    pub fn commit_renewed(&mut self, payload: &[u8], others: &[Unlock<'_>]) -> Result<(), CommitError> {
        let mut changed = self.file.lineage.clone();
        changed.renew_master(others)?;
        self.commit_as(&changed, Body::Sealing(payload))
    }

    /// The first generation: nothing may be there yet.
    pub(crate) fn create(&mut self, payload: &[u8]) -> Result<(), CreateError> {
        let SnapshotFile { storage, paths, lineage, .. } = &*self.file;
        if storage.exists(&paths.file).context(Action::Find, &paths.file).map_err(CommitError::from)? {
            return Err(CreateError::Exists(paths.file.clone()));
        }
        Ok(self.write_generation(&lineage.clone(), Body::Sealing(payload))?)
    }

    fn commit_as(&mut self, lineage: &Sealer, body: Body<'_>) -> Result<(), CommitError> {
        let held = lineage.generation();
        match self.file.disk_state()? {
            DiskState::Same => self.write_generation(lineage, body),
            DiskState::Newer(found) => Err(CommitError::Stale { found, held }),
            DiskState::NotNewer(found) => Err(CommitError::RolledBack { found, held }),
        }
    }

    /// The commit, once the generation on disk is known: all that comes between a payload and its durability. On an
    /// error before the rename the file is as it was.
    fn write_generation(&mut self, lineage: &Sealer, body: Body<'_>) -> Result<(), CommitError> {
        let SnapshotFile { storage, paths, .. } = &*self.file;
        let temporary = paths.temporary().map_err(SealError::from)?;
        let written = self.write_verified(&temporary, lineage, body);
        crypto::wipe_stack();
        let replaced = written.and_then(|after| {
            self.check_lock()?;
            storage.rename(&temporary, &paths.file).context(Action::Replace, &paths.file)?;
            Ok(after)
        });
        if replaced.is_err() {
            let _ = storage.remove(&temporary);
        }
        let after = replaced?;
        storage.sync_folder(&paths.folder).context(Action::SyncFolder, &paths.folder)?;
        self.file.lineage = after;
        self.file.payload = None;
        Ok(())
    }

    /// Whoever removed or exchanged the lock's file let another writer in: then this one must not go on.
    fn check_lock(&self) -> Result<(), CommitError> {
        let SnapshotFile { storage, paths, .. } = &*self.file;
        match storage.is_locked(&self.lock, &paths.lock).context(Action::Lock, &paths.lock)? {
            true => Ok(()),
            false => Err(LockError::InTheWay { path: paths.lock.clone(), what: Obstacle::Exchanged }.into()),
        }
    }

    /// Writes the next generation into a new file, syncs it, reads it back and compares. Gives the lineage after it.
    fn write_verified(
        &self,
        temporary: &Path,
        lineage: &Sealer,
        body: Body<'_>,
    ) -> Result<Sealer, CommitError> {
        let storage = &self.file.storage;
        match body {
            Body::Sealing(payload) => write_sealed(storage, temporary, lineage.seal_stream(payload)?),
            Body::AsOnDisk => {
                let (after, header) = lineage.next_with_same_body()?;
                write_with_header(storage, temporary, &header, &self.file.paths.file)?;
                Ok(after)
            }
        }
    }
}

impl<S: Storage> fmt::Debug for SnapshotGuard<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Locked").field(&self.file).finish()
    }
}

/// Writes what is being sealed, part by part, and reads it back.
fn write_sealed<S: Storage>(
    storage: &S,
    path: &Path,
    mut sealing: SealStream<'_>,
) -> Result<Sealer, CommitError> {
    let mut file = storage.create(path).context(Action::Create, path)?;
    while let Some(part) = sealing.next_chunk()? {
        storage.write(&mut file, part).context(Action::Write, path)?;
    }
    storage.sync(&file).context(Action::Sync, path)?;
    let written =
        storage.open(path).and_then(|mut file| sealing.is_in(&mut file)).context(Action::Read, path)?;
    if written { Ok(sealing.into_next()) } else { Err(CommitError::NotAsWritten) }
}

/// Writes `header` and then what follows the header of the snapshot `of`, byte for byte, and reads it back.
fn write_with_header<S: Storage>(
    storage: &S,
    path: &Path,
    header: &[u8],
    of: &Path,
) -> Result<(), CommitError> {
    let start = read_header(storage, of)?;
    let skip = ParsedHeader::parse(&start).map_err(CommitError::Replaced)?.bytes.len() as u64;
    let body = || -> io::Result<S::Reader> {
        let mut file = storage.open(of)?;
        io::copy(&mut (&mut file).take(skip), &mut io::sink())?;
        Ok(file)
    };
    copy_synced(storage, header.chain(body().context(Action::Read, of)?), of, path)?;
    let mut expected = ChunkReader::of(header.chain(body().context(Action::Read, of)?));
    let mut written = ChunkReader::of(storage.open(path).context(Action::Read, path)?);
    loop {
        match (expected.next().context(Action::Read, of)?, written.next().context(Action::Read, path)?) {
            (None, None) => return Ok(()),
            (expected, written) if expected == written => {}
            _ => return Err(CommitError::NotAsWritten),
        }
    }
}
