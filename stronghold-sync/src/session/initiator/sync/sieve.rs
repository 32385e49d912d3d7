//! The rules of both sides, as a sieve of the entries to take and to give.

use alloc::collections::BTreeSet;

use super::{
    super::{Consent, Push, Take},
    Sync, find,
};
use crate::{
    Grant, LocationId, Plan, Shape, SkipReason, Skipped, message::WireSize, plan::Sieve, session::MAX_GIVEN,
};

impl Sieve for Sync {
    fn take(&self, shape: &Shape) -> Result<(), SkipReason> {
        let covers = |grant: &Grant| {
            let name = self.names.get(&shape.location).or_else(|| self.told.get(&shape.location));
            name.is_some_and(|name| grant.scope().covers(name))
        };
        match &self.take {
            Take::Granted(consent)
                if !self.is_sure(shape) && !consent.for_kind(shape).is_some_and(covers) =>
            {
                Err(if shape.deleted { SkipReason::MayNotDelete } else { SkipReason::MayNotPush })
            }
            _ => Ok(()),
        }
    }

    fn give(&self, shape: &Shape) -> Result<(), Option<SkipReason>> {
        match self.may_give(shape) {
            true => Ok(()),
            false => Err(find(&self.withheld, &shape.entry()).map(|shape| self.why_withheld(shape))),
        }
    }

    fn delivered(&self, head: &Shape) -> bool {
        self.delivered.contains(&head.entry())
    }
}

impl Sync {
    /// Returns whether this side may give the entry.
    pub(super) fn may_give(&self, shape: &Shape) -> bool {
        let [values, deletions] = self.held_gives;
        let is_given = if shape.deleted { deletions } else { values };
        is_given && find(&self.held, &shape.entry()).is_some()
            || find(&self.may_give, &shape.entry()).is_some()
    }

    /// Leaves the entries over [`MAX_GIVEN`] to the next session, as the peer holds them in memory.
    pub(super) fn leave_for_later(&self, plan: &mut Plan) {
        let mut weight = 0;
        let mut fits = |shape: &&Shape| {
            weight += self.announced(shape).wire_size();
            weight <= MAX_GIVEN
        };
        let fits = plan.give.iter().take_while(&mut fits).count();
        let later: BTreeSet<LocationId> = plan.give.drain(fits..).map(|shape| shape.location).collect();
        plan.changes_there.retain(|(location, _)| !later.contains(location));
        plan.not_given.extend(later.into_iter().map(|location| Skipped { location, why: SkipReason::Later }));
    }

    pub(super) fn why_withheld(&self, shape: &Shape) -> SkipReason {
        match &self.own {
            Push::NotGranted => SkipReason::MayNotPull,
            _ if shape.deleted => SkipReason::MayNotDelete,
            _ => SkipReason::MayNotPush,
        }
    }
}

/// A sieve that leaves out nothing: the plan without rules and limits.
pub(super) struct All;

impl Sieve for All {
    const MOST_ADDED: usize = usize::MAX;
}

impl Consent {
    /// Returns the grant that lets the peer write, or delete, an entry of this kind.
    pub(in crate::session) fn for_kind(&self, shape: &Shape) -> Option<&Grant> {
        if shape.deleted { self.delete.as_ref() } else { self.push.as_ref() }
    }
}
