//! The person at the terminal: `/dev/tty`, whatever stdin, stdout and stderr are.

mod typing;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
};

use zeroize::Zeroizing;

use crate::error::{DECISION, Failure};
use typing::{Typed, Unechoed};

/// The longest answer that is read.
const MAX_ANSWER: u64 = 1024;

/// Asks a yes-or-no question on the terminal, and returns whether the answer was yes; `None` where there is no terminal.
///
/// # Errors
/// [`TaskError`] when the terminal fails.
pub(crate) fn ask(question: &str) -> Result<Option<bool>, Failure> {
    let Some(tty) = tty() else { return Ok(None) };
    answer(&tty, question).map(Some).map_err(|error| Failure::terminal(&error))
}

/// Whether there is a terminal to ask on.
pub(crate) fn exists() -> bool {
    tty().is_some()
}

fn tty() -> Option<File> {
    File::options().read(true).write(true).open("/dev/tty").ok()
}

fn answer(mut tty: &File, question: &str) -> io::Result<bool> {
    write!(tty, "{question} [y/N] ")?;
    tty.flush()?;
    let mut line = Vec::new();
    BufReader::new(tty.take(MAX_ANSWER)).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        writeln!(tty)?;
    }
    Ok(matches!(line.trim_ascii(), b"y" | b"Y" | b"yes"))
}

/// Lets a person confirm what can't be undone: asks on the terminal where there is one. `yes` is the answer given beforehand
/// (`--yes`); without it and without a terminal, nothing is done.
///
/// # Errors
/// [`TaskError`] (exit 8) when the answer is no, or there is neither a terminal nor a `yes`.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match ask(question)? {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new("declined", DECISION, "the answer was no; nothing was changed")),
        None => {
            let message = format!("nobody is there to answer \"{question}\"; nothing was changed");
            Err(Failure::new("needs_yes", DECISION, message).hint("if the answer is yes, say --yes"))
        }
    }
}

/// Reads a line that is not shown while it is typed, of at most `limit` bytes.
///
/// The keys of a terminal do what they do elsewhere: those for erasing erase, Ctrl-C ends the command, Ctrl-Z suspends it
/// (the question is asked again when it goes on), Ctrl-D ends the input.
///
/// # Errors
/// [`TaskError`] when there is no terminal, the input was ended, or the line is too long.
pub(crate) fn hidden(prompt: &str, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let Some(tty) = tty() else {
        return Err(Failure::usage(
            "there is no terminal to ask on",
            "use --passphrase-file, --passphrase-fd or --key-file; values come from stdin or --file",
        ));
    };
    loop {
        let typed = Unechoed::new(&tty).and_then(|mut unechoed| {
            write!(&tty, "{prompt}")?;
            unechoed.line(limit)
        });
        match typed.map_err(|error| Failure::terminal(&error))? {
            Typed::Line(line) => return Ok(line),
            Typed::Ended => {
                return Err(Failure::usage("the input was ended (Ctrl-D)", "nothing was changed"));
            }
            Typed::TooLong => {
                let message = format!("what was typed is too long: at most {limit} bytes");
                return Err(Failure::usage(message, "nothing was changed"));
            }
            // The terminal is as it was before, for whoever has it meanwhile.
            Typed::Signal(signal) => {
                let sent = rustix::process::kill_current_process_group(signal);
                sent.map_err(|error| Failure::terminal(&error.into()))?;
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

    /// An answer that ends without a line's end leaves the cursor behind the question: it is moved on.
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
