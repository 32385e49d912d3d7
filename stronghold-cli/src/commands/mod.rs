//! Runs the commands, each with one or two calls into the crates.

pub(crate) mod agent;
mod browse;
mod changes;
mod clone;
mod completions;
mod config;
mod conflicts;
mod doctor;
pub(crate) mod edit;
pub(crate) mod export;
mod export_kdbx;
pub(crate) mod export_plain;
mod fetch;
mod find;
pub(crate) mod get;
mod history;
mod identity;
pub(crate) mod import;
mod init;
mod inject;
pub(crate) mod list;
mod log;
pub(crate) mod mailbox;
mod manual;
pub(crate) mod merge;
pub(crate) mod pair;
pub(crate) mod passphrase;
pub(crate) mod peers;
mod progress;
mod purge;
pub(crate) mod put;
pub(crate) mod qr;
pub(crate) mod reference;
#[cfg(feature = "iroh")]
pub(crate) mod relays;
pub(crate) mod relocate;
pub(crate) mod remote;
pub(crate) mod remove;
pub(crate) mod resolve;
mod restore;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod ssh_agent;
pub(crate) mod sync;
mod terminal_handler;
pub(crate) mod topic;
pub(crate) mod totp;
mod undo;
pub(crate) mod unlock;
mod verify;
mod walk;

use std::sync::Arc;

use clap::CommandFactory;

use crate::{
    args::{Cli, Command},
    config::Config,
    context::Context,
    error::Failure,
};

/// Runs one command.
pub(crate) fn run(mut cli: Cli, config: Config) -> Result<(), Failure> {
    let settings = cli.global.resolve(&config);
    let context = Context::new(cli.global, config, step_name(&cli.command));
    match cli.command {
        Command::Init { name } => init::init(&context, name),
        Command::Put(args) => put::put(&context, &args),
        Command::Get(args) => get::get(&context, &args),
        Command::Run(args) => run::run(&context, &args),
        Command::Inject { template } => inject::inject(&context, &template),
        Command::Totp(args) => totp::totp(&context, &args),
        Command::Qr(args) => qr::qr(&context, &args),
        Command::SshAgent(args) => ssh_agent::ssh_agent(&Arc::new(context), &args),
        Command::Edit(args) => edit::edit(&context, &args),
        Command::Show(args) => show::show(&context, &args),
        Command::Move(args) => relocate::relocate(&context, &args, relocate::Kind::Move),
        Command::Copy(args) => relocate::relocate(&context, &args, relocate::Kind::Copy),
        Command::List(args) => list::list(&context, &args),
        Command::Find { words } => find::find(&context, &words),
        Command::Remove(args) => remove::remove(&context, &args),
        Command::History { location } => history::history(&context, &location),
        Command::Conflicts { selection } => conflicts::conflicts(&context, selection.as_deref()),
        Command::Resolve(args) => resolve::resolve(&context, &args),
        Command::Restore { location, revision } => restore::restore(&context, &location, &revision),
        Command::Undo { list: true, .. } => undo::list(&context),
        Command::Undo { list: false, dry_run } => undo::undo(&context, dry_run),
        Command::Redo { dry_run } => undo::redo(&context, dry_run),
        Command::Purge { selection, all: _, dry_run, renewal } => {
            purge::purge(&context, selection.as_deref(), dry_run, &renewal)
        }
        Command::Verify => verify::verify(&context),
        Command::Passphrase(args) => passphrase::passphrase(&context, &args),
        Command::Doctor => doctor::doctor(&context),
        Command::Merge(args) => merge::merge(&context, &args),
        Command::Import(args) => import::import(&context, &args),
        Command::Export(args) => export::export(&context, &args),
        Command::Unlock(args) => unlock::unlock(&context, &args),
        Command::Lock { all } => unlock::lock(&context, all),
        Command::Config => config::config(&context, settings),
        Command::HoldClipboard { time } => get::hold_clipboard(time),
        Command::Agent(args) => agent::agent(&Arc::new(context), args),
        Command::Peers { action } => peers::peers(&context, action.as_ref()),
        Command::Mailbox { action } => mailbox::mailbox(&context, action.as_ref()),
        Command::Rename { name } => peers::rename_this(&context, &name),
        Command::Identity { renew } => identity::identity(&context, renew),
        Command::Grant(args) => peers::grant(&context, &args),
        Command::Deny(args) => peers::deny(&context, &args),
        Command::Revoke { peer } => peers::revoke(&context, &peer),
        Command::Log => log::log(&context),
        Command::Pair(args) => pair::pair(&context, &args),
        Command::Serve(args) => serve::serve(&context, &args),
        Command::Clone { peer, join, name, grants, at, only } => {
            clone::clone(&context, peer, join, name, &grants, &at, &only)
        }
        Command::Browse { peer, selection, at } => browse::browse(&context, &peer, selection.as_deref(), &at),
        Command::Fetch { peer, locations, pick, at } => fetch::fetch(&context, &peer, &locations, pick, &at),
        Command::Sync(args) => sync::sync(&context, &args),
        Command::Reference(about) => reference::reference(&context, &about, Cli::command()),
    }
}

