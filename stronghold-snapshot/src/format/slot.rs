//! Key slots: each wraps the master key for one passphrase, one raw key or one recipient.
//!
//! Each kind yields 32 secret bytes in its own way (Argon2id, the raw key itself, HPKE's export).
//! The rest is the same for all: HKDF derives a wrapping key and a commitment to it. The commitment
//! is compared in constant time before anything is decrypted, so that no slot can be crafted that
//! two keys open differently.

use core::fmt;
use stronghold_sync::Timestamp;

use crate::clock::now;
use crate::error::{Damage, OpenError, SealError, Unsupported};
use crate::format::MAX_LABEL;
use crate::format::cost::{KdfWork, PassphraseCost};
use crate::format::crypto::{self, Secret, TAG_LEN};
use crate::format::passphrase::{self, PassphraseError};
use crate::format::recipient::{ENCAPPED_LEN, RecipientPublicKey, RecipientSecretKey};
use crate::format::wire::Reader;
use stronghold_vault::{LockedKey, random};

const KIND_PASSPHRASE: u8 = 1;
const KIND_KEY: u8 = 2;
const KIND_RECIPIENT: u8 = 3;
const KIND_ONCE: u8 = 4;

const SALT_LEN: usize = 32;
const COMMITMENT_LEN: usize = 32;

const SLOT_LABEL: &[u8] = b"stronghold/snapshot/v1/slot";
const RECIPIENT_LABEL: &[u8] = b"stronghold/snapshot/v1/recipient";

/// A secret that opens a file.
#[non_exhaustive]
pub enum Unlock<'a> {
    /// A passphrase of arbitrary bytes, used without Unicode normalisation.
    Passphrase(&'a [u8]),
    /// A raw key. It must be random: it is not stretched.
    Key(&'a [u8; 32]),
    /// A recipient's secret key.
    Recipient(&'a RecipientSecretKey),
    /// The key of a slot of any kind, as [`Sealer::slot_key`](crate::Sealer::slot_key) returned it
    /// when the file was open. It is not stretched.
    SlotKey(&'a [u8; 32]),
}

/// A slot to create.
#[non_exhaustive]
pub enum NewSlot<'a> {
    /// A slot for a passphrase, made expensive to guess.
    Passphrase {
        /// Arbitrary bytes, used unchanged.
        passphrase: &'a [u8],
        /// Cost of one guess.
        cost: PassphraseCost,
    },
    /// A slot for a raw key of 32 random bytes.
    Key(&'a [u8; 32]),
    /// A slot for the holder of the secret key to this public key.
    Recipient(&'a RecipientPublicKey),
    /// The same, for a file that is sealed only once: the slot does not contain the public key and
    /// can't be rewritten.
    RecipientOnce(&'a RecipientPublicKey),
}

/// A slot as the header shows it, without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Number of the slot: `1` for a file's first. It is never reused in the file.
    pub number: u16,
    /// Kind of the slot.
    pub kind: SlotKind,
    /// Label of the slot; may be empty.
    pub label: String,
    /// Time of creation, in milliseconds since 1970, by the creator's clock; `0` if not recorded.
    pub created: Timestamp,
}

/// The kind of a key slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotKind {
    /// Opens with a passphrase.
    Passphrase(PassphraseCost),
    /// Opens with a raw key.
    Key,
    /// Opens with a recipient's secret key.
    Recipient,
}

impl fmt::Debug for Unlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase(..)",
            Self::Key(_) => "Key(..)",
            Self::Recipient(_) => "Recipient(..)",
            Self::SlotKey(_) => "SlotKey(..)",
        })
    }
}

impl fmt::Debug for NewSlot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase { cost, .. } => {
                f.debug_struct("Passphrase").field("cost", cost).finish_non_exhaustive()
            }
            Self::Key(_) => f.write_str("Key(..)"),
            Self::Recipient(public) => f.debug_tuple("Recipient").field(public).finish(),
            Self::RecipientOnce(public) => f.debug_tuple("RecipientOnce").field(public).finish(),
        }
    }
}

