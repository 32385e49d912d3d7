//! The entries of a mailbox's letter: planned, and checked, as those that a peer pushes in a
//! session.

use alloc::{collections::BTreeMap, collections::BTreeSet, string::String, vec::Vec};

use super::{
    Verdict,
    batches::{Expected, ShapeList},
    initiator::Consent,
    record_of, volume,
};
use crate::{
    EntryId, Grant, Location, LocationId, OnConflict, Operation, Plan, PlanOptions, Shape, SkipReason,
    plan::{MAX_ADDED_HEADS, Sieve, plan_through},
};

/// The entries of a letter from a peer, and this side's heads of their records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterShapes {
    /// The shapes of the letter's entries, sorted by entry, each once.
    pub letter: Vec<Shape>,
    /// Their names.
    pub names: BTreeMap<LocationId, Location>,
    /// This side's heads of the same records, sorted by entry.
    pub own: Vec<Shape>,
    /// The heads among `own` that the peer delivered.
    pub delivered: BTreeSet<EntryId>,
    /// Number of readable records here.
    pub readable: u64,
}

/// The decision on a letter: the entries that this side takes, and why it leaves out the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterPlan {
    /// The plan. Its list `take` has the entries to import.
    pub plan: Plan,
    /// The check of each entry that is imported.
    pub expected: Expected,
    /// The decisions for the log.
    pub verdicts: Vec<Verdict>,
}

/// The sieve of a letter: it lets through what the grants cover.
struct Granted<'a> {
    shapes: &'a LetterShapes,
    consent: Consent,
}

impl LetterShapes {
    /// Returns whether a record could have more heads of the peer than one device may add: then
    /// `delivered` matters.
    pub fn is_crowded(&self, location: &LocationId) -> bool {
        record_of(&self.own, location).len() + record_of(&self.letter, location).len() > MAX_ADDED_HEADS
    }

    /// Plans what this side takes of the letter under these grants, which its policy has for the
    /// peer. `selection` is for the log.
    pub fn plan(&self, push: Option<Grant>, delete: Option<Grant>, selection: &str) -> LetterPlan {
        let consent = Consent { push: push.clone(), delete: delete.clone(), also: BTreeSet::new() };
        let rules = PlanOptions { take: true, give: false, on_conflict: OnConflict::KeepBoth };
        let plan = plan_through(&self.own, &self.letter, rules, &Granted { shapes: self, consent });
        let others = self.readable.saturating_sub(plan.readable_here);
        let mut plan = plan.and_unchanged(0, others);
        let skipped = plan.not_taken.iter().map(|skipped| skipped.location);
        let named = skipped.chain(plan.changes_here.iter().map(|(location, _)| *location));
        plan.names = named.filter_map(|id| Some((id, self.names.get(&id)?.clone()))).collect();
        let verdicts = verdicts(&plan, selection);
        let entries = ShapeList::new(plan.take.clone(), &self.own);
        LetterPlan { plan, expected: Expected::Granted { entries, push, delete }, verdicts }
    }
}

impl Sieve for Granted<'_> {
    fn take(&self, shape: &Shape) -> Result<(), SkipReason> {
        let name = self.shapes.names.get(&shape.location);
        let covers = |grant: &Grant| name.is_some_and(|name| grant.scope().covers(name));
        match self.consent.for_kind(shape).is_some_and(covers) {
            true => Ok(()),
            false if shape.deleted => Err(SkipReason::MayNotDelete),
            false => Err(SkipReason::MayNotPush),
        }
    }

    fn delivered(&self, head: &Shape) -> bool {
        self.shapes.delivered.contains(&head.entry())
    }
}

/// Returns the decisions on what a letter contains: what is taken, and what a rule refuses.
fn verdicts(plan: &Plan, selection: &str) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (shapes, allowed) in [(&plan.take, true), (&plan.beyond, false)] {
        for (operation, deleted) in [(Operation::Push, false), (Operation::Delete, true)] {
            let of_kind: Vec<&Shape> = shapes.iter().filter(|shape| shape.deleted == deleted).collect();
            if !of_kind.is_empty() {
                let (selection, volume) = (String::from(selection), volume(of_kind));
                verdicts.push(Verdict { operation, ours: false, selection, allowed, volume });
            }
        }
    }
    verdicts
}
