//! Runs `bench sync`: whole syncs of two release processes on loopback, against the goals, with
//! `git` beside them in the same run. Prints tables and writes `target/bench/sync.json`.
//!
//! Both devices have key files, so that key derivation is not measured. A `sync` of 1 % finds
//! another hundred entries changed each time, whose revisions have one ancestor; a separate row
//! changes the same hundred again and again. A further row shows the cost of every command:
//! starting, and opening the vault.

use std::{collections::BTreeMap, ops::Range, path::Path, time::Instant};

use serde_json::{Value, json};

use super::{
    at_most,
    baselines::{self, CHANGED, ENTRIES, RUNS, hundred},
    median, range, show_goals,
};
use crate::{
    Result,
    cargo::{build_stronghold, write_bench},
    lab::{Device, DevicePair, Run, Secret, change},
};

/// Number of runs with passphrases; each derives two keys.
const RUNS_WITH_PASSPHRASES: usize = 5;

const EQUAL: &str = "equal";
const EQUAL_AGAIN: &str = "equal, `serve` has answered before";
const UPDATED: &str = "1 % updated";
const READ_AGAIN: &str = "1 % updated while `serve` runs";
const SAME: &str = "the same 1 % again and again";
const PASSPHRASES: &str = "1 % updated, passphrases";

