//! `export`: writes a part of the snapshot to a new file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use stronghold_snapshot::now;
use stronghold_snapshot::{Merge, VaultFile};
use stronghold_sync::{Mapping, OnConflict, Selection, escape_untrusted};
use stronghold_vault::Stronghold;

use super::export_kdbx;
use super::export_plain::{self, Plaintext};
use super::init;
use crate::context::{Context, is_taken, selection};
use crate::{
    error::{Failure, Kind, path_text, shown},
    output::counted,
    secrets::{Secret, Source},
};

/// Format of a sealed export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sealed {
    /// Snapshot of Stronghold.
    Stronghold,
    /// KeePass database, KDBX 4.
    Kdbx,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Glob on locations; default: everything.
    pub(crate) selection: Option<String>,
    /// Write the export to FILE, which must not exist.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Seal it in this format.
    #[arg(long, default_value = "stronghold")]
    pub(crate) format: Sealed,
    /// Seal it with the passphrase in the first line of FILE; default: ask for one.
    #[arg(long, value_name = "FILE", conflicts_with = "output_key_file")]
    pub(crate) output_passphrase_file: Option<PathBuf>,
    /// Seal it with the 32-byte key in FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) output_key_file: Option<PathBuf>,
    /// Write the values unencrypted, for other programs.
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["format", "output_passphrase_file", "output_key_file"])]
    pub(crate) plaintext: Option<Plaintext>,
}

pub(super) fn export(context: &Context, args: &ExportArgs) -> Result<(), Failure> {
    match (args.plaintext, args.format) {
        (Some(format), _) => plain(context, args, format),
        (None, Sealed::Stronghold) => sealed(context, args),
        (None, Sealed::Kdbx) => database(context, args),
    }
}

fn database(context: &Context, args: &ExportArgs) -> Result<(), Failure> {
    let (of, output) = (args.selection.as_deref(), args.output.as_path());
    let selection = selection(of)?;
    let home = context.open()?;
    found(home.stronghold(), &selection, of)?;
    if is_taken(output)? {
        return Err(Failure::exists(output));
    }
    let source = Source::of_files(args.output_passphrase_file.as_deref(), args.output_key_file.as_deref());
    match source.new_secret(context.output, output)? {
        Secret::Passphrase(passphrase) => {
            export_kdbx::export(context, home.stronghold(), &selection, output, &passphrase)
        }
        Secret::Key(_) => Err(Failure::usage(
            "KeePass has key files of its own; nothing was written",
            "protect it with a passphrase: --output-passphrase-file, or a prompt",
        )),
    }
}

fn plain(context: &Context, args: &ExportArgs, format: Plaintext) -> Result<(), Failure> {
    let selection = selection(args.selection.as_deref())?;
    let home = context.open()?;
    found(home.stronghold(), &selection, args.selection.as_deref())?;
    export_plain::export(context, home.stronghold(), &selection, &args.output, format)
}

/// Checks that a selection selects something: a misspelt one is no backup.
fn found(stronghold: &Stronghold, selection: &Selection, of: Option<&str>) -> Result<(), Failure> {
    match of {
        Some(text) if stronghold.locations(selection).next().is_none() => {
            let message = format!("nothing matches {}; nothing was exported", escape_untrusted(text));
            Err(Failure::new(Kind::NotFound, message).hint("see `stronghold list`"))
        }
        _ => Ok(()),
    }
}

fn sealed(context: &Context, args: &ExportArgs) -> Result<(), Failure> {
    let (of, output) = (args.selection.as_deref(), args.output.as_path());
    let merge = Merge {
        selection: selection(of)?,
        mapping: Mapping::default(),
        on_conflict: OnConflict::KeepBoth,
        deletions_confirmed: true,
        now: now(),
    };
    let home = context.open()?;
    found(home.stronghold(), &merge.selection, of)?;
    if is_taken(output)? {
        return Err(Failure::exists(output));
    }
    let secret = Source::of_files(args.output_passphrase_file.as_deref(), args.output_key_file.as_deref())
        .new_secret(context.output, output)?;
    let mut exported = init::new_stronghold(home.stronghold().name())?;
    let merged = merge.run(&mut exported, home.stronghold())?;
    let everything = Selection::everything();
    let records = exported.list(&everything).try_fold(0, |count, listed| listed.map(|_| count + 1))?;
    let mut home = VaultFile::create(output, &[secret.new_slot()], exported)?;
    let _ = home.remove_lock(); // nobody is to write to it; a lock that stays is in nobody's way
    let object = json!({ "snapshot": path_text(output), "entries": merged.received, "records": records });
    context
        .output
        .result(&object, || vec![format!("exported {} to {}", counted(records, "record"), shown(output))])
}
