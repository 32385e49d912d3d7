//! Two and three Strongholds under all operations: edited, merged, synced by sessions that are
//! cut, restored, copied and crashed, against a model of the revisions that each has seen.
//!
//! The promises, checked after every operation and once more when all are connected at the end:
//!
//! - A replica's heads are exactly the seen revisions that no seen writer who knew them has
//!   replaced. So no value is lost: each is a head, or was replaced by a writer who had seen it.
//!   And no deleted record returns: a readable value's writer had not seen a deletion made on top
//!   of it.
//! - A revision replaces exactly the revisions of the record that its writer had seen, and its list
//!   names exactly these on every replica, also after it was sent.
//! - All replicas hold the same heads after one round of sessions between all pairs, and after at
//!   most two through the one in the middle; a further round moves nothing.
//! - A session takes exactly what the rules of both sides cover, for values and deletions
//!   separately, whichever side initiates it. Only an explicit request of the initiator takes
//!   more.
//! - A revision is shown with the time of its writing; a delivered one with at most its arrival
//!   time.
//! - Nothing of the client that is granted to nobody is in a shape, a message or a batch; it
//!   moves only with a copied file.
//!
//! A replica has seen the revisions that were merged into its present state. A crash, a restored
//! backup, a replaced file and a new device reset it to what that state had seen: a value that
//! only the previous state held is gone by definition, and a replacement that only it knew is
//! undone.
//!
//! `STRONGHOLD_EFFORT=cases=100000,seed=7` runs longer (1,000 cases of each test at full effort) and
//! with other cases. Salts come from the system, so revision ids differ from run to run; the
//! operations of a seed do not.

pub(crate) mod link;
mod outline;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    common::{at, ms},
    effort,
};
use link::{Allowed, File, GRANTED, Outcome, PAIR, PRIVATE, Replica, Seen, key, run, select};
use outline::{CLEAN, COMPLETE, FORKED, Outline, RECORDS, REMOVED, SELECTIONS, Transition, Way};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{RngSeed, TestRunner},
};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use stronghold_sync::{
    Ancestors, Decision, EntryId, Location, Mapping, OnConflict, Operation, PlanOptions, RevisionId, Scope,
    Selection, Shape, ShortId,
    message::Refusal,
    plan,
    session::{Consent, Push, SessionError, SessionRequest, SyncOptions, Take},
};
use stronghold_vault::{ExportError, Labels, RejectReason, Stronghold};

const SEED: u64 = 0x4d_4f44_454c;
const CASES: u64 = 1000;
const OPERATIONS: usize = 60; // at most as many as `Seen` has bits

#[test]
fn two_replicas_keep_the_promises() {
    check::<2, COMPLETE>();
}

#[test]
fn three_replicas_keep_the_promises() {
    check::<3, COMPLETE>();
}

#[test]
fn replicas_that_forget_what_all_have_passed_keep_the_promises() {
    check::<2, CLEAN>();
    check::<3, CLEAN>();
}

#[test]
fn replicas_that_remove_deletions_that_all_have_keep_the_promises() {
    check::<2, REMOVED>();
    check::<3, REMOVED>();
}

#[test]
fn replicas_that_forget_and_are_restored_and_copied_lose_nothing() {
    check::<3, FORKED>();
}

fn check<const N: usize, const MODE: u8>() {
    let seed = effort::given("seed").unwrap_or(SEED);
    let cases = effort::count("cases", CASES) as u32;
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    };
    let strategy = Outline::<N, MODE>::sequential_strategy(OPERATIONS);
    let ran = TestRunner::new(config.clone()).run(&strategy, |(outline, transitions, applied)| {
        World::<N, MODE>::test_sequential(config.clone(), outline, transitions, applied);
        Ok(())
    });
    if let Err(failure) = ran {
        panic!("STRONGHOLD_EFFORT=cases={cases},seed={seed}: {failure}");
    }
}

