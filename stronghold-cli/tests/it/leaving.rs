//! Tests exports for people who leave: a KeePass database has everything that the records have.
#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "it says why it is skipped")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use serde_json::{Value, json};

use crate::common::{DECISION, Device, NOT_FOUND, USAGE, at_terminal, end, run, strings};

const KDBX: &[u8] = include_bytes!("kdbx/four.kdbx");
const PASSPHRASE: &str = "off we go";

/// Exports as a KeePass database; returns its path and the report.
fn exported(device: &Device, args: &[&str]) -> (String, Value) {
    let passphrase = device.file("new-passphrase", PASSPHRASE.as_bytes());
    let path = device.folder().join("out.kdbx").to_str().unwrap().to_owned();
    let fixed = ["export", "--format", "kdbx", "--output", &path, "--output-passphrase-file", &passphrase];
    let report = device.json(&[&fixed[..], args].concat());
    (path, report)
}

/// Imports a database into a new device.
fn imported(path: &str, args: &[&str]) -> Device {
    let device = Device::new("b");
    let passphrase = device.file("passphrase", PASSPHRASE.as_bytes());
    device.json(&[&["import", path, "--source-passphrase-file", &passphrase], args].concat());
    device
}

/// Returns the values of each record, newest first.
fn histories(device: &Device) -> Vec<(String, Vec<Vec<u8>>)> {
    let history = |at: String| {
        let revisions = device.json(&["history", &at])["revisions"].take();
        let ids = strings(&revisions, "revision");
        let value = |id: &String| device.run(&["get", &at, "--revision", id], b"").stdout;
        let values = ids.iter().map(value).collect();
        (at, values)
    };
    device.locations().into_iter().map(history).collect()
}

#[test]
fn logins_come_back_with_their_attachments_and_histories() {
    let device = Device::new("a");
    let passphrase = device.file("passphrase", b"correct horse\n");
    let file = device.file("logins.kdbx", KDBX);
    device.ok(&["import", &file, "--source-passphrase-file", &passphrase]);
    device.put("imported/default/Bank/password", "changed here");
    device.put("imported/default/root/odd \"&<>]]> name", " \r\n\ttext with\u{1}\u{7f} and é ");
    device.put("imported/default/root/notes", "\r\nlines\r\n");
    device.put("imported/default/root/long", &"x".repeat(40_000));
    device.put("imported/default/root/Title", "a name that KeePass has");
    device.put("imported/default/root/UserName", "too");
    let (path, report) = exported(&device, &[]);
    let records = device.locations().len();
    assert_eq!((&report["exported"], &report["entries"]), (&json!(records), &json!(3)));
    assert_eq!((&report["renamed"], &report["left_out"]), (&json!([]), &json!([])));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(histories(&imported(&path, &[])), histories(&device));
}

#[test]
fn what_is_no_login_is_named() {
    let device = Device::new("a");
    device.put("w/web/mail", "a title alone");
    device.put("w/web/mail/password", "a field");
    device.ok_with(&["put", "w/web/key/raw"], &[0xff, 0]);
    device.ok_with(&["put", "w/web/key/raw"], &[0xff, 1]);
    device.put("x/v/t/f", "another client");
    let (path, report) = exported(&device, &[]);
    assert_eq!((&report["exported"], &report["entries"]), (&json!(4), &json!(4)));
    assert_eq!(report["renamed"], json!([{ "from": "w/web/mail", "to": "w/web/mail/password" }]));
    assert_eq!(report["former_left_out"], 1);
    let there = imported(&path, &["--into", "i"]);
    let expected = ["i/w/web/key/raw", "i/w/web/mail (2)/password", "i/w/web/mail/password", "i/x/v/t/f"];
    assert_eq!(there.locations(), expected);
    assert_eq!(there.run(&["get", "i/w/web/key/raw"], b"").stdout, [0xff, 1]);
    fs::remove_file(&path).unwrap();
    // Of one client, everything lands where it was.
    let (path, _) = exported(&device, &["x/**"]);
    assert_eq!(
        histories(&imported(&path, &["--into", "x"])),
        [("x/v/t/f".into(), vec![b"another client".to_vec()])]
    );
}

