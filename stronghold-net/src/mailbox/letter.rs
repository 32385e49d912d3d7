//! A letter: entries for the other device, sealed to the key of its card, with their order in the
//! sender's chain of letters.

use sha2::{Digest, Sha256};
use stronghold_snapshot::{
    ComplementError, Manifest, RecipientPublicKey, RecipientSecretKey, SealError, open_complement,
    seal_complement,
};
use stronghold_sync::{
    DeviceId,
    mailbox::{MAX_CHAIN, Order},
};
use stronghold_vault::{
    EncodeError, Entry, Identity, PublicIdentity, RandomnessError,
    encoding::{decode, encode_after},
    random,
};
use thiserror::Error;

use super::names::{self, PairKeys};

const ORDER_CONTEXT: &[u8] = b"stronghold/mailbox/letter/v1";
/// The length of the order.
const LEN_LEN: usize = 2;
/// The order takes a multiple of this many bytes, so that its numbers do not show in the length.
const ORDER_STEP: usize = 128;

/// A letter of which the order is read, and the entries are still sealed.
#[derive(Debug)]
pub struct Letter {
    order: Order,
    request: [u8; 32],
    complement: Vec<u8>,
}

/// An error of sealing a letter.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealLetterError {
    /// The operating system returned no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] RandomnessError),
    /// The entries can't be sealed.
    #[error(transparent)]
    Entries(#[from] SealError),
    /// The order can't be encoded.
    #[error(transparent)]
    Order(#[from] EncodeError),
    /// The order is too long, or the object.
    #[error("the letter is too long")]
    TooLong,
}

/// An error of opening a letter. Nothing of the letter is taken then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LetterError {
    /// The object is damaged, has another name, or is of another pair.
    #[error("the letter is damaged, or is not of this pair")]
    Damaged,
    /// The content of the object is no letter.
    #[error("the letter is of another version")]
    Content,
    /// The entries can't be opened.
    #[error(transparent)]
    Entries(#[from] ComplementError),
}

impl Letter {
    /// Seals entries for `receiver` to the key of its card, as the object of this name. The sender
    /// signs the entries and their order.
    ///
    /// # Errors
    /// [`SealLetterError`].
    pub fn seal(
        entries: &[Entry],
        order: &Order,
        keys: &PairKeys,
        name: &str,
        sender: &Identity,
        (receiver, to): (DeviceId, &RecipientPublicKey),
    ) -> Result<Vec<u8>, SealLetterError> {
        let mut object = Self::head(order)?;
        let request = request_of(name, &object);
        let manifest = Manifest { sender: sender.device(), receiver, request, index: 0 };
        object.extend(seal_complement(entries, to, sender, &manifest)?);
        names::seal(keys.letters(), name, &random()?, object).ok_or(SealLetterError::TooLong)
    }

    /// Encodes an order: its length, itself, and zeros. The complement follows it in a letter.
    ///
    /// # Errors
    /// [`SealLetterError`].
    #[doc(hidden)]
    pub fn head(order: &Order) -> Result<Vec<u8>, SealLetterError> {
        let mut head = encode_after(LEN_LEN, order)?.to_vec();
        let len = u16::try_from(head.len() - LEN_LEN).map_err(|_| SealLetterError::TooLong)?;
        head[..LEN_LEN].copy_from_slice(&len.to_be_bytes());
        head.resize(head.len().next_multiple_of(ORDER_STEP), 0);
        Ok(head)
    }

    /// Reads the order of a letter, which nobody vouches for before [`open`](Self::open).
    ///
    /// # Errors
    /// [`LetterError`].
    pub fn read(object: &[u8], keys: &PairKeys, name: &str) -> Result<Self, LetterError> {
        let plain = names::open(keys.letters(), name, object).ok_or(LetterError::Damaged)?;
        Self::parse(&plain, name)
    }

    /// Parses the content of the object of this name.
    ///
    /// # Errors
    /// [`LetterError::Content`].
    #[doc(hidden)]
    pub fn parse(plain: &[u8], name: &str) -> Result<Self, LetterError> {
        let len = plain.first_chunk::<LEN_LEN>().ok_or(LetterError::Content)?;
        let end = LEN_LEN + usize::from(u16::from_be_bytes(*len));
        let at = end.next_multiple_of(ORDER_STEP);
        let (head, complement) = plain.split_at_checked(at).ok_or(LetterError::Content)?;
        let order: Order = decode(&head[LEN_LEN..end]).map_err(|_| LetterError::Content)?;
        if order.after.len() > MAX_CHAIN + 1 {
            return Err(LetterError::Content);
        }
        Ok(Self { order, request: request_of(name, head), complement: complement.to_vec() })
    }

    /// Returns the letter's order in its sender's chain, as the object tells it.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Opens the entries with the secret of the card's key. Checks that `sender` signed them, for
    /// `receiver`, with this order and name.
    ///
    /// # Errors
    /// [`LetterError::Entries`].
    pub fn open(
        &self,
        secret: &RecipientSecretKey,
        sender: &PublicIdentity,
        receiver: DeviceId,
    ) -> Result<Vec<Entry>, LetterError> {
        let expected = Manifest { sender: sender.device(), receiver, request: self.request, index: 0 };
        // It is opened in place, and another key may have to be tried.
        Ok(open_complement(self.complement.clone(), secret, sender, &expected)?)
    }
}

/// Returns the 32 bytes by which the sender signs name and order together with the entries.
pub(crate) fn request_of(name: &str, order: &[u8]) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(ORDER_CONTEXT);
    hash.chain_update((name.len() as u64).to_be_bytes())
        .chain_update(name)
        .chain_update(order)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use stronghold_sync::{Ancestors, Edition, Timestamp, mailbox::Point};
    use stronghold_vault::{Labels, Rendezvous, Revision};

    use super::*;

    const NAME: &str = "0123456789abcdef";

    fn entry(len: usize) -> Entry {
        let revision = Revision {
            salt: [1; 32],
            author: DeviceId::from_bytes([2; 32]),
            ancestors: Ancestors::default(),
            deleted: false,
            labels: Labels::new(),
            time: Timestamp::from_millis(1),
            value: vec![7; len].into(),
        };
        Entry { location: "a/b/c".parse().unwrap(), revision }
    }

    fn order(after: usize) -> Order {
        let point = Point { number: u64::MAX, id: [0xff; 8] };
        let edition = Edition { generation: u64::MAX, stamp: None };
        Order { point, after: vec![point; after], sealed: edition, seen: edition }
    }

    struct Pair {
        sender: Identity,
        receiver: Identity,
        secret: RecipientSecretKey,
        keys: PairKeys,
    }

    impl Pair {
        fn new() -> Self {
            let [sender, receiver] = [[1; 32], [2; 32]].map(|secret| Identity::from_bytes(&secret).unwrap());
            let secret = RecipientSecretKey::from_bytes(&[6; 32]).unwrap();
            let pairing = Rendezvous::from_bytes([5; 32]);
            let keys = PairKeys::new(&pairing, &sender.device(), &receiver.device());
            Self { sender, receiver, secret, keys }
        }

        fn seal(&self, order: &Order, sender: &Identity, receiver: &Identity) -> Vec<u8> {
            let to = (receiver.device(), &self.secret.public());
            Letter::seal(&[entry(64)], order, &self.keys, NAME, sender, to).unwrap()
        }

        fn open(&self, object: &[u8], name: &str) -> Result<Vec<Entry>, LetterError> {
            let letter = Letter::read(object, &self.keys, name)?;
            letter.open(&self.secret, self.sender.public(), self.receiver.device())
        }
    }

    #[test]
    fn a_letter_comes_back_and_one_small_entry_takes_at_most_2000_bytes() {
        let pair = Pair::new();
        let object = pair.seal(&order(1), &pair.sender, &pair.receiver);
        assert!(object.len() <= 2_000, "{} bytes", object.len());
        let small = Order { point: Point::default(), after: Vec::new(), ..order(1) };
        assert_eq!(pair.seal(&small, &pair.sender, &pair.receiver).len(), object.len());
        assert_eq!(*Letter::read(&object, &pair.keys, NAME).unwrap().order(), order(1));
        assert_eq!(pair.open(&object, NAME).unwrap(), [entry(64)]);
        let longest = pair.seal(&order(MAX_CHAIN + 1), &pair.sender, &pair.receiver);
        assert_eq!(pair.open(&longest, NAME).unwrap(), [entry(64)]);
        let longer = pair.seal(&order(MAX_CHAIN + 2), &pair.sender, &pair.receiver);
        assert_eq!(pair.open(&longer, NAME), Err(LetterError::Content));
    }

    #[test]
    fn no_byte_can_be_changed_and_none_left_out_or_added() {
        let pair = Pair::new();
        let mut object = pair.seal(&order(1), &pair.sender, &pair.receiver);
        for at in 0..object.len() {
            object[at] ^= 1 << (at % 8);
            assert_eq!(pair.open(&object, NAME), Err(LetterError::Damaged), "{at}");
            object[at] ^= 1 << (at % 8);
            assert_eq!(pair.open(&object[..at], NAME), Err(LetterError::Damaged), "{at} bytes");
        }
        assert_eq!(pair.open(&[&object[..], &[0]].concat(), NAME), Err(LetterError::Damaged));
        assert_eq!(pair.open(&object, "0123456789abcdee"), Err(LetterError::Damaged), "another name");
        assert_eq!(pair.open(&object, NAME).unwrap(), [entry(64)]);
    }

    /// Whoever has the pair's secret can seal any content: it is read or refused.
    #[test]
    fn any_content_that_the_pair_seals_is_read_or_refused() {
        let pair = Pair::new();
        let object = pair.seal(&order(3), &pair.sender, &pair.receiver);
        let plain = names::open(pair.keys.letters(), NAME, &object).unwrap();
        let seal =
            |content: &[u8]| names::seal(pair.keys.letters(), NAME, &[0; 12], content.to_vec()).unwrap();
        for at in 0..ORDER_STEP {
            assert!(Letter::read(&seal(&plain[..at]), &pair.keys, NAME).is_err(), "{at} bytes");
            for byte in 0..=255 {
                let mut content = plain.clone();
                content[at] = byte;
                let read = Letter::read(&seal(&content), &pair.keys, NAME);
                if content != plain
                    && (byte ^ plain[at]) < 4
                    && let Ok(letter) = read
                {
                    let opened = letter.open(&pair.secret, pair.sender.public(), pair.receiver.device());
                    assert!(opened.is_err(), "byte {at} is {byte}: the order is signed");
                }
            }
        }
    }

    #[test]
    fn another_sender_receiver_key_or_order_is_refused() {
        let pair = Pair::new();
        let forged = pair.seal(&order(1), &pair.receiver, &pair.receiver);
        assert_eq!(pair.open(&forged, NAME), Err(LetterError::Entries(ComplementError::Signature)));
        let back = pair.seal(&order(1), &pair.sender, &pair.sender);
        let not_this = Err(LetterError::Entries(ComplementError::NotThisRequest));
        assert_eq!(pair.open(&back, NAME), not_this);
        let object = pair.seal(&order(1), &pair.sender, &pair.receiver);
        let mut letter = Letter::read(&object, &pair.keys, NAME).unwrap();
        // Whoever has the pair's secret alone can seal another order around the same entries.
        letter.request = request_of(NAME, &Letter::head(&order(2)).unwrap());
        assert_eq!(letter.open(&pair.secret, pair.sender.public(), pair.receiver.device()), not_this);
        let letter = Letter::read(&object, &pair.keys, NAME).unwrap();
        let other = RecipientSecretKey::from_bytes(&[7; 32]).unwrap();
        assert!(letter.open(&other, pair.sender.public(), pair.receiver.device()).is_err());
    }
}
