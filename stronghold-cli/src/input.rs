//! What is read from outside, never more than a limit: files, descriptors and stdin may have no end.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Mutex,
};

use zeroize::Zeroizing;

use crate::error::{Failure, shown};

/// The largest table that is imported. Reading one takes up to three times as much memory.
pub(crate) const MAX_TABLE: usize = 16 << 20;

/// What is read at once.
const PART: usize = 64 << 10;

/// Who has read from stdin so far.
static READERS: Mutex<Vec<Reader>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    OfOneLine,
    OfTheRest,
}

/// Reads a file (`-` is stdin) of at most `limit` bytes, and one more if there are more.
///
/// # Errors
/// [`TaskError`] when it can't be read, or something else reads stdin.
pub(crate) fn all(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if is_stdin(path) {
        return rest_of_stdin(limit);
    }
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    to_the_end(file, limit).map_err(|error| Failure::file(path, &error))
}

/// Reads a file (`-` is stdin) that must not be larger than `limit`; `what` it is, is said if it is.
///
/// # Errors
/// As [`all`], and when it is larger.
pub(crate) fn within(path: &Path, limit: usize, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bytes = all(path, limit)?;
    if bytes.len() > limit {
        let message = format!("{} is larger than {limit} bytes; nothing was changed", shown(path));
        return Err(Failure::usage(message, format!("is it {what}?")));
    }
    Ok(bytes)
}

/// Reads what stdin still has, at most `limit` bytes and one more if there are more.
///
/// # Errors
/// [`TaskError`] when something else has read it to its end, or it fails.
pub(crate) fn rest_of_stdin(limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    claim(Reader::OfTheRest)?;
    to_the_end(Unbuffered, limit).map_err(|error| Failure::terminal(&error))
}

/// Reads the first line of a file or pipe (`-` is stdin): at most `limit` bytes and its end, and of stdin not one byte more,
/// so that what follows is there for another reader. What begins as UTF-16 is read as far as the limit lets.
///
/// # Errors
/// As [`all`].
pub(crate) fn line(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if is_stdin(path) {
        claim(Reader::OfOneLine)?;
        return line_of(Unbuffered, limit).map_err(|error| Failure::terminal(&error));
    }
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    line_of(file, limit).map_err(|error| Failure::file(path, &error))
}

/// Whether a path stands for this process' stdin.
pub(crate) fn is_stdin(path: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}

/// Lets stdin be read by one reader of a line, then by one of the rest.
fn claim(reader: Reader) -> Result<(), Failure> {
    let mut readers = READERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let again = readers.contains(&Reader::OfTheRest) || readers.contains(&reader);
    if again {
        return Err(Failure::usage(
            "stdin can't be read twice; nothing was changed",
            "let one of them come from a file or another descriptor; a passphrase takes the first line, a value the rest",
        ));
    }
    readers.push(reader);
    Ok(())
}

fn to_the_end(source: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut source = source.take(limit as u64 + 1);
    let mut part = Zeroizing::new(vec![0; PART]);
    let mut bytes = Zeroizing::new(Vec::with_capacity(PART.min(limit + 1)));
    loop {
        match source.read(&mut part) {
            Ok(0) => return Ok(bytes),
            Ok(len) => append(&mut bytes, &part[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Appends, and wipes the memory that a growing vector leaves behind.
fn append(to: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    if to.capacity() - to.len() < more.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * to.capacity() + more.len()));
        larger.extend_from_slice(to);
        std::mem::swap(to, &mut larger);
    }
    to.extend_from_slice(more);
}

fn line_of(mut source: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(limit + 1));
    let mut byte = [0];
    while line.len() <= limit {
        match source.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        let is_utf16 = line.starts_with(&[0xff, 0xfe]) || line.starts_with(&[0xfe, 0xff]);
        if byte == *b"\n" && !is_utf16 {
            break;
        }
    }
    Ok(line)
}

/// Stdin without the buffer of the standard library, which takes more than it was asked for.
struct Unbuffered;

impl Read for Unbuffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_without_end_is_left_at_the_limit() {
        assert_eq!(to_the_end(io::repeat(0), 10).unwrap().len(), 11);
        assert_eq!(to_the_end(&[7; 10][..], 10).unwrap().len(), 10);
        assert_eq!(line_of(io::repeat(b'x'), 10).unwrap().len(), 11);
        assert_eq!(line_of(&[0xff, 0xfe].repeat(100)[..], 10).unwrap().len(), 11);
    }

    /// A source that a signal interrupts before each byte, and that then fails.
    struct Interrupted<'a>(&'a [u8], bool);

    impl Read for Interrupted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            match self.0 {
                _ if self.1 => Err(io::ErrorKind::Interrupted.into()),
                [] => Err(io::ErrorKind::BrokenPipe.into()),
                _ => self.0.read(&mut buffer[..1]),
            }
        }
    }

    #[test]
    fn a_signal_ends_no_reading_and_an_error_does() {
        let of = |bytes| Interrupted(bytes, false);
        assert_eq!(to_the_end(of(b"value").take(5), 10).unwrap().as_slice(), b"value");
        assert_eq!(line_of(of(b"pass\nvalue"), 10).unwrap().as_slice(), b"pass\n");
        assert_eq!(to_the_end(of(b"value"), 10).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(line_of(of(b"pass"), 10).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn not_one_byte_after_the_line_is_read() {
        let mut source = &b"pass\nvalue"[..];
        assert_eq!(*line_of(&mut source, 100).unwrap(), b"pass\n");
        assert_eq!(source, b"value");
    }
}
