//! Provides devices for the tests: each has a folder, a key file and a snapshot, and runs every
//! command as a process of its own. Each process has a time-out and is killed on drop, so none
//! hangs or stays behind.

mod pair;
mod preload;
mod process;
#[cfg(unix)]
mod terminal;

use std::{
    cell::RefCell,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::Value;
use stronghold_snapshot::{Unlock, VaultFile};
use tempfile::TempDir;

pub(crate) use pair::{DENIAL, ENTRIES, Pair, summary};
pub(crate) use preload::preloaded;
pub(crate) use process::Ended;
use process::Process;
#[cfg(unix)]
pub(crate) use terminal::{at_terminal, at_terminal_with, end, redirected};

/// Exit codes, as the README lists them.
pub(crate) const USAGE: i32 = 2;
pub(crate) const NOT_FOUND: i32 = 3;
pub(crate) const WRONG_KEY: i32 = 4;
pub(crate) const DAMAGED: i32 = 5;
pub(crate) const IN_USE: i32 = 6;
pub(crate) const DENIED: i32 = 7;
pub(crate) const DECISION: i32 = 8;
pub(crate) const PEER: i32 = 9;
pub(crate) const STORAGE: i32 = 10;

/// A device under test.
pub(crate) struct Device {
    folder: TempDir,
    /// Folder of its rollback notes; not part of the snapshot, so kept apart.
    state: TempDir,
    unlock: RefCell<[String; 2]>,
    path: RefCell<Option<OsString>>,
}

/// A running command.
pub(crate) struct Running(Process, Option<String>);

/// The files of a snapshot, byte for byte.
#[derive(PartialEq, Eq)]
pub(crate) struct Files(Vec<(String, Vec<u8>)>);

impl Device {
    /// Creates a device with an empty snapshot under a key file.
    pub(crate) fn new(name: &str) -> Self {
        let device = Self::without_snapshot();
        device.ok(&["init", "--name", name]);
        device
    }

    /// Creates a device with a key file and without a snapshot.
    pub(crate) fn without_snapshot() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        static DEVICES: AtomicU64 = AtomicU64::new(1);
        fs::write(&key, format!("{:064x}", DEVICES.fetch_add(1, Relaxed))).unwrap();
        Self {
            unlock: RefCell::new(["--key-file".into(), key.to_str().unwrap().into()]),
            folder,
            state: tempfile::tempdir().unwrap(),
            path: RefCell::default(),
        }
    }

    /// Creates a device with an empty snapshot under a passphrase.
    pub(crate) fn with_passphrase(name: &str, passphrase: &str) -> Self {
        let device = Self::without_snapshot();
        device.unlock_by("--passphrase-file", "passphrase", passphrase.as_bytes());
        device.ok(&["init", "--name", name]);
        device
    }

    /// Creates a device with a copy of this one's snapshot, like a copied virtual machine.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self::without_snapshot();
        fs::copy(self.snapshot(), copy.snapshot()).unwrap();
        copy.unlock_by_file("--key-file", Path::new(&self.key_file()));
        copy
    }

    /// Makes later commands use another key or passphrase, from a new file with `content`.
    pub(crate) fn unlock_by(&self, option: &str, file: &str, content: &[u8]) {
        *self.unlock.borrow_mut() = [option.into(), self.file(file, content)];
    }

    /// Makes later commands use another key or passphrase, from an existing file.
    pub(crate) fn unlock_by_file(&self, option: &str, path: &Path) {
        *self.unlock.borrow_mut() = [option.into(), path.to_str().unwrap().into()];
    }

    /// Writes a file into the device's folder; returns its path.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().into()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn snapshot(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    pub(crate) fn key_file(&self) -> String {
        self.unlock.borrow()[1].clone()
    }

    /// Returns the raw key in the key file.
    pub(crate) fn key(&self) -> [u8; 32] {
        stronghold_sync::hex::read(fs::read_to_string(self.key_file()).unwrap().trim()).unwrap()
    }

    /// Opens the snapshot with the key file, in this process.
    pub(crate) fn vault(&self) -> VaultFile {
        VaultFile::open(&self.snapshot(), &Unlock::Key(&self.key())).unwrap()
    }

    /// Builds a command on this device.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.keyless(args);
        command.args(self.unlock.borrow().as_slice());
        command
    }

    /// Builds a command on this device that has no key: an agent gives it one, or nobody does.
    pub(crate) fn keyless(&self, args: &[&str]) -> Command {
        let mut command = without_terminal(stronghold());
        command.args(args).arg("--snapshot").arg(self.snapshot());
        command.env("XDG_STATE_HOME", self.state.path()).env("XDG_RUNTIME_DIR", self.state.path());
        command.envs(self.path.borrow().iter().map(|path| ("PATH", path)));
        command.current_dir(&self.folder);
        command
    }

    /// Makes later commands look for programs in these folders.
    pub(crate) fn look_in(&self, path: OsString) {
        *self.path.borrow_mut() = Some(path);
    }

    /// Returns the folder of the agents' sockets.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.state.path().join("stronghold")
    }

    /// Starts a command on this device.
    pub(crate) fn start(&self, args: &[&str], stdin: &[u8]) -> Running {
        Running::start(&mut self.command(args), stdin)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str], stdin: &[u8]) -> Ended {
        self.start(args, stdin).end()
    }

    /// Runs a command that must succeed; returns its output as text.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.ok_with(args, b"")
    }

    /// Runs a command as [`ok`](Self::ok) does, with `stdin` as its standard input.
    #[track_caller]
    pub(crate) fn ok_with(&self, args: &[&str], stdin: &[u8]) -> String {
        let done = self.run(args, stdin);
        assert_eq!(done.exit, 0, "{args:?}: {}", done.stderr);
        String::from_utf8(done.stdout).unwrap()
    }

    /// Runs a command that must succeed; returns its one line of JSON.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.json_with(args, b"")
    }

    /// Runs a command as [`json`](Self::json) does, with `stdin` as its standard input.
    #[track_caller]
    pub(crate) fn json_with(&self, args: &[&str], stdin: &[u8]) -> Value {
        let text = self.ok_with(&[args, &["--json"]].concat(), stdin);
        let object = one_line(&text);
        if let Some(command) = args.iter().find(|arg| !arg.starts_with('-')) {
            crate::schemas::check(command, &object);
        }
        object
    }

    /// Runs a command that must fail with the code `exit`; returns its stderr.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], exit: i32) -> String {
        let done = self.run(args, b"");
        assert_eq!(done.exit, exit, "{args:?}: {}", done.stderr);
        assert!(done.stdout.is_empty(), "{args:?}: data on stdout after an error");
        for line in done.stderr.lines().filter(|line| line.starts_with("{\"error\"")) {
            crate::schemas::check("error", &serde_json::from_str(line).unwrap());
        }
        done.stderr
    }

    #[track_caller]
    pub(crate) fn put(&self, location: &str, value: &str) {
        self.ok_with(&["put", location], value.as_bytes());
    }

    #[track_caller]
    pub(crate) fn get(&self, location: &str) -> String {
        self.ok(&["get", location, "--quiet"])
    }

    #[track_caller]
    pub(crate) fn is_absent(&self, location: &str) {
        self.fails(&["get", location], NOT_FOUND);
    }

    /// Returns the locations that `list` shows.
    #[track_caller]
    pub(crate) fn locations(&self) -> Vec<String> {
        strings(&self.json(&["list"])["entries"], "location")
    }

    /// Returns what two devices with equal content have in common: each entry's name and hash, and
    /// whether it is in conflict.
    #[track_caller]
    pub(crate) fn entries(&self) -> Vec<(String, String, bool)> {
        let entries = self.json(&["list"])["entries"].take();
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
        let shown = |entry: &Value| {
            (text(entry, "location"), text(entry, "revision"), entry["conflict"].as_bool().unwrap())
        };
        entries.as_array().unwrap().iter().map(shown).collect()
    }

    /// Returns the heads of a record, each with its value, or `None` for a deletion.
    #[track_caller]
    pub(crate) fn heads(&self, location: &str) -> Vec<(String, Option<String>)> {
        let history = self.json(&["history", location]);
        let heads = history["revisions"].as_array().unwrap().iter().filter(|version| version["head"] == true);
        let mut heads: Vec<_> = heads
            .map(|version| {
                let revision = version["revision"].as_str().unwrap().to_owned();
                let read = || self.ok(&["get", location, "--revision", &revision]);
                let value = (version["deleted"] == false).then(read);
                (revision, value)
            })
            .collect();
        heads.sort();
        heads
    }

    /// Returns the values of a record's heads, sorted.
    #[track_caller]
    pub(crate) fn values(&self, location: &str) -> Vec<String> {
        let mut values: Vec<String> =
            self.heads(location).into_iter().filter_map(|(_, value)| value).collect();
        values.sort();
        values
    }

    /// Returns the snapshot's current files, with anything else that a command left behind, but
    /// without the lock file, whose content does not matter.
    pub(crate) fn files(&self) -> Files {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if !name.ends_with(".lock") && entry.file_type().unwrap().is_file() {
                files.push((name, fs::read(entry.path()).unwrap()));
            }
        }
        files.sort();
        Files(files)
    }

    /// Runs a command that must fail with the code `exit` and leave every file unchanged.
    #[track_caller]
    pub(crate) fn fails_cleanly(&self, args: &[&str], exit: i32) -> String {
        let before = self.files();
        let said = self.fails(args, exit);
        assert!(before == self.files(), "{args:?} failed, and changed a file");
        said
    }

    /// Serves peers until dropped; returns the process and its address.
    #[track_caller]
    pub(crate) fn serve(&self) -> (Running, String) {
        let mut serving = self.start(&["serve", "--listen", "127.0.0.1:0", "--json"], b"");
        let event = serving.event();
        let address = event["listening"].as_str().unwrap().to_owned();
        (serving, address)
    }

    /// Starts a pairing; returns the process, its code and its address.
    #[track_caller]
    pub(crate) fn pair(&self, args: &[&str]) -> (Running, String, String) {
        let mut pairing = self.start(&[&["pair", "--listen", "127.0.0.1:0", "--json"], args].concat(), b"");
        let event = pairing.event();
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        (pairing, text("code"), text("address"))
    }
}

