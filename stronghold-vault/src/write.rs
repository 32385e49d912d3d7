//! Writing to a Stronghold: each write is a new revision that replaces all heads of its record.

use stronghold_sync::{Ancestors, DeviceId, Location, Resolution, RevisionId, Timestamp};
use zeroize::Zeroizing;

use crate::{
    crypto::random::RandomnessError,
    read::ReadError,
    record::{Damaged, Origin, Record},
    revision::{Labels, Revision},
    stronghold::{Stronghold, names, new_vault_key},
};

/// An error of writing a record. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The record to replace does not exist or was deleted.
    #[error("no such record")]
    NotFound,
    /// The record does not have this revision.
    #[error("no such revision")]
    NoSuchRevision,
    /// There is a record at the location of the copy.
    #[error("there is a record already")]
    Exists,
    /// The value exceeds [`crate::MAX_VALUE`] or the labels exceed [`crate::MAX_LABELS`] bytes.
    #[error("the value is too large: at most 4 MiB, labels 4 KiB")]
    TooLarge,
    /// The system returned no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] RandomnessError),
    /// A stored value is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl Stronghold {
    /// Writes a value that replaces all heads, and returns its revision id; `now` is in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// [`WriteError`] if the value is too large or the system returns no random bytes.
    pub fn write(
        &mut self,
        location: &Location,
        value: &[u8],
        labels: Labels,
        now: Timestamp,
    ) -> Result<RevisionId, WriteError> {
        self.write_content(location, Content::Value(value, labels), now)
    }

    /// Deletes a record by writing a tombstone, and returns its revision id. The last values stay
    /// in the history.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if there is nothing to delete.
    pub fn remove(&mut self, location: &Location, now: Timestamp) -> Result<RevisionId, WriteError> {
        if !self.record(&location.id()).is_some_and(|(_, _, record)| record.is_readable()) {
            return Err(WriteError::NotFound);
        }
        self.write_content(location, Content::Deletion, now)
    }

    /// Resolves a conflict: writes the content of the revision `keep` over all heads and returns
    /// the new revision id. The other heads stay in the history.
    ///
    /// # Errors
    /// [`WriteError`] if the record or the revision does not exist.
    pub fn resolve(
        &mut self,
        location: &Location,
        keep: &RevisionId,
        now: Timestamp,
    ) -> Result<RevisionId, WriteError> {
        let kept = match self.read_revision(location, keep) {
            Ok(revision) => revision,
            Err(ReadError::NotFound) => return Err(WriteError::NotFound),
            Err(ReadError::NoSuchRevision) => return Err(WriteError::NoSuchRevision),
            Err(ReadError::Damaged(damaged)) => return Err(damaged.into()),
        };
        self.write_content(location, Content::of(&kept), now)
    }

    /// Resolves a conflict as a plan demands and returns whether there was one. Writes nothing if
    /// the heads turn out to be equal.
    ///
    /// # Errors
    /// [`WriteError`] if the winner can't be written.
    pub fn apply_resolution(&mut self, resolution: &Resolution, now: Timestamp) -> Result<bool, WriteError> {
        let Some((client, vault, record)) = self.record(&resolution.location) else { return Ok(false) };
        let winners = record.revisions().filter(|revision| resolution.winners.contains(&revision.id));
        let Some(winner) = Record::shown_of(winners).map(|winner| winner.id) else { return Ok(false) };
        let conflict = record.is_conflict(&vault.record_cipher(resolution.location, &self.devices))?;
        if conflict {
            self.resolve(&names(client, vault, record), &winner, now)?;
        }
        Ok(conflict)
    }

    fn write_content(
        &mut self,
        location: &Location,
        content: Content<'_>,
        now: Timestamp,
    ) -> Result<RevisionId, WriteError> {
        let held = self.record(&location.id());
        let ancestors = held.map(|(_, _, record)| self.ancestors_of_next(record)).unwrap_or_default();
        self.write_after(location, content, ancestors, now)
    }

    /// Writes a revision that replaces these ancestors.
    pub(crate) fn write_after(
        &mut self,
        location: &Location,
        content: Content<'_>,
        ancestors: Ancestors,
        now: Timestamp,
    ) -> Result<RevisionId, WriteError> {
        let id = location.id();
        let salt = self.salts.take()?;
        let author = self.identity.device();
        let revision = content.into_revision(salt, author, ancestors, now);
        if !revision.is_within_limits() {
            return Err(WriteError::TooLarge);
        }
        let revision_id = revision.id();
        if self.vault(&id).is_none() {
            self.add_vault(location, id, new_vault_key()?);
        }
        let origin = Origin::written_by(self.devices.number(author));
        let vault = self.vault(&id).ok_or(Damaged)?;
        let sealed = vault.record_cipher(id, &self.devices).seal(revision_id, &revision, origin)?;
        self.insert(location, id, sealed, now).ok_or(Damaged)?;
        Ok(revision_id)
    }
}

/// The content of a new revision.
pub(crate) enum Content<'a> {
    Value(&'a [u8], Labels),
    Deletion,
}

impl<'a> Content<'a> {
    pub(crate) fn of(revision: &'a Revision) -> Self {
        if revision.deleted { Self::Deletion } else { Self::Value(&revision.value, revision.labels.clone()) }
    }

    fn into_revision(
        self,
        salt: [u8; 32],
        author: DeviceId,
        ancestors: Ancestors,
        time: Timestamp,
    ) -> Revision {
        let (deleted, value, labels) = match self {
            Self::Value(value, labels) => (false, value, labels),
            Self::Deletion => (true, &[][..], Labels::new()),
        };
        Revision { salt, author, ancestors, deleted, labels, time, value: Zeroizing::new(value.to_vec()) }
    }
}
