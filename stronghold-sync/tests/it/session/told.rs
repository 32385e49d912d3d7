//! Tests the exact actions, messages and log entries of each side, and limits, which one more
//! exceeds.

use std::collections::BTreeSet;

use stronghold_sync::{
    Edition, Losses, Operation, Policy, Shape, SkipReason, Skipped, Stamp, Stamps,
    message::{LeftOut, Listing, Message, Refusal, Volume},
    reconcile::NeedMore,
    session::{
        Action, Duplicate, Event, Initiator, Lookup, LookupResult, MAX_ENTRIES, MAX_SEALED, PeerMisbehaved,
        Push, Responder, SessionError, SessionRequest, Summary, Take, Task, TaskError, TaskResult, Verdict,
    },
};

use super::{
    ALL, browse, fetch,
    hostile::{agreed, batch, blame, initiator_error, open_sync, responder_error, shape},
    import, two_devices,
    world::*,
};

fn ours(operation: Operation, entries: u64) -> Verdict {
    let volume = Volume { entries, bytes: 64 * entries };
    Verdict { operation, ours: true, selection: "**".into(), allowed: true, volume }
}

fn theirs(operation: Operation, entries: u64) -> Verdict {
    Verdict { ours: false, ..ours(operation, entries) }
}

fn denied(operation: Operation) -> Verdict {
    Verdict { allowed: false, ..theirs(operation, 0) }
}

#[test]
fn the_log_has_each_operation_of_a_session_once_with_its_volume() {
    use Operation::{Browse, Delete, Import, Pull, Push};
    let listed = Verdict { volume: Volume { entries: 6, bytes: 0 }, ..theirs(Browse, 6) };
    let (a, _) = two_devices();
    let push_only = || sync("**", false, Some(may_give("**", &a)));
    let both = || sync_both("**", &a);
    let taken = [ours(Push, 3), ours(Delete, 2)];
    for (name, ask, of_b, dry, of_asking, of_asked) in [
        (
            "both ways",
            both(),
            &ALL[..],
            false,
            [&taken[..], &[ours(Pull, 5)]].concat(),
            vec![theirs(Pull, 7), theirs(Push, 4), theirs(Delete, 1)],
        ),
        ("dry", both(), &ALL, true, vec![], vec![theirs(Pull, 7), theirs(Push, 0)]),
        ("pull", sync("**", true, None), &ALL, false, taken.to_vec(), vec![theirs(Pull, 7)]),
        ("push", push_only(), &ALL, false, vec![ours(Pull, 5)], vec![theirs(Push, 4), theirs(Delete, 1)]),
        ("may push", both(), &[Push], false, vec![ours(Pull, 4)], vec![denied(Pull), theirs(Push, 4)]),
        (
            "may delete",
            both(),
            &[Delete],
            false,
            vec![ours(Pull, 1)],
            vec![denied(Pull), denied(Push), theirs(Delete, 1)],
        ),
        ("may pull", both(), &[Pull], false, taken.to_vec(), vec![denied(Push), theirs(Pull, 7)]),
        ("import", import("**"), &ALL, false, vec![ours(Push, 8)], vec![theirs(Import, 8)]),
        ("fetch", fetch("**"), &ALL, false, vec![ours(Push, 6)], vec![theirs(Pull, 6)]),
        ("browse", browse("**"), &ALL, false, vec![], vec![listed]),
        ("nothing", both(), &[Browse], false, vec![], vec![denied(Pull), denied(Push)]),
    ] {
        let (mut a, mut b) = two_devices();
        b.policy = Policy::default();
        b.grant(A, of_b, "**", false);
        a.on_plan = if dry { TaskResult::Stop } else { TaskResult::Proceed { deletions_confirmed: false } };
        run(ask, &mut a, &mut b);
        assert_eq!((a.verdicts(), b.verdicts()), (of_asking, of_asked), "{name}");
    }
    let (mut a, mut b) = two_devices();
    b.copy_from(&a);
    run(sync_both("**", &a), &mut a, &mut b);
    assert_eq!((a.verdicts(), b.verdicts()), (vec![], vec![theirs(Pull, 0), theirs(Push, 0)]));
}

