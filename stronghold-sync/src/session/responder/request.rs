//! A request that waits for its decision, and the grants that come of it.

use alloc::string::String;

use super::super::{Verdict, digest::Keys};
use crate::{
    Decision, DeviceId, Edition, Grant, Operation, Pending, Policy, Stamps, Timestamp,
    message::{RecipientKey, Request, Volume},
};

/// A request to decide on, and the inputs to the decision.
#[derive(Debug)]
pub(super) struct PendingRequest {
    pub(super) policy: Policy,
    pub(super) peer: DeviceId,
    pub(super) now: Timestamp,
    pub(super) key: RecipientKey,
    pub(super) keys: Keys,
    /// This snapshot's edition, and the stamps issued to the peer.
    pub(super) edition: Edition,
    pub(super) stamps: Stamps,
    pub(super) copied: bool,
    pub(super) entry_limit: usize,
}

/// One operation of a request, and the policy's decision on it.
#[derive(Debug)]
pub(super) struct Ruling {
    pub(super) operation: Operation,
    pub(super) decision: Decision,
}

/// A grant, and the requested selection.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) grant: Grant,
    pub(super) selection: String,
}

impl Granted {
    pub(super) fn verdict(&self, volume: Volume) -> Verdict {
        let selection = self.selection.clone();
        Verdict { operation: self.grant.operation(), ours: false, selection, allowed: true, volume }
    }
}

impl Ruling {
    pub(super) fn pending(&self) -> Option<Pending> {
        match &self.decision {
            Decision::Ask(pending) => Some(pending.clone()),
            _ => None,
        }
    }

    pub(super) fn grant(self, approved: bool) -> Option<Grant> {
        match self.decision {
            Decision::Allowed(grant) => Some(grant),
            Decision::Ask(pending) if approved => Some(pending.approve()),
            _ => None,
        }
    }
}

/// Returns the operations that a request needs.
pub(super) fn operations(request: &Request) -> &'static [Operation] {
    match request {
        Request::Import { .. } => &[Operation::Import],
        Request::Browse { .. } => &[Operation::Browse],
        Request::Fetch { .. } | Request::Sync { pull: true, push: false, .. } => &[Operation::Pull],
        Request::Sync { pull: true, push: true, .. } => {
            &[Operation::Pull, Operation::Push, Operation::Delete]
        }
        Request::Sync { .. } => &[Operation::Push, Operation::Delete],
    }
}

pub(super) fn denied(operation: Operation, selection: &str) -> Verdict {
    Verdict { operation, ours: false, selection: selection.into(), allowed: false, volume: Volume::default() }
}