/// A written revision: its value (`None` for a deletion), and all revisions of the record that its
/// writer had seen.
#[derive(Debug)]
struct Written {
    record: usize,
    value: Option<u8>,
    seen: Seen,
    time: u64,
    /// The times at which it may have reached another replica.
    came: BTreeSet<u64>,
}

/// The replicas, and the model that checks them.
struct World<const N: usize, const MODE: u8> {
    replicas: [Replica; N],
    backups: [Vec<File>; N],
    written: Vec<Written>,
    numbers: BTreeMap<RevisionId, usize>,
    shorts: BTreeMap<ShortId, usize>,
    locations: [Location; RECORDS.len()],
    /// The replicas that the last operation may have changed.
    touched: Vec<usize>,
    sessions: u8,
    now: u64,
}

impl<const N: usize, const MODE: u8> StateMachineTest for World<N, MODE> {
    type SystemUnderTest = Self;
    type Reference = Outline<N, MODE>;

    fn init_test(_: &Outline<N, MODE>) -> Self {
        Self {
            replicas: std::array::from_fn(|number| Replica::forgetting(number, N, MODE)),
            backups: std::array::from_fn(|_| Vec::new()),
            written: Vec::new(),
            numbers: BTreeMap::new(),
            shorts: BTreeMap::new(),
            locations: RECORDS.map(at),
            touched: Vec::new(),
            sessions: 0,
            now: 0,
        }
    }

    fn apply(mut world: Self, _: &Outline<N, MODE>, transition: Transition) -> Self {
        // The clocks of the replicas disagree and run backwards: nothing may depend on them.
        world.now = world.now.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        world.touched.clear();
        world.take_step(transition);
        world
    }

    fn check_invariants(world: &Self, _: &Outline<N, MODE>) {
        world.touched.iter().for_each(|replica| world.check(*replica));
    }

    fn teardown(mut world: Self, outline: Outline<N, MODE>) {
        let mut links = outline.links;
        let through_the_middle = outline.through_the_middle && N > 2;
        links.retain(|(a, b)| !through_the_middle || a.abs_diff(*b) == 1);
        for (on, peer) in (0..N).flat_map(|on| (0..N).map(move |peer| (on, peer))) {
            world.replicas[on].allow(peer, Allowed::ALL);
        }
        let rounds = if through_the_middle { 2 } else { 1 };
        (0..rounds).for_each(|_| world.connect(&links));
        world.check_converged();
        if MODE == REMOVED {
            return; // a deletion that one has removed and the other has not is sent again
        }
        for (asking, asked) in links {
            let again = world.sync(asking, asked, &Selection::everything(), Way::Both, false, None);
            let moved =
                [again.0, again.1].map(|end| end.unwrap().map(|summary| (summary.received, summary.sent)));
            assert_eq!(moved, [Ok((0, 0)); 2], "a further round moves nothing");
        }
    }
}

impl<const N: usize, const MODE: u8> World<N, MODE> {
    fn take_step(&mut self, transition: Transition) {
        match transition {
            Transition::Write { on, record, value } => {
                self.replicas[on].next_generation();
                let stronghold = &mut self.replicas[on].stronghold;
                let id = stronghold.write(&self.locations[record], &[value], Labels::new(), ms(self.now));
                self.note(on, record, id.unwrap(), Some(value));
            }
            Transition::Remove { on, record } => {
                let readable = bits(self.heads(on, record)).any(|head| self.written[head].value.is_some());
                self.replicas[on].next_generation();
                let removed = self.replicas[on].stronghold.remove(&self.locations[record], ms(self.now));
                assert_eq!(removed.is_ok(), readable, "{removed:?}");
                if let Ok(id) = removed {
                    self.note(on, record, id, None);
                }
            }
            Transition::Resolve { on, record, keep } => self.resolve(on, record, keep),
            Transition::Commit { on } => drop(self.replicas[on].commit()),
            Transition::BackUp { on } => self.backups[on].push(self.replicas[on].commit()),
            Transition::Merge { into, from } => self.merge(into, from),
            Transition::Sync { asking, asked, selection, way, take, cut } => {
                self.sync(asking, asked, &select(SELECTIONS[selection]), way, take, cut);
            }
            Transition::Rule { on, peer, allowed } => self.replicas[on].allow(peer, allowed),
            Transition::Import { into, from, fresh, cut } => {
                if fresh {
                    self.replicas[into].replace(N);
                }
                self.import(into, from, cut);
            }
            Transition::Restore { on, backup } => {
                self.replicas[on].load(backup.get(&self.backups[on]));
                self.touched.push(on);
            }
            Transition::Copy { from, over } => {
                let file = self.replicas[from].commit();
                self.replicas[over].load(&file);
                self.touched.push(over);
            }
            Transition::Crash { on } => {
                self.replicas[on].crash();
                self.touched.push(on);
            }
        }
    }

