//! Rollback detection: notes outside of the snapshots record the last generation seen of each.
//!
//! A snapshot can't reveal by itself that an old copy or another snapshot was put in its place:
//! both are authentic. So the last state seen is noted in a separate folder. That detects
//! replacement by an attacker who reaches only the snapshot (a synchronised folder, a stolen
//! backup), but not by one who reaches the notes too.
//!
//! Each file has two notes. One is found by its path and records which file is there. The other is
//! found by the file's id and records the file's home and its generation: it stays with a file that
//! is moved or whose folder is renamed, and it alone is written anew with each change. A file at a
//! new path, while its home still holds it, is a copy. Both may be written further, so the copy is
//! noted by its path alone and the original's later generations do not count against it. A file at
//! a new path whose home no longer holds it has moved, and must not be older than the state seen at
//! its home.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use stronghold_sync::hex;
use stronghold_vault::random;
use thiserror::Error;

use crate::error::{Action, IoContext, StorageError};
use crate::file::SnapshotFile;
use crate::file::note::{Note, Place};
use crate::file::safe_open;
use crate::file::storage::{Disk, DiskLock, Storage};
use crate::format::cost::KdfWork;
use crate::format::crypto;
use crate::format::header::{self, ParsedHeader};
use crate::format::sealer::Sealer;

/// The folder of notes.
#[derive(Debug, Clone)]
pub struct RollbackGuard {
    folder: PathBuf,
}

/// A snapshot differs from the one last seen at its path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RollbackError {
    /// The snapshot is older than the one last seen, or a different one of the same generation.
    #[error(
        "{} holds generation {found}, but generation {seen} was seen {} before: an old copy, or another one",
        path.display(),
        at(.seen_at)
    )]
    Older {
        /// Path of the snapshot.
        path: PathBuf,
        /// Its generation.
        found: u64,
        /// Generation last seen.
        seen: u64,
        /// Path where it was seen, if the file was moved since.
        seen_at: Option<PathBuf>,
    },
    /// Another snapshot was seen there before.
    #[error("{} is another snapshot than the one that was seen there before", path.display())]
    Exchanged {
        /// Path of the snapshot.
        path: PathBuf,
    },
}

/// An error of reading or writing a note. The information of that note is unknown then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// A file action failed.
    #[error("can't {action} the note {}: {source}", path.display())]
    Storage {
        /// The action that failed.
        action: Action,
        /// Path of the note, or of the folder of notes.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The note exists but is not in the format of a note.
    #[error("the note {} is damaged or not a note", .0.display())]
    Unreadable(PathBuf),
    /// There is no folder for notes.
    #[error("this system names no folder for notes of what was seen")]
    NoFolder,
}

/// The note about the file at a path, read before the file is opened, since other processes may
/// write the file and its note at any time.
#[derive(Debug)]
#[must_use = "the file is compared with it by `check`"]
pub struct LastSeen {
    seen: RollbackGuard,
    path: PathBuf,
    note: Result<Option<Note>, NoteError>,
}

impl RollbackGuard {
    /// Uses this folder for notes; it is created with the first note.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the note about the snapshot at `path`.
    ///
    /// # Errors
    /// [`StorageError`] if the path can't be resolved. [`LastSeen::confirm`] reports an unreadable
    /// note.
    pub fn last_seen(&self, path: &Path) -> Result<LastSeen, StorageError> {
        let path = Disk.resolve(path).context(Action::Find, path)?;
        let note = self.read(&self.note_of_path(&path)).map(|note| note.map(|note| self.newest(note)));
        Ok(LastSeen { seen: self.clone(), path, note })
    }

    /// Notes a file's generation, unless a later one is noted.
    ///
    /// # Errors
    /// [`NoteError`]; the earlier notes stay then.
    pub fn remember(&self, file: &SnapshotFile) -> Result<(), NoteError> {
        self.note(file, false)
    }

    /// Notes a file's generation even if a later one or another file is noted, and rewrites
    /// unreadable notes.
    ///
    /// # Errors
    /// As [`remember`](Self::remember).
    pub fn accept(&self, file: &SnapshotFile) -> Result<(), NoteError> {
        self.note(file, true)
    }

    /// Checks that the notes about the file at a path are readable, if there are any.
    ///
    /// # Errors
    /// [`NoteError`] if one is not.
    pub fn readable(&self, path: &Path) -> Result<(), NoteError> {
        let Ok(path) = Disk.resolve(path) else { return Ok(()) };
        let here = self.read(&self.note_of_path(&path))?;
        here.map_or(Ok(()), |here| self.read(&self.note_of(&here.file_id)).map(drop))
    }

