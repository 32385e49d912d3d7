//! Pairs two devices that never met, by a code that a person carries from one to the other.
//!
//! One device, the *listener*, shows a code; a person types it into the other, the *joiner*. Both
//! open a channel under keys made for this connection, so that a stranger who connects to the open
//! port, or answers in place of the listener, learns the id of no device. Then:
//!
//! 1. joiner to listener: its proof of the code ([`Pairing::join`])
//! 2. listener to joiner: its own proof and its card; or that the code is wrong, or has expired
//! 3. joiner to listener: its card
//! 4. each to the other: whether its person accepts the name and the fingerprint on the screen
//!    ([`PendingPairing::confirm`])
//! 5. listener, then joiner: whether it has saved the peer durably ([`Paired::settle`])
//!
//! A proof is HMAC-SHA-256 (RFC 2104), keyed by the code, over the channel's binding and a label
//! for the prover's role. A card is the device's public key, its name, and its signature over the
//! binding: with it the device claims this channel, opened under another key, as its own. Trust is
//! always mutual: neither device trusts the other alone.
//!
//! A man in the middle has two channels with two bindings, so a proof from one is invalid in the
//! other. Guessing is limited to one try: a [`Pairing`] and a code are moved into their only try. A
//! connection that dies, or sends garbage, before it shows a proof does not use up the code. The
//! joiner shows one proof to one listener; 80 bits are too many to search for the code behind it.
//!
//! Pairing grants trust only; the policy decides what the peer may do.

pub(crate) mod code;
pub(crate) mod invitation;

mod introduction;
mod settle;
mod waiting;

use std::time::Duration;

use stronghold_snapshot::now;
use stronghold_sync::DeviceId;
use stronghold_vault::{
    Identity, MAX_DEVICE_NAME, Peer as Remembered, PublicIdentity, RandomnessError, Rendezvous, Stronghold,
    check_device_name,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

#[cfg(test)]
pub(crate) use self::introduction::vectors;
use self::introduction::{Answer, IdentityProof, PairingRole, Proofs};
pub use self::settle::{Settled, Unsettled};
use crate::{Channel, ChannelError, Expect, Invitation, PairingCode, Stream, Trust, rendezvous::tags};

/// Maximum length of a device's name, in characters.
pub const MAX_NAME: usize = MAX_DEVICE_NAME;

/// Lifetime of a code.
pub const CODE_LIFE: Duration = Duration::from_secs(600);

/// Time for which a side that declined stays connected.
const LINGER: Duration = Duration::from_secs(1);

/// Time for which either side waits for the peer's person to confirm.
pub const CONFIRM_WAIT: Duration = Duration::from_secs(120);

/// The listener's half of a pairing: a code, valid for [`CODE_LIFE`] and one try.
#[derive(Debug)]
pub struct Pairing {
    code: PairingCode,
    until: Instant,
}

/// Two devices that hold the same code. Neither trusts the other before both persons confirm.
#[derive(Debug)]
#[must_use = "nobody trusts anybody before `confirm`"]
pub struct PendingPairing<S = Stream> {
    name: String,
    rendezvous: Rendezvous,
    channel: Channel<S>,
}

/// A pairing to which both persons agreed. Both sides save it with [`settle`](Self::settle).
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "neither device remembers the other before `settle` or `save_in`"]
pub struct Paired<S = Stream> {
    /// The device to trust from now on.
    pub peer: PublicIdentity,
    /// The device's name for itself, 1 to [`MAX_NAME`] characters. A stranger chose it: show
    /// control and bidirectional characters visibly.
    pub name: String,
    /// The secret by which the two devices recognise each other from now on.
    pub rendezvous: Rendezvous,
    /// The channel, ready for a session.
    pub channel: Channel<S>,
}

