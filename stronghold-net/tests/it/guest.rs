//! Tests a guest: a paired device with few rights that makes the most of them, over real sockets
//! and files. Its owner's data stays, stays visible, and can be restored.
//!
//! The guest was granted pull, push or nothing, and tries to
//! - gain as the responder: `who_is_asked_takes_nothing_over_and_deletes_nothing`,
//! - block others by a record with many heads: `a_record_with_many_heads_stops_no_sync`,
//! - remove a value for good: `what_a_guest_pushes_over_a_value_leaves_it_in_the_history`,
//!   `neither_refusals_nor_pushes_take_undo_away`,
//! - have its value read in place of another:
//!   `a_pushed_value_does_not_take_over_what_was_written_here`,
//! - delete many records without consent: `many_deletions_want_the_word_of_who_loses`,
//! - learn about hidden entries: `what_no_rule_covers_and_what_is_not_there_are_answered_alike`.

use std::net::SocketAddr;

use crate::attacker::{Hostile, heads_of_one_record};
use crate::common::{ALL, Device};
use stronghold_net::{
    BoxFuture, Direction, Limits, NoHandler, Outcome, Peer, PeerError, PlanDecision, Server, SessionHandler,
    SyncRequest,
};
use stronghold_sync::{
    Location, Operation, Plan, Selection, SkipReason, Timestamp,
    message::{Message, Refusal, Request},
    session::{BATCH_ENTRIES, SessionError},
};
use stronghold_vault::{Entry, Labels, PendingStep, Revision, Stronghold};
use tokio::net::{TcpListener, TcpStream};

async fn serving(device: &Device) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(&device.home).with_limits(Limits::default());
    tokio::spawn(async move { server.run(listener, std::future::pending()).await });
    address
}

/// Creates an owner that grants these operations to a guest, and the guest, which grants the owner
/// everything.
fn owner_and_guest(may: &[Operation], selection: &str) -> (Device, Device) {
    let (owner, guest) = (Device::new("owner"), Device::new("guest"));
    owner.grant(&guest, may, selection);
    guest.grant(&owner, ALL, "**");
    (owner, guest)
}

async fn sync_as(
    device: &Device,
    other: &Device,
    address: SocketAddr,
    handler: &mut dyn SessionHandler,
) -> Result<Outcome, PeerError> {
    let stream = TcpStream::connect(address).await.unwrap();
    let peer = Peer::connect(stream, &device.home, other.device()).await?;
    peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), handler).await
}

async fn sync(device: &Device, other: &Device, address: SocketAddr) -> Result<Outcome, PeerError> {
    sync_as(device, other, address, &mut NoHandler).await
}

fn at(location: &str) -> Location {
    location.parse().unwrap()
}

fn value(device: &Device, location: &str) -> String {
    let home = device.home.lock();
    let reading = home.stronghold().read(&at(location)).unwrap();
    String::from_utf8(reading.revision.value.to_vec()).unwrap()
}

/// Returns every value that is left in a record's history.
fn values(device: &Device, location: &str) -> Vec<String> {
    let home = device.home.lock();
    let stronghold = home.stronghold();
    let history = stronghold.history(&at(location)).unwrap();
    let read = |revision| stronghold.read_revision(&at(location), &revision).unwrap().value.to_vec();
    history.iter().map(|version| String::from_utf8(read(version.revision)).unwrap()).collect()
}

#[tokio::test]
async fn who_is_asked_takes_nothing_over_and_deletes_nothing() {
    let (owner, guest) = owner_and_guest(&[Operation::Pull], "**");
    owner.put_all((0..30).map(|n| (format!("wallet/web/{n}"), format!("value {n}"))));
    sync(&guest, &owner, serving(&owner).await).await.unwrap();
    let before = owner.entries();
    assert_eq!(guest.entries(), before);
    guest.put("wallet/web/0", "EVIL");
    guest.put("wallet/web/new", "EVIL");
    (1..11).for_each(|n| guest.remove(&format!("wallet/web/{n}")));
    let address = serving(&guest).await;
    for _ in 0..3 {
        let done = sync(&owner, &guest, address).await.unwrap();
        assert_eq!((done.summary.received, done.summary.deleted), (0, 0));
        let waits = |why| done.plan.not_taken.iter().filter(|left| left.why == why).count();
        assert_eq!(
            (waits(SkipReason::MayNotPush), waits(SkipReason::MayNotDelete)),
            (2, 10),
            "and it is told"
        );
        assert_eq!(owner.entries(), before);
    }
}

