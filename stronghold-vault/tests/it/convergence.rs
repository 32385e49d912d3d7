//! Two and three Strongholds, edited and merged in any order, against a model of the revisions that
//! each has seen: once connected they hold the same, no value is lost, and no deleted record
//! returns.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{at, merge, ms, new, shapes};
use proptest::{prelude::*, test_runner::RngSeed};
use stronghold_sync::{Location, RevisionId, Selection};
use stronghold_vault::{Labels, Stronghold};

const SEED: u64 = 0x5741_4c4c;
const CASES: u64 = 500;
const OPERATIONS: usize = 40;
const RECORDS: usize = 4;

#[derive(Clone, Debug)]
enum Operation {
    Write { on: usize, record: usize, value: u8 },
    Remove { on: usize, record: usize },
    Resolve { on: usize, record: usize, which: usize },
    Merge { into: usize, from: usize },
}

fn operation() -> impl Strategy<Value = Operation> {
    let (on, record) = (0..3usize, 0..RECORDS);
    prop_oneof![
        4 => (on.clone(), record.clone(), 0..4u8).prop_map(|(on, record, value)| Operation::Write { on, record, value }),
        2 => (on.clone(), record.clone()).prop_map(|(on, record)| Operation::Remove { on, record }),
        1 => (on.clone(), record, 0..4usize).prop_map(|(on, record, which)| Operation::Resolve { on, record, which }),
        3 => (on.clone(), on).prop_map(|(into, from)| Operation::Merge { into, from }),
    ]
}

/// A written revision: its value (`None` for a deletion), and all revisions of the record that its
/// writer had seen.
#[derive(Debug)]
struct Written {
    value: Option<u8>,
    seen: BTreeSet<RevisionId>,
}

struct World {
    replicas: Vec<Stronghold>,
    written: BTreeMap<RevisionId, Written>,
    /// The revisions that each replica has seen, by record.
    seen: Vec<Vec<BTreeSet<RevisionId>>>,
    now: u64,
}

fn location(record: usize) -> Location {
    at(&format!("client/vault-{}/record-{record}", record % 2))
}

impl World {
    fn new(replicas: usize) -> Self {
        Self {
            replicas: (0..replicas).map(|_| new()).collect(),
            written: BTreeMap::new(),
            seen: vec![vec![BTreeSet::new(); RECORDS]; replicas],
            now: 0,
        }
    }

    fn apply(&mut self, operation: &Operation) {
        // The clocks of the replicas disagree and run backwards: nothing may depend on them.
        self.now = self.now.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let replicas = self.replicas.len();
        match *operation {
            Operation::Write { on, record, value } => {
                let replica = &mut self.replicas[on % replicas];
                let id = replica.write(&location(record), &[value], Labels::new(), ms(self.now)).unwrap();
                self.note(on % replicas, record, id, Some(value));
            }
            Operation::Remove { on, record } => {
                if let Ok(id) = self.replicas[on % replicas].remove(&location(record), ms(self.now)) {
                    self.note(on % replicas, record, id, None);
                }
            }
            Operation::Resolve { on, record, which } => {
                let heads: Vec<RevisionId> = self.heads(on % replicas, record).into_iter().collect();
                if heads.len() > 1 {
                    let keep = heads[which % heads.len()];
                    let id =
                        self.replicas[on % replicas].resolve(&location(record), &keep, ms(self.now)).unwrap();
                    self.note(on % replicas, record, id, self.written[&keep].value);
                }
            }
            Operation::Merge { into, from } => self.merge(into % replicas, from % replicas),
        }
    }

    fn note(&mut self, replica: usize, record: usize, id: RevisionId, value: Option<u8>) {
        let seen = self.seen[replica][record].clone();
        self.seen[replica][record].insert(id);
        self.written.insert(id, Written { value, seen });
    }

    fn merge(&mut self, into: usize, from: usize) {
        if into == from {
            return;
        }
        let [target, source] = self.replicas.get_disjoint_mut([into, from]).unwrap();
        merge(target, source, self.now);
        for record in 0..RECORDS {
            let more = self.seen[from][record].clone();
            self.seen[into][record].extend(more);
        }
        self.check(into);
    }

