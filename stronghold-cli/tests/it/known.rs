//! Tests `list --shared-with`: the records whose value a device received from here, and the values
//! to change when it is revoked.

use crate::common::{Device, ENTRIES, NOT_FOUND, Pair, strings};

#[track_caller]
fn known(device: &Device, peer: &str) -> Vec<String> {
    strings(&device.json(&["list", "--shared-with", peer])["entries"], "location")
}

#[test]
fn after_a_sync_it_has_what_was_given_and_what_both_had_and_nothing_forbidden() {
    let pair = Pair::new();
    pair.grant(&["pull", "push"], "wallet/web");
    pair.b.ok(&["grant", "a", "pull", "push", "--select", "wallet/web"]);
    pair.b.put("wallet/web/of-b", "given to a");
    pair.b.put("work/web/private", "of b");
    assert!(known(&pair.a, "b").is_empty() && known(&pair.b, "a").is_empty());
    pair.sync(&[]);
    let both = ["wallet/web/mail", "wallet/web/of-b", "wallet/web/shop"];
    assert_eq!(known(&pair.a, "b"), both);
    assert_eq!(known(&pair.b, "a"), both);
    let listed = pair.a.json(&["list", "--shared-with", "b", "wallet/web/m*"]);
    assert_eq!(listed, pair.a.json(&["list", "wallet/web/m*"]), "what is listed is listed alike");
    assert_eq!(pair.a.ok(&["list", "--shared-with", "b"]).lines().count(), 3);
}

#[test]
fn after_a_fetch_it_has_the_picked_ones_and_after_a_clone_all_that_was_granted() {
    let pair = Pair::new();
    pair.grant(&["browse", "pull"], "**");
    pair.ask(&["browse", "a"]);
    assert!(known(&pair.a, "b").is_empty(), "names are no values");
    pair.ask(&["fetch", "a", ENTRIES[1]]);
    assert_eq!(known(&pair.a, "b"), ENTRIES[1..2]);
    assert_eq!(known(&pair.b, "a"), ENTRIES[1..2]);

    let a = Device::new("a");
    ENTRIES.iter().for_each(|location| a.put(location, location));
    let (pairing, code, address) =
        a.pair(&["--name", "new", "--yes", "--grant", "import", "--select", "wallet"]);
    let b = Device::without_snapshot();
    b.json_with(&["clone", "--join", &address, "--name", "old"], code.as_bytes());
    assert_eq!(pairing.end().exit, 0);
    assert_eq!(known(&a, "new"), ENTRIES[..3]);
    assert_eq!(known(&b, "old"), ENTRIES[..3]);
}

#[test]
fn it_outlives_revoking_and_a_value_drops_out_when_it_is_changed() {
    let pair = Pair::synced();
    let device = pair.a.json(&["peers"])["peers"][0]["device"].as_str().unwrap().to_owned();
    pair.a.put("s/v/later", "it never had");
    let done = pair.a.run(&["revoke", "b"], b"");
    assert!(done.stderr.contains("`stronghold list --shared-with b`"), "{}", done.stderr);
    for name in ["b", &device[..4], &device] {
        assert_eq!(known(&pair.a, name), ENTRIES, "{name}");
    }
    pair.a.put(ENTRIES[0], "changed");
    pair.a.ok(&["remove", ENTRIES[1]]);
    assert_eq!(known(&pair.a, "b"), ENTRIES[2..]);
    // Undo restores the old value, which the device still has.
    pair.a.ok(&["undo"]);
    assert_eq!(known(&pair.a, "b"), ENTRIES[1..]);
    ENTRIES.iter().for_each(|location| pair.a.put(location, "changed all"));
    assert!(known(&pair.a, "b").is_empty());
}

#[test]
fn a_dry_run_and_a_refusal_leave_no_trace_of_what_was_not_given() {
    let pair = Pair::trusting();
    pair.sync(&["--dry-run"]); // the first that reaches a remembers where it is
    let before = pair.b.files();
    pair.sync(&["--dry-run"]);
    assert!(known(&pair.a, "b").is_empty() && known(&pair.b, "a").is_empty());
    assert!(before == pair.b.files(), "a dry run wrote");
    pair.a.ok(&["revoke", "b"]);
    crate::common::pair(&pair.a, &pair.b);
    pair.fails(&["sync", "a"], crate::common::DENIED);
    let done = pair.a.run(&["revoke", "b"], b"");
    assert!(done.stderr.ends_with("no value of now is noted as known to it\n"), "{}", done.stderr);
}

#[test]
fn an_equal_sync_writes_nothing_at_the_asker() {
    let pair = Pair::synced();
    pair.sync(&[]);
    let before = pair.b.files();
    pair.sync(&[]);
    assert!(before == pair.b.files(), "an equal sync wrote");
}

#[test]
fn a_name_that_is_no_plain_word_is_not_repeated_as_a_command() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.put("s/v/r", "value");
    let (mut pairing, code, address) = a.pair(&["--name", "b`; rm -rf", "--yes", "--grant", "pull"]);
    b.json_with(&["pair", "--join", &address], code.as_bytes());
    let device = pairing.event()["paired"].as_str().unwrap().to_owned();
    let (_serving, address) = a.serve();
    b.ok(&["sync", "a", "--take", "--yes", "--at", &address]);
    let done = a.run(&["revoke", &device[..8]], b"");
    assert!(done.stderr.contains(&format!("--shared-with {device}`")), "{}", done.stderr);
    assert_eq!(known(&a, "b`; rm -rf"), ["s/v/r"]);
}

#[test]
fn a_device_that_was_never_paired_is_not_found() {
    let pair = Pair::synced();
    for peer in ["nobody", "", "abc"] {
        let said = pair.a.fails_cleanly(&["list", "--shared-with", peer], NOT_FOUND);
        assert_eq!(
            said,
            format!("error: no paired device matches \"{peer}\"\nhint: see `stronghold peers`\n")
        );
    }
}
