//! The asking side of a session.

use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};

use super::{
    Action, Answer, Core, Misbehaviour, Session, SessionError, Summary, extend_limited, extend_ordered,
    flow::{Expected, Incoming, Outgoing},
};
use crate::{
    EntryId, Grant, LocationId, OnConflict, Plan, Rules, Scope, Selection, Shape,
    message::{Agreed, Listing, Message, Open, PROTOCOL, Propose, RecipientKey, Request, in_parts},
    plan,
};

/// What to ask a peer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Everything selected, sealed to this key.
    Import {
        /// Of what.
        selection: Selection,
        /// This side's one-time key.
        key: RecipientKey,
    },
    /// Which entries there are.
    Browse {
        /// Of what.
        selection: Selection,
    },
    /// Picked entries, sealed to this key.
    Fetch {
        /// Which.
        selection: Selection,
        /// This side's one-time key.
        key: RecipientKey,
    },
    /// What either side lacks.
    Sync(SyncAsk),
}

/// A sync to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncAsk {
    /// Of what.
    pub selection: Selection,
    /// Whether to receive.
    pub pull: bool,
    /// Whether to give, by the grant of this side's own policy for the peer.
    pub push: Option<Grant>,
    /// This side's one-time key.
    pub key: RecipientKey,
}

/// The asking side's state machine.
#[derive(Debug)]
pub struct Asking {
    core: Core,
    state: State,
    summary: Summary,
    sent_since: bool,
}

/// Named for what it expects.
#[derive(Debug)]
enum State {
    /// The answer to an import or fetch.
    Granted(Incoming),
    /// The answer to a browse.
    Listing(Vec<Listing>),
    /// The answer to a sync.
    Agreed(Box<SyncAsk>),
    /// This side's own shapes.
    Shapes(Box<Gathering>),
    /// What differs.
    Compared(Box<Comparing>),
    /// The caller's word on the plan.
    Verdict(Box<Comparing>, Box<Plan>),
    /// What the peer wants.
    Accept(Box<Proposed>),
    /// The peer's batches; then, in a sync, this side's.
    Receiving(Incoming, Option<Outgoing>),
    /// The peer's confirmations.
    Giving(Outgoing),
    /// Nothing more.
    Over,
}

/// A sync whose scopes are agreed, while shapes are gathered for one after the other.
#[derive(Debug)]
struct Gathering {
    step: Step,
    push: Option<Scope>,
    delete: Option<Scope>,
    comparing: Comparing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Compare,
    Push,
    Delete,
}

#[derive(Debug)]
struct Comparing {
    key: RecipientKey,
    push: Option<Grant>,
    /// Whether the peer lets this side pull.
    pulls: bool,
    /// What this side holds where it may pull.
    held: Vec<Shape>,
    /// What it may give.
    may_give: Vec<Shape>,
    only_there: Vec<Shape>,
    only_here: BTreeSet<EntryId>,
}

#[derive(Debug)]
struct Proposed {
    grant: Option<Grant>,
    give: Vec<Shape>,
    wanted: Vec<EntryId>,
    incoming: Incoming,
}

impl Asking {
    /// Starts a session by asking.
    #[must_use]
    pub fn new(ask: Ask) -> Self {
        let (request, state) = match ask {
            Ask::Import { selection, key } => {
                let expected = Expected::Within(Scope::of(selection.clone()));
                (Request::Import { selection, key }, State::Granted(Incoming::new(expected)))
            }
            Ask::Fetch { selection, key } => {
                let expected = Expected::Within(Scope::of(selection.clone()));
                (Request::Fetch { selection, key }, State::Granted(Incoming::new(expected)))
            }
            Ask::Browse { selection } => (Request::Browse { selection }, State::Listing(Vec::new())),
            Ask::Sync(ask) => {
                let (selection, pull, push) = (ask.selection.clone(), ask.pull, ask.push.is_some());
                (Request::Sync { selection, pull, push }, State::Agreed(Box::new(ask)))
            }
        };
        let mut core = Core::default();
        core.send(Message::Open(Open { protocol: PROTOCOL, request }));
        Self { core, state, summary: Summary::default(), sent_since: true }
    }

