//! Range reconciliation, the last resort: counts and sums of ranges of symbols; a range that
//! differs is split into 16.
//!
//! It needs several rounds and always succeeds. The sender sends digests of its ranges, and the
//! receiver replies with those that differ. Small ranges are sent in full, so in the end the
//! receiver knows the difference.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use serde::{Deserialize, Serialize};

use super::symbol::Symbol;

/// Maximum number of symbols in a range that is sent in full.
const SMALL: usize = 16;
/// Number of ranges that a differing range is split into.
const CUT: usize = 16;

/// The digest of one range: from the end of the range before (the first: from zero) up to `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeDigest {
    /// The first symbol behind the range; `None` for an open end.
    pub end: Option<u64>,
    /// The content of the range.
    pub content: Content,
}

/// The content of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A number of symbols and their sum.
    Sum(u64, u64),
    /// These symbols, ascending.
    Full(Vec<u64>),
    /// Omitted: the receiver already knows it.
    Skip,
}

/// The side that sends range digests.
#[derive(Clone, Debug)]
pub struct RangeSender {
    symbols: Vec<Symbol>,
    sent: Vec<RangeDigest>,
}

/// The side that receives range digests and finds the difference.
#[derive(Clone, Debug)]
pub struct RangeReceiver {
    symbols: Vec<Symbol>,
    /// Symbols that only the receiver has.
    pub only_here: Vec<Symbol>,
    /// Symbols that only the sender has.
    pub only_there: Vec<Symbol>,
}

/// An invalid list of ranges: out of order, or not the requested ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRanges;

impl RangeSender {
    /// Starts with the whole set as one range.
    pub fn new(mut symbols: Vec<Symbol>) -> Self {
        symbols.sort_unstable();
        symbols.dedup();
        let whole = RangeDigest { end: None, content: Content::Sum(0, 0) };
        Self { symbols, sent: vec![whole] }
    }

    /// Returns the next message: the differing ranges (all, at first), split.
    ///
    /// # Errors
    /// [`BadRanges`] when the receiver names ranges that were not sent.
    pub fn digests(&mut self, differing: &[u32]) -> Result<&[RangeDigest], BadRanges> {
        let mut differing = differing.iter().map(|index| *index as usize).peekable();
        let mut next = Vec::new();
        let mut start = 0;
        for (index, told) in core::mem::take(&mut self.sent).into_iter().enumerate() {
            let range = span(&self.symbols, start, told.end);
            if differing.next_if_eq(&index).is_some() && matches!(told.content, Content::Sum(..)) {
                cut(&self.symbols, range, told.end, &mut next);
            } else {
                push_skip(&mut next, told.end);
            }
            start = told.end.unwrap_or(u64::MAX);
        }
        if differing.next().is_some() {
            return Err(BadRanges);
        }
        self.sent = next;
        Ok(&self.sent)
    }
}

impl RangeReceiver {
    /// Creates a receiver that knows nothing of the sender's set yet.
    pub fn new(mut symbols: Vec<Symbol>) -> Self {
        symbols.sort_unstable();
        symbols.dedup();
        Self { symbols, only_here: Vec::new(), only_there: Vec::new() }
    }

    /// Compares the sender's ranges with this set; returns the indices of those that differ and
    /// were not sent in full. The difference is complete if there are none.
    ///
    /// # Errors
    /// [`BadRanges`] when the ranges are not consecutive.
    pub fn find(&mut self, told: &[RangeDigest]) -> Result<Vec<u32>, BadRanges> {
        let mut differing = Vec::new();
        let mut start = 0;
        for (index, RangeDigest { end, content }) in (0u32..).zip(told) {
            if end.is_some_and(|end| end < start) {
                return Err(BadRanges);
            }
            let own = span(&self.symbols, start, *end);
            match content {
                Content::Skip => {}
                Content::Sum(count, sum) if summed(&self.symbols[own.clone()]) == (*count, *sum) => {}
                Content::Sum(..) => differing.push(index),
                Content::Full(theirs) => self.compare(own, theirs)?,
            }
            start = end.unwrap_or(u64::MAX);
        }
        Ok(differing)
    }

    fn compare(&mut self, own: Range<usize>, theirs: &[u64]) -> Result<(), BadRanges> {
        if !theirs.is_sorted_by(|a, b| a < b) {
            return Err(BadRanges);
        }
        let own = &self.symbols[own];
        self.only_here.extend(own.iter().filter(|symbol| theirs.binary_search(&symbol.0).is_err()));
        let unknown =
            theirs.iter().map(|symbol| Symbol(*symbol)).filter(|symbol| own.binary_search(symbol).is_err());
        self.only_there.extend(unknown);
        Ok(())
    }
}

fn cut(symbols: &[Symbol], range: Range<usize>, end: Option<u64>, into: &mut Vec<RangeDigest>) {
    if range.len() <= SMALL {
        let content = Content::Full(symbols[range].iter().map(|symbol| symbol.0).collect());
        into.push(RangeDigest { end, content });
        return;
    }
    for part in 0..CUT {
        let at = |part: usize| range.start + range.len() * part / CUT;
        let piece = at(part)..at(part + 1);
        let (count, sum) = summed(&symbols[piece.clone()]);
        let piece_end = if part + 1 == CUT { end } else { Some(symbols[piece.end].0) };
        into.push(RangeDigest { end: piece_end, content: Content::Sum(count, sum) });
    }
}

/// Appends an omitted range, merging it with an omitted range before it.
fn push_skip(into: &mut Vec<RangeDigest>, end: Option<u64>) {
    match into.last_mut() {
        Some(RangeDigest { content: Content::Skip, end: last }) => *last = end,
        _ => into.push(RangeDigest { end, content: Content::Skip }),
    }
}

fn span(symbols: &[Symbol], start: u64, end: Option<u64>) -> Range<usize> {
    let from = symbols.partition_point(|symbol| symbol.0 < start);
    let to = end.map_or(symbols.len(), |end| symbols.partition_point(|symbol| symbol.0 < end));
    from..to.max(from)
}

fn summed(symbols: &[Symbol]) -> (u64, u64) {
    (symbols.len() as u64, symbols.iter().fold(0, |sum, symbol| sum.wrapping_add(symbol.0)))
}
