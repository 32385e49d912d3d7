//! Tests that an obstacle in the place of a snapshot's files is reported and never touched. Every
//! link here leads to files in the test's own folder.
#![cfg(unix)]

use std::{fs, os::unix::fs::symlink, time::Duration};

use crate::common::{Device, STORAGE, raw_key};

/// Creates a user's text file, and a link to it at `lock`.
fn plant(device: &Device, lock: &str) {
    device.file("precious", b"important text");
    let _ = fs::remove_file(device.folder().join(lock));
    symlink("precious", device.folder().join(lock)).unwrap();
}

#[track_caller]
fn is_untouched(device: &Device) {
    assert_eq!(fs::read(device.folder().join("precious")).unwrap(), b"important text");
}

#[test]
fn a_link_in_place_of_a_lock_is_told_and_what_it_leads_to_stays() {
    let device = Device::new("device");
    device.put("a/b/c", "1");
    plant(&device, ".vault.lock");
    let said = device.fails_cleanly(&["put", "a/b/c", "--generate"], STORAGE);
    assert!(
        said.contains(".vault.lock") && said.contains("it is a link") && said.contains("hint:"),
        "{said}"
    );
    for args in [["remove", "a/b/c"], ["purge", "--yes"], ["passphrase", "--add"]] {
        let key = device.file("new-key", &raw_key(9));
        let args = match args[0] {
            "passphrase" => vec!["passphrase", "--add", "--new-key-file", &key],
            "remove" => args.to_vec(),
            _ => continue,
        };
        device.fails_cleanly(&args, STORAGE);
    }
    for args in [&["get", "a/b/c"][..], &["list"], &["verify"]] {
        device.ok(args);
    }
    device.run(&["doctor"], b"");
    is_untouched(&device);
}

#[test]
fn a_link_in_place_of_the_lock_of_a_new_file_is_told_and_what_it_leads_to_stays() {
    let device = Device::new("device");
    let (key, out) = (device.key_file(), device.folder().join("out"));
    plant(&device, ".out.lock");
    let args = ["export", "--output", out.to_str().unwrap(), "--output-key-file", &key];
    let said = device.fails_cleanly(&args, STORAGE);
    assert!(said.contains(".out.lock"), "{said}");
    is_untouched(&device);
    let new = Device::without_snapshot();
    plant(&new, ".vault.lock");
    let said = new.fails_cleanly(&["init"], STORAGE);
    assert!(said.contains(".vault.lock"), "{said}");
    is_untouched(&new);
    assert!(!new.snapshot().exists() && !out.exists());
}

#[test]
fn what_another_put_beside_the_source_of_a_merge_is_not_touched() {
    let (device, source) = (Device::new("device"), Device::new("source"));
    source.put("a/b/c", "1");
    plant(&source, ".vault.lock");
    let (path, key) = (source.snapshot(), source.key_file());
    device.ok(&["merge", path.to_str().unwrap(), "--other-key-file", &key]);
    is_untouched(&source);
}

#[test]
fn an_export_leaves_its_file_alone_beside_it() {
    let device = Device::new("device");
    fs::create_dir(device.folder().join("exports")).unwrap();
    let out = device.folder().join("exports/out");
    let args = ["export", "--output", out.to_str().unwrap(), "--output-key-file", &device.key_file()];
    device.ok(&args);
    let names: Vec<_> =
        fs::read_dir(out.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["out"]);
}

