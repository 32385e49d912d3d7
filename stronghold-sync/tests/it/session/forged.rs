//! Tests of hostile peers whose batches contain entries that were not requested, announced or
//! permitted.

use stronghold_sync::{
    Ancestors, Operation, Shape,
    message::{Agreed, Message, Propose, Refusal},
    session::{PeerMisbehaved, SessionError, SessionRequest},
};

use super::{
    fetch,
    hostile::{batch, shape},
    import,
    tampered::guarded_devices,
    two_devices,
    world::*,
};

fn misbehaved(
    misbehaviour: PeerMisbehaved,
) -> Option<Result<stronghold_sync::session::Summary, SessionError>> {
    Some(Err(SessionError::PeerMisbehaved(misbehaviour)))
}

/// Runs a session in which B's only batch has this content instead.
fn with_batch(ask: SessionRequest, a: &mut Node, b: &mut Node, sealed: &[u8]) -> Outcome {
    with_batch_that_goes(Way::ToAsking, ask, a, b, sealed)
}

/// Runs a session in which the only batch in this direction has this content instead.
fn with_batch_that_goes(to: Way, ask: SessionRequest, a: &mut Node, b: &mut Node, sealed: &[u8]) -> Outcome {
    run_tampered(ask, a, b, |way, _, message| match message {
        Message::Batch(head) if way == to => {
            vec![batch(head.index, head.entries, sealed.len() as u64)]
        }
        Message::Chunk(_) if way == to => vec![Message::Chunk(sealed.to_vec())],
        other => vec![other],
    })
}

#[test]
fn who_may_write_but_not_delete_can_not_delete() {
    let (mut a, mut b) = two_devices();
    b.policy = Default::default();
    b.grant(A, &[Operation::Pull, Operation::Push], "**", false);
    let before = b.heads("wallet/web/gone-here");
    // The initiator is led to believe that it may delete, so its deletions arrive.
    let (_, asked) = run_tampered(sync_both("wallet", &a), &mut a, &mut b, |_, _, message| match message {
        Message::Agreed(agreed) => vec![Message::Agreed(Agreed { delete: agreed.push.clone(), ..agreed })],
        other => vec![other],
    });
    assert_eq!(asked, misbehaved(PeerMisbehaved::NotPermitted));
    assert_eq!(b.heads("wallet/web/gone-here"), before);
}

#[test]
fn an_entry_that_was_not_proposed_is_refused_though_its_giver_may_write_there() {
    let (mut a, mut b) = two_devices();
    let before = b.heads("**");
    let proposed = a.heads("wallet/web/only-here")[0].clone();
    let others = [
        (at("wallet/web/planted"), shape("wallet/web/planted", 7)),
        (at("wallet/web/only-here"), Shape { deleted: true, ..proposed.clone() }),
        (at("wallet/web/only-here"), Shape { size: 128, ..proposed.clone() }),
    ];
    for other in others {
        let batch = sealed(&[(at("wallet/web/only-here"), proposed.clone()), other]);
        let push = sync("wallet", false, Some(may_give("wallet", &a)));
        let (_, asked) = with_batch_that_goes(Way::ToAsked, push, &mut a, &mut b, &batch);
        assert_eq!(asked, misbehaved(PeerMisbehaved::Unrequested));
        assert_eq!(b.heads("**"), before, "nothing of the batch is kept");
    }
}

#[test]
fn an_unasked_entry_is_refused_and_nothing_of_its_batch_is_kept() {
    for ask in 0..3 {
        let (mut a, mut b) = two_devices();
        let before = a.heads("**");
        let asked_for = b.heads("wallet/keys")[0].clone();
        let planted = shape("work/web/planted", 7);
        let batch = sealed(&[(at("wallet/keys/only-there"), asked_for), (at("work/web/planted"), planted)]);
        let ask =
            [import("wallet"), fetch("wallet"), sync("wallet", true, None)].into_iter().nth(ask).unwrap();
        let (asking, asked) = with_batch(ask, &mut a, &mut b, &batch);
        assert_eq!(asking, misbehaved(PeerMisbehaved::Unrequested));
        assert_eq!(asked, Some(Err(SessionError::Refused(Refusal::ProtocolError))));
        assert_eq!(a.heads("**"), before);
    }
}

