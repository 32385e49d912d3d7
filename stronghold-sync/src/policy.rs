//! Permission (`DESIGN.md`): default deny, rules per device, and grants that only a policy can
//! create.

use alloc::{collections::BTreeSet, vec::Vec};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Location, Scope, Selection, Timestamp};

/// An operation that a rule can allow a device here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Take everything in one go, to become a device of its own.
    Import,
    /// List entries.
    Browse,
    /// Take entries from this device.
    Pull,
    /// Write entries on this device.
    Push,
    /// Delete entries on this device.
    Delete,
}

/// The error for text that does not name an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operation is one of import, browse, pull, push, delete")]
pub struct ParseOperationError;

impl Operation {
    /// All operations.
    pub const ALL: [Self; 5] = [Self::Import, Self::Browse, Self::Pull, Self::Push, Self::Delete];

    /// Returns its name, as users write it.
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
    type Err = ParseOperationError;

    fn from_str(text: &str) -> Result<Self, ParseOperationError> {
        Self::ALL.into_iter().find(|operation| operation.name() == text).ok_or(ParseOperationError)
    }
}

/// A permission: the device may do these operations on these entries until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The device.
    pub device: DeviceId,
    /// The allowed operations.
    pub operations: BTreeSet<Operation>,
    /// The entries.
    pub selection: Selection,
    /// The time at which it expires, in milliseconds since 1970.
    pub expires: Option<Timestamp>,
    /// `true` if each request needs the user's approval.
    pub ask: bool,
}

/// All permissions that this device has given. The empty policy denies everything.
///
/// Each rule has a number, which is never reused. Expiry depends only on this device's clock and on
/// the latest time it has shown: setting the clock back revives no rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    rules: Vec<(u64, Rule)>,
    /// The number of the rule that was added last.
    last: u64,
    /// The latest time observed, in milliseconds since 1970.
    latest: Timestamp,
}

/// The reason why a rule would change nothing beside an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedundantRule {
    /// The older rule allows all of it.
    #[error("rule {0} allows that already")]
    Covered(u64),
    /// The older rule allows it without approval.
    #[error("rule {0} allows that without asking")]
    Unasked(u64),
}

/// The rules changed by a withdrawal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withdrawn {
    /// Numbers of the rules that were removed.
    pub removed: Vec<u64>,
    /// Numbers of the rules that now allow less.
    pub narrowed: Vec<u64>,
}

/// The error for a withdrawal from a wider rule, of which patterns can't express the rest. Nothing
/// is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {0} allows that and more: take all of it back, or replace it by narrower ones")]
pub struct RuleTooWide(pub u64);

/// Proof that a policy allowed this peer this operation on this scope. Only a policy creates a
/// grant, and nothing is exported to a peer without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    peer: DeviceId,
    operation: Operation,
    scope: Scope,
    /// `true` if the user approved it: only then do rules that ask cover the grant.
    approved: bool,
}

/// A policy's decision on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, within the grant's scope.
    Allowed(Grant),
    /// The user has to decide.
    Ask(Pending),
    /// Denied. The reply does not reveal whether the entries exist.
    Denied,
}

/// A grant that the user has not yet approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending(Grant);