fn expected(node: &Node) -> Vec<Volume> {
    let expect = |action: &Action| match action {
        Action::Notify(Event::Incoming(volume)) => Some(*volume),
        _ => None,
    };
    node.told.iter().filter_map(expect).collect()
}

#[test]
fn how_much_comes_is_told_before_it_and_each_side_ends_once() {
    let volume = |entries| Volume { entries, bytes: 64 * entries };
    let (a, _) = two_devices();
    for (ask, of_asking, ends) in [
        (sync_both("**", &a), vec![volume(5)], (1, 1)),
        (sync("**", true, None), vec![volume(5)], (0, 1)),
        (sync("**", false, Some(may_give("**", &a))), vec![volume(0)], (1, 1)),
        (import("**"), vec![volume(8)], (0, 1)),
        (fetch("wallet/keys"), vec![volume(1)], (0, 1)),
        (browse("**"), vec![], (0, 1)),
    ] {
        let (mut a, mut b) = two_devices();
        let (asking, asked) = run(ask.clone(), &mut a, &mut b);
        assert!(asking.unwrap().is_ok() && asked.unwrap().is_ok());
        let end = |node: &Node| node.sent().iter().filter(|message| **message == Message::End).count();
        assert_eq!((expected(&a), (end(&a), end(&b))), (of_asking, ends), "{ask:?}");
        assert_eq!(expected(&b), [], "who is asked is told by the plan");
    }
}

#[test]
fn a_dry_run_tells_what_would_be_in_conflict() {
    let (mut a, mut b) = two_devices();
    a.on_plan = TaskResult::Stop;
    let (asking, asked) = run(sync_both("**", &a), &mut a, &mut b);
    let expected = Summary { conflicts: 2, unchanged: 1, round_trips: 2, ..Summary::default() };
    assert_eq!(asking, Some(Ok(expected)));
    assert_eq!(asked, Some(Ok(Summary { unchanged: 1, ..Summary::default() })));
}

fn stamp(n: u8) -> Stamp {
    Stamp::from_bytes([n; 8])
}

/// Returns the stamps of a peer that got two stamps after the same one and continued from the
/// first: showing the second reveals a copy.
fn stamps_of_two() -> Stamps {
    let mut stamps = Stamps::default();
    let none = None;
    for (shown, next) in [(none, 1), (Some(stamp(1)), 2), (Some(stamp(1)), 3), (Some(stamp(2)), 4)] {
        stamps.note(shown, stamp(next));
    }
    assert!(stamps.detects_duplicate(Some(stamp(3))) && !stamps.detects_duplicate(Some(stamp(4))));
    stamps
}

#[test]
fn each_side_tells_of_its_edition_and_that_there_are_two_of_the_other() {
    for (two_of_a, two_of_b, differs) in [
        (false, false, true),
        (true, false, true),
        (false, true, true),
        (true, true, true),
        (true, true, false),
    ] {
        let (mut a, mut b) = two_devices();
        if !differs {
            b.copy_from(&a);
        }
        let edition = |generation, two| Edition { generation, stamp: Some(stamp(if two { 3 } else { 4 })) };
        let (of_a, of_b) = (edition(5, two_of_a), edition(8, two_of_b));
        let ask = sync_both("**", &a);
        let asking = Initiator::with_edition(ask, of_a, stamps_of_two());
        let asked =
            Responder::new(b.policy.clone(), A, ms(0), key(0xB), SECRET).with_edition(of_b, stamps_of_two());
        let ends = (End::new(asking, &mut a), End::new(asked, &mut b));
        let (asking, asked) = drive(ends.0, ends.1, |_, _, message| vec![message]);
        assert!(asking.unwrap().is_ok() && asked.unwrap().is_ok());
        let told = |node: &Node| -> Vec<Action> {
            let of_editions = |action: &&Action| {
                matches!(action, Action::Notify(Event::Duplicate(_)) | Action::Notify(Event::Edition(_)))
            };
            node.told.iter().filter(of_editions).cloned().collect()
        };
        let copied = |is: bool, of| is.then_some(Action::Notify(Event::Duplicate(of))).into_iter();
        let of_asking = copied(two_of_b, Duplicate::Theirs).chain(copied(two_of_a, Duplicate::Ours));
        let of_asking: Vec<Action> = of_asking.chain([Action::Notify(Event::Edition(of_b))]).collect();
        let of_asked = copied(two_of_a, Duplicate::Theirs).chain([Action::Notify(Event::Edition(of_a))]);
        let of_asked: Vec<Action> = of_asked.chain(copied(two_of_b, Duplicate::Ours)).collect();
        assert_eq!((told(&a), told(&b)), (of_asking, of_asked), "{two_of_a} {two_of_b} {differs}");
        assert_eq!(b.left, None, "nothing stays");
    }
    let (mut a, mut b) = two_devices();
    let of_a = Edition { generation: 5, stamp: None };
    let asked = Responder::new(b.policy.clone(), A, ms(0), key(0xB), SECRET);
    let asking = Initiator::with_edition(import("**"), of_a, Stamps::default());
    drive(End::new(asking, &mut a), End::new(asked, &mut b), |_, _, message| vec![message]);
    assert_eq!(b.told[0], Action::Notify(Event::Edition(of_a)));
}

