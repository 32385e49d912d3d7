//! Tests how conflicts are shown and resolved, by rule and at a terminal.
#![cfg(unix)]

use serde_json::{Value, json};

use crate::common::{DECISION, Device, NOT_FOUND, USAGE, at_terminal, end, pair, strings};
use expectrl::{Expect, session::OsSession};

/// Returns two devices, `here` and `there`. `here` has a conflict of both in each of `records`: its
/// own value `mine`, and the newer value `theirs`.
fn conflicting(records: &[&str]) -> (Device, Device) {
    let (here, there) = (Device::new("here-itself"), Device::new("there"));
    pair(&here, &there);
    for record in records {
        here.put(record, "mine");
    }
    std::thread::sleep(std::time::Duration::from_millis(2));
    for record in records {
        there.put(record, "theirs");
    }
    merge(&here, &there);
    (here, there)
}

fn merge(here: &Device, there: &Device) -> Value {
    let (file, key) = (there.snapshot(), there.key_file());
    here.json(&["merge", file.to_str().unwrap(), "--other-key-file", &key])
}

fn conflicts(device: &Device) -> Vec<String> {
    strings(&device.json(&["conflicts"])["conflicts"], "location")
}

fn asked(device: &Device, args: &[&str]) -> OsSession {
    at_terminal(device, &[&["resolve", "--key-file", &device.key_file()], args].concat())
}

const PROMPT: &str = "[s]kip, [q]uit: ";

#[test]
fn conflicts_show_device_time_length_and_the_next_command() {
    let (here, _there) = conflicting(&["a/b/c"]);
    let done = here.run(&["conflicts"], b"");
    let said = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["a/b/c"]);
    assert_eq!((lines[1][0], &lines[1][4..]), ("here", &["4", "bytes"][..]));
    assert_eq!((lines[2][0], &lines[2][4..]), ("there", &["6", "bytes", "newest"][..]));
    assert!(done.stderr.starts_with("hint: `stronghold resolve` goes through them"), "{}", done.stderr);
    let heads = here.json(&["conflicts"])["conflicts"][0]["heads"].take();
    assert_eq!((&heads[0]["length"], &heads[1]["length"]), (&json!(4), &json!(6)));
    assert!(heads[1]["revision"].as_str().unwrap().starts_with(lines[2][3]));
}

#[test]
fn a_rule_resolves_one_record_or_all() {
    let records = ["a/b/1", "a/b/2", "a/c/3"];
    let (here, _there) = conflicting(&records);
    assert_eq!(conflicts(&here), records);
    here.fails_cleanly(&["resolve"], USAGE);
    here.fails_cleanly(&["resolve", "--keep", "newest"], USAGE);
    here.fails_cleanly(&["resolve", "--keep", "nobody", "--all"], NOT_FOUND);
    here.fails_cleanly(&["resolve", "a/b/9", "--keep", "newest"], NOT_FOUND);
    let planned = here.json(&["resolve", "--all", "--keep", "here", "--dry-run"]);
    assert_eq!(strings(&planned["resolved"], "location"), records);
    assert_eq!(conflicts(&here), records);
    let done = here.json(&["resolve", "--select", "a/b/*", "--keep", "here"]);
    assert_eq!(strings(&done["records"], "change"), ["changed", "changed"]);
    assert_eq!((conflicts(&here), here.get("a/b/1")), (vec!["a/c/3".to_owned()], "mine".into()));
    here.ok(&["undo"]);
    assert_eq!(conflicts(&here), records);
    // It is still known which device wrote which value.
    assert_eq!(here.ok(&["resolve", "a/b/2", "--keep", "there"]), "resolved 1 record\n~ a/b/2\n");
    assert_eq!(here.get("a/b/2"), "theirs");
    here.ok(&["resolve", "--all", "--keep", "newest"]);
    assert_eq!((conflicts(&here).len(), here.get("a/c/3")), (0, "theirs".into()));
    let said = here.fails_cleanly(&["resolve", "a/b/2", "--keep", "newest"], NOT_FOUND);
    assert!(said.starts_with("error: a/b/2 is not in conflict"), "{said}");
    here.fails_cleanly(&["resolve", "--all", "--keep", "newest"], NOT_FOUND);
}

#[test]
fn a_record_without_a_value_of_the_rule_stays_and_is_named() {
    let (here, there) = conflicting(&["a/b/1"]);
    let third = Device::new("third");
    third.put("a/b/1", "other");
    third.put("a/b/2", "other");
    here.put("a/b/2", "mine");
    merge(&here, &third);
    drop(there);
    let done = here.run(&["resolve", "--all", "--keep", "there"], b"");
    assert_eq!((done.exit, done.stdout), (DECISION, b"resolved 1 record\n~ a/b/1\n".to_vec()));
    let said = "error: 1 record stays in conflict; the others are resolved (a/b/2: none of its values is of there)\n";
    assert!(done.stderr.starts_with(said), "{}", done.stderr);
    assert_eq!(conflicts(&here), ["a/b/2"]);
    here.fails_cleanly(&["resolve", "--all", "--keep", "there"], DECISION);
}

