//! The responder of a session: nothing is told or done before the policy has allowed it, and no
//! name, shape or value leaves before the log has it.

mod decide;
mod request;
mod sync;

use alloc::{boxed::Box, string::ToString, vec, vec::Vec};

use self::request::{Granted, PendingRequest, Ruling, denied};
use self::sync::Sync;
use super::{
    Action, Core, Duplicate, Event, Lookup, MAX_ENTRIES, PeerMisbehaved, Session, SessionError, ShapeQueries,
    Summary, Task, TaskError, TaskResult, Verdict,
    batches::{BatchReceiver, BatchSender},
    check_sorted,
    digest::Keys,
    volume,
};
use crate::{
    DeviceId, Edition, Location, Operation, Plan, Policy, Shape, Stamps, Timestamp,
    message::{LeftOut, Message, Propose, RecipientKey, Request, Volume, split_list},
    reconcile::{PairSecret, exchange::split_words},
};

/// The responder's state machine.
#[derive(Debug)]
pub struct Responder {
    core: Core,
    state: State,
    summary: Summary,
}

/// The states, each named for the input that it expects.
#[derive(Debug)]
enum State {
    /// The request.
    AwaitOpen(Box<PendingRequest>),
    /// The user's approval.
    AwaitApproval(Box<PendingRequest>, Box<Request>, Vec<Ruling>),
    /// This side's shapes, to send all of them.
    AwaitShapesToSend(Box<Granted>, RecipientKey),
    /// This side's names and shapes.
    AwaitListing(Box<Granted>),
    /// The digest of this side's entries.
    AwaitOwnDigest(Box<Sync>, Vec<Operation>),
    /// This side's own shapes, one scope after the other, since the sets differ.
    AwaitOwnShapes(Box<Sync>, ShapeQueries),
    /// The digest of the initiator's set.
    AwaitDigest(Box<Sync>),
    /// Names that the initiator requested.
    AwaitNames(Box<Sync>),
    /// The host's knowledge of the pushed entries.
    AwaitLookup(Box<Sync>, Box<Propose>, Lookup),
    /// The user's approval of the losses.
    AwaitLossApproval(Box<Sync>, Propose, Box<Plan>),
    /// The initiator's wanted and pushed entries.
    AwaitProposal(Box<Sync>),
    /// Acknowledgements of this side's batches; then the initiator's batches may come.
    Sending(Box<BatchSender>, Option<BatchReceiver>),
    /// The initiator's batches.
    Receiving(BatchReceiver),
    /// Nothing: the session is over.
    Over,
}

impl Responder {
    /// Creates a responder that waits for a request of `peer` at the time `now` (milliseconds since
    /// 1970). `key` is this side's one-time key for entries it may take; `secret` is 32 bytes that
    /// only the two ends of this session know, fresh each time.
    pub fn new(policy: Policy, peer: DeviceId, now: Timestamp, key: RecipientKey, secret: [u8; 32]) -> Self {
        let entry_limit = MAX_ENTRIES as usize;
        let (edition, stamps, copied) = (Edition::default(), Stamps::default(), false);
        let keys = Keys { session: secret, pair: None };
        let pending =
            Box::new(PendingRequest { policy, peer, now, key, keys, edition, stamps, copied, entry_limit });
        Self { core: Core::default(), state: State::AwaitOpen(pending), summary: Summary::default() }
    }

    /// Sends the peer this snapshot's edition. `stamps` are those issued to the peer.
    #[must_use]
    pub fn with_edition(mut self, edition: Edition, stamps: Stamps) -> Self {
        if let State::AwaitOpen(pending) = &mut self.state {
            (pending.edition, pending.stamps) = (edition, stamps);
        }
        self
    }

    /// Sets the secret of this device and the peer: the digest of this side's entries is then
    /// computed under a key that stays the same for a day.
    #[must_use]
    pub fn with_pair_secret(mut self, pair: PairSecret) -> Self {
        if let State::AwaitOpen(pending) = &mut self.state {
            pending.keys.pair = Some(pair);
        }
        self
    }

    /// Limits how many offered and pushed entries are buffered. A peer that exceeds the limit is
    /// refused with `TooMany`. Default: [`MAX_ENTRIES`].
    #[must_use]
    pub fn with_entry_limit(mut self, most: usize) -> Self {
        if let State::AwaitOpen(pending) = &mut self.state {
            pending.entry_limit = most;
        }
        self
    }

