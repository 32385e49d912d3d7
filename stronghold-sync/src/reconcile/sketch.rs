//! Sketches: rateless invertible Bloom lookup tables (Yang, Gilad, Alizadeh, SIGCOMM 2024) of
//! self-checking symbols.
//!
//! The cells of a set are an endless stream. Each symbol is added to cell 0, then to ever sparser
//! cells. The sum of two sides' cells is the sketch of their difference, and from about 1.4 cells
//! for each differing entry it can be peeled: a cell with a single symbol reveals that symbol, and
//! removing it from its other cells reveals more.

use alloc::{collections::BTreeSet, vec, vec::Vec};

use super::{
    float,
    symbol::{SetKey, Symbol},
};

/// The first cells of a set's stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    cells: Vec<u64>,
}

/// The reason why peeling a sketch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeelError {
    /// Too few cells: more of the stream is needed.
    TooFewCells,
    /// A symbol was peeled twice. Once in a million sessions a sum passes for a symbol and causes
    /// this; twice in a row it is an attack.
    Duplicate,
}

impl Sketch {
    /// Returns the first `len` cells of a set.
    pub fn of(symbols: &[Symbol], len: usize) -> Self {
        let mut sketch = Self { cells: vec![0; len] };
        sketch.extend_from(symbols, 0);
        sketch
    }

    /// Creates a sketch from existing cells.
    pub fn from_cells(cells: &[u64]) -> Self {
        Self { cells: cells.to_vec() }
    }

    /// Extends the sketch to `len` cells of the same set's stream.
    pub fn grow(&mut self, symbols: &[Symbol], len: usize) {
        let from = self.cells.len();
        if len > from {
            self.cells.resize(len, 0);
            self.extend_from(symbols, from);
        }
    }

    /// Returns the cells.
    pub fn cells(&self) -> &[u64] {
        &self.cells
    }

    /// Returns the sketch of the difference. Both sketches must have the same length.
    pub fn difference(&self, other: &Self) -> Self {
        Self { cells: self.cells.iter().zip(&other.cells).map(|(own, theirs)| own ^ theirs).collect() }
    }

    /// Peels the sketch: returns all of its symbols, or an error.
    ///
    /// # Errors
    /// [`PeelError`] when there are too few cells or a symbol is peeled twice.
    pub fn peel(mut self, key: &SetKey) -> Result<Vec<Symbol>, PeelError> {
        let mut peeled = BTreeSet::new();
        let mut queue: Vec<usize> = (0..self.cells.len()).rev().collect();
        while let Some(cell) = queue.pop() {
            let symbol = Symbol(self.cells[cell]);
            if !key.is_valid(symbol) || !Cells::of(symbol).reaches(cell) {
                continue;
            }
            if !peeled.insert(symbol) {
                return Err(PeelError::Duplicate);
            }
            // Every symbol empties a cell for good, so there can't be more symbols than cells.
            if peeled.len() > self.cells.len() {
                return Err(PeelError::Duplicate);
            }
            let len = self.cells.len();
            for other in Cells::of(symbol).take_while(|cell| *cell < len) {
                self.cells[other] ^= symbol.0;
                queue.push(other);
            }
        }
        let empty = self.cells.iter().all(|cell| *cell == 0);
        if empty { Ok(peeled.into_iter().collect()) } else { Err(PeelError::TooFewCells) }
    }

    /// Adds symbols to the cells from index `from` on. Walks several symbols in parallel: stepping
    /// to the next cell is a long dependency chain of arithmetic, and the chains of different
    /// symbols overlap.
    fn extend_from(&mut self, symbols: &[Symbol], from: usize) {
        let (blocks, rest) = symbols.as_chunks::<SIDE_BY_SIDE>();
        for block in blocks {
            let mut walks = block.map(Cells::of);
            let mut walking = true;
            while walking {
                walking = false;
                for (walk, symbol) in walks.iter_mut().zip(block) {
                    if let Some(cell) = self.cells.get_mut(walk.next as usize) {
                        if walk.next as usize >= from {
                            *cell ^= symbol.0;
                        }
                        walk.advance();
                        walking = true;
                    }
                }
            }
        }
        let len = self.cells.len();
        for symbol in rest {
            for cell in Cells::of(*symbol).take_while(|cell| *cell < len) {
                if cell >= from {
                    self.cells[cell] ^= symbol.0;
                }
            }
        }
    }
}

/// Returns the number of cells that lets peeling succeed in 97 of 100 sessions for this estimated
/// number of differences, as measured.
pub fn cells_for(estimate: u64) -> usize {
    let estimate = estimate.min(u64::from(u32::MAX)) as f64;
    (1.85 * estimate + 2.6 * float::sqrt(estimate)) as usize + 3
}

/// The indices of the cells that contain a symbol, ascending: cell i with probability 1 / (1 + i /
/// 2).
struct Cells {
    state: u64,
    next: u64,
}

impl Cells {
    fn of(symbol: Symbol) -> Self {
        Self { state: symbol.0, next: 0 }
    }

    fn reaches(self, cell: usize) -> bool {
        self.take_while(|own| *own <= cell).last() == Some(cell)
    }
}

impl Cells {
    fn advance(&mut self) {
        self.state = self.state.wrapping_mul(0xDA94_2042_E4DD_58B5);
        // The inverse of the distribution of gaps (section 4.2 of the paper), on 53 random bits.
        let random = (self.state >> 11) as f64 + 1.0;
        let gap = (self.next as f64 + 1.5) * (ROOT_OF_RANGE / float::sqrt(random) - 1.0);
        self.next = self.next.saturating_add(gap as u64 + 1);
    }
}

impl Iterator for Cells {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let cell = usize::try_from(self.next).ok();
        self.advance();
        cell
    }
}

/// The square root of 2^53.
const ROOT_OF_RANGE: f64 = 94_906_265.624_251_56;
const SIDE_BY_SIDE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_random_numbers_gives_the_widest_gap() {
        let cells: Vec<usize> = Cells::of(Symbol(0)).take(2).collect();
        assert_eq!(cells, [0, 142_359_397]);
    }
}
