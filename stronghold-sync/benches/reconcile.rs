//! Compares reconciliation with other protocols in the same run: encoded bytes both ways, round
//! trips, CPU time per side.
//!
//! `cargo xtask bench reconcile [--quick]` runs it, prints the table, and writes it to
//! `target/bench/reconcile.json`. Beside Stronghold it runs `negentropy` (range-based, over 32-byte
//! ids with a time each), a rateless IBLT over 32-byte hashes with 8-byte checks and a count (as
//! published, stopped by an oracle at the first sufficient cell), and the plain list of the minimum
//! of a shape (48 bytes).
//!
//! `-- estimators` compares estimators of a difference instead, and `-- memory` prints the memory
//! that a reconciliation needs for each entry.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and may panic")]

use std::{fmt::Write as _, time::Duration};

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use stronghold_sync::{
    ClientId, EntryId, LocationId, RecordId, RevisionId, VaultId,
    message::Message,
    reconcile::internals::{DiffResult, DifferenceEstimator, Initiator, Responder, SetKey, Sketch},
};

fn main() {
    let says = |word: &str| std::env::args().any(|arg| arg == word);
    if says("estimators") {
        return estimators();
    }
    if says("memory") {
        return memory();
    }
    let quick = says("--quick");
    let sizes: &[u64] = if quick { &[1_000, 100_000] } else { &[1_000, 10_000, 100_000, 1_000_000] };
    let mut report = Report::default();
    for &n in sizes {
        for d in [0, 1, 10, 100, 1_000] {
            for (kind, sets) in
                [("added", added as Maker), ("updated", updated as Maker), ("clustered", clustered)]
            {
                let sessions = if quick { 10 } else { 50 };
                report.row("stronghold", kind, n, d, sessions, |seed| stronghold(&sets(n, d, seed), seed));
                if kind != "updated" {
                    report.row("negentropy", kind, n, d, sessions, |seed| range_based(&sets(n, d, seed)));
                }
            }
            report.row("riblt over 32 B", "added", n, d, 20, |seed| published(&added(n.min(1_000), d, seed)));
            report.plain(n, d);
        }
    }
    report.write();
}

/// The entries of both sides, each with its time, by which `negentropy` sorts.
struct Sets {
    a: Vec<(u64, EntryId)>,
    b: Vec<(u64, EntryId)>,
    /// Number of entries that only one of the sides has.
    differing: usize,
}

type Maker = fn(u64, u64, u64) -> Sets;

/// Adds half of the difference to each side, at random times.
fn added(n: u64, d: u64, seed: u64) -> Sets {
    let common = (0..n).map(|i| entry(seed, i, 0, mix(seed ^ i)));
    let only = |from: u64, count: u64| (from..from + count).map(move |i| entry(seed, i, 0, mix(seed ^ i)));
    let a = common.clone().chain(only(n, d / 2)).collect();
    let b = common.chain(only(n + d, d.div_ceil(2))).collect();
    Sets { a, b, differing: d as usize }
}

/// Updates entries on one side: an old revision here and a new one there, so twice as many symbols.
fn updated(n: u64, d: u64, seed: u64) -> Sets {
    let d = d.min(n);
    let a = (0..n).map(|i| entry(seed, i, 0, mix(seed ^ i))).collect();
    let b = (0..n).map(|i| entry(seed, i, u64::from(i < d), mix(seed ^ i))).collect();
    Sets { a, b, differing: 2 * d as usize }
}

/// Adds half of the difference to each side, newer than all others.
fn clustered(n: u64, d: u64, seed: u64) -> Sets {
    let Sets { a, b, differing } = added(n, d, seed);
    let late = |list: Vec<(u64, EntryId)>| {
        let time = |(at, (time, entry)): (usize, (u64, EntryId))| {
            (if at as u64 >= n { (1 << 62) + at as u64 } else { time >> 3 }, entry)
        };
        list.into_iter().enumerate().map(time).collect()
    };
    Sets { a: late(a), b: late(b), differing }
}

/// The cost of one session.
#[derive(Clone, Copy, Default)]
struct Cost {
    bytes: u64,
    round_trips: u64,
    asking: Duration,
    answering: Duration,
}

/// Bytes of the frame header, role and counter around every message: see PROTOCOL.md.
const FRAME: u64 = 7;

