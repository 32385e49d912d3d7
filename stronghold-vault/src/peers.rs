//! The devices that this one has been paired with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use stronghold_sync::{DeviceId, RevisionId, Stamp, Stamps};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    device_name::{DeviceNameError, check_given_name, id_digits, remembered_as, skeleton},
    disclosure::{Disclosed, Prefixes},
    identity::{PublicIdentity, PublicKeyError},
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
    known: BTreeMap<DeviceId, Disclosed>,
    revoked: BTreeMap<DeviceId, Revoked>,
    stamps: BTreeMap<DeviceId, Stamped>,
}

/// The stamps by which two paired devices tell two snapshots of one identity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Stamped {
    /// The one that this snapshot has from sessions with the peer.
    own: Option<Stamp>,
    /// Those that the peer's was to have.
    given: Stamps,
}

/// A device that was paired once: its name is given to no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// What it was called here.
    pub name: String,
    /// When it was revoked, in milliseconds since 1970.
    pub time: u64,
}

/// A name or prefix that means no paired device, or more than one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindPeerError {
    /// None has this name or an id that begins so.
    #[error("no paired device is called that")]
    None,
    /// Several do: as a name, and as an id.
    #[error("several devices are called that: use more of the device id")]
    Several,
    /// One did, until it was revoked.
    #[error("that device was revoked")]
    Revoked(Revoked),
}

impl Peer {
    /// Its public key.
    ///
    /// # Errors
    /// [`PublicKeyError`] when what is stored is none.
    pub fn public(&self) -> Result<PublicIdentity, PublicKeyError> {
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
        self.revoked.remove(&device);
        self.peers.insert(device, peer);
    }

    /// Forgets a device at the time `now` (milliseconds since 1970), but neither its name nor what it has had: see
    /// [`Peers::find_known`].
    pub fn remove(&mut self, device: &DeviceId, now: u64) -> Option<Peer> {
        let peer = self.peers.remove(device)?;
        self.stamps.remove(device);
        self.revoked.insert(*device, Revoked { name: peer.name.clone(), time: now });
        Some(peer)
    }

    /// Takes an [`insert`](Self::insert) back, before which this stood there: a pairing that the other side could not save.
    pub fn restore(&mut self, device: &DeviceId, before: Option<Peer>) {
        self.peers.remove(device);
        if before.is_none() {
            self.stamps.remove(device);
        }
        self.peers.extend(before.map(|before| (*device, before)));
    }

    /// Returns what a device is called here, or was until it was revoked; of any other its fingerprint.
    #[must_use]
    pub fn name_of(&self, device: &DeviceId) -> String {
        let revoked = || self.revoked.get(device).map(|revoked| &revoked.name);
        let name = self.peers.get(device).map(|peer| &peer.name).or_else(revoked);
        name.map_or_else(|| device.fingerprint(), String::clone)
    }

    /// The devices that were revoked, in the order of ids.
    pub fn revoked(&self) -> impl Iterator<Item = (&DeviceId, &Revoked)> {
        self.revoked.iter()
    }

    /// Returns the name under which a device that wants to be called `wanted` is remembered: with the beginning of its id
    /// behind it where it looks like a device's id, hides something, or looks like the name that another device has, or
    /// had, here.
    #[must_use]
    pub fn name_for(&self, device: &DeviceId, wanted: &str) -> String {
        remembered_as(wanted, &device.to_string(), |name| self.is_taken(device, name))
    }

    /// Calls a paired device by another name; returns the old one.
    ///
    /// # Errors
    /// [`DeviceNameError`] when it can't be called so; all stays as it was.
    pub fn rename(&mut self, device: &DeviceId, name: &str) -> Result<String, DeviceNameError> {
        check_given_name(name)?;
        if self.is_taken(device, name) {
            return Err(DeviceNameError::Taken);
        }
        if let Some(known) = self.known.get_mut(device) {
            known.name = name.into();
        }
        let peer = self.peers.get_mut(device);
        Ok(peer.map(|peer| std::mem::replace(&mut peer.name, name.into())).unwrap_or_default())
    }

    /// Whether another device has, or had, a name that looks like this one.
    fn is_taken(&self, device: &DeviceId, name: &str) -> bool {
        let seen = skeleton(name);
        let paired = self.peers.iter().map(|(id, peer)| (id, &peer.name));
        let mut all = paired.chain(self.revoked.iter().map(|(id, revoked)| (id, &revoked.name)));
        all.any(|(id, name)| id != device && skeleton(name) == seen)
    }

    /// The device of this id.
    #[must_use]
    pub fn get(&self, device: &DeviceId) -> Option<&Peer> {
        self.peers.get(device)
    }

    /// Remembers where a device was reached.
    pub fn set_address(&mut self, device: &DeviceId, address: String) {
        if let Some(peer) = self.peers.get_mut(device) {
            peer.address = Some(address);
        }
    }