    fn message(&mut self, message: Message) -> Result<(), SessionError> {
        if core::mem::take(&mut self.sent_since) {
            self.summary.round_trips += 1;
        }
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, message) {
            (_, Message::Refused(refusal)) => return Err(SessionError::Refused(refusal)),
            (State::Granted(incoming), Message::Granted(volume)) => {
                self.core.act(Action::Expect(volume));
                State::Receiving(incoming, None)
            }
            (State::Listing(mut found), Message::Listed(more)) => {
                extend_limited(&mut found, more)?;
                State::Listing(found)
            }
            (State::Listing(found), Message::End) => {
                self.core.act(Action::Found(found));
                self.finish()
            }
            (State::Agreed(ask), Message::Agreed(agreed)) => self.agreed(*ask, agreed)?,
            (State::Compared(mut comparing), Message::OnlyHere(more)) => {
                extend_ordered(&mut comparing.only_there, more)?;
                State::Compared(comparing)
            }
            (State::Compared(mut comparing), Message::OnlyThere(more)) => {
                // Entries that this side does not hold are of no effect, so the set is bounded by what it holds.
                let held = comparing.holds(more);
                comparing.only_here.extend(held);
                State::Compared(comparing)
            }
            (State::Compared(comparing), Message::Compared) => self.compared(comparing)?,
            (State::Accept(mut proposed), Message::Want(more)) => {
                extend_limited(&mut proposed.wanted, more)?;
                State::Accept(proposed)
            }
            (State::Accept(proposed), Message::Accept(key)) => Self::accepted(*proposed, key)?,
            (State::Receiving(mut incoming, outgoing), Message::Batch(batch)) => {
                incoming.handle_batch(batch)?;
                State::Receiving(incoming, outgoing)
            }
            (State::Receiving(mut incoming, outgoing), Message::Chunk(chunk)) => {
                incoming.handle_chunk(&chunk, &mut self.core)?;
                State::Receiving(incoming, outgoing)
            }
            (State::Receiving(incoming, outgoing), Message::End) => {
                incoming.may_end()?;
                match outgoing {
                    Some(outgoing) => self.give(outgoing),
                    None => self.finish(),
                }
            }
            (State::Giving(mut outgoing), Message::Confirm(index)) => {
                let done = outgoing.handle_confirm(index, &mut self.core)?;
                self.giving(outgoing, done)
            }
            _ => return Err(Misbehaviour::OutOfOrder.into()),
        };
        Ok(())
    }

    fn answer(&mut self, answer: Answer) -> Result<(), SessionError> {
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, answer) {
            (State::Shapes(gathering), Answer::Shapes(shapes)) => self.gathered(gathering, shapes),
            (State::Verdict(_, plan), Answer::Stop) => {
                // What the plan would do is the result of a dry run.
                self.summary.conflicts = plan.conflicts;
                self.core.send(Message::End);
                self.finish()
            }
            (State::Verdict(comparing, plan), Answer::Proceed { deletions_confirmed }) => {
                if plan.deletes_many() && !deletions_confirmed {
                    return Err(SessionError::Deletions);
                }
                self.propose(*comparing, *plan, deletions_confirmed)
            }
            (State::Receiving(mut incoming, outgoing), Answer::Imported(taken)) => {
                incoming.handle_imported(&mut self.core);
                self.summary.received += taken.received;
                self.summary.deleted += taken.deleted;
                self.summary.conflicts += taken.conflicts;
                State::Receiving(incoming, outgoing)
            }
            (State::Giving(mut outgoing), Answer::Sealed(sealed)) => {
                let done = outgoing.handle_sealed(&sealed, &mut self.core);
                self.giving(outgoing, done)
            }
            _ => return Err(SessionError::ApiMisuse),
        };
        Ok(())
    }

    fn agreed(&mut self, ask: SyncAsk, agreed: Agreed) -> Result<State, SessionError> {
        let within_grant = |scope: Option<Scope>| {
            let grant = ask.push.as_ref()?;
            Some(scope?.and(grant.scope()))
        };
        let asked = Scope::of(ask.selection.clone());
        let pull = agreed.pull.filter(|_| ask.pull).map(|scope| scope.and(&asked));
        let (push, delete) = (within_grant(agreed.push), within_grant(agreed.delete));
        if pull.is_none() && push.is_none() && delete.is_none() {
            return Err(Misbehaviour::OutOfOrder.into());
        }
        let comparing = Comparing {
            key: ask.key.clone(),
            push: ask.push.clone(),
            pulls: pull.is_some(),
            held: Vec::new(),
            may_give: Vec::new(),
            only_there: Vec::new(),
            only_here: BTreeSet::new(),
        };
        let gathering = Box::new(Gathering { step: Step::Compare, push, delete, comparing });
        Ok(match pull {
            Some(scope) => {
                self.core.act(Action::Shapes(scope));
                State::Shapes(gathering)
            }
            None => self.gathered(gathering, Vec::new()),
        })
    }

    /// Takes the shapes of one step, asks for those of the next that has a scope.
    fn gathered(&mut self, mut gathering: Box<Gathering>, shapes: Vec<Shape>) -> State {
        match gathering.step {
            Step::Compare => gathering.comparing.held = shapes,
            Step::Push => {
                gathering.comparing.may_give.extend(shapes.into_iter().filter(|shape| !shape.deleted))
            }
            Step::Delete => {
                gathering.comparing.may_give.extend(shapes.into_iter().filter(|shape| shape.deleted))
            }
        }
        let next = match (gathering.step, gathering.push.take(), gathering.delete.take()) {
            (Step::Compare, Some(push), delete) => {
                gathering.delete = delete;
                Some((Step::Push, push))
            }
            (Step::Compare | Step::Push, _, Some(delete)) => Some((Step::Delete, delete)),
            _ => None,
        };
        match next {
            Some((step, scope)) => {
                gathering.step = step;
                self.core.act(Action::Shapes(scope));
                State::Shapes(gathering)
            }
            None => self.compare(gathering.comparing),
        }
    }

    /// Sends what this side holds, as far as the peer is to know it.
    fn compare(&mut self, mut comparing: Comparing) -> State {
        comparing.may_give.sort_by_key(Shape::entry);
        let held: BTreeSet<EntryId> = comparing.held.iter().map(Shape::entry).collect();
        let apart = |shape: &&Shape| !held.contains(&shape.entry());
        let offered: Vec<Shape> = comparing.may_give.iter().filter(apart).cloned().collect();
        self.core.send_all(in_parts(comparing.held.clone(), Message::Shapes));
        self.core.send_all(in_parts(offered, Message::Offered));
        self.core.send(Message::Compare);
        State::Compared(Box::new(comparing))
    }

    fn compared(&mut self, comparing: Box<Comparing>) -> Result<State, SessionError> {
        let plan = comparing.plan()?;
        self.summary.unchanged = plan.unchanged;
        self.core.act(Action::Plan(Box::new(plan.clone())));
        Ok(State::Verdict(comparing, Box::new(plan)))
    }

    fn propose(&mut self, comparing: Comparing, plan: Plan, deletions_confirmed: bool) -> State {
        if plan.is_empty() {
            self.core.send(Message::End);
            return self.finish();
        }
        let want: Vec<EntryId> = plan.take.iter().map(Shape::entry).collect();
        let give: Vec<EntryId> = plan.give.iter().map(Shape::entry).collect();
        let incoming = Incoming::new(Expected::Entries(want.iter().copied().collect()));
        let key = (!want.is_empty()).then_some(comparing.key);
        self.core.act(Action::Expect(super::volume(&plan.take)));
        self.core.send_all(in_parts(want, Message::Want));
        self.core.send_all(in_parts(give, Message::Give));
        self.core.send(Message::Propose(Propose { key, deletions_confirmed }));
        let (grant, give) = (comparing.push, plan.give);
        State::Accept(Box::new(Proposed { grant, give, wanted: Vec::new(), incoming }))
    }

    fn accepted(proposed: Proposed, key: Option<RecipientKey>) -> Result<State, SessionError> {
        let wanted: BTreeSet<EntryId> = proposed.wanted.into_iter().collect();
        let give: Vec<&Shape> =
            proposed.give.iter().filter(|shape| wanted.contains(&shape.entry())).collect();
        if give.len() != wanted.len() {
            return Err(Misbehaviour::NotAsked.into());
        }
        let outgoing = match (proposed.grant, key) {
            _ if give.is_empty() => None,
            (Some(grant), Some(key)) => Some(Outgoing::new(grant, key, give)),
            _ => return Err(Misbehaviour::BadKey.into()),
        };
        Ok(State::Receiving(proposed.incoming, outgoing))
    }

    fn give(&mut self, mut outgoing: Outgoing) -> State {
        let done = outgoing.go_on(&mut self.core);
        self.giving(outgoing, done)
    }

    fn giving(&mut self, outgoing: Outgoing, done: bool) -> State {
        self.summary.sent = outgoing.sent;
        if done { self.finish() } else { State::Giving(outgoing) }
    }

    fn finish(&mut self) -> State {
        self.core.act(Action::Finished(self.summary));
        State::Over
    }
}

