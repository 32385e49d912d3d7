//! Runs `soak`, `crash`, `flood`, `fuzz` and `sanitize`: tests of the crates with larger numbers,
//! in release, and those that need a build of their own. Each is a row of [`SUITES`] or [`FUZZ`].

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    Result,
    cargo::{cargo, cargo_with, root},
};

/// A suite: its command, the test binary's options and tests, and its numbers.
struct Suite {
    command: &'static str,
    tests: &'static [&'static str],
    /// Each number's option, its name in `STRONGHOLD_EFFORT`, and its default. A person gives them
    /// by option, or in this order.
    numbers: &'static [(&'static str, &'static str, Option<&'static str>)],
}

/// The longest command comes first where one begins with another.
const SUITES: [Suite; 4] = [
    Suite {
        command: "soak codes",
        tests: &["--ignored", "--exact", "pairing::no_wrong_code_is_accepted_and_each_costs_a_new_one"],
        numbers: &[("--tries", "codes", Some("100000"))],
    },
    Suite {
        command: "soak net",
        tests: &["--exact", "simulation::syncs_over_a_bad_network_end_and_lose_nothing"],
        numbers: &[("--seeds", "networks", Some("5000")), ("--seed", "seed", Some("1"))],
    },
    Suite {
        command: "crash",
        tests: &["storage::kills::killed_at_random_moments", "storage::processes::many_at_once"],
        numbers: &[
            ("--kills", "kills", Some("10000")),
            ("--processes", "processes", Some("64")),
            ("--puts", "puts", Some("100")),
            ("--seed", "seed", None),
        ],
    },
    Suite {
        command: "flood",
        tests: &["flood::"],
        numbers: &[("--connections", "connections", Some("10000"))],
    },
];

/// The fuzz crates, and the targets in each, named after the input they parse.
pub(crate) const FUZZ: [(&str, &[&str]); 4] = [
    ("stronghold-sync/fuzz", &["message", "sketch", "session"]),
    ("stronghold-snapshot/fuzz", &["header", "body", "payload", "changes"]),
    ("stronghold-net/fuzz", &["card", "letter"]),
    ("stronghold-cli/fuzz", &["csv"]),
];
/// Durations of a smoke test and of a run of a single target, in seconds.
const SMOKE: &str = "60";
const LONG: &str = "600";

/// Target for which the toolchain ships the address sanitizer's runtime.
const SANITIZED: &str = "x86_64-unknown-linux-gnu";

pub(crate) fn run(command: &str, options: &[&str]) -> Result<()> {
    match (command, options) {
        ("fuzz", [] | ["--smoke"]) => targets().try_for_each(|target| fuzz(target, SMOKE)),
        ("fuzz", [target]) => fuzz(target, LONG),
        ("fuzz", [target, seconds]) if seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0) => {
            fuzz(target, seconds)
        }
        ("sanitize", []) => sanitize(&[]),
        ("sanitize", ["locked"]) => sanitize(&["locked::"]),
        ("soak", [kind @ ("codes" | "net"), numbers @ ..]) => suite(&format!("soak {kind}"), numbers),
        ("soak", numbers) => {
            let args = ["run", "--release", "--locked", "-p", "stronghold-sync", "--example", "soak", "--"];
            cargo(&[&args, numbers].concat())
        }
        ("crash" | "flood", numbers) => suite(command, numbers),
        _ => Err(format!("`{command}` does not take `{}`: see `cargo xtask`", options.join(" ")).into()),
    }
}

/// Runs a suite with the given numbers in a release build, one test after the other.
fn suite(command: &str, numbers: &[&str]) -> Result<()> {
    let suite = SUITES.iter().find(|suite| suite.command == command).ok_or("there is no such suite")?;
    let numbers = numbers_of(suite, numbers)?;
    let named: Vec<String> = numbers.iter().map(|(name, number)| format!("{name}={number}")).collect();
    let args = ["test", "--release", "--locked", "--workspace", "--test", "it", "--", "--nocapture"];
    cargo_with(
        &[&args[..], &["--test-threads=1"], suite.tests].concat(),
        &[("STRONGHOLD_EFFORT", &named.join(","))],
    )
}

