//! A session: one request to a peer, as two state machines without IO.
//!
//! Both [`Asking`] and [`Asked`] are driven alike. Messages go in by `handle_message`, the answers to actions by
//! `handle_answer`; after each, `poll_action` is called until it gives none. An action that needs an answer
//! ([`Action::needs_answer`]) is answered before the next message goes in. After an error every later call
//! returns the same error; a last message for the peer may still be polled.

mod asked;
mod asking;
mod flow;

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};

pub use self::{
    asked::Asked,
    asking::{Ask, Asking, SyncAsk},
    flow::{BATCH_BYTES, BATCH_ENTRIES, Expected, MAX_SEALED, Unexpected},
};
use crate::{
    EntryId, Grant, Operation, Pending, Plan, Scope, Shape,
    message::{Listing, Message, RecipientKey, Refusal, Volume},
};

/// What the host is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to the peer.
    Send(Message),
    /// Give the shapes of all heads in scope, in the order of locations. Answer: [`Answer::Shapes`].
    Shapes(Scope),
    /// Give the names and shapes of what the grant covers. Answer: [`Answer::Listing`].
    List(Grant),
    /// Ask a person. Answer: [`Answer::Approved`] or [`Answer::Denied`].
    Ask(Vec<Pending>),
    /// Say whether this plan is to be carried out. Answer: [`Answer::Proceed`] or [`Answer::Stop`].
    Plan(Box<Plan>),
    /// Check the grant once more, open the entries, seal them to the key. Answer: [`Answer::Sealed`].
    Export(Export),
    /// Open the batch, check every entry against what is expected, merge, commit. Answer: [`Answer::Imported`].
    Import(Import),
    /// Write decisions to the log, durably. Answer: [`Answer::Logged`].
    Log(Vec<Verdict>),
    /// The peer's entries, as asked for by browsing. No answer.
    Found(Vec<Listing>),
    /// How much is coming. No answer.
    Expect(Volume),
    /// The session is over and all went well. No answer.
    Finished(Summary),
}

impl Action {
    /// Whether the session waits for the host's answer to it.
    #[must_use]
    pub fn needs_answer(&self) -> bool {
        !matches!(self, Self::Send(_) | Self::Found(_) | Self::Expect(_) | Self::Finished(_))
    }
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

/// A decision for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was asked.
    pub operation: Operation,
    /// On what, as text.
    pub selection: alloc::string::String,
    /// Whether it was allowed.
    pub allowed: bool,
    /// How much it concerned.
    pub volume: Volume,
}

/// What the host has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Action::Shapes`].
    Shapes(Vec<Shape>),
    /// To [`Action::List`].
    Listing(Vec<Listing>),
    /// To [`Action::Ask`]: yes.
    Approved,
    /// To [`Action::Ask`]: no.
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
    Imported(Taken),
    /// To [`Action::Log`].
    Logged,
    /// To any: it could not be done, and whose fault that is.
    Failed(Failure),
}

/// What importing a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Revisions that are heads now.
    pub received: u64,
    /// Records deleted by it.
    pub deleted: u64,
    /// Records in conflict now.
    pub conflicts: u64,
}

/// Why the host could not do an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its own fault: storage, memory.
    Local,
    /// The policy does not allow it (any more).
    NotPermitted,
    /// What the peer sent is not what it may be.
    Peer(Misbehaviour),
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
    /// Times that the asking side waited for an answer.
    pub round_trips: u64,
}

/// Why a session ended before its end, by whose fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    PeerMisbehaved(#[from] Misbehaviour),
    /// The peer speaks another version of the protocol.
    #[error("the peer speaks protocol version {theirs}, this is {ours}")]
    PeerIncompatible {
        /// This side's version.
        ours: u16,
        /// The peer's.
        theirs: u16,
    },
    /// The peer said no.
    #[error(transparent)]
    Refused(Refusal),
    /// This side's policy said no to the peer.
    #[error("the policy does not allow it")]
    NotPermitted,
    /// Many records would be deleted and nobody confirmed it.
    #[error("many records would be deleted")]
    Deletions,
    /// This side could not go on.
    #[error("this side could not go on")]
    Local,
    /// This side stopped of its own will.
    #[error("stopped")]
    Stopped,
    /// The host called what it may not call now.
    #[error("the session was driven wrongly")]
    ApiMisuse,
}

