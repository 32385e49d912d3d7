//! Reads 1Password's 1PUX export: a ZIP file with JSON in it, and files beside that.

use std::io::Read;

use flate2::read::DeflateDecoder;
use serde_json::Value;
use zeroize::Zeroizing;

use super::table::{Credential, Secret, Table, place};

/// Maximum size of a part of the export when it is unpacked, in bytes.
const MAX_PART: u64 = 128 << 20;
/// Name of the part with the items.
const DATA: &str = "export.data";

/// Reason why an export was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadOnePuxError {
    #[error("the file is not a 1PUX export of 1Password")]
    Unreadable,
    #[error("the export is damaged, or a part of it is too large")]
    Damaged,
}

/// Reads an export.
///
/// # Errors
/// [`ReadOnePuxError`] when the input is no such export.
pub(crate) fn read(bytes: &[u8], client: &str) -> Result<Table, ReadOnePuxError> {
    let parts = parts(bytes).ok_or(ReadOnePuxError::Unreadable)?;
    let data = parts.iter().find(|part| part.name == DATA).ok_or(ReadOnePuxError::Unreadable)?;
    let export: Value = serde_json::from_slice(&data.unpack()?).map_err(|_| ReadOnePuxError::Unreadable)?;
    let accounts = export["accounts"].as_array().ok_or(ReadOnePuxError::Unreadable)?;
    let mut table = Table::default();
    let mut line = 0;
    for vault in accounts.iter().filter_map(|account| account["vaults"].as_array()).flatten() {
        let group = vault["attrs"]["name"].as_str().unwrap_or_default();
        for item in vault["items"].as_array().into_iter().flatten() {
            line += 1;
            // Older exports have the item one level below.
            let item = item.get("item").unwrap_or(item);
            let mut entry = Entry { fields: Vec::new(), table: &mut table, parts: &parts };
            entry.item(item)?;
            let (fields, former) = (entry.fields, former(item));
            let title = item["overview"]["title"].as_str().unwrap_or_default();
            table.add(
                client,
                Credential { line, place: place(group, title), fields, former, ..Credential::default() },
            );
        }
    }
    Ok(table)
}

/// The fields of an item, as they are found.
struct Entry<'a> {
    fields: Vec<(String, Secret)>,
    table: &'a mut Table,
    parts: &'a [Part<'a>],
}

impl Entry<'_> {
    fn item(&mut self, item: &Value) -> Result<(), ReadOnePuxError> {
        let (overview, details) = (&item["overview"], &item["details"]);
        for field in list(&details["loginFields"]) {
            let named = ["designation", "name", "id"].iter().filter_map(|key| field[*key].as_str());
            let name = named.into_iter().find(|name| !name.is_empty()).unwrap_or("field");
            self.value(name, &field["value"])?;
        }
        let urls = list(&overview["urls"]).filter_map(|url| url["url"].as_str());
        let urls: Vec<&str> = urls.collect();
        let url = overview["url"].as_str().filter(|url| !urls.contains(url));
        for (number, url) in (1..).zip(url.into_iter().chain(urls)) {
            let name = if number == 1 { "url".into() } else { format!("url {number}") };
            self.text(&name, url);
        }
        self.text("password", details["password"].as_str().unwrap_or_default());
        for section in list(&details["sections"]) {
            for field in list(&section["fields"]) {
                let name = field["title"].as_str().filter(|title| !title.is_empty());
                self.value(name.or(field["id"].as_str()).unwrap_or("field"), &field["value"])?;
            }
        }
        self.file(&details["documentAttributes"])?;
        self.text("notes", details["notesPlain"].as_str().unwrap_or_default());
        if list(&overview["tags"]).next().is_some() {
            self.table.leave_out("tags");
        }
        Ok(())
    }

    /// Adds the value of a field: text, or an object whose key is its kind.
    fn value(&mut self, name: &str, value: &Value) -> Result<(), ReadOnePuxError> {
        let Value::Object(kinds) = value else {
            self.scalar(name, value);
            return Ok(());
        };
        for (kind, value) in kinds {
            match (kind.as_str(), value) {
                ("file", _) => self.file(value)?,
                ("totp", _) => self.scalar("totp", value),
                ("email", Value::Object(parts)) => {
                    self.scalar(name, parts.get("email_address").unwrap_or(&Value::Null));
                }
                ("sshKey", Value::Object(parts)) => {
                    self.scalar(name, parts.get("privateKey").unwrap_or(&Value::Null));
                }
                (_, Value::Object(parts)) => {
                    parts.iter().for_each(|(part, value)| self.scalar(&format!("{name} {part}"), value));
                }
                _ => self.scalar(name, value),
            }
        }
        Ok(())
    }

    fn scalar(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.text(name, text),
            Value::Number(_) | Value::Bool(_) => self.text(name, &value.to_string()),
            Value::Null => {}
            Value::Array(_) | Value::Object(_) => self.table.leave_out(name),
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.fields.push((name.to_owned(), Zeroizing::new(text.as_bytes().to_vec())));
        }
    }

    /// Adds a file that is beside the items.
    fn file(&mut self, file: &Value) -> Result<(), ReadOnePuxError> {
        let Some(id) = file["documentId"].as_str() else { return Ok(()) };
        let start = format!("files/{id}__");
        match self.parts.iter().find(|part| part.name.starts_with(&start)) {
            Some(part) => {
                let name = file["fileName"].as_str().unwrap_or(&part.name[start.len()..]).to_owned();
                self.fields.push((name, part.unpack()?));
            }
            None => self.table.leave_out("files that are not in the export"),
        }
        Ok(())
    }
}

