//! Changes that are not stored yet: noted while they are made, so that they can be stored alone,
//! or taken back, at a cost that follows their number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stronghold_sync::{ClientId, LocationId, Policy, RecordId, VaultId, check_name};
use zeroize::Zeroizing;

use crate::{
    audit::{AuditLog, LogDelta},
    crypto::{identity::Identity, key_bytes},
    encoding::{self, DecodeError, EncodeError, Output},
    journal::Journal,
    locked::LockedKey,
    peers::{Peers, PeersDelta},
    record::Record,
    steps::{Steps, StepsDelta},
    stronghold::{Client, Stronghold, Vault},
};

/// The kinds of items, as stored.
mod kind {
    pub(super) const RECORD: u8 = 1;
    pub(super) const VAULT: u8 = 2;
    pub(super) const DEVICE: u8 = 3;
    pub(super) const DEVICES: u8 = 4;
    pub(super) const PEERS: u8 = 5;
    pub(super) const POLICY: u8 = 6;
    pub(super) const LOG: u8 = 7;
    pub(super) const STEPS: u8 = 8;
}

/// Length of an item's front: its kind, and the length of its body.
const FRONT_LEN: usize = 5;
/// Length of the ids of client and vault before a record.
const IDS_LEN: usize = 32;

#[derive(Serialize)]
struct NewVault<'a>(&'a str, &'a str, #[serde(with = "key_bytes")] &'a LockedKey);

