//! Arbitrary bytes as the signed content of a card, from a paired device. What is parsed is the
//! same when encoded and parsed again, and the bookkeeping of letters takes it.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use stronghold_net::mailbox::Card;
use stronghold_sync::{
    Edition,
    mailbox::{Listed, Outbox, Point},
};

fuzz_target!(|content: &[u8]| {
    let Ok(card) = Card::parse(content) else { return };
    let encoded = card.to_content().expect("what was parsed fits a card");
    assert_eq!(Card::parse(&encoded).as_ref(), Ok(&card));
    let standing = card.standing();
    let listed = |points: &[Point]| Listed { points: points.iter().copied().collect(), is_complete: true };
    let mut outbox = Outbox::default();
    // Twice: a first card, and one of a device that took nothing since.
    for points in [&[][..], &[card.taken], &[card.taken, card.damaged]] {
        outbox.read(&standing, &listed(points));
        if let Some(order) = outbox.next([1; 8], Edition::default(), &standing) {
            assert!(order.point.number > 0);
            outbox.note(&order, &standing, &[]);
        }
    }
});
