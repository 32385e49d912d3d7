//! Property tests of merging: heads, ancestors and the plan, on random histories.

use std::collections::BTreeSet;

use proptest::{prelude::*, test_runner::RngSeed};
use stronghold_sync::{
    Ancestors, Location, LocationId, MAX_ANCESTORS, OnConflict, Plan, PlanOptions, Replaced, RevisionId,
    Shape, ShortId, heads, plan,
};

use crate::effort;

const BOTH: PlanOptions = PlanOptions { take: true, give: true, on_conflict: OnConflict::KeepBoth };

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: effort::count("cases", 1_000) as u32,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x5741_4c4c),
        ..ProptestConfig::default()
    }
}

fn location(record: u8) -> LocationId {
    Location::new("c", "v", format!("{record}")).unwrap().id()
}

fn id(n: u32) -> RevisionId {
    // The order of ids is unrelated to time, as with hashes.
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.wrapping_mul(0x9E37_79B1).to_be_bytes());
    bytes[4..8].copy_from_slice(&n.to_be_bytes());
    RevisionId::from_bytes(bytes)
}

/// Generates a history: each revision replaces the heads of some earlier ones of its record.
fn history() -> impl Strategy<Value = Vec<Shape>> {
    let revision = (0..3u8, any::<u64>(), any::<bool>());
    proptest::collection::vec(revision, 1..24).prop_map(|revisions| {
        let mut all: Vec<Shape> = Vec::new();
        for (n, (record, mask, deleted)) in revisions.into_iter().enumerate() {
            let at = location(record);
            let seen = all.iter().enumerate().filter(|(i, one)| mask >> i & 1 == 1 && one.location == at);
            let replaced = heads(seen.map(|(_, one)| one));
            let parents: Vec<_> = replaced
                .iter()
                .map(|head| Replaced { id: head.revision, shared: true, ancestors: &head.ancestors })
                .collect();
            let ancestors = Ancestors::for_successor(&parents);
            all.push(Shape { location: at, revision: id(n as u32), ancestors, size: 1, deleted });
        }
        all
    })
}

/// Returns the heads at a replica that has seen part of a history.
fn held(all: &[Shape], mask: u64) -> Vec<Shape> {
    let seen = all.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1).map(|(_, shape)| shape.clone());
    by_record(seen.collect())
}

fn by_record(mut shapes: Vec<Shape>) -> Vec<Shape> {
    shapes.sort_by_key(Shape::entry);
    shapes.chunk_by(|a, b| a.location == b.location).flat_map(|record| heads(record.to_vec())).collect()
}

