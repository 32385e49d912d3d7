//! State and helpers that all commands share: the options, the snapshot that they name, and the
//! runtime.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use stronghold_snapshot::{
    Access, Limits, NoteError, OnRollback, RollbackGuard, RollbackNotes, Unlock, VaultFile, VaultFileError,
};
use stronghold_sync::{DeviceId, Location, RevisionId, Selection, escape_untrusted};
use stronghold_vault::{MAX_DEVICE_NAME, Stronghold, check_device_name};
use tokio::runtime::Runtime;

use crate::globals::Global;
use crate::{
    error::{About, Failure, Kind},
    output::{self, Output},
    secrets::{Secret, Source},
    terminal,
};

/// State shared by all commands: the global options and the output.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) output: Output,
    /// Name of the command in the list of undo steps.
    word: &'static str,
}

impl Context {
    /// Creates the context of the command that is called `word` in the list of undo steps.
    pub(crate) fn new(global: Global, output: Output, word: &'static str) -> Self {
        Self { global, output, word }
    }

    /// Opens the snapshot that the options name.
    pub(crate) fn open(&self) -> Result<VaultFile, Failure> {
        self.open_and_secret().map(|(home, _)| home)
    }

    /// Opens the snapshot for these records alone: at a cost that does not follow the number of the
    /// others. If one of them is missing, everything is read, so that names can be compared.
    pub(crate) fn open_at(&self, records: &[Location], access: Access) -> Result<VaultFile, Failure> {
        let (mut vault, _) = self.open_by(|path, unlock| {
            let (limits, notes) = (self.limits(), self.notes());
            let older = self.on_rollback();
            VaultFile::open_records_guarded(path, unlock, &limits, notes, older, records, access)
        })?;
        if !records.iter().all(|record| vault.stronghold().contains(record)) {
            vault.load_all()?;
        }
        Ok(vault)
    }

    /// Opens the snapshot and also returns the secret that opened it.
    pub(crate) fn open_and_secret(&self) -> Result<(VaultFile, Secret), Failure> {
        self.open_by(|path, unlock| {
            VaultFile::open_guarded(path, unlock, &self.limits(), self.notes(), self.on_rollback())
        })
    }

    fn open_by(
        &self,
        open: impl Fn(&Path, &Unlock<'_>) -> Result<VaultFile, VaultFileError>,
    ) -> Result<(VaultFile, Secret), Failure> {
        let path = self.path()?;
        if !is_there(&path)? {
            // Do not ask for a passphrase in vain.
            return Err(Failure::no_snapshot(&path));
        }
        let source = Source::of_snapshot(&self.global);
        let (mut home, secret) = source.open(&path, |unlock| open(&path, unlock))?;
        self.configure(&mut home);
        Ok((home, secret))
    }

    /// Creates a snapshot.
    pub(crate) fn create(
        &self,
        path: &Path,
        secret: &Secret,
        stronghold: Stronghold,
    ) -> Result<VaultFile, Failure> {
        let notes = self.notes();
        if notes.required {
            notes
                .guard
                .as_ref()
                .ok_or(NoteError::NoFolder)
                .and_then(RollbackGuard::probe)
                .map_err(VaultFileError::from)?;
        }
        let mut home = VaultFile::create(path, &[secret.new_slot()], stronghold)?;
        self.configure(&mut home);
        home.set_rollback_notes(notes)?;
        Ok(home)
    }

    /// Returns this device's rollback notes, with the function that reports a failure to write
    /// them.
    fn notes(&self) -> RollbackNotes {
        let tell = if self.output.is_json() { output::note_failed_json } else { output::note_failed };
        RollbackNotes {
            guard: self.rollback_guard(),
            required: self.global.require_rollback_notes,
            on_failure: tell,
        }
    }

    /// Returns the limits for a file that was made elsewhere.
    pub(crate) fn limits(&self) -> Limits {
        if self.global.allow_costly { Limits::OWN } else { Limits::FOREIGN }
    }

    /// Asks on the terminal before an irreversible change; `--yes` answers beforehand.
    pub(crate) fn confirm(&self, question: &str) -> Result<(), Failure> {
        terminal::confirm(question, self.global.yes)
    }

    fn configure(&self, home: &mut VaultFile) {
        home.begin_step(self.word);
        home.set_lock_wait(Duration::from_secs(self.global.lock_timeout.into()));
    }

    fn on_rollback(&self) -> OnRollback {
        if self.global.accept_rollback { OnRollback::Accept } else { OnRollback::Refuse }
    }

    /// Returns the notes of the generations that this device last saw, kept outside the snapshot's
    /// folder.
    pub(crate) fn rollback_guard(&self) -> Option<RollbackGuard> {
        let folders = project_folders()?;
        let state = folders.state_dir().unwrap_or_else(|| folders.data_local_dir());
        Some(RollbackGuard::in_folder(state.join("seen")))
    }

    /// Returns the snapshot's path: the given one, else the default in the platform's data folder.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.global.snapshot {
            return Ok(path.clone());
        }
        let folders = project_folders().ok_or_else(|| {
            Failure::usage("this system names no data folder", "name the snapshot with --snapshot")
        })?;
        Ok(folders.data_dir().join("default.stronghold"))
    }

    /// Creates the folder of the default snapshot. A folder that the user named is theirs to
    /// create.
    pub(crate) fn make_default_folder(&self, path: &Path) -> Result<(), Failure> {
        match path.parent() {
            Some(folder) if self.global.snapshot.is_none() => {
                std::fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))
            }
            _ => Ok(()),
        }
    }
}

