//! The responder's knowledge of both sides during a sync, and the entries it gives and takes.

mod narrow;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};

use super::super::{
    Acknowledged, LeftBehind, Lookup, LookupResult, PeerList, PeerMisbehaved, ShapeQueries, Verdict,
    batches::{BatchReceiver, BatchSender, Expected, ShapeList},
    count_records,
    digest::{DigestQuery, HeldSet, Keys},
    is_replaced_by, positions, record_of, take_indices, volume,
};
use crate::{
    Edition, EntryId, Grant, LocationId, OnConflict, Operation, Plan, PlanOptions, RevisionId, Selection,
    Shape, ShortId,
    message::{Agreed, LeftOut, MAX_NAMED, RecipientKey},
    plan::{MAX_ADDED_HEADS, Sieve, plan_through},
    reconcile::{
        Digest, NeedMore,
        exchange::{DiffResult, Responder},
        symbol::{SetKey, Symbol},
    },
};

/// A sync at the responder.
#[derive(Debug)]
pub(super) struct Sync {
    selection: String,
    pull: Option<Grant>,
    push: Option<Grant>,
    delete: Option<Grant>,
    /// This side's one-time key.
    pub(super) key: RecipientKey,
    /// The secrets from which the reconciliation derives its keys, and the day of the pair's key.
    keys: Keys,
    day: Option<u64>,
    /// This side's digest where the initiator may pull; the records to which the comparison is
    /// limited; `true` while the initiator's rejection of the difference waits for all shapes.
    own_set: Option<HeldSet>,
    narrowed: Option<Vec<LocationId>>,
    is_rejected: bool,
    /// The reconciliation, where the initiator may pull; and its offered entries where it may not.
    reconciling: Option<Responder>,
    offered: PeerList<Shape>,
    /// This side's shapes in each scope; empty until the sets are known to differ.
    collected: Vec<Collected>,
    /// The pullable shapes that only this side holds.
    only_here: Vec<Shape>,
    /// Symbols of the entries that the initiator may push.
    only_there: BTreeSet<Symbol>,
    want: BTreeSet<u32>,
    /// Indices of the entries whose names were sent.
    named: BTreeSet<u32>,
    pushed: PeerList<Shape>,
    /// Heads here that came from the initiator, of records whose number of heads may exceed the
    /// limit.
    delivered: BTreeSet<EntryId>,
    /// `true` if the initiator has reported the records that it leaves out.
    left: bool,
    /// `true` if the log records the disclosed entries.
    pub(super) logged: bool,
    /// This snapshot's edition, and whether two snapshots of the peer are in use.
    edition: Edition,
    copied: bool,
}

/// This side's shapes in one scope, sorted.
#[derive(Debug)]
struct Collected {
    shapes: Vec<Shape>,
    /// `true` if the initiator may pull them.
    is_pullable: bool,
    /// `true` if the initiator may replace or delete them.
    is_writable: bool,
}

/// The entries that only one side holds.
#[derive(Debug)]
pub(super) struct Differing {
    pub(super) only_here: Vec<Shape>,
    pub(super) only_there: Vec<u64>,
    /// Records that are the same on both sides.
    pub(super) unchanged: u64,
}

impl Sync {
    pub(super) fn new(
        selection: &Selection,
        [pull, push, delete]: [Option<Grant>; 3],
        key: RecipientKey,
        keys: Keys,
        day: Option<u64>,
    ) -> Self {
        Self {
            selection: selection.to_string(),
            pull,
            push,
            delete,
            key,
            keys,
            day,
            own_set: None,
            narrowed: None,
            is_rejected: false,
            reconciling: None,
            offered: PeerList::new(),
            collected: Vec::new(),
            only_here: Vec::new(),
            only_there: BTreeSet::new(),
            want: BTreeSet::new(),
            named: BTreeSet::new(),
            pushed: PeerList::new(),
            delivered: BTreeSet::new(),
            left: false,
            logged: false,
            edition: Edition::default(),
            copied: false,
        }
    }

