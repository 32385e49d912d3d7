//! Measures a whole sync in memory: two files, TLS, session, sealing, commit; equal sets, and 100
//! records updated on one side. Both sides stay open from one sync to the next, so that the time is
//! that of two running programs, on one thread for both.
//!
//! `STRONGHOLD_EFFORT=records=1000000` adds a size to the usual ones.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a failing bench may panic")]

#[path = "../tests/it/common/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod common;
#[path = "../../stronghold-sync/tests/it/effort.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod effort;

use common::{Device, channels, friends};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use stronghold_net::{Direction, NoHandler, Outcome, Peer, SyncRequest};
use stronghold_sync::Selection;

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const UPDATED: usize = 100;

fn fill(device: &Device, records: usize) {
    device.put_all((0..records).map(|n| (format!("a/v/record-{n:06}"), "x".repeat(64))));
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
    for records in SIZES.into_iter().chain(effort::given("records").map(|records| records as usize)) {
        let (asker, asked) = friends();
        fill(&asked, records);
        runtime.block_on(sync(&asker, &asked));
        let mut group = criterion.benchmark_group(format!("whole sync of {records} records"));
        group.sample_size(10);
        group.bench_function("equal", |bencher| {
            bencher.iter(|| runtime.block_on(sync(&asker, &asked)));
        });
        let mut round = 0;
        group.bench_function(format!("{UPDATED} updated"), |bencher| {
            let update = || {
                round += 1;
                let which = (0..UPDATED).map(|n| format!("a/v/record-{:06}", n * (records / UPDATED)));
                asked.put_all(which.map(|location| (location, format!("{round:064}"))));
            };
            bencher.iter_batched(
                update,
                |()| runtime.block_on(sync(&asker, &asked)),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
