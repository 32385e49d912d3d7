//! Safe opening of files. Refuses links, folders, FIFOs, devices and files of other users.
//!
//! Anyone with write access to a snapshot's folder can put anything at the names that Stronghold
//! uses there. So a file to be written is never reached through a link, is a regular file of this
//! user with a single name, and holds only content that Stronghold writes there; otherwise nothing
//! is changed. Opening never waits for the other end of a FIFO.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use thiserror::Error;

/// Maximum length of a lock file's content, in bytes: a decimal process id and a line feed.
const LOCK_LEN: u64 = 11;

/// An unexpected object in place of a file of Stronghold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// A symbolic link, whatever its target.
    #[error("it is a link")]
    Link,
    /// A folder.
    #[error("it is a folder")]
    Folder,
    /// A FIFO, a socket or a device.
    #[error("it is a FIFO, a socket or a device, not a file")]
    Special,
    /// A file with further names (hard links).
    #[error("it is a file that has other names too (hard links)")]
    SecondName,
    /// A file of another user.
    #[error("it is another user's file")]
    OtherUser,
    /// A file with content that Stronghold does not write there.
    #[error("it is a file that Stronghold did not make")]
    Content,
    /// Another file replaced it while it was in use.
    #[error("it took the place of the one in use")]
    Exchanged,
}

impl Obstacle {
    /// Returns the obstacle inside an error of this crate's storage, if there is one.
    pub fn behind(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Obstacle> for io::Error {
    fn from(obstacle: Obstacle) -> Self {
        Self::new(io::ErrorKind::InvalidInput, obstacle)
    }
}

/// Opens a regular file for reading, through links, without blocking.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    check_kind(&fs::metadata(path)?)?; // first: opening a device may do something
    let file = non_blocking(OpenOptions::new().read(true)).open(path)?;
    check_kind(&file.metadata()?)?;
    Ok(file)
}

/// Opens a file of this user for reading, but not through a link.
pub(crate) fn open_own_to_read(path: &Path) -> io::Result<File> {
    check_kind(&fs::symlink_metadata(path)?)?;
    let file = not_through_links(OpenOptions::new().read(true)).open(path)?;
    check_own(&file.metadata()?)?;
    Ok(file)
}

/// Opens a regular file for writing, without blocking. Returns `None` if it has further names, or
/// others than its owner may use it.
pub(crate) fn open_to_write(path: &Path) -> io::Result<Option<File>> {
    check_kind(&fs::symlink_metadata(path)?)?;
    let file = not_through_links(OpenOptions::new().write(true)).open(path)?;
    let found = file.metadata()?;
    check_kind(&found)?;
    Ok((names(&found) == 1 && is_private(&found)).then_some(file))
}

/// Creates a file that only its owner may read and write. Fails if anything exists at `path`.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    owner_only(OpenOptions::new().write(true).create_new(true)).open(path)
}

/// Opens or creates the file to lock. Writes nothing.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(found) => check_own(&found)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = not_through_links(owner_only(&mut options)).open(path)?;
    check_own(&file.metadata()?)?;
    Ok(file)
}

/// Checks whether `path` still leads to the open `file`.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(is_same(&file.metadata()?, &found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Checks whether `file` is still the lock file at `path` and has a lock's content. Returns `false`
/// if `path` leads to another file or none: the lock to take is then the one there.
pub(crate) fn is_lock(mut file: &File, path: &Path) -> io::Result<bool> {
    if !is_at(file, path)? {
        return Ok(false);
    }
    check_own(&file.metadata()?)?;
    let mut content = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(LOCK_LEN + 1).read_to_end(&mut content)?;
    file.seek(SeekFrom::Start(0))?;
    let digits = content.strip_suffix(b"\n").unwrap_or(&content);
    let is_note = content.len() as u64 <= LOCK_LEN && digits.iter().all(u8::is_ascii_digit);
    if is_note { Ok(true) } else { Err(Obstacle::Content.into()) }
}

/// Checks whether `path` is a regular file of this user, not a link. It may have further names.
pub(crate) fn is_own(path: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    Ok(found.is_file() && is_of_this_user(&found))
}

fn check_own(found: &Metadata) -> io::Result<()> {
    check_kind(found)?;
    if !is_of_this_user(found) {
        return Err(Obstacle::OtherUser.into());
    }
    if names(found) > 1 {
        return Err(Obstacle::SecondName.into());
    }
    Ok(())
}

fn check_kind(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    Err(match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_symlink() => Obstacle::Link,
        () if kind.is_dir() => Obstacle::Folder,
        () => Obstacle::Special,
    }
    .into())
}

#[cfg(unix)]
mod system {
    //! File metadata on Unix.

    use std::fs::{Metadata, OpenOptions};
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    use rustix::fs::OFlags;

    pub(super) fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
        options.mode(0o600)
    }

    pub(super) fn non_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
    }

    pub(super) fn not_through_links(options: &mut OpenOptions) -> &mut OpenOptions {
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
    }

    pub(super) fn is_of_this_user(found: &Metadata) -> bool {
        found.uid() == rustix::process::geteuid().as_raw()
    }

    pub(super) fn names(found: &Metadata) -> u64 {
        found.nlink()
    }

    pub(super) fn is_private(found: &Metadata) -> bool {
        found.mode() & 0o077 == 0
    }

    pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
}

