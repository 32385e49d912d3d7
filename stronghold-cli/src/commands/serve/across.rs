//! Listens over QUIC beside TCP, and tells where.

use std::sync::mpsc::SyncSender;

use serde_json::json;
use stronghold_net::{Listener, MAX_ENDPOINTS, QuicEvent, QuicListener, SharedVault};
use stronghold_sync::escape_untrusted;

use super::{ServeArgs, mailboxes::RenderedEvent};
use crate::commands::{progress::Names, relays::RelayArgs};
use crate::context::Context;
use crate::error::Failure;
use crate::output::counted;

/// Adds a listener over QUIC, where the options ask for one: at the IP address of `listener`.
pub(super) fn listen(
    context: &Context,
    home: &SharedVault,
    listener: Listener,
    args: &ServeArgs,
    print: SyncSender<RenderedEvent>,
) -> Result<Listener, Failure> {
    if !args.iroh {
        return Ok(listener);
    }
    let relays = RelayArgs { relay: args.relay.clone() }.chosen(context)?;
    let address = listener.local_addr().map_err(|error| Failure::terminal(&error))?;
    let names = Names::of_home(home);
    let told = move |event: QuicEvent| {
        let _ = described(&names, &event).map(|described| print.try_send(described));
    };
    Ok(listener.with_quic(QuicListener::open(home, address, relays, told)))
}

/// Returns an event as an object and a line.
fn described(names: &Names, event: &QuicEvent) -> Option<RenderedEvent> {
    let shown = |device| escape_untrusted(&names.of(device));
    let (object, line) = match event {
        QuicEvent::Listening(device, port) => (
            json!({ "iroh": "listening", "device": device.to_string(), "name": names.of(device), "port": port }),
            format!("listening for {} at UDP port {port}", shown(device)),
        ),
        QuicEvent::Failed(device, reason) => (
            json!({ "iroh": "failed", "device": device.to_string(), "name": names.of(device), "reason": reason }),
            format!("not listening for {} over QUIC: {}", shown(device), escape_untrusted(reason)),
        ),
        QuicEvent::TooMany(number) => (
            json!({ "iroh": "too_many", "devices": number }),
            format!(
                "listening for {MAX_ENDPOINTS} devices over QUIC: not for the {} beyond that",
                counted(*number as u64, "device")
            ),
        ),
        QuicEvent::Relay(relay) => (
            json!({ "iroh": "relay", "relay": relay }),
            format!("to be found at the relay {}", escape_untrusted(relay)),
        ),
        QuicEvent::NoRelay => {
            (json!({ "iroh": "no_relay" }), "no relay can be reached; it is tried again".to_owned())
        }
        _ => return None,
    };
    Some((object, line))
}
