//! The request of an initiator, and its authority to take and to give.

use alloc::collections::BTreeSet;

use crate::{EntryId, Grant, Selection, message::RecipientKey, reconcile::PairSecret};

/// A request to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made for a session, and there are never many")]
pub enum SessionRequest {
    /// Everything selected, sealed to this key.
    Import {
        /// The entries to import.
        selection: Selection,
        /// This side's one-time key.
        key: RecipientKey,
    },
    /// The names and shapes of the selected entries.
    Browse {
        /// The entries to list.
        selection: Selection,
    },
    /// Individual entries, sealed to this key.
    Fetch {
        /// The entries to fetch.
        selection: Selection,
        /// This side's one-time key.
        key: RecipientKey,
    },
    /// A sync: each side receives what it lacks.
    Sync(SyncOptions),
}

/// The options of a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncOptions {
    /// The entries to sync.
    pub selection: Selection,
    /// The authority to receive; `None` to receive nothing.
    pub take: Option<Take>,
    /// The authority to give. At least one of `take` and a granted `push` is required.
    pub push: Push,
    /// `true` if the plan must name every record that it would take, including those that only the
    /// peer holds.
    pub names: bool,
    /// This side's one-time key.
    pub key: RecipientKey,
    /// 32 bytes that only the two ends of this session know, fresh each time.
    pub secret: [u8; 32],
    /// The secret of this device and the peer, if they have one.
    pub pair: Option<PairSecret>,
}

/// The initiator's authority to take entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// Its own command: everything that the peer lets it have.
    Everything,
    /// Its policy: only what the peer may write or delete here.
    Granted(Consent),
}

/// The peer's permissions by this side's policy, applied to the entries that a sync takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// The grant for entries that the peer writes.
    pub push: Option<Grant>,
    /// The grant for entries that the peer deletes.
    pub delete: Option<Grant>,
    /// Entries to take beyond these grants: the user has seen their names.
    pub also: BTreeSet<EntryId>,
}

/// The initiator's authority to give entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// No authority: this side chooses to give nothing.
    No,
    /// No authority: this side would give, but its own policy grants the peer nothing. The plan
    /// lists the entries that wait.
    NotGranted,
    /// A grant of its own policy to the peer.
    Granted(Grant),
}
