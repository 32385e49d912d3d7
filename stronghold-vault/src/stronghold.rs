//! A Stronghold in memory: clients, vaults and records, and what this device knows of itself and others.

use std::collections::{BTreeMap, btree_map};

use stronghold_sync::{
    Ancestors, ClientId, DeviceId, EntryId, Location, LocationId, Mapping, Policy, RecordId, Scope,
    Selection, Shape, VaultId, heads,
};
use zeroize::Zeroizing;

use crate::{
    audit::{AuditAction, AuditLog, AuditRecord},
    devices::Devices,
    identity::{Identity, RandomnessError},
    locked::{KEY_LEN, LockedKey},
    peers::{Peer, Peers},
    record::{Inserted, MAX_HISTORY, Record, RecordCipher, SealedRevision},
    salts::Salts,
    steps::Steps,
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
    pub(crate) steps: Steps,
    pub(crate) devices: Devices,
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

impl Stronghold {
    /// An empty one, with a new identity, for the device called `name`.
    ///
    /// # Errors
    /// [`RandomnessError`] when the system gives no random bytes for the identity.
    pub fn new(name: &str) -> Result<Self, RandomnessError> {
        Ok(Self {
            clients: BTreeMap::new(),
            identity: Identity::generate()?,
            name: name.into(),
            peers: Peers::default(),
            policy: Policy::default(),
            log: AuditLog::default(),
            steps: Steps::default(),
            devices: Devices::default(),
            salts: Salts::default(),
        })
    }

    /// The shapes of all heads in scope, under the names they would arrive with, in the order of entries (location,
    /// then revision). Where the mapping brings two records together, what one replaces of the other is left out.
    #[must_use]
    pub fn shapes(&self, scope: &Scope, mapping: &Mapping) -> Vec<Shape> {
        if scope.is_everything() && mapping.is_empty() {
            return self.all_shapes();
        }
        let mut shapes = Vec::new();
        for (id, client, vault, record) in self.records_in(scope) {
            let target =
                if mapping.is_empty() { id } else { mapping.apply(&names(client, vault, record)).id() };
            shapes.extend(record.shapes(target));
        }
        if mapping.is_empty() { shapes } else { heads_of_each(shapes) }
    }

    /// The shapes of all heads. Most syncs are of everything, and walking map by map is faster than one walk over all: it
    /// costs little more than writing them down, so shapes are not kept beside the records.
    fn all_shapes(&self) -> Vec<Shape> {
        let mut shapes = Vec::with_capacity(self.record_count());
        for (&client, Client { vaults, .. }) in &self.clients {
            for (&vault, Vault { records, .. }) in vaults {
                for (&record, held) in records {
                    held.heads()
                        .for_each(|head| shapes.push(head.shape(LocationId { client, vault, record })));
                }
            }
        }
        shapes
    }

    /// The names behind a location's ids, if it is held, deleted or not.
    #[must_use]
    pub fn names_of(&self, id: &LocationId) -> Option<Location> {
        self.record(id).map(|(client, vault, record)| names(client, vault, record))
    }

    /// Takes a device's rules and its trust away, at the time `now` (milliseconds since 1970), and logs it; gives the number of
    /// rules. It can't take back what the device has had.
    pub fn revoke(&mut self, device: &DeviceId, now: u64) -> usize {
        self.peers.remove(device, now);
        self.steps.revoke(device);
        self.log.append(AuditRecord::about(*device, AuditAction::Revoked, now));
        self.policy.revoke(device)
    }

    /// Gives this device a new identity at the time `now` (milliseconds since 1970), as a copy of another device's snapshot
    /// needs one. Records, their histories and the log stay. Each paired device is revoked, and returned: it knows the old
    /// identity, and has to be paired anew.
    ///
    /// # Errors
    /// [`RandomnessError`] when the system gives no random bytes; nothing is changed then.
    pub fn renew_identity(&mut self, now: u64) -> Result<Vec<(DeviceId, Peer)>, RandomnessError> {
        let was = std::mem::replace(&mut self.identity, Identity::generate()?);
        self.log.append(AuditRecord::about(was.device(), AuditAction::Renewed, now));
        let paired: Vec<_> = self.peers.iter().map(|(device, peer)| (*device, peer.clone())).collect();
        paired.iter().for_each(|(device, _)| _ = self.revoke(device, now));
        Ok(paired)
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

    /// Makes the vault of a location, with this key; one that is there already stays as it is.
    pub(crate) fn add_vault(&mut self, location: &Location, id: LocationId, key: LockedKey) -> &mut Vault {
        let client = || Client { name: location.client().into(), vaults: BTreeMap::new() };
        let vault = Vault { name: location.vault().into(), key, records: BTreeMap::new() };
        self.clients.entry(id.client).or_insert_with(client).vaults.entry(id.vault).or_insert(vault)
    }

    /// Merges a sealed revision in, making the record if it is missing; `None` if its vault is. Every change of a record
    /// goes through here: the step that is being made notes it.
    pub(crate) fn insert(
        &mut self,
        location: &Location,
        id: LocationId,
        sealed: SealedRevision,
        now: u64,
    ) -> Option<Inserted> {
        let Self { clients, steps, .. } = self;
        let vault = clients.get_mut(&id.client)?.vaults.get_mut(&id.vault)?;
        steps.note(id, vault.records.get(&id.record));
        Some(match vault.records.entry(id.record) {
            btree_map::Entry::Occupied(mut record) => {
                let inserted = record.get_mut().insert(sealed, now);
                if record.get().history_len() > MAX_HISTORY {
                    record.get_mut().trim(&steps.named(&id), now);
                }
                inserted
            }
            btree_map::Entry::Vacant(slot) => {
                slot.insert(Record::new(location.record(), sealed));
                Inserted::Head
            }
        })
    }

    /// The ancestors of a revision that replaces all heads of a record.
    pub(crate) fn ancestors_of_next(&self, record: &Record) -> Ancestors {
        record.ancestors_of_next(|head| head.shared.is_set() || self.peers.was_disclosed(&head.id))
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
        self.records_reached(scope.first()).filter(move |(_, client, vault, record)| {
            everything || {
                write_names(&mut text, client, vault, record);
                scope.covers_text(&text)
            }
        })
    }

    /// Every record, in the order of ids, of the clients and vaults that a selection reaches: the others are passed over as a
    /// whole.
    fn records_reached(
        &self,
        first: &Selection,
    ) -> impl Iterator<Item = (LocationId, &Client, &Vault, &Record)> {
        let everything = first.is_everything();
        let reached = move |prefix: &str| everything || first.reaches(prefix);
        let clients = self
            .clients
            .iter()
            .filter(move |(_, client)| everything || reached(&format!("{}/", client.name)));
        clients.flat_map(move |(&client_id, client)| {
            let vaults = client.vaults.iter().filter(move |(_, vault)| {
                everything || first.reaches(&format!("{}/{}/", client.name, vault.name))
            });
            vaults.flat_map(move |(&vault_id, vault)| {
                vault.records.iter().map(move |(&record, held)| {
                    (LocationId { client: client_id, vault: vault_id, record }, client, vault, held)
                })
            })
        })
    }

    /// The shapes of all heads that a selection covers, in the order of entries, each with its location as text: for who
    /// matches further without holding on to the Stronghold.
    #[must_use]
    pub fn named_shapes(&self, selection: &Selection) -> Vec<(Box<str>, Shape)> {
        let mut named = Vec::new();
        let mut text = String::new();
        for (id, client, vault, record) in self.records_in(&Scope::of(selection.clone())) {
            write_names(&mut text, client, vault, record);
            named.extend(record.shapes(id).map(|shape| (Box::from(text.as_str()), shape)));
        }
        named
    }
}

impl Vault {
    pub(crate) fn record_cipher<'a>(
        &'a self,
        location: LocationId,
        devices: &'a Devices,
    ) -> RecordCipher<'a> {
        RecordCipher { key: &self.key, location, devices }
    }
}

