//! Errors of sealing, opening and writing a snapshot: one enum per operation, with the cause as
//! source.

use std::io;
use std::path::{Path, PathBuf};

use stronghold_vault::{EncodeError, RandomnessError};
use thiserror::Error;

use crate::file::safe_open::Obstacle;
use crate::format::cost::{KdfWork, PassphraseCost, PassphraseCostError};
use crate::format::{MAX_LABEL, MAX_SLOTS};

/// An error of sealing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// A file needs at least one slot, so the last one can't be removed.
    #[error("a snapshot needs at least one key slot")]
    NoSlots,
    /// The file would have more than [`MAX_SLOTS`] slots.
    #[error("a snapshot has at most {MAX_SLOTS} key slots")]
    TooManySlots,
    /// There is no slot with this number.
    #[error("there is no key slot {0}")]
    NoSuchSlot(u16),
    /// This slot opens with the same secret already.
    #[error("this passphrase or key opens the snapshot already: it is that of key slot {0}")]
    SlotExists(u16),
    /// The slot's label is longer than [`MAX_LABEL`] bytes.
    #[error("a key slot's label has at most {MAX_LABEL} bytes")]
    LabelTooLong,
    /// All 65,535 slot numbers of the file were used.
    #[error("the file has no numbers left for key slots")]
    NoSlotNumbersLeft,
    /// The master key can't be renewed: this slot's secret is not at hand, so the slot would no
    /// longer open the file.
    #[error("key slot {0} can't be written anew: its passphrase or key is not at hand")]
    SlotNotAtHand(u16),
    /// The passphrase slots together would make opening too slow; see [`PassphraseCost`].
    #[error("the passphrase slots together cost more than a reader accepts")]
    TotalCost,
    /// The system refused the memory for Argon2id.
    #[error("no {} MiB of memory for the passphrase", .0.memory_kib().div_ceil(1024))]
    NoMemory(PassphraseCost),
    /// The passphrase is longer than 4 GiB.
    #[error("the passphrase is too long")]
    PassphraseTooLong,
    /// The KEM rejected the recipient's key.
    #[error("nothing can be sealed to this recipient key")]
    Recipient,
    /// The payload exceeds memory or the 2^32 chunks of the format.
    #[error("the content is too large")]
    TooLarge,
    /// The generation number has reached the 64-bit maximum.
    #[error("the file has no generations left")]
    NoGenerationsLeft,
    /// The operating system returned no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] RandomnessError),
}

impl From<EncodeError> for SealError {
    fn from(_: EncodeError) -> Self {
        Self::TooLarge
    }
}

/// An error of opening a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The first bytes are not those of a sealed snapshot, or the file is empty.
    #[error("not a sealed snapshot")]
    NotASnapshot,
    /// The file was sealed by a newer version. It is undamaged as far as this version can check.
    #[error("sealed in format version {found}, this build reads up to {supported}")]
    NewerVersion {
        /// Version of the file.
        found: u16,
        /// Newest version that this crate reads.
        supported: u16,
    },
    /// The header is intact, but no slot opens with this passphrase or key.
    #[error("wrong passphrase or key")]
    WrongKey,
    /// The bytes differ from those that were sealed.
    #[error("the snapshot is damaged: {0}")]
    Damaged(Damage),
    /// The file is intact and of this version, but demands something that this crate refuses.
    #[error("the snapshot can't be opened by this build: {0}")]
    Unsupported(Unsupported),
    /// The system refused the memory that the passphrase slot demands.
    #[error("no {} MiB of memory for the passphrase", .0.memory_kib().div_ceil(1024))]
    NoMemory(PassphraseCost),
    /// Trying a passphrase would cost more than is allowed for an untrusted file.
    #[error(
        "to try a passphrase on it takes {} MiB of memory, gone over {} times in all; {} MiB and {} times are allowed for a file \
         that was not made here",
        .asked.memory_kib.div_ceil(1024),
        passes(.asked),
        .allowed.memory_kib.div_ceil(1024),
        passes(.allowed)
    )]
    TooCostly {
        /// Cost that the passphrase slots demand.
        asked: KdfWork,
        /// Allowed cost.
        allowed: KdfWork,
    },
}

fn passes(work: &KdfWork) -> u64 {
    work.total_kib.div_ceil(u64::from(work.memory_kib.max(1)))
}

