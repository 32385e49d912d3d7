//! Power loss on a simulated file system (turmoil's), which forgets everything unsynced: bytes, in
//! blocks that may be torn, and the names in folders. Each seed has several lives; in each, power
//! fails after some number of calls. Whatever was acknowledged in an earlier life must exist in the
//! next, and open.

use std::ffi::OsString;
use std::future;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stronghold_snapshot::{CommitError, NewSlot, SnapshotFile, Storage, Unlock};
use turmoil::fs::shim::std::fs::{self, File, OpenOptions};

use crate::effort;

const FOLDER: &str = "/folder";
const PATH: &str = "/folder/vault";
const KEY: [u8; 32] = [5; 32];
const EIO: i32 = 5;

/// Lives of each seed, and seeds of each test.
const LIVES: usize = 5;
const SEEDS: u64 = 500;
/// Maximum number of calls before power fails: a commit makes about twenty, so up to three commits.
const CALLS: u64 = 90;

/// The simulated disk, as long as there is power.
#[derive(Clone)]
struct Simulated {
    /// Calls until power fails; `None` while it stays on.
    power: Arc<Mutex<Option<u64>>>,
    chance: Arc<Mutex<Chance>>,
}

/// SplitMix64: repeatable from the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

impl Simulated {
    fn call(&self) -> io::Result<()> {
        match &mut *self.power.lock().unwrap() {
            Some(0) => Err(io::Error::from_raw_os_error(EIO)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn chance(&self, end: u64) -> u64 {
        self.chance.lock().unwrap().below(end)
    }

    /// Makes names durable at random: a disk may do so before it is asked to.
    fn names_changed(&self) -> io::Result<()> {
        if self.chance(4) == 0 { fs::sync_dir(FOLDER) } else { Ok(()) }
    }
}

impl Storage for Simulated {
    type File = File;
    type Reader = File;
    type Lock = ();

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.call().map(|()| path.to_owned())
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call().map(|()| fs::exists(path))
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.call()?;
        File::open(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.call()?;
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        self.names_changed().map(|()| file)
    }
    /// Writes `bytes`; power may fail in the middle.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        match self.call() {
            Ok(()) => file.write_all(bytes),
            Err(error) => file.write_all(&bytes[..self.chance(bytes.len() as u64) as usize]).and(Err(error)),
        }
    }
    fn open_to_write(&self, path: &Path) -> io::Result<Option<File>> {
        self.call()?;
        OpenOptions::new().write(true).open(path).map(Some)
    }
    fn set_len(&self, file: &mut File, len: u64) -> io::Result<()> {
        self.call()?;
        file.set_len(len)
    }
    /// Writes `bytes`; power may fail in the middle.
    fn write_at(&self, file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
        let done = self.call();
        let len = if done.is_ok() { bytes.len() } else { self.chance(bytes.len() as u64) as usize };
        file.seek(io::SeekFrom::Start(at))?;
        file.write_all(&bytes[..len]).and(done)
    }
    fn was_left(&self, _lock: &()) -> bool {
        false
    }
    fn keep_note(&self, _lock: &mut ()) {}
    fn release_note(&self, _lock: &mut ()) {}
    fn sync(&self, file: &File) -> io::Result<()> {
        self.call()?;
        file.sync_all()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?;
        fs::rename(from, to)?;
        self.names_changed()
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        fs::remove_file(path)?;
        self.names_changed()
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.call()?;
        fs::sync_dir(folder)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.call()?;
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    }
    fn is_own(&self, path: &Path) -> io::Result<bool> {
        self.exists(path)
    }
    fn try_lock(&self, _path: &Path) -> io::Result<Option<()>> {
        self.call().map(Some)
    }
    fn is_locked(&self, _lock: &(), _path: &Path) -> io::Result<bool> {
        self.call().map(|()| true)
    }
    fn lock_holder(&self, _path: &Path) -> Option<u32> {
        None
    }
}

/// The knowledge of a seed across its lives: generations are numbered, and each has a payload of
/// its own.
struct Known {
    chance: Arc<Mutex<Chance>>,
    /// The last acknowledged generation, and the last one tried.
    acknowledged: Option<u64>,
    tried: u64,
    lives: usize,
    commits: u64,
}

/// Returns the payload of a generation: of a different length each time, over several blocks.
fn payload(number: u64) -> Vec<u8> {
    let length = Chance(number).below(3000) as usize;
    number.to_be_bytes().into_iter().chain(std::iter::repeat_n(number as u8, length)).collect()
}

/// Runs one life, from the return of power to its loss.
fn live(known: &mut Known) {
    let power = Arc::new(Mutex::new(None));
    let disk = Simulated { power: power.clone(), chance: known.chance.clone() };
    if known.lives == 0 {
        fs::create_dir(FOLDER).unwrap();
        fs::sync_dir(FOLDER).unwrap();
        fs::sync_dir("/").unwrap();
    }
    known.lives += 1;
    let held = fs::exists(PATH).then(|| check(&disk, known));
    assert!(held.is_some() || known.acknowledged.is_none(), "what was acknowledged is gone");
    *power.lock().unwrap() = Some(known.chance.lock().unwrap().below(CALLS));
    let mut file = match held {
        Some(file) => file,
        None => {
            known.tried += 1;
            let created =
                SnapshotFile::create_in(disk, Path::new(PATH), &[NewSlot::Key(&KEY)], &payload(known.tried));
            let Ok(file) = created else { return };
            known.acknowledged = Some(known.tried);
            file
        }
    };
    commit_until_dark(&mut file, known);
}

/// Checks that the file holds the last acknowledged generation or a later one.
fn check(disk: &Simulated, known: &mut Known) -> SnapshotFile<Simulated> {
    let open = |path: &Path| SnapshotFile::open_in(disk.clone(), path, &Unlock::Key(&KEY));
    let (file, found) = open(Path::new(PATH)).unwrap();
    let number_of = |part: &[u8]| u64::from_be_bytes(part[..8].try_into().unwrap());
    let mut number = number_of(&found);
    assert!(*found == payload(number), "a payload that was never written");
    for change in found.changes() {
        assert!(number_of(change) > number && change == payload(number_of(change)), "not the next change");
        number = number_of(change);
    }
    let range = known.acknowledged.unwrap_or(1)..=known.tried;
    assert!(range.contains(&number), "generation {number} is there, not one of {range:?}");
    known.acknowledged = Some(number);
    file
}

fn commit_until_dark(file: &mut SnapshotFile<Simulated>, known: &mut Known) {
    loop {
        known.tried += 1;
        // Of three commits, two are appended.
        let whole = known.chance.lock().unwrap().below(3) == 0;
        let written =
            file.lock(Duration::ZERO).map_err(CommitError::from).and_then(|mut locked| match whole {
                true => locked.commit(&payload(known.tried)),
                false => locked.append(&payload(known.tried)),
            });
        if written.is_err() {
            return;
        }
        known.acknowledged = Some(known.tried);
        known.commits += 1;
        let names: Vec<_> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let temporary = names.iter().filter(|name| name.to_string_lossy().ends_with(".tmp"));
        assert_eq!(temporary.count(), 0, "{names:?}");
    }
}

fn simulate(seed: u64) -> u64 {
    let mut builder = turmoil::Builder::new();
    builder.rng_seed(seed).fs().block_size(512).sync_probability(0.2);
    let mut sim = builder.build();
    let chance = Arc::new(Mutex::new(Chance(seed)));
    let known = Known { chance, acknowledged: None, tried: 0, lives: 0, commits: 0 };
    let known = Arc::new(Mutex::new(known));
    let of_host = known.clone();
    sim.host("disk", move || {
        let known = of_host.clone();
        async move {
            live(&mut known.lock().unwrap());
            future::pending().await
        }
    });
    for life in 1..=LIVES {
        sim.step().unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
        assert_eq!(known.lock().unwrap().lives, life, "seed {seed}");
        sim.crash("disk");
        sim.bounce("disk");
    }
    let known = known.lock().unwrap();
    known.commits
}

/// Runs several seeds, from `first` on; a failure names its seed, and
/// `STRONGHOLD_EFFORT=seed=N` repeats that one alone.
fn seeds(first: u64) {
    if let Some(seed) = effort::given("seed") {
        simulate(seed);
        return;
    }
    let seeds = effort::count("seeds", SEEDS);
    let commits: u64 = (first..first + seeds).map(simulate).sum();
    assert!(commits > seeds, "only {commits} commits in {seeds} seeds");
}

#[test]
fn power_goes_in_the_first_seeds() {
    seeds(0);
}

#[test]
fn power_goes_in_the_second_seeds() {
    seeds(SEEDS);
}

#[test]
fn power_goes_in_the_third_seeds() {
    seeds(2 * SEEDS);
}

#[test]
fn power_goes_in_the_fourth_seeds() {
    seeds(3 * SEEDS);
}
