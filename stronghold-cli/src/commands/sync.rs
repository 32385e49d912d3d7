//! Synchronises what the rules of both sides cover. Entries that wait for a rule are named, and
//! taken only after a confirmation.

mod by_mailbox;
mod session;
mod skipped;

use serde_json::Value;
use stronghold_net::{Beyond, Direction, PlanDecision, SharedVault, SyncRequest};
use stronghold_sync::escape_untrusted;

use self::{by_mailbox::through_mailbox, session::Session};
use super::mailbox;
use crate::commands::remote::At;
use crate::context::{Context, runtime, selections};
use crate::{
    error::{Failure, Kind},
    output::counted,
};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Device's name here, or the beginning of its id; default: the only paired device.
    pub(crate) peer: Option<String>,
    /// Synchronise with every paired device, one after the other.
    #[arg(long, conflicts_with_all = ["peer", "at"])]
    pub(crate) all: bool,
    /// Synchronise only matching locations; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Receive only.
    #[arg(long)]
    pub(crate) pull: bool,
    /// Send only (with --pull: both ways, and fail if either is not permitted).
    #[arg(long)]
    pub(crate) push: bool,
    /// Also take changes that no rule here permits, after asking (--yes: without asking).
    #[arg(long)]
    pub(crate) take: bool,
    /// Show what would be done, and change nothing.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Show what would be done, and ask whether to do it.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) review: bool,
    /// Go on even if that deletes or empties many records, here or there.
    #[arg(long)]
    pub(crate) confirm_deletions: bool,
    /// Exchange through the device's mailbox; without PEER, through each mailbox.
    #[arg(long, conflicts_with_all = ["all", "at", "select", "pull", "push", "take", "dry_run", "review"])]
    pub(crate) mailbox: bool,
    #[command(flatten)]
    pub(crate) at: At,
}

impl SyncArgs {
    /// Returns whether a mailbox could do the same, where the device is not reached.
    fn is_plain(&self) -> bool {
        let is_other = self.pull || self.push || self.take || self.dry_run || self.review;
        !is_other && self.select.is_empty() && self.at.at.is_none()
    }
}

pub(super) fn sync(context: &Context, args: &SyncArgs) -> Result<(), Failure> {
    let ways = match (args.pull, args.push) {
        (false, false) => Direction::Default,
        (true, false) => Direction::Pull,
        (false, true) => Direction::Push,
        (true, true) => Direction::Both,
    };
    let request = SyncRequest::new(selections(&args.select)?, ways);
    let home = SharedVault::new(context.open()?);
    runtime()?.block_on(async {
        if args.mailbox {
            return through_mailboxes(context, args, &home).await;
        }
        if args.all {
            return with_all(context, args, &home, &request).await;
        }
        let peer = args.peer.clone().map_or_else(|| only_peer(&home), Ok)?;
        with_one(context, args, &home, &peer, request).await
    })
}

/// Synchronises with each paired device.
async fn with_all(
    context: &Context,
    args: &SyncArgs,
    home: &SharedVault,
    request: &SyncRequest,
) -> Result<(), Failure> {
    let known = paired(home);
    if known.is_empty() {
        return Err(no_peer());
    }
    with_each(context, known, async |device| with_one(context, args, home, device, request.clone()).await)
        .await
}

/// Exchanges through the mailbox of the named device, or of each that has one.
async fn through_mailboxes(context: &Context, args: &SyncArgs, home: &SharedVault) -> Result<(), Failure> {
    if let Some(peer) = &args.peer {
        return through_mailbox(context, home, peer, args.confirm_deletions).await;
    }
    let known: Vec<(String, String)> = {
        let home = home.lock();
        let all = mailbox::all(home.stronghold()).into_iter();
        all.map(|(device, name)| (device.to_string(), name)).collect()
    };
    match known.as_slice() {
        [] => Err(Failure::new(Kind::NotFound, "there are no mailboxes")
            .hint("add one: stronghold mailbox add PEER FOLDER")),
        [(device, _)] => through_mailbox(context, home, device, args.confirm_deletions).await,
        _ => {
            with_each(context, known, async |device| {
                through_mailbox(context, home, device, args.confirm_deletions).await
            })
            .await
        }
    }
}

