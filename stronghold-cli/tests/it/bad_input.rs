//! Tests bad input on one device: each kind has its own message, hint and exit code, and leaves
//! every file unchanged.

use std::fs;

use crate::common::{
    DAMAGED, DECISION, Device, IN_USE, NOT_FOUND, STORAGE, USAGE, WRONG_KEY, one_line, raw_key, run,
    stronghold,
};

/// A header of format version 2 that is complete as far as version 1 can tell, without any data
/// after it.
const NEWER: &str = "9353484f4c440d0a00020001000000409c29136153221c0126afca7735348cf7\
                     000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// One command of each kind on a snapshot; all must fail.
const COMMANDS: [&[&str]; 6] = [
    &["get", "a/b/c"],
    &["put", "a/b/c", "--generate"],
    &["list"],
    &["remove", "a/b/c"],
    &["verify"],
    &["serve", "--listen", "127.0.0.1:0"],
];

#[track_caller]
fn refused(device: &Device, exit: i32, code: &str, message: &str, hint: &str) {
    for command in COMMANDS {
        let said = device.fails_cleanly(command, exit);
        assert_eq!(said, format!("error: {message}\nhint: {hint}\n"), "{command:?}");
    }
    let error = one_line(&device.fails_cleanly(&["list", "--json"], exit))["error"].take();
    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some(code), Some(exit.into())));
    assert_eq!((error["message"].as_str(), error["hint"].as_str()), (Some(message), Some(hint)));
}

fn path(device: &Device) -> String {
    device.snapshot().canonicalize().unwrap().to_str().unwrap().into()
}

fn with_a_record() -> Device {
    let device = Device::new("a");
    device.put("a/b/c", "value");
    device
}

#[test]
fn a_wrong_passphrase() {
    let device = Device::with_passphrase("a", "correct horse");
    device.put("a/b/c", "value");
    device.unlock_by("--passphrase-file", "wrong", b"correct horsf");
    let said = device.fails_cleanly(&["get", "a/b/c"], WRONG_KEY);
    assert_eq!(
        said,
        format!("error: {}: wrong passphrase or key\nhint: try again; nothing was changed\n", path(&device))
    );
    device.unlock_by("--key-file", "key", &raw_key(7));
    device.fails_cleanly(&["put", "a/b/c", "--generate"], WRONG_KEY);
}

#[test]
fn a_wrong_key_file() {
    let device = with_a_record();
    device.unlock_by("--key-file", "wrong", &raw_key(7));
    let message = format!("{}: wrong passphrase or key", path(&device));
    refused(&device, WRONG_KEY, "wrong_key", &message, "try again; nothing was changed");
    device.unlock_by("--passphrase-file", "passphrase", b"correct horse");
    device.fails_cleanly(&["get", "a/b/c"], WRONG_KEY);
}

#[test]
fn a_key_file_that_holds_no_key() {
    let device = with_a_record();
    for content in [&b""[..], b"short", &[7; 33], "zz".repeat(32).as_bytes()] {
        device.unlock_by("--key-file", "wrong", content);
        let said = device.fails_cleanly(&["get", "a/b/c"], USAGE);
        assert!(said.contains(": a key file has 32 raw bytes or 64 hexadecimal digits"), "{said}");
    }
    device.unlock_by("--passphrase-file", "empty", b"\nsecond line");
    let said = device.fails_cleanly(&["get", "a/b/c"], USAGE);
    assert!(said.contains(": the passphrase is empty; nothing was changed\nhint: "), "{said}");
}

#[test]
fn a_key_file_that_is_not_there() {
    let device = with_a_record();
    device.unlock_by("--key-file", "wrong", b"");
    fs::remove_file(device.key_file()).unwrap();
    device.fails_cleanly(&["get", "a/b/c"], NOT_FOUND);
}

#[test]
fn a_file_that_is_no_snapshot() {
    let device = with_a_record();
    for content in [&b"some text\n"[..], b"PK\x03\x04 an archive", &[0; 4096]] {
        fs::write(device.snapshot(), content).unwrap();
        let message = format!("{}: not a sealed snapshot", path(&device));
        refused(&device, DAMAGED, "not_a_snapshot", &message, "check the path; the file was not touched");
    }
}

