//! Limits the memory that the sessions of a server share: for sealed batches in flight, and for the
//! entry lists of peers.
//!
//! Memory is taken as bytes arrive, not as they are announced, and no device has more than a
//! quarter. A session that needs more for a batch waits. So that sessions can't deadlock, the last
//! [`MAX_SEALED`] bytes, of the whole and of each device's share, go to one session at a time,
//! which can finish its batch with them. Entry lists count until the end of their session, so no
//! session waits for memory for them: without free memory the device is refused as busy.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stronghold_sync::{DeviceId, session::MAX_SEALED};
use tokio::{sync::Notify, time::Instant};

use crate::{Limits, session::driver::Overload};

/// Number of outgoing batches of a session that are in memory at a time.
const GIVEN: u64 = 2;
/// Divisor for the share of one device.
const DEVICES: u64 = 4;
const MIB: u64 = 1 << 20;

/// Memory that the sessions of a server share.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBudget {
    batches: Arc<Budget>,
    shapes: Arc<Budget>,
    pace: Duration,
}

impl MemoryBudget {
    pub(crate) fn of(limits: &Limits) -> Self {
        let batches = (limits.batch_bytes as u64).max(GIVEN * MAX_SEALED);
        Self {
            batches: Arc::new(Budget::of(batches, (batches / DEVICES).max(MAX_SEALED), MAX_SEALED)),
            shapes: Arc::new(Budget::of(limits.shape_bytes as u64, limits.shape_bytes as u64 / DEVICES, 0)),
            pace: limits.pace,
        }
    }
}

/// A number of bytes for all sessions, and for each device; the last of either go to one session at
/// a time.
#[derive(Debug)]
struct Budget {
    all: u64,
    each: u64,
    reserve: u64,
    used: Mutex<Used>,
    freed: Notify,
    sessions: AtomicU64,
}

#[derive(Debug, Default)]
struct Used {
    all: Share,
    devices: HashMap<DeviceId, Share>,
}

/// Use of the whole budget or of a device's share, and the session that has the last bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    bytes: u64,
    ending: Option<u64>,
}

impl Share {
    /// Returns the share after adding `bytes` for a session; `None` if the session may not have
    /// them.
    fn with(self, bytes: u64, of: u64, reserve: u64, session: u64) -> Option<Self> {
        let bytes = self.bytes.saturating_add(bytes);
        if bytes <= of.saturating_sub(reserve) {
            return Some(Self { bytes, ..self });
        }
        let may_end = self.ending.is_none_or(|ending| ending == session);
        (bytes <= of && may_end).then_some(Self { bytes, ending: Some(session) })
    }

    /// Returns the share after a session released its `bytes`.
    fn without(self, bytes: u64, of: u64, reserve: u64, session: u64) -> Self {
        let bytes = self.bytes.saturating_sub(bytes);
        let keeps_last = |ending: &u64| *ending != session && bytes > of.saturating_sub(reserve);
        Self { bytes, ending: self.ending.filter(keeps_last) }
    }
}