    fn resolve(&mut self, on: usize, record: Index, keep: Index) {
        let heads = |record: usize| bits(self.heads(on, record)).collect::<Vec<_>>();
        let conflicts: Vec<usize> = (0..RECORDS.len()).filter(|record| heads(*record).len() > 1).collect();
        if conflicts.is_empty() {
            return;
        }
        let record = *record.get(&conflicts);
        let heads = heads(record);
        let kept = *keep.get(&heads);
        let (id, _) = self.numbers.iter().find(|(_, number)| **number == kept).unwrap();
        self.replicas[on].next_generation();
        let id = self.replicas[on].stronghold.resolve(&self.locations[record], id, ms(self.now)).unwrap();
        self.note(on, record, id, self.written[kept].value);
    }

    /// Notes a revision that a replica has written, and checks that it replaces exactly what the
    /// replica had seen.
    fn note(&mut self, on: usize, record: usize, id: RevisionId, value: Option<u8>) {
        let number = self.written.len();
        let seen = self.replicas[on].seen & self.of_records(|location| *location == self.locations[record]);
        let revision = self.replicas[on].stronghold.read_revision(&self.locations[record], &id).unwrap();
        let (named, parents) = (self.named(&revision.ancestors), self.kept(self.heads(on, record)));
        match MODE {
            COMPLETE => assert_eq!(named, seen, "it replaces what its writer saw"),
            _ => assert!(named & !seen == 0 && parents & !named == 0, "it replaces what its writer knew"),
        }
        assert!(self.numbers.insert(id, number).is_none(), "no id is given twice");
        assert!(self.shorts.insert(id.short(), number).is_none());
        self.written.push(Written { record, value, seen, time: self.now, came: BTreeSet::new() });
        self.replicas[on].seen |= 1 << number;
        self.touched.push(on);
    }

    /// Returns the revisions that a list names.
    fn named(&self, list: &Ancestors) -> Seen {
        list.as_slice().iter().fold(0, |all, short| all | 1 << self.shorts[short])
    }

    /// Local sync of granted records, by the owner of both replicas.
    fn merge(&mut self, into: usize, from: usize) {
        let gains = self.gains(from, &Selection::everything());
        self.came(gains);
        self.replicas[into].next_generation();
        let [target, source] = self.replicas.get_disjoint_mut([into, from]).unwrap();
        let scope = Scope::of(select(GRANTED));
        let export = |stronghold: &Stronghold, wanted: &BTreeSet<EntryId>| {
            stronghold.export_mapped(&select(GRANTED), &Mapping::default(), wanted)
        };
        let theirs = source.stronghold.shapes(&scope, &Mapping::default());
        let own = target.stronghold.shapes(&scope, &Mapping::default());
        let rules = PlanOptions { take: true, give: false, on_conflict: OnConflict::KeepBoth };
        let wanted: BTreeSet<EntryId> = plan(&own, &theirs, rules).take.iter().map(Shape::entry).collect();
        let entries = export(&source.stronghold, &wanted).unwrap();
        let asked = |_: &Location, entry: &EntryId, _: &_| match wanted.contains(entry) {
            true => Ok(()),
            false => Err(RejectReason::Unrequested),
        };
        let report = target
            .stronghold
            .import(&entries, source.stronghold.identity().device(), ms(self.now), asked)
            .unwrap();
        assert_eq!(report.received, wanted.len() as u64, "just what was missing was taken");
        target.seen |= gains;
        let private = source.stronghold.shapes(&Scope::of(select("private/**")), &Mapping::default());
        let private: BTreeSet<EntryId> = private.iter().map(Shape::entry).collect();
        if !private.is_empty() {
            let refused = export(&source.stronghold, &private);
            assert_eq!(refused.unwrap_err(), ExportError::NotPermitted);
        }
        self.touched.push(into);
    }

