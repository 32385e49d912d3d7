//! Locations: `client / vault / record`, by name, and the safe display of names from a peer.

use alloc::string::{String, ToString};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ClientId, LocationId, RecordId, VaultId};

/// Maximum length of a client or vault name, in bytes of UTF-8.
pub const MAX_NAME: usize = 255;
/// Maximum length of a record name, in bytes of UTF-8.
pub const MAX_RECORD_NAME: usize = 1024;

/// The location of a record: three non-empty names, the first two without `/`.
///
/// Its text form is `client/vault/record`; only the record's name may contain `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(String, String, String)", into = "(String, String, String)")]
pub struct Location {
    client: String,
    vault: String,
    record: String,
}

/// The error for an invalid name or location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseLocationError {
    /// Fewer than three parts.
    #[error("a location is CLIENT/VAULT/RECORD")]
    Parts,
    /// An empty name.
    #[error("a name in a location is empty")]
    Empty,
    /// A client or vault name that contains `/`.
    #[error("a client or vault name contains '/'")]
    Slash,
    /// A name longer than [`MAX_NAME`] or [`MAX_RECORD_NAME`] bytes.
    #[error("a name is too long: at most 255 bytes, 1024 for a record")]
    TooLong,
}

impl Location {
    /// Creates a location from three names.
    ///
    /// # Errors
    /// [`ParseLocationError`] when a name is empty or too long, or a client or vault name contains
    /// `/`.
    pub fn new(
        client: impl Into<String>,
        vault: impl Into<String>,
        record: impl Into<String>,
    ) -> Result<Self, ParseLocationError> {
        let (client, vault, record) = (client.into(), vault.into(), record.into());
        check_name(&client)?;
        check_name(&vault)?;
        check_length(&record, MAX_RECORD_NAME)?;
        Ok(Self { client, vault, record })
    }

    /// Creates a location from names that were checked before, such as those held in a vault.
    #[doc(hidden)]
    pub fn new_unchecked(client: &str, vault: &str, record: &str) -> Self {
        Self { client: client.into(), vault: vault.into(), record: record.into() }
    }

    /// Returns the client's name.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Returns the vault's name.
    pub fn vault(&self) -> &str {
        &self.vault
    }

    /// Returns the record's name, which may contain `/`.
    pub fn record(&self) -> &str {
        &self.record
    }

    /// Returns the ids that shapes carry in place of these names.
    pub fn id(&self) -> LocationId {
        let client = ClientId::of(&self.client);
        let vault = VaultId::of(client, &self.vault);
        LocationId { client, vault, record: RecordId::of(vault, &self.record) }
    }
}

/// Checks the name of a client or a vault.
///
/// # Errors
/// [`ParseLocationError`] when it is empty, longer than [`MAX_NAME`] or contains `/`.
pub fn check_name(name: &str) -> Result<(), ParseLocationError> {
    check_length(name, MAX_NAME)?;
    if name.contains('/') { Err(ParseLocationError::Slash) } else { Ok(()) }
}

fn check_length(name: &str, max: usize) -> Result<(), ParseLocationError> {
    match name.len() {
        0 => Err(ParseLocationError::Empty),
        len if len > max => Err(ParseLocationError::TooLong),
        _ => Ok(()),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        [&self.client, "/", &self.vault, "/", &self.record].into_iter().try_for_each(|part| f.write_str(part))
    }
}

impl FromStr for Location {
    type Err = ParseLocationError;

    fn from_str(text: &str) -> Result<Self, ParseLocationError> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(client), Some(vault), Some(record)) => Self::new(client, vault, record),
            _ => Err(ParseLocationError::Parts),
        }
    }
}

impl TryFrom<(String, String, String)> for Location {
    type Error = ParseLocationError;

    fn try_from((client, vault, record): (String, String, String)) -> Result<Self, ParseLocationError> {
        Self::new(client, vault, record)
    }
}

impl From<Location> for (String, String, String) {
    fn from(location: Location) -> Self {
        (location.client, location.vault, location.record)
    }
}

