//! `remove`: deletes records.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;
use stronghold_snapshot::now;
use stronghold_sync::Location;
use stronghold_vault::{Stronghold, WriteError};

use super::changes::{Change, Changes};
use crate::context::{Context, location};
use crate::error::{About, Failure};
use crate::output::{Output, counted};
use crate::{names, nearest};

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Records to delete, each as CLIENT/VAULT/RECORD, or as a glob such as 'wallet/old/*'.
    #[arg(required = true, value_name = "LOCATION")]
    locations: Vec<String>,
    /// Show what would be done, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn remove(context: &Context, args: &RemoveArgs) -> Result<(), Failure> {
    let mut home = context.open()?;
    let records = named(home.stronghold(), &args.locations)?;
    let mut changes = Changes::default();
    records.iter().for_each(|at| changes.add(at.clone(), Change::Deleted));
    let object = json!({ "records": changes.object() });
    if args.dry_run {
        return context.output.result(&object, || lines("would remove", &changes, context.output));
    }
    if records.len() > 1 {
        if !context.output.is_json() && !context.global.yes {
            changes.lines(context.output).for_each(|line| context.output.note(&line));
        }
        context.confirm(&format!("Remove {}?", counted(records.len() as u64, "record")))?;
    }
    home.update_as(|stronghold| {
        records.iter().try_for_each(|at| stronghold.remove(at, now()).about(at).map(|_| ()))
    })?;
    context.output.result(&object, || lines("removed", &changes, context.output))
}

fn lines(done: &str, changes: &Changes, output: Output) -> Vec<String> {
    let title = format!("{done} {}", counted(changes.len() as u64, "record"));
    std::iter::once(title).chain(changes.lines(output)).collect()
}

/// Returns the records that are named, and those that globs match. Each argument names at least
/// one: a misspelt one removes nothing.
fn named(stronghold: &Stronghold, arguments: &[String]) -> Result<BTreeSet<Location>, Failure> {
    let mut records = BTreeSet::new();
    for argument in arguments {
        let exact = argument.parse::<Location>().ok().filter(|at| stronghold.contains(at));
        if let Some(at) = exact {
            records.insert(at);
        } else if names::is_glob(argument) {
            records.extend(names::matching(stronghold, argument)?);
        } else {
            let at = location(argument)?;
            return nearest::found(stronghold, &at, Err(WriteError::NotFound));
        }
    }
    Ok(records)
}
