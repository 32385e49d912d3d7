//! Shares a Stronghold and its file among the sessions of a process.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use stronghold_snapshot::{VaultFile, VaultFileError};
use stronghold_vault::{AuditLog, AuditRecord, Identity, PendingStep, Stronghold};
use tokio::time::Instant;

use crate::ChannelError;

/// Minimum time between commits for the log alone, so that forbidden requests of a peer cost this
/// device a line each, not a commit.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A Stronghold and its file, shared by the sessions of this process.
///
/// Log records of refusals, and of decisions that let no entry leave, wait for the next change and
/// are written with it, or alone once a minute. The last clone writes them when dropped.
#[derive(Clone, Debug)]
pub struct SharedVault(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    home: Mutex<VaultFile>,
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
    #[must_use]
    pub fn new(home: VaultFile) -> Self {
        Self(Arc::new(Shared {
            home: Mutex::new(home),
            waiting: Mutex::default(),
            is_unwritable: AtomicBool::new(false),
        }))
    }

    /// Locks the vault file, for as long as the guard lives. Do not hold the guard across an await.
    pub fn lock(&self) -> MutexGuard<'_, VaultFile> {
        // A panic elsewhere leaves the state as it was before: `VaultFile::update` ensures that.
        self.0.home.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the Stronghold and commits it, as [`VaultFile::update`] does, together with the
    /// waiting log records.
    ///
    /// # Errors
    /// As for [`VaultFile::update`]. The log records then keep waiting.
    pub fn update<T, E: From<VaultFileError>>(
        &self,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.update(None, change)
    }

    /// Changes the Stronghold as [`update`](Self::update) does, as a part of this step.
    pub(crate) fn update_in<T, E: From<VaultFileError>>(
        &self,
        step: &mut PendingStep,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.update(Some(step), change)
    }

    /// Queues decisions for the log.
    pub(crate) fn log_later(&self, decisions: impl IntoIterator<Item = AuditRecord>) {
        let mut waiting = self.0.waiting();
        decisions.into_iter().for_each(|decided| waiting.log.append(decided));
    }

    /// Writes the waiting log records, if nothing was written for a minute. If that fails, they
    /// keep waiting.
    pub(crate) fn write_log_if_due(&self) {
        let is_due = self.0.waiting().is_due();
        if is_due && let Err(error) = self.write_log() {
            tracing::warn!(%error, "the log could not be written");
        }
    }

    /// Returns whether the last change could not be written.
    pub(crate) fn is_unwritable(&self) -> bool {
        self.0.is_unwritable.load(Ordering::Relaxed)
    }

    /// Writes the waiting log records now.
    ///
    /// # Errors
    /// [`VaultFileError`] when they can't be written; they keep waiting.
    pub fn write_log(&self) -> Result<(), VaultFileError> {
        self.0.write_log()
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T, E: From<VaultFileError>>(
        &self,
        step: Option<&mut PendingStep>,
        change: impl FnOnce(&mut Stronghold) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        // While the file is locked, nothing else writes it; records that are added meanwhile wait
        // for the next write.
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

    fn write_log(&self) -> Result<(), VaultFileError> {
        if self.waiting().log.is_empty() {
            return Ok(());
        }
        let written = self.update(None, |_| Ok(()));
        // Waits a minute again, whether or not the write succeeded.
        self.waiting().next = Some(Instant::now() + LOG_EVERY);
        written
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

/// Returns the time, in milliseconds since 1970: for display and for expiry, never for order.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns another handle of this device's identity, to open a channel without locking the file.
///
/// # Errors
/// None; the type suits callers that return a channel's errors.
pub fn own_identity(home: &SharedVault) -> Result<Identity, ChannelError> {
    Ok(home.lock().stronghold().identity().duplicate())
}

#[cfg(test)]
mod tests {
    use stronghold_snapshot::{SnapshotFile, Unlock};
    use stronghold_sync::DeviceId;
    use stronghold_vault::AuditAction;

    use super::*;
    use crate::common::{Device, Failed, KEY};

    fn refused(number: u8) -> AuditRecord {
        AuditRecord {
            time: u64::from(number),
            device: DeviceId::from_bytes([number; 32]),
            action: AuditAction::Browse,
            selection: "**".into(),
            allowed: false,
            entries: 0,
            bytes: 0,
        }
    }

    /// The first bytes of the devices in the file's log, in its order.
    fn logged(device: &Device) -> Vec<u8> {
        let home = device.opened_again();
        let home = home.lock();
        home.stronghold().log().entries().map(|logged| logged.device.as_bytes()[0]).collect()
    }

    /// Runs this while nobody else can write the file.
    fn while_in_use<T>(device: &Device, work: impl FnOnce() -> T) -> T {
        device.home.lock().set_lock_wait(Duration::ZERO);
        let mut other = SnapshotFile::open(&device.path(), &Unlock::Key(&KEY)).unwrap();
        let _locked = other.lock(Duration::ZERO).unwrap();
        work()
    }

    #[derive(Debug)]
    enum Wrong {
        Home,
        Own,
    }

    impl From<VaultFileError> for Wrong {
        fn from(_: VaultFileError) -> Self {
            Self::Home
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_is_written_at_once_and_then_once_a_minute() {
        let device = Device::new("device");
        let home = &device.home;
        home.write_log_if_due();
        assert_eq!(logged(&device), [0u8; 0]);
        for (number, seconds, expected) in [
            (1, 0, &[1][..]),
            (2, 0, &[1]),
            (3, 59, &[1]),
            (4, 1, &[1, 2, 3, 4]),
            (5, 59, &[1, 2, 3, 4]),
            (6, 1, &[1, 2, 3, 4, 5, 6]),
        ] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            home.log_later([refused(number)]);
            home.write_log_if_due();
            assert_eq!(logged(&device), expected, "{number}");
        }
        // Any change takes along what waits, and the minute begins anew.
        home.log_later([refused(7), refused(8)]);
        device.home.update(|_| Ok::<_, Failed>(())).unwrap();
        assert_eq!(logged(&device), [1, 2, 3, 4, 5, 6, 7, 8]);
        tokio::time::advance(Duration::from_secs(59)).await;
        home.log_later([refused(9)]);
        home.write_log_if_due();
        assert_eq!(logged(&device).len(), 8);
        home.write_log().unwrap();
        assert_eq!(logged(&device).len(), 9);
        let before = device.bytes();
        home.write_log().unwrap();
        assert!(device.bytes() == before, "nothing waits");
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_not_be_logged_waits_on_in_its_order() {
        let device = Device::new("device");
        let home = &device.home;
        home.log_later([refused(1), refused(2)]);
        while_in_use(&device, || {
            assert!(home.write_log().is_err());
            home.write_log_if_due();
        });
        home.log_later([refused(3)]);
        home.write_log_if_due();
        assert_eq!(logged(&device), [0u8; 0], "not again at once");
        let failed: Result<(), Wrong> = home.update(|_| Err(Wrong::Own));
        assert!(matches!(failed, Err(Wrong::Own)));
        tokio::time::advance(Duration::from_secs(60)).await;
        home.write_log_if_due();
        assert_eq!(logged(&device), [1, 2, 3]);
    }

    /// An error of who changes says nothing of the file.
    #[test]
    fn a_home_is_unwritable_from_a_change_that_was_not_written_to_one_that_was() {
        let device = Device::new("device");
        let home = &device.home;
        let own_error = || {
            let failed: Result<(), Wrong> = home.update(|_| Err(Wrong::Own));
            assert!(matches!(failed, Err(Wrong::Own)));
            home.is_unwritable()
        };
        let written = || {
            let done: Result<(), Wrong> = home.update(|_| Ok(()));
            (done.is_ok(), home.is_unwritable())
        };
        assert!(!home.is_unwritable() && !own_error());
        assert_eq!(while_in_use(&device, written), (false, true));
        assert!(own_error(), "it is as unwritable as before");
        assert_eq!(written(), (true, false));
        // The change is made in memory, and the folder takes nothing.
        let folder = device.folder.path().join("other");
        let gone = || -> Result<(), Wrong> {
            home.update(|_| {
                std::fs::create_dir(&folder).unwrap();
                std::fs::rename(device.path(), folder.join("snapshot")).unwrap();
                Ok(())
            })
        };
        assert!(matches!(gone(), Err(Wrong::Home)));
        assert!(home.is_unwritable());
    }

    #[test]
    fn the_last_clone_writes_what_waits() {
        let Device { home, folder } = Device::new("device");
        home.log_later([refused(1)]);
        let clone = home.clone();
        drop(home);
        let path = folder.path().to_owned();
        let logged = || crate::common::opened(&path).lock().stronghold().log().entries().count();
        assert_eq!(logged(), 0);
        drop(clone);
        assert_eq!(logged(), 1);
    }
}
