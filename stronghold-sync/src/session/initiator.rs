//! The initiator of a session.

mod options;
mod proposed;
mod sync;

use alloc::{boxed::Box, string::ToString, vec, vec::Vec};

pub use self::options::{Consent, Push, SessionRequest, SyncOptions, Take};
use self::{proposed::Proposed, sync::Sync};
use super::{
    Action, Core, Duplicate, Event, Lookup, PeerList, PeerMisbehaved, Session, SessionError, ShapeQueries,
    Summary, Task, TaskError, TaskResult, Verdict,
    batches::{BatchReceiver, BatchSender, Expected},
    check_sorted, volume,
};
use crate::{
    Edition, LocationId, Operation, Plan, Scope, Selection, Stamps,
    message::{Agreed, Listing, Message, Open, PROTOCOL, Propose, Request, split_list},
};

/// The initiator's state machine.
#[derive(Debug)]
pub struct Initiator {
    core: Core,
    state: State,
    summary: Summary,
    sent_since: bool,
    /// `true` if the peer said that its user is asked, and has not answered yet.
    is_asking: bool,
    /// The stamps issued to the peer, and whether two snapshots of the peer are in use.
    stamps: Stamps,
    copied: bool,
}

/// The states, each named for the input that it expects.
#[derive(Debug)]
enum State {
    /// The reply to an import or fetch.
    AwaitGrant(BatchReceiver),
    /// The reply to a browse.
    AwaitListing(Selection, PeerList<Listing>),
    /// The reply to a sync.
    AwaitAgreed(Box<SyncOptions>),
    /// The digest of this side's entries.
    AwaitDigest(Box<Sync>),
    /// This side's own shapes, one scope after the other.
    AwaitShapes(Box<Sync>, ShapeQueries),
    /// The shapes this side would give, if they exceed what it may give.
    AwaitSendable(Box<Sync>),
    /// The difference.
    AwaitDiff(Box<Sync>),
    /// A fallback reconciliation: the difference did not verify.
    AwaitDiffAgain(Box<Sync>),
    /// The host's knowledge of the differing entries.
    AwaitLookup(Box<Sync>, Lookup),
    /// Names of records that only the peer holds.
    AwaitNames(Box<Sync>),
    /// The host's decision on the plan.
    AwaitApproval(Box<Sync>, Box<Plan>),
    /// The peer's choice of the pushed entries.
    AwaitAccept(Box<Proposed>),
    /// The peer's batches; then, in a sync, this side's.
    Receiving(BatchReceiver, Option<Box<BatchSender>>),
    /// The peer's acknowledgements.
    Sending(Box<BatchSender>),
    /// Nothing: the session is over.
    Over,
}

impl State {
    /// Returns whether the peer's next message answers a request or a proposal, of which the peer
    /// may ask its user.
    fn awaits_answer(&self) -> bool {
        match self {
            Self::AwaitGrant(_) | Self::AwaitAgreed(_) => true,
            Self::AwaitListing(_, found) => found.items.is_empty(),
            Self::AwaitAccept(proposed) => proposed.wanted.is_empty(),
            _ => false,
        }
    }
}

impl Initiator {
    /// Starts a session with this request.
    pub fn new(ask: SessionRequest) -> Self {
        Self::with_edition(ask, Edition::default(), Stamps::default())
    }

    /// Starts a session, and sends the peer this snapshot's edition. `stamps` are those issued to
    /// the peer.
    pub fn with_edition(ask: SessionRequest, edition: Edition, stamps: Stamps) -> Self {
        let pair_key = matches!(&ask, SessionRequest::Sync(ask) if ask.pair.is_some());
        let (request, state) = match ask {
            SessionRequest::Import { selection, key } => {
                let expected = Expected::Within(Scope::of(selection.clone()));
                (Request::Import { selection, key }, State::AwaitGrant(BatchReceiver::new(expected)))
            }
            SessionRequest::Fetch { selection, key } => {
                let expected = Expected::Values(Scope::of(selection.clone()));
                (Request::Fetch { selection, key }, State::AwaitGrant(BatchReceiver::new(expected)))
            }
            SessionRequest::Browse { selection } => (
                Request::Browse { selection: selection.clone() },
                State::AwaitListing(selection, PeerList::new()),
            ),
            SessionRequest::Sync(ask) => {
                let (selection, pull) = (ask.selection.clone(), ask.take.is_some());
                let push = matches!(ask.push, Push::Granted(_));
                (Request::Sync { selection, pull, push }, State::AwaitAgreed(Box::new(ask)))
            }
        };
        let mut core = Core::default();
        core.send(Message::Open(Open { protocol: PROTOCOL, request, edition, pair_key }));
        let summary = Summary::default();
        Self { core, state, summary, sent_since: true, is_asking: false, stamps, copied: false }
    }

