//! Checks the invariants after a session, whatever was done to it. They are derived from the rules
//! and the delivered messages, independently of the tested code.

use std::collections::BTreeSet;

use stronghold_sync::{
    DeviceId, Location, LocationId, Operation, Selection, Shape,
    message::Message,
    session::{Push, SessionRequest, TaskResult},
};

use super::{
    Link, run,
    world::{A, B, Node, Trace},
};

/// Checks that every entry an end has gained was requested, announced to it, and allowed.
pub(crate) fn nothing_taken(
    ask: &SessionRequest,
    a_before: &Node,
    a: &Node,
    b_before: &Node,
    b: &Node,
    link: &Link,
) {
    for (location, shape) in taken(a_before, a) {
        let may = match ask {
            SessionRequest::Browse { .. } => false,
            SessionRequest::Import { selection, .. } => selection.covers(&location),
            SessionRequest::Fetch { selection, .. } => !shape.deleted && selection.covers(&location),
            SessionRequest::Sync(sync) => {
                sync.take.is_some()
                    && sync.selection.covers(&location)
                    && was_announced(&link.announced_to_asking, &shape)
            }
        };
        assert!(may, "the asking side took {shape:?} of {location}");
    }
    for (location, shape) in taken(b_before, b) {
        let operation = if shape.deleted { Operation::Delete } else { Operation::Push };
        assert!(allows(b, A, operation, &location), "the asked side took {shape:?} of {location}");
        assert!(
            was_announced(&link.announced_to_asked, &shape),
            "the asked side took {shape:?}, never given"
        );
    }
}

/// Returns whether an entry was announced. Announcements name only some of the ancestors.
fn was_announced(announced: &[Shape], shape: &Shape) -> bool {
    let same =
        |one: &Shape| (one.entry(), one.size, one.deleted) == (shape.entry(), shape.size, shape.deleted);
    announced.iter().any(same)
}

/// Checks that some rule of an end allows every record that it disclosed to the peer.
pub(crate) fn nothing_told(a: &Node, b: &Node) {
    let places = |node: &Node| -> Vec<(LocationId, Location)> {
        node.records.iter().map(|(id, (location, _))| (*id, location.clone())).collect()
    };
    let places: Vec<(LocationId, Location)> = places(a).into_iter().chain(places(b)).collect();
    let place = |shape: &Shape| {
        let found = places.iter().find(|(id, _)| *id == shape.location);
        found.map(|(_, location)| location.clone()).expect("nobody tells of a record that nobody has")
    };
    for message in b.sent() {
        match message {
            Message::Missing(shapes) => {
                for shape in shapes {
                    assert!(allows(b, A, Operation::Pull, &place(&shape)), "told of {shape:?}");
                }
            }
            Message::Listing(found) => {
                for listing in found {
                    assert!(allows(b, A, Operation::Browse, &listing.location), "listed {listing:?}");
                }
            }
            Message::Push(_) | Message::Offer(_) | Message::Digest(_) => {
                panic!("asked, and tells: {message:?}")
            }
            _ => {}
        }
    }
    for message in a.sent() {
        if let Message::Push(shapes) | Message::Offer(shapes) = message {
            for shape in shapes {
                assert!(allows(a, B, Operation::Pull, &place(&shape)), "gave {shape:?}");
            }
        }
    }
}

/// Checks that the log has the decision before anything is disclosed.
pub(crate) fn logged_before_told(b: &Node) {
    let mut logged = false;
    for event in &b.events {
        match event {
            Trace::Logged(verdict) => logged |= verdict.allowed,
            Trace::Sent(
                Message::Missing(_) | Message::Listing(_) | Message::Granted(_) | Message::Batch(_),
            ) => assert!(logged, "told before it was logged"),
            Trace::Sent(_) => {}
        }
    }
}

