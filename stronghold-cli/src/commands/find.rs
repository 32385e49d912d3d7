//! `find`: lists records by parts of their names.

use super::list;
use crate::context::{Context, selection};
use crate::error::{Failure, Kind};

/// Lists the records whose location contains each of the words, in any order and case.
pub(super) fn find(context: &Context, words: &[String]) -> Result<(), Failure> {
    let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let everything = selection(None)?;
    let home = context.open()?;
    let matches = |location: &stronghold_sync::Location| {
        let text = location.to_string().to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let locations = || home.stronghold().locations(&everything).filter(matches);
    if locations().next().is_none() {
        return Err(Failure::new(Kind::NotFound, "nothing matches").hint("see `stronghold list`"));
    }
    let records = home.stronghold().list(&everything);
    let matching = records.filter(|record| record.as_ref().map_or(true, |record| matches(&record.location)));
    list::print_records(context, locations, matching)
}
