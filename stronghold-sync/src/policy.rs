//! Permission (§7 of the design): default deny, rules per device, and the grant that only a policy can make.

use alloc::{collections::BTreeSet, vec::Vec};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Location, Scope, Selection};

/// What a device may do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Take everything in one go, to become a device of its own.
    Import,
    /// See which entries there are.
    Browse,
    /// Take entries from me.
    Pull,
    /// Write entries to me.
    Push,
    /// Delete entries here.
    Delete,
}

/// Text that names no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operation is one of import, browse, pull, push, delete")]
pub struct BadOperation;

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Import, Self::Browse, Self::Pull, Self::Push, Self::Delete];

    /// Its name, as people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Browse => "browse",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Operation {
    type Err = BadOperation;

    fn from_str(text: &str) -> Result<Self, BadOperation> {
        Self::ALL.into_iter().find(|operation| operation.name() == text).ok_or(BadOperation)
    }
}

/// One permission: this device may do these things with these entries, until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Whom it is for.
    pub device: DeviceId,
    /// What it allows.
    pub operations: BTreeSet<Operation>,
    /// On which entries.
    pub selection: Selection,
    /// From when on it no longer holds, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// Whether a person decides, per request.
    pub ask: bool,
}

/// All permissions that this device has given. The empty policy denies everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// Proof that a policy allowed this peer this operation on this scope. Only a policy makes one, and nothing is
/// exported without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    peer: Option<DeviceId>,
    operation: Operation,
    scope: Scope,
    /// Whether a person approved it: only then do rules that ask stand behind it.
    approved: bool,
}

/// What a policy says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, within the grant's scope.
    Allowed(Grant),
    /// A person has to say.
    Ask(Pending),
    /// No. Nothing tells whether the entries exist.
    Denied,
}

/// A grant that a person has not yet approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending(Grant);

impl Policy {
    /// The rules, oldest first.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Adds a rule.
    pub fn grant(&mut self, rule: Rule) {
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
    }

    /// Removes all rules of a device; says how many there were.
    pub fn revoke(&mut self, device: &DeviceId) -> usize {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.device != *device);
        before - self.rules.len()
    }

    /// Decides on a request at the time `now` (milliseconds since 1970).
    ///
    /// Rules that need no asking are preferred: where one of them reaches the selection, those that ask add
    /// nothing to the grant.
    #[must_use]
    pub fn decide(&self, peer: &DeviceId, operation: Operation, selection: &Selection, now: u64) -> Decision {
        let reach = |ask: bool| {
            self.rules
                .iter()
                .filter(|rule| rule.holds_for(peer, operation, now) && rule.ask == ask)
                .filter(|rule| rule.selection.overlaps(selection))
                .map(|rule| rule.selection.clone())
                .reduce(|all, one| all.or(&one))
        };
        let grant = |rules: Selection| Grant {
            peer: Some(*peer),
            operation,
            scope: Scope::of(selection.clone()).within(rules),
            approved: false,
        };
        match (reach(false), reach(true)) {
            (Some(rules), _) => Decision::Allowed(grant(rules)),
            (None, Some(rules)) => Decision::Ask(Pending(grant(rules))),
            (None, None) => Decision::Denied,
        }
    }

    /// Whether an earlier grant still stands for this location: asked again when entries are exported or taken,
    /// since rules may have been revoked or have expired in between.
    #[must_use]
    pub fn still_allows(&self, grant: &Grant, location: &Location, now: u64) -> bool {
        let text = alloc::format!("{location}");
        let by_rule = grant.peer.is_none_or(|peer| {
            self.rules
                .iter()
                .filter(|rule| rule.holds_for(&peer, grant.operation, now) && (grant.approved || !rule.ask))
                .any(|rule| rule.selection.covers_text(&text))
        });
        by_rule && grant.scope.covers_text(&text)
    }
}

impl Rule {
    fn holds_for(&self, peer: &DeviceId, operation: Operation, now: u64) -> bool {
        self.device == *peer
            && self.operations.contains(&operation)
            && self.expires.is_none_or(|expires| now < expires)
    }
}

