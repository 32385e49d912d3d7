//! Arbitrary bytes as the content of a letter, from whoever has the pair's secret. The bookkeeping
//! takes any order, and no entry is taken that the other device did not sign.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use stronghold_net::mailbox::Letter;
use stronghold_snapshot::RecipientSecretKey;
use stronghold_sync::{
    Edition,
    mailbox::{Inbox, Turn},
};
use stronghold_vault::Identity;

fuzz_target!(|content: &[u8]| {
    let Ok(letter) = Letter::parse(content, "0123456789abcdef") else { return };
    let order = letter.order();
    let mut inbox = Inbox::default();
    if matches!(inbox.turn(order, &Edition::default()), Turn::Next) {
        inbox.take(order.point);
        assert!(!matches!(inbox.turn(order, &Edition::default()), Turn::Next), "taken twice");
    }
    inbox.note_damaged(order.point);
    let [secret, sender, receiver] = [1, 2, 3].map(|byte| [byte; 32]);
    let [sender, receiver] = [sender, receiver].map(|bytes| Identity::from_bytes(&bytes).expect("a key"));
    let secret = RecipientSecretKey::from_bytes(&secret).expect("a key");
    assert!(letter.open(&secret, sender.public(), receiver.device()).is_err(), "nobody signed it");
});
