//! The difference of two states of an outbox, as it is stored with a change: a letter more costs
//! that letter, not all that wait.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Outbox, Owed, Point, Unacknowledged};
use crate::RevisionId;

/// The difference of two states of an [`Outbox`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxDelta {
    sent: u64,
    acknowledged: Option<Point>,
    /// The lowest number of the letters that stay.
    first: u64,
    /// The number up to which the letters that stay count as replaced.
    replaced: u64,
    /// The letters behind those that stay.
    new: Vec<Unacknowledged>,
    /// The heads to send again; `None` if they are the same.
    owed: Option<Owed>,
    resent: Option<RevisionId>,
    others: Vec<Point>,
}

impl OutboxDelta {
    /// Compares two states; `None` if they are equal.
    pub fn new(before: &Outbox, now: &Outbox) -> Option<Self> {
        if before == now {
            return None;
        }
        let known = before.letters.last().map_or(0, |letter| letter.point.number);
        let delta = Self {
            sent: now.sent,
            acknowledged: now.acknowledged,
            first: now.letters.first().map_or(u64::MAX, |letter| letter.point.number),
            replaced: now.letters.iter().filter(|letter| letter.is_replaced).map(number).max().unwrap_or(0),
            new: now.letters.iter().filter(|letter| number(letter) > known).cloned().collect(),
            owed: (before.owed != now.owed).then(|| now.owed.clone()),
            resent: now.resent,
            others: now.others.clone(),
        };
        let mut applied = before.clone();
        applied.apply(delta.clone());
        // Of two states that do not follow each other, the letters are stored as a whole.
        let whole = || Self { first: u64::MAX, new: now.letters.clone(), ..delta.clone() };
        Some(if applied == *now { delta } else { whole() })
    }
}

impl Outbox {
    /// Applies a difference.
    pub fn apply(&mut self, delta: OutboxDelta) {
        self.sent = delta.sent;
        self.acknowledged = delta.acknowledged;
        self.letters.retain(|letter| number(letter) >= delta.first);
        for letter in self.letters.iter_mut().filter(|letter| number(letter) <= delta.replaced) {
            letter.is_replaced = true;
            letter.heads = None;
        }
        self.letters.extend(delta.new);
        if let Some(owed) = delta.owed {
            self.owed = owed;
        }
        self.resent = delta.resent;
        self.others = delta.others;
    }
}

fn number(letter: &Unacknowledged) -> u64 {
    letter.point.number
}
