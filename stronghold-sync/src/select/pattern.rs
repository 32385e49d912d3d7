//! Glob patterns on `client/vault/record`: `*` and `?` stay within a segment, `**` crosses `/`, `\`
//! takes the next character literally.

use alloc::{string::String, vec, vec::Vec};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Maximum pattern length in characters, not counting escapes. Peers send patterns, and matching is
/// O(pattern x text).
pub const MAX_PATTERN: usize = 2048;

/// A pattern. If it has fewer than three segments, it matches everything below it: `wallet` means
/// `wallet/**`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
    shortcut: Shortcut,
    /// Minimum number of characters of a matching text.
    min_chars: usize,
}

/// The error for text that is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePatternError {
    /// Empty text.
    #[error("a selection is empty")]
    Empty,
    /// More than [`MAX_PATTERN`] characters.
    #[error("a selection is longer than {MAX_PATTERN} characters")]
    TooLong,
    /// A `\` at the end.
    #[error("a selection ends with '\\'")]
    Escape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Exactly(char),
    /// One character other than `/`.
    One,
    /// Any number of characters other than `/`.
    Some,
    /// Any number of any characters.
    Any,
}

/// The forms of most patterns, matched without the general algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shortcut {
    None,
    Literal(String),
    Prefix(String),
}

impl Pattern {
    /// Returns the pattern that matches only this text.
    pub fn literal(text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        for letter in text.chars() {
            if matches!(letter, '*' | '?' | '\\') {
                escaped.push('\\');
            }
            escaped.push(letter);
        }
        let tokens: Vec<Token> = text.chars().map(Token::Exactly).collect();
        Self { text: escaped, min_chars: tokens.len(), tokens, shortcut: Shortcut::Literal(text.into()) }
    }

    /// Returns the length of the text form, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns the number of steps that matching takes for each character of a text, beyond a
    /// comparison.
    pub(crate) fn complexity(&self) -> usize {
        if self.shortcut == Shortcut::None { self.tokens.len() } else { 0 }
    }

    /// Returns whether the pattern matches all of `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.matches_in(text, &mut 0)
    }

    /// Returns whether the pattern matches all of `text`, and adds the steps taken to `steps`: one
    /// for a comparison, plus, in the general algorithm, one for each token at each byte.
    pub(crate) fn matches_in(&self, text: &str, steps: &mut u64) -> bool {
        *steps += 1;
        match &self.shortcut {
            Shortcut::Literal(literal) => literal == text,
            Shortcut::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Shortcut::None if text.len() < self.min_chars => false,
            Shortcut::None => {
                *steps += (self.tokens.len() * text.len()) as u64;
                self.simulate(text)[self.tokens.len()]
            }
        }
    }

    /// Returns whether the pattern may match a text that begins with `prefix`.
    pub(crate) fn reaches(&self, prefix: &str) -> bool {
        match &self.shortcut {
            Shortcut::Literal(literal) => literal.starts_with(prefix),
            Shortcut::Prefix(own) => own.starts_with(prefix) || prefix.starts_with(own.as_str()),
            Shortcut::None => self.simulate(prefix).contains(&true),
        }
    }

    /// Returns whether the pattern matches every text.
    pub fn is_everything(&self) -> bool {
        matches!(&self.shortcut, Shortcut::Prefix(prefix) if prefix.is_empty())
    }

    /// Returns `true` if this pattern is known to match every text that the other matches. `false`
    /// is not certain.
    pub fn includes(&self, other: &Self) -> bool {
        match &self.shortcut {
            Shortcut::Prefix(prefix) => {
                let letters = other.tokens.iter().map_while(|token| match token {
                    Token::Exactly(letter) => Some(*letter),
                    _ => None,
                });
                letters.take(prefix.chars().count()).eq(prefix.chars())
            }
            Shortcut::Literal(_) | Shortcut::None => self.tokens == other.tokens,
        }
    }

    /// Returns whether some text exists that both patterns match.
    pub fn overlaps(&self, other: &Self) -> bool {
        // row[j]: do self.tokens[i..] and other.tokens[j..] share a text? Filled from both ends
        // backwards.
        let (rows, columns) = (&self.tokens, &other.tokens);
        let mut below = vec![false; columns.len() + 1];
        for i in (0..=rows.len()).rev() {
            let mut row = vec![false; columns.len() + 1];
            for j in (0..=columns.len()).rev() {
                row[j] = match (rows.get(i), columns.get(j)) {
                    (None, None) => true,
                    (Some(a), None) => a.repeats() && below[j],
                    (None, Some(b)) => b.repeats() && row[j + 1],
                    (Some(a), Some(b)) => Token::step(*a, *b, below[j], row[j + 1], below[j + 1]),
                };
            }
            below = row;
        }
        below[0]
    }

    /// Returns, for each position in the pattern, whether it can be reached after all of `text`.
    fn simulate(&self, text: &str) -> Vec<bool> {
        // Tracks every reachable position at once: no input causes backtracking.
        let mut at = vec![false; self.tokens.len() + 1];
        let mut next = at.clone();
        at[0] = true;
        self.skip_empty(&mut at);
        for letter in text.chars() {
            next.fill(false);
            for (i, token) in self.tokens.iter().enumerate().filter(|(i, _)| at[*i]) {
                if token.accepts(letter) {
                    next[if token.repeats() { i } else { i + 1 }] = true;
                }
            }
            self.skip_empty(&mut next);
            core::mem::swap(&mut at, &mut next);
        }
        at
    }

    fn skip_empty(&self, at: &mut [bool]) {
        for (i, token) in self.tokens.iter().enumerate() {
            if at[i] && token.repeats() {
                at[i + 1] = true;
            }
        }
    }
}

