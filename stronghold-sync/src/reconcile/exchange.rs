//! Both ends of a reconciliation, without the session around them.
//!
//! The responder first sends a [`SetDigest`] of its set. The initiator compares it with its own:
//! equal sets end here. Otherwise the initiator sends a sketch of its set, as long as the estimated
//! difference needs, or all its symbols if they are shorter, and the responder finds the
//! difference. If that fails, the fallbacks are: more cells of the same stream, once; a new key and
//! the same again; then ranges, which can't fail. The initiator verifies the result against the
//! digest.

use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{
    ranges::{RangeDigest, RangeReceiver, RangeSender},
    set::{Set, SetDigest},
    sketch::{PeelError, Sketch, cells_for},
    symbol::{SetKey, Symbol},
};
use crate::{error::PeerMisbehaved, model::shape::EntryId};

/// Maximum number of cells or symbols to send or accept: 8 MiB.
pub const MAX_CELLS: usize = 1 << 20;
/// Maximum number of rounds of ranges. Each splits ranges into 16, so this suffices for any set.
const MAX_ROUNDS: u8 = 20;
/// Number of symbols, or cells, in one message.
const PART: usize = 6 << 10;

/// A part of the initiator's description of its set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Digest {
    /// The next cells of its stream, 8 bytes each, little-endian.
    Cells(ByteBuf),
    /// Its symbols, 8 bytes each, little-endian.
    Symbols(ByteBuf),
    /// Its ranges.
    Ranges(Vec<RangeDigest>),
}

/// The responder's request for more of the initiator's set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NeedMore {
    /// More cells of the same stream.
    More,
    /// The set again under the next key, with the responder's digest under that key.
    Rekeyed(Box<SetDigest>),
    /// The ranges at these indices, split; at first, the single range of the whole set.
    Ranges(Vec<u32>),
}

/// The result of an attempt to find the difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiffResult {
    /// The difference: indices of the entries that only this side has, and symbols of those that
    /// only the peer has.
    Found(Vec<usize>, Vec<Symbol>),
    /// Not found yet: the responder needs this.
    Again(NeedMore),
}

/// The stages of fallback, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Sketch,
    More,
    Rekeyed,
    MoreRekeyed,
    Ranges,
}

/// The responder of a reconciliation.
#[derive(Clone, Debug)]
pub struct Responder {
    session: [u8; 32],
    set: Set,
    stage: Stage,
    cells: Vec<u64>,
    symbols: Option<Vec<u64>>,
    ranges: Vec<RangeDigest>,
    range_receiver: Option<RangeReceiver>,
    rounds: u8,
}

/// The initiator of a reconciliation.
#[derive(Clone, Debug)]
pub struct Initiator {
    session: [u8; 32],
    set: Set,
    theirs: SetDigest,
    stage: Stage,
    sketch: Sketch,
    range_sender: Option<RangeSender>,
    rounds: u8,
}

impl Responder {
    /// Creates a responder with the set of these entries, under a secret that only the session's
    /// two ends know.
    pub fn new(session: &[u8; 32], entries: impl IntoIterator<Item = EntryId>) -> Self {
        Self {
            session: *session,
            set: Set::without_symbols(SetKey::new(session, 0), entries),
            stage: Stage::Sketch,
            cells: Vec::new(),
            symbols: None,
            ranges: Vec::new(),
            range_receiver: None,
            rounds: 0,
        }
    }

    /// Creates a responder with a set of which only the digest is known yet. `key` is that of the
    /// first attempt.
    pub(crate) fn with_digest(session: &[u8; 32], key: SetKey, digest: SetDigest) -> Self {
        Self { set: Set::with_digest(key, digest), ..Self::new(session, []) }
    }

    /// Returns the digest of the set, which is sent first.
    pub fn summary(&self) -> &SetDigest {
        self.set.summary()
    }

    /// Returns the key in use.
    pub fn key(&self) -> &SetKey {
        self.set.key()
    }

    /// Returns whether a part of the initiator's description has come.
    pub(crate) fn is_begun(&self) -> bool {
        self.stage != Stage::Sketch || !self.cells.is_empty() || self.symbols.is_some()
    }

