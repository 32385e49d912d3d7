//! The devices that this one has been paired with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use stronghold_sync::{DeviceId, RevisionId};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    identity::{BadPublicKey, PublicIdentity},
    known::{Known, Prefixes},
};

/// What is remembered of a paired device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The name given to it here, at pairing.
    pub name: String,
    /// What it calls itself.
    pub own_name: String,
    /// Its public key, as DER `SubjectPublicKeyInfo`.
    #[serde(with = "serde_bytes")]
    pub spki: Vec<u8>,
    /// Where it was last reached, `host:port`.
    pub address: Option<String>,
    /// When it was paired, in milliseconds since 1970.
    pub paired: u64,
    /// The generation that it last said its snapshot was of; 0 if it never did.
    #[serde(default)]
    pub generation: u64,
    /// What the two recognise each other by; none for a device that was paired before there was such a thing.
    #[serde(default)]
    pub rendezvous: Option<Rendezvous>,
}

/// 32 bytes that two paired devices share and nobody else has: by it they recognise each other on a network before either
/// has shown who it is. Made anew by each pairing. `Debug` hides it; it is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Rendezvous(#[serde(with = "serde_bytes")] [u8; 32]);

impl Rendezvous {
    /// Takes its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes: key material, not for display.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rendezvous(..)")
    }
}

/// All paired devices, and what each has had from here, also of those that were revoked since.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Peers {
    peers: BTreeMap<DeviceId, Peer>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    known: BTreeMap<DeviceId, Known>,
}

/// A name or prefix that means no paired device, or more than one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPeer {
    /// None has this name or an id that begins so.
    #[error("no paired device is called that")]
    None,
    /// Several do.
    #[error("several paired devices are called that: use more of the device id")]
    Several,
}

impl Peer {
    /// Its public key.
    ///
    /// # Errors
    /// [`BadPublicKey`] when what is stored is none.
    pub fn public(&self) -> Result<PublicIdentity, BadPublicKey> {
        PublicIdentity::from_spki(&self.spki)
    }
}

impl Peers {
    /// Remembers a device, or updates what is remembered; a device known by now keeps its address if none is given.
    pub fn insert(&mut self, device: DeviceId, mut peer: Peer) {
        if let Some(before) = self.peers.remove(&device) {
            peer.address = peer.address.or(before.address);
            peer.generation = before.generation;
        }
        if let Some(known) = self.known.get_mut(&device) {
            known.name.clone_from(&peer.name);
        }
        self.peers.insert(device, peer);
    }

    /// Forgets a device, but not what it has had: see [`Peers::find_known`].
    pub fn remove(&mut self, device: &DeviceId) -> Option<Peer> {
        self.peers.remove(device)
    }

    /// The device of this id.
    #[must_use]
    pub fn by_id(&self, device: &DeviceId) -> Option<&Peer> {
        self.peers.get(device)
    }

    /// Remembers where a device was reached.
    pub fn reached_at(&mut self, device: &DeviceId, address: String) {
        if let Some(peer) = self.peers.get_mut(device) {
            peer.address = Some(address);
        }
    }

    /// Remembers of which generation a device says its snapshot is.
    pub fn at_generation(&mut self, device: &DeviceId, generation: u64) {
        if let Some(peer) = self.peers.get_mut(device) {
            peer.generation = generation;
        }
    }

    /// Whether a device holds this revision, or had it once, or was about to have it.
    #[must_use]
    pub fn is_known_to(&self, device: &DeviceId, revision: &RevisionId) -> bool {
        self.known.get(device).is_some_and(|known| known.revisions.contains(revision))
    }

    pub(crate) fn remember_known(
        &mut self,
        device: &DeviceId,
        revisions: impl IntoIterator<Item = RevisionId>,
    ) {
        let mut revisions = revisions.into_iter().peekable();
        if revisions.peek().is_none() {
            return;
        }
        // A device that is revoked while it is being answered has no name any more: its id serves as one.
        let name = || self.peers.get(device).map_or_else(|| device.fingerprint(), |peer| peer.name.clone());
        let new = || Known { name: name(), revisions: Prefixes::default() };
        self.known.entry(*device).or_insert_with(new).revisions.extend(revisions);
    }

    pub(crate) fn known_count(&self, device: &DeviceId) -> usize {
        self.known.get(device).map_or(0, |known| known.revisions.len())
    }

    /// Forgets of what a device has had all but these.
    pub(crate) fn forget_known(&mut self, device: &DeviceId, all_but: &Prefixes) {
        if let Some(known) = self.known.get_mut(device) {
            known.revisions.retain_among(all_but);
        }
    }

    /// The device that `text` means, as [`Peers::find`] has it; else the one of this name that was revoked since. The
    /// beginning of an id means either.
    ///
    /// # Errors
    /// [`UnknownPeer`] when there is none or more than one.
    pub fn find_known(&self, text: &str) -> Result<DeviceId, UnknownPeer> {
        let paired = |name: fn(&Peer) -> &str| {
            self.peers
                .iter()
                .filter(move |(_, peer)| name(peer) == text)
                .map(|(id, _)| *id)
                .collect::<Vec<_>>()
        };
        let mut found = paired(|peer| &peer.name);
        if found.is_empty() {
            found = paired(|peer| &peer.own_name);
        }
        if found.is_empty() {
            let revoked = self.known.iter().filter(|(id, _)| !self.peers.contains_key(id));
            found = revoked.filter(|(_, known)| known.name == text).map(|(id, _)| *id).collect();
        }
        if found.is_empty() {
            let all: BTreeSet<&DeviceId> = self.peers.keys().chain(self.known.keys()).collect();
            found = all.into_iter().filter(|id| begins(id, text)).copied().collect();
        }
        only_one(&found).copied()
    }

    /// The device of this name; else the one that calls itself so; else the one whose id begins so (4 digits or more).
    ///
    /// # Errors
    /// [`UnknownPeer`] when there is none or more than one.
    pub fn find(&self, text: &str) -> Result<(DeviceId, &Peer), UnknownPeer> {
        let mut found: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.name == text).collect();
        if found.is_empty() {
            found = self.peers.iter().filter(|(_, peer)| peer.own_name == text).collect();
        }
        if found.is_empty() {
            found = self.peers.iter().filter(|(id, _)| begins(id, text)).collect();
        }
        only_one(&found).map(|(id, peer)| (**id, *peer))
    }

    /// All of them, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (&DeviceId, &Peer)> {
        self.peers.iter()
    }
}

/// Whether a device's id begins so; fewer than 4 digits are no beginning.
fn begins(id: &DeviceId, text: &str) -> bool {
    text.len() >= 4 && id.to_string().starts_with(&text.to_lowercase())
}

fn only_one<T>(found: &[T]) -> Result<&T, UnknownPeer> {
    match found {
        [] => Err(UnknownPeer::None),
        [one] => Ok(one),
        _ => Err(UnknownPeer::Several),
    }
}
