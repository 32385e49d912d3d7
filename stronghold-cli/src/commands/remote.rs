//! Imports everything from a peer (`clone`), lists its records (`browse`), and takes single ones
//! (`fetch`).

use std::io::{BufRead, Read, Write};

use serde_json::{Value, json};
use stronghold_net::{HostError, Outcome, Peer, PeerError, PlanDecision, SharedVault, pairing::Paired};
use stronghold_sync::{
    Location, MAX_PATTERNS, Selection, escape_untrusted, message::Listing, session::SessionError,
};
use stronghold_vault::{ReadError, check_given_name};
use tokio::net::TcpStream;

use super::{
    Context, host_name, is_taken, local, location,
    pairing::{Granted, Me, join, settled_on_both, told},
    progress::Progress,
    runtime, selection, selections,
};
use crate::{
    args::{At, Grants},
    error::{About, Failure, NOT_FOUND},
    secrets,
};

pub(super) fn clone(
    context: &Context,
    peer: Option<String>,
    joined: Option<Option<String>>,
    name: Option<String>,
    grants: &Grants,
    at: &At,
    only: &[String],
) -> Result<(), Failure> {
    let selection = selections(only)?;
    let granted = Granted::parse(context, grants)?;
    name.as_deref().map_or(Ok(()), check_given_name)?;
    match (peer, joined) {
        (Some(peer), _) => {
            let home = SharedVault::new(context.open()?);
            runtime()?
                .block_on(async { import(context, &home, reach(&home, &peer, at).await?, selection).await })
        }
        (None, address) => {
            let address = address.flatten();
            let path = context.path()?;
            if is_taken(&path)? {
                return Err(Failure::exists(&path));
            }
            let secret = secrets::of_new_snapshot(&context.global)?;
            context.make_default_folder(&path)?;
            let mut stronghold = local::new_stronghold(&host_name())?;
            runtime()?.block_on(async {
                let me = Me::new(&stronghold)?;
                let (mut paired, address) = join(context, &me, address.as_deref()).await?;
                let save = |paired: &Paired<TcpStream>| {
                    let name = paired.save_in(&mut stronghold, name.as_deref(), Some(address));
                    granted.add_for(&mut stronghold, paired.peer.device());
                    Ok::<_, Failure>((context.create(&path, &secret, stronghold)?, name))
                };
                // Only the listener undoes a saved pairing.
                let ((home, name), settled) = paired.settle(save, |_| Ok(())).await?;
                settled_on_both(&name, settled)?;
                let home = SharedVault::new(home);
                if !context.output.is_json() {
                    told(context, &paired, &name, &grants.grant)?;
                }
                import(context, &home, Peer::from_channel(paired.channel, &home), selection).await
            })
        }
    }
}

async fn import(
    context: &Context,
    home: &SharedVault,
    peer: Peer<TcpStream>,
    selection: Selection,
) -> Result<(), Failure> {
    let mut progress = Progress::new(context.output, home, PlanDecision::Proceed);
    let outcome = peer.import(selection, &mut progress).await.map_err(unplanned)?;
    report(context, &outcome)
}

/// Converts the error of a command that makes no plan first: its hint names the command that does.
fn unplanned(error: PeerError) -> Failure {
    match error {
        PeerError::Session(SessionError::Deletions) | PeerError::Host(HostError::Deletions) => Failure::from(
            SessionError::Deletions,
        )
        .hint("`stronghold sync PEER --pull --take` shows it with --dry-run, and takes --confirm-deletions"),
        other => other.into(),
    }
}

pub(super) fn browse(context: &Context, peer: &str, of: Option<&str>, at: &At) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = SharedVault::new(context.open()?);
    let found = runtime()?.block_on(found_at(context, &home, peer, selection, at))?;
    local::print_listing(context, &found)
}

/// Returns the entries that a peer lets this device list.
async fn found_at(
    context: &Context,
    home: &SharedVault,
    peer: &str,
    selection: Selection,
    at: &At,
) -> Result<Vec<Listing>, Failure> {
    let mut progress = Progress::new(context.output, home, PlanDecision::Proceed);
    Ok(reach(home, peer, at).await?.browse(selection, &mut progress).await?.found)
}

pub(super) fn fetch(
    context: &Context,
    peer: &str,
    locations: &[String],
    pick: bool,
    at: &At,
) -> Result<(), Failure> {
    let mut locations = locations.iter().map(|text| location(text)).collect::<Result<Vec<Location>, _>>()?;
    let home = SharedVault::new(context.open()?);
    runtime()?.block_on(async {
        if pick {
            locations = picked(found_at(context, &home, peer, Selection::everything(), at).await?)?;
        }
        if !(1..=MAX_PATTERNS).contains(&locations.len()) {
            let message = format!("{} records were picked; nothing was changed", locations.len());
            return Err(Failure::usage(
                message,
                format!("pick 1 to {MAX_PATTERNS} at a time, or use sync --select"),
            ));
        }
        let selection = Selection::of_locations(&locations);
        if !selection.is_within_limits() {
            return Err(Failure::usage(
                "the names of these records are too long for one request; nothing was changed",
                "pick fewer at a time, or use sync --select",
            ));
        }
        let mut progress = Progress::new(context.output, &home, PlanDecision::Proceed);
        let outcome =
            reach(&home, peer, at).await?.fetch(selection, &mut progress).await.map_err(unplanned)?;
        let missing = |location: &&Location| {
            matches!(home.lock().stronghold().read(location), Err(ReadError::NotFound))
        };
        let missing: Vec<String> = locations
            .iter()
            .filter(missing)
            .map(|location| escape_untrusted(&location.to_string()))
            .collect();
        report(context, &outcome)?;
        if missing.is_empty() {
            return Ok(());
        }
        let message =
            format!("the peer has no {}, or does not permit it; the others were fetched", missing.join(", "));
        Err(Failure::new("not_found", NOT_FOUND, message).hint("see `stronghold browse PEER`"))
    })
}

