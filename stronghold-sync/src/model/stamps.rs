//! Detection of duplicate snapshots: distinguishes two snapshots of one identity from one that was
//! restored, by the stamps that sessions leave in them.
//!
//! Each session in which data travels leaves a new [`Stamp`] in the snapshots of both devices,
//! and at the next session each side shows its latest stamp. A single snapshot moves from stamp to
//! stamp; a restored one shows an older stamp and continues from there. Two snapshots of one
//! identity, such as a copied virtual machine and its original, continue along two lines and show
//! stamps of both in turns.
//!
//! A duplicate is reported in exactly this case: after stamp A was issued, the peer shows an
//! earlier stamp that A does not follow, and then shows A. A single snapshot gets there only if a
//! backup replaces it, then a later backup, then the snapshot's own last state: a single restored
//! backup, and undoing it, is not reported. Two snapshots used in turns get there with the second
//! session of each at the latest. No clock is involved, and a peer that shows false stamps harms
//! only what is reported of itself.
//!
//! A side adopts a new stamp once it knows that the peer has it on disk, and only if it still has
//! the stamp that it showed. So a crash in between, or parallel sessions, leave it with an older
//! stamp, or with one of several that follow the same stamp: neither is reported.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Stamp;

/// Maximum number of stamps remembered for a peer: older ones count as never issued.
const MAX_STAMPS: usize = 16;
/// Maximum number of remembered stamps that follow the same stamp, so that sessions which only ask
/// for names, or are interrupted, do not push out others.
const MAX_SUCCESSORS: usize = 4;

/// A side's description of its own snapshot at the start of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edition {
    /// The snapshot's generation; 0 if not disclosed. The peer remembers it, and so detects a
    /// rollback of the snapshot.
    pub generation: u64,
    /// The stamp left by sessions with the peer; `None` before the first.
    pub stamp: Option<Stamp>,
}

/// The stamps issued to one peer, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps(Vec<IssuedStamp>);

/// A stamp that a session issued to a peer, for its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IssuedStamp {
    stamp: Stamp,
    /// The stamp that the peer showed in that session.
    shown: Option<Stamp>,
    /// `true` if the peer has since shown an older stamp that this one does not follow.
    bypassed: bool,
    /// `true` if stamps that followed it are forgotten: a stamp that seems not to follow it may.
    has_forgotten_successors: bool,
}

impl Stamps {
    /// Returns whether a peer that shows this stamp has continued from an older one since it was
    /// issued: there are two snapshots of its identity, and both are in use.
    pub fn detects_duplicate(&self, shown: Option<Stamp>) -> bool {
        self.0.iter().any(|given| Some(given.stamp) == shown && given.bypassed)
    }

    /// Records that the peer showed a stamp, and that this session issues it another, `next`.
    pub fn note(&mut self, shown: Option<Stamp>, next: Stamp) {
        // A stamp that is not remembered proves nothing: it may be as old as a backup, or arrive
        // late.
        if let Some(at) = self.0.iter().position(|given| Some(given.stamp) == shown) {
            let IssuedStamp { shown: before, has_forgotten_successors, .. } = self.0[at];
            for (index, given) in self.0.iter_mut().enumerate() {
                given.bypassed |= index > at && given.shown != shown && !has_forgotten_successors;
            }
            self.0.retain(|given| Some(given.stamp) != before);
        }
        if self.0.iter().all(|given| given.stamp != next) {
            self.0.push(IssuedStamp { stamp: next, shown, bypassed: false, has_forgotten_successors: false });
        }
        let mut following = self.0.iter().enumerate().filter(|(_, given)| given.shown == shown);
        if let (Some((first, _)), true) = (following.next(), following.count() >= MAX_SUCCESSORS) {
            self.0.remove(first);
            self.0
                .iter_mut()
                .filter(|given| Some(given.stamp) == shown)
                .for_each(|given| given.has_forgotten_successors = true);
        }
        let many = self.0.len().saturating_sub(MAX_STAMPS);
        self.0.drain(..many);
    }
}

#[cfg(test)]
mod tests;