    fn message(&mut self, message: Message) -> Result<(), SessionError> {
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, message) {
            (_, Message::Refused(refusal)) => return Err(SessionError::Refused(refusal)),
            (State::AwaitOpen(pending), Message::Open(open)) => self.open(pending, open)?,
            (State::AwaitDigest(mut sync), Message::Candidates(records)) => {
                sync.narrow(&records)?;
                State::AwaitDigest(sync)
            }
            (State::AwaitDigest(mut sync), Message::Digest(part)) => {
                sync.handle_digest(part)?;
                State::AwaitDigest(sync)
            }
            (State::AwaitDigest(mut sync), Message::Offer(part)) => {
                sync.handle_offer(part)?;
                State::AwaitDigest(sync)
            }
            (State::AwaitDigest(sync), Message::DigestEnd) => {
                let queries = sync.shapes_needed();
                self.gather(sync, queries)?
            }
            (State::AwaitDigest(sync), Message::End) => self.nothing_to_do(&sync),
            (State::AwaitProposal(mut sync), Message::Mismatch) => {
                sync.reject()?;
                let queries = sync.shapes_needed();
                self.gather(sync, queries)?
            }
            (State::AwaitProposal(mut sync), Message::NamesWanted(part)) => {
                self.core.perform(Task::Lookup(sync.handle_names_wanted(part)?));
                State::AwaitNames(sync)
            }
            (State::AwaitProposal(mut sync), Message::LeftOut(left)) => {
                self.left(&mut sync, left)?;
                State::AwaitProposal(sync)
            }
            (State::AwaitDigest(mut sync), Message::LeftOut(left)) => {
                self.left(&mut sync, left)?;
                State::AwaitDigest(sync)
            }
            (State::AwaitProposal(mut sync), Message::Want(part)) => {
                sync.handle_want(part)?;
                State::AwaitProposal(sync)
            }
            (State::AwaitProposal(mut sync), Message::Push(part)) => {
                sync.handle_push(part)?;
                State::AwaitProposal(sync)
            }
            (State::AwaitProposal(sync), Message::Propose(propose)) => self.proposed(sync, propose)?,
            (State::AwaitProposal(sync), Message::End) => self.nothing_to_do(&sync),
            (state @ (State::Receiving(_) | State::Sending(..)), message) => self.transfer(state, message)?,
            _ => return Err(PeerMisbehaved::OutOfOrder.into()),
        };
        Ok(())
    }

    /// Handles a message while batches are in flight.
    fn transfer(&mut self, state: State, message: Message) -> Result<State, SessionError> {
        Ok(match (state, message) {
            (State::Sending(mut outgoing, incoming), Message::Ack(index)) => {
                let done = outgoing.handle_ack(index, &mut self.core)?;
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
                incoming.check_end()?;
                self.finish()
            }
            _ => return Err(PeerMisbehaved::OutOfOrder.into()),
        })
    }

    fn answer(&mut self, answer: TaskResult) -> Result<(), SessionError> {
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, answer) {
            (State::AwaitApproval(pending, request, rulings), TaskResult::Approved) => {
                self.apply_rulings(*pending, *request, rulings, true)?
            }
            (State::AwaitApproval(pending, request, rulings), TaskResult::Denied) => {
                self.apply_rulings(*pending, *request, rulings, false)?
            }
            (State::AwaitShapesToSend(granted, key), TaskResult::Shapes(shapes)) => {
                self.log_then_send(*granted, key, check_sorted(shapes)?)
            }
            (State::AwaitListing(granted), TaskResult::Listing(found)) => {
                let listed = Volume { entries: found.len() as u64, bytes: 0 };
                self.core.log(vec![granted.verdict(listed)]);
                self.core.send_all(split_list(found, Message::Listing));
                self.core.send(Message::End);
                self.finish()
            }
            (State::AwaitOwnDigest(mut sync, denied), TaskResult::Digest(held)) => {
                sync.hold_digest(*held);
                self.agree(sync, &denied)
            }
            (State::AwaitOwnShapes(mut sync, mut queries), TaskResult::Shapes(shapes)) => {
                sync.hold(&queries.answered(), check_sorted(shapes)?);
                self.gather(sync, queries)?
            }
            (State::AwaitNames(sync), TaskResult::Looked(looked)) => {
                let names = looked.names.into_iter().collect::<Option<Vec<Location>>>();
                self.core.send_all(split_list(names.ok_or(SessionError::ApiMisuse)?, Message::Names));
                State::AwaitProposal(sync)
            }
            (State::AwaitLookup(mut sync, propose, look), TaskResult::Looked(looked))
                if look.is_answered_by(&looked) =>
            {
                sync.looked(&look, &looked);
                self.planned(sync, *propose)?
            }
            (State::AwaitLossApproval(sync, propose, plan), TaskResult::Approved) => {
                self.taking(sync, propose, *plan)?
            }
            (State::AwaitLossApproval(sync, _, plan), TaskResult::Denied) => {
                self.log_denied(&[Operation::Delete], sync.selection());
                return Err(SessionError::Deletions(plan.losses_here()));
            }
            (State::Sending(mut outgoing, incoming), TaskResult::Sealed(sealed)) => {
                let done = outgoing.handle_sealed(sealed, &mut self.core);
                self.giving(outgoing, incoming, done)
            }
            (State::Receiving(mut incoming), TaskResult::Imported(taken)) => {
                incoming.handle_imported(&mut self.core);
                self.summary.add(taken);
                State::Receiving(incoming)
            }
            _ => return Err(SessionError::ApiMisuse),
        };
        Ok(())
    }

    /// Logs all requested entries that are held, then sends them in batches.
    fn log_then_send(&mut self, granted: Granted, key: RecipientKey, mut shapes: Vec<Shape>) -> State {
        if granted.grant.operation() == Operation::Pull {
            // A fetch wants values: a deletion comes only with a sync or an import.
            shapes.retain(|shape| !shape.deleted);
        }
        let total = volume(&shapes);
        let verdict = granted.verdict(total);
        let mut outgoing = Box::new(BatchSender::new(granted.grant, key, &shapes));
        // Before the log, so that one write covers both.
        self.core.peer_holds(outgoing.revisions());
        self.core.log(vec![verdict]);
        self.core.send(Message::Granted(total));
        let done = outgoing.pump(&mut self.core);
        self.giving(outgoing, None, done)
    }

    /// Requests the digest of this side's entries, if the initiator may pull any.
    fn describe(&mut self, sync: Box<Sync>, denied: Vec<Operation>) -> State {
        match sync.digest_needed() {
            Some(query) => {
                self.core.perform(Task::Digest(Box::new(query)));
                State::AwaitOwnDigest(sync, denied)
            }
            None => self.agree(sync, &denied),
        }
    }

    /// Logs denied operations, and tells the initiator what it may do.
    fn agree(&mut self, sync: Box<Sync>, denied: &[Operation]) -> State {
        self.log_denied(denied, sync.selection());
        self.core.send(Message::Agreed(sync.agreed()));
        State::AwaitDigest(sync)
    }

    /// Requests this side's shapes in the next scope; after the last, compares both sets.
    fn gather(&mut self, sync: Box<Sync>, queries: ShapeQueries) -> Result<State, SessionError> {
        match queries.ask(&mut self.core) {
            true => Ok(State::AwaitOwnShapes(sync, queries)),
            false => self.compare(sync),
        }
    }

    fn compare(&mut self, mut sync: Box<Sync>) -> Result<State, SessionError> {
        if let Some(again) = sync.fall_back()? {
            self.core.send(Message::NeedMore(again));
            return Ok(State::AwaitDigest(sync));
        }
        let differing = match sync.compare()? {
            Ok(differing) => differing,
            Err(again) => {
                self.core.send(Message::NeedMore(again));
                return Ok(State::AwaitDigest(sync));
            }
        };
        self.summary.unchanged = differing.unchanged;
        let mut messages = split_list(differing.only_here, Message::Missing);
        messages.extend(split_words(&differing.only_there, Message::Needed));
        if !core::mem::replace(&mut sync.logged, true) {
            self.core.log(sync.verdict_to_give());
        }
        self.core.send_all(messages);
        self.core.send(Message::DiffEnd);
        Ok(State::AwaitProposal(sync))
    }

    fn left(&mut self, sync: &mut Sync, left: LeftOut) -> Result<(), PeerMisbehaved> {
        if left.copied {
            self.core.notify(Event::Duplicate(Duplicate::Ours));
        }
        let behind = sync.handle_left_out(left)?;
        if (behind.not_given, behind.not_taken) != (0, 0) {
            self.core.notify(Event::LeftBehind(behind));
        }
        Ok(())
    }

    /// Ends a sync in which the initiator wants and pushes nothing.
    fn nothing_to_do(&mut self, sync: &Sync) -> State {
        let mut verdicts = if sync.logged { Vec::new() } else { sync.verdict_to_give() };
        verdicts.extend(sync.verdicts_to_take(&[]));
        self.core.peer_holds_all(sync.lacking_there());
        self.core.peer_holds(sync.offered_here());
        self.core.log(verdicts);
        self.core.acknowledged = sync.acknowledged(&[]);
        self.finish()
    }

    fn proposed(&mut self, sync: Box<Sync>, propose: Propose) -> Result<State, SessionError> {
        let look = sync.look();
        if look.is_empty() {
            return self.planned(sync, propose);
        }
        self.core.perform(Task::Lookup(look.clone()));
        Ok(State::AwaitLookup(sync, Box::new(propose), look))
    }

    /// Plans the entries to take. Only this side's user may confirm the loss of many records: the
    /// initiator's confirmation does not count.
    fn planned(&mut self, sync: Box<Sync>, propose: Propose) -> Result<State, SessionError> {
        let plan = Box::new(sync.plan_to_take());
        if plan.losses_here().need_confirmation() {
            self.core.ask(Task::Confirm(plan.clone()));
            return Ok(State::AwaitLossApproval(sync, propose, plan));
        }
        self.taking(sync, propose, *plan)
    }

    fn taking(&mut self, sync: Box<Sync>, propose: Propose, plan: Plan) -> Result<State, SessionError> {
        let verdicts = sync.verdicts_to_take(&plan.take);
        self.core.peer_holds_all(sync.lacking_there());
        self.core.peer_holds(sync.offered_here().chain(sync.wanted().map(|shape| shape.revision)));
        self.core.log(verdicts);
        let take = plan.take;
        self.core.acknowledged = sync.acknowledged(&take);
        let outgoing = sync.outgoing(propose.key)?;
        let key = (!take.is_empty()).then(|| sync.key.clone());
        self.core.send_all(split_list(sync.positions(&take), Message::Want));
        self.core.send(Message::Accept(key));
        let incoming = sync.incoming(take);
        Ok(match outgoing {
            Some(mut outgoing) => {
                let done = outgoing.pump(&mut self.core);
                self.giving(Box::new(outgoing), incoming, done)
            }
            None => {
                self.core.send(Message::End);
                self.receive(incoming)
            }
        })
    }

    fn giving(&mut self, outgoing: Box<BatchSender>, incoming: Option<BatchReceiver>, done: bool) -> State {
        self.summary.sent = outgoing.sent;
        if done { self.receive(incoming) } else { State::Sending(outgoing, incoming) }
    }

    fn receive(&mut self, incoming: Option<BatchReceiver>) -> State {
        match incoming {
            Some(incoming) => State::Receiving(incoming),
            None => self.finish(),
        }
    }

    fn finish(&mut self) -> State {
        self.core.finish(self.summary);
        State::Over
    }

    /// Returns the verdict for the log when the policy denies an entry during a transfer.
    fn denial(&self, error: SessionError) -> Option<Verdict> {
        let grant = match (&self.state, error) {
            (State::Sending(outgoing, _), SessionError::NotPermitted) => outgoing.grant(),
            (
                State::Receiving(incoming),
                SessionError::NotPermitted | SessionError::PeerMisbehaved(PeerMisbehaved::NotPermitted),
            ) => incoming.expected().grants().next()?,
            _ => return None,
        };
        Some(denied(grant.operation(), &grant.scope().to_string()))
    }
}

impl Session for Responder {
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError> {
        let checked = self.core.may_receive();
        checked.and_then(|()| self.message(message)).map_err(|error| self.core.fail(error))
    }

    fn handle_result(&mut self, result: TaskResult) -> Result<(), SessionError> {
        let checked = self.core.may_answer();
        checked.and_then(|()| self.answer(result)).map_err(|error| self.core.fail(error))
    }

    fn handle_failure(&mut self, failure: TaskError) -> SessionError {
        if let Some(denial) = self.denial(failure.into())
            && !self.core.is_over()
        {
            self.core.log(vec![denial]);
        }
        self.core.fail_task(failure)
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.core.poll()
    }
}
