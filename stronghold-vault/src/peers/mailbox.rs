//! The state of a mailbox: where it is, and what was sent, taken and heard through it.

use std::fmt;

use serde::{Deserialize, Serialize};
use stronghold_sync::{
    DeviceId, LocationId, Timestamp,
    mailbox::{Inbox, Outbox, OutboxDelta, Standing},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Peers;

/// Maximum number of keys of a week that are kept.
pub const WEEK_KEYS: usize = 2;
/// Maximum number of records that are noted as having too many heads.
const MAX_CROWDED: usize = 64;

/// The stored state of the mailbox that this device shares with a paired one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// The place, such as the path of a folder. It is not shared with the peer.
    pub place: String,
    /// The letters to the peer.
    pub outbox: Outbox,
    /// The letters of the peer.
    pub inbox: Inbox,
    /// Number of this device's newest card; zero before the first.
    pub card: u64,
    /// The facts that this device's newest card tells.
    pub told: Option<Standing>,
    /// The peer's newest card; `None` before the first.
    pub peer_card: Option<PeerCard>,
    /// The keys to which the peer seals, newest first.
    pub keys: Vec<WeekKey>,
    /// The last time at which the peer is known to have written something that is here, in
    /// milliseconds since 1970; zero for never.
    pub heard: Timestamp,
    /// A hash of the rules under which entries of a letter were refused: once they change, all is
    /// asked for again.
    pub refused: Option<RulesHash>,
    /// Records of which entries of a letter were refused for too many heads, each with its heads
    /// here: once there are fewer, all is asked for again.
    #[serde(default)]
    pub crowded: Vec<(LocationId, u64)>,
}

/// The newest card of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCard {
    /// The card's number.
    pub number: u64,
    /// The facts that the bookkeeping needs.
    pub standing: Standing,
    /// The key to which letters are sealed, encoded.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// The time of the card by the peer's clock, in milliseconds since 1970.
    pub time: Timestamp,
}

/// The seed of a key to which a peer seals letters. `Debug` hides it; it is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct WeekKey {
    #[serde(with = "serde_bytes")]
    seed: [u8; 32],
    /// The time at which the key was made, in milliseconds since 1970.
    #[zeroize(skip)]
    pub made: Timestamp,
}

/// A hash of the rules that a device had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesHash(#[serde(with = "serde_bytes")] pub [u8; 8]);

impl WeekKey {
    /// Creates a key from its seed, made at this time.
    pub fn new(seed: &[u8; 32], made: Timestamp) -> Self {
        Self { seed: *seed, made }
    }

    /// Returns the seed: key material, not for display.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }
}

impl fmt::Debug for WeekKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeekKey").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// Creates the state of a mailbox through which nothing went yet.
    pub fn new(place: &str) -> Self {
        Self { place: place.into(), ..Self::default() }
    }

    /// Notes a record of which entries were refused for too many heads. One that has none here
    /// waits for the peer to resolve it, and is not noted; nor is one beyond 64.
    pub fn note_crowded(&mut self, at: LocationId, heads: u64) {
        self.crowded.retain(|(other, _)| *other != at);
        if heads > 0 && self.crowded.len() < MAX_CROWDED {
            self.crowded.push((at, heads));
        }
    }
}

impl Peers {
    /// Returns the mailbox shared with a device.
    pub fn mailbox(&self, device: &DeviceId) -> Option<&Mailbox> {
        self.mailboxes.get(device)
    }

    /// Returns the mailbox shared with a device, mutably.
    pub fn mailbox_mut(&mut self, device: &DeviceId) -> Option<&mut Mailbox> {
        self.mailboxes.get_mut(device)
    }

    /// Returns all mailboxes, ordered by device id.
    pub fn mailboxes(&self) -> impl Iterator<Item = (&DeviceId, &Mailbox)> {
        self.mailboxes.iter()
    }

    /// Sets the place of the mailbox shared with a device, and returns the place before. What went
    /// through stays known: the objects may have been moved there. Returns `None`, too, for a
    /// device that is not paired, which gets no mailbox.
    pub fn set_mailbox_place(&mut self, device: &DeviceId, place: &str) -> Option<String> {
        if !self.peers.contains_key(device) {
            return None;
        }
        match self.mailboxes.get_mut(device) {
            Some(mailbox) => Some(std::mem::replace(&mut mailbox.place, place.into())),
            None => {
                self.mailboxes.insert(*device, Mailbox::new(place));
                None
            }
        }
    }

