//! Generates values: characters of an alphabet, or words of a list that is easy to say and to type.

use stronghold_vault::{RandomnessError, fill_random};
use zeroize::Zeroizing;

/// EFF's long list of 7776 words (Joseph Bonneau, EFF, 2016; CC BY 3.0 US), one a line.
const WORDS: &str = include_str!("words.txt");
/// Default length of a generated value, in characters.
const LEN: u16 = 24;
/// Default number of words: 77 bits.
pub(crate) const WORD_COUNT: u16 = 6;
/// Maximum number of characters or words.
const MAX: u16 = 4096;
/// Alphabet of 64 characters that need no quotation marks in any shell or URL.
const URL_SAFE: &str = "A-Za-z0-9-_";

/// Form of the value to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// Number of characters, and the alphabet as groups, of each of which one character occurs if
    /// there are as many.
    Characters(u16, Vec<Vec<char>>),
    /// Number of words.
    Words(u16),
}

impl Recipe {
    /// Parses the length, and the alphabet: single characters and ranges such as `a-z`.
    ///
    /// # Errors
    /// Describes the invalid length or alphabet.
    pub(crate) fn parse(length: &str, words: bool, alphabet: Option<&str>) -> Result<Self, String> {
        let number = || {
            let number = length.parse().ok().filter(|number| (1..=MAX).contains(number));
            number.ok_or_else(|| format!("a length is a number from 1 to {MAX}"))
        };
        let count = |default| if length.is_empty() { Ok(default) } else { number() };
        if words {
            return Ok(Self::Words(count(WORD_COUNT)?));
        }
        let groups = groups(alphabet.unwrap_or(URL_SAFE));
        if groups.iter().map(Vec::len).sum::<usize>() < 2 {
            return Err("an alphabet has two characters at least".into());
        }
        // Only an alphabet that a site demands has to occur with each of its groups.
        let groups = if alphabet.is_none() { vec![groups.concat()] } else { groups };
        Ok(Self::Characters(count(LEN)?, groups))
    }

    /// Generates a value.
    ///
    /// # Errors
    /// [`RandomnessError`] if the system returns no random bytes.
    pub(crate) fn generate(&self) -> Result<Zeroizing<String>, RandomnessError> {
        match self {
            Self::Words(count) => words(*count),
            Self::Characters(count, groups) => loop {
                let value = characters(*count, &groups.concat())?;
                let occurs = |group: &Vec<char>| value.chars().any(|letter| group.contains(&letter));
                if groups.len() > usize::from(*count) || groups.iter().all(occurs) {
                    return Ok(value);
                }
            },
        }
    }
}

/// Parses an alphabet into its ranges, and one group of all single characters. No character occurs
/// twice.
fn groups(alphabet: &str) -> Vec<Vec<char>> {
    let letters: Vec<char> = alphabet.chars().collect();
    let (mut groups, mut single, mut at) = (Vec::new(), Vec::new(), 0);
    while at < letters.len() {
        match letters[at..] {
            [first, '-', last, ..] if first < last => {
                groups.push((first..=last).collect());
                at += 3;
            }
            _ => {
                single.push(letters[at]);
                at += 1;
            }
        }
    }
    groups.push(single);
    let mut seen = std::collections::BTreeSet::new();
    groups.iter_mut().for_each(|group: &mut Vec<char>| group.retain(|letter| seen.insert(*letter)));
    groups.retain(|group| !group.is_empty());
    groups
}

fn characters(count: u16, alphabet: &[char]) -> Result<Zeroizing<String>, RandomnessError> {
    // Growing would leave a copy behind.
    let mut value = Zeroizing::new(String::with_capacity(4 * usize::from(count)));
    for _ in 0..count {
        value.push(alphabet[below(alphabet.len())?]);
    }
    Ok(value)
}

fn words(count: u16) -> Result<Zeroizing<String>, RandomnessError> {
    let list: Vec<&str> = WORDS.lines().collect();
    let longest = list.iter().map(|word| word.len()).max().unwrap_or(0);
    let mut value = Zeroizing::new(String::with_capacity((longest + 1) * usize::from(count)));
    for index in 0..count {
        value.push_str(if index == 0 { "" } else { "-" });
        value.push_str(list[below(list.len())?]);
    }
    Ok(value)
}

/// Returns a random number below `end`; each is as likely as any other.
fn below(end: usize) -> Result<usize, RandomnessError> {
    let end = end as u64;
    loop {
        let mut bytes = [0; 8];
        fill_random(&mut bytes)?;
        let number = u64::from_le_bytes(bytes);
        // The last, incomplete run of remainders is drawn again.
        if number < u64::MAX - u64::MAX % end {
            return Ok((number % end) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(length: &str, words: bool, alphabet: Option<&str>) -> String {
        Recipe::parse(length, words, alphabet).unwrap().generate().unwrap().to_string()
    }

    #[test]
    fn the_words_are_those_of_the_list() {
        let list: Vec<&str> = WORDS.lines().collect();
        assert_eq!((list.len(), list[0], list[7775]), (7776, "abacus", "zoom"));
        assert!(list.iter().all(|word| (3..=9).contains(&word.len())));
        // Four words of the list have a hyphen themselves.
        let value = made("3", true, None);
        assert!(value.split('-').count() >= 3 && value.split('-').all(|part| !part.is_empty()), "{value}");
        assert!(made("", true, None).split('-').count() >= 6);
    }

    #[test]
    fn characters_are_of_the_alphabet_and_of_each_of_its_groups() {
        let value = made("", false, None);
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        assert!(value.len() == 24 && value.chars().all(plain), "{value}");
        for _ in 0..100 {
            let value = made("4", false, Some("a-z0-9!A-Z"));
            for group in [char::is_lowercase, |letter: char| letter.is_ascii_digit(), |letter| letter == '!']
            {
                assert!(value.chars().any(group), "{value}");
            }
        }
        assert_eq!(made("1", false, Some("ab-")).len(), 1);
        assert!(made("50", false, Some("äö")).chars().all(|letter| "äö".contains(letter)));
        assert_eq!(groups("a-cb-dx-"), [vec!['a', 'b', 'c'], vec!['d'], vec!['x', '-']]);
    }

    #[test]
    fn lengths_and_alphabets_have_limits() {
        for (length, alphabet) in
            [("0", None), ("4097", None), ("x", None), ("-1", None), ("8", Some("a")), ("8", Some("aa"))]
        {
            assert!(Recipe::parse(length, false, alphabet).is_err(), "{length} {alphabet:?}");
        }
        assert!(Recipe::parse("4096", false, None).is_ok() && Recipe::parse("0", true, None).is_err());
    }
}
