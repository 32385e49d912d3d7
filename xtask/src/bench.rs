//! `bench`: the criterion suites of all crates.

use crate::{
    Result,
    cargo::{cargo, packages, targets},
};

pub(crate) fn run() -> Result<()> {
    for package in &packages()? {
        let benches = targets(package, "bench");
        if let (Some(name), false) = (package["name"].as_str(), benches.is_empty()) {
            let mut args = vec!["bench", "--locked", "-p", name];
            args.extend(benches.into_iter().flat_map(|bench| ["--bench", bench]));
            cargo(&args)?;
        }
    }
    Ok(())
}
