//! Tests one device on its own: records, their history, import, export and output.

use crate::common::{
    DAMAGED, DECISION, Device, NOT_FOUND, STORAGE, USAGE, counts, one_line, raw_key, run, strings, stronghold,
};
use stronghold_snapshot::{SnapshotFile, Unlock};
use stronghold_sync::{DeviceId, Timestamp};
use stronghold_vault::{AuditAction, AuditLog, AuditRecord};

/// A KeePassXC export with difficult names and quoting.
const TABLE: &str = "\
\"Group\",\"Title\",\"Username\",\"Password\",\"URL\",\"Notes\",\"TOTP\",\"Icon\",\"Last Modified\",\"Created\"
\"Root\",\"Bank\",\"\",\"a, \"\"quoted\"\" one\",\"\",\"\",\"\",\"0\",\"\",\"\"
\"Root/Internet/Forums\",\"Grüße\",\"me\",\"pässwörd\",\"https://a.invalid\",\"two\nlines\",\"\",\"0\",\"\",\"\"
\"Root/Internet/Forums\",\"Grüße\",\"you\",\"other\",\"\",\"\",\"otpauth://totp/x?secret=AA\",\"0\",\"\",\"\"
";

const OF_TABLE: [&str; 8] = [
    "imported/Internet/Forums/Grüße (2)/password",
    "imported/Internet/Forums/Grüße (2)/totp",
    "imported/Internet/Forums/Grüße (2)/username",
    "imported/Internet/Forums/Grüße/notes",
    "imported/Internet/Forums/Grüße/password",
    "imported/Internet/Forums/Grüße/url",
    "imported/Internet/Forums/Grüße/username",
    "imported/default/Bank/password",
];

#[test]
fn a_value_comes_back_byte_for_byte() {
    let device = Device::new("a");
    let every_byte: Vec<u8> = (0..=255).collect();
    for value in [&b""[..], b"no newline", b"a newline\n", b"\r\n\0", &every_byte, &vec![7; 4 << 20]] {
        assert_eq!(device.run(&["put", "a/b/c", "--allow-empty"], value).exit, 0);
        let done = device.run(&["get", "a/b/c"], b"");
        assert!(done.stdout == value, "{} bytes came back as {}", value.len(), done.stdout.len());
        assert_eq!(done.stderr, "");
    }
}

