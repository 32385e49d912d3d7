//! Lists the files beside a snapshot and its visible header. Needs no key and changes nothing.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Action, IoContext, OpenFileError, StorageError};
use crate::error::{Damage, OpenError};
use crate::file::paths::Paths;
use crate::file::safe_open;
use crate::file::storage::{Disk, Storage};
use crate::format::header::{self, ParsedHeader};
use crate::format::segment::{self, HEADER_LEN, SegmentHeader};
use crate::format::slot::{Slot, SlotInfo};

/// The files beside a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// The snapshot's path, with links followed.
    pub file: PathBuf,
    /// Temporary files, of an active writer or left by a dead one. The next writer removes them.
    pub temporary: Vec<PathBuf>,
    /// The lock file, if there is one.
    pub lock: Option<PathBuf>,
    /// The process that is writing, if there is one.
    pub writer: Option<u32>,
}

/// The parts of a snapshot that are readable without a key. Nothing of it is authenticated: that
/// takes a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The file's id: 16 random bytes, the same in all its generations.
    pub file_id: [u8; 16],
    /// The generation.
    pub generation: u64,
    /// The key slots.
    pub slots: Vec<SlotInfo>,
    /// Length of the whole file, in bytes.
    pub len: u64,
    /// Number of bytes at its end that are no whole change, as far as the headers tell.
    pub unfinished: u64,
}

impl FileStatus {
    /// Lists the files beside the snapshot at `path`.
    ///
    /// # Errors
    /// [`StorageError`] if the folder can't be read.
    pub fn of(path: &Path) -> Result<Self, StorageError> {
        let paths = Paths::resolve(&Disk, path)?;
        let names = Disk.list(&paths.folder).context(Action::Find, &paths.folder)?;
        let temporary = names.iter().filter(|name| paths.is_temporary(name));
        Ok(Self {
            temporary: temporary.map(|name| paths.folder.join(name)).collect(),
            writer: Disk.lock_holder(&paths.lock),
            lock: fs::symlink_metadata(&paths.lock).is_ok().then_some(paths.lock),
            file: paths.file,
        })
    }
}

impl Inspection {
    /// Reads magic, header and length of the snapshot at `path`.
    ///
    /// # Errors
    /// [`OpenFileError`], which distinguishes a file that is not a snapshot, a newer version and a
    /// damaged file as far as possible without a key.
    pub fn of(path: &Path) -> Result<Self, OpenFileError> {
        let wrong = |source| OpenFileError::Snapshot { path: path.to_owned(), source };
        let mut file = safe_open::open_to_read(path).context(Action::Read, path)?;
        let len = file.metadata().context(Action::Read, path)?.len();
        let mut start = Vec::new();
        (&mut file).take(header::MAX_LEN as u64).read_to_end(&mut start).context(Action::Read, path)?;
        let encoded = ParsedHeader::parse(&start).map_err(wrong)?;
        let ParsedHeader { header, .. } = &encoded;
        if len < encoded.body_end() {
            return Err(wrong(OpenError::Damaged(Damage::Truncated)));
        }
        let (generation, end) = last_generation(&mut file, &encoded, len).context(Action::Read, path)?;
        let slots = header.slots.iter().map(Slot::info).collect();
        let file_id = header.file_id;
        Ok(Self { file_id, generation, slots, len, unfinished: len.saturating_sub(end) })
    }
}

/// Returns the generation after the last whole segment and the offset behind it, as the headers
/// claim.
fn last_generation(
    file: &mut (impl Read + Seek),
    base: &ParsedHeader<'_>,
    len: u64,
) -> io::Result<(u64, u64)> {
    let (mut generation, mut value) = (base.header.generation, base.hash());
    let mut at = segment::aligned(base.body_end());
    loop {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.take(HEADER_LEN as u64).read_to_end(&mut bytes)?;
        match SegmentHeader::parse(&bytes) {
            Some(header) if header.follows(generation, &value) && header.len() <= len.saturating_sub(at) => {
                (generation, value) = (generation + 1, header.chain_value());
                at = at.saturating_add(header.len());
            }
            _ => return Ok((generation, at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::file::SnapshotFile;
    use crate::format::slot::{NewSlot, SlotKind};

    #[test]
    fn what_stands_around_a_snapshot_is_told_and_left() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        let path = folder.join("vault");
        let mut file = SnapshotFile::create(&path, &[NewSlot::Key(&[1; 32])], b"one").unwrap();
        let lock = folder.join(".vault.lock");
        let mut expected =
            FileStatus { file: path.clone(), temporary: vec![], lock: Some(lock), writer: None };
        assert_eq!(FileStatus::of(&path).unwrap(), expected);
        let locked = file.lock(Duration::ZERO).unwrap();
        let left = Paths::resolve(&Disk, &path).unwrap().temporary().unwrap();
        fs::write(&left, "half").unwrap();
        fs::write(folder.join(".vault.tmp"), "another's").unwrap();
        expected = FileStatus { temporary: vec![left], writer: Some(std::process::id()), ..expected };
        assert_eq!(FileStatus::of(&path).unwrap(), expected);
        drop(locked);
        file.remove_lock(Duration::ZERO).unwrap();
        expected = FileStatus { temporary: vec![], lock: None, writer: None, ..expected };
        assert_eq!(FileStatus::of(&path).unwrap(), expected);
        assert_eq!(FileStatus::of(&folder.join("none/vault")).unwrap_err().action, Action::Find);
    }

    #[test]
    fn a_snapshot_shows_its_generation_slots_and_length_and_what_is_none_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        let mut file = SnapshotFile::create(&path, &[NewSlot::Key(&[1; 32])], b"one").unwrap();
        file.commit(&[7; 100_000]).unwrap();
        let inspection = Inspection::of(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let slots: Vec<SlotInfo> = file.sealer().slots().collect();
        assert_eq!((slots.len(), slots[0].number, slots[0].kind), (1, 1, SlotKind::Key));
        let file_id = whole[32..48].try_into().unwrap();
        assert_eq!(
            inspection,
            Inspection { file_id, generation: 2, slots, len: whole.len() as u64, unfinished: 0 }
        );
        file.lock(Duration::ZERO).unwrap().append(b"change").unwrap();
        let longer = fs::read(&path).unwrap();
        for (len, generation, unfinished) in [(0, 3, 0), (1, 2, 4095), (4095, 2, 1), (4096, 2, 0)] {
            fs::write(&path, &longer[..longer.len() - len]).unwrap();
            let found = Inspection::of(&path).unwrap();
            assert_eq!((found.generation, found.unfinished), (generation, unfinished), "{len}");
        }
        let of = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            match Inspection::of(&path).unwrap_err() {
                OpenFileError::Snapshot { path: at, source } if at == path => source,
                other => panic!("{other}"),
            }
        };
        let truncated = OpenError::Damaged(Damage::Truncated);
        assert_eq!(of(&whole[..whole.len() - 5000]), truncated);
        assert_eq!(of(&whole[..100]), truncated);
        assert_eq!(of(b"a text"), OpenError::NotASnapshot);
        let mut changed = whole;
        changed[60] ^= 1;
        assert_eq!(of(&changed), OpenError::Damaged(Damage::Header));
        fs::remove_file(&path).unwrap();
        assert!(
            matches!(Inspection::of(&path), Err(OpenFileError::Storage(error)) if error.action == Action::Read)
        );
    }
}
