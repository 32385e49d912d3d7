//! Prints data to stdout and everything else to stderr.

use std::{
    borrow::Cow,
    io::{self, BufWriter, IsTerminal, Write},
};

use serde::Serialize;
use serde_json::{Value, json};
use stronghold_snapshot::NoteError;
use stronghold_sync::{escape_untrusted, is_hidden};

use crate::error::{Failure, Kind};

/// Formats a count with its noun: `1 record`, `2 records`, `3 entries`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    match thing.strip_suffix('y') {
        _ if count == 1 => format!("1 {thing}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {thing}s"),
    }
}

/// Maximum number of records named to a person, unless `--verbose` is given.
pub(crate) const NAMED: usize = 20;

/// Format and verbosity of the output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    names_all: bool,
}

impl Output {
    pub(crate) const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, names_all: false }
    }

    /// Sets whether every record is named to a person (`--verbose`).
    pub(crate) fn with_all_names(self, names_all: bool) -> Self {
        Self { names_all, ..self }
    }

    /// Returns the first lines of a list, and a line with the number of further ones. Returns all
    /// of them with `--verbose`.
    pub(crate) fn first_of(
        self,
        lines: impl ExactSizeIterator<Item = String>,
    ) -> impl Iterator<Item = String> {
        let shown = if self.names_all { lines.len() } else { NAMED };
        let more = lines.len().saturating_sub(shown);
        lines.take(shown).chain((more > 0).then(|| format!("  and {more} more (--verbose names all)")))
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints the command's result: an object, or lines for people.
    pub(crate) fn result(self, object: &Value, lines: impl FnOnce() -> Vec<String>) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = if self.json {
            writeln!(out, "{}", json_line(object))
        } else {
            lines().iter().try_for_each(|line| writeln!(out, "{line}"))
        };
        finish(written.and_then(|()| out.flush()))
    }

    /// Prints the command's result as it is produced: an object with one list, or a line for each
    /// entry, on a terminal below a header.
    pub(crate) fn list<T: Serialize>(
        self,
        name: &str,
        header: &str,
        entries: impl Iterator<Item = T>,
        line: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let written = if self.json {
            write_list(&mut out, name, entries)
        } else {
            let header = io::stdout().is_terminal().then(|| header.to_owned()).into_iter();
            // Nothing stands below a header only if there is nothing.
            let mut lines = entries.map(|entry| line(&entry)).peekable();
            let mut header = header.filter(|_| lines.peek().is_some());
            let written = header.try_for_each(|line| writeln!(out, "{line}"));
            written.and_then(|()| lines.try_for_each(|line| writeln!(out, "{line}")))
        };
        finish(written.and_then(|()| out.flush()))
    }

    /// Prints a value's exact bytes, and a newline on a terminal only. A terminal gets no control
    /// characters unless `raw`.
    pub(crate) fn value(self, value: &[u8], raw: bool) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        if out.is_terminal() && !raw && drives_a_terminal(value) {
            let message = "the value has characters in it that would drive the terminal; nothing was printed";
            return Err(Failure::new(Kind::ControlCharacters, message).hint(
                "--json shows them escaped; redirect the value into a file, or say --raw to send it as it is",
            ));
        }
        let written =
            out.write_all(value).and_then(|()| if out.is_terminal() { out.write_all(b"\n") } else { Ok(()) });
        finish(written.and_then(|()| out.flush()))
    }

    /// Prints a note to stderr, unless `--quiet`.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{}", visible_lines(text));
        }
    }

    /// Tells a person that there is nothing to list.
    pub(crate) fn nothing(self, text: &str) {
        if !self.json {
            self.note(text);
        }
    }

    /// Prints a warning to stderr, even with `--quiet`.
    pub(crate) fn warning(self, text: &str) {
        let _ = writeln!(io::stderr(), "{}", visible_lines(text));
    }

    /// Prints an error to stderr, even with `--quiet`.
    pub(crate) fn failure(self, failure: &Failure) {
        let mut err = io::stderr().lock();
        if self.json {
            let object = json!({"error": {
                "code": failure.kind.word(),
                "exit": failure.kind.exit(),
                "message": failure.message,
                "hint": failure.hint,
            }});
            let _ = writeln!(err, "{}", json_line(&object));
            return;
        }
        let _ = writeln!(err, "error: {}", visible_lines(&failure.message));
        if let Some(hint) = &failure.hint {
            let _ = writeln!(err, "hint: {}", visible_lines(hint));
        }
    }

    /// Returns whether to show progress: only to a person at a terminal.
    pub(crate) fn shows_progress(self) -> bool {
        self.shows_progress_on(io::stderr().is_terminal())
    }

    fn shows_progress_on(self, is_terminal: bool) -> bool {
        !self.quiet && !self.json && is_terminal
    }
}

/// Logs to stderr as `STRONGHOLD_LOG` says: `info`, `debug`, or a filter such as
/// `stronghold_net=debug`. Log lines never contain a name, value, passphrase or code.
pub(crate) fn start_log() {
    let Some(filter) = std::env::var_os("STRONGHOLD_LOG").filter(|filter| !filter.is_empty()) else { return };
    let filter = tracing_subscriber::EnvFilter::new(filter.to_string_lossy());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(io::stderr);
    let _ = log.try_init();
}

