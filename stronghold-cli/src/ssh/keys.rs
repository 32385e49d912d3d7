//! The private keys among the records of a vault, in OpenSSH's format: Ed25519 and ECDSA on P-256.

use ssh_key::{Algorithm, EcdsaCurve, PrivateKey, SigningKey};
use stronghold_sync::{Location, Selection};
use stronghold_vault::{Damaged, ReadError, Stronghold};

/// First line of a private key in OpenSSH's format.
const BEGIN: &[u8] = b"-----BEGIN OPENSSH PRIVATE KEY-----";
/// Maximum size of a record that may be such a key, with its labels, in bytes.
const MAX_KEY: u64 = 8 << 10;

/// A private key, wiped when it is dropped.
pub(crate) struct Key {
    /// Name of its record.
    pub(crate) location: Location,
    /// Public half, as SSH encodes it.
    pub(crate) public: Vec<u8>,
    private: PrivateKey,
}

/// Reason why a private key can't sign here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoKey {
    #[error("it has a passphrase of its own; `ssh-keygen -p` removes it")]
    Encrypted,
    #[error("it is neither an Ed25519 key nor one of ECDSA on P-256")]
    Algorithm,
    #[error("it is damaged")]
    Damaged,
}

/// Keys, and the records that are keys of no use here.
pub(crate) type Keys = (Vec<Key>, Vec<(Location, NoKey)>);

/// Returns the private keys among the records of a selection, and those that can't be used.
///
/// # Errors
/// [`Damaged`] when a record can't be read.
pub(crate) fn keys(stronghold: &Stronghold, selection: &Selection) -> Result<Keys, Damaged> {
    let (mut found, mut unusable) = (Vec::new(), Vec::new());
    for listed in stronghold.list(selection) {
        let listed = listed?;
        if listed.size > MAX_KEY {
            continue;
        }
        let read = match stronghold.read(&listed.location) {
            Ok(read) => read,
            Err(ReadError::Damaged(error)) => return Err(error),
            Err(_) => continue,
        };
        match parse(&read.revision.value) {
            Some(Ok((private, public))) => found.push(Key { location: listed.location, public, private }),
            Some(Err(why)) => unusable.push((listed.location, why)),
            None => {}
        }
    }
    Ok((found, unusable))
}

/// Parses a private key with its public half. Returns `None` for what is no such key.
fn parse(value: &[u8]) -> Option<Result<(PrivateKey, Vec<u8>), NoKey>> {
    let text = value.trim_ascii();
    if !text.starts_with(BEGIN) {
        return None;
    }
    let parsed = || {
        let key = PrivateKey::from_openssh(text).map_err(|_| NoKey::Damaged)?;
        match key.public_key().algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => {}
            _ => return Err(NoKey::Algorithm),
        }
        if key.is_encrypted() {
            return Err(NoKey::Encrypted);
        }
        let public = key.public_key().to_bytes().map_err(|_| NoKey::Damaged)?;
        Ok((key, public))
    };
    Some(parsed())
}

impl Key {
    /// Signs data. Returns the signature as SSH encodes it, or `None` if the key can't sign.
    pub(crate) fn sign(&self, data: &[u8]) -> Option<Vec<u8>> {
        signed(&self.private, data)
    }
}

fn signed(key: &impl SigningKey, data: &[u8]) -> Option<Vec<u8>> {
    key.try_sign(data).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    macro_rules! key {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/it/ssh-keys/", $name)).as_slice()
        };
    }

    #[test]
    fn keys_are_told_from_other_values_and_from_keys_of_no_use() {
        for (key, public) in [(key!("ed"), key!("ed.pub")), (key!("ec"), key!("ec.pub"))] {
            let (private, found) = parse(key).unwrap().unwrap();
            let text = std::str::from_utf8(public).unwrap();
            assert_eq!(STANDARD.encode(&found), text.split(' ').nth(1).unwrap());
            let signature = signed(&private, b"data").unwrap();
            let algorithm = text.split(' ').next().unwrap().as_bytes();
            assert_eq!(&signature[4..4 + algorithm.len()], algorithm);
            let padded = [b"\n", key, b"\r\n"].concat();
            assert_eq!(parse(&padded).unwrap().unwrap().1, found);
        }
        for (key, why) in [
            (key!("sealed"), NoKey::Encrypted),
            (key!("p384"), NoKey::Algorithm),
            (&key!("ed")[..100], NoKey::Damaged),
            (BEGIN, NoKey::Damaged),
        ] {
            assert_eq!(parse(key).unwrap().unwrap_err(), why);
        }
        for other in [&b""[..], b"password", key!("ed.pub"), b"-----BEGIN PRIVATE KEY-----"] {
            assert!(parse(other).is_none());
        }
    }
}
