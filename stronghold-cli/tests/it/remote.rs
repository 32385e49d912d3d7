//! Tests the three remote uses (import; browse and fetch; sync), each allowed and denied, whole and
//! in part.

use serde_json::json;

use crate::common::{
    DENIAL, DENIED, Device, ENTRIES, NOT_FOUND, Pair, USAGE, counts, one_line, strings, summary,
};

/// Selections to ask for, and the indices of the [`ENTRIES`] in them: everything, a client, a vault
/// and a record.
const LEVELS: [(&str, &[usize]); 4] =
    [("**", &[0, 1, 2, 3]), ("wallet", &[0, 1, 2]), ("wallet/web", &[1, 2]), ("wallet/web/mail", &[1])];

fn expected(of: &[usize]) -> Vec<&'static str> {
    of.iter().map(|index| ENTRIES[*index]).collect()
}

#[test]
fn clone_takes_what_is_permitted_whole_or_in_part() {
    for (level, entries) in LEVELS {
        let a = Device::new("a");
        ENTRIES.iter().for_each(|location| a.put(location, location));
        let (pairing, code, address) =
            a.pair(&["--name", "new", "--yes", "--grant", "import", "--select", level]);
        let b = Device::without_snapshot();
        let done = b.json_with(&["clone", "--join", &address, "--name", "old"], code.as_bytes());
        assert_eq!(summary(&done)[0], entries.len() as u64, "{level}");
        let paired = pairing.end();
        let gave = if entries.len() == 1 { "1 entry".into() } else { format!("{} entries", entries.len()) };
        assert_eq!((paired.exit, paired.stderr), (0, format!("gave {gave}\n")), "{level}");
        assert_eq!(b.locations(), expected(entries), "{level}");
        b.locations().iter().for_each(|location| assert_eq!(b.get(location), *location));
        assert_eq!(strings(&b.json(&["peers"])["peers"], "name"), ["old"]);
        assert_ne!(a.json(&["peers"])["peers"][0]["device"], b.json(&["peers"])["peers"][0]["device"]);
    }
}

#[test]
fn clone_from_a_paired_device_takes_what_it_asked_for() {
    for (level, entries) in LEVELS {
        let pair = Pair::new();
        pair.grant(&["import"], "**");
        let done = pair.ask(&["clone", "a", "--only", level]);
        assert_eq!(summary(&done)[0], entries.len() as u64);
        assert_eq!(pair.b.locations(), expected(entries));
        let logged = pair.logged();
        assert_eq!(
            (logged["operation"].as_str(), logged["selection"].as_str()),
            (Some("import"), Some(level))
        );
        assert_eq!((logged["allowed"].as_bool(), logged["name"].as_str()), (Some(true), Some("b")));
        assert_eq!(counts(&logged, ["entries", "repeated"]), [entries.len() as u64, 0]);
        assert!(logged["bytes"].as_u64() > Some(0) && logged["time"].as_u64() > Some(0));
    }
}

#[test]
fn browse_lists_what_is_permitted_and_nothing_is_taken() {
    for (level, entries) in LEVELS {
        let pair = Pair::new();
        pair.grant(&["browse"], level);
        let found = pair.ask(&["browse", "a"]);
        assert_eq!(strings(&found["entries"], "location"), expected(entries), "{level}");
        assert!(found["entries"][0]["size"].as_u64() > Some(0));
        let part = pair.ask(&["browse", "a", "*/web/m*"]);
        let of_part = expected(entries).into_iter().filter(|location| location.contains("/web/m"));
        assert_eq!(strings(&part["entries"], "location"), of_part.collect::<Vec<_>>());
        assert!(pair.b.locations().is_empty());
    }
}

