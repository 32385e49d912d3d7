//! The disk operations of a commit: every action on files goes through [`Storage`].
//!
//! [`Disk`] is the real file system. Tests replace it with one that fails the n-th call, or one
//! that loses unsynced content in a power cut. The trait only executes; [`SnapshotFile`] decides
//! the order.
//!
//! [`SnapshotFile`]: crate::SnapshotFile

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::file::safe_open;

/// The disk operations that a commit needs. Every method may fail; its error is passed on.
pub trait Storage {
    /// A file being written.
    type File;
    /// A file being read.
    type Reader: Read + Seek;
    /// A lock, released on drop.
    type Lock;

    /// Returns the real path behind `path`, with links followed. The file need not exist, but its
    /// folder must.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// Checks whether anything exists at `path`, even a dangling link.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens a regular file for reading, without blocking. Anything else is an error.
    fn open(&self, path: &Path) -> io::Result<Self::Reader>;

    /// Creates a file that only its owner may read and write. An existing file is an error.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Appends all of `bytes`.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;

    /// Opens an existing regular file for changes in place. Returns `None` if it has further names
    /// (hard links), under which a change would show as well, or if others than its owner may use
    /// it: a new file is the owner's alone.
    fn open_to_write(&self, path: &Path) -> io::Result<Option<Self::File>>;

    /// Sets the length of a file.
    fn set_len(&self, file: &mut Self::File, len: u64) -> io::Result<()>;

    /// Writes all of `bytes` at an offset.
    fn write_at(&self, file: &mut Self::File, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once the file's content would survive a power loss.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Renames a file and atomically replaces any file with the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns once the names in a folder would survive a power loss.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Returns the names in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// Checks whether `path` is a regular file of this user, not a link.
    fn is_own(&self, path: &Path) -> io::Result<bool>;

    /// Takes the exclusive lock of the lock file at `path`, creates the file if necessary, and
    /// notes this process in it. Returns `None` if another process holds the lock. Fails with an
    /// [`Obstacle`](crate::Obstacle) if `path` is not a file of Stronghold, which then stays
    /// untouched.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;

    /// Checks whether the last process that had the lock did not release it: it died, or called
    /// [`keep_note`](Self::keep_note).
    fn was_left(&self, lock: &Self::Lock) -> bool;

    /// Keeps this process's note in the lock file beyond the lock, for the next writer to find. So
    /// does a lock that [was left](Self::was_left), until [`release_note`](Self::release_note).
    fn keep_note(&self, lock: &mut Self::Lock);

    /// Lets the note go with the lock: everything that was left is durable.
    fn release_note(&self, lock: &mut Self::Lock);

    /// Checks whether `lock` is still the lock at `path`; `false` if its file was removed or
    /// replaced.
    fn is_locked(&self, lock: &Self::Lock, path: &Path) -> io::Result<bool>;

    /// Returns the process id noted in a lock file.
    fn lock_holder(&self, path: &Path) -> Option<u32>;
}

/// The real file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

/// A lock on the real file system: the open lock file.
#[derive(Debug)]
pub struct DiskLock {
    file: File,
    was_left: bool,
    keeps_note: bool,
}

impl Storage for Disk {
    type File = File;
    type Reader = File;
    type Lock = DiskLock;

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => resolve_new(path),
            result => result,
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        safe_open::open_to_read(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        safe_open::create(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Option<File>> {
        safe_open::open_to_write(path)
    }

    fn set_len(&self, file: &mut File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn write_at(&self, file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[cfg(unix)]
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    /// Other systems can't sync a folder; the file system orders renames itself.
    #[cfg(not(unix))]
    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn is_own(&self, path: &Path) -> io::Result<bool> {
        safe_open::is_own(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        let file = safe_open::open_lock(path)?;
        match file.try_lock() {
            // A previous writer may have removed the file, and another may have made a new one
            // since.
            Ok(()) if safe_open::is_lock(&file, path)? => {
                let was_left = file.metadata()?.len() > 0;
                note_holder(&file);
                Ok(Some(DiskLock { file, was_left, keeps_note: was_left }))
            }
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn is_locked(&self, lock: &DiskLock, path: &Path) -> io::Result<bool> {
        safe_open::is_at(&lock.file, path)
    }

    fn was_left(&self, lock: &DiskLock) -> bool {
        lock.was_left
    }

    fn keep_note(&self, lock: &mut DiskLock) {
        lock.keeps_note = true;
    }

    fn release_note(&self, lock: &mut DiskLock) {
        lock.keeps_note = false;
    }

    fn lock_holder(&self, path: &Path) -> Option<u32> {
        let mut note = String::new();
        safe_open::open_own_to_read(path).ok()?.take(16).read_to_string(&mut note).ok()?;
        note.strip_suffix('\n').unwrap_or(&note).parse().ok()
    }
}

impl Drop for DiskLock {
    /// Clears the note, unless it is to be kept, then releases the lock by closing the file.
    fn drop(&mut self) {
        if !self.keeps_note {
            let _ = self.file.set_len(0);
        }
    }
}

/// Notes this process in the lock file. Ignores errors: the note only helps waiting processes, and
/// a full disk must not prevent locking.
fn note_holder(mut file: &File) {
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
}

fn resolve_new(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(fs::canonicalize(folder)?.join(name))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_resolved_through_links_also_where_nothing_is_yet() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        fs::create_dir(folder.join("real")).unwrap();
        fs::write(folder.join("real/file"), "").unwrap();
        std::os::unix::fs::symlink("real", folder.join("link")).unwrap();
        for (path, expected) in [("link/file", "real/file"), ("link/new", "real/new"), ("link", "real")] {
            assert_eq!(Disk.resolve(&folder.join(path)).unwrap(), folder.join(expected));
        }
        assert_eq!(Disk.resolve(&folder.join("none/new")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(Disk.resolve(&folder.join("none/..")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(
            Disk.resolve(Path::new("nothing of this name")).unwrap(),
            here.join("nothing of this name")
        );
        std::os::unix::fs::symlink("nowhere", folder.join("dangling")).unwrap();
        let exists = |name: &str| Disk.exists(&folder.join(name)).ok();
        assert_eq!(
            (exists("dangling"), exists("real"), exists("none")),
            (Some(true), Some(true), Some(false))
        );
        assert_eq!(exists("real/file/below"), None);
    }

    /// Syncing a device fails, since it has nothing to sync; that is not reported as durable.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_failed_sync_is_told() {
        let device = File::open("/dev/null").unwrap();
        assert_eq!(Disk.sync(&device).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(Disk.sync_folder(Path::new("/dev/null")).is_err());
        let folder = tempfile::tempdir().unwrap();
        Disk.sync(&File::create(folder.path().join("file")).unwrap()).unwrap();
        Disk.sync_folder(folder.path()).unwrap();
    }

    #[test]
    fn a_lock_is_had_once_names_who_has_it_and_is_empty_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(Disk.lock_holder(&path), None);
        let lock = Disk.try_lock(&path).unwrap().unwrap();
        assert!(Disk.try_lock(&path).unwrap().is_none());
        assert_eq!(Disk.lock_holder(&path), Some(std::process::id()));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert!(Disk.is_locked(&lock, &path).unwrap());
        drop(lock);
        assert_eq!((fs::read(&path).unwrap(), Disk.lock_holder(&path)), (vec![], None));
        for (note, holder) in [("4711", Some(4711)), ("4711\n", Some(4711)), ("x\n", None)] {
            fs::write(&path, note).unwrap();
            assert_eq!(Disk.lock_holder(&path), holder);
        }
    }
}
