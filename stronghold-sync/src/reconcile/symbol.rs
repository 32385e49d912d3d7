//! Symbols: 8 bytes that stand for one entry in one reconciliation and verify themselves.
//!
//! A symbol is 44 bits of a keyed hash of record and short revision id, then a keyed 20-bit check
//! of those 44 bits. The check distinguishes one symbol from a sum of several without a separate
//! checksum: a cell is 8 bytes. The key of the first attempt is that of the pair and the day, or
//! fresh in each session; the key of a later attempt always is. No other device knows it, so nobody
//! can plant entries whose symbols or hashes collide.
//!
//! The short id lets a side find, among the ancestors of its heads, those that the other side
//! holds. Two revisions with one short id can be made (2^32 attempts); the fingerprint covers whole
//! ids and tells them apart, and the next attempt of the session takes its symbols from whole ids.

use sha2::{Digest, Sha256};
use siphasher::{sip::SipHasher24 as ShortHasher, sip128::SipHasher24};

use crate::{EntryId, RecordId, ShortId};

/// The keys of one reconciliation.
#[derive(Clone)]
pub struct SetKey {
    hash: SipHasher24,
    /// The hash of record and short id; `None` after the first attempt.
    short: Option<ShortHasher>,
    check: u64,
}

/// The secret of two paired devices from which the key of each day comes. `Debug` hides it.
///
/// Under a key that stays the same for a day, a device keeps the digest of its entries from one
/// session to the next. The fallbacks of a session use a fresh key.
#[derive(Clone, PartialEq, Eq)]
pub struct PairSecret([u8; 32]);

impl PairSecret {
    /// Creates the secret from 32 bytes that only the two devices know.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the secret of the first attempts on a day, numbered from 1970.
    #[doc(hidden)]
    pub fn of_day(&self, day: u64) -> [u8; 32] {
        let hash = Sha256::new_with_prefix(b"stronghold/reconcile-day/v1").chain_update(self.0);
        hash.chain_update(day.to_be_bytes()).finalize().into()
    }
}

impl core::fmt::Debug for PairSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PairSecret(..)")
    }
}

/// The symbol of an entry. Zero is the sum of nothing, or of two equal symbols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub(crate) u64);

impl SetKey {
    /// Derives the keys for an attempt of a session from 32 secret bytes that only its two ends
    /// know.
    pub fn new(session: &[u8; 32], attempt: u8) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"stronghold/reconcile/v1");
        hash.update(session);
        hash.update([attempt]);
        let digest: [u8; 32] = hash.finalize().into();
        let (mut hash, mut check) = ([0; 16], [0; 8]);
        hash.copy_from_slice(&digest[..16]);
        check.copy_from_slice(&digest[16..24]);
        Self {
            hash: SipHasher24::new_with_key(&hash),
            short: (attempt == 0).then(|| short_hasher(session)),
            check: u64::from_le_bytes(check) | 1,
        }
    }

    /// Returns the keyed hash of an entry: SipHash-2-4 with 128 bits (Aumasson and Bernstein, 2012)
    /// over the record's id, which commits to client and vault too, and the revision's id.
    pub fn hash(&self, entry: &EntryId) -> u128 {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(entry.location.record.as_bytes());
        bytes[16..].copy_from_slice(entry.revision.as_bytes());
        self.hash.hash(&bytes).as_u128()
    }

    /// Returns the symbol of an entry: in the first attempt from its short id, later from its hash.
    pub fn symbol(&self, entry: &EntryId) -> Symbol {
        self.short_symbol(&entry.location.record, &entry.revision.short())
            .unwrap_or_else(|| self.symbol_of_hash(self.hash(entry)))
    }

    /// Returns the symbol of a revision by its record and short id; `None` if symbols come from
    /// whole ids.
    pub fn short_symbol(&self, record: &RecordId, revision: &ShortId) -> Option<Symbol> {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(record.as_bytes());
        bytes[16..].copy_from_slice(revision.as_bytes());
        self.short.as_ref().map(|short| self.symbol_of_hash(short.hash(&bytes).into()))
    }

    /// Returns the symbol with the first bits of this hash.
    pub fn symbol_of_hash(&self, hash: u128) -> Symbol {
        let id = (hash as u64) & ID_BITS;
        Symbol(id | self.check(id))
    }

    /// Returns whether this can be the symbol of one entry. A sum of several passes once in a
    /// million times.
    pub fn is_valid(&self, symbol: Symbol) -> bool {
        symbol.0 != 0 && self.check(symbol.0 & ID_BITS) == symbol.0 & !ID_BITS
    }

    /// Returns the 20 check bits at the top. Two rounds of multiplication suffice, since the key
    /// and its checks stay secret.
    fn check(&self, id: u64) -> u64 {
        let mixed = (id ^ self.check).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(self.check);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xD6E8_FEB8_6659_FD93) & !ID_BITS
    }
}

fn short_hasher(session: &[u8; 32]) -> ShortHasher {
    let digest: [u8; 32] =
        Sha256::new_with_prefix(b"stronghold/reconcile-short/v1").chain_update(session).finalize().into();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    ShortHasher::new_with_key(&key)
}

impl Symbol {
    /// Creates a symbol from its 64 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the symbol's 64 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl core::fmt::Debug for SetKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SetKey(..)")
    }
}

const ID_BITS: u64 = (1 << 44) - 1;
