//! Changes appended to a file: what others see of them, what a crash leaves, and when the whole is
//! written instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::{Faulty, Memory, PowerCut};
use stronghold_snapshot::{
    CommitError, Damage, Disk, NewSlot, OpenError, OpenFileError, Payload, ReloadError, Reloaded,
    SnapshotFile, Storage, Unlock,
};

const KEY: [u8; 32] = [5; 32];
const WAIT: Duration = Duration::from_secs(10);
const BLOCK: usize = 4096;
const EIO: i32 = 5;

fn new(content: &[u8]) -> (tempfile::TempDir, PathBuf, SnapshotFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let file = SnapshotFile::create(&path, &[NewSlot::Key(&KEY)], content).unwrap();
    (folder, path, file)
}

fn open(path: &Path) -> (SnapshotFile, Payload) {
    SnapshotFile::open(path, &Unlock::Key(&KEY)).unwrap()
}

fn append<S: Storage>(file: &mut SnapshotFile<S>, change: &[u8]) -> Result<(), CommitError> {
    file.lock(WAIT)?.append(change)
}

/// Returns base and changes as text, separated by spaces.
fn read(payload: &Payload) -> String {
    let parts = std::iter::once(&payload[..]).chain(payload.changes());
    parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>().join(" ")
}

fn content(path: &Path) -> String {
    read(&open(path).1)
}

#[test]
fn a_change_takes_one_block_and_is_seen_by_all() {
    let (_folder, path, mut file) = new(b"base");
    let (mut other, _) = open(&path);
    let before = fs::read(&path).unwrap();
    assert_eq!(before.len() % BLOCK, 0);
    append(&mut file, b"one").unwrap();
    append(&mut file, b"two").unwrap();
    let after = fs::read(&path).unwrap();
    assert_eq!(after.len(), before.len() + 2 * BLOCK);
    assert!(after.starts_with(&before), "what was committed stays as it is");
    assert!(!after.windows(3).any(|window| window == b"two"));
    assert_eq!((content(&path).as_str(), file.sealer().generation()), ("base one two", 3));
    let Some(Reloaded::Changes(changes)) = other.reload_if_newer().unwrap() else { panic!() };
    assert_eq!(changes.iter().map(|change| &change[..]).collect::<Vec<_>>(), [b"one", b"two"]);
    assert!(other.reload_if_newer().unwrap().is_none());
    append(&mut other, b"three").unwrap();
    let stale = append(&mut file, b"lost").unwrap_err();
    assert!(matches!(stale, CommitError::Stale { found: 4, held: 3 }), "{stale}");
    let stale = file.commit(b"lost").unwrap_err();
    assert!(matches!(stale, CommitError::Stale { found: 4, held: 3 }), "{stale}");
    file.reload_if_newer().unwrap();
    file.commit(b"anew").unwrap();
    let Some(Reloaded::Whole(whole)) = other.reload_if_newer().unwrap() else { panic!() };
    assert_eq!((read(&whole).as_str(), other.sealer().generation()), ("anew", 5));
    append(&mut other, b"four").unwrap();
    assert_eq!(content(&path), "anew four");
}

#[test]
fn a_copy_is_whole_whenever_it_is_made_and_the_next_change_cuts_a_torn_tail() {
    let (folder, path, mut file) = new(b"base");
    append(&mut file, b"one").unwrap();
    let before = fs::read(&path).unwrap().len();
    append(&mut file, &[b'x'; 5000]).unwrap();
    let bytes = fs::read(&path).unwrap();
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap(); // with its permissions, which stay
    for len in (before..bytes.len()).step_by(61).chain([before + 1, bytes.len() - 1]) {
        fs::write(&copy, &bytes[..len]).unwrap();
        let (mut copied, payload) = open(&copy);
        assert_eq!((read(&payload).as_str(), payload.is_torn()), ("base one", len > before), "{len}");
        append(&mut copied, b"other").unwrap();
        assert_eq!(content(&copy), "base one other", "{len}");
        assert_eq!(fs::read(&copy).unwrap().len(), before + BLOCK);
    }
}