    /// Sends the peer this snapshot's edition, and whether two snapshots of the peer are in use.
    pub(super) fn with_edition(self, edition: Edition, copied: bool) -> Self {
        Self { edition, copied, ..self }
    }

    /// Limits how many offered and pushed entries are buffered.
    pub(super) fn with_entry_limit(self, most: usize) -> Self {
        Self { offered: PeerList::up_to(most), pushed: PeerList::up_to(most), ..self }
    }

    /// Returns the requested selection, as text.
    pub(super) fn selection(&self) -> &str {
        &self.selection
    }

    /// Returns the granted scopes, for the initiator.
    pub(super) fn agreed(&self) -> Agreed {
        let scope = |grant: &Option<Grant>| grant.as_ref().map(|grant| grant.scope().first().clone());
        let held = self.reconciling.as_ref().map(|reconciling| reconciling.summary().clone());
        let (pull, push, delete) = (scope(&self.pull), scope(&self.push), scope(&self.delete));
        let day = self.day.filter(|_| held.is_some());
        let (candidates, edition, copied) = (self.candidates(), self.edition, self.copied);
        Agreed { pull, push, delete, held, day, candidates, edition, copied }
    }

    /// Returns the query for the digest of what the initiator may pull, if it may pull.
    pub(super) fn digest_needed(&self) -> Option<DigestQuery> {
        self.keys.query(self.pull.as_ref()?.scope(), self.day)
    }

    /// Starts the reconciliation with the digest of what the initiator may pull.
    pub(super) fn hold_digest(&mut self, held: HeldSet) {
        let key = self.digest_needed().map(|query| query.key());
        let digest = held.digest.clone();
        self.reconciling = key.map(|key| Responder::with_digest(&self.keys.session, key, digest));
        self.keep_candidates(held);
    }

    /// Returns the queries for this side's own shapes, unless they are collected.
    pub(super) fn shapes_needed(&self) -> ShapeQueries {
        let scopes = [
            (Operation::Pull, self.pull.as_ref().map(Grant::scope)),
            (Operation::Push, self.push.as_ref().map(Grant::scope)),
            (Operation::Delete, self.delete.as_ref().map(Grant::scope)),
        ];
        ShapeQueries::new(scopes.into_iter().filter(|_| self.collected.is_empty())).at(self.narrowed.clone())
    }

    /// Stores this side's own shapes, sorted, of a scope that these operations need.
    pub(super) fn hold(&mut self, operations: &[Operation], shapes: Vec<Shape>) {
        let is_pullable = operations.contains(&Operation::Pull);
        let is_writable = operations.iter().any(|operation| *operation != Operation::Pull);
        self.collected.push(Collected { shapes, is_pullable, is_writable });
    }

    /// Returns this side's shapes that the initiator may pull, sorted.
    fn pullable(&self) -> &[Shape] {
        pullable(&self.collected)
    }

    /// Returns the heads of a record here that the initiator may replace or delete.
    fn writable_at(&self, location: &LocationId) -> impl Iterator<Item = &Shape> {
        let writable = self.collected.iter().filter(|collected| collected.is_writable);
        writable.flat_map(|collected| record_of(&collected.shapes, location))
    }

    /// Returns this side's shapes at the locations of others, sorted, each once.
    fn own_at(&self, others: &[Shape]) -> Vec<Shape> {
        let locations: BTreeSet<LocationId> = others.iter().map(|shape| shape.location).collect();
        let at = |collected: &Collected| {
            let at = |location| record_of(&collected.shapes, location).to_vec();
            locations.iter().flat_map(at).collect::<Vec<Shape>>()
        };
        let mut own: Vec<Shape> = self.collected.iter().flat_map(at).collect();
        own.sort_by_key(Shape::entry);
        own.dedup_by_key(|shape| shape.entry());
        own
    }

