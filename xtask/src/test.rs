//! Runs `test` (everything), `test-release` (the released command) and `test-sync` (the tests that
//! cross crates and processes).

use std::path::Path;

use serde_json::Value;

use crate::{
    Result,
    bench::storage,
    cargo::{build_stronghold, built_example, cargo, cargo_with, packages, root, targets},
    demo, servers, suites, tidy,
};

/// The crates whose integration tests drive both ends of a sync.
const OF_SYNC: [&str; 2] = ["stronghold-net", "stronghold-cli"];

/// All examples, each with the arguments to run it with.
const EXAMPLES: [(&str, &[&str]); 11] = [
    ("session", &[]),
    ("soak", &["1000"]),
    ("two_devices", &[]),
    ("local_vault", &[]),
    ("seal_and_open", &[]),
    ("mailbox", &[]),
    ("vectors", &["--check"]),
    ("two_peers", &[]),
    ("server", &[]),
    ("pairing", &[]),
    ("folder", &[]),
];

/// Runs unit, integration and documentation tests, the examples built by `cargo test`, and `tidy`.
/// Tests that repeat something do a tenth of it, and all of it with `--full`.
pub(crate) fn everything(options: &[&str]) -> Result<()> {
    let effort: &[_] = match options {
        [] => &[],
        ["--full"] => &[("STRONGHOLD_EFFORT", "1")],
        _ => return Err("test takes nothing, or --full".into()),
    };
    cargo_with(&["test", "--workspace", "--locked"], effort)?;
    let every: Vec<Value> = packages()?;
    for name in every.iter().flat_map(|package| targets(package, "example")) {
        let args = EXAMPLES.iter().find_map(|(known, args)| (*known == name).then_some(*args));
        built_example(name, args.ok_or_else(|| format!("nobody said how to run the example `{name}`"))?)?;
    }
    tidy::run()
}

/// The reader of IOTA Stronghold's snapshots, and the folder that it is built in, beside the bench
/// that also needs IOTA's engine.
const IOTA: (&str, &str) = ("stronghold-cli/iota-export", "target/peers");

/// The environment in which libsodium and SQLite are taken to be installed: their C is not compiled
/// for a check, which links nothing.
const NO_C: [(&str, &str); 5] = [
    ("SODIUM_LIB_DIR", "."),
    ("SODIUM_SHARED", "1"),
    ("LIBSQLITE3_SYS_USE_PKG_CONFIG", "1"),
    ("SQLITE3_LIB_DIR", "."),
    ("SQLITE3_INCLUDE_DIR", "."),
];

/// Compiles the crates that are workspaces of their own: the fuzz targets, the bench that compares
/// with other programs, and the reader of another program's files. Dependencies that the workspace
/// has too are taken from its build folder.
pub(crate) fn apart() -> Result<()> {
    let manifest = |folder: &str| root().join(folder).join("Cargo.toml").display().to_string();
    for (folder, targets) in suites::FUZZ {
        for target in targets {
            let check =
                ["rustc", "--profile", "check", "--locked", "--target-dir", "target", "--bin", target];
            let of_fuzz = ["--manifest-path", &manifest(folder), "--", "--cfg", "fuzzing"];
            cargo(&[&check[..], &of_fuzz].concat())?;
        }
    }
    for folder in [storage::PEERS, IOTA.0] {
        let check = ["check", "--locked", "--target-dir", "target", "--manifest-path", &manifest(folder)];
        cargo_with(&check, &NO_C)?;
    }
    Ok(())
}

/// Tests the reader of IOTA Stronghold's snapshots, on files that IOTA's own engine makes, and the
/// import of what it prints.
pub(crate) fn iota() -> Result<()> {
    let manifest = root().join(IOTA.0).join("Cargo.toml").display().to_string();
    let of_reader = ["--locked", "--manifest-path", &manifest, "--target-dir", IOTA.1];
    cargo(&[&["test"][..], &of_reader].concat())?;
    cargo(&[&["build", "--bins", "--examples"][..], &of_reader].concat())?;
    cargo(&["test", "--workspace", "--locked", "--test", "it", "--", "iota::"])
}

