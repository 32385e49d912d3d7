//! Tests of rollback detection: replaced snapshots are detected, and harmless changes raise no
//! alarm.

use super::*;
use crate::format::slot::{NewSlot, Unlock};

const KEY: [u8; 32] = [1; 32];

/// A folder with notes, and a snapshot `vault` of two generations; `old` is a copy of the first.
struct World {
    folder: tempfile::TempDir,
    seen: RollbackGuard,
    old: Vec<u8>,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let seen = RollbackGuard::in_folder(folder.path().join("deep/down"));
    let path = folder.path().join("vault");
    let mut file = SnapshotFile::create(&path, &[NewSlot::Key(&KEY)], b"one").unwrap();
    let old = fs::read(&path).unwrap();
    let world = World { folder, seen, old };
    assert_eq!(world.check("vault"), Ok(()), "nothing is known");
    world.seen.remember(&file).unwrap();
    file.commit(b"two").unwrap();
    world.seen.remember(&file).unwrap();
    world.seen.remember(&file).unwrap();
    world
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn open(&self, name: &str) -> SnapshotFile {
        SnapshotFile::open(&self.path(name), &Unlock::Key(&KEY)).unwrap().0
    }

    fn check(&self, name: &str) -> Result<(), RollbackError> {
        self.seen.last_seen(&self.path(name)).unwrap().check(&self.open(name))
    }

    /// Opens, notes and writes the file like a command.
    fn write(&self, name: &str) -> Result<(), RollbackError> {
        self.check(name)?;
        let mut file = self.open(name);
        self.seen.remember(&file).unwrap();
        file.commit(b"more").unwrap();
        self.seen.remember(&file).unwrap();
        Ok(())
    }

    fn older(&self, name: &str, found: u64, seen: u64) -> Result<(), RollbackError> {
        Err(RollbackError::Older { path: self.path(name), found, seen, seen_at: None })
    }

    fn move_to(&self, from: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(self.path(from), to).unwrap();
    }
}

#[test]
fn an_old_copy_and_a_fork_of_the_same_number_are_noticed() {
    let world = world();
    assert_eq!(world.check("vault"), Ok(()));
    fs::write(world.path("vault"), &world.old).unwrap();
    assert_eq!(world.check("vault"), world.older("vault", 1, 2));
    let mut fork = world.open("vault");
    fork.commit(b"another two").unwrap();
    assert_eq!(world.check("vault"), world.older("vault", 2, 2), "same number, another content");
    fork.commit(b"three").unwrap();
    assert_eq!(world.check("vault"), world.older("vault", 3, 2), "made from another than was seen");
    fork.lock(Duration::ZERO).unwrap().append(b"four").unwrap();
    assert_eq!(world.check("vault"), world.older("vault", 4, 2));
    fork.commit(b"five").unwrap();
    assert_eq!(world.check("vault"), Ok(()), "what was seen is too long ago");
    world.seen.remember(&fork).unwrap();
    fs::write(world.path("vault"), &world.old).unwrap();
    world.seen.remember(&world.open("vault")).unwrap();
    assert!(world.check("vault").is_err(), "the later one stays remembered");
    world.seen.accept(&world.open("vault")).unwrap();
    assert_eq!(world.check("vault"), Ok(()));
}

#[test]
fn another_snapshot_in_its_place_is_noticed_until_it_is_accepted() {
    let world = world();
    SnapshotFile::create(&world.path("other"), &[NewSlot::Key(&KEY)], b"other").unwrap();
    fs::rename(world.path("other"), world.path("vault")).unwrap();
    let exchanged = world.check("vault").unwrap_err();
    assert_eq!(exchanged, RollbackError::Exchanged { path: world.path("vault") });
    let said = exchanged.to_string();
    assert!(said.contains("another snapshot"), "{said}");
    world.seen.accept(&world.open("vault")).unwrap();
    assert_eq!(world.check("vault"), Ok(()));
    // Now the first snapshot is the foreign one.
    fs::write(world.path("vault"), &world.old).unwrap();
    assert!(matches!(world.check("vault"), Err(RollbackError::Exchanged { .. })));
}

#[test]
fn a_file_that_was_moved_takes_its_notes_along() {
    let world = world();
    world.move_to("vault", "elsewhere/renamed");
    assert_eq!(world.check("elsewhere/renamed"), Ok(()));
    // Rolled back before it was opened there.
    fs::write(world.path("elsewhere/renamed"), &world.old).unwrap();
    let older = world.check("elsewhere/renamed").unwrap_err();
    assert!(
        matches!(&older, RollbackError::Older { found: 1, seen: 2, seen_at: Some(at), .. } if *at == world.path("vault")),
        "{older}"
    );
    assert!(older.to_string().contains("vault"), "{older}");
    world.seen.accept(&world.open("elsewhere/renamed")).unwrap();
    assert_eq!(world.write("elsewhere/renamed"), Ok(()));
    // Its home is there now; after moving back, it must not be older than it was there.
    world.move_to("elsewhere/renamed", "vault");
    assert!(matches!(world.check("vault"), Ok(()) | Err(RollbackError::Older { seen_at: None, .. })));
    fs::write(world.path("vault"), &world.old).unwrap();
    assert!(world.check("vault").is_err());
}

