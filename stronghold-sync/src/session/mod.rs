//! A session: one request to a peer, as two state machines without IO.
//!
//! Both [`Initiator`] and [`Responder`] are driven alike. Messages go in by `handle_message`, the
//! answers to actions by `handle_result`; after each, `poll_action` is called until it gives none.
//! An action that needs an answer ([`Action::needs_answer`]) is answered before the next message
//! goes in. After an error every later call returns the same error; a last message for the peer may
//! still be polled.

mod batches;
mod initiator;
mod responder;

use alloc::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};

pub use self::{
    batches::{BATCH_BYTES, BATCH_ENTRIES, Expected, MAX_SEALED, ShapeList, Unexpected},
    initiator::{Consent, Initiator, Push, SessionRequest, SyncOptions, Take},
    responder::Responder,
};
pub use crate::error::{PeerMisbehaved, SessionError};
use crate::{
    Edition, EntryId, Grant, Location, LocationId, Operation, Pending, Plan, RevisionId, Scope, Shape,
    message::{Listing, Message, RecipientKey, Refusal, Volume, WireSize},
};

/// What the host is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to the peer.
    Send(Message),
    /// Give the shapes of all heads in scope, in the order of entries (location, then revision),
    /// each once. Answer: [`TaskResult::Shapes`].
    Shapes(Scope),
    /// Give the names and shapes of what the grant covers. Answer: [`TaskResult::Listing`].
    List(Grant),
    /// Ask a person. Answer: [`TaskResult::Approved`] or [`TaskResult::Denied`].
    Approve(Vec<Pending>),
    /// Say whether this plan is to be carried out. Answer: [`TaskResult::Proceed`] or
    /// [`TaskResult::Stop`].
    Plan(Box<Plan>),
    /// Check the grant once more, open the entries, seal them to the key. Answer:
    /// [`TaskResult::Sealed`].
    Export(Export),
    /// Open the batch, check every entry against what is expected, merge, commit. Answer:
    /// [`TaskResult::Imported`].
    Import(Import),
    /// Look things up that only the host has. Answer: [`TaskResult::Looked`].
    Lookup(Lookup),
    /// What is given to this side would delete, empty or shrink many records here: ask a person.
    /// Answer: [`TaskResult::Approved`] or [`TaskResult::Denied`].
    Confirm(Box<Plan>),
    /// Write decisions to the log, durably. Answer: [`TaskResult::Logged`].
    Log(Vec<Verdict>),
    /// Something stays where it is, at the asking side's word. No answer.
    LeftBehind(LeftBehind),
    /// Of what was to be given, the peer did not want something of these records. No answer.
    Declined(Vec<LocationId>),
    /// The peer's entries, as asked for by browsing. No answer.
    Listing(Vec<Listing>),
    /// The peer holds these revisions, or is about to have them: remember it, durably before any
    /// batch leaves that is asked for after this. A peer that lies of what it holds can only add to
    /// it. No answer.
    PeerHolds(Vec<RevisionId>),
    /// What the peer tells of its snapshot. No answer.
    Edition(Edition),
    /// Two snapshots of one identity are in use. No answer.
    Duplicate(Duplicate),
    /// How much is coming. No answer.
    Incoming(Volume),
    /// A batch is durable at the peer: so many of the entries that are given to it in this session
    /// by now. No answer.
    Sent {
        /// Confirmed so far.
        entries: u64,
        /// All that it is given.
        of: u64,
    },
    /// The session is over and all went well. No answer.
    Finished(Summary),
}

impl Action {
    /// Whether the session waits for the host's answer to it.
    #[must_use]
    pub fn needs_answer(&self) -> bool {
        !matches!(
            self,
            Self::Send(_)
                | Self::Listing(_)
                | Self::PeerHolds(_)
                | Self::Edition(_)
                | Self::Duplicate(_)
                | Self::LeftBehind(_)
                | Self::Declined(_)
                | Self::Incoming(_)
                | Self::Sent { .. }
                | Self::Finished(_)
        )
    }
}

/// Whose identity goes with two snapshots that are both in use: one is a copy of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicate {
    /// The peer's, by the stamps that it shows.
    Theirs,
    /// This side's, as the peer says.
    Ours,
}

/// A batch to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// What allows it.
    pub grant: Grant,
    /// What to seal.
    pub entries: Vec<EntryId>,
    /// For whom.
    pub key: RecipientKey,
}

/// A batch to be opened and merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The sealed batch.
    pub sealed: Vec<u8>,
    /// What may be in it.
    pub expected: Arc<Expected>,
}

