//! Times, medians and peaks of memory.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// One task by one program: all runs, in its unit.
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) who: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) runs: Vec<f64>,
}

impl Row {
    pub(crate) fn json(&self) -> Value {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        json!({
            "work": self.work, "who": self.who, "unit": self.unit,
            "median": sorted[sorted.len() / 2], "runs": self.runs,
        })
    }
}

/// Adds a row and reports that it is done.
pub(crate) fn add(
    rows: &mut Vec<Row>,
    work: impl Into<String>,
    who: &'static str,
    unit: &'static str,
    runs: Vec<f64>,
) {
    let work = work.into();
    eprintln!("  {work}, {who}: {runs:.3?} {unit}");
    rows.push(Row { work, who, unit, runs });
}

/// Returns the milliseconds of `runs` runs. Excludes `prepare` and dropping the result of `run`.
pub(crate) fn milliseconds<P, R>(
    runs: usize,
    mut prepare: impl FnMut() -> Fallible<P>,
    mut run: impl FnMut(P) -> Fallible<R>,
) -> Fallible<Vec<f64>> {
    let one = |_| {
        let prepared = prepare()?;
        let start = Instant::now();
        let result = run(prepared)?;
        let elapsed = start.elapsed();
        drop(result);
        Ok(elapsed.as_secs_f64() * 1e3)
    };
    (0..runs).map(one).collect()
}

/// Returns megabytes (10^6) per second of this process's CPU time, for `runs` runs over `bytes`
/// bytes each.
pub(crate) fn per_cpu_second<P, R>(
    runs: usize,
    bytes: usize,
    mut prepare: impl FnMut() -> Fallible<P>,
    mut run: impl FnMut(P) -> Fallible<R>,
) -> Fallible<Vec<f64>> {
    let one = |_| {
        let prepared = prepare()?;
        let start = cpu_time();
        let result = run(prepared)?;
        let used = cpu_time() - start;
        drop(result);
        Ok(bytes as f64 / 1e6 / used.as_secs_f64())
    };
    (0..runs).map(one).collect()
}

pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the bytes that this process has handed to the system to write.
pub(crate) fn written() -> Fallible<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).ok_or("no wchar")?;
    Ok(line.trim().parse()?)
}

/// Prints a child's result: milliseconds, and the peak of its memory in kB.
pub(crate) fn child<R>(run: impl FnOnce() -> Fallible<R>) -> Fallible<()> {
    let start = Instant::now();
    let result = run()?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    println!("{milliseconds} {}", peak.trim().trim_end_matches("kB").trim());
    drop(result);
    Ok(())
}

/// Returns the milliseconds and megabytes (10^6) of `runs` children.
pub(crate) fn children(runs: usize, what: &str, file: &Path) -> Fallible<(Vec<f64>, Vec<f64>)> {
    let one = |_| {
        let output = Command::new(std::env::current_exe()?).arg(what).arg(file).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let text = String::from_utf8(output.stdout)?;
        let (milliseconds, peak) = text.trim().split_once(' ').ok_or("no two numbers")?;
        Ok((milliseconds.parse()?, peak.parse::<f64>()? * 1024.0 / 1e6))
    };
    let both: Fallible<Vec<(f64, f64)>> = (0..runs).map(one).collect();
    Ok(both?.into_iter().unzip())
}
