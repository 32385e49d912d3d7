//! `completions`: prints the script with which a shell completes the command line.

use clap::ValueEnum;
use clap_complete::env::Shells;
use serde_json::json;

use crate::context::Context;
use crate::environment::COMPLETION;
use crate::error::{Failure, Kind};

/// A shell that can complete the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

impl Shell {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

pub(super) fn completions(context: &Context, shell: Shell) -> Result<(), Failure> {
    let script = script(shell)?;
    let object = json!({ "shell": shell.name(), "script": script });
    context.output.result(&object, || vec![script.trim_end().to_owned()])
}

/// Returns the script of a shell. It calls `stronghold` for each completion, so that it knows the
/// names of records, and is as new as the command.
fn script(shell: Shell) -> Result<String, Failure> {
    let unknown = || Failure::new(Kind::Unexpected, "no completions are known for that shell");
    let shells = Shells::builtins();
    let completer = shells.completer(&shell.name()).ok_or_else(unknown)?;
    let mut script = Vec::new();
    let written =
        completer.write_registration(COMPLETION, "stronghold", "stronghold", "stronghold", &mut script);
    written.map_err(|_| unknown())?;
    String::from_utf8(script).map_err(|_| unknown())
}
