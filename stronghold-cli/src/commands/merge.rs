//! `merge`: takes the records of another snapshot file.

use serde_json::{Value, json};
use stronghold_snapshot::now;
use stronghold_snapshot::{Merge, Merged, VaultFile};
use stronghold_sync::{Mapping, OnConflict};

use super::changes::{self, Changes};
use super::conflicts::Standing;
use crate::context::{Context, is_there, selections};
use crate::{error::Failure, secrets::Source, shown};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Snapshot to merge from.
    pub(crate) file: PathBuf,
    /// Merge only matching locations of the other snapshot; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Rename a client or vault on arrival; may be repeated.
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) map: Vec<String>,
    /// Choose what happens to conflicts.
    #[arg(long, default_value = "keep-both")]
    pub(crate) on_conflict: Conflict,
    /// Show what would be done, and change nothing.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Go on even if that deletes many records.
    #[arg(long)]
    pub(crate) confirm_deletions: bool,
    /// Read the other snapshot's passphrase from the first line of FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "other_key_file")]
    pub(crate) other_passphrase_file: Option<PathBuf>,
    /// Unlock the other snapshot with the 32-byte key in FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) other_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Conflict {
    KeepBoth,
    KeepLocal,
    TakeOther,
}

pub(super) fn merge(context: &Context, args: &MergeArgs) -> Result<(), Failure> {
    let merge = Merge {
        selection: selections(&args.select)?,
        mapping: mapping(&args.map)?,
        on_conflict: match args.on_conflict {
            Conflict::KeepBoth => OnConflict::KeepBoth,
            Conflict::KeepLocal => OnConflict::KeepLocal,
            Conflict::TakeOther => OnConflict::TakeOther,
        },
        deletions_confirmed: args.confirm_deletions || args.dry_run,
        now: now(),
    };
    let mut home = context.open()?;
    if !is_there(&args.file)? {
        return Err(
            Failure::no_snapshot(&args.file).hint("nothing was changed; check the name of the other file")
        );
    }
    let files = (args.other_passphrase_file.as_deref(), args.other_key_file.as_deref());
    let source = Source::of_files(files.0, files.1);
    let other = source.open(&args.file, |unlock| {
        let _waiting = context.waiting(format!("opening {}", shown(&args.file)));
        VaultFile::open_within(&args.file, unlock, &context.limits())
    })?;
    if other.is_torn() {
        let file = shown(&args.file);
        let warning =
            format!("warning: {file} ends in a change that is not whole; what is before it is merged");
        context.output.warning(&warning);
    }
    let waiting = context.waiting(format!("merging {}", shown(&args.file)));
    let plan = merge.plan(home.stronghold(), other.stronghold());
    // Commits no new generation if there is nothing to take.
    let (merged, changes) = match plan.is_empty() {
        true => (Merged::from(&plan), Changes::default()),
        false => changes::apply(&mut home, args.dry_run, |stronghold| {
            merge.run(stronghold, other.stronghold()).map_err(Failure::from)
        })?,
    };
    drop(waiting);
    let mut object = object(&merged, &changes);
    let conflicts = Standing::beside(home.stronghold(), merged.conflicts, args.dry_run)?;
    object["conflicts_standing"] = conflicts.standing.into();
    context.output.result(&object, || {
        let first = std::iter::once(line(&merged, args.dry_run));
        first.chain(changes.lines(context.output)).collect()
    })?;
    conflicts.tell(context);
    if args.dry_run && plan.needs_confirmation() && !args.confirm_deletions {
        context.output.note("hint: that many deletions are done only with --confirm-deletions");
    }
    Ok(())
}

pub(super) fn mapping(rules: &[String]) -> Result<Mapping, Failure> {
    let mut mapping = Mapping::default();
    for rule in rules {
        mapping
            .add(rule)
            .map_err(|error| Failure::usage(error.to_string(), "for example: --map wallet=purse"))?;
    }
    Ok(mapping)
}

pub(super) fn object(merged: &Merged, changes: &Changes) -> Value {
    json!({
        "received": merged.received,
        "sent": 0,
        "deleted": merged.deleted,
        "conflicts": merged.conflicts,
        "unchanged": merged.unchanged,
        "records": changes.object(),
    })
}

pub(super) fn line(merged: &Merged, dry_run: bool) -> String {
    let Merged { received, deleted, conflicts, unchanged } = merged;
    let what = if dry_run { "would receive" } else { "received" };
    format!("{what} {received}, deleted {deleted}, {conflicts} in conflict, {unchanged} unchanged")
}