/// Returns the paired devices, ordered by name.
fn paired(home: &SharedVault) -> Vec<(String, String)> {
    let mut known: Vec<(String, String)> = {
        let home = home.lock();
        let peers = home.stronghold().peers().iter();
        peers.map(|(device, peer)| (device.to_string(), peer.name.clone())).collect()
    };
    known.sort_by(|(_, one), (_, other)| one.cmp(other));
    known
}

/// Does it with each device. A failure with one does not keep the others waiting.
async fn with_each(
    context: &Context,
    known: Vec<(String, String)>,
    with: impl AsyncFn(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for (device, name) in &known {
        if !context.output.is_json() {
            context.output.result(&Value::Null, || vec![format!("{}:", escape_untrusted(name))])?;
        }
        if let Err(failure) = with(device).await {
            let failure = failure.about(name);
            context.output.failure(&failure);
            failed.push(failure.kind);
        }
    }
    let Some(kind) = failed.first() else { return Ok(()) };
    let message = format!("{} of {} failed", failed.len(), counted(known.len() as u64, "sync"));
    Err(Failure::new(*kind, message).hint("the others are done; see above"))
}

async fn with_one(
    context: &Context,
    args: &SyncArgs,
    home: &SharedVault,
    peer: &str,
    request: SyncRequest,
) -> Result<(), Failure> {
    let session = Session::new(context, home, peer, &args.at);
    if args.dry_run {
        let beyond = if args.take { Beyond::Everything } else { Beyond::Nothing };
        let outcome = session.run(request.beyond(beyond).with_names(true), PlanDecision::Stop).await?;
        return session.report(&outcome, Some(args.confirm_deletions));
    }
    let beyond = match args.take {
        true if context.global.yes => Beyond::Everything,
        true => session.seen(request.clone()).await?,
        false => Beyond::Nothing,
    };
    let go_on =
        if args.confirm_deletions { PlanDecision::ProceedWithDeletions } else { PlanDecision::Proceed };
    let request = request.beyond(beyond);
    if args.review {
        let plan = session.run(request.clone().with_names(true), PlanDecision::Stop).await?;
        if !context.output.is_json() {
            session.report(&plan, Some(args.confirm_deletions))?;
        }
        context.confirm("Do that?")?;
    }
    let first = session.run(request.clone(), go_on).await;
    let mut outcome = match first {
        Err(failure) if session.is_unreached.get() && args.is_plain() && session.has_mailbox() => {
            let name = session.name()?;
            context
                .output
                .note(&format!("note: {name} was not reached ({}); its mailbox is used", failure.message));
            return through_mailbox(context, home, peer, args.confirm_deletions).await;
        }
        first => first?,
    };
    let mut goes_on = outcome.has_more();
    while goes_on {
        let next = session.run(request.clone(), go_on).await?;
        goes_on = next.has_more();
        outcome = outcome.and(next);
    }
    session.report(&outcome, None)
}

/// Returns the id of the only paired device.
fn only_peer(home: &SharedVault) -> Result<String, Failure> {
    let home = home.lock();
    let mut peers = home.stronghold().peers().iter();
    match (peers.next(), peers.next()) {
        (Some((device, _)), None) => Ok(device.to_string()),
        (None, _) => Err(no_peer()),
        _ => Err(Failure::usage(
            "several devices are paired: name one",
            "or say --all; see `stronghold peers`",
        )),
    }
}

fn no_peer() -> Failure {
    Failure::new(Kind::NotFound, "no device is paired").hint("pair one: `stronghold pair` here and there")
}
