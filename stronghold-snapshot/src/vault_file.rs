//! A Stronghold and the snapshot file that it lives in.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stronghold_vault::{PendingStep, Stronghold};
use thiserror::Error;

use crate::commit::SnapshotGuard;
use crate::encoding::{DecodeError, decode, encode};
use crate::file::{LOCK_WAIT, Limits, SnapshotFile};
use crate::file_error::{CommitError, CreateError, LockError, OpenFileError, ReloadError};
use crate::rollback::{NoteError, RollbackError, RollbackGuard};
use crate::sealed::SealError;
use crate::sealer::Sealer;
use crate::slot::{NewSlot, Unlock};

/// A Stronghold in memory together with its file: what was read last, and the way to change it.
#[derive(Debug)]
pub struct VaultFile {
    file: SnapshotFile,
    stronghold: Stronghold,
    /// What is in memory may not be what is on disk: a change failed half way.
    stale: bool,
    wait: Duration,
    /// The step that changes belong to, once one was begun.
    step: Option<PendingStep>,
    notes: Option<RollbackNotes>,
    /// What was noted last, so that it is not noted again.
    noted: Option<[u8; 32]>,
    /// Whether it was told that notes fail, so that it is told once.
    told: bool,
}

/// What a device remembers of its files, and what becomes of a command where it can't.
#[derive(Debug, Clone)]
pub struct RollbackNotes {
    /// Where; none if the system names no folder for it.
    pub guard: Option<RollbackGuard>,
    /// Whether nothing is opened and nothing written where notes can't be read or written.
    pub required: bool,
    /// Is told when a note can't be read or written: an old copy in the file's place would go unnoticed.
    pub tell: fn(&NoteError),
}

/// What to do with a file that is older than what was seen of it, or another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRollback {
    /// Not open it.
    Refuse,
    /// Open it, and remember it from now on.
    Accept,
}

