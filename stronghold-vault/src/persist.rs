//! Serialization of a Stronghold for a snapshot's payload. Values stay sealed; ids are recomputed
//! from names.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeSeq};
use stronghold_sync::{ClientId, Policy, RecordId, VaultId, check_name};

use crate::{
    audit::AuditLog,
    crypto::{identity::Identity, salts::Salts},
    devices::Devices,
    locked::LockedKey,
    peers::Peers,
    record::Record,
    steps::Steps,
    stronghold::{Client, Stronghold, Vault},
};

#[derive(Serialize)]
struct Stored<'a> {
    name: &'a str,
    #[serde(with = "key_bytes")]
    identity: &'a LockedKey,
    peers: &'a Peers,
    policy: &'a Policy,
    log: &'a AuditLog,
    steps: &'a Steps,
    devices: &'a Devices,
    clients: Seq<'a, ClientId, Client>,
}

#[derive(Deserialize)]
struct Loaded {
    name: String,
    #[serde(with = "key_bytes")]
    identity: LockedKey,
    peers: Peers,
    policy: Policy,
    log: AuditLog,
    steps: Steps,
    devices: Devices,
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
    key: LockedKey,
    records: Vec<Record>,
}

/// Serializes the values of a map in order, without the keys.
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
            identity: self.identity.secret(),
            peers: &self.peers,
            policy: &self.policy,
            log: &self.log,
            steps: &self.steps,
            devices: &self.devices,
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
        let identity = Identity::from_locked(loaded.identity).map_err(D::Error::custom)?;
        let clients = unique_map(loaded.clients, LoadedClient::check);
        let mut clients = clients.ok_or_else(|| D::Error::custom("a name or a record that can't be"))?;
        let devices = loaded.devices.only_named_in(&mut clients);
        Ok(Self {
            devices: devices.ok_or_else(|| D::Error::custom("a revision of a device that is not there"))?,
            clients,
            identity,
            name: loaded.name,
            peers: loaded.peers,
            policy: loaded.policy,
            log: loaded.log,
            steps: loaded.steps,
            salts: Salts::default(),
        })
    }
}

impl LoadedClient {
    fn check(self) -> Option<(ClientId, Client)> {
        check_name(&self.name).ok()?;
        let id = ClientId::of(&self.name);
        let vaults = unique_map(self.vaults, |vault| vault.check(id))?;
        Some((id, Client { name: self.name, vaults }))
    }
}

impl LoadedVault {
    fn check(self, client: ClientId) -> Option<(VaultId, Vault)> {
        check_name(&self.name).ok()?;
        let id = VaultId::of(client, &self.name);
        let record = |record: Record| Some((RecordId::of(id, &record.name), record));
        let records = unique_map(self.records, record)?;
        Some((id, Vault { name: self.name, key: self.key, records }))
    }
}

/// Collects loaded items into a map. Returns `None` if an item is invalid or occurs twice, since a
/// duplicate would be lost.
fn unique_map<T, K: Ord, V>(list: Vec<T>, check: impl FnMut(T) -> Option<(K, V)>) -> Option<BTreeMap<K, V>> {
    let len = list.len();
    let map: BTreeMap<K, V> = list.into_iter().map(check).collect::<Option<_>>()?;
    (map.len() == len).then_some(map)
}

mod key_bytes {
    //! Serialization of keys, directly between the payload and locked memory.

    use std::fmt;

    use serde::de::{Error, SeqAccess, Visitor};

    use super::{Deserializer, LockedKey, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &LockedKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(key.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LockedKey, D::Error> {
        deserializer.deserialize_bytes(Key)
    }

    struct Key;

    impl<'de> Visitor<'de> for Key {
        type Value = LockedKey;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a key of 32 bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<LockedKey, E> {
            let key = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
            Ok(LockedKey::new(key))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<LockedKey, A::Error> {
            Err(A::Error::custom("a key is a byte string"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(clients: &impl Serialize) -> bool {
        let identity = [1; 32];
        let (peers, policy, log) = (Peers::default(), Policy::default(), AuditLog::default());
        let stored = (
            "device",
            serde_bytes::Bytes::new(&identity),
            peers,
            policy,
            log,
            Steps::default(),
            Devices::default(),
            clients,
        );
        rmp_serde::from_slice::<Stronghold>(&rmp_serde::to_vec(&stored).unwrap()).is_ok()
    }

    #[test]
    fn what_could_not_have_been_stored_is_not_loaded() {
        let key = [2; 32];
        let vault = |name| (name, serde_bytes::Bytes::new(&key), Vec::<Record>::new());
        let none: [(&str, [(); 0]); 0] = [];
        assert!(loads(&none));
        assert!(loads(&[("a", [vault("v")]), ("b", [vault("v")])]));
        assert!(!loads(&[("a", [vault("v")]), ("a", [vault("w")])]), "of two, one would be lost");
        assert!(!loads(&[("a", [vault("v"), vault("v")])]));
        assert!(!loads(&[("a/b", [vault("v")])]));
        assert!(!loads(&[("a", [vault("")])]));
        assert!(!loads(&[("a", [("v", serde_bytes::Bytes::new(&key[1..]), Vec::<Record>::new())])]));
        let no_heads = ("r", Vec::<()>::new(), Vec::<()>::new());
        assert!(!loads(&[("a", [("v", serde_bytes::Bytes::new(&key), vec![no_heads])])]));
    }
}
