//! Columns of the terminal, and of texts that are shown on it.

use unicode_width::UnicodeWidthStr;

/// Number of columns below which lists are narrow: names are what people read in them.
const NARROW: usize = 60;

/// Returns the number of columns of the terminal on stdout, if it is one.
pub(crate) fn of_stdout() -> Option<usize> {
    #[cfg(unix)]
    return rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0);
    #[cfg(not(unix))]
    None
}

/// Returns whether stdout is a terminal of few columns.
pub(crate) fn is_narrow() -> bool {
    of_stdout().is_some_and(|columns| columns < NARROW)
}

/// Returns the number of columns that a text takes: letters of East Asia and emoji take two.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Returns a text with blanks up to this number of columns.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(width(text));
    format!("{text}{:blanks$}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_take_two_columns() {
        assert_eq!(["abc", "密码", "é", "🔑"].map(width), [3, 4, 1, 2]);
        assert_eq!([padded("ab", 4), padded("密码", 6), padded("long", 2)], ["ab  ", "密码  ", "long"]);
    }
}
