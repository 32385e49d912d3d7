//! Commands that explain the command line: to shells, to `man`, and by topics.

use clap::Subcommand;

use super::completions::{self, Shell};
use super::manual::{self, ManualArgs};
use super::topic::{self, Topic};
use crate::context::Context;
use crate::error::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Reference {
    /// Print the script with which a shell completes the command line, and names while unlocked.
    #[command(after_help = "Examples:\n  stronghold completions bash\n  stronghold completions fish")]
    Completions {
        /// Shell to write the script for.
        shell: Shell,
    },
    /// Print the manual page of a command.
    #[command(after_help = "Examples:\n  stronghold man get\n  stronghold man --output man1")]
    Man(ManualArgs),
    #[command(flatten)]
    Topic(Topic),
}

/// Runs one of these commands. `command` is the whole command line's definition.
pub(super) fn reference(
    context: &Context,
    reference: &Reference,
    command: clap::Command,
) -> Result<(), Failure> {
    match reference {
        Reference::Completions { shell } => completions::completions(context, *shell),
        Reference::Man(args) => manual::manual(context, args, command),
        Reference::Topic(topic) => topic::topic(context, topic),
    }
}
