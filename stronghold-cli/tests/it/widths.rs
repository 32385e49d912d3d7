//! Looks at lists on terminals of 50, 80 and 200 columns, with and without colours: with
//! names that would drive a terminal, long ones, wide ones, thousands, and nothing at all.
#![cfg(unix)]

use std::{process::Command, time::Duration};

use expectrl::{Expect, Session};
use unicode_width::UnicodeWidthStr;

use crate::common::{Device, end, paired, stronghold};

/// Names of records, and what a terminal is to show of each.
fn names() -> [(String, String); 8] {
    let long = format!("wallet/long/{}", "x".repeat(300));
    [
        ("wallet/esc/\u{1b}[31mred\u{1b}[0m".into(), "wallet/esc/\\u{1b}[31mred\\u{1b}[0m".into()),
        (long.clone(), long),
        ("wallet/rtl/מפתח".into(), "wallet/rtl/מפתח".into()),
        ("wallet/rtl/\u{202e}evil".into(), "wallet/rtl/\\u{202e}evil".into()),
        ("wallet/emoji/👩\u{200d}🔧🔑".into(), "wallet/emoji/👩\\u{200d}🔧🔑".into()),
        ("wallet/cjk/日本語の鍵".into(), "wallet/cjk/日本語の鍵".into()),
        ("wallet/nl/two\nlines".into(), "wallet/nl/two\\u{a}lines".into()),
        ("wallet/web/mail".into(), "wallet/web/mail".into()),
    ]
}

/// Runs a command at a terminal of this many columns; returns what it shows.
#[track_caller]
fn shown(device: &Device, columns: u16, colours: bool, args: &[&str]) -> String {
    let key = device.key_file();
    let snapshot = device.snapshot().display().to_string();
    let options = ["--snapshot", &snapshot, "--key-file", &key];
    run_at(device, columns, colours, &[args, &options].concat())
}

#[track_caller]
fn run_at(device: &Device, columns: u16, colours: bool, args: &[&str]) -> String {
    let plain = stronghold();
    let mut shell = Command::new("sh");
    // The terminal gets its size after the shell has begun.
    shell.args(["-c", "read size; \"$0\" \"$@\"; exit $?"]).arg(plain.get_program()).args(args);
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("XDG_STATE_HOME", device.folder().join("state")).env("TERM", "xterm-256color");
    match colours {
        true => shell.env_remove("NO_COLOR"),
        false => shell.env("NO_COLOR", "1"),
    };
    let mut session = Session::spawn(shell).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session.get_process_mut().set_window_size(columns, 40).unwrap();
    session.send_line("set").unwrap();
    let (exit, said) = end(session);
    assert_eq!(exit, 0, "{args:?}: {said}");
    said.replace("\r\n", "\n")
}

/// Takes away the sequences that set colours; there are none if `colours` is not set.
#[track_caller]
fn without_colours(text: &str, colours: bool) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_ascii_digit() && letter != ';');
        let (_, rest) = part.split_at(end.unwrap_or(part.len()));
        assert!(colours && rest.starts_with('m'), "not a colour: {part:?}");
        plain.push_str(&rest[1..]);
    }
    plain
}

/// Checks that nothing is shown that would drive the terminal or hide.
#[track_caller]
fn is_visible(text: &str) {
    let hidden = |letter: char| {
        letter.is_control() && letter != '\n'
            || ['\u{202e}', '\u{200d}', '\u{2066}', '\u{feff}'].contains(&letter)
    };
    assert!(!text.contains(hidden), "{text:?}");
}

fn sizes() -> impl Iterator<Item = (u16, bool)> {
    [50, 80, 200].into_iter().flat_map(|columns| [(columns, true), (columns, false)])
}

#[test]
fn names_of_all_kinds_are_shown_whole_and_harmless() {
    let device = Device::new("desk");
    names().iter().for_each(|(name, _)| device.put(name, "x"));
    for (columns, colours) in sizes() {
        for args in [&["list"][..], &["list", "--long"], &["find", "wallet"], &["list", "--tree"]] {
            let shown = without_colours(&shown(&device, columns, colours, args), colours);
            is_visible(&shown);
            let is_tree = args.contains(&"--tree");
            for (_, name) in names() {
                let name = if is_tree { name.rsplit('/').next().unwrap().to_owned() } else { name };
                assert_eq!(shown.lines().filter(|line| line.ends_with(&name)).count(), 1, "{name}: {shown}");
            }
            if is_tree {
                continue;
            }
            // All names begin in one column, below the header; on a narrow terminal it is further left.
            let mut lines = shown.lines();
            let column = lines.next().and_then(|header| header.find("RECORD")).unwrap();
            assert!(
                lines.all(|line| line.get(column..).is_some_and(|name| name.starts_with("wallet/"))),
                "{shown}"
            );
            assert_eq!(column <= 22 || args.contains(&"--long") && column <= 38, columns == 50, "{shown}");
        }
    }
}

