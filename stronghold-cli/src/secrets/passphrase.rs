//! Reads passphrases: one line of text in one Unicode form, whatever system it was typed on and
//! whatever program saved it.

use std::path::Path;

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::generate::{Recipe, WORD_COUNT};
use super::strength;
use crate::{
    error::{Failure, shown},
    input, terminal,
};

/// Maximum length of a passphrase, in bytes.
const MAX_PASSPHRASE: usize = 4096;
/// Number of bytes read to find the first line: enough for the longest passphrase in UTF-16.
const MAX_LINE: usize = 4 * MAX_PASSPHRASE;

/// A passphrase in its Unicode form, and as its exact bytes if they differ.
#[derive(Debug)]
pub(super) struct Passphrase {
    /// Normalization form C, if the passphrase is UTF-8.
    pub(super) text: Zeroizing<Vec<u8>>,
    pub(super) exact: Option<Zeroizing<Vec<u8>>>,
}

/// Reason why bytes are not a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unusable {
    Empty,
    TooLong,
    Nul,
    BrokenUtf16,
}

impl Passphrase {
    /// Reads the first line of a file.
    pub(super) fn from_file(path: &Path) -> Result<Self, Failure> {
        let bytes = input::line(path, MAX_LINE)?;
        first_line(&bytes).and_then(|line| Self::of(&line)).map_err(|reason| reason.failure(Some(path)))
    }

    /// Returns the exact bytes.
    pub(super) fn into_exact(self) -> Zeroizing<Vec<u8>> {
        self.exact.unwrap_or(self.text)
    }

    /// Reads a passphrase from the terminal.
    pub(super) fn typed(prompt: &str) -> Result<Self, Failure> {
        let line = terminal::hidden(prompt, MAX_PASSPHRASE)?;
        Self::of(&line).map_err(|reason| reason.failure(None))
    }

    /// Reads a new passphrase from the terminal, twice, and tells how strong it is. An empty line
    /// asks for a generated one.
    pub(super) fn typed_new(prompt: &str) -> Result<Self, Failure> {
        loop {
            let line = terminal::hidden(prompt, MAX_PASSPHRASE)?;
            if line.is_empty() {
                match Self::generated()? {
                    Some(generated) => return Ok(generated),
                    None => continue,
                }
            }
            let first = Self::of(&line).map_err(|reason| reason.failure(None))?;
            terminal::tell(&strength::told(&first.text))?;
            let second = terminal::hidden("Once more: ", MAX_PASSPHRASE)?;
            if Self::of(&second).ok().is_none_or(|second| second.text != first.text) {
                return Err(Failure::usage("the two passphrases differ", "nothing was changed; try again"));
            }
            return Ok(first);
        }
    }

    /// Shows a generated passphrase. Returns `None` if the person does not take it.
    fn generated() -> Result<Option<Self>, Failure> {
        let words = Recipe::Words(WORD_COUNT).generate()?;
        terminal::tell(&format!("{}\nWrite it down: nobody can open the file without it.", *words))?;
        let answer = terminal::line("Is it written down? [y/N] ")?.ok_or_else(terminal::ended)?;
        if !terminal::is_yes(answer.as_bytes()) {
            return Ok(None);
        }
        Self::of(words.as_bytes()).map(Some).map_err(|reason| reason.failure(None))
    }

    fn of(line: &[u8]) -> Result<Self, Unusable> {
        match line {
            [] => return Err(Unusable::Empty),
            _ if line.len() > MAX_PASSPHRASE => return Err(Unusable::TooLong),
            _ if line.contains(&0) => return Err(Unusable::Nul),
            _ => {}
        }
        let exact = Zeroizing::new(line.to_vec());
        let Ok(text) = std::str::from_utf8(line) else { return Ok(Self { text: exact, exact: None }) };
        // Composing makes a text at most three times as long, so the buffer never grows and leaves
        // no copy behind.
        let mut composed = Zeroizing::new(String::with_capacity(3 * line.len()));
        composed.extend(text.nfc());
        let text = Zeroizing::new(composed.as_bytes().to_vec());
        let is_other = text != exact;
        Ok(Self { text, exact: is_other.then_some(exact) })
    }
}

/// Returns the first line without its end. A byte order mark selects the encoding and is not part
/// of the line.
fn first_line(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let line = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16_line(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16_line(rest, u16::from_be_bytes)?,
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            Zeroizing::new(line.to_vec())
        }
    };
    Ok(match line.strip_suffix(b"\r") {
        Some(shorter) => Zeroizing::new(shorter.to_vec()),
        None => line,
    })
}

