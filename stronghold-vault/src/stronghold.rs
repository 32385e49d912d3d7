//! A Stronghold in memory: clients, vaults and records, and what this device knows of itself and others.

use std::collections::{BTreeMap, btree_map};

use stronghold_sync::{
    Ancestors, ClientId, EntryId, Location, LocationId, Mapping, Policy, RecordId, Resolution, RevisionId,
    Scope, Selection, Shape, VaultId, heads, message::Listing,
};
use zeroize::Zeroizing;

use crate::{
    audit::AuditLog,
    identity::{Identity, NoRandomness},
    locked::{KEY_LEN, LockedKey},
    peers::Peers,
    record::{Damaged, Inserted, Keeper, Record, Sealed},
    revision::{Labels, Revision},
    salts::Salts,
};

/// Everything one device holds: secrets, its identity, its peers, its policy and its log.
#[derive(Debug)]
pub struct Stronghold {
    pub(crate) clients: BTreeMap<ClientId, Client>,
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) peers: Peers,
    pub(crate) policy: Policy,
    pub(crate) log: AuditLog,
    pub(crate) salts: Salts,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: Box<str>,
    pub(crate) vaults: BTreeMap<VaultId, Vault>,
}

#[derive(Debug)]
pub(crate) struct Vault {
    pub(crate) name: Box<str>,
    pub(crate) key: LockedKey,
    pub(crate) records: BTreeMap<RecordId, Record>,
}

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

/// Why something could not be written. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// There is no such record to replace, or it was deleted.
    #[error("there is no such record")]
    NotFound,
    /// The record has no such revision.
    #[error("the record has no such revision")]
    NoSuchRevision,
    /// The value is over [`crate::MAX_VALUE`] or the labels are over [`crate::MAX_LABELS`] bytes.
    #[error("the value is too large: at most 4 MiB, labels 4 KiB")]
    TooLarge,
    /// The system gave no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// What is stored is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// A record as it was read.
#[derive(Debug)]
pub struct Reading {
    /// The revision that was read.
    pub id: RevisionId,
    /// Its content.
    pub revision: Revision,
    /// Whether another head says something else.
    pub conflict: bool,
}

/// A revision as the history lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub revision: RevisionId,
    /// When it was written, in milliseconds since 1970.
    pub time: u64,
    /// Value and labels, in bytes.
    pub size: u64,
    /// Whether it is a deletion.
    pub deleted: bool,
    /// Whether nothing held replaces it.
    pub head: bool,
}

impl Stronghold {
    /// An empty one, with a new identity, for the device called `name`.
    ///
    /// # Errors
    /// [`NoRandomness`] when the system gives no random bytes for the identity.
    pub fn new(name: &str) -> Result<Self, NoRandomness> {
        Ok(Self {
            clients: BTreeMap::new(),
            identity: Identity::generate()?,
            name: name.into(),
            peers: Peers::default(),
            policy: Policy::default(),
            log: AuditLog::default(),
            salts: Salts::default(),
        })
    }

    /// Writes a value, replacing all heads; `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`WriteError`] when the value is too large or the system gives no random bytes.
    pub fn write(
        &mut self,
        location: &Location,
        value: &[u8],
        labels: Labels,
        now: u64,
    ) -> Result<RevisionId, WriteError> {
        self.write_content(location, Content::Value(value, labels), now)
    }

    /// Deletes a record by writing a tombstone; its last values stay in the history.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] when there is nothing to delete.
    pub fn remove(&mut self, location: &Location, now: u64) -> Result<RevisionId, WriteError> {
        if !self.record(&location.id()).is_some_and(|(_, _, record)| record.is_readable()) {
            return Err(WriteError::NotFound);
        }
        self.write_content(location, Content::Deletion, now)
    }

