//! Tests `stronghold-cli` from outside, as its users see it: a module for each subject.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

mod across;
mod agent;
mod bad_input;
mod canary;
mod clip;
mod clocks;
mod cmd;
mod common;
mod completing;
mod config;
mod copied;
mod defects;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../stronghold-sync/tests/it/effort.rs"]
mod effort;
mod evening;
mod flood;
mod import;
mod input;
mod iota;
mod keeping;
mod known;
mod lan;
mod leaving;
mod local;
mod logged;
mod mailbox;
mod mailbox_on_a_server;
mod memory;
mod merge;
mod mistakes;
mod moving_in;
mod names;
mod names_of_several;
mod pairing;
mod peers;
mod permission;
mod place;
mod remote;
mod resolving;
mod rollback;
mod schemas;
mod service;
mod several;
mod shown;
mod ssh;
mod storage;
mod stores;
mod suspending;
mod terminal;
mod using;
mod widths;
