//! Runs `crash`: longer runs of the crash tests of the `stronghold` command: `kill -9` at random
//! moments of a put, and many concurrent processes whose lock holder is killed. The tests are part
//! of stronghold-cli, where they run a few hundred times; here they get larger numbers and a
//! release build.

use crate::{Result, cargo::cargo_with};

/// Each option, the environment variable that the tests read for it, and its default.
const OPTIONS: [(&str, &str, &str); 3] = [
    ("--kills", "CRASH_KILLS", "10000"),
    ("--processes", "CRASH_PROCESSES", "64"),
    ("--puts", "CRASH_PUTS", "100"),
];
const SEED: (&str, &str) = ("--seed", "CRASH_SEED");

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let mut variables: Vec<_> = OPTIONS.iter().map(|(_, variable, default)| (*variable, *default)).collect();
    for pair in args.chunks(2) {
        let [option, number] = pair else { return Err(format!("`{}` needs a number", pair[0]).into()) };
        let known = OPTIONS.iter().map(|(name, variable, _)| (*name, *variable)).chain([SEED]);
        let variable = known.into_iter().find_map(|(name, variable)| (name == *option).then_some(variable));
        let variable = variable.ok_or_else(|| format!("there is no option `{option}`"))?;
        number.parse::<u64>().map_err(|_| format!("`{number}` is no number"))?;
        variables.retain(|(name, _)| *name != variable);
        variables.push((variable, number));
    }
    let args = ["test", "--release", "--locked", "-p", "stronghold-cli", "--test", "it", "--"];
    let tests = [
        "--nocapture",
        "--test-threads=1",
        "storage::kills::killed_at_random_moments",
        "storage::processes::many_at_once",
    ];
    cargo_with(&[&args[..], &tests].concat(), &variables)
}
