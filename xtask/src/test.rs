//! Runs `test` (everything) and `test-sync` (the tests that cross crates and processes).

use serde_json::Value;

use crate::{
    Result,
    cargo::{built_example, cargo, packages, targets},
    tidy,
};

/// The crates whose integration tests drive both ends of a sync.
const OF_SYNC: [&str; 2] = ["stronghold-net", "stronghold-cli"];

/// All examples, each with the arguments to run it with.
const EXAMPLES: [(&str, &[&str]); 9] = [
    ("session", &[]),
    ("soak", &["1000"]),
    ("two_devices", &[]),
    ("seal_and_open", &[]),
    ("mailbox", &[]),
    ("vectors", &["--check"]),
    ("two_peers", &[]),
    ("server", &[]),
    ("pairing", &[]),
];

/// Runs unit, integration and documentation tests, the examples built by `cargo test`, and `tidy`.
pub(crate) fn everything() -> Result<()> {
    cargo(&["test", "--workspace", "--locked"])?;
    let every: Vec<Value> = packages()?;
    for name in every.iter().flat_map(|package| targets(package, "example")) {
        let args = EXAMPLES.iter().find_map(|(known, args)| (*known == name).then_some(*args));
        built_example(name, args.ok_or_else(|| format!("nobody said how to run the example `{name}`"))?)?;
    }
    tidy::run()
}

/// Writes the conformance vectors of the snapshot format, or compares them with those in the tree.
pub(crate) fn vectors(options: &[&str]) -> Result<()> {
    let run = ["run", "--quiet", "--locked", "-p", "stronghold-snapshot", "--example", "vectors", "--"];
    cargo(&[&run, options].concat())
}

/// Runs the integration tests: two ends over a link, and real processes over loopback.
pub(crate) fn sync() -> Result<()> {
    let packages = packages()?;
    let of_sync = packages.iter().filter(|package| OF_SYNC.iter().any(|name| package["name"] == *name));
    for package in of_sync {
        let name = package["name"].as_str().unwrap_or_default();
        let mut args = vec!["test", "--locked", "-p", name];
        args.extend(targets(package, "test").into_iter().flat_map(|test| ["--test", test]));
        cargo(&args)?;
    }
    Ok(())
}
