//! Tests the parts of a reconciliation against a comparison of the whole sets, and against
//! dishonest peers.

use std::collections::BTreeSet;

use proptest::prelude::*;
use stronghold_sync::reconcile::{
    Content, RangeDigest, SetDigest,
    internals::{PeelError, RangeReceiver, RangeSender, Set, SetKey, Sketch, Symbol, cells_for},
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

/// Returns the symbols that only one of the two sets has.
fn difference(a: &Set, b: &Set) -> Vec<Symbol> {
    let (own, other): (BTreeSet<Symbol>, BTreeSet<Symbol>) =
        (a.symbols().iter().copied().collect(), b.symbols().iter().copied().collect());
    own.symmetric_difference(&other).copied().collect()
}

/// Peels as many cells as the estimate asks for, then more; returns the difference and the number
/// of attempts.
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
    #![proptest_config(ProptestConfig { cases: crate::effort::count("cases", 500) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_two_small_sets_reconcile(
        a in proptest::collection::btree_set(0u64..200, 0..100),
        b in proptest::collection::btree_set(0u64..200, 0..100),
        session in any::<u64>(),
    ) {
        // A sketch may fail at every length under one key, though hardly ever: then the session
        // takes another key.
        let found = (0..3).find_map(|attempt| {
            let under = |entries: &BTreeSet<u64>| Set::new(SetKey::new(&secret(session), attempt), entries.iter().map(|number| entry(*number)));
            let (a, b) = (under(&a), under(&b));
            Some((reconcile(&a, &b)?.0, difference(&a, &b), a.summary().is_same(b.summary())))
        });
        let (found, difference, is_same) = found.unwrap();
        prop_assert_eq!(is_same, difference.is_empty());
        prop_assert_eq!(found, difference);
    }

    #[test]
    fn ranges_find_the_difference_of_any_two_sets(
        a in proptest::collection::btree_set(0u64..2000, 0..1000),
        b in proptest::collection::btree_set(0u64..2000, 0..1000),
    ) {
        let (a, b) = (set(1, a), set(1, b));
        let (mut teller, mut finder) = (RangeSender::new(a.symbols().to_vec()), RangeReceiver::new(b.symbols().to_vec()));
        let mut differing = vec![0];
        for _ in 0..8 {
            if differing.is_empty() {
                break;
            }
            differing = finder.find(teller.digests(&differing).unwrap()).unwrap();
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
        let told: Vec<RangeDigest> = ends.iter().map(|end| RangeDigest { end: *end, content: Content::Sum(1, 1) }).collect();
        let _ = RangeReceiver::new(set(1, 0..50).symbols().to_vec()).find(&told);
        let _ = RangeSender::new(set(1, 0..50).symbols().to_vec()).digests(&differing);
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
    // A symbol in cells that are not its own reappears each time it is removed.
    let mut cells = Sketch::of(&[genuine], 64).cells().to_vec();
    let empty = cells.iter().position(|cell| *cell == 0).unwrap();
    cells[empty] = genuine.bits();
    assert_eq!(Sketch::from_cells(&cells).peel(&key), Err(PeelError::TooFewCells));
    let other = Set::new(key.clone(), [entry(2)]).symbols()[0];
    let mut cells = Sketch::of(&[genuine, other], 64).cells().to_vec();
    let shared = cells.iter().position(|cell| *cell == other.bits()).unwrap();
    cells[shared] = 0;
    assert!(Sketch::from_cells(&cells).peel(&key).is_err());
}

#[test]
fn planted_entries_whose_hashes_cancel_without_the_key_do_not_cancel_with_it() {
    // An attacker who plants entries knows their ids, and could make the sum of plain hashes
    // vanish. Under a fresh key the sum of four entries is as good as random.
    for session in 0..1000 {
        let planted = set(session, [1, 2, 3, 4]);
        let fold = planted.symbols().iter().fold(0, |sum, symbol| sum ^ symbol.bits());
        assert_ne!(fold, 0);
        assert_ne!(planted.summary().fingerprint, 0);
    }
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
    assert_eq!(rmp_serde::from_slice::<SetDigest>(&bytes).unwrap(), *one.summary());
}

#[test]
fn ranges_that_are_equal_are_not_asked_for_again() {
    let (a, b) = (set(1, 0..1000), set(1, (0..1000).chain([5000])));
    let (mut teller, mut finder) =
        (RangeSender::new(a.symbols().to_vec()), RangeReceiver::new(b.symbols().to_vec()));
    let first = teller.digests(&[0]).unwrap().to_vec();
    assert_eq!(first.len(), 16);
    let counts = first.iter().map(|told| match told.content {
        Content::Sum(count, _) => count,
        ref other => panic!("{other:?}"),
    });
    assert_eq!(counts.sum::<u64>(), 1000);
    assert_eq!((first[15].end, first[..15].is_sorted_by_key(|told| told.end)), (None, true));
    let differing = finder.find(&first).unwrap();
    assert_eq!(differing.len(), 1, "one of sixteen");
    let second = teller.digests(&differing).unwrap().to_vec();
    let known = second.iter().filter(|told| told.content == Content::Skip).count();
    let at_an_end = [0, 15].contains(&differing[0]);
    assert_eq!((second.len(), known), if at_an_end { (17, 1) } else { (18, 2) });
    let differing = finder.find(&second).unwrap();
    assert_eq!(differing.len(), 1);
    let third = teller.digests(&differing).unwrap().to_vec();
    assert!(third.iter().any(|told| matches!(&told.content, Content::Full(all) if all.len() <= 16)));
    assert_eq!(finder.find(&third).unwrap(), []);
    assert_eq!((finder.only_here.as_slice(), finder.only_there.len()), (&difference(&a, &b)[..], 0));
    let equal = RangeReceiver::new(a.symbols().to_vec()).find(&first).unwrap();
    assert_eq!(equal, [], "nothing differs");
}

#[test]
fn ranges_that_can_not_be_are_refused() {
    let symbols = sorted(set(1, 0..40).symbols().iter().copied());
    let told = |end: Option<u64>, content| RangeDigest { end, content };
    let find = |list: &[RangeDigest]| RangeReceiver::new(symbols.clone()).find(list);
    let sum = |count| Content::Sum(count, 0);
    let (low, high) = (symbols[10].bits(), symbols[20].bits());
    assert_eq!(
        find(&[told(Some(low), sum(1)), told(Some(low), sum(1)), told(None, sum(1))]),
        Ok(vec![0, 1, 2])
    );
    assert_eq!(
        find(&[told(Some(low), sum(1)), told(Some(low), sum(0))]),
        Ok(vec![0]),
        "an empty one is equal"
    );
    assert!(find(&[told(Some(high), sum(1)), told(Some(low), sum(1))]).is_err());
    assert!(find(&[told(None, sum(1)), told(Some(low), sum(1))]).is_err(), "nothing follows the last");
    for (full, fine) in [(vec![1, 2], true), (vec![2, 1], false), (vec![1, 1], false)] {
        assert_eq!(find(&[told(None, Content::Full(full))]).is_ok(), fine);
    }
    let mut finder = RangeReceiver::new(symbols.clone());
    let theirs: Vec<u64> =
        symbols[..10].iter().map(|symbol| symbol.bits()).skip(1).chain([low - 1]).collect();
    finder.find(&[told(Some(low), Content::Full(theirs))]).unwrap();
    assert_eq!((finder.only_here, finder.only_there), (vec![symbols[0]], vec![Symbol::from_bits(low - 1)]));
    let mut small = RangeSender::new(symbols[..16].to_vec());
    let all = symbols[..16].iter().map(|symbol| symbol.bits()).collect();
    assert_eq!(small.digests(&[0]), Ok(&[told(None, Content::Full(all))][..]));
    assert_eq!(small.digests(&[0]), Ok(&[told(None, Content::Skip)][..]), "what was told in full is known");
    assert_eq!(RangeSender::new(symbols[..17].to_vec()).digests(&[0]).unwrap().len(), 16);
}

/// Checks that every device computes the same estimate and number of cells, exactly: none sends too
/// many or too few.
#[test]
fn estimates_and_cells_are_the_same_everywhere() {
    let estimate = |only: u64, common: u64| {
        let (a, b) = (set(9, 0..only + common), set(9, only..only + common));
        assert_eq!(
            a.summary().strata.estimate(&b.summary().strata),
            b.summary().strata.estimate(&a.summary().strata)
        );
        a.summary().strata.estimate(&b.summary().strata)
    };
    let estimates: Vec<u64> =
        [1, 2, 3, 5, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000].map(|only| estimate(only, 500)).into();
    assert_eq!(estimates, [1, 3, 4, 6, 11, 27, 108, 370, 1070, 3091, 11_095, 90_696]);
    let cells: Vec<usize> = [0, 1, 2, 5, 10, 100, 1000, 1_000_000, u64::MAX].map(cells_for).into();
    assert_eq!(cells, [3, 7, 10, 18, 29, 214, 1935, 1_852_603, 7_945_859_892]);
    let stream = set(3, 0..500);
    let folded = Sketch::of(stream.symbols(), 3000)
        .cells()
        .iter()
        .fold(0u64, |sum, cell| sum.rotate_left(5) ^ cell.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    assert_eq!(format!("{folded:016x}"), "ab0bc9c9c7c65198");
}

#[test]
fn an_entry_that_comes_and_goes_leaves_no_trace() {
    let key = SetKey::new(&[5; 32], 0);
    let (one, two) = (Set::new(key.clone(), [entry(1)]), Set::new(key.clone(), [entry(1), entry(2)]));
    let mut sum = one.summary().clone();
    sum.add(key.hash(&entry(2)));
    assert_eq!((&sum, sum.count), (two.summary(), 2));
    assert!(!sum.is_same(one.summary()));
    sum.remove(key.hash(&entry(2)));
    assert_eq!(&sum, one.summary());
    let counted = SetDigest { count: 2, ..one.summary().clone() };
    assert!(!counted.is_same(one.summary()), "the count counts");
    let mut none = SetDigest::default();
    none.remove(1);
    assert_eq!(none.count, 0);
    let mut sketch = Sketch::of(two.symbols(), 50);
    sketch.grow(two.symbols(), 10);
    assert_eq!(sketch.cells().len(), 50, "it never shrinks");
    assert!(!key.is_valid(Symbol::default()) && key.is_valid(one.symbols()[0]));
    assert!(!key.is_valid(Symbol::from_bits(one.symbols()[0].bits() ^ 1 << 60)));
    assert_eq!(format!("{key:?}"), "SetKey(..)");
}
