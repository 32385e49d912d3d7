//! Shares a vault file among the threads and tasks of a process.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[cfg(not(feature = "tokio"))]
use std::time::Instant;

#[cfg(feature = "tokio")]
use tokio::time::Instant;

use stronghold_vault::{AuditLog, AuditRecord, Identity, PendingStep, Stronghold};

use crate::{VaultFile, VaultFileError};

#[cfg(feature = "tokio")]
pub(crate) mod offload;
#[cfg(test)]
mod tests;

/// Minimum time between commits for the log alone, so that forbidden requests of a peer cost this
/// device a line each, not a commit.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A vault file that the threads and tasks of this process share: clones are handles of one file.
///
/// Queued log records wait for the next change and are written with it, or alone once a minute. The
/// last clone writes them when dropped.
///
/// With the feature `tokio`, [`call`](Self::call) and [`update_async`](Self::update_async) keep
/// work and waiting off the threads of the runtime.
#[derive(Clone, Debug)]
pub struct SharedVault(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    vault: Mutex<VaultFile>,
    waiting: Mutex<Waiting>,
    /// `true` if the last change could not be written.
    is_unwritable: AtomicBool,
}

/// Records to be written to the log.
#[derive(Debug, Default)]
struct Waiting {
    log: AuditLog,
    /// Earliest time of the next write.
    next: Option<Instant>,
}

impl SharedVault {
    /// Shares a vault file.
    pub fn new(vault: VaultFile) -> Self {
        Self(Arc::new(Shared {
            vault: Mutex::new(vault),
            waiting: Mutex::default(),
            is_unwritable: AtomicBool::new(false),
        }))
    }

    /// Locks the vault file, for as long as the guard lives: other threads wait meanwhile. In async
    /// code use [`call`](Self::call), and never hold the guard across an await.
    pub fn lock(&self) -> MutexGuard<'_, VaultFile> {
        // A panic elsewhere leaves the state as it was before: `VaultFile::update` ensures that.
        self.0.vault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns another handle of this device's identity, as channels and pairings take it.
    pub fn identity(&self) -> Identity {
        self.lock().stronghold().identity().duplicate()
    }

    /// Changes the Stronghold and commits it, as [`VaultFile::update`] does, together with the
    /// queued log records.
    ///
    /// # Errors
    /// As for [`VaultFile::update`]. The log records then stay queued.
    pub fn update<T, E: From<VaultFileError>>(
        &self,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.update(None, None, change).map(|(done, _)| done)
    }

    /// Changes the Stronghold as [`update`](Self::update) does, as a part of `step` if there is
    /// one, but does not wait for other processes: while one holds the lock, this fails before
    /// `change` runs.
    ///
    /// # Errors
    /// As [`update`](Self::update); see [`VaultFileError::is_in_use`].
    pub fn try_update<T, E: From<VaultFileError>>(
        &self,
        step: Option<&mut PendingStep>,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.try_update_at(step, change).map(|(done, _)| done)
    }

    /// Changes the Stronghold as [`try_update`](Self::try_update) does, and returns the file's
    /// generation too: the one that [`Stronghold::generation`] told `change`, if that changed
    /// anything.
    ///
    /// # Errors
    /// As [`try_update`](Self::try_update).
    #[doc(hidden)]
    pub fn try_update_at<T, E: From<VaultFileError>>(
        &self,
        step: Option<&mut PendingStep>,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<(T, u64), E> {
        self.0.update(step, Some(Duration::ZERO), change)
    }

    /// Queues decisions for the log.
    pub fn log_later(&self, decisions: impl IntoIterator<Item = AuditRecord>) {
        let mut waiting = self.0.waiting();
        decisions.into_iter().for_each(|decided| waiting.log.append(decided));
    }

    /// Returns whether log records are queued and nothing was written for a minute.
    pub fn is_log_due(&self) -> bool {
        self.0.waiting().is_due(Instant::now())
    }

    /// Writes the queued log records now.
    ///
    /// # Errors
    /// [`VaultFileError`] when they can't be written; they stay queued.
    pub fn write_log(&self) -> Result<(), VaultFileError> {
        self.0.write_log(None)
    }

    /// Returns whether the last change could not be written.
    pub fn is_unwritable(&self) -> bool {
        self.0.is_unwritable.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the Stronghold; waits for other processes up to `wait`, or the file's own limit.
    /// Returns the file's generation afterwards too.
    fn update<T, E: From<VaultFileError>>(
        &self,
        step: Option<&mut PendingStep>,
        wait: Option<Duration>,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<(T, u64), E> {
        let mut vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        // While the file is locked, nothing else writes it; records that are added meanwhile wait
        // for the next write.
        let mut taken = Taken { log: std::mem::take(&mut self.waiting().log), from: self };
        let (mut is_begun, mut is_changed) = (false, false);
        let change = |stronghold: &mut Stronghold| {
            is_begun = true;
            let done = change(stronghold)?;
            is_changed = true;
            stronghold.log_decisions(&taken.log);
            Ok(done)
        };
        let done = vault.update_within(wait, step, change);
        if is_changed || !is_begun {
            self.is_unwritable.store(done.is_err(), Ordering::Relaxed);
        }
        if done.is_ok() {
            taken.log = AuditLog::default();
            self.waiting().next = Some(Instant::now() + LOG_EVERY);
        }
        done.map(|done| (done, vault.file().sealer().generation()))
    }

    fn write_log(&self, wait: Option<Duration>) -> Result<(), VaultFileError> {
        if self.waiting().log.is_empty() {
            return Ok(());
        }
        let written = self.update(None, wait, |_| Ok(()));
        // Waits a minute again, whether or not the write succeeded.
        self.waiting().next = Some(Instant::now() + LOG_EVERY);
        written.map(|_| ())
    }
}

/// Records that are being written. When dropped, those not written wait again.
struct Taken<'a> {
    log: AuditLog,
    from: &'a Shared,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.log.is_empty() {
            self.from.waiting().log.absorb(&self.log);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.write_log(None) {
            tracing::warn!(%error, "the log could not be written");
        }
    }
}

impl Waiting {
    fn is_due(&self, now: Instant) -> bool {
        !self.log.is_empty() && self.next.is_none_or(|next| next <= now)
    }
}