impl Grant {
    /// The grant of whoever holds the key of a snapshot: everything selected.
    #[must_use]
    pub fn of_owner(selection: Selection) -> Self {
        Self { peer: None, operation: Operation::Pull, scope: Scope::of(selection), approved: true }
    }

    /// Who was allowed; `None` is the snapshot's owner.
    #[must_use]
    pub fn peer(&self) -> Option<DeviceId> {
        self.peer
    }

    /// What was allowed.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// On what.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Pending {
    /// What is waiting to be approved.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.0
    }

    /// A person said yes.
    #[must_use]
    pub fn approve(self) -> Grant {
        Grant { approved: true, ..self.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: DeviceId = DeviceId::from_bytes([1; 32]);

    fn select(text: &str) -> Selection {
        text.parse().unwrap()
    }

    fn rule(operation: Operation, selection: &str) -> Rule {
        Rule {
            device: PEER,
            operations: [operation].into(),
            selection: select(selection),
            expires: None,
            ask: false,
        }
    }

    #[test]
    fn an_empty_policy_denies_everything() {
        for operation in Operation::ALL {
            let decision = Policy::default().decide(&PEER, operation, &Selection::everything(), 0);
            assert_eq!(decision, Decision::Denied);
        }
    }

    #[test]
    fn a_rule_holds_for_its_device_operation_selection_and_time() {
        let mut policy = Policy::default();
        policy.grant(Rule { expires: Some(100), ..rule(Operation::Pull, "wallet/**") });
        let decide = |peer: &DeviceId, operation, selection: &str, now| {
            policy.decide(peer, operation, &select(selection), now) != Decision::Denied
        };
        assert!(decide(&PEER, Operation::Pull, "wallet/tokens", 99));
        assert!(decide(&PEER, Operation::Pull, "**", 99), "the part within the rule is granted");
        assert!(!decide(&PEER, Operation::Pull, "wallet/tokens", 100));
        assert!(!decide(&PEER, Operation::Push, "wallet/tokens", 0));
        assert!(!decide(&PEER, Operation::Pull, "work", 0));
        assert!(!decide(&DeviceId::from_bytes([2; 32]), Operation::Pull, "wallet", 0));
    }

    #[test]
    fn a_grant_covers_the_request_within_the_rule_and_falls_with_it() {
        let mut policy = Policy::default();
        policy.grant(rule(Operation::Pull, "wallet/**"));
        let Decision::Allowed(grant) = policy.decide(&PEER, Operation::Pull, &select("*/tokens"), 0) else {
            panic!("not allowed");
        };
        let at = |text: &str| text.parse::<Location>().unwrap();
        assert!(policy.still_allows(&grant, &at("wallet/tokens/a"), 0));
        assert!(!policy.still_allows(&grant, &at("wallet/keys/a"), 0));
        assert!(!policy.still_allows(&grant, &at("work/tokens/a"), 0));
        assert_eq!(policy.revoke(&PEER), 1);
        assert!(!policy.still_allows(&grant, &at("wallet/tokens/a"), 0));
    }

    #[test]
    fn a_rule_that_asks_does_not_stand_in_for_one_that_expired() {
        let mut policy = Policy::default();
        policy.grant(Rule { expires: Some(100), ..rule(Operation::Pull, "wallet") });
        policy.grant(Rule { ask: true, ..rule(Operation::Pull, "wallet") });
        let (wallet, at) = (select("wallet"), "wallet/tokens/a".parse::<Location>().unwrap());
        let Decision::Allowed(unasked) = policy.decide(&PEER, Operation::Pull, &wallet, 99) else {
            panic!("not allowed");
        };
        assert!(policy.still_allows(&unasked, &at, 99));
        assert!(!policy.still_allows(&unasked, &at, 100), "nobody was asked");
        let Decision::Ask(pending) = policy.decide(&PEER, Operation::Pull, &wallet, 100) else {
            panic!("not asked");
        };
        assert!(policy.still_allows(&pending.approve(), &at, 100));
    }

    #[test]
    fn a_rule_that_asks_needs_a_person() {
        let mut policy = Policy::default();
        policy.grant(Rule { ask: true, ..rule(Operation::Browse, "wallet") });
        let decision = policy.decide(&PEER, Operation::Browse, &select("wallet"), 0);
        assert!(matches!(decision, Decision::Ask(_)));
    }
}
