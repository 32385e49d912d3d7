//! What a device remembers of its snapshots, outside of them: the last generation that it saw of each.
//!
//! A snapshot can't tell by itself that an old copy was put in its place: the copy is authentic. So the number and the
//! header's hash of the last generation are noted in a folder of their own. It notices an old copy that someone put back
//! where only the snapshot is in reach (a synchronised folder, a stolen backup); not where the notes are too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use stronghold_sync::hex;
use thiserror::Error;

use crate::crypto;
use crate::file::SnapshotFile;
use crate::file_error::{Action, At, StorageError};
use crate::lineage::Lineage;
use crate::storage::{Disk, Storage};

/// The folder of notes.
#[derive(Debug, Clone)]
pub struct Seen {
    folder: PathBuf,
}

/// A snapshot is older than what was seen of it last, or another one of the same generation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} holds generation {found}, but generation {seen} was seen there before", path.display())]
pub struct RolledBack {
    /// The snapshot.
    pub path: PathBuf,
    /// What it holds.
    pub found: u64,
    /// What was seen last.
    pub seen: u64,
}

/// What is remembered of the file at a path, as it was when it was asked for: before the file is opened, since others may
/// write the file, and remember that, at any time.
#[derive(Debug, Clone)]
pub struct LastSeen(Option<Note>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    file_id: String,
    generation: u64,
    header_hash: String,
}

impl Seen {
    /// Notes in this folder, which is made when the first note is.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is remembered of the snapshot at `path`. A copy at another path is another file: both may be written on.
    ///
    /// # Errors
    /// [`StorageError`] when the path leads nowhere.
    pub fn last(&self, path: &Path) -> Result<LastSeen, StorageError> {
        let path = Disk.resolve(path).at(Action::Find, path)?;
        Ok(LastSeen(Note::read(&self.note_of(&path))))
    }

    /// Remembers the generation of a file, unless a later one is remembered.
    ///
    /// # Errors
    /// When the note can't be written; the one before stays then.
    pub fn remember(&self, file: &SnapshotFile) -> io::Result<()> {
        let seen = Note::read(&self.note_of(file.path()));
        let note = Note::of(file.lineage());
        if seen.is_some_and(|seen| seen.file_id == note.file_id && seen.generation >= note.generation) {
            return Ok(());
        }
        self.accept(file)
    }

    /// Remembers the generation of a file, even if a later one is remembered.
    ///
    /// # Errors
    /// As [`remember`](Self::remember).
    pub fn accept(&self, file: &SnapshotFile) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.note_of(file.path());
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&temporary, Note::of(file.lineage()).to_text())?;
        fs::rename(&temporary, &path)
    }

    fn note_of(&self, path: &Path) -> PathBuf {
        let path = path.as_os_str().as_encoded_bytes();
        self.folder.join(hex::text(&crypto::hash(&[LABEL, path])[..16]))
    }
}

impl LastSeen {
    /// Whether a file that was opened since is at least as new. Where nothing is remembered, nothing is known.
    ///
    /// # Errors
    /// [`RolledBack`].
    pub fn check(&self, file: &SnapshotFile) -> Result<(), RolledBack> {
        let found = Note::of(file.lineage());
        match &self.0 {
            Some(seen) if seen.file_id == found.file_id && found.is_rolled_back_from(seen) => {
                let path = file.path().to_owned();
                Err(RolledBack { path, found: found.generation, seen: seen.generation })
            }
            _ => Ok(()),
        }
    }
}

impl Note {
    fn of(lineage: &Lineage) -> Self {
        Self {
            file_id: hex::text(&lineage.file_id()),
            generation: lineage.generation(),
            header_hash: hex::text(&lineage.header_hash()),
        }
    }

    fn is_rolled_back_from(&self, seen: &Self) -> bool {
        self.generation < seen.generation
            || self.generation == seen.generation && self.header_hash != seen.header_hash
    }

    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.split_whitespace();
        let mut word = || words.next().map(str::to_owned);
        Some(Self { file_id: word()?, generation: word()?.parse().ok()?, header_hash: word()? })
    }

    fn to_text(&self) -> String {
        format!("{} {} {}\n", self.file_id, self.generation, self.header_hash)
    }
}

const LABEL: &[u8] = b"stronghold/seen/v1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::{NewSlot, Unlock};

    const KEY: [u8; 32] = [1; 32];

    #[test]
    fn an_old_copy_is_noticed_a_new_generation_and_a_copy_elsewhere_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let seen = Seen::in_folder(folder.path().join("deep/down"));
        let path = folder.path().join("vault");
        let open = |path: &Path| SnapshotFile::open(path, &Unlock::Key(&KEY)).unwrap();
        let mut file = SnapshotFile::create(&path, &[NewSlot::Key(&KEY)], b"one").unwrap();
        let check = |file: &SnapshotFile| seen.last(file.path()).unwrap().check(file);
        assert_eq!(check(&file), Ok(()), "nothing is known");
        let old = fs::read(&path).unwrap();
        let before = seen.last(&path).unwrap();
        file.commit(b"two").unwrap();
        seen.remember(&file).unwrap();
        seen.remember(&file).unwrap();
        assert_eq!(check(&open(&path)), Ok(()));
        fs::write(&path, &old).unwrap();
        let rolled_back = RolledBack { path: open(&path).path().to_owned(), found: 1, seen: 2 };
        assert_eq!(check(&open(&path)), Err(rolled_back.clone()));

        let mut fork = open(&path);
        fork.commit(b"another two").unwrap();
        assert_eq!(check(&fork), Err(RolledBack { found: 2, ..rolled_back }), "same number, another content");
        fork.commit(b"three").unwrap();
        assert_eq!(check(&fork), Ok(()));

        let copy = folder.path().join("copy");
        fs::write(&copy, &old).unwrap();
        assert_eq!(check(&open(&copy)), Ok(()));
        assert_eq!(before.check(&open(&copy)), Ok(()), "what others remembered since does not count");
        seen.remember(&open(&copy)).unwrap();
        seen.accept(&fork).unwrap();
        fs::write(&path, &old).unwrap();
        seen.remember(&open(&path)).unwrap();
        assert!(check(&open(&path)).is_err(), "the later one stays remembered");
        seen.accept(&open(&path)).unwrap();
        assert_eq!(check(&open(&path)), Ok(()));
        assert_eq!(fs::read_dir(seen.folder()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn a_note_that_says_nothing_is_no_note() {
        let folder = tempfile::tempdir().unwrap();
        let seen = Seen::in_folder(folder.path());
        let path = folder.path().join("vault");
        let file = SnapshotFile::create(&path, &[NewSlot::Key(&KEY)], b"one").unwrap();
        for text in ["", "9", "x y", "99999999999999999999999 00"] {
            fs::write(seen.note_of(file.path()), text).unwrap();
            assert_eq!(seen.last(&path).unwrap().check(&file), Ok(()), "{text}");
        }
    }
}