/// A block consists of eight sectors, of which a loss of power may leave any: of the others there
/// are zeros, or what the place held before.
#[test]
fn whatever_sectors_of_a_change_are_missing_the_file_is_as_before_it_or_after() {
    let (folder, path, mut file) = new(b"base");
    let before = fs::read(&path).unwrap();
    append(&mut file, b"stale").unwrap();
    let stale = fs::read(&path).unwrap()[before.len()..].to_vec();
    fs::write(&path, &before).unwrap();
    let (mut file, _) = open(&path);
    append(&mut file, b"one").unwrap();
    let whole = fs::read(&path).unwrap();
    let torn = folder.path().join("torn");
    fs::copy(&path, &torn).unwrap();
    for missing in 1..256_u32 {
        for left in [&vec![0; BLOCK], &stale] {
            let mut bytes = whole.clone();
            for sector in (0..8).filter(|sector| missing >> sector & 1 == 1) {
                let at = sector * 512;
                bytes[before.len() + at..][..512].copy_from_slice(&left[at..at + 512]);
            }
            fs::write(&torn, &bytes).unwrap();
            let found = content(&torn);
            let is_stale = missing == 255 && left == &stale;
            assert_eq!(found, if is_stale { "base stale" } else { "base" }, "{missing:b}");
            let (mut torn_file, _) = open(&torn);
            append(&mut torn_file, b"next").unwrap();
            assert_eq!(content(&torn), format!("{found} next"));
        }
    }
}

#[test]
fn a_broken_change_before_another_is_damage_and_is_never_cut() {
    let (_folder, path, mut file) = new(b"base");
    let base = fs::read(&path).unwrap().len();
    ["one", "two", "three"].iter().for_each(|change| append(&mut file, change.as_bytes()).unwrap());
    let whole = fs::read(&path).unwrap();
    for at in [base, base + 50, base + 90, base + 1000, base + BLOCK + 7, base + 2 * BLOCK - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let damaged = SnapshotFile::open(&path, &Unlock::Key(&KEY)).unwrap_err();
        let OpenFileError::Snapshot { source, .. } = damaged else { panic!("{damaged}") };
        assert_eq!(source, OpenError::Damaged(Damage::Segment), "{at}");
    }
    // The last one is as if it had never been finished, for who knows nothing of it. Who does is
    // told.
    let bytes = whole[..whole.len() - 4000].to_vec();
    fs::write(&path, &bytes).unwrap();
    assert_eq!(content(&path), "base one two");
    let bytes = whole[..whole.len() - BLOCK].to_vec();
    fs::write(&path, &bytes).unwrap();
    let told = file.reload_if_newer().unwrap_err();
    assert!(matches!(told, ReloadError::RolledBack { found: 3, held: 4 }), "{told}");
    let told = append(&mut file, b"four").unwrap_err();
    assert!(matches!(told, CommitError::RolledBack { found: 3, held: 4 }), "{told}");
    assert!(fs::read(&path).unwrap() == bytes, "it was touched");
}

#[test]
fn another_branch_put_in_place_of_an_open_file_is_told() {
    let (folder, path, mut file) = new(b"base");
    append(&mut file, b"one").unwrap();
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    let (mut copied, _) = open(&copy);
    append(&mut file, b"here").unwrap();
    ["there", "and on"].iter().for_each(|change| append(&mut copied, change.as_bytes()).unwrap());
    let mine = fs::read(&path).unwrap();
    fs::write(&path, fs::read(&copy).unwrap()).unwrap();
    let told = file.reload_if_newer().unwrap_err();
    assert!(matches!(told, ReloadError::RolledBack { found: 4, held: 3 }), "{told}");
    copied.commit(b"written anew").unwrap();
    fs::write(&path, fs::read(&copy).unwrap()).unwrap();
    // Its base is of a later generation than any that can be compared.
    assert!(matches!(file.reload_if_newer().unwrap(), Some(Reloaded::Whole(_))));
    fs::write(&path, mine).unwrap();
    assert!(matches!(file.reload_if_newer(), Err(ReloadError::RolledBack { found: 3, held: 5 })));
}

