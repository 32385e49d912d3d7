//! The ten functions in which most time goes, each once, so that their instructions can be counted:
//! `cargo xtask bench --check` runs this under callgrind. Without a name, prints the names.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and may panic")]

use std::collections::BTreeSet;
use std::hint::black_box;

use stronghold_snapshot::{Manifest, NewSlot, RecipientSecretKey, Sealer, open_complement, seal_complement};
use stronghold_sync::{
    EntryId, Location, Mapping, Scope, Selection, Shape, Timestamp,
    reconcile::internals::{DiffResult, Initiator, Responder},
};
use stronghold_vault::{Identity, Labels, Stronghold};

const RECORDS: usize = 10_000;
const VALUE: [u8; 64] = [7; 64];

/// A function after its preparation.
type Work = Box<dyn FnOnce()>;
type Task = (&'static str, fn() -> Work);

const TASKS: [Task; 10] = [
    ("write", write),
    ("read", read),
    ("list", list),
    ("shapes", shapes),
    ("changes", changes),
    ("to_payload", to_payload),
    ("from_payload", from_payload),
    ("reconcile", reconcile),
    ("complement", complement),
    ("seal_and_open", seal_and_open),
];

fn main() {
    let asked = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    match asked {
        None => TASKS.iter().for_each(|(name, _)| println!("{name}")),
        Some(asked) => {
            let (_, prepare) = TASKS.iter().find(|(name, _)| *name == asked).unwrap();
            counted(prepare());
        }
    }
}

/// Runs what is counted: callgrind finds this function by its name.
#[inline(never)]
fn counted(work: Work) {
    work();
}

fn location(number: usize) -> Location {
    Location::new_unchecked("client", &format!("vault-{}", number % 10), &format!("account-{number:06}"))
}

/// A Stronghold with records from `first` on.
fn held(first: usize, records: usize) -> Stronghold {
    let mut held = Stronghold::new("bench").unwrap();
    for number in first..first + records {
        held.write(&location(number), &VALUE, Labels::new(), Timestamp::from_millis(1)).unwrap();
    }
    held
}

fn all_shapes(held: &Stronghold) -> Vec<Shape> {
    held.shapes(&Scope::of(Selection::everything()), &Mapping::default())
}

/// Writes a thousand records beside the others.
fn write() -> Work {
    let mut held = held(0, RECORDS);
    let more: Vec<Location> = (RECORDS..RECORDS + 1_000).map(location).collect();
    Box::new(move || {
        for at in &more {
            black_box(held.write(at, &VALUE, Labels::new(), Timestamp::from_millis(2)).unwrap());
        }
        std::mem::forget(held);
    })
}

/// Reads a thousand records.
fn read() -> Work {
    let held = held(0, RECORDS);
    let some: Vec<Location> = (0..1_000).map(location).collect();
    Box::new(move || {
        some.iter().for_each(|at| drop(black_box(held.read(at).unwrap())));
        std::mem::forget(held);
    })
}

fn list() -> Work {
    let held = held(0, RECORDS);
    Box::new(move || {
        assert_eq!(held.list(&Selection::everything()).map(black_box).count(), RECORDS);
        std::mem::forget(held);
    })
}

fn shapes() -> Work {
    let held = held(0, RECORDS);
    Box::new(move || {
        black_box(all_shapes(&held));
        std::mem::forget(held);
    })
}

/// Notes a hundred single changes, encodes each and takes it over in another copy.
fn changes() -> Work {
    let mut held = held(0, RECORDS);
    let mut copy = Stronghold::from_payload(&held.to_payload().unwrap()).unwrap();
    Box::new(move || {
        for number in 0..100 {
            held.begin_changes();
            held.write(&location(number), b"new", Labels::new(), Timestamp::from_millis(2)).unwrap();
            copy.apply_changes(&held.changes().unwrap()).unwrap();
        }
        std::mem::forget((held, copy));
    })
}

fn to_payload() -> Work {
    let held = held(0, RECORDS);
    Box::new(move || {
        black_box(held.to_payload().unwrap());
        std::mem::forget(held);
    })
}

fn from_payload() -> Work {
    let payload = held(0, RECORDS).to_payload().unwrap();
    Box::new(move || std::mem::forget(Stronghold::from_payload(&payload).unwrap()))
}

/// Finds a hundred entries that only one side has, both sides together.
fn reconcile() -> Work {
    let (one, two) = (held(0, RECORDS), held(RECORDS, 100));
    let entries = |held: &Stronghold| all_shapes(held).iter().map(Shape::entry).collect::<Vec<EntryId>>();
    let there = entries(&one);
    let mut here = [there.clone(), entries(&two)].concat();
    here.sort_unstable();
    Box::new(move || {
        let secret = [9; 32];
        let mut answering = Responder::new(&secret, there.iter().copied());
        let mut asking = Initiator::new(&secret, here.iter().copied(), answering.summary().clone());
        let mut told = asking.begin(here.iter().copied());
        loop {
            told.into_iter().for_each(|part| answering.handle(part).unwrap());
            match answering.find(there.iter().copied()).unwrap() {
                DiffResult::Found(..) => break,
                DiffResult::Again(again) => told = asking.continue_with(again, here.iter().copied()).unwrap(),
            }
        }
    })
}

/// Seals a thousand entries to a key, and opens them with it.
fn complement() -> Work {
    let held = held(0, 1_000);
    let wanted: BTreeSet<EntryId> = all_shapes(&held).iter().map(Shape::entry).collect();
    let everything = Selection::everything();
    let entries = held.export_mapped(&everything, &Mapping::default(), &wanted).unwrap();
    let [sender, receiver] = [1, 2].map(|byte| Identity::from_bytes(&[byte; 32]).unwrap());
    let secret = RecipientSecretKey::from_bytes(&[3; 32]).unwrap();
    let manifest =
        Manifest { sender: sender.device(), receiver: receiver.device(), request: [4; 32], index: 0 };
    Box::new(move || {
        let sealed = seal_complement(&entries, &secret.public(), &sender, &manifest).unwrap();
        black_box(open_complement(sealed, &secret, sender.public(), &manifest).unwrap());
    })
}

/// Seals a mebibyte as a file, and opens it.
fn seal_and_open() -> Work {
    let sealer = Sealer::create(&[NewSlot::Key(&[1; 32])]).unwrap();
    let payload = vec![7; 1 << 20];
    Box::new(move || {
        let sealed = sealer.seal_next(&payload).unwrap();
        black_box(sealer.reopen(sealed).unwrap());
    })
}
