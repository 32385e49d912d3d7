//! A Stronghold in memory: its clients, vaults and records, and the state of this device and its
//! peers.

use std::collections::{BTreeMap, btree_map};

use stronghold_sync::{
    Ancestors, ClientId, DeviceId, EntryId, Location, LocationId, Mapping, Policy, RecordId, Scope,
    Selection, Shape, Timestamp, VaultId, heads,
};
use zeroize::Zeroizing;

use crate::{
    ages::Limits,
    audit::{AuditAction, AuditLog, AuditRecord},
    crypto::{
        identity::Identity,
        random::{RandomnessError, fill_random},
        salts::Salts,
    },
    devices::Devices,
    digests::Digests,
    journal::{Journal, Loaded},
    locked::{KEY_LEN, LockedKey},
    order::Order,
    peers::{Peer, Peers},
    record::{Inserted, MAX_HISTORY, Record, RecordCipher, SealedRevision},
    steps::Steps,
};

/// Everything one device holds: secrets, identity, peers, policy and audit log.
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
    pub(crate) order: Order,
    pub(crate) salts: Salts,
    /// The state before the changes that are not stored yet; `None` outside
    /// [`Stronghold::begin_changes`].
    pub(crate) journal: Option<Box<Journal>>,
    /// The loaded parts, if not everything is loaded.
    pub(crate) loaded: Option<Loaded>,
    /// The generation of the file that changes will be written to.
    pub(crate) generation: u64,
    pub(crate) limits: Limits,
    /// Digests of heads, for the next syncs.
    pub(crate) digests: Digests,
    /// Number of revisions disclosed to a device up to which none is forgotten.
    pub(crate) unchecked_disclosures: usize,
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

impl Vault {
    /// Returns whether the vault has a record that is not deleted.
    pub(crate) fn is_readable(&self) -> bool {
        self.records.values().any(Record::is_readable)
    }
}

