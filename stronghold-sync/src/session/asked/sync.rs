//! What the asked side of a sync knows of both sides, and what follows from it.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::super::{
    Misbehaviour, PeerList, Verdict, apart, claim, find,
    flow::{Announced, Expected, Incoming, Outgoing},
    records, volume,
};
use crate::{
    EntryId, Grant, LocationId, OnConflict, Operation, Plan, Rules, Scope, Selection, Shape,
    message::{Agreed, RecipientKey},
    plan,
};

/// One sync, from the asked side.
#[derive(Debug)]
pub(super) struct Sync {
    selection: String,
    pull: Option<Grant>,
    push: Option<Grant>,
    delete: Option<Grant>,
    /// This side's one-time key.
    pub(super) key: RecipientKey,
    /// What the asking side holds where it may pull, then what it offers where it may not.
    theirs: PeerList<Shape>,
    offered: PeerList<Shape>,
    /// What this side holds where the asking side may pull, and where it may write or delete.
    pullable: Vec<Shape>,
    writable: Vec<Shape>,
    /// What only this side holds, of what the asking side may pull.
    only_here: Vec<Shape>,
    want: BTreeSet<EntryId>,
    give: BTreeSet<EntryId>,
}

/// What only one of the sides holds.
#[derive(Debug)]
pub(super) struct Differing {
    pub(super) only_here: Vec<Shape>,
    pub(super) only_there: Vec<Shape>,
    /// Records that are the same on both sides.
    pub(super) unchanged: u64,
}

impl Sync {
    pub(super) fn new(
        selection: &Selection,
        [pull, push, delete]: [Option<Grant>; 3],
        key: RecipientKey,
    ) -> Self {
        Self {
            selection: selection.to_string(),
            pull,
            push,
            delete,
            key,
            theirs: PeerList::new(),
            offered: PeerList::new(),
            pullable: Vec::new(),
            writable: Vec::new(),
            only_here: Vec::new(),
            want: BTreeSet::new(),
            give: BTreeSet::new(),
        }
    }

    /// What is granted, for the asking side to know.
    pub(super) fn agreed(&self) -> Agreed {
        let scope = |grant: &Option<Grant>| grant.as_ref().map(|grant| grant.scope().clone());
        Agreed { pull: scope(&self.pull), push: scope(&self.push), delete: scope(&self.delete) }
    }

    /// Where this side's own shapes are needed.
    pub(super) fn scopes(&self) -> [(Operation, Option<&Scope>); 3] {
        [
            (Operation::Pull, self.pull.as_ref().map(Grant::scope)),
            (Operation::Push, self.push.as_ref().map(Grant::scope)),
            (Operation::Delete, self.delete.as_ref().map(Grant::scope)),
        ]
    }

    /// Takes this side's own shapes, in order, of a scope that is for these operations.
    pub(super) fn hold(&mut self, operations: &[Operation], shapes: Vec<Shape>) {
        if operations.iter().any(|operation| *operation != Operation::Pull) {
            self.writable = union(&self.writable, &shapes);
        }
        if operations.contains(&Operation::Pull) {
            self.pullable = shapes;
        }
    }

    pub(super) fn handle_shapes(&mut self, part: Vec<Shape>) -> Result<(), Misbehaviour> {
        if self.pull.is_none() {
            return Err(Misbehaviour::OutOfOrder);
        }
        self.theirs.extend_shapes(part)
    }

    pub(super) fn handle_offered(&mut self, part: Vec<Shape>) -> Result<(), Misbehaviour> {
        self.may_take()?;
        self.offered.extend_shapes(part)
    }

    pub(super) fn handle_want(&mut self, part: Vec<EntryId>) -> Result<(), Misbehaviour> {
        claim(&mut self.want, part, |entry| find(&self.only_here, entry).is_some())
    }

    pub(super) fn handle_give(&mut self, part: Vec<EntryId>) -> Result<(), Misbehaviour> {
        self.may_take()?;
        let told = |entry: &EntryId| {
            find(&self.theirs.items, entry).or_else(|| find(&self.offered.items, entry)).is_some()
        };
        claim(&mut self.give, part, told)
    }

    fn may_take(&self) -> Result<(), Misbehaviour> {
        match self.push.is_some() || self.delete.is_some() {
            true => Ok(()),
            false => Err(Misbehaviour::OutOfOrder),
        }
    }

