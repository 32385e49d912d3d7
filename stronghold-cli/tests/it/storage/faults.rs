//! Lets every call of a commit fail, or kills the process there, one call after the other.

use super::disk::{Call, Fault, FaultyDevice, FaultyRun, KEPT, RECORD};
use crate::common::{Ended, NOT_FOUND, STORAGE};

/// Upper bound on the calls of a command; beyond it the walk does not end.
const FAR: usize = 500;

/// Runs `check` for each call of `put` that `fault` hits, each time on a snapshot that holds `old
/// N`.
fn walk_put(fault: Fault, check: impl Fn(&FaultyDevice, &FaultyRun, &Before)) {
    let Some(faulty) = FaultyDevice::new() else { return };
    for at in 1..FAR {
        let old = format!("old {at}");
        // This put also is the next writer after the previous fault: it succeeds and cleans up.
        faulty.device.put(RECORD, &old);
        assert!(faulty.leftovers().is_empty(), "{:?} before call {at} of {fault:?}", faulty.leftovers());
        let before = Before { bytes: faulty.bytes(), old, new: format!("new {at}") };
        let tried = faulty.run(&["put", RECORD], before.new.as_bytes(), fault.at(at));
        if tried.calls.len() < at {
            assert!(tried.done.exit == 0 && at > 20, "the walk of {fault:?} ended at call {at}: {tried:?}");
            return;
        }
        check(&faulty, &tried, &before);
        assert_eq!(faulty.device.get(KEPT), "kept");
    }
    panic!("{fault:?} never let `put` end");
}

struct Before {
    bytes: Vec<u8>,
    old: String,
    new: String,
}

impl Before {
    /// Asserts that the file reads as the new generation, or as the old one, of which every byte is
    /// in its place. Returns whether it is the new one.
    fn is_replaced(&self, faulty: &FaultyDevice, tried: &FaultyRun) -> bool {
        let found = faulty.device.get(RECORD);
        let replaced = found == self.new;
        assert!(replaced || found == self.old, "{found}: {tried:?}");
        assert!(replaced || faulty.bytes().starts_with(&self.bytes), "{tried:?}");
        replaced
    }
}

/// Checks whether a call may fail without harm: the note in the lock, and cleaning up.
fn is_harmless(call: &Call) -> bool {
    let name = call.name.as_str();
    ["list", "remove"].contains(&name)
        || (call.path == ".vault.lock" && ["write", "truncate"].contains(&name))
}

/// Checks whether a call opens or syncs the folder, which happens only after the rename.
fn is_of_folder(call: &Call) -> bool {
    call.path == "." && ["open", "sync"].contains(&call.name.as_str())
}

fn check_failing(faulty: &FaultyDevice, tried: &FaultyRun, before: &Before) {
    let replaced = before.is_replaced(faulty, tried);
    let faulted = tried.faulted();
    if tried.done.exit == 0 {
        assert!(replaced, "success, and the file is the old one: {tried:?}");
        assert!(faulted.iter().all(|call| is_harmless(call)), "success after {faulted:?}");
        return;
    }
    let first = faulted.iter().find(|call| !is_harmless(call)).unwrap();
    // Where what was written could not be taken back, the message leaves it open.
    let is_open = tried.done.stderr.contains("may be in the snapshot or not");
    let expected = is_open || is_of_folder(first);
    assert_eq!(replaced, expected, "the file was replaced, or not, before {first:?}: {tried:?}");
    says_why(&tried.done, first, replaced);
}

/// Checks that the exit code is that of storage, and that the message states the cause, the state
/// of the data and the remedy.
fn says_why(done: &Ended, failed: &Call, replaced: bool) {
    let said = &done.stderr;
    assert_eq!(done.exit, STORAGE, "{failed:?}: {said}");
    assert!(done.stdout.is_empty() && said.starts_with("error: "), "{failed:?}: {said}");
    let cause = match failed.fault.as_deref() {
        Some("EIO") => "Input/output error",
        Some("EACCES") => "Permission denied",
        _ => "No space left on device",
    };
    assert!(said.contains(cause), "{failed:?}: {said}");
    let unchanged = said.contains("the snapshot is as it was before");
    assert!(said.contains("\nhint: ") && unchanged != replaced, "{failed:?}, replaced: {replaced}: {said}");
}

