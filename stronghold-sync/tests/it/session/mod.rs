//! Tests sessions end to end over a virtual link: allowed requests, denied requests, and dishonest
//! peers.

mod forged;
mod hostile;
mod known;
mod level;
mod narrow;
mod rules;
mod states;
mod tampered;
mod told;
mod world;

use std::collections::BTreeSet;

use stronghold_sync::{
    Losses, Operation, RevisionId, Shape, SkipReason,
    message::{Message, Refusal, Volume},
    session::{MAX_GIVEN, PeerMisbehaved, SessionError, SessionRequest, Summary, TaskError, TaskResult},
};
use world::*;

const ALL: [Operation; 5] = Operation::ALL;
const NOT_PERMITTED: Outcome =
    (Some(Err(SessionError::Refused(Refusal::NotPermitted))), Some(Err(SessionError::NotPermitted)));

fn import(selection: &str) -> SessionRequest {
    SessionRequest::Import { selection: select(selection), key: key(0xA) }
}

fn fetch(selection: &str) -> SessionRequest {
    SessionRequest::Fetch { selection: select(selection), key: key(0xA) }
}

fn browse(selection: &str) -> SessionRequest {
    SessionRequest::Browse { selection: select(selection) }
}

/// Returns two devices of one user that were once the same and have changed since.
fn two_devices() -> (Node, Node) {
    changed(same_devices())
}

/// Returns the devices of [`two_devices`], each of which remembers what the other one held when
/// they were the same.
fn acquainted_devices() -> (Node, Node) {
    let (mut a, mut b) = same_devices();
    let held: BTreeSet<RevisionId> = a.heads("**").iter().map(|head| head.revision).collect();
    (a.confirmed, b.confirmed) = (Some(held.clone()), Some(held));
    changed((a, b))
}

fn same_devices() -> (Node, Node) {
    let mut a = Node::new(A).allow(B, &ALL, "**");
    let mut b = Node::new(B).allow(A, &ALL, "**");
    for name in ["same", "newer-here", "newer-there", "gone-here", "gone-there", "both", "edit-gone"] {
        a.put(&format!("wallet/web/{name}"));
    }
    b.copy_from(&a);
    (a, b)
}

fn changed((mut a, mut b): (Node, Node)) -> (Node, Node) {
    a.put("wallet/web/newer-here");
    b.put("wallet/web/newer-there");
    a.remove("wallet/web/gone-here");
    b.remove("wallet/web/gone-there");
    a.put("wallet/web/both");
    b.put("wallet/web/both");
    a.put("wallet/web/edit-gone");
    b.remove("wallet/web/edit-gone");
    a.put("wallet/web/only-here");
    b.put("wallet/keys/only-there");
    (a, b)
}

#[test]
fn a_sync_both_ways_leaves_the_same_heads_on_both_sides() {
    let (mut a, mut b) = two_devices();
    let (asking, asked) = run(sync_both("**", &a), &mut a, &mut b);
    assert_eq!(a.heads("**"), b.heads("**"));
    assert_eq!(a.heads("wallet/web/both").len(), 2);
    assert_eq!(a.heads("wallet/web/edit-gone").len(), 2);
    let (asking, asked) = (asking.unwrap().unwrap(), asked.unwrap().unwrap());
    let expected = Summary { received: 5, sent: 5, deleted: 1, conflicts: 2, unchanged: 1, round_trips: 4 };
    assert_eq!(asking, expected);
    assert_eq!(asked, Summary { round_trips: 0, ..expected });

    let (asking, _) = run(sync_both("**", &a), &mut a, &mut b);
    let nothing = Summary { unchanged: 9, round_trips: 1, ..Summary::default() };
    assert_eq!(asking, Some(Ok(nothing)), "twice in a row the second changes nothing");
}

/// Whoever may write can make two revisions with one short id and give one to each device: the
/// devices find out, and both keep both.
#[test]
fn two_revisions_with_one_short_id_are_told_apart() {
    let (mut a, mut b) = two_devices();
    a.put("wallet/web/twins");
    let (location, mut heads) = a.records[&at("wallet/web/twins").id()].clone();
    let mut twin = *heads[0].revision.as_bytes();
    twin[31] ^= 1;
    heads[0].revision = RevisionId::from_bytes(twin);
    b.records.insert(location.id(), (location, heads));
    let (asking, asked) = run(sync_both("**", &a), &mut a, &mut b);
    assert!(matches!((&asking, &asked), (Some(Ok(_)), Some(Ok(_)))), "{asking:?} {asked:?}");
    assert_eq!((a.heads("wallet/web/twins").len(), a.heads("**")), (2, b.heads("**")));
    assert_eq!(a.heads("wallet/web/newer-there").len(), 1, "what is replaced is known without symbols");
}

