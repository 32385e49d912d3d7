//! Writing: changes are appended to the file, or the whole is written anew. Two functions decide
//! durability: `append` and `write_generation`.

use core::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::SealError;
use crate::error::{Action, CommitError, CreateError, IoContext, LockError, ReloadError};
use crate::file::safe_open::Obstacle;
use crate::file::storage::{Disk, Storage};
use crate::file::{DiskState, Reloaded, SnapshotFile, take_header};
use crate::format::crypto;
use crate::format::header::ParsedHeader;
use crate::format::payload::Payload;
use crate::format::sealer::{SealStream, Sealer};
use crate::format::segment::SegmentHeader;
use crate::format::slot::Unlock;

/// Exclusive write access of this process to a snapshot file, until dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct SnapshotGuard<'a, S: Storage = Disk> {
    file: &'a mut SnapshotFile<S>,
    lock: S::Lock,
}

/// Least length of all segments at which the whole file is written anew.
const LEAST_APPENDED: u64 = 64 * 1024;

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
    pub fn reload_if_newer(&mut self) -> Result<Option<Reloaded>, ReloadError> {
        self.file.reload_if_newer()
    }

    /// Reloads the whole file: see [`SnapshotFile::reload`].
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn reload(&mut self) -> Result<Payload, ReloadError> {
        self.file.reload()
    }

    /// Writes `payload` as the next generation and returns once it would survive a power loss. No
    /// file of this snapshot contains removed content any more. (Unused blocks of the disk are out
    /// of reach.)
    ///
    /// # Errors
    /// [`CommitError`]; [`CommitError::Stale`] if the file changed since the last read.
    pub fn commit(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.commit_as(&self.file.sealer.clone(), payload)
    }

    /// Returns the generation last read or written.
    pub(crate) fn generation(&self) -> u64 {
        self.file.sealer.generation()
    }

    /// Appends `changes` to the file as the next generation and returns once they would survive a
    /// power loss: one write and one sync, whatever the size of the file.
    ///
    /// # Errors
    /// [`CommitError`]; [`CommitError::MustRewrite`] if only [`commit`](Self::commit) may write the
    /// next generation. After a failed sync, the changes may be there or not once power was lost:
    /// the next writer makes what it finds durable first.
    pub fn append(&mut self, changes: &[u8]) -> Result<(), CommitError> {
        self.check_is_newest()?;
        let SnapshotFile { storage, paths, sealer, .. } = &*self.file;
        let (path, end) = (&paths.file, sealer.end());
        let segment = sealer.seal_segment(changes)?;
        let header = SegmentHeader::parse(&segment).ok_or(CommitError::NotAsWritten)?;
        let file = storage.open_to_write(path).context(Action::Write, path)?;
        let Some(mut file) = file.filter(|_| !storage.was_left(&self.lock)) else {
            return Err(CommitError::MustRewrite);
        };
        self.check_lock()?;
        // Cuts off what a writer left that did not finish.
        let written =
            storage.set_len(&mut file, end).and_then(|()| storage.write_at(&mut file, end, &segment));
        if let Err(source) = written {
            let _ = storage.set_len(&mut file, end);
            return Err(source).context(Action::Write, path)?;
        }
        let synced = storage.sync(&file).context(Action::Sync, path).map_err(CommitError::from);
        let verified = synced.and_then(|()| self.verify_segment(&segment));
        if let Err(error) = verified {
            // Nothing may be appended behind bytes of which it is not known that they are durable.
            let cut = storage.set_len(&mut file, end).context(Action::Write, path);
            storage.keep_note(&mut self.lock);
            return Err(cut.map_or_else(CommitError::Unknown, |()| error));
        }
        self.file.sealer.append(&header);
        Ok(())
    }

    /// Checks whether the next changes, of `len` bytes, should be written with the whole file:
    /// segments take more than a quarter of it, or nothing may be appended.
    pub fn should_rewrite(&self, len: usize) -> bool {
        let sealer = &self.file.sealer;
        let appended = (sealer.end() - sealer.base_len()).saturating_add(len as u64);
        self.file.storage.was_left(&self.lock) || appended > LEAST_APPENDED.max(sealer.base_len() / 4)
    }

    /// Checks that the file at the path ends with this segment, behind the base that is known.
    fn verify_segment(&self, segment: &[u8]) -> Result<(), CommitError> {
        let SnapshotFile { storage, paths, sealer, .. } = &*self.file;
        let read = || -> io::Result<bool> {
            let mut file = storage.open(&paths.file)?;
            let start = take_header(&mut file)?;
            let is_base = ParsedHeader::parse(&start).is_ok_and(|found| found.hash() == *sealer.base_value());
            let mut found = Vec::with_capacity(segment.len());
            file.seek(SeekFrom::Start(sealer.end()))?;
            file.take(segment.len() as u64 + 1).read_to_end(&mut found)?;
            Ok(is_base && found == segment)
        };
        match read().context(Action::Read, &paths.file)? {
            true => Ok(()),
            false => Err(CommitError::NotAsWritten),
        }
    }

    /// Writes `payload`, which must equal the file's, with slots that `change` added or removed.
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
        self.commit_as(&changed, payload)
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
        self.commit_as(&changed, payload)
    }

    /// Writes the first generation. Fails if the file exists.
    pub(crate) fn create(&mut self, payload: &[u8]) -> Result<(), CreateError> {
        let SnapshotFile { storage, paths, sealer, .. } = &*self.file;
        if storage.exists(&paths.file).context(Action::Find, &paths.file).map_err(CommitError::from)? {
            return Err(CreateError::Exists(paths.file.clone()));
        }
        Ok(self.write_generation(&sealer.clone(), payload)?)
    }

    fn commit_as(&mut self, sealer: &Sealer, payload: &[u8]) -> Result<(), CommitError> {
        self.check_is_newest()?;
        self.write_generation(sealer, payload)
    }

    /// Checks that the file on disk is the generation last read or written here.
    fn check_is_newest(&self) -> Result<(), CommitError> {
        let held = self.file.sealer.generation();
        match self.file.disk_state()? {
            DiskState::Same => Ok(()),
            DiskState::Appended(after, _) => Err(CommitError::Stale { found: after.generation(), held }),
            DiskState::OtherBase(found) if found > held => Err(CommitError::Stale { found, held }),
            DiskState::OtherBase(found) | DiskState::OtherBranch(found) => {
                Err(CommitError::RolledBack { found, held })
            }
        }
    }

    /// Makes the next generation durable; the generation on disk was checked before. On an error
    /// before the rename, the file is unchanged.
    fn write_generation(&mut self, sealer: &Sealer, payload: &[u8]) -> Result<(), CommitError> {
        let SnapshotFile { storage, paths, .. } = &*self.file;
        let temporary = paths.temporary().map_err(SealError::from)?;
        let written = write_sealed(storage, &temporary, sealer.seal_stream(payload)?);
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
        if let Err(error) = storage.sync_folder(&paths.folder).context(Action::SyncFolder, &paths.folder) {
            storage.keep_note(&mut self.lock);
            return Err(error.into());
        }
        storage.release_note(&mut self.lock);
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
    storage.write(&mut file, &vec![0; sealing.padding()]).context(Action::Write, path)?;
    storage.sync(&file).context(Action::Sync, path)?;
    let written = storage
        .open(path)
        .and_then(|mut file| sealing.matches_file(&mut file))
        .context(Action::Read, path)?;
    if written { Ok(sealing.into_next()) } else { Err(CommitError::NotAsWritten) }
}