/// Returns the former passwords, oldest first.
fn former(item: &Value) -> Vec<(String, Secret)> {
    let history = list(&item["details"]["passwordHistory"]);
    let mut dated: Vec<(i64, &str)> =
        history.filter_map(|old| Some((old["time"].as_i64().unwrap_or(0), old["value"].as_str()?))).collect();
    dated.sort_unstable();
    let secret = |(_, value): (i64, &str)| ("password".to_owned(), Zeroizing::new(value.as_bytes().to_vec()));
    dated.into_iter().map(secret).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// One file in a ZIP file.
struct Part<'a> {
    name: &'a str,
    is_packed: bool,
    crc: u32,
    bytes: &'a [u8],
}

impl Part<'_> {
    fn unpack(&self) -> Result<Secret, ReadOnePuxError> {
        let mut unpacked = Zeroizing::new(Vec::new());
        match self.is_packed {
            true => DeflateDecoder::new(self.bytes).take(MAX_PART + 1).read_to_end(&mut unpacked),
            false => self.bytes.take(MAX_PART + 1).read_to_end(&mut unpacked),
        }
        .map_err(|_| ReadOnePuxError::Damaged)?;
        let mut crc = flate2::Crc::new();
        crc.update(&unpacked);
        let is_whole = unpacked.len() as u64 <= MAX_PART && crc.sum() == self.crc;
        if is_whole { Ok(unpacked) } else { Err(ReadOnePuxError::Damaged) }
    }
}

