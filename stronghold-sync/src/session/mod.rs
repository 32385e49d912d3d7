//! Sessions: one request to a peer, as two state machines without IO.
//!
//! [`Initiator`] and [`Responder`] are driven alike. Feed peer messages to `handle_message` and
//! task results to `handle_result`; after each call, drain `poll_action` until it returns `None`.
//! Pass in the result of a task before the next message. After an error every later call returns
//! the same error; a last message for the peer may still be polled.

mod batches;
mod digest;
mod initiator;
mod letter;
mod lists;
mod responder;

use alloc::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};

use self::lists::{
    PeerList, ShapeQueries, check_sorted, count_records, difference, find, is_replaced_by, positions,
    record_of, take_indices, volume,
};
pub use self::{
    batches::{BATCH_BYTES, BATCH_ENTRIES, Expected, MAX_SEALED, ShapeList, Unexpected},
    digest::{DigestQuery, HeldSet},
    initiator::{Consent, Initiator, Push, SessionRequest, SyncOptions, Take},
    letter::{LetterPlan, LetterShapes},
    responder::Responder,
};
pub use crate::error::{PeerMisbehaved, SessionError, TaskError};
use crate::{
    Edition, EntryId, Grant, Location, LocationId, Operation, Pending, Plan, RevisionId, Scope, Shape,
    message::{CHUNK_BYTES, Listing, Message, RecipientKey, Refusal, Volume},
};

/// An action for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this message to the peer.
    Send(Message),
    /// Perform this task, and hand its result to [`Session::handle_result`].
    Perform(Task),
    /// Take note of this. If that fails, call [`Session::handle_failure`].
    Notify(Event),
    /// The session is complete.
    Finished(Summary),
}

/// A task of which the session awaits the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Collect the shapes of all heads in scope, sorted by entry (location, then revision), each
    /// once. Result: [`TaskResult::Shapes`].
    Shapes(Scope),
    /// Collect the shapes of the heads of these records, as for [`Task::Shapes`], where they are in
    /// scope. Result: [`TaskResult::Shapes`].
    ShapesAt(Scope, Vec<LocationId>),
    /// Compute the digest of all heads in scope. Result: [`TaskResult::Digest`].
    Digest(Box<DigestQuery>),
    /// Collect the names and shapes of the entries that the grant covers. Result:
    /// [`TaskResult::Listing`].
    List(Grant),
    /// Ask the user to approve these grants. Result: [`TaskResult::Approved`] or
    /// [`TaskResult::Denied`].
    Approve(Vec<Pending>),
    /// Decide whether to carry out this plan. Result: [`TaskResult::Proceed`] or
    /// [`TaskResult::Stop`].
    Plan(Box<Plan>),
    /// Check the grant again, then open the entries and seal them to the key. Result:
    /// [`TaskResult::Sealed`].
    Export(Export),
    /// Open the batch, check every entry against the expected ones, merge and commit. Result:
    /// [`TaskResult::Imported`].
    Import(Import),
    /// Look up names and history that only the host knows. Result: [`TaskResult::Looked`].
    Lookup(Lookup),
    /// Ask the user: the entries pushed to this side would delete, empty or shrink many records
    /// here. Result: [`TaskResult::Approved`] or [`TaskResult::Denied`].
    Confirm(Box<Plan>),
}

