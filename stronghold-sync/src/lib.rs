#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

mod error;
pub mod mailbox;
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
pub use model::time::Timestamp;
pub use plan::{
    Change, Losses, MAX_ADDED_HEADS, MAX_HEADS, MAX_UNCONFIRMED_DELETIONS, OnConflict, Plan, PlanOptions,
    Resolution, SkipReason, Skipped, is_shrunk, needs_confirmation, plan,
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
