//! The asked side of a session: nothing is told or done before the policy has allowed it and the log has it.

use alloc::{boxed::Box, collections::BTreeSet, string::ToString, vec, vec::Vec};

use super::{
    Action, Answer, Core, Misbehaviour, Session, SessionError, Summary, Verdict, extend_limited,
    extend_ordered,
    flow::{Expected, Incoming, Outgoing},
    volume,
};
use crate::{
    Decision, DeviceId, EntryId, Grant, LocationId, OnConflict, Operation, Pending, Plan, Policy, Rules,
    Selection, Shape,
    message::{Agreed, Listing, Message, Open, PROTOCOL, Propose, RecipientKey, Request, Volume, in_parts},
    plan,
};

/// The asked side's state machine.
#[derive(Debug)]
pub struct Asked {
    core: Core,
    state: State,
    summary: Summary,
}

/// Named for what it expects.
#[derive(Debug)]
enum State {
    /// The request.
    Open(Box<Desk>),
    /// A person's word.
    Person(Box<Desk>, Box<Request>, Vec<Ruling>),
    /// The log, then a refusal.
    LogToRefuse,
    /// This side's shapes, to give all of them.
    ShapesToGive(Grant, RecipientKey, Verdict),
    /// The log, then the batches.
    LogToGive(Box<Outgoing>, Volume),
    /// This side's names and shapes.
    List(Verdict),
    /// The log, then the listing.
    LogToList(Vec<Listing>),
    /// The asking side's shapes.
    Shapes(Box<Sync>),
    /// This side's own shapes, one scope after the other.
    Own(Box<Sync>, Own),
    /// The log, then what differs.
    LogToCompare(Box<Sync>, Vec<Message>),
    /// What the asking side wants and gives.
    Proposal(Box<Sync>),
    /// Confirmations of this side's batches; then its own batches may come.
    Giving(Outgoing, Option<Incoming>),
    /// The asking side's batches.
    Receiving(Incoming),
    /// Nothing more.
    Over,
}

/// What decides on the request.
#[derive(Debug)]
struct Desk {
    policy: Policy,
    peer: DeviceId,
    now: u64,
    key: RecipientKey,
}

/// One operation of a request and what the policy says to it.
#[derive(Debug)]
struct Ruling {
    operation: Operation,
    decision: Decision,
}

/// Which of its own shapes this side waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Pull,
    Push,
    Delete,
}

#[derive(Debug)]
struct Sync {
    verdicts: Vec<Verdict>,
    pull: Option<Grant>,
    push: Option<Grant>,
    delete: Option<Grant>,
    /// This side's one-time key.
    key: RecipientKey,
    /// What the asking side holds where it may pull, then what it offers where it may not.
    theirs: Vec<Shape>,
    offered: Vec<Shape>,
    /// What this side holds where the asking side may pull, and where it may write or delete.
    pullable: Vec<Shape>,
    writable: Vec<Shape>,
    /// What only this side holds.
    only_here: Vec<Shape>,
    want: Vec<EntryId>,
    give: Vec<EntryId>,
}

impl Asked {
    /// Waits for a request of `peer` at the time `now` (milliseconds since 1970). `key` is this side's one-time
    /// key, for what it may take.
    #[must_use]
    pub fn new(policy: Policy, peer: DeviceId, now: u64, key: RecipientKey) -> Self {
        let desk = Box::new(Desk { policy, peer, now, key });
        Self { core: Core::default(), state: State::Open(desk), summary: Summary::default() }
    }

