//! Entries on their way: batches going out, batches coming in, and what may be in them.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use super::{
    Core, Export, Import, Misbehaviour,
    asking::{Consent, Take},
    find,
};
use crate::{
    EntryId, Grant, Location, Policy, RevisionId, Scope, Shape,
    message::{Batch, CHUNK_BYTES, Message, RecipientKey},
    plan::split_first_record,
    session::Action,
};

/// The most entries in one batch.
pub const BATCH_ENTRIES: usize = 1000;
/// About how many bytes of values go into one batch.
pub const BATCH_BYTES: u64 = 8 << 20;
/// The largest sealed batch that is accepted, in bytes: one value of 4 MiB above [`BATCH_BYTES`], and padding.
pub const MAX_SEALED: u64 = 16 << 20;
/// Batches on their way and not yet confirmed.
const WINDOW: u64 = 2;

/// What may be in the batches of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Just these, which the plan of this side wanted: each in the scope of its command, and either taken by that command
    /// or by a rule that lets the giver write or delete it here.
    Taken {
        /// Which.
        entries: Announced,
        /// Where they may be.
        scope: Scope,
        /// By what.
        take: Take,
    },
    /// Just these, and only where the policy lets the giver write or delete.
    Granted {
        /// Which.
        entries: Announced,
        /// Where it may write.
        push: Option<Grant>,
        /// Where it may delete.
        delete: Option<Grant>,
    },
    /// Everything that was asked for, deletions too.
    Within(Scope),
    /// Every value that was asked for, and no deletion.
    Values(Scope),
}

/// Entries as their shapes announced them, in order. What the plan was made of has to be what arrives: a deletion
/// announced as an edit would pass by the question that many deletions ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced(Vec<Shape>);

/// Why an entry may not be in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unexpected {
    /// It was not asked for, or is not what its shape said.
    NotAsked,
    /// Its giver may not write or delete it.
    NotPermitted,
    /// A rule let it in when it was asked for, and does not any more.
    Withdrawn,
}

impl Expected {
    /// Checks one entry, given the shape that was computed from what arrived, at the time `now` (milliseconds since
    /// 1970).
    ///
    /// # Errors
    /// [`Unexpected`] when it may not be there.
    pub fn check(
        &self,
        policy: &Policy,
        location: &Location,
        shape: &Shape,
        now: u64,
    ) -> Result<(), Unexpected> {
        let announced = |entries: &Announced| entries.find(&shape.entry()) == Some(shape);
        let asked = match self {
            Self::Taken { entries, scope, .. } => announced(entries) && scope.covers(location),
            Self::Granted { entries, .. } => announced(entries),
            Self::Within(scope) => scope.covers(location),
            Self::Values(scope) => !shape.deleted && scope.covers(location),
        };
        if !asked {
            return Err(Unexpected::NotAsked);
        }
        let (push, delete) = match self {
            Self::Granted { push, delete, .. } => (push, delete),
            Self::Taken { take: Take::Granted(Consent { push, delete, also }), .. }
                if !also.contains(&shape.entry()) =>
            {
                (push, delete)
            }
            _ => return Ok(()),
        };
        match if shape.deleted { delete } else { push } {
            Some(grant) if policy.still_allows(grant, location, now) => Ok(()),
            Some(grant) if grant.scope().covers(location) => Err(Unexpected::Withdrawn),
            _ => Err(Unexpected::NotPermitted),
        }
    }

    /// Whether no plan was made of it, so that nobody could be asked about what it deletes or empties.
    #[must_use]
    pub fn is_unplanned(&self) -> bool {
        matches!(self, Self::Within(_) | Self::Values(_))
    }

    /// Where what was asked for may be.
    pub(super) fn asked(&self) -> &dyn core::fmt::Display {
        match self {
            Self::Taken { scope, .. } | Self::Within(scope) | Self::Values(scope) => scope,
            Self::Granted { .. } => &"",
        }
    }

