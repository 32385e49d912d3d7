//! Measures a server's memory and open files, as the system counts them.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

/// Number of connections after which all one-time allocations are done.
const FIRST: usize = 100;
const SAMPLE: Duration = Duration::from_millis(20);
/// Maximum wait for a level, longer than a handshake may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A watched process, by id.
pub(crate) struct Watched(u32);

/// Resource usage of a process at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level {
    /// Resident memory, in kB.
    pub(crate) memory: u64,
    pub(crate) files: u64,
}

/// Resource usage during a flood.
#[derive(Debug)]
pub(crate) struct Levels {
    /// The highest level until the first hundred connections were over.
    pub(crate) first: Level,
    pub(crate) peak: Level,
}

impl Level {
    fn most(self, other: Self) -> Self {
        Self { memory: self.memory.max(other.memory), files: self.files.max(other.files) }
    }
}

impl Watched {
    pub(crate) fn new(process: u32) -> Self {
        Self(process)
    }

    pub(crate) fn now(&self) -> Level {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let memory = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        let files = fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().count() as u64;
        Level { memory, files }
    }

    /// Returns the process's peak resident memory, in kB.
    pub(crate) fn most(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Returns the level shortly after the last connection.
    pub(crate) fn settled(&self) -> Level {
        sleep(Duration::from_millis(500));
        self.now()
    }

    /// Waits until the level satisfies `is_so` or a time-out; returns the level.
    pub(crate) fn wait_for_level(&self, is_so: impl Fn(Level) -> bool) -> Level {
        let deadline = Instant::now() + TIMEOUT;
        while !is_so(self.now()) && Instant::now() < deadline {
            sleep(SAMPLE);
        }
        self.now()
    }

    /// Records the levels from `before` until `is_over`, with `done` as the count of finished
    /// connections. A short flood may be over before the first look.
    pub(crate) fn until(&self, before: Level, is_over: &AtomicBool, done: &AtomicUsize) -> Levels {
        let mut levels = Levels { first: before, peak: before };
        while !is_over.load(Relaxed) {
            let now = self.now();
            levels.peak = levels.peak.most(now);
            if done.load(Relaxed) <= FIRST {
                levels.first = levels.first.most(now);
            }
            sleep(SAMPLE);
        }
        levels
    }
}
