//! The conformance vectors of FORMAT.md, valid files and files that a reader must reject, written
//! by a second implementation of the format with fixed keys and fixed randomness.
//!
//! `cargo xtask vectors` writes them to `testdata`, `cargo xtask vectors --check` compares the
//! existing ones. The crate's tests open each of them.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for developers, on values that are fixed"
)]

mod accepted;
mod rejected;
mod segments;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, process::ExitCode};

/// A vector: the secret that opens it, the expected result, and the file.
struct Vector {
    name: String,
    comment: String,
    /// `key`, `passphrase` or `recipient`, with its value in hexadecimal digits.
    unlock: (&'static str, Vec<u8>),
    expect: &'static str,
    payload: Option<Vec<u8>>,
    /// The changes behind the base, and whether a torn tail follows.
    changes: Option<(Vec<Vec<u8>>, bool)>,
    file: Vec<u8>,
}

impl Vector {
    /// Encodes a text header, an empty line, and the file.
    fn encode(&self) -> Vec<u8> {
        use sha2::{Digest, Sha256};
        let mut header = format!("comment: {}\nexpect: {}\n", self.comment, self.expect);
        if let Some(payload) = &self.payload {
            let hash = writer::hex(&Sha256::digest(payload));
            header.push_str(&format!("payload: {} bytes, SHA-256 {hash}\n", payload.len()));
        }
        if let Some((changes, is_torn)) = &self.changes {
            let framed = changes
                .iter()
                .flat_map(|change| [&(change.len() as u64).to_be_bytes(), &change[..]].concat());
            let hash = writer::hex(&Sha256::digest(framed.collect::<Vec<u8>>()));
            header.push_str(&format!("changes: {}, SHA-256 {hash}\n", changes.len()));
            header.push_str(if *is_torn { "tail: torn\n" } else { "tail: none\n" });
        }
        header.push_str(&format!("{}: {}\n\n", self.unlock.0, writer::hex(&self.unlock.1)));
        [header.into_bytes(), self.file.clone()].concat()
    }
}

fn main() -> ExitCode {
    let check = std::env::args().any(|arg| arg == "--check");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let all: Vec<Vector> =
        accepted::all().into_iter().chain(rejected::all()).chain(segments::all()).collect();
    let made: BTreeMap<String, Vec<u8>> =
        all.iter().map(|vector| (vector.name.clone(), vector.encode())).collect();
    assert_eq!(made.len(), all.len(), "two vectors have the same name");
    let there: BTreeMap<String, Vec<u8>> = read(&folder);
    if check {
        let names = made.keys().chain(there.keys());
        let wrong: Vec<&String> = names.filter(|name| made.get(*name) != there.get(*name)).collect();
        println!("{} vectors, {} not as they must be {wrong:?}", made.len(), wrong.len());
        return if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    there
        .keys()
        .filter(|name| !made.contains_key(*name))
        .for_each(|name| fs::remove_file(folder.join(name)).unwrap());
    made.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
    println!("{} vectors written", made.len());
    ExitCode::SUCCESS
}

fn read(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}
