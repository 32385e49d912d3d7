//! A replica and its file, and the link over which two replicas hold a session. Batches are not
//! sealed on the link, and it can be cut after any message.

#[allow(dead_code, reason = "the sync crate's tests need more of it")]
#[path = "../../../../stronghold-sync/tests/it/session/pair.rs"]
mod pair;

use std::time::Duration;

use stronghold_sync::{
    ClientId, DeviceId, MAX_ANCESTORS, Mapping, Operation, RevisionId, Rule, Selection, Shape,
    message::{Message, RecipientKey},
    reconcile::PairSecret,
    session::{
        Action, Changes, Event, Export, HeldSet, Import, Initiator, Lookup, LookupResult, PeerMisbehaved,
        Responder, SessionRequest, Task, TaskError, TaskResult, Verdict,
    },
};
use stronghold_vault::{AuditRecord, Entry, HeldHeads, Peer, RejectReason, Stronghold};

pub(crate) use self::pair::Outcome;
use self::pair::{End, Host, Performed, drive};
use super::outline::{CLEAN, COMPLETE, FORKED, REMOVED};
use crate::common::{bytes, ms, new};

/// The selection that every replica lets every other one take, write and delete.
pub(crate) const GRANTED: &str = "shared/**";
/// The secret of each two replicas.
pub(crate) const PAIR: PairSecret = PairSecret::from_bytes([8; 32]);
/// The client that is granted to nobody.
pub(crate) const PRIVATE: &str = "private";

/// A set of revisions: bit n stands for the n-th one that a case wrote.
pub(crate) type Seen = u128;

/// The permissions of one replica for another within the granted selection: take, write, delete.
/// The last two may be limited to one vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) pull: bool,
    pub(crate) push: bool,
    pub(crate) delete: bool,
    pub(crate) narrow: bool,
}

impl Allowed {
    pub(crate) const ALL: Self = Self { pull: true, push: true, delete: true, narrow: false };

    /// Returns the selection that may be written and deleted.
    pub(crate) fn written(self) -> &'static str {
        if self.narrow { "shared/a/**" } else { GRANTED }
    }
}

/// A Stronghold's file, the revisions that its content had seen, and its rules. Also serves as a
/// backup.
#[derive(Clone, Debug)]
pub(crate) struct File {
    bytes: Vec<u8>,
    seen: Seen,
    rules: Vec<Allowed>,
}

/// A Stronghold in memory and its file, with the model's knowledge of the revisions it has seen.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) device: DeviceId,
    pub(crate) stronghold: Stronghold,
    pub(crate) seen: Seen,
    /// The permissions of each other replica here.
    pub(crate) rules: Vec<Allowed>,
    /// The replica's clock.
    pub(crate) now: u64,
    /// Set if the replica computes for itself what it would send without rules.
    pub(crate) looks_further: bool,
    /// The heads of the last digest that the peer was not known to hold.
    unknown: Vec<RevisionId>,
    file: File,
    /// The extent of its forgetting: see [`super::outline`].
    mode: u8,
    /// The generation of the file.
    generation: u64,
}

impl Replica {
    pub(crate) fn new(number: usize, replicas: usize) -> Self {
        Self::forgetting(number, replicas, COMPLETE)
    }

    /// Creates a replica that forgets what all others have passed, unless `mode` is [`COMPLETE`].
    pub(crate) fn forgetting(number: usize, replicas: usize, mode: u8) -> Self {
        let mut stronghold = fresh(replicas);
        if mode != COMPLETE {
            let others = (0..replicas).filter(|other| *other != number);
            others.for_each(|other| stronghold.peers_mut().insert(device(other), peer(other)));
        }
        let rules = vec![Allowed::ALL; replicas];
        let file = File { bytes: bytes(&stronghold), seen: 0, rules: rules.clone() };
        let (device, looks_further) = (device(number), false);
        let mut replica = Self {
            device,
            stronghold,
            seen: 0,
            rules,
            now: 0,
            looks_further,
            unknown: Vec::new(),
            file,
            mode,
            generation: 0,
        };
        replica.limit();
        replica
    }

    fn limit(&mut self) {
        match self.mode {
            CLEAN => self.stronghold.set_forgetting(0, 1024, Duration::ZERO),
            REMOVED => self.stronghold.set_forgetting(0, 0, Duration::ZERO),
            FORKED => self.stronghold.set_forgetting(8, 1024, Duration::ZERO),
            _ => self.stronghold.set_forgetting(MAX_ANCESTORS, 1024, Duration::MAX),
        }
    }

    /// Begins a change of the file.
    pub(crate) fn next_generation(&mut self) {
        self.generation += 1;
        self.stronghold.set_generation(self.generation);
    }

    /// Replaces this replica by a new device.
    pub(crate) fn replace(&mut self, replicas: usize) {
        (self.stronghold, self.seen) = (fresh(replicas), 0);
        self.rules = vec![Allowed::ALL; replicas];
        self.commit();
    }