/// News for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Decisions for the log. They must be durable before the next action is performed: what
    /// follows may disclose what they allow.
    Log(Vec<Verdict>),
    /// The peer's user is asked, so that the answer may take a while.
    Asking,
    /// The initiator reports entries that it leaves out of the sync.
    LeftBehind(LeftBehind),
    /// The peer declined some of the entries of these records.
    Declined(Vec<LocationId>),
    /// The peer's entries, as the reply to a browse.
    Listing(Vec<Listing>),
    /// The peer holds these revisions or is about to receive them: remember them, durably before
    /// sealing any batch that is requested after this event. A lying peer can only add to what is
    /// remembered of it.
    PeerHolds(Vec<RevisionId>),
    /// The peer holds every head that the last [`Task::Digest`] covered, and that the
    /// [`Task::Shapes`] or [`Task::ShapesAt`] of its scope, if there was one after it, covered too,
    /// except these: remember them as for [`Event::PeerHolds`].
    PeerHoldsAll {
        /// The revisions that the peer is not known to hold.
        except: Vec<RevisionId>,
    },
    /// The peer's description of its snapshot.
    Edition(Edition),
    /// Two snapshots of one identity are in use.
    Duplicate(Duplicate),
    /// At the end of a sync in which the initiator may pull: what the peer holds by now.
    Acknowledged(Acknowledged),
    /// The volume that the peer is about to send.
    Incoming(Volume),
    /// A batch is durable at the peer: the number of confirmed entries in this session.
    Sent {
        /// Entries confirmed so far.
        entries: u64,
        /// Total number of entries to send.
        of: u64,
    },
}

/// The owner of an identity that two snapshots in use share: one is a copy of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicate {
    /// The peer, by the stamps that it shows.
    Theirs,
    /// This side, as the peer reports.
    Ours,
}

/// The state of a peer after a sync: in `scope` it holds, durably, every head that
/// [`Task::Shapes`] or [`Task::Digest`] covered in that scope, or one that replaces it. Not so at
/// the locations in `except`: there something was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The scope in which both sides were compared.
    pub scope: Scope,
    /// The records of which the peer may lack a head.
    pub except: BTreeSet<LocationId>,
}

/// A batch to seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The grant that allows the export.
    pub grant: Grant,
    /// The entries to seal.
    pub entries: Vec<EntryId>,
    /// The recipient's key.
    pub key: RecipientKey,
}

/// A batch to open and merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The sealed batch.
    pub sealed: Vec<u8>,
    /// The entries that the batch may contain.
    pub expected: Arc<Expected>,
}

/// Questions that a session needs answered and only its host can answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Records whose names are needed, if they are held here.
    pub names: Vec<LocationId>,
    /// The grant that allows disclosing the names to the peer; `None` if they are not disclosed.
    pub grant: Option<Grant>,
    /// Heads for which to tell whether the peer lacks them, as far as is remembered. The peer lacks
    /// a deletion if it received the deleted value but not the deletion.
    pub lacking: Vec<Shape>,
    /// Heads for which to tell whether they came from the peer.
    pub delivered: Vec<EntryId>,
}

/// The result of a [`Lookup`]: each list has the length and order of the requested one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupResult {
    /// The names; `None` for a record that is not held.
    pub names: Vec<Option<Location>>,
    /// For each head, whether the peer lacks it.
    pub lacking: Vec<bool>,
    /// For each head, whether the peer delivered it.
    pub delivered: Vec<bool>,
}

impl Lookup {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.lacking.is_empty() && self.delivered.is_empty()
    }

    /// Returns whether the result's lists have the requested lengths.
    fn is_answered_by(&self, looked: &LookupResult) -> bool {
        (self.names.len(), self.lacking.len(), self.delivered.len())
            == (looked.names.len(), looked.lacking.len(), looked.delivered.len())
    }
}

/// The initiator's report of records that it leaves out of the sync, as the responder sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// Number of this side's records that the peer does not take.
    pub not_given: u64,
    /// Some of these records.
    pub ungiven: Vec<LocationId>,
    /// Number of the peer's records that it would give but may not.
    pub not_taken: u64,
    /// Names of some of these records, as the peer reports them.
    pub untaken: Vec<Location>,
}

/// A decision for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The requested operation.
    pub operation: Operation,
    /// `true` if this side requested the operation for itself: `Push` and `Delete` then cover the
    /// entries it takes, and `Pull` the entries it gives.
    pub ours: bool,
    /// The selection, as text.
    pub selection: alloc::string::String,
    /// `true` if the operation was allowed.
    pub allowed: bool,
    /// The volume of entries concerned.
    pub volume: Volume,
}

