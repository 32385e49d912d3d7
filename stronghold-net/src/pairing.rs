//! Two devices that never met prove to each other that they hold the same code.
//!
//! One device, the *listener*, shows a code; a person types it into the other, the *joiner*. They open a channel
//! with [`Expect::Anyone`](crate::Expect::Anyone) and [`Trust::Anyone`](crate::Trust::Anyone), so each has proved
//! its key to someone, and now settle to whom. A proof is HMAC-SHA-256 (RFC 2104), keyed by the code, over
//! the channel's binding, the joiner's and the listener's public key, a label for the prover's part, and the names so
//! far, each with its length (8 bytes, big-endian) before it:
//!
//! 1. joiner to listener: its proof and name ([`join`], [`Knock::receive`])
//! 2. listener to joiner: its own proof and name, or nothing when the code is wrong ([`Knock::answer`])
//! 3. joiner to listener: that it is content. Only then is the listener done, so neither trusts a device that
//!    did not come to trust it.
//!
//! Whoever sits between the two has two channels with two bindings, so a proof from one is none in the other.
//! Guessing goes one try at a time: a code is moved into [`Knock::answer`] or [`join`] and is gone after it, whatever
//! the outcome. A connection that dies or sends garbage before it has shown a proof never reaches `answer`, so it burns
//! nothing. The joiner shows one proof to one listener; 80 bits are beyond searching for the code that made it.
//!
//! Pairing grants trust only; what the peer may do is for the policy to say.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::Sha256;
use stronghold_vault::PublicIdentity;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::{Channel, ChannelError, Misbehaved, PairingCode};

/// The most characters of a device's name.
pub const MAX_NAME: usize = 64;

/// A pairing that succeeded. Both sides have one, or none.
///
/// (A connection cut in its very last message leaves the joiner alone with one; pairing again mends it.)
#[derive(Debug)]
pub struct Paired<S> {
    /// The device to trust from now on.
    pub peer: PublicIdentity,
    /// What it calls itself, 1 to [`MAX_NAME`] characters. A stranger chose them: show control and bidirectional
    /// characters visibly.
    pub name: String,
    /// The channel, ready for a session.
    pub channel: Channel<S>,
}

/// Why a pairing failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// The two codes differ, or someone sits between the two devices. The code is burnt: the listener makes a new one.
    #[error("the pairing code is wrong")]
    WrongCode,
    /// The listener claims to accept the code without knowing it.
    #[error("the other side does not know the pairing code")]
    Impostor,
    /// The peer has this device's own key.
    #[error("a device can't be paired with itself")]
    Itself,
    /// This device's own name is empty or longer than [`MAX_NAME`] characters.
    #[error("a device's name has 1 to 64 characters")]
    BadName,
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// Joins the listener at the other end of `channel`, as `my_name`.
///
/// # Errors
/// [`PairingError::WrongCode`] when the listener refuses, [`PairingError::Impostor`] when it can't prove the code.
pub async fn join<S>(
    mut channel: Channel<S>,
    code: PairingCode,
    my_name: &str,
) -> Result<Paired<S>, PairingError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    check_own(&channel, my_name)?;
    let proofs = Proofs::new(&channel, channel.own(), channel.peer(), code);
    let proof = proofs.make(JOINER, &[my_name]);
    channel.send(&Introduction { proof, name: my_name.to_owned() }).await?;
    let Some(welcome) = channel.receive::<Option<Introduction>>().await? else {
        return Err(PairingError::WrongCode);
    };
    if !proofs.hold(LISTENER, &[my_name, &welcome.name], &welcome.proof) {
        return Err(PairingError::Impostor);
    }
    check_peers(&welcome.name)?;
    channel.send(&()).await?;
    channel.flush().await?;
    Ok(Paired { peer: channel.peer().clone(), name: welcome.name, channel })
}

