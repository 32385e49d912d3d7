//! Arranges the help: the commands in groups.

use std::fmt::Write;

use clap::builder::Styles;
use clap::{Command, CommandFactory};

use crate::args::Cli;
use crate::columns;

/// Columns of the list of commands, at most.
const COLUMNS: usize = 80;
/// Columns of the list of commands, at least.
const FEWEST_COLUMNS: usize = 40;
/// Columns of the longest command's name.
const NAME: usize = 11;

/// Groups of commands, in the order in which a new user needs them.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Secrets",
        &[
            "put",
            "get",
            "show",
            "edit",
            "list",
            "find",
            "move",
            "copy",
            "remove",
            "run",
            "inject",
            "totp",
            "qr",
            "ssh-agent",
        ],
    ),
    ("History", &["history", "restore", "undo", "redo", "conflicts", "resolve", "purge"]),
    ("Devices", &["pair", "clone", "sync", "browse", "fetch", "serve", "mailbox", "identity", "rename"]),
    ("Sharing", &["peers", "grant", "deny", "revoke", "log"]),
    (
        "Care",
        &[
            "init",
            "unlock",
            "lock",
            "agent",
            "passphrase",
            "import",
            "export",
            "merge",
            "verify",
            "doctor",
            "config",
            "completions",
            "man",
        ],
    ),
];

/// Returns the command line's definition, with its commands in groups.
pub(crate) fn command() -> Command {
    let command = Cli::command();
    let listed = listed(&command);
    let header = Styles::styled().get_header().to_owned();
    // The list is no part of the template, which would take its braces for tags.
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n\
         {{before-help}}{header}Common options:{header:#}\n{{options}}{{after-help}}\n"
    );
    command.before_help(listed).help_template(template).after_help(
        "`stronghold help COMMAND` explains a command, with two examples.\n\
         Topics: `stronghold help locations`, `help devices`, `help exit-codes`.",
    )
}

/// Returns the groups of commands, with a line for each command.
fn listed(command: &Command) -> String {
    let styles = Styles::styled();
    let columns = columns::of_stdout().unwrap_or(COLUMNS).clamp(FEWEST_COLUMNS, COLUMNS);
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let group = |(group, names): (&str, &[&str])| {
        let mut text = format!("{header}{group}:{header:#}");
        for name in names {
            let Some(of) = command.find_subcommand(name) else { continue };
            let mut about = of.get_about().map(ToString::to_string).unwrap_or_default();
            if let Some(alias) = of.get_visible_aliases().next() {
                let _ = write!(about, " [alias: {alias}]");
            }
            let indent = format!("\n{:width$}", "", width = NAME + 4);
            let lines = wrapped(&about, columns - NAME - 4).join(&indent);
            let _ = write!(text, "\n  {literal}{name:NAME$}{literal:#}  {lines}");
        }
        text
    };
    GROUPS.map(group).join("\n\n")
}

/// Breaks a sentence into lines of at most `columns` characters, between words.
fn wrapped(sentence: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in sentence.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::topic::Topic;

    #[test]
    fn each_command_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = Cli::command();
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut visible: Vec<&str> = visible.map(Command::get_name).collect();
        grouped.sort_unstable();
        visible.sort_unstable();
        assert_eq!(grouped, visible);
    }

    /// Checks that one file has the output of each command with `--json`.
    #[test]
    fn each_command_has_a_schema() {
        let schemas: serde_json::Value = serde_json::from_str(include_str!("../schemas.json")).unwrap();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(schemas["$defs"].get(command.get_name()).is_some(), "{}", command.get_name());
        }
    }

    /// A line that begins with the command can be typed as it stands.
    #[test]
    fn topics_show_command_lines_within_80_columns() {
        let topics = [Topic::Locations, Topic::ExitCodes, Topic::Devices].map(|topic| topic.text());
        let mut lines = 0;
        for line in topics.iter().flat_map(|topic| topic.lines()) {
            assert!(line.chars().count() <= COLUMNS, "{line}");
            let Some(typed) = line.strip_prefix("  stronghold ") else { continue };
            let typed = typed.replace('\'', "");
            let words = ["stronghold"].into_iter().chain(typed.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            lines += 1;
        }
        assert_eq!(lines, 16);
    }

    #[test]
    fn help_is_within_80_columns_and_names_every_topic() {
        let help = command().styles(Styles::plain()).render_help().to_string();
        let listed = help.split("Common options:").next().unwrap_or_default();
        assert!(listed.lines().all(|line| line.chars().count() <= COLUMNS), "{help}");
        assert!(help.contains("\nSecrets:\n  put          Write a secret"), "{help}");
        assert!(help.contains("List records [alias: ls]"), "{help}");
        assert!(help.contains("with each {{ stronghold:LOCATION }} replaced"), "{help}");
        assert!(help.contains("\n\nCommon options:\n      --snapshot <FILE>"), "{help}");
        for topic in ["locations", "exit-codes", "devices"] {
            assert!(help.contains(&format!("help {topic}")), "{topic}");
        }
    }
}