impl Verdict {
    /// Creates the verdict for an operation that this side requested for itself.
    fn own(operation: Operation, selection: &str, volume: Volume) -> Self {
        Self { operation, ours: true, selection: selection.into(), allowed: true, volume }
    }
}

/// The result of a [`Task`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskResult {
    /// For [`Task::Shapes`] or [`Task::ShapesAt`]: the shapes.
    Shapes(Vec<Shape>),
    /// For [`Task::Digest`]: the digest.
    Digest(Box<HeldSet>),
    /// For [`Task::List`]: the entries.
    Listing(Vec<Listing>),
    /// For [`Task::Approve`] or [`Task::Confirm`]: yes.
    Approved,
    /// For [`Task::Approve`] or [`Task::Confirm`]: no.
    Denied,
    /// For [`Task::Plan`]: carry it out.
    Proceed {
        /// `true` if the user confirmed the deletion of many records.
        deletions_confirmed: bool,
    },
    /// For [`Task::Plan`]: stop here, as after a dry run.
    Stop,
    /// For [`Task::Export`]: the sealed batch.
    Sealed(Vec<u8>),
    /// For [`Task::Import`]: the batch is durable and made these changes.
    Imported(Changes),
    /// For [`Task::Lookup`]: the answers.
    Looked(LookupResult),
}

/// The changes made by importing a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Imported revisions that are heads now.
    pub received: u64,
    /// Records that the batch deleted.
    pub deleted: u64,
    /// Records in conflict now.
    pub conflicts: u64,
}

/// The results of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Received revisions that are heads here now.
    pub received: u64,
    /// Sent entries that the peer confirmed as durable.
    pub sent: u64,
    /// Records deleted here.
    pub deleted: u64,
    /// Records in conflict here.
    pub conflicts: u64,
    /// Records that were the same on both sides.
    pub unchanged: u64,
    /// Number of times the initiator sent something and had to wait for a reply before it could
    /// continue. Acknowledgements of batches do not count: the sender continues while it awaits
    /// them.
    pub round_trips: u64,
}

impl Summary {
    fn add(&mut self, taken: Changes) {
        self.received += taken.received;
        self.deleted += taken.deleted;
        self.conflicts += taken.conflicts;
    }
}

/// Maximum number of entries that a session accepts from a peer: 4 million.
pub const MAX_ENTRIES: u64 = 4 << 20;
/// About how many bytes of shapes a side gives in a session: the peer keeps them all, in its
/// share of a server's memory.
pub const MAX_GIVEN: usize = 6 << 20;

/// State that both roles share: the queued actions, and the error that ended the session.
#[derive(Debug, Default)]
struct Core {
    queue: VecDeque<Queued>,
    failed: Option<SessionError>,
    waiting: bool,
    /// The peer's acknowledgement, in force once the session has ended well.
    acknowledged: Option<Acknowledged>,
}

/// An item of the queue of actions.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a queue is short")]
enum Queued {
    Action(Action),
    /// A sealed batch, of which the first `sent` bytes were polled. Its chunks are cut when they
    /// are polled, so it stands in memory once.
    Batch {
        sealed: Vec<u8>,
        sent: usize,
    },
}

impl Core {
    fn push(&mut self, action: Action) {
        self.queue.push_back(Queued::Action(action));
    }

    fn poll(&mut self) -> Option<Action> {
        match self.queue.front_mut()? {
            Queued::Batch { sealed, sent } if *sent < sealed.len() => {
                let end = sealed.len().min(*sent + CHUNK_BYTES);
                let chunk = sealed[*sent..end].to_vec();
                *sent = end;
                Some(Action::Send(Message::Chunk(chunk)))
            }
            _ => match self.queue.pop_front()? {
                Queued::Action(action) => Some(action),
                Queued::Batch { .. } => self.poll(),
            },
        }
    }

    fn send(&mut self, message: Message) {
        self.push(Action::Send(message));
    }

    fn send_all(&mut self, messages: Vec<Message>) {
        messages.into_iter().for_each(|message| self.send(message));
    }

    fn perform(&mut self, task: Task) {
        self.waiting = true;
        self.push(Action::Perform(task));
    }

