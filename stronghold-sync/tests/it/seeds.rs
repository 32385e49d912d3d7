//! Runs the fuzz targets on their seeds, so that past findings stay fixed.

use std::{fs, path::Path};

use self::runner::each_seed;

#[macro_use]
mod runner;

#[path = "../../fuzz/fuzz_targets/message.rs"]
mod message;
#[path = "../../fuzz/fuzz_targets/session/main.rs"]
mod session;
#[path = "../../fuzz/fuzz_targets/sketch.rs"]
mod sketch;

#[test]
fn message() {
    each_seed("message", message::try_bytes);
}

#[test]
fn session() {
    each_seed("session", session::try_bytes);
}

#[test]
fn sketch() {
    each_seed("sketch", sketch::try_bytes);
}

/// Checks that every message of the document is a seed, so that no seed is outdated.
/// `STRONGHOLD_WRITE_SEEDS=1` writes them.
#[test]
fn seeds_of_messages_are_those_of_the_document() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = here.join("fuzz/seeds/message");
    let document = fs::read_to_string(here.join("testdata/messages.txt")).unwrap();
    let mut named = Vec::new();
    for line in document.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, bytes) = line.split_once(' ').unwrap();
        let bytes = (0..bytes.len()).step_by(2).map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap());
        let (name, bytes) = (name.to_lowercase().replace('/', "-"), bytes.collect::<Vec<u8>>());
        if std::env::var_os("STRONGHOLD_WRITE_SEEDS").is_some() {
            fs::write(folder.join(&name), &bytes).unwrap();
        }
        assert_eq!(fs::read(folder.join(&name)).unwrap(), bytes, "{name}");
        named.push(name);
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), named.len(), "a seed of no message");
}
