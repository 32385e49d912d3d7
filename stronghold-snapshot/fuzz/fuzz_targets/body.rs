//! A whole snapshot of several chunks, changed without its key: it opens only if the bytes are
//! those that were sealed.

#![cfg_attr(fuzzing, no_main)]

use arbitrary::Arbitrary;
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use stronghold_snapshot::{Unlock, open};

const KEY: [u8; 32] = [0x4b; 32];
/// A conformance vector, after a text header that ends with an empty line: two full chunks.
const VECTOR: &[u8] = include_bytes!("../../testdata/payload_of_131064_bytes");
const SEALED_CHUNK_LEN: usize = 64 * 1024 + 16;
/// Maximum length of a file: more chunks reveal nothing more.
const MOST: usize = 6 * SEALED_CHUNK_LEN;

#[derive(Arbitrary, Debug)]
enum Act {
    Flip {
        at: u32,
        bit: u8,
    },
    Cut {
        len: u32,
    },
    /// Bytes removed from within a chunk.
    Remove {
        chunk: u8,
        at: u16,
        len: u16,
    },
    Swap {
        one: u8,
        other: u8,
    },
    Repeat {
        chunk: u8,
        before: u8,
    },
    Append {
        bytes: Vec<u8>,
    },
    /// Another body behind the header.
    Body {
        bytes: Vec<u8>,
    },
}

fuzz_target!(|acts: Vec<Act>| {
    let end = VECTOR.windows(2).position(|pair| pair == b"\n\n").expect("a vector has a text");
    let sealed = &VECTOR[end + 2..];
    let mut file = sealed.to_vec();
    let body_at = u32::from_be_bytes([file[12], file[13], file[14], file[15]]) as usize;
    for act in acts.iter().take(16) {
        apply(&mut file, body_at, act);
        file.truncate(MOST);
    }
    let opened = open(&file, &Unlock::Key(&KEY));
    // A torn tail is passed over.
    let is_whole = file.starts_with(sealed);
    assert!(opened.is_ok() || file != sealed, "{:?}", opened.err());
    assert!(opened.is_err() || is_whole && opened.is_ok_and(|opened| opened.payload.changes().len() == 0));
});

fn apply(file: &mut Vec<u8>, body_at: usize, act: &Act) {
    match act {
        Act::Flip { at, bit } if !file.is_empty() => {
            let at = *at as usize % file.len();
            file[at] ^= 1 << (bit % 8);
        }
        Act::Flip { .. } => {}
        Act::Cut { len } => file.truncate(*len as usize % (file.len() + 1)),
        Act::Remove { chunk, at, len } => {
            let from =
                (body_at + usize::from(*chunk % 8) * SEALED_CHUNK_LEN + usize::from(*at)).min(file.len());
            file.drain(from..(from + usize::from(*len)).min(file.len()));
        }
        Act::Swap { one, other } => {
            rearrange(file, body_at, |chunks| match chunks.len() {
                0 => {}
                count => chunks.swap(usize::from(*one) % count, usize::from(*other) % count),
            });
        }
        Act::Repeat { chunk, before } => {
            rearrange(file, body_at, |chunks| match chunks.len() {
                0 => {}
                count => {
                    let again = chunks[usize::from(*chunk) % count].clone();
                    chunks.insert(usize::from(*before) % (count + 1), again);
                }
            });
        }
        Act::Append { bytes } => file.extend_from_slice(bytes),
        Act::Body { bytes } => {
            file.truncate(body_at);
            file.extend_from_slice(bytes);
        }
    }
}

/// Splits the body into its chunks and joins them again.
fn rearrange(file: &mut Vec<u8>, body_at: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let body = file.split_off(body_at.min(file.len()));
    let mut chunks: Vec<Vec<u8>> = body.chunks(SEALED_CHUNK_LEN).map(<[u8]>::to_vec).collect();
    change(&mut chunks);
    chunks.iter().for_each(|chunk| file.extend_from_slice(chunk));
}
