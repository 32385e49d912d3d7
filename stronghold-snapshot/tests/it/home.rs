//! A Stronghold and its file: memory equals what was read, or nothing is written.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stronghold_sync::Timestamp;

use stronghold_snapshot::{
    KdfWork, Limits, LockError, NewSlot, NoteError, OnRollback, OpenError, OpenFileError, PassphraseCost,
    RollbackError, RollbackGuard, RollbackNotes, SnapshotFile, Unlock, VaultFile, VaultFileError,
};
use stronghold_vault::{Labels, PendingStep, Stronghold, WriteError};

const KEY: [u8; 32] = [5; 32];

fn home() -> (tempfile::TempDir, PathBuf, VaultFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let home = VaultFile::create(&path, &[NewSlot::Key(&KEY)], Stronghold::new("a").unwrap()).unwrap();
    (folder, path, home)
}

/// Writes a payload that this version can't read, as a later version may.
fn write_unreadable(path: &Path) {
    SnapshotFile::open(path, &Unlock::Key(&KEY)).unwrap().0.commit(b"of a later version").unwrap();
}

fn content(path: &Path) -> Vec<u8> {
    SnapshotFile::open(path, &Unlock::Key(&KEY)).unwrap().1.to_vec()
}

#[derive(Debug)]
enum Failed {
    Home(VaultFileError),
    Write(#[allow(dead_code)] WriteError),
}

impl From<VaultFileError> for Failed {
    fn from(error: VaultFileError) -> Self {
        Self::Home(error)
    }
}

fn write(home: &mut VaultFile) -> Result<(), Failed> {
    home.update_as(|stronghold| {
        let written =
            stronghold.write(&"a/b/c".parse().unwrap(), b"x", Labels::new(), Timestamp::from_millis(1));
        written.map(drop).map_err(Failed::Write)
    })
}

#[test]
fn what_another_wrote_and_this_can_not_read_is_never_written_over() {
    let (_folder, path, mut home) = home();
    write(&mut home).unwrap();
    write_unreadable(&path);
    let slots = |home: &mut VaultFile| {
        home.update_slots(|lineage| lineage.add_slot(&NewSlot::Key(&[6; 32]), "").map(drop))
    };
    for _ in 0..2 {
        assert!(matches!(home.refresh(), Err(VaultFileError::Payload(_))));
        assert!(matches!(write(&mut home), Err(Failed::Home(VaultFileError::Payload(_)))));
        assert!(matches!(slots(&mut home), Err(VaultFileError::Payload(_))));
        assert_eq!(content(&path), b"of a later version");
    }
}

#[test]
fn a_change_that_fails_leaves_memory_as_the_file_is() {
    let (_folder, path, mut home) = home();
    write(&mut home).unwrap();
    let failed = home.update_as(|stronghold| {
        stronghold.remove(&"a/b/c".parse().unwrap(), Timestamp::from_millis(2)).unwrap();
        Err::<(), Failed>(Failed::Write(WriteError::TooLarge))
    });
    assert!(matches!(failed, Err(Failed::Write(_))));
    assert!(home.stronghold().read(&"a/b/c".parse().unwrap()).is_ok(), "without a refresh");
    write(&mut home).unwrap();
    drop(home);
    let reopened = VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap();
    assert!(reopened.stronghold().read(&"a/b/c".parse().unwrap()).is_ok());
}

fn panics(work: impl FnOnce()) {
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
}

fn half_a_change(home: &mut VaultFile) {
    let _: Result<(), Failed> = home.update_as(|stronghold| {
        stronghold
            .write(&"half/a/change".parse().unwrap(), b"x", Labels::new(), Timestamp::from_millis(2))
            .unwrap();
        stronghold.remove(&"a/b/c".parse().unwrap(), Timestamp::from_millis(2)).unwrap();
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
    // Other processes are not locked out, and the next change contains nothing of the failed one.
    write(&mut VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap()).unwrap();
    write(&mut home).unwrap();
    assert!(is_whole(home.stronghold()));
    assert!(is_whole(VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap().stronghold()));
}

/// The file can't restore the state then; memory does.
#[test]
fn a_change_that_fails_while_the_file_can_not_be_read_leaves_memory_as_before() {
    for panicking in [false, true] {
        let (folder, path, mut home) = home();
        write(&mut home).unwrap();
        let away = folder.path().join("away");
        let change = |stronghold: &mut Stronghold| {
            stronghold.remove(&"a/b/c".parse().unwrap(), Timestamp::from_millis(2)).unwrap();
            std::fs::rename(&path, &away).unwrap();
            assert!(!panicking, "in the middle of it");
            Err::<(), Failed>(Failed::Write(WriteError::TooLarge))
        };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| home.update_as(change)));
        assert!(is_whole(home.stronghold()));
        assert!(home.refresh().is_err(), "a file that is gone is told");
        assert!(write(&mut home).is_err() && is_whole(home.stronghold()));
        std::fs::rename(&away, &path).unwrap();
        write(&mut home).unwrap();
        assert!(is_whole(VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap().stronghold()));
    }
}

#[test]
fn a_commit_that_fails_leaves_memory_as_before() {
    let (folder, path, mut home) = home();
    write(&mut home).unwrap();
    let before = content(&path);
    std::fs::remove_file(folder.path().join(".vault.lock")).unwrap();
    let failed = home.update_as(|stronghold| {
        stronghold.remove(&"a/b/c".parse().unwrap(), Timestamp::from_millis(2)).unwrap();
        // The lock file disappears during the commit, which is refused.
        std::fs::remove_file(folder.path().join(".vault.lock")).unwrap();
        Ok::<_, Failed>(())
    });
    assert!(matches!(failed, Err(Failed::Home(VaultFileError::Commit(_)))), "{failed:?}");
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
    assert_eq!(home.file().sealer().slots().len(), 1);
    assert!(is_whole(home.stronghold()));
    write(&mut home).unwrap();
    assert!(VaultFile::open(&path, &Unlock::Key(&[6; 32])).is_err());
}

/// As many times as it was told in this thread that a note failed.
fn told() -> usize {
    TOLD.with(Cell::get)
}

thread_local! {
    static TOLD: Cell<usize> = const { Cell::new(0) };
}

fn notes(folder: Option<&Path>, required: bool) -> RollbackNotes {
    let tell = |_: &NoteError| TOLD.with(|told| told.set(told.get() + 1));
    RollbackNotes { guard: folder.map(RollbackGuard::in_folder), required, on_failure: tell }
}

fn open_seen(path: &Path, notes: RollbackNotes, older: OnRollback) -> Result<VaultFile, VaultFileError> {
    VaultFile::open_guarded(path, &Unlock::Key(&KEY), &Limits::OWN, notes, older)
}

#[test]
fn an_older_file_than_was_seen_is_refused_until_it_is_accepted() {
    let (folder, path, mut home) = home();
    let seen = folder.path().join("notes");
    let old = std::fs::read(&path).unwrap();
    home.set_rollback_notes(notes(Some(&seen), true)).unwrap();
    write(&mut home).unwrap(); // which notes what it wrote
    std::fs::write(&path, &old).unwrap();
    for _ in 0..2 {
        let error = open_seen(&path, notes(Some(&seen), false), OnRollback::Refuse).unwrap_err();
        let VaultFileError::RolledBack(RollbackError::Older { found: 1, seen: 2, .. }) = error else {
            panic!("{error}")
        };
    }
    open_seen(&path, notes(Some(&seen), true), OnRollback::Accept).unwrap();
    let mut home = open_seen(&path, notes(Some(&seen), true), OnRollback::Refuse).unwrap();
    // What is opened and what is written from then on is noted.
    write(&mut home).unwrap();
    std::fs::write(&path, &old).unwrap();
    assert!(open_seen(&path, notes(Some(&seen), true), OnRollback::Refuse).is_err());
    assert_eq!(told(), 0);
}

#[test]
fn a_file_is_noted_in_each_folder_that_is_set() {
    let (folder, _path, mut home) = home();
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    for seen in [&one, &other] {
        home.set_rollback_notes(notes(Some(seen), true)).unwrap();
        assert!(std::fs::read_dir(seen).unwrap().count() > 0);
    }
}

/// Returns the numbers of the files in a folder: a note that is written anew is another file.
#[cfg(unix)]
fn files(folder: &Path) -> std::collections::BTreeSet<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().ino()).collect()
}

