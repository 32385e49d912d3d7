//! Computes the tags by which paired devices recognise each other; to all others they are random
//! bytes.
//!
//! A tag is a truncated HMAC-SHA-256 (RFC 2104) under a secret that only the two devices have, over
//! a label, a fresh nonce and the intended device. It depends on no clock: the device that makes a
//! tag draws the nonce.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stronghold_sync::DeviceId;
use stronghold_vault::Rendezvous;
use zeroize::Zeroizing;

use crate::PairingCode;

/// The use of a tag: the same secret makes different tags for each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagContext {
    /// Admission by a server: see [`crate::rendezvous::preauth`].
    Gate,
    /// Discovery on the LAN: see [`crate::rendezvous::discovery`].
    #[cfg_attr(not(feature = "discovery"), allow(dead_code, reason = "only discovery uses it"))]
    Announcement,
}

/// A fresh random nonce. Until it draws another one, a device can be tracked by it.
pub(crate) type Nonce = [u8; 16];

/// Derives the secret that two devices share after their pairing: HKDF-SHA-256 (RFC 5869) of the
/// channel's binding.
pub(crate) fn of_pairing(binding: &[u8; 32]) -> Rendezvous {
    derived(binding, b"stronghold/rendezvous/v1")
}

/// Derives the secret of a pairing code, used only to find the listener; the code's 80
/// bits are too many to search.
#[cfg_attr(not(feature = "discovery"), allow(dead_code, reason = "only discovery uses it"))]
pub(crate) fn of_code(code: &PairingCode) -> Rendezvous {
    derived(code.as_bytes(), b"stronghold/pairing/rendezvous/v1")
}

/// Computes the tag of `secret` for the device `at`, which is [`ANY_DEVICE`] for a pairing code.
pub(crate) fn tag(secret: &Rendezvous, purpose: TagContext, nonce: &Nonce, at: &DeviceId) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(secret.as_bytes()); // HMAC itself fills a short key up with zeros (RFC 2104)
    let mut mac = Hmac::new((&*block).into());
    let label: &[u8] = match purpose {
        TagContext::Gate => b"stronghold/gate/v1",
        TagContext::Announcement => b"stronghold/announcement/v1",
    };
    [label, nonce, at.as_bytes()].into_iter().for_each(|part| mac.update(part));
    mac
}

/// Returns the first bytes of a tag.
pub(crate) fn truncate<const N: usize>(mark: Hmac<Sha256>) -> [u8; N] {
    let whole = mark.finalize().into_bytes();
    std::array::from_fn(|index| whole[index])
}

/// A placeholder for a device that is not known yet.
#[cfg_attr(not(feature = "discovery"), allow(dead_code, reason = "only discovery uses it"))]
pub(crate) const ANY_DEVICE: DeviceId = DeviceId::from_bytes([0; 32]);

fn derived(from: &[u8], label: &[u8]) -> Rendezvous {
    let mut bytes = Zeroizing::new([0; 32]);
    let expanded = Hkdf::<Sha256>::new(None, from).expand(label, bytes.as_mut_slice());
    debug_assert!(expanded.is_ok(), "32 bytes are never too many");
    Rendezvous::from_bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_its_secret_purpose_nonce_and_device() {
        let secrets =
            [of_pairing(&[1; 32]), of_pairing(&[2; 32]), of_code(&PairingCode::generate().unwrap())];
        let mut seen = std::collections::BTreeSet::new();
        for secret in &secrets {
            for purpose in [TagContext::Gate, TagContext::Announcement] {
                for nonce in [[1; 16], [2; 16]] {
                    for device in [ANY_DEVICE, DeviceId::from_bytes([1; 32])] {
                        assert!(seen.insert(truncate::<8>(tag(secret, purpose, &nonce, &device))));
                    }
                }
            }
        }
        assert_eq!(truncate::<8>(tag(&secrets[0], TagContext::Gate, &[1; 16], &ANY_DEVICE)).len(), 8);
        assert_eq!(of_pairing(&[1; 32]), secrets[0]);
    }
}
