//! Measures opening a channel: both sides' work in one thread, over a stream in memory.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a failing bench may panic")]

use criterion::{Criterion, criterion_group, criterion_main};
use stronghold_net::{Channel, Expect, Trust};
use stronghold_vault::Identity;
use tokio::io::{DuplexStream, duplex};

async fn handshake(asker: &Identity, asked: &Identity) -> (Channel<DuplexStream>, Channel<DuplexStream>) {
    let (near, far) = duplex(1 << 14);
    let known = asker.device();
    tokio::try_join!(
        Channel::connect(near, asker, Expect::Device(asked.device())),
        Channel::accept(far, asked, Trust::known(move |device| *device == known)),
    )
    .unwrap()
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (asker, asked) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    criterion.bench_function("handshake, both sides", |bencher| {
        bencher.iter(|| runtime.block_on(handshake(&asker, &asked)));
    });
    let (mut asking, mut answering) = runtime.block_on(handshake(&asker, &asked));
    criterion.bench_function("message there and back", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                asking.feed("ping").await.unwrap();
                asking.flush().await.unwrap();
                answering.receive::<String>().await.unwrap();
                answering.feed("pong").await.unwrap();
                answering.flush().await.unwrap();
                asking.receive::<String>().await.unwrap()
            })
        });
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