#[test]
fn one_way_changes_one_side_only() {
    let (mut a, mut b) = two_devices();
    let before = b.heads("**");
    let (asking, _) = run(sync("**", true, None), &mut a, &mut b);
    assert_eq!((asking.unwrap().unwrap().received, b.heads("**")), (5, before));

    let (mut a, mut b) = two_devices();
    let before = a.heads("**");
    let push = Some(may_give("**", &a));
    let (asking, asked) = run(sync("**", false, push), &mut a, &mut b);
    assert_eq!(a.heads("**"), before);
    assert_eq!((asking.unwrap().unwrap().sent, asked.unwrap().unwrap().received), (5, 5));
    assert_eq!(b.heads("wallet/web/both").len(), 2);
    assert!(b.heads("wallet/web/gone-here")[0].deleted);
    assert!(!b.sent().iter().any(|message| matches!(message, Message::Missing(_))));
}

#[test]
fn import_takes_everything_selected_and_deletions_too() {
    let (_, mut b) = two_devices();
    let mut a = Node::new(A);
    let (asking, asked) = run(import("wallet/web"), &mut a, &mut b);
    assert_eq!(a.heads("**"), b.heads("wallet/web"));
    assert_eq!(asking.unwrap().unwrap().received, 7);
    assert_eq!(asked.unwrap().unwrap().sent, 7);
    assert_eq!(b.verdicts()[0].volume, Volume { entries: 7, bytes: 7 * 64 });
}

#[test]
fn browse_then_fetch_takes_the_picked_values_and_no_deletion() {
    let (_, mut b) = two_devices();
    let mut a = Node::new(A);
    run(browse("wallet"), &mut a, &mut b);
    assert_eq!(a.found.len(), 6, "six of eight records are readable");
    let picked =
        stronghold_sync::Selection::of_locations([&a.found[0].location, &at("wallet/web/gone-there")]);
    let (asking, _) = run(SessionRequest::Fetch { selection: picked, key: key(0xA) }, &mut a, &mut b);
    assert_eq!(asking.unwrap().unwrap().received, 1);
    assert_eq!(a.heads("**").len(), 1);
}

#[test]
fn whatever_is_asked_without_a_rule_is_denied_logged_and_tells_nothing() {
    for selection in ["**", "wallet", "wallet/web", "wallet/web/same", "no/such/record"] {
        let asks = [import(selection), browse(selection), fetch(selection), sync(selection, true, None)];
        for ask in asks {
            let (mut a, mut b) = two_devices();
            b.policy.revoke(&A);
            assert_eq!(run(ask, &mut a, &mut b), NOT_PERMITTED);
            assert_eq!(b.sent(), [Message::Refused(Refusal::NotPermitted)]);
            let verdicts = b.verdicts();
            assert!(verdicts.len() == 1 && !verdicts[0].allowed && verdicts[0].selection == selection);
        }
        let (mut a, mut b) = two_devices();
        b.policy.revoke(&A);
        let before = b.heads("**");
        assert_eq!(run(sync_both(selection, &a), &mut a, &mut b), NOT_PERMITTED);
        let logged: Vec<Operation> = b.verdicts().iter().map(|verdict| verdict.operation).collect();
        assert_eq!((logged, b.heads("**")), (vec![Operation::Pull, Operation::Push], before));
    }
}

#[test]
fn absent_and_forbidden_look_the_same() {
    let transcript = |ask: SessionRequest| {
        let (mut a, b) = two_devices();
        let mut b = Node { policy: Default::default(), ..b }.allow(A, &ALL, "wallet/keys");
        run(ask, &mut a, &mut b);
        b.sent()
    };
    for ask in [import, browse, fetch] {
        assert_eq!(transcript(ask("wallet/web/same")), transcript(ask("wallet/web/never-was")));
        assert_eq!(transcript(ask("wallet/web/same")), transcript(ask("work")));
    }
}

