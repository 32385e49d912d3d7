//! A session's work on a vault file. It may block, so it runs off the threads of the runtime.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use stronghold_snapshot::{
    ComplementReceiver, Manifest, RecipientPublicKey, RecipientSecretKey, SharedVault, now, seal_complement,
};
use stronghold_sync::{
    DeviceId, Edition, Grant, Location, LocationId, Losses, Mapping, RevisionId, Scope, Selection, Shape,
    Timestamp,
    session::{Acknowledged, Changes, DigestQuery, Expected, Export, Lookup, LookupResult, TaskResult},
};
use stronghold_vault::{
    Entry, ExportError, HeldHeads, ImportError, ImportReport, PendingStep, PublicIdentity, RejectReason,
    Stronghold,
};

use super::fault::HostError;
use crate::session::{
    binding::{request_of, stamp_of},
    knowledge::PeerKnowledge,
};

/// A session's part of the work on a vault file: the one-time key, the facts learnt about the peer
/// and the step that changes belong to.
pub(super) struct VaultWork {
    home: SharedVault,
    peer: PublicIdentity,
    /// Opens the peer's batches.
    receiver: ComplementReceiver,
    /// Number of batches sealed for the peer.
    sealed: u64,
    /// Records that imported batches deleted, emptied or shortened here, of those before the first.
    losses: Losses,
    /// The step of a session that the peer requested; `None` for a session of this side, which
    /// belongs to another step.
    pub(super) step: Option<PendingStep>,
    /// Facts about the peer, to be written with the next change.
    pub(super) knowledge: PeerKnowledge,
    /// `true` if two snapshots of the peer's identity are in use.
    pub(super) is_copied: bool,
    /// The generation of the file whose heads were compared with the peer's; or a later one, as
    /// long as this session alone has changed the file since. `None` before any was compared.
    level: Option<u64>,
    /// The set that is compared, once its digest was asked for.
    compared: Option<Compared>,
}

/// The set that a session compares with the peer's.
struct Compared {
    scope: Scope,
    /// The generation of the file of which the set is.
    generation: u64,
    /// Its heads that the peer is not known to hold.
    unknown: Vec<RevisionId>,
}

