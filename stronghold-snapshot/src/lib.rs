//! The sealed snapshot of a Stronghold. The README, included below, is this page.
//!
#![doc = include_str!("../README.md")]

mod complement;
mod file;
mod file_error;
mod format;
mod merge;
mod vault_file;

pub use complement::{ComplementError, ComplementReceiver, Manifest, open_complement, seal_complement};
pub use file::commit::SnapshotGuard;
pub use file::rollback::{LastSeen, NoteError, RollbackError, RollbackGuard};
pub use file::safe_open::Obstacle;
pub use file::status::{FileStatus, Inspection};
pub use file::storage::{Disk, DiskLock, Storage};
pub use file::{LOCK_WAIT, Limits, SnapshotFile};
pub use file_error::{Action, CommitError, CreateError, LockError, OpenFileError, ReloadError, StorageError};
pub use format::cost::{KdfWork, PassphraseCost, PassphraseCostError};
pub use format::encoding::DecodeError;
pub use format::recipient::{RecipientKeyError, RecipientPublicKey, RecipientSecretKey};
pub use format::sealed::{
    Damage, OpenError, Opened, Payload, SealError, Unsupported, open, open_owned, seal,
};
pub use format::sealer::{SealStream, Sealer};
pub use format::slot::{MAX_LABEL, MAX_SLOTS, NewSlot, SlotInfo, SlotKind, Unlock};
pub use merge::{Merge, MergeError, Merged};
pub use vault_file::{OnRollback, RollbackNotes, VaultFile, VaultFileError};
