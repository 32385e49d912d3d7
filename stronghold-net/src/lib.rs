//! Connects two devices with a Stronghold: pairing, discovery and sync over an authenticated
//! channel.
//!
//! The crate does **not** need a server in between. It does not decide what a peer may request; the
//! policy in the snapshot does. It hides neither that two addresses communicate nor how much. It
//! resumes no sessions: each request opens its own connection, which costs about 4 kB both ways.
//!
//! Three nouns:
//! - [`Pairing`]: makes two devices that never met trust each other, by a code that a person
//!   carries from one screen to the other, and by the consent of both persons to what the screens
//!   then show.
//! - [`Peer`]: a channel to a paired device, for one request: [`Peer::sync`], [`Peer::browse`],
//!   [`Peer::fetch`] or [`Peer::import`]. [`dial()`] opens it over TCP, at the device's last
//!   address or one found on the LAN ([`discovery`]).
//! - [`Server`]: answers paired devices, on a socket or over any stream, under the policy and
//!   within [`Limits`].
//!
//! Peers and servers work on a [`SharedVault`], a Stronghold and its file. They report events to a
//! [`SessionHandler`], and ask it for approval where a rule demands one. They run over any
//! `AsyncRead + AsyncWrite`. Programs with other messages use the layer below, [`Channel`]: TLS 1.3
//! with raw public keys both ways.
//!
//! `PROTOCOL.md` describes every message and what each side, an observer and a prober learn.
//!
//! ```
//! use stronghold_net::{Channel, Expect, Trust};
//! use stronghold_vault::Identity;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (laptop, phone) = (Identity::generate()?, Identity::generate()?);
//! let known = laptop.device();
//! let (near, far) = tokio::io::duplex(4096);
//! let (asking, answering) = tokio::join!(
//!     Channel::connect(near, &laptop, Expect::Device(phone.device())),
//!     Channel::accept(far, &phone, Trust::known(move |device| *device == known)),
//! );
//! let (mut asking, mut answering) = (asking?, answering?);
//! assert_eq!(asking.channel_binding(), answering.channel_binding());
//!
//! asking.feed("what do you hold?").await?;
//! asking.flush().await?;
//! assert_eq!(answering.receive::<String>().await?, "what do you hold?");
//! # Ok(())
//! # }
//! ```

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
pub mod pairing;
mod rendezvous;
mod server;
mod session;
mod tcp;
#[cfg(test)]
mod vectors;

pub use channel::frame::MAX_FRAME;
pub use channel::tls::{ALPN, Expect, Trust};
pub use channel::{Channel, Timeouts};
pub use client::dial::{DialError, dial, dial_pairing};
pub use client::peer::{Beyond, Direction, Outcome, Peer, PeerError, SyncRequest};
pub use error::{ChannelError, FrameError};
pub use pairing::Pairing;
pub use pairing::code::{PairingCode, ParseCodeError};
pub use pairing::invitation::{Invitation, ParseInvitationError};
pub use rendezvous::discovery;
pub use server::limits::Limits;
pub use server::{Event, Server};
pub use session::binding::{request_of, secret_of};
pub use session::driver::{DriveError, Host, Overload, drive};
pub use session::handler::{BoxFuture, LeftBehindReport, NoHandler, PlanDecision, SessionHandler};
pub use session::host::{HostError, VaultHost};
pub use stronghold_snapshot::{SharedVault, now};
