//! A snapshot on disk: creating, opening and locking it. The commit itself is in `commit.rs`.
//!
//! Files beside the snapshot `NAME`: `.NAME.lock` (locked while writing) and, during a commit,
//! `.NAME.PROCESS-RANDOM.tmp`.

pub(crate) mod commit;
pub(crate) mod note;
pub(crate) mod parts;
pub(crate) mod paths;
pub(crate) mod rollback;
pub(crate) mod safe_open;
pub(crate) mod status;
pub(crate) mod storage;

use core::fmt;
use std::any::Any;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::error::{
    Action, CommitError, CreateError, IoContext, LockError, OpenFileError, ReloadError, StorageError,
};
use crate::error::{Damage, OpenError};
use crate::file::commit::SnapshotGuard;
use crate::file::parts::PayloadReader;
use crate::file::paths::Paths;
use crate::file::safe_open::Obstacle;
use crate::file::storage::{Disk, Storage};
use crate::format::body::BodyKey;
use crate::format::cost::KdfWork;
use crate::format::crypto;
use crate::format::header::{self, ParsedHeader};
use crate::format::payload::Payload;
use crate::format::sealer::Opened;
use crate::format::sealer::walk::{Walked, walk};
use crate::format::sealer::{Sealer, check_gap};
use crate::format::segment::{HEADER_LEN, SegmentHeader};
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
    pub(crate) on_lock_wait: Option<OnLockWait>,
}

/// A function that is called when a writer has to wait for the lock.
#[derive(Clone)]
pub(crate) struct OnLockWait(Arc<dyn Fn(Option<u32>, Duration) -> Box<dyn Any> + Send + Sync>);

impl OnLockWait {
    pub(crate) fn new(begin: impl Fn(Option<u32>, Duration) -> Box<dyn Any> + Send + Sync + 'static) -> Self {
        Self(Arc::new(begin))
    }
}

/// The file on disk compared with the generation last read or written here.
pub(crate) enum DiskState {
    /// The same generation.
    Same,
    /// Segments follow: the sealer after them, and their changes.
    Appended(Box<Sealer>, Vec<Zeroizing<Vec<u8>>>),
    /// Another base, with its generation.
    OtherBase(u64),
    /// Another branch of the same base, with its generation: what was read is not there.
    OtherBranch(u64),
}

/// The newer content of a file: what another process wrote since.
#[derive(Debug)]
pub enum Reloaded {
    /// Changes of the content read before, oldest first.
    Changes(Vec<Zeroizing<Vec<u8>>>),
    /// The whole content.
    Whole(Payload),
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

    /// Opens a file within `limits`, but reads no more of its base than the returned reader is
    /// asked for.
    ///
    /// # Errors
    /// As [`open_within`](Self::open_within). Damage is found only in what is read.
    pub fn open_parts(
        path: &Path,
        unlock: &Unlock<'_>,
        limits: &Limits,
    ) -> Result<(Self, PayloadReader), OpenFileError> {
        let paths = Paths::resolve(&Disk, path)?;
        let open = |encoded: &ParsedHeader<'_>| Sealer::unlock(encoded, unlock, limits.work);
        let start = open_base(&Disk, &paths.file, limits.max_len, open)?;
        let (sealer, reader) = start.into_parts(&paths.file)?;
        Ok((Self { storage: Disk, paths, sealer, on_lock_wait: None }, reader))
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
        let mut file = Self { storage, paths, sealer, on_lock_wait: None };
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
        let start = open_base(&storage, &paths.file, limits.max_len, open)?;
        let Opened { sealer, payload } = start.read_all(&paths.file)?;
        Ok((Self { storage, paths, sealer, on_lock_wait: None }, payload))
    }

