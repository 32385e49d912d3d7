//! Tests of dishonest peers: each gets a typed error, without a panic, and nothing is taken or
//! disclosed without permission.

use stronghold_sync::{
    Ancestors, Edition, RevisionId, Selection, Shape,
    message::{Agreed, Batch, LeftOut, Listing, Message, Open, PROTOCOL, Propose, Refusal, Request, Volume},
    reconcile::{Content, Digest, NeedMore, RangeDigest, SetDigest},
    session::{Initiator, MAX_SEALED, PeerMisbehaved, Responder, Session, SessionError, SessionRequest},
};

use super::{ALL, browse, import, tampered::guarded_devices, two_devices, world::*};

pub(crate) fn shape(location: &str, revision: u8) -> Shape {
    let (location, revision) = (at(location).id(), RevisionId::from_bytes([revision; 32]));
    Shape { location, revision, ancestors: Ancestors::default(), size: 64, deleted: false }
}

pub(crate) fn batch(index: u64, entries: u64, len: u64) -> Message {
    Message::Batch(Batch { index, entries, len })
}

/// Returns the responder's reaction to these messages.
pub(crate) fn responder_error(b: &mut Node, messages: Vec<Message>) -> Option<SessionError> {
    let mut end = End::new(Responder::new(b.policy.clone(), A, ms(0), key(0xB), SECRET), b);
    for message in messages {
        if end.result.is_none() {
            let _ = end.handle(message);
            end.turn();
        }
    }
    end.result.and_then(Result::err)
}

/// Returns the initiator's reaction to these messages.
pub(crate) fn initiator_error(
    ask: SessionRequest,
    a: &mut Node,
    messages: Vec<Message>,
) -> Option<SessionError> {
    let mut end = End::new(Initiator::new(ask), a);
    end.turn();
    for message in messages {
        if end.result.is_none() {
            let _ = end.handle(message);
            end.turn();
        }
    }
    end.result.and_then(Result::err)
}

pub(crate) fn open_sync(pull: bool, push: bool) -> Message {
    Message::Open(Open {
        protocol: PROTOCOL,
        request: Request::Sync { selection: select("wallet"), pull, push },
        edition: Edition::default(),
        pair_key: false,
    })
}

pub(crate) fn agreed() -> Message {
    let scope = || Some(select("wallet"));
    Message::Agreed(Agreed {
        pull: scope(),
        push: scope(),
        delete: scope(),
        held: Some(SetDigest::default()),
        day: None,
        candidates: None,
        edition: Edition::default(),
        copied: false,
    })
}

pub(crate) fn blame(misbehaviour: PeerMisbehaved) -> Option<SessionError> {
    Some(SessionError::PeerMisbehaved(misbehaviour))
}

#[test]
fn another_version_is_told_from_misbehaviour() {
    let (_, mut b) = two_devices();
    let request = Request::Browse { selection: select("**") };
    let error = responder_error(
        &mut b,
        vec![Message::Open(Open { protocol: 9, request, edition: Edition::default(), pair_key: false })],
    );
    assert_eq!(error, Some(SessionError::PeerIncompatible { ours: PROTOCOL, theirs: 9 }));
    assert_eq!(b.sent(), [Message::Refused(Refusal::Version)]);
}

#[test]
fn a_peer_says_once_that_it_asks_and_only_before_it_answers() {
    let (a, mut b) = two_devices();
    let out_of_order = blame(PeerMisbehaved::OutOfOrder);
    let listing = Listing {
        location: at("wallet/web/1"),
        revision: shape("wallet/web/1", 1).revision,
        size: 1,
        modified: ms(1),
        conflict: false,
    };
    let granted = Message::Granted(Volume { entries: 1, bytes: 1 });
    for (ask, messages) in [
        (import("wallet"), vec![Message::Asking, Message::Asking]),
        (import("wallet"), vec![granted, Message::Asking]),
        (browse("wallet"), vec![Message::Listing(vec![listing]), Message::Asking]),
        (sync_both("wallet", &a), vec![Message::Asking, agreed(), Message::Asking]),
    ] {
        assert_eq!(initiator_error(ask, &mut a.clone(), messages.clone()), out_of_order, "{messages:?}");
    }
    // Only the responder says so.
    assert_eq!(responder_error(&mut b, vec![Message::Asking]), out_of_order);
    assert_eq!(responder_error(&mut b, vec![open_sync(true, true), Message::Asking]), out_of_order);
}

