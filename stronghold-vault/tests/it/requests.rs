//! The cost of a peer's request: bounded, and independent of records outside of its rules.

use crate::common::{ms, new, put};
use stronghold_sync::{Decision, DeviceId, Operation, Rule, Scope, Selection};

/// A request costs nothing, and so reveals nothing, if the peer's grant covers nothing.
#[test]
fn a_request_is_not_held_against_names_outside_of_the_rules() {
    let mut here = new();
    for n in 0..500 {
        put(&mut here, &format!("wallet/web/{n}"), "value", 1);
    }
    let device = DeviceId::from_bytes([7; 32]);
    let rule = |selection: &str| Rule {
        device,
        operations: [Operation::Pull].into(),
        selection: selection.parse().unwrap(),
        expires: None,
        ask: false,
    };
    here.policy_mut().grant(rule("shared"));
    here.policy_mut().grant(rule("wallet/*/few*"));
    put(&mut here, "wallet/web/few", "value", 1);
    let steps = |requested: &str| {
        let requested = Selection::parse(&["shared", "wallet/web/few", requested]).unwrap();
        let Decision::Allowed(grant) = here.policy().decide(&device, Operation::Pull, &requested, ms(0))
        else {
            panic!("not allowed");
        };
        let named = here.named_shapes(grant.scope().first());
        assert_eq!(named.len(), 1, "only what the rules cover is handed on");
        let (rest, mut steps) = (grant.scope().rest().unwrap(), 0);
        named.iter().for_each(|(name, _)| {
            rest.covers_in(name, &mut steps);
        });
        steps
    };
    let asked = ["wallet/web/*1*", "wallut/web/*1*", "zebras/web/*1*", "wallet/web/1"];
    let all: Vec<u64> = asked.iter().map(|pattern| steps(pattern)).collect();
    assert!(all.iter().all(|steps| *steps == all[0]) && all[0] <= 2, "{all:?}");
}

/// The costliest request over 100,000 records that a rule covers takes a bounded number of steps
/// for each.
#[test]
fn the_work_of_a_request_is_bounded() {
    let costliest = format!("*{}*/v/r", "?".repeat(505));
    assert!(costliest.parse::<Selection>().is_ok());
    assert!(format!("*{}*/v/r", "?".repeat(510)).parse::<Selection>().is_err());
    let names: Vec<String> = (0..1000).map(|n| format!("client-{n}/vault/record-of-some-length")).collect();
    let selection: Selection = format!("*{}*", "*a".repeat(250)).parse().unwrap();
    let (scope, mut steps) = (Scope::of(selection), 0);
    names.iter().for_each(|name| {
        scope.covers_in(name, &mut steps);
    });
    assert!(steps <= 1000 * 512 * 40, "{steps} steps for a thousand names");
}

#[test]
fn who_may_browse_does_not_learn_how_long_a_secret_is() {
    let mut here = new();
    put(&mut here, "wallet/web/nine", "123456789", 1);
    put(&mut here, "wallet/web/ten", "1234567890", 1);
    put(&mut here, "wallet/web/none", "", 1);
    let (device, everything) = (DeviceId::from_bytes([7; 32]), Selection::everything());
    let (operations, selection) = ([Operation::Browse].into(), everything.clone());
    here.policy_mut().grant(Rule { device, operations, selection, expires: None, ask: false });
    let Decision::Allowed(grant) = here.policy().decide(&device, Operation::Browse, &everything, ms(1))
    else {
        panic!("not allowed");
    };
    let listed = here.list_for_peer(&grant, ms(1)).unwrap();
    let sizes: Vec<u64> = listed.iter().map(|entry| entry.size).collect();
    assert_eq!(sizes, [10, 0, 10], "{listed:?}");
}
