//! Derives what a session needs from its channel's binding.

use sha2::{Digest, Sha256};
use stronghold_sync::{Stamp, reconcile::PairSecret};
use stronghold_vault::Rendezvous;

/// Returns the request that a channel's complements answer: a hash of its binding, so that no
/// complement can be replayed in another channel.
pub fn request_of(binding: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix(b"stronghold/request/v1").chain_update(binding).finalize().into()
}

/// Returns the secret of a session's reconciliation: a hash of the channel's binding, which only
/// its two ends know.
pub fn secret_of(binding: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix(b"stronghold/session/v1").chain_update(binding).finalize().into()
}

/// Returns the secret from which the reconciliations of two paired devices derive the key of a day.
pub(crate) fn pair_secret_of(rendezvous: &Rendezvous) -> PairSecret {
    let hash = Sha256::new_with_prefix(b"stronghold/pair-set/v1").chain_update(rendezvous.as_bytes());
    PairSecret::from_bytes(hash.finalize().into())
}

/// Returns the stamp that a session leaves in the snapshots of both devices: the first bytes of a
/// hash of the channel's binding, which only its two ends know.
pub(crate) fn stamp_of(binding: &[u8; 32]) -> Stamp {
    let hash: [u8; 32] =
        Sha256::new_with_prefix(b"stronghold/stamp/v1").chain_update(binding).finalize().into();
    Stamp::from_bytes(std::array::from_fn(|at| hash[at]))
}
