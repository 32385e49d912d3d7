//! `remove`: deletes a record.

use serde_json::json;
use stronghold_snapshot::now;

use super::changes;
use crate::context::{Context, location};
use crate::error::{About, Failure};

pub(super) fn remove(context: &Context, at: &str, dry_run: bool) -> Result<(), Failure> {
    let location = location(at)?;
    let mut home = context.open()?;
    let (revision, changes) = changes::apply(&mut home, dry_run, |stronghold| {
        stronghold.remove(&location, now()).about(&location)
    })?;
    if dry_run {
        let object = json!({ "location": location.to_string(), "records": changes.object() });
        return context.output.result(&object, || {
            std::iter::once("would remove:".to_owned()).chain(changes.lines()).collect()
        });
    }
    let object = json!({ "location": location.to_string(), "revision": revision.to_string() });
    context.output.result(&object, Vec::new)
}
