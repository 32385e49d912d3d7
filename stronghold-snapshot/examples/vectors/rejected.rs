//! Vectors that a reader must reject, with the word for each.

use crate::Vector;
use crate::accepted::{CHEAP, KEY, OTHER_KEY, passphrase};
use crate::writer::{CHUNK, File, Slot, padded, random, trailer, with_checksum};

const NOT_A_SNAPSHOT: &str = "not a snapshot";
const NEWER: &str = "newer version";
const UNSUPPORTED: &str = "unsupported";
const WRONG_KEY: &str = "wrong key";
const CUT: &str = "cut short";
const HEADER: &str = "damaged header";
const SLOT: &str = "damaged slot";
const MAC: &str = "header not authentic";
const BODY: &str = "damaged body";
const PADDING: &str = "damaged padding";

const CONTENT: &[u8] = b"the content";
/// Offset of the slots in a header.
const SLOTS_AT: usize = 131;
/// Length of a raw key's slot without a label, in bytes.
const KEY_SLOT: usize = 124;

pub(crate) fn all() -> Vec<Vector> {
    let groups = [
        magic(),
        preamble(),
        fields(),
        trailers(),
        changed_fields(),
        forged_fields(),
        costs(),
        slots(),
        bodies(),
        chunks(),
        paddings(),
    ];
    groups.into_iter().flatten().collect()
}

fn rejected(name: &str, comment: &str, expect: &'static str, file: Vec<u8>) -> Vector {
    Vector {
        name: name.into(),
        comment: comment.into(),
        unlock: ("key", KEY.to_vec()),
        expect,
        payload: None,
        changes: None,
        file,
    }
}

fn small(name: &str) -> File {
    File::new(name, CONTENT, &[Slot::Key(KEY)])
}

/// Creates a file whose final bytes are changed.
fn bent(name: &str, comment: &str, expect: &'static str, change: impl FnOnce(&mut Vec<u8>)) -> Vector {
    let mut bytes = small(name).bytes();
    change(&mut bytes);
    rejected(name, comment, expect, bytes)
}

/// Creates a file from invalid fields.
fn made(name: &str, comment: &str, expect: &'static str, change: impl FnOnce(&mut File)) -> Vector {
    let mut file = small(name);
    change(&mut file);
    rejected(name, comment, expect, file.bytes())
}

/// Creates a file with a changed header and a corrected checksum: possible for a forger without a
/// key.
fn forged(name: &str, comment: &str, expect: &'static str, change: impl FnOnce(&mut Vec<u8>)) -> Vector {
    let file = small(name);
    let mut header = file.header();
    change(&mut header);
    rejected(name, comment, expect, [with_checksum(header), file.chunks().concat()].concat())
}

fn magic() -> Vec<Vector> {
    vec![
        bent("empty_file", "no bytes", NOT_A_SNAPSHOT, Vec::clear),
        bent("one_byte", "the first of the magic", NOT_A_SNAPSHOT, |bytes| bytes.truncate(1)),
        bent("magic_cut", "seven bytes of the magic", NOT_A_SNAPSHOT, |bytes| bytes.truncate(7)),
        bent("magic_first_byte", "as if the eighth bit had been cut off", NOT_A_SNAPSHOT, |bytes| {
            bytes[0] &= 0x7f
        }),
        bent(
            "magic_as_text",
            "the line end converted, as a transfer of text does",
            NOT_A_SNAPSHOT,
            |bytes| {
                bytes.remove(6);
            },
        ),
        bent("byte_before", "a byte in front of the magic", NOT_A_SNAPSHOT, |bytes| bytes.insert(0, 0)),
        bent("other_program", "something else altogether", NOT_A_SNAPSHOT, |bytes| {
            *bytes = b"PK\x03\x04, not a snapshot at all, but long enough to be taken for a header of one"
                .to_vec();
        }),
    ]
}