#[test]
fn lists_out_of_order_repeated_or_empty_are_refused() {
    let (a, mut b) = two_devices();
    let (one, two) = (shape("wallet/web/1", 1), shape("wallet/web/2", 2));
    let mut sorted = vec![one.clone(), two];
    sorted.sort_by_key(Shape::entry);
    let reversed: Vec<Shape> = sorted.iter().rev().cloned().collect();
    for (list, why) in [
        (vec![reversed.clone()], PeerMisbehaved::Unordered),
        (vec![vec![one.clone(), one.clone()]], PeerMisbehaved::Unordered),
        (vec![sorted.clone(), vec![sorted[1].clone()]], PeerMisbehaved::Unordered),
        (vec![vec![]], PeerMisbehaved::OutOfOrder),
    ] {
        let messages = [open_sync(true, true)].into_iter().chain(list.iter().cloned().map(Message::Offer));
        assert_eq!(responder_error(&mut b, messages.collect()), blame(why));
        let mut a = a.clone();
        let messages = [agreed()].into_iter().chain(list.iter().cloned().map(Message::Missing));
        assert_eq!(initiator_error(sync_both("wallet", &a), &mut a.clone(), messages.collect()), blame(why));
        let listing = |shape: &Shape| Listing {
            location: at(if shape.revision == one.revision { "wallet/web/1" } else { "wallet/web/2" }),
            revision: shape.revision,
            size: 64,
            modified: ms(1),
            conflict: false,
        };
        if why == PeerMisbehaved::OutOfOrder {
            assert_eq!(initiator_error(browse("**"), &mut a, vec![Message::Listing(vec![])]), blame(why));
        } else {
            let twice = Message::Listing(vec![listing(&one), listing(&one)]);
            assert_eq!(initiator_error(browse("**"), &mut a, vec![twice]), blame(why));
        }
    }
}

#[test]
fn an_endless_list_ends_at_the_limit_of_memory() {
    let (_, mut b) = two_devices();
    let revision = |n: u32| {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        RevisionId::from_bytes(id)
    };
    let ancestors =
        Ancestors::from_newest_first((0..1024).map(|n| revision(u32::MAX - n)).collect()).unwrap();
    let mut end = End::new(Responder::new(b.policy.clone(), A, ms(0), key(0xB), SECRET), &mut b);
    end.handle(open_sync(true, true)).unwrap();
    end.turn();
    for n in 0u32.. {
        let mut record = shape("wallet/web/1", 1);
        record.ancestors = ancestors.clone();
        record.revision = revision(n);
        if let Err(error) = end.handle(Message::Offer(vec![record])) {
            assert_eq!(error, SessionError::PeerMisbehaved(PeerMisbehaved::TooMany));
            assert!((10_000..100_000).contains(&n), "after {n}");
            return;
        }
    }
}

/// A server buffers no more of a peer's lists than its limit.
#[test]
fn a_list_ends_at_the_number_of_entries_that_is_staged() {
    for (most, fits) in [(3, true), (2, false)] {
        let (_, mut b) = two_devices();
        let asked = Responder::new(b.policy.clone(), A, ms(0), key(0xB), SECRET).with_entry_limit(most);
        let mut end = End::new(asked, &mut b);
        end.handle(open_sync(true, true)).unwrap();
        end.turn();
        let offered = (1..=3).map(|n| shape("wallet/web/1", n)).collect();
        let too_many = SessionError::PeerMisbehaved(PeerMisbehaved::TooMany);
        assert_eq!(end.handle(Message::Offer(offered)), if fits { Ok(()) } else { Err(too_many) });
    }
}

