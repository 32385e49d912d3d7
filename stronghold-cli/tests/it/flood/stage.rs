//! Sets the stage of a flood: a device that serves, an honest one that syncs with it, and
//! measurements of both.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use stronghold_net::SharedVault;
use stronghold_snapshot::{Unlock, VaultFile};
use stronghold_sync::DeviceId;
use stronghold_vault::Rendezvous;

use super::{
    clients::{self, Reaction, Tally},
    connections,
    watch::{Level, Levels, Watched},
};
use crate::common::{Device, Running, pair, paired, trust_each_other};

/// Number of entries on both the honest device and the server.
const ENTRIES: usize = 200;
/// Number of honest syncs before the flood, and the pause between two during it.
const SYNCS: usize = 9;
const PAUSE: Duration = Duration::from_millis(200);
/// Maximum growth over the level after the first hundred connections, in kB.
const FLAT: u64 = 8 * 1024;

pub(crate) struct Stage {
    /// The device that serves.
    pub(crate) a: Device,
    honest: Honest,
    pub(crate) address: SocketAddr,
    pub(crate) server: DeviceId,
    pub(crate) watched: Watched,
    /// The server's level after it has served once.
    pub(crate) idle: Level,
    _serving: Running,
}

/// A device that follows the protocol.
struct Honest {
    device: Mutex<Device>,
    address: String,
}

/// A paired device whose snapshot this process opens itself.
pub(crate) struct Inside {
    pub(crate) device: Mutex<Device>,
    pub(crate) snapshot: PathBuf,
    pub(crate) key: [u8; 32],
}

impl Honest {
    /// Syncs with the server; returns the time it took.
    fn sync(&self) -> Duration {
        let device = self.device.lock().unwrap();
        let start = Instant::now();
        device.ok(&["sync", "a", "--at", &self.address]);
        start.elapsed()
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let (a, b) = paired();
        let rows: String = (0..ENTRIES).map(|n| format!("Root/Group,Site {n:05},{n:064}\n")).collect();
        let table = a.file("table.csv", format!("Group,Title,Password\n{rows}").as_bytes());
        a.json(&["import", "--format", "csv", &table]);
        trust_each_other((&a, "a"), (&b, "b"));
        let (serving, address) = a.serve();
        let watched = Watched::new(serving.id());
        let server = open(&b.snapshot(), &key(&b)).lock().stronghold().peers().find("a").unwrap().0;
        let mut stage = Self {
            address: address.parse().unwrap(),
            idle: watched.now(),
            a,
            honest: Honest { device: Mutex::new(b), address },
            server,
            watched,
            _serving: serving,
        };
        stage.honest.sync();
        assert_eq!(stage.a.entries(), stage.honest.device.lock().unwrap().entries());
        stage.idle = stage.watched.settled();
        stage
    }

    /// Syncs the honest device with the server; returns the time it took.
    pub(crate) fn honest_sync(&self) -> Duration {
        self.honest.sync()
    }

    /// Creates another device that is paired with the server, without any rule there.
    pub(crate) fn paired(&self, name: &str) -> Inside {
        let device = Device::new(name);
        pair(&self.a, &device);
        Inside { key: key(&device), snapshot: device.snapshot(), device: Mutex::new(device) }
    }

    /// Creates a device that knows the server but shares no secret with it.
    pub(crate) fn stranger(&self) -> SharedVault {
        let of_honest = {
            let device = self.honest.device.lock().unwrap();
            open(&device.snapshot(), &key(&device))
        };
        let mut known = of_honest.lock().stronghold().peers().get(&self.server).unwrap().clone();
        known.rendezvous = Some(Rendezvous::from_bytes([0x5a; 32]));
        let device = Device::new("stranger");
        let home = open(&device.snapshot(), &key(&device));
        let added = home.lock().update(|stronghold| {
            stronghold.peers_mut().insert(self.server, known);
            Ok(())
        });
        added.unwrap();
        // The snapshot file is deleted from here on; the data it needs is in memory.
        home
    }

    /// Floods the server with clients from `client`; reports the results for them, the honest
    /// device and the server.
    #[track_caller]
    pub(crate) fn run_flood<F>(
        &self,
        what: &str,
        parallel: usize,
        client: impl Fn(usize) -> F + Send + Sync,
    ) -> Tally
    where
        F: Future<Output = Reaction> + Send + 'static,
    {
        let (watched, honest) = (&self.watched, &self.honest);
        let normal = median((0..SYNCS).map(|_| honest.sync()).collect());
        let before = self.watched.settled();
        let (done, is_over) = (Arc::new(AtomicUsize::new(0)), AtomicBool::new(false));
        let start = Instant::now();
        let (tally, took, honest_times, levels) = thread::scope(|scope| {
            let watching = scope.spawn(|| watched.until(before, &is_over, &done));
            let syncing = scope.spawn(|| {
                let mut times = vec![honest.sync()];
                while !is_over.load(Relaxed) {
                    thread::sleep(PAUSE);
                    times.push(honest.sync());
                }
                times
            });
            let tally = clients::flood(connections(), parallel, &done, client);
            let took = start.elapsed();
            is_over.store(true, Relaxed);
            (tally, took, syncing.join(), watching.join().unwrap())
        });
        let served = honest_times.expect("the honest device was not served during the flood");
        let after = watched.wait_for_level(|now| now.files <= before.files);
        let flood =
            Flood { took, before, levels, after, normal, syncs: served.len(), during: median(served) };
        println!("{what}: {flood}");
        flood.is_flat();
        tally
    }
}

/// Measurements of a flood on the server and the honest device.
struct Flood {
    took: Duration,
    before: Level,
    levels: Levels,
    after: Level,
    /// Median time of a sync without and during the flood, and the number of the latter.
    normal: Duration,
    during: Duration,
    syncs: usize,
}

impl Flood {
    #[track_caller]
    fn is_flat(&self) {
        let Levels { first, peak } = self.levels;
        assert!(self.after.memory <= first.memory + FLAT, "memory grew: {self}");
        assert!(peak.memory <= first.memory + FLAT, "memory was not flat: {self}");
        assert!(self.after.files <= self.before.files, "files stay open: {self}");
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after, Levels { first, peak }) = (self.before, self.after, &self.levels);
        let [normal, during] = [self.normal, self.during].map(|time| time.as_secs_f64() * 1e3);
        writeln!(f, "{} connections in {:.1} s", connections(), self.took.as_secs_f64())?;
        writeln!(
            f,
            "  memory: {} kB before, {} after a hundred, {} at most, {} after",
            before.memory, first.memory, peak.memory, after.memory
        )?;
        writeln!(f, "  files: {} before, {} at most, {} after", before.files, peak.files, after.files)?;
        write!(
            f,
            "  honest sync: {normal:.1} ms before, {during:.1} ms during ({} syncs): {:.2} times",
            self.syncs,
            during / normal
        )
    }
}

impl Inside {
    /// Opens its snapshot in this process.
    pub(crate) fn home(&self) -> SharedVault {
        open(&self.snapshot, &self.key)
    }
}

/// Returns the key in a device's key file.
fn key(device: &Device) -> [u8; 32] {
    let hex = std::fs::read_to_string(device.key_file()).unwrap();
    std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}

/// Opens a snapshot under a key.
pub(crate) fn open(snapshot: &Path, key: &[u8; 32]) -> SharedVault {
    SharedVault::new(VaultFile::open(snapshot, &Unlock::Key(key)).unwrap())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
