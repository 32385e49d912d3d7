//! The digest of this side's entries in a scope, by which both sides notice that they hold the
//! same without collecting a shape.

use alloc::vec::Vec;
use core::fmt;

use super::count_records;
use crate::{
    Scope, Shape, Timestamp,
    reconcile::{PairSecret, SetDigest, SetKey},
};

/// Milliseconds in a day.
const DAY: u64 = 24 * 3_600 * 1_000;

/// The question for the digest of the heads in a scope. `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestQuery {
    /// The scope.
    pub scope: Scope,
    /// `true` if the peer's next sessions are likely to use the same key, so that it is worthwhile
    /// to keep the digest.
    pub is_lasting: bool,
    secret: [u8; 32],
}

/// A side's heads in a scope, as a digest and numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldSet {
    /// The digest of the heads.
    pub digest: SetDigest,
    /// Number of records.
    pub records: u64,
    /// Number of records with a head that is not a deletion.
    pub readable: u64,
    /// The heads that the peer is not known to hold, sorted by entry; `None` if that is not known,
    /// or if they are of more than [`MAX_CANDIDATES`](crate::message::MAX_CANDIDATES) records.
    pub candidates: Option<Vec<Shape>>,
}

impl DigestQuery {
    /// Creates a query under the key that follows from 32 bytes that only the two devices know.
    pub const fn new(scope: Scope, secret: [u8; 32], is_lasting: bool) -> Self {
        Self { scope, is_lasting, secret }
    }

    /// Returns the key under which the heads are hashed.
    pub fn key(&self) -> SetKey {
        SetKey::new(&self.secret, 0)
    }

    /// Returns the answer for these heads, which are sorted by entry, without candidates.
    pub fn answer(&self, heads: &[Shape]) -> HeldSet {
        let (key, mut digest) = (self.key(), SetDigest::default());
        heads.iter().for_each(|head| digest.add(key.hash(&head.entry())));
        let readable = count_records(heads.iter().filter(|head| !head.deleted));
        HeldSet { digest, records: count_records(heads), readable, candidates: None }
    }
}

impl fmt::Debug for DigestQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, is_lasting, .. } = self;
        f.debug_struct("DigestQuery")
            .field("scope", scope)
            .field("is_lasting", is_lasting)
            .finish_non_exhaustive()
    }
}

/// The secrets from which a sync derives the keys of its reconciliation.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The session's secret.
    pub(super) session: [u8; 32],
    /// The secret of the two devices, if they have one.
    pub(super) pair: Option<PairSecret>,
}

impl Keys {
    /// Returns the query under the key of the pair and the day, or of the session without a day;
    /// `None` if the pair has no secret.
    pub(super) fn query(&self, scope: &Scope, day: Option<u64>) -> Option<DigestQuery> {
        let secret = match day {
            Some(day) => self.pair.as_ref()?.of_day(day),
            None => self.session,
        };
        Some(DigestQuery::new(scope.clone(), secret, day.is_some()))
    }
}

/// Returns the number of a day since 1970.
pub(super) fn day_of(time: Timestamp) -> u64 {
    time.as_millis() / DAY
}
