//! The table that KeePassXC exports, as entries: `CLIENT/group/title/field`.

use std::{collections::HashMap, io::Read};

use stronghold_sync::{BadLocation, Location};
use zeroize::Zeroizing;

/// Fields that become records, under these names; empty ones are left out.
const FIELDS: [(&str, &str); 5] = [
    ("Username", "username"),
    ("Password", "password"),
    ("URL", "url"),
    ("Notes", "notes"),
    ("TOTP", "totp"),
];

/// One field of one credential.
pub(crate) type Field = (Location, Zeroizing<String>);

/// Why a table was not read. No text of it quotes the table, which is full of secrets, but for a credential's place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadTable {
    #[error("the table has no columns called Group and Title")]
    NoColumns,
    #[error("{place}: {error}")]
    Place { place: String, error: BadLocation },
    #[error("the table can't be read{}", .line.map(|line| format!(" at line {line}")).unwrap_or_default())]
    Unreadable { line: Option<u64> },
}

/// Reads a table with a header line; columns are found by name, unknown ones are left out.
pub(crate) fn read(table: impl Read, client: &str) -> Result<Vec<Field>, BadTable> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(table);
    let header = reader.headers().map_err(|error| bad(&error))?.clone();
    let column = |name: &str| header.iter().position(|column| column.trim_start_matches('\u{feff}') == name);
    let (Some(group), Some(title)) = (column("Group"), column("Title")) else {
        return Err(BadTable::NoColumns);
    };
    // KeePassXC writes the root group first in every path, whatever its name; other tables may have none.
    let is_keepassxc = column("Icon").is_some() && column("Last Modified").is_some();
    let fields: Vec<(usize, &str)> =
        FIELDS.iter().filter_map(|(name, field)| Some((column(name)?, *field))).collect();
    let mut used = Used::new();
    let mut found = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| bad(&error))?;
        let cell = |index: usize| row.get(index).unwrap_or_default();
        let place = unique(&mut used, place(cell(group), cell(title), is_keepassxc));
        for (index, field) in &fields {
            if !cell(*index).is_empty() {
                let location = locate(client, &format!("{place}/{field}"))?;
                found.push((location, Zeroizing::new(cell(*index).to_owned())));
            }
        }
    }
    Ok(found)
}

/// `group/title`. What is directly in the root group has no group.
fn place(group: &str, title: &str, has_root: bool) -> String {
    let (root, rest) = group.split_once('/').unwrap_or((group, ""));
    let group = if has_root || root == "Root" { rest } else { group }.trim_matches('/');
    let group = if group.is_empty() { "default" } else { group };
    let title = if title.is_empty() { "untitled" } else { title };
    format!("{group}/{title}")
}

/// Names that are taken, each with the last number that was given to it.
type Used = HashMap<String, u64>;

/// Two credentials of one group and title are two: the second becomes `title (2)`, or the next number that is free, in
/// the order of the file.
fn unique(used: &mut Used, place: String) -> String {
    let mut name = place.clone();
    let mut number = used.get(&place).copied().unwrap_or(0);
    while used.contains_key(&name) {
        number += 1;
        name = format!("{place} ({})", number + 1);
    }
    used.insert(name.clone(), 0);
    used.insert(place, number);
    name
}

fn locate(client: &str, rest: &str) -> Result<Location, BadTable> {
    let (vault, record) = rest.split_once('/').unwrap_or(("default", rest));
    Location::new(client, vault, record)
        .map_err(|error| BadTable::Place { place: stronghold_sync::visible(rest), error })
}

/// Of the error only its place is told: its own text may quote the table.
fn bad(error: &csv::Error) -> BadTable {
    BadTable::Unreadable { line: error.position().map(csv::Position::line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(table: &str) -> Vec<String> {
        read(table.as_bytes(), "c").unwrap().iter().map(|(location, _)| location.to_string()).collect()
    }

    const HEADER: &str =
        "\"Group\",\"Title\",\"Username\",\"Password\",\"URL\",\"Notes\",\"TOTP\",\"Icon\"\n";

    #[test]
    fn an_entry_lands_at_group_title_field_and_empty_fields_are_left_out() {
        let table = format!("{HEADER}Root/Web,Mail,me,pw,,\"two\nlines\",,0\nRoot,Bank,,x,,,,0\n");
        assert_eq!(
            places(&table),
            ["c/Web/Mail/username", "c/Web/Mail/password", "c/Web/Mail/notes", "c/default/Bank/password"]
        );
    }

    #[test]
    fn equal_titles_are_kept_apart() {
        let table = format!("{HEADER}Root/Web,Mail,,a,,,,0\nRoot/Web,Mail,,b,,,,0\n");
        assert_eq!(places(&table), ["c/Web/Mail/password", "c/Web/Mail (2)/password"]);
    }

    #[test]
    fn another_table_is_refused() {
        let refused = |table: &[u8]| read(table, "c").unwrap_err();
        assert!(matches!(refused(b"a,b\n1,2\n"), BadTable::NoColumns));
        assert!(matches!(refused(&[0xff, 0xfe, 0x00]), BadTable::Unreadable { .. }));
    }
}
