//! The options that every command takes, from the command line and the environment.

use std::path::PathBuf;

use clap::Args;

use crate::config::Config;
use crate::environment::{from_environment, is_on};
use crate::error::path_text;

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
    /// Wait up to SECONDS for another process that writes to the snapshot; default: 10.
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) lock_timeout: Option<u32>,
    /// Answer yes to every question on the terminal.
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Print one JSON object on one line (`serve` and `pair`: one line per event; `sync --all`: per
    /// device).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Name every record, not only the first twenty.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Print only errors and warnings on stderr.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Option,
    Environment,
    File,
    Default,
}

/// A setting in force.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Name in the configuration file.
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

impl Global {
    /// Seconds to wait for another writer, unless said otherwise.
    const LOCK_TIMEOUT: u32 = 10;

    /// Returns how many seconds to wait for another writer.
    pub(crate) fn lock_timeout(&self) -> u32 {
        self.lock_timeout.unwrap_or(Self::LOCK_TIMEOUT)
    }

    /// Fills options that were not given from the environment, else from the configuration file.
    /// Returns the settings that these options have, with their origins.
    pub(crate) fn resolve(&mut self, config: &Config) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut tell = |name, value: Option<String>, origin| {
            let (value, origin) = value.map_or((String::new(), Origin::Default), |value| (value, origin));
            settings.push(Setting { name, value, origin });
        };
        let origin = first(&mut self.snapshot, from_environment("STRONGHOLD_SNAPSHOT"), &config.snapshot);
        tell("snapshot", self.snapshot.as_deref().map(path_text), origin);
        let origin = match self.passphrase_fd.is_some() || self.key_file.is_some() {
            true => Origin::Option,
            false => {
                let environment = from_environment("STRONGHOLD_PASSPHRASE_FILE");
                first(&mut self.passphrase_file, environment, &config.passphrase_file)
            }
        };
        tell("passphrase-file", self.passphrase_file.as_deref().map(path_text), origin);
        let has_passphrase = self.passphrase_fd.is_some() || self.passphrase_file.is_some();
        let key_file = if has_passphrase { &None } else { &config.key_file };
        let origin = first(&mut self.key_file, None, key_file);
        tell("key-file", self.key_file.as_deref().map(path_text), origin);
        let origin = first(&mut self.lock_timeout, None, &config.lock_timeout);
        tell("lock-timeout", Some(self.lock_timeout().to_string()), origin);
        let required = config.require_rollback_notes;
        let origin = any(&mut self.require_rollback_notes, "STRONGHOLD_REQUIRE_ROLLBACK_NOTES", required);
        tell("require-rollback-notes", Some(self.require_rollback_notes.to_string()), origin);
        let origin = any(&mut self.no_agent, "STRONGHOLD_NO_AGENT", config.no_agent);
        tell("no-agent", Some(self.no_agent.to_string()), origin);
        let origin = any(&mut self.quiet, "", config.quiet.filter(|_| !self.verbose));
        tell("quiet", Some(self.quiet.to_string()), origin);
        settings
    }
}

/// Fills an option that was not given, and returns the origin of its value.
fn first<T: Clone>(option: &mut Option<T>, environment: Option<T>, file: &Option<T>) -> Origin {
    let origin = match (&option, &environment, file) {
        (Some(_), ..) => Origin::Option,
        (None, Some(_), _) => Origin::Environment,
        (None, None, Some(_)) => Origin::File,
        (None, None, None) => Origin::Default,
    };
    *option = option.take().or(environment).or_else(|| file.clone());
    origin
}

/// Sets a switch that was not given, and returns the origin of its value.
fn any(switch: &mut bool, variable: &str, file: Option<bool>) -> Origin {
    let origin = match *switch {
        true => Origin::Option,
        false if is_on(variable) => Origin::Environment,
        false if file.is_some() => Origin::File,
        false => Origin::Default,
    };
    *switch |= origin == Origin::Environment || file.unwrap_or(false);
    origin
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn resolved(line: &str, config: &Config) -> (Global, Vec<(&'static str, Origin)>) {
        let words = ["stronghold", "list"].into_iter().chain(line.split_whitespace());
        let mut global = Cli::try_parse_from(words).unwrap().global;
        let settings = global.resolve(config);
        let said = settings.into_iter().filter(|setting| setting.origin != Origin::Default);
        (global, said.map(|setting| (setting.name, setting.origin)).collect())
    }

    #[test]
    fn an_option_goes_before_the_file_and_that_before_a_default() {
        let (global, origins) = resolved("", &Config::default());
        assert_eq!((global.lock_timeout(), origins), (10, vec![]));
        let config = Config {
            snapshot: Some("file".into()),
            passphrase_file: Some("passphrase".into()),
            lock_timeout: Some(3),
            quiet: Some(true),
            no_agent: Some(false),
            ..Config::default()
        };
        let (global, origins) = resolved("", &config);
        assert_eq!(global.snapshot.as_deref(), Some(Path::new("file")));
        assert_eq!((global.lock_timeout(), global.quiet, global.no_agent), (3, true, false));
        let names = ["snapshot", "passphrase-file", "lock-timeout", "no-agent", "quiet"];
        assert_eq!(origins, names.map(|name| (name, Origin::File)));
        let line = "--snapshot option --key-file key --lock-timeout 5 --no-agent --verbose";
        let (global, origins) = resolved(line, &config);
        assert_eq!(global.snapshot.as_deref(), Some(Path::new("option")));
        assert_eq!((global.passphrase_file, global.quiet, global.no_agent), (None, false, true));
        assert_eq!(global.lock_timeout, Some(5));
        let names = ["snapshot", "key-file", "lock-timeout", "no-agent"];
        assert_eq!(origins, names.map(|name| (name, Origin::Option)));
    }

    /// A key from the file does not stand beside a passphrase from the command line.
    #[test]
    fn one_secret_is_taken_from_one_place() {
        let config = Config { key_file: Some("key".into()), ..Config::default() };
        assert!(resolved("", &config).0.key_file.is_some());
        for line in ["--passphrase-file p", "--passphrase-fd 3"] {
            assert!(resolved(line, &config).0.key_file.is_none(), "{line}");
        }
    }
}
