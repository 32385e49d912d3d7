//! Tests durability from outside: the real command, on a disk that fails or fills up, or killed at
//! every call and at any moment. stronghold-sync/DESIGN.md states the guarantee: after a crash or a full
//! disk the file holds the old or the new state, never a third; and no acknowledged write is lost.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "seeds and counts, and what is skipped")]

mod disk;
mod faults;
mod full;
mod kills;
mod power;
mod processes;
