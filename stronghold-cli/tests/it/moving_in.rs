//! Tests imports from other programs, and exports for them.
#![cfg(unix)]

use std::fs;

use serde_json::{Value, json};

use crate::common::{Device, NOT_FOUND, USAGE, WRONG_KEY, at_terminal, end, strings};

/// Imports a file with this name and content; returns the report.
fn import(device: &Device, name: &str, content: &[u8], args: &[&str]) -> Value {
    let file = device.file(name, content);
    device.json(&[&["import", &file], args].concat())
}

const CHROME: &str = "name,url,username,password,note\nShop,https://shop.example,anna,pw,hi\n";
const BITWARDEN: &str = r#"{"encrypted": false, "folders": [{"id": "f", "name": "Web"}], "items": [
    {"type": 1, "name": "Shop", "folderId": "f", "favorite": true, "login": {"username": "anna", "password": "new"},
     "passwordHistory": [{"lastUsedDate": "2024", "password": "old"}, {"lastUsedDate": "2023", "password": "older"}]}]}"#;

#[test]
fn the_end_of_a_file_s_name_tells_its_format() {
    let device = Device::new("a");
    for (name, content, at, value) in [
        ("passwords.csv", CHROME, "imported/default/Shop/password", "pw"),
        ("bitwarden.json", BITWARDEN, "imported/Web/Shop/password", "new"),
        (".env.local", "TOKEN='a b'\n", "imported/env/TOKEN", "a b"),
        ("codes.otpauth", "otpauth://totp/Bank:anna?secret=JBSWY3DP\n", "imported/otp/Bank/username", "anna"),
    ] {
        let planned = import(&device, name, content.as_bytes(), &["--dry-run"]);
        assert_eq!(planned["new"], 1, "{name}: {planned}");
        device.is_absent(at);
        assert_eq!(import(&device, name, content.as_bytes(), &[])["records"], planned["records"]);
        assert_eq!(device.get(at), value, "{name}");
        let again = import(&device, name, content.as_bytes(), &[]);
        assert_eq!((&again["unchanged"], &again["records"]), (&json!(1), &json!([])), "{name}");
    }
    let file = device.file("passwords.txt", CHROME.as_bytes());
    device.fails_cleanly(&["import", &file], USAGE);
    device.ok(&["import", &file, "--format", "csv"]);
    for (name, content) in [("x.json", "{}"), ("x.csv", "a,b\n1,2\n"), ("x.env", "\u{0}\u{fffd}")] {
        let file = device.file(name, content.as_bytes());
        let done = device.run(&["import", &file], b"");
        assert!(done.exit == USAGE || !done.stdout.is_empty(), "{name}: {}", done.stderr);
    }
}

#[test]
fn former_passwords_are_in_the_history_and_what_is_left_out_is_told() {
    let device = Device::new("a");
    let report = import(&device, "export.json", BITWARDEN.as_bytes(), &[]);
    assert_eq!(report["columns_left_out"], json!([{ "name": "favorite", "values": 1 }]));
    let revisions = device.json(&["history", "imported/Web/Shop/password"])["revisions"].take();
    let ids = strings(&revisions, "revision");
    let value = |id: &String| device.ok(&["get", "imported/Web/Shop/password", "--revision", id]);
    assert_eq!(ids.iter().map(value).collect::<Vec<_>>(), ["new", "old", "older"]);
    let file = device.file("secret.json", br#"{"encrypted": true, "data": "x"}"#);
    let said = device.fails_cleanly(&["import", &file], USAGE);
    assert!(said.starts_with("error: the export is encrypted for one account of Bitwarden"), "{said}");
    assert!(said.contains("hint: nothing else can open it: export it as \".json (Encrypted)\""), "{said}");
}

#[test]
fn a_password_protected_export_of_bitwarden_is_imported() {
    let device = Device::new("a");
    let passphrase = device.file("passphrase", "correct hörse\n".as_bytes());
    let args = ["--source-passphrase-file", &passphrase];
    for (client, export) in [
        ("pbkdf2", &include_bytes!("bitwarden/pbkdf2.json")[..]),
        ("argon2id", include_bytes!("bitwarden/argon2id.json")),
    ] {
        let file = device.file("export.json", export);
        device.json(&["import", &file, "--into", client, args[0], args[1]]);
        for (field, value) in [
            ("username", "anna"),
            ("password", "new pässword"),
            ("url", "https://shop.example"),
            ("totp", "JBSWY3DP"),
            ("PIN", "1234"),
            ("notes", "two\nlines"),
        ] {
            assert_eq!(device.get(&format!("{client}/Web/Shop/{field}")), value);
        }
        let history = device.json(&["history", &format!("{client}/Web/Shop/password")]);
        assert_eq!(history["revisions"].as_array().unwrap().len(), 2);
        let wrong = device.file("wrong", b"correct horse\n");
        let said = device.fails_cleanly(&["import", &file, "--source-passphrase-file", &wrong], WRONG_KEY);
        assert!(
            said.starts_with("error: the passphrase of the export is wrong; nothing was changed"),
            "{said}"
        );
        let costly =
            String::from_utf8(export.to_vec()).unwrap().replace("Iterations\": ", "Iterations\": 99999");
        let file = device.file("costly.json", costly.as_bytes());
        let said = device.fails_cleanly(&["import", &file, args[0], args[1]], USAGE);
        assert!(said.contains("hint: if you trust the file, say --allow-costly"), "{said}");
        let changed =
            String::from_utf8(export.to_vec()).unwrap().replace("\"data\": \"2.", "\"data\": \"2.A");
        let file = device.file("changed.json", changed.as_bytes());
        let said = device.fails_cleanly(&["import", &file, args[0], args[1]], USAGE);
        assert!(said.starts_with("error: the export is damaged; nothing was changed"), "{said}");
    }
}

#[test]
fn columns_of_any_table_are_named() {
    let device = Device::new("a");
    let table = b"Site,Key\nshop,pw\n";
    import(&device, "t.csv", table, &["--columns", "title=Site,secret=Key", "--into", "w"]);
    assert_eq!(device.get("w/default/shop/secret"), "pw");
    let file = device.file("t.csv", table);
    for columns in ["title=None", "title", "=Site"] {
        device.fails_cleanly(&["import", &file, "--columns", columns], USAGE);
    }
    device.fails_cleanly(&["import", &file, "--columns", "a=b", "--format", "env"], USAGE);
}

#[test]
fn records_are_exported_in_plain_text_for_this_user_alone() {
    let device = Device::new("a");
    device.put("w/v/text", "one \"two\",\nthree");
    device.ok_with(&["put", "w/v/bytes"], &[0xff, 0]);
    device.put("x/v/other", "x");
    let path = |name: &str| device.folder().join(name).to_str().unwrap().to_owned();
    let done = device.run(&["export", "w/**", "--plaintext", "json", "--output", &path("all.json")], b"");
    assert_eq!(
        String::from_utf8(done.stdout).unwrap(),
        "exported 2 records to ".to_owned() + &path("all.json") + ", unencrypted\n"
    );
    assert!(done.stderr.starts_with("hint: anyone who reads the file reads the secrets"), "{}", done.stderr);
    let all: Value = serde_json::from_slice(&fs::read(path("all.json")).unwrap()).unwrap();
    assert_eq!(
        (&all["records"][0]["value_hex"], &all["records"][1]["value"]),
        (&json!("ff00"), &json!("one \"two\",\nthree"))
    );
    device.ok(&["export", "w/**", "--plaintext", "csv", "--output", &path("all.csv")]);
    let table = fs::read_to_string(path("all.csv")).unwrap();
    assert_eq!(
        table,
        "location,encoding,value\n\"w/v/bytes\",hex,\"ff00\"\n\"w/v/text\",text,\"one \"\"two\"\",\nthree\"\n"
    );
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path("all.csv")).unwrap().permissions())
            & 0o777,
        0o600
    );
    device.fails_cleanly(&["export", "--plaintext", "csv", "--output", &path("all.csv")], USAGE);
    device
        .fails_cleanly(&["export", "nothing/**", "--plaintext", "csv", "--output", &path("none")], NOT_FOUND);
    device.fails_cleanly(
        &["export", "nothing/**", "--output", &path("none"), "--output-key-file", &device.key_file()],
        NOT_FOUND,
    );
}

