//! Tests that defects found in other vaults (stronghold-sync/DESIGN.md, Faults of others) are
//! absent, each under its own name. stronghold-snapshot tests those of the disk, where calls can be
//! made to fail.

use std::{fs, process::Command, thread, time::Duration};

use crate::common::{
    DAMAGED, DECISION, DENIED, Device, NOT_FOUND, Pair, Running, USAGE, WRONG_KEY, counts, stronghold,
};

/// Writes a table of `records` rows, each in a group, and so a vault, of its own if `apart`.
fn table(device: &Device, records: usize, apart: bool) -> String {
    let group = |n: usize| if apart { n } else { 0 };
    let rows: String = (0..records).map(|n| format!("Root/G{},Site {n},x{n}\n", group(n))).collect();
    device.file("table.csv", format!("Group,Title,Password\n{rows}").as_bytes())
}

fn merge(into: &Device, from: &Device, args: &[&str]) -> [u64; 4] {
    let (file, key) = (from.snapshot(), from.key_file());
    let command = [&["merge", file.to_str().unwrap(), "--other-key-file", &key], args].concat();
    counts(&into.json(&command), ["received", "deleted", "conflicts", "unchanged"])
}

#[test]
fn records_of_a_mapped_client_land_under_the_old_name_or_become_unreadable() {
    for (map, lands_at) in [("old=new", "new/vault/record"), ("old/vault=new/other", "new/other/record")] {
        let (a, b) = (Device::new("a"), Device::new("b"));
        b.put("old/vault/record", "value");
        merge(&a, &b, &["--map", map]);
        assert_eq!(a.locations(), [lands_at]);
        assert_eq!(a.get(lands_at), "value");
        a.put(lands_at, "written again");
        assert_eq!(a.get(lands_at), "written again");
        a.ok(&["verify"]);
    }
}

#[test]
fn an_import_error_is_swallowed_and_success_returned() {
    let device = Device::new("a");
    let table = device.file("table.csv", b"Group,Title,Password\nRoot,good,x\nRoot,bad,\xff\xff\n");
    device.fails_cleanly(&["import", "--format", "csv", &table], USAGE);
    let long = format!("Group,Title,Password\nRoot,good,x\n{},bad,x\n", "g".repeat(300));
    let table = device.file("table.csv", long.as_bytes());
    assert_eq!(device.run(&["import", "--format", "csv", &table], b"").exit, DECISION);
    assert_eq!(device.locations(), ["imported/default/good/password"]);
}

#[test]
fn a_selection_is_applied_only_by_the_receiver() {
    let pair = Pair::new().trusting_b();
    let file = table(&pair.a, 1000, false);
    pair.a.ok(&["import", "--format", "csv", &file]);
    pair.grant(&["pull", "import"], "**");
    for ask in [&["sync", "a", "--select", "wallet/web/mail"][..], &["fetch", "a", "wallet/web/shop"]] {
        let done = pair.ask(ask);
        assert_eq!(done["received"], 1);
        let bytes = done["bytes_in"].as_u64().unwrap();
        assert!(bytes < 8000, "{ask:?}: {bytes} bytes came for one record");
        assert_eq!(pair.logged()["entries"], 1);
    }
}

#[test]
fn equal_content_written_on_both_sides_counts_as_different_for_ever() {
    let pair = Pair::synced();
    pair.a.put("s/v/twin", "the same");
    pair.b.put("s/v/twin", "the same");
    assert_eq!(pair.sync(&[])[..4], [1, 1, 0, 0]);
    assert_eq!(pair.sync(&[])[..4], [0, 0, 0, 0]);
    for device in [&pair.a, &pair.b] {
        assert_eq!(device.json(&["conflicts"])["conflicts"], serde_json::json!([]));
        assert_eq!(device.locations().iter().filter(|location| *location == "s/v/twin").count(), 1);
        assert_eq!(device.run(&["get", "s/v/twin", "--strict"], b"").stderr, "");
    }
    pair.a.put("s/v/twin", "another");
    pair.sync(&[]);
    assert_eq!(pair.b.values("s/v/twin"), ["another"]);
}

