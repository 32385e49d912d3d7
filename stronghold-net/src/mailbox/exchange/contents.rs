//! The objects of a pair in a listing of its store.

use std::collections::{BTreeMap, BTreeSet};

use stronghold_sync::mailbox::{Listed, MAX_NUMBER, Outbox, Point};
use stronghold_vault::{Mailbox, PeerCard};

use crate::mailbox::{Listing, ObjectKind, PairKeys};

/// The objects of a pair by writer, kind and point, and this side's state when they were listed.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) own_cards: BTreeMap<Point, String>,
    pub(super) own_letters: BTreeMap<Point, String>,
    pub(super) peer_cards: BTreeMap<Point, String>,
    pub(super) peer_letters: BTreeMap<Point, String>,
    /// Number of things that are not of this pair.
    pub(super) others: u64,
    /// `false` if the listing was cut.
    pub(super) is_complete: bool,
    /// The state of the mailbox when the store was listed.
    pub(super) state: Mailbox,
}

impl Contents {
    pub(super) fn read(listing: &Listing, keys: &PairKeys, state: Mailbox) -> Self {
        let others = listing.others as u64;
        let mut contents = Self { others, is_complete: listing.is_complete, state, ..Self::default() };
        for text in &listing.names {
            let opened = keys.open_name(text).filter(|name| (1..=MAX_NUMBER).contains(&name.point.number));
            let Some(name) = opened else {
                contents.others += 1;
                continue;
            };
            let objects = match (name.writer == keys.own(), name.kind) {
                (true, ObjectKind::Card) => &mut contents.own_cards,
                (true, ObjectKind::Letter) => &mut contents.own_letters,
                (false, ObjectKind::Card) => &mut contents.peer_cards,
                (false, ObjectKind::Letter) => &mut contents.peer_letters,
            };
            objects.insert(name.point, text.clone());
        }
        contents
    }

    /// Returns this side's letters in the store. A letter that `now` has, and that was not noted
    /// when the store was listed, counts as there: another process is about to put it.
    pub(super) fn listed(&self, now: &Outbox) -> Listed {
        let before: BTreeSet<Point> = self.state.outbox.waiting().collect();
        let new = now.waiting().filter(|point| !before.contains(point));
        Listed {
            points: self.own_letters.keys().copied().chain(new).collect(),
            is_complete: self.is_complete,
        }
    }

    /// Returns whether the store, or the peer's card, tells of objects of this side that its state
    /// does not know. All are noted before they are put.
    pub(super) fn is_ahead(&self, card: Option<&PeerCard>) -> bool {
        let newest = self.own_letters.last_key_value().map_or(0, |(point, _)| point.number);
        let card = card.or(self.state.peer_card.as_ref());
        let is_behind = |card: &PeerCard| newest.max(card.standing.taken.number) > self.state.outbox.sent();
        self.newest_own_card() > self.state.card || card.is_some_and(is_behind)
    }

    /// Returns the number of this side's newest card in the store; zero for none.
    pub(super) fn newest_own_card(&self) -> u64 {
        self.own_cards.last_key_value().map_or(0, |(point, _)| point.number)
    }
}
