//! Synchronises what the rules of both sides cover. Entries that wait for a rule are named, and
//! taken only after a confirmation.

use std::cell::Cell;

use serde_json::{Value, json};
use stronghold_net::{Beyond, Direction, Outcome, PlanDecision, SharedVault, SyncRequest};
use stronghold_sync::{
    self as sync, DeviceId, Location, LocationId, Plan, Shape, SkipReason, Skipped, escape_untrusted,
    session::Duplicate,
};
use stronghold_vault::Stronghold;

use super::{
    changes::{Change, Changes},
    conflicts::Standing,
    progress::{Progress, whose_word},
    remote::{counts, reach, summary_line, summary_object},
};
use crate::commands::remote::At;
use crate::context::{Context, runtime, selections};
use crate::{
    error::{Failure, Kind},
    output::{Output, counted},
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
    #[command(flatten)]
    pub(crate) at: At,
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
        if args.all {
            return with_all(context, args, &home, &request).await;
        }
        let peer = args.peer.clone().map_or_else(|| only_peer(&home), Ok)?;
        with_one(context, args, &home, &peer, request).await
    })
}

/// Synchronises with each paired device. A failure with one does not keep the others waiting.
async fn with_all(
    context: &Context,
    args: &SyncArgs,
    home: &SharedVault,
    request: &SyncRequest,
) -> Result<(), Failure> {
    let mut known: Vec<(String, String)> = {
        let home = home.lock();
        let peers = home.stronghold().peers().iter();
        peers.map(|(device, peer)| (device.to_string(), peer.name.clone())).collect()
    };
    known.sort_by(|(_, one), (_, other)| one.cmp(other));
    if known.is_empty() {
        return Err(no_peer());
    }
    let mut failed = Vec::new();
    for (device, name) in &known {
        if !context.output.is_json() {
            context.output.result(&Value::Null, || vec![format!("{}:", escape_untrusted(name))])?;
        }
        if let Err(failure) = with_one(context, args, home, device, request.clone()).await {
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
    let session = Session { context, home, peer, at: &args.at, copied: Cell::default() };
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
    let mut outcome = session.run(request.clone(), go_on).await?;
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

/// Peer and parameters shared by the sessions of one `sync`.
struct Session<'a> {
    context: &'a Context,
    home: &'a SharedVault,
    peer: &'a str,
    at: &'a At,
    /// Set if the snapshot of either side was copied.
    copied: Cell<Option<Duplicate>>,
}

impl Session<'_> {
    async fn run(&self, request: SyncRequest, go_on: PlanDecision) -> Result<Outcome, Failure> {
        let reached = reach(self.context.output, self.home, self.peer, self.at).await?;
        let mut progress = Progress::new(self.context.output, self.home, self.peer, go_on);
        // Only the first of several sessions warns about a copy.
        progress.copied = self.copied.get();
        let outcome = reached.sync(request, &mut progress).await;
        let outcome = outcome.map_err(|error| progress.explain(error))?;
        self.copied.set(progress.copied);
        drop(progress);
        Ok(outcome)
    }

    /// Shows the peer's entries that no rule here covers, and asks whether to take them. The
    /// question stands between two sessions, so that there is time to think. Entries that the peer
    /// changes meanwhile are not taken.
    async fn seen(&self, request: SyncRequest) -> Result<Beyond, Failure> {
        let plan = self.run(request.with_names(true), PlanDecision::Stop).await?.plan;
        if plan.beyond.is_empty() {
            return Ok(Beyond::Nothing);
        }
        let name = self.name()?;
        let home = self.home.lock();
        let mut changes = Changes::default();
        for shape in &plan.beyond {
            if let Some(location) = named(home.stronghold(), &plan, &shape.location) {
                changes.add(location, change(home.stronghold(), shape));
            }
        }
        drop(home);
        let lines: Vec<String> = changes.lines(self.context.output).collect();
        let question = format!(
            "no rule lets {name} write or delete this here:\n{}\nTake it all the same?",
            lines.join("\n")
        );
        self.context.confirm(&question)?;
        Ok(Beyond::These(plan.beyond.iter().map(Shape::entry).collect()))
    }

    fn device(&self) -> Result<DeviceId, Failure> {
        Ok(self.home.lock().stronghold().peers().find(self.peer)?.0)
    }

    fn name(&self) -> Result<String, Failure> {
        Ok(escape_untrusted(&self.home.lock().stronghold().peers().find(self.peer)?.1.name))
    }

    fn report(&self, outcome: &Outcome, dry_run: Option<bool>) -> Result<(), Failure> {
        let name = self.name()?;
        let home = self.home.lock();
        let plan = &outcome.plan;
        let not_taken = SkippedGroup::of(home.stronghold(), plan, &plan.not_taken);
        let declined = outcome
            .declined
            .iter()
            .map(|location| Skipped { location: *location, why: SkipReason::Declined });
        let not_given: Vec<Skipped> = plan.not_given.iter().copied().chain(declined).collect();
        let not_given = SkippedGroup::of(home.stronghold(), plan, &not_given);
        let here = changes(home.stronghold(), plan, &plan.changes_here);
        let there = changes(home.stronghold(), plan, &plan.changes_there);
        let [.., new] = counts(outcome, dry_run.is_some());
        let conflicts = Standing::beside(home.stronghold(), new, dry_run.is_some())?;
        drop(home);
        let mut object = summary_object(outcome, dry_run.is_some());
        object["peer"] = self.device()?.to_string().into();
        object["conflicts_standing"] = conflicts.standing.into();
        object["records"] = here.object();
        object["records_there"] = there.object();
        object["not_taken"] = not_taken.iter().map(SkippedGroup::object).collect();
        object["not_sent"] = not_given.iter().map(SkippedGroup::object).collect();
        object["pull_refused"] = plan.pull_refused.into();
        if let Some(whose) = self.copied.get() {
            object["copied"] = whose_word(whose).into();
        }
        let told: Vec<String> = not_taken.iter().map(|waiting| waiting.not_taken(&name)).collect();
        let told: Vec<String> =
            told.into_iter().chain(not_given.iter().map(|waiting| waiting.not_sent(&name))).collect();
        let output = self.context.output;
        output.result(&object, || {
            let mut lines = vec![summary_line(outcome, dry_run.is_some())];
            lines.extend(here.lines(output));
            if !there.is_empty() {
                lines.push(format!("at {name}:"));
                lines.extend(there.lines(output));
            }
            for (line, waiting) in told.iter().zip(not_taken.iter().chain(&not_given)) {
                lines.push(line.clone());
                lines.extend(waiting.lines(output));
            }
            lines
        })?;
        conflicts.tell(self.context);
        if plan.pull_refused {
            self.context.output.note(&format!("note: {name} lets this device pull nothing of it"));
        }
        match dry_run {
            Some(confirmed) => {
                if plan.needs_confirmation() && !confirmed {
                    self.context
                        .output
                        .note("hint: that many deletions are done only with --confirm-deletions");
                }
                Ok(())
            }
            None => fail_if_skipped(&told, not_taken.iter(), not_given.iter()),
        }
    }
}

/// Records that stay where they are for one reason.
struct SkippedGroup {
    why: SkipReason,
    records: usize,
    names: Vec<Location>,
}

impl SkippedGroup {
    fn of(stronghold: &Stronghold, plan: &Plan, left: &[Skipped]) -> Vec<Self> {
        let mut left = left.to_vec();
        left.sort_by_key(|left| (left.why, left.location));
        left.dedup();
        let group = |group: &[Skipped]| {
            let names = group.iter().filter_map(|left| named(stronghold, plan, &left.location));
            let mut names: Vec<Location> = names.collect();
            names.sort();
            Self { why: group[0].why, records: group.len(), names }
        };
        left.chunk_by(|one, next| one.why == next.why).map(group).collect()
    }

    fn object(&self) -> Value {
        let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        json!({ "reason": self.why.name(), "records": self.records, "names": names })
    }

    fn count(&self) -> String {
        format!("({})", counted(self.records as u64, "record"))
    }

    fn not_taken(&self, name: &str) -> String {
        let count = self.count();
        match self.why {
            SkipReason::MayNotPush => format!("not taken: {name} may not push here {count}"),
            SkipReason::MayNotDelete => format!("not taken: {name} may not delete here {count}"),
            SkipReason::TooManyHeads => {
                format!("not taken: {name} would add too many heads to a record {count}")
            }
            SkipReason::TooLarge => format!("not taken: larger than a value may be {count}"),
            SkipReason::MayNotPull | SkipReason::Declined | SkipReason::Later => format!("not taken {count}"),
        }
    }

    fn not_sent(&self, name: &str) -> String {
        let count = self.count();
        match self.why {
            SkipReason::MayNotPush => format!("not sent: {name} does not let this device push {count}"),
            SkipReason::MayNotDelete => format!("not sent: {name} does not let this device delete {count}"),
            SkipReason::MayNotPull => format!("not sent: {name} may not pull here {count}"),
            SkipReason::TooManyHeads => format!("not sent: too many heads of a record for {name} {count}"),
            SkipReason::TooLarge | SkipReason::Declined => {
                format!("not sent: a limit of {name} is met {count}")
            }
            SkipReason::Later => format!("to be sent in further sessions {count}"),
        }
    }

    /// Returns the first names, and lines with the numbers of further records.
    fn lines(&self, output: Output) -> impl Iterator<Item = String> {
        let unnamed = self.records.saturating_sub(self.names.len());
        let unnamed = (unnamed > 0).then(|| format!("  and {unnamed} whose names are not known"));
        let names = self.names.iter().map(|name| format!("  {}", escape_untrusted(&name.to_string())));
        output.first_of(names).chain(unnamed)
    }
}

/// Fails if records stay where they are: neither a script nor a person who ignores the output may
/// believe in a complete copy.
fn fail_if_skipped<'a>(
    told: &[String],
    not_taken: impl Iterator<Item = &'a SkippedGroup>,
    not_given: impl Iterator<Item = &'a SkippedGroup>,
) -> Result<(), Failure> {
    if told.is_empty() {
        return Ok(());
    }
    let (not_taken, not_given): (Vec<SkipReason>, Vec<SkipReason>) =
        (not_taken.map(|waiting| waiting.why).collect(), not_given.map(|waiting| waiting.why).collect());
    let mut hints = Vec::new();
    if not_taken.iter().any(|why| why.is_of_rules()) {
        hints.push("take it with --take, or allow it: stronghold grant PEER push delete --select SELECTION");
    }
    if not_given.iter().any(|why| matches!(why, SkipReason::MayNotPush | SkipReason::MayNotDelete)) {
        hints.push("allow it there: stronghold grant THIS-DEVICE push delete --select SELECTION");
    }
    if not_given.contains(&SkipReason::MayNotPull) {
        hints.push("allow it here: stronghold grant PEER pull --select SELECTION; or receive only: --pull");
    }
    if not_taken.iter().chain(&not_given).any(|why| !why.is_of_rules()) {
        hints.push("resolve the conflict on one device, then sync again");
    }
    let by_rules = not_taken.iter().chain(&not_given).any(|why| why.is_of_rules());
    let kind = if by_rules { Kind::Denied } else { Kind::Limits };
    Err(Failure::new(kind, format!("{}; everything else is done", told.join("; "))).hint(hints.join("; ")))
}