    /// Adds a part of the initiator's description of its set.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the part is too large or invalid at this stage.
    pub fn handle(&mut self, part: Digest) -> Result<(), PeerMisbehaved> {
        let due = |due: bool| {
            if due { Ok(()) } else { Err(PeerMisbehaved::OutOfOrder) }
        };
        match part {
            Digest::Cells(bytes) => {
                due(self.stage < Stage::Ranges && self.symbols.is_none())?;
                extend(&mut self.cells, &bytes, MAX_CELLS)
            }
            Digest::Symbols(bytes) => {
                due(self.stage < Stage::Ranges && self.cells.is_empty())?;
                extend(self.symbols.get_or_insert_default(), &bytes, MAX_CELLS)
            }
            Digest::Ranges(told) => {
                due(self.stage == Stage::Ranges)?;
                if told.is_empty() || self.ranges.len() + told.len() > MAX_CELLS {
                    return Err(PeerMisbehaved::TooManyCells);
                }
                self.ranges.extend(told);
                Ok(())
            }
        }
    }

    /// Finds the difference, once all parts are in, or returns what it needs to find it. `entries`
    /// are those of the set, in the same order as before.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the parts can't describe any set.
    pub fn find<E>(&mut self, entries: E) -> Result<DiffResult, PeerMisbehaved>
    where
        E: IntoIterator<Item = EntryId> + Clone,
    {
        if self.stage == Stage::Ranges {
            return self.find_in_ranges();
        }
        if self.cells.is_empty() && self.symbols.is_none() {
            return Ok(DiffResult::Found(Vec::new(), Vec::new()));
        }
        let symbols = self.set.symbols_of(entries.clone());
        if let Some(theirs) = self.symbols.take() {
            return Ok(compare_symbols(symbols, &theirs.into_iter().map(Symbol).collect()));
        }
        let own = Sketch::of(symbols, self.cells.len());
        match own.difference(&Sketch::from_cells(&self.cells)).peel(self.set.key()) {
            Ok(differing) => Ok(self.split_by_side(differing)),
            Err(PeelError::TooFewCells) if matches!(self.stage, Stage::Sketch | Stage::Rekeyed) => {
                self.stage = if self.stage == Stage::Sketch { Stage::More } else { Stage::MoreRekeyed };
                Ok(DiffResult::Again(NeedMore::More))
            }
            Err(PeelError::Duplicate) if self.stage >= Stage::Rekeyed => Err(PeerMisbehaved::Unpeelable),
            Err(_) => self.next_fallback(entries).map(DiffResult::Again),
        }
    }

    /// Advances to the next fallback, after the initiator rejected the difference.
    ///
    /// # Errors
    /// [`PeerMisbehaved::FalseDifference`] when no fallback is left.
    pub fn next_fallback(
        &mut self,
        entries: impl IntoIterator<Item = EntryId>,
    ) -> Result<NeedMore, PeerMisbehaved> {
        (self.cells, self.symbols) = (Vec::new(), None);
        match self.stage {
            Stage::Sketch | Stage::More => {
                self.stage = Stage::Rekeyed;
                self.set = Set::without_symbols(SetKey::new(&self.session, 1), entries);
                Ok(NeedMore::Rekeyed(Box::new(self.set.summary().clone())))
            }
            Stage::Rekeyed | Stage::MoreRekeyed => {
                self.stage = Stage::Ranges;
                self.range_receiver = Some(RangeReceiver::new(self.set.symbols_of(entries).to_vec()));
                Ok(NeedMore::Ranges(alloc::vec![0]))
            }
            Stage::Ranges => Err(PeerMisbehaved::FalseDifference),
        }
    }

    fn find_in_ranges(&mut self) -> Result<DiffResult, PeerMisbehaved> {
        self.rounds += 1;
        let told = core::mem::take(&mut self.ranges);
        let Some(receiver) = &mut self.range_receiver else {
            return Err(PeerMisbehaved::OutOfOrder);
        };
        if told.is_empty() || self.rounds > MAX_ROUNDS {
            return Err(PeerMisbehaved::BadRanges);
        }
        let differing = receiver.find(&told).map_err(|_| PeerMisbehaved::BadRanges)?;
        if !differing.is_empty() {
            return Ok(DiffResult::Again(NeedMore::Ranges(differing)));
        }
        let found = receiver.only_here.iter().chain(&receiver.only_there).copied().collect();
        Ok(self.split_by_side(found))
    }

    /// Splits the difference into entries of this side and entries of the peer.
    fn split_by_side(&self, differing: Vec<Symbol>) -> DiffResult {
        let mut only_there: BTreeSet<Symbol> = differing.into_iter().collect();
        let mut seen = BTreeSet::new();
        let only_here: Vec<usize> = positions_of(&only_there, self.set.symbols())
            .map(|(at, symbol)| (at, seen.insert(symbol)).0)
            .collect();
        only_there.retain(|symbol| !seen.contains(symbol));
        DiffResult::Found(only_here, only_there.into_iter().collect())
    }
}