#[test]
fn a_file_that_comes_back_must_not_be_older_than_it_was_elsewhere() {
    let world = world();
    let two = fs::read(world.path("vault")).unwrap();
    world.move_to("vault", "away/vault");
    world.write("away/vault").unwrap();
    world.move_to("away/vault", "vault");
    fs::write(world.path("vault"), two).unwrap();
    assert!(matches!(
        world.check("vault"),
        Err(RollbackError::Older { found: 2, seen: 3, seen_at: Some(_), .. })
    ));
}

#[test]
fn the_place_that_a_file_has_left_remembers_its_last_state_there() {
    let world = world();
    for _ in 0..3 {
        world.write("vault").unwrap();
    }
    let four = fs::read(world.path("vault")).unwrap();
    world.write("vault").unwrap();
    let before = fs::read(world.path("vault")).unwrap();
    world.move_to("vault", "elsewhere/vault");
    world.write("elsewhere/vault").unwrap();
    // Its home holds it, so what is here is judged by what was here.
    fs::write(world.path("vault"), four).unwrap();
    assert_eq!(world.check("vault"), world.older("vault", 5, 6));
    fs::write(world.path("vault"), before).unwrap();
    assert_eq!(world.check("vault"), Ok(()));
}

#[cfg(unix)]
#[test]
fn a_change_at_home_writes_one_note() {
    use std::os::unix::fs::MetadataExt;

    let world = world();
    let file = world.open("vault");
    let inode = |note: PathBuf| fs::metadata(note).unwrap().ino();
    let both = || [inode(world.seen.note_of_path(file.path())), inode(world.seen.note_of_id(file.sealer()))];
    let before = both();
    world.write("vault").unwrap();
    assert_eq!(before.map(|inode| both().contains(&inode)), [true, false]);
    fs::write(world.path("vault"), &world.old).unwrap();
    assert_eq!(world.check("vault"), world.older("vault", 1, 3));
}

#[test]
fn a_copy_is_a_file_of_its_own_and_raises_no_alarm() {
    let world = world();
    // A backup, opened in place.
    fs::write(world.path("backup"), &world.old).unwrap();
    assert_eq!(world.check("backup"), Ok(()));
    world.seen.remember(&world.open("backup")).unwrap();
    assert_eq!(world.check("vault"), Ok(()));
    // Both are written further.
    for _ in 0..3 {
        assert_eq!(world.write("backup"), Ok(()));
        assert_eq!(world.write("vault"), Ok(()));
    }
    // The copy is watched too.
    fs::write(world.path("backup"), &world.old).unwrap();
    assert_eq!(world.check("backup"), world.older("backup", 1, 4));
    world.seen.accept(&world.open("backup")).unwrap();
    // The original's removal does not affect the copy.
    fs::remove_file(world.path("vault")).unwrap();
    assert_eq!(world.write("backup"), Ok(()));
    assert_eq!(world.check("backup"), Ok(()));
}

#[test]
fn a_link_to_a_file_is_the_file() {
    let world = world();
    #[cfg(unix)]
    std::os::unix::fs::symlink("vault", world.path("link")).unwrap();
    #[cfg(unix)]
    assert_eq!(world.write("link"), Ok(()));
    fs::write(world.path("vault"), &world.old).unwrap();
    assert!(world.check("vault").is_err());
}

#[test]
fn what_others_noted_since_does_not_count() {
    let world = world();
    let before = world.seen.last_seen(&world.path("vault")).unwrap();
    let opened = world.open("vault");
    world.write("vault").unwrap();
    assert_eq!(before.check(&opened), Ok(()));
}

