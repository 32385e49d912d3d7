//! Steps: the changes of the last commands, as each record's heads before and after, for undo and
//! redo. The list is part of the Stronghold and so of its snapshot. The values come from the
//! history, which keeps every revision that a step names.

mod delta;
mod recording;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

pub(crate) use delta::StepsDelta;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use stronghold_sync::{ClientId, DeviceId, LocationId, Policy, RecordId, ShortId, Timestamp, VaultId};

use crate::record::Record;

/// Maximum number of steps in the list.
pub const STEPS: usize = 16;

/// The step in progress: everything that one command, one sync or one served session changes, over
/// any number of commits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the next change of the same step needs it"]
pub struct PendingStep {
    word: String,
    time: Timestamp,
    served: bool,
    /// Number of the step, assigned with its first change.
    number: Option<u64>,
}

impl PendingStep {
    /// Creates the step of a command, labelled with the command's name, that begins at `now`
    /// (milliseconds since 1970).
    pub fn command(word: &str, now: Timestamp) -> Self {
        Self { word: word.into(), time: now, served: false, number: None }
    }

    /// Creates the step of a session that a peer requested. Served steps never push all of the
    /// owner's own steps out of the list, however many there are.
    pub fn served(word: &str, now: Timestamp) -> Self {
        Self { served: true, ..Self::command(word, now) }
    }
}

/// One of the last steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    number: u64,
    time: Timestamp,
    word: String,
    served: bool,
    /// Position of the step among all undone ones, in order of undoing; `0` if it is not undone.
    undone: u64,
    changes: BTreeMap<LocationId, Change>,
    /// The policy before and after, if the step changed it.
    rules: Option<(Policy, Policy)>,
}

impl Step {
    /// Returns the step's number. Each later step has a greater number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the start time, in milliseconds since 1970.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Returns the name of the command.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// Returns the number of records that the step changed.
    pub fn records(&self) -> usize {
        self.changes.len()
    }

    /// Returns whether the step changed the rules for peers.
    pub fn changed_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Returns whether the step is undone.
    pub fn is_undone(&self) -> bool {
        self.undone > 0
    }

    /// Returns the step's position among all undone ones; `0` if it is not undone.
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

/// The change of one record by a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) before: Heads,
    pub(crate) after: Heads,
    /// Set if a revision that the change names was removed for good.
    pub(crate) purged: bool,
}

/// The short ids of a record's heads, in order; empty if the record did not exist.
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

/// The last steps, oldest first, and the step in progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    /// Number of the newest step ever made.
    last: u64,
    list: Vec<Arc<Step>>,
    open: Option<OpenStep>,
}

/// The changes of the step in progress since it was last closed.
#[derive(Clone, Debug)]
struct OpenStep {
    pending: PendingStep,
    touched: BTreeMap<LocationId, Heads>,
    rules: Policy,
}

impl Steps {
    pub(crate) fn list(&self) -> &[Arc<Step>] {
        &self.list
    }

    /// Closes the step in progress and discards its changes since it was last closed.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Notes the heads of a record that is about to change.
    pub(crate) fn note(&mut self, id: LocationId, record: Option<&Record>) {
        if let Some(open) = &mut self.open {
            open.touched.entry(id).or_insert_with(|| Heads::of(record));
        }
    }

    /// Returns the revisions of a record that steps name. They stay in its history.
    pub(crate) fn named(&self, id: &LocationId) -> BTreeSet<ShortId> {
        let changes = self.list.iter().filter_map(|step| step.changes.get(id));
        let heads = changes.flat_map(|change| [&change.before, &change.after]);
        let open = self.open.iter().filter_map(|open| open.touched.get(id));
        heads.chain(open).flat_map(|heads| heads.as_slice()).copied().collect()
    }

    /// Returns the changes of a record by all steps, mutably.
    fn changes_of(&mut self, id: &LocationId) -> impl Iterator<Item = &mut Change> {
        let steps = self.list.iter_mut().filter(|step| step.changes.contains_key(id));
        steps.filter_map(|step| Arc::make_mut(step).changes.get_mut(id))
    }

    /// Returns these steps, if they are in order and not too many.
    fn checked(last: u64, list: Vec<Arc<Step>>) -> Option<Self> {
        let in_order = list.is_sorted_by(|one, next| one.number < next.number);
        let is_fine = in_order && list.len() <= STEPS && list.last().is_none_or(|step| step.number <= last);
        is_fine.then_some(Self { last, list, open: None })
    }

