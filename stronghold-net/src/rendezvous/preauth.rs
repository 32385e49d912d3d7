//! Guards the port before TLS: a connecting device first shows, in 32 bytes that look random, that
//! it is paired.
//!
//! TLS alone would show every client that this is a Stronghold, and spend a handshake on each
//! stranger. A *knock* is a nonce of 16 bytes and the first 16 bytes of its tag, under the secret
//! of the pairing and for the device that is knocked at. Any other bytes get no answer, so a port
//! scanner sees a port that hangs up. The TLS handshake follows in the same flight, under keys
//! derived from the knock (see [`crate::channel::ephemeral`]), and the cards in it authenticate the
//! device: a knock admits no device, it only keeps strangers out.
//!
//! Each nonce is accepted once. So an overheard knock can begin one handshake with the device that
//! it was for, and only after that device restarted or received 16,384 further knocks. An attacker
//! that holds a knock back can use it first. All that either attack reveals is a key made for this
//! knock.

use std::{
    collections::{HashSet, VecDeque},
    io,
    sync::{Mutex, PoisonError},
};

use hmac::Mac;
use stronghold_snapshot::{SharedVault, VaultFile};
use stronghold_sync::DeviceId;
use stronghold_vault::{Identity, PublicIdentity, Rendezvous, random};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    channel::{ephemeral::EphemeralIdentities, frame::Role},
    rendezvous::tags::{Nonce, TagContext, tag, truncate},
};

/// Number of remembered nonces of 16 bytes, each stored twice.
const REMEMBERED: usize = 16_384;

const NONCE: usize = 16;
const TAG: usize = 16;

/// Knocks at `device`, with which this one shares `secret`. Returns the nonce.
pub(crate) async fn send_token<S: AsyncWrite + Unpin>(
    io: &mut S,
    secret: &Rendezvous,
    device: &DeviceId,
) -> io::Result<Nonce> {
    let nonce = random().map_err(io::Error::other)?;
    io.write_all(&token(&nonce, secret, device)).await?;
    io.flush().await?;
    Ok(nonce)
}

/// Returns the knock with this nonce.
pub(crate) fn token(nonce: &Nonce, secret: &Rendezvous, device: &DeviceId) -> [u8; NONCE + TAG] {
    let mut knock = [0; NONCE + TAG];
    let (first, shown) = knock.split_at_mut(NONCE);
    first.copy_from_slice(nonce);
    shown.copy_from_slice(&truncate::<TAG>(tag(secret, TagContext::Gate, nonce, device)));
    knock
}

/// A device's gate, with the nonces that it has seen.
#[derive(Debug, Default)]
pub(crate) struct PreAuth {
    seen: Mutex<SeenNonces>,
}

#[derive(Debug, Default)]
struct SeenNonces {
    nonces: HashSet<Nonce>,
    order: VecDeque<Nonce>,
}

impl PreAuth {
    /// Reads a knock. Returns the identities and keys for the handshake with the device that may
    /// have sent it; `None` if no paired device did.
    pub(crate) async fn admit<S: AsyncRead + Unpin>(
        &self,
        io: &mut S,
        home: &SharedVault,
    ) -> io::Result<Option<EphemeralIdentities>> {
        let mut nonce = [0; NONCE];
        let mut shown = [0; TAG];
        io.read_exact(&mut nonce).await?;
        io.read_exact(&mut shown).await?;
        let knocker = home.call(move |vault| match_token(vault, &nonce, &shown)).await;
        let knocker = knocker.filter(|_| self.is_new(nonce));
        Ok(knocker.and_then(|(secret, own, peer)| {
            EphemeralIdentities::new(Role::Accepted, &secret, &nonce, own, peer).ok()
        }))
    }

    fn is_new(&self, nonce: Nonce) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.nonces.insert(nonce) {
            return false;
        }
        seen.order.push_back(nonce);
        if seen.order.len() > REMEMBERED
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.nonces.remove(&oldest);
        }
        true
    }
}

/// Finds the paired device whose tag this is, in constant time. Returns the secret of the pairing,
/// this device and the peer. Reloads the file first, so that a device just paired by another
/// process is known. If the file can't be read, uses the last state: a paired device should learn
/// that this one is not ready.
fn match_token(
    home: &mut VaultFile,
    nonce: &Nonce,
    shown: &[u8; TAG],
) -> Option<(Rendezvous, Identity, PublicIdentity)> {
    let _ = home.refresh();
    let stronghold = home.stronghold();
    let own = stronghold.identity().device();
    let is_its = |secret: &&Rendezvous| {
        tag(secret, TagContext::Gate, nonce, &own).verify_truncated_left(shown).is_ok()
    };
    stronghold.peers().iter().find_map(|(_, peer)| {
        let secret = peer.rendezvous.as_ref().filter(is_its)?;
        let peer = PublicIdentity::from_spki(&peer.spki).ok()?;
        Some((secret.clone(), stronghold.identity().duplicate(), peer))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_two_knocks_have_anything_in_common() {
        let (secret, device) = (Rendezvous::from_bytes([1; 32]), DeviceId::from_bytes([2; 32]));
        let (mut one, mut two) = (Vec::new(), Vec::new());
        send_token(&mut one, &secret, &device).await.unwrap();
        send_token(&mut two, &secret, &device).await.unwrap();
        assert_eq!((one.len(), two.len()), (NONCE + TAG, NONCE + TAG));
        assert!(one.iter().zip(&two).filter(|(one, two)| one == two).count() < 8);
    }

    #[test]
    fn each_nonce_is_taken_once_and_so_many_are_remembered() {
        let gate = PreAuth::default();
        let nonce = |number: usize| -> Nonce { std::array::from_fn(|at| number.to_le_bytes()[at % 8]) };
        assert!((0..REMEMBERED).all(|number| gate.is_new(nonce(number))));
        assert!(!gate.is_new(nonce(0)), "the oldest is still remembered");
        assert!(gate.is_new(nonce(REMEMBERED)), "one more, which takes its place");
        assert!(!gate.is_new(nonce(1)) && !gate.is_new(nonce(REMEMBERED)));
        let seen = gate.seen.lock().unwrap();
        assert_eq!((seen.nonces.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
        drop(seen);
        assert!(gate.is_new(nonce(0)), "forgotten");
    }
}
