//! Bounds the number of unauthenticated connections: the oldest is dropped for the newest.
//!
//! An honest peer authenticates within a moment, so the connection that has waited longest is the
//! least likely to be honest. A flood of silent connections displaces only itself.

use std::{collections::VecDeque, future::Future};

use tokio::task::{AbortHandle, JoinSet};

/// A bounded queue of tasks: a task beyond the capacity aborts the oldest.
pub(crate) struct AdmissionQueue<T> {
    tasks: JoinSet<T>,
    order: VecDeque<AbortHandle>,
    most: usize,
}

impl<T: Send + 'static> AdmissionQueue<T> {
    pub(crate) fn with_capacity(most: usize) -> Self {
        Self { tasks: JoinSet::new(), order: VecDeque::new(), most: most.max(1) }
    }

    /// Spawns a task. Returns `true` if the oldest task was aborted for it.
    pub(crate) fn admit(&mut self, task: impl Future<Output = T> + Send + 'static) -> bool {
        self.order.retain(|waiting| !waiting.is_finished());
        let is_full = self.order.len() >= self.most;
        if is_full && let Some(oldest) = self.order.pop_front() {
            oldest.abort();
        }
        self.order.push_back(self.tasks.spawn(task));
        is_full
    }

    /// Waits for the next task to finish; pends forever while the queue is empty.
    pub(crate) async fn next(&mut self) -> T {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(done)) => return done,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_and_the_newest_is_served() {
        let mut crowd = AdmissionQueue::with_capacity(4);
        for _ in 0..100 {
            crowd.admit(std::future::pending::<u32>());
        }
        assert!(crowd.admit(async { 7 }));
        assert_eq!(crowd.next().await, 7);
        assert!(crowd.order.len() <= 4);
    }

    /// A displaced task is dropped, with everything that it held.
    #[tokio::test]
    async fn who_has_to_go_is_ended() {
        let mut crowd = AdmissionQueue::with_capacity(1);
        let (held, gone) = tokio::sync::oneshot::channel::<()>();
        assert!(!crowd.admit(async move {
            let _held = held;
            std::future::pending::<u32>().await
        }));
        assert!(crowd.admit(async { 2 }));
        let soon = tokio::time::timeout(std::time::Duration::from_secs(5), gone);
        assert!(soon.await.is_ok_and(|dropped| dropped.is_err()));
        assert_eq!(crowd.next().await, 2);
    }

    /// Finished tasks free their places, so a waiting task outlives any number of finished ones.
    #[tokio::test]
    async fn those_that_are_done_push_nobody_out() {
        let mut crowd = AdmissionQueue::with_capacity(2);
        let (done, waits) = tokio::sync::oneshot::channel();
        crowd.admit(async { waits.await.unwrap_or(0) });
        for number in 1..100 {
            assert!(!crowd.admit(async move { number }));
            assert_eq!(crowd.next().await, number);
        }
        done.send(100).unwrap();
        assert_eq!(crowd.next().await, 100);
    }
}
