//! The `stronghold` command: parses, calls the crates, prints. It decides nothing.
//!
//! Data goes to stdout, all else to stderr; only this file knows how the process ends.

mod args;
mod commands;
mod credentials;
mod error;
mod input;
mod lookalike;
mod output;
mod secrets;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::{
    args::Cli,
    error::{Failure, shown},
    output::Output,
};

fn main() -> ExitCode {
    keep_memory_private();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.global.json, cli.global.quiet);
    output::start_log();
    match commands::run(cli.with_environment(), &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

/// Keeps other processes of this user, and whoever reads core dumps, from this one's memory. It comes first of all: what a command
/// reads from then on is in no dump. Where the system refuses, the command runs all the same.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = setrlimit(Resource::Core, none);
    }
}

/// Clap's own words, but for `--json`, where an error is an object like any other.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if error.use_stderr() && json {
        Output::new(true, false)
            .failure(&Failure::usage(error.to_string().trim_end(), "see `stronghold help`"));
    } else {
        // What was typed is quoted in it: where that would drive the terminal, it is shown without colours, and made visible.
        let typed = std::env::args_os().any(|arg| shown(arg.as_ref()) != arg.to_string_lossy());
        let _ = match typed {
            false => error.print(),
            true => std::io::Write::write_all(&mut std::io::stderr(), uncoloured().as_bytes()),
        };
    }
    ExitCode::from(if error.use_stderr() { error::USAGE } else { 0 })
}

/// The same error, with what was typed as it was typed, made visible.
fn uncoloured() -> String {
    let command = Cli::command().styles(clap::builder::Styles::plain());
    let error = command.try_get_matches().err();
    error.map(|error| output::visible_lines(&error.render().ansi().to_string())).unwrap_or_default()
}