/// An error that ended a pairing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// The joiner has another code, or there is a man in the middle. The code is used up: the
    /// listener makes a new one.
    #[error("the pairing code is wrong")]
    WrongCode,
    /// The answering device claims that the code is wrong. It has not proved to be the listener, so
    /// the claim proves nothing about the code: another address may work.
    #[error("the device that answers there says that the pairing code is wrong")]
    SaidWrong,
    /// The code was right, but is too old.
    #[error("the pairing code has expired")]
    Expired,
    /// The answering device claims, equally without proof, that the code has expired.
    #[error("the device that answers there says that the pairing code has expired")]
    SaidExpired,
    /// The listener claims to accept the code without knowing it.
    #[error("the peer does not know the pairing code")]
    Impostor,
    /// A person declined, at the peer or here.
    #[error("the pairing was declined")]
    Declined,
    /// The peer has this device's own key.
    #[error("a device can't be paired with itself")]
    Itself,
    /// This device's own name is empty, longer than [`MAX_NAME`] characters, or has control
    /// characters.
    #[error("a device's name has 1 to 64 characters, and no control characters")]
    BadName,
    /// The system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] RandomnessError),
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

impl Pairing {
    /// Creates a pairing with a new code.
    ///
    /// # Errors
    /// [`RandomnessError`] when the system has no randomness.
    pub fn new() -> Result<Self, RandomnessError> {
        Self::with_lifetime(CODE_LIFE)
    }

    /// Creates a pairing with a new code and another lifetime.
    ///
    /// # Errors
    /// [`RandomnessError`] when the system has no randomness.
    pub fn with_lifetime(life: Duration) -> Result<Self, RandomnessError> {
        Ok(Self { code: PairingCode::generate()?, until: Instant::now() + life })
    }

    /// Returns the code to show.
    pub fn code(&self) -> &PairingCode {
        &self.code
    }

    /// Returns the code with the listener's addresses: a link, to show as text or as a QR code.
    pub fn invitation(&self, addresses: Vec<std::net::SocketAddr>) -> Invitation {
        Invitation { code: self.code.copy(), addresses }
    }

    /// Answers the joiner at the other end of `io`, as `identity` under the name `name`.
    ///
    /// # Errors
    /// [`PairingError`]. To skip connections without a proof, use [`wait`](Self::wait).
    pub async fn respond<S>(
        self,
        io: S,
        identity: &Identity,
        name: &str,
    ) -> Result<PendingPairing<S>, PairingError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let cover = Identity::generate()?;
        let knock = PendingProof::receive(Channel::accept(io, &cover, Trust::Anyone).await?).await?;
        self.answer(knock, identity, name).await
    }

    /// Joins the listener at the other end of `io`, as `identity` under the name `name`.
    ///
    /// # Errors
    /// [`PairingError::SaidWrong`] and [`PairingError::SaidExpired`] when the listener refuses,
    /// [`PairingError::Impostor`] when it can't prove the code.
    pub async fn join<S>(
        io: S,
        identity: &Identity,
        name: &str,
        code: PairingCode,
    ) -> Result<PendingPairing<S>, PairingError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        check_name(name)?;
        let cover = Identity::generate()?;
        let mut channel = Channel::connect(io, &cover, Expect::Anyone).await?;
        let binding = Zeroizing::new(channel.channel_binding());
        let proofs = Proofs::over(&binding, &code);
        channel.feed(&proofs.of(PairingRole::Joiner)).await?;
        let card = match channel.receive::<Answer>().await? {
            Answer::Welcome(proof, card) if proofs.hold(PairingRole::Listener, &proof) => card,
            Answer::Welcome(..) => return Err(PairingError::Impostor),
            Answer::WrongCode => return Err(PairingError::SaidWrong),
            Answer::Expired => return Err(PairingError::SaidExpired),
        };
        channel.feed(&IdentityProof::new(PairingRole::Joiner, &binding, identity, name)).await?;
        channel.flush().await?;
        PendingPairing::of(channel, identity, card, PairingRole::Listener)
    }

    /// Checks the proof against the code, which is used up.
    async fn answer<S>(
        self,
        knock: PendingProof<S>,
        identity: &Identity,
        name: &str,
    ) -> Result<PendingPairing<S>, PairingError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        check_name(name)?;
        let PendingProof { mut channel, proof } = knock;
        let binding = Zeroizing::new(channel.channel_binding());
        if Instant::now() >= self.until {
            refuse(channel, &Answer::Expired).await;
            return Err(PairingError::Expired);
        }
        let proofs = Proofs::over(&binding, &self.code);
        if !proofs.hold(PairingRole::Joiner, &proof) {
            refuse(channel, &Answer::WrongCode).await;
            return Err(PairingError::WrongCode);
        }
        let card = IdentityProof::new(PairingRole::Listener, &binding, identity, name);
        channel.feed(&Answer::Welcome(proofs.of(PairingRole::Listener), card)).await?;
        let card = channel.receive::<IdentityProof>().await?;
        PendingPairing::of(channel, identity, card, PairingRole::Joiner)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> PendingPairing<S> {
    fn of(
        mut channel: Channel<S>,
        identity: &Identity,
        card: IdentityProof,
        part: PairingRole,
    ) -> Result<Self, PairingError> {
        let binding = Zeroizing::new(channel.channel_binding());
        let rendezvous = tags::of_pairing(&binding);
        let peer = card.check(part, &binding).map_err(ChannelError::from)?;
        if peer == *identity.public() {
            return Err(PairingError::Itself);
        }
        channel.set_idle_timeout(CONFIRM_WAIT);
        channel.set_identities(identity.public().clone(), peer);
        Ok(Self { name: card.name, rendezvous, channel })
    }

    /// Returns the peer's name for itself, as in [`Paired::name`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the peer, whose fingerprint both screens should show.
    pub fn device(&self) -> DeviceId {
        self.channel.peer().device()
    }

    /// Confirms for this side's person, and waits for the peer's, at most [`CONFIRM_WAIT`].
    ///
    /// # Errors
    /// [`PairingError::Declined`] when the peer's person declines.
    pub async fn confirm(self) -> Result<Paired<S>, PairingError> {
        let Self { name, rendezvous, mut channel } = self;
        // Reads a refusal that has already arrived before sending this side's consent, which the
        // peer would not read any more.
        let said = timeout(Duration::ZERO, channel.receive::<bool>()).await.ok().transpose()?;
        if said != Some(false) {
            channel.feed(&true).await?;
            channel.flush().await?;
        }
        let agrees = match said {
            Some(said) => said,
            None => channel.receive::<bool>().await?,
        };
        if !agrees {
            return Err(PairingError::Declined);
        }
        channel.set_idle_timeout(crate::Timeouts::default().idle);
        Ok(Paired { peer: channel.peer().clone(), name, rendezvous, channel })
    }

    /// Declines for this side's person. Waits up to a second for the peer to read the refusal.
    pub async fn decline(mut self) {
        if self.channel.feed(&false).await.is_ok() {
            let _ = timeout(LINGER, self.channel.receive::<bool>()).await;
            let _ = self.channel.close().await;
        }
    }
}

