//! Lets power fail at every call of a command, with the notes of the snapshots seen on the same
//! disk: what opens afterwards is never refused as rolled back.
//!
//! The worst that may be left is tried: of the snapshot only what was synced, of the notes all that
//! was written.

use std::{fs, path::PathBuf};

use super::disk::{Call, Fault, FaultyDevice, KEPT, RECORD};
use crate::common::{DECISION, NOT_FOUND};

/// Returns whether the change of the snapshot is on the disk once these calls are made: its bytes
/// are synced, and so is its name if it is a new file.
fn is_durable(calls: &[Call]) -> bool {
    let is_own = |call: &Call, name: &str| call.name == name && call.path.ends_with("/vault");
    let after = |from: usize, synced: &dyn Fn(&Call) -> bool| {
        calls[from..].iter().any(|call| call.name == "sync" && synced(call))
    };
    let named = calls.iter().rposition(|call| is_own(call, "rename") || is_own(call, "link"));
    let written = calls.iter().rposition(|call| is_own(call, "write"));
    match (named, written) {
        (Some(named), _) => {
            let folder = calls[named].path.trim_end_matches("/vault").to_owned();
            after(named, &|call| call.path == folder)
        }
        (None, Some(written)) => after(written, &|call| call.path.ends_with("/vault")),
        (None, None) => true,
    }
}

/// Returns the numbers of the calls that change something on the disk, or sync it.
fn changing(calls: &[Call]) -> Vec<usize> {
    let reads = ["stat", "open", "read", "find", "list", "lock"];
    (1..).zip(calls).filter(|(_, call)| !reads.contains(&&*call.name)).map(|(number, _)| number).collect()
}

/// The snapshot and the notes on it.
struct State {
    snapshot: Vec<u8>,
    notes: Vec<(PathBuf, Vec<u8>)>,
}

impl State {
    fn of(faulty: &FaultyDevice) -> Self {
        let folder = fs::read_dir(faulty.device.runtime().join("seen")).unwrap();
        let notes =
            folder.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap()));
        Self { snapshot: faulty.bytes(), notes: notes.collect() }
    }

    fn restore(&self, faulty: &FaultyDevice) {
        fs::write(faulty.device.snapshot(), &self.snapshot).unwrap();
        self.notes.iter().for_each(|(path, note)| fs::write(path, note).unwrap());
    }
}

/// Lets power fail after each call of a command in turn, on a record that was changed once.
fn walk(args: &[&str], stdin: &[u8], found: &[&str]) {
    let Some(faulty) = FaultyDevice::new().map(FaultyDevice::with_notes) else { return };
    faulty.device.put(RECORD, "old");
    let before = State::of(&faulty);
    let whole = faulty.run(args, stdin, Fault::NONE).calls;
    let noted = whole.iter().any(|call| call.name == "rename" && !call.path.ends_with("/vault"));
    assert!(noted && is_durable(&whole), "{args:?}: {whole:?}");
    let mut lost = 0;
    for at in changing(&whole) {
        before.restore(&faulty);
        let tried = faulty.run(args, stdin, Fault::once("kill-after").at(at));
        assert!(tried.calls.len() == at && tried.done.exit == -1, "{args:?}: {tried:?}");
        if !is_durable(&tried.calls) {
            fs::write(faulty.device.snapshot(), &before.snapshot).unwrap();
            lost += 1;
        }
        let read = faulty.device.get(RECORD);
        assert!(found.contains(&&*read), "{args:?}, call {at}: {read}");
        assert_eq!(faulty.device.get(KEPT), "kept");
    }
    assert!(lost > 0, "{args:?}: {whole:?}");
    // A change that was reported and is gone is noticed.
    before.restore(&faulty);
    assert_eq!(faulty.run(args, stdin, Fault::NONE).done.exit, 0);
    fs::write(faulty.device.snapshot(), &before.snapshot).unwrap();
    let refused = faulty.device.fails(&["get", RECORD], DECISION);
    assert!(refused.contains("was seen"), "{args:?}: {refused}");
}

#[test]
fn power_fails_at_every_call_of_a_change_that_is_appended() {
    walk(&["put", RECORD], b"new", &["old", "new"]);
}

#[test]
fn power_fails_at_every_call_of_a_change_that_writes_the_whole_file() {
    walk(&["purge", "--all", "--yes"], b"", &["old"]);
}

#[test]
fn power_fails_at_every_call_of_an_init() {
    let Some(first) = FaultyDevice::empty().map(FaultyDevice::with_notes) else { return };
    let init = ["init", "--name", "a"];
    for at in changing(&first.run(&init, b"", Fault::NONE).calls) {
        let faulty = FaultyDevice::empty().unwrap().with_notes();
        let tried = faulty.run(&init, b"", Fault::once("kill-after").at(at));
        if !is_durable(&tried.calls) {
            let _ = fs::remove_file(faulty.device.snapshot());
        }
        if !faulty.device.snapshot().exists() {
            faulty.device.fails(&["list"], NOT_FOUND);
            faulty.device.ok(&init);
        }
        faulty.device.put(RECORD, "after");
        assert_eq!(faulty.device.get(RECORD), "after");
    }
}
