//! The command line, as DESIGN.md section 11 has it. No secret, passphrase or code is ever an argument.

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
    /// The snapshot file; default: that of STRONGHOLD_SNAPSHOT, else in the platform's data folder.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Read the passphrase from this file: its first line; default: that of STRONGHOLD_PASSPHRASE_FILE.
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["passphrase_fd", "key_file"])]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Read the passphrase from this open file descriptor: one line.
    #[arg(long, global = true, value_name = "FD", conflicts_with = "key_file")]
    pub(crate) passphrase_fd: Option<i32>,
    /// Unlock with the 32-byte key in this file (raw, or 64 hexadecimal digits).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Open the snapshot even if it is older than what this device saw of it last, or another one.
    #[arg(long, global = true)]
    pub(crate) accept_rollback: bool,
    /// Do nothing where this device can't remember what it saw of the snapshot: then an old copy in its place would go
    /// unnoticed; default: that of STRONGHOLD_REQUIRE_ROLLBACK_NOTES.
    #[arg(long, global = true)]
    pub(crate) require_rollback_notes: bool,
    /// Spend more than usual on a file that was not made here: its size, and the memory and time that its passphrase takes.
    #[arg(long, global = true)]
    pub(crate) allow_costly: bool,
    /// Wait so many seconds for another process that writes to the snapshot.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) lock_timeout: u32,
    /// Answer yes to what the command would ask on the terminal.
    #[arg(long, global = true)]
    pub(crate) yes: bool,
    /// Print one JSON object on one line (`serve` and `pair`: one line per event).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on stderr but errors.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
}

/// A path from the environment; a variable that is set but empty is not set.
pub(crate) fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Whether a variable of the environment is on: set, and not empty, `0`, `no` or `false`.
fn is_on(name: &str) -> bool {
    std::env::var_os(name)
        .is_some_and(|value| !["", "0", "no", "false"].iter().any(|off| value.eq_ignore_ascii_case(off)))
}

