//! The messages of a session, and their limits. Framing and encoding are up to the transport.

mod records;

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub use self::records::{BadRecordList, MAX_CANDIDATES, RecordList};
pub use crate::error::Refusal;
use crate::{
    Edition, Location, RevisionId, Selection, Shape, Timestamp,
    reconcile::{Digest, NeedMore, SetDigest},
};

/// The protocol version of this crate.
pub const PROTOCOL: u16 = 1;
/// Approximate limit on the bytes of a list in one message.
pub(crate) const LIST_BYTES: usize = 48 << 10;
/// Maximum number of bytes of a sealed batch in one message.
pub(crate) const CHUNK_BYTES: usize = 48 << 10;
/// Maximum length of a recipient key, in bytes.
const MAX_KEY: usize = 4096;

/// A receiver's one-time public key, in the sealer's encoding.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ByteBuf", into = "ByteBuf")]
pub struct RecipientKey(Vec<u8>);

/// The error for a key over the maximum length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a recipient key is longer than {MAX_KEY} bytes")]
pub struct RecipientKeyTooLong;

/// A message. Lists come in parts; the message after a list closes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "few messages are held at a time")]
pub enum Message {
    /// Initiator: the request. The first message of a session.
    Open(Open),
    /// Either side: the session ends here.
    Refused(Refusal),
    /// Responder: its user is asked about the request, or about the losses that the proposal would
    /// cause. The answer follows. At most once for each.
    Asking,
    /// Responder: a sync may proceed, within these scopes.
    Agreed(Agreed),
    /// Initiator: further records in which the sets may differ. The description that follows is of
    /// these and of the records in [`Agreed::candidates`] alone. At most once, before it.
    Candidates(RecordList),
    /// Initiator: a part of the description of its set, where it may pull.
    Digest(Digest),
    /// Initiator: entries it may push where it may not pull.
    Offer(Vec<Shape>),
    /// Initiator: the description is complete; compare.
    DigestEnd,
    /// Responder: the difference is not found yet, and needs this.
    NeedMore(NeedMore),
    /// Responder: entries that only it holds.
    Missing(Vec<Shape>),
    /// Responder: symbols of entries it lacks, and of offered entries it wants: 8 bytes each,
    /// little-endian.
    Needed(ByteBuf),
    /// Responder: the difference is complete.
    DiffEnd,
    /// Initiator: the difference does not verify.
    Mismatch,
    /// Initiator: indices, in the list of entries that only the responder holds, of entries whose
    /// names it needs.
    NamesWanted(Vec<u32>),
    /// Responder: those names, in that order.
    Names(Vec<Location>),
    /// Initiator: the records it leaves out of the sync. At most once, before `Propose` or `End`.
    LeftOut(LeftOut),
    /// Either side: indices into the peer's last list of the entries to send.
    Want(Vec<u32>),
    /// Initiator: entries it will push.
    Push(Vec<Shape>),
    /// Initiator: the proposal is complete; with its key for the entries it wants.
    Propose(Propose),
    /// Responder: its wants are complete; with its key for those entries.
    Accept(Option<RecipientKey>),
    /// Responder: an import or fetch proceeds, with this volume.
    Granted(Volume),
    /// Responder: names and shapes.
    Listing(Vec<Listing>),
    /// Either side: a sealed batch follows in chunks.
    Batch(Batch),
    /// Either side: the next bytes of the batch.
    Chunk(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Either side: the batch with this index is durable.
    Ack(u64),
    /// Either side: it sends nothing more.
    End,
}

/// The first message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The version of the protocol.
    pub protocol: u16,
    /// The request.
    pub request: Request,
    /// The edition of the initiator's snapshot.
    pub edition: Edition,
    /// `true` if the initiator has the secret of the pair, so that the responder may use the key of
    /// the day.
    pub pair_key: bool,
}

/// A request to a peer (`DESIGN.md`, Sessions).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Everything selected, sealed to this key.
    Import {
        /// The entries to import.
        selection: Selection,
        /// The recipient's key.
        key: RecipientKey,
    },
    /// The names and shapes of the selected entries.
    Browse {
        /// The entries to list.
        selection: Selection,
    },
    /// Individual entries, sealed to this key.
    Fetch {
        /// The entries to fetch.
        selection: Selection,
        /// The recipient's key.
        key: RecipientKey,
    },
    /// A sync: each side receives what it lacks.
    Sync {
        /// The entries to sync.
        selection: Selection,
        /// `true` if the initiator wants to receive.
        pull: bool,
        /// `true` if the initiator wants to give.
        push: bool,
    },
}

