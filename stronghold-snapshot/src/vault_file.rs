//! A Stronghold together with its snapshot file.

mod lock_wait;
mod notes;
mod stored;

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};

use stronghold_sync::{Location, LocationId};
use stronghold_vault::{DecodeError, EncodeError, PendingStep, RandomnessError, Stronghold};
use thiserror::Error;

pub use notes::{OnRollback, RollbackNotes};
pub use stored::Access;
use stored::Loaded;

use crate::clock::now;
use crate::error::{CommitError, CreateError, LockError, OpenFileError, ReloadError, SealError};
use crate::file::{LOCK_WAIT, Limits, SnapshotFile, commit::SnapshotGuard, rollback};
use crate::format::{sealer::Sealer, slot::NewSlot, slot::Unlock};

/// A Stronghold in memory together with its file: the state last read, and the operations that
/// change it.
#[derive(Debug)]
pub struct VaultFile {
    file: SnapshotFile,
    stronghold: Stronghold,
    is_torn: bool,
    /// Set if memory may differ from the file: a change failed halfway.
    stale: bool,
    wait: Duration,
    /// The step that changes belong to, once one was begun.
    step: Option<PendingStep>,
    notes: Option<RollbackNotes>,
    /// Chain value of the generation noted last, so that it is not noted again.
    noted: Option<[u8; 32]>,
    /// Earliest time of the next note: a process that runs on notes its changes together.
    next_note: Option<Instant>,
    /// Set once a failure to note was reported, so that it is reported only once.
    reported: bool,
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
    /// See [`RollbackError`](rollback::RollbackError).
    #[error(transparent)]
    RolledBack(#[from] rollback::RollbackError),
    /// Notes are required and can't be read or written. Nothing was changed.
    #[error("rollback can't be noticed: {0}")]
    Notes(#[from] rollback::NoteError),
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

impl From<EncodeError> for VaultFileError {
    fn from(error: EncodeError) -> Self {
        SealError::from(error).into()
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
        let payload = stronghold.to_payload()?;
        let file = SnapshotFile::create(path, slots, &payload)?;
        Ok(Self::of(file, stronghold))
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`VaultFileError::Open`] if the file can't be read or opened, [`VaultFileError::Payload`] if
    /// its payload is not a Stronghold.
    pub fn open(path: &Path, unlock: &Unlock<'_>) -> Result<Self, VaultFileError> {
        Self::open_within(path, unlock, &Limits::OWN)
    }

    /// Opens an untrusted file within `limits`, as [`open`](Self::open) does: see
    /// [`Limits::FOREIGN`].
    ///
    /// # Errors
    /// As [`open`](Self::open); [`OpenFileError::TooLarge`] and
    /// [`OpenError::TooCostly`](crate::OpenError::TooCostly) if the file demands more than
    /// `limits`.
    pub fn open_within(path: &Path, unlock: &Unlock<'_>, limits: &Limits) -> Result<Self, VaultFileError> {
        Ok(Self::of_loaded(stored::open_within(path, unlock, limits, None)?))
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
        Self::open_noted(path, unlock, limits, notes, older, None)
    }

    /// Opens these records alone, at a cost that does not follow the number of the others.
    /// [`stronghold`](Self::stronghold) then holds no other record and no log, until
    /// [`load_all`](Self::load_all). Changes of these records are written as usual.
    ///
    /// # Errors
    /// As [`open`](Self::open). Damage is found only in what is read.
    pub fn open_records(
        path: &Path,
        unlock: &Unlock<'_>,
        records: &[Location],
    ) -> Result<Self, VaultFileError> {
        let records: Vec<LocationId> = records.iter().map(Location::id).collect();
        let records = Some((&records[..], Access::Write));
        Ok(Self::of_loaded(stored::open_within(path, unlock, &Limits::OWN, records)?))
    }

    /// Opens these records alone, as [`open_records`](Self::open_records) does, and checks the file
    /// as [`open_guarded`](Self::open_guarded) does. With [`Access::Read`], the first change loads
    /// everything.
    ///
    /// # Errors
    /// As [`open_guarded`](Self::open_guarded).
    pub fn open_records_guarded(
        path: &Path,
        unlock: &Unlock<'_>,
        limits: &Limits,
        notes: RollbackNotes,
        older: OnRollback,
        records: &[Location],
        access: Access,
    ) -> Result<Self, VaultFileError> {
        let records: Vec<LocationId> = records.iter().map(Location::id).collect();
        Self::open_noted(path, unlock, limits, notes, older, Some((&records, access)))
    }

    fn open_noted(
        path: &Path,
        unlock: &Unlock<'_>,
        limits: &Limits,
        notes: RollbackNotes,
        older: OnRollback,
        records: Option<(&[LocationId], Access)>,
    ) -> Result<Self, VaultFileError> {
        let open = |limits: &Limits| stored::open_within(path, unlock, limits, records);
        let Some(seen) = &notes.guard else {
            let mut vault = Self::of_loaded(open(limits)?);
            return vault.set_rollback_notes(notes).map(|()| vault);
        };
        let last = seen.last_seen(path).map_err(OpenFileError::from)?;
        let paid = last.paid().unwrap_or(limits.work);
        let limits = Limits { work: limits.work.max(paid), ..*limits };
        let loaded = open(&limits)?;
        let told = match older {
            OnRollback::Refuse => {
                last.check(&loaded.file).map_err(|error| stored::not_rolled_back(error, &loaded))?;
                last.confirm(&loaded.file)
            }
            OnRollback::Accept => seen.accept(&loaded.file),
        };
        let mut vault = Self::of_loaded(loaded);
        vault.notes = Some(notes.clone());
        vault.report_failed(told)?;
        vault.set_rollback_notes(notes)?;
        Ok(vault)
    }

    fn of_loaded(loaded: Loaded) -> Self {
        let mut vault = Self::of(loaded.file, loaded.stronghold);
        vault.is_torn = loaded.is_torn;
        vault
    }

    /// Returns whether the file ended in a change that was not finished when it was opened: its
    /// writer died before it reported success, or the file was cut short. It is passed over, and
    /// the next write removes it.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    fn of(file: SnapshotFile, stronghold: Stronghold) -> Self {
        Self {
            is_torn: false,
            file,
            stronghold,
            stale: false,
            wait: LOCK_WAIT,
            notes: None,
            noted: None,
            next_note: None,
            reported: false,
            step: None,
        }
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
            if let Some(reloaded) = home.file.reload_if_newer()? {
                stored::take_over(&mut home.stronghold, &reloaded)?;
            }
            Ok::<_, VaultFileError>(())
        })?;
        Ok(&self.stronghold)
    }