#[cfg(unix)]
#[test]
fn changes_in_a_row_are_noted_at_once_and_when_the_file_is_closed() {
    let (folder, path, _) = home();
    let seen = folder.path().join("notes");
    let mut home = open_seen(&path, notes(Some(&seen), false), OnRollback::Refuse).unwrap();
    let mut before = files(&seen);
    for is_first in [true, false, false] {
        write(&mut home).unwrap();
        let after = files(&seen);
        assert_eq!(after != before, is_first);
        before = after;
    }
    let old = std::fs::read(&path).unwrap();
    write(&mut home).unwrap();
    drop(home);
    assert_ne!(files(&seen), before);
    let newest = std::fs::read(&path).unwrap();
    std::fs::write(&path, old).unwrap();
    let error = open_seen(&path, notes(Some(&seen), false), OnRollback::Refuse).unwrap_err();
    assert!(matches!(&error, VaultFileError::RolledBack(RollbackError::Older { .. })), "{error}");
    std::fs::write(&path, newest).unwrap();
    // Where they are required, each change is noted.
    let mut home = open_seen(&path, notes(Some(&seen), true), OnRollback::Refuse).unwrap();
    for _ in 0..2 {
        let before = files(&seen);
        write(&mut home).unwrap();
        assert_ne!(files(&seen), before);
    }
}

