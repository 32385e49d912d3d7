//! Files with segments: whole, torn, damaged, and put together wrongly.

use crate::Vector;
use crate::accepted::KEY;
use crate::writer::{File, Segment, Slot, random};

const CONTENT: &[u8] = b"the content";
const BLOCK: usize = 4096;

pub(crate) fn all() -> Vec<Vector> {
    [whole(), torn(), chained(), damaged()].into_iter().flatten().collect()
}

fn base(name: &str) -> File {
    File::new(name, CONTENT, &[Slot::Key(KEY)])
}

/// Returns a base and segments with these changes.
fn with(name: &str, changes: &[&[u8]]) -> (File, Vec<Segment>) {
    let file = base(name);
    let mut segments: Vec<Segment> = Vec::new();
    for change in changes {
        segments.push(file.segment(name, &segments, change));
    }
    (file, segments)
}

fn bytes(file: &File, segments: &[Segment]) -> Vec<u8> {
    [file.on_disk(), segments.iter().map(Segment::bytes).collect::<Vec<_>>().concat()].concat()
}

fn opens(name: &str, comment: &str, changes: &[&[u8]], is_torn: bool, file: Vec<u8>) -> Vector {
    Vector {
        name: name.into(),
        comment: comment.into(),
        unlock: ("key", KEY.to_vec()),
        expect: "success",
        payload: Some(CONTENT.to_vec()),
        changes: Some((changes.iter().map(|change| change.to_vec()).collect(), is_torn)),
        file,
    }
}

fn refused(name: &str, comment: &str, expect: &'static str, file: Vec<u8>) -> Vector {
    Vector { expect, payload: None, changes: None, ..opens(name, comment, &[], false, file) }
}

fn whole() -> Vec<Vector> {
    let of = |name: &str, comment: &str, changes: &[&[u8]]| {
        let (file, segments) = with(name, changes);
        opens(name, comment, changes, false, bytes(&file, &segments))
    };
    let many: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; usize::from(n)]).collect();
    vec![
        of("segments_none", "zeros up to a block, and nothing behind", &[]),
        {
            let file = base("segments_none_gap_cut").bytes();
            let file = [file, vec![0; 5]].concat();
            opens("segments_none_gap_cut", "some of the zeros up to a block", &[], false, file)
        },
        of("segment_one", "one change", &[b"a change"]),
        of("segment_empty", "a change of no bytes", &[b""]),
        of("segments_two", "the second is chained to the first", &[b"a change", b"another"]),
        of("segments_twenty", "generations count up", &many.iter().map(Vec::as_slice).collect::<Vec<_>>()),
        of("segment_exactly_full", "3976 bytes fit into a block", &[&[7; 3976]]),
        of("segment_one_over_full", "3977 bytes take two", &[&[7; 3977], b"another"]),
        of("segment_of_two_chunks", "more than 65536 bytes", &[&[7; 70_000], b"another"]),
    ]
}

/// Tails that a crash may leave. Each opens as the file before it.
fn torn() -> Vec<Vector> {
    let first: &[u8] = b"a change";
    let of = |name: &str, comment: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let (file, segments) = with(name, &[first, &[9; 5000]]);
        let (before, last) = (bytes(&file, &segments[..1]), segments[1].bytes());
        opens(name, comment, &[first], true, [before, change(last)].concat())
    };
    let cut = |len: usize| move |last: Vec<u8>| last[..len].to_vec();
    vec![
        of("torn_in_magic", "two bytes of the next segment", &cut(2)),
        of("torn_in_header", "half a header", &cut(50)),
        of("torn_behind_header", "a header alone", &cut(96)),
        of("torn_in_change", "a part of the change", &cut(1000)),
        of("torn_at_a_block", "the first of two blocks", &cut(BLOCK)),
        of("torn_one_byte_short", "all but the last byte", &|last| last[..last.len() - 1].to_vec()),
        of("torn_zeros", "length without content", &|last| vec![0; last.len()]),
        of("torn_many_zeros", "space that was reserved", &|_| vec![0; 5 * BLOCK]),
        of("torn_content_of_zeros", "the header is there, the rest is not", &|mut last| {
            last[96..].fill(0);
            last
        }),
        of("torn_sector", "one sector of zeros in the middle", &|mut last| {
            last[1024..1536].fill(0);
            last
        }),
        of("torn_header_sector", "the first sector is missing", &|mut last| {
            last[..512].fill(0);
            last
        }),
        of("torn_garbage", "other bytes of a whole block", &|_| random::<32>("garbage").repeat(BLOCK / 32)),
        of("torn_garbage_unaligned", "other bytes", &|_| b"something else".to_vec()),
        of("torn_last_bit", "a bit of the last tag is turned", &|mut last| {
            *last.last_mut().unwrap() ^= 1;
            last
        }),
    ]
}

