//! The stored form of a record: its name, its heads and its history.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
    ser::SerializeSeq,
};
use stronghold_sync::MAX_RECORD_NAME;

use super::{More, Record, SealedRevision};

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Heads<'a>(&'a Record);
        impl Serialize for Heads<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut seq = serializer.serialize_seq(Some(self.0.head_count()))?;
                self.0.heads().try_for_each(|head| seq.serialize_element(head))?;
                seq.end()
            }
        }
        (&self.name, Heads(self), self.history()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, Heads(head, heads), history) = Deserialize::deserialize(deserializer)?;
        Self::from_parts(name, head, More { heads, history }).map_err(de::Error::custom)
    }
}

/// The first head and the others, decoded without a list of them.
struct Heads(SealedRevision, Vec<SealedRevision>);

impl<'de> Deserialize<'de> for Heads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Heads;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("at least one head")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Heads, A::Error> {
                let first = list.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let mut others = Vec::new();
                while let Some(head) = list.next_element()? {
                    others.push(head);
                }
                Ok(Heads(first, others))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// A stored record that no valid Stronghold could have written.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a record without a name, or with heads out of order")]
pub(super) struct DecodeRecordError;

impl Record {
    pub(super) fn from_parts(
        name: Box<str>,
        head: SealedRevision,
        more: More,
    ) -> Result<Self, DecodeRecordError> {
        let mut record = Self { name, head, more: None };
        record.set_more(more);
        let well_formed = (1..=MAX_RECORD_NAME).contains(&record.name.len())
            && record.heads().is_sorted_by(|one, next| one.id < next.id)
            && record.heads().all(|head| head.ages().fit(head.ancestors()));
        well_formed.then_some(record).ok_or(DecodeRecordError)
    }
}
