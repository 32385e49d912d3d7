//! Holds the pairing code: 80 random bits that a person carries from one screen to the other.
//!
//! The text is 16 characters of Crockford's base 32 (<https://www.crockford.com/base32.html>) in
//! four groups, and a check character: `XXXX-XXXX-XXXX-XXXX-X`. Parsing accepts either case, dashes
//! and spaces anywhere, `O` for `0`, and `I` and `L` for `1`. The 17 characters form a code word
//! over the field of 32 elements, and no two code words differ by one character or by two that
//! changed places. Parsing can therefore tell a typing error from a wrong code. (Crockford's own
//! check, modulo 37, needs characters such as `~` and `$`.)

use std::{fmt, str::FromStr};

use stronghold_vault::{RandomnessError, fill_random};
use zeroize::Zeroizing;

/// A code for one pairing. It is wiped when dropped, and `Debug` hides it. The side that shows it
/// can copy it into an [`Invitation`](crate::Invitation); it has no other public copy.
pub struct PairingCode(Zeroizing<[u8; BYTES]>);

impl PairingCode {
    /// Creates a code from the system's random bytes.
    ///
    /// # Errors
    /// [`RandomnessError`] when the system has no randomness.
    pub fn generate() -> Result<Self, RandomnessError> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        fill_random(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// Returns the text to show: 16 characters in four groups and the check character, joined by
    /// dashes.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(CHARACTERS + 5));
        for place in 0..CHARACTERS {
            text.push(char::from(ALPHABET[self.digit(place)]));
            if place % 4 == 3 {
                text.push('-');
            }
        }
        text.push(char::from(ALPHABET[self.check()]));
        text
    }

    /// Returns the five bits of the check character.
    fn check(&self) -> usize {
        doubled((0..CHARACTERS).fold(0, |sum, place| doubled(sum) ^ self.digit(place)))
    }

    /// Copies the code for display; the original is the one that pairing uses up.
    pub(crate) fn copy(&self) -> Self {
        Self(self.0.clone())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Returns the five bits at a place, most significant first; they lie in one byte or two.
    fn digit(&self, place: usize) -> usize {
        let bit = place * 5;
        let pair = [self.0[bit / 8], *self.0.get(bit / 8 + 1).unwrap_or(&0)];
        usize::from(u16::from_be_bytes(pair) >> (11 - bit % 8) & 31)
    }

    fn set_digit(&mut self, place: usize, digit: usize) {
        let bit = place * 5;
        let [high, low] = ((digit as u16) << (11 - bit % 8)).to_be_bytes();
        self.0[bit / 8] |= high;
        if let Some(next) = self.0.get_mut(bit / 8 + 1) {
            *next |= low;
        }
    }
}

impl FromStr for PairingCode {
    type Err = ParseCodeError;

    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        let mut code = Self(Zeroizing::new([0; BYTES]));
        let (mut place, mut check) = (0, 0);
        for character in text.chars().filter(|character| *character != '-' && !character.is_whitespace()) {
            let digit = digit_of(character).ok_or(ParseCodeError::Character)?;
            match place {
                0..CHARACTERS => code.set_digit(place, digit),
                CHARACTERS => check = digit,
                _ => return Err(ParseCodeError::Length),
            }
            place += 1;
        }
        match place {
            0..=CHARACTERS => Err(ParseCodeError::Length),
            _ if check != code.check() => Err(ParseCodeError::Mistyped),
            _ => Ok(code),
        }
    }
}

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingCode(..)")
    }
}

/// An error for text that is not a pairing code. It quotes nothing of the text, which may be a
/// secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCodeError {
    /// Too few or too many characters.
    #[error("a pairing code has 17 letters and digits: four groups of four, and one")]
    Length,
    /// The text has the form of a code, but its check character shows that a character is wrong.
    #[error("a character of the pairing code is mistyped")]
    Mistyped,
    /// A character outside the alphabet, such as `U` or a punctuation mark.
    #[error("a pairing code has letters (but no U) and digits only")]
    Character,
}

/// Doubles an element of the field of 32: polynomials over GF(2) modulo x^5 + x^3 + 1, where 2
/// generates the field.
fn doubled(element: usize) -> usize {
    element << 1 ^ if element & 16 == 0 { 0 } else { 0b101001 }
}

fn digit_of(character: char) -> Option<usize> {
    let plain = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET.iter().position(|letter| char::from(*letter) == plain)
}

const BYTES: usize = 10;
const CHARACTERS: usize = 16;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, ParseCodeError> {
        text.parse::<PairingCode>().map(|code| code.as_bytes().to_vec())
    }

    #[test]
    fn a_code_comes_back_from_its_text() {
        for _ in 0..200 {
            let code = PairingCode::generate().unwrap();
            assert_eq!(read(&code.reveal()).unwrap(), code.as_bytes());
        }
        assert_ne!(PairingCode::generate().unwrap().as_bytes(), PairingCode::generate().unwrap().as_bytes());
    }

    #[test]
    fn the_text_is_four_groups_of_crockford_base32() {
        let bytes = [0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf];
        let code = PairingCode(Zeroizing::new(bytes));
        assert_eq!(*code.reveal(), "0123-4567-89AB-CDEF-W");
        let rest = [0x84, 0x65, 0x3a, 0x56, 0xd7, 0xc6, 0x75, 0xbe, 0x77, 0xdf];
        assert_eq!(read("GHJK-MNPQ-RSTV-WXYZ-P").unwrap(), rest);
    }

    #[test]
    fn reading_forgives_case_dashes_spaces_and_look_alikes() {
        let wanted = read("0110-ABCD-EFGH-1JKM-E").unwrap();
        for text in ["0110abcdefgh1jkme", " oIlO abcd--EFGH\tLjkm e\n", "0-1-1-0-a-b-c-d-e-f-g-h-i-j-k-m-E"] {
            assert_eq!(read(text).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_code_is_told_apart() {
        for text in ["", "-", "0123-4567-89AB-CDEF", "0123-4567-89AB-CDEF-W0"] {
            assert_eq!(read(text), Err(ParseCodeError::Length), "{text}");
        }
        for text in ["U123-4567-89AB-CDEF", "0123_4567", "\u{ff10}123-4567-89AB-CDEF", "0123-4567-89AB-CDEF!"]
        {
            assert_eq!(read(text), Err(ParseCodeError::Character), "{text}");
        }
    }

    /// Tries every text that one wrong character, or two that changed places, makes of a code.
    #[test]
    fn a_mistyped_character_or_two_that_changed_places_are_no_other_code() {
        for _ in 0..20 {
            let text: Vec<u8> = PairingCode::generate().unwrap().reveal().replace('-', "").into_bytes();
            let other = |text: &[u8]| read(std::str::from_utf8(text).unwrap());
            for place in 0..text.len() {
                for letter in ALPHABET.iter().filter(|letter| **letter != text[place]) {
                    let mut slip = text.clone();
                    slip[place] = *letter;
                    assert_eq!(other(&slip), Err(ParseCodeError::Mistyped));
                }
                for with in (0..place).filter(|with| text[*with] != text[place]) {
                    let mut slip = text.clone();
                    slip.swap(place, with);
                    assert_eq!(other(&slip), Err(ParseCodeError::Mistyped));
                }
            }
        }
    }

    #[test]
    fn debug_hides_it() {
        assert_eq!(format!("{:?}", PairingCode::generate().unwrap()), "PairingCode(..)");
    }
}
