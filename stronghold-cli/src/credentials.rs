//! Reads the table that KeePassXC exports into credentials: each lands at
//! `CLIENT/group/title/field`.
//!
//! A table with broken quoting or rows of unequal length is refused as a whole, since a shifted
//! cell puts a password where it does not belong. A row without a valid name is left out and
//! reported. Control characters in a name become blanks, which is reported too.

#[path = "credentials/quoting.rs"]
mod quoting;

use stronghold_sync::{Location, ParseLocationError, escape_untrusted};
use zeroize::Zeroizing;

use quoting::{BadQuoting, Row};

/// Columns that become records, with the names of their fields. Empty cells are left out.
const FIELDS: [(&str, &str); 5] = [
    ("Username", "username"),
    ("Password", "password"),
    ("URL", "url"),
    ("Notes", "notes"),
    ("TOTP", "totp"),
];
/// Columns without secrets that KeePassXC also writes, ignored silently.
const KNOWN: [&str; 3] = ["Icon", "Last Modified", "Created"];
/// Usual column names of password tables. A first line with at least two of them is a header
/// without secrets, and may be quoted.
const USUAL: [&str; 16] = [
    "group", "title", "name", "username", "user", "login", "password", "url", "website", "notes", "note",
    "totp", "folder", "type", "email", "account",
];
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
    pub(crate) why: Why,
}

/// Reason why a row was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    #[error("it has a title only")]
    NoFields,
    #[error(transparent)]
    Place(ParseLocationError),
    #[error("it looks like {0}")]
    Lookalike(String),
}

/// Reason why a table was not read. The texts quote nothing of the table, which is full of secrets,
/// except the names of its columns.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadTable {
    #[error("{0}")]
    Columns(String),
    #[error("the table has two columns \"{0}\"")]
    Twice(String),
    #[error("line {line} of the table has {cells} cells, its first line {columns}")]
    Cells { line: u64, cells: usize, columns: usize },
    #[error("line {} of the table: {}", .0.line, .0.fault)]
    Quoting(BadQuoting),
    #[error("the table can't be read{}", .line.map(|line| format!(" at line {line}")).unwrap_or_default())]
    Unreadable { line: Option<u64> },
}

/// Reads a table with a header line; columns are found by name. `client` is where the records land,
/// which limits the length of their names.
///
/// # Errors
/// [`BadTable`] when the input is not such a table, or is broken.
pub(crate) fn read(table: &[u8], client: &str) -> Result<Table, BadTable> {
    let text = std::str::from_utf8(table).map_err(|error| unreadable_at(table, error.valid_up_to()))?;
    let text = text.trim_start_matches('\u{feff}');
    another_separator(text)?;
    let rows = quoting::rows(text).map_err(BadTable::Quoting)?;
    // The check above is stricter than this reader. If they disagree, the table is refused.
    let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
    let mut records = reader.records();
    let mut next = |row: &Row| match records.next() {
        Some(Ok(record)) if record.len() == row.cells => Ok(record),
        _ => Err(BadTable::Unreadable { line: Some(row.line) }),
    };
    let Some((first, rest)) = rows.split_first() else { return Err(BadTable::Unreadable { line: None }) };
    let columns = Columns::of(&next(first)?)?;
    if let Some(Row { line, cells }) = rest.iter().find(|row| row.cells != first.cells) {
        return Err(BadTable::Cells { line: *line, cells: *cells, columns: first.cells });
    }
    let mut table = Table {
        columns: columns.others.iter().map(|(_, name)| (name.clone(), 0)).collect(),
        ..Table::default()
    };
    for row in rest {
        columns.take(&next(row)?, row.line, client, &mut table);
    }
    table.columns.retain(|(_, values)| *values > 0);
    Ok(table)
}