#[test]
fn a_segment_of_another_place_file_or_base_is_none() {
    let (_folder, path, mut file) = new(b"base");
    let base = fs::read(&path).unwrap();
    append(&mut file, b"one").unwrap();
    append(&mut file, b"two").unwrap();
    let whole = fs::read(&path).unwrap();
    let (one, two) = whole[base.len()..].split_at(BLOCK);
    let opens_as = |parts: &[&[u8]]| {
        fs::write(&path, parts.concat()).unwrap();
        let payload = open(&path).1;
        assert!(payload.is_torn());
        read(&payload)
    };
    assert_eq!(opens_as(&[&base, two, one]), "base");
    assert_eq!(opens_as(&[&base, two]), "base");
    assert_eq!(opens_as(&[&base, one, one]), "base one");
    assert_eq!(opens_as(&[&base, &[0; BLOCK], one]), "base");
    // Of another branch, at the same place.
    fs::write(&path, [&base[..], one].concat()).unwrap();
    append(&mut open(&path).0, b"not two").unwrap();
    let other = fs::read(&path).unwrap();
    append(&mut open(&path).0, b"three").unwrap();
    let three = fs::read(&path).unwrap().split_off(other.len());
    assert_eq!(opens_as(&[&base, one, two, &three]), "base one two");
    // Of the file's earlier base, and at the same place.
    fs::write(&path, &whole).unwrap();
    let (mut file, _) = open(&path);
    file.commit(b"anew").unwrap();
    let anew = fs::read(&path).unwrap();
    assert_eq!(anew.len(), base.len());
    assert_eq!(opens_as(&[&anew, one]), "anew");
    assert_eq!(opens_as(&[&anew, &[0; BLOCK], two]), "anew", "no damage: it is none of this base");
}

#[test]
fn the_whole_is_written_when_much_was_appended_or_nothing_may_be() {
    let (folder, path, mut file) = new(b"base");
    let mut locked = file.lock(WAIT).unwrap();
    assert!(!locked.should_rewrite(64 * 1024) && locked.should_rewrite(64 * 1024 + 1));
    for _ in 0..15 {
        locked.append(b"a change").unwrap();
    }
    assert!(!locked.should_rewrite(4096) && locked.should_rewrite(4097));
    locked.commit(&[7; 1_000_000]).unwrap();
    assert!(!locked.should_rewrite(250_000) && locked.should_rewrite(270_000));
    drop(locked);
    // A change would show under every name of the file.
    let link = folder.path().join("link");
    fs::hard_link(&path, &link).unwrap();
    let before = fs::read(&link).unwrap();
    assert!(matches!(append(&mut file, b"x"), Err(CommitError::MustRewrite)));
    file.commit(b"anew").unwrap();
    append(&mut file, b"x").unwrap();
    assert!(fs::read(&link).unwrap() == before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(append(&mut file, b"for others too"), Err(CommitError::MustRewrite)));
        file.commit(b"for the owner").unwrap();
        assert_eq!(mode(), 0o600);
        append(&mut file, b"x").unwrap();
    }
    // A writer died: of what it appended it is not known that it is durable.
    fs::write(folder.path().join(".vault.lock"), "4711\n").unwrap();
    let mut locked = file.lock(WAIT).unwrap();
    assert!(locked.should_rewrite(0));
    assert!(matches!(locked.append(b"y"), Err(CommitError::MustRewrite)));
    locked.commit(b"anew again").unwrap();
    drop(locked);
    append(&mut file, b"y").unwrap();
    assert_eq!(content(&path), "anew again y");
}

#[test]
fn after_a_failed_sync_the_next_writer_writes_the_whole() {
    let (_folder, path, _) = new(b"base");
    let disk = Faulty::new(Disk);
    let (mut file, _) = SnapshotFile::open_in(disk.clone(), &path, &Unlock::Key(&KEY)).unwrap();
    let calls = |disk: &Faulty<Disk>| disk.calls();
    append(&mut file, b"one").unwrap();
    disk.fail(None, false, 0);
    append(&mut file, b"two").unwrap();
    let sync = calls(&disk).iter().rposition(|call| *call == "sync").unwrap();
    disk.fail(Some(sync), false, EIO);
    let failed = append(&mut file, b"three").unwrap_err();
    assert!(matches!(failed, CommitError::Storage(_)), "{failed}");
    disk.fail(None, false, 0);
    assert_eq!(content(&path), "base one two");
    assert!(matches!(append(&mut file, b"three"), Err(CommitError::MustRewrite)));
    // Where it can't be taken back, that is told.
    file.commit(b"anew").unwrap();
    append(&mut file, b"one").unwrap();
    disk.fail(None, false, 0);
    append(&mut file, b"two").unwrap();
    let sync = calls(&disk).iter().rposition(|call| *call == "sync").unwrap();
    disk.fail(Some(sync), true, EIO);
    let failed = append(&mut file, b"three").unwrap_err();
    assert!(matches!(failed, CommitError::Unknown(_)), "{failed}");
    disk.fail(None, false, 0);
    assert_eq!(content(&path), "anew one two three");
    file.reload_if_newer().unwrap();
    assert!(matches!(append(&mut file, b"four"), Err(CommitError::MustRewrite)));
}