impl Stronghold {
    /// Creates an empty Stronghold with a new identity for the device called `name`.
    ///
    /// # Errors
    /// [`RandomnessError`] if the system returns no random bytes for the identity.
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
            order: Order::generate()?,
            salts: Salts::default(),
            journal: None,
            loaded: None,
            generation: 0,
            limits: Limits::default(),
            digests: Digests::default(),
            unchecked_disclosures: 0,
        })
    }

    /// Returns the shapes of all heads in scope under the names that `mapping` gives them, ordered
    /// by entry (location, then revision). If the mapping merges two records, a head that the other
    /// record replaces is omitted.
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

    /// Returns the shapes of one record's heads, ordered by revision.
    pub fn shapes_at(&self, id: &LocationId) -> Vec<Shape> {
        self.record(id).into_iter().flat_map(|(.., record)| record.shapes(*id)).collect()
    }

    /// Returns the shapes of all heads. Most syncs cover everything, and nested loops over the maps
    /// are faster than one flat iterator. Collecting costs little more than writing the shapes
    /// down, so they are not cached.
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

    /// Returns the names behind a location's ids if the record is held, even if it is deleted.
    pub fn names_of(&self, id: &LocationId) -> Option<Location> {
        self.record(id).map(|(client, vault, record)| names(client, vault, record))
    }

    /// Removes a device's rules and its pairing at the time `now` (milliseconds since 1970), logs
    /// it, and returns the number of rules removed. Values that the device already received can't
    /// be taken back.
    pub fn revoke(&mut self, device: &DeviceId, now: Timestamp) -> usize {
        self.touch_peers().remove(device, now);
        self.touch_steps().revoke(device);
        self.touch_log().append(AuditRecord::about(*device, AuditAction::Revoked, now));
        self.touch_policy().revoke(device)
    }

    /// Replaces this device's identity at the time `now` (milliseconds since 1970). A copy of
    /// another device's snapshot needs this. Records, their histories and the log stay. Revokes and
    /// returns each paired device: it knows the old identity and must be paired again.
    ///
    /// # Errors
    /// [`RandomnessError`] if the system returns no random bytes; nothing has changed then.
    pub fn renew_identity(&mut self, now: Timestamp) -> Result<Vec<(DeviceId, Peer)>, RandomnessError> {
        let was = std::mem::replace(&mut self.identity, Identity::generate()?);
        self.touch_log().append(AuditRecord::about(was.device(), AuditAction::Renewed, now));
        self.touch_identity(was);
        let paired: Vec<_> = self.peers.iter().map(|(device, peer)| (*device, peer.clone())).collect();
        paired.iter().for_each(|(device, _)| _ = self.revoke(device, now));
        Ok(paired)
    }

    /// Returns this device's identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns this device's name, as other devices see it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes this device's name.
    pub fn rename(&mut self, name: &str) {
        self.touch_name();
        self.name = name.into();
    }

    /// Returns the paired devices.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Returns the paired devices, mutably.
    pub fn peers_mut(&mut self) -> &mut Peers {
        self.touch_peers()
    }

    /// Returns the policy: what peers may do here.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the policy, mutably.
    pub fn policy_mut(&mut self) -> &mut Policy {
        self.touch_policy()
    }

    /// Returns the audit log.
    pub fn log(&self) -> &AuditLog {
        &self.log
    }

    /// Appends a decision to the audit log.
    pub fn log_decision(&mut self, decided: AuditRecord) {
        self.touch_log().append(decided);
    }

    /// Appends the decisions of another log, collected elsewhere, to the audit log.
    #[doc(hidden)]
    pub fn log_decisions(&mut self, decided: &AuditLog) {
        self.touch_log().absorb(decided);
    }

    /// Creates the location's vault with `key`, unless it exists.
    pub(crate) fn add_vault(&mut self, location: &Location, id: LocationId, key: LockedKey) -> &mut Vault {
        if self.vault(&id).is_none() {
            self.touch_new_vault(&id);
        }
        let client = || Client { name: location.client().into(), vaults: BTreeMap::new() };
        let vault = Vault { name: location.vault().into(), key, records: BTreeMap::new() };
        self.clients.entry(id.client).or_insert_with(client).vaults.entry(id.vault).or_insert(vault)
    }

    /// Merges a sealed revision into its record and creates the record if it is missing. Returns
    /// `None` if the vault is missing. Every change of a record goes through here, so that the
    /// current step notes it.
    pub(crate) fn insert(
        &mut self,
        location: &Location,
        id: LocationId,
        sealed: SealedRevision,
        now: Timestamp,
    ) -> Option<Inserted> {
        let is_first = self.touch_record(&id);
        let forgetting = self.forgetting();
        let Self { clients, steps, .. } = self;
        let vault = clients.get_mut(&id.client)?.vaults.get_mut(&id.vault)?;
        steps.note(id, vault.records.get(&id.record));
        let inserted = match vault.records.entry(id.record) {
            btree_map::Entry::Occupied(mut record) => {
                let inserted = record.get_mut().insert(sealed, now, &forgetting);
                if record.get().history_len() > MAX_HISTORY {
                    record.get_mut().trim(&steps.named(&id), now);
                }
                inserted
            }
            btree_map::Entry::Vacant(slot) => {
                slot.insert(Record::new(location.record(), sealed, &forgetting));
                Inserted::Head
            }
        };
        if is_first && inserted == Inserted::AlreadyPresent {
            self.untouch_record(&id);
        }
        if self.record(&id).is_some_and(|(.., record)| record.longest_list() > forgetting.floor) {
            self.shorten(&id, forgetting.floor);
        }
        Some(inserted)
    }

    /// Returns the ancestors of a revision that replaces all heads of the record.
    pub(crate) fn ancestors_of_next(&self, record: &Record) -> Ancestors {
        record.ancestors_of_next(|head| self.is_shared(head))
    }

    /// Returns whether a head is known to have been on another device.
    pub(crate) fn is_shared(&self, head: &SealedRevision) -> bool {
        head.shared.is_set() || self.peers.was_disclosed(&head.id)
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

    pub(crate) fn record_count(&self) -> usize {
        self.clients.values().flat_map(|client| client.vaults.values()).map(|vault| vault.records.len()).sum()
    }

    /// Returns all records, ordered by id.
    pub(crate) fn records(&self) -> impl Iterator<Item = (LocationId, &Client, &Vault, &Record)> {
        self.clients.iter().flat_map(|(&client_id, client)| {
            client.vaults.iter().flat_map(move |(&vault_id, vault)| {
                vault.records.iter().map(move |(&record, held)| {
                    (LocationId { client: client_id, vault: vault_id, record }, client, vault, held)
                })
            })
        })
    }

    pub(crate) fn records_in<'a>(
        &'a self,
        scope: &'a Scope,
    ) -> impl Iterator<Item = (LocationId, &'a Client, &'a Vault, &'a Record)> {
        covered_by(scope, self.records_reached(scope.first()))
    }

    /// Returns all records, ordered by location, of the clients and vaults that `first` reaches.
    /// Sorts the records of one vault at a time.
    pub(crate) fn records_by_name<'a>(
        &'a self,
        first: &'a Selection,
    ) -> impl Iterator<Item = (LocationId, &'a Client, &'a Vault, &'a Record)> {
        let clients = by_name(&self.clients, |client| &client.name);
        let clients = clients.filter(|(_, client)| first.reaches(&format!("{}/", client.name)));
        clients.flat_map(move |(&client_id, client)| {
            let vaults = by_name(&client.vaults, |vault| &vault.name);
            let vaults =
                vaults.filter(|(_, vault)| first.reaches(&format!("{}/{}/", client.name, vault.name)));
            vaults.flat_map(move |(&vault_id, vault)| {
                by_name(&vault.records, |record| &record.name).map(move |(&record, held)| {
                    (LocationId { client: client_id, vault: vault_id, record }, client, vault, held)
                })
            })
        })
    }

    /// Returns all records, ordered by id, of the clients and vaults that the selection reaches.
    /// Other clients and vaults are skipped as a whole.
    pub(crate) fn records_reached<'a>(
        &'a self,
        first: &'a Selection,
    ) -> impl Iterator<Item = (LocationId, &'a Client, &'a Vault, &'a Record)> {
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

    /// Returns the shapes of all heads that a selection covers, ordered by entry, each with its
    /// location as text. A caller can match them further without borrowing the Stronghold.
    pub fn named_shapes(&self, selection: &Selection) -> Vec<(Box<str>, Shape)> {
        named(self.records_in(&Scope::of(selection.clone())))
    }

    /// Returns the shapes as [`Self::named_shapes`] does, of these records alone.
    pub fn named_shapes_at(&self, records: &[LocationId], selection: &Selection) -> Vec<(Box<str>, Shape)> {
        let found = records.iter().filter_map(|id| {
            let (client, vault, record) = self.record(id)?;
            Some((*id, client, vault, record))
        });
        named(covered_by(&Scope::of(selection.clone()), found))
    }
}

