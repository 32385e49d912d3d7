//! What stands around a snapshot, for whoever looks after it: no key is needed, and nothing is changed.

use std::path::{Path, PathBuf};

use crate::file_error::{Action, At, StorageError};
use crate::paths::Paths;
use crate::storage::{Disk, Storage};

/// The files beside a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The snapshot, links followed.
    pub file: PathBuf,
    /// Temporary files: of a writer at work, or left by one that died. The next writer removes them.
    pub temporary: Vec<PathBuf>,
    /// The process that is writing, if one is.
    pub writer: Option<u32>,
}

impl Surroundings {
    /// Looks around the snapshot at `path`.
    ///
    /// # Errors
    /// [`StorageError`] when its folder can't be read.
    pub fn of(path: &Path) -> Result<Self, StorageError> {
        let paths = Paths::resolve(&Disk, path)?;
        let names = Disk.list(&paths.folder).at(Action::Find, &paths.folder)?;
        let temporary = names.iter().filter(|name| paths.is_temporary(name));
        Ok(Self {
            temporary: temporary.map(|name| paths.folder.join(name)).collect(),
            writer: Disk.lock_holder(&paths.lock),
            file: paths.file,
        })
    }
}