#[test]
fn a_value_comes_from_a_file_or_is_generated_and_never_shown() {
    let device = Device::new("a");
    let file = device.file("value", b"from a file");
    assert_eq!(device.ok(&["put", "a/b/file", "--file", &file]), "");
    assert_eq!(device.get("a/b/file"), "from a file");
    for (args, len) in [
        (&["put", "a/b/new", "-g"][..], 24),
        (&["put", "--generate", "a/b/new"], 24),
        (&["put", "a/b/new", "--generate=64"], 64),
    ] {
        let done = device.run(args, b"");
        let value = device.get("a/b/new");
        assert_eq!((done.exit, value.len()), (0, len), "{}", done.stderr);
        assert!(done.stdout.is_empty() && !done.stderr.contains(&value));
        assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
    let long = device.get("a/b/new");
    device.ok(&["put", "a/b/words", "--words"]);
    assert!(device.get("a/b/words").split('-').count() >= 6);
    device.ok(&["put", "a/b/pin", "--generate=8", "--alphabet", "0-9a-b"]);
    let pin = device.get("a/b/pin");
    assert!(pin.len() == 8 && pin.bytes().all(|byte| b"0123456789ab".contains(&byte)), "{pin}");
    for args in [
        &["put", "--generate"][..],
        &["put", "a/b/order", "--generate=0"],
        &["put", "a/b/order", "--generate=4097"],
        &["put", "a/b/order", "--generate", "16"],
        &["put", "a/b/order", "--alphabet", "a"],
        &["put", "a/b/order", "--alphabet", "ab", "--words"],
        &["put", "a/b/order", "--words", "--file", &file],
    ] {
        device.fails_cleanly(args, USAGE);
    }
    assert!(long.bytes().collect::<std::collections::BTreeSet<u8>>().len() > 20, "{long}");
    let values = [1, 2].map(|_| {
        device.ok(&["put", "a/b/new", "--generate"]);
        device.get("a/b/new")
    });
    assert_ne!(values[0], values[1]);
}

#[test]
fn what_is_replaced_is_said() {
    let device = Device::new("a");
    let put = |value: &[u8]| device.run(&["put", "a/b/c"], value).stderr;
    assert_eq!(put(b"first"), "");
    assert_eq!(put(b"second"), "replaced a/b/c (was 5 bytes, `stronghold undo`)\n");
    assert_eq!(device.run(&["put", "a/b/c", "--quiet"], b"third").stderr, "");
    assert_eq!(device.json_with(&["put", "a/b/c"], b"fourth")["replaced"], 5);
    assert_eq!(device.json_with(&["put", "a/b/d"], b"new")["replaced"], serde_json::Value::Null);
}

#[test]
fn a_value_over_the_limit_is_refused() {
    let device = Device::new("a");
    device.put("a/b/c", "before");
    let done = device.run(&["put", "a/b/c"], &vec![7; (4 << 20) + 1]);
    assert_eq!(done.exit, USAGE);
    assert!(done.stderr.contains("too large"), "{}", done.stderr);
    assert_eq!(device.get("a/b/c"), "before");
}

#[test]
fn records_are_listed_by_selection() {
    let device = Device::new("a");
    for location in ["wallet/web/mail", "wallet/web/shop/password", "wallet/tokens/api", "work/web/mail"] {
        device.put(location, "value");
    }
    let select = |selection: &str| strings(&device.json(&["list", selection])["entries"], "location");
    assert_eq!(device.locations().len(), 4);
    assert_eq!(select("wallet/**").len(), 3);
    assert_eq!(select("*/web/*"), ["wallet/web/mail", "work/web/mail"]);
    assert_eq!(select("wallet/tokens"), ["wallet/tokens/api"]);
    assert!(select("nothing/**").is_empty());
    let entry = &device.json(&["list", "work"])["entries"][0];
    assert_eq!((entry["size"].as_u64(), entry["conflict"].as_bool()), (Some(5), Some(false)));
    assert!(entry["modified"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(entry["revision"].as_str().unwrap().len(), 64);
}

#[test]
fn a_replaced_and_a_removed_value_stay_in_the_history() {
    let device = Device::new("a");
    device.put("a/b/c", "first");
    device.put("a/b/c", "second");
    device.ok(&["remove", "a/b/c"]);
    device.is_absent("a/b/c");
    assert!(device.locations().is_empty());

    let history = device.json(&["history", "a/b/c"])["revisions"].take();
    let history = history.as_array().unwrap();
    let flags: Vec<_> = history.iter().map(|v| (v["deleted"] == true, v["head"] == true)).collect();
    assert_eq!(flags, [(true, true), (false, false), (false, false)]);
    let values = history[1..].iter().map(|version| {
        let revision = version["revision"].as_str().unwrap();
        device.ok(&["get", "a/b/c", "--revision", &revision[..12]])
    });
    assert_eq!(values.collect::<Vec<_>>(), ["second", "first"]);
    device.fails(&["get", "a/b/c", "--revision", "0000000000000000"], NOT_FOUND);
    // A deletion has no value, not an empty one.
    let deletion = history[0]["revision"].as_str().unwrap();
    device.fails(&["get", "a/b/c", "--revision", deletion], NOT_FOUND);
    device.fails(&["remove", "a/b/c"], NOT_FOUND);

    device.put("a/b/c", "again");
    assert_eq!(device.get("a/b/c"), "again");
}

#[test]
fn a_removal_can_be_tried_first() {
    let device = Device::new("a");
    device.put("a/b/c", "value");
    let before = device.files();
    assert_eq!(device.ok(&["remove", "a/b/c", "--dry-run"]), "would remove 1 record\n- a/b/c\n");
    let named = device.json(&["remove", "a/b/c", "--dry-run"])["records"].take();
    assert_eq!(
        (strings(&named, "location"), strings(&named, "change")),
        (vec!["a/b/c".into()], vec!["deleted".into()])
    );
    device.fails(&["remove", "a/b/d", "--dry-run"], NOT_FOUND);
    assert!(before == device.files() && device.get("a/b/c") == "value");
}

#[test]
fn every_result_is_one_json_object_on_one_line() {
    let device = Device::without_snapshot();
    let table = device.file("table.csv", TABLE.as_bytes());
    let export = device.folder().join("export");
    let (key, export) = (device.key_file(), export.to_str().unwrap());
    let created = device.json(&["init", "--name", "laptop"]);
    assert_eq!((created["name"].as_str(), created["device"].as_str().unwrap().len()), (Some("laptop"), 64));
    for args in [
        &["put", "a/b/c\nd"][..],
        &["get", "a/b/c\nd"],
        &["list"],
        &["history", "a/b/c\nd"],
        &["remove", "a/b/c\nd"],
        &["conflicts"],
        &["import", "--format", "csv", &table],
        &["export", "--output", export, "--output-key-file", &key],
        &["merge", export, "--other-key-file", &key],
        &["peers"],
        &["log"],
        &["verify"],
    ] {
        device.json_with(args, b"value");
    }
}

#[test]
fn a_value_in_json_is_text_or_hexadecimal() {
    let device = Device::new("a");
    device.ok_with(&["put", "a/b/text"], "ü\n".as_bytes());
    device.ok_with(&["put", "a/b/bytes"], b"\xff\x00");
    assert_eq!(device.json(&["get", "a/b/text"])["value"], "ü\n");
    assert_eq!(device.json(&["get", "a/b/bytes"])["value_hex"], "ff00");
}

#[test]
fn an_error_in_json_is_an_object_on_stderr() {
    let device = Device::new("a");
    let said = device.fails(&["get", "a/b/c", "--json"], NOT_FOUND);
    let error = one_line(&said)["error"].take();
    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("not_found"), Some(3)));
    assert!(error["message"].is_string() && error["hint"].is_string());
    let said = device.fails(&["put", "a/b/c", "--no-such-option", "--json"], USAGE);
    assert_eq!(one_line(&said)["error"]["exit"], 2);
}

#[test]
fn quiet_hides_notes_and_never_errors() {
    let device = Device::new("a");
    let said = device.fails(&["get", "a/b/c", "--quiet"], NOT_FOUND);
    assert_eq!(said, "error: no record at a/b/c\nhint: see `stronghold list`\n");
}

#[test]
fn a_name_that_would_drive_the_terminal_is_shown_not_obeyed() {
    let device = Device::new("a");
    let name = "a/b/\u{1b}[2Jclear\u{202e}txt\u{9b}1m";
    device.put(name, "value");
    let shown = device.ok(&["list"]);
    assert!(shown.contains("a/b/\\u{1b}[2Jclear\\u{202e}txt\\u{9b}1m"), "{shown}");
    assert_eq!(device.json(&["list"])["entries"][0]["location"], name);
    for args in [
        &["list"][..],
        &["history", name],
        &["remove", name],
        &["get", name],
        &["resolve", name, "--keep", "0"],
    ] {
        let done = device.run(args, b"");
        let text = String::from_utf8(done.stdout).unwrap() + &done.stderr;
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{args:?}: {text:?}");
    }
    let bad = "no-location\u{1b}[2J";
    assert!(!device.fails(&["put", bad], USAGE).contains('\u{1b}'));
}

#[test]
fn a_table_is_imported_and_a_second_time_changes_nothing() {
    let device = Device::new("a");
    let table = device.file("table.csv", TABLE.as_bytes());
    let import = ["import", "--format", "csv", &table];
    assert_eq!(counts(&device.json(&import), ["received", "unchanged"]), [3, 0]);
    assert_eq!(device.locations(), OF_TABLE);
    assert_eq!(device.get("imported/default/Bank/password"), "a, \"quoted\" one");
    assert_eq!(device.get("imported/Internet/Forums/Grüße/notes"), "two\nlines");
    assert_eq!(device.get("imported/Internet/Forums/Grüße (2)/password"), "other");

    let before = device.files();
    assert_eq!(counts(&device.json(&import), ["received", "unchanged"]), [0, 3]);
    assert!(device.files() == before, "an import of nothing new wrote a generation");

    device.file("table.csv", TABLE.replace("pässwörd", "new").as_bytes());
    assert_eq!(counts(&device.json(&import), ["received", "unchanged"]), [1, 2]);
    assert_eq!(device.get("imported/Internet/Forums/Grüße/password"), "new");
    device.ok(&["import", "--format", "csv", "--into", "other", &table]);
    assert_eq!(device.locations().len(), 16);
}

#[test]
fn a_root_group_of_another_name_is_left_out_too() {
    // Users rename this group, and other programs and languages name it differently; KeePassXC
    // always writes it first.
    let device = Device::new("a");
    let table = device.file("table.csv", TABLE.replace("\"Root", "\"Passwörter").as_bytes());
    device.ok(&["import", "--format", "csv", &table]);
    assert_eq!(device.locations(), OF_TABLE);
}

#[test]
fn a_group_whose_name_begins_with_a_slash_is_imported() {
    let device = Device::new("a");
    let table = device.file("table.csv", TABLE.replace("Root/Internet", "Root//Internet").as_bytes());
    device.ok(&["import", "--format", "csv", &table]);
    assert_eq!(device.locations(), OF_TABLE);
}

#[test]
fn titles_that_look_like_the_numbers_of_duplicates_lose_nothing() {
    let device = Device::new("a");
    let rows = "Group,Title,Password\nRoot/G,X,one\nRoot/G,X,two\nRoot/G,X (2),three\nRoot/G,X,four\n";
    let table = device.file("table.csv", rows.as_bytes());
    device.ok(&["import", "--format", "csv", &table]);
    let mut values: Vec<String> = device.locations().iter().map(|location| device.get(location)).collect();
    values.sort();
    assert_eq!(values, ["four", "one", "three", "two"]);
}

#[test]
fn a_table_that_keepassxc_wrote_is_imported_whole() {
    let device = Device::new("a");
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/testdata/keepassxc-1000.csv");
    assert_eq!(counts(&device.json(&["import", "--format", "csv", table]), ["received"]), [1000]);
    let titles: std::collections::BTreeSet<String> = device
        .locations()
        .iter()
        .filter_map(|location| Some(location.rsplit_once('/')?.0.to_owned()))
        .collect();
    assert!(titles.len() > 990, "{} titles: entries fell on one another", titles.len());
    assert!(titles.contains("imported/Internet/Forums/Twice and thrice (2)"));
    assert!(titles.contains("imported/default/Site 0018"));
    assert!(titles.contains("imported/Work/Servers/Staging, EU/it's one"));
    let again = device.json(&["import", "--format", "csv", table]);
    assert_eq!(counts(&again, ["received", "unchanged"]), [0, 1000]);
}

#[test]
fn a_broken_table_changes_nothing_and_is_not_quoted() {
    let device = Device::new("a");
    device.put("a/b/c", "value");
    for table in [
        &b"Name,Secret\nx,hunter2-secret\n"[..],
        b"Group,Title,Password\nRoot,x,\xff\xfehunter2-secret\n",
        b"\x00\x01\x02",
        b"",
    ] {
        let table = device.file("table.csv", table);
        let said = device.fails_cleanly(&["import", "--format", "csv", &table], USAGE);
        assert!(said.contains("nothing was changed") && !said.contains("hunter2"), "{said}");
    }
    device.fails_cleanly(&["import", "--format", "csv", "/nowhere/at/all.csv"], NOT_FOUND);
}

#[test]
fn an_export_is_a_snapshot_of_its_own_with_the_selection_alone() {
    let device = Device::new("a");
    device.put("wallet/web/mail", "mail");
    device.put("work/web/mail", "not this");
    let output = device.folder().join("export");
    let output = output.to_str().unwrap();
    let key = device.file("export-key", &raw_key(9));
    let args = ["export", "wallet/**", "--output", output, "--output-key-file", &key];
    assert_eq!(device.json(&args)["records"], 1);
    device.fails_cleanly(&args, USAGE);

    let exported = |args: &[&str]| {
        let mut command = stronghold();
        command.args(args).args(["--snapshot", output, "--key-file", &key]);
        run(&mut command, b"")
    };
    assert_eq!(exported(&["get", "wallet/web/mail"]).stdout, b"mail");
    assert_eq!(exported(&["get", "work/web/mail"]).exit, NOT_FOUND);
    assert_eq!(exported(&["peers", "--json"]).stdout, b"{\"peers\":[]}\n");
    let bytes = std::fs::read(output).unwrap();
    assert!(!bytes.windows(4).any(|window| window == b"mail"));
}

#[test]
fn verify_counts_what_it_read() {
    let device = Device::new("a");
    device.put("a/b/c", "one");
    device.put("a/b/c", "two");
    device.put("a/b/d", "three");
    assert_eq!(counts(&device.json(&["verify"]), ["records", "revisions"]), [2, 3]);
    assert_eq!(device.ok(&["verify"]), "ok: 2 records, 3 revisions\n");
}

/// Someone with the key has changed a line of the log: the records are whole, but the log is not to
/// be believed.
#[test]
fn verify_tells_a_log_that_was_changed() {
    let device = Device::new("a");
    device.put("a/b/c", "value");
    let (mut file, _) = SnapshotFile::open(&device.snapshot(), &Unlock::Key(&device.key())).unwrap();
    let mut log = AuditLog::default();
    for selection in ["first/line", "second/line"] {
        log.append(AuditRecord {
            time: Timestamp::from_millis(1),
            device: DeviceId::from_bytes([7; 32]),
            action: AuditAction::Browse,
            selection: selection.into(),
            allowed: false,
            entries: 0,
            bytes: 0,
        });
    }
    let logged = device.vault().update(|stronghold| {
        stronghold.log_decisions(&log);
        Ok(())
    });
    logged.unwrap();
    device.ok(&["verify"]);
    file.reload().unwrap();
    let mut payload = device.vault().stronghold().to_payload().unwrap().to_vec();
    let at = payload.windows(10).position(|window| window == b"first/line").unwrap();
    payload[at] = b'F';
    file.commit(&payload).unwrap();
    let said = device.fails_cleanly(&["verify"], DAMAGED);
    assert!(said.contains("the log's chain is broken") && said.contains("the records are whole"), "{said}");
    assert_eq!(device.get("a/b/c"), "value");
}

#[test]
fn init_touches_nothing_that_is_there() {
    let device = Device::new("a");
    device.put("a/b/c", "value");
    let said = device.fails_cleanly(&["init"], USAGE);
    assert!(said.contains("already exists; it was not touched"), "{said}");
}

#[test]
fn nothing_is_made_where_a_dangling_link_leads() {
    let device = Device::new("a");
    let (link, beyond) = (device.folder().join("link"), device.folder().join("beyond"));
    std::os::unix::fs::symlink(&beyond, &link).unwrap();
    let (link, key) = (link.to_str().unwrap(), device.key_file());
    let clone = ["clone", "--join", "127.0.0.1:1"];
    for args in [&["export", "--output", link, "--output-key-file", &key][..], &["init"], &clone] {
        let mut command = device.command(args);
        if args[0] != "export" {
            command = crate::common::stronghold();
            command.args(args).args(["--snapshot", link, "--key-file", &key]);
        }
        let done = crate::common::run(&mut command, b"");
        assert_eq!(done.exit, USAGE, "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("already exists; it was not touched"), "{args:?}: {}", done.stderr);
        assert!(!beyond.exists(), "{args:?}");
    }
}

#[test]
fn a_passphrase_opens_what_it_created_and_comes_from_a_file_descriptor_too() {
    let device = Device::with_passphrase("a", "correct horse\n");
    device.put("a/b/c", "value");
    // Only the first line counts, with or without its line end, whatever follows.
    device.unlock_by("--passphrase-file", "passphrase", b"correct horse\r\nanother line\n");
    assert_eq!(device.get("a/b/c"), "value");
    let mut command = stronghold();
    command.args(["get", "a/b/c", "--passphrase-fd", "0", "--snapshot"]).arg(device.snapshot());
    assert_eq!(run(&mut command, b"correct horse\n").stdout, b"value");
}

#[test]
fn the_environment_names_the_snapshot_and_the_passphrase_file() {
    let device = Device::with_passphrase("a", "correct horse");
    device.put("a/b/c", "value");
    let mut command = stronghold();
    command.args(["get", "a/b/c"]).env("STRONGHOLD_SNAPSHOT", device.snapshot());
    command.env("STRONGHOLD_PASSPHRASE_FILE", device.key_file());
    assert_eq!(run(&mut command, b"").stdout, b"value");
}

#[test]
fn eight_generations_of_a_record_are_read_by_the_beginning_of_their_ids() {
    let device = Device::new("a");
    (0..8).for_each(|round| device.put("a/b/c", &format!("round {round}")));
    let history = device.json(&["history", "a/b/c"])["revisions"].take();
    let revisions = strings(&history, "revision");
    let values: Vec<String> =
        revisions.iter().map(|id| device.ok(&["get", "a/b/c", "--revision", &id[..16]])).collect();
    assert_eq!(values, (0..8).rev().map(|round| format!("round {round}")).collect::<Vec<_>>());
}

#[test]
#[cfg(unix)]
fn a_reader_that_went_away_is_no_error_and_a_full_disk_is_one() {
    let device = Device::new("a");
    device.put("a/b/c", "value");
    let rows: String = (0..3000).map(|n| format!("g,t{n},p\n")).collect();
    let table = device.file("table.csv", format!("Group,Title,Password\n{rows}").as_bytes());
    device.ok(&["import", "--format", "csv", &table]);
    for args in
        [&["get", "a/b/c"][..], &["list"], &["list", "--json"], &["put", "a/b/d", "--generate", "--json"]]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let done = device.command(args).stdout(full).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(
            done.status.code() == Some(STORAGE) && said.contains("the terminal or a pipe failed"),
            "{args:?}: {said}"
        );
    }
    for args in [&["list"][..], &["list", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = device.command(args).stdout(writer).output().unwrap();
        assert!(done.status.code() == Some(0) && done.stderr.is_empty(), "{args:?}: {done:?}");
    }
}

#[test]
fn several_records_are_removed_by_name_and_by_glob_after_a_question() {
    let device = Device::new("a");
    for name in ["w/old/1", "w/old/2", "w/new/1", "w/new/a*b", "w/new/axb"] {
        device.put(name, "value");
    }
    let said = device.fails_cleanly(&["rm", "w/old/*"], DECISION);
    assert!(said.contains("- w/old/1\n- w/old/2\n") && said.contains("--yes"), "{said}");
    for missing in [["w/old/*", "w/none/*"], ["w/old/*", "w/new/2"]] {
        let said = device.fails_cleanly(&[&["remove", "--yes"], &missing[..]].concat(), NOT_FOUND);
        assert!(
            said.contains("nothing matches w/none/*; nothing was changed")
                || said.contains("no record at w/new/2")
        );
    }
    let before = device.files();
    let dry = device.json(&["remove", "-n", "w/old/*", "w/new/1"]);
    assert_eq!(strings(&dry["records"], "location"), ["w/new/1", "w/old/1", "w/old/2"]);
    assert!(device.files() == before);
    let done = device.json(&["remove", "-y", "w/old/*", "w/new/1", "w/old/1"]);
    assert_eq!(done["records"], dry["records"]);
    device.ok(&["remove", "w/new/a*b"]);
    assert_eq!(device.locations(), ["w/new/axb"], "a name that is there is no glob");
    device.ok(&["undo"]);
    device.ok(&["undo"]);
    assert_eq!(device.locations().len(), 5, "each command is one step");
}

#[test]
fn a_value_is_written_to_a_new_file_for_this_user_alone() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let device = Device::new("a");
    let value = b"\xff\x1b[2J\n";
    device.ok_with(&["put", "a/b/c"], value);
    let path = device.folder().join("out");
    let out = path.to_str().unwrap();
    assert_eq!(device.ok(&["get", "a/b/c", "-o", out]), "");
    assert_eq!(std::fs::read(&path).unwrap(), value);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    device.put("a/b/c", "other");
    let said = device.fails(&["get", "a/b/c", "--output", out], USAGE);
    assert!(said.contains("already exists; it was not touched"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), value);
    let (link, beyond) = (device.folder().join("link"), device.folder().join("beyond"));
    symlink(&beyond, &link).unwrap();
    device.fails(&["get", "a/b/c", "--output", link.to_str().unwrap()], USAGE);
    assert!(!beyond.exists());
    let other = device.folder().join("other");
    let told = device.json(&["get", "a/b/c", "--output", other.to_str().unwrap()]);
    assert_eq!(
        (told["size"].as_u64(), told["file"].as_str(), told.get("value")),
        (Some(5), other.to_str(), None)
    );
    device.fails(&["get", "a/b/none", "--output", "none"], NOT_FOUND);
    assert!(!device.folder().join("none").exists());
}

#[test]
fn records_are_found_by_words_and_a_slip_is_told() {
    let device = Device::new("a");
    for name in ["wallet/web/Mail", "wallet/web/shop", "work/mail/token"] {
        device.put(name, "value");
    }
    let found = |words: &[&str]| strings(&device.json(&[&["find"], words].concat())["entries"], "location");
    assert_eq!(found(&["mail"]), ["wallet/web/Mail", "work/mail/token"]);
    assert_eq!(found(&["MAIL", "work"]), ["work/mail/token"]);
    assert_eq!(device.ok(&["find", "shop"]).lines().count(), 1);
    let said = device.fails_cleanly(&["find", "mail", "shop"], NOT_FOUND);
    assert!(said.starts_with("error: nothing matches mail shop\n"), "{said}");
    device.fails_cleanly(&["find"], USAGE);
    for command in ["get", "remove", "history"] {
        let said = device.fails_cleanly(&[command, "wallet/web/shpo"], NOT_FOUND);
        let expected = "error: no record at wallet/web/shpo\nhint: did you mean wallet/web/shop?\n";
        assert_eq!(said, expected, "{command}");
    }
    device.ok(&["remove", "wallet/web/shop"]);
    let said = device.fails_cleanly(&["get", "wallet/web/shop"], NOT_FOUND);
    assert!(said.contains("see `stronghold list`"), "a deleted record is no other one: {said}");
}