#[test]
fn every_call_of_a_put_fails_with_an_io_error() {
    walk_put(Fault::once("EIO"), check_failing);
    walk_put(Fault::sticky("EIO"), check_failing);
}

#[test]
fn every_call_of_a_put_finds_no_space() {
    walk_put(Fault::once("ENOSPC"), check_failing);
    walk_put(Fault::sticky("ENOSPC"), check_failing);
}

#[test]
fn every_call_of_a_put_is_not_permitted() {
    walk_put(Fault::once("EACCES"), check_failing);
    walk_put(Fault::sticky("EACCES"), check_failing);
}

/// A short write is continued; a write cut short by a full disk fails.
#[test]
fn every_write_of_a_put_is_short() {
    walk_put(Fault::once("short"), |faulty, tried, before| {
        assert_eq!(tried.done.exit, 0, "{tried:?}");
        assert!(before.is_replaced(faulty, tried));
    });
    walk_put(Fault::once("full"), check_failing);
}

#[test]
fn a_put_is_killed_at_every_call() {
    for kind in ["kill-before", "kill-after", "kill-half"] {
        walk_put(Fault::once(kind), check_killed);
    }
}

fn check_killed(faulty: &FaultyDevice, tried: &FaultyRun, before: &Before) {
    let replaced = before.is_replaced(faulty, tried);
    let killed = !tried.faulted().is_empty();
    // Only a write can be cut in half; a success must have been one.
    assert_eq!(tried.done.exit, if killed { -1 } else { 0 }, "{tried:?}");
    assert!(killed || replaced, "{tried:?}");
}

/// A read error is never reported as an empty or partial value.
#[test]
fn every_call_of_a_get_fails() {
    let Some(faulty) = FaultyDevice::new() else { return };
    for fault in ["EIO", "EACCES"].into_iter().flat_map(|kind| [Fault::once(kind), Fault::sticky(kind)]) {
        for at in 1.. {
            let tried = faulty.run(&["get", RECORD], b"", fault.at(at));
            if tried.faulted().is_empty() {
                assert_eq!((tried.done.exit, &*tried.done.stdout), (0, &b"first"[..]));
                assert!(at > 3);
                break;
            }
            let said = &tried.done.stderr;
            assert_eq!((tried.done.exit, &*tried.done.stdout), (STORAGE, &b""[..]), "{tried:?}");
            assert!(said.contains("\nhint: ") && !said.contains("no snapshot"), "{said}");
        }
    }
}

/// `init` leaves a whole snapshot or none, and its leftovers do not block the next try.
#[test]
fn every_call_of_an_init_fails_or_is_the_last() {
    let kinds =
        ["EIO", "ENOSPC", "EACCES"].into_iter().flat_map(|kind| [Fault::once(kind), Fault::sticky(kind)]);
    let kills = ["full", "kill-before", "kill-after", "kill-half"].map(Fault::once);
    for fault in kinds.chain(kills) {
        for at in 1.. {
            let Some(faulty) = FaultyDevice::empty() else { return };
            let tried = faulty.run(&["init", "--name", "a"], b"", fault.at(at));
            if tried.calls.len() < at {
                assert!(tried.done.exit == 0 && at > 10, "{tried:?}");
                break;
            }
            check_created(&faulty, &tried);
        }
    }
}

fn check_created(faulty: &FaultyDevice, tried: &FaultyRun) {
    if faulty.device.snapshot().exists() {
        faulty.device.ok(&["verify"]);
    } else {
        assert_ne!(tried.done.exit, 0, "{tried:?}");
        faulty.device.fails(&["list"], NOT_FOUND);
        faulty.device.ok(&["init", "--name", "a"]);
    }
    faulty.device.put(RECORD, "after");
    assert!(faulty.leftovers().is_empty(), "{:?} after {tried:?}", faulty.leftovers());
    assert!([0, STORAGE, -1].contains(&tried.done.exit), "{tried:?}");
}
