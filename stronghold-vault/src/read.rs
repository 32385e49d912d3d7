//! Reading a Stronghold: values, listings, histories, conflicts. What is shown of a record is decided here.

use stronghold_sync::{DeviceId, Location, LocationId, RevisionId, Scope, Selection, message::Listing};

use crate::{
    record::{Damaged, SealedRevision},
    revision::Revision,
    stronghold::{Stronghold, names},
};

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such record, or it was deleted.
    #[error("there is no such record")]
    NotFound,
    /// The record has no such revision, or not any more.
    #[error("the record has no such revision")]
    NoSuchRevision,
    /// What is stored is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// A record as it was read.
#[derive(Debug)]
pub struct ReadResult {
    /// The revision that was read.
    pub id: RevisionId,
    /// Its content.
    pub revision: Revision,
    /// When it was written, in milliseconds since 1970; by a foreign clock no later than it came here.
    pub modified: u64,
    /// Whether another head says something else.
    pub conflict: bool,
}

/// A revision as the history lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionInfo {
    /// Its id.
    pub revision: RevisionId,
    /// When it was written, in milliseconds since 1970; by a foreign clock no later than it came here.
    pub time: u64,
    /// The device that wrote it, as it says of itself.
    pub author: Option<DeviceId>,
    /// The device that delivered it; `None` where it was written here.
    pub via: Option<DeviceId>,
    /// Value and labels, in bytes.
    pub size: u64,
    /// Whether it is a deletion.
    pub deleted: bool,
    /// Whether nothing held replaces it.
    pub head: bool,
}

impl Stronghold {
    /// Reads the record: the head that is shown, and whether there is a conflict.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there or damaged.
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

    /// Reads one revision of a record, from its heads or its history.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there or damaged.
    pub fn read_revision(&self, location: &Location, revision: &RevisionId) -> Result<Revision, ReadError> {
        let id = location.id();
        let (_, vault, record) = self.record(&id).ok_or(ReadError::NotFound)?;
        let sealed = record.find(revision).ok_or(ReadError::NoSuchRevision)?;
        Ok(vault.record_cipher(id, &self.devices).open(sealed)?)
    }

    /// The readable records of a selection, in the order of their names, with the sizes of value and labels as they
    /// are. No value is opened for it, but of a record with several heads.
    ///
    /// # Errors
    /// [`Damaged`] when a record with several heads can't be opened.
    pub fn list(&self, selection: &Selection) -> Result<Vec<Listing>, Damaged> {
        self.list_filtered(&Scope::of(selection.clone()), |_| true)
    }

    /// The readable records in scope that `may` be listed, in the order of their names.
    pub(crate) fn list_filtered(
        &self,
        scope: &Scope,
        may: impl Fn(&Location) -> bool,
    ) -> Result<Vec<Listing>, Damaged> {
        let mut listed = Vec::new();
        for (id, client, vault, record) in self.records_in(scope) {
            let location = names(client, vault, record);
            if let Some(shown) = record.shown().filter(|head| !head.deleted && may(&location)) {
                listed.push(Listing {
                    size: shown.len(),
                    modified: shown.shown_time(),
                    revision: shown.id,
                    conflict: record.is_conflict(&vault.record_cipher(id, &self.devices))?,
                    location,
                });
            }
        }
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(listed)
    }

    /// A record's revisions, heads first, then newest first.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when nothing was ever written there.
    pub fn history(&self, location: &Location) -> Result<Vec<RevisionInfo>, ReadError> {
        let (_, _, record) = self.record(&location.id()).ok_or(ReadError::NotFound)?;
        let heads = record.head_count();
        let version = |(index, sealed): (usize, &SealedRevision)| RevisionInfo {
            revision: sealed.id,
            time: sealed.shown_time(),
            author: self.devices.id(sealed.origin.author),
            via: sealed.origin.delivered.and_then(|(via, _)| self.devices.id(via)),
            size: sealed.len(),
            deleted: sealed.deleted,
            head: index < heads,
        };
        Ok(record.revisions().enumerate().map(version).collect())
    }

    /// The records of a selection whose heads say different things, with those heads.
    ///
    /// # Errors
    /// [`Damaged`] when one can't be opened.
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

    /// Opens every revision: whether all of it can be read.
    ///
    /// # Errors
    /// [`Damaged`] when one can't be opened or is not what its id commits to.
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

    /// Whether the record at these ids has more than one head and they differ.
    ///
    /// # Errors
    /// [`Damaged`] when one can't be opened.
    pub fn is_conflict(&self, id: &LocationId) -> Result<bool, Damaged> {
        self.record(id).map_or(Ok(false), |(_, vault, record)| {
            record.is_conflict(&vault.record_cipher(*id, &self.devices))
        })
    }
}
