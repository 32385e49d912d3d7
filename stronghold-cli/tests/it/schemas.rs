//! Checks what the command prints with `--json` against `schemas.json`: here each command, and
//! everything else that the tests read as JSON.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::common::{DECISION, Device, NOT_FOUND, USAGE, one_line, pair, strings, trust_each_other};

static SCHEMAS: &str = include_str!("../../schemas.json");

/// Checks an object against the schema of this name, if there is one.
#[track_caller]
pub(crate) fn check(name: &str, object: &Value) {
    static VALIDATORS: OnceLock<Mutex<HashMap<String, Validator>>> = OnceLock::new();
    let mut validators =
        VALIDATORS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap();
    if schemas["$defs"].get(name).is_none() {
        return;
    }
    let validator = validators.entry(name.to_owned()).or_insert_with(|| {
        let schema = json!({ "$schema": schemas["$schema"], "$ref": format!("#/$defs/{name}"), "$defs": schemas["$defs"] });
        jsonschema::validator_for(&schema).unwrap()
    });
    let wrong: Vec<String> = validator.iter_errors(object).map(|error| error.to_string()).collect();
    drop(validators);
    assert!(wrong.is_empty(), "{name}: {wrong:?} of {object}");
}

#[test]
fn a_schema_takes_nothing_else() {
    for (name, object) in [
        ("verify", json!({ "records": 1, "revisions": 1 })),
        ("verify", json!({ "records": 1, "revisions": 1, "generation": 1, "more": 1 })),
        ("verify", json!({ "records": -1, "revisions": 1, "generation": 1 })),
        ("error", json!({ "error": { "code": "none", "exit": 1, "message": "", "hint": null } })),
    ] {
        let refused = std::panic::catch_unwind(|| check(name, &object));
        assert!(refused.is_err(), "{name}: {object}");
    }
}

#[test]
fn commands_on_one_device_print_what_the_schemas_say() {
    let device = Device::new("a");
    // `json` checks what it returns.
    let run = |line: &str| device.json(&line.split(' ').collect::<Vec<_>>());
    device.json_with(&["put", "w/v/a"], b"one");
    device.json_with(&["put", "w/v/a"], b"two");
    device.json_with(&["put", "w/v/b"], b"\xff");
    device.json_with(&["put", "w/v/login", "--fields", "username,password"], b"a\nb\n");
    device.json_with(&["put", "w/v/t"], b"otpauth://totp/x?secret=JBSWY3DPEHPK3PXP");
    for line in [
        "get w/v/a",
        "get w/v/b",
        "get w/**",
        "get w/v/a --output value",
        "show w/v/login",
        "show w/v/login --reveal",
        "list",
        "list --long --sort time",
        "list --tree",
        "list --deleted",
        "find a",
        "copy w/v/a x/v/a",
        "move x/v/a y/v/a",
        "remove y/v/a",
        "list --deleted",
        "totp w/v/t",
        "qr w/v/t",
        "undo --list",
        "undo",
        "redo --dry-run",
        "redo",
        "conflicts",
        "identity",
        "rename b",
        "peers",
        "log",
        "passphrase --list",
        "verify",
        "doctor",
        "config",
        "locations",
        "devices",
        "exit-codes",
        "completions bash",
        "completions powershell",
        "man get",
        "man --output .",
        "lock",
        "unlock",
        "unlock --for 1h",
        "lock",
        "export --plaintext json --output all.json",
        "identity --renew --yes",
        "purge --all --yes",
    ] {
        run(line);
    }
    let history = run("history w/v/login/password");
    let first = strings(&history["revisions"], "revision")[0].clone();
    device.json(&["restore", "w/v/login/password", "--revision", &first]);
    device.json(&["export", "--output", "all", "--output-key-file", &device.key_file()]);
    let table =
        device.file("t.csv", b"name,url,username,password,none\nShop,https://s,anna,pw,\nEmpty,,,,\n");
    device.json(&["import", &table, "--dry-run"]);
    device.json(&["import", &table]);
}

#[test]
fn errors_conflicts_and_events_are_as_the_schemas_say() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.put("w/v/a", "zero");
    a.put("w/v/a", "one");
    b.put("w/v/a", "two");
    let error = |args: &[&str], exit: i32| {
        check("error", &one_line(&a.fails(&[args, &["--json"]].concat(), exit)));
    };
    error(&["get", "w/v/none"], NOT_FOUND);
    error(&["get", "w"], USAGE);
    error(&["no-such-command"], USAGE);
    error(&["purge", "--all"], DECISION);
    let other = b.snapshot().to_str().unwrap().to_owned();
    a.json(&["merge", &other, "--other-key-file", &b.key_file(), "--dry-run"]);
    a.json(&["merge", &other, "--other-key-file", &b.key_file()]);
    a.json(&["conflicts"]);
    a.json(&["resolve", "--all", "--keep", "newest"]);
    pair(&a, &b);
    trust_each_other((&a, "a"), (&b, "b"));
    let (mut serving, address) = a.serve();
    a.json(&["put", "w/v/c", "--generate=8"]);
    let at = ["--at", address.as_str()];
    for line in ["sync a --dry-run", "sync a", "browse a", "fetch a w/v/c", "clone a"] {
        b.json(&[&line.split(' ').collect::<Vec<_>>(), &at[..]].concat());
    }
    serving.kill();
    let folder = a.folder().to_str().unwrap();
    for device in [&a, &b] {
        let other = if std::ptr::eq(device, &a) { "b" } else { "a" };
        device.json(&["mailbox", "add", other, folder]);
        device.json(&["sync", "--mailbox"]);
    }
    for line in ["sync --mailbox b", "mailbox", "mailbox list", "mailbox remove b"] {
        a.json(&line.split(' ').collect::<Vec<_>>());
    }
    for line in
        ["peers", "log", "grant b pull --select w/**", "deny b pull", "peers rename b c", "revoke c", "peers"]
    {
        a.json(&line.split(' ').collect::<Vec<_>>());
    }
}
