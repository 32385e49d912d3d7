//! Obstacles to a snapshot's files: links, folders, FIFOs, files of other users. They are reported
//! and never touched. Every link here points to a file in the test's own folder.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use stronghold_snapshot::{
    CommitError, CreateError, Disk, LockError, NewSlot, Obstacle, OpenFileError, Reloaded, SnapshotFile,
    Storage, Unlock,
};

const KEY: [u8; 32] = [5; 32];
const PRECIOUS: &str = "precious";

struct Place {
    folder: tempfile::TempDir,
    path: PathBuf,
    lock: PathBuf,
    precious: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("precious"), PRECIOUS).unwrap();
    Place { path: at("vault"), lock: at(".vault.lock"), precious: at("precious"), folder }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn create(place: &Place) -> Result<SnapshotFile, CreateError> {
    SnapshotFile::create(&place.path, &[NewSlot::Key(&KEY)], b"one")
}

/// A way to put something in a lock's place.
type Plant = fn(&Place);

fn obstacles() -> Vec<(&'static str, Plant, Obstacle)> {
    vec![
        ("a link", |at| symlink("precious", &at.lock).unwrap(), Obstacle::Link),
        ("a link that leads nowhere", |at| symlink("nowhere", &at.lock).unwrap(), Obstacle::Link),
        ("a link to itself", |at| symlink(".vault.lock", &at.lock).unwrap(), Obstacle::Link),
        ("a link to a folder", |at| symlink(".", &at.lock).unwrap(), Obstacle::Link),
        ("a link to a device", |at| symlink("/dev/null", &at.lock).unwrap(), Obstacle::Link),
        ("a hard link", |at| fs::hard_link(&at.precious, &at.lock).unwrap(), Obstacle::SecondName),
        ("a folder", |at| fs::create_dir(&at.lock).unwrap(), Obstacle::Folder),
        ("a FIFO", |at| fifo(&at.lock), Obstacle::Special),
        ("a socket", |at| drop(UnixListener::bind(&at.lock).unwrap()), Obstacle::Special),
        ("a text", |at| fs::write(&at.lock, "my text").unwrap(), Obstacle::Content),
        ("digits and more", |at| fs::write(&at.lock, "12\n34\n").unwrap(), Obstacle::Content),
        ("too many digits", |at| fs::write(&at.lock, "123456789012").unwrap(), Obstacle::Content),
        ("a line feed and digits", |at| fs::write(&at.lock, "\n1").unwrap(), Obstacle::Content),
    ]
}

#[test]
fn nothing_that_stands_in_place_of_a_lock_is_followed_emptied_or_waited_for() {
    for (name, plant, expected) in obstacles() {
        let started = Instant::now();
        // An obstacle for a new file.
        let at = place();
        plant(&at);
        let before = state(&at);
        let error = create(&at).unwrap_err();
        let CreateError::Commit(CommitError::Lock(LockError::InTheWay { path, what })) = &error else {
            panic!("{name}: {error}")
        };
        assert_eq!((path.file_name(), *what), (at.lock.file_name(), expected), "{name}");
        assert!(error.to_string().contains(".vault.lock") && error.to_string().contains(&what.to_string()));
        assert_eq!(state(&at), before, "{name}");
        // An obstacle for a write.
        let at = place();
        let mut file = create(&at).unwrap();
        fs::remove_file(&at.lock).unwrap();
        plant(&at);
        let before = state(&at);
        let error = file.commit(b"two").unwrap_err();
        assert!(
            matches!(error, CommitError::Lock(LockError::InTheWay { what, .. }) if what == expected),
            "{name}: {error}"
        );
        assert_eq!(Disk.lock_holder(&at.lock), None, "{name}: asking who writes does not wait either");
        assert_eq!(state(&at), before, "{name}");
        assert!(started.elapsed() < Duration::from_secs(5), "{name}");
    }
}

