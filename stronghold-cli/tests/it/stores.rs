//! Tests the import of password stores that the real `pass`, `gpg` and `age` have written.
#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "it says why it is skipped")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{DECISION, Device, Ended, USAGE, one_line, run};

/// A name, and a text or value.
type Named = (&'static str, &'static str);

/// Entries of a store, each with the fields that it has to come in as.
const ENTRIES: [(&str, &str, &[Named]); 5] = [
    (
        "Web/Shops/shop.example",
        "new pässword \nuser: anna\nURL: https://shop.example\nPIN: 1234\n\ntwo\nlines\n",
        &[
            ("password", "new pässword "),
            ("username", "anna"),
            ("url", "https://shop.example"),
            ("PIN", "1234"),
            ("notes", "two\nlines"),
        ],
    ),
    (
        "mail",
        "pw\nlogin: a@b\notpauth://totp/mail?secret=JBSWY3DP\n",
        &[("password", "pw"), ("username", "a@b"), ("totp", "otpauth://totp/mail?secret=JBSWY3DP")],
    ),
    ("Web/only", "one", &[("password", "one")]),
    ("Web/a b", "two\na/b: c", &[("password", "two"), ("a_b", "c")]),
    ("Web/-rf", "three", &[("password", "three")]),
];

/// Returns whether all of these programs are here, and says so if not.
fn are_here(programs: &[&str]) -> bool {
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let is_here = |program: &&&str| folders.iter().any(|folder| folder.join(program).exists());
    match programs.iter().find(|program| !is_here(program)) {
        Some(missing) => {
            eprintln!("skipped: there is no {missing}");
            false
        }
        None => true,
    }
}

/// A home of gpg with a key of its own; its agent ends with it.
struct Keys {
    home: TempDir,
}

impl Keys {
    fn new(name: &str) -> Self {
        let keys = Self { home: tempfile::tempdir().unwrap() };
        let made = ["--batch", "--quiet", "--passphrase", "", "--quick-generate-key", name, "future-default"];
        keys.gpg(&made, b"");
        keys
    }

    fn gpg(&self, args: &[&str], stdin: &[u8]) -> Vec<u8> {
        fed(Command::new("gpg").args(args).env("GNUPGHOME", self.home.path()), stdin)
    }

    fn encrypt(&self, to: &str, text: &[u8], file: &Path) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let args = ["--batch", "--quiet", "--trust-model", "always", "--encrypt", "--recipient", to];
        fs::write(file, self.gpg(&args, text)).unwrap();
    }

    /// Imports a store with this home's keys.
    fn import(&self, device: &Device, store: &Path, args: &[&str]) -> Ended {
        let mut command = device.command(&[&["import", store.to_str().unwrap(), "--json"], args].concat());
        run(command.env("GNUPGHOME", self.home.path()), b"")
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        let _ = end.args(["--kill", "all"]).env("GNUPGHOME", self.home.path()).status();
    }
}

/// Runs a program that has to succeed; returns its output.
fn fed(command: &mut Command, stdin: &[u8]) -> Vec<u8> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// Checks that each field of each entry is there, and nothing else.
fn all_fields_are_found(device: &Device) {
    let mut found = Vec::new();
    for (name, _, fields) in ENTRIES {
        let vault = if name.contains('/') { "" } else { "default/" };
        for (field, value) in fields {
            let at = format!("imported/{vault}{name}/{field}");
            assert_eq!(device.get(&at), *value, "{at}");
            found.push(at);
        }
    }
    found.sort();
    assert_eq!(device.locations(), found);
}

fn left_out(report: &Value) -> Vec<String> {
    let rows = report["left_out"].as_array().unwrap().iter();
    rows.map(|row| format!("{}: {}", row["name"].as_str().unwrap(), row["why"].as_str().unwrap())).collect()
}

