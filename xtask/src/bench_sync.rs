//! `bench sync`: two release processes on loopback, 10,000 entries of 64 bytes, 1 % updated on one side.
//!
//! The time is what a person waits for `stronghold sync`: starting, key derivation from the passphrase, handshake,
//! sync and commit. The memory is the peak of each process.

use std::{fmt::Write as _, path::Path, time::Instant};

use serde_json::Value;

use crate::{Result, cargo::build_stronghold, device::Device};

const ENTRIES: usize = 10_000;
const UPDATED: usize = 100;
const RUNS: usize = 5;

/// One `sync`.
struct Run {
    seconds: f64,
    asking: u64,
    asked: u64,
    done: Value,
}

pub(crate) fn run() -> Result<()> {
    let program = build_stronghold()?;
    let folder = tempfile::tempdir()?;
    let laptop = Device::new(&program, folder.path().join("laptop"), "a passphrase to measure with")?;
    let phone = Device::new(&program, folder.path().join("phone"), "another passphrase")?;
    let table = folder.path().join("table.csv");
    set_up(&laptop, &phone, &table)?;

    println!("sync of {ENTRIES} entries of 64 B, {UPDATED} updated on the asked side, {RUNS} runs");
    let mut runs = Vec::new();
    for round in 1..=RUNS {
        update(&laptop, &table, round)?;
        let run = measure(&laptop, &phone)?;
        println!("  {:.3} s  {}", run.seconds, run.done);
        runs.push(run);
    }
    println!("median: {:.3} s with key derivation", median(runs.iter().map(|run| run.seconds).collect()));
    let megabytes = |peak: fn(&Run) -> u64| median(runs.iter().map(|run| peak(run) as f64 / 1e3).collect());
    println!(
        "peak memory: asking {:.1} MB, asked {:.1} MB",
        megabytes(|run| run.asking),
        megabytes(|run| run.asked)
    );
    Ok(())
}

fn set_up(laptop: &Device, phone: &Device, table: &Path) -> Result<()> {
    laptop.run(&["init", "--name", "laptop"], "")?;
    update(laptop, table, 0)?;
    let pairing = laptop.pair("phone")?;
    let join = ["clone", "--join", &pairing.address, "--name", "laptop"];
    let start = Instant::now();
    let cloned = phone.json(&join, &pairing.code)?;
    println!("clone of {ENTRIES} entries: {:.3} s  {cloned}", start.elapsed().as_secs_f64());
    pairing.process.end()?;
    laptop.run(&["grant", "phone", "pull", "push", "delete", "--select", "**"], "")?;
    phone.run(&["grant", "laptop", "pull", "push", "delete", "--select", "**"], "")?;
    Ok(())
}

/// Imports the table again with the first hundred entries changed.
fn update(device: &Device, table: &Path, round: usize) -> Result<()> {
    let mut text = String::from("Group,Title,Password\n");
    for number in 0..ENTRIES {
        let round = if number < UPDATED { round } else { 0 };
        let _ = writeln!(text, "Root/Group {},Site {number:05},{round:02}{number:062}", number % 20);
    }
    std::fs::write(table, text)?;
    let table = table.to_str().ok_or("the temporary folder's path is not UTF-8")?;
    device.json(&["import", "--format", "csv", table], "").map(drop)
}

fn measure(laptop: &Device, phone: &Device) -> Result<Run> {
    let serving = laptop.serve()?;
    let start = Instant::now();
    let ended = phone.run(&["sync", "laptop", "--at", &serving.address, "--json"], "")?;
    let seconds = start.elapsed().as_secs_f64();
    let asked = serving.process.peak_memory().ok_or("this system does not tell a process's peak memory")?;
    let asking = ended.peak.ok_or("this system does not tell a process's peak memory")?;
    let done: Value = serde_json::from_str(&ended.stdout)?;
    if done["received"] != UPDATED {
        return Err(format!("{UPDATED} entries were updated, but the sync says {done}").into());
    }
    Ok(Run { seconds, asking, asked, done })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