#[test]
fn after_a_failed_sync_of_the_folder_the_next_writer_writes_the_whole() {
    let (_folder, path, _) = new(b"base");
    let disk = Faulty::new(Disk);
    let (mut file, _) = SnapshotFile::open_in(disk.clone(), &path, &Unlock::Key(&KEY)).unwrap();
    disk.fail(None, false, 0);
    file.commit(b"one").unwrap();
    let sync = disk.calls().iter().rposition(|call| *call == "sync_folder").unwrap();
    disk.fail(Some(sync), false, EIO);
    assert!(file.commit(b"two").is_err());
    disk.fail(None, false, 0);
    // It is in place, but may be gone when power is lost, and what is appended to it too.
    assert_eq!(content(&path), "two");
    assert!(file.reload_if_newer().unwrap().is_some());
    let mut locked = file.lock(WAIT).unwrap();
    assert!(locked.should_rewrite(0));
    assert!(matches!(locked.append(b"three"), Err(CommitError::MustRewrite)));
    locked.commit(b"anew").unwrap();
    drop(locked);
    append(&mut file, b"three").unwrap();
    assert_eq!(content(&path), "anew three");
}

/// Whoever has the lock in between and writes nothing makes nothing durable.
#[test]
fn what_a_writer_left_is_known_until_the_whole_is_written() {
    let (folder, path, mut file) = new(b"base");
    let lock = folder.path().join(".vault.lock");
    fs::write(&lock, "4711\n").unwrap();
    for _ in 0..2 {
        assert!(file.lock(WAIT).unwrap().should_rewrite(0));
        assert!(matches!(append(&mut file, b"one"), Err(CommitError::MustRewrite)));
    }
    let disk = Faulty::new(Disk);
    let (mut other, _) = SnapshotFile::open_in(disk.clone(), &path, &Unlock::Key(&KEY)).unwrap();
    let mut locked = other.lock(WAIT).unwrap();
    disk.fail(Some(0), true, EIO);
    assert!(locked.commit(b"anew").is_err());
    drop(locked);
    disk.fail(None, false, 0);
    assert!(file.lock(WAIT).unwrap().should_rewrite(0));
    file.commit(b"anew").unwrap();
    assert_eq!(fs::read(&lock).unwrap(), b"");
    append(&mut file, b"one").unwrap();
    assert_eq!(content(&path), "anew one");
}

#[test]
fn what_is_between_the_base_and_the_first_change_is_zeros_and_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let base = stronghold_snapshot::seal(&[NewSlot::Key(&KEY)], b"base").unwrap();
    let gap = base.len().next_multiple_of(BLOCK) - base.len();
    assert!(gap > 1);
    let open_with = |behind: &[u8]| {
        fs::write(&path, [&base, behind].concat()).unwrap();
        match SnapshotFile::open(&path, &Unlock::Key(&KEY)) {
            Ok((_, payload)) => Ok((read(&payload), payload.is_torn())),
            Err(OpenFileError::Snapshot { source, .. }) => Err(source),
            Err(error) => panic!("{error}"),
        }
    };
    let whole = |is_torn| Ok((String::from("base"), is_torn));
    assert_eq!(open_with(&[]), whole(false));
    assert_eq!(open_with(&vec![0; gap - 1]), whole(true), "cut while it was copied");
    assert_eq!(open_with(&vec![0; gap]), whole(false));
    for at in [0, gap / 2, gap - 1] {
        let mut behind = vec![0; gap];
        behind[at] = 1;
        assert_eq!(open_with(&behind), Err(OpenError::Damaged(Damage::Gap)), "{at}");
    }
    assert_eq!(open_with(&[1]), Err(OpenError::Damaged(Damage::Gap)));
}

