//! Tests local sync from another snapshot file: all of it or a selection, under the same or mapped
//! names.

use crate::common::{DECISION, Device, NOT_FOUND, counts};
use serde_json::Value;

const FIELDS: [&str; 4] = ["received", "deleted", "conflicts", "unchanged"];

impl Device {
    #[track_caller]
    fn merge(&self, other: &Device, args: &[&str]) -> [u64; 4] {
        counts(&self.merged(other, args), FIELDS)
    }

    #[track_caller]
    fn merged(&self, other: &Device, args: &[&str]) -> Value {
        let (file, key) = (other.snapshot(), other.key_file());
        self.json(&[&["merge", file.to_str().unwrap(), "--other-key-file", &key], args].concat())
    }

    #[track_caller]
    fn merge_fails(&self, other: &Device, args: &[&str], exit: i32) -> String {
        let (file, key) = (other.snapshot(), other.key_file());
        self.fails_cleanly(
            &[&["merge", file.to_str().unwrap(), "--other-key-file", &key], args].concat(),
            exit,
        )
    }

    /// Repeats a merge: nothing may change.
    #[track_caller]
    fn merge_again_changes_nothing(&self, other: &Device, args: &[&str]) {
        let before = self.files();
        let done = self.merge(other, args);
        assert_eq!(done[..3], [0, 0, 0]);
        assert!(self.files() == before, "a merge of nothing new wrote a generation");
    }
}

fn with(entries: &[(&str, &str)]) -> Device {
    let device = Device::new("device");
    entries.iter().for_each(|(location, value)| device.put(location, value));
    device
}

/// Creates two devices with a common history: `s/v/same`, `s/v/edited` and `s/v/removed`.
fn common_past() -> (Device, Device) {
    let a = with(&[("s/v/same", "same"), ("s/v/edited", "old"), ("s/v/removed", "old")]);
    let b = Device::new("b");
    assert_eq!(b.merge(&a, &[]), [3, 0, 0, 0]);
    (a, b)
}

#[test]
fn all_of_it() {
    let (a, b) = (with(&[("s/v/here", "1")]), with(&[("s/v/there", "2"), ("other/v/there", "3")]));
    assert_eq!(a.merge(&b, &[]), [2, 0, 0, 0]);
    assert_eq!(a.locations(), ["other/v/there", "s/v/here", "s/v/there"]);
    assert_eq!((a.get("s/v/there"), a.get("other/v/there")), ("2".into(), "3".into()));
    a.merge_again_changes_nothing(&b, &[]);
    assert_eq!(b.locations().len(), 2, "the other snapshot is only read");
    assert_eq!(b.merge(&a, &[]), [1, 0, 0, 2]);
    assert_eq!(a.entries(), b.entries());
}

#[test]
fn a_selection_of_it() {
    let theirs = [("wallet/web/mail", "1"), ("wallet/tokens/api", "2"), ("work/web/mail", "3")];
    for (select, expected) in [
        (&["wallet"][..], &["wallet/tokens/api", "wallet/web/mail"][..]),
        (&["wallet/web"], &["wallet/web/mail"]),
        (&["*/web/*"], &["wallet/web/mail", "work/web/mail"]),
        (&["wallet/tokens/api", "work/**"], &["wallet/tokens/api", "work/web/mail"]),
        (&["nothing/**"], &[]),
    ] {
        let (a, b) = (Device::new("a"), with(&theirs));
        let args: Vec<&str> = select.iter().flat_map(|select| ["--select", select]).collect();
        assert_eq!(a.merge(&b, &args)[0], expected.len() as u64, "{select:?}");
        assert_eq!(a.locations(), expected);
        a.merge_again_changes_nothing(&b, &args);
    }
}

#[test]
fn mapped_into_a_client_that_does_not_exist_yet() {
    let (a, b) = (Device::new("a"), with(&[("wallet/web/mail", "1"), ("work/web/mail", "2")]));
    assert_eq!(a.merge(&b, &["--map", "wallet=purse"])[0], 2);
    assert_eq!(a.locations(), ["purse/web/mail", "work/web/mail"]);
    assert_eq!(a.get("purse/web/mail"), "1");
    a.merge_again_changes_nothing(&b, &["--map", "wallet=purse"]);
    a.ok(&["verify"]);
}

