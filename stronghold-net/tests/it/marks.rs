//! Lists of ancestors over real sessions: short where devices meet, long where one is waited for.

use crate::common::{ALL, Device, channels, friends};
use stronghold_net::{
    BoxFuture, Direction, NoHandler, Outcome, Peer, PlanDecision, SessionHandler, SyncRequest,
};
use stronghold_sync::{Mapping, Operation, Plan, Scope, Selection};

const RECORD: &str = "a/v/r";

/// Stops at the plan, as a dry run does.
struct Stops;

impl SessionHandler for Stops {
    fn review_plan(&mut self, _: &Plan) -> BoxFuture<PlanDecision> {
        Box::pin(async { PlanDecision::Stop })
    }
}

async fn sync_with(asker: &Device, asked: &Device, handler: &mut dyn SessionHandler) -> Outcome {
    let (near, far) = channels(asker, asked).await;
    let request = SyncRequest::new(Selection::everything(), Direction::Default);
    let mut silent = NoHandler;
    let (outcome, answered) = tokio::join!(
        Peer::from_channel(near, &asker.home).sync(request, handler),
        Peer::from_channel(far, &asked.home).answer(&mut silent),
    );
    answered.unwrap();
    outcome.unwrap()
}

async fn sync(asker: &Device, asked: &Device) -> Outcome {
    sync_with(asker, asked, &mut NoHandler).await
}

fn edit(device: &Device, times: usize) {
    (0..times).for_each(|time| device.put(RECORD, &format!("{time}")));
}

/// Returns the length of the longest list in the file on disk.
fn longest(device: &Device) -> usize {
    let home = device.opened_again();
    let everything = Scope::of(Selection::everything());
    let shapes = home.lock().stronghold().shapes(&everything, &Mapping::default());
    shapes.iter().map(|shape| shape.ancestors.as_slice().len()).max().unwrap_or_default()
}

fn acknowledged(device: &Device, peer: &Device) -> u64 {
    device.opened_again().lock().stronghold().peers().acknowledged(&peer.device())
}

#[tokio::test]
async fn lists_stay_short_where_devices_meet() {
    let (one, other) = friends();
    for round in 0..6 {
        edit(&one, 70);
        match round % 2 {
            0 => sync(&one, &other).await,
            _ => sync(&other, &one).await,
        };
        assert_eq!(one.entries(), other.entries());
        // What was replaced since the last meeting, and 32 more.
        assert!(longest(&one) <= 102 && longest(&other) <= 102, "round {round}");
    }
    for device in [&one, &other] {
        edit(device, 1);
        assert_eq!(longest(device), 32);
        sync(&one, &other).await;
    }
    sync(&one, &other).await;
    let (before, after) = (one.bytes(), sync(&other, &one).await);
    assert_eq!((one.bytes(), after.summary.unchanged), (before, 1), "nothing more is to be written");
}

#[tokio::test]
async fn lists_stay_short_on_a_device_that_only_receives() {
    let (one, other) = friends();
    for round in 0..8 {
        // Fewer than make a list long.
        edit(&one, 40);
        sync(&other, &one).await;
        assert!(longest(&other) <= 32 + 2 * 40, "round {round}: {}", longest(&other));
    }
    assert!(acknowledged(&other, &one) > 0);
}

#[tokio::test]
async fn a_device_that_is_away_is_waited_for_and_a_deletion_stays_when_it_comes() {
    let (here, near) = friends();
    let away = Device::new("away");
    for (one, other) in [(&here, &away), (&away, &here), (&near, &away), (&away, &near)] {
        one.grant(other, ALL, "**");
    }
    edit(&here, 1);
    sync(&here, &away).await;
    edit(&here, 300);
    sync(&here, &near).await;
    assert_eq!((longest(&here), longest(&near)), (300, 300));
    edit(&near, 10);
    near.remove(RECORD);
    sync(&near, &here).await;
    sync(&away, &near).await;
    sync(&away, &here).await;
    assert!([&here, &near, &away].iter().all(|device| device.entries().is_empty()));
    sync(&here, &near).await;
    edit(&here, 1);
    assert!(longest(&here) <= 33, "all have passed it: {}", longest(&here));
}

/// Only the device between two others waits for the far one: the list of what arrives from the
/// other side lacks what that one may still show.
#[tokio::test]
async fn a_device_waits_for_one_that_the_writer_does_not_know() {
    let (writer, between) = friends();
    let away = Device::new("away");
    between.grant(&away, ALL, "**");
    away.grant(&between, ALL, "**");
    edit(&between, 1);
    sync(&between, &away).await;
    sync(&writer, &between).await;
    for _ in 0..3 {
        edit(&writer, 50);
        sync(&writer, &between).await;
    }
    assert!(longest(&writer) < 100 && longest(&between) > 140);
    let outcome = sync(&away, &between).await;
    assert_eq!((away.entries(), outcome.summary.conflicts), (writer.entries(), 0));
    assert!(away.home.lock().stronghold().conflicts(&Selection::everything()).unwrap().is_empty());
}

#[tokio::test]
async fn what_was_left_out_is_not_acknowledged() {
    let (asker, asked) = (Device::new("asker"), Device::new("asked"));
    asker.grant(&asked, ALL, "**");
    asked.grant(&asker, &[Operation::Pull], "**");
    edit(&asked, 1);
    asked.put("a/v/other", "1");
    sync(&asker, &asked).await;
    edit(&asker, 100);
    asker.put("a/v/other", "2");
    sync(&asker, &asked).await;
    assert!(acknowledged(&asker, &asked) > 0 && longest(&asker) >= 100, "the peer has none of them");
    asker.put(RECORD, "again");
    assert!(longest(&asker) > 100);
    // As soon as it may give them, all is acknowledged.
    asked.grant(&asker, &[Operation::Push], "**");
    sync(&asker, &asked).await;
    assert_eq!(asked.entries(), asker.entries());
    edit(&asker, 1);
    assert_eq!(longest(&asker), 32);
}

#[tokio::test]
async fn a_dry_run_leaves_no_mark() {
    let (one, other) = friends();
    edit(&one, 100);
    sync_with(&one, &other, &mut Stops).await;
    assert_eq!((acknowledged(&one, &other), longest(&one)), (0, 99));
}