    fn message(&mut self, message: Message) -> Result<(), SessionError> {
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, message) {
            (_, Message::Refused(refusal)) => return Err(SessionError::Refused(refusal)),
            (State::Open(desk), Message::Open(open)) => self.open(desk, open)?,
            (State::Shapes(mut sync), Message::Shapes(more)) if sync.pull.is_some() => {
                extend_ordered(&mut sync.theirs, more)?;
                State::Shapes(sync)
            }
            (State::Shapes(mut sync), Message::Offered(more)) if sync.may_receive() => {
                extend_ordered(&mut sync.offered, more)?;
                State::Shapes(sync)
            }
            (State::Shapes(sync), Message::Compare) => self.own(sync, None),
            (State::Proposal(mut sync), Message::Want(more)) => {
                extend_limited(&mut sync.want, more)?;
                State::Proposal(sync)
            }
            (State::Proposal(mut sync), Message::Give(more)) if sync.may_receive() => {
                extend_limited(&mut sync.give, more)?;
                State::Proposal(sync)
            }
            (State::Proposal(sync), Message::Propose(propose)) => self.proposed(*sync, propose)?,
            (State::Proposal(_), Message::End) => self.finish(),
            (State::Giving(mut outgoing, incoming), Message::Confirm(index)) => {
                let done = outgoing.handle_confirm(index, &mut self.core)?;
                self.giving(outgoing, incoming, done)
            }
            (State::Receiving(mut incoming), Message::Batch(batch)) => {
                incoming.handle_batch(batch)?;
                State::Receiving(incoming)
            }
            (State::Receiving(mut incoming), Message::Chunk(chunk)) => {
                incoming.handle_chunk(&chunk, &mut self.core)?;
                State::Receiving(incoming)
            }
            (State::Receiving(incoming), Message::End) => {
                incoming.may_end()?;
                self.finish()
            }
            _ => return Err(Misbehaviour::OutOfOrder.into()),
        };
        Ok(())
    }

    fn answer(&mut self, answer: Answer) -> Result<(), SessionError> {
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, answer) {
            (State::Person(desk, request, rulings), Answer::Approved) => {
                self.ruled(*desk, *request, rulings, true)
            }
            (State::Person(desk, request, rulings), Answer::Denied) => {
                self.ruled(*desk, *request, rulings, false)
            }
            (State::LogToRefuse, Answer::Logged) => return Err(SessionError::NotPermitted),
            (State::ShapesToGive(grant, key, mut verdict), Answer::Shapes(shapes)) => {
                verdict.volume = volume(&shapes);
                let total = verdict.volume;
                self.core.act(Action::Log(vec![verdict]));
                State::LogToGive(Box::new(Outgoing::new(grant, key, &shapes)), total)
            }
            (State::LogToGive(mut outgoing, total), Answer::Logged) => {
                self.core.send(Message::Granted(total));
                let done = outgoing.go_on(&mut self.core);
                self.giving(*outgoing, None, done)
            }
            (State::List(mut verdict), Answer::Listing(found)) => {
                verdict.volume.entries = found.len() as u64;
                self.core.act(Action::Log(vec![verdict]));
                State::LogToList(found)
            }
            (State::LogToList(found), Answer::Logged) => {
                self.core.send_all(in_parts(found, Message::Listed));
                self.core.send(Message::End);
                self.finish()
            }
            (State::Own(mut sync, own), Answer::Shapes(shapes)) => {
                sync.hold(own, shapes);
                self.own(sync, Some(own))
            }
            (State::LogToCompare(sync, differing), Answer::Logged) => {
                self.core.send_all(differing);
                self.core.send(Message::Compared);
                State::Proposal(sync)
            }
            (State::Giving(mut outgoing, incoming), Answer::Sealed(sealed)) => {
                let done = outgoing.handle_sealed(&sealed, &mut self.core);
                self.giving(outgoing, incoming, done)
            }
            (State::Receiving(mut incoming), Answer::Imported(taken)) => {
                incoming.handle_imported(&mut self.core);
                self.summary.received += taken.received;
                self.summary.deleted += taken.deleted;
                self.summary.conflicts += taken.conflicts;
                State::Receiving(incoming)
            }
            _ => return Err(SessionError::ApiMisuse),
        };
        Ok(())
    }

    /// A request has come: the policy decides, or a person has to.
    fn open(&mut self, desk: Box<Desk>, open: Open) -> Result<State, SessionError> {
        if open.protocol != PROTOCOL {
            return Err(SessionError::PeerIncompatible { ours: PROTOCOL, theirs: open.protocol });
        }
        let request = open.request;
        let rule = |operation: &Operation| Ruling {
            operation: *operation,
            decision: desk.policy.decide(&desk.peer, *operation, request.selection(), desk.now),
        };
        let rulings: Vec<Ruling> = operations(&request).iter().map(rule).collect();
        let pending: Vec<Pending> = rulings.iter().filter_map(Ruling::pending).collect();
        if pending.is_empty() {
            return Ok(self.ruled(*desk, request, rulings, false));
        }
        self.core.act(Action::Ask(pending));
        Ok(State::Person(desk, Box::new(request), rulings))
    }

    /// The policy, and a person where it takes one, have spoken.
    fn ruled(&mut self, desk: Desk, request: Request, rulings: Vec<Ruling>, approved: bool) -> State {
        let selection = request.selection().clone();
        let ruled: Vec<(Operation, Option<Grant>)> =
            rulings.into_iter().map(|ruling| (ruling.operation, ruling.grant(approved))).collect();
        let verdict =
            |(operation, grant): &(Operation, Option<Grant>)| verdict(*operation, grant, &selection);
        if ruled.iter().all(|(_, grant)| grant.is_none()) {
            let asked = ruled.iter().filter(|(operation, _)| *operation != Operation::Delete);
            self.core.act(Action::Log(asked.map(verdict).collect()));
            return State::LogToRefuse;
        }
        let verdicts: Vec<Verdict> = ruled.iter().map(verdict).collect();
        let granted = |wanted: Operation| {
            ruled.iter().find(|(is, _)| *is == wanted).and_then(|(_, grant)| grant.clone())
        };
        match (request, granted(Operation::Import), granted(Operation::Browse), granted(Operation::Pull)) {
            (Request::Import { key, .. }, Some(grant), ..)
            | (Request::Fetch { key, .. }, _, _, Some(grant)) => {
                self.core.act(Action::Shapes(grant.scope().clone()));
                State::ShapesToGive(grant, key, verdicts[0].clone())
            }
            (Request::Browse { .. }, _, Some(grant), _) => {
                self.core.act(Action::List(grant));
                State::List(verdicts[0].clone())
            }
            (_, _, _, pull) => {
                let (push, delete) = (granted(Operation::Push), granted(Operation::Delete));
                let scope = |grant: &Option<Grant>| grant.as_ref().map(|grant| grant.scope().clone());
                let (pulls, pushes, deletes) = (scope(&pull), scope(&push), scope(&delete));
                self.core.send(Message::Agreed(Agreed { pull: pulls, push: pushes, delete: deletes }));
                State::Shapes(Box::new(Sync::new(verdicts, [pull, push, delete], desk.key)))
            }
        }
    }

    /// Asks for this side's shapes in the next scope that there is; compares when there is none.
    fn own(&mut self, sync: Box<Sync>, done: Option<Own>) -> State {
        let order = [(Own::Pull, &sync.pull), (Own::Push, &sync.push), (Own::Delete, &sync.delete)];
        let next = order
            .into_iter()
            .filter(|(own, _)| done.is_none_or(|done| *own as u8 > done as u8))
            .find_map(|(own, grant)| Some((own, grant.as_ref()?.scope().clone())));
        match next {
            Some((own, scope)) => {
                self.core.act(Action::Shapes(scope));
                State::Own(sync, own)
            }
            None => self.compare(sync),
        }
    }

    fn compare(&mut self, mut sync: Box<Sync>) -> State {
        let only_there = sync.compare();
        let mut differing = in_parts(sync.only_here.clone(), Message::OnlyHere);
        differing.extend(in_parts(only_there.iter().map(Shape::entry).collect(), Message::OnlyThere));
        self.core.act(Action::Log(sync.verdicts_with(&only_there)));
        State::LogToCompare(sync, differing)
    }

    fn proposed(&mut self, sync: Sync, propose: Propose) -> Result<State, SessionError> {
        let plan = sync.plan_to_take()?;
        if plan.deletes_many() && !propose.deletions_confirmed {
            return Err(SessionError::Deletions);
        }
        let outgoing = sync.outgoing(propose.key)?;
        let take: Vec<EntryId> = plan.take.iter().map(Shape::entry).collect();
        let key = (!take.is_empty()).then(|| sync.key.clone());
        let expected = Expected::Granted {
            entries: take.iter().copied().collect(),
            push: sync.push,
            delete: sync.delete,
        };
        let incoming = (!take.is_empty()).then(|| Incoming::new(expected));
        self.core.send_all(in_parts(take, Message::Want));
        self.core.send(Message::Accept(key));
        Ok(match outgoing {
            Some(mut outgoing) => {
                let done = outgoing.go_on(&mut self.core);
                self.giving(outgoing, incoming, done)
            }
            None => {
                self.core.send(Message::End);
                self.receive(incoming)
            }
        })
    }

    fn giving(&mut self, outgoing: Outgoing, incoming: Option<Incoming>, done: bool) -> State {
        self.summary.sent = outgoing.sent;
        if done { self.receive(incoming) } else { State::Giving(outgoing, incoming) }
    }

    fn receive(&mut self, incoming: Option<Incoming>) -> State {
        match incoming {
            Some(incoming) => State::Receiving(incoming),
            None => self.finish(),
        }
    }

    fn finish(&mut self) -> State {
        self.core.act(Action::Finished(self.summary));
        State::Over
    }
}