impl Files {
    /// Leaves out one file, which a test writes itself.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(file, _)| file != name);
        self
    }
}

impl Running {
    /// Starts a process and writes all of its standard input.
    pub(crate) fn start(command: &mut Command, stdin: &[u8]) -> Self {
        let first = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).next();
        Self(Process::start(command, stdin).unwrap(), first)
    }

    /// Returns the next line of output, as JSON.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Value {
        let event = self.0.event().unwrap();
        for command in ["agent", "pair", "serve"] {
            if self.1.as_deref() == Some(command) {
                crate::schemas::check(command, &event);
            }
        }
        event
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.child.id()
    }

    /// Checks whether the process has ended, in any way.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.child.try_wait().unwrap().is_some()
    }

    /// Kills the process, unless it has ended; [`end`](Self::end) then returns how it ended.
    pub(crate) fn kill(&mut self) {
        self.0.kill();
    }

    /// Waits for the process to end.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        self.0.end().unwrap()
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, bytes)| (name, bytes.len()))).finish()
    }
}

/// Returns a raw key, a different one for each number.
pub(crate) fn raw_key(number: u8) -> [u8; 32] {
    std::array::from_fn(|index| number.wrapping_add(8 * index as u8))
}

/// Returns the path of the command under test: the one in `STRONGHOLD_PROGRAM`, such as a release
/// build, or else the one built with the tests.
pub(crate) fn program() -> OsString {
    std::env::var_os("STRONGHOLD_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_stronghold").into())
}

