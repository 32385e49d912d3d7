//! What a device remembers of its snapshots, outside of them: the last generation that it saw of each.
//!
//! A snapshot can't tell by itself that an old copy was put in its place: the copy is authentic. So the number and the
//! header's hash of the last generation are noted in a folder of their own. It notices an old copy that someone put back
//! where only the snapshot is in reach (a synchronised folder, a stolen backup); not where the notes are too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::crypto;
use crate::file::SnapshotFile;
use crate::lineage::Lineage;

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

/// The last generation that was seen of a file.
#[derive(PartialEq, Eq)]
struct Note {
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

    /// Whether a file is at least as new as what was seen of it. Of a file without a readable note nothing is known.
    ///
    /// # Errors
    /// [`RolledBack`].
    pub fn check(&self, file: &SnapshotFile) -> Result<(), RolledBack> {
        let Some(seen) = self.note(file) else { return Ok(()) };
        let found = Note::of(file.lineage());
        if found.generation > seen.generation || found == seen {
            return Ok(());
        }
        let path = file.path().to_owned();
        Err(RolledBack { path, found: found.generation, seen: seen.generation })
    }

    /// Notes the generation of a file, whatever was noted before.
    ///
    /// # Errors
    /// When the note can't be written; the one before stays then.
    pub fn remember(&self, file: &SnapshotFile) -> io::Result<()> {
        let note = Note::of(file.lineage());
        if self.note(file).is_some_and(|seen| seen == note) {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let path = self.path(file);
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&temporary, format!("{} {}\n", note.generation, note.header_hash))?;
        fs::rename(&temporary, &path)
    }

    fn note(&self, file: &SnapshotFile) -> Option<Note> {
        let text = fs::read_to_string(self.path(file)).ok()?;
        let (generation, header_hash) = text.trim_end().split_once(' ')?;
        Some(Note { generation: generation.parse().ok()?, header_hash: header_hash.into() })
    }

    /// A copy of a file at another path is another file: both may be written on, each by its own.
    fn path(&self, file: &SnapshotFile) -> PathBuf {
        let path = file.path().as_os_str().as_encoded_bytes();
        self.folder.join(hex(&crypto::hash(&[LABEL, &file.lineage().file_id(), path])[..16]))
    }
}

impl Note {
    fn of(lineage: &Lineage) -> Self {
        Self { generation: lineage.generation(), header_hash: hex(&lineage.header_hash()) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        assert_eq!(seen.check(&file), Ok(()), "nothing is known");
        let old = fs::read(&path).unwrap();
        file.commit(b"two").unwrap();
        seen.remember(&file).unwrap();
        seen.remember(&file).unwrap();
        assert_eq!(seen.check(&open(&path)), Ok(()));
        fs::write(&path, &old).unwrap();
        let rolled_back = RolledBack { path: open(&path).path().to_owned(), found: 1, seen: 2 };
        assert_eq!(seen.check(&open(&path)), Err(rolled_back.clone()));

        let mut fork = open(&path);
        fork.commit(b"another two").unwrap();
        assert_eq!(
            seen.check(&fork),
            Err(RolledBack { found: 2, ..rolled_back }),
            "same number, another content"
        );
        fork.commit(b"three").unwrap();
        assert_eq!(seen.check(&fork), Ok(()));

        let copy = folder.path().join("copy");
        fs::write(&copy, &old).unwrap();
        assert_eq!(seen.check(&open(&copy)), Ok(()));
        seen.remember(&open(&path)).unwrap();
        assert_eq!(fs::read_dir(seen.folder()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_note_that_says_nothing_is_no_note() {
        let folder = tempfile::tempdir().unwrap();
        let seen = Seen::in_folder(folder.path());
        let path = folder.path().join("vault");
        let file = SnapshotFile::create(&path, &[NewSlot::Key(&KEY)], b"one").unwrap();
        for text in ["", "9", "x y", "99999999999999999999999 00"] {
            fs::write(seen.path(&file), text).unwrap();
            assert_eq!(seen.check(&file), Ok(()), "{text}");
        }
    }
}