    fn sync(
        &mut self,
        asking: usize,
        asked: usize,
        selection: &Selection,
        way: Way,
        everything: bool,
        cut: Option<usize>,
    ) -> Outcome {
        let replica = &self.replicas[asking];
        let policy = replica.stronghold.policy();
        let granted =
            |operation| match policy.decide(&self.replicas[asked].device, operation, selection, ms(0)) {
                Decision::Allowed(grant) => Some(grant),
                _ => None,
            };
        let push = granted(Operation::Pull).filter(|_| !matches!(way, Way::Pull));
        let pull = !matches!(way, Way::Push);
        if !pull && push.is_none() {
            return (None, None); // there is nothing that could be asked
        }
        // Takes like a plain sync: what the rules here let the peer write and delete.
        let (may_push, may_delete) = (granted(Operation::Push), granted(Operation::Delete));
        let consent = Consent { push: may_push, delete: may_delete, ..Consent::default() };
        let to_asking = if pull { self.may_gain(asking, asked, selection, everything) } else { 0 };
        let to_asked = if push.is_some() { self.may_gain(asked, asking, selection, false) } else { 0 };
        let may = self.replicas[asked].rules[asking];
        let covers = |of: &str| selection.overlaps(&select(of));
        let is_refused = !(pull && may.pull && covers(GRANTED)
            || push.is_some() && (may.push || may.delete) && covers(may.written()));
        let secret = self.secret();
        let take = pull.then_some(if everything { Take::Everything } else { Take::Granted(consent) });
        let push = match push {
            Some(grant) => Push::Granted(grant),
            None if matches!(way, Way::Pull) => Push::No,
            None => Push::NotGranted,
        };
        self.replicas[asking].looks_further = matches!(push, Push::NotGranted);
        let selection = selection.clone();
        let ask = SessionRequest::Sync(SyncOptions {
            selection,
            take,
            push,
            names: false,
            key: key(),
            secret,
            pair: Some(PAIR),
        });
        self.hold(ask, secret, is_refused, (asking, to_asking), (asked, to_asked), cut)
    }

    fn import(&mut self, into: usize, from: usize, cut: Option<usize>) {
        let (everything, secret) = (Selection::everything(), self.secret());
        let gains = self.gains(from, &everything);
        let ask = SessionRequest::Import { selection: everything, key: key() };
        self.hold(ask, secret, false, (into, gains), (from, 0), cut);
    }

    /// Holds a session and checks its outcome.
    fn hold(
        &mut self,
        ask: SessionRequest,
        secret: [u8; 32],
        is_refused: bool,
        (asking, to_asking): (usize, Seen),
        (asked, to_asked): (usize, Seen),
        cut: Option<usize>,
    ) -> Outcome {
        self.came(to_asking | to_asked);
        let [a, b] = self.replicas.get_disjoint_mut([asking, asked]).unwrap();
        (a.now, b.now) = (self.now, self.now);
        let outcome = run(ask, secret, (&mut *a, to_asking), (&mut *b, to_asked), cut);
        match outcome {
            _ if is_refused && cut.is_none() => {
                let no = SessionError::Refused(Refusal::NotPermitted);
                assert_eq!(outcome, (Some(Err(no)), Some(Err(SessionError::NotPermitted))));
            }
            (Some(Ok(_)), Some(Ok(_))) => {
                assert_eq!(a.seen & to_asking, to_asking, "a session that ended well left nothing behind");
                assert_eq!(b.seen & to_asked, to_asked, "a session that ended well left nothing behind");
            }
            _ => assert!(cut.is_some(), "{outcome:?}"),
        }
        a.looks_further = false;
        self.touched.extend([asking, asked]);
        outcome
    }

