//! Defines the command line. No secret, passphrase or pairing code is ever an argument.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use crate::address::to_dial;
use crate::clock::length;
use crate::commands::agent::AgentArgs;
use crate::commands::edit::EditArgs;
use crate::commands::export::ExportArgs;
use crate::commands::get::GetArgs;
use crate::commands::import::ImportArgs;
use crate::commands::list::ListArgs;
use crate::commands::mailbox::MailboxAction;
use crate::commands::merge::MergeArgs;
use crate::commands::pair::Grants;
use crate::commands::pair::PairArgs;
use crate::commands::passphrase::PassphraseArgs;
use crate::commands::passphrase::Renewal;
use crate::commands::peers::DenyArgs;
use crate::commands::peers::GrantArgs;
use crate::commands::peers::PeersAction;
use crate::commands::put::PutArgs;
use crate::commands::qr::QrArgs;
use crate::commands::reference::Reference;
use crate::commands::relocate::RelocateArgs;
use crate::commands::remote::At;
use crate::commands::remove::RemoveArgs;
use crate::commands::resolve::ResolveArgs;
use crate::commands::run::RunArgs;
use crate::commands::serve::ServeArgs;
use crate::commands::show::ShowArgs;
use crate::commands::ssh_agent::SshAgentArgs;
use crate::commands::sync::SyncArgs;
use crate::commands::totp::TotpArgs;
use crate::commands::unlock::UnlockArgs;
use crate::globals::Global;
use clap::{Parser, Subcommand};

/// Version, followed by the commit where the build names one: packages that `cargo xtask dist`
/// makes do. Read at compile time, so that a change of it alone compiles this crate anew.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("STRONGHOLD_COMMIT").filter(|commit| !commit.is_empty());
    commit.map_or(version.to_owned(), |commit| format!("{version} ({commit})"))
});