/// Measurements by kind of work.
#[derive(Default)]
struct Measured {
    syncs: Vec<(&'static str, Vec<Run>)>,
    /// Other measurements for comparison, in milliseconds.
    others: BTreeMap<String, Vec<f64>>,
}

pub(crate) fn run() -> Result<()> {
    let program = build_stronghold()?;
    let folder = tempfile::tempdir()?;
    let mut measured = Measured::default();
    syncs_with_keys(&program, folder.path(), &mut measured)?;
    let two = DevicePair::new(&program, folder.path(), Secret::Passphrase, ENTRIES)?;
    measured.syncs.push((PASSPHRASES, sync_after_changes(&two, RUNS_WITH_PASSPHRASES, 1, hundred)?));
    let absent = baselines::measure(&folder.path().join("rivals"), &mut measured.others)?;

    let rows: Vec<Value> = measured.syncs.iter().map(|(work, runs)| row(work, runs)).collect();
    let goals = goals(&measured.syncs);
    show(&rows, &measured.others);
    absent.iter().for_each(|line| println!("{line}"));
    show_goals(&goals);
    let done = json!({ "syncs": rows, "others": measured.others, "not_compared": absent, "goals": goals });
    write_bench("sync", &done)
}

fn syncs_with_keys(program: &Path, folder: &Path, measured: &mut Measured) -> Result<()> {
    let two = DevicePair::new(program, folder, Secret::Key, ENTRIES)?;
    let equal: Result<Vec<Run>> = (0..RUNS).map(|_| two.sync()).collect();
    measured.syncs.push((EQUAL, expect(equal?, 0)?));
    let serving = two.serve()?;
    two.sync_with(&serving, &serving.address)?;
    let again: Result<Vec<Run>> = (0..RUNS).map(|_| two.sync_with(&serving, &serving.address)).collect();
    measured.syncs.push((EQUAL_AGAIN, expect(again?, 0)?));
    drop(serving);
    let entries = two.phone.entries()?;
    let one = entries[0]["location"].as_str().ok_or("`list` gave no location")?;
    for (name, args) in [
        ("`stronghold --version`", &["--version"][..]),
        ("`stronghold get` of one", &["get", one]),
        ("`stronghold list`", &["list"]),
    ] {
        measured.others.insert(name.into(), timed(&two.phone, args)?);
    }
    measured.syncs.push((UPDATED, sync_after_changes(&two, RUNS, 1, hundred)?));
    let serving = two.serve()?;
    let warm = |run| {
        change(&two.laptop, hundred(RUNS + run), 1)?;
        two.sync_with(&serving, &serving.address)
    };
    let warm: Result<Vec<Run>> = (0..RUNS).map(warm).collect();
    measured.syncs.push((READ_AGAIN, expect(warm?, CHANGED)?));
    drop(serving);
    measured.syncs.push((SAME, sync_after_changes(&two, RUNS, 2, |_| hundred(0))?));
    Ok(())
}

/// Syncs after changing entries of the laptop, which starts to serve afterwards.
fn sync_after_changes(
    two: &DevicePair,
    runs: usize,
    round: usize,
    which: impl Fn(usize) -> Range<usize>,
) -> Result<Vec<Run>> {
    let one = |run| {
        change(&two.laptop, which(run), round + run)?;
        two.sync()
    };
    let done: Result<Vec<Run>> = (0..runs).map(one).collect();
    expect(done?, CHANGED)
}

fn expect(runs: Vec<Run>, received: usize) -> Result<Vec<Run>> {
    match runs.iter().find(|run| (run.received, run.sent) != (received as u64, 0)) {
        Some(run) => Err(format!("{received} entries differed, but {} were received", run.received).into()),
        None => Ok(runs),
    }
}

fn timed(device: &Device, args: &[&str]) -> Result<Vec<f64>> {
    let one = |_| {
        let start = Instant::now();
        device.run(args, "")?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    (0..RUNS).map(one).collect()
}

fn row(work: &str, runs: &[Run]) -> Value {
    let times: Vec<f64> = runs.iter().map(|run| run.milliseconds).collect();
    let bytes: Vec<f64> = runs.iter().map(|run| run.bytes as f64).collect();
    let greatest = |of: &dyn Fn(&Run) -> f64| range(&runs.iter().map(of).collect::<Vec<_>>())[1];
    json!({
        "work": work,
        "milliseconds": { "median": median(times.iter().copied()), "range": range(&times), "runs": times },
        "bytes": { "median": median(bytes.iter().copied()), "greatest": range(&bytes)[1], "runs": bytes },
        "round_trips": greatest(&|run| run.round_trips as f64),
        "peak_mb_asking": greatest(&|run| run.peaks[0]),
        "peak_mb_asked": greatest(&|run| run.peaks[1]),
    })
}

fn goals(syncs: &[(&str, Vec<Run>)]) -> Vec<Value> {
    let of = |work: &str| syncs.iter().find(|(name, _)| *name == work).map(|(_, runs)| runs.as_slice());
    let time = |work| median(of(work).unwrap_or_default().iter().map(|run| run.milliseconds));
    let most = |work, value: fn(&Run) -> u64| of(work).unwrap_or_default().iter().map(value).max();
    let most = |work, value: fn(&Run) -> u64| most(work, value).map_or(f64::NAN, |most| most as f64);
    vec![
        at_most("equal: median ms", 60.0, time(EQUAL)),
        at_most("equal, `serve` has answered before: median ms", 60.0, time(EQUAL_AGAIN)),
        at_most("equal: round trips after the handshake", 2.0, most(EQUAL, |run| run.round_trips)),
        at_most("equal: most bytes, both ways", 6_000.0, most(EQUAL, |run| run.bytes)),
        at_most("1 % updated: median ms", 250.0, time(UPDATED)),
        at_most("1 % updated while `serve` runs: median ms", 250.0, time(READ_AGAIN)),
        at_most("1 % updated: most bytes, both ways", 60_000.0, most(UPDATED, |run| run.bytes)),
    ]
}

fn show(rows: &[Value], others: &BTreeMap<String, Vec<f64>>) {
    println!(
        "\n`sync` of {ENTRIES} entries of 64 B on loopback; {RUNS} runs ({RUNS_WITH_PASSPHRASES} with passphrases)"
    );
    println!(
        "{:<34} {:>8} {:>17} {:>8} {:>8} {:>6} {:>13} {:>13}",
        "", "ms", "range", "bytes", "most", "trips", "MB, asking", "MB, asked"
    );
    for row in rows {
        let number = |pointer: &str| row.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let [least, most] = ["/milliseconds/range/0", "/milliseconds/range/1"].map(number);
        println!(
            "{:<34} {:>8.1} {:>17} {:>8} {:>8} {:>6} {:>13.1} {:>13.1}",
            row["work"].as_str().unwrap_or_default(),
            number("/milliseconds/median"),
            format!("{least:.1} - {most:.1}"),
            number("/bytes/median"),
            number("/bytes/greatest"),
            number("/round_trips"),
            number("/peak_mb_asking"),
            number("/peak_mb_asked"),
        );
    }
    println!("\nin the same run, {RUNS} runs each{:<30} {:>8} {:>17}", "", "ms", "range");
    for (work, times) in others {
        let [least, most] = range(times);
        println!(
            "{work:<61} {:>8.1} {:>17}",
            median(times.iter().copied()),
            format!("{least:.1} - {most:.1}")
        );
    }
}
