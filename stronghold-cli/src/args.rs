//! Defines the command line. No secret, passphrase or pairing code is ever an argument.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stronghold_sync::Operation;

/// A secrets vault that you carry across your devices, without a server.
#[derive(Debug, Parser)]
#[command(name = "stronghold", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Use the snapshot FILE; default: $STRONGHOLD_SNAPSHOT, else the platform's data folder.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Read the passphrase from the first line of FILE; default: $STRONGHOLD_PASSPHRASE_FILE.
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["passphrase_fd", "key_file"])]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Read the passphrase from one line of the open file descriptor FD.
    #[arg(long, global = true, value_name = "FD", conflicts_with = "key_file")]
    pub(crate) passphrase_fd: Option<i32>,
    /// Unlock with the 32-byte key in FILE (raw, or 64 hexadecimal digits).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Open the snapshot even if it is older than this device last saw it, or a different one.
    #[arg(long, global = true)]
    pub(crate) accept_rollback: bool,
    /// Refuse to run if this device can't keep notes on the snapshot, without which an old copy in
    /// its place goes unnoticed; default: $STRONGHOLD_REQUIRE_ROLLBACK_NOTES.
    #[arg(long, global = true)]
    pub(crate) require_rollback_notes: bool,
    /// Allow a file made elsewhere to exceed the usual size, and its passphrase the usual memory
    /// and time.
    #[arg(long, global = true)]
    pub(crate) allow_costly: bool,
    /// Wait up to SECONDS for another process that writes to the snapshot.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) lock_timeout: u32,
    /// Answer yes to every question on the terminal.
    #[arg(long, global = true)]
    pub(crate) yes: bool,
    /// Print one JSON object on one line (`serve` and `pair`: one line per event).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print only errors and warnings on stderr.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
}

/// Returns a path from the environment. An empty variable counts as unset.
pub(crate) fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns whether an environment variable is set to anything but empty, `0`, `no` or `false`.
fn is_on(name: &str) -> bool {
    std::env::var_os(name)
        .is_some_and(|value| !["", "0", "no", "false"].iter().any(|off| value.eq_ignore_ascii_case(off)))
}

