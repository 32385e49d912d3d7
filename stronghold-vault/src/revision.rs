//! Revisions: immutable versions of a record, each with an id that commits to all of it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stronghold_sync::{Ancestors, DeviceId, EntryId, Location, RevisionId, Shape, Timestamp, padme_len};
use zeroize::Zeroizing;

/// Maximum length of a value, in bytes: a record is a secret, not a disk image.
pub const MAX_VALUE: usize = 4 << 20;
/// Maximum total size of a revision's labels, names and texts together, in bytes.
pub const MAX_LABELS: usize = 4096;

/// Short named texts on a revision, such as its import source.
pub type Labels = BTreeMap<String, String>;

/// One immutable version of a record, decrypted: the form in which it is written, read, and carried
/// inside a sealed complement.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// 32 random bytes. They keep anyone without the value from testing guesses against the id.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; 32],
    /// The device that wrote the revision, as that device claims. It helps people judge a conflict;
    /// no decision depends on it.
    pub author: DeviceId,
    /// The revisions that this one replaced. The id covers only the parents.
    pub ancestors: Ancestors,
    /// Set for a deletion, whose value is empty.
    pub deleted: bool,
    /// Short named texts.
    pub labels: Labels,
    /// Time of writing, in milliseconds since 1970. For display only; no decision depends on it.
    pub time: Timestamp,
    /// The secret.
    #[serde(with = "secret_bytes")]
    pub value: Zeroizing<Vec<u8>>,
}

/// A revision with its location: the item that a complement carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Names of the record.
    pub location: Location,
    /// The record's revision.
    pub revision: Revision,
}

impl Revision {
    /// Computes the id: SHA-256 over salt, author, parents, deletion flag, labels, time and value,
    /// each length-prefixed.
    pub fn id(&self) -> RevisionId {
        let mut hash = Sha256::new();
        let part = |hash: &mut Sha256, bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(&mut hash, b"stronghold/revision/v1");
        part(&mut hash, &self.salt);
        part(&mut hash, self.author.as_bytes());
        let parents = self.ancestors.parents();
        hash.update((8 * parents.len() as u64).to_le_bytes());
        parents.iter().for_each(|id| hash.update(id.as_bytes()));
        part(&mut hash, &[u8::from(self.deleted)]);
        part(&mut hash, &(self.labels.len() as u64).to_le_bytes());
        for (name, text) in &self.labels {
            part(&mut hash, name.as_bytes());
            part(&mut hash, text.as_bytes());
        }
        part(&mut hash, &self.time.as_millis().to_le_bytes());
        part(&mut hash, &self.value);
        RevisionId::from_bytes(hash.finalize().into())
    }

    /// Returns the shape that describes this revision to peers; `entry` holds its computed ids.
    pub fn shape(&self, entry: &EntryId) -> Shape {
        Shape {
            location: entry.location,
            revision: entry.revision,
            ancestors: self.ancestors.clone(),
            size: padme_len((encode_labels(&self.labels).len() + self.value.len()) as u64),
            deleted: self.deleted,
        }
    }

    /// Checks whether value and labels are within their limits and a deletion is empty.
    pub fn is_within_limits(&self) -> bool {
        self.value.len() <= MAX_VALUE
            && self.labels.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>() <= MAX_LABELS
            && (!self.deleted || self.value.is_empty())
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revision")
            .field("ancestors", &self.ancestors)
            .field("deleted", &self.deleted)
            .field("time", &self.time)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .finish_non_exhaustive()
    }
}

