//! `resolve`: keeps one of the values in conflict.

use super::restore::write_again;
use crate::context::Context;
use crate::error::Failure;

pub(super) fn resolve(context: &Context, at: &str, keep: &str) -> Result<(), Failure> {
    write_again(context, at, keep, "kept")
}
