//! Compares two ways of carrying a team's changes through a storage, by simulation: letters, one
//! for each other device, and logs, one for all. `stronghold-sync/DESIGN.md` (Teams) draws the
//! conclusion.
//!
//! Sizes are those of the real letters and cards; a log has what its design needs. Devices are on
//! for some random hours of a day, so that they are seldom on together.

use crate::Result;

const DAYS: usize = 60;
const HOURS: usize = DAYS * 24;
/// Changes that each device makes on a day on which it is on.
const CHANGES: f64 = 2.0;
/// Chance that a device comes on in an hour, and that it stays on for another one: some six hours
/// a day.
const COMES: f64 = 0.12;
const STAYS: f64 = 0.65;

/// Bytes of a letter beside its entries: names, order, signature and the key's encapsulation.
const LETTER: u64 = 1_700;
/// Bytes of an entry of 64 bytes in a letter or in a log.
const ENTRY: u64 = 128;
/// Bytes of a card: of a device for another one.
const CARD: u64 = 2_048;
/// Bytes of a listing for each object that it names.
const LISTED: u64 = 120;
/// Bytes of a part of a log beside its entries: number, link, signature, padding.
const PART: u64 = 300;
/// Bytes of a log's head: signature, and for each device the part that was read of its log.
const HEAD: u64 = 300;
const POSITION: u64 = 16;
/// Bytes by which a key is wrapped for one reader: a hybrid encapsulation and the sealed key.
const WRAPPED: u64 = 1_250;

