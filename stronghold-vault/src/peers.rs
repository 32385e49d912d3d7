//! The devices that this one has been paired with.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use stronghold_sync::DeviceId;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::identity::{BadPublicKey, PublicIdentity};

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

/// All paired devices.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Peers {
    peers: BTreeMap<DeviceId, Peer>,
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
        let known = self.peers.remove(&device);
        if let Some(known) = known {
            peer.address = peer.address.or(known.address);
            peer.generation = known.generation;
        }
        self.peers.insert(device, peer);
    }

    /// Forgets a device.
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

    /// The device of this name; else the one that calls itself so; else the one whose id begins so (4 digits or more).
    ///
    /// # Errors
    /// [`UnknownPeer`] when there is none or more than one.
    pub fn find(&self, text: &str) -> Result<(DeviceId, &Peer), UnknownPeer> {
        let begins = |id: &DeviceId| text.len() >= 4 && id.to_string().starts_with(&text.to_lowercase());
        let mut found: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.name == text).collect();
        if found.is_empty() {
            found = self.peers.iter().filter(|(_, peer)| peer.own_name == text).collect();
        }
        if found.is_empty() {
            found = self.peers.iter().filter(|(id, _)| begins(id)).collect();
        }
        match found.as_slice() {
            [] => Err(UnknownPeer::None),
            [(id, peer)] => Ok((**id, peer)),
            _ => Err(UnknownPeer::Several),
        }
    }

    /// All of them, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (&DeviceId, &Peer)> {
        self.peers.iter()
    }
}
