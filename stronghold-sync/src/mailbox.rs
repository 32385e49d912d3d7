//! Keeps the books of a mailbox: which letters a sender still has to deliver, and which of them a
//! taker may take. Knows only numbers and ids; letters, cards and the store are elsewhere.
//!
//! Each letter names the points at which the taker may stand to take it, so that letters are taken
//! in order and each once. The taker's card names the point at which it stands. A point that the
//! sender does not know means that one side was restored from an older state: all is sent again.

mod delta;
#[cfg(test)]
mod tests;

use alloc::{collections::BTreeSet, vec::Vec};

use serde::{Deserialize, Serialize};

pub use delta::OutboxDelta;

use crate::{Edition, RevisionId};

/// Maximum number of letters between the point that the card names and the newest letter.
pub const MAX_CHAIN: usize = 128;
/// Maximum number of heads of a letter that are remembered one by one. The heads of a larger letter
/// are sent again together with all others.
pub const MAX_HEADS_KEPT: usize = 4_096;
/// Maximum number of a letter or card: more than the milliseconds of 8,000 years. A greater one
/// could leave no number for those that follow.
pub const MAX_NUMBER: u64 = 1 << 48;

/// A point in a sender's chain of letters: the number of a letter, and its random id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// The letter's number, from one; zero before the first letter.
    pub number: u64,
    /// The letter's random id.
    #[serde(with = "serde_bytes")]
    pub id: [u8; 8],
}

/// The order of a letter in its sender's chain, as the letter tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The letter's own point.
    pub point: Point,
    /// The points at which the taker may stand to take the letter.
    pub after: Vec<Point>,
    /// The sender's file when it sealed the letter: the generation that the commit makes which
    /// notes the letter, and the stamp of the last direct session. A restored file may reach a
    /// generation twice, but not a stamp.
    pub sealed: Edition,
    /// The edition that the taker's card said it had seen.
    pub seen: Edition,
}

/// The facts of a taker's card that the sender needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The last letter taken.
    pub taken: Point,
    /// A letter that could not be opened; the default if there is none.
    pub damaged: Point,
    /// The last direct session as the taker knows it: the generation of the sender's file that it
    /// saw, and the stamp.
    pub seen: Edition,
    /// A short id of the key to which letters are sealed.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 8],
}

/// The sender's letters in a listing of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The points of the letters that are listed.
    pub points: BTreeSet<Point>,
    /// `false` if the listing was cut: a letter that is not listed may be in the store all the
    /// same.
    pub is_complete: bool,
}

/// A letter that the taker has not counted yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unacknowledged {
    point: Point,
    sealed: Edition,
    seen: Edition,
    #[serde(with = "serde_bytes")]
    key: [u8; 8],
    /// The first 8 bytes of the ids of its heads; `None` for too many to keep.
    heads: Option<Vec<u64>>,
    /// `true` once a later letter contains its heads.
    is_replaced: bool,
}

/// The sender's side: the letters sent, and those not acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// The highest number used.
    sent: u64,
    /// The point that the taker's card named last; `None` before the first card.
    acknowledged: Option<Point>,
    /// The letters after that point, in order.
    letters: Vec<Unacknowledged>,
    /// The heads to send again, and the last of them that is in a letter again.
    owed: Owed,
    resent: Option<RevisionId>,
    /// Letters behind the acknowledged point that are not among those above: of a state that was
    /// given up or lost, or of a copy of the file. The taker may take them all the same.
    others: Vec<Point>,
}

/// The taker's side: the point at which it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbox {
    taken: Point,
    damaged: Point,
}

/// The heads that must be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Owed {
    #[default]
    Nothing,
    /// Those whose ids begin with these 8 bytes.
    Heads(BTreeSet<u64>),
    /// All that the taker may have.
    Everything,
}

/// The answer to whether a letter may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is the next one.
    Next,
    /// It was taken, or is older than one that was.
    Past,
    /// A letter before it is missing, or it is of a chain that was given up.
    NotYet,
    /// It was sealed before the last direct session and could bring back what was forgotten since.
    BeforeSession,
}

