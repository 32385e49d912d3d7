//! `sanitize`: the vault's tests under the address sanitizer, for the one module that the compiler does not check.
//!
//! A sanitizer is no part of the stable compiler yet; the stable one has it all the same, behind `RUSTC_BOOTSTRAP`, which is
//! set for this command and nothing else. Everything is built anew with it, in a folder of its own.

use crate::{
    Result,
    cargo::{cargo_with, root},
};

/// The sanitizer's runtime comes with the toolchain for this target.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// `locked`: the tests of the locked memory alone; else all of the vault's own.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let only: &[&str] = match args {
        [] => &[],
        ["locked"] => &["locked::"],
        _ => return Err("say `sanitize`, or `sanitize locked`".into()),
    };
    let folder = root().join("target/sanitize").display().to_string();
    let environment = [
        ("RUSTC_BOOTSTRAP", "1"),
        ("RUSTFLAGS", "-Zsanitizer=address"),
        ("CARGO_TARGET_DIR", folder.as_str()),
        // An arena that is never given back is no leak: the pool has it, where the sanitizer does not look.
        ("ASAN_OPTIONS", "detect_leaks=0"),
    ];
    let test = ["test", "--locked", "-p", "stronghold-vault", "--lib", "--target", TARGET, "--"];
    cargo_with(&[&test[..], only].concat(), &environment)
}