    /// Syncs everything between all replicas, one pair after the other.
    fn connect(&mut self, links: &[(usize, usize)]) {
        for (asking, asked) in links {
            self.touched.clear();
            self.sync(*asking, *asked, &Selection::everything(), Way::Both, false, None);
            self.touched.iter().for_each(|replica| self.check(*replica));
        }
    }

    /// Checks that all replicas hold the same granted records, with everything that any of them
    /// had.
    fn check_converged(&self) {
        let shared = Scope::of(select(GRANTED));
        let shapes = |replica: &Replica| replica.stronghold.shapes(&shared, &Mapping::default());
        let first = shapes(&self.replicas[0]);
        let kept = |shape: &&Shape| MODE != REMOVED || !shape.deleted;
        let bare = |shapes: &[Shape]| shapes.iter().filter(kept).map(Shape::entry).collect::<Vec<_>>();
        for replica in &self.replicas[1..] {
            assert_eq!(bare(&shapes(replica)), bare(&first), "all hold the same");
        }
        let heads: Seen = first.iter().map(|shape| 1 << self.numbers[&shape.revision]).sum();
        let held = self.replicas.iter().fold(0, |held, replica| held | replica.seen);
        let granted = held & self.of_records(|location| location.client() != PRIVATE);
        let accounted = heads | self.replaced_by(heads);
        let replaced = self.replaced_by(granted);
        assert_eq!(self.kept(granted & !accounted & !replaced), 0, "no value is lost");
        assert!(MODE == REMOVED || granted & !accounted == 0, "no value is lost");
    }

    fn check(&self, number: usize) {
        let replica = &self.replicas[number];
        let expected = replica.seen & !self.replaced_by(replica.seen);
        let everything = Scope::of(Selection::everything());
        let mut held: Seen = 0;
        for shape in replica.stronghold.shapes(&everything, &Mapping::default()) {
            let head = self.numbers[&shape.revision];
            assert_eq!(shape.location, self.locations[self.written[head].record].id());
            let (named, seen) = (self.named(&shape.ancestors), self.written[head].seen);
            assert_eq!(named & !seen, 0, "a sound list");
            assert!(MODE != COMPLETE || named == seen, "a complete list");
            held |= 1 << head;
        }
        let told = |heads: Seen| bits(heads).map(|head| &self.written[head]).collect::<Vec<_>>();
        let (lost, returned) = (told(self.kept(expected & !held)), told(self.kept(held & !expected)));
        assert!(lost.is_empty(), "replica {number} has lost {lost:?}");
        if MODE == FORKED {
            return;
        }
        assert!(returned.is_empty(), "on replica {number} returned {returned:?}");
        self.check_deletions(number, held);
        self.check_reading(number, held);
        self.check_times(number);
    }

    fn check_times(&self, number: usize) {
        let stronghold = &self.replicas[number].stronghold;
        for version in self.locations.iter().flat_map(|location| stronghold.history(location)).flatten() {
            let Written { time, came, .. } = &self.written[self.numbers[&version.revision]];
            let shown = match version.via {
                None => version.time == ms(*time),
                Some(_) => came.iter().any(|came| version.time == ms(*time.min(came))),
            };
            assert!(shown, "on replica {number}: {version:?}, written at {time}, came at {came:?}");
        }
    }

    /// Checks that no head is among the revisions that the writer of an arrived deletion had seen.
    fn check_deletions(&self, number: usize, heads: Seen) {
        let deletions = bits(self.replicas[number].seen).filter(|seen| self.written[*seen].value.is_none());
        let deleted = deletions.fold(0, |all, deletion| all | self.written[deletion].seen);
        assert_eq!(heads & deleted, 0, "replica {number}: a deleted value returned");
    }

