//! Runs the `stronghold` command as its users do, for the demo and the benches.

mod device;
mod link;
mod pair;
#[path = "../../../stronghold-cli/tests/it/common/process.rs"]
mod process;

pub(crate) use device::{Device, Secret, Serving};
pub(crate) use link::{Link, Pace};
pub(crate) use pair::{DevicePair, Run, change};