/// Creates the async runtime of a command that talks to a peer.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Unexpected, format!("can't start: {error}")))
}

pub(crate) fn project_folders() -> Option<directories::ProjectDirs> {
    directories::ProjectDirs::from("", "", "stronghold")
}

/// Returns whether a file exists. A disk that does not answer is an error, not `false`.
pub(crate) fn is_there(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(|error| Failure::unknown(path, &error))
}

/// Returns whether anything has this name, even a dangling link: nothing is created in its place,
/// nor at its target.
pub(crate) fn is_taken(path: &Path) -> Result<bool, Failure> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::unknown(path, &error)),
    }
}

/// Formats a device as its name and fingerprint.
pub(crate) fn described(name: &str, device: &DeviceId) -> String {
    format!("{} ({})", escape_untrusted(name), device.fingerprint())
}

pub(crate) fn location(text: &str) -> Result<Location, Failure> {
    text.parse().map_err(|error| {
        Failure::usage(format!("{}: {error}", escape_untrusted(text)), "for example: wallet/web/mail")
    })
}

/// Parses a glob; `None` selects everything.
pub(crate) fn selection(text: Option<&str>) -> Result<Selection, Failure> {
    selections(&text.map(str::to_owned).into_iter().collect::<Vec<_>>())
}

/// Parses globs; an empty list selects everything.
pub(crate) fn selections(texts: &[String]) -> Result<Selection, Failure> {
    Selection::parse(texts).map_err(|error| Failure::usage(error.to_string(), "for example: 'wallet/**'"))
}

/// Fewest digits of a revision's id that name it: a single one is in one of sixteen ids by chance,
/// and may be meant as a number in a list.
const MIN_REVISION_PREFIX: usize = 4;

/// Returns the record's revision whose id begins with `text`.
pub(crate) fn revision(home: &VaultFile, location: &Location, text: &str) -> Result<RevisionId, Failure> {
    let history = home.stronghold().history(location).about(location)?;
    let text = text.to_lowercase();
    if text.len() < MIN_REVISION_PREFIX {
        let message = format!("\"{}\" is too short for a revision", escape_untrusted(&text));
        let hint = format!("give at least {MIN_REVISION_PREFIX} digits of its id; see `stronghold history`");
        return Err(Failure::usage(message, hint)).about(location);
    }
    let mut found = history.iter().filter(|version| version.revision.to_string().starts_with(&text));
    match (found.next(), found.next()) {
        (Some(version), None) => Ok(version.revision),
        (None, _) => {
            let message = format!("the record has no revision {}", escape_untrusted(&text));
            Err(Failure::new(Kind::NotFound, message).hint("see `stronghold history`")).about(location)
        }
        _ => {
            let message = format!("revision prefix \"{}\" is ambiguous", escape_untrusted(&text));
            Err(Failure::usage(message, "use more of the id"))
        }
    }
}

/// Returns the host's name for a device without a given one, or `stronghold` if it can't name a
/// device.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name.chars().take(MAX_DEVICE_NAME).collect();
    if check_device_name(&name).is_ok() { name } else { "stronghold".into() }
}