/// Returns a record's name, as held here or as the peer reported it.
fn named(stronghold: &Stronghold, plan: &Plan, id: &LocationId) -> Option<Location> {
    stronghold.names_of(id).or_else(|| plan.names.get(id).cloned())
}

fn changes(stronghold: &Stronghold, plan: &Plan, list: &[(LocationId, sync::Change)]) -> Changes {
    let mut changes = Changes::default();
    for (id, change) in list {
        let change = match change {
            sync::Change::New => Change::New,
            sync::Change::Changed => Change::Changed,
            sync::Change::Deleted => Change::Deleted,
            sync::Change::Conflict => Change::Conflict,
        };
        match named(stronghold, plan, id) {
            Some(location) => changes.add(location, change),
            None => changes.add_unnamed(),
        }
    }
    changes
}

/// Returns the effect of taking one entry.
fn change(stronghold: &Stronghold, shape: &Shape) -> Change {
    match (shape.deleted, stronghold.names_of(&shape.location)) {
        (true, _) => Change::Deleted,
        (false, Some(_)) => Change::Changed,
        (false, None) => Change::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_fails_with_what_to_do_about_it() {
        let waiting = |why: &[SkipReason]| -> Vec<SkippedGroup> {
            why.iter().map(|why| SkippedGroup { why: *why, records: 1, names: Vec::new() }).collect()
        };
        let take = "take it with --take, or allow it: stronghold grant PEER push delete --select SELECTION";
        let there = "allow it there: stronghold grant THIS-DEVICE push delete --select SELECTION";
        let here = "allow it here: stronghold grant PEER pull --select SELECTION; or receive only: --pull";
        let conflict = "resolve the conflict on one device, then sync again";
        for (not_taken, not_given, kind, hints) in [
            (&[SkipReason::MayNotPush][..], &[][..], Kind::Denied, vec![take]),
            (&[SkipReason::MayNotDelete], &[], Kind::Denied, vec![take]),
            (&[], &[SkipReason::MayNotPush], Kind::Denied, vec![there]),
            (&[], &[SkipReason::MayNotDelete], Kind::Denied, vec![there]),
            (&[], &[SkipReason::MayNotPull], Kind::Denied, vec![here]),
            (&[SkipReason::TooManyHeads], &[], Kind::Limits, vec![conflict]),
            (&[], &[SkipReason::TooManyHeads], Kind::Limits, vec![conflict]),
            (
                &[SkipReason::MayNotPush, SkipReason::TooManyHeads],
                &[SkipReason::MayNotPull],
                Kind::Denied,
                vec![take, here, conflict],
            ),
        ] {
            let (not_taken, not_given) = (waiting(not_taken), waiting(not_given));
            let told = ["one".to_owned(), "two".to_owned()];
            let failure = fail_if_skipped(&told, not_taken.iter(), not_given.iter()).unwrap_err();
            let hint = hints.join("; ");
            assert_eq!((failure.kind, failure.hint.as_deref()), (kind, Some(hint.as_str())));
            assert_eq!(failure.message, "one; two; everything else is done");
        }
        assert!(fail_if_skipped(&[], waiting(&[SkipReason::MayNotPush]).iter(), [].iter()).is_ok());
    }
}