/// What a request takes of the policy.
fn operations(request: &Request) -> &'static [Operation] {
    match request {
        Request::Import { .. } => &[Operation::Import],
        Request::Browse { .. } => &[Operation::Browse],
        Request::Fetch { .. } | Request::Sync { pull: true, push: false, .. } => &[Operation::Pull],
        Request::Sync { pull: true, push: true, .. } => {
            &[Operation::Pull, Operation::Push, Operation::Delete]
        }
        Request::Sync { .. } => &[Operation::Push, Operation::Delete],
    }
}

fn verdict(operation: Operation, grant: &Option<Grant>, selection: &Selection) -> Verdict {
    let selection = selection.to_string();
    Verdict { operation, selection, allowed: grant.is_some(), volume: Volume::default() }
}

impl Ruling {
    fn pending(&self) -> Option<Pending> {
        match &self.decision {
            Decision::Ask(pending) => Some(pending.clone()),
            _ => None,
        }
    }

    fn grant(self, approved: bool) -> Option<Grant> {
        match self.decision {
            Decision::Allowed(grant) => Some(grant),
            Decision::Ask(pending) if approved => Some(pending.approve()),
            _ => None,
        }
    }
}

impl Sync {
    fn new(verdicts: Vec<Verdict>, [pull, push, delete]: [Option<Grant>; 3], key: RecipientKey) -> Self {
        Self {
            verdicts,
            pull,
            push,
            delete,
            key,
            theirs: Vec::new(),
            offered: Vec::new(),
            pullable: Vec::new(),
            writable: Vec::new(),
            only_here: Vec::new(),
            want: Vec::new(),
            give: Vec::new(),
        }
    }

