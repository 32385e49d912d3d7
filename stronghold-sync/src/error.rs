//! Errors of a session, by whose fault it ended, and the refusal that a peer is sent.

use serde::{Deserialize, Serialize};

use crate::Losses;

/// The reason why a session failed, grouped by whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The peer speaks another version of the protocol.
    #[error("the peer speaks protocol version {theirs}, this is {ours}")]
    PeerIncompatible {
        /// This side's version.
        ours: u16,
        /// The peer's version.
        theirs: u16,
    },
    /// The peer refused.
    #[error(transparent)]
    Refused(Refusal),
    /// This side's policy denied the peer's request.
    #[error("the policy does not allow it")]
    NotPermitted,
    /// Many records would be deleted, emptied or shrunk without confirmation.
    #[error("this would delete or empty {0}")]
    Deletions(Losses),
    /// An entry exceeds a limit of this side that the plan did not foresee: the next session leaves
    /// the record out.
    #[error("a limit is met that was not met when the session began")]
    Limits,
    /// A local failure.
    #[error("this side could not go on")]
    Local,
    /// This side cancelled the session.
    #[error("stopped")]
    Stopped,
    /// The host called a method out of turn.
    #[error("session methods were called out of order")]
    ApiMisuse,
}

/// A violation of the protocol that no honest peer commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A message that is invalid in this state.
    #[error("a message out of order")]
    OutOfOrder,
    /// A list that is not sorted or contains an item twice.
    #[error("a list out of order")]
    Unordered,
    /// More entries than a session may have.
    #[error("more entries than a session may have")]
    TooMany,
    /// A request for, or delivery of, an entry that was not offered or not wanted.
    #[error("an entry that was not asked for, or was altered")]
    Unrequested,
    /// A write or deletion that this side does not permit.
    #[error("an entry that it may not write")]
    NotPermitted,
    /// A value or labels over the limits, or a deletion with a value.
    #[error("an entry over the limits")]
    OverLimits,
    /// A batch that contradicts its header or fails to open.
    #[error("a damaged batch")]
    BadBatch,
    /// Too many cells, symbols or ranges for one reconciliation, or truncated ones.
    #[error("a sketch that is too long")]
    TooManyCells,
    /// A sketch that yields the same symbol twice.
    #[error("a sketch that can't be of any set")]
    Unpeelable,
    /// Ranges that are not consecutive or never end.
    #[error("ranges that can't be of any set")]
    BadRanges,
    /// A difference that contradicts the peer's digest.
    #[error("a difference that does not add up")]
    FalseDifference,
    /// A missing or invalid recipient key.
    #[error("an invalid recipient key")]
    BadKey,
}

/// The reason why a peer ended the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The policy does not allow the request, or the entries do not exist: the two look the same.
    #[error("the peer does not permit it")]
    NotPermitted,
    /// The peer would lose many records (deleted, emptied or shrunk), and its user did not allow
    /// that.
    #[error("the peer would lose many records, and nobody there allowed it")]
    Deletions,
    /// An entry exceeds a limit of the peer that the plan did not foresee.
    #[error("a limit of the peer is met")]
    Limits,
    /// The peer speaks another version.
    #[error("the peer speaks another version of the protocol")]
    Version,
    /// The peer reports that this side broke the protocol.
    #[error("the peer says that this side broke the protocol")]
    ProtocolError,
    /// The peer failed, in its storage or elsewhere.
    #[error("the peer could not go on: the reason is on its side")]
    Failed,
    /// The initiator cancelled the session.
    #[error("the peer stopped")]
    Stopped,
    /// The responder has as many sessions as it may have.
    #[error("the peer is busy")]
    Busy,
    /// The responder can't use its snapshot now: it is missing, damaged, rolled back or in use.
    #[error("the peer is not ready: something is wrong with its snapshot")]
    NotReady,
}

/// The reason why the host failed to perform a task, or to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// A local failure: storage or memory.
    Local,
    /// The policy does not allow it, or no longer does.
    NotPermitted,
    /// The peer's batch breaks the protocol.
    Peer(PeerMisbehaved),
    /// The peer's batch would delete or empty many records without confirmation.
    Deletions(Losses),
    /// The batch exceeds a limit of this side that the plan did not foresee.
    Limits,
}

impl From<TaskError> for SessionError {
    fn from(failure: TaskError) -> Self {
        match failure {
            TaskError::Local => Self::Local,
            TaskError::NotPermitted => Self::NotPermitted,
            TaskError::Peer(misbehaviour) => misbehaviour.into(),
            TaskError::Deletions(losses) => Self::Deletions(losses),
            TaskError::Limits => Self::Limits,
        }
    }
}
