//! Tests reconciliation between two ends: every fallback forced, and vectors for a second
//! implementation.

mod parts;

use std::collections::BTreeSet;

use serde_bytes::ByteBuf;
use stronghold_sync::{
    ClientId, EntryId, LocationId, RecordId, RevisionId, VaultId,
    reconcile::{
        Content, Digest, NeedMore, RangeDigest,
        internals::{DiffResult, Initiator, MAX_CELLS, RangeSender, Responder, Set, SetKey, Sketch},
    },
    session::PeerMisbehaved,
};

fn entry(n: u64) -> EntryId {
    let mut revision = [0; 32];
    revision[..8].copy_from_slice(&n.to_le_bytes());
    let location = LocationId {
        client: ClientId::from_bytes([1; 16]),
        vault: VaultId::from_bytes([2; 16]),
        record: RecordId::from_bytes([3; 16]),
    };
    EntryId { location, revision: RevisionId::from_bytes(revision) }
}

fn secret(seed: u64) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&seed.to_le_bytes());
    secret
}

/// The requests on the way, and the result: indices in `b`, and entries of `a`.
struct Found {
    again: Vec<&'static str>,
    told: Vec<Digest>,
    only_b: BTreeSet<EntryId>,
    only_a: BTreeSet<EntryId>,
}

/// Reconciles, replacing cells by noise in all turns before `honest`.
fn reconcile(seed: u64, a: &[EntryId], b: &[EntryId], honest: usize) -> Found {
    let mut answering = Responder::new(&secret(seed), b.iter().copied());
    let mut asking = Initiator::new(&secret(seed), a.iter().copied(), answering.summary().clone());
    let mut telling = asking.begin(a.iter().copied());
    let (mut again, mut told) = (Vec::new(), Vec::new());
    for turn in 0.. {
        for part in telling {
            told.push(part.clone());
            let part = match part {
                Digest::Cells(cells) if turn < honest => {
                    let noise = cells.iter().enumerate().map(|(at, byte)| byte ^ (at as u8).wrapping_mul(91));
                    Digest::Cells(ByteBuf::from(noise.collect::<Vec<u8>>()))
                }
                other => other,
            };
            answering.handle(part).unwrap();
        }
        match answering.find(b.iter().copied()).unwrap() {
            DiffResult::Found(here, there) => {
                let only_b: BTreeSet<EntryId> = here.iter().map(|at| b[*at]).collect();
                let positions = asking.positions(&there.into_iter().collect()).unwrap();
                let only_a: BTreeSet<EntryId> = positions.iter().map(|at| a[*at]).collect();
                assert!(asking.verify_fingerprint(&only_a, &only_b));
                return Found { again, told, only_b, only_a };
            }
            DiffResult::Again(asked) => {
                again.push(match asked {
                    NeedMore::More => "more",
                    NeedMore::Rekeyed(_) => "rekeyed",
                    NeedMore::Ranges(_) => "ranges",
                });
                telling = asking.continue_with(asked, a.iter().copied()).unwrap();
            }
        }
    }
    unreachable!()
}

/// Returns two sets of a thousand entries that differ in thirty.
fn sets() -> (Vec<EntryId>, Vec<EntryId>) {
    ((0..1000).map(entry).collect(), (15..1015).map(entry).collect())
}

#[test]
fn every_fallback_is_reached_and_finds_the_same() {
    let (a, b) = sets();
    let expected = ((0..15).map(entry).collect(), (1000..1015).map(entry).collect());
    for (honest, way) in [
        (0, &[][..]),
        (1, &["more", "rekeyed"]),
        (2, &["more", "rekeyed"]),
        (3, &["more", "rekeyed", "more", "ranges", "ranges"]),
    ] {
        let found = reconcile(1, &a, &b, honest);
        assert_eq!((found.only_a, found.only_b), expected, "{way:?}");
        assert!(found.again.starts_with(way), "{:?} for {way:?}", found.again);
        assert_eq!(way.is_empty(), found.again.is_empty());
    }
}

