//! Whom a session asks and tells: an application's screen, or nobody.

use std::{future::Future, pin::Pin};

use stronghold_sync::{
    DeviceId, Location, Pending, Plan,
    message::Volume,
    session::{Changes, Duplicate, Verdict},
};

/// A future that a callback gives.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Whom a session asks and tells. Every method has a default that is silent and says no.
pub trait SessionHandler: Send {
    /// A peer asks for what a rule leaves to a person. No answer in time ([`Limits::approval_timeout`](crate::Limits)) is a no: the
    /// future is dropped then.
    fn approve(&mut self, peer: DeviceId, pending: &[Pending]) -> BoxFuture<bool> {
        let _ = (peer, pending);
        Box::pin(async { false })
    }

    /// What a peer gives would delete, empty or shrink many records here, as the plan says: whether a person here allows it.
    /// No answer in time is a no.
    fn confirm_losses(&mut self, peer: DeviceId, plan: &Plan) -> BoxFuture<bool> {
        let _ = (peer, plan);
        Box::pin(async { false })
    }

    /// A peer that asked says what stays where it is, because a rule is missing or a limit is met.
    fn on_left_behind(&mut self, _peer: DeviceId, _left: &StaysBehind) {}

    /// A plan is made: whether to go on with it.
    fn review_plan(&mut self, plan: &Plan) -> PlanDecision {
        let _ = plan;
        PlanDecision::Proceed
    }

    /// This much is coming.
    fn on_incoming(&mut self, _volume: Volume) {}

    /// A batch is durable here.
    fn on_received(&mut self, _taken: Changes) {}

    /// A batch is durable at the peer: so many entries by now, of all that it is given.
    fn on_sent(&mut self, _entries: u64, _of: u64) {}

    /// The peer's snapshot is older than it said it was before: it was restored from a backup, or someone set it back.
    fn on_rollback(&mut self, _peer: DeviceId, _found: u64, _seen: u64) {}

    /// Two snapshots of one identity are in use, the peer's or this side's: one is a copy of the other.
    fn on_duplicate(&mut self, _peer: DeviceId, _whose: Duplicate) {}

    /// The peer asked for this and was answered so.
    fn on_decision(&mut self, _peer: DeviceId, _verdict: &Verdict) {}
}

/// What stays where it is, by name, after a peer has asked for a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaysBehind {
    /// How many records of this side the peer does not take.
    pub not_given: u64,
    /// Some of them.
    pub ungiven: Vec<Location>,
    /// How many records the peer would give, and may not.
    pub not_taken: u64,
    /// Some of them, by the names that the peer tells.
    pub untaken: Vec<Location>,
}

/// The silent attendant.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoHandler;

impl SessionHandler for NoHandler {}

/// What to do with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanDecision {
    /// Carry it out; if it deletes many records, stop and say so.
    Proceed,
    /// Carry it out: a person confirmed the deletions.
    ProceedWithDeletions,
    /// Stop, as after a dry run.
    Stop,
}
