//! Runs `bench storage`: the storage benchmarks. The program in
//! `stronghold-snapshot/benches/peers` measures memory and file, beside its peers in the same run.
//! `put` and `merge` are measured as commands, each a process of its own. Prints a table and writes
//! `target/bench/storage.json`.

use std::{fs, path::Path, time::Instant};

use serde_json::{Value, json};

use super::{at_least, at_most, median, show_goals};
use crate::{
    Result,
    cargo::{build_stronghold, cargo_output, write_bench},
    lab::{Device, Secret, change},
};

/// Folder of the program that measures beside the peers.
pub(crate) const PEERS: &str = "stronghold-snapshot/benches/peers";
const ENTRIES: usize = 10_000;
const CHANGED: usize = 100;
const RUNS: usize = 7;
const OURS: &str = "stronghold";

/// Goals: upper limits, in each row's unit.
const GOALS: [(&str, f64); 15] = [
    ("write 10,000 of 64 B into memory, each", 3.0),
    ("local sync in memory, 10,000, 1 % differ", 15.0),
    ("local sync in memory, 10,000, unchanged", 3.0),
    ("local sync in memory, 100,000, unchanged", 30.0),
    ("open 100,000 of 64 B, key given", 150.0),
    ("open 100,000 of 64 B, peak memory", 100.0),
    ("file size for each record of 64 B, 10,000", 200.0),
    ("file size for each record of 64 B, 100,000", 200.0),
    ("change one of 1,000, CPU", 0.2),
    ("change one of 100,000, CPU", 0.2),
    ("change one of 100,000, bytes", 4096.0),
    ("change one of 100,000, bytes with foldings", 25_000.0),
    (PUT, 50.0),
    (MERGE, 250.0),
    (MERGE_PEAK, 112.0),
];
const PUT: &str = "`put` one into 10,000, key file";
const MERGE: &str = "`merge` 10,000, 1 % differ, key files";
const MERGE_PEAK: &str = "`merge` 10,000, 1 % differ, passphrases, peak memory";

/// Minimum ratios to a peer's result in the same run.
const RATIOS: [(&str, &str, f64); 4] = [
    ("seal 64 MiB", "aes-gcm", 0.8),
    ("open 64 MiB", "aes-gcm", 0.8),
    ("seal 64 MiB", "age", 1.5),
    ("open 64 MiB", "age", 1.5),
];

/// Maximum ratios to a peer's result in the same run.
const RATIOS_AT_MOST: [(&str, &str, f64); 2] = [
    ("change one of 100,000, time", "sqlite", 1.5),
    ("change one of 100,000, bytes with foldings", "sqlite", 1.0),
];

pub(crate) fn run(options: &[&str]) -> Result<()> {
    let program = build_stronghold()?;
    let mut rows = in_memory(options)?;
    rows.extend(commands(&program)?);
    let goals = goals(&rows);
    show(&rows);
    show_goals(&goals);
    write_bench("storage", &json!({ "rows": rows, "goals": goals }))
}

/// Returns the measurements of the program beside the peers.
fn in_memory(options: &[&str]) -> Result<Vec<Value>> {
    println!("measuring in memory, beside the peers; the first time, building them takes some minutes");
    let manifest = format!("{PEERS}/Cargo.toml");
    let run =
        ["run", "--release", "--locked", "--manifest-path", &manifest, "--target-dir", "target/peers", "--"];
    let mut measured: Value = serde_json::from_str(&cargo_output(&[&run, options].concat())?)?;
    match measured["rows"].take() {
        Value::Array(rows) => Ok(rows),
        _ => Err("no rows were measured".into()),
    }
}

fn commands(program: &Path) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for secret in [Secret::Key, Secret::Passphrase] {
        let device = Device::with(program, folder.path().join(secret.file()), secret)?;
        device.run(&["init", "--name", "laptop"], "")?;
        change(&device, 0..ENTRIES, 0)?;
        if secret == Secret::Key {
            rows.push(row(PUT, "ms", put(&device)?));
        }
        let (times, peaks) = merge(&device, secret)?;
        let names = match secret {
            Secret::Key => [MERGE, "`merge` 10,000, 1 % differ, key files, peak memory"],
            Secret::Passphrase => ["`merge` 10,000, 1 % differ, passphrases", MERGE_PEAK],
        };
        rows.push(row(names[0], "ms", times));
        rows.push(row(names[1], "MB", peaks));
    }
    Ok(rows)
}

fn put(device: &Device) -> Result<Vec<f64>> {
    let one = |run| {
        let start = Instant::now();
        device.run(&["put", &format!("wallet/web/site {run}")], &"x".repeat(64))?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    (0..RUNS).map(one).collect()
}

/// Merges a hundred changed entries into an older copy; returns milliseconds, and peak memory in
/// MB.
fn merge(device: &Device, secret: Secret) -> Result<(Vec<f64>, Vec<f64>)> {
    let (older, changed) = (device.path("older"), device.snapshot());
    let own = device.path(secret.file());
    let [export_by, merge_by] = ["output", "other"].map(|whose| format!("--{whose}-{}-file", secret.file()));
    device.run(&["export", "--output", text(&older)?, &export_by, text(&own)?], "")?;
    change(device, 0..CHANGED, 1)?;
    let one = |run| {
        let into = device.path(&format!("into {run}"));
        fs::copy(&older, &into)?;
        let args = ["merge", text(&changed)?, &merge_by, text(&own)?, "--json"];
        let start = Instant::now();
        let ended = device.start_on(&into, &args, "")?.end()?;
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        let done: Value = serde_json::from_slice(&ended.stdout).map_err(|_| ended.stderr)?;
        if done["received"] != CHANGED {
            return Err(format!("{CHANGED} entries differ, but the merge says {done}").into());
        }
        let peak = ended.peak.ok_or("this system does not tell a process's peak memory")?;
        Ok((elapsed, peak as f64 * 1024.0 / 1e6))
    };
    let both: Result<Vec<(f64, f64)>> = (0..RUNS).map(one).collect();
    Ok(both?.into_iter().unzip())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| "the temporary folder's path is not UTF-8".into())
}

fn row(work: &str, unit: &str, runs: Vec<f64>) -> Value {
    json!({ "work": work, "who": OURS, "unit": unit, "median": median(runs.iter().copied()), "runs": runs })
}

/// Returns each goal with its result; goals without a measured row are left out.
fn goals(rows: &[Value]) -> Vec<Value> {
    let median = |work: &str, who: &str| {
        rows.iter().find(|row| row["work"] == work && row["who"] == who)?["median"].as_f64()
    };
    let limits = GOALS.iter().filter_map(|(work, limit)| Some(at_most(work, *limit, median(work, OURS)?)));
    let ratios = RATIOS.iter().filter_map(|(work, who, least)| {
        let reached = median(work, OURS)? / median(work, who)?;
        Some(at_least(&format!("{work}, times {who}"), *least, reached))
    });
    let at_most_ratios = RATIOS_AT_MOST.iter().filter_map(|(work, who, most)| {
        let reached = median(work, OURS)? / median(work, who)?;
        Some(at_most(&format!("{work}, times {who}"), *most, reached))
    });
    limits.chain(ratios).chain(at_most_ratios).collect()
}

fn show(rows: &[Value]) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!("\n{:<54} {:<20} {:>12}", "work", "who", "median");
    for row in rows {
        let [work, who, unit] = ["work", "who", "unit"].map(|field| text(&row[field]));
        println!("{work:<54} {who:<20} {:>12.2} {unit}", row["median"].as_f64().unwrap_or_default());
    }
}
