//! Those who have not proved who they are yet: only so many at a time, and the newest goes before the oldest.
//!
//! An honest peer proves itself within a moment, so what has waited longest is what is least likely to be one: a flood of
//! silent connections pushes itself out, and nobody else.

use std::{collections::VecDeque, future::Future};

use tokio::task::{AbortHandle, JoinSet};

/// At most so many tasks; each more ends the oldest.
pub(crate) struct AdmissionQueue<T> {
    tasks: JoinSet<T>,
    order: VecDeque<AbortHandle>,
    most: usize,
}

impl<T: Send + 'static> AdmissionQueue<T> {
    pub(crate) fn with_capacity(most: usize) -> Self {
        Self { tasks: JoinSet::new(), order: VecDeque::new(), most: most.max(1) }
    }

    /// Lets one more in; says whether another had to go.
    pub(crate) fn admit(&mut self, task: impl Future<Output = T> + Send + 'static) -> bool {
        self.order.retain(|waiting| !waiting.is_finished());
        let is_full = self.order.len() >= self.most;
        if is_full && let Some(oldest) = self.order.pop_front() {
            oldest.abort();
        }
        self.order.push_back(self.tasks.spawn(task));
        is_full
    }

    /// The next that comes to an end of its own; waits for ever while there is none.
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

    /// What was pushed out is over, with all that it held.
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

    /// Those that are done make room: however many come and go, one that waits is not the oldest of too many.
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
