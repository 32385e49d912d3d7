//! Provides two paired devices: `a` serves as the responder, and `b` is the initiator.

use std::process::Command;

use serde_json::Value;

use super::{DENIED, Device, Running, counts, paired, trust_each_other};

/// Locations of the entries that `a` has at first.
pub(crate) const ENTRIES: [&str; 4] =
    ["wallet/tokens/api", "wallet/web/mail", "wallet/web/shop", "work/web/mail"];

/// Error of an initiator whose request is denied.
pub(crate) const DENIAL: &str = "error: the peer does not permit it\n\
                          hint: ask for it there: stronghold grant THIS-DEVICE OPERATION --select SELECTION\n";

/// Two paired devices, with `a` serving.
pub(crate) struct Pair {
    pub(crate) a: Device,
    pub(crate) b: Device,
    pub(crate) address: String,
    serving: Running,
}

impl Pair {
    /// Creates the pair: `a` has [`ENTRIES`], `b` has no records, and no rule is granted.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let (a, b) = paired();
        ENTRIES.iter().for_each(|location| a.put(location, &format!("value of {location}")));
        Self::of(a, b)
    }

    /// Creates a pair as [`new`](Self::new) does, and lets each device do everything.
    #[track_caller]
    pub(crate) fn trusting() -> Self {
        let pair = Self::new();
        trust_each_other((&pair.a, "a"), (&pair.b, "b"));
        pair
    }

    /// Creates a pair as [`trusting`](Self::trusting) does, and syncs once.
    #[track_caller]
    pub(crate) fn synced() -> Self {
        let pair = Self::trusting();
        pair.sync(&[]);
        assert_eq!(pair.a.entries(), pair.b.entries());
        pair
    }

    #[track_caller]
    pub(crate) fn of(a: Device, b: Device) -> Self {
        let (serving, address) = a.serve();
        Self { a, b, address, serving }
    }

    /// Lets `b` do `operations` on `selection` at `a`.
    #[track_caller]
    pub(crate) fn grant(&self, operations: &[&str], selection: &str) {
        self.a.ok(&[&["grant", "b"], operations, &["--select", selection]].concat());
    }

    pub(crate) fn at<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [args, &["--at", &self.address]].concat()
    }

    /// Runs a request of `b` to `a`.
    #[track_caller]
    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        self.b.json(&self.at(args))
    }

    /// Runs a request of `b` to `a` that must fail with the code `exit` and change no entry of
    /// either.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], exit: i32) -> String {
        let before = (self.a.entries(), self.b.entries());
        let said = self.b.fails(&self.at(args), exit);
        assert!(before == (self.a.entries(), self.b.entries()), "{args:?} failed, and changed entries");
        said
    }

    /// Syncs `b` with `a`; returns received, sent, deleted, conflicts, unchanged.
    #[track_caller]
    pub(crate) fn sync(&self, args: &[&str]) -> [u64; 5] {
        summary(&self.ask(&[&["sync", "a"], args].concat()))
    }

    /// Waits until the server has ended `sessions` sessions and written their results.
    #[track_caller]
    pub(crate) fn has_answered(&mut self, sessions: usize) {
        (0..sessions).for_each(|_| while self.serving.event()["session"] != "done" {});
    }

    /// Stops the server, which writes pending log entries, and returns `a`.
    #[track_caller]
    pub(crate) fn stopped(self) -> Device {
        let stopped = Command::new("kill").arg(self.serving.id().to_string()).status().unwrap();
        assert!(stopped.success() && self.serving.end().exit == 0);
        self.a
    }

    /// Stops the server, and returns the log of `a`.
    #[track_caller]
    pub(crate) fn logged_at_the_end(self) -> Vec<Value> {
        self.stopped().json(&["log"])["entries"].as_array().unwrap().clone()
    }

    /// Syncs `b` with `a` where some entries wait for a rule (exit 7); returns the result.
    #[track_caller]
    pub(crate) fn sync_with_some_left(&self, args: &[&str]) -> Value {
        let args = [&["sync", "a", "--json"], args].concat();
        let done = self.b.run(&self.at(&args), b"");
        assert_eq!(done.exit, DENIED, "{}", done.stderr);
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// Lets `a` push and delete at `b`, so that `b` takes all entries of `a`.
    #[track_caller]
    pub(crate) fn trusting_b(self) -> Self {
        self.b.ok(&["grant", "a", "push", "delete", "--select", "**"]);
        self
    }

    /// Returns the last decision in the log of `a`.
    #[track_caller]
    pub(crate) fn logged(&self) -> Value {
        let entries = self.a.json(&["log"])["entries"].take();
        entries.as_array().unwrap().last().cloned().unwrap_or_default()
    }
}

#[track_caller]
/// Returns received, sent, deleted, in conflict, unchanged.
pub(crate) fn summary(done: &Value) -> [u64; 5] {
    let [bytes_in, bytes_out, round_trips] = counts(done, ["bytes_in", "bytes_out", "round_trips"]);
    assert!(bytes_in > 0 && bytes_out > 0 && round_trips > 0, "{done}");
    counts(done, ["received", "sent", "deleted", "conflicts", "unchanged"])
}
