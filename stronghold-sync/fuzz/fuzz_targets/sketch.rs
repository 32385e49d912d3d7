//! Reconciles with arbitrary input: cells of no set, symbols and ranges, in any order and number.
//! Every run must end, in an error or in a result that is true of the input; with an honest peer,
//! the result is the difference that a comparison of both sets finds.

#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use serde_bytes::ByteBuf;
use stronghold_sync::{
    ClientId, EntryId, LocationId, RecordId, RevisionId, VaultId,
    reconcile::{
        Content, Digest, NeedMore, RangeDigest, SetDigest,
        internals::{DiffResult, Initiator, MAX_CELLS, Responder, STRATA_LEN, Set, SetKey, Sketch, Symbol},
    },
};

const SECRET: [u8; 32] = [5; 32];
/// Upper bound on the rounds of an exchange: a sketch and more of it, both again under a second
/// key, and 20 of ranges.
const ROUNDS: usize = 30;

/// One of the four parts. They run separately, as the estimate that two of them need takes longer
/// than all the rest.
#[derive(Arbitrary, Debug)]
enum Input {
    Peel(Vec<Cell>),
    Answer { own: Members, theirs: Members, told: Vec<Act> },
    Tell { own: Members, theirs: Members, asked: Vec<Request> },
    Reconcile { own: Members, theirs: Members, tampered: Vec<(u8, u16, u64)> },
}

/// A set: a run of numbers that both sides may have, and some more.
#[derive(Arbitrary, Debug)]
struct Members {
    run: u8,
    more: Vec<u16>,
}

/// A crafted cell.
#[derive(Arbitrary, Debug)]
enum Cell {
    Raw(u64),
    /// The sum of these entries' symbols.
    Sum(Vec<u8>),
    /// These bits, completed by their check to a valid symbol.
    Genuine(u64),
}

/// An action of the initiator.
#[derive(Arbitrary, Debug)]
enum Act {
    Cells(Vec<Cell>),
    HonestCells { from: u8, len: u8 },
    Symbols(Vec<Cell>),
    HonestSymbols,
    Bytes(bool, Vec<u8>),
    Ranges(Vec<Range>),
    HonestRanges(Vec<u8>),
    Find,
    Mismatch,
}

#[derive(Arbitrary, Debug)]
struct Range {
    end: Option<u64>,
    content: Held,
}

#[derive(Arbitrary, Debug)]
enum Held {
    Sum(u64, u64),
    Full(Vec<u64>),
    FullInOrder(Vec<u64>),
    Known,
}

/// A request of the responder.
#[derive(Arbitrary, Debug)]
enum Request {
    More,
    Rekeyed { count: u64, fingerprint: u128, strata: Vec<u8> },
    HonestlyRekeyed,
    Ranges(Vec<u8>),
}

fuzz_target!(|input: Input| match input {
    Input::Peel(cells) => peel(&cells),
    Input::Answer { own, theirs, told } => answer(&own.entries(), &theirs.entries(), &told),
    Input::Tell { own, theirs, asked } => tell(&own.entries(), &theirs.entries(), &asked),
    Input::Reconcile { own, theirs, tampered } => reconcile(&own.entries(), &theirs.entries(), &tampered),
});

/// Checks that peeling a sketch returns symbols that produce every one of its cells.
fn peel(cells: &[Cell]) {
    let key = SetKey::new(&SECRET, 0);
    let cells = words(cells, &key);
    if let Ok(symbols) = Sketch::from_cells(&cells).peel(&key) {
        assert!(symbols.len() <= cells.len());
        assert!(symbols.iter().all(|symbol| key.is_valid(*symbol)));
        assert_eq!(Sketch::of(&symbols, cells.len()).cells(), cells);
    }
}

