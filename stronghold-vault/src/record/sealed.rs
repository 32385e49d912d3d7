//! A sealed revision, and the cipher that seals and opens it.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_bytes::Bytes;
use stronghold_sync::{Ancestors, LocationId, Replaced, RevisionId, Shape, Timestamp, Versioned, padme_len};
use zeroize::Zeroizing;

use crate::{
    ages::Ages,
    crypto::cipher::{self, Key},
    devices::{DeviceNumber, Devices},
    locked::LockedKey,
    revision::{Revision, decode_labels, encode_labels},
};

/// A sealed revision that could not be opened: memory or file content differs from what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored value is damaged")]
pub struct Damaged;

/// A revision with sealed content, and how it reached this device.
#[derive(Clone, Debug)]
pub(crate) struct SealedRevision {
    pub(crate) id: RevisionId,
    /// Salt, labels and value under AES-256-GCM.
    pub(super) content: Box<[u8]>,
    pub(crate) time: Timestamp,
    pub(crate) origin: Origin,
    /// `None` if all of it is empty: most revisions are the first of their record.
    pub(super) succession: Option<Box<Succession>>,
    pub(crate) deleted: bool,
    /// Set if the revision is known to have been on another device.
    pub(crate) shared: Flag,
}

/// The revisions that a revision replaced, and its own replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Succession {
    ancestors: Ancestors,
    ages: Ages,
    replaced: Timestamp,
}

static NO_SUCCESSION: Succession =
    Succession { ancestors: Ancestors::new(), ages: Ages::EMPTY, replaced: Timestamp::from_millis(0) };

/// The author of a revision and how it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) author: DeviceNumber,
    /// The device that delivered the revision; [`HERE`](Self::HERE) if it was written here.
    via: DeviceNumber,
    arrived: Timestamp,
}

impl Origin {
    /// No device has this number.
    const HERE: DeviceNumber = DeviceNumber::MAX;

    /// Creates the origin of a revision that was written here.
    pub(crate) const fn written_by(author: DeviceNumber) -> Self {
        Self { author, via: Self::HERE, arrived: Timestamp::from_millis(0) }
    }

    /// Creates the origin of a revision that the device `via` delivered at this device's time
    /// `arrived`.
    pub(crate) fn delivered_by(author: DeviceNumber, via: DeviceNumber, arrived: Timestamp) -> Self {
        Self { author, via, arrived }
    }

    /// Returns the device that delivered the revision and the arrival time by this device's clock;
    /// `None` if it was written here.
    pub(crate) fn delivered(&self) -> Option<(DeviceNumber, Timestamp)> {
        (self.via != Self::HERE).then_some((self.via, self.arrived))
    }

    /// Calls `visit` with the number of each device.
    pub(crate) fn for_each_device(&mut self, mut visit: impl FnMut(&mut DeviceNumber)) {
        visit(&mut self.author);
        if self.via != Self::HERE {
            visit(&mut self.via);
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.author, self.delivered()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Deserialize::deserialize(deserializer)? {
            (author, None) => Ok(Self::written_by(author)),
            (_, Some((Self::HERE, _))) => Err(D::Error::custom("a device that is in no table")),
            (author, Some((via, arrived))) => Ok(Self::delivered_by(author, via, arrived)),
        }
    }
}

/// A flag that can only be set, also through a shared reference: an export marks the revisions that
/// it releases.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn new(is_set: bool) -> Self {
        Self(AtomicBool::new(is_set))
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Flag {
    fn clone(&self) -> Self {
        Self::new(self.is_set())
    }
}

impl Versioned for SealedRevision {
    fn revision(&self) -> RevisionId {
        self.id
    }

    fn ancestors(&self) -> &Ancestors {
        self.ancestors()
    }
}

/// The stored form of a revision, in the order of its fields.
#[derive(Serialize)]
struct StoredRef<'a>(
    &'a RevisionId,
    &'a Ancestors,
    &'a Ages,
    bool,
    Timestamp,
    Origin,
    bool,
    Timestamp,
    &'a Bytes,
);

#[derive(Deserialize)]
struct Stored<'a>(
    RevisionId,
    Ancestors,
    Ages,
    bool,
    Timestamp,
    Origin,
    bool,
    Timestamp,
    #[serde(borrow)] &'a Bytes,
);

impl Serialize for SealedRevision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Succession { ancestors, ages, replaced } = self.succession();
        let Self { id, deleted, time, origin, shared, content, .. } = self;
        let content = Bytes::new(content);
        StoredRef(id, ancestors, ages, *deleted, *time, *origin, shared.is_set(), *replaced, content)
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SealedRevision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored(id, ancestors, ages, deleted, time, origin, shared, replaced, content) =
            Deserialize::deserialize(deserializer)?;
        let content = Box::from(&**content);
        let mut loaded =
            Self { id, content, time, origin, succession: None, deleted, shared: Flag::new(shared) };
        loaded.succeed(Succession { ancestors, ages, replaced });
        Ok(loaded)
    }
}

impl SealedRevision {
    /// Returns the ancestors of a head; of a replaced revision only the parents.
    pub(crate) fn ancestors(&self) -> &Ancestors {
        &self.succession().ancestors
    }

    /// Returns the ages of a head's ancestors; empty for a replaced revision.
    pub(crate) fn ages(&self) -> &Ages {
        &self.succession().ages
    }

    /// Returns the time at which the revision was replaced here; the default for a head.
    pub(crate) fn replaced(&self) -> Timestamp {
        self.succession().replaced
    }

    /// Replaces the ancestors of a head, and their ages.
    pub(crate) fn set_ancestors(&mut self, ancestors: Ancestors, ages: Ages) {
        self.succeed(Succession { ancestors, ages, replaced: self.replaced() });
    }

