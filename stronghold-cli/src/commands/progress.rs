//! What a person is told and asked while a session runs.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use stronghold_net::{Attendant, GoOn, SharedHome};
use stronghold_sync::{
    DeviceId, Plan,
    message::Volume,
    session::{Copied, Taken},
};

use super::described;
use crate::output::Output;

/// Says what the devices are called here.
#[derive(Clone)]
pub(super) struct Names(SharedHome);

impl Names {
    pub(super) fn of_home(home: &SharedHome) -> Self {
        Self(home.clone())
    }

    pub(super) fn of(&self, device: &DeviceId) -> String {
        self.0.lock().stronghold().peers().name_of(device)
    }
}

/// The attendant of a command: shows progress on a terminal, and says whether to go on with a plan.
pub(super) struct Progress {
    /// Whose snapshot was copied, where one was.
    pub(super) copied: Option<Copied>,
    names: Names,
    go_on: GoOn,
    output: Output,
    shown: bool,
    start: Instant,
    expected: u64,
    taken: u64,
}

impl Progress {
    pub(super) fn new(output: Output, home: &SharedHome, go_on: GoOn) -> Self {
        let (names, shown) = (Names::of_home(home), output.shows_progress());
        Self { copied: None, names, go_on, output, shown, start: Instant::now(), expected: 0, taken: 0 }
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
pub(super) fn warn_set_back(output: Output, name: &str, peer: &DeviceId, found: u64, seen: u64) {
    let who = described(name, peer);
    output.note(&format!(
        "warning: the snapshot of {who} was set back: it is generation {found} and was {seen} before"
    ));
    output.note(
        "hint: if nobody restored a backup there, it is a copy, or someone put an old one in its place",
    );
}

/// Two snapshots go by one identity: nothing is lost by it, but neither can be granted, revoked or told apart alone.
pub(super) fn warn_copied(output: Output, name: &str, peer: &DeviceId, whose: Copied) {
    let who = described(name, peer);
    match whose {
        Copied::Theirs => {
            output.warning(&format!(
                "warning: there are two snapshots of {who}, and both are in use: one is a copy of the other"
            ));
            output.note("hint: on the copy, `stronghold identity --renew`; then pair it with this device");
        }
        Copied::Ours => {
            output.warning(&format!(
                "warning: {who} has seen two snapshots of this device in use: one is a copy of the other"
            ));
            output.note("hint: on the copy, `stronghold identity --renew`; then pair it anew");
        }
    }
}

/// Whose snapshot was copied, as `--json` says it.
pub(super) fn whose_word(whose: Copied) -> &'static str {
    match whose {
        Copied::Theirs => "theirs",
        Copied::Ours => "ours",
    }
}

impl Attendant for Progress {
    fn plan(&mut self, _: &Plan) -> GoOn {
        self.go_on
    }

    fn set_back(&mut self, peer: DeviceId, found: u64, seen: u64) {
        warn_set_back(self.output, &self.names.of(&peer), &peer, found, seen);
    }

    fn copied(&mut self, peer: DeviceId, whose: Copied) {
        if self.copied.replace(whose).is_none() {
            warn_copied(self.output, &self.names.of(&peer), &peer, whose);
        }
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

    /// What is received is summed up over its batches, and sending is timed from where that has ended.
    #[test]
    fn progress_counts_batches_and_begins_anew_when_one_way_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let stronghold = stronghold_vault::Stronghold::new("own").unwrap();
        let slot = stronghold_snapshot::NewSlot::Key(&[7; 32]);
        let home = stronghold_snapshot::Home::create(&folder.path().join("vault"), &[slot], stronghold);
        let home = SharedHome::new(home.unwrap());
        let mut progress = Progress::new(Output::new(true, true), &home, GoOn::YesDeleting);
        let begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        progress.start = begun;
        assert_eq!(progress.plan(&Plan::default()), GoOn::YesDeleting);
        progress.expect(Volume { entries: 5, bytes: 0 });
        let taken = |received| Taken { received, deleted: 0, conflicts: 0 };
        progress.taken(taken(2));
        progress.taken(taken(2));
        assert_eq!((progress.taken, progress.start), (4, begun));
        progress.taken(taken(1));
        assert!(progress.taken == 5 && progress.start > begun);
        progress.start = begun;
        progress.given(1, 2);
        assert_eq!(progress.start, begun);
        progress.given(2, 2);
        assert!(progress.start > begun);
        let peer = DeviceId::from_bytes([1; 32]);
        progress.copied(peer, Copied::Ours);
        progress.copied(peer, Copied::Theirs);
        assert_eq!(progress.copied, Some(Copied::Theirs), "the last");
        assert_eq!([Copied::Ours, Copied::Theirs].map(whose_word), ["ours", "theirs"]);
    }

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
