//! Serialization of keys, directly between the payload and locked memory.

use std::fmt;

use serde::{
    Deserializer, Serializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::locked::LockedKey;

pub(crate) fn serialize<S: Serializer>(key: &LockedKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(key.expose())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LockedKey, D::Error> {
    deserializer.deserialize_bytes(Key)
}

struct Key;

impl<'de> Visitor<'de> for Key {
    type Value = LockedKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key of 32 bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<LockedKey, E> {
        let key = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
        Ok(LockedKey::new(key))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<LockedKey, A::Error> {
        Err(A::Error::custom("a key is a byte string"))
    }
}
