//! The conformance vectors in `testdata`: each one opens, or is rejected with the word that it
//! names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use stronghold_snapshot::{Damage, OpenError, Payload, RecipientSecretKey, Unlock, open};

#[test]
fn every_vector_is_read_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut words = BTreeMap::<String, u32>::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let expect = check(&name, &fs::read(&path).unwrap());
        *words.entry(expect).or_default() += 1;
    }
    assert!(words.values().sum::<u32>() >= 100, "{words:?}");
    assert_eq!(words.len(), 13, "every word has vectors: {words:?}");
}

fn check(name: &str, vector: &[u8]) -> String {
    let end = vector.windows(2).position(|pair| pair == b"\n\n").unwrap();
    let header = std::str::from_utf8(&vector[..end]).unwrap();
    let fields: BTreeMap<&str, &str> = header
        .lines()
        .map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")))
        .collect();
    let result = open_with(&fields, &vector[end + 2..]);
    let word = match &result {
        Ok(_) => "success",
        Err(error) => word_of(error),
    };
    assert_eq!(word, fields["expect"], "{name}: {:?}", result.as_ref().err());
    if let Ok(payload) = result {
        let found = format!("{} bytes, SHA-256 {}", payload.len(), hex(&Sha256::digest(&*payload)));
        assert_eq!(found, fields["payload"], "{name}");
        let framed =
            payload.changes().flat_map(|change| [&(change.len() as u64).to_be_bytes(), change].concat());
        let hash = hex(&Sha256::digest(framed.collect::<Vec<u8>>()));
        let found = format!("{}, SHA-256 {hash}", payload.changes().len());
        let tail = if payload.is_torn() { "torn" } else { "none" };
        let none = format!("0, SHA-256 {}", hex(&Sha256::digest(b"")));
        let expected = (fields.get("changes").copied(), fields.get("tail").copied());
        assert_eq!((&*found, tail), (expected.0.unwrap_or(&none), expected.1.unwrap_or("none")), "{name}");
    }
    word.to_owned()
}

fn open_with(fields: &BTreeMap<&str, &str>, file: &[u8]) -> Result<Payload, OpenError> {
    let value = |field: &str| fields.get(field).map(|digits| from_hex(digits));
    let opened = if let Some(key) = value("key") {
        open(file, &Unlock::Key(key.as_slice().try_into().unwrap()))
    } else if let Some(passphrase) = value("passphrase") {
        open(file, &Unlock::Passphrase(&passphrase))
    } else {
        open(file, &Unlock::Recipient(&RecipientSecretKey::from_bytes(&value("recipient").unwrap()).unwrap()))
    };
    opened.map(|opened| opened.payload)
}

fn word_of(error: &OpenError) -> &'static str {
    match error {
        OpenError::NotASnapshot => "not a snapshot",
        OpenError::NewerVersion { .. } => "newer version",
        OpenError::WrongKey => "wrong key",
        OpenError::Unsupported(_) => "unsupported",
        OpenError::Damaged(Damage::Truncated) => "cut short",
        OpenError::Damaged(Damage::Header) => "damaged header",
        OpenError::Damaged(Damage::Slot) => "damaged slot",
        OpenError::Damaged(Damage::HeaderMac) => "header not authentic",
        OpenError::Damaged(Damage::Body) => "damaged body",
        OpenError::Damaged(Damage::Padding) => "damaged padding",
        OpenError::Damaged(Damage::Gap) => "damaged gap",
        OpenError::Damaged(Damage::Segment) => "damaged segment",
        other => panic!("{other}"),
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
