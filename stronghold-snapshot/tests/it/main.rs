//! Tests `stronghold-snapshot` from outside, as its users see it: a module for each subject.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

mod append;
mod common;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../stronghold-sync/tests/it/effort.rs"]
mod effort;
mod file;
mod handle;
mod home;
mod merge;
mod obstacles;
mod power;
mod sealed;
mod seeds;
mod vectors;
mod whole;
