//! The sealed snapshot: what it does not do, its nouns and an example stand in the README, which this page shows.
//!
#![doc = include_str!("../README.md")]

mod body;
mod commit;
mod complement;
mod cost;
mod crypto;
mod encoding;
mod file;
mod file_error;
mod header;
mod home;
mod lineage;
mod merge;
mod note;
mod own;
mod parts;
mod paths;
mod recipient;
mod sealed;
mod seen;
mod slot;
mod storage;
mod surroundings;

pub use commit::Locked;
pub use complement::{Awaited, ComplementError, Manifest, open_complement, seal_complement};
pub use cost::{CostOutOfBounds, PassphraseCost, Work};
pub use encoding::BadPayload;
pub use file::{LOCK_WAIT, Limits, SnapshotFile};
pub use file_error::{Action, CommitError, CreateError, LockError, OpenFileError, ReloadError, StorageError};
pub use home::{Home, HomeError, Notes, Older};
pub use lineage::{Lineage, Sealing};
pub use merge::{Merge, MergeError, Merged};
pub use own::Obstacle;
pub use recipient::{NotARecipientKey, RecipientPublic, RecipientSecret};
pub use sealed::{Damage, OpenError, Opened, Payload, SealError, Unsupported, open, open_owned, seal};
pub use seen::{LastSeen, NoteError, RolledBack, Seen};
pub use slot::{MAX_LABEL, MAX_SLOTS, NewSlot, SlotInfo, SlotKind, Unlock};
pub use storage::{Disk, DiskLock, Storage};
pub use surroundings::{Inspection, Surroundings};