#[test]
fn a_file_that_is_no_export_of_1password_changes_nothing() {
    let device = Device::new("a");
    let file = device.file("export.1pux", b"PK\x05\x06 and no more");
    let said = device.fails_cleanly(&["import", &file], USAGE);
    assert!(
        said.starts_with("error: the file is not a 1PUX export of 1Password; nothing was changed"),
        "{said}"
    );
}

const KDBX: &[u8] = include_bytes!("kdbx/four.kdbx");

#[test]
fn a_keepass_database_is_imported_with_attachments_and_former_values() {
    let device = Device::new("a");
    let passphrase = device.file("passphrase", b"correct horse\n");
    let args = ["--source-passphrase-file", &passphrase];
    let planned = import(&device, "logins.kdbx", KDBX, &[&args[..], &["--dry-run"]].concat());
    assert_eq!((&planned["new"], planned["records"].as_array().unwrap().len()), (&json!(2), 10));
    assert_eq!(planned["columns_left_out"][0], json!({ "name": "tags", "values": 2 }));
    let done = import(&device, "logins.kdbx", KDBX, &args);
    assert_eq!(done["records"], planned["records"]);
    let attachment = device.run(&["get", "imported/Web/Shops/Shop/letter.bin"], b"").stdout;
    assert_eq!(attachment, b"an attachment\n\0\xff");
    let revisions = device.json(&["history", "imported/Web/Shops/Shop/password"])["revisions"].take();
    assert_eq!(revisions.as_array().unwrap().len(), 2);
    assert!(device.ok(&["show", "imported/Web/Shops/Shop"]).starts_with("username    anna\n"));
    let again = import(&device, "logins.kdbx", KDBX, &args);
    assert_eq!((&again["unchanged"], &again["records"]), (&json!(2), &json!([])));
    let wrong = device.file("wrong", b"wrong\n");
    let file = device.folder().join("logins.kdbx").to_str().unwrap().to_owned();
    device.fails_cleanly(&["import", &file, "--source-passphrase-file", &wrong], WRONG_KEY);
    device.fails_cleanly(&["import", &device.file("cut.kdbx", &KDBX[..900]), args[0], args[1]], USAGE);
}

#[test]
fn the_passphrase_of_a_keepass_database_is_asked_for() {
    use expectrl::Expect;
    let device = Device::new("a");
    let file = device.file("logins.kdbx", KDBX);
    let mut session = at_terminal(&device, &["import", &file, "--key-file", &device.key_file()]);
    for typed in ["wrong", "correct horse"] {
        session.expect("logins.kdbx: ").unwrap();
        session.send_line(typed).unwrap();
    }
    let (exit, said) = end(session);
    assert!(exit == 0 && said.contains("imported 2 credentials (2 new, 0 changed), 0 unchanged"), "{said}");
}