impl Outbox {
    /// Reads the taker's newest card and the points of this side's letters in the store. Finds out
    /// which heads must be sent again; the letters that contained them count as replaced.
    pub fn read(&mut self, card: &Standing, listed: &Listed) {
        let highest = listed.points.last().map_or(0, |point| point.number);
        let is_first = self.acknowledged.is_none() && card.taken == Point::default();
        if highest > self.sent || !is_first && !self.knows(&card.taken) {
            return self.begin_anew(card.taken, listed);
        }
        self.acknowledged = Some(card.taken);
        self.letters.retain(|letter| letter.point.number > card.taken.number);
        self.others.retain(|point| point.number > card.taken.number);
        if !self.letters.iter().any(|letter| letter.is_lost(card, listed)) {
            return;
        }
        if self.letters.len() >= MAX_CHAIN {
            return self.begin_anew(card.taken, listed);
        }
        for letter in self.letters.iter_mut().filter(|letter| !letter.is_replaced) {
            letter.is_replaced = true;
            self.owed.add(letter.heads.take());
        }
        self.resent = None;
    }

    /// Returns whether a head must be sent again.
    pub fn owes(&self, head: &RevisionId) -> bool {
        self.owed.contains(head) && self.resent.is_none_or(|last| *head > last)
    }

    /// Returns the order of the next letter; `None` while the chain is full, or no card was read.
    pub fn next(&self, id: [u8; 8], sealed: Edition, card: &Standing) -> Option<Order> {
        let first = self.acknowledged.filter(|_| self.letters.len() < MAX_CHAIN)?;
        let replaced = self.letters.iter().rev().take_while(|letter| letter.is_replaced);
        let mut after: Vec<Point> = replaced.map(|letter| letter.point).collect();
        let before = self.letters.len().checked_sub(after.len() + 1);
        match before.and_then(|at| self.letters.get(at)) {
            Some(letter) => after.push(letter.point),
            None => {
                after.push(first);
                let room = (MAX_CHAIN + 1).saturating_sub(after.len());
                after.extend(self.others.iter().rev().take(room));
            }
        }
        let number = self.sent.checked_add(1).filter(|number| *number <= MAX_NUMBER)?;
        Some(Order { point: Point { number, id }, after, sealed, seen: card.seen })
    }

    /// Notes a letter that is about to be put into the store, with its heads. All heads of one run,
    /// those sent again and the others, must go into letters in the order of their ids.
    pub fn note(&mut self, order: &Order, card: &Standing, heads: &[RevisionId]) {
        self.sent = order.point.number;
        if self.owed != Owed::Nothing {
            self.resent = heads.iter().copied().max().max(self.resent);
        }
        let is_kept = heads.len() <= MAX_HEADS_KEPT;
        self.letters.push(Unacknowledged {
            point: order.point,
            sealed: order.sealed,
            seen: order.seen,
            key: card.key,
            heads: is_kept.then(|| heads.iter().map(short_head).collect()),
            is_replaced: false,
        });
    }

    /// Notes that all heads of the run are in letters, but for these, which a rule holds back: they
    /// stay owed. After a run that the full chain cut short, the rest stays owed too.
    pub fn settle(&mut self, held_back: &[RevisionId]) {
        self.owed = match held_back {
            [] => Owed::Nothing,
            heads => Owed::Heads(heads.iter().map(short_head).collect()),
        };
        self.resent = None;
    }

    /// Returns whether any head must be sent again.
    pub fn is_owing(&self) -> bool {
        self.owed != Owed::Nothing
    }

    /// Returns the highest number used.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns whether a letter may go from the store: the taker is past it, or later letters have
    /// its heads. An unknown one stays until the taker is past it: it may be of a state that was
    /// lost, or of a copy of the file, and have values that nobody else holds.
    pub fn is_over(&self, point: &Point) -> bool {
        let is_past = self.acknowledged.is_some_and(|last| point.number <= last.number);
        is_past || self.letters.iter().any(|letter| letter.point == *point && letter.is_replaced)
    }

