//! The card of a device: which letters it has taken, and the key to which it wants further ones
//! sealed. It is signed, since whoever has the pair's secret alone must not name a key.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stronghold_snapshot::RecipientPublicKey;
use stronghold_sync::{
    Edition, Timestamp,
    mailbox::{Point, Standing},
};
use stronghold_vault::{
    Identity, PublicIdentity, RandomnessError,
    encoding::{decode, encode_after},
    random,
};
use thiserror::Error;

use super::names::{self, NONCE_LEN, PairKeys, TAG_LEN};

const SIGNED: &[u8] = b"stronghold/mailbox/card/v1";
const SIGNATURE_LEN: usize = 64;
/// The length of the content.
const LEN_LEN: usize = 2;
const CONTENT_LEN: usize = CARD_LEN - NONCE_LEN - TAG_LEN - SIGNATURE_LEN;

/// Length of a sealed card, in bytes. All are equally long: the key alone takes 1,249 bytes.
pub const CARD_LEN: usize = 2_048;

/// The content of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The last letter taken.
    pub taken: Point,
    /// A letter that could not be opened; the default if there is none.
    pub damaged: Point,
    /// The last direct session as the device knows it.
    pub seen: Edition,
    /// The time at which the card was written, by the device's clock.
    pub time: Timestamp,
    /// The key to which letters for the device are sealed.
    pub key: RecipientPublicKey,
}

/// A card in its encoded form.
#[derive(Serialize, Deserialize)]
struct Wire(Point, Point, Edition, Timestamp, #[serde(with = "serde_bytes")] Vec<u8>);

/// An error of sealing a card.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealCardError {
    /// The operating system returned no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] RandomnessError),
    /// The card can't be encoded in its fixed length.
    #[error("the card can't be encoded")]
    Content,
}

/// An error of opening a card. Nothing of the card counts then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CardError {
    /// The object is damaged, has another name, or is of another pair.
    #[error("the card is damaged, or is not of this pair")]
    Damaged,
    /// The signature is not the device's.
    #[error("the card is not signed by the device")]
    Signature,
    /// The signed content is no card.
    #[error("the card is of another version")]
    Content,
}

impl Card {
    /// Returns what the bookkeeping of letters needs.
    pub fn standing(&self) -> Standing {
        let hash = Sha256::digest(self.key.to_bytes());
        let key = std::array::from_fn(|at| hash[at]);
        Standing { taken: self.taken, damaged: self.damaged, seen: self.seen, key }
    }

    /// Seals the card as the object of this name, signed by the device that writes it.
    ///
    /// # Errors
    /// [`SealCardError`].
    pub fn seal(&self, keys: &PairKeys, name: &str, writer: &Identity) -> Result<Vec<u8>, SealCardError> {
        self.seal_with(keys, name, writer, &random()?)
    }

    /// Seals the card under a given nonce.
    pub(crate) fn seal_with(
        &self,
        keys: &PairKeys,
        name: &str,
        writer: &Identity,
        nonce: &[u8; NONCE_LEN],
    ) -> Result<Vec<u8>, SealCardError> {
        let content = self.to_content()?;
        let signature = writer.sign(&to_sign(name, &content));
        let plain = [&signature[..], &content].concat();
        names::seal(keys.cards(), name, nonce, plain).ok_or(SealCardError::Content)
    }

    /// Encodes the content that the writer signs: its length, itself, and zeros.
    ///
    /// # Errors
    /// [`SealCardError::Content`] if it is too long.
    #[doc(hidden)]
    pub fn to_content(&self) -> Result<Vec<u8>, SealCardError> {
        let too_long = |_| SealCardError::Content;
        let wire = Wire(self.taken, self.damaged, self.seen, self.time, self.key.to_bytes());
        let mut content = encode_after(LEN_LEN, &wire).map_err(|_| SealCardError::Content)?.to_vec();
        let len = u16::try_from(content.len() - LEN_LEN).map_err(too_long)?;
        if content.len() > CONTENT_LEN {
            return Err(SealCardError::Content);
        }
        content[..LEN_LEN].copy_from_slice(&len.to_be_bytes());
        content.resize(CONTENT_LEN, 0);
        Ok(content)
    }

    /// Opens the card that is the object of this name, and checks that `writer` signed it.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn open(
        object: &[u8],
        keys: &PairKeys,
        name: &str,
        writer: &PublicIdentity,
    ) -> Result<Self, CardError> {
        if object.len() != CARD_LEN {
            return Err(CardError::Damaged);
        }
        let plain = names::open(keys.cards(), name, object).ok_or(CardError::Damaged)?;
        let (signature, signed) = plain.split_at_checked(SIGNATURE_LEN).ok_or(CardError::Damaged)?;
        writer.verify(&to_sign(name, signed), signature).map_err(|_| CardError::Signature)?;
        Self::parse(signed)
    }

    /// Parses the content that the writer signed.
    ///
    /// # Errors
    /// [`CardError::Content`].
    #[doc(hidden)]
    pub fn parse(signed: &[u8]) -> Result<Self, CardError> {
        let (len, content) = signed.split_first_chunk::<LEN_LEN>().ok_or(CardError::Content)?;
        let content = content.get(..u16::from_be_bytes(*len).into()).ok_or(CardError::Content)?;
        let Wire(taken, damaged, seen, time, key) = decode(content).map_err(|_| CardError::Content)?;
        let key = RecipientPublicKey::from_bytes(&key).map_err(|_| CardError::Content)?;
        Ok(Self { taken, damaged, seen, time, key })
    }
}