/// What a session needs to know that only its host can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Of these records, the names, as far as they are held.
    pub names: Vec<LocationId>,
    /// What allows that the names are told to the peer; `None` where they are not told.
    pub grant: Option<Grant>,
    /// Of these heads, whether the peer lacks them, as far as is remembered: of a deletion, whether
    /// it has had what was deleted, and not the deletion.
    pub lacking: Vec<Shape>,
    /// Of these heads, whether they came from the peer.
    pub delivered: Vec<EntryId>,
}

/// The answer to a [`Lookup`]: each list as long as the one that was asked, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupResult {
    /// The names; `None` of what is not held.
    pub names: Vec<Option<Location>>,
    /// Whether the peer lacks it.
    pub lacking: Vec<bool>,
    /// Whether the peer delivered it.
    pub delivered: Vec<bool>,
}

impl Lookup {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.lacking.is_empty() && self.delivered.is_empty()
    }

    /// Whether an answer has as much of each as was asked.
    fn is_answered_by(&self, looked: &LookupResult) -> bool {
        (self.names.len(), self.lacking.len(), self.delivered.len())
            == (looked.names.len(), looked.lacking.len(), looked.delivered.len())
    }
}

/// What the asked side hears of what stays where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// How many records of this side the peer does not take.
    pub not_given: u64,
    /// Some of them.
    pub ungiven: Vec<LocationId>,
    /// How many records the peer would give, and may not.
    pub not_taken: u64,
    /// The names of some of them, as the peer tells.
    pub untaken: Vec<Location>,
}

/// A decision for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was asked.
    pub operation: Operation,
    /// Whether it was this side that asked, for itself: `Push` and `Delete` are then what it takes,
    /// and `Pull` what it gives.
    pub ours: bool,
    /// On what, as text.
    pub selection: alloc::string::String,
    /// Whether it was allowed.
    pub allowed: bool,
    /// How much it concerned.
    pub volume: Volume,
}

impl Verdict {
    /// What this side asked for itself.
    fn own(operation: Operation, selection: &str, volume: Volume) -> Self {
        Self { operation, ours: true, selection: selection.into(), allowed: true, volume }
    }
}

/// What the host has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskResult {
    /// To [`Action::Shapes`].
    Shapes(Vec<Shape>),
    /// To [`Action::List`].
    Listing(Vec<Listing>),
    /// To [`Action::Approve`] or [`Action::Confirm`]: yes.
    Approved,
    /// To [`Action::Approve`] or [`Action::Confirm`]: no.
    Denied,
    /// To [`Action::Plan`]: go on.
    Proceed {
        /// Whether a person confirmed that many records will be deleted.
        deletions_confirmed: bool,
    },
    /// To [`Action::Plan`]: stop here, as after a dry run.
    Stop,
    /// To [`Action::Export`]: the sealed batch.
    Sealed(Vec<u8>),
    /// To [`Action::Import`]: it is durable, and did this.
    Imported(Changes),
    /// To [`Action::Lookup`].
    Looked(LookupResult),
    /// To [`Action::Log`].
    Logged,
    /// To any: it could not be done, and whose fault that is.
    Failed(TaskError),
}

/// What importing a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Revisions that are heads now.
    pub received: u64,
    /// Records deleted by it.
    pub deleted: u64,
    /// Records in conflict now.
    pub conflicts: u64,
}

/// Why the host could not do an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// Its own fault: storage, memory.
    Local,
    /// The policy does not allow it (any more).
    NotPermitted,
    /// What the peer sent is not what it may be.
    Peer(PeerMisbehaved),
    /// Many records would be deleted or emptied by what the peer sent, and nobody has confirmed
    /// that.
    Deletions,
    /// A limit of this side is met that was not met when the plan was made.
    Limits,
}

/// What a session did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Revisions received that are heads here now.
    pub received: u64,
    /// Entries given, confirmed durable by the peer.
    pub sent: u64,
    /// Records deleted here.
    pub deleted: u64,
    /// Records in conflict here.
    pub conflicts: u64,
    /// Records that were the same on both sides.
    pub unchanged: u64,
    /// Times that the asking side sent something and had to wait for an answer before it could go
    /// on. Confirmations of batches are not counted: more is on its way while they are awaited.
    pub round_trips: u64,
}

impl Summary {
    fn add(&mut self, taken: Changes) {
        self.received += taken.received;
        self.deleted += taken.deleted;
        self.conflicts += taken.conflicts;
    }
}

