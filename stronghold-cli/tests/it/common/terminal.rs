//! Provides commands that run at a terminal of their own.

use std::{process::Command, time::Duration};

use expectrl::{Eof, Expect, Session, process::unix::WaitStatus, session::OsSession};

use super::{Device, stronghold};

/// Starts a command with a terminal of its own.
pub(crate) fn at_terminal(device: &Device, args: &[&str]) -> OsSession {
    at_terminal_with(device, args, &[])
}

/// Starts a command with a terminal of its own and variables in its environment.
pub(crate) fn at_terminal_with(device: &Device, args: &[&str], variables: &[(&str, &str)]) -> OsSession {
    let mut command = stronghold();
    command.args(args).arg("--snapshot").arg(device.snapshot()).envs(variables.iter().copied());
    command.env("XDG_STATE_HOME", device.folder().join("state"));
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(30)));
    session
}

/// Starts a command with some streams redirected, from a shell that keeps the terminal open: a
/// terminal that no process has open is at its end.
pub(crate) fn redirected(device: &Device, args: &[&str], streams: &str) -> OsSession {
    let plain = stronghold();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("\"$0\" \"$@\" {streams}; exit $?")).arg(plain.get_program());
    command.args(args).arg("--snapshot").arg(device.snapshot()).arg("--key-file").arg(device.key_file());
    command.env("XDG_STATE_HOME", device.folder().join("state")).current_dir(device.folder());
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(30)));
    session
}

/// Waits for the command to exit; returns its exit code and the rest of its output.
pub(crate) fn end(mut session: OsSession) -> (i32, String) {
    let rest = String::from_utf8_lossy(session.expect(Eof).unwrap().as_bytes()).into_owned();
    match session.get_process().wait().unwrap() {
        WaitStatus::Exited(_, code) => (code, rest),
        other => panic!("{other:?}"),
    }
}