/// Encodes labels: name and text in turn, each prefixed with its length in two bytes.
pub(crate) fn encode_labels(labels: &Labels) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, text)| [name, text]) {
        // Labels total at most `MAX_LABELS` bytes, so each length fits two bytes.
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

pub(crate) fn decode_labels(mut bytes: &[u8]) -> Option<Labels> {
    let mut labels = Labels::new();
    while !bytes.is_empty() {
        let name = take_text(&mut bytes)?;
        labels.insert(name, take_text(&mut bytes)?);
    }
    Some(labels)
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// Encodes zeroized bytes as one byte string, for `#[serde(with = ...)]`.
pub mod secret_bytes {
    use serde::{Deserializer, Serializer};
    use zeroize::Zeroizing;

    /// Serializes the bytes.
    ///
    /// # Errors
    /// The serializer's errors.
    pub fn serialize<S: Serializer>(value: &Zeroizing<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(value)
    }

    /// Deserializes bytes into memory that is zeroized when dropped.
    ///
    /// # Errors
    /// The deserializer's errors.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        serde_bytes::deserialize::<Vec<u8>, D>(deserializer).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision() -> Revision {
        Revision {
            salt: [1; 32],
            author: DeviceId::from_bytes([2; 32]),
            ancestors: Ancestors::default(),
            deleted: false,
            labels: Labels::new(),
            time: Timestamp::from_millis(5),
            value: Zeroizing::new(b"secret".to_vec()),
        }
    }

    #[test]
    fn the_id_commits_to_every_part() {
        let base = revision();
        let label = |name: &str, text: &str| Labels::from([(name.to_owned(), text.to_owned())]);
        let ancestors = Ancestors::from_newest_first(vec![base.id()]).unwrap();
        let others = [
            Revision { salt: [2; 32], ..base.clone() },
            Revision { author: DeviceId::from_bytes([3; 32]), ..base.clone() },
            Revision { ancestors, ..base.clone() },
            Revision { deleted: true, ..base.clone() },
            Revision { labels: label("ab", "c"), ..base.clone() },
            Revision { labels: label("a", "bc"), ..base.clone() },
            Revision { time: Timestamp::from_millis(6), ..base.clone() },
            Revision { value: Zeroizing::new(b"secreT".to_vec()), ..base.clone() },
        ];
        let mut ids: Vec<RevisionId> = others.iter().map(Revision::id).collect();
        ids.push(base.id());
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 9);
        let line = |len| {
            Ancestors::from_newest_first(
                vec![base.id(); 1].into_iter().chain(ids[..len].iter().copied()).collect(),
            )
        };
        let with = |len| Revision { ancestors: line(len).unwrap(), ..base.clone() }.id();
        assert_eq!(with(0), with(3), "but to what the parents had replaced");
    }

    #[test]
    fn the_id_is_the_one_of_the_vector() {
        assert_eq!(
            revision().id().to_string(),
            "1146739149aad4038008b08122ea877a9c1a6b2b36f79d725a52955f6d528116"
        );
    }

    #[test]
    fn value_and_labels_are_within_their_limits_and_a_deletion_is_empty() {
        let with = |value: usize, name: usize, text: usize, deleted| {
            let labels =
                Labels::from([("n".repeat(name), "t".repeat(text)), ("m".to_owned(), String::new())]);
            Revision { value: vec![0; value].into(), labels, deleted, ..revision() }.is_within_limits()
        };
        for (value, name, text, deleted, expected) in [
            (MAX_VALUE, 1, 1, false, true),
            (MAX_VALUE + 1, 1, 1, false, false),
            (0, 95, MAX_LABELS - 96, false, true),
            (0, 96, MAX_LABELS - 96, false, false),
            (0, 1, 1, true, true),
            (1, 1, 1, true, false),
        ] {
            assert_eq!(with(value, name, text, deleted), expected, "{value} {name} {text} {deleted}");
        }
    }

    #[test]
    fn labels_come_back_from_their_bytes_and_cut_ones_are_none() {
        let labels = Labels::from([("a".to_owned(), "mö".to_owned()), ("bc".to_owned(), String::new())]);
        let bytes = encode_labels(&labels);
        assert_eq!(bytes, b"\x01\0a\x03\0m\xc3\xb6\x02\0bc\0\0");
        assert_eq!(decode_labels(&bytes), Some(labels));
        let whole: Vec<usize> =
            (0..bytes.len()).filter(|end| decode_labels(&bytes[..*end]).is_some()).collect();
        assert_eq!(whole, [0, 8]);
        assert_eq!(decode_labels(b"\x01\0\xff\0\0"), None, "no text");
        let long = Labels::from([("n".repeat(300), "t".repeat(3000))]);
        assert_eq!(decode_labels(&encode_labels(&long)), Some(long));
    }

    #[test]
    fn a_shape_tells_of_a_revision_what_is_no_content() {
        let ancestors = Ancestors::from_newest_first(vec![revision().id()]).unwrap();
        let labels = Labels::from([("ab".to_owned(), "cde".to_owned())]);
        let told =
            Revision { ancestors: ancestors.clone(), labels, value: vec![0; 1000].into(), ..revision() };
        let location = "c/v/r".parse::<Location>().unwrap().id();
        let entry = EntryId { location, revision: told.id() };
        let size = padme_len(1009);
        let shape = Shape { location, revision: told.id(), ancestors, size, deleted: false };
        assert_eq!(told.shape(&entry), shape);
        let deletion = Revision { deleted: true, value: Vec::new().into(), ..told };
        assert_eq!(deletion.shape(&entry), Shape { size: padme_len(9), deleted: true, ..shape });
    }

    #[test]
    fn debug_shows_no_value() {
        assert!(!format!("{:?}", revision()).contains("secret"));
    }
}