/// The damaged part of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damage {
    /// The header does not match its checksum, or its fields contradict each other.
    #[error("its header was changed")]
    Header,
    /// The file ends within its header, or its body is incomplete.
    #[error("it is cut short")]
    Truncated,
    /// A slot matches the key, but its wrapped master key was changed.
    #[error("its key slot was changed")]
    Slot,
    /// The header was not written by a holder of the master key.
    #[error("its header is not authentic")]
    HeaderMac,
    /// A change appended to the file was altered, or is missing: a later one follows.
    #[error("a change appended to it was altered or is missing")]
    Segment,
    /// The changes seen in the file before are not all there, and what follows them is no whole
    /// change.
    #[error("its last changes were altered or cut off")]
    Tail,
    /// The bytes between the body and the next block are not zeros.
    #[error("bytes behind its content were changed")]
    Gap,
    /// A chunk of the body was changed, moved, cut off or added.
    #[error("its content was changed or is incomplete")]
    Body,
    /// The body is authentic, but its padding violates the format.
    #[error("its padding is wrong")]
    Padding,
}

/// A demand of a file that this crate refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// An unknown set of algorithms.
    #[error("unknown cipher suite {0}")]
    Suite(u16),
    /// An unknown kind of key slot.
    #[error("unknown kind of key slot {0}")]
    SlotKind(u8),
    /// A passphrase slot outside the bounds.
    #[error(transparent)]
    Cost(PassphraseCostError),
    /// Passphrase slots whose total cost exceeds the bound.
    #[error("its passphrase slots together cost too much")]
    TotalCost,
}

/// A failed file action.
#[derive(Debug, Error)]
#[error("can't {action} {}: {source}", path.display())]
pub struct StorageError {
    /// The action that failed.
    pub action: Action,
    /// The path: of the snapshot, its folder, or a file beside it.
    pub path: PathBuf,
    /// The error of the operating system.
    pub source: io::Error,
}

/// A file action; displayed as a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each is the verb that it displays
pub enum Action {
    #[error("find")]
    Find,
    #[error("read")]
    Read,
    #[error("lock")]
    Lock,
    #[error("create")]
    Create,
    #[error("write")]
    Write,
    #[error("sync")]
    Sync,
    #[error("sync the folder")]
    SyncFolder,
    #[error("put the new generation in place of")]
    Replace,
    #[error("remove")]
    Remove,
}

/// An error of opening a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenFileError {
    /// The file could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The file was read, but the key does not open it as a snapshot.
    #[error("{}: {source}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OpenError,
    },
    /// The file exceeds the size limit for an untrusted file.
    #[error("{} is larger than {} MiB, which is the most that is read of a file that was not made here", path.display(), max_len >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Maximum number of bytes to read.
        max_len: u64,
    },
}

/// An error of reloading a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// See [`OpenFileError`].
    #[error(transparent)]
    Open(#[from] OpenFileError),
    /// See [`CommitError::RolledBack`].
    #[error("snapshot rolled back: generation {found} on disk, generation {held} was read")]
    RolledBack {
        /// Generation on disk.
        found: u64,
        /// Generation read before.
        held: u64,
    },
}

/// An error of taking the lock.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or another handle in this process, held the lock for the whole waiting
    /// time.
    #[error("the snapshot is in use{}", by_process(*.holder))]
    InUse {
        /// The lock's holder, if it noted itself.
        holder: Option<u32>,
    },
    /// Something other than a lock file is in its place. It was not touched.
    #[error("the lock {} can't be used: {what}", path.display())]
    InTheWay {
        /// Path of the lock file.
        path: PathBuf,
        /// The obstacle there.
        what: Obstacle,
    },
    /// The lock file could not be opened or locked.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An error of committing. Unless stated otherwise, the file is unchanged, byte for byte.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// See [`LockError`].
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file changed since it was read: reload it and apply the change again.
    #[error("the file holds generation {found}, but this change is based on {held}")]
    Stale {
        /// Generation on disk.
        found: u64,
        /// Generation that the change is based on.
        held: u64,
    },
    /// The file is older than the one last read, or differs at the same generation: an old or
    /// foreign copy was put in its place.
    #[error("snapshot rolled back: generation {found} on disk, generation {held} was read")]
    RolledBack {
        /// Generation on disk.
        found: u64,
        /// Generation read before.
        held: u64,
    },
    /// Another snapshot, a damaged one or a file that is not a snapshot is in its place.
    #[error("the snapshot was replaced by a different file: {0}")]
    Replaced(#[source] OpenError),
    /// The new generation could not be sealed.
    #[error("the new generation can't be sealed: {0}")]
    Seal(#[from] SealError),
    /// An earlier writer did not finish, the file has a second name, or others may use it: changes
    /// can't be appended, the whole has to be written.
    #[error("nothing can be appended to the snapshot as it is")]
    MustRewrite,
    /// The changes were written, but it is not known whether they would survive a power loss, and
    /// they could not be taken back.
    #[error("the changes may be in the snapshot or not: {0}")]
    Unknown(#[source] StorageError),
    /// The written file reads back differently.
    #[error("verification failed: the written snapshot differs from what was sealed")]
    NotAsWritten,
    /// The file could not be opened within its limits.
    #[error(transparent)]
    Open(OpenFileError),
    /// A file action failed. If it was [`Action::SyncFolder`], the file already is the new
    /// generation, but a power loss may restore the old one: reload to find out.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An error of creating a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Something exists at the path already; it was not touched.
    #[error("{} already exists", .0.display())]
    Exists(PathBuf),
    /// The first generation was not written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<OpenFileError> for CommitError {
    fn from(error: OpenFileError) -> Self {
        match error {
            OpenFileError::Storage(error) => Self::Storage(error),
            OpenFileError::Snapshot { source, .. } => Self::Replaced(source),
            other @ OpenFileError::TooLarge { .. } => Self::Open(other),
        }
    }
}

/// Adds the action and the path to an IO error.
pub(crate) trait IoContext<T> {
    fn context(self, action: Action, path: &Path) -> Result<T, StorageError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: Action, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError { action, path: path.to_owned(), source })
    }
}

