//! Tests that sessions leave the runtime's threads to other tasks: comparing, sealing, syncing to
//! disk and waiting for another process's lock all happen elsewhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use stronghold_net::{Direction, NoHandler, Outcome, Peer, PeerError, SyncRequest};
use stronghold_snapshot::{SnapshotFile, Unlock};
use stronghold_sync::Selection;

use crate::common::{Device, KEY, channels, friends};

/// Longest time that a tick of 1 ms may be late, in nine of ten runs of a quiet machine.
const HELD_UP: Duration = Duration::from_millis(5);

/// Returns how late the latest of the ticks was while `work` ran: of a task on this thread, and of
/// a thread of its own that measures what the machine itself holds up.
async fn held_up<T>(work: impl Future<Output = T>) -> (T, Duration, Duration) {
    let ends = Arc::new(AtomicBool::new(false));
    let stop = ends.clone();
    let control = thread::spawn(move || {
        let mut latest = Duration::ZERO;
        while !stop.load(Relaxed) {
            let begun = Instant::now();
            thread::sleep(Duration::from_millis(1));
            latest = latest.max(begun.elapsed());
        }
        latest
    });
    let stop = ends.clone();
    let ticker = tokio::spawn(async move {
        let mut latest = Duration::ZERO;
        while !stop.load(Relaxed) {
            let begun = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            latest = latest.max(begun.elapsed());
        }
        latest
    });
    let done = work.await;
    ends.store(true, Relaxed);
    let latest = ticker.await.unwrap();
    (done, latest, control.join().unwrap())
}

async fn synced(asker: &Device, asked: &Device) -> Result<Outcome, PeerError> {
    let (near, far) = channels(asker, asked).await;
    let (asking, answering) = tokio::join!(
        async {
            let request = SyncRequest::new(Selection::everything(), Direction::Default);
            Peer::from_channel(near, &asker.home).sync(request, &mut NoHandler).await
        },
        async { Peer::from_channel(far, &asked.home).answer(&mut NoHandler).await },
    );
    asking.and_then(|outcome| answering.map(|_| outcome))
}

/// Repeats a measurement until it is within the limit or the machine was quiet and it was not: what
/// else runs here may hold up anything.
async fn assert_is_responsive<T>(mut work: impl AsyncFnMut() -> T) {
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (_, ticker, control) = held_up(work()).await;
        seen.push((ticker, control));
        if ticker <= HELD_UP + control {
            return;
        }
    }
    panic!("a task was held up, beside a thread of its own: {seen:?}");
}

#[tokio::test]
async fn a_sync_of_many_entries_holds_no_other_task_up() {
    const ENTRIES: usize = 100_000;
    let (asker, asked) = friends();
    asker.put_all((0..ENTRIES).map(|n| (format!("a/v/{n}"), format!("value {n}"))));
    let mut round = 0;
    assert_is_responsive(async || {
        // First all of them, then a change of each side. The writes come before the first tick.
        if round > 0 {
            asker.put_all((0..500).map(|n| (format!("a/v/{n}"), format!("asker's {round}"))));
            asked.put_all((500..1000).map(|n| (format!("a/v/{n}"), format!("asked's {round}"))));
        }
        round += 1;
        synced(&asker, &asked).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn waiting_for_another_process_holds_no_other_task_up_and_ends_when_the_caller_gives_up() {
    let (asker, asked) = friends();
    asked.put("a/v/r", "value");
    let (mut other, _) = SnapshotFile::open(&asker.path(), &Unlock::Key(&KEY)).unwrap();
    let locked = other.lock(Duration::ZERO).unwrap();
    assert_is_responsive(async || {
        let begun = Instant::now();
        let limit = Duration::from_millis(500);
        assert!(tokio::time::timeout(limit, synced(&asker, &asked)).await.is_err());
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(asker.entries(), [], "nothing was taken meanwhile");
    })
    .await;
    drop(locked);
    assert_eq!(synced(&asker, &asked).await.unwrap().summary.received, 1);
    assert_eq!(asker.opened_again().lock().stronghold().readable(), 1);
}
