//! Growth of a vault's costs from 10,000 to a million records: write, open, shapes, a merge that
//! finds no difference and one that finds a hundredth. Each figure is the minimum of several runs,
//! to exclude delays of a busy machine.
//!
//! `cargo bench -p stronghold-vault --bench growth [-- 10000 100000 ...]` prints a table. Peak
//! memory is that of a separate process that only opens a payload.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::{
    collections::BTreeSet,
    fs,
    hint::black_box,
    process::Command,
    time::{Duration, Instant},
};

use stronghold_sync::{
    EntryId, Location, Mapping, OnConflict, PlanOptions, Scope, Selection, Shape, Timestamp, plan,
};
use stronghold_vault::{Labels, Stronghold};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];
const VALUE: [u8; 64] = [7; 64];
/// Environment variable that tells this program, in a process of its own, to open the payload in
/// this file.
const OPEN: &str = "STRONGHOLD_BENCH_OPEN";

fn main() -> Fallible<()> {
    if let Some(file) = std::env::var_os(OPEN) {
        let payload = fs::read(file)?;
        let before = kilobytes("VmHWM:")?;
        let opened = Stronghold::from_payload(&payload)?;
        black_box(&opened);
        println!("{} {before}", kilobytes("VmHWM:")?);
        return Ok(());
    }
    let asked: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if asked.is_empty() { SIZES.to_vec() } else { asked };
    println!("{:>9} | {:^60} |", "", "milliseconds (nanoseconds per record)");
    println!(
        "records   |         write |          open |        shapes |     unchanged |     1 % newer | opened, peak"
    );
    let rows: Vec<Row> = sizes.into_iter().map(measure).collect::<Fallible<_>>()?;
    if let [first, .., last] = rows.as_slice() {
        first.growth(last);
    }
    Ok(())
}

struct Row {
    records: usize,
    times: [Duration; 5],
}

/// Measures and prints everything for `records` records.
fn measure(records: usize) -> Fallible<Row> {
    let names: Vec<Location> = (0..records).map(location).collect();
    let runs = if records > 100_000 { 3 } else { 10 };
    let mut held = None;
    let write = least(runs.min(5), || {
        drop(held.take());
        let started = Instant::now();
        held = Some(written(&names)?);
        Ok(started.elapsed())
    })?;
    let held = held.ok_or("nothing was written")?;
    let payload = held.to_payload()?;
    drop(held);
    let open = least(runs, || timed(|| Ok(Stronghold::from_payload(&payload)?)))?;
    let (mut one, mut two): (Stronghold, Stronghold) =
        (Stronghold::from_payload(&payload)?, Stronghold::from_payload(&payload)?);
    let shapes = least(runs, || timed(|| Ok(shapes(&one))))?;
    let unchanged = least(runs, || timed(|| merge(&mut one, &two)))?;
    for name in names.iter().step_by(100) {
        two.write(name, &VALUE, Labels::new(), Timestamp::from_millis(1))?;
    }
    let newer = least(runs.min(5), || {
        let mut into = Stronghold::from_payload(&payload)?;
        timed(|| merge(&mut into, &two))
    })?;
    let row = Row { records, times: [write, open, shapes, unchanged, newer] };
    row.print(&peak(&payload)?);
    Ok(row)
}

impl Row {
    fn print(&self, peak: &str) {
        let cell = |time: &Duration| format!("{:7.1} ({:4.0})", time.as_secs_f64() * 1e3, self.each(time));
        let cells: Vec<String> = self.times.iter().map(cell).collect();
        println!("{:9} | {} | {peak}", self.records, cells.join(" | "));
    }

    /// Returns nanoseconds per record.
    fn each(&self, time: &Duration) -> f64 {
        time.as_secs_f64() * 1e9 / self.records as f64
    }

    /// Prints how much more a record costs in the largest vault than in the smallest, compared with
    /// n log n.
    fn growth(&self, largest: &Self) {
        let times = self.times.iter().zip(&largest.times);
        let factors: Vec<String> =
            times.map(|(few, many)| format!("{:13.2}", largest.each(many) / self.each(few))).collect();
        let logarithms = (largest.records as f64).ln() / (self.records as f64).ln();
        println!("dearer by | {} | n log n: {logarithms:.2}", factors.join(" | "));
    }
}

fn location(n: usize) -> Location {
    Location::new_unchecked("client", &format!("vault-{}", n % 10), &format!("account-{n:07}"))
}

fn written(names: &[Location]) -> Fallible<Stronghold> {
    let mut stronghold = Stronghold::new("bench")?;
    for name in names {
        stronghold.write(name, &VALUE, Labels::new(), Timestamp::from_millis(1_700_000_000_000))?;
    }
    Ok(stronghold)
}

fn shapes(stronghold: &Stronghold) -> Vec<Shape> {
    stronghold.shapes(&Scope::of(Selection::everything()), &Mapping::default())
}

/// A local sync, as `stronghold-snapshot` does it once both files are open.
fn merge(into: &mut Stronghold, from: &Stronghold) -> Fallible<u64> {
    let rules = PlanOptions { take: true, give: false, on_conflict: OnConflict::KeepBoth };
    let plan = plan(&shapes(into), &shapes(from), rules);
    let wanted: BTreeSet<EntryId> = plan.take.iter().map(Shape::entry).collect();
    let entries = from.export_mapped(&Selection::everything(), &Mapping::default(), &wanted)?;
    Ok(into.import(&entries, from.identity().device(), Timestamp::default(), |_, _, _| Ok(()))?.received)
}

/// Measures the time of `work`, without dropping its result.
fn timed<T>(work: impl FnOnce() -> Fallible<T>) -> Fallible<Duration> {
    let started = Instant::now();
    let result = work()?;
    let elapsed = started.elapsed();
    drop(black_box(result));
    Ok(elapsed)
}

fn least(runs: usize, mut run: impl FnMut() -> Fallible<Duration>) -> Fallible<Duration> {
    let mut best = run()?;
    for _ in 1..runs {
        best = best.min(run()?);
    }
    Ok(best)
}

/// Returns the peak memory of a process that opens this payload, and the shares of the payload and
/// the program.
fn peak(payload: &[u8]) -> Fallible<String> {
    let file = std::env::temp_dir().join(format!("stronghold-bench-{}", std::process::id()));
    fs::write(&file, payload)?;
    let output = Command::new(std::env::current_exe()?).env(OPEN, &file).output();
    fs::remove_file(&file)?;
    let text = String::from_utf8(output?.stdout)?;
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [peak, before] = numbers[..] else { return Ok("unknown".into()) };
    Ok(format!("{} MB, of that {} before", peak / 1000, before / 1000))
}

/// Returns a number from `/proc/self/status`; zero if it is missing.
fn kilobytes(field: &str) -> Fallible<u64> {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(field));
    Ok(line.and_then(|line| line.split_whitespace().nth(1)).map_or(Ok(0), str::parse)?)
}
