//! Reads snapshots that IOTA's engine has made, whole and broken.
#![allow(missing_docs, reason = "a test")]

#[allow(dead_code, unreachable_pub, reason = "a program by itself, too")]
#[path = "../examples/sample.rs"]
mod sample;

use std::{fs, path::Path, process::Command};

use iota_export::{Contents, Names, ReadError, Source, read};
use tempfile::TempDir;

fn sample() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    sample::write(folder.path()).unwrap();
    folder
}

/// Returns each entry as `client/vault/name=value`.
fn lines(contents: &Contents) -> Vec<String> {
    let line = |entry: &iota_export::Entry| {
        let vault = entry.vault.as_deref().unwrap_or("(store)");
        format!("{}/{vault}/{}={}", entry.client, entry.name, String::from_utf8_lossy(&entry.value))
    };
    contents.entries.iter().map(line).collect()
}

#[test]
fn both_versions_are_read_with_the_names_that_are_known() {
    let folder = sample();
    let at = |name: &str| folder.path().join(name);
    let names = Names::of_file(&at("paths")).unwrap();
    let key = Source::Key(&at("key")).key().unwrap();
    assert_eq!(key, Source::Passphrase(&at("passphrase")).key().unwrap());
    for version in ["v2", "v3"] {
        let before = fs::read(at(version)).unwrap();
        let contents = read(&at(version), &key, &names).unwrap();
        let (found, known) = (lines(&contents), |line: &&String| line.contains("wallet/tokens/"));
        let tokens: Vec<&String> = found.iter().filter(known).collect();
        assert_eq!(
            tokens,
            [
                "wallet/tokens/0=the first",
                "wallet/tokens/7=the eighth",
                "wallet/tokens/ff00=\u{0}\u{fffd}\n",
                "wallet/tokens/mail/password=hunter2",
            ]
        );
        assert!(found.contains(&"wallet/(store)/user=anna".to_owned()));
        assert!(found.iter().any(|line| line.starts_with("wallet/keys/signing=")));
        assert_eq!((found.len(), contents.revoked, contents.expired, contents.unnamed), (8, 1, 1, 3));
        // Without a list, every name is an id, but nothing is missing.
        let nameless = read(&at(version), &key, &Names::default()).unwrap();
        assert_eq!((nameless.entries.len(), nameless.unnamed), (8, 13));
        assert!(fs::read(at(version)).unwrap() == before, "the snapshot is as it was");
    }
}

#[test]
fn a_wrong_key_and_a_damaged_file_are_errors() {
    let folder = sample();
    let key = Source::Key(&folder.path().join("key")).key().unwrap();
    let broken = folder.path().join("broken");
    for version in ["v2", "v3"] {
        let whole = folder.path().join(version);
        assert!(matches!(read(&whole, &[3; 32], &Names::default()), Err(ReadError::WrongKey)), "{version}");
        let bytes = fs::read(&whole).unwrap();
        for len in (0..bytes.len()).step_by(97) {
            fs::write(&broken, &bytes[..len]).unwrap();
            assert!(read(&broken, &key, &Names::default()).is_err(), "{version}, {len} bytes");
        }
        for at in (0..bytes.len()).step_by(61) {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            fs::write(&broken, changed).unwrap();
            assert!(read(&broken, &key, &Names::default()).is_err(), "{version}, byte {at}");
        }
    }
    fs::write(&broken, b"PARTI\x09\x00 and more").unwrap();
    assert!(matches!(read(&broken, &key, &Names::default()), Err(ReadError::Version(9))));
    fs::write(&broken, b"something else").unwrap();
    assert!(matches!(read(&broken, &key, &Names::default()), Err(ReadError::NotASnapshot)));
    assert!(matches!(read(Path::new("/nowhere"), &key, &Names::default()), Err(ReadError::File(_))));
}

/// The plug-in's derivation, by the crate that it uses.
#[test]
fn the_key_of_tauris_plugin_is_derived_as_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let (passphrase, salt) = (folder.path().join("passphrase"), folder.path().join("salt"));
    fs::write(&passphrase, "correct horse\r\nand more").unwrap();
    let bytes: [u8; 32] = std::array::from_fn(|index| index as u8);
    fs::write(&salt, bytes).unwrap();
    let source = Source::Tauri { passphrase: &passphrase, salt: &salt };
    let expected = argon2_of_the_plugin::hash_raw(b"correct horse", &bytes, &Default::default()).unwrap();
    assert_eq!(source.key().unwrap().as_slice(), expected);
    fs::write(&salt, [0; 31]).unwrap();
    assert!(source.key().is_err());
    fs::write(&passphrase, "\n").unwrap();
    assert!(Source::Passphrase(&passphrase).key().is_err());
}

#[test]
fn keys_and_paths_that_are_none_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    for content in [&b""[..], b"short", &[b'a'; 33], "zz".repeat(32).as_bytes(), &[b'a'; 63]] {
        fs::write(&file, content).unwrap();
        assert!(Source::Key(&file).key().is_err(), "{content:?}");
    }
    for content in [&[7; 32][..], format!("{}\n", "0f".repeat(32)).as_bytes()] {
        fs::write(&file, content).unwrap();
        assert!(Source::Key(&file).key().is_ok());
    }
    for content in ["hex:0", "plain\nhex:zz"] {
        fs::write(&file, content).unwrap();
        assert!(Names::of_file(&file).is_err(), "{content}");
    }
}

/// Runs the program with its output in a pipe.
fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let done =
        Command::new(env!("CARGO_BIN_EXE_iota-export")).current_dir(folder).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn the_program_prints_one_object_and_says_what_is_wrong() {
    let folder = sample();
    let (exit, out, said) = run(folder.path(), &["v3", "--key-file", "key", "--paths", "paths"]);
    assert_eq!((exit, out.lines().count()), (Some(0), 1));
    assert!(said.starts_with("8 entries; left out: 1 revoked, 1 expired; 3 without"), "{said}");
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&object["iota_export"], object["entries"].as_array().unwrap().len()), (&1.into(), 8));
    assert!(!out.contains("hunter2"), "values are digits");
    for (args, exit, says) in [
        (&[][..], 2, "no snapshot is named"),
        (&["v3"], 2, "say --key-file, or --passphrase-file"),
        (&["v3", "--key-file", "key", "--passphrase-file", "passphrase"], 2, "say --key-file"),
        (&["v3", "v2", "--key-file", "key"], 2, "one snapshot at a time"),
        (&["v3", "--key-file"], 2, "an option lacks its file"),
        (&["v3", "--passphrase", "x"], 2, "there is no such option"),
        (
            &["paths", "--key-file", "key"],
            1,
            "paths: it is not a snapshot of IOTA Stronghold; it was not touched",
        ),
        (&["v3", "--passphrase-file", "paths"], 1, "v3: the key is wrong, or the snapshot is damaged"),
        (&["v3", "--key-file", "nowhere"], 1, "nowhere: No such file"),
    ] {
        let (code, out, said) = run(folder.path(), args);
        assert_eq!((code, &*out), (Some(exit), ""), "{args:?}: {said}");
        assert!(said.starts_with(&format!("error: {says}")) && said.contains("\nhint: "), "{args:?}: {said}");
    }
    let (exit, out, _) = run(folder.path(), &["--help"]);
    assert!(exit == Some(0) && out.contains("Usage: iota-export SNAPSHOT --key-file FILE"), "{out}");
}
