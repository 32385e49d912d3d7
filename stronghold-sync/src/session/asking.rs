//! The asking side of a session.

mod sync;

use alloc::boxed::Box;

use self::sync::{Proposed, Sync};
use super::{
    Action, Answer, Core, Gathering, Misbehaviour, PeerList, Session, SessionError, Summary,
    flow::{Expected, Incoming, Outgoing},
    ordered, volume,
};
use crate::{
    Grant, Plan, Scope, Selection,
    message::{Listing, Message, Open, PROTOCOL, Propose, RecipientKey, Request, in_parts},
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
    /// Whether to give, by the grant of this side's own policy for the peer. One of `pull` and `push` must be there.
    pub push: Option<Grant>,
    /// This side's one-time key.
    pub key: RecipientKey,
    /// 32 bytes that only the two ends of this session know, fresh each time.
    pub secret: [u8; 32],
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
    Listing(Selection, PeerList<Listing>),
    /// The answer to a sync.
    Agreed(Box<SyncAsk>),
    /// This side's own shapes, one scope after the other.
    Shapes(Box<Sync>, Gathering),
    /// What differs.
    Compared(Box<Sync>),
    /// Another way to find it: it did not add up.
    Mismatched(Box<Sync>),
    /// The caller's word on the plan.
    Verdict(Box<Sync>, Box<Plan>),
    /// What the peer wants.
    Accept(Box<Proposed>),
    /// The peer's batches; then, in a sync, this side's.
    Receiving(Incoming, Option<Box<Outgoing>>),
    /// The peer's confirmations.
    Giving(Box<Outgoing>),
    /// Nothing more.
    Over,
}

impl Asking {
    /// Starts a session by asking.
    #[must_use]
    pub fn new(ask: Ask) -> Self {
        Self::at_generation(ask, 0)
    }

    /// The same, telling the peer of which generation this side's snapshot is.
    #[must_use]
    pub fn at_generation(ask: Ask, generation: u64) -> Self {
        let (request, state) = match ask {
            Ask::Import { selection, key } => {
                let expected = Expected::Within(Scope::of(selection.clone()));
                (Request::Import { selection, key }, State::Granted(Incoming::new(expected)))
            }
            Ask::Fetch { selection, key } => {
                let expected = Expected::Values(Scope::of(selection.clone()));
                (Request::Fetch { selection, key }, State::Granted(Incoming::new(expected)))
            }
            Ask::Browse { selection } => {
                (Request::Browse { selection: selection.clone() }, State::Listing(selection, PeerList::new()))
            }
            Ask::Sync(ask) => {
                let (selection, pull, push) = (ask.selection.clone(), ask.pull, ask.push.is_some());
                (Request::Sync { selection, pull, push }, State::Agreed(Box::new(ask)))
            }
        };
        let mut core = Core::default();
        core.send(Message::Open(Open { protocol: PROTOCOL, request, generation }));
        Self { core, state, summary: Summary::default(), sent_since: true }
    }

