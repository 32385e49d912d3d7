//! `soak`: what the test suite tries a few hundred times, for as long as one likes: reconciliations, wrong pairing codes
//! and bad networks. The tests are those of the crates; here they are given numbers, and built in release.

use crate::{
    Result,
    cargo::{cargo, cargo_with},
};

/// So many simulated reconciliations, from this seed on.
pub(crate) fn sessions(numbers: &[&str]) -> Result<()> {
    let args = ["run", "--release", "--locked", "-p", "stronghold-sync", "--example", "soak", "--"];
    cargo(&[&args, numbers].concat())
}

/// So many pairings with a wrong code.
pub(crate) fn codes(numbers: &[&str]) -> Result<()> {
    let given = given(&[("STRONGHOLD_WRONG_CODES", "100000")], numbers)?;
    net_test("pairing", &["--ignored", "no_wrong_code_is_accepted_and_each_costs_a_new_one"], &given)
}

/// Syncs over so many simulated networks, from this seed on.
pub(crate) fn net(numbers: &[&str]) -> Result<()> {
    let given = given(&[("STRONGHOLD_SEEDS", "5000"), ("STRONGHOLD_FIRST_SEED", "1")], numbers)?;
    net_test("simulation", &["syncs_over_a_bad_network_end_and_lose_nothing"], &given)
}

/// Runs a test of stronghold-net in release.
fn net_test(file: &str, test: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let args = ["test", "--release", "--locked", "--workspace", "--test", file, "--"];
    cargo_with(&[&args[..], &["--exact", "--nocapture"], test].concat(), environment)
}

/// Each variable with the number that was given for it, or its own.
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
