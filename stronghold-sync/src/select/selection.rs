//! Selections of clients, vaults or records, and the names under which entries arrive.

use alloc::{string::String, vec, vec::Vec};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    model::location::{Location, ParseLocationError, check_name},
    select::pattern::{ParsePatternError, Pattern},
};

/// Maximum number of patterns in a selection, as peers send them.
pub const MAX_PATTERNS: usize = 1024;
/// Maximum number of characters, in one selection, of patterns that are neither a plain location
/// nor a place and all below it: for each character of a location, matching takes that many steps.
pub const MAX_COMPLEXITY: usize = 512;
/// Maximum number of bytes of all patterns in a selection: three selections fit into a message.
pub const MAX_SELECTION: usize = 16 << 10;
/// Maximum number of selections in a scope from a peer.
const MAX_PARTS: usize = 8;

/// A set of locations: those that at least one of its patterns matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Pattern>", into = "Vec<Pattern>")]
pub struct Selection {
    patterns: Vec<Pattern>,
}

/// The error for a list of patterns that is not a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseSelectionError {
    /// A pattern that can't be parsed.
    #[error(transparent)]
    Pattern(#[from] ParsePatternError),
    /// More than [`MAX_PATTERNS`] patterns.
    #[error("a selection has more than {MAX_PATTERNS} patterns")]
    TooMany,
    /// More than [`MAX_COMPLEXITY`] characters of patterns with wildcards within.
    #[error("a selection has more than {MAX_COMPLEXITY} characters of patterns with wildcards within")]
    TooComplex,
    /// More than [`MAX_SELECTION`] bytes.
    #[error("a selection is longer than {} kB", MAX_SELECTION >> 10)]
    TooLong,
}

impl Selection {
    /// Returns the selection of everything.
    pub fn everything() -> Self {
        Self { patterns: "**".parse().into_iter().collect() }
    }

    /// Parses patterns; an empty list selects everything.
    ///
    /// # Errors
    /// [`ParseSelectionError`] when a pattern can't be parsed or the patterns exceed a limit.
    pub fn parse<T: AsRef<str>>(patterns: &[T]) -> Result<Self, ParseSelectionError> {
        if patterns.is_empty() {
            return Ok(Self::everything());
        }
        let patterns = patterns.iter().map(|text| text.as_ref().parse()).collect::<Result<Vec<_>, _>>()?;
        Self::try_from(patterns)
    }

    /// Returns whether a peer accepts the selection: one made of locations may exceed the limits.
    pub fn is_within_limits(&self) -> bool {
        Self::try_from(self.patterns.clone()).is_ok()
    }

    /// Returns the selection of just these records. It may exceed the limits: it is valid here, but
    /// a peer does not accept it.
    pub fn of_locations<'a>(locations: impl IntoIterator<Item = &'a Location>) -> Self {
        let literal = |location: &Location| Pattern::literal(&alloc::format!("{location}"));
        Self { patterns: locations.into_iter().map(literal).collect() }
    }

    /// Returns whether the location is selected.
    pub fn covers(&self, location: &Location) -> bool {
        self.covers_text(&alloc::format!("{location}"))
    }

    /// Returns whether some location could be in both selections.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.patterns.iter().any(|own| other.patterns.iter().any(|theirs| own.overlaps(theirs)))
    }

    /// Returns `true` if this selection is known to include all that the other selects. `false` is
    /// not certain.
    pub fn includes(&self, other: &Self) -> bool {
        other.patterns.iter().all(|theirs| self.patterns.iter().any(|own| own.includes(theirs)))
    }

    /// Returns the patterns that the other selection does not cover; `None` if there are none.
    ///
    /// # Errors
    /// `Err` when a pattern selects both something that the other selects and something else.
    pub(crate) fn without(&self, other: &Self) -> Result<Option<Self>, ()> {
        let touched = |own: &&Pattern| other.patterns.iter().any(|theirs| theirs.overlaps(own));
        let (inside, outside): (Vec<&Pattern>, Vec<&Pattern>) = self.patterns.iter().partition(touched);
        if !inside.iter().all(|own| other.patterns.iter().any(|theirs| theirs.includes(own))) {
            return Err(());
        }
        let patterns: Vec<Pattern> = outside.into_iter().cloned().collect();
        Ok((!patterns.is_empty()).then_some(Self { patterns }))
    }

    /// Returns the union of both selections.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for pattern in &other.patterns {
            if !self.patterns.contains(pattern) {
                self.patterns.push(pattern.clone());
            }
        }
        self
    }

    /// Returns whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.patterns.iter().any(Pattern::is_everything)
    }

    /// Returns the patterns.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    pub(crate) fn covers_text(&self, text: &str) -> bool {
        self.covers_in(text, &mut 0)
    }

    fn covers_in(&self, text: &str, steps: &mut u64) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches_in(text, steps))
    }

    /// Returns whether it may select a location whose text begins with `prefix`, such as that of a
    /// client or a vault.
    pub fn reaches(&self, prefix: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.reaches(prefix))
    }

    /// Returns the patterns that overlap another selection.
    pub(crate) fn touching(&self, other: &Self) -> Self {
        let touches = |own: &&Pattern| other.patterns.iter().any(|theirs| own.overlaps(theirs));
        Self { patterns: self.patterns.iter().filter(touches).cloned().collect() }
    }
}

