//! Two hosts without cryptography and a link between them, to run sessions on.

#[path = "pair.rs"]
mod pair;

use std::collections::{BTreeMap, BTreeSet};

use serde_bytes::ByteBuf;
use stronghold_sync::{
    Ancestors, DeviceId, EntryId, Grant, Location, LocationId, Operation, Plan, Policy, Replaced, RevisionId,
    Rule, Scope, Selection, Shape, Timestamp, heads,
    message::{Listing, Message, RecipientKey},
    reconcile::PairSecret,
    reconcile::internals::{Set, SetKey},
    session::{
        Acknowledged, Action, Changes, Consent, Event, Export, HeldSet, Import, Initiator, LeftBehind,
        Lookup, LookupResult, PeerMisbehaved, Push, Responder, SessionRequest, SyncOptions, Take, Task,
        TaskError, TaskResult, Unexpected, Verdict,
    },
};

use self::pair::{Host, Performed};
pub(crate) use self::pair::{Outcome, Way, drive};

pub(crate) const A: DeviceId = DeviceId::from_bytes([0xA; 32]);
pub(crate) const B: DeviceId = DeviceId::from_bytes([0xB; 32]);

/// The secret of the pair.
pub(crate) const PAIR: PairSecret = PairSecret::from_bytes([8; 32]);

pub(crate) const SECRET: [u8; 32] = [5; 32];

/// Returns a set under the session's first key.
pub(crate) fn set(entries: impl IntoIterator<Item = EntryId>) -> Set {
    Set::new(SetKey::new(&SECRET, 0), entries)
}

/// Returns the symbols of entries in the form of a message.
pub(crate) fn symbols(entries: impl IntoIterator<Item = EntryId>) -> ByteBuf {
    let set = set(entries);
    ByteBuf::from(set.symbols().iter().flat_map(|symbol| symbol.bits().to_le_bytes()).collect::<Vec<u8>>())
}

pub(crate) fn at(text: &str) -> Location {
    text.parse().unwrap()
}

/// Returns the time so many milliseconds after the beginning of 1970.
pub(crate) const fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn select(text: &str) -> Selection {
    text.parse().unwrap()
}

pub(crate) fn key(of: u8) -> RecipientKey {
    RecipientKey::new(vec![of; 8]).unwrap()
}

/// A message or a decision at a host, in order.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "few of them, in tests")]
pub(crate) enum Trace {
    Sent(Message),
    Logged(Verdict),
}

/// A host: shapes in a map; a sealed batch is the list of its entries.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: DeviceId,
    pub(crate) policy: Policy,
    pub(crate) records: BTreeMap<LocationId, (Location, Vec<Shape>)>,
    pub(crate) events: Vec<Trace>,
    pub(crate) found: Vec<Listing>,
    /// Revisions that the peer of the last session holds or is about to receive.
    pub(crate) known: BTreeSet<RevisionId>,
    /// Reported progress: entries that the peer has confirmed, and their total.
    pub(crate) given: Vec<(u64, u64)>,
    pub(crate) approves: bool,
    /// Number of times that the peer said that it asks its user.
    pub(crate) asked_there: usize,
    /// `true` if the user here lets a peer delete many records.
    pub(crate) confirms_losses: bool,
    /// The last plan that this side made as initiator.
    pub(crate) plan: Option<Plan>,
    /// The peer's report of records that it leaves out, and the records that it declined.
    pub(crate) left: Option<LeftBehind>,
    pub(crate) declined: Vec<LocationId>,
    /// The peer's acknowledgement.
    pub(crate) acknowledged: Option<Acknowledged>,
    /// Revisions that came from the peer of the last sessions.
    pub(crate) delivered: BTreeSet<RevisionId>,
    /// The heads of the last digest.
    pub(crate) digested: Vec<RevisionId>,
    /// Number of times that all shapes were collected in this session, and records of which alone
    /// they were.
    pub(crate) collected: usize,
    pub(crate) looked_at: Vec<LocationId>,
    /// The revisions that the peer is known to hold from all sessions; `None` if this host does not
    /// remember them.
    pub(crate) confirmed: Option<BTreeSet<RevisionId>>,
    pub(crate) on_plan: TaskResult,
    pub(crate) now: Timestamp,
    /// The result to return instead, with the number of the task or log.
    pub(crate) sabotage: Option<(usize, Performed)>,
    /// Actions that inform or query the host and are neither messages nor content, in order.
    pub(crate) told: Vec<Action>,
    pub(crate) actions: usize,
    pub(crate) written: u64,
}

