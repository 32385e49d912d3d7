//! Batches of entries: sending and receiving them, and checking what they may contain.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use super::{
    Core, Event, Export, Import, PeerMisbehaved, Queued, Task, find,
    initiator::{Consent, Take},
    record_of,
};
use crate::{
    EntryId, Grant, Location, Policy, RevisionId, Scope, Shape, Timestamp,
    message::{Batch, Message, RecipientKey},
    plan::split_first_record,
};

/// Maximum number of entries in a batch.
pub const BATCH_ENTRIES: usize = 1000;
/// Approximate limit on the bytes of values in a batch.
pub const BATCH_BYTES: u64 = 8 << 20;
/// Maximum size of a sealed batch, in bytes: [`BATCH_BYTES`] plus one value of 4 MiB, and padding.
pub const MAX_SEALED: u64 = 16 << 20;
/// Maximum number of unacknowledged batches in flight.
const WINDOW: u64 = 2;

/// The entries that a peer's batches may contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Only the entries that this side's plan takes: each within the scope of the command, and
    /// taken either by the command itself or by a rule that lets the sender write or delete it
    /// here.
    Taken {
        /// The entries.
        entries: ShapeList,
        /// The scope that they must be in.
        scope: Scope,
        /// The authority to take them.
        take: Take,
    },
    /// Only these entries, and only where the policy lets the sender write or delete.
    Granted {
        /// The entries.
        entries: ShapeList,
        /// The grant for entries that the sender writes.
        push: Option<Grant>,
        /// The grant for entries that the sender deletes.
        delete: Option<Grant>,
    },
    /// Every entry in the requested scope, deletions too.
    Within(Scope),
    /// Every value in the requested scope, but no deletion.
    Values(Scope),
}

/// The shapes that announced the entries, sorted by entry, and this side's heads of their records.
/// Entries must arrive as announced: a deletion announced as an edit, or one that replaces more
/// than it was announced to replace, would bypass the confirmation of many deletions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeList {
    shapes: Vec<Shape>,
    /// The announced entries and this side's heads of their records, sorted: those among which an
    /// entry must replace the announced ones.
    compared: Vec<EntryId>,
}

/// The reason why an entry may not be in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unexpected {
    /// It was not requested, or differs from its announced shape.
    Unrequested,
    /// The sender may not write or delete it.
    NotPermitted,
    /// A rule allowed it when it was requested but no longer does.
    Withdrawn,
}