impl TryFrom<Vec<Pattern>> for Selection {
    type Error = ParseSelectionError;

    fn try_from(patterns: Vec<Pattern>) -> Result<Self, ParseSelectionError> {
        if patterns.len() > MAX_PATTERNS {
            return Err(ParseSelectionError::TooMany);
        }
        if patterns.iter().map(Pattern::complexity).sum::<usize>() > MAX_COMPLEXITY {
            return Err(ParseSelectionError::TooComplex);
        }
        match patterns.iter().map(Pattern::len).sum::<usize>() > MAX_SELECTION {
            true => Err(ParseSelectionError::TooLong),
            false => Ok(Self { patterns }),
        }
    }
}

impl From<Selection> for Vec<Pattern> {
    fn from(selection: Selection) -> Self {
        selection.patterns
    }
}

impl FromStr for Selection {
    type Err = ParseSelectionError;

    fn from_str(text: &str) -> Result<Self, ParseSelectionError> {
        Self::parse(&[text])
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.patterns.iter().enumerate() {
            write!(f, "{}{pattern}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The part of a request's selection that a rule grants: a location is covered if every selection
/// covers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    #[serde(deserialize_with = "deserialize_parts")]
    all_of: Vec<Selection>,
}

fn deserialize_parts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Selection>, D::Error> {
    let all_of = Vec::<Selection>::deserialize(deserializer)?;
    if (1..=MAX_PARTS).contains(&all_of.len()) {
        return Ok(all_of);
    }
    Err(D::Error::invalid_length(all_of.len(), &"a scope of 1 to 8 selections"))
}

impl Scope {
    /// Returns the scope of a whole selection.
    pub fn of(selection: Selection) -> Self {
        Self { all_of: vec![selection] }
    }

    /// Returns the part of this scope that the selection covers too.
    #[must_use]
    pub fn within(mut self, selection: Selection) -> Self {
        if !self.all_of.contains(&selection) {
            self.all_of.push(selection);
        }
        self
    }

    /// Returns the part of this scope that the other scope covers too.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        other.all_of.iter().fold(self, |scope, selection| scope.within(selection.clone()))
    }

    /// Returns `true` if this scope is known to cover all that the other covers. `false` is not
    /// certain.
    pub fn includes(&self, other: &Self) -> bool {
        self.all_of.iter().all(|own| other.all_of.iter().any(|theirs| own.includes(theirs)))
    }

    /// Returns whether the location is in scope.
    pub fn covers(&self, location: &Location) -> bool {
        self.covers_text(&alloc::format!("{location}"))
    }

    /// Returns whether the location with this text form is in scope.
    pub fn covers_text(&self, location: &str) -> bool {
        self.covers_in(location, &mut 0)
    }

    /// Returns whether the location is in scope, and adds the steps taken to `steps`. Stops at the
    /// first selection that does not cover the location.
    pub fn covers_in(&self, location: &str, steps: &mut u64) -> bool {
        self.all_of.iter().all(|selection| selection.covers_in(location, steps))
    }

    /// Returns the selection that is checked first: in a grant, the rules.
    pub fn first(&self) -> &Selection {
        &self.all_of[0]
    }

    /// Returns the selections left to check for a location that [`first`](Self::first) covers;
    /// `None` if there are none.
    pub fn rest(&self) -> Option<Self> {
        let rest = self.all_of[1..].iter().filter(|part| !part.includes(self.first()));
        let all_of: Vec<Selection> = rest.cloned().collect();
        (!all_of.is_empty()).then_some(Self { all_of })
    }

    /// Returns whether everything is in scope.
    pub fn is_everything(&self) -> bool {
        self.all_of.iter().all(Selection::is_everything)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, selection) in self.all_of.iter().enumerate() {
            write!(f, "{}{selection}", if index == 0 { "" } else { " within " })?;
        }
        Ok(())
    }
}

/// The renaming of entries on arrival: a client into another, or a vault into another.
///
/// The narrowest matching rule applies: one for a vault before one for its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    clients: Vec<(String, String)>,
    vaults: Vec<((String, String), (String, String))>,
}

