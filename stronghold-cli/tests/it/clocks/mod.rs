//! Tests that wrong clocks do no harm: two devices sync with any clocks, an expired rule stays
//! expired when the clock is set back, and a foreign time is shown as no later than its arrival.
//! Runs real commands with a shifted time of day.

use std::{
    path::Path,
    process::Command,
    sync::{LazyLock, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::common::{DENIED, Device, Ended, Running, paired, preloaded, trust_each_other};
use serde_json::Value;

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Realistic clock errors: behind and ahead, by hours, days and years.
static SHIFTS: LazyLock<Vec<i64>> =
    LazyLock::new(|| [HOUR, 2 * DAY, 10 * YEAR].into_iter().flat_map(|shift| [shift, -shift]).collect());

/// Builds a command with the time of day shifted by `seconds`.
fn shifted(device: &Device, args: &[&str], seconds: i64) -> Option<Command> {
    static LIBRARY: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    let library: &Path = LIBRARY.get_or_init(|| preloaded("clocks/clock.c")).as_deref()?;
    let mut command = device.command(args);
    command.env("LD_PRELOAD", library).env("CLOCK_SHIFT", seconds.to_string());
    Some(command)
}

fn run(device: &Device, args: &[&str], stdin: &str, seconds: i64) -> Option<Ended> {
    Some(Running::start(&mut shifted(device, args, seconds)?, stdin.as_bytes()).end())
}

fn serve(device: &Device, seconds: i64) -> Option<(Running, String)> {
    let mut command = shifted(device, &["serve", "--listen", "127.0.0.1:0", "--json"], seconds)?;
    let mut serving = Running::start(&mut command, b"");
    let address = serving.event()["listening"].as_str().unwrap().to_owned();
    Some((serving, address))
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn two_devices_sync_whatever_their_clocks_say() {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    for (index, shift) in SHIFTS.iter().enumerate() {
        // First the responder's clock is wrong, then the initiator's; each sends and receives an
        // entry.
        for (asked, asking) in [(*shift, 0), (0, *shift)] {
            let (from_a, from_b) = (format!("s/a/{index}-{asked}"), format!("s/b/{index}-{asking}"));
            let Some(done) = run(&a, &["put", &from_a], "of a", asked) else { return };
            assert_eq!(done.exit, 0, "{}", done.stderr);
            run(&b, &["put", &from_b], "of b", asking).unwrap();
            let (_serving, address) = serve(&a, asked).unwrap();
            let done = run(&b, &["sync", "a", "--at", &address], "", asking).unwrap();
            assert_eq!(done.exit, 0, "{asked} s against {asking} s: {}", done.stderr);
            assert_eq!((a.get(&from_b), b.get(&from_a)), ("of b".into(), "of a".into()));
        }
    }
    assert_eq!(a.entries(), b.entries());
}

#[test]
fn an_edit_by_a_clock_that_is_behind_replaces_what_it_was_made_on() {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    a.put("s/v/r", "first");
    let Some((serving, address)) = serve(&a, 0) else { return };
    b.ok(&["sync", "a", "--at", &address]);
    run(&b, &["put", "s/v/r"], "second", -10 * YEAR).unwrap();
    let done = run(&b, &["sync", "a", "--at", &address], "", -10 * YEAR).unwrap();
    assert_eq!(done.exit, 0, "{}", done.stderr);
    drop(serving);
    assert_eq!(a.values("s/v/r"), ["second"]);
    assert_eq!(a.get("s/v/r"), "second");
}

#[test]
fn a_rule_that_has_expired_stays_so_when_the_clock_is_set_back() {
    let (a, b) = paired();
    a.put("s/v/r", "value");
    a.ok(&["grant", "b", "pull", "--select", "**", "--expires", "1day"]);
    b.ok(&["grant", "a", "push", "delete", "--select", "**"]);
    let sync = |seconds: i64| {
        let (serving, address) = serve(&a, seconds)?;
        let done = b.run(&["sync", "a", "--at", &address], b"");
        let stopped = Command::new("kill").arg(serving.id().to_string()).status().unwrap();
        assert!(stopped.success() && serving.end().exit == 0);
        Some(done.exit)
    };
    let Some(before) = sync(0) else { return };
    assert_eq!(before, 0);
    assert_eq!(sync(2 * DAY), Some(DENIED), "it has expired");
    assert_eq!(sync(0), Some(DENIED), "the clock went back, and the rule came back with it");
    assert_eq!(sync(-10 * YEAR), Some(DENIED));
}

#[test]
fn a_foreign_time_is_shown_as_no_later_than_it_came() {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    let Some(_) = run(&b, &["put", "s/v/r"], "from ahead", 10 * YEAR) else { return };
    let (_serving, address) = a.serve();
    b.ok(&["sync", "a", "--at", &address]);
    let listed = a.json(&["list"]);
    let shown = |object: &Value| object["modified"].as_u64().unwrap();
    assert!(shown(&listed["entries"][0]) <= now(), "{listed}");
    let history = a.json(&["history", "s/v/r"]);
    assert!(shown(&history["revisions"][0]) <= now(), "{history}");
    // A later edit here is shown, not the one dated a year ahead.
    a.put("s/v/r", "edited here");
    assert_eq!(a.get("s/v/r"), "edited here");
}