#[test]
fn deletions_do_not_travel_and_a_reverse_sync_resurrects_them() {
    let pair = Pair::synced();
    pair.a.ok(&["remove", "wallet/web/mail"]);
    for ways in [&["--pull"][..], &["--push"], &[]] {
        pair.sync(ways);
        pair.a.is_absent("wallet/web/mail");
        pair.b.is_absent("wallet/web/mail");
    }
    assert_eq!(merge(&pair.a, &pair.b, &[])[..3], [0, 0, 0]);
    assert_eq!(merge(&pair.b, &pair.a, &[])[..3], [0, 0, 0]);
    // A copy from before the deletion does not restore anything either.
    let old = Pair::synced();
    let copy = Device::without_snapshot();
    copy.unlock_by("--key-file", "copied-key", &fs::read(old.a.key_file()).unwrap());
    fs::copy(old.a.snapshot(), copy.snapshot()).unwrap();
    old.a.ok(&["remove", "wallet/web/mail"]);
    assert_eq!(merge(&old.a, &copy, &[])[..3], [0, 0, 0]);
    old.a.is_absent("wallet/web/mail");
}

#[test]
fn a_removed_record_makes_the_whole_sync_fail() {
    let pair = Pair::trusting();
    pair.a.ok(&["remove", "wallet/web/mail"]);
    pair.b.put("s/v/removed", "x");
    pair.b.ok(&["remove", "s/v/removed"]);
    pair.sync(&[]);
    assert_eq!(pair.a.entries(), pair.b.entries());
    assert_eq!(pair.b.locations().len(), 3);
}

#[test]
fn take_theirs_overwrites_newer_with_older() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.put("s/v/r", "older");
    merge(&b, &a, &[]);
    b.put("s/v/r", "newer");
    assert_eq!(merge(&b, &a, &["--on-conflict", "take-other"])[..3], [0, 0, 0]);
    assert_eq!(b.get("s/v/r"), "newer");
}

#[test]
fn keep_mine_never_receives_an_update() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.put("s/v/r", "older");
    merge(&b, &a, &[]);
    a.put("s/v/r", "newer");
    merge(&b, &a, &["--on-conflict", "keep-local"]);
    assert_eq!(b.get("s/v/r"), "newer");
}

#[test]
fn both_sides_taking_theirs_swap_values() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.put("s/v/r", "of a");
    b.put("s/v/r", "of b");
    merge(&a, &b, &["--on-conflict", "take-other"]);
    merge(&b, &a, &["--on-conflict", "take-other"]);
    assert_eq!((a.values("s/v/r"), b.values("s/v/r")), (vec!["of b".into()], vec!["of b".into()]));
    assert_eq!(merge(&a, &b, &["--on-conflict", "take-other"])[..3], [0, 0, 0]);
}

#[test]
fn creating_a_client_that_exists_loses_its_data() {
    let device = Device::new("a");
    device.put("wallet/web/one", "1");
    device.put("wallet/web/two", "2");
    device.put("wallet/new/three", "3");
    let table = device.file("table.csv", b"Group,Title,Password\nRoot/web,four,4\n");
    device.ok(&["import", "--format", "csv", "--into", "wallet", &table]);
    let other = Device::new("b");
    other.put("purse/web/five", "5");
    merge(&device, &other, &["--map", "purse=wallet"]);
    assert_eq!(
        device.locations(),
        [
            "wallet/new/three",
            "wallet/web/five",
            "wallet/web/four/password",
            "wallet/web/one",
            "wallet/web/two"
        ]
    );
    assert_eq!(device.get("wallet/web/one"), "1");
}

#[test]
fn asking_for_an_unknown_vault_fails_the_whole_export() {
    let pair = Pair::trusting();
    assert_eq!(pair.sync(&["--pull", "--select", "wallet/unknown", "--select", "wallet/web"])[0], 2);
    let fetched =
        pair.b.run(&["fetch", "a", "wallet/tokens/api", "wallet/unknown/r", "--at", &pair.address], b"");
    assert_eq!(fetched.exit, NOT_FOUND);
    assert!(
        fetched.stderr.contains("the peer has no wallet/unknown/r, or does not permit it"),
        "{}",
        fetched.stderr
    );
    assert_eq!(pair.b.locations(), ["wallet/tokens/api", "wallet/web/mail", "wallet/web/shop"]);
    let other = Device::new("c");
    assert_eq!(merge(&other, &pair.a, &["--select", "wallet/unknown", "--select", "work"])[0], 1);
}

#[test]
fn a_guarded_page_per_key_runs_out_of_mappings() {
    let device = Device::new("a");
    let file = table(&device, 20_000, true);
    assert_eq!(device.json(&["import", "--format", "csv", &file])["received"], 20_000);
    assert_eq!(device.get("imported/G19999/Site 19999/password"), "x19999");
}

#[test]
fn eight_processes_adding_at_once_lose_entries() {
    let device = Device::new("a");
    for round in 0..4 {
        let add =
            |n: usize| device.start(&["put", &format!("s/v/{round}-{n}")], format!("value {n}").as_bytes());
        let adding: Vec<Running> = (0..8).map(add).collect();
        for process in adding {
            let done = process.end();
            assert_eq!(done.exit, 0, "{}", done.stderr);
        }
        assert_eq!(device.locations().len(), 8 * (round + 1));
    }
    assert_eq!(device.get("s/v/3-7"), "value 7");
    device.ok(&["verify"]);
}