#[test]
fn fetch_takes_what_was_picked() {
    let pair = Pair::new();
    pair.grant(&["pull"], "wallet/**");
    let done = pair.ask(&["fetch", "a", ENTRIES[0], ENTRIES[2]]);
    assert_eq!(summary(&done)[..3], [2, 0, 0]);
    assert_eq!(pair.b.locations(), [ENTRIES[0], ENTRIES[2]]);
    assert_eq!(pair.b.get(ENTRIES[0]), "value of wallet/tokens/api");
    pair.a.put(ENTRIES[0], "newer");
    pair.ask(&["fetch", "a", ENTRIES[0]]);
    assert_eq!(pair.b.values(ENTRIES[0]), ["newer"], "an update, no conflict");

    // Forbidden and absent records look the same, beside permitted ones too.
    let fetched = |place: &str| pair.b.run(&["fetch", "a", ENTRIES[1], place, "--at", &pair.address], b"");
    let [forbidden, absent] = [ENTRIES[3], "no/such/record"].map(|place| (place, fetched(place)));
    assert_eq!((forbidden.1.exit, absent.1.exit), (NOT_FOUND, NOT_FOUND));
    assert_eq!(forbidden.1.stderr.replace(forbidden.0, "it"), absent.1.stderr.replace(absent.0, "it"));
    assert_eq!(pair.b.locations(), [ENTRIES[0], ENTRIES[1], ENTRIES[2]]);
}

#[test]
fn fetch_takes_what_is_picked_from_the_list() {
    let pair = Pair::new();
    pair.grant(&["pull", "browse"], "wallet/**");
    let pick = |line: &str| pair.b.run(&["fetch", "a", "--pick", "--at", &pair.address], line.as_bytes());
    let done = pick("2\n");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert!(done.stderr.contains(&format!("    2  {}\n", ENTRIES[1])), "{}", done.stderr);
    assert!(done.stderr.contains("Numbers to fetch: "), "{}", done.stderr);
    assert_eq!(pair.b.locations(), [ENTRIES[1]]);
    let none = pick("\n");
    assert_eq!(none.exit, crate::common::USAGE);
    assert!(
        none.stderr.starts_with("    1  ") && none.stderr.contains("0 records were picked"),
        "{}",
        none.stderr
    );
    assert_eq!(pick("99\n").exit, crate::common::USAGE);
    assert_eq!(pair.b.locations(), [ENTRIES[1]]);
}

#[test]
fn sync_goes_both_ways_whole_or_in_part() {
    for (level, entries) in LEVELS {
        let pair = Pair::trusting();
        pair.b.put("wallet/web/mail", "of b");
        pair.b.put("elsewhere/of/b", "of b");
        let sent = 1 + u64::from(level == "**");
        let done = pair.sync(&["--select", level]);
        assert_eq!(done[..4], [entries.len() as u64, sent, 0, 1], "{level}");
        for device in [&pair.a, &pair.b] {
            assert_eq!(device.values("wallet/web/mail"), ["of b", "value of wallet/web/mail"]);
        }
        assert_eq!(pair.sync(&["--select", level])[..4], [0, 0, 0, 0], "{level}");
        if level == "**" {
            assert_eq!(pair.a.entries(), pair.b.entries());
        } else {
            assert_eq!(pair.a.locations(), ENTRIES);
        }
    }
}

#[test]
fn sync_goes_one_way_when_asked_to() {
    let pair = Pair::trusting();
    pair.b.put("of/b/new", "of b");
    assert_eq!(pair.sync(&["--pull"])[..2], [4, 0]);
    assert_eq!(pair.a.locations(), ENTRIES);
    pair.a.put("of/a/new", "of a");
    assert_eq!(pair.sync(&["--push"])[..2], [0, 1]);
    assert_eq!(pair.a.get("of/b/new"), "of b");
    pair.b.is_absent("of/a/new");
    assert_eq!(pair.sync(&["--pull", "--push"])[..2], [1, 0]);
    assert_eq!(pair.a.entries(), pair.b.entries());
}

#[test]
fn a_new_sync_of_equal_sides_says_unchanged() {
    let pair = Pair::synced();
    assert_eq!(pair.sync(&[]), [0, 0, 0, 0, 4]);
}

