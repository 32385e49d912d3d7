//! Syncs that compare only the records in which the sets may differ, as far as both sides know.

use std::{cell::Cell, collections::BTreeSet};

use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};
use stronghold_sync::{
    Ancestors, LocationId, Operation, Plan, RevisionId, Shape,
    message::{Agreed, Message, RecordList},
    reconcile::{Digest, NeedMore},
    session::{PeerMisbehaved, Push, SessionError, SessionRequest, Summary, Take},
};

use super::{ALL, acquainted_devices, hostile::shape, same_devices, two_devices, world::*};

fn records(messages: &[Message]) -> Option<(Vec<LocationId>, Vec<LocationId>)> {
    let agreed = |message: &Message| match message {
        Message::Agreed(Agreed { candidates, .. }) => {
            candidates.as_ref().map(|list| list.as_slice().to_vec())
        }
        _ => None,
    };
    let further = |message: &Message| match message {
        Message::Candidates(list) => Some(list.as_slice().to_vec()),
        _ => None,
    };
    Some((messages.iter().find_map(agreed)?, messages.iter().find_map(further)?))
}

fn sent(a: &Node, b: &Node) -> Vec<Message> {
    [a.sent(), b.sent()].concat()
}

fn ids(locations: &[&str]) -> Vec<LocationId> {
    let mut ids: Vec<LocationId> = locations.iter().map(|location| at(location).id()).collect();
    ids.sort();
    ids
}

fn fell_back(messages: &[Message]) -> bool {
    messages.iter().any(|message| matches!(message, Message::NeedMore(NeedMore::Rekeyed(_))))
}

#[test]
fn a_sync_looks_at_the_candidates_alone_and_ends_as_one_that_looks_at_all() {
    let (mut a, mut b) = acquainted_devices();
    let outcome = run(sync_both("**", &a), &mut a, &mut b);
    let (named, further) = records(&sent(&a, &b)).unwrap();
    let there = ["newer-there", "gone-there", "both", "edit-gone"].map(|name| format!("wallet/web/{name}"));
    let there: Vec<&str> = there.iter().map(String::as_str).chain(["wallet/keys/only-there"]).collect();
    let here = ["wallet/web/newer-here", "wallet/web/gone-here", "wallet/web/only-here"];
    assert_eq!((named, further), (ids(&there), ids(&here)));
    assert_eq!((a.collected, b.collected), (0, 0));
    assert_eq!((&a.looked_at, &b.looked_at), (&ids(&[&there[..], &here].concat()), &a.looked_at));
    let (mut c, mut d) = two_devices();
    assert_eq!(run(sync_both("**", &c), &mut c, &mut d), outcome);
    assert_eq!((c.collected, d.collected), (1, 1));
    assert_eq!((a.heads("**"), b.heads("**")), (c.heads("**"), d.heads("**")));
    assert_eq!((a.plan.as_ref(), &a.acknowledged), (c.plan.as_ref(), &c.acknowledged));
    assert_eq!((&a.known, &b.acknowledged), (&c.known, &d.acknowledged));
    // Now each knows that the other one has all, and one change is all that is looked at.
    b.put("wallet/web/same");
    let (asking, _) = run(sync_both("**", &a), &mut a, &mut b);
    assert_eq!(asking.unwrap().unwrap().received, 1);
    assert_eq!((&a.looked_at, &b.looked_at), (&ids(&["wallet/web/same"]), &a.looked_at));
    assert_eq!(records(&sent(&a, &b)), Some((ids(&["wallet/web/same"]), vec![])));
}

/// Shows that a side's memory of the other one only says where to look first.
#[test]
fn what_is_wrongly_believed_to_be_held_is_found_by_the_whole_sets() {
    for is_here in [true, false] {
        let (mut a, mut b) = acquainted_devices();
        let owner = if is_here { &mut a } else { &mut b };
        let lost = owner.put("wallet/web/same").revision;
        owner.confirmed.as_mut().unwrap().insert(lost);
        let outcome = run(sync_both("**", &a), &mut a, &mut b);
        assert!(outcome.0.unwrap().is_ok() && outcome.1.unwrap().is_ok());
        assert_eq!(a.heads("**"), b.heads("**"));
        assert_eq!((a.collected, b.collected, fell_back(&b.sent())), (1, 1, true));
        // Both times, the log comes first.
        let told = b.events.iter().filter(|event| {
            matches!(event, Trace::Logged(verdict) if verdict.operation == Operation::Pull)
                || matches!(event, Trace::Sent(Message::Agreed(_) | Message::NeedMore(_)))
        });
        let logged: Vec<bool> = told.map(|event| matches!(event, Trace::Logged(_))).collect();
        assert_eq!(logged, [false, true, false, true]);
    }
}

