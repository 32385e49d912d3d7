//! Stronghold's channel between two devices, and their pairing.
//!
//! What it does **not** do: it finds no peers, opens no ports and keeps no list of trusted devices; it decides
//! nothing about what may be asked of a peer. It hides neither that two addresses talk nor how much, and the
//! accepting side's public key is shown to whoever completes a handshake's first half. Two peers that both send a
//! great deal before either receives wait for each other until the time-out.
//!
//! Three nouns:
//! - [`Channel`]: TLS 1.3 over any `AsyncRead + AsyncWrite`, both ends authenticated by their device's key
//!   ([`Expect`], [`Trust`]), carrying messages: any serde type of up to [`MAX_FRAME`] bytes encoded.
//! - [`PairingCode`]: 80 random bits that one person carries from one screen to the other, good for one try.
//! - [`pairing`]: two devices that never met prove to each other, over a channel, that they hold the same code.
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

mod channel;
mod code;
mod counted;
mod crowd;
pub mod discovery;
mod driver;
mod error;
mod frame;
mod gate;
mod host;
mod invitation;
mod limits;
mod marks;
pub mod pairing;
mod peer;
mod reach;
mod server;
mod tls;

pub use channel::{Channel, Timeouts};
pub use code::{BadCode, PairingCode};
pub use driver::{DriveError, Host, drive};
pub use error::{ChannelError, Misbehaved};
pub use frame::MAX_FRAME;
pub use host::{
    Answering, Attendant, GoOn, HomeHost, HostError, SharedHome, Unattended, now, own_identity, request_of,
    secret_of,
};
pub use invitation::{BadInvitation, Invitation};
pub use limits::Limits;
pub use pairing::Pairing;
pub use peer::{Outcome, Peer, PeerError, Ways};
pub use reach::{ReachError, join, reach};
pub use server::{Event, Server};
pub use tls::{ALPN, Expect, Trust};