#[test]
fn a_fifo_or_a_device_in_place_of_a_snapshot_is_told_at_once() {
    let device = Device::new("device");
    let fifo = device.folder().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let started = std::time::Instant::now();
    let key = device.key_file();
    for path in [fifo.to_str().unwrap(), "/dev/zero"] {
        let said = device.fails(&["merge", path, "--other-key-file", &key], STORAGE);
        assert!(said.contains("not a file"), "{said}");
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Lists everything in a folder: names, kinds, content and link targets.
fn inventory(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let (path, kind) = { entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap() };
        let name = path.to_str().unwrap().to_owned();
        if kind.is_dir() {
            found.extend(inventory(&path));
            found.push((name, b"folder".to_vec()));
        } else if kind.is_symlink() {
            found.push((name, fs::read_link(&path).unwrap().to_str().unwrap().into()));
        } else {
            found.push((name, fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn what_a_user_keeps_beside_a_snapshot_stays_whatever_is_done_with_it() {
    let device = Device::new("device");
    device.put("a/b/c", "first");
    let names = [
        "vault.1",
        "vault.2",
        "vault.10",
        "vault~",
        "vault.bak",
        "vault.tmp",
        ".vault.tmp",
        ".vault.1.tmp",
        ".vault.12345-00112233445566778899aabb.tmp",
        ".vault.swp",
        "#vault#",
        "vault.lock",
        ".vault",
        "other",
    ];
    for name in names {
        device.file(name, format!("the user's own {name}").as_bytes());
    }
    fs::copy(device.snapshot(), device.folder().join("vault.3")).unwrap();
    for folder in ["vault.4", ".vault.stronghold.d", "vault.d"] {
        fs::create_dir(device.folder().join(folder)).unwrap();
        device.file(&format!("{folder}/file"), b"in a folder");
    }
    symlink("other", device.folder().join("vault.5")).unwrap();
    let is_own = |(name, _): &(String, Vec<u8>)| !name.ends_with("/vault") && !name.ends_with("/.vault.lock");
    let theirs =
        |device: &Device| -> Vec<_> { inventory(device.folder()).into_iter().filter(is_own).collect() };
    let (key, out) = (device.file("new-key", &raw_key(9)), device.folder().join("out"));
    let before = theirs(&device);
    for number in 0..12 {
        device.put("a/b/c", &format!("value {number}"));
    }
    for args in [
        &["undo"][..],
        &["redo"],
        &["purge", "--all", "--yes"],
        &["passphrase", "--add", "--new-key-file", &key],
        &["passphrase", "--remove", "2"],
        &["remove", "a/b/c"],
        &["rename", "another"],
        &["verify"],
    ] {
        device.ok(args);
    }
    device.run(&["doctor"], b"");
    assert_eq!(theirs(&device), before);
    let own = device.key_file();
    device.ok(&["export", "--output", out.to_str().unwrap(), "--output-key-file", &own]);
    fs::remove_file(out).unwrap();
    assert_eq!(theirs(&device), before);
}

/// The default folder is made; one that was named is not.
#[test]
fn the_default_snapshot_gets_its_folder() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("not/there/yet");
    let key = home.path().join("key");
    fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
    let init = |more: &[&str]| {
        let mut command = crate::common::stronghold();
        command.args(["init", "--key-file"]).arg(&key).args(more);
        command.env("XDG_DATA_HOME", &data).env("XDG_STATE_HOME", home.path());
        crate::common::run(&mut command, b"")
    };
    let named = home.path().join("named/vault");
    let done = init(&["--snapshot", named.to_str().unwrap()]);
    assert!(done.exit != 0 && !named.parent().unwrap().exists(), "{}", done.stderr);
    let done = init(&[]);
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert!(data.join("stronghold/default.stronghold").is_file());
    // That of a clone too.
    let a = Device::new("a");
    a.put("a/b/c", "value");
    let (pairing, code, address) = a.pair(&["--yes", "--grant", "import"]);
    let data = home.path().join("nor/there");
    let mut clone = crate::common::stronghold();
    clone.args(["clone", "--join", &address, "--key-file"]).arg(&key);
    clone.env("XDG_DATA_HOME", &data).env("XDG_STATE_HOME", home.path());
    let done = crate::common::run(&mut clone, code.as_bytes());
    assert_eq!((done.exit, pairing.end().exit), (0, 0), "{}", done.stderr);
    assert!(data.join("stronghold/default.stronghold").is_file());
}
