//! What a session learns of its peer, and leaves in both snapshots, until it is written with the next change.

use stronghold_sync::{DeviceId, Edition, RevisionId, Stamp};
use stronghold_vault::Stronghold;

/// What a session has learnt of its peer and not yet written.
#[derive(Debug)]
pub(crate) struct Learnt {
    /// What the peer has told of its snapshot.
    pub(crate) edition: Option<Edition>,
    /// What the peer holds, or is about to have.
    pub(crate) revisions: Vec<RevisionId>,
    /// The stamp that this session leaves in the snapshots of both.
    stamp: Stamp,
    /// The one that this side has shown.
    shown: Option<Stamp>,
    /// Whether the peer is known to have the stamp in its file.
    pub(crate) is_stamped_there: bool,
    /// Whether this side has taken it.
    is_stamped_here: bool,
}

impl Learnt {
    pub(crate) fn new(stamp: Stamp) -> Self {
        let (edition, revisions) = (None, Vec::new());
        Self { edition, revisions, stamp, shown: None, is_stamped_there: false, is_stamped_here: false }
    }

    pub(crate) fn shows(&mut self, stamp: Option<Stamp>) {
        self.shown = stamp;
    }

    /// Whether there is something that must be written before anything leaves.
    pub(crate) fn is_due_before_leaving(&self) -> bool {
        self.edition.is_some() || self.is_due()
    }

    /// Whether there is something that must be written before the session is over.
    pub(crate) fn is_due(&self) -> bool {
        !self.revisions.is_empty() || (self.is_stamped_there && !self.is_stamped_here)
    }

    /// Writes it, with what else the peer holds.
    pub(crate) fn write(
        &self,
        stronghold: &mut Stronghold,
        peer: &DeviceId,
        brought: impl IntoIterator<Item = RevisionId>,
    ) {
        let peers = stronghold.peers_mut();
        if let Some(edition) = self.edition {
            if edition.generation > 0 {
                peers.at_generation(peer, edition.generation);
            }
            peers.note_stamp(peer, edition.stamp, self.stamp);
        }
        if self.is_stamped_there && !self.is_stamped_here {
            peers.take_stamp(peer, self.shown, self.stamp);
        }
        stronghold.remember_known(peer, self.revisions.iter().copied().chain(brought));
    }

    /// It is written.
    pub(crate) fn written(&mut self) {
        self.edition = None;
        self.revisions.clear();
        self.is_stamped_here |= self.is_stamped_there;
    }
}
