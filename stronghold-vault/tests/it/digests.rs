//! Digests of heads that are kept: whatever changes in between, they are those of the heads.

use proptest::prelude::*;
use stronghold_sync::{
    DeviceId, Mapping, RevisionId, Scope,
    message::MAX_CANDIDATES,
    session::{DigestQuery, HeldSet},
};
use stronghold_vault::{PendingStep, Stronghold};

use crate::common::{at, bytes, copy, merge, ms, new, put, shapes};

const PEER: DeviceId = DeviceId::from_bytes([3; 32]);
const RECORDS: [&str; 4] = ["a/v/one", "a/v/two", "a/w/three", "b/v/four"];

fn query(scope: &str, secret: u8) -> DigestQuery {
    DigestQuery::new(Scope::of(scope.parse().unwrap()), [secret; 32], true)
}

/// Checks the kept digests of several scopes against the heads.
fn check(stronghold: &Stronghold) {
    for scope in ["**", "a/**", "a/v/*", "b/v/four"] {
        let query = query(scope, 1);
        let heads = stronghold.shapes(&query.scope, &Mapping::default());
        let found = stronghold.held_heads(&query, &PEER);
        let plain = HeldSet { candidates: None, ..found.held.clone() };
        assert_eq!(plain, query.answer(&heads), "{scope}");
        let is_unknown = |id: &RevisionId| !stronghold.peers().was_disclosed_to(&PEER, id);
        let mut unknown: Vec<_> = heads.iter().map(|head| head.revision).filter(is_unknown).collect();
        let mut named = found.unknown;
        unknown.sort();
        named.sort();
        assert_eq!(named, unknown, "{scope}");
        let candidates: Vec<_> = heads.into_iter().filter(|head| unknown.contains(&head.revision)).collect();
        assert_eq!(found.held.candidates, Some(candidates), "{scope}");
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize),
    Remove(usize),
    /// An edit elsewhere, merged.
    Merge(usize),
    /// The peer is told of the heads.
    Tell,
    Undo,
    Redo,
    Purge,
    Forget,
    /// A change that is taken back.
    Revert(usize),
    /// A change of another process.
    Follow(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let record = 0..RECORDS.len();
    prop_oneof![
        record.clone().prop_map(Change::Write),
        record.clone().prop_map(Change::Remove),
        record.clone().prop_map(Change::Merge),
        Just(Change::Tell),
        Just(Change::Undo),
        Just(Change::Redo),
        Just(Change::Purge),
        Just(Change::Forget),
        record.clone().prop_map(Change::Revert),
        record.prop_map(Change::Follow),
    ]
}

fn apply(here: &mut Stronghold, other: &mut Stronghold, change: &Change, time: u64) {
    let edit = |stronghold: &mut Stronghold, record: usize| {
        put(stronghold, RECORDS[record], &time.to_string(), time);
    };
    here.begin_step(PendingStep::command("test", ms(time)));
    match change {
        Change::Write(record) => edit(here, *record),
        Change::Remove(record) => _ = here.remove(&at(RECORDS[*record]), ms(time)),
        Change::Merge(record) => {
            edit(other, *record);
            merge(here, other, time);
        }
        Change::Tell => {
            let told: Vec<_> = shapes(here).iter().map(|shape| shape.revision).collect();
            here.record_disclosed(&PEER, told);
        }
        Change::Undo => _ = here.undo(ms(time)).unwrap(),
        Change::Redo => _ = here.redo(ms(time)).unwrap(),
        Change::Purge => _ = here.purge(&"**".parse().unwrap()),
        Change::Forget => here.forget(ms(time)),
        Change::Revert(record) => {
            here.begin_changes();
            edit(here, *record);
            check(here);
            here.revert_changes();
        }
        Change::Follow(record) => {
            let mut process = copy(here);
            process.begin_changes();
            edit(&mut process, *record);
            let changes = process.changes().unwrap();
            here.end_step();
            here.apply_changes(&changes).unwrap();
            return;
        }
    }
    here.end_step();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_kept_digest_is_that_of_the_heads(
        changes in proptest::collection::vec((change(), any::<bool>()), 1..24),
    ) {
        let (mut here, mut other) = (new(), new());
        check(&here);
        for (time, (change, is_checked)) in (1_000..).zip(&changes) {
            apply(&mut here, &mut other, change, time);
            if *is_checked {
                check(&here);
            }
        }
        check(&here);
        check(&Stronghold::from_payload(&bytes(&here)).unwrap());
    }
}

#[test]
fn digests_of_many_keys_and_devices_are_told_apart() {
    let mut here = new();
    put(&mut here, RECORDS[0], "1", 1);
    for time in 2..4 {
        for secret in 0..40 {
            let query = query("**", secret);
            for device in [PEER, DeviceId::from_bytes([4; 32])] {
                let found = here.held_heads(&query, &device);
                assert_eq!(found.held.digest, query.answer(&shapes(&here)).digest);
                assert_eq!(found.unknown.len(), usize::from(device != PEER || time == 2));
            }
        }
        let told = shapes(&here)[0].revision;
        here.record_disclosed(&PEER, [told]);
    }
}

#[test]
fn candidates_are_named_up_to_their_limit_in_records() {
    let mut stronghold = new();
    let named = |stronghold: &Stronghold| {
        let found = stronghold.held_heads(&query("**", 1), &PEER);
        (found.held.candidates.map(|heads| heads.len()), found.unknown.len())
    };
    for number in 0..MAX_CANDIDATES {
        put(&mut stronghold, &format!("a/v/{number}"), "1", 1);
    }
    assert_eq!(named(&stronghold), (Some(1_000), 1_000));
    put(&mut stronghold, "a/w/1", "1", 1);
    assert_eq!(named(&stronghold), (None, 1_001));
    let head = stronghold.shapes_at(&at("a/w/1").id())[0].revision;
    stronghold.record_disclosed(&PEER, [head]);
    assert_eq!(named(&stronghold), (Some(1_000), 1_000));
}
