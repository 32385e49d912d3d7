//! `purge`: removes replaced values for good.

use serde_json::json;
use stronghold_sync::{Location, escape_untrusted};

use crate::commands::passphrase::Renewal;
use crate::context::{Context, selection};
use crate::{
    error::{Failure, Kind},
    output::counted,
};

/// Maximum number of records named to a person.
pub(super) const NAMED: usize = 20;

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
    let named = || named(&replaced);
    let purged = if dry_run {
        values as u64
    } else {
        let records = replaced.len();
        if !context.output.is_json() {
            named().iter().for_each(|line| context.output.note(line));
        }
        context.confirm(&format!(
            "Remove {} of {} for good, deleted ones too?",
            counted(values as u64, "replaced value"),
            counted(records as u64, "record")
        ))?;
        renewal.update(&mut home, |stronghold| Ok(stronghold.purge(&selection)))?
    };
    let records: Vec<_> =
        replaced.iter().map(|(at, count)| json!({ "location": at.to_string(), "values": count })).collect();
    context.output.result(&json!({ "purged": purged, "records": records }), || match dry_run {
        true => named(),
        false => vec![format!("removed {} for good", counted(purged as u64, "replaced value"))],
    })
}

/// Returns one line per record, and a line with the number of further ones.
pub(super) fn named(replaced: &[(Location, usize)]) -> Vec<String> {
    let line = |(at, count): &(Location, usize)| format!("{count:>4}  {}", escape_untrusted(&at.to_string()));
    let more = replaced.len().saturating_sub(NAMED);
    let rest = (more > 0).then(|| format!("  and {more} more (--json names all)"));
    replaced.iter().take(NAMED).map(line).chain(rest).collect()
}