impl Policy {
    /// Returns the rules, oldest first.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|(_, rule)| rule)
    }

    /// Returns the rules of a device with their numbers, oldest first.
    pub fn rules_of(&self, device: &DeviceId) -> impl Iterator<Item = (u64, &Rule)> {
        let rules = self.rules.iter().map(|(number, rule)| (*number, rule));
        rules.filter(move |(_, rule)| rule.device == *device)
    }

    /// Adds a rule, unless it is present; returns its number.
    pub fn grant(&mut self, rule: Rule) -> u64 {
        if let Some((number, _)) = self.rules.iter().find(|(_, old)| *old == rule) {
            return *number;
        }
        self.last += 1;
        self.rules.push((self.last, rule));
        self.last
    }

    /// Restores a removed rule under its number.
    pub fn put_back(&mut self, number: u64, rule: Rule) {
        self.last = self.last.max(number);
        let at = self.rules.partition_point(|(other, _)| *other <= number);
        self.rules.insert(at, (number, rule));
    }

    /// Returns why adding a rule would change nothing: an older rule of its device covers its
    /// selection for as long, and allows all its operations, or, if the new rule asks for approval,
    /// any of them without approval. Returns `None` if the rule would change something.
    pub fn redundant_beside(&self, rule: &Rule, now: Timestamp) -> Option<RedundantRule> {
        let now = self.at(now);
        let covers = |old: &Rule| {
            old.selection.includes(&rule.selection)
                && old.expires.is_none_or(|until| now < until && rule.expires.is_some_and(|new| new <= until))
        };
        self.rules_of(&rule.device).filter(|(_, old)| *old != rule && covers(old)).find_map(
            |(number, old)| {
                if rule.ask && !old.ask && !old.operations.is_disjoint(&rule.operations) {
                    return Some(RedundantRule::Unasked(number));
                }
                let allows_all = old.operations.is_superset(&rule.operations) && (!old.ask || rule.ask);
                allows_all.then_some(RedundantRule::Covered(number))
            },
        )
    }

    /// Withdraws operations from the rules of a device: from all of them, from the one with this
    /// number, or within a selection. A rule without operations is removed.
    ///
    /// # Errors
    /// [`RuleTooWide`] when one pattern of a rule covers more than the selection: then nothing is
    /// withdrawn.
    pub fn deny(
        &mut self,
        device: &DeviceId,
        operations: &BTreeSet<Operation>,
        selection: Option<&Selection>,
        number: Option<u64>,
    ) -> Result<Withdrawn, RuleTooWide> {
        let (mut back, mut left) = (Withdrawn::default(), Vec::new());
        for (at, rule) in &self.rules {
            let concerned = rule.device == *device
                && number.is_none_or(|number| number == *at)
                && !rule.operations.is_disjoint(operations)
                && selection.is_none_or(|selection| selection.overlaps(&rule.selection));
            if !concerned {
                left.push((*at, rule.clone()));
                continue;
            }
            let others = &rule.operations - operations;
            let elsewhere = match selection {
                None => None,
                Some(selection) => rule.selection.without(selection).map_err(|_| RuleTooWide(*at))?,
            };
            let rest = elsewhere.map(|selection| Rule {
                operations: &rule.operations & operations,
                selection,
                ..rule.clone()
            });
            let kept = (!others.is_empty()).then(|| Rule { operations: others, ..rule.clone() });
            if rest.is_none() && kept.is_none() {
                back.removed.push(*at);
            } else {
                back.narrowed.push(*at);
            }
            left.extend(kept.into_iter().chain(rest).map(|rule| (*at, rule)));
        }
        self.rules = left;
        Ok(back)
    }

    /// Records the time, if it is later than any before. Returns whether this makes a rule expire,
    /// so that the policy should be stored now.
    pub fn observe_time(&mut self, now: Timestamp) -> bool {
        let now = self.at(now);
        let before = core::mem::replace(&mut self.latest, now);
        let expired = |until: Timestamp| before < until && until <= self.latest;
        self.rules.iter().any(|(_, rule)| rule.expires.is_some_and(expired))
    }

    /// Returns whether a rule has expired.
    pub fn has_expired(&self, rule: &Rule, now: Timestamp) -> bool {
        rule.expires.is_some_and(|expires| expires <= self.at(now))
    }

    /// Returns the time, or the latest recorded one if the clock was set back since.
    fn at(&self, now: Timestamp) -> Timestamp {
        now.max(self.latest)
    }

    /// Removes all rules of a device; returns their number.
    pub fn revoke(&mut self, device: &DeviceId) -> usize {
        let before = self.rules.len();
        self.rules.retain(|(_, rule)| rule.device != *device);
        before - self.rules.len()
    }

    /// Decides on a request at the time `now` (milliseconds since 1970).
    ///
    /// Rules that need no approval take precedence: if one of them overlaps the selection, those
    /// that ask add nothing to the grant.
    #[must_use]
    pub fn decide(
        &self,
        peer: &DeviceId,
        operation: Operation,
        selection: &Selection,
        now: Timestamp,
    ) -> Decision {
        let now = self.at(now);
        let reach = |ask: bool| {
            self.rules()
                .filter(|rule| rule.holds_for(peer, operation, now) && rule.ask == ask)
                .filter(|rule| rule.selection.overlaps(selection))
                .map(|rule| rule.selection.touching(selection))
                // A selection over the limits could not be sent: the newest rules over them are
                // left out.
                .reduce(|all, one| {
                    Some(all.clone().or(&one)).filter(Selection::is_within_limits).unwrap_or(all)
                })
        };
        let grant = |rules: Selection| Grant {
            peer: *peer,
            operation,
            // The rules come first: names outside them are never matched against the peer's
            // patterns.
            scope: Scope::of(rules).within(selection.clone()),
            approved: false,
        };
        match (reach(false), reach(true)) {
            (Some(rules), _) => Decision::Allowed(grant(rules)),
            (None, Some(rules)) => Decision::Ask(Pending(grant(rules))),
            (None, None) => Decision::Denied,
        }
    }

    /// Returns whether an earlier grant still covers this location. Export and import check again,
    /// since rules may have been revoked or have expired in between.
    #[must_use]
    pub fn still_allows(&self, grant: &Grant, location: &Location, now: Timestamp) -> bool {
        let (text, now) = (alloc::format!("{location}"), self.at(now));
        let by_rule = self
            .rules()
            .filter(|rule| rule.holds_for(&grant.peer, grant.operation, now) && (grant.approved || !rule.ask))
            .any(|rule| rule.selection.covers_text(&text));
        by_rule && grant.scope.covers_text(&text)
    }
}