    /// Sets the permissions of another replica from now on.
    pub(crate) fn allow(&mut self, peer: usize, allowed: Allowed) {
        self.rules[peer] = allowed;
        self.stronghold.policy_mut().revoke(&device(peer));
        grant(&mut self.stronghold, peer, allowed);
    }

    pub(crate) fn commit(&mut self) -> File {
        if self.mode != COMPLETE {
            self.stronghold.forget(ms(self.now));
        }
        self.file = File { bytes: bytes(&self.stronghold), seen: self.seen, rules: self.rules.clone() };
        self.file.clone()
    }

    /// Drops the memory and reads the file again.
    pub(crate) fn crash(&mut self) {
        self.stronghold = Stronghold::from_payload(&self.file.bytes).unwrap();
        self.limit();
        self.seen = self.file.seen;
        self.rules.clone_from(&self.file.rules);
    }

    /// Replaces this replica's file by another one.
    pub(crate) fn load(&mut self, file: &File) {
        self.file = file.clone();
        self.crash();
    }

    /// Performs a task of this side's session. `gains` are the revisions seen once a batch is
    /// merged.
    fn perform(&mut self, task: Task, peer: DeviceId, gains: Seen) -> Result<TaskResult, TaskError> {
        Ok(match task {
            Task::Shapes(scope) => {
                let shapes = self.stronghold.shapes(&scope, &Mapping::default());
                if !self.looks_further {
                    assert_none_is_private(&shapes);
                }
                TaskResult::Shapes(shapes)
            }
            Task::ShapesAt(scope, records) => {
                let named = self.stronghold.named_shapes_at(&records, scope.first());
                let within = named.into_iter().filter(|(name, _)| scope.covers_text(name));
                TaskResult::Shapes(within.map(|(_, shape)| shape).collect())
            }
            Task::Digest(query) => {
                let HeldHeads { held, unknown } = self.stronghold.held_heads(&query, &peer);
                let mut shapes = self.stronghold.shapes(&query.scope, &Mapping::default());
                let plain = HeldSet { candidates: None, ..held.clone() };
                assert_eq!(plain, query.answer(&shapes), "the digest that was kept is another");
                shapes.retain(|shape| !self.stronghold.peers().was_disclosed_to(&peer, &shape.revision));
                assert_eq!(held.candidates.as_ref(), Some(&shapes));
                self.unknown = unknown;
                TaskResult::Digest(Box::new(held))
            }
            Task::Plan(_) => TaskResult::Proceed { deletions_confirmed: false },
            Task::Confirm(_) => TaskResult::Denied,
            Task::Lookup(look) => self.look(&look, &peer),
            Task::Export(export) => self.export(&export)?,
            Task::Import(import) => self.import(&import, peer, gains)?,
            other => panic!("not in these sessions: {other:?}"),
        })
    }

    fn look(&self, look: &Lookup, peer: &DeviceId) -> TaskResult {
        let names: Vec<_> = look.names.iter().map(|id| self.stronghold.names_of(id)).collect();
        if look.grant.is_some() {
            assert!(names.iter().flatten().all(|name| name.client() != PRIVATE), "named: {names:?}");
        }
        let lacking = look.lacking.iter().map(|head| self.stronghold.lacks(peer, head)).collect();
        let delivered =
            look.delivered.iter().map(|entry| self.stronghold.is_delivered_by(peer, entry)).collect();
        TaskResult::Looked(LookupResult { names, lacking, delivered })
    }

    fn export(&self, export: &Export) -> Result<TaskResult, TaskError> {
        let Ok(entries) = self.stronghold.export(&export.grant, &export.entries, ms(0)) else {
            return Err(TaskError::NotPermitted);
        };
        assert!(entries.iter().all(|entry| entry.location.client() != PRIVATE), "exported: {entries:?}");
        assert_eq!(entries.len(), export.entries.len(), "all that was promised is there");
        Ok(TaskResult::Sealed(rmp_serde::to_vec(&entries).unwrap()))
    }

    fn import(&mut self, import: &Import, peer: DeviceId, gains: Seen) -> Result<TaskResult, TaskError> {
        let Ok(entries) = rmp_serde::from_slice::<Vec<Entry>>(&import.sealed) else {
            return Err(TaskError::Peer(PeerMisbehaved::BadBatch));
        };
        let policy = self.stronghold.policy().clone();
        self.next_generation();
        let merged = self.stronghold.import(&entries, peer, ms(self.now), |location, entry, revision| {
            import
                .expected
                .check(&policy, location, &revision.shape(entry), ms(0))
                .map_err(RejectReason::from)
        });
        let Ok(report) = merged else {
            return Err(TaskError::Peer(PeerMisbehaved::Unrequested));
        };
        // A confirmed batch is durable, and every session here fits into one batch.
        self.seen |= gains;
        self.commit();
        let (received, deleted, conflicts) = (report.received, report.deleted, report.conflicts);
        Ok(TaskResult::Imported(Changes { received, deleted, conflicts }))
    }

    fn log(&mut self, verdicts: Vec<Verdict>, device: DeviceId) {
        for Verdict { operation, selection, allowed, volume, .. } in verdicts {
            let (entries, bytes) = (volume.entries, volume.bytes);
            let decided = AuditRecord {
                time: ms(0),
                device,
                action: operation.into(),
                selection,
                allowed,
                entries,
                bytes,
            };
            self.stronghold.log_decision(decided);
        }
        self.commit();
    }
}

