//! Floods a real `serve` with hostile clients: garbage, strangers with valid TLS, paired devices
//! without rules, and paired devices that break the protocol in each state. Memory and open files
//! must stay flat, strangers must receive no byte, and an honest device must be served throughout.
//! Its times are printed but not checked, because the attackers run on the same machine.
//!
//! `cargo xtask flood [CONNECTIONS]` runs this in release, with 10,000 connections of each kind by
//! default.
#![allow(clippy::print_stdout, reason = "what was measured")]

mod breaking;
mod clients;
mod greedy;
mod stage;
mod watch;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::effort;
use breaking::Breaker;
use clients::{Reaction, denied, garbage, held, runtime, stranger};
use greedy::{Greed, greedy};
use stage::Stage;

/// Connections of each kind at full effort.
const CONNECTIONS: u64 = 300;
/// Concurrent clients, and connections held open beside them, more than a server grants to
/// strangers.
const PARALLEL: usize = 32;
const HELD: usize = 300;
/// Maximum concurrent sessions of one device.
const SESSIONS: usize = 4;

fn connections() -> usize {
    effort::count("connections", CONNECTIONS) as usize
}

#[test]
fn garbage_and_silence_are_hung_up_on() {
    let stage = Stage::new();
    let places = Arc::new(Semaphore::new(HELD));
    let heard = stage.run_flood("garbage, silence, half-closed", PARALLEL, |number| {
        garbage(stage.address, number, places.clone())
    });
    assert_eq!(heard.all(), [(Reaction::Nothing, connections())]);
}

#[test]
fn strangers_with_valid_tls_hear_nothing() {
    let stage = Stage::new();
    let (home, server) = (stage.stranger(), stage.server);
    let heard = stage.run_flood("unknown secret, unknown key", PARALLEL, |_| {
        stranger(stage.address, home.clone(), server)
    });
    assert_eq!(heard.all(), [(Reaction::Nothing, connections())]);
}

#[test]
fn paired_devices_without_rules_are_denied_each_time() {
    let stage = Stage::new();
    let inside = stage.paired("denied");
    let (home, server) = (inside.home(), stage.server);
    let heard =
        stage.run_flood("paired, no rules", SESSIONS, |_| denied(stage.address, home.clone(), server));
    let found = heard.all();
    assert!(found.iter().all(|(what, _)| matches!(what, Reaction::Denied | Reaction::Busy)), "{found:?}");
    assert!(found.iter().any(|(what, _)| *what == Reaction::Denied), "{found:?}");
}

#[test]
fn paired_devices_that_break_the_protocol_change_nothing() {
    let stage = Stage::new();
    let breaker = Arc::new(Breaker::new(&stage, SESSIONS));
    let before = stage.a.entries();
    let heard = stage.run_flood("paired, breaking the protocol", SESSIONS, |number| {
        let breaker = breaker.clone();
        async move { breaker.breach(number).await }
    });
    let found = heard.all();
    println!("  {found:?}");
    assert!(stage.a.entries() == before, "a broken session changed the vault");
    assert!(!found.iter().any(|(what, _)| *what == Reaction::Done), "{found:?}");
}

/// Eight devices use all their sessions: half of them describe entries without end, half send the
/// largest batches. An honest sync runs beside them.
#[test]
fn devices_that_announce_and_send_the_most_take_no_more_than_their_share() {
    const DEVICES: usize = 8;
    const MOST: u64 = 256 * 1024;
    let stage = Stage::new();
    let devices: Vec<_> = (0..DEVICES).map(|number| stage.paired(&format!("greedy {number}"))).collect();
    for number in 0..DEVICES {
        stage.a.ok(&["grant", &format!("greedy {number}"), "push", "--select", "**"]);
    }
    let homes: Vec<_> = devices.iter().map(stage::Inside::home).collect();
    runtime().block_on(async {
        let mut greedy_ones = tokio::task::JoinSet::new();
        for home in homes.iter().flat_map(|home| std::iter::repeat_n(home, SESSIONS)) {
            let greed = if greedy_ones.len() % 2 == 0 { Greed::Shapes } else { Greed::Chunks };
            greedy_ones.spawn(greedy(stage.address, home.clone(), stage.server, greed));
        }
        let channels: Vec<_> = greedy_ones.join_all().await.into_iter().flatten().collect();
        assert!(channels.len() >= DEVICES, "they were not let in: {}", channels.len());
    });
    let most = stage.watched.most();
    println!("{DEVICES} devices, {SESSIONS} sessions each: {most} kB at most");
    assert!(most <= MOST, "{most} kB");
    stage.honest_sync();
}

/// Each connection has sent one byte less than a knock.
#[test]
fn a_connection_before_the_gate_takes_little_memory() {
    const AT_A_TIME: usize = 200;
    let stage = Stage::new();
    runtime().block_on(async {
        // One-time allocations are done after the first few.
        drop(held(stage.address, 8).await);
        stage.watched.wait_for_level(|now| now.files <= stage.idle.files);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = stage.watched.now();
        let connections = held(stage.address, AT_A_TIME).await;
        stage.watched.wait_for_level(|now| now.files >= before.files + AT_A_TIME as u64);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let with = stage.watched.now();
        drop(connections);
        let each = with.memory.saturating_sub(before.memory) * 1024 / AT_A_TIME as u64;
        println!(
            "{AT_A_TIME} connections of 31 bytes: {} kB before, {} kB with them: {each} B each",
            before.memory, with.memory
        );
        assert!(each <= 16 * 1024, "{each} B for each connection");
    });
}
