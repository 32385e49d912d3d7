//! What a session learns of its peer, until it is written with the next change.

use stronghold_sync::{DeviceId, RevisionId};
use stronghold_vault::Stronghold;

/// What a session has learnt of its peer and not yet written.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    pub(crate) generation: Option<u64>,
    /// What the peer holds, or is about to have.
    pub(crate) revisions: Vec<RevisionId>,
}

impl Learnt {
    /// Writes it, with what else the peer holds.
    pub(crate) fn write(
        &self,
        stronghold: &mut Stronghold,
        peer: &DeviceId,
        brought: impl IntoIterator<Item = RevisionId>,
    ) {
        if let Some(generation) = self.generation {
            stronghold.peers_mut().at_generation(peer, generation);
        }
        stronghold.remember_known(peer, self.revisions.iter().copied().chain(brought));
    }
}
