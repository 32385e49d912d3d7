//! Reads the tables that KeePassXC, browsers and other programs export.
//!
//! A table with broken quoting or rows of unequal length is refused as a whole, since a shifted
//! cell puts a password where it does not belong. A row without a valid name is left out and
//! reported. Control characters in a name become blanks, which is reported too.

#[path = "csv/quoting.rs"]
mod quoting;

use zeroize::Zeroizing;

use self::quoting::{QuotingError, Row};
use super::table::{Credential, Table, place, short};

/// Fields with the names, in small letters, that programs give their columns.
const FIELDS: [(&str, &[&str]); 5] = [
    ("username", &["username", "login_username", "login name", "login", "user"]),
    ("password", &["password", "login_password"]),
    ("url", &["url", "login_uri", "website", "web site"]),
    ("notes", &["notes", "note", "comments", "extra"]),
    ("totp", &["totp", "otpauth", "login_totp"]),
];
/// Names of the columns that name a row.
const TITLES: &[&str] = &["title", "name", "account"];
const GROUPS: &[&str] = &["group", "folder", "grouping"];
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
                "export it as CSV from KeePassXC or a browser, or say what is what: --columns title=NAME,password=NAME"
            }
            Self::Twice(_) => "rename one of them, or take it out",
            Self::Cells { .. } => "is there a comma in a cell without quotation marks around it?",
            Self::Quoting(_) => "put quotation marks around the cell, and write those inside it twice",
            Self::Unreadable { .. } => "is it a UTF-8 CSV export?",
        }
    }
}

/// Reads a table with a header line; columns are found by name, or are `chosen` as pairs of a field
/// (or `title`, `group`) and a column. `client` is where the records land, which limits the length
/// of their names.
///
/// # Errors
/// [`ReadCsvError`] when the input is not such a table, or is broken.
pub(crate) fn read(table: &[u8], client: &str, chosen: &[(String, String)]) -> Result<Table, ReadCsvError> {
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
    let columns = Columns::of(&next(first)?, chosen)?;
    if let Some(Row { line, cells }) = rest.iter().find(|row| row.cells != first.cells) {
        return Err(ReadCsvError::Cells { line: *line, cells: *cells, columns: first.cells });
    }
    let mut table = Table {
        has_lines: true,
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
type Field = (usize, String);
/// Columns of group and title, and those of fields.
type Named = (Option<usize>, Option<usize>, Vec<Field>);

/// Meaning of each column.
struct Columns {
    group: Option<usize>,
    title: Option<usize>,
    fields: Vec<Field>,
    others: Vec<(usize, String)>,
    /// Set if paths begin with the root group. KeePassXC always writes it, whatever its name; other
    /// programs may not.
    has_root: bool,
}

impl Columns {
    fn of(header: &csv::StringRecord, chosen: &[(String, String)]) -> Result<Self, ReadCsvError> {
        let names: Vec<&str> = header.iter().map(str::trim).collect();
        let column = |name: &str| names.iter().position(|column| *column == name);
        let twice = |(index, name): (usize, &&str)| !name.is_empty() && column(name) != Some(index);
        let is_twice = names.iter().enumerate().position(twice);
        let (group, title, fields) = match chosen {
            [] => Self::known(&names),
            _ => Self::chosen(&names, chosen)?,
        };
        let has = |name: &str| fields.iter().any(|(_, field)| field == name);
        let is_usual =
            has("password") && (title.is_some() || has("url")) || group.is_some() && title.is_some();
        if chosen.is_empty() && !is_usual {
            return Err(ReadCsvError::Columns(no_columns(&names)));
        }
        if let Some(index) = is_twice {
            return Err(ReadCsvError::Twice(short(names[index])));
        }
        let is_other = |index: usize| {
            let taken =
                fields.iter().any(|(taken, _)| *taken == index) || [group, title].contains(&Some(index));
            !taken && !KNOWN.contains(&names[index])
        };
        let others =
            (0..names.len()).filter(|index| is_other(*index)).map(|index| (index, short(names[index])));
        Ok(Self {
            group,
            title,
            others: others.collect(),
            fields,
            has_root: column("Icon").is_some() && column("Last Modified").is_some(),
        })
    }

    /// Returns the columns for group and title, and those of fields, as programs call them.
    fn known(names: &[&str]) -> Named {
        let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        let column =
            |usual: &[&str]| usual.iter().find_map(|usual| lower.iter().position(|column| column == usual));
        let mut fields: Vec<Field> =
            FIELDS.iter().filter_map(|(field, usual)| Some((column(usual)?, (*field).to_owned()))).collect();
        fields.sort_unstable();
        (column(GROUPS), column(TITLES), fields)
    }

    /// Returns the columns that the person named.
    fn chosen(names: &[&str], chosen: &[(String, String)]) -> Result<Named, ReadCsvError> {
        let (mut group, mut title, mut fields) = (None, None, Vec::new());
        for (field, column) in chosen {
            let index = names.iter().position(|name| name == column).ok_or_else(|| {
                ReadCsvError::Columns(format!("the table has no column called {}", short(column)))
            })?;
            match field.as_str() {
                "group" => group = Some(index),
                "title" => title = Some(index),
                _ => fields.push((index, field.clone())),
            }
        }
        Ok((group, title, fields))
    }

    /// Adds a row to the table, or to the rows left out.
    fn take(&self, row: &csv::StringRecord, line: u64, client: &str, table: &mut Table) {
        let cell = |index: usize| row.get(index).unwrap_or_default();
        for ((index, _), (_, values)) in self.others.iter().zip(&mut table.columns) {
            *values += usize::from(!cell(*index).is_empty());
        }
        // An entirely empty row is ignored.
        if row.iter().all(str::is_empty) {
            return;
        }
        let field =
            |(index, field): &Field| (field.clone(), Zeroizing::new(cell(*index).as_bytes().to_vec()));
        let fields = self.fields.iter().map(field).collect();
        let place = self.place(row);
        table.add(client, Credential { line, place, fields, ..Credential::default() });
    }

    /// Returns `group/title`. Titles directly in the root group go to `default`; a row without a
    /// title is called by the host of its URL.
    fn place(&self, row: &csv::StringRecord) -> String {
        let cell = |index: Option<usize>| index.and_then(|index| row.get(index)).unwrap_or_default();
        let url = self.fields.iter().find(|(_, field)| field == "url").map(|(index, _)| *index);
        let group = cell(self.group);
        let (root, rest) = group.split_once('/').unwrap_or((group, ""));
        let group = if self.has_root || root == "Root" { rest } else { group };
        let title = match cell(self.title) {
            "" => host(cell(url)),
            title => title,
        };
        place(group, title)
    }
}

/// Returns the host of a URL, or the whole text if it is none.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
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
    let missing = "the table has no columns for titles and passwords";
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
