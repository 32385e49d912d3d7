//! The sealed snapshot of a Stronghold. The README, included below, is this page.
//!
#![doc = include_str!("../README.md")]

mod body;
mod commit;
mod complement;
mod copy;
mod cost;
mod crypto;
mod encoding;
mod file;
mod file_error;
mod header;
mod merge;
mod note;
mod paths;
mod recipient;
mod rollback;
mod safe_open;
mod sealed;
mod sealer;
mod slot;
mod status;
mod storage;
mod vault_file;

pub use commit::SnapshotGuard;
pub use complement::{ComplementError, ComplementReceiver, Manifest, open_complement, seal_complement};
pub use cost::{KdfWork, PassphraseCost, PassphraseCostError};
pub use encoding::DecodeError;
pub use file::{LOCK_WAIT, Limits, SnapshotFile};
pub use file_error::{Action, CommitError, CreateError, LockError, OpenFileError, ReloadError, StorageError};
pub use merge::{Merge, MergeError, Merged};
pub use recipient::{RecipientKeyError, RecipientPublicKey, RecipientSecretKey};
pub use rollback::{LastSeen, NoteError, RollbackError, RollbackGuard};
pub use safe_open::Obstacle;
pub use sealed::{Damage, OpenError, Opened, Payload, SealError, Unsupported, open, open_owned, seal};
pub use sealer::{SealStream, Sealer};
pub use slot::{MAX_LABEL, MAX_SLOTS, NewSlot, SlotInfo, SlotKind, Unlock};
pub use status::{FileStatus, Inspection};
pub use storage::{Disk, DiskLock, Storage};
pub use vault_file::{OnRollback, RollbackNotes, VaultFile, VaultFileError};