impl Rule {
    fn holds_for(&self, peer: &DeviceId, operation: Operation, now: Timestamp) -> bool {
        self.device == *peer
            && self.operations.contains(&operation)
            && self.expires.is_none_or(|expires| now < expires)
    }
}

impl Grant {
    /// Returns the device that the grant is for.
    pub fn peer(&self) -> DeviceId {
        self.peer
    }

    /// Returns the allowed operation.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Returns the allowed scope.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Pending {
    /// Returns the grant that awaits approval.
    pub fn grant(&self) -> &Grant {
        &self.0
    }

    /// Approves the grant, on the user's behalf.
    #[must_use]
    pub fn approve(self) -> Grant {
        Grant { approved: true, ..self.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::ms;
    use alloc::vec;

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
            let decision = Policy::default().decide(&PEER, operation, &Selection::everything(), ms(0));
            assert_eq!(decision, Decision::Denied);
        }
    }

    #[test]
    fn a_rule_holds_for_its_device_operation_selection_and_time() {
        let mut policy = Policy::default();
        policy.grant(Rule { expires: Some(ms(100)), ..rule(Operation::Pull, "wallet/**") });
        let decide = |peer: &DeviceId, operation, selection: &str, now| {
            policy.decide(peer, operation, &select(selection), now) != Decision::Denied
        };
        assert!(decide(&PEER, Operation::Pull, "wallet/tokens", ms(99)));
        assert!(decide(&PEER, Operation::Pull, "**", ms(99)), "the part within the rule is granted");
        assert!(!decide(&PEER, Operation::Pull, "wallet/tokens", ms(100)));
        assert!(!decide(&PEER, Operation::Push, "wallet/tokens", ms(0)));
        assert!(!decide(&PEER, Operation::Pull, "work", ms(0)));
        assert!(!decide(&DeviceId::from_bytes([2; 32]), Operation::Pull, "wallet", ms(0)));
    }