    /// Returns the step with this number, mutably.
    pub(crate) fn step_mut(&mut self, number: u64) -> Option<&mut Step> {
        self.list.iter_mut().find(|step| step.number == number).map(Arc::make_mut)
    }

    /// Marks a step as undone or redone.
    pub(crate) fn set_undone(&mut self, number: u64, undone: bool) {
        let next = self.list.iter().map(|step| step.undone).max().unwrap_or(0) + 1;
        if let Some(step) = self.step_mut(number) {
            step.undone = if undone { next } else { 0 };
        }
    }

    /// Replaces `old` heads of a record by `new` ones of equal content, in all steps.
    pub(crate) fn rename(&mut self, id: &LocationId, old: &Heads, new: &Heads) {
        for change in self.changes_of(id) {
            for heads in [&mut change.before, &mut change.after] {
                if heads == old {
                    heads.clone_from(new);
                }
            }
        }
    }

    /// Forgets the changes of a record whose history was purged.
    pub(crate) fn purge(&mut self, id: &LocationId) {
        for change in self.changes_of(id) {
            *change = Change { purged: true, ..Change::default() };
        }
    }

    /// Removes a device's rules from the policies that steps would restore.
    pub(crate) fn revoke(&mut self, device: &DeviceId) {
        for (before, after) in self
            .list
            .iter_mut()
            .filter(|step| step.rules.is_some())
            .filter_map(|step| Arc::make_mut(step).rules.as_mut())
        {
            before.revoke(device);
            after.revoke(device);
        }
        if let Some(open) = &mut self.open {
            open.rules.revoke(device);
        }
    }

    /// Returns the number of the step in progress, which enters the list with its first change, and
    /// the steps that leave the list for it.
    fn of(&mut self, underway: &mut PendingStep) -> (u64, Vec<Arc<Step>>) {
        let is_it = |step: &Arc<Step>| {
            Some(step.number) == underway.number
                && (&step.word, step.time, step.undone) == (&underway.word, underway.time, 0)
        };
        if let Some(step) = self.list.iter().find(|step| is_it(step)) {
            return (step.number, Vec::new());
        }
        // A new step ends the possibility of redo. A served step does not: a peer must not take it
        // away.
        let mut gone: Vec<Arc<Step>> = match underway.served {
            true => Vec::new(),
            false => self.list.extract_if(.., |step| step.undone > 0).collect(),
        };
        self.last += 1;
        underway.number = Some(self.last);
        self.list.push(Arc::new(Step {
            number: self.last,
            time: underway.time,
            word: underway.word.clone(),
            served: underway.served,
            undone: 0,
            changes: BTreeMap::new(),
            rules: None,
        }));
        if self.list.len() > STEPS {
            let served = self.list.iter().filter(|step| step.served).count();
            let oldest = self.list.iter().position(|step| served <= STEPS / 2 || step.served);
            gone.push(self.list.remove(oldest.unwrap_or(0)));
        }
        (self.last, gone)
    }
}

/// The stored form of a record's change: heads before and after, and the purged flag.
type StoredChange = (RecordId, Heads, Heads, bool);

/// The stored form of a step. Records are grouped by vault, and heads are one byte string.
#[derive(Serialize, Deserialize)]
struct Stored {
    number: u64,
    time: Timestamp,
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
        let list: Vec<Stored> = self.list.iter().map(|step| Stored::from(&**step)).collect();
        (self.last, list).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Steps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (last, list) = <(u64, Vec<Stored>)>::deserialize(deserializer)?;
        Self::checked(last, list.into_iter().map(|step| Arc::new(step.into())).collect())
            .ok_or_else(|| D::Error::custom("steps that are not in order, or too many"))
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

#[cfg(test)]
mod tests {
    use stronghold_sync::{Location, Operation, Rule, Selection};

    use super::*;
    use crate::ages::ms;
    use crate::{DecodeError, Labels, RulesOutcome, Stronghold, UndoReport, UndoSkipReason};

    fn at(text: &str) -> Location {
        text.parse().unwrap()
    }

    fn put(held: &mut Stronghold, location: &str, value: &str) {
        held.write(&at(location), value.as_bytes(), Labels::new(), ms(1)).unwrap();
    }