fn compare_symbols(symbols: &[Symbol], theirs: &BTreeSet<Symbol>) -> DiffResult {
    let own: BTreeSet<Symbol> = symbols.iter().copied().collect();
    let symbols = symbols.iter().enumerate();
    let only_here = symbols.filter(|(_, symbol)| !theirs.contains(symbol)).map(|(at, _)| at).collect();
    DiffResult::Found(only_here, theirs.difference(&own).copied().collect())
}

impl Initiator {
    /// Creates an initiator with the set of these entries and the responder's digest.
    pub fn new(session: &[u8; 32], entries: impl IntoIterator<Item = EntryId>, theirs: SetDigest) -> Self {
        Self {
            session: *session,
            set: Set::without_symbols(SetKey::new(session, 0), entries),
            theirs,
            stage: Stage::Sketch,
            sketch: Sketch::default(),
            range_sender: None,
            rounds: 0,
        }
    }

    /// Creates an initiator with a set of which only the digest is known yet. `key` is that of the
    /// first attempt.
    pub(crate) fn with_digest(session: &[u8; 32], key: SetKey, digest: SetDigest, theirs: SetDigest) -> Self {
        Self { set: Set::with_digest(key, digest), ..Self::new(session, [], theirs) }
    }

    /// Returns whether both sets are the same.
    pub fn is_same(&self) -> bool {
        self.set.summary().is_same(&self.theirs)
    }

    /// Returns whether a fallback is left if the difference does not verify.
    pub fn has_fallback(&self) -> bool {
        self.stage < Stage::Ranges
    }

    /// Returns the set under the key in use.
    pub fn set(&self) -> &Set {
        &self.set
    }

    /// Returns the parts to send first: none if both sets are the same. `entries` are those of the
    /// set, in the same order as before.
    #[must_use]
    pub fn begin(&mut self, entries: impl IntoIterator<Item = EntryId>) -> Vec<Digest> {
        if self.is_same() { Vec::new() } else { self.send_cells(1, entries) }
    }

    /// Returns the parts to send first if both sets are known to be the same outside some records:
    /// all symbols of the entries in these. `entries` stands for the set in what follows, until
    /// another attempt.
    #[must_use]
    pub(crate) fn begin_within(&mut self, entries: impl IntoIterator<Item = EntryId>) -> Vec<Digest> {
        self.sketch = Sketch::default();
        all_symbols(self.set.symbols_of(entries))
    }

    /// Returns the parts to send next. `entries` are those of the set, in the same order as before.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the responder's request is invalid at this stage.
    pub fn continue_with(
        &mut self,
        again: NeedMore,
        entries: impl IntoIterator<Item = EntryId> + Clone,
    ) -> Result<Vec<Digest>, PeerMisbehaved> {
        match again {
            NeedMore::More => {
                let next = if self.stage == Stage::Sketch { Stage::More } else { Stage::MoreRekeyed };
                self.advance(&[Stage::Sketch, Stage::Rekeyed], next)?;
                let told = self.sketch.cells().len();
                let more = (2 * told + 16).min(MAX_CELLS);
                if told == 0 {
                    return Err(PeerMisbehaved::OutOfOrder);
                }
                self.sketch.grow(self.set.symbols_of(entries), more);
                Ok(split_words(&self.sketch.cells()[told..], Digest::Cells))
            }
            NeedMore::Rekeyed(theirs) => {
                self.advance(&[Stage::Sketch, Stage::More], Stage::Rekeyed)?;
                self.theirs = *theirs;
                self.set = Set::without_symbols(SetKey::new(&self.session, 1), entries.clone());
                Ok(self.send_cells(2, entries))
            }
            NeedMore::Ranges(differing) => {
                self.advance(&[Stage::Rekeyed, Stage::MoreRekeyed, Stage::Ranges], Stage::Ranges)?;
                self.rounds += 1;
                if self.rounds > MAX_ROUNDS {
                    return Err(PeerMisbehaved::BadRanges);
                }
                let symbols = self.set.symbols_of(entries);
                let sender = self.range_sender.get_or_insert_with(|| RangeSender::new(symbols.to_vec()));
                let told = sender.digests(&differing).map_err(|_| PeerMisbehaved::BadRanges)?;
                Ok(told.chunks(PART / 32).map(|part| Digest::Ranges(part.to_vec())).collect())
            }
        }
    }

    fn advance(&mut self, from: &[Stage], to: Stage) -> Result<(), PeerMisbehaved> {
        let due = from.contains(&self.stage);
        self.stage = to;
        if due { Ok(()) } else { Err(PeerMisbehaved::OutOfOrder) }
    }

