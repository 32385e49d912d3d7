//! A Stronghold together with its snapshot file.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::Duration;

use stronghold_vault::{PendingStep, RandomnessError, Stronghold};
use thiserror::Error;

use crate::clock::now;
use crate::error::SealError;
use crate::error::{CommitError, CreateError, LockError, OpenFileError, ReloadError};
use crate::file::commit::SnapshotGuard;
use crate::file::rollback::{NoteError, RollbackError, RollbackGuard};
use crate::file::{LOCK_WAIT, Limits, SnapshotFile};
use crate::format::encoding::{DecodeError, decode, encode};
use crate::format::payload::Payload;
use crate::format::sealer::Sealer;
use crate::format::slot::{NewSlot, Unlock};

/// A Stronghold in memory together with its file: the state last read, and the operations that
/// change it.
#[derive(Debug)]
pub struct VaultFile {
    file: SnapshotFile,
    stronghold: Stronghold,
    /// Set if memory may differ from the file: a change failed halfway.
    stale: bool,
    wait: Duration,
    /// The step that changes belong to, once one was begun.
    step: Option<PendingStep>,
    notes: Option<RollbackNotes>,
    /// Header hash of the generation noted last, so that it is not noted again.
    noted: Option<[u8; 32]>,
    /// Set once a failure to note was reported, so that it is reported only once.
    reported: bool,
}

/// The notes that a device keeps of its files against rollback, and the policy for failures.
#[derive(Debug, Clone)]
pub struct RollbackNotes {
    /// Where notes are kept; `None` if the system names no folder for them.
    pub guard: Option<RollbackGuard>,
    /// If set, nothing is opened or written while notes can't be read or written.
    pub required: bool,
    /// Called when a note can't be read or written: an old copy in the file's place would go
    /// undetected.
    pub on_failure: fn(&NoteError),
}

/// The treatment of a file that is older than its note, or a different file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRollback {
    /// Refuse to open the file.
    Refuse,
    /// Open the file and note it from now on.
    Accept,
}

/// An error of opening, reloading or writing a Stronghold's file.
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
    /// Notes are required and can't be read or written. Nothing was changed.
    #[error("rollback can't be noticed: {0}")]
    Notes(#[from] NoteError),
    /// The file opens, but its payload is not a Stronghold.
    #[error(transparent)]
    Payload(#[from] DecodeError),
}

impl From<RandomnessError> for VaultFileError {
    fn from(error: RandomnessError) -> Self {
        SealError::from(error).into()
    }
}

impl From<SealError> for VaultFileError {
    fn from(error: SealError) -> Self {
        CommitError::from(error).into()
    }
}

impl VaultFileError {
    /// Returns whether another process held the lock for too long. Nothing was changed, and a later
    /// try may succeed.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Lock(LockError::InUse { .. }))
    }
}

impl VaultFile {
    /// Creates the file with this Stronghold as its first generation.
    ///
    /// # Errors
    /// [`VaultFileError::Create`] if the file exists already or can't be written.
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
    /// [`VaultFileError::Open`] if the file can't be read or opened, [`VaultFileError::Payload`] if
    /// its payload is not a Stronghold.
    pub fn open(path: &Path, unlock: &Unlock<'_>) -> Result<Self, VaultFileError> {
        Self::load(SnapshotFile::open(path, unlock)?)
    }

    /// Opens an untrusted file within `limits`, as [`open`](Self::open) does: see
    /// [`Limits::FOREIGN`].
    ///
    /// # Errors
    /// As [`open`](Self::open); [`OpenFileError::TooLarge`] and
    /// [`OpenError::TooCostly`](crate::OpenError::TooCostly) if the file demands more than
    /// `limits`.
    pub fn open_within(path: &Path, unlock: &Unlock<'_>, limits: &Limits) -> Result<Self, VaultFileError> {
        Self::load(SnapshotFile::open_within(path, unlock, limits)?)
    }

