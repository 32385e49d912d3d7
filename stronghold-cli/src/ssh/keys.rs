//! The private keys among the records of a vault, in OpenSSH's format: Ed25519 and ECDSA on P-256.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::private::{EcdsaKeypair, EcdsaPrivateKey, KeypairData};
use ssh_key::public::EcdsaPublicKey;
use ssh_key::{Algorithm, EcdsaCurve, PrivateKey, SigningKey};
use stronghold_sync::{Location, Selection};
use stronghold_vault::{Damaged, ReadError, Stronghold};
use zeroize::Zeroizing;

use super::wire::string;

/// First line of a private key in OpenSSH's format.
const BEGIN: &[u8] = b"-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &[u8] = b"-----END OPENSSH PRIVATE KEY-----";
/// First bytes of a private key within its armor, for one key that has no passphrase.
const UNENCRYPTED: &[u8] = b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01";
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
        let key = PrivateKey::from_openssh(text).ok().or_else(|| short_p256(text)).ok_or(NoKey::Damaged)?;
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

/// Parses a key of ECDSA on P-256 whose number begins with a zero byte, as one in 512 does. OpenSSH
/// leaves that byte out, and `ssh-key` takes no number of fewer than 32 bytes.
fn short_p256(text: &[u8]) -> Option<PrivateKey> {
    let mut armored = Zeroizing::new(text.strip_prefix(BEGIN)?.strip_suffix(END)?.to_vec());
    armored.retain(|byte| !byte.is_ascii_whitespace());
    let bytes = Zeroizing::new(STANDARD.decode(&*armored).ok()?);
    let mut rest = bytes.strip_prefix(UNENCRYPTED)?;
    let (outer, mut private) = (string(&mut rest)?, string(&mut rest)?);
    let (check, again) = (private.split_off(..4)?, private.split_off(..4)?);
    let (algorithm, curve) = (string(&mut private)?, string(&mut private)?);
    let (point, number) = (string(&mut private)?, string(&mut private)?);
    let comment = std::str::from_utf8(string(&mut private)?).ok()?;
    let padded = private.len() < 8 && private.iter().zip(1..).all(|(byte, count)| *byte == count);
    let is_p256 = algorithm == b"ecdsa-sha2-nistp256" && curve == b"nistp256";
    let zeros = 32_usize.checked_sub(number.len()).filter(|zeros| *zeros > 0 && !number.is_empty())?;
    let EcdsaPublicKey::NistP256(public) = EcdsaPublicKey::from_sec1_bytes(point).ok()? else { return None };
    if !(rest.is_empty() && check == again && is_p256 && padded && number[0] < 0x80) {
        return None;
    }
    let mut scalar = Zeroizing::new([0; 32]);
    scalar[zeros..].copy_from_slice(number);
    let private = EcdsaPrivateKey::from(*scalar);
    let key = KeypairData::Ecdsa(EcdsaKeypair::NistP256 { public, private });
    let key = PrivateKey::new(key, comment).ok()?;
    (key.public_key().to_bytes().ok()? == outer).then_some(key)
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
    use super::*;

    macro_rules! key {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/it/ssh-keys/", $name)).as_slice()
        };
    }

    #[test]
    fn keys_are_told_from_other_values_and_from_keys_of_no_use() {
        for (key, public) in
            [(key!("ed"), key!("ed.pub")), (key!("ec"), key!("ec.pub")), (key!("short"), key!("short.pub"))]
        {
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

    #[test]
    fn a_short_key_is_taken_whole_or_not_at_all() {
        let armored = |bytes: &[u8]| {
            let (begin, end) = (std::str::from_utf8(BEGIN).unwrap(), std::str::from_utf8(END).unwrap());
            format!("{begin}\n{}\n{end}\n", STANDARD.encode(bytes))
        };
        let text = key!("short").trim_ascii().strip_prefix(BEGIN).unwrap().strip_suffix(END).unwrap();
        let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let whole = STANDARD.decode(text).unwrap();
        assert!(parse(armored(&whole).as_bytes()).unwrap().is_ok());
        for len in 0..whole.len() {
            let cut = parse(armored(&whole[..len]).as_bytes()).unwrap();
            assert_eq!(cut.unwrap_err(), NoKey::Damaged, "cut at {len}");
        }
        assert!(parse(armored(&[&whole[..], b"\x06"].concat()).as_bytes()).unwrap().is_err());
        // The public half is checked; the number and the comment can be any.
        let number = whole.windows(4).rposition(|bytes| bytes == [0, 0, 0, 31]).unwrap() + 4;
        let comment = number + 31 + 4;
        let free = |at: &usize| (number..number + 31).contains(at) || (comment..comment + 2).contains(at);
        for at in (0..whole.len()).filter(|at| !free(at)) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(parse(armored(&changed).as_bytes()).unwrap().is_err(), "changed at {at}");
        }
    }
}
