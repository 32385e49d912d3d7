//! Tests the completions as a shell asks for them, and the manual pages as `man` reads them.
#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "it says why it is skipped")]

use std::process::Command;

use crate::common::{Device, run, stronghold};

/// Returns what bash completes a line to, whose words are divided by blanks.
fn completed(device: &Device, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let (last, count) = (words[words.len() - 1], words.len() - 1);
    let script = format!(
        "source <(stronghold completions bash); COMP_WORDS=({line}); COMP_CWORD={count}; \
         _clap_complete_stronghold stronghold '{last}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let program = stronghold().get_program().to_owned();
    let folder = std::path::Path::new(&program).parent().unwrap().to_owned();
    let path = std::env::join_paths([folder, "/usr/bin".into(), "/bin".into()]).unwrap();
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", &script]).env("PATH", path).env("STRONGHOLD_SNAPSHOT", device.snapshot());
    for (name, value) in device.keyless(&[]).get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let done = run(&mut command, b"");
    assert_eq!(done.exit, 0, "{line}: {}", done.stderr);
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn names_of_records_are_completed_while_the_vault_is_unlocked() {
    let device = Device::new("a");
    for at in ["w/web/mail/password", "w/web/bank/password", "x/y/z"] {
        device.put(at, "v");
    }
    assert_eq!(completed(&device, "stronghold unl"), ["unlock"]);
    assert!(completed(&device, "stronghold get --cl").contains(&"--clip".to_owned()));
    // Nobody is asked for a passphrase.
    assert!(completed(&device, "stronghold get w/").is_empty());
    device.ok(&["unlock"]);
    for (line, expected) in [
        ("stronghold get w/", &["w/web/"][..]),
        ("stronghold get w/web/", &["w/web/bank/", "w/web/mail/"]),
        ("stronghold move x/y/", &["x/y/z"]),
        ("stronghold remove a/b/c x/", &["x/y/"]),
        ("stronghold fetch phone x/", &[]),
    ] {
        assert_eq!(completed(&device, line), expected, "{line}");
    }
    device.ok(&["lock"]);
    assert!(completed(&device, "stronghold get w/").is_empty());
}

#[test]
fn man_shows_the_pages() {
    let device = Device::new("a");
    device.ok(&["man", "--output", "."]);
    let page = device.folder().join("stronghold-get.1");
    let done = Command::new("man").arg("-l").arg(&page).env("MANPAGER", "cat").env("MANWIDTH", "80").output();
    let Ok(shown) = done else {
        eprintln!("skipped: there is no man");
        return;
    };
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("stronghold get wallet/web/mail"), "{text}");
    assert!(shown.stderr.is_empty(), "{}", String::from_utf8_lossy(&shown.stderr));
}
