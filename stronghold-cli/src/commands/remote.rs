//! Connections to a paired device, and the summary of what was done.

use serde_json::{Value, json};
use stronghold_net::{Outcome, Peer, SEARCH_TIME, SharedVault, Way};
use stronghold_sync::escape_untrusted;

use super::progress::shown_name;
use crate::address::to_dial;
use crate::context::Context;
use crate::error::{About, Failure};
use crate::waiting::Waiting;
use clap::Args;

#[derive(Debug, Default, Args)]
pub(crate) struct At {
    /// Dial the device at ADDR; default: its last address, else search the network.
    #[arg(long, value_name = "ADDR", value_parser = to_dial)]
    pub(crate) at: Option<String>,
    #[cfg(feature = "iroh")]
    #[command(flatten)]
    pub(crate) relays: super::relays::RelayArgs,
}

/// Opens a channel to a paired device.
pub(super) async fn reach(
    context: &Context,
    home: &SharedVault,
    peer: &str,
    at: &At,
) -> Result<Peer, Failure> {
    let device = home.lock().stronghold().peers().find(peer).about(&peer)?.0;
    let limit = at.at.is_none().then_some(SEARCH_TIME);
    let _waiting = Waiting::begin(context.output, format!("looking for {}", shown_name(home, peer)), limit);
    #[cfg(feature = "iroh")]
    let reached =
        stronghold_net::dial_across(home, device, at.at.as_deref(), &at.relays.chosen(context)?).await;
    #[cfg(not(feature = "iroh"))]
    let reached = stronghold_net::dial(home, device, at.at.as_deref()).await;
    Ok(reached?)
}

/// Tells the way that a connection took, unless it was the usual one.
pub(super) fn tell_way(context: &Context, way: &Way) {
    match way {
        Way::Direct => context.output.note("note: connected directly, over QUIC"),
        Way::Relay(relay) => {
            context.output.note(&format!("note: connected through the relay {}", escape_untrusted(relay)));
        }
        _ => {}
    }
}

/// Returns the word for a way, and the relay on it.
fn way_words(way: &Way) -> (&'static str, Option<&str>) {
    match way {
        Way::Direct => ("direct", None),
        Way::Relay(relay) => ("relay", Some(relay)),
        _ => ("tcp", None),
    }
}

pub(super) fn report(context: &Context, outcome: &Outcome) -> Result<(), Failure> {
    tell_way(context, &outcome.way);
    context.output.result(&summary_object(outcome, false), || vec![summary_line(outcome, false)])
}

/// Returns the numbers of records received, sent, deleted and in conflict; after a dry run, the
/// planned ones.
pub(super) fn counts(outcome: &Outcome, dry_run: bool) -> [u64; 4] {
    let done = &outcome.summary;
    if dry_run {
        let plan = &outcome.plan;
        return [plan.take.len() as u64, plan.give.len() as u64, plan.deletes_here, plan.conflicts];
    }
    [done.received, done.sent, done.deleted, done.conflicts]
}

pub(super) fn summary_object(outcome: &Outcome, dry_run: bool) -> Value {
    let [received, sent, deleted, conflicts] = counts(outcome, dry_run);
    let mut object = json!({
        "received": received,
        "sent": sent,
        "deleted": deleted,
        "conflicts": conflicts,
        "unchanged": outcome.summary.unchanged,
        "bytes_in": outcome.bytes_in,
        "bytes_out": outcome.bytes_out,
        "round_trips": outcome.summary.round_trips,
    });
    if cfg!(feature = "iroh") {
        let (way, relay) = way_words(&outcome.way);
        object["way"] = way.into();
        if let Some(relay) = relay {
            object["relay"] = relay.into();
        }
    }
    object
}

pub(super) fn summary_line(outcome: &Outcome, dry_run: bool) -> String {
    let [received, sent, deleted, conflicts] = counts(outcome, dry_run);
    let would = if dry_run { "would have " } else { "" };
    format!(
        "{would}received {received}, sent {sent}, deleted {deleted}, {conflicts} in conflict, {} unchanged; {} bytes in, {} out",
        outcome.summary.unchanged, outcome.bytes_in, outcome.bytes_out,
    )
}
