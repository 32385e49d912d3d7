//! What a device remembers of its snapshots, outside of them: the last generation that it saw of each.
//!
//! A snapshot can't tell by itself that an old copy, or another snapshot, was put in its place: both are authentic. So what
//! was seen last is noted in a folder of its own. That notices what somebody put in a snapshot's place where only the
//! snapshot is in reach (a synchronised folder, a stolen backup); not where the notes are too.
//!
//! Two notes are kept of a file. One is found by its path: it tells which file lies there and how far it had come. The other
//! is found by the file's id, and tells where the file is at home: it stays with a file that is moved, or whose folder is
//! renamed. A file at a new path, while the home still holds it, is a copy: both may be written on, so the copy is
//! remembered by its path alone, and what becomes of the original is nothing to it. A file at a new path whose home holds it
//! no longer has moved, and must not be older than what was seen there.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use stronghold_sync::hex;
use thiserror::Error;

use crate::cost::KdfWork;
use crate::crypto;
use crate::file::SnapshotFile;
use crate::file_error::{Action, IoContext, StorageError};
use crate::header::{self, ParsedHeader};
use crate::note::{Note, Place};
use crate::safe_open;
use crate::sealer::Sealer;
use crate::storage::{Disk, DiskLock, Storage};

/// The folder of notes.
#[derive(Debug, Clone)]
pub struct RollbackGuard {
    folder: PathBuf,
}

/// A snapshot is not what was seen at its place last.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RollbackError {
    /// It is older than what was seen of it last, or another one of the same generation.
    #[error(
        "{} holds generation {found}, but generation {seen} was seen {} before: an old copy, or another one",
        path.display(),
        at(.seen_at)
    )]
    Older {
        /// The snapshot.
        path: PathBuf,
        /// What it holds.
        found: u64,
        /// What was seen last.
        seen: u64,
        /// Where that was, if elsewhere: the file was moved since.
        seen_at: Option<PathBuf>,
    },
    /// Another snapshot was seen there before.
    #[error("{} is another snapshot than the one that was seen there before", path.display())]
    Exchanged {
        /// The snapshot.
        path: PathBuf,
    },
}

/// Why a note could not be read or written: what it would have told is not known.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The system would not.
    #[error("can't {action} the note {}: {source}", path.display())]
    Storage {
        /// What was tried.
        action: Action,
        /// The note, or the folder of notes.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is a note, and it says nothing that a note says.
    #[error("the note {} is damaged, or is none", .0.display())]
    Unreadable(PathBuf),
    /// There is no folder for notes.
    #[error("this system names no folder for notes of what was seen")]
    NoFolder,
}

/// What is remembered of the file at a path, as it was when it was asked for: before the file is opened, since others may
/// write the file, and remember that, at any time.
#[derive(Debug)]
pub struct LastSeen {
    seen: RollbackGuard,
    path: PathBuf,
    note: Result<Option<Note>, NoteError>,
}

impl RollbackGuard {
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

    /// What is remembered of the snapshot at `path`.
    ///
    /// # Errors
    /// [`StorageError`] when the path leads nowhere. A note that can't be read is told by [`LastSeen::check`].
    pub fn last_seen(&self, path: &Path) -> Result<LastSeen, StorageError> {
        let path = Disk.resolve(path).context(Action::Find, path)?;
        let note = self.read(&self.note_of_path(&path));
        Ok(LastSeen { seen: self.clone(), path, note })
    }

    /// Remembers the generation of a file, unless a later one is remembered.
    ///
    /// # Errors
    /// [`NoteError`]; what was remembered before stays then.
    pub fn remember(&self, file: &SnapshotFile) -> Result<(), NoteError> {
        self.note(file, false)
    }

    /// Remembers the generation of a file, even if a later one, or another file, is remembered in its place, and writes
    /// notes that can't be read anew.
    ///
    /// # Errors
    /// As [`remember`](Self::remember).
    pub fn accept(&self, file: &SnapshotFile) -> Result<(), NoteError> {
        self.note(file, true)
    }