    /// Returns the number of records here that are not deleted.
    fn readable(&self) -> u64 {
        if let Some(own) = self.own_set.as_ref().filter(|_| self.narrowed.is_some()) {
            return own.readable;
        }
        let readable = |collected| {
            let Collected { shapes, .. }: &Collected = collected;
            shapes.iter().filter(|shape| !shape.deleted)
        };
        match self.collected.as_slice() {
            [one] => count_records(readable(one)),
            several => {
                let all = several.iter().flat_map(readable).map(|shape| shape.location);
                all.collect::<BTreeSet<LocationId>>().len() as u64
            }
        }
    }

    pub(super) fn handle_digest(&mut self, part: Digest) -> Result<(), PeerMisbehaved> {
        if self.narrowed.is_some() && !matches!(part, Digest::Symbols(_)) {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        self.reconciling.as_mut().ok_or(PeerMisbehaved::OutOfOrder)?.handle(part)
    }

    pub(super) fn handle_offer(&mut self, part: Vec<Shape>) -> Result<(), PeerMisbehaved> {
        self.may_take()?;
        if self.narrowed.is_some() {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        self.offered.extend_shapes(part)
    }

    pub(super) fn handle_want(&mut self, part: Vec<u32>) -> Result<(), PeerMisbehaved> {
        let told = self.only_here.len();
        take_indices(&mut self.want, part, |position| (*position as usize) < told)
    }

    /// Returns the lookup of names for these entries, whose indices must be valid and each occur
    /// once. The pull grant covers the names just as the values.
    pub(super) fn handle_names_wanted(&mut self, part: Vec<u32>) -> Result<Lookup, PeerMisbehaved> {
        let told = self.only_here.len();
        let names: Vec<LocationId> = part
            .iter()
            .filter_map(|position| self.only_here.get(*position as usize))
            .map(|shape| shape.location)
            .collect();
        take_indices(&mut self.named, part, |position| (*position as usize) < told)?;
        Ok(Lookup { names, grant: self.pull.clone(), ..Lookup::default() })
    }

    /// Handles the initiator's report of records that it leaves out.
    pub(super) fn handle_left_out(&mut self, left: LeftOut) -> Result<LeftBehind, PeerMisbehaved> {
        if core::mem::replace(&mut self.left, true) {
            return Err(PeerMisbehaved::OutOfOrder);
        }
        if left.untaken.len() > MAX_NAMED || left.ungiven.len() > MAX_NAMED {
            return Err(PeerMisbehaved::TooMany);
        }
        let ungiven = left.untaken.iter().filter_map(|position| self.only_here.get(*position as usize));
        Ok(LeftBehind {
            not_given: left.not_taken,
            ungiven: ungiven.map(|shape| shape.location).collect(),
            not_taken: left.not_given,
            untaken: left.ungiven,
        })
    }

    pub(super) fn handle_push(&mut self, part: Vec<Shape>) -> Result<(), PeerMisbehaved> {
        self.may_take()?;
        let key = self.key_in_use();
        let told = |shape: &Shape| {
            self.is_compared(&shape.location) && self.only_there.contains(&key.symbol(&shape.entry()))
        };
        if !part.iter().all(told) {
            return Err(PeerMisbehaved::Unrequested);
        }
        self.pushed.extend_shapes(part)
    }

    /// Returns the key that entries have symbols under, also without a reconciliation.
    fn key_in_use(&self) -> SetKey {
        match &self.reconciling {
            Some(reconciling) => reconciling.key().clone(),
            None => SetKey::new(&self.keys.session, 0),
        }
    }

    fn may_take(&self) -> Result<(), PeerMisbehaved> {
        match self.push.is_some() || self.delete.is_some() {
            true => Ok(()),
            false => Err(PeerMisbehaved::OutOfOrder),
        }
    }

    /// Finds the entries that only this side holds, and those that only the initiator holds or
    /// offers and this side wants. Returns `Err` in the inner result if it needs more of the
    /// initiator's set.
    pub(super) fn compare(&mut self) -> Result<Result<Differing, NeedMore>, PeerMisbehaved> {
        let entries = pullable(&self.collected).iter().map(Shape::entry);
        let (only_here, only_there) =
            match self.reconciling.as_mut().map(|reconciling| reconciling.find(entries)) {
                None => (Vec::new(), Vec::new()),
                Some(Err(misbehaviour)) => return Err(misbehaviour),
                Some(Ok(DiffResult::Again(again))) => return Ok(Err(again)),
                Some(Ok(DiffResult::Found(only_here, only_there))) => (only_here, only_there),
            };
        self.only_here = only_here.iter().map(|at| self.pullable()[*at].clone()).collect();
        let differs: BTreeSet<LocationId> = self.only_here.iter().map(|shape| shape.location).collect();
        let same = self.pullable().iter().filter(|shape| !differs.contains(&shape.location));
        let unchanged = match self.own_set.as_ref().filter(|_| self.narrowed.is_some()) {
            Some(own) => own.records.saturating_sub(differs.len() as u64),
            None => count_records(same),
        };
        self.only_there = only_there.into_iter().collect();
        let key = self.key_in_use();
        let announced = self.only_here.iter().map(|shape| self.announced(shape, &key)).collect();
        let wanted = self.offered.items.iter().filter(|shape| self.lacks(shape));
        let wanted: Vec<Symbol> = wanted.map(|shape| key.symbol(&shape.entry())).collect();
        self.only_there.extend(wanted);
        let only_there = self.only_there.iter().map(|symbol| symbol.bits()).collect();
        Ok(Ok(Differing { only_here: announced, only_there, unchanged }))
    }

    /// Returns the shape of a head that only this side holds, for the initiator: of its ancestors
    /// only the initiator's heads, if symbols tell which these are.
    fn announced(&self, head: &Shape, key: &SetKey) -> Shape {
        let record = &head.location.record;
        let is_head_there = |id: &ShortId| {
            !self.only_there.is_empty()
                && key.short_symbol(record, id).is_none_or(|symbol| self.only_there.contains(&symbol))
        };
        Shape { ancestors: head.ancestors.only(is_head_there), ..head.clone() }
    }

    /// Returns whether an offered entry is neither held here nor replaced by a head that is.
    fn lacks(&self, offered: &Shape) -> bool {
        !self
            .writable_at(&offered.location)
            .any(|head| head.revision == offered.revision || head.ancestors.contains(&offered.revision))
    }

    /// Falls back to the next way of finding the difference.
    fn next_fallback(&mut self) -> Result<NeedMore, PeerMisbehaved> {
        let entries = pullable(&self.collected).iter().map(Shape::entry);
        self.reconciling.as_mut().ok_or(PeerMisbehaved::OutOfOrder)?.next_fallback(entries)
    }

    /// Returns the verdict for the log before anything is disclosed: the volume that the initiator
    /// may take.
    pub(super) fn verdict_to_give(&self) -> Vec<Verdict> {
        self.pull.iter().map(|grant| self.verdict(grant, &self.only_here)).collect()
    }

    /// Returns the verdicts for the log before anything is taken: the volume that the initiator
    /// pushes.
    pub(super) fn verdicts_to_take(&self, take: &[Shape]) -> Vec<Verdict> {
        let (deleted, written): (Vec<&Shape>, Vec<&Shape>) = take.iter().partition(|shape| shape.deleted);
        let push = self.push.iter().map(|grant| self.verdict(grant, written.iter().copied()));
        let deletes = self.push.is_none() || !deleted.is_empty();
        let delete = self.delete.iter().filter(|_| deletes);
        push.chain(delete.map(|grant| self.verdict(grant, deleted.iter().copied()))).collect()
    }

    /// Returns the lookup of heads here that may have come from the initiator, needed before there
    /// can be a plan.
    pub(super) fn look(&self) -> Lookup {
        let pushed = &self.pushed.items;
        let own = self.own_at(pushed);
        let mut many = BTreeMap::<LocationId, usize>::new();
        own.iter().chain(pushed).for_each(|shape| *many.entry(shape.location).or_default() += 1);
        let crowded =
            |shape: &&Shape| many.get(&shape.location).is_some_and(|heads| *heads > MAX_ADDED_HEADS);
        Lookup { delivered: own.iter().filter(crowded).map(Shape::entry).collect(), ..Lookup::default() }
    }

    pub(super) fn looked(&mut self, look: &Lookup, looked: &LookupResult) {
        let delivered = look.delivered.iter().zip(&looked.delivered).filter(|(_, is)| **is);
        self.delivered = delivered.map(|(entry, _)| *entry).collect();
    }

    fn verdict<'a>(&self, grant: &Grant, shapes: impl IntoIterator<Item = &'a Shape>) -> Verdict {
        let selection = self.selection.clone();
        Verdict {
            operation: grant.operation(),
            ours: false,
            selection,
            allowed: true,
            volume: volume(shapes),
        }
    }

    /// Plans the entries that this side takes of the pushed ones.
    pub(super) fn plan_to_take(&self) -> Plan {
        let pushed = &self.pushed.items;
        let plan = plan_through(&self.own_at(pushed), pushed, TAKE, self);
        let others = self.readable().saturating_sub(plan.readable_here);
        plan.and_unchanged(others, others)
    }

    /// Returns the revisions of the compared set that the initiator lacks; `None` if no set was
    /// compared.
    pub(super) fn lacking_there(&self) -> Option<Vec<RevisionId>> {
        self.reconciling.as_ref().map(|_| self.only_here.iter().map(|shape| shape.revision).collect())
    }

    /// Returns the offered revisions that are here too.
    pub(super) fn offered_here(&self) -> impl Iterator<Item = RevisionId> {
        let is_here = |offered: &&Shape| {
            self.writable_at(&offered.location).any(|head| head.revision == offered.revision)
        };
        self.offered.items.iter().filter(is_here).map(|shape| shape.revision)
    }

    /// Returns the shapes that the initiator wants.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Shape> {
        self.want.iter().map(|position| &self.only_here[*position as usize])
    }