#[test]
fn why_the_host_could_not_go_on_is_told_as_far_as_it_may_be() {
    let misbehaved = SessionError::PeerMisbehaved(PeerMisbehaved::OverLimits);
    let losses = Losses { lost: 11, of: 20, there: false };
    for (failure, error, told) in [
        (TaskError::Local, SessionError::Local, Refusal::Failed),
        (TaskError::NotPermitted, SessionError::NotPermitted, Refusal::NotPermitted),
        (TaskError::Peer(PeerMisbehaved::OverLimits), misbehaved, Refusal::ProtocolError),
        (TaskError::Deletions(losses), SessionError::Deletions(losses), Refusal::Deletions),
        (TaskError::Limits, SessionError::Limits, Refusal::Limits),
    ] {
        let (mut a, mut b) = two_devices();
        a.sabotage = Some((1, Err(failure))); // after the log: the import
        let (asking, asked) = run(import("**"), &mut a, &mut b);
        assert_eq!((asking, asked), (Some(Err(error)), Some(Err(SessionError::Refused(told)))));
    }
}

/// Adds more heads to a record than a peer may.
fn crowd(node: &mut Node, number: usize) {
    let mut heads: Vec<Shape> = (0..number)
        .map(|_| {
            node.records.remove(&at("shared/v/r").id());
            node.put("shared/v/r")
        })
        .collect();
    heads.sort_by_key(Shape::entry);
    node.records.insert(at("shared/v/r").id(), (at("shared/v/r"), heads));
}

fn looks(node: &Node) -> Vec<Lookup> {
    let look = |action: &Action| match action {
        Action::Perform(Task::Lookup(look)) => Some(look.clone()),
        _ => None,
    };
    node.told.iter().filter_map(look).collect()
}

#[test]
fn a_host_is_asked_who_brought_heads_only_where_a_record_gets_many() {
    for (own, given, asked) in [(1, 7, 0), (1, 8, 1), (0, 8, 0), (0, 9, 0), (2, 7, 2)] {
        for by_push in [false, true] {
            let (mut a, mut b) = (Node::new(A).allow(B, &ALL, "**"), Node::new(B).allow(A, &ALL, "**"));
            let (giver, taker) = if by_push { (&mut a, &mut b) } else { (&mut b, &mut a) };
            crowd(giver, given);
            crowd(taker, own);
            let ask =
                if by_push { sync("**", false, Some(may_give("**", &a))) } else { sync_by_rules("**", &a) };
            run(ask, &mut a, &mut b);
            let looked: Vec<usize> =
                looks(if by_push { &b } else { &a }).iter().map(|look| look.delivered.len()).collect();
            let wanted: usize = looked.iter().sum();
            assert_eq!(wanted, if given == 9 { 0 } else { asked }, "{own} {given} {by_push}");
        }
    }
}

