//! The order in which records are stored: by a keyed hash of their ids, so that who watches which
//! part of a file is read can't test names.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use stronghold_sync::RecordId;

use crate::crypto::random::{RandomnessError, random};

/// The place of a record among all: SipHash-2-4 (Aumasson and Bernstein, 2012) of its id.
pub(crate) type SortKey = u64;

/// The key of the order, which stays the same for the life of a Stronghold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order(#[serde(with = "serde_bytes")] [u8; 16]);

impl Order {
    pub(crate) fn generate() -> Result<Self, RandomnessError> {
        random().map(Self)
    }

    pub(crate) fn key_of(&self, record: &RecordId) -> SortKey {
        let mut hash = SipHasher24::new_with_key(&self.0);
        hash.write(record.as_bytes());
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_another_under_another_key() {
        let record = RecordId::from_bytes([1; 16]);
        let [one, other] = [[1; 16], [2; 16]].map(|key| Order(key).key_of(&record));
        assert_ne!(one, other);
        assert_ne!(Order(one.to_be_bytes().repeat(2).try_into().unwrap()).key_of(&record), one);
        assert_ne!(Order::generate().unwrap(), Order::generate().unwrap());
        // The published vector of SipHash-2-4: key 00..0f, input 00..0e has 15 bytes; ours are 16.
        let key = core::array::from_fn(|at| at as u8);
        assert_eq!(Order(key).key_of(&RecordId::from_bytes(key)), 0x3f2a_cc7f_57c2_9bdb);
    }
}
