//! The asked side of a session: nothing is told or done before the policy has allowed it, and no
//! name, shape or value leaves before the log has it.

mod sync;

use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use self::sync::Sync;
use super::{
    Action, Core, Duplicate, Lookup, MAX_ENTRIES, PeerMisbehaved, Session, SessionError, ShapeQueries,
    Summary, TaskResult, Verdict,
    batches::{BatchReceiver, BatchSender},
    check_sorted, volume,
};
use crate::{
    Decision, DeviceId, Edition, Grant, Location, Operation, Pending, Plan, Policy, Shape, Stamps,
    message::{
        LeftOut, Listing, Message, Open, PROTOCOL, Propose, RecipientKey, Request, Volume, split_list,
    },
    reconcile,
};

/// The asked side's state machine.
#[derive(Debug)]
pub struct Responder {
    core: Core,
    state: State,
    summary: Summary,
}

/// Named for what it expects.
#[derive(Debug)]
enum State {
    /// The request.
    AwaitOpen(Box<PendingRequest>),
    /// A person's word.
    AwaitApproval(Box<PendingRequest>, Box<Request>, Vec<Ruling>),
    /// The log, then the end.
    LogToFail(SessionError),
    /// This side's shapes, to give all of them.
    AwaitShapesToSend(Box<Granted>, RecipientKey),
    /// The log, then the batches.
    LogToGive(Box<BatchSender>, Volume),
    /// This side's names and shapes.
    AwaitListing(Box<Granted>),
    /// The log, then the listing.
    LogToList(Vec<Listing>),
    /// The log, then the part of a sync that is allowed.
    LogToAgree(Box<Sync>),
    /// This side's own shapes, one scope after the other; then the log, if something is denied.
    AwaitOwnShapes(Box<Sync>, ShapeQueries, Vec<Operation>),
    /// What the asking side tells of its set.
    AwaitDigest(Box<Sync>),
    /// The log, then what differs.
    LogToCompare(Box<Sync>, Vec<Message>),
    /// Names, of what the asking side needs named.
    AwaitNames(Box<Sync>),
    /// What the host knows of what is given.
    AwaitLookup(Box<Sync>, Box<Propose>, Lookup),
    /// A person's word on what would be lost.
    AwaitLossApproval(Box<Sync>, Propose, Box<Plan>),
    /// The log, then what is wanted of what is given.
    LogToAccept(Box<Sync>, Box<Propose>, Vec<Shape>),
    /// The log, then the end: there was nothing to do.
    LogToFinish,
    /// What the asking side wants and gives.
    AwaitProposal(Box<Sync>),
    /// Confirmations of this side's batches; then its own batches may come.
    Sending(Box<BatchSender>, Option<BatchReceiver>),
    /// The asking side's batches.
    Receiving(BatchReceiver),
    /// Nothing more.
    Over,
}

/// What decides on the request.
#[derive(Debug)]
struct PendingRequest {
    policy: Policy,
    peer: DeviceId,
    now: u64,
    key: RecipientKey,
    secret: [u8; 32],
    /// What this side tells of its snapshot, and what it remembers of the peer's.
    edition: Edition,
    stamps: Stamps,
    copied: bool,
    staged: usize,
}

/// One operation of a request and what the policy says to it.
#[derive(Debug)]
struct Ruling {
    operation: Operation,
    decision: Decision,
}

/// What is granted, and the selection as it was asked for.
#[derive(Debug)]
struct Granted {
    grant: Grant,
    selection: String,
}

impl Responder {
    /// Waits for a request of `peer` at the time `now` (milliseconds since 1970). `key` is this
    /// side's one-time key, for what it may take; `secret` is 32 bytes that only the two ends of
    /// this session know, fresh each time.
    #[must_use]
    pub fn new(policy: Policy, peer: DeviceId, now: u64, key: RecipientKey, secret: [u8; 32]) -> Self {
        let staged = MAX_ENTRIES as usize;
        let (edition, stamps, copied) = (Edition::default(), Stamps::default(), false);
        let desk =
            Box::new(PendingRequest { policy, peer, now, key, secret, edition, stamps, copied, staged });
        Self { core: Core::default(), state: State::AwaitOpen(desk), summary: Summary::default() }
    }

    /// The same, telling the peer of which edition this side's snapshot is, and with the stamps
    /// that the peer was given.
    #[must_use]
    pub fn with_edition(mut self, edition: Edition, stamps: Stamps) -> Self {
        if let State::AwaitOpen(desk) = &mut self.state {
            (desk.edition, desk.stamps) = (edition, stamps);
        }
        self
    }

