//! Checks that a table is quoted as in RFC 4180. CSV readers are lenient: with one quotation mark
//! missing, half of the table becomes one password.

/// A row that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// Line on which the row begins, counted from 1.
    pub(super) line: u64,
    pub(super) cells: usize,
}

/// Line and kind of a quoting error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuotingError {
    pub(super) line: u64,
    pub(super) fault: &'static str,
}

/// Returns the rows of a table, without empty lines.
///
/// # Errors
/// [`QuotingError`] at the first quotation mark that is misplaced or never closed.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, QuotingError> {
    let mut scan = Scan { rest: text.as_bytes(), line: 1 };
    let mut rows = Vec::new();
    while !scan.rest.is_empty() {
        let (line, before) = (scan.line, scan.rest.len());
        let mut cells = 1;
        scan.cell()?;
        while scan.skip(b",") {
            scan.cell()?;
            cells += 1;
        }
        if scan.rest.len() < before {
            rows.push(Row { line, cells });
        }
        scan.end_of_line();
    }
    Ok(rows)
}

struct Scan<'a> {
    rest: &'a [u8],
    line: u64,
}

impl Scan<'_> {
    /// Advances to the end of a cell: a comma, the end of the line, or the end of the table.
    fn cell(&mut self) -> Result<(), QuotingError> {
        let opened = self.line;
        if !self.skip(b"\"") {
            self.until(|byte| b",\r\n\"".contains(&byte));
            return match self.rest {
                [b'"', ..] => self.bad("there is a quotation mark inside a cell without any around it"),
                _ => Ok(()),
            };
        }
        loop {
            self.until(|byte| b"\r\n\"".contains(&byte));
            match self.rest {
                [] => return Err(QuotingError { line: opened, fault: "a quotation mark is never closed" }),
                [b'"', b'"', ..] => self.rest = &self.rest[2..],
                [b'"', ..] => break,
                _ => self.end_of_line(),
            }
        }
        self.rest = &self.rest[1..];
        match self.rest {
            [] | [b',' | b'\r' | b'\n', ..] => Ok(()),
            _ => self.bad("there is text after a closing quotation mark"),
        }
    }

    fn bad<T>(&self, fault: &'static str) -> Result<T, QuotingError> {
        Err(QuotingError { line: self.line, fault })
    }

    fn until(&mut self, is_end: impl Fn(u8) -> bool) {
        let end = self.rest.iter().position(|byte| is_end(*byte)).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
    }

    fn skip(&mut self, what: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Skips one line end of any system, if present.
    fn end_of_line(&mut self) {
        let found = self.skip(b"\r\n") || self.skip(b"\n") || self.skip(b"\r");
        self.line += u64::from(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Vec<(u64, usize)> {
        rows(text).unwrap().iter().map(|row| (row.line, row.cells)).collect()
    }

    #[test]
    fn rows_are_counted_as_written() {
        assert_eq!(shape("a,b\nc\n"), [(1, 2), (2, 1)]);
        assert_eq!(shape("a,\n,\n\"\"\n"), [(1, 2), (2, 2), (3, 1)]);
        assert_eq!(shape("a\r\n\r\n\"b\r\nc\",d\re"), [(1, 1), (3, 2), (5, 1)]);
        assert_eq!(shape("\n\n \n"), [(3, 1)]);
        assert!(shape("").is_empty());
    }

    #[test]
    fn each_fault_has_its_line() {
        let fault = |text: &str| rows(text).unwrap_err();
        assert_eq!(fault("a\n\"b\nc").line, 2);
        assert_eq!(fault("a\n\"b\nc\"x").line, 3);
        assert_eq!(fault("a\nb\"c").line, 2);
        assert_eq!(fault("a\n\"\"\"").line, 2);
        assert_eq!(fault("\"").line, 1);
    }
}