/// Returns those of the records that are in scope.
fn covered_by<'a>(
    scope: &'a Scope,
    records: impl Iterator<Item = (LocationId, &'a Client, &'a Vault, &'a Record)>,
) -> impl Iterator<Item = (LocationId, &'a Client, &'a Vault, &'a Record)> {
    let everything = scope.is_everything();
    let mut text = String::new();
    records.filter(move |(_, client, vault, record)| {
        everything || {
            write_names(&mut text, client, vault, record);
            scope.covers_text(&text)
        }
    })
}

/// Returns the shapes of the records' heads, each with its location as text.
fn named<'a>(
    records: impl Iterator<Item = (LocationId, &'a Client, &'a Vault, &'a Record)>,
) -> Vec<(Box<str>, Shape)> {
    let (mut named, mut text) = (Vec::new(), String::new());
    for (id, client, vault, record) in records {
        write_names(&mut text, client, vault, record);
        named.extend(record.shapes(id).map(|shape| (Box::from(text.as_str()), shape)));
    }
    named
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

/// Returns the items of a map, sorted by name.
fn by_name<I, T>(items: &BTreeMap<I, T>, name: impl Fn(&T) -> &str) -> impl Iterator<Item = (&I, &T)> {
    // The first bytes stand beside the reference: most comparisons need not follow it.
    let first = |text: &str| {
        let mut first = [0; 16];
        let len = text.len().min(first.len());
        first[..len].copy_from_slice(&text.as_bytes()[..len]);
        u128::from_be_bytes(first)
    };
    let mut sorted: Vec<_> = items.iter().map(|item| (first(name(item.1)), item)).collect();
    sorted.sort_unstable_by(|(first, one), (second, other)| {
        first.cmp(second).then_with(|| name(one.1).cmp(name(other.1)))
    });
    sorted.into_iter().map(|(_, item)| item)
}

/// Replaces the content of `text` with a location's text form.
fn write_names(text: &mut String, client: &Client, vault: &Vault, record: &Record) {
    text.clear();
    for part in [&client.name, "/", &vault.name, "/", &record.name] {
        text.push_str(part);
    }
}

pub(crate) fn new_vault_key() -> Result<LockedKey, RandomnessError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    fill_random(key.as_mut_slice())?;
    Ok(LockedKey::new(&key))
}

pub(crate) fn names(client: &Client, vault: &Vault, record: &Record) -> Location {
    // Names are checked wherever they enter, so they form a valid location.
    Location::new_unchecked(&client.name, &vault.name, &record.name)
}

/// Returns the shapes that are still heads after a mapping merged records.
fn heads_of_each(mut shapes: Vec<Shape>) -> Vec<Shape> {
    shapes.sort_by_key(|shape| shape.location);
    let records = shapes.chunk_by(|one, next| one.location == next.location);
    records.flat_map(|record| heads(record.iter().cloned())).collect()
}

/// Returns the entry id of a sealed revision at a location.
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
