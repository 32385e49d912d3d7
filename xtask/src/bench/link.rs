//! Runs `bench link`: a sync over a link of 50 ms each way and 1 Mbit/s, compared with a formula:
//! round trips times delay, plus bytes divided by rate. Two devices hold 100,000 entries, and each
//! side changed fifty: a difference of a hundred.
//!
//! The round trips are one for the TLS handshake, whose first flight also carries the knock (TCP's
//! own handshake ends at the link), and those that the session counts: each message that was waited
//! for, including the last confirmation. A round trip takes the delay twice. The bytes are those of
//! both directions, one after the other. Time beyond the formula is local work on both sides:
//! starting, opening the vaults, comparing and writing.

use std::time::Duration;

use serde_json::json;

use super::{at_most, median, range, show_goals};
use crate::{
    Result,
    cargo::{build_stronghold, write_bench},
    lab::{DevicePair, Link, Pace, Run, Secret, change},
};

const ENTRIES: usize = 100_000;
const EACH: usize = 50;
const RUNS: usize = 5;
/// 1 Mbit/s, in bytes per second.
const RATE: u32 = 125_000;
const DELAY: Duration = Duration::from_millis(50);
/// Round trips for the knock and the TLS handshake.
const HANDSHAKE: u64 = 1;
const GOAL: f64 = 1.5;

pub(crate) fn run() -> Result<()> {
    let program = build_stronghold()?;
    let folder = tempfile::tempdir()?;
    println!("two devices of {ENTRIES} entries: this takes a while");
    let two = DevicePair::new(&program, folder.path(), Secret::Key, ENTRIES)?;
    let mut changes = Changes { two: &two, next: 0 };
    let bare = changes.synced(None)?;
    let slow = changes.synced(Some(DELAY))?;
    let halved = changes.synced(Some(DELAY / 2))?;

    println!("\n`sync` of {ENTRIES} entries, {EACH} changed on each side; {RUNS} runs each");
    println!(
        "{:<42} {:>8} {:>17} {:>8} {:>6} {:>9} {:>6}",
        "", "ms", "range", "bytes", "trips", "formula", "ratio"
    );
    let rows = [
        row("loopback, no link", None, &bare),
        row("50 ms each way (100 ms a round trip)", Some(DELAY), &slow),
        row("25 ms each way (50 ms a round trip)", Some(DELAY / 2), &halved),
    ];
    let ratio = rows[1]["ratio"].as_f64().unwrap_or(f64::NAN);
    let goals = [at_most("50 ms each way, 1 Mbit/s: time / formula", GOAL, ratio)];
    show_goals(&goals);
    write_bench("link", &json!({ "rows": rows, "goals": goals }))
}

/// Two devices; each run changes another fifty entries on each of them.
struct Changes<'a> {
    two: &'a DevicePair,
    next: usize,
}

impl Changes<'_> {
    /// Syncs over a link with this delay, or directly for `None`. A first sync is not counted,
    /// because the phone stores the new address.
    fn synced(&mut self, delay: Option<Duration>) -> Result<Vec<Run>> {
        let target = self.two.address.parse()?;
        let link = delay.map(|delay| Link::to(target, Pace { delay, rate: RATE })).transpose()?;
        let at = link.as_ref().map_or(target, Link::address).to_string();
        self.sync(&at)?;
        (0..RUNS).map(|_| self.sync(&at)).collect()
    }

    fn sync(&mut self, at: &str) -> Result<Run> {
        for device in [&self.two.laptop, &self.two.phone] {
            change(device, self.next..self.next + EACH, 1)?;
            self.next += EACH;
        }
        let run = self.two.sync_with(&self.two.serve()?, at)?;
        if (run.received, run.sent) == (EACH as u64, EACH as u64) {
            return Ok(run);
        }
        Err(format!("{EACH} differed on each side, but {} came and {} went", run.received, run.sent).into())
    }
}

/// Returns the time of a sync by the formula, in milliseconds.
fn formula(run: &Run, delay: Duration) -> f64 {
    let trips = delay.as_secs_f64() * 2.0 * (HANDSHAKE + run.round_trips) as f64;
    let bytes = Pace { delay, rate: RATE }.time_of(run.bytes);
    (trips + bytes.as_secs_f64()) * 1e3
}

/// Prints a row and returns it.
fn row(work: &str, delay: Option<Duration>, runs: &[Run]) -> serde_json::Value {
    let times: Vec<f64> = runs.iter().map(|run| run.milliseconds).collect();
    let [least, most] = range(&times);
    let time = median(times.iter().copied());
    let bytes = median(runs.iter().map(|run| run.bytes as f64));
    let trips = runs.iter().map(|run| HANDSHAKE + run.round_trips).max();
    let expected = delay.map(|delay| median(runs.iter().map(|run| formula(run, delay))));
    let ratio = expected.map(|expected| time / expected);
    let shown =
        |number: Option<f64>, digits| number.map_or("-".into(), |number| format!("{number:.digits$}"));
    println!(
        "{work:<42} {time:>8.1} {:>17} {bytes:>8} {:>6} {:>9} {:>6}",
        format!("{least:.1} - {most:.1}"),
        trips.unwrap_or_default(),
        shown(expected, 1),
        shown(ratio, 2),
    );
    json!({ "work": work, "milliseconds": times, "median": time, "bytes": bytes, "round_trips": trips, "formula": expected, "ratio": ratio })
}
