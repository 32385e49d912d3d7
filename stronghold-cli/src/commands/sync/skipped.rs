//! Records that a sync left where they are, by reason: told by name, and a failure at the end.

use serde_json::{Value, json};
use stronghold_sync::{Location, LocationId, Plan, SkipReason, Skipped, escape_untrusted};
use stronghold_vault::Stronghold;

use crate::{
    error::{Failure, Kind},
    output::{Output, counted},
};

/// Records that stay where they are for one reason.
pub(super) struct SkippedGroup {
    why: SkipReason,
    records: usize,
    names: Vec<Location>,
}

impl SkippedGroup {
    pub(super) fn of(stronghold: &Stronghold, plan: &Plan, left: &[Skipped]) -> Vec<Self> {
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

    pub(super) fn object(&self) -> Value {
        let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        json!({ "reason": self.why.name(), "records": self.records, "names": names })
    }

    fn count(&self) -> String {
        format!("({})", counted(self.records as u64, "record"))
    }

    pub(super) fn not_taken(&self, name: &str) -> String {
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

    pub(super) fn not_sent(&self, name: &str) -> String {
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
    pub(super) fn lines(&self, output: Output) -> impl Iterator<Item = String> {
        let unnamed = self.records.saturating_sub(self.names.len());
        let unnamed = (unnamed > 0).then(|| format!("  and {unnamed} whose names are not known"));
        let names = self.names.iter().map(|name| format!("  {}", escape_untrusted(&name.to_string())));
        output.first_of(names).chain(unnamed)
    }
}

/// Fails if records stay where they are: neither a script nor a person who ignores the output may
/// believe in a complete copy.
pub(super) fn fail_if_skipped<'a>(
    told: &[String],
    by_mailbox: bool,
    not_taken: impl Iterator<Item = &'a SkippedGroup>,
    not_given: impl Iterator<Item = &'a SkippedGroup>,
) -> Result<(), Failure> {
    if told.is_empty() {
        return Ok(());
    }
    let (not_taken, not_given): (Vec<SkipReason>, Vec<SkipReason>) =
        (not_taken.map(|waiting| waiting.why).collect(), not_given.map(|waiting| waiting.why).collect());
    let mut hints = Vec::new();
    if by_mailbox && not_taken.iter().any(|why| why.is_of_rules()) {
        hints.push(
            "allow it, and it is asked for again: stronghold grant PEER push delete --select SELECTION",
        );
    } else if not_taken.iter().any(|why| why.is_of_rules()) {
        hints.push("take it with --take, or allow it: stronghold grant PEER push delete --select SELECTION");
    }
    if not_given.iter().any(|why| matches!(why, SkipReason::MayNotPush | SkipReason::MayNotDelete)) {
        hints.push("allow it there: stronghold grant THIS-DEVICE push delete --select SELECTION");
    }
    if by_mailbox && not_given.contains(&SkipReason::MayNotPull) {
        hints.push("allow it here: stronghold grant PEER pull --select SELECTION");
    } else if not_given.contains(&SkipReason::MayNotPull) {
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
pub(super) fn named(stronghold: &Stronghold, plan: &Plan, id: &LocationId) -> Option<Location> {
    stronghold.names_of(id).or_else(|| plan.names.get(id).cloned())
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
            let failure = fail_if_skipped(&told, false, not_taken.iter(), not_given.iter()).unwrap_err();
            let hint = hints.join("; ");
            assert_eq!((failure.kind, failure.hint.as_deref()), (kind, Some(hint.as_str())));
            assert_eq!(failure.message, "one; two; everything else is done");
        }
        assert!(fail_if_skipped(&[], false, waiting(&[SkipReason::MayNotPush]).iter(), [].iter()).is_ok());
    }
}
