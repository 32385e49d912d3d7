//! Recording of steps in a Stronghold.

use std::collections::BTreeMap;

use stronghold_sync::{LocationId, Timestamp};

use super::{Change, Heads, OpenStep, PendingStep, Step};
use crate::stronghold::Stronghold;

impl Stronghold {
    /// Begins or continues a step: all changes until [`Stronghold::end_step`] belong to it. Changes
    /// outside a step can't be undone by [`Stronghold::undo`].
    pub fn begin_step(&mut self, underway: PendingStep) {
        let rules = self.policy.clone();
        self.steps.open = Some(OpenStep { pending: underway, touched: BTreeMap::new(), rules });
    }

    /// Ends the step, for now or for good, and returns it; `None` if none was begun. A step that
    /// changed no record and no rule does not enter the list and pushes no other step out of it.
    pub fn end_step(&mut self) -> Option<PendingStep> {
        let OpenStep { pending: mut underway, touched, rules } = self.steps.open.take()?;
        let mut changed = touched;
        changed.retain(|id, before| *before != self.heads_at(id));
        if changed.is_empty() && rules == self.policy {
            return Some(underway);
        }
        let after: Vec<Heads> = changed.keys().map(|id| self.heads_at(id)).collect();
        let (number, gone) = self.touch_steps().of(&mut underway);
        if let Some(step) = self.steps.step_mut(number) {
            for ((id, before), after) in changed.into_iter().zip(after) {
                let change = step.changes.entry(id).or_insert_with(|| Change { before, ..Change::default() });
                change.after = after;
            }
            if rules != self.policy {
                let before = step.rules.take().map_or(rules, |(before, _)| before);
                step.rules = Some((before, self.policy.clone()));
            }
        }
        gone.iter().flat_map(|step| step.changes.keys()).for_each(|id| self.trim_at(id, underway.time));
        Some(underway)
    }

    /// Returns the last steps, newest first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.list.iter().rev().map(|step| &**step)
    }

    /// Returns the heads of the record at these ids.
    pub(crate) fn heads_at(&self, id: &LocationId) -> Heads {
        Heads::of(self.record(id).map(|(.., record)| record))
    }

    /// Drops the revisions that a record's history kept for removed steps.
    fn trim_at(&mut self, id: &LocationId, now: Timestamp) {
        let named = self.steps.named(id);
        if self.record(id).is_none_or(|(.., record)| record.is_trimmed(&named, now)) {
            return;
        }
        self.touch_record(id);
        if let Some(record) = self.vault_mut(id).and_then(|vault| vault.records.get_mut(&id.record)) {
            record.trim(&named, now);
        }
    }
}
