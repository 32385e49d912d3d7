//! Compares the records alone in which both sets may differ, as far as the two sides know.

use alloc::{collections::BTreeSet, vec::Vec};

use super::Sync;
use crate::{
    LocationId, Shape,
    message::{Message, RecordList},
    reconcile::NeedMore,
    session::{
        PeerMisbehaved,
        lists::{are_equal, count_records, records_of, union},
    },
};

/// The part of the compared set to which a comparison is limited.
#[derive(Debug, Default)]
pub(super) struct Narrowed {
    /// The records named by either side, sorted.
    records: Vec<LocationId>,
    /// Those that the peer has not named itself.
    told: RecordList,
}

impl Sync {
    /// Limits the comparison to the records in which the sets may differ, if both sides know them
    /// and each may have all that the other holds in scope: the answer tells the peer whether this
    /// side holds a record that it names. Returns these records.
    pub(in crate::session::initiator) fn narrow(&mut self) -> Option<Vec<LocationId>> {
        let theirs = self.candidates.take()?;
        let own = records_of(self.own_set.as_ref()?.candidates.as_ref()?);
        if !are_equal([self.pull.as_ref(), self.push.as_ref(), self.delete.as_ref()])
            || self.givable().is_some()
        {
            return None;
        }
        let theirs = theirs.as_slice();
        let told: Vec<LocationId> =
            own.iter().filter(|own| theirs.binary_search(own).is_err()).copied().collect();
        let records = union(&own, theirs);
        self.narrowed = Some(Narrowed { records: records.clone(), told: RecordList::new(told).ok()? });
        Some(records)
    }

    /// Returns the messages that describe the part of the held set to which the comparison is
    /// limited; `None` if it is not.
    pub(super) fn tell_narrowed(&mut self) -> Option<Vec<Message>> {
        let told = Message::Candidates(self.narrowed.as_ref()?.told.clone());
        let entries = self.held.iter().map(Shape::entry);
        let parts = self.reconciling.as_mut()?.begin_within(entries);
        let parts = parts.into_iter().map(Message::Digest);
        Some([told].into_iter().chain(parts).chain([Message::DigestEnd]).collect())
    }

    /// Compares all records, since more differ than those that either side has named. `again` is
    /// handled once their shapes are there; it is returned if all are compared already.
    pub(in crate::session::initiator) fn widen(&mut self, again: NeedMore) -> Option<NeedMore> {
        match self.narrowed.take() {
            Some(_) => {
                self.again = Some(again);
                None
            }
            None => Some(again),
        }
    }

    /// Returns the messages for which all shapes had to be collected, if they had.
    pub(in crate::session::initiator) fn tell_again(
        &mut self,
    ) -> Result<Option<Vec<Message>>, PeerMisbehaved> {
        self.again.take().map(|again| self.handle_need_more(again)).transpose()
    }

    /// Returns whether the peer may name this record as one that differs.
    pub(super) fn is_compared(&self, record: &LocationId) -> bool {
        self.narrowed.as_ref().is_none_or(|narrowed| narrowed.records.binary_search(record).is_ok())
    }

    /// Returns the numbers of records, and of those that are not deletions, that are the same on
    /// both sides.
    pub(super) fn unchanged(&self) -> (u64, u64) {
        let differs: BTreeSet<LocationId> = self.differing_records();
        // Not all shapes are here then, but those that differ are.
        let own = self.own_set.as_ref().filter(|_| self.narrowed.is_some() || self.holds_the_same());
        let counted = || self.held.iter().filter(|shape| differs.contains(&shape.location) == own.is_some());
        let records = count_records(counted());
        let readable = count_records(counted().filter(|shape| !shape.deleted));
        own.map_or((records, readable), |own| {
            (own.records.saturating_sub(records), own.readable.saturating_sub(readable))
        })
    }
}
