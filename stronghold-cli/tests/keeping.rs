//! Going back and looking after a snapshot: undo, restore, purge, what opens it, and old copies put in its place.

mod common;

use std::fs;

use common::{DECISION, Device, NOT_FOUND, USAGE, WRONG_KEY, raw_key, strings};

#[test]
fn undo_writes_back_what_the_last_command_changed_and_undoes_itself() {
    let device = Device::new("a");
    device.put("a/b/edited", "old");
    device.put("a/b/edited", "new");
    assert_eq!(device.json(&["undo"])["undone"], serde_json::json!(["a/b/edited"]));
    assert_eq!(device.get("a/b/edited"), "old");
    device.ok(&["undo"]);
    assert_eq!(device.get("a/b/edited"), "new");
    device.ok(&["remove", "a/b/edited"]);
    device.ok(&["undo"]);
    assert_eq!(device.get("a/b/edited"), "new");
    device.put("a/b/added", "x");
    device.ok(&["undo"]);
    device.is_absent("a/b/added");
}

#[test]
fn undo_goes_back_over_commands_that_changed_no_record_as_far_as_generations_are_kept() {
    let device = Device::new("a");
    device.put("a/b/c", "old");
    device.put("a/b/c", "new");
    let key = device.file("other", &raw_key(9));
    device.ok(&["verify"]);
    device.ok(&["undo"]);
    assert_eq!(device.get("a/b/c"), "old");
    device.ok(&["passphrase", "--add", "--new-key-file", &key]);
    device.fails(&["undo"], NOT_FOUND);
    device.ok(&["--keep-generations", "0", "put", "a/b/d", "--generate"]);
    device.fails(&["undo"], NOT_FOUND);
    let kept = || (1..9).filter(|n| device.folder().join(format!("vault.{n}")).exists()).count();
    for expected in [1, 2, 3, 3] {
        device.ok(&["put", "a/b/d", "--generate"]);
        assert_eq!(kept(), expected);
    }
    device.ok(&["--keep-generations", "5", "put", "a/b/d", "--generate"]);
    assert_eq!(kept(), 4);
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
    assert_eq!(device.json(&["purge", "a/**"])["purged"], 2);
    assert_eq!(device.json(&["history", "a/b/c"])["revisions"].as_array().unwrap().len(), 1);
    assert_eq!(device.json(&["history", "x/y/z"])["revisions"].as_array().unwrap().len(), 3);
    assert_eq!(device.get("a/b/c"), "three");
    assert!((1..9).all(|n| !device.folder().join(format!("vault.{n}")).exists()));
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
    assert!(!device.folder().join("vault.1").exists(), "nothing is left that the old passphrase opens");
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
    let device = Device::new("a");
    device.file(".vault.99999999-0123456789abcdef.tmp", b"half");
    let finding = |what: &str| {
        let found = device.json(&["doctor"]);
        let all = found["findings"].as_array().unwrap().clone();
        all.into_iter().find(|finding| finding["what"] == what).unwrap()
    };
    assert_eq!(finding("left over")["fine"], false);
    device.put("a/b/c", "x");
    assert_eq!(finding("left over")["fine"], true);
    assert_eq!(finding("kept")["says"], "1 generations before this one");
    assert_eq!(finding("permissions")["fine"], true);
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(device.snapshot(), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(finding("permissions")["fine"], false);
    assert!(finding("locked memory")["says"].is_string() && finding("rollback")["fine"] == true);
}
