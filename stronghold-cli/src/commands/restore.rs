//! `restore`: makes an earlier value the current one again.

use serde_json::json;
use stronghold_snapshot::now;

use crate::context::{Context, location, revision};
use crate::error::{About, Failure};

pub(super) fn restore(context: &Context, at: &str, of: &str) -> Result<(), Failure> {
    write_again(context, at, of, "restored")
}

/// Writes a revision of a record again, on top of all its heads.
pub(super) fn write_again(context: &Context, at: &str, of: &str, done: &str) -> Result<(), Failure> {
    let location = location(at)?;
    let mut home = context.open()?;
    let again = revision(&home, &location, of)?;
    let written =
        home.update_as(|stronghold| stronghold.resolve(&location, &again, now()).about(&location))?;
    let object = json!({
        "location": location.to_string(), done: again.to_string(), "revision": written.to_string(),
    });
    context.output.result(&object, Vec::new)
}