/// Runs the command's tests on a release build, or on another `program`. An optimised build may
/// leave copies of keys in memory where one for tests leaves none.
pub(crate) fn release(options: &[&str]) -> Result<()> {
    let program = match options {
        [] => build_stronghold()?,
        [program] => Path::new(program).canonicalize()?,
        _ => return Err("test-release takes nothing, or the path of a program".into()),
    };
    let program = program.to_str().ok_or("the program's path is not UTF-8")?;
    let tests = ["test", "--locked", "-p", "stronghold-cli", "--test", "it"];
    cargo_with(&tests, &[("STRONGHOLD_PROGRAM", program)])
}

/// Tests mailboxes on servers, which are installed where they can be, and started by the tests.
fn remote() -> Result<()> {
    let path = servers::installed()?;
    let with = [("PATH", path.as_str())];
    cargo_with(
        &["test", "--locked", "-p", "stronghold-net", "--features", "remote", "--lib", "--", "mailbox"],
        &with,
    )?;
    let on_servers = ["--features", "remote", "--test", "it", "--", "mailbox", "--nocapture"];
    cargo_with(&[&["test", "--locked", "-p", "stronghold-cli"][..], &on_servers].concat(), &with)
}

/// Runs the whole suite with the features that releases have, and the tests of the one feature that
/// hides keys from the tests which search the memory for them.
fn release_features() -> Result<()> {
    let path = servers::installed()?;
    let features = ["--features", "stronghold-cli/remote,stronghold-cli/iroh"];
    cargo_with(&[&["test", "--workspace", "--locked"][..], &features].concat(), &[("PATH", &path)])?;
    cargo(&["test", "--locked", "-p", "stronghold-vault", "--features", "memfd-secret"])
}

/// The relay of the tests, a workspace of its own, and the folder that it is built in; the tests
/// look for it there.
const RELAY: (&str, &str) = ("stronghold-cli/test-relay", "target/relay");

/// Tests connections over QUIC, directly and through a relay that is built for it, and that errors
/// are told as they are without QUIC.
fn across() -> Result<()> {
    let manifest = root().join(RELAY.0).join("Cargo.toml").display().to_string();
    cargo(&["build", "--locked", "--manifest-path", &manifest, "--target-dir", RELAY.1])?;
    cargo(&["test", "--locked", "-p", "stronghold-net", "--features", "iroh", "--lib", "--", "quic"])?;
    let processes = ["--features", "iroh", "--test", "it", "--"];
    let tests = ["across", "config::", "mistakes::", "peers::", "service::"];
    cargo(&[&["test", "--locked", "-p", "stronghold-cli"][..], &processes, &tests].concat())
}

/// Runs what `.ci/run` leaves out: everything at full effort, in release or for longer. A step that
/// fails does not keep the others from running.
pub(crate) fn nightly() -> Result<()> {
    cargo(&["install", "--locked", "cargo-fuzz"])?;
    let suite = |words: &'static [&str]| move || suites::run(words[0], &words[1..]);
    let steps: [(&str, &dyn Fn() -> Result<()>); 15] = [
        ("test --full", &|| everything(&["--full"])),
        ("test-release", &|| release(&[])),
        ("remote", &remote),
        ("across", &across),
        ("release features", &release_features),
        ("demo", &|| demo::run(&[])),
        ("iota", &iota),
        ("fuzz", &suite(&["fuzz"])),
        ("sanitize", &suite(&["sanitize"])),
        ("soak", &suite(&["soak"])),
        ("soak codes", &suite(&["soak", "codes"])),
        ("soak net", &suite(&["soak", "net"])),
        ("crash", &suite(&["crash"])),
        ("flood", &suite(&["flood"])),
        ("advisories", &|| cargo(&["deny", "--locked", "check", "advisories"])),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        if let Err(error) = step() {
            eprintln!("nightly: {name} failed: {error}");
            failed.push(name);
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        _ => Err(format!("failed: {}", failed.join(", ")).into()),
    }
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
