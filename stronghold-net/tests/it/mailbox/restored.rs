//! Tests that crashes and restored files lose nothing.

use stronghold_net::mailbox::{ObjectKind, Oddity};

use stronghold_vault::Labels;

use super::{
    store::{Memory, keys},
    *,
};
use crate::common::opened;

/// Puts an older state of a device's file back, as a backup does.
fn put_back(device: &Device, before: &[u8]) -> SharedVault {
    std::fs::write(device.path(), before).unwrap();
    opened(device.folder.path())
}

/// Each letter is noted in the file before it leaves.
#[tokio::test]
async fn a_letter_is_noted_before_it_is_put() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put("a/v/1", "1");
    let (peer, folder) = (pair.two.device(), pair.one.folder.path().to_owned());
    pair.store.before_put(move || {
        let file = opened(&folder);
        let home = file.lock();
        let mailbox = home.stronghold().peers().mailbox(&peer).unwrap();
        assert_eq!(mailbox.outbox.waiting().count(), 1, "the file has it");
        let id = home.stronghold().shapes_at(&"a/v/1".parse::<stronghold_sync::Location>().unwrap().id())[0]
            .revision;
        assert!(home.stronghold().peers().was_disclosed_to(&peer, &id));
        assert_eq!(home.stronghold().log().entries().last().unwrap().selection, "mailbox");
    });
    assert_eq!(pair.one().await.letters_sent, 1);
}

/// The stick is pulled out at each put in turn, and put in again.
#[tokio::test]
async fn a_crash_at_any_put_loses_nothing() {
    for puts in 0..5 {
        let pair = Two::new();
        pair.one.put_all((0..2_100).map(|at| (format!("a/v/{at}"), format!("{at}"))));
        pair.two.put("b/v/1", "1");
        pair.store.fail_puts_after(Some(puts));
        for _ in 0..3 {
            let _ = run(&pair.one.home, &pair.store, pair.two.device()).await;
            let _ = run(&pair.two.home, &pair.store, pair.one.device()).await;
        }
        pair.store.fail_puts_after(None);
        pair.settle().await;
        pair.assert_equal();
        assert_eq!(pair.one.entries().len(), 2_101, "after {puts} puts");
    }
}

#[tokio::test]
async fn a_restored_device_gets_again_what_it_forgot() {
    for is_taker in [true, false] {
        let mut pair = Two::new();
        pair.one.put("a/v/1", "1");
        pair.settle().await;
        let before = [pair.one.bytes(), pair.two.bytes()];
        pair.one.put("a/v/2", "2");
        pair.settle().await;
        pair.one.put("a/v/3", "3");
        pair.settle().await;
        match is_taker {
            true => pair.two.home = put_back(&pair.two, &before[1]),
            false => pair.one.home = put_back(&pair.one, &before[0]),
        }
        pair.one.put("a/v/4", "4");
        let odd = if is_taker { pair.two().await.odd } else { pair.one().await.odd };
        assert_eq!(odd, [Oddity::AheadOfFile]);
        pair.settle().await;
        pair.assert_equal();
        assert_eq!(pair.two.entries().len(), 4, "what it forgot of its own, too");
    }
}

#[tokio::test]
async fn a_store_that_is_put_back_loses_and_repeats_nothing() {
    let pair = Two::new();
    pair.one.put("a/v/1", "1");
    pair.settle().await;
    let old = pair.store.objects();
    pair.one.put("a/v/1", "2");
    pair.one().await;
    let with_letter = pair.store.objects();
    pair.settle().await;
    for objects in [old, with_letter, Default::default()] {
        let is_empty = objects.is_empty();
        pair.store.set(objects);
        pair.two.put("b/v/1", "edited meanwhile");
        let one = pair.one().await;
        let is_told = one.odd.contains(&Oddity::RolledBack);
        assert!(is_told || is_empty, "{one:?}");
        pair.settle().await;
        pair.assert_equal();
        assert!(pair.two.entries().contains(&("a/v/1".into(), "2".into())));
    }
}

/// A listing that was cut says nothing about what is missing, and nothing is deleted after it.
#[tokio::test]
async fn a_cut_listing_resends_and_deletes_nothing() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put("a/v/1", "1");
    pair.one().await;
    let letters = |store: &Memory| {
        let own = keys(&pair).own();
        store.of(&pair, own, ObjectKind::Letter)
    };
    let before = letters(&pair.store);
    pair.store.cut_listings_at(Some(0));
    pair.store.asked();
    let cut = pair.one().await;
    assert_eq!(pair.store.asked().0, ["list"]);
    assert_eq!(cut.odd, [Oddity::TooManyThings]);
    assert_eq!((cut.letters_sent, letters(&pair.store)), (0, before));
    pair.store.cut_listings_at(None);
    pair.settle().await;
    pair.assert_equal();
    assert!(letters(&pair.store).is_empty());
}