/// Returns the names in the folder with kind and content.
fn state(at: &Place) -> Vec<(PathBuf, String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(at.folder.path())
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let content = if kind.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            (path, format!("{kind:?}"), content)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn another_users_file_is_no_lock() {
    let at = place();
    fs::write(&at.lock, "").unwrap();
    if std::os::unix::fs::chown(&at.lock, Some(65534), Some(65534)).is_err() {
        eprintln!("skipped: only root gives files away");
        return;
    }
    let error = create(&at).unwrap_err();
    assert!(error.to_string().contains("another user"), "{error}");
    assert!(!at.path.exists());
}

#[test]
fn a_lock_that_a_dead_writer_left_is_taken() {
    for content in ["", "4711", "4711\n", "4294967295\n"] {
        let at = place();
        fs::write(&at.lock, content).unwrap();
        create(&at).unwrap().commit(b"two").unwrap();
        assert_eq!(fs::read(&at.lock).unwrap(), b"");
    }
}

/// A lock whose file was removed can be taken by another process: then there are two writers, and
/// the first must stop.
#[test]
fn a_writer_whose_lock_was_taken_away_writes_nothing() {
    let at = place();
    let mut file = create(&at).unwrap();
    let (mut other, _) = SnapshotFile::open(&at.path, &Unlock::Key(&KEY)).unwrap();
    let mut locked = file.lock(Duration::ZERO).unwrap();
    fs::remove_file(&at.lock).unwrap();
    other.commit(b"others").unwrap();
    let error = locked.commit(b"mine").unwrap_err();
    assert!(matches!(error, CommitError::Stale { .. }), "{error}");
    locked.reload_if_newer().unwrap();
    let error = locked.commit(b"mine").unwrap_err();
    assert!(
        matches!(error, CommitError::Lock(LockError::InTheWay { what: Obstacle::Exchanged, .. })),
        "{error}"
    );
    drop(locked);
    file.commit(b"mine").unwrap();
}

#[test]
fn a_lock_that_is_removed_after_an_export_excludes_all_the_same() {
    let at = place();
    create(&at).unwrap().remove_lock(Duration::ZERO).unwrap();
    assert!(!at.lock.exists());
    // Writers take and remove the lock over and over: no write is lost.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (mut file, payload) = SnapshotFile::open(&at.path, &Unlock::Key(&KEY)).unwrap();
                let mut read_first = Some(payload.to_vec());
                for _ in 0..20 {
                    let mut content = read_first.take();
                    let mut locked = file.lock(Duration::from_secs(30)).unwrap();
                    if let Some(Reloaded::Whole(newer)) = locked.reload_if_newer().unwrap() {
                        content = Some(newer.to_vec());
                    }
                    let mut content = content.unwrap_or_else(|| read(&at.path));
                    content.push(1);
                    locked.commit(&content).unwrap();
                    drop(locked);
                    file.remove_lock(Duration::from_secs(30)).unwrap();
                }
            });
        }
    });
    assert_eq!(read(&at.path).len(), 3 + 80);
}

fn read(path: &Path) -> Vec<u8> {
    SnapshotFile::open(path, &Unlock::Key(&KEY)).unwrap().1.to_vec()
}

#[test]
fn what_is_no_file_is_not_opened_as_a_snapshot_and_not_waited_for() {
    let at = place();
    let opened = |path: &Path| SnapshotFile::open(path, &Unlock::Key(&KEY)).unwrap_err();
    let fifo_path = at.folder.path().join("fifo");
    fifo(&fifo_path);
    let socket = at.folder.path().join("socket");
    drop(UnixListener::bind(&socket).unwrap());
    let link = at.folder.path().join("link");
    symlink("fifo", &link).unwrap();
    let folder = at.folder.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let started = Instant::now();
    for (path, expected) in [
        (fifo_path.as_path(), Obstacle::Special),
        (&socket, Obstacle::Special),
        (&link, Obstacle::Special),
        (&folder, Obstacle::Folder),
        (Path::new("/dev/zero"), Obstacle::Special),
        (Path::new("/dev/tty"), Obstacle::Special),
    ] {
        let error = opened(path);
        let OpenFileError::Storage(storage) = &error else { panic!("{error}") };
        assert_eq!(Obstacle::behind(&storage.source), Some(expected), "{}", path.display());
    }
    assert!(started.elapsed() < Duration::from_secs(2));
}
