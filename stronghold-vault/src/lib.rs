#![doc = include_str!("../README.md")]

mod ages;
mod audit;
mod changes;
mod copy;
mod crypto;
mod device_name;
mod devices;
mod digests;
mod disclosure;
#[doc(hidden)]
pub mod encoding;
mod forget;
mod held_heads;
mod journal;
mod locked;
mod order;
mod payload;
mod peers;
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

pub use ages::RETENTION;
pub use audit::{AuditAction, AuditEntry, AuditLog, AuditRecord, AuditTotal, SelectionHash};

pub use crypto::identity::{Identity, PublicIdentity, PublicKeyError, SecretKeyError, SignatureError};
pub use crypto::random::{RandomnessError, fill_random, random};
pub use encoding::{DecodeError, EncodeError};

pub use device_name::{DeviceNameError, MAX_DEVICE_NAME, check_device_name, check_given_name};
pub use forget::Awaited;
pub use held_heads::HeldHeads;
#[doc(hidden)]
pub use locked::wipe_stack;
pub use locked::{LockedKey, LockedMemoryStatus, locked_memory_status};
#[doc(hidden)]
pub use payload::Loader;
pub use peers::{
    FindPeerError, Mailbox, Peer, PeerCard, Peers, Rendezvous, Revoked, RulesHash, WEEK_KEYS, WeekKey,
};
pub use read::{ReadError, ReadResult, RecordInfo, RevisionInfo};
pub use record::{Damaged, MAX_HEADS, MAX_HISTORY};
#[doc(hidden)]
pub use revision::secret_bytes;
pub use revision::{Entry, Labels, MAX_LABELS, MAX_VALUE, Revision};
pub use steps::{PendingStep, STEPS, Step};
pub use stronghold::Stronghold;
pub use transfer::{ExportError, ImportError, ImportReport, RejectReason};
pub use undo::{RulesOutcome, UndoReport, UndoSkipReason};
pub use write::WriteError;