impl Cli {
    /// Fills options that were not given from the environment.
    pub(crate) fn with_environment(mut self) -> Self {
        self.global.snapshot = self.global.snapshot.or_else(|| from_environment("STRONGHOLD_SNAPSHOT"));
        self.global.require_rollback_notes |= is_on("STRONGHOLD_REQUIRE_ROLLBACK_NOTES");
        self
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a new snapshot.
    Init {
        /// Name this device; default: the host's name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Write a secret from a prompt, stdin or a file, or generate one.
    Put(PutArgs),
    /// Print a secret's exact bytes (plus a newline on a terminal only).
    Get {
        /// Record to print, as CLIENT/VAULT/RECORD.
        location: String,
        /// Print an older revision, given by its id or the beginning of it.
        #[arg(long, value_name = "REV")]
        revision: Option<String>,
        /// Fail (exit 8) if the record is in conflict.
        #[arg(long)]
        strict: bool,
        /// Print control characters even on a terminal.
        #[arg(long)]
        raw: bool,
    },
    /// List records.
    List {
        /// Glob on locations, such as 'wallet/**'.
        selection: Option<String>,
        /// List only records whose current value PEER has received from here; PEER may be revoked.
        #[arg(long, value_name = "PEER")]
        shared_with: Option<String>,
    },
    /// Delete a record; its last values stay in its history.
    Remove {
        /// Record to delete, as CLIENT/VAULT/RECORD.
        location: String,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// List a record's revisions.
    History {
        /// Record to show, as CLIENT/VAULT/RECORD.
        location: String,
    },
    /// Write an old revision of a record again.
    Restore {
        /// Record to restore, as CLIENT/VAULT/RECORD.
        location: String,
        /// Restore this revision, given by its id or the beginning of it.
        #[arg(long, value_name = "REV")]
        revision: String,
    },
    /// Undo the last command; repeat to go further back.
    Undo {
        /// List the commands that can be undone, and change nothing.
        #[arg(long, conflicts_with = "dry_run")]
        list: bool,
        /// Name the records that would be written, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Redo the last command that was undone.
    Redo {
        /// Name the records that would be written, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove replaced values for good, from the history and from the reach of `undo`.
    Purge {
        /// Glob on locations.
        #[arg(required_unless_present = "all")]
        selection: Option<String>,
        /// Purge all records.
        #[arg(long, conflicts_with = "selection")]
        all: bool,
        /// Name the records whose values would be removed, and change nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        renewal: Renewal,
    },
    /// List records in conflict: their heads have different values.
    Conflicts {
        /// Glob on locations.
        selection: Option<String>,
    },
    /// End a conflict; the other values stay in the history.
    Resolve {
        /// Record to resolve, as CLIENT/VAULT/RECORD.
        location: String,
        /// Keep the value of this revision.
        #[arg(long, value_name = "REVISION")]
        keep: String,
    },
    /// Merge another snapshot into this one.
    Merge(MergeArgs),
    /// Import another program's export.
    Import(ImportArgs),
    /// Export a selection as a sealed snapshot of its own.
    Export {
        /// Glob on locations; default: everything.
        selection: Option<String>,
        /// Write the export to FILE, which must not exist.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// Seal it with the passphrase in the first line of FILE; default: ask for one.
        #[arg(long, value_name = "FILE", conflicts_with = "output_key_file")]
        output_passphrase_file: Option<PathBuf>,
        /// Seal it with the 32-byte key in FILE.
        #[arg(long, value_name = "FILE")]
        output_key_file: Option<PathBuf>,
    },
    /// Pair with another device: show a code and wait, or join with the code that it shows.
    Pair(PairArgs),
    /// List paired devices and what they may do here.
    Peers {
        #[command(subcommand)]
        action: Option<PeersAction>,
    },
    /// Rename this device. Devices that are already paired keep showing its old name.
    Rename {
        /// New name, which other devices see at the next pairing.
        name: String,
    },
    /// Show this device's id and name.
    Identity {
        /// Give this device a new identity, as a copy of another device's snapshot needs. Records
        /// and their histories stay; paired devices are revoked and have to be paired again.
        #[arg(long)]
        renew: bool,
    },
    /// Allow a paired device to do something here.
    Grant(GrantArgs),
    /// Withdraw a paired device's rules: all, by operation, by location or by number.
    Deny(DenyArgs),
    /// Unpair a device and remove its rules. It keeps the values that it received.
    Revoke {
        /// Device's name here, or the beginning of its id.
        peer: String,
    },
    /// Answer requests of paired devices.
    Serve(ServeArgs),
    /// Import everything from another device into a new snapshot.
    Clone {
        /// Paired device's name here, or the beginning of its id.
        #[arg(required_unless_present = "join", conflicts_with = "join")]
        peer: Option<String>,
        /// Pair first, with the code that `pair --grant import` shows on the other device. Without
        /// ADDR, search the network.
        #[arg(long, value_name = "ADDR", num_args = 0..=1)]
        join: Option<Option<String>>,
        /// Name the other device here.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        grants: Grants,
        #[command(flatten)]
        at: At,
        /// Import only matching locations; may be repeated.
        #[arg(long, value_name = "GLOB")]
        only: Vec<String>,
    },
    /// List what a paired device holds.
    Browse {
        /// Device's name here, or the beginning of its id.
        peer: String,
        /// Glob on locations.
        selection: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Take single records from a paired device.
    Fetch {
        /// Device's name here, or the beginning of its id.
        peer: String,
        /// Records to take, each as CLIENT/VAULT/RECORD.
        #[arg(required_unless_present = "pick")]
        locations: Vec<String>,
        /// List what the device holds, and choose on the terminal.
        #[arg(long, conflicts_with = "locations")]
        pick: bool,
        #[command(flatten)]
        at: At,
    },
    /// Synchronise with a paired device, as far as the rules of both devices allow.
    Sync(SyncArgs),
    /// Show the log of peers' requests and this device's own, with their results.
    Log,
    /// Check that everything in the snapshot can be read.
    Verify,
    /// Replace, add, remove or list the passphrases and keys that open the snapshot.
    Passphrase(PassphraseArgs),
    /// Check the snapshot's surroundings: permissions, leftover files, locked memory.
    Doctor,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersAction {
    /// Rename a paired device here.
    Rename {
        /// Device's name here, or the beginning of its id.
        peer: String,
        /// New name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Record to write, as CLIENT/VAULT/RECORD.
    #[arg(required_unless_present = "generate")]
    location: Option<String>,
    /// Read the value from FILE; `-` is stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    pub(crate) file: Option<PathBuf>,
    /// Generate LEN letters, digits, `-` and `_` (6 bits each; default: 24), without printing them.
    #[arg(long, value_name = "LEN", num_args = 0..=1, default_missing_value = "24")]
    generate: Option<String>,
    /// Write the value even if it is empty.
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Write it even if its name looks like that of another record.
    #[arg(long)]
    pub(crate) allow_lookalike: bool,
}

impl PutArgs {
    /// Returns the record, and the length of the value to generate for it. An argument of
    /// `--generate` that is not a number is the record.
    ///
    /// # Errors
    /// Describes the missing record or the invalid length.
    pub(crate) fn record_and_length(&self) -> Result<(&str, Option<u16>), String> {
        let length = |text: &str| {
            let range = 1..=MAX_GENERATED;
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("--generate {text}: a length is a number from 1 to {MAX_GENERATED}"))
        };
        match (&self.location, &self.generate) {
            (Some(location), None) => Ok((location, None)),
            (Some(location), Some(text)) => Ok((location, Some(length(text)?))),
            (None, Some(text)) if text.parse::<u64>().is_err() => Ok((text, Some(GENERATED))),
            (None, _) => Err("no record is named".into()),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// File to import; `-` is stdin.
    pub(crate) file: PathBuf,
    /// Format of the file.
    #[arg(long)]
    pub(crate) format: Format,
    /// Place the entries in CLIENT.
    #[arg(long, value_name = "CLIENT", default_value = "imported")]
    pub(crate) into: String,
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Replace values that were edited here since the last import.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Bring back records that were removed here.
    #[arg(long)]
    pub(crate) revive: bool,
    /// Take entries even if their names look like others.
    #[arg(long)]
    pub(crate) allow_lookalike: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Device's name here, or the beginning of its id.
    pub(crate) peer: String,
    /// Synchronise only matching locations; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Receive only.
    #[arg(long)]
    pub(crate) pull: bool,
    /// Send only (with --pull: both ways, and fail if either is not permitted).
    #[arg(long)]
    pub(crate) push: bool,
    /// Also take changes that no rule here permits, after asking (--yes: without asking).
    #[arg(long)]
    pub(crate) take: bool,
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on even if that deletes or empties many records, here or there.
    #[arg(long)]
    pub(crate) confirm_deletions: bool,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// Add a passphrase or key, and keep the one in use.
    #[arg(long)]
    pub(crate) add: bool,
    /// Remove the passphrase or key with number SLOT.
    #[arg(long, value_name = "SLOT", conflicts_with_all = ["add", "label", "new_passphrase_file", "new_key_file", "calibrate"])]
    pub(crate) remove: Option<u16>,
    /// List passphrases and keys with their numbers, and change nothing.
    #[arg(long, conflicts_with_all = ["add", "remove", "label", "new_passphrase_file", "new_key_file", "calibrate"])]
    pub(crate) list: bool,
    /// Label the new one; anyone who has the file can read the label.
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// Read the new passphrase from the first line of FILE; default: ask for one.
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Use the 32-byte key in FILE instead of a new passphrase.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// Make one try of the new passphrase take about TIME on this machine, such as 1s; default: 64
    /// MiB, 3 passes.
    #[arg(long, value_name = "TIME", conflicts_with = "new_key_file")]
    pub(crate) calibrate: Option<humantime::Duration>,
    #[command(flatten)]
    pub(crate) renewal: Renewal,
}

/// Options for the snapshot's new master key, which keeps an old copy and its passphrase from
/// opening later versions.
#[derive(Debug, Default, Args)]
pub(crate) struct Renewal {
    /// Read another passphrase of the snapshot, so that its slot can be resealed; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) also_passphrase_file: Vec<PathBuf>,
    /// Read another key of the snapshot, so that its slot can be resealed; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) also_key_file: Vec<PathBuf>,
    /// Keep the master key: an old copy and its passphrase or key then open later versions too.
    #[arg(long, conflicts_with_all = ["also_passphrase_file", "also_key_file"])]
    pub(crate) keep_master_key: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Snapshot to merge from.
    pub(crate) file: PathBuf,
    /// Merge only matching locations of the other snapshot; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Rename a client or vault on arrival; may be repeated.
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) map: Vec<String>,
    /// Choose what happens to conflicts.
    #[arg(long, default_value = "keep-both")]
    pub(crate) on_conflict: Conflict,
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on even if that deletes many records.
    #[arg(long)]
    pub(crate) confirm_deletions: bool,
    /// Read the other snapshot's passphrase from the first line of FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "other_key_file")]
    pub(crate) other_passphrase_file: Option<PathBuf>,
    /// Unlock the other snapshot with the 32-byte key in FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) other_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Listen on ADDR, unless a service manager hands over a socket.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: String,
    /// Stop after one session.
    #[arg(long)]
    pub(crate) once: bool,
    /// Do not announce this device to its paired devices on the network.
    #[arg(long)]
    pub(crate) no_announce: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// Listen on ADDR for the other device; default: 0.0.0.0:4747, or any port if that is taken.
    #[arg(long, value_name = "ADDR", conflicts_with = "join")]
    pub(crate) listen: Option<String>,
    /// Join the device at ADDR, with the code that it shows. Without ADDR, search the network.
    #[arg(long, value_name = "ADDR", num_args = 0..=1)]
    pub(crate) join: Option<Option<String>>,
    /// Name the other device here; default: the name it gives itself.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) grants: Grants,
}

/// Rules for the device being paired.
#[derive(Debug, Default, Args)]
pub(crate) struct Grants {
    /// Allow the other device OPERATION here; may be repeated.
    #[arg(long, value_name = "OPERATION", num_args = 1.., value_delimiter = ',')]
    pub(crate) grant: Vec<Operation>,
    /// Limit --grant to matching locations; may be repeated.
    #[arg(long, value_name = "GLOB", requires = "grant")]
    pub(crate) select: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// Device's name here, or the beginning of its id.
    pub(crate) peer: String,
    /// One or more of import, browse, pull, push and delete.
    #[arg(required = true, value_name = "OPERATION")]
    pub(crate) operations: Vec<Operation>,
    /// Grant on matching locations; may be repeated.
    #[arg(long, value_name = "GLOB", required = true)]
    pub(crate) select: Vec<String>,
    /// Ask on the terminal of `serve` at each request.
    #[arg(long)]
    pub(crate) ask: bool,
    /// End the grant at TIME: a time span such as 30days, a day such as 2030-01-31, or a time such
    /// as 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// Replace older rules of the device for these operations.
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    /// Device's name here, or the beginning of its id.
    pub(crate) peer: String,
    /// One or more of import, browse, pull, push and delete; default: all.
    #[arg(value_name = "OPERATION")]
    pub(crate) operations: Vec<Operation>,
    /// Withdraw on matching locations; may be repeated; default: everywhere.
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Withdraw only from rule NUMBER, as `peers` shows it.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rule: Option<u64>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct At {
    /// Dial the device at ADDR; default: its last address, else search the network.
    #[arg(long, value_name = "ADDR")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Conflict {
    KeepBoth,
    KeepLocal,
    TakeOther,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// Table that KeePassXC exports: Group, Title, Username, Password, URL, Notes, TOTP.
    Csv,
}

/// Default and maximum length of a generated value.
const GENERATED: u16 = 24;
const MAX_GENERATED: u16 = 4096;

/// Default address to listen on.
pub(crate) const DEFAULT_LISTEN: &str = "0.0.0.0:4747";
