//! Tests what a rule allows, and what it never shows.

use std::{thread, time::Duration};

use crate::common::{DECISION, DENIAL, DENIED, Pair, USAGE, counts, strings, summary};

#[test]
fn a_grant_on_one_vault_never_shows_another() {
    let pair = Pair::new();
    pair.grant(&["browse", "pull", "push", "delete", "import"], "wallet/web/**");
    pair.b.ok(&["grant", "a", "pull", "push", "delete", "--select", "**"]);
    let found = pair.ask(&["browse", "a"]);
    assert_eq!(strings(&found["entries"], "location"), ["wallet/web/mail", "wallet/web/shop"]);
    assert!(!found.to_string().contains("tokens") && !found.to_string().contains("work"));

    // An entry of `b` at a location that `a` does not let it see: it is not sent, and the entry of
    // `a` stays hidden.
    pair.b.put("work/web/mail", "of b");
    let done = pair.sync_with_some_left(&[]);
    assert_eq!(summary(&done)[..4], [2, 0, 0, 0]);
    let waits = serde_json::json!([{ "reason": "may_not_push", "records": 1, "names": ["work/web/mail"] }]);
    assert_eq!((&done["not_sent"], &done["not_taken"]), (&waits, &serde_json::json!([])));
    assert_eq!(pair.b.locations(), ["wallet/web/mail", "wallet/web/shop", "work/web/mail"]);
    assert_eq!(pair.b.values("work/web/mail"), ["of b"]);
    assert_eq!(pair.a.values("work/web/mail"), ["value of work/web/mail"]);
    assert_eq!(counts(&pair.logged(), ["entries"]), [0]);
    let clone = pair.ask(&["clone", "a"]);
    assert_eq!(clone["received"], 0, "all that may be had is there");

    for place in ["work/web/mail", "wallet/tokens/api", "no/such/record"] {
        assert_eq!(pair.fails(&["fetch", "a", place], DENIED), DENIAL, "{place}");
        assert_eq!(pair.fails(&["browse", "a", place], DENIED), DENIAL, "{place}");
    }
}

#[test]
fn what_is_outside_a_grant_changes_no_byte_of_the_answer() {
    let rows: String = (0..300).map(|n| format!("Root/secret,Site {n},x{n}\n")).collect();
    let answers = [false, true].map(|has_more| {
        let pair = Pair::new();
        if has_more {
            let table = pair.a.file("table.csv", format!("Group,Title,Password\n{rows}").as_bytes());
            pair.a.ok(&["import", "--format", "csv", "--into", "work", &table]);
        }
        pair.grant(&["browse", "pull"], "wallet/**");
        let done = pair.ask(&["sync", "a", "--pull", "--take", "--yes"]);
        let again = pair.ask(&["sync", "a", "--pull", "--take", "--yes"]);
        assert_eq!(pair.ask(&["browse", "a"])["entries"].as_array().unwrap().len(), 3);
        [&done, &again].map(|done| {
            (counts(done, ["received", "unchanged", "round_trips"]), counts(done, ["bytes_in"])[0])
        })
    });
    for (without, with) in answers[0].iter().zip(&answers[1]) {
        assert_eq!(without.0, with.0);
        // Signatures vary in length by a few bytes each.
        assert!(without.1.abs_diff(with.1) < 40, "{answers:?}");
    }
}

#[test]
fn a_guest_is_granted_one_way() {
    let pair = Pair::new().trusting_b();
    pair.grant(&["pull"], "wallet/web/**");
    pair.b.put("wallet/web/guest", "of the guest");
    let done = pair.sync_with_some_left(&[]);
    assert_eq!(summary(&done)[..4], [2, 0, 0, 0]);
    let waits =
        serde_json::json!([{ "reason": "may_not_pull", "records": 1, "names": ["wallet/web/guest"] }]);
    assert_eq!(done["not_sent"], waits, "nobody said that the host may have it");
    assert_eq!(pair.sync(&["--pull"])[..4], [0, 0, 0, 0], "who wants to receive only has nothing that waits");
    pair.b.put("wallet/web/mail", "changed by the guest");
    pair.b.ok(&["remove", "wallet/web/shop"]);
    pair.b.ok(&["grant", "a", "pull", "push", "delete", "--select", "**"]);
    let before = pair.a.entries();
    let done = pair.sync_with_some_left(&[]);
    assert_eq!(summary(&done)[1], 0, "the guest's command does not open the host");
    let names = |of: &serde_json::Value| strings(&serde_json::json!([of]), "reason");
    assert_eq!(names(&done["not_sent"][0]), ["may_not_push"]);
    assert_eq!(done["not_sent"][0]["names"], serde_json::json!(["wallet/web/guest", "wallet/web/mail"]));
    assert_eq!(done["not_sent"][1]["names"], serde_json::json!(["wallet/web/shop"]));
    assert_eq!(pair.a.entries(), before);
    assert_eq!(pair.b.get("wallet/web/mail"), "changed by the guest");
    pair.a.put("wallet/web/new", "new");
    assert_eq!(pair.sync(&["--pull"])[0], 1);
    assert_eq!(pair.b.get("wallet/web/new"), "new");
}