    fn message(&mut self, message: Message) -> Result<(), SessionError> {
        if core::mem::take(&mut self.sent_since) {
            self.summary.round_trips += 1;
        }
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, message) {
            (_, Message::Refused(refusal)) => return Err(SessionError::Refused(refusal)),
            (State::Granted(mut incoming), Message::Granted(volume)) => {
                incoming.limit(volume.entries)?;
                self.core.act(Action::Expect(volume));
                State::Receiving(incoming, None)
            }
            (State::Listing(selection, mut found), Message::Listed(part)) => {
                if !part.iter().all(|entry| selection.covers(&entry.location)) {
                    return Err(Misbehaviour::NotAsked.into());
                }
                found.extend(part, |one, next| one.location < next.location)?;
                State::Listing(selection, found)
            }
            (State::Listing(_, found), Message::End) => {
                self.core.act(Action::Found(found.items));
                self.finish()
            }
            (State::Agreed(ask), Message::Agreed(agreed)) => {
                self.core.act(Action::Generation(agreed.generation));
                let sync = Box::new(Sync::agreed(*ask, agreed)?);
                let gathering = Gathering::new(sync.scopes());
                self.gather(sync, gathering)?
            }
            (State::Compared(mut sync) | State::Mismatched(mut sync), Message::Again(again)) => {
                let messages = sync.handle_again(again)?;
                self.core.send_all(messages);
                State::Compared(sync)
            }
            (State::Compared(mut sync), Message::OnlyHere(part)) => {
                sync.handle_only_here(part)?;
                State::Compared(sync)
            }
            (State::Compared(mut sync), Message::OnlyThere(part)) => {
                sync.handle_only_there(&part)?;
                State::Compared(sync)
            }
            (State::Compared(sync), Message::Compared) => self.compared(sync)?,
            (State::Accept(mut proposed), Message::Want(part)) => {
                proposed.handle_want(part)?;
                State::Accept(proposed)
            }
            (State::Accept(proposed), Message::Accept(key)) => {
                let (incoming, outgoing) = proposed.accepted(key)?;
                State::Receiving(incoming, outgoing.map(Box::new))
            }
            (state @ (State::Receiving(..) | State::Giving(_)), message) => self.transfer(state, message)?,
            _ => return Err(Misbehaviour::OutOfOrder.into()),
        };
        Ok(())
    }

    /// Takes a message while batches are on their way.
    fn transfer(&mut self, state: State, message: Message) -> Result<State, SessionError> {
        Ok(match (state, message) {
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
        })
    }

    fn answer(&mut self, answer: Answer) -> Result<(), SessionError> {
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, answer) {
            (State::Shapes(mut sync, mut gathering), Answer::Shapes(shapes)) => {
                sync.hold(&gathering.answered(), ordered(shapes)?);
                self.gather(sync, gathering)?
            }
            (State::Verdict(_, plan), Answer::Stop) => {
                // What the plan would do is the result of a dry run.
                self.summary.conflicts = plan.conflicts;
                self.core.send(Message::End);
                self.finish()
            }
            (State::Verdict(sync, plan), Answer::Proceed { deletions_confirmed }) => {
                if plan.deletes_many() && !deletions_confirmed {
                    return Err(SessionError::Deletions);
                }
                self.propose(*sync, *plan, deletions_confirmed)
            }
            (State::Receiving(mut incoming, outgoing), Answer::Imported(taken)) => {
                incoming.handle_imported(&mut self.core);
                self.summary.add(taken);
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

    /// Asks for this side's shapes in the next scope that there is; then tells the peer of them, as far as it is to
    /// know.
    fn gather(&mut self, mut sync: Box<Sync>, gathering: Gathering) -> Result<State, SessionError> {
        if gathering.ask(&mut self.core) {
            return Ok(State::Shapes(sync, gathering));
        }
        let messages = sync.tell();
        if messages.is_empty() {
            return self.planned(sync);
        }
        self.core.send_all(messages);
        Ok(State::Compared(sync))
    }

    fn compared(&mut self, mut sync: Box<Sync>) -> Result<State, SessionError> {
        if sync.adds_up() {
            return self.planned(sync);
        }
        if !sync.forget() {
            return Err(Misbehaviour::FalseDifference.into());
        }
        self.core.send(Message::Mismatch);
        Ok(State::Mismatched(sync))
    }

    fn planned(&mut self, sync: Box<Sync>) -> Result<State, SessionError> {
        let plan = Box::new(sync.plan()?);
        self.summary.unchanged = plan.unchanged;
        self.core.act(Action::Plan(plan.clone()));
        Ok(State::Verdict(sync, plan))
    }

    fn propose(&mut self, sync: Sync, plan: Plan, deletions_confirmed: bool) -> State {
        self.core.known(sync.common());
        if plan.is_empty() {
            self.core.send(Message::End);
            return self.finish();
        }
        self.core.act(Action::Expect(volume(&plan.take)));
        self.core.send_all(in_parts(sync.positions(&plan.take), Message::Want));
        self.core.send_all(in_parts(plan.give.clone(), Message::Give));
        let (key, proposed) = sync.propose(plan);
        self.core.send(Message::Propose(Propose { key, deletions_confirmed }));
        State::Accept(proposed)
    }

    fn give(&mut self, mut outgoing: Box<Outgoing>) -> State {
        self.core.known(outgoing.revisions());
        let done = outgoing.go_on(&mut self.core);
        self.giving(outgoing, done)
    }

    fn giving(&mut self, outgoing: Box<Outgoing>, done: bool) -> State {
        self.summary.sent = outgoing.sent;
        if done { self.finish() } else { State::Giving(outgoing) }
    }

    fn finish(&mut self) -> State {
        self.core.act(Action::Finished(self.summary));
        State::Over
    }
}

impl Session for Asking {
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError> {
        let checked = self.core.may_receive();
        checked.and_then(|()| self.message(message)).map_err(|error| self.core.fail(error))
    }

    fn handle_answer(&mut self, answer: Answer) -> Result<(), SessionError> {
        let checked = self.core.may_answer(&answer);
        checked.and_then(|()| self.answer(answer)).map_err(|error| self.core.fail(error))
    }

    fn poll_action(&mut self) -> Option<Action> {
        let action = self.core.actions.pop_front();
        self.sent_since |= matches!(&action, Some(Action::Send(message)) if message.wants_an_answer());
        action
    }
}
