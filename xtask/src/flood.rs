//! Runs `flood`: any number of hostile clients against a real `serve`: garbage, strangers, devices
//! without rules, and devices that break the protocol. The test is part of stronghold-cli, where it
//! runs a few hundred of each kind; here it gets a number and a release build. It prints the
//! server's memory and open files, and the time that syncs of an honest device take meanwhile.

use crate::{Result, cargo::cargo_with};

/// Runs the flood; `numbers` is the number of connections of each kind (10,000 by default).
pub(crate) fn run(numbers: &[&str]) -> Result<()> {
    let connections = match numbers {
        [] => "10000",
        [number] if number.parse::<u32>().is_ok() => number,
        _ => return Err("`flood` takes one number at most".into()),
    };
    let args = ["test", "--release", "--locked", "--workspace", "--test", "it", "--"];
    // One test after the other, because each is measured.
    let options = ["flood::", "--nocapture", "--test-threads=1"];
    cargo_with(&[&args[..], &options].concat(), &[("STRONGHOLD_FLOOD", connections)])
}
