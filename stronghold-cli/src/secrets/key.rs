//! Reads key files: 32 raw bytes, or 64 hexadecimal digits. Text is refused, since it may be a
//! passphrase and no slow hash protects a key.

use std::path::Path;

use stronghold_vault::{LockedKey, wipe_stack};
use zeroize::Zeroizing;

use crate::{
    error::{Failure, shown},
    input,
};

/// Number of bytes read of a key file, more than any valid one has.
const MAX_KEY_FILE: usize = 1024;

/// Reason why a file is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoKey {
    Length,
    Text,
    AllAlike,
}

/// Reads a key file.
///
/// # Errors
/// [`Failure`] when the file can't be read, or is not a key.
pub(super) fn read(path: &Path) -> Result<LockedKey, Failure> {
    let bytes = input::all(path, MAX_KEY_FILE)?;
    let key = key(&bytes).map(|key| LockedKey::new(&key));
    wipe_stack();
    key.map_err(|reason| {
        let (why, hint) = match reason {
            NoKey::Length => {
                ("a key file has 32 raw bytes or 64 hexadecimal digits", "make one: head -c 32 /dev/urandom > FILE")
            }
            NoKey::Text => (
                "its 32 bytes are text, and a text is too easily guessed to be a key",
                "if it is a passphrase, say --passphrase-file; make a key file: head -c 32 /dev/urandom > FILE",
            ),
            NoKey::AllAlike => {
                ("its bytes are all alike", "make one: head -c 32 /dev/urandom > FILE")
            }
        };
        Failure::usage(format!("not a key file: {}: {why}; nothing was changed", shown(path)), hint)
    })
}

fn key(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, NoKey> {
    let raw = <[u8; 32]>::try_from(bytes).ok();
    let key = raw.or_else(|| hexadecimal(bytes)).map(Zeroizing::new).ok_or(NoKey::Length)?;
    if key.iter().all(|byte| *byte == key[0]) {
        return Err(NoKey::AllAlike);
    }
    if raw.is_some_and(|raw| is_text(&raw)) { Err(NoKey::Text) } else { Ok(key) }
}

fn hexadecimal(bytes: &[u8]) -> Option<[u8; 32]> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    stronghold_sync::hex::read(std::str::from_utf8(text).ok()?.trim())
}

/// Returns whether the bytes may be typed text, in UTF-8, UTF-16 or an older encoding. One random
/// key in a million looks like text.
fn is_text(raw: &[u8; 32]) -> bool {
    let is_control = |byte: &u8| byte.is_ascii_control() && !b"\t\r\n".contains(byte);
    let typed = raw.iter().filter(|byte| byte.is_ascii_graphic() || **byte == b' ').count();
    let utf16 = |zeros: usize| raw.iter().skip(zeros).step_by(2).all(|byte| *byte == 0);
    let no_controls = !raw.iter().any(is_control);
    no_controls && (typed >= 26 || std::str::from_utf8(raw).is_ok()) || utf16(0) || utf16(1)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn raw_bytes_and_digits_are_keys() {
        let counting: [u8; 32] = std::array::from_fn(|index| index as u8 * 7);
        assert_eq!(*key(&counting).unwrap(), counting);
        let digits = stronghold_sync::hex::text(&counting);
        for text in
            [digits.clone(), digits.to_uppercase(), format!("{digits}\r\n"), format!("\u{feff}{digits}\n")]
        {
            assert_eq!(*key(text.as_bytes()).unwrap(), counting, "{text:?}");
        }
    }

    #[test]
    fn text_is_no_key() {
        let texts: [&[u8]; 6] = [
            b"correct horse battery staple 12\n",
            b"correct horse battery staple 12\r",
            b"0123456789abcdef0123456789abcdef",
            "ключ ключ ключ ".as_bytes(),
            "鍵鍵鍵鍵鍵鍵鍵鍵鍵鍵ab".as_bytes(),
            b"Gr\xfc\xdfe aus M\xfcnchen, und noch mehr",
        ];
        for text in texts {
            let mut padded = text.to_vec();
            padded.resize(32, b'.');
            assert_eq!(key(&padded).unwrap_err(), NoKey::Text, "{:?}", String::from_utf8_lossy(text));
        }
        let utf16 =
            |unit: fn(u16) -> [u8; 2]| "sixteen letters!".encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        for bytes in [utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
            assert_eq!(key(&bytes).unwrap_err(), NoKey::Text);
        }
    }

    #[test]
    fn neither_is_what_is_all_alike_or_of_another_length() {
        for bytes in [&[0; 32][..], &[7; 32], &[b'0'; 64], "ab".repeat(32).as_bytes()] {
            assert_eq!(key(bytes).unwrap_err(), NoKey::AllAlike);
        }
        for len in [0, 1, 31, 33, 63, 65, 1025] {
            assert_eq!(key(&vec![0xf3; len]).unwrap_err(), NoKey::Length);
        }
    }

    #[test]
    fn random_keys_are_keys() {
        // Always the same ones: drawn anew, one run in some hundreds would meet a key like text.
        for seed in 0..20_000_u32 {
            let raw = Sha256::digest(seed.to_be_bytes());
            assert!(key(&raw).is_ok(), "{seed}");
        }
    }

    /// Of 32 bytes with no meaning as UTF-8, 26 that can be typed are text, 25 are a key.
    #[test]
    fn most_of_a_text_can_be_typed() {
        for (typed, is_text) in [(25, false), (26, true), (31, true)] {
            let mut raw = [b'x'; 32];
            raw[typed..].fill(0xff);
            assert_eq!(key(&raw).err(), is_text.then_some(NoKey::Text), "{typed}");
            // A control character is in no text.
            raw[0] = 0x1b;
            assert!(key(&raw).is_ok(), "{typed}");
        }
    }
}
