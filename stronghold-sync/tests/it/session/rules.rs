//! Tests that rules apply whichever side initiates: the entries that a plain sync takes, those that
//! it leaves out and reports, and those that only an explicit take includes.

use std::collections::BTreeSet;

use stronghold_sync::{
    Change, LocationId, Losses, Operation, Plan, Shape, SkipReason, Skipped,
    message::Message,
    session::{Consent, PeerMisbehaved, Push, SessionError, Take, TaskResult},
};

use super::{ALL, world::*};

/// Returns an owner that lets the guest only pull, and a guest that lets the owner do everything.
fn owner_and_guest() -> (Node, Node) {
    let mut owner = Node::new(A).allow(B, &[Operation::Pull], "**");
    let mut guest = Node::new(B).allow(A, &ALL, "**");
    (0..30).for_each(|n| drop(owner.put(&format!("wallet/web/{n}"))));
    guest.copy_from(&owner);
    guest.put("wallet/web/0");
    (1..11).for_each(|n| drop(guest.remove(&format!("wallet/web/{n}"))));
    guest.put("wallet/web/new");
    (owner, guest)
}

fn left(plan: &Plan, why: SkipReason) -> BTreeSet<LocationId> {
    plan.not_taken.iter().filter(|left| left.why == why).map(|left| left.location).collect()
}

fn ids(names: &[&str]) -> BTreeSet<LocationId> {
    names.iter().map(|name| at(name).id()).collect()
}

/// The guest must not gain anything by being the responder.
#[test]
fn a_plain_sync_takes_nothing_that_no_rule_here_lets_the_peer_write_or_delete() {
    let (mut owner, mut guest) = owner_and_guest();
    let before = owner.heads("**");
    let (asking, asked) = run(sync_by_rules("**", &owner), &mut owner, &mut guest);
    assert_eq!((asking.unwrap().unwrap().received, asked.unwrap().unwrap().sent), (0, 0));
    assert_eq!(owner.heads("**"), before);
    let plan = owner.plan.take().unwrap();
    assert_eq!(left(&plan, SkipReason::MayNotPush), ids(&["wallet/web/0", "wallet/web/new"]));
    assert_eq!(left(&plan, SkipReason::MayNotDelete).len(), 10);
    assert_eq!(
        plan.names.into_values().collect::<Vec<_>>(),
        [at("wallet/web/new")],
        "named by the guest, not yet held"
    );
    let told = guest.left.take().unwrap();
    assert_eq!((told.not_given, told.ungiven.len(), told.not_taken), (12, 12, 0));
    assert!(owner.verdicts().is_empty());
}

#[test]
fn each_rule_lets_its_kind_in_where_it_reaches_and_nothing_else() {
    for (operation, taken) in [(Operation::Push, 2), (Operation::Delete, 10)] {
        let (mut owner, mut guest) = owner_and_guest();
        owner.grant(B, &[operation], "**", false);
        guest.put("work/x/y");
        let (asking, _) = run(sync_by_rules("wallet", &owner), &mut owner, &mut guest);
        let done = asking.unwrap().unwrap();
        assert_eq!(done.received, taken);
        assert_eq!(done.deleted, if operation == Operation::Delete { 10 } else { 0 });
        assert!(owner.heads("work").is_empty());
    }
    let (mut owner, mut guest) = owner_and_guest();
    owner.grant(B, &[Operation::Push], "*/shared", false);
    guest.put("wallet/shared/a");
    guest.put("wallet/sharee/b");
    run(sync_by_rules("**", &owner), &mut owner, &mut guest).0.unwrap().unwrap();
    assert_eq!(
        owner.heads("**/a").len() + owner.heads("wallet/sharee").len() + owner.heads("**/new").len(),
        1
    );
}