#[test]
fn conflicts_that_stood_are_told_from_new_ones() {
    let (here, there) = conflicting(&["a/b/1", "a/b/2"]);
    let merged = merge(&here, &there);
    assert_eq!((&merged["conflicts"], &merged["conflicts_standing"]), (&json!(0), &json!(2)));
    let third = Device::new("third");
    third.put("a/c/1", "other");
    here.put("a/c/1", "mine");
    let (file, key) = (third.snapshot(), third.key_file());
    let args = ["merge", file.to_str().unwrap(), "--other-key-file", &key];
    for args in [&[&args[..], &["--dry-run"]].concat()[..], &args] {
        let done = here.run(args, b"");
        let hint = "hint: 2 older conflicts stand; `stronghold resolve` goes through the conflicts\n";
        assert_eq!(done.stderr, hint, "{args:?}");
    }
    here.ok(&["resolve", "a/b/1", "--keep", "here"]);
    here.ok(&["resolve", "a/c/1", "--keep", "here"]);
    let hint = "hint: 1 older conflict stands; `stronghold resolve` goes through the conflicts\n";
    assert_eq!(here.run(&args, b"").stderr, hint);
}

#[test]
fn a_person_goes_through_the_conflicts() {
    let (here, _there) = conflicting(&["a/b/1", "a/b/2", "a/b/3", "a/b/4"]);
    let mut session = asked(&here, &[]);
    session.expect("a/b/1  (1 of 4)").unwrap();
    session.expect("  1  here ").unwrap();
    session.expect("  2  there ").unwrap();
    session.expect(PROMPT).unwrap();
    session.send_line("7").unwrap();
    session.expect("1 to 2, or the first letter of a word").unwrap();
    session.send_line("v").unwrap();
    session.expect("  1  mine").unwrap();
    session.expect("  2  theirs").unwrap();
    session.expect(PROMPT).unwrap();
    session.send_line("1").unwrap();
    session.expect("a/b/2  (2 of 4)").unwrap();
    session.expect(PROMPT).unwrap();
    session.send_line("b").unwrap();
    session.expect("name for the value of here [a/b/2-2]: ").unwrap();
    session.send_line("a/b/1").unwrap();
    session.expect("a record has that name").unwrap();
    session.send_line("").unwrap();
    session.expect("the value of there keeps the name").unwrap();
    session.expect("a/b/3  (3 of 4)").unwrap();
    session.expect(PROMPT).unwrap();
    session.send_line("s").unwrap();
    session.expect("a/b/4  (4 of 4)").unwrap();
    session.expect(PROMPT).unwrap();
    session.send_line("q").unwrap();
    let (exit, said) = end(session);
    assert!(
        exit == 0 && said.contains("resolved 2 records\r\n~ a/b/1\r\n~ a/b/2\r\n+ a/b/2-2\r\n"),
        "{said}"
    );
    assert_eq!(conflicts(&here), ["a/b/3", "a/b/4"]);
    let values = ["a/b/1", "a/b/2", "a/b/2-2"].map(|record| here.get(record));
    assert_eq!(values, ["mine", "theirs", "mine"]);
    here.ok(&["undo"]);
    assert_eq!(conflicts(&here).len(), 4, "all decisions are one step");
}

#[test]
fn a_put_over_a_conflict_says_so() {
    let (here, _there) = conflicting(&["a/b/1"]);
    let done = here.run(&["put", "a/b/1"], b"both");
    let told = "replaced the values of a/b/1, which was in conflict (`stronghold undo`)\n";
    assert_eq!((done.exit, &*done.stderr), (0, told));
    assert!(conflicts(&here).is_empty());
}

#[test]
fn who_quits_is_asked_no_more() {
    let (here, _there) = conflicting(&["a/b/1", "a/b/2"]);
    let mut session = asked(&here, &[]);
    session.expect("a/b/1  (1 of 2)").unwrap();
    session.expect(PROMPT).unwrap();
    session.send_line("q").unwrap();
    let (exit, said) = end(session);
    assert!(exit == 0 && !said.contains("(2 of 2)"), "{said}");
    assert_eq!(conflicts(&here), ["a/b/1", "a/b/2"]);
}

#[test]
fn what_changed_meanwhile_is_shown_again_and_values_are_escaped() {
    let (here, _there) = conflicting(&["a/b/1"]);
    let other = Device::new("there");
    other.put("a/b/1", "\u{1b}[2Jthird");
    let mut session = asked(&here, &["a/b/1"]);
    session.expect(PROMPT).unwrap();
    merge(&here, &other);
    session.send_line("1").unwrap();
    session.expect("a/b/1 was changed meanwhile; nothing was changed").unwrap();
    session.expect(PROMPT).unwrap();
    session.send_line("v").unwrap();
    session.expect("\\u{1b}[2Jthird").unwrap();
    session.expect(PROMPT).unwrap();
    session.send_line("2").unwrap();
    assert_eq!(end(session).0, 0);
    assert_eq!((conflicts(&here).len(), here.get("a/b/1")), (0, "theirs".into()));
}

#[test]
fn the_end_of_the_input_ends_the_walk() {
    let (here, _there) = conflicting(&["a/b/1"]);
    let mut session = asked(&here, &[]);
    session.expect(PROMPT).unwrap();
    session.send("\u{4}").unwrap();
    assert_eq!(end(session).0, 0);
    assert_eq!(conflicts(&here), ["a/b/1"]);
}
