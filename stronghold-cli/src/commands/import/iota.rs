//! Reads what `iota-export` prints of an IOTA Stronghold snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use stronghold_sync::Location;
use zeroize::Zeroizing;

use super::table::{Credential, Secret, Table, locate, place};

/// Version of the form that is read.
const VERSION: u64 = 1;
/// Vault in which the entries of a client's store land.
const STORE: &str = "store";

/// Reason why an export was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadIotaError {
    #[error("this is not the output of iota-export")]
    NotAnExport,
    #[error("the output is of iota-export's form {0}, this build reads {VERSION}")]
    Version(u64),
}

impl ReadIotaError {
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::NotAnExport => {
                "iota-export SNAPSHOT --key-file KEY --paths PATHS | stronghold import --format iota -"
            }
            Self::Version(_) => "take both programs from one release",
        }
    }
}

#[derive(Deserialize)]
struct Version {
    iota_export: u64,
}

#[derive(Deserialize)]
struct Export {
    revoked: usize,
    expired: usize,
    entries: Vec<Entry>,
}

/// A record, or an entry of a store if there is no vault.
#[derive(Deserialize)]
struct Entry {
    client: String,
    vault: Option<String>,
    name: String,
    #[serde(rename = "value_hex", deserialize_with = "of_digits")]
    value: Secret,
}

/// Reads an export. A record lands at `CLIENT/client/vault/record`, by its names there.
///
/// # Errors
/// [`ReadIotaError`] when the input is something else.
pub(crate) fn read(bytes: &[u8], client: &str) -> Result<Table, ReadIotaError> {
    let not_an_export = |_| ReadIotaError::NotAnExport;
    let version: Version = serde_json::from_slice(bytes).map_err(not_an_export)?;
    if version.iota_export != VERSION {
        return Err(ReadIotaError::Version(version.iota_export));
    }
    let export: Export = serde_json::from_slice(bytes).map_err(not_an_export)?;
    let (mut table, mut found) = (Table::default(), BTreeMap::<String, Credential>::new());
    for (line, entry) in (1..).zip(export.entries) {
        let vault = place(&entry.client, entry.vault.as_deref().unwrap_or(STORE));
        let (place, field) = place_of(client, vault, entry.name);
        let made = || Credential { line, place: place.clone(), ..Credential::default() };
        let clean = |name: &str| name.replace(char::is_control, " ");
        match locate(client, &clean(&place), &clean(&field).replace('/', "_")) {
            Ok(_) => found.entry(place.clone()).or_insert_with(made).fields.push((field, entry.value)),
            // It is left out alone: the others of its vault come in.
            Err(_) => table.add(client, Credential { fields: vec![(field, entry.value)], ..made() }),
        }
    }
    found.into_values().for_each(|credential| table.add(client, credential));
    for (what, count) in [("revoked records", export.revoked), ("expired entries", export.expired)] {
        if count > 0 {
            table.columns.push((what.to_owned(), count));
        }
    }
    Ok(table)
}

/// Returns the place of a record and the name of its field: a path of several parts keeps them,
/// where they are names.
fn place_of(client: &str, vault: String, name: String) -> (String, String) {
    match name.rsplit_once('/') {
        Some((path, field)) if !field.is_empty() && is_place(client, &format!("{vault}/{path}")) => {
            (format!("{vault}/{path}"), field.to_owned())
        }
        _ => (vault, name),
    }
}

fn is_place(client: &str, place: &str) -> bool {
    locate(client, place, "field").is_ok_and(|at: Location| !at.record().contains("//"))
}

/// Reads bytes from hexadecimal digits.
fn of_digits<'de, D: Deserializer<'de>>(digits: D) -> Result<Secret, D::Error> {
    struct Digits;

    impl de::Visitor<'_> for Digits {
        type Value = Secret;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("hexadecimal digits")
        }

        fn visit_str<E: de::Error>(self, digits: &str) -> Result<Secret, E> {
            let digit = |at: &u8| char::from(*at).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let byte = |pair: &[u8]| match pair {
                [high, low] => Some(digit(high)? << 4 | digit(low)?),
                _ => None,
            };
            // Its full size from the start, so that no copy is left behind.
            let mut value = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
            for pair in digits.as_bytes().chunks(2) {
                value.push(byte(pair).ok_or_else(|| E::custom("no hexadecimal digits"))?);
            }
            Ok(value)
        }
    }

    digits.deserialize_str(Digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(table: &Table) -> Vec<String> {
        let all = table.credentials.iter().flat_map(|credential| {
            let text = |value: &Secret| String::from_utf8_lossy(value).into_owned();
            let line = move |(name, value): &(String, Secret)| {
                format!("{} {name}={}", credential.place, text(value))
            };
            credential.fields.iter().map(line)
        });
        all.collect()
    }

    #[test]
    fn records_keep_their_paths_and_stores_are_vaults() {
        let text = r#"{"iota_export":1,"revoked":2,"expired":0,"entries":[
            {"client":"wallet","vault":"tokens","name":"mail/password","value_hex":"6869"},
            {"client":"wallet","vault":"tokens","name":"0","value_hex":"00FF"},
            {"client":"wallet","vault":"tokens","name":"a//b/","value_hex":"31"},
            {"client":"wallet","vault":null,"name":"user","value_hex":"32"},
            {"client":"","vault":"","name":"x","value_hex":"33"},
            {"client":"wallet","vault":"tokens","name":"empty","value_hex":""}]}"#;
        let table = read(text.as_bytes(), "c").unwrap();
        assert_eq!(
            fields(&table),
            [
                "default/untitled x=3",
                "wallet/store user=2",
                "wallet/tokens 0=\u{0}\u{fffd}",
                "wallet/tokens a__b_=1",
                "wallet/tokens/mail password=hi",
            ]
        );
        assert_eq!(table.columns, [("revoked records".to_owned(), 2)]);
        assert!(table.rows.is_empty() && table.renamed.len() == 1);
    }

    #[test]
    fn something_else_is_refused() {
        for (text, error) in [
            ("", ReadIotaError::NotAnExport),
            ("{}", ReadIotaError::NotAnExport),
            ("{\"iota_export\":1}", ReadIotaError::NotAnExport),
            ("{\"iota_export\":2}", ReadIotaError::Version(2)),
            (
                "{\"iota_export\":1,\"revoked\":0,\"expired\":0,\"entries\":[{\"client\":\"a\",\"vault\":null,\"name\":\"x\",\"value_hex\":\"0\"}]}",
                ReadIotaError::NotAnExport,
            ),
        ] {
            assert_eq!(read(text.as_bytes(), "c").err(), Some(error), "{text}");
        }
    }
}
