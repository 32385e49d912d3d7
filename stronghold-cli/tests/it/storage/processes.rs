//! Tests many concurrent writers while the holder of the lock is killed: no acknowledged write is
//! lost.
//!
//! `cargo xtask crash` runs more of the same, with other `processes` and `puts`.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::{
    disk::{Fault, FaultyDevice, RECORD, leftovers},
    kills::Moments,
};
use crate::{
    common::{Device, IN_USE, Running},
    effort,
};

/// Concurrent processes in the test suite, and puts of each: fewer leave no lock holder to kill.
const PROCESSES: u64 = 8;
const PUTS: u64 = 20;

/// The running processes by id, and counts of how they ended.
#[derive(Default)]
struct Shared {
    running: Mutex<HashMap<u32, Running>>,
    killed: AtomicU64,
    timed_out: AtomicU64,
    ended: AtomicBool,
}

#[test]
fn many_at_once_with_the_lock_holder_killed_in_between() {
    let (processes, puts) =
        (effort::given("processes").unwrap_or(PROCESSES), effort::given("puts").unwrap_or(PUTS));
    let device = Device::new("a");
    let (key, folder) = (device.key_file(), device.folder().to_owned());
    let shared = Shared::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processes)
            .map(|worker| {
                let (shared, key, folder) = (&shared, &key, &folder);
                scope.spawn(move || (0..puts).for_each(|put| work(shared, folder, key, worker, put)))
            })
            .collect();
        let killer = scope.spawn(|| kill_holders(&shared, &folder));
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        shared.ended.store(true, SeqCst);
        killer.join().unwrap();
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    check(&device, processes, puts);
    let (killed, timed_out) = (shared.killed.load(SeqCst), shared.timed_out.load(SeqCst));
    println!(
        "{processes} processes x {puts} puts: all there; {killed} lock holders killed, {timed_out} waited in vain"
    );
    assert!(killed > 0, "no lock holder was killed");
}

fn record(worker: u64, put: u64) -> String {
    format!("s/v/{worker:03}-{put:03}")
}

/// Runs one put, repeatedly until it is acknowledged.
fn work(shared: &Shared, folder: &std::path::Path, key: &str, worker: u64, put: u64) {
    let (record, snapshot) = (record(worker, put), folder.join("vault"));
    loop {
        let mut command = crate::common::stronghold();
        command
            .args(["put", &record, "--lock-timeout", "60", "--key-file", key, "--snapshot"])
            .arg(&snapshot);
        let running = Running::start(&mut command, record.as_bytes());
        let id = running.id();
        shared.running.lock().unwrap().insert(id, running);
        let done = wait(shared, id);
        match done.exit {
            0 => return,
            -1 => {} // it held the lock and was killed
            IN_USE => {
                shared.timed_out.fetch_add(1, SeqCst);
            }
            _ => panic!("{done:?}"),
        }
    }
}

/// Waits without holding the table's lock, so that the killer has access.
fn wait(shared: &Shared, id: u32) -> crate::common::Ended {
    loop {
        let mut running = shared.running.lock().unwrap();
        if running.get_mut(&id).unwrap().has_ended() {
            let ended = running.remove(&id).unwrap();
            drop(running);
            return ended.end();
        }
        drop(running);
        thread::sleep(Duration::from_millis(3));
    }
}

/// Kills the process noted in the lock, now and then. The table holds only processes that these
/// tests started.
fn kill_holders(shared: &Shared, folder: &std::path::Path) {
    let mut moments = Moments::new("kill -9 of lock holders");
    while !shared.ended.load(SeqCst) {
        thread::sleep(moments.before(Duration::from_millis(200)));
        for _ in 0..200 {
            let note = fs::read_to_string(folder.join(".vault.lock")).unwrap_or_default();
            let Ok(id) = note.trim().parse() else { continue };
            if let Some(holder) = shared.running.lock().unwrap().get_mut(&id) {
                holder.kill();
                shared.killed.fetch_add(1, SeqCst);
                break;
            }
        }
    }
}

fn check(device: &Device, processes: u64, puts: u64) {
    let mut expected: Vec<_> =
        (0..processes).flat_map(|worker| (0..puts).map(move |put| record(worker, put))).collect();
    expected.sort();
    assert_eq!(device.locations(), expected);
    for record in expected.iter().step_by(expected.len() / 16 + 1) {
        assert_eq!(device.get(record), *record);
    }
    device.ok(&["verify"]);
    device.put(RECORD, "after");
    assert!(leftovers(device.folder()).is_empty(), "{:?}", leftovers(device.folder()));
}

#[test]
fn waiting_in_vain_names_the_process_that_holds_the_lock() {
    let Some(faulty) = FaultyDevice::new() else { return };
    let calls = faulty.run(&["put", RECORD], b"x", Fault::NONE).calls;
    // The holder stops once it has written its id into the lock, before it writes anything else.
    let at = 2 + calls.iter().rposition(|call| call.path == ".vault.lock" && call.name == "write").unwrap();
    let mut holder = faulty.start(&["put", RECORD], b"of the holder", Fault::once("stop").at(at));
    while faulty.calls().len() < at {
        assert!(!holder.has_ended());
        thread::sleep(Duration::from_millis(2));
    }
    let before = faulty.bytes();
    for wait in ["0", "1"] {
        let done = faulty.device.run(&["put", RECORD, "--lock-timeout", wait], b"of the other");
        let expected = format!(
            "error: the snapshot is in use by process {}; nothing was changed\n\
             hint: wait for the other process to finish, then try again\n",
            holder.id()
        );
        assert_eq!((done.exit, done.stderr), (IN_USE, expected));
    }
    assert_eq!(faulty.device.get(RECORD), "x", "reading waits for nobody");
    assert!(faulty.bytes() == before);
    holder.kill();
    assert_eq!(holder.end().exit, -1);
    faulty.device.put(RECORD, "of the other");
    assert_eq!(faulty.device.get(RECORD), "of the other");
}
