//! Asks the person at `/dev/tty`, wherever stdin, stdout and stderr are redirected.

mod typing;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    time::Duration,
};

use zeroize::Zeroizing;

use crate::error::{Failure, Kind};
use typing::{Typed, Unechoed};

/// Time within which a signal to this process arrives.
const ARRIVES_WITHIN: Duration = Duration::from_millis(200);
/// Maximum length of an answer, in bytes.
const MAX_ANSWER: u64 = 1024;

/// Asks a yes-or-no question on the terminal. Returns whether the answer was yes, or `None` if
/// there is no terminal.
///
/// # Errors
/// [`Failure`] when the terminal fails.
pub(crate) fn ask(question: &str) -> Result<Option<bool>, Failure> {
    let Some(tty) = tty() else { return Ok(None) };
    answer(&tty, question).map(Some).map_err(|error| Failure::terminal(&error))
}

/// Returns whether there is a terminal to ask on.
pub(crate) fn exists() -> bool {
    tty().is_some()
}

fn tty() -> Option<File> {
    File::options().read(true).write(true).open("/dev/tty").ok()
}

fn answer(tty: &File, question: &str) -> io::Result<bool> {
    Ok(is_yes(&answer_line(tty, &format!("{question} [y/N] "))?))
}

/// Returns whether the answer to a question is yes.
pub(crate) fn is_yes(line: &[u8]) -> bool {
    matches!(line.trim_ascii(), b"y" | b"Y" | b"yes")
}

fn answer_line(mut tty: &File, prompt: &str) -> io::Result<Vec<u8>> {
    write!(tty, "{prompt}")?;
    tty.flush()?;
    let mut line = Vec::new();
    BufReader::new(tty.take(MAX_ANSWER)).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        writeln!(tty)?;
    }
    Ok(line)
}

/// Reads a line at the terminal. Returns `None` at the end of the input.
///
/// # Errors
/// [`Failure`] when there is no terminal, or it fails.
pub(crate) fn line(prompt: &str) -> Result<Option<String>, Failure> {
    let tty = tty().ok_or_else(none)?;
    let line = answer_line(&tty, prompt).map_err(|error| Failure::terminal(&error))?;
    Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()))
}

/// Writes lines to the terminal.
///
/// # Errors
/// As [`line()`].
pub(crate) fn tell(lines: &str) -> Result<(), Failure> {
    let mut tty = tty().ok_or_else(none)?;
    writeln!(tty, "{lines}").map_err(|error| Failure::terminal(&error))
}

/// Writes control sequences to the terminal.
///
/// # Errors
/// As [`line()`].
pub(crate) fn send(sequence: &str) -> Result<(), Failure> {
    let mut tty = tty().ok_or_else(none)?;
    tty.write_all(sequence.as_bytes()).and_then(|()| tty.flush()).map_err(|error| Failure::terminal(&error))
}

/// Returns the failure of a question that the end of the input answers.
pub(crate) fn ended() -> Failure {
    Failure::usage("the input was ended (Ctrl-D)", "nothing was changed")
}

fn none() -> Failure {
    Failure::usage(
        "there is no terminal to ask on",
        "run `stronghold unlock` at one, or use --passphrase-file, --passphrase-fd or --key-file; \
         values come from stdin or --file",
    )
}

/// Asks for confirmation of an irreversible change on the terminal. `yes` answers beforehand
/// (`--yes`); with neither `yes` nor a terminal, the change is refused.
///
/// # Errors
/// [`Failure`] (exit 8) when the answer is no, or when there is neither a terminal nor `yes`.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match ask(question)? {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Kind::Declined, "the answer was no; nothing was changed")),
        None => {
            let message = format!("nobody is there to answer \"{question}\"; nothing was changed");
            Err(Failure::new(Kind::NeedsYes, message).hint("if the answer is yes, say --yes"))
        }
    }
}

/// Reads a line of at most `limit` bytes without showing it.
///
/// The terminal's keys work as usual: erasing keys erase, Ctrl-C ends the command, Ctrl-Z suspends
/// it (the question is repeated when it resumes), Ctrl-D ends the input.
///
/// # Errors
/// [`Failure`] when there is no terminal, the input was ended, or the line is too long.
pub(crate) fn hidden(prompt: &str, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let tty = tty().ok_or_else(none)?;
    loop {
        let typed = Unechoed::new(&tty).and_then(|mut unechoed| {
            write!(&tty, "{prompt}")?;
            unechoed.line(limit)
        });
        match typed.map_err(|error| Failure::terminal(&error))? {
            Typed::Line(line) => return Ok(line),
            Typed::Ended => return Err(ended()),
            Typed::TooLong => {
                let message = format!("what was typed is too long: at most {limit} bytes");
                return Err(Failure::usage(message, "nothing was changed"));
            }
            // The terminal is restored by now, for the program that uses it next.
            Typed::Signal(signal) => {
                let sent = rustix::process::kill_current_process_group(signal);
                sent.map_err(|error| Failure::terminal(&error.into()))?;
                // Another thread may be the one that gets it, after this one has gone on.
                std::thread::sleep(ARRIVES_WITHIN);
                // Whoever started this process may have it ignore the signal.
                if signal != rustix::process::Signal::TSTP {
                    return Err(Failure::usage("interrupted", "nothing was changed"));
                }
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::{fd::OwnedFd, unix::net::UnixStream};

    use super::*;

    /// An answer without a line end leaves the cursor behind the question, so a line end is
    /// printed.
    #[test]
    fn yes_is_a_yes_and_all_else_is_none() {
        for (typed, expected) in [
            ("y\n", true),
            ("Y\n", true),
            ("yes\n", true),
            ("  y \n", true),
            ("n\n", false),
            ("yes please\n", false),
            ("\n", false),
            ("y", true),
            ("", false),
        ] {
            let (near, mut far) = UnixStream::pair().unwrap();
            far.write_all(typed.as_bytes()).unwrap();
            far.shutdown(std::net::Shutdown::Write).unwrap();
            let tty = File::from(OwnedFd::from(near));
            assert_eq!(answer(&tty, "Go on?").unwrap(), expected, "{typed:?}");
            drop(tty);
            let mut shown = String::new();
            far.read_to_string(&mut shown).unwrap();
            let end = if typed.ends_with('\n') { "" } else { "\n" };
            assert_eq!(shown, format!("Go on? [y/N] {end}"), "{typed:?}");
        }
    }
}