#[derive(Deserialize)]
struct LoadedVault(Box<str>, Box<str>, #[serde(with = "key_bytes")] LockedKey);

#[derive(Serialize)]
struct Device<'a>(&'a str, #[serde(with = "key_bytes")] &'a LockedKey);

#[derive(Deserialize)]
struct LoadedDevice(String, #[serde(with = "key_bytes")] LockedKey);

impl Stronghold {
    /// Begins to note changes: they are what [`changes`](Self::changes) returns and
    /// [`revert_changes`](Self::revert_changes) takes back.
    pub fn begin_changes(&mut self) {
        self.journal = Some(Box::new(Journal { devices: self.devices.len(), ..Journal::default() }));
    }

    /// Returns the changes since [`begin_changes`](Self::begin_changes), for
    /// [`apply_changes`](Self::apply_changes); empty if nothing changed.
    ///
    /// # Errors
    /// [`EncodeError`] if a part changed that was not loaded.
    pub fn changes(&self) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
        match self.journal.as_deref() {
            Some(journal) => encoding::fill(|out| self.write_changes(journal, out)),
            None => Ok(Zeroizing::default()),
        }
    }

    /// Ends noting changes; they stay.
    pub fn keep_changes(&mut self) {
        self.journal = None;
    }

    /// Takes all changes since [`begin_changes`](Self::begin_changes) back.
    pub fn revert_changes(&mut self) {
        let Some(journal) = self.journal.take() else { return };
        let Journal { records, new_vaults, devices, name, identity, peers, policy, log, steps } = *journal;
        for (id, before) in records {
            self.note_for_digests(&id);
            let Some(vault) = self.vault_mut(&id) else { continue };
            match before {
                Some(record) => _ = vault.records.insert(id.record, *record),
                None => _ = vault.records.remove(&id.record),
            }
        }
        for id in new_vaults {
            let Some(client) = self.clients.get_mut(&id.client) else { continue };
            client.vaults.remove(&id.vault);
            if client.vaults.is_empty() {
                self.clients.remove(&id.client);
            }
        }
        self.devices.truncate(devices);
        restore(&mut self.name, name);
        restore(&mut self.identity, identity);
        restore(&mut self.peers, peers);
        restore(&mut self.policy, policy);
        restore(&mut self.log, log);
        restore(&mut self.steps, steps);
        self.steps.close();
    }

    /// Applies changes of another process to the state on which they were made.
    ///
    /// # Errors
    /// [`DecodeError`] if the changes could not have been made on this state.
    pub fn apply_changes(&mut self, changes: &[u8]) -> Result<(), DecodeError> {
        let mut rest = changes;
        while !rest.is_empty() {
            let ([kind, len @ ..], behind) = rest.split_first_chunk::<FRONT_LEN>().ok_or(DecodeError)?;
            let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| DecodeError)?;
            let (body, behind) = behind.split_at_checked(len).ok_or(DecodeError)?;
            self.apply_item(*kind, body)?;
            rest = behind;
        }
        Ok(())
    }

    fn apply_item(&mut self, kind: u8, body: &[u8]) -> Result<(), DecodeError> {
        match kind {
            kind::RECORD => self.apply_record(body)?,
            kind::VAULT => {
                let LoadedVault(client, vault, key) = encoding::decode(body)?;
                self.apply_vault(client, vault, key)?;
            }
            kind::DEVICE => {
                let LoadedDevice(name, secret) = encoding::decode(body)?;
                self.identity = Identity::from_locked(secret).map_err(|_| DecodeError)?;
                self.name = name;
            }
            kind::DEVICES => self.devices.append(encoding::decode(body)?)?,
            kind::PEERS => self.peers.apply(encoding::decode(body)?),
            kind::POLICY => self.policy = encoding::decode(body)?,
            kind::LOG if self.loaded.is_some() => {}
            kind::LOG => self.log.apply(encoding::decode(body)?)?,
            kind::STEPS if !self.is_writable() => {}
            kind::STEPS => self.steps.apply(encoding::decode(body)?)?,
            _ => return Err(DecodeError),
        }
        Ok(())
    }

    fn apply_record(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        let (ids, encoded) = body.split_at_checked(IDS_LEN).ok_or(DecodeError)?;
        let (client, vault) = ids.split_first_chunk::<16>().ok_or(DecodeError)?;
        let client = ClientId::from_bytes(*client);
        let vault = VaultId::from_bytes(vault.try_into().map_err(|_| DecodeError)?);
        if self.loaded.as_ref().is_some_and(|loaded| !loaded.records.iter().any(|id| id.vault == vault)) {
            return Ok(());
        }
        let record: Record = encoding::decode_sealed(encoded)?;
        let id = LocationId { client, vault, record: RecordId::of(vault, &record.name) };
        match &self.loaded {
            Some(loaded) if !loaded.records.contains(&id) => Ok(()),
            _ => self.put_record(id, record),
        }
    }

    fn apply_vault(
        &mut self,
        client_name: Box<str>,
        name: Box<str>,
        key: LockedKey,
    ) -> Result<(), DecodeError> {
        check_name(&client_name).and_then(|()| check_name(&name)).map_err(|_| DecodeError)?;
        let client = ClientId::of(&client_name);
        let vault = VaultId::of(client, &name);
        let new = || Client { name: client_name, vaults: BTreeMap::new() };
        let vaults = &mut self.clients.entry(client).or_insert_with(new).vaults;
        let is_new = vaults.insert(vault, Vault { name, key, records: BTreeMap::new() }).is_none();
        is_new.then_some(()).ok_or(DecodeError)
    }

    fn write_changes(&self, journal: &Journal, out: &mut Output<'_>) -> Result<(), EncodeError> {
        for (client, vault) in journal.new_vaults.iter().filter_map(|id| self.vault_names(id)) {
            put(out, kind::VAULT, &[], &NewVault(&client.name, &vault.name, &vault.key))?;
        }
        let is_renamed = journal.name.as_ref().is_some_and(|before| *before != self.name);
        if is_renamed || journal.identity.is_some() {
            put(out, kind::DEVICE, &[], &Device(&self.name, self.identity.secret()))?;
        }
        if self.devices.len() > journal.devices {
            put(out, kind::DEVICES, &[], &self.devices.behind(journal.devices))?;
        }
        for id in journal.records.keys() {
            let Some((.., record)) = self.record(id) else { continue };
            let ids = [*id.client.as_bytes(), *id.vault.as_bytes()].concat();
            put(out, kind::RECORD, &ids, record)?;
        }
        let peers = journal.peers.as_ref().map(|before| PeersDelta::new(before, &self.peers));
        if let Some(delta) = peers.filter(|delta| !delta.is_empty()) {
            put(out, kind::PEERS, &[], &delta)?;
        }
        if journal.policy.as_ref().is_some_and(|before| *before != self.policy) {
            put(out, kind::POLICY, &[], &self.policy)?;
        }
        if let Some(before) = &journal.log {
            if self.loaded.is_some() {
                return Err(EncodeError);
            }
            let delta = LogDelta::new(before, &self.log);
            delta.iter().try_for_each(|delta| put(out, kind::LOG, &[], delta))?;
        }
        if let Some(before) = &journal.steps {
            if !self.is_writable() {
                return Err(EncodeError);
            }
            let delta = StepsDelta::new(before, &self.steps);
            delta.iter().try_for_each(|delta| put(out, kind::STEPS, &[], delta))?;
        }
        Ok(())
    }

    fn vault_names(&self, id: &LocationId) -> Option<(&Client, &Vault)> {
        let client = self.clients.get(&id.client)?;
        Some((client, client.vaults.get(&id.vault)?))
    }

    /// Notes a record that is about to change; returns whether it was not noted before.
    pub(crate) fn touch_record(&mut self, id: &LocationId) -> bool {
        self.note_for_digests(id);
        let Some(journal) = &mut self.journal else { return false };
        let is_first = !journal.records.contains_key(id);
        if is_first {
            let vault = self.clients.get(&id.client).and_then(|client| client.vaults.get(&id.vault));
            let record = vault.and_then(|vault| vault.records.get(&id.record));
            journal.records.insert(*id, record.map(|record| Box::new(record.clone())));
        }
        is_first
    }

    /// Forgets that a record was noted, which has not changed after all.
    pub(crate) fn untouch_record(&mut self, id: &LocationId) {
        self.journal.iter_mut().for_each(|journal| _ = journal.records.remove(id));
    }

    pub(crate) fn touch_new_vault(&mut self, id: &LocationId) {
        self.journal.iter_mut().for_each(|journal| journal.new_vaults.push(*id));
    }

    pub(crate) fn touch_name(&mut self) {
        touch(&mut self.journal, |journal| &mut journal.name, &self.name);
    }

    /// Notes the identity that is replaced.
    pub(crate) fn touch_identity(&mut self, replaced: Identity) {
        if let Some(journal) = &mut self.journal {
            journal.identity.get_or_insert(replaced);
        }
    }

    pub(crate) fn touch_peers(&mut self) -> &mut Peers {
        touch(&mut self.journal, |journal| &mut journal.peers, &self.peers);
        &mut self.peers
    }

    pub(crate) fn touch_policy(&mut self) -> &mut Policy {
        touch(&mut self.journal, |journal| &mut journal.policy, &self.policy);
        &mut self.policy
    }

    pub(crate) fn touch_log(&mut self) -> &mut AuditLog {
        touch(&mut self.journal, |journal| &mut journal.log, &self.log);
        &mut self.log
    }

    pub(crate) fn touch_steps(&mut self) -> &mut Steps {
        touch(&mut self.journal, |journal| &mut journal.steps, &self.steps);
        &mut self.steps
    }
}

/// Notes a part as it is now, unless it is noted already.
fn touch<T: Clone>(
    journal: &mut Option<Box<Journal>>,
    part: impl Fn(&mut Journal) -> &mut Option<T>,
    now: &T,
) {
    if let Some(journal) = journal {
        part(journal).get_or_insert_with(|| now.clone());
    }
}

fn restore<T>(now: &mut T, before: Option<T>) {
    if let Some(before) = before {
        *now = before;
    }
}

/// Appends an item.
fn put<T: Serialize + ?Sized>(
    out: &mut Output<'_>,
    kind: u8,
    front: &[u8],
    body: &T,
) -> Result<(), EncodeError> {
    out.put(&[kind]);
    out.write_framed(front, body)
}
