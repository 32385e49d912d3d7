//! Runs the `stronghold` command: parses, calls the crates, prints. It decides nothing.
//!
//! Data goes to stdout, everything else to stderr. Only this file turns a result into an exit code.

mod address;
mod agent;
mod args;
mod background;
mod clipboard;
mod clock;
mod columns;
mod commands;
mod complete;
mod config;
mod context;
mod environment;
mod error;
mod globals;
mod help;
mod input;
mod lookalike;
mod names;
mod nearest;
mod one_time;
mod output;
mod secrets;
mod ssh;
mod suggest;
mod terminal;
mod waiting;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::{
    args::Cli,
    error::{Failure, shown},
    output::Output,
};

fn main() -> ExitCode {
    keep_memory_private();
    complete::answer();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    output::start_log();
    let output = Output::new(cli.global.json, cli.global.quiet);
    match config::Config::read().and_then(|config| commands::run(cli, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.kind.exit())
        }
    }
}

fn parse() -> Result<Cli, clap::Error> {
    let mut command = help::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os()).map_err(suggested)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Adds the suggestions for a word that is no command.
fn suggested(mut error: clap::Error) -> clap::Error {
    suggest::improve(&mut error);
    error
}

/// Denies access to this process's memory to other processes of the user and to core dumps. Called
/// first, so that nothing the command reads gets into a dump. If the system refuses, the command
/// runs anyway.
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

/// Prints an error of the command line in clap's words, or as an object with `--json`; or what was
/// asked for, such as help.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if error.use_stderr() && json {
        Output::new(true, false)
            .failure(&Failure::usage(error.to_string().trim_end(), "see `stronghold help`"));
    } else {
        // Clap quotes the arguments. If they would drive the terminal, the error is printed escaped
        // and without colours.
        let typed = std::env::args_os().any(|arg| shown(arg.as_ref()) != arg.to_string_lossy());
        let printed = match typed {
            false => error.print().and_then(|()| std::io::Write::flush(&mut std::io::stdout())),
            true => std::io::Write::write_all(&mut std::io::stderr(), uncoloured().as_bytes()),
        };
        if let Err(failure) = output::finish(printed) {
            Output::new(json, false).failure(&failure);
            return ExitCode::from(failure.kind.exit());
        }
    }
    ExitCode::from(if error.use_stderr() { error::Kind::Usage.exit() } else { 0 })
}

/// Renders the same error without colours, with the arguments escaped.
fn uncoloured() -> String {
    let command = help::command().styles(clap::builder::Styles::plain());
    let error = command.try_get_matches().err().map(suggested);
    error.map(|error| output::visible_lines(&error.render().ansi().to_string())).unwrap_or_default()
}