#[test]
fn an_endless_sketch_ends_at_the_limit_of_cells() {
    for telling in [Digest::Cells, Digest::Symbols] {
        let (_, mut b) = two_devices();
        let mut end = End::new(Responder::new(b.policy.clone(), A, ms(0), key(0xB), SECRET), &mut b);
        end.handle(open_sync(true, true)).unwrap();
        end.turn();
        let part = || Message::Digest(telling(serde_bytes::ByteBuf::from(vec![1; 48 << 10])));
        let error = (0..1000).find_map(|_| end.handle(part()).err());
        assert_eq!(error, Some(SessionError::PeerMisbehaved(PeerMisbehaved::TooManyCells)));
    }
    let (_, mut b) = two_devices();
    let cut = Message::Digest(Digest::Cells(serde_bytes::ByteBuf::from(vec![1; 9])));
    assert_eq!(
        responder_error(&mut b, vec![open_sync(true, true), cut]),
        blame(PeerMisbehaved::TooManyCells)
    );
}

#[test]
fn a_sketch_of_no_set_runs_through_the_fallbacks_and_ends() {
    let (_, mut b) = two_devices();
    let noise = || {
        let cells: Vec<u8> = (0u32..8000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        Message::Digest(Digest::Cells(serde_bytes::ByteBuf::from(cells)))
    };
    let ranges = || {
        Message::Digest(Digest::Ranges(vec![RangeDigest { end: None, content: Content::Sum(1 << 40, 3) }]))
    };
    let mut messages = vec![open_sync(true, true)];
    // Two sketches under each of two keys, then ranges.
    messages.extend((0..4).flat_map(|_| [noise(), Message::DigestEnd]));
    messages.extend((0..20).flat_map(|_| [ranges(), Message::DigestEnd]));
    assert_eq!(responder_error(&mut b, messages.clone()), None);
    messages.extend([ranges(), Message::DigestEnd]);
    assert_eq!(responder_error(&mut b, messages), blame(PeerMisbehaved::BadRanges));
}

#[test]
fn a_difference_that_does_not_add_up_is_looked_for_again_and_then_refused() {
    let (a, _) = two_devices();
    let outside = shape("wallet/web/unheard-of", 9).entry();
    let lie = || [Message::Needed(symbols([outside])), Message::DiffEnd];
    let says = |messages: Vec<Message>| {
        let mut a = a.clone();
        let error = initiator_error(sync_both("wallet", &a.clone()), &mut a, messages);
        (error, a.sent().pop().unwrap())
    };
    let mut messages = vec![agreed()];
    messages.extend(lie());
    assert_eq!(says(messages.clone()), (None, Message::Mismatch));
    let mut again = messages.clone();
    again.extend(lie());
    assert_eq!(says(again).0, blame(PeerMisbehaved::OutOfOrder));
    messages.push(Message::NeedMore(NeedMore::Rekeyed(Box::default())));
    messages.extend(lie());
    messages.push(Message::NeedMore(NeedMore::Ranges(vec![0])));
    messages.extend(lie());
    assert_eq!(says(messages).0, blame(PeerMisbehaved::FalseDifference));
}

#[test]
fn who_wants_or_gives_by_a_difference_can_not_have_it_found_again() {
    let (_, mut b) = two_devices();
    let own = shape("wallet/web/new", 9);
    for begun in [Message::Want(vec![1]), Message::Push(vec![own.clone()])] {
        let messages = vec![
            open_sync(true, true),
            Message::Digest(Digest::Symbols(symbols([own.entry()]))),
            Message::DigestEnd,
            begun,
            Message::Mismatch,
        ];
        assert_eq!(responder_error(&mut b, messages), blame(PeerMisbehaved::OutOfOrder));
    }
}

#[test]
fn a_peer_that_asks_for_ranges_for_ever_is_stopped() {
    let (a, _) = two_devices();
    let mut messages = vec![agreed(), Message::NeedMore(NeedMore::Rekeyed(Box::default()))];
    messages.extend((0..100).map(|_| Message::NeedMore(NeedMore::Ranges(vec![0]))));
    let error = initiator_error(sync_both("wallet", &a), &mut a.clone(), messages);
    assert_eq!(error, blame(PeerMisbehaved::BadRanges));
}

#[test]
fn only_what_was_told_may_be_wanted_or_given_and_once() {
    let (a, mut b) = two_devices();
    let outside = shape("wallet/web/unheard-of", 9);
    let own = shape("wallet/web/new", 9);
    let tell = || Message::Digest(Digest::Symbols(symbols([own.entry()])));
    let told = || vec![open_sync(true, true), tell(), Message::DigestEnd];
    let mut both = vec![own.clone(), outside.clone()];
    both.sort_by_key(Shape::entry);
    for (list, why) in [
        (vec![Message::Want(vec![99])], PeerMisbehaved::Unrequested),
        (vec![Message::Push(vec![outside.clone()])], PeerMisbehaved::Unrequested),
        (vec![Message::Push(both)], PeerMisbehaved::Unrequested),
        (vec![Message::Want(vec![0, 0])], PeerMisbehaved::Unrequested),
        (vec![Message::Push(vec![own.clone()]), Message::Push(vec![own.clone()])], PeerMisbehaved::Unordered),
        (vec![Message::Want(vec![])], PeerMisbehaved::OutOfOrder),
    ] {
        let messages = told().into_iter().chain(list).collect();
        assert_eq!(responder_error(&mut b, messages), blame(why));
    }
    let want_without_key = vec![Message::Want(vec![0]), Message::Propose(Propose { key: None })];
    let messages = told().into_iter().chain(want_without_key).collect();
    assert_eq!(responder_error(&mut b, messages), blame(PeerMisbehaved::BadKey));

    let ask = || sync_both("wallet", &a);
    let known = a.heads("wallet/web/only-here")[0].entry();
    let says = |messages: Vec<Message>| initiator_error(ask(), &mut a.clone(), messages);
    let others =
        a.heads("wallet").iter().map(Shape::entry).filter(|entry| *entry != known).collect::<Vec<_>>();
    let Message::Agreed(agreed) = agreed() else { unreachable!() };
    let held = Some(set(others).summary().clone());
    let up_to_want = |want: Vec<u32>, key| {
        vec![
            Message::Agreed(Agreed { held: held.clone(), ..agreed.clone() }),
            Message::Needed(symbols([known])),
            Message::DiffEnd,
            Message::Want(want),
            Message::Accept(key),
        ]
    };
    assert_eq!(says(up_to_want(vec![1], None)), blame(PeerMisbehaved::Unrequested));
    assert_eq!(says(up_to_want(vec![0, 0], None)), blame(PeerMisbehaved::Unrequested));
    assert_eq!(says(up_to_want(vec![0], None)), blame(PeerMisbehaved::BadKey));
    assert_eq!(says(up_to_want(vec![0], Some(key(1)))), None);
}

#[test]
fn a_side_that_was_not_asked_for_or_granted_a_direction_gets_none() {
    let (a, mut b) = two_devices();
    let list = vec![shape("wallet/web/1", 1)];
    let out_of_order = blame(PeerMisbehaved::OutOfOrder);
    let tell = || Message::Digest(Digest::Symbols(symbols([list[0].entry()])));
    let messages = vec![open_sync(false, true), tell()];
    assert_eq!(responder_error(&mut b, messages), out_of_order);
    let messages = vec![open_sync(true, false), Message::Offer(list.clone())];
    assert_eq!(responder_error(&mut b, messages), out_of_order);
    let messages = vec![open_sync(true, false), tell(), Message::DigestEnd, Message::Push(list.clone())];
    assert_eq!(responder_error(&mut b, messages), out_of_order);
    let push_only = sync("wallet", false, Some(may_give("wallet", &a)));
    let Message::Agreed(agreed) = agreed() else { unreachable!() };
    let messages = vec![Message::Agreed(Agreed { held: None, pull: None, ..agreed }), Message::Missing(list)];
    assert_eq!(initiator_error(push_only, &mut a.clone(), messages), blame(PeerMisbehaved::Unrequested));
    let nothing = Message::Agreed(Agreed {
        pull: None,
        push: None,
        delete: None,
        held: None,
        day: None,
        candidates: None,
        edition: Edition::default(),
        copied: false,
    });
    assert_eq!(initiator_error(sync_both("wallet", &a), &mut a.clone(), vec![nothing]), out_of_order);
}

#[test]
fn a_peer_that_agrees_to_more_than_was_asked_learns_no_more() {
    let (mut a, _) = guarded_devices();
    let everything = || Some(Selection::everything());
    let held = Some(SetDigest::default());
    let agreed = Agreed {
        pull: everything(),
        push: everything(),
        delete: everything(),
        held,
        day: None,
        candidates: None,
        edition: Edition::default(),
        copied: false,
    };
    let ask = sync_both("wallet/web", &a);
    assert_eq!(initiator_error(ask, &mut a, vec![Message::Agreed(agreed)]), None);
    let selected = symbols(a.heads("wallet/web").iter().map(Shape::entry));
    assert_eq!(a.sent()[1..], [Message::Digest(Digest::Symbols(selected)), Message::DigestEnd]);
}

#[test]
fn batches_have_to_be_what_their_heads_say() {
    let (_, b) = two_devices();
    let sealed = sealed(&[(at("wallet/keys/only-there"), b.heads("wallet/keys")[0].clone())]);
    let len = sealed.len() as u64;
    let granted = |entries| Message::Granted(Volume { entries, bytes: 64 });
    let chunk = |from: usize, to: usize| Message::Chunk(sealed[from..to].to_vec());
    let says = |messages: Vec<Message>| initiator_error(import("**"), &mut Node::new(A), messages);
    let fine = vec![granted(1), batch(0, 1, len), chunk(0, 10), chunk(10, sealed.len()), Message::End];
    assert_eq!(says(fine), None);
    for (messages, why) in [
        (vec![granted(u64::MAX)], PeerMisbehaved::TooMany),
        (vec![granted(1), batch(0, 2, len)], PeerMisbehaved::TooMany),
        (vec![granted(5_000), batch(0, 1_001, len)], PeerMisbehaved::TooMany),
        (vec![granted(1), batch(0, 0, len)], PeerMisbehaved::TooMany),
        (vec![granted(1), batch(0, 1, 0)], PeerMisbehaved::BadBatch),
        (vec![granted(1), batch(0, 1, MAX_SEALED + 1)], PeerMisbehaved::BadBatch),
        (vec![granted(1), batch(1, 1, len)], PeerMisbehaved::OutOfOrder),
        (vec![granted(2), batch(0, 1, len), batch(1, 1, len)], PeerMisbehaved::OutOfOrder),
        (vec![granted(1), chunk(0, 1)], PeerMisbehaved::OutOfOrder),
        (vec![granted(1), batch(0, 1, len), Message::Chunk(vec![])], PeerMisbehaved::BadBatch),
        (vec![granted(1), batch(0, 1, len - 1), chunk(0, sealed.len())], PeerMisbehaved::BadBatch),
        (vec![granted(1), batch(0, 1, len), chunk(0, 1), Message::End], PeerMisbehaved::OutOfOrder),
        (vec![granted(1), batch(0, 1, 3), Message::Chunk(vec![0xC1; 3])], PeerMisbehaved::BadBatch),
    ] {
        assert_eq!(says(messages.clone()), blame(why), "{messages:?}");
    }
}

#[test]
fn who_gives_does_not_end_within_a_batch() {
    let (_, b) = two_devices();
    let own = shape("wallet/web/new", 9);
    let sealed = sealed(&[(at("wallet/web/new"), own.clone())]);
    let says = |cut: usize| {
        let messages = vec![
            open_sync(true, true),
            Message::Digest(Digest::Symbols(symbols([own.entry()]))),
            Message::DigestEnd,
            Message::Push(vec![own.clone()]),
            Message::Propose(Propose { key: None }),
            batch(0, 1, sealed.len() as u64),
            Message::Chunk(sealed[..cut].to_vec()),
            Message::End,
        ];
        let mut b = b.clone();
        let error = responder_error(&mut b, messages);
        (error, b.heads("wallet/web/new").len())
    };
    assert_eq!(says(sealed.len()), (None, 1));
    for cut in [1, sealed.len() - 1] {
        assert_eq!(says(cut), (blame(PeerMisbehaved::OutOfOrder), 0), "{cut}");
    }
}

#[test]
fn confirmations_come_in_order_and_for_what_was_sent() {
    let open = |index| {
        let request = Request::Import { selection: select("**"), key: key(0xA) };
        vec![
            Message::Open(Open { protocol: PROTOCOL, request, edition: Edition::default(), pair_key: false }),
            Message::Ack(index),
        ]
    };
    let mut b = Node::new(B).allow(A, &ALL, "**");
    (0..2_500).for_each(|n| drop(b.put(&format!("wallet/web/{n}"))));
    assert_eq!(responder_error(&mut b, open(0)), None);
    assert_eq!(responder_error(&mut b, open(1)), blame(PeerMisbehaved::OutOfOrder));
    let twice = open(0).into_iter().chain([Message::Ack(0)]).collect();
    assert_eq!(responder_error(&mut b, twice), blame(PeerMisbehaved::OutOfOrder));
}

#[test]
fn a_message_while_the_host_owes_an_answer_is_misuse() {
    let (_, b) = two_devices();
    let mut session = Responder::new(b.policy.clone(), A, ms(0), key(0xB), SECRET);
    let request = Request::Import { selection: select("**"), key: key(0xA) };
    session
        .handle_message(Message::Open(Open {
            protocol: PROTOCOL,
            request,
            edition: Edition::default(),
            pair_key: false,
        }))
        .unwrap();
    assert_eq!(session.handle_message(Message::End), Err(SessionError::ApiMisuse));
    assert_eq!(session.handle_message(Message::End), Err(SessionError::ApiMisuse));
}

/// The user reads the reported names and indices: at most a hundred of each, once in a session.
#[test]
fn what_stays_is_told_once_and_of_at_most_a_hundred() {
    let named = |number: usize| {
        Message::LeftOut(LeftOut {
            not_given: 1,
            ungiven: vec![at("wallet/web/mail"); number],
            ..LeftOut::default()
        })
    };
    let placed = |number: u32| {
        Message::LeftOut(LeftOut { not_taken: 1, untaken: (0..number).collect(), ..LeftOut::default() })
    };
    let says = |messages: Vec<Message>| {
        let (_, mut b) = two_devices();
        let error = responder_error(&mut b, [vec![open_sync(true, true)], messages].concat());
        (error, b.left.take())
    };
    for (message, told) in [(named(100), (0, 100)), (placed(100), (0, 0))] {
        let (error, left) = says(vec![message]);
        let left = left.unwrap();
        assert_eq!((error, (left.ungiven.len(), left.untaken.len())), (None, told));
    }
    assert_eq!(says(vec![named(101)]).0, blame(PeerMisbehaved::TooMany));
    assert_eq!(says(vec![placed(101)]).0, blame(PeerMisbehaved::TooMany));
    assert_eq!(says(vec![named(1), named(1)]).0, blame(PeerMisbehaved::OutOfOrder));
}