    fn check_reading(&self, number: usize, heads: Seen) {
        let stronghold = &self.replicas[number].stronghold;
        let listed = stronghold.list(&Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap();
        let mut values: [Vec<Option<u8>>; RECORDS.len()] = Default::default();
        for (id, head) in self.numbers.iter().filter(|(_, head)| heads & 1 << **head != 0) {
            let Written { record, value, .. } = self.written[*head];
            let revision = stronghold.read_revision(&self.locations[record], id).unwrap();
            assert_eq!((!revision.deleted).then(|| revision.value[0]), value);
            values[record].push(value);
        }
        for (location, values) in self.locations.iter().zip(values) {
            let entry = listed.iter().find(|entry| entry.location == *location);
            assert_eq!(entry.is_some(), values.iter().any(Option::is_some), "{location}");
            let conflict = values.windows(2).any(|pair| pair[0] != pair[1]);
            assert!(entry.is_none_or(|entry| entry.conflict == conflict), "{location}: {values:?}");
        }
    }

    /// Returns the revisions of a record that a replica has seen and that no other seen revision
    /// replaces.
    fn heads(&self, on: usize, record: usize) -> Seen {
        let seen = self.replicas[on].seen & self.of_records(|location| *location == self.locations[record]);
        seen & !self.replaced_by(seen)
    }

    /// Returns the revisions that have to be there: deletions may be removed.
    fn kept(&self, revisions: Seen) -> Seen {
        let may_go = |revision: &usize| MODE == REMOVED && self.written[*revision].value.is_none();
        bits(revisions).filter(|revision| !may_go(revision)).fold(0, |kept, revision| kept | 1 << revision)
    }

    fn replaced_by(&self, revisions: Seen) -> Seen {
        bits(revisions).fold(0, |replaced, revision| replaced | self.written[revision].seen)
    }

    /// Returns the revisions gained by merging all accessible records of a replica.
    fn gains(&self, from: usize, selection: &Selection) -> Seen {
        let granted = select(GRANTED);
        self.replicas[from].seen
            & self.of_records(|location| granted.covers(location) && selection.covers(location))
    }

    /// Returns the revisions gained in a session by the rules of both sides: the sender's for
    /// everything, and the receiver's for values and deletions, unless it takes everything.
    fn may_gain(&self, to: usize, from: usize, selection: &Selection, everything: bool) -> Seen {
        if !self.replicas[from].rules[to].pull {
            return 0;
        }
        let may = self.replicas[to].rules[from];
        let written = select(may.written());
        let held = self.gains(from, selection);
        let is_taken = |head: &usize| {
            let Written { record, value, .. } = &self.written[*head];
            let by_rule = if value.is_some() { may.push } else { may.delete };
            everything || by_rule && written.covers(&self.locations[*record])
        };
        let heads = bits(held & !self.replaced_by(held)).filter(is_taken);
        heads.fold(0, |gains, head| gains | 1 << head | self.written[head].seen)
    }

    fn came(&mut self, gains: Seen) {
        for number in bits(gains) {
            self.written[number].came.insert(self.now);
        }
    }

    fn of_records(&self, which: impl Fn(&Location) -> bool) -> Seen {
        let chosen = self.locations.each_ref().map(which);
        let written = self.written.iter().enumerate().filter(|(_, written)| chosen[written.record]);
        written.fold(0, |all, (number, _)| all | 1 << number)
    }

    /// Returns a fresh secret for each session.
    fn secret(&mut self) -> [u8; 32] {
        self.sessions += 1;
        [self.sessions; 32]
    }
}

fn bits(seen: Seen) -> impl Iterator<Item = usize> {
    let mut left = seen;
    std::iter::from_fn(move || {
        let lowest = (left != 0).then(|| left.trailing_zeros() as usize)?;
        left &= left - 1;
        Some(lowest)
    })
}
