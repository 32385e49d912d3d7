//! Runs many simulated reconciliations of small sets: `cargo xtask soak [SESSIONS] [SEED]`.
//!
//! Each session has its own sets and difference, and checks the result against a comparison of the
//! whole sets. The program fails on the first wrong result, with its seed, or when more than 3 % of
//! the sessions need a second round.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program of its own, that prints and may panic"
)]

use std::collections::BTreeSet;

use stronghold_sync::{
    ClientId, EntryId, LocationId, RecordId, RevisionId, VaultId,
    reconcile::internals::{DiffResult, Initiator, Responder},
};

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u64| args.next().map_or(default, |text| text.parse().unwrap());
    let (sessions, first) = (number(100_000), number(1));
    let mut rounds = [0u64; 32];
    for seed in first..first + sessions {
        rounds[session(seed)] += 1;
    }
    let again: u64 = rounds[2..].iter().sum();
    let share = again as f64 * 100.0 / sessions as f64;
    let most = rounds.iter().rposition(|count| *count > 0).unwrap_or(0);
    println!(
        "{sessions} sessions from seed {first}: none wrong, {share:.2} % with a second round, at most {most}"
    );
    assert!(share <= 3.0, "more than 3 % took a second round");
}

/// Runs one session; returns the number of round trips until the difference is known.
fn session(seed: u64) -> usize {
    let mut random = Random(seed);
    let common = random.below(200);
    let only = |random: &mut Random| {
        let bits = random.below(8);
        random.below(1 << bits)
    };
    let (only_a, only_b) = (only(&mut random), only(&mut random));
    let a: Vec<EntryId> = (0..common + only_a).map(|n| entry(seed, n)).collect();
    let b: Vec<EntryId> = (0..common).chain(1000..1000 + only_b).map(|n| entry(seed, n)).collect();
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&random.next().to_le_bytes());

    let mut answering = Responder::new(&secret, b.iter().copied());
    let mut asking = Initiator::new(&secret, a.iter().copied(), answering.summary().clone());
    let mut telling = asking.begin(a.iter().copied());
    if telling.is_empty() {
        assert_eq!(only_a + only_b, 0, "seed {seed}: taken for equal");
        return 1;
    }
    for round in 1.. {
        telling.drain(..).for_each(|part| answering.handle(part).unwrap());
        match answering.find(b.iter().copied()).unwrap() {
            DiffResult::Again(again) => telling = asking.continue_with(again, a.iter().copied()).unwrap(),
            DiffResult::Found(here, there) => {
                let here: BTreeSet<EntryId> = here.iter().map(|at| b[*at]).collect();
                let there: BTreeSet<EntryId> =
                    asking.positions(&there.into_iter().collect()).unwrap().iter().map(|at| a[*at]).collect();
                let (all_a, all_b): (BTreeSet<_>, BTreeSet<_>) =
                    (a.iter().copied().collect(), b.iter().copied().collect());
                assert!(there.iter().eq(all_a.difference(&all_b)), "seed {seed}: wrong");
                assert!(here.iter().eq(all_b.difference(&all_a)), "seed {seed}: wrong");
                assert!(asking.verify_fingerprint(&there, &here), "seed {seed}: does not add up");
                return round;
            }
        }
    }
    unreachable!("rounds do not end")
}

fn entry(seed: u64, n: u64) -> EntryId {
    let mut revision = [0; 32];
    revision[..8].copy_from_slice(&n.to_le_bytes());
    revision[8..16].copy_from_slice(&seed.to_le_bytes());
    let location = LocationId {
        client: ClientId::from_bytes([1; 16]),
        vault: VaultId::from_bytes([2; 16]),
        record: RecordId::from_bytes([3; 16]),
    };
    EntryId { location, revision: RevisionId::from_bytes(revision) }
}

/// A random number generator: SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ (n >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
