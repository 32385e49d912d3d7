//! What is printed: data on stdout, all else on stderr.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use crate::error::Failure;

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// The command's result: an object, or the lines for people.
    pub(crate) fn result(self, object: &Value, lines: impl FnOnce() -> Vec<String>) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = if self.json {
            writeln!(out, "{object}")
        } else {
            lines().iter().try_for_each(|line| writeln!(out, "{line}"))
        };
        finish(written.and_then(|()| out.flush()))
    }

    /// A value's exact bytes; with a newline on a terminal only.
    pub(crate) fn value(self, value: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written =
            out.write_all(value).and_then(|()| if out.is_terminal() { out.write_all(b"\n") } else { Ok(()) });
        finish(written.and_then(|()| out.flush()))
    }

    /// A word to the person, unless quiet.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// An error: never quiet.
    pub(crate) fn failure(self, failure: &Failure) {
        let mut err = io::stderr().lock();
        if self.json {
            let object = json!({"error": {
                "code": failure.code,
                "exit": failure.exit,
                "message": failure.message,
                "hint": failure.hint,
            }});
            let _ = writeln!(err, "{object}");
            return;
        }
        let _ = writeln!(err, "error: {}", failure.message);
        if let Some(hint) = &failure.hint {
            let _ = writeln!(err, "hint: {hint}");
        }
    }

    /// Whether progress may be shown: on a terminal, to a person.
    pub(crate) fn shows_progress(self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }
}

/// Logs to stderr what `STRONGHOLD_LOG` asks for: `info`, `debug`, or a filter such as `stronghold_net=debug`. No line has a
/// name, a value, a passphrase or a code in it.
pub(crate) fn start_log() {
    let Some(filter) = std::env::var_os("STRONGHOLD_LOG") else { return };
    let filter = tracing_subscriber::EnvFilter::new(filter.to_string_lossy());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(io::stderr);
    let _ = log.try_init();
}

/// A reader that went away is the end of printing, not an error.
fn finish(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::terminal(&error)),
        _ => Ok(()),
    }
}
