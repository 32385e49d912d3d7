//! An ordinary user's limits: many vaults fit into the mappings and locked memory of a process, and
//! keys work if locking is refused. Each test runs itself again as another user and under limits,
//! which only root can do; otherwise it is skipped.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::{
    fs,
    process::{Command, Output},
};

use stronghold_sync::Location;
use stronghold_vault::{Labels, Stronghold, locked_memory_status};

const NOBODY: &str = "65534";

/// Runs one of the ignored tests as `nobody` with a limit of `memlock` locked bytes. Skips it with
/// a message if that is impossible.
fn run_as_nobody(test: &str, memlock: u64) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: {test} needs root, to become another user");
        return;
    }
    let limit = format!("--memlock={memlock}:{memlock}");
    let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    let started = Command::new("prlimit")
        .args([&limit, "setpriv", &user, &group, "--clear-groups"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .output();
    let Ok(Output { status, stdout, stderr }) = started else {
        eprintln!("SKIPPED: {test} needs the commands prlimit and setpriv");
        return;
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && stdout.contains("1 passed"), "{status}\n{stdout}\n{stderr}");
}

/// Returns a number from `/proc/self/status`, in kB.
fn status(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Returns the n-th location, a hundred records to a vault.
fn location(n: u32) -> Location {
    format!("client-{}/vault-{:03}/record-{n}", n / 10_000, n / 100 % 1000).parse().unwrap()
}

#[test]
fn many_vaults_stay_within_the_limits_of_an_ordinary_user() {
    run_as_nobody("limits::as_nobody_a_hundred_thousand_records_in_a_thousand_vaults", 8 << 20);
}

#[test]
#[ignore = "run by many_vaults_stay_within_the_limits_of_an_ordinary_user"]
fn as_nobody_a_hundred_thousand_records_in_a_thousand_vaults() {
    const RECORDS: u32 = 100_000;
    let mut vault = Stronghold::new("many").unwrap();
    for n in 0..RECORDS {
        vault.write(&location(n), &n.to_le_bytes(), Labels::new(), crate::common::ms(1)).unwrap();
    }
    let opened = Stronghold::from_payload(&vault.to_payload().unwrap()).unwrap();
    for n in (0..RECORDS).step_by(97) {
        assert_eq!(**opened.read(&location(n)).unwrap().revision.value, n.to_le_bytes());
    }
    let held = locked_memory_status();
    assert_eq!((held.refusal.clone(), held.unlocked), (None, 0));
    assert_eq!(held.keys, 2002, "a thousand vaults and an identity, twice in memory");
    assert!(status("VmLck:") <= 8 << 10, "{} kB are locked", status("VmLck:"));
    assert!(mappings() < 1000, "{} mappings, of 65,530 that a process may have", mappings());
    eprintln!("{held:?}, {} kB locked, {} mappings", status("VmLck:"), mappings());
}

#[test]
fn keys_work_where_nothing_may_be_locked() {
    run_as_nobody("limits::as_nobody_who_may_lock_nothing", 0);
}

#[test]
#[ignore = "run by keys_work_where_nothing_may_be_locked"]
fn as_nobody_who_may_lock_nothing() {
    let mut vault = Stronghold::new("unlocked").unwrap();
    for n in 0..300 {
        vault.write(&location(100 * n), b"value", Labels::new(), crate::common::ms(1)).unwrap();
    }
    assert_eq!(**vault.read(&location(100)).unwrap().revision.value, b"value"[..]);
    let held = locked_memory_status();
    assert_eq!((held.keys, held.locked), (301, 0), "of the vaults, and the identity");
    assert!(held.unlocked >= 300 * 32);
    let reason = held.refusal.unwrap_or_default();
    assert!(reason.contains("mlock"), "{reason}");
}