    fn grant(held: &mut Stronghold, device: u8) {
        held.policy.grant(Rule {
            device: DeviceId::from_bytes([device; 32]),
            operations: [Operation::Pull].into(),
            selection: Selection::everything(),
            expires: None,
            ask: false,
        });
    }

    /// A step of this number that changed nothing.
    fn empty(number: u64, served: bool) -> Arc<Step> {
        let (time, word, changes) = (ms(1), String::from("put"), BTreeMap::new());
        Arc::new(Step { number, time, word, served, undone: 0, changes, rules: None })
    }

    fn load(last: u64, list: Vec<Arc<Step>>) -> Option<Steps> {
        let stored = rmp_serde::to_vec(&Steps { last, list, open: None }).unwrap();
        rmp_serde::from_slice(&stored).ok()
    }

    fn numbers(steps: &Steps) -> Vec<u64> {
        steps.list.iter().map(|step| step.number).collect()
    }

    #[test]
    fn steps_are_stored_whole_and_only_in_order_and_no_more_than_there_may_be() {
        let mut held = Stronghold::new("here").unwrap();
        held.begin_step(PendingStep::served("serve: phone", ms(5)));
        ["a/v/1", "a/v/2", "a/w/1", "b/v/1"].into_iter().for_each(|name| put(&mut held, name, "one"));
        held.end_step();
        held.begin_step(PendingStep::command("grant", ms(7)));
        put(&mut held, "a/v/1", "two");
        grant(&mut held, 1);
        held.end_step();
        held.undo(ms(8)).unwrap();
        held.purge(&"a/v/1".parse().unwrap());
        let loaded = load(held.steps.last, held.steps.list.clone()).unwrap();
        assert_eq!((loaded.last, &loaded.list), (2, &held.steps.list));
        let told: Vec<_> = held
            .steps()
            .map(|step| (step.number(), step.time(), step.word(), step.records(), step.changed_rules()))
            .collect();
        assert_eq!(told, [(2, ms(7), "grant", 1, true), (1, ms(5), "serve: phone", 4, false)]);
        assert_eq!(held.steps().map(Step::is_undone).collect::<Vec<_>>(), [true, false]);

        let list = |numbers: &[u64]| numbers.iter().map(|number| empty(*number, false)).collect::<Vec<_>>();
        let most: Vec<u64> = (1..=STEPS as u64).collect();
        assert_eq!(load(16, list(&most)).map(|steps| numbers(&steps)), Some(most));
        assert!(
            load(9, list(&[2, 4])).is_some() && load(4, list(&[2, 4])).is_some() && load(0, vec![]).is_some()
        );
        let many: Vec<u64> = (1..=STEPS as u64 + 1).collect();
        for (last, numbers) in [(3, &[2, 4][..]), (9, &[4, 2]), (9, &[2, 2]), (99, &many)] {
            assert!(load(last, list(numbers)).is_none(), "{numbers:?}");
        }
        let heads = |bytes: &[u8]| {
            rmp_serde::from_slice::<Heads>(&rmp_serde::to_vec(serde_bytes::Bytes::new(bytes)).unwrap()).ok()
        };
        let short = |byte| ShortId::from_bytes([byte; 8]);
        assert_eq!(heads(&[[1; 8], [2; 8]].concat()), Some(Heads([short(1), short(2)].into())));
        assert_eq!((heads(&[]), heads(&[1; 15])), (Some(Heads::default()), None));
    }

    #[test]
    fn of_seventeen_steps_the_oldest_gives_way_or_the_oldest_of_many_that_were_served() {
        let half = STEPS as u64 / 2;
        let of = |is_served: fn(u64) -> bool| {
            let list = (1..=STEPS as u64).map(|number| empty(number, is_served(number))).collect();
            let mut steps = Steps { last: 20, list, open: None };
            let (number, gone) = steps.of(&mut PendingStep::command("new", ms(1)));
            assert_eq!((number, steps.last, steps.list.len()), (21, 21, STEPS));
            assert_eq!(steps.list.last().map(|step| (step.number, step.word.as_str())), Some((21, "new")));
            gone.iter().map(|step| step.number).collect::<Vec<_>>()
        };
        assert_eq!(half, 8);
        assert_eq!(of(|_| false), [1]);
        assert_eq!(of(|number| number > 8), [1], "half of them may be served");
        assert_eq!(of(|number| number > 7), [8]);
        let mut steps =
            Steps { last: 15, list: (1..=15).map(|number| empty(number, false)).collect(), open: None };
        assert_eq!(steps.of(&mut PendingStep::served("serve", ms(1))), (16, vec![]));
        assert!(steps.list[15].served);
    }