/// Builds the command without settings from the tester's environment.
pub(crate) fn stronghold() -> Command {
    let mut command = Command::new(program());
    for setting in ["SNAPSHOT", "PASSPHRASE_FILE", "CONFIG", "NO_AGENT", "REQUIRE_ROLLBACK_NOTES"] {
        command.env_remove(format!("STRONGHOLD_{setting}"));
    }
    command.env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Detaches a command from the terminal, if the tests run at one.
fn without_terminal(command: Command) -> Command {
    if std::fs::File::open("/dev/tty").is_err() {
        return command;
    }
    let mut apart = Command::new("setsid");
    apart.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => apart.env(name, value),
            None => apart.env_remove(name),
        };
    }
    apart
}

/// Runs any `stronghold` command to its end.
pub(crate) fn run(command: &mut Command, stdin: &[u8]) -> Ended {
    Running::start(command, stdin).end()
}

/// Creates two paired devices, `a` and `b`. No rules are granted, and `b` knows no current address
/// of `a`.
#[track_caller]
pub(crate) fn paired() -> (Device, Device) {
    let (a, b) = (Device::new("a"), Device::new("b"));
    pair(&a, &b);
    (a, b)
}

/// Pairs two devices that have snapshots; each knows the other by its own name.
#[track_caller]
pub(crate) fn pair(listener: &Device, joiner: &Device) {
    let (pairing, code, address) = listener.pair(&[]);
    joiner.ok_with(&["pair", "--join", &address], code.as_bytes());
    let done = pairing.end();
    assert_eq!(done.exit, 0, "{}", done.stderr);
}

/// Lets each device do everything on the other.
#[track_caller]
pub(crate) fn trust_each_other(a: (&Device, &str), b: (&Device, &str)) {
    for (device, other) in [(a.0, b.1), (b.0, a.1)] {
        device.ok(&["grant", other, "import", "browse", "pull", "push", "delete", "--select", "**"]);
    }
}

/// Parses a result that must be one object on one line.
#[track_caller]
pub(crate) fn one_line(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "not one line: {text}");
    assert!(text.ends_with('\n'));
    let object: Value = serde_json::from_str(text).unwrap();
    assert!(object.is_object());
    object
}

/// Returns a text field of each object in a list.
pub(crate) fn strings(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|object| object[field].as_str().unwrap().to_owned()).collect()
}

/// Returns number fields of an object.
pub(crate) fn counts<const N: usize>(object: &Value, fields: [&str; N]) -> [u64; N] {
    fields.map(|field| object[field].as_u64().unwrap_or_else(|| panic!("no {field} in {object}")))
}
