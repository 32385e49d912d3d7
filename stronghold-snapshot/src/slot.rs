//! Key slots: each wraps the master key for one passphrase, one raw key or one recipient.
//!
//! Every kind yields 32 secret bytes in its own way (Argon2id, the raw key itself, HPKE's export). From there all
//! are alike: HKDF gives a wrapping key and a commitment to it. The commitment is compared, in constant time,
//! before anything is decrypted, so a slot can't be built that two keys open differently.

use core::fmt;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::crypto::{self, PassphraseError, Secret, TAG_LEN};
use crate::header::Reader;
use crate::recipient::{ENCAPPED_LEN, RecipientPublic, RecipientSecret};
use crate::sealed::{Damage, OpenError, SealError, Unsupported};

/// The most slots that a file may have.
pub const MAX_SLOTS: usize = 16;

const KIND_PASSPHRASE: u8 = 1;
const KIND_KEY: u8 = 2;
const KIND_RECIPIENT: u8 = 3;

const SALT_LEN: usize = 32;
const COMMITMENT_LEN: usize = 32;

const SLOT_LABEL: &[u8] = b"stronghold/snapshot/v1/slot";
const RECIPIENT_LABEL: &[u8] = b"stronghold/snapshot/v1/recipient";

/// What opens a file.
pub enum Unlock<'a> {
    /// A passphrase: any bytes. They are used as they are, without Unicode normalisation.
    Passphrase(&'a [u8]),
    /// A raw key. It must be random: it is not stretched.
    Key(&'a [u8; 32]),
    /// The secret half of a recipient's key.
    Recipient(&'a RecipientSecret),
}

/// A slot to be made.
pub enum NewSlot<'a> {
    /// For a passphrase, made expensive to guess.
    Passphrase {
        /// Any bytes, used as they are.
        passphrase: &'a [u8],
        /// What one guess shall cost.
        cost: PassphraseCost,
    },
    /// For a raw key of 32 random bytes.
    Key(&'a [u8; 32]),
    /// For whoever holds the secret half of this key.
    Recipient(&'a RecipientPublic),
}

/// What kind a slot of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// Opens with a passphrase.
    Passphrase(PassphraseCost),
    /// Opens with a raw key.
    Key,
    /// Opens with a recipient's secret key.
    Recipient,
}

/// Argon2id's parameters, always within bounds: memory 8 KiB to 1 GiB and at least 8 KiB a lane, 1 to 16 passes,
/// 1 to 16 lanes. Memory times passes, over all the passphrase slots of a file, is at most 16 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Argon2id parameters outside the bounds of [`PassphraseCost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes is out of bounds")]
pub struct CostOutOfBounds {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes computed in parallel.
    pub lanes: u32,
}

impl PassphraseCost {
    const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    const MAX_PASSES: u32 = 16;
    const MAX_LANES: u32 = 16;
    /// What all the slots of one file may cost together, in KiB times passes.
    const MAX_TOTAL_WORK: u64 = Self::MAX_MEMORY_KIB as u64 * Self::MAX_PASSES as u64;

    /// `memory_kib` KiB of memory, gone over `passes` times in `lanes` parallel lanes.
    ///
    /// # Errors
    /// [`CostOutOfBounds`], see the type.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CostOutOfBounds> {
        let allowed = (1..=Self::MAX_LANES).contains(&lanes)
            && (1..=Self::MAX_PASSES).contains(&passes)
            && (8 * lanes..=Self::MAX_MEMORY_KIB).contains(&memory_kib);
        if !allowed {
            return Err(CostOutOfBounds { memory_kib, passes, lanes });
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    /// A cost that takes this machine about so long: at least the default, and as many passes more as fit.
    ///
    /// # Errors
    /// [`SealError::NoMemory`] when the memory is refused.
    pub fn calibrated(time: Duration) -> Result<Self, SealError> {
        let least = Self::default();
        let one_run = |cost: Self| {
            let start = Instant::now();
            let run = crypto::argon2id(b"calibration", &[0; SALT_LEN], cost);
            run.map(|_| start.elapsed()).map_err(|_| SealError::NoMemory(cost))
        };
        // The first run pays for the memory being new.
        let run = one_run(least)?.min(one_run(least)?);
        let of_one_pass = run.as_secs_f64() / f64::from(least.passes);
        let passes = (time.as_secs_f64() / of_one_pass.max(f64::EPSILON)) as u32;
        Ok(Self { passes: passes.clamp(least.passes, Self::MAX_PASSES), ..least })
    }

    /// Memory in KiB.
    #[must_use]
    pub fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub fn passes(self) -> u32 {
        self.passes
    }

    /// Lanes computed in parallel.
    #[must_use]
    pub fn lanes(self) -> u32 {
        self.lanes
    }

    fn work(self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.passes)
    }
}

impl Default for PassphraseCost {
    /// 64 MiB, 3 passes, 4 lanes: the second choice of RFC 9106, section 4.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

impl fmt::Debug for Unlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase(..)",
            Self::Key(_) => "Key(..)",
            Self::Recipient(_) => "Recipient(..)",
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
        }
    }
}

