//! Tests several devices together, and the checks that stop a sync before it does harm.

use crate::common::{DECISION, Device, NOT_FOUND, Pair, Running, pair, paired, trust_each_other};

#[test]
fn devices_that_never_met_converge_through_a_third() {
    for order in [[0, 2, 0], [2, 0, 2]] {
        let devices = [Device::new("a"), Device::new("b"), Device::new("c")];
        let [a, b, c] = &devices;
        for (end, name) in [(a, "a"), (c, "c")] {
            pair(b, end);
            trust_each_other((b, "b"), (end, name));
        }
        let (_serving, address) = b.serve();
        let sync = |ends: &[usize]| {
            ends.iter().for_each(|end| drop(devices[*end].json(&["sync", "b", "--at", &address])));
        };
        a.put("s/v/all", "first");
        sync(&order);

        for (device, name) in [(a, "a"), (b, "b"), (c, "c")] {
            device.put("s/v/all", &format!("of {name}"));
            device.put(&format!("s/v/only {name}"), "new");
        }
        a.ok(&["remove", "s/v/only a"]);
        sync(&order);
        sync(&order);
        for device in &devices {
            assert_eq!(device.values("s/v/all"), ["of a", "of b", "of c"]);
            assert_eq!(device.entries(), a.entries());
            assert_eq!(device.heads("s/v/all"), a.heads("s/v/all"));
            device.fails(&["get", "s/v/only a"], NOT_FOUND);
        }
        // One device resolves the conflict; the resolution reaches all.
        let keep = c.heads("s/v/all")[0].0.clone();
        c.ok(&["resolve", "s/v/all", "--keep", &keep]);
        sync(&[2, 0]);
        assert_eq!(a.values("s/v/all"), c.values("s/v/all"));
        assert_eq!(a.values("s/v/all").len(), 1);
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let pair = Pair::synced();
    pair.a.put("new/of/a", "new");
    pair.a.ok(&["remove", "wallet/web/shop"]);
    pair.b.put("work/web/mail", "edited");
    let before = (pair.a.entries(), pair.b.files());
    let planned = pair.sync(&["--dry-run"]);
    assert!(before == (pair.a.entries(), pair.b.files()));
    assert_eq!(planned[..4], [2, 1, 1, 0]);
    assert_eq!(pair.sync(&[])[..4], planned[..4]);
    assert_eq!(pair.a.entries(), pair.b.entries());
}

/// Creates two devices that hold the same twenty records, then deletes eleven on one of them.
fn eleven_of_twenty_deleted(by_b: bool) -> Pair {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    let rows: String = (0..20).map(|n| format!("Root/G,Site {n},x{n}\n")).collect();
    let table = a.file("table.csv", format!("Group,Title,Password\n{rows}").as_bytes());
    a.ok(&["import", "--format", "csv", &table]);
    let pair = Pair::of(a, b);
    pair.sync(&[]);
    let deleting = if by_b { &pair.b } else { &pair.a };
    (0..11).for_each(|n| drop(deleting.ok(&["remove", &format!("imported/G/Site {n}/password")])));
    pair
}

#[test]
fn many_deletions_stop_and_ask_on_either_side() {
    for deletes_there in [false, true] {
        let pair = eleven_of_twenty_deleted(deletes_there);
        let said = pair.fails(&["sync", "a"], DECISION);
        let place = if deletes_there { "at the peer" } else { "here" };
        let expected = format!(
            "error: this would delete or empty 11 of 20 records {place}; nothing was changed\n\
             hint: look with --dry-run"
        );
        assert!(said.starts_with(&expected), "{said}");
        pair.sync(&["--dry-run"]);
        if deletes_there {
            // Only the device that would lose records may confirm, and its server has no terminal:
            // it must sync itself.
            let said = pair.fails(&["sync", "a", "--confirm-deletions"], DECISION);
            assert!(
                said.contains(
                    "deleted or emptied at the peer; nothing was changed\nhint: that is for its owner"
                ),
                "{said}"
            );
            let (_serving, address) = pair.b.serve();
            let done = pair.a.json(&["sync", "b", "--at", &address, "--confirm-deletions"]);
            assert_eq!(done["deleted"], 11);
        } else {
            assert_eq!(pair.sync(&["--confirm-deletions"])[2], 11);
        }
        assert_eq!((pair.a.locations().len(), pair.b.locations().len()), (9, 9));
    }
}

#[test]
fn a_full_import_that_would_delete_many_records_changes_nothing() {
    let pair = eleven_of_twenty_deleted(false);
    let said = pair.fails(&["clone", "a"], DECISION);
    let expected = "error: this would delete or empty 11 of 20 records here; nothing was changed\n\
                    hint: `stronghold sync PEER --pull --take`";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(pair.b.locations().len(), 20);
}

#[test]
fn serve_once_ends_after_one_session() {
    let (a, b) = paired();
    trust_each_other((&a, "a"), (&b, "b"));
    a.put("s/v/r", "value");
    let mut serving = a.start(&["serve", "--once", "--listen", "127.0.0.1:0", "--json"], b"");
    let event = serving.event();
    assert_eq!(event["device"].as_str().unwrap().len(), 64);
    b.ok(&["sync", "a", "--at", event["listening"].as_str().unwrap()]);
    let session = serving.event();
    assert_eq!((session["session"].as_str(), session["name"].as_str()), (Some("done"), Some("b")));
    assert_eq!(serving.end().exit, 0);
}

#[test]
fn an_address_that_worked_is_remembered() {
    let pair = Pair::synced();
    pair.a.put("s/v/new", "new");
    assert_eq!(pair.b.json(&["sync", "a"])["received"], 1);
    assert_eq!(pair.b.json(&["peers"])["peers"][0]["address"], pair.address);
}

#[test]
fn several_devices_are_answered_at_a_time() {
    let a = Device::new("a");
    (0..50).for_each(|n| a.put(&format!("s/v/{n}"), "value"));
    let others: Vec<Device> = (0..4).map(|n| Device::new(&format!("b{n}"))).collect();
    for (n, other) in others.iter().enumerate() {
        pair(&a, other);
        trust_each_other((&a, "a"), (other, &format!("b{n}")));
        other.put(&format!("of/b{n}/new"), "new");
    }
    let (_serving, address) = a.serve();
    let syncs: Vec<Running> =
        others.iter().map(|other| other.start(&["sync", "a", "--at", &address, "--json"], b"")).collect();
    for sync in syncs {
        let done = sync.end();
        assert_eq!(done.exit, 0, "{}", done.stderr);
    }
    assert_eq!(a.locations().len(), 54);
}

#[test]
fn a_peer_whose_snapshot_was_set_back_is_told_of() {
    let mut pair = Pair::synced();
    let old = std::fs::read(pair.a.snapshot()).unwrap();
    pair.a.put("s/v/later", "1");
    let first = pair.b.run(&["sync", "a", "--at", &pair.address], b"");
    assert!(first.exit == 0 && !first.stderr.contains("set back"), "{}", first.stderr);
    pair.has_answered(2);
    let Pair { a, b, .. } = pair;
    std::fs::write(a.snapshot(), old).unwrap();
    a.ok(&["--accept-rollback", "list"]);
    let pair = Pair::of(a, b);
    let done = pair.b.run(&["sync", "a", "--at", &pair.address], b"");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert!(done.stderr.contains("was set back: it is generation"), "{}", done.stderr);
    assert_eq!(pair.a.get("s/v/later"), "1", "the sync brings it again");
}
