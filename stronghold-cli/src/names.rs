//! Finds the records that a person names: by a whole name, by its beginning, or by a glob.

use std::collections::BTreeSet;

use stronghold_sync::{Location, Selection, escape_untrusted};
use stronghold_vault::{ReadError, Stronghold};

use crate::context::{location, selection, selections};
use crate::error::{Failure, Kind};
use crate::nearest;

/// Returns whether a text is a glob.
pub(crate) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Returns the record called `text`; if there is none, or `text` ends with `/`, all records whose
/// names begin with it.
///
/// # Errors
/// [`Failure`] when there is no such record.
pub(crate) fn named(stronghold: &Stronghold, text: &str) -> Result<BTreeSet<Location>, Failure> {
    let exact = text.parse::<Location>().ok().filter(|at| stronghold.contains(at));
    if let Some(at) = exact {
        return Ok([at].into());
    }
    let below = below(stronghold, text)?;
    if below.is_empty() {
        let at = location(text.trim_end_matches('/'))?;
        return nearest::found(stronghold, &at, Err(ReadError::NotFound));
    }
    Ok(below)
}

/// Parses a glob, or the beginning of names; `None` selects everything.
///
/// # Errors
/// [`Failure`] when the text is no selection.
pub(crate) fn selection_of(text: Option<&str>) -> Result<Selection, Failure> {
    let Some(text) = text else { return selection(None) };
    let bare = text.trim_end_matches('/');
    match bare.is_empty() || is_glob(text) {
        true if text.ends_with('/') => selection(Some(&format!("{bare}/**"))),
        true => selection(Some(text)),
        false => selections(&[bare.to_owned(), format!("{bare}/**")]),
    }
}

/// Returns the records that a glob matches.
///
/// # Errors
/// [`Failure`] when there is none.
pub(crate) fn matching(stronghold: &Stronghold, glob: &str) -> Result<BTreeSet<Location>, Failure> {
    let found: BTreeSet<Location> = stronghold.locations(&selection(Some(glob))?).collect();
    if found.is_empty() {
        let message = format!("nothing matches {}; nothing was changed", escape_untrusted(glob));
        return Err(Failure::new(Kind::NotFound, message).hint("see `stronghold list`"));
    }
    Ok(found)
}

/// Returns the records whose names begin with `text` and a slash.
pub(crate) fn below(stronghold: &Stronghold, text: &str) -> Result<BTreeSet<Location>, Failure> {
    let prefix = format!("{}/", text.trim_end_matches('/'));
    let everything = Selection::everything();
    Ok(stronghold.locations(&everything).filter(|at| at.to_string().starts_with(&prefix)).collect())
}