/// A symbol in the first of its cells alone comes out again of the others. By chance that happens
/// under one key, not under two.
#[test]
fn what_comes_out_twice_under_two_keys_is_an_attack() {
    let mut answering = Responder::new(&secret(1), []);
    let crafted = |key| {
        let symbol = Set::new(SetKey::new(&secret(1), key), [entry(1)]).symbols()[0];
        let cells = [&symbol.bits().to_le_bytes()[..], &[0; 8 * 63]].concat();
        Digest::Cells(ByteBuf::from(cells))
    };
    answering.handle(crafted(0)).unwrap();
    let found = answering.find([]).unwrap();
    assert!(matches!(found, DiffResult::Again(NeedMore::Rekeyed(_))));
    answering.handle(crafted(1)).unwrap();
    assert_eq!(answering.find([]).err(), Some(PeerMisbehaved::Unpeelable));
}

#[test]
fn more_cells_of_the_same_stream_help_where_the_estimate_was_short() {
    let (a, b): (Vec<_>, Vec<_>) = ((0..100).map(entry).collect(), (5..105).map(entry).collect());
    let short =
        (0..5000).map(|seed| reconcile(seed, &a, &b, 0)).find(|found| !found.again.is_empty()).unwrap();
    assert_eq!(short.again, ["more"]);
    assert_eq!(short.only_a, (0..5).map(entry).collect());
}

#[test]
fn sets_that_differ_in_nearly_everything_are_told_in_full() {
    let (a, b): (Vec<_>, Vec<_>) = ((0..50).map(entry).collect(), (45..5000).map(entry).collect());
    let found = reconcile(1, &a, &b, 0);
    assert!(matches!(found.told.as_slice(), [Digest::Symbols(all)] if all.len() == 50 * 8));
    assert_eq!((found.only_a.len(), found.only_b.len()), (45, 4950));
    let nothing = reconcile(1, &[], &b, 0);
    assert_eq!((nothing.told, nothing.only_b.len()), (vec![Digest::Symbols(ByteBuf::new())], b.len()));
}

#[test]
fn a_summary_that_lies_about_its_count_does_not_add_up() {
    let (a, b) = sets();
    let mut summary = Responder::new(&secret(1), b.iter().copied()).summary().clone();
    summary.count += 1;
    let asking = Initiator::new(&secret(1), a.iter().copied(), summary);
    let (only_a, only_b): (Vec<_>, Vec<_>) =
        ((0..15).map(entry).collect(), (1000..1015).map(entry).collect());
    assert!(!asking.verify_fingerprint(&only_a, &only_b));
}

#[test]
fn another_session_has_other_symbols_so_nothing_is_replayed() {
    let (one, other) = (SetKey::new(&secret(1), 0), SetKey::new(&secret(2), 0));
    let symbols = |key: &SetKey| Set::new(key.clone(), (0..100).map(entry)).symbols().to_vec();
    assert!(symbols(&one).iter().all(|symbol| !symbols(&other).contains(symbol)));
    assert!(symbols(&one).iter().all(|symbol| !other.is_valid(*symbol)));
    assert_ne!(symbols(&one), symbols(&SetKey::new(&secret(1), 1)));
}