impl Node {
    pub(crate) fn new(id: DeviceId) -> Self {
        Self {
            id,
            policy: Policy::default(),
            records: BTreeMap::new(),
            events: Vec::new(),
            found: Vec::new(),
            known: BTreeSet::new(),
            given: Vec::new(),
            approves: false,
            asked_there: 0,
            confirms_losses: false,
            plan: None,
            left: None,
            declined: Vec::new(),
            acknowledged: None,
            delivered: BTreeSet::new(),
            digested: Vec::new(),
            collected: 0,
            looked_at: Vec::new(),
            confirmed: None,
            on_plan: TaskResult::Proceed { deletions_confirmed: false },
            now: ms(0),
            sabotage: None,
            told: Vec::new(),
            actions: 0,
            written: 0,
        }
    }

    pub(crate) fn allow(mut self, device: DeviceId, operations: &[Operation], selection: &str) -> Self {
        self.grant(device, operations, selection, false);
        self
    }

    pub(crate) fn grant(&mut self, device: DeviceId, operations: &[Operation], selection: &str, ask: bool) {
        let operations = operations.iter().copied().collect();
        let rule = Rule { device, operations, selection: select(selection), expires: None, ask };
        self.policy.grant(rule);
    }

    /// Replaces all heads by a new revision.
    pub(crate) fn write(&mut self, location: &str, deleted: bool) -> Shape {
        self.written += 1;
        let mut id = [self.id.as_bytes()[0]; 32];
        id[1..8].copy_from_slice(&self.written.to_be_bytes()[1..]);
        let location = at(location);
        let (_, held) = self.records.entry(location.id()).or_insert_with(|| (location.clone(), Vec::new()));
        let replaced: Vec<_> = held
            .iter()
            .map(|head| Replaced { id: head.revision, shared: true, ancestors: &head.ancestors })
            .collect();
        let shape = Shape {
            location: location.id(),
            revision: RevisionId::from_bytes(id),
            ancestors: Ancestors::for_successor(&replaced),
            size: 64,
            deleted,
        };
        *held = vec![shape.clone()];
        shape
    }

    pub(crate) fn put(&mut self, location: &str) -> Shape {
        self.write(location, false)
    }

