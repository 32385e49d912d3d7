//! Tests `stronghold-sync` from outside, as its users see it: a module for each subject.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

mod algebra;
#[allow(dead_code, reason = "the other crates' tests use all of it")]
mod effort;
mod messages;
mod reconcile;
#[allow(clippy::duplicate_mod, reason = "the fuzz target brings the test host along")]
mod seeds;
mod session;
