//! Measures a whole sync in memory: two files, TLS, session, sealing, commit; equal sets, and 1 %
//! updated on one side.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a failing bench may panic")]

#[path = "../tests/it/common/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod common;

use common::{Device, channels, friends};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use stronghold_net::{Direction, NoHandler, Outcome, Peer, SyncRequest};
use stronghold_sync::Selection;

const RECORDS: usize = 10_000;

fn fill(device: &Device) {
    device.put_all((0..RECORDS).map(|n| (format!("a/v/record-{n:06}"), "x".repeat(64))));
}

async fn sync(asker: &Device, asked: &Device) -> Outcome {
    let (near, far) = channels(asker, asked).await;
    let selection = Selection::everything();
    let mut new_handler = (NoHandler, NoHandler);
    let (outcome, answered) = tokio::join!(
        Peer::from_channel(near, &asker.home)
            .sync(SyncRequest::new(selection, Direction::Default), &mut new_handler.0),
        Peer::from_channel(far, &asked.home).answer(&mut new_handler.1),
    );
    answered.unwrap();
    outcome.unwrap()
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (asker, asked) = friends();
    fill(&asked);
    runtime.block_on(sync(&asker, &asked));
    let mut group = criterion.benchmark_group("whole sync of 10,000 records");
    group.sample_size(10);
    group.bench_function("equal", |bencher| {
        bencher.iter(|| runtime.block_on(sync(&asker, &asked)));
    });
    let mut round = 0;
    group.bench_function("1 % updated", |bencher| {
        let update = || {
            round += 1;
            let step = RECORDS / 100;
            asked.put_all((0..100).map(|n| (format!("a/v/record-{:06}", n * step), format!("{round:064}"))));
        };
        bencher.iter_batched(update, |()| runtime.block_on(sync(&asker, &asked)), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