#[test]
fn an_explicit_take_takes_all_and_the_log_has_it() {
    let (mut owner, mut guest) = owner_and_guest();
    owner.on_plan = TaskResult::Proceed { deletions_confirmed: true };
    let ask = sync_by("**", Some(Take::Everything), Push::No, true);
    let done = run(ask, &mut owner, &mut guest).0.unwrap().unwrap();
    assert_eq!((done.received, done.deleted), (12, 10));
    let logged: Vec<_> = owner
        .verdicts()
        .into_iter()
        .map(|verdict| (verdict.operation, verdict.ours, verdict.volume.entries))
        .collect();
    assert_eq!(logged, [(Operation::Push, true, 2), (Operation::Delete, true, 10)]);
    let plan = owner.plan.take().unwrap();
    assert!(plan.not_taken.is_empty());
    let of = |wanted: Change| plan.changes_here.iter().filter(|(_, change)| *change == wanted).count();
    assert_eq!((of(Change::New), of(Change::Changed), of(Change::Deleted)), (1, 1, 10));
}

#[test]
fn what_a_person_has_seen_is_taken_and_what_came_since_is_not() {
    let (mut owner, mut guest) = owner_and_guest();
    owner.on_plan = TaskResult::Stop;
    run(sync_by("**", Some(Take::Everything), Push::No, true), &mut owner, &mut guest).0.unwrap().unwrap();
    let also: BTreeSet<_> = owner.plan.take().unwrap().take.iter().map(Shape::entry).collect();
    guest.put("wallet/web/later");
    guest.remove("wallet/web/20");
    owner.on_plan = TaskResult::Proceed { deletions_confirmed: true };
    let take = Take::Granted(Consent { also, ..Consent::default() });
    let done = run(sync_by("**", Some(take), Push::No, false), &mut owner, &mut guest).0.unwrap().unwrap();
    assert_eq!((done.received, done.deleted), (12, 10));
    let plan = owner.plan.take().unwrap();
    assert_eq!((plan.not_taken.len(), owner.heads("**/later").len()), (2, 0));
}

#[test]
fn what_the_peer_lets_nobody_write_waits_and_is_told_of_on_both_sides() {
    let mut bag = Node::new(A).allow(B, &[Operation::Pull], "**");
    let mut desk = Node::new(B).allow(A, &[Operation::Browse, Operation::Pull], "**");
    bag.put("me/web/same");
    desk.copy_from(&bag);
    bag.put("me/web/only-on-bag");
    bag.remove("me/web/same");
    bag.remove("me/web/never-there");
    let waits = |bag: &Node| bag.plan.as_ref().unwrap().not_given.clone();
    run(sync_by_rules("**", &bag), &mut bag, &mut desk).0.unwrap().unwrap();
    let mut expected = vec![
        Skipped { location: at("me/web/only-on-bag").id(), why: SkipReason::MayNotPush },
        Skipped { location: at("me/web/same").id(), why: SkipReason::MayNotDelete },
    ];
    expected.sort();
    assert_eq!(waits(&bag), expected);
    let told = desk.left.take().unwrap();
    assert_eq!((told.not_taken, told.not_given), (2, 0));
    assert_eq!(
        told.untaken.into_iter().collect::<BTreeSet<_>>(),
        [at("me/web/only-on-bag"), at("me/web/same")].into()
    );

    // If no rule here lets the desk have the record either, only this side reports that.
    let mut alone = Node { policy: stronghold_sync::Policy::default(), ..bag.clone() };
    run(sync_by_rules("**", &alone), &mut alone, &mut desk).0.unwrap().unwrap();
    assert_eq!(waits(&alone).iter().map(|left| left.why).collect::<Vec<_>>(), [SkipReason::MayNotPull; 2]);
    assert_eq!(desk.left, None);
    // Records kept back by a narrower rule here are this side's choice, and are not reported.
    let mut narrow = Node { policy: stronghold_sync::Policy::default(), ..bag.clone() };
    narrow.grant(B, &[Operation::Pull], "other", false);
    narrow.put("other/v/r");
    run(sync_by_rules("**", &narrow), &mut narrow, &mut desk).0.unwrap().unwrap();
    assert_eq!(waits(&narrow), [Skipped { location: at("other/v/r").id(), why: SkipReason::MayNotPush }]);
}