impl NewSlot<'_> {
    /// Returns the cost of trying a passphrase on the slot; `None` for other kinds.
    pub(crate) fn cost(&self) -> Option<PassphraseCost> {
        match self {
            Self::Passphrase { cost, .. } => Some(*cost),
            Self::Key(_) | Self::Recipient(_) | Self::RecipientOnce(_) => None,
        }
    }
}

/// A slot as stored in a header.
#[derive(Clone)]
pub(crate) struct Slot {
    source: KeySource,
    /// Fresh with each wrapping, so that no two master keys are wrapped under one key. Unused for a
    /// recipient, whose encapsulation is fresh itself.
    wrap_salt: [u8; SALT_LEN],
    commitment: [u8; COMMITMENT_LEN],
    wrapped: Wrapped,
    pub(crate) number: u16,
    pub(crate) created: Timestamp,
    pub(crate) label: String,
}

/// The master key, sealed.
#[derive(Clone)]
struct Wrapped {
    key: [u8; 32],
    tag: [u8; TAG_LEN],
}

/// The source of a slot's 32 secret bytes.
#[derive(Clone)]
enum KeySource {
    Passphrase { salt: [u8; SALT_LEN], cost: PassphraseCost },
    Key,
    Recipient { public: Option<Box<RecipientPublicKey>>, encapped: Box<[u8; ENCAPPED_LEN]> },
}

/// The result of opening a slot: the master key, and the slot's secret, which opens the slot again
/// after the master key changes.
pub(crate) struct Unwrapped {
    pub(crate) master: LockedKey,
    pub(crate) secret: LockedKey,
}

impl Slot {
    /// Wraps `master` for `new` and returns the slot and its secret. Runs Argon2 for a passphrase.
    pub(crate) fn wrap(
        new: &NewSlot<'_>,
        file_id: &[u8; 16],
        master: &LockedKey,
    ) -> Result<(Self, LockedKey), SealError> {
        let (way, secret) = KeySource::generate(new, file_id)?;
        let created = if matches!(new, NewSlot::RecipientOnce(_)) { Timestamp::default() } else { now() };
        let empty = Wrapped { key: [0; 32], tag: [0; TAG_LEN] };
        let mut slot = Self {
            source: way,
            wrap_salt: [0; SALT_LEN],
            commitment: [0; COMMITMENT_LEN],
            wrapped: empty,
            number: 0,
            created,
            label: String::new(),
        };
        slot.wrap_under(&secret, file_id, master)?;
        Ok((slot, secret))
    }

