//! `fetch`: takes selected records of a paired device.

use std::io::{BufRead, Read, Write};

use stronghold_net::{PlanDecision, SharedVault};
use stronghold_sync::{Location, MAX_PATTERNS, Selection, escape_untrusted, message::Listing};
use stronghold_vault::ReadError;

use super::browse::found_at;
use super::clone::with_plan_hint;
use super::progress::Progress;
use super::remote::reach;
use super::remote::report;
use crate::commands::remote::At;
use crate::context::{Context, location, runtime};
use crate::error::{Failure, Kind};

pub(super) fn fetch(
    context: &Context,
    peer: &str,
    locations: &[String],
    pick: bool,
    at: &At,
) -> Result<(), Failure> {
    let mut locations = locations.iter().map(|text| location(text)).collect::<Result<Vec<Location>, _>>()?;
    let home = SharedVault::new(context.open()?);
    runtime()?.block_on(async {
        if pick {
            locations = picked(found_at(context, &home, peer, Selection::everything(), at).await?)?;
        }
        if !(1..=MAX_PATTERNS).contains(&locations.len()) {
            let message = format!("{} records were picked; nothing was changed", locations.len());
            return Err(Failure::usage(
                message,
                format!("pick 1 to {MAX_PATTERNS} at a time, or use sync --select"),
            ));
        }
        let selection = Selection::of_locations(&locations);
        if !selection.is_within_limits() {
            return Err(Failure::usage(
                "the names of these records are too long for one request; nothing was changed",
                "pick fewer at a time, or use sync --select",
            ));
        }
        let reached = reach(context, &home, peer, at).await?;
        let mut progress = Progress::new(context.output, &home, peer, PlanDecision::Proceed);
        let outcome = reached.fetch(selection, &mut progress).await;
        let outcome = outcome.map_err(|error| progress.explain(with_plan_hint(error)))?;
        drop(progress);
        let missing = |location: &&Location| {
            matches!(home.lock().stronghold().read(location), Err(ReadError::NotFound))
        };
        let missing: Vec<String> = locations
            .iter()
            .filter(missing)
            .map(|location| escape_untrusted(&location.to_string()))
            .collect();
        report(context, &outcome)?;
        if missing.is_empty() {
            return Ok(());
        }
        let message =
            format!("the peer has no {}, or does not permit it; the others were fetched", missing.join(", "));
        Err(Failure::new(Kind::NotFound, message).hint("see `stronghold browse PEER`"))
    })
}

/// Lists the entries with numbers, and reads the numbers to fetch: a line from the terminal or
/// stdin.
pub(super) fn picked(found: Vec<Listing>) -> Result<Vec<Location>, Failure> {
    let mut err = std::io::stderr().lock();
    let mut shown =
        (1..).zip(&found).map(|(number, entry)| (number, escape_untrusted(&entry.location.to_string())));
    let written = shown.try_for_each(|(number, name): (u32, String)| writeln!(err, "{number:>5}  {name}"));
    written.and_then(|()| write!(err, "Numbers to fetch: ")).map_err(|error| Failure::terminal(&error))?;
    let mut line = String::new();
    std::io::stdin().lock().take(1 << 16).read_line(&mut line).map_err(|error| Failure::terminal(&error))?;
    chosen(&found, &line)
}

/// Returns the locations of the listed numbers.
pub(super) fn chosen(found: &[Listing], line: &str) -> Result<Vec<Location>, Failure> {
    let pick = |text: &str| {
        let index = text.parse::<usize>().ok()?.checked_sub(1)?;
        Some(found.get(index)?.location.clone())
    };
    let numbers = line.split([' ', ',', '\n']).filter(|text| !text.is_empty());
    let wrong = |text: &str| {
        let message = format!("not in the list: \"{}\"", escape_untrusted(text));
        Failure::usage(message, "for example: 1 4 7; nothing was changed")
    };
    numbers.map(|text| pick(text).ok_or_else(|| wrong(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stronghold_sync::Timestamp;

    #[test]
    fn numbers_of_the_list_are_picked_in_their_order() {
        let listing = |name: &str| Listing {
            location: name.parse().unwrap(),
            revision: stronghold_sync::RevisionId::from_bytes([1; 32]),
            size: 1,
            modified: Timestamp::from_millis(1),
            conflict: false,
        };
        let found = ["a/v/1", "a/v/2", "a/v/3"].map(listing);
        let picked = |line: &str| {
            let chosen = chosen(&found, line).map_err(|failure| failure.kind)?;
            Ok::<_, Kind>(chosen.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(picked("3 1\n"), Ok(vec!["a/v/3".into(), "a/v/1".into()]));
        assert_eq!(picked(" 1,2,,  3\n"), Ok(vec!["a/v/1".into(), "a/v/2".into(), "a/v/3".into()]));
        assert_eq!(picked("\n"), Ok(vec![]));
        for wrong in ["0\n", "4\n", "1 x\n", "-1\n"] {
            assert_eq!(picked(wrong), Err(Kind::Usage), "{wrong}");
        }
    }
}