#[test]
fn a_snapshot_of_a_newer_version() {
    let device = with_a_record();
    let bytes: Vec<u8> =
        (0..NEWER.len()).step_by(2).map(|at| u8::from_str_radix(&NEWER[at..at + 2], 16).unwrap()).collect();
    fs::write(device.snapshot(), bytes).unwrap();
    let message = format!("{}: sealed in format version 2, this build reads up to 1", path(&device));
    refused(&device, DAMAGED, "newer_version", &message, "update stronghold; the file was not touched");
}

#[test]
fn a_damaged_snapshot() {
    let device = with_a_record();
    let mut bytes = fs::read(device.snapshot()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(device.snapshot(), bytes).unwrap();
    let path = path(&device);
    let message = format!("{path}: the snapshot is damaged: its last changes were altered or cut off");
    let hint = "restore it from another device or a backup; the file was not touched";
    refused(&device, DAMAGED, "damaged", &message, hint);
}

#[test]
fn a_truncated_snapshot_is_an_error_at_any_length() {
    let device = with_a_record();
    let bytes = fs::read(device.snapshot()).unwrap();
    let lengths = (0..40).chain((40..bytes.len()).step_by(23)).chain([bytes.len() - 1]);
    // Cut exactly where the last change begins, it is a whole file: an older one.
    let whole = bytes.len() - 4096;
    fs::write(device.snapshot(), &bytes[..whole]).unwrap();
    let said = device.fails_cleanly(&["get", "a/b/c"], DECISION);
    assert!(said.contains("generation 1, but generation 2 was seen"), "{said}");
    for len in lengths.filter(|len| *len != whole) {
        fs::write(device.snapshot(), &bytes[..len]).unwrap();
        let said = device.fails_cleanly(&["get", "a/b/c"], DAMAGED);
        let cut = said.contains("it is cut short") || said.contains("altered or cut off");
        assert!(cut || len < 8 && said.contains("not a sealed snapshot"), "{len} bytes: {said}");
    }
}

#[test]
fn a_changed_byte_is_an_error_anywhere() {
    let device = with_a_record();
    let bytes = fs::read(device.snapshot()).unwrap();
    for at in (0..bytes.len()).step_by(11) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(device.snapshot(), changed).unwrap();
        device.fails_cleanly(&["get", "a/b/c"], DAMAGED);
    }
    fs::write(device.snapshot(), bytes).unwrap();
    assert_eq!(device.get("a/b/c"), "value");
}

#[test]
fn no_snapshot_at_all() {
    let device = Device::without_snapshot();
    let path = device.snapshot().to_str().unwrap().to_owned();
    let hint = "create one with `stronghold init`, or name another with --snapshot";
    refused(&device, NOT_FOUND, "not_found", &format!("there is no snapshot at {path}"), hint);
    assert!(!device.snapshot().exists());
}

/// Names no revision: no id begins with so many given digits by chance.
const NO_REVISION: &str = "0000000000000000";

#[test]
fn no_such_record_or_revision() {
    let device = with_a_record();
    for (args, said) in [
        (&["get", "a/b/d"][..], "error: no record at a/b/d\nhint: did you mean a/b/c?\n"),
        (&["remove", "x/b/c"], "error: no record at x/b/c\nhint: did you mean a/b/c?\n"),
        (
            &["get", "a/b/c", "--revision", NO_REVISION],
            "error: a/b/c: the record has no revision 0000000000000000\nhint: see `stronghold history`\n",
        ),
        (
            &["resolve", "a/b/c", "--keep", NO_REVISION],
            "error: a/b/c: the record has no revision 0000000000000000\nhint: see `stronghold history`\n",
        ),
    ] {
        assert_eq!(device.fails_cleanly(args, NOT_FOUND), said, "{args:?}");
    }
}

/// A digit or three are in some revision's id by chance, or meant as a place in a list.
#[test]
fn too_few_digits_of_a_revision() {
    let device = with_a_record();
    let revision =
        device.json(&["history", "a/b/c"])["revisions"][0]["revision"].as_str().unwrap().to_owned();
    for digits in ["", &revision[..1], &revision[..3]] {
        let said = format!(
            "error: a/b/c: \"{digits}\" is too short for a revision\n\
             hint: give at least 4 digits of its id; see `stronghold history`\n"
        );
        for args in [["get", "a/b/c", "--revision", digits], ["restore", "a/b/c", "--revision", digits]] {
            assert_eq!(device.fails_cleanly(&args, USAGE), said, "{args:?}");
        }
        device.fails_cleanly(&["resolve", "a/b/c", "--keep", digits], USAGE);
    }
    assert_eq!(device.ok(&["get", "a/b/c", "--revision", &revision[..4]]), "value");
}

