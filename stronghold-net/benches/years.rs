//! Ten years in fast motion: five devices that edit, delete and sync over real channels and files.
//! One is away for a year, one is restored from a backup, one file is copied by hand and both are
//! used, one device is revoked. An oracle that forgets nothing checks each state.
//!
//! `cargo xtask bench years [--quick]`: `--quick` takes 36 days a year instead of 365.
//! `cargo xtask bench years edits`: 1,000 records that are edited 1,000 times each.
#![allow(clippy::unwrap_used, reason = "a failing bench may panic")]
#![allow(clippy::print_stdout, reason = "it prints its table")]

#[path = "../tests/it/common/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod common;
#[path = "years/edits.rs"]
mod edits;
#[path = "years/oracle.rs"]
mod oracle;
#[path = "years/report.rs"]
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use common::{ALL, Device, channels, opened};
use oracle::Oracle;
use report::Year;
use stronghold_net::{BoxFuture, Direction, Outcome, Peer, PlanDecision, SessionHandler, SyncRequest};
use stronghold_snapshot::{advance_clock, now};
use stronghold_sync::{DeviceId, Location, Mapping, Plan, Scope, Selection, Shape};
use stronghold_vault::Labels;

const DEVICES: usize = 5;
const YEARS: u32 = 10;
const FIRST_RECORDS: usize = 2_000;
const EDITS: usize = 20;
const NEW: usize = 5;
const DELETED: usize = 3;
/// Edits of the one token that is replaced every hour.
const ROTATIONS: usize = 24;
const EQUAL_SYNCS: usize = 50;
const SYNCS: usize = 10;
const SEED: u64 = 0x5945_4152;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TOKEN: &str = "work/ci/token";

/// A generator of the same numbers for a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Returns a rank below `end`; a rank is as likely as its inverse (Zipf).
    fn rank(&mut self, end: usize) -> usize {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (((end as f64 + 1.0).powf(unit) - 1.0) as usize).min(end - 1)
    }
}

/// Bytes and times of the syncs of a year.
#[derive(Default)]
struct Taken {
    bytes: Vec<f64>,
    millis: Vec<f64>,
    equal_bytes: Vec<f64>,
    equal_millis: Vec<f64>,
}

