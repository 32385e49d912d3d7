//! A proposal that waits for the responder to accept it.

use alloc::{collections::BTreeSet, vec::Vec};

use super::super::{
    PeerMisbehaved,
    batches::{BatchReceiver, BatchSender},
    take_indices,
};
use crate::{Grant, LocationId, Shape, message::RecipientKey};

/// A proposal sent to the peer.
#[derive(Debug)]
pub(super) struct Proposed {
    pub(super) grant: Option<Grant>,
    pub(super) give: Vec<Shape>,
    pub(super) wanted: BTreeSet<u32>,
    pub(super) incoming: BatchReceiver,
}

impl Proposed {
    pub(super) fn handle_want(&mut self, part: Vec<u32>) -> Result<(), PeerMisbehaved> {
        let told = self.give.len();
        take_indices(&mut self.wanted, part, |position| (*position as usize) < told)
    }

    /// Returns the receiver, the sender, and the records of which the peer declined an entry.
    pub(super) fn accepted(
        self,
        key: Option<RecipientKey>,
    ) -> Result<(BatchReceiver, Option<BatchSender>, Vec<LocationId>), PeerMisbehaved> {
        let (give, declined): (Vec<_>, Vec<_>) =
            (0..).zip(self.give).partition(|(position, _)| self.wanted.contains(position));
        let give: Vec<Shape> = give.into_iter().map(|(_, shape)| shape).collect();
        let declined: BTreeSet<LocationId> = declined.into_iter().map(|(_, shape)| shape.location).collect();
        let outgoing = match (self.grant, key) {
            _ if give.is_empty() => None,
            (Some(grant), Some(key)) => Some(BatchSender::new(grant, key, &give)),
            _ => return Err(PeerMisbehaved::BadKey),
        };
        Ok((self.incoming, outgoing, declined.into_iter().collect()))
    }
}
