//! What a person is told and asked while a session runs.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use stronghold_net::{Attendant, GoOn};
use stronghold_sync::{DeviceId, Plan, message::Volume, session::Taken};

use crate::output::Output;

/// The attendant of a command: shows progress on a terminal, and says whether to go on with a plan.
pub(super) struct Progress {
    go_on: GoOn,
    output: Output,
    shown: bool,
    start: Instant,
    expected: u64,
    taken: u64,
}

impl Progress {
    pub(super) fn new(output: Output, go_on: GoOn) -> Self {
        Self { go_on, output, shown: output.shows_progress(), start: Instant::now(), expected: 0, taken: 0 }
    }

    /// Of a session in which the other side asks.
    pub(super) fn of_giver(output: Output) -> Self {
        Self::new(output, GoOn::Yes)
    }
}

/// A peer's snapshot is older than before: nothing is lost by it here, but its owner should know.
pub(super) fn warn_set_back(output: Output, peer: &DeviceId, found: u64, seen: u64) {
    let device = peer.fingerprint();
    output.note(&format!(
        "warning: the snapshot of {device} was set back: it is generation {found} and was {seen} before"
    ));
    output.note("hint: if nobody restored a backup there, someone put an old copy in its place");
}

impl Attendant for Progress {
    fn plan(&mut self, _: &Plan) -> GoOn {
        self.go_on
    }

    fn set_back(&mut self, peer: DeviceId, found: u64, seen: u64) {
        warn_set_back(self.output, &peer, found, seen);
    }

    fn expect(&mut self, volume: Volume) {
        self.expected = volume.entries;
    }

    fn taken(&mut self, taken: Taken) {
        self.taken += taken.received;
        let elapsed = self.start.elapsed();
        if !self.shown || elapsed < Duration::from_millis(500) {
            return;
        }
        let rate = self.taken as f64 / elapsed.as_secs_f64();
        let left = self.expected.saturating_sub(self.taken) as f64 / rate.max(1.0);
        let end = if self.taken >= self.expected { "\n" } else { "" };
        let _ = write!(
            io::stderr(),
            "\r{} of {} entries, {rate:.0} a second, {left:.0} s left {end}",
            self.taken,
            self.expected,
        );
    }
}
