//! Ids: 16 bytes for a client, a vault or a record; 32 bytes for a revision or a device.
//!
//! A location's ids are domain-separated SHA-256 hashes of its names (`DESIGN.md`, Words), so two
//! devices that chose the same names hold the same ids without ever having communicated. Ids are
//! not secret, and not a commitment that hides a name: names are encrypted content, and ids travel
//! only in an authenticated channel.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::util::hex;

/// The error for text that is not the hexadecimal form of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected {expected} hexadecimal digits")]
pub struct ParseIdError {
    expected: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            #[doc = concat!("Takes the id's ", stringify!($len), " bytes as they are.")]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            #[doc = concat!("The id's ", stringify!($len), " bytes.")]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex::write(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                hex::read(text).map(Self).ok_or(ParseIdError { expected: 2 * $len })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Bytes;
                impl de::Visitor<'_> for Bytes {
                    type Value = [u8; $len];

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!(stringify!($len), " bytes"))
                    }

                    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
                    }
                }
                deserializer.deserialize_bytes(Bytes).map(Self)
            }
        }
    };
}

id!(/** A client's id: SHA-256 of its name, cut to 16 bytes. */ ClientId, 16);
id!(/** A vault's id: SHA-256 of its client's id and its name, cut to 16 bytes. */ VaultId, 16);
id!(/** A record's id: SHA-256 of its vault's id and its name, cut to 16 bytes. */ RecordId, 16);
id!(
    /// A revision's id: SHA-256 over salt, author, parents, deletion flag, labels, time and value.
    /// A shape's hash is this id.
    RevisionId, 32
);
id!(
    /// A revision's short id: the first 8 bytes of its id, enough to find it among those of one
    /// record.
    ShortId, 8
);
id!(
    /// A stamp: 8 bytes that one session leaves in the snapshots of both its devices, derived from
    /// its channel.
    Stamp, 8
);
id!(
    /// A device's id: SHA-256 of its public key (DER SubjectPublicKeyInfo, P-256).
    DeviceId, 32
);

impl RevisionId {
    /// Returns the short id: the first 8 bytes.
    pub fn short(&self) -> ShortId {
        let mut short = [0; 8];
        short.copy_from_slice(&self.0[..8]);
        ShortId(short)
    }
}

impl ClientId {
    /// Returns the id of the client with this name.
    pub fn of(name: &str) -> Self {
        Self(named(b"stronghold/client/v1", &[], name))
    }
}

impl VaultId {
    /// Returns the id of the vault with this name in a client.
    pub fn of(client: ClientId, name: &str) -> Self {
        Self(named(b"stronghold/vault/v1", &client.0, name))
    }
}

impl RecordId {
    /// Returns the id of the record with this name in a vault.
    pub fn of(vault: VaultId, name: &str) -> Self {
        Self(named(b"stronghold/record/v1", &vault.0, name))
    }
}

impl DeviceId {
    /// Returns the id of the device with this public key, a DER `SubjectPublicKeyInfo`.
    pub fn of_spki(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// Returns the first 8 bytes in groups of four digits, for comparison on two screens.
    pub fn fingerprint(&self) -> alloc::string::String {
        let mut text = alloc::string::String::new();
        for (index, byte) in self.0[..8].iter().enumerate() {
            if index > 0 && index % 2 == 0 {
                text.push('-');
            }
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        }
        text
    }
}

/// The ids of a location, which a shape carries in place of names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LocationId {
    /// The client that the record belongs to.
    pub client: ClientId,
    /// The vault within the client.
    pub vault: VaultId,
    /// The record within the vault.
    pub record: RecordId,
}

fn named(domain: &[u8], parent: &[u8], name: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update([domain.len() as u8]);
    hash.update(domain);
    hash.update(parent);
    hash.update(name.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    #[test]
    fn ids_of_names_are_the_same_on_every_device() {
        let client = ClientId::of("wallet");
        let vault = VaultId::of(client, "web");
        assert_eq!(client.to_string(), "88c3bda5307ef65759094f03789160de");
        assert_eq!(vault.to_string(), "2e8317851aa8355349a7fa0e6145320d");
        assert_eq!(RecordId::of(vault, "mail").to_string(), "f38cd471640ec8ce6745a1c77d4a74ca");
        let device = "6feecc8c16c5551d9feb3eb5f77e2da773bf68bd9ef9c52927ceb2c86e56892b";
        assert_eq!(DeviceId::of_spki(b"spki").to_string(), device);
    }

    #[test]
    fn an_id_is_shown_as_digits_and_read_from_as_many() {
        let mut bytes = [0x11; 32];
        bytes[..9].copy_from_slice(&[0x0a, 0xb1, 0xc2, 0xd3, 0xe4, 0xf5, 0x06, 0x17, 0x28]);
        let device = DeviceId::from_bytes(bytes);
        assert_eq!(device.fingerprint(), "0ab1-c2d3-e4f5-0617");
        assert_eq!(RevisionId::from_bytes(bytes).short().to_string(), "0ab1c2d3e4f50617");
        let text = device.to_string();
        assert_eq!(format!("{device:?}"), format!("DeviceId({text})"));
        assert_eq!((text.len(), text.parse()), (64, Ok(device)));
        let error = text[1..].parse::<DeviceId>().unwrap_err();
        assert_eq!(error.to_string(), "not an id: expected 64 hexadecimal digits");
        let encoded = rmp_serde::to_vec(&device).unwrap();
        assert_eq!(rmp_serde::from_slice::<DeviceId>(&encoded).unwrap(), device);
        assert!(rmp_serde::from_slice::<ShortId>(&encoded).is_err() && encoded.len() == 34);
    }
}