    /// Wraps another master key: for a recipient with its public key, else with the one of
    /// `secrets` that belongs to the slot. Returns `false` and leaves the slot unchanged if there
    /// is none.
    pub(crate) fn rewrap<'a>(
        &mut self,
        mut secrets: impl Iterator<Item = &'a LockedKey>,
        file_id: &[u8; 16],
        master: &LockedKey,
    ) -> Result<bool, SealError> {
        if let KeySource::Recipient { public, .. } = &self.source {
            let Some(public) = public.clone() else { return Ok(false) };
            let (way, secret) = KeySource::generate(&NewSlot::Recipient(&public), file_id)?;
            self.source = way;
            return self.wrap_under(&secret, file_id, master).map(|()| true);
        }
        let Some(secret) = secrets.find(|secret| self.is_opened_by(secret, file_id)) else {
            return Ok(false);
        };
        self.wrap_under(secret, file_id, master).map(|()| true)
    }

    fn wrap_under(
        &mut self,
        secret: &LockedKey,
        file_id: &[u8; 16],
        master: &LockedKey,
    ) -> Result<(), SealError> {
        self.wrap_salt = match self.source {
            KeySource::Recipient { .. } => [0; SALT_LEN],
            _ => random()?,
        };
        let keys = SlotKeys::derive(secret.expose(), self.salt(), file_id);
        self.commitment = keys.commitment;
        self.wrapped = keys.wrap(master.expose())?;
        Ok(())
    }

    /// Checks whether this is the slot's secret.
    pub(crate) fn is_opened_by(&self, secret: &LockedKey, file_id: &[u8; 16]) -> bool {
        let keys = SlotKeys::derive(secret.expose(), self.salt(), file_id);
        crypto::equal(&keys.commitment, &self.commitment)
    }

    /// Returns the master key if `unlock` opens this slot, else `None`. Runs Argon2 for a
    /// passphrase.
    pub(crate) fn unwrap(
        &self,
        unlock: &Unlock<'_>,
        file_id: &[u8; 16],
    ) -> Result<Option<Unwrapped>, OpenError> {
        let Some(secret) = self.source.secret(unlock, file_id)? else { return Ok(None) };
        let master = self.unwrap_with(&secret, file_id)?;
        Ok(master.map(|master| Unwrapped { master, secret }))
    }

    /// Opens the slot as [`unwrap`](Self::unwrap) does, with the slot's secret.
    pub(crate) fn unwrap_with(
        &self,
        secret: &LockedKey,
        file_id: &[u8; 16],
    ) -> Result<Option<LockedKey>, OpenError> {
        let keys = SlotKeys::derive(secret.expose(), self.salt(), file_id);
        match crypto::equal(&keys.commitment, &self.commitment) {
            true => keys.unwrap(&self.wrapped).map(Some),
            false => Ok(None),
        }
    }

    /// Checks whether the slot was made for this recipient.
    pub(crate) fn is_for(&self, recipient: &RecipientPublicKey) -> bool {
        matches!(&self.source, KeySource::Recipient { public: Some(public), .. } if **public == *recipient)
    }

    pub(crate) fn kind(&self) -> SlotKind {
        match self.source {
            KeySource::Passphrase { cost, .. } => SlotKind::Passphrase(cost),
            KeySource::Key => SlotKind::Key,
            KeySource::Recipient { .. } => SlotKind::Recipient,
        }
    }

    /// What trying a passphrase on it costs, if that is what it is for.
    pub(crate) fn cost(&self) -> Option<PassphraseCost> {
        match self.kind() {
            SlotKind::Passphrase(cost) => Some(cost),
            SlotKind::Key | SlotKind::Recipient => None,
        }
    }

    pub(crate) fn info(&self) -> SlotInfo {
        let Self { number, created, .. } = *self;
        SlotInfo { number, kind: self.kind(), label: self.label.clone(), created }
    }

    /// Appends the slot's encoding to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match &self.source {
            KeySource::Passphrase { salt, cost } => {
                out.push(KIND_PASSPHRASE);
                out.extend(salt);
                let cost = [cost.memory_kib(), cost.passes(), cost.lanes()];
                cost.iter().for_each(|n| out.extend(n.to_be_bytes()));
                out.extend(self.wrap_salt);
            }
            KeySource::Key => {
                out.push(KIND_KEY);
                out.extend(self.wrap_salt);
            }
            KeySource::Recipient { public, encapped } => {
                out.push(if public.is_some() { KIND_RECIPIENT } else { KIND_ONCE });
                out.extend(public.iter().flat_map(|public| public.to_bytes()));
                out.extend(&**encapped);
            }
        }
        out.extend(self.commitment);
        out.extend(self.wrapped.key);
        out.extend(self.wrapped.tag);
        out.extend(self.number.to_be_bytes());
        out.extend(self.created.as_millis().to_be_bytes());
        out.push(self.label.len() as u8); // at most MAX_LABEL
        out.extend(self.label.as_bytes());
    }

    /// Decodes one slot from the front of `input`.
    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, OpenError> {
        let mut wrap_salt = [0; SALT_LEN];
        let way = match input.byte()? {
            KIND_PASSPHRASE => {
                let way = KeySource::Passphrase { salt: input.array()?, cost: decode_cost(input)? };
                wrap_salt = input.array()?;
                way
            }
            KIND_KEY => {
                wrap_salt = input.array()?;
                KeySource::Key
            }
            KIND_RECIPIENT => {
                let public = RecipientPublicKey::from_bytes(&input.array::<{ RecipientPublicKey::LEN }>()?);
                let public = public.map_err(|_| OpenError::Damaged(Damage::Header))?;
                KeySource::Recipient { public: Some(Box::new(public)), encapped: Box::new(input.array()?) }
            }
            KIND_ONCE => KeySource::Recipient { public: None, encapped: Box::new(input.array()?) },
            kind => return Err(OpenError::Unsupported(Unsupported::SlotKind(kind))),
        };
        let commitment = input.array()?;
        let wrapped = Wrapped { key: input.array()?, tag: input.array()? };
        let (number, created) = (input.u16()?, Timestamp::from_millis(input.u64()?));
        let len = usize::from(input.byte()?);
        let label = String::from_utf8(input.bytes(len)?.to_vec()).ok().filter(|label| is_label(label));
        let label = label.ok_or(OpenError::Damaged(Damage::Header))?;
        Ok(Self { source: way, wrap_salt, commitment, wrapped, number, created, label })
    }

    /// Returns the salt for deriving the wrapping key from the slot's secret.
    fn salt(&self) -> &[u8] {
        match self.source {
            KeySource::Recipient { .. } => &[], // the encapsulated secret is fresh by itself
            _ => &self.wrap_salt,
        }
    }
}

