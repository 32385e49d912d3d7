//! A Stronghold and its file, as the sessions of a process share it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use stronghold_snapshot::{Home, HomeError};
use stronghold_vault::{AuditLog, Decided, Identity, Stronghold, Underway};
use tokio::time::Instant;

use crate::ChannelError;

/// How often what is only to be logged is written, at most: so that a peer that asks for what it may not have costs this
/// device a line, and not a commit each time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A Stronghold and its file, shared by the sessions of this process.
///
/// Refusals, and decisions that let nothing leave, wait here for the next change to be written with it, or for their turn
/// once a minute. When the last clone is dropped, they are written.
#[derive(Clone, Debug)]
pub struct SharedHome(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    home: Mutex<Home>,
    waiting: Mutex<Waiting>,
    /// Whether the last change could not be written.
    is_unwritable: AtomicBool,
}

/// What is to be written to the log.
#[derive(Debug, Default)]
struct Waiting {
    log: AuditLog,
    /// Not before this.
    next: Option<Instant>,
}

impl SharedHome {
    /// Shares a home.
    #[must_use]
    pub fn new(home: Home) -> Self {
        Self(Arc::new(Shared {
            home: Mutex::new(home),
            waiting: Mutex::default(),
            is_unwritable: AtomicBool::new(false),
        }))
    }

    /// The home, for as long as the guard lives: not across an await.
    pub fn lock(&self) -> MutexGuard<'_, Home> {
        // A panic elsewhere leaves the home as it was before: `Home::update` sees to that.
        self.0.home.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the Stronghold and commits it, as [`Home::update`]; what waits for the log is written with it.
    ///
    /// # Errors
    /// As [`Home::update`]. What waits then waits on.
    pub fn update<T, E: From<HomeError>>(
        &self,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.update(None, change)
    }

    /// As [`update`](Self::update), as a part of this step.
    pub(crate) fn update_in<T, E: From<HomeError>>(
        &self,
        step: &mut Underway,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.update(Some(step), change)
    }

    /// Lets decisions wait for the log.
    pub(crate) fn log_later(&self, decisions: impl IntoIterator<Item = Decided>) {
        let mut waiting = self.0.waiting();
        decisions.into_iter().for_each(|decided| waiting.log.append(decided));
    }

    /// Writes what waits for the log, if nothing was written for a minute. Where it can't be written, it waits on.
    pub(crate) fn write_log_if_due(&self) {
        let is_due = self.0.waiting().is_due();
        if is_due && let Err(error) = self.write_log() {
            tracing::warn!(%error, "the log could not be written");
        }
    }

    /// Whether the last change that was to be written could not be.
    pub(crate) fn is_unwritable(&self) -> bool {
        self.0.is_unwritable.load(Ordering::Relaxed)
    }

    /// Writes what waits for the log now.
    ///
    /// # Errors
    /// [`HomeError`] when it can't be written: it waits on.
    pub fn write_log(&self) -> Result<(), HomeError> {
        self.0.write_log()
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T, E: From<HomeError>>(
        &self,
        step: Option<&mut Underway>,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        // With the home locked, nobody else writes it meanwhile; what comes meanwhile waits for the next.
        let mut taken = Taken { log: std::mem::take(&mut self.waiting().log), from: self };
        let (mut is_begun, mut is_changed) = (false, false);
        let change = |stronghold: &mut Stronghold| {
            is_begun = true;
            let done = change(stronghold)?;
            is_changed = true;
            stronghold.log_mut().absorb(&taken.log);
            Ok(done)
        };
        let done = match step {
            Some(step) => home.update_in(step, change),
            None => home.update(change),
        };
        if is_changed || !is_begun {
            self.is_unwritable.store(done.is_err(), Ordering::Relaxed);
        }
        if done.is_ok() {
            taken.log = AuditLog::default();
            self.waiting().next = Some(Instant::now() + LOG_EVERY);
        }
        done
    }

    fn write_log(&self) -> Result<(), HomeError> {
        if self.waiting().log.is_empty() {
            return Ok(());
        }
        let written = self.update(None, |_| Ok(()));
        // Whether it could be written or not: not again at once.
        self.waiting().next = Some(Instant::now() + LOG_EVERY);
        written
    }
}

/// What was taken to be written: what is left of it waits again.
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
        if let Err(error) = self.write_log() {
            tracing::warn!(%error, "the log could not be written");
        }
    }
}

impl Waiting {
    fn is_due(&self) -> bool {
        !self.log.is_empty() && self.next.is_none_or(|next| next <= Instant::now())
    }
}

/// The time, in milliseconds since 1970: for people and for expiry, never for order.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Another handle of this device's identity, to open a channel with while the home is free for others.
///
/// # Errors
/// None; the type is kept for callers that pass a channel's error on.
pub fn own_identity(home: &SharedHome) -> Result<Identity, ChannelError> {
    Ok(home.lock().stronghold().identity().again())
}