#[test]
fn columns_are_counted_as_a_terminal_counts_them() {
    let device = Device::new("机器");
    for (field, value) in [("username", "anna"), ("密码🔑", "one\ntwo"), ("\u{1b}pin", "1"), ("url", "u")]
    {
        device.put(&format!("w/web/shop/{field}"), value);
    }
    for (columns, colours) in sizes() {
        let shown =
            without_colours(&shown(&device, columns, colours, &["show", "w/web/shop", "--reveal"]), colours);
        is_visible(&shown);
        for value in ["anna", "one", "two", "1", "u"] {
            let line = shown.lines().find(|line| line.ends_with(&format!("  {value}"))).unwrap();
            let before = line.strip_suffix(value).unwrap();
            assert_eq!(before.width(), "\\u{1b}pin  ".len(), "{value}: {shown}");
        }
    }
}

#[test]
fn conflicts_and_histories_are_aligned_whoever_wrote_them() {
    let (device, other) = (Device::new("机器"), Device::without_snapshot());
    device.put("w/web/日本語", "base");
    std::fs::copy(device.snapshot(), other.snapshot()).unwrap();
    other.unlock_by_file("--key-file", device.key_file().as_ref());
    other.put("w/web/日本語", "there");
    device.put("w/web/日本語", "here");
    let there = other.snapshot().display().to_string();
    device.ok(&["merge", &there, "--other-key-file", &device.key_file()]);
    for (columns, colours) in sizes() {
        let shown = |args: &[&str]| {
            let shown = without_colours(&shown(&device, columns, colours, args), colours);
            is_visible(&shown);
            shown
        };
        let conflicts = shown(&["conflicts"]);
        let heads: Vec<&str> = conflicts.lines().filter(|line| line.starts_with("  ")).collect();
        let at = |line: &&str| line[..line.find("  20").unwrap()].width();
        assert!(heads.len() == 2 && at(&heads[0]) == at(&heads[1]), "{conflicts}");
        // The hint fits where most terminals are.
        assert!(columns < 80 || conflicts.lines().all(|line| line.width() <= columns.into()), "{conflicts}");
        assert_eq!(shown(&["history", "w/web/日本語"]).lines().count(), 3);
        let listed = shown(&["list", "--long"]);
        assert!(listed.ends_with("w/web/日本語  (conflict)\n"), "{listed}");
    }
}

#[test]
fn help_fits_the_terminal() {
    let device = Device::new("desk");
    for (columns, colours) in sizes() {
        for args in [&["help"][..], &["get", "--help"], &["help", "sync"]] {
            let said = run_at(&device, columns, colours, args);
            assert_eq!(said.contains('\u{1b}'), colours, "{args:?}");
            let said = without_colours(&said, colours);
            is_visible(&said);
            // Command lines and names of options are not broken.
            let is_whole = |line: &&str| line.contains("stronghold ") || line.trim_start().starts_with('-');
            let wide: Vec<&str> =
                said.lines().filter(|line| line.width() > columns.into() && !is_whole(line)).collect();
            assert!(wide.is_empty(), "{args:?} at {columns}: {wide:#?}");
        }
    }
}

#[test]
fn devices_and_requests_are_shown_with_names_of_all_kinds() {
    let (a, b) = paired();
    let long = "n".repeat(64);
    for name in ["\u{5d0}\u{5d1} \u{5d2}", "机器🔑", &long] {
        let peer = a.json(&["peers"])["peers"][0]["name"].as_str().unwrap().to_owned();
        a.ok(&["peers", "rename", &peer, name]);
        let (serving, address) = a.serve();
        b.run(&["sync", "a", "--at", &address], b"");
        drop(serving);
        for (columns, colours) in sizes() {
            for command in ["peers", "log"] {
                let shown = without_colours(&shown(&a, columns, colours, &[command]), colours);
                is_visible(&shown);
                assert!(shown.contains(name), "{command}: {shown}");
            }
        }
    }
}

#[test]
fn thousands_and_nothing_at_all() {
    let (many, none) = (Device::new("many"), Device::new("none"));
    let rows: String = (0..1500).map(|number| format!("web,site{number},anna,pw{number}\n")).collect();
    let table = many.file("table.csv", format!("Group,Title,Username,Password\n{rows}").as_bytes());
    many.ok(&["import", &table]);
    for (columns, colours) in sizes() {
        for (args, lines) in [
            (&["list"][..], 3001),
            (&["list", "--long"], 3001),
            (&["find", "site"], 3001),
            (&["list", "--tree"], 4502),
        ] {
            let said = without_colours(&shown(&many, columns, colours, args), colours);
            assert_eq!(said.lines().count(), lines, "{args:?}");
            assert!(said.lines().all(|line| line.width() <= 80), "{args:?}");
        }
        for args in
            [&["list"][..], &["list", "--long"], &["list", "--tree"], &["conflicts"], &["peers"], &["log"]]
        {
            let said = shown(&none, columns, colours, args);
            assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        }
    }
}
