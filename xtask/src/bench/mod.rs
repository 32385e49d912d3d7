//! Runs `bench`: the criterion suites of all crates, one of the benches that have a command of
//! their own, or all of those. Holds what those share: medians and goals.

mod all;
mod baselines;
mod collect;
mod instructions;
mod link;
mod measured;
mod report;
pub(crate) mod storage;
mod sync;
mod teams;

use serde_json::{Value, json};

use crate::{
    Result,
    cargo::{cargo, packages, targets},
};

pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        [] => suites(),
        ["all", options @ ..] => all::run(options),
        ["storage", options @ ..] => storage::run(options),
        ["sync"] => sync::run(),
        ["link"] => link::run(),
        ["--check"] => instructions::run(false),
        ["--check", "--record"] => instructions::run(true),
        ["teams", options @ ..] => teams::run(options),
        [RECONCILE, options @ ..] => bench("stronghold-sync", RECONCILE, options),
        [YEARS, options @ ..] => bench("stronghold-net", YEARS, options),
        _ => Err("say `bench`, or `bench` with all, storage, sync, link, reconcile, years, teams or --check"
            .into()),
    }
}

/// The bench of reconciliation beside its peers; it takes minutes.
const RECONCILE: &str = "reconcile";
/// The simulation of ten years; it takes minutes too.
const YEARS: &str = "years";

/// The bench of which `bench --check` counts the instructions.
const INSTRUCTIONS: &str = "instructions";

/// Runs one bench of a package.
fn bench(package: &str, name: &str, options: &[&str]) -> Result<()> {
    cargo(&[&["bench", "--locked", "-p", package, "--bench", name, "--"][..], options].concat())
}

fn suites() -> Result<()> {
    for package in &packages()? {
        let mut benches = targets(package, "bench");
        benches.retain(|bench| ![RECONCILE, YEARS, INSTRUCTIONS].contains(bench));
        if let (Some(name), false) = (package["name"].as_str(), benches.is_empty()) {
            let mut args = vec!["bench", "--locked", "-p", name];
            args.extend(benches.into_iter().flat_map(|bench| ["--bench", bench]));
            cargo(&args)?;
        }
    }
    Ok(())
}

/// Returns the median.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the minimum and the maximum.
fn range(values: &[f64]) -> [f64; 2] {
    [values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(0.0, f64::max)]
}

/// Returns a goal with its upper limit, the measured value, and whether it was met.
fn at_most(what: &str, limit: f64, reached: f64) -> Value {
    json!({ "goal": format!("{what}: at most {limit}"), "reached": reached, "met": reached <= limit })
}

/// Returns a goal with its lower limit, as [`at_most`] does.
fn at_least(what: &str, limit: f64, reached: f64) -> Value {
    json!({ "goal": format!("{what}: at least {limit}"), "reached": reached, "met": reached >= limit })
}

fn show_goals(goals: &[Value]) {
    println!("\n{:<80} {:>10}", "goal", "reached");
    for goal in goals {
        let met = if goal["met"] == true { "met" } else { "MISSED" };
        let reached = goal["reached"].as_f64().unwrap_or(f64::NAN);
        println!("{:<80} {reached:>10.2} {met}", goal["goal"].as_str().unwrap_or_default());
    }
}
