//! Reading a file in chunks, so that no file has to fit in memory to be copied or compared.

use std::io::{self, Read};
use std::path::Path;

use crate::error::{Action, IoContext, StorageError};
use crate::file::storage::Storage;

/// Length of a chunk, in bytes.
const PART_LEN: usize = 256 * 1024;

/// The chunks of a file, in order: all of full length except the last.
pub(crate) struct ChunkReader<R> {
    file: R,
    part: Vec<u8>,
}

impl<R: Read> ChunkReader<R> {
    pub(crate) fn of(file: R) -> Self {
        Self { file, part: Vec::new() }
    }

    /// Returns the next chunk, or `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.part.clear();
        (&mut self.file).take(PART_LEN as u64).read_to_end(&mut self.part)?;
        Ok((!self.part.is_empty()).then_some(&self.part))
    }
}

/// Copies `from` (read at `from_path`) into a new file and syncs it.
pub(crate) fn copy_synced<S: Storage>(
    storage: &S,
    from: impl Read,
    from_path: &Path,
    to: &Path,
) -> Result<(), StorageError> {
    let mut parts = ChunkReader::of(from);
    let mut file = storage.create(to).context(Action::Create, to)?;
    while let Some(part) = parts.next().context(Action::Read, from_path)? {
        storage.write(&mut file, part).context(Action::Write, to)?;
    }
    storage.sync(&file).context(Action::Sync, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_full_but_the_last_and_make_the_whole() {
        for (len, expected) in [
            (0, &[][..]),
            (5, &[5]),
            (PART_LEN, &[PART_LEN]),
            (PART_LEN + 1, &[PART_LEN, 1]),
            (2 * PART_LEN + 7, &[PART_LEN, PART_LEN, 7]),
        ] {
            let whole: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let mut parts = ChunkReader::of(&whole[..]);
            let (mut read, mut lens) = (Vec::new(), Vec::new());
            while let Some(part) = parts.next().unwrap() {
                lens.push(part.len());
                read.extend_from_slice(part);
            }
            assert_eq!((lens, read == whole), (expected.to_vec(), true));
        }
    }
}