struct World {
    devices: Vec<Device>,
    oracle: Oracle,
    random: Random,
    live: Vec<Location>,
    made: usize,
    /// The devices in use.
    awake: BTreeSet<usize>,
    taken: Taken,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let devices: Vec<Device> =
            (0..DEVICES).map(|number| Device::new(&format!("device {number}"))).collect();
        for (one, other) in (0..DEVICES).flat_map(|one| (0..DEVICES).map(move |other| (one, other))) {
            if one != other {
                devices[one].grant(&devices[other], ALL, "**");
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut world = Self {
            devices,
            oracle: Oracle::default(),
            random: Random(SEED),
            live: Vec::new(),
            made: 0,
            awake: (0..DEVICES).collect(),
            taken: Taken::default(),
            runtime,
        };
        world.create(0, FIRST_RECORDS);
        world.write(0, &[TOKEN.parse().unwrap()]);
        world.meet();
        world.taken = Taken::default();
        world
    }

    /// Creates records on a device.
    fn create(&mut self, on: usize, number: usize) {
        let names = self.made..self.made + number;
        self.made += number;
        let new: Vec<Location> = names.map(|n| format!("home/web/site-{n:06}").parse().unwrap()).collect();
        self.write(on, &new);
        self.live.extend(new);
    }

    /// Writes records on a device, each in a change of its own unless there are very many.
    fn write(&mut self, on: usize, locations: &[Location]) {
        let part = if locations.len() > 100 { locations.len() } else { 1 };
        for locations in locations.chunks(part) {
            let value = format!("{:064x}", self.random.next());
            let written = self.devices[on].change(|stronghold| {
                let write = |location| stronghold.write(location, value.as_bytes(), Labels::new(), now());
                locations.iter().map(write).collect::<Result<Vec<_>, _>>().unwrap()
            });
            for (location, id) in locations.iter().zip(written) {
                self.oracle.write(on, location, id, false);
            }
        }
    }

    fn delete(&mut self, on: usize) {
        let at = self.random.below(self.live.len());
        let location = self.live.swap_remove(at);
        let removed = self.devices[on].change(|stronghold| stronghold.remove(&location, now()));
        // It may not have come to this device yet.
        if let Ok(id) = removed {
            self.oracle.write(on, &location, id, true);
        }
    }

    fn any(&mut self) -> usize {
        let at = self.random.below(self.awake.len());
        *self.awake.iter().nth(at).unwrap()
    }

    fn day(&mut self, equal_syncs: usize) {
        for _ in 0..SYNCS {
            for _ in 0..EDITS / SYNCS {
                let (on, rank) = (self.any(), self.random.rank(self.live.len()));
                let location = self.live[rank].clone();
                self.write(on, &[location]);
            }
            let (one, other) = self.two();
            self.sync(one, other, false);
        }
        // The token has one writer, as a service's has.
        (0..ROTATIONS).for_each(|_| self.write(0, &[TOKEN.parse().unwrap()]));
        let on = self.any();
        self.create(on, NEW);
        (0..DELETED).for_each(|_| {
            let on = self.any();
            self.delete(on);
        });
        let (one, other) = self.two();
        self.sync(one, other, false);
        (0..equal_syncs).for_each(|_| self.sync(one, other, true));
    }

    fn two(&mut self) -> (usize, usize) {
        let one = self.any();
        loop {
            let other = self.any();
            if other != one && self.id(one) != self.id(other) {
                return (one, other);
            }
        }
    }

    fn id(&self, device: usize) -> DeviceId {
        self.devices[device].device()
    }

    fn sync(&mut self, one: usize, other: usize, is_equal: bool) {
        let start = Instant::now();
        let outcome = self.runtime.block_on(sync(&self.devices[one], &self.devices[other]));
        let millis = start.elapsed().as_secs_f64() * 1e3;
        let bytes = (outcome.bytes_in + outcome.bytes_out) as f64;
        let Taken { bytes: all, millis: times, equal_bytes, equal_millis } = &mut self.taken;
        let (all, times) = if is_equal { (equal_bytes, equal_millis) } else { (all, times) };
        all.push(bytes);
        times.push(millis);
        self.oracle.sync(one, other);
    }

    /// Syncs all devices in use until all hold the same.
    fn meet(&mut self) {
        let awake: Vec<usize> = self.awake.iter().copied().collect();
        for _ in 0..2 {
            for (at, one) in awake.iter().enumerate() {
                for other in &awake[at + 1..] {
                    if self.id(*one) != self.id(*other) {
                        self.sync(*one, *other, false);
                    }
                }
            }
        }
    }

    fn shapes(&self, on: usize) -> Vec<Shape> {
        let home = self.devices[on].home.lock();
        home.stronghold().shapes(&Scope::of(Selection::everything()), &Mapping::default())
    }

    /// Checks all devices against the oracle; returns the number of values that are there again,
    /// although they were replaced.
    fn check(&self) -> usize {
        self.awake.iter().map(|on| self.oracle.check(*on, &self.shapes(*on))).sum()
    }

    /// Resolves all conflicts on a device in favour of the value shown.
    fn resolve(&mut self, on: usize) {
        let mut heads = BTreeMap::<_, usize>::new();
        self.shapes(on).iter().for_each(|shape| *heads.entry(shape.location).or_default() += 1);
        let home = self.devices[on].home.lock();
        let many = heads.iter().filter(|(_, number)| **number > 1);
        let named: Vec<Location> = many.filter_map(|(id, _)| home.stronghold().names_of(id)).collect();
        drop(home);
        named.iter().for_each(|location| self.write(on, std::slice::from_ref(location)));
    }

    fn measure(&mut self, year: u32, returned: usize) -> Year {
        let shapes = self.shapes(0);
        let lists: Vec<usize> = shapes.iter().map(|shape| shape.ancestors.as_slice().len()).collect();
        let tombstones = shapes.iter().filter(|shape| shape.deleted).count();
        let file = fs::metadata(self.devices[0].path()).unwrap().len();
        Year::new(
            (year, file, (shapes.len() - tombstones) as u64, tombstones as u64),
            &lists,
            returned as u64,
            std::mem::take(&mut self.taken),
        )
    }

    /// Puts an earlier file in a device's place; it writes as another one from then on.
    fn restore(&mut self, on: usize, backup: &[u8], knew: usize) {
        fs::write(self.devices[on].path(), backup).unwrap();
        self.devices[on].home = opened(self.devices[on].folder.path());
        self.oracle.restore(on, knew);
    }

    fn copy(&mut self, from: usize) {
        let folder = tempfile::TempDir::new().unwrap();
        fs::copy(self.devices[from].path(), folder.path().join("snapshot")).unwrap();
        let home = opened(folder.path());
        self.devices.push(Device { folder, home });
        self.awake.insert(self.devices.len() - 1);
        self.oracle.copy(from, self.devices.len() - 1);
    }

    fn revoke(&mut self, device: usize) {
        self.awake.remove(&device);
        let id = self.id(device);
        for other in self.awake.clone() {
            self.devices[other].change(|stronghold| stronghold.revoke(&id, now()));
        }
    }
}

async fn sync(asker: &Device, asked: &Device) -> Outcome {
    let (near, far) = channels(asker, asked).await;
    let request = SyncRequest::new(Selection::everything(), Direction::Default);
    let mut handlers = (Deletes, Deletes);
    let (outcome, answered) = tokio::join!(
        Peer::from_channel(near, &asker.home).sync(request, &mut handlers.0),
        Peer::from_channel(far, &asked.home).answer(&mut handlers.1),
    );
    answered.unwrap();
    outcome.unwrap()
}

/// Takes deletions, however many.
struct Deletes;

impl SessionHandler for Deletes {
    fn confirm_losses(&mut self, _: DeviceId, _: &Plan) -> BoxFuture<bool> {
        Box::pin(async { true })
    }

