//! The difference of two states of the peers, as it is stored with a change.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stronghold_sync::DeviceId;

use super::{Peer, Peers, Revoked, Stamped, mailbox::MailboxDelta};
use crate::disclosure::{Disclosed, Prefixes};

type MapDelta<'a, V> = Vec<(&'a DeviceId, Option<&'a V>)>;
type LoadedMapDelta<V> = Vec<(DeviceId, Option<V>)>;

/// The difference, device by device.
#[derive(Serialize)]
pub(crate) struct PeersDelta<'a> {
    peers: MapDelta<'a, Peer>,
    disclosed: Vec<(&'a DeviceId, DisclosedDelta)>,
    revoked: MapDelta<'a, Revoked>,
    stamps: MapDelta<'a, Stamped>,
    mailboxes: Vec<(&'a DeviceId, Option<MailboxDelta>)>,
}

/// [`PeersDelta`] as loaded.
#[derive(Deserialize)]
pub(crate) struct LoadedPeersDelta {
    peers: LoadedMapDelta<Peer>,
    disclosed: Vec<(DeviceId, DisclosedDelta)>,
    revoked: LoadedMapDelta<Revoked>,
    stamps: LoadedMapDelta<Stamped>,
    #[serde(default)]
    mailboxes: LoadedMapDelta<MailboxDelta>,
}

/// The revisions that were disclosed to a device since, or all of them.
#[derive(Serialize, Deserialize)]
struct DisclosedDelta {
    name: String,
    is_all: bool,
    revisions: Prefixes,
}

impl DisclosedDelta {
    fn new(before: Option<&Disclosed>, now: &Disclosed) -> Self {
        let name = now.name.clone();
        match before.and_then(|before| now.revisions.added_since(&before.revisions)) {
            Some(revisions) => Self { name, is_all: false, revisions },
            None => Self { name, is_all: true, revisions: now.revisions.clone() },
        }
    }
}

impl<'a> PeersDelta<'a> {
    /// Compares two states.
    pub(crate) fn new(before: &'a Peers, now: &'a Peers) -> Self {
        let disclosed = map_changes(&before.disclosed, &now.disclosed).into_iter();
        let mailboxes = map_changes(&before.mailboxes, &now.mailboxes).into_iter();
        Self {
            peers: map_changes(&before.peers, &now.peers),
            // What was disclosed to a device is never forgotten as a whole.
            disclosed: disclosed
                .filter_map(|(id, now)| Some((id, DisclosedDelta::new(before.disclosed.get(id), now?))))
                .collect(),
            revoked: map_changes(&before.revoked, &now.revoked),
            stamps: map_changes(&before.stamps, &now.stamps),
            mailboxes: mailboxes
                .map(|(id, now)| (id, now.map(|now| MailboxDelta::new(before.mailboxes.get(id), now))))
                .collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.disclosed.is_empty()
            && self.revoked.is_empty()
            && self.stamps.is_empty()
            && self.mailboxes.is_empty()
    }
}

impl Peers {
    /// Applies a difference.
    pub(crate) fn apply(&mut self, delta: LoadedPeersDelta) {
        change_map(&mut self.peers, delta.peers);
        change_map(&mut self.revoked, delta.revoked);
        change_map(&mut self.stamps, delta.stamps);
        for (device, mailbox) in delta.mailboxes {
            match mailbox {
                Some(delta) => delta.apply(self.mailboxes.entry(device).or_default()),
                None => _ = self.mailboxes.remove(&device),
            }
        }
        for (device, DisclosedDelta { name, is_all, revisions }) in delta.disclosed {
            let known = self.disclosed.entry(device).or_default();
            known.name = name;
            match is_all {
                true => known.revisions = revisions,
                false => known.revisions.merge(&revisions),
            }
        }
    }
}

/// Returns the entries of a map that differ from those of `before`; `None` for one that is gone.
fn map_changes<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    now: &'a BTreeMap<K, V>,
) -> Vec<(&'a K, Option<&'a V>)> {
    let keys: BTreeSet<&K> = before.keys().chain(now.keys()).collect();
    keys.into_iter().filter(|key| before.get(key) != now.get(key)).map(|key| (key, now.get(key))).collect()
}

/// Applies what [`map_changes`] returned.
fn change_map<K: Ord, V>(map: &mut BTreeMap<K, V>, changes: Vec<(K, Option<V>)>) {
    for (key, value) in changes {
        match value {
            Some(value) => _ = map.insert(key, value),
            None => _ = map.remove(&key),
        }
    }
}