    fn may_receive(&self) -> bool {
        self.push.is_some() || self.delete.is_some()
    }

    fn hold(&mut self, own: Own, shapes: Vec<Shape>) {
        match own {
            Own::Pull => self.pullable = shapes,
            Own::Push | Own::Delete => {
                self.writable.extend(shapes);
                self.writable.sort_by_key(Shape::entry);
                self.writable.dedup_by_key(|shape| shape.entry());
            }
        }
    }

    /// Finds what only this side holds; gives what only the asking side holds, or offers and is wanted.
    fn compare(&mut self) -> Vec<Shape> {
        let here: BTreeSet<EntryId> = self.pullable.iter().map(Shape::entry).collect();
        let there: BTreeSet<EntryId> = self.theirs.iter().map(Shape::entry).collect();
        let lacks = |set: &BTreeSet<EntryId>, shape: &&Shape| !set.contains(&shape.entry());
        self.only_here = self.pullable.iter().filter(|shape| lacks(&there, shape)).cloned().collect();
        let mut only_there: Vec<Shape> =
            self.theirs.iter().filter(|shape| lacks(&here, shape)).cloned().collect();
        let offered = plan(&at_locations_of(&self.writable, &self.offered), &self.offered, TAKE).take;
        only_there.extend(offered);
        only_there
    }