    /// Returns the revisions that a replica has seen and that no other seen revision replaces.
    fn heads(&self, replica: usize, record: usize) -> BTreeSet<RevisionId> {
        let seen = &self.seen[replica][record];
        let replaced = |id: &&RevisionId| seen.iter().any(|other| self.written[other].seen.contains(*id));
        seen.iter().filter(|id| !replaced(id)).copied().collect()
    }

    fn check(&self, replica: usize) {
        let held = &self.replicas[replica];
        let listed = held.list(&Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap();
        for record in 0..RECORDS {
            let expected = self.heads(replica, record);
            let id = location(record).id();
            let heads: BTreeSet<RevisionId> = shapes(held)
                .iter()
                .filter(|shape| shape.location == id)
                .map(|shape| shape.revision)
                .collect();
            assert_eq!(heads, expected, "record {record} of replica {replica}, seed {SEED:#x}");
            let values: BTreeSet<Option<u8>> = expected.iter().map(|id| self.written[id].value).collect();
            for id in &expected {
                let revision = held.read_revision(&location(record), id).unwrap();
                let value = (!revision.deleted).then(|| revision.value[0]);
                assert_eq!(value, self.written[id].value, "seed {SEED:#x}");
            }
            let entry = listed.iter().find(|entry| entry.location == location(record));
            assert_eq!(entry.is_some(), values.iter().any(Option::is_some), "seed {SEED:#x}");
            assert!(entry.is_none_or(|entry| entry.conflict == (values.len() > 1)), "seed {SEED:#x}");
        }
    }

    /// Checks that every value ever written is a head, or that the writer of a head had seen it.
    fn check_nothing_is_lost(&self) {
        let heads: BTreeSet<RevisionId> =
            shapes(&self.replicas[0]).iter().map(|shape| shape.revision).collect();
        for (id, written) in &self.written {
            let succeeded = heads.iter().any(|head| self.written[head].seen.contains(id));
            assert!(heads.contains(id) || succeeded, "{written:?} is lost, seed {SEED:#x}");
        }
    }
}

fn converge(replicas: usize, operations: &[Operation], mut links: Vec<(usize, usize)>) {
    let mut world = World::new(replicas);
    operations.iter().for_each(|operation| world.apply(operation));
    links.retain(|(into, from)| *into < replicas && *from < replicas);
    for (into, from) in links.iter().cycle().take(links.len() * replicas) {
        world.merge(*into, *from);
    }
    for replica in 1..replicas {
        assert_eq!(shapes(&world.replicas[replica]), shapes(&world.replicas[0]), "seed {SEED:#x}");
    }
    world.check_nothing_is_lost();
    let (plan, report) = {
        let [into, from] = world.replicas.get_disjoint_mut([0, 1]).unwrap();
        merge(into, from, 0)
    };
    assert!(plan.is_empty() && report.received == 0, "a second sync changes nothing");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: crate::effort::count("cases", CASES) as u32,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(SEED),
        ..ProptestConfig::default()
    })]

    #[test]
    fn two_replicas_converge(operations in proptest::collection::vec(operation(), OPERATIONS)) {
        converge(2, &operations, vec![(0, 1), (1, 0)]);
    }

    /// The first and the third never meet: their revisions reach each other through the second.
    #[test]
    fn three_replicas_converge_through_the_one_between(
        operations in proptest::collection::vec(operation(), OPERATIONS),
        links in Just(vec![(0, 1), (1, 0), (1, 2), (2, 1)]).prop_shuffle(),
    ) {
        let never_meet = |operation: &Operation| match *operation {
            Operation::Merge { into, from } => into != 2 - from,
            _ => true,
        };
        let operations: Vec<Operation> = operations.into_iter().filter(never_meet).collect();
        converge(3, &operations, links);
    }

    #[test]
    fn three_replicas_converge_in_any_order(
        operations in proptest::collection::vec(operation(), OPERATIONS),
        links in Just(vec![(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)]).prop_shuffle(),
    ) {
        converge(3, &operations, links);
    }
}
