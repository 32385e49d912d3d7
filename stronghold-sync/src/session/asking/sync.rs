//! What the asking side of a sync knows of both sides, and the plan that follows from it.

use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};

use super::super::{
    Misbehaviour, PeerList, SessionError, apart, claim, find,
    flow::{Announced, Expected, Incoming, Outgoing},
    records,
};
use super::SyncAsk;
use crate::{
    EntryId, Grant, LocationId, OnConflict, Operation, Plan, Rules, Scope, Shape,
    message::{Agreed, RecipientKey},
    plan::plan_giving,
};

/// One sync, from the asking side, once its scopes are agreed.
#[derive(Debug)]
pub(super) struct Sync {
    key: RecipientKey,
    /// Whether and where the peer lets this side pull.
    pull: Option<Scope>,
    push: Option<Scope>,
    delete: Option<Scope>,
    /// This side's own permission to give.
    grant: Option<Grant>,
    /// What this side holds where it may pull.
    held: Vec<Shape>,
    /// What it may give, wherever.
    may_give: Vec<Shape>,
    /// Of that, what is not among `held`.
    offered: Vec<Shape>,
    /// What only the peer holds, and what only this side does.
    only_there: PeerList<Shape>,
    only_here: BTreeSet<EntryId>,
}

/// What was proposed to the peer.
#[derive(Debug)]
pub(super) struct Proposed {
    grant: Option<Grant>,
    give: Vec<Shape>,
    wanted: BTreeSet<EntryId>,
    incoming: Incoming,
}

impl Sync {
    /// Cuts what the peer agreed to down to what was asked, and to what this side's policy lets it give.
    pub(super) fn agreed(ask: SyncAsk, agreed: Agreed) -> Result<Self, SessionError> {
        if !ask.pull && ask.push.is_none() {
            return Err(SessionError::ApiMisuse);
        }
        let asked = Scope::of(ask.selection);
        let within_grant = |scope: Option<Scope>| Some(scope?.and(&asked).and(ask.push.as_ref()?.scope()));
        let (push, delete) = (within_grant(agreed.push), within_grant(agreed.delete));
        let pull = agreed.pull.filter(|_| ask.pull).map(|scope| scope.and(&asked));
        if pull.is_none() && push.is_none() && delete.is_none() {
            return Err(Misbehaviour::OutOfOrder.into());
        }
        Ok(Self {
            key: ask.key,
            pull,
            push,
            delete,
            grant: ask.push,
            held: Vec::new(),
            may_give: Vec::new(),
            offered: Vec::new(),
            only_there: PeerList::new(),
            only_here: BTreeSet::new(),
        })
    }

    /// Where this side's own shapes are needed.
    pub(super) fn scopes(&self) -> [(Operation, Option<&Scope>); 3] {
        [
            (Operation::Pull, self.pull.as_ref()),
            (Operation::Push, self.push.as_ref()),
            (Operation::Delete, self.delete.as_ref()),
        ]
    }

    /// Takes this side's own shapes, in order, of a scope that is for these operations.
    pub(super) fn hold(&mut self, operations: &[Operation], shapes: Vec<Shape>) {
        let gives = |shape: &&Shape| {
            operations.contains(if shape.deleted { &Operation::Delete } else { &Operation::Push })
        };
        self.may_give.extend(shapes.iter().filter(gives).cloned());
        if operations.contains(&Operation::Pull) {
            self.held = shapes;
        }
    }

    /// What to tell the peer: what is held where this side may pull, and what else it may give.
    pub(super) fn tell(&mut self) -> (Vec<Shape>, Vec<Shape>) {
        self.may_give.sort_by_key(Shape::entry);
        self.offered = apart(&self.may_give, &self.held);
        (self.held.clone(), self.offered.clone())
    }

    pub(super) fn handle_only_here(&mut self, part: Vec<Shape>) -> Result<(), Misbehaviour> {
        if self.pull.is_none() {
            return Err(Misbehaviour::NotAsked);
        }
        self.only_there.extend_shapes(part)
    }

    pub(super) fn handle_only_there(&mut self, part: Vec<EntryId>) -> Result<(), Misbehaviour> {
        let told = |entry: &EntryId| find(&self.held, entry).or_else(|| find(&self.offered, entry)).is_some();
        claim(&mut self.only_here, part, told)
    }

    /// The plan, from what differs: the records that do not are only counted.
    pub(super) fn plan(&self) -> Result<Plan, Misbehaviour> {
        let only_there = &self.only_there.items;
        let mut differs: BTreeSet<LocationId> = only_there.iter().map(|shape| shape.location).collect();
        differs.extend(self.only_here.iter().map(|entry| entry.location));
        let (local, same): (Vec<&Shape>, Vec<&Shape>) =
            self.held.iter().partition(|shape| differs.contains(&shape.location));
        let local: Vec<Shape> = local.into_iter().cloned().collect();
        let also_there = local.iter().filter(|shape| !self.only_here.contains(&shape.entry()));
        let mut remote: Vec<Shape> = also_there.chain(only_there).cloned().collect();
        remote.sort_by_key(Shape::entry);
        if !remote.is_sorted_by(|one, next| one.entry() < next.entry()) {
            return Err(Misbehaviour::Unordered);
        }
        let rules = Rules { take: self.pull.is_some(), give: true, on_conflict: OnConflict::KeepBoth };
        let may_give = |shape: &Shape| find(&self.may_give, &shape.entry()).is_some();
        let mut plan = plan_giving(&local, &remote, rules, may_give);
        let wanted = self.offered.iter().filter(|shape| self.only_here.contains(&shape.entry()));
        plan.give.extend(wanted.cloned());
        plan.give.sort_by_key(Shape::entry);
        let readable = same.iter().copied().filter(|shape| !shape.deleted);
        let counted = (records(same.iter().copied()), records(readable));
        Ok(plan.and_unchanged(counted.0, counted.1))
    }

    /// This side's key, if the plan takes anything, and what is then awaited.
    pub(super) fn propose(self, plan: Plan) -> (Option<RecipientKey>, Box<Proposed>) {
        let key = (!plan.take.is_empty()).then_some(self.key);
        let entries = Announced::new(plan.take);
        // Without a scope to pull in, nothing is taken, and nothing is expected.
        let expected = match self.pull {
            Some(scope) => Expected::Entries { entries, scope },
            None => Expected::Granted { entries, push: None, delete: None },
        };
        let (give, wanted) = (plan.give, BTreeSet::new());
        (key, Box::new(Proposed { grant: self.grant, give, wanted, incoming: Incoming::new(expected) }))
    }
}

impl Proposed {
    pub(super) fn handle_want(&mut self, part: Vec<EntryId>) -> Result<(), Misbehaviour> {
        claim(&mut self.wanted, part, |entry| find(&self.give, entry).is_some())
    }

    /// What comes in now, and what then goes out.
    pub(super) fn accepted(
        self,
        key: Option<RecipientKey>,
    ) -> Result<(Incoming, Option<Outgoing>), Misbehaviour> {
        let mut give = self.give;
        give.retain(|shape| self.wanted.contains(&shape.entry()));
        let outgoing = match (self.grant, key) {
            _ if give.is_empty() => None,
            (Some(grant), Some(key)) => Some(Outgoing::new(grant, key, &give)),
            _ => return Err(Misbehaviour::BadKey),
        };
        Ok((self.incoming, outgoing))
    }
}