#[test]
fn mapped_into_a_client_that_exists() {
    let a = with(&[("purse/web/mail", "mine"), ("purse/web/shop", "kept")]);
    let b = with(&[("wallet/web/mail", "theirs"), ("wallet/web/new", "new")]);
    assert_eq!(a.merge(&b, &["--map", "wallet=purse"]), [2, 0, 1, 0]);
    assert_eq!(a.locations(), ["purse/web/mail", "purse/web/new", "purse/web/shop"]);
    assert_eq!(a.values("purse/web/mail"), ["mine", "theirs"]);
    assert_eq!((a.get("purse/web/new"), a.get("purse/web/shop")), ("new".into(), "kept".into()));
    a.merge_again_changes_nothing(&b, &["--map", "wallet=purse"]);
}

#[test]
fn mapped_into_vaults_that_do_and_do_not_exist() {
    let a = with(&[("purse/sites/shop", "kept")]);
    let b = with(&[("wallet/web/mail", "1"), ("wallet/tokens/api", "2"), ("wallet/notes/n", "3")]);
    let map = ["--map", "wallet/web=purse/sites", "--map", "wallet/tokens=purse/new"];
    assert_eq!(a.merge(&b, &map)[0], 3);
    assert_eq!(a.locations(), ["purse/new/api", "purse/sites/mail", "purse/sites/shop", "wallet/notes/n"]);
    for (location, value) in [("purse/sites/mail", "1"), ("purse/new/api", "2"), ("wallet/notes/n", "3")] {
        assert_eq!(a.get(location), value);
    }
    a.merge_again_changes_nothing(&b, &map);
}

#[test]
fn a_mapped_entry_keeps_its_identity() {
    let (a, b) = (Device::new("a"), with(&[("wallet/web/mail", "old")]));
    let map = ["--map", "wallet=purse"];
    a.merge(&b, &map);
    b.put("wallet/web/mail", "new");
    assert_eq!(a.merge(&b, &map), [1, 0, 0, 0], "an update, no conflict");
    assert_eq!(a.get("purse/web/mail"), "new");
    assert_eq!(b.merge(&a, &["--map", "purse=wallet"]), [0, 0, 0, 1], "and it is known on the way back");
}

#[test]
fn edits_and_deletions_of_both_sides_meet() {
    let (a, b) = common_past();
    a.put("s/v/edited", "edited on a");
    b.ok(&["remove", "s/v/removed"]);
    assert_eq!(a.merge(&b, &[]), [1, 1, 0, 1]);
    assert_eq!(b.merge(&a, &[]), [1, 0, 0, 2]);
    a.is_absent("s/v/removed");
    assert_eq!(b.get("s/v/edited"), "edited on a");
    assert_eq!(a.entries(), b.entries());
}

#[test]
fn keep_both_leaves_a_conflict_with_both_values() {
    let (a, b) = common_past();
    a.put("s/v/edited", "of a");
    b.put("s/v/edited", "of b");
    assert_eq!(a.merge(&b, &[]), [1, 0, 1, 2]);
    assert_eq!(a.values("s/v/edited"), ["of a", "of b"]);
    let done = a.run(&["get", "s/v/edited"], b"");
    assert_eq!(done.stdout, b"of b", "the latest is shown");
    assert!(done.stderr.starts_with("warning: s/v/edited is in conflict"), "{}", done.stderr);
    let said = a.fails(&["get", "s/v/edited", "--strict"], DECISION);
    assert!(said.contains("is in conflict") && said.contains("hint: see `stronghold history"), "{said}");
    a.merge_again_changes_nothing(&b, &[]);

    let conflicts = a.json(&["conflicts"])["conflicts"].take();
    assert_eq!(
        (conflicts[0]["location"].as_str(), conflicts[0]["heads"].as_array().unwrap().len()),
        (Some("s/v/edited"), 2)
    );
    let keep = a.heads("s/v/edited").into_iter().find(|head| head.1.as_deref() == Some("of a")).unwrap().0;
    a.ok(&["resolve", "s/v/edited", "--keep", &keep[..12]]);
    assert_eq!(a.values("s/v/edited"), ["of a"]);
    assert_eq!(a.json(&["conflicts"])["conflicts"].as_array().unwrap().len(), 0);
    assert_eq!(b.merge(&a, &[]), [1, 0, 0, 2], "the decision travels");
    assert_eq!(b.values("s/v/edited"), ["of a"]);
}