    pub(crate) fn remove(&mut self, location: &str) -> Shape {
        self.write(location, true)
    }

    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.records = other.records.clone();
    }

    pub(crate) fn heads(&self, selection: &str) -> Vec<Shape> {
        self.shapes(&Scope::of(select(selection)))
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let verdict = |event: &Trace| match event {
            Trace::Logged(verdict) => Some(verdict.clone()),
            Trace::Sent(_) => None,
        };
        self.events.iter().filter_map(verdict).collect()
    }

    pub(crate) fn sent(&self) -> Vec<Message> {
        let message = |event: &Trace| match event {
            Trace::Sent(message) => Some(message.clone()),
            Trace::Logged(_) => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    fn shapes(&self, scope: &Scope) -> Vec<Shape> {
        let covered = self.records.values().filter(|(location, _)| scope.covers(location));
        covered.flat_map(|(_, heads)| heads.clone()).collect()
    }

    fn listing(&self, grant: &Grant) -> Vec<Listing> {
        let mut found = Vec::new();
        for (location, heads) in self.records.values().filter(|(location, _)| grant.scope().covers(location))
        {
            let Some(shown) = heads.iter().find(|head| !head.deleted) else {
                continue;
            };
            let (revision, size) = (shown.revision, shown.size);
            let conflict = heads.len() > 1;
            found.push(Listing { location: location.clone(), revision, size, modified: ms(1), conflict });
        }
        found.sort_by(|a, b| a.location.cmp(&b.location));
        found
    }

    fn export(&self, export: &Export) -> Result<TaskResult, TaskError> {
        let mut batch = Vec::new();
        for entry in &export.entries {
            assert!(self.known.contains(&entry.revision), "{entry:?} leaves, and nobody was told before");
            let Some((location, heads)) = self.records.get(&entry.location) else {
                continue;
            };
            if !self.policy.still_allows(&export.grant, location, self.now) {
                return Err(TaskError::NotPermitted);
            }
            let held = heads.iter().filter(|head| head.revision == entry.revision);
            batch.extend(held.map(|head| (location.clone(), head.clone())));
        }
        Ok(TaskResult::Sealed(sealed(&batch)))
    }

    fn import(&mut self, import: &Import) -> Result<TaskResult, TaskError> {
        let Ok(batch) = rmp_serde::from_slice::<Vec<(Location, Shape)>>(&import.sealed) else {
            return Err(TaskError::Peer(PeerMisbehaved::BadBatch));
        };
        for (location, shape) in &batch {
            match import.expected.check(&self.policy, location, shape, self.now) {
                Ok(()) => {}
                Err(Unexpected::Unrequested) => {
                    return Err(TaskError::Peer(PeerMisbehaved::Unrequested));
                }
                Err(Unexpected::NotPermitted) => {
                    return Err(TaskError::Peer(PeerMisbehaved::NotPermitted));
                }
                Err(Unexpected::Withdrawn) => return Err(TaskError::NotPermitted),
            }
        }
        // The peer has what it sends.
        let brought = batch.iter().map(|(_, shape)| shape.revision);
        self.confirmed.iter_mut().for_each(|confirmed| confirmed.extend(brought.clone()));
        Ok(TaskResult::Imported(self.merge(batch)))
    }

    fn look(&self, look: &Lookup) -> Result<TaskResult, TaskError> {
        let name = |id: &LocationId| self.records.get(id).map(|(location, _)| location.clone());
        let names: Vec<_> = look.names.iter().map(name).collect();
        if let Some(grant) = &look.grant
            && names.iter().flatten().any(|name| !self.policy.still_allows(grant, name, self.now))
        {
            return Err(TaskError::NotPermitted);
        }
        let lacking = look
            .lacking
            .iter()
            .map(|shape| !shape.deleted && !self.known.contains(&shape.revision))
            .collect();
        let delivered = look.delivered.iter().map(|entry| self.delivered.contains(&entry.revision)).collect();
        Ok(TaskResult::Looked(LookupResult { names, lacking, delivered }))
    }

    fn merge(&mut self, batch: Vec<(Location, Shape)>) -> Changes {
        let mut taken = Changes::default();
        let mut before = BTreeMap::new();
        for (location, shape) in batch {
            let (id, revision) = (location.id(), shape.revision);
            let (_, held) = self.records.entry(id).or_insert_with(|| (location, Vec::new()));
            before.entry(id).or_insert(readable(held));
            *held = heads(held.drain(..).chain([shape]));
            self.delivered.insert(revision);
            taken.received += u64::from(held.iter().any(|head| head.revision == revision));
        }
        for (id, was_readable) in before {
            let held = &self.records[&id].1;
            taken.deleted += u64::from(was_readable && !readable(held));
            taken.conflicts += u64::from(held.len() > 1);
        }
        taken
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Log(verdicts) => self.events.extend(verdicts.into_iter().map(Trace::Logged)),
            Event::Incoming(_) | Event::Edition(_) | Event::Duplicate(_) => {}
            Event::Asking => self.asked_there += 1,
            Event::Sent { entries, of } => self.given.push((entries, of)),
            Event::PeerHolds(revisions) => {
                assert!(!revisions.is_empty());
                self.learn(revisions);
            }
            Event::PeerHoldsAll { except } => {
                let known = self.digested.iter().filter(|head| !except.contains(head)).copied();
                self.learn(known.collect());
            }
            Event::Listing(found) => self.found = found,
            Event::LeftBehind(left) => self.left = Some(left),
            Event::Declined(records) => self.declined = records,
            Event::Acknowledged(acknowledged) => self.acknowledged = Some(acknowledged),
        }
    }

    fn learn(&mut self, revisions: Vec<RevisionId>) {
        self.confirmed.iter_mut().for_each(|confirmed| confirmed.extend(&revisions));
        self.known.extend(revisions);
    }

    fn perform(&mut self, task: Task) -> Result<TaskResult, TaskError> {
        let yes = |yes: bool| if yes { TaskResult::Approved } else { TaskResult::Denied };
        Ok(match task {
            Task::Shapes(scope) => {
                self.collected += 1;
                TaskResult::Shapes(self.shapes(&scope))
            }
            Task::ShapesAt(scope, records) => {
                let shapes = self.shapes(&scope);
                let at = shapes.into_iter().filter(|shape| records.contains(&shape.location)).collect();
                self.looked_at = records;
                TaskResult::Shapes(at)
            }
            Task::Digest(query) => {
                let heads = self.shapes(&query.scope);
                self.digested = heads.iter().map(|head| head.revision).collect();
                let candidates = self.confirmed.as_ref().map(|confirmed| {
                    heads.iter().filter(|head| !confirmed.contains(&head.revision)).cloned().collect()
                });
                TaskResult::Digest(Box::new(HeldSet { candidates, ..query.answer(&heads) }))
            }
            Task::List(grant) => TaskResult::Listing(self.listing(&grant)),
            Task::Approve(_) => yes(self.approves),
            Task::Confirm(_) => yes(self.confirms_losses),
            Task::Plan(plan) => {
                self.plan = Some(*plan);
                self.on_plan.clone()
            }
            Task::Lookup(look) => self.look(&look)?,
            Task::Export(export) => self.export(&export)?,
            Task::Import(import) => self.import(&import)?,
        })
    }
}

