//! The generations before, kept beside a snapshot: `NAME.1` is the newest.

use std::io;
use std::path::Path;

use crate::file::read_header;
use crate::file_error::{Action, At, CommitError, StorageError};
use crate::header::Encoded;
use crate::lineage::Lineage;
use crate::parts::copy_synced;
use crate::paths::Paths;
use crate::sealed::SealError;
use crate::storage::Storage;

/// The kept generations of a snapshot, of which there shall be `keep` at most.
pub(crate) struct Kept<'a, S: Storage> {
    pub(crate) storage: &'a S,
    pub(crate) paths: &'a Paths,
    pub(crate) keep: u8,
}

impl<S: Storage> Kept<'_, S> {
    /// Makes `NAME.1` the generation on disk, and the others one older: by a second name for the same file, or a copy
    /// where the file system has no second names. `NAME` itself is never touched. A commit that failed after this, and
    /// is tried again, keeps nothing twice.
    pub(crate) fn push(&self, current: &Lineage) -> Result<(), CommitError> {
        if self.keep > 0 && !self.is_newest(current) {
            let second = self.paths.temporary().map_err(SealError::from)?;
            let kept = self.name_again(&second).and_then(|()| self.shift(&second));
            if kept.is_err() {
                let _ = self.storage.remove(&second);
            }
            kept?;
        }
        let _ = self.remove_further(); // what is left of them is in nobody's way
        Ok(())
    }

    /// Removes those beyond the number to keep.
    pub(crate) fn remove_further(&self) -> Result<(), StorageError> {
        let names = self.storage.list(&self.paths.folder).at(Action::Find, &self.paths.folder)?;
        let further = names.iter().filter_map(|name| self.paths.kept_number(name)).filter(|n| *n > self.keep);
        for path in further.map(|n| self.paths.kept(n)) {
            match self.storage.remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.at(Action::Remove, &path)?,
            }
        }
        Ok(())
    }

    /// Whether `NAME.1` is that generation already. One that can't be read is none.
    fn is_newest(&self, current: &Lineage) -> bool {
        let kept = read_header(self.storage, &self.paths.kept(1)).ok();
        kept.is_some_and(|kept| Encoded::parse(&kept).is_ok_and(|kept| kept.hash() == current.header_hash()))
    }

    fn name_again(&self, second: &Path) -> Result<(), StorageError> {
        match self.storage.link(&self.paths.file, second) {
            Err(error) if links_are_missing(&error) => {
                let file = self.storage.open(&self.paths.file).at(Action::Read, &self.paths.file)?;
                copy_synced(self.storage, file, &self.paths.file, second)
            }
            result => result.at(Action::Keep, &self.paths.kept(1)),
        }
    }

    /// Renames from the oldest on, the newest last: at every moment all of them are there but for the oldest.
    fn shift(&self, newest: &Path) -> Result<(), StorageError> {
        for n in (1..self.keep).rev() {
            let (newer, older) = (self.paths.kept(n), self.paths.kept(n + 1));
            if self.storage.exists(&newer).at(Action::Find, &newer)? {
                self.storage.rename(&newer, &older).at(Action::Keep, &older)?;
            }
        }
        let path = self.paths.kept(1);
        self.storage.rename(newest, &path).at(Action::Keep, &path)
    }
}

/// Whether the file system gives no second names, to anyone or to this file.
fn links_are_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), Unsupported | PermissionDenied | TooManyLinks)
}
