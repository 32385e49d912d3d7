//! Goes through the records in conflict with a person at the terminal.

use stronghold_snapshot::{VaultFile, now};
use stronghold_sync::{Location, Selection, escape_untrusted};
use stronghold_vault::{Stronghold, WriteError};

use super::changes::{self, Changes};
use super::conflicts::{ConflictingRecord, Head, Resolved, nothing};
use super::put::no_lookalike;
use crate::context::{Context, location};
use crate::error::{Failure, Kind};
use crate::output::visible_lines;
use crate::terminal;

/// Maximum number of characters shown of a value.
const SHOWN: usize = 2000;

/// Decision of the person about a record.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Keep the value with this index.
    Keep(usize),
    Both,
    View,
    Skip,
    Quit,
}

/// Asks about each record of a selection that is in conflict. Each decision is written at once; all
/// of them are one step for `undo`.
pub(super) fn walk(
    context: &Context,
    home: &mut VaultFile,
    selection: &Selection,
) -> Result<(Resolved, Changes), Failure> {
    let found = ConflictingRecord::of(home.stronghold(), selection)?;
    if found.is_empty() {
        return Err(nothing());
    }
    let (mut resolved, mut changes) = (Resolved::default(), Changes::default());
    for (index, record) in found.iter().enumerate() {
        let place = format!("({} of {})", index + 1, found.len());
        match ask(context, home, &record.location, &place, (&mut resolved, &mut changes))? {
            Answer::Quit => break,
            _ => continue,
        }
    }
    Ok((resolved, changes))
}

/// Shows a record and asks until there is a decision. Another process may change the record
/// meanwhile; it is shown again then.
fn ask(
    context: &Context,
    home: &mut VaultFile,
    at: &Location,
    place: &str,
    (resolved, changes): (&mut Resolved, &mut Changes),
) -> Result<Answer, Failure> {
    let one = Selection::of_locations(std::slice::from_ref(at));
    loop {
        home.refresh()?;
        let Some(record) = ConflictingRecord::of(home.stronghold(), &one)?.pop() else {
            return Ok(Answer::Skip);
        };
        let title = format!("{}  {place}", escape_untrusted(&at.to_string()));
        let lines = record.lines(|number| format!("{number:>3}  "));
        terminal::tell(&format!("{title}\n{}", lines.join("\n")))?;
        let answer = decision(home.stronghold(), &record)?;
        let done = match &answer {
            Answer::Keep(index) => keep(home, &record, *index),
            Answer::Both => both(context, home, &record),
            _ => return Ok(answer),
        };
        match done {
            Ok((done, written)) => {
                resolved.done.extend(done.done);
                changes.extend(written);
                return Ok(answer);
            }
            Err(failure) if failure.kind == Kind::ChangedSince => terminal::tell(&failure.message)?,
            Err(failure) => return Err(failure),
        }
    }
}

/// Asks until the answer is a decision, and shows the values where it is not.
fn decision(stronghold: &Stronghold, record: &ConflictingRecord) -> Result<Answer, Failure> {
    let count = record.heads.len();
    let prompt = format!("keep [1-{count}], [b]oth under another name, [v]iew, [s]kip, [q]uit: ");
    loop {
        let Some(line) = terminal::line(&prompt)? else { return Ok(Answer::Quit) };
        match answer(&line, count) {
            Some(Answer::View) => {
                for (number, head) in (1..).zip(&record.heads) {
                    terminal::tell(&format!("{number:>3}  {}", value(stronghold, &record.location, head)?))?;
                }
            }
            Some(answer) => return Ok(answer),
            None => terminal::tell(&format!("1 to {count}, or the first letter of a word"))?,
        }
    }
}

fn answer(line: &str, count: usize) -> Option<Answer> {
    match line.trim().to_lowercase().as_str() {
        "b" | "both" => Some(Answer::Both),
        "v" | "view" => Some(Answer::View),
        "s" | "skip" => Some(Answer::Skip),
        "q" | "quit" => Some(Answer::Quit),
        number => {
            let number = number.parse::<usize>().ok().filter(|number| (1..=count).contains(number))?;
            Some(Answer::Keep(number - 1))
        }
    }
}

