//! Reads KeePass databases, KDBX 3.1 and 4, with custom fields, attachments, one-time passwords and
//! former values.

use std::collections::BTreeMap;

use keepass::{
    Database, DatabaseKey,
    db::{EntryRef, GroupRef},
    error::{DatabaseKeyError, DatabaseOpenError},
};
use zeroize::Zeroizing;

use super::table::{Credential, Secret, Table, place};

/// Maximum memory, in bytes, and number of passes or rounds to derive a database's key, unless more
/// is allowed.
const MAX_MEMORY: u64 = 1 << 30;
const MAX_PASSES: u64 = 1 << 10;
const MAX_ROUNDS: u64 = 1 << 28;
/// First bytes of each KeePass file.
const MAGIC: [u8; 4] = [0x03, 0xd9, 0xa2, 0x9a];
/// Standard fields with the names of their records.
pub(crate) const FIELDS: [(&str, &str); 5] =
    [("UserName", "username"), ("Password", "password"), ("URL", "url"), ("otp", "totp"), ("Notes", "notes")];

/// Reason why a database was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadKdbxError {
    #[error("the file is not a KeePass database")]
    NotKdbx,
    #[error("the database has the format of KeePass 1")]
    Old,
    #[error("the passphrase or key file of the database is wrong")]
    WrongKey,
    #[error("the database takes more memory or time to open than is allowed")]
    TooCostly,
    #[error("the database is damaged, or of a kind that is not known")]
    Damaged,
}

impl ReadKdbxError {
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::NotKdbx => "is it the right file? It ends with .kdbx",
            Self::Old => "open it with KeePassXC and save it as .kdbx",
            Self::WrongKey => "try again; a key file is given with --source-key-file",
            Self::TooCostly => "if you trust the file, say --allow-costly",
            Self::Damaged => "does KeePassXC open it? Save it there once more",
        }
    }
}

/// Reads a database with its passphrase, its key file or both.
///
/// # Errors
/// [`ReadKdbxError`] when it can't be opened.
pub(crate) fn read(
    bytes: &[u8],
    client: &str,
    (passphrase, key_file): (Option<&str>, Option<&[u8]>),
    allow_costly: bool,
) -> Result<Table, ReadKdbxError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(ReadKdbxError::NotKdbx);
    }
    if !allow_costly && !is_affordable(bytes) {
        return Err(ReadKdbxError::TooCostly);
    }
    let mut key = DatabaseKey::new();
    if let Some(passphrase) = passphrase {
        key = key.with_password(passphrase);
    }
    if let Some(mut key_file) = key_file {
        key = key.with_keyfile(&mut key_file).map_err(|_| ReadKdbxError::WrongKey)?;
    }
    let database = Database::parse(bytes, key).map_err(|error| match error {
        DatabaseOpenError::Key(DatabaseKeyError::Io(_)) => ReadKdbxError::Damaged,
        // A wrong key of KDBX 3 shows as broken padding.
        DatabaseOpenError::Key(_) | DatabaseOpenError::Cryptography(_) => ReadKdbxError::WrongKey,
        DatabaseOpenError::VersionParse(_) => ReadKdbxError::NotKdbx,
        DatabaseOpenError::UnsupportedVersion => ReadKdbxError::Old,
        _ => ReadKdbxError::Damaged,
    })?;
    let mut table = Table::default();
    let mut groups = vec![(String::new(), database.root().id())];
    let mut line = 0;
    while let Some((path, id)) = groups.pop() {
        let Some(group) = database.group(id) else { continue };
        if group.notes.as_ref().is_some_and(|notes| !notes.is_empty()) {
            table.leave_out("notes of groups");
        }
        for entry in group.entries() {
            line += 1;
            add(&mut table, client, line, &path, &entry);
        }
        // A slash in a group's name would be one more group.
        let name = |group: &GroupRef<'_>| format!("{path}/{}", group.name.replace('/', "_"));
        let mut below: Vec<_> = group.groups().map(|group| (name(&group), group.id())).collect();
        below.reverse();
        groups.extend(below);
    }
    Ok(table)
}

fn add(table: &mut Table, client: &str, line: u64, path: &str, entry: &EntryRef<'_>) {
    let mut fields = fields(entry);
    for (name, attachment) in sorted(entry.attachments_named()) {
        fields.push((name, Zeroizing::new(attachment.data.get().clone())));
    }
    if let Some(url) = entry.override_url.as_ref().filter(|url| !url.is_empty()) {
        fields.push(("url override".into(), Zeroizing::new(url.clone().into_bytes())));
    }
    for (kind, is_there) in [
        ("tags", !entry.tags.is_empty()),
        ("times of expiry", entry.times.expires == Some(true)),
        ("rules for auto-type", entry.autotype.as_ref().is_some_and(|rules| !rules.associations.is_empty())),
        ("data of plug-ins", !entry.custom_data.is_empty()),
    ] {
        if is_there {
            table.leave_out(kind);
        }
    }
    let former = former(table, entry);
    let place = place(path, entry.get_title().unwrap_or_default());
    table.add(client, Credential { line, place, fields, former, ..Credential::default() });
}

