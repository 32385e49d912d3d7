//! The credentials of another program's table, whatever its format: each lands at
//! `CLIENT/group/title/field`.

use stronghold_sync::{Location, ParseLocationError, escape_untrusted};
use zeroize::Zeroizing;

/// Names of a credential's fields.
const FIELDS: [&str; 5] = ["username", "password", "url", "notes", "totp"];
/// Maximum number of characters shown of a name.
const SHOWN: usize = 60;

/// A parsed table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Credentials in the order of the rows.
    pub(crate) credentials: Vec<Credential>,
    /// Rows that were left out.
    pub(crate) rows: Vec<LeftOut>,
    /// Rows whose names had control characters, now blanks: line, name before, name now.
    pub(crate) renamed: Vec<(u64, String, String)>,
    /// Columns that were left out, with the number of values in each.
    pub(crate) columns: Vec<(String, usize)>,
}

/// One row: the fields of one title.
#[derive(Debug)]
pub(crate) struct Credential {
    /// Line on which the row begins.
    pub(crate) line: u64,
    /// `group/title`; two rows may have the same.
    pub(crate) place: String,
    /// Names and values of the fields.
    pub(crate) fields: Vec<(&'static str, Zeroizing<String>)>,
    /// Names of the empty fields.
    pub(crate) empty: Vec<&'static str>,
}

/// A row that was left out.
#[derive(Debug)]
pub(crate) struct LeftOut {
    pub(crate) line: u64,
    /// Group and title, escaped and cut.
    pub(crate) name: String,
    pub(crate) why: LeftOutReason,
}

/// Reason why a row was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LeftOutReason {
    #[error("it has a title only")]
    NoFields,
    #[error(transparent)]
    Place(ParseLocationError),
    #[error("it looks like {0}")]
    Lookalike(String),
}

/// Returns the location of a credential's field.
///
/// # Errors
/// [`ParseLocationError`] when one of its names is not valid.
pub(crate) fn locate(client: &str, place: &str, field: &str) -> Result<Location, ParseLocationError> {
    let (vault, title) = place.split_once('/').unwrap_or(("default", place));
    Location::new(client, vault, format!("{title}/{field}"))
}

/// Returns the place of a credential's field and the field's name, or `None` for any other record.
pub(crate) fn place_of(location: &Location) -> Option<(String, &'static str)> {
    let (title, field) = location.record().rsplit_once('/')?;
    let field = FIELDS.into_iter().find(|name| *name == field)?;
    Some((format!("{}/{title}", location.vault()), field))
}

/// Returns a name for display: control characters escaped, and cut to one line.
pub(crate) fn short(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", escape_untrusted(&name[..end])),
        None => escape_untrusted(name),
    }
}
