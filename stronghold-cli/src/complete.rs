//! Completes the command line for shells: commands, options, and the names of records while an
//! agent holds the snapshot's key. Nobody is asked for a passphrase while typing.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use clap::{Command, Parser};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use stronghold_sync::{Selection, escape_untrusted};

use crate::args::Cli;
use crate::config::Config;
use crate::context::Context;
use crate::environment::COMPLETION;
use crate::help;

/// Arguments that name records of the snapshot.
const NAMES: [&str; 6] = ["location", "locations", "selection", "title", "from", "to"];
/// Commands whose arguments name records of another device.
const REMOTE: [&str; 2] = ["browse", "fetch"];

/// Answers a shell that asks for completions, and ends the process then.
pub(crate) fn answer() {
    CompleteEnv::with_factory(|| with_names(help::command())).var(COMPLETION).complete();
}

/// Completes the arguments that name records.
fn with_names(command: Command) -> Command {
    command.mut_subcommands(|command| match REMOTE.contains(&command.get_name()) {
        true => command,
        false => command.mut_args(|arg| match NAMES.contains(&arg.get_id().as_str()) {
            true => arg.add(ArgValueCompleter::new(names)),
            false => arg,
        }),
    })
}

/// Returns the names of records that continue what is typed, up to the next slash.
fn names(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let records = records().unwrap_or_default();
    let found = next(records.iter().map(String::as_str), typed);
    found.into_iter().map(CompletionCandidate::new).collect()
}

/// Returns the beginnings of names that continue what is typed, up to the next slash. A name that
/// would drive the terminal is none of them.
fn next<'a>(names: impl Iterator<Item = &'a str>, typed: &str) -> BTreeSet<&'a str> {
    let continued = names.filter_map(|name| {
        let rest = name.strip_prefix(typed)?;
        let end = rest.find('/').map_or(name.len(), |at| typed.len() + at + 1);
        Some(&name[..end])
    });
    continued.filter(|name| escape_untrusted(name) == **name).collect()
}

/// Returns the names of all records, or `None` if no agent holds the key.
fn records() -> Option<Vec<String>> {
    let line = ["stronghold".into(), "list".into(), "--quiet".into()].into_iter().chain(snapshot());
    let (mut global, config) = (Cli::try_parse_from(line).ok()?.global, Config::read().ok()?);
    global.resolve(&config);
    let home = Context::new(global, config, "other").open_by_agent().ok()??;
    Some(home.stronghold().locations(&Selection::everything()).map(|at| at.to_string()).collect())
}

/// Returns the option that names the snapshot on the line that is typed.
fn snapshot() -> impl Iterator<Item = OsString> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let pair = words.windows(2).find(|pair| pair[0] == "--snapshot").map(<[OsString]>::to_vec);
    pair.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_part_by_part() {
        let names = ["a/b/c", "a/b/d/e", "a/x/y", "b/c/d", "b/\u{1b}[2J/d"];
        let next = |typed| next(names.into_iter(), typed).into_iter().collect::<Vec<_>>();
        for (typed, expected) in [
            ("", &["a/", "b/"][..]),
            ("a", &["a/"]),
            ("a/", &["a/b/", "a/x/"]),
            ("a/b/", &["a/b/c", "a/b/d/"]),
            ("a/b/d/e", &["a/b/d/e"]),
            ("b/", &["b/c/"]),
            ("c", &[]),
        ] {
            assert_eq!(next(typed), expected, "{typed}");
        }
    }

    #[test]
    fn arguments_that_name_records_are_completed() {
        let command = with_names(help::command());
        let completed = |name: &str| {
            let command = command.find_subcommand(name).unwrap();
            command.get_arguments().any(|arg| arg.get::<ArgValueCompleter>().is_some())
        };
        for name in ["get", "show", "edit", "move", "remove", "list", "history", "totp", "qr", "purge"] {
            assert!(completed(name), "{name}");
        }
        for name in ["fetch", "browse", "init", "sync"] {
            assert!(!completed(name), "{name}");
        }
    }
}
