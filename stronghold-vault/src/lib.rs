//! The records and keys of a device's vault, in memory.
//!
//! This crate does no IO: it reads no files, talks to no peers and has no clock. Callers pass in
//! times, which are for display only. The crate does not decide what a peer may have: it asks the
//! policy that it holds (from `stronghold-sync`) and exports nothing without a grant. Names are not
//! hidden in memory, and a value is decrypted while it is being read, so anything that can read
//! this process's memory at that moment can read the value too.
//!
//! Three types, and how they meet:
//!
//! - A [`Stronghold`] is everything that one device holds: clients, vaults and records, its
//!   [`Identity`], its [`Peers`], its policy and its [`AuditLog`]. It is serialized as a whole,
//!   with its records still sealed; a snapshot seals the result again.
//! - A [`Revision`] is one immutable version of a record. Its id commits to all of it. A record
//!   keeps its revisions sealed, each under a key of its own. Merging drops the revisions that
//!   another one replaces.
//! - An [`Entry`] is a revision with its location. [`Stronghold::export`] produces entries and
//!   [`Stronghold::import`] takes them in. `import` is the only function through which a foreign
//!   value enters a vault: it checks the whole batch, then applies all of it or nothing.
//!
//! ```
//! use stronghold_sync::{Grant, Location, Mapping, Scope, Selection, Shape};
//! use stronghold_vault::{Labels, Stronghold};
//!
//! let mail: Location = "wallet/web/mail".parse()?;
//! let mut laptop = Stronghold::new("laptop")?;
//! laptop.write(&mail, b"hunter2", Labels::new(), 1_700_000_000_000)?;
//!
//! // Shapes show what the phone lacks. The entries are sealed anew where they arrive.
//! let shapes = laptop.shapes(&Scope::of(Selection::everything()), &Mapping::default());
//! let wanted: Vec<_> = shapes.iter().map(Shape::entry).collect();
//! let grant = Grant::of_owner(Selection::everything());
//! let entries = laptop.export(&grant, &wanted, 1_700_000_000_000)?;
//!
//! let mut phone = Stronghold::new("phone")?;
//! let from = laptop.identity().device();
//! let report = phone.import(&entries, from, 1_700_000_000_000, |_, entry, _| {
//!     wanted.contains(entry).then_some(()).ok_or(stronghold_vault::RejectReason::Unrequested)
//! })?;
//! assert_eq!(report.received, 1);
//! assert_eq!(&**phone.read(&mail)?.revision.value, b"hunter2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants: only the module for the locked memory of live keys contains `unsafe`. A vault key
//! leaves the device only inside that device's own snapshot. `Debug` shows neither values nor keys.

mod audit;
mod crypto;
mod device_name;
mod devices;
mod disclosure;
mod locked;
mod peers;
mod persist;
mod read;
mod record;
mod revision;
mod steps;
mod stronghold;
mod transfer;
mod undo;
#[cfg(test)]
mod vectors;
mod write;

pub use audit::{AuditAction, AuditEntry, AuditLog, AuditRecord, AuditTotal, SelectionHash};

pub use crypto::identity::{Identity, PublicIdentity, PublicKeyError, SecretKeyError, SignatureError};
pub use crypto::random::{RandomnessError, fill_random, random};
pub use device_name::{DeviceNameError, MAX_DEVICE_NAME, check_device_name, check_given_name};
pub use locked::{LockedKey, LockedMemoryStatus, locked_memory_status, wipe_stack};
pub use peers::{FindPeerError, Peer, Peers, Rendezvous, Revoked};
pub use read::{ReadError, ReadResult, RevisionInfo};
pub use record::{Damaged, MAX_HEADS, MAX_HISTORY, RETENTION};
pub use revision::{Entry, Labels, MAX_LABELS, MAX_VALUE, Revision, secret_bytes};
pub use steps::{PendingStep, STEPS, Step};
pub use stronghold::Stronghold;
pub use transfer::{ExportError, ImportError, ImportReport, RejectReason};
pub use undo::{RulesOutcome, UndoReport, UndoSkipReason};
pub use write::WriteError;
