//! Errors of a session, by whose fault it ended, and the refusal that a peer is sent.

use serde::{Deserialize, Serialize};

/// A reason for the early end of a session, grouped by whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
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
    /// Many records would be deleted, emptied or shrunk and nobody confirmed it.
    #[error("many records would be deleted or emptied")]
    Deletions,
    /// A limit of this side is met that was not met when the plan was made: the next session leaves
    /// the record out.
    #[error("a limit is met that was not met when the session began")]
    Limits,
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

/// A violation of the protocol by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerMisbehaved {
    /// A message that does not belong here.
    #[error("a message out of order")]
    OutOfOrder,
    /// A list that is not in order, or has the same twice.
    #[error("a list out of order")]
    Unordered,
    /// More entries than a session may have.
    #[error("more entries than a session may have")]
    TooMany,
    /// It asked for, or gave, what was not offered or not wanted.
    #[error("an entry that was not asked for, or was altered")]
    Unrequested,
    /// It wrote or deleted outside what it may.
    #[error("an entry that it may not write")]
    NotPermitted,
    /// A value or labels over the limits, or a deletion with a value.
    #[error("an entry over the limits")]
    OverLimits,
    /// A batch that is not what its head said, or can't be opened.
    #[error("a damaged batch")]
    BadBatch,
    /// More cells, symbols or ranges than a reconciliation may have, or some that are cut.
    #[error("a sketch that is too long")]
    TooManyCells,
    /// A sketch that gives the same symbol twice.
    #[error("a sketch that can't be of any set")]
    Unpeelable,
    /// Ranges that do not follow each other, or go on for ever.
    #[error("ranges that can't be of any set")]
    BadRanges,
    /// A difference that does not add up to what the peer says that it holds.
    #[error("a difference that does not add up")]
    FalseDifference,
    /// A key that is none.
    #[error("a recipient key that is none")]
    BadKey,
}

/// The reason that a peer gives for ending the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The policy does not allow it, or it does not exist: it looks the same.
    #[error("the peer does not permit it")]
    NotPermitted,
    /// It would delete, empty or shrink many records, and nobody there allowed it.
    #[error("the peer would lose many records, and nobody there allowed it")]
    Deletions,
    /// A limit of the peer is met that was not met when the plan was made.
    #[error("a limit of the peer is met")]
    Limits,
    /// The peer speaks another version.
    #[error("the peer speaks another version of the protocol")]
    Version,
    /// The peer says that this side broke the protocol.
    #[error("the peer says that this side broke the protocol")]
    ProtocolError,
    /// The peer can't go on: its storage, or its own fault.
    #[error("the peer could not go on: the reason is on its side")]
    Failed,
    /// The initiator stopped of its own will.
    #[error("the peer stopped")]
    Stopped,
    /// The responder has as many sessions as it may have.
    #[error("the peer is busy")]
    Busy,
    /// The responder can't use its snapshot now: it is gone, damaged, set back or in use.
    #[error("the peer is not ready: something is wrong with its snapshot")]
    NotReady,
}
