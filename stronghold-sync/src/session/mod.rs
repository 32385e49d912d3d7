//! A session: one request to a peer, as two state machines without IO.
//!
//! Both [`Initiator`] and [`Responder`] are driven alike. Messages go in by `handle_message`, the
//! answers to actions by `handle_result`; after each, `poll_action` is called until it gives none.
//! An action that needs an answer ([`Action::needs_answer`]) is answered before the next message
//! goes in. After an error every later call returns the same error; a last message for the peer may
//! still be polled.

mod batches;
mod initiator;
mod lists;
mod responder;

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};

use self::lists::{
    PeerList, ShapeQueries, check_sorted, count_records, difference, find, positions, take_indices, volume,
};
pub use self::{
    batches::{BATCH_BYTES, BATCH_ENTRIES, Expected, MAX_SEALED, ShapeList, Unexpected},
    initiator::{Consent, Initiator, Push, SessionRequest, SyncOptions, Take},
    responder::Responder,
};
pub use crate::error::{PeerMisbehaved, SessionError};
use crate::{
    Edition, EntryId, Grant, Location, LocationId, Operation, Pending, Plan, RevisionId, Scope, Shape,
    message::{Listing, Message, RecipientKey, Refusal, Volume},
};

/// A task of the host.
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
    /// Ask a person: the received entries would delete, empty or shrink many records here.
    /// Answer: [`TaskResult::Approved`] or [`TaskResult::Denied`].
    Confirm(Box<Plan>),
    /// Write decisions to the log, durably. Answer: [`TaskResult::Logged`].
    Log(Vec<Verdict>),
    /// Something stays where it is, at the initiator's word. No answer.
    LeftBehind(LeftBehind),
    /// Of what was to be given, the peer did not want something of these records. No answer.
    Declined(Vec<LocationId>),
    /// The peer's entries, as asked for by browsing. No answer.
    Listing(Vec<Listing>),
    /// The peer holds these revisions, or is about to have them: remember it, durably before any
    /// batch leaves that is asked for after this. A peer that lies of what it holds can only add to
    /// it. No answer.
    PeerHolds(Vec<RevisionId>),
    /// The state of the peer's snapshot. No answer.
    Edition(Edition),
    /// Two snapshots of one identity are in use. No answer.
    Duplicate(Duplicate),
    /// The volume of the entries to come. No answer.
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
    /// Returns whether the session waits for the host's answer to it.
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

/// The side whose identity is used by two snapshots, one a copy of the other.
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
    /// The grant that allows it.
    pub grant: Grant,
    /// The entries to seal.
    pub entries: Vec<EntryId>,
    /// For whom.
    pub key: RecipientKey,
}

/// A batch to be opened and merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The sealed batch.
    pub sealed: Vec<u8>,
    /// The entries that it may hold.
    pub expected: Arc<Expected>,
}

/// A lookup that only the host can answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Of these records, the names, as far as they are held.
    pub names: Vec<LocationId>,
    /// The grant that allows the names to be sent to the peer; `None` if they are not sent.
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
    /// `true` if the peer lacks it.
    pub lacking: Vec<bool>,
    /// `true` if the peer delivered it.
    pub delivered: Vec<bool>,
}

impl Lookup {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.lacking.is_empty() && self.delivered.is_empty()
    }

    /// Returns whether an answer has as much of each as was asked.
    fn is_answered_by(&self, looked: &LookupResult) -> bool {
        (self.names.len(), self.lacking.len(), self.delivered.len())
            == (looked.names.len(), looked.lacking.len(), looked.delivered.len())
    }
}

/// A report to the responder of the entries that stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// Number of records of this side that the peer does not take.
    pub not_given: u64,
    /// Some of them.
    pub ungiven: Vec<LocationId>,
    /// Number of records that the peer would give and may not.
    pub not_taken: u64,
    /// The names of some of them, as the peer tells.
    pub untaken: Vec<Location>,
}

/// A decision for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The requested operation.
    pub operation: Operation,
    /// `true` if it was this side that asked, for itself: `Push` and `Delete` are then what it
    /// takes, and `Pull` what it gives.
    pub ours: bool,
    /// On what, as text.
    pub selection: alloc::string::String,
    /// `true` if it was allowed.
    pub allowed: bool,
    /// The volume that it concerned.
    pub volume: Volume,
}

impl Verdict {
    /// Creates the log entry of an operation that this side requested for itself.
    fn own(operation: Operation, selection: &str, volume: Volume) -> Self {
        Self { operation, ours: true, selection: selection.into(), allowed: true, volume }
    }
}

/// The result of a task of the host.
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
        /// `true` if a person confirmed that many records will be deleted.
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

/// The changes that a batch made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Revisions that are heads now.
    pub received: u64,
    /// Records deleted by it.
    pub deleted: u64,
    /// Records in conflict now.
    pub conflicts: u64,
}

/// The reason for which the host failed a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// Its own fault: storage, memory.
    Local,
    /// The policy does not allow it (any more).
    NotPermitted,
    /// The peer sent something invalid.
    Peer(PeerMisbehaved),
    /// Many records would be deleted or emptied by what the peer sent, and nobody has confirmed
    /// that.
    Deletions,
    /// A limit of this side is met that was not met when the plan was made.
    Limits,
}

/// The result of a session.
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
    /// Times that the initiator sent something and had to wait for an answer before it could go
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
/// About how many bytes of shapes a side gives in a session: the peer keeps them all, in its
/// share of a server's memory.
pub const MAX_GIVEN: usize = 6 << 20;

/// The state that both roles share: the actions to poll, the latched error, and whether an answer
/// is due.
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

    /// Returns whether an error has ended the session.
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

/// The interface that drives a session in either role.
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

    /// Returns the next action; `None` until something is handled.
    #[must_use]
    fn poll_action(&mut self) -> Option<Action>;
}