/// The error for text that is not a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseMappingError {
    /// Other than two places joined by `=`, either both a client or both a client and vault.
    #[error("a mapping is CLIENT=CLIENT or CLIENT/VAULT=CLIENT/VAULT")]
    Form,
    /// An invalid name.
    #[error(transparent)]
    Name(#[from] ParseLocationError),
}

impl Mapping {
    /// Adds a rule in its text form, `FROM=TO`.
    ///
    /// # Errors
    /// [`ParseMappingError`] when it has another form or contains an invalid name.
    pub fn add(&mut self, rule: &str) -> Result<(), ParseMappingError> {
        let (from, to) = rule.split_once('=').ok_or(ParseMappingError::Form)?;
        match (from.split_once('/'), to.split_once('/')) {
            (None, None) => self.clients.push((name(from)?, name(to)?)),
            (Some((client, vault)), Some((to_client, to_vault))) => {
                self.vaults.push(((name(client)?, name(vault)?), (name(to_client)?, name(to_vault)?)));
            }
            _ => return Err(ParseMappingError::Form),
        }
        Ok(())
    }

    /// Returns the location at which an entry from this location arrives.
    pub fn apply(&self, location: &Location) -> Location {
        let vault = self.vaults.iter().find(|((c, v), _)| c == location.client() && v == location.vault());
        let client = self.clients.iter().find(|(client, _)| client == location.client());
        let (to_client, to_vault) = match (vault, client) {
            (Some((_, (client, vault))), _) => (client.as_str(), vault.as_str()),
            (None, Some((_, client))) => (client.as_str(), location.vault()),
            (None, None) => return location.clone(),
        };
        // The names were checked when the rule was added, so this can't fail; if it did, nothing is
        // renamed.
        Location::new(to_client, to_vault, location.record()).unwrap_or_else(|_| location.clone())
    }

    /// Returns whether it renames nothing.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.vaults.is_empty()
    }
}