#[test]
fn edits_deletions_and_a_conflict_meet() {
    let pair = Pair::synced();
    pair.a.put("work/web/mail", "edited on a");
    pair.a.ok(&["remove", "wallet/web/shop"]);
    pair.a.put("wallet/web/mail", "of a");
    pair.b.put("wallet/web/mail", "of b");
    pair.b.ok(&["remove", "wallet/tokens/api"]);
    pair.b.put("new/of/b", "new");
    let before = pair.a.entries();
    assert_eq!(pair.sync(&[]), [3, 3, 1, 1, 0]);
    assert_ne!(pair.a.entries(), before);
    assert_eq!(pair.a.entries(), pair.b.entries());
    for device in [&pair.a, &pair.b] {
        assert_eq!(device.locations(), ["new/of/b", "wallet/web/mail", "work/web/mail"]);
        assert_eq!(device.values("wallet/web/mail"), ["of a", "of b"]);
        assert_eq!(device.get("work/web/mail"), "edited on a");
        device.is_absent("wallet/web/shop");
        device.is_absent("wallet/tokens/api");
        let conflict = device.json(&["history", "wallet/web/mail"])["revisions"].take();
        let mut authors = strings(&conflict, "author")[..2].to_vec();
        authors.sort();
        assert_eq!(authors, ["a", "b"], "each value is its writer's");
    }
    assert_eq!(pair.sync(&[])[..4], [0, 0, 0, 0], "what was deleted does not come back");
}