fn merged(one: &[Shape], other: &[Shape]) -> Vec<Shape> {
    by_record(one.iter().chain(other).cloned().collect())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        all in history(), a in any::<u64>(), b in any::<u64>(), c in any::<u64>(),
    ) {
        let (x, y, z) = (held(&all, a), held(&all, b), held(&all, c));
        prop_assert_eq!(merged(&x, &y), merged(&y, &x));
        prop_assert_eq!(merged(&merged(&x, &y), &z), merged(&x, &merged(&y, &z)));
        prop_assert_eq!(merged(&x, &x), x.clone());
        prop_assert_eq!(merged(&x, &y), held(&all, a | b), "as if all had been seen by one");
    }

    #[test]
    fn heads_are_what_nothing_else_replaces(all in history()) {
        for record in 0..3 {
            let of_it: Vec<&Shape> = all.iter().filter(|shape| shape.location == location(record)).collect();
            let kept: BTreeSet<RevisionId> = heads(of_it.clone()).iter().map(|head| head.revision).collect();
            for one in &of_it {
                let replaced = of_it.iter().any(|other| other.ancestors.contains(&one.revision));
                prop_assert_eq!(kept.contains(&one.revision), !replaced);
            }
        }
    }

    #[test]
    fn a_plan_is_symmetric_and_carried_out_leaves_nothing_to_do(all in history(), a in any::<u64>(), b in any::<u64>()) {
        let (here, there) = (held(&all, a), held(&all, b));
        let (forth, back) = (plan(&here, &there, BOTH), plan(&there, &here, BOTH));
        prop_assert_eq!((&forth.take, &forth.give), (&back.give, &back.take));
        prop_assert_eq!((forth.deletes_here, forth.readable_here), (back.deletes_there, back.readable_there));
        prop_assert_eq!((forth.deletes_there, forth.readable_there), (back.deletes_here, back.readable_here));
        prop_assert_eq!(forth.unchanged, back.unchanged);
        let (now_here, now_there) = (merged(&here, &forth.take), merged(&there, &forth.give));
        prop_assert_eq!(&now_here, &now_there);
        prop_assert_eq!(&now_here, &merged(&here, &there), "taking what is missing is merging all");
        prop_assert!(plan(&now_here, &now_there, BOTH).is_empty());
        check_counts(&forth, &here, &now_here);
    }

    #[test]
    fn a_resolution_names_heads_of_the_preferred_side(all in history(), a in any::<u64>(), b in any::<u64>()) {
        let (here, there) = (held(&all, a), held(&all, b));
        for (on_conflict, side) in [(OnConflict::KeepLocal, &here), (OnConflict::TakeOther, &there)] {
            let plan = plan(&here, &there, PlanOptions { on_conflict, ..BOTH });
            let after = merged(&here, &there);
            for resolution in &plan.resolve {
                let is_head = |id: &RevisionId, of: &[Shape]| of.iter().any(|head| head.revision == *id);
                prop_assert!(!resolution.winners.is_empty());
                prop_assert!(resolution.winners.iter().all(|id| is_head(id, side) && is_head(id, &after)));
                prop_assert!(after.iter().filter(|head| head.location == resolution.location).count() > 1);
            }
        }
    }

    #[test]
    fn shapes_that_lie_about_each_other_never_panic(
        list in proptest::collection::vec((0..3u8, 0..6u32, proptest::collection::vec(0..6u32, 0..4), any::<bool>()), 0..16),
        cut in 0..16usize,
    ) {
        let shape = |(record, revision, ancestors, deleted): &(u8, u32, Vec<u32>, bool)| Shape {
            location: location(*record),
            revision: id(*revision),
            ancestors: Ancestors::from_newest_first(ancestors.iter().map(|n| id(*n)).collect()).unwrap(),
            size: u64::MAX,
            deleted: *deleted,
        };
        let all: Vec<Shape> = list.iter().map(shape).collect();
        let (here, there) = all.split_at(cut.min(all.len()));
        for on_conflict in [OnConflict::KeepBoth, OnConflict::KeepLocal, OnConflict::TakeOther] {
            let rules = PlanOptions { on_conflict, ..BOTH };
            let _ = plan(here, there, rules).needs_confirmation();
            let (mut here, mut there) = (here.to_vec(), there.to_vec());
            here.sort_by_key(Shape::entry);
            there.sort_by_key(Shape::entry);
            let _ = plan(&here, &there, rules).and_unchanged(u64::MAX / 4, 1).needs_confirmation();
        }
    }

    #[test]
    fn a_successor_is_after_its_parents_and_all_that_fits_of_theirs(
        lists in proptest::collection::vec(proptest::collection::vec(0..9_000u32, 0..=MAX_ANCESTORS), 1..5),
    ) {
        let ancestors: Vec<Ancestors> = lists
            .iter()
            .map(|list| Ancestors::from_newest_first(list.iter().map(|n| id(*n)).collect()).unwrap())
            .collect();
        let parents: Vec<_> = ancestors.iter().enumerate().map(|(n, list)| Replaced { id: id(10_000 + n as u32), shared: n % 2 == 0, ancestors: list }).collect();
        let next = Ancestors::for_successor(&parents);
        prop_assert!(parents.iter().all(|parent| next.contains(&parent.id)));
        let all: BTreeSet<ShortId> =
            parents.iter().flat_map(|parent| [parent.id.short()].into_iter().chain(parent.ancestors.as_slice().to_vec())).collect();
        let kept: BTreeSet<ShortId> = next.as_slice().iter().copied().collect();
        prop_assert_eq!(next.as_slice().len(), all.len().min(MAX_ANCESTORS), "none twice, none missing that fits");
        prop_assert!(kept.is_subset(&all));
        let reversed: Vec<_> = parents.iter().rev().copied().collect();
        prop_assert_eq!(Ancestors::for_successor(&reversed), next, "the order of parents does not matter");
    }
}

fn check_counts(plan: &Plan, before: &[Shape], after: &[Shape]) {
    let readable = |shapes: &[Shape]| -> BTreeSet<LocationId> {
        shapes.iter().filter(|shape| !shape.deleted).map(|shape| shape.location).collect()
    };
    let (was, is) = (readable(before), readable(after));
    assert_eq!(plan.readable_here, was.len() as u64);
    assert_eq!(plan.deletes_here, was.difference(&is).count() as u64);
}

#[test]
fn ten_thousand_heads_of_one_record_take_no_square_of_time() {
    let ancestors = Ancestors::from_newest_first((0..256).map(|n| id(1_000_000 + n)).collect()).unwrap();
    let shape = |n| Shape {
        location: location(0),
        revision: id(n),
        ancestors: ancestors.clone(),
        size: 1,
        deleted: false,
    };
    let mut many: Vec<Shape> = (0..10_000).map(shape).collect();
    many.sort_by_key(Shape::entry);
    let plan = plan(&[shape(20_000)], &many, BOTH);
    assert_eq!(
        (plan.take.len(), plan.not_taken.len()),
        (0, 1),
        "more heads than a record may have are left out"
    );
}