    /// Removes the mailbox shared with a device.
    pub fn remove_mailbox(&mut self, device: &DeviceId) -> Option<Mailbox> {
        self.mailboxes.remove(device)
    }
}

/// The difference of two states of a mailbox, part by part.
#[derive(Serialize, Deserialize)]
pub(super) struct MailboxDelta {
    /// `true` if nothing of the state before stays.
    is_whole: bool,
    place: Option<String>,
    outbox: Option<OutboxDelta>,
    inbox: Inbox,
    card: u64,
    told: Option<Standing>,
    peer_card: Option<PeerCard>,
    keys: Option<Vec<WeekKey>>,
    heard: Timestamp,
    refused: Option<RulesHash>,
    #[serde(default)]
    crowded: Option<Vec<(LocationId, u64)>>,
}

impl MailboxDelta {
    pub(super) fn new(before: Option<&Mailbox>, now: &Mailbox) -> Self {
        // A card, once read, is only replaced by another; and a mailbox that begins anew has none.
        let stays = |before: &&Mailbox| before.peer_card.is_none() || now.peer_card.is_some();
        let (before, none) = (before.filter(stays), Mailbox::default());
        let is_whole = before.is_none();
        let before = before.unwrap_or(&none);
        Self {
            is_whole,
            place: (before.place != now.place).then(|| now.place.clone()),
            outbox: OutboxDelta::new(&before.outbox, &now.outbox),
            inbox: now.inbox,
            card: now.card,
            told: now.told,
            peer_card: now.peer_card.clone().filter(|card| before.peer_card.as_ref() != Some(card)),
            keys: (before.keys != now.keys).then(|| now.keys.clone()),
            heard: now.heard,
            refused: now.refused,
            crowded: (before.crowded != now.crowded).then(|| now.crowded.clone()),
        }
    }

