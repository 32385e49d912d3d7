//! Lists of entries in a session: in order, bounded, and the shapes still to be queried.

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};

use super::{Core, MAX_ENTRIES, PeerMisbehaved, SessionError, Task};
use crate::{
    EntryId, LocationId, Operation, Scope, Shape,
    message::{Volume, WireSize},
};

/// About the most memory, in bytes, that a list of a peer may take: a million shapes with ten
/// ancestors each.
const MAX_LIST: usize = 512 << 20;

/// A list that a peer sends in parts: sorted, with no empty part, and bounded in length and size.
#[derive(Debug)]
pub(super) struct PeerList<T> {
    pub(super) items: Vec<T>,
    pub(super) weight: usize,
    pub(super) max_items: usize,
}

impl<T: WireSize> PeerList<T> {
    pub(super) const fn new() -> Self {
        Self::up_to(MAX_ENTRIES as usize)
    }

    /// Creates a list of at most `max_items` items.
    pub(super) const fn up_to(max_items: usize) -> Self {
        Self { items: Vec::new(), weight: 0, max_items }
    }

    pub(super) fn extend(
        &mut self,
        part: Vec<T>,
        in_order: impl Fn(&T, &T) -> bool,
    ) -> Result<(), PeerMisbehaved> {
        if part.is_empty() {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        for item in part {
            self.weight = self.weight.saturating_add(item.wire_size());
            if self.weight > MAX_LIST || self.items.len() >= self.max_items {
                return Err(PeerMisbehaved::TooMany);
            }
            if self.items.last().is_some_and(|last| !in_order(last, &item)) {
                return Err(PeerMisbehaved::Unordered);
            }
            self.items.push(item);
        }
        Ok(())
    }
}

impl PeerList<Shape> {
    pub(super) fn extend_shapes(&mut self, part: Vec<Shape>) -> Result<(), PeerMisbehaved> {
        self.extend(part, |one, next| one.entry() < next.entry())
    }
}

/// Adds a part of a list of indices, each of which must be of a listed item and occur once.
pub(super) fn take_indices(
    claimed: &mut BTreeSet<u32>,
    part: Vec<u32>,
    told: impl Fn(&u32) -> bool,
) -> Result<(), PeerMisbehaved> {
    if part.is_empty() {
        return Err(PeerMisbehaved::OutOfOrder);
    }
    part.into_iter().try_for_each(|position| match told(&position) && claimed.insert(position) {
        true => Ok(()),
        false => Err(PeerMisbehaved::Unrequested),
    })
}

/// Returns the indices of some shapes within a list that contains them all.
pub(super) fn positions(list: &[Shape], some: &[Shape]) -> Vec<u32> {
    let some: BTreeSet<EntryId> = some.iter().map(Shape::entry).collect();
    (0..).zip(list).filter(|(_, shape)| some.contains(&shape.entry())).map(|(position, _)| position).collect()
}

/// Returns the shape of an entry from a list sorted by entry.
pub(super) fn find<'a>(shapes: &'a [Shape], entry: &EntryId) -> Option<&'a Shape> {
    shapes.binary_search_by_key(entry, Shape::entry).ok().map(|at| &shapes[at])
}

/// Returns a record's shapes from a list sorted by entry.
pub(super) fn record_of<'a>(shapes: &'a [Shape], location: &LocationId) -> &'a [Shape] {
    let from = shapes.partition_point(|shape| shape.location < *location);
    let heads = shapes[from..].iter().take_while(|shape| shape.location == *location).count();
    &shapes[from..from + heads]
}

/// Returns whether one of the record's shapes replaces the entry.
pub(super) fn is_replaced_by(entry: &EntryId, record: &[Shape]) -> bool {
    record.iter().any(|shape| shape.ancestors.contains(&entry.revision))
}

