//! What a rule allows, and what it never shows.

mod common;

use std::{thread, time::Duration};

use common::{DENIAL, DENIED, Pair, USAGE, counts, strings};

#[test]
fn a_grant_on_one_vault_never_shows_another() {
    let pair = Pair::new();
    pair.grant(&["browse", "pull", "push", "delete", "import"], "wallet/web/**");
    pair.b.ok(&["grant", "a", "pull", "--select", "**"]);
    let found = pair.ask(&["browse", "a"]);
    assert_eq!(strings(&found["entries"], "location"), ["wallet/web/mail", "wallet/web/shop"]);
    assert!(!found.to_string().contains("tokens") && !found.to_string().contains("work"));

    // An entry of b at a place that a does not let it see: it stays where it is, and a's stays unseen.
    pair.b.put("work/web/mail", "of b");
    assert_eq!(pair.sync(&[])[..4], [2, 0, 0, 0]);
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
        let done = pair.ask(&["sync", "a", "--pull"]);
        let again = pair.ask(&["sync", "a", "--pull"]);
        assert_eq!(pair.ask(&["browse", "a"])["entries"].as_array().unwrap().len(), 3);
        [&done, &again].map(|done| {
            (counts(done, ["received", "unchanged", "round_trips"]), counts(done, ["bytes_in"])[0])
        })
    });
    for (without, with) in answers[0].iter().zip(&answers[1]) {
        assert_eq!(without.0, with.0);
        // Signatures have a length of their own: a few bytes each.
        assert!(without.1.abs_diff(with.1) < 40, "{answers:?}");
    }
}

#[test]
fn a_guest_is_granted_one_way() {
    let pair = Pair::new();
    pair.grant(&["pull"], "wallet/web/**");
    pair.b.put("wallet/web/guest", "of the guest");
    assert_eq!(pair.sync(&[])[..4], [2, 0, 0, 0]);
    pair.b.put("wallet/web/mail", "changed by the guest");
    pair.b.ok(&["remove", "wallet/web/shop"]);
    pair.b.ok(&["grant", "a", "pull", "push", "delete", "--select", "**"]);
    let before = pair.a.entries();
    assert_eq!(pair.sync(&[])[1], 0, "the guest's command does not open the host");
    assert_eq!(pair.a.entries(), before);
    assert_eq!(pair.b.get("wallet/web/mail"), "changed by the guest");
    pair.a.put("wallet/web/new", "new");
    assert_eq!(pair.sync(&[])[0], 1);
    assert_eq!(pair.b.get("wallet/web/new"), "new");
}

#[test]
fn deleting_needs_a_rule_of_its_own() {
    let pair = Pair::new();
    pair.grant(&["pull", "push"], "**");
    pair.b.ok(&["grant", "a", "pull", "--select", "**"]);
    pair.sync(&[]);
    pair.b.ok(&["remove", "wallet/web/shop"]);
    pair.b.put("wallet/web/mail", "edited");
    pair.sync(&[]);
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
    let pair = Pair::new();
    pair.a.ok(&["grant", "b", "pull", "--select", "**", "--expires", "2s"]);
    assert_eq!(pair.sync(&[])[0], 4);
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(pair.fails(&["sync", "a"], DENIED), DENIAL);
    let said = pair
        .a
        .fails_cleanly(&["grant", "b", "pull", "--select", "**", "--expires", "2001-01-01T00:00:00Z"], USAGE);
    assert!(said.contains("that time is past"), "{said}");
}

#[test]
fn a_rule_that_asks_is_a_no_without_a_person() {
    let pair = Pair::new();
    pair.a.ok(&["grant", "b", "pull", "--select", "**", "--ask"]);
    assert_eq!(pair.fails(&["sync", "a"], DENIED), DENIAL);
    assert_eq!(pair.logged()["allowed"], false);
}
