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
