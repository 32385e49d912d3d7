//! Counts requests to the store, and the bytes of objects.

use super::*;

#[tokio::test]
async fn nothing_to_do_is_one_listing_and_no_commit() {
    let pair = Two::new();
    pair.one.put_all((0..100).map(|at| (format!("a/v/{at}"), format!("value {at}"))));
    pair.settle().await;
    pair.store.asked();
    let before = pair.one.bytes();
    let idle = pair.one().await;
    assert_eq!(pair.store.asked(), (vec!["list"], 0));
    assert_eq!(pair.one.bytes(), before, "nothing is written either");
    assert_eq!((idle.outcome.summary.round_trips, idle.waiting), (1, 0));
}

#[tokio::test]
async fn one_entry_costs_three_requests_on_each_side() {
    let pair = Two::new();
    pair.one.put_all((0..100).map(|at| (format!("a/v/{at}"), format!("value {at}"))));
    pair.settle().await;
    for round in 0..10 {
        pair.store.asked();
        pair.one.put("a/v/7", &"x".repeat(56 + round));
        assert_eq!(pair.one().await.letters_sent, 1);
        let (requests, bytes) = pair.store.asked();
        assert!(requests.len() <= 3 && bytes <= 2_000, "sender: {requests:?}, {bytes} bytes");
        assert_eq!(pair.two().await.letters_taken, 1);
        let (requests, bytes) = pair.store.asked();
        // Old cards are deleted together, now and then.
        let deleted = requests.iter().filter(|request| **request == "delete").count();
        assert!(requests.len() - deleted <= 3 && bytes <= 4_096, "taker: {requests:?}, {bytes} bytes");
        assert!(deleted == 0 || round > 0);
        let acknowledged = pair.one().await;
        assert_eq!(acknowledged.waiting, 0);
        let (requests, _) = pair.store.asked();
        assert!(requests.len() <= 3, "sender again: {requests:?}");
        pair.assert_equal();
    }
    assert!(pair.store.len() <= 8, "{} objects stay", pair.store.len());
}

#[tokio::test]
async fn a_thousand_new_entries_cost_130_kilobytes() {
    let pair = Two::new();
    pair.settle().await;
    pair.store.asked();
    pair.one.put_all((0..1_000).map(|at| (format!("wallet/web/site-{at:04}"), format!("{at:064}"))));
    let sent = pair.one().await;
    let (requests, bytes) = pair.store.asked();
    assert!(requests.len() <= 3 && bytes <= 130_000, "{requests:?}, {bytes} bytes");
    assert_eq!(sent.outcome.bytes_out, bytes);
    pair.two().await;
    pair.assert_equal();
}

/// Entries of a third device go over once, and do not come back.
#[tokio::test]
async fn what_the_other_has_already_is_not_sent_back() {
    let pair = Two::new();
    pair.settle().await;
    let third = Device::new("third");
    third.grant(&pair.one, ALL, "**");
    third.grant(&pair.two, ALL, "**");
    third.put("a/v/1", "of the third");
    let stores = [Memory::default(), Memory::default()];
    for (device, store) in [&pair.one, &pair.two].into_iter().zip(&stores) {
        device.grant(&third, ALL, "**");
        let ids = [device.device(), third.device()];
        device.change(|here| _ = here.peers_mut().set_mailbox_place(&ids[1], "/c"));
        third.change(|here| _ = here.peers_mut().set_mailbox_place(&ids[0], "/c"));
        run(&device.home, store, ids[1]).await.unwrap();
        run(&third.home, store, ids[0]).await.unwrap();
        let taken = run(&device.home, store, ids[1]).await.unwrap();
        assert_eq!((taken.letters_taken, taken.letters_sent), (1, 0));
    }
    assert_eq!(pair.one().await.letters_sent, 1, "it can't know");
    assert_eq!(pair.two().await.letters_sent, 0);
}

/// A large first letter, and a chain that is full: it goes on once some is acknowledged.
#[tokio::test]
async fn large_values_are_spread_over_letters_of_bounded_size() {
    let pair = Two::new();
    pair.settle().await;
    let large = "x".repeat(3 << 20);
    pair.one.put_all((0..6).map(|at| (format!("a/v/{at}"), format!("{at}{large}"))));
    assert_eq!(pair.one().await.letters_sent, 3);
    let longest = pair.store.objects().into_values().map(|object| object.len()).max().unwrap();
    assert!(longest < 9 << 20, "{longest} bytes");
    pair.two().await;
    pair.assert_equal();
}

/// All entries at first, `STRONGHOLD_EFFORT=first=100000` so many: in letters of a thousand.
#[tokio::test]
async fn the_first_letters_cost_no_more_than_their_entries() {
    let entries = crate::effort::count("first", 100_000);
    let pair = Two::new();
    pair.settle().await;
    pair.one.put_all((0..entries).map(|at| (format!("wallet/web/site-{at:06}"), format!("{at:064}"))));
    pair.store.asked();
    let started = std::time::Instant::now();
    let sent = pair.one().await;
    let (sending, bytes) = pair.store.asked();
    let taken = pair.two().await;
    let (taking, _) = pair.store.asked();
    let letters = entries.div_ceil(1_000);
    assert_eq!((sent.letters_sent, taken.letters_taken), (letters, letters));
    assert!(bytes <= 160 * entries, "{bytes} bytes for {entries} entries");
    for requests in [&sending, &taking] {
        assert!(requests.len() as u64 <= letters + 6, "{} requests for {letters} letters", requests.len());
    }
    println!(
        "{entries} entries: {bytes} bytes, {} and {} requests, {:.1} s beside the store",
        sending.len(),
        taking.len(),
        started.elapsed().as_secs_f64()
    );
    pair.assert_equal();
}
