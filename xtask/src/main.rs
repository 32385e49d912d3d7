//! Runs `cargo xtask demo`, `dist`, `test`, `test-release`, `test-sync`, `iota`, `apart`,
//! `nightly`, `bench`, `soak`, `crash`, `flood`, `fuzz`, `mutants`, `sanitize`, `vectors`, `tidy`.
//!
//! It sees the crates as a user does: their manifests, their tests and the `stronghold` command.

// Printing is the purpose of this program.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod cargo;
mod demo;
mod dist;
mod lab;
mod metrics;
mod mutants;
mod servers;
mod suites;
mod test;
mod tidy;

use std::process::ExitCode;

/// Result of a command. Errors are only printed, so their type does not matter.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["demo", options @ ..] => demo::run(options),
        ["dist", options @ ..] => dist::run(options),
        ["test", options @ ..] => test::everything(options),
        ["apart"] => test::apart(),
        ["iota"] => test::iota(),
        ["nightly"] => test::nightly(),
        ["test-release", options @ ..] => test::release(options),
        ["test-sync"] => test::sync(),
        ["bench", options @ ..] => bench::run(options),
        ["metrics"] => metrics::run(),
        ["mutants", options @ ..] => mutants::run(options),
        ["vectors", options @ ..] => test::vectors(options),
        ["tidy"] => tidy::run(),
        [name @ ("soak" | "crash" | "flood" | "fuzz" | "sanitize"), options @ ..] => {
            suites::run(name, options)
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [--dev]
              two Strongholds pair, check permission and synchronise, as separate processes; --dev: the command that
              the tests have built, instead of one in release
  dist [--dev]
              what people install, in target/dist: an archive, a Debian package (by cargo-deb), a bill of materials and
              checksums; --dev: of the command that the tests have built, to try the packaging
  test [--full]
              everything: unit, integration and documentation tests, examples, and tidy; tests that repeat something
              do a tenth of it, or all of it
  apart       compiles the crates outside the workspace: the fuzz targets, the bench beside other programs, iota-export
  iota        builds iota-export with IOTA's own engine, tests it, and imports what it prints
  nightly     what CI leaves out: tests at full effort and of the release build, mailboxes on
              servers, demo, iota, fuzz, sanitize, soak, crash,
              flood, advisories
  test-release [PROGRAM]
              the command's tests on its release build, or on another program: the memory of an optimised one holds other
              copies of keys
  test-sync   only the tests that cross crates and processes
  bench       the benchmark suites of all crates
  bench all [--quick]
              all of the following, with one report: target/bench/all.json and the page all.html; see xtask/BENCHMARKS.md
  bench storage [--without-iota | --ciphers]
              the vault and its file, beside IOTA Stronghold, age and the bare cipher: target/bench/storage.json
  bench sync  a whole sync between two processes: time, bytes, round trips and memory, beside git: target/bench/sync.json
  bench link  a sync of 100,000 entries over a link of 50 ms and 1 Mbit/s: target/bench/link.json
  bench reconcile [--quick | estimators | memory]
              finding a difference: bytes, round trips and CPU, against its peers; or what it rests on
  bench years [--quick]
              ten years of five devices in fast motion: file, lists, tombstones, syncs: target/bench/years.json and .svg
  bench --check [--record]
              counts the instructions of ten functions under callgrind, and fails if one takes 3 % more than recorded
  bench teams simulates letters and logs through a storage, for 2 to 100 devices: requests, bytes, storage, hours
  soak [SESSIONS] [SEED]
              simulated reconciliations, each held against a comparison of the whole sets
  soak codes [TRIES]
              so many (100,000) pairings with a wrong code, of which none may succeed
  soak net [SEEDS] [FIRST]
              syncs over so many (5,000) simulated bad networks, from this seed on
  crash [--kills N] [--processes P] [--puts Q] [--seed S]
              `kill -9` at N random moments of a put (10,000), then P processes (64) with Q puts each (100) at once
  flood [CONNECTIONS]
              so many (10,000) hostile connections of each kind to a real `serve`: its memory and open files, and what an
              honest device's sync takes meanwhile
  fuzz [--smoke | TARGET [SECONDS]]
              hostile input to stronghold-sync (message, sketch, session) and to the snapshot (header, body, payload,
              changes), to mailboxes (card, letter) and the import of tables (csv): a minute each, all ten, or one for longer
  metrics     sizes, words and circles of the sources, crate by crate
  mutants [--since COMMIT] [--crate sync,vault] [--file PART] [--sample N] [--seed S] [--wide] [--minutes M] [--jobs J]
          [--longest SECONDS] [--faults N,N]
              plant faults in a copy of what is committed, and show which of a sample (200) no test notices
  vectors [--check]
              write the snapshot format's conformance vectors, or compare what is there
  sanitize [locked]
              the vault's tests, or those of its locked memory alone, under the address sanitizer (Linux, x86-64)
  tidy        what the design says of the tree and no compiler checks
";
