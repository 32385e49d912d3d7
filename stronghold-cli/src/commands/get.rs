//! `get`: prints a value.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};
use stronghold_snapshot::{Access, VaultFile};
use stronghold_sync::{Location, RevisionId, Timestamp, escape_untrusted, hex};
use stronghold_vault::{MAX_VALUE, ReadError, ReadResult};
use zeroize::Zeroizing;

use crate::clipboard::{self, hold_time};
use crate::clock::spoken;
use crate::context::{Context, location, revision};
use crate::error::{About, Failure, Kind, path_text};
use crate::nearest::found;
use crate::output::Output;
use crate::{background, input, names};

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Record to print, as CLIENT/VAULT/RECORD; with --json a glob too, such as 'wallet/**'.
    location: String,
    /// Print an older revision, given by its id or the beginning of it.
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
    /// Fail (exit 8) if the record is in conflict.
    #[arg(long)]
    strict: bool,
    /// Print control characters even on a terminal.
    #[arg(long)]
    raw: bool,
    /// Write the value to FILE, which must not exist, readable by this user alone.
    #[arg(short, long, value_name = "FILE", conflicts_with = "raw")]
    output: Option<PathBuf>,
    /// Copy the value to the clipboard, and clear that after TIME (default: 45s).
    #[arg(
        short,
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_parser = hold_time,
        conflicts_with_all = ["raw", "output"]
    )]
    clip: Option<Duration>,
    /// Send the value to the terminal's clipboard (OSC 52), which keeps it.
    #[arg(long, conflicts_with_all = ["raw", "output", "clip"])]
    osc52: bool,
}

pub(super) fn get(context: &Context, args: &GetArgs) -> Result<(), Failure> {
    if names::is_glob(&args.location) {
        return get_matching(context, args);
    }
    let location = location(&args.location)?;
    let home = context.open_at(std::slice::from_ref(&location), Access::Read)?;
    let (id, read, modified, in_conflict) = match args.revision.as_deref() {
        Some(text) => {
            let id = revision(&home, &location, text)?;
            let read = home.stronghold().read_revision(&location, &id).about(&location)?;
            if read.deleted {
                return Err(ReadError::NotFound).about(&location);
            }
            let history = home.stronghold().history(&location)?;
            let shown = history.iter().find(|version| version.revision == id);
            let modified = shown.map_or(read.time, |version| version.time);
            (id, read, modified, home.stronghold().is_conflict(&location.id())?)
        }
        None => {
            let reading = current(context, &home, &location, args.strict)?;
            (reading.id, reading.revision, reading.modified, reading.conflict)
        }
    };
    if let Some(path) = &args.output {
        write_new(path, &read.value)?;
        let object = json!({
            "location": location.to_string(), "revision": id.to_string(), "modified": modified,
            "conflict": in_conflict, "file": path_text(path), "size": read.value.len(),
        });
        return context.output.result(&object, Vec::new);
    }
    if args.clip.is_some() || args.osc52 {
        return copy(context, args, &location, &read.value);
    }
    if !context.output.is_json() {
        return context.output.value(&read.value, args.raw);
    }
    context.output.result(&object(&location, &id, modified, in_conflict, &read.value), Vec::new)
}

/// Copies a value to the clipboard.
fn copy(context: &Context, args: &GetArgs, at: &Location, value: &[u8]) -> Result<(), Failure> {
    let name = escape_untrusted(&at.to_string());
    let said = match args.clip {
        Some(time) => {
            clipboard::copy(value, time)?;
            format!("copied {name}; the clipboard is cleared in {}", spoken(time))
        }
        None => {
            clipboard::copy_by_terminal(value)?;
            format!("sent {name} to the terminal's clipboard, which keeps it")
        }
    };
    let seconds = args.clip.map(|time| time.as_secs());
    let object = json!({ "location": at.to_string(), "cleared_after_seconds": seconds });
    if !context.output.is_json() {
        context.output.note(&said);
    }
    context.output.result(&object, Vec::new)
}

/// Holds the value on stdin in the clipboard, in the process that `get --clip` starts.
pub(super) fn hold_clipboard(time: Duration) -> Result<(), Failure> {
    background::detach();
    let value = input::rest_of_stdin(MAX_VALUE)?;
    clipboard::hold(&value, time, || Output::new(false, false).result(&Value::Null, || vec!["held".into()]))
}

fn object(at: &Location, id: &RevisionId, modified: Timestamp, conflict: bool, value: &[u8]) -> Value {
    let text = std::str::from_utf8(value).ok();
    let value = text.map_or_else(|| ("value_hex", hex::text(value)), |text| ("value", text.to_owned()));
    json!({
        "location": at.to_string(), "revision": id.to_string(), "modified": modified,
        "conflict": conflict, value.0: value.1,
    })
}

/// Prints the values of all records that a glob matches, or that of the record with that name.
fn get_matching(context: &Context, args: &GetArgs) -> Result<(), Failure> {
    if !context.output.is_json() || args.revision.is_some() || args.output.is_some() {
        let message = format!("{} may match several records", escape_untrusted(&args.location));
        return Err(Failure::usage(
            message,
            "say --json, without --revision and --output; or name one record",
        ));
    }
    let home = context.open()?;
    let stronghold = home.stronghold();
    let mut records = Vec::new();
    for at in names::matching(stronghold, &args.location)? {
        let read = stronghold.read(&at).about(&at)?;
        if read.conflict && args.strict {
            conflict(context, &at.to_string(), true)?;
        }
        records.push(object(&at, &read.id, read.modified, read.conflict, &read.revision.value));
    }
    context.output.list("records", "", records.into_iter(), |_| String::new())
}

/// Writes a new file that only this user can read. A file that could not be written whole is
/// removed.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::exists(path),
        _ => Failure::file(path, &error),
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = std::fs::remove_file(path);
        Failure::file(path, &error)
    })
}

/// Returns a record's value. Warns if the record is in conflict.
pub(super) fn value(context: &Context, home: &VaultFile, at: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Ok(current(context, home, &location(at)?, false)?.revision.value)
}

fn current(context: &Context, home: &VaultFile, at: &Location, strict: bool) -> Result<ReadResult, Failure> {
    let reading = found(home.stronghold(), at, home.stronghold().read(at))?;
    if reading.conflict {
        conflict(context, &at.to_string(), strict)?;
    }
    Ok(reading)
}

pub(super) fn conflict(context: &Context, at: &str, strict: bool) -> Result<(), Failure> {
    let hint = format!(
        "see `stronghold history '{0}'`, then `stronghold resolve '{0}' --keep REVISION`",
        escape_untrusted(at)
    );
    if strict {
        let message = format!("{} is in conflict; nothing was printed", escape_untrusted(at));
        return Err(Failure::new(Kind::Conflict, message).hint(hint));
    }
    context
        .output
        .warning(&format!("warning: {} is in conflict; this is its latest value", escape_untrusted(at)));
    context.output.warning(&format!("hint: {hint}"));
    Ok(())
}
