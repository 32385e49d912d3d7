//! `flood`: hostile clients against a real `serve`, as many as one likes: garbage, strangers, devices without rules, devices
//! that break the protocol. The test is stronghold-cli's, where a few hundred of each come; here it is given a number, and
//! the command in release. It prints the server's memory and open files, and what an honest device's sync took meanwhile.

use crate::{Result, cargo::cargo_with};

/// So many connections of each kind.
pub(crate) fn run(numbers: &[&str]) -> Result<()> {
    let connections = match numbers {
        [] => "10000",
        [number] if number.parse::<u32>().is_ok() => number,
        _ => return Err("`flood` takes one number at most".into()),
    };
    let args = ["test", "--release", "--locked", "--workspace", "--test", "flood", "--"];
    // One after the other: what each takes is measured.
    let options = ["--nocapture", "--test-threads=1"];
    cargo_with(&[&args[..], &options].concat(), &[("STRONGHOLD_FLOOD", connections)])
}
