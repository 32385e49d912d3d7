//! Set reconciliation: finds the difference of two sets of entries at a cost proportional to the
//! difference (`DESIGN.md`, Finding the difference).
//!
//! A session does it; these are the types that its messages carry.

mod estimate;
pub(crate) mod exchange;
mod float;
mod ranges;
mod set;
mod sketch;
pub(crate) mod symbol;

pub use self::{
    exchange::{Digest, NeedMore},
    ranges::{Content, RangeDigest},
    set::SetDigest,
    symbol::{PairSecret, SetKey},
};

/// The parts of a reconciliation, for the benches, fuzz targets and tests of this workspace. They
/// may change with every release.
#[doc(hidden)]
pub mod internals {
    pub use super::{
        estimate::{DifferenceEstimator, STRATA_LEN},
        exchange::{DiffResult, Initiator, MAX_CELLS, Responder},
        ranges::{BadRanges, RangeReceiver, RangeSender},
        set::Set,
        sketch::{PeelError, Sketch, cells_for},
        symbol::{SetKey, Symbol},
    };
}
