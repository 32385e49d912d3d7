//! A record: its heads and its history, sealed in ordinary memory, each revision under a key of its own.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use stronghold_sync::{
    Ancestors, LocationId, MAX_RECORD_NAME, RevisionId, Revisioned, Shape, heads, padded_len,
};
use zeroize::Zeroizing;

use crate::{
    locked::{KEY_LEN, LockedKey},
    revision::{Labels, Revision},
};

/// Replaced values that stay readable, per record.
pub const HISTORY: usize = 10;

/// A sealed revision could not be opened: memory or file content is not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored value is damaged")]
pub struct Damaged;

/// A record's heads and history.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: Box<str>,
    heads: Vec<Sealed>,
    /// Newest first.
    history: Vec<Sealed>,
}

/// One revision with its content sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sealed {
    pub(crate) id: RevisionId,
    pub(crate) ancestors: Ancestors,
    pub(crate) deleted: bool,
    pub(crate) time: u64,
    /// Salt, labels and value under AES-256-GCM.
    #[serde(with = "serde_bytes")]
    content: Box<[u8]>,
}

/// What inserting a revision did to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It is a head now.
    Head,
    /// It was held already, or a held revision has replaced it.
    Known,
}

impl Revisioned for Sealed {
    fn revision(&self) -> RevisionId {
        self.id
    }

    fn ancestors(&self) -> &Ancestors {
        &self.ancestors
    }
}

impl Record {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), heads: Vec::new(), history: Vec::new() }
    }

    /// The heads, in the order of their ids.
    pub(crate) fn heads(&self) -> &[Sealed] {
        &self.heads
    }

    /// Heads and history.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = &Sealed> {
        self.heads.iter().chain(&self.history)
    }

    pub(crate) fn find(&self, id: &RevisionId) -> Option<&Sealed> {
        self.revisions().find(|revision| revision.id == *id)
    }

    /// Whether any head has a value.
    pub(crate) fn is_readable(&self) -> bool {
        self.heads.iter().any(|head| !head.deleted)
    }

    /// The head that is shown: one with a value before a deletion, then the latest time, then the greatest id.
    pub(crate) fn shown(&self) -> Option<&Sealed> {
        Self::shown_of(&self.heads)
    }

    /// The same among some of the revisions.
    pub(crate) fn shown_of<'a>(revisions: impl IntoIterator<Item = &'a Sealed>) -> Option<&'a Sealed> {
        revisions.into_iter().max_by_key(|head| (!head.deleted, head.time, head.id))
    }

    /// Whether the heads differ in what they say: equal values written independently are no conflict.
    pub(crate) fn is_conflict(&self, keeper: &Keeper<'_>) -> Result<bool, Damaged> {
        let [first, others @ ..] = self.heads.as_slice() else { return Ok(false) };
        if others.is_empty() || !self.is_readable() {
            return Ok(false);
        }
        let first_open = keeper.open(first)?;
        for other in others {
            let other_open = keeper.open(other)?;
            if (first.deleted, &first_open.value) != (other.deleted, &other_open.value) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The ancestors of a revision that replaces all heads.
    pub(crate) fn ancestors_of_next(&self) -> Ancestors {
        let heads: Vec<_> = self.heads.iter().map(|head| (head.id, &head.ancestors)).collect();
        Ancestors::of_successor(&heads)
    }

    /// Merges one revision in: the union, less what is replaced; that goes to the history.
    pub(crate) fn insert(&mut self, new: Sealed) -> Inserted {
        if self.find(&new.id).is_some() {
            return Inserted::Known;
        }
        let id = new.id;
        self.heads.push(new);
        let kept: Vec<RevisionId> = heads(&self.heads).iter().map(|head| head.id).collect();
        let (stay, mut replaced): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.heads).into_iter().partition(|head| kept.contains(&head.id));
        self.heads = stay;
        self.heads.sort_by_key(|head| head.id);
        if !kept.contains(&id) {
            return Inserted::Known;
        }
        replaced.append(&mut self.history);
        replaced.truncate(HISTORY);
        self.history = replaced;
        Inserted::Head
    }

    /// Whether what was loaded could have been stored: a name, at least one head, no more history than is kept.
    pub(crate) fn is_well_formed(&self) -> bool {
        (1..=MAX_RECORD_NAME).contains(&self.name.len())
            && !self.heads.is_empty()
            && self.history.len() <= HISTORY
    }

    pub(crate) fn shapes(&self, location: LocationId) -> impl Iterator<Item = Shape> {
        self.heads.iter().map(move |head| Shape {
            location,
            revision: head.id,
            ancestors: head.ancestors.clone(),
            size: padded_len(head.len()),
            deleted: head.deleted,
        })
    }
}

impl Sealed {
    /// Value and labels, in bytes: they can't be told apart while sealed.
    pub(crate) fn len(&self) -> u64 {
        self.content.len().saturating_sub(OVERHEAD) as u64
    }
}

const SALT: usize = 32;
const TAG: usize = 16;
/// The length of the encoded labels, in two bytes.
const LABELS_LEN: usize = 2;
const OVERHEAD: usize = SALT + LABELS_LEN + TAG;

/// Seals and opens the revisions of one record: its vault's key, and where the record is.
pub(crate) struct Keeper<'a> {
    pub(crate) key: &'a LockedKey,
    pub(crate) location: LocationId,
}

