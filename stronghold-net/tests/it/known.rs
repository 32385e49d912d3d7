//! The record of a peer's entries is on disk before a value leaves, and is written only when
//! something is new.

use std::{path::PathBuf, time::Duration};

use crate::common::{ALL, Device, KEY, channels, friends};
use stronghold_net::{
    Beyond, Direction, HostError, NoHandler, Outcome, Peer, PeerError, SessionHandler, SyncRequest,
};
use stronghold_snapshot::{SnapshotFile, Unlock, VaultFile, VaultFileError};
use stronghold_sync::{DeviceId, Operation, Selection, session::Changes};

/// Returns the locations that `peer` had, as recorded in the file on disk.
fn known(path: PathBuf, peer: &DeviceId) -> Vec<String> {
    let home = VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap();
    let listed = home
        .stronghold()
        .disclosed_to(peer, &Selection::everything())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    listed.iter().map(|entry| entry.location.to_string()).collect()
}

fn id(device: &Device) -> DeviceId {
    device.home.lock().stronghold().identity().device()
}

fn known_at(device: &Device, peer: &Device) -> Vec<String> {
    known(device.path(), &id(peer))
}

/// A handler that notes, at each durable batch, the entries that the sender's file records for this
/// device.
struct Watching {
    giver: PathBuf,
    own: DeviceId,
    seen: Vec<Vec<String>>,
}

impl Watching {
    fn new(giver: &Device, own: &Device) -> Self {
        Self { giver: giver.path(), own: id(own), seen: Vec::new() }
    }
}

impl SessionHandler for Watching {
    fn on_received(&mut self, _: Changes) {
        self.seen.push(known(self.giver.clone(), &self.own));
    }
}

async fn sync(
    asker: &Device,
    asked: &Device,
    ways: Direction,
    at: &mut dyn SessionHandler,
) -> Result<Outcome, PeerError> {
    let (near, far) = channels(asker, asked).await;
    let everything = Selection::everything();
    let mut silent = NoHandler;
    let (asking, _) = tokio::join!(
        Peer::from_channel(near, &asker.home).sync(SyncRequest::new(everything, ways), &mut silent),
        Peer::from_channel(far, &asked.home).answer(at),
    );
    asking
}

fn many(device: &Device) {
    device.put_all((0..1_500).map(|n| (format!("c/v/{n:04}"), "value".to_owned())));
}

#[tokio::test]
async fn each_side_knows_what_the_other_got_and_what_both_had() {
    let (asker, asked) = friends();
    asker.put("c/v/of-asker", "1");
    asked.put("c/v/of-asked", "2");
    sync(&asker, &asked, Direction::Both, &mut NoHandler).await.unwrap();
    let both = ["c/v/of-asked", "c/v/of-asker"];
    assert_eq!(
        (known_at(&asker, &asked), known_at(&asked, &asker)),
        (both.map(Into::into).into(), both.map(Into::into).into())
    );
    asker.put("c/v/of-asker", "changed");
    assert_eq!(known_at(&asker, &asked), ["c/v/of-asked"]);
    // The same values arrived in a third way: only the comparison shows it.
    let forget = |device: &Device, peer: &Device| {
        device.change(|stronghold| *stronghold.peers_mut() = stronghold_vault::Peers::default());
        device.grant(peer, ALL, "**");
    };
    forget(&asker, &asked);
    forget(&asked, &asker);
    sync(&asker, &asked, Direction::Pull, &mut NoHandler).await.unwrap();
    assert_eq!(
        (known_at(&asker, &asked), known_at(&asked, &asker)),
        (vec!["c/v/of-asked".into()], vec!["c/v/of-asked".into()])
    );
}

#[tokio::test]
async fn an_asker_remembers_what_it_pushes_before_any_of_it_leaves() {
    let (asker, asked) = friends();
    many(&asker);
    let mut watching = Watching::new(&asker, &asked);
    sync(&asker, &asked, Direction::Push, &mut watching).await.unwrap();
    assert_eq!(watching.seen.iter().map(Vec::len).collect::<Vec<_>>(), [1_500, 1_500], "of two batches");
}

#[tokio::test]
async fn one_that_is_asked_remembers_what_it_gives_before_any_of_it_leaves() {
    let asked = Device::new("asked");
    many(&asked);
    for import in [false, true] {
        let asker = if import { Device::new("importer") } else { Device::new("syncer") };
        asker.grant(&asked, &[], "**");
        // Where the peer may not write, no such decision goes into the log, which would be a write
        // of its own.
        asked.grant(&asker, &[Operation::Import, Operation::Pull], "**");
        let mut watching = Watching::new(&asked, &asker);
        let (near, far) = channels(&asker, &asked).await;
        let everything = Selection::everything();
        let asking = async {
            match import {
                true => Peer::from_channel(near, &asker.home).import(everything, &mut watching).await,
                false => {
                    let take = SyncRequest::new(everything, Direction::Pull).beyond(Beyond::Everything);
                    Peer::from_channel(near, &asker.home).sync(take, &mut watching).await
                }
            }
        };
        let mut silent = NoHandler;
        let (asking, answered) =
            tokio::join!(asking, Peer::from_channel(far, &asked.home).answer(&mut silent));
        asking.unwrap();
        answered.unwrap();
        assert_eq!(watching.seen.iter().map(Vec::len).collect::<Vec<_>>(), [1_500, 1_500]);
        assert_eq!(known_at(&asker, &asked).len(), 1_500, "who took it knows where it is from");
    }
}

#[tokio::test]
async fn what_can_not_be_remembered_does_not_leave() {
    let (asker, asked) = friends();
    asker.put("c/v/r", "value");
    asker.home.lock().set_lock_wait(Duration::from_millis(10));
    let (mut other, _) = SnapshotFile::open(&asker.path(), &Unlock::Key(&KEY)).unwrap();
    let locked = other.lock(Duration::ZERO).unwrap();
    let result = sync(&asker, &asked, Direction::Push, &mut NoHandler).await;
    assert!(matches!(result, Err(PeerError::Host(HostError::Home(VaultFileError::Lock(_))))), "{result:?}");
    assert!(asked.entries().is_empty());
    drop(locked);
    sync(&asker, &asked, Direction::Push, &mut NoHandler).await.unwrap();
    assert_eq!(asked.entries().len(), 1);
}

#[tokio::test]
async fn a_sync_that_learns_nothing_new_writes_nothing_for_it() {
    let (asker, asked) = friends();
    asker.put("c/v/r", "value");
    sync(&asker, &asked, Direction::Both, &mut NoHandler).await.unwrap();
    let before = asker.bytes();
    for ways in [Direction::Both, Direction::Pull, Direction::Default] {
        sync(&asker, &asked, ways, &mut NoHandler).await.unwrap();
    }
    assert!(asker.bytes() == before, "an equal sync wrote to the asker's file");
}

/// A handler that notes how many sent entries the peer has acknowledged.
#[derive(Default)]
struct Giving(Vec<(u64, u64)>);

impl SessionHandler for Giving {
    fn on_sent(&mut self, entries: u64, of: u64) {
        self.0.push((entries, of));
    }
}

#[tokio::test]
async fn who_gives_hears_what_is_confirmed() {
    let (asker, asked) = friends();
    many(&asked);
    let mut giving = Giving::default();
    sync(&asker, &asked, Direction::Pull, &mut giving).await.unwrap();
    assert_eq!(giving.0, [(1_000, 1_500), (1_500, 1_500)]);
}
