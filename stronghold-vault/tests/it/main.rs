//! Tests `stronghold-vault` from outside, as its users see it: a module for each subject.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

mod causality;
mod changes;
mod common;
mod convergence;
mod copying;
mod digests;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../stronghold-sync/tests/it/effort.rs"]
mod effort;
mod forgetting;
mod known;
mod limits;
mod model;
mod model_history;
mod payload;
mod requests;
mod retention;
mod undo;
mod vault;