/// Returns the command's name in the list of undo steps.
fn step_name(command: &Command) -> &'static str {
    match command {
        Command::Put { .. } => "put",
        Command::Edit(_) => "edit",
        Command::Move(_) => "move",
        Command::Copy(_) => "copy",
        Command::Remove(_) => "remove",
        Command::Resolve(_) => "resolve",
        Command::Restore { .. } => "restore",
        Command::Merge(_) => "merge",
        Command::Import { .. } => "import",
        Command::Grant(_) => "grant",
        Command::Deny(_) => "deny",
        Command::Revoke { .. } => "revoke",
        Command::Pair(_) => "pair",
        Command::Clone { .. } => "clone",
        Command::Fetch { .. } => "fetch",
        Command::Sync { .. } => "sync",
        Command::Serve(_) => "serve",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// A command's changes form a step under this name, which `undo` shows.
    #[test]
    fn each_command_that_changes_records_has_its_word_among_the_steps() {
        for (line, expected) in [
            ("put a/b/c", "put"),
            ("edit a/b/c", "edit"),
            ("move a/b/c a/b/d", "move"),
            ("copy a/b/c a/b/d", "copy"),
            ("remove a/b/c", "remove"),
            ("resolve a/b/c --keep abcd", "resolve"),
            ("restore a/b/c --revision abcd", "restore"),
            ("merge other", "merge"),
            ("import --format csv table", "import"),
            ("grant b pull --select **", "grant"),
            ("deny b", "deny"),
            ("revoke b", "revoke"),
            ("pair", "pair"),
            ("clone b", "clone"),
            ("fetch b a/b/c", "fetch"),
            ("sync b", "sync"),
            ("serve", "serve"),
            ("list", "other"),
        ] {
            let parsed = crate::args::Cli::try_parse_from(["stronghold"].into_iter().chain(line.split(' ')));
            match parsed {
                Ok(parsed) => assert_eq!(step_name(&parsed.command), expected, "{line}"),
                Err(error) => panic!("{line}: {error}"),
            }
        }
    }

    /// Each command's help ends with two examples, and each of them can be typed as it stands.
    #[test]
    fn the_examples_in_help_are_command_lines() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().skip(1).map(str::trim).collect();
            assert!(help.starts_with("Examples:\n") && examples.len() == 2, "{name}: {help}");
            for example in examples {
                // Quotes enclose whole words here; blanks within them are no separators.
                let quoted = example.split('\'').enumerate().flat_map(|(at, part)| match at % 2 {
                    0 => part.split_whitespace().collect(),
                    _ => vec![part],
                });
                let words: Vec<&str> = quoted.collect();
                assert_eq!(words[..2], ["stronghold", name], "{example}");
                Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{example}: {error}"));
            }
        }
    }
}