/// Returns a value for the terminal: escaped, and cut if it is long.
fn value(stronghold: &Stronghold, at: &Location, head: &Head) -> Result<String, Failure> {
    if head.len.is_none() {
        return Ok("(deleted)".into());
    }
    let revision = stronghold.read_revision(at, &head.info.revision)?;
    let Ok(text) = std::str::from_utf8(&revision.value) else { return Ok("(not text)".into()) };
    Ok(match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}\n     ...", visible_lines(&text[..end])),
        None => visible_lines(text),
    })
}

fn keep(
    home: &mut VaultFile,
    record: &ConflictingRecord,
    index: usize,
) -> Result<(Resolved, Changes), Failure> {
    changes::apply(home, false, |stronghold| {
        unchanged(stronghold, record)?;
        let mut resolved = Resolved::default();
        resolved.keep(stronghold, &record.location, record.heads[index].info.revision)?;
        Ok(resolved)
    })
}

/// Keeps the newest value under the record's name and asks for a name for each other one.
fn both(
    context: &Context,
    home: &mut VaultFile,
    record: &ConflictingRecord,
) -> Result<(Resolved, Changes), Failure> {
    let values: Vec<&Head> = record.heads.iter().filter(|head| head.len.is_some()).collect();
    let Some((newest, others)) = values.split_last() else { return Err(nothing()) };
    let mut named: Vec<(Location, &Head)> = Vec::new();
    for other in others {
        let taken =
            |at: &Location| home.stronghold().contains(at) || named.iter().any(|(name, _)| name == at);
        let name = new_name(home.stronghold(), &record.location, other, &taken)?;
        named.push((name, other));
    }
    if !context.output.is_json() {
        terminal::tell(&format!("the value of {} keeps the name", newest.writer))?;
    }
    changes::apply(home, false, |stronghold| {
        unchanged(stronghold, record)?;
        for (name, head) in &named {
            let revision = stronghold.read_revision(&record.location, &head.info.revision)?;
            stronghold.write(name, &revision.value, revision.labels, now())?;
        }
        let mut resolved = Resolved::default();
        resolved.keep(stronghold, &record.location, newest.info.revision)?;
        Ok(resolved)
    })
}

/// Asks for the name of a value that moves, and suggests one that is free.
fn new_name(
    stronghold: &Stronghold,
    at: &Location,
    head: &Head,
    taken: &dyn Fn(&Location) -> bool,
) -> Result<Location, Failure> {
    let numbered = (2..).map_while(|number: u32| format!("{at}-{number}").parse::<Location>().ok());
    let free = numbered.into_iter().find(|name| !taken(name));
    let suggested = free.as_ref().map(|free| escape_untrusted(&free.to_string())).unwrap_or_default();
    let prompt = format!("name for the value of {} [{suggested}]: ", head.writer);
    loop {
        let line = terminal::line(&prompt)?.ok_or_else(ended)?;
        let name = match (line.trim(), &free) {
            ("", Some(free)) => Ok(free.clone()),
            (text, _) => location(text),
        };
        match name {
            Ok(name) if taken(&name) => terminal::tell("a record has that name")?,
            Ok(name) => match no_lookalike(stronghold, &name) {
                Ok(()) => return Ok(name),
                Err(failure) => terminal::tell(&failure.message)?,
            },
            Err(failure) => terminal::tell(&failure.message)?,
        }
    }
}

fn ended() -> Failure {
    Failure::usage("the input was ended (Ctrl-D)", "what was decided before is done")
}

/// Checks that a record has the heads that were shown.
fn unchanged(stronghold: &Stronghold, record: &ConflictingRecord) -> Result<(), Failure> {
    let history = stronghold.history(&record.location).map_err(|_| Failure::from(WriteError::NotFound))?;
    let mut heads: Vec<_> = history.iter().filter(|head| head.head).map(|head| head.revision).collect();
    heads.sort_unstable();
    if heads == record.revisions() {
        return Ok(());
    }
    let at = escape_untrusted(&record.location.to_string());
    Err(Failure::new(Kind::ChangedSince, format!("{at} was changed meanwhile; nothing was changed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_numbers_of_values_and_first_letters() {
        for (line, expected) in [
            ("1", Some(Answer::Keep(0))),
            (" 2\n", Some(Answer::Keep(1))),
            ("3", None),
            ("0", None),
            ("B", Some(Answer::Both)),
            ("view", Some(Answer::View)),
            ("s", Some(Answer::Skip)),
            ("q", Some(Answer::Quit)),
            ("", None),
            ("both of them", None),
        ] {
            assert_eq!(answer(line, 2), expected, "{line:?}");
        }
    }
}