    #[test]
    fn a_grant_covers_the_request_within_the_rule_and_falls_with_it() {
        let mut policy = Policy::default();
        policy.grant(rule(Operation::Pull, "wallet/**"));
        let Decision::Allowed(grant) = policy.decide(&PEER, Operation::Pull, &select("*/tokens"), ms(0))
        else {
            panic!("not allowed");
        };
        let at = |text: &str| text.parse::<Location>().unwrap();
        assert!(policy.still_allows(&grant, &at("wallet/tokens/a"), ms(0)));
        assert!(!policy.still_allows(&grant, &at("wallet/keys/a"), ms(0)));
        assert!(!policy.still_allows(&grant, &at("work/tokens/a"), ms(0)));
        assert_eq!(policy.revoke(&PEER), 1);
        assert!(!policy.still_allows(&grant, &at("wallet/tokens/a"), ms(0)));
    }

    #[test]
    fn a_rule_that_asks_does_not_stand_in_for_one_that_expired() {
        let mut policy = Policy::default();
        policy.grant(Rule { expires: Some(ms(100)), ..rule(Operation::Pull, "wallet") });
        policy.grant(Rule { ask: true, ..rule(Operation::Pull, "wallet") });
        let (wallet, at) = (select("wallet"), "wallet/tokens/a".parse::<Location>().unwrap());
        let Decision::Allowed(unasked) = policy.decide(&PEER, Operation::Pull, &wallet, ms(99)) else {
            panic!("not allowed");
        };
        assert!(policy.still_allows(&unasked, &at, ms(99)));
        assert!(!policy.still_allows(&unasked, &at, ms(100)), "nobody was asked");
        let Decision::Ask(pending) = policy.decide(&PEER, Operation::Pull, &wallet, ms(100)) else {
            panic!("not asked");
        };
        assert!(policy.still_allows(&pending.approve(), &at, ms(100)));
    }

    #[test]
    fn a_clock_that_is_set_back_revives_no_rule() {
        let mut policy = Policy::default();
        policy.grant(Rule { expires: Some(ms(100)), ..rule(Operation::Pull, "wallet") });
        let allows = |policy: &Policy, now| {
            policy.decide(&PEER, Operation::Pull, &select("wallet"), now) != Decision::Denied
        };
        assert!(!policy.observe_time(ms(99)) && allows(&policy, ms(99)) && !allows(&policy, ms(100)));
        assert!(policy.observe_time(ms(100)), "it has to be kept that it has expired");
        assert!(!policy.observe_time(ms(101)) && !policy.observe_time(ms(5)));
        assert!(!allows(&policy, ms(99)) && !allows(&policy, ms(0)));
        let later = Rule { expires: Some(ms(90)), ..rule(Operation::Push, "wallet") };
        policy.grant(later.clone());
        assert!(policy.has_expired(&later, ms(80)), "made in a past that has been");
    }

    #[test]
    fn numbers_stay_and_are_given_once() {
        let mut policy = Policy::default();
        let numbers = |policy: &Policy| policy.rules_of(&PEER).map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(policy.grant(rule(Operation::Pull, "a")), 1);
        assert_eq!(policy.grant(rule(Operation::Push, "a")), 2);
        assert_eq!(policy.grant(rule(Operation::Pull, "a")), 1, "the same rule");
        let all = Operation::ALL.into();
        assert_eq!(policy.deny(&PEER, &all, None, Some(1)).unwrap().removed, [1]);
        assert_eq!(policy.grant(rule(Operation::Pull, "a")), 3);
        assert_eq!(numbers(&policy), [2, 3]);
    }