    /// Whether what is noted of the file at a path can be read, if anything is.
    ///
    /// # Errors
    /// [`NoteError`] where it can't.
    pub fn readable(&self, path: &Path) -> Result<(), NoteError> {
        let Ok(path) = Disk.resolve(path) else { return Ok(()) };
        let here = self.read(&self.note_of_path(&path))?;
        here.map_or(Ok(()), |here| self.read(&self.note_of(&here.file_id)).map(drop))
    }

    /// Tries to write a note, which is removed again.
    ///
    /// # Errors
    /// As [`remember`](Self::remember).
    pub fn probe(&self) -> Result<(), NoteError> {
        self.make_folder()?;
        let path = self.folder.join("probe");
        let temporary = self.write_temporary(&path, "probe\n")?;
        fs::remove_file(&temporary).map_err(|source| failed(Action::Remove, &temporary, source))
    }

    fn note(&self, file: &SnapshotFile, anyhow: bool) -> Result<(), NoteError> {
        self.make_folder()?;
        let _lock = self.lock()?;
        let (by_path, by_id) = (self.note_of_path(file.path()), self.note_of_id(file.sealer()));
        let of_path = self.read_or(&by_path, anyhow)?.filter(|note| note.is_of(file.sealer()));
        let of_id = self.read_or(&by_id, anyhow)?;
        let place = match &of_id {
            Some(home) if home.path != file.path() && is_elsewhere(home, of_path.as_ref()) => Place::Copy,
            _ => Place::Home,
        };
        let note = Note::of(file, place);
        let is_news = |known: &Option<Note>| anyhow || known.as_ref().is_none_or(|known| note.is_news(known));
        // The file's id last: a note of a path without it is as good, the other way round is not.
        if is_news(&of_path) {
            self.write(&by_path, &note)?;
        }
        if place == Place::Home && is_news(&of_id) {
            self.write(&by_id, &note)?;
        }
        Ok(())
    }

    /// What a note says, if it is there.
    fn read(&self, path: &Path) -> Result<Option<Note>, NoteError> {
        let mut text = String::new();
        let file = match safe_open::open_own_to_read(path) {
            Err(error) if is_missing(&error) => return Ok(None),
            result => result.map_err(|source| failed(Action::Read, path, source))?,
        };
        match file.take(Note::MAX_LEN).read_to_string(&mut text) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            result => drop(result.map_err(|source| failed(Action::Read, path, source))?),
        }
        Note::from_text(&text).map(Some).ok_or_else(|| NoteError::Unreadable(path.to_owned()))
    }

    /// As [`read`](Self::read); `anyhow`, one that says nothing counts as none.
    fn read_or(&self, path: &Path, anyhow: bool) -> Result<Option<Note>, NoteError> {
        match self.read(path) {
            Err(NoteError::Unreadable(_)) if anyhow => Ok(None),
            result => result,
        }
    }

    /// Puts a note in place of the one before, whole or not at all. What is no file of this user's is not replaced.
    fn write(&self, path: &Path, note: &Note) -> Result<(), NoteError> {
        match safe_open::open_own_to_read(path) {
            Err(error) if !is_missing(&error) => return Err(failed(Action::Write, path, error)),
            _ => {}
        }
        let temporary = self.write_temporary(path, &note.to_text())?;
        fs::rename(&temporary, path).map_err(|source| {
            let _ = fs::remove_file(&temporary);
            failed(Action::Replace, path, source)
        })
    }

    /// A new file beside `path`, of a name that nobody can have foreseen.
    fn write_temporary(&self, path: &Path, text: &str) -> Result<PathBuf, NoteError> {
        let random: [u8; 8] = crypto::random()
            .map_err(|error| failed(Action::Create, path, io::Error::other(error.to_string())))?;
        let temporary = path.with_extension(format!("{}-{}.tmp", std::process::id(), hex::text(&random)));
        let mut file =
            safe_open::create(&temporary).map_err(|source| failed(Action::Create, &temporary, source))?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|source| {
            let _ = fs::remove_file(&temporary);
            failed(Action::Write, &temporary, source)
        })?;
        Ok(temporary)
    }

    /// Others may note at the same time: one after the other, or a later generation would be forgotten for an earlier one.
    fn lock(&self) -> Result<DiskLock, NoteError> {
        let path = self.folder.join(".lock");
        let give_up = Instant::now() + LOCK_WAIT;
        loop {
            match Disk.try_lock(&path).map_err(|source| failed(Action::Lock, &path, source))? {
                Some(lock) => return Ok(lock),
                None if Instant::now() < give_up => thread::sleep(Duration::from_millis(1)),
                None => return Err(failed(Action::Lock, &path, io::ErrorKind::TimedOut.into())),
            }
        }
    }

    fn make_folder(&self) -> Result<(), NoteError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.folder).map_err(|source| failed(Action::Create, &self.folder, source))
    }

    fn note_of_path(&self, path: &Path) -> PathBuf {
        let path = path.as_os_str().as_encoded_bytes();
        self.folder.join(hex::text(&crypto::hash(&[PATH_LABEL, path])[..16]))
    }

    fn note_of_id(&self, lineage: &Sealer) -> PathBuf {
        self.note_of(&lineage.file_id())
    }

    fn note_of(&self, file_id: &[u8; 16]) -> PathBuf {
        self.folder.join(hex::text(&crypto::hash(&[ID_LABEL, file_id])[..16]))
    }
}

