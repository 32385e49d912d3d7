//! Defines the callbacks by which a session reports events and asks for approval.

use std::{future::Future, pin::Pin};

use stronghold_sync::{
    DeviceId, Location, Pending, Plan,
    message::Volume,
    session::{Changes, Duplicate, Verdict},
};

/// A future that a callback returns.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Callbacks of a session. Every default implementation is silent and refuses.
pub trait SessionHandler: Send {
    /// Returns whether to allow requests that a rule leaves to a person. Without an answer in time
    /// ([`Limits::approval_timeout`](crate::Limits)) the future is dropped and the answer is
    /// `false`.
    fn approve(&mut self, peer: DeviceId, pending: &[Pending]) -> BoxFuture<bool> {
        let _ = (peer, pending);
        Box::pin(async { false })
    }

    /// Returns whether to accept a push by the peer that would delete, empty or shrink many records
    /// here, as listed in the plan. Without an answer in time the answer is `false`.
    fn confirm_losses(&mut self, peer: DeviceId, plan: &Plan) -> BoxFuture<bool> {
        let _ = (peer, plan);
        Box::pin(async { false })
    }

    /// Called when the peer asks its person about the request, or about the losses that the
    /// entries sent would cause there. The answer may take as long as that person does.
    fn on_asking(&mut self, _peer: DeviceId) {}

    /// Called when an initiator reports the entries that stay where they are, because a rule is
    /// missing or a limit is met.
    fn on_left_behind(&mut self, _peer: DeviceId, _left: &LeftBehindReport) {}

    /// Returns whether to proceed with a plan. The session waits for the answer; so does the peer,
    /// up to its limit.
    fn review_plan(&mut self, plan: &Plan) -> BoxFuture<PlanDecision> {
        let _ = plan;
        Box::pin(async { PlanDecision::Proceed })
    }

    /// Called before entries arrive, with their volume.
    fn on_incoming(&mut self, _volume: Volume) {}

    /// Called when a received batch is durable here.
    fn on_received(&mut self, _taken: Changes) {}

    /// Called when a batch is durable at the peer, with the entries sent so far and in total.
    fn on_sent(&mut self, _entries: u64, _of: u64) {}

    /// Called when the peer's snapshot is older than it reported before: it was restored from a
    /// backup, or rolled back by someone.
    fn on_rollback(&mut self, _peer: DeviceId, _found: u64, _seen: u64) {}

    /// Called when two snapshots of one identity are in use, the peer's or this side's: one is a
    /// copy of the other.
    fn on_duplicate(&mut self, _peer: DeviceId, _whose: Duplicate) {}

    /// Called with the decision on a request of the peer.
    fn on_decision(&mut self, _peer: DeviceId, _verdict: &Verdict) {}
}

/// Entries that a sync left where they are, by name, as the initiator reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftBehindReport {
    /// Number of records of this side that the peer does not take.
    pub not_given: u64,
    /// Some of these records.
    pub ungiven: Vec<Location>,
    /// Number of records that the peer would push, but may not.
    pub not_taken: u64,
    /// Some of these records, by the names that the peer reports.
    pub untaken: Vec<Location>,
}

/// A silent handler that refuses every request.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoHandler;

impl SessionHandler for NoHandler {}

/// A decision about a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanDecision {
    /// Carry the plan out; if it deletes many records, stop and report that.
    Proceed,
    /// Carry the plan out: a person confirmed the deletions.
    ProceedWithDeletions,
    /// Stop, as after a dry run.
    Stop,
}
