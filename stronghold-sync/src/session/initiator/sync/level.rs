//! Finds that both sides hold the same, by digests alone.

use super::Sync;
use crate::{
    Scope,
    session::{
        PeerMisbehaved,
        digest::{DigestQuery, HeldSet},
    },
};

impl Sync {
    /// Returns the query for the digest of this side's entries where it may pull, if it may pull.
    pub(in crate::session::initiator) fn digest_needed(&self) -> Result<Option<DigestQuery>, PeerMisbehaved> {
        let query = |pull| self.keys.query(pull, self.day).ok_or(PeerMisbehaved::OutOfOrder);
        self.pull.as_ref().map(query).transpose()
    }

    /// Stores the digest of this side's entries where it may pull.
    pub(in crate::session::initiator) fn hold_digest(&mut self, held: HeldSet) {
        self.own_set = Some(held);
    }

    /// Returns whether the peer's set is the same, and nothing else can be given: then no shape is
    /// needed.
    pub(in crate::session::initiator) fn holds_the_same(&self) -> bool {
        let (Some(own), Some(theirs), Some(pull)) = (&self.own_set, &self.theirs, &self.pull) else {
            return false;
        };
        let within = |scope: Option<&Scope>| scope.is_none_or(|scope| pull.includes(scope));
        own.digest.is_same(theirs)
            && within(self.push.as_ref())
            && within(self.delete.as_ref())
            && within(self.givable().as_ref())
    }
}
