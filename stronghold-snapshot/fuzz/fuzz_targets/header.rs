//! Arbitrary bytes as a snapshot. The magic, the header's length and its checksum are repaired, as
//! a careful forger would do, so that parsing continues behind them: only sealed bytes may open.
//! Opens with a raw key, so that Argon2 never runs.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use stronghold_snapshot::{Unlock, open};

const KEY: [u8; 32] = [0x4b; 32];
/// The files sealed under that key: conformance vectors, each after a text header that ends with an
/// empty line.
const VECTORS: [&[u8]; 4] = [
    include_bytes!("../../testdata/payload_of_000000_bytes"),
    include_bytes!("../../testdata/payload_of_000120_bytes"),
    include_bytes!("../../testdata/three_kinds_by_key"),
    include_bytes!("../../testdata/sixteen_slots_by_the_last"),
];

const MAGIC_LEN: usize = 8;
const LEN_AT: usize = 12;
const CHECKSUM_AT: usize = 16;
const PREAMBLE_LEN: usize = 32;
/// Minimum length of a header: a preamble and an HMAC.
const LEAST_LEN: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let _ = open(bytes, &Unlock::Key(&KEY));
    let repaired = repair(bytes);
    if open(&repaired, &Unlock::Key(&KEY)).is_ok() {
        assert!(VECTORS.iter().any(|vector| repaired.starts_with(file_of(vector))), "a forged file opened");
    }
});

fn file_of(vector: &[u8]) -> &[u8] {
    let end = vector.windows(2).position(|pair| pair == b"\n\n").expect("a vector has a text");
    &vector[end + 2..]
}

/// Returns the bytes with a fitting preamble. A plausible length stays, so that a body can follow
/// the header.
fn repair(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    file.resize(file.len().max(LEAST_LEN), 0);
    file[..MAGIC_LEN].copy_from_slice(&file_of(VECTORS[0])[..MAGIC_LEN]);
    let told = u32::from_be_bytes([file[LEN_AT], file[LEN_AT + 1], file[LEN_AT + 2], file[LEN_AT + 3]]);
    let told = usize::try_from(told).unwrap_or(usize::MAX);
    let len = if (LEAST_LEN..=file.len()).contains(&told) { told } else { file.len() };
    file[LEN_AT..CHECKSUM_AT].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    let hash = Sha256::new().chain_update(&file[..CHECKSUM_AT]).chain_update(&file[PREAMBLE_LEN..len]);
    file[CHECKSUM_AT..PREAMBLE_LEN].copy_from_slice(&hash.finalize()[..PREAMBLE_LEN - CHECKSUM_AT]);
    file
}
