//! A note about a snapshot last seen: one line of text.

use std::path::{Path, PathBuf};

use stronghold_sync::hex;

use crate::file::SnapshotFile;
use crate::format::cost::KdfWork;
use crate::format::sealer::Sealer;

/// A note about a file: its id, its generation, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) file_id: [u8; 16],
    pub(crate) generation: u64,
    chain_value: [u8; 32],
    /// The cost of its passphrase slots, which the owner has paid before.
    pub(crate) work: KdfWork,
    pub(crate) place: Place,
    pub(crate) path: PathBuf,
}

/// The relation of a path to the file seen there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The file's home.
    Home,
    /// A copy, while the file's home was elsewhere.
    Copy,
}

impl Note {
    /// Maximum length of a note, in bytes. A path has at most 4,096 bytes, two digits each.
    pub(crate) const MAX_LEN: u64 = 16 * 1024;

    pub(crate) fn of(file: &SnapshotFile, place: Place) -> Self {
        let sealer = file.sealer();
        Self {
            file_id: sealer.file_id(),
            generation: sealer.generation(),
            chain_value: sealer.chain_value(),
            work: sealer.work(),
            place,
            path: file.path().to_owned(),
        }
    }

    pub(crate) fn is_of(&self, sealer: &Sealer) -> bool {
        self.file_id == sealer.file_id()
    }

    /// Checks whether the note is ahead of the file: a later generation, or one that is not among
    /// those from which the file's was made.
    pub(crate) fn is_ahead_of(&self, sealer: &Sealer) -> bool {
        self.is_of(sealer)
            && (self.generation > sealer.generation()
                || sealer.value_at(self.generation).is_some_and(|value| value != self.chain_value))
    }

    /// Checks whether this note supersedes `known`: a later generation, or the same one with other
    /// details.
    pub(crate) fn supersedes(&self, known: &Self) -> bool {
        self.generation > known.generation || self.generation == known.generation && self != known
    }

    /// Checks whether `known` tells all of this note but the generation.
    pub(crate) fn is_told_by(&self, known: &Self) -> bool {
        let Self { generation, chain_value, .. } = *known;
        *known == Self { generation, chain_value, ..self.clone() }
    }

    pub(crate) fn to_text(&self) -> String {
        let Self { generation, work, .. } = self;
        let place = if self.place == Place::Home { HOME } else { COPY };
        let (id, hash) = (hex::text(&self.file_id), hex::text(&self.chain_value));
        let path = hex::text(self.path.as_os_str().as_encoded_bytes());
        format!("{MARK} {id} {generation} {hash} {} {} {place} {path}\n", work.memory_kib, work.total_kib)
    }

    /// Parses the output of [`to_text`](Self::to_text). Returns `None` for anything else.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let mut word = || words.next();
        if word()? != MARK {
            return None;
        }
        let note = Self {
            file_id: hex::read(word()?)?,
            generation: word()?.parse().ok()?,
            chain_value: hex::read(word()?)?,
            work: KdfWork { memory_kib: word()?.parse().ok()?, total_kib: word()?.parse().ok()? },
            place: match word()? {
                HOME => Place::Home,
                COPY => Place::Copy,
                _ => return None,
            },
            path: path(word()?)?,
        };
        words.next().is_none().then_some(note)
    }
}

fn path(digits: &str) -> Option<PathBuf> {
    let pair = |pair: &[u8]| hex::read::<1>(core::str::from_utf8(pair).ok()?).map(|[byte]| byte);
    let bytes: Vec<u8> = digits.as_bytes().chunks(2).map(pair).collect::<Option<_>>()?;
    let path = from_bytes(bytes)?;
    Path::is_absolute(&path).then_some(path)
}

#[cfg(unix)]
fn from_bytes(bytes: Vec<u8>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn from_bytes(bytes: Vec<u8>) -> Option<PathBuf> {
    String::from_utf8(bytes).ok().map(PathBuf::from)
}

const MARK: &str = "seen-1";
const HOME: &str = "home";
const COPY: &str = "copy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_a_later_generation_or_more_of_the_same() {
        let note = |generation, hash, place| Note {
            file_id: [1; 16],
            generation,
            chain_value: [hash; 32],
            work: KdfWork::NONE,
            place,
            path: "/vault".into(),
        };
        let known = note(7, 1, Place::Home);
        for (other, is_news) in [
            (note(8, 1, Place::Home), true),
            (note(6, 2, Place::Home), false),
            (note(7, 1, Place::Home), false),
            (note(7, 2, Place::Home), true),
            (note(7, 1, Place::Copy), true),
        ] {
            assert_eq!(other.supersedes(&known), is_news, "{other:?}");
        }
    }

    #[test]
    fn a_note_comes_back_from_its_text_and_nothing_else_is_one() {
        let note = Note {
            file_id: [1; 16],
            generation: 7,
            chain_value: [2; 32],
            work: KdfWork::FOREIGN,
            place: Place::Copy,
            path: "/a folder/with\nlines/ü".into(),
        };
        let text = note.to_text();
        assert_eq!(Note::from_text(&text), Some(note.clone()));
        for other in ["", "\n", "9", "x y", &text[..text.len() - 1], &text[1..], &format!("{text}\n")] {
            assert_eq!(Note::from_text(other), None, "{other}");
        }
        let longest = Note { path: format!("/{}", "x".repeat(4095)).into(), generation: u64::MAX, ..note };
        let text_of_longest = longest.to_text();
        assert!(text_of_longest.len() as u64 <= Note::MAX_LEN);
        assert_eq!(Note::from_text(&text_of_longest), Some(longest));
        for (from, to) in [
            (" 7 ", " -7 "),
            ("copy", "both"),
            (" 0202", " 02"),
            ("seen-1", "seen-2"),
            ("2f61", "2f6"),
            ("2f61", "61"),
        ] {
            assert_eq!(Note::from_text(&text.replacen(from, to, 1)), None, "{to}");
        }
    }
}