#[test]
fn an_entry_outside_the_selection_is_refused_even_where_its_shape_was_told() {
    let (mut a, mut b) = guarded_devices();
    let deletion = b.remove("private/own/secret");
    let before = a.heads("**");
    // The peer knows the key, and can make its digest match.
    let own = a.heads("wallet");
    let held = Some(set(own.iter().chain([&deletion]).map(Shape::entry)).summary().clone());
    let (asking, _) = run_tampered(sync("wallet", true, None), &mut a, &mut b, |way, _, message| {
        let batch_of = sealed(&[(at("private/own/secret"), deletion.clone())]);
        match message {
            Message::Agreed(agreed) => vec![Message::Agreed(Agreed { held: held.clone(), ..agreed })],
            Message::Missing(_) => vec![Message::Missing(vec![deletion.clone()])],
            Message::Want(_) => vec![],
            Message::Propose(_) => vec![],
            Message::Needed(_) => vec![],
            Message::DiffEnd => vec![
                Message::DiffEnd,
                Message::Accept(None),
                batch(0, 1, batch_of.len() as u64),
                Message::Chunk(batch_of),
            ],
            other if way == Way::ToAsking || !matches!(other, Message::End) => vec![other],
            _ => vec![],
        }
    });
    assert_eq!(asking, misbehaved(PeerMisbehaved::Unrequested));
    assert_eq!(a.heads("**"), before);
}

#[test]
fn deletions_announced_as_edits_are_refused() {
    let (mut a, mut b) = super::fifty_records();
    super::remove_some(&mut b, 20);
    let before = a.heads("**");
    let (asking, _) = run_tampered(sync("**", true, None), &mut a, &mut b, |_, _, message| match message {
        Message::Missing(shapes) => {
            let disguised = |shape: Shape| Shape { deleted: false, ..shape };
            vec![Message::Missing(shapes.into_iter().map(disguised).collect())]
        }
        other => vec![other],
    });
    assert_eq!((asking, a.heads("**")), (misbehaved(PeerMisbehaved::Unrequested), before.clone()));
    let (asking, _) = run_tampered(sync("**", true, None), &mut a, &mut b, |_, _, message| match message {
        Message::Missing(shapes) => {
            // Announced as conflicts: the edit here would stay readable.
            let disguised = |shape: Shape| Shape { ancestors: Ancestors::default(), ..shape };
            vec![Message::Missing(shapes.into_iter().map(disguised).collect())]
        }
        other => vec![other],
    });
    assert_eq!((asking, a.heads("**")), (misbehaved(PeerMisbehaved::Unrequested), before));
}

#[test]
fn a_deletion_in_answer_to_a_fetch_is_refused() {
    let (mut a, mut b) = two_devices();
    a.put("wallet/keys/only-there");
    let before = a.heads("**");
    let deletion = b.remove("wallet/keys/only-there");
    b.put("wallet/keys/only-there");
    let batch = sealed(&[(at("wallet/keys/only-there"), deletion)]);
    let (asking, _) = with_batch(fetch("wallet/keys"), &mut a, &mut b, &batch);
    assert_eq!((asking, a.heads("**")), (misbehaved(PeerMisbehaved::Unrequested), before));
}

#[test]
fn what_a_peer_may_not_write_or_delete_is_refused_and_logged() {
    let (mut a, b) = two_devices();
    let mut b = Node { policy: Default::default(), ..b };
    b.grant(A, &[Operation::Push], "wallet/web", false);
    let before = b.heads("**");
    let entry = shape("wallet/keys/planted", 7);
    let batch_of = sealed(&[(at("wallet/keys/planted"), entry.clone())]);
    let ask = sync("wallet/web", false, Some(may_give("wallet/web", &a)));
    let (_, asked) = run_tampered(ask, &mut a, &mut b, |way, _, message| match message {
        Message::Offer(_) => vec![Message::Offer(vec![entry.clone()])],
        Message::DigestEnd => vec![
            Message::DigestEnd,
            Message::Push(vec![entry.clone()]),
            Message::Propose(Propose { key: None }),
            batch(0, 1, batch_of.len() as u64),
            Message::Chunk(batch_of.clone()),
        ],
        other if way == Way::ToAsking || matches!(other, Message::Open(_)) => vec![other],
        _ => vec![],
    });
    assert_eq!((asked, b.heads("**")), (misbehaved(PeerMisbehaved::NotPermitted), before));
    let last = b.verdicts().pop().unwrap();
    assert!(!last.allowed && last.operation == Operation::Push);
}