impl<S> Paired<S> {
    /// Adds the device to the Stronghold's peers, or updates it. It is named `name`, by default its
    /// own name, as [`Peers::name_for`](stronghold_vault::Peers::name_for) resolves it. Returns the
    /// name. Becomes durable when the snapshot is written, for example by
    /// [`VaultFile::update`](stronghold_snapshot::VaultFile::update).
    pub fn save_in(
        &self,
        stronghold: &mut Stronghold,
        name: Option<&str>,
        address: Option<String>,
    ) -> String {
        let device = self.peer.device();
        let name = stronghold.peers().name_for(&device, name.unwrap_or(&self.name));
        let peer = Remembered {
            name: name.clone(),
            own_name: self.name.clone(),
            spki: self.peer.spki().to_vec(),
            address,
            paired: now(),
            generation: 0,
            rendezvous: Some(self.rendezvous.clone()),
        };
        stronghold.peers_mut().insert(device, peer);
        name
    }
}

/// A joiner whose proof arrived but is not checked yet. Receiving a proof needs no code, so that a
/// listener can wait on several connections and spend its only code on the first proof.
#[derive(Debug)]
struct PendingProof<S> {
    channel: Channel<S>,
    proof: introduction::Proof,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> PendingProof<S> {
    async fn receive(mut channel: Channel<S>) -> Result<Self, ChannelError> {
        let proof = channel.receive().await?;
        Ok(Self { channel, proof })
    }
}

/// Sends a refusal; its failure changes nothing here.
async fn refuse<S, M>(mut channel: Channel<S>, message: &M)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    M: serde::Serialize,
{
    if channel.feed(message).await.is_ok() {
        let _ = channel.close().await;
    }
}

fn check_name(name: &str) -> Result<(), PairingError> {
    check_device_name(name).map_err(|_| PairingError::BadName)
}
