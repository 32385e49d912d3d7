//! The effect of an exchange: what it took and left, what waits, and what is odd.

use stronghold_sync::{Losses, Timestamp};
use stronghold_vault::RejectReason;

use crate::Outcome;

/// The effect of an [`Exchange`](super::Exchange), as far as it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchanged {
    /// The records received and sent, by name where one was refused, held back or replaced. Its
    /// round trips are the requests to the store. A record sent is not confirmed yet: see
    /// `waiting`.
    pub outcome: Outcome,
    /// Number of the peer's letters that were taken.
    pub letters_taken: u64,
    /// Number of letters sent.
    pub letters_sent: u64,
    /// Number of letters that the peer has not acknowledged.
    pub waiting: u64,
    /// The last time at which the peer is known to have written something that came here, in
    /// milliseconds since 1970; zero for never.
    pub heard: Timestamp,
    /// `true` if no card of the peer was ever read: before that, nothing is sent.
    pub awaits_card: bool,
    /// Number of things in the store that are not of this pair.
    pub others: u64,
    /// The losses for which the next letter was not taken, since nobody confirmed them.
    pub unconfirmed: Option<Losses>,
    /// Oddities of the store or the peer, each once.
    pub odd: Vec<Oddity>,
}

/// Something odd in a mailbox. None of it loses an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oddity {
    /// The store shows an older state than before: it was put back, or not all is copied yet.
    RolledBack,
    /// The store, or the peer, knows more of this device than its file: an older file was put back,
    /// or a copy of it is in use too. All is sent again, both ways.
    AheadOfFile,
    /// The store has more things than are listed: something else fills it.
    TooManyThings,
    /// Some cards of the peer can't be opened: damaged, or not wholly copied yet.
    DamagedCard,
    /// Some letters of the peer can't be opened: damaged, not wholly copied yet, or sealed to a key
    /// that is gone. The peer sends their content again.
    DamagedLetter,
    /// A letter of the peer has an entry that no letter may have. It is not taken.
    Unacceptable(RejectReason),
    /// A letter waits for a rule that asks a person.
    NeedsApproval,
    /// There is more to take: the next exchange goes on with it.
    MoreToTake,
    /// There is more to send: the next exchange goes on with it, once the peer has taken some.
    MoreToSend,
}
