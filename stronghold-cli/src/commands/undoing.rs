//! Going back: old revisions written again, conflicts ended by one, the last command undone, replaced values removed for good.

use serde_json::json;
use stronghold_net::now;
use stronghold_snapshot::Home;
use stronghold_sync::{Location, visible};
use stronghold_vault::Stronghold;

use super::{Context, location, revision, selection};
use crate::error::{Failure, NOT_FOUND};

pub(super) fn restore(context: &Context, at: &str, of: &str) -> Result<(), Failure> {
    write_again(context, at, of, "restored")
}

pub(super) fn resolve(context: &Context, at: &str, keep: &str) -> Result<(), Failure> {
    write_again(context, at, keep, "kept")
}

/// Writes a revision of a record on top of all its heads.
fn write_again(context: &Context, at: &str, of: &str, done: &str) -> Result<(), Failure> {
    let location = location(at)?;
    let mut home = context.open()?;
    let again = revision(&home, &location, of)?;
    let written =
        home.update(|stronghold| stronghold.resolve(&location, &again, now()).map_err(Failure::from))?;
    let object = json!({
        "location": location.to_string(), done: again.to_string(), "revision": written.to_string(),
    });
    context.output.result(&object, Vec::new)
}

pub(super) fn undo(context: &Context) -> Result<(), Failure> {
    let mut home = context.open()?;
    let (before, changed) = last_other(&home)?;
    // What another process changes before the lock is taken is not among these, and stays.
    home.update(|stronghold| {
        changed.iter().try_for_each(|at| stronghold.write_back(at, &before, now())).map_err(Failure::from)
    })?;
    let names: Vec<String> = changed.iter().map(ToString::to_string).collect();
    context.output.result(&json!({ "undone": names }), || {
        changed.iter().map(|at: &Location| format!("as before: {}", visible(&at.to_string()))).collect()
    })
}

/// The newest kept state with other records than now, and which: commands that changed no record are nothing to undo.
fn last_other(home: &Home) -> Result<(Stronghold, Vec<Location>), Failure> {
    for n in 1..=u8::MAX {
        let Some(before) = home.kept(n)? else { break };
        let changed = home.stronghold().changed_since(&before);
        if !changed.is_empty() {
            return Ok((before, changed));
        }
    }
    let message = "there is nothing to undo: no kept generation has other records";
    Err(Failure::new("not_found", NOT_FOUND, message)
        .hint("what a purge or a changed passphrase left behind is gone; see `stronghold history LOCATION`"))
}

pub(super) fn purge(context: &Context, of: Option<&str>) -> Result<(), Failure> {
    let selection = selection(of)?;
    let mut home = context.open()?;
    let purged = home.update_and_forget(|stronghold| Ok::<_, Failure>(stronghold.purge(&selection)))?;
    context.output.result(&json!({ "purged": purged }), || {
        vec![format!("{purged} replaced revisions and the kept generations are gone from this file")]
    })
}