/// Test vectors for a second implementation: PROTOCOL.md, section 4, quotes them.
#[test]
fn the_vectors_hold() {
    let key = SetKey::new(&[9; 32], 0);
    let set = Set::new(key.clone(), (0..3).map(entry));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let symbols: Vec<String> = set.symbols().iter().map(|symbol| format!("{:016x}", symbol.bits())).collect();
    let cells: Vec<String> =
        Sketch::of(set.symbols(), 4).cells().iter().map(|cell| format!("{cell:016x}")).collect();
    assert_eq!(format!("{:032x}", key.hash(&entry(0))), "5f08cd5285dc603e427e580842b72c08");
    assert_eq!(symbols, ["7688906f66435942", "a322903133df70f5", "74e6a3847b4ecb15"]);
    assert_eq!(cells, ["a14ca3da2ed2e2a2", "a322903133df70f5", "d5aa005e559c29b7", "d5aa005e559c29b7"]);
    assert_eq!(
        hex(&rmp_serde::to_vec(set.summary()).unwrap()),
        "9303c41089d5c3f91914fb58b5810f06a567395fc460001000000800000002000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    );
}

/// Returns a responder that has fallen back to ranges.
fn at_ranges() -> Responder {
    let mut answering = Responder::new(&secret(1), (0..100).map(entry));
    answering.next_fallback((0..100).map(entry)).unwrap();
    assert_eq!(answering.next_fallback((0..100).map(entry)).unwrap(), NeedMore::Ranges(vec![0]));
    answering
}

#[test]
fn what_is_told_out_of_turn_is_refused() {
    let (cells, symbols) = (Digest::Cells(vec![1; 8].into()), Digest::Symbols(vec![1; 8].into()));
    let ranges = Digest::Ranges(vec![RangeDigest { end: None, content: Content::Sum(1, 1) }]);
    let out_of_order = Err(PeerMisbehaved::OutOfOrder);
    let fresh = || Responder::new(&secret(1), (0..100).map(entry));
    assert_eq!(fresh().handle(ranges.clone()), out_of_order);
    for (first, second) in [(&cells, &symbols), (&symbols, &cells)] {
        let mut answering = fresh();
        answering.handle(first.clone()).unwrap();
        answering.handle(first.clone()).unwrap();
        assert_eq!(answering.handle(second.clone()), out_of_order, "{second:?} after {first:?}");
    }
    for told in [cells, symbols] {
        assert_eq!(at_ranges().handle(told), out_of_order);
    }
    assert_eq!(at_ranges().handle(ranges), Ok(()));
}

#[test]
fn ranges_are_at_least_one_and_at_most_so_many() {
    let told = |count| Digest::Ranges(vec![RangeDigest { end: Some(1), content: Content::Sum(1, 1) }; count]);
    let mut answering = at_ranges();
    assert_eq!(answering.handle(told(0)), Err(PeerMisbehaved::TooManyCells));
    assert_eq!(answering.handle(told(MAX_CELLS - 1)), Ok(()));
    assert_eq!(answering.handle(told(1)), Ok(()));
    assert_eq!(answering.handle(told(1)), Err(PeerMisbehaved::TooManyCells));
}

#[test]
fn who_tells_tells_no_more_than_there_was_to_ask_for() {
    let theirs = || Responder::new(&secret(1), (0..1_000).map(entry)).summary().clone();
    let again = |entries: u64, asked: Vec<NeedMore>| {
        let mut asking = Initiator::new(&secret(1), (0..entries).map(entry), theirs());
        drop(asking.begin((0..entries).map(entry)));
        asked
            .into_iter()
            .map(|again| asking.continue_with(again, (0..entries).map(entry)).map(drop))
            .collect::<Vec<_>>()
    };
    let out_of_order = Err(PeerMisbehaved::OutOfOrder);
    // A plain list has no further cells.
    assert_eq!(again(3, vec![NeedMore::More]), [out_of_order]);
    assert_eq!(again(990, vec![NeedMore::Ranges(vec![0])]), [out_of_order]);
    assert_eq!(again(990, vec![NeedMore::More, NeedMore::More]), [Ok(()), out_of_order]);
    // The requested ranges must have been sent, each once and in order.
    for differing in [vec![1], vec![0, 0], vec![0, 1]] {
        let set = Set::new(SetKey::new(&secret(1), 0), (0..1_000).map(entry));
        assert!(RangeSender::new(set.symbols().to_vec()).digests(&differing).is_err(), "{differing:?}");
    }
}
