//! Stronghold peer to peer: pairing, finding each other, and synchronising over an authenticated channel.
//!
//! What it does **not** do: it has no server in between and needs none; it decides nothing about what may be asked of a peer, the
//! policy in the snapshot does; it hides neither that two addresses talk nor how much. It resumes no sessions: each request
//! is a connection of its own, about 4 kB both ways.
//!
//! Three nouns:
//! - [`Pairing`]: two devices that never met come to trust each other, by a code that a person carries from one screen to
//!   the other, and by both persons agreeing to what the screens then show.
//! - [`Peer`]: a paired device at the other end of a stream, to be asked one thing: [`Peer::sync`], [`Peer::browse`],
//!   [`Peer::fetch`] or [`Peer::import`]. [`reach`] finds it over TCP, where it was last or on the LAN ([`discovery`]).
//! - [`Server`]: answers whoever is paired, on a socket or over any stream, under the policy and within [`Limits`].
//!
//! They work on a [`SharedVault`], a Stronghold and its file, and tell an [`SessionHandler`] of what happens; where a rule says
//! so they ask it. Any `AsyncRead + AsyncWrite` carries them. Below them, for programs with other messages, is [`Channel`]:
//! TLS 1.3 with raw public keys both ways.
//!
//! `PROTOCOL.md` has every message and what each side, an observer and a prober learn.
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
//! assert_eq!(asking.binding(), answering.binding());
//!
//! asking.send("what do you hold?").await?;
//! asking.flush().await?;
//! assert_eq!(answering.receive::<String>().await?, "what do you hold?");
//! # Ok(())
//! # }
//! ```

// The helpers of the tests name the library as another crate does.
#[cfg(test)]
extern crate self as stronghold_net;

mod admission;
mod channel;
mod code;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
mod dial;
pub mod discovery;
mod driver;
mod ephemeral;
mod error;
mod frame;
mod handler;
mod health;
mod host;
mod invitation;
mod knowledge;
mod limits;
mod memory;
mod metered;
mod pace;
pub mod pairing;
mod peer;
mod preauth;
mod server;
mod shared;
mod tags;
mod tcp;
mod tls;
#[cfg(test)]
mod vectors;

pub use channel::{Channel, Timeouts};
pub use code::{PairingCode, ParseCodeError};
pub use dial::{DialError, dial, dial_pairing};
pub use driver::{DriveError, Host, Overload, drive};
pub use error::{ChannelError, FrameError};
pub use frame::MAX_FRAME;
pub use handler::{BoxFuture, NoHandler, PlanDecision, SessionHandler, StaysBehind};
pub use host::{HostError, VaultHost, request_of, secret_of};
pub use invitation::{Invitation, ParseInvitationError};
pub use limits::Limits;
pub use pairing::Pairing;
pub use peer::{Beyond, Direction, Outcome, Peer, PeerError, SyncRequest};
pub use server::{Event, Server};
pub use shared::{SharedVault, now, own_identity};
pub use tls::{ALPN, Expect, Trust};
