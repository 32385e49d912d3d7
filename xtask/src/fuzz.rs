//! `fuzz`: the fuzz targets of `stronghold-sync`, by cargo-fuzz and libFuzzer.
//!
//! What a target has found so far stays in `corpus`, which is nobody's but this machine's; `seeds` are where all start.
//! No sanitizer: there is nothing in that crate that one would watch, and so the stable compiler is enough.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    Result,
    cargo::{cargo, root},
};

/// The targets, and what each takes apart.
const TARGETS: [&str; 3] = ["message", "sketch", "session"];
/// Where they are, from the top of the repository.
const FOLDER: &str = "stronghold-sync/fuzz";
/// How long a smoke test of one target takes, in seconds.
const SMOKE: u64 = 60;
/// How long a target runs by itself, in seconds, unless the caller says.
const LONG: u64 = 600;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        [] | ["--smoke"] => TARGETS.into_iter().try_for_each(|target| fuzz(target, SMOKE)),
        [target] => fuzz(target, LONG),
        [target, seconds] => match seconds.parse() {
            Ok(seconds) if seconds > 0 => fuzz(target, seconds),
            _ => Err(format!("`{seconds}` is no number of seconds").into()),
        },
        _ => Err("say `fuzz --smoke`, or `fuzz TARGET [SECONDS]`".into()),
    }
}

/// Runs one target; it fails with the first input that breaks it, which libFuzzer keeps in `artifacts`.
fn fuzz(target: &str, seconds: u64) -> Result<()> {
    if !TARGETS.contains(&target) {
        return Err(format!("there is no target `{target}`: it is one of {}", TARGETS.join(", ")).into());
    }
    is_installed()?;
    let folder = |name: &str| root().join(FOLDER).join(name).join(target).display().to_string();
    let (corpus, seeds) = (folder("corpus"), folder("seeds"));
    fs::create_dir_all(&corpus)?;
    let time = format!("-max_total_time={seconds}");
    let run = ["fuzz", "run", "--fuzz-dir", FOLDER, "--sanitizer", "none", target, &corpus, &seeds, "--"];
    // Ten seconds for one input, or a gibibyte, is a finding too: time and memory are bounded whatever a peer sends.
    cargo(&[&run, &[time.as_str(), "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"][..]].concat())
}

fn is_installed() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut asked = Command::new(cargo);
    asked.args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if asked.status()?.success() {
        return Ok(());
    }
    Err("cargo-fuzz is not installed\nhint: `cargo install cargo-fuzz --locked`, and a C++ compiler beside it".into())
}
