//! Small helpers that other crates of the workspace share.

pub mod hex;
pub(crate) mod padme;
