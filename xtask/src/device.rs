//! A device for the demo and the benches: a snapshot file and the `stronghold` command, run as a person would.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    Result,
    running::{Ended, Process},
};

/// One device, in a folder of its own.
pub(crate) struct Device {
    program: PathBuf,
    folder: PathBuf,
    secret: Secret,
}

/// What opens a device's snapshot: a file of this name in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secret {
    Passphrase,
    /// No key is derived from it.
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

/// A device that answers.
pub(crate) struct Serving {
    pub(crate) process: Process,
    pub(crate) address: String,
}

impl Device {
    /// A device that has a passphrase and no snapshot yet.
    pub(crate) fn new(program: &Path, folder: PathBuf, passphrase: &str) -> Result<Self> {
        fs::create_dir(&folder)?;
        fs::write(folder.join("passphrase"), passphrase)?;
        Ok(Self { program: program.into(), folder, secret: Secret::Passphrase })
    }

    /// A device that has a passphrase or a key file of its own, and no snapshot yet.
    pub(crate) fn with(program: &Path, folder: PathBuf, secret: Secret) -> Result<Self> {
        let device = Self::new(program, folder, "a passphrase to measure with")?;
        fs::write(device.folder.join("key"), "5a3c".repeat(16))?;
        Ok(Self { secret, ..device })
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its snapshot.
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
        Process::start(command, stdin.as_bytes())
    }

    /// Runs a command to its end, whatever that is.
    pub(crate) fn try_run(&self, args: &[&str], stdin: &str) -> Result<Ended> {
        self.start(args, stdin)?.end()
    }

    /// Runs a command that must succeed.
    pub(crate) fn run(&self, args: &[&str], stdin: &str) -> Result<Ended> {
        let ended = self.try_run(args, stdin)?;
        if ended.exit == Some(0) {
            return Ok(ended);
        }
        Err(format!("`stronghold {}` ended with {:?}: {}", args.join(" "), ended.exit, ended.stderr).into())
    }

    /// Runs a command that must succeed, and reads what it prints.
    pub(crate) fn json(&self, args: &[&str], stdin: &str) -> Result<Value> {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        Ok(serde_json::from_str(&self.run(&args, stdin)?.stdout)?)
    }

    /// The entries that `list` shows, by location.
    pub(crate) fn entries(&self) -> Result<Vec<Value>> {
        match self.json(&["list"], "")?["entries"].take() {
            Value::Array(entries) => Ok(entries),
            _ => Err("`list` gave no entries".into()),
        }
    }

    /// Shows a pairing code to the device that will be called `other`, and lets it import.
    pub(crate) fn pair(&self, other: &str) -> Result<Pairing> {
        let args =
            ["pair", "--yes", "--grant", "import", "--name", other, "--listen", "127.0.0.1:0", "--json"];
        let mut process = self.start(&args, "")?;
        let event = process.event()?;
        Ok(Pairing { code: text(&event, "code")?, address: text(&event, "address")?, process })
    }

    /// Answers paired devices until it is dropped.
    pub(crate) fn serve(&self) -> Result<Serving> {
        self.serve_at("127.0.0.1:0")
    }

    /// The same at this address.
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
