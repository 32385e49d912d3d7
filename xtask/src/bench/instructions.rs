//! Counts the instructions of the hottest functions under callgrind, and compares them with the
//! recorded counts: unlike times, they are the same on a busy machine.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use crate::{
    Result,
    cargo::{bench_for_callgrind, root},
};

/// The recorded counts.
const RECORDED: &str = "xtask/instructions.json";
/// Part by which a count may change: random salts and ids change it a little.
const TOLERANCE: f64 = 0.03;

/// Counts each function, and compares or, with `record`, writes the counts.
pub(super) fn run(record: bool) -> Result<()> {
    let program = bench_for_callgrind("stronghold-snapshot", super::INSTRUCTIONS)?;
    let names = Command::new(&program).output()?;
    let mut counts = BTreeMap::new();
    for name in String::from_utf8(names.stdout)?.lines() {
        counts.insert(name.to_owned(), counted(&program, name)?);
    }
    let file = root().join(RECORDED);
    if record {
        let text = serde_json::to_string_pretty(&counts)?;
        return Ok(fs::write(file, text + "\n")?);
    }
    let recorded: BTreeMap<String, u64> = serde_json::from_str(&fs::read_to_string(file)?)?;
    println!("{:<14} {:>14} {:>14} {:>8}", "function", "recorded", "instructions", "change");
    let mut slower = Vec::new();
    for (name, count) in &counts {
        let was = recorded.get(name).copied();
        let change = was.map_or(f64::NAN, |was| *count as f64 / was as f64 - 1.0);
        println!("{name:<14} {:>14} {count:>14} {:>+7.1}%", was.unwrap_or_default(), change * 100.0);
        // A function that was not recorded counts too.
        if change.is_nan() || change > TOLERANCE {
            slower.push(name.as_str());
        }
    }
    match slower.as_slice() {
        [] => Ok(()),
        _ => Err(format!(
            "more than {:.0} % above the recorded instructions: {}\nhint: if that is meant, `cargo xtask bench --check --record`",
            TOLERANCE * 100.0,
            slower.join(", ")
        )
        .into()),
    }
}

/// Runs one function under callgrind; returns the instructions in it.
fn counted(program: &PathBuf, name: &str) -> Result<u64> {
    let mut callgrind = Command::new("valgrind");
    callgrind.args([
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--toggle-collect=*instructions::counted*",
    ]);
    let ran = callgrind.arg(program).arg(name).output().map_err(|error| {
        format!("valgrind can't be started: {error}\nhint: install valgrind, which has callgrind")
    })?;
    let said = String::from_utf8_lossy(&ran.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("callgrind counted nothing of `{name}`: {said}").into())
}