    #[test]
    fn what_an_older_rule_allows_anyway_is_void() {
        let mut policy = Policy::default();
        policy.grant(Rule { expires: Some(ms(100)), ..rule(Operation::Pull, "wallet") });
        let of = |selection: &str, expires, ask| Rule { expires, ask, ..rule(Operation::Pull, selection) };
        let void = |rule: &Rule| policy.redundant_beside(rule, ms(50));
        assert_eq!(void(&of("wallet/web", Some(ms(60)), false)), Some(RedundantRule::Covered(1)));
        assert_eq!(void(&of("wallet/web", Some(ms(60)), true)), Some(RedundantRule::Unasked(1)));
        assert_eq!(void(&of("wallet/web", Some(ms(100)), false)), Some(RedundantRule::Covered(1)), "as long");
        assert_eq!(void(&of("wallet/web", Some(ms(101)), false)), None, "for longer");
        assert_eq!(void(&of("wallet/web", None, false)), None, "for ever");
        assert_eq!(void(&of("**", Some(ms(60)), false)), None);
        assert_eq!(
            policy.redundant_beside(&of("wallet/web", Some(ms(60)), false), ms(100)),
            None,
            "that one has expired"
        );
        let both = Rule {
            operations: [Operation::Pull, Operation::Push].into(),
            ..of("wallet/web", Some(ms(60)), false)
        };
        assert_eq!(void(&both), None, "one of the two is new");
        assert_eq!(
            void(&Rule { ask: true, ..both }),
            Some(RedundantRule::Unasked(1)),
            "it would not be asked"
        );
        let mut asking = Policy::default();
        asking.grant(of("wallet", None, true));
        assert_eq!(asking.redundant_beside(&of("wallet", None, false), ms(0)), None, "from now on unasked");
        assert_eq!(
            asking.redundant_beside(&of("wallet/web", None, true), ms(0)),
            Some(RedundantRule::Covered(1))
        );
    }

    #[test]
    fn rules_are_taken_back_whole_by_operation_by_place_or_not_at_all() {
        let mut policy = Policy::default();
        let operations: BTreeSet<_> = [Operation::Pull, Operation::Push].into();
        let selection = Selection::parse(&["wallet/web", "work"]).unwrap();
        policy.grant(Rule { operations: operations.clone(), selection, ..rule(Operation::Pull, "x") });
        let pull: BTreeSet<_> = [Operation::Pull].into();
        let allows = |policy: &Policy, operation, selection: &str| {
            policy.decide(&PEER, operation, &select(selection), ms(0)) != Decision::Denied
        };
        let before = policy.clone();
        assert_eq!(policy.deny(&PEER, &pull, Some(&select("work/x")), None), Err(RuleTooWide(1)));
        assert_eq!(policy, before);
        let back = policy.deny(&PEER, &pull, Some(&select("wallet")), None).unwrap();
        assert_eq!((back.removed.len(), back.narrowed), (0, vec![1]));
        assert!(!allows(&policy, Operation::Pull, "wallet") && allows(&policy, Operation::Push, "wallet"));
        assert!(allows(&policy, Operation::Pull, "work") && allows(&policy, Operation::Push, "work"));
        policy.deny(&PEER, &operations, None, None).unwrap();
        assert_eq!(policy.rules().count(), 0);
        assert_eq!(policy.deny(&PEER, &operations, None, None), Ok(Withdrawn::default()));
        policy.grant(Rule { device: DeviceId::from_bytes([2; 32]), ..rule(Operation::Pull, "a") });
        assert_eq!(policy.deny(&PEER, &operations, None, None), Ok(Withdrawn::default()), "another's");
    }

    #[test]
    fn operations_have_names() {
        for (operation, name) in
            Operation::ALL.into_iter().zip(["import", "browse", "pull", "push", "delete"])
        {
            assert_eq!((operation.name(), name.parse()), (name, Ok(operation)));
            assert_eq!(alloc::format!("{operation}"), name);
        }
        for other in ["", "Pull", "pull "] {
            assert_eq!(other.parse::<Operation>(), Err(ParseOperationError));
        }
    }

