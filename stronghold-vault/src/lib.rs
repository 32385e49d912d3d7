//! Stronghold's vault: records and keys in memory.
//!
//! It does no IO: it neither reads files nor talks to peers, and it has no clock. Times are handed in and are for
//! people only. It does not decide who may have what; it asks the policy that it holds, of `stronghold-sync`, and
//! exports nothing without a grant. It does not hide names in memory, and a value is open while it is read: whoever
//! reads this process's memory at that moment reads it too.
//!
//! Its nouns, and how they meet:
//!
//! - A [`Stronghold`] is all that one device holds: clients, vaults and records, its [`Identity`], its [`Peers`], its
//!   policy and its [`AuditLog`]. It is serialized whole, records as they are sealed; a snapshot seals that once more.
//! - A [`Revision`] is one immutable version of a record. Its id commits to all of it. Records keep their revisions
//!   sealed, each under a key of its own, and merge them by what replaced what.
//! - An [`Entry`] is a revision and where it belongs: what leaves a Stronghold by [`Stronghold::export`] and enters
//!   another by [`Stronghold::import`], the one function in which a foreign value meets a vault. It checks the whole
//!   batch, then applies all of it or nothing.
//!
//! ```
//! use stronghold_sync::{Grant, Location, Mapping, Scope, Selection, Shape};
//! use stronghold_vault::{Labels, Stronghold};
//!
//! let mail: Location = "wallet/web/mail".parse()?;
//! let mut laptop = Stronghold::new("laptop")?;
//! laptop.write(&mail, b"hunter2", Labels::new(), 1_700_000_000_000)?;
//!
//! // What another device lacks is found from shapes; the entries then travel, and are sealed anew where they arrive.
//! let shapes = laptop.shapes(&Scope::of(Selection::everything()), &Mapping::default());
//! let wanted: Vec<_> = shapes.iter().map(Shape::entry).collect();
//! let grant = Grant::of_owner(Selection::everything());
//! let entries = laptop.export(&grant, &wanted, 1_700_000_000_000)?;
//!
//! let mut phone = Stronghold::new("phone")?;
//! let report = phone.import(&entries, laptop.identity().device(), 1_700_000_000_000, |_, entry, _| {
//!     if wanted.contains(entry) { Ok(()) } else { Err(stronghold_vault::Unacceptable::NotAsked) }
//! })?;
//! assert_eq!(report.received, 1);
//! assert_eq!(&**phone.read(&mail)?.revision.value, b"hunter2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants: `unsafe` is in one module, the locked memory of live keys; vault keys never leave the device but inside
//! its own snapshot; `Debug` shows no value and no key.

mod audit;
mod cipher;
mod device_name;
mod devices;
mod disclosure;
mod identity;
mod locked;
mod peers;
mod persist;
mod read;
mod record;
mod revision;
mod salts;
mod steps;
mod stronghold;
mod transfer;
mod undo;
#[cfg(test)]
mod vectors;
mod write;

pub use audit::{AuditAction, AuditEntry, AuditLog, AuditRecord, AuditTotal, SelectionHash};

pub use device_name::{DeviceNameError, MAX_DEVICE_NAME, check_device_name, check_given_name};
pub use identity::{
    Identity, PublicIdentity, PublicKeyError, RandomnessError, SecretKeyError, SignatureError,
};
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
