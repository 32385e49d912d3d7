//! Reads Bitwarden's JSON export, unencrypted or protected by a passphrase: logins, notes, cards,
//! identities and keys, with custom fields and former passwords.

mod seal;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use self::seal::OpenSealedError;
pub(super) use self::seal::Sealed;
use super::table::{Credential, Secret, Table, place};

/// Reason why an export was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadBitwardenError {
    #[error("the file is not a JSON export of Bitwarden")]
    Unreadable,
    #[error("the export is encrypted for one account of Bitwarden")]
    OfAccount,
    #[error(transparent)]
    Sealed(#[from] OpenSealedError),
}

impl ReadBitwardenError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable => "export it as \".json\", and delete the file after the import",
            Self::OfAccount => {
                "nothing else can open it: export it as \".json (Encrypted)\" that is password protected, or as \".json\""
            }
            Self::Sealed(OpenSealedError::WrongKey) => {
                "try again; it is the passphrase that was chosen for the export"
            }
            Self::Sealed(OpenSealedError::TooCostly) => "if you trust the file, say --allow-costly",
            Self::Sealed(_) => "export it anew",
        }
    }

    /// Returns whether another passphrase may open the export.
    pub(super) fn is_wrong_key(&self) -> bool {
        matches!(self, Self::Sealed(OpenSealedError::WrongKey))
    }
}

/// Parts of an item that say nothing that could be needed.
const KNOWN: [&str; 12] = [
    "id",
    "organizationId",
    "folderId",
    "collectionIds",
    "type",
    "name",
    "object",
    "revisionDate",
    "creationDate",
    "deletedDate",
    "archivedDate",
    "key",
];

/// Reads an unencrypted export.
///
/// # Errors
/// [`ReadBitwardenError`] when the input is no such export.
pub(crate) fn read(bytes: &[u8], client: &str) -> Result<Table, ReadBitwardenError> {
    let export: Value = serde_json::from_slice(bytes).map_err(|_| ReadBitwardenError::Unreadable)?;
    match (&export["encrypted"], &export["passwordProtected"]) {
        (Value::Bool(true), Value::Bool(true)) => return Err(OpenSealedError::Damaged.into()),
        (Value::Bool(true), _) => return Err(ReadBitwardenError::OfAccount),
        _ => {}
    }
    let items = export["items"].as_array().ok_or(ReadBitwardenError::Unreadable)?;
    let folders: BTreeMap<&str, &str> = ["folders", "collections"]
        .iter()
        .filter_map(|kind| export[*kind].as_array())
        .flatten()
        .filter_map(|folder| Some((folder["id"].as_str()?, folder["name"].as_str()?)))
        .collect();
    let mut table = Table::default();
    for (line, item) in (1..).zip(items) {
        let Value::Object(item) = item else { return Err(ReadBitwardenError::Unreadable) };
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let collection = item.get("collectionIds").and_then(|ids| ids[0].as_str());
        let folder = item.get("folderId").and_then(Value::as_str).or(collection);
        let group = folder.and_then(|id| folders.get(id)).copied().unwrap_or_default();
        let mut entry = Entry { fields: Vec::new(), table: &mut table };
        entry.item(item);
        let fields = entry.fields;
        let former = former(item);
        table.add(
            client,
            Credential { line, place: place(group, text("name")), fields, former, ..Credential::default() },
        );
    }
    Ok(table)
}

/// The fields of an item, as they are found.
struct Entry<'a> {
    fields: Vec<(String, Secret)>,
    table: &'a mut Table,
}

impl Entry<'_> {
    fn item(&mut self, item: &Map<String, Value>) {
        for (name, value) in item {
            match (name.as_str(), value) {
                ("login", Value::Object(login)) => self.login(login),
                ("card" | "identity" | "sshKey" | "secureNote", Value::Object(part)) => {
                    part.iter()
                        .filter(|(name, _)| *name != "type")
                        .for_each(|(name, value)| self.push(name, value));
                }
                ("fields", Value::Array(fields)) => {
                    for field in fields {
                        self.push(field["name"].as_str().unwrap_or("field"), &field["value"]);
                    }
                }
                ("notes", _) => self.push("notes", value),
                ("passwordHistory", _) => {}
                _ if KNOWN.contains(&name.as_str()) || is_nothing(value) => {}
                _ => self.table.leave_out(name),
            }
        }
    }

    fn login(&mut self, login: &Map<String, Value>) {
        for (name, value) in login {
            match (name.as_str(), value) {
                ("uris", Value::Array(uris)) => {
                    for (number, uri) in (1..).zip(uris) {
                        let name = if number == 1 { "url".into() } else { format!("url {number}") };
                        self.push(&name, &uri["uri"]);
                    }
                }
                ("username" | "password" | "totp", _) => self.push(name, value),
                ("passwordRevisionDate" | "uri", _) => {}
                _ if is_nothing(value) => {}
                _ => self.table.leave_out(name),
            }
        }
    }

    /// Adds a field. What is neither text, number nor truth value is left out.
    fn push(&mut self, name: &str, value: &Value) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null => String::new(),
            Value::Array(_) | Value::Object(_) => return self.table.leave_out(name),
        };
        self.fields.push((name.to_owned(), Zeroizing::new(text.into_bytes())));
    }
}