    /// Returns what the initiator holds once it has what it wants and `take` is taken here, where
    /// it may pull.
    pub(super) fn acknowledged(&self, take: &[Shape]) -> Option<Acknowledged> {
        let wanted: BTreeSet<EntryId> = self.wanted().map(Shape::entry).collect();
        let stays = |entry: &EntryId| {
            !wanted.contains(entry) && !is_replaced_by(entry, record_of(take, &entry.location))
        };
        let except =
            self.only_here.iter().map(Shape::entry).filter(stays).map(|entry| entry.location).collect();
        Some(Acknowledged { scope: self.pull.as_ref()?.scope().clone(), except })
    }

    /// Returns the sender of the entries that the initiator wants, if any.
    pub(super) fn outgoing(&self, key: Option<RecipientKey>) -> Result<Option<BatchSender>, PeerMisbehaved> {
        let wanted: Vec<Shape> = self.wanted().cloned().collect();
        match (&self.pull, key) {
            _ if wanted.is_empty() => Ok(None),
            (Some(grant), Some(key)) => Ok(Some(BatchSender::new(grant.clone(), key, &wanted))),
            _ => Err(PeerMisbehaved::BadKey),
        }
    }

    /// Returns the indices of the taken entries in the list of pushed ones.
    pub(super) fn positions(&self, take: &[Shape]) -> Vec<u32> {
        positions(&self.pushed.items, take)
    }

    /// Returns the receiver of the taken entries, if any.
    pub(super) fn incoming(self, take: Vec<Shape>) -> Option<BatchReceiver> {
        let own = self.own_at(&take);
        let (push, delete) = (self.push, self.delete);
        let expected = |take| Expected::Granted { entries: ShapeList::new(take, &own), push, delete };
        (!take.is_empty()).then(|| BatchReceiver::new(expected(take)))
    }
}

impl Sieve for Sync {
    fn delivered(&self, head: &Shape) -> bool {
        self.delivered.contains(&head.entry())
    }
}

const TAKE: PlanOptions = PlanOptions { take: true, give: false, on_conflict: OnConflict::KeepBoth };

fn pullable(collected: &[Collected]) -> &[Shape] {
    collected.iter().find(|collected| collected.is_pullable).map_or(&[], |collected| &collected.shapes)
}
