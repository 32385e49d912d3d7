//! The words of doc comments: how they begin, and how often they say `returns`.

/// Beginnings that ask instead of naming the thing.
const QUESTIONS: [&str; 7] = ["What", "Whether", "How", "Why", "Who", "Whom", "Whose"];

/// Counts over all doc comments of some sources. A block is a run of lines that begin with `///` or
/// `//!`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    blocks: usize,
    questions: usize,
    words: usize,
    returns: usize,
}

impl Words {
    /// Counts the doc comments of these texts.
    pub(crate) fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut counted = Self::default();
        texts.into_iter().for_each(|text| counted.add(text));
        counted
    }

    fn add(&mut self, text: &str) {
        let mut is_inside = false;
        for line in text.lines() {
            let line = line.trim_start();
            let Some(said) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
                is_inside = false;
                continue;
            };
            let mut words = said.split_whitespace().peekable();
            if !is_inside {
                self.blocks += 1;
                self.questions += usize::from(words.peek().is_some_and(|first| QUESTIONS.contains(first)));
            }
            is_inside = true;
            for word in words {
                self.words += 1;
                let word = word.trim_matches(|letter: char| !letter.is_alphanumeric());
                self.returns += usize::from(word.eq_ignore_ascii_case("returns"));
            }
        }
    }

    /// Returns how many of a hundred blocks begin with a question word.
    pub(crate) fn percent_of_questions(&self) -> f64 {
        100.0 * self.questions as f64 / self.blocks.max(1) as f64
    }

    /// Returns how often `returns` stands in a thousand words.
    pub(crate) fn returns_per_thousand(&self) -> f64 {
        1000.0 * self.returns as f64 / self.words.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_runs_of_lines_and_only_their_first_word_counts() {
        let text = "//! Whether it rains.\n\n/// Returns what is left.\n/// What follows is no beginning.\nfn f() {}\n// Why not\n";
        let counted = Words { blocks: 2, questions: 1, words: 12, returns: 1 };
        assert_eq!(Words::of([text]), counted);
        assert!((counted.percent_of_questions() - 50.0).abs() < 1e-9);
    }
}
