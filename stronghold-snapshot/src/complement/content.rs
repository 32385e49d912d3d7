//! The content of a complement: entries that name their authors and vaults by index, since most
//! have them in common.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use stronghold_sync::session::BATCH_ENTRIES;
use stronghold_sync::{Ancestors, DeviceId, Location, Timestamp};
use stronghold_vault::encoding::{decode, encode_after};
use stronghold_vault::{DecodeError, EncodeError, Entry, Labels, Revision, secret_bytes};
use zeroize::Zeroizing;

use super::Manifest;

/// The content in its encoded form: a manifest, the devices and vaults that entries name, and the
/// entries.
#[derive(Serialize)]
struct ContentRef<'a>(&'a Manifest, Vec<DeviceId>, Vec<(&'a str, &'a str)>, Vec<EntryRef<'a>>);

/// An entry in its encoded form.
#[derive(Serialize)]
struct EntryRef<'a> {
    vault: usize,
    record: &'a str,
    #[serde(with = "serde_bytes")]
    salt: &'a [u8; 32],
    author: usize,
    ancestors: &'a Ancestors,
    deleted: bool,
    labels: &'a Labels,
    time: Timestamp,
    #[serde(with = "serde_bytes")]
    value: &'a [u8],
}

#[derive(Deserialize)]
struct Content(Manifest, Vec<DeviceId>, Vec<(String, String)>, Entries);

#[derive(Deserialize)]
struct StoredEntry {
    vault: usize,
    record: String,
    #[serde(with = "serde_bytes")]
    salt: [u8; 32],
    author: usize,
    ancestors: Ancestors,
    deleted: bool,
    labels: Labels,
    time: Timestamp,
    #[serde(with = "secret_bytes")]
    value: Zeroizing<Vec<u8>>,
}

/// At most [`BATCH_ENTRIES`] entries: each takes more memory than it has bytes, for the names that
/// it shares with others.
struct Entries(Vec<StoredEntry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {BATCH_ENTRIES} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if entries.len() == BATCH_ENTRIES {
                        return Err(de::Error::invalid_length(BATCH_ENTRIES + 1, &self));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// Encodes a manifest and entries behind this many zeros.
///
/// # Errors
/// [`EncodeError`] if there are more than [`BATCH_ENTRIES`].
pub(super) fn encode(
    zeros: usize,
    manifest: &Manifest,
    entries: &[Entry],
) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    if entries.len() > BATCH_ENTRIES {
        return Err(EncodeError);
    }
    let (mut authors, mut vaults) = (Table::default(), Table::default());
    let mut listed = Vec::with_capacity(entries.len());
    for Entry { location, revision } in entries {
        listed.push(EntryRef {
            vault: vaults.index((location.client(), location.vault())),
            record: location.record(),
            salt: &revision.salt,
            author: authors.index(revision.author),
            ancestors: &revision.ancestors,
            deleted: revision.deleted,
            labels: &revision.labels,
            time: revision.time,
            value: &revision.value,
        });
    }
    encode_after(zeros, &ContentRef(manifest, authors.items, vaults.items, listed))
}

/// Decodes what [`encode`] encoded.
///
/// # Errors
/// [`DecodeError`], also if an entry names an author or a vault that is not in the lists, or has a
/// name that no record can have.
pub(super) fn parse(content: &[u8]) -> Result<(Manifest, Vec<Entry>), DecodeError> {
    let Content(manifest, authors, vaults, Entries(listed)) = decode(content)?;
    let entry = |stored: StoredEntry| {
        let (client, vault) = vaults.get(stored.vault).ok_or(DecodeError)?;
        let author = *authors.get(stored.author).ok_or(DecodeError)?;
        let location = Location::new(client, vault, stored.record).map_err(|_| DecodeError)?;
        let StoredEntry { salt, ancestors, deleted, labels, time, value, .. } = stored;
        Ok(Entry { location, revision: Revision { salt, author, ancestors, deleted, labels, time, value } })
    };
    let entries = listed.into_iter().map(entry).collect::<Result<Vec<Entry>, DecodeError>>()?;
    Ok((manifest, entries))
}

/// Items in the order in which they came first.
struct Table<T> {
    items: Vec<T>,
    indices: BTreeMap<T, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { items: Vec::new(), indices: BTreeMap::new() }
    }
}