/// Returns the shapes of one sorted list whose entries the other sorted list lacks.
pub(super) fn difference(shapes: &[Shape], others: &[Shape]) -> Vec<Shape> {
    let mut others = others.iter().peekable();
    let mut lacks = |shape: &&Shape| {
        while others.next_if(|other| other.entry() < shape.entry()).is_some() {}
        others.peek().is_none_or(|other| other.entry() != shape.entry())
    };
    shapes.iter().filter(|shape| lacks(shape)).cloned().collect()
}

/// Checks that the host's shapes are sorted.
pub(super) fn check_sorted(shapes: Vec<Shape>) -> Result<Vec<Shape>, SessionError> {
    match shapes.is_sorted_by(|one, next| one.entry() < next.entry()) {
        true => Ok(shapes),
        false => Err(SessionError::ApiMisuse),
    }
}

/// The queue of shapes to request from the host: a scope, and the operation that needs it; and the
/// records, if not all are needed.
#[derive(Debug, Default)]
pub(super) struct ShapeQueries {
    scopes: VecDeque<(Operation, Scope)>,
    records: Option<Vec<LocationId>>,
}

impl ShapeQueries {
    pub(super) fn new<'a>(scopes: impl IntoIterator<Item = (Operation, Option<&'a Scope>)>) -> Self {
        let scopes = scopes.into_iter().filter_map(|(operation, scope)| Some((operation, scope?.clone())));
        Self { scopes: scopes.collect(), records: None }
    }

    /// Requests the shapes of these records alone, unless `None`.
    pub(super) fn at(self, records: Option<Vec<LocationId>>) -> Self {
        Self { records, ..self }
    }

    /// Requests the next shapes from the host; returns `false` if the queue is empty.
    pub(super) fn ask(&self, core: &mut Core) -> bool {
        let Some((_, scope)) = self.scopes.front() else {
            return false;
        };
        core.perform(match &self.records {
            Some(records) => Task::ShapesAt(scope.clone(), records.clone()),
            None => Task::Shapes(scope.clone()),
        });
        true
    }

    /// Removes the front scope from the queue and returns all operations that need it.
    pub(super) fn answered(&mut self) -> Vec<Operation> {
        let Some((_, asked)) = self.scopes.front().cloned() else {
            return Vec::new();
        };
        let of_it: Vec<Operation> = self
            .scopes
            .iter()
            .filter(|(_, scope)| *scope == asked)
            .map(|(operation, _)| *operation)
            .collect();
        self.scopes.retain(|(_, scope)| *scope != asked);
        of_it
    }
}

/// Returns whether all three scopes are there and known to cover the same.
pub(super) fn are_equal(scopes: [Option<&Scope>; 3]) -> bool {
    let [Some(one), Some(two), Some(three)] = scopes else { return false };
    [two, three].iter().all(|other| one.includes(other) && other.includes(one))
}

/// Returns the records of the shapes, which are sorted by entry, each once.
pub(super) fn records_of(shapes: &[Shape]) -> Vec<LocationId> {
    let mut records: Vec<LocationId> = shapes.iter().map(|shape| shape.location).collect();
    records.dedup();
    records
}

/// Returns the records of two sorted lists, each once.
pub(super) fn union(some: &[LocationId], others: &[LocationId]) -> Vec<LocationId> {
    let all: BTreeSet<LocationId> = some.iter().chain(others).copied().collect();
    all.into_iter().collect()
}

/// Returns the number of records in a list of heads sorted by location.
pub(super) fn count_records<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> u64 {
    let mut last = None;
    let mut is_new = |shape: &&Shape| last.replace(shape.location) != Some(shape.location);
    shapes.into_iter().filter(|shape| is_new(shape)).count() as u64
}

/// Returns the total volume of some shapes.
pub(super) fn volume<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> Volume {
    shapes.into_iter().fold(Volume::default(), |sum, shape| Volume {
        entries: sum.entries + 1,
        bytes: sum.bytes.saturating_add(shape.size),
    })
}
