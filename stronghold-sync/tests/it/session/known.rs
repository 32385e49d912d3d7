//! Tests the revisions that a session reports as held by the peer: exactly those that both held
//! before, and those given.

use std::collections::BTreeSet;

use stronghold_sync::{
    Operation, RevisionId, Shape,
    message::Message,
    session::{SessionRequest, TaskResult},
};

use super::{fetch, import, two_devices, world::*};

fn revisions(shapes: &[Shape]) -> BTreeSet<RevisionId> {
    shapes.iter().map(|shape| shape.revision).collect()
}

/// Returns the heads in a selection.
fn held(node: &Node, selection: &str) -> BTreeSet<RevisionId> {
    revisions(&node.heads(selection))
}

/// Returns the revisions that both held, and those of this node that the peer received.
fn expected(
    node: &Node,
    peer_before: &Node,
    peer: &Node,
    node_before: &Node,
    common_in: &str,
) -> BTreeSet<RevisionId> {
    assert_eq!(node.id, node_before.id);
    let common = &held(node_before, common_in) & &held(peer_before, common_in);
    let given = &held(peer, "**") - &held(peer_before, "**");
    &common | &given
}

#[test]
fn a_sync_tells_what_both_held_and_what_was_given() {
    let (mut a, mut b) = two_devices();
    let (a_before, b_before) = (a.clone(), b.clone());
    run(sync_both("**", &a), &mut a, &mut b);
    assert_eq!(a.known, expected(&a, &b_before, &b, &a_before, "**"));
    assert_eq!(b.known, expected(&b, &a_before, &a, &b_before, "**"));
    assert_eq!((a.known.len(), b.known.len()), (6, 6), "one was common, five were given each way");

    run(sync_both("**", &a), &mut a, &mut b);
    let all = held(&a, "**");
    assert_eq!((&a.known, &b.known), (&all, &all), "of equal sets each knows that the other has all");
}

#[test]
fn each_confirmed_batch_is_told_of() {
    let (mut a, mut b) =
        (Node::new(A).allow(B, &Operation::ALL, "**"), Node::new(B).allow(A, &Operation::ALL, "**"));
    for n in 0..2_500 {
        a.put(&format!("a/a/{n}"));
        b.put(&format!("b/b/{n}"));
    }
    run(sync_both("**", &a), &mut a, &mut b);
    let expected = [(1_000, 2_500), (2_000, 2_500), (2_500, 2_500)];
    assert_eq!((a.given.as_slice(), b.given.as_slice()), (&expected[..], &expected[..]));
}

#[test]
fn one_way_and_a_part_tell_of_that_way_and_part_only() {
    let (mut a, mut b) = two_devices();
    let (a_before, b_before) = (a.clone(), b.clone());
    run(sync("wallet/web", true, None), &mut a, &mut b);
    assert_eq!(a.known, expected(&a, &b_before, &b, &a_before, "wallet/web"));
    assert_eq!(b.known, expected(&b, &a_before, &a, &b_before, "wallet/web"));
    assert!(b.known.is_disjoint(&held(&b, "wallet/keys")));

    let (mut a, mut b) = two_devices();
    let (a_before, b_before) = (a.clone(), b.clone());
    run(sync("**", false, Some(may_give("**", &a))), &mut a, &mut b);
    assert_eq!(a.known, &held(&b, "**") - &held(&b_before, "**"), "b may not be asked what it holds");
    assert_eq!(b.known, expected(&b, &a_before, &a, &b_before, "**"), "a offered what both hold");
}

#[test]
fn what_a_rule_hides_is_not_told_of() {
    let (mut a, mut b) = two_devices();
    b.policy = Node::new(B).allow(A, &[Operation::Pull], "wallet/keys").policy;
    run(sync("**", true, None), &mut a, &mut b);
    assert_eq!(b.known, held(&b, "wallet/keys"));
}

#[test]
fn an_import_and_a_fetch_tell_what_is_given() {
    let (_, mut b) = two_devices();
    let mut a = Node::new(A);
    run(import("wallet/web"), &mut a, &mut b);
    assert_eq!((&b.known, a.known.len()), (&held(&b, "wallet/web"), 0));
    let mut a = Node::new(A);
    run(fetch("wallet/web/same"), &mut a, &mut b);
    assert_eq!((&b.known, a.known.len()), (&held(&b, "wallet/web/same"), 0));
}

#[test]
fn nothing_is_told_of_what_is_refused_or_only_tried() {
    for ask in [
        import("**"),
        fetch("**"),
        sync("**", true, None),
        SessionRequest::Browse { selection: select("**") },
    ] {
        let (mut a, mut b) = two_devices();
        b.policy = Node::new(B).policy;
        run(ask, &mut a, &mut b);
        assert!(a.known.is_empty() && b.known.is_empty());
    }
    let (mut a, mut b) = two_devices();
    let common = &held(&a, "**") & &held(&b, "**");
    a.on_plan = TaskResult::Stop;
    run(sync_both("**", &a), &mut a, &mut b);
    assert_eq!((a.known.len(), b.known), (0, common), "a dry run does nothing, and gives nothing");
}

#[test]
fn a_difference_that_did_not_add_up_tells_nothing_wrong() {
    let (mut a, mut b) = two_devices();
    let (a_before, b_before) = (a.clone(), b.clone());
    let mut lost = false;
    let asking = run_tampered(sync_both("**", &a), &mut a, &mut b, |_, _, message| {
        let lose = matches!(message, Message::Needed(_)) && !std::mem::replace(&mut lost, true);
        if lose { Vec::new() } else { vec![message] }
    });
    assert!(lost && matches!(asking.0, Some(Ok(_))), "{asking:?}");
    assert_eq!(a.known, expected(&a, &b_before, &b, &a_before, "**"));
    assert_eq!(b.known, expected(&b, &a_before, &a, &b_before, "**"));
}