/// The most entries that one session takes from a peer: 4 million.
pub const MAX_ENTRIES: u64 = 4 << 20;
/// About how many bytes of shapes a side gives in a session: the other side keeps them all, in its
/// share of a server's memory.
pub const MAX_GIVEN: usize = 6 << 20;
/// About the most memory, in bytes, that a list of a peer may take: a million shapes with ten
/// ancestors each.
const MAX_LIST: usize = 512 << 20;

/// What both roles share: the actions to be polled, and the error that ended it.
#[derive(Debug, Default)]
struct Core {
    actions: VecDeque<Action>,
    failed: Option<SessionError>,
    waiting: bool,
}

impl Core {
    fn send(&mut self, message: Message) {
        self.actions.push_back(Action::Send(message));
    }

    fn send_all(&mut self, messages: Vec<Message>) {
        messages.into_iter().for_each(|message| self.send(message));
    }

    fn act(&mut self, action: Action) {
        self.waiting |= action.needs_answer();
        self.actions.push_back(action);
    }

    /// Lets the host remember what the peer holds, where that is anything.
    fn known(&mut self, revisions: impl IntoIterator<Item = RevisionId>) {
        let revisions: Vec<RevisionId> = revisions.into_iter().collect();
        if !revisions.is_empty() {
            self.act(Action::PeerHolds(revisions));
        }
    }

    /// Checks that a message may come in now: not while the host owes an answer.
    fn may_receive(&self) -> Result<(), SessionError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.waiting => Err(SessionError::ApiMisuse),
            None => Ok(()),
        }
    }

    /// Checks that an answer is expected; one that is a failure is the end.
    fn may_answer(&mut self, answer: &TaskResult) -> Result<(), SessionError> {
        match self.failed {
            Some(error) => return Err(error),
            None if !self.waiting => return Err(SessionError::ApiMisuse),
            None => self.waiting = false,
        }
        match answer {
            TaskResult::Failed(TaskError::Local) => Err(SessionError::Local),
            TaskResult::Failed(TaskError::NotPermitted) => Err(SessionError::NotPermitted),
            TaskResult::Failed(TaskError::Peer(misbehaviour)) => Err((*misbehaviour).into()),
            TaskResult::Failed(TaskError::Deletions) => Err(SessionError::Deletions),
            TaskResult::Failed(TaskError::Limits) => Err(SessionError::Limits),
            _ => Ok(()),
        }
    }

    /// Whether an error has ended the session.
    fn is_over(&self) -> bool {
        self.failed.is_some()
    }

    /// Keeps the error, tells the peer what it may know of it, and drops what was still to be done.
    fn fail(&mut self, error: SessionError) -> SessionError {
        if self.failed.is_some() {
            return error;
        }
        self.failed = Some(error);
        self.actions.clear();
        let tell = match error {
            SessionError::Refused(_) => None,
            SessionError::PeerMisbehaved(_) => Some(Refusal::ProtocolError),
            SessionError::PeerIncompatible { .. } => Some(Refusal::Version),
            SessionError::NotPermitted => Some(Refusal::NotPermitted),
            SessionError::Deletions => Some(Refusal::Deletions),
            SessionError::Limits => Some(Refusal::Limits),
            SessionError::Local | SessionError::ApiMisuse => Some(Refusal::Failed),
            SessionError::Stopped => Some(Refusal::Stopped),
        };
        if let Some(refusal) = tell {
            self.send(Message::Refused(refusal));
        }
        error
    }
}

/// What driving a session looks like from outside, whichever role.
pub trait Session {
    /// Takes a message from the peer.
    ///
    /// # Errors
    /// [`SessionError`] when the session is over by it; what is still to be polled is a last word
    /// to the peer.
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError>;

    /// Takes the answer to the last action that needs one.
    ///
    /// # Errors
    /// [`SessionError`] when the session is over by it; what is still to be polled is a last word
    /// to the peer.
    fn handle_result(&mut self, answer: TaskResult) -> Result<(), SessionError>;

    /// What to do next; `None` until something is handled.
    #[must_use]
    fn poll_action(&mut self) -> Option<Action>;
}

/// A list that a peer sends in parts: in order, no part empty, and no larger than a session may
/// have.
#[derive(Debug)]
struct PeerList<T> {
    items: Vec<T>,
    weight: usize,
    most: usize,
}

impl<T: WireSize> PeerList<T> {
    const fn new() -> Self {
        Self::up_to(MAX_ENTRIES as usize)
    }

    /// One of so many items, at most.
    const fn up_to(most: usize) -> Self {
        Self { items: Vec::new(), weight: 0, most }
    }

