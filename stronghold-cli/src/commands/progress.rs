//! Shows a session's progress and warnings to the user.

use std::time::{Duration, Instant};

use stronghold_net::{BoxFuture, PlanDecision, SessionHandler, SharedVault};
use stronghold_sync::{
    DeviceId, Plan, escape_untrusted,
    message::Volume,
    session::{Changes, Duplicate},
};

use crate::context::described;
use crate::error::{Failure, Kind};
use crate::output::Output;
use crate::waiting::Waiting;

/// Looks up the names of devices.
#[derive(Clone)]
pub(super) struct Names(SharedVault);

impl Names {
    pub(super) fn of_home(home: &SharedVault) -> Self {
        Self(home.clone())
    }

    pub(super) fn of(&self, device: &DeviceId) -> String {
        self.0.lock().stronghold().peers().name_of(device)
    }
}

/// Session handler of a command: shows progress on a terminal, and decides whether to proceed with
/// a plan.
pub(super) struct Progress {
    /// Set if the snapshot of either side was copied.
    pub(super) copied: Option<Duplicate>,
    names: Names,
    go_on: PlanDecision,
    output: Output,
    waiting: Waiting,
    /// Name of the peer, as it is shown.
    peer: String,
    /// Set if a person was asked at the peer.
    was_asked: bool,
    start: Instant,
    expected: u64,
    taken: u64,
}

impl Progress {
    /// Creates the handler of a session with the device called `peer`, by its name or id.
    pub(super) fn new(output: Output, home: &SharedVault, peer: &str, go_on: PlanDecision) -> Self {
        let peer = shown_name(home, peer);
        let waiting = Waiting::begin(output, format!("waiting for {peer}"), None);
        Self {
            copied: None,
            names: Names::of_home(home),
            go_on,
            output,
            waiting,
            peer,
            was_asked: false,
            start: Instant::now(),
            expected: 0,
            taken: 0,
        }
    }

    /// Converts the error of the session: where a rule asks a person, the next step is with them.
    pub(super) fn explain(&self, error: impl Into<Failure>) -> Failure {
        let failure = error.into();
        match failure.kind == Kind::Denied && self.was_asked {
            true => failure.hint(
                "a rule there asks a person, and nobody said yes in time: speak with them, and try again",
            ),
            false => failure,
        }
    }

    /// Shows progress in place of the previous line. Sending is timed from the end of receiving.
    fn show(&mut self, what: &str, done: u64, of: u64) {
        self.waiting.tell(line(what, done, of, self.start.elapsed()));
        if done >= of {
            self.start = Instant::now();
        }
    }
}

/// Warns that a peer's snapshot is older than before. Nothing is lost here, but its owner should
/// know.
pub(super) fn warn_set_back(output: Output, name: &str, peer: &DeviceId, found: u64, seen: u64) {
    let who = described(name, peer);
    output.note(&format!(
        "warning: the snapshot of {who} was set back: it is generation {found} and was {seen} before"
    ));
    output.note(
        "hint: if nobody restored a backup there, it is a copy, or someone put an old one in its place",
    );
}

/// Warns that two snapshots have one identity. Nothing is lost, but the two can't be granted,
/// revoked or told apart.
pub(super) fn warn_copied(output: Output, name: &str, peer: &DeviceId, whose: Duplicate) {
    let who = described(name, peer);
    match whose {
        Duplicate::Theirs => {
            output.warning(&format!(
                "warning: there are two snapshots of {who}, and both are in use: one is a copy of the other"
            ));
            output.note("hint: on the copy, `stronghold identity --renew`; then pair it with this device");
        }
        Duplicate::Ours => {
            output.warning(&format!(
                "warning: {who} has seen two snapshots of this device in use: one is a copy of the other"
            ));
            output.note("hint: on the copy, `stronghold identity --renew`; then pair it anew");
        }
    }
}