/// Checks whether a label is valid: at most [`MAX_LABEL`] bytes.
pub(crate) fn is_label(label: &str) -> bool {
    label.len() <= MAX_LABEL
}

fn decode_cost(input: &mut Reader<'_>) -> Result<PassphraseCost, OpenError> {
    let [memory_kib, passes, lanes] = [input.u32()?, input.u32()?, input.u32()?];
    PassphraseCost::new(memory_kib, passes, lanes)
        .map_err(|error| OpenError::Unsupported(Unsupported::Cost(error)))
}

/// Returns the total cost of the passphrase slots.
pub(crate) fn work(slots: &[Slot]) -> KdfWork {
    KdfWork::of(slots.iter().filter_map(Slot::cost))
}

/// Checks whether opening costs at most as much as one slot at its bounds.
pub(crate) fn total_work_allowed(slots: &[Slot]) -> bool {
    work(slots).is_within(KdfWork::ANY)
}

impl KeySource {
    /// Makes fresh salts or a fresh encapsulation for a new slot, and the secret that it yields.
    fn generate(new: &NewSlot<'_>, file_id: &[u8; 16]) -> Result<(Self, LockedKey), SealError> {
        Ok(match *new {
            NewSlot::Passphrase { passphrase, cost } => {
                let salt = random()?;
                let secret = passphrase::argon2id(passphrase, &salt, cost).map_err(|error| match error {
                    PassphraseError::NoMemory => SealError::NoMemory(cost),
                    PassphraseError::TooLong => SealError::PassphraseTooLong,
                })?;
                (Self::Passphrase { salt, cost }, secret)
            }
            NewSlot::Key(key) => (Self::Key, LockedKey::new(key)),
            NewSlot::Recipient(public) | NewSlot::RecipientOnce(public) => {
                let info = [RECIPIENT_LABEL, file_id].concat();
                let (encapped, secret) = public.encapsulate(&info).ok_or(SealError::Recipient)?;
                let kept = matches!(new, NewSlot::Recipient(_)).then(|| Box::new(public.clone()));
                (Self::Recipient { public: kept, encapped: Box::new(encapped) }, LockedKey::new(&secret))
            }
        })
    }

    /// Returns the secret that `unlock` yields for this slot; `None` if it is of another kind.
    fn secret(&self, unlock: &Unlock<'_>, file_id: &[u8; 16]) -> Result<Option<LockedKey>, OpenError> {
        Ok(match (self, unlock) {
            (Self::Passphrase { salt, cost }, Unlock::Passphrase(passphrase)) => {
                match passphrase::argon2id(passphrase, salt, *cost) {
                    Ok(secret) => Some(secret),
                    Err(PassphraseError::NoMemory) => return Err(OpenError::NoMemory(*cost)),
                    Err(PassphraseError::TooLong) => None, // no slot can have been made with it
                }
            }
            (Self::Key, Unlock::Key(key)) | (_, Unlock::SlotKey(key)) => Some(LockedKey::new(key)),
            (Self::Recipient { encapped, .. }, Unlock::Recipient(secret)) => {
                let secret = secret.decapsulate(encapped, &[RECIPIENT_LABEL, file_id].concat());
                secret.map(|secret| LockedKey::new(&secret))
            }
            _ => None,
        })
    }
}

