//! Syncs of equal sets: digests tell, and no shape is collected on either side.

use stronghold_sync::{
    Operation, RevisionId,
    message::{Agreed, Message, Open},
    reconcile::SetKey,
    session::{PeerMisbehaved, SessionError, SessionRequest, SyncOptions},
};

use super::{ALL, two_devices, world::*};

/// Returns the request with the secret of the pair.
fn paired(ask: SessionRequest) -> SessionRequest {
    match ask {
        SessionRequest::Sync(ask) => SessionRequest::Sync(SyncOptions { pair: Some(PAIR), ..ask }),
        other => other,
    }
}

fn level_devices() -> (Node, Node) {
    let (a, mut b) = two_devices();
    b.copy_from(&a);
    (a, b)
}

#[test]
fn equal_sets_are_found_to_be_equal_without_a_shape() {
    for is_paired in [false, true] {
        let (mut a, mut b) = level_devices();
        let ask = |a: &Node| if is_paired { paired(sync_both("**", a)) } else { sync_both("**", a) };
        let (asking, asked) = run(ask(&a), &mut a, &mut b);
        let (asking, asked) = (asking.unwrap().unwrap(), asked.unwrap().unwrap());
        assert_eq!((asking.unchanged, asking.round_trips, asked.received), (8, 1, 0));
        assert_eq!((a.collected, b.collected), (0, 0));
        let day = |message: &Message| match message {
            Message::Agreed(Agreed { day, .. }) => Some(*day),
            _ => None,
        };
        assert_eq!(b.sent().iter().find_map(day), Some(is_paired.then_some(0)));
        let heads = a.heads("**");
        for side in [&a, &b] {
            assert!(heads.iter().all(|head| side.known.contains(&head.revision)), "both know what both hold");
            let acknowledged = side.acknowledged.as_ref().unwrap();
            assert!(acknowledged.except.is_empty());
        }
        // A change, and both collect their shapes once.
        b.put("wallet/web/same");
        let (asking, _) = run(ask(&a), &mut a, &mut b);
        assert_eq!((asking.unwrap().unwrap().received, a.heads("**")), (1, b.heads("**")));
        assert_eq!((a.collected, b.collected), (1, 1));
    }
}

#[test]
fn what_lies_outside_the_compared_set_is_looked_at() {
    for (operations, selection, collects) in
        [(&ALL[..], "wallet/keys", true), (&ALL[..], "**", false), (&[Operation::Pull][..], "**", false)]
    {
        let (mut a, mut b) = level_devices();
        b.policy = Node::new(B).allow(A, operations, selection).policy;
        let (asking, _) = run(paired(sync_both("**", &a)), &mut a, &mut b);
        assert!(asking.unwrap().is_ok());
        assert_eq!((a.collected > 0, b.collected), (collects, 0), "{operations:?} {selection}");
    }
    for given in [Operation::Push, Operation::Delete] {
        let (mut a, mut b) = level_devices();
        b.policy = Node::new(B).allow(A, &[Operation::Pull], "wallet/web").allow(A, &[given], "**").policy;
        a.write("wallet/keys/new", given == Operation::Delete);
        let (asking, asked) = run(paired(sync_both("**", &a)), &mut a, &mut b);
        let (asking, asked) = (asking.unwrap().unwrap(), asked.unwrap().unwrap());
        assert_eq!((asking.sent, asked.received), (1, 1), "{given:?}");
    }
}

#[test]
fn a_day_that_was_not_offered_is_misbehaviour() {
    let (mut a, mut b) = level_devices();
    let name_a_day = |_, _, message| match message {
        Message::Agreed(agreed) => vec![Message::Agreed(Agreed { day: Some(3), ..agreed })],
        other => vec![other],
    };
    let (asking, _) = run_tampered(sync_both("**", &a), &mut a, &mut b, name_a_day);
    assert_eq!(asking, Some(Err(SessionError::PeerMisbehaved(PeerMisbehaved::OutOfOrder))));
    // Another day than that of the responder: the sets seem to differ, and the fallback tells.
    b.put("wallet/web/same");
    let (asking, _) = run_tampered(paired(sync_both("**", &a)), &mut a, &mut b, name_a_day);
    assert_eq!((asking.unwrap().unwrap().received, a.heads("**")), (1, b.heads("**")));
    // A key that the initiator has, and did not name.
    let hide = |_, _, message| match message {
        Message::Open(open) => vec![Message::Open(Open { pair_key: false, ..open })],
        other => vec![other],
    };
    let (asking, _) = run_tampered(paired(sync_both("**", &a)), &mut a, &mut b, hide);
    assert!(asking.unwrap().is_ok() && a.collected == 0 && b.collected == 0);
}

/// The key of the day is known to the peer. With it, it finds values with equal symbols after some
/// million attempts: two of them at one device cancel each other out of every cell. The fingerprint
/// tells, and the attempt under the session's key finds them.
#[test]
fn values_made_to_have_one_symbol_under_the_key_of_a_day_arrive() {
    let planted = [3_121_857u32, 4_708_629].map(|number| {
        let mut id = [0xEE; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        RevisionId::from_bytes(id)
    });
    for is_here in [true, false] {
        let (mut a, mut b) = level_devices();
        for number in 0..200 {
            a.put(&format!("wallet/keys/{number}"));
        }
        b.copy_from(&a);
        let owner = if is_here { &mut a } else { &mut b };
        let mut shape = owner.put("wallet/web/planted");
        let heads = planted.map(|revision| {
            shape.revision = revision;
            shape.clone()
        });
        owner.records.insert(shape.location, (at("wallet/web/planted"), heads.to_vec()));
        let key = SetKey::new(&PAIR.of_day(0), 0);
        assert_eq!(key.symbol(&heads[0].entry()), key.symbol(&heads[1].entry()));
        let (asking, asked) = run(paired(sync_both("**", &a)), &mut a, &mut b);
        assert!(asking.unwrap().is_ok() && asked.unwrap().is_ok());
        assert_eq!((a.heads("wallet/web/planted").len(), a.heads("**")), (2, b.heads("**")), "{is_here}");
    }
}