/// A joiner that has shown a proof, not yet looked at. Having one needs no code, so that a listener may wait at several
/// connections and spend its one code on the first that is serious.
#[derive(Debug)]
pub struct Knock<S> {
    channel: Channel<S>,
    joiner: Introduction,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Knock<S> {
    /// Waits for the joiner at the other end of `channel` to show its proof.
    ///
    /// # Errors
    /// When the connection dies, stays silent or sends anything else: no try was made, the code is still good.
    pub async fn receive(mut channel: Channel<S>) -> Result<Self, ChannelError> {
        let joiner = channel.receive().await?;
        Ok(Self { channel, joiner })
    }

    /// Checks the proof against `code`, which is burnt by it, and answers as `my_name`.
    ///
    /// # Errors
    /// [`PairingError::WrongCode`] when the joiner's proof does not hold; the joiner is told so.
    pub async fn answer(self, code: PairingCode, my_name: &str) -> Result<Paired<S>, PairingError> {
        let Self { mut channel, joiner } = self;
        check_own(&channel, my_name)?;
        let proofs = Proofs::new(&channel, channel.peer(), channel.own(), code);
        if !proofs.hold(JOINER, &[&joiner.name], &joiner.proof) {
            refuse(channel).await;
            return Err(PairingError::WrongCode);
        }
        check_peers(&joiner.name)?;
        let proof = proofs.make(LISTENER, &[&joiner.name, my_name]);
        channel.send(&Some(Introduction { proof, name: my_name.to_owned() })).await?;
        channel.receive::<()>().await?;
        Ok(Paired { peer: channel.peer().clone(), name: joiner.name, channel })
    }
}

/// The proof that one side shows, and its name.
#[derive(Debug, Serialize, Deserialize)]
struct Introduction {
    proof: ByteArray<PROOF>,
    name: String,
}

/// What both sides' proofs are made of, beside the label and the names.
struct Proofs {
    key: Hmac<Sha256>,
}

impl Proofs {
    fn new<S>(
        channel: &Channel<S>,
        joiner: &PublicIdentity,
        listener: &PublicIdentity,
        code: PairingCode,
    ) -> Self {
        let mut block = Zeroizing::new([0; BLOCK]);
        for (to, from) in block.iter_mut().zip(code.as_bytes()) {
            *to = *from; // HMAC itself fills a short key up with zeros (RFC 2104)
        }
        let mut key = Hmac::new((&*block).into());
        for part in [&*Zeroizing::new(channel.binding()), joiner.spki(), listener.spki()] {
            update(&mut key, part);
        }
        Self { key }
    }

    fn make(&self, label: &[u8], names: &[&str]) -> ByteArray<PROOF> {
        ByteArray::new(self.mac(label, names).finalize().into_bytes().into())
    }

    /// Compares in constant time.
    fn hold(&self, label: &[u8], names: &[&str], proof: &ByteArray<PROOF>) -> bool {
        self.mac(label, names).verify_slice(proof.as_slice()).is_ok()
    }

    fn mac(&self, label: &[u8], names: &[&str]) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        update(&mut mac, label);
        names.iter().for_each(|name| update(&mut mac, name.as_bytes()));
        mac
    }
}

fn update(mac: &mut Hmac<Sha256>, part: &[u8]) {
    mac.update(&(part.len() as u64).to_be_bytes());
    mac.update(part);
}

/// Says no. Whether it arrives changes nothing here.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin + Send>(mut channel: Channel<S>) {
    if channel.send(&None::<Introduction>).await.is_ok() {
        let _ = channel.close().await;
    }
}

fn check_own<S>(channel: &Channel<S>, my_name: &str) -> Result<(), PairingError> {
    if channel.own() == channel.peer() {
        return Err(PairingError::Itself);
    }
    if is_name(my_name) { Ok(()) } else { Err(PairingError::BadName) }
}

fn check_peers(name: &str) -> Result<(), ChannelError> {
    if is_name(name) { Ok(()) } else { Err(Misbehaved::BadName.into()) }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.chars().count())
}

const JOINER: &[u8] = b"stronghold/pairing/v1/joiner";
const LISTENER: &[u8] = b"stronghold/pairing/v1/listener";
const PROOF: usize = 32;
const BLOCK: usize = 64;
