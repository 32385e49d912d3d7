//! Tests the import of tables: defective rows are refused or reported, and later edits here are
//! kept.

use crate::common::{DECISION, Device, Ended, USAGE, counts, strings};
use serde_json::Value;

const HEADER: &str = "Group,Title,Username,Password\n";

/// Imports rows.
fn import(device: &Device, rows: &str, args: &[&str]) -> Ended {
    let table = device.file("table.csv", format!("{HEADER}{rows}").as_bytes());
    device.run(&[&["import", "--format", "csv", &table], args].concat(), b"")
}

/// Imports rows, which must succeed; returns the JSON result.
#[track_caller]
fn imported(device: &Device, rows: &str, args: &[&str]) -> Value {
    let done = import(device, rows, &[args, &["--json"]].concat());
    assert_eq!(done.exit, 0, "{rows:?}: {}", done.stderr);
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Returns the locations that an import kept, each with the reason.
fn kept(object: &Value) -> Vec<(String, String)> {
    strings(&object["kept"], "location").into_iter().zip(strings(&object["kept"], "why")).collect()
}

/// Returns `location=value` of each record.
fn all(device: &Device) -> Vec<String> {
    device.locations().iter().map(|location| format!("{location}={}", device.get(location))).collect()
}

#[test]
fn a_broken_table_is_refused_whole_with_its_line() {
    let device = Device::new("a");
    for (table, says) in [
        ("Group,Title,Password\nWeb,A,pa\nWeb,B,\"pb\nWeb,C,pc\n", "line 3"),
        ("Group,Title,Password\nWeb,A,pa\nWeb,B,p,b\n", "line 3"),
        ("Group,Title,Username,Password\nWeb,A,ua,pa\nWeb,B,ub\n", "line 3"),
        ("Group,Title,Password\nWeb,\"A\"x,pa\n", "line 2"),
        ("Group,Title,Password,Password\nWeb,A,,pa\n", "two columns \"Password\""),
        ("Group;Title;Password\nWeb;A;pa\n", "semicolons"),
        ("name,url,username,pin\nA,https://a,ua,pa\n", "it has name, url, username, pin"),
        ("A,https://a,ua,pa\nB,https://b,ub,pb\n", "does not look like names of columns"),
    ] {
        let path = device.file("table.csv", table.as_bytes());
        for args in
            [&["import", "--format", "csv", &path][..], &["import", "--format", "csv", &path, "--dry-run"]]
        {
            let said = device.fails_cleanly(args, USAGE);
            assert!(said.contains(says) && said.contains("nothing was changed"), "{said}");
            assert!(
                !["pa", "pb", "https"]
                    .iter()
                    .any(|secret| said.split(|c: char| !c.is_alphanumeric()).any(|word| word == *secret)),
                "{said}"
            );
        }
    }
}

#[test]
fn what_is_left_out_is_named() {
    let device = Device::new("a");
    let table = "Group,Title,Password,PIN,Recovery codes,Nothing\nWeb,A,pa,1234,aaaa-bbbb,\nWeb,Only,,,,\nWeb,B,pb,99,,\n";
    let path = device.file("table.csv", table.as_bytes());
    let said = device.ok(&["import", "--format", "csv", &path]);
    let expected = "imported 2 credentials (2 new, 0 changed), 0 unchanged\n+ imported/Web/A/password\n+ imported/Web/B/password\n\
        left out: line 3, Web/Only: it has a title only\n\
        left out: column \"PIN\", 2 values\nleft out: column \"Recovery codes\", 1 value\n";
    assert_eq!(said, expected);
    let object = device.json(&["import", "--format", "csv", &path, "--dry-run"]);
    assert_eq!(strings(&object["columns_left_out"], "name"), ["PIN", "Recovery codes"]);
    assert_eq!(
        (object["left_out"][0]["line"].as_u64(), object["left_out"][0]["name"].as_str()),
        (Some(3), Some("Web/Only"))
    );
    assert!(!said.contains("1234") && !object.to_string().contains("1234"));
}

#[test]
fn one_row_that_can_have_no_name_stops_no_other() {
    let device = Device::new("a");
    let rows = format!(
        "Web,A,ua,pa\nWeb,{},ul,pl\nWeb,N\0UL,un,pn\nWeb,\u{1b}[2J,ue,pe\nWeb,B,ub,pb\n",
        "L".repeat(1100)
    );
    let done = import(&device, &rows, &[]);
    let said = String::from_utf8(done.stdout).unwrap() + &done.stderr;
    assert_eq!(done.exit, DECISION, "{said}");
    for line in [
        "left out: line 3, Web/LLL",
        "renamed: line 4, Web/N\\u{0}UL: it is Web/N UL here",
        "renamed: line 5, Web/\\u{1b}[2J: ",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(
        said.contains("error: 1 row was left out") && said.len() < 1300 && !said.contains('\u{1b}'),
        "{said}"
    );
    assert_eq!(device.get("imported/Web/N UL/password"), "pn");
    assert_eq!(device.locations().len(), 8);
    let again = import(&device, &rows, &["--dry-run", "--json"]);
    assert_eq!(again.exit, DECISION);
    assert!(
        again.stderr.contains("\"code\":\"left_out\"") && again.stderr.contains("nothing was changed"),
        "{}",
        again.stderr
    );
}

#[test]
fn a_bad_client_is_blamed_on_its_option() {
    let device = Device::new("a");
    for into in ["a/b", "", &"c".repeat(256)] {
        let done = import(&device, "Web,A,ua,pa\n", &["--into", into]);
        assert!(done.exit == USAGE && done.stderr.starts_with("error: --into "), "{}", done.stderr);
        assert!(!done.stderr.contains("Web") && done.stderr.len() < 300, "{}", done.stderr);
    }
    device.put("imported/x/y", "value");
    let done = import(&device, "Web,A,ua,pa\n", &["--into", "imported "]);
    assert!(done.exit == DECISION && done.stderr.contains("--into"), "{}", done.stderr);
}

#[test]
fn twins_are_told_apart_by_what_they_say() {
    let rows = ["Web,Mail,me,one\n", "Web,Mail,you,two\n", "Web,Mail,,three\n", "Web,Mail (2),x,four\n"];
    let device = Device::new("a");
    imported(&device, &rows.concat(), &[]);
    let before = all(&device);
    assert_eq!(before.len(), 7);
    // In any order, and one twin alone: nothing changes.
    for order in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1], [1, 2, 3, 0]] {
        let again: String = order.iter().map(|row| rows[*row]).collect();
        let object = imported(&device, &again, &[]);
        assert_eq!(counts(&object, ["received", "unchanged"]), [0, 4], "{order:?}");
        assert_eq!(all(&device), before);
    }
    for row in rows {
        assert_eq!(counts(&imported(&device, row, &[]), ["received", "unchanged"]), [0, 1], "{row}");
    }
    // A changed twin keeps its place, and a new one does not take the place of another.
    let changed =
        "Web,Mail,new,five\nWeb,Mail,you,TWO\nWeb,Mail,,three\nWeb,Mail (2),x,four\nWeb,Mail,me,one\n";
    let object = imported(&device, changed, &[]);
    assert_eq!(counts(&object, ["new", "changed", "unchanged"]), [1, 1, 3]);
    let after = all(&device);
    let mut expected: Vec<String> = before.iter().map(|text| text.replace("=two", "=TWO")).collect();
    expected.extend(after.iter().filter(|text| text.ends_with("=new") || text.ends_with("=five")).cloned());
    expected.sort();
    let mut sorted = after.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
}

