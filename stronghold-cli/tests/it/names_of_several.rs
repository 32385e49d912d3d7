//! Tests commands on records as a person thinks of them: logins, folders, trees, moves and edits.
#![cfg(unix)]

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use crate::common::{DECISION, Device, NOT_FOUND, USAGE, at_terminal, end, pair, program, strings};
use expectrl::{Expect, session::OsSession};

fn with(records: &[(&str, &str)]) -> Device {
    let device = Device::new("a");
    records.iter().for_each(|(record, value)| device.put(record, value));
    device
}

const LOGIN: [(&str, &str); 5] = [
    ("w/web/mail/password", "hunter2"),
    ("w/web/mail/username", "anna"),
    ("w/web/mail/notes", "one\ntwo"),
    ("w/web/mail/pin", "1234"),
    ("w/web/other", "x"),
];

#[test]
fn a_login_is_shown_as_one_thing_without_its_secrets() {
    let device = with(&LOGIN);
    let shown = device.ok(&["show", "w/web/mail"]);
    let (fields, changed) = shown.rsplit_once("changed   ").unwrap();
    let expected = "username  anna\npassword  ********\nnotes     one\n          two\npin       ********\n";
    assert_eq!(fields, expected);
    assert_eq!(changed.len(), "2026-11-27 10:00:00\n".len());
    let revealed = device.ok(&["show", "w/web/mail/", "--reveal"]);
    assert!(revealed.contains("password  hunter2\n") && revealed.contains("pin       1234\n"), "{revealed}");
    let fields = device.json(&["show", "w/web/mail"])["fields"].take();
    assert_eq!(strings(&fields, "field"), ["username", "password", "notes", "pin"]);
    assert_eq!((&fields[0]["value"], &fields[1]["value"]), (&json!("anna"), &json!(null)));
    assert!(device.ok(&["show", "w/web/other"]).starts_with("value    ********\n"));
    device.fails(&["show", "w/web/nothing"], NOT_FOUND);
    let said = device.fails(&["get", "w/web/mail"], NOT_FOUND);
    assert!(said.ends_with("hint: there are records below it: `stronghold show 'w/web/mail'`\n"), "{said}");
}

#[test]
fn records_are_listed_by_the_beginning_of_their_names_as_a_tree_and_in_another_order() {
    let device = with(&LOGIN);
    let names = |args: &[&str]| strings(&device.json(&[&["list"], args].concat())["entries"], "location");
    let all = names(&[]);
    for beginning in ["w", "w/", "w/web", "w/web/", "w/web/**", "w/**/"] {
        assert_eq!(names(&[beginning]), all, "{beginning}");
    }
    for beginning in ["w/web/mail", "w/web/mail/", "w/web/mail/*"] {
        assert_eq!(names(&[beginning]), all[..4], "{beginning}");
    }
    assert_eq!(names(&["w/web/other"]), ["w/web/other"]);
    assert_eq!(names(&["w/we"]), [""; 0]);
    let tree = "w\n└── web\n    ├── mail\n    │   ├── notes\n    │   ├── password\n    │   ├── pin\n    \
                │   └── username\n    └── other\n";
    assert_eq!(device.ok(&["list", "--tree"]), tree);
    assert_eq!(names(&["--sort", "size"])[..2], ["w/web/mail/notes", "w/web/mail/password"]);
    device.put("w/web/mail/pin", "4321");
    assert_eq!(names(&["--sort", "time"])[0], "w/web/mail/pin");
    let long = device.ok(&["list", "w/web/other", "--long"]);
    assert!(long.contains("  here  w/web/other\n"), "{long}");
    let said = device.run(&["list", "mail"], b"").stderr;
    assert_eq!(said, "nothing matches mail; `stronghold find 'mail'` lists 4\n");
}

#[test]
fn deleted_records_are_listed_with_the_revision_to_restore() {
    let device = with(&LOGIN);
    assert_eq!(device.json(&["list", "--deleted"])["entries"], json!([]));
    device.ok(&["remove", "w/web/other"]);
    let entry = device.json(&["list", "--deleted"])["entries"][0].take();
    assert_eq!(entry["location"], "w/web/other");
    device.ok(&["restore", "w/web/other", "--revision", entry["revision"].as_str().unwrap()]);
    assert_eq!(device.get("w/web/other"), "x");
}

#[test]
fn the_values_of_a_glob_are_one_object() {
    let device = with(&LOGIN);
    let records = device.json(&["get", "w/web/mail/*"])["records"].take();
    assert_eq!(strings(&records, "value"), ["one\ntwo", "hunter2", "1234", "anna"]);
    device.fails(&["get", "w/web/mail/*"], USAGE);
    device.fails(&["get", "w/nothing/*", "--json"], NOT_FOUND);
}

