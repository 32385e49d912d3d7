//! Slows down devices whose sessions fail: a paired device that is refused or breaks the protocol
//! again and again costs a handshake each time, at the expense of well-behaved devices.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stronghold_sync::DeviceId;
use tokio::time::{Instant, sleep_until};

/// Time between the handshakes of a device whose last session failed.
const STEP: Duration = Duration::from_millis(10);
/// Maximum waiting handshakes of one device; further connections are dropped.
const WAITING: u32 = 32;

/// The earliest time of the next handshake, for each device that has to wait.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<HashMap<DeviceId, Instant>>);

impl Pace {
    /// Waits for a device's turn. Returns `false` at once if too many of its connections wait.
    pub(crate) async fn turn(&self, device: &DeviceId) -> bool {
        let turn = match self.next().get_mut(device) {
            None => return true,
            Some(next) => {
                let turn = (*next).max(Instant::now());
                if turn > Instant::now() + STEP * WAITING {
                    return false;
                }
                *next = turn + STEP;
                turn
            }
        };
        sleep_until(turn).await;
        true
    }

    /// Notes how a device's session ended.
    pub(crate) fn ended(&self, device: DeviceId, well: bool) {
        if well {
            self.next().remove(&device);
        } else {
            self.next().entry(device).or_insert_with(Instant::now);
        }
    }

    fn next(&self) -> MutexGuard<'_, HashMap<DeviceId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILING: DeviceId = DeviceId::from_bytes([1; 32]);
    const OTHER: DeviceId = DeviceId::from_bytes([2; 32]);

    #[tokio::test(start_paused = true)]
    async fn who_fails_waits_and_nobody_else_does() {
        let (pace, start) = (Pace::default(), Instant::now());
        for _ in 0..100 {
            assert!(pace.turn(&FAILING).await);
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "nothing has failed");
        pace.ended(FAILING, false);
        for number in 0..100 {
            assert!(pace.turn(&FAILING).await && pace.turn(&OTHER).await);
            assert_eq!(start.elapsed(), STEP * number);
            pace.ended(FAILING, false);
        }
        pace.ended(FAILING, true);
        assert!(pace.turn(&FAILING).await);
        assert_eq!(start.elapsed(), STEP * 99, "the last went well");
    }

    #[tokio::test(start_paused = true)]
    async fn few_of_one_device_wait_at_a_time() {
        let pace = std::sync::Arc::new(Pace::default());
        pace.ended(FAILING, false);
        let mut turns = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let pace = pace.clone();
            turns.spawn(async move { pace.turn(&FAILING).await });
        }
        let had = turns.join_all().await.into_iter().filter(|had| *had).count();
        assert_eq!(had, 1 + WAITING as usize, "the first need not wait");
    }
}