#[test]
fn what_was_edited_here_since_stays_until_it_is_to_be_overwritten() {
    let device = Device::new("a");
    imported(&device, "Web,A,me,one\nWeb,B,you,two\n", &[]);
    device.put("imported/Web/A/password", "edited");
    let old = imported(&device, "Web,A,me,one\nWeb,B,you,two\n", &[]);
    assert_eq!(kept(&old), [("imported/Web/A/password".into(), "older".into())]);
    assert_eq!(counts(&old, ["received", "unchanged"]), [0, 2]);
    let newer = imported(&device, "Web,A,me,one again\nWeb,B,you,three\n", &[]);
    assert_eq!(kept(&newer), [("imported/Web/A/password".into(), "edited".into())]);
    assert_eq!(
        (device.get("imported/Web/A/password"), device.get("imported/Web/B/password")),
        ("edited".into(), "three".into())
    );
    // An older table does not bring back a value that a newer one replaced.
    let old = imported(&device, "Web,B,you,two\n", &[]);
    assert_eq!(kept(&old), [("imported/Web/B/password".into(), "older".into())]);
    assert_eq!(device.get("imported/Web/B/password"), "three");
    let object = imported(&device, "Web,A,me,one again\n", &["--overwrite"]);
    assert_eq!(counts(&object, ["changed"]), [1]);
    assert_eq!(device.get("imported/Web/A/password"), "one again");
    // A record that was never imported is not replaced either.
    device.put("imported/Web/C/password", "mine");
    assert_eq!(
        kept(&imported(&device, "Web,C,,theirs\n", &[])),
        [("imported/Web/C/password".into(), "edited".into())]
    );
    // A field that is empty in the table is not emptied here.
    let object = imported(&device, "Web,B,,three\n", &[]);
    assert_eq!(kept(&object), [("imported/Web/B/username".into(), "emptied".into())]);
    assert_eq!(device.get("imported/Web/B/username"), "you");
}