#[cfg(not(unix))]
mod system {
    //! Other systems: the standard library offers less metadata.

    use std::fs::{Metadata, OpenOptions};

    pub(super) fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
        options
    }

    pub(super) fn non_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
        options
    }

    pub(super) fn not_through_links(options: &mut OpenOptions) -> &mut OpenOptions {
        options
    }

    pub(super) fn is_of_this_user(_: &Metadata) -> bool {
        true
    }

    pub(super) fn is_private(_: &Metadata) -> bool {
        true
    }

    pub(super) fn names(_: &Metadata) -> u64 {
        1
    }

    pub(super) fn is_same(_: &Metadata, _: &Metadata) -> bool {
        true
    }
}

use system::{is_of_this_user, is_private, is_same, names, non_blocking, not_through_links, owner_only};

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn obstacle<T>(result: io::Result<T>) -> Option<Obstacle> {
        result.err().and_then(|error| Obstacle::behind(&error))
    }

    #[test]
    fn a_file_is_this_users_own_where_it_is_one_and_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "content").unwrap();
        symlink("file", at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for (name, expected) in [("file", true), ("link", false), ("folder", false)] {
            assert_eq!(is_own(&at(name)).ok(), Some(expected), "{name}");
        }
        assert!(is_own(&at("none")).is_err());
        assert_eq!(obstacle(open_own_to_read(&at("link"))), Some(Obstacle::Link));
        assert_eq!(obstacle(open_own_to_read(&at("folder"))), Some(Obstacle::Folder));
        assert_eq!(obstacle(open_to_read(&at("folder"))), Some(Obstacle::Folder));
        let mut read = String::new();
        open_to_read(&at("link")).unwrap().read_to_string(&mut read).unwrap();
        open_own_to_read(&at("file")).unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "contentcontent");
        fs::hard_link(at("file"), at("other")).unwrap();
        assert_eq!(is_own(&at("file")).ok(), Some(true), "with two names too");
        assert_eq!(obstacle(open_own_to_read(&at("file"))), Some(Obstacle::SecondName));
        assert_eq!(obstacle(open_lock(&at("file"))), Some(Obstacle::SecondName));
    }

    #[test]
    fn an_open_file_is_where_it_was_until_another_or_none_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let file = create(&at("file")).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(create(&at("file")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(is_at(&file, &at("file")).unwrap());
        fs::rename(at("file"), at("moved")).unwrap();
        assert!(!is_at(&file, &at("file")).unwrap() && is_at(&file, &at("moved")).unwrap());
        create(&at("file")).unwrap();
        assert!(!is_at(&file, &at("file")).unwrap());
        assert_eq!(is_at(&file, &at("moved/below")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_lock_holds_a_process_id_and_a_line_feed_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = open_lock(&path).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for (content, is_one) in [
            ("", true),
            ("\n", true),
            ("4294967295\n", true),
            ("12345678901", true),
            ("12345678901\n", false),
            ("1\n\n", false),
            ("1 ", false),
            ("x", false),
        ] {
            fs::write(&path, content).unwrap();
            let found = is_lock(&file, &path);
            assert_eq!(found.as_ref().ok(), is_one.then_some(&true), "{content:?}");
            assert_eq!(obstacle(found), (!is_one).then_some(Obstacle::Content), "{content:?}");
            assert_eq!(obstacle(open_lock(&path)), None, "it is opened, and stays");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(is_lock(&file, &path).ok(), Some(false), "another's lock");
        let below = open_lock(&folder.path().join("none/lock")).unwrap_err();
        assert_eq!(below.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_open_lock_is_read_from_its_start_and_is_none_once_it_is_shared_or_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut file = open_lock(&path).unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(obstacle(is_lock(&file, &path)), Some(Obstacle::Content), "what was written is read");
        assert_eq!(file.stream_position().unwrap(), 0);
        fs::write(&path, "4711\n").unwrap();
        fs::hard_link(&path, folder.path().join("other")).unwrap();
        assert_eq!(obstacle(is_lock(&file, &path)), Some(Obstacle::SecondName));
        fs::remove_file(folder.path().join("other")).unwrap();
        assert_eq!(is_lock(&file, &path).ok(), Some(true));
        if std::os::unix::fs::chown(&path, Some(65534), Some(65534)).is_err() {
            eprintln!("skipped in part: only root gives files away");
            return;
        }
        assert_eq!(obstacle(is_lock(&file, &path)), Some(Obstacle::OtherUser));
        assert_eq!(obstacle(open_lock(&path)), Some(Obstacle::OtherUser));
        assert_eq!(obstacle(open_own_to_read(&path)), Some(Obstacle::OtherUser));
        assert_eq!((is_own(&path).ok(), open_to_read(&path).is_ok()), (Some(false), true));
    }
}