#[test]
fn keep_local_and_take_other_write_the_decision_on_top() {
    for (policy, stays) in [("keep-local", "of a"), ("take-other", "of b")] {
        let (a, b) = common_past();
        a.put("s/v/edited", "of a");
        b.put("s/v/edited", "of b");
        assert_eq!(a.merge(&b, &["--on-conflict", policy]), [1, 0, 0, 2], "{policy}");
        assert_eq!(a.values("s/v/edited"), [stays]);
        let history = a.json(&["history", "s/v/edited"])["revisions"].take();
        let revisions = crate::common::strings(&history, "revision");
        let values: Vec<String> =
            revisions.iter().map(|id| a.ok(&["get", "s/v/edited", "--revision", id])).collect();
        assert!(
            ["of a", "of b"].iter().all(|value| values.contains(&(*value).into())),
            "{policy}: {values:?}"
        );
        a.merge_again_changes_nothing(&b, &["--on-conflict", policy]);
        assert_eq!(b.merge(&a, &[]), [1, 0, 0, 2], "{policy}: the decision travels");
        assert_eq!(b.values("s/v/edited"), [stays]);
    }
}

#[test]
fn an_edit_and_a_deletion_are_a_conflict_that_reads_as_the_edit() {
    let (a, b) = common_past();
    a.put("s/v/edited", "edited");
    b.ok(&["remove", "s/v/edited"]);
    assert_eq!(a.merge(&b, &[]), [1, 0, 1, 2]);
    assert_eq!(a.get("s/v/edited"), "edited");
    assert_eq!(b.merge(&a, &[])[2], 1);
    assert_eq!(b.get("s/v/edited"), "edited");
    assert_eq!(a.heads("s/v/edited"), b.heads("s/v/edited"));
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let (a, b) = common_past();
    b.put("s/v/edited", "of b");
    b.put("s/v/new", "new");
    b.ok(&["remove", "s/v/removed"]);
    let before = a.files();
    let planned = a.merge(&b, &["--dry-run"]);
    assert!(a.files() == before);
    assert_eq!(planned, [3, 1, 0, 1]);
    let (file, key) = (b.snapshot(), b.key_file());
    let dry = a.run(&["merge", file.to_str().unwrap(), "--other-key-file", &key, "--dry-run"], b"");
    assert_eq!((dry.exit, dry.stderr.as_str()), (0, ""), "nothing is to be confirmed");
    assert_eq!(a.merge(&b, &[]), planned);
}

#[test]
fn many_deletions_stop_and_ask() {
    let a = Device::new("a");
    let rows: String = (0..20).map(|n| format!("Root/G,Site {n},x{n}\n")).collect();
    let table = a.file("table.csv", format!("Group,Title,Password\n{rows}").as_bytes());
    a.ok(&["import", "--format", "csv", &table]);
    let b = Device::new("b");
    b.merge(&a, &[]);
    for n in 0..10 {
        b.ok(&["remove", &format!("imported/G/Site {n}/password")]);
    }
    assert_eq!(a.merge(&b, &["--dry-run"])[1], 10, "ten are not many");
    b.ok(&["remove", "imported/G/Site 10/password"]);

    let said = a.merge_fails(&b, &[], DECISION);
    assert_eq!(
        said,
        "error: the merge would delete or empty 11 of 20 records; nothing was changed\n\
         hint: look with --dry-run; if it is what you want, say --confirm-deletions\n"
    );
    assert_eq!(a.merge(&b, &["--dry-run"])[1], 11);
    let hints = |args: &[&str]| {
        let other = b.snapshot().to_str().unwrap().to_owned();
        let key = b.key_file();
        let done = a.run(&[&["merge", &other, "--other-key-file", &key], args].concat(), b"");
        (done.exit, done.stderr.contains("that many deletions are done only with --confirm-deletions"))
    };
    assert_eq!(hints(&["--dry-run"]), (0, true));
    assert_eq!(hints(&["--dry-run", "--confirm-deletions"]), (0, false));
    assert_eq!(a.merge(&b, &["--confirm-deletions"]), [11, 11, 0, 9]);
    assert_eq!(a.locations().len(), 9);
    a.fails(&["get", "imported/G/Site 10/password"], NOT_FOUND);
}

#[test]
fn many_values_that_become_empty_or_short_stop_and_ask() {
    for short in ["", "x"] {
        let a = Device::new("a");
        let value = |n: usize| format!("a value of some length, number {n}");
        (0..20).for_each(|n| a.put(&format!("s/v/{n}"), &value(n)));
        let b = Device::new("b");
        b.merge(&a, &[]);
        for n in 0..11 {
            b.ok_with(&["put", &format!("s/v/{n}"), "--allow-empty"], short.as_bytes());
        }
        let said = a.merge_fails(&b, &[], DECISION);
        assert!(said.contains("would delete or empty 11 of 20 records; nothing was changed"), "{said}");
        assert_eq!(a.merge(&b, &["--confirm-deletions"]), [11, 0, 0, 9]);
    }
}