/// A table as exported by a program that shows dots in place of passwords.
#[test]
fn a_table_that_makes_many_values_short_is_asked_about() {
    let rows = |password: &str, of: usize| -> String {
        let say = |n| if n < of { password.to_owned() } else { format!("a password of length, {n}") };
        (0..20).map(|n| format!("Web,Site {n},,\"{}\"\n", say(n))).collect()
    };
    let few = Device::new("few");
    imported(&few, &rows("", 0), &[]);
    assert_eq!(counts(&imported(&few, &rows("****", 10), &[]), ["changed"]), [10], "ten are not many");
    let many = Device::new("many");
    imported(&many, &rows("", 0), &[]);
    let before = many.files();
    let refused = import(&many, &rows("****", 11), &[]);
    assert_eq!(refused.exit, DECISION, "{}", refused.stderr);
    assert!(refused.stderr.contains("11 of 20 values would be less than half as long"), "{}", refused.stderr);
    let dry = import(&many, &rows("****", 11), &["--dry-run"]);
    assert!(dry.exit == 0 && dry.stderr.contains("takes --yes"), "{}", dry.stderr);
    assert!(before.without("table.csv") == many.files().without("table.csv"));
    assert_eq!(counts(&imported(&many, &rows("****", 11), &["--yes"]), ["changed"]), [11]);
}

#[test]
fn what_was_removed_here_stays_removed_until_it_is_to_be_revived() {
    let device = Device::new("a");
    imported(&device, "Web,Mail,me,one\nWeb,Mail,you,two\nWeb,B,,three\n", &[]);
    for location in
        ["imported/Web/Mail (2)/username", "imported/Web/Mail (2)/password", "imported/Web/B/password"]
    {
        device.ok(&["remove", location]);
    }
    let before = all(&device);
    let rows = "Web,Mail,you,two\nWeb,B,,three\nWeb,Mail,me,one\n";
    let object = imported(&device, rows, &[]);
    assert_eq!(all(&device), before);
    assert!(kept(&object).iter().all(|(_, why)| why == "removed") && kept(&object).len() == 3, "{object}");
    assert_eq!(counts(&imported(&device, rows, &["--revive"]), ["received"]), [2]);
    assert_eq!(device.get("imported/Web/Mail (2)/password"), "two");
    assert_eq!(device.get("imported/Web/B/password"), "three");
}

