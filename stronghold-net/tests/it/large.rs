//! Values and records too large for one batch: a session sends them in several, and each arrives.

use stronghold_net::{Direction, NoHandler, Peer, SyncRequest};
use stronghold_snapshot::Merge;
use stronghold_sync::{Mapping, OnConflict, RevisionId, Selection, Timestamp};
use stronghold_vault::{Labels, Stronghold};

use crate::common::{Device, channels, friends};

/// The largest value, in bytes.
const LARGE: usize = 4 << 20;

/// A way for values to get from the second device to the first.
#[derive(Clone, Copy, Debug)]
enum Way {
    Pull,
    Push,
    Import,
    Fetch,
}

/// Returns a value of the largest size that no other number has.
pub(crate) fn large(number: usize) -> String {
    let mut value = format!("{number}-");
    value.push_str(&"x".repeat(LARGE - value.len()));
    value
}

/// Moves everything of `giver` to `taker`.
async fn bring(way: Way, taker: &Device, giver: &Device) {
    let (asker, asked) = match way {
        Way::Push => (giver, taker),
        _ => (taker, giver),
    };
    let (near, far) = channels(asker, asked).await;
    let (peer, all) = (Peer::from_channel(near, &asker.home), Selection::everything());
    let (mut asking, mut answering) = (NoHandler, NoHandler);
    let asking = async {
        match way {
            Way::Pull => peer.sync(SyncRequest::new(all, Direction::Pull), &mut asking).await,
            Way::Push => peer.sync(SyncRequest::new(all, Direction::Push), &mut asking).await,
            Way::Import => peer.import(all, &mut asking).await,
            Way::Fetch => peer.fetch(all, &mut asking).await,
        }
    };
    let (here, there) = tokio::join!(asking, Peer::from_channel(far, &asked.home).answer(&mut answering));
    let here = here.unwrap_or_else(|error| panic!("{way:?}: {error}"));
    there.unwrap_or_else(|error| panic!("{way:?}: {error}"));
    assert!(here.plan.not_taken.is_empty() && here.plan.not_given.is_empty(), "{way:?}");
}

#[tokio::test]
async fn values_that_fill_several_batches_arrive() {
    for way in [Way::Pull, Way::Push, Way::Import, Way::Fetch] {
        let (taker, giver) = friends();
        giver.put_all((0..6).map(|number| (format!("c/v/{number}"), large(number))));
        bring(way, &taker, &giver).await;
        assert!(taker.entries() == giver.entries() && taker.entries().len() == 6, "{way:?}");
    }
}

/// Returns the heads of the record of [`write_concurrently`], in order.
pub(crate) fn heads(device: &Device) -> Vec<RevisionId> {
    let home = device.opened_again();
    let home = home.lock();
    let conflicts = home.stronghold().conflicts(&Selection::everything()).unwrap();
    let mut heads: Vec<RevisionId> = conflicts[0].1.iter().map(|head| head.revision).collect();
    heads.sort();
    heads
}

/// Writes a record of several heads, each as large as a value may be.
pub(crate) fn write_concurrently(device: &Device, heads: usize) {
    device.change(|stronghold| {
        for head in 0..heads {
            let mut other = Stronghold::new("other").unwrap();
            let value = large(head).into_bytes();
            other.write(&"c/v/r".parse().unwrap(), &value, Labels::new(), Timestamp::from_millis(1)).unwrap();
            let merge = Merge {
                selection: Selection::everything(),
                mapping: Mapping::default(),
                on_conflict: OnConflict::KeepBoth,
                deletions_confirmed: false,
                now: Timestamp::from_millis(2),
            };
            merge.run(stronghold, &other).unwrap();
        }
    });
}

#[tokio::test]
async fn a_record_whose_heads_fill_several_batches_arrives_whole() {
    for way in [Way::Pull, Way::Push, Way::Import, Way::Fetch] {
        let (taker, giver) = friends();
        write_concurrently(&giver, 5);
        bring(way, &taker, &giver).await;
        assert_eq!(heads(&taker).len(), 5, "{way:?}");
        assert_eq!(heads(&taker), heads(&giver), "{way:?}");
    }
}
