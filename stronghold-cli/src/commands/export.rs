//! `export`: writes a part of the snapshot to a new file.

use std::path::Path;

use serde_json::json;
use stronghold_snapshot::now;
use stronghold_snapshot::{Merge, VaultFile};
use stronghold_sync::{Mapping, OnConflict, Selection, escape_untrusted};
use stronghold_vault::Stronghold;

use super::export_plain::{self, Plaintext};
use super::init;
use crate::context::{Context, is_taken, selection};
use crate::{
    error::{Failure, Kind, path_text, shown},
    output::counted,
    secrets::Source,
};

/// Exports unencrypted.
pub(super) fn plain(
    context: &Context,
    of: Option<&str>,
    output: &Path,
    format: Plaintext,
) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = context.open()?;
    found(home.stronghold(), &selection, of)?;
    export_plain::export(context, home.stronghold(), &selection, output, format)
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

pub(super) fn export(
    context: &Context,
    of: Option<&str>,
    output: &Path,
    (passphrase_file, key_file): (Option<&Path>, Option<&Path>),
) -> Result<(), Failure> {
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
    let secret = Source::of_files(passphrase_file, key_file).new_secret(output)?;
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
