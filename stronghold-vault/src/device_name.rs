//! Names of devices: which are valid, which may be assigned here, and which look alike.

use stronghold_sync::{escape_untrusted, is_hidden};
use unicode_normalization::UnicodeNormalization;

/// Maximum length of a device's name, in characters.
pub const MAX_DEVICE_NAME: usize = 64;

/// An error of a device name that is invalid or can't be assigned here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceNameError {
    /// The name is blank, or longer than [`MAX_DEVICE_NAME`] characters.
    #[error("a device's name has 1 to {MAX_DEVICE_NAME} characters")]
    Length,
    /// The name contains control characters, such as a line break.
    #[error("a device's name has no control characters")]
    Control,
    /// The name contains invisible characters, or characters that reverse the text direction.
    #[error("a device's name has no characters that can't be seen")]
    Hidden,
    /// The name consists of at least four hexadecimal digits: it would be taken for the beginning
    /// of a device id.
    #[error("a name of hexadecimal digits alone looks like a device's id")]
    LikeId,
    /// Another device has or had this name here, or a name that looks the same.
    #[error("another device is, or was, called that, or looks the same")]
    Taken,
}

/// Checks that a device of this name can be paired at all.
///
/// # Errors
/// [`DeviceNameError::Length`] or [`DeviceNameError::Control`].
pub fn check_device_name(name: &str) -> Result<(), DeviceNameError> {
    if name.trim().is_empty() || name.chars().count() > MAX_DEVICE_NAME {
        return Err(DeviceNameError::Length);
    }
    if name.chars().any(char::is_control) { Err(DeviceNameError::Control) } else { Ok(()) }
}

/// Checks a name that a person here chooses for a device. A peer's own name is not rejected but
/// gets a suffix.
///
/// # Errors
/// [`DeviceNameError`], except [`DeviceNameError::Taken`].
pub fn check_given_name(name: &str) -> Result<(), DeviceNameError> {
    check_device_name(name)?;
    if name.chars().any(is_hidden) {
        return Err(DeviceNameError::Hidden);
    }
    if is_like_id(name) { Err(DeviceNameError::LikeId) } else { Ok(()) }
}

/// Returns the lower-case digits of a device id or of its beginning. Dashes may separate groups of
/// digits. Returns `None` for fewer than four digits and for any other text.
pub(crate) fn id_digits(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|letter| *letter != '-').collect();
    let is_one = digits.len() >= 4 && digits.chars().all(|letter| letter.is_ascii_hexdigit());
    (is_one && !text.starts_with('-')).then(|| digits.to_ascii_lowercase())
}

/// Checks whether a displayed name can be taken for a device id: digits of any width or script
/// form, in groups.
fn is_like_id(name: &str) -> bool {
    let seen: String = skeleton(name).chars().filter(|letter| !is_joint(*letter)).collect();
    id_digits(&seen).is_some()
}