    /// Remembers of which generation a device says its snapshot is.
    pub fn set_generation(&mut self, device: &DeviceId, generation: u64) {
        if let Some(peer) = self.peers.get_mut(device) {
            peer.generation = generation;
        }
    }

    /// Returns the stamp that this snapshot has from sessions with a device.
    #[must_use]
    pub fn own_stamp(&self, device: &DeviceId) -> Option<Stamp> {
        self.stamps.get(device)?.own
    }

    /// Returns the stamps that a device's snapshot was to have from sessions with this one.
    #[must_use]
    pub fn stamps(&self, device: &DeviceId) -> Stamps {
        self.stamps.get(device).map(|stamped| stamped.given.clone()).unwrap_or_default()
    }

    /// Notes that a device has shown a stamp, and that its snapshot is to have another.
    pub fn note_stamp(&mut self, device: &DeviceId, shown: Option<Stamp>, next: Stamp) {
        if self.peers.contains_key(device) {
            self.stamps.entry(*device).or_default().given.note(shown, next);
        }
    }

    /// Takes a stamp as this snapshot's own, where it still has the one that it showed to the device.
    pub fn take_stamp(&mut self, device: &DeviceId, shown: Option<Stamp>, next: Stamp) {
        if self.peers.contains_key(device) && self.own_stamp(device) == shown {
            self.stamps.entry(*device).or_default().own = Some(next);
        }
    }

    /// Whether a device holds this revision, or had it once, or was about to have it.
    #[must_use]
    pub fn was_disclosed_to(&self, device: &DeviceId, revision: &RevisionId) -> bool {
        self.known.get(device).is_some_and(|known| known.revisions.contains(revision))
    }

    /// Whether any device is known to hold this revision, or to have had it.
    pub(crate) fn was_disclosed(&self, revision: &RevisionId) -> bool {
        self.known.values().any(|known| known.revisions.contains(revision))
    }

    pub(crate) fn record_disclosed(
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
        let new = || Disclosed { name: name(), revisions: Prefixes::default() };
        self.known.entry(*device).or_insert_with(new).revisions.extend(revisions);
    }

    pub(crate) fn disclosed_count(&self, device: &DeviceId) -> usize {
        self.known.get(device).map_or(0, |known| known.revisions.len())
    }

    /// Forgets of what a device has had all but these.
    pub(crate) fn forget_disclosed(&mut self, device: &DeviceId, all_but: &Prefixes) {
        if let Some(known) = self.known.get_mut(device) {
            known.revisions.retain_among(all_but);
        }
    }

    /// The device that `text` means, paired or revoked since: as [`Peers::find`] has it.
    ///
    /// # Errors
    /// [`FindPeerError`] when there is none or more than one.
    pub fn find_including_revoked(&self, text: &str) -> Result<DeviceId, FindPeerError> {
        let paired = self.peers.iter().filter(|(_, peer)| peer.name == text).map(|(id, _)| id);
        let revoked = self.revoked.iter().filter(|(_, revoked)| revoked.name == text).map(|(id, _)| id);
        let ids = self.peers.keys().chain(self.known.keys()).chain(self.revoked.keys());
        let found: BTreeSet<&DeviceId> = paired.chain(revoked).chain(with_prefix(ids, text)).collect();
        only_one(&found).copied()
    }

    /// The device that has this name here, or whose id is this or begins so: four hexadecimal digits or more, in either
    /// case, with or without dashes. What a device calls itself counts for nothing.
    ///
    /// # Errors
    /// [`FindPeerError`] when there is none, or more than one: the name of one device may be the beginning of another's id.
    pub fn find(&self, text: &str) -> Result<(DeviceId, &Peer), FindPeerError> {
        let named = self.peers.iter().filter(|(_, peer)| peer.name == text).map(|(id, _)| id);
        let found: BTreeSet<&DeviceId> = named.chain(with_prefix(self.peers.keys(), text)).collect();
        if found.is_empty()
            && let Ok(device) = self.find_including_revoked(text)
            && let Some(revoked) = self.revoked.get(&device)
        {
            return Err(FindPeerError::Revoked(revoked.clone()));
        }
        let device = only_one(&found)?;
        let peer = self.peers.get(device).ok_or(FindPeerError::None)?;
        Ok((*device, peer))
    }

    /// All of them, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (&DeviceId, &Peer)> {
        self.peers.iter()
    }
}

/// The ids that are, or begin with, the digits of `text`.
fn with_prefix<'a>(
    ids: impl Iterator<Item = &'a DeviceId>,
    text: &str,
) -> impl Iterator<Item = &'a DeviceId> {
    let digits = id_digits(text);
    ids.filter(move |id| digits.as_ref().is_some_and(|digits| id.to_string().starts_with(digits)))
}

fn only_one<'a>(found: &BTreeSet<&'a DeviceId>) -> Result<&'a DeviceId, FindPeerError> {
    match found.len() {
        0 => Err(FindPeerError::None),
        1 => found.first().copied().ok_or(FindPeerError::None),
        _ => Err(FindPeerError::Several),
    }
}
