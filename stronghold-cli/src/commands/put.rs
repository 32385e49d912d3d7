//! `put`: writes a record.

use std::io::IsTerminal;

use serde_json::json;
use stronghold_net::now;
use stronghold_sync::{Location, Selection, escape_untrusted};
use stronghold_vault::{Labels, ReadError, Stronghold};

use crate::context::{Context, location};
use crate::{
    args::PutArgs,
    error::{About, DECISION, Failure},
    lookalike, secrets,
};

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
    let revision =
        home.update(|stronghold| stronghold.write(&location, &value, Labels::new(), now()).about(&location))?;
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
    let there = stronghold.list(&Selection::everything())?;
    let Some(twin) = lookalike::of(location, there.iter().map(|entry| &entry.location)) else {
        return Ok(());
    };
    let (new, twin) = (lookalike::told(location), lookalike::told(twin));
    let message = format!("{new} looks like a name in {twin}, which is there; nothing was changed");
    Err(Failure::new("lookalike", DECISION, message)
        .hint("write to that name; if the new one is meant to look alike, say --allow-lookalike"))
}

/// Refuses an empty value, which a failed producer pipes too; asks if it was typed.
pub(super) fn not_empty(context: &Context, location: &Location, typed: bool) -> Result<(), Failure> {
    let at = escape_untrusted(&location.to_string());
    if typed {
        return context.confirm(&format!("The value is empty. Write nothing to {at}?"));
    }
    Err(Failure::new("empty", DECISION, format!("the value for {at} is empty; nothing was changed"))
        .hint("did the command that makes it fail? If it is meant to be empty, say --allow-empty"))
}
