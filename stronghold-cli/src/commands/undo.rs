//! `undo` and `redo`: takes steps back and does them again.

use serde_json::json;
use stronghold_snapshot::now;
use stronghold_sync::{Location, escape_untrusted};
use stronghold_vault::{RulesOutcome, Step, UndoReport, UndoSkipReason};

use super::changes::{self, Changes};
use crate::clock::time;
use crate::context::Context;
use crate::{
    error::{Failure, Kind},
    output::{Output, counted},
};

/// Lists the last steps, newest first.
pub(super) fn list(context: &Context) -> Result<(), Failure> {
    let home = context.open()?;
    let steps: Vec<&Step> = home.stronghold().steps().collect();
    let object = |step: &&Step| {
        json!({
            "number": step.number(),
            "time": step.time(),
            "command": step.word(),
            "records": step.records(),
            "rules": step.changed_rules(),
            "undone": step.is_undone(),
        })
    };
    let objects: Vec<_> = steps.iter().map(object).collect();
    context
        .output
        .result(&json!({ "steps": objects }), || steps.iter().map(|step| step_line(step)).collect())?;
    if steps.is_empty() {
        context.output.nothing("nothing to undo");
    }
    Ok(())
}

fn step_line(step: &Step) -> String {
    let rules = if step.changed_rules() { ", rules" } else { "" };
    let undone = if step.is_undone() { "  (taken back)" } else { "" };
    let (number, time, records) =
        (step.number(), time(step.time()), counted(step.records() as u64, "record"));
    format!("{number:>4}  {time}  {}: {records}{rules}{undone}", escape_untrusted(step.word()))
}

pub(super) fn undo(context: &Context, dry_run: bool) -> Result<(), Failure> {
    let nothing = || {
        Failure::new(Kind::NotFound, "there is nothing to take back")
            .hint("`stronghold undo --list` shows the last commands; see also `stronghold history LOCATION`")
    };
    let (moved, changes) = changes::apply(&mut context.open()?, dry_run, |stronghold| {
        stronghold.undo(now())?.ok_or_else(nothing)
    })?;
    report(context, &moved, &changes, "undone", dry_run)
}

pub(super) fn redo(context: &Context, dry_run: bool) -> Result<(), Failure> {
    let nothing = || {
        Failure::new(Kind::NotFound, "there is nothing to do again")
            .hint("only what `undo` took back, and while no other command has changed anything since")
    };
    let (moved, changes) = changes::apply(&mut context.open()?, dry_run, |stronghold| {
        stronghold.redo(now())?.ok_or_else(nothing)
    })?;
    report(context, &moved, &changes, "redone", dry_run)
}

/// Reports the records of a step that were written and those left as they are. Fails if nothing was
/// written.
fn report(
    context: &Context,
    moved: &UndoReport,
    changes: &Changes,
    done: &str,
    dry_run: bool,
) -> Result<(), Failure> {
    if moved.records.is_empty() && moved.rules != RulesOutcome::PutBack && !dry_run {
        let rules = (moved.rules == RulesOutcome::ChangedSince)
            .then(|| "the rules for devices (changed since)".to_owned());
        let left: Vec<String> = context.output.first_of(skipped(moved)).chain(rules).collect();
        let message = format!(
            "nothing of step {} ({}) could be {done}; left as they are: {}",
            moved.number,
            escape_untrusted(&moved.word),
            left.join(", ")
        );
        return Err(Failure::new(Kind::ChangedSince, message).hint(
            "run it again for the next step; see `stronghold history LOCATION`, `stronghold restore`",
        ));
    }
    let names: Vec<String> = moved.records.iter().map(ToString::to_string).collect();
    let left: Vec<_> = moved
        .skipped
        .iter()
        .map(|(at, why)| json!({ "location": at.to_string(), "why": skip_reason(*why) }))
        .collect();
    let rules = match moved.rules {
        RulesOutcome::Untouched => "untouched",
        RulesOutcome::PutBack => "put back",
        RulesOutcome::ChangedSince => "changed since",
    };
    let object = json!({
        done: names, "records": changes.object(), "left": left, "rules": rules,
        "number": moved.number, "command": moved.word, "time": moved.time,
    });
    context.output.result(&object, || lines(moved, changes, context.output, done, dry_run))
}

fn lines(moved: &UndoReport, changes: &Changes, output: Output, done: &str, dry_run: bool) -> Vec<String> {
    let would = if dry_run { "would be " } else { "" };
    let title = format!("{would}{done}: {}, {}", escape_untrusted(&moved.word), time(moved.time));
    let rules = match moved.rules {
        RulesOutcome::Untouched => None,
        RulesOutcome::PutBack => Some("~ the rules for devices".to_owned()),
        RulesOutcome::ChangedSince => {
            Some("  left as they are: the rules for devices (changed since)".to_owned())
        }
    };
    let stays = output.first_of(skipped(moved).map(|record| format!("  left as it is: {record}")));
    std::iter::once(title).chain(changes.lines(output)).chain(stays).chain(rules).collect()
}

/// Returns the records of a step that stay as they are, each with the reason.
fn skipped(moved: &UndoReport) -> impl ExactSizeIterator<Item = String> {
    let record = |(at, why): &(Location, UndoSkipReason)| {
        format!("{} ({})", escape_untrusted(&at.to_string()), skip_reason(*why))
    };
    moved.skipped.iter().map(record)
}

fn skip_reason(why: UndoSkipReason) -> &'static str {
    match why {
        UndoSkipReason::ChangedSince => "changed since",
        UndoSkipReason::Purged => "purged",
    }
}
