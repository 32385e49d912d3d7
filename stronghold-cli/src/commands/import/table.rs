//! The credentials of another program's file, whatever its format: each lands at
//! `CLIENT/group/title/field`.

use stronghold_sync::{Location, ParseLocationError, escape_untrusted};
use zeroize::Zeroizing;

/// Maximum size of a value, in bytes: that of `stronghold_vault::MAX_VALUE`.
const MAX_VALUE: usize = 4 << 20;
/// Maximum number of characters shown of a name.
const SHOWN: usize = 60;

/// A value of another program's file.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// A parsed table, or a file that is none.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Set if the file is a table: its parts are lines and columns.
    pub(crate) has_lines: bool,
    /// Credentials in the order of the rows.
    pub(crate) credentials: Vec<Credential>,
    /// Rows that were left out.
    pub(crate) rows: Vec<LeftOut>,
    /// Rows whose names had control characters, now blanks: line, name before, name now.
    pub(crate) renamed: Vec<(u64, String, String)>,
    /// Columns that were left out, with the number of values in each.
    pub(crate) columns: Vec<(String, usize)>,
}

/// One row or entry: the fields of one title.
#[derive(Debug, Default)]
pub(crate) struct Credential {
    /// Line on which the row begins, or the entry's number.
    pub(crate) line: u64,
    /// `group/title`; two rows may have the same.
    pub(crate) place: String,
    /// Names and values of the fields. A field without a name is the title's own value.
    pub(crate) fields: Vec<(String, Secret)>,
    /// Names of the empty fields.
    pub(crate) empty: Vec<String>,
    /// Former values of fields, oldest first.
    pub(crate) former: Vec<(String, Secret)>,
}

impl Table {
    /// Adds a credential, or its parts to what is left out. Names get no control characters, and no
    /// two fields the same name.
    pub(crate) fn add(&mut self, client: &str, mut credential: Credential) {
        let (line, written) = (credential.line, std::mem::take(&mut credential.place));
        // A command line can't name a NUL, and no other control character is of use in a name.
        let place = written.replace(char::is_control, " ");
        let mut taken = std::collections::BTreeSet::new();
        let mut fields = Vec::new();
        for (written, value) in std::mem::take(&mut credential.fields) {
            let clean = written.replace(char::is_control, " ").replace('/', "_");
            let numbered = (2..).map(|number: u32| format!("{clean} ({number})"));
            let mut names = std::iter::once(clean.clone()).chain(numbered);
            let Some(name) = names.find(|name| taken.insert(name.clone())) else { continue };
            if name != written {
                let of = |field: &str| short(&format!("{place}/{field}"));
                self.renamed.push((line, of(&written), of(&name)));
            }
            let left_out = |why| LeftOut { line, name: short(&format!("{place}/{name}")), why };
            if value.len() > MAX_VALUE {
                self.rows.push(left_out(LeftOutReason::TooLarge));
            } else if value.is_empty() {
                credential.empty.push(name);
            } else {
                fields.push((name, value));
            }
        }
        credential.former = self.last_ten(std::mem::take(&mut credential.former));
        let why = if fields.is_empty() {
            Some(LeftOutReason::NoFields)
        } else {
            fields.iter().find_map(|(field, _)| locate(client, &place, field).err()).map(LeftOutReason::Place)
        };
        if let Some(why) = why {
            return self.rows.push(LeftOut { line, name: short(&place), why });
        }
        if place != written {
            self.renamed.push((line, short(&written), short(&place)));
        }
        self.credentials.push(Credential { place, fields, ..credential });
    }

    /// Returns the last former values of each field: as many as a history keeps.
    fn last_ten(&mut self, former: Vec<(String, Secret)>) -> Vec<(String, Secret)> {
        let mut last: Vec<(String, Secret)> = Vec::new();
        for (field, value) in former.into_iter().rev() {
            match last.iter().filter(|(name, _)| *name == field).count() {
                0..10 => last.push((field, value)),
                _ => self.leave_out("values before the last ten"),
            }
        }
        last.reverse();
        last
    }

    /// Counts a value that is left out, under the name of its kind.
    pub(crate) fn leave_out(&mut self, kind: &str) {
        match self.columns.iter_mut().find(|(name, _)| name == kind) {
            Some((_, values)) => *values += 1,
            None => self.columns.push((kind.to_owned(), 1)),
        }
    }
}

/// Returns `group/title`, with names for what is missing.
pub(crate) fn place(group: &str, title: &str) -> String {
    let group = group.trim_matches('/');
    let group = if group.is_empty() { "default" } else { group };
    let title = if title.is_empty() { "untitled" } else { title };
    format!("{group}/{title}")
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
    #[error("it is larger than 4 MiB")]
    TooLarge,
    #[error("{0}")]
    Unknown(&'static str),
}

/// Returns the location of a credential's field.
///
/// # Errors
/// [`ParseLocationError`] when one of its names is not valid.
pub(crate) fn locate(client: &str, place: &str, field: &str) -> Result<Location, ParseLocationError> {
    let (vault, title) = place.split_once('/').unwrap_or(("default", place));
    let record = if field.is_empty() { title.to_owned() } else { format!("{title}/{field}") };
    Location::new(client, vault, record)
}

/// Returns the place of a credential's field and the field's name, or `None` for a record that has
/// no title and field.
pub(crate) fn place_of(location: &Location) -> Option<(String, String)> {
    let (title, field) = location.record().rsplit_once('/')?;
    Some((format!("{}/{title}", location.vault()), field.to_owned()))
}

/// Returns a name for display: control characters escaped, and cut to one line.
pub(crate) fn short(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", escape_untrusted(&name[..end])),
        None => escape_untrusted(name),
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_value_over_the_limit_is_left_out_by_name() {
        let mut table = Table::default();
        let value = |len| Zeroizing::new(vec![b'x'; len]);
        let fields = vec![("most".to_owned(), value(MAX_VALUE)), ("more".to_owned(), value(MAX_VALUE + 1))];
        table.add("c", Credential { line: 7, place: "g/t".into(), fields, ..Credential::default() });
        let names: Vec<&str> = table.credentials[0].fields.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["most"]);
        assert_eq!((table.rows.len(), table.rows[0].line, &*table.rows[0].name), (1, 7, "g/t/more"));
        assert!(matches!(table.rows[0].why, LeftOutReason::TooLarge));
    }
}