/// Where the peer permits one of the two kinds everywhere and the other in a part, the other one
/// waits outside of that part.
#[test]
fn what_the_peer_permits_of_one_kind_alone_does_not_hide_what_waits_of_the_other() {
    for (everywhere, in_part, why, waits) in [
        (Operation::Delete, Operation::Push, SkipReason::MayNotPush, "me/web/new"),
        (Operation::Push, Operation::Delete, SkipReason::MayNotDelete, "me/web/same"),
    ] {
        let mut bag = Node::new(A).allow(B, &[Operation::Pull], "**");
        let mut desk = Node::new(B).allow(A, &[Operation::Browse, Operation::Pull, everywhere], "**");
        desk.grant(A, &[in_part], "me/shared", false);
        bag.put("me/web/same");
        desk.copy_from(&bag);
        bag.put("me/web/new");
        bag.remove("me/web/same");
        let done = run(sync_by_rules("**", &bag), &mut bag, &mut desk).0.unwrap().unwrap();
        assert_eq!(done.sent, 1);
        let not_given = bag.plan.take().unwrap().not_given;
        assert_eq!(not_given, [Skipped { location: at(waits).id(), why }]);
    }
}

#[test]
fn nothing_is_told_where_nothing_waits() {
    let mut a = Node::new(A).allow(B, &[Operation::Pull], "**");
    let mut b = Node::new(B).allow(A, &[Operation::Pull], "**");
    a.put("wallet/web/same");
    b.copy_from(&a);
    a.put("wallet/web/newer");
    run(sync("**", true, None), &mut b.clone(), &mut a.clone());
    let mut held = a.clone();
    held.id = B;
    held.policy = b.policy.clone();
    run(sync_by_rules("**", &a), &mut a, &mut held).0.unwrap().unwrap();
    assert_eq!(
        (a.plan.take().map(|plan| (plan.not_taken, plan.not_given)), held.left),
        (Some((vec![], vec![])), None)
    );
}

/// Without a narrower rule no name is requested: a sync of one user's devices costs no more.
#[test]
fn names_travel_only_where_a_rule_or_a_person_needs_them() {
    let (mut owner, mut guest) = owner_and_guest();
    owner.grant(B, &ALL, "**", false);
    run(sync_by_rules("**", &owner), &mut owner, &mut guest);
    assert!(!owner.sent().iter().any(|message| matches!(message, Message::NamesWanted(_))));
    let (mut owner, mut guest) = owner_and_guest();
    owner.grant(B, &ALL, "wallet", false);
    let (asking, _) = run(sync_by_rules("wallet", &owner), &mut owner, &mut guest);
    assert!(asking.is_some_and(|done| done.is_ok()));
    assert!(
        !owner.sent().iter().any(|message| matches!(message, Message::NamesWanted(_))),
        "the rule is as wide as what was asked"
    );
}

#[test]
fn a_name_that_is_not_the_entrys_is_refused() {
    for forged in ["wallet/web/other", "work/web/new"] {
        let (mut owner, mut guest) = owner_and_guest();
        let before = owner.heads("**");
        let (asking, _) =
            run_tampered(sync_by_rules("**", &owner), &mut owner, &mut guest, |_, _, message| {
                vec![match message {
                    Message::Names(_) => Message::Names(vec![at(forged)]),
                    other => other,
                }]
            });
        assert_eq!(asking, Some(Err(SessionError::PeerMisbehaved(PeerMisbehaved::Unrequested))));
        assert_eq!(owner.heads("**"), before);
    }
}