    /// Marks the revision as replaced at the time `now`: of its ancestors only the parents stay.
    pub(crate) fn set_replaced(&mut self, now: Timestamp) {
        let ancestors = self.ancestors().parents_only();
        self.succeed(Succession { ancestors, ages: Ages::EMPTY, replaced: now });
    }

    fn succession(&self) -> &Succession {
        self.succession.as_deref().unwrap_or(&NO_SUCCESSION)
    }

    fn succeed(&mut self, succession: Succession) {
        self.succession = (succession != NO_SUCCESSION).then(|| Box::new(succession));
    }

    /// Returns the time to show: a foreign author's clock counts only up to the arrival time.
    pub(crate) fn shown_time(&self) -> Timestamp {
        self.origin.delivered().map_or(self.time, |(_, arrived)| self.time.min(arrived))
    }

    pub(super) fn as_replaced(&self, shared: bool) -> Replaced<'_> {
        Replaced { id: self.id, shared, ancestors: self.ancestors() }
    }

    /// Returns the shape that describes this revision to peers.
    pub(crate) fn shape(&self, location: LocationId) -> Shape {
        Shape {
            location,
            revision: self.id,
            ancestors: self.ancestors().clone(),
            size: padme_len(self.len()),
            deleted: self.deleted,
        }
    }

    /// Returns the size of value and labels in bytes: the two can't be told apart while sealed.
    pub(crate) fn len(&self) -> u64 {
        self.content.len().saturating_sub(OVERHEAD) as u64
    }
}

const SALT: usize = 32;
pub(super) const TAG: usize = 16;
/// Size of the length field of the encoded labels, in bytes.
const LABELS_LEN: usize = 2;
pub(super) const OVERHEAD: usize = SALT + LABELS_LEN + TAG;

/// Seals and opens the revisions of one record, with its vault's key and its location.
pub(crate) struct RecordCipher<'a> {
    pub(crate) key: &'a LockedKey,
    pub(crate) location: LocationId,
    pub(crate) devices: &'a Devices,
}

impl RecordCipher<'_> {
    /// Seals a revision whose limits were checked, under its computed id.
    pub(crate) fn seal(
        &self,
        id: RevisionId,
        revision: &Revision,
        origin: Origin,
    ) -> Result<SealedRevision, Damaged> {
        let labels = encode_labels(&revision.labels);
        let mut content = Zeroizing::new(Vec::with_capacity(OVERHEAD + labels.len() + revision.value.len()));
        content.extend_from_slice(&revision.salt);
        content.extend_from_slice(&u16::try_from(labels.len()).map_err(|_| Damaged)?.to_le_bytes());
        content.extend_from_slice(&labels);
        content.extend_from_slice(&revision.value);
        let key = self.revision_key(&id)?;
        cipher::seal(&key, &NONCE, &self.aad(&id), &mut content).ok_or(Damaged)?;
        let mut sealed = SealedRevision {
            id,
            content: std::mem::take(&mut *content).into_boxed_slice(),
            time: revision.time,
            origin,
            succession: None,
            deleted: revision.deleted,
            shared: Flag::new(origin.delivered().is_some()),
        };
        sealed.set_ancestors(revision.ancestors.clone(), Ages::EMPTY);
        Ok(sealed)
    }

    /// Opens a revision. The sealed content is bound to the revision's id, vault and record.
    pub(crate) fn open(&self, sealed: &SealedRevision) -> Result<Revision, Damaged> {
        let mut open = Zeroizing::new(sealed.content.to_vec());
        let key = self.revision_key(&sealed.id)?;
        cipher::open(&key, &NONCE, &self.aad(&sealed.id), &mut open).ok_or(Damaged)?;
        let (salt, rest) = open.split_first_chunk::<SALT>().ok_or(Damaged)?;
        let (labels_len, rest) = rest.split_first_chunk::<LABELS_LEN>().ok_or(Damaged)?;
        let (labels, _) = rest.split_at_checked(u16::from_le_bytes(*labels_len).into()).ok_or(Damaged)?;
        let (salt, value_at) = (*salt, SALT + LABELS_LEN + labels.len());
        let labels = decode_labels(labels).ok_or(Damaged)?;
        // Reuses the buffer for the value. `drain` leaves stale bytes behind its end; they are
        // wiped when the value is dropped.
        open.drain(..value_at);
        Ok(Revision {
            salt,
            author: self.devices.id(sealed.origin.author).ok_or(Damaged)?,
            ancestors: sealed.ancestors().clone(),
            deleted: sealed.deleted,
            labels,
            time: sealed.time,
            value: open,
        })
    }

    /// Derives the key of one revision of one record. It seals only once, so the nonce can stay
    /// zero.
    pub(crate) fn revision_key(&self, id: &RevisionId) -> Result<Key, Damaged> {
        let info = [KEY_LABEL, self.location.record.as_bytes(), id.as_bytes()];
        cipher::derive(self.key.expose(), &info).ok_or(Damaged)
    }

    fn aad(&self, id: &RevisionId) -> [u8; 80] {
        let mut aad = [0; 80];
        aad[..16].copy_from_slice(self.location.client.as_bytes());
        aad[16..32].copy_from_slice(self.location.vault.as_bytes());
        aad[32..48].copy_from_slice(self.location.record.as_bytes());
        aad[48..].copy_from_slice(id.as_bytes());
        aad
    }
}

const KEY_LABEL: &[u8] = b"stronghold/revision-key/v1";
const NONCE: [u8; cipher::NONCE_LEN] = [0; cipher::NONCE_LEN];
