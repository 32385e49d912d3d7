//! Tests sessions with one message in flight replaced, dropped, duplicated, reflected, truncated or
//! altered: nothing is planted, and nothing is disclosed or taken without permission.

use stronghold_sync::{
    Edition, Selection,
    message::{
        Agreed, LeftOut, Listing, Message, Open, PROTOCOL, Propose, RecordList, Refusal, Request, Volume,
    },
    reconcile::{Content, Digest, NeedMore, RangeDigest, SetDigest},
    session::{Push, SessionError, SessionRequest, Take},
};

use super::{
    ALL, acquainted_devices, browse, fetch,
    hostile::{batch, shape},
    import, two_devices,
    world::*,
};

/// Returns one message of every kind.
pub(crate) fn one_of_each() -> Vec<Message> {
    let shape = shape("wallet/web/planted", 7);
    let everything = Some(Selection::everything());
    let location = at("wallet/web/planted");
    let (revision, size) = (shape.revision, 64);
    vec![
        Message::Open(Open {
            protocol: PROTOCOL,
            request: Request::Browse { selection: select("**") },
            edition: Edition::default(),
            pair_key: false,
        }),
        Message::Asking,
        Message::Agreed(Agreed {
            pull: everything.clone(),
            push: everything.clone(),
            delete: everything,
            held: Some(SetDigest::default()),
            day: None,
            candidates: None,
            edition: Edition::default(),
            copied: false,
        }),
        Message::Agreed(Agreed {
            pull: None,
            push: None,
            delete: None,
            held: None,
            day: None,
            candidates: None,
            edition: Edition::default(),
            copied: false,
        }),
        Message::Candidates(RecordList::new(vec![shape.location]).unwrap()),
        Message::Digest(Digest::Cells(symbols([shape.entry()]))),
        Message::Digest(Digest::Symbols(symbols([shape.entry()]))),
        Message::Digest(Digest::Ranges(vec![RangeDigest { end: None, content: Content::Full(vec![7]) }])),
        Message::NeedMore(NeedMore::More),
        Message::NeedMore(NeedMore::Rekeyed(Box::default())),
        Message::NeedMore(NeedMore::Ranges(vec![0])),
        Message::Mismatch,
        Message::Offer(vec![shape.clone()]),
        Message::DigestEnd,
        Message::Missing(vec![shape.clone()]),
        Message::Missing(vec![]),
        Message::Needed(symbols([shape.entry()])),
        Message::DiffEnd,
        Message::NamesWanted(vec![0]),
        Message::Names(vec![location.clone()]),
        Message::Names(vec![]),
        Message::LeftOut(LeftOut {
            not_taken: 1,
            untaken: vec![u32::MAX],
            not_given: u64::MAX,
            ungiven: vec![],
            copied: false,
        }),
        Message::LeftOut(LeftOut { ungiven: vec![location.clone(); 101], ..LeftOut::default() }),
        Message::Want(vec![0]),
        Message::Push(vec![shape.clone()]),
        Message::Propose(Propose { key: None }),
        Message::Propose(Propose { key: Some(key(1)) }),
        Message::Accept(None),
        Message::Accept(Some(key(1))),
        Message::Granted(Volume { entries: u64::MAX, bytes: u64::MAX }),
        Message::Granted(Volume::default()),
        Message::Listing(vec![Listing { location, revision, size, modified: ms(1), conflict: false }]),
        batch(0, 1, 10),
        batch(u64::MAX, u64::MAX, u64::MAX),
        Message::Chunk(vec![1; 10]),
        Message::Chunk(vec![]),
        Message::Ack(0),
        Message::Ack(u64::MAX),
        Message::End,
    ]
}

fn asks(a: &Node) -> Vec<SessionRequest> {
    let push = Some(may_give("wallet", a));
    let both = sync("wallet", true, push.clone());
    let named = sync_by("wallet", Some(Take::Everything), Push::No, true);
    let narrowed = both.clone();
    vec![
        import("wallet"),
        browse("wallet"),
        fetch("wallet"),
        both,
        narrowed,
        sync("wallet", false, push),
        named,
    ]
}

/// Returns the devices for one of [`asks`]: in the fourth, each knows what the other one holds.
fn devices(operation: usize) -> (Node, Node) {
    guarded(if operation == 4 { acquainted_devices() } else { two_devices() })
}

/// Runs every operation with one message in flight replaced, for each of its messages.
fn with_each_message(
    replaced: impl Fn(Message) -> Vec<Vec<Message>>,
    check: impl Fn(Way, Outcome, &Node, &Node),
) {
    for operation in 0..7 {
        for number in 0.. {
            let mut reached = None;
            let mut variants = 1;
            let mut variant = 0;
            while variant < variants {
                let (mut a, mut b) = devices(operation);
                let ask = asks(&a).remove(operation);
                let outcome = run_tampered(ask, &mut a, &mut b, |way, at, message| {
                    if at != number {
                        return vec![message];
                    }
                    reached = Some(way);
                    let mut choices = replaced(message);
                    variants = choices.len();
                    choices.swap_remove(variant)
                });
                if let Some(way) = reached {
                    check(way, outcome, &a, &b);
                }
                variant += 1;
            }
            if reached.is_none() {
                break;
            }
        }
    }
}

