//! The initiator's knowledge of both sides during a sync, and the plan computed from it.

mod level;
mod narrow;
mod sieve;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    string::ToString,
    vec::Vec,
};

use super::super::{
    Acknowledged, Lookup, LookupResult, PeerList, PeerMisbehaved, SessionError, Verdict,
    batches::{BatchReceiver, Expected, ShapeList},
    difference,
    digest::{HeldSet, Keys},
    find, is_replaced_by, positions, record_of, volume,
};
use super::proposed::Proposed;
use super::{Consent, Push, SyncOptions, Take};
use crate::{
    Ancestors, Change, EntryId, Grant, Location, LocationId, OnConflict, Operation, Plan, PlanOptions,
    RevisionId, Scope, Selection, Shape, ShortId, SkipReason, Skipped,
    message::{Agreed, LeftOut, MAX_NAMED, Message, RecipientKey, RecordList, split_list},
    plan::{MAX_ADDED_HEADS, MAX_SHAPE_SIZE, plan_through},
    reconcile::{
        NeedMore, SetDigest,
        exchange::{Initiator, MAX_CELLS, extend},
        symbol::{SetKey, Symbol},
    },
};
use narrow::Narrowed;
use sieve::All;

/// A sync at the initiator, once its scopes are agreed.
#[derive(Debug)]
pub(super) struct Sync {
    key: RecipientKey,
    /// The scopes in which the peer lets this side pull, write and delete.
    pull: Option<Scope>,
    push: Option<Scope>,
    delete: Option<Scope>,
    /// This side's authority to take, and to give.
    take: Take,
    own: Push,
    /// The requested scope.
    asked: Scope,
    /// `true` if the plan must name every record that it would take.
    names_wanted: bool,
    /// `true` if this side requested a pull and the peer refused all of it.
    pull_refused: bool,
    /// This side's shapes where it may pull.
    held: Vec<Shape>,
    /// `true` for values and for deletions if it may give those of `held`.
    held_gives: [bool; 2],
    /// This side's shapes that it may give in the other scopes.
    may_give: Vec<Shape>,
    /// This side's shapes that it would give but may not, sorted by entry.
    withheld: Vec<Shape>,
    /// The part of `may_give` that is not in `held`.
    offered: Vec<Shape>,
    /// The secrets from which the reconciliation derives its keys, and the day of the pair's key.
    keys: Keys,
    day: Option<u64>,
    /// The digest of this side's entries where it may pull.
    own_set: Option<HeldSet>,
    /// The records that the peer names; those to which the comparison is limited; the peer's
    /// request for more, while all shapes are collected for it.
    candidates: Option<RecordList>,
    narrowed: Option<Narrowed>,
    again: Option<NeedMore>,
    /// The peer's digest, and the reconciliation with its set, where this side may pull.
    theirs: Option<SetDigest>,
    reconciling: Option<Initiator>,
    /// Shapes that only the peer holds, and symbols of entries that only this side holds.
    only_there: PeerList<Shape>,
    lacking: Vec<u64>,
    only_here: BTreeSet<EntryId>,
    /// Names of differing records, held here or told by the peer; those told by the peer; those the
    /// peer still owes; those that the plan needs.
    names: BTreeMap<LocationId, Location>,
    told: BTreeMap<LocationId, Location>,
    owed: Vec<LocationId>,
    needed: BTreeSet<LocationId>,
    /// Heads here that came from the peer, of records whose number of heads may exceed the limit.
    delivered: BTreeSet<EntryId>,
    /// Records that wait here outside the reconciled set.
    waiting: Vec<Skipped>,
}

