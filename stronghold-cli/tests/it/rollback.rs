//! Tests the rollback notes of a device, and what an old copy and its secret can still open.
#![cfg(unix)]

use std::{fs, path::Path};

use crate::common::{DECISION, Device, Ended, STORAGE, USAGE, WRONG_KEY, one_line, raw_key, run, stronghold};
use stronghold_snapshot::{OpenError, SnapshotFile, Unlock, open};

fn put_back(device: &Device, bytes: &[u8]) {
    fs::write(device.snapshot(), bytes).unwrap();
}

fn bytes(device: &Device) -> Vec<u8> {
    fs::read(device.snapshot()).unwrap()
}

/// Runs a command on a snapshot elsewhere, with this device's key and notes.
fn on(device: &Device, snapshot: &Path, args: &[&str]) -> Ended {
    let mut command = device.command(args);
    command.arg("--snapshot").arg(snapshot);
    let mut plain = stronghold();
    plain.args(args).arg("--snapshot").arg(snapshot).args(["--key-file", &device.key_file()]);
    let state = command.get_envs().find(|(name, _)| *name == "XDG_STATE_HOME").unwrap().1.unwrap().to_owned();
    plain.env("XDG_STATE_HOME", state);
    run(&mut plain, b"")
}

#[test]
fn another_snapshot_in_place_of_one_is_told_apart_from_an_old_copy() {
    let device = Device::new("device");
    device.put("a/b/c", "1");
    let mine = bytes(&device);
    let export = device.folder().join("export");
    device.ok(&["export", "--output", export.to_str().unwrap(), "--output-key-file", &device.key_file()]);
    put_back(&device, &fs::read(&export).unwrap());
    let said = device.fails_cleanly(&["get", "a/b/c"], DECISION);
    assert!(said.contains("another snapshot") && said.contains("--accept-rollback"), "{said}");
    assert_eq!(device.ok(&["--accept-rollback", "get", "a/b/c"]), "1");
    assert_eq!(device.get("a/b/c"), "1");
    put_back(&device, &mine);
    device.fails_cleanly(&["put", "a/b/c", "--generate"], DECISION);
}

#[test]
fn a_moved_snapshot_takes_its_notes_along_and_a_copy_has_its_own() {
    let device = Device::new("device");
    device.put("a/b/c", "1");
    let old = bytes(&device);
    device.put("a/b/c", "2");
    // A backup elsewhere is a file of its own: it raises no alarm and is writable.
    let backup = device.folder().join("backup");
    fs::write(&backup, &old).unwrap();
    for _ in 0..2 {
        assert_eq!(on(&device, &backup, &["get", "a/b/c"]).stdout, b"1");
        assert_eq!(on(&device, &backup, &["put", "d/e/f", "--generate"]).exit, 0);
        device.put("g/h/i", "more");
    }
    // Renames the folder and puts an old copy into it.
    let moved = device.folder().join("moved");
    fs::create_dir(&moved).unwrap();
    fs::rename(device.snapshot(), moved.join("vault")).unwrap();
    let whole = fs::read(moved.join("vault")).unwrap();
    fs::write(moved.join("vault"), &old).unwrap();
    let refused = on(&device, &moved.join("vault"), &["get", "a/b/c"]);
    assert_eq!(refused.exit, DECISION, "{}", refused.stderr);
    assert!(refused.stderr.contains("was seen at"), "{}", refused.stderr);
    fs::write(moved.join("vault"), &whole).unwrap();
    assert_eq!(on(&device, &moved.join("vault"), &["get", "a/b/c"]).stdout, b"2");
    assert_eq!(
        on(&device, &backup, &["get", "a/b/c"]).stdout,
        b"1",
        "what became of the other is nothing to it"
    );
}

/// Runs a command whose notes folder is unusable, because a file is in its place.
fn without_notes(device: &Device, args: &[&str]) -> Ended {
    let state = device.folder().join("no-state");
    fs::write(&state, "a file").unwrap();
    let mut command = device.command(args);
    command.env("XDG_STATE_HOME", &state);
    run(&mut command, b"")
}

