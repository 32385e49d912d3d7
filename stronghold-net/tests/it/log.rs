//! Tests the log over a server: the records of each decision, how often they are written, and that
//! no device fills the file with them.

use crate::common::{ALL, Device, friends};
use stronghold_net::{Direction, NoHandler, Outcome, Peer, PeerError, Server, SyncRequest};
use stronghold_sync::{Operation, Selection, message::Listing};
use stronghold_vault::{AuditAction, AuditEntry};
use tokio::io::duplex;

async fn sync(server: &Server, asker: &Device, asked: &Device, select: &str) -> Result<Outcome, PeerError> {
    let select = Selection::parse(&select.split(',').collect::<Vec<_>>()).unwrap();
    let (near, far) = duplex(1 << 20);
    let asking = async {
        let peer = Peer::connect(near, &asker.home, asked.device()).await?;
        peer.sync(SyncRequest::new(select, Direction::Default), &mut NoHandler).await
    };
    tokio::join!(asking, server.answer(far)).0
}

async fn browse(server: &Server, asker: &Device, asked: &Device) -> Result<Vec<Listing>, PeerError> {
    let (near, far) = duplex(1 << 20);
    let asking = async {
        let peer = Peer::connect(near, &asker.home, asked.device()).await?;
        peer.browse(Selection::everything(), &mut NoHandler).await
    };
    tokio::join!(asking, server.answer(far)).0
}

/// Returns the log in the file.
fn logged(device: &Device) -> Vec<AuditEntry> {
    let home = device.opened_again();
    let home = home.lock();
    assert!(home.stronghold().log().is_intact());
    home.stronghold().log().entries().cloned().collect()
}

fn generation(device: &Device) -> u64 {
    device.opened_again().lock().file().sealer().generation()
}

fn summary(logged: &[AuditEntry]) -> Vec<(AuditAction, bool, u64, u64)> {
    logged.iter().map(|logged| (logged.action, logged.allowed, logged.entries, logged.count)).collect()
}

/// A peer's writes and deletions here are logged with the change itself; what it pulls is logged
/// before it leaves.
#[tokio::test]
async fn pushes_and_deletions_of_a_peer_are_logged_with_their_number() {
    let (asker, asked) = friends();
    asker.put_all((0..3).map(|n| (format!("a/v/{n}"), format!("value {n}"))));
    let server = Server::new(&asked.home);
    sync(&server, &asker, &asked, "**").await.unwrap();
    let brought = logged(&asked);
    assert!(summary(&brought).contains(&(AuditAction::Push, true, 3, 1)), "{brought:?}");

    asker.remove("a/v/0");
    asker.remove("a/v/1");
    sync(&server, &asker, &asked, "**").await.unwrap();
    let deleted = logged(&asked);
    assert!(summary(&deleted).contains(&(AuditAction::Delete, true, 2, 1)), "{deleted:?}");
    assert_eq!(asked.entries().len(), 1);

    asked.put("a/v/new", "to be taken");
    sync(&server, &asker, &asked, "**").await.unwrap();
    let taken = logged(&asked);
    let pulled =
        |log: &[AuditEntry]| log.iter().find(|logged| logged.action == AuditAction::Pull).unwrap().entries;
    assert_eq!(pulled(&taken), pulled(&deleted) + 1, "{taken:?}");
}

/// Refusals are written once a minute, and when the server stops; they change no record and cost a
/// line.
#[tokio::test(start_paused = true)]
async fn refusals_are_written_once_a_minute() {
    let (asker, asked) = (Device::new("asker"), Device::new("asked"));
    asker.grant(&asked, ALL, "**");
    asked.grant(&asker, &[], "**");
    let server = Server::new(&asked.home);
    let before = generation(&asked);
    for _ in 0..20 {
        browse(&server, &asker, &asked).await.unwrap_err();
    }
    assert_eq!(generation(&asked), before + 1, "the first at once, the others later");
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    browse(&server, &asker, &asked).await.unwrap_err();
    assert_eq!(generation(&asked), before + 2);
    assert_eq!(summary(&logged(&asked)), [(AuditAction::Browse, false, 0, 21)]);
    browse(&server, &asker, &asked).await.unwrap_err();
    // Any change also writes the waiting records.
    asked.home.update(|_| Ok::<_, stronghold_snapshot::VaultFileError>(())).unwrap();
    assert_eq!(summary(&logged(&asked)), [(AuditAction::Browse, false, 0, 22)]);
    browse(&server, &asker, &asked).await.unwrap_err();
    assert_eq!(generation(&asked), before + 3, "it waits");
    drop(server);
    let Device { home, folder } = asked;
    drop(home);
    let written = Device { home: crate::common::opened(folder.path()), folder };
    assert_eq!(summary(&logged(&written)), [(AuditAction::Browse, false, 0, 23)]);
}

/// A device that may push where nothing exists, and syncs without changes: small selections, large
/// ones, always others.
#[tokio::test]
async fn syncs_that_transfer_nothing_do_not_make_the_file_grow() {
    let (asker, asked) = (Device::new("asker"), Device::new("asked"));
    asker.grant(&asked, &[Operation::Pull], "**");
    asked.grant(&asker, &[Operation::Pull, Operation::Push], "shared/**");
    asked.put_all((0..31).map(|n| (format!("wallet/v/{n}"), format!("value {n}"))));
    let server = Server::new(&asked.home);
    sync(&server, &asker, &asked, "**").await.unwrap();
    let (size, before) = (asked.bytes().len(), generation(&asked));
    for _ in 0..300 {
        sync(&server, &asker, &asked, "**").await.unwrap();
    }
    asked.home.write_log().unwrap();
    let grown = asked.bytes().len() - size;
    assert!(grown <= 4 * 4096, "{grown} by equal syncs");
    let written = generation(&asked) - before;
    assert!(written <= 4, "{written} writes for 300 syncs");

    for number in 0..60 {
        let one = format!("shared/v/{number:0300}");
        let large = vec![one.as_str(); 40].join(",");
        sync(&server, &asker, &asked, &large).await.unwrap();
    }
    for number in 0..300 {
        sync(&server, &asker, &asked, &format!("shared/v/small{number}")).await.unwrap();
    }
    asked.home.write_log().unwrap();
    assert!(asked.bytes().len() < size + (100 << 10), "{} bytes", asked.bytes().len());
    let all: u64 =
        logged(&asked).iter().filter(|logged| logged.action == AuditAction::Push).map(|l| l.count).sum();
    assert_eq!(all, 661);
}
