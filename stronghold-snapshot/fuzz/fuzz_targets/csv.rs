//! Any bytes as a table to import: every location that comes of it parses back from its text, none is there twice,
//! and no value is empty.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use stronghold_sync::Location;

#[path = "../../../stronghold-cli/src/credentials.rs"]
mod credentials;

fuzz_target!(|table: &[u8]| {
    let found = match credentials::read(table, "wallet") {
        Ok(found) => found,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut places = BTreeSet::new();
    for (location, value) in &found {
        let text = location.to_string();
        assert_eq!(text.parse::<Location>().as_ref(), Ok(location));
        assert!(!value.is_empty(), "{text}");
        assert!(places.insert(text), "{location} is there twice");
    }
});
