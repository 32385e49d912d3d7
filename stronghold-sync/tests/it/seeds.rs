//! Runs the fuzz targets on their seeds, so that past findings stay fixed.
#![allow(clippy::print_stdout, reason = "names the seed at fault")]

use std::{fs, path::Path};

/// Turns a fuzz target into a function of bytes, as libFuzzer's macro of this name turns it into a
/// program.
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:expr) => {
        pub(crate) fn try_bytes($input: &[u8]) {
            $body
        }
    };
    (|$input:ident: $Input:ty| $body:expr) => {
        pub(crate) fn try_bytes(bytes: &[u8]) {
            let bytes = arbitrary::Unstructured::new(bytes);
            if let Ok($input) = <$Input as arbitrary::Arbitrary>::arbitrary_take_rest(bytes) {
                $body
            }
        }
    };
}

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

/// Runs a target on each of its seeds.
fn each_seed(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(folder).unwrap().map(|seed| seed.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    for seed in seeds {
        println!("{}", seed.display());
        run(&fs::read(seed).unwrap());
    }
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