impl Expected {
    /// Checks one entry at the time `now` (milliseconds since 1970). `shape` is computed from the
    /// received entry.
    ///
    /// # Errors
    /// [`Unexpected`] when the batch may not contain the entry.
    pub fn check(
        &self,
        policy: &Policy,
        location: &Location,
        shape: &Shape,
        now: Timestamp,
    ) -> Result<(), Unexpected> {
        let announced = |entries: &ShapeList| entries.announces(shape);
        let asked = match self {
            Self::Taken { entries, scope, .. } => announced(entries) && scope.covers(location),
            Self::Granted { entries, .. } => announced(entries),
            Self::Within(scope) => scope.covers(location),
            Self::Values(scope) => !shape.deleted && scope.covers(location),
        };
        if !asked {
            return Err(Unexpected::Unrequested);
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

    /// Returns whether the entries arrive without a plan, so that no confirmation of deleted or
    /// emptied records took place.
    pub fn is_unplanned(&self) -> bool {
        matches!(self, Self::Within(_) | Self::Values(_))
    }

    /// Returns the requested scope, for display.
    pub(super) fn asked(&self) -> &dyn core::fmt::Display {
        match self {
            Self::Taken { scope, .. } | Self::Within(scope) | Self::Values(scope) => scope,
            Self::Granted { .. } => &"",
        }
    }

    /// Returns the grants that allow the entries, for the log.
    pub(super) fn grants(&self) -> impl Iterator<Item = &Grant> {
        let (push, delete) = match self {
            Self::Granted { push, delete, .. } => (push.as_ref(), delete.as_ref()),
            _ => (None, None),
        };
        push.into_iter().chain(delete)
    }

    fn most_entries(&self) -> u64 {
        match self {
            Self::Taken { entries, .. } | Self::Granted { entries, .. } => entries.shapes.len() as u64,
            Self::Within(_) | Self::Values(_) => super::MAX_ENTRIES,
        }
    }
}

impl ShapeList {
    /// Creates a list of announced entries; `own` are this side's heads, sorted by entry.
    pub(super) fn new(mut shapes: Vec<Shape>, own: &[Shape]) -> Self {
        shapes.sort_by_key(Shape::entry);
        let own = shapes.iter().flat_map(|shape| record_of(own, &shape.location));
        let mut compared: Vec<EntryId> = own.chain(&shapes).map(Shape::entry).collect();
        compared.sort_unstable();
        compared.dedup();
        Self { shapes, compared }
    }

    /// Returns whether an entry with this shape was announced, and replaces among the compared
    /// revisions of its record exactly the announced ones.
    fn announces(&self, shape: &Shape) -> bool {
        let Some(announced) = find(&self.shapes, &shape.entry()) else { return false };
        let from = self.compared.partition_point(|entry| entry.location < shape.location);
        let compared = self.compared[from..].iter().take_while(|entry| entry.location == shape.location);
        let mut others = compared.filter(|entry| entry.revision != shape.revision);
        let replaces = |by: &Shape, entry: &EntryId| by.ancestors.contains(&entry.revision);
        (announced.size, announced.deleted) == (shape.size, shape.deleted)
            && others.all(|entry| replaces(announced, entry) == replaces(shape, entry))
    }
}

/// The sender of batches: seals one after the other, with few of them unacknowledged.
#[derive(Debug)]
pub(super) struct BatchSender {
    grant: Grant,
    key: RecipientKey,
    batches: VecDeque<Vec<EntryId>>,
    sealing: u64,
    next: u64,
    confirmed: u64,
    unconfirmed_entries: VecDeque<u64>,
    pub(super) sent: u64,
    /// Total number of entries in all batches.
    all: u64,
    ended: bool,
}

impl BatchSender {
    /// Creates a sender of these entries, sorted by entry.
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

    /// Returns the grant that allows the export.
    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Returns the revisions in the remaining batches.
    pub(super) fn revisions(&self) -> impl Iterator<Item = RevisionId> {
        self.batches.iter().flatten().map(|entry| entry.revision)
    }

    /// Requests the sealing of the next batch, or ends; returns `true` once all are acknowledged.
    pub(super) fn pump(&mut self, core: &mut Core) -> bool {
        if self.next - self.confirmed < WINDOW
            && let Some(entries) = self.batches.pop_front()
        {
            self.sealing = entries.len() as u64;
            core.perform(Task::Export(Export { grant: self.grant.clone(), entries, key: self.key.clone() }));
            return false;
        }
        if self.batches.is_empty() && !self.ended {
            self.ended = true;
            core.send(Message::End);
        }
        self.ended && self.next == self.confirmed
    }

    pub(super) fn handle_sealed(&mut self, sealed: Vec<u8>, core: &mut Core) -> bool {
        let head = Batch { index: self.next, entries: self.sealing, len: sealed.len() as u64 };
        core.send(Message::Batch(head));
        core.queue.push_back(Queued::Batch { sealed, sent: 0 });
        self.unconfirmed_entries.push_back(self.sealing);
        self.next += 1;
        self.pump(core)
    }

    pub(super) fn handle_ack(&mut self, index: u64, core: &mut Core) -> Result<bool, PeerMisbehaved> {
        if index != self.confirmed || self.confirmed == self.next {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        self.confirmed += 1;
        self.sent += self.unconfirmed_entries.pop_front().unwrap_or(0);
        core.notify(Event::Sent { entries: self.sent, of: self.all });
        Ok(self.pump(core))
    }
}

/// Splits a list into batches, between records where possible: the receiver merges and counts a
/// record's heads together.
fn batches(shapes: &[Shape]) -> VecDeque<Vec<EntryId>> {
    let mut batches = VecDeque::new();
    let (mut batch, mut bytes) = (Vec::new(), 0u64);
    let mut rest = shapes;
    while !rest.is_empty() {
        let (record, others) = split_first_record(rest);
        rest = others;
        let fits = |entries: usize, bytes: u64| entries <= BATCH_ENTRIES && bytes <= BATCH_BYTES;
        let record_bytes = record.iter().map(wire_size).fold(0, u64::saturating_add);
        if !fits(batch.len() + record.len(), bytes.saturating_add(record_bytes)) {
            close(&mut batch, &mut bytes, &mut batches);
        }
        for shape in record {
            if !fits(batch.len() + 1, bytes.saturating_add(wire_size(shape))) {
                close(&mut batch, &mut bytes, &mut batches);
            }
            bytes = bytes.saturating_add(wire_size(shape));
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

/// Returns the approximate size of an entry in a batch, in bytes: value and labels, ancestors,
/// names and overhead.
fn wire_size(shape: &Shape) -> u64 {
    shape.size.saturating_add(8 * shape.ancestors.as_slice().len() as u64 + 256)
}

/// The receiver of batches: assembles each from its chunks and imports it as a whole.
#[derive(Debug)]
pub(super) struct BatchReceiver {
    expected: Arc<Expected>,
    next: u64,
    entries_left: u64,
    current: Option<Batch>,
    bytes: Vec<u8>,
}

impl BatchReceiver {
    pub(super) fn new(expected: Expected) -> Self {
        let entries_left = expected.most_entries();
        Self { expected: Arc::new(expected), next: 0, entries_left, current: None, bytes: Vec::new() }
    }

    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Lowers the limit to the number of entries that the peer announced.
    pub(super) fn limit(&mut self, entries: u64) -> Result<(), PeerMisbehaved> {
        if entries > self.entries_left {
            return Err(PeerMisbehaved::TooMany);
        }
        self.entries_left = entries;
        Ok(())
    }

    pub(super) fn handle_batch(&mut self, batch: Batch) -> Result<(), PeerMisbehaved> {
        if self.current.is_some() || batch.index != self.next {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        if batch.len == 0 || batch.len > MAX_SEALED {
            return Err(PeerMisbehaved::BadBatch);
        }
        if batch.entries == 0 || batch.entries > BATCH_ENTRIES as u64 || batch.entries > self.entries_left {
            return Err(PeerMisbehaved::TooMany);
        }
        self.entries_left -= batch.entries;
        self.current = Some(batch);
        Ok(())
    }

    pub(super) fn handle_chunk(&mut self, chunk: &[u8], core: &mut Core) -> Result<(), PeerMisbehaved> {
        let Some(batch) = self.current else {
            return Err(PeerMisbehaved::OutOfOrder);
        };
        if chunk.is_empty() || (self.bytes.len() + chunk.len()) as u64 > batch.len {
            return Err(PeerMisbehaved::BadBatch);
        }
        self.bytes.extend_from_slice(chunk);
        if self.bytes.len() as u64 == batch.len {
            let sealed = core::mem::take(&mut self.bytes);
            core.perform(Task::Import(Import { sealed, expected: self.expected.clone() }));
        }
        Ok(())
    }

    pub(super) fn handle_imported(&mut self, core: &mut Core) {
        core.send(Message::Ack(self.next));
        self.next += 1;
        self.current = None;
    }

    /// Checks that the peer may end here: not within a batch.
    pub(super) fn check_end(&self) -> Result<(), PeerMisbehaved> {
        if self.current.is_none() { Ok(()) } else { Err(PeerMisbehaved::OutOfOrder) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, format, string::String, vec};

    use super::super::{
        Action, SessionError, ShapeQueries, TaskError, Verdict, check_sorted, count_records, difference,
        positions, take_indices, volume,
    };
    use super::*;
    use crate::model::time::ms;
    use crate::{
        Ancestors, DeviceId, Losses, Operation, Rule, Selection,
        message::{CHUNK_BYTES, Refusal, Volume},
    };

    const PEER: DeviceId = DeviceId::from_bytes([1; 32]);

    fn at(text: &str) -> Location {
        text.parse().unwrap()
    }

    fn shape(location: &Location, revision: u16, size: u64) -> Shape {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&revision.to_be_bytes());
        let revision = RevisionId::from_bytes(id);
        Shape { location: location.id(), revision, ancestors: Ancestors::default(), size, deleted: false }
    }

    /// Returns the number of entries in each batch, for records with these numbers of heads of this
    /// size.
    fn cut(heads: &[u16], size: u64) -> Vec<usize> {
        let record = |(number, heads): (usize, &u16)| {
            let location = at(&format!("c/v/{number}"));
            (0..*heads).map(|revision| shape(&location, revision, size)).collect::<Vec<_>>()
        };
        let shapes: Vec<Shape> = heads.iter().enumerate().flat_map(record).collect();
        let batches = batches(&shapes);
        let all: Vec<EntryId> = batches.iter().flatten().copied().collect();
        assert!(all.iter().eq(shapes.iter().map(Shape::entry).collect::<Vec<_>>().iter()));
        batches.iter().map(Vec::len).collect()
    }

    #[test]
    fn batches_are_cut_between_records_at_a_thousand_entries_or_eight_mebibytes() {
        for (heads, expected) in [
            (&[][..], &[][..]),
            (&[1], &[1]),
            (&[600, 400, 1], &[1000, 1]),
            (&[600, 401, 1], &[600, 402]),
            (&[1000, 1000], &[1000, 1000]),
            (&[1, 1500, 1], &[1, 1000, 501]),
        ] {
            assert_eq!(cut(heads, 64), expected, "{heads:?}");
        }
        let eighth = (1 << 20) - 256;
        assert_eq!(cut(&[1; 9], eighth), [8, 1], "eight of a mebibyte with what goes beside the value");
        assert_eq!(cut(&[1; 9], eighth + 1), [7, 2]);
        assert_eq!(cut(&[5, 4], eighth), [5, 4]);
        assert_eq!(cut(&[1, 1, 1], BATCH_BYTES), [1, 1, 1], "what is too large for one goes alone");
        assert_eq!(cut(&[1, 2], u64::MAX), [1, 1, 1], "it does not overflow");
        let ancestors = Ancestors::from_newest_first(vec![RevisionId::from_bytes([9; 32])]).unwrap();
        assert_eq!(wire_size(&Shape { ancestors, ..shape(&at("c/v/r"), 1, 100) }), 100 + 8 + 256);
    }

    #[test]
    fn an_entry_replaces_what_it_was_announced_to_replace_and_no_more() {
        let of = |name: &str, number: u16, after: &[u16]| {
            let after = after.iter().map(|number| shape(&at(name), *number, 64).revision);
            let ancestors = Ancestors::from_newest_first(after.collect()).unwrap();
            Shape { ancestors, ..shape(&at(name), number, 64) }
        };
        let mut own = vec![of("c/v/r", 1, &[]), of("c/v/r", 2, &[]), of("c/v/s", 6, &[])];
        own.sort_by_key(Shape::entry);
        let list = ShapeList::new(vec![of("c/v/r", 4, &[]), of("c/v/r", 3, &[1])], &own);
        for (number, after, expected) in [
            (3, &[1][..], true),
            (3, &[1, 9, 6], true), // of a record here only its own heads count
            (3, &[3, 1], true),
            (3, &[], false),
            (3, &[1, 2], false),
            (3, &[1, 4], false), // an announced value would give way to another announced entry
            (4, &[], true),
            (4, &[8], true),
            (4, &[1], false),
            (4, &[3], false),
            (5, &[], false),
        ] {
            assert_eq!(list.announces(&of("c/v/r", number, after)), expected, "{number} {after:?}");
        }
        assert!(!list.announces(&of("c/v/s", 3, &[1])), "another record");
        let [larger, deleted] =
            [(65, false), (64, true)].map(|(size, deleted)| Shape { size, deleted, ..of("c/v/r", 4, &[]) });
        assert!(!list.announces(&larger) && !list.announces(&deleted));
    }

    fn granted(policy: &Policy, operation: Operation) -> Option<Grant> {
        match policy.decide(&PEER, operation, &crate::Selection::everything(), ms(0)) {
            crate::Decision::Allowed(grant) => Some(grant),
            _ => None,
        }
    }

    #[test]
    fn what_may_be_in_a_batch_depends_on_what_was_asked_and_by_what_right() {
        let mut policy = Policy::default();
        for (operation, selection, expires) in [
            (Operation::Push, "w", None),
            (Operation::Delete, "d", Some(ms(100))),
            (Operation::Push, "e", Some(ms(100))),
        ] {
            let (operations, selection) = ([operation].into(), selection.parse().unwrap());
            policy.grant(Rule { device: PEER, operations, selection, expires, ask: false });
        }
        let (push, delete) = (granted(&policy, Operation::Push), granted(&policy, Operation::Delete));
        let scope = || Scope::of(crate::Selection::parse(&["w", "d", "e", "x"]).unwrap());
        let value = |name: &str| (at(name), shape(&at(name), 1, 64));
        let deletion = |name: &str| (at(name), Shape { deleted: true, ..shape(&at(name), 2, 0) });
        let all = [
            value("w/v/r"),
            deletion("d/v/r"),
            value("e/v/r"),
            value("x/v/r"),
            deletion("w/v/r"),
            value("y/v/r"),
        ];
        let entries = || ShapeList::new(all.iter().map(|(_, shape)| shape.clone()).collect(), &[]);
        let also = || BTreeSet::from([all[3].1.entry()]);
        let (ok, not_asked) = (Ok(()), Err(Unexpected::Unrequested));
        let (not_permitted, withdrawn) = (Err(Unexpected::NotPermitted), Err(Unexpected::Withdrawn));
        let everything = Expected::Taken { entries: entries(), scope: scope(), take: Take::Everything };
        let consent = Consent { push: push.clone(), delete: delete.clone(), also: also() };
        let by_rules = Expected::Taken { entries: entries(), scope: scope(), take: Take::Granted(consent) };
        let given = Expected::Granted { entries: entries(), push: push.clone(), delete: delete.clone() };
        let given_no_deletion = Expected::Granted { entries: entries(), push, delete: None };
        let within = Expected::Within(scope());
        let values = Expected::Values(scope());
        for (name, expected, now, verdicts) in [
            ("everything", &everything, 0, [ok, ok, ok, ok, ok, not_asked]),
            ("by rules", &by_rules, 0, [ok, ok, ok, ok, not_permitted, not_asked]),
            ("by rules, later", &by_rules, 100, [ok, withdrawn, withdrawn, ok, not_permitted, not_asked]),
            ("given", &given, 0, [ok, ok, ok, not_permitted, not_permitted, not_permitted]),
            (
                "given, later",
                &given,
                100,
                [ok, withdrawn, withdrawn, not_permitted, not_permitted, not_permitted],
            ),
            (
                "no deletion",
                &given_no_deletion,
                0,
                [ok, not_permitted, ok, not_permitted, not_permitted, not_permitted],
            ),
            ("within", &within, 0, [ok, ok, ok, ok, ok, not_asked]),
            ("values", &values, 0, [ok, not_asked, ok, ok, not_asked, not_asked]),
        ] {
            let found =
                all.each_ref().map(|(location, shape)| expected.check(&policy, location, shape, ms(now)));
            assert_eq!(found, verdicts, "{name}");
        }
        let altered = Shape { size: 65, ..all[0].1.clone() };
        for (expected, verdict) in
            [(&everything, not_asked), (&by_rules, not_asked), (&given, not_asked), (&within, ok)]
        {
            assert_eq!(expected.check(&policy, &all[0].0, &altered, ms(0)), verdict);
        }
        let facts = |expected: &Expected| {
            (
                expected.is_unplanned(),
                expected.most_entries(),
                format!("{}", expected.asked()),
                expected.grants().count(),
            )
        };
        let asked = || format!("{}", scope());
        for (expected, is) in [
            (&everything, (false, 6, asked(), 0)),
            (&given, (false, 6, String::new(), 2)),
            (&given_no_deletion, (false, 6, String::new(), 1)),
            (&within, (true, 4 << 20, asked(), 0)),
            (&values, (true, 4 << 20, asked(), 0)),
        ] {
            assert_eq!(facts(expected), is);
        }
    }

    #[test]
    fn lists_of_shapes_are_compared_counted_and_asked_for_in_order() {
        let mut shapes: Vec<Shape> = (0..4)
            .flat_map(|n| [1, 2].map(|revision| shape(&at(&format!("c/v/{n}")), revision, 10)))
            .collect();
        shapes.sort_by_key(Shape::entry);
        let some: Vec<Shape> = [1, 2, 6].map(|position| shapes[position].clone()).into();
        let others: Vec<Shape> = [0, 3, 4, 5, 7].map(|position| shapes[position].clone()).into();
        assert_eq!((difference(&shapes, &some), difference(&some, &shapes)), (others, vec![]));
        assert_eq!((difference(&some, &[]), difference(&[], &some)), (some.clone(), vec![]));
        assert_eq!(positions(&shapes, &some), [1, 2, 6]);
        assert_eq!((count_records(&shapes), count_records(&some), count_records(&[])), (4, 3, 0));
        assert_eq!(volume(&shapes), crate::message::Volume { entries: 8, bytes: 80 });
        let large = [shape(&at("c/v/r"), 1, u64::MAX), shape(&at("c/v/r"), 2, 1)];
        assert_eq!(volume(&large).bytes, u64::MAX, "it does not overflow");
        assert_eq!(
            (find(&shapes, &some[1].entry()), find(&some, &shapes[0].entry())),
            (Some(&some[1]), None)
        );
        assert_eq!(check_sorted(shapes.clone()), Ok(shapes.clone()));
        shapes.swap(0, 1);
        assert_eq!(check_sorted(shapes), Err(SessionError::ApiMisuse));
        assert_eq!(check_sorted(vec![some[0].clone(), some[0].clone()]), Err(SessionError::ApiMisuse));

        let mut claimed = BTreeSet::new();
        let mut take = |part: &[u32]| take_indices(&mut claimed, part.to_vec(), |position| *position < 3);
        assert_eq!((take(&[2, 0]), take(&[1])), (Ok(()), Ok(())));
        assert_eq!(
            (take(&[]), take(&[1])),
            (Err(PeerMisbehaved::OutOfOrder), Err(PeerMisbehaved::Unrequested))
        );
        let mut none = BTreeSet::new();
        assert_eq!(
            take_indices(&mut none, vec![3], |position| *position < 3),
            Err(PeerMisbehaved::Unrequested)
        );
    }

    #[test]
    fn shapes_are_asked_for_once_for_each_scope() {
        let of = |text: &str| Scope::of(text.parse().unwrap());
        let (one, other) = (of("a"), of("b"));
        let scopes =
            [(Operation::Pull, Some(&one)), (Operation::Push, Some(&other)), (Operation::Delete, Some(&one))];
        let (mut queries, mut core) = (ShapeQueries::new(scopes), Core::default());
        let mut asked = Vec::new();
        while queries.ask(&mut core) {
            asked.push((core.poll(), queries.answered()));
        }
        let action = |scope: &Scope| Some(Action::Perform(Task::Shapes(scope.clone())));
        let both = vec![Operation::Pull, Operation::Delete];
        assert_eq!(asked, [(action(&one), both), (action(&other), vec![Operation::Push])]);
        assert_eq!(queries.answered(), []);
        assert!(!ShapeQueries::new([(Operation::Pull, None)]).ask(&mut core));
    }

    #[test]
    fn an_error_ends_it_and_the_peer_is_told_no_more_than_it_may_know() {
        let misbehaved = SessionError::PeerMisbehaved(PeerMisbehaved::BadBatch);
        for (error, told) in [
            (SessionError::Refused(Refusal::Busy), None),
            (misbehaved, Some(Refusal::ProtocolError)),
            (SessionError::PeerIncompatible { ours: 1, theirs: 2 }, Some(Refusal::Version)),
            (SessionError::NotPermitted, Some(Refusal::NotPermitted)),
            (SessionError::Deletions(Losses::default()), Some(Refusal::Deletions)),
            (SessionError::Limits, Some(Refusal::Limits)),
            (SessionError::Local, Some(Refusal::Failed)),
            (SessionError::ApiMisuse, Some(Refusal::Failed)),
            (SessionError::Stopped, Some(Refusal::Stopped)),
        ] {
            let mut core = Core::default();
            core.send(Message::DigestEnd);
            assert!(!core.is_over());
            assert_eq!(core.fail(error), error);
            assert_eq!(core.fail(SessionError::Local), SessionError::Local);
            let left: Vec<Action> = core::iter::from_fn(|| core.poll()).collect();
            let told: Vec<Action> =
                told.map(|refusal| Action::Send(Message::Refused(refusal))).into_iter().collect();
            assert_eq!((left, core.is_over()), (told, true));
            assert_eq!((core.may_receive(), core.may_answer()), (Err(error), Err(error)));
            assert_eq!(core.fail_task(TaskError::Limits), error);
        }
        for (failure, error) in [
            (TaskError::Local, SessionError::Local),
            (TaskError::NotPermitted, SessionError::NotPermitted),
            (TaskError::Peer(PeerMisbehaved::BadBatch), misbehaved),
            (TaskError::Deletions(Losses::default()), SessionError::Deletions(Losses::default())),
            (TaskError::Limits, SessionError::Limits),
        ] {
            assert_eq!(Core::default().fail_task(failure), error);
        }
    }

    #[test]
    fn a_task_is_waited_for_and_news_is_not() {
        let mut core = Core::default();
        assert_eq!(core.may_answer(), Err(SessionError::ApiMisuse), "nothing was asked");
        core.notify(Event::Sent { entries: 1, of: 2 });
        core.peer_holds([]);
        core.log(vec![]);
        assert_eq!((core.may_receive(), core.queue.len()), (Ok(()), 1));
        core.perform(Task::Shapes(Scope::of(Selection::everything())));
        assert_eq!(core.may_receive(), Err(SessionError::ApiMisuse), "a result is owed");
        assert_eq!((core.may_answer(), core.may_receive()), (Ok(()), Ok(())));
    }

    /// Logs decisions although the session fails, and before the peer is told.
    #[test]
    fn an_error_drops_what_was_still_to_be_done_but_not_the_log() {
        let mut core = Core::default();
        let verdict = Verdict::own(Operation::Pull, "a", Volume::default());
        core.log(vec![verdict.clone()]);
        core.send(Message::DigestEnd);
        core.perform(Task::Shapes(Scope::of(Selection::everything())));
        core.fail(SessionError::NotPermitted);
        assert_eq!(core.poll(), Some(Action::Notify(Event::Log(vec![verdict]))));
        assert_eq!(core.poll(), Some(Action::Send(Message::Refused(Refusal::NotPermitted))));
        assert_eq!(core.poll(), None);
    }

    #[test]
    fn a_batch_is_cut_into_chunks_when_they_are_polled() {
        let mut core = Core::default();
        core.queue.push_back(Queued::Batch { sealed: vec![7; 2 * CHUNK_BYTES + 1], sent: 0 });
        core.send(Message::End);
        let polled: Vec<Action> = core::iter::from_fn(|| core.poll()).collect();
        let chunk = |len| Action::Send(Message::Chunk(vec![7; len]));
        assert_eq!(polled, [chunk(CHUNK_BYTES), chunk(CHUNK_BYTES), chunk(1), Action::Send(Message::End)]);
    }
}