#[test]
fn an_answer_that_is_shorter_than_what_was_asked_is_misuse() {
    let short = TaskResult::Looked(LookupResult::default());
    let (mut a, mut b) = two_devices();
    let ask = || sync_by("**", Some(Take::Everything), Push::No, true);
    run(ask(), &mut a, &mut b);
    assert_eq!(looks(&a).len(), 1);
    let is_empty = |look: &Lookup| *look == Lookup { grant: look.grant.clone(), ..Lookup::default() };
    assert!(!looks(&b).iter().any(is_empty), "who has nothing to ask does not");
    for number in 0..a.actions {
        let (mut a, mut b) = two_devices();
        a.sabotage = Some((number, Ok(Some(short.clone()))));
        assert_eq!(run(ask(), &mut a, &mut b).0, Some(Err(SessionError::ApiMisuse)), "{number}");
    }
    let crowded = || {
        let (mut a, mut b) = (Node::new(A).allow(B, &ALL, "**"), Node::new(B).allow(A, &ALL, "**"));
        crowd(&mut a, 8);
        crowd(&mut b, 1);
        (a, b)
    };
    let (mut a, mut b) = crowded();
    let push = |a: &Node| sync("**", false, Some(may_give("**", a)));
    let ask = push(&a);
    run(ask, &mut a, &mut b);
    assert_eq!(looks(&b).len(), 1);
    for number in 0..b.actions {
        let (mut a, mut b) = crowded();
        b.sabotage = Some((number, Ok(Some(short.clone()))));
        let ask = push(&a);
        assert_eq!(run(ask, &mut a, &mut b).1, Some(Err(SessionError::ApiMisuse)), "{number}");
    }
}

#[test]
fn what_the_peer_did_not_want_is_told_by_record() {
    let (mut a, mut b) = (Node::new(A).allow(B, &ALL, "**"), Node::new(B).allow(A, &ALL, "**"));
    for round in 0..3 {
        crowd(&mut a, 4);
        a.put("wallet/web/mail");
        a.declined.clear();
        let ask = sync("**", false, Some(may_give("**", &a)));
        let (asking, asked) = run(ask, &mut a, &mut b);
        let declines = round == 2;
        assert_eq!(asking.unwrap().unwrap().sent, if declines { 1 } else { 5 }, "{round}");
        assert_eq!(asked.unwrap().unwrap().received, if declines { 1 } else { 5 });
        assert_eq!(a.declined, if declines { vec![at("shared/v/r").id()] } else { vec![] });
        let told =
            a.told.iter().filter(|action| matches!(action, Action::Notify(Event::Declined(_)))).count();
        assert_eq!(told, usize::from(declines), "nothing is told where nothing was declined");
    }
}

/// The peer lacks what it declined, so it has not acknowledged it.
#[test]
fn what_the_peer_did_not_want_is_excepted_from_what_it_acknowledged() {
    let (mut a, mut b) = (Node::new(A).allow(B, &ALL, "**"), Node::new(B).allow(A, &ALL, "**"));
    for round in 0..3 {
        crowd(&mut a, 4);
        a.put("wallet/web/mail");
        a.declined.clear();
        let ask = sync_both("**", &a);
        run(ask, &mut a, &mut b).0.unwrap().unwrap();
        let declined = if round == 2 { vec![at("shared/v/r").id()] } else { vec![] };
        assert_eq!(a.declined, declined, "{round}");
        let except =
            a.acknowledged.as_ref().map(|acknowledged| acknowledged.except.iter().copied().collect());
        assert_eq!(except, Some(declined));
    }
}

/// Records in places where the peer permits no pull wait as well.
#[test]
fn what_waits_outside_of_what_is_compared_is_told_too() {
    let mut a = Node::new(A).allow(B, &[Operation::Pull], "**");
    let mut b = Node::new(B).allow(A, &[Operation::Pull], "wallet");
    a.put("wallet/v/r");
    a.put("other/v/r");
    a.remove("other/v/gone");
    run(sync_by_rules("**", &a), &mut a, &mut b).0.unwrap().unwrap();
    let mut left = ["other/v/r", "wallet/v/r"]
        .map(|name| Skipped { location: at(name).id(), why: SkipReason::MayNotPush });
    left.sort();
    assert_eq!(a.plan.take().unwrap().not_given, left);
    let told = b.left.take().unwrap();
    assert_eq!((told.not_taken, told.not_given, told.ungiven.len()), (2, 0, 0));
    assert!(
        !b.told.iter().any(|action| matches!(action, Action::Notify(Event::Duplicate(_)))),
        "that is no news of copies"
    );
    let names: BTreeSet<_> = told.untaken.into_iter().collect();
    assert_eq!(names, [at("other/v/r"), at("wallet/v/r")].into());
    let lacking: Vec<_> =
        looks(&a).iter().flat_map(|look| look.lacking.clone()).map(|shape| shape.location).collect();
    assert_eq!(
        lacking.into_iter().collect::<BTreeSet<_>>(),
        ["other/v/r", "other/v/gone"].map(|name| at(name).id()).into()
    );
}

