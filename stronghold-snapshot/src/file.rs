//! A snapshot on disk: creating, opening and locking it. The commit itself is in `commit.rs`.
//!
//! Files beside the snapshot `NAME`: `.NAME.lock` (locked while writing) and, during a commit,
//! `.NAME.PROCESS-RANDOM.tmp`.

pub(crate) mod commit;
pub(crate) mod copy;
pub(crate) mod note;
pub(crate) mod paths;
pub(crate) mod rollback;
pub(crate) mod safe_open;
pub(crate) mod status;
pub(crate) mod storage;

use core::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::OpenError;
use crate::error::{
    Action, CommitError, CreateError, IoContext, LockError, OpenFileError, ReloadError, StorageError,
};
use crate::file::commit::SnapshotGuard;
use crate::file::paths::Paths;
use crate::file::safe_open::Obstacle;
use crate::file::storage::{Disk, Storage};
use crate::format::body::BodyKey;
use crate::format::cost::KdfWork;
use crate::format::crypto;
use crate::format::header::{self, ParsedHeader};
use crate::format::payload::Payload;
use crate::format::sealer::Opened;
use crate::format::sealer::Sealer;
use crate::format::slot::{NewSlot, Unlock};

/// Time that [`SnapshotFile::commit`] and [`SnapshotFile::create`] wait for the lock.
pub const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Interval at which a waiting writer tries the lock.
const LOCK_POLL: Duration = Duration::from_millis(4);

/// Limits on the effort spent on a file before it is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of bytes to read.
    pub max_len: u64,
    /// Maximum cost of trying a passphrase.
    pub work: KdfWork,
}

impl Limits {
    /// For a file made on this device: everything that the format allows.
    pub const OWN: Self = Self { max_len: u64::MAX, work: KdfWork::ANY };

    /// For an untrusted file: 1 GiB, and the work of [`KdfWork::FOREIGN`].
    pub const FOREIGN: Self = Self { max_len: 1 << 30, work: KdfWork::FOREIGN };
}

/// An opened or created snapshot file. Reading takes no lock; writing goes through
/// [`lock`](Self::lock).
///
/// To change a file that others may change too: [`lock`](Self::lock) it, call
/// [`SnapshotGuard::reload_if_newer`], apply the change to the returned payload, then
/// [`SnapshotGuard::commit`]. The lock is held throughout, so no acknowledged write is lost.
pub struct SnapshotFile<S: Storage = Disk> {
    pub(crate) storage: S,
    pub(crate) paths: Paths,
    pub(crate) sealer: Sealer,
}

/// The file on disk compared with the generation last read or written here.
pub(crate) enum DiskState {
    /// The same generation.
    Same,
    /// A later generation, with its number.
    Newer(u64),
    /// An older generation, or a different one with the same number.
    NotNewer(u64),
}

