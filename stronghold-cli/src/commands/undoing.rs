//! Goes back: restores old revisions, resolves conflicts, undoes and redoes commands, and purges
//! replaced values.

use serde_json::json;
use stronghold_net::now;
use stronghold_sync::{Location, escape_untrusted};
use stronghold_vault::{RulesOutcome, Step, UndoReport, UndoSkipReason};

use super::{Context, location, revision, selection, time};
use crate::{
    args::Renewal,
    error::{About, DECISION, Failure, NOT_FOUND},
    output::counted,
};

pub(super) fn restore(context: &Context, at: &str, of: &str) -> Result<(), Failure> {
    write_again(context, at, of, "restored")
}

pub(super) fn resolve(context: &Context, at: &str, keep: &str) -> Result<(), Failure> {
    write_again(context, at, keep, "kept")
}

/// Writes a revision of a record again, on top of all its heads.
fn write_again(context: &Context, at: &str, of: &str, done: &str) -> Result<(), Failure> {
    let location = location(at)?;
    let mut home = context.open()?;
    let again = revision(&home, &location, of)?;
    let written = home.update(|stronghold| stronghold.resolve(&location, &again, now()).about(&location))?;
    let object = json!({
        "location": location.to_string(), done: again.to_string(), "revision": written.to_string(),
    });
    context.output.result(&object, Vec::new)
}

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
    context.output.result(&json!({ "steps": objects }), || steps.iter().map(|step| step_line(step)).collect())
}

fn step_line(step: &Step) -> String {
    let rules = if step.changed_rules() { ", rules" } else { "" };
    let undone = if step.is_undone() { "  (taken back)" } else { "" };
    let (number, time, records) =
        (step.number(), time(step.time()), counted(step.records() as u64, "record"));
    format!("{number:>4}  {time}  {}: {records}{rules}{undone}", escape_untrusted(step.word()))
}

pub(super) fn undo(context: &Context, dry_run: bool) -> Result<(), Failure> {
    let mut home = context.open()?;
    let moved = match dry_run {
        true => home.stronghold().would_undo(),
        false => home.update(|stronghold| stronghold.undo(now()).map_err(Failure::from))?,
    };
    let nothing = || {
        Failure::new("not_found", NOT_FOUND, "there is nothing to take back")
            .hint("`stronghold undo --list` shows the last commands; see also `stronghold history LOCATION`")
    };
    told(context, &moved.ok_or_else(nothing)?, "undone", dry_run)
}

pub(super) fn redo(context: &Context, dry_run: bool) -> Result<(), Failure> {
    let mut home = context.open()?;
    let moved = match dry_run {
        true => home.stronghold().would_redo(),
        false => home.update(|stronghold| stronghold.redo(now()).map_err(Failure::from))?,
    };
    let nothing = || {
        Failure::new("not_found", NOT_FOUND, "there is nothing to do again")
            .hint("only what `undo` took back, and while no other command has changed anything since")
    };
    told(context, &moved.ok_or_else(nothing)?, "redone", dry_run)
}

/// Reports the records of a step that were written and those left as they are. Fails if nothing was
/// written.
fn told(context: &Context, moved: &UndoReport, done: &str, dry_run: bool) -> Result<(), Failure> {
    let names: Vec<String> = moved.records.iter().map(ToString::to_string).collect();
    let left: Vec<_> = moved
        .skipped
        .iter()
        .map(|(at, why)| json!({ "location": at.to_string(), "why": left_word(*why) }))
        .collect();
    let rules = match moved.rules {
        RulesOutcome::Untouched => "untouched",
        RulesOutcome::PutBack => "put back",
        RulesOutcome::ChangedSince => "changed since",
    };
    let object = json!({
        done: names, "left": left, "rules": rules,
        "number": moved.number, "command": moved.word, "time": moved.time,
    });
    let nothing = moved.records.is_empty() && moved.rules != RulesOutcome::PutBack;
    if nothing && !dry_run {
        let rest = moved.skipped.len().saturating_sub(NAMED);
        let more = (rest > 0).then(|| format!("{rest} more"));
        let rules = (moved.rules == RulesOutcome::ChangedSince)
            .then(|| "the rules for devices (changed since)".to_owned());
        let left = moved.skipped.iter().take(NAMED);
        let left =
            left.map(|(at, why)| format!("{} ({})", escape_untrusted(&at.to_string()), left_word(*why)));
        let left: Vec<String> = left.chain(more).chain(rules).collect();
        let message = format!(
            "nothing of step {} ({}) could be {done}; left as they are: {}",
            moved.number,
            escape_untrusted(&moved.word),
            left.join(", ")
        );
        return Err(Failure::new("changed_since", DECISION, message).hint(
            "run it again for the next step; see `stronghold history LOCATION`, `stronghold restore`",
        ));
    }
    context.output.result(&object, || lines(moved, done, dry_run))
}