    fn extend(&mut self, part: Vec<T>, in_order: impl Fn(&T, &T) -> bool) -> Result<(), PeerMisbehaved> {
        if part.is_empty() {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        for item in part {
            self.weight = self.weight.saturating_add(item.wire_size());
            if self.weight > MAX_LIST || self.items.len() >= self.most {
                return Err(PeerMisbehaved::TooMany);
            }
            if self.items.last().is_some_and(|last| !in_order(last, &item)) {
                return Err(PeerMisbehaved::Unordered);
            }
            self.items.push(item);
        }
        Ok(())
    }
}

impl PeerList<Shape> {
    fn extend_shapes(&mut self, part: Vec<Shape>) -> Result<(), PeerMisbehaved> {
        self.extend(part, |one, next| one.entry() < next.entry())
    }
}

/// Takes a part of a list of positions, each of which must be of something that was told, and come
/// once.
fn take_indices(
    claimed: &mut BTreeSet<u32>,
    part: Vec<u32>,
    told: impl Fn(&u32) -> bool,
) -> Result<(), PeerMisbehaved> {
    if part.is_empty() {
        return Err(PeerMisbehaved::OutOfOrder);
    }
    part.into_iter().try_for_each(|position| match told(&position) && claimed.insert(position) {
        true => Ok(()),
        false => Err(PeerMisbehaved::Unrequested),
    })
}

/// The positions of some shapes in a list that has them all.
fn positions(list: &[Shape], some: &[Shape]) -> Vec<u32> {
    let some: BTreeSet<EntryId> = some.iter().map(Shape::entry).collect();
    (0..).zip(list).filter(|(_, shape)| some.contains(&shape.entry())).map(|(position, _)| position).collect()
}

/// The shape of an entry in a list in the order of entries.
fn find<'a>(shapes: &'a [Shape], entry: &EntryId) -> Option<&'a Shape> {
    shapes.binary_search_by_key(entry, Shape::entry).ok().map(|at| &shapes[at])
}

/// The entries of one list, in order, that another does not have.
fn difference(shapes: &[Shape], others: &[Shape]) -> Vec<Shape> {
    let mut others = others.iter().peekable();
    let mut lacks = |shape: &&Shape| {
        while others.next_if(|other| other.entry() < shape.entry()).is_some() {}
        others.peek().is_none_or(|other| other.entry() != shape.entry())
    };
    shapes.iter().filter(|shape| lacks(shape)).cloned().collect()
}

/// What the host gives as its shapes, which has to be in order.
fn check_sorted(shapes: Vec<Shape>) -> Result<Vec<Shape>, SessionError> {
    match shapes.is_sorted_by(|one, next| one.entry() < next.entry()) {
        true => Ok(shapes),
        false => Err(SessionError::ApiMisuse),
    }
}

/// The shapes that this side still has to gather from its host: a scope, and for which operation.
#[derive(Debug, Default)]
struct ShapeQueries(VecDeque<(Operation, Scope)>);

impl ShapeQueries {
    fn new<'a>(scopes: impl IntoIterator<Item = (Operation, Option<&'a Scope>)>) -> Self {
        Self(scopes.into_iter().filter_map(|(operation, scope)| Some((operation, scope?.clone()))).collect())
    }

    /// Asks the host for the next; `false` when there is none.
    fn ask(&self, core: &mut Core) -> bool {
        let Some((_, scope)) = self.0.front() else {
            return false;
        };
        core.act(Action::Shapes(scope.clone()));
        true
    }

    /// The operations that the host's answer is for: all that have the same scope.
    fn answered(&mut self) -> Vec<Operation> {
        let Some((_, asked)) = self.0.front().cloned() else {
            return Vec::new();
        };
        let of_it: Vec<Operation> =
            self.0.iter().filter(|(_, scope)| *scope == asked).map(|(operation, _)| *operation).collect();
        self.0.retain(|(_, scope)| *scope != asked);
        of_it
    }
}

/// How many records some heads, in the order of locations, are of.
fn count_records<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> u64 {
    let mut last = None;
    let mut is_new = |shape: &&Shape| last.replace(shape.location) != Some(shape.location);
    shapes.into_iter().filter(|shape| is_new(shape)).count() as u64
}

/// The volume of some shapes.
fn volume<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> Volume {
    shapes.into_iter().fold(Volume::default(), |sum, shape| Volume {
        entries: sum.entries + 1,
        bytes: sum.bytes.saturating_add(shape.size),
    })
}
