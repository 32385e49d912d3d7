//! Holds the keys that two paired devices show each other: in TLS, keys made for one connection;
//! inside the channel, their cards.
//!
//! TLS reveals a key to any peer that completes a handshake, and a man in the middle can complete
//! one with an intercepted knock. So both devices handshake under *cover keys*, derived from the
//! pairing's secret and the knock's nonce: showing the right key proves possession of the secret,
//! and seeing one reveals nothing. Inside the channel each device then shows its *card*: its own
//! public key, and its signature over the channel's binding. A card that is not the paired device's
//! ends the channel before any other message, so the secret alone impersonates no device.

#[cfg(test)]
mod tests;

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::Sha256;
use stronghold_sync::DeviceId;
use stronghold_vault::{Identity, PublicIdentity, Rendezvous, SecretKeyError};
use zeroize::Zeroizing;

use crate::{channel::frame::Role, rendezvous::tags::Nonce};

/// Identities and cover keys of one connection between two paired devices, as one of them sees it.
#[derive(Debug)]
pub(crate) struct EphemeralIdentities {
    pub(crate) own: Identity,
    pub(crate) peer: PublicIdentity,
    /// Own key in TLS.
    pub(crate) cover: Identity,
    /// Id of the key that the peer must show in TLS.
    pub(crate) peers_cover: DeviceId,
}

impl EphemeralIdentities {
    /// Derives the keys of a connection in which `own` has this role, for a knock with this nonce,
    /// between devices that share `secret`.
    ///
    /// # Errors
    /// [`SecretKeyError`], with a probability of 2^-8192.
    pub(crate) fn new(
        role: Role,
        secret: &Rendezvous,
        nonce: &Nonce,
        own: Identity,
        peer: PublicIdentity,
    ) -> Result<Self, SecretKeyError> {
        let at = match role {
            Role::Connected => peer.device(),
            Role::Accepted => own.device(),
        };
        let cover = ephemeral_identity(role, secret, nonce, &at)?;
        let peers_cover = ephemeral_identity(role.other(), secret, nonce, &at)?.device();
        Ok(Self { own, peer, cover, peers_cover })
    }
}

/// Derives the cover key of a role for a knock with this nonce at the device `at`: HKDF-SHA-256
/// (RFC 5869), with the first counter that yields a valid key, as in RFC 9180, 7.1.3.
pub(crate) fn ephemeral_identity(
    role: Role,
    secret: &Rendezvous,
    nonce: &Nonce,
    at: &DeviceId,
) -> Result<Identity, SecretKeyError> {
    let label: &[u8] = match role {
        Role::Connected => b"stronghold/cover/v1/initiator",
        Role::Accepted => b"stronghold/cover/v1/responder",
    };
    let from = Hkdf::<Sha256>::new(None, secret.as_bytes());
    let mut key = Zeroizing::new([0; 32]);
    for attempt in 0..=u8::MAX {
        let expanded = from.expand_multi_info(&[label, nonce, at.as_bytes(), &[attempt]], &mut *key);
        debug_assert!(expanded.is_ok(), "32 bytes are never too many");
        if let Ok(identity) = Identity::from_bytes(&key) {
            return Ok(identity);
        }
    }
    Err(SecretKeyError)
}

/// A device's card: its public key, and its signature over the channel's binding.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IdentityProof {
    spki: ByteBuf,
    signature: ByteBuf,
}

impl IdentityProof {
    /// Signs the card of `identity`, which has this role in the channel with this binding.
    pub(crate) fn new(role: Role, binding: &[u8; 32], identity: &Identity) -> Self {
        Self {
            spki: ByteBuf::from(identity.public().spki()),
            signature: ByteBuf::from(identity.sign(&to_sign(role, binding))),
        }
    }

    /// Returns whether the card is this device's, for this role in this channel.
    pub(crate) fn is_of(&self, device: &PublicIdentity, role: Role, binding: &[u8; 32]) -> bool {
        self.spki == device.spki() && device.verify(&to_sign(role, binding), &self.signature).is_ok()
    }
}

/// Returns the bytes that a card's signature covers.
fn to_sign(role: Role, binding: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let label: &[u8] = match role {
        Role::Connected => b"stronghold/card/v1/initiator",
        Role::Accepted => b"stronghold/card/v1/responder",
    };
    Zeroizing::new([label, binding].concat())
}
