//! Provides a device for the demo and the benches: a snapshot file and the `stronghold` command,
//! run as a user would.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::process::{Ended, Process};
use crate::Result;

/// One device, in a folder of its own.
pub(crate) struct Device {
    program: PathBuf,
    folder: PathBuf,
    secret: Secret,
}

/// Kind of secret that opens a device's snapshot, in a file of this name in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secret {
    Passphrase,
    /// A raw key, without key derivation.
    Key,
}

impl Secret {
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::Key => "key",
        }
    }
}

/// A device that shows a pairing code and waits.
pub(crate) struct Pairing {
    pub(crate) process: Process,
    pub(crate) code: String,
    pub(crate) address: String,
}

/// A device that serves peers.
pub(crate) struct Serving {
    pub(crate) process: Process,
    pub(crate) address: String,
}

impl Device {
    /// Creates a device with a passphrase and without a snapshot.
    pub(crate) fn new(program: &Path, folder: PathBuf, passphrase: &str) -> Result<Self> {
        fs::create_dir(&folder)?;
        fs::write(folder.join("passphrase"), passphrase)?;
        Ok(Self { program: program.into(), folder, secret: Secret::Passphrase })
    }

    /// Creates a device with a passphrase or a key file, and without a snapshot.
    pub(crate) fn with(program: &Path, folder: PathBuf, secret: Secret) -> Result<Self> {
        let device = Self::new(program, folder, "a passphrase to measure with")?;
        fs::write(device.folder.join("key"), "5a3c".repeat(16))?;
        Ok(Self { secret, ..device })
    }

    /// Returns the path of a file in the device's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the path of the device's snapshot.
    pub(crate) fn snapshot(&self) -> PathBuf {
        self.path("vault.stronghold")
    }

    /// Starts a command on this device's snapshot.
    pub(crate) fn start(&self, args: &[&str], stdin: &str) -> Result<Process> {
        self.start_on(&self.snapshot(), args, stdin)
    }

    /// Starts a command on another snapshot that the same secret opens.
    pub(crate) fn start_on(&self, snapshot: &Path, args: &[&str], stdin: &str) -> Result<Process> {
        let mut command = Command::new(&self.program);
        let secret = self.path(self.secret.file());
        let option = format!("--{}-file", self.secret.file());
        let files = [OsStr::new("--snapshot"), snapshot.as_os_str()];
        let key = [OsStr::new(&option), secret.as_os_str()];
        command.args(args).args(files).args(key).env_remove("STRONGHOLD_SNAPSHOT");
        command.env_remove("STRONGHOLD_PASSPHRASE_FILE").current_dir(&self.folder);
        command.env("XDG_STATE_HOME", self.folder.join("state"));
        Process::start(&mut command, stdin.as_bytes())
    }

    /// Runs a command to its end, and returns any outcome.
    pub(crate) fn try_run(&self, args: &[&str], stdin: &str) -> Result<Ended> {
        self.start(args, stdin)?.end()
    }

    /// Runs a command that must succeed.
    pub(crate) fn run(&self, args: &[&str], stdin: &str) -> Result<Ended> {
        let ended = self.try_run(args, stdin)?;
        if ended.exit == 0 {
            return Ok(ended);
        }
        Err(format!("`stronghold {}` ended with {}: {}", args.join(" "), ended.exit, ended.stderr).into())
    }

    /// Runs a command that must succeed; returns its output as text.
    pub(crate) fn text(&self, args: &[&str]) -> Result<String> {
        Ok(String::from_utf8(self.run(args, "")?.stdout)?)
    }

    /// Runs a command that must succeed; returns its JSON output.
    pub(crate) fn json(&self, args: &[&str], stdin: &str) -> Result<Value> {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        Ok(serde_json::from_slice(&self.run(&args, stdin)?.stdout)?)
    }

    /// Returns the entries that `list` shows, sorted by location.
    pub(crate) fn entries(&self) -> Result<Vec<Value>> {
        match self.json(&["list"], "")?["entries"].take() {
            Value::Array(entries) => Ok(entries),
            _ => Err("`list` gave no entries".into()),
        }
    }

    /// Shows a pairing code to a device named `other` here, and allows it to import.
    pub(crate) fn pair(&self, other: &str) -> Result<Pairing> {
        let args =
            ["pair", "--yes", "--grant", "import", "--name", other, "--listen", "127.0.0.1:0", "--json"];
        let mut process = self.start(&args, "")?;
        let event = process.event()?;
        Ok(Pairing { code: text(&event, "code")?, address: text(&event, "address")?, process })
    }

    /// Serves paired devices until dropped.
    pub(crate) fn serve(&self) -> Result<Serving> {
        self.serve_at("127.0.0.1:0")
    }

    /// Serves paired devices at `address` until dropped.
    pub(crate) fn serve_at(&self, address: &str) -> Result<Serving> {
        let mut process = self.start(&["serve", "--listen", address, "--json"], "")?;
        let event = process.event()?;
        Ok(Serving { address: text(&event, "listening")?, process })
    }
}

fn text(event: &Value, field: &str) -> Result<String> {
    let found = event[field].as_str().ok_or_else(|| format!("no {field:?} in {event}"))?;
    Ok(found.to_owned())
}
