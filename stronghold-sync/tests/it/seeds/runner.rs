//! Runs a crate's fuzz targets on its seeds, for the tests of each crate.
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

/// Runs a target on each of its seeds.
pub(crate) fn each_seed(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(folder).unwrap().map(|seed| seed.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    for seed in seeds {
        println!("{}", seed.display());
        run(&fs::read(seed).unwrap());
    }
}
