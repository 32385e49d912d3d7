//! Looks up what the vault holds of the client that a table is imported into, including deleted
//! records.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum as _;
use stronghold_sync::{Location, Mapping, Scope, Selection, is_shrunk, padme_len};
use stronghold_vault::{ReadError, Stronghold};
use zeroize::Zeroizing;

use super::{
    Format, SOURCE,
    table::{locate, place_of},
};
use crate::error::Failure;

/// Held credentials, decrypted on demand.
pub(super) struct Held<'a> {
    stronghold: &'a Stronghold,
    client: String,
    /// `group/title` of each credential, with the fields that it has or had.
    places: BTreeMap<String, BTreeSet<String>>,
    /// Locations of all readable records.
    names: Vec<Location>,
}

/// Current state of a record.
pub(super) enum State {
    /// The record never existed.
    Absent,
    /// The record is deleted.
    Removed,
    /// The record has these values, one per head. `imported` is `true` if an import wrote its only
    /// head.
    Says { values: Vec<Zeroizing<Vec<u8>>>, imported: bool },
}

impl State {
    /// Returns whether `value` is less than half as large as the largest held one.
    pub(super) fn is_shrunk_by(&self, value: &[u8]) -> bool {
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
                && let Some((place, field)) = place_of(&location)
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

    /// Returns the places of all credentials with this title: the plain one, then the numbered
    /// ones.
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

    /// Returns the state of each field that a credential has or had.
    pub(super) fn fields(&self, place: &str) -> Result<Vec<(String, State)>, Failure> {
        let mut fields = Vec::new();
        for field in self.places.get(place).into_iter().flatten() {
            if let Ok(location) = locate(&self.client, place, field) {
                fields.push((field.clone(), self.state(&location)?));
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
            imported &=
                revision.labels.get(SOURCE).is_some_and(|label| Format::from_str(label, false).is_ok());
            values.push(revision.value);
        }
        Ok(if values.is_empty() { State::Removed } else { State::Says { values, imported } })
    }

    /// Returns whether an older revision in the record's history has this value.
    pub(super) fn said_before(&self, location: &Location, value: &[u8]) -> Result<bool, Failure> {
        for version in self.stronghold.history(location).unwrap_or_default() {
            if !version.head && !version.deleted {
                let revision = self.stronghold.read_revision(location, &version.revision)?;
                if revision.value.as_slice() == value {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Returns [`said_before`](Self::said_before) for a field of a credential.
    pub(super) fn field_said_before(&self, place: &str, field: &str, value: &[u8]) -> Result<bool, Failure> {
        let location = locate(&self.client, place, field);
        location.map_or(Ok(false), |location| self.said_before(&location, value))
    }
}
