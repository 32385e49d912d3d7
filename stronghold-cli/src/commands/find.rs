//! `find`: lists records by parts of their names.

use stronghold_sync::{Location, escape_untrusted};

use super::list;
use crate::context::{Context, selection};
use crate::error::{Failure, Kind};

/// Lists the records whose location contains each of the words, in any order and case.
pub(super) fn find(context: &Context, words: &[String]) -> Result<(), Failure> {
    let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let everything = selection(None)?;
    let home = context.open()?;
    let matches = |location: &Location| {
        let text = location.to_string().to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let stronghold = home.stronghold();
    if !stronghold.locations(&everything).any(|location| matches(&location)) {
        let message = format!("nothing matches {}", escape_untrusted(&words.join(" ")));
        return Err(Failure::new(Kind::NotFound, message).hint("see `stronghold list`"));
    }
    list::print_held(context, stronghold, &everything, matches)
}
