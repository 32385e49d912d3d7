//! `browse`: lists the records of a paired device.

use stronghold_net::{PlanDecision, SharedVault};
use stronghold_sync::{Selection, message::Listing};

use super::remote::{reach, tell_way};
use super::{list, progress::Progress};
use crate::commands::remote::At;
use crate::context::{Context, runtime, selection};
use crate::error::Failure;

pub(super) fn browse(context: &Context, peer: &str, of: Option<&str>, at: &At) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = SharedVault::new(context.open()?);
    let found = runtime()?.block_on(found_at(context, &home, peer, selection, at))?;
    let locations = || found.iter().map(|entry| entry.location.clone());
    list::print_records(context, locations, found.iter().cloned().map(|entry| Ok(entry.into())))
}

/// Returns the entries that a peer lets this device list.
pub(super) async fn found_at(
    context: &Context,
    home: &SharedVault,
    peer: &str,
    selection: Selection,
    at: &At,
) -> Result<Vec<Listing>, Failure> {
    let reached = reach(context, home, peer, at).await?;
    tell_way(context, &reached.way());
    let mut progress = Progress::new(context.output, home, peer, PlanDecision::Proceed);
    reached.browse(selection, &mut progress).await.map_err(|error| progress.explain(error))
}