/// What a peer did that no honest peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// A message that does not belong here.
    #[error("a message out of order")]
    OutOfOrder,
    /// Shapes that are not in the order of locations, or twice the same.
    #[error("a list out of order")]
    Unordered,
    /// More entries than a session may have.
    #[error("more entries than a session may have")]
    TooMany,
    /// It asked for, or gave, what was not offered or not wanted.
    #[error("an entry that was not asked for, or was altered")]
    NotAsked,
    /// It wrote or deleted outside what it may.
    #[error("an entry that it may not write")]
    NotPermitted,
    /// A batch that is not what its head said, or can't be opened.
    #[error("a damaged batch")]
    BadBatch,
    /// A key that is none.
    #[error("a recipient key that is none")]
    BadKey,
}

/// The most entries that one session takes from a peer: 4 million.
pub const MAX_ENTRIES: usize = 4 << 20;

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

    /// Checks that a message may come in now.
    fn may_receive(&self) -> Result<(), SessionError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.waiting => Err(SessionError::ApiMisuse),
            None => Ok(()),
        }
    }

    /// Checks that an answer is expected; one that is a failure is the end.
    fn may_answer(&mut self, answer: &Answer) -> Result<(), SessionError> {
        match self.failed {
            Some(error) => return Err(error),
            None if !self.waiting => return Err(SessionError::ApiMisuse),
            None => self.waiting = false,
        }
        match answer {
            Answer::Failed(Failure::Local) => Err(SessionError::Local),
            Answer::Failed(Failure::NotPermitted) => Err(SessionError::NotPermitted),
            Answer::Failed(Failure::Peer(misbehaviour)) => Err((*misbehaviour).into()),
            _ => Ok(()),
        }
    }

    /// Keeps the error, tells the peer what it may know of it, and drops what was still to be done.
    fn fail(&mut self, error: SessionError) -> SessionError {
        if self.failed.is_some() {
            return error;
        }
        self.failed = Some(error);
        self.actions.clear();
        let tell = match error {
            SessionError::Refused(_) | SessionError::ApiMisuse => None,
            SessionError::PeerMisbehaved(_) => Some(Refusal::Misbehaved),
            SessionError::PeerIncompatible { .. } => Some(Refusal::Version),
            SessionError::NotPermitted => Some(Refusal::NotPermitted),
            SessionError::Deletions => Some(Refusal::Deletions),
            SessionError::Local => Some(Refusal::Failed),
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
    /// [`SessionError`] when the session is over by it; what is still to be polled is a last word to the peer.
    fn handle_message(&mut self, message: Message) -> Result<(), SessionError>;

    /// Takes the answer to the last action that needs one.
    ///
    /// # Errors
    /// [`SessionError`] when the session is over by it; what is still to be polled is a last word to the peer.
    fn handle_answer(&mut self, answer: Answer) -> Result<(), SessionError>;

    /// What to do next; `None` until something is handled.
    #[must_use]
    fn poll_action(&mut self) -> Option<Action>;
}

/// Checks that a peer's list goes on in order, then takes it.
fn extend_ordered(list: &mut Vec<Shape>, more: Vec<Shape>) -> Result<(), Misbehaviour> {
    if list.len().saturating_add(more.len()) > MAX_ENTRIES {
        return Err(Misbehaviour::TooMany);
    }
    for shape in more {
        if list.last().is_some_and(|last| last.entry() >= shape.entry()) {
            return Err(Misbehaviour::Unordered);
        }
        list.push(shape);
    }
    Ok(())
}

/// Takes more of a peer's list, up to the limit.
fn extend_limited<T>(list: &mut Vec<T>, more: Vec<T>) -> Result<(), Misbehaviour> {
    if list.len().saturating_add(more.len()) > MAX_ENTRIES {
        return Err(Misbehaviour::TooMany);
    }
    list.extend(more);
    Ok(())
}

/// The volume of some shapes.
fn volume<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> Volume {
    shapes.into_iter().fold(Volume::default(), |sum, shape| Volume {
        entries: sum.entries + 1,
        bytes: sum.bytes.saturating_add(shape.size),
    })
}
