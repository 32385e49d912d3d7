//! Writes records unencrypted, for people who leave and for other programs.

use std::io::Write;
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Value, json};
use stronghold_sync::{Selection, hex};
use stronghold_vault::Stronghold;
use zeroize::Zeroizing;

use super::get::write_new;
use crate::context::Context;
use crate::error::{About, Failure, path_text, shown};
use crate::output::counted;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plaintext {
    /// An object with all records.
    Json,
    /// A table: location, encoding (`text` or `hex`) and value.
    Csv,
}

/// Writes the records of a selection to a new file that only this user can read.
pub(super) fn export(
    context: &Context,
    stronghold: &Stronghold,
    selection: &Selection,
    output: &Path,
    format: Plaintext,
) -> Result<(), Failure> {
    let mut records = Vec::new();
    for listed in stronghold.list(selection) {
        let at = listed?.location;
        let read = stronghold.read(&at).about(&at)?;
        records.push((at.to_string(), read));
    }
    let bytes = match format {
        Plaintext::Json => {
            let object = |(at, read): &(String, stronghold_vault::ReadResult)| {
                let (name, value) = match std::str::from_utf8(&read.revision.value) {
                    Ok(text) => ("value", text.to_owned()),
                    Err(_) => ("value_hex", hex::text(&read.revision.value)),
                };
                json!({ "location": at, "modified": read.modified, "conflict": read.conflict, name: value })
            };
            let all: Vec<Value> = records.iter().map(object).collect();
            Zeroizing::new(format!("{:#}\n", json!({ "records": all })).into_bytes())
        }
        Plaintext::Csv => {
            let mut table = Zeroizing::new(b"location,encoding,value\n".to_vec());
            for (at, read) in &records {
                let (encoding, value) = match std::str::from_utf8(&read.revision.value) {
                    Ok(text) => ("text", text.to_owned()),
                    Err(_) => ("hex", hex::text(&read.revision.value)),
                };
                let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
                let _ = writeln!(table, "{},{encoding},{}", quoted(at), quoted(&value));
            }
            table
        }
    };
    write_new(output, &bytes)?;
    let conflicts = records.iter().filter(|(_, read)| read.conflict).count() as u64;
    let count = records.len() as u64;
    let object = json!({ "exported": count, "file": path_text(output), "conflicts": conflicts });
    context.output.result(&object, || {
        vec![format!("exported {} to {}, unencrypted", counted(count, "record"), shown(output))]
    })?;
    if conflicts > 0 {
        let count = counted(conflicts, "record");
        context
            .output
            .warning(&format!("warning: {count} in conflict: the file has the newest value of each"));
    }
    context.output.note("hint: anyone who reads the file reads the secrets; delete it when it was used");
    Ok(())
}