/// Index of a column, and its field.
type Field = (usize, &'static str);

/// Meaning of each column.
struct Columns {
    group: usize,
    title: usize,
    fields: Vec<Field>,
    others: Vec<(usize, String)>,
    /// Set if paths begin with the root group. KeePassXC always writes it, whatever its name; other
    /// programs may not.
    has_root: bool,
}

impl Columns {
    fn of(header: &csv::StringRecord) -> Result<Self, BadTable> {
        let names: Vec<&str> = header.iter().map(str::trim).collect();
        let column = |name: &str| names.iter().position(|column| *column == name);
        let (Some(group), Some(title)) = (column("Group"), column("Title")) else {
            return Err(BadTable::Columns(no_columns(&names)));
        };
        let twice = |(index, name): (usize, &&str)| !name.is_empty() && column(name) != Some(index);
        if let Some(index) = names.iter().enumerate().position(twice) {
            return Err(BadTable::Twice(short(names[index])));
        }
        let field = |(index, name): (usize, &&str)| {
            FIELDS.iter().find(|(column, _)| column == name).map(|(_, field)| (index, *field))
        };
        let is_other = |name: &str| {
            let fields = FIELDS.iter().map(|(column, _)| *column);
            !fields.chain(KNOWN).chain(["Group", "Title"]).any(|known| known == name)
        };
        let other = |(index, name): (usize, &&str)| is_other(name).then(|| (index, short(name)));
        Ok(Self {
            group,
            title,
            fields: names.iter().enumerate().filter_map(field).collect(),
            others: names.iter().enumerate().filter_map(other).collect(),
            has_root: column("Icon").is_some() && column("Last Modified").is_some(),
        })
    }

    /// Adds a row to the table, or to the rows left out.
    fn take(&self, row: &csv::StringRecord, line: u64, client: &str, table: &mut Table) {
        let cell = |index: usize| row.get(index).unwrap_or_default();
        for ((index, _), (_, values)) in self.others.iter().zip(&mut table.columns) {
            *values += usize::from(!cell(*index).is_empty());
        }
        let written = place(cell(self.group), cell(self.title), self.has_root);
        // A command line can't name a NUL, and no other control character is of use in a name.
        let place = written.replace(char::is_control, " ");
        let (said, empty): (Vec<Field>, Vec<Field>) =
            self.fields.iter().copied().partition(|(index, _)| !cell(*index).is_empty());
        let fields: Vec<_> =
            said.into_iter().map(|(index, field)| (field, Zeroizing::new(cell(index).to_owned()))).collect();
        let why = if fields.is_empty() {
            Some(Why::NoFields)
        } else {
            fields.iter().find_map(|(field, _)| locate(client, &place, field).err()).map(Why::Place)
        };
        match why {
            // An entirely empty row is ignored.
            Some(Why::NoFields) if row.iter().all(str::is_empty) => {}
            Some(why) => table.rows.push(LeftOut { line, name: short(&place), why }),
            None => {
                if place != written {
                    table.renamed.push((line, short(&written), short(&place)));
                }
                let empty = empty.into_iter().map(|(_, field)| field).collect();
                table.credentials.push(Credential { line, place, fields, empty });
            }
        }
    }
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
    let (_, field) = FIELDS.iter().find(|(_, name)| *name == field)?;
    Some((format!("{}/{title}", location.vault()), field))
}

/// Returns `group/title`. Titles directly in the root group go to `default`.
fn place(group: &str, title: &str, has_root: bool) -> String {
    let (root, rest) = group.split_once('/').unwrap_or((group, ""));
    let group = if has_root || root == "Root" { rest } else { group }.trim_matches('/');
    let group = if group.is_empty() { "default" } else { group };
    let title = if title.is_empty() { "untitled" } else { title };
    format!("{group}/{title}")
}

/// Returns a name for display: control characters escaped, and cut to one line.
pub(crate) fn short(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", escape_untrusted(&name[..end])),
        None => escape_untrusted(name),
    }
}

/// Recognises a table of another program by its first line.
fn another_separator(text: &str) -> Result<(), BadTable> {
    let first = text.lines().next().unwrap_or_default();
    let bad = |text: &str| Err(BadTable::Columns(text.into()));
    match first.trim().to_lowercase().strip_prefix("sep=") {
        Some(_) => return bad("the table begins with a line \"sep=\", which is no line of names"),
        None if first.contains(',') => return Ok(()),
        None => {}
    }
    match (first.contains(';'), first.contains('\t')) {
        (true, _) => bad("the table's columns are separated by semicolons; commas are expected"),
        (_, true) => bad("the table's columns are separated by tabs; commas are expected"),
        _ => Ok(()),
    }
}

/// Names the columns found, unless they may be secrets, as in a table without a header.
fn no_columns(names: &[&str]) -> String {
    let usual = |name: &str| {
        let mut words = name.split(|letter: char| !letter.is_alphanumeric());
        words.any(|word| USUAL.contains(&word.to_lowercase().as_str()))
    };
    let missing = "the table has no columns called Group and Title";
    if names.iter().filter(|name| usual(name)).count() < 2 {
        return format!("{missing}: its first line does not look like names of columns");
    }
    let found: Vec<String> = names.iter().take(12).map(|name| short(name)).collect();
    format!("{missing}: it has {}", found.join(", "))
}

/// Returns an error that names only the line of bytes that are not text.
fn unreadable_at(table: &[u8], at: usize) -> BadTable {
    let lines = table[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
    BadTable::Unreadable { line: Some(lines + 1) }
}

#[cfg(test)]
#[path = "credentials/tests.rs"]
mod tests;