#[test]
fn a_record_a_login_and_a_folder_are_moved_with_their_histories_in_one_step() {
    let device = with(&LOGIN);
    device.put("w/web/other", "y");
    let planned = device.ok(&["move", "w/web/other", "w/web/new", "--dry-run"]);
    assert_eq!(planned, "would move 1 record\n+ w/web/new\n- w/web/other\n");
    let planned = device.ok(&["copy", "w/web/other", "w/web/new", "--dry-run"]);
    assert_eq!(planned, "would copy 1 record\n+ w/web/new\n");
    assert_eq!(
        device.ok(&["move", "w/web/other", "w/web/new"]),
        "moved 1 record\n+ w/web/new\n- w/web/other\n"
    );
    let history = device.json(&["history", "w/web/new"])["revisions"].take();
    assert_eq!(history.as_array().unwrap().len(), 3);
    device.is_absent("w/web/other");
    let planned = device.json(&["mv", "w/web/mail", "x/logins/", "--dry-run"]);
    assert_eq!(planned["pairs"][1], json!({"from": "w/web/mail/password", "to": "x/logins/mail/password"}));
    assert_eq!(device.get("w/web/mail/password"), "hunter2");
    device.ok(&["mv", "w/web/mail", "x/logins/"]);
    assert_eq!(device.get("x/logins/mail/password"), "hunter2");
    device.ok(&["undo"]);
    assert_eq!((device.get("w/web/mail/pin"), device.locations().len()), ("1234".into(), 5));
    device.ok(&["cp", "w/web", "y/web"]);
    assert_eq!((device.get("w/web/mail/pin"), device.get("y/web/mail/pin")), ("1234".into(), "1234".into()));
    device.fails_cleanly(&["move", "w/web/new", "y/web/new"], USAGE);
    device.fails_cleanly(&["move", "w/web", "w/web/below"], USAGE);
    device.fails_cleanly(&["move", "w/web/none", "w/web/else"], NOT_FOUND);
    device.fails_cleanly(&["move", "w/web/new", "w/web"], USAGE);
}

#[test]
fn a_moved_value_is_still_known_to_the_device_that_received_it() {
    let (here, there) = (Device::new("here"), Device::new("there"));
    pair(&here, &there);
    here.put("w/web/mail", "secret");
    here.ok(&["grant", "there", "pull", "--select", "**"]);
    let (_serving, address) = here.serve();
    there.ok(&["sync", "here", "--at", &address, "--take", "--yes"]);
    drop(_serving);
    here.ok(&["move", "w/web/mail", "w/web/post"]);
    let known = here.json(&["list", "--shared-with", "there"])["entries"].take();
    assert_eq!(strings(&known, "location"), ["w/web/post"]);
}

/// Returns a session of `edit` with a script as the editor.
fn editing(device: &Device, at: &str, script: &str) -> OsSession {
    let editor = device.file("editor", format!("#!/bin/sh\n{script}\n").as_bytes());
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o700)).unwrap();
    let key = device.key_file();
    crate::common::at_terminal_with(device, &["edit", at, "--key-file", &key], &[("VISUAL", &editor)])
}

#[test]
fn a_value_is_edited_on_a_file_in_memory_that_is_gone_afterwards() {
    let device = with(&[("w/v/r", "before")]);
    let note = device.folder().join("note");
    let script =
        format!("stat -f -c %T \"$1\" > {0}; stat -c %a \"$1\" >> {0}; echo \"$1\" >> {0}", note.display());
    let (exit, said) = end(editing(&device, "w/v/r", &format!("{script}; echo after > \"$1\"")));
    assert_eq!((exit, device.get("w/v/r").as_str()), (0, "after"), "{said}");
    let noted = fs::read_to_string(&note).unwrap();
    let noted: Vec<&str> = noted.lines().collect();
    assert_eq!(noted[..2], ["tmpfs", "600"]);
    assert!(!std::path::Path::new(noted[2]).parent().unwrap().exists());
    // A new record, and its text with two lines.
    assert_eq!(end(editing(&device, "w/v/new", "printf 'one\\ntwo\\n' > \"$1\"")).0, 0);
    assert_eq!(device.get("w/v/new"), "one\ntwo");
    // What is not changed is not written; nor is what the editor fails on.
    let (exit, said) = end(editing(&device, "w/v/r", "true"));
    assert!(exit == 0 && said.contains("nothing was changed"), "{said}");
    let (exit, said) = end(editing(&device, "w/v/r", "echo lost > \"$1\"; exit 1"));
    assert!(exit == DECISION && said.contains("the editor ended with exit status: 1"), "{said}");
    assert_eq!(device.json(&["history", "w/v/r"])["revisions"].as_array().unwrap().len(), 2);
}

