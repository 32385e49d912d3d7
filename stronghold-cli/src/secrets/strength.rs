//! Estimates how hard a passphrase is to guess.

use zxcvbn::{Score, zxcvbn};

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
        _ => "; more words make it stronger",
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
        assert!(told(b"\xff").starts_with("strength: weak"));
        assert!(told(&b"x".repeat(4096)).starts_with("strength: "));
    }
}
