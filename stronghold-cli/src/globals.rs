//! The options that every command takes, from the command line and the environment.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
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
    /// Ask for the passphrase even if an agent holds the key; default: $STRONGHOLD_NO_AGENT.
    #[arg(long, global = true)]
    pub(crate) no_agent: bool,
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
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Print one JSON object on one line (`serve` and `pair`: one line per event).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Name every record, not only the first twenty.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Print only errors and warnings on stderr.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// Returns a path from the environment. An empty variable counts as unset.
pub(crate) fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns whether an environment variable is set to anything but empty, `0`, `no` or `false`.
pub(crate) fn is_on(name: &str) -> bool {
    std::env::var_os(name)
        .is_some_and(|value| !["", "0", "no", "false"].iter().any(|off| value.eq_ignore_ascii_case(off)))
}