#[test]
fn deleting_needs_a_rule_of_its_own() {
    let pair = Pair::new();
    pair.grant(&["pull", "push"], "**");
    pair.b.ok(&["grant", "a", "pull", "push", "--select", "**"]);
    pair.sync(&[]);
    pair.b.ok(&["remove", "wallet/web/shop"]);
    pair.b.put("wallet/web/mail", "edited");
    let done = pair.sync_with_some_left(&[]);
    let waits =
        serde_json::json!([{ "reason": "may_not_delete", "records": 1, "names": ["wallet/web/shop"] }]);
    assert_eq!(done["not_sent"], waits);
    assert_eq!(
        (pair.a.get("wallet/web/shop"), pair.a.get("wallet/web/mail")),
        ("value of wallet/web/shop".into(), "edited".into())
    );
    pair.b.is_absent("wallet/web/shop");
    pair.grant(&["delete"], "wallet/web/**");
    pair.sync(&[]);
    pair.a.is_absent("wallet/web/shop");
}

#[test]
fn a_rule_ends_with_its_time() {
    let pair = Pair::new().trusting_b();
    pair.a.ok(&["grant", "b", "pull", "--select", "**", "--expires", "2s"]);
    assert_eq!(pair.sync(&[])[0], 4);
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(pair.fails(&["sync", "a"], DENIED), DENIAL);
    let said = pair
        .a
        .fails_cleanly(&["grant", "b", "pull", "--select", "**", "--expires", "2001-01-01T00:00:00Z"], USAGE);
    assert!(said.contains("expiry is in the past: \"2001-01-01T00:00:00Z\""), "{said}");
    // A clock that was later once has ended such a rule already.
    let later = stronghold_snapshot::now().saturating_add(Duration::from_secs(10 * 24 * 60 * 60));
    pair.a.vault().update(|stronghold| Ok(stronghold.policy_mut().observe_time(later))).unwrap();
    let said = pair.a.fails_cleanly(&["grant", "b", "pull", "--select", "**", "--expires", "9days"], USAGE);
    assert!(said.contains("whose clock was later once") && said.contains("nothing was granted"), "{said}");
    pair.a.ok(&["grant", "b", "pull", "--select", "**", "--expires", "11days"]);
}

#[test]
fn a_rule_that_asks_is_a_no_without_a_person() {
    let pair = Pair::new();
    pair.a.ok(&["grant", "b", "pull", "--select", "**", "--ask"]);
    let said = pair.fails(&["sync", "a"], DENIED);
    let hint = "a rule there asks a person, and nobody said yes in time: speak with them, and try again";
    assert_eq!(said, format!("error: the peer does not permit it\nhint: {hint}\n"));
    assert_eq!(pair.logged()["allowed"], false);
}

/// The owner syncs with a guest, which must not gain by that: here `b` is the owner, and `a` the
/// guest that serves.
#[test]
fn a_plain_sync_takes_nothing_that_no_rule_of_this_side_covers() {
    let pair = Pair::trusting();
    pair.sync(&[]);
    pair.b.ok(&["deny", "a", "push", "delete", "import", "browse"]);
    pair.a.put("wallet/web/mail", "EVIL");
    pair.a.put("wallet/web/new", "EVIL");
    pair.a.ok(&["remove", "wallet/web/shop"]);
    let before = pair.b.entries();
    let done = pair.sync_with_some_left(&[]);
    assert_eq!((summary(&done)[..3].to_vec(), pair.b.entries()), (vec![0, 0, 0], before.clone()));
    let waits = serde_json::json!([
        { "reason": "may_not_push", "records": 2, "names": ["wallet/web/mail", "wallet/web/new"] },
        { "reason": "may_not_delete", "records": 1, "names": ["wallet/web/shop"] },
    ]);
    assert_eq!(done["not_taken"], waits);
    let done = pair.b.run(&pair.at(&["sync", "a"]), b"");
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(
        said.contains("not taken: a may not push here (2 records)\n  wallet/web/mail\n  wallet/web/new\n"),
        "{said}"
    );
    assert!(done.stderr.contains("not taken: a may not push here (2 records)"), "{}", done.stderr);

    let dry = pair.ask(&["sync", "a", "--dry-run"]);
    assert_eq!((&dry["received"], &dry["records"]), (&serde_json::json!(0), &serde_json::json!([])));

    // A dry run lists the changes too; taking them needs a confirmation, which a script gives by
    // `--yes`.
    let done = pair.ask(&["sync", "a", "--dry-run", "--take"]);
    let change = |location: &str, change: &str| serde_json::json!({ "location": location, "change": change });
    let records = [("wallet/web/mail", "changed"), ("wallet/web/new", "new"), ("wallet/web/shop", "deleted")];
    assert_eq!(done["records"], serde_json::Value::from_iter(records.map(|(name, what)| change(name, what))));
    let said = pair.fails(&["sync", "a", "--take"], DECISION);
    assert!(said.contains("~ wallet/web/mail\n+ wallet/web/new\n- wallet/web/shop"), "{said}");
    assert_eq!(pair.b.entries(), before);
    assert_eq!(pair.sync(&["--take", "--yes"])[..3], [3, 0, 1]);
    assert_eq!(pair.b.get("wallet/web/mail"), "EVIL");
    let log = pair.b.json(&["log"])["entries"].take();
    let took: Vec<_> =
        strings(&log, "operation").into_iter().filter(|deed| deed.starts_with("took")).collect();
    assert!(took.contains(&"took".into()) && took.contains(&"took deletions".into()), "{log}");
}
