//! The person at the terminal: `/dev/tty`, whatever stdin, stdout and stderr are.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
};

use crate::error::{DECISION, Failure};

/// The longest answer that is read.
const MAX_ANSWER: u64 = 1024;

/// Asks a yes-or-no question on the terminal, and returns whether the answer was yes; `None` where there is no terminal.
///
/// # Errors
/// [`Failure`] when the terminal fails.
pub(crate) fn ask(question: &str) -> Result<Option<bool>, Failure> {
    let Ok(tty) = File::options().read(true).write(true).open("/dev/tty") else { return Ok(None) };
    answer(&tty, question).map(Some).map_err(|error| Failure::terminal(&error))
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
/// [`Failure`] (exit 8) when the answer is no, or there is neither a terminal nor a `yes`.
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
