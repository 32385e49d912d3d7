//! Tests pairings that one of the two devices can't save, and the confirmation of grants.

use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use crate::common::{DECISION, Device, IN_USE, PEER, paired, trust_each_other};
use stronghold_snapshot::{SnapshotFile, Unlock};

/// Pairs while another process locks the snapshot of one device; returns exit code and stderr of
/// both.
fn pair_while_locked(listener: &Device, joiner: &Device, locked: &Device) -> [(i32, String); 2] {
    let (mut file, _) = SnapshotFile::open(&locked.snapshot(), &Unlock::Key(&locked.key())).unwrap();
    let lock = file.lock(std::time::Duration::ZERO).unwrap();
    let (pairing, code, address) = listener.pair(&["--lock-timeout", "1"]);
    let joined = joiner.run(&["pair", "--join", &address, "--lock-timeout", "1"], code.as_bytes());
    let listened = pairing.end();
    drop(lock);
    [(joined.exit, joined.stderr), (listened.exit, listened.stderr)]
}

fn peers(device: &Device) -> usize {
    device.json(&["peers"])["peers"].as_array().unwrap().len()
}

#[test]
fn a_pairing_that_one_side_can_not_save_is_none_on_either() {
    for is_listener in [true, false] {
        let (a, b) = (Device::new("a"), Device::new("b"));
        let [joined, listened] = pair_while_locked(&a, &b, if is_listener { &a } else { &b });
        let [(locked, said), (other, heard)] =
            if is_listener { [listened, joined] } else { [joined, listened] };
        assert_eq!(locked, IN_USE, "{said}");
        assert!(said.contains("the other device was told"), "{said}");
        assert!(other == PEER && heard.contains("the other device could not save the pairing"), "{heard}");
        assert_eq!((peers(&a), peers(&b)), (0, 0), "{said} {heard}");
    }
}

/// Two devices that were paired before keep their pairing and rules, and still synchronise.
#[test]
fn a_renewed_pairing_that_one_side_can_not_save_leaves_the_old_one() {
    for is_listener in [true, false] {
        let (a, b) = paired();
        trust_each_other((&a, "a"), (&b, "b"));
        a.put("s/v/r", "value");
        let before = (a.json(&["peers"]), b.json(&["peers"]));
        let ends = pair_while_locked(&a, &b, if is_listener { &a } else { &b });
        assert!(ends.iter().all(|(exit, _)| *exit != 0), "{ends:?}");
        assert_eq!((a.json(&["peers"]), b.json(&["peers"])), before);
        let (_serving, address) = a.serve();
        assert_eq!(b.json(&["sync", "a", "--at", &address])["received"], 1);
    }
}

/// Without a terminal, a grant at pairing needs `--yes`; a pairing without one does not.
#[test]
fn a_grant_at_pairing_needs_a_person_or_yes() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    let said = a.fails_cleanly(&["pair", "--listen", "127.0.0.1:0", "--grant", "pull"], DECISION);
    assert!(said.contains("say --yes"), "{said}");
    let new = Device::without_snapshot();
    new.fails_cleanly(&["clone", "--join", "127.0.0.1:1", "--grant", "pull"], DECISION);
    b.fails_cleanly(&["pair", "--join", "127.0.0.1:1", "--grant", "pull"], DECISION);
    // Who grants nothing is told that the other may do nothing yet.
    for granted in [[true, true], [true, false], [false, true], [false, false]] {
        let more = granted.map(|is| if is { &["--yes", "--grant", "pull"][..] } else { &["--yes"] });
        let (pairing, code, address) = a.pair(more[0]);
        let joined = b.run(&[&["pair", "--join", &address], more[1]].concat(), code.as_bytes());
        for (done, granted) in [pairing.end(), joined].into_iter().zip(granted) {
            assert_eq!(done.exit, 0, "{}", done.stderr);
            let hint = "note: it may do nothing here yet: stronghold grant ";
            assert_eq!(done.stderr.contains(hint), !granted, "{}", done.stderr);
        }
    }
}

/// A QR code is for a person at a terminal.
#[test]
fn a_code_is_drawn_on_a_terminal_only() {
    let device = Device::new("a");
    let mut command = device.command(&["pair", "--listen", "127.0.0.1:0"]);
    let mut pairing = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(pairing.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("on the other device") {
        assert!(out.read_line(&mut said).unwrap() > 0, "{said}");
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    pairing.kill().unwrap();
    out.read_to_string(&mut said).unwrap();
    pairing.wait().unwrap();
    assert!(said.starts_with("code: ") && said.contains("link: "), "{said}");
    assert!(!said.contains(['\u{2580}', '\u{2584}', '\u{2588}']), "{said}");
}