fn utf16_line(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    let line = units.clone().take_while(|unit| *unit != u16::from(b'\n'));
    if !rest.is_empty() && line.clone().count() == pairs.len() {
        // Without a line end, the last character is incomplete.
        return Err(if bytes.len() >= MAX_LINE - 2 { Unusable::TooLong } else { Unusable::BrokenUtf16 });
    }
    let mut text = Zeroizing::new(String::with_capacity(3 * pairs.len()));
    for letter in char::decode_utf16(line) {
        text.push(letter.map_err(|_| Unusable::BrokenUtf16)?);
    }
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

impl Unusable {
    fn failure(self, path: Option<&Path>) -> Failure {
        let from = path.map(|path| format!("{}: ", shown(path))).unwrap_or_default();
        let (what, hint) = match self {
            Self::Empty => ("the passphrase is empty".into(), "give one"),
            Self::TooLong => (
                format!("the passphrase is too long: at most {MAX_PASSPHRASE} bytes on one line"),
                "is it the right file?",
            ),
            Self::Nul => (
                "the passphrase has a NUL character in it".into(),
                "is it the right file? Save it as UTF-8; UTF-16 is read if it begins with a byte order mark",
            ),
            Self::BrokenUtf16 => ("it begins as UTF-16 and does not go on so".into(), "save it as UTF-8"),
        };
        Failure::usage(format!("{from}{what}; nothing was changed"), hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, Unusable> {
        first_line(bytes).and_then(|line| Passphrase::of(&line)).map(|passphrase| passphrase.text.to_vec())
    }

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(to_bytes).collect()
    }

    #[test]
    fn a_line_is_the_same_from_every_program() {
        for text in ["plain", "pässwörd", "鍵 🗝", "ਅ \u{a0a}", " blanks at the ends "] {
            let expected = Ok(text.as_bytes().to_vec());
            for end in ["", "\n", "\r\n", "\nnext line", "\r\nnext line\r\n"] {
                let saved = format!("{text}{end}");
                assert_eq!(read(saved.as_bytes()), expected);
                assert_eq!(read(format!("\u{feff}{saved}").as_bytes()), expected);
                assert_eq!(read(&utf16(&saved, u16::to_le_bytes)), expected, "{saved:?}");
                assert_eq!(read(&utf16(&saved, u16::to_be_bytes)), expected, "{saved:?}");
            }
        }
    }

    #[test]
    fn composed_and_decomposed_are_one_and_other_bytes_stay() {
        let (composed, decomposed) = ("caf\u{e9} \u{1e69}", "cafe\u{301} s\u{307}\u{323}");
        let read = Passphrase::of(decomposed.as_bytes()).unwrap();
        assert_eq!(*read.text, composed.as_bytes());
        assert_eq!(read.exact.unwrap().as_slice(), decomposed.as_bytes());
        assert!(Passphrase::of(composed.as_bytes()).unwrap().exact.is_none());
        let latin = Passphrase::of(b"caf\xe9").unwrap();
        assert!(latin.text.as_slice() == b"caf\xe9" && latin.exact.is_none());
    }

    #[test]
    fn what_is_no_line_of_text_is_refused() {
        assert_eq!(read(b""), Err(Unusable::Empty));
        assert_eq!(read(b"\xef\xbb\xbf\r\n"), Err(Unusable::Empty));
        assert_eq!(read(&[0xff, 0xfe]), Err(Unusable::Empty));
        assert_eq!(read(b"p\0w\0\n\0"), Err(Unusable::Nul));
        assert_eq!(read(&utf16("a\0b", u16::to_le_bytes)), Err(Unusable::Nul));
        assert_eq!(read(&[0xff, 0xfe, b'a', 0, b'b']), Err(Unusable::BrokenUtf16));
        assert_eq!(read(&[0xff, 0xfe, 0, 0xd8, b'b', 0]), Err(Unusable::BrokenUtf16));
        // UTF-32: its mark begins like that of UTF-16.
        assert_eq!(read(&[0xff, 0xfe, 0, 0, b'a', 0, 0, 0]), Err(Unusable::Nul));
    }

    #[test]
    fn the_longest_passphrase_and_one_over() {
        let text = "x".repeat(MAX_PASSPHRASE);
        let over = format!("{text}x");
        assert_eq!(read(text.as_bytes()), Ok(text.clone().into_bytes()));
        assert_eq!(read(over.as_bytes()), Err(Unusable::TooLong));
        assert!(utf16(&text, u16::to_le_bytes).len() < MAX_LINE);
        assert_eq!(read(&utf16(&text, u16::to_le_bytes)), Ok(text.into_bytes()));
        assert_eq!(read(&utf16(&over, u16::to_le_bytes)), Err(Unusable::TooLong));
        assert_eq!(
            read(&utf16(&"x".repeat(MAX_LINE), u16::to_le_bytes)[..=MAX_LINE]),
            Err(Unusable::TooLong)
        );
    }
}
