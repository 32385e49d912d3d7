//! Reading a Stronghold: values, listings, histories and conflicts. This module decides what is
//! shown of a record.

use stronghold_sync::{
    DeviceId, Location, LocationId, RevisionId, Scope, Selection, Timestamp, message::Listing,
};

use crate::{
    record::{Damaged, SealedRevision},
    revision::Revision,
    stronghold::{Stronghold, Vault, names},
};

/// An error of reading a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The record does not exist or was deleted.
    #[error("no such record")]
    NotFound,
    /// The record does not have this revision, or no longer has it.
    #[error("no such revision")]
    NoSuchRevision,
    /// A stored value is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// The result of reading a record.
#[derive(Debug)]
pub struct ReadResult {
    /// Id of the revision that was read.
    pub id: RevisionId,
    /// Content of the revision.
    pub revision: Revision,
    /// Time of writing, in milliseconds since 1970; for a delivered revision at most the arrival
    /// time.
    pub modified: Timestamp,
    /// Set if another head differs in content.
    pub conflict: bool,
}

/// A record in a list: its names and its shown revision, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordInfo {
    /// The record's names.
    pub location: Location,
    /// The revision shown.
    pub revision: RevisionId,
    /// Size of value and labels, in bytes; padded, if a peer lists the record.
    pub size: u64,
    /// Time of writing, in milliseconds since 1970; for a delivered revision at most the arrival
    /// time.
    pub modified: Timestamp,
    /// Set if another head differs in content.
    pub conflict: bool,
}

impl From<Listing> for RecordInfo {
    fn from(Listing { location, revision, size, modified, conflict }: Listing) -> Self {
        Self { location, revision, size, modified, conflict }
    }
}

impl From<RecordInfo> for Listing {
    fn from(RecordInfo { location, revision, size, modified, conflict }: RecordInfo) -> Self {
        Self { location, revision, size, modified, conflict }
    }
}

/// A revision in a record's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionInfo {
    /// Id of the revision.
    pub revision: RevisionId,
    /// Time of writing, in milliseconds since 1970; for a delivered revision at most the arrival
    /// time.
    pub time: Timestamp,
    /// The device that wrote the revision, as that device claims.
    pub author: Option<DeviceId>,
    /// The device that delivered the revision; `None` if it was written here.
    pub via: Option<DeviceId>,
    /// Size of value and labels, in bytes.
    pub size: u64,
    /// Set for a deletion.
    pub deleted: bool,
    /// Set if no held revision replaces this one.
    pub head: bool,
}

impl Stronghold {
    /// Reads a record: returns the head to show and whether there is a conflict.
    ///
    /// # Errors
    /// [`ReadError`] if the record does not exist or is damaged.
    pub fn read(&self, location: &Location) -> Result<ReadResult, ReadError> {
        let id = location.id();
        let (_, vault, record) = self.record(&id).ok_or(ReadError::NotFound)?;
        let head = record.shown().filter(|head| !head.deleted).ok_or(ReadError::NotFound)?;
        let keeper = vault.record_cipher(id, &self.devices);
        let revision = keeper.open(head)?;
        Ok(ReadResult {
            id: head.id,
            revision,
            modified: head.shown_time(),
            conflict: record.is_conflict(&keeper)?,
        })
    }

    /// Reads one revision from a record's heads or history.
    ///
    /// # Errors
    /// [`ReadError`] if the record or the revision does not exist or is damaged.
    pub fn read_revision(&self, location: &Location, revision: &RevisionId) -> Result<Revision, ReadError> {
        let id = location.id();
        let (_, vault, record) = self.record(&id).ok_or(ReadError::NotFound)?;
        let sealed = record.find(revision).ok_or(ReadError::NoSuchRevision)?;
        Ok(vault.record_cipher(id, &self.devices).open(sealed)?)
    }

