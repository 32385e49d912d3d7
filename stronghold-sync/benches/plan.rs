//! Measures the plan from shapes alone: unchanged, and with 1 % of the peer's records updated.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stronghold_sync::{
    Ancestors, Location, OnConflict, PlanOptions, Replaced, RevisionId, Shape, heads, plan,
};

const BOTH: PlanOptions = PlanOptions { take: true, give: true, on_conflict: OnConflict::KeepBoth };

/// Returns sorted records with two ancestors each; every `updated`-th one is newer.
fn shapes(records: u64, updated: Option<u64>) -> Vec<Shape> {
    let id = |record: u64, version: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(record.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ version).to_be_bytes());
        RevisionId::from_bytes(bytes)
    };
    let mut shapes: Vec<Shape> = (0..records)
        .map(|record| {
            let newer = updated.is_some_and(|every| record.is_multiple_of(every));
            let version = if newer { 3 } else { 2 };
            let ancestors = (0..version).rev().map(|version| id(record, version)).collect();
            Shape {
                location: Location::new_unchecked("client", "vault", &format!("record-{record}")).id(),
                revision: id(record, version),
                ancestors: Ancestors::from_newest_first(ancestors).unwrap_or_default(),
                size: 64,
                deleted: false,
            }
        })
        .collect();
    shapes.sort_by_key(Shape::entry);
    shapes
}

fn plans(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    for records in [1_000, 100_000] {
        let here = shapes(records, None);
        group.throughput(Throughput::Elements(records));
        for (name, there) in
            [("unchanged", shapes(records, None)), ("1 % updated", shapes(records, Some(100)))]
        {
            group.bench_function(BenchmarkId::new(name, records), |bencher| {
                bencher.iter(|| plan(black_box(&here), black_box(&there), BOTH));
            });
        }
    }
    group.finish();
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("heads");
    let two = [shapes(1, None), shapes(1, Some(1))].concat();
    group.bench_function("of two", |bencher| bencher.iter(|| heads(black_box(&two)).len()));
    let parents: Vec<_> = two
        .iter()
        .map(|shape| Replaced { id: shape.revision, shared: true, ancestors: &shape.ancestors })
        .collect();
    group.bench_function("ancestors of a successor", |bencher| {
        bencher.iter(|| Ancestors::for_successor(black_box(&parents)));
    });
    group.finish();
}

criterion_group!(benches, plans, records);
criterion_main!(benches);