/// One slot as it stands in a header.
#[derive(Clone)]
pub(crate) struct Slot {
    way: Way,
    commitment: [u8; COMMITMENT_LEN],
    wrapped: Wrapped,
}

/// The master key, sealed.
#[derive(Clone)]
struct Wrapped {
    key: [u8; 32],
    tag: [u8; TAG_LEN],
}

/// How a slot's 32 secret bytes come about.
#[derive(Clone)]
enum Way {
    Passphrase { salt: [u8; SALT_LEN], cost: PassphraseCost },
    Key { salt: [u8; SALT_LEN] },
    Recipient { encapped: Box<[u8; ENCAPPED_LEN]> },
}

/// A way to wrap, together with the secret that it yields.
type WayAndSecret = (Way, Secret);

impl Slot {
    /// Wraps `master` for `new`. Runs Argon2 for a passphrase.
    pub(crate) fn wrap(new: &NewSlot<'_>, file_id: &[u8; 16], master: &Secret) -> Result<Self, SealError> {
        let (way, secret) = Way::begin(new, file_id)?;
        let keys = SlotKeys::derive(&secret, &way, file_id);
        Ok(Self { commitment: keys.commitment, wrapped: keys.wrap(master)?, way })
    }

    /// The master key if `unlock` is this slot's, none if it is another's. Runs Argon2 for a passphrase.
    pub(crate) fn unwrap(
        &self,
        unlock: &Unlock<'_>,
        file_id: &[u8; 16],
    ) -> Result<Option<Secret>, OpenError> {
        let Some(secret) = self.way.secret(unlock, file_id)? else { return Ok(None) };
        let keys = SlotKeys::derive(&secret, &self.way, file_id);
        if !crypto::equal(&keys.commitment, &self.commitment) {
            return Ok(None);
        }
        keys.unwrap(&self.wrapped).map(Some)
    }

    pub(crate) fn kind(&self) -> SlotKind {
        match self.way {
            Way::Passphrase { cost, .. } => SlotKind::Passphrase(cost),
            Way::Key { .. } => SlotKind::Key,
            Way::Recipient { .. } => SlotKind::Recipient,
        }
    }

    /// Appends the slot's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match &self.way {
            Way::Passphrase { salt, cost } => {
                out.push(KIND_PASSPHRASE);
                out.extend(salt);
                [cost.memory_kib, cost.passes, cost.lanes].iter().for_each(|n| out.extend(n.to_be_bytes()));
            }
            Way::Key { salt } => {
                out.push(KIND_KEY);
                out.extend(salt);
            }
            Way::Recipient { encapped } => {
                out.push(KIND_RECIPIENT);
                out.extend(&**encapped);
            }
        }
        out.extend(self.commitment);
        out.extend(self.wrapped.key);
        out.extend(self.wrapped.tag);
    }

    /// Takes one slot off the front of `input`.
    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, OpenError> {
        let way = match input.byte()? {
            KIND_PASSPHRASE => Way::Passphrase { salt: input.array()?, cost: decode_cost(input)? },
            KIND_KEY => Way::Key { salt: input.array()? },
            KIND_RECIPIENT => Way::Recipient { encapped: Box::new(input.array()?) },
            kind => return Err(OpenError::Unsupported(Unsupported::SlotKind(kind))),
        };
        let commitment = input.array()?;
        Ok(Self { way, commitment, wrapped: Wrapped { key: input.array()?, tag: input.array()? } })
    }
}

fn decode_cost(input: &mut Reader<'_>) -> Result<PassphraseCost, OpenError> {
    let [memory_kib, passes, lanes] = [input.u32()?, input.u32()?, input.u32()?];
    PassphraseCost::new(memory_kib, passes, lanes)
        .map_err(|error| OpenError::Unsupported(Unsupported::Cost(error)))
}