impl Comparing {
    /// The plan, from what differs: the records that do not are only counted.
    fn plan(&self) -> Result<Plan, Misbehaviour> {
        if !self.pulls && !self.only_there.is_empty() {
            return Err(Misbehaviour::NotAsked);
        }
        let mut differing: BTreeSet<LocationId> =
            self.only_there.iter().map(|shape| shape.location).collect();
        differing.extend(self.only_here.iter().map(|entry| entry.location));
        let (local, same): (Vec<Shape>, Vec<Shape>) =
            self.held.iter().cloned().partition(|shape| differing.contains(&shape.location));
        let also_there = local.iter().filter(|shape| !self.only_here.contains(&shape.entry()));
        let mut remote: Vec<Shape> = also_there.chain(&self.only_there).cloned().collect();
        remote.sort_by_key(Shape::entry);
        if remote.windows(2).any(|pair| pair[0].entry() == pair[1].entry()) {
            return Err(Misbehaviour::Unordered);
        }
        let rules = Rules { take: self.pulls, give: true, on_conflict: OnConflict::KeepBoth };
        let mut plan = plan(&local, &remote, rules);
        let may_give: BTreeSet<EntryId> = self.may_give.iter().map(Shape::entry).collect();
        plan.give_only(|entry| may_give.contains(entry));
        let planned: BTreeSet<EntryId> = plan.give.iter().map(Shape::entry).collect();
        let held: BTreeSet<EntryId> = self.held.iter().map(Shape::entry).collect();
        let offered = self.may_give.iter().filter(|shape| {
            let entry = shape.entry();
            self.only_here.contains(&entry) && !held.contains(&entry) && !planned.contains(&entry)
        });
        plan.give.extend(offered.cloned());
        let records = |shapes: &[Shape], readable: bool| {
            let counted = shapes.iter().filter(|shape| !(readable && shape.deleted));
            counted.map(|shape| shape.location).collect::<BTreeSet<_>>().len() as u64
        };
        Ok(plan.and_unchanged(records(&same, false), records(&same, true)))
    }

    /// Those of the entries that this side holds or offered.
    fn holds(&self, entries: Vec<EntryId>) -> Vec<EntryId> {
        let known = |list: &[Shape], entry: &EntryId| list.binary_search_by_key(entry, Shape::entry).is_ok();
        entries.into_iter().filter(|entry| known(&self.held, entry) || known(&self.may_give, entry)).collect()
    }
}

impl Session for Asking {
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError> {
        self.core.may_receive()?;
        self.message(message).map_err(|error| self.core.fail(error))
    }

    fn handle_answer(&mut self, answer: Answer) -> Result<(), SessionError> {
        let checked = self.core.may_answer(&answer);
        checked.and_then(|()| self.answer(answer)).map_err(|error| self.core.fail(error))
    }

    fn poll_action(&mut self) -> Option<Action> {
        let action = self.core.actions.pop_front();
        self.sent_since |= matches!(action, Some(Action::Send(_)));
        action
    }
}
