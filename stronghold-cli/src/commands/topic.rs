//! `help locations`, `help exit-codes`, `help devices`: explains what concerns several commands.

use std::fmt::Write;

use clap::Subcommand;
use serde_json::json;

use crate::context::Context;
use crate::error::{EXIT_CODES, Failure};

pub(super) fn topic(context: &Context, topic: &Topic) -> Result<(), Failure> {
    let text = topic.text();
    context.output.result(&json!({ "help": text }), || vec![text.clone()])
}

/// Subjects that `stronghold help` explains beside the commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Topic {
    /// Explain how records are named and selected.
    #[command(hide = true, help_template = "{about}", long_about = LOCATIONS)]
    Locations,
    /// Explain the exit codes.
    #[command(hide = true, help_template = "{about}", long_about = exit_codes())]
    ExitCodes,
    /// Explain how devices are paired and synchronised.
    #[command(hide = true, help_template = "{about}", long_about = DEVICES)]
    Devices,
}

impl Topic {
    /// Returns the topic's text, in at most 80 columns.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Locations => LOCATIONS.to_owned(),
            Self::ExitCodes => exit_codes(),
            Self::Devices => DEVICES.to_owned(),
        }
    }
}

const LOCATIONS: &str = "\
A record is named CLIENT/VAULT/RECORD, such as wallet/web/mail: a client is an
application or a part of your life, a vault a group in it. RECORD may have
slashes of its own. The fields of a login are the records below its title,
such as imported/mail/example.com/password.

Where a command takes several records, the beginning of their names is enough:

  stronghold list wallet
  stronghold show imported/mail/example.com

A glob selects records. Quote it, so that the shell leaves it alone:

  stronghold list 'wallet/*/mail'
  stronghold remove 'wallet/old/**' --dry-run

  *    any characters within one part of a name
  ?    one character within one part
  **   any characters, slashes too
  \\    takes the next character as it is

A glob with fewer than three parts selects everything below it: for --select,
wallet means wallet/**.";

const DEVICES: &str = "\
Two devices meet once. The first shows a code, the second asks for it:

  stronghold pair
  stronghold pair --join

From then on one of them answers, and the other exchanges what differs:

  stronghold serve
  stronghold sync

Devices that are never on together use a folder that another program carries:

  stronghold mailbox add phone ~/Sync
  stronghold sync --mailbox

Neither gives or takes anything without a rule. `peers` shows the rules:

  stronghold peers
  stronghold grant phone pull push --select 'wallet/**' --expires 30days
  stronghold deny phone push

Where both devices changed a record, both values are kept until you choose:

  stronghold resolve

A lost device gets nothing more once it is revoked. Change what it received:

  stronghold revoke phone
  stronghold list --shared-with phone";

fn exit_codes() -> String {
    let mut text = "The exit code tells scripts how a command ended:\n".to_owned();
    for (code, meaning) in EXIT_CODES.iter().enumerate() {
        let _ = write!(text, "\n  {code:2}  {meaning}");
    }
    text + "\n\nWith --json, an error is one object on stderr, with a stable word as its code:\n\
            {\"error\": {\"code\", \"exit\", \"message\", \"hint\"}}."
}
