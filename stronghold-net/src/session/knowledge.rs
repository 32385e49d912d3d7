//! Collects the facts that a session learns about its peer, until they are written with the next
//! change.

use stronghold_sync::{DeviceId, Edition, RevisionId, Stamp, session::Acknowledged};
use stronghold_vault::Stronghold;

/// Facts that a session learnt about its peer and has not written yet.
#[derive(Debug)]
pub(crate) struct PeerKnowledge {
    /// The edition that the peer reported of its snapshot.
    pub(crate) edition: Option<Edition>,
    /// Revisions that the peer holds or is about to receive.
    pub(crate) revisions: Vec<RevisionId>,
    /// The stamp that this session leaves in both snapshots.
    stamp: Stamp,
    /// The stamp that this side has shown.
    shown: Option<Stamp>,
    /// `true` once the peer is known to have the stamp in its file.
    pub(crate) is_stamped_there: bool,
    /// `true` once this side's file has the stamp.
    is_stamped_here: bool,
    /// The peer's acknowledgement at the end of the session.
    pub(crate) acknowledged: Option<Acknowledged>,
    /// `true` if the list of a record that was sent or received is long: what is acknowledged lets
    /// later changes shorten it.
    has_long_lists: bool,
}

/// Length of a list of ancestors from which it is worth a write that it may be shortened. So many
/// commits are worth one, too, after which this side knows that the peer has them.
const LONG: usize = 64;

impl PeerKnowledge {
    pub(crate) fn new(stamp: Stamp) -> Self {
        let (edition, revisions) = (None, Vec::new());
        Self {
            edition,
            revisions,
            stamp,
            shown: None,
            is_stamped_there: false,
            is_stamped_here: false,
            acknowledged: None,
            has_long_lists: false,
        }
    }

    /// Notes the lengths of lists of records that are sent or were received.
    pub(crate) fn passes(&mut self, lists: impl IntoIterator<Item = usize>) {
        self.has_long_lists |= lists.into_iter().any(|len| len > LONG);
    }

    /// Returns whether what the peer has acknowledged is worth a write of its own, if the file was
    /// at `level` then and the peer had acknowledged `before`.
    pub(crate) fn is_worth_a_write(&self, level: u64, before: u64) -> bool {
        let many = level.saturating_sub(before) > LONG as u64;
        self.acknowledged.is_some() && (many || self.has_long_lists)
    }

    pub(crate) fn shows(&mut self, stamp: Option<Stamp>) {
        self.shown = stamp;
    }

    /// Returns whether facts must be written before any entry leaves.
    pub(crate) fn is_due_before_leaving(&self) -> bool {
        self.edition.is_some() || self.is_due()
    }

    /// Returns whether facts must be written before the session ends.
    pub(crate) fn is_due(&self) -> bool {
        !self.revisions.is_empty() || (self.is_stamped_there && !self.is_stamped_here)
    }

    /// Writes the facts into the Stronghold, and those revisions that the peer `brought`. What it
    /// has acknowledged is the state of the file at the generation `level`.
    pub(crate) fn write(
        &self,
        stronghold: &mut Stronghold,
        peer: &DeviceId,
        brought: impl IntoIterator<Item = RevisionId>,
        level: Option<u64>,
    ) {
        let peers = stronghold.peers_mut();
        if let Some(edition) = self.edition {
            if edition.generation > 0 {
                peers.set_generation(peer, edition.generation);
            }
            peers.note_stamp(peer, edition.stamp, self.stamp);
        }
        if self.is_stamped_there && !self.is_stamped_here {
            peers.take_stamp(peer, self.shown, self.stamp);
        }
        if let Some((acknowledged, level)) = self.acknowledged.as_ref().zip(level) {
            peers.acknowledge(peer, acknowledged, level);
        }
        stronghold.record_disclosed(peer, self.revisions.iter().copied().chain(brought));
    }