/// Asks at every level without permission: exit 7, a log line with device and operation, and no
/// entries.
fn denied(operation: &str, granted: &[&str], ask: impl Fn(&str) -> Vec<String>) {
    for (level, _) in LEVELS {
        let pair = Pair::new();
        pair.grant(granted, "**");
        if level != "**" {
            // A rule for another place does not help. (With it, asking for everything would be
            // allowed, and return nothing.)
            pair.grant(&[operation], "elsewhere/**");
        }
        let args = ask(level);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert_eq!(pair.fails(&args, DENIED), DENIAL, "{args:?}");
        let logged = pair.logged();
        assert_eq!((logged["name"].as_str(), logged["allowed"].as_bool()), (Some("b"), Some(false)));
        assert_eq!(
            (logged["operation"].as_str(), logged["selection"].as_str()),
            (Some(operation), Some(level))
        );
        assert_eq!(counts(&logged, ["entries", "bytes", "repeated"]), [0, 0, 0]);
        assert!(pair.b.locations().is_empty());
    }
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

#[test]
fn import_is_denied() {
    denied("import", &["browse", "pull", "push", "delete"], |level| words(&["clone", "a", "--only", level]));
}

#[test]
fn browse_is_denied() {
    denied("browse", &["import", "pull", "push", "delete"], |level| words(&["browse", "a", level]));
}

#[test]
fn sync_is_denied() {
    denied("pull", &["import", "browse"], |level| words(&["sync", "a", "--select", level]));
    denied("pull", &["import", "browse", "push", "delete"], |level| {
        words(&["sync", "a", "--pull", "--select", level])
    });
}

#[test]
fn fetch_is_denied() {
    let pair = Pair::new();
    pair.grant(&["import", "browse", "push", "delete"], "**");
    pair.grant(&["pull"], "work/**");
    assert_eq!(pair.fails(&["fetch", "a", "wallet/web/mail"], DENIED), DENIAL);
    assert_eq!(
        pair.fails(&["fetch", "a", "no/such/record"], DENIED),
        DENIAL,
        "absent and forbidden look the same"
    );
    let log = pair.logged_at_the_end();
    let refused = |selection: &str| {
        log.iter().any(|logged| {
            let what = (&logged["operation"], &logged["allowed"], &logged["selection"], &logged["count"]);
            what == (&json!("pull"), &json!(false), &json!(selection), &json!(1))
        })
    };
    assert!(refused("wallet/web/mail") && refused("no/such/record"), "{log:?}");
}

#[test]
fn giving_is_denied_by_either_side() {
    let pair = Pair::new();
    pair.b.put("of/b/new", "of b");
    // The policy of `b` denies the pull.
    pair.grant(&["pull", "push"], "**");
    let said = pair.fails(&["sync", "a", "--push"], DENIED);
    assert!(
        said.contains("this device's policy does not let the peer pull it\nhint: allow it: stronghold grant"),
        "{said}"
    );
    // The policy of `a` denies the push by `b`.
    let pair = Pair::new();
    pair.b.put("of/b/new", "of b");
    pair.grant(&["import", "browse", "pull"], "**");
    pair.b.ok(&["grant", "a", "pull", "--select", "**"]);
    assert_eq!(pair.fails(&["sync", "a", "--push"], DENIED), DENIAL);
    assert_eq!(
        (pair.logged()["operation"].as_str(), pair.logged()["allowed"].as_bool()),
        (Some("push"), Some(false))
    );
    pair.a.is_absent("of/b/new");
}

#[test]
fn without_any_rule_everything_is_denied() {
    let pair = Pair::new();
    for args in [
        &["clone", "a"][..],
        &["browse", "a"],
        &["fetch", "a", "wallet/web/mail"],
        &["sync", "a"],
        &["sync", "a", "--pull"],
        &["sync", "a", "--dry-run"],
    ] {
        assert_eq!(pair.fails(args, DENIED), DENIAL, "{args:?}");
    }
    pair.a.ok(&["verify"]);
    let log = pair.logged_at_the_end();
    let counts: Vec<_> = log
        .iter()
        .map(|logged| {
            assert_eq!(logged["allowed"], false);
            (logged["operation"].as_str().unwrap(), logged["count"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(counts, [("import", 1), ("browse", 1), ("pull", 1), ("pull", 3)], "{log:?}");
}

#[test]
fn a_denial_in_json_is_an_error_object() {
    let pair = Pair::new();
    let said = pair.fails(&["sync", "a", "--json"], DENIED);
    let error = one_line(&said)["error"].take();
    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("denied"), Some(7)));
}

#[test]
fn a_sync_that_may_pull_nothing_says_so() {
    let pair = Pair::new();
    pair.grant(&["push"], "**");
    pair.b.ok(&["grant", "a", "pull", "--select", "**"]);
    pair.b.put("own/v/r", "1");
    let done = pair.b.run(&pair.at(&["sync", "a"]), b"");
    assert!(done.stderr.contains("note: a lets this device pull nothing of it\n"), "{}", done.stderr);
    assert_eq!(pair.a.get("own/v/r"), "1");
    pair.grant(&["pull"], "**");
    let done = pair.b.run(&pair.at(&["sync", "a"]), b"");
    assert!(!done.stderr.contains("pull nothing of it"), "{}", done.stderr);
}

/// Without a confirmation, a dry run reports that the real run needs one.
#[test]
fn a_dry_run_that_would_delete_many_says_what_it_takes() {
    let pair = Pair::trusting();
    let rows: String = (0..20).map(|n| format!("Root/G,Site {n},x{n}\n")).collect();
    let table = pair.b.file("table.csv", format!("Group,Title,Password\n{rows}").as_bytes());
    pair.b.ok(&["import", "--format", "csv", &table]);
    pair.sync(&[]);
    let hints = |args: &[&str]| {
        let done = pair.b.run(&pair.at(&[&["sync", "a", "--dry-run"], args].concat()), b"");
        assert_eq!(done.exit, 0, "{}", done.stderr);
        done.stderr.contains("hint: that many deletions are done only with --confirm-deletions\n")
    };
    (0..10).for_each(|n| drop(pair.b.ok(&["remove", &format!("imported/G/Site {n}/password")])));
    assert!(!hints(&[]), "ten are not many");
    pair.b.ok(&["remove", "imported/G/Site 10/password"]);
    assert!(hints(&[]) && !hints(&["--confirm-deletions"]));
}

#[test]
fn a_clone_has_no_name_that_no_device_may_have() {
    let device = crate::common::Device::without_snapshot();
    let code = stronghold_net::PairingCode::generate().unwrap().reveal().to_string();
    for (name, says) in [("", "has 1 to 64 characters"), ("a\nb", "has no control characters")] {
        let done = device.run(&["clone", "--join", "127.0.0.1:1", "--name", name], code.as_bytes());
        assert_eq!(done.exit, crate::common::USAGE, "{}", done.stderr);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
}

#[test]
fn a_sync_with_the_only_paired_device_needs_no_name() {
    let pair = Pair::trusting();
    pair.b.put("of/b/new", "of b");
    assert_eq!(pair.ask(&["sync"])["sent"], 1);
    let alone = Device::new("alone");
    let said = alone.fails_cleanly(&["sync"], NOT_FOUND);
    assert!(said.contains("no device is paired"), "{said}");
    let third = Device::new("third");
    crate::common::pair(&pair.b, &third);
    let said = pair.b.fails_cleanly(&["sync"], USAGE);
    assert!(said.contains("several devices are paired: name one"), "{said}");
}
