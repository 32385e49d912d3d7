//! Remembers which letters could not be taken, so that they are not got again at each look.

use std::collections::BTreeMap;

use stronghold_sync::{Edition, Losses, mailbox::Point};

use super::{
    contents::Contents,
    exchanged::{Exchanged, Oddity},
};

/// The letters of a device that could not be taken, each with the state by which that was decided.
/// It is kept in memory: another process gets them once more.
#[derive(Clone, Debug, Default)]
pub struct Deferred {
    not_due: BTreeMap<String, Place>,
    stopped: Option<Stopped>,
}

/// The state that decides whether it is a letter's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The last letter taken.
    pub(super) taken: Point,
    /// The last direct session.
    pub(super) seen: Edition,
    /// The generation of the file.
    pub(super) generation: u64,
}

/// A letter that waits for a person, and the report of it.
#[derive(Clone, Debug)]
struct Stopped {
    name: String,
    generation: u64,
    odd: Option<Oddity>,
    unconfirmed: Option<Losses>,
}

impl Deferred {
    /// Forgets the letters that are no longer there.
    pub(super) fn keep_those_in(&mut self, contents: &Contents) {
        let is_there = |name: &str| contents.peer_letters.values().any(|there| there == name);
        self.not_due.retain(|name, _| is_there(name));
        self.stopped.take_if(|stopped| !is_there(&stopped.name));
    }

    /// Returns whether a letter is known not to be due in this state.
    pub(super) fn is_not_due(&self, name: &str, place: &Place) -> bool {
        let is_same = |known: &Place| (known.taken, known.seen) == (place.taken, place.seen);
        self.not_due.get(name).is_some_and(is_same)
    }

    pub(super) fn note_not_due(&mut self, name: &str, place: Place) {
        self.not_due.insert(name.to_owned(), place);
    }

    /// Reports a letter that waits for a person as it was reported before, if nothing in the file
    /// has changed since. Returns whether it did.
    pub(super) fn stops(&self, name: &str, place: &Place, done: &mut Exchanged) -> bool {
        let Some(stopped) = &self.stopped else { return false };
        if (stopped.name.as_str(), stopped.generation) != (name, place.generation) {
            return false;
        }
        done.odd.extend(stopped.odd.filter(|odd| !done.odd.contains(odd)));
        done.unconfirmed = stopped.unconfirmed;
        true
    }

    pub(super) fn note_stopped(
        &mut self,
        name: &str,
        place: &Place,
        odd: Option<Oddity>,
        unconfirmed: Option<Losses>,
    ) {
        let (name, generation) = (name.to_owned(), place.generation);
        self.stopped = Some(Stopped { name, generation, odd, unconfirmed });
    }
}
