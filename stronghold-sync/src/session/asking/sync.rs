//! What the asking side of a sync knows of both sides, and the plan that follows from it.

use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};

use super::super::{
    Misbehaviour, PeerList, SessionError, apart, claim, find,
    flow::{Announced, Expected, Incoming, Outgoing},
    positions, records,
};
use super::SyncAsk;
use crate::{
    EntryId, Grant, LocationId, OnConflict, Operation, Plan, RevisionId, Rules, Scope, Shape,
    message::{Agreed, Message, RecipientKey, in_parts},
    plan::plan_giving,
    reconcile::{self, Again, MAX_CELLS, Reconciling, SetKey, Summary, Symbol},
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
    /// The secret of the session, for the keys of the reconciliation.
    secret: [u8; 32],
    /// What the peer told of its set first, and the reconciliation with it, where this side may pull.
    theirs: Option<Summary>,
    reconciling: Option<Reconciling>,
    /// What only the peer holds, and symbols of what only this side does.
    only_there: PeerList<Shape>,
    lacking: Vec<u64>,
    only_here: BTreeSet<EntryId>,
}

/// What was proposed to the peer.
#[derive(Debug)]
pub(super) struct Proposed {
    grant: Option<Grant>,
    give: Vec<Shape>,
    wanted: BTreeSet<u32>,
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
        if pull.is_none() && push.is_none() && delete.is_none() || pull.is_some() != agreed.held.is_some() {
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
            secret: ask.secret,
            theirs: agreed.held,
            reconciling: None,
            only_there: PeerList::new(),
            lacking: Vec::new(),
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

    /// What to tell the peer: of what is held where this side may pull, and what else it may give. Nothing when both
    /// sides hold the same.
    pub(super) fn tell(&mut self) -> Vec<Message> {
        self.may_give.sort_by_key(Shape::entry);
        self.offered = apart(&self.may_give, &self.held);
        let entries = self.held.iter().map(Shape::entry);
        let theirs = self.theirs.take();
        self.reconciling = theirs.map(|theirs| Reconciling::new(&self.secret, entries, theirs));
        let telling = self.reconciling.as_mut().map(Reconciling::tell).unwrap_or_default();
        let mut messages: Vec<Message> = telling.into_iter().map(Message::Tell).collect();
        messages.extend(in_parts(self.offered.clone(), Message::Offered));
        if !messages.is_empty() {
            messages.push(Message::Compare);
        }
        messages
    }

    /// The peer needs to be told more.
    pub(super) fn handle_again(&mut self, again: Again) -> Result<Vec<Message>, Misbehaviour> {
        if !self.only_there.items.is_empty() || !self.lacking.is_empty() {
            return Err(Misbehaviour::OutOfOrder);
        }
        let entries = self.held.iter().map(Shape::entry);
        let reconciling = self.reconciling.as_mut().ok_or(Misbehaviour::OutOfOrder)?;
        let telling = reconciling.tell_again(again, entries)?;
        Ok(telling.into_iter().map(Message::Tell).chain([Message::Compare]).collect())
    }

    pub(super) fn handle_only_here(&mut self, part: Vec<Shape>) -> Result<(), Misbehaviour> {
        if self.pull.is_none() {
            return Err(Misbehaviour::NotAsked);
        }
        self.only_there.extend_shapes(part)
    }

    pub(super) fn handle_only_there(&mut self, part: &[u8]) -> Result<(), Misbehaviour> {
        if part.is_empty() {
            return Err(Misbehaviour::OutOfOrder);
        }
        reconcile::extend(&mut self.lacking, part, MAX_CELLS.max(self.held.len() + self.offered.len()))
    }

    /// Whether what the peer says that differs adds up: every symbol is of an entry here, and the peer's set is this
    /// side's with the difference applied.
    pub(super) fn adds_up(&mut self) -> bool {
        let lacking: BTreeSet<Symbol> = self.lacking.drain(..).map(Symbol::from_bits).collect();
        let key = match &self.reconciling {
            Some(reconciling) => reconciling.set().key().clone(),
            None => SetKey::new(&self.secret, 0),
        };
        let symbols = |shapes: &[Shape]| -> Vec<(Symbol, EntryId)> {
            let entries = shapes.iter().map(Shape::entry);
            let all = entries.map(|entry| (key.symbol(key.hash(&entry)), entry));
            all.filter(|(symbol, _)| lacking.contains(symbol)).collect()
        };
        let (held, offered) = (symbols(&self.held), symbols(&self.offered));
        let known: BTreeSet<Symbol> = held.iter().chain(&offered).map(|(symbol, _)| *symbol).collect();
        let there: Vec<EntryId> = self.only_there.items.iter().map(Shape::entry).collect();
        let adds_up = self
            .reconciling
            .as_ref()
            .is_none_or(|reconciling| reconciling.adds_up(held.iter().map(|(_, entry)| entry), &there));
        self.only_here = held.into_iter().chain(offered).map(|(_, entry)| entry).collect();
        adds_up && known.len() == lacking.len()
    }

    /// Forgets what the peer said that differs; whether it can be found in another way.
    pub(super) fn forget(&mut self) -> bool {
        self.only_there = PeerList::new();
        self.only_here.clear();
        self.reconciling.as_ref().is_some_and(Reconciling::has_fallback)
    }

    /// What both sides hold where this side may pull.
    pub(super) fn common(&self) -> impl Iterator<Item = RevisionId> {
        let common = self.held.iter().filter(|shape| !self.only_here.contains(&shape.entry()));
        common.map(|shape| shape.revision)
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

    /// The positions of what the plan takes, in the list of what only the peer holds.
    pub(super) fn positions(&self, take: &[Shape]) -> Vec<u32> {
        positions(&self.only_there.items, take)
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
    pub(super) fn handle_want(&mut self, part: Vec<u32>) -> Result<(), Misbehaviour> {
        let told = self.give.len();
        claim(&mut self.wanted, part, |position| (*position as usize) < told)
    }

    /// What comes in now, and what then goes out.
    pub(super) fn accepted(
        self,
        key: Option<RecipientKey>,
    ) -> Result<(Incoming, Option<Outgoing>), Misbehaviour> {
        let give: Vec<Shape> =
            self.wanted.iter().map(|position| self.give[*position as usize].clone()).collect();
        let outgoing = match (self.grant, key) {
            _ if give.is_empty() => None,
            (Some(grant), Some(key)) => Some(Outgoing::new(grant, key, &give)),
            _ => return Err(Misbehaviour::BadKey),
        };
        Ok((self.incoming, outgoing))
    }
}
