#![doc = include_str!("../README.md")]

// The helpers of the tests name the library as another crate does.
#[cfg(test)]
extern crate self as stronghold_net;

mod channel;
mod client;
#[cfg(test)]
#[path = "../tests/it/common/mod.rs"]
#[allow(dead_code, reason = "the integration tests use the rest")]
mod common;
mod error;
pub mod mailbox;
pub mod pairing;
#[cfg(feature = "iroh")]
mod quic;
mod rendezvous;
mod server;
mod session;
mod transport;
#[cfg(test)]
#[cfg(feature = "discovery")]
mod vectors;

pub use channel::frame::MAX_FRAME;
pub use channel::tls::{ALPN, Expect, Trust};
pub use channel::{Channel, Timeouts};
pub use client::dial::{DialError, SEARCH_TIME, dial, dial_pairing};
pub use client::peer::{Beyond, Direction, Outcome, Peer, PeerError, SyncRequest};
#[cfg(feature = "iroh")]
pub use client::reach::{dial_across, dial_pairing_across};
pub use error::{ChannelError, FrameError};
pub use pairing::Pairing;
pub use pairing::code::{PairingCode, ParseCodeError};
pub use pairing::invitation::{Invitation, ParseInvitationError};
#[cfg(feature = "iroh")]
pub use quic::{
    dial::QuicError,
    listen::{MAX_ENDPOINTS, QuicEvent, QuicListener},
    relays::{Relays, RelaysError},
};
#[cfg(feature = "discovery")]
pub use rendezvous::discovery;
pub use server::limits::Limits;
pub use server::{Event, Server};
pub use session::handler::{BoxFuture, LeftBehindReport, NoHandler, PlanDecision, SessionHandler};
pub use session::host::HostError;
pub use stronghold_snapshot::{
    self as snapshot, NewSlot, SharedVault, Unlock, VaultFile, VaultFileError, now,
};
pub use stronghold_sync::{self as sync, DeviceId, Operation, Rule, Selection};
pub use stronghold_vault::{self as vault, Identity, Labels, Stronghold};
pub use transport::{ByteStream, Listener, Stream, Way};

/// The parts of a session, for the tests of this workspace that break the protocol. They may change
/// with every release.
#[doc(hidden)]
pub mod internals {
    pub use crate::session::{
        binding::{request_of, secret_of},
        driver::{DriveError, Host, Overload, drive},
        host::VaultHost,
    };
}