fn encoded(message: &Message) -> u64 {
    rmp_serde::to_vec(message).unwrap().len() as u64 + FRAME
}

fn stronghold(sets: &Sets, seed: u64) -> Cost {
    let secret = secret(seed);
    let mut cost = Cost { round_trips: 1, ..Cost::default() };
    let entries = |list: &[(u64, EntryId)]| list.iter().map(|(_, entry)| *entry).collect::<Vec<_>>();
    let (a, b) = (entries(&sets.a), entries(&sets.b));
    let mut answering = timed(&mut cost.answering, || Responder::new(&secret, b.iter().copied()));
    cost.bytes += rmp_serde::to_vec(answering.summary()).unwrap().len() as u64 + FRAME;
    let summary = answering.summary().clone();
    let (mut asking, mut telling) = timed(&mut cost.asking, || {
        let mut asking = Initiator::new(&secret, a.iter().copied(), summary);
        let telling = asking.begin(a.iter().copied());
        (asking, telling)
    });
    if telling.is_empty() {
        cost.bytes += encoded(&Message::End);
        return cost;
    }
    loop {
        for part in telling {
            cost.bytes += encoded(&Message::Digest(part.clone()));
            timed(&mut cost.answering, || answering.handle(part).unwrap());
        }
        cost.bytes += encoded(&Message::DigestEnd);
        match timed(&mut cost.answering, || answering.find(b.iter().copied()).unwrap()) {
            DiffResult::Found(here, there) => {
                assert_eq!(here.len() + there.len(), sets.differing, "a wrong result");
                return cost;
            }
            DiffResult::Again(again) => {
                cost.round_trips += 1;
                cost.bytes += encoded(&Message::NeedMore(again.clone()));
                telling = timed(&mut cost.asking, || asking.continue_with(again, a.iter().copied()).unwrap());
            }
        }
    }
}

fn range_based(sets: &Sets) -> Cost {
    let mut cost = Cost::default();
    let storage = |list: &[(u64, EntryId)]| {
        let mut storage = NegentropyStorageVector::with_capacity(list.len());
        for (time, entry) in list {
            storage.insert(*time, Id::from_byte_array(*entry.revision.as_bytes())).unwrap();
        }
        storage.seal().unwrap();
        Negentropy::owned(storage, 0).unwrap()
    };
    let mut client = timed(&mut cost.asking, || storage(&sets.a));
    let mut server = timed(&mut cost.answering, || storage(&sets.b));
    let mut message = timed(&mut cost.asking, || client.initiate().unwrap());
    let (mut have, mut need) = (Vec::new(), Vec::new());
    loop {
        cost.round_trips += 1;
        let answer = timed(&mut cost.answering, || server.reconcile(&message).unwrap());
        cost.bytes += (message.len() + answer.len()) as u64;
        let next =
            timed(&mut cost.asking, || client.reconcile_with_ids(&answer, &mut have, &mut need).unwrap());
        match next {
            Some(next) => message = next,
            None => break,
        }
    }
    assert_eq!(have.len() + need.len(), sets.differing);
    cost
}

/// Measures cells of 32 + 8 bytes and a count of one byte. An oracle stops the stream at the first
/// sufficient cell, so no estimate is sent. Only the difference matters, so it runs on a small set.
fn published(sets: &Sets) -> Cost {
    let own: std::collections::BTreeSet<[u8; 32]> =
        sets.a.iter().map(|(_, entry)| *entry.revision.as_bytes()).collect();
    let their: std::collections::BTreeSet<[u8; 32]> =
        sets.b.iter().map(|(_, entry)| *entry.revision.as_bytes()).collect();
    let differing = own.symmetric_difference(&their).count() as u64;
    let key = SetKey::new(&secret(sets.a.len() as u64), 0);
    let all = |list: &[(u64, EntryId)]| list.iter().map(|(_, entry)| key.symbol(entry)).collect::<Vec<_>>();
    let (a, b) = (all(&sets.a), all(&sets.b));
    let mut len = differing.max(1) as usize;
    // Uses the same stream of cells: how many of them suffice does not depend on their width.
    while Sketch::of(&a, len).difference(&Sketch::of(&b, len)).peel(&key).is_err() {
        len += 1 + len / 100;
    }
    Cost { bytes: len as u64 * 41, round_trips: 1, ..Cost::default() }
}