#[test]
fn that_notes_fail_is_told_once_and_again_after_they_were_well() {
    let (folder, path, _home) = home();
    let seen = folder.path().join("notes");
    std::fs::write(&seen, "in the way").unwrap();
    let mut home = open_seen(&path, notes(Some(&seen), false), OnRollback::Refuse).unwrap();
    assert_eq!(told(), 1);
    for _ in 0..2 {
        write(&mut home).unwrap();
        assert_eq!(told(), 1);
    }
    std::fs::remove_file(&seen).unwrap();
    write(&mut home).unwrap();
    home.refresh().unwrap();
    std::fs::remove_dir_all(&seen).unwrap();
    home.refresh().unwrap();
    assert!(!seen.exists(), "what is noted is not noted again");
    std::fs::write(&seen, "in the way").unwrap();
    home.refresh().unwrap();
    assert_eq!(told(), 1);
    write(&mut home).unwrap();
    drop(home);
    assert_eq!(told(), 2);
    let mut home = open_seen(&path, notes(None, false), OnRollback::Accept).unwrap();
    write(&mut home).unwrap();
    assert_eq!(told(), 3, "also where there is no folder at all");
}

#[test]
fn where_notes_are_required_nothing_is_opened_or_written_without_them() {
    let (folder, path, _home) = home();
    let seen = folder.path().join("notes");
    let no_folder = |error: VaultFileError| matches!(error, VaultFileError::Notes(NoteError::NoFolder));
    assert!(no_folder(open_seen(&path, notes(None, true), OnRollback::Accept).unwrap_err()));
    let mut home = open_seen(&path, notes(Some(&seen), true), OnRollback::Refuse).unwrap();
    write(&mut home).unwrap();
    let before = content(&path);
    std::fs::remove_dir_all(&seen).unwrap();
    std::fs::write(&seen, "in the way").unwrap();
    for older in [OnRollback::Refuse, OnRollback::Accept] {
        let error = open_seen(&path, notes(Some(&seen), true), older).unwrap_err();
        assert!(matches!(error, VaultFileError::Notes(NoteError::Storage { .. })), "{error}");
    }
    assert!(matches!(write(&mut home), Err(Failed::Home(VaultFileError::Notes(NoteError::Storage { .. })))));
    assert!(home.update_slots(|lineage| lineage.add_slot(&NewSlot::Key(&[6; 32]), "").map(drop)).is_err());
    assert_eq!(content(&path), before);
    let error = home.set_rollback_notes(notes(None, true)).unwrap_err();
    assert!(no_folder(error));
    assert!(matches!(write(&mut home), Err(Failed::Home(VaultFileError::Notes(NoteError::NoFolder)))));
    assert_eq!((content(&path), told()), (before, 0));
    home.set_rollback_notes(notes(None, false)).unwrap();
    write(&mut home).unwrap();
    assert_eq!(told(), 1);
}

