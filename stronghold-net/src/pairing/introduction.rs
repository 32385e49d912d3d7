//! Defines the messages of a pairing: the proof of the code, and the card that identifies a device.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use sha2::Sha256;
use stronghold_vault::{Identity, PublicIdentity, check_device_name};
use zeroize::Zeroizing;

use crate::{FrameError, PairingCode};

/// The role of the device that proves or identifies itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairingRole {
    Joiner,
    Listener,
}

impl PairingRole {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Joiner => b"stronghold/pairing/v1/joiner",
            Self::Listener => b"stronghold/pairing/v1/listener",
        }
    }

    /// Returns the bytes that a card's signature covers.
    fn to_sign(self, binding: &[u8; 32]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.label(), binding].concat())
    }
}

/// An HMAC-SHA-256 under the code.
pub(super) type Proof = ByteArray<32>;

/// The listener's answer to a proof.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Welcome(Proof, IdentityProof),
    WrongCode,
    Expired,
}

/// A device's card: its public key, its name, and its signature over the channel's binding.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IdentityProof {
    spki: ByteBuf,
    pub(super) name: String,
    signature: ByteBuf,
}

impl IdentityProof {
    pub(super) fn new(part: PairingRole, binding: &[u8; 32], identity: &Identity, name: &str) -> Self {
        Self {
            spki: ByteBuf::from(identity.public().spki()),
            name: name.to_owned(),
            signature: ByteBuf::from(identity.sign(&part.to_sign(binding))),
        }
    }

    /// Checks the name and the signature. Returns the card's device.
    pub(super) fn check(&self, part: PairingRole, binding: &[u8; 32]) -> Result<PublicIdentity, FrameError> {
        check_device_name(&self.name).map_err(|_| FrameError::BadName)?;
        let peer = PublicIdentity::from_spki(&self.spki).map_err(|_| FrameError::BadCard)?;
        let signed = peer.verify(&part.to_sign(binding), &self.signature);
        signed.map(|()| peer).map_err(|_| FrameError::BadCard)
    }
}

/// The common input of both sides' proofs, without the label.
pub(super) struct Proofs {
    key: Hmac<Sha256>,
}

impl Proofs {
    pub(super) fn over(binding: &[u8; 32], code: &PairingCode) -> Self {
        let mut block = Zeroizing::new([0; BLOCK]);
        for (to, from) in block.iter_mut().zip(code.as_bytes()) {
            *to = *from; // HMAC itself fills a short key up with zeros (RFC 2104)
        }
        let mut key = Hmac::new((&*block).into());
        key.update(binding);
        Self { key }
    }

    pub(super) fn of(&self, part: PairingRole) -> Proof {
        ByteArray::new(self.mac(part).finalize().into_bytes().into())
    }

    /// Checks a proof, in constant time.
    pub(super) fn hold(&self, part: PairingRole, proof: &Proof) -> bool {
        self.mac(part).verify_slice(proof.as_slice()).is_ok()
    }

    fn mac(&self, part: PairingRole) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(part.label());
        mac
    }
}

const BLOCK: usize = 64;

/// Returns the messages of a pairing under this binding and code: a name and the encoded bytes of
/// each.
#[cfg(test)]
pub(crate) fn vectors(
    binding: &[u8; 32],
    code: &PairingCode,
    joiner: &Identity,
    listener: &Identity,
) -> Vec<(&'static str, Vec<u8>)> {
    let proofs = Proofs::over(binding, code);
    let card = |part, identity, name| IdentityProof::new(part, binding, identity, name);
    let encoded = |answer: &Answer| rmp_serde::to_vec(answer).unwrap();
    let welcome =
        Answer::Welcome(proofs.of(PairingRole::Listener), card(PairingRole::Listener, listener, "laptop"));
    vec![
        ("pairing/1-proof", rmp_serde::to_vec(&proofs.of(PairingRole::Joiner)).unwrap()),
        ("pairing/2-welcome", encoded(&welcome)),
        ("pairing/2-wrong-code", encoded(&Answer::WrongCode)),
        ("pairing/2-expired", encoded(&Answer::Expired)),
        ("pairing/3-card", rmp_serde::to_vec(&card(PairingRole::Joiner, joiner, "phone")).unwrap()),
        ("pairing/4-and-5", rmp_serde::to_vec(&true).unwrap()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_wrong_codes_prove_nothing() {
        let (binding, shown) = ([7; 32], PairingCode::generate().unwrap());
        let listener = Proofs::over(&binding, &shown);
        for _ in 0..100_000 {
            let guess = PairingCode::generate().unwrap();
            assert!(
                !listener.hold(PairingRole::Joiner, &Proofs::over(&binding, &guess).of(PairingRole::Joiner))
            );
        }
        let typed = shown.reveal().parse().unwrap();
        assert!(listener.hold(PairingRole::Joiner, &Proofs::over(&binding, &typed).of(PairingRole::Joiner)));
    }

    #[test]
    fn a_proof_is_of_its_part_code_and_channel() {
        let code = PairingCode::generate().unwrap();
        let proofs = Proofs::over(&[1; 32], &code);
        let proof = proofs.of(PairingRole::Joiner);
        assert!(proofs.hold(PairingRole::Joiner, &proof) && !proofs.hold(PairingRole::Listener, &proof));
        assert!(!Proofs::over(&[2; 32], &code).hold(PairingRole::Joiner, &proof));
    }

    /// Knowing the code does not entitle a device to another device's identity.
    #[test]
    fn a_card_is_signed_by_its_device_for_its_part_and_channel() {
        let (own, victim) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let card = || IdentityProof::new(PairingRole::Joiner, &[1; 32], &own, "phone");
        assert_eq!(card().check(PairingRole::Joiner, &[1; 32]).as_ref(), Ok(own.public()));
        assert_eq!(card().check(PairingRole::Joiner, &[2; 32]), Err(FrameError::BadCard));
        assert_eq!(card().check(PairingRole::Listener, &[1; 32]), Err(FrameError::BadCard));
        let forged = |forge: fn(&mut IdentityProof, &Identity)| {
            let mut card = card();
            forge(&mut card, &victim);
            card.check(PairingRole::Joiner, &[1; 32]).unwrap_err()
        };
        assert_eq!(
            forged(|card, victim| card.spki = ByteBuf::from(victim.public().spki())),
            FrameError::BadCard
        );
        assert_eq!(forged(|card, _| card.signature[3] ^= 1), FrameError::BadCard);
        assert_eq!(forged(|card, _| card.signature.truncate(63)), FrameError::BadCard);
        assert_eq!(forged(|card, _| card.spki[40] ^= 1), FrameError::BadCard);
        assert_eq!(forged(|card, _| card.name.clear()), FrameError::BadName);
        assert_eq!(forged(|card, _| card.name = "x".repeat(65)), FrameError::BadName);
        assert_eq!(forged(|card, _| card.name = "a\nb".into()), FrameError::BadName);
    }
}