    /// Writes and removes a test note.
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
        let is_news =
            |known: &Option<Note>| anyhow || known.as_ref().is_none_or(|known| note.supersedes(known));
        // The file has moved: its former path gets the generation that was seen there.
        if let Some(home) = of_id.as_ref().filter(|home| place == Place::Home && home.path != note.path) {
            let former = self.note_of_path(&home.path);
            let is_stale = |known: Note| known.is_of(file.sealer()) && home.supersedes(&known);
            if self.read_or(&former, true)?.is_some_and(is_stale) {
                self.write(&former, home)?;
            }
        }
        // Writes the note by file id last: a path's note without it is sufficient, but not the
        // reverse.
        let is_told = |known: &Note| !anyhow && place == Place::Home && note.is_told_by(known);
        if is_news(&of_path) && !of_path.as_ref().is_some_and(is_told) {
            self.write(&by_path, &note)?;
        }
        if place == Place::Home && is_news(&of_id) {
            self.write(&by_id, &note)?;
        }
        Ok(())
    }

    /// Returns the note by file id instead of a path's note, where that is the file's home and the
    /// other one is newer.
    fn newest(&self, note: Note) -> Note {
        match self.read(&self.note_of(&note.file_id)) {
            Ok(Some(home))
                if note.place == Place::Home && home.path == note.path && home.supersedes(&note) =>
            {
                home
            }
            _ => note,
        }
    }

    /// Reads a note; `None` if it does not exist.
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

    /// Reads a note as [`read`](Self::read) does; with `anyhow`, an unreadable note counts as
    /// missing.
    fn read_or(&self, path: &Path, anyhow: bool) -> Result<Option<Note>, NoteError> {
        match self.read(path) {
            Err(NoteError::Unreadable(_)) if anyhow => Ok(None),
            result => result,
        }
    }

    /// Replaces a note atomically. Does not replace anything but a file of this user.
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

    /// Writes a new file beside `path`, under an unpredictable name.
    fn write_temporary(&self, path: &Path, text: &str) -> Result<PathBuf, NoteError> {
        let bytes: [u8; 8] =
            random().map_err(|error| failed(Action::Create, path, io::Error::other(error)))?;
        let temporary = path.with_extension(format!("{}-{}.tmp", std::process::id(), hex::text(&bytes)));
        let mut file =
            safe_open::create(&temporary).map_err(|source| failed(Action::Create, &temporary, source))?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|source| {
            let _ = fs::remove_file(&temporary);
            failed(Action::Write, &temporary, source)
        })?;
        Ok(temporary)
    }

    /// Takes the lock of the notes. Without it, a concurrent writer could overwrite a later
    /// generation with an earlier one.
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

    fn note_of_id(&self, sealer: &Sealer) -> PathBuf {
        self.note_of(&sealer.file_id())
    }

    fn note_of(&self, file_id: &[u8; 16]) -> PathBuf {
        self.folder.join(hex::text(&crypto::hash(&[ID_LABEL, file_id])[..16]))
    }
}

impl LastSeen {
    /// Returns the passphrase cost that the file's owner has paid before; `None` if unknown.
    pub(crate) fn paid(&self) -> Option<KdfWork> {
        self.note.as_ref().ok()?.as_ref().map(|note| note.work)
    }

    /// Checks that an opened file is the one last seen at its path, and at least as new. Passes if
    /// there is no note.
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

    /// Checks that the notes were readable.
    ///
    /// # Errors
    /// [`NoteError`] if one was not: then it is unknown whether the file is the newest.
    pub fn confirm(&self, file: &SnapshotFile) -> Result<(), NoteError> {
        match &self.note {
            Ok(_) => self.seen.read(&self.seen.note_of_id(file.sealer())).map(drop),
            Err(_) => self.seen.read(&self.seen.note_of_path(&self.path)).map(drop),
        }
    }
}

/// Checks whether the file noted at another path is a separate one: its home still holds it, or
/// this path is noted as a copy. Then this file is judged by its own path.
fn is_elsewhere(home: &Note, here: Option<&Note>) -> bool {
    here.is_some_and(|here| here.place == Place::Copy) || holds(&home.path, &home.file_id)
}

/// Checks whether `path` holds a generation of that file.
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
/// Time to wait for another process that writes notes.
const LOCK_WAIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
