//! Provides a failing disk: `interpose.c`, compiled once, and a device whose commands run on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::common::{Device, Ended, Running, preloaded};

/// The record on which every fault is tried, and one written before, which must stay unchanged.
pub(crate) const RECORD: &str = "s/v/record";
pub(crate) const KEPT: &str = "s/v/kept";

/// A fault of the disk, and the number of the call that it hits; `0` hits none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) at: usize,
    pub(crate) sticky: bool,
}

impl Fault {
    pub(crate) const NONE: Self = Self { kind: "", at: 0, sticky: false };

    pub(crate) fn once(kind: &'static str) -> Self {
        Self { kind, ..Self::NONE }
    }

    pub(crate) fn sticky(kind: &'static str) -> Self {
        Self { kind, sticky: true, ..Self::NONE }
    }

    pub(crate) fn at(self, at: usize) -> Self {
        Self { at, ..self }
    }
}

/// One call that the disk saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) path: String,
    /// The action in place of the call, or around it.
    pub(crate) fault: Option<String>,
}

/// The result of a command on a failing disk, and the calls that the disk saw.
#[derive(Debug)]
pub(crate) struct FaultyRun {
    pub(crate) done: Ended,
    pub(crate) calls: Vec<Call>,
}

/// A device whose key and disk log are in a separate folder, so that only the snapshot is on the
/// failing disk.
pub(crate) struct FaultyDevice {
    pub(crate) device: Device,
    apart: TempDir,
    /// The folder on the failing disk.
    watched: PathBuf,
}

impl FaultyDevice {
    /// Creates a device with an empty folder; prints a message and returns `None` if the disk can't
    /// be interposed.
    pub(crate) fn empty() -> Option<Self> {
        library()?;
        let device = Device::without_snapshot();
        let apart = tempfile::tempdir().unwrap();
        let key = apart.path().join("key");
        fs::rename(device.key_file(), &key).unwrap();
        device.unlock_by_file("--key-file", &key);
        let watched = fs::canonicalize(device.folder()).unwrap();
        Some(Self { device, apart, watched })
    }

    /// Puts the notes of the snapshots seen on the failing disk too, with all temporary folders.
    pub(crate) fn with_notes(self) -> Self {
        Self { watched: fs::canonicalize(std::env::temp_dir()).unwrap(), ..self }
    }

    /// Creates a device whose snapshot holds both records.
    pub(crate) fn new() -> Option<Self> {
        let faulty = Self::empty()?;
        faulty.device.ok(&["init", "--name", "a"]);
        faulty.device.put(KEPT, "kept");
        faulty.device.put(RECORD, "first");
        Some(faulty)
    }

    /// Starts a command on the failing disk.
    pub(crate) fn start(&self, args: &[&str], stdin: &[u8], fault: Fault) -> Running {
        let _ = fs::remove_file(self.log());
        let mut command = self.device.command(args);
        self.interpose(&mut command, fault);
        Running::start(&mut command, stdin)
    }

    /// Runs a command on the failing disk, to its end.
    pub(crate) fn run(&self, args: &[&str], stdin: &[u8], fault: Fault) -> FaultyRun {
        let done = self.start(args, stdin, fault).end();
        FaultyRun { done, calls: self.calls() }
    }

    /// Returns the calls of the current or last command.
    pub(crate) fn calls(&self) -> Vec<Call> {
        fs::read_to_string(self.log()).unwrap_or_default().lines().map(parse).collect()
    }

    fn interpose(&self, command: &mut Command, fault: Fault) {
        command.env("LD_PRELOAD", library().unwrap()).env("FAULT_FOLDER", &self.watched);
        command.env("FAULT_LOG", self.log()).env("FAULT_AT", fault.at.to_string());
        command.env("FAULT_KIND", fault.kind);
        if fault.sticky {
            command.env("FAULT_STICKY", "1");
        }
    }

    fn log(&self) -> PathBuf {
        self.apart.path().join("log")
    }

    /// Returns the snapshot's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.device.snapshot()).unwrap()
    }

    /// Lists the files beside the snapshot and its lock.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        leftovers(self.device.folder())
    }
}

impl FaultyRun {
    /// Returns the calls that a fault hit.
    pub(crate) fn faulted(&self) -> Vec<&Call> {
        self.calls.iter().filter(|call| call.fault.is_some()).collect()
    }
}

/// Lists the files in a device's folder that are neither snapshot, lock nor key.
pub(crate) fn leftovers(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let expected = |name: &String| ["vault", ".vault.lock", "key"].contains(&name.as_str());
    names.filter(|name| !expected(name)).collect()
}

fn parse(line: &str) -> Call {
    let mut words = line.splitn(4, ' ').skip(1).map(str::to_owned);
    let mut word = || words.next().unwrap();
    let (name, path, outcome) = (word(), word(), word());
    Call { name, path, fault: (outcome != "-").then_some(outcome) }
}

/// Returns the compiled library, in a folder that stays until the tests end.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(|| preloaded("storage/interpose.c")).as_deref()
}