    /// Returns the indices of the entries with some of these symbols.
    pub(crate) fn find<'a>(
        &'a self,
        symbols: &'a BTreeSet<Symbol>,
    ) -> impl Iterator<Item = (usize, Symbol)> + 'a {
        positions_of(symbols, self.set.symbols())
    }

    /// Returns the indices of the entries with these symbols; `None` if a symbol is of no entry
    /// here.
    pub fn positions(&self, symbols: &BTreeSet<Symbol>) -> Option<Vec<usize>> {
        let found: Vec<(usize, Symbol)> = self.find(symbols).collect();
        let distinct: BTreeSet<Symbol> = found.iter().map(|(_, symbol)| *symbol).collect();
        (distinct.len() == symbols.len()).then(|| found.into_iter().map(|(at, _)| at).collect())
    }

    /// Returns whether this set without `only_here` and with `only_there` has the responder's
    /// digest.
    #[must_use]
    pub fn verify_fingerprint<'a>(
        &self,
        only_here: impl IntoIterator<Item = &'a EntryId>,
        only_there: impl IntoIterator<Item = &'a EntryId>,
    ) -> bool {
        let mut sum = self.set.summary().clone();
        only_here.into_iter().for_each(|entry| sum.remove(self.set.key().hash(entry)));
        only_there.into_iter().for_each(|entry| sum.add(self.set.key().hash(entry)));
        sum.is_same(&self.theirs)
    }

    /// Returns cells for `times` the estimate, or all symbols if they are no longer.
    fn send_cells(&mut self, times: u64, entries: impl IntoIterator<Item = EntryId>) -> Vec<Digest> {
        let estimate = self.set.summary().strata.estimate(&self.theirs.strata).max(1);
        let cells = cells_for(estimate.saturating_mul(times)).min(MAX_CELLS);
        let symbols = self.set.symbols_of(entries);
        if symbols.len() <= cells {
            self.sketch = Sketch::default();
            return all_symbols(symbols);
        }
        self.sketch = Sketch::of(symbols, cells);
        split_words(self.sketch.cells(), Digest::Cells)
    }
}

/// Returns the parts that describe a set by all of its symbols.
fn all_symbols(symbols: &[Symbol]) -> Vec<Digest> {
    let symbols: Vec<u64> = symbols.iter().map(|symbol| symbol.0).collect();
    let parts = split_words(&symbols, Digest::Symbols);
    let none = alloc::vec![Digest::Symbols(ByteBuf::new())];
    if parts.is_empty() { none } else { parts }
}

/// Returns the sought symbols with their indices among all. A filter of 2^16 bits, addressed by 16
/// bits of a symbol, rules out nearly every other symbol, so the ordered set is rarely consulted.
fn positions_of<'a>(
    sought: &'a BTreeSet<Symbol>,
    all: &'a [Symbol],
) -> impl Iterator<Item = (usize, Symbol)> + 'a {
    let place = |symbol: Symbol| ((symbol.0 >> 6) as usize % 1024, 1u64 << (symbol.0 & 63));
    let mut bits = alloc::vec![0u64; 1024];
    for symbol in sought {
        let (word, bit) = place(*symbol);
        bits[word] |= bit;
    }
    let may_be = move |symbol: Symbol| {
        let (word, bit) = place(symbol);
        bits[word] & bit != 0
    };
    let all = all.iter().copied().enumerate();
    all.filter(move |(_, symbol)| may_be(*symbol) && sought.contains(symbol))
}

/// Encodes symbols, 8 bytes each, little-endian.
fn to_bytes(words: &[u64]) -> ByteBuf {
    ByteBuf::from(words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
}

/// Decodes bytes and appends the words, up to a limit.
///
/// # Errors
/// [`PeerMisbehaved::TooManyCells`] over the limit, or if the bytes are not whole words.
pub(crate) fn extend(words: &mut Vec<u64>, bytes: &[u8], limit: usize) -> Result<(), PeerMisbehaved> {
    let (more, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || words.len() + more.len() > limit {
        return Err(PeerMisbehaved::TooManyCells);
    }
    words.extend(more.iter().map(|word| u64::from_le_bytes(*word)));
    Ok(())
}

/// Splits words into parts that each fit into a message.
pub(crate) fn split_words<T>(words: &[u64], part: impl Fn(ByteBuf) -> T) -> Vec<T> {
    words.chunks(PART).map(|chunk| part(to_bytes(chunk))).collect()
}