    pub(super) fn apply(self, to: &mut Mailbox) {
        let Self { is_whole, place, outbox, inbox, card, told, peer_card, keys, heard, refused, crowded } =
            self;
        if is_whole {
            *to = Mailbox::default();
        }
        to.place = place.unwrap_or_else(|| std::mem::take(&mut to.place));
        outbox.into_iter().for_each(|delta| to.outbox.apply(delta));
        to.keys = keys.unwrap_or_else(|| std::mem::take(&mut to.keys));
        to.peer_card = peer_card.or_else(|| to.peer_card.take());
        (to.inbox, to.card, to.told, to.heard, to.refused) = (inbox, card, told, heard, refused);
        to.crowded = crowded.unwrap_or_else(|| std::mem::take(&mut to.crowded));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stronghold_sync::{
        Edition, Location, RevisionId,
        mailbox::{Listed, Point},
    };

    use super::*;
    use crate::ages::ms;
    use crate::{Labels, Peer, Rendezvous, Stronghold};

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 32]);

    fn peer(secret: u8) -> Peer {
        Peer {
            name: "phone".into(),
            own_name: "phone".into(),
            spki: vec![1],
            address: None,
            paired: ms(1),
            generation: 0,
            rendezvous: Some(Rendezvous::from_bytes([secret; 32])),
        }
    }

    fn at(record: u8) -> LocationId {
        let location: Location = format!("a/b/{record}").parse().unwrap();
        location.id()
    }

    fn standing() -> Standing {
        let point = Point::default();
        Standing { taken: point, damaged: point, seen: Edition::default(), key: [1; 8] }
    }

    fn used(outbox_letters: u64) -> Mailbox {
        let mut mailbox = Mailbox::new("/media/stick");
        let listed = Listed { points: BTreeSet::new(), is_complete: false };
        mailbox.outbox.read(&standing(), &listed);
        for number in 0..outbox_letters {
            let order = mailbox.outbox.next([7; 8], Edition::default(), &standing()).unwrap();
            mailbox.outbox.note(&order, &standing(), &[RevisionId::from_bytes([number as u8; 32]); 50]);
        }
        mailbox.inbox.take(Point { number: 3, id: [3; 8] });
        (mailbox.card, mailbox.told, mailbox.heard) = (9, Some(standing()), ms(5));
        mailbox.refused = Some(RulesHash([4; 8]));
        mailbox.note_crowded(at(1), 5);
        mailbox.peer_card =
            Some(PeerCard { number: 4, standing: standing(), key: vec![5; 1_249], time: ms(6) });
        mailbox.keys = vec![WeekKey::new(&[0xab; 32], ms(2))];
        mailbox
    }

    /// Changes a Stronghold; returns the changes and what they made of its state before.
    fn stored(held: &mut Stronghold, change: impl FnOnce(&mut Peers)) -> (usize, Stronghold) {
        let mut before = Stronghold::from_payload(&held.to_payload().unwrap()).unwrap();
        held.begin_changes();
        change(held.peers_mut());
        let changes = held.changes().unwrap();
        held.keep_changes();
        before.apply_changes(&changes).unwrap();
        (changes.len(), before)
    }

    #[test]
    fn a_mailbox_is_stored_whole_and_changed_by_its_difference_alone() {
        let mut held = Stronghold::new("here").unwrap();
        held.peers_mut().insert(DEVICE, peer(1));
        let mut states = vec![Mailbox::new("/a"), used(100), used(101), Mailbox::new("/b"), used(3)];
        states[2].keys.insert(0, WeekKey::new(&[0xcd; 32], ms(3)));
        for state in states {
            let (_, applied) = stored(&mut held, |peers| _ = peers.mailboxes.insert(DEVICE, state.clone()));
            assert_eq!(applied.peers().mailbox(&DEVICE), Some(&state));
            let loaded = Stronghold::from_payload(&held.to_payload().unwrap()).unwrap();
            assert_eq!(loaded.peers().mailbox(&DEVICE), Some(&state));
        }
        held.peers_mut().mailboxes.insert(DEVICE, used(100));
        held.write(&"a/b/c".parse().unwrap(), b"1", Labels::new(), ms(1)).unwrap();
        let (letter, _) = stored(&mut held, |peers| _ = peers.mailboxes.insert(DEVICE, used(101)));
        assert!(letter < 1_000, "one letter more of 50 heads costs {letter} bytes");
        let (gone, applied) = stored(&mut held, |peers| _ = peers.remove_mailbox(&DEVICE));
        assert!(gone < 60 && applied.peers().mailbox(&DEVICE).is_none(), "{gone} bytes");
    }

    #[test]
    fn as_many_records_with_too_many_heads_are_noted_each_once() {
        let mut mailbox = used(0);
        mailbox.note_crowded(at(2), 0);
        assert_eq!(mailbox.crowded, [(at(1), 5)], "without a head here, nothing here makes room");
        (0..100).for_each(|record| mailbox.note_crowded(at(record), 6));
        assert_eq!(mailbox.crowded.len(), MAX_CROWDED);
        assert!(mailbox.crowded.iter().all(|(_, heads)| *heads == 6));
    }

    #[test]
    fn a_device_that_is_revoked_or_paired_anew_has_no_state_of_its_mailbox() {
        let mut held = Stronghold::new("here").unwrap();
        assert_eq!(held.peers_mut().set_mailbox_place(&DEVICE, "/a"), None);
        assert_eq!(held.peers().mailboxes().count(), 0, "it is not paired");
        held.peers_mut().insert(DEVICE, peer(1));
        held.peers_mut().mailboxes.insert(DEVICE, used(1));
        held.peers_mut().insert(DEVICE, peer(1));
        assert_eq!(held.peers().mailbox(&DEVICE), Some(&used(1)), "with the same secret");
        assert_eq!(held.peers_mut().set_mailbox_place(&DEVICE, "/b").as_deref(), Some("/media/stick"));
        held.peers_mut().insert(DEVICE, peer(2));
        assert_eq!(held.peers().mailbox(&DEVICE), Some(&Mailbox::new("/b")), "the place stays");
        held.revoke(&DEVICE, ms(1));
        assert_eq!(held.peers().mailbox(&DEVICE), None);
    }

    #[test]
    fn debug_shows_no_seed() {
        let shown = format!("{:?}", used(0));
        assert!(
            !shown.contains("171") && !shown.contains("ab, ab") && shown.contains("made: Timestamp(2)"),
            "{shown}"
        );
    }
}