#[test]
fn a_peer_adds_few_heads_to_a_record_and_all_else_syncs() {
    for by_push in [false, true] {
        let mut a = Node::new(A).allow(B, &ALL, "**");
        let mut b = Node::new(B).allow(A, &ALL, "**");
        let crowd = |node: &mut Node, of: usize| {
            let mut heads: Vec<Shape> = (0..of)
                .map(|_| {
                    node.records.remove(&at("shared/v/r").id());
                    node.put("shared/v/r")
                })
                .collect();
            heads.sort_by_key(Shape::entry);
            node.records.insert(at("shared/v/r").id(), (at("shared/v/r"), heads));
        };
        let (giver, taker) = if by_push { (&mut a, &mut b) } else { (&mut b, &mut a) };
        giver.put("wallet/web/mail");
        taker.put("shared/v/r");
        crowd(giver, 8);
        run(sync_by_rules("**", &a), &mut a, &mut b).0.unwrap().unwrap();
        let (giver, taker) = if by_push { (&mut a, &mut b) } else { (&mut b, &mut a) };
        assert_eq!(taker.heads("shared").len(), 9, "eight and its own");
        let before = taker.heads("shared");
        let newer = giver.put("wallet/web/mail");
        crowd(giver, 1);
        crowd(giver, 9);
        let done = run(sync_by_rules("**", &a), &mut a, &mut b);
        let (asking, asked) = (done.0.unwrap().unwrap(), done.1.unwrap().unwrap());
        let taker = if by_push { &b } else { &a };
        assert_eq!(taker.heads("shared"), before, "left out");
        assert_eq!(taker.heads("wallet"), [newer], "all else came");
        assert_eq!((asking.sent + asking.received, asked.sent + asked.received), (1, 1));
        let plan = a.plan.as_ref().unwrap();
        let list = if by_push { &plan.not_given } else { &plan.not_taken };
        assert_eq!(list[..], [Skipped { location: at("shared/v/r").id(), why: SkipReason::TooManyHeads }]);
    }
}

#[test]
fn heads_that_a_peer_brought_before_count_and_those_of_others_do_not() {
    let mut a = Node::new(A).allow(B, &ALL, "**");
    let mut b = Node::new(B).allow(A, &ALL, "**");
    for round in 0..3 {
        let mut heads: Vec<Shape> = (0..4)
            .map(|_| {
                b.records.remove(&at("shared/v/r").id());
                b.put("shared/v/r")
            })
            .collect();
        heads.sort_by_key(Shape::entry);
        b.records.insert(at("shared/v/r").id(), (at("shared/v/r"), heads));
        run(sync_by_rules("**", &a), &mut a, &mut b).0.unwrap().unwrap();
        assert_eq!(a.heads("shared").len(), if round == 0 { 4 } else { 8 }, "round {round}");
    }
    a.delivered.clear();
    run(sync_by_rules("**", &a), &mut a, &mut b).0.unwrap().unwrap();
    assert_eq!(a.heads("shared").len(), 12, "those are another's now");
}

/// Twenty of fifty values become empty: for the side that would lose them this equals deletion.
#[test]
fn emptying_many_values_stops_like_deleting_them() {
    for emptied in [0, 16, 31] {
        let mut a = Node::new(A).allow(B, &ALL, "**");
        let mut b = Node::new(B).allow(A, &ALL, "**");
        (0..50).for_each(|n| drop(a.put(&format!("wallet/web/{n}"))));
        b.copy_from(&a);
        for n in 0..20 {
            b.put(&format!("wallet/web/{n}"));
            b.records.get_mut(&at(&format!("wallet/web/{n}")).id()).unwrap().1[0].size = emptied;
        }
        let before = (a.heads("**"), b.heads("**"));
        let lost = Some(Err(SessionError::Deletions(Losses { lost: 20, of: 50, there: false })));
        assert_eq!(run(sync_by_rules("**", &a), &mut a, &mut b).0, lost);
        // The same when the peer pushes them, although the peer's own confirmation suffices for
        // itself.
        let mut asker = Node { on_plan: TaskResult::Proceed { deletions_confirmed: true }, ..b.clone() };
        asker.policy = Node::new(A).allow(B, &ALL, "**").policy;
        asker.id = A;
        let mut asked = a.clone();
        asked.id = B;
        asked.policy = Node::new(B).allow(A, &ALL, "**").policy;
        let (_, refused) = run(sync_by_rules("**", &asker), &mut asker, &mut asked);
        assert_eq!(refused, lost);
        assert_eq!((a.heads("**"), b.heads("**")), before);
        assert_eq!(asked.heads("**"), before.0);
    }
}