#[test]
fn a_command_line_that_means_nothing() {
    let device = with_a_record();
    for args in [
        &["put", "a/b"][..],
        &["put", "a//c"],
        &["get", ""],
        &["list", "wallet\\"],
        &["merge", "x", "--map", "a=b/c"],
        &["no-such-command"],
        &["pair", "--listen", "127.0.0.1:0", "--join", "127.0.0.1:1"],
        &["pair", "--grant", "everything"],
        &["put", "a/b/c", "--generate=0"],
    ] {
        device.fails_cleanly(args, USAGE);
    }
}

#[test]
fn another_snapshot_that_can_not_be_merged() {
    let device = with_a_record();
    let other = Device::new("b");
    other.put("a/b/c", "other");
    let file = other.snapshot();
    let file = file.to_str().unwrap();
    let right = other.key_file();
    let wrong = device.file("wrong", &raw_key(7));

    let said = device.fails_cleanly(&["merge", file, "--other-key-file", &wrong], WRONG_KEY);
    assert!(said.contains("wrong passphrase or key"), "{said}");
    device.fails_cleanly(&["merge", "/nowhere/at/all", "--other-key-file", &right], NOT_FOUND);
    let bytes = fs::read(file).unwrap();
    for (content, words) in [(&bytes[..400], "damaged"), (b"text", "not a sealed snapshot")] {
        fs::write(file, content).unwrap();
        let before = other.files();
        let said = device.fails_cleanly(&["merge", file, "--other-key-file", &right], DAMAGED);
        assert!(said.contains(words) && other.files() == before, "{said}");
    }
    assert_eq!(device.values("a/b/c"), ["value"]);
    // What is whole is taken, and the rest is told.
    fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    let done = device.run(&["merge", file, "--other-key-file", &right], b"");
    let expected =
        format!("warning: {file} ends in a change that is not whole; what is before it is merged\n");
    assert_eq!((done.exit, done.stderr), (0, expected));
    assert_eq!(device.values("a/b/c"), ["value"]);
}

#[test]
fn a_snapshot_that_another_process_is_writing() {
    let device = with_a_record();
    let lock = fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(device.folder().join(".vault.lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    assert_eq!(device.get("a/b/c"), "value", "reading needs no lock");
    let said = device.fails_cleanly(&["put", "a/b/c", "--generate"], IN_USE);
    assert!(
        said.contains("is in use") && said.contains("; nothing was changed\nhint: wait for the other"),
        "{said}"
    );
    lock.unlock().unwrap();
    device.put("a/b/c", "newer");
}

#[test]
fn a_folder_that_is_not_there() {
    let device = with_a_record();
    let nowhere = device.folder().join("no/such/folder/file");
    let nowhere = nowhere.to_str().unwrap();
    let key = device.key_file();
    device.fails_cleanly(&["export", "--output", nowhere, "--output-key-file", &key], STORAGE);
    let mut init = stronghold();
    init.args(["init", "--snapshot", nowhere, "--key-file", &key]);
    let done = run(&mut init, b"");
    assert_eq!(done.exit, STORAGE, "{}", done.stderr);
}

#[test]
fn an_empty_value_is_refused_wherever_it_comes_from() {
    let device = with_a_record();
    let empty = device.file("empty", b"");
    for args in [&["put", "a/b/c"][..], &["put", "a/b/c", "--yes"], &["put", "a/b/c", "--file", &empty]] {
        let said = device.fails_cleanly(args, DECISION);
        assert!(
            said.contains("a/b/c is empty; nothing was changed") && said.contains("--allow-empty"),
            "{said}"
        );
    }
    // The output of `echo` without an argument.
    for nothing in [&b"\n"[..], b"\r\n"] {
        assert_eq!(device.run(&["put", "a/b/c"], nothing).exit, DECISION, "{nothing:?}");
    }
    assert_eq!(device.run(&["put", "a/b/space"], b" ").exit, 0);
    let mut closed = device.command(&["put", "a/b/c"]);
    closed.stdin(std::process::Stdio::null());
    assert_eq!(closed.output().unwrap().status.code(), Some(DECISION));
    assert_eq!(device.get("a/b/c"), "value");
    device.ok(&["put", "a/b/c", "--file", &empty, "--allow-empty"]);
    assert_eq!(device.get("a/b/c"), "");
}