    /// The grants behind it, for the log.
    pub(super) fn grants(&self) -> impl Iterator<Item = &Grant> {
        let (push, delete) = match self {
            Self::Granted { push, delete, .. } => (push.as_ref(), delete.as_ref()),
            _ => (None, None),
        };
        push.into_iter().chain(delete)
    }

    fn most_entries(&self) -> u64 {
        match self {
            Self::Taken { entries, .. } | Self::Granted { entries, .. } => entries.0.len() as u64,
            Self::Within(_) | Self::Values(_) => super::MAX_ENTRIES,
        }
    }
}

impl Announced {
    pub(super) fn new(mut shapes: Vec<Shape>) -> Self {
        shapes.sort_by_key(Shape::entry);
        Self(shapes)
    }

    fn find(&self, entry: &EntryId) -> Option<&Shape> {
        find(&self.0, entry)
    }
}

/// Batches going out: sealed one after the other, few unconfirmed at a time.
#[derive(Debug)]
pub(super) struct Outgoing {
    grant: Grant,
    key: RecipientKey,
    batches: VecDeque<Vec<EntryId>>,
    sealing: u64,
    next: u64,
    confirmed: u64,
    unconfirmed_entries: VecDeque<u64>,
    pub(super) sent: u64,
    /// How many entries there are in all batches.
    all: u64,
    ended: bool,
}

impl Outgoing {
    /// Gives these, in the order of entries.
    pub(super) fn new(grant: Grant, key: RecipientKey, shapes: &[Shape]) -> Self {
        Self {
            grant,
            key,
            batches: batches(shapes),
            sealing: 0,
            next: 0,
            confirmed: 0,
            unconfirmed_entries: VecDeque::new(),
            sent: 0,
            all: shapes.len() as u64,
            ended: false,
        }
    }

    /// What allows it.
    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The revisions in its batches.
    pub(super) fn revisions(&self) -> impl Iterator<Item = RevisionId> {
        self.batches.iter().flatten().map(|entry| entry.revision)
    }

    /// Asks for the next batch to be sealed, or ends; `true` when all is confirmed.
    pub(super) fn go_on(&mut self, core: &mut Core) -> bool {
        if self.next - self.confirmed < WINDOW
            && let Some(entries) = self.batches.pop_front()
        {
            self.sealing = entries.len() as u64;
            core.act(Action::Export(Export { grant: self.grant.clone(), entries, key: self.key.clone() }));
            return false;
        }
        if self.batches.is_empty() && !self.ended {
            self.ended = true;
            core.send(Message::End);
        }
        self.ended && self.next == self.confirmed
    }

    pub(super) fn handle_sealed(&mut self, sealed: &[u8], core: &mut Core) -> bool {
        let head = Batch { index: self.next, entries: self.sealing, len: sealed.len() as u64 };
        core.send(Message::Batch(head));
        for chunk in sealed.chunks(CHUNK_BYTES) {
            core.send(Message::Chunk(chunk.to_vec()));
        }
        self.unconfirmed_entries.push_back(self.sealing);
        self.next += 1;
        self.go_on(core)
    }

    pub(super) fn handle_confirm(&mut self, index: u64, core: &mut Core) -> Result<bool, Misbehaviour> {
        if index != self.confirmed || self.confirmed == self.next {
            return Err(Misbehaviour::OutOfOrder);
        }
        self.confirmed += 1;
        self.sent += self.unconfirmed_entries.pop_front().unwrap_or(0);
        core.act(Action::Given { entries: self.sent, of: self.all });
        Ok(self.go_on(core))
    }
}

