//! Reads a line without echo, key by key. The terminal is restored however reading ends.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use rustix::{
    process::Signal,
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use zeroize::Zeroizing;

/// Initial capacity of a line's buffer. Growing it leaves a copy behind.
const ROOM: usize = 8192;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;

/// Outcome of typing a line.
pub(super) enum Typed {
    Line(Zeroizing<Vec<u8>>),
    Ended,
    TooLong,
    Signal(Signal),
}

/// A terminal that delivers each key and echoes none, until it is dropped.
pub(super) struct Unechoed<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> Unechoed<'a> {
    pub(super) fn new(tty: &'a File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(tty, OptionalActions::Now, &modes)?;
        Ok(Self { tty, before })
    }

    /// Reads a line of at most `limit` bytes.
    pub(super) fn line(&mut self, limit: usize) -> io::Result<Typed> {
        let mut line = Zeroizing::new(Vec::with_capacity(ROOM.min(limit + 1)));
        loop {
            let Some(key) = self.key()? else { return Ok(Typed::Ended) };
            if let Some(end) = self.end(key, &line) {
                return Ok(end);
            }
            match key {
                b'\n' | b'\r' if line.len() > limit => return Ok(Typed::TooLong),
                b'\n' | b'\r' => return Ok(Typed::Line(line)),
                ESCAPE => self.skip_sequence()?,
                _ if self.edit(key, &mut line) => {}
                // Other control keys beep: unseen, they would become part of a passphrase.
                0..b' ' if key != b'\t' => write!(&*self.tty, "\u{7}")?,
                // The rest of a line that is too long is discarded, so that no shell runs it as a
                // command.
                _ if line.len() <= limit => line.push(key),
                _ => {}
            }
        }
    }

    /// Returns the outcome if a key ends the line at once: a signal, or the end of input on an
    /// empty line.
    fn end(&self, key: u8, line: &[u8]) -> Option<Typed> {
        let signal = if self.is(key, SpecialCodeIndex::VINTR) {
            Signal::INT
        } else if self.is(key, SpecialCodeIndex::VQUIT) {
            Signal::QUIT
        } else if self.is(key, SpecialCodeIndex::VSUSP) {
            Signal::TSTP
        } else {
            let ends = self.is(key, SpecialCodeIndex::VEOF) && line.is_empty();
            return ends.then_some(Typed::Ended);
        };
        Some(Typed::Signal(signal))
    }

    /// Applies an erasing key. Returns `false` for any other key.
    fn edit(&self, key: u8, line: &mut Vec<u8>) -> bool {
        if [DELETE, BACKSPACE].contains(&key) || self.is(key, SpecialCodeIndex::VERASE) {
            erase_letter(line);
        } else if key == CTRL_U || self.is(key, SpecialCodeIndex::VKILL) {
            line.clear();
        } else if key == CTRL_W || self.is(key, SpecialCodeIndex::VWERASE) {
            erase_word(line);
        } else {
            return false;
        }
        true
    }

    /// Returns whether the terminal uses `key` for `code`. The code 0 means no key.
    fn is(&self, key: u8, code: SpecialCodeIndex) -> bool {
        key != 0 && self.before.special_codes[code] == key
    }

    /// Skips the sequence that an arrow or function key sends after its escape.
    fn skip_sequence(&self) -> io::Result<()> {
        match self.key()? {
            Some(b'[') => while self.key()?.is_some_and(|key| !(b'@'..=b'~').contains(&key)) {},
            Some(b'O') => drop(self.key()?),
            _ => {}
        }
        Ok(())
    }

    fn key(&self) -> io::Result<Option<u8>> {
        let mut key = [0];
        loop {
            match (&*self.tty).read(&mut key) {
                Ok(read) => return Ok((read == 1).then_some(key[0])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Unechoed<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, OptionalActions::Now, &self.before);
        let _ = writeln!(&*self.tty);
    }
}

/// Erases the last character, of any number of bytes.
fn erase_letter(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| (0x80..0xc0).contains(&byte)) {}
}

fn erase_word(line: &mut Vec<u8>) {
    let kept = line.trim_ascii_end().iter().rposition(|byte| *byte == b' ').map_or(0, |space| space + 1);
    line.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_words_are_erased_whole() {
        let erased = |text: &str, erase: fn(&mut Vec<u8>)| {
            let mut line = text.as_bytes().to_vec();
            erase(&mut line);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(erased("né", erase_letter), "n");
        assert_eq!(erased("鍵", erase_letter), "");
        assert_eq!(erased("", erase_letter), "");
        assert_eq!(erased("two words  ", erase_word), "two ");
        assert_eq!(erased("word", erase_word), "");
    }
}