#[test]
fn notes_that_can_not_be_written_are_told_at_once_and_can_be_required() {
    let device = Device::new("device");
    device.put("a/b/c", "1");
    for args in [&["get", "a/b/c"][..], &["get", "a/b/c", "--quiet"]] {
        let done = without_notes(&device, args);
        assert_eq!((done.exit, &*done.stdout), (0, &b"1"[..]));
        assert_eq!(done.stderr.matches("warning: an old copy").count(), 1, "{}", done.stderr);
    }
    let done = without_notes(&device, &["put", "a/b/c", "--generate", "--json"]);
    assert_eq!(one_line(&done.stderr)["warning"]["code"], "rollback_notes");
    let before = bytes(&device);
    for args in [&["get", "a/b/c"][..], &["put", "a/b/c", "--generate"], &["list"]] {
        let done = without_notes(&device, &[args, &["--require-rollback-notes"]].concat());
        assert_eq!(done.exit, STORAGE, "{}", done.stderr);
        assert!(
            done.stdout.is_empty() && done.stderr.contains("rollback can't be noticed"),
            "{}",
            done.stderr
        );
    }
    assert!(bytes(&device) == before);
    let done = without_notes(&device, &["doctor"]);
    assert_eq!(done.exit, DECISION);
    assert!(String::from_utf8(done.stdout).unwrap().contains("warn  rollback: "));
    // The environment variable requires notes too; an empty value counts as unset.
    for (value, exit) in [("1", STORAGE), ("", 0), ("0", 0)] {
        let mut command = device.command(&["list"]);
        command.env("XDG_STATE_HOME", device.folder().join("no-state"));
        command.env("STRONGHOLD_REQUIRE_ROLLBACK_NOTES", value);
        assert_eq!(run(&mut command, b"").exit, exit, "{value:?}");
    }
    // Creating a snapshot requires notes too.
    let new = Device::without_snapshot();
    assert_eq!(without_notes(&new, &["init", "--require-rollback-notes"]).exit, STORAGE);
    assert!(!new.snapshot().exists());
    device.ok(&["put", "a/b/c", "--generate", "--require-rollback-notes"]);
}

#[test]
fn a_note_that_is_none_is_told_until_it_is_accepted() {
    let device = Device::new("device");
    device.put("a/b/c", "1");
    let command = device.command(&[]);
    let state = command.get_envs().find(|(name, _)| *name == "XDG_STATE_HOME").unwrap().1.unwrap();
    let folder = Path::new(state).join("stronghold/seen");
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none() && !path.ends_with(".lock") {
            fs::write(&path, "garbage").unwrap();
        }
    }
    for _ in 0..2 {
        let done = device.run(&["get", "a/b/c", "--quiet"], b"");
        assert!(done.exit == 0 && done.stderr.contains("warning: "), "{}", done.stderr);
    }
    device.fails(&["get", "a/b/c", "--require-rollback-notes"], STORAGE);
    assert_eq!(device.run(&["doctor"], b"").exit, DECISION);
    assert_eq!(device.ok(&["get", "a/b/c", "--accept-rollback", "--require-rollback-notes"]), "1");
    assert!(device.run(&["get", "a/b/c"], b"").stderr.is_empty());
}

/// Tests an old copy and its secret against what is written later.
#[test]
fn an_old_copy_with_an_old_passphrase_opens_nothing_that_comes_later() {
    let device = Device::with_passphrase("device", "old");
    device.put("a/b/c", "1");
    let old = open(&bytes(&device), &Unlock::Passphrase(b"old")).unwrap().sealer;
    let new = device.file("new", b"new");
    device.ok(&["passphrase", "--new-passphrase-file", &new]);
    device.unlock_by("--passphrase-file", "new", b"new");
    let after_change = bytes(&device);
    assert_eq!(old.reopen(after_change.clone()).unwrap_err(), OpenError::WrongKey);
    // The same holds after a slot is removed or values are purged.
    let key = device.file("key-2", &raw_key(2));
    device.ok(&["passphrase", "--add", "--new-key-file", &key, "--label", "the tablet"]);
    let with_slot = open(&bytes(&device), &Unlock::Key(&raw_key(2))).unwrap().sealer;
    device.ok(&["passphrase", "--remove", "2"]);
    assert_eq!(with_slot.reopen(bytes(&device)).unwrap_err(), OpenError::WrongKey);
    device.put("a/b/c", "2");
    let before_purge = open(&bytes(&device), &Unlock::Passphrase(b"new")).unwrap().sealer;
    let thief = before_purge.clone();
    device.ok(&["purge", "a/**", "--yes"]);
    assert!(thief.reopen(bytes(&device)).is_ok(), "who can open the file now follows");
    assert_eq!(device.get("a/b/c"), "2");
    // With `--keep-master-key`, the old copy still opens later versions.
    let before = open(&bytes(&device), &Unlock::Passphrase(b"new")).unwrap().sealer;
    let newer = device.file("newer", b"newer");
    device.ok(&["passphrase", "--new-passphrase-file", &newer, "--keep-master-key"]);
    assert!(before.reopen(bytes(&device)).is_ok());
}

