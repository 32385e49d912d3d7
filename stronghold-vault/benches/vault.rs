//! The costs of a vault in memory: write, read, shapes, import, and a local sync.

use std::{collections::BTreeSet, hint::black_box};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stronghold_sync::{
    EntryId, Location, Mapping, OnConflict, PlanOptions, Scope, Selection, Shape, Timestamp, plan,
};
use stronghold_vault::{Entry, Labels, Stronghold};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const VALUE: [u8; 64] = [7; 64];

fn location(n: usize) -> Location {
    Location::new_unchecked("client", "vault", &format!("account-{n:05}"))
}

fn stronghold(records: usize) -> Fallible<Stronghold> {
    let mut stronghold = Stronghold::new("bench")?;
    for n in 0..records {
        stronghold.write(&location(n), &VALUE, Labels::new(), Timestamp::from_millis(1_700_000_000_000))?;
    }
    Ok(stronghold)
}

fn copy(stronghold: &Stronghold) -> Fallible<Stronghold> {
    Ok(Stronghold::from_payload(&stronghold.to_payload()?)?)
}

fn shapes(stronghold: &Stronghold) -> Vec<Shape> {
    stronghold.shapes(&Scope::of(Selection::everything()), &Mapping::default())
}

fn entries(stronghold: &Stronghold, shapes: &[Shape]) -> Fallible<Vec<Entry>> {
    let wanted: BTreeSet<EntryId> = shapes.iter().map(Shape::entry).collect();
    Ok(stronghold.export_mapped(&Selection::everything(), &Mapping::default(), &wanted)?)
}

/// A local sync, as `stronghold-snapshot` does it once both files are open.
fn merge(into: &mut Stronghold, from: &Stronghold) -> Fallible<u64> {
    let rules = PlanOptions { take: true, give: false, on_conflict: OnConflict::KeepBoth };
    let plan = plan(&shapes(into), &shapes(from), rules);
    let entries = entries(from, &plan.take)?;
    Ok(into.import(&entries, from.identity().device(), Timestamp::default(), |_, _, _| Ok(()))?.received)
}

fn records(criterion: &mut Criterion) -> Fallible<()> {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    let names: Vec<Location> = (0..10_000).map(location).collect();
    group.throughput(Throughput::Elements(10_000));
    group.sample_size(20);
    group.bench_function("write 10,000 of 64 B", |bencher| {
        bencher.iter_batched(
            || Stronghold::new("bench"),
            |new| {
                let mut new = new.ok()?;
                let written = |name: &Location| {
                    new.write(name, &VALUE, Labels::new(), Timestamp::from_millis(1)).is_ok()
                };
                Some((names.iter().all(written), new))
            },
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    let mut held = stronghold(10_000)?;
    let mut turn = names.iter().cycle();
    group.bench_function("write 64 B over a chain of ancestors, into 10,000", |bencher| {
        bencher.iter(|| {
            turn.next().map(|name| held.write(name, &VALUE, Labels::new(), Timestamp::from_millis(1)).is_ok())
        });
    });
    let mut turn = names.iter().cycle();
    group.bench_function("read 64 B of 10,000", |bencher| {
        bencher.iter(|| turn.next().map(|name| held.read(name).is_ok()));
    });
    group.finish();
    Ok(())
}

fn many(criterion: &mut Criterion) -> Fallible<()> {
    let mut group = criterion.benchmark_group("shapes");
    for records in [1_000, 100_000] {
        let held = stronghold(records)?;
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(BenchmarkId::from_parameter(records), |bencher| bencher.iter(|| shapes(&held)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("payload of 100,000");
    group.throughput(Throughput::Elements(100_000)).sample_size(20);
    let held = stronghold(100_000)?;
    let payload = held.to_payload()?;
    group.bench_function("encode", |bencher| bencher.iter_with_large_drop(|| held.to_payload()));
    group.bench_function("decode", |bencher| {
        bencher.iter_with_large_drop(|| Stronghold::from_payload(&payload));
    });
    group.finish();
    drop(held);
    let held = stronghold(1_000)?;
    let batch = entries(&held, &shapes(&held))?;
    criterion.bench_function("import 1,000", |bencher| {
        bencher.iter_batched(
            || Stronghold::new("bench"),
            |into| {
                into.map(|mut into| {
                    into.import(&batch, held.identity().device(), Timestamp::default(), |_, _, _| Ok(()))
                        .is_ok()
                })
            },
            BatchSize::LargeInput,
        );
    });
    Ok(())
}

fn local_sync(criterion: &mut Criterion) -> Fallible<()> {
    let mut group = criterion.benchmark_group("local sync in memory");
    group.sample_size(20);
    let held = stronghold(10_000)?;
    let mut other = copy(&held)?;
    for n in (0..10_000).step_by(100) {
        other.write(&location(n), &VALUE, Labels::new(), Timestamp::from_millis(1))?;
    }
    group.bench_function("10,000, 1 % updated", |bencher| {
        bencher.iter_batched(
            || copy(&held),
            |into| into.map(|mut into| (merge(&mut into, &other).unwrap_or(0), into)).ok(),
            BatchSize::LargeInput,
        );
    });
    for records in [10_000, 100_000] {
        let mut one = stronghold(records)?;
        let two = copy(&one)?;
        group.bench_function(format!("{records}, unchanged"), |bencher| {
            bencher.iter(|| merge(&mut one, &two).map_or(0, black_box));
        });
    }
    group.finish();
    Ok(())
}

fn all(criterion: &mut Criterion) {
    for bench in [records, many, local_sync] {
        if let Err(error) = bench(criterion) {
            panic!("{error}");
        }
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