#[test]
fn a_note_that_says_nothing_is_told_and_stays_until_it_is_accepted() {
    let world = world();
    let file = world.open("vault");
    for note in [world.seen.note_of_path(file.path()), world.seen.note_of_id(file.sealer())] {
        for text in ["", "9", "x y", "99999999999999999999999 00", "\u{fffd}"] {
            fs::write(&note, text).unwrap();
            let last = world.seen.last_seen(file.path()).unwrap();
            assert!(matches!(last.confirm(&file), Err(NoteError::Unreadable(at)) if at == note), "{text}");
            assert!(matches!(world.seen.remember(&file), Err(NoteError::Unreadable(_))), "{text}");
            assert_eq!(fs::read_to_string(&note).unwrap(), text);
        }
        fs::write(&note, [0xff, 0xfe]).unwrap();
        assert!(matches!(world.seen.remember(&file), Err(NoteError::Unreadable(_))));
        world.seen.accept(&file).unwrap();
        world.seen.remember(&file).unwrap();
        assert!(world.seen.last_seen(file.path()).unwrap().confirm(&file).is_ok());
    }
    let names: Vec<_> = fs::read_dir(world.seen.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "two notes and a lock: {names:?}");
}

/// Links point only to a file in the test's own folder.
#[cfg(unix)]
#[test]
fn what_stands_in_place_of_a_note_is_told_and_not_touched() {
    use std::os::unix::fs::symlink;
    let plants: [fn(&Path); 4] = [
        |at| symlink("precious", at).unwrap(),
        |at| fs::hard_link(at.with_file_name("precious"), at).unwrap(),
        |at| fs::create_dir(at).unwrap(),
        |at| assert!(std::process::Command::new("mkfifo").arg(at).status().unwrap().success()),
    ];
    for plant in plants {
        for of_id in [false, true] {
            let world = world();
            let file = world.open("vault");
            let note = match of_id {
                true => world.seen.note_of_id(file.sealer()),
                false => world.seen.note_of_path(file.path()),
            };
            let precious = note.with_file_name("precious");
            fs::write(&precious, "precious").unwrap();
            fs::remove_file(&note).unwrap();
            plant(&note);
            let before = fs::symlink_metadata(&note).unwrap();
            let last = world.seen.last_seen(file.path()).unwrap();
            assert!(matches!(last.confirm(&file), Err(NoteError::Storage { .. })));
            assert!(matches!(world.seen.remember(&file), Err(NoteError::Storage { .. })));
            assert!(matches!(world.seen.accept(&file), Err(NoteError::Storage { .. })));
            assert_eq!(fs::symlink_metadata(&note).unwrap().file_type(), before.file_type());
            assert_eq!(fs::read(&precious).unwrap(), b"precious");
        }
    }
    // The names of temporary files are unpredictable, and existing files are not opened.
    let world = world();
    world.seen.probe().unwrap();
    fs::remove_dir_all(world.seen.folder()).unwrap();
    fs::write(world.seen.folder(), "a file in place of the folder").unwrap();
    assert!(world.seen.probe().is_err());
    assert!(world.seen.remember(&world.open("vault")).is_err());
}

fn notes(world: &World, name: &str) -> [String; 2] {
    let file = world.open(name);
    [world.seen.note_of_path(file.path()), world.seen.note_of_id(file.sealer())]
        .map(|note| fs::read_to_string(note).unwrap_or_default())
}

fn noted(world: &World, name: &str, generation: u64, place: Place) -> Option<Note> {
    let mut note = Note::of(&world.open(name), place);
    note.generation = generation;
    Some(note)
}

#[test]
fn a_copy_is_noted_by_its_path_alone_and_what_is_no_news_is_not_written() {
    let world = world();
    let of_original = notes(&world, "vault");
    let [by_path, by_id] = of_original.each_ref().map(|text| Note::from_text(text));
    assert_eq!(by_id, noted(&world, "vault", 2, Place::Home));
    assert_eq!(by_path.unwrap().generation, 1, "it says which file is there");
    fs::copy(world.path("vault"), world.path("backup")).unwrap();
    world.write("backup").unwrap();
    let [of_copy, by_id] = notes(&world, "backup");
    assert_eq!(Note::from_text(&of_copy), noted(&world, "backup", 3, Place::Copy));
    assert_eq!(by_id, of_original[1]);
    // An older one of the same file, and the very same again, change nothing.
    let newest = fs::read(world.path("backup")).unwrap();
    fs::write(world.path("backup"), &world.old).unwrap();
    world.seen.remember(&world.open("backup")).unwrap();
    assert_eq!(notes(&world, "backup"), [of_copy.clone(), by_id.clone()]);
    fs::write(world.path("backup"), newest).unwrap();
    world.seen.remember(&world.open("backup")).unwrap();
    assert_eq!(notes(&world, "backup"), [of_copy, by_id]);
    fs::write(world.path("vault"), &world.old).unwrap();
    world.seen.accept(&world.open("vault")).unwrap();
    let at_home = noted(&world, "vault", 1, Place::Home);
    assert_eq!(
        notes(&world, "vault").each_ref().map(|text| Note::from_text(text)),
        [at_home.clone(), at_home]
    );
}

