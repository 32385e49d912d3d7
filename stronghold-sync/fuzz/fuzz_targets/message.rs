//! Decodes any bytes as a message. A decoded message must survive encoding and decoding unchanged,
//! and matching its selection must stay fast, whatever its patterns are.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use stronghold_sync::{Location, message::Message};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = rmp_serde::from_slice::<Message>(bytes) else {
        return;
    };
    let encoded = rmp_serde::to_vec(&message).expect("what was decoded has an encoding");
    let again: Message = rmp_serde::from_slice(&encoded).expect("an encoding of ours decodes");
    assert_eq!(again, message);
    assert_eq!(rmp_serde::to_vec(&again).expect("as before"), encoded);
    ask(&message);
});

/// Queries a message's scopes and names as a session does.
fn ask(message: &Message) {
    let somewhere: Location = "wallet/web/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".parse().expect("a location");
    match message {
        Message::Open(open) => {
            let _ = open.request.selection().covers(&somewhere);
        }
        Message::Agreed(agreed) => {
            for scope in [&agreed.pull, &agreed.push, &agreed.delete].into_iter().flatten() {
                let _ = scope.covers(&somewhere);
            }
        }
        Message::Listing(found) => {
            for listing in found {
                let text = listing.location.to_string();
                assert_eq!(text.parse::<Location>().as_ref(), Ok(&listing.location));
            }
        }
        _ => {}
    }
}