#[test]
fn a_conflict_is_told_and_both_values_are_there() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.put("w/web/mail/password", "one");
    b.put("w/web/mail/password", "two");
    let key = b.key_file();
    let other = b.snapshot().to_str().unwrap().to_owned();
    a.ok(&["merge", &other, "--other-key-file", &key]);
    let (path, report) = exported(&a, &[]);
    assert_eq!(report["conflicts"], 1);
    let there = imported(&path, &["--into", "w"]);
    let mut values = histories(&there)[0].1.clone();
    values.sort();
    assert_eq!(values, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn nothing_is_written_over_and_nothing_without_a_passphrase() {
    let device = Device::new("a");
    device.put("w/web/mail/password", "pw");
    let (path, _) = exported(&device, &[]);
    let before = fs::read(&path).unwrap();
    let passphrase = device.file("new-passphrase", PASSPHRASE.as_bytes());
    let to = |path: &str, more: &[&str]| {
        let fixed = ["export", "--format", "kdbx", "--output"];
        [&fixed[..], &[path], more].concat().iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>()
    };
    let other = device.folder().join("other").to_str().unwrap().to_owned();
    for (args, exit) in [
        (to(&path, &["--output-passphrase-file", &passphrase]), USAGE),
        (to(&other, &["--output-key-file", &device.key_file()]), USAGE),
        (to(&other, &["--plaintext", "json"]), USAGE),
        (to(&other, &["nothing/**", "--output-passphrase-file", &passphrase]), NOT_FOUND),
        (to(&other, &[]), USAGE),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        device.fails_cleanly(&args, exit);
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    device.put("w/web/a\u{1b}b/password", "pw");
    let done = device
        .run(&["export", "--format", "kdbx", "-o", &other, "--output-passphrase-file", &passphrase], b"");
    assert_eq!(done.exit, DECISION, "{}", done.stderr);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(
        said.contains("left out: w/web/a\\u{1b}b/password: KeePass can't hold a character of its name"),
        "{said}"
    );
}

#[test]
fn the_passphrase_of_the_database_is_asked_for_twice() {
    use expectrl::Expect;
    let device = Device::new("a");
    device.put("w/web/mail/password", "pw");
    let path = device.folder().join("out.kdbx").to_str().unwrap().to_owned();
    let args = ["export", "--format", "kdbx", "--output", &path, "--key-file", &device.key_file()];
    let mut session = at_terminal(&device, &args);
    session.expect("New passphrase for ").unwrap();
    session.send_line(PASSPHRASE).unwrap();
    session.expect("Once more: ").unwrap();
    session.send_line(PASSPHRASE).unwrap();
    let (exit, said) = end(session);
    assert!(exit == 0 && said.contains("a KeePass database of 1 entry"), "{said}");
    assert_eq!(imported(&path, &["--into", "w"]).get("w/web/mail/password"), "pw");
}

/// KeePassXC opens the database, and finds in it what was written.
#[test]
fn keepassxc_opens_the_database() {
    let keepassxc = |args: &[&str]| {
        let mut command = Command::new("keepassxc-cli");
        command.args(args).env("HOME", std::env::temp_dir()).env("LANG", "C.UTF-8");
        command
    };
    if keepassxc(&["--version"]).output().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        eprintln!("skipped: there is no keepassxc-cli");
        return;
    }
    let device = Device::new("a");
    for (field, value) in [
        ("password", "old"),
        ("password", "pässword <&>"),
        ("username", "anna"),
        ("url", "https://shop.example"),
        ("notes", "two\nlines"),
        ("PIN", " 1234"),
        ("totp", "otpauth://totp/Shop:anna?secret=JBSWY3DPEHPK3PXP&period=30"),
    ] {
        device.put(&format!("w/Web/Shops/Shop/{field}"), value);
    }
    device.ok_with(&["put", "w/Web/Shops/Shop/letter.bin"], b"\xff\0");
    let (path, _) = exported(&device, &[]);
    let ask = |args: &[&str]| {
        let done = run(&mut keepassxc(args), format!("{PASSPHRASE}\n").as_bytes());
        assert_eq!(done.exit, 0, "{args:?}: {}", done.stderr);
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    for (attribute, expected) in [
        ("Title", "Shop"),
        ("UserName", "anna"),
        ("Password", "pässword <&>"),
        ("URL", "https://shop.example"),
        ("Notes", "two\nlines"),
        ("PIN", " 1234"),
    ] {
        let said = ask(&["show", "-q", "-s", "-a", attribute, &path, "Web/Shops/Shop"]);
        assert_eq!(said, format!("{expected}\n"), "{attribute}");
    }
    assert_eq!(ask(&["show", "-q", "-t", &path, "Web/Shops/Shop"]).trim().len(), 6);
    let file = device.folder().join("letter").to_str().unwrap().to_owned();
    ask(&["attachment-export", "-q", &path, "Web/Shops/Shop", "letter.bin", &file]);
    assert_eq!(fs::read(Path::new(&file)).unwrap(), b"\xff\0");
}
