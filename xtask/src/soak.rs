//! Runs `soak`: longer runs of tests that the suite tries a few hundred times: reconciliations,
//! wrong pairing codes and bad networks. The tests belong to the crates; here they get larger
//! numbers and a release build.

use crate::{
    Result,
    cargo::{cargo, cargo_with},
};

/// Simulates reconciliations; `numbers` are their count and the first seed.
pub(crate) fn sessions(numbers: &[&str]) -> Result<()> {
    let args = ["run", "--release", "--locked", "-p", "stronghold-sync", "--example", "soak", "--"];
    cargo(&[&args, numbers].concat())
}

/// Tries pairings with wrong codes; `numbers` is their count.
pub(crate) fn codes(numbers: &[&str]) -> Result<()> {
    let given = given(&[("STRONGHOLD_WRONG_CODES", "100000")], numbers)?;
    net_test(&["--ignored", "pairing::no_wrong_code_is_accepted_and_each_costs_a_new_one"], &given)
}

/// Syncs over simulated networks; `numbers` are their count and the first seed.
pub(crate) fn net(numbers: &[&str]) -> Result<()> {
    let given = given(&[("STRONGHOLD_SEEDS", "5000"), ("STRONGHOLD_FIRST_SEED", "1")], numbers)?;
    net_test(&["simulation::syncs_over_a_bad_network_end_and_lose_nothing"], &given)
}

/// Runs a test of stronghold-net in release.
fn net_test(test: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let args = ["test", "--release", "--locked", "--workspace", "--test", "it", "--"];
    cargo_with(&[&args[..], &["--exact", "--nocapture"], test].concat(), environment)
}

/// Returns each variable with its given number, or its default.
fn given<'a>(variables: &[(&'a str, &'a str)], numbers: &[&'a str]) -> Result<Vec<(&'a str, &'a str)>> {
    if let Some(excess) = numbers.get(variables.len()) {
        return Err(format!("`{excess}` is one number too many").into());
    }
    if let Some(wrong) = numbers.iter().find(|number| number.parse::<u64>().is_err()) {
        return Err(format!("`{wrong}` is no number").into());
    }
    let or_own = |(index, &(name, own)): (usize, &(&'a str, &'a str))| {
        (name, numbers.get(index).copied().unwrap_or(own))
    };
    Ok(variables.iter().enumerate().map(or_own).collect())
}
