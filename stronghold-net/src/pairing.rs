//! Two devices that never met come to trust each other, by a code that a person carries from one to the other.
//!
//! One device, the *listener*, shows a code; a person types it into the other, the *joiner*. Both open a channel under a
//! key made for this alone, so that whoever else connects to the open port, or answers in its place, sees no device. Then:
//!
//! 1. joiner to listener: its proof of the code ([`Pairing::join`])
//! 2. listener to joiner: its own proof and its card; or that the code is wrong, or has expired
//! 3. joiner to listener: its card
//! 4. each to the other: whether its person is content with the name and the fingerprint on the screen ([`PendingPairing::confirm_losses`])
//! 5. the listener, then the joiner: whether it has saved the other durably ([`Paired::settle`])
//!
//! A proof is HMAC-SHA-256 (RFC 2104), keyed by the code, over the channel's binding and a label for the prover's part. A
//! card is the device's public key, its name, and its signature over the binding: the device says by it that this channel,
//! opened under another key, is its own. Neither trusts a device that did not come to trust it.
//!
//! Whoever sits between the two has two channels with two bindings, so a proof from one is none in the other.
//! Guessing goes one try at a time: a [`Pairing`] and a code are moved into the one try that they are good for. A
//! connection that dies, or sends garbage, before it has shown a proof burns nothing. The joiner shows one proof to one
//! listener; 80 bits are beyond searching for the code that made it.
//!
//! Pairing grants trust only; what the peer may do is for the policy to say.

mod introduction;
mod settle;
mod waiting;

use std::time::Duration;

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
use crate::{Channel, ChannelError, Expect, Invitation, PairingCode, Trust, shared::now, tags};

/// The most characters of a device's name.
pub const MAX_NAME: usize = MAX_DEVICE_NAME;

/// How long a code is good for.
pub const CODE_LIFE: Duration = Duration::from_secs(600);

/// How long one who says no stays to be heard.
const LINGER: Duration = Duration::from_secs(1);

/// How long either side waits for the other's person to confirm.
pub const CONFIRM_WAIT: Duration = Duration::from_secs(120);

/// The listener's half of a pairing: a code, good for [`CODE_LIFE`] and one try.
#[derive(Debug)]
pub struct Pairing {
    code: PairingCode,
    until: Instant,
}

/// Two devices that hold the same code. Nothing is settled before both persons have looked at it.
#[derive(Debug)]
#[must_use = "nobody trusts anybody before `confirm`"]
pub struct PendingPairing<S> {
    name: String,
    rendezvous: Rendezvous,
    channel: Channel<S>,
}

/// A pairing to which both persons agreed. It is for both sides to save, by [`settle`](Self::settle).
#[derive(Debug)]
pub struct Paired<S> {
    /// The device to trust from now on.
    pub peer: PublicIdentity,
    /// What it calls itself, 1 to [`MAX_NAME`] characters. A stranger chose them: show control and bidirectional
    /// characters visibly.
    pub name: String,
    /// What the two recognise each other by from now on.
    pub rendezvous: Rendezvous,
    /// The channel, ready for a session.
    pub channel: Channel<S>,
}

/// Why a pairing failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// The joiner's code is another one, or someone sits between the two devices. The code is burnt: the listener makes a new one.
    #[error("the pairing code is wrong")]
    WrongCode,
    /// Who answers the joiner says that the code is wrong. It has not proved to be the listener, so it says nothing of the code:
    /// another address may do better.
    #[error("the device that answers there says that the pairing code is wrong")]
    SaidWrong,
    /// The code was right once.
    #[error("the pairing code has expired")]
    Expired,
    /// Who answers the joiner says that the code has expired, likewise.
    #[error("the device that answers there says that the pairing code has expired")]
    SaidExpired,
    /// The listener claims to accept the code without knowing it.
    #[error("the other side does not know the pairing code")]
    Impostor,
    /// The other side's person said no, or this one did.
    #[error("the pairing was declined")]
    Declined,
    /// The peer has this device's own key.
    #[error("a device can't be paired with itself")]
    Itself,
    /// This device's own name is empty, longer than [`MAX_NAME`] characters, or has control characters.
    #[error("a device's name has 1 to 64 characters, and no control characters")]
    BadName,
    /// The system gave no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] RandomnessError),
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

impl Pairing {
    /// Makes a code.
    ///
    /// # Errors
    /// [`RandomnessError`] when the system has none to give.
    pub fn new() -> Result<Self, RandomnessError> {
        Self::with_lifetime(CODE_LIFE)
    }

    /// Makes a code that expires sooner, or later.
    ///
    /// # Errors
    /// [`RandomnessError`] when the system has none to give.
    pub fn with_lifetime(life: Duration) -> Result<Self, RandomnessError> {
        Ok(Self { code: PairingCode::generate()?, until: Instant::now() + life })
    }

    /// The code, to be shown.
    #[must_use]
    pub fn code(&self) -> &PairingCode {
        &self.code
    }

    /// The code with hints where to go with it: a link, to be shown as such or as a QR code.
    #[must_use]
    pub fn invitation(&self, addresses: Vec<std::net::SocketAddr>) -> Invitation {
        Invitation { code: self.code.copy(), addresses }
    }

    /// Meets the joiner at the other end of `io`, as `identity`, which calls itself `name`.
    ///
    /// # Errors
    /// [`PairingError`]. To wait for one that shows a proof at all, use [`wait`](Self::wait).
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

    /// Joins the listener at the other end of `io`, as `identity`, which calls itself `name`.
    ///
    /// # Errors
    /// [`PairingError::SaidWrong`] and [`PairingError::SaidExpired`] when the listener refuses, [`PairingError::Impostor`] when it
    /// can't prove the code.
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

    /// Checks the proof against the code, which is burnt by it.
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

    /// What the other device calls itself: as [`Paired::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The other device, whose fingerprint both screens are to show.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.channel.peer().device()
    }

    /// This side's person is content; waits for the other's, [`CONFIRM_WAIT`] at most.
    ///
    /// # Errors
    /// [`PairingError::Declined`] when the other is not.
    pub async fn confirm(self) -> Result<Paired<S>, PairingError> {
        let Self { name, rendezvous, mut channel } = self;
        // A no that was said by now is heard before a yes is, which would find nobody there any more.
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

    /// This side's person is not: tells the other, and waits a moment for it to have heard.
    pub async fn decline(mut self) {
        if self.channel.feed(&false).await.is_ok() {
            let _ = timeout(LINGER, self.channel.receive::<bool>()).await;
            let _ = self.channel.close().await;
        }
    }
}

impl<S> Paired<S> {
    /// Remembers the device: under `name`, or under the one that it calls itself by, as [`Peers::name_for`](stronghold_vault::Peers::name_for) has it. A device that was known is updated. Gives the name. It lasts when the
    /// snapshot is written, as by [`VaultFile::update`](stronghold_snapshot::VaultFile::update).
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

/// A joiner that has shown a proof, not yet looked at. Having one needs no code, so that a listener may wait at several
/// connections and spend its one code on the first that is serious.
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

/// Says no. Whether it arrives changes nothing here.
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
