//! An oracle that forgets nothing: the heads that each device must have.

use std::collections::{BTreeMap, BTreeSet};

use stronghold_sync::{Location, LocationId, RevisionId, Shape};

/// For each writer, the number of its latest write that is known.
type Versions = BTreeMap<usize, u32>;

/// A write: who made it as which of its own, and what it knew of the record.
#[derive(Clone, Debug)]
struct Write {
    writer: usize,
    number: u32,
    knew: Versions,
    id: RevisionId,
    deleted: bool,
}

impl Write {
    fn replaces(&self, other: &Self) -> bool {
        self.knew.get(&other.writer).is_some_and(|number| *number >= other.number)
    }
}

/// The heads on one device, by record.
type Heads = BTreeMap<LocationId, Vec<Write>>;

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    devices: BTreeMap<usize, Heads>,
    /// The writer that a device is: another one after it was restored or copied.
    writers: BTreeMap<usize, usize>,
    writes: BTreeMap<(usize, LocationId), u32>,
    kept: Vec<Heads>,
    next_writer: usize,
}

impl Oracle {
    pub(crate) fn write(&mut self, on: usize, location: &Location, id: RevisionId, deleted: bool) {
        let location = location.id();
        let writer = *self.writers.entry(on).or_insert(on);
        let number = self.writes.entry((writer, location)).or_default();
        *number += 1;
        let heads = self.devices.entry(on).or_default().entry(location).or_default();
        let mut knew = Versions::new();
        for head in heads.iter() {
            let all = head.knew.iter().map(|(writer, number)| (*writer, *number));
            for (writer, number) in all.chain([(head.writer, head.number)]) {
                let known = knew.entry(writer).or_default();
                *known = number.max(*known);
            }
        }
        *heads = vec![Write { writer, number: *number, knew, id, deleted }];
    }

    /// Both devices have what either had.
    pub(crate) fn sync(&mut self, one: usize, other: usize) {
        let theirs = self.devices.remove(&other).unwrap_or_default();
        let mut heads = self.devices.remove(&one).unwrap_or_default();
        for (location, writes) in theirs {
            let all = heads.entry(location).or_default();
            for write in writes {
                if all.iter().all(|held| held.id != write.id && !held.replaces(&write)) {
                    all.retain(|held| !write.replaces(held));
                    all.push(write);
                }
            }
        }
        self.devices.insert(other, heads.clone());
        self.devices.insert(one, heads);
    }

    /// Keeps the state of a device; returns its number.
    pub(crate) fn keep(&mut self, on: usize) -> usize {
        self.kept.push(self.devices[&on].clone());
        self.kept.len() - 1
    }

    pub(crate) fn restore(&mut self, on: usize, kept: usize) {
        self.devices.insert(on, self.kept[kept].clone());
        self.become_another(on);
    }

    pub(crate) fn copy(&mut self, from: usize, to: usize) {
        self.devices.insert(to, self.devices[&from].clone());
        self.become_another(to);
    }

    fn become_another(&mut self, on: usize) {
        self.next_writer += 1;
        self.writers.insert(on, 1000 + self.next_writer);
    }

    /// Checks that a device has each value that it must have; returns the number of values that it
    /// has although they were replaced.
    pub(crate) fn check(&self, on: usize, shapes: &[Shape]) -> usize {
        let values = |heads: &Heads| -> BTreeSet<(LocationId, RevisionId)> {
            let all =
                heads.iter().flat_map(|(location, writes)| writes.iter().map(|write| (*location, write)));
            all.filter(|(_, write)| !write.deleted).map(|(location, write)| (location, write.id)).collect()
        };
        let expected = values(&self.devices[&on]);
        let readable = shapes.iter().filter(|shape| !shape.deleted);
        let held: BTreeSet<(LocationId, RevisionId)> =
            readable.map(|shape| (shape.location, shape.revision)).collect();
        let lost: Vec<_> = expected.difference(&held).collect();
        assert!(lost.is_empty(), "device {on} has lost {} values", lost.len());
        held.difference(&expected).count()
    }
}
