//! The devices that this device is paired with.

mod delta;
mod mailbox;
mod marks;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use stronghold_sync::{DeviceId, RevisionId, Stamp, Stamps, Timestamp};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    crypto::identity::{PublicIdentity, PublicKeyError},
    device_name::{DeviceNameError, check_given_name, id_digits, remembered_as, skeleton},
    disclosure::{Disclosed, Prefixes},
};

pub(crate) use delta::PeersDelta;
pub use mailbox::{Mailbox, PeerCard, RulesHash, WEEK_KEYS, WeekKey};
use marks::Mark;

/// The stored state of a paired device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The device's name here, given at pairing.
    pub name: String,
    /// The name that the device uses for itself.
    pub own_name: String,
    /// The device's public key, as DER `SubjectPublicKeyInfo`.
    #[serde(with = "serde_bytes")]
    pub spki: Vec<u8>,
    /// The last known address of the device, `host:port`.
    pub address: Option<String>,
    /// Time of pairing, in milliseconds since 1970.
    pub paired: Timestamp,
    /// The last generation that the device reported for its snapshot; `0` if it never did.
    #[serde(default)]
    pub generation: u64,
    /// The secret by which the two devices recognise each other; `None` for a device paired by a
    /// version without it.
    #[serde(default)]
    pub rendezvous: Option<Rendezvous>,
}

/// A 32-byte secret shared by two paired devices. By it they recognise each other on a network
/// before either reveals its identity. Each pairing makes a new one. `Debug` hides it; it is wiped
/// when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Rendezvous(#[serde(with = "serde_bytes")] [u8; 32]);

impl Rendezvous {
    /// Creates the secret from its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes: key material, not for display.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rendezvous(..)")
    }
}

/// All paired devices and their mailboxes, and the revisions disclosed to each device, including
/// revoked ones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Peers {
    peers: BTreeMap<DeviceId, Peer>,
    disclosed: BTreeMap<DeviceId, Disclosed>,
    revoked: BTreeMap<DeviceId, Revoked>,
    stamps: BTreeMap<DeviceId, Stamped>,
    #[serde(default)]
    mailboxes: BTreeMap<DeviceId, Mailbox>,
}

/// The traces of sessions with a paired device: the stamps by which two snapshots of one identity
/// are told apart, and the marks of what the device has acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stamped {
    /// The stamp that this snapshot holds from sessions with the peer.
    own: Option<Stamp>,
    /// The stamps that the peer's snapshot should hold.
    expected: Stamps,
    marks: Vec<Mark>,
}

/// A formerly paired device. Its name is not given to any other device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The device's former name here.
    pub name: String,
    /// Time of revocation, in milliseconds since 1970.
    pub time: Timestamp,
}

/// A name or id prefix that matches no paired device, or several.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindPeerError {
    /// No device has this name or an id that begins with this text.
    #[error("no such paired device")]
    None,
    /// Several devices match, by name or by id.
    #[error("several paired devices match: use more of the device id")]
    Several,
    /// The matching device was revoked.
    #[error("that device was revoked")]
    Revoked(Revoked),
}

impl Peer {
    /// Parses the device's public key.
    ///
    /// # Errors
    /// [`PublicKeyError`] if the stored bytes are not a public key.
    pub fn public(&self) -> Result<PublicIdentity, PublicKeyError> {
        PublicIdentity::from_spki(&self.spki)
    }
}

impl Peers {
    /// Adds a device or updates it. A device that is already paired keeps its address if `peer` has
    /// none.
    pub fn insert(&mut self, device: DeviceId, mut peer: Peer) {
        if let Some(before) = self.peers.remove(&device) {
            peer.address = peer.address.or(before.address);
            peer.generation = before.generation;
            // Another secret leads to another folder, with other objects.
            if peer.rendezvous != before.rendezvous
                && let Some(mailbox) = self.mailboxes.get_mut(&device)
            {
                *mailbox = Mailbox::new(&mailbox.place);
            }
        }
        if let Some(known) = self.disclosed.get_mut(&device) {
            known.name.clone_from(&peer.name);
        }
        self.revoked.remove(&device);
        // Paired anew, it may have another file, which has acknowledged nothing.
        if let Some(stamped) = self.stamps.get_mut(&device) {
            stamped.marks.clear();
        }
        self.peers.insert(device, peer);
    }