#[test]
fn a_grant_on_one_vault_never_shows_another() {
    let granted = |b: &Node| -> Vec<_> { b.heads("wallet/keys").iter().map(Shape::entry).collect() };
    for ask in 0..4 {
        let (mut a, b) = two_devices();
        let mut b = Node { policy: Default::default(), ..b }.allow(A, &ALL, "wallet/keys");
        let ask = match ask {
            0 => import("**"),
            1 => browse("**"),
            2 => fetch("**"),
            _ => sync_both("**", &a),
        };
        let own: Vec<_> = a.heads("wallet/web").iter().map(Shape::entry).collect();
        let (asking, _) = run(ask, &mut a, &mut b);
        assert!(asking.unwrap().is_ok());
        let told = entries(&b.sent());
        assert!(told.iter().all(|entry| granted(&b).contains(entry)), "{told:?}");
        assert!(a.found.iter().all(|found| found.location.vault() == "keys"));
        assert!(b.verdicts().iter().all(|verdict| verdict.volume.entries <= 1));
        assert!(!entries(&a.sent()).iter().any(|entry| own.contains(entry)), "nor of what A holds there");
    }
}

#[test]
fn a_record_selection_is_applied_by_the_sender() {
    let (mut a, mut b) = two_devices();
    run(sync_both("wallet/web/newer-there", &a), &mut a, &mut b);
    let told: BTreeSet<_> = entries(&b.sent()).into_iter().map(|entry| entry.location).collect();
    assert_eq!(told, [at("wallet/web/newer-there").id()].into());
    assert!(a.heads("wallet/keys").is_empty());
}

#[test]
fn without_push_nothing_is_written_and_without_delete_nothing_is_deleted() {
    let granted = |operations: &[Operation]| {
        let (mut a, b) = two_devices();
        let mut b = Node { policy: Default::default(), ..b }.allow(A, operations, "**");
        let before = b.heads("**");
        let (asking, asked) = run(sync_both("**", &a), &mut a, &mut b);
        (asking.unwrap().unwrap(), asked.unwrap().unwrap(), before == b.heads("**"), b)
    };
    let (asking, _, unchanged, b) = granted(&[Operation::Pull]);
    assert!(unchanged && asking.received == 5 && asking.sent == 0);
    let push = b.verdicts().into_iter().find(|verdict| verdict.operation == Operation::Push).unwrap();
    assert!(!push.allowed && push.volume == Volume::default());
    let first_sent = b.events.iter().position(|event| matches!(event, Trace::Sent(_))).unwrap();
    let logged = b.events.iter().position(|event| matches!(event, Trace::Logged(_))).unwrap();
    assert!(logged < first_sent, "what is denied of a sync is logged before the rest goes on");

    let (asking, asked, _, b) = granted(&[Operation::Pull, Operation::Push]);
    assert_eq!((asking.sent, asked.deleted), (4, 0));
    assert!(!b.heads("wallet/web/gone-here")[0].deleted);

    let (asking, asked, _, b) = granted(&[Operation::Delete]);
    assert_eq!((asking.sent, asked.deleted, asking.received), (1, 1, 0));
    assert!(b.heads("wallet/web/gone-here")[0].deleted);
}

#[test]
fn the_log_has_it_before_anything_is_disclosed() {
    let asks: [fn(&Node) -> SessionRequest; 4] =
        [|_| import("**"), |_| browse("**"), |_| fetch("**"), |a| sync_both("**", a)];
    for ask in asks {
        let (mut a, mut b) = two_devices();
        run(ask(&a), &mut a, &mut b);
        let logged = b.events.iter().position(|event| matches!(event, Trace::Logged(_))).unwrap();
        let disclosed = b.events.iter().position(
            |event| matches!(event, Trace::Sent(message) if !matches!(message, Message::Agreed(_))),
        );
        assert!(logged < disclosed.unwrap(), "{:?}", b.events);
        assert!(b.verdicts().iter().all(|verdict| verdict.allowed && verdict.volume.entries > 0));
    }
}

#[test]
fn a_dry_run_ends_well_and_changes_nothing() {
    let (mut a, mut b) = two_devices();
    a.on_plan = TaskResult::Stop;
    let (before_a, before_b) = (a.heads("**"), b.heads("**"));
    let (asking, asked) = run(sync_both("**", &a), &mut a, &mut b);
    assert_eq!((a.heads("**"), b.heads("**")), (before_a, before_b));
    assert_eq!((asking.unwrap().unwrap().received, asked.unwrap().unwrap().received), (0, 0));
}