#[test]
fn a_record_in_conflict_is_left_to_a_person() {
    let (a, b) = (Device::new("a"), Device::new("b"));
    for (device, value) in [(&a, "one"), (&b, "two")] {
        imported(device, &format!("Web,A,,{value}\n"), &[]);
    }
    let (file, key) = (b.snapshot(), b.key_file());
    a.ok(&["merge", file.to_str().unwrap(), "--other-key-file", &key]);
    assert_eq!(a.values("imported/Web/A/password").len(), 2);
    assert!(kept(&imported(&a, "Web,A,,two\n", &[])).is_empty());
    let object = imported(&a, "Web,A,,three\n", &[]);
    assert_eq!(kept(&object), [("imported/Web/A/password".into(), "conflict".into())]);
    assert_eq!(a.values("imported/Web/A/password").len(), 2);
    imported(&a, "Web,A,,three\n", &["--overwrite"]);
    assert_eq!(a.values("imported/Web/A/password"), ["three"]);
}

#[test]
fn a_dry_run_names_what_an_import_would_do() {
    let device = Device::new("a");
    imported(&device, "Web,A,me,one\n", &[]);
    let before = device.files();
    let rows = "Web,A,me,two\nWeb,B,you,three\n";
    let done = import(&device, rows, &["--dry-run"]);
    let named = "~ imported/Web/A/password\n+ imported/Web/B/password\n+ imported/Web/B/username\n";
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(said, format!("would import 2 credentials (1 new, 1 changed), 0 unchanged\n{named}"));
    assert!(before.without("table.csv") == device.files().without("table.csv"));
    let done = import(&device, rows, &[]);
    assert_eq!(String::from_utf8(done.stdout).unwrap(), said.replace("would import", "imported"));
}