impl LastSeen {
    /// Returns what the owner of the file has paid before to open it; `None` where nothing is known.
    pub(crate) fn paid(&self) -> Option<KdfWork> {
        self.note.as_ref().ok()?.as_ref().map(|note| note.work)
    }

    /// Whether a file that was opened since is the one that was seen there, and at least as new. Where nothing is
    /// remembered, nothing is known.
    ///
    /// # Errors
    /// [`RollbackError`].
    pub fn check(&self, file: &SnapshotFile) -> Result<(), RollbackError> {
        let path = file.path().to_owned();
        let older = |seen: &Note, seen_at: Option<PathBuf>| {
            let found = file.sealer().generation();
            Err(RollbackError::Older { path: path.clone(), found, seen: seen.generation, seen_at })
        };
        let here = self.note.as_ref().ok().and_then(Option::as_ref);
        match here {
            Some(seen) if !seen.is_of(file.sealer()) => return Err(RollbackError::Exchanged { path }),
            Some(seen) if seen.is_ahead_of(file.sealer()) => return older(seen, None),
            _ => {}
        }
        match self.seen.read(&self.seen.note_of_id(file.sealer())) {
            Ok(Some(home))
                if home.path != path && !is_elsewhere(&home, here) && home.is_ahead_of(file.sealer()) =>
            {
                older(&home, Some(home.path.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the notes could be read.
    ///
    /// # Errors
    /// [`NoteError`] where one could not: whether the file is the newest is not known then.
    pub fn confirm(&self, file: &SnapshotFile) -> Result<(), NoteError> {
        match &self.note {
            Ok(_) => self.seen.read(&self.seen.note_of_id(file.sealer())).map(drop),
            Err(_) => self.seen.read(&self.seen.note_of_path(&self.path)).map(drop),
        }
    }
}

/// Whether the file that is noted at another path is another one by now, to be judged by its own path: the home still holds
/// the file, or it was a copy of it already.
fn is_elsewhere(home: &Note, here: Option<&Note>) -> bool {
    here.is_some_and(|here| here.place == Place::Copy) || holds(&home.path, &home.file_id)
}

/// Whether there is a generation of that file at `path`.
fn holds(path: &Path, file_id: &[u8; 16]) -> bool {
    let mut start = Vec::new();
    let read = safe_open::open_to_read(path)
        .and_then(|file| file.take(header::MAX_LEN as u64).read_to_end(&mut start));
    read.is_ok() && ParsedHeader::parse(&start).is_ok_and(|found| found.header.file_id == *file_id)
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn failed(action: Action, path: &Path, source: io::Error) -> NoteError {
    NoteError::Storage { action, path: path.to_owned(), source }
}

fn at(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(|| "there".into(), |path| format!("at {}", path.display()))
}

const PATH_LABEL: &[u8] = b"stronghold/seen/v1";
const ID_LABEL: &[u8] = b"stronghold/seen/id/v1";
/// How long one waits for another that notes something.
const LOCK_WAIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