/// Returns the devices of [`two_devices`], each with a private record.
pub(crate) fn guarded_devices() -> (Node, Node) {
    guarded(two_devices())
}

/// Gives each device a private record.
pub(crate) fn guarded((mut a, mut b): (Node, Node)) -> (Node, Node) {
    for node in [&mut a, &mut b] {
        node.put("private/own/secret");
        let other = if node.id == A { B } else { A };
        node.policy = Default::default();
        node.grant(other, &ALL, "wallet", false);
    }
    (a, b)
}

/// Checks the invariants that hold whatever the peer does.
fn check_guarded(a: &Node, b: &Node) {
    for (node, id) in [(a, 0xA), (b, 0xB)] {
        let private = node.heads("private");
        assert_eq!(private.len(), 1);
        assert_eq!(private[0].revision.as_bytes()[0], id, "nothing was written outside the selection");
        assert!(!entries(&node.sent()).contains(&private[0].entry()));
        assert!(node.heads("**").iter().all(|head| head.revision.as_bytes()[0] != 7), "nothing was planted");
    }
}

#[test]
fn every_message_replaced_by_each_other_kind() {
    let counts = std::cell::RefCell::new([0u32; 3]);
    with_each_message(
        |_| one_of_each().into_iter().map(|message| vec![message]).collect(),
        |_, (asking, asked), a, b| {
            check_guarded(a, b);
            let outcome = match (asking, asked) {
                (Some(Ok(_)), Some(Ok(_))) => 0,
                (Some(Err(_)), _) | (_, Some(Err(_))) => 1,
                _ => 2,
            };
            counts.borrow_mut()[outcome] += 1;
        },
    );
    let [fine, errors, waiting] = counts.into_inner();
    assert!(errors > 10 * (fine + waiting), "{fine} fine, {errors} errors, {waiting} waiting");
}

/// Returns the message, and every valid message that differs from it in one bit of the encoding.
fn with_flipped_bits(message: &Message) -> Vec<Message> {
    let bytes = rmp_serde::to_vec(message).unwrap();
    let flipped = (0..8 * bytes.len()).filter_map(|bit| {
        let mut bent = bytes.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        rmp_serde::from_slice(&bent).ok()
    });
    flipped.chain([message.clone()]).collect()
}

/// Returns the messages of an honest session, in order.
fn messages_of(operation: usize) -> Vec<Message> {
    let (mut a, mut b) = devices(operation);
    let mut messages = Vec::new();
    run_tampered(asks(&a).remove(operation), &mut a, &mut b, |_, _, message| {
        messages.push(message.clone());
        vec![message]
    });
    messages
}

#[test]
fn every_bit_of_every_message_flipped() {
    for operation in 0..6 {
        let devices = devices(operation);
        for (number, message) in messages_of(operation).iter().enumerate() {
            for flipped in with_flipped_bits(message) {
                let (mut a, mut b) = devices.clone();
                let ask = asks(&a).remove(operation);
                run_tampered(ask, &mut a, &mut b, |_, at, honest| {
                    vec![if at == number { flipped.clone() } else { honest }]
                });
                check_guarded(&a, &b);
            }
        }
    }
}

#[test]
fn every_message_cut_at_every_byte_is_none() {
    with_each_message(
        |message| {
            let bytes = rmp_serde::to_vec(&message).unwrap();
            assert!((0..bytes.len()).all(|len| rmp_serde::from_slice::<Message>(&bytes[..len]).is_err()));
            vec![vec![message]]
        },
        |_, _, a, b| check_guarded(a, b),
    );
}

#[test]
fn every_message_dropped_or_duplicated_or_reflected() {
    with_each_message(
        |message| vec![vec![], vec![message.clone(), message]],
        |_, _, a, b| check_guarded(a, b),
    );
    for operation in 0..6 {
        for number in 0..20 {
            let (mut a, mut b) = devices(operation);
            let ask = asks(&a).remove(operation);
            let mut kept = None;
            run_tampered(ask, &mut a, &mut b, |_, at, message| {
                if at == number {
                    kept = Some(message);
                    return vec![];
                }
                // The message returns to its sender.
                if at == number + 1 {
                    kept.take().into_iter().chain([message]).collect()
                } else {
                    vec![message]
                }
            });
            check_guarded(&a, &b);
        }
    }
}

#[test]
fn a_refusal_in_place_of_any_message_ends_the_session_with_it() {
    with_each_message(
        |_| vec![vec![Message::Refused(Refusal::Stopped)]],
        |way, (asking, asked), a, b| {
            check_guarded(a, b);
            let told = if way == Way::ToAsked { asked } else { asking };
            let refused = Some(Err(SessionError::Refused(Refusal::Stopped)));
            assert!(told == refused || matches!(told, Some(Ok(_))), "{told:?}");
        },
    );
}