    /// Removes a device at the time `now` (milliseconds since 1970). Its name and the revisions
    /// disclosed to it stay: see [`Peers::find_including_revoked`].
    pub fn remove(&mut self, device: &DeviceId, now: Timestamp) -> Option<Peer> {
        let peer = self.peers.remove(device)?;
        self.stamps.remove(device);
        self.mailboxes.remove(device);
        self.revoked.insert(*device, Revoked { name: peer.name.clone(), time: now });
        Some(peer)
    }

    /// Reverts an [`insert`](Self::insert) to the state `before`, after a pairing that the peer
    /// could not save.
    pub fn restore(&mut self, device: &DeviceId, before: Option<Peer>) {
        self.peers.remove(device);
        if before.is_none() {
            self.stamps.remove(device);
            self.mailboxes.remove(device);
        }
        self.peers.extend(before.map(|before| (*device, before)));
    }

    /// Returns the name of a paired or revoked device here, or the fingerprint of any other device.
    pub fn name_of(&self, device: &DeviceId) -> String {
        let revoked = || self.revoked.get(device).map(|revoked| &revoked.name);
        let name = self.peers.get(device).map(|peer| &peer.name).or_else(revoked);
        name.map_or_else(|| device.fingerprint(), String::clone)
    }

    /// Returns the revoked devices, ordered by id.
    pub fn revoked(&self) -> impl Iterator<Item = (&DeviceId, &Revoked)> {
        self.revoked.iter()
    }

    /// Returns the name under which to store a device that wants to be called `wanted`. Appends the
    /// beginning of its id if the name looks like a device id, hides something, or looks like
    /// another device's present or former name here.
    pub fn name_for(&self, device: &DeviceId, wanted: &str) -> String {
        remembered_as(wanted, &device.to_string(), |name| self.is_taken(device, name))
    }

    /// Renames a paired device and returns its old name.
    ///
    /// # Errors
    /// [`DeviceNameError`] if the name can't be assigned; nothing has changed then.
    pub fn rename(&mut self, device: &DeviceId, name: &str) -> Result<String, DeviceNameError> {
        check_given_name(name)?;
        if self.is_taken(device, name) {
            return Err(DeviceNameError::Taken);
        }
        if let Some(known) = self.disclosed.get_mut(device) {
            known.name = name.into();
        }
        let peer = self.peers.get_mut(device);
        Ok(peer.map(|peer| std::mem::replace(&mut peer.name, name.into())).unwrap_or_default())
    }

    /// Checks whether another device has or had a name that looks like this one.
    fn is_taken(&self, device: &DeviceId, name: &str) -> bool {
        let seen = skeleton(name);
        let paired = self.peers.iter().map(|(id, peer)| (id, &peer.name));
        let mut all = paired.chain(self.revoked.iter().map(|(id, revoked)| (id, &revoked.name)));
        all.any(|(id, name)| id != device && skeleton(name) == seen)
    }

    /// Returns the paired device with this id.
    pub fn get(&self, device: &DeviceId) -> Option<&Peer> {
        self.peers.get(device)
    }

    /// Stores the address at which a device was reached.
    pub fn set_address(&mut self, device: &DeviceId, address: String) {
        if let Some(peer) = self.peers.get_mut(device) {
            peer.address = Some(address);
        }
    }

    /// Stores the generation that a device reports for its snapshot.
    pub fn set_generation(&mut self, device: &DeviceId, generation: u64) {
        if let Some(peer) = self.peers.get_mut(device) {
            peer.generation = generation;
        }
    }

    /// Returns the stamp that this snapshot holds from sessions with a device.
    pub fn own_stamp(&self, device: &DeviceId) -> Option<Stamp> {
        self.stamps.get(device)?.own
    }