/// Lists the parts of a ZIP file by its directory, which is at its end (APPNOTE 6.3, section 4.3).
/// Encrypted parts and those of other methods than deflate are none.
fn parts(bytes: &[u8]) -> Option<Vec<Part<'_>>> {
    let short = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?) as usize);
    let long = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let end = bytes.windows(4).rposition(|window| window == b"PK\x05\x06")?;
    let (count, mut at) = (short(end + 10)?, long(end + 16)?);
    // The length of the comment that may follow ends the directory.
    short(end + 20)?;
    let mut parts = Vec::new();
    for _ in 0..count {
        if bytes.get(at..at + 4)? != b"PK\x01\x02" {
            return None;
        }
        let (flags, method, size) = (short(at + 8)?, short(at + 10)?, long(at + 20)?);
        let (name_len, extra, comment, local) =
            (short(at + 28)?, short(at + 30)?, short(at + 32)?, long(at + 42)?);
        let name = std::str::from_utf8(bytes.get(at + 46..at + 46 + name_len)?).ok()?;
        let start = local + 30 + short(local + 26)? + short(local + 28)?;
        if flags & 1 == 0 && [0, 8].contains(&method) {
            let crc = u32::try_from(long(at + 16)?).ok()?;
            let bytes = bytes.get(start..start.checked_add(size)?)?;
            parts.push(Part { name, is_packed: method == 8, crc, bytes });
        }
        at += 46 + name_len + extra + comment;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    /// Packs files as a ZIP file.
    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut zip, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in files {
            let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            packer.write_all(content).unwrap();
            let packed = packer.finish().unwrap();
            let mut crc = flate2::Crc::new();
            crc.update(content);
            let mut head = [&[20, 0, 0, 8, 8, 0, 0, 0, 0, 0][..], &crc.sum().to_le_bytes()].concat();
            head.extend((packed.len() as u32).to_le_bytes());
            head.extend((content.len() as u32).to_le_bytes());
            head.extend((name.len() as u16).to_le_bytes());
            head.extend([0, 0]);
            let local = (zip.len() as u32).to_le_bytes();
            directory.extend([&b"PK\x01\x02\x14\0"[..], &head, &[0; 10], &local, name.as_bytes()].concat());
            zip.extend([&b"PK\x03\x04"[..], &head, name.as_bytes(), &packed].concat());
        }
        let (start, count) = ((zip.len() as u32).to_le_bytes(), (files.len() as u16).to_le_bytes());
        let len = (directory.len() as u32).to_le_bytes();
        zip.extend([&directory, &b"PK\x05\x06\0\0\0\0"[..], &count, &count, &len, &start, &[0, 0]].concat());
        zip
    }

    fn export() -> Vec<u8> {
        let item = json!({
            "uuid": "1", "categoryUuid": "001", "state": "active",
            "overview": { "title": "Shop", "url": "https://one", "urls": [{ "url": "https://one" }, { "url": "https://two" }], "tags": ["x"] },
            "details": {
                "loginFields": [
                    { "value": "anna", "name": "email", "designation": "username", "fieldType": "T" },
                    { "value": "new", "name": "pw", "designation": "password", "fieldType": "P" },
                ],
                "notesPlain": "two\nlines",
                "sections": [{ "title": "More", "fields": [
                    { "title": "PIN", "id": "p", "value": { "concealed": "1234" } },
                    { "title": "one-time password", "id": "t", "value": { "totp": "otpauth://totp/x?secret=y" } },
                    { "title": "home", "value": { "address": { "street": "Way 1", "zip": "1" } } },
                    { "title": "since", "value": { "date": 1700000000 } },
                    { "title": "mail", "value": { "email": { "email_address": "a@b", "provider": null } } },
                    { "title": "letter", "value": { "file": { "fileName": "letter.txt", "documentId": "doc1" } } },
                    { "title": "lost", "value": { "file": { "fileName": "lost.txt", "documentId": "doc2" } } },
                ]}],
                "passwordHistory": [{ "value": "old", "time": 2 }, { "value": "older", "time": 1 }],
            },
        });
        let data =
            json!({ "accounts": [{ "vaults": [{ "attrs": { "name": "Private" }, "items": [item] }] }] });
        zip(&[
            ("export.attributes", b"{\"version\": 3}"),
            ("export.data", data.to_string().as_bytes()),
            ("files/doc1__letter.txt", b"\xff an attachment"),
        ])
    }

    #[test]
    fn everything_of_an_item_is_read() {
        let table = read(&export(), "c").unwrap();
        let found = &table.credentials[0];
        assert_eq!((table.credentials.len(), found.place.as_str()), (1, "Private/Shop"));
        let text = |(name, value): &(String, Secret)| format!("{name}={}", String::from_utf8_lossy(value));
        let fields: Vec<String> = found.fields.iter().map(text).collect();
        let expected = [
            "username=anna",
            "password=new",
            "url=https://one",
            "url 2=https://two",
            "PIN=1234",
            "totp=otpauth://totp/x?secret=y",
            "home street=Way 1",
            "home zip=1",
            "since=1700000000",
            "mail=a@b",
            "letter.txt=\u{fffd} an attachment",
            "notes=two\nlines",
        ];
        assert_eq!(fields, expected);
        let former: Vec<&[u8]> = found.former.iter().map(|(_, value)| value.as_slice()).collect();
        assert_eq!(former, [&b"older"[..], b"old"]);
        let left_out = [("files that are not in the export".to_owned(), 1), ("tags".to_owned(), 1)];
        assert_eq!(table.columns, left_out);
    }

    #[test]
    fn damaged_and_other_files_are_refused() {
        let export = export();
        let right = read(&export, "c").unwrap();
        for other in [&b""[..], b"PK\x05\x06", b"no zip", &zip(&[("other", b"x")]), &zip(&[(DATA, b"{}")])] {
            assert_eq!(read(other, "c").unwrap_err(), ReadOnePuxError::Unreadable);
        }
        for at in 0..export.len() {
            assert!(read(&export[..at], "c").is_err(), "cut at {at}");
            let mut bytes = export.clone();
            bytes[at] ^= 0x41;
            // Neither local headers nor times and versions are needed to read it.
            if let Ok(table) = read(&bytes, "c") {
                assert!(table.credentials.len() == 1 || at > 30, "byte {at}");
                let mut values = table.credentials.iter().flat_map(|found| &found.fields);
                assert!(values.all(|field| right.credentials[0].fields.contains(field)), "byte {at}");
            }
        }
    }
}
