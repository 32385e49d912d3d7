//! Going back: what stood before is written as ordinary revisions, so that it holds against a later sync; what was
//! replaced is forgotten for good.

use stronghold_sync::{Location, LocationId, Scope, Selection};

use crate::{
    record::{Damaged, Record},
    revision::Revision,
    stronghold::{Client, Stronghold, Vault, names},
    writing::{Content, WriteError},
};

impl Stronghold {
    /// Removes the replaced revisions of a selection; gives how many there were. The heads stay.
    pub fn purge(&mut self, selection: &Selection) -> u64 {
        let scope = Scope::of(selection.clone());
        let chosen: Vec<LocationId> = self.records_in(&scope).map(|(id, ..)| id).collect();
        let mut purged = 0;
        for id in chosen {
            let record = self.vault_mut(&id).and_then(|vault| vault.records.get_mut(&id.record));
            purged += record.map_or(0, Record::forget_history) as u64;
        }
        purged
    }

    /// The records whose heads are others than in `before`, in the order of their names.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> Vec<Location> {
        let mut changed: Vec<Location> = self
            .records()
            .filter(|(id, .., record)| !same_heads(record, before.record(id)))
            .chain(before.records().filter(|(id, ..)| self.record(id).is_none()))
            .map(|(_, client, vault, record)| names(client, vault, record))
            .collect();
        changed.sort();
        changed
    }

    /// Writes what `before` says of a record on top of all its heads: its value, both values of a conflict, or, where
    /// there was none, its deletion.
    ///
    /// # Errors
    /// [`WriteError`] when what is stored is damaged, or the system gives no random bytes.
    pub fn write_back(&mut self, location: &Location, before: &Self, now: u64) -> Result<(), WriteError> {
        let id = location.id();
        let then = before.record(&id).map(|held| open_heads(held, id)).transpose()?;
        let contents: Vec<Content<'_>> = match &then {
            Some(heads) => heads.iter().map(Content::of).collect(),
            None => vec![Content::Deletion],
        };
        let held = self.record(&id).or_else(|| before.record(&id));
        let ancestors = held.map(|(.., record)| record.ancestors_of_next()).unwrap_or_default();
        for content in contents {
            self.write_after(location, content, ancestors.clone(), now)?;
        }
        Ok(())
    }
}

fn same_heads(record: &Record, other: Option<(&Client, &Vault, &Record)>) -> bool {
    other.is_some_and(|(.., other)| record.heads().map(|head| head.id).eq(other.heads().map(|head| head.id)))
}

fn open_heads(held: (&Client, &Vault, &Record), id: LocationId) -> Result<Vec<Revision>, Damaged> {
    let (_, vault, record) = held;
    let keeper = vault.keeper(id);
    record.heads().map(|head| keeper.open(head)).collect()
}