impl Budget {
    fn of(all: u64, each: u64, reserve: u64) -> Self {
        Self { all, each, reserve, used: Mutex::default(), freed: Notify::new(), sessions: AtomicU64::new(0) }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's part of a budget, released when dropped.
#[derive(Debug)]
struct Reservation {
    budget: Arc<Budget>,
    device: DeviceId,
    bytes: u64,
    session: u64,
}

impl Reservation {
    fn nothing(budget: &Arc<Budget>, device: DeviceId) -> Self {
        let session = budget.sessions.fetch_add(1, Ordering::Relaxed);
        Self { budget: budget.clone(), device, bytes: 0, session }
    }

    fn try_grow(&mut self, bytes: u64) -> bool {
        let Budget { all, each, reserve, .. } = *self.budget;
        let mut used = self.budget.used();
        let own = used.devices.get(&self.device).copied().unwrap_or_default();
        let (Some(new_all), Some(new_own)) =
            (used.all.with(bytes, all, reserve, self.session), own.with(bytes, each, reserve, self.session))
        else {
            return false;
        };
        used.all = new_all;
        used.devices.insert(self.device, new_own);
        self.bytes += bytes;
        true
    }

    /// Waits until there is room. Grows by no more than a device's share allows.
    async fn grow(&mut self, bytes: u64) {
        let bytes = bytes.min(self.budget.each.saturating_sub(self.bytes));
        let budget = self.budget.clone();
        loop {
            // From here on it hears what is freed, not only from when it waits.
            let freed = budget.freed.notified();
            if self.try_grow(bytes) {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Budget { all, each, reserve, .. } = *self.budget;
        let mut used = self.budget.used();
        used.all = used.all.without(self.bytes, all, reserve, self.session);
        if let Some(own) = used.devices.get_mut(&self.device) {
            *own = own.without(self.bytes, each, reserve, self.session);
            if own.bytes == 0 {
                used.devices.remove(&self.device);
            }
        }
        drop(used);
        self.budget.freed.notify_waiters();
    }
}

/// The speed of a batch.
#[derive(Debug)]
struct TransferRate {
    since: Instant,
    bytes: u64,
}

impl TransferRate {
    fn begin() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    /// Counts bytes. Fails with [`Overload::Slow`] if they took longer than `pace` for each MiB,
    /// complete or begun.
    fn count(&mut self, bytes: u64, pace: Duration) -> Result<(), Overload> {
        self.bytes += bytes;
        let allowed = pace.saturating_mul(u32::try_from(self.bytes / MIB + 1).unwrap_or(u32::MAX));
        if self.since.elapsed() > allowed { Err(Overload::Slow) } else { Ok(()) }
    }
}

/// One session's part of the memory; unlimited without a server.
#[derive(Debug, Default)]
pub(crate) struct BatchPermits {
    shared: Option<(MemoryBudget, DeviceId)>,
    outgoing: Option<Reservation>,
    incoming: Option<Reservation>,
    staged: Option<Reservation>,
    giving: Option<TransferRate>,
    receiving: Option<TransferRate>,
}

impl BatchPermits {
    pub(crate) fn new(memory: &MemoryBudget, device: DeviceId) -> Self {
        Self { shared: Some((memory.clone(), device)), ..Self::default() }
    }

    /// Reserves memory for an outgoing batch; the first call reserves two batches. Releases the
    /// incoming reservation, since that batch is durable by now.
    pub(crate) async fn reserve_outgoing(&mut self, bytes: usize) {
        self.incoming = None;
        self.giving = Some(TransferRate::begin());
        if let (Some((memory, device)), None) = (&self.shared, &self.outgoing) {
            let mut held = Reservation::nothing(&memory.batches, *device);
            held.grow(GIVEN * bytes as u64).await;
            self.outgoing = Some(held);
            self.giving = Some(TransferRate::begin());
        }
    }

    /// Counts bytes of the outgoing batch that were sent.
    pub(crate) fn sent(&mut self, bytes: u64) -> Result<(), Overload> {
        match (&self.shared, &mut self.giving) {
            (Some((memory, _)), Some(pace)) => pace.count(bytes, memory.pace),
            _ => Ok(()),
        }
    }

    /// Begins an incoming batch. Releases the outgoing reservation and that of the last incoming
    /// batch: the peer has all that this side sent, and the last batch is durable.
    pub(crate) fn begin_incoming(&mut self) {
        (self.outgoing, self.incoming) = (None, None);
        self.receiving = Some(TransferRate::begin());
        self.incoming =
            self.shared.as_ref().map(|(memory, device)| Reservation::nothing(&memory.batches, *device));
    }

    /// Waits until there is memory for received bytes of the batch. The peer's pace does not
    /// include the wait.
    pub(crate) async fn reserve_incoming(&mut self, bytes: u64) -> Result<(), Overload> {
        if let (Some((memory, _)), Some(pace)) = (&self.shared, &mut self.receiving) {
            pace.count(bytes, memory.pace)?;
        }
        if let Some(held) = &mut self.incoming {
            let waiting = Instant::now();
            held.grow(bytes).await;
            if let Some(pace) = &mut self.receiving {
                pace.since += waiting.elapsed();
            }
        }
        Ok(())
    }

    /// Reserves memory for received entry lists, until the end of the session.
    pub(crate) fn reserve_shapes(&mut self, bytes: u64) -> Result<(), Overload> {
        let Some((memory, device)) = &self.shared else { return Ok(()) };
        let staged = self.staged.get_or_insert_with(|| Reservation::nothing(&memory.shapes, *device));
        if staged.try_grow(bytes) { Ok(()) } else { Err(Overload::Full) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const BATCH: u64 = MAX_SEALED;

    fn memory(in_flight: usize) -> MemoryBudget {
        MemoryBudget::of(&Limits { batch_bytes: in_flight, shape_bytes: 4000, ..Limits::default() })
    }

    fn device(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 32])
    }

    async fn has_to_wait<T>(done: impl Future<Output = T>) -> bool {
        timeout(Duration::from_secs(1), done).await.is_err()
    }

    /// The last bytes are for one session at a time, until it has given back so much that nobody
    /// needs them.
    #[test]
    fn the_last_bytes_are_for_one_session_at_a_time() {
        let share = |bytes, ending| Share { bytes, ending };
        let seen = |share: Option<Share>| share.map(|share| (share.bytes, share.ending));
        for (bytes, ending, more, expected) in [
            (0, None, 50, Some((50, None))),
            (0, None, 51, Some((51, Some(1)))),
            (50, None, 50, Some((100, Some(1)))),
            (50, None, 51, None),
            (60, Some(1), 40, Some((100, Some(1)))),
            (60, Some(1), 41, None),
            (60, Some(2), 1, None),
            (40, Some(2), 10, Some((50, Some(2)))),
            (0, None, u64::MAX, None),
        ] {
            assert_eq!(
                seen(share(bytes, ending).with(more, 100, 50, 1)),
                expected,
                "{bytes} {ending:?} {more}"
            );
        }
        for (bytes, ending, less, expected) in [
            (70, Some(2), 10, (60, Some(2))),
            (70, Some(2), 19, (51, Some(2))),
            (70, Some(2), 20, (50, None)),
            (70, Some(1), 10, (60, None)),
            (70, None, 10, (60, None)),
            (10, None, 20, (0, None)),
        ] {
            let left = share(bytes, ending).without(less, 100, 50, 1);
            assert_eq!((left.bytes, left.ending), expected, "{bytes} {ending:?} {less}");
        }
    }

    /// A giver has memory for a batch and for the next, once; what it received is free by then, and
    /// what it gave when one comes.
    #[tokio::test]
    async fn a_session_holds_what_it_gives_or_what_it_takes() {
        let memory = memory(64 << 20);
        let used = || memory.batches.used().all.bytes;
        let mut session = BatchPermits::new(&memory, device(1));
        session.begin_incoming();
        session.reserve_incoming(MIB).await.unwrap();
        session.reserve_incoming(MIB).await.unwrap();
        assert_eq!(used(), 2 * MIB);
        session.begin_incoming();
        assert_eq!(used(), 0);
        session.reserve_incoming(MIB).await.unwrap();
        session.reserve_outgoing(3 << 20).await;
        assert_eq!(used(), 6 * MIB);
        session.reserve_outgoing(1 << 20).await;
        assert_eq!(used(), 6 * MIB, "the first was the largest");
        session.begin_incoming();
        assert_eq!(used(), 0);
        session.reserve_shapes(1000).unwrap();
        assert_eq!(memory.shapes.used().all.bytes, 1000);
        drop(session);
        assert_eq!(memory.shapes.used().all.bytes, 0);
        // Without a server there is no limit.
        let mut alone = BatchPermits::default();
        alone.begin_incoming();
        alone.reserve_incoming(u64::MAX).await.unwrap();
        alone.reserve_outgoing(usize::MAX).await;
        assert_eq!((alone.sent(u64::MAX), alone.reserve_shapes(u64::MAX)), (Ok(()), Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn who_needs_more_than_there_is_waits_until_another_is_done() {
        let memory = memory(0);
        let [mut one, mut other] = [1, 2].map(|number| BatchPermits::new(&memory, device(number)));
        one.reserve_outgoing(7 << 20).await;
        assert!(!has_to_wait(one.reserve_outgoing(7 << 20)).await, "there is room for its second");
        other.begin_incoming();
        assert!(!has_to_wait(other.reserve_incoming(BATCH)).await, "the other has its own part");
        let mut third = BatchPermits::new(&memory, device(3));
        third.begin_incoming();
        assert!(has_to_wait(third.reserve_incoming(4 << 20)).await);
        drop(one);
        assert!(!has_to_wait(third.reserve_incoming(4 << 20)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_never_waits_for_what_it_holds_itself() {
        let memory = memory(0);
        let mut only = BatchPermits::new(&memory, device(1));
        for _ in 0..3 {
            assert!(!has_to_wait(only.reserve_outgoing(16 << 20)).await);
            only.begin_incoming();
            assert!(!has_to_wait(only.reserve_incoming(BATCH)).await);
        }
    }

    /// However many batches have begun, one can always finish; then the next.
    #[tokio::test(start_paused = true)]
    async fn batches_that_have_begun_do_not_wait_for_each_other_in_a_circle() {
        let memory = memory(96 << 20);
        let ended = |number: u8| {
            let mut session = BatchPermits::new(&memory, device(number / 4));
            async move {
                for _ in 0..3 {
                    session.begin_incoming();
                    for _ in 0..BATCH / 48_000 {
                        session.reserve_incoming(48_000).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
            }
        };
        let mut all = tokio::task::JoinSet::new();
        (0..32).for_each(|number| drop(all.spawn(ended(number))));
        assert!(!has_to_wait(all.join_all()).await);
        let used = memory.batches.used();
        assert_eq!((used.all.bytes, used.devices.len()), (0, 0));
    }

    /// An announcement takes no memory; sent bytes take at most the device's share.
    #[tokio::test(start_paused = true)]
    async fn a_device_that_stalls_holds_what_it_sent_and_a_quarter_at_most() {
        let memory = memory(128 << 20);
        let mut stalling: Vec<_> = (0..8).map(|_| BatchPermits::new(&memory, device(1))).collect();
        for session in &mut stalling {
            session.begin_incoming();
            let _ = timeout(Duration::from_secs(1), session.reserve_incoming(BATCH - 1)).await;
        }
        assert!(memory.batches.used().all.bytes <= 32 << 20);
        let mut honest = BatchPermits::new(&memory, device(2));
        honest.begin_incoming();
        assert!(!has_to_wait(honest.reserve_incoming(BATCH)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_has_a_least_rate_and_waiting_is_not_the_peers_time() {
        let memory = memory(0);
        let (mut one, mut other) =
            (BatchPermits::new(&memory, device(1)), BatchPermits::new(&memory, device(1)));
        one.begin_incoming();
        one.reserve_incoming(BATCH).await.unwrap();
        other.begin_incoming();
        let done_later = async {
            tokio::time::sleep(Duration::from_secs(300)).await;
            drop(one);
        };
        tokio::join!(done_later, other.reserve_incoming(MIB)).1.unwrap();
        tokio::time::advance(Duration::from_secs(59)).await;
        other.reserve_incoming(1).await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(other.reserve_incoming(1).await, Err(Overload::Slow));
        other.reserve_outgoing(10).await;
        other.sent(5).unwrap();
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(other.sent(5), Err(Overload::Slow));
    }

    #[test]
    fn what_is_told_of_entries_has_a_part_for_each_device_too() {
        let memory = memory(0);
        let session = |number| BatchPermits::new(&memory, device(number));
        let (mut one, mut same) = (session(1), session(1));
        one.reserve_shapes(900).unwrap();
        assert_eq!(same.reserve_shapes(101), Err(Overload::Full));
        same.reserve_shapes(100).unwrap();
        let mut others: Vec<_> = (2..5).map(session).collect();
        others.iter_mut().for_each(|other| other.reserve_shapes(1000).unwrap());
        assert_eq!(session(5).reserve_shapes(1), Err(Overload::Full));
        drop(one);
        session(5).reserve_shapes(900).unwrap();
        others.clear();
        assert_eq!(session(1).reserve_shapes(901), Err(Overload::Full), "the other one still has a hundred");
        session(1).reserve_shapes(900).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_waits_for_no_more_than_its_device_may_have() {
        let budget = Arc::new(Budget::of(100, 10, 0));
        let mut session = Reservation::nothing(&budget, device(1));
        for expected in [7, 10, 10] {
            assert!(!has_to_wait(session.grow(7)).await);
            assert_eq!(session.bytes, expected);
        }
    }
}
