//! Stores of objects, which nobody has to trust: a folder that another program carries.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use stronghold_snapshot::offload;
use stronghold_sync::hex;
use stronghold_vault::{RandomnessError, random};
use thiserror::Error;

use crate::session::handler::BoxFuture;

/// Maximum length of an object's name, in characters: a file system allows 255 bytes.
pub const MAX_STORE_NAME: usize = 128;
/// Length of a temporary file's random name, in bytes.
const TEMPORARY_LEN: usize = 16;
/// Age at which a temporary file is no longer written by anybody.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3_600);

/// A place that keeps objects under names. It may lose, delay, repeat or alter them. No method
/// needs a condition that only some stores can check: names are random, and an object never
/// changes.
pub trait Store: Send + Sync {
    /// Returns the names of the objects, at most `limit` of them.
    fn list(&self, limit: usize) -> BoxFuture<Result<Listing, StoreError>>;

    /// Returns an object of at most `limit` bytes; `None` if there is none with this name.
    fn get(&self, name: &str, limit: usize) -> BoxFuture<Result<Option<Vec<u8>>, StoreError>>;

    /// Stores an object under a new name, durably if the store can.
    fn put(&self, name: &str, object: Vec<u8>) -> BoxFuture<Result<(), StoreError>>;

    /// Deletes an object. One that is not there is no error.
    fn delete(&self, name: &str) -> BoxFuture<Result<(), StoreError>>;
}

/// The names of the objects in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The names, in no order.
    pub names: Vec<String>,
    /// Number of things seen that are no objects: other names, folders, links.
    pub others: usize,
    /// `false` if the listing ended at the limit.
    pub is_complete: bool,
}

/// An error of a store.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The name can't be that of an object.
    #[error("that is not the name of an object")]
    Name,
    /// Not an object: a link, a folder or a device.
    #[error("it is not a plain file")]
    NotAFile,
    /// The object is longer than the limit.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// The operating system returned no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] RandomnessError),
    /// The server refuses the login, or has none.
    #[error("the server does not permit it: check the login")]
    Denied,
    /// The server has no such place.
    #[error("the server has no such place")]
    NoPlace,
    /// An app of Dropbox or Google Drive has no login with a token.
    #[error(
        "it takes a login with the records username, password and token: an app's id, its secret and its refresh token"
    )]
    NoToken,
    /// The server shows no host key that `ssh` knows.
    #[error(
        "the server's host key is not the known one, or none is known: connect by `ssh` once and compare it"
    )]
    HostKey,
    /// The program `ssh` is not installed.
    #[error("the program `ssh`, which reaches it, is not installed")]
    NoSsh,
    /// The server failed, or is not reached.
    #[error("the server is not reached, or it failed ({0})")]
    Server(&'static str),
    /// Another error of reading or writing.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The folder of a pair inside a folder that another program carries, such as a synchronised folder
/// or a USB stick.
#[derive(Clone, Debug)]
pub struct Folder {
    place: PathBuf,
    pair: PathBuf,
}

impl Folder {
    /// Names the folder of a pair, [`PairKeys::folder`](super::PairKeys::folder), inside `place`.
    /// `place` must exist when the store is used: a stick that is not plugged in is an error, not
    /// an empty store. The pair's folder is made by the first [`put`](Store::put).
    pub fn new(place: impl Into<PathBuf>, pair: &str) -> Self {
        let place = place.into();
        Self { pair: place.join(pair), place }
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        if !is_name(name) {
            return Err(StoreError::Name);
        }
        Ok(self.pair.join(name))
    }

    fn list_now(&self, limit: usize) -> Result<Listing, StoreError> {
        let mut listing = Listing { is_complete: true, ..Listing::default() };
        let found = match fs::read_dir(&self.pair) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::read_dir(&self.place)?;
                return Ok(listing);
            }
            found => found?,
        };
        let now = SystemTime::now();
        for (at, entry) in found.enumerate() {
            if at >= limit {
                listing.is_complete = false;
                break;
            }
            let entry = entry?;
            let name = entry.file_name().into_string().ok().filter(|name| is_name(name));
            match name.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) {
                Some(name) => listing.names.push(name),
                None if is_left_behind(&entry, now) => _ = fs::remove_file(entry.path()),
                None => listing.others += 1,
            }
        }
        Ok(listing)
    }

    fn put_now(&self, path: &Path, object: &[u8]) -> Result<(), StoreError> {
        match fs::create_dir(&self.pair) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        if fs::symlink_metadata(path).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
        }
        let temporary = self.pair.join(temporary()?);
        let written = write_new(&temporary, object).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // The error of writing is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        sync_folder(&self.pair)?;
        Ok(())
    }
}

impl Store for Folder {
    fn list(&self, limit: usize) -> BoxFuture<Result<Listing, StoreError>> {
        let this = self.clone();
        Box::pin(offload(move || this.list_now(limit)))
    }

    fn get(&self, name: &str, limit: usize) -> BoxFuture<Result<Option<Vec<u8>>, StoreError>> {
        let path = self.path(name);
        Box::pin(offload(move || read(&path?, limit)))
    }

    fn put(&self, name: &str, object: Vec<u8>) -> BoxFuture<Result<(), StoreError>> {
        let (this, path) = (self.clone(), self.path(name));
        Box::pin(offload(move || this.put_now(&path?, &object)))
    }

    fn delete(&self, name: &str) -> BoxFuture<Result<(), StoreError>> {
        let path = self.path(name);
        Box::pin(offload(move || match fs::remove_file(path?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }))
    }
}

/// Returns whether an entry of the pair's folder is a temporary file of a process that was killed a
/// day ago or more.
fn is_left_behind(entry: &fs::DirEntry, now: SystemTime) -> bool {
    let name = entry.file_name();
    let written = || entry.metadata().ok().filter(fs::Metadata::is_file)?.modified().ok();
    name.to_str().is_some_and(is_temporary) && written().is_some_and(|at| is_old(at, now))
}

/// Returns a new name under which an object is written. The point keeps it out of listings, here
/// and in programs that skip hidden files.
pub(super) fn temporary() -> Result<String, RandomnessError> {
    Ok(format!(".{}", hex::text(&random::<TEMPORARY_LEN>()?)))
}

/// Returns whether a name is one under which an object is written.
pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_prefix('.').is_some_and(|name| name.len() == 2 * TEMPORARY_LEN && is_name(name))
}

/// Returns whether a temporary file that was written `at` is written by nobody any more.
pub(super) fn is_old(at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|age| age >= LEFT_BEHIND)
}

/// Returns whether a text is meant as the address of a place on a server, not as the path of a
/// folder.
pub fn is_address(text: &str) -> bool {
    let is_scheme = |scheme: &str| !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme))
}

/// Returns whether a name can be that of an object: it leads to no other folder, and is the same in
/// file systems that ignore case.
pub(super) fn is_name(name: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (1..=MAX_STORE_NAME).contains(&name.len()) && name.bytes().all(is_digit)
}

fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match open_plain(path) {
        Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut object = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut object)?;
    if object.len() > limit {
        return Err(StoreError::TooLong(limit));
    }
    Ok(Some(object))
}

/// Opens a plain file, neither through a link nor waiting for the other end of a FIFO.
fn open_plain(path: &Path) -> Result<File, StoreError> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(StoreError::NotAFile);
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(StoreError::NotAFile) }
}

fn write_new(path: &Path, object: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(object)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests;