impl<T: Ord + Copy> Table<T> {
    fn index(&mut self, item: T) -> usize {
        let Self { items, indices } = self;
        *indices.entry(item).or_insert_with(|| {
            items.push(item);
            items.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_bytes::Bytes;

    use super::*;

    fn manifest() -> Manifest {
        let [sender, receiver] = [1, 2].map(|byte| DeviceId::from_bytes([byte; 32]));
        Manifest { sender, receiver, request: [3; 32], index: 0 }
    }

    fn entry(location: &str, author: u8) -> Entry {
        let revision = Revision {
            salt: [1; 32],
            author: DeviceId::from_bytes([author; 32]),
            ancestors: Ancestors::default(),
            deleted: false,
            labels: Labels::from([("from".to_owned(), "csv".to_owned())]),
            time: Timestamp::from_millis(1),
            value: b"hunter2".to_vec().into(),
        };
        Entry { location: location.parse().unwrap(), revision }
    }

    #[test]
    fn entries_come_back_and_name_authors_and_vaults_once() {
        let entries = [("a/b/c", 1), ("a/b/d", 2), ("a/e/c", 1), ("b/b/c", 2), ("a/b/c", 3)]
            .map(|(location, author)| entry(location, author));
        let encoded = encode(0, &manifest(), &entries).unwrap();
        assert_eq!(parse(&encoded).unwrap(), (manifest(), entries.to_vec()));
        let times = |bytes: [u8; 32]| encoded.windows(32).filter(|window| **window == bytes).count();
        assert_eq!((times([2; 32]), times([3; 32])), (2, 2), "once more in the manifest");
        let nobody = encode(5, &manifest(), &[]).unwrap();
        assert_eq!(parse(&nobody[5..]).unwrap(), (manifest(), Vec::new()));
    }

    #[test]
    fn what_no_device_could_have_encoded_is_refused() {
        let stored = |vault: u64, record: &str, author: u64, salt: &[u8]| {
            let (device, value) = ([7; 32], b"value");
            let entry = (
                vault,
                record,
                Bytes::new(salt),
                author,
                Ancestors::default(),
                false,
                Labels::new(),
                1,
                Bytes::new(value),
            );
            let content = (manifest(), [Bytes::new(&device)], [("a", "b"), ("a", ""), ("a/b", "c")], [entry]);
            parse(&rmp_serde::to_vec(&content).unwrap()).map(|(_, entries)| entries.len())
        };
        assert_eq!(stored(0, "r", 0, &[1; 32]), Ok(1));
        assert_eq!(stored(3, "r", 0, &[1; 32]), Err(DecodeError), "no such vault");
        assert_eq!(stored(u64::MAX, "r", 0, &[1; 32]), Err(DecodeError));
        assert_eq!(stored(0, "r", 1, &[1; 32]), Err(DecodeError), "no such author");
        assert_eq!(stored(1, "r", 0, &[1; 32]), Err(DecodeError), "a vault without a name");
        assert_eq!(stored(0, "", 0, &[1; 32]), Err(DecodeError));
        assert_eq!(stored(2, "r", 0, &[1; 32]), Err(DecodeError), "a client with a slash in its name");
        assert_eq!(stored(0, "r", 0, &[1; 31]), Err(DecodeError));
    }

    #[test]
    fn there_are_at_most_as_many_entries_as_a_batch_has() {
        let many = vec![entry("a/b/c", 1); BATCH_ENTRIES + 1];
        assert!(encode(0, &manifest(), &many).is_err());
        let most = encode(0, &manifest(), &many[1..]).unwrap();
        assert_eq!(parse(&most).unwrap().1.len(), BATCH_ENTRIES);
        let (front, entries) = most.split_at(most.len() - (BATCH_ENTRIES * ENTRY + 3));
        assert_eq!(entries[..3], [0xdc, 0x03, 0xe8]);
        let more = [front, &[0xdc, 0x03, 0xe9], &entries[3..], &entries[3..][..ENTRY]].concat();
        assert_eq!(parse(&more), Err(DecodeError));
    }

    /// Length of an encoded entry of the tests, in bytes.
    const ENTRY: usize = 1 + 1 + 2 + 34 + 1 + 2 + 1 + 10 + 1 + 9;
}