    /// Returns the content on disk if its generation is later than the one last read or written
    /// here, else `None`. Runs no Argon2 and takes no lock.
    ///
    /// # Errors
    /// [`ReloadError`] if the file can't be read or opened, or is older than the last one read.
    pub fn reload_if_newer(&mut self) -> Result<Option<Reloaded>, ReloadError> {
        match self.disk_state()? {
            DiskState::Same => Ok(None),
            DiskState::Appended(sealer, changes) => {
                self.sealer = *sealer;
                Ok(Some(Reloaded::Changes(changes)))
            }
            DiskState::OtherBase(_) | DiskState::OtherBranch(_) => {
                self.reload().map(|payload| Some(Reloaded::Whole(payload)))
            }
        }
    }

    /// Reloads the whole file, unless it is older than the one read before, or of another branch.
    ///
    /// # Errors
    /// As [`reload_if_newer`](Self::reload_if_newer).
    pub fn reload(&mut self) -> Result<Payload, ReloadError> {
        let Self { storage, paths, sealer, .. } = &*self;
        let start = open_base(storage, &paths.file, u64::MAX, |encoded| sealer.follow(encoded))?;
        let Opened { sealer, payload } = start.read_all(&paths.file)?;
        self.follow(sealer)?;
        Ok(payload)
    }