fn lines(moved: &UndoReport, done: &str, dry_run: bool) -> Vec<String> {
    let would = if dry_run { "would be " } else { "" };
    let title = format!("{would}{done}: {}, {}", escape_untrusted(&moved.word), time(moved.time));
    let record = |at: &Location| format!("  {}", escape_untrusted(&at.to_string()));
    let stays = |(at, why): &(Location, UndoSkipReason)| {
        format!("  left as it is: {} ({})", escape_untrusted(&at.to_string()), left_word(*why))
    };
    let rules = match moved.rules {
        RulesOutcome::Untouched => None,
        RulesOutcome::PutBack => Some("  the rules for devices".to_owned()),
        RulesOutcome::ChangedSince => {
            Some("  left as they are: the rules for devices (changed since)".to_owned())
        }
    };
    let records = moved.records.iter().map(record).chain(moved.skipped.iter().map(stays));
    std::iter::once(title).chain(records).chain(rules).collect()
}

fn left_word(why: UndoSkipReason) -> &'static str {
    match why {
        UndoSkipReason::ChangedSince => "changed since",
        UndoSkipReason::Purged => "purged",
    }
}

/// Maximum number of records named to a person.
const NAMED: usize = 20;

pub(super) fn purge(
    context: &Context,
    of: Option<&str>,
    dry_run: bool,
    renewal: &Renewal,
) -> Result<(), Failure> {
    let selection = selection(of)?;
    let mut home = context.open()?;
    let replaced = home.stronghold().replaced(&selection);
    let values: usize = replaced.iter().map(|(_, count)| count).sum();
    if replaced.is_empty() {
        return Err(Failure::new(
            "not_found",
            NOT_FOUND,
            "there are no replaced values there; nothing was changed",
        )
        .hint("see `stronghold list` for the names, `stronghold history LOCATION` for their values"));
    }
    let named = || named(&replaced);
    let purged = if dry_run {
        values as u64
    } else {
        let records = replaced.len();
        if !context.output.is_json() {
            named().iter().for_each(|line| context.output.note(line));
        }
        context.confirm(&format!(
            "Remove {} of {} for good, deleted ones too?",
            counted(values as u64, "replaced value"),
            counted(records as u64, "record")
        ))?;
        renewal.update(&mut home, |stronghold| Ok(stronghold.purge(&selection)))?
    };
    let records: Vec<_> =
        replaced.iter().map(|(at, count)| json!({ "location": at.to_string(), "values": count })).collect();
    context.output.result(&json!({ "purged": purged, "records": records }), || match dry_run {
        true => named(),
        false => vec![format!("removed {} for good", counted(purged as u64, "replaced value"))],
    })
}

/// Returns one line per record, and a line with the number of further ones.
fn named(replaced: &[(Location, usize)]) -> Vec<String> {
    let line = |(at, count): &(Location, usize)| format!("{count:>4}  {}", escape_untrusted(&at.to_string()));
    let more = replaced.len().saturating_sub(NAMED);
    let rest = (more > 0).then(|| format!("  and {more} more (--json names all)"));
    replaced.iter().take(NAMED).map(line).chain(rest).collect()
}
