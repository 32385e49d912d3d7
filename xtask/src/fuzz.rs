//! Runs `fuzz`: the fuzz targets of the crates, with cargo-fuzz and libFuzzer.
//!
//! `corpus` keeps the inputs that a target has found on this machine, `seeds` the inputs from which
//! all start, and `dictionaries` the words of targets that have some. No sanitizer is used: safe
//! code parses the input, so the stable compiler is enough. `sanitize` covers the rest.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Result,
    cargo::{cargo, root},
};

/// The folders from the root of the repository, and the targets in each, named after the input they
/// parse.
const FOLDERS: [(&str, &[&str]); 3] = [
    ("stronghold-sync/fuzz", &["message", "sketch", "session"]),
    ("stronghold-snapshot/fuzz", &["header", "body", "payload"]),
    ("stronghold-cli/fuzz", &["csv"]),
];
/// Duration of a smoke test of one target, in seconds.
const SMOKE: u64 = 60;
/// Duration of a run of a single target, in seconds.
const LONG: u64 = 600;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        [] | ["--smoke"] => targets().try_for_each(|target| fuzz(target, SMOKE)),
        [target] => fuzz(target, LONG),
        [target, seconds] => match seconds.parse() {
            Ok(seconds) if seconds > 0 => fuzz(target, seconds),
            _ => Err(format!("`{seconds}` is no number of seconds").into()),
        },
        _ => Err("say `fuzz --smoke`, or `fuzz TARGET [SECONDS]`".into()),
    }
}

fn targets() -> impl Iterator<Item = &'static str> {
    FOLDERS.into_iter().flat_map(|(_, targets)| targets).copied()
}

/// Runs one target. It fails at the first input that breaks it, which libFuzzer keeps in
/// `artifacts`.
fn fuzz(target: &str, seconds: u64) -> Result<()> {
    let Some((folder, _)) = FOLDERS.into_iter().find(|(_, targets)| targets.contains(&target)) else {
        let known: Vec<&str> = targets().collect();
        return Err(format!("there is no target `{target}`: it is one of {}", known.join(", ")).into());
    };
    is_installed()?;
    let place = |name: &str| root().join(folder).join(name).join(target).display().to_string();
    let (corpus, seeds, words) = (place("corpus"), place("seeds"), place("dictionaries"));
    fs::create_dir_all(&corpus)?;
    let time = format!("-max_total_time={seconds}");
    let dictionary = Path::new(&words).is_file().then(|| format!("-dict={words}"));
    let run = ["fuzz", "run", "--fuzz-dir", folder, "--sanitizer", "none", target, &corpus, &seeds, "--"];
    // Ten seconds or 1 GiB for one input is a finding too: time and memory are bounded whatever a
    // peer sends.
    let bounds = [time.as_str(), "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"];
    cargo(&[&run[..], &bounds, dictionary.as_deref().as_slice()].concat())
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
