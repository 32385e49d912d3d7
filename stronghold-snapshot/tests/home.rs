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
    let slots = |home: &mut Home| home.update_slots(|lineage| lineage.add_slot(&NewSlot::Key(&[6; 32])));
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
    assert!(home.refresh().unwrap().read(&"a/b/c".parse().unwrap()).is_ok());
    write(&mut home).unwrap();
    drop(home);
    let reopened = Home::open(&path, &Unlock::Key(&KEY)).unwrap();
    assert!(reopened.stronghold().read(&"a/b/c".parse().unwrap()).is_ok());
}