/// Checks for a separator of digit groups: dashes of all kinds, spaces, colons, dots and
/// underscores.
fn is_joint(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '-' | ':' | '_' | '.' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Returns the skeleton of a name: names with equal skeletons look the same. Compatibility forms,
/// case, white space and invisible characters make no difference.
pub(crate) fn skeleton(name: &str) -> String {
    let folded: String =
        name.nfkc().filter(|letter| !is_hidden(*letter)).flat_map(char::to_lowercase).nfkc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the name under which a device is stored: `wanted` with special characters made visible.
/// Appends `digits` of the device id if the name looks like an id or hides something, or if
/// `is_taken` reports a look-alike.
pub(crate) fn remembered_as(wanted: &str, digits: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let shown = escape_untrusted(wanted);
    if check_given_name(wanted).is_ok() && !is_taken(&shown) {
        return shown;
    }
    // "cafe-1a2b" would look like an id again.
    let joint = if is_like_id(&format!("{shown}-0000")) { "-peer-" } else { "-" };
    let mut names = (1..=digits.len() / 4).map(|groups| format!("{shown}{joint}{}", &digits[..4 * groups]));
    names.find(|name| !is_taken(name)).unwrap_or_else(|| format!("{shown}{joint}{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_never_pair_are_told_from_those_that_can() {
        for (name, verdict) in [
            ("phone", Ok(())),
            ("Ärztin's tablet 2", Ok(())),
            ("cafe", Ok(())),
            ("", Err(DeviceNameError::Length)),
            (" \u{2003}", Err(DeviceNameError::Length)),
            ("a\nb", Err(DeviceNameError::Control)),
            ("a\u{9b}b", Err(DeviceNameError::Control)),
        ] {
            assert_eq!(check_device_name(name), verdict, "{name:?}");
        }
        assert_eq!(check_device_name(&"n".repeat(64)), Ok(()));
        assert_eq!(check_device_name(&"\u{e9}".repeat(65)), Err(DeviceNameError::Length));
    }

    #[test]
    fn names_that_look_like_ids_or_hide_something_are_not_given() {
        for name in
            ["cafe", "CAFE", "b9d1-5161-910e-4f0b", "b9d1 5161", "b9d1:51", "ｂ９ｄ１", "b9d1\u{2011}5161"]
        {
            assert_eq!(check_given_name(name), Err(DeviceNameError::LikeId), "{name}");
        }
        for name in ["phone\u{3164}", "phone\u{200b}", "\u{202e}enohp", "pho\u{ad}ne", "\u{e0041}phone"] {
            assert_eq!(check_given_name(name), Err(DeviceNameError::Hidden), "{name:?}");
        }
        for name in ["abc", "phone", "face-lift", "laptop 2"] {
            assert_eq!(check_given_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn an_id_is_known_by_four_digits_or_more() {
        for (text, digits) in [
            ("abc", None),
            ("a-b-c", None),
            ("abcd", Some("abcd")),
            ("ABCD-ef01", Some("abcdef01")),
            ("-abcd", None),
            ("abcg", None),
            ("ab cd", None),
            ("", None),
        ] {
            assert_eq!(id_digits(text).as_deref(), digits, "{text:?}");
        }
        for joint in ['-', ':', '_', '.', ' ', '\u{a0}', '\u{2010}', '\u{2015}', '\u{2212}'] {
            assert_eq!(check_given_name(&format!("b9{joint}d1")), Err(DeviceNameError::LikeId), "{joint:?}");
        }
        for letter in ['+', '/', '\u{2016}'] {
            assert_eq!(check_given_name(&format!("b9{letter}d1")), Ok(()), "{letter:?}");
        }
    }

    #[test]
    fn names_that_look_the_same_have_one_skeleton() {
        let same = [
            ["phone", "Phone"],
            ["phone", "phone\u{3164}"],
            ["my phone", "my\u{a0}phone"],
            ["my phone", " my  phone "],
            ["caf\u{e9}", "cafe\u{301}"],
            ["phone", "ｐｈｏｎｅ"],
        ];
        for [one, other] in same {
            assert_eq!(skeleton(one), skeleton(other), "{one:?} {other:?}");
        }
        assert_ne!(skeleton("phone"), skeleton("phone2"));
    }

    #[test]
    fn what_a_device_calls_itself_gets_a_suffix_where_it_could_be_taken_for_another() {
        let digits = "1a2b3c4d".repeat(8);
        let named = |wanted: &str, taken: &[&str]| {
            remembered_as(wanted, &digits, |name| taken.iter().any(|one| skeleton(one) == skeleton(name)))
        };
        assert_eq!(named("phone", &["laptop"]), "phone");
        assert_eq!(named("phone", &["Phone"]), "phone-1a2b");
        assert_eq!(named("phone", &["phone", "phone-1a2b"]), "phone-1a2b3c4d");
        assert_eq!(named("phone\u{3164}", &[]), "phone\\u{3164}-1a2b");
        assert_eq!(named("pho\nne", &[]), "pho\\u{a}ne-1a2b");
        let all = remembered_as("phone", &digits, |_| true);
        assert_eq!(all, format!("phone-{digits}"), "however many are taken");
        assert_eq!(named("cafe", &[]), "cafe-peer-1a2b");
        assert_eq!(named("b9d1-5161", &[]), "b9d1-5161-peer-1a2b");
        for name in ["cafe", "b9d1-5161"] {
            assert_eq!(check_given_name(&named(name, &[])), Ok(()));
        }
    }
}
