//! Another process withdraws a rule during a sync of several batches: acknowledged batches stay, no
//! further one is sent, both sides learn the reason, the log has it, and neither side is accused of
//! misbehaviour.

use crate::common::{ALL, Device};
use stronghold_net::{Direction, Outcome, Peer, PeerError, Server, SessionHandler, SharedVault, SyncRequest};
use stronghold_sync::{
    DeviceId, Operation, Selection,
    message::Refusal,
    session::{Changes, SessionError},
};
use stronghold_vault::AuditAction;
use tokio::io::duplex;

/// Number of entries in three batches.
const ENTRIES: usize = 2_500;
/// Number of entries in one batch.
const BATCH: usize = 1_000;

/// A handler that withdraws a device's rules when the first batch is durable.
struct TakesBack {
    home: SharedVault,
    of: DeviceId,
    operation: Operation,
    done: bool,
}

impl TakesBack {
    fn take_back(&mut self) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let (device, operation) = (self.of, self.operation);
        let change = |stronghold: &mut stronghold_vault::Stronghold| {
            stronghold.policy_mut().deny(&device, &[operation].into(), None, None).unwrap();
            Ok(())
        };
        self.home.lock().update(change).unwrap();
    }
}

impl SessionHandler for TakesBack {
    fn on_received(&mut self, _: Changes) {
        self.take_back();
    }

    fn on_sent(&mut self, _: u64, _: u64) {
        self.take_back();
    }
}

/// Syncs `asker` with `asked`, while `whose` withdraws this rule for its peer.
async fn synced(
    (asker, asked): (&Device, &Device),
    whose: &Device,
    other: &Device,
    operation: Operation,
) -> Result<Outcome, PeerError> {
    let server = Server::new(&asked.home);
    let (near, far) = duplex(1 << 20);
    let mut handler = TakesBack { home: whose.opened_again(), of: other.device(), operation, done: false };
    let asking = async {
        let peer = Peer::connect(near, &asker.home, asked.device()).await?;
        peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut handler).await
    };
    let done = tokio::join!(asking, server.answer(far)).0;
    asked.home.write_log().unwrap();
    done
}

fn devices() -> (Device, Device) {
    let (asker, asked) = (Device::new("asker"), Device::new("asked"));
    asker.grant(&asked, ALL, "**");
    asked.grant(&asker, ALL, "**");
    (asker, asked)
}

fn fill(device: &Device) {
    device.put_all((0..ENTRIES).map(|number| (format!("a/v/{number}"), "value".to_owned())));
}

/// Returns, for each decision of one kind in a device's log, whether it was allowed.
fn decided(device: &Device, deed: AuditAction) -> Vec<bool> {
    let home = device.opened_again();
    let home = home.lock();
    home.stronghold()
        .log()
        .entries()
        .filter(|entry| entry.action == deed)
        .map(|entry| entry.allowed)
        .collect()
}

fn was_refused(done: &Result<Outcome, PeerError>) -> bool {
    matches!(done, Err(PeerError::Session(SessionError::Refused(Refusal::NotPermitted))))
}

/// Checks that the entries that were durable before stay, and that the rest is missing. One batch
/// may have been in flight.
fn is_cut(device: &Device) {
    let held = device.entries().len();
    assert!((BATCH..=2 * BATCH).contains(&held), "{held} came over");
}

#[tokio::test]
async fn a_pull_whose_rule_is_taken_back_ends_and_is_logged() {
    let (asker, asked) = devices();
    fill(&asked);
    let done = synced((&asker, &asked), &asked, &asker, Operation::Pull).await;
    assert!(was_refused(&done), "{done:?}");
    is_cut(&asker);
    assert_eq!(decided(&asked, AuditAction::Pull), [true, false]);
}

#[tokio::test]
async fn a_push_whose_rule_is_taken_back_ends_and_is_logged_and_nobody_misbehaved() {
    let (asker, asked) = devices();
    fill(&asker);
    let done = synced((&asker, &asked), &asked, &asker, Operation::Push).await;
    assert!(was_refused(&done), "{done:?}");
    is_cut(&asked);
    assert_eq!(decided(&asked, AuditAction::Push), [true, false]);
}

#[tokio::test]
async fn the_own_rule_by_which_is_taken_can_be_taken_back_too() {
    let (asker, asked) = devices();
    fill(&asked);
    let done = synced((&asker, &asked), &asker, &asked, Operation::Push).await;
    assert!(matches!(done, Err(PeerError::Session(SessionError::NotPermitted))), "{done:?}");
    is_cut(&asker);
}