fn preamble() -> Vec<Vector> {
    let len = |value: u32| move |bytes: &mut Vec<u8>| bytes[12..16].copy_from_slice(&value.to_be_bytes());
    vec![
        bent("preamble_missing", "the magic alone", CUT, |bytes| bytes.truncate(8)),
        bent("preamble_cut", "31 bytes", CUT, |bytes| bytes.truncate(31)),
        bent("header_missing", "the preamble alone", CUT, |bytes| bytes.truncate(32)),
        bent("header_cut", "the header but for its last byte", CUT, |bytes| {
            bytes.truncate(SLOTS_AT + 113 + 31)
        }),
        bent("header_len_0", "the least number", HEADER, len(0)),
        bent("header_len_63", "no room for the HMAC", HEADER, len(63)),
        bent("header_len_most", "the greatest number", CUT, len(u32::MAX)),
        bent("header_len_one_more", "a byte of the body belongs to the header", HEADER, |bytes| {
            bytes[15] += 1
        }),
        bent("header_len_one_less", "a byte of the header belongs to the body", HEADER, |bytes| {
            bytes[15] -= 1
        }),
        bent("checksum_first_bit", "the checksum changed", HEADER, |bytes| bytes[16] ^= 0x80),
        bent("checksum_last_bit", "the checksum changed", HEADER, |bytes| bytes[31] ^= 1),
        bent("version_changed", "without its checksum: damage, not a newer version", HEADER, |bytes| {
            bytes[9] = 2
        }),
        made("version_0", "there is none", HEADER, |file| file.version = 0),
        made("version_2", "whole, and newer", NEWER, |file| file.version = 2),
        made("version_last", "whole, and newer", NEWER, |file| file.version = u16::MAX),
        made("version_2_suite_2", "a newer version may have other suites", NEWER, |file| {
            (file.version, file.suite) = (2, 2);
        }),
        made("suite_0", "there is none", UNSUPPORTED, |file| file.suite = 0),
        made("suite_2", "unknown algorithms", UNSUPPORTED, |file| file.suite = 2),
        made("header_too_long", "whole, but over 65536 bytes", HEADER, |file| file.gap = vec![0; 65_536]),
    ]
}

fn fields() -> Vec<Vector> {
    vec![
        made("generation_0", "the first is 1", HEADER, |file| file.generation = 0),
        made("no_slots", "a count of 0", HEADER, |file| file.slots.clear()),
        made("seventeen_slots", "a count of 17", HEADER, |file| file.slots = vec![file.slots[0].clone(); 17]),
        made("count_too_large", "a second slot is counted, and not there", HEADER, |file| {
            file.count = Some(2)
        }),
        made("count_too_small", "a second slot is there, and not counted", HEADER, |file| {
            file.slots.push(file.slots[0].clone());
            file.count = Some(1);
        }),
        made("gap_before_the_hmac", "a byte after the last slot", HEADER, |file| file.gap = vec![0]),
        made("slot_cut", "the last slot lacks a byte", HEADER, |file| {
            file.slots[0].pop();
        }),
        made("slot_kind_0", "there is none", UNSUPPORTED, |file| file.slots[0][0] = 0),
        made("slot_kind_5", "unknown", UNSUPPORTED, |file| file.slots[0][0] = 5),
        made("slot_kind_255", "unknown", UNSUPPORTED, |file| file.slots[0][0] = 255),
        made(
            "second_slot_unknown",
            "a kind that a reader does not know, beside one that it does",
            UNSUPPORTED,
            |file| {
                file.slots.push(vec![9; KEY_SLOT]);
            },
        ),
    ]
}