/// Locks a session's work, which only one task uses at a time.
pub(super) fn lock(work: &Mutex<VaultWork>) -> MutexGuard<'_, VaultWork> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VaultWork {
    pub(super) fn new(
        home: SharedVault,
        peer: PublicIdentity,
        own: DeviceId,
        secret: RecipientSecretKey,
        binding: &[u8; 32],
    ) -> Self {
        Self {
            home,
            receiver: ComplementReceiver::new(secret, peer.clone(), own, request_of(binding)),
            peer,
            sealed: 0,
            losses: Losses::default(),
            step: None,
            knowledge: PeerKnowledge::new(stamp_of(binding)),
            is_copied: false,
            level: None,
            compared: None,
        }
    }

    /// Returns the shapes in a scope.
    pub(super) fn shapes(&mut self, scope: &Scope) -> Result<TaskResult, HostError> {
        let (collected, generation) = self.collect(scope, |stronghold, first| {
            stronghold.shapes(&Scope::of(first.clone()), &Mapping::default())
        })?;
        Ok(self.compare(scope, collected.unwrap_or_else(|within| within), generation))
    }

    /// Returns the shapes of these records in a scope.
    pub(super) fn shapes_at(
        &mut self,
        scope: &Scope,
        records: &[LocationId],
    ) -> Result<TaskResult, HostError> {
        let (collected, generation) =
            self.collect_named(scope, |stronghold, first| stronghold.named_shapes_at(records, first))?;
        Ok(self.compare(scope, collected, generation))
    }

    /// Returns the shapes, after noting that the peer may compare them in the place of the digest.
    fn compare(&mut self, scope: &Scope, shapes: Vec<Shape>, generation: u64) -> TaskResult {
        let is_newer =
            |compared: &&mut Compared| compared.scope == *scope && compared.generation != generation;
        if let Some(compared) = self.compared.as_mut().filter(is_newer) {
            // Whether the peer compared the digest or these is not known here: only what is in both
            // can be said to be held by it.
            let there: BTreeSet<RevisionId> = shapes.iter().map(|shape| shape.revision).collect();
            compared.unknown.retain(|revision| there.contains(revision));
            compared.generation = generation;
        }
        TaskResult::Shapes(shapes)
    }

    /// Returns the digest of the heads in a scope, and notes which of them the peer is not known to
    /// hold.
    pub(super) fn digest(&mut self, query: &DigestQuery) -> Result<TaskResult, HostError> {
        let device = self.peer.device();
        let (collected, generation) =
            self.collect(&query.scope, |stronghold, _| stronghold.held_heads(query, &device))?;
        let HeldHeads { held, unknown } = collected
            .unwrap_or_else(|within| HeldHeads { held: query.answer(&within), unknown: revisions(&within) });
        self.compared = Some(Compared { scope: query.scope.clone(), generation, unknown });
        Ok(TaskResult::Digest(Box::new(held)))
    }

    /// Returns the heads of the compared set that the peer is not known to hold, except these.
    pub(super) fn unknown_except(&mut self, except: Vec<RevisionId>) -> Vec<RevisionId> {
        let except: BTreeSet<RevisionId> = except.into_iter().collect();
        let unknown = self.compared.take().map_or_else(Vec::new, |compared| compared.unknown);
        unknown.into_iter().filter(|revision| !except.contains(revision)).collect()
    }

    /// Returns what `all` collects in the scope's first selection, or in `Err` the shapes in scope
    /// if there are further selections; and the generation of the file.
    ///
    /// Holds the vault's lock while it matches the first selection: the rules, where the peer is
    /// the initiator. The peer's own selection is matched against those names only, without the
    /// lock.
    fn collect<T>(
        &mut self,
        scope: &Scope,
        all: impl FnOnce(&Stronghold, &Selection) -> T,
    ) -> Result<(Result<T, Vec<Shape>>, u64), HostError> {
        if scope.rest().is_some() {
            let (within, generation) = self.collect_named(scope, Stronghold::named_shapes)?;
            return Ok((Err(within), generation));
        }
        let (all, generation) = self.read(|stronghold| all(stronghold, scope.first()))?;
        Ok((Ok(all), generation))
    }

    /// Returns those of the named shapes that are in scope, and the generation of the file.
    fn collect_named(
        &mut self,
        scope: &Scope,
        named: impl FnOnce(&Stronghold, &Selection) -> Vec<(Box<str>, Shape)>,
    ) -> Result<(Vec<Shape>, u64), HostError> {
        let (named, generation) = self.read(|stronghold| named(stronghold, scope.first()))?;
        let rest = scope.rest();
        let is_in = |location: &str| rest.as_ref().is_none_or(|rest| rest.covers_text(location));
        let within = named.into_iter().filter(|(location, _)| is_in(location));
        Ok((within.map(|(_, shape)| shape).collect(), generation))
    }

    /// Reads the Stronghold; returns the generation of the file too.
    fn read<T>(&mut self, read: impl FnOnce(&Stronghold) -> T) -> Result<(T, u64), HostError> {
        let home = self.home.clone();
        let mut home = home.lock();
        home.refresh()?;
        let generation = home.file().sealer().generation();
        self.level.get_or_insert(generation);
        Ok((read(home.stronghold()), generation))
    }

    pub(super) fn list(&self, grant: &Grant) -> Result<TaskResult, HostError> {
        Ok(TaskResult::Listing(self.home.lock().refresh()?.list_for_peer(grant, now())?))
    }

    pub(super) fn export(&mut self, export: &Export) -> Result<Vec<u8>, HostError> {
        let to = RecipientPublicKey::from_bytes(export.key.as_bytes()).map_err(|_| HostError::BadKey)?;
        let mut home = self.home.lock();
        let stronghold = home.refresh()?;
        let entries = stronghold.export(&export.grant, &export.entries, now())?;
        self.knowledge.passes(entries.iter().map(|entry| entry.revision.ancestors.as_slice().len()));
        let manifest = Manifest {
            sender: stronghold.identity().device(),
            receiver: self.peer.device(),
            request: *self.receiver.request(),
            index: self.sealed,
        };
        let sealed = seal_complement(&entries, &to, stronghold.identity(), &manifest)?;
        self.sealed += 1;
        Ok(sealed)
    }

    /// Opens the peer's next batch.
    pub(super) fn open(&mut self, sealed: Vec<u8>) -> Result<Vec<Entry>, HostError> {
        Ok(self.receiver.open(sealed)?)
    }

    /// Merges the entries of a batch and commits them, or none of them.
    pub(super) fn import(&mut self, entries: &[Entry], expected: &Expected) -> Result<Changes, HostError> {
        let now = now();
        // The peer writes the stamp before it sends a batch.
        self.knowledge.is_stamped_there = true;
        let (report, losses) = self.update(|work, stronghold, level| {
            let mut losses = work.losses;
            if expected.is_unplanned() && losses.of == 0 {
                losses.of = stronghold.readable();
            }
            let (report, brought) = import_checked(stronghold, work.peer.device(), entries, expected, now)?;
            losses.lost += report.deleted + report.shrunk;
            if expected.is_unplanned() && losses.need_confirmation() {
                return Err(HostError::Deletions(losses));
            }
            // Merging may have made them longer than those that came.
            work.knowledge.passes(entries.iter().map(|entry| stronghold.longest_list(&entry.location.id())));
            // The peer holds each revision that it sends. They can be recorded only now: the record
            // skips revisions that are not held here.
            work.knowledge.write(stronghold, &work.peer.device(), brought, level);
            Ok((report, losses))
        })?;
        self.knowledge.written();
        self.losses = losses;
        Ok(Changes { received: report.received, deleted: report.deleted, conflicts: report.conflicts })
    }

    /// Looks up names, and what the peer lacks or delivered.
    pub(super) fn look(&self, look: &Lookup) -> Result<TaskResult, HostError> {
        let mut home = self.home.lock();
        let stronghold = home.refresh()?;
        let (device, now) = (self.peer.device(), now());
        let names: Vec<Option<Location>> = look.names.iter().map(|id| stronghold.names_of(id)).collect();
        if let Some(grant) = &look.grant
            && names.iter().any(|name| {
                !name.as_ref().is_some_and(|name| stronghold.policy().still_allows(grant, name, now))
            })
        {
            return Err(ExportError::NotPermitted.into());
        }
        let lacking = look.lacking.iter().map(|head| stronghold.lacks(&device, head)).collect();
        let delivered =
            look.delivered.iter().map(|entry| stronghold.is_delivered_by(&device, entry)).collect();
        Ok(TaskResult::Looked(LookupResult { names, lacking, delivered }))
    }

    /// Collects the revisions that are newly known to be on the peer, so that nothing is written
    /// when there are none.
    pub(super) fn learn(&mut self, revisions: Vec<RevisionId>) {
        let device = self.peer.device();
        let mut home = self.home.lock();
        // If the file can't be read, every revision counts as new: the state in memory may never
        // have been written.
        let peers = home.refresh().ok().map(Stronghold::peers);
        let is_new =
            |revision: &RevisionId| !peers.is_some_and(|peers| peers.was_disclosed_to(&device, revision));
        self.knowledge.revisions.extend(revisions.into_iter().filter(is_new));
    }

    /// Writes the facts learnt about the peer, and the queued log records.
    pub(super) fn write_knowledge(&mut self) -> Result<(), HostError> {
        self.update(|work, stronghold, level| {
            work.knowledge.write(stronghold, &work.peer.device(), [], level);
            Ok(())
        })?;
        self.knowledge.written();
        Ok(())
    }

    /// Writes the queued log records.
    pub(super) fn write_log(&mut self) -> Result<(), HostError> {
        self.update(|_, _, _| Ok(()))
    }

    /// Keeps the peer's edition. Returns the generation last seen if the edition is older.
    pub(super) fn note_edition(&mut self, edition: Edition) -> Option<u64> {
        let device = self.peer.device();
        let seen = self.home.lock().stronghold().peers().get(&device).map_or(0, |peer| peer.generation);
        self.knowledge.edition = Some(edition);
        // If two copies are used in turn, one is always behind the other.
        ((1..seen).contains(&edition.generation) && !self.is_copied).then_some(seen)
    }

    /// Keeps what the peer has acknowledged. If two snapshots of its identity are in use, the other
    /// one has not acknowledged it.
    pub(super) fn acknowledge(&mut self, acknowledged: Acknowledged) {
        self.knowledge.acknowledged = Some(acknowledged).filter(|_| !self.is_copied);
    }

    /// Returns whether facts about the peer must be written before the session ends.
    pub(super) fn is_due(&self) -> bool {
        let before = || self.home.lock().stronghold().peers().acknowledged(&self.peer.device());
        let is_worth_it = |level| self.knowledge.is_worth_a_write(level, before());
        self.knowledge.is_due() || self.level.is_some_and(is_worth_it)
    }

    /// Changes the Stronghold, as a part of this session's step, unless another process holds the
    /// lock. `change` is told the level of the file once the change is written.
    fn update<T>(
        &mut self,
        change: impl FnOnce(&mut Self, &mut Stronghold, Option<u64>) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let home = self.home.clone();
        let mut step = self.step.take();
        let (before, mut written) = (self.level, 0);
        let done = home.try_update_at(step.as_mut(), |stronghold| {
            written = stronghold.generation();
            let is_next = |level: u64| level.checked_add(1) == Some(written);
            change(self, stronghold, before.map(|level| if is_next(level) { written } else { level }))
        });
        self.step = step;
        let (done, generation) = done?;
        // Not so if nothing changed, and so nothing was written.
        if generation == written && before.and_then(|level| level.checked_add(1)) == Some(written) {
            self.level = Some(written);
        }
        Ok(done)
    }
}

fn revisions(shapes: &[Shape]) -> Vec<RevisionId> {
    shapes.iter().map(|shape| shape.revision).collect()
}

/// Merges entries of a peer, each checked against what may come and the policy of now. Returns the
/// revisions that came too. Nothing has changed if one of them is refused.
pub(crate) fn import_checked(
    stronghold: &mut Stronghold,
    peer: DeviceId,
    entries: &[Entry],
    expected: &Expected,
    now: Timestamp,
) -> Result<(ImportReport, Vec<RevisionId>), ImportError> {
    let policy = stronghold.policy().clone();
    let mut brought = Vec::with_capacity(entries.len());
    let report = stronghold.import(entries, peer, now, |location, entry, revision| {
        brought.push(entry.revision);
        let checked = expected.check(&policy, location, &revision.shape(entry), now);
        checked.map_err(RejectReason::from)
    })?;
    Ok((report, brought))
}
