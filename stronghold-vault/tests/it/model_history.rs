//! The histories of three Strongholds that write one record over and over, against a model of the
//! device that delivered each value and the time of its replacement.
//!
//! - The last value that each device delivered, and the last one written here, stays readable until
//!   90 days after its replacement, whatever the others write, delete, undo or redo, however often.
//! - The heads always equal the model's, and all replicas hold the same heads after syncing.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{at, copy, merge, ms, new, shapes};
use proptest::{prelude::*, test_runner::RngSeed};
use stronghold_sync::{DeviceId, RevisionId};
use stronghold_vault::{Labels, PendingStep, RETENTION, RevisionInfo, Stronghold};

const SEED: u64 = 0x48_4953_544f;
const REPLICAS: usize = 3;
const RECORD: &str = "client/vault/record";
const DAY: u64 = 24 * 60 * 60 * 1000;

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Writes several times in a row.
    Write {
        on: usize,
        times: u8,
    },
    Remove {
        on: usize,
    },
    Merge {
        into: usize,
        from: usize,
    },
    Undo {
        on: usize,
    },
    Redo {
        on: usize,
    },
    Wait {
        days: u8,
    },
    /// Stores the Stronghold and loads it again.
    Store {
        on: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let on = 0..REPLICAS;
    let two = (on.clone(), 1..REPLICAS).prop_map(|(one, by)| (one, (one + by) % REPLICAS));
    prop_oneof![
        6 => (on.clone(), 1..9_u8).prop_map(|(on, times)| Operation::Write { on, times }),
        1 => on.clone().prop_map(|on| Operation::Remove { on }),
        6 => two.prop_map(|(into, from)| Operation::Merge { into, from }),
        1 => on.clone().prop_map(|on| Operation::Undo { on }),
        1 => on.clone().prop_map(|on| Operation::Redo { on }),
        2 => (0..50_u8).prop_map(|days| Operation::Wait { days }),
        1 => on.prop_map(|on| Operation::Store { on }),
    ]
}

/// A replica, with the values of each device that were replaced last, and when.
struct Replica {
    stronghold: Stronghold,
    last: BTreeMap<Option<DeviceId>, (u64, BTreeSet<RevisionId>)>,
}

impl Replica {
    fn history(&self) -> Vec<RevisionInfo> {
        self.stronghold.history(&at(RECORD)).unwrap_or_default()
    }

    fn heads(&self) -> Vec<RevisionInfo> {
        self.history().into_iter().filter(|version| version.head).collect()
    }

    /// Makes a change as a step that can be undone.
    fn change<T>(&mut self, now: u64, change: impl FnOnce(&mut Stronghold) -> T) -> T {
        let before = self.heads();
        self.stronghold.begin_step(PendingStep::command("test", ms(now)));
        let done = change(&mut self.stronghold);
        let _ = self.stronghold.end_step();
        self.replaced(&before, now);
        self.check(now);
        done
    }

    /// Notes the revisions that were heads and no longer are.
    fn replaced(&mut self, before: &[RevisionInfo], now: u64) {
        let after: BTreeSet<RevisionId> = self.heads().iter().map(|head| head.revision).collect();
        let gone = before.iter().filter(|head| !head.deleted && !after.contains(&head.revision));
        let mut by_device: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for head in gone {
            by_device.entry(head.via).or_default().insert(head.revision);
        }
        self.last.extend(by_device.into_iter().map(|(via, gone)| (via, (now, gone))));
    }

    fn check(&self, now: u64) {
        let held: BTreeSet<RevisionId> = self.history().iter().map(|version| version.revision).collect();
        for (via, (replaced, values)) in &self.last {
            if ms(now).since(ms(*replaced)) < RETENTION {
                let mut readable = values.iter().filter(|value| {
                    held.contains(value) && self.stronghold.read_revision(&at(RECORD), value).is_ok()
                });
                assert!(readable.next().is_some(), "the last value by way of {via:?} is gone");
            }
        }
    }
}

struct World {
    replicas: [Replica; REPLICAS],
    now: u64,
    written: u64,
}

impl World {
    fn new() -> Self {
        let replica = |_| Replica { stronghold: new(), last: BTreeMap::new() };
        Self { replicas: std::array::from_fn(replica), now: 1, written: 0 }
    }

    fn apply(&mut self, operation: Operation) {
        self.now += 1;
        let now = self.now;
        match operation {
            Operation::Write { on, times } => {
                for _ in 0..times {
                    self.written += 1;
                    let value = self.written.to_string();
                    let write = |stronghold: &mut Stronghold| {
                        stronghold.write(&at(RECORD), value.as_bytes(), Labels::new(), ms(now)).unwrap()
                    };
                    self.replicas[on].change(now, write);
                }
            }
            Operation::Remove { on } => {
                let _ = self.replicas[on].change(now, |stronghold| stronghold.remove(&at(RECORD), ms(now)));
            }
            Operation::Merge { into, from } => self.merge(into, from),
            // Not in a step of its own, which would be the next to be undone.
            Operation::Undo { on } => {
                self.take_back(on, |stronghold| drop(stronghold.undo(ms(now)).unwrap()))
            }
            Operation::Redo { on } => {
                self.take_back(on, |stronghold| drop(stronghold.redo(ms(now)).unwrap()))
            }
            Operation::Wait { days } => self.now += u64::from(days) * DAY,
            Operation::Store { on } => self.replicas[on].stronghold = copy(&self.replicas[on].stronghold),
        }
    }

    fn take_back(&mut self, on: usize, work: impl FnOnce(&mut Stronghold)) {
        let replica = &mut self.replicas[on];
        let before = replica.heads();
        work(&mut replica.stronghold);
        replica.replaced(&before, self.now);
        replica.check(self.now);
    }

    fn merge(&mut self, into: usize, from: usize) {
        let now = self.now;
        let [into, from] = self.replicas.get_disjoint_mut([into, from]).unwrap();
        into.change(now, |stronghold| drop(merge(stronghold, &from.stronghold, now)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: crate::effort::count("cases", 300) as u32,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(SEED),
        ..ProptestConfig::default()
    })]

    #[test]
    fn nobodys_last_value_is_washed_away(operations in proptest::collection::vec(operation(), 60)) {
        let mut world = World::new();
        operations.iter().for_each(|operation| world.apply(*operation));
        for (into, from) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
            world.now += 1;
            world.merge(into, from);
        }
        let first = shapes(&world.replicas[0].stronghold);
        for replica in &world.replicas[1..] {
            prop_assert_eq!(&shapes(&replica.stronghold), &first, "all hold the same");
        }
    }
}
