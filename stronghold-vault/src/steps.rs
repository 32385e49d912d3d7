//! Steps: what each of the last commands changed, by the heads that records had before and after, so that it can be taken
//! back and done again. The list is a part of the Stronghold and so of its snapshot; values are found in the history,
//! which keeps what a step names.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use stronghold_sync::{ClientId, DeviceId, LocationId, Policy, RecordId, ShortId, VaultId};

use crate::{
    record::Record,
    stronghold::{Stronghold, Vault},
};

/// How many steps are kept.
pub const STEPS: usize = 16;

/// The step that is being made: all that one command, one sync or one served session changes, over however many commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underway {
    word: String,
    time: u64,
    served: bool,
    /// The number that it got with its first change.
    number: Option<u64>,
}

impl Underway {
    /// Returns the step of a command, named by its word, that begins at `now` (milliseconds since 1970).
    #[must_use]
    pub fn command(word: &str, now: u64) -> Self {
        Self { word: word.into(), time: now, served: false, number: None }
    }

    /// Returns the step of a session that a peer asked for. However many of these there are, they leave the owner's own
    /// last steps in the list.
    #[must_use]
    pub fn served(word: &str, now: u64) -> Self {
        Self { served: true, ..Self::command(word, now) }
    }
}

/// One of the last steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    number: u64,
    time: u64,
    word: String,
    served: bool,
    /// When it was taken back, counted over all that were; 0 if it was not.
    undone: u64,
    changes: BTreeMap<LocationId, Change>,
    /// The rules before and after, where it changed them.
    rules: Option<(Policy, Policy)>,
}

impl Step {
    /// Returns its number; each later step has a greater one.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns when it began, in milliseconds since 1970.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Returns the word of the command.
    #[must_use]
    pub fn word(&self) -> &str {
        &self.word
    }

    /// Returns how many records it changed.
    #[must_use]
    pub fn records(&self) -> usize {
        self.changes.len()
    }

    /// Returns whether it changed what peers may do.
    #[must_use]
    pub fn changed_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Returns whether it was taken back.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        self.undone > 0
    }

    /// Returns when it was taken back, counted over all that were.
    pub(crate) fn undone(&self) -> u64 {
        self.undone
    }

    pub(crate) fn changes(&self) -> &BTreeMap<LocationId, Change> {
        &self.changes
    }

    pub(crate) fn rules(&self) -> Option<&(Policy, Policy)> {
        self.rules.as_ref()
    }
}

/// What a step did to one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) before: Heads,
    pub(crate) after: Heads,
    /// Whether what it names was removed for good.
    pub(crate) purged: bool,
}

/// A record's heads by their short ids, in order; none where there was no record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heads(Box<[ShortId]>);

impl Heads {
    pub(crate) fn of(record: Option<&Record>) -> Self {
        Self(record.into_iter().flat_map(Record::heads).map(|head| head.id.short()).collect())
    }

    pub(crate) fn as_slice(&self) -> &[ShortId] {
        &self.0
    }
}

/// The last steps, oldest first, and the one that is being made.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// The number of the newest step that there ever was.
    last: u64,
    list: Vec<Step>,
    open: Option<Open>,
}

/// What a step has changed since it was last closed.
#[derive(Debug)]
struct Open {
    underway: Underway,
    touched: BTreeMap<LocationId, Heads>,
    rules: Policy,
}

impl Steps {
    pub(crate) fn list(&self) -> &[Step] {
        &self.list
    }

    /// Ends the step that is being made, without what it changed since it was last ended.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Notes the heads of a record that is about to be changed.
    pub(crate) fn note(&mut self, id: LocationId, record: Option<&Record>) {
        if let Some(open) = &mut self.open {
            open.touched.entry(id).or_insert_with(|| Heads::of(record));
        }
    }

    /// Returns the revisions of a record that steps name: these stay in its history.
    pub(crate) fn named(&self, id: &LocationId) -> BTreeSet<ShortId> {
        let changes = self.list.iter().filter_map(|step| step.changes.get(id));
        let heads = changes.flat_map(|change| [&change.before, &change.after]);
        let open = self.open.iter().filter_map(|open| open.touched.get(id));
        heads.chain(open).flat_map(|heads| heads.as_slice()).copied().collect()
    }

