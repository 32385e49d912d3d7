//! Processes of this program that outlive the command that starts them.

use std::{
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

/// Maximum length of what a starting process says, in bytes.
const MAX_LINE: u64 = 4096;

/// Starts this program with `args`, gives it `stdin`, and waits until it prints a line. Returns its
/// first line on stderr if it ends without.
///
/// # Errors
/// [`io::Error`] if it can't be started.
pub(crate) fn start(
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    stdin: &[u8],
) -> io::Result<Result<(), String>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // It outlives the terminal, and keeps no folder busy.
    let mut child = command.current_dir("/").process_group(0).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A process that ends without reading says why.
        let _ = pipe.write_all(stdin);
    }
    let (mut line, mut reason) = (String::new(), String::new());
    if let Some(said) = child.stdout.take() {
        BufReader::new(said.take(MAX_LINE)).read_line(&mut line)?;
    }
    if !line.is_empty() {
        return Ok(Ok(()));
    }
    if let Some(errors) = child.stderr.take() {
        errors.take(MAX_LINE).read_to_string(&mut reason)?;
    }
    let _ = child.wait();
    let first = reason.lines().next().unwrap_or_default();
    Ok(Err(first.trim_start_matches("error: ").to_owned()))
}

/// Leaves the session of the terminal, in the process that [`start`] has started.
pub(crate) fn detach() {
    // It fails only for the leader of a group, which has no terminal to lose.
    let _ = rustix::process::setsid();
}
