//! Compares the records alone in which both sets may differ, as far as the two sides know.

use super::Sync;
use crate::{
    Grant, LocationId,
    message::RecordList,
    reconcile::{NeedMore, exchange::Responder},
    session::{
        PeerMisbehaved,
        digest::HeldSet,
        lists::{are_equal, records_of, union},
    },
};

impl Sync {
    /// Drops the candidates unless the initiator may do everything in one scope: only then does the
    /// difference in it tell all that there is to give and to take.
    pub(super) fn keep_candidates(&mut self, held: HeldSet) {
        let scopes = [&self.pull, &self.push, &self.delete].map(|grant| grant.as_ref().map(Grant::scope));
        let candidates = held.candidates.filter(|_| are_equal(scopes));
        self.own_set = Some(HeldSet { candidates, ..held });
    }

    /// Returns the records in which the sets may differ, as far as this side knows.
    pub(super) fn candidates(&self) -> Option<RecordList> {
        let candidates = self.own_set.as_ref()?.candidates.as_ref()?;
        RecordList::new(records_of(candidates)).ok()
    }

    /// Limits the comparison to the candidates of both sides.
    pub(in crate::session::responder) fn narrow(
        &mut self,
        further: &RecordList,
    ) -> Result<(), PeerMisbehaved> {
        let own = self.candidates().ok_or(PeerMisbehaved::OutOfOrder)?;
        let is_begun = self.reconciling.as_ref().is_none_or(Responder::is_begun);
        let is_first = !is_begun && self.offered.items.is_empty() && self.narrowed.is_none();
        if !is_first || further.as_slice().iter().any(|record| own.as_slice().binary_search(record).is_ok()) {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        self.narrowed = Some(union(own.as_slice(), further.as_slice()));
        Ok(())
    }

    /// Returns whether the initiator may push an entry of this record.
    pub(super) fn is_compared(&self, record: &LocationId) -> bool {
        self.narrowed.as_ref().is_none_or(|records| records.binary_search(record).is_ok())
    }

    /// Discards the difference, since the initiator rejects it: more records differ than those to
    /// which the comparison was limited, or it can't be found in this way. An initiator that
    /// already wants or pushes entries has accepted it.
    pub(in crate::session::responder) fn reject(&mut self) -> Result<(), PeerMisbehaved> {
        if !self.want.is_empty() || !self.named.is_empty() || !self.pushed.items.is_empty() {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        if self.narrowed.take().is_some() {
            // What the whole set differs in is told anew, and was not logged yet.
            self.collected.clear();
            self.logged = false;
        }
        self.is_rejected = true;
        Ok(())
    }

    /// Falls back to the next way of finding the difference, if it was rejected.
    pub(in crate::session::responder) fn fall_back(&mut self) -> Result<Option<NeedMore>, PeerMisbehaved> {
        core::mem::take(&mut self.is_rejected).then(|| self.next_fallback()).transpose()
    }
}