    #[test]
    fn a_step_goes_on_only_where_it_is_that_very_step_and_what_was_taken_back_goes_with_a_new_one() {
        let list = |undone: u64| {
            [1, 2].map(|number| Arc::new(Step { undone, ..(*empty(number, false)).clone() })).to_vec()
        };
        let of = |undone: u64, mut underway: PendingStep| {
            let mut steps = Steps { last: 2, list: list(undone), open: None };
            let (number, gone) = steps.of(&mut underway);
            assert_eq!(underway.number, Some(number));
            (number, gone.len(), numbers(&steps))
        };
        let it = |word: &str, time, number| PendingStep { number, ..PendingStep::command(word, time) };
        assert_eq!(of(0, it("put", ms(1), Some(1))), (1, 0, vec![1, 2]));
        for other in [
            it("put", ms(1), None),
            it("put", ms(1), Some(9)),
            it("put", ms(2), Some(1)),
            it("rm", ms(1), Some(1)),
        ] {
            assert_eq!(of(0, other), (3, 0, vec![1, 2, 3]));
        }
        assert_eq!(of(3, it("put", ms(1), Some(1))), (3, 2, vec![3]), "it was taken back meanwhile");
        assert_eq!(
            of(3, PendingStep::served("serve", ms(1))),
            (3, 0, vec![1, 2, 3]),
            "a peer ends that for nobody"
        );
    }

    #[test]
    fn a_step_names_what_it_found_first_and_what_it_left_last_and_the_history_keeps_that() {
        let mut held = Stronghold::new("here").unwrap();
        let id = at("c/v/r").id();
        put(&mut held, "c/v/r", "before");
        let before = held.heads_at(&id);
        held.begin_step(PendingStep::command("import", ms(5)));
        (0..30).for_each(|n| put(&mut held, "c/v/r", &n.to_string()));
        let first = held.steps.named(&id);
        assert_eq!(first, before.as_slice().iter().copied().collect(), "also while it is made");
        let underway = held.end_step().unwrap();
        let between = held.heads_at(&id);
        assert_eq!(
            held.steps.named(&id),
            [before.as_slice(), between.as_slice()].concat().into_iter().collect()
        );
        held.begin_step(underway);
        (0..30).for_each(|n| put(&mut held, "c/v/r", &n.to_string()));
        held.end_step();
        let change = Change { before, after: held.heads_at(&id), purged: false };
        assert_eq!(held.steps.list[0].changes, BTreeMap::from([(id, change)]));
        assert_eq!(held.steps.named(&at("c/v/other").id()), BTreeSet::new());
        assert_eq!(held.end_step(), None);
        held.undo(ms(9)).unwrap();
        assert_eq!(&**held.read(&at("c/v/r")).unwrap().revision.value, b"before");
    }

    #[test]
    fn the_rules_before_a_step_are_those_before_its_first_part() {
        let mut held = Stronghold::new("here").unwrap();
        grant(&mut held, 1);
        let before = held.policy.clone();
        let mut underway = PendingStep::command("grant", ms(5));
        for device in 2..4 {
            held.begin_step(underway);
            grant(&mut held, device);
            underway = held.end_step().unwrap();
        }
        let after = held.policy.clone();
        assert_eq!(held.steps.list[0].rules, Some((before.clone(), after.clone())));
        let moved = |rules| {
            let word = String::from("grant");
            UndoReport { number: 1, time: ms(5), word, records: vec![], skipped: vec![], rules }
        };
        assert_eq!(held.would_redo(), None);
        assert_eq!(held.undo(ms(9)), Ok(Some(moved(RulesOutcome::PutBack))));
        assert_eq!(held.policy, before);
        assert_eq!(held.would_undo(), None);
        assert_eq!(held.redo(ms(9)), Ok(Some(moved(RulesOutcome::PutBack))));
        assert_eq!(held.policy, after);
        grant(&mut held, 9);
        let since = held.policy.clone();
        assert_eq!(held.undo(ms(9)), Ok(Some(moved(RulesOutcome::ChangedSince))));
        assert_eq!(held.policy, since);
    }