    /// Loads all records and the log, if only some records were
    /// [opened](Self::open_records_guarded).
    ///
    /// # Errors
    /// [`VaultFileError`] if the file can't be read.
    pub fn load_all(&mut self) -> Result<(), VaultFileError> {
        match self.stronghold.is_partial() {
            true => self.run_or_mark_stale(Self::reread),
            false => Ok(()),
        }
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
        self.update_with(step, self.wait, change, stored::commit_changes)
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
            vault.update_with(step, wait, change, stored::commit_changes)
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
        commit: impl FnOnce(&mut SnapshotGuard<'_>, &mut Stronghold) -> Result<(), VaultFileError>,
    ) -> Result<T, E> {
        self.run_or_mark_stale(|home| {
            let (mut locked, stronghold) = home.lock_newest(wait)?;
            stronghold.set_generation(locked.generation().saturating_add(1));
            all_or_nothing(stronghold, |stronghold| {
                stronghold.begin_step(step.clone());
                let done = change(stronghold)?;
                let ended = stronghold.end_step();
                commit(&mut locked, stronghold)?;
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
        let payload = self.stronghold.to_payload().map_err(VaultFileError::from)?;
        change(&mut Stronghold::from_payload(&payload).map_err(VaultFileError::from)?)
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
            home.update_with(step, home.wait, change, |locked, stronghold| {
                stored::commit_whole(locked, stronghold, |locked, payload| {
                    locked.commit_renewed(payload, others)
                })
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
            stored::commit_whole(&mut locked, stronghold, |locked, payload| {
                locked.commit_slots(payload, change)
            })
        })
    }

    /// Takes the lock and loads the newest generation.
    fn lock_newest(
        &mut self,
        wait: Duration,
    ) -> Result<(SnapshotGuard<'_>, &mut Stronghold), VaultFileError> {
        self.check_notes()?;
        let mut locked = self.file.lock(wait)?;
        if !self.stronghold.is_writable() {
            self.stronghold = stored::load(&locked.reload()?)?;
        }
        if let Some(reloaded) = locked.reload_if_newer()? {
            stored::take_over(&mut self.stronghold, &reloaded)?;
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
        if self.is_note_due() {
            self.note_or_report();
        }
        Ok(done)
    }

    fn reread(&mut self) -> Result<(), VaultFileError> {
        let payload = self.file.reload()?;
        self.stronghold = stored::load(&payload)?;
        Ok(())
    }
}

/// Applies `change` to `stronghold`, or takes its changes back if it fails or panics. The panic
/// continues.
fn all_or_nothing<T, E>(
    stronghold: &mut Stronghold,
    change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
) -> Result<T, E> {
    stronghold.begin_changes();
    let result = panic::catch_unwind(AssertUnwindSafe(|| change(stronghold)));
    match result {
        Ok(Ok(_)) => stronghold.keep_changes(),
        _ => stronghold.revert_changes(),
    }
    result.unwrap_or_else(|panic| panic::resume_unwind(panic))
}
