//! `put`: writes a record.

mod fields;

use std::io::IsTerminal;

use serde_json::{Value, json};
use stronghold_snapshot::{Access, now};
use stronghold_sync::{Location, RevisionId, Selection, escape_untrusted};
use stronghold_vault::{Labels, ReadError, ReadResult, Stronghold};
use zeroize::Zeroizing;

use crate::context::{Context, location};
use crate::{
    error::{About, Failure, Kind},
    lookalike,
    output::counted,
    secrets::{self, Recipe},
};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Record to write, as CLIENT/VAULT/RECORD.
    pub(super) location: String,
    /// Write a login: these fields of LOCATION, such as username,password,url, each from a prompt
    /// or a line of stdin. A generated value is the field `password`.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "file")]
    pub(super) fields: Vec<String>,
    /// Read the value from FILE; `-` is stdin.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["generate", "words", "alphabet"])]
    pub(crate) file: Option<PathBuf>,
    /// Generate LEN characters (default: 24, of 6 bits each), without printing them.
    #[arg(
        short,
        long,
        value_name = "LEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    generate: Option<String>,
    /// Generate words, 6 or as many as --generate=LEN says (13 bits each).
    #[arg(short, long)]
    words: bool,
    /// Generate these characters, such as 'a-zA-Z0-9!?': of each range one occurs at least.
    #[arg(long, value_name = "CHARS", conflicts_with = "words")]
    alphabet: Option<String>,
    /// Write the value even if it is empty.
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Write it even if its name looks like that of another record.
    #[arg(long)]
    pub(crate) allow_lookalike: bool,
}

impl PutArgs {
    /// Returns the form of the value to generate, if one is to be generated.
    ///
    /// # Errors
    /// Describes the invalid length or alphabet.
    pub(crate) fn recipe(&self) -> Result<Option<Recipe>, String> {
        if self.generate.is_none() && !self.words && self.alphabet.is_none() {
            return Ok(None);
        }
        let length = self.generate.as_deref().unwrap_or_default();
        Recipe::parse(length, self.words, self.alphabet.as_deref()).map(Some)
    }
}

pub(super) fn put(context: &Context, args: &PutArgs) -> Result<(), Failure> {
    let recipe = args
        .recipe()
        .map_err(|wrong| Failure::usage(wrong, "for example: put wallet/web/mail --generate=24"))?;
    if !args.fields.is_empty() {
        return fields::put(context, args, recipe);
    }
    let location = location(&args.location)?;
    let mut home = context.open_at(std::slice::from_ref(&location), Access::Write)?;
    if !args.allow_lookalike {
        no_lookalike(home.stronghold(), &location)?;
    }
    let value = match recipe {
        Some(recipe) => Zeroizing::new(recipe.generate()?.as_bytes().to_vec()),
        None => secrets::value(args.file.as_deref(), &location)?,
    };
    // `echo` without text writes a lone line end.
    if [&b""[..], b"\n", b"\r\n"].contains(&&**value) && !args.allow_empty {
        not_empty(context, &location, args.file.is_none() && std::io::stdin().is_terminal())?;
    }
    let (before, revision) = home.update_as::<_, Failure>(|stronghold| {
        let before = stronghold.read(&location).ok();
        Ok((before, stronghold.write(&location, &value, Labels::new(), now()).about(&location)?))
    })?;
    let object = object(&location, &value, before.as_ref(), &revision);
    if !context.output.is_json() {
        tell(context, &location, before.as_ref());
    }
    context.output.result(&object, Vec::new)
}

/// Returns what was written, for `--json`.
pub(super) fn object(
    location: &Location,
    value: &[u8],
    before: Option<&ReadResult>,
    revision: &RevisionId,
) -> Value {
    json!({
        "location": location.to_string(), "revision": revision.to_string(), "size": value.len(),
        "replaced": before.map(|before| before.revision.value.len()),
    })
}

/// Tells that a value was replaced, and to a person at a terminal that one was written.
pub(super) fn tell(context: &Context, location: &Location, before: Option<&ReadResult>) {
    let at = escape_untrusted(&location.to_string());
    match before {
        Some(before) if before.conflict => context
            .output
            .note(&format!("replaced the values of {at}, which was in conflict (`stronghold undo`)")),
        Some(before) => {
            let size = counted(before.revision.value.len() as u64, "byte");
            context.output.note(&format!("replaced {at} (was {size}, `stronghold undo`)"));
        }
        None if context.output.shows_progress() => context.output.note(&format!("wrote {at}")),
        None => {}
    }
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
