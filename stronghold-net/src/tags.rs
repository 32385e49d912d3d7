//! The marks by which paired devices recognise each other, and in which nobody else sees anything but random bytes.
//!
//! Each is HMAC-SHA-256 (RFC 2104) under a secret that only the two have, over a label, a fresh nonce and who is meant, cut
//! short. There is no clock in it: whoever makes a mark draws the nonce.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stronghold_sync::DeviceId;
use stronghold_vault::Rendezvous;
use zeroize::Zeroizing;

use crate::PairingCode;

/// What a mark is for: the same secret makes other marks at the gate and on the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagContext {
    /// To be let in: see [`crate::gate`].
    Gate,
    /// To be found: see [`crate::discovery`].
    Announcement,
}

/// A fresh random nonce; whoever draws one may be followed by it until the next.
pub(crate) type Nonce = [u8; 16];

/// The secret that two devices have from their pairing on: HKDF-SHA-256 (RFC 5869) of its channel's binding.
pub(crate) fn of_pairing(binding: &[u8; 32]) -> Rendezvous {
    derived(binding, b"stronghold/rendezvous/v1")
}

/// The secret of those who know a pairing code, for the search of the LAN alone: the code's 80 bits are beyond searching.
pub(crate) fn of_code(code: &PairingCode) -> Rendezvous {
    derived(code.as_bytes(), b"stronghold/pairing/rendezvous/v1")
}

/// The mark of `secret` for the device `at`; of a pairing, which names none, for [`NOBODY`].
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

/// The first bytes of a mark.
pub(crate) fn truncate<const N: usize>(mark: Hmac<Sha256>) -> [u8; N] {
    let whole = mark.finalize().into_bytes();
    std::array::from_fn(|index| whole[index])
}

/// In place of a device that is not known yet.
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
