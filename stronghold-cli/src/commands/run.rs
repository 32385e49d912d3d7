//! `run`: runs a program with secrets in its environment.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process,
};

use stronghold_sync::escape_untrusted;

use super::get;
use crate::context::{Context, location};
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Set NAME in the program's environment to the value of a record; repeatable.
    #[arg(long = "env", value_name = "NAME=LOCATION", required = true)]
    env: Vec<String>,
    /// Program to run, with its arguments.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

/// Runs a program, in place of this process where the system can do that. Nothing is run unless all
/// records were read.
pub(super) fn run(context: &Context, args: &RunArgs) -> Result<(), Failure> {
    let [program, arguments @ ..] = &args.command[..] else { return Ok(()) };
    let wanted: Vec<_> = args.env.iter().map(|pair| named(pair)).collect::<Result<_, _>>()?;
    let home = context.open()?;
    let mut command = process::Command::new(program);
    command.args(arguments);
    for (name, at) in wanted {
        let value = get::value(context, &home, at)?;
        let text = std::str::from_utf8(&value).ok().filter(|text| !text.contains('\0'));
        let message = || format!("the value of {} is no text; nothing was run", escape_untrusted(at));
        let hint = "an environment variable is text without a zero byte; give the program a file instead";
        command.env(name, text.ok_or_else(|| Failure::usage(message(), hint))?);
    }
    drop(home);
    become_program(program, command)
}

/// Splits `NAME=LOCATION`.
fn named(pair: &str) -> Result<(&str, &str), Failure> {
    let split = pair.split_once('=').filter(|(name, _)| !name.is_empty());
    let message = || format!("--env {}: expected NAME=LOCATION; nothing was run", escape_untrusted(pair));
    let (name, at) =
        split.ok_or_else(|| Failure::usage(message(), "for example: --env TOKEN=work/ci/token"))?;
    location(at)?;
    Ok((name, at))
}

#[cfg(unix)]
fn become_program(program: &OsStr, mut command: process::Command) -> Result<(), Failure> {
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    Err(Failure::file(Path::new(program), &error))
}

#[cfg(not(unix))]
fn become_program(program: &OsStr, mut command: process::Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| Failure::file(Path::new(program), &error))?;
    process::exit(status.code().unwrap_or(1))
}
