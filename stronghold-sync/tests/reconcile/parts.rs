//! The parts of a reconciliation against what a comparison of the whole sets finds, and against those who lie.

use std::collections::BTreeSet;

use proptest::prelude::*;
use stronghold_sync::reconcile::{
    Content, Finder, INDEX_CELLS, Index, Set, SetKey, Sketch, Summary, Symbol, Teller, Told, Unpeeled,
    cells_for,
};

use super::{entry, secret};

fn set(session: u64, entries: impl IntoIterator<Item = u64>) -> Set {
    Set::new(SetKey::new(&secret(session), 0), entries.into_iter().map(entry))
}

fn sorted(symbols: impl IntoIterator<Item = Symbol>) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = symbols.into_iter().collect();
    symbols.sort_unstable();
    symbols
}

/// What only one of the two sets has.
fn difference(a: &Set, b: &Set) -> Vec<Symbol> {
    let (own, other): (BTreeSet<Symbol>, BTreeSet<Symbol>) =
        (a.symbols().iter().copied().collect(), b.symbols().iter().copied().collect());
    own.symmetric_difference(&other).copied().collect()
}

/// Peels with as many cells as the estimate asks for, then more; gives the difference and how many tries it took.
fn reconcile(a: &Set, b: &Set) -> Option<(Vec<Symbol>, u32)> {
    let mut len = cells_for(a.summary().strata.estimate(&b.summary().strata));
    for tries in 1..=3 {
        let (left, right) = (Sketch::of(a.symbols(), len), Sketch::of(b.symbols(), len));
        if let Ok(peeled) = left.difference(&right).peel(a.key()) {
            return Some((sorted(peeled), tries));
        }
        len *= 2;
    }
    None
}

#[test]
fn four_thousand_sessions_find_the_difference_and_97_in_100_at_once() {
    let mut again = 0;
    for session in 0..4000 {
        let d = [1, 2, 5, 10, 20, 50, 100, 200][session as usize % 8];
        let base = session << 32;
        let (a, b) = (set(session, base..base + 300), set(session, base + d / 2..base + 300 + d.div_ceil(2)));
        let (found, tries) = reconcile(&a, &b).unwrap();
        assert_eq!(found, difference(&a, &b), "session {session}, d {d}");
        again += u32::from(tries > 1);
    }
    assert!(again <= 120, "{again} of 4000 took a second try");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_two_small_sets_reconcile(
        a in proptest::collection::btree_set(0u64..200, 0..100),
        b in proptest::collection::btree_set(0u64..200, 0..100),
        session in any::<u64>(),
    ) {
        let (a, b) = (set(session, a), set(session, b));
        prop_assert_eq!(a.summary().is_same(b.summary()), difference(&a, &b).is_empty());
        prop_assert_eq!(reconcile(&a, &b).unwrap().0, difference(&a, &b));
    }

    #[test]
    fn ranges_find_the_difference_of_any_two_sets(
        a in proptest::collection::btree_set(0u64..2000, 0..1000),
        b in proptest::collection::btree_set(0u64..2000, 0..1000),
    ) {
        let (a, b) = (set(1, a), set(1, b));
        let (mut teller, mut finder) = (Teller::new(a.symbols().to_vec()), Finder::new(b.symbols().to_vec()));
        let mut differing = vec![0];
        for _ in 0..8 {
            if differing.is_empty() {
                break;
            }
            differing = finder.find(teller.tell(&differing).unwrap()).unwrap();
        }
        prop_assert!(differing.is_empty());
        let mine: BTreeSet<Symbol> = a.symbols().iter().copied().collect();
        prop_assert!(finder.only_there.iter().all(|symbol| mine.contains(symbol)));
        let found = finder.only_here.iter().chain(&finder.only_there).copied();
        prop_assert_eq!(sorted(found), difference(&a, &b));
    }

    #[test]
    fn crafted_cells_end_in_an_error_or_an_answer_in_bounded_time(cells in proptest::collection::vec(any::<u64>(), 0..500)) {
        let _ = Sketch::from_cells(&cells).peel(set(1, []).key());
    }

    #[test]
    fn crafted_ranges_end_in_an_error_or_an_answer(
        ends in proptest::collection::vec(proptest::option::of(any::<u64>()), 0..20),
        differing in proptest::collection::vec(any::<u32>(), 0..20),
    ) {
        let told: Vec<Told> = ends.iter().map(|end| Told { end: *end, content: Content::Sum(1, 1) }).collect();
        let _ = Finder::new(set(1, 0..50).symbols().to_vec()).find(&told);
        let _ = Teller::new(set(1, 0..50).symbols().to_vec()).tell(&differing);
    }
}