impl Sync {
    /// Restricts the peer's agreement to the request and to what this side's policy lets it give.
    pub(super) fn agreed(ask: SyncOptions, agreed: Agreed) -> Result<Self, SessionError> {
        if ask.take.is_none() && !matches!(ask.push, Push::Granted(_)) {
            return Err(SessionError::ApiMisuse);
        }
        let asked = Scope::of(ask.selection);
        let grant = match &ask.push {
            Push::Granted(grant) => Some(grant.scope().clone()),
            Push::No | Push::NotGranted => None,
        };
        // This side's scope comes first: the peer's patterns are not matched against other names.
        let within_grant = |rules: Option<Selection>| Some(asked.clone().and(grant.as_ref()?).within(rules?));
        let (push, delete) = (within_grant(agreed.push), within_grant(agreed.delete));
        let pull = agreed.pull.filter(|_| ask.take.is_some()).map(|rules| asked.clone().within(rules));
        let pull_refused = ask.take.is_some() && pull.is_none();
        if pull.is_none() && push.is_none() && delete.is_none() || pull.is_some() != agreed.held.is_some() {
            return Err(PeerMisbehaved::OutOfOrder.into());
        }
        Ok(Self {
            key: ask.key,
            pull,
            push,
            delete,
            take: ask.take.unwrap_or_else(|| Take::Granted(Consent::default())),
            own: ask.push,
            asked,
            names_wanted: ask.names,
            pull_refused,
            held: Vec::new(),
            held_gives: [false; 2],
            may_give: Vec::new(),
            withheld: Vec::new(),
            offered: Vec::new(),
            keys: Keys { session: ask.secret, pair: ask.pair },
            day: agreed.day,
            own_set: None,
            candidates: agreed.candidates,
            narrowed: None,
            again: None,
            theirs: agreed.held,
            reconciling: None,
            only_there: PeerList::new(),
            lacking: Vec::new(),
            only_here: BTreeSet::new(),
            names: BTreeMap::new(),
            told: BTreeMap::new(),
            owed: Vec::new(),
            needed: BTreeSet::new(),
            delivered: BTreeSet::new(),
            waiting: Vec::new(),
        })
    }

    /// Returns the scopes in which this side's own shapes are needed.
    pub(super) fn scopes(&self) -> [(Operation, Option<&Scope>); 3] {
        [
            (Operation::Pull, self.pull.as_ref()),
            (Operation::Push, self.push.as_ref()),
            (Operation::Delete, self.delete.as_ref()),
        ]
    }

    /// Stores this side's own shapes, sorted, of a scope that these operations need.
    pub(super) fn hold(&mut self, operations: &[Operation], shapes: Vec<Shape>) {
        let gives = |shape: &&Shape| {
            operations.contains(if shape.deleted { &Operation::Delete } else { &Operation::Push })
        };
        if operations.contains(&Operation::Pull) {
            self.held_gives = [Operation::Push, Operation::Delete].map(|kind| operations.contains(&kind));
            self.held = shapes;
        } else {
            self.may_give.extend(shapes.into_iter().filter(|shape| gives(&shape)));
        }
    }

    /// Returns where this side would give, if that is more than where it may.
    pub(super) fn givable(&self) -> Option<Scope> {
        let would = match &self.own {
            Push::No => return None,
            Push::NotGranted => self.asked.clone(),
            Push::Granted(grant) => self.asked.clone().and(grant.scope()),
        };
        let may_all = |scope: &Option<Scope>| scope.as_ref().is_some_and(|scope| scope.includes(&would));
        (!may_all(&self.push) || !may_all(&self.delete)).then_some(would)
    }

    /// Stores this side's own shapes, sorted, that it would give.
    pub(super) fn would_give(&mut self, shapes: Vec<Shape>) {
        self.may_give.sort_by_key(Shape::entry);
        self.withheld = shapes.into_iter().filter(|shape| !self.may_give(shape)).collect();
    }

    /// Returns the messages that describe the held set and offer what else this side may give.
    /// Returns none if both sides hold the same.
    pub(super) fn tell(&mut self) -> Vec<Message> {
        self.may_give.sort_by_key(Shape::entry);
        self.offered = difference(&self.may_give, &self.held);
        let key = self.digest_needed().ok().flatten().map(|query| query.key());
        self.reconciling = match (self.theirs.take(), key, &self.own_set) {
            (Some(theirs), Some(key), Some(own)) => {
                Some(Initiator::with_digest(&self.keys.session, key, own.digest.clone(), theirs))
            }
            _ => None,
        };
        if let Some(messages) = self.tell_narrowed() {
            return messages;
        }
        let entries = self.held.iter().map(Shape::entry);
        let telling = self.reconciling.as_mut().map(|reconciling| reconciling.begin(entries));
        let mut messages: Vec<Message> = telling.into_iter().flatten().map(Message::Digest).collect();
        let bare = |shape: &Shape| Shape { ancestors: Ancestors::default(), ..shape.clone() };
        messages.extend(split_list(self.offered.iter().map(bare).collect(), Message::Offer));
        if !messages.is_empty() {
            messages.push(Message::DigestEnd);
        }
        messages
    }