fn fifty_records() -> (Node, Node) {
    let (mut a, mut b) = (Node::new(A).allow(B, &ALL, "**"), Node::new(B).allow(A, &ALL, "**"));
    for n in 0..50 {
        a.put(&format!("wallet/web/{n}"));
    }
    b.copy_from(&a);
    (a, b)
}

fn remove_some(node: &mut Node, number: usize) {
    (0..number).for_each(|n| drop(node.remove(&format!("wallet/web/{n}"))));
}

#[test]
fn a_sync_that_would_delete_many_stops_and_asks_first() {
    for (of_a, of_b) in [(20, 0), (0, 20)] {
        let (mut a, mut b) = fifty_records();
        remove_some(&mut a, of_a);
        remove_some(&mut b, of_b);
        let before = (a.heads("**"), b.heads("**"));
        let (asking, asked) = run(sync_both("**", &a), &mut a, &mut b);
        let losses = Losses { lost: 20, of: 50, there: of_a > 0 };
        assert_eq!(asking, Some(Err(SessionError::Deletions(losses))));
        assert_eq!(asked, Some(Err(SessionError::Refused(Refusal::Deletions))));
        assert_eq!((a.heads("**"), b.heads("**")), before);

        a.on_plan = TaskResult::Proceed { deletions_confirmed: true };
        if of_a > 0 {
            let (asking, asked) = run(sync_both("**", &a), &mut a, &mut b);
            assert_eq!(
                asking,
                Some(Err(SessionError::Refused(Refusal::Deletions))),
                "b's person has not spoken"
            );
            assert_eq!(asked, Some(Err(SessionError::Deletions(Losses { there: false, ..losses }))));
            assert_eq!((a.heads("**"), b.heads("**")), before);
            assert_eq!(a.asked_there, 1, "a's person heard that b's is asked");
            b.confirms_losses = true;
        }
        assert!(run(sync_both("**", &a), &mut a, &mut b).0.unwrap().is_ok());
        assert_eq!(a.heads("**"), b.heads("**"));
        assert_eq!(a.heads("**").iter().filter(|head| head.deleted).count(), 20);
    }
}

#[test]
fn the_one_who_would_lose_records_by_a_push_stops_it() {
    let (mut a, mut b) = fifty_records();
    remove_some(&mut a, 20);
    let (before, push) = (b.heads("**"), may_give("**", &a));
    let (asking, asked) = run(sync("**", false, Some(push)), &mut a, &mut b);
    assert_eq!(asking, Some(Err(SessionError::Refused(Refusal::Deletions))));
    let losses = Losses { lost: 20, of: 50, there: false };
    assert_eq!((asked, b.heads("**")), (Some(Err(SessionError::Deletions(losses))), before));
    let denied = b.verdicts().into_iter().filter(|verdict| !verdict.allowed);
    assert_eq!(denied.map(|verdict| verdict.operation).collect::<Vec<_>>(), [Operation::Delete]);
}

#[test]
fn own_deletions_do_not_stop_a_pull() {
    let (mut a, mut b) = fifty_records();
    remove_some(&mut a, 20);
    b.put("wallet/web/new");
    let (asking, _) = run(sync("**", true, None), &mut a, &mut b);
    assert_eq!(asking.unwrap().unwrap().received, 1);
    assert_eq!(a.heads("**").iter().filter(|head| head.deleted).count(), 20, "nor are they undone");
}

#[test]
fn a_rule_that_asks_is_a_persons_to_decide() {
    for ask in [import("**"), browse("**"), fetch("**"), sync("**", true, None)] {
        let (mut a, b) = two_devices();
        let mut b = Node { policy: Default::default(), ..b };
        b.grant(A, &ALL, "wallet/keys", true);
        assert_eq!(run(ask.clone(), &mut a, &mut b), NOT_PERMITTED);
        assert!(!b.verdicts()[0].allowed);
        b.approves = true;
        let summary = run(ask.clone(), &mut a, &mut b).0.unwrap().unwrap();
        assert_eq!((a.asked_there, b.asked_there), (2, 0), "it hears that a person is asked");
        let round_trips = summary.round_trips;
        // Where no rule asks, or none is there, nothing is said of it.
        let mut open = Node { policy: Default::default(), ..b.clone() };
        assert_eq!(run(ask.clone(), &mut a, &mut open), NOT_PERMITTED);
        open.grant(A, &ALL, "wallet/keys", false);
        let summary = run(ask, &mut a, &mut open).0.unwrap().unwrap();
        assert_eq!((a.asked_there, summary.round_trips <= round_trips), (2, true));
        assert!(b.verdicts().iter().all(|verdict| verdict.allowed && verdict.volume.entries == 1));
    }
}

