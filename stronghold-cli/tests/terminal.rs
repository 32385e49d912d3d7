//! A person at a terminal: prompts that show nothing, a newline after a value, and a yes or no to a peer's request.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]
#![cfg(unix)]

mod common;

use std::time::Duration;

use common::{DENIED, Device, Pair, stronghold};
use expectrl::{Eof, Expect, Session, process::unix::WaitStatus, session::OsSession};

/// Starts a command with a terminal of its own.
fn at_terminal(device: &Device, args: &[&str]) -> OsSession {
    let mut command = stronghold();
    command.args(args).arg("--snapshot").arg(device.snapshot());
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(30)));
    session
}

/// Waits for its end; gives its exit code and what it still had to say.
fn end(mut session: OsSession) -> (i32, String) {
    let rest = String::from_utf8_lossy(session.expect(Eof).unwrap().as_bytes()).into_owned();
    match session.get_process().wait().unwrap() {
        WaitStatus::Exited(_, code) => (code, rest),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_passphrase_is_asked_for_twice_and_never_shown() {
    let device = Device::without_snapshot();
    let init = |second: &str| {
        let mut session = at_terminal(&device, &["init"]);
        session.expect("Passphrase: ").unwrap();
        session.send_line("correct horse").unwrap();
        let shown = session.expect("Once more: ").unwrap();
        assert!(!String::from_utf8_lossy(shown.before()).contains("correct"));
        session.send_line(second).unwrap();
        end(session)
    };
    let (exit, said) = init("correct house");
    assert!(
        exit == 2 && said.contains("the two passphrases differ") && !device.snapshot().exists(),
        "{said}"
    );
    let (exit, said) = init("correct horse");
    assert!(exit == 0 && said.contains("created ") && !said.contains("horse"), "{said}");
    device.unlock_by("--passphrase-file", "passphrase", b"correct horse");
    device.ok(&["verify"]);
}

#[test]
fn a_value_is_prompted_for_and_printed_with_a_newline() {
    let device = Device::new("a");
    let key = device.key_file();
    let mut session = at_terminal(&device, &["put", "s/v/r", "--key-file", &key]);
    session.expect("Value: ").unwrap();
    session.send_line("typed").unwrap();
    let (exit, said) = end(session);
    assert!(exit == 0 && !said.contains("typed"), "{said}");
    assert_eq!(device.get("s/v/r"), "typed");
    assert_eq!(end(at_terminal(&device, &["get", "s/v/r", "--key-file", &key])), (0, "typed\r\n".into()));
}

#[test]
fn a_person_says_yes_or_no_to_a_request() {
    for (answer, exit) in [("y", 0), ("n", DENIED), ("", DENIED)] {
        let Pair { a, b, .. } = Pair::new();
        a.ok(&["grant", "b", "pull", "--select", "**", "--ask"]);
        let key = a.key_file();
        let mut serving =
            at_terminal(&a, &["serve", "--once", "--listen", "127.0.0.1:0", "--key-file", &key]);
        serving.expect("listening on ").unwrap();
        let address = serving.expect(" as ").unwrap();
        let address = String::from_utf8_lossy(address.before()).into_owned();
        let sync = b.start(&["sync", "a", "--at", &address], b"");
        serving.expect("wants to pull on **").unwrap();
        serving.expect("Allow it, within a minute? [y/N] ").unwrap();
        serving.send_line(answer).unwrap();
        let done = sync.end();
        assert_eq!(done.exit, exit, "{answer:?}: {}", done.stderr);
        assert_eq!(b.locations().len(), if exit == 0 { 4 } else { 0 });
        end(serving);
    }
}
