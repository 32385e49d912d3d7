//! Tests undo, restore and purge, the secrets that open a snapshot, `doctor`, and old copies in
//! place of a snapshot.

use std::{fs, path::Path};

use serde_json::Value;

use serde_json::json;

use crate::common::{DECISION, Device, NOT_FOUND, USAGE, WRONG_KEY, raw_key, strings};

#[test]
fn undo_goes_back_step_by_step_and_redo_forward() {
    let device = Device::new("a");
    for value in ["one", "two", "three"] {
        device.put("a/b/c", value);
    }
    device.ok(&["remove", "a/b/c"]);
    for expected in ["three", "two", "one"] {
        assert_eq!(device.json(&["undo", "--dry-run"])["undone"], json!(["a/b/c"]));
        assert_eq!(device.json(&["undo"])["undone"], json!(["a/b/c"]));
        assert_eq!(device.get("a/b/c"), expected);
    }
    for expected in ["two", "three"] {
        assert_eq!(device.json(&["redo"])["redone"], json!(["a/b/c"]));
        assert_eq!(device.get("a/b/c"), expected);
    }
    device.ok(&["undo"]);
    device.put("a/b/other", "x");
    device.fails(&["redo"], NOT_FOUND);
    device.ok(&["undo"]);
    device.is_absent("a/b/other");
    device.ok(&["undo"]);
    assert_eq!(device.get("a/b/c"), "one");
    device.ok(&["undo"]);
    device.is_absent("a/b/c");
    device.fails(&["undo"], NOT_FOUND);
}

#[test]
fn commands_that_change_no_record_are_no_steps_and_sixteen_are_kept() {
    let device = Device::new("a");
    device.put("a/b/c", "old");
    device.put("a/b/c", "new");
    let key = device.file("other", &raw_key(9));
    device.ok(&["verify"]);
    device.ok(&["passphrase", "--add", "--new-key-file", &key]);
    let steps = || device.json(&["undo", "--list"])["steps"].as_array().unwrap().clone();
    assert_eq!(strings(&steps().into(), "command"), ["put", "put"]);
    device.ok(&["undo"]);
    assert_eq!(device.get("a/b/c"), "old");
    assert!(!device.ok(&["undo", "--list"]).contains("rules"), "no rule was changed");
    for n in 0..20 {
        device.put("a/b/d", &n.to_string());
    }
    let steps = steps();
    assert_eq!(steps.len(), 16);
    assert_eq!(
        (&steps[0]["number"], &steps[0]["records"], &steps[0]["undone"]),
        (&json!(22), &json!(1), &json!(false))
    );
    for n in (3..19).rev() {
        device.ok(&["undo"]);
        assert_eq!(device.get("a/b/d"), n.to_string());
    }
    device.fails(&["undo"], NOT_FOUND);
}

#[test]
fn an_old_revision_is_restored_on_top() {
    let device = Device::new("a");
    device.put("a/b/c", "one");
    let first = device.json(&["history", "a/b/c"])["revisions"][0]["revision"].as_str().unwrap().to_owned();
    device.put("a/b/c", "two");
    device.ok(&["restore", "a/b/c", "--revision", &first[..8]]);
    assert_eq!(device.get("a/b/c"), "one");
    device.ok(&["remove", "a/b/c"]);
    device.ok(&["restore", "a/b/c", "--revision", &first]);
    assert_eq!(device.get("a/b/c"), "one");
    device.fails(&["restore", "a/b/c", "--revision", "ffffffff"], NOT_FOUND);
}

#[test]
fn what_was_purged_is_in_no_file() {
    let device = Device::new("a");
    for value in ["one", "two", "three"] {
        device.put("a/b/c", value);
        device.put("x/y/z", value);
    }
    device.fails(&["purge", "a/**"], DECISION);
    device.fails(&["purge"], USAGE);
    device.fails(&["purge", "nothing/**", "--yes"], NOT_FOUND);
    assert_eq!(device.json(&["purge", "a/**", "--dry-run"])["purged"], 2);
    assert_eq!(device.json(&["history", "a/b/c"])["revisions"].as_array().unwrap().len(), 3);
    let purged = device.json(&["purge", "a/**", "--yes"]);
    assert_eq!(purged["records"], json!([{ "location": "a/b/c", "values": 2 }]));
    assert_eq!(device.json(&["history", "a/b/c"])["revisions"].as_array().unwrap().len(), 1);
    assert_eq!(device.json(&["history", "x/y/z"])["revisions"].as_array().unwrap().len(), 3);
    assert_eq!(device.get("a/b/c"), "three");
    assert_eq!(device.json(&["undo"])["undone"], json!(["x/y/z"]));
    device.fails(&["undo"], DECISION);
    assert_eq!(device.get("a/b/c"), "three");
}

#[test]
fn passphrases_and_keys_are_added_changed_and_removed() {
    let device = Device::with_passphrase("a", "first");
    device.put("a/b/c", "value");
    let second = device.file("second", b"second");
    let key = device.file("raw", &raw_key(7));
    let kinds = |device: &Device| strings(&device.json(&["passphrase", "--list"])["slots"], "kind");
    device.ok(&["passphrase", "--new-passphrase-file", &second, "--calibrate", "1ms"]);
    device.fails(&["list"], WRONG_KEY);
    device.unlock_by("--passphrase-file", "second", b"second");
    assert_eq!(device.get("a/b/c"), "value");
    device.ok(&["passphrase", "--add", "--new-key-file", &key]);
    assert_eq!(kinds(&device), ["passphrase", "key"]);
    device.unlock_by("--key-file", "raw", &raw_key(7));
    assert_eq!(device.get("a/b/c"), "value");
    device.ok(&["passphrase", "--remove", "1"]);
    assert_eq!(kinds(&device), ["key"]);
    for number in ["0", "1", "2"] {
        device.fails(&["passphrase", "--remove", number], USAGE);
    }
    assert_eq!(device.get("a/b/c"), "value");
}