    /// Continues the reconciliation with more of this side's set.
    pub(super) fn handle_need_more(&mut self, again: NeedMore) -> Result<Vec<Message>, PeerMisbehaved> {
        if !self.only_there.items.is_empty() || !self.lacking.is_empty() {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        let entries = self.held.iter().map(Shape::entry);
        let reconciling = self.reconciling.as_mut().ok_or(PeerMisbehaved::OutOfOrder)?;
        let telling = reconciling.continue_with(again, entries)?;
        Ok(telling.into_iter().map(Message::Digest).chain([Message::DigestEnd]).collect())
    }

    pub(super) fn handle_missing(&mut self, part: Vec<Shape>) -> Result<(), PeerMisbehaved> {
        if self.pull.is_none() || !part.iter().all(|shape| self.is_compared(&shape.location)) {
            return Err(PeerMisbehaved::Unrequested);
        }
        self.only_there.extend_shapes(part)
    }

    pub(super) fn handle_needed(&mut self, part: &[u8]) -> Result<(), PeerMisbehaved> {
        if part.is_empty() {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        extend(&mut self.lacking, part, MAX_CELLS.max(self.held.len() + self.offered.len()))
    }

    /// Returns whether the peer's difference verifies: every symbol is of an entry here, and this
    /// side's set with the difference applied has the peer's fingerprint.
    pub(super) fn adds_up(&mut self) -> bool {
        let lacking: BTreeSet<Symbol> = self.lacking.drain(..).map(Symbol::from_bits).collect();
        let key = match &self.reconciling {
            Some(reconciling) => reconciling.set().key().clone(),
            None => SetKey::new(&self.keys.session, 0),
        };
        // Equal sets have had no need of symbols.
        let symbols = |shapes: &[Shape]| -> Vec<(Symbol, EntryId)> {
            if lacking.is_empty() {
                return Vec::new();
            }
            let all = shapes.iter().map(|shape| (key.symbol(&shape.entry()), shape.entry()));
            all.filter(|(symbol, _)| lacking.contains(symbol)).collect()
        };
        let held = match &self.reconciling {
            Some(reconciling) if !reconciling.set().symbols().is_empty() => {
                let found = reconciling.find(&lacking);
                found.map(|(at, symbol)| (symbol, self.held[at].entry())).collect()
            }
            _ => symbols(&self.held),
        };
        let offered = symbols(&self.offered);
        let known: BTreeSet<Symbol> = held.iter().chain(&offered).map(|(symbol, _)| *symbol).collect();
        let there: Vec<EntryId> = self.only_there.items.iter().map(Shape::entry).collect();
        let adds_up = self.reconciling.as_ref().is_none_or(|reconciling| {
            reconciling.verify_fingerprint(held.iter().map(|(_, entry)| entry), &there)
        });
        self.only_here = held.into_iter().chain(offered).map(|(_, entry)| entry).collect();
        adds_up && known.len() == lacking.len()
    }

    /// Discards the peer's difference; returns whether another way to find it is left.
    pub(super) fn discard_difference(&mut self) -> bool {
        self.only_there = PeerList::new();
        self.only_here.clear();
        self.reconciling.as_ref().is_some_and(Initiator::has_fallback)
    }

    /// Returns the revisions that the peer lacks where this side may pull; `None` if it may not.
    pub(super) fn lacking_there(&self) -> Option<Vec<RevisionId>> {
        self.pull.as_ref().map(|_| self.only_here.iter().map(|entry| entry.revision).collect())
    }

    /// Returns both sides' shapes of the differing records, sorted. Equal records are only counted.
    fn differing(&self) -> Result<(Vec<Shape>, Vec<Shape>), PeerMisbehaved> {
        let only_there = &self.only_there.items;
        let differs = self.differing_records();
        let local = self.held.iter().filter(|shape| differs.contains(&shape.location));
        let local: Vec<Shape> = local.cloned().collect();
        let also_there = local.iter().filter(|shape| !self.only_here.contains(&shape.entry()));
        let mut remote: Vec<Shape> = also_there.chain(only_there).cloned().collect();
        remote.sort_by_key(Shape::entry);
        match remote.is_sorted_by(|one, next| one.entry() < next.entry()) {
            true => Ok((local, remote)),
            false => Err(PeerMisbehaved::Unordered),
        }
    }

    fn differing_records(&self) -> BTreeSet<LocationId> {
        let there = self.only_there.items.iter().map(|shape| shape.location);
        there.chain(self.only_here.iter().map(|entry| entry.location)).collect()
    }

    fn rules(&self) -> PlanOptions {
        PlanOptions { take: self.pull.is_some(), give: true, on_conflict: OnConflict::KeepBoth }
    }

    /// Returns the lookups that the host must answer before there can be a plan.
    pub(super) fn look(&mut self) -> Result<Lookup, PeerMisbehaved> {
        let (local, remote) = self.differing()?;
        let wanted = plan_through(&local, &remote, self.rules(), &All).take;
        let mut many = BTreeMap::<LocationId, usize>::new();
        local.iter().chain(&wanted).for_each(|shape| *many.entry(shape.location).or_default() += 1);
        let crowded =
            |shape: &&Shape| many.get(&shape.location).is_some_and(|heads| *heads > MAX_ADDED_HEADS);
        let in_doubt = |shape: &&Shape| {
            self.names_wanted || !self.is_sure(shape) || crowded(shape) || shape.size > MAX_SHAPE_SIZE
        };
        self.needed = wanted.iter().filter(in_doubt).map(|shape| shape.location).collect();
        let outside = difference(&self.withheld, &self.held);
        let inside = self.withheld.iter().filter(|shape| self.only_here.contains(&shape.entry()));
        let own = inside.take(MAX_NAMED).chain(outside.iter().take(MAX_NAMED)).map(|shape| shape.location);
        let names: BTreeSet<LocationId> = self.needed.iter().copied().chain(own).collect();
        Ok(Lookup {
            names: names.into_iter().collect(),
            grant: None,
            lacking: outside,
            delivered: local.iter().filter(crowded).map(Shape::entry).collect(),
        })
    }

    /// Stores the host's answers.
    pub(super) fn looked(&mut self, look: &Lookup, looked: LookupResult) {
        let named = look.names.iter().zip(looked.names);
        self.names.extend(named.filter_map(|(id, name)| Some((*id, name?))));
        let lacking = look.lacking.iter().zip(looked.lacking).filter(|(_, lacks)| *lacks);
        let why = |shape: &Shape| Skipped { location: shape.location, why: self.why_withheld(shape) };
        self.waiting = lacking.map(|(shape, _)| why(shape)).collect();
        let delivered = look.delivered.iter().zip(looked.delivered).filter(|(_, is)| *is);
        self.delivered = delivered.map(|(entry, _)| *entry).collect();
    }

    /// Returns, for each record whose name only the peer knows, the index of one entry in the list
    /// of entries that only the peer holds.
    pub(super) fn unnamed(&mut self) -> Vec<u32> {
        let mut positions = Vec::new();
        for (position, shape) in (0..).zip(&self.only_there.items) {
            let is_needed =
                self.needed.contains(&shape.location) && !self.names.contains_key(&shape.location);
            if is_needed && self.owed.last() != Some(&shape.location) {
                self.owed.push(shape.location);
                positions.push(position);
            }
        }
        positions
    }

    /// Stores names that the peer tells; returns whether all have arrived. A name hashes to its
    /// record's id, so the peer can't tell another one.
    pub(super) fn handle_names(&mut self, part: Vec<Location>) -> Result<bool, PeerMisbehaved> {
        if part.is_empty() {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        for name in part {
            let owed = self.owed.get(self.told.len()).copied();
            let may_be = self.pull.as_ref().is_some_and(|scope| scope.covers(&name));
            if owed != Some(name.id()) || !may_be {
                return Err(PeerMisbehaved::Unrequested);
            }
            self.told.insert(name.id(), name);
        }
        Ok(self.told.len() == self.owed.len())
    }

    /// Computes the plan from the differing records.
    pub(super) fn plan(&self) -> Result<Plan, PeerMisbehaved> {
        let (local, remote) = self.differing()?;
        let mut plan = plan_through(&local, &remote, self.rules(), self);
        let wanted = self.offered.iter().filter(|shape| self.only_here.contains(&shape.entry()));
        for shape in wanted {
            plan.changes_there.push((shape.location, change_of(shape)));
            plan.give.push(shape.clone());
        }
        plan.give.sort_by_key(Shape::entry);
        self.leave_for_later(&mut plan);
        plan.not_given.extend(&self.waiting);
        plan.not_given.sort();
        plan.not_given.dedup();
        plan.names.clone_from(&self.told);
        plan.pull_refused = self.pull_refused;
        let (records, readable) = self.unchanged();
        Ok(plan.and_unchanged(records, readable))
    }

    /// Returns the verdicts for the log: entries taken by this side's command, and entries given by
    /// it.
    pub(super) fn verdicts(&self, plan: &Plan) -> Vec<Verdict> {
        let (deleted, written): (Vec<&Shape>, Vec<&Shape>) =
            plan.take.iter().partition(|shape| shape.deleted);
        let given: Vec<&Shape> = plan.give.iter().collect();
        let parts = [(Operation::Push, written), (Operation::Delete, deleted), (Operation::Pull, given)];
        let selection = self.asked.to_string();
        let some = parts.into_iter().filter(|(_, shapes)| !shapes.is_empty());
        some.map(|(operation, shapes)| Verdict::own(operation, &selection, volume(shapes))).collect()
    }

    /// Returns the report for the peer's user on records left out of the sync, and on a duplicate
    /// of the peer's snapshot; `None` if there is nothing to report. Records that this side's own
    /// rules withhold from the peer are not reported.
    pub(super) fn left(&self, plan: &Plan, copied: bool) -> Option<LeftOut> {
        let of = |list: &[Skipped]| -> BTreeSet<LocationId> {
            let stays = |left: &&Skipped| !matches!(left.why, SkipReason::MayNotPull | SkipReason::Later);
            list.iter().filter(stays).map(|left| left.location).collect()
        };
        let (not_taken, not_given) = (of(&plan.not_taken), of(&plan.not_given));
        if not_taken.is_empty() && not_given.is_empty() && !copied {
            return None;
        }
        let mut last = None;
        let mut is_new = |shape: &Shape| {
            not_taken.contains(&shape.location) && last.replace(shape.location) != Some(shape.location)
        };
        let listed = (0..).zip(&self.only_there.items).filter(|(_, shape)| is_new(shape));
        Some(LeftOut {
            not_taken: not_taken.len() as u64,
            untaken: listed.map(|(position, _)| position).take(MAX_NAMED).collect(),
            not_given: not_given.len() as u64,
            ungiven: not_given.iter().filter_map(|id| self.names.get(id)).take(MAX_NAMED).cloned().collect(),
            copied,
        })
    }

    /// Returns whether a peer's entry may be taken whatever its name is.
    fn is_sure(&self, shape: &Shape) -> bool {
        let Take::Granted(consent) = &self.take else { return true };
        let covers = |grant: &Grant| self.pull.as_ref().is_some_and(|pull| grant.scope().includes(pull));
        consent.also.contains(&shape.entry()) || consent.for_kind(shape).is_some_and(covers)
    }

    /// Returns the shape of an entry to push, for the peer: of its ancestors only the peer's heads.
    /// An offered entry has all: which heads the peer has there is not known here.
    pub(super) fn announced(&self, shape: &Shape) -> Shape {
        if find(&self.offered, &shape.entry()).is_some() {
            return shape.clone();
        }
        let heads = record_of(&self.only_there.items, &shape.location);
        let is_head_there = |id: &ShortId| heads.iter().any(|head| head.revision.short() == *id);
        Shape { ancestors: shape.ancestors.only(is_head_there), ..shape.clone() }
    }

    /// Returns what the peer holds once the plan is carried out, where this side may pull.
    pub(super) fn acknowledged(&self, plan: &Plan) -> Option<Acknowledged> {
        let stays = |entry: &&EntryId| {
            find(&plan.give, entry).is_none()
                && !is_replaced_by(entry, record_of(&plan.take, &entry.location))
        };
        let except = self.only_here.iter().filter(stays).map(|entry| entry.location).collect();
        Some(Acknowledged { scope: self.pull.clone()?, except })
    }

    /// Returns the indices of the taken entries in the list of entries that only the peer holds.
    pub(super) fn positions(&self, take: &[Shape]) -> Vec<u32> {
        positions(&self.only_there.items, take)
    }

    /// Returns this side's key, if the plan takes anything, and the proposal to await.
    pub(super) fn propose(self, plan: Plan) -> (Option<RecipientKey>, Box<Proposed>) {
        let key = (!plan.take.is_empty()).then_some(self.key);
        let entries = ShapeList::new(plan.take, &self.held);
        // Without a scope to pull in, nothing is taken, and nothing is expected.
        let expected = match self.pull {
            Some(scope) => Expected::Taken { entries, scope, take: self.take },
            None => Expected::Granted { entries, push: None, delete: None },
        };
        let (give, wanted) = (plan.give, BTreeSet::new());
        let grant = match self.own {
            Push::Granted(grant) => Some(grant),
            Push::No | Push::NotGranted => None,
        };
        (key, Box::new(Proposed { grant, give, wanted, incoming: BatchReceiver::new(expected) }))
    }
}

/// Returns the change to a record that the peer wants, as far as the entry's own shape tells.
fn change_of(shape: &Shape) -> Change {
    match (shape.deleted, shape.ancestors.as_slice()) {
        (true, _) => Change::Deleted,
        (false, []) => Change::New,
        (false, _) => Change::Changed,
    }
}