    /// Has the host ask its user, and tells the peer before.
    fn ask(&mut self, task: Task) {
        self.send(Message::Asking);
        self.perform(task);
    }

    fn notify(&mut self, event: Event) {
        self.push(Action::Notify(event));
    }

    /// Ends the session well.
    fn finish(&mut self, summary: Summary) {
        if let Some(acknowledged) = self.acknowledged.take() {
            self.notify(Event::Acknowledged(acknowledged));
        }
        self.push(Action::Finished(summary));
    }

    /// Has the host log these decisions before any later action, unless there are none.
    fn log(&mut self, verdicts: Vec<Verdict>) {
        if !verdicts.is_empty() {
            self.notify(Event::Log(verdicts));
        }
    }

    /// Has the host remember the revisions that the peer holds, unless there are none.
    fn peer_holds(&mut self, revisions: impl IntoIterator<Item = RevisionId>) {
        let revisions: Vec<RevisionId> = revisions.into_iter().collect();
        if !revisions.is_empty() {
            self.notify(Event::PeerHolds(revisions));
        }
    }

    /// Has the host remember that the peer holds all heads of the compared set but these, unless no
    /// set was compared.
    fn peer_holds_all(&mut self, except: Option<Vec<RevisionId>>) {
        except.into_iter().for_each(|except| self.notify(Event::PeerHoldsAll { except }));
    }

    /// Checks that a message may come in: no error has occurred and no result is pending.
    fn may_receive(&self) -> Result<(), SessionError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.waiting => Err(SessionError::ApiMisuse),
            None => Ok(()),
        }
    }

    /// Checks that a result is pending.
    fn may_answer(&mut self) -> Result<(), SessionError> {
        match self.failed {
            Some(error) => Err(error),
            None if !self.waiting => Err(SessionError::ApiMisuse),
            None => {
                self.waiting = false;
                Ok(())
            }
        }
    }

    /// Returns whether an error has ended the session.
    fn is_over(&self) -> bool {
        self.failed.is_some()
    }

    /// Ends the session because a task failed, or the log; returns its error.
    fn fail_task(&mut self, failure: TaskError) -> SessionError {
        self.failed.unwrap_or_else(|| self.fail(failure.into()))
    }

    /// Latches the error, clears pending actions, except for decisions to log, and queues the
    /// refusal for the peer.
    fn fail(&mut self, error: SessionError) -> SessionError {
        if self.is_over() {
            return error;
        }
        self.failed = Some(error);
        self.queue.retain(|queued| matches!(queued, Queued::Action(Action::Notify(Event::Log(_)))));
        let tell = match error {
            SessionError::Refused(_) => None,
            SessionError::PeerMisbehaved(_) => Some(Refusal::ProtocolError),
            SessionError::PeerIncompatible { .. } => Some(Refusal::Version),
            SessionError::NotPermitted => Some(Refusal::NotPermitted),
            SessionError::Deletions(_) => Some(Refusal::Deletions),
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

/// The driving interface of a session, in either role.
pub trait Session {
    /// Handles a message from the peer.
    ///
    /// # Errors
    /// [`SessionError`] when the message ends the session; a last message for the peer may still be
    /// polled.
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError>;

    /// Handles the result of the last polled [`Task`].
    ///
    /// # Errors
    /// [`SessionError`] when the result ends the session; a last message for the peer may still be
    /// polled.
    fn handle_result(&mut self, result: TaskResult) -> Result<(), SessionError>;

    /// Handles the failure of the last polled [`Task`], or of writing to the log: the session ends.
    /// Returns its error. Actions that were queued after it are dropped; a last message for the
    /// peer may still be polled.
    fn handle_failure(&mut self, failure: TaskError) -> SessionError;

    /// Returns the next action; `None` until a message or result is handled.
    ///
    /// Actions must be performed in this order, each to its end before the next one is polled. So
    /// whatever is sent after [`Event::Log`] leaves only once the log is durable.
    #[must_use]
    fn poll_action(&mut self) -> Option<Action>;
}