/// Returns the fields of an entry except its title: the standard ones, then others by name.
fn fields(entry: &keepass::db::Entry) -> Vec<(String, Secret)> {
    let secret = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    let standard =
        FIELDS.iter().filter_map(|(key, name)| Some(((*name).to_owned(), secret(entry.get(key)?))));
    let is_custom = |key: &str| key != "Title" && !FIELDS.iter().any(|(standard, _)| *standard == key);
    let custom = entry.fields.iter().filter(|(key, _)| is_custom(key));
    let custom: BTreeMap<&String, Secret> =
        custom.map(|(key, value)| (key, secret(value.as_str()))).collect();
    standard.chain(custom.into_iter().map(|(key, value)| (key.clone(), value))).collect()
}

/// Returns the former values of an entry's fields, oldest first. Of attachments only the current
/// ones are taken.
fn former(table: &mut Table, entry: &EntryRef<'_>) -> Vec<(String, Secret)> {
    let count = entry.history.as_ref().map_or(0, |history| history.get_entries().len());
    let mut versions: Vec<EntryRef<'_>> = (0..count).filter_map(|index| entry.historical(index)).collect();
    versions.sort_by_key(|version| version.times.last_modification);
    let current: Vec<_> = entry.attachments().map(|attachment| attachment.id()).collect();
    for version in &versions {
        let gone = version.attachments().filter(|attachment| !current.contains(&attachment.id()));
        gone.for_each(|_| table.leave_out("attachments of former versions"));
    }
    let mut former: Vec<(String, Secret)> = Vec::new();
    for (name, value) in versions.iter().flat_map(|version| fields(version)) {
        let last = former.iter().rfind(|(known, _)| *known == name);
        if !value.is_empty() && last.is_none_or(|(_, last)| *last != value) {
            former.push((name, value));
        }
    }
    former
}

fn sorted<'a, T>(named: impl Iterator<Item = (&'a str, T)>) -> Vec<(String, T)> {
    let mut named: Vec<(String, T)> = named.map(|(name, item)| (name.to_owned(), item)).collect();
    named.sort_by(|one, other| one.0.cmp(&other.0));
    named
}

/// Returns whether the header asks for no more memory and time than is allowed to derive the key.
/// A header that can't be read is for the reader to refuse.
fn is_affordable(bytes: &[u8]) -> bool {
    let is_four = bytes.get(10..12) == Some(&[4, 0]);
    let mut rest = bytes.get(12..).unwrap_or_default();
    while let Some((id, value, next)) = header_field(rest, is_four) {
        let affordable = match (id, is_four) {
            (0, _) => return true,
            // Rounds of AES in KDBX 3, and the parameters of any function in KDBX 4.
            (6, false) => number(value).is_none_or(|rounds| rounds <= MAX_ROUNDS),
            (11, true) => {
                let within =
                    |name: &[u8], most: u64| parameter(value, name).is_none_or(|value| value <= most);
                within(b"M", MAX_MEMORY) && within(b"I", MAX_PASSES) && within(b"R", MAX_ROUNDS)
            }
            _ => true,
        };
        if !affordable {
            return false;
        }
        rest = next;
    }
    true
}

