//! The file that one can trust with one's life, tested from outside: the real command, and a disk that fails, fills
//! up, or a process that is killed, at every call and at any moment. What must hold is in DESIGN.md, section 1: after
//! a crash or a full disk the old state or the new one, never a third; and nothing that was acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "seeds and counts, and what is skipped")]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod faults;
mod full;
mod kills;
mod processes;