/// Returns a name that is safe to display: control characters, invisible characters and those that
/// change the direction of text become `\u{…}`, so that a peer's name can't drive a terminal or
/// pass for another name.
pub fn escape_untrusted(name: &str) -> String {
    if name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return name.into();
    }
    let mut shown = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_control() || is_hidden(letter) {
            shown.push_str(&letter.escape_unicode().to_string());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Returns whether a character is invisible or changes the direction of text: Unicode's
/// `Default_Ignorable_Code_Point` and `Bidi_Control`, line separators, interlinear annotations,
/// tags, and blanks that are not white space (fillers, the empty Braille pattern).
pub fn is_hidden(letter: char) -> bool {
    matches!(letter,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202F}' | '\u{205F}'..='\u{206F}'
        | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{16FE4}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D159}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_name_may_contain_slashes_and_no_other_may() {
        let location: Location = "wallet/web/mail/password".parse().unwrap();
        assert_eq!(
            (location.client(), location.vault(), location.record()),
            ("wallet", "web", "mail/password")
        );
        assert_eq!(Location::new("a/b", "v", "r"), Err(ParseLocationError::Slash));
        assert_eq!("wallet/web".parse::<Location>(), Err(ParseLocationError::Parts));
        assert_eq!("wallet//r".parse::<Location>(), Err(ParseLocationError::Empty));
    }

    #[test]
    fn names_are_as_long_as_they_may_be_and_no_longer() {
        let new = |client: usize, vault: usize, record: usize| {
            Location::new("c".repeat(client), "v".repeat(vault), "r".repeat(record)).map(drop)
        };
        for (lengths, expected) in [
            ((1, 1, 1), Ok(())),
            ((255, 255, 1024), Ok(())),
            ((256, 1, 1), Err(ParseLocationError::TooLong)),
            ((1, 256, 1), Err(ParseLocationError::TooLong)),
            ((1, 1, 1025), Err(ParseLocationError::TooLong)),
            ((0, 1, 1), Err(ParseLocationError::Empty)),
            ((1, 0, 1), Err(ParseLocationError::Empty)),
            ((1, 1, 0), Err(ParseLocationError::Empty)),
        ] {
            assert_eq!(new(lengths.0, lengths.1, lengths.2), expected, "{lengths:?}");
        }
        assert_eq!(Location::new("c", "v/w", "r"), Err(ParseLocationError::Slash));
        assert_eq!(check_name("c/"), Err(ParseLocationError::Slash));
        assert_eq!((check_name("c"), check_name("")), (Ok(()), Err(ParseLocationError::Empty)));
        let location = Location::new_unchecked("c", "v", "r/s");
        assert_eq!((location.to_string().as_str(), "c/v/r/s".parse()), ("c/v/r/s", Ok(location.clone())));
        let encoded = rmp_serde::to_vec(&location).unwrap();
        assert_eq!(rmp_serde::from_slice::<Location>(&encoded).unwrap(), location);
        let none = rmp_serde::to_vec(&("c/d", "v", "r")).unwrap();
        assert!(rmp_serde::from_slice::<Location>(&none).is_err());
    }

    #[test]
    fn ids_depend_on_every_name_above() {
        let id = |text: &str| text.parse::<Location>().unwrap().id();
        assert_ne!(id("a/v/r").record, id("b/v/r").record);
        assert_ne!(id("a/v/r").vault, id("b/v/r").vault);
        assert_eq!(id("a/v/r").client, id("a/w/s").client);
    }

    #[test]
    fn escape_codes_and_bidirectional_marks_are_shown_not_obeyed() {
        assert_eq!(escape_untrusted("a\u{1b}[2Jb\u{202e}c"), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(escape_untrusted("Grüße 鍵"), "Grüße 鍵");
        for hidden in [
            '\u{00AD}',
            '\u{034F}',
            '\u{115F}',
            '\u{1160}',
            '\u{180E}',
            '\u{200B}',
            '\u{200D}',
            '\u{202F}',
            '\u{205F}',
            '\u{2060}',
            '\u{206F}',
            '\u{2800}',
            '\u{3164}',
            '\u{FE00}',
            '\u{FE0F}',
            '\u{FEFF}',
            '\u{FFA0}',
            '\u{E0000}',
            '\u{E007F}',
            '\u{E01EF}',
        ] {
            let name = alloc::format!("phone{hidden}");
            assert_eq!(escape_untrusted(&name), alloc::format!("phone{}", hidden.escape_unicode()));
        }
    }
}