/// A secrets vault that you carry across your devices, without a server.
#[derive(Debug, Parser)]
#[command(name = "stronghold", version = VERSION.as_str(), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a new snapshot.
    #[command(
        after_help = "Examples:\n  stronghold init\n  stronghold init --name laptop --key-file /etc/app/key"
    )]
    Init {
        /// Name this device; default: the host's name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Write a secret from a prompt, stdin or a file, or generate one.
    #[command(
        after_help = "Examples:\n  stronghold put work/ci/token --generate=32\n  stronghold put wallet/web/shop --fields username,password,url"
    )]
    Put(PutArgs),
    /// Print a secret's exact bytes (plus a newline on a terminal only).
    #[command(
        after_help = "Examples:\n  stronghold get wallet/web/mail\n  stronghold get work/ssh/id --output id"
    )]
    Get(GetArgs),
    /// Show a login as one thing: each record below CLIENT/VAULT/TITLE is a field.
    #[command(
        after_help = "Examples:\n  stronghold show imported/mail/example.com\n  stronghold show imported/mail/example.com --reveal"
    )]
    Show(ShowArgs),
    /// Change a secret in $VISUAL or $EDITOR, on a file that is in memory only.
    #[command(
        after_help = "Examples:\n  stronghold edit wallet/notes/bank\n  stronghold edit work/ci/config"
    )]
    Edit(EditArgs),
    /// Move records to other names, with their histories.
    #[command(visible_alias = "mv")]
    #[command(
        after_help = "Examples:\n  stronghold move wallet/web/mail wallet/web/post\n  stronghold move wallet/old archive/"
    )]
    Move(RelocateArgs),
    /// Copy records to other names, with their histories.
    #[command(visible_alias = "cp")]
    #[command(
        after_help = "Examples:\n  stronghold copy wallet/web/mail work/web/mail\n  stronghold copy wallet/web work/ --dry-run"
    )]
    Copy(RelocateArgs),
    /// Run a program with secrets in its environment.
    #[command(
        after_help = "Examples:\n  stronghold run --env TOKEN=work/ci/token -- ./deploy\n  stronghold run --env PGPASSWORD=work/db/main -- psql"
    )]
    Run(RunArgs),
    /// Print a template with each {{ stronghold:LOCATION }} replaced by the record's value.
    #[command(after_help = "Examples:\n  stronghold inject config.template\n  stronghold inject -")]
    Inject {
        /// Template; `-` is stdin.
        #[arg(value_name = "FILE", default_value = "-")]
        template: PathBuf,
    },
    /// Print the one-time password of this moment.
    #[command(
        after_help = "Examples:\n  stronghold totp imported/mail/example.com\n  stronghold totp wallet/web/mail --json"
    )]
    Totp(TotpArgs),
    /// Show a secret as a QR code, for a phone's camera.
    #[command(after_help = "Examples:\n  stronghold qr home/wifi/guests\n  stronghold qr wallet/web/mail")]
    Qr(QrArgs),
    /// Sign for SSH clients with keys that are records.
    #[command(
        after_help = "Examples:\n  stronghold ssh-agent --select 'work/ssh/*' --confirm\n  stronghold ssh-agent -- git push"
    )]
    SshAgent(SshAgentArgs),
    /// List records.
    #[command(visible_alias = "ls")]
    #[command(after_help = "Examples:\n  stronghold list 'wallet/**'\n  stronghold list --shared-with phone")]
    List(ListArgs),
    /// List the records whose names contain all of these words.
    #[command(after_help = "Examples:\n  stronghold find mail\n  stronghold find work token")]
    Find {
        /// Parts of names, in any order and case.
        #[arg(required = true, value_name = "WORD")]
        words: Vec<String>,
    },
    /// Delete records; their last values stay in their histories.
    #[command(visible_alias = "rm")]
    #[command(
        after_help = "Examples:\n  stronghold remove wallet/web/mail\n  stronghold remove 'wallet/old/*' --dry-run"
    )]
    Remove(RemoveArgs),
    /// List a record's revisions.
    #[command(
        after_help = "Examples:\n  stronghold history wallet/web/mail\n  stronghold history wallet/web/mail --json"
    )]
    History {
        /// Record to show, as CLIENT/VAULT/RECORD.
        location: String,
    },
    /// Write an old revision of a record again.
    #[command(
        after_help = "Examples:\n  stronghold restore wallet/web/mail --revision 4f96\n  stronghold restore work/ci/token --revision 81a4 --json"
    )]
    Restore {
        /// Record to restore, as CLIENT/VAULT/RECORD.
        location: String,
        /// Restore this revision, given by its id or the beginning of it.
        #[arg(long, value_name = "REV")]
        revision: String,
    },
    /// Undo the last command; repeat to go further back.
    #[command(after_help = "Examples:\n  stronghold undo\n  stronghold undo --list")]
    Undo {
        /// List the commands that can be undone, and change nothing.
        #[arg(long, conflicts_with = "dry_run")]
        list: bool,
        /// Name the records that would be written, and change nothing.
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Redo the last command that was undone.
    #[command(after_help = "Examples:\n  stronghold redo\n  stronghold redo --dry-run")]
    Redo {
        /// Name the records that would be written, and change nothing.
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Remove replaced values for good, from the history and from the reach of `undo`.
    #[command(
        after_help = "Examples:\n  stronghold purge 'wallet/**' --dry-run\n  stronghold purge --all --yes"
    )]
    Purge {
        /// Glob on locations.
        #[arg(required_unless_present = "all")]
        selection: Option<String>,
        /// Purge all records.
        #[arg(long, conflicts_with = "selection")]
        all: bool,
        /// Name the records whose values would be removed, and change nothing.
        #[arg(short = 'n', long)]
        dry_run: bool,
        #[command(flatten)]
        renewal: Renewal,
    },
    /// List records in conflict: their heads have different values.
    #[command(after_help = "Examples:\n  stronghold conflicts\n  stronghold conflicts 'wallet/**'")]
    Conflicts {
        /// Glob on locations.
        selection: Option<String>,
    },
    /// End conflicts: ask about each, or keep a value by a rule. The others stay in the history.
    #[command(after_help = "Examples:\n  stronghold resolve\n  stronghold resolve --all --keep newest")]
    Resolve(ResolveArgs),
    /// Merge another snapshot into this one.
    #[command(
        after_help = "Examples:\n  stronghold merge other.stronghold --dry-run\n  stronghold merge backup.stronghold --select 'wallet/**'"
    )]
    Merge(MergeArgs),
    /// Import another program's export.
    #[command(
        after_help = "Examples:\n  stronghold import passwords.csv --dry-run\n  stronghold import bitwarden.json --into wallet"
    )]
    Import(ImportArgs),
    /// Export a selection as a sealed snapshot of its own, or for other programs.
    #[command(
        after_help = "Examples:\n  stronghold export 'wallet/**' --output wallet.stronghold\n  stronghold export --format kdbx --output all.kdbx"
    )]
    Export(ExportArgs),
    /// Hold the snapshot's key for a while, so that commands do not ask for the passphrase.
    #[command(after_help = "Examples:\n  stronghold unlock\n  stronghold unlock --for 15m")]
    Unlock(UnlockArgs),
    /// Wipe the key that `unlock` let an agent hold.
    #[command(after_help = "Examples:\n  stronghold lock\n  stronghold lock --all")]
    Lock {
        /// Lock every snapshot of this user.
        #[arg(long)]
        all: bool,
    },
    /// Hold the value on stdin in the clipboard. `get --clip` starts this.
    #[command(hide = true)]
    HoldClipboard {
        #[arg(long = "for", value_name = "TIME", value_parser = length)]
        time: Duration,
    },
    /// Run the agent that `unlock` gives the key to; `unlock` starts one if none runs.
    #[command(after_help = "Examples:\n  stronghold agent\n  stronghold agent --serve")]
    Agent(AgentArgs),
    /// Show the settings in force, and where each comes from.
    #[command(after_help = "Examples:\n  stronghold config\n  stronghold config --json")]
    Config,
    /// Pair with another device: show a code and wait, or join with the code that it shows.
    #[command(after_help = "Examples:\n  stronghold pair\n  stronghold pair --join")]
    Pair(PairArgs),
    /// List paired devices and what they may do here.
    #[command(after_help = "Examples:\n  stronghold peers\n  stronghold peers rename phone tablet")]
    Peers {
        #[command(subcommand)]
        action: Option<PeersAction>,
    },
    /// Exchange with a paired device that is never on at the same time, through a folder.
    #[command(after_help = "Examples:\n  stronghold mailbox add phone ~/Sync\n  stronghold mailbox list")]
    Mailbox {
        #[command(subcommand)]
        action: Option<MailboxAction>,
    },
    /// Rename this device. Devices that are already paired keep showing its old name.
    #[command(after_help = "Examples:\n  stronghold rename laptop\n  stronghold rename 'old laptop'")]
    Rename {
        /// New name, which other devices see at the next pairing.
        name: String,
    },
    /// Show this device's id and name.
    #[command(after_help = "Examples:\n  stronghold identity\n  stronghold identity --renew")]
    Identity {
        /// Give this device a new identity, as a copy of another device's snapshot needs. Records
        /// and their histories stay; paired devices are revoked and have to be paired again.
        #[arg(long)]
        renew: bool,
    },
    /// Allow a paired device to do something here.
    #[command(
        after_help = "Examples:\n  stronghold grant phone pull push --select 'wallet/**'\n  stronghold grant phone pull --select '**' --expires 30days"
    )]
    Grant(GrantArgs),
    /// Withdraw a paired device's rules: all, by operation, by location or by number.
    #[command(after_help = "Examples:\n  stronghold deny phone\n  stronghold deny phone push")]
    Deny(DenyArgs),
    /// Unpair a device and remove its rules. It keeps the values that it received.
    #[command(after_help = "Examples:\n  stronghold revoke phone\n  stronghold revoke 4f96")]
    Revoke {
        /// Device's name here, or the beginning of its id.
        peer: String,
    },
    /// Answer requests of paired devices.
    #[command(after_help = "Examples:\n  stronghold serve\n  stronghold serve --json")]
    Serve(ServeArgs),
    /// Import everything from another device into a new snapshot.
    #[command(after_help = "Examples:\n  stronghold clone --join\n  stronghold clone laptop")]
    Clone {
        /// Paired device's name here, or the beginning of its id.
        #[arg(required_unless_present = "join", conflicts_with = "join")]
        peer: Option<String>,
        /// Pair first, with the code that `pair --grant import` shows on the other device. Without
        /// ADDR, search the network.
        #[arg(long, value_name = "ADDR", num_args = 0..=1, value_parser = to_dial)]
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
    #[command(after_help = "Examples:\n  stronghold browse laptop\n  stronghold browse laptop 'wallet/**'")]
    Browse {
        /// Device's name here, or the beginning of its id.
        peer: String,
        /// Glob on locations.
        selection: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Take single records from a paired device.
    #[command(
        after_help = "Examples:\n  stronghold fetch laptop wallet/web/mail\n  stronghold fetch laptop --pick"
    )]
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
    #[command(after_help = "Examples:\n  stronghold sync\n  stronghold sync phone --dry-run")]
    Sync(SyncArgs),
    /// Show the log of peers' requests and this device's own, with their results.
    #[command(after_help = "Examples:\n  stronghold log\n  stronghold log --json")]
    Log,
    /// Check that everything in the snapshot can be read.
    #[command(after_help = "Examples:\n  stronghold verify\n  stronghold verify --json")]
    Verify,
    /// Replace, add, remove or list the passphrases and keys that open the snapshot.
    #[command(visible_alias = "passwd")]
    #[command(
        after_help = "Examples:\n  stronghold passphrase\n  stronghold passphrase --add --label 'recovery sheet'"
    )]
    Passphrase(PassphraseArgs),
    /// Check the snapshot's surroundings: permissions, leftover files, locked memory.
    #[command(visible_alias = "status")]
    #[command(after_help = "Examples:\n  stronghold doctor\n  stronghold doctor --json")]
    Doctor,
    #[command(flatten)]
    Reference(Reference),
}
