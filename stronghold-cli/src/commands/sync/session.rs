//! The sessions of one `sync` with a device, and its report.

use std::cell::Cell;

use serde_json::Value;
use stronghold_net::{Beyond, Outcome, PlanDecision, SharedVault, SyncRequest, mailbox::Exchanged};
use stronghold_sync::{
    self as sync, DeviceId, LocationId, Plan, Shape, SkipReason, Skipped, escape_untrusted,
    session::Duplicate,
};
use stronghold_vault::Stronghold;

use super::skipped::{SkippedGroup, fail_if_skipped, named};
use crate::{
    commands::{
        changes::{Change, Changes},
        conflicts::Standing,
        mailbox,
        progress::{Progress, whose_word},
        remote::{At, counts, reach, summary_line, summary_object, tell_way},
    },
    context::Context,
    error::Failure,
};

/// Peer and parameters shared by the sessions of one `sync`.
pub(super) struct Session<'a> {
    context: &'a Context,
    home: &'a SharedVault,
    peer: &'a str,
    at: &'a At,
    /// Set if the snapshot of either side was copied.
    copied: Cell<Option<Duplicate>>,
    /// Set if the peer was not reached.
    pub(super) is_unreached: Cell<bool>,
}

impl<'a> Session<'a> {
    pub(super) fn new(context: &'a Context, home: &'a SharedVault, peer: &'a str, at: &'a At) -> Self {
        let (copied, is_unreached) = (Cell::default(), Cell::default());
        Self { context, home, peer, at, copied, is_unreached }
    }

    pub(super) async fn run(&self, request: SyncRequest, go_on: PlanDecision) -> Result<Outcome, Failure> {
        let reached = reach(self.context, self.home, self.peer, self.at).await;
        self.is_unreached.set(reached.is_err());
        let reached = reached?;
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
    pub(super) async fn seen(&self, request: SyncRequest) -> Result<Beyond, Failure> {
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

    pub(super) fn name(&self) -> Result<String, Failure> {
        Ok(escape_untrusted(&self.home.lock().stronghold().peers().find(self.peer)?.1.name))
    }

    pub(super) fn has_mailbox(&self) -> bool {
        let home = self.home.lock();
        let peers = home.stronghold().peers();
        peers.find(self.peer).is_ok_and(|(device, _)| peers.mailbox(&device).is_some())
    }

    pub(super) fn report(&self, outcome: &Outcome, dry_run: Option<bool>) -> Result<(), Failure> {
        self.report_by(outcome, dry_run, None)
    }

    /// Returns the numbers of an outcome, and the way that it went.
    fn object(&self, outcome: &Outcome, dry_run: bool, by: Option<&Exchanged>) -> Result<Value, Failure> {
        let mut object = summary_object(outcome, dry_run);
        object["peer"] = self.device()?.to_string().into();
        object["pull_refused"] = outcome.plan.pull_refused.into();
        if let Some(whose) = self.copied.get() {
            object["copied"] = whose_word(whose).into();
        }
        if let Some(done) = by {
            object["mailbox"] = mailbox::object(done);
        }
        Ok(object)
    }

    /// Reports what was done, directly or by the mailbox.
    pub(super) fn report_by(
        &self,
        outcome: &Outcome,
        dry_run: Option<bool>,
        by: Option<&Exchanged>,
    ) -> Result<(), Failure> {
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
        let mut object = self.object(outcome, dry_run.is_some(), by)?;
        object["conflicts_standing"] = conflicts.standing.into();
        object["records"] = here.object();
        object["records_there"] = there.object();
        object["not_taken"] = not_taken.iter().map(SkippedGroup::object).collect();
        object["not_sent"] = not_given.iter().map(SkippedGroup::object).collect();
        let not_sent = not_given.iter().map(|waiting| waiting.not_sent(&name));
        let told: Vec<String> =
            not_taken.iter().map(|waiting| waiting.not_taken(&name)).chain(not_sent).collect();
        let output = self.context.output;
        output.result(&object, || {
            let line = by.map(|done| mailbox::line(done, &name));
            let mut lines = vec![line.unwrap_or_else(|| summary_line(outcome, dry_run.is_some()))];
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
        tell_way(self.context, &outcome.way);
        conflicts.tell(self.context);
        if plan.pull_refused {
            self.context.output.note(&format!("note: {name} lets this device pull nothing of it"));
        }
        let Some(confirmed) = dry_run else {
            return fail_if_skipped(&told, by.is_some(), not_taken.iter(), not_given.iter());
        };
        if plan.needs_confirmation() && !confirmed {
            let hint = "hint: that many deletions are done only with --confirm-deletions";
            self.context.output.note(hint);
        }
        Ok(())
    }
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
