//! Arbitrary bytes as a table to import: every resulting location parses back from its text, no
//! name contains a control character, no value is empty, every row is imported or reported, and no
//! row has a field twice.

#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeSet;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use stronghold_sync::Location;

#[path = "../../src/commands/import/csv.rs"]
#[allow(dead_code, reason = "the hints are not tried here")]
mod csv;
#[path = "../../src/commands/import/table.rs"]
#[allow(dead_code, reason = "the way back from a location is not tried here")]
mod table;

fuzz_target!(|table: &[u8]| {
    let found = match csv::read(table, "wallet", &[]) {
        Ok(found) => found,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut lines = BTreeSet::new();
    for row in &found.rows {
        assert!(lines.insert(row.line) && !row.name.contains(char::is_control));
    }
    for credential in &found.credentials {
        assert!(lines.insert(credential.line), "line {} is there twice", credential.line);
        let mut fields = BTreeSet::new();
        for (field, value) in &credential.fields {
            let location = table::locate("wallet", &credential.place, field).expect("it was tried");
            let text = location.to_string();
            assert_eq!(text.parse::<Location>().as_ref(), Ok(&location));
            assert!(!value.is_empty() && !text.contains(char::is_control), "{text}");
            assert!(fields.insert(field.clone()), "{text} is there twice");
        }
    }
});
