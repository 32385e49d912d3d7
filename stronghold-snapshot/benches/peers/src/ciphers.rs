//! Sealing and opening 64 MiB: in the snapshot's format, chunk by chunk as in a commit; in age's;
//! and with AES-256-GCM alone on chunks of the same size, in place. The first and the last are also
//! measured into newly allocated memory, which costs about as much again.

use std::hint::black_box;

use aes_gcm::{
    Aes256Gcm, Nonce, Tag,
    aead::{AeadInOut, KeyInit},
};
use stronghold_snapshot::{NewSlot, Sealer};

use crate::measure::{Fallible, Row, add, per_cpu_second};

const PAYLOAD: usize = 64 << 20;
const CHUNK: usize = 64 << 10;
const RUNS: usize = 9;
const UNIT: &str = "MB/CPU-s";
const SEAL: &str = "seal 64 MiB";
const OPEN: &str = "open 64 MiB";

pub(crate) fn measure(rows: &mut Vec<Row>) -> Fallible<()> {
    let payload: Vec<u8> = (0..PAYLOAD).map(|n| (n ^ (n >> 8)) as u8).collect();
    of_snapshot(rows, &payload)?;
    of_age(rows, &payload)?;
    of_cipher(rows, &payload)
}

fn of_snapshot(rows: &mut Vec<Row>, payload: &[u8]) -> Fallible<()> {
    let lineage = Sealer::create(&[NewSlot::Key(&[1; 32])])?;
    let sealed = lineage.seal_next(payload)?;
    let in_parts = || {
        let mut sealing = lineage.seal_stream(black_box(payload))?;
        while let Some(part) = sealing.next_chunk()? {
            black_box(part);
        }
        Ok(())
    };
    add(rows, SEAL, "stronghold", UNIT, per_cpu_second(RUNS, PAYLOAD, || Ok(()), |()| in_parts())?);
    let seal = || Ok(lineage.seal_next(black_box(payload))?);
    let runs = per_cpu_second(RUNS, PAYLOAD, || Ok(()), |()| seal())?;
    add(rows, SEAL, "stronghold, into memory", UNIT, runs);
    let runs = per_cpu_second(RUNS, PAYLOAD, || Ok(sealed.clone()), |sealed| Ok(lineage.reopen(sealed)?))?;
    add(rows, OPEN, "stronghold", UNIT, runs);
    Ok(())
}

fn of_age(rows: &mut Vec<Row>, payload: &[u8]) -> Fallible<()> {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public();
    let sealed = age::encrypt(&recipient, payload)?;
    let seal = || Ok(age::encrypt(&recipient, black_box(payload))?);
    add(rows, SEAL, "age", UNIT, per_cpu_second(RUNS, PAYLOAD, || Ok(()), |()| seal())?);
    let open = || Ok(age::decrypt(&identity, black_box(&sealed))?);
    add(rows, OPEN, "age", UNIT, per_cpu_second(RUNS, PAYLOAD, || Ok(()), |()| open())?);
    Ok(())
}

fn of_cipher(rows: &mut Vec<Row>, payload: &[u8]) -> Fallible<()> {
    let mut bytes = payload.to_vec();
    let tags = encrypt(&mut bytes);
    let seal = |mut bytes: Vec<u8>| Ok((encrypt(black_box(&mut bytes)), bytes));
    add(rows, SEAL, "aes-gcm", UNIT, per_cpu_second(RUNS, PAYLOAD, || Ok(payload.to_vec()), seal)?);
    let seal_copy = || {
        let mut bytes = black_box(payload).to_vec();
        Ok((encrypt(&mut bytes), bytes))
    };
    let runs = per_cpu_second(RUNS, PAYLOAD, || Ok(()), |()| seal_copy())?;
    add(rows, SEAL, "aes-gcm, copied", UNIT, runs);
    let open = |mut bytes: Vec<u8>| decrypt(black_box(&mut bytes), &tags).map(|()| bytes);
    add(rows, OPEN, "aes-gcm", UNIT, per_cpu_second(RUNS, PAYLOAD, || Ok(bytes.clone()), open)?);
    Ok(())
}

fn cipher() -> Aes256Gcm {
    Aes256Gcm::new(&[1; 32].into())
}

/// Returns the nonce of a chunk; a snapshot's nonce costs as much.
fn nonce(chunk: usize) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&(chunk as u64).to_be_bytes());
    nonce.into()
}

fn encrypt(bytes: &mut [u8]) -> Vec<Tag> {
    let cipher = cipher();
    let chunks = bytes.chunks_mut(CHUNK).enumerate();
    chunks.filter_map(|(n, chunk)| cipher.encrypt_inout_detached(&nonce(n), &[], chunk.into()).ok()).collect()
}

fn decrypt(bytes: &mut [u8], tags: &[Tag]) -> Fallible<()> {
    let cipher = cipher();
    for ((n, chunk), tag) in bytes.chunks_mut(CHUNK).enumerate().zip(tags) {
        cipher
            .decrypt_inout_detached(&nonce(n), &[], chunk.into(), tag)
            .map_err(|_| "a chunk does not open")?;
    }
    Ok(())
}