/// The keys derived from a slot's secret: a wrapping key that is used once, and a commitment to it.
struct SlotKeys {
    wrapping: Secret,
    commitment: [u8; COMMITMENT_LEN],
}

impl SlotKeys {
    /// A constant nonce is safe: a wrapping key belongs to one salt or encapsulation and seals
    /// once.
    const NONCE: [u8; 12] = [0; 12];

    fn derive(secret: &[u8; 32], salt: &[u8], file_id: &[u8; 16]) -> Self {
        let both = crypto::derive::<64>(secret, salt, &[SLOT_LABEL, file_id]);
        let mut keys = Self { wrapping: Secret::default(), commitment: [0; COMMITMENT_LEN] };
        keys.wrapping.copy_from_slice(&both[..32]);
        keys.commitment.copy_from_slice(&both[32..]);
        keys
    }

    fn wrap(&self, master: &[u8; 32]) -> Result<Wrapped, SealError> {
        let mut text = Secret::new(*master);
        let tag = crypto::encrypt(&self.wrapping, &Self::NONCE, &[], &mut *text);
        Ok(Wrapped { key: *text, tag: tag.map_err(|_| SealError::TooLarge)? })
    }

    /// Decrypts the master key in locked memory.
    fn unwrap(&self, wrapped: &Wrapped) -> Result<LockedKey, OpenError> {
        LockedKey::filled(|master| {
            *master = wrapped.key;
            crypto::decrypt(&self.wrapping, &Self::NONCE, &[], master, &wrapped.tag)
                .map_err(|_| OpenError::Damaged(Damage::Slot))
        })
    }
}

/// Returns a passphrase slot of this cost without deriving its key, for tests.
#[cfg(test)]
pub(crate) fn costing(cost: PassphraseCost, number: u16) -> Slot {
    let wrapped = Wrapped { key: [0; 32], tag: [0; TAG_LEN] };
    let (wrap_salt, commitment) = ([0; SALT_LEN], [0; COMMITMENT_LEN]);
    let way = KeySource::Passphrase { salt: [0; SALT_LEN], cost };
    Slot {
        source: way,
        wrap_salt,
        commitment,
        wrapped,
        number,
        created: Timestamp::default(),
        label: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecipientSecretKey;

    /// Two master keys under one wrapping key and its constant nonce would give each other away.
    #[test]
    fn no_two_wrappings_have_a_salt_in_common() {
        let (id, master) = ([1; 16], LockedKey::new(&[2; 32]));
        let recipient = RecipientSecretKey::generate().unwrap();
        for new in [NewSlot::Key(&[7; 32]), NewSlot::Recipient(&recipient.public())] {
            let (mut slot, secret) = Slot::wrap(&new, &id, &master).unwrap();
            let seen = |slot: &Slot| (slot.commitment, slot.wrapped.tag);
            let first = seen(&slot);
            assert_eq!(slot.rewrap([&secret].into_iter(), &id, &master), Ok(true));
            let second = seen(&slot);
            assert!(first.0 != second.0 && first.1 != second.1, "{new:?}");
        }
    }

    #[test]
    fn a_slot_of_a_file_has_a_date_and_one_of_a_complement_has_none() {
        let (id, master) = ([1; 16], LockedKey::new(&[2; 32]));
        let recipient = RecipientSecretKey::generate().unwrap().public();
        let created = |new: NewSlot<'_>| Slot::wrap(&new, &id, &master).unwrap().0.created;
        assert!(
            created(NewSlot::Key(&[7; 32])) > Timestamp::default()
                && created(NewSlot::Recipient(&recipient)) > Timestamp::default()
        );
        assert_eq!(
            created(NewSlot::RecipientOnce(&recipient)),
            Timestamp::default(),
            "it tells nothing of the sender's clock"
        );
    }
}