#[test]
fn an_edit_over_a_value_written_meanwhile_is_asked_about() {
    for (answer, exit, value) in [("n", DECISION, "other"), ("y", 0, "mine")] {
        let device = with(&[("w/v/r", "before")]);
        let go = device.folder().join("go");
        let script =
            format!("echo ready; while ! [ -e {} ]; do sleep 0.01; done; echo mine > \"$1\"", go.display());
        let mut session = editing(&device, "w/v/r", &script);
        session.expect("ready").unwrap();
        device.put("w/v/r", "other");
        fs::write(&go, b"").unwrap();
        session.expect("w/v/r was changed meanwhile. Write yours over it?").unwrap();
        session.send_line(answer).unwrap();
        assert_eq!((end(session).0, device.get("w/v/r").as_str()), (exit, value));
    }
}

#[test]
fn an_editor_that_is_interrupted_leaves_no_file() {
    let device = with(&[("w/v/r", "before")]);
    let mut session =
        editing(&device, "w/v/r", "echo \"at $1 .\"; trap 'exit 3' INT; while :; do sleep 0.01; done");
    session.expect("at ").unwrap();
    let found = session.expect(" .").unwrap();
    let path = String::from_utf8_lossy(found.before()).into_owned();
    assert!(std::path::Path::new(&path).exists());
    session.send("\u{3}").unwrap();
    assert_eq!(end(session).0, DECISION);
    assert!(!std::path::Path::new(&path).exists());
    assert_eq!(device.get("w/v/r"), "before");
}

/// An editor that shows half of a value would save half of it.
#[test]
fn a_value_that_does_not_fit_into_memory_is_not_edited() {
    let device = with(&[("w/v/r", "all of it")]);
    // No file may grow; the signal for that is ignored, so that writing fails.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 0; \"$0\" \"$@\"; exit $?"]);
    shell.arg(program()).args(["edit", "w/v/r", "--key-file", &device.key_file()]);
    shell.arg("--snapshot").arg(device.snapshot()).env("VISUAL", "touch edited; false");
    shell.env("XDG_STATE_HOME", device.folder().join("state")).current_dir(device.folder());
    let (exit, shown) = end(expectrl::Session::spawn(shell).unwrap());
    assert_eq!(exit, crate::common::STORAGE, "{shown}");
    assert!(!device.folder().join("edited").exists(), "{shown}");
}

#[test]
fn there_is_a_header_at_a_terminal() {
    let device = with(&LOGIN[..1]);
    let key = device.key_file();
    let (_, shown) = end(at_terminal(&device, &["list", "--key-file", &key]));
    assert!(shown.starts_with("CHANGED                  SIZE  RECORD\r\n"), "{shown}");
    let (_, shown) = end(at_terminal(&Device::new("b"), &["list", "--key-file", &key]));
    assert!(!shown.contains("CHANGED"), "{shown}");
    assert!(!device.ok(&["list"]).contains("CHANGED"));
    device.fails(&["edit", "w/v/r"], USAGE);
}

#[test]
fn a_login_is_written_at_once_from_lines_and_a_generated_password() {
    let device = Device::new("own");
    let fields = ["put", "w/web/shop", "--fields", "username,password,url", "--generate=30"];
    assert_eq!(device.ok_with(&fields, b"anna\r\nhttps://shop.example\n"), "");
    let login = |field: &str| device.get(&format!("w/web/shop/{field}"));
    assert_eq!((login("username"), login("url")), ("anna".into(), "https://shop.example".into()));
    let first = login("password");
    assert_eq!(first.len(), 30);
    // An empty line leaves a field as it is.
    let done = device.json_with(&fields, b"\nhttps://other.example\n");
    assert_eq!(strings(&done["records"], "location"), ["w/web/shop/password", "w/web/shop/url"]);
    assert_eq!(done["records"][0]["replaced"], 30);
    assert_eq!((login("username"), login("url")), ("anna".into(), "https://other.example".into()));
    assert_ne!(login("password"), first);
    device.ok(&["undo"]);
    assert_eq!((login("password"), login("url")), (first, "https://shop.example".into()));
    let done = device.run(&["put", "w/web/shop", "--fields", "password"], b"typed\n");
    assert_eq!(done.stderr, "replaced w/web/shop/password (was 30 bytes, `stronghold undo`)\n");
    assert_eq!(login("password"), "typed");

    for (args, stdin) in [
        (&["--fields", "username,password"][..], &b"one line\n"[..]),
        (&["--fields", "username,password"], b"one\ntwo\nthree\n"),
        (&["--fields", "username,username"], b"one\ntwo\n"),
        (&["--fields", "username,url", "--generate"], b"one\ntwo\n"),
        (&["--fields", "username"], b"\n"),
        (&["--fields", "username", "--file", "key"], b"x"),
    ] {
        let before = device.files();
        let done = device.run(&[&["put", "w/web/shop"], args].concat(), stdin);
        assert_eq!((done.exit, before == device.files()), (USAGE, true), "{args:?}: {}", done.stderr);
    }
}