    /// The same, keeping so many entries of what the peer offers, and of what it gives, at most: it
    /// is told `TooMany` beyond it. Default [`MAX_ENTRIES`].
    #[must_use]
    pub fn with_entry_limit(mut self, most: usize) -> Self {
        if let State::AwaitOpen(desk) = &mut self.state {
            desk.staged = most;
        }
        self
    }

    fn message(&mut self, message: Message) -> Result<(), SessionError> {
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, message) {
            (_, Message::Refused(refusal)) => return Err(SessionError::Refused(refusal)),
            (State::AwaitOpen(desk), Message::Open(open)) => self.open(desk, open)?,
            (State::AwaitDigest(mut sync), Message::Digest(part)) => {
                sync.handle_tell(part)?;
                State::AwaitDigest(sync)
            }
            (State::AwaitDigest(mut sync), Message::Offer(part)) => {
                sync.handle_offered(part)?;
                State::AwaitDigest(sync)
            }
            (State::AwaitDigest(sync), Message::DigestEnd) => self.compare(sync)?,
            (State::AwaitDigest(sync), Message::End) => self.nothing_to_do(&sync),
            (State::AwaitProposal(mut sync), Message::Mismatch) => {
                self.core.send(Message::NeedMore(sync.mismatch()?));
                State::AwaitDigest(sync)
            }
            (State::AwaitProposal(mut sync), Message::NamesWanted(part)) => {
                self.core.act(Action::Lookup(sync.handle_name(part)?));
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
                sync.handle_give(part)?;
                State::AwaitProposal(sync)
            }
            (State::AwaitProposal(sync), Message::Propose(propose)) => self.proposed(sync, propose)?,
            (State::AwaitProposal(sync), Message::End) => self.nothing_to_do(&sync),
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
                incoming.may_end()?;
                self.finish()
            }
            _ => return Err(PeerMisbehaved::OutOfOrder.into()),
        };
        Ok(())
    }

    fn answer(&mut self, answer: TaskResult) -> Result<(), SessionError> {
        let state = core::mem::replace(&mut self.state, State::Over);
        self.state = match (state, answer) {
            (State::AwaitApproval(desk, request, rulings), TaskResult::Approved) => {
                self.ruled(*desk, *request, rulings, true)
            }
            (State::AwaitApproval(desk, request, rulings), TaskResult::Denied) => {
                self.ruled(*desk, *request, rulings, false)
            }
            (State::LogToFail(error), TaskResult::Logged) => return Err(error),
            (State::AwaitShapesToSend(granted, key), TaskResult::Shapes(shapes)) => {
                self.held(*granted, key, check_sorted(shapes)?)
            }
            (State::LogToGive(mut outgoing, total), TaskResult::Logged) => {
                self.core.send(Message::Granted(total));
                let done = outgoing.pump(&mut self.core);
                self.giving(outgoing, None, done)
            }
            (State::AwaitListing(granted), TaskResult::Listing(found)) => {
                let listed = Volume { entries: found.len() as u64, bytes: 0 };
                self.core.act(Action::Log(vec![granted.verdict(listed)]));
                State::LogToList(found)
            }
            (State::LogToList(found), TaskResult::Logged) => {
                self.core.send_all(split_list(found, Message::Listing));
                self.core.send(Message::End);
                self.finish()
            }
            (State::LogToAgree(sync), TaskResult::Logged) => self.agree(sync),
            (State::AwaitOwnShapes(mut sync, mut gathering, denied), TaskResult::Shapes(shapes)) => {
                sync.hold(&gathering.answered(), check_sorted(shapes)?);
                self.gather(sync, gathering, denied)
            }
            (State::LogToCompare(mut sync, differing), TaskResult::Logged) => {
                sync.logged = true;
                self.differing(sync, differing)
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
            (State::AwaitLossApproval(sync, ..), TaskResult::Denied) => {
                self.log_denied(&[Operation::Delete], sync.selection());
                State::LogToFail(SessionError::Deletions)
            }
            (State::LogToAccept(sync, propose, take), TaskResult::Logged) => {
                self.accept(*sync, *propose, take)?
            }
            (State::LogToFinish, TaskResult::Logged) => self.finish(),
            (State::Sending(mut outgoing, incoming), TaskResult::Sealed(sealed)) => {
                let done = outgoing.handle_sealed(&sealed, &mut self.core);
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

    /// A request has come: the policy decides, or a person has to.
    fn open(&mut self, mut desk: Box<PendingRequest>, open: Open) -> Result<State, SessionError> {
        if open.protocol != PROTOCOL {
            return Err(SessionError::PeerIncompatible { ours: PROTOCOL, theirs: open.protocol });
        }
        let request = open.request;
        desk.copied = desk.stamps.detects_duplicate(open.edition.stamp);
        if desk.copied {
            self.core.act(Action::Duplicate(Duplicate::Theirs));
        }
        self.core.act(Action::Edition(open.edition));
        if matches!(request, Request::Sync { pull: false, push: false, .. }) {
            return Err(PeerMisbehaved::OutOfOrder.into());
        }
        let rule = |operation: &Operation| Ruling {
            operation: *operation,
            decision: desk.policy.decide(&desk.peer, *operation, request.selection(), desk.now),
        };
        let rulings: Vec<Ruling> = operations(&request).iter().map(rule).collect();
        let pending: Vec<Pending> = rulings.iter().filter_map(Ruling::pending).collect();
        if pending.is_empty() {
            return Ok(self.ruled(*desk, request, rulings, false));
        }
        self.core.act(Action::Approve(pending));
        Ok(State::AwaitApproval(desk, Box::new(request), rulings))
    }

    /// The policy, and a person where it takes one, have spoken.
    fn ruled(
        &mut self,
        desk: PendingRequest,
        request: Request,
        rulings: Vec<Ruling>,
        approved: bool,
    ) -> State {
        let [mut import, mut browse, mut pull, mut push, mut delete] = [const { None }; 5];
        let mut denied = Vec::new();
        for ruling in rulings {
            let operation = ruling.operation;
            let grant = ruling.grant(approved);
            // That nothing may be deleted is no refusal of a sync: deletions are left out of it.
            if grant.is_none() && operation != Operation::Delete {
                denied.push(operation);
            }
            match operation {
                Operation::Import => import = grant,
                Operation::Browse => browse = grant,
                Operation::Pull => pull = grant,
                Operation::Push => push = grant,
                Operation::Delete => delete = grant,
            }
        }
        let selection = request.selection().to_string();
        match (request, import.or(browse), pull) {
            (Request::Import { key, .. }, Some(grant), _) | (Request::Fetch { key, .. }, _, Some(grant)) => {
                self.core.act(Action::Shapes(grant.scope().clone()));
                State::AwaitShapesToSend(Box::new(Granted { grant, selection }), key)
            }
            (Request::Browse { .. }, Some(grant), _) => {
                self.core.act(Action::List(grant.clone()));
                State::AwaitListing(Box::new(Granted { grant, selection }))
            }
            (Request::Sync { selection: asked, .. }, _, pull)
                if pull.is_some() || push.is_some() || delete.is_some() =>
            {
                let sync = Sync::new(&asked, [pull, push, delete], desk.key, desk.secret);
                let sync =
                    Box::new(sync.with_edition(desk.edition, desk.copied).with_entry_limit(desk.staged));
                let gathering = ShapeQueries::new(sync.scopes());
                self.gather(sync, gathering, denied)
            }
            _ => {
                self.log_denied(&denied, &selection);
                State::LogToFail(SessionError::NotPermitted)
            }
        }
    }

    fn log_denied(&mut self, operations: &[Operation], selection: &str) {
        let verdicts = operations.iter().map(|operation| denied(*operation, selection));
        self.core.act(Action::Log(verdicts.collect()));
    }

    fn agree(&mut self, sync: Box<Sync>) -> State {
        self.core.send(Message::Agreed(sync.agreed()));
        State::AwaitDigest(sync)
    }

    /// What is asked for is held: all of it goes into the log, then into batches.
    fn held(&mut self, granted: Granted, key: RecipientKey, mut shapes: Vec<Shape>) -> State {
        if granted.grant.operation() == Operation::Pull {
            // Who fetches wants values: a deletion comes with a sync or an import only.
            shapes.retain(|shape| !shape.deleted);
        }
        let total = volume(&shapes);
        let verdict = granted.verdict(total);
        let outgoing = Box::new(BatchSender::new(granted.grant, key, &shapes));
        // Before the log, so that one write has both.
        self.core.known(outgoing.revisions());
        self.core.act(Action::Log(vec![verdict]));
        State::LogToGive(outgoing, total)
    }

    /// Asks for this side's shapes in the next scope that there is. When there is none, a sync goes
    /// on; what of it is denied is logged first.
    fn gather(&mut self, mut sync: Box<Sync>, gathering: ShapeQueries, denied: Vec<Operation>) -> State {
        if gathering.ask(&mut self.core) {
            return State::AwaitOwnShapes(sync, gathering, denied);
        }
        sync.held();
        if denied.is_empty() {
            return self.agree(sync);
        }
        self.log_denied(&denied, sync.selection());
        State::LogToAgree(sync)
    }

    fn compare(&mut self, mut sync: Box<Sync>) -> Result<State, SessionError> {
        let differing = match sync.compare()? {
            Ok(differing) => differing,
            Err(again) => {
                self.core.send(Message::NeedMore(again));
                return Ok(State::AwaitDigest(sync));
            }
        };
        self.summary.unchanged = differing.unchanged;
        let mut messages = split_list(differing.only_here, Message::Missing);
        messages.extend(reconcile::split_words(&differing.only_there, Message::Needed));
        let verdicts = sync.verdict_to_give();
        if sync.logged || verdicts.is_empty() {
            return Ok(self.differing(sync, messages));
        }
        self.core.act(Action::Log(verdicts));
        Ok(State::LogToCompare(sync, messages))
    }

    fn differing(&mut self, sync: Box<Sync>, messages: Vec<Message>) -> State {
        self.core.send_all(messages);
        self.core.send(Message::DiffEnd);
        State::AwaitProposal(sync)
    }

    fn left(&mut self, sync: &mut Sync, left: LeftOut) -> Result<(), PeerMisbehaved> {
        if left.copied {
            self.core.act(Action::Duplicate(Duplicate::Ours));
        }
        let behind = sync.handle_left(left)?;
        if (behind.not_given, behind.not_taken) != (0, 0) {
            self.core.act(Action::LeftBehind(behind));
        }
        Ok(())
    }

    /// The asking side wants and gives nothing.
    fn nothing_to_do(&mut self, sync: &Sync) -> State {
        let mut verdicts = if sync.logged { Vec::new() } else { sync.verdict_to_give() };
        verdicts.extend(sync.verdicts_to_take(&[]));
        self.core.known(sync.common());
        if verdicts.is_empty() {
            return self.finish();
        }
        self.core.act(Action::Log(verdicts));
        State::LogToFinish
    }

    fn proposed(&mut self, sync: Box<Sync>, propose: Propose) -> Result<State, SessionError> {
        let look = sync.look();
        if look.is_empty() {
            return self.planned(sync, propose);
        }
        self.core.act(Action::Lookup(look.clone()));
        Ok(State::AwaitLookup(sync, Box::new(propose), look))
    }

    /// What would be taken is known. That many records are lost by it is for a person here to
    /// allow: the asking side's word is none.
    fn planned(&mut self, sync: Box<Sync>, propose: Propose) -> Result<State, SessionError> {
        let plan = Box::new(sync.plan_to_take());
        if plan.needs_confirmation_here() {
            self.core.act(Action::Confirm(plan.clone()));
            return Ok(State::AwaitLossApproval(sync, propose, plan));
        }
        self.taking(sync, propose, *plan)
    }

    fn taking(&mut self, sync: Box<Sync>, propose: Propose, plan: Plan) -> Result<State, SessionError> {
        let verdicts = sync.verdicts_to_take(&plan.take);
        self.core.known(sync.common().chain(sync.wanted().map(|shape| shape.revision)));
        if verdicts.is_empty() {
            return self.accept(*sync, propose, plan.take);
        }
        self.core.act(Action::Log(verdicts));
        Ok(State::LogToAccept(sync, Box::new(propose), plan.take))
    }

    fn accept(&mut self, sync: Sync, propose: Propose, take: Vec<Shape>) -> Result<State, SessionError> {
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
        self.core.act(Action::Finished(self.summary));
        State::Over
    }

    /// What the log has to say when the policy denies an entry in the middle of a session.
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

fn denied(operation: Operation, selection: &str) -> Verdict {
    Verdict { operation, ours: false, selection: selection.into(), allowed: false, volume: Volume::default() }
}

impl Granted {
    fn verdict(&self, volume: Volume) -> Verdict {
        let selection = self.selection.clone();
        Verdict { operation: self.grant.operation(), ours: false, selection, allowed: true, volume }
    }
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

impl Session for Responder {
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError> {
        let checked = self.core.may_receive();
        checked.and_then(|()| self.message(message)).map_err(|error| self.core.fail(error))
    }

    fn handle_result(&mut self, answer: TaskResult) -> Result<(), SessionError> {
        let checked = self.core.may_answer(&answer);
        if let Err(error) = checked
            && let Some(denial) = self.denial(error)
            && !self.core.is_over()
        {
            self.core.act(Action::Log(vec![denial]));
            self.state = State::LogToFail(error);
            return Ok(());
        }
        checked.and_then(|()| self.answer(answer)).map_err(|error| self.core.fail(error))
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.core.actions.pop_front()
    }
}