#[test]
fn a_record_of_which_several_heads_wait_is_told_once() {
    let mut a = Node::new(A).allow(B, &[Operation::Pull], "**");
    let mut b = Node::new(B).allow(A, &[Operation::Pull], "wallet");
    crowd(&mut a, 3);
    run(sync_by_rules("**", &a), &mut a, &mut b).0.unwrap().unwrap();
    let waits = Skipped { location: at("shared/v/r").id(), why: SkipReason::MayNotPush };
    assert_eq!(a.plan.take().unwrap().not_given, [waits]);
    assert_eq!(b.left.take().unwrap().not_taken, 1);
}

#[test]
fn of_what_a_head_replaced_only_what_the_asking_side_holds_is_told() {
    let (mut a, mut b) = (Node::new(A).allow(B, &ALL, "**"), Node::new(B).allow(A, &ALL, "**"));
    let first = b.put("wallet/web/r");
    let without = a.clone();
    a.copy_from(&b);
    let second = b.put("wallet/web/r");
    b.put("wallet/web/r");
    for (mut a, expected) in [(a, [true, false]), (without, [false, false])] {
        let mut b = b.clone();
        run(sync_both("**", &a), &mut a, &mut b).0.unwrap().unwrap();
        let told: Vec<Shape> = b
            .sent()
            .into_iter()
            .flat_map(|message| if let Message::Missing(shapes) = message { shapes } else { Vec::new() })
            .collect();
        assert_eq!(told.len(), 1);
        assert_eq!([&first, &second].map(|old| told[0].ancestors.contains(&old.revision)), expected);
    }
}

#[test]
fn of_much_that_stays_a_hundred_are_named_and_all_are_counted() {
    for (of_a, of_b) in [(130, 0), (0, 130), (130, 130), (100, 100)] {
        let mut a = Node::new(A).allow(B, &[Operation::Pull], "**");
        let mut b = Node::new(B).allow(A, &[Operation::Pull], "**");
        (0..of_a).for_each(|n| drop(a.put(&format!("a/v/{n}"))));
        (0..of_b).for_each(|n| drop(b.put(&format!("b/v/{n}"))));
        run(sync_by_rules("**", &a), &mut a, &mut b).0.unwrap().unwrap();
        let told = b.left.take().unwrap();
        assert_eq!((told.not_taken, told.not_given), (of_a, of_b));
        assert_eq!((told.untaken.len() as u64, told.ungiven.len() as u64), (of_a.min(100), of_b.min(100)));
        assert!(told.untaken.iter().all(|name| name.client() == "a"));
        let held: BTreeSet<_> = b.heads("b").iter().map(|head| head.location).collect();
        assert!(told.ungiven.iter().all(|location| held.contains(location)));
        assert_eq!(told.ungiven.iter().collect::<BTreeSet<_>>().len(), told.ungiven.len(), "each once");
    }
}

#[test]
fn who_wants_neither_to_take_nor_to_give_asks_for_nothing() {
    let (a, _) = two_devices();
    for push in [Push::No, Push::NotGranted] {
        let ask = sync_by("wallet", None, push, false);
        assert_eq!(initiator_error(ask, &mut a.clone(), vec![agreed()]), Some(SessionError::ApiMisuse));
    }
}

