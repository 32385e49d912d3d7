//! The decision on a request: by the policy, or by a person.

use super::super::{Duplicate, Event, PeerMisbehaved, SessionError, ShapeQueries, Task};
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
    pub(super) fn open(&mut self, mut desk: Box<PendingRequest>, open: Open) -> Result<State, SessionError> {
        if open.protocol != PROTOCOL {
            return Err(SessionError::PeerIncompatible { ours: PROTOCOL, theirs: open.protocol });
        }
        let request = open.request;
        desk.copied = desk.stamps.detects_duplicate(open.edition.stamp);
        if desk.copied {
            self.core.notify(Event::Duplicate(Duplicate::Theirs));
        }
        self.core.notify(Event::Edition(open.edition));
        if matches!(request, Request::Sync { pull: false, push: false, .. }) {
            return Err(PeerMisbehaved::OutOfOrder.into());
        }
        let rule = |operation: &Operation| Ruling {
            operation: *operation,
            decision: desk.policy.decide(&desk.peer, *operation, request.selection(), desk.now),
        };
        let rulings: Vec<Ruling> = operations(&request).iter().map(rule).collect();
        let pending: Vec<Pending> = rulings.iter().filter_map(Ruling::pending).collect();
        if pending.is_empty() {
            return self.ruled(*desk, request, rulings, false);
        }
        self.core.perform(Task::Approve(pending));
        Ok(State::AwaitApproval(desk, Box::new(request), rulings))
    }

    /// Carries out the decisions of the policy and, where it asks, of the user.
    pub(super) fn ruled(
        &mut self,
        desk: PendingRequest,
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
                let sync = Sync::new(&asked, [pull, push, delete], desk.key, desk.secret);
                let sync =
                    Box::new(sync.with_edition(desk.edition, desk.copied).with_entry_limit(desk.staged));
                let gathering = ShapeQueries::new(sync.scopes());
                self.gather(sync, gathering, denied)
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
