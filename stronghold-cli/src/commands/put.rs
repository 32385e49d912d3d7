//! `put`: writes a record.

use std::io::IsTerminal;

use serde_json::json;
use stronghold_snapshot::now;
use stronghold_sync::{Location, Selection, escape_untrusted};
use stronghold_vault::{Labels, ReadError, Stronghold};

use crate::context::{Context, location};
use crate::{
    error::{About, Failure, Kind},
    lookalike, secrets,
};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Record to write, as CLIENT/VAULT/RECORD.
    #[arg(required_unless_present = "generate")]
    location: Option<String>,
    /// Read the value from FILE; `-` is stdin.
    #[arg(short, long, value_name = "FILE", conflicts_with = "generate")]
    pub(crate) file: Option<PathBuf>,
    /// Generate LEN letters, digits, `-` and `_` (6 bits each; default: 24), without printing them.
    #[arg(long, value_name = "LEN", num_args = 0..=1, default_missing_value = "24")]
    generate: Option<String>,
    /// Write the value even if it is empty.
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Write it even if its name looks like that of another record.
    #[arg(long)]
    pub(crate) allow_lookalike: bool,
}

impl PutArgs {
    /// Returns the record, and the length of the value to generate for it. An argument of
    /// `--generate` that is not a number is the record.
    ///
    /// # Errors
    /// Describes the missing record or the invalid length.
    pub(crate) fn record_and_length(&self) -> Result<(&str, Option<u16>), String> {
        let length = |text: &str| {
            let range = 1..=MAX_GENERATED;
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("--generate {text}: a length is a number from 1 to {MAX_GENERATED}"))
        };
        match (&self.location, &self.generate) {
            (Some(location), None) => Ok((location, None)),
            (Some(location), Some(text)) => Ok((location, Some(length(text)?))),
            (None, Some(text)) if text.parse::<u64>().is_err() => Ok((text, Some(GENERATED))),
            (None, _) => Err("no record is named".into()),
        }
    }
}

/// Default and maximum length of a generated value.
const GENERATED: u16 = 24;

const MAX_GENERATED: u16 = 4096;

pub(super) fn put(context: &Context, args: &PutArgs) -> Result<(), Failure> {
    let (record, length) = args
        .record_and_length()
        .map_err(|wrong| Failure::usage(wrong, "for example: put wallet/web/mail --generate 24"))?;
    let location = location(record)?;
    let mut home = context.open()?;
    if !args.allow_lookalike {
        no_lookalike(home.stronghold(), &location)?;
    }
    let value = match length {
        Some(len) => secrets::generate(len)?,
        None => secrets::value(args.file.as_deref())?,
    };
    // `echo` without text writes a lone line end.
    if [&b""[..], b"\n", b"\r\n"].contains(&&**value) && !args.allow_empty {
        not_empty(context, &location, args.file.is_none() && std::io::stdin().is_terminal())?;
    }
    let revision = home
        .update_as(|stronghold| stronghold.write(&location, &value, Labels::new(), now()).about(&location))?;
    let object = json!({
        "location": location.to_string(), "revision": revision.to_string(), "size": value.len(),
    });
    context.output.result(&object, Vec::new)
}

/// Refuses a new record whose name looks like an existing one.
pub(super) fn no_lookalike(stronghold: &Stronghold, location: &Location) -> Result<(), Failure> {
    if !matches!(stronghold.read(location), Err(ReadError::NotFound)) {
        return Ok(());
    }
    let Some(twin) = lookalike::of(location, stronghold.locations(&Selection::everything())) else {
        return Ok(());
    };
    let (new, twin) = (lookalike::told(location), lookalike::told(&twin));
    let message = format!("{new} looks like a name in {twin}, which is there; nothing was changed");
    Err(Failure::new(Kind::Lookalike, message)
        .hint("write to that name; if the new one is meant to look alike, say --allow-lookalike"))
}

/// Refuses an empty value, which a failed producer pipes too; asks if it was typed.
pub(super) fn not_empty(context: &Context, location: &Location, typed: bool) -> Result<(), Failure> {
    let at = escape_untrusted(&location.to_string());
    if typed {
        return context.confirm(&format!("The value is empty. Write nothing to {at}?"));
    }
    Err(Failure::new(Kind::Empty, format!("the value for {at} is empty; nothing was changed"))
        .hint("did the command that makes it fail? If it is meant to be empty, say --allow-empty"))
}