/// Writes an object with one list, entry by entry, on one line.
fn write_list<T: Serialize>(
    out: &mut impl Write,
    name: &str,
    entries: impl Iterator<Item = T>,
) -> io::Result<()> {
    write!(out, "{{\"{name}\":[")?;
    let mut text = Vec::new();
    for (index, entry) in entries.enumerate() {
        out.write_all(if index == 0 { b"" } else { b"," })?;
        text.clear();
        serde_json::to_writer(&mut text, &entry)?;
        out.write_all(escape_unseen(std::str::from_utf8(&text).map_err(io::Error::other)?).as_bytes())?;
    }
    writeln!(out, "]}}")
}

/// Renders an object on one line.
fn json_line(object: &Value) -> String {
    escape_unseen(&object.to_string()).into_owned()
}

/// Escapes C1 controls and hidden or bidirectional characters in JSON, so that it can't drive a
/// terminal either.
fn escape_unseen(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        // All such characters are inside strings: the rest of the JSON is ASCII.
        match is_escaped(letter) {
            false => line.push(letter),
            true => letter
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| line.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    Cow::Owned(line)
}

/// Escapes a message line by line, keeping its line ends.
pub(crate) fn visible_lines(text: &str) -> String {
    text.split('\n').map(escape_untrusted).collect::<Vec<_>>().join("\n")
}

/// Returns whether [`escape_untrusted`] writes a character as its number.
fn is_escaped(letter: char) -> bool {
    letter.is_control() || is_hidden(letter)
}

/// Returns whether a value would drive a terminal: control characters except tabs and line ends,
/// bidirectional characters, or bytes that are not UTF-8 and may be C1 controls.
fn drives_a_terminal(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return true };
    let text = text.replace("\r\n", "\n");
    let is_direction = |letter| matches!(letter, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|letter| letter.is_control() && !"\t\n".contains(letter) || is_direction(letter))
}

/// Treats a closed pipe as the end of printing, not as an error.
pub(crate) fn finish(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::terminal(&error)),
        _ => Ok(()),
    }
}

/// Warns that an old copy would go unnoticed. This is not an error, but is printed even with
/// `--quiet`, since a protection is off.
pub(crate) fn note_failed(error: &NoteError) {
    let _ = writeln!(io::stderr(), "warning: {}", note_warning(error));
    let _ = writeln!(io::stderr(), "hint: {NOTE_HINT}");
}

/// Prints the same warning as an object.
pub(crate) fn note_failed_json(error: &NoteError) {
    let object = json!({"warning": {
        "code": "rollback_notes", "message": note_warning(error), "hint": NOTE_HINT,
    }});
    let _ = writeln!(io::stderr(), "{object}");
}

fn note_warning(error: &NoteError) -> String {
    let error = escape_untrusted(&error.to_string());
    format!("an old copy in place of the snapshot would go unnoticed: {error}")
}

const NOTE_HINT: &str = "see `stronghold doctor`; --accept-rollback writes a damaged note anew, and --require-rollback-notes \
                         lets nothing be done without notes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_for_a_person_at_a_terminal() {
        for (json, quiet) in [(true, false), (false, true), (true, true), (false, false)] {
            let output = Output::new(json, quiet);
            assert_eq!(output.shows_progress_on(true), !json && !quiet);
            assert!(!output.shows_progress_on(false));
        }
        assert_eq!(Output::new(false, false).shows_progress(), io::stderr().is_terminal());
    }

    #[test]
    fn things_are_counted_as_people_say_it() {
        let said = [(0, "record"), (1, "record"), (2, "record"), (1, "entry"), (3, "entry")];
        let said = said.map(|(count, thing)| counted(count, thing));
        assert_eq!(said, ["0 records", "1 record", "2 records", "1 entry", "3 entries"]);
    }

    #[test]
    fn json_has_no_letter_that_drives_a_terminal() {
        let text = "a\u{1b}[2J\u{7f}\u{9b}1m\u{202e}\u{200b}\u{feff}\u{2028}\u{e0041} Grüße 鍵 🗝 \"\\\n";
        let line = json_line(&json!({ text: [text] }));
        assert_eq!(line.chars().filter(|letter| is_escaped(*letter)).count(), 0, "{line}");
        assert!(line.contains("Grüße 鍵 🗝"));
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), json!({ text: [text] }));
    }

    #[test]
    fn a_list_is_written_entry_by_entry() {
        for entries in [vec![], vec!["a\u{202e}"], vec!["a", "b", "c"]] {
            let mut out = Vec::new();
            write_list(&mut out, "entries", entries.iter()).unwrap();
            assert!(out.is_ascii() && out.ends_with(b"\n"));
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), json!({ "entries": entries }));
        }
    }

    #[test]
    fn what_a_terminal_shows_is_told_from_what_drives_it() {
        for shown in ["", "text\twith\nlines\r\n", "Grüße 鍵 👩\u{200d}🔧", "\u{200f}עברית"] {
            assert!(!drives_a_terminal(shown.as_bytes()), "{shown:?}");
        }
        for driving in ["\u{1b}[2J", "a\rb", "\u{7}", "\0", "\u{7f}", "\u{9b}1m", "\u{202e}txt", "\u{2066}"] {
            assert!(drives_a_terminal(driving.as_bytes()), "{driving:?}");
        }
        assert!(drives_a_terminal(b"\x9b1m") && drives_a_terminal(&[0xff, 0xfe]));
    }
}
