//! How a Stronghold is laid down in a snapshot's payload. Values stay sealed; ids of names are computed anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeSeq};
use stronghold_sync::{ClientId, Policy, RecordId, VaultId, check_name};
use zeroize::Zeroizing;

use crate::{
    audit::AuditLog,
    identity::Identity,
    locked::LockedKey,
    peers::Peers,
    record::Record,
    stronghold::{Client, Stronghold, Vault},
};

#[derive(Serialize)]
struct Stored<'a> {
    name: &'a str,
    #[serde(with = "key_bytes")]
    identity: Zeroizing<[u8; 32]>,
    peers: &'a Peers,
    policy: &'a Policy,
    log: &'a AuditLog,
    clients: Seq<'a, ClientId, Client>,
}

#[derive(Deserialize)]
struct Loaded {
    name: String,
    #[serde(with = "key_bytes")]
    identity: Zeroizing<[u8; 32]>,
    peers: Peers,
    policy: Policy,
    log: AuditLog,
    clients: Vec<LoadedClient>,
}

#[derive(Deserialize)]
struct LoadedClient {
    name: Box<str>,
    vaults: Vec<LoadedVault>,
}

#[derive(Deserialize)]
struct LoadedVault {
    name: Box<str>,
    #[serde(with = "key_bytes")]
    key: Zeroizing<[u8; 32]>,
    records: Vec<Record>,
}

/// The values of a map, in its order, without their keys.
struct Seq<'a, K, V>(&'a BTreeMap<K, V>);

impl<K, V: Serialize> Serialize for Seq<'_, K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        self.0.values().try_for_each(|value| seq.serialize_element(value))?;
        seq.end()
    }
}

impl Serialize for Stronghold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Stored {
            name: &self.name,
            identity: self.identity.to_bytes(),
            peers: &self.peers,
            policy: &self.policy,
            log: &self.log,
            clients: Seq(&self.clients),
        }
        .serialize(serializer)
    }
}

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.name, Seq(&self.vaults)).serialize(serializer)
    }
}

impl Serialize for Vault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.name, serde_bytes::Bytes::new(self.key.expose()), Seq(&self.records)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stronghold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let loaded = Loaded::deserialize(deserializer)?;
        let identity = Identity::from_bytes(&loaded.identity).map_err(D::Error::custom)?;
        let clients = loaded.clients.into_iter().map(LoadedClient::check).collect::<Option<_>>();
        Ok(Self {
            clients: clients.ok_or_else(|| D::Error::custom("a name or a record that can't be"))?,
            identity,
            name: loaded.name,
            peers: loaded.peers,
            policy: loaded.policy,
            log: loaded.log,
        })
    }
}

impl LoadedClient {
    fn check(self) -> Option<(ClientId, Client)> {
        check_name(&self.name).ok()?;
        let id = ClientId::of(&self.name);
        let vaults = self.vaults.into_iter().map(|vault| vault.check(id)).collect::<Option<_>>()?;
        Some((id, Client { name: self.name, vaults }))
    }
}

impl LoadedVault {
    fn check(self, client: ClientId) -> Option<(VaultId, Vault)> {
        check_name(&self.name).ok()?;
        let id = VaultId::of(client, &self.name);
        let record =
            |record: Record| record.is_well_formed().then(|| (RecordId::of(id, &record.name), record));
        let records = self.records.into_iter().map(record).collect::<Option<_>>()?;
        Some((id, Vault { name: self.name, key: LockedKey::new(&self.key), records }))
    }
}

mod key_bytes {
    use super::{Deserializer, Serializer, Zeroizing};

    pub(super) fn serialize<S: Serializer>(
        key: &Zeroizing<[u8; 32]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(key.as_slice())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Zeroizing<[u8; 32]>, D::Error> {
        serde_bytes::deserialize::<[u8; 32], D>(deserializer).map(Zeroizing::new)
    }
}
