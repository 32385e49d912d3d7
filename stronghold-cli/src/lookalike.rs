//! Finds names that look alike: with letters composed or decomposed, with blanks at an end or of
//! another kind, with invisible letters.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use stronghold_sync::{Location, escape_untrusted, is_hidden};
use unicode_normalization::UnicodeNormalization;

/// Returns the first location with a name that looks like a different one of `new` in the same
/// place.
pub(crate) fn of(new: &Location, locations: impl IntoIterator<Item = Location>) -> Option<Location> {
    let new = new.to_string();
    locations.into_iter().find(|there| look_alike(&new, &there.to_string()))
}

/// Returns whether two locations first differ in two names that look the same.
fn look_alike(one: &str, other: &str) -> bool {
    let mut names = one.split('/').zip(other.split('/'));
    names.find(|(one, other)| one != other).is_some_and(|(one, other)| folded(one) == folded(other))
}

/// The names in a list of locations that look like a different one in the same place: their
/// spellings, by place and folded form.
#[derive(Default)]
pub(crate) struct Twins(HashMap<(String, String), HashSet<String>>);

impl Twins {
    /// Finds the twins among locations. Asks for them again only if one has a name that is not in
    /// plain form.
    pub(crate) fn among<I: Iterator<Item = Location>>(locations: impl Fn() -> I) -> Self {
        let mut spellings: HashMap<_, HashSet<String>> = HashMap::new();
        // At least one of two names that look alike is not in plain form. Mostly there is none.
        let is_odd = |name: &str| folded(name) != name;
        let has_odd = |location: &Location| {
            is_odd(location.client()) || is_odd(location.vault()) || location.record().split('/').any(is_odd)
        };
        for text in locations().filter(has_odd).map(|location| location.to_string()) {
            let odd = names(&text).filter(|(_, name)| is_odd(name));
            odd.for_each(|(place, name)| _ = spellings.entry(key(place, name)).or_default());
        }
        if spellings.is_empty() {
            return Self::default();
        }
        for text in locations().map(|location| location.to_string()) {
            for (place, name) in names(&text) {
                spellings.entry(key(place, name)).and_modify(|spelt| _ = spelt.insert(name.into()));
            }
        }
        spellings.retain(|_, spelt| spelt.len() > 1);
        Self(spellings)
    }

    /// Returns whether a location has a name with a twin.
    pub(crate) fn contains(&self, text: &str) -> bool {
        !self.0.is_empty() && names(text).any(|(place, name)| self.0.contains_key(&key(place, name)))
    }
}

fn key(place: &str, name: &str) -> (String, String) {
    (place.into(), folded(name).into())
}

/// Existing names, by place and folded form.
#[derive(Default)]
pub(crate) struct Spellings(HashMap<(String, String), String>);

impl Spellings {
    pub(crate) fn of<'a>(locations: impl Iterator<Item = &'a Location>) -> Self {
        let mut spellings = Self::default();
        locations.for_each(|location| spellings.add(location));
        spellings
    }

    /// Adds a location. Of names that look alike, the first one stays.
    pub(crate) fn add(&mut self, location: &Location) {
        for (place, name) in names(&location.to_string()) {
            self.0.entry(key(place, name)).or_insert_with(|| name.into());
        }
    }

    /// Returns the existing name, with its place, that a name of `location` looks like.
    pub(crate) fn twin_of(&self, location: &Location) -> Option<String> {
        names(&location.to_string()).find_map(|(place, name)| self.twin(place, name))
    }

    /// Returns the existing client that `client` looks like.
    pub(crate) fn twin_of_client(&self, client: &str) -> Option<String> {
        self.twin("", client)
    }

    fn twin(&self, place: &str, name: &str) -> Option<String> {
        let there = self.0.get(&key(place, name)).filter(|there| *there != name)?;
        Some(if place.is_empty() { there.clone() } else { format!("{place}/{there}") })
    }
}

/// Returns the names in a location, each with the path before it.
fn names(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]);
    ends.map(|end| text[..end].rsplit_once('/').unwrap_or(("", &text[..end])))
}

/// Spells a name in ASCII: every other character is written as its number.
pub(crate) fn spelled(name: &str) -> String {
    let spell = |letter: char| match letter.is_ascii_graphic() || letter == ' ' {
        true => letter.to_string(),
        false => letter.escape_unicode().to_string(),
    };
    name.chars().map(spell).collect()
}