impl Host for Node {
    fn begin(&mut self) {
        self.events.clear();
        self.known.clear();
        self.given.clear();
        self.told.clear();
        self.acknowledged = None;
        self.collected = 0;
        self.looked_at.clear();
        self.actions = 0;
    }

    fn act(&mut self, action: Action) -> Performed {
        match &action {
            Action::Perform(task @ (Task::Lookup(_) | Task::Confirm(_))) => {
                self.told.push(Action::Perform(task.clone()));
            }
            Action::Notify(
                Event::PeerHolds(_) | Event::Sent { .. } | Event::Log(_) | Event::Acknowledged(_),
            ) => {}
            Action::Notify(event) => self.told.push(Action::Notify(event.clone())),
            _ => {}
        }
        if matches!(action, Action::Perform(_) | Action::Notify(Event::Log(_))) {
            self.actions += 1;
            if let Some((_, instead)) =
                self.sabotage.as_ref().filter(|(number, _)| number + 1 == self.actions)
            {
                return instead.clone();
            }
        }
        match action {
            Action::Send(message) => self.events.push(Trace::Sent(message)),
            Action::Finished(_) => {}
            Action::Perform(task) => return self.perform(task).map(Some),
            Action::Notify(event) => self.note(event),
        }
        Ok(None)
    }
}

fn readable(heads: &[Shape]) -> bool {
    heads.iter().any(|head| !head.deleted)
}

pub(crate) fn sealed(batch: &[(Location, Shape)]) -> Vec<u8> {
    rmp_serde::to_vec(batch).unwrap()
}

/// One end: a session and its host.
pub(crate) type End<'a, S> = pair::End<'a, S, Node>;

pub(crate) fn run(ask: SessionRequest, a: &mut Node, b: &mut Node) -> Outcome {
    run_tampered(ask, a, b, |_, _, message| vec![message])
}

/// Runs a session; `tamper` sees each message in flight, with its number, and returns what arrives.
pub(crate) fn run_tampered(
    ask: SessionRequest,
    a: &mut Node,
    b: &mut Node,
    tamper: impl FnMut(Way, usize, Message) -> Vec<Message>,
) -> Outcome {
    let asked = Responder::new(b.policy.clone(), a.id, b.now, key(0xB), SECRET).with_pair_secret(PAIR);
    drive(End::new(Initiator::new(ask), a), End::new(asked, b), tamper)
}

/// Returns the request of a sync that takes everything the peer gives.
pub(crate) fn sync(selection: &str, pull: bool, push: Option<Grant>) -> SessionRequest {
    let push = push.map_or(Push::No, Push::Granted);
    sync_by(selection, pull.then_some(Take::Everything), push, false)
}

pub(crate) fn sync_by(selection: &str, take: Option<Take>, push: Push, names: bool) -> SessionRequest {
    SessionRequest::Sync(SyncOptions {
        selection: select(selection),
        take,
        push,
        names,
        key: key(0xA),
        secret: SECRET,
        pair: None,
    })
}

/// Returns the request of a plain sync in both directions: `a` takes what its own rules for `b`
/// cover.
pub(crate) fn sync_by_rules(selection: &str, a: &Node) -> SessionRequest {
    let granted = |operation| match a.policy.decide(&B, operation, &select(selection), a.now) {
        stronghold_sync::Decision::Allowed(grant) => Some(grant),
        _ => None,
    };
    let (push, delete) = (granted(Operation::Push), granted(Operation::Delete));
    let take = Take::Granted(Consent { push, delete, also: BTreeSet::new() });
    sync_by(selection, Some(take), granted(Operation::Pull).map_or(Push::NotGranted, Push::Granted), false)
}

/// Returns the request of a sync in both directions, with the grant of `a`'s own policy.
pub(crate) fn sync_both(selection: &str, a: &Node) -> SessionRequest {
    sync(selection, true, Some(may_give(selection, a)))
}

pub(crate) fn may_give(selection: &str, a: &Node) -> Grant {
    let decision = a.policy.decide(&B, Operation::Pull, &select(selection), a.now);
    let stronghold_sync::Decision::Allowed(grant) = decision else { panic!("may not give: {decision:?}") };
    grant
}

pub(crate) fn entries(messages: &[Message]) -> BTreeSet<EntryId> {
    let mut entries = BTreeSet::new();
    for message in messages {
        match message {
            Message::Push(shapes) | Message::Offer(shapes) | Message::Missing(shapes) => {
                entries.extend(shapes.iter().map(Shape::entry));
            }
            _ => {}
        }
    }
    entries
}
