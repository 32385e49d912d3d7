//! Tests shared vaults: the queued log, the lock of other processes, and work off the runtime.

use stronghold_sync::{DeviceId, Timestamp};
use stronghold_vault::AuditAction;
use tempfile::TempDir;

use super::*;
use crate::{NewSlot, SnapshotFile, Unlock};

const KEY: [u8; 32] = [7; 32];

/// A vault file in a folder of its own.
struct Device {
    home: SharedVault,
    folder: TempDir,
}

impl Device {
    fn new(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let vault = Stronghold::new(name).unwrap();
        let vault = VaultFile::create(&folder.path().join("snapshot"), &[NewSlot::Key(&KEY)], vault).unwrap();
        Self { home: SharedVault::new(vault), folder }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("snapshot")
    }

    fn opened_again(&self) -> VaultFile {
        VaultFile::open(&self.path(), &Unlock::Key(&KEY)).unwrap()
    }
}

fn refused(number: u8) -> AuditRecord {
    AuditRecord {
        time: Timestamp::from_millis(u64::from(number)),
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
    home.stronghold().log().entries().map(|logged| logged.device.as_bytes()[0]).collect()
}

/// Runs this while nobody else can write the file.
fn while_in_use<T>(device: &Device, work: impl FnOnce() -> T) -> T {
    device.home.lock().set_lock_wait(Duration::ZERO);
    let (mut other, _) = SnapshotFile::open(&device.path(), &Unlock::Key(&KEY)).unwrap();
    let _locked = other.lock(Duration::ZERO).unwrap();
    work()
}

/// Lets time pass for the log.
fn pass(home: &SharedVault, seconds: u64) {
    let mut waiting = home.0.waiting();
    waiting.next = waiting.next.map(|next| next - Duration::from_secs(seconds));
}

fn write_log_if_due(home: &SharedVault) {
    if home.is_log_due() {
        let _ = home.write_log();
    }
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

#[test]
fn the_log_is_written_at_once_and_then_once_a_minute() {
    let device = Device::new("device");
    let home = &device.home;
    write_log_if_due(home);
    assert_eq!(logged(&device), [0u8; 0]);
    for (number, seconds, expected) in [
        (1, 0, &[1][..]),
        (2, 0, &[1]),
        (3, 30, &[1]),
        (4, 30, &[1, 2, 3, 4]),
        (5, 30, &[1, 2, 3, 4]),
        (6, 30, &[1, 2, 3, 4, 5, 6]),
    ] {
        pass(home, seconds);
        home.log_later([refused(number)]);
        write_log_if_due(home);
        assert_eq!(logged(&device), expected, "{number}");
    }
    // Any change takes along what waits, and the minute begins anew.
    pass(home, 30);
    home.log_later([refused(7), refused(8)]);
    device.home.update(|_| Ok::<_, VaultFileError>(())).unwrap();
    assert_eq!(logged(&device), [1, 2, 3, 4, 5, 6, 7, 8]);
    pass(home, 30);
    home.log_later([refused(9)]);
    write_log_if_due(home);
    assert_eq!(logged(&device).len(), 8);
    home.write_log().unwrap();
    assert_eq!(logged(&device).len(), 9);
    let before = std::fs::read(device.path()).unwrap();
    home.write_log().unwrap();
    assert!(std::fs::read(device.path()).unwrap() == before, "nothing waits");
}

#[test]
fn the_log_is_due_from_the_very_moment() {
    let (now, moment) = (Instant::now(), Duration::from_nanos(1));
    let mut waiting = Waiting::default();
    assert!(!waiting.is_due(now), "nothing waits");
    waiting.log.append(refused(1));
    for (next, expected) in [(None, true), (Some(now), true), (Some(now + moment), false)] {
        waiting.next = next;
        assert_eq!(waiting.is_due(now), expected, "{next:?}");
    }
}

#[test]
fn what_can_not_be_logged_waits_on_in_its_order() {
    let device = Device::new("device");
    let home = &device.home;
    home.log_later([refused(1), refused(2)]);
    while_in_use(&device, || {
        assert!(home.write_log().is_err());
        write_log_if_due(home);
    });
    home.log_later([refused(3)]);
    write_log_if_due(home);
    assert_eq!(logged(&device), [0u8; 0], "not again at once");
    let failed: Result<(), Wrong> = home.update(|_| Err(Wrong::Own));
    assert!(matches!(failed, Err(Wrong::Own)));
    pass(home, 60);
    write_log_if_due(home);
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
        home.update(|stronghold| {
            std::fs::create_dir(&folder).unwrap();
            std::fs::rename(device.path(), folder.join("snapshot")).unwrap();
            stronghold.rename("another name");
            Ok(())
        })
    };
    assert!(matches!(gone(), Err(Wrong::Home)));
    assert!(home.is_unwritable());
}

/// However long the file waits for others: an attempt does not, and leaves the log for the next.
#[test]
fn an_attempt_waits_for_nobody() {
    let device = Device::new("device");
    device.home.log_later([refused(1)]);
    let attempt = || device.home.try_update(None, |_| Ok::<_, VaultFileError>(()));
    let error = while_in_use(&device, || {
        device.home.lock().set_lock_wait(Duration::from_secs(3600));
        attempt().unwrap_err()
    });
    assert!(error.is_in_use() && device.home.is_unwritable(), "{error}");
    assert_eq!(logged(&device), [0; 0]);
    attempt().unwrap();
    assert_eq!((logged(&device), device.home.is_unwritable()), (vec![1], false));
    assert_eq!(device.home.lock().lock_wait(), Duration::from_secs(3600), "it is as long as before");
}

#[test]
fn the_last_clone_writes_what_waits() {
    let Device { home, folder } = Device::new("device");
    home.log_later([refused(1)]);
    let clone = home.clone();
    drop(home);
    let path = folder.path().join("snapshot");
    let logged = || VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap().stronghold().log().entries().count();
    assert_eq!(logged(), 0);
    drop(clone);
    assert_eq!(logged(), 1);
}

#[cfg(feature = "tokio")]
mod asynchronous {
    use super::*;

    /// Returns to a caller that gives up at once, and makes no change later that had not begun.
    #[tokio::test]
    async fn waiting_for_another_process_ends_with_the_future() {
        let device = Device::new("device");
        let home = &device.home;
        let (mut other, _) = SnapshotFile::open(&device.path(), &Unlock::Key(&KEY)).unwrap();
        let locked = other.lock(Duration::ZERO).unwrap();
        let rename = |name: &'static str| {
            let home = home.clone();
            let change = move |stronghold: &mut Stronghold| {
                stronghold.rename(name);
                Ok::<_, VaultFileError>(())
            };
            async move { home.update_async(change).await }
        };
        let begun = Instant::now();
        let given_up = tokio::time::timeout(Duration::from_millis(300), rename("given up")).await;
        assert!(given_up.is_err() && begun.elapsed() < Duration::from_secs(3));
        // The vault is not held meanwhile.
        let waits = tokio::spawn(rename("waited"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(home.call(|vault| vault.stronghold().name().to_owned()).await, "device");
        drop(locked);
        waits.await.unwrap().unwrap();
        assert_eq!(device.opened_again().stronghold().name(), "waited");
        // Nor longer than the file's limit.
        home.lock().set_lock_wait(Duration::from_millis(100));
        let _locked = other.lock(Duration::ZERO).unwrap();
        let error = rename("too late").await.unwrap_err();
        assert!(error.is_in_use(), "{error}");
        home.log_later([refused(1)]);
        assert!(home.write_log_async().await.unwrap_err().is_in_use());
    }

    #[tokio::test]
    async fn an_error_or_a_panic_of_the_work_is_the_caller_s() {
        let device = Device::new("device");
        let failed: Result<(), Wrong> = device.home.update_async(|_| Err(Wrong::Own)).await;
        assert!(matches!(failed, Err(Wrong::Own)));
        let home = device.home.clone();
        let panics = tokio::spawn(async move { home.call(|_| panic!("of the work")).await });
        assert!(panics.await.unwrap_err().is_panic());
        device.home.update_async(|_| Ok::<_, Wrong>(())).await.unwrap();
    }
}