/// Runs the simulation and prints its tables.
pub(super) fn run(options: &[&str]) -> Result<()> {
    if !options.is_empty() {
        return Err("bench teams takes nothing".into());
    }
    println!(
        "{DAYS} days; each device is on for some six hours a day and makes {CHANGES} changes of 64 bytes"
    );
    println!(
        "a day, which all others may have. Requests and kB of a device and day; kB that stay in the storage;"
    );
    println!("hours until all devices have a change, median and 95 of 100.\n");
    println!(
        "devices | carried by         | requests |   kB up | kB down | kB stored | hours, half | hours, 95 %"
    );
    for devices in [2, 3, 5, 10, 30, 100] {
        let world = World::new(devices, 1);
        for (name, design) in [
            ("letters, each pair", Design::Letters { hub: false }),
            ("letters, by a hub", Design::Letters { hub: true }),
            ("logs", Design::Logs),
        ] {
            let cost = simulate(&world, design);
            println!("{devices:7} | {name:18} | {}", cost.row(devices));
        }
    }
    println!(
        "\na device that is new, or was away until all its letters and parts of logs were deleted; kB in all"
    );
    println!("records | letters: up and stored | logs: up, if a checkpoint is due | logs: stored for good");
    for records in [1_000_u64, 10_000, 100_000, 1_000_000] {
        let first = (records * ENTRY + records.div_ceil(1_000) * LETTER) / 1_000;
        let checkpoint = (records * ENTRY + records.div_ceil(1_000) * PART) / 1_000;
        println!("{records:7} | {first:22} | {checkpoint:31} | {checkpoint:21}");
    }
    println!(
        "\na device is revoked: letters cost nothing; logs a new key for each of the others, for each set of readers"
    );
    for devices in [2_u64, 10, 100] {
        println!("{devices:7} devices: {:6} kB", (devices - 1) * WRAPPED / 1_000);
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Design {
    /// A letter for each other device, or only to and from the first device.
    Letters {
        hub: bool,
    },
    Logs,
}

/// The hours in which devices are on, and the changes they make: the same for all designs.
struct World {
    devices: usize,
    /// For each hour, whether each device is on.
    on: Vec<Vec<bool>>,
    /// The hour and the author of each change.
    changes: Vec<(usize, usize)>,
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl World {
    fn new(devices: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let (mut on, mut changes) = (Vec::new(), Vec::new());
        let mut now = vec![false; devices];
        for hour in 0..HOURS {
            for (device, is_on) in now.iter_mut().enumerate() {
                *is_on = random.next() < if *is_on { STAYS } else { COMES };
                if *is_on && random.next() < CHANGES / 6.0 {
                    changes.push((hour, device));
                }
            }
            on.push(now.clone());
        }
        Self { devices, on, changes }
    }
}

/// A set of changes, as bits.
#[derive(Clone)]
struct Set(Vec<u64>);

impl Set {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn insert(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    /// Adds all of `other`; returns how many were new.
    fn add(&mut self, other: &Self) -> u64 {
        let words = self.0.iter_mut().zip(&other.0);
        words.fold(0, |new, (word, more)| {
            let missing = more & !*word;
            *word |= more;
            new + u64::from(missing.count_ones())
        })
    }

    /// Returns those that `other` lacks.
    fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(word, other)| word & !other).collect())
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[derive(Default)]
struct Cost {
    requests: u64,
    up: u64,
    down: u64,
    stored: u64,
    /// Hours until each change was everywhere, sorted.
    delays: Vec<usize>,
}

impl Cost {
    fn row(&self, devices: usize) -> String {
        let each = (devices * DAYS) as f64;
        let of_day = |sum: u64| sum as f64 / each;
        let at = |share: usize| self.delays.get(self.delays.len() * share / 100).copied().unwrap_or_default();
        format!(
            "{:8.0} | {:7.1} | {:7.1} | {:9.0} | {:11} | {:11}",
            of_day(self.requests),
            of_day(self.up) / 1e3,
            of_day(self.down) / 1e3,
            self.stored as f64 / 1e3,
            at(50),
            at(95)
        )
    }
}

/// Runs all hours: in each, the devices that are on take what came, then send what is due.
fn simulate(world: &World, design: Design) -> Cost {
    let mut cost = Cost::default();
    let mut held = vec![Set::new(world.changes.len()); world.devices];
    let mut carrier = Carrier::new(world, design);
    let mut open: Vec<usize> = Vec::new();
    let mut next = 0;
    for hour in 0..HOURS {
        while let Some((_, author)) = world.changes.get(next).filter(|(at, _)| *at == hour) {
            held[*author].insert(next);
            carrier.written(*author, next);
            open.push(next);
            next += 1;
        }
        for device in (0..world.devices).filter(|device| world.on[hour][*device]) {
            carrier.take(device, &mut held[device], &mut cost);
            carrier.send(device, &held[device], &mut cost);
        }
        open.retain(|change| {
            let is_everywhere = held.iter().all(|held| held.0[change / 64] >> (change % 64) & 1 == 1);
            if is_everywhere {
                cost.delays.push(hour - world.changes[*change].0);
            }
            !is_everywhere
        });
    }
    cost.delays.sort_unstable();
    cost.stored += carrier.stored();
    cost
}

/// The storage, and the books of the devices.
struct Carrier<'a> {
    world: &'a World,
    design: Design,
    /// Letters: what each device knows each other one to hold. Logs: what each log has, in the
    /// place of its author for itself; and what was read of it.
    known: Vec<Vec<Set>>,
    /// Letters that wait, and the bytes of each pair's objects that stay.
    waiting: Vec<Vec<Set>>,
    /// Logs: what an author has written and not put yet.
    unsent: Vec<Set>,
    /// Bytes of all logs.
    logged: u64,
}

impl<'a> Carrier<'a> {
    fn new(world: &'a World, design: Design) -> Self {
        let none = Set::new(world.changes.len());
        let square = vec![vec![none.clone(); world.devices]; world.devices];
        Self {
            world,
            design,
            known: square.clone(),
            waiting: square,
            unsent: vec![none; world.devices],
            logged: 0,
        }
    }

    fn written(&mut self, author: usize, change: usize) {
        self.unsent[author].insert(change);
    }

    fn others(&self, device: usize) -> impl Iterator<Item = usize> + use<> {
        let is_hub = self.design == Design::Letters { hub: true };
        (0..self.world.devices).filter(move |other| *other != device && (!is_hub || device * other == 0))
    }

    fn take(&mut self, device: usize, held: &mut Set, cost: &mut Cost) {
        for other in self.others(device) {
            let came =
                std::mem::replace(&mut self.waiting[other][device], Set::new(self.world.changes.len()));
            let entries = came.count();
            if self.design != Design::Logs {
                // Each pair has a folder: a listing each, and a card that says what was taken.
                cost.requests += 1;
                cost.down += 4 * LISTED;
                if entries > 0 {
                    cost.requests += 2;
                    cost.down += LETTER + entries * ENTRY;
                    cost.up += CARD;
                }
                self.known[device][other].add(&came);
            } else if entries > 0 {
                // The head, and the parts behind the position that was read: one, or a few.
                cost.requests += 2;
                cost.down += HEAD + POSITION * self.world.devices as u64 + PART + entries * ENTRY;
            }
            held.add(&came);
        }
        if self.design == Design::Logs {
            cost.requests += 1;
            cost.down += 3 * LISTED * self.world.devices as u64;
        }
    }

    fn send(&mut self, device: usize, held: &Set, cost: &mut Cost) {
        if self.design == Design::Logs {
            let due = std::mem::replace(&mut self.unsent[device], Set::new(self.world.changes.len()));
            let entries = due.count();
            if entries > 0 {
                // The part, and the head, which takes the place of the old one.
                cost.requests += 3;
                let bytes = PART + entries * ENTRY;
                cost.up += bytes + HEAD + POSITION * self.world.devices as u64;
                self.logged += bytes;
                self.others(device).for_each(|other| _ = self.waiting[device][other].add(&due));
            }
            return;
        }
        for other in self.others(device) {
            let due = held.without(&self.known[device][other]);
            let entries = due.count();
            if entries > 0 {
                // The other's card is read, a letter put, and letters that were taken deleted.
                cost.requests += 3;
                cost.down += CARD;
                cost.up += LETTER + entries * ENTRY;
                self.known[device][other].add(&due);
                self.waiting[device][other].add(&due);
            }
        }
    }

    /// Returns the bytes that are in the storage in the end.
    fn stored(&self) -> u64 {
        let devices = self.world.devices as u64;
        if self.design == Design::Logs {
            let heads = devices * (HEAD + POSITION * devices);
            return self.logged + heads + devices * WRAPPED;
        }
        let pairs =
            (0..self.world.devices).flat_map(|device| self.others(device).map(move |other| (device, other)));
        pairs.fold(0, |sum, (device, other)| {
            let entries = self.waiting[device][other].count();
            sum + CARD + if entries > 0 { LETTER + entries * ENTRY } else { 0 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_gets_everywhere_and_logs_put_each_once() {
        let world = World::new(4, 7);
        let changes = world.changes.len() as u64;
        for design in [Design::Letters { hub: false }, Design::Letters { hub: true }, Design::Logs] {
            let cost = simulate(&world, design);
            // The last ones are still on their way.
            assert!(cost.delays.len() as u64 > changes * 9 / 10, "{} of {changes}", cost.delays.len());
            assert!(cost.up >= changes * ENTRY && cost.down >= 3 * cost.delays.len() as u64 * ENTRY);
        }
        let logs = simulate(&world, Design::Logs);
        assert!(logs.stored > changes * ENTRY);
    }
}
