//! Stronghold's synchronisation as pure computation: ids, shapes, selections, policy, plan and
//! sessions.
//!
//! The crate does no IO and has no clock, randomness, async, vault keys or values: callers pass in
//! what it needs, and the same inputs return the same outputs. It does not store, encrypt or send
//! anything; see `stronghold-vault`, `stronghold-snapshot` and `stronghold-net` for that. It is
//! `no_std` and needs only `alloc`.
//!
//! Its nouns, and how they meet:
//!
//! - A [`Shape`] describes one revision of one record without its content: the ids of its
//!   [`Location`], its [`RevisionId`] (a cryptographic hash), its [`Ancestors`] and its padded
//!   size. Ancestors order revisions, never clocks: see [`heads`].
//! - A [`Plan`] lists the entries that a sync takes and gives and the conflicts that it resolves;
//!   [`plan`] computes it from both sides' shapes.
//! - A [`Policy`] decides what a peer may do, and only it creates a peer's [`Grant`]s; a
//!   [`session`] carries a request through both sides, driven by `handle_*` in and `poll_action`
//!   out.
//!
//! ```
//! use stronghold_sync::{Ancestors, Location, OnConflict, PlanOptions, RevisionId, Shape, plan};
//!
//! let location = "wallet/web/mail".parse::<Location>()?.id();
//! let (old, new) = (RevisionId::from_bytes([1; 32]), RevisionId::from_bytes([2; 32]));
//! let shape =
//!     |revision, ancestors| Shape { location, revision, ancestors, size: 12, deleted: false };
//! let here = [shape(old, Ancestors::default())];
//! let there = [shape(new, Ancestors::from_newest_first(vec![old]).unwrap_or_default())];
//!
//! let options = PlanOptions { take: true, give: true, on_conflict: OnConflict::KeepBoth };
//! let plan = plan(&here, &there, options);
//! assert_eq!((plan.take.len(), plan.give.len(), plan.conflicts), (1, 0, 0));
//! # Ok::<(), stronghold_sync::ParseLocationError>(())
//! ```
#![no_std]

extern crate alloc;

mod error;
pub mod message;
mod model;
mod plan;
mod policy;
pub mod reconcile;
mod select;
pub mod session;
mod util;

pub use model::id::{
    ClientId, DeviceId, LocationId, ParseIdError, RecordId, RevisionId, ShortId, Stamp, VaultId,
};
pub use model::location::{
    Location, MAX_NAME, MAX_RECORD_NAME, ParseLocationError, check_name, escape_untrusted, is_hidden,
};
pub use model::shape::{Ancestors, EntryId, MAX_ANCESTORS, Replaced, Shape, Versioned, heads};
pub use model::stamps::{Edition, Stamps};
pub use plan::{
    Change, MAX_ADDED_HEADS, MAX_HEADS, MAX_UNCONFIRMED_DELETIONS, OnConflict, Plan, PlanOptions, Resolution,
    SkipReason, Skipped, is_shrunk, needs_confirmation, plan,
};
pub use policy::{
    Decision, Grant, Operation, ParseOperationError, Pending, Policy, RedundantRule, Rule, RuleTooWide,
    Withdrawn,
};
pub use select::pattern::{MAX_PATTERN, ParsePatternError, Pattern};
pub use select::selection::{
    MAX_COMPLEXITY, MAX_PATTERNS, MAX_SELECTION, Mapping, ParseMappingError, ParseSelectionError, Scope,
    Selection,
};
pub use util::hex;
pub use util::padme::padme_len;