#[test]
fn positions_are_those_of_what_was_told_and_names_are_told_once() {
    let (_, mut b) = two_devices();
    let last = b.heads("wallet").len() as u32 - 1;
    let tell = || vec![open_sync(true, true), Message::Digest(nothing()), Message::DigestEnd];
    let not_asked = blame(PeerMisbehaved::Unrequested);
    for (list, why) in [
        (vec![Message::Want(vec![last])], None),
        (vec![Message::Want(vec![last + 1])], not_asked),
        (vec![Message::NamesWanted(vec![last])], None),
        (vec![Message::NamesWanted(vec![last + 1])], not_asked),
        (vec![Message::NamesWanted(vec![0, 0])], not_asked),
        (vec![Message::NamesWanted(vec![0]), Message::NamesWanted(vec![1])], None),
        (vec![Message::NamesWanted(vec![0]), Message::NamesWanted(vec![0])], not_asked),
        (vec![Message::NamesWanted(vec![])], blame(PeerMisbehaved::OutOfOrder)),
        (vec![Message::NamesWanted(vec![0]), Message::Mismatch], blame(PeerMisbehaved::OutOfOrder)),
        (vec![Message::Mismatch], None),
    ] {
        let messages = tell().into_iter().chain(list.clone()).collect();
        assert_eq!(responder_error(&mut b, messages), why, "{list:?}");
    }
    let left = LeftOut { not_taken: 3, untaken: vec![0, last, last + 1], ..LeftOut::default() };
    let messages = tell().into_iter().chain([Message::LeftOut(left)]).collect();
    assert_eq!(responder_error(&mut b, messages), None);
    assert_eq!(b.left.take().unwrap().ungiven.len(), 2, "of what was not told nothing is named");
}

fn nothing() -> stronghold_sync::reconcile::Digest {
    stronghold_sync::reconcile::Digest::Symbols(serde_bytes::ByteBuf::new())
}

#[test]
fn names_come_one_for_each_that_is_owed_and_not_more() {
    type Tamper = fn(Vec<stronghold_sync::Location>) -> Vec<Message>;
    let named = |tamper: Tamper| {
        let mut a = Node::new(A).allow(B, &[Operation::Pull], "**");
        let mut b = Node::new(B).allow(A, &ALL, "**");
        (0..3).for_each(|n| drop(b.put(&format!("b/v/{n}"))));
        run_tampered(sync_by_rules("**", &a), &mut a, &mut b, |_, _, message| match message {
            Message::Names(names) => tamper(names),
            other => vec![other],
        })
        .0
        .and_then(Result::err)
    };
    assert_eq!(named(|names| names.into_iter().map(|name| Message::Names(vec![name])).collect()), None);
    let refused: [(Tamper, PeerMisbehaved); 4] = [
        (|_| vec![Message::Names(vec![])], PeerMisbehaved::OutOfOrder),
        (|names| vec![Message::Names([&names[..], &names[2..]].concat())], PeerMisbehaved::Unrequested),
        (|names| vec![Message::Names(vec![names[0].clone(), names[0].clone()])], PeerMisbehaved::Unrequested),
        (|names| vec![Message::Names(names.into_iter().rev().collect())], PeerMisbehaved::Unrequested),
    ];
    for (tamper, why) in refused {
        assert_eq!(named(tamper), blame(why));
    }
}

#[test]
fn what_is_asked_for_again_comes_before_what_differs() {
    let (a, b) = two_devices();
    let only_there = || Message::Missing(b.heads("wallet/keys"));
    let says = |messages: Vec<Message>| initiator_error(sync_both("wallet", &a), &mut a.clone(), messages);
    let again = || Message::NeedMore(NeedMore::Rekeyed(Box::default()));
    assert_eq!(says(vec![agreed(), again(), only_there()]), None);
    assert_eq!(says(vec![agreed(), only_there(), again()]), blame(PeerMisbehaved::OutOfOrder));
    let symbol = || Message::Needed(symbols([shape("wallet/web/x", 1).entry()]));
    assert_eq!(says(vec![agreed(), symbol(), again()]), blame(PeerMisbehaved::OutOfOrder));
    let empty = Message::Needed(serde_bytes::ByteBuf::new());
    assert_eq!(says(vec![agreed(), empty]), blame(PeerMisbehaved::OutOfOrder));
    let many = || Message::Needed(serde_bytes::ByteBuf::from(vec![1; 8 << 20]));
    assert_eq!(says(vec![agreed(), many()]), None);
    assert_eq!(says(vec![agreed(), many(), symbol()]), blame(PeerMisbehaved::TooManyCells));
}