/// The parts of a sync that the responder's policy allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// The scope in which the initiator may pull, within its request.
    pub pull: Option<Selection>,
    /// The scope in which the initiator may write, within its request.
    pub push: Option<Selection>,
    /// The scope in which the initiator may delete, within its request.
    pub delete: Option<Selection>,
    /// The digest of the responder's entries that the initiator may pull.
    pub held: Option<SetDigest>,
    /// The day, numbered from 1970, of the pair's key under which the digest is; `None` for the
    /// session's key.
    pub day: Option<u64>,
    /// The records in which the sets may differ, as far as the responder knows: those with an entry
    /// that it does not know the initiator to hold. `None` if there are too many, or if the three
    /// scopes are not the same.
    pub candidates: Option<RecordList>,
    /// The edition of the responder's snapshot.
    pub edition: Edition,
    /// `true` if two snapshots of the initiator's identity are in use, as far as the responder can
    /// tell.
    pub copied: bool,
}

/// The end of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// The initiator's key, if it wants any entry.
    pub key: Option<RecipientKey>,
}

/// The initiator's report for the responder's user: the records that it leaves out because a rule
/// is missing or a limit is met, and whether two snapshots of the responder are in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Number of the responder's records that the initiator does not take.
    pub not_taken: u64,
    /// Indices, in the list of entries that only the responder holds, of some of these records: at
    /// most [`MAX_NAMED`].
    pub untaken: Vec<u32>,
    /// Number of the initiator's own records that it would give but may not.
    pub not_given: u64,
    /// Names of some of these records: at most [`MAX_NAMED`].
    pub ungiven: Vec<Location>,
    /// `true` if two snapshots of the responder's identity are in use, as far as the initiator can
    /// tell.
    pub copied: bool,
}

/// Maximum number of records that [`LeftOut`] names in each direction.
pub const MAX_NAMED: usize = 100;

/// The volume of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Number of entries.
    pub entries: u64,
    /// Sum of their padded sizes, in bytes.
    pub bytes: u64,
}

/// The header of a sealed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Index of the batch, from zero.
    pub index: u64,
    /// Maximum number of entries in it.
    pub entries: u64,
    /// Size of the sealed batch, in bytes.
    pub len: u64,
}

/// An entry in a listing for its owner, or for a peer that may browse: names and shape, never
/// content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The record's names.
    pub location: Location,
    /// The revision shown.
    pub revision: RevisionId,
    /// The value's size in bytes; padded, for a peer.
    pub size: u64,
    /// When the revision was written, in milliseconds since 1970.
    pub modified: Timestamp,
    /// `true` if another head has a different value.
    pub conflict: bool,
}

impl Message {
    /// Returns whether the initiator has to wait for a reply to this message.
    pub(crate) fn expects_reply(&self) -> bool {
        !matches!(self, Self::Batch(_) | Self::Chunk(_) | Self::Ack(_))
    }
}

impl RecipientKey {
    /// Creates a key from its bytes.
    ///
    /// # Errors
    /// [`RecipientKeyTooLong`] over 4096 bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, RecipientKeyTooLong> {
        if bytes.len() > MAX_KEY { Err(RecipientKeyTooLong) } else { Ok(Self(bytes)) }
    }

    /// Returns the key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<ByteBuf> for RecipientKey {
    type Error = RecipientKeyTooLong;

    fn try_from(bytes: ByteBuf) -> Result<Self, RecipientKeyTooLong> {
        Self::new(bytes.into_vec())
    }
}

impl From<RecipientKey> for ByteBuf {
    fn from(key: RecipientKey) -> Self {
        Self::from(key.0)
    }
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecipientKey({} bytes)", self.0.len())
    }
}

impl Request {
    /// Returns the requested selection.
    pub fn selection(&self) -> &Selection {
        match self {
            Self::Import { selection, .. }
            | Self::Browse { selection }
            | Self::Fetch { selection, .. }
            | Self::Sync { selection, .. } => selection,
        }
    }
}

/// The approximate size of a list item in a message, in bytes.
pub(crate) trait WireSize {
    fn wire_size(&self) -> usize;
}

impl WireSize for Shape {
    fn wire_size(&self) -> usize {
        112 + 8 * self.ancestors.as_slice().len()
    }
}

impl WireSize for Location {
    fn wire_size(&self) -> usize {
        12 + self.client().len() + self.vault().len() + self.record().len()
    }
}