#[test]
fn what_was_paid_before_for_a_passphrase_is_paid_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, seen) = (folder.path().join("vault"), folder.path().join("notes"));
    let slot = NewSlot::Passphrase { passphrase: b"p", cost: PassphraseCost::new(16, 2, 1).unwrap() };
    VaultFile::create(&path, &[slot], Stronghold::new("a").unwrap()).unwrap();
    let limits = Limits { work: KdfWork { memory_kib: 8, total_kib: 8 }, ..Limits::OWN };
    let open = |limits: &Limits| {
        VaultFile::open_guarded(
            &path,
            &Unlock::Passphrase(b"p"),
            limits,
            notes(Some(&seen), true),
            OnRollback::Refuse,
        )
    };
    let too_costly = |opened: Result<VaultFile, VaultFileError>| {
        matches!(
            opened,
            Err(VaultFileError::Open(OpenFileError::Snapshot { source: OpenError::TooCostly { .. }, .. }))
        )
    };
    assert!(
        too_costly(open(&limits))
            && too_costly(VaultFile::open_within(&path, &Unlock::Passphrase(b"p"), &limits))
    );
    open(&Limits::OWN).unwrap();
    open(&limits).unwrap();
}

#[test]
fn a_writer_waits_as_long_as_it_is_told_to() {
    let (_folder, path, mut home) = home();
    let (mut other, _) = SnapshotFile::open(&path, &Unlock::Key(&KEY)).unwrap();
    let locked = other.lock(Duration::ZERO).unwrap();
    let started = Instant::now();
    home.set_lock_wait(Duration::ZERO);
    assert!(matches!(write(&mut home), Err(Failed::Home(VaultFileError::Lock(LockError::InUse { .. })))));
    assert!(home.remove_lock().is_err() && started.elapsed() < Duration::from_secs(5));
    drop(locked);
    write(&mut home).unwrap();
    let lock = path.with_file_name(".vault.lock");
    assert!(lock.exists());
    home.remove_lock().unwrap();
    assert!(!lock.exists());
}

fn words(home: &VaultFile) -> Vec<(String, usize)> {
    home.stronghold().steps().map(|step| (step.word().to_owned(), step.records())).collect()
}

fn write_at(home: &mut VaultFile, location: &str) {
    let changed = home.update_as(|stronghold| {
        stronghold
            .write(&location.parse().unwrap(), b"x", Labels::new(), Timestamp::from_millis(1))
            .map_err(Failed::Write)
    });
    changed.unwrap();
}

#[test]
fn changes_belong_to_the_step_that_was_begun_and_else_each_is_one() {
    let (_folder, path, mut home) = home();
    write_at(&mut home, "a/v/1");
    write_at(&mut home, "a/v/2");
    home.begin_step("import");
    write_at(&mut home, "a/v/3");
    let failed = home.update_as(|_| Err::<(), Failed>(Failed::Write(WriteError::TooLarge)));
    assert!(failed.is_err());
    write_at(&mut home, "a/v/4");
    let mut session = PendingStep::served("serve", Timestamp::from_millis(7));
    for location in ["b/v/1", "b/v/2"] {
        let written = home.update_in(&mut session, |stronghold| {
            stronghold
                .write(&location.parse().unwrap(), b"y", Labels::new(), Timestamp::from_millis(1))
                .map_err(Failed::Write)
        });
        written.unwrap();
    }
    home.update_and_renew(&[], |stronghold| {
        stronghold
            .write(&"a/v/5".parse().unwrap(), b"x", Labels::new(), Timestamp::from_millis(1))
            .map(drop)
            .map_err(Failed::Write)
    })
    .unwrap();
    let word = |word: &str, records| (word.to_owned(), records);
    let expected = [word("serve", 2), word("import", 3), word("change", 1), word("change", 1)];
    assert_eq!(words(&home), expected);
    assert!(home.stronghold().steps().nth(1).unwrap().time() > Timestamp::from_millis(1_700_000_000_000));
    assert_eq!(words(&VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap()), expected);
    let undone = home
        .update_as(|stronghold| stronghold.undo(Timestamp::from_millis(9)).map_err(Failed::Write))
        .unwrap()
        .unwrap();
    assert_eq!((undone.word.as_str(), undone.records.len()), ("serve", 2));
}

