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
use stronghold_vault::{LockedKey, MAX_DEVICE_NAME, Stronghold, check_device_name};
use tokio::runtime::Runtime;

use crate::environment::project_folders;
use crate::globals::Global;
use crate::{
    agent::{Agent, AgentError, Place},
    config::Config,
    error::{About, Failure, Kind, shown},
    output::{self, Output},
    secrets::{Secret, Source, is_wrong_key},
    terminal,
    waiting::Waiting,
};

/// State shared by all commands: the global options and the output.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) config: Config,
    pub(crate) output: Output,
    /// Name of the command in the list of undo steps.
    word: &'static str,
}

impl Context {
    /// Creates the context of the command that is called `word` in the list of undo steps.
    pub(crate) fn new(global: Global, config: Config, word: &'static str) -> Self {
        let output = Output::new(global.json, global.quiet).with_all_names(global.verbose);
        Self { global, config, output, word }
    }

    /// Opens the snapshot that the options name.
    pub(crate) fn open(&self) -> Result<VaultFile, Failure> {
        self.open_by(|path, unlock| self.open_whole(path, unlock))
    }

    /// Opens the snapshot that the options name, with the passphrase or key itself, even if an
    /// agent holds a key.
    pub(crate) fn open_without_agent(&self) -> Result<VaultFile, Failure> {
        self.open_with_secret(&self.existing()?, |path, unlock| self.open_whole(path, unlock))
    }

    /// Opens the snapshot for these records alone: at a cost that does not follow the number of the
    /// others. If one of them is missing, everything is read, so that names can be compared.
    pub(crate) fn open_at(&self, records: &[Location], access: Access) -> Result<VaultFile, Failure> {
        let mut vault = self.open_by(|path, unlock| {
            let (limits, notes) = (self.limits(), self.notes());
            let older = self.on_rollback();
            VaultFile::open_records_guarded(path, unlock, &limits, notes, older, records, access)
        })?;
        if !records.iter().all(|record| vault.stronghold().contains(record)) {
            vault.load_all()?;
        }
        Ok(vault)
    }

    /// Opens the snapshot with the key that its agent holds. Returns `None` if that holds none;
    /// nobody is asked for a passphrase.
    pub(crate) fn open_by_agent(&self) -> Result<Option<VaultFile>, Failure> {
        let path = self.existing()?;
        let Some(key) = self.agent_key(&path) else { return Ok(None) };
        match self.open_whole(&path, &Unlock::SlotKey(key.expose())) {
            Err(error) if is_wrong_key(&error) => Ok(None),
            opened => Ok(Some(self.configured(opened?))),
        }
    }

    /// Opens the snapshot with `unlock`.
    pub(crate) fn open_with(&self, unlock: &Unlock<'_>) -> Result<VaultFile, Failure> {
        Ok(self.configured(self.open_whole(&self.existing()?, unlock)?))
    }

    fn open_whole(&self, path: &Path, unlock: &Unlock<'_>) -> Result<VaultFile, VaultFileError> {
        VaultFile::open_guarded(path, unlock, &self.limits(), self.notes(), self.on_rollback())
    }

    /// Opens the snapshot with the key that its agent holds, else with the passphrase or key.
    fn open_by(
        &self,
        open: impl Fn(&Path, &Unlock<'_>) -> Result<VaultFile, VaultFileError>,
    ) -> Result<VaultFile, Failure> {
        let path = self.existing()?;
        let Some(key) = self.agent_key(&path) else { return self.open_with_secret(&path, open) };
        match open(&path, &Unlock::SlotKey(key.expose())) {
            Err(error) if is_wrong_key(&error) => {
                let message = "warning: the key that the agent holds opens the snapshot no more; it is wiped";
                self.output.warning(message);
                let _ = self.place(&path).map(|place| Agent::at(&place).lock());
                self.open_with_secret(&path, open)
            }
            opened => Ok(self.configured(opened?)),
        }
    }

    fn open_with_secret(
        &self,
        path: &Path,
        open: impl Fn(&Path, &Unlock<'_>) -> Result<VaultFile, VaultFileError>,
    ) -> Result<VaultFile, Failure> {
        let source = Source::of_snapshot(&self.global);
        let opened = source.open(path, |unlock| {
            let _waiting = self.waiting(format!("opening {}", shown(path)));
            open(path, unlock)
        })?;
        Ok(self.configured(opened))
    }

    /// Returns the key of the snapshot's agent, if the passphrase would be asked for otherwise.
    fn agent_key(&self, path: &Path) -> Option<LockedKey> {
        if self.global.no_agent || !Source::of_snapshot(&self.global).is_prompt() {
            return None;
        }
        let found = self.place(path).map_err(AgentError::from).and_then(|place| Agent::at(&place).key());
        match found {
            Ok(key) => return Some(key),
            Err(AgentError::NotRunning | AgentError::Locked) => {}
            Err(error) => self.output.warning(&format!("warning: {error}")),
        }
        None
    }

    /// Returns the place of the agent for the snapshot at `path`.
    pub(crate) fn place(&self, path: &Path) -> std::io::Result<Place> {
        let default = project_folders().map(|folders| default_snapshot(&folders));
        Place::of(path, default.as_deref())
    }

    /// Returns the path of the snapshot, which has to exist: nobody is asked for a passphrase in
    /// vain.
    pub(crate) fn existing(&self) -> Result<PathBuf, Failure> {
        let path = self.path()?;
        if is_there(&path)? { Ok(path) } else { Err(Failure::no_snapshot(&path)) }
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
        let _waiting = self.waiting(format!("creating {}", shown(path)));
        let mut home = self.configured(VaultFile::create(path, &[secret.new_slot()], stronghold)?);
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

    fn configured(&self, mut home: VaultFile) -> VaultFile {
        home.begin_step(self.word);
        home.set_lock_wait(Duration::from_secs(self.global.lock_timeout().into()));
        let output = self.output;
        home.on_lock_wait(move |writer, wait| {
            let who = writer.map_or("another process".into(), |id| format!("process {id}"));
            Box::new(Waiting::begin(output, format!("{who} writes to the snapshot"), Some(wait)))
        });
        home
    }

    /// Shows what the command waits for, until the returned value is dropped.
    pub(crate) fn waiting(&self, text: impl Into<String>) -> Waiting {
        Waiting::begin(self.output, text, None)
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
        Ok(default_snapshot(&folders))
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

fn default_snapshot(folders: &directories::ProjectDirs) -> PathBuf {
    folders.data_dir().join("default.stronghold")
}

/// Creates the async runtime of a command that talks to a peer.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Unexpected, format!("can't start: {error}")))
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