#[test]
fn a_name_with_an_escape_code_is_shown_visibly_after_a_merge() {
    let (a, b) = (Device::new("a"), with(&[("s/v/\u{1b}[31mred", "x")]));
    let file = b.snapshot();
    let shown =
        a.ok(&["merge", file.to_str().unwrap(), "--other-key-file", &b.key_file()]) + &a.ok(&["list"]);
    assert!(shown.contains("\\u{1b}[31mred") && !shown.contains('\u{1b}'), "{shown}");
}

/// Returns the records in a result, each with its change.
fn named(object: &Value) -> Vec<String> {
    let records = object["records"].as_array().unwrap();
    let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_owned();
    records.iter().map(|record| format!("{} {}", text(record, "change"), text(record, "location"))).collect()
}

#[test]
fn a_dry_run_and_the_real_one_name_the_same_records() {
    let (a, b) = common_past();
    a.put("s/v/both", "mine");
    b.put("s/v/both", "theirs");
    b.put("s/v/edited", "new");
    b.ok(&["remove", "s/v/removed"]);
    b.put("s/v/\u{1b}[2J", "new");
    let expected = ["new s/v/\u{1b}[2J", "conflict s/v/both", "changed s/v/edited", "deleted s/v/removed"];
    let before = a.files();
    let planned = a.merged(&b, &["--dry-run"]);
    assert_eq!(named(&planned), expected);
    let (file, key) = (b.snapshot(), b.key_file());
    let merge = ["merge", file.to_str().unwrap(), "--other-key-file", &key];
    let lines = "+ s/v/\\u{1b}[2J\n! s/v/both\n~ s/v/edited\n- s/v/removed\n";
    let said = a.ok(&[&merge[..], &["--dry-run"]].concat());
    assert_eq!(said, format!("would receive 4, deleted 1, 1 in conflict, 1 unchanged\n{lines}"));
    assert!(a.files() == before, "a dry run wrote");
    assert_eq!(a.ok(&merge), format!("received 4, deleted 1, 1 in conflict, 1 unchanged\n{lines}"));
    assert!(named(&a.merged(&b, &[])).is_empty());
}

#[test]
fn a_person_is_shown_twenty_names_and_a_program_all() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    let rows: String = (0..13).map(|n| format!("g,t{n:02},u,p\n")).collect();
    let table = b.file("table.csv", format!("Group,Title,Username,Password\n{rows}").as_bytes());
    b.ok(&["import", "--format", "csv", &table]);
    assert_eq!(named(&a.merged(&b, &["--dry-run"])).len(), 26);
    let (file, key) = (b.snapshot(), b.key_file());
    let said = a.ok(&["merge", file.to_str().unwrap(), "--other-key-file", &key]);
    assert_eq!(said.lines().filter(|line| line.starts_with("+ ")).count(), 20);
    assert!(said.ends_with("  and 6 more (--verbose names all)\n"), "{said}");
}

/// Thirteen copies of one snapshot, each edited: whichever value is kept, the others stay readable.
#[test]
fn a_conflict_of_thirteen_values_is_resolved_and_none_is_lost() {
    let device = Device::new("a");
    device.put("w/x/y", "base");
    let copies: Vec<Vec<u8>> = (0..13)
        .map(|number| {
            let copy = Device::without_snapshot();
            std::fs::copy(device.snapshot(), copy.snapshot()).unwrap();
            copy.unlock_by_file("--key-file", std::path::Path::new(&device.key_file()));
            copy.put("w/x/y", &format!("value {number}"));
            std::fs::read(copy.snapshot()).unwrap()
        })
        .collect();
    for copy in copies {
        let (file, key) = (device.file("copy", &copy), device.key_file());
        device.ok(&["merge", &file, "--other-key-file", &key]);
    }
    let heads = device.heads("w/x/y");
    assert_eq!(heads.len(), 13);
    device.ok(&["resolve", "w/x/y", "--keep", &heads[3].0]);
    assert_eq!(device.values("w/x/y"), [heads[3].1.clone().unwrap()]);
    for (revision, value) in heads {
        assert_eq!(Some(device.ok(&["get", "w/x/y", "--revision", &revision])), value);
    }
}
