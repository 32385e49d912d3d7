//! A Stronghold and its file: what is in memory is what was read, or nothing is written.
#![allow(clippy::unwrap_used)] // a panic here is the report, in helper functions too

use std::path::{Path, PathBuf};

use stronghold_snapshot::{Home, HomeError, NewSlot, SnapshotFile, Unlock};
use stronghold_vault::{Labels, Stronghold, WriteError};

const KEY: [u8; 32] = [5; 32];

fn home() -> (tempfile::TempDir, PathBuf, Home) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let home = Home::create(&path, &[NewSlot::Key(&KEY)], Stronghold::new("a").unwrap()).unwrap();
    (folder, path, home)
}

/// As a later version may do, which writes what this one can't read.
fn write_unreadable(path: &Path) {
    SnapshotFile::open(path, &Unlock::Key(&KEY)).unwrap().commit(b"of a later version").unwrap();
}

fn content(path: &Path) -> Vec<u8> {
    SnapshotFile::open(path, &Unlock::Key(&KEY)).unwrap().take_payload().unwrap().to_vec()
}

#[derive(Debug)]
enum Failed {
    Home(HomeError),
    Write(#[allow(dead_code)] WriteError),
}

impl From<HomeError> for Failed {
    fn from(error: HomeError) -> Self {
        Self::Home(error)
    }
}

fn write(home: &mut Home) -> Result<(), Failed> {
    home.update(|stronghold| {
        let written = stronghold.write(&"a/b/c".parse().unwrap(), b"x", Labels::new(), 1);
        written.map(drop).map_err(Failed::Write)
    })
}

#[test]
fn what_another_wrote_and_this_can_not_read_is_never_written_over() {
    let (_folder, path, mut home) = home();
    write(&mut home).unwrap();
    write_unreadable(&path);
    let slots = |home: &mut Home| {
        home.update_slots(|lineage| lineage.add_slot(&NewSlot::Key(&[6; 32]), "").map(drop))
    };
    for _ in 0..2 {
        assert!(matches!(home.refresh(), Err(HomeError::Payload(_))));
        assert!(matches!(write(&mut home), Err(Failed::Home(HomeError::Payload(_)))));
        assert!(matches!(slots(&mut home), Err(HomeError::Payload(_))));
        assert_eq!(content(&path), b"of a later version");
    }
}

#[test]
fn a_change_that_fails_leaves_memory_as_the_file_is() {
    let (_folder, path, mut home) = home();
    write(&mut home).unwrap();
    let failed = home.update(|stronghold| {
        stronghold.remove(&"a/b/c".parse().unwrap(), 2).unwrap();
        Err::<(), Failed>(Failed::Write(WriteError::TooLarge))
    });
    assert!(matches!(failed, Err(Failed::Write(_))));
    assert!(home.stronghold().read(&"a/b/c".parse().unwrap()).is_ok(), "without a refresh");
    write(&mut home).unwrap();
    drop(home);
    let reopened = Home::open(&path, &Unlock::Key(&KEY)).unwrap();
    assert!(reopened.stronghold().read(&"a/b/c".parse().unwrap()).is_ok());
}

fn panics(work: impl FnOnce()) {
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
}

fn half_a_change(home: &mut Home) {
    let _: Result<(), Failed> = home.update(|stronghold| {
        stronghold.write(&"half/a/change".parse().unwrap(), b"x", Labels::new(), 2).unwrap();
        stronghold.remove(&"a/b/c".parse().unwrap(), 2).unwrap();
        panic!("in the middle of it")
    });
}

fn is_whole(stronghold: &Stronghold) -> bool {
    stronghold.read(&"a/b/c".parse().unwrap()).is_ok()
        && stronghold.read(&"half/a/change".parse().unwrap()).is_err()
}

#[test]
fn a_change_that_panics_leaves_memory_and_file_as_before() {
    let (_folder, path, mut home) = home();
    write(&mut home).unwrap();
    let before = content(&path);
    panics(|| half_a_change(&mut home));
    assert!(is_whole(home.stronghold()), "without a refresh");
    assert_eq!(content(&path), before);
    // Others are not kept out, and the next change takes nothing of it along.
    write(&mut Home::open(&path, &Unlock::Key(&KEY)).unwrap()).unwrap();
    write(&mut home).unwrap();
    assert!(is_whole(home.stronghold()));
    assert!(is_whole(Home::open(&path, &Unlock::Key(&KEY)).unwrap().stronghold()));
}

/// The file can't tell then how things were: memory does.
#[test]
fn a_change_that_fails_while_the_file_can_not_be_read_leaves_memory_as_before() {
    for panicking in [false, true] {
        let (folder, path, mut home) = home();
        write(&mut home).unwrap();
        let away = folder.path().join("away");
        let change = |stronghold: &mut Stronghold| {
            stronghold.remove(&"a/b/c".parse().unwrap(), 2).unwrap();
            std::fs::rename(&path, &away).unwrap();
            assert!(!panicking, "in the middle of it");
            Err::<(), Failed>(Failed::Write(WriteError::TooLarge))
        };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| home.update(change)));
        assert!(is_whole(home.stronghold()));
        assert!(home.refresh().is_err(), "a file that is gone is told");
        assert!(write(&mut home).is_err() && is_whole(home.stronghold()));
        std::fs::rename(&away, &path).unwrap();
        write(&mut home).unwrap();
        assert!(is_whole(Home::open(&path, &Unlock::Key(&KEY)).unwrap().stronghold()));
    }
}

#[test]
fn a_commit_that_fails_leaves_memory_as_before() {
    let (folder, path, mut home) = home();
    write(&mut home).unwrap();
    let before = content(&path);
    std::fs::remove_file(folder.path().join(".vault.lock")).unwrap();
    let failed = home.update(|stronghold| {
        stronghold.remove(&"a/b/c".parse().unwrap(), 2).unwrap();
        // The lock's file is gone in the middle of it: the commit is refused.
        std::fs::remove_file(folder.path().join(".vault.lock")).unwrap();
        Ok::<_, Failed>(())
    });
    assert!(matches!(failed, Err(Failed::Home(HomeError::Commit(_)))), "{failed:?}");
    assert!(is_whole(home.stronghold()));
    assert_eq!(content(&path), before);
}

#[test]
fn a_change_of_slots_that_panics_or_fails_changes_nothing() {
    let (_folder, path, mut home) = home();
    write(&mut home).unwrap();
    panics(|| {
        let _ = home.update_slots(|lineage| {
            lineage.add_slot(&NewSlot::Key(&[6; 32]), "").unwrap();
            panic!("in the middle of it")
        });
    });
    home.update_slots(|lineage| {
        lineage.add_slot(&NewSlot::Key(&[6; 32]), "")?;
        lineage.remove_slot(7)
    })
    .unwrap_err();
    assert_eq!(home.file().lineage().slots().len(), 1);
    assert!(is_whole(home.stronghold()));
    write(&mut home).unwrap();
    assert!(Home::open(&path, &Unlock::Key(&[6; 32])).is_err());
}
