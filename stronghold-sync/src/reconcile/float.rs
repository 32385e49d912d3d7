//! The three functions that `core` has no floating-point versions of, from `libm`: the same result
//! on every machine.

pub(super) use libm::{exp, log as ln, sqrt};