/// Creates an empty Stronghold that allows all replicas everything: a file may be copied from one
/// to another.
fn fresh(replicas: usize) -> Stronghold {
    let mut stronghold = new();
    (0..replicas).for_each(|number| grant(&mut stronghold, number, Allowed::ALL));
    stronghold
}

fn grant(stronghold: &mut Stronghold, number: usize, allowed: Allowed) {
    let Allowed { pull, push, delete, .. } = allowed;
    let rules = [
        (true, Operation::Import, GRANTED),
        (true, Operation::Browse, GRANTED),
        (pull, Operation::Pull, GRANTED),
        (push, Operation::Push, allowed.written()),
        (delete, Operation::Delete, allowed.written()),
    ];
    for (_, operation, selection) in rules.into_iter().filter(|(granted, ..)| *granted) {
        stronghold.policy_mut().grant(Rule {
            device: device(number),
            operations: [operation].into(),
            selection: select(selection),
            expires: None,
            ask: false,
        });
    }
}

fn peer(number: usize) -> Peer {
    let (name, own_name) = (format!("replica {number}"), String::new());
    Peer { name, own_name, spki: Vec::new(), address: None, paired: ms(0), generation: 0, rendezvous: None }
}

fn device(number: usize) -> DeviceId {
    DeviceId::from_bytes([number as u8 + 1; 32])
}

pub(crate) fn select(text: &str) -> Selection {
    text.parse().unwrap()
}

/// Returns a one-time key for batches that are not sealed.
pub(crate) fn key() -> RecipientKey {
    RecipientKey::new(vec![7; 8]).unwrap()
}

fn assert_none_is_private(shapes: &[Shape]) {
    let private = ClientId::of(PRIVATE);
    assert!(shapes.iter().all(|shape| shape.location.client != private), "told: {shapes:?}");
}

/// One end of the link: a replica, its peer, and the revisions it will have seen after merging.
struct Side<'a> {
    replica: &'a mut Replica,
    peer: DeviceId,
    gains: Seen,
}

impl Host for Side<'_> {
    fn act(&mut self, action: Action) -> Performed {
        match action {
            Action::Send(Message::Push(shapes) | Message::Offer(shapes) | Message::Missing(shapes)) => {
                assert_none_is_private(&shapes);
            }
            Action::Notify(Event::Log(verdicts)) => self.replica.log(verdicts, self.peer),
            Action::Notify(Event::Acknowledged(acknowledged)) => {
                let Replica { stronghold, generation, .. } = &mut *self.replica;
                stronghold.peers_mut().acknowledge(&self.peer, &acknowledged, *generation);
                self.replica.commit();
            }
            Action::Notify(Event::PeerHoldsAll { except }) => {
                let Replica { stronghold, unknown, .. } = &mut *self.replica;
                let known = std::mem::take(unknown).into_iter().filter(|head| !except.contains(head));
                stronghold.record_disclosed(&self.peer, known);
            }
            Action::Perform(task) => return self.replica.perform(task, self.peer, self.gains).map(Some),
            Action::Send(_) | Action::Notify(_) | Action::Finished(_) => {}
        }
        Ok(None)
    }
}

/// Drives a session between two replicas, each with the revisions it will have seen after merging.
/// After `cut` messages the link is cut and messages in flight are lost.
pub(crate) fn run(
    ask: SessionRequest,
    secret: [u8; 32],
    (asking, gains): (&mut Replica, Seen),
    (asked, gains_of_asked): (&mut Replica, Seen),
    cut: Option<usize>,
) -> Outcome {
    let arrives = |number| cut.is_none_or(|cut| number < cut);
    run_seen(ask, secret, (asking, gains), (asked, gains_of_asked), |number, _| arrives(number))
}

/// Drives a session as [`run`] does; `arrives` sees each message in flight, with its number, and
/// decides whether it arrives.
pub(crate) fn run_seen(
    ask: SessionRequest,
    secret: [u8; 32],
    (asking, gains): (&mut Replica, Seen),
    (asked, gains_of_asked): (&mut Replica, Seen),
    mut arrives: impl FnMut(usize, &Message) -> bool,
) -> Outcome {
    // A command is done only once it is durable, and sessions come after it.
    [&mut *asking, &mut *asked]
        .into_iter()
        .filter(|side| side.mode != COMPLETE)
        .for_each(|side| _ = side.commit());
    let session = Responder::new(asked.stronghold.policy().clone(), asking.device, ms(0), key(), secret)
        .with_pair_secret(PAIR);
    let peers = [asked.device, asking.device];
    let mut a = Side { replica: asking, peer: peers[0], gains };
    let mut b = Side { replica: asked, peer: peers[1], gains: gains_of_asked };
    drive(End::new(Initiator::new(ask), &mut a), End::new(session, &mut b), |_, number, message| {
        Vec::from_iter(arrives(number, &message).then_some(message))
    })
}
