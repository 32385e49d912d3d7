//! Derives the addresses of two paired devices for QUIC from the secret of their pairing: endpoint
//! keys, protocol name and port. They authenticate nobody: the channel inside does.
//!
//! All are HKDF-SHA-256 (RFC 5869) of the secret, each with a label of its own, so that none tells
//! anything of another, of the secret, or of the device's addresses for other peers.

use hkdf::Hkdf;
use sha2::Sha256;
use stronghold_sync::DeviceId;
use stronghold_vault::Rendezvous;
use zeroize::Zeroizing;

/// Number of keys from which a device that dials draws one. A relay serves one connection for each
/// key, so two syncs at a time should have different ones.
pub(crate) const DIAL_KEYS: u8 = 16;
/// First port of the range that ports are derived from: above the reserved ones.
const FIRST_PORT: u16 = 20_000;
/// Size of that range, which ends below the ports that systems give to outgoing connections.
const PORTS: u16 = 12_288;

/// The seed of an ed25519 key.
pub(crate) type Seed = Zeroizing<[u8; 32]>;

/// The protocol name that both sides demand in the QUIC handshake. A prober that does not know it
/// is shown no key.
pub(crate) type Alpn = [u8; 16];

/// Returns the seed of the key at which `device` can be reached by its peer.
pub(crate) fn listen_seed(secret: &Rendezvous, device: &DeviceId) -> Seed {
    derive(secret, b"stronghold/iroh/v1/listen", device, &[])
}

/// Returns the seed of one of the keys with which `device` dials its peer.
pub(crate) fn dial_seed(secret: &Rendezvous, device: &DeviceId, index: u8) -> Seed {
    derive(secret, b"stronghold/iroh/v1/dial", device, &[index])
}

/// Returns the protocol name for connections to `device`.
pub(crate) fn alpn(secret: &Rendezvous, device: &DeviceId) -> Alpn {
    *derive(secret, b"stronghold/iroh/v1/alpn", device, &[])
}

/// Returns the UDP port at which `device` expects its peer, so that an address without a relay has
/// a port that both know.
pub(crate) fn port(secret: &Rendezvous, device: &DeviceId) -> u16 {
    let bytes: Zeroizing<[u8; 2]> = derive(secret, b"stronghold/iroh/v1/port", device, &[]);
    FIRST_PORT + u16::from_be_bytes(*bytes) % PORTS
}

fn derive<const N: usize>(
    secret: &Rendezvous,
    label: &[u8],
    device: &DeviceId,
    more: &[u8],
) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    let info = [label, device.as_bytes(), more];
    let expanded =
        Hkdf::<Sha256>::new(None, secret.as_bytes()).expand_multi_info(&info, bytes.as_mut_slice());
    debug_assert!(expanded.is_ok(), "never too many bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fmt::Write};

    use iroh::SecretKey;
    use stronghold_sync::hex;

    use super::*;

    fn secret(byte: u8) -> Rendezvous {
        Rendezvous::from_bytes([byte; 32])
    }

    #[test]
    fn each_pair_side_and_use_has_a_key_of_its_own() {
        let mut seen = BTreeSet::new();
        for secret in [secret(1), secret(2)] {
            for device in [[1; 32], [2; 32]].map(DeviceId::from_bytes) {
                assert!(seen.insert(*listen_seed(&secret, &device)));
                assert!((0..DIAL_KEYS).all(|index| seen.insert(*dial_seed(&secret, &device, index))));
                let port = port(&secret, &device);
                assert!((FIRST_PORT..FIRST_PORT + PORTS).contains(&port));
            }
        }
        let device = DeviceId::from_bytes([1; 32]);
        assert_ne!(alpn(&secret(1), &device), alpn(&secret(2), &device));
        assert_eq!(listen_seed(&secret(1), &device), listen_seed(&secret(1), &device));
    }

    /// A second implementation can check its derivation. `BLESS=1` rewrites the file.
    #[cfg(feature = "discovery")]
    #[test]
    fn the_derivation_is_that_of_the_vectors() {
        let (secret, device) = (secret(7), DeviceId::from_bytes([9; 32]));
        let id = |seed: &Seed| SecretKey::from_bytes(seed).public();
        let (listen, dial) = (listen_seed(&secret, &device), dial_seed(&secret, &device, 3));
        let mut text = String::from("# PROTOCOL.md, section 10: a secret and a device, and what follows.\n");
        for (name, bytes) in [
            ("rendezvous", &secret.as_bytes()[..]),
            ("device", device.as_bytes()),
            ("listen/seed", &*listen),
            ("listen/key", id(&listen).as_bytes()),
            ("dial/3/seed", &*dial),
            ("dial/3/key", id(&dial).as_bytes()),
            ("alpn", &alpn(&secret, &device)),
        ] {
            let _ = writeln!(text, "{name} {}", hex::text(bytes));
        }
        let _ = writeln!(text, "port {}", port(&secret, &device));
        crate::vectors::compare_or_bless("iroh.txt", &text);
    }
}
