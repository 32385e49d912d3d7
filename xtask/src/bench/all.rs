//! Runs `bench all`: every suite with its peers, one after the other, and one report of them: a
//! table in the terminal, `target/bench/all.json` and the page `target/bench/all.html`.

use std::{fs, process::Command};

use serde_json::json;

use super::{
    collect::collect,
    measured::{Machine, Report, Suite},
    report,
};
use crate::{
    Result,
    cargo::{root, write_bench},
};

/// The suites, in their order, and whether each knows `--quick`.
const SUITES: [(&str, bool); 5] =
    [("storage", false), ("sync", false), ("link", false), ("reconcile", true), ("years", true)];

pub(crate) fn run(options: &[&str]) -> Result<()> {
    let is_quick = match options {
        [] => false,
        ["--quick"] => true,
        _ => return Err("say `bench all`, or `bench all --quick`".into()),
    };
    let machine = machine();
    let suites = SUITES.map(|(name, knows_quick)| measured(name, is_quick && knows_quick)).into();
    let report = Report { machine, is_quick, suites };
    print!("{}", report::table(&report));
    write_bench("all", &json!(report))?;
    fs::write(root().join("target/bench/all.html"), report::page(&report))?;
    println!("written: target/bench/all.html");
    end(&report.suites)
}

/// Returns an error that names the suites that failed.
fn end(suites: &[Suite]) -> Result<()> {
    let failed = suites.iter().filter(|suite| suite.failure.is_some());
    let failed: Vec<&str> = failed.map(|suite| suite.name.as_str()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

/// Runs a suite and reads its measurements. An error ends the suite, not the others.
fn measured(name: &str, is_quick: bool) -> Suite {
    println!("\n== bench {name}");
    let options: &[&str] = if is_quick { &["--quick"] } else { &[] };
    let read = || -> Result<Suite> {
        super::run(&[&[name], options].concat())?;
        let file = root().join("target/bench").join(name).with_extension("json");
        Ok(collect(name, &serde_json::from_slice(&fs::read(file)?)?))
    };
    read().unwrap_or_else(|error| {
        eprintln!("error: bench {name}: {error}");
        Suite { name: name.to_owned(), failure: Some(error.to_string()), ..Suite::default() }
    })
}

fn machine() -> Machine {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = file("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    Machine {
        cores: std::thread::available_parallelism().map_or(0, Into::into),
        processor: model.map_or("unknown", |(_, name)| name).to_owned(),
        kernel: output("uname", &["-sr"]),
        commit: if changes.is_empty() { commit } else { format!("{commit} with changes") },
        date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        load: file("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
    }
}

/// Returns what a program prints, or nothing where it is missing.
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(root()).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_fails_is_named_and_the_others_stay() {
        let failed = measured("no such suite", true);
        assert!(failed.failure.as_ref().is_some_and(|failure| failure.starts_with("say `bench`")));
        let ran = Suite { name: "ran".into(), ..Suite::default() };
        assert!(end(std::slice::from_ref(&ran)).is_ok());
        assert_eq!(end(&[ran, failed]).unwrap_err().to_string(), "failed: no such suite");
    }

    #[test]
    fn only_quick_is_an_option() {
        assert!(run(&["--slow"]).is_err());
    }
}
