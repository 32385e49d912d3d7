//! A set of entries under one key, and the digest that is sent of it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{
    estimate::DifferenceEstimator,
    symbol::{SetKey, Symbol},
};
use crate::EntryId;

/// The digest of a set: shows whether two sets are equal, and about how much they differ otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDigest {
    /// Number of entries.
    pub count: u64,
    /// Sum of the entries' keyed hashes, 128 bits.
    #[serde(with = "fingerprint")]
    pub fingerprint: u128,
    /// Estimator of the difference.
    pub strata: DifferenceEstimator,
}

/// A set of entries under one key.
#[derive(Clone, Debug)]
pub struct Set {
    key: SetKey,
    symbols: Vec<Symbol>,
    summary: SetDigest,
}

impl Set {
    /// Hashes the entries and computes their symbols, in their order.
    pub fn new(key: SetKey, entries: impl IntoIterator<Item = EntryId>) -> Self {
        let (of_symbols, mut symbols) = (key.clone(), Vec::new());
        let entries = entries.into_iter().inspect(|entry| symbols.push(of_symbols.symbol(entry)));
        let set = Self::without_symbols(key, entries);
        Self { symbols, ..set }
    }

    /// Hashes the entries, in their order. Equal sets need no symbols.
    pub fn without_symbols(key: SetKey, entries: impl IntoIterator<Item = EntryId>) -> Self {
        let mut summary = SetDigest::default();
        entries.into_iter().for_each(|entry| summary.add(key.hash(&entry)));
        Self { key, symbols: Vec::new(), summary }
    }

    /// Creates a set of which only the digest is known. `symbols_of` computes the symbols.
    pub(crate) fn with_digest(key: SetKey, digest: SetDigest) -> Self {
        Self { key, symbols: Vec::new(), summary: digest }
    }

    /// Returns the symbols; computes them in the first call. `entries` are those of the set, in the
    /// same order as before.
    pub fn symbols_of(&mut self, entries: impl IntoIterator<Item = EntryId>) -> &[Symbol] {
        if self.symbols.is_empty() {
            self.symbols = entries.into_iter().map(|entry| self.key.symbol(&entry)).collect();
        }
        &self.symbols
    }

    /// Returns the symbols, in the order of the entries; none if they were not computed.
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// Returns the digest, which is sent first.
    pub fn summary(&self) -> &SetDigest {
        &self.summary
    }

    /// Returns the key.
    pub fn key(&self) -> &SetKey {
        &self.key
    }
}

impl SetDigest {
    /// Adds an entry by its hash.
    pub fn add(&mut self, hash: u128) {
        self.count += 1;
        self.fingerprint = self.fingerprint.wrapping_add(hash);
        self.strata.toggle(hash);
    }

    /// Removes an entry by its hash.
    pub fn remove(&mut self, hash: u128) {
        self.count = self.count.saturating_sub(1);
        self.fingerprint = self.fingerprint.wrapping_sub(hash);
        self.strata.toggle(hash);
    }

    /// Returns whether both sets are the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.count == other.count && self.fingerprint == other.fingerprint
    }
}

mod fingerprint {
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&value.to_le_bytes())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        serde_bytes::deserialize::<[u8; 16], D>(deserializer).map(u128::from_le_bytes)
    }
}