/// Returns the word for a copied snapshot's side in `--json`.
pub(super) fn whose_word(whose: Duplicate) -> &'static str {
    match whose {
        Duplicate::Theirs => "theirs",
        Duplicate::Ours => "ours",
    }
}

/// Returns the name of a device for people, if it is paired under this name or id.
pub(super) fn shown_name(home: &SharedVault, peer: &str) -> String {
    let home = home.lock();
    let found = home.stronghold().peers().find(peer);
    escape_untrusted(found.as_ref().map_or(peer, |(_, peer)| &peer.name))
}

impl SessionHandler for Progress {
    fn on_asking(&mut self, _: DeviceId) {
        self.was_asked = true;
        self.waiting.tell(format!("waiting: a person is asked on {}", self.peer));
    }

    fn review_plan(&mut self, _: &Plan) -> BoxFuture<PlanDecision> {
        Box::pin(std::future::ready(self.go_on))
    }

    fn on_rollback(&mut self, peer: DeviceId, found: u64, seen: u64) {
        warn_set_back(self.output, &self.names.of(&peer), &peer, found, seen);
    }

    fn on_duplicate(&mut self, peer: DeviceId, whose: Duplicate) {
        if self.copied.replace(whose).is_none() {
            warn_copied(self.output, &self.names.of(&peer), &peer, whose);
        }
    }

    fn on_incoming(&mut self, volume: Volume) {
        self.expected = volume.entries;
    }

    fn on_received(&mut self, taken: Changes) {
        self.taken += taken.received;
        self.show("received", self.taken, self.expected);
    }

    fn on_sent(&mut self, entries: u64, of: u64) {
        self.show("sent", entries, of);
    }
}

/// Formats the progress of a session as one line for a terminal.
fn line(what: &str, done: u64, of: u64, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64();
    let left = of.saturating_sub(done) as f64 / rate.max(1.0);
    format!("{what} {done} of {of} entries, {rate:.0} a second, {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Received entries add up over batches; sending is timed from the end of receiving.
    #[tokio::test]
    async fn progress_counts_batches_and_begins_anew_when_one_way_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let stronghold = stronghold_vault::Stronghold::new("own").unwrap();
        let slot = stronghold_snapshot::NewSlot::Key(&[7; 32]);
        let home = stronghold_snapshot::VaultFile::create(&folder.path().join("vault"), &[slot], stronghold);
        let home = SharedVault::new(home.unwrap());
        let mut progress =
            Progress::new(Output::new(true, true), &home, "peer", PlanDecision::ProceedWithDeletions);
        let begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        progress.start = begun;
        assert_eq!(progress.review_plan(&Plan::default()).await, PlanDecision::ProceedWithDeletions);
        progress.on_incoming(Volume { entries: 5, bytes: 0 });
        let taken = |received| Changes { received, deleted: 0, conflicts: 0 };
        progress.on_received(taken(2));
        progress.on_received(taken(2));
        assert_eq!((progress.taken, progress.start), (4, begun));
        progress.on_received(taken(1));
        assert!(progress.taken == 5 && progress.start > begun);
        progress.start = begun;
        progress.on_sent(1, 2);
        assert_eq!(progress.start, begun);
        progress.on_sent(2, 2);
        assert!(progress.start > begun);
        let peer = DeviceId::from_bytes([1; 32]);
        progress.on_duplicate(peer, Duplicate::Ours);
        progress.on_duplicate(peer, Duplicate::Theirs);
        assert_eq!(progress.copied, Some(Duplicate::Theirs), "the last");
        assert_eq!([Duplicate::Ours, Duplicate::Theirs].map(whose_word), ["ours", "theirs"]);
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long_yet() {
        let said = line("sent", 1_000, 4_000, Duration::from_secs(2));
        assert_eq!(said, "sent 1000 of 4000 entries, 500 a second, 6 s left");
        assert_eq!(
            line("received", 0, 0, Duration::from_secs(1)),
            "received 0 of 0 entries, 0 a second, 0 s left"
        );
    }
}