    /// The verdicts for the log: how much the asking side may take by them, and how much it brings.
    fn verdicts_with(&self, only_there: &[Shape]) -> Vec<Verdict> {
        let given = |deleted: bool| volume(only_there.iter().filter(|shape| shape.deleted == deleted));
        let counted = |mut verdict: Verdict| {
            verdict.volume = match verdict.operation {
                Operation::Push => given(false),
                Operation::Delete => given(true),
                _ => volume(&self.only_here),
            };
            let unused = verdict.operation == Operation::Delete && verdict.volume.entries == 0;
            (!unused).then_some(verdict)
        };
        self.verdicts.iter().cloned().filter_map(counted).collect()
    }

    /// What this side takes of what is given to it.
    fn plan_to_take(&self) -> Result<Plan, Misbehaviour> {
        let give: BTreeSet<EntryId> = self.give.iter().copied().collect();
        let staged = self.theirs.iter().chain(&self.offered).filter(|shape| give.contains(&shape.entry()));
        let mut given: Vec<Shape> = staged.cloned().collect();
        given.sort_by_key(Shape::entry);
        given.dedup_by_key(|shape| shape.entry());
        if given.len() != give.len() {
            return Err(Misbehaviour::NotAsked);
        }
        let mut own = self.pullable.clone();
        own.extend(self.writable.iter().cloned());
        own.sort_by_key(Shape::entry);
        own.dedup_by_key(|shape| shape.entry());
        let plan = plan(&at_locations_of(&own, &given), &given, TAKE);
        let readable: BTreeSet<LocationId> =
            own.iter().filter(|shape| !shape.deleted).map(|shape| shape.location).collect();
        let others = (readable.len() as u64).saturating_sub(plan.readable_here);
        Ok(plan.and_unchanged(others, others))
    }

    /// The batches for what the asking side wants, which was told to it before.
    fn outgoing(&self, key: Option<RecipientKey>) -> Result<Option<Outgoing>, Misbehaviour> {
        let want: BTreeSet<EntryId> = self.want.iter().copied().collect();
        let shapes: Vec<&Shape> =
            self.only_here.iter().filter(|shape| want.contains(&shape.entry())).collect();
        if shapes.len() != want.len() {
            return Err(Misbehaviour::NotAsked);
        }
        match (&self.pull, key) {
            _ if want.is_empty() => Ok(None),
            (Some(grant), Some(key)) => Ok(Some(Outgoing::new(grant.clone(), key, shapes))),
            _ => Err(Misbehaviour::BadKey),
        }
    }
}

const TAKE: Rules = Rules { take: true, give: false, on_conflict: OnConflict::KeepBoth };

/// The shapes at the locations of others.
fn at_locations_of(shapes: &[Shape], others: &[Shape]) -> Vec<Shape> {
    let locations: BTreeSet<LocationId> = others.iter().map(|shape| shape.location).collect();
    shapes.iter().filter(|shape| locations.contains(&shape.location)).cloned().collect()
}

impl Session for Asked {
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError> {
        self.core.may_receive()?;
        self.message(message).map_err(|error| self.core.fail(error))
    }

    fn handle_answer(&mut self, answer: Answer) -> Result<(), SessionError> {
        let checked = self.core.may_answer(&answer);
        checked.and_then(|()| self.answer(answer)).map_err(|error| self.core.fail(error))
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.core.actions.pop_front()
    }
}
