//! Tests a copied snapshot with both copies in use: the warnings on each side, and a new identity
//! for the copy.
#![cfg(unix)]

use crate::common::{
    DECISION, Device, Ended, NOT_FOUND, Pair, Running, one_line, pair, run, strings, stronghold,
    trust_each_other,
};
use serde_json::{Value, json};

/// Writes a record, and syncs with `a` at `address`.
fn sync(device: &Device, address: &str, value: &str) -> Ended {
    device.put("s/v/r", value);
    let done = device.run(&["sync", "a", "--at", address, "--json"], b"");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    done
}

fn object(done: &Ended) -> Value {
    one_line(std::str::from_utf8(&done.stdout).unwrap())
}

fn id(device: &Device) -> String {
    device.json(&["identity"])["device"].as_str().unwrap().to_owned()
}

/// Collects the events of a server until `sessions` sessions are done.
fn session_events(serving: &mut Running, sessions: usize) -> Vec<Value> {
    let (mut events, mut done) = (Vec::new(), 0);
    while done < sessions {
        events.push(serving.event());
        done += usize::from(events[events.len() - 1]["session"] == "done");
    }
    events
}

#[test]
fn a_copied_device_that_asks_is_told_and_so_is_who_is_asked() {
    let Pair { a, b, .. } = Pair::synced();
    let (mut serving, address) = a.serve();
    sync(&b, &address, "of both");
    let copy = b.copied();
    for (turn, device) in [&b, &copy, &b].into_iter().enumerate() {
        let done = sync(device, &address, &format!("turn {turn}"));
        assert!(!done.stderr.contains("two snapshots") && object(&done).get("copied").is_none());
    }
    assert!(session_events(&mut serving, 4).iter().all(|event| event["session"] != "copied"));
    let done = sync(&copy, &address, "turn 3");
    assert_eq!(object(&done)["copied"], "ours");
    let said = "has seen two snapshots of this device in use: one is a copy of the other\n\
                hint: on the copy, `stronghold identity --renew`; then pair it anew";
    assert!(done.stderr.contains("warning: a (") && done.stderr.contains(said), "{}", done.stderr);
    let told = session_events(&mut serving, 1);
    let copied = told.iter().find(|event| event["session"] == "copied").unwrap();
    assert_eq!(*copied, json!({ "session": "copied", "device": id(&b), "name": "b", "whose": "theirs" }));
    // Later syncs warn too, with `--quiet` as well.
    b.put("s/v/r", "turn 4");
    let quiet = b.run(&["sync", "a", "--at", &address, "--quiet"], b"");
    assert!(quiet.exit == 0 && quiet.stderr.contains("two snapshots of this device"), "{}", quiet.stderr);
}

#[test]
fn a_copied_device_that_is_asked_is_told_of() {
    let Pair { a, b, .. } = Pair::synced();
    let copy = b.copied();
    let ask = |device: &Device, value: &str| {
        device.put("s/v/r", value);
        let mut serving = device.start(&["serve", "--once", "--listen", "127.0.0.1:0", "--json"], b"");
        let address = serving.event()["listening"].as_str().unwrap().to_owned();
        let done = a.run(&["sync", "b", "--at", &address, "--json"], b"");
        assert_eq!((done.exit, serving.end().exit), (0, 0), "{}", done.stderr);
        done
    };
    for (turn, device) in [&b, &copy, &b].into_iter().enumerate() {
        let done = ask(device, &format!("turn {turn}"));
        assert!(!done.stderr.contains("two snapshots"), "turn {turn}: {}", done.stderr);
    }
    let done = ask(&copy, "turn 3");
    assert_eq!(object(&done)["copied"], "theirs");
    let said = ", and both are in use: one is a copy of the other\n\
                hint: on the copy, `stronghold identity --renew`; then pair it with this device";
    assert!(done.stderr.contains("warning: there are two snapshots of b ("), "{}", done.stderr);
    assert!(done.stderr.contains(said), "{}", done.stderr);
}