impl Cli {
    /// Takes from the environment what no option says.
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
        /// What this device is called; default: the host's name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Write a secret: from a prompt, stdin, a file, or generated.
    Put(PutArgs),
    /// Print a secret's exact bytes (with a newline on a terminal only).
    Get {
        /// CLIENT/VAULT/RECORD
        location: String,
        /// This revision of it, by id or the beginning of one.
        #[arg(long, value_name = "REV")]
        revision: Option<String>,
        /// Fail (exit 8) if the record is in conflict.
        #[arg(long)]
        strict: bool,
        /// Print it on a terminal even if it has control characters in it.
        #[arg(long)]
        raw: bool,
    },
    /// List records.
    List {
        /// A glob on locations, such as 'wallet/**'.
        selection: Option<String>,
        /// Only those of which this device has had the value from here, also one that was revoked since.
        #[arg(long, value_name = "PEER")]
        shared_with: Option<String>,
    },
    /// Delete a record; its last values stay in its history.
    Remove {
        /// CLIENT/VAULT/RECORD
        location: String,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// List a record's revisions.
    History {
        /// CLIENT/VAULT/RECORD
        location: String,
    },
    /// Write an old revision of a record again.
    Restore {
        /// CLIENT/VAULT/RECORD
        location: String,
        /// Which, by id or the beginning of one.
        #[arg(long, value_name = "REV")]
        revision: String,
    },
    /// Take back what the last command changed; again, the one before it.
    Undo {
        /// List the last commands that can be taken back, and change nothing.
        #[arg(long, conflicts_with = "dry_run")]
        list: bool,
        /// Name the records that would be written, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Do again what was last taken back.
    Redo {
        /// Name the records that would be written, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove replaced values for good, from the history and from what `undo` could bring back.
    Purge {
        /// A glob on locations.
        #[arg(required_unless_present = "all")]
        selection: Option<String>,
        /// Of all records.
        #[arg(long, conflicts_with = "selection")]
        all: bool,
        /// Name the records whose values would be removed, and change nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        renewal: Renewal,
    },
    /// List records whose heads say different things.
    Conflicts {
        /// A glob on locations.
        selection: Option<String>,
    },
    /// End a conflict; the other values stay in the history.
    Resolve {
        /// CLIENT/VAULT/RECORD
        location: String,
        /// The revision whose value stays.
        #[arg(long, value_name = "REVISION")]
        keep: String,
    },
    /// Merge another snapshot into this one.
    Merge(MergeArgs),
    /// Import from another program.
    Import(ImportArgs),
    /// Export a selection as a sealed snapshot of its own.
    Export {
        /// A glob on locations; default: everything.
        selection: Option<String>,
        /// Where to; nothing may be there yet.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// Seal it with the passphrase in this file, else one is asked for.
        #[arg(long, value_name = "FILE", conflicts_with = "output_key_file")]
        output_passphrase_file: Option<PathBuf>,
        /// Seal it with the 32-byte key in this file.
        #[arg(long, value_name = "FILE")]
        output_key_file: Option<PathBuf>,
    },
    /// Pair with another device: show a code and wait, or join with the code that the other shows.
    Pair(PairArgs),
    /// List paired devices and what they may do here.
    Peers {
        #[command(subcommand)]
        action: Option<PeersAction>,
    },
    /// Call this device by another name. Devices that it is paired with go on with the name that it has there.
    Rename {
        /// What other devices see at the next pairing.
        name: String,
    },
    /// Show this device's id and name.
    Identity {
        /// Give this device a new identity, as a copy of another device's snapshot needs one. Records and their histories
        /// stay; paired devices are revoked, and have to be paired anew.
        #[arg(long)]
        renew: bool,
    },
    /// Let a paired device do something here.
    Grant(GrantArgs),
    /// Take rules of a paired device back: all, by operation, by place or by number.
    Deny(DenyArgs),
    /// Remove a device's rules and its trust. What it had, it keeps.
    Revoke {
        /// Its name here, or the beginning of its device id.
        peer: String,
    },
    /// Answer paired devices.
    Serve(ServeArgs),
    /// Import everything from another device into a new snapshot.
    Clone {
        /// A device that is paired already.
        #[arg(required_unless_present = "join", conflicts_with = "join")]
        peer: Option<String>,
        /// Pair first, with the code that the other side's `pair --grant import` shows.
        /// Without ADDR the network is searched.
        #[arg(long, value_name = "ADDR", num_args = 0..=1)]
        join: Option<Option<String>>,
        /// What to call the other device here.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        grants: Grants,
        #[command(flatten)]
        at: At,
        /// Take only this.
        #[arg(long, value_name = "GLOB")]
        only: Vec<String>,
    },
    /// List what a paired device holds.
    Browse {
        /// Its name here, or the beginning of its device id.
        peer: String,
        /// A glob on locations.
        selection: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Take picked records from a paired device.
    Fetch {
        /// Its name here, or the beginning of its device id.
        peer: String,
        /// CLIENT/VAULT/RECORD, one or more.
        #[arg(required_unless_present = "pick")]
        locations: Vec<String>,
        /// List what the device holds, and choose on the terminal.
        #[arg(long, conflicts_with = "locations")]
        pick: bool,
        #[command(flatten)]
        at: At,
    },
    /// Synchronise with a paired device: each takes what it lacks, as far as the rules of both allow.
    Sync(SyncArgs),
    /// Show the log of what peers asked for and were answered.
    Log,
    /// Check that everything in the snapshot can be read.
    Verify,
    /// Change what opens the snapshot: replace the passphrase or key that is given, add one, remove one.
    Passphrase(PassphraseArgs),
    /// Check the snapshot's surroundings: permissions, left-overs, locked memory.
    Doctor,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersAction {
    /// Call a paired device by another name here.
    Rename {
        /// Its name here, or the beginning of its device id.
        peer: String,
        /// The new one.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// CLIENT/VAULT/RECORD
    #[arg(required_unless_present = "generate")]
    location: Option<String>,
    /// Read the value from this file; `-` is stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    pub(crate) file: Option<PathBuf>,
    /// Generate LEN letters, digits, `-` and `_` (6 bits each), 24 if nothing else is said; they are not printed.
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
    /// The record, and how long a value to generate for it. What follows `--generate` and is no number is the record.
    ///
    /// # Errors
    /// What is wrong with them.
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
    /// The file; `-` is stdin.
    pub(crate) file: PathBuf,
    /// What wrote the file.
    #[arg(long)]
    pub(crate) format: Format,
    /// The client that the entries land in.
    #[arg(long, value_name = "CLIENT", default_value = "imported")]
    pub(crate) into: String,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Let the table's values take the place of what was edited here since.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Bring back what was removed here.
    #[arg(long)]
    pub(crate) revive: bool,
    /// Take entries even if their names look like others.
    #[arg(long)]
    pub(crate) allow_lookalike: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Its name here, or the beginning of its device id.
    pub(crate) peer: String,
    /// A glob on locations; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Receive only.
    #[arg(long)]
    pub(crate) pull: bool,
    /// Give only (with --pull: both, and it is an error if either is not permitted).
    #[arg(long)]
    pub(crate) push: bool,
    /// Take also what no rule here lets the device write or delete, after a question that names it (--yes: without one).
    #[arg(long)]
    pub(crate) take: bool,
    /// Name what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on even if many records are deleted or emptied by it, here or there.
    #[arg(long)]
    pub(crate) confirm_deletions: bool,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// Add another one; the one that is given stays.
    #[arg(long)]
    pub(crate) add: bool,
    /// Remove the one with this number.
    #[arg(long, value_name = "SLOT", conflicts_with_all = ["add", "label", "new_passphrase_file", "new_key_file", "calibrate"])]
    pub(crate) remove: Option<u16>,
    /// List them with their numbers, and change nothing.
    #[arg(long, conflicts_with_all = ["add", "remove", "label", "new_passphrase_file", "new_key_file", "calibrate"])]
    pub(crate) list: bool,
    /// What to call the new one; whoever has the file can read it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// Read the new passphrase from this file, else it is asked for.
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// A 32-byte key in this file instead of a new passphrase.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// Let one try of the new passphrase take about so long on this machine, such as 1s; default: 64 MiB, 3 passes.
    #[arg(long, value_name = "TIME", conflicts_with = "new_key_file")]
    pub(crate) calibrate: Option<humantime::Duration>,
    #[command(flatten)]
    pub(crate) renewal: Renewal,
}

/// How the snapshot gets a new master key, so that an old copy and what opened it open nothing that comes later.
#[derive(Debug, Default, Args)]
pub(crate) struct Renewal {
    /// A further passphrase that opens the snapshot, so that its slot can be written anew; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) also_passphrase_file: Vec<PathBuf>,
    /// A further key that opens the snapshot, so that its slot can be written anew; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) also_key_file: Vec<PathBuf>,
    /// Keep the master key: whoever has an old copy and what opened it opens later ones too.
    #[arg(long, conflicts_with_all = ["also_passphrase_file", "also_key_file"])]
    pub(crate) keep_master_key: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The other snapshot.
    pub(crate) file: PathBuf,
    /// A glob on the other snapshot's locations; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Let a client or vault arrive under another name.
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) map: Vec<String>,
    /// What becomes of conflicts.
    #[arg(long, default_value = "keep-both")]
    pub(crate) on_conflict: Conflict,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on even if many records are deleted by it.
    #[arg(long)]
    pub(crate) confirm_deletions: bool,
    /// Read the other snapshot's passphrase from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "other_key_file")]
    pub(crate) other_passphrase_file: Option<PathBuf>,
    /// Unlock the other snapshot with the 32-byte key in this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) other_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; a socket that a service manager hands over comes first.
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
    /// Where to listen for the other device; default: 0.0.0.0:4747, or any port if that is taken.
    #[arg(long, value_name = "ADDR", conflicts_with = "join")]
    pub(crate) listen: Option<String>,
    /// Join the device that shows the code, at this address; without ADDR the network is searched.
    #[arg(long, value_name = "ADDR", num_args = 0..=1)]
    pub(crate) join: Option<Option<String>>,
    /// What to call the other device here; default: what it calls itself.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) grants: Grants,
}

/// Rules for the device that is being paired.
#[derive(Debug, Default, Args)]
pub(crate) struct Grants {
    /// Let the other device do this here; may be repeated.
    #[arg(long, value_name = "OPERATION", num_args = 1.., value_delimiter = ',')]
    pub(crate) grant: Vec<Operation>,
    /// On these locations (a glob; may be repeated).
    #[arg(long, value_name = "GLOB", requires = "grant")]
    pub(crate) select: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// Its name here, or the beginning of its device id.
    pub(crate) peer: String,
    /// import, browse, pull, push or delete; one or more.
    #[arg(required = true, value_name = "OPERATION")]
    pub(crate) operations: Vec<Operation>,
    /// On these locations (a glob; may be repeated).
    #[arg(long, value_name = "GLOB", required = true)]
    pub(crate) select: Vec<String>,
    /// Let a person decide, per request, on the terminal of `serve`.
    #[arg(long)]
    pub(crate) ask: bool,
    /// Until then: a time span such as 30days, a day such as 2030-01-31, or a time such as 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// Instead of what older rules let it do with these operations.
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    /// Its name here, or the beginning of its device id.
    pub(crate) peer: String,
    /// import, browse, pull, push or delete; default: all of them.
    #[arg(value_name = "OPERATION")]
    pub(crate) operations: Vec<Operation>,
    /// On these locations (a glob; may be repeated); default: everywhere.
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Only by the rule of this number, as `peers` shows it.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rule: Option<u64>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct At {
    /// Where the device is; default: where it was last, or where the network says that it is.
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
    /// The table that KeePassXC exports: Group, Title, Username, Password, URL, Notes, TOTP.
    Csv,
}

/// How long a generated value is, and how long it may be.
const GENERATED: u16 = 24;
const MAX_GENERATED: u16 = 4096;

/// Where this device listens if nothing else is said.
pub(crate) const DEFAULT_LISTEN: &str = "0.0.0.0:4747";