    /// Notes that the facts are written.
    pub(crate) fn written(&mut self) {
        self.edition = None;
        self.revisions.clear();
        self.acknowledged = None;
        self.is_stamped_here |= self.is_stamped_there;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::friends;

    const OWN: Stamp = Stamp::from_bytes([1; 8]);
    const NEW: Stamp = Stamp::from_bytes([2; 8]);
    const THEIRS: Stamp = Stamp::from_bytes([3; 8]);

    fn revision(number: u8) -> RevisionId {
        RevisionId::from_bytes([number; 32])
    }

    /// Whether it is due before anything leaves, and at the end.
    fn due(learnt: &PeerKnowledge) -> (bool, bool) {
        (learnt.is_due_before_leaving(), learnt.is_due())
    }

    #[test]
    fn what_is_learnt_is_due_until_it_is_written() {
        let mut learnt = PeerKnowledge::new(NEW);
        assert_eq!(due(&learnt), (false, false));
        learnt.edition = Some(Edition::default());
        assert_eq!(due(&learnt), (true, false), "of a session that gives nothing it is not kept");
        learnt.revisions.push(revision(1));
        assert_eq!(due(&learnt), (true, true));
        learnt.written();
        assert_eq!((due(&learnt), learnt.edition, learnt.revisions.len()), ((false, false), None, 0));
        learnt.is_stamped_there = true;
        assert_eq!(due(&learnt), (true, true));
        learnt.written();
        assert_eq!(due(&learnt), (false, false), "the stamp is taken once");
        learnt.revisions.push(revision(1));
        assert_eq!(due(&learnt), (true, true));
    }

    #[test]
    fn what_is_learnt_is_written_for_its_peer() {
        let (device, peer) = friends();
        let id = peer.device();
        // Of what is known of a peer more than twice as much as is held here is not kept.
        device.put_all(["a/v/1", "a/v/2"].map(|name| (name.to_owned(), "1".to_owned())));
        device.change(|stronghold| {
            stronghold.peers_mut().set_generation(&id, 5);
            stronghold.peers_mut().take_stamp(&id, None, OWN);
        });
        let before = device.home.lock().stronghold().peers().stamps(&id);
        let written = |learnt: &PeerKnowledge| {
            let on_a_copy = device.home.lock().dry_run(|stronghold| {
                learnt.write(stronghold, &id, [revision(9)], None);
                let peers = stronghold.peers();
                let known = [1, 2, 9].map(|number| peers.was_disclosed_to(&id, &revision(number)));
                let generation = peers.get(&id).unwrap().generation;
                Ok::<_, stronghold_snapshot::VaultFileError>((
                    generation,
                    peers.own_stamp(&id),
                    peers.stamps(&id) == before,
                    known,
                ))
            });
            on_a_copy.unwrap()
        };
        let mut learnt = PeerKnowledge::new(NEW);
        learnt.shows(Some(OWN));
        assert_eq!(written(&learnt), (5, Some(OWN), true, [false, false, true]));
        learnt.revisions = vec![revision(1), revision(2)];
        learnt.edition = Some(Edition { generation: 0, stamp: Some(THEIRS) });
        assert_eq!(written(&learnt), (5, Some(OWN), false, [true, true, true]), "not told");
        learnt.edition = Some(Edition { generation: 1, stamp: None });
        assert_eq!(written(&learnt), (1, Some(OWN), false, [true, true, true]));
        learnt.is_stamped_there = true;
        assert_eq!(written(&learnt), (1, Some(NEW), false, [true, true, true]));
        learnt.written();
        assert_eq!(written(&learnt), (5, Some(OWN), true, [false, false, true]), "both have it already");
        // This snapshot has another stamp by now than the one that was shown.
        let mut late = PeerKnowledge::new(NEW);
        late.shows(Some(THEIRS));
        late.is_stamped_there = true;
        assert_eq!(written(&late).1, Some(OWN));
    }
}
