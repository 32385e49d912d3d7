//! Tests that the log holds every decision, by name, number and in readable words: what a peer
//! received, sent or was refused, what this device took, and who was revoked.

use crate::common::{DENIED, Device, Pair, trust_each_other};
use serde_json::Value;

/// An expected log line: operation, allowed, entries.
type Line = (&'static str, bool, u64);

/// Returns the decisions in a device's log, sorted by operation.
fn logged(device: &Device) -> Vec<(String, bool, u64)> {
    let entries = device.json(&["log"])["entries"].take();
    let line = |entry: &Value| {
        let operation = entry["operation"].as_str().unwrap().to_owned();
        (operation, entry["allowed"].as_bool().unwrap(), entry["entries"].as_u64().unwrap())
    };
    let mut lines: Vec<_> = entries.as_array().unwrap().iter().map(line).collect();
    lines.sort();
    lines
}

#[track_caller]
fn holds(device: &Device, expected: &[Line]) {
    let found = logged(device);
    let mut expected: Vec<(String, bool, u64)> =
        expected.iter().map(|(name, allowed, entries)| ((*name).to_owned(), *allowed, *entries)).collect();
    expected.sort();
    assert_eq!(found, expected);
}

/// Stops the server of `a`, which writes pending log entries, and checks its log.
#[track_caller]
fn responder_log_holds(pair: Pair, expected: &[Line]) {
    holds(&pair.stopped(), expected);
}

#[test]
fn what_a_peer_looked_at_or_took_away() {
    let pair = Pair::new();
    pair.grant(&["browse", "import", "pull"], "wallet/**");
    pair.b.ok(&["grant", "a", "push", "delete", "--select", "**"]);
    pair.ask(&["browse", "a"]);
    pair.ask(&["fetch", "a", "wallet/web/mail"]);
    pair.ask(&["clone", "a"]);
    // The first fetches one record by name, the second all of them.
    holds(&pair.b, &[("took", true, 1), ("took", true, 3)]);
    responder_log_holds(pair, &[("browse", true, 3), ("import", true, 3), ("pull", true, 1)]);
}

#[test]
fn what_a_peer_was_refused() {
    for request in [&["browse", "a"][..], &["fetch", "a", "wallet/web/mail"], &["clone", "a"], &["sync", "a"]]
    {
        let pair = Pair::new();
        pair.fails(request, DENIED);
        holds(&pair.b, &[]);
        let refused: &[Line] = match request[0] {
            "browse" => &[("browse", false, 0)],
            "fetch" => &[("pull", false, 0)],
            "clone" => &[("import", false, 0)],
            _ => &[("pull", false, 0)],
        };
        responder_log_holds(pair, refused);
    }
}

#[test]
fn what_was_pulled_pushed_and_deleted() {
    let pair = Pair::synced();
    pair.b.ok(&["remove", "wallet/web/shop"]);
    pair.b.put("wallet/web/mail", "edited there");
    pair.a.put("wallet/web/new", "made here");
    pair.sync(&[]);
    // The first sync took four.
    holds(&pair.b, &[("gave", true, 2), ("took", true, 5)]);
    // The first sync pulled four; then the new one, and two that `b` held in another revision and
    // did not want: what `b` may receive is logged before `b` learns of it.
    responder_log_holds(pair, &[("delete", true, 1), ("pull", true, 7), ("push", true, 1)]);
}

#[test]
fn what_was_taken_beyond_the_rules() {
    let pair = Pair::new();
    pair.grant(&["pull"], "**");
    pair.ask(&["sync", "a", "--pull", "--take", "--yes"]);
    pair.a.ok(&["remove", "wallet/web/shop"]);
    pair.ask(&["sync", "a", "--pull", "--take", "--yes"]);
    holds(&pair.b, &[("took", true, 4), ("took deletions", true, 1)]);
    responder_log_holds(pair, &[("pull", true, 5)]);
}

#[test]
fn a_rule_that_has_expired_or_was_taken_back_and_a_device_that_was_revoked() {
    let pair = Pair::synced();
    pair.a.ok(&["deny", "b"]);
    pair.fails(&["sync", "a"], DENIED);
    pair.a.ok(&["grant", "b", "browse", "--select", "**", "--expires", "1s"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    pair.fails(&["browse", "a"], DENIED);
    pair.a.ok(&["revoke", "b"]);
    let expected = [
        ("browse", false, 0),
        ("pull", false, 0),
        ("pull", true, 4),
        ("push", false, 0),
        ("push", true, 0),
        ("revoked", true, 0),
    ];
    responder_log_holds(pair, &expected);
}

#[test]
fn people_read_who_what_and_how_much() {
    let pair = Pair::new();
    trust_each_other((&pair.a, "a"), (&pair.b, "b"));
    pair.ask(&["browse", "a", "no/such/record"]);
    let text = pair.stopped().ok(&["log"]);
    assert!(text.ends_with("  b  allowed  browse on no/such/record  0 entries, 0 bytes\n"), "{text}");
}

#[test]
fn a_sync_that_finds_no_difference_is_logged_too() {
    let pair = Pair::synced();
    pair.sync(&[]);
    let entries = pair.stopped().json(&["log"])["entries"].take();
    let pulls: Vec<&Value> =
        entries.as_array().unwrap().iter().filter(|entry| entry["operation"] == "pull").collect();
    assert_eq!(pulls.len(), 1, "equal decisions of a day are one entry: {entries}");
    assert_eq!(crate::common::counts(pulls[0], ["count", "entries"]), [2, 4]);
}