/// Vectors with invalid labels and numbers of slots.
fn trailers() -> Vec<Vector> {
    let with = |name: &str, comment: &str, ends: &[Vec<u8>], last: u16| {
        let mut file = small(name);
        let slot = |end: &Vec<u8>| Slot::Key(KEY).encode_with(name, &file.file_id, end);
        file.slots = ends.iter().map(slot).collect();
        file.last = last;
        rejected(name, comment, HEADER, file.bytes())
    };
    vec![
        with("slot_number_0", "the first is 1", &[trailer(0, 0, b"")], 1),
        with("slot_number_twice", "two slots have it", &[trailer(1, 0, b""), trailer(1, 0, b"")], 2),
        with("slot_numbers_fall", "in another order", &[trailer(2, 0, b""), trailer(1, 0, b"")], 2),
        with("slot_number_over_the_last", "of a slot that was never made", &[trailer(3, 0, b"")], 2),
        with("slot_label_too_long", "101 bytes", &[trailer(1, 0, &[b'a'; 101])], 1),
        with("slot_label_no_text", "not UTF-8", &[trailer(1, 0, b"\xff")], 1),
        with("slot_label_cut", "longer than the header", &[vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 100, b'a']], 1),
    ]
}

/// Vectors with one flipped bit in each field and the old checksum.
fn changed_fields() -> Vec<Vector> {
    let fields = [
        ("file_id", 32),
        ("generation", 55),
        ("parent", 56),
        ("body_salt", 88),
        ("body_length", 127),
        ("count", 128),
        ("slot_kind", 131),
        ("slot_salt", 132),
        ("slot_commitment", 164),
        ("slot_key", 196),
        ("slot_tag", 228),
        ("slot_number", 245),
        ("slot_created", 253),
        ("slot_label_length", 254),
        ("last_number", 130),
        ("hmac", 255),
        ("hmac_end", 286),
    ];
    let changed = |(field, at): (&str, usize)| {
        bent(&format!("bit_of_{field}"), "a bit of this field is turned", HEADER, |bytes| bytes[at] ^= 1)
    };
    fields.into_iter().map(changed).collect()
}

/// The same with a correct checksum.
fn forged_fields() -> Vec<Vector> {
    let fields = [
        ("file_id", 32, WRONG_KEY),
        ("generation", 54, MAC),
        ("parent", 56, MAC),
        ("body_salt", 88, MAC),
        ("body_length", 127, HEADER),
        ("slot_salt", 132, WRONG_KEY),
        ("slot_commitment", 164, WRONG_KEY),
        ("slot_key", 196, SLOT),
        ("slot_tag", 228, SLOT),
        ("slot_number", 245, HEADER),
        ("slot_created", 253, MAC),
        ("last_number", 129, MAC),
        ("hmac", 255, MAC),
        ("hmac_end", 286, MAC),
    ];
    let changed = |(field, at, expect): (&str, usize, &'static str)| {
        forged(
            &format!("forged_{field}"),
            "a bit of this field is turned, and the checksum is right",
            expect,
            |header| {
                header[at] ^= 1;
            },
        )
    };
    let mut all: Vec<Vector> = fields.into_iter().map(changed).collect();
    all.push(forged("forged_body_length_possible", "a length that a body may have", MAC, |header| {
        header[127] ^= 8;
    }));
    all.push(forged("forged_slot_added", "a slot of a stranger to the master key's HMAC", MAC, |header| {
        let file_id = header[32..48].try_into().unwrap();
        let slot = Slot::Key(OTHER_KEY).encode("a stranger's", &file_id, 2);
        header[130] = 2; // the highest number
        header[128] = 2;
        header.splice(SLOTS_AT + KEY_SLOT..SLOTS_AT + KEY_SLOT, slot);
        let len = header.len() as u32;
        header[12..16].copy_from_slice(&len.to_be_bytes());
    }));
    all
}

