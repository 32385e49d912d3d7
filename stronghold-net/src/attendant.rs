//! Whom a session asks and tells: an application's screen, or nobody.

use std::{future::Future, pin::Pin};

use stronghold_sync::{
    DeviceId, Pending, Plan,
    message::Volume,
    session::{Taken, Verdict},
};

/// A future that a callback gives.
pub type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Whom a session asks and tells. Every method has a default that is silent and says no.
pub trait Attendant: Send {
    /// A peer asks for what a rule leaves to a person. No answer in time ([`Limits::person`](crate::Limits)) is a no: the
    /// future is dropped then.
    fn ask(&mut self, peer: DeviceId, pending: &[Pending]) -> Answering<bool> {
        let _ = (peer, pending);
        Box::pin(async { false })
    }

    /// A plan is made: whether to go on with it.
    fn plan(&mut self, plan: &Plan) -> GoOn {
        let _ = plan;
        GoOn::Yes
    }

    /// This much is coming.
    fn expect(&mut self, volume: Volume) {
        let _ = volume;
    }

    /// A batch is durable here.
    fn taken(&mut self, taken: Taken) {
        let _ = taken;
    }

    /// A batch is durable at the peer: so many entries by now, of all that it is given.
    fn given(&mut self, entries: u64, of: u64) {
        let _ = (entries, of);
    }

    /// The peer's snapshot is older than it said it was before: it was restored from a backup, or someone set it back.
    fn set_back(&mut self, peer: DeviceId, found: u64, seen: u64) {
        let _ = (peer, found, seen);
    }

    /// The peer asked for this and was answered so.
    fn decided(&mut self, peer: DeviceId, verdict: &Verdict) {
        let _ = (peer, verdict);
    }
}

/// The silent attendant.
#[derive(Debug, Default, Clone, Copy)]
pub struct Unattended;

impl Attendant for Unattended {}

/// What to do with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoOn {
    /// Carry it out; if it deletes many records, stop and say so.
    Yes,
    /// Carry it out: a person confirmed the deletions.
    YesDeleting,
    /// Stop, as after a dry run.
    No,
}