#[test]
fn a_failed_call_leaves_the_file_as_it_was_and_success_is_never_reported_after_one() {
    for sticky in [false, true] {
        for n in 0.. {
            let (_folder, path, _) = new(b"base");
            let disk = Faulty::new(Disk);
            let (mut file, _) = SnapshotFile::open_in(disk.clone(), &path, &Unlock::Key(&KEY)).unwrap();
            append(&mut file, b"one").unwrap();
            disk.fail(Some(n), sticky, EIO);
            let result = append(&mut file, b"two");
            let failed = disk.failed();
            disk.fail(None, false, 0);
            let found = content(&path);
            match &result {
                Ok(()) => assert_eq!(found, "base one two", "{failed:?}"),
                Err(CommitError::Unknown(_)) => assert!(found.starts_with("base one"), "{failed:?}"),
                Err(_) => assert_eq!(found, "base one", "{failed:?}"),
            }
            if result.is_ok() && failed.is_empty() {
                assert!(n > 10);
                break;
            }
            file.reload_if_newer().unwrap();
            let mut locked = file.lock(WAIT).unwrap();
            match locked.append(b"next") {
                Err(CommitError::MustRewrite) => locked.commit(b"next").unwrap(),
                result => result.unwrap(),
            }
            drop(locked);
            assert!(content(&path).ends_with("next"));
        }
    }
}

#[test]
fn a_write_that_the_disk_changed_is_no_commit() {
    let (_folder, path, _) = new(b"base");
    let disk = Faulty::new(Disk);
    let (mut file, _) = SnapshotFile::open_in(disk.clone(), &path, &Unlock::Key(&KEY)).unwrap();
    disk.spoil(Some(0));
    assert!(matches!(append(&mut file, b"one"), Err(CommitError::NotAsWritten)));
    disk.spoil(None);
    assert_eq!(content(&path), "base");
    assert!(matches!(append(&mut file, b"one"), Err(CommitError::MustRewrite)));
    disk.spoil(Some(0));
    assert!(matches!(file.commit(b"anew"), Err(CommitError::NotAsWritten)));
    disk.spoil(None);
    assert_eq!(content(&path), "base");
}

#[test]
fn what_was_appended_survives_a_loss_of_power() {
    let path = Path::new("/vault");
    for content_left in 0..3 {
        let disk = Memory::default();
        let mut file = SnapshotFile::create_in(disk.clone(), path, &[NewSlot::Key(&KEY)], b"base").unwrap();
        append(&mut file, b"one").unwrap();
        let faulty = Faulty::new(disk.clone());
        let (mut dying, _) = SnapshotFile::open_in(faulty.clone(), path, &Unlock::Key(&KEY)).unwrap();
        faulty.fail(None, false, 0);
        dying.lock(WAIT).unwrap().append(b"two").unwrap();
        let sync = faulty.calls().iter().rposition(|call| *call == "sync").unwrap();
        faulty.fail(Some(sync), true, EIO);
        dying.lock(WAIT).unwrap().append(b"three").unwrap_err();
        let after = disk.after(PowerCut { names_lost: 0, content_left });
        let (mut file, payload) = SnapshotFile::open_in(after, path, &Unlock::Key(&KEY)).unwrap();
        let expected = if content_left == 2 { "base one two three" } else { "base one two" };
        assert_eq!(read(&payload), expected);
        append(&mut file, b"four").unwrap();
    }
}

#[test]
fn any_part_of_a_payload_can_be_read_alone() {
    let whole: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let (_folder, path, mut file) = new(&whole);
    append(&mut file, b"one").unwrap();
    let open = || SnapshotFile::open_parts(&path, &Unlock::Key(&KEY), &stronghold_snapshot::Limits::OWN);
    let (_, mut reader) = open().unwrap();
    assert_eq!(reader.payload_len().unwrap(), 300_000);
    for (from, to) in [(0, 0), (0, 10), (65_530, 65_540), (65_536, 131_072), (1, 299_999), (299_990, 300_000)]
    {
        assert_eq!(*reader.read(from..to).unwrap(), whole[from as usize..to as usize], "{from}..{to}");
    }
    assert_eq!((reader.changes().collect::<Vec<_>>(), reader.is_torn()), (vec![&b"one"[..]], false));
    let reversed = std::ops::Range { start: 10, end: 9 };
    assert!(reader.read(reversed).is_err() && reader.read(0..u64::MAX).is_err());
    // Damage is found where it is read.
    let mut bytes = fs::read(&path).unwrap();
    let base = bytes.len() - BLOCK;
    bytes[base / 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (_, mut reader) = open().unwrap();
    assert!(reader.read(0..10).is_ok() && reader.read(0..300_000).is_err());
    assert!(SnapshotFile::open(&path, &Unlock::Key(&KEY)).is_err());
    fs::write(&path, &bytes[..base / 2]).unwrap();
    assert!(matches!(
        open(),
        Err(OpenFileError::Snapshot { source: OpenError::Damaged(Damage::Truncated), .. })
    ));
}
