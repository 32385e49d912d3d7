//! Tests unusual names and paths: lookalikes, invalid UTF-8, and terminal escape codes.
#![cfg(unix)]

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::common::{DECISION, Device, Ended, NOT_FOUND, one_line, raw_key, run, stronghold};

#[test]
fn a_second_spelling_of_a_name_is_refused() {
    let device = Device::new("a");
    device.put("w/x/caf\u{e9}", "one");
    device.put("w/x/mail/password", "two");
    let before = device.files();
    for name in [
        "w/x/cafe\u{301}",
        "w/x/caf\u{e9} ",
        "w/x/ caf\u{e9}",
        "w/x/caf\u{e9}\u{a0}",
        "w/x/c\u{200b}af\u{e9}",
        "w/x/mail\u{feff}/password",
        "w/x /new",
        "w\u{ad}/x/new",
        "w/x/mail /user",
    ] {
        let done = device.run(&["put", name], b"value");
        assert_eq!(done.exit, DECISION, "{name:?}: {}", done.stderr);
        assert!(
            done.stderr.contains("looks like") && done.stderr.contains("--allow-lookalike"),
            "{}",
            done.stderr
        );
        assert!(done.stderr.contains("\\u{") || done.stderr.contains(' '), "{}", done.stderr);
    }
    assert!(before == device.files());
    // The record itself stays writable, and so do names that do not look like it.
    for name in ["w/x/caf\u{e9}", "w/x/cafe", "w/x/Caf\u{e9}", "w/y/cafe\u{301}"] {
        device.put(name, "value");
    }
    device.ok_with(&["put", "w/x/cafe\u{301}", "--allow-lookalike"], b"value");
    device.put("w/x/cafe\u{301}", "it is there now");
    let listed = device.ok(&["list", "w/x"]);
    assert_eq!(listed.lines().filter(|line| line.contains("looks like another")).count(), 2, "{listed}");
    assert!(listed.contains("\"w/x/cafe\\u{301}\"") && listed.contains("\"w/x/caf\\u{e9}\""), "{listed}");
    let entries = device.json(&["list"])["entries"].take();
    assert_eq!(entries.as_array().unwrap().iter().filter(|entry| entry["lookalike"] == true).count(), 2);
}

/// Runs a command in a folder whose name is not UTF-8.
fn in_folder(folder: &Path, args: &[&str], stdin: &[u8]) -> Ended {
    let mut command: Command = stronghold();
    command.args(args).arg("--snapshot").arg(folder.join("v")).arg("--key-file").arg(folder.join("key"));
    command.env("XDG_STATE_HOME", folder.join("state")).current_dir(folder);
    run(&mut command, stdin)
}

fn folder_without_encoding(of: &tempfile::TempDir) -> PathBuf {
    let folder = of.path().join(OsString::from_vec(b"bad\xff\x1b[2Jname\xc2\x9b".to_vec()));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("key"), raw_key(3)).unwrap();
    folder
}

