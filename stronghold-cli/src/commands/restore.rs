//! `restore`: makes an earlier value the current one again.

use serde_json::json;
use stronghold_snapshot::now;

use crate::context::{Context, location, revision};
use crate::error::{About, Failure};

pub(super) fn restore(context: &Context, at: &str, of: &str) -> Result<(), Failure> {
    let location = location(at)?;
    let mut home = context.open()?;
    let again = revision(&home, &location, of)?;
    let written =
        home.update_as(|stronghold| stronghold.resolve(&location, &again, now()).about(&location))?;
    let object = json!({
        "location": location.to_string(), "restored": again.to_string(), "revision": written.to_string(),
    });
    context.output.result(&object, Vec::new)
}