    fn review_plan(&mut self, _: &Plan) -> BoxFuture<PlanDecision> {
        Box::pin(async { PlanDecision::ProceedWithDeletions })
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|arg| arg == "edits") {
        return edits::run();
    }
    let is_quick = args.iter().any(|arg| arg == "--quick");
    let (days, equal_syncs) = if is_quick { (36, 5) } else { (365, EQUAL_SYNCS) };
    let mut world = World::new();
    let mut years = Vec::new();
    let mut backup = None;
    for year in 1..=YEARS {
        if year == 3 {
            world.awake.remove(&4);
        }
        for day in 0..days {
            advance_clock(DAY * 365 / days);
            world.day(equal_syncs);
            let is_backed_up = year == 5 && day == days * 7 / 10;
            if is_backed_up {
                let knew = world.oracle.keep(3);
                backup = Some((fs::read(world.devices[3].path()).unwrap(), knew));
            }
        }
        match (year, backup.take()) {
            (3, _) => _ = world.awake.insert(4),
            (5, Some((backup, knew))) => world.restore(3, &backup, knew),
            (6, _) => world.copy(1),
            (7, _) => _ = world.awake.remove(&DEVICES),
            (8, _) => world.revoke(2),
            _ => {}
        }
        world.meet();
        let returned = world.check();
        world.resolve(0);
        world.meet();
        years.push(world.measure(year, returned));
        println!(
            "{}",
            if year == 1 { Year::heading() + "\n" } else { String::new() } + &years[years.len() - 1].line()
        );
    }
    report::write(&years, is_quick);
}
