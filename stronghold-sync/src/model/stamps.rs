//! Telling two snapshots of one identity from one that was restored: by the stamps that sessions
//! leave in them.
//!
//! Each session in which something travels leaves a new [`Stamp`] in the snapshots of both devices,
//! and each side shows at the next one which it has. One snapshot goes from stamp to stamp; one
//! that was restored shows an older one, and goes on from there. Two that go by one identity, such
//! as a copied virtual machine and its original, go on along two lines, and show now one and now
//! the other.
//!
//! What is told is this and nothing else: after a stamp was given, one was shown that was given
//! before it and that it does not follow; and then it is shown itself. One snapshot gets there only
//! where a backup was put in its place, then a later one, then what the first had become: of one
//! mistake with a backup, and of its mending, nothing is told. Two that are used by turns get there
//! with the second session of each at the latest. No clock decides, and a peer that shows what it
//! likes harms only what is told of itself.
//!
//! A side keeps a new stamp as its own once it knows that the peer has it in its file, and
//! only while it still has the one that it showed. So a crash in between, and sessions beside each
//! other, leave it with an older stamp, or with one of several that follow the same: none of that
//! is told.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Stamp;

/// Maximum stamps remembered of a peer. An older one counts as never issued.
const MOST: usize = 16;
/// Maximum stamps that follow one stamp: those left by sessions that only list names, or are cut,
/// are not to push out others.
const MOST_FOLLOWING: usize = 4;

/// The state of a side's own snapshot, sent at the beginning of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edition {
    /// The snapshot's generation; 0 if it is not told. The peer remembers it, and so notices
    /// when the snapshot was set back.
    pub generation: u64,
    /// The stamp that it has from sessions with the other; `None` before the first.
    pub stamp: Option<Stamp>,
}

/// The stamps that sessions with one peer were to leave in its snapshot, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps(Vec<IssuedStamp>);

/// A stamp that a session was to leave in a peer's snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IssuedStamp {
    stamp: Stamp,
    /// The stamp that the peer showed in that session.
    upon: Option<Stamp>,
    /// `true` if the peer has shown one since that is older, and that this one does not follow.
    passed: bool,
    /// `true` if stamps that followed it are forgotten: what seems not to follow it may.
    crowded: bool,
}

impl Stamps {
    /// Returns whether a peer that shows this stamp has gone on from an older one since it got this
    /// one: there are two snapshots of its identity, and both are in use.
    #[must_use]
    pub fn detects_duplicate(&self, shown: Option<Stamp>) -> bool {
        self.0.iter().any(|given| Some(given.stamp) == shown && given.passed)
    }

    /// Notes that the peer has shown a stamp, and that this session is to leave it another, `next`.
    pub fn note(&mut self, shown: Option<Stamp>, next: Stamp) {
        // Of a stamp that is not remembered nothing is concluded: it may be as old as a backup, or
        // come late.
        if let Some(at) = self.0.iter().position(|given| Some(given.stamp) == shown) {
            let IssuedStamp { upon, crowded, .. } = self.0[at];
            for (index, given) in self.0.iter_mut().enumerate() {
                given.passed |= index > at && given.upon != shown && !crowded;
            }
            self.0.retain(|given| Some(given.stamp) != upon);
        }
        if self.0.iter().all(|given| given.stamp != next) {
            self.0.push(IssuedStamp { stamp: next, upon: shown, passed: false, crowded: false });
        }
        let mut following = self.0.iter().enumerate().filter(|(_, given)| given.upon == shown);
        if let (Some((first, _)), true) = (following.next(), following.count() >= MOST_FOLLOWING) {
            self.0.remove(first);
            self.0
                .iter_mut()
                .filter(|given| Some(given.stamp) == shown)
                .for_each(|given| given.crowded = true);
        }
        let many = self.0.len().saturating_sub(MOST);
        self.0.drain(..many);
    }
}

#[cfg(test)]
mod tests;