/// Returns the former passwords, oldest first.
fn former(item: &Map<String, Value>) -> Vec<(String, Secret)> {
    let history = item.get("passwordHistory").and_then(Value::as_array);
    let mut dated: Vec<(&str, &str)> = history
        .into_iter()
        .flatten()
        .filter_map(|old| Some((old["lastUsedDate"].as_str().unwrap_or_default(), old["password"].as_str()?)))
        .collect();
    dated.sort_unstable();
    let secret =
        |(_, password): (&str, &str)| ("password".to_owned(), Zeroizing::new(password.as_bytes().to_vec()));
    dated.into_iter().map(secret).collect()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_set) => !is_set,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(parts) => parts.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(export: &Value) -> Result<Table, ReadBitwardenError> {
        super::read(export.to_string().as_bytes(), "c")
    }

    fn fields(credential: &Credential) -> Vec<String> {
        let text = |(name, value): &(String, Secret)| format!("{name}={}", String::from_utf8_lossy(value));
        credential.fields.iter().map(text).collect()
    }

    #[test]
    fn items_of_each_kind_are_read_whole() {
        let export = json!({
            "encrypted": false,
            "folders": [{ "id": "f1", "name": "Web/Shops" }],
            "items": [
                {
                    "id": "1", "folderId": "f1", "type": 1, "name": "Shop", "notes": null, "favorite": true,
                    "login": {
                        "username": "anna", "password": "new", "totp": "JBSWY3DP",
                        "uris": [{ "match": null, "uri": "https://one" }, { "uri": "https://two" }],
                        "fido2Credentials": [{ "credentialId": "x" }],
                    },
                    "fields": [{ "name": "PIN", "value": "1234", "type": 1 }, { "name": "agreed", "value": "true" }],
                    "passwordHistory": [
                        { "lastUsedDate": "2024-02-01T00:00:00Z", "password": "older" },
                        { "lastUsedDate": "2023-02-01T00:00:00Z", "password": "oldest" },
                    ],
                },
                { "type": 2, "name": "Note", "notes": "two\nlines", "secureNote": { "type": 0 } },
                { "type": 3, "name": "Card", "card": { "number": "4111", "code": "123", "brand": null } },
                { "type": 5, "name": "", "sshKey": { "privateKey": "-----BEGIN" } },
                { "type": 1, "name": "Nothing", "login": { "username": null } },
            ],
        });
        let table = read(&export).unwrap();
        let of = |index: usize| {
            let credential: &Credential = &table.credentials[index];
            let mut fields = fields(credential);
            fields.sort();
            (credential.place.as_str(), fields)
        };
        let shop = [
            "PIN=1234",
            "agreed=true",
            "password=new",
            "totp=JBSWY3DP",
            "url 2=https://two",
            "url=https://one",
            "username=anna",
        ];
        assert_eq!(of(0), ("Web/Shops/Shop", shop.map(str::to_owned).to_vec()));
        assert_eq!(of(1), ("default/Note", vec!["notes=two\nlines".to_owned()]));
        assert_eq!(of(2), ("default/Card", vec!["code=123".to_owned(), "number=4111".into()]));
        assert_eq!(of(3), ("default/untitled", vec!["privateKey=-----BEGIN".to_owned()]));
        let former: Vec<&[u8]> =
            table.credentials[0].former.iter().map(|(_, value)| value.as_slice()).collect();
        assert_eq!(former, [&b"oldest"[..], b"older"]);
        let mut left_out = table.columns.clone();
        left_out.sort();
        assert_eq!(left_out, [("favorite".to_owned(), 1), ("fido2Credentials".to_owned(), 1)]);
        assert_eq!((table.rows.len(), table.rows[0].line), (1, 5));
    }

    #[test]
    fn other_files_are_refused() {
        for wrong in ["", "{", "[]", "{}", "{\"items\": 1}", "{\"items\": [1]}"] {
            assert!(
                matches!(super::read(wrong.as_bytes(), "c"), Err(ReadBitwardenError::Unreadable)),
                "{wrong}"
            );
        }
        let encrypted = json!({ "encrypted": true, "data": "2.x" });
        assert!(matches!(read(&encrypted), Err(ReadBitwardenError::OfAccount)));
        let cut = json!({ "encrypted": true, "passwordProtected": true, "data": "2.x" });
        assert!(matches!(read(&cut), Err(ReadBitwardenError::Sealed(OpenSealedError::Damaged))));
        let deep = format!("{{\"items\": {}", "[".repeat(100_000));
        assert!(super::read(deep.as_bytes(), "c").is_err());
    }
}
