//! The decision on a request: by the policy, or by a person.

use super::super::{Duplicate, Event, PeerMisbehaved, SessionError, Task, digest::day_of};
use super::{
    Responder, State,
    request::{Granted, PendingRequest, Ruling, denied, operations},
    sync::Sync,
};
use crate::{
    Operation, Pending,
    message::{Open, PROTOCOL, Request},
};
use alloc::{boxed::Box, string::ToString, vec::Vec};

impl Responder {
    /// Handles a request: the policy decides, or asks for the user's approval.
    pub(super) fn open(
        &mut self,
        mut pending: Box<PendingRequest>,
        open: Open,
    ) -> Result<State, SessionError> {
        if open.protocol != PROTOCOL {
            return Err(SessionError::PeerIncompatible { ours: PROTOCOL, theirs: open.protocol });
        }
        let request = open.request;
        pending.copied = pending.stamps.detects_duplicate(open.edition.stamp);
        if pending.copied {
            self.core.notify(Event::Duplicate(Duplicate::Theirs));
        }
        self.core.notify(Event::Edition(open.edition));
        pending.keys.pair = pending.keys.pair.filter(|_| open.pair_key);
        if matches!(request, Request::Sync { pull: false, push: false, .. }) {
            return Err(PeerMisbehaved::OutOfOrder.into());
        }
        let rule = |operation: &Operation| Ruling {
            operation: *operation,
            decision: pending.policy.decide(&pending.peer, *operation, request.selection(), pending.now),
        };
        let rulings: Vec<Ruling> = operations(&request).iter().map(rule).collect();
        let unapproved: Vec<Pending> = rulings.iter().filter_map(Ruling::pending).collect();
        if unapproved.is_empty() {
            return self.apply_rulings(*pending, request, rulings, false);
        }
        self.core.ask(Task::Approve(unapproved));
        Ok(State::AwaitApproval(pending, Box::new(request), rulings))
    }

    /// Carries out the decisions of the policy and, where it asks, of the user.
    pub(super) fn apply_rulings(
        &mut self,
        pending: PendingRequest,
        request: Request,
        rulings: Vec<Ruling>,
        approved: bool,
    ) -> Result<State, SessionError> {
        let [mut import, mut browse, mut pull, mut push, mut delete] = [const { None }; 5];
        let mut denied = Vec::new();
        for ruling in rulings {
            let operation = ruling.operation;
            let grant = ruling.grant(approved);
            // Denied deletions do not deny a sync: they are left out of it.
            if grant.is_none() && operation != Operation::Delete {
                denied.push(operation);
            }
            match operation {
                Operation::Import => import = grant,
                Operation::Browse => browse = grant,
                Operation::Pull => pull = grant,
                Operation::Push => push = grant,
                Operation::Delete => delete = grant,
            }
        }
        let selection = request.selection().to_string();
        Ok(match (request, import.or(browse), pull) {
            (Request::Import { key, .. }, Some(grant), _) | (Request::Fetch { key, .. }, _, Some(grant)) => {
                self.core.perform(Task::Shapes(grant.scope().clone()));
                State::AwaitShapesToSend(Box::new(Granted { grant, selection }), key)
            }
            (Request::Browse { .. }, Some(grant), _) => {
                self.core.perform(Task::List(grant.clone()));
                State::AwaitListing(Box::new(Granted { grant, selection }))
            }
            (Request::Sync { selection: asked, .. }, _, pull)
                if pull.is_some() || push.is_some() || delete.is_some() =>
            {
                let day = pending.keys.pair.as_ref().map(|_| day_of(pending.now));
                let sync = Sync::new(&asked, [pull, push, delete], pending.key, pending.keys, day);
                let sync = Box::new(
                    sync.with_edition(pending.edition, pending.copied).with_entry_limit(pending.entry_limit),
                );
                self.describe(sync, denied)
            }
            _ => {
                self.log_denied(&denied, &selection);
                return Err(SessionError::NotPermitted);
            }
        })
    }

    pub(super) fn log_denied(&mut self, operations: &[Operation], selection: &str) {
        let verdicts = operations.iter().map(|operation| denied(*operation, selection));
        self.core.log(verdicts.collect());
    }
}