/// Splits off one field of the outer header: its id, its value and what follows.
fn header_field(bytes: &[u8], is_four: bool) -> Option<(u8, &[u8], &[u8])> {
    let (id, rest) = bytes.split_first()?;
    let (len, rest) = match is_four {
        true => rest.split_first_chunk::<4>().map(|(len, rest)| (u32::from_le_bytes(*len) as usize, rest))?,
        false => rest.split_first_chunk::<2>().map(|(len, rest)| (u16::from_le_bytes(*len).into(), rest))?,
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some((*id, value, rest))
}

/// Returns a number of a variant dictionary: after a version of two bytes, its items are a type, a
/// name and a value, the latter two prefixed with their lengths in four bytes.
fn parameter(dictionary: &[u8], wanted: &[u8]) -> Option<u64> {
    let mut rest = dictionary.get(2..)?;
    loop {
        let (_, name, next) = header_field(rest, true)?;
        let (len, next) = next.split_first_chunk::<4>()?;
        let (value, next) = next.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        if name == wanted {
            return number(value);
        }
        rest = next;
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        4 => Some(u32::from_le_bytes(bytes.try_into().ok()?).into()),
        8 => Some(u64::from_le_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &[u8] = include_bytes!("../../../tests/it/kdbx/three.kdbx");
    const FOUR: &[u8] = include_bytes!("../../../tests/it/kdbx/four.kdbx");
    const ARGON2: &[u8] = include_bytes!("../../../tests/it/kdbx/argon2.kdbx");
    const KEY_FILE: &[u8] = include_bytes!("../../../tests/it/kdbx/argon2.keyx");
    const PASSPHRASE: &str = "correct horse";

    fn read(bytes: &[u8], passphrase: &str, key_file: Option<&[u8]>) -> Result<Table, ReadKdbxError> {
        super::read(bytes, "c", (Some(passphrase), key_file), false)
    }

    #[test]
    fn everything_of_an_entry_is_read_from_either_version() {
        for (bytes, left_out) in [(THREE, &[][..]), (FOUR, &[("tags", 2), ("data of plug-ins", 1)])] {
            let table = read(bytes, PASSPHRASE, None).unwrap();
            let places: Vec<&str> = table.credentials.iter().map(|found| found.place.as_str()).collect();
            assert_eq!(places, ["default/Bank", "Web/Shops/Shop"]);
            let shop = &table.credentials[1];
            let text =
                |(name, value): &(String, Secret)| format!("{name}={}", String::from_utf8_lossy(value));
            let fields: Vec<String> = shop.fields.iter().map(text).collect();
            assert_eq!(
                fields,
                [
                    "username=anna",
                    "password=new password",
                    "url=https://shop.example",
                    "totp=otpauth://totp/Shop:anna?secret=JBSWY3DPEHPK3PXP&period=30",
                    "notes=two\nlines",
                    "PIN=1234",
                    "a_b=slash",
                    "letter.bin=an attachment\n\0\u{fffd}",
                ]
            );
            assert_eq!(shop.fields[7].1.as_slice(), b"an attachment\n\0\xff");
            let passwords = shop.former.iter().filter(|(name, _)| name == "password");
            let passwords: Vec<&[u8]> = passwords.map(|(_, value)| value.as_slice()).collect();
            assert_eq!(passwords, [&b"old password"[..], b"new password"]);
            assert_eq!(table.renamed[0].2, "Web/Shops/Shop/a_b");
            let left_out: Vec<(String, usize)> =
                left_out.iter().map(|(kind, count)| ((*kind).into(), *count)).collect();
            assert_eq!(table.columns, left_out);
        }
    }

    #[test]
    fn a_database_opens_with_its_passphrase_and_its_key_file_only() {
        let found = read(ARGON2, PASSPHRASE, Some(KEY_FILE)).unwrap();
        assert!(!found.credentials.is_empty());
        for (bytes, passphrase, key_file) in [
            (ARGON2, PASSPHRASE, None),
            (ARGON2, "wrong", Some(KEY_FILE)),
            (THREE, "wrong", None),
            (FOUR, "", None),
        ] {
            assert_eq!(read(bytes, passphrase, key_file).unwrap_err(), ReadKdbxError::WrongKey);
        }
        assert_eq!(super::read(THREE, "c", (None, None), false).unwrap_err(), ReadKdbxError::WrongKey);
    }

    /// Finds `before` in a file and writes `value` in place of the eight bytes after it.
    fn with_number(bytes: &[u8], before: &[u8], value: u64) -> Vec<u8> {
        let at = bytes.windows(before.len()).position(|window| window == before).unwrap() + before.len();
        [&bytes[..at], &value.to_le_bytes(), &bytes[at + 8..]].concat()
    }

    #[test]
    fn a_costly_key_is_not_derived_unless_that_is_allowed() {
        let memory = with_number(ARGON2, b"M\x08\0\0\0", 1 << 40);
        let passes = with_number(ARGON2, b"I\x08\0\0\0", 1 << 40);
        for costly in [
            with_number(THREE, &[6, 8, 0], u64::MAX),
            with_number(FOUR, b"R\x08\0\0\0", u64::MAX),
            memory,
            passes,
        ] {
            assert_eq!(read(&costly, PASSPHRASE, None).unwrap_err(), ReadKdbxError::TooCostly);
        }
        let within = with_number(ARGON2, b"M\x08\0\0\0", MAX_MEMORY);
        assert!(is_affordable(&within) && is_affordable(THREE) && is_affordable(FOUR) && is_affordable(&[]));
    }

    #[test]
    fn damaged_and_other_files_are_refused() {
        for other in [&b""[..], b"PK\x03\x04", &MAGIC[..3]] {
            assert_eq!(read(other, PASSPHRASE, None).unwrap_err(), ReadKdbxError::NotKdbx);
        }
        let old = [&MAGIC[..], &0xb54b_fb65_u32.to_le_bytes(), &[0; 200]].concat();
        assert!(read(&old, PASSPHRASE, None).is_err());
        for at in (4..ARGON2.len()).step_by(5) {
            let mut bytes = ARGON2.to_vec();
            bytes[at] ^= 0x41;
            // Padding and comments are not checked by the format.
            if let Ok(table) = read(&bytes, PASSPHRASE, Some(KEY_FILE)) {
                assert!(!table.credentials.is_empty(), "byte {at}");
            }
            assert!(read(&ARGON2[..at], PASSPHRASE, Some(KEY_FILE)).is_err(), "cut at {at}");
        }
        for at in (12..THREE.len()).step_by(THREE.len() / 12) {
            assert!(read(&THREE[..at], PASSPHRASE, None).is_err(), "cut at {at}");
        }
    }
}