/// Formats a location for people, with its spelling if that is not plain.
pub(crate) fn told(location: &Location) -> String {
    quoted(&location.to_string())
}

/// Formats a name for people, with its spelling if that is not plain.
pub(crate) fn quoted(name: &str) -> String {
    let (shown, spelled) = (escape_untrusted(name), spelled(name));
    if shown == spelled { format!("\"{shown}\"") } else { format!("\"{shown}\" (\"{spelled}\")") }
}

/// Folds a name: composed, without invisible letters, with plain blanks and none at the ends.
fn folded(name: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if name.bytes().all(is_plain) {
        return Cow::Borrowed(name.trim_matches(' '));
    }
    let blanks = name.nfc().map(|letter| if letter.is_whitespace() { ' ' } else { letter });
    let text: String = blanks.filter(|letter| !is_hidden(*letter)).collect();
    Cow::Owned(text.trim_matches(' ').nfc().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        text.parse().unwrap()
    }

    const ALIKE: [(&str, &str); 11] = [
        ("w/x/caf\u{e9}", "w/x/cafe\u{301}"),
        ("w/x/mail", "w/x/mail "),
        ("w/x/mail", "w/x/\u{a0}mail\u{2003}"),
        ("w/x/two words", "w/x/two\u{a0}words"),
        ("w/x/mail", "w/x/ma\u{200b}il"),
        ("w/x/mail", "w/x/mail\u{feff}"),
        ("w/x/\u{1e69}", "w/x/s\u{200d}\u{307}\u{323}"),
        ("w/x/mail/password", "w/x/mail /user"),
        ("w/x/mail", "w /x/other"),
        ("w/x/mail", "w/\u{ad}x/other"),
        ("w/x/\u{200b}", "w/x/\u{200b}\u{200b}"),
    ];

    #[test]
    fn a_second_spelling_is_found_wherever_it_stands() {
        for (one, other) in ALIKE.map(|(one, other)| (location(one), location(other))) {
            assert_eq!(of(&one, [other.clone()]), Some(other.clone()), "{one} {other}");
            assert_eq!(of(&other, [one.clone()]), Some(one.clone()), "{one} {other}");
            let twins = Twins::among(|| [&one, &other].into_iter().cloned());
            assert!(twins.contains(&one.to_string()) && twins.contains(&other.to_string()), "{one} {other}");
            assert!(!twins.contains("other/mail/third"));
            assert_eq!(of(&one, [one.clone()]), None);
            assert!(told(&one) != told(&other));
        }
    }

    #[test]
    fn what_is_there_is_told_from_its_place_on() {
        let there = [location("work/mail/inbox"), location("w\u{ad}ork/other/x")];
        let spellings = Spellings::of(there.iter());
        assert_eq!(spellings.twin_of(&location("work/mail /inbox")), Some("work/mail".into()));
        assert_eq!(spellings.twin_of(&location("work/mail/in\u{200b}box")), Some("work/mail/inbox".into()));
        assert_eq!(spellings.twin_of(&location("work /mail/inbox")), Some("work".into()));
        assert_eq!(spellings.twin_of(&location("work/mail/inbox")), None);
        assert_eq!(spellings.twin_of(&location("work/mail/new")), None);
        assert_eq!(spellings.twin_of_client("work "), Some("work".into()), "of two the first counts");
        assert_eq!(spellings.twin_of_client("work"), None);
        assert_eq!(spellings.twin_of_client("mail "), None, "that is no client");
    }

    #[test]
    fn a_name_is_spelled_where_its_letters_do_not_say_it() {
        for (name, expected) in
            [("two words", "\"two words\""), ("caf\u{e9}", "\"caf\u{e9}\" (\"caf\\u{e9}\")")]
        {
            assert_eq!(quoted(name), expected);
        }
    }

    #[test]
    fn different_names_are_different() {
        for (one, other) in [
            ("w/x/mail", "w/x/Mail"),
            ("w/x/mail", "w/y/mail"),
            ("w/x/mail", "w/x/mail/password"),
            ("w/x/a/mail", "w/x/b/mail "),
            ("w/x/two words", "w/x/twowords"),
            ("w/x/é", "w/x/e"),
        ] {
            let (one, other) = (location(one), location(other));
            assert_eq!(of(&one, [other.clone()]), None, "{one} {other}");
            assert!(Twins::among(|| [&one, &other].into_iter().cloned()).0.is_empty());
        }
    }
}