/// Costs refused before any memory is taken.
fn costs() -> Vec<Vector> {
    let with = |name: &str, comment: &str, cost: [u32; 3]| {
        let mut file = File::new(name, CONTENT, &[passphrase(b"correct horse", CHEAP)]);
        for (n, field) in cost.iter().enumerate() {
            file.slots[0][33 + 4 * n..37 + 4 * n].copy_from_slice(&field.to_be_bytes());
        }
        Vector {
            unlock: ("passphrase", b"correct horse".to_vec()),
            ..rejected(name, comment, UNSUPPORTED, file.bytes())
        }
    };
    let mut all = vec![
        with("cost_no_lanes", "p = 0", [8, 1, 0]),
        with("cost_lanes", "p = 17", [1 << 20, 1, 17]),
        with("cost_no_passes", "t = 0", [8, 0, 1]),
        with("cost_passes", "t = 17", [8, 17, 1]),
        with("cost_memory_least", "m = 7", [7, 1, 1]),
        with("cost_memory_by_lane", "m = 8, p = 2", [8, 1, 2]),
        with("cost_memory_most", "m = 2^20 + 1", [(1 << 20) + 1, 1, 1]),
        with("cost_everything", "the greatest numbers", [u32::MAX; 3]),
    ];
    let name = "cost_together";
    let mut file = File::new(name, CONTENT, &[passphrase(b"a", CHEAP), passphrase(b"b", CHEAP)]);
    for slot in &mut file.slots {
        slot[33..41].copy_from_slice(&[(1u32 << 20).to_be_bytes(), 16u32.to_be_bytes()].concat());
    }
    all.push(rejected(name, "two slots, each at the upper bounds", UNSUPPORTED, file.bytes()));
    all
}

fn slots() -> Vec<Vector> {
    let unlocked = |name: &str, comment: &str, unlock: (&'static str, &[u8]), slots: &[Slot]| {
        let file = File::new(name, CONTENT, slots).bytes();
        Vector { unlock: (unlock.0, unlock.1.to_vec()), ..rejected(name, comment, WRONG_KEY, file) }
    };
    vec![
        unlocked("wrong_key", "a bit of the key differs", ("key", &OTHER_KEY), &[Slot::Key(KEY)]),
        unlocked(
            "wrong_passphrase",
            "a letter's case differs",
            ("passphrase", b"Correct horse"),
            &[passphrase(b"correct horse", CHEAP)],
        ),
        unlocked(
            "passphrase_normalised",
            "ü is not u with combining dots",
            ("passphrase", b"\xc3\xbc"),
            &[passphrase(b"u\xcc\x88", CHEAP)],
        ),
        unlocked(
            "wrong_recipient",
            "sealed to someone else",
            ("recipient", &[1; 32]),
            &[Slot::Recipient([2; 32])],
        ),
        unlocked("key_for_a_passphrase", "a slot of another kind", ("key", &KEY), &[passphrase(&KEY, CHEAP)]),
        unlocked("passphrase_for_a_key", "a slot of another kind", ("passphrase", &KEY), &[Slot::Key(KEY)]),
        made("slot_of_another_file", "a slot is bound to its file's id", WRONG_KEY, |file| {
            file.slots[0] = Slot::Key(KEY).encode("of another", &random("another file id"), 1);
        }),
        made("recipient_malformed", "no point of the curve", WRONG_KEY, |file| {
            let slot = Slot::Recipient([2; 32]).encode("malformed", &file.file_id, 1);
            file.slots[0] = [&slot[..1250], &[0xff; 1153], &slot[2403..]].concat();
        }),
        made("recipient_key_malformed", "no public key of the KEM", HEADER, |file| {
            let slot = Slot::Recipient([2; 32]).encode("malformed", &file.file_id, 1);
            file.slots[0] = [&slot[..1], &[0xff; 1249], &slot[1250..]].concat();
        }),
    ]
}