    /// Returns the stamps that a device's snapshot should hold from sessions with this one.
    pub fn stamps(&self, device: &DeviceId) -> Stamps {
        self.stamps.get(device).map(|stamped| stamped.expected.clone()).unwrap_or_default()
    }

    /// Records that a device has shown the stamp `shown`, and that its snapshot should hold `next`
    /// from now on.
    pub fn note_stamp(&mut self, device: &DeviceId, shown: Option<Stamp>, next: Stamp) {
        if self.peers.contains_key(device) {
            self.stamps.entry(*device).or_default().expected.note(shown, next);
        }
    }

    /// Stores `next` as this snapshot's own stamp if it still holds the stamp that it showed to the
    /// device.
    pub fn take_stamp(&mut self, device: &DeviceId, shown: Option<Stamp>, next: Stamp) {
        if self.peers.contains_key(device) && self.own_stamp(device) == shown {
            self.stamps.entry(*device).or_default().own = Some(next);
        }
    }

    /// Checks whether a revision was disclosed to a device: held by it now or earlier, or about to
    /// be sent.
    pub fn was_disclosed_to(&self, device: &DeviceId, revision: &RevisionId) -> bool {
        self.disclosed.get(device).is_some_and(|known| known.revisions.contains(revision))
    }

    /// Checks whether a revision was disclosed to any device.
    pub(crate) fn was_disclosed(&self, revision: &RevisionId) -> bool {
        self.disclosed.values().any(|known| known.revisions.contains(revision))
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
        // A device that is revoked while a request of it is answered has no name any more; its
        // fingerprint stands in.
        let name = || self.peers.get(device).map_or_else(|| device.fingerprint(), |peer| peer.name.clone());
        let new = || Disclosed { name: name(), revisions: Prefixes::default() };
        self.disclosed.entry(*device).or_insert_with(new).revisions.extend(revisions);
    }

    pub(crate) fn disclosed_count(&self, device: &DeviceId) -> usize {
        self.disclosed.get(device).map_or(0, |known| known.revisions.len())
    }

    /// Forgets all revisions disclosed to a device except these.
    pub(crate) fn forget_disclosed(&mut self, device: &DeviceId, all_but: &Prefixes) {
        if let Some(known) = self.disclosed.get_mut(device) {
            known.revisions.retain_among(all_but);
        }
    }

    /// Returns whether more was disclosed to any device than these revisions.
    pub(crate) fn discloses_more_than(&self, held: &Prefixes) -> bool {
        self.disclosed.values().any(|known| !known.revisions.are_among(held))
    }

    /// Forgets all revisions disclosed to any device except these.
    pub(crate) fn retain_disclosed(&mut self, all_but: &Prefixes) {
        self.disclosed.values_mut().for_each(|known| known.revisions.retain_among(all_but));
    }

    /// Returns the paired or revoked device that `text` denotes, by the rules of [`Peers::find`].
    ///
    /// # Errors
    /// [`FindPeerError`] if no device or more than one matches.
    pub fn find_including_revoked(&self, text: &str) -> Result<DeviceId, FindPeerError> {
        let paired = self.peers.iter().filter(|(_, peer)| peer.name == text).map(|(id, _)| id);
        let revoked = self.revoked.iter().filter(|(_, revoked)| revoked.name == text).map(|(id, _)| id);
        let ids = self.peers.keys().chain(self.disclosed.keys()).chain(self.revoked.keys());
        let found: BTreeSet<&DeviceId> = paired.chain(revoked).chain(with_prefix(ids, text)).collect();
        only_one(&found).copied()
    }

    /// Returns the device with this name here, or whose id is or begins with `text`: at least four
    /// hexadecimal digits, in either case, with or without dashes. The name that a device uses for
    /// itself is not considered.
    ///
    /// # Errors
    /// [`FindPeerError`] if no device or more than one matches: one device's name may be the
    /// beginning of another's id.
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

    /// Returns all paired devices, ordered by id.
    pub fn iter(&self) -> impl Iterator<Item = (&DeviceId, &Peer)> {
        self.peers.iter()
    }
}

/// Filters the ids that begin with the digits of `text`.
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