#[test]
fn a_store_of_pass_is_imported_whole() {
    if !are_here(&["gpg", "pass"]) {
        return;
    }
    let (device, keys, folder) = (Device::new("a"), Keys::new("anna"), tempfile::tempdir().unwrap());
    let store = folder.path().join("store");
    let pass = |args: &[&str], stdin: &[u8]| {
        let mut command = Command::new("pass");
        command.args(args).env("GNUPGHOME", keys.home.path()).env("PASSWORD_STORE_DIR", &store);
        fed(&mut command, stdin);
    };
    pass(&["init", "anna"], b"");
    for (name, text, _) in ENTRIES {
        pass(&["insert", "--multiline", "--force", "--", name], text.as_bytes());
    }
    let planned = keys.import(&device, &store, &["--dry-run"]);
    assert_eq!(planned.exit, 0, "{}", planned.stderr);
    assert!(device.locations().is_empty());
    let done = keys.import(&device, &store, &[]);
    assert_eq!(done.exit, 0, "{}", done.stderr);
    let [planned, done] = [planned, done].map(|run| one_line(&String::from_utf8(run.stdout).unwrap()));
    assert_eq!((&done["new"], &done["records"]), (&json!(5), &planned["records"]));
    assert_eq!(done["renamed"][0]["to"], "Web/a b/a_b");
    all_fields_are_found(&device);
    pass(&["insert", "--multiline", "--force", "mail"], b"changed");
    let again = one_line(&String::from_utf8(keys.import(&device, &store, &[]).stdout).unwrap());
    assert_eq!((&again["changed"], &again["unchanged"]), (&json!(1), &json!(4)));
    assert_eq!(device.get("imported/default/mail/password"), "changed");
}

#[test]
fn damaged_and_foreign_entries_are_left_out_by_name() {
    if !are_here(&["gpg"]) {
        return;
    }
    let (device, keys, others) = (Device::new("a"), Keys::new("anna"), Keys::new("berta"));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("store").join(name);
    keys.encrypt("anna", b"pw", &at("good.gpg"));
    others.encrypt("berta", b"pw", &at("foreign.gpg"));
    keys.encrypt("anna", b"\xff\0", &at("binary.gpg"));
    keys.encrypt("anna", &[b'x'; (4 << 20) + 1], &at("large.gpg"));
    keys.encrypt("anna", b"\n\n", &at("empty.gpg"));
    keys.encrypt("anna", b"pw", &folder.path().join("outside.gpg"));
    std::os::unix::fs::symlink("../outside.gpg", at("link.gpg")).unwrap();
    let good = fs::read(at("good.gpg")).unwrap();
    fs::write(at("cut.gpg"), &good[..good.len() - 4]).unwrap();
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(at("changed.gpg"), changed).unwrap();
    fs::write(at("text.gpg"), "pw\n").unwrap();
    fs::write(at("nothing.gpg"), "").unwrap();
    fs::write(at("plain.gpg"), keys.gpg(&["--batch", "--store"], b"not encrypted")).unwrap();
    let done = keys.import(&device, &folder.path().join("store"), &[]);
    assert_eq!(done.exit, DECISION, "{}", done.stderr);
    let report = one_line(&String::from_utf8(done.stdout).unwrap());
    assert_eq!(
        left_out(&report),
        [
            "default/binary: it is not UTF-8 text",
            "default/changed: gpg can't decrypt it",
            "default/cut: gpg can't decrypt it",
            "default/empty: it has a title only",
            "default/foreign: gpg has no secret key for it",
            "default/large: it is larger than 4 MiB",
            "link.gpg: it is a link out of the store",
            "default/nothing: gpg can't decrypt it",
            "default/plain: gpg can't decrypt it",
            "default/text: gpg can't decrypt it",
        ]
    );
    let said = "9 entries were left out, each for the reason beside it; the others are here";
    assert!(done.stderr.contains(said), "{}", done.stderr);
    assert_eq!(device.locations(), ["imported/default/good/password"]);
}