    #[test]
    fn a_revoked_device_is_taken_out_of_the_step_that_is_being_made_too() {
        let mut held = Stronghold::new("here").unwrap();
        grant(&mut held, 1);
        grant(&mut held, 2);
        held.begin_step(PendingStep::command("revoke", ms(5)));
        assert_eq!(held.revoke(&DeviceId::from_bytes([1; 32]), ms(6)), 1);
        assert_eq!(held.end_step(), Some(PendingStep::command("revoke", ms(5))), "it can't be taken back");
        assert!(held.steps.list.is_empty());
    }

    #[test]
    fn neither_undo_nor_redo_gives_a_revoked_device_a_rule_back() {
        let mut held = Stronghold::new("here").unwrap();
        grant(&mut held, 2);
        let kept = held.policy.clone();
        grant(&mut held, 1);
        for device in [3, 4] {
            held.begin_step(PendingStep::command("grant", ms(5)));
            grant(&mut held, device);
            held.end_step();
        }
        for (device, rules) in [(1, 1), (4, 1)] {
            assert_eq!(held.revoke(&DeviceId::from_bytes([device; 32]), ms(6)), rules);
        }
        let devices = |held: &Stronghold| held.policy.rules().map(|rule| rule.device).collect::<Vec<_>>();
        let [two, three] = [2, 3].map(|device| DeviceId::from_bytes([device; 32]));
        for _ in 0..2 {
            assert_eq!(held.undo(ms(7)).unwrap().unwrap().rules, RulesOutcome::PutBack);
            assert_eq!(devices(&held), [two, three]);
            assert_eq!(held.undo(ms(7)).unwrap().unwrap().rules, RulesOutcome::PutBack);
            assert_eq!(held.policy.rules().collect::<Vec<_>>(), kept.rules().collect::<Vec<_>>());
            for _ in 0..2 {
                assert_eq!(held.redo(ms(8)).unwrap().unwrap().rules, RulesOutcome::PutBack);
                assert_eq!(devices(&held), [two, three]);
            }
        }
    }

    #[test]
    fn steps_differ_if_one_is_new_or_gone_or_a_later_one_was_made() {
        let of = |last, list: &[Arc<Step>]| Steps { last, list: list.to_vec(), open: None };
        let list = [empty(1, false), empty(2, true)];
        let before = of(2, &list);
        assert!(StepsDelta::new(&before, &of(2, &list)).is_none());
        let equal = list.clone().map(|step| Arc::new((*step).clone()));
        assert!(StepsDelta::new(&before, &of(2, &equal)).is_none());
        let changed = [list[0].clone(), Arc::new(Step { undone: 1, ..(*list[1]).clone() })];
        for now in [of(3, &list), of(2, &list[..1]), of(2, &list[1..]), of(2, &changed)] {
            let delta = rmp_serde::to_vec(&StepsDelta::new(&before, &now).unwrap()).unwrap();
            let mut applied = before.clone();
            applied.apply(rmp_serde::from_slice(&delta).unwrap()).unwrap();
            assert_eq!((applied.last, applied.list), (now.last, now.list));
        }
        let gone = StepsDelta::new(&before, &of(3, &list)).unwrap();
        assert_eq!(of(1, &list[..1]).apply(gone).unwrap_err(), DecodeError);
    }

