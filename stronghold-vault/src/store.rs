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
    salts::Salts,
    steps::Steps,
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
    steps: &'a Steps,
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
    steps: Steps,
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
            steps: &self.steps,
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
        let clients = each_once(loaded.clients, LoadedClient::check);
        Ok(Self {
            clients: clients.ok_or_else(|| D::Error::custom("a name or a record that can't be"))?,
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
        let vaults = each_once(self.vaults, |vault| vault.check(id))?;
        Some((id, Client { name: self.name, vaults }))
    }
}

impl LoadedVault {
    fn check(self, client: ClientId) -> Option<(VaultId, Vault)> {
        check_name(&self.name).ok()?;
        let id = VaultId::of(client, &self.name);
        let record = |record: Record| Some((RecordId::of(id, &record.name), record));
        let records = each_once(self.records, record)?;
        Some((id, Vault { name: self.name, key: LockedKey::new(&self.key), records }))
    }
}

/// A map of what was loaded; `None` if one is not as it must be, or there twice: one of the two would be lost.
fn each_once<T, K: Ord, V>(list: Vec<T>, check: impl FnMut(T) -> Option<(K, V)>) -> Option<BTreeMap<K, V>> {
    let len = list.len();
    let map: BTreeMap<K, V> = list.into_iter().map(check).collect::<Option<_>>()?;
    (map.len() == len).then_some(map)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(clients: &impl Serialize) -> bool {
        let identity = [1; 32];
        let (peers, policy, log) = (Peers::default(), Policy::default(), AuditLog::default());
        let stored =
            ("device", serde_bytes::Bytes::new(&identity), peers, policy, log, Steps::default(), clients);
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