/// Prints the number of cells that each estimator costs: the factor that suffices in 97 % of the
/// sessions, times the mean estimate, for each differing entry.
fn estimators() {
    println!("{:>6}  {:34} {:>9} {:>9}", "d", "estimator", "deviation", "cells / d");
    for d in [10u64, 100, 1_000] {
        let sessions = if d == 1_000 { 400 } else { 3_000 };
        let hashes = |seed: u64| {
            let key = SetKey::new(&secret(seed), 0);
            (0..d).map(move |n| key.hash(&entry(seed, n, 0, 0).1)).collect::<Vec<u128>>()
        };
        let needed: Vec<f64> = (0..sessions).map(|seed| cells_needed(d, seed) as f64).collect();
        for counters in [48, 64, 72] {
            let estimates = (0..sessions).map(|seed| tug_of_war(&hashes(seed), counters)).collect();
            let name = format!("{counters} tug-of-war counters of 10 bits");
            print_estimator(d, &name, &needed, estimates);
        }
        let strata = |seed| {
            let mut strata = DifferenceEstimator::default();
            hashes(seed).into_iter().for_each(|hash| strata.toggle(hash));
            strata.estimate(&DifferenceEstimator::default()) as f64
        };
        print_estimator(d, "odd strata, 16 levels of 48 bits", &needed, (0..sessions).map(strata).collect());
    }
}

fn print_estimator(d: u64, name: &str, needed: &[f64], estimates: Vec<f64>) {
    let mean = estimates.iter().sum::<f64>() / estimates.len() as f64;
    let variance =
        estimates.iter().map(|estimate| (estimate - mean).powi(2)).sum::<f64>() / estimates.len() as f64;
    let mut factors: Vec<f64> =
        needed.iter().zip(&estimates).map(|(cells, estimate)| cells / estimate.max(0.5)).collect();
    factors.sort_by(f64::total_cmp);
    let factor = factors[factors.len() * 97 / 100];
    println!("{d:>6}  {name:34} {:>8.0} % {:>9.2}", variance.sqrt() / mean * 100.0, factor * mean / d as f64);
}

/// Returns the first length of the stream of `d` symbols at which peeling succeeds.
fn cells_needed(d: u64, seed: u64) -> usize {
    let key = SetKey::new(&secret(seed), 1);
    let symbols: Vec<_> = (0..d).map(|n| key.symbol(&entry(seed, n, 1, 0).1)).collect();
    let peels = |len: &usize| Sketch::of(&symbols, *len).peel(&key).is_ok();
    // Success is monotonic except where a cell happens to be empty, so bisection is off by one or
    // two at most.
    let (mut short, mut enough) = (0, 8 * d as usize + 64);
    while enough - short > 1 {
        let middle = short.midpoint(enough);
        if peels(&middle) { enough = middle } else { short = middle }
    }
    enough
}

/// Estimates the difference by signed counters of all entries; one hash provides 128 signs.
fn tug_of_war(hashes: &[u128], counters: usize) -> f64 {
    let sum = |bit: usize| -> f64 {
        hashes.iter().map(|hash| if hash >> bit & 1 == 1 { 1.0 } else { -1.0 }).sum::<f64>()
    };
    (0..counters).map(|bit| sum(bit).powi(2)).sum::<f64>() / counters as f64
}

/// Prints the peak memory of each side of a reconciliation of a million entries, without the
/// entries.
fn memory() {
    const ENTRIES: u64 = 1_000_000;
    let Sets { a, b, .. } = added(ENTRIES, 1_000, 1);
    let entries = |list: Vec<(u64, EntryId)>| list.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>();
    let (a, b) = (entries(a), entries(b));
    let secret = secret(1);
    // Keeps every result to the end, so that no measurement reuses memory freed by an earlier one.
    let (begun, mut answering) = peak(|| Responder::new(&secret, b.iter().copied()));
    let (asking, (_kept, told)) = peak(|| {
        let mut asking = Initiator::new(&secret, a.iter().copied(), answering.summary().clone());
        let told = asking.begin(a.iter().copied());
        (asking, told)
    });
    let (found, _kept) = peak(|| {
        told.into_iter().for_each(|part| answering.handle(part).unwrap());
        answering.find(b.iter().copied()).unwrap()
    });
    for (what, bytes) in [("asking side", asking), ("answering side", begun + found)] {
        println!("{what} of {ENTRIES} entries: {:.1} B each at the peak", bytes as f64 / ENTRIES as f64);
    }
}

