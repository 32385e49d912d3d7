//! The three floating-point functions that `core` lacks, from `libm`: the same result on every
//! machine.

pub(super) use libm::{exp, log as ln, sqrt};