impl Token {
    fn repeats(self) -> bool {
        matches!(self, Self::Some | Self::Any)
    }

    fn accepts(self, letter: char) -> bool {
        match self {
            Self::Exactly(own) => own == letter,
            Self::One | Self::Some => letter != '/',
            Self::Any => true,
        }
    }

    /// Returns whether two tails overlap, given the results for the tails one token shorter.
    fn step(a: Self, b: Self, skip_a: bool, skip_b: bool, skip_both: bool) -> bool {
        match (a.repeats(), b.repeats()) {
            (true, true) => skip_a || skip_b,
            (true, false) => skip_a || (a.shares_a_letter(b) && skip_b),
            (false, true) => skip_b || (a.shares_a_letter(b) && skip_a),
            (false, false) => a.shares_a_letter(b) && skip_both,
        }
    }

    fn shares_a_letter(self, other: Self) -> bool {
        match (self, other) {
            (Self::Exactly(letter), token) | (token, Self::Exactly(letter)) => token.accepts(letter),
            _ => true,
        }
    }
}

impl FromStr for Pattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, ParsePatternError> {
        if text.is_empty() {
            return Err(ParsePatternError::Empty);
        }
        let mut tokens = tokens(text)?;
        if tokens.len() > MAX_PATTERN {
            return Err(ParsePatternError::TooLong);
        }
        complete(&mut tokens);
        let shortcut = shortcut(&tokens);
        let min_chars = tokens.iter().filter(|token| !token.repeats()).count();
        Ok(Self { text: text.into(), tokens, shortcut, min_chars })
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, ParsePatternError> {
    let mut tokens = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let token = match letter {
            '\\' => Token::Exactly(letters.next().ok_or(ParsePatternError::Escape)?),
            '?' => Token::One,
            '*' if tokens.last() == Some(&Token::Some) => {
                tokens.pop();
                Token::Any
            }
            '*' if tokens.last() == Some(&Token::Any) => continue,
            '*' => Token::Some,
            other => Token::Exactly(other),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// Completes `wallet` and `wallet/tokens` to match everything below them.
fn complete(tokens: &mut Vec<Token>) {
    let slashes = tokens.iter().filter(|token| **token == Token::Exactly('/')).count();
    if slashes < 2 && !tokens.contains(&Token::Any) {
        if tokens.last() != Some(&Token::Exactly('/')) {
            tokens.push(Token::Exactly('/'));
        }
        tokens.push(Token::Any);
    }
}

fn shortcut(tokens: &[Token]) -> Shortcut {
    let literal = |tokens: &[Token]| {
        tokens
            .iter()
            .map(|token| if let Token::Exactly(letter) = token { Some(*letter) } else { None })
            .collect::<Option<String>>()
    };
    match tokens {
        [head @ .., Token::Any] => literal(head).map_or(Shortcut::None, Shortcut::Prefix),
        all => literal(all).map_or(Shortcut::None, Shortcut::Literal),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = ParsePatternError;

    fn try_from(text: String) -> Result<Self, ParsePatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn stars_stay_within_a_segment_and_double_stars_cross() {
        assert!(pattern("*/tokens/*").matches("wallet/tokens/github"));
        assert!(!pattern("*/tokens/*").matches("wallet/tokens/github/2"));
        assert!(pattern("wallet/**").matches("wallet/tokens/github/2"));
        assert!(!pattern("wallet/**").matches("wallets/tokens/github"));
        assert!(pattern("w?llet/**/2").matches("wallet/tokens/github/2"));
    }

    #[test]
    fn fewer_than_three_segments_stand_for_all_below() {
        for text in ["wallet", "wallet/", "wallet/tokens", "*", "**", "*/tokens"] {
            assert!(pattern(text).matches("wallet/tokens/github/2"), "{text}");
        }
        assert!(!pattern("wallet/tok").matches("wallet/tokens/github"));
    }

    #[test]
    fn a_literal_keeps_its_text_through_the_wire_form() {
        let literal = Pattern::literal("a/b/what?*\\");
        assert!(literal.matches("a/b/what?*\\"));
        assert!(pattern(&literal.to_string()).matches("a/b/what?*\\"));
        assert!(!pattern(&literal.to_string()).matches("a/b/whatX*\\"));
    }

    #[test]
    fn the_longest_name_travels_as_a_literal_whatever_its_letters() {
        let longest = alloc::format!("{}/{}/{}", "*".repeat(255), "?".repeat(255), "\\".repeat(1024));
        let literal = Pattern::literal(&longest);
        assert_eq!(pattern(&literal.to_string()), literal);
        assert_eq!("a".repeat(MAX_PATTERN + 1).parse::<Pattern>(), Err(ParsePatternError::TooLong));
        assert!("a".repeat(MAX_PATTERN).parse::<Pattern>().is_ok());
        assert_eq!("".parse::<Pattern>(), Err(ParsePatternError::Empty));
        assert_eq!("a/b\\".parse::<Pattern>(), Err(ParsePatternError::Escape));
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_length_times_the_texts() {
        let text = "a".repeat(1000) + "/v/r";
        assert!(!pattern(&("*a".repeat(500) + "/v/s")).matches(&text));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_text_that_both_match_shows_that_they_overlap(
            a in "[ab/*?]{1,8}", b in "[ab/*?]{1,8}", texts in proptest::collection::vec("[ab]/[ab]/[ab/]{1,4}", 20),
        ) {
            let (a, b) = (pattern(&a), pattern(&b));
            for text in texts {
                if a.matches(&text) && b.matches(&text) {
                    prop_assert!(a.overlaps(&b) && b.overlaps(&a), "{a} {b} {text}");
                }
            }
        }
    }

    #[test]
    fn a_place_includes_what_is_below_it() {
        for (wide, narrow) in
            [("**", "a/*/c"), ("a", "a/b"), ("a", "a/b*/c"), ("a/b", "a/b/c"), ("a/*", "a/*/**")]
        {
            assert!(pattern(wide).includes(&pattern(narrow)), "{wide} {narrow}");
        }
        for (wide, narrow) in [("a/b", "a"), ("a", "ab"), ("a", "*"), ("a/b/c", "a/b"), ("a", "**")] {
            assert!(!pattern(wide).includes(&pattern(narrow)), "{wide} {narrow}");
        }
    }

    #[test]
    fn a_pattern_reaches_where_it_may_match_something() {
        for (text, prefix) in
            [("wallet/**", "wallet/"), ("*/web/*", "wallet/web/"), ("wallet/web/a", "wallet/"), ("**", "x/")]
        {
            assert!(pattern(text).reaches(prefix), "{text} {prefix}");
        }
        for (text, prefix) in
            [("wallet/**", "work/"), ("*/web/*", "wallet/keys/"), ("wallet/web/a", "wallets/")]
        {
            assert!(!pattern(text).reaches(prefix), "{text} {prefix}");
        }
    }

    #[test]
    fn a_text_is_as_long_as_its_pattern_says_at_least() {
        for (text, name, expected) in [
            ("?/?/?", "a/b/c", true),
            ("?/?/?", "a/b/", false),
            ("?/?/*", "a/b/", true),
            ("a*/b/c", "a/b/c", true),
            ("a*/b/c", "ab/b/c", true),
            ("a*/b/c", "/b/c", false),
            ("*/*/*", "//", true),
            ("**/c", "/c", true),
            ("**/c", "c", false),
            ("?/?/?", "\u{e9}/b/c", true),
        ] {
            assert_eq!(pattern(text).matches(name), expected, "{text} {name}");
        }
    }

    #[test]
    fn what_matching_costs_is_counted() {
        let steps = |text: &str, name: &str| {
            let mut steps = 5;
            pattern(text).matches_in(name, &mut steps);
            steps - 5
        };
        assert_eq!(steps("a/b/c", "a/b/c/d"), 1, "a comparison");
        assert_eq!(steps("a", "a/b/c"), 1);
        assert_eq!(steps("?/?/?", "a/b"), 1, "too short");
        assert_eq!(steps("?/?/?", "a/b/cd"), 1 + 5 * 6);
        for (text, complexity) in [("a/b/c", 0), ("a/b", 0), ("**", 0), ("a/*/c", 5), ("*", 3), ("**/a", 3)] {
            assert_eq!(pattern(text).complexity(), complexity, "{text}");
        }
        assert_eq!((pattern("a/\\*/\u{e9}").len(), pattern("**").len()), (7, 2));
        assert!(pattern("**").is_everything() && pattern("***").is_everything());
        assert!(
            !pattern("*").is_everything()
                && !pattern("a").is_everything()
                && !pattern("**/a").is_everything()
        );
    }

    #[test]
    fn what_is_taken_literally_is_written_with_a_backslash() {
        let literal = Pattern::literal("a/b/*?\\c");
        assert_eq!(literal.to_string(), "a/b/\\*\\?\\\\c");
        assert_eq!(literal, pattern("a/b/\\*\\?\\\\c"));
        let literal = Pattern::literal("a");
        assert!(literal.matches("a") && !literal.matches("a/b/c") && !literal.matches(""));
        assert_eq!(alloc::format!("{literal:?}"), "Pattern(\"a\")");
    }

    #[test]
    fn patterns_overlap_where_some_text_is_in_both() {
        for (one, other, expected) in [
            ("a*/v/r", "*b/v/r", true),
            ("a*/v/r", "b*/v/r", false),
            ("a?c/v/r", "ab*/v/r", true),
            ("a?c/v/r", "ab/v/r", false),
            ("*/v/r", "a/w/*", false),
            ("*/v/*", "a/?/r", true),
            ("**/x/r", "a/**", true),
            ("**/x/r", "a/b/r", false),
            ("a/b/?", "a/b/**", true),
            ("a/b/?", "a/b/c/**", false),
            ("a/b/?", "a/b/*/d", false),
            ("?/b/c", "*/b/c", true),
            ("?/b/c", "?*/b/c", true),
            ("??/b/c", "?/b/c", false),
            ("a/b/c*d", "a/b/c", false),
            ("a/b/c*", "a/b/c", true),
            ("a/b/*c", "a/b/*d", false),
            ("a/b/c", "a/b/c", true),
        ] {
            let (one, other) = (pattern(one), pattern(other));
            assert_eq!((one.overlaps(&other), other.overlaps(&one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn patterns_apart_do_not_overlap() {
        assert!(!pattern("wallet/**").overlaps(&pattern("work/**")));
        assert!(!pattern("*/tokens/*").overlaps(&pattern("wallet/keys/**")));
        assert!(pattern("*/tokens/*").overlaps(&pattern("wallet/**")));
        assert!(!pattern("a/b/c").overlaps(&pattern("a/b/c/*")));
    }
}