    #[test]
    fn a_rule_is_put_back_in_its_place() {
        let mut policy = Policy::default();
        let rules = ["a", "b", "c"].map(|name| rule(Operation::Pull, name));
        rules.iter().for_each(|rule| _ = policy.grant(rule.clone()));
        let whole = policy.clone();
        for (number, rule) in (1..).zip(&rules) {
            policy.deny(&PEER, &Operation::ALL.into(), None, Some(number)).unwrap();
            assert_eq!(policy.rules().count(), 2);
            policy.put_back(number, rule.clone());
            assert_eq!(policy, whole);
        }
        policy.put_back(7, rule(Operation::Pull, "d"));
        assert_eq!(policy.grant(rule(Operation::Pull, "e")), 8, "no number is given twice");
        assert_eq!(policy.rules_of(&PEER).map(|(number, _)| number).collect::<Vec<_>>(), [1, 2, 3, 7, 8]);
        assert_eq!(policy.rules_of(&DeviceId::from_bytes([2; 32])).count(), 0);
    }

    #[test]
    fn what_is_left_of_a_rule_keeps_its_number_and_the_rest_of_it() {
        let all: BTreeSet<_> = [Operation::Pull, Operation::Push].into();
        let whole = Rule {
            operations: all.clone(),
            selection: Selection::parse(&["a", "b"]).unwrap(),
            expires: Some(ms(100)),
            ask: true,
            ..rule(Operation::Pull, "x")
        };
        let denied = |operations: &[Operation], selection: Option<&str>, number| {
            let mut policy = Policy::default();
            policy.grant(whole.clone());
            policy.grant(rule(Operation::Browse, "a"));
            let operations = operations.iter().copied().collect();
            let back = policy.deny(&PEER, &operations, selection.map(select).as_ref(), number).unwrap();
            (back, policy.rules)
        };
        let of = |operations: &[Operation], selection: &str| Rule {
            operations: operations.iter().copied().collect(),
            selection: Selection::parse(&selection.split(' ').collect::<Vec<_>>()).unwrap(),
            ..whole.clone()
        };
        let other = (2, rule(Operation::Browse, "a"));
        let narrowed = Withdrawn { removed: vec![], narrowed: vec![1] };
        let removed = Withdrawn { removed: vec![1], narrowed: vec![] };
        let (pull, push) = (Operation::Pull, Operation::Push);
        for (operations, selection, number, back, left) in [
            (&[pull][..], None, None, &narrowed, vec![(1, of(&[push], "a b"))]),
            (&[pull], Some("a"), None, &narrowed, vec![(1, of(&[push], "a b")), (1, of(&[pull], "b"))]),
            (&[pull, push], Some("a"), Some(1), &narrowed, vec![(1, of(&[pull, push], "b"))]),
            (&[pull, push], Some("**"), None, &removed, vec![]),
            (&[pull, push], None, Some(1), &removed, vec![]),
            (&[pull, push], None, Some(2), &Withdrawn::default(), vec![(1, whole.clone())]),
            (&[Operation::Delete], None, None, &Withdrawn::default(), vec![(1, whole.clone())]),
            (&[pull], Some("c"), None, &Withdrawn::default(), vec![(1, whole.clone())]),
        ] {
            let left: Vec<_> = left.into_iter().chain([other.clone()]).collect();
            assert_eq!(
                denied(operations, selection, number),
                (back.clone(), left),
                "{operations:?} {selection:?}"
            );
        }
    }

    #[test]
    fn a_rule_has_expired_from_its_time_on_and_one_of_several_is_enough() {
        let mut policy = Policy::default();
        let of = |expires, name: &str| Rule { expires, ..rule(Operation::Pull, name) };
        for (expires, name) in [(None, "a"), (Some(ms(100)), "b"), (Some(ms(200)), "c")] {
            policy.grant(of(expires, name));
        }
        for (now, expected) in
            [(99, [false, false]), (100, [true, false]), (199, [true, false]), (200, [true, true])]
        {
            let expired = [of(Some(ms(100)), "b"), of(Some(ms(200)), "c")]
                .map(|rule| policy.has_expired(&rule, ms(now)));
            assert_eq!((expired, policy.has_expired(&of(None, "a"), ms(now))), (expected, false), "{now}");
        }
        let saw: Vec<bool> =
            [50, 99, 100, 150, 200, 201, 200].into_iter().map(|now| policy.observe_time(ms(now))).collect();
        assert_eq!(saw, [false, false, true, false, true, false, false]);
    }