/// Runs the responder against arbitrary input.
fn answer(own: &[EntryId], theirs: &[EntryId], acts: &[Act]) {
    let mut answering = Responder::new(&SECRET, own.iter().copied());
    let (mut rounds, mut ranges_told) = (0, 0);
    for act in acts {
        let key = answering.key().clone();
        let part = match act {
            Act::Find => {
                match answering.find(own.iter().copied()) {
                    Ok(DiffResult::Found(here, there)) => check_found(own, &key, &here, &there),
                    Ok(DiffResult::Again(NeedMore::Ranges(differing))) => {
                        // The first request names the single range of the whole set, before any
                        // range is sent.
                        let known = differing.iter().all(|index| (*index as usize) < ranges_told);
                        assert!(known || differing == [0]);
                        assert!(differing.is_sorted_by(|one, next| one < next) && !differing.is_empty());
                        rounds += 1;
                    }
                    Ok(DiffResult::Again(_)) => rounds += 1,
                    Err(_) => return,
                }
                assert!(rounds <= ROUNDS);
                ranges_told = 0;
                continue;
            }
            Act::Mismatch => match answering.next_fallback(own.iter().copied()) {
                Ok(_) => continue,
                Err(_) => return,
            },
            Act::Cells(cells) => Digest::Cells(bytes(&words(cells, &key))),
            Act::HonestCells { from, len } => {
                let sketch = Sketch::of(&symbols(theirs, &key), usize::from(*from) + usize::from(*len));
                Digest::Cells(bytes(&sketch.cells()[usize::from(*from)..]))
            }
            Act::Symbols(cells) => Digest::Symbols(bytes(&words(cells, &key))),
            Act::HonestSymbols => Digest::Symbols(bytes(&bits(&symbols(theirs, &key)))),
            Act::Bytes(true, raw) => Digest::Cells(ByteBuf::from(raw.clone())),
            Act::Bytes(false, raw) => Digest::Symbols(ByteBuf::from(raw.clone())),
            Act::Ranges(ranges) => Digest::Ranges(ranges.iter().map(Range::told).collect()),
            Act::HonestRanges(ends) => Digest::Ranges(honest_ranges(&symbols(theirs, &key), ends)),
        };
        let told = if let Digest::Ranges(told) = &part { told.len() } else { 0 };
        if answering.handle(part).is_err() {
            return;
        }
        ranges_told += told;
    }
}

/// Checks that indices are of entries, ascending and distinct, and that no symbol is of an entry
/// here.
fn check_found(own: &[EntryId], key: &SetKey, here: &[usize], there: &[Symbol]) {
    assert!(here.iter().all(|at| *at < own.len()) && here.is_sorted_by(|one, next| one < next));
    assert!(there.is_sorted_by(|one, next| one < next));
    let held: BTreeSet<Symbol> = symbols(own, key).into_iter().collect();
    assert!(there.iter().all(|symbol| !held.contains(symbol)));
}

/// Runs the initiator against arbitrary requests: it describes only its own set, and sends at most
/// a small multiple of its size.
fn tell(own: &[EntryId], theirs: &[EntryId], requests: &[Request]) {
    let summary = Responder::new(&SECRET, theirs.iter().copied()).summary().clone();
    let mut asking = Initiator::new(&SECRET, own.iter().copied(), summary);
    check_told(own, &asking.begin(own.iter().copied()));
    for request in requests {
        let again = match request {
            Request::More => NeedMore::More,
            Request::Rekeyed { count, fingerprint, strata } => {
                NeedMore::Rekeyed(Box::new(false_summary(*count, *fingerprint, strata)))
            }
            Request::HonestlyRekeyed => {
                let key = SetKey::new(&SECRET, 1);
                let set = Set::new(key, theirs.iter().copied());
                NeedMore::Rekeyed(Box::new(set.summary().clone()))
            }
            Request::Ranges(differing) => {
                NeedMore::Ranges(differing.iter().map(|index| u32::from(*index)).collect())
            }
        };
        match asking.continue_with(again, own.iter().copied()) {
            Ok(told) => check_told(own, &told),
            Err(_) => return,
        }
    }
}