#[test]
fn a_moved_file_is_at_home_where_it_lies_now() {
    let world = world();
    world.move_to("vault", "elsewhere/vault");
    world.seen.remember(&world.open("elsewhere/vault")).unwrap();
    let moved = noted(&world, "elsewhere/vault", 2, Place::Home);
    assert_eq!(
        notes(&world, "elsewhere/vault").each_ref().map(|text| Note::from_text(text)),
        [moved.clone(), moved]
    );
}

#[test]
fn what_its_owner_paid_before_is_remembered_where_anything_is() {
    use crate::format::cost::PassphraseCost;

    let world = world();
    let last = |name: &str| world.seen.last_seen(&world.path(name)).unwrap();
    assert_eq!((last("vault").paid(), last("other").paid()), (Some(KdfWork::NONE), None));
    let slot = NewSlot::Passphrase { passphrase: b"p", cost: PassphraseCost::new(16, 2, 1).unwrap() };
    let file = SnapshotFile::create(&world.path("other"), &[slot], b"one").unwrap();
    world.seen.remember(&file).unwrap();
    assert_eq!(last("other").paid(), Some(KdfWork { memory_kib: 16, total_kib: 32 }));
    fs::write(world.seen.note_of_path(file.path()), "damaged").unwrap();
    assert_eq!(last("other").paid(), None);
}

#[test]
fn whether_notes_can_be_read_is_told_of_both() {
    let world = world();
    let readable = |name: &str| world.seen.readable(&world.path(name));
    for fine in ["vault", "never seen", "no folder/vault"] {
        assert!(readable(fine).is_ok(), "{fine}");
    }
    let file = world.open("vault");
    for note in [world.seen.note_of_id(file.sealer()), world.seen.note_of_path(file.path())] {
        let before = fs::read(&note).unwrap();
        fs::write(&note, "damaged").unwrap();
        assert!(matches!(readable("vault"), Err(NoteError::Unreadable(at)) if at == note));
        fs::write(&note, before).unwrap();
    }
    fs::remove_file(world.seen.note_of_id(file.sealer())).unwrap();
    assert!(readable("vault").is_ok());
}

#[cfg(unix)]
#[test]
fn notes_and_their_folder_are_this_users_alone_and_a_probe_leaves_none() {
    use std::os::unix::fs::PermissionsExt;

    let world = world();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(world.seen.folder(), world.folder.path().join("deep/down"));
    assert_eq!(mode(world.seen.folder()), 0o700);
    assert_eq!(mode(&world.seen.note_of_path(&world.path("vault"))), 0o600);
    let names = || {
        let entries = fs::read_dir(world.seen.folder()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    world.seen.probe().unwrap();
    assert_eq!((names(), before.len()), (before, 3));
    let fresh = RollbackGuard::in_folder(world.folder.path().join("not/yet"));
    fresh.probe().unwrap();
    assert!(fresh.folder().is_dir(), "it is made for the probe");
}

/// Something may take a note's place after it was read.
#[cfg(unix)]
#[test]
fn a_note_replaces_nothing_but_a_note() {
    let world = world();
    let note = Note::of(&world.open("vault"), Place::Home);
    let (link, target) = (world.path("link"), world.path("target"));
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink("target", &link).unwrap();
    let error = world.seen.write(&link, &note).unwrap_err();
    assert!(
        matches!(&error, NoteError::Storage { action: Action::Write, path, .. } if *path == link),
        "{error}"
    );
    assert!(link.is_symlink() && fs::read(&target).unwrap() == b"precious");
    for _ in 0..2 {
        world.seen.write(&world.path("new"), &note).unwrap();
        assert_eq!(world.seen.read(&world.path("new")).unwrap().as_ref(), Some(&note));
    }
}

/// The kernel's image of this process can't be read from its start.
#[cfg(target_os = "linux")]
#[test]
fn a_note_that_can_not_be_read_is_not_called_damaged() {
    let memory = Path::new("/proc/self/mem");
    let error = world().seen.read(memory).unwrap_err();
    assert!(
        matches!(&error, NoteError::Storage { action: Action::Read, path, .. } if path == memory),
        "{error}"
    );
}

#[test]
fn an_older_file_is_told_with_the_place_where_it_was_newer() {
    let older = |seen_at: Option<&str>| {
        let (path, seen_at) = ("/vault".into(), seen_at.map(PathBuf::from));
        RollbackError::Older { path, found: 3, seen: 5, seen_at }.to_string()
    };
    let said = |place| {
        format!(
            "/vault holds generation 3, but generation 5 was seen {place} before: an old copy, or another one"
        )
    };
    assert_eq!((older(None), older(Some("/home"))), (said("there"), said("at /home")));
}