/// Cuts a list into batches, between records where that can be: their heads are merged, and counted, together.
fn batches(shapes: &[Shape]) -> VecDeque<Vec<EntryId>> {
    let mut batches = VecDeque::new();
    let (mut batch, mut bytes) = (Vec::new(), 0u64);
    let mut rest = shapes;
    while !rest.is_empty() {
        let (record, others) = split_first_record(rest);
        rest = others;
        let fits = |entries: usize, bytes: u64| entries <= BATCH_ENTRIES && bytes <= BATCH_BYTES;
        let record_bytes = record.iter().map(travels_as).fold(0, u64::saturating_add);
        if !fits(batch.len() + record.len(), bytes.saturating_add(record_bytes)) {
            close(&mut batch, &mut bytes, &mut batches);
        }
        for shape in record {
            if !fits(batch.len() + 1, bytes.saturating_add(travels_as(shape))) {
                close(&mut batch, &mut bytes, &mut batches);
            }
            bytes = bytes.saturating_add(travels_as(shape));
            batch.push(shape.entry());
        }
    }
    close(&mut batch, &mut bytes, &mut batches);
    batches
}

fn close(batch: &mut Vec<EntryId>, bytes: &mut u64, batches: &mut VecDeque<Vec<EntryId>>) {
    if !batch.is_empty() {
        batches.push_back(core::mem::take(batch));
    }
    *bytes = 0;
}

/// About how many bytes an entry takes in a batch: value and labels, ancestors, names and the rest.
fn travels_as(shape: &Shape) -> u64 {
    shape.size.saturating_add(8 * shape.ancestors.as_slice().len() as u64 + 256)
}

/// Batches coming in: put together as their bytes arrive, merged whole.
#[derive(Debug)]
pub(super) struct Incoming {
    expected: Arc<Expected>,
    next: u64,
    entries_left: u64,
    current: Option<Batch>,
    bytes: Vec<u8>,
}

impl Incoming {
    pub(super) fn new(expected: Expected) -> Self {
        let entries_left = expected.most_entries();
        Self { expected: Arc::new(expected), next: 0, entries_left, current: None, bytes: Vec::new() }
    }

    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Takes no more entries than the peer said would come.
    pub(super) fn limit(&mut self, entries: u64) -> Result<(), Misbehaviour> {
        if entries > self.entries_left {
            return Err(Misbehaviour::TooMany);
        }
        self.entries_left = entries;
        Ok(())
    }

    pub(super) fn handle_batch(&mut self, batch: Batch) -> Result<(), Misbehaviour> {
        if self.current.is_some() || batch.index != self.next {
            return Err(Misbehaviour::OutOfOrder);
        }
        if batch.len == 0 || batch.len > MAX_SEALED {
            return Err(Misbehaviour::BadBatch);
        }
        if batch.entries == 0 || batch.entries > BATCH_ENTRIES as u64 || batch.entries > self.entries_left {
            return Err(Misbehaviour::TooMany);
        }
        self.entries_left -= batch.entries;
        self.current = Some(batch);
        Ok(())
    }

    pub(super) fn handle_chunk(&mut self, chunk: &[u8], core: &mut Core) -> Result<(), Misbehaviour> {
        let Some(batch) = self.current else {
            return Err(Misbehaviour::OutOfOrder);
        };
        if chunk.is_empty() || (self.bytes.len() + chunk.len()) as u64 > batch.len {
            return Err(Misbehaviour::BadBatch);
        }
        self.bytes.extend_from_slice(chunk);
        if self.bytes.len() as u64 == batch.len {
            let sealed = core::mem::take(&mut self.bytes);
            core.act(Action::Import(Import { sealed, expected: self.expected.clone() }));
        }
        Ok(())
    }

    pub(super) fn handle_imported(&mut self, core: &mut Core) {
        core.send(Message::Confirm(self.next));
        self.next += 1;
        self.current = None;
    }

    /// Whether the peer may end here: not within a batch.
    pub(super) fn may_end(&self) -> Result<(), Misbehaviour> {
        if self.current.is_none() { Ok(()) } else { Err(Misbehaviour::OutOfOrder) }
    }
}
