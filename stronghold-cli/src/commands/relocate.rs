//! `move` and `copy`: write records under other names, with their histories.

use clap::Args;
use serde_json::json;
use stronghold_snapshot::now;
use stronghold_sync::{Location, escape_untrusted};
use stronghold_vault::{Stronghold, WriteError};

use super::changes;
use super::put::no_lookalike;
use crate::context::{Context, location};
use crate::error::{About, Failure};
use crate::names;
use crate::output::counted;

#[derive(Debug, Args)]
pub(crate) struct RelocateArgs {
    /// Record, or the beginning of the names of several, such as CLIENT/VAULT/TITLE.
    from: String,
    /// New name; one that ends with `/` gets the last part of the old name.
    to: String,
    /// Show what would be done, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Take a name even if it looks like that of another record.
    #[arg(long)]
    allow_lookalike: bool,
}

/// The fate of the records under their old names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Move,
    Copy,
}

pub(super) fn relocate(context: &Context, args: &RelocateArgs, kind: Kind) -> Result<(), Failure> {
    let mut home = context.open()?;
    let work = |stronghold: &mut Stronghold| {
        let pairs = pairs(stronghold, &args.from, &args.to)?;
        for (from, to) in &pairs {
            if !args.allow_lookalike {
                no_lookalike(stronghold, to)?;
            }
            stronghold.copy(from, to, now()).map_err(|error| refused(error, from, to))?;
            if kind == Kind::Move {
                stronghold.remove(from, now()).about(from)?;
            }
        }
        Ok(pairs)
    };
    let (pairs, changes) = changes::apply(&mut home, args.dry_run, work)?;
    let moved: Vec<_> =
        pairs.iter().map(|(from, to)| json!({ "from": from.to_string(), "to": to.to_string() })).collect();
    let (would, done) = match kind {
        Kind::Move => ("would move", "moved"),
        Kind::Copy => ("would copy", "copied"),
    };
    let done = if args.dry_run { would } else { done };
    context.output.result(&json!({ "pairs": moved, "records": changes.object() }), || {
        let title = format!("{done} {}", counted(pairs.len() as u64, "record"));
        std::iter::once(title).chain(changes.lines(context.output)).collect()
    })
}

/// Returns the records with their new locations: the record called `from`, else all whose names
/// begin with it.
fn pairs(stronghold: &Stronghold, from: &str, to: &str) -> Result<Vec<(Location, Location)>, Failure> {
    let bare = from.trim_end_matches('/');
    let to = match to.strip_suffix('/') {
        Some(folder) => format!("{folder}/{}", bare.rsplit('/').next().unwrap_or(bare)),
        None => to.to_owned(),
    };
    if to == bare || to.starts_with(&format!("{bare}/")) {
        let why = if to == bare { "is the old name" } else { "is below the old name" };
        let message = format!("{} {why}; nothing was changed", escape_untrusted(&to));
        return Err(Failure::usage(message, "name another place"));
    }
    let named = names::named(stronghold, from)?;
    let renamed = |at: Location| {
        let rest = at.to_string();
        let new = location(&format!("{to}{}", rest.strip_prefix(bare).unwrap_or_default()))?;
        Ok((at, new))
    };
    named.into_iter().map(renamed).collect()
}

fn refused(error: WriteError, from: &Location, to: &Location) -> Failure {
    let at = if error == WriteError::Exists { to } else { from };
    Failure::from(error).about(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_record_that_it_is_about() {
        let (from, to) = ("a/b/from".parse().unwrap(), "a/b/to".parse().unwrap());
        let refused = |error| refused(error, &from, &to).message;
        assert!(refused(WriteError::Exists).contains("a/b/to"));
        assert!(!refused(WriteError::Exists).contains("a/b/from"));
        assert!(refused(WriteError::NotFound).contains("a/b/from"));
    }
}