/// Returns each name with its given number, or its default.
fn numbers_of<'a>(suite: &Suite, given: &[&'a str]) -> Result<Vec<(&'static str, &'a str)>> {
    let mut found: Vec<(&str, Option<&str>)> =
        suite.numbers.iter().map(|(_, name, default)| (*name, *default)).collect();
    let (mut given, mut next) = (given.iter(), 0);
    while let Some(word) = given.next() {
        let place = suite.numbers.iter().position(|(option, ..)| option == word);
        let number = if place.is_some() { given.next() } else { Some(word) };
        let number = number.filter(|number| number.parse::<u64>().is_ok());
        let (Some(slot), Some(number)) = (found.get_mut(place.unwrap_or(next)), number) else {
            return Err(format!("`{}` does not take `{word}`: see `cargo xtask`", suite.command).into());
        };
        slot.1 = Some(number);
        next += 1;
    }
    Ok(found.into_iter().filter_map(|(name, number)| Some((name, number?))).collect())
}

fn targets() -> impl Iterator<Item = &'static str> {
    FUZZ.into_iter().flat_map(|(_, targets)| targets).copied()
}

/// Runs one fuzz target with cargo-fuzz. It fails at the first input that breaks it, which
/// libFuzzer keeps in `artifacts`; `corpus` keeps the inputs found on this machine, `seeds` those
/// from which all start, and `dictionaries` the words of a target. Safe code parses the input, so
/// no sanitizer is used and the stable compiler is enough.
fn fuzz(target: &str, seconds: &str) -> Result<()> {
    let Some((folder, _)) = FUZZ.into_iter().find(|(_, targets)| targets.contains(&target)) else {
        let known: Vec<&str> = targets().collect();
        return Err(format!("there is no target `{target}`: it is one of {}", known.join(", ")).into());
    };
    let mut version = Command::new("cargo");
    version.args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status()?.success() {
        return Err(
            "cargo-fuzz is not installed\nhint: `cargo install cargo-fuzz --locked`, and a C++ compiler beside it"
                .into(),
        );
    }
    let place = |name: &str| root().join(folder).join(name).join(target);
    let (corpus, seeds, words) = (place("corpus"), place("seeds"), place("dictionaries"));
    fs::create_dir_all(&corpus)?;
    let [corpus, seeds] = [corpus, seeds].map(|path| path.display().to_string());
    let time = format!("-max_total_time={seconds}");
    let dictionary = words.is_file().then(|| format!("-dict={}", words.display()));
    let run = ["fuzz", "run", "--fuzz-dir", folder, "--sanitizer", "none", target, &corpus, &seeds, "--"];
    // Ten seconds or 1 GiB for one input is a finding too: time and memory are bounded whatever a
    // peer sends.
    let bounds = [time.as_str(), "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"];
    cargo(&[&run[..], &bounds, dictionary.as_deref().as_slice()].concat())
}

/// Runs tests of the vault's library under the address sanitizer, for the one module that the
/// compiler does not check. The stable compiler has it behind `RUSTC_BOOTSTRAP` only; everything is
/// built again with it, in a folder of its own.
fn sanitize(tests: &[&str]) -> Result<()> {
    let folder = root().join("target/sanitize").display().to_string();
    let environment = [
        ("RUSTC_BOOTSTRAP", "1"),
        ("RUSTFLAGS", "-Zsanitizer=address"),
        ("CARGO_TARGET_DIR", folder.as_str()),
        // An arena that is never freed is not a leak: the pool holds it, where the sanitizer does
        // not look.
        ("ASAN_OPTIONS", "detect_leaks=0"),
    ];
    let test = ["test", "--locked", "-p", "stronghold-vault", "--lib", "--target", SANITIZED, "--"];
    cargo_with(&[&test[..], tests].concat(), &environment)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

    use super::*;

    #[test]
    fn numbers_are_given_by_option_or_in_order() {
        let crash = &SUITES[2];
        let kills = |given: &[&str]| numbers_of(crash, given).unwrap()[0].1.parse::<u64>().unwrap();
        assert_eq!([kills(&[]), kills(&["7"]), kills(&["--puts", "3", "--kills", "8"])], [10_000, 7, 8]);
        assert_eq!(numbers_of(crash, &["1", "2", "3", "--seed", "4"]).unwrap()[3], ("seed", "4"));
        for wrong in [&["--kills"][..], &["--tries", "1"], &["many"], &["1", "2", "3", "4", "5"]] {
            assert!(numbers_of(crash, wrong).is_err(), "{wrong:?}");
        }
    }
}