/// Why a Stronghold's file could not be opened, read again or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VaultFileError {
    /// See [`OpenFileError`].
    #[error(transparent)]
    Open(#[from] OpenFileError),
    /// See [`CreateError`].
    #[error(transparent)]
    Create(#[from] CreateError),
    /// See [`LockError`].
    #[error(transparent)]
    Lock(#[from] LockError),
    /// See [`ReloadError`].
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// See [`CommitError`].
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// See [`RollbackError`].
    #[error(transparent)]
    RolledBack(#[from] RollbackError),
    /// Notes are required, and can't be read or written. Nothing was changed.
    #[error("rollback can't be noticed: {0}")]
    Notes(#[from] NoteError),
    /// The file opens, but what is in it is no Stronghold.
    #[error(transparent)]
    Payload(#[from] DecodeError),
}

impl From<SealError> for VaultFileError {
    fn from(error: SealError) -> Self {
        CommitError::from(error).into()
    }
}

impl VaultFile {
    /// Creates the file, with this Stronghold as its first generation.
    ///
    /// # Errors
    /// [`VaultFileError::Create`] when there is a file already or it can't be written.
    pub fn create(
        path: &Path,
        slots: &[NewSlot<'_>],
        stronghold: Stronghold,
    ) -> Result<Self, VaultFileError> {
        let payload = encode(&stronghold)?;
        let file = SnapshotFile::create(path, slots, &payload)?;
        Ok(Self::of(file, stronghold))
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`VaultFileError::Open`] when it can't be read or opened, [`VaultFileError::Payload`] when it is no Stronghold.
    pub fn open(path: &Path, unlock: &Unlock<'_>) -> Result<Self, VaultFileError> {
        Self::load(SnapshotFile::open(path, unlock)?)
    }

    /// As [`open`](Self::open), for a file that may be anybody's: see [`Limits::FOREIGN`].
    ///
    /// # Errors
    /// As [`open`](Self::open); [`OpenFileError::TooLarge`] and [`OpenError::TooCostly`](crate::OpenError::TooCostly) where it
    /// asks for more than `limits`.
    pub fn open_within(path: &Path, unlock: &Unlock<'_>, limits: &Limits) -> Result<Self, VaultFileError> {
        Self::load(SnapshotFile::open_within(path, unlock, limits)?)
    }

    /// As [`open_within`](Self::open_within), where the file is the one that was seen there, and not older than what was seen of
    /// it. For a passphrase that its owner has paid for before, more work is allowed than `limits` do.
    ///
    /// # Errors
    /// [`VaultFileError::RollbackError`] when it is older, or another one, and those are refused; [`VaultFileError::RollbackNotes`] where notes are
    /// required and can't be read or written; else as [`open_within`](Self::open_within).
    pub fn open_guarded(
        path: &Path,
        unlock: &Unlock<'_>,
        limits: &Limits,
        notes: RollbackNotes,
        older: OnRollback,
    ) -> Result<Self, VaultFileError> {
        let Some(seen) = &notes.guard else {
            let mut home = Self::open_within(path, unlock, limits)?;
            return home.set_rollback_notes(notes).map(|()| home);
        };
        let last = seen.last_seen(path).map_err(OpenFileError::from)?;
        let paid = last.paid().unwrap_or(limits.work);
        let limits = Limits { work: limits.work.max(paid), ..*limits };
        let file = SnapshotFile::open_within(path, unlock, &limits)?;
        let told = match older {
            OnRollback::Refuse => {
                last.check(&file)?;
                last.confirm(&file)
            }
            OnRollback::Accept => seen.accept(&file),
        };
        let mut home = Self::load(file)?;
        home.notes = Some(notes.clone());
        home.report_failed(told)?;
        home.set_rollback_notes(notes)?;
        Ok(home)
    }

    fn load(mut file: SnapshotFile) -> Result<Self, VaultFileError> {
        let payload = file.take_payload().ok_or(DecodeError)?;
        let stronghold = decode(&payload)?;
        Ok(Self::of(file, stronghold))
    }

    fn of(file: SnapshotFile, stronghold: Stronghold) -> Self {
        Self {
            file,
            stronghold,
            stale: false,
            wait: LOCK_WAIT,
            notes: None,
            noted: None,
            told: false,
            step: None,
        }
    }

    /// Remembers there what is seen of the file, now and with each change.
    ///
    /// # Errors
    /// [`VaultFileError::RollbackNotes`] where notes are required and can't be written.
    pub fn set_rollback_notes(&mut self, notes: RollbackNotes) -> Result<(), VaultFileError> {
        self.notes = Some(notes);
        self.noted = None;
        let noted = self.note();
        self.report_failed(noted)
    }

    fn note(&mut self) -> Result<(), NoteError> {
        let hash = self.file.sealer().header_hash();
        match &self.notes {
            Some(RollbackNotes { guard: Some(seen), .. }) if self.noted != Some(hash) => {
                seen.remember(&self.file)?
            }
            Some(RollbackNotes { guard: None, .. }) => return Err(NoteError::NoFolder),
            _ => {}
        }
        if self.noted != Some(hash) {
            (self.noted, self.told) = (Some(hash), false);
        }
        Ok(())
    }

    /// Tells what became of a note; an error where notes are required.
    fn report_failed(&mut self, noted: Result<(), NoteError>) -> Result<(), VaultFileError> {
        match noted {
            Err(error) if self.notes.as_ref().is_some_and(|notes| notes.required) => Err(error.into()),
            Err(error) => {
                self.tell(&error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Tells that notes fail, once; and again when they fail again after they were well.
    fn tell(&mut self, error: &NoteError) {
        if let Some(notes) = self.notes.as_ref().filter(|_| !self.told) {
            (notes.tell)(error);
            self.told = true;
        }
    }

    /// Where notes are required, nothing is written while they can't be.
    fn check_notes(&self) -> Result<(), NoteError> {
        match &self.notes {
            Some(RollbackNotes { guard: Some(seen), required: true, .. }) => seen.probe(),
            Some(RollbackNotes { guard: None, required: true, .. }) => Err(NoteError::NoFolder),
            _ => Ok(()),
        }
    }

    /// Removes the lock's file, where this file is not to be written again: see [`SnapshotFile::remove_lock`].
    ///
    /// # Errors
    /// [`VaultFileError::Lock`]; the lock's file stays then.
    pub fn remove_lock(&mut self) -> Result<(), VaultFileError> {
        Ok(self.file.remove_lock(self.wait)?)
    }

    /// Waits this long for other writers, from now on.
    pub fn set_lock_wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    /// Begins a step, named by the word of a command: what is changed from now on can be taken back at once, by
    /// [`Stronghold::undo`]. Before the first one, each change is a step of its own.
    pub fn begin_step(&mut self, word: &str) {
        self.step = Some(PendingStep::command(word, now()));
    }

    /// The Stronghold as it was last read or written.
    #[must_use]
    pub fn stronghold(&self) -> &Stronghold {
        &self.stronghold
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &SnapshotFile {
        &self.file
    }

    /// Reads the file again if another process wrote it, and gives what is there now. No lock is taken.
    ///
    /// # Errors
    /// [`VaultFileError`] when it can't be read.
    pub fn refresh(&mut self) -> Result<&Stronghold, VaultFileError> {
        self.attempt(|home| {
            if let Some(payload) = home.file.reload_if_newer()? {
                home.stronghold = decode(&payload)?;
            }
            Ok::<_, VaultFileError>(())
        })?;
        Ok(&self.stronghold)
    }

    /// Reads all of the file again, whether it seems to have changed or not: [`refresh`](Self::refresh) does not see damage
    /// behind the header.
    ///
    /// # Errors
    /// [`VaultFileError`] when it can't be read.
    pub fn refresh_whole(&mut self) -> Result<&Stronghold, VaultFileError> {
        self.attempt(Self::reread)?;
        Ok(&self.stronghold)
    }

    /// Changes the Stronghold and commits it: with the lock held throughout and on top of the newest generation, so
    /// that no acknowledged write of another process is lost. When this returns `Ok`, the change is durable.
    ///
    /// # Errors
    /// What `change` gives, or a [`VaultFileError`]: nothing is written then, and memory is as it was before. The same where
    /// `change` panics. The file is read again before the next use.
    pub fn update<T, E: From<VaultFileError>>(
        &mut self,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.in_own_step(|home, step| home.update_in(step, change))
    }

    fn in_own_step<T, E>(
        &mut self,
        update: impl FnOnce(&mut Self, &mut PendingStep) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut step = self.step.clone().unwrap_or_else(|| PendingStep::command("change", now()));
        let done = update(self, &mut step)?;
        if let Some(begun) = &mut self.step {
            *begun = step;
        }
        Ok(done)
    }

    /// As [`update`](Self::update), where the change belongs to this step: one of several sessions that change the file
    /// in turn has its own.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn update_in<T, E: From<VaultFileError>>(
        &mut self,
        step: &mut PendingStep,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.update_with(step, change, |locked, payload| locked.commit(payload))
    }

    fn update_with<T, E: From<VaultFileError>>(
        &mut self,
        step: &mut PendingStep,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
        commit: impl FnOnce(&mut SnapshotGuard<'_>, &[u8]) -> Result<(), CommitError>,
    ) -> Result<T, E> {
        self.attempt(|home| {
            let (mut locked, stronghold) = home.lock_newest()?;
            let before = encode(stronghold).map_err(VaultFileError::from)?;
            all_or_nothing(stronghold, &before, |stronghold| {
                stronghold.begin_step(step.clone());
                let done = change(stronghold)?;
                let ended = stronghold.end_step();
                let payload = encode(stronghold).map_err(VaultFileError::from)?;
                commit(&mut locked, &payload).map_err(VaultFileError::from)?;
                // Only now has the step the number that it may have got.
                ended.into_iter().for_each(|ended| *step = ended);
                Ok(done)
            })
        })
    }

    /// Tries a change on a copy in memory, and returns what it returns: no lock is taken, and nothing is changed or written.
    ///
    /// # Errors
    /// What `change` gives, or a [`VaultFileError`] when there can be no copy.
    pub fn dry_run<T, E: From<VaultFileError>>(
        &self,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        let payload = encode(&self.stronghold).map_err(VaultFileError::from)?;
        change(&mut decode(&payload).map_err(VaultFileError::from)?)
    }

    /// As [`update`](Self::update), under a new master key: see [`Sealer::renew_master`]. Whoever has an old
    /// copy and what opened it reads nothing that is written from now on.
    ///
    /// # Errors
    /// As [`update`](Self::update); [`SealError::SlotNotAtHand`] where a slot's secret is not among `others` and not at hand.
    pub fn update_and_renew<T, E: From<VaultFileError>>(
        &mut self,
        others: &[Unlock<'_>],
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.in_own_step(|home, step| {
            home.update_with(step, change, |locked, payload| locked.commit_renewed(payload, others))
        })
    }

    /// Changes the key slots: see [`SnapshotGuard::commit_slots`]. The content stays as it is.
    ///
    /// # Errors
    /// [`VaultFileError`]; nothing is written then.
    pub fn update_slots(
        &mut self,
        change: impl FnOnce(&mut Sealer) -> Result<(), SealError>,
    ) -> Result<(), VaultFileError> {
        self.attempt(|home| {
            let (mut locked, stronghold) = home.lock_newest()?;
            let payload = encode(stronghold)?;
            Ok(locked.commit_slots(&payload, change)?)
        })
    }

    /// Becomes the only writer, with the newest generation in memory.
    fn lock_newest(&mut self) -> Result<(SnapshotGuard<'_>, &mut Stronghold), VaultFileError> {
        self.check_notes()?;
        let mut locked = self.file.lock(self.wait)?;
        if let Some(payload) = locked.reload_if_newer()? {
            self.stronghold = decode(&payload)?;
        }
        Ok((locked, &mut self.stronghold))
    }

    /// Works on what is in memory. Where that fails or panics half way, the file may not be what was read from it last: it
    /// is read again before anything else is done, or else a later commit would write over what is there.
    fn attempt<T, E: From<VaultFileError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.stale {
            self.reread()?;
        }
        self.stale = true; // also where `work` panics
        let done = work(self)?;
        self.stale = false;
        // What was written is durable: that it can't be noted is told, and no error of this any more.
        if let Err(error) = self.note() {
            self.tell(&error);
        }
        Ok(done)
    }

    fn reread(&mut self) -> Result<(), VaultFileError> {
        let payload = self.file.reload()?;
        self.stronghold = decode(&payload)?;
        Ok(())
    }
}

/// Changes `stronghold`, or leaves it as it was `before`: where the change fails, and where it panics. The panic goes on.
fn all_or_nothing<T, E>(
    stronghold: &mut Stronghold,
    before: &[u8],
    change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
) -> Result<T, E> {
    let result = panic::catch_unwind(AssertUnwindSafe(|| change(stronghold)));
    if !matches!(result, Ok(Ok(_))) {
        // What was encoded a moment ago is decoded: should that fail, the caller reads the file again.
        if let Ok(restored) = decode(before) {
            *stronghold = restored;
        }
    }
    result.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// The time, in milliseconds since 1970, as a step shows it.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