fn check_told(own: &[EntryId], told: &[Digest]) {
    let words = |part: &Digest| match part {
        Digest::Cells(bytes) | Digest::Symbols(bytes) => bytes.len() / 8,
        Digest::Ranges(told) => told.iter().map(range_words).sum(),
    };
    let words: usize = told.iter().map(words).sum();
    assert!(words <= 40 * own.len() + 64, "{words} of {}", own.len());
}

/// Runs both sides, with some parts altered in flight. Unaltered, the result is the difference;
/// altered, a result that verifies is true.
fn reconcile(own: &[EntryId], theirs: &[EntryId], tampered: &[(u8, u16, u64)]) {
    let mut answering = Responder::new(&SECRET, own.iter().copied());
    let mut asking = Initiator::new(&SECRET, theirs.iter().copied(), answering.summary().clone());
    assert_eq!(asking.is_same(), own == theirs);
    let mut told = asking.begin(theirs.iter().copied());
    if told.is_empty() {
        return;
    }
    for round in 0.. {
        assert!(round < ROUNDS);
        for (part, telling) in told.into_iter().enumerate() {
            let altered = tampered.iter().filter(|(at, ..)| usize::from(*at) == round * 4 + part);
            let telling = altered.fold(telling, |telling, (_, word, mask)| alter(telling, *word, *mask));
            if answering.handle(telling).is_err() {
                assert!(!tampered.is_empty());
                return;
            }
        }
        let again = match answering.find(own.iter().copied()) {
            Ok(DiffResult::Again(again)) => again,
            Ok(DiffResult::Found(here, there)) => {
                check_found(own, answering.key(), &here, &there);
                if adds_up(&asking, own, theirs, &here, &there) {
                    return;
                }
                match answering.next_fallback(own.iter().copied()) {
                    Ok(again) => again,
                    Err(_) => {
                        assert!(!tampered.is_empty());
                        return;
                    }
                }
            }
            Err(_) => {
                assert!(!tampered.is_empty());
                return;
            }
        };
        told = match asking.continue_with(again, theirs.iter().copied()) {
            Ok(told) => told,
            Err(_) => {
                assert!(!tampered.is_empty());
                return;
            }
        };
    }
}

fn adds_up(
    asking: &Initiator,
    own: &[EntryId],
    theirs: &[EntryId],
    here: &[usize],
    there: &[Symbol],
) -> bool {
    let here: BTreeSet<EntryId> = here.iter().map(|at| own[*at]).collect();
    let Some(positions) = asking.positions(&there.iter().copied().collect()) else {
        return false;
    };
    let there: BTreeSet<EntryId> = positions.into_iter().map(|at| theirs[at]).collect();
    if !asking.verify_fingerprint(&there, &here) {
        return false;
    }
    let (own, theirs): (BTreeSet<EntryId>, BTreeSet<EntryId>) =
        (own.iter().copied().collect(), theirs.iter().copied().collect());
    assert_eq!(here, own.difference(&theirs).copied().collect());
    assert_eq!(there, theirs.difference(&own).copied().collect());
    true
}

fn alter(telling: Digest, word: u16, mask: u64) -> Digest {
    let flip = |mut bytes: ByteBuf| {
        let words = (bytes.len() / 8).max(1);
        let from = usize::from(word) % words * 8;
        for (byte, mask) in bytes.iter_mut().skip(from).zip(mask.to_le_bytes()) {
            *byte ^= mask;
        }
        bytes
    };
    match telling {
        Digest::Cells(bytes) => Digest::Cells(flip(bytes)),
        Digest::Symbols(bytes) => Digest::Symbols(flip(bytes)),
        Digest::Ranges(mut told) => {
            let at = usize::from(word) % told.len().max(1);
            if let Some(RangeDigest { end, content }) = told.get_mut(at) {
                match content {
                    Content::Sum(_, sum) => *sum ^= mask,
                    Content::Full(symbols) if !symbols.is_empty() => symbols[0] ^= mask,
                    _ => *end = end.map(|end| end ^ mask),
                }
            }
            Digest::Ranges(told)
        }
    }
}