#[test]
fn where_a_slot_can_not_be_written_a_new_master_key_is_refused_unless_its_secret_is_given() {
    let device = Device::new("device");
    device.put("a/b/c", "1");
    device.put("a/b/c", "2");
    let (second, third) = (device.file("second", &raw_key(2)), device.file("third", &raw_key(3)));
    device.ok(&["passphrase", "--add", "--new-key-file", &second, "--label", "spare"]);
    for args in [&["passphrase", "--new-key-file", &third][..], &["purge", "a/**", "--yes"]] {
        let said = device.fails_cleanly(args, DECISION);
        assert!(said.contains("key slot 2") && said.contains("--keep-master-key"), "{said}");
    }
    device.ok(&["purge", "a/**", "--yes", "--also-key-file", &second]);
    device.ok(&["passphrase", "--new-key-file", &third, "--also-key-file", &second]);
    device.fails(&["list"], WRONG_KEY);
    for key in [&raw_key(2), &raw_key(3)] {
        device.unlock_by("--key-file", "current", key);
        assert_eq!(device.get("a/b/c"), "2");
    }
}

#[test]
fn slots_have_numbers_labels_and_dates_and_no_secret_has_two() {
    let device = Device::new("device");
    let (second, third) = (device.file("second", &raw_key(2)), device.file("third", &raw_key(3)));
    device.ok(&["passphrase", "--add", "--new-key-file", &second, "--label", "the tablet"]);
    device.ok(&["passphrase", "--add", "--new-key-file", &third]);
    let said = device.fails_cleanly(&["passphrase", "--add", "--new-key-file", &second], USAGE);
    assert!(said.contains("key slot 2"), "{said}");
    device.fails_cleanly(&["passphrase", "--add", "--new-key-file", &device.key_file()], USAGE);
    device.ok(&["passphrase", "--remove", "1", "--keep-master-key"]);
    device.unlock_by("--key-file", "current", &raw_key(3));
    let slots = device.json(&["passphrase", "--list"])["slots"].take();
    let slots: Vec<_> =
        slots.as_array().unwrap().iter().map(|slot| (&slot["slot"], &slot["label"])).collect();
    assert_eq!(serde_json::json!(slots), serde_json::json!([[2, "the tablet"], [3, ""]]));
    let lines = device.ok(&["passphrase", "--list"]);
    assert!(lines.contains("2  key") && lines.contains("the tablet") && lines.contains("20"), "{lines}");
    device.ok(&["passphrase", "--remove", "3", "--keep-master-key"]);
    let (file, _) = SnapshotFile::open(&device.snapshot(), &Unlock::Key(&raw_key(2))).unwrap();
    assert_eq!(file.sealer().slots().map(|slot| slot.number).collect::<Vec<_>>(), [2]);
}

/// A running server follows a new master key.
#[test]
fn a_running_server_follows_a_new_master_key() {
    let (a, b) = crate::common::paired();
    crate::common::trust_each_other((&a, "a"), (&b, "b"));
    a.put("a/b/c", "1");
    a.put("a/b/c", "2");
    let (_serving, address) = a.serve();
    b.ok(&["sync", "a", "--at", &address]);
    a.ok(&["purge", "a/**", "--yes"]);
    a.put("a/b/d", "3");
    b.ok(&["sync", "a", "--at", &address]);
    assert_eq!(b.get("a/b/d"), "3");
}
