//! Names the records that a command changes, or would change: the first 20 for people, all with
//! `--json`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stronghold_snapshot::VaultFile;
use stronghold_sync::{Location, LocationId, Mapping, RevisionId, Scope, Selection, escape_untrusted};
use stronghold_vault::Stronghold;

use crate::{error::Failure, output::Output};

/// Effect of a command on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The record was not readable before.
    New,
    /// The record has another value, or the same value under another revision.
    Changed,
    /// The record is no longer readable.
    Deleted,
    /// The record's heads have different values.
    Conflict,
}

/// Changed records, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    named: BTreeMap<Location, Change>,
    /// Number of changed records whose names are unknown here.
    unnamed: usize,
}

/// Snapshot of the heads of all records; `true` marks a tombstone.
struct Heads(BTreeMap<LocationId, BTreeSet<(RevisionId, bool)>>);

/// Runs `work` and commits it, or on a dry run applies it to a copy in memory. Returns the result
/// of `work` and the changes.
///
/// # Errors
/// The error of `work`, or a [`Failure`] of the snapshot. Nothing was written then.
pub(crate) fn apply<T>(
    home: &mut VaultFile,
    dry_run: bool,
    work: impl FnOnce(&mut Stronghold) -> Result<T, Failure>,
) -> Result<(T, Changes), Failure> {
    let work = |stronghold: &mut Stronghold| {
        let before = Heads::of(stronghold);
        let done = work(stronghold)?;
        Ok((done, Changes::since(&before, stronghold)?))
    };
    if dry_run { home.dry_run(work) } else { home.update_as(work) }
}

impl Heads {
    fn of(stronghold: &Stronghold) -> Self {
        let mut heads: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for shape in stronghold.shapes(&Scope::of(Selection::everything()), &Mapping::default()) {
            heads.entry(shape.location).or_default().insert((shape.revision, shape.deleted));
        }
        Self(heads)
    }

    fn is_readable(&self, id: &LocationId) -> bool {
        self.0.get(id).is_some_and(|heads| heads.iter().any(|(_, deleted)| !deleted))
    }
}

impl Changes {
    fn since(before: &Heads, stronghold: &Stronghold) -> Result<Self, Failure> {
        let after = Heads::of(stronghold);
        let mut changes = Self::default();
        for (id, heads) in &after.0 {
            let (was, is) = (before.is_readable(id), after.is_readable(id));
            if before.0.get(id) == Some(heads) || !was && !is {
                continue;
            }
            let change = match (was, is) {
                (_, true) if stronghold.is_conflict(id)? => Change::Conflict,
                (true, false) => Change::Deleted,
                (false, _) => Change::New,
                (true, true) => Change::Changed,
            };
            if let Some(location) = stronghold.names_of(id) {
                changes.add(location, change);
            }
        }
        Ok(changes)
    }

    /// Adds a changed record.
    pub(crate) fn add(&mut self, location: Location, change: Change) {
        self.named.insert(location, change);
    }

    /// Adds the changes of a later part of the command.
    pub(crate) fn extend(&mut self, later: Self) {
        self.named.extend(later.named);
        self.unnamed += later.unnamed;
    }

    /// Adds a changed record whose name is unknown.
    pub(crate) fn add_unnamed(&mut self) {
        self.unnamed += 1;
    }

    /// Returns the number of changed records.
    pub(crate) fn len(&self) -> usize {
        self.named.len() + self.unnamed
    }

    /// Returns whether nothing changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a line for each of the first records, and one with the number of further ones.
    pub(crate) fn lines(&self, output: Output) -> impl Iterator<Item = String> {
        let line = |(location, change): (&Location, &Change)| {
            format!("{} {}", change.mark(), escape_untrusted(&location.to_string()))
        };
        let unnamed = (self.unnamed > 0).then(|| format!("  and {} whose names are not known", self.unnamed));
        output.first_of(self.named.iter().map(line)).chain(unnamed)
    }