    #[test]
    fn a_grant_says_who_may_do_what_where() {
        let mut policy = Policy::default();
        policy.grant(Rule { ask: true, ..rule(Operation::Push, "a") });
        policy.grant(Rule { ask: true, ..rule(Operation::Push, "b") });
        let Decision::Ask(pending) = policy.decide(&PEER, Operation::Push, &select("**"), ms(0)) else {
            panic!("not asked");
        };
        let text = |grant: &Grant| alloc::format!("{}", grant.scope());
        assert_eq!(text(pending.grant()), "a, b within **");
        let grant = pending.clone().approve();
        assert_eq!((grant.peer(), grant.operation()), (PEER, Operation::Push));
        let at = "a/v/r".parse::<Location>().unwrap();
        assert!(policy.still_allows(&grant, &at, ms(0)) && !policy.still_allows(pending.grant(), &at, ms(0)));
        // A rule that needs no approval takes precedence, alone.
        policy.grant(rule(Operation::Push, "c"));
        let Decision::Allowed(unasked) = policy.decide(&PEER, Operation::Push, &select("**"), ms(0)) else {
            panic!("not allowed");
        };
        assert_eq!(text(&unasked), "c within **");
        assert!(matches!(policy.decide(&PEER, Operation::Push, &select("a"), ms(0)), Decision::Ask(_)));
    }

    #[test]
    fn rules_that_are_too_much_together_are_told_as_far_as_they_fit() {
        let mut policy = Policy::default();
        for letter in ["x", "y", "z"] {
            policy.grant(rule(Operation::Pull, &alloc::format!("*{}{letter}/v/r", "?".repeat(200))));
        }
        let Decision::Allowed(grant) = policy.decide(&PEER, Operation::Pull, &select("**"), ms(0)) else {
            panic!("not allowed");
        };
        assert_eq!(grant.scope().first().patterns().len(), 2, "the newest is left out");
        assert!(grant.scope().covers(&Location::new_unchecked(
            &alloc::format!("{}y", "a".repeat(200)),
            "v",
            "r"
        )));
    }

    #[test]
    fn rules_are_asked_before_the_request_and_only_those_that_touch_it() {
        let mut policy = Policy::default();
        policy.grant(Rule {
            selection: Selection::parse(&["shared", "other"]).unwrap(),
            ..rule(Operation::Pull, "x")
        });
        let Decision::Allowed(grant) = policy.decide(&PEER, Operation::Pull, &select("shared/web/*"), ms(0))
        else {
            panic!("not allowed");
        };
        assert_eq!(alloc::format!("{}", grant.scope()), "shared within shared/web/*");
        let steps = |request: &str, name: &str| {
            let decision = policy.decide(
                &PEER,
                Operation::Pull,
                &Selection::parse(&["shared", request]).unwrap(),
                ms(0),
            );
            let Decision::Allowed(grant) = decision else { panic!("not allowed") };
            let mut steps = 0;
            assert!(!grant.scope().covers_in(name, &mut steps));
            steps
        };
        for request in ["wallet/web/*a*", "wallut/web/*a*", "zebra/*/*", "wallet/web/bank"] {
            assert_eq!(steps(request, "wallet/web/bank"), 1, "{request}");
        }
    }

    #[test]
    fn a_rule_that_asks_needs_a_person() {
        let mut policy = Policy::default();
        policy.grant(Rule { ask: true, ..rule(Operation::Browse, "wallet") });
        let decision = policy.decide(&PEER, Operation::Browse, &select("wallet"), ms(0));
        assert!(matches!(decision, Decision::Ask(_)));
    }
}