fn name(text: &str) -> Result<String, ParseLocationError> {
    check_name(text)?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn a_scope_covers_only_what_all_its_parts_cover() {
        let scope = Scope::of("wallet/**".parse().unwrap()).within("*/tokens/*".parse().unwrap());
        assert!(scope.covers(&at("wallet/tokens/a")));
        assert!(!scope.covers(&at("wallet/keys/a")));
        assert!(!scope.covers(&at("work/tokens/a")));
    }

    #[test]
    fn what_is_taken_away_is_whole_patterns_and_nothing_else() {
        let select = |patterns: &[&str]| Selection::parse(patterns).unwrap();
        let of = select(&["a/**", "b/x/**", "c/y/z"]);
        let without = |patterns: &[&str]| of.without(&select(patterns));
        assert_eq!(without(&["d/**"]), Ok(Some(of.clone())), "nothing of it");
        assert_eq!(without(&["d/**", "b/**"]), Ok(Some(select(&["a/**", "c/y/z"]))));
        assert_eq!(without(&["b/x/**", "c/**"]), Ok(Some(select(&["a/**"]))));
        assert_eq!(without(&["**"]), Ok(None), "all of it");
        assert_eq!(without(&["a/x/**"]), Err(()), "a part of a pattern");
    }

    #[test]
    fn a_peers_selections_and_scopes_are_bounded() {
        let wild = alloc::format!("*{}*/v/r", "?".repeat(200));
        let patterns = |n: usize| vec![wild.as_str(); n];
        assert!(Selection::parse(&patterns(2)).is_ok());
        assert_eq!(Selection::parse(&patterns(3)), Err(ParseSelectionError::TooComplex));
        let long = alloc::format!("a/b/{}", "c".repeat(1020));
        assert!(Selection::parse(&vec![long.as_str(); 16]).is_ok());
        assert_eq!(Selection::parse(&vec![long.as_str(); 17]), Err(ParseSelectionError::TooLong));
        let records: Vec<Location> = (0..17).map(|n| at(&alloc::format!("{long}{n}"))).collect();
        assert!(!Selection::of_locations(&records).is_within_limits());
        assert_eq!(Selection::parse(&vec!["a/b/c"; 1025]), Err(ParseSelectionError::TooMany));
        assert!(Selection::parse(&vec!["a/b/c"; 1024]).is_ok(), "plain locations cost little");
        let scope = |parts: usize| Scope { all_of: vec![Selection::everything(); parts] };
        let travels = |scope: &Scope| {
            let bytes = rmp_serde::to_vec(scope).unwrap();
            rmp_serde::from_slice::<Scope>(&bytes).is_ok_and(|arrived| arrived == *scope)
        };
        assert!(travels(&scope(1)) && travels(&scope(8)));
        assert!(!travels(&scope(9)));
        assert!(!travels(&scope(0)), "a scope of no parts would cover everything");
    }

    #[test]
    fn a_selection_is_the_sum_of_its_patterns() {
        let select = |patterns: &[&str]| Selection::parse(patterns).unwrap();
        let (one, two) = (select(&["a", "b/x/**"]), select(&["b/x/**", "c"]));
        assert_eq!(one.clone().or(&two), select(&["a", "b/x/**", "c"]), "each pattern once");
        assert_eq!(select(&["a", "b", "c/x"]).touching(&select(&["b/y/z", "c/x/*"])), select(&["b", "c/x"]));
        assert_eq!(alloc::format!("{one}"), "a, b/x/**");
        assert_eq!(one.patterns().len(), 2);
        for (selection, covers) in [(&one, [true, true, false]), (&two, [false, true, true])] {
            assert_eq!(["a/v/r", "b/x/r", "c/v/r"].map(|name| selection.covers(&at(name))), covers);
        }
        assert!(one.overlaps(&two) && !select(&["a"]).overlaps(&two));
        assert!(one.includes(&select(&["a/v", "b/x/r"])) && !one.includes(&select(&["a", "c"])));
        assert!(one.reaches("b/x/") && !one.reaches("c/"));
        let none: [&str; 0] = [];
        assert_eq!(Selection::parse(&none), Ok(Selection::everything()));
        for (patterns, expected) in [(&["a"][..], false), (&["a", "**"], true), (&["*"], false)] {
            assert_eq!(select(patterns).is_everything(), expected, "{patterns:?}");
            assert_eq!(Scope::of(select(patterns)).is_everything(), expected);
        }
        assert_eq!("a/\\".parse::<Selection>(), Err(ParseSelectionError::Pattern(ParsePatternError::Escape)));
        let of = Selection::of_locations([&at("a/v/*"), &at("b/w/r")]);
        assert!(of.covers(&at("a/v/*")) && of.covers(&at("b/w/r")) && !of.covers(&at("a/v/x")));
        assert_eq!(select(&["a", "b"]).without(&select(&["a/x", "a"])), Ok(Some(select(&["b"]))));
    }

    #[test]
    fn a_selection_is_within_its_limits_up_to_them() {
        let wild = |letters: usize| alloc::format!("*{}/v/r", "?".repeat(letters - 5));
        assert!(Selection::parse(&[wild(512).as_str()]).is_ok());
        assert_eq!(Selection::parse(&[wild(513).as_str()]), Err(ParseSelectionError::TooComplex));
        let long = |bytes: usize| alloc::format!("a/b/{}", "c".repeat(bytes - 4));
        let full =
            [long(2000), long(2000), long(2000), long(2000), long(2000), long(2000), long(2000), long(2000)];
        let with = |bytes: usize| Selection::parse(&[&full[..], &[long(bytes)]].concat());
        assert!(with(384).is_ok());
        assert_eq!(with(385), Err(ParseSelectionError::TooLong));
    }

    #[test]
    fn a_scope_is_asked_part_by_part() {
        let select = |text: &str| text.parse::<Selection>().unwrap();
        let scope = Scope::of(select("a")).within(select("*/x/*")).within(select("a"));
        assert_eq!(alloc::format!("{scope}"), "a within */x/*", "each part once");
        assert_eq!(scope.first(), &select("a"));
        assert_eq!(scope.rest(), Some(Scope::of(select("*/x/*"))));
        assert_eq!(Scope::of(select("a/b")).within(select("a")).rest(), None, "the first is within it");
        let both = Scope::of(select("a")).and(&Scope::of(select("b")).within(select("c")));
        assert_eq!(alloc::format!("{both}"), "a within b within c");
        let mut steps = 0;
        assert!(!both.covers_in("b/v/r", &mut steps));
        assert_eq!(steps, 1, "no further than the first that does not cover it");
        assert!(!scope.includes(&Scope::of(select("a/x/r"))) && scope.includes(&scope));
        assert!(Scope::of(select("a")).includes(&Scope::of(select("a/b"))));
        assert!(!Scope::of(select("a/b")).includes(&Scope::of(select("a"))));
        assert!(
            Scope::of(select("a")).includes(&Scope::of(select("b")).within(select("a/x"))),
            "one part is enough"
        );
        assert!(!Scope::of(select("**")).within(select("a")).is_everything());
        assert!(scope.covers(&at("a/x/r")) && !scope.covers_text("a/y/r") && !scope.covers_text("b/x/r"));
    }

    #[test]
    fn a_mapping_renames_what_its_rules_are_of() {
        let mut mapping = Mapping::default();
        assert!(mapping.is_empty());
        mapping.add("a/v=b/w").unwrap();
        assert!(!mapping.is_empty());
        for (from, to) in [("a/v/r/s", "b/w/r/s"), ("a/w/r", "a/w/r"), ("c/v/r", "c/v/r")] {
            assert_eq!(mapping.apply(&at(from)), at(to));
        }
        let mut of_client = Mapping::default();
        of_client.add("a=b").unwrap();
        of_client.add("a=c").unwrap();
        assert!(!of_client.is_empty());
        assert_eq!(of_client.apply(&at("a/v/r")), at("b/v/r"), "the first");
        for (rule, why) in [
            ("a", ParseMappingError::Form),
            ("a/v=b", ParseMappingError::Form),
            ("=b", ParseMappingError::Name(ParseLocationError::Empty)),
            ("a/=b/w", ParseMappingError::Name(ParseLocationError::Empty)),
            ("a/v=b/w/x", ParseMappingError::Name(ParseLocationError::Slash)),
            ("a/v/x=b/w", ParseMappingError::Name(ParseLocationError::Slash)),
        ] {
            assert_eq!(mapping.add(rule), Err(why), "{rule}");
        }
        let long = "n".repeat(256);
        assert_eq!(
            mapping.add(&alloc::format!("a={long}")),
            Err(ParseMappingError::Name(ParseLocationError::TooLong))
        );
    }

    #[test]
    fn the_narrowest_mapping_applies() {
        let mut mapping = Mapping::default();
        mapping.add("wallet=purse").unwrap();
        mapping.add("wallet/web=other/sites").unwrap();
        assert_eq!(mapping.apply(&at("wallet/keys/a/b")), at("purse/keys/a/b"));
        assert_eq!(mapping.apply(&at("wallet/web/a")), at("other/sites/a"));
        assert_eq!(mapping.apply(&at("work/web/a")), at("work/web/a"));
        assert_eq!(mapping.add("wallet=a/b"), Err(ParseMappingError::Form));
        assert_eq!(mapping.add("wallet="), Err(ParseMappingError::Name(ParseLocationError::Empty)));
    }
}