    #[test]
    fn a_step_of_many_commits_is_stored_with_each_by_what_that_changes() {
        let mut held = Stronghold::new("here").unwrap();
        let mut stored = Stronghold::from_payload(&held.to_payload().unwrap()).unwrap();
        let mut step = PendingStep::served("mailbox: phone", ms(5));
        let mut sizes = Vec::new();
        // The last part changes some records again, and the rules.
        for part in [0..500, 500..1_000, 1_000..1_500, 0..3] {
            held.begin_changes();
            held.begin_step(step);
            part.clone().for_each(|n| put(&mut held, &format!("c/v/{n}"), &format!("{n} {part:?}")));
            if part.len() == 3 {
                grant(&mut held, 2);
            }
            step = held.end_step().unwrap();
            let before = stored.steps.clone();
            let delta = StepsDelta::new(&before, &held.steps).unwrap();
            sizes.push(rmp_serde::to_vec(&delta).unwrap().len());
            stored.apply_changes(&held.changes().unwrap()).unwrap();
            held.keep_changes();
            assert_eq!(stored.steps.list, held.steps.list);
        }
        assert!(sizes[2] < sizes[0] * 11 / 10 && sizes[3] < sizes[0] / 10, "{sizes:?}");
        // A step that lacks a change of before is stored as a whole.
        let mut fewer = held.steps.clone();
        Arc::make_mut(&mut fewer.list[0]).changes.pop_first();
        let delta = StepsDelta::new(&held.steps, &fewer).unwrap();
        let mut applied = held.steps.clone();
        applied.apply(delta).unwrap();
        assert_eq!(applied.list, fewer.list);
        assert_eq!(held.steps().next().unwrap().records(), 1_500);
    }

    #[test]
    fn what_changes_no_head_is_no_step() {
        let mut held = Stronghold::new("here").unwrap();
        put(&mut held, "c/v/r", "one");
        let shapes = held.named_shapes(&Selection::everything());
        let wanted = [shapes[0].1.entry()].into();
        let entries =
            held.export_mapped(&Selection::everything(), &stronghold_sync::Mapping::default(), &wanted);
        held.begin_step(PendingStep::command("sync", ms(5)));
        let report =
            held.import(&entries.unwrap(), DeviceId::from_bytes([1; 32]), ms(2), |_, _, _| Ok(())).unwrap();
        assert_eq!((report.known, report.received), (1, 0));
        assert_eq!(held.end_step(), Some(PendingStep::command("sync", ms(5))));
        assert_eq!((held.steps.last, held.steps.list.len()), (0, 0));
    }

    #[test]
    fn a_step_that_is_being_made_ends_where_another_is_taken_back() {
        let mut held = Stronghold::new("here").unwrap();
        held.begin_step(PendingStep::command("put", ms(5)));
        put(&mut held, "c/v/r", "one");
        held.end_step();
        held.begin_step(PendingStep::command("other", ms(6)));
        assert_eq!(held.undo(ms(7)).unwrap().map(|moved| moved.word), Some("put".into()));
        put(&mut held, "c/v/s", "in no step");
        assert_eq!((held.end_step(), held.steps.list.len()), (None, 1));
        assert_eq!(held.undo(ms(8)), Ok(None));
    }

    #[test]
    fn what_a_step_would_write_and_is_gone_is_left() {
        let mut held = Stronghold::new("here").unwrap();
        for value in ["one", "two", "three"] {
            held.begin_step(PendingStep::command("put", ms(5)));
            put(&mut held, "c/v/r", value);
            put(&mut held, "c/v/s", value);
            held.end_step();
        }
        let id = at("c/v/r").id();
        let record = held.vault_mut(&id).and_then(|vault| vault.records.get_mut(&id.record)).unwrap();
        assert_eq!(record.clear_history(), 2); // as if what steps name had not been kept
        let moved = held.undo(ms(9)).unwrap().unwrap();
        assert_eq!(
            (moved.records, moved.skipped),
            (vec![at("c/v/s")], vec![(at("c/v/r"), UndoSkipReason::Purged)])
        );
        assert_eq!(moved.rules, RulesOutcome::Untouched);
        assert_eq!(&**held.read(&at("c/v/r")).unwrap().revision.value, b"three");
    }

    #[test]
    fn what_was_taken_back_is_done_again_in_turn() {
        let mut steps =
            Steps { last: 3, list: (1..=3).map(|number| empty(number, false)).collect(), open: None };
        let undone = |steps: &Steps| steps.list.iter().map(|step| step.undone()).collect::<Vec<_>>();
        steps.set_undone(3, true);
        steps.set_undone(1, true);
        assert_eq!(undone(&steps), [2, 0, 1]);
        steps.set_undone(3, false);
        steps.set_undone(2, true);
        steps.set_undone(9, true);
        assert_eq!(undone(&steps), [2, 3, 0]);
        let mut held = Stronghold::new("here").unwrap();
        held.steps = steps;
        assert_eq!(held.would_redo().map(|moved| moved.number), Some(2));
        assert_eq!(held.would_undo().map(|moved| moved.number), Some(3));
    }
}