/// Lists the entries with numbers, and reads the numbers to fetch: a line from the terminal or
/// stdin.
fn picked(found: Vec<Listing>) -> Result<Vec<Location>, Failure> {
    let mut err = std::io::stderr().lock();
    let mut shown =
        (1..).zip(&found).map(|(number, entry)| (number, escape_untrusted(&entry.location.to_string())));
    let written = shown.try_for_each(|(number, name): (u32, String)| writeln!(err, "{number:>5}  {name}"));
    written.and_then(|()| write!(err, "Numbers to fetch: ")).map_err(|error| Failure::terminal(&error))?;
    let mut line = String::new();
    std::io::stdin().lock().take(1 << 16).read_line(&mut line).map_err(|error| Failure::terminal(&error))?;
    chosen(&found, &line)
}

/// Returns the locations of the listed numbers.
fn chosen(found: &[Listing], line: &str) -> Result<Vec<Location>, Failure> {
    let pick = |text: &str| {
        let index = text.parse::<usize>().ok()?.checked_sub(1)?;
        Some(found.get(index)?.location.clone())
    };
    let numbers = line.split([' ', ',', '\n']).filter(|text| !text.is_empty());
    let wrong = || Failure::usage("that is no number of the list", "for example: 1 4 7; nothing was changed");
    numbers.map(|text| pick(text).ok_or_else(wrong)).collect()
}

/// Opens a channel to a paired device.
pub(super) async fn reach(home: &SharedVault, peer: &str, at: &At) -> Result<Peer<TcpStream>, Failure> {
    let device = home.lock().stronghold().peers().find(peer).about(&peer)?.0;
    Ok(stronghold_net::dial(home, device, at.at.as_deref()).await?)
}

fn report(context: &Context, outcome: &Outcome) -> Result<(), Failure> {
    context.output.result(&summary_object(outcome, false), || vec![summary_line(outcome, false)])
}

/// Returns the numbers of records received, sent, deleted and in conflict; after a dry run, the
/// planned ones.
fn counts(outcome: &Outcome, dry_run: bool) -> [u64; 4] {
    let done = &outcome.summary;
    match outcome.plan.as_ref().filter(|_| dry_run) {
        Some(plan) => [plan.take.len() as u64, plan.give.len() as u64, plan.deletes_here, plan.conflicts],
        None => [done.received, done.sent, done.deleted, done.conflicts],
    }
}

pub(super) fn summary_object(outcome: &Outcome, dry_run: bool) -> Value {
    let [received, sent, deleted, conflicts] = counts(outcome, dry_run);
    json!({
        "received": received,
        "sent": sent,
        "deleted": deleted,
        "conflicts": conflicts,
        "unchanged": outcome.summary.unchanged,
        "bytes_in": outcome.bytes_in,
        "bytes_out": outcome.bytes_out,
        "round_trips": outcome.summary.round_trips,
    })
}

pub(super) fn summary_line(outcome: &Outcome, dry_run: bool) -> String {
    let [received, sent, deleted, conflicts] = counts(outcome, dry_run);
    let would = if dry_run { "would have " } else { "" };
    format!(
        "{would}received {received}, sent {sent}, deleted {deleted}, {conflicts} in conflict, {} unchanged; {} bytes in, {} out",
        outcome.summary.unchanged, outcome.bytes_in, outcome.bytes_out,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_list_are_picked_in_their_order() {
        let listing = |name: &str| Listing {
            location: name.parse().unwrap(),
            revision: stronghold_sync::RevisionId::from_bytes([1; 32]),
            size: 1,
            modified: 1,
            conflict: false,
        };
        let found = ["a/v/1", "a/v/2", "a/v/3"].map(listing);
        let picked = |line: &str| {
            let chosen = chosen(&found, line).map_err(|failure| failure.exit)?;
            Ok::<_, u8>(chosen.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(picked("3 1\n"), Ok(vec!["a/v/3".into(), "a/v/1".into()]));
        assert_eq!(picked(" 1,2,,  3\n"), Ok(vec!["a/v/1".into(), "a/v/2".into(), "a/v/3".into()]));
        assert_eq!(picked("\n"), Ok(vec![]));
        for wrong in ["0\n", "4\n", "1 x\n", "-1\n"] {
            assert_eq!(picked(wrong), Err(crate::error::USAGE), "{wrong}");
        }
    }
}