impl WireSize for u32 {
    fn wire_size(&self) -> usize {
        5
    }
}

impl WireSize for Listing {
    fn wire_size(&self) -> usize {
        80 + self.location.client().len() + self.location.vault().len() + self.location.record().len()
    }
}

/// Splits a list into parts that each fit into a message; returns no message for an empty list.
pub(crate) fn split_list<T: WireSize>(list: Vec<T>, message: impl Fn(Vec<T>) -> Message) -> Vec<Message> {
    let mut messages = Vec::new();
    let (mut part, mut weight) = (Vec::new(), 0);
    for item in list {
        weight += item.wire_size();
        if weight > LIST_BYTES && !part.is_empty() {
            messages.push(message(core::mem::take(&mut part)));
            weight = item.wire_size();
        }
        part.push(item);
    }
    if !part.is_empty() {
        messages.push(message(part));
    }
    messages
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use super::*;
    use crate::Ancestors;

    fn location(len: usize) -> Location {
        Location::new("c", "vv", "r".repeat(len - 3)).unwrap()
    }

    #[test]
    fn what_an_item_takes_in_a_message_is_no_less_than_it_weighs() {
        let ids = |n: u8| (0..n).map(|n| RevisionId::from_bytes([n; 32])).collect();
        for ancestors in [0, 1, 10] {
            let (revision, size) = (RevisionId::from_bytes([0xFF; 32]), u64::MAX);
            let ancestors = Ancestors::from_newest_first(ids(ancestors)).unwrap();
            let number = ancestors.as_slice().len();
            let shape = Shape { location: location(9).id(), revision, ancestors, size, deleted: true };
            assert_eq!(shape.wire_size(), 112 + 8 * number);
            let listing = Listing {
                location: location(50),
                revision,
                size,
                modified: Timestamp::from_millis(size),
                conflict: true,
            };
            assert_eq!((listing.wire_size(), location(50).wire_size(), 7_u32.wire_size()), (130, 62, 5));
            let takes = [
                (rmp_serde::to_vec(&shape).unwrap().len(), shape.wire_size() + 16),
                (rmp_serde::to_vec(&listing).unwrap().len(), listing.wire_size()),
                (rmp_serde::to_vec(&location(300)).unwrap().len(), location(300).wire_size()),
                (rmp_serde::to_vec(&u32::MAX).unwrap().len(), u32::MAX.wire_size()),
            ];
            assert!(takes.iter().all(|(takes, weight)| takes <= weight && takes + 40 > *weight), "{takes:?}");
        }
    }

    #[test]
    fn a_list_goes_in_parts_that_are_as_full_as_they_may_be() {
        let parts = |len: usize, number: usize| {
            let list = vec![location(len); number];
            let messages = split_list(list, Message::Names);
            let of = |message: &Message| match message {
                Message::Names(part) => part.len(),
                other => panic!("{other:?}"),
            };
            messages.iter().map(of).collect::<Vec<_>>()
        };
        // Each weighs 1,024 bytes, so one message has room for 48.
        for (number, expected) in [(0, &[][..]), (1, &[1]), (48, &[48]), (49, &[48, 1]), (97, &[48, 48, 1])] {
            assert_eq!(parts(1012, number), expected, "{number}");
        }
        assert_eq!(parts(1013, 48), [47, 1]);
    }

    #[test]
    fn the_asking_side_waits_for_an_answer_to_all_but_batches_and_confirmations() {
        let batch = Message::Batch(Batch { index: 0, entries: 1, len: 1 });
        for (message, expected) in [
            (batch, false),
            (Message::Chunk(vec![1]), false),
            (Message::Ack(0), false),
            (Message::DigestEnd, true),
            (Message::End, true),
            (Message::Propose(Propose { key: None }), true),
        ] {
            assert_eq!(message.expects_reply(), expected, "{message:?}");
        }
        let (selection, key) = ("a".parse::<Selection>().unwrap(), RecipientKey::new(vec![7; 3]).unwrap());
        for request in [
            Request::Import { selection: selection.clone(), key: key.clone() },
            Request::Browse { selection: selection.clone() },
            Request::Fetch { selection: selection.clone(), key: key.clone() },
            Request::Sync { selection: selection.clone(), pull: true, push: false },
        ] {
            assert_eq!(request.selection(), &selection);
        }
        assert_eq!((key.as_bytes(), format!("{key:?}")), (&[7; 3][..], "RecipientKey(3 bytes)".into()));
    }
}