#[test]
fn what_is_revoked_in_the_middle_of_a_session_is_denied_and_logged() {
    let (mut a, mut b) = two_devices();
    let policy = b.policy.clone();
    let asked_with = |b: &mut Node| {
        // The session decides by the policy at its start, the host by the current one.
        b.policy = policy.clone();
        stronghold_sync::session::Responder::new(b.policy.clone(), A, ms(0), key(0xB), SECRET)
    };
    let session = asked_with(&mut b);
    b.policy.revoke(&A);
    let mut asking = End::new(stronghold_sync::session::Initiator::new(import("**")), &mut a);
    let mut asked = End::new(session, &mut b);
    for message in asking.turn() {
        asked.handle(message).unwrap();
    }
    asked.turn();
    assert_eq!(asked.result, Some(Err(SessionError::NotPermitted)));
    let verdicts = asked.node.verdicts();
    assert!(verdicts[0].allowed && !verdicts[1].allowed && verdicts[1].operation == Operation::Import);
    assert!(!asked.node.sent().iter().any(|message| matches!(message, Message::Batch(_))));
    assert_eq!(asked.node.sent().last(), Some(&Message::Refused(Refusal::NotPermitted)));
}

#[test]
fn many_batches_arrive_whole_with_few_on_their_way() {
    let (mut a, mut b) = (Node::new(A), Node::new(B).allow(A, &ALL, "**"));
    (0..2_500).for_each(|n| drop(b.put(&format!("wallet/web/{n}"))));
    let mut unconfirmed = 0i32;
    let (asking, asked) = run_tampered(import("**"), &mut a, &mut b, |_, _, message| {
        unconfirmed += i32::from(matches!(message, Message::Batch(_)));
        unconfirmed -= i32::from(matches!(message, Message::Ack(_)));
        assert!(unconfirmed <= 2);
        vec![message]
    });
    assert_eq!(a.heads("**"), b.heads("**"));
    assert_eq!((asking.unwrap().unwrap().received, asked.unwrap().unwrap().sent), (2_500, 2_500));
    let heads = |message: &Message| matches!(message, Message::Batch(_));
    assert_eq!(b.sent().iter().filter(|message| heads(message)).count(), 3);
}

#[test]
fn the_heads_of_one_record_are_merged_together() {
    let (mut a, mut b) = (Node::new(A), Node::new(B).allow(A, &ALL, "**"));
    // A thousand entries are not a multiple of three heads.
    let mut others = [0xC, 0xD].map(|id| Node::new(stronghold_sync::DeviceId::from_bytes([id; 32])));
    for n in 0..1_500 {
        let name = format!("wallet/web/{n}");
        b.put(&name);
        for other in others.iter_mut().map(|node| node.put(&name)) {
            b.records.get_mut(&other.location).unwrap().1.push(other);
        }
    }
    let (asking, _) = run(import("**"), &mut a, &mut b);
    assert_eq!(asking.unwrap().unwrap().conflicts, 1_500, "each conflict is counted once");
}

#[test]
fn a_host_that_fails_ends_the_session_and_the_peer_is_told_no_more_than_that() {
    let asks: [fn(&Node) -> SessionRequest; 4] =
        [|_| import("**"), |_| browse("**"), |_| fetch("**"), |a| sync_both("**", a)];
    for ask in asks {
        for (number, on_asked) in (0..8).flat_map(|number| [(number, false), (number, true)]) {
            let (mut a, mut b) = two_devices();
            let failing = if on_asked { &mut b } else { &mut a };
            failing.sabotage = Some((number, Err(TaskError::Local)));
            let ask = ask(&a);
            let (asking, asked) = run(ask, &mut a, &mut b);
            let (own, other, actions) =
                if on_asked { (asked, asking, b.actions) } else { (asking, asked, a.actions) };
            if actions > number {
                assert_eq!(own, Some(Err(SessionError::Local)));
                // The last acknowledgement may come before the peer is done: then it can't report
                // to anyone.
                let told = Some(Err(SessionError::Refused(Refusal::Failed)));
                assert!(other == told || matches!(other, Some(Ok(_))), "{other:?}");
            }
        }
    }
}