impl SnapshotFile {
    /// Creates a snapshot file; see [`create_in`](SnapshotFile::create_in).
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create(path: &Path, slots: &[NewSlot<'_>], payload: &[u8]) -> Result<Self, CreateError> {
        Self::create_in(Disk, path, slots, payload)
    }

    /// Opens a snapshot file; see [`open_in`](SnapshotFile::open_in).
    ///
    /// # Errors
    /// [`OpenFileError`].
    pub fn open(path: &Path, unlock: &Unlock<'_>) -> Result<(Self, Payload), OpenFileError> {
        Self::open_in(Disk, path, unlock)
    }

    /// Opens an untrusted file within `limits`.
    ///
    /// # Errors
    /// [`OpenFileError`]; [`OpenFileError::TooLarge`] and [`OpenError::TooCostly`] if the file
    /// demands more than `limits`.
    pub fn open_within(
        path: &Path,
        unlock: &Unlock<'_>,
        limits: &Limits,
    ) -> Result<(Self, Payload), OpenFileError> {
        Self::open_in_within(Disk, path, unlock, limits)
    }
}

impl<S: Storage> SnapshotFile<S> {
    /// Creates a snapshot file that each of `slots` opens, with `payload` as its first generation.
    /// Its folder must exist. When this returns `Ok`, the file survives a power loss.
    ///
    /// # Errors
    /// [`CreateError::Exists`] if anything exists at `path`; else the reason why the generation was
    /// not written.
    pub fn create_in(
        storage: S,
        path: &Path,
        slots: &[NewSlot<'_>],
        payload: &[u8],
    ) -> Result<Self, CreateError> {
        let paths = Paths::resolve(&storage, path).map_err(CommitError::from)?;
        let exists =
            storage.exists(&paths.file).context(Action::Find, &paths.file).map_err(CommitError::from)?;
        if exists {
            return Err(CreateError::Exists(paths.file));
        }
        let sealer = Sealer::create(slots).map_err(CommitError::from)?;
        let mut file = Self { storage, paths, sealer };
        let created = file.lock(LOCK_WAIT).map_err(CommitError::from)?.create(payload);
        if created.is_err() && !file.storage.exists(&file.paths.file).unwrap_or(true) {
            let _ = file.remove_lock(Duration::ZERO); // it would lock nothing
        }
        created.map(|()| file)
    }

    /// Opens a snapshot file and follows links; returns it with its payload. Takes no lock and
    /// writes nothing.
    ///
    /// # Errors
    /// [`OpenFileError`].
    pub fn open_in(storage: S, path: &Path, unlock: &Unlock<'_>) -> Result<(Self, Payload), OpenFileError> {
        Self::open_in_within(storage, path, unlock, &Limits::OWN)
    }

    fn open_in_within(
        storage: S,
        path: &Path,
        unlock: &Unlock<'_>,
        limits: &Limits,
    ) -> Result<(Self, Payload), OpenFileError> {
        let paths = Paths::resolve(&storage, path)?;
        let open = |encoded: &ParsedHeader<'_>| Sealer::unlock(encoded, unlock, limits.work);
        let Opened { sealer, payload } = open_streaming(&storage, &paths.file, limits.max_len, open)?;
        Ok((Self { storage, paths, sealer }, payload))
    }

    /// Returns the payload on disk if its generation is later than the one last read or written
    /// here, else `None`. Runs no Argon2 and takes no lock.
    ///
    /// # Errors
    /// [`ReloadError`] if the file can't be read or opened, or is older than the last one read.
    pub fn reload_if_newer(&mut self) -> Result<Option<Payload>, ReloadError> {
        match self.disk_state()? {
            DiskState::Same => Ok(None),
            DiskState::NotNewer(found) => {
                Err(ReloadError::RolledBack { found, held: self.sealer.generation() })
            }
            DiskState::Newer(_) => self.reload().map(Some),
        }
    }

    /// Reloads the file, unless it is older than the one read before.
    ///
    /// # Errors
    /// As [`reload_if_newer`](Self::reload_if_newer).
    pub fn reload(&mut self) -> Result<Payload, ReloadError> {
        if let DiskState::NotNewer(found) = self.disk_state()? {
            return Err(ReloadError::RolledBack { found, held: self.sealer.generation() });
        }
        let Opened { sealer: lineage, payload } = self.reopen(&self.paths.file)?;
        self.sealer = lineage;
        Ok(payload)
    }

    fn reopen(&self, path: &Path) -> Result<Opened, OpenFileError> {
        open_streaming(&self.storage, path, u64::MAX, |encoded| self.sealer.follow(encoded))
    }

    /// Returns the snapshot's real path, with links followed.
    pub fn path(&self) -> &Path {
        &self.paths.file
    }

    /// Returns the sealer: the master key, slots and generation last read or written.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Takes the writer's lock and removes temporary files that dead writers left. Waits up to
    /// `wait`.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn lock(&mut self, wait: Duration) -> Result<SnapshotGuard<'_, S>, LockError> {
        let give_up = Instant::now().checked_add(wait);
        let path = &self.paths.lock;
        let lock = loop {
            match self.try_lock()? {
                Some(lock) => break lock,
                None if give_up.is_none_or(|end| Instant::now() < end) => thread::sleep(LOCK_POLL),
                None => return Err(LockError::InUse { holder: self.storage.lock_holder(path) }),
            }
        };
        self.remove_leftovers();
        Ok(SnapshotGuard::new(self, lock))
    }

    fn try_lock(&self) -> Result<Option<S::Lock>, LockError> {
        let path = &self.paths.lock;
        self.storage.try_lock(path).map_err(|source| match Obstacle::behind(&source) {
            Some(what) => LockError::InTheWay { path: path.clone(), what },
            None => StorageError { action: Action::Lock, path: path.clone(), source }.into(),
        })
    }

