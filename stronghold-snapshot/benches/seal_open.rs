//! Sealing and opening, compared with AES-256-GCM alone on the same bytes in the same chunks, in
//! the same run.

use std::hint::black_box;
use std::time::Duration;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stronghold_snapshot::{NewSlot, Sealer};

const CHUNK: usize = 64 * 1024;

fn seal_open(criterion: &mut Criterion) {
    let lineage = Sealer::create(&[NewSlot::Key(&[1; 32])]).unwrap_or_else(|error| panic!("{error}"));
    for mib in [1, 16] {
        let payload = vec![7; mib << 20];
        let sealed = lineage.seal_next(&payload).unwrap_or_else(|error| panic!("{error}"));
        let mut group = criterion.benchmark_group(format!("{mib} MiB"));
        group.throughput(Throughput::Bytes(payload.len() as u64)).measurement_time(Duration::from_secs(3));
        group.bench_function("seal", |b| b.iter(|| seal_in_parts(&lineage, black_box(&payload))));
        group.bench_function("seal into memory", |b| {
            b.iter(|| black_box(lineage.seal_next(black_box(&payload))));
        });
        group.bench_function("open", |b| {
            b.iter_batched(|| sealed.clone(), |sealed| lineage.reopen(sealed), BatchSize::LargeInput);
        });
        let mut raw = payload.clone();
        group.bench_function("aes-gcm", |b| b.iter(|| encrypt_chunks(black_box(&mut raw))));
        group.finish();
    }
}

/// Seals as a commit does.
fn seal_in_parts(lineage: &Sealer, payload: &[u8]) {
    let mut sealing = lineage.seal_stream(payload).unwrap_or_else(|error| panic!("{error}"));
    while let Some(part) = sealing.next_chunk().unwrap_or_else(|error| panic!("{error}")) {
        black_box(part);
    }
}

/// Encrypts with the bare cipher, in place.
fn encrypt_chunks(bytes: &mut [u8]) {
    let cipher = Aes256Gcm::new(&[1; 32].into());
    for chunk in bytes.chunks_mut(CHUNK) {
        let _ = black_box(cipher.encrypt_inout_detached(&Nonce::from([0; 12]), &[], chunk.into()));
    }
}

criterion_group!(benches, seal_open);
criterion_main!(benches);