    /// Returns all named changes for `--json`, each as `{location, change}`.
    pub(crate) fn object(&self) -> Value {
        let object = |(location, change): (&Location, &Change)| json!({ "location": location.to_string(), "change": change.name() });
        self.named.iter().map(object).collect()
    }
}

impl Change {
    fn mark(self) -> char {
        match self {
            Self::New => '+',
            Self::Changed => '~',
            Self::Deleted => '-',
            Self::Conflict => '!',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Conflict => "conflict",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::NAMED;
    use stronghold_sync::Timestamp;

    const OUTPUT: Output = Output::new(false, false);

    fn at(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn changes_are_told_by_name_the_first_of_them_and_how_many_more() {
        let mut changes = Changes::default();
        assert!(changes.is_empty() && changes.lines(OUTPUT).count() == 0);
        for (name, change) in [
            ("a/v/2", Change::Deleted),
            ("a/v/1", Change::New),
            ("a/v/3", Change::Changed),
            ("a/v/4", Change::Conflict),
        ] {
            changes.add(at(name), change);
        }
        assert!(!changes.is_empty());
        assert_eq!(changes.lines(OUTPUT).collect::<Vec<_>>(), ["+ a/v/1", "- a/v/2", "~ a/v/3", "! a/v/4"]);
        let object = |(name, change)| json!({ "location": name, "change": change });
        let objects =
            [("a/v/1", "new"), ("a/v/2", "deleted"), ("a/v/3", "changed"), ("a/v/4", "conflict")].map(object);
        assert_eq!(changes.object(), json!(objects));
        let mut unnamed = Changes::default();
        (0..2).for_each(|_| unnamed.add_unnamed());
        assert!(!unnamed.is_empty());
        assert_eq!(unnamed.lines(OUTPUT).collect::<Vec<_>>(), ["  and 2 whose names are not known"]);
        (0..NAMED + 2).for_each(|number| unnamed.add(at(&format!("a/v/{number:03}")), Change::New));
        let lines: Vec<_> = unnamed.lines(OUTPUT).collect();
        assert_eq!(lines.len(), NAMED + 2);
        assert_eq!(
            lines[NAMED..],
            ["  and 2 more (--verbose names all)", "  and 2 whose names are not known"]
        );
        assert_eq!(unnamed.lines(OUTPUT.with_all_names(true)).count(), NAMED + 3);
    }

    /// Only a record that is readable before or after the command counts as changed.
    #[test]
    fn a_change_is_what_becomes_of_a_record_that_can_be_read() {
        let mut stronghold = Stronghold::new("device").unwrap();
        let write = |stronghold: &mut Stronghold, name: &str, value: &[u8]| {
            stronghold
                .write(&at(name), value, stronghold_vault::Labels::new(), Timestamp::from_millis(1))
                .unwrap();
        };
        for name in ["a/v/changed", "a/v/gone", "a/v/same", "a/v/was gone"] {
            write(&mut stronghold, name, b"1");
        }
        stronghold.remove(&at("a/v/was gone"), Timestamp::from_millis(1)).unwrap();
        let before = Heads::of(&stronghold);
        write(&mut stronghold, "a/v/changed", b"2");
        write(&mut stronghold, "a/v/new", b"2");
        write(&mut stronghold, "a/v/new and gone", b"2");
        stronghold.remove(&at("a/v/new and gone"), Timestamp::from_millis(1)).unwrap();
        stronghold.remove(&at("a/v/gone"), Timestamp::from_millis(1)).unwrap();
        let lines =
            |before: &Heads| Changes::since(before, &stronghold).unwrap().lines(OUTPUT).collect::<Vec<_>>();
        assert_eq!(lines(&before), ["~ a/v/changed", "- a/v/gone", "+ a/v/new"]);
        assert_eq!(lines(&Heads::of(&stronghold)), [""; 0]);
    }
}
