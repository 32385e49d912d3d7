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

    /// One line, over the one before. Giving begins where taking has ended.
    fn show(&mut self, what: &str, done: u64, of: u64) {
        let elapsed = self.start.elapsed();
        let is_over = done >= of;
        if self.shown && elapsed >= Duration::from_millis(500) {
            let end = if is_over { "\n" } else { "" };
            let _ = write!(io::stderr(), "\r{}{end}", line(what, done, of, elapsed));
        }
        if is_over {
            self.start = Instant::now();
        }
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
        self.show("received", self.taken, self.expected);
    }

    fn given(&mut self, entries: u64, of: u64) {
        self.show("sent", entries, of);
    }
}

/// How far a session is, as one line for a terminal.
fn line(what: &str, done: u64, of: u64, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64();
    let left = of.saturating_sub(done) as f64 / rate.max(1.0);
    format!("{what} {done} of {of} entries, {rate:.0} a second, {left:.0} s left ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long_yet() {
        let said = line("sent", 1_000, 4_000, Duration::from_secs(2));
        assert_eq!(said, "sent 1000 of 4000 entries, 500 a second, 6 s left ");
        assert_eq!(
            line("received", 0, 0, Duration::from_secs(1)),
            "received 0 of 0 entries, 0 a second, 0 s left "
        );
    }
}