/// Checks that after an honest and successful session each side has every requested entry, or a
/// newer one, that rules let it have without approval.
pub(crate) fn nothing_missing(
    ask: &SessionRequest,
    a_before: &Node,
    a: &Node,
    b_before: &Node,
    b: &Node,
    link: &Link,
) {
    let (Some(Ok(_)), Some(Ok(_)), TaskResult::Proceed { .. }) = (link.asking, link.asked, &a.on_plan) else {
        return;
    };
    for (location, shape) in held(b_before) {
        let (operation, selection) = match ask {
            SessionRequest::Import { selection, .. } => (Operation::Import, selection),
            SessionRequest::Fetch { selection, .. } if !shape.deleted => (Operation::Pull, selection),
            SessionRequest::Sync(sync) if sync.take.is_some() => (Operation::Pull, &sync.selection),
            _ => continue,
        };
        if selection.covers(&location) && allows_unasked(b, A, operation, &location) {
            assert!(has(a, &shape), "the asking side lacks {shape:?} of {location}");
        }
    }
    if let SessionRequest::Browse { selection } = ask {
        for (location, _) in held(b_before).into_iter().filter(|(_, shape)| !shape.deleted) {
            if selection.covers(&location) && allows_unasked(b, A, Operation::Browse, &location) {
                assert!(a.found.iter().any(|found| found.location == location), "{location} was not listed");
            }
        }
    }
    let SessionRequest::Sync(sync) = ask else { return };
    for (location, shape) in held(a_before) {
        let operation = if shape.deleted { Operation::Delete } else { Operation::Push };
        let gives = matches!(&sync.push, Push::Granted(grant) if grant.scope().covers(&location));
        if gives && sync.selection.covers(&location) && allows_unasked(b, A, operation, &location) {
            assert!(has(b, &shape), "the asked side lacks {shape:?} of {location}");
        }
    }
}

/// Checks that an honest session ends on both sides, and that repeating it changes nothing.
pub(crate) fn honest(ask: &SessionRequest, mut a: Node, mut b: Node, link: &Link) {
    let (Some(asking), Some(asked)) = (link.asking, link.asked) else {
        panic!("it ended on one side only: {:?}, {:?}", link.asking, link.asked);
    };
    assert_eq!(asking.is_ok(), asked.is_ok(), "{asking:?}, {asked:?}");
    let (SessionRequest::Sync(_), Ok(_), TaskResult::Proceed { .. }) = (ask, asking, &a.on_plan) else {
        return;
    };
    let before = (a.records.clone(), b.records.clone());
    let again = run(ask.clone(), &mut a, &mut b, &[]);
    let summary = again.asking.expect("it ends").expect("it was fine before");
    assert_eq!((summary.received, summary.sent), (0, 0), "the second of two syncs moves something");
    assert_eq!((a.records, b.records), before);
}

fn taken(before: &Node, after: &Node) -> Vec<(Location, Shape)> {
    let shapes = before.records.values().flat_map(|(_, heads)| heads);
    let known: BTreeSet<_> = shapes.map(|shape| (shape.entry(), shape.deleted)).collect();
    let is_new = |(_, shape): &(Location, Shape)| !known.contains(&(shape.entry(), shape.deleted));
    held(after).into_iter().filter(is_new).collect()
}

/// Returns every head and its location.
fn held(node: &Node) -> Vec<(Location, Shape)> {
    let records = node.records.values();
    records.flat_map(|(location, heads)| heads.iter().map(|head| (location.clone(), head.clone()))).collect()
}

/// Returns whether a node holds this revision, or one that has replaced it.
fn has(node: &Node, shape: &Shape) -> bool {
    let mut heads = node.records.get(&shape.location).into_iter().flat_map(|(_, heads)| heads);
    heads.any(|head| head.revision == shape.revision || head.ancestors.contains(&shape.revision))
}

/// Returns whether a rule lets this peer do this here without approval.
fn allows_unasked(node: &Node, peer: DeviceId, operation: Operation, location: &Location) -> bool {
    node.policy.rules().any(|rule| {
        let covers = Selection::covers(&rule.selection, location);
        rule.device == peer && rule.operations.contains(&operation) && covers && !rule.ask
    })
}

/// Returns whether a rule lets this peer do this here.
fn allows(node: &Node, peer: DeviceId, operation: Operation, location: &Location) -> bool {
    node.policy.rules().any(|rule| {
        let covers = Selection::covers(&rule.selection, location);
        rule.device == peer && rule.operations.contains(&operation) && covers && (!rule.ask || node.approves)
    })
}
