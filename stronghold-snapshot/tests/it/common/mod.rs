//! Faulty disks: one fails the n-th call, one forgets unsynced content when power is lost.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use stronghold_snapshot::Storage;

/// A storage that passes calls to another one, except for the chosen calls, which fail.
#[derive(Clone)]
pub(crate) struct Faulty<S> {
    inner: S,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Default)]
struct Plan {
    calls: Vec<&'static str>,
    fail_at: Option<usize>,
    sticky: bool,
    errno: i32,
    failed: Vec<&'static str>,
    spoilt: Option<usize>,
}

impl<S> Faulty<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// Resets the call log; from now on the call with this index fails, and all later ones if
    /// `sticky`.
    pub(crate) fn fail(&self, fail_at: Option<usize>, sticky: bool, errno: i32) {
        *self.plan.lock().unwrap() = Plan { fail_at, sticky, errno, ..Plan::default() };
    }

    /// Forgets the calls so far; from now on the write with this index writes other bytes, and says
    /// nothing.
    pub(crate) fn spoil(&self, write: Option<usize>) {
        *self.plan.lock().unwrap() = Plan { spoilt: write, ..Plan::default() };
    }

    fn is_spoilt(&self) -> bool {
        let plan = self.plan.lock().unwrap();
        let writes = plan.calls.iter().filter(|call| **call == "write").count();
        plan.spoilt.is_some_and(|at| writes == at + 1)
    }

    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.plan.lock().unwrap().calls.clone()
    }

    pub(crate) fn failed(&self) -> Vec<&'static str> {
        self.plan.lock().unwrap().failed.clone()
    }

    fn call(&self, name: &'static str) -> io::Result<&S> {
        let mut plan = self.plan.lock().unwrap();
        let index = plan.calls.len();
        plan.calls.push(name);
        let fails = plan.fail_at.is_some_and(|at| index == at || (plan.sticky && index > at));
        if fails {
            plan.failed.push(name);
            return Err(io::Error::from_raw_os_error(plan.errno));
        }
        Ok(&self.inner)
    }
}

/// A file whose reads are counted as calls too.
pub(crate) struct FaultyReader<S: Storage> {
    storage: Faulty<()>,
    inner: S::Reader,
}

impl<S: Storage> io::Read for FaultyReader<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.storage.call("read")?;
        self.inner.read(bytes)
    }
}

impl<S: Storage> io::Seek for FaultyReader<S> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.storage.call("seek")?;
        self.inner.seek(to)
    }
}

impl<S: Storage> Storage for Faulty<S> {
    type File = S::File;
    type Reader = FaultyReader<S>;
    type Lock = S::Lock;

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.call("resolve")?.resolve(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call("exists")?.exists(path)
    }
    fn open(&self, path: &Path) -> io::Result<FaultyReader<S>> {
        let inner = self.call("open")?.open(path)?;
        Ok(FaultyReader { storage: Faulty::<()> { inner: (), plan: self.plan.clone() }, inner })
    }
    fn create(&self, path: &Path) -> io::Result<S::File> {
        self.call("create")?.create(path)
    }
    /// A failing write is a short one.
    fn write(&self, file: &mut S::File, bytes: &[u8]) -> io::Result<()> {
        match self.call("write") {
            Ok(inner) if self.is_spoilt() => {
                let mut other = bytes.to_vec();
                other[bytes.len() / 2] ^= 1;
                inner.write(file, &other)
            }
            Ok(inner) => inner.write(file, bytes),
            Err(error) => self.inner.write(file, &bytes[..bytes.len() / 2]).and(Err(error)),
        }
    }
    fn open_to_write(&self, path: &Path) -> io::Result<Option<S::File>> {
        self.call("open_to_write")?.open_to_write(path)
    }
    fn set_len(&self, file: &mut S::File, len: u64) -> io::Result<()> {
        self.call("set_len")?.set_len(file, len)
    }
    /// A failing write is a short one.
    fn write_at(&self, file: &mut S::File, at: u64, bytes: &[u8]) -> io::Result<()> {
        match self.call("write") {
            Ok(inner) if self.is_spoilt() => {
                let mut other = bytes.to_vec();
                other[bytes.len() / 2] ^= 1;
                inner.write_at(file, at, &other)
            }
            Ok(inner) => inner.write_at(file, at, bytes),
            Err(error) => self.inner.write_at(file, at, &bytes[..bytes.len() / 2]).and(Err(error)),
        }
    }
    fn sync(&self, file: &S::File) -> io::Result<()> {
        self.call("sync")?.sync(file)
    }
    fn was_left(&self, lock: &S::Lock) -> bool {
        self.inner.was_left(lock)
    }
    fn keep_note(&self, lock: &mut S::Lock) {
        self.inner.keep_note(lock);
    }
    fn release_note(&self, lock: &mut S::Lock) {
        self.inner.release_note(lock);
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename")?.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove")?.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.call("sync_folder")?.sync_folder(folder)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.call("list")?.list(folder)
    }
    fn is_own(&self, path: &Path) -> io::Result<bool> {
        self.call("is_own")?.is_own(path)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<S::Lock>> {
        self.call("try_lock")?.try_lock(path)
    }
    fn is_locked(&self, lock: &S::Lock, path: &Path) -> io::Result<bool> {
        self.call("is_locked")?.is_locked(lock, path)
    }
    fn lock_holder(&self, path: &Path) -> Option<u32> {
        self.inner.lock_holder(path)
    }
}