    /// Opens a file as [`open_within`](Self::open_within) does and checks it for rollback: it must
    /// be the file last noted at this path, and not older. If the owner has paid for a costlier
    /// passphrase before, that cost is allowed even beyond `limits`.
    ///
    /// # Errors
    /// [`VaultFileError::RolledBack`] if the file is older or a different one and `older` refuses
    /// that; [`VaultFileError::Notes`] if notes are required and can't be read or written; else as
    /// [`open_within`](Self::open_within).
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
        let (file, payload) = SnapshotFile::open_within(path, unlock, &limits)?;
        let told = match older {
            OnRollback::Refuse => {
                last.check(&file)?;
                last.confirm(&file)
            }
            OnRollback::Accept => seen.accept(&file),
        };
        let mut home = Self::load((file, payload))?;
        home.notes = Some(notes.clone());
        home.report_failed(told)?;
        home.set_rollback_notes(notes)?;
        Ok(home)
    }

    fn load((file, payload): (SnapshotFile, Payload)) -> Result<Self, VaultFileError> {
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
            reported: false,
            step: None,
        }
    }

    /// Sets where the file's state is noted, now and with each change.
    ///
    /// # Errors
    /// [`VaultFileError::Notes`] if notes are required and can't be written.
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
            (self.noted, self.reported) = (Some(hash), false);
        }
        Ok(())
    }

    /// Reports a failed note: as an error if notes are required, else by the callback.
    fn report_failed(&mut self, noted: Result<(), NoteError>) -> Result<(), VaultFileError> {
        match noted {
            Err(error) if self.notes.as_ref().is_some_and(|notes| notes.required) => Err(error.into()),
            Err(error) => {
                self.report_once(&error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Reports a failed note once, and again only after notes have worked in between.
    fn report_once(&mut self, error: &NoteError) {
        if let Some(notes) = self.notes.as_ref().filter(|_| !self.reported) {
            (notes.on_failure)(error);
            self.reported = true;
        }
    }

    /// Checks that notes can be written, if they are required.
    fn check_notes(&self) -> Result<(), NoteError> {
        match &self.notes {
            Some(RollbackNotes { guard: Some(seen), required: true, .. }) => seen.probe(),
            Some(RollbackNotes { guard: None, required: true, .. }) => Err(NoteError::NoFolder),
            _ => Ok(()),
        }
    }

    /// Removes the lock file of a file that is not to be written again: see
    /// [`SnapshotFile::remove_lock`].
    ///
    /// # Errors
    /// [`VaultFileError::Lock`]; the lock file stays then.
    pub fn remove_lock(&mut self) -> Result<(), VaultFileError> {
        Ok(self.file.remove_lock(self.wait)?)
    }

    /// Sets how long to wait for other writers.
    pub fn set_lock_wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    /// Returns how long a change waits for other writers.
    pub fn lock_wait(&self) -> Duration {
        self.wait
    }

    /// Begins a step, labelled with a command's name: later changes can be undone together by
    /// [`Stronghold::undo`]. Before the first call, each change is a step of its own.
    pub fn begin_step(&mut self, word: &str) {
        self.step = Some(PendingStep::command(word, now()));
    }

    /// Returns the Stronghold as last read or written.
    pub fn stronghold(&self) -> &Stronghold {
        &self.stronghold
    }

    /// Returns the file.
    pub fn file(&self) -> &SnapshotFile {
        &self.file
    }

    /// Reloads the file if another process has written it, and returns the current Stronghold.
    /// Takes no lock.
    ///
    /// # Errors
    /// [`VaultFileError`] if the file can't be read.
    pub fn refresh(&mut self) -> Result<&Stronghold, VaultFileError> {
        self.run_or_mark_stale(|home| {
            if let Some(payload) = home.file.reload_if_newer()? {
                home.stronghold = decode(&payload)?;
            }
            Ok::<_, VaultFileError>(())
        })?;
        Ok(&self.stronghold)
    }

    /// Reloads the whole file, changed or not: [`refresh`](Self::refresh) does not detect damage
    /// behind the header.
    ///
    /// # Errors
    /// [`VaultFileError`] if the file can't be read.
    pub fn refresh_whole(&mut self) -> Result<&Stronghold, VaultFileError> {
        self.run_or_mark_stale(Self::reread)?;
        Ok(&self.stronghold)
    }

    /// Changes the Stronghold and commits it, with an error of the caller's; see
    /// [`update`](Self::update) for one that takes all of a Stronghold's. Holds the lock throughout
    /// and applies the change to the newest generation, so that no acknowledged write of another
    /// process is lost. When this returns `Ok`, the change is durable.
    ///
    /// # Errors
    /// The error of `change`, or a [`VaultFileError`]. Nothing is written then, and memory is as
    /// before; the same holds if `change` panics. The file is reloaded before the next use.
    pub fn update_as<T, E: From<VaultFileError>>(
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

    /// Changes and commits as [`update_as`](Self::update_as) does, within the given step:
    /// sessions that change the file in turn each have a step of their own.
    ///
    /// # Errors
    /// As [`update_as`](Self::update_as).
    pub fn update_in<T, E: From<VaultFileError>>(
        &mut self,
        step: &mut PendingStep,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.update_with(step, self.wait, change, |locked, payload| locked.commit(payload))
    }

    /// Changes and commits as [`update`](Self::update) does, within the given step if there is one,
    /// and waits at most so long for other writers.
    pub(crate) fn update_within<T, E: From<VaultFileError>>(
        &mut self,
        wait: Option<Duration>,
        step: Option<&mut PendingStep>,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        let wait = wait.unwrap_or(self.wait);
        let update = |vault: &mut Self, step: &mut PendingStep| {
            vault.update_with(step, wait, change, |locked, payload| locked.commit(payload))
        };
        match step {
            Some(step) => update(self, step),
            None => self.in_own_step(update),
        }
    }

    fn update_with<T, E: From<VaultFileError>>(
        &mut self,
        step: &mut PendingStep,
        wait: Duration,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
        commit: impl FnOnce(&mut SnapshotGuard<'_>, &[u8]) -> Result<(), CommitError>,
    ) -> Result<T, E> {
        self.run_or_mark_stale(|home| {
            let (mut locked, stronghold) = home.lock_newest(wait)?;
            let before = encode(stronghold).map_err(VaultFileError::from)?;
            all_or_nothing(stronghold, &before, |stronghold| {
                stronghold.begin_step(step.clone());
                let done = change(stronghold)?;
                let ended = stronghold.end_step();
                let payload = encode(stronghold).map_err(VaultFileError::from)?;
                commit(&mut locked, &payload).map_err(VaultFileError::from)?;
                // The step has its number only now that the commit succeeded.
                ended.into_iter().for_each(|ended| *step = ended);
                Ok(done)
            })
        })
    }

    /// Applies a change to a copy in memory and returns its result. Takes no lock, changes nothing
    /// and writes nothing.
    ///
    /// # Errors
    /// The error of `change`, or a [`VaultFileError`] if the copy can't be made.
    pub fn dry_run<T, E: From<VaultFileError>>(
        &self,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        let payload = encode(&self.stronghold).map_err(VaultFileError::from)?;
        change(&mut decode(&payload).map_err(VaultFileError::from)?)
    }

    /// Changes and commits as [`update_as`](Self::update_as) does, under a new master key: see
    /// [`Sealer::renew_master`]. An old copy and its secrets do not open anything written from now
    /// on.
    ///
    /// # Errors
    /// As [`update_as`](Self::update_as); [`SealError::SlotNotAtHand`] if a slot's secret is
    /// neither in `others` nor at hand.
    pub fn update_and_renew<T, E: From<VaultFileError>>(
        &mut self,
        others: &[Unlock<'_>],
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.in_own_step(|home, step| {
            home.update_with(step, home.wait, change, |locked, payload| {
                locked.commit_renewed(payload, others)
            })
        })
    }

    /// Changes the key slots: see [`SnapshotGuard::commit_slots`]. The content stays the same.
    ///
    /// # Errors
    /// [`VaultFileError`]; nothing is written then.
    pub fn update_slots(
        &mut self,
        change: impl FnOnce(&mut Sealer) -> Result<(), SealError>,
    ) -> Result<(), VaultFileError> {
        self.run_or_mark_stale(|home| {
            let (mut locked, stronghold) = home.lock_newest(home.wait)?;
            let payload = encode(stronghold)?;
            Ok(locked.commit_slots(&payload, change)?)
        })
    }

    /// Takes the lock and loads the newest generation.
    fn lock_newest(
        &mut self,
        wait: Duration,
    ) -> Result<(SnapshotGuard<'_>, &mut Stronghold), VaultFileError> {
        self.check_notes()?;
        let mut locked = self.file.lock(wait)?;
        if let Some(payload) = locked.reload_if_newer()? {
            self.stronghold = decode(&payload)?;
        }
        Ok((locked, &mut self.stronghold))
    }

    /// Runs `work` on the in-memory state. After a failure or panic that state may be out of date,
    /// so the next call reloads the file first; a later commit would otherwise overwrite newer
    /// content.
    fn run_or_mark_stale<T, E: From<VaultFileError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.stale {
            self.reread()?;
        }
        self.stale = true; // also where `work` panics
        let done = work(self)?;
        self.stale = false;
        // The write is durable by now, so a failed note is reported and is no error of this call.
        if let Err(error) = self.note() {
            self.report_once(&error);
        }
        Ok(done)
    }

    fn reread(&mut self) -> Result<(), VaultFileError> {
        let payload = self.file.reload()?;
        self.stronghold = decode(&payload)?;
        Ok(())
    }
}

/// Applies `change` to `stronghold`, or restores it from `before` if the change fails or panics.
/// The panic continues.
fn all_or_nothing<T, E>(
    stronghold: &mut Stronghold,
    before: &[u8],
    change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
) -> Result<T, E> {
    let result = panic::catch_unwind(AssertUnwindSafe(|| change(stronghold)));
    if !matches!(result, Ok(Ok(_))) {
        // Decodes what was encoded a moment ago. Should that fail, the caller reloads the file.
        if let Ok(restored) = decode(before) {
            *stronghold = restored;
        }
    }
    result.unwrap_or_else(|panic| panic::resume_unwind(panic))
}
