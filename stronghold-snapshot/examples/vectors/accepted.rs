//! Vectors that a reader must open.

use crate::Vector;
use crate::writer::{CHUNK, File, Slot, random, trailer};

pub(crate) const KEY: [u8; 32] = [0x4b; 32];
pub(crate) const OTHER_KEY: [u8; 32] = [0x4c; 32];
const SEED: [u8; 32] = [0x52; 32];
/// Little memory, so that a test is fast.
pub(crate) const CHEAP: [u32; 3] = [32, 1, 1];

pub(crate) fn passphrase(text: &[u8], cost: [u32; 3]) -> Slot {
    Slot::Passphrase { passphrase: text.to_vec(), cost }
}

pub(crate) fn all() -> Vec<Vector> {
    let mut all = lengths();
    all.extend(unlocking());
    all.extend(generations());
    all
}

fn accepted(name: &str, comment: &str, unlock: (&'static str, &[u8]), payload: &[u8], file: &File) -> Vector {
    Vector {
        name: name.into(),
        comment: comment.into(),
        unlock: (unlock.0, unlock.1.to_vec()),
        expect: "success",
        payload: Some(payload.to_vec()),
        changes: None,
        file: file.bytes(),
    }
}

/// Payloads around the steps of the padding and the edges of chunks.
fn lengths() -> Vec<Vector> {
    let small = [0, 1, 7, 8, 9, 23, 24, 25, 55, 56, 57, 120, 121, 247, 248, 249, 1000, 4088, 4089];
    // Padmé steps by 2,048 up to a chunk and by 4,096 beyond, so these are a full chunk, and one of
    // two chunks.
    let large = [CHUNK - 8, CHUNK - 7, 2 * CHUNK - 8];
    small
        .into_iter()
        .chain(large)
        .map(|len| {
            let name = format!("payload_of_{len:06}_bytes");
            let payload: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let file = File::new(&name, &payload, &[Slot::Key(KEY)]);
            accepted(&name, "a payload of this length, under a raw key", ("key", &KEY), &payload, &file)
        })
        .collect()
}

fn unlocking() -> Vec<Vector> {
    let content = b"the content";
    let one = |name: &str, comment: &str, unlock: (&'static str, &[u8]), slots: &[Slot]| {
        accepted(name, comment, unlock, content, &File::new(name, content, slots))
    };
    let three = [Slot::Key(KEY), passphrase(b"correct horse", CHEAP), Slot::Recipient(SEED)];
    let sixteen: Vec<Slot> = (0..15).map(|n| Slot::Key([n; 32])).chain([Slot::Key(KEY)]).collect();
    let with = |cost: [u32; 3]| [passphrase(b"correct horse", cost)];
    let horse = ("passphrase", b"correct horse".as_slice());
    vec![
        one("passphrase_cheapest", "8 KiB, one pass, one lane: the lower bounds", horse, &with([8, 1, 1])),
        one("passphrase_four_lanes", "lanes matter to the result", horse, &with([32, 1, 4])),
        one("passphrase_three_passes", "passes matter to the result", horse, &with([32, 3, 1])),
        one("passphrase_default", "64 MiB, three passes, four lanes", horse, &with([65_536, 3, 4])),
        one("passphrase_most_passes", "16 passes: the upper bound", horse, &with([8, 16, 1])),
        one("passphrase_most_lanes", "16 lanes: the upper bound", horse, &with([128, 1, 16])),
        one("passphrase_empty", "no bytes at all", ("passphrase", b""), &[passphrase(b"", CHEAP)]),
        one(
            "passphrase_of_any_bytes",
            "not text",
            ("passphrase", b"\xff\x00\n"),
            &[passphrase(b"\xff\x00\n", CHEAP)],
        ),
        one(
            "passphrase_not_normalised",
            "u with combining dots stays two characters",
            ("passphrase", b"u\xcc\x88"),
            &[passphrase(b"u\xcc\x88", CHEAP)],
        ),
        one("recipient", "ML-KEM-768 with P-256", ("recipient", &SEED), &[Slot::Recipient(SEED)]),
        one(
            "recipient_once",
            "the same without the recipient's key",
            ("recipient", &SEED),
            &[Slot::Once(SEED)],
        ),
        one("three_kinds_by_key", "the first of three slots", ("key", &KEY), &three),
        one("three_kinds_by_passphrase", "the second of three slots", horse, &three),
        one("three_kinds_by_recipient", "the third of three slots", ("recipient", &SEED), &three),
        one("sixteen_slots_by_the_last", "the most slots", ("key", &KEY), &sixteen),
        one(
            "two_passphrases_by_the_second",
            "each is tried",
            horse,
            &[passphrase(b"other", CHEAP), passphrase(b"correct horse", CHEAP)],
        ),
    ]
}

fn generations() -> Vec<Vector> {
    let content = b"the content of a later generation";
    let later = |name: &str, comment: &str, change: fn(&mut File)| {
        let mut file = File::new(name, content, &[Slot::Key(KEY)]);
        change(&mut file);
        accepted(name, comment, ("key", &KEY), content, &file)
    };
    vec![
        later("generation_two", "with the hash of its parent", |file| {
            (file.generation, file.parent) = (2, random("some parent"));
        }),
        later("generation_last", "the greatest number", |file| {
            (file.generation, file.parent) = (u64::MAX, random("some parent"));
        }),
        later("generation_of_new_slots", "another slot before the body of the generation before", |file| {
            (file.generation, file.parent) = (2, random("some parent"));
            file.slots.insert(0, Slot::Key(OTHER_KEY).encode("a new one", &file.file_id, 1));
            file.slots[1] = Slot::Key(KEY).encode("the old one", &file.file_id, 2);
            file.last = 2;
        }),
        later(
            "slots_of_later_numbers",
            "with dates and labels; a slot between them was removed, and the last",
            |file| {
                let labels = [trailer(3, 1, "Grüße".as_bytes()), trailer(7, u64::MAX, &[b'l'; 100])];
                let slots = [Slot::Key(OTHER_KEY), Slot::Key(KEY)].into_iter().zip(labels);
                file.slots =
                    slots.map(|(slot, end)| slot.encode_with("labelled", &file.file_id, &end)).collect();
                file.last = 9;
            },
        ),
        later("parent_of_zeros", "a reader does not judge the parent", |file| file.generation = 3),
    ]
}