/// Whether opening can be made to cost at most what one slot at its bounds costs.
pub(crate) fn total_work_allowed(slots: &[Slot]) -> bool {
    let work = |slot: &Slot| match slot.kind() {
        SlotKind::Passphrase(cost) => cost.work(),
        _ => 0,
    };
    slots.iter().map(work).sum::<u64>() <= PassphraseCost::MAX_TOTAL_WORK
}

impl Way {
    /// Fresh salts or a fresh encapsulation for a new slot.
    fn begin(new: &NewSlot<'_>, file_id: &[u8; 16]) -> Result<WayAndSecret, SealError> {
        Ok(match *new {
            NewSlot::Passphrase { passphrase, cost } => {
                let salt = crypto::random()?;
                let secret = crypto::argon2id(passphrase, &salt, cost).map_err(|error| match error {
                    PassphraseError::NoMemory => SealError::NoMemory(cost),
                    PassphraseError::TooLong => SealError::PassphraseTooLong,
                })?;
                (Self::Passphrase { salt, cost }, secret)
            }
            NewSlot::Key(key) => (Self::Key { salt: crypto::random()? }, Secret::new(*key)),
            NewSlot::Recipient(public) => {
                let info = [RECIPIENT_LABEL, file_id].concat();
                let (encapped, secret) = public.encapsulate(&info).ok_or(SealError::Recipient)?;
                (Self::Recipient { encapped: Box::new(encapped) }, secret)
            }
        })
    }

    /// The secret that `unlock` yields here, none when it is of another kind.
    fn secret(&self, unlock: &Unlock<'_>, file_id: &[u8; 16]) -> Result<Option<Secret>, OpenError> {
        Ok(match (self, unlock) {
            (Self::Passphrase { salt, cost }, Unlock::Passphrase(passphrase)) => {
                match crypto::argon2id(passphrase, salt, *cost) {
                    Ok(secret) => Some(secret),
                    Err(PassphraseError::NoMemory) => return Err(OpenError::NoMemory(*cost)),
                    Err(PassphraseError::TooLong) => None, // no slot can have been made with it
                }
            }
            (Self::Key { .. }, Unlock::Key(key)) => Some(Secret::new(**key)),
            (Self::Recipient { encapped }, Unlock::Recipient(secret)) => {
                secret.decapsulate(encapped, &[RECIPIENT_LABEL, file_id].concat())
            }
            _ => None,
        })
    }

    fn salt(&self) -> &[u8] {
        match self {
            Self::Passphrase { salt, .. } | Self::Key { salt } => salt,
            Self::Recipient { .. } => &[], // the encapsulated secret is fresh by itself
        }
    }
}

/// What follows from a slot's secret: a key that is used once, and a commitment to it.
struct SlotKeys {
    wrapping: Secret,
    commitment: [u8; COMMITMENT_LEN],
}

impl SlotKeys {
    /// The nonce may stay the same: a wrapping key belongs to one salt or encapsulation and seals once.
    const NONCE: [u8; 12] = [0; 12];

    fn derive(secret: &Secret, way: &Way, file_id: &[u8; 16]) -> Self {
        let both = crypto::derive::<64>(secret, way.salt(), &[SLOT_LABEL, file_id]);
        let mut keys = Self { wrapping: Secret::default(), commitment: [0; COMMITMENT_LEN] };
        keys.wrapping.copy_from_slice(&both[..32]);
        keys.commitment.copy_from_slice(&both[32..]);
        keys
    }

    fn wrap(&self, master: &Secret) -> Result<Wrapped, SealError> {
        let mut wrapped = Wrapped { key: **master, tag: [0; TAG_LEN] };
        wrapped.tag = crypto::encrypt(&self.wrapping, &Self::NONCE, &[], &mut wrapped.key)
            .map_err(|_| SealError::TooLarge)?;
        Ok(wrapped)
    }

    fn unwrap(&self, wrapped: &Wrapped) -> Result<Secret, OpenError> {
        let mut master = Secret::new(wrapped.key);
        crypto::decrypt(&self.wrapping, &Self::NONCE, &[], &mut *master, &wrapped.tag)
            .map_err(|_| OpenError::Damaged(Damage::Slot))?;
        Ok(master)
    }
}
