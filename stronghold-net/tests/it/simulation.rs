//! Simulates a bad network: partitions, delayed and lost messages, resets, crashes, peers that
//! stall. Every sync ends with a typed result within its limits, nothing is half applied, and a
//! sync completes once the network works again.
//!
//! 500 seeds run at full effort; `cargo xtask soak net SEEDS [FIRST]` runs more. A failure
//! names its seed.
#![allow(clippy::print_stdout, reason = "it says how the syncs ended")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    common::{KEY, entries_in, friends, limits},
    effort,
};
use stronghold_net::{
    ChannelError, Direction, NoHandler, Outcome, Peer, PeerError, Server, SharedVault, SyncRequest,
};
use stronghold_snapshot::{Unlock, VaultFile};
use stronghold_sync::{DeviceId, Selection, Timestamp};
use stronghold_vault::Labels;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use turmoil::net::{TcpListener, TcpStream};

const PORT: u16 = 4747;
/// Duration of the network's faults.
const BAD: Duration = Duration::from_secs(120);
/// Maximum duration of a sync: a connection, a handshake, and a silence of 90 s at each of a few
/// messages.
const MOST: Duration = Duration::from_secs(600);

/// State of all seeds' random numbers: splitmix64 (Steele, Lea, Flood, 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Files of two paired devices, reset for each seed.
struct Stage {
    folder: TempDir,
    files: [Vec<u8>; 2],
    asked: DeviceId,
}

impl Stage {
    fn new() -> Self {
        let (asker, asked) = friends();
        asker.put_all((0..5).map(|n| (format!("a/v/of the asker {n}"), "x".repeat(n * 100))));
        asked.put_all((0..40).map(|n| (format!("a/v/of the asked {n}"), "x".repeat(n * 100))));
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        Self { folder: folder.unwrap(), files: [asker.bytes(), asked.bytes()], asked: asked.device() }
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["asker", "asked"].map(|name| self.folder.path().join(name))
    }
}

fn open(path: &Path) -> SharedVault {
    let home = VaultFile::open(path, &Unlock::Key(&KEY)).unwrap();
    SharedVault::new(home)
}

/// Writes one entry, as its user does between two syncs.
fn put(home: &SharedVault, name: &str) {
    let location = format!("a/v/{name}").parse().unwrap();
    let written = home.lock().update(|stronghold| {
        stronghold.write(&location, name.as_bytes(), Labels::new(), Timestamp::from_millis(1)).unwrap();
        Ok(())
    });
    written.unwrap();
}

async fn sync(home: &SharedVault, asked: DeviceId) -> Result<Outcome, PeerError> {
    let stream = TcpStream::connect(("asked", PORT)).await.map_err(|_| ChannelError::Cut)?;
    let peer = Peer::connect(stream, home, asked).await?;
    peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await
}

/// Answers, and stalls or hangs up at some connections.
async fn serve(path: PathBuf, mut dice: Dice, is_well: Arc<AtomicBool>) {
    let home = open(&path);
    let limits = limits(|limits| limits.session_timeout = Duration::from_secs(300));
    let server = Server::new(&home).with_limits(limits);
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await.unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (server, roll, is_well) = (server.clone(), dice.roll(10), is_well.load(Relaxed));
        tokio::spawn(async move {
            match roll {
                0 if !is_well => drop(stream),                          // a reset
                1 if !is_well => sleep(Duration::from_secs(200)).await, // half open, and silent
                _ => server.answer(stream).await,
            }
        });
    }
}

/// Number of syncs for each way to end.
type Tally = Arc<Mutex<BTreeMap<String, u64>>>;

fn count(tally: &Tally, done: &Result<Outcome, PeerError>) {
    let how = done.as_ref().map_or_else(ToString::to_string, |_| "done".into());
    *tally.lock().unwrap().entry(how).or_default() += 1;
}

fn simulate(stage: &Stage, seed: u64, tally: &Tally) {
    for (path, bytes) in stage.paths().iter().zip(&stage.files) {
        std::fs::write(path, bytes).unwrap();
    }
    let [asker_path, asked_path] = stage.paths();
    let mut dice = Dice(seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(7200))
        .tick_duration(Duration::from_millis(50))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(200))
        .build();
    let (is_well, is_done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let served = is_well.clone();
    let asked_file = asked_path.clone();
    sim.host("asked", move || {
        let dice = Dice(seed ^ 0x5eed);
        let serving = serve(asked_file.clone(), dice, served.clone());
        async move {
            serving.await;
            Ok(())
        }
    });
    let (home, well, done, device) = (open(&asker_path), is_well.clone(), is_done.clone(), stage.asked);
    let tally = tally.clone();
    sim.client("asker", async move {
        let mut number = 0;
        while !well.load(Relaxed) {
            let start = Instant::now();
            count(&tally, &sync(&home, device).await);
            assert!(start.elapsed() < MOST, "seed {seed}: a sync took {:?}", start.elapsed());
            number += 1;
            put(&home, &format!("between {number}"));
            sleep(Duration::from_secs(5)).await;
        }
        let start = Instant::now();
        while sync(&home, device).await.is_err() {
            assert!(start.elapsed() < MOST, "seed {seed}: the network is well, and no sync completes");
        }
        done.store(true, Relaxed);
        Ok(())
    });
    disturb(&mut sim, &mut dice, &is_well, &is_done, seed);
    let entries = [&asker_path, &asked_path].map(|path| entries_in(path));
    assert_eq!(entries[0], entries[1], "seed {seed}");
    assert!(entries[0].len() >= 45, "seed {seed}: something is lost");
}

/// Runs the simulation, with a fault every few seconds until the network recovers.
fn disturb(
    sim: &mut turmoil::Sim<'_>,
    dice: &mut Dice,
    is_well: &AtomicBool,
    is_done: &AtomicBool,
    seed: u64,
) {
    let mut next = Duration::ZERO;
    while !is_done.load(Relaxed) {
        let finished = sim.step().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        if sim.elapsed() >= BAD && !is_well.load(Relaxed) {
            sim.repair("asker", "asked");
            sim.release("asker", "asked");
            sim.bounce("asked");
            is_well.store(true, Relaxed);
        } else if sim.elapsed() >= next && !is_well.load(Relaxed) {
            next = sim.elapsed() + Duration::from_millis(50 + dice.roll(10_000));
            match dice.roll(8) {
                0 => sim.partition("asker", "asked"),
                1 => sim.partition_oneway("asked", "asker"),
                2 => sim.hold("asker", "asked"),
                3 => {
                    sim.crash("asked");
                    sim.bounce("asked");
                }
                _ => {
                    sim.repair("asker", "asked");
                    sim.release("asker", "asked");
                }
            }
        }
        if finished {
            return;
        }
    }
}

#[test]
fn syncs_over_a_bad_network_end_and_lose_nothing() {
    let (seeds, first) = (effort::count("networks", 500), effort::given("seed").unwrap_or(1));
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let tally = &tally;
            scope.spawn(move || {
                let stage = Stage::new();
                (first..first + seeds).skip(half).step_by(2).for_each(|seed| simulate(&stage, seed, tally));
            });
        }
    });
    let tally = tally.lock().unwrap();
    println!("how syncs ended: {tally:#?}");
    assert!(tally.len() >= 4 && tally.contains_key("done"), "the network is not bad enough: {tally:?}");
}