#[test]
fn names_that_look_alike_are_left_out_unless_they_are_meant() {
    let device = Device::new("a");
    imported(&device, "Web,caf\u{e9},me,one\n", &[]);
    let rows = "Web,cafe\u{301},me,two\nWeb,Mail,,x\nWeb,Mail ,,y\n";
    let done = import(&device, rows, &["--json"]);
    let object: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done.exit, DECISION);
    assert_eq!(
        object["left_out"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["line"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [2, 4]
    );
    assert_eq!(device.locations().len(), 3);
    assert_eq!(counts(&imported(&device, rows, &["--allow-lookalike"]), ["new", "unchanged"]), [2, 1]);
}

#[test]
fn many_entries_of_one_title_take_no_hours() {
    let device = Device::new("a");
    let rows = |value: &str| (0..3000).map(|n| format!("Web,,same,{value}{n}\n")).collect::<String>();
    assert_eq!(counts(&imported(&device, &rows("x"), &[]), ["new"]), [3000]);
    assert_eq!(counts(&imported(&device, &rows("x"), &[]), ["unchanged"]), [3000]);
    assert_eq!(counts(&imported(&device, &rows("y"), &[]), ["new"]), [3000]);
}

#[test]
fn a_column_without_a_name_is_left_out_as_such() {
    let device = Device::new("a");
    let path = device.file("table.csv", b"Group,Title,Password,\nWeb,A,pa,x\nWeb,B,pb,y\n");
    let said = device.ok(&["import", "--format", "csv", &path]);
    let expected = "imported 2 credentials (2 new, 0 changed), 0 unchanged\n+ imported/Web/A/password\n\
        + imported/Web/B/password\nleft out: a column without a name, 2 values\n";
    assert_eq!(said, expected);
}

/// Of two entries with one title, each row matches the one with its password, even if the addresses
/// are swapped.
#[test]
fn a_secret_tells_more_than_an_address() {
    let device = Device::new("a");
    let import = |rows: &str| {
        let table = device.file("table.csv", format!("Group,Title,Password,URL\n{rows}").as_bytes());
        device.ok(&["import", "--format", "csv", &table]);
        all(&device)
    };
    let held = import("Web,A,pa,u1\nWeb,A,pb,u2\n");
    let (one, other) = ("imported/Web/A (1)", "imported/Web/A (2)");
    let named = |url: [&str; 2]| {
        [(one, "pa", url[0]), (other, "pb", url[1])]
            .map(|(name, password, url)| [format!("{name}/password={password}"), format!("{name}/url={url}")])
            .concat()
    };
    let plain = |entries: Vec<String>| {
        let mut entries: Vec<_> = entries.iter().map(|entry| entry.replace("Web/A/", "Web/A (1)/")).collect();
        entries.sort();
        entries
    };
    assert_eq!(plain(held), named(["u1", "u2"]));
    assert_eq!(plain(import("Web,A,pb,u1\nWeb,A,pa,u2\n")), named(["u2", "u1"]));
}

/// The second of two equal titles gets a number, which makes its name too long; the first is
/// imported.
#[test]
fn a_name_that_its_number_makes_too_long_is_left_out() {
    for (room, expected) in [(4, 0), (3, DECISION)] {
        let device = Device::new("a");
        let title = "L".repeat(stronghold_sync::MAX_RECORD_NAME - "/password".len() - room);
        let done = import(&device, &format!("Web,{title},u,pa\nWeb,{title},u,pb\n"), &[]);
        let said = String::from_utf8(done.stdout).unwrap() + &done.stderr;
        assert_eq!(done.exit, expected, "{said}");
        assert_eq!(said.contains("1 row was left out for want of a name"), expected == DECISION, "{said}");
    }
}

/// A row belongs to the credential that has its user name, although another one once had its
/// password.
#[test]
fn a_current_value_says_more_than_a_former_one() {
    let device = Device::new("a");
    imported(&device, "Web,Mail,alice,one\nWeb,Mail,bob,two\n", &[]);
    imported(&device, "Web,Mail,alice,one\nWeb,Mail,bob,three\n", &[]);
    imported(&device, "Web,Mail,alice,two\n", &[]);
    let expected = [
        "imported/Web/Mail (2)/password=three",
        "imported/Web/Mail (2)/username=bob",
        "imported/Web/Mail/password=two",
        "imported/Web/Mail/username=alice",
    ];
    assert_eq!(all(&device), expected);
}

/// One entry of one title is that title's, whatever it says now; of several, each that says nothing
/// known is new.
#[test]
fn what_says_nothing_known_replaces_the_only_one_and_else_is_new() {
    for (held, rows, expected) in [
        ("Web,Mail,me,one\n", "Web,Mail,you,two\n", [0, 1]),
        ("Web,Mail,me,one\n", "Web,Mail,you,two\nWeb,Mail,they,three\n", [2, 0]),
        ("Web,Mail,me,one\nWeb,Mail,us,four\n", "Web,Mail,you,two\n", [1, 0]),
        // Another entry's title is no number of a twin.
        ("Web,Mail,me,one\nWeb,Mail (2x),us,four\n", "Web,Mail,you,two\n", [0, 1]),
        ("Web,Mail,me,one\nWeb,Mail (x),us,four\n", "Web,Mail,you,two\n", [0, 1]),
        ("Web,Mail,me,one\nWeb,Mail (),us,four\n", "Web,Mail,you,two\n", [0, 1]),
    ] {
        let device = Device::new("a");
        imported(&device, held, &[]);
        let before = all(&device);
        let object = imported(&device, rows, &[]);
        assert_eq!(counts(&object, ["new", "changed"]), expected, "{held:?} {rows:?}");
        let after = all(&device);
        let kept = before.iter().filter(|entry| after.contains(entry)).count();
        assert_eq!(kept, before.len() - 2 * expected[1] as usize, "{after:?}");
    }
}

/// Of twins that a row resembles equally, it is the one with the lowest number.
#[test]
fn twins_are_counted_by_their_numbers() {
    let device = Device::new("a");
    let user = |n: usize| if n == 2 || n == 10 { "same".to_owned() } else { format!("user {n}") };
    let rows: String = (1..=10).map(|n| format!("Web,Mail,{},password {n}\n", user(n))).collect();
    imported(&device, &rows, &[]);
    assert_eq!(counts(&imported(&device, "Web,Mail,same,new\n", &[]), ["new", "changed"]), [0, 1]);
    assert_eq!(device.get("imported/Web/Mail (2)/password"), "new");
    assert_eq!(device.get("imported/Web/Mail (10)/password"), "password 10");
}
