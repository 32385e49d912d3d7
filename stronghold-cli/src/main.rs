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

use clap::Parser;

use crate::{args::Cli, error::Failure, output::Output};

fn main() -> ExitCode {
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

/// Clap's own words, but for `--json`, where an error is an object like any other.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if error.use_stderr() && json {
        Output::new(true, false)
            .failure(&Failure::usage(error.to_string().trim_end(), "see `stronghold help`"));
    } else {
        let text = error.render().to_string();
        let _ = match output::visible_lines(&text) {
            safe if safe == text => error.print(),
            // What was typed is quoted, and would drive the terminal.
            safe => std::io::Write::write_all(&mut std::io::stderr(), safe.as_bytes()),
        };
    }
    ExitCode::from(if error.use_stderr() { error::USAGE } else { 0 })
}
