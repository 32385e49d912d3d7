//! Tests the exact text that people see of two devices: rules, previews and results of a sync, the
//! log, and stderr.

use crate::common::{DENIED, Device, Ended, Pair, paired};

/// Replaces times by TIME, ids and their prefixes by ID, and byte counts by N.
fn without_chance(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_matches(|letter: char| "(),;:".contains(letter));
        let is_hex = |text: &str| text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_id = bare.len() > 16 && bare.split('-').all(is_hex);
        let parts = |separator| bare.split(separator).map(str::len).collect::<Vec<_>>();
        let (is_day, is_time) = (parts('-') == [4, 2, 2], parts(':') == [2, 2, 2]);
        match () {
            () if is_id => word.replace(bare, "ID"),
            () if is_day => word.replace(bare, "DAY"),
            () if is_time => word.replace(bare, "TIME"),
            () => word.to_owned(),
        }
    };
    let line = |line: &str| {
        let words: Vec<String> = line.split(' ').map(word).collect();
        let line = words.join(" ").replace("DAY TIME", "TIME");
        match line.split_once("unchanged; ") {
            Some((before, bytes)) if bytes.ends_with(" out") => {
                format!("{before}unchanged; N bytes in, N out")
            }
            _ => line,
        }
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

#[track_caller]
fn says(done: &Ended, exit: i32, stdout: &str, stderr: &str) {
    let shown = without_chance(std::str::from_utf8(&done.stdout).unwrap());
    assert_eq!((shown.as_str(), without_chance(&done.stderr).as_str()), (stdout, stderr));
    assert_eq!(done.exit, exit);
}

fn run(device: &Device, args: &[&str]) -> Ended {
    device.run(args, b"")
}

#[test]
fn rules_of_each_kind() {
    let (a, _b) = paired();
    says(&run(&a, &["peers"]), 0, "b  ID\n", "");
    let granted = [
        (&["pull", "push", "--select", "wallet/**"][..], "pull, push on wallet/**"),
        (&["delete", "--select", "a", "--expires", "2130-01-31"], "delete on a, until TIME"),
        (&["browse", "--select", "wallet/**", "--ask"], "browse on wallet/**, asking each time"),
    ];
    for (args, may) in granted {
        let expected = format!("b (ID) may now: {may}\n");
        says(&run(&a, &[&["grant", "b"], args].concat()), 0, &expected, "");
    }
    let shown = "b  ID\n    1  pull push on wallet/**\n    2  delete on a, until TIME\n    3  browse on wallet/**, asking each time\n";
    says(&run(&a, &["peers"]), 0, shown, "");
    let left = "b (ID) may still:\n    1  push on wallet/**\n    2  delete on a, until TIME\n    3  browse on wallet/**, asking each time\n";
    says(&run(&a, &["deny", "b", "pull"]), 0, left, "");
    says(&run(&a, &["deny", "b"]), 0, "b (ID) may do nothing here any more\n", "");
    says(
        &run(&a, &["revoke", "b"]),
        0,
        "revoked b (ID): 0 rules and its trust are gone; it has to be paired again to come back\n",
        "hint: what it has received, it keeps; no value of now is noted as known to it\n",
    );
    says(&run(&a, &["peers"]), 0, "", "no paired devices: `stronghold pair` adds one\n");
    says(&run(&a, &["log"]), 0, "TIME  b  revoked\n", "");
}

#[test]
fn a_sync_before_and_after_and_what_waits_for_a_rule() {
    let pair = Pair::new();
    pair.grant(&["pull", "push"], "wallet/**");
    pair.b.ok(&["grant", "a", "pull", "push", "delete", "--select", "**"]);
    pair.b.put("wallet/web/new", "new");
    pair.b.put("other/x/y", "stays");
    let records = "\
        + wallet/tokens/api\n+ wallet/web/mail\n+ wallet/web/shop\n\
        at a:\n+ wallet/web/new\n\
        not sent: a does not let this device push (1 record)\n  other/x/y\n";
    let counts = "received 3, sent 1, deleted 0, 0 in conflict, 0 unchanged; N bytes in, N out\n";
    let would = format!("would have {counts}{records}");
    says(&run(&pair.b, &pair.at(&["sync", "a", "--dry-run"])), 0, &would, "");
    let waits = "\
        error: not sent: a does not let this device push (1 record); everything else is done\n\
        hint: allow it there: stronghold grant THIS-DEVICE push delete --select SELECTION\n";
    says(&run(&pair.b, &pair.at(&["sync", "a"])), DENIED, &format!("{counts}{records}"), waits);
    let again = "\
        received 0, sent 0, deleted 0, 0 in conflict, 4 unchanged; N bytes in, N out\n\
        not sent: a does not let this device push (1 record)\n  other/x/y\n";
    says(&run(&pair.b, &pair.at(&["sync", "a"])), DENIED, again, waits);

    let log =
        "TIME  a  allowed  took on **  3 entries, 74 bytes\nTIME  a  allowed  gave on **  1 entry, 3 bytes\n";
    says(&run(&pair.b, &["log"]), 0, log, "");
    let a = pair.stopped();
    let known = "\
        TIME        26  wallet/tokens/api\nTIME        24  wallet/web/mail\nTIME         3  wallet/web/new\n\
        TIME        24  wallet/web/shop\n";
    says(&run(&a, &["list", "--shared-with", "b"]), 0, known, "");
    let hint = "hint: what it has received, it keeps; `stronghold list --shared-with b` shows which values to change\n";
    let revoked = "revoked b (ID): 1 rule and its trust are gone; it has to be paired again to come back\n";
    says(&run(&a, &["revoke", "b"]), 0, revoked, hint);
}

#[test]
fn what_is_looked_at_and_picked() {
    let pair = Pair::new();
    pair.grant(&["browse", "pull"], "wallet/**");
    let found = "TIME        26  wallet/tokens/api\nTIME        24  wallet/web/mail\nTIME        24  wallet/web/shop\n";
    says(&run(&pair.b, &pair.at(&["browse", "a"])), 0, found, "");
    says(&run(&pair.b, &pair.at(&["browse", "a", "wallet/no-such"])), 0, "", "");
    let received = "received 1, sent 0, deleted 0, 0 in conflict, 0 unchanged; N bytes in, N out\n";
    says(&run(&pair.b, &pair.at(&["fetch", "a", "wallet/web/mail"])), 0, received, "");
    let denied = crate::common::DENIAL;
    says(&run(&pair.b, &pair.at(&["browse", "a", "work"])), DENIED, "", denied);
    says(&run(&pair.b, &pair.at(&["clone", "a"])), DENIED, "", denied);
}
