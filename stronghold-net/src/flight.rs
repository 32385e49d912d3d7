//! The memory that the sealed batches of all sessions share.
//!
//! A session waits for memory only while it has none, so sessions can't wait for each other in a circle. What it has
//! taken for what it gives it keeps until it receives or ends: two batches are on their way at most.

use std::sync::Arc;

use stronghold_sync::session::MAX_SEALED;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is counted in pieces of this many bytes.
const PIECE: u64 = 1024;
/// Batches of a giver that are in memory at a time.
const GIVEN: u64 = 2;

/// Memory for batches, shared by the sessions of a server.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pieces: Arc<Semaphore>,
    all: u32,
}

impl Memory {
    /// So many bytes of it; at least what one session can need.
    pub(crate) fn of(bytes: usize) -> Self {
        let all = pieces((bytes as u64).max(GIVEN * MAX_SEALED));
        Self { pieces: Arc::new(Semaphore::new(all as usize)), all }
    }

    async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let wanted = pieces(bytes).min(self.all);
        self.pieces.clone().acquire_many_owned(wanted).await.ok()
    }
}

/// One session's part of it; without a server there is no limit.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    memory: Option<Memory>,
    given: Option<OwnedSemaphorePermit>,
    received: Option<OwnedSemaphorePermit>,
}

impl Flight {
    pub(crate) fn sharing(memory: &Memory) -> Self {
        Self { memory: Some(memory.clone()), ..Self::default() }
    }

    /// A batch of so many bytes is sealed: the first waits until there is memory for it and for another like it. What this
    /// side received is durable by then.
    pub(crate) async fn takes_off(&mut self, bytes: usize) {
        self.received = None;
        if let (Some(memory), None) = (&self.memory, &self.given) {
            self.given = memory.take(GIVEN * bytes as u64).await;
        }
    }

    /// A batch of so many bytes comes. What this side had to give is with the peer by now, and so is the last one here.
    pub(crate) async fn lands(&mut self, bytes: u64) {
        (self.given, self.received) = (None, None);
        if let Some(memory) = &self.memory {
            self.received = memory.take(bytes).await;
        }
    }
}

fn pieces(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn has_to_wait(done: impl Future<Output = ()>) -> bool {
        timeout(Duration::from_secs(1), done).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn who_needs_more_than_there_is_waits_until_another_is_done() {
        let memory = Memory::of(0);
        let [mut one, mut other] = [Flight::sharing(&memory), Flight::sharing(&memory)];
        one.takes_off(12 << 20).await;
        assert!(!has_to_wait(one.takes_off(12 << 20)).await, "there is room for its second");
        assert!(has_to_wait(other.lands(16 << 20)).await);
        assert!(!has_to_wait(other.lands(8 << 20)).await);
        drop(one);
        assert!(!has_to_wait(other.lands(16 << 20)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_never_waits_for_what_it_holds_itself() {
        let memory = Memory::of(0);
        let mut only = Flight::sharing(&memory);
        for _ in 0..3 {
            assert!(!has_to_wait(only.takes_off(16 << 20)).await);
            assert!(!has_to_wait(only.lands(MAX_SEALED)).await);
            assert!(!has_to_wait(only.lands(MAX_SEALED)).await);
        }
    }
}
