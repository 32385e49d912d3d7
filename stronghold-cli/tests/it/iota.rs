//! Imports what `iota-export` prints of a snapshot that IOTA's own engine has made. The program is
//! a workspace of its own: `cargo xtask iota` builds it, and runs this.
#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "it says why it is skipped")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::common::{DECISION, Device, USAGE, one_line, run};

/// Returns the folder of the built programs, or says that they are not there.
fn programs() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/debug");
    if folder.join("iota-export").exists() && folder.join("examples/sample").exists() {
        return Some(folder);
    }
    eprintln!("skipped: iota-export is not built: `cargo xtask iota` does");
    None
}

/// Exports a snapshot in a folder by `iota-export`.
fn exported(programs: &Path, folder: &Path, args: &[&str]) -> Vec<u8> {
    let mut export = Command::new(programs.join("iota-export"));
    let done = run(export.current_dir(folder).args(args), b"");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    done.stdout
}

#[test]
fn a_snapshot_of_iotas_engine_is_imported_by_its_names() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut sample = Command::new(programs.join("examples/sample"));
    assert_eq!(run(sample.arg(folder.path()), b"").exit, 0);
    let args = ["v3", "--passphrase-file", "passphrase", "--paths", "paths"];
    let text = exported(&programs, folder.path(), &args);
    assert_eq!(text, exported(&programs, folder.path(), &["v2", "--key-file", "key", "--paths", "paths"]));

    let device = Device::new("a");
    let import = |args: &[&str], text: &[u8]| {
        let done = device.run(&[&["import", "-", "--format", "iota", "--json"], args].concat(), text);
        assert_eq!(done.exit, 0, "{}", done.stderr);
        one_line(&String::from_utf8(done.stdout).unwrap())
    };
    let planned = import(&["--dry-run"], &text);
    assert_eq!(planned["records"].as_array().unwrap().len(), 8);
    assert!(device.locations().is_empty());
    let report = import(&[], &text);
    assert_eq!(
        report["columns_left_out"],
        json!([{ "name": "revoked records", "values": 1 }, { "name": "expired entries", "values": 1 }])
    );
    assert_eq!(report["records"], planned["records"]);
    for (at, value) in [
        ("imported/wallet/tokens/mail/password", &b"hunter2"[..]),
        ("imported/wallet/tokens/0", b"the first"),
        ("imported/wallet/tokens/7", b"the eighth"),
        ("imported/wallet/tokens/ff00", b"\x00\xff\n"),
        ("imported/wallet/store/user", b"anna"),
    ] {
        assert_eq!(device.run(&["get", at], b"").stdout, value, "{at}");
    }
    let key = device.run(&["get", "imported/wallet/keys/signing"], b"").stdout;
    assert_eq!(key.len(), 32, "a key that the engine made");
    // Where a path is not known, the id stands in its place.
    let unnamed =
        device.locations().into_iter().filter(|at| device.run(&["get", at], b"").stdout == b"unnamed");
    assert!(unnamed.count() == 1 && device.ok(&["show", "imported/ff00/tokens"]).contains("  "));
    let again = import(&[], &text);
    assert_eq!((&again["records"], &again["new"]), (&json!([]), &json!(0)));
}

#[test]
fn something_else_changes_nothing() {
    let device = Device::new("a");
    let file = device.file("x.json", b"{\"iota_export\":9}");
    let said = device.fails_cleanly(&["import", &file, "--format", "iota"], USAGE);
    assert!(said.contains("iota-export's form 9, this build reads 1; nothing was changed"), "{said}");
    let file = device.file("x.json", b"PARTI\x03\x00");
    let said = device.fails_cleanly(&["import", &file, "--format", "iota"], USAGE);
    assert!(said.contains("this is not the output of iota-export; nothing was changed"), "{said}");
    assert!(said.contains("hint: iota-export SNAPSHOT --key-file KEY --paths PATHS | "), "{said}");
    // What can't be placed is named, and the others come in.
    let long = "x".repeat(2000);
    let entry = |name: &str| json!({ "client": "c", "vault": "v", "name": name, "value_hex": "31" });
    let export =
        json!({ "iota_export": 1, "revoked": 0, "expired": 0, "entries": [entry(&long), entry("short")] });
    let done = device.run(&["import", "-", "--format", "iota", "--json"], export.to_string().as_bytes());
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done.exit, DECISION, "{report}");
    assert_eq!(device.locations(), ["imported/c/v/short"]);
}