fn bodies() -> Vec<Vector> {
    let body_at = SLOTS_AT + KEY_SLOT + 32;
    vec![
        bent("body_missing", "the header alone", CUT, move |bytes| bytes.truncate(body_at)),
        bent("body_of_a_tag", "one empty chunk", CUT, move |bytes| bytes.truncate(body_at + 16)),
        made("body_of_seven_bytes", "no room for the length", HEADER, |file| file.plain = vec![0; 7]),
        bent("body_cut", "its last byte is missing", CUT, |bytes| {
            bytes.pop();
        }),
        bent("body_longer", "a byte after the end", "damaged gap", |bytes| bytes.push(1)),
        bent("body_first_bit", "a bit is turned", BODY, move |bytes| bytes[body_at] ^= 0x80),
        bent("body_last_bit", "a bit of the tag is turned", BODY, |bytes| *bytes.last_mut().unwrap() ^= 1),
        bent("body_length_field", "a bit of the sealed length is turned", BODY, |bytes| {
            let at = bytes.len() - 17;
            bytes[at] ^= 1;
        }),
        {
            let (file, other) = (small("body_of_another_salt"), small("another salt"));
            let bytes = [file.header(), other.chunks().concat()].concat();
            rejected("body_of_another_salt", "a body from behind another header", BODY, bytes)
        },
    ]
}

/// Two chunks exchanged, omitted or repeated; wrong marks and counters.
fn chunks() -> Vec<Vector> {
    let two = |name: &str, comment: &str, expect, change: fn(&File, &mut Vec<Vec<u8>>)| {
        let mut file = small(name);
        file.plain = padded(&[7; CHUNK + 1]);
        let mut chunks = file.chunks();
        change(&file, &mut chunks);
        rejected(name, comment, expect, [file.header(), chunks.concat()].concat())
    };
    vec![
        two("chunks_exchanged", "the last before the first", BODY, |_, chunks| chunks.swap(0, 1)),
        two("chunk_repeated", "the first one twice", BODY, |_, chunks| chunks.insert(0, chunks[0].clone())),
        two("chunk_first_missing", "the other moves up", CUT, |_, chunks| {
            chunks.remove(0);
        }),
        two("chunk_last_missing", "cut at the edge of a chunk", CUT, |_, chunks| {
            chunks.pop();
        }),
        two("chunk_after_the_last", "more follows the last one", BODY, |file, chunks| {
            chunks.insert(1, file.chunk(1, true, &[0; CHUNK]));
        }),
        two("chunk_last_not_marked", "no chunk is marked as the last", BODY, |file, chunks| {
            chunks[1] = file.chunk(1, false, &file.plain[CHUNK..]);
        }),
        {
            let (name, mut file) = ("chunk_last_empty", small("chunk_last_empty"));
            file.plain = padded(&[7; CHUNK - 8]);
            let chunks = [file.chunk(0, false, &file.plain), file.chunk(1, true, &[])].concat();
            rejected(
                name,
                "a full chunk, then an empty one: a second encoding",
                BODY,
                [file.header(), chunks].concat(),
            )
        },
        {
            let (name, file) = ("chunk_counter_from_one", small("chunk_counter_from_one"));
            let chunk = file.chunk(1, true, &file.plain);
            rejected(name, "chunks are counted from 0", BODY, [file.header(), chunk].concat())
        },
    ]
}

/// Authentic bodies that violate the format.
fn paddings() -> Vec<Vector> {
    let plain =
        |payload: &[u8], zeros: usize, len: u64| [payload, &vec![0; zeros], &len.to_be_bytes()].concat();
    // 9 bytes and their length make 17, padded to 18.
    let nine: &'static [u8] = &[7; 9];
    let with =
        |name: &str, comment: &str, plain: Vec<u8>| made(name, comment, PADDING, |file| file.plain = plain);
    vec![
        with("padding_too_long", "two zeros too many", plain(nine, 3, 9)),
        made("padding_too_short", "a zero too few: no body has this length", HEADER, |file| {
            file.plain = [nine, &9_u64.to_be_bytes()].concat();
        }),
        with("padding_not_zero", "a byte that is hidden in the padding", plain(&[7; 10], 0, 9)),
        with("padding_length_too_large", "a length over what is there", plain(nine, 1, 11)),
        with("padding_length_huge", "the greatest number", plain(nine, 1, u64::MAX)),
        with("padding_length_small", "zeros of another payload", plain(&[], 10, 0)),
    ]
}
