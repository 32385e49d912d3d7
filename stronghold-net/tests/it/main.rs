//! Tests `stronghold-net` from outside, as its users see it: a module for each subject.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

mod attacker;
mod between;
mod candidates;
mod common;
mod copied;
mod cut;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../stronghold-sync/tests/it/effort.rs"]
mod effort;
mod greedy;
mod guest;
mod handshake;
mod home;
mod hostile;
mod known;
mod large;
mod log;
mod losses;
mod mailbox;
mod marks;
mod midway;
mod observer;
mod pairing;
mod responsive;
mod seeds;
mod server;
mod settling;
mod simulation;
mod tampered;
