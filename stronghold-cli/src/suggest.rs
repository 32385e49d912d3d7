//! Suggests the command that is meant by a word that is none.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Words that other programs have for a command.
const HABITS: [(&str, &[&str]); 8] = [
    ("put", &["add", "create", "generate", "insert", "new", "set", "write"]),
    ("get", &["cat", "clip", "print", "read", "view"]),
    ("find", &["grep", "search"]),
    ("remove", &["delete", "erase"]),
    ("lock", &["close", "logout"]),
    ("unlock", &["login", "open"]),
    ("totp", &["otp"]),
    ("list", &["dir", "tree"]),
];

/// Replaces the suggestions of an error about an unknown command: the parser also finds words that
/// only share letters with it.
pub(crate) fn improve(error: &mut clap::Error) {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return };
    if error.kind() != ErrorKind::InvalidSubcommand {
        return;
    }
    let meant = meant(word, error.get(ContextKind::SuggestedSubcommand));
    error.remove(ContextKind::SuggestedSubcommand);
    if !meant.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(meant));
    }
}

fn meant(word: &str, suggested: Option<&ContextValue>) -> Vec<String> {
    let habit = HABITS.iter().find(|(_, words)| words.contains(&word));
    let suggested = match suggested {
        _ if habit.is_some() => &[][..],
        Some(ContextValue::Strings(names)) => names,
        Some(ContextValue::String(name)) => std::slice::from_ref(name),
        _ => &[],
    };
    let most = (word.chars().count() / 3).max(1);
    let near = suggested.iter().filter(|name| strsim::osa_distance(name, word) <= most).cloned();
    habit.map(|(command, _)| (*command).to_owned()).into_iter().chain(near).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn habits_are_words_that_are_no_commands_for_those_that_are() {
        let command = Cli::command();
        for (name, words) in HABITS {
            assert!(command.find_subcommand(name).is_some(), "{name}");
            assert!(words.iter().all(|word| command.find_subcommand(word).is_none()), "{words:?}");
        }
    }
}