fn to_sign(name: &str, content: &[u8]) -> Vec<u8> {
    [SIGNED, name.as_bytes(), content].concat()
}

#[cfg(test)]
mod tests {
    use stronghold_snapshot::RecipientSecretKey;
    use stronghold_sync::Stamp;
    use stronghold_vault::Rendezvous;

    use super::*;

    const NAME: &str = "0123456789abcdef";

    fn card() -> Card {
        Card {
            taken: Point { number: u64::MAX, id: [0xff; 8] },
            damaged: Point { number: u64::MAX, id: [0xff; 8] },
            seen: Edition { generation: u64::MAX, stamp: Some(Stamp::from_bytes([0xff; 8])) },
            time: Timestamp::MAX,
            key: RecipientSecretKey::from_bytes(&[6; 32]).unwrap().public(),
        }
    }

    fn pair() -> (Identity, Identity, PairKeys) {
        let [own, peer] = [[1; 32], [2; 32]].map(|secret| Identity::from_bytes(&secret).unwrap());
        let keys = PairKeys::new(&Rendezvous::from_bytes([5; 32]), &own.device(), &peer.device());
        (own, peer, keys)
    }

    #[test]
    fn the_longest_card_comes_back_and_all_are_equally_long() {
        let (writer, _, keys) = pair();
        let short = Card {
            taken: Point::default(),
            damaged: Point::default(),
            seen: Edition::default(),
            time: Timestamp::default(),
            ..card()
        };
        for card in [card(), short] {
            let object = card.seal(&keys, NAME, &writer).unwrap();
            assert_eq!(object.len(), CARD_LEN);
            assert_eq!(Card::open(&object, &keys, NAME, writer.public()), Ok(card.clone()));
            assert_ne!(object, card.seal(&keys, NAME, &writer).unwrap());
        }
        let (one, mut other) = (card(), card());
        other.key = RecipientSecretKey::from_bytes(&[7; 32]).unwrap().public();
        assert_ne!(one.standing().key, other.standing().key);
    }

    #[test]
    fn no_byte_can_be_changed_and_none_left_out_or_added() {
        let (writer, _, keys) = pair();
        let mut object = card().seal(&keys, NAME, &writer).unwrap();
        for at in 0..object.len() {
            object[at] ^= 1 << (at % 8);
            assert_eq!(Card::open(&object, &keys, NAME, writer.public()), Err(CardError::Damaged), "{at}");
            object[at] ^= 1 << (at % 8);
            let cut = Card::open(&object[..at], &keys, NAME, writer.public());
            assert_eq!(cut, Err(CardError::Damaged), "{at} bytes");
        }
        let longer = [object.as_slice(), &[0]].concat();
        assert_eq!(Card::open(&longer, &keys, NAME, writer.public()), Err(CardError::Damaged));
        assert_eq!(Card::open(&object, &keys, NAME, writer.public()), Ok(card()));
    }

    /// A peer can sign any content: it is a card, or refused.
    #[test]
    fn any_content_that_the_device_signs_is_read_or_refused() {
        let (writer, _, keys) = pair();
        let object = card().seal(&keys, NAME, &writer).unwrap();
        let plain = names::open(keys.cards(), NAME, &object).unwrap();
        let opened = |change: &dyn Fn(&mut [u8])| {
            let mut plain = plain.clone();
            change(&mut plain[SIGNATURE_LEN..]);
            let signature = writer.sign(&to_sign(NAME, &plain[SIGNATURE_LEN..]));
            plain[..SIGNATURE_LEN].copy_from_slice(&signature);
            let object = names::seal(keys.cards(), NAME, &[0; NONCE_LEN], plain).unwrap();
            Card::open(&object, &keys, NAME, writer.public())
        };
        assert_eq!(opened(&|_| {}), Ok(card()));
        let len = plain.len() - SIGNATURE_LEN;
        for at in (0..120).chain((120..len).step_by(29)) {
            for byte in [0, 1, 0x7f, 0x80, 0xc0, 0xc4, 0xdd, 0xff] {
                let read = opened(&|content| content[at] = byte);
                assert!(matches!(read, Ok(_) | Err(CardError::Content)), "byte {at} is {byte}: {read:?}");
            }
        }
        for len in [0_u16, 1, 1_300, u16::MAX] {
            let read = opened(&|content| content[..LEN_LEN].copy_from_slice(&len.to_be_bytes()));
            assert_eq!(read, Err(CardError::Content), "{len} bytes");
        }
    }

    #[test]
    fn a_card_is_of_its_name_pair_and_writer() {
        let (writer, peer, keys) = pair();
        let object = card().seal(&keys, NAME, &writer).unwrap();
        let renamed = Card::open(&object, &keys, "0123456789abcdee", writer.public());
        assert_eq!(renamed, Err(CardError::Damaged));
        let others = PairKeys::new(&Rendezvous::from_bytes([6; 32]), &writer.device(), &peer.device());
        assert_eq!(Card::open(&object, &others, NAME, writer.public()), Err(CardError::Damaged));
        let forged = card().seal(&keys, NAME, &peer).unwrap();
        assert_eq!(Card::open(&forged, &keys, NAME, writer.public()), Err(CardError::Signature));
    }
}
