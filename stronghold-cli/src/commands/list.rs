//! `list`: prints the records.

use serde_json::json;
use stronghold_sync::{escape_untrusted, message::Listing};

use crate::context::{Context, selection, time};
use crate::{
    error::{About, Failure},
    lookalike,
};

pub(super) fn list(context: &Context, of: Option<&str>, shared_with: Option<&str>) -> Result<(), Failure> {
    let selection = selection(of)?;
    let home = context.open()?;
    let stronghold = home.stronghold();
    let listed = match shared_with {
        Some(peer) => stronghold
            .disclosed_to(&stronghold.peers().find_including_revoked(peer).about(&peer)?, &selection)?,
        None => stronghold.list(&selection)?,
    };
    print_listing(context, &listed)
}

/// Prints records of this device, or those that a peer lists.
pub(super) fn print_listing(context: &Context, listed: &[Listing]) -> Result<(), Failure> {
    let alike = lookalike::among(listed.iter().map(|entry| &entry.location));
    let entry = |entry: &Listing| {
        json!({
            "location": entry.location.to_string(),
            "size": entry.size,
            "modified": entry.modified,
            "revision": entry.revision.to_string(),
            "conflict": entry.conflict,
            "lookalike": alike.contains(&entry.location),
        })
    };
    let line = |entry: &Listing| {
        let conflict = if entry.conflict { "  (conflict)" } else { "" };
        let name = entry.location.to_string();
        let alike = match alike.contains(&entry.location) {
            true => format!("  (looks like another: \"{}\")", lookalike::spelled(&name)),
            false => String::new(),
        };
        format!("{}  {:>8}  {}{conflict}{alike}", time(entry.modified), entry.size, escape_untrusted(&name))
    };
    let entries: Vec<_> = listed.iter().map(entry).collect();
    context.output.result(&json!({ "entries": entries }), || listed.iter().map(line).collect())
}