#[test]
fn a_listing_is_of_what_was_asked_for() {
    let (_, b) = two_devices();
    let listing = |name: &str| {
        let revision = b.heads("wallet/keys")[0].revision;
        Message::Listing(vec![Listing {
            location: at(name),
            revision,
            size: 1,
            modified: ms(1),
            conflict: false,
        }])
    };
    let says = |names: &[&str]| {
        let mut a = Node::new(A);
        let messages = names.iter().map(|name| listing(name)).chain([Message::End]).collect();
        let error = initiator_error(browse("wallet/web"), &mut a, messages);
        (error, a.found.len())
    };
    assert_eq!(says(&["wallet/web/a", "wallet/web/b"]), (None, 2));
    assert_eq!(says(&["wallet/web/a", "wallet/keys/b"]), (blame(PeerMisbehaved::Unrequested), 0));
    assert_eq!(says(&["wallet/web/b", "wallet/web/a"]), (blame(PeerMisbehaved::Unordered), 0));
}

#[test]
fn batches_are_as_large_as_they_may_be_and_no_larger() {
    let granted = |entries| Message::Granted(Volume { entries, bytes: 1 });
    let says = |messages: Vec<Message>| initiator_error(import("**"), &mut Node::new(A), messages);
    for (messages, why) in [
        (vec![granted(MAX_ENTRIES)], None),
        (vec![granted(MAX_ENTRIES + 1)], blame(PeerMisbehaved::TooMany)),
        (vec![granted(1), batch(0, 1, MAX_SEALED)], None),
        (vec![granted(1_000), batch(0, 1_000, 5)], None),
        (vec![granted(0), batch(0, 1, 5)], blame(PeerMisbehaved::TooMany)),
        (vec![granted(0), Message::End], None),
    ] {
        assert_eq!(says(messages.clone()), why, "{messages:?}");
    }
    // Received entries count against the announced number.
    let (_, b) = two_devices();
    let sealed = sealed(&[(at("wallet/keys/only-there"), b.heads("wallet/keys")[0].clone())]);
    let whole = |index| [batch(index, 1, sealed.len() as u64), Message::Chunk(sealed.clone())];
    let two = [vec![granted(2)], whole(0).into(), whole(1).into()].concat();
    assert_eq!(says(two.clone()), None);
    assert_eq!(says([two, whole(2).into()].concat()), blame(PeerMisbehaved::TooMany));
}

#[test]
fn an_ask_carries_what_was_asked() {
    let (mut a, mut b) = two_devices();
    for (pull, push) in [(true, false), (false, true), (true, true)] {
        let ask = sync("wallet", pull, push.then(|| may_give("wallet", &a)));
        run(ask, &mut a, &mut b);
        assert_eq!(a.sent()[0], open_sync(pull, push));
    }
    let waiting: SessionRequest = sync_by("wallet", Some(Take::Everything), Push::NotGranted, false);
    run(waiting, &mut a, &mut b);
    assert_eq!(a.sent()[0], open_sync(true, false), "what may not be given is not asked for");
}

#[test]
fn what_is_many_is_judged_by_all_that_the_asked_side_has_there() {
    for (readable, refused) in [(109, true), (110, false)] {
        let mut a = Node::new(A).allow(B, &ALL, "**");
        let mut b = Node::new(B).allow(A, &ALL, "**");
        (0..readable).for_each(|n| drop(b.put(&format!("a/v/{n}"))));
        a.copy_from(&b);
        (0..11).for_each(|n| drop(a.remove(&format!("a/v/{n}"))));
        a.on_plan = TaskResult::Proceed { deletions_confirmed: true };
        let ask = sync_both("**", &a);
        let asked = run(ask, &mut a, &mut b).1.unwrap();
        let losses = Losses { lost: 11, of: readable, there: false };
        assert_eq!(asked.err(), refused.then_some(SessionError::Deletions(losses)), "{readable}");
        let confirmed =
            b.told.iter().filter(|action| matches!(action, Action::Perform(Task::Confirm(_)))).count();
        assert_eq!(confirmed, usize::from(refused));
    }
}