    fn message(&mut self, message: Message) -> Result<(), SessionError> {
        if core::mem::take(&mut self.sent_since) {
            self.summary.round_trips += 1;
        }
        let state = core::mem::replace(&mut self.state, State::Over);
        let was_asking = core::mem::replace(&mut self.is_asking, matches!(message, Message::Asking));
        self.state = match (state, message) {
            (_, Message::Refused(refusal)) => return Err(SessionError::Refused(refusal)),
            (state, Message::Asking) if !was_asking && state.awaits_answer() => self.asking(state),
            (State::AwaitGrant(mut incoming), Message::Granted(volume)) => {
                incoming.limit(volume.entries)?;
                self.core.notify(Event::Incoming(volume));
                let selection = incoming.expected().asked().to_string();
                self.core.log(vec![Verdict::own(Operation::Push, &selection, volume)]);
                State::Receiving(incoming, None)
            }
            (State::AwaitListing(selection, mut found), Message::Listing(part)) => {
                if !part.iter().all(|entry| selection.covers(&entry.location)) {
                    return Err(PeerMisbehaved::Unrequested.into());
                }
                found.extend(part, |one, next| one.location < next.location)?;
                State::AwaitListing(selection, found)
            }
            (State::AwaitListing(_, found), Message::End) => {
                self.core.notify(Event::Listing(found.items));
                self.finish()
            }
            (State::AwaitAgreed(ask), Message::Agreed(agreed)) => {
                self.note_editions(&agreed);
                self.describe(Box::new(Sync::agreed(*ask, agreed)?))?
            }
            (State::AwaitNames(mut sync), Message::Names(part)) => match sync.handle_names(part)? {
                true => self.planned(sync)?,
                false => State::AwaitNames(sync),
            },
            (State::AwaitAccept(mut proposed), Message::Want(part)) => {
                proposed.handle_want(part)?;
                State::AwaitAccept(proposed)
            }
            (State::AwaitAccept(proposed), Message::Accept(key)) => {
                let (incoming, outgoing, declined) = proposed.accepted(key)?;
                let acknowledged = self.core.acknowledged.iter_mut();
                acknowledged.for_each(|acknowledged| acknowledged.except.extend(&declined));
                if !declined.is_empty() {
                    self.core.notify(Event::Declined(declined));
                }
                State::Receiving(incoming, outgoing.map(Box::new))
            }
            (state @ (State::AwaitDiff(_) | State::AwaitDiffAgain(_)), message) => {
                self.diff(state, message)?
            }
            (state @ (State::Receiving(..) | State::Sending(_)), message) => self.transfer(state, message)?,
            _ => return Err(PeerMisbehaved::OutOfOrder.into()),
        };
        Ok(())
    }

    /// Has the host note that the peer's user is asked; the state waits on.
    fn asking(&mut self, state: State) -> State {
        self.core.notify(Event::Asking);
        state
    }

    /// Handles a message about the difference of both sets.
    fn diff(&mut self, state: State, message: Message) -> Result<State, SessionError> {
        Ok(match (state, message) {
            (State::AwaitDiff(mut sync) | State::AwaitDiffAgain(mut sync), Message::NeedMore(again)) => {
                let Some(again) = sync.widen(again) else {
                    return self.collect(sync, None);
                };
                let messages = sync.handle_need_more(again)?;
                self.core.send_all(messages);
                State::AwaitDiff(sync)
            }
            (State::AwaitDiff(mut sync), Message::Missing(part)) => {
                sync.handle_missing(part)?;
                State::AwaitDiff(sync)
            }
            (State::AwaitDiff(mut sync), Message::Needed(part)) => {
                sync.handle_needed(&part)?;
                State::AwaitDiff(sync)
            }
            (State::AwaitDiff(sync), Message::DiffEnd) => self.compared(sync)?,
            _ => return Err(PeerMisbehaved::OutOfOrder.into()),
        })
    }