    /// Removes the lock file of a file that is not to be written again; a later writer makes a new
    /// one. Waits up to `wait` for writers.
    ///
    /// # Errors
    /// [`LockError`]; the lock file stays then.
    pub fn remove_lock(&mut self, wait: Duration) -> Result<(), LockError> {
        let path = self.paths.lock.clone();
        let locked = self.lock(wait)?;
        // A process waiting for this lock finds that its file is gone once it gets the lock, and
        // takes the new one.
        let storage = &locked.file().storage;
        Ok(storage.remove(&path).context(Action::Remove, &path)?)
    }

    /// Writes `payload` as the next generation: [`lock`](Self::lock), then
    /// [`SnapshotGuard::commit`].
    ///
    /// # Errors
    /// [`CommitError`]; [`CommitError::Stale`] if another process wrote since the last read.
    pub fn commit(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.lock(LOCK_WAIT)?.commit(payload)
    }

    /// Compares the file on disk with the generation last read or written here, by its header
    /// alone.
    pub(crate) fn disk_state(&self) -> Result<DiskState, OpenFileError> {
        let SnapshotFile { storage, paths, sealer: lineage, .. } = self;
        let start = read_header(storage, &paths.file)?;
        let on_disk = ParsedHeader::parse(&start).map_err(|source| self.not_ours(source))?;
        if on_disk.header.file_id != lineage.file_id() {
            return Err(self.not_ours(OpenError::WrongKey));
        }
        Ok(match on_disk.header.generation {
            _ if on_disk.hash() == lineage.header_hash() => DiskState::Same,
            found if found > lineage.generation() => DiskState::Newer(found),
            found => DiskState::NotNewer(found),
        })
    }

    fn not_ours(&self, source: OpenError) -> OpenFileError {
        OpenFileError::Snapshot { path: self.paths.file.clone(), source }
    }

    /// Removes leftover temporary files. Requires the lock, so no other writer's temporary file is
    /// in use. Never fails: a file that can't be removed is harmless.
    fn remove_leftovers(&self) {
        for name in self.storage.list(&self.paths.folder).unwrap_or_default() {
            let path = self.paths.folder.join(&name);
            if self.paths.is_temporary(&name) && self.storage.is_own(&path).unwrap_or(false) {
                let _ = self.storage.remove(&path);
            }
        }
    }
}

/// Opens a file in a streaming fashion: its header, then chunk by chunk. Holds only the header, one
/// chunk and authenticated content in memory, whatever the file is.
fn open_streaming<S: Storage>(
    storage: &S,
    path: &Path,
    max_len: u64,
    open: impl FnOnce(&ParsedHeader<'_>) -> Result<(Sealer, BodyKey), OpenError>,
) -> Result<Opened, OpenFileError> {
    let wrong = |source| OpenFileError::Snapshot { path: path.to_owned(), source };
    let mut file = storage.open(path).context(Action::Read, path)?;
    let start = take_header(&mut file).context(Action::Read, path)?;
    let encoded = ParsedHeader::parse(&start).map_err(wrong)?;
    let (lineage, key) = open(&encoded).map_err(wrong)?;
    let max = max_len.saturating_sub(start.len() as u64);
    let body = key.open_from(&mut file, max).context(Action::Read, path)?.map_err(wrong)?;
    crypto::wipe_stack();
    let body = body.ok_or_else(|| OpenFileError::TooLarge { path: path.to_owned(), max_len })?;
    Ok(Opened { sealer: lineage, payload: Payload(body) })
}

/// Reads the header at the start of a file.
pub(crate) fn read_header<S: Storage>(storage: &S, path: &Path) -> Result<Vec<u8>, StorageError> {
    storage.open(path).and_then(|mut file| take_header(&mut file)).context(Action::Read, path)
}

/// Reads as many bytes as the header declares, or as there are.
fn take_header(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(header::PREAMBLE_LEN as u64).read_to_end(&mut bytes)?;
    let left = header::len_of(&bytes).unwrap_or_default().saturating_sub(bytes.len());
    file.take(left as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl<S: Storage> fmt::Debug for SnapshotFile<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("path", &self.paths.file)
            .field("lineage", &self.sealer)
            .finish_non_exhaustive()
    }
}
