//! Runs `tidy`: checks the rules of stronghold-sync/DESIGN.md that no compiler checks. Each finding
//! is one line that says what to do.

mod manifests;
mod shape;
mod sources;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{
    Result,
    cargo::{cargo, cargo_output, packages, root},
};

/// The crates, bottom up: each depends only on those before it.
pub(crate) const CRATES: [&str; 6] = [
    "stronghold-sync",
    "stronghold-vault",
    "stronghold-snapshot",
    "stronghold-net",
    "stronghold-cli",
    "xtask",
];

/// Entries of the top level beside the crates, dotfiles and the build folder.
const TOP_LEVEL: [&str; 5] = ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Dependencies that a pure crate can't need: a runtime, randomness, a cipher, a wire encoding.
const NOT_IN_SYNC: [&str; 6] = ["tokio", "rand", "getrandom", "aes", "aes-gcm", "rmp"];

/// Messages of a check, one per finding.
type Findings = Vec<String>;

pub(crate) fn run() -> Result<()> {
    let packages = packages()?;
    let checks: [(&str, Result<Findings>); 6] = [
        ("the top level", top_level()),
        ("the crates' manifests", manifests::check(&packages)),
        ("what every crate has", Ok(packages.iter().flat_map(check_package_files).collect())),
        ("the sources", sources::check()),
        ("sizes, comments and circles", shape::check()),
        ("stronghold-sync is pure", sync_is_pure()),
    ];
    let mut wrong = 0;
    for (what, findings) in checks {
        let findings = findings?;
        println!("tidy: {what}: {}", if findings.is_empty() { "fine" } else { "NOT fine" });
        findings.iter().for_each(|finding| println!("  {finding}"));
        wrong += findings.len();
    }
    if wrong == 0 { Ok(()) } else { Err(format!("tidy: {wrong} to put right").into()) }
}

fn top_level() -> Result<Findings> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "target" {
            found.insert(name);
        }
    }
    let expected: BTreeSet<String> = TOP_LEVEL.into_iter().chain(CRATES).map(str::to_owned).collect();
    let extra =
        found.difference(&expected).map(|name| format!("{name}: move it into the crate that owns it"));
    let missing = expected.difference(&found).map(|name| format!("{name}: is missing"));
    Ok(extra.chain(missing).collect())
}

/// Checks a crate's description, README, CHANGELOG and example.
fn check_package_files(package: &Value) -> Findings {
    let name = package["name"].as_str().unwrap_or_default();
    let folder = root().join(name);
    let mut missing = Vec::new();
    if package["description"].as_str().is_none_or(|text| text.len() < 20) {
        missing.push("description in Cargo.toml");
    }
    if name != "xtask" {
        let files = ["README.md", "CHANGELOG.md"];
        missing.extend(files.into_iter().filter(|file| !folder.join(file).is_file()));
        if !has_example(name, &folder) {
            missing.push("example");
        }
    }
    missing.into_iter().map(|what| format!("{name}: has no {what}")).collect()
}

/// Returns whether a library has a program in `examples`, or the command an example in its README.
fn has_example(name: &str, folder: &Path) -> bool {
    if name == "stronghold-cli" {
        return fs::read_to_string(folder.join("README.md"))
            .is_ok_and(|text| text.contains("stronghold init"));
    }
    fs::read_dir(folder.join("examples")).is_ok_and(|mut files| files.next().is_some())
}

/// Checks that stronghold-sync has no IO, clock, randomness, async, vault key or value byte: it and
/// its dependencies build without `std`.
fn sync_is_pure() -> Result<Findings> {
    let mut findings = sources::check_pure(&root().join("stronghold-sync/src"))?;
    cargo(&["build", "--quiet", "--locked", "-p", "stronghold-sync", "--no-default-features"])?;
    let tree =
        cargo_output(&["tree", "--locked", "-p", "stronghold-sync", "-e", "normal", "--prefix", "none"])?;
    let used: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let unwanted = NOT_IN_SYNC.into_iter().filter(|name| used.contains(name));
    findings
        .extend(unwanted.map(|name| format!("stronghold-sync: depends on {name}; hand in what it needs")));
    Ok(findings)
}