    /// Reads the record: the head that is shown, and whether there is a conflict.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there or damaged.
    pub fn read(&self, location: &Location) -> Result<Reading, ReadError> {
        let id = location.id();
        let (_, vault, record) = self.record(&id).ok_or(ReadError::NotFound)?;
        let head = record.shown().filter(|head| !head.deleted).ok_or(ReadError::NotFound)?;
        let keeper = vault.keeper(id);
        let revision = keeper.open(head)?;
        Ok(Reading { id: head.id, revision, conflict: record.is_conflict(&keeper)? })
    }

    /// Reads one revision of a record, from its heads or its history.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there or damaged.
    pub fn read_revision(&self, location: &Location, revision: &RevisionId) -> Result<Revision, ReadError> {
        let id = location.id();
        let (_, vault, record) = self.record(&id).ok_or(ReadError::NotFound)?;
        let sealed = record.find(revision).ok_or(ReadError::NoSuchRevision)?;
        Ok(vault.keeper(id).open(sealed)?)
    }

    /// The readable records of a selection, in the order of their names, with the sizes of value and labels as they
    /// are. No value is opened for it, but of a record with several heads.
    ///
    /// # Errors
    /// [`Damaged`] when a record with several heads can't be opened.
    pub fn list(&self, selection: &Selection) -> Result<Vec<Listing>, Damaged> {
        self.listed(&Scope::of(selection.clone()), |_| true)
    }

