//! Writing: locking the file, loading a newer generation from disk, and the commit. One function,
//! `write_generation`, decides durability.

use core::fmt;
use std::io::{self, Read};
use std::path::Path;

use crate::error::SealError;
use crate::error::{Action, CommitError, CreateError, IoContext, LockError, ReloadError};
use crate::file::copy::{ChunkReader, copy_synced};
use crate::file::safe_open::Obstacle;
use crate::file::storage::{Disk, Storage};
use crate::file::{DiskState, SnapshotFile, read_header};
use crate::format::crypto;
use crate::format::header::ParsedHeader;
use crate::format::payload::Payload;
use crate::format::sealer::{SealStream, Sealer};
use crate::format::slot::Unlock;

/// Exclusive write access of this process to a snapshot file, until dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct SnapshotGuard<'a, S: Storage = Disk> {
    file: &'a mut SnapshotFile<S>,
    lock: S::Lock,
}

/// The body of the next generation.
#[derive(Clone, Copy)]
enum Body<'a> {
    /// A payload to seal.
    Sealing(&'a [u8]),
    /// The body on disk, byte for byte.
    AsOnDisk,
}

impl<'a, S: Storage> SnapshotGuard<'a, S> {
    pub(crate) fn new(file: &'a mut SnapshotFile<S>, lock: S::Lock) -> Self {
        Self { file, lock }
    }

    /// Returns the locked file.
    pub fn file(&self) -> &SnapshotFile<S> {
        self.file
    }

    /// Reloads the file if it is newer: see [`SnapshotFile::reload_if_newer`].
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn reload_if_newer(&mut self) -> Result<Option<Payload>, ReloadError> {
        self.file.reload_if_newer()
    }

    /// Writes `payload` as the next generation and returns once it would survive a power loss. No
    /// file of this snapshot contains removed content any more. (Unused blocks of the disk are out
    /// of reach.)
    ///
    /// # Errors
    /// [`CommitError`]; [`CommitError::Stale`] if the file changed since the last read.
    pub fn commit(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.commit_as(&self.file.sealer.clone(), Body::Sealing(payload))
    }

    /// Writes `payload`, which must equal the file's, with slots that `change` added or removed. If
    /// `change` renewed the master key, the payload is sealed anew; otherwise the body stays the
    /// same, byte for byte.
    ///
    /// # Errors
    /// [`CommitError`]; if `change` fails, nothing is written and the slots stay.
    pub fn commit_slots(
        &mut self,
        payload: &[u8],
        change: impl FnOnce(&mut Sealer) -> Result<(), SealError>,
    ) -> Result<(), CommitError> {
        let mut changed = self.file.sealer.clone();
        change(&mut changed)?;
        let renewed = changed.has_other_master(&self.file.sealer);
        let body = if renewed { Body::Sealing(payload) } else { Body::AsOnDisk };
        self.commit_as(&changed, body)
    }

    /// Commits as [`commit`](Self::commit) does, under a new master key: see
    /// [`Sealer::renew_master`].
    ///
    /// # Errors
    /// [`CommitError`]; [`SealError::SlotNotAtHand`] if a slot can't be rewritten: nothing is
    /// written then.
    pub fn commit_renewed(&mut self, payload: &[u8], others: &[Unlock<'_>]) -> Result<(), CommitError> {
        let mut changed = self.file.sealer.clone();
        changed.renew_master(others)?;
        self.commit_as(&changed, Body::Sealing(payload))
    }

    /// Writes the first generation. Fails if the file exists.
    pub(crate) fn create(&mut self, payload: &[u8]) -> Result<(), CreateError> {
        let SnapshotFile { storage, paths, sealer: lineage, .. } = &*self.file;
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

    /// Makes the next generation durable; the generation on disk was checked before. On an error
    /// before the rename, the file is unchanged.
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
        self.file.sealer = after;
        Ok(())
    }

    /// Checks that the lock is still held. If its file was removed or replaced, another writer may
    /// be active and this one must stop.
    fn check_lock(&self) -> Result<(), CommitError> {
        let SnapshotFile { storage, paths, .. } = &*self.file;
        match storage.is_locked(&self.lock, &paths.lock).context(Action::Lock, &paths.lock)? {
            true => Ok(()),
            false => Err(LockError::InTheWay { path: paths.lock.clone(), what: Obstacle::Exchanged }.into()),
        }
    }

    /// Writes the next generation to a new file, syncs it, reads it back and compares. Returns the
    /// sealer of that generation.
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
        f.debug_tuple("SnapshotGuard").field(&self.file).finish()
    }
}

/// Writes the sealed stream chunk by chunk and verifies it by reading it back.
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
    let written = storage
        .open(path)
        .and_then(|mut file| sealing.matches_file(&mut file))
        .context(Action::Read, path)?;
    if written { Ok(sealing.into_next()) } else { Err(CommitError::NotAsWritten) }
}

/// Writes `header` and the body of the snapshot `of`, byte for byte, and verifies by reading back.
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
