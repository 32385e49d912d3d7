//! What the vault holds of the client that a table is imported into, deleted records too.

use std::collections::{BTreeMap, BTreeSet};

use stronghold_sync::{Location, Mapping, Scope, Selection, is_shrunk, padme_len};
use stronghold_vault::{ReadError, Stronghold};
use zeroize::Zeroizing;

use super::LABEL;
use crate::{credentials, error::Failure};

/// What is held, read as it is asked for.
pub(super) struct Held<'a> {
    stronghold: &'a Stronghold,
    client: String,
    /// `group/title` of every credential, with the fields that it has or had.
    places: BTreeMap<String, BTreeSet<&'static str>>,
    /// All names that can be read.
    names: Vec<Location>,
}

/// What a record says now.
pub(super) enum State {
    /// It was never there.
    Absent,
    /// It was, and is deleted.
    Removed,
    /// It says this, by one head or several.
    Says { values: Vec<Zeroizing<Vec<u8>>>, imported: bool },
}

impl State {
    /// Returns whether this value is less than half as large as the largest that is held.
    pub(super) fn is_shrunk_by(&self, value: &str) -> bool {
        let Self::Says { values, .. } = self else { return false };
        let largest = values.iter().map(|value| value.len()).max().unwrap_or(0);
        is_shrunk(padme_len(largest as u64), padme_len(value.len() as u64))
    }
}

impl<'a> Held<'a> {
    pub(super) fn of(stronghold: &'a Stronghold, client: &str) -> Self {
        let shapes = stronghold.shapes(&Scope::of(Selection::everything()), &Mapping::default());
        let ids: BTreeMap<_, bool> = shapes.iter().fold(BTreeMap::new(), |mut ids, shape| {
            *ids.entry(shape.location).or_default() |= !shape.deleted;
            ids
        });
        let mut held =
            Self { stronghold, client: client.to_owned(), places: BTreeMap::new(), names: Vec::new() };
        for (id, readable) in ids {
            let Some(location) = stronghold.names_of(&id) else { continue };
            if location.client() == client
                && let Some((place, field)) = credentials::place_of(&location)
            {
                held.places.entry(place).or_default().insert(field);
            }
            if readable {
                held.names.push(location);
            }
        }
        held
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Location> {
        self.names.iter()
    }

    pub(super) fn has_place(&self, place: &str) -> bool {
        self.places.contains_key(place)
    }

    /// The places of the credentials of this title: its own, and those with a number.
    pub(super) fn places_of(&self, place: &str) -> Vec<&str> {
        let start = format!("{place} (");
        let numbered = self.places.range(start.clone()..).map(|(name, _)| name.as_str());
        let is_number = |name: &&str| {
            let number = name[start.len()..].strip_suffix(')');
            number.is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
            })
        };
        let mut found: Vec<&str> =
            numbered.take_while(|name| name.starts_with(&start)).filter(is_number).collect();
        found.sort_by_key(|name| (name.len(), *name));
        let own = self.places.get_key_value(place).map(|(name, _)| name.as_str());
        own.into_iter().chain(found).collect()
    }

    /// What each field of a credential says now; those that say nothing are not among them.
    pub(super) fn fields(&self, place: &str) -> Result<Vec<(&'static str, State)>, Failure> {
        let mut fields = Vec::new();
        for field in self.places.get(place).into_iter().flatten() {
            if let Ok(location) = credentials::locate(&self.client, place, field) {
                fields.push((*field, self.state(&location)?));
            }
        }
        Ok(fields)
    }

    pub(super) fn state(&self, location: &Location) -> Result<State, Failure> {
        let history = match self.stronghold.history(location) {
            Err(ReadError::NotFound) => return Ok(State::Absent),
            history => history?,
        };
        let heads: Vec<_> = history.iter().filter(|version| version.head).collect();
        let mut values = Vec::new();
        let mut imported = heads.len() == 1;
        for head in heads.iter().filter(|head| !head.deleted) {
            let revision = self.stronghold.read_revision(location, &head.revision)?;
            imported &= revision.labels.get(LABEL.0).is_some_and(|label| label == LABEL.1);
            values.push(revision.value);
        }
        Ok(if values.is_empty() { State::Removed } else { State::Says { values, imported } })
    }

    /// Whether a record said this before, as far as its history goes.
    pub(super) fn said_before(&self, location: &Location, value: &str) -> Result<bool, Failure> {
        for version in self.stronghold.history(location).unwrap_or_default() {
            if !version.head && !version.deleted {
                let revision = self.stronghold.read_revision(location, &version.revision)?;
                if revision.value.as_slice() == value.as_bytes() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// As [`said_before`](Self::said_before), of a field of a credential.
    pub(super) fn field_said_before(&self, place: &str, field: &str, value: &str) -> Result<bool, Failure> {
        let location = credentials::locate(&self.client, place, field);
        location.map_or(Ok(false), |location| self.said_before(&location, value))
    }
}