/// Writes a location's text form in place of what stands there.
fn write_names(text: &mut String, client: &Client, vault: &Vault, record: &Record) {
    text.clear();
    for part in [&client.name, "/", &vault.name, "/", &record.name] {
        text.push_str(part);
    }
}

pub(crate) fn new_vault_key() -> Result<LockedKey, RandomnessError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(key.as_mut_slice()).map_err(|_| RandomnessError)?;
    Ok(LockedKey::new(&key))
}

pub(crate) fn names(client: &Client, vault: &Vault, record: &Record) -> Location {
    // Names are checked wherever they enter, so they make a location.
    Location::new_unchecked(&client.name, &vault.name, &record.name)
}

/// Of shapes that mapping has brought together, those that are heads of their record.
fn heads_of_each(mut shapes: Vec<Shape>) -> Vec<Shape> {
    shapes.sort_by_key(|shape| shape.location);
    let records = shapes.chunk_by(|one, next| one.location == next.location);
    records.flat_map(|record| heads(record.iter().cloned())).collect()
}

/// Which revision of which record a shape stands for.
pub(crate) fn entry(location: LocationId, sealed: &SealedRevision) -> EntryId {
    EntryId { location, revision: sealed.id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_vaults_have_a_key_in_common() {
        assert_ne!(new_vault_key().unwrap().expose(), new_vault_key().unwrap().expose());
    }
}