/// The guest pushes 256 concurrent revisions, which no editing device creates.
#[tokio::test]
async fn a_record_with_many_heads_stops_no_sync() {
    let (owner, guest) = owner_and_guest(&[Operation::Push], "shared/**");
    let phone = Device::new("phone");
    owner.grant(&phone, ALL, "**");
    phone.grant(&owner, ALL, "**");
    owner.put("wallet/web/mail", "owner's");
    let author = guest.device();
    let crowd: Vec<Entry> = (0..=255)
        .map(|number| {
            let revision = Revision {
                salt: [number; 32],
                author,
                ancestors: stronghold_sync::Ancestors::default(),
                deleted: false,
                labels: Labels::new(),
                time: Timestamp::from_millis(1),
                value: vec![number].into(),
            };
            Entry { location: at("shared/v/r"), revision }
        })
        .collect();
    guest.change(|stronghold| {
        stronghold.import(&crowd, author, Timestamp::from_millis(1), |_, _, _| Ok(())).unwrap()
    });
    guest.put("shared/v/other", "comes all the same");
    let address = serving(&owner).await;
    let _ = sync(&guest, &owner, address).await.unwrap();
    // And one that ignores the plan: it offers them whatever the reply.
    let mut hostile = Hostile::connect(address, &guest, &owner).await;
    hostile.begin_push("**").await;
    let wanted = hostile.offer_as_much_as_is_wanted(heads_of_one_record(30)).await;
    assert!(wanted <= 8, "{wanted} heads of one record");
    drop(hostile);

    phone.put("shared/v/r", "phone's");
    phone.put("wallet/web/shop", "phone's");
    let done = sync(&phone, &owner, address).await.unwrap();
    assert!(done.summary.sent >= 2 && done.summary.received >= 2, "{:?}", done.summary);
    assert_eq!(value(&owner, "wallet/web/shop"), "phone's");
    assert_eq!(value(&phone, "wallet/web/mail"), "owner's");
    assert_eq!(value(&phone, "shared/v/other"), "comes all the same");
    assert!(values(&owner, "shared/v/r").contains(&"phone's".to_owned()));
}

#[tokio::test]
async fn what_a_guest_pushes_over_a_value_leaves_it_in_the_history() {
    let (owner, guest) = owner_and_guest(&[Operation::Pull, Operation::Push], "**");
    owner.put("wallet/web/bank", "original");
    let address = serving(&owner).await;
    sync(&guest, &owner, address).await.unwrap();
    // More than the history's newest revisions, and more than the steps of either device, which
    // name what they replaced.
    (0..20).for_each(|number| owner.put(&format!("wallet/web/{number}"), "of later"));
    for number in 0..40 {
        guest.put("wallet/web/bank", &number.to_string());
        assert_eq!(sync(&guest, &owner, address).await.unwrap().summary.sent, 1);
    }
    guest.put("wallet/web/bank", "");
    sync(&guest, &owner, address).await.unwrap();
    assert_eq!(value(&owner, "wallet/web/bank"), "");
    assert!(values(&owner, "wallet/web/bank").contains(&"original".to_owned()));
}

#[tokio::test]
async fn neither_refusals_nor_pushes_take_undo_away() {
    let (owner, guest) = owner_and_guest(&[Operation::Push], "shared/**");
    owner.put("wallet/web/mail", "right");
    owner.change(|stronghold| {
        stronghold.begin_step(PendingStep::command("put", Timestamp::from_millis(2)));
        stronghold
            .write(&at("wallet/web/mail"), b"a mistake", Labels::new(), Timestamp::from_millis(2))
            .unwrap();
        stronghold.end_step();
    });
    let address = serving(&owner).await;
    for number in 0..20 {
        let mut refused = Hostile::connect(address, &guest, &owner).await;
        refused.ask(Request::Browse { selection: Selection::everything() }).await;
        assert!(matches!(refused.hear().await, Message::Refused(Refusal::NotPermitted)));
        guest.put(&format!("shared/v/{number}"), "pushed");
        assert_eq!(sync(&guest, &owner, address).await.unwrap().summary.sent, 1);
    }
    let undone = owner.change(|stronghold| {
        let mut undone = 0;
        while stronghold.read(&at("wallet/web/mail")).unwrap().revision.value.as_slice() != b"right" {
            assert!(
                stronghold.undo(Timestamp::from_millis(3)).unwrap().is_some(),
                "nothing to undo after {undone}"
            );
            undone += 1;
        }
        undone
    });
    assert!(undone <= 16, "{undone}");
}

/// However many batches a session takes, `undo` takes it back at once.
#[tokio::test]
async fn what_a_session_brings_is_one_step() {
    let (owner, guest) = owner_and_guest(&[Operation::Push], "shared/**");
    let records = 2 * BATCH_ENTRIES + 1;
    guest.change(|stronghold| {
        for number in 0..records {
            stronghold
                .write(
                    &at(&format!("shared/v/{number}")),
                    b"pushed",
                    Labels::new(),
                    Timestamp::from_millis(1),
                )
                .unwrap();
        }
    });
    let done = sync(&guest, &owner, serving(&owner).await).await.unwrap();
    assert_eq!(done.summary.sent, records as u64);
    owner.change(|stronghold| {
        let count = |stronghold: &Stronghold| stronghold.locations(&Selection::everything()).count();
        assert_eq!(count(stronghold), records);
        assert!(stronghold.undo(Timestamp::from_millis(3)).unwrap().is_some());
        assert_eq!(count(stronghold), 0);
    });
}