/// Authentic segments in a wrong place. The file ends before them.
fn chained() -> Vec<Vector> {
    let (one, two): (&[u8], &[u8]) = (b"a change", b"another");
    let of = |name: &str, comment: &str, kept: &[&[u8]], order: fn(&File, Vec<Segment>) -> Vec<Segment>| {
        let (file, segments) = with(name, &[one, two]);
        let segments = order(&file, segments);
        opens(name, comment, kept, true, bytes(&file, &segments))
    };
    vec![
        of("chain_exchanged", "the second before the first", &[], |_, segments| {
            vec![segments[1].clone(), segments[0].clone()]
        }),
        of("chain_left_out", "the second in the place of the first", &[], |_, segments| {
            segments[1..].to_vec()
        }),
        of("chain_repeated", "the first one twice", &[one], |_, segments| vec![segments[0].clone(); 2]),
        of("chain_of_another_branch", "the second follows another first", &[one], |file, segments| {
            let other = file.segment("another branch", &[], b"a change of another branch");
            vec![segments[0].clone(), file.segment("another branch", &[other], b"another")]
        }),
        of("chain_of_another_file", "a segment of another file, with the same master key", &[], |_, _| {
            vec![base("another file").segment("another file", &[], b"a change")]
        }),
        of("chain_of_an_earlier_base", "a segment of an earlier base of this file", &[], |file, _| {
            let earlier = File { salt: random("an earlier salt"), ..file.clone() };
            vec![earlier.segment("an earlier base", &[], b"a change")]
        }),
        of("chain_moved", "the second, sealed for the next block", &[one], |_, mut segments| {
            segments[1].at += BLOCK as u64;
            segments
        }),
        of(
            "chain_generation_skipped",
            "sealed with the key: a generation is missing",
            &[one],
            |_, mut segments| {
                segments[1].generation += 1;
                segments
            },
        ),
        of(
            "chain_generation_repeated",
            "sealed with the key: a generation twice",
            &[one],
            |_, mut segments| {
                segments[1].generation -= 1;
                segments
            },
        ),
        of("chain_previous", "sealed with the key: after another state", &[one], |_, mut segments| {
            segments[1].previous[0] ^= 1;
            segments
        }),
        of("chain_salt", "the salt is another than that of the key", &[one], |_, segments| segments)
            .with_bent(16),
        of("chain_check", "a bit of the check is turned", &[one], |_, segments| segments).with_bent(80),
        of("chain_blocks", "one block more than there is", &[one], |_, segments| segments).with_bent(7),
        {
            let name = "chain_blocks_none";
            let (file, segments) = with(name, &[one, two]);
            let mut all = bytes(&file, &segments);
            let at = all.len() - BLOCK + 4;
            all[at..at + 4].fill(0);
            opens(name, "a length of 0", &[one], true, all)
        },
    ]
}

impl Vector {
    /// Turns a bit of a byte of the last segment, of one block.
    fn with_bent(mut self, at: usize) -> Self {
        let at = self.file.len() - BLOCK + at;
        self.file[at] ^= 1;
        self
    }
}

fn damaged() -> Vec<Vector> {
    let (one, two): (&[u8], &[u8]) = (b"a change", b"another");
    let of = |name: &str, comment: &str, expect, change: fn(&File, &mut Vec<u8>)| {
        let (file, segments) = with(name, &[one, two]);
        let mut all = bytes(&file, &segments);
        change(&file, &mut all);
        refused(name, comment, expect, all)
    };
    let sealed = |name: &str, comment: &str, change: fn(&mut Segment)| {
        let (file, mut segments) = with(name, &[one, two]);
        change(&mut segments[1]);
        refused(name, comment, "damaged padding", bytes(&file, &segments))
    };
    vec![
        of(
            "segment_bit_before_another",
            "a change, with another behind it",
            "damaged segment",
            |file, all| {
                all[file.on_disk().len() + 500] ^= 1;
            },
        ),
        of("segment_missing", "zeros in the place of the first", "damaged segment", |file, all| {
            all[file.on_disk().len()..][..BLOCK].fill(0);
        }),
        of("segment_header_before_another", "its header is not whole", "damaged segment", |file, all| {
            all[file.on_disk().len() + 85] ^= 1;
        }),
        of("gap_not_zero", "a byte between body and first segment", "damaged gap", |file, all| {
            all[file.bytes().len()] = 1;
        }),
        of(
            "gap_not_zero_at_its_end",
            "the last byte before the first segment",
            "damaged gap",
            |file, all| {
                all[file.on_disk().len() - 1] = 1;
            },
        ),
        sealed("segment_padding_not_zero", "sealed with the key: a byte hidden in the padding", |segment| {
            segment.plain[100] = 1;
        }),
        sealed("segment_length_too_large", "sealed with the key: over what is there", |segment| {
            let at = segment.plain.len() - 8;
            segment.plain[at..].copy_from_slice(&4000_u64.to_be_bytes());
        }),
        sealed("segment_longer_than_it_must_be", "sealed with the key: a block more", |segment| {
            let at = segment.plain.len() - 8;
            segment.plain.splice(at..at, [0; BLOCK]);
            segment.blocks += 1;
        }),
    ]
}