impl Keeper<'_> {
    /// Seals a revision, whose limits have been checked, under the id that was computed for it.
    pub(crate) fn seal(&self, id: RevisionId, revision: &Revision) -> Result<Sealed, Damaged> {
        let labels = encode_labels(&revision.labels);
        let mut open = Zeroizing::new(Vec::with_capacity(OVERHEAD + labels.len() + revision.value.len()));
        open.extend_from_slice(&revision.salt);
        open.extend_from_slice(&u16::try_from(labels.len()).map_err(|_| Damaged)?.to_le_bytes());
        open.extend_from_slice(&labels);
        open.extend_from_slice(&revision.value);
        let (cipher, aad) = (self.cipher(&id)?, self.aad(&id));
        let payload = Payload { msg: &open, aad: &aad };
        let content = cipher.encrypt(&NONCE.into(), payload).map_err(|_| Damaged)?;
        Ok(Sealed {
            id,
            ancestors: revision.ancestors.clone(),
            deleted: revision.deleted,
            time: revision.time,
            content: content.into(),
        })
    }

    /// Opens a revision; its id is bound to the sealed content, and so are its vault and record.
    pub(crate) fn open(&self, sealed: &Sealed) -> Result<Revision, Damaged> {
        let (cipher, aad) = (self.cipher(&sealed.id)?, self.aad(&sealed.id));
        let payload = Payload { msg: &sealed.content, aad: &aad };
        let open = Zeroizing::new(cipher.decrypt(&NONCE.into(), payload).map_err(|_| Damaged)?);
        let (salt, rest) = open.split_first_chunk::<SALT>().ok_or(Damaged)?;
        let (labels_len, rest) = rest.split_first_chunk::<LABELS_LEN>().ok_or(Damaged)?;
        let (labels, value) = rest.split_at_checked(u16::from_le_bytes(*labels_len).into()).ok_or(Damaged)?;
        Ok(Revision {
            salt: *salt,
            ancestors: sealed.ancestors.clone(),
            deleted: sealed.deleted,
            labels: decode_labels(labels).ok_or(Damaged)?,
            time: sealed.time,
            value: Zeroizing::new(value.to_vec()),
        })
    }

    /// The key of one revision: HKDF-Expand of the vault's key. It seals once, so the nonce can stay zero.
    fn cipher(&self, id: &RevisionId) -> Result<Aes256Gcm, Damaged> {
        let vault = Hkdf::<Sha256>::from_prk(self.key.expose()).map_err(|_| Damaged)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        vault.expand_multi_info(&[KEY_LABEL, id.as_bytes()], key.as_mut_slice()).map_err(|_| Damaged)?;
        Aes256Gcm::new_from_slice(key.as_slice()).map_err(|_| Damaged)
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
const NONCE: [u8; 12] = [0; 12];

fn encode_labels(labels: &Labels) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, text)| [name, text]) {
        // Labels are at most MAX_LABELS bytes, which two bytes of length can tell.
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

fn decode_labels(mut bytes: &[u8]) -> Option<Labels> {
    let mut labels = Labels::new();
    while !bytes.is_empty() {
        let name = take_text(&mut bytes)?;
        labels.insert(name, take_text(&mut bytes)?);
    }
    Some(labels)
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stronghold_sync::Location;

    fn revision(value: &[u8], ancestors: Ancestors) -> Revision {
        let labels = Labels::from([("from".to_owned(), "csv".to_owned())]);
        Revision { salt: [3; 32], ancestors, deleted: false, labels, time: 1, value: value.to_vec().into() }
    }

    fn location(text: &str) -> LocationId {
        text.parse::<Location>().unwrap().id()
    }

    #[test]
    fn a_sealed_revision_opens_only_with_its_key_location_and_id() {
        let (key, other) = (LockedKey::new(&[1; 32]), LockedKey::new(&[2; 32]));
        let keeper = Keeper { key: &key, location: location("c/v/r") };
        let revision = revision(b"hunter2", Ancestors::default());
        let sealed = keeper.seal(revision.id(), &revision).unwrap();
        assert_eq!(keeper.open(&sealed).unwrap(), revision);
        assert!(!sealed.content.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(Keeper { key: &other, ..keeper }.open(&sealed), Err(Damaged));
        assert_eq!(Keeper { key: &key, location: location("c/v/s") }.open(&sealed), Err(Damaged));
        let renamed = Sealed { id: RevisionId::from_bytes([9; 32]), ..sealed.clone() };
        assert_eq!(keeper.open(&renamed), Err(Damaged));
        for at in 0..sealed.content.len() {
            let mut bent = sealed.clone();
            bent.content[at] ^= 1;
            assert_eq!(keeper.open(&bent), Err(Damaged));
        }
    }

    #[test]
    fn the_history_keeps_ten_newest_first() {
        let key = LockedKey::new(&[1; 32]);
        let keeper = Keeper { key: &key, location: location("c/v/r") };
        let mut record = Record::new("r");
        for n in 0..15u8 {
            let next = revision(&[n], record.ancestors_of_next());
            assert_eq!(record.insert(keeper.seal(next.id(), &next).unwrap()), Inserted::Head);
        }
        let values: Vec<u8> = record.history.iter().map(|old| keeper.open(old).unwrap().value[0]).collect();
        assert_eq!(values, (4..14).rev().collect::<Vec<u8>>());
        assert_eq!(record.heads().len(), 1);
    }
}