#[tokio::test]
async fn a_pushed_value_does_not_take_over_what_was_written_here() {
    let (owner, guest) = owner_and_guest(&[Operation::Push], "**");
    owner.put("wallet/web/bank", "own");
    guest.change(|stronghold| {
        stronghold.write(&at("wallet/web/bank"), b"ATTACKER", Labels::new(), Timestamp::MAX).unwrap();
    });
    sync(&guest, &owner, serving(&owner).await).await.unwrap();
    let home = owner.home.lock();
    let reading = home.stronghold().read(&at("wallet/web/bank")).unwrap();
    assert!(reading.conflict, "it is told that there are two");
    let latest = home.stronghold().history(&at("wallet/web/bank")).unwrap().iter().map(|v| v.time).max();
    assert!(latest.unwrap() <= stronghold_net::now(), "a time to come");
    drop(home);
    owner.put("wallet/web/bank", "written since");
    assert_eq!(value(&owner, "wallet/web/bank"), "written since");
}

/// A handler that confirms everything.
struct Reckless;

impl SessionHandler for Reckless {
    fn review_plan(&mut self, _: &Plan) -> BoxFuture<PlanDecision> {
        Box::pin(async { PlanDecision::ProceedWithDeletions })
    }
}

#[tokio::test]
async fn many_deletions_want_the_word_of_who_loses() {
    let (owner, guest) = owner_and_guest(&[Operation::Pull, Operation::Push, Operation::Delete], "**");
    owner.put_all((0..50).map(|n| (format!("wallet/web/{n}"), format!("value {n}"))));
    let address = serving(&owner).await;
    sync(&guest, &owner, address).await.unwrap();
    let before = owner.entries();
    (0..25).for_each(|n| guest.remove(&format!("wallet/web/{n}")));
    let refused = sync_as(&guest, &owner, address, &mut Reckless).await;
    assert!(
        matches!(refused, Err(PeerError::Session(SessionError::Refused(Refusal::Deletions)))),
        "{refused:?}"
    );
    assert_eq!(owner.entries(), before);
    (0..25).for_each(|n| guest.put(&format!("wallet/web/{n}"), ""));
    let refused = sync_as(&guest, &owner, address, &mut Reckless).await;
    assert!(
        matches!(refused, Err(PeerError::Session(SessionError::Refused(Refusal::Deletions)))),
        "{refused:?}"
    );
    assert_eq!(owner.entries(), before);
}

#[tokio::test]
async fn what_no_rule_covers_and_what_is_not_there_are_answered_alike() {
    let (owner, guest) = owner_and_guest(&[Operation::Pull], "shared/**");
    owner.put_all((0..50).map(|n| (format!("wallet/web/{n}"), format!("value {n}"))));
    let address = serving(&owner).await;
    for allowed in ["shared/**", "shared/v/r"] {
        let mut heard = Vec::new();
        for selection in ["wallet/web/1", "wallut/web/1", "wallet/web/**", "zebras/**", "w*/**"] {
            let mut hostile = Hostile::connect(address, &guest, &owner).await;
            let selection = Selection::parse(&[allowed, selection]).unwrap();
            hostile.ask(Request::Sync { selection, pull: true, push: true }).await;
            let Message::Agreed(agreed) = hostile.hear().await else { panic!("not agreed") };
            heard.push((
                format!("{:?}", agreed.pull),
                agreed.push,
                agreed.delete,
                agreed.held.map(|held| held.count),
            ));
        }
        assert!(heard.iter().all(|one| *one == heard[0] && one.3 == Some(0)), "{heard:?}");
    }
    for selection in ["wallet/web/1", "wallut/web/1", "wallet/**", "zebras/**"] {
        for request in [
            Request::Sync { selection: selection.parse().unwrap(), pull: true, push: true },
            Request::Browse { selection: selection.parse().unwrap() },
        ] {
            let mut hostile = Hostile::connect(address, &guest, &owner).await;
            hostile.ask(request).await;
            assert_eq!(hostile.hear().await, Message::Refused(Refusal::NotPermitted), "{selection}");
        }
    }
}

/// The longest possible selection, of plain names and of patterns, under rules of all three kinds.
#[tokio::test]
async fn the_longest_selection_is_answered() {
    let (owner, guest) = owner_and_guest(ALL, "**");
    owner.put("wallet/web/mail", "value");
    let address = serving(&owner).await;
    let long: Vec<String> = (0..55).map(|n| format!("wallet/web/{n:0280}")).collect();
    let mut patterns: Vec<&str> = long.iter().map(String::as_str).collect();
    patterns.push("wallet/web/mail");
    let selection = Selection::parse(&patterns).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let peer = Peer::connect(stream, &guest.home, owner.device()).await.unwrap();
    let done = peer.sync(SyncRequest::new(selection, Direction::Both), &mut NoHandler).await.unwrap();
    assert_eq!(done.summary.received, 1);
}