#[test]
fn a_store_of_age_takes_its_identity() {
    if !are_here(&["age", "age-keygen"]) {
        return;
    }
    let (device, folder) = (Device::new("a"), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join("store").join(name);
    let identity = |name: &str| folder.path().join(name);
    let recipient = |name: &str| {
        fed(Command::new("age-keygen").arg("-o").arg(identity(name)), b"");
        String::from_utf8(fed(Command::new("age-keygen").arg("-y").arg(identity(name)), b"")).unwrap()
    };
    let (own, other) = (recipient("own"), recipient("other"));
    let encrypt = |recipient: &str, text: &str, file: &Path| {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut command = Command::new("age");
        command.args(["-r", recipient.trim(), "-o"]).arg(file);
        fed(&mut command, text.as_bytes());
    };
    for (name, text, _) in ENTRIES {
        encrypt(&own, text, &at(&format!("{name}.age")));
    }
    fs::write(at(".age-recipients"), &own).unwrap();
    let store = folder.path().join("store").to_str().unwrap().to_owned();
    let said = device.fails_cleanly(&["import", &store], USAGE);
    assert!(said.contains("no identity was given; nothing was changed"), "{said}");
    let [own, none] = ["own", "none"].map(|name| identity(name).to_str().unwrap().to_owned());
    device.fails_cleanly(&["import", &store, "--source-identity", &none], crate::common::NOT_FOUND);
    device.ok(&["import", &store, "--source-identity", &own]);
    all_fields_are_found(&device);
    encrypt(&other, "x", &at("foreign.age"));
    let mail = fs::read(at("mail.age")).unwrap();
    fs::write(at("cut.age"), &mail[..mail.len() - 1]).unwrap();
    let done = device.run(&["import", &store, "--source-identity", &own, "--json"], b"");
    assert_eq!(done.exit, DECISION, "{}", done.stderr);
    let said = ["default/cut: age can't decrypt it", "default/foreign: it is for another identity of age"];
    assert_eq!(left_out(&one_line(&String::from_utf8(done.stdout).unwrap())), said);
}

#[test]
fn a_folder_that_is_no_store_and_a_missing_program_change_nothing() {
    let device = Device::new("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let said = device.fails_cleanly(&["import", path], USAGE);
    assert!(said.contains("does not tell its format"), "{said}");
    let said = device.fails_cleanly(&["import", path, "--format", "pass"], USAGE);
    assert!(said.contains("no entries of a password store; nothing was changed"), "{said}");
    let said = device.fails_cleanly(&["import", &device.key_file(), "--format", "pass"], USAGE);
    assert!(said.contains("the folder can't be read"), "{said}");
    fs::write(folder.path().join("a.gpg"), "x").unwrap();
    device.look_in(path.into());
    let done = device.run(&["import", path], b"");
    assert_eq!(done.exit, USAGE, "{}", done.stderr);
    assert!(done.stderr.contains("can't run gpg"), "{}", done.stderr);
}

/// The program decrypts what it is given, and is given nothing to find it by.
#[test]
fn the_text_of_an_entry_passes_through_pipes_alone() {
    let device = Device::new("a");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("gpg");
    let script =
        "#!/bin/sh\n(echo \"$@\"; /usr/bin/env) > \"$LOG\"\n/bin/cat\necho '[GNUPG:] DECRYPTION_OKAY' >&2\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    fs::write(store.join("canary-name.gpg"), "canary-value\n").unwrap();
    let log = folder.path().join("log");
    let mut command = device.command(&["import", store.to_str().unwrap()]);
    let done = run(command.env("PATH", folder.path()).env("LOG", &log), b"");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert_eq!(device.get("imported/default/canary-name/password"), "canary-value");
    let logged = fs::read_to_string(log).unwrap();
    assert!(logged.starts_with("--batch --quiet --status-fd 2 --decrypt\n"), "{logged}");
    assert!(!logged.contains("canary"), "{logged}");
}