#[test]
fn an_old_copy_put_in_place_is_reported_and_opened_only_when_told_so() {
    let device = Device::new("a");
    device.put("a/b/c", "old");
    let old = fs::read(device.snapshot()).unwrap();
    device.put("a/b/c", "new");
    fs::write(device.snapshot(), &old).unwrap();
    let says = device.fails(&["get", "a/b/c"], DECISION);
    assert!(says.contains("holds generation 2, but generation 3 was seen there before"), "{says}");
    assert!(says.contains("hint: if you restored an old copy yourself, say --accept-rollback"), "{says}");
    device.fails(&["put", "a/b/c", "--generate"], DECISION);
    assert!(fs::read(device.snapshot()).unwrap() == old, "it was not touched");
    assert_eq!(device.ok(&["--accept-rollback", "get", "a/b/c"]), "old");
    assert_eq!(device.get("a/b/c"), "old");
}

#[test]
fn doctor_tells_what_is_wrong_around_the_snapshot_without_a_key() {
    use std::os::unix::fs::PermissionsExt;
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let device = Device::new("a");
    device.put("a/b/c", "x");
    fs::remove_file(device.folder().join("key")).unwrap();
    let finding = |what: &str| {
        let found: Value = serde_json::from_slice(&device.run(&["doctor", "--json"], b"").stdout).unwrap();
        let all = found["findings"].as_array().unwrap().clone();
        all.into_iter().find(|finding| finding["check"] == what).unwrap()
    };
    let is_ok = |what: &str| finding(what)["ok"] == true;
    for what in ["rollback", "snapshot", "permissions", "folder", "writer", "left over"] {
        assert!(is_ok(what), "{what}: {}", finding(what));
    }
    let lock = device.folder().join(".vault.lock");
    for path in [&device.snapshot(), &lock] {
        set_mode(path, 0o644);
        assert!(!is_ok("permissions"));
        set_mode(path, 0o600);
        assert!(is_ok("permissions"));
    }
    set_mode(device.folder(), 0o777);
    assert!(!is_ok("folder"));
    set_mode(device.folder(), 0o1777);
    assert!(is_ok("folder"), "in a sticky folder nobody takes away what is not theirs");
    set_mode(device.folder(), 0o700);
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("vault", &lock).unwrap();
    assert!(!is_ok("permissions"));
    let done = device.run(&["doctor"], b"");
    assert_eq!(done.exit, DECISION);
    let lines = String::from_utf8(done.stdout).unwrap();
    assert!(lines.contains("warn  permissions: ") && lines.contains("ok    snapshot: "), "{lines}");
}

#[test]
fn doctor_sees_that_a_snapshot_is_none_or_was_cut_or_bent() {
    let device = Device::new("a");
    device.put("a/b/c", "x");
    let whole = fs::read(device.snapshot()).unwrap();
    let says = |bytes: &[u8]| {
        fs::write(device.snapshot(), bytes).unwrap();
        let done = device.run(&["doctor"], b"");
        assert_eq!(done.exit, DECISION, "{}", done.stderr);
        let lines = String::from_utf8(done.stdout).unwrap();
        lines.lines().find(|line| line.contains("snapshot: ")).unwrap().to_owned()
    };
    for (bytes, expected) in [
        (Vec::new(), "not a sealed snapshot"),
        (b"a text".to_vec(), "not a sealed snapshot"),
        (whole[..20].to_vec(), "cut short"),
        (whole[..300].to_vec(), "cut short"),
        (whole[..whole.len() - 1].to_vec(), "cut short"),
        (bent(&whole, 40), "its header was changed"),
        (bent(&whole, 9), "its header was changed"),
    ] {
        let line = says(&bytes);
        assert!(line.starts_with("warn  snapshot: ") && line.contains(expected), "{expected}: {line}");
    }
    fs::remove_file(device.snapshot()).unwrap();
    let done = device.run(&["doctor"], b"");
    assert!(
        done.exit == DECISION
            && String::from_utf8(done.stdout).unwrap().contains("warn  snapshot: there is none")
    );
}

fn bent(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// Skipped without permission to give a file away.
#[test]
#[cfg(unix)]
fn doctor_sees_a_snapshot_that_is_another_users() {
    let device = Device::new("a");
    if std::os::unix::fs::chown(device.snapshot(), Some(12_345), None).is_err() {
        return;
    }
    let done = device.run(&["doctor"], b"");
    let lines = String::from_utf8(done.stdout).unwrap();
    let expected = format!("{} is another user's", device.snapshot().display());
    assert!(lines.contains("warn  permissions: ") && lines.contains(&expected), "{lines}");
}

#[test]
fn a_step_that_changed_rules_is_listed_so() {
    let (device, _) = crate::common::paired();
    device.ok(&["grant", "b", "pull", "--select", "**"]);
    let listed = device.ok(&["undo", "--list"]);
    assert!(listed.lines().next().unwrap().ends_with("  grant: 0 records, rules"), "{listed}");
}
