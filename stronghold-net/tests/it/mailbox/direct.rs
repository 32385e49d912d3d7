//! Tests two devices that use a mailbox and meet now and then.

use std::time::Duration;

use stronghold_net::{Direction, Peer, SyncRequest};
use stronghold_sync::Selection;

use super::*;
use crate::common::channels;
use crate::large::{heads, large, write_concurrently};

/// The first device synchronises with the second one, directly.
async fn meet(pair: &Two) {
    let (near, far) = channels(&pair.one, &pair.two).await;
    let (near, far) = (Peer::from_channel(near, &pair.one.home), Peer::from_channel(far, &pair.two.home));
    let request = SyncRequest::new(Selection::everything(), Direction::Default);
    let (mut asker, mut asked) = (NoHandler, NoHandler);
    let (done, answered) = tokio::join!(near.sync(request, &mut asker), far.answer(&mut asked));
    let _ = (done.unwrap(), answered.unwrap());
}

#[tokio::test]
async fn a_letter_that_a_meeting_overtook_brings_nothing_back() {
    let pair = Two::new();
    pair.one.put("a/v/1", "1");
    pair.settle().await;
    pair.one.put("a/v/2", "2");
    pair.one().await;
    meet(&pair).await;
    // Both have it, and both delete it.
    pair.two.remove("a/v/2");
    meet(&pair).await;
    pair.one.put("a/v/3", "3");
    pair.settle().await;
    pair.assert_equal();
    let names: Vec<String> = pair.two.entries().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a/v/1", "a/v/3"]);
}

#[tokio::test]
async fn what_was_given_at_a_meeting_is_not_sent_again() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put("a/v/1", "1");
    pair.two.put("b/v/1", "2");
    meet(&pair).await;
    let (one, two) = (pair.one().await, pair.two().await);
    assert_eq!((one.letters_sent, two.letters_sent), (0, 0));
    pair.settle().await;
    pair.assert_equal();
    pair.one.put("a/v/1", "changed");
    pair.settle().await;
    meet(&pair).await;
    pair.two.put("a/v/1", "changed again");
    meet(&pair).await;
    pair.settle().await;
    pair.assert_equal();
}

/// A key of the week is replaced, and the letters sealed to the last one are still read.
#[tokio::test]
async fn a_key_lives_two_weeks_and_is_replaced_each_week() {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
    let pair = Two::new();
    pair.settle().await;
    let peer = pair.one.device();
    let age = |by: Duration| {
        pair.two.change(|here| {
            let keys = &mut here.peers_mut().mailbox_mut(&peer).unwrap().keys;
            for key in keys.iter_mut() {
                key.made = key.made.saturating_sub(by);
            }
        });
    };
    let keys = || pair.two.home.lock().stronghold().peers().mailbox(&peer).unwrap().keys.clone();
    let first = keys();
    assert_eq!(first.len(), 1);
    pair.one.put("a/v/1", "1");
    pair.one().await;
    age(WEEK);
    let taken = pair.two().await;
    assert_eq!(taken.letters_taken, 1);
    assert_eq!(
        (keys().len(), keys()[1].seed() == first[0].seed()),
        (2, true),
        "there is a new one beside it"
    );
    // Sealed to the last one, before its sender sees the new card.
    pair.one.put("a/v/2", "2");
    age(WEEK - Duration::from_secs(1));
    pair.settle().await;
    pair.assert_equal();
    age(WEEK);
    pair.two().await;
    assert!(keys().iter().all(|key| key.seed() != first[0].seed()), "it is destroyed");
    pair.one.put("a/v/3", "3");
    pair.settle().await;
    pair.assert_equal();
}

/// Values, and the heads of a record, that together are larger than a letter may be.
#[tokio::test]
async fn values_too_large_for_one_letter_arrive_in_several() {
    let pair = Two::new();
    pair.settle().await;
    pair.one.put_all((0..6).map(|number| (format!("c/v/{number}"), large(number))));
    write_concurrently(&pair.one, 5);
    pair.settle().await;
    pair.assert_equal();
    assert_eq!((pair.two.entries().len(), heads(&pair.two)), (7, heads(&pair.one)));
}