#[test]
fn every_command_works_in_a_folder_whose_name_is_no_utf8() {
    for json in [&[][..], &["--json"]] {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder_without_encoding(&temporary);
        fs::write(folder.join("table"), "Group,Title,Password\ng,t,p\n").unwrap();
        fs::write(folder.join("value"), "value").unwrap();
        let path = |name: &str| folder.join(name);
        let ok = |args: &[&str]| {
            let done = in_folder(&folder, &[args, json].concat(), b"value");
            assert_eq!(done.exit, 0, "{args:?}: {}", done.stderr);
            let said = String::from_utf8(done.stdout).unwrap() + &done.stderr;
            assert!(!said.contains(['\u{1b}', '\u{9b}']), "{args:?}: {said:?}");
            said
        };
        let created = ok(&["init"]);
        assert!(created.contains("bad") && created.contains("xff"), "{created}");
        for args in [
            &["put", "a/b/c"][..],
            &["put", "a/b/d", "--file", "value"],
            &["get", "a/b/c"],
            &["list"],
            &["history", "a/b/c"],
            &["remove", "a/b/c", "--dry-run"],
            &["remove", "a/b/c"],
            &["undo"],
            &["conflicts"],
            &["import", "--format", "csv", "table"],
            &["export", "--output", "e", "--output-key-file", "key"],
            &["merge", "e", "--other-key-file", "key"],
            &["peers"],
            &["log"],
            &["verify"],
            &["passphrase", "--list"],
            &["doctor"],
        ] {
            ok(args);
        }
        // Paths as option arguments work too.
        for (option, name) in [("--output", "e2"), ("--output-key-file", "key")] {
            let mut export: Command = stronghold();
            export
                .args(["export", "--snapshot"])
                .arg(path("v"))
                .arg("--key-file")
                .arg(path("key"))
                .args(json);
            let (output, key) =
                if option == "--output" { (path(name), path("key")) } else { (path("e3"), path(name)) };
            export
                .arg("--output")
                .arg(output)
                .arg("--output-key-file")
                .arg(key)
                .env("XDG_STATE_HOME", path("state"));
            let done = run(&mut export, b"");
            assert_eq!(done.exit, 0, "{}", done.stderr);
        }
    }
}

#[test]
fn errors_show_a_path_and_obey_none_of_it() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = folder_without_encoding(&temporary);
    let of = |done: Ended, exit: i32| {
        assert_eq!(done.exit, exit, "{}", done.stderr);
        assert!(!done.stderr.contains(['\u{1b}', '\u{9b}']), "{:?}", done.stderr);
        done.stderr
    };
    let said = of(in_folder(&folder, &["list"], b""), NOT_FOUND);
    assert!(said.contains("bad\\xff\\u{1b}[2Jname\\u{9b}/v"), "{said}");
    of(in_folder(&folder, &["list", "--json"], b""), NOT_FOUND);
    fs::write(folder.join("v"), "text").unwrap();
    of(in_folder(&folder, &["list"], b""), crate::common::DAMAGED);
    of(in_folder(&folder, &["init"], b""), crate::common::USAGE);
    fs::remove_file(folder.join("v")).unwrap();
    assert_eq!(in_folder(&folder, &["init"], b"").exit, 0);
    for args in [
        &["put", "a/b/c", "--file", "no\u{1b}such"][..],
        &["import", "--format", "csv", "no\u{1b}such"],
        &["merge", "no\u{1b}such", "--other-key-file", "key"],
        &["merge", "v", "--other-key-file", "no\u{1b}such"],
        &["merge", "v", "--other-passphrase-file", "no\u{1b}such"],
        &["get", "a/b/\u{1b}[2J"],
        &["remove", "a/b/\u{1b}[2J\u{9b}"],
        &["history", "a/b/\u{1b}[2J\u{202e}"],
        &["revoke", "\u{1b}[2J"],
        &["list", "--shared-with", "\u{1b}[2J"],
        &["sync", "\u{9b}2J"],
    ] {
        of(in_folder(&folder, args, b""), NOT_FOUND);
        let said = of(in_folder(&folder, &[args, &["--json"]].concat(), b""), NOT_FOUND);
        one_line(&said);
    }
    for args in
        [&["put", "\u{1b}[2J"][..], &["list", "a\u{1b}[2J\\"], &["\u{1b}[2J"], &["get", "--\u{1b}[2J"]]
    {
        of(in_folder(&folder, args, b""), crate::common::USAGE);
    }
}

#[test]
fn an_odd_name_of_this_device_is_told_unless_quiet() {
    for (args, told) in [(&[][..], true), (&["--quiet"], false)] {
        let device = crate::common::Device::without_snapshot();
        let done = device.run(&[&["init", "--name", "abc123"], args].concat(), b"");
        assert_eq!(done.exit, 0, "{}", done.stderr);
        assert_eq!(done.stderr.contains("other devices will show it with a suffix"), told, "{}", done.stderr);
    }
    let device = crate::common::Device::without_snapshot();
    assert_eq!(device.run(&["init", "--name", "laptop"], b"").stderr, "");
}