/// The log is an event in the queue: if it fails, nothing that is queued behind it leaves.
#[test]
fn what_could_not_be_logged_does_not_leave() {
    let discloses = |message: &Message| {
        matches!(message, Message::Missing(_) | Message::Listing(_) | Message::Granted(_) | Message::Batch(_))
    };
    let asks: [fn(&Node) -> SessionRequest; 4] =
        [|_| import("**"), |_| browse("**"), |_| fetch("**"), |a| sync_both("**", a)];
    for ask in asks {
        let (mut a, mut b) = two_devices();
        let request = ask(&a);
        run(request, &mut a, &mut b);
        let told = b.sent();
        assert!(told.iter().any(discloses), "{told:?}");
        for number in 0..b.actions {
            let (mut a, mut b) = two_devices();
            b.sabotage = Some((number, Err(TaskError::Local)));
            run(ask(&a), &mut a, &mut b);
            let logged = b.events.iter().position(|event| matches!(event, Trace::Logged(_)));
            let left =
                b.events.iter().position(|event| matches!(event, Trace::Sent(message) if discloses(message)));
            assert!(left.is_none() || logged < left && logged.is_some(), "{:?}", b.events);
            assert_eq!(b.sent().last(), Some(&Message::Refused(Refusal::Failed)));
        }
    }
}

#[test]
fn a_host_that_answers_wrongly_is_told_so_every_time() {
    let wrong = [
        TaskResult::Denied,
        TaskResult::Approved,
        TaskResult::Stop,
        TaskResult::Sealed(vec![]),
        TaskResult::Shapes(vec![]),
    ];
    for (number, answer) in (0..8).flat_map(|number| wrong.clone().map(|answer| (number, answer))) {
        for on_asked in [false, true] {
            let (mut a, mut b) = two_devices();
            let node = if on_asked { &mut b } else { &mut a };
            node.sabotage = Some((number, Ok(Some(answer.clone()))));
            let ask = sync_both("**", &a);
            // A result of the right kind with other content is not misuse; the session only has to
            // end.
            run(ask, &mut a, &mut b);
        }
    }
    let (mut a, mut b) = two_devices();
    b.sabotage = Some((0, Ok(Some(TaskResult::Approved))));
    let (asking, asked) = run(import("**"), &mut a, &mut b);
    assert_eq!(asked, Some(Err(SessionError::ApiMisuse)));
    assert_eq!(asking, Some(Err(SessionError::Refused(Refusal::Failed))));
    b.sabotage = Some((0, Ok(Some(TaskResult::Shapes(b.heads("**").into_iter().rev().collect())))));
    assert_eq!(run(import("**"), &mut a, &mut b).1, Some(Err(SessionError::ApiMisuse)), "out of order");
    a.policy.revoke(&B);
    let neither = run(sync("**", false, None), &mut a, &mut b);
    assert_eq!(neither.1, Some(Err(SessionError::PeerMisbehaved(PeerMisbehaved::OutOfOrder))));
}

#[test]
fn what_is_too_much_for_one_session_is_left_for_the_next_and_told() {
    let mut a = Node::new(A).allow(B, &ALL, "**");
    let mut b = Node::new(B).allow(A, &ALL, "**");
    (0..60_000).for_each(|number| drop(a.put(&format!("wallet/web/{number}"))));
    let mut given = Vec::new();
    while given.last() != Some(&0) {
        let (asking, asked) = run(sync_both("wallet", &a), &mut a, &mut b);
        given.push(asking.unwrap().unwrap().sent);
        assert!(asked.unwrap().is_ok());
        let plan = a.plan.take().unwrap();
        let left: Vec<SkipReason> = plan.not_given.iter().map(|left| left.why).collect();
        let so_far: u64 = given.iter().sum();
        assert_eq!(left, vec![SkipReason::Later; 60_000 - so_far as usize]);
        assert_eq!(plan.changes_there.len() as u64, *given.last().unwrap());
        assert_eq!(b.left, None, "nothing stays behind: no news for the other side");
    }
    assert_eq!(given.len(), 3, "{given:?}");
    assert!(given[..1].iter().all(|given| *given as usize * 112 <= MAX_GIVEN), "{given:?}");
    assert_eq!(a.heads("**"), b.heads("**"));
}
