//! `purge`: removes replaced values for good.

use std::iter::once;

use serde_json::json;
use stronghold_sync::{Location, escape_untrusted};

use crate::commands::passphrase::Renewal;
use crate::context::{Context, selection};
use crate::{
    error::{Failure, Kind},
    output::{Output, counted},
};

pub(super) fn purge(
    context: &Context,
    of: Option<&str>,
    dry_run: bool,
    renewal: &Renewal,
) -> Result<(), Failure> {
    let selection = selection(of)?;
    let mut home = context.open()?;
    let replaced = home.stronghold().replaced(&selection);
    let values: usize = replaced.iter().map(|(_, count)| count).sum();
    if replaced.is_empty() {
        return Err(Failure::new(Kind::NotFound, "there are no replaced values there; nothing was changed")
            .hint("see `stronghold list` for the names, `stronghold history LOCATION` for their values"));
    }
    let named = || named(&replaced, context.output);
    let (count, values) = (values as u64, counted(values as u64, "replaced value"));
    let purged = if dry_run {
        count
    } else {
        let records = replaced.len();
        if !context.output.is_json() && !context.global.yes {
            named().for_each(|line| context.output.note(&line));
        }
        context.confirm(&format!(
            "Remove {values} of {} for good, deleted ones too?",
            counted(records as u64, "record")
        ))?;
        renewal.update(&mut home, |stronghold| Ok(stronghold.purge(&selection)))?
    };
    let records: Vec<_> =
        replaced.iter().map(|(at, count)| json!({ "location": at.to_string(), "values": count })).collect();
    context.output.result(&json!({ "purged": purged, "records": records }), || match dry_run {
        true => once(format!("would remove {values} for good")).chain(named()).collect(),
        false => {
            once(format!("removed {} for good", counted(purged, "replaced value"))).chain(named()).collect()
        }
    })
}

/// Returns a line for each of the first records, and one with the number of further ones.
fn named(replaced: &[(Location, usize)], output: Output) -> impl Iterator<Item = String> {
    let line = |(at, count): &(Location, usize)| {
        format!("- {} ({})", escape_untrusted(&at.to_string()), counted(*count as u64, "value"))
    };
    output.first_of(replaced.iter().map(line))
}