    /// Returns the step of this number, to be changed.
    pub(crate) fn step_mut(&mut self, number: u64) -> Option<&mut Step> {
        self.list.iter_mut().find(|step| step.number == number)
    }

    /// Marks a step as taken back, or as done again.
    pub(crate) fn set_undone(&mut self, number: u64, undone: bool) {
        let next = self.list.iter().map(|step| step.undone).max().unwrap_or(0) + 1;
        if let Some(step) = self.step_mut(number) {
            step.undone = if undone { next } else { 0 };
        }
    }

    /// Replaces heads in all steps by others that say the same.
    pub(crate) fn rename(&mut self, id: &LocationId, old: &Heads, new: &Heads) {
        for change in self.list.iter_mut().filter_map(|step| step.changes.get_mut(id)) {
            for heads in [&mut change.before, &mut change.after] {
                if heads == old {
                    heads.clone_from(new);
                }
            }
        }
    }

    /// Forgets what steps say of a record whose history is gone.
    pub(crate) fn purge(&mut self, id: &LocationId) {
        for change in self.list.iter_mut().filter_map(|step| step.changes.get_mut(id)) {
            *change = Change { purged: true, ..Change::default() };
        }
    }

    /// Takes a device's rules out of what steps would put back.
    pub(crate) fn revoke(&mut self, device: &DeviceId) {
        for (before, after) in self.list.iter_mut().filter_map(|step| step.rules.as_mut()) {
            before.revoke(device);
            after.revoke(device);
        }
        if let Some(open) = &mut self.open {
            open.rules.revoke(device);
        }
    }

    /// Returns the step that is being made, which is put into the list with its first change, and the steps that give way
    /// to it.
    fn of(&mut self, underway: &mut Underway) -> (u64, Vec<Step>) {
        let is_it = |step: &Step| {
            Some(step.number) == underway.number
                && (&step.word, step.time, step.undone) == (&underway.word, underway.time, 0)
        };
        if let Some(step) = self.list.iter().find(|step| is_it(step)) {
            return (step.number, Vec::new());
        }
        // What was taken back could be done again until now. A peer that writes ends that for nobody.
        let mut gone: Vec<Step> = match underway.served {
            true => Vec::new(),
            false => self.list.extract_if(.., |step| step.undone > 0).collect(),
        };
        self.last += 1;
        underway.number = Some(self.last);
        self.list.push(Step {
            number: self.last,
            time: underway.time,
            word: underway.word.clone(),
            served: underway.served,
            undone: 0,
            changes: BTreeMap::new(),
            rules: None,
        });
        if self.list.len() > STEPS {
            let served = self.list.iter().filter(|step| step.served).count();
            let oldest = self.list.iter().position(|step| served <= STEPS / 2 || step.served);
            gone.push(self.list.remove(oldest.unwrap_or(0)));
        }
        (self.last, gone)
    }
}

impl Stronghold {
    /// Begins a step, or goes on with one: what changes until [`Stronghold::end_step`] is a part of it. Without a step,
    /// changes can't be taken back by [`Stronghold::undo`].
    pub fn begin_step(&mut self, underway: Underway) {
        let rules = self.policy.clone();
        self.steps.open = Some(Open { underway, touched: BTreeMap::new(), rules });
    }