    /// Records the peer's edition, and whether either side's identity is in use by two snapshots.
    fn note_editions(&mut self, agreed: &Agreed) {
        self.copied = self.stamps.detects_duplicate(agreed.edition.stamp);
        let told = [(self.copied, Duplicate::Theirs), (agreed.copied, Duplicate::Ours)];
        told.into_iter()
            .filter(|(is, _)| *is)
            .for_each(|(_, copied)| self.core.notify(Event::Duplicate(copied)));
        self.core.notify(Event::Edition(agreed.edition));
    }

    /// Handles a message while batches are in flight.
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
                incoming.check_end()?;
                match outgoing {
                    Some(outgoing) => self.give(outgoing),
                    None => self.finish(),
                }
            }
            (State::Sending(mut outgoing), Message::Ack(index)) => {
                let done = outgoing.handle_ack(index, &mut self.core)?;
                self.giving(outgoing, done)
            }
            _ => return Err(PeerMisbehaved::OutOfOrder.into()),
        })
    }

    fn answer(&mut self, answer: TaskResult) -> Result<(), SessionError> {
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, answer) {
            (State::AwaitDigest(mut sync), TaskResult::Digest(held)) => {
                sync.hold_digest(*held);
                match sync.holds_the_same() {
                    true => self.look(sync)?,
                    false => {
                        let records = sync.narrow();
                        self.collect(sync, records)?
                    }
                }
            }
            (State::AwaitShapes(mut sync, mut queries), TaskResult::Shapes(shapes)) => {
                sync.hold(&queries.answered(), check_sorted(shapes)?);
                self.gather(sync, queries)?
            }
            (State::AwaitSendable(mut sync), TaskResult::Shapes(shapes)) => {
                sync.would_give(check_sorted(shapes)?);
                self.tell(sync)?
            }
            (State::AwaitLookup(mut sync, look), TaskResult::Looked(looked))
                if look.is_answered_by(&looked) =>
            {
                sync.looked(&look, looked);
                self.name(sync)?
            }
            (State::AwaitApproval(_, plan), TaskResult::Stop) => {
                // A dry run reports the conflicts that the plan would cause.
                self.summary.conflicts = plan.conflicts;
                self.core.send(Message::End);
                self.finish()
            }
            (State::AwaitApproval(sync, plan), TaskResult::Proceed { deletions_confirmed }) => {
                if let Some(losses) = plan.unconfirmed().filter(|_| !deletions_confirmed) {
                    return Err(SessionError::Deletions(losses));
                }
                self.propose(sync, plan)
            }
            (State::Receiving(mut incoming, outgoing), TaskResult::Imported(taken)) => {
                incoming.handle_imported(&mut self.core);
                self.summary.add(taken);
                State::Receiving(incoming, outgoing)
            }
            (State::Sending(mut outgoing), TaskResult::Sealed(sealed)) => {
                let done = outgoing.handle_sealed(sealed, &mut self.core);
                self.giving(outgoing, done)
            }
            _ => return Err(SessionError::ApiMisuse),
        };
        Ok(())
    }

    /// Requests the digest of this side's entries where it may pull, or its shapes.
    fn describe(&mut self, sync: Box<Sync>) -> Result<State, SessionError> {
        match sync.digest_needed()? {
            Some(query) => {
                self.core.perform(Task::Digest(Box::new(query)));
                Ok(State::AwaitDigest(sync))
            }
            None => self.collect(sync, None),
        }
    }

    /// Requests this side's shapes: of these records alone, unless `None`.
    fn collect(&mut self, sync: Box<Sync>, records: Option<Vec<LocationId>>) -> Result<State, SessionError> {
        let queries = ShapeQueries::new(sync.scopes()).at(records);
        self.gather(sync, queries)
    }

    /// Requests this side's shapes in the next scope; after the last, sends the peer the permitted
    /// part.
    fn gather(&mut self, mut sync: Box<Sync>, queries: ShapeQueries) -> Result<State, SessionError> {
        if queries.ask(&mut self.core) {
            return Ok(State::AwaitShapes(sync, queries));
        }
        if let Some(messages) = sync.tell_again()? {
            self.core.send_all(messages);
            return Ok(State::AwaitDiff(sync));
        }
        if let Some(scope) = sync.givable() {
            self.core.perform(Task::Shapes(scope));
            return Ok(State::AwaitSendable(sync));
        }
        self.tell(sync)
    }

    fn tell(&mut self, mut sync: Box<Sync>) -> Result<State, SessionError> {
        let messages = sync.tell();
        if messages.is_empty() {
            return self.look(sync);
        }
        self.core.send_all(messages);
        Ok(State::AwaitDiff(sync))
    }

    fn compared(&mut self, mut sync: Box<Sync>) -> Result<State, SessionError> {
        if sync.adds_up() {
            return self.look(sync);
        }
        if !sync.discard_difference() {
            return Err(PeerMisbehaved::FalseDifference.into());
        }
        self.core.send(Message::Mismatch);
        Ok(State::AwaitDiffAgain(sync))
    }

    /// Requests the lookups that the plan needs, if any.
    fn look(&mut self, mut sync: Box<Sync>) -> Result<State, SessionError> {
        let look = sync.look()?;
        if look.is_empty() {
            return self.name(sync);
        }
        self.core.perform(Task::Lookup(look.clone()));
        Ok(State::AwaitLookup(sync, look))
    }

    /// Requests the names that are still missing from the peer, if any.
    fn name(&mut self, mut sync: Box<Sync>) -> Result<State, SessionError> {
        let unnamed = sync.unnamed();
        if unnamed.is_empty() {
            return self.planned(sync);
        }
        self.core.send_all(split_list(unnamed, Message::NamesWanted));
        Ok(State::AwaitNames(sync))
    }

    fn planned(&mut self, sync: Box<Sync>) -> Result<State, SessionError> {
        let plan = Box::new(sync.plan()?);
        self.summary.unchanged = plan.unchanged;
        self.core.perform(Task::Plan(plan.clone()));
        Ok(State::AwaitApproval(sync, plan))
    }

    fn propose(&mut self, sync: Box<Sync>, plan: Box<Plan>) -> State {
        self.core.peer_holds_all(sync.lacking_there());
        self.core.log(sync.verdicts(&plan));
        self.proposed(*sync, *plan)
    }

    fn proposed(&mut self, sync: Sync, plan: Plan) -> State {
        self.core.acknowledged = sync.acknowledged(&plan);
        self.core.send_all(sync.left(&plan, self.copied).into_iter().map(Message::LeftOut).collect());
        if plan.is_empty() {
            self.core.send(Message::End);
            return self.finish();
        }
        self.core.notify(Event::Incoming(volume(&plan.take)));
        self.core.send_all(split_list(sync.positions(&plan.take), Message::Want));
        let pushed = plan.give.iter().map(|shape| sync.announced(shape)).collect();
        self.core.send_all(split_list(pushed, Message::Push));
        let (key, proposed) = sync.propose(plan);
        self.core.send(Message::Propose(Propose { key }));
        State::AwaitAccept(proposed)
    }

    fn give(&mut self, mut outgoing: Box<BatchSender>) -> State {
        self.core.peer_holds(outgoing.revisions());
        let done = outgoing.pump(&mut self.core);
        self.giving(outgoing, done)
    }

    fn giving(&mut self, outgoing: Box<BatchSender>, done: bool) -> State {
        self.summary.sent = outgoing.sent;
        if done { self.finish() } else { State::Sending(outgoing) }
    }

    fn finish(&mut self) -> State {
        self.core.finish(self.summary);
        State::Over
    }
}

impl Session for Initiator {
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError> {
        let checked = self.core.may_receive();
        checked.and_then(|()| self.message(message)).map_err(|error| self.core.fail(error))
    }

    fn handle_result(&mut self, answer: TaskResult) -> Result<(), SessionError> {
        let checked = self.core.may_answer();
        checked.and_then(|()| self.answer(answer)).map_err(|error| self.core.fail(error))
    }

    fn handle_failure(&mut self, failure: TaskError) -> SessionError {
        self.core.fail_task(failure)
    }

    fn poll_action(&mut self) -> Option<Action> {
        let action = self.core.poll();
        self.sent_since |= matches!(&action, Some(Action::Send(message)) if message.expects_reply());
        action
    }
}
