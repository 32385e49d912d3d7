//! Hexadecimal text, the form of ids and other bytes on screen and in JSON.

use alloc::string::String;
use core::fmt::{self, Write};

/// Writes bytes as lower-case hexadecimal.
pub(crate) fn write(bytes: &[u8], f: &mut impl Write) -> fmt::Result {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    let mut digits = [0; 64];
    bytes.chunks(digits.len() / 2).try_for_each(|bytes| {
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
        f.write_str(core::str::from_utf8(&digits[..2 * bytes.len()]).map_err(|_| fmt::Error)?)
    })
}

/// Returns bytes as lower-case hexadecimal.
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    let _ = write(bytes, &mut text); // a string takes everything
    text
}

/// Parses exactly `N` bytes, in either case; returns `None` for any other length or character.
pub fn read<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_lower_case_and_read_in_either() {
        let bytes = [0x00, 0x09, 0x0a, 0x0f, 0x90, 0xa0, 0xf0, 0xff];
        assert_eq!(text(&bytes), "00090a0f90a0f0ff");
        assert_eq!(read("00090a0f90a0f0ff"), Some(bytes));
        assert_eq!(read("00090A0F90A0F0FF"), Some(bytes));
        assert_eq!((text(&[]).as_str(), read("")), ("", Some([])));
        for other in ["0", "00", "0000", "000", "0g", "g0", "/0", ":0", "@0", "G0", "`0", "0 ", "\u{e9}"] {
            assert_eq!(read::<1>(other).is_some(), other == "00", "{other}");
        }
    }
}
