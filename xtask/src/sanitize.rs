//! Runs `sanitize`: the vault's tests under the address sanitizer, for the one module that the
//! compiler does not check.
//!
//! The stable compiler has the sanitizer only behind `RUSTC_BOOTSTRAP`, which is set for this
//! command alone. Everything is built again with it, in a folder of its own.

use crate::{
    Result,
    cargo::{cargo_with, root},
};

/// Target for which the toolchain ships the sanitizer's runtime.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Runs all tests of the vault's library, or only those of the locked memory (`locked`).
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
        // An arena that is never freed is not a leak: the pool holds it, where the sanitizer does
        // not look.
        ("ASAN_OPTIONS", "detect_leaks=0"),
    ];
    let test = ["test", "--locked", "-p", "stronghold-vault", "--lib", "--target", TARGET, "--"];
    cargo_with(&[&test[..], only].concat(), &environment)
}
