//! Reads files, descriptors and stdin up to a limit, since each of them may be endless.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Mutex,
};

use zeroize::Zeroizing;

use crate::error::{Failure, shown};

/// Maximum size of an imported table, in bytes. Reading one takes up to three times as much memory.
pub(crate) const MAX_TABLE: usize = 16 << 20;

/// Number of bytes read at once.
const PART: usize = 64 << 10;

/// Readers that have claimed stdin so far.
static READERS: Mutex<Vec<Reader>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    OfOneLine,
    OfTheRest,
}

/// Reads up to `limit` bytes of a file (`-` is stdin), and one more if there are more.
///
/// # Errors
/// [`Failure`] when the file can't be read, or stdin was already read.
pub(crate) fn all(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if is_stdin(path) {
        return rest_of_stdin(limit);
    }
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    to_the_end(file, limit).map_err(|error| Failure::file(path, &error))
}

/// Reads a file (`-` is stdin) of at most `limit` bytes. `what` names the expected kind of file in
/// the hint of the error.
///
/// # Errors
/// As [`all`], and when the file is larger.
pub(crate) fn within(path: &Path, limit: usize, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bytes = all(path, limit)?;
    if bytes.len() > limit {
        let message = format!("{} is larger than {limit} bytes; nothing was changed", shown(path));
        return Err(Failure::usage(message, format!("is it {what}?")));
    }
    Ok(bytes)
}

/// Reads up to `limit` bytes of the rest of stdin, and one more if there are more.
///
/// # Errors
/// [`Failure`] when stdin was already read to its end, or reading fails.
pub(crate) fn rest_of_stdin(limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    claim(Reader::OfTheRest)?;
    to_the_end(Unbuffered, limit).map_err(|error| Failure::terminal(&error))
}

/// Reads the first line of a file or pipe (`-` is stdin): up to `limit` bytes and the line end. Of
/// stdin it reads not one byte more, which leaves the rest to another reader. Input that begins as
/// UTF-16 is read up to the limit.
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

/// Returns whether a path names this process's stdin.
pub(crate) fn is_stdin(path: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}

/// Claims stdin. One reader may take a line, then one may take the rest.
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

/// Reads up to `limit` bytes of a source, and one more if there are more.
pub(crate) fn to_the_end(source: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
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

/// Appends bytes, and wipes the memory that a growing vector leaves behind.
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

/// Stdin without the standard library's buffer, which reads ahead.
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

    /// A source that a signal interrupts before each byte, and that fails at its end.
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
