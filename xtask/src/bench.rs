//! Runs `bench`: the criterion suites of all crates, and the comparison of reconciliation methods.

use crate::{
    Result,
    cargo::{cargo, packages, targets},
};

pub(crate) fn run() -> Result<()> {
    for package in &packages()? {
        let mut benches = targets(package, "bench");
        benches.retain(|bench| *bench != RECONCILE);
        if let (Some(name), false) = (package["name"].as_str(), benches.is_empty()) {
            let mut args = vec!["bench", "--locked", "-p", name];
            args.extend(benches.into_iter().flat_map(|bench| ["--bench", bench]));
            cargo(&args)?;
        }
    }
    Ok(())
}

/// Compares reconciliation with its peers; `--quick` uses fewer sizes and sessions.
pub(crate) fn reconcile(options: &[&str]) -> Result<()> {
    cargo(&[&["bench", "--locked", "-p", "stronghold-sync", "--bench", RECONCILE, "--"], options].concat())
}

/// The bench that has a command of its own, since it takes minutes.
const RECONCILE: &str = "reconcile";