    /// The readable records in scope that `may` be listed, in the order of their names.
    pub(crate) fn listed(
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
                    modified: shown.time,
                    revision: shown.id,
                    conflict: record.is_conflict(&vault.keeper(id))?,
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
    pub fn history(&self, location: &Location) -> Result<Vec<Version>, ReadError> {
        let (_, _, record) = self.record(&location.id()).ok_or(ReadError::NotFound)?;
        let heads = record.head_count();
        let version = |(index, sealed): (usize, &Sealed)| Version {
            revision: sealed.id,
            time: sealed.time,
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
    pub fn conflicts(&self, selection: &Selection) -> Result<Vec<(Location, Vec<Version>)>, Damaged> {
        let scope = Scope::of(selection.clone());
        let mut found = Vec::new();
        for (id, client, vault, record) in
            self.records_in(&scope).filter(|(.., record)| record.head_count() > 1)
        {
            if record.is_conflict(&vault.keeper(id))? {
                let location = names(client, vault, record);
                let heads = self.history(&location).unwrap_or_default();
                found.push((location, heads.into_iter().filter(|version| version.head).collect()));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Ends a conflict by writing what `keep` says on top of all heads; the others stay in the history.
    ///
    /// # Errors
    /// [`WriteError`] when there is no such record or revision.
    pub fn resolve(
        &mut self,
        location: &Location,
        keep: &RevisionId,
        now: u64,
    ) -> Result<RevisionId, WriteError> {
        let kept = match self.read_revision(location, keep) {
            Ok(revision) => revision,
            Err(ReadError::NotFound) => return Err(WriteError::NotFound),
            Err(ReadError::NoSuchRevision) => return Err(WriteError::NoSuchRevision),
            Err(ReadError::Damaged(damaged)) => return Err(damaged.into()),
        };
        self.write_content(location, Content::of(&kept), now)
    }

    /// Ends a conflict as a plan says, and says whether there was one: where the heads turn out to be equal, nothing
    /// is written.
    ///
    /// # Errors
    /// [`WriteError`] when it can't be written.
    pub fn settle(&mut self, resolution: &Resolution, now: u64) -> Result<bool, WriteError> {
        let Some((client, vault, record)) = self.record(&resolution.location) else { return Ok(false) };
        let winners = record.revisions().filter(|revision| resolution.winners.contains(&revision.id));
        let Some(winner) = Record::shown_of(winners).map(|winner| winner.id) else { return Ok(false) };
        let conflict = record.is_conflict(&vault.keeper(resolution.location))?;
        if conflict {
            self.resolve(&names(client, vault, record), &winner, now)?;
        }
        Ok(conflict)
    }

    /// The shapes of all heads in scope, under the names they would arrive with, in the order of entries (location,
    /// then revision). Where the mapping brings two records together, what one replaces of the other is left out.
    #[must_use]
    pub fn shapes(&self, scope: &Scope, mapping: &Mapping) -> Vec<Shape> {
        let most = if scope.is_everything() { self.record_count() } else { 0 };
        let mut shapes = Vec::with_capacity(most);
        for (id, client, vault, record) in self.records_in(scope) {
            let target =
                if mapping.is_empty() { id } else { mapping.apply(&names(client, vault, record)).id() };
            shapes.extend(record.shapes(target));
        }
        if mapping.is_empty() { shapes } else { heads_of_each(shapes) }
    }

    /// The names behind a location's ids, if it is held, deleted or not.
    #[must_use]
    pub fn names_of(&self, id: &LocationId) -> Option<Location> {
        self.record(id).map(|(client, vault, record)| names(client, vault, record))
    }

    /// Whether the record at these ids has more than one head and they differ.
    ///
    /// # Errors
    /// [`Damaged`] when one can't be opened.
    pub fn is_conflict(&self, id: &LocationId) -> Result<bool, Damaged> {
        self.record(id).map_or(Ok(false), |(_, vault, record)| record.is_conflict(&vault.keeper(*id)))
    }

    /// Opens every revision: whether all of it can be read.
    ///
    /// # Errors
    /// [`Damaged`] when one can't be opened or is not what its id commits to.
    pub fn verify(&self) -> Result<u64, Damaged> {
        let mut count = 0;
        for (id, _, vault, record) in self.records() {
            let keeper = vault.keeper(id);
            for sealed in record.revisions() {
                if keeper.open(sealed)?.id() != sealed.id {
                    return Err(Damaged);
                }
                count += 1;
            }
        }
        Ok(count)
    }

    /// This device's identity.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// This device's name, as others see it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives this device another name.
    pub fn rename(&mut self, name: &str) {
        self.name = name.into();
    }

    /// The paired devices.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The paired devices, to change.
    pub fn peers_mut(&mut self) -> &mut Peers {
        &mut self.peers
    }

    /// What peers may do here.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What peers may do here, to change.
    pub fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }

    /// The log of decisions.
    #[must_use]
    pub fn log(&self) -> &AuditLog {
        &self.log
    }

    /// The log of decisions, to append to.
    pub fn log_mut(&mut self) -> &mut AuditLog {
        &mut self.log
    }

    fn write_content(
        &mut self,
        location: &Location,
        content: Content<'_>,
        now: u64,
    ) -> Result<RevisionId, WriteError> {
        let id = location.id();
        let ancestors = self.record(&id).map(|(_, _, record)| record.ancestors_of_next()).unwrap_or_default();
        let salt = self.salts.take()?;
        let revision = content.into_revision(salt, ancestors, now);
        if !revision.is_within_limits() {
            return Err(WriteError::TooLarge);
        }
        let revision_id = revision.id();
        let vault = match self.vault(&id) {
            None => self.add_vault(location, id, new_vault_key()?),
            Some(_) => self.vault_mut(&id).ok_or(Damaged)?,
        };
        let sealed = vault.keeper(id).seal(revision_id, &revision)?;
        vault.insert(location, id, sealed);
        Ok(revision_id)
    }

    /// Makes the vault of a location, with this key; one that is there already stays as it is.
    pub(crate) fn add_vault(&mut self, location: &Location, id: LocationId, key: LockedKey) -> &mut Vault {
        let client = || Client { name: location.client().into(), vaults: BTreeMap::new() };
        let vault = Vault { name: location.vault().into(), key, records: BTreeMap::new() };
        self.clients.entry(id.client).or_insert_with(client).vaults.entry(id.vault).or_insert(vault)
    }

    pub(crate) fn vault_mut(&mut self, id: &LocationId) -> Option<&mut Vault> {
        self.clients.get_mut(&id.client)?.vaults.get_mut(&id.vault)
    }

    pub(crate) fn vault(&self, id: &LocationId) -> Option<&Vault> {
        self.clients.get(&id.client)?.vaults.get(&id.vault)
    }

    pub(crate) fn record(&self, id: &LocationId) -> Option<(&Client, &Vault, &Record)> {
        let client = self.clients.get(&id.client)?;
        let vault = client.vaults.get(&id.vault)?;
        Some((client, vault, vault.records.get(&id.record)?))
    }

    fn record_count(&self) -> usize {
        self.clients.values().flat_map(|client| client.vaults.values()).map(|vault| vault.records.len()).sum()
    }

    /// Every record, in the order of ids.
    pub(crate) fn records(&self) -> impl Iterator<Item = (LocationId, &Client, &Vault, &Record)> {
        self.clients.iter().flat_map(|(&client_id, client)| {
            client.vaults.iter().flat_map(move |(&vault_id, vault)| {
                vault.records.iter().map(move |(&record, held)| {
                    (LocationId { client: client_id, vault: vault_id, record }, client, vault, held)
                })
            })
        })
    }

    pub(crate) fn records_in(
        &self,
        scope: &Scope,
    ) -> impl Iterator<Item = (LocationId, &Client, &Vault, &Record)> {
        let everything = scope.is_everything();
        let mut text = String::new();
        self.records().filter(move |(_, client, vault, record)| {
            everything || {
                text.clear();
                for part in [&client.name, "/", &vault.name, "/", &record.name] {
                    text.push_str(part);
                }
                scope.covers_text(&text)
            }
        })
    }
}

impl Vault {
    /// Merges a sealed revision in, making the record if it is missing.
    pub(crate) fn insert(&mut self, location: &Location, id: LocationId, sealed: Sealed) -> Inserted {
        match self.records.entry(id.record) {
            btree_map::Entry::Occupied(mut record) => record.get_mut().insert(sealed),
            btree_map::Entry::Vacant(slot) => {
                slot.insert(Record::new(location.record(), sealed));
                Inserted::Head
            }
        }
    }

    pub(crate) fn keeper(&self, location: LocationId) -> Keeper<'_> {
        Keeper { key: &self.key, location }
    }
}

pub(crate) fn new_vault_key() -> Result<LockedKey, NoRandomness> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(key.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(LockedKey::new(&key))
}

pub(crate) fn names(client: &Client, vault: &Vault, record: &Record) -> Location {
    // Names are checked wherever they enter, so they make a location.
    Location::trusted(&client.name, &vault.name, &record.name)
}

enum Content<'a> {
    Value(&'a [u8], Labels),
    Deletion,
}

impl<'a> Content<'a> {
    fn of(revision: &'a Revision) -> Self {
        if revision.deleted { Self::Deletion } else { Self::Value(&revision.value, revision.labels.clone()) }
    }

    fn into_revision(self, salt: [u8; 32], ancestors: Ancestors, time: u64) -> Revision {
        let (deleted, value, labels) = match self {
            Self::Value(value, labels) => (false, value, labels),
            Self::Deletion => (true, &[][..], Labels::new()),
        };
        Revision { salt, ancestors, deleted, labels, time, value: Zeroizing::new(value.to_vec()) }
    }
}

/// Of shapes that mapping has brought together, those that are heads of their record.
fn heads_of_each(mut shapes: Vec<Shape>) -> Vec<Shape> {
    shapes.sort_by_key(|shape| shape.location);
    let records = shapes.chunk_by(|one, next| one.location == next.location);
    records.flat_map(|record| heads(record.iter().cloned())).collect()
}

/// Which revision of which record a shape stands for.
pub(crate) fn entry(location: LocationId, sealed: &Sealed) -> EntryId {
    EntryId { location, revision: sealed.id }
}