#[test]
fn the_estimate_is_within_a_factor_of_two_from_one_to_a_hundred_thousand() {
    for d in [1u64, 10, 100, 1000, 10_000, 100_000] {
        let (a, b) = (set(9, 0..d), set(9, []));
        let estimate = a.summary().strata.estimate(&b.summary().strata);
        assert!(estimate >= d / 2 && estimate <= d * 2 + 2, "{estimate} for {d}");
        assert_eq!(a.summary().strata.estimate(&a.summary().strata), 0);
    }
}

#[test]
fn a_symbol_that_comes_out_twice_is_an_attack_and_ends() {
    let key = SetKey::new(&[1; 32], 0);
    let genuine = Set::new(key.clone(), [entry(1)]).symbols()[0];
    // The same symbol in cells that it is not in comes back as often as it is taken out.
    let mut cells = Sketch::of(&[genuine], 64).cells().to_vec();
    let empty = cells.iter().position(|cell| *cell == 0).unwrap();
    cells[empty] = genuine.bits();
    assert_eq!(Sketch::from_cells(&cells).peel(&key), Err(Unpeeled::Short));
    let other = Set::new(key.clone(), [entry(2)]).symbols()[0];
    let mut cells = Sketch::of(&[genuine, other], 64).cells().to_vec();
    let shared = cells.iter().position(|cell| *cell == other.bits()).unwrap();
    cells[shared] = 0;
    assert!(Sketch::from_cells(&cells).peel(&key).is_err());
}

#[test]
fn planted_entries_whose_hashes_cancel_without_the_key_do_not_cancel_with_it() {
    // Whoever plants entries knows their ids, and could make the sum of plain hashes vanish. Under a fresh key the sum
    // of four entries is as good as random.
    for session in 0..1000 {
        let planted = set(session, [1, 2, 3, 4]);
        let fold = planted.symbols().iter().fold(0, |sum, symbol| sum ^ symbol.bits());
        assert_ne!(fold, 0);
        assert_ne!(planted.summary().fingerprint, 0);
    }
}

#[test]
fn an_index_gives_what_a_fresh_set_gives_after_any_coming_and_going() {
    let key = SetKey::new(&[5; 32], 0);
    let mut index = Index::new(key.clone());
    for n in 0..500u32 {
        assert!(index.insert(&entry(n.into()), n));
        assert!(!index.insert(&entry(n.into()), n));
    }
    for n in (0..500).step_by(3) {
        assert!(index.remove(&entry(n.into()), n));
        assert!(!index.remove(&entry(n.into()), n));
    }
    let fresh = Set::new(key, (0..500).filter(|n| n % 3 != 0).map(entry));
    assert_eq!(index.summary(), fresh.summary());
    assert_eq!(index.sketch(200).unwrap(), Sketch::of(fresh.symbols(), 200));
    assert!(index.sketch(INDEX_CELLS + 1).is_none());
    assert_eq!(index.resolve(fresh.symbols()[0]).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_longer_stream_begins_with_the_shorter() {
    let one = set(3, 0..100);
    let mut grown = Sketch::of(one.symbols(), 10);
    grown.grow(one.symbols(), 300);
    assert_eq!(grown, Sketch::of(one.symbols(), 300));
    assert_eq!(grown.cells()[..10], *Sketch::of(one.symbols(), 10).cells());
}

#[test]
fn the_summary_is_small_and_survives_the_wire() {
    let one = set(3, 0..1_000);
    let bytes = rmp_serde::to_vec(one.summary()).unwrap();
    assert!(bytes.len() <= 125, "{}", bytes.len());
    assert_eq!(rmp_serde::from_slice::<Summary>(&bytes).unwrap(), *one.summary());
}