#[test]
fn a_copy_with_an_identity_of_its_own_is_a_device_of_its_own() {
    let Pair { a, b, .. } = Pair::synced();
    let copy = b.copied();
    let was = id(&b);
    assert_eq!(id(&copy), was);
    let said = copy.fails_cleanly(&["identity", "--renew"], DECISION);
    assert!(said.contains("no `undo` brings it back") && said.contains("--yes"), "{said}");
    assert!(said.contains("pair it anew with each that is to sync with it:\n  a ("), "{said}");
    let renewed = copy.json(&["identity", "--renew", "--yes"]);
    let now = id(&copy);
    assert!(now != was && id(&b) == was);
    assert_eq!(
        (&renewed["device"], &renewed["was"], &renewed["name"]),
        (&json!(now), &json!(was), &json!("b"))
    );
    assert_eq!(strings(&renewed["pair_anew"], "name"), ["a"]);
    assert_eq!(copy.json(&["peers"])["peers"], json!([]));
    let log = copy.json(&["log"])["entries"].take();
    let last: Vec<_> = log.as_array().unwrap().iter().rev().take(2).rev().collect();
    assert_eq!((&last[0]["operation"], &last[0]["device"]), (&json!("renewed"), &json!(was)));
    assert_eq!((&last[1]["operation"], &last[1]["device"]), (&json!("revoked"), &json!(id(&a))));
    assert!(copy.ok(&["log"]).contains("  renewed\n"));
    // Earlier steps can still be undone; the renewal itself can't.
    copy.run(&["undo"], b"");
    assert_eq!((id(&copy), copy.json(&["peers"])["peers"].clone()), (now.clone(), json!([])));
    copy.run(&["redo"], b"");
    assert_eq!(copy.locations(), b.locations());
    // Under a name of its own the copy pairs with both devices, and they tell all three apart.
    copy.ok(&["rename", "c"]);
    copy.fails(&["sync", "a"], NOT_FOUND);
    for other in [&a, &b] {
        pair(other, &copy);
        trust_each_other((other, &id(other)), (&copy, &id(&copy)));
    }
    let (_serving, address) = a.serve();
    for turn in 0..3 {
        for device in [&b, &copy] {
            device.put("s/v/r", &format!("turn {turn}"));
            let done = device.run(&["sync", &id(&a), "--at", &address, "--json"], b"");
            assert!(done.exit == 0 && !done.stderr.contains("two snapshots"), "{}", done.stderr);
        }
    }
}

#[test]
fn notes_of_the_original_refuse_no_copy_beside_it() {
    let device = Device::new("device");
    device.put("s/v/r", "1");
    let beside = device.folder().join("copy");
    std::fs::copy(device.snapshot(), &beside).unwrap();
    let on_copy = |args: &[&str]| {
        let plain = device.command(&[]);
        let state = plain.get_envs().find(|(name, _)| *name == "XDG_STATE_HOME").unwrap().1.unwrap();
        let mut command = stronghold();
        command.args(args).arg("--snapshot").arg(&beside).args(["--key-file", &device.key_file()]);
        let done = run(command.env("XDG_STATE_HOME", state), b"");
        assert_eq!(done.exit, 0, "{args:?}: {}", done.stderr);
        String::from_utf8(done.stdout).unwrap()
    };
    for value in ["2", "3", "4"] {
        device.put("s/v/r", value);
    }
    on_copy(&["identity", "--renew", "--yes"]);
    on_copy(&["put", "s/v/other", "--generate"]);
    assert_eq!(on_copy(&["get", "s/v/r"]), "1");
    assert_eq!(device.get("s/v/r"), "4");
}

#[test]
fn who_takes_a_new_identity_is_told_whom_to_pair_with() {
    let (_a, b) = crate::common::paired();
    let was = id(&b);
    let asked = b.fails_cleanly(&["identity", "--renew"], DECISION);
    assert!(
        asked.contains("pair it anew with each that is to sync with it:") && asked.contains("Go on?"),
        "{asked}"
    );
    let done = b.run(&["identity", "--renew", "--yes"], b"");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    let said = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("this device is now b (") && !said.contains(&was), "{said}");
    assert_eq!(lines[1].trim(), id(&b));
    assert_eq!(lines[2], "pair it anew with:");
    assert!(lines.len() == 4 && lines[3].starts_with("  a ("), "{said}");
    assert_eq!(done.stderr, "hint: the other snapshot keeps the old identity and its pairings\n");
    // Who is paired with nobody has nothing to pair anew.
    let alone = Device::new("alone");
    let asked = alone.fails_cleanly(&["identity", "--renew"], DECISION);
    assert!(asked.contains("Go on?") && !asked.contains("pair it anew"), "{asked}");
    let said = alone.ok(&["identity", "--renew", "--yes"]);
    assert_eq!(said, format!("{}\n  {}\n", said.lines().next().unwrap(), id(&alone)));
}

/// The serving device also warns of a peer whose snapshot was set back, with its name and
/// generation.
#[test]
fn who_serves_is_told_of_a_peer_whose_snapshot_was_set_back() {
    let Pair { a, b, .. } = Pair::synced();
    let kept = std::fs::read(b.snapshot()).unwrap();
    let served = |args: &[&str]| {
        let mut serving = a.start(&["serve", "--once", "--listen", "127.0.0.1:0", "--json"], b"");
        let address = serving.event()["listening"].as_str().unwrap().to_owned();
        let done = b.run(&[&["sync", "a", "--at", &address], args].concat(), b"");
        assert_eq!(done.exit, 0, "{}", done.stderr);
        serving.end().stderr
    };
    for turn in 0..3 {
        b.put("s/v/r", &format!("turn {turn}"));
        assert!(!served(&[]).contains("set back"));
    }
    std::fs::write(b.snapshot(), kept).unwrap();
    let told = served(&["--accept-rollback"]);
    assert!(
        told.contains("warning: the snapshot of b (") && told.contains(" was set back: it is generation "),
        "{told}"
    );
}