    /// Returns the readable records of a selection, ordered by location. Opens values only of
    /// records with several heads.
    ///
    /// An item is [`Damaged`] if a record with several heads can't be opened.
    pub fn list<'a>(
        &'a self,
        selection: &'a Selection,
    ) -> impl Iterator<Item = Result<RecordInfo, Damaged>> + use<'a> {
        let everything = selection.is_everything();
        self.list_filtered(selection, move |location| everything || selection.covers(location))
    }

    /// Returns the readable records that `covers` accepts, ordered by location. `first` is a
    /// selection that covers them all.
    pub(crate) fn list_filtered<'a>(
        &'a self,
        first: &'a Selection,
        covers: impl Fn(&Location) -> bool + 'a,
    ) -> impl Iterator<Item = Result<RecordInfo, Damaged>> {
        self.records_by_name(first).filter_map(move |(id, client, vault, record)| {
            let shown = record.shown().filter(|head| !head.deleted)?;
            let location = Some(names(client, vault, record)).filter(&covers)?;
            let conflict = record.is_conflict(&vault.record_cipher(id, &self.devices));
            Some(conflict.map(|conflict| RecordInfo {
                location,
                revision: shown.id,
                size: shown.len(),
                modified: shown.shown_time(),
                conflict,
            }))
        })
    }

    /// Returns the locations of the readable records of a selection, in no particular order.
    pub fn locations<'a>(&'a self, selection: &'a Selection) -> impl Iterator<Item = Location> + use<'a> {
        let readable = self.records_reached(selection).filter(|(.., record)| record.is_readable());
        let locations = readable.map(|(_, client, vault, record)| names(client, vault, record));
        locations.filter(|location| selection.is_everything() || selection.covers(location))
    }

    /// Returns whether a record exists and is not deleted.
    pub fn contains(&self, location: &Location) -> bool {
        self.record(&location.id()).is_some_and(|(.., record)| record.is_readable())
    }

    /// Returns the names of the clients with readable records, sorted.
    pub fn clients(&self) -> Vec<&str> {
        let held = self.clients.values().filter(|client| client.vaults.values().any(Vault::is_readable));
        sorted(held.map(|client| &*client.name))
    }

    /// Returns the names of a client's vaults with readable records, sorted.
    pub fn vaults(&self, client: &str) -> Vec<&str> {
        let clients = self.clients.values().filter(|held| &*held.name == client);
        let held = clients.flat_map(|client| client.vaults.values()).filter(|vault| vault.is_readable());
        sorted(held.map(|vault| &*vault.name))
    }

    /// Returns a record's revisions: heads first, then the history, newest first.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] if nothing was ever written there.
    pub fn history(&self, location: &Location) -> Result<Vec<RevisionInfo>, ReadError> {
        let (_, _, record) = self.record(&location.id()).ok_or(ReadError::NotFound)?;
        let heads = record.head_count();
        let version = |(index, sealed): (usize, &SealedRevision)| RevisionInfo {
            revision: sealed.id,
            time: sealed.shown_time(),
            author: self.devices.id(sealed.origin.author),
            via: sealed.origin.delivered().and_then(|(via, _)| self.devices.id(via)),
            size: sealed.len(),
            deleted: sealed.deleted,
            head: index < heads,
        };
        Ok(record.revisions().enumerate().map(version).collect())
    }

    /// Returns the records of a selection that are in conflict, with their heads.
    ///
    /// # Errors
    /// [`Damaged`] if one of them can't be opened.
    pub fn conflicts(&self, selection: &Selection) -> Result<Vec<(Location, Vec<RevisionInfo>)>, Damaged> {
        let scope = Scope::of(selection.clone());
        let mut found = Vec::new();
        for (id, client, vault, record) in
            self.records_in(&scope).filter(|(.., record)| record.head_count() > 1)
        {
            if record.is_conflict(&vault.record_cipher(id, &self.devices))? {
                let location = names(client, vault, record);
                let heads = self.history(&location).unwrap_or_default();
                found.push((location, heads.into_iter().filter(|version| version.head).collect()));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Opens every revision, checks its id and returns the number of revisions.
    ///
    /// # Errors
    /// [`Damaged`] if a revision can't be opened or does not match its id.
    pub fn verify(&self) -> Result<u64, Damaged> {
        let mut count = 0;
        for (id, _, vault, record) in self.records() {
            let keeper = vault.record_cipher(id, &self.devices);
            for sealed in record.revisions() {
                if keeper.open(sealed)?.id() != sealed.id {
                    return Err(Damaged);
                }
                count += 1;
            }
        }
        Ok(count)
    }

    /// Checks whether the record at these ids has several heads that differ in content.
    ///
    /// # Errors
    /// [`Damaged`] if one of its heads can't be opened.
    pub fn is_conflict(&self, id: &LocationId) -> Result<bool, Damaged> {
        self.record(id).map_or(Ok(false), |(_, vault, record)| {
            record.is_conflict(&vault.record_cipher(*id, &self.devices))
        })
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}