    /// Finds what only this side holds, and what only the asking side holds or, of what it offers, this side wants.
    pub(super) fn compare(&mut self) -> Differing {
        let theirs = &self.theirs.items;
        self.only_here = apart(&self.pullable, theirs);
        let mut only_there = apart(theirs, &self.pullable);
        let differs: BTreeSet<LocationId> =
            self.only_here.iter().chain(&only_there).map(|shape| shape.location).collect();
        let same = self.pullable.iter().filter(|shape| !differs.contains(&shape.location));
        let unchanged = records(same);
        let offered = &self.offered.items;
        only_there.extend(plan(&at_locations_of(&self.writable, offered), offered, TAKE).take);
        Differing { only_here: self.only_here.clone(), only_there, unchanged }
    }

    /// The verdicts for the log: how much the asking side may take by them, and how much it brings.
    pub(super) fn verdicts(&self, differing: &Differing) -> Vec<Verdict> {
        let brought = |deleted| differing.only_there.iter().filter(move |shape| shape.deleted == deleted);
        let verdict = |grant: &Grant, volume| Verdict {
            operation: grant.operation(),
            selection: self.selection.clone(),
            allowed: true,
            volume,
        };
        let mut verdicts = vec![];
        verdicts.extend(self.pull.as_ref().map(|grant| verdict(grant, volume(&self.only_here))));
        verdicts.extend(self.push.as_ref().map(|grant| verdict(grant, volume(brought(false)))));
        let deletes = brought(true).next().is_some();
        let delete = self.delete.as_ref().filter(|_| deletes);
        verdicts.extend(delete.map(|grant| verdict(grant, volume(brought(true)))));
        if verdicts.is_empty() {
            verdicts.extend(self.delete.as_ref().map(|grant| verdict(grant, volume([]))));
        }
        verdicts
    }

    /// What this side takes of what is given to it.
    pub(super) fn plan_to_take(&self) -> Plan {
        let listed = union(&self.theirs.items, &self.offered.items);
        let given: Vec<Shape> =
            listed.into_iter().filter(|shape| self.give.contains(&shape.entry())).collect();
        let own = union(&self.pullable, &self.writable);
        let plan = plan(&at_locations_of(&own, &given), &given, TAKE);
        let readable = records(own.iter().filter(|shape| !shape.deleted));
        let others = readable.saturating_sub(plan.readable_here);
        plan.and_unchanged(others, others)
    }

    /// The batches for what the asking side wants.
    pub(super) fn outgoing(&self, key: Option<RecipientKey>) -> Result<Option<Outgoing>, Misbehaviour> {
        let wanted: Vec<Shape> =
            self.only_here.iter().filter(|shape| self.want.contains(&shape.entry())).cloned().collect();
        match (&self.pull, key) {
            _ if wanted.is_empty() => Ok(None),
            (Some(grant), Some(key)) => Ok(Some(Outgoing::new(grant.clone(), key, &wanted))),
            _ => Err(Misbehaviour::BadKey),
        }
    }

    /// The batches that this side then expects, if any.
    pub(super) fn incoming(self, take: Vec<Shape>) -> Option<Incoming> {
        let (push, delete) = (self.push, self.delete);
        let expected = |take| Expected::Granted { entries: Announced::new(take), push, delete };
        (!take.is_empty()).then(|| Incoming::new(expected(take)))
    }
}

const TAKE: Rules = Rules { take: true, give: false, on_conflict: OnConflict::KeepBoth };

/// Both lists, which are in the order of entries, in that order; of an entry that is in both, the first one's shape.
fn union(one: &[Shape], other: &[Shape]) -> Vec<Shape> {
    let mut both: Vec<Shape> = one.iter().chain(other).cloned().collect();
    both.sort_by_key(Shape::entry);
    both.dedup_by_key(|shape| shape.entry());
    both
}

/// The shapes at the locations of others.
fn at_locations_of(shapes: &[Shape], others: &[Shape]) -> Vec<Shape> {
    let locations: BTreeSet<LocationId> = others.iter().map(|shape| shape.location).collect();
    shapes.iter().filter(|shape| locations.contains(&shape.location)).cloned().collect()
}