fn by_process(holder: Option<u32>) -> String {
    holder.map(|id| format!(" by process {id}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_passphrase_would_cost_is_told_in_mebibytes_and_passes() {
        let work = |memory_kib, total_kib| KdfWork { memory_kib, total_kib };
        for (asked, told) in [
            (work(65_536, 3 * 65_536), "64 MiB of memory, gone over 3 times"),
            (work(65_537, 3 * 65_537 + 1), "65 MiB of memory, gone over 4 times"),
            (work(0, 7), "0 MiB of memory, gone over 7 times"),
        ] {
            let said = OpenError::TooCostly { asked, allowed: KdfWork::FOREIGN }.to_string();
            assert!(said.contains(told) && said.contains("; 64 MiB and 16 times are allowed"), "{said}");
        }
        let too_large = OpenFileError::TooLarge { path: "/vault".into(), max_len: 3 << 20 };
        assert!(too_large.to_string().starts_with("/vault is larger than 3 MiB,"), "{too_large}");
        let cost = PassphraseCost::new(1025, 1, 1).unwrap();
        assert_eq!(OpenError::NoMemory(cost).to_string(), "no 2 MiB of memory for the passphrase");
        assert_eq!(SealError::NoMemory(cost).to_string(), "no 2 MiB of memory for the passphrase");
    }

    #[test]
    fn a_failed_action_is_told_with_its_verb_path_and_cause() {
        for (action, verb) in [
            (Action::Find, "find"),
            (Action::Read, "read"),
            (Action::Lock, "lock"),
            (Action::Create, "create"),
            (Action::Write, "write"),
            (Action::Sync, "sync"),
            (Action::SyncFolder, "sync the folder"),
            (Action::Replace, "put the new generation in place of"),
            (Action::Remove, "remove"),
        ] {
            let failed: io::Result<()> = Err(io::Error::other("no more"));
            let error = failed.context(action, Path::new("/vault")).unwrap_err();
            assert_eq!(error.to_string(), format!("can't {verb} /vault: no more"));
            assert_eq!((error.action, error.path.as_path()), (action, Path::new("/vault")));
        }
        let in_use = |holder| LockError::InUse { holder }.to_string();
        assert_eq!(in_use(Some(4711)), "the snapshot is in use by process 4711");
        assert_eq!(in_use(None), "the snapshot is in use");
    }

    /// A commit opens the file again: what it finds there is told as what it means for the commit.
    #[test]
    fn what_is_found_at_a_commit_is_told_as_what_it_means_for_it() {
        let path = PathBuf::from("/vault");
        let storage =
            StorageError { action: Action::Read, path: path.clone(), source: io::Error::other("x") };
        let snapshot = OpenFileError::Snapshot { path: path.clone(), source: OpenError::NotASnapshot };
        for (error, said) in [
            (storage.into(), "can't read /vault: x"),
            (snapshot, "the snapshot was replaced by a different file: not a sealed snapshot"),
            (
                OpenFileError::TooLarge { path, max_len: 1 << 20 },
                "/vault is larger than 1 MiB, which is the most that is read of a file that was not made here",
            ),
        ] {
            assert_eq!(CommitError::from(error).to_string(), said);
        }
    }
}