    /// Returns the points of the letters that must stay in the store.
    pub fn waiting(&self) -> impl Iterator<Item = Point> {
        self.letters.iter().filter(|letter| !letter.is_replaced).map(|letter| letter.point)
    }

    fn knows(&self, point: &Point) -> bool {
        let is_sent = || self.letters.iter().any(|letter| letter.point == *point);
        self.acknowledged == Some(*point) || is_sent() || self.others.contains(point)
    }

    /// Gives the letters up: all that the taker may have goes into new ones, which it may take
    /// whether or not it takes the old ones before.
    fn begin_anew(&mut self, taken: Point, listed: &Listed) {
        let known = self.letters.drain(..).map(|letter| letter.point).chain(self.others.drain(..));
        let unknown = listed.points.iter().copied().filter(|point| point.number > self.sent);
        let all: BTreeSet<Point> = known.chain(unknown).collect();
        self.others = all.into_iter().filter(|point| point.number > taken.number).collect();
        self.others.drain(..self.others.len().saturating_sub(MAX_CHAIN));
        let highest = listed.points.last().map_or(0, |point| point.number);
        self.sent = self.sent.max(highest).max(taken.number);
        self.acknowledged = Some(taken);
        self.owed = Owed::Everything;
        self.resent = None;
    }
}

impl Owed {
    /// Adds the heads of a letter; `None` if they were too many to keep.
    fn add(&mut self, heads: Option<Vec<u64>>) {
        let before = core::mem::take(self);
        *self = match (before, heads) {
            (Self::Nothing, Some(heads)) => Self::Heads(heads.into_iter().collect()),
            (Self::Heads(mut before), Some(heads)) => {
                before.extend(heads);
                Self::Heads(before)
            }
            _ => Self::Everything,
        };
    }

    fn contains(&self, head: &RevisionId) -> bool {
        match self {
            Self::Nothing => false,
            Self::Heads(heads) => heads.contains(&short_head(head)),
            Self::Everything => true,
        }
    }
}

impl Unacknowledged {
    /// Returns whether the taker will never take the letter as it is.
    fn is_lost(&self, card: &Standing, listed: &Listed) -> bool {
        let is_before_session = is_before_session(&self.sealed, &self.seen, &card.seen);
        let is_unreadable = self.key != card.key || self.point == card.damaged;
        let is_missing = listed.is_complete && !listed.points.contains(&self.point);
        !self.is_replaced && (is_missing || is_unreadable || is_before_session)
    }
}

impl Inbox {
    /// Returns whether a letter may be taken. `seen` is the last direct session with the sender as
    /// this side knows it.
    pub fn turn(&self, order: &Order, seen: &Edition) -> Turn {
        if order.point.number <= self.taken.number {
            return Turn::Past;
        }
        if !order.after.contains(&self.taken) {
            return Turn::NotYet;
        }
        if is_before_session(&order.sealed, &order.seen, seen) {
            return Turn::BeforeSession;
        }
        Turn::Next
    }

    /// Notes that a letter was taken.
    pub fn take(&mut self, point: Point) {
        self.taken = point;
        self.damaged = Point::default();
    }

    /// Notes a letter that can't be opened, so that the sender sends it again.
    pub fn note_damaged(&mut self, point: Point) {
        self.damaged = point;
    }

    /// Asks for all letters again: takes a point that the sender does not know. `id` is random.
    pub fn ask_again(&mut self, id: [u8; 8]) {
        self.taken.id = id;
    }

    /// Returns the last letter taken, and the one that could not be opened.
    pub fn standing(&self) -> (Point, Point) {
        (self.taken, self.damaged)
    }
}

/// Returns whether a letter was sealed before the last direct session and could bring back what was
/// forgotten since: the sender's file is older than the session, and the sender had not read a card
/// from after it.
fn is_before_session(sealed: &Edition, seen: &Edition, session: &Edition) -> bool {
    let is_older = sealed.generation <= session.generation || sealed.stamp != session.stamp;
    is_older && seen != session
}

/// Returns the first 8 bytes of a head's id, by which it is remembered.
fn short_head(head: &RevisionId) -> u64 {
    head.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
