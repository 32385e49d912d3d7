//! `get`: prints a value.

use serde_json::json;
use stronghold_snapshot::VaultFile;
use stronghold_sync::{escape_untrusted, hex};
use stronghold_vault::ReadError;
use zeroize::Zeroizing;

use crate::context::{Context, location, revision};
use crate::error::{About, Failure, Kind};

pub(super) fn get(
    context: &Context,
    at: &str,
    of: Option<&str>,
    strict: bool,
    raw: bool,
) -> Result<(), Failure> {
    let location = location(at)?;
    let home = context.open()?;
    let (id, read, modified, in_conflict) = match of {
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
            let reading = home.stronghold().read(&location).about(&location)?;
            if reading.conflict {
                conflict(context, at, strict)?;
            }
            (reading.id, reading.revision, reading.modified, reading.conflict)
        }
    };
    if !context.output.is_json() {
        return context.output.value(&read.value, raw);
    }
    let text = std::str::from_utf8(&read.value).ok();
    let value = text.map_or_else(|| ("value_hex", hex::text(&read.value)), |text| ("value", text.to_owned()));
    let object = json!({
        "location": location.to_string(), "revision": id.to_string(), "modified": modified,
        "conflict": in_conflict, value.0: value.1,
    });
    context.output.result(&object, Vec::new)
}

/// Returns a record's value. Warns if the record is in conflict.
pub(super) fn value(context: &Context, home: &VaultFile, at: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let location = location(at)?;
    let reading = home.stronghold().read(&location).about(&location)?;
    if reading.conflict {
        conflict(context, at, false)?;
    }
    Ok(reading.revision.value)
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
