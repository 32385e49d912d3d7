//! Kills `put` with `kill -9` at random moments: each time the file opens and holds what was
//! acknowledged.
//!
//! `cargo xtask crash` runs this for longer, with other `kills` and `seed`.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use stronghold_snapshot::Inspection;

use super::disk::{KEPT, RECORD, leftovers};
use crate::{common::Device, effort};

/// Number of kills at full effort.
const KILLS: u64 = 300;

/// A xorshift generator: random enough for moments, and reproducible from its seed.
pub(crate) struct Moments(u64);

impl Moments {
    /// Seeds the generator with the given `seed`, or else the clock, and prints the seed.
    pub(crate) fn new(what: &str) -> Self {
        let clock = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = effort::given("seed").unwrap_or(clock).max(1);
        println!("{what}: seed {seed}");
        Self(seed)
    }

    /// Returns a random moment before `end`.
    pub(crate) fn before(&mut self, end: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        end.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// Counts the outcomes of the kills.
#[derive(Debug, Default)]
struct KillCounts {
    /// The put had already ended.
    acknowledged: u64,
    /// The put was killed, and the file held the old value.
    old: u64,
    /// The put was killed, and the file held the new value.
    new: u64,
    /// The put was killed and left a temporary file, which the next writer removed.
    leftovers: u64,
}

#[test]
fn killed_at_random_moments() {
    let kills = effort::count("kills", KILLS);
    let mut moments = Moments::new("kill -9 while putting");
    let device = Device::new("a");
    device.put(KEPT, "kept");
    device.put(RECORD, "0");
    // The span goes a little beyond the usual end, so that the last steps are hit as often as the
    // first.
    let span = typical(&device).mul_f64(1.1);
    let (mut known, mut counts) = (String::from("0"), KillCounts::default());
    for turn in 1..=kills {
        known = kill_one(&device, known, turn, moments.before(span), &mut counts);
        if turn % 50 == 0 || turn == kills {
            check_all(&device, &known);
            known = String::from("0");
            device.put(RECORD, &known);
            assert!(leftovers(device.folder()).is_empty(), "{:?}", leftovers(device.folder()));
        }
    }
    println!("kill -9 while putting: {kills} kills in {span:?} each: {counts:?}");
    assert!(
        counts.old > 0 && counts.new + counts.acknowledged > 0,
        "the moments miss the commit: {counts:?}"
    );
}

/// Measures how long a `put` takes on this machine.
fn typical(device: &Device) -> Duration {
    let mut times: Vec<_> = (0..9)
        .map(|_| {
            let start = Instant::now();
            device.put(RECORD, "0");
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Starts a put of another value and kills it; returns the value that is stored then.
fn kill_one(device: &Device, old: String, turn: u64, moment: Duration, counts: &mut KillCounts) -> String {
    let new = turn.to_string();
    let before = committed(device);
    let mut putting = device.start(&["put", RECORD], new.as_bytes());
    thread::sleep(moment);
    putting.kill();
    let done = putting.end();
    assert!([0, -1].contains(&done.exit), "{done:?}");
    let found = device.get(RECORD);
    counts.leftovers += u64::from(!leftovers(device.folder()).is_empty());
    match done.exit {
        0 => counts.acknowledged += 1,
        _ if found == new => counts.new += 1,
        _ => {
            counts.old += 1;
            let after = fs::read(device.snapshot()).unwrap();
            assert!(after.starts_with(&before), "turn {turn}: what was committed has changed");
        }
    }
    assert!(
        found == new || (done.exit != 0 && found == old),
        "turn {turn}: {found:?} after {old:?}: {done:?}"
    );
    found
}

/// Returns the file without what a killed put left behind its last change.
fn committed(device: &Device) -> Vec<u8> {
    let unfinished = Inspection::of(&device.snapshot()).unwrap().unfinished;
    let mut bytes = fs::read(device.snapshot()).unwrap();
    bytes.truncate(bytes.len() - unfinished as usize);
    bytes
}

fn check_all(device: &Device, known: &str) {
    device.ok(&["verify"]);
    assert_eq!((device.get(KEPT).as_str(), device.get(RECORD).as_str()), ("kept", known));
}