/// A letter that is counted is over, but after a listing that was cut it stays too.
#[tokio::test]
async fn after_a_cut_listing_nothing_is_deleted() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put("a/v/1", "1");
    pair.one().await;
    pair.two().await;
    let len = pair.store.len();
    for most in 0..len {
        pair.store.cut_listings_at(Some(most));
        pair.store.asked();
        pair.one().await;
        assert!(!pair.store.asked().0.contains(&"delete"), "{most} of {len} names");
    }
    pair.store.cut_listings_at(None);
    pair.one().await;
    assert!(pair.store.asked().0.contains(&"delete"));
}

/// An entry that a restored device wrote since its backup is in a letter that waits: it comes back from the
/// device that takes it.
#[tokio::test]
async fn a_letter_of_the_time_after_a_backup_is_not_lost() {
    let mut pair = Two::new();
    pair.one.put("a/v/1", "1");
    pair.settle().await;
    let before = pair.one.bytes();
    pair.one.put("a/v/2", "written after the backup");
    pair.one().await;
    pair.one.home = put_back(&pair.one, &before);
    pair.one.put("a/v/3", "3");
    assert!(pair.one().await.odd.contains(&Oddity::AheadOfFile));
    pair.settle().await;
    pair.assert_equal();
    assert_eq!(pair.one.entries().len(), 3, "the letter brought it to the other one, and that back");
    assert_eq!(pair.store.kinds(&pair), [1, 1, 0, 0]);
}

/// A mailbox that is given up and made anew, or moved to another place, goes on without a word.
#[tokio::test]
async fn a_mailbox_that_is_made_anew_or_moved_heals() {
    let mut pair = Two::new();
    pair.one.put("a/v/1", "1");
    pair.two.put("b/v/1", "1");
    pair.settle().await;
    let peer = pair.two.device();
    let exchange = Exchange::new(&pair.one.home, &pair.store, peer).await.unwrap();
    pair.one.change(|here| here.peers_mut().remove_mailbox(&peer).unwrap());
    exchange.withdraw().await.unwrap();
    pair.two.put("b/v/2", "sealed to a key that is gone");
    pair.two().await;
    pair.one.change(|here| _ = here.peers_mut().set_mailbox_place(&peer, "/a"));
    pair.one.put("a/v/2", "2");
    let odd = pair.one().await.odd;
    assert_eq!(odd, [], "that letter follows one that it does not know");
    pair.settle().await;
    pair.assert_equal();
    assert_eq!(pair.one.entries().len(), 4);
    pair.store = Memory::default();
    pair.two.put("b/v/3", "3");
    let odd = [pair.two().await.odd, pair.one().await.odd].concat();
    assert_eq!(odd, [], "an empty store is no older state");
    pair.settle().await;
    pair.assert_equal();
}

/// Two copies of one file use the mailbox in turn: each is told, and nothing is lost.
#[tokio::test]
async fn a_copy_that_is_in_use_too_is_told() {
    let pair = Two::new();
    pair.settle().await;
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(pair.one.path(), copy.path().join("snapshot")).unwrap();
    let (copied, peer) = (opened(copy.path()), pair.two.device());
    let write = |location: &str| {
        let location = location.parse().unwrap();
        copied
            .update(|here| {
                Ok::<_, stronghold_net::HostError>(
                    here.write(&location, b"1", Labels::new(), Timestamp::from_millis(1)).unwrap(),
                )
            })
            .unwrap();
    };
    let mut told = 0;
    for round in 0..4 {
        pair.one.put(&format!("a/v/{round}"), "1");
        told += usize::from(pair.one().await.odd.contains(&Oddity::AheadOfFile));
        write(&format!("b/v/{round}"));
        let done = run(&copied, &pair.store, peer).await.unwrap();
        told += usize::from(done.odd.contains(&Oddity::AheadOfFile));
        pair.two().await;
    }
    assert!(told >= 4, "{told} times");
    pair.two().await;
    assert_eq!(pair.two.entries().len(), 8, "nothing is lost");
}

/// Two processes of one device exchange at the same time.
#[tokio::test]
async fn two_processes_at_once_take_and_send_each_entry() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put_all((0..3_000).map(|at| (format!("a/v/{at}"), format!("{at}"))));
    pair.two.put("b/v/1", "1");
    let (other, peer) = (pair.one.opened_again(), pair.two.device());
    let (first, second) =
        tokio::join!(run(&pair.one.home, &pair.store, peer), run(&other, &pair.store, peer),);
    let _ = (first.unwrap(), second.unwrap());
    pair.settle().await;
    pair.assert_equal();
}