/// Returns the process's peak growth during `work`, in bytes, as reported by Linux.
fn peak<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let status = |field: &str| -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() * 1024
    };
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    let done = work();
    (status("VmHWM:").saturating_sub(before), done)
}

#[derive(Default)]
struct Report {
    json: String,
}

impl Report {
    fn row(&mut self, who: &str, kind: &str, n: u64, d: u64, sessions: u64, run: impl Fn(u64) -> Cost) {
        let costs: Vec<Cost> = (0..sessions).map(|seed| run(seed + 1)).collect();
        let of = |value: fn(&Cost) -> f64| {
            let mut values: Vec<f64> = costs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let at = |percent: usize| values[(values.len() * percent / 100).min(values.len() - 1)];
            (mean, at(95), at(50), [at(0), at(100)])
        };
        let bytes = of(|cost| cost.bytes as f64);
        let trips = of(|cost| cost.round_trips as f64);
        let in_one = costs.iter().filter(|cost| cost.round_trips <= 1).count() * 100 / costs.len();
        let asking = of(|cost| cost.asking.as_secs_f64() * 1e3);
        let answering = of(|cost| cost.answering.as_secs_f64() * 1e3);
        println!(
            "{who:18} {kind:10} n {n:>8} d {d:>5}: {:>9.0} B (95 %: {:>9.0})  {:.2} round trips (one: {in_one:>3} %)  CPU {:>6.1} / {:>6.1} ms",
            bytes.0, bytes.1, trips.0, asking.2, answering.2
        );
        let _ = writeln!(
            self.json,
            r#"  {{"who":"{who}","kind":"{kind}","n":{n},"d":{d},"sessions":{sessions},"bytes_mean":{:.0},"bytes_p95":{:.0},"bytes_median":{},"bytes_range":{:?},"round_trips_mean":{:.3},"in_one_percent":{in_one},"round_trips_max":{},"round_trips_median":{},"round_trips_range":{:?},"asking_ms_median":{:.4},"asking_ms_range":{:.4?},"answering_ms_median":{:.4},"answering_ms_range":{:.4?}}},"#,
            bytes.0,
            bytes.1,
            bytes.2,
            bytes.3,
            trips.0,
            trips.3[1],
            trips.2,
            trips.3,
            asking.2,
            asking.3,
            answering.2,
            answering.3
        );
    }

    fn plain(&mut self, n: u64, d: u64) {
        println!("{:18} {:10} n {n:>8} d {d:>5}: {:>9} B", "plain list", "added", n * 48);
        let _ = writeln!(self.json, r#"  {{"who":"plain list","n":{n},"d":{d},"bytes_mean":{}}},"#, n * 48);
    }

    fn write(&self) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
        std::fs::create_dir_all(&folder).unwrap();
        let rows = self.json.trim_end().trim_end_matches(',');
        std::fs::write(folder.join("reconcile.json"), format!("[\n{rows}\n]\n")).unwrap();
    }
}

/// Measures CPU time, so that other load on the machine has little effect.
fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = cpu_time();
    let done = work();
    *sum += cpu_time() - start;
    done
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn secret(seed: u64) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&seed.to_le_bytes());
    secret
}

fn entry(seed: u64, record: u64, version: u64, time: u64) -> (u64, EntryId) {
    let mut ids = [[0; 16]; 3];
    ids[0][..8].copy_from_slice(&mix(seed ^ (record << 1)).to_le_bytes());
    ids[1][..8].copy_from_slice(&mix(3).to_le_bytes());
    let mut revision = [0; 32];
    for (at, chunk) in revision.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(
            &mix(seed.wrapping_mul(31) ^ (record << 8) ^ (version << 4) ^ at as u64).to_le_bytes(),
        );
    }
    let location = LocationId {
        client: ClientId::from_bytes(ids[2]),
        vault: VaultId::from_bytes(ids[1]),
        record: RecordId::from_bytes(ids[0]),
    };
    (time >> 2, EntryId { location, revision: RevisionId::from_bytes(revision) })
}

/// Mixes a number: the finaliser of SplitMix64.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}
