//! Reads the table that KeePassXC exports.
//!
//! A table with broken quoting or rows of unequal length is refused as a whole, since a shifted
//! cell puts a password where it does not belong. A row without a valid name is left out and
//! reported. Control characters in a name become blanks, which is reported too.

#[path = "csv/quoting.rs"]
mod quoting;

use zeroize::Zeroizing;

use self::quoting::{QuotingError, Row};
use super::table::{Credential, LeftOut, LeftOutReason, Table, locate, short};

/// Columns that become records, with their fields. Empty cells are left out.
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
/// Reason why a table was not read. The texts quote nothing of the table, which is full of secrets,
/// except the names of its columns.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadCsvError {
    #[error("{0}")]
    Columns(String),
    #[error("the table has two columns \"{0}\"")]
    Twice(String),
    #[error("line {line} of the table has {cells} cells, its first line {columns}")]
    Cells { line: u64, cells: usize, columns: usize },
    #[error("line {} of the table: {}", .0.line, .0.fault)]
    Quoting(QuotingError),
    #[error("the table can't be read{}", .line.map(|line| format!(" at line {line}")).unwrap_or_default())]
    Unreadable { line: Option<u64> },
}

impl ReadCsvError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Columns(_) => {
                "expected are Group, Title, Username, Password, URL, Notes, TOTP: export it from KeePassXC as CSV"
            }
            Self::Twice(_) => "rename one of them, or take it out",
            Self::Cells { .. } => "is there a comma in a cell without quotation marks around it?",
            Self::Quoting(_) => "put quotation marks around the cell, and write those inside it twice",
            Self::Unreadable { .. } => "is it a UTF-8 CSV export?",
        }
    }
}

/// Reads a table with a header line; columns are found by name. `client` is where the records land,
/// which limits the length of their names.
///
/// # Errors
/// [`ReadCsvError`] when the input is not such a table, or is broken.
pub(crate) fn read(table: &[u8], client: &str) -> Result<Table, ReadCsvError> {
    let text = std::str::from_utf8(table).map_err(|error| unreadable_at(table, error.valid_up_to()))?;
    let text = text.trim_start_matches('\u{feff}');
    another_separator(text)?;
    let rows = quoting::rows(text).map_err(ReadCsvError::Quoting)?;
    // The check above is stricter than this reader. If they disagree, the table is refused.
    let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
    let mut records = reader.records();
    let mut next = |row: &Row| match records.next() {
        Some(Ok(record)) if record.len() == row.cells => Ok(record),
        _ => Err(ReadCsvError::Unreadable { line: Some(row.line) }),
    };
    let Some((first, rest)) = rows.split_first() else { return Err(ReadCsvError::Unreadable { line: None }) };
    let columns = Columns::of(&next(first)?)?;
    if let Some(Row { line, cells }) = rest.iter().find(|row| row.cells != first.cells) {
        return Err(ReadCsvError::Cells { line: *line, cells: *cells, columns: first.cells });
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
    fn of(header: &csv::StringRecord) -> Result<Self, ReadCsvError> {
        let names: Vec<&str> = header.iter().map(str::trim).collect();
        let column = |name: &str| names.iter().position(|column| *column == name);
        let (Some(group), Some(title)) = (column("Group"), column("Title")) else {
            return Err(ReadCsvError::Columns(no_columns(&names)));
        };
        let twice = |(index, name): (usize, &&str)| !name.is_empty() && column(name) != Some(index);
        if let Some(index) = names.iter().enumerate().position(twice) {
            return Err(ReadCsvError::Twice(short(names[index])));
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
            Some(LeftOutReason::NoFields)
        } else {
            fields.iter().find_map(|(field, _)| locate(client, &place, field).err()).map(LeftOutReason::Place)
        };
        match why {
            // An entirely empty row is ignored.
            Some(LeftOutReason::NoFields) if row.iter().all(str::is_empty) => {}
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

/// Returns `group/title`. Titles directly in the root group go to `default`.
fn place(group: &str, title: &str, has_root: bool) -> String {
    let (root, rest) = group.split_once('/').unwrap_or((group, ""));
    let group = if has_root || root == "Root" { rest } else { group }.trim_matches('/');
    let group = if group.is_empty() { "default" } else { group };
    let title = if title.is_empty() { "untitled" } else { title };
    format!("{group}/{title}")
}

/// Recognises a table of another program by its first line.
fn another_separator(text: &str) -> Result<(), ReadCsvError> {
    let first = text.lines().next().unwrap_or_default();
    let bad = |text: &str| Err(ReadCsvError::Columns(text.into()));
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
fn unreadable_at(table: &[u8], at: usize) -> ReadCsvError {
    let lines = table[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
    ReadCsvError::Unreadable { line: Some(lines + 1) }
}

#[cfg(test)]
#[path = "csv/tests.rs"]
mod tests;
