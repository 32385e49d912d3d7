//! The sealed snapshot of a Stronghold. The README, included below, is this page.
//!
#![doc = include_str!("../README.md")]

#[doc = include_str!("../COMING-FROM-IOTA.md")]
pub mod coming_from_iota {}

mod clock;
mod complement;
mod error;
mod file;

mod format;
mod handle;
mod merge;
mod shared;
mod vault_file;

#[doc(hidden)]
pub use clock::advance_clock;
pub use clock::now;
pub use complement::{ComplementError, ComplementReceiver, Manifest, open_complement, seal_complement};
pub use error::{
    Action, CommitError, CreateError, Damage, LockError, OpenError, OpenFileError, ReloadError, SealError,
    StorageError, Unsupported,
};
pub use file::commit::SnapshotGuard;
pub use file::parts::PayloadReader;
pub use file::rollback::{LastSeen, NoteError, RollbackError, RollbackGuard};
pub use file::safe_open::Obstacle;
pub use file::status::{FileStatus, Inspection};
pub use file::storage::{Disk, DiskLock, Storage};
pub use file::{LOCK_WAIT, Limits, Reloaded, SnapshotFile};
pub use format::cost::{KdfWork, PassphraseCost, PassphraseCostError};
pub use format::payload::Payload;
pub use format::recipient::{RecipientKeyError, RecipientPublicKey, RecipientSecretKey};
pub use format::sealed::{open, open_owned, seal};
pub use format::sealer::{Opened, SealStream, Sealer};
pub use format::slot::{NewSlot, SlotInfo, SlotKind, Unlock};
pub use format::{MAX_LABEL, MAX_SLOTS};
pub use handle::UpdateError;
pub use merge::{Merge, MergeError, Merged};
pub use shared::SharedVault;
#[cfg(feature = "tokio")]
pub use shared::offload::offload;

#[doc(no_inline)]
pub use stronghold_sync::{
    DeviceId, Location, Mapping, OnConflict, ParseLocationError, ParseSelectionError, RevisionId, Selection,
    Timestamp,
};
#[doc(no_inline)]
pub use stronghold_vault::{
    AuditRecord, Damaged, DecodeError, Entry, ExportError, Identity, ImportError, Labels, PendingStep,
    PublicIdentity, RandomnessError, ReadError, RecordInfo, Stronghold, WriteError,
};
pub use vault_file::{Access, OnRollback, RollbackNotes, VaultFile, VaultFileError};
#[doc(no_inline)]
pub use zeroize::Zeroizing;
