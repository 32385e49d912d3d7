//! Estimates how hard a passphrase is to guess.

use zxcvbn::{Score, zxcvbn};

/// Advice on a passphrase that is not good.
const ADVICE: &str = "; more words make it stronger";

/// Returns a line that tells a passphrase's strength, if it is not good.
pub(super) fn advice(passphrase: &[u8]) -> Option<String> {
    let told = told(passphrase);
    told.contains(ADVICE).then_some(told)
}

/// Returns a line that tells a passphrase's strength.
pub(super) fn told(passphrase: &[u8]) -> String {
    let entropy = zxcvbn(&String::from_utf8_lossy(passphrase), &[]);
    let word = match entropy.score() {
        Score::Zero | Score::One => "weak",
        Score::Two => "fair",
        Score::Three => "good",
        _ => "strong",
    };
    let bits = (entropy.guesses_log10() / 2f64.log10()).round();
    let advice = match entropy.score() {
        Score::Three | Score::Four => "",
        _ => ADVICE,
    };
    format!("strength: {word} (about {bits} bits){advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_and_short_ones_are_weak_and_words_by_chance_strong() {
        for weak in ["a", "hunter2", "password1", "qwertz"] {
            assert!(told(weak.as_bytes()).starts_with("strength: weak (about "), "{weak}");
        }
        assert!(told(b"crunch-mention-quarter-tidal-overbook-zoom").starts_with("strength: strong (about "));
        assert_eq!(advice(b"hunter2"), Some(told(b"hunter2")));
        assert_eq!(advice(b"crunch-mention-quarter-tidal-overbook-zoom"), None);
        for (passphrase, word, has_advice) in
            [("hunter2", "weak", true), ("xkq7vmz", "fair", true), ("plumrefit9", "good", false)]
        {
            let told = told(passphrase.as_bytes());
            assert_eq!((told.contains(word), told.ends_with("stronger")), (true, has_advice), "{told}");
        }
        assert!(told(b"\xff").starts_with("strength: weak"));
        assert!(told(&b"x".repeat(4096)).starts_with("strength: "));
    }
}