impl Members {
    fn entries(&self) -> Vec<EntryId> {
        let more = self.more.iter().take(300).map(|n| u64::from(*n) + 256);
        let numbers: BTreeSet<u64> = (0..u64::from(self.run)).chain(more).collect();
        numbers.into_iter().map(entry).collect()
    }
}

impl Cell {
    fn word(&self, key: &SetKey) -> u64 {
        match self {
            Self::Raw(bits) => *bits,
            Self::Sum(members) => {
                let members: Vec<EntryId> = members.iter().map(|n| entry(u64::from(*n))).collect();
                symbols(&members, key).iter().fold(0, |sum, symbol| sum ^ symbol.bits())
            }
            Self::Genuine(hash) => key.symbol_of_hash(u128::from(*hash)).bits(),
        }
    }
}

impl Range {
    fn told(&self) -> RangeDigest {
        let content = match &self.content {
            Held::Sum(count, sum) => Content::Sum(*count, *sum),
            Held::Full(symbols) => Content::Full(symbols.clone()),
            Held::FullInOrder(symbols) => {
                Content::Full(symbols.iter().copied().collect::<BTreeSet<u64>>().into_iter().collect())
            }
            Held::Known => Content::Skip,
        };
        RangeDigest { end: self.end, content }
    }
}

/// Splits the symbols at some of them, with each range in full: the last message of an honest side.
fn honest_ranges(symbols: &[Symbol], ends: &[u8]) -> Vec<RangeDigest> {
    let mut rest = bits(symbols);
    rest.sort_unstable();
    let ends: BTreeSet<u64> = ends.iter().filter_map(|at| rest.get(usize::from(*at)).copied()).collect();
    let mut told = Vec::new();
    for end in ends.into_iter().map(Some).chain([None]) {
        let len = end.map_or(rest.len(), |end| rest.partition_point(|symbol| *symbol < end));
        told.push(RangeDigest { end, content: Content::Full(rest.drain(..len).collect()) });
    }
    told
}

fn range_words(told: &RangeDigest) -> usize {
    match &told.content {
        Content::Full(symbols) => 1 + symbols.len(),
        Content::Sum(..) | Content::Skip => 2,
    }
}

fn false_summary(count: u64, fingerprint: u128, strata: &[u8]) -> SetDigest {
    let mut levels = [0; STRATA_LEN];
    levels.iter_mut().zip(strata).for_each(|(level, byte)| *level = *byte);
    let (fingerprint, levels) = (ByteBuf::from(fingerprint.to_le_bytes()), ByteBuf::from(levels));
    let encoded = rmp_serde::to_vec(&(count, fingerprint, levels)).expect("numbers and bytes");
    rmp_serde::from_slice(&encoded).expect("any count, 16 bytes and 96 bytes are a summary")
}

fn entry(n: u64) -> EntryId {
    let mut revision = [0; 32];
    revision[..8].copy_from_slice(&n.to_be_bytes());
    let location = LocationId {
        client: ClientId::from_bytes([1; 16]),
        vault: VaultId::from_bytes([2; 16]),
        record: RecordId::from_bytes([3; 16]),
    };
    EntryId { location, revision: RevisionId::from_bytes(revision) }
}

fn symbols(entries: &[EntryId], key: &SetKey) -> Vec<Symbol> {
    entries.iter().map(|entry| key.symbol(entry)).collect()
}

fn bits(symbols: &[Symbol]) -> Vec<u64> {
    symbols.iter().map(|symbol| symbol.bits()).collect()
}

fn words(cells: &[Cell], key: &SetKey) -> Vec<u64> {
    cells.iter().take(MAX_CELLS).map(|cell| cell.word(key)).collect()
}

fn bytes(words: &[u64]) -> ByteBuf {
    ByteBuf::from(words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
}