/// Pulled and pushed entries are in different places, and there are many to give inside and
/// outside.
#[test]
fn scopes_that_differ_by_direction_are_no_misbehaviour() {
    for (pull, push, own) in
        [("wallet", "**", "**"), ("**", "shared", "**"), ("wallet", "shared/**", "**"), ("**", "**", "w*/**")]
    {
        let mut a = Node::new(A).allow(B, &[Operation::Pull], own).allow(B, &[Operation::Push], "**");
        let b = Node::new(B).allow(A, &[Operation::Pull], pull);
        let mut b = b.allow(A, &[Operation::Push, Operation::Delete], push);
        for n in 0..20 {
            a.put(&format!("wallet/web/{n}"));
            a.put(&format!("shared/web/{n}"));
            b.put(&format!("wallet/keys/{n}"));
            b.put(&format!("shared/keys/{n}"));
        }
        let given = |node: &Node, by: &Node| {
            let held: BTreeSet<_> = by.heads("**").into_iter().map(|head| head.revision).collect();
            node.heads("**").iter().filter(|head| held.contains(&head.revision)).count()
        };
        let (asking, asked) = run(sync_by_rules("**", &a), &mut a, &mut b);
        let (asking, asked) = (asking.unwrap().unwrap(), asked.unwrap().unwrap());
        assert_eq!((asking.received, asking.sent), (asked.sent, asked.received), "{pull} {push} {own}");
        let of = |pattern: &str| if pattern == "**" { 40 } else { 20 };
        assert_eq!((asking.received, asking.sent), (of(pull), of(push).min(of(own))), "{pull} {push} {own}");
        assert_eq!(given(&a, &b), (of(pull) + of(push).min(of(own))) as usize);
    }
}

#[test]
fn what_is_many_is_more_than_ten_and_more_than_a_tenth() {
    for (lost, of, many) in
        [(10, 10, false), (11, 110, false), (11, 109, true), (12, 120, false), (12, 119, true)]
    {
        assert_eq!(stronghold_sync::needs_confirmation(lost, of), many, "{lost} of {of}");
    }
}

#[test]
fn revoking_counts_the_rules_of_the_one_device() {
    let mut node = Node::new(A).allow(B, &ALL, "**").allow(B, &ALL, "wallet").allow(A, &ALL, "**");
    assert_eq!((node.policy.revoke(&B), node.policy.revoke(&B), node.policy.revoke(&A)), (2, 0, 1));
}

/// The peer refuses every requested entry: the plan says so, and permitted entries are still given.
#[test]
fn a_peer_that_lets_nothing_be_pulled_is_told_of_and_what_may_go_goes() {
    for (operations, refused) in
        [(&[Operation::Push][..], true), (&[Operation::Push, Operation::Pull], false)]
    {
        let mut a = Node::new(A).allow(B, &ALL, "**");
        let mut b = Node::new(B).allow(A, operations, "**");
        a.put("wallet/web/new");
        let (asking, _) = run(sync_by_rules("**", &a), &mut a, &mut b);
        assert_eq!(asking.unwrap().unwrap().sent, 1);
        assert_eq!(a.plan.take().unwrap().pull_refused, refused);
    }
}