/// A disk in memory whose power can be cut. Names reach it in order, but any number of the last
/// ones may be lost; unsynced content may be lost entirely or in half.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

type Names = BTreeMap<PathBuf, usize>;

#[derive(Default)]
struct State {
    contents: Vec<Content>,
    names: Names,
    /// The names after each change since the last sync of the folder; the first entry is durable.
    history: Vec<Names>,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
}

/// The severity of a power cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PowerCut {
    /// Maximum number of last name changes that are lost.
    pub(crate) names_lost: usize,
    /// Remaining unsynced content: `0` nothing, `1` half, `2` all.
    pub(crate) content_left: usize,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Returns the disk as it is after power came back.
    pub(crate) fn after(&self, cut: PowerCut) -> Self {
        let state = self.state();
        let mut history = state.history.clone();
        history.push(state.names.clone());
        let names = history[(history.len() - 1).saturating_sub(cut.names_lost)].clone();
        let survive = |content: &Content| {
            let bytes = match cut.content_left {
                _ if content.bytes == content.durable => content.bytes.clone(),
                0 => content.durable.clone(),
                1 if content.bytes.starts_with(&content.durable) => {
                    content.bytes[..(content.durable.len() + content.bytes.len()) / 2].to_vec()
                }
                1 => content.bytes[..content.bytes.len() / 2].to_vec(),
                _ => content.bytes.clone(),
            };
            Content { durable: bytes.clone(), bytes }
        };
        let contents = state.contents.iter().map(survive).collect();
        Self(Arc::new(Mutex::new(State { contents, names, history: Vec::new() })))
    }

    pub(crate) fn names(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }
}

impl State {
    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change_names(&mut self, change: impl FnOnce(&mut Names)) {
        self.history.push(self.names.clone());
        change(&mut self.names);
    }
}

impl Storage for Memory {
    type File = usize;
    type Reader = io::Cursor<Vec<u8>>;
    type Lock = ();

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state().names.contains_key(path))
    }
    fn open(&self, path: &Path) -> io::Result<io::Cursor<Vec<u8>>> {
        let state = self.state();
        Ok(io::Cursor::new(state.contents[state.find(path)?].bytes.clone()))
    }
    fn create(&self, path: &Path) -> io::Result<usize> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.contents.len();
        state.contents.push(Content::default());
        state.change_names(|names| _ = names.insert(path.to_owned(), file));
        Ok(file)
    }
    fn write(&self, file: &mut usize, bytes: &[u8]) -> io::Result<()> {
        self.state().contents[*file].bytes.extend(bytes);
        Ok(())
    }
    fn open_to_write(&self, path: &Path) -> io::Result<Option<usize>> {
        self.state().find(path).map(Some)
    }
    fn set_len(&self, file: &mut usize, len: u64) -> io::Result<()> {
        self.state().contents[*file].bytes.resize(len as usize, 0);
        Ok(())
    }
    fn write_at(&self, file: &mut usize, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (at, content) = (at as usize, &mut self.state().contents[*file].bytes);
        content.resize(content.len().max(at + bytes.len()), 0);
        content[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn was_left(&self, _lock: &()) -> bool {
        false
    }
    fn keep_note(&self, _lock: &mut ()) {}
    fn release_note(&self, _lock: &mut ()) {}
    fn sync(&self, file: &usize) -> io::Result<()> {
        let content = &mut self.state().contents[*file];
        content.durable = content.bytes.clone();
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let file = state.find(from)?;
        if state.names.get(to) == Some(&file) {
            return Ok(()); // two names of one file: nothing happens
        }
        state.change_names(|names| {
            names.remove(from);
            names.insert(to.to_owned(), file);
        });
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(path)?;
        state.change_names(|names| _ = names.remove(path));
        Ok(())
    }
    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.state().history.clear();
        Ok(())
    }
    fn list(&self, _folder: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.names().iter().filter_map(|path| Some(path.file_name()?.to_owned())).collect())
    }
    fn is_own(&self, path: &Path) -> io::Result<bool> {
        self.exists(path)
    }
    fn try_lock(&self, _path: &Path) -> io::Result<Option<()>> {
        Ok(Some(()))
    }
    fn is_locked(&self, _lock: &(), _path: &Path) -> io::Result<bool> {
        Ok(true)
    }
    fn lock_holder(&self, _path: &Path) -> Option<u32> {
        None
    }
}