#[test]
fn adding_while_a_server_answers_loses_entries() {
    let pair = Pair::synced();
    for n in 0..5 {
        pair.a.put(&format!("s/v/a{n}"), "of a");
        pair.b.put(&format!("s/v/b{n}"), "of b");
        pair.sync(&[]);
    }
    assert_eq!(pair.a.locations().len(), 14);
    assert_eq!(pair.a.entries(), pair.b.entries());
}

#[test]
fn a_truncated_file_reads_as_an_empty_secret_with_exit_0() {
    let device = Device::new("a");
    device.put("s/v/r", "value");
    let bytes = fs::read(device.snapshot()).unwrap();
    for len in [0, 1, bytes.len() / 3, bytes.len() - 1] {
        fs::write(device.snapshot(), &bytes[..len]).unwrap();
        device.fails_cleanly(&["get", "s/v/r"], DAMAGED);
        device.fails_cleanly(&["list"], DAMAGED);
    }
}

#[test]
fn a_wrong_password_and_a_damaged_file_give_the_same_message() {
    let device = Device::with_passphrase("a", "right");
    device.put("s/v/r", "value");
    let path = device.snapshot();
    let bytes = fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, damaged).unwrap();
    let said_damaged = device.fails(&["list", "--quiet"], DAMAGED);
    fs::write(&path, bytes).unwrap();
    device.unlock_by("--passphrase-file", "wrong", b"wrong");
    let said_wrong = device.fails(&["list", "--quiet"], WRONG_KEY);
    assert!(said_damaged.contains("is damaged") && said_wrong.contains("wrong passphrase or key"));
    assert_ne!(said_damaged, said_wrong);
}

#[test]
fn quiet_mode_hides_errors() {
    let pair = Pair::new();
    for (args, exit) in [(&["get", "no/such/record"][..], NOT_FOUND), (&["put", "bad"], USAGE)] {
        let said = pair.b.fails(&[args, &["--quiet"]].concat(), exit);
        assert!(said.starts_with("error: ") && said.contains("\nhint: "), "{said}");
    }
    assert!(pair.fails(&["sync", "a", "--quiet"], DENIED).starts_with("error: "));
}

#[test]
fn the_secret_or_the_code_is_visible_in_the_process_list() {
    let help = |args: &[&str]| {
        let output = stronghold().args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = help(&["--help"]);
    let (commands, _) = commands.split_once("\nCommon options:").unwrap();
    let listed = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let names: Vec<&str> =
        listed.filter(|line| !line.starts_with(' ')).map(|line| line.split(' ').next().unwrap()).collect();
    assert!(names.len() > 35 && names.contains(&"put") && names.contains(&"doctor"), "{names:?}");
    for name in names {
        let text = help(&[name, "--help"]);
        let takes =
            |word: &str| text.lines().any(|line| line.trim_start().starts_with(&format!("--{word} ")));
        for word in
            ["value", "secret", "password", "passphrase", "key", "code", "other-passphrase", "other-key"]
        {
            assert!(!takes(word), "`stronghold {name} --{word}` would be seen by everyone on the machine");
        }
        assert!(
            !["<VALUE>", "<SECRET>", "<CODE>", "<PASSPHRASE>"].iter().any(|word| text.contains(word)),
            "{text}"
        );
    }
}

#[test]
fn what_a_process_list_shows_of_a_device_at_work() {
    let (a, b) = (Device::with_passphrase("a", "hunter2-passphrase"), Device::new("b"));
    let (_pairing, code, _) = a.pair(&[]);
    let Ok(shown) = Command::new("ps").args(["axww", "-o", "args"]).output() else { return };
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(!shown.contains(&code) && !shown.contains("hunter2-passphrase"));
    drop(b);
}

#[test]
fn an_old_container_replayed_from_storage_goes_unnoticed() {
    let mut pair = Pair::synced();
    let old = fs::read(pair.a.snapshot()).unwrap();
    pair.a.put("wallet/web/mail", "newer");
    pair.sync(&[]);
    pair.has_answered(2);
    // While `a` serves, an attacker puts the older file in place.
    fs::write(pair.a.snapshot(), old).unwrap();
    thread::sleep(Duration::from_millis(20));
    let done = pair.b.run(&["sync", "a", "--at", &pair.address], b"");
    assert_ne!(done.exit, 0, "the server took the old file for its own");
    assert_eq!(pair.b.get("wallet/web/mail"), "newer");
}
