//! What a command does to records, or would do: by name, for people the first twenty, for programs all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stronghold_snapshot::Home;
use stronghold_sync::{Location, LocationId, Mapping, RevisionId, Scope, Selection, visible};
use stronghold_vault::Stronghold;

use crate::error::Failure;

/// How many records are named to a person.
pub(crate) const NAMED: usize = 20;

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It could not be read before.
    New,
    /// It says something else, or says it by another revision.
    Changed,
    /// It can't be read any more.
    Deleted,
    /// Its heads say different things.
    Conflict,
}

/// Records with what becomes of each, in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    named: BTreeMap<Location, Change>,
    /// Records whose names are not known.
    unnamed: usize,
}

/// The heads of all records at one moment, each with whether it is a deletion.
struct Heads(BTreeMap<LocationId, BTreeSet<(RevisionId, bool)>>);

/// Does some work on the records and commits it, or on a dry run does it on a copy in memory; returns what it did too.
///
/// # Errors
/// What `work` returns, or a [`Failure`] of the snapshot: nothing was written then.
pub(crate) fn told<T>(
    home: &mut Home,
    dry_run: bool,
    work: impl FnOnce(&mut Stronghold) -> Result<T, Failure>,
) -> Result<(T, Changes), Failure> {
    let work = |stronghold: &mut Stronghold| {
        let before = Heads::of(stronghold);
        let done = work(stronghold)?;
        Ok((done, Changes::since(&before, stronghold)?))
    };
    if dry_run { home.rehearse(work) } else { home.update(work) }
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

    /// Adds a record and what becomes of it.
    pub(crate) fn add(&mut self, location: Location, change: Change) {
        self.named.insert(location, change);
    }

    /// Adds a record whose name is not known.
    pub(crate) fn add_unnamed(&mut self) {
        self.unnamed += 1;
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.unnamed == 0
    }

    /// Returns one line a record, and how many more there are.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let line = |(location, change): (&Location, &Change)| {
            format!("{} {}", change.mark(), visible(&location.to_string()))
        };
        let more = self.named.len().saturating_sub(NAMED);
        let rest = (more > 0).then(|| format!("  and {more} more (--json names all)"));
        let unnamed = (self.unnamed > 0).then(|| format!("  and {} whose names are not known", self.unnamed));
        self.named.iter().take(NAMED).map(line).chain(rest).chain(unnamed)
    }

    /// Returns all of them for programs: `{location, change}` each.
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