    /// Takes over the sealer of what is on disk, if that is not older and of the same branch.
    fn follow(&mut self, sealer: Sealer) -> Result<(), ReloadError> {
        let (found, held) = (sealer.generation(), self.sealer.generation());
        let is_other = |value| value != self.sealer.chain_value();
        if found < held || sealer.value_at(held).is_some_and(is_other) {
            return Err(ReloadError::RolledBack { found, held });
        }
        self.sealer = sealer;
        Ok(())
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
        let mut told = None;
        let lock = loop {
            match self.try_lock()? {
                Some(lock) => break lock,
                None if give_up.is_none_or(|end| Instant::now() < end) => {
                    if let (None, Some(OnLockWait(begin))) = (&told, &self.on_lock_wait) {
                        told = Some(begin(self.storage.lock_holder(path), wait));
                    }
                    thread::sleep(LOCK_POLL);
                }
                None => return Err(LockError::InUse { holder: self.storage.lock_holder(path) }),
            }
        };
        drop(told);
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

    /// Compares the file on disk with the generation last read or written here, by its headers.
    /// Reads on where segments follow.
    pub(crate) fn disk_state(&self) -> Result<DiskState, OpenFileError> {
        let SnapshotFile { storage, paths, sealer, .. } = self;
        let mut file = storage.open(&paths.file).context(Action::Read, &paths.file)?;
        let start = take_header(&mut file).context(Action::Read, &paths.file)?;
        let on_disk = ParsedHeader::parse(&start).map_err(|source| self.not_ours(source))?;
        if on_disk.header.file_id != sealer.file_id() {
            return Err(self.not_ours(OpenError::WrongKey));
        }
        if on_disk.hash() != *sealer.base_value() {
            return Ok(DiskState::OtherBase(on_disk.header.generation));
        }
        if !self.is_last_in_place(&mut file).context(Action::Read, &paths.file)? {
            let (mut there, _) = sealer.follow(&on_disk).map_err(|source| self.not_ours(source))?;
            self.walk(&mut file, &mut there)?;
            return Ok(DiskState::OtherBranch(there.generation()));
        }
        let mut after = sealer.clone();
        let Walked { changes, .. } = self.walk(&mut file, &mut after)?;
        Ok(if changes.is_empty() { DiskState::Same } else { DiskState::Appended(Box::new(after), changes) })
    }

    fn walk(&self, file: &mut S::Reader, sealer: &mut Sealer) -> Result<Walked, OpenFileError> {
        let walked = walk(file, sealer).context(Action::Read, &self.paths.file)?;
        walked.map_err(|source| self.not_ours(source))
    }

    /// Checks whether the last segment read or written here is still in its place.
    fn is_last_in_place(&self, file: &mut S::Reader) -> io::Result<bool> {
        let Some(at) = self.sealer.last_segment() else { return Ok(true) };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.take(HEADER_LEN as u64).read_to_end(&mut bytes)?;
        let header = SegmentHeader::parse(&bytes);
        Ok(header.is_some_and(|header| header.chain_value() == self.sealer.chain_value()))
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

/// A file whose header was opened. `file` stands at its body.
struct Start<S: Storage> {
    file: S::Reader,
    sealer: Sealer,
    key: BodyKey,
    body_at: u64,
    body_len: u64,
    body_end: u64,
}

/// Opens the header of a file, of at most `max_len` bytes.
fn open_base<S: Storage>(
    storage: &S,
    path: &Path,
    max_len: u64,
    open: impl FnOnce(&ParsedHeader<'_>) -> Result<(Sealer, BodyKey), OpenError>,
) -> Result<Start<S>, OpenFileError> {
    let wrong = |source| OpenFileError::Snapshot { path: path.to_owned(), source };
    let mut file = storage.open(path).context(Action::Read, path)?;
    let start = take_header(&mut file).context(Action::Read, path)?;
    let encoded = ParsedHeader::parse(&start).map_err(wrong)?;
    let (sealer, key) = open(&encoded).map_err(wrong)?;
    let len = file.seek(SeekFrom::End(0)).context(Action::Read, path)?;
    if len < encoded.body_end() {
        return Err(wrong(OpenError::Damaged(Damage::Truncated)));
    }
    if len > max_len {
        return Err(OpenFileError::TooLarge { path: path.to_owned(), max_len });
    }
    let body_at = start.len() as u64;
    file.seek(SeekFrom::Start(body_at)).context(Action::Read, path)?;
    let (body_len, body_end) = (encoded.header.body_len, encoded.body_end());
    Ok(Start { file, sealer, key, body_at, body_len, body_end })
}

impl<S: Storage> Start<S> {
    /// Reads everything, chunk by chunk. Holds only one chunk and authenticated content in memory,
    /// whatever the file is.
    fn read_all(mut self, path: &Path) -> Result<Opened, OpenFileError> {
        let base = self.key.open_from(&mut self.file, self.body_len).context(Action::Read, path)?;
        crypto::wipe_stack();
        let base = base.map_err(|source| OpenFileError::Snapshot { path: path.to_owned(), source })?;
        let Walked { changes, is_torn } = self.read_changes(path)?;
        Ok(Opened { sealer: self.sealer, payload: Payload { base, changes, is_torn } })
    }

    /// Reads the changes alone.
    fn into_parts(mut self, path: &Path) -> Result<(Sealer, PayloadReader<S>), OpenFileError> {
        let Walked { changes, is_torn } = self.read_changes(path)?;
        let Self { file, sealer, key, body_at, body_len: plain_len, .. } = self;
        let path = path.to_owned();
        let reader = PayloadReader { file, path, key, body_at, plain_len, changes, is_torn, opened: None };
        Ok((sealer, reader))
    }

    /// Reads what is behind the body: zeros up to the next block, then segments.
    fn read_changes(&mut self, path: &Path) -> Result<Walked, OpenFileError> {
        let wrong = |source| OpenFileError::Snapshot { path: path.to_owned(), source };
        let mut gap = Vec::new();
        self.file.seek(SeekFrom::Start(self.body_end)).context(Action::Read, path)?;
        let behind = self.sealer.base_len() - self.body_end;
        (&mut self.file).take(behind).read_to_end(&mut gap).context(Action::Read, path)?;
        check_gap(&gap, gap.len()).map_err(wrong)?;
        let is_cut = !gap.is_empty() && (gap.len() as u64) < behind;
        let walked = walk(&mut self.file, &mut self.sealer).context(Action::Read, path)?;
        let walked = walked.map_err(wrong)?;
        Ok(Walked { is_torn: walked.is_torn || is_cut, ..walked })
    }
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
            .field("sealer", &self.sealer)
            .finish_non_exhaustive()
    }
}