#[test]
fn unless_each_may_have_all_that_the_other_one_holds_all_is_compared() {
    let mostly = [Operation::Pull, Operation::Push];
    let granted = |a: &Node| sync_both("**", a);
    let only_wants = |_: &Node| sync("**", true, None);
    let may_not_give = |_: &Node| sync_by("**", Some(Take::Everything), Push::NotGranted, false);
    let gives_less = |a: &Node| sync("**", true, Some(may_give("wallet/web", a)));
    type Ask<'a> = &'a dyn Fn(&Node) -> SessionRequest;
    for (operations, selection, named, ask, narrowed) in [
        (&ALL[..], "**", true, &granted as Ask<'_>, true),
        (&mostly, "**", false, &granted, false),
        (&[Operation::Pull, Operation::Delete], "**", false, &granted, false),
        (&ALL, "**", false, &only_wants, false),
        (&ALL, "**", false, &may_not_give, false),
        (&ALL, "**", true, &gives_less, false),
        (&ALL, "wallet/web", true, &granted, false),
    ] {
        let (mut a, mut b) = acquainted_devices();
        b.policy = Node::new(B).allow(A, operations, selection).policy;
        let (asking, asked) = run(ask(&a), &mut a, &mut b);
        assert!(asking.unwrap().is_ok() && asked.unwrap().is_ok());
        let agreed = b.sent().into_iter().find_map(|message| match message {
            Message::Agreed(agreed) => Some(agreed.candidates.is_some()),
            _ => None,
        });
        assert_eq!(agreed, Some(named), "{operations:?}");
        let is_narrowed = records(&sent(&a, &b)).is_some();
        assert_eq!(is_narrowed, a.collected == 0);
        assert_eq!(is_narrowed, narrowed, "{operations:?} {selection}");
    }
    // Neither does a side that knows too little.
    for knows in [[true, false], [false, true]] {
        let (mut a, mut b) = acquainted_devices();
        a.confirmed = a.confirmed.filter(|_| knows[0]);
        b.confirmed = b.confirmed.filter(|_| knows[1]);
        assert!(run(sync_both("**", &a), &mut a, &mut b).0.unwrap().is_ok());
        assert_eq!((records(&sent(&a, &b)), a.heads("**")), (None, b.heads("**")));
    }
}

#[test]
fn a_dry_run_of_few_changes_counts_all_records() {
    let (mut a, mut b) = acquainted_devices();
    for number in 0..30 {
        let shape = a.put(&format!("wallet/many/{number}"));
        b.records.insert(shape.location, (at(&format!("wallet/many/{number}")), vec![shape.clone()]));
        a.confirmed.as_mut().unwrap().insert(shape.revision);
        b.confirmed.as_mut().unwrap().insert(shape.revision);
    }
    let (mut c, mut d) = (a.clone(), b.clone());
    (c.confirmed, d.confirmed) = (None, None);
    let of = |a: &mut Node, b: &mut Node| {
        let (asking, asked) = run(sync_both("**", a), a, b);
        let plan = a.plan.clone().unwrap();
        (asking, asked, plan.losses_here(), plan)
    };
    assert_eq!(of(&mut a, &mut b), of(&mut c, &mut d));
    assert_eq!((a.collected, c.collected), (0, 1));
}

/// Deletions of most records need the approval of the person there, who is told of how many.
#[test]
fn the_stop_for_many_deletions_counts_the_records_that_were_not_looked_at() {
    for (kept, stops) in [(5, true), (700, false)] {
        let (mut a, mut b) = same_devices();
        for number in 0..60 {
            a.put(&format!("wallet/gone/{number}"));
        }
        for number in 0..kept {
            a.put(&format!("wallet/kept/{number}"));
        }
        b.copy_from(&a);
        let held: BTreeSet<RevisionId> = a.heads("**").iter().map(|head| head.revision).collect();
        (a.confirmed, b.confirmed) = (Some(held.clone()), Some(held));
        for number in 0..60 {
            a.remove(&format!("wallet/gone/{number}"));
        }
        a.on_plan = stronghold_sync::session::TaskResult::Proceed { deletions_confirmed: true };
        let (asking, _) = run(sync_both("**", &a), &mut a, &mut b);
        assert_eq!((asking.unwrap().is_err(), b.collected), (stops, 0), "{kept}");
        let confirms = b.told.iter().any(|told| format!("{told:?}").contains("Confirm("));
        assert_eq!(confirms, stops, "{kept}");
    }
}

fn out_of_order<T>() -> Option<Result<T, SessionError>> {
    Some(Err(SessionError::PeerMisbehaved(PeerMisbehaved::OutOfOrder)))
}

#[test]
fn a_responder_takes_candidates_once_and_in_their_place() {
    let candidates = || Message::Candidates(RecordList::default());
    let foreign = || Message::Offer(vec![shape("wallet/web/planted", 7)]);
    let twice = |message: Message| match message {
        Message::Candidates(_) => vec![message.clone(), message],
        other => vec![other],
    };
    let other_parts = |message: Message| match message {
        Message::Digest(_) => vec![Message::Digest(Digest::Cells(vec![0; 8].into()))],
        other => vec![other],
    };
    type Tamper<'a> = &'a dyn Fn(Message) -> Vec<Message>;
    for tamper in [&twice as Tamper<'_>, &other_parts] {
        let (mut a, mut b) = acquainted_devices();
        let tamper = |_, _, message| tamper(message);
        let (_, asked) = run_tampered(sync_both("**", &a), &mut a, &mut b, tamper);
        assert_eq!(asked, out_of_order());
    }
    // After a part, after an offer, before one; and a record that the responder has named itself.
    let named = RecordList::new(ids(&["wallet/web/both"])).unwrap();
    for [first, second] in [
        [Message::Digest(Digest::Symbols(vec![0; 8].into())), candidates()],
        [foreign(), candidates()],
        [candidates(), foreign()],
        [Message::Candidates(named.clone()), Message::Digest(Digest::Symbols(Vec::new().into()))],
    ] {
        let (mut a, mut b) = acquainted_devices();
        let (_, asked) = run_tampered(sync_both("**", &a), &mut a, &mut b, |_, _, message| match message {
            Message::Candidates(_) => vec![first.clone(), second.clone()],
            other => vec![other],
        });
        assert_eq!(asked, out_of_order(), "{first:?}");
    }
    // None were named to begin with.
    let (mut a, mut b) = two_devices();
    let (_, asked) = run_tampered(sync_both("**", &a), &mut a, &mut b, |_, _, message| match message {
        Message::Digest(_) => vec![candidates(), message],
        other => vec![other],
    });
    assert_eq!(asked, out_of_order());
}

/// A peer that names an entry elsewhere would have it planned without a look at what is held there.
#[test]
fn an_entry_of_a_record_that_is_not_compared_is_refused() {
    let unrequested = Some(Err(SessionError::PeerMisbehaved(PeerMisbehaved::Unrequested)));
    let (mut a, mut b) = acquainted_devices();
    let mut planted = shape("wallet/web/same", 7);
    planted.deleted = true;
    let (asking, _) = run_tampered(sync_both("**", &a), &mut a, &mut b, |_, _, message| match message {
        Message::Missing(mut list) => {
            list.push(planted.clone());
            list.sort_by_key(Shape::entry);
            vec![Message::Missing(list)]
        }
        other => vec![other],
    });
    assert_eq!(asking, unrequested);
    // The symbol was told, so that the entry is one that the responder asks for.
    let (mut a, mut b) = acquainted_devices();
    let (_, asked) = run_tampered(sync_both("**", &a), &mut a, &mut b, |_, _, message| match message {
        Message::Digest(Digest::Symbols(list)) => {
            let more = [&list[..], &symbols([planted.entry()])].concat();
            vec![Message::Digest(Digest::Symbols(more.into()))]
        }
        // So that the honest initiator does not notice.
        Message::Needed(list) => {
            let own = symbols([planted.entry()]);
            let honest: Vec<u8> =
                list.as_chunks::<8>().0.iter().filter(|word| own != word[..]).flatten().copied().collect();
            vec![Message::Needed(honest.into())]
        }
        Message::Push(mut list) => {
            list.push(planted.clone());
            list.sort_by_key(Shape::entry);
            vec![Message::Push(list)]
        }
        other => vec![other],
    });
    assert_eq!(asked, unrequested);
}

/// Returns a node's plan without ancestors, of which each way of finding the difference sends as
/// many as it has to.
fn plan(node: &Node) -> Plan {
    let mut plan = node.plan.clone().unwrap_or_default();
    let lists = [&mut plan.take, &mut plan.give, &mut plan.beyond];
    lists.into_iter().flatten().for_each(|shape| shape.ancestors = Ancestors::default());
    plan
}

/// A step of a history: something at one of the devices, the first or the second, or a sync.
#[derive(Clone, Debug)]
enum Step {
    At(usize, Change),
    Sync,
}

/// A change at a device: of a record, of what it believes of the other one, or of all.
#[derive(Clone, Debug)]
enum Change {
    Write { record: u8, deleted: bool },
    Believe { pick: u8 },
    Forget { pick: u8 },
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        8 => (0..12u8, any::<bool>()).prop_map(|(record, deleted)| Change::Write { record, deleted }),
        1 => any::<u8>().prop_map(|pick| Change::Believe { pick }),
        1 => any::<u8>().prop_map(|pick| Change::Forget { pick }),
        1 => Just(Change::Restore),
    ];
    prop_oneof![11 => (0..2usize, change).prop_map(|(at, change)| Step::At(at, change)), 3 => Just(Step::Sync)]
}