#[test]
fn what_another_wrote_is_read_and_what_is_rehearsed_is_not_written() {
    let (_folder, path, mut home) = home();
    let mut other = VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap();
    write(&mut other).unwrap();
    assert!(home.stronghold().read(&"a/b/c".parse().unwrap()).is_err(), "it is not read unasked");
    let before = std::fs::read(&path).unwrap();
    let rehearsed = other.dry_run(|stronghold| {
        stronghold.remove(&"a/b/c".parse().unwrap(), Timestamp::from_millis(2)).map_err(Failed::Write)?;
        Ok::<_, Failed>(stronghold.readable())
    });
    assert_eq!((rehearsed.unwrap(), other.stronghold().readable()), (0, 1));
    assert!(std::fs::read(&path).unwrap() == before);
    assert_eq!(home.refresh().unwrap().readable(), 1);
    assert_eq!((home.stronghold().readable(), home.file().sealer().generation()), (1, 2));
    // A change is made on top of what another wrote meanwhile, of slots too.
    write_at(&mut other, "a/b/d");
    write_at(&mut home, "a/b/e");
    assert_eq!(home.stronghold().readable(), 3);
    write_at(&mut home, "a/b/f");
    other.update_slots(|lineage| lineage.add_slot(&NewSlot::Key(&[6; 32]), "second").map(drop)).unwrap();
    assert_eq!((other.stronghold().readable(), other.file().sealer().generation()), (4, 6));
    let opened = VaultFile::open(&path, &Unlock::Key(&[6; 32])).unwrap();
    assert_eq!((opened.stronghold().readable(), opened.file().sealer().slots().len()), (4, 2));
}

#[test]
fn damage_behind_the_header_is_seen_where_all_is_read_again() {
    let (_folder, path, mut home) = home();
    write(&mut home).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(home.refresh().unwrap().readable(), 1);
    assert!(matches!(home.refresh_whole(), Err(VaultFileError::Reload(_))));
    assert!(matches!(home.refresh(), Err(VaultFileError::Reload(_))), "from then on too");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(home.refresh_whole().unwrap().readable(), 1);
    let mut other = VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap();
    write_at(&mut other, "a/b/d");
    assert_eq!(home.refresh_whole().unwrap().readable(), 2);
}

#[test]
fn what_is_sealed_anew_is_not_opened_by_who_had_the_key_before() {
    let (_folder, path, mut home) = home();
    let (old, _) = SnapshotFile::open(&path, &Unlock::Key(&KEY)).unwrap();
    home.update_slots(|lineage| lineage.replace_slot(1, &NewSlot::Key(&[6; 32]), None)).unwrap();
    assert!(old.sealer().reopen(std::fs::read(&path).unwrap()).is_ok());
    let write = |stronghold: &mut Stronghold| {
        stronghold
            .write(&"a/b/c".parse().unwrap(), b"x", Labels::new(), Timestamp::from_millis(1))
            .map(drop)
            .map_err(Failed::Write)
    };
    home.update_and_renew(&[], write).unwrap();
    assert_eq!(old.sealer().reopen(std::fs::read(&path).unwrap()).unwrap_err(), OpenError::WrongKey);
    assert_eq!(home.stronghold().readable(), 1);
    assert_eq!(VaultFile::open(&path, &Unlock::Key(&[6; 32])).unwrap().stronghold().readable(), 1);
    home.update_slots(|lineage| lineage.add_slot(&NewSlot::Key(&[7; 32]), "").map(drop)).unwrap();
    let mut stranger = VaultFile::open(&path, &Unlock::Key(&[7; 32])).unwrap();
    let before = content_with(&path, [7; 32]);
    assert!(stranger.update_and_renew(&[], write).is_err(), "the other slot's key is not at hand");
    assert_eq!(content_with(&path, [7; 32]), before);
    stranger.update_and_renew(&[Unlock::Key(&[6; 32])], write).unwrap();
    assert_ne!(content_with(&path, [6; 32]), before);
}

fn content_with(path: &Path, key: [u8; 32]) -> Vec<u8> {
    SnapshotFile::open(path, &Unlock::Key(&key)).unwrap().1.to_vec()
}