    /// Ends a step, for now or for good, and returns it; `None` if none was begun. A step that changed no record and no
    /// rule is none: it is not in the list, and no other falls out of it.
    pub fn end_step(&mut self) -> Option<Underway> {
        let Open { mut underway, touched, rules } = self.steps.open.take()?;
        let mut changed = touched;
        changed.retain(|id, before| *before != self.heads_at(id));
        if changed.is_empty() && rules == self.policy {
            return Some(underway);
        }
        let after: Vec<Heads> = changed.keys().map(|id| self.heads_at(id)).collect();
        let (number, gone) = self.steps.of(&mut underway);
        if let Some(step) = self.steps.step_mut(number) {
            for ((id, before), after) in changed.into_iter().zip(after) {
                let change = step.changes.entry(id).or_insert_with(|| Change { before, ..Change::default() });
                change.after = after;
            }
            step.changes.retain(|_, change| change.purged || change.before != change.after);
            if rules != self.policy {
                let before = step.rules.take().map_or(rules, |(before, _)| before);
                step.rules = Some((before, self.policy.clone()));
            }
        }
        gone.iter().flat_map(|step| step.changes.keys()).for_each(|id| self.trim_at(id, underway.time));
        Some(underway)
    }

    /// Returns the last steps, newest first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.list.iter().rev()
    }

    /// Returns the heads of the record at these ids.
    pub(crate) fn heads_at(&self, id: &LocationId) -> Heads {
        Heads::of(self.record(id).map(|(.., record)| record))
    }

    /// Lets go of what a record's history keeps for steps that are gone.
    fn trim_at(&mut self, id: &LocationId, now: u64) {
        let Self { clients, steps, .. } = self;
        let vault = clients.get_mut(&id.client).and_then(|client| client.vaults.get_mut(&id.vault));
        if let Some(record) = vault.and_then(|vault: &mut Vault| vault.records.get_mut(&id.record)) {
            record.trim(&steps.named(id), now);
        }
    }
}

/// A record's change as it is stored: its heads before and after, and whether what it names was purged.
type StoredChange = (RecordId, Heads, Heads, bool);

/// A step as it is stored: the records of a vault stand together, and heads are one byte string.
#[derive(Serialize, Deserialize)]
struct Stored {
    number: u64,
    time: u64,
    word: String,
    served: bool,
    undone: u64,
    vaults: Vec<(ClientId, VaultId, Vec<StoredChange>)>,
    rules: Option<(Policy, Policy)>,
}

impl From<&Step> for Stored {
    fn from(step: &Step) -> Self {
        let mut vaults: Vec<(ClientId, VaultId, Vec<_>)> = Vec::new();
        for (id, Change { before, after, purged }) in &step.changes {
            if vaults.last().is_none_or(|(client, vault, _)| (client, vault) != (&id.client, &id.vault)) {
                vaults.push((id.client, id.vault, Vec::new()));
            }
            if let Some((.., records)) = vaults.last_mut() {
                records.push((id.record, before.clone(), after.clone(), *purged));
            }
        }
        Self {
            number: step.number,
            time: step.time,
            word: step.word.clone(),
            served: step.served,
            undone: step.undone,
            vaults,
            rules: step.rules.clone(),
        }
    }
}

impl From<Stored> for Step {
    fn from(mut stored: Stored) -> Self {
        let vaults = mem::take(&mut stored.vaults).into_iter();
        let changes = vaults.flat_map(|(client, vault, records)| {
            records.into_iter().map(move |(record, before, after, purged)| {
                (LocationId { client, vault, record }, Change { before, after, purged })
            })
        });
        Self {
            number: stored.number,
            time: stored.time,
            word: stored.word,
            served: stored.served,
            undone: stored.undone,
            changes: changes.collect(),
            rules: stored.rules,
        }
    }
}

impl Serialize for Steps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list: Vec<Stored> = self.list.iter().map(Stored::from).collect();
        (self.last, list).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Steps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (last, list) = <(u64, Vec<Stored>)>::deserialize(deserializer)?;
        let list: Vec<Step> = list.into_iter().map(Step::from).collect();
        let in_order = list.is_sorted_by(|one, next| one.number < next.number);
        if !in_order || list.len() > STEPS || list.last().is_some_and(|step| step.number > last) {
            return Err(D::Error::custom("steps that are not in order, or too many"));
        }
        Ok(Self { last, list, open: None })
    }
}

impl Serialize for Heads {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|id| *id.as_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Heads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        let (ids, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(D::Error::custom("short ids that are cut"));
        }
        Ok(Self(ids.iter().map(|id| ShortId::from_bytes(*id)).collect()))
    }
}