fn apply(node: &mut Node, backup: &mut Node, change: &Change) {
    let heads = node.heads("**");
    let picked = |pick: u8| heads[usize::from(pick) % heads.len()].revision;
    let confirmed = node.confirmed.as_mut().unwrap();
    match change {
        Change::Write { record, deleted } => {
            let _ = node.write(&format!("wallet/web/{record}"), *deleted);
        }
        Change::Believe { pick } => {
            let _ = confirmed.insert(picked(*pick));
        }
        Change::Forget { pick } => {
            let _ = confirmed.remove(&picked(*pick));
        }
        Change::Restore => {
            let before = std::mem::replace(backup, node.clone());
            *node = Node { written: node.written, ..before };
        }
    }
}

/// Runs a sync, and compares it with one that looks at all records. Returns `true` if it looked at
/// some alone.
fn compare(a: &mut Node, b: &mut Node) -> Result<bool, TestCaseError> {
    let (mut c, mut d) = (a.clone(), b.clone());
    (c.confirmed, d.confirmed) = (None, None);
    let outcome = run(sync_both("**", a), a, b);
    let whole = run(sync_both("**", &c), &mut c, &mut d);
    let summary = |outcome: &Outcome| {
        let (asking, asked) = (outcome.0.unwrap().unwrap(), outcome.1.unwrap().unwrap());
        [asking, asked].map(|summary| Summary { round_trips: 0, ..summary })
    };
    prop_assert_eq!(summary(&outcome), summary(&whole));
    prop_assert_eq!((a.heads("**"), b.heads("**")), (c.heads("**"), d.heads("**")));
    prop_assert_eq!((plan(a), &a.acknowledged), (plan(&c), &c.acknowledged));
    prop_assert_eq!((&a.known, &b.known), (&c.known, &d.known));
    prop_assert_eq!(a.heads("**"), b.heads("**"));
    Ok(a.collected == 0)
}

#[test]
fn two_sides_end_as_if_they_compared_all_whatever_they_believe_of_each_other() {
    let [narrowed, all] = [const { Cell::new(0u32) }; 2];
    let run_of = |steps: Vec<Step>| {
        let (a, b) = same_devices();
        let mut nodes = [a, b].map(|node| Node { confirmed: Some(BTreeSet::new()), ..node });
        let mut backups = nodes.clone();
        for step in steps.into_iter().chain([Step::Sync]) {
            match step {
                Step::At(at, change) => apply(&mut nodes[at], &mut backups[at], &change),
                Step::Sync => {
                    let [a, b] = &mut nodes;
                    narrowed.set(narrowed.get() + u32::from(compare(a, b)?));
                    all.set(all.get() + 1);
                }
            }
        }
        Ok(())
    };
    let histories = prop::collection::vec(step(), 1..60);
    TestRunner::new(ProptestConfig::default()).run(&histories, run_of).unwrap();
    let (narrowed, all) = (narrowed.get(), all.get());
    assert!((all / 2..all - all / 10).contains(&narrowed), "{narrowed} narrowed of {all}");
}
