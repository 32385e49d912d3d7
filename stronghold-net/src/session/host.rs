//! Implements a session's host: runs its actions on a Stronghold and its file, with the one-time
//! key.

mod fault;
#[cfg(test)]
mod tests;

use std::time::Duration;

use sha2::{Digest, Sha256};
use stronghold_snapshot::{
    ComplementReceiver, Manifest, RecipientPublicKey, RecipientSecretKey, seal_complement,
};
use stronghold_sync::{
    Edition, Grant, Location, LocationId, Mapping, Operation, Pending, Plan, RevisionId, Scope, Stamp,
    message::{Listing, RecipientKey},
    needs_confirmation,
    session::{
        Changes, Duplicate, Event, Export, Import, LeftBehind, Lookup, LookupResult, Task, TaskError,
        TaskResult, Verdict,
    },
};
use stronghold_vault::{
    AuditAction, AuditRecord, ExportError, PendingStep, PublicIdentity, RejectReason, Stronghold,
};
use tokio::time::timeout;

pub use self::fault::HostError;
use crate::{
    server::memory::BatchPermits,
    session::{
        driver::{Host, Overload},
        handler::{LeftBehindReport, PlanDecision, SessionHandler},
        knowledge::PeerKnowledge,
        shared::{SharedVault, now},
    },
};

/// A host that runs a session's actions on a [`SharedVault`]: the [`Host`] of a
/// [`Peer`](crate::Peer) and of a [`Server`](crate::Server).
pub struct VaultHost<'a> {
    home: SharedVault,
    peer: PublicIdentity,
    /// Opens the peer's batches.
    receiver: ComplementReceiver,
    /// Number of batches sealed for the peer.
    sealed: u64,
    /// Number of records that imported batches deleted, emptied or shortened here.
    lost: u64,
    /// The step of a session that the peer requested; `None` for a session of this side, which
    /// belongs to another step.
    step: Option<PendingStep>,
    /// Facts about the peer, to be written with the next change.
    knowledge: PeerKnowledge,
    /// `true` if two snapshots of the peer's identity are in use.
    is_copied: bool,
    handler: &'a mut dyn SessionHandler,
    /// Limit on the time that a person takes to decide.
    approval_timeout: Duration,
    /// Share of this session's batches in the memory that all sessions share.
    permits: BatchPermits,
    /// Entries that browsing found.
    pub found: Vec<Listing>,
    /// The plan, for a dry run.
    pub plan: Option<Plan>,
    /// Records that the peer declined in part or whole.
    pub declined: Vec<LocationId>,
    /// The error of a failed action.
    pub error: Option<HostError>,
}

impl<'a> VaultHost<'a> {
    /// Creates a host for the channel with this `binding`: complements answer this channel's
    /// request and no other.
    #[must_use]
    pub fn new(
        home: SharedVault,
        peer: PublicIdentity,
        secret: RecipientSecretKey,
        binding: &[u8; 32],
        attendant: &'a mut dyn SessionHandler,
    ) -> Self {
        let receiver = home.lock().stronghold().identity().device();
        Self {
            home,
            receiver: ComplementReceiver::new(secret, peer.clone(), receiver, request_of(binding)),
            peer,
            sealed: 0,
            lost: 0,
            step: None,
            knowledge: PeerKnowledge::new(stamp_of(binding)),
            is_copied: false,
            handler: attendant,
            approval_timeout: crate::Limits::default().approval_timeout,
            permits: BatchPermits::default(),
            found: Vec::new(),
            plan: None,
            declined: Vec::new(),
            error: None,
        }
    }

    /// Sets the time after which an unanswered request for approval is denied.
    #[must_use]
    pub fn with_approval_timeout(mut self, patience: Duration) -> Self {
        self.approval_timeout = patience;
        self
    }

    /// Sets the stamp that this side shows to the peer.
    #[must_use]
    pub fn with_stamp(mut self, stamp: Option<Stamp>) -> Self {
        self.knowledge.shows(stamp);
        self
    }

    /// Records the session's changes as a step of their own, since the peer requested them.
    #[must_use]
    pub fn serving(mut self) -> Self {
        let name = self.home.lock().stronghold().peers().name_of(&self.peer.device());
        self.step = Some(PendingStep::served(&format!("serve: {name}"), now()));
        self
    }

    /// Takes the memory of batches from the budget that all sessions share.
    pub(crate) fn with_permits(mut self, flight: BatchPermits) -> Self {
        self.permits = flight;
        self
    }

    /// Returns the shapes in a scope. Holds the vault's lock while it matches the scope's first
    /// selection: the rules, where the peer is the initiator. The peer's own selection is matched
    /// against those names only, without the lock.
    fn shapes(&self, scope: &Scope) -> Result<TaskResult, HostError> {
        let Some(rest) = scope.rest() else {
            let first = Scope::of(scope.first().clone());
            return Ok(TaskResult::Shapes(self.home.lock().refresh()?.shapes(&first, &Mapping::default())));
        };
        let named = self.home.lock().refresh()?.named_shapes(scope.first());
        let within = named.into_iter().filter(|(location, _)| rest.covers_text(location));
        Ok(TaskResult::Shapes(within.map(|(_, shape)| shape).collect()))
    }

    fn list(&self, grant: &Grant) -> Result<TaskResult, HostError> {
        Ok(TaskResult::Listing(self.home.lock().refresh()?.list_for_peer(grant, now())?))
    }

    fn export(&mut self, export: &Export) -> Result<TaskResult, HostError> {
        if self.knowledge.is_due_before_leaving() {
            self.write_knowledge()?;
        }
        let to = RecipientPublicKey::from_bytes(export.key.as_bytes()).map_err(|_| HostError::BadKey)?;
        let mut home = self.home.lock();
        let stronghold = home.refresh()?;
        let entries = stronghold.export(&export.grant, &export.entries, now())?;
        let manifest = Manifest {
            sender: stronghold.identity().device(),
            receiver: self.peer.device(),
            request: *self.receiver.request(),
            index: self.sealed,
        };
        let sealed = seal_complement(&entries, &to, stronghold.identity(), &manifest)?;
        self.sealed += 1;
        Ok(TaskResult::Sealed(sealed))
    }

    /// Changes the Stronghold, as a part of this session's step.
    fn update<T>(
        &mut self,
        change: impl FnOnce(&mut Self, &mut Stronghold) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let home = self.home.clone();
        let mut step = self.step.take();
        let done = match &mut step {
            Some(step) => home.update_in(step, |stronghold| change(self, stronghold)),
            None => home.update(|stronghold| change(self, stronghold)),
        };
        self.step = step;
        done
    }

    fn import(&mut self, import: &Import) -> Result<TaskResult, HostError> {
        let now = now();
        let entries = self.receiver.open(&import.sealed)?;
        // The peer writes the stamp before it sends a batch.
        self.knowledge.is_stamped_there = true;
        let report = self.update(|host, stronghold| {
            let policy = stronghold.policy().clone();
            let readable = import.expected.is_unplanned().then(|| stronghold.readable());
            let mut brought = Vec::with_capacity(entries.len());
            let report =
                stronghold.import(&entries, host.peer.device(), now, |location, entry, revision| {
                    brought.push(entry.revision);
                    let checked = import.expected.check(&policy, location, &revision.shape(entry), now);
                    checked.map_err(RejectReason::from)
                })?;
            let lost = host.lost + report.deleted + report.shrunk;
            if readable.is_some_and(|readable| needs_confirmation(lost, readable)) {
                return Err(HostError::Deletions);
            }
            // The peer holds each revision that it sends. They can be recorded only now: the record
            // skips revisions that are not held here.
            host.knowledge.write(stronghold, &host.peer.device(), brought);
            Ok(report)
        })?;
        self.knowledge.written();
        self.lost += report.deleted + report.shrunk;
        let taken =
            Changes { received: report.received, deleted: report.deleted, conflicts: report.conflicts };
        self.handler.on_received(taken);
        Ok(TaskResult::Imported(taken))
    }

    fn log(&mut self, verdicts: Vec<Verdict>) -> Result<(), HostError> {
        let (time, device) = (now(), self.peer.device());
        verdicts.iter().for_each(|verdict| self.handler.on_decision(device, verdict));
        let is_urgent = verdicts.iter().any(discloses);
        let decided = |verdict: Verdict| AuditRecord {
            time,
            device,
            action: audit_action(&verdict),
            selection: verdict.selection,
            allowed: verdict.allowed,
            entries: verdict.volume.entries,
            bytes: verdict.volume.bytes,
        };
        self.home.log_later(verdicts.into_iter().map(decided));
        if !is_urgent {
            self.home.write_log_if_due();
            return Ok(());
        }
        self.update(|host, stronghold| {
            host.knowledge.write(stronghold, &device, []);
            Ok(())
        })?;
        self.knowledge.written();
        Ok(())
    }

    /// Looks up names, and what the peer lacks or delivered.
    fn look(&self, look: &Lookup) -> Result<TaskResult, HostError> {
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

    /// Reports to the handler, by name, the entries that are left behind.
    fn report_left_behind(&mut self, left: LeftBehind) {
        let names =
            |stronghold: &Stronghold| left.ungiven.iter().filter_map(|id| stronghold.names_of(id)).collect();
        let ungiven = names(self.home.lock().stronghold());
        let LeftBehind { not_given, not_taken, untaken, .. } = left;
        self.handler
            .on_left_behind(self.peer.device(), &LeftBehindReport { not_given, ungiven, not_taken, untaken });
    }

    async fn confirm(&mut self, plan: &Plan) -> TaskResult {
        let asked = self.handler.confirm_losses(self.peer.device(), plan);
        match timeout(self.approval_timeout, asked).await {
            Ok(true) => TaskResult::Approved,
            _ => TaskResult::Denied,
        }
    }

    /// Collects the revisions that are newly known to be on the peer, so that nothing is written
    /// when there are none.
    fn learn(&mut self, revisions: Vec<RevisionId>) {
        let device = self.peer.device();
        let mut home = self.home.lock();
        // If the file can't be read, every revision counts as new: the state in memory may never
        // have been written.
        let peers = home.refresh().ok().map(Stronghold::peers);
        let is_new =
            |revision: &RevisionId| !peers.is_some_and(|peers| peers.was_disclosed_to(&device, revision));
        self.knowledge.revisions.extend(revisions.into_iter().filter(is_new));
    }

    /// Writes the facts learnt about the peer, if any are due: before an entry leaves for the peer,
    /// and at the end of the session.
    ///
    /// # Errors
    /// [`HostError::Home`] when they can't be written; the next change tries again.
    pub(crate) fn flush_knowledge(&mut self) -> Result<(), HostError> {
        if self.knowledge.is_due() { self.write_knowledge() } else { Ok(()) }
    }

    fn write_knowledge(&mut self) -> Result<(), HostError> {
        self.update(|host, stronghold| {
            host.knowledge.write(stronghold, &host.peer.device(), []);
            Ok(())
        })?;
        self.knowledge.written();
        Ok(())
    }

    /// Stores and reports the peer's edition. A false claim harms only the peer, since nothing else
    /// depends on it.
    fn note_edition(&mut self, edition: Edition) {
        let device = self.peer.device();
        let seen = self.home.lock().stronghold().peers().get(&device).map_or(0, |peer| peer.generation);
        // If two copies are used in turn, one is always behind the other.
        if (1..seen).contains(&edition.generation) && !self.is_copied {
            self.handler.on_rollback(device, edition.generation, seen);
        }
        self.knowledge.edition = Some(edition);
    }

    fn copied(&mut self, copied: Duplicate) {
        self.is_copied |= copied == Duplicate::Theirs;
        self.handler.on_duplicate(self.peer.device(), copied);
    }

    fn plan(&mut self, plan: Plan) -> TaskResult {
        let answer = match self.handler.review_plan(&plan) {
            PlanDecision::Proceed => TaskResult::Proceed { deletions_confirmed: false },
            PlanDecision::ProceedWithDeletions => TaskResult::Proceed { deletions_confirmed: true },
            PlanDecision::Stop => TaskResult::Stop,
        };
        self.plan = Some(plan);
        answer
    }

    async fn ask(&mut self, pending: &[Pending]) -> TaskResult {
        let asked = self.handler.approve(self.peer.device(), pending);
        match timeout(self.approval_timeout, asked).await {
            Ok(true) => TaskResult::Approved,
            _ => TaskResult::Denied,
        }
    }

    /// Keeps a local error, and tells the session whose fault the error is.
    fn classify_error(&mut self, error: HostError) -> TaskError {
        let failure = error.failure();
        if failure == TaskError::Local {
            self.error = Some(error);
        }
        failure
    }
}

impl Host for VaultHost<'_> {
    async fn perform(&mut self, task: Task) -> Result<TaskResult, TaskError> {
        let done = match task {
            Task::Lookup(look) => self.look(&look),
            Task::Confirm(plan) => Ok(self.confirm(&plan).await),
            Task::Approve(pending) => Ok(self.ask(&pending).await),
            Task::Plan(plan) => Ok(self.plan(*plan)),
            Task::Shapes(scope) => self.shapes(&scope),
            Task::List(grant) => self.list(&grant),
            Task::Export(export) => self.export(&export),
            Task::Import(import) => self.import(&import),
        };
        if let Ok(TaskResult::Sealed(sealed)) = &done {
            self.permits.reserve_outgoing(sealed.len()).await;
        }
        done.map_err(|error| self.classify_error(error))
    }

    async fn notify(&mut self, event: Event) -> Result<(), TaskError> {
        match event {
            Event::Log(verdicts) => {
                return self.log(verdicts).map_err(|error| self.classify_error(error));
            }
            Event::Listing(found) => self.found = found,
            Event::Incoming(volume) => self.handler.on_incoming(volume),
            Event::Sent { entries, of } => {
                self.knowledge.is_stamped_there = true;
                self.handler.on_sent(entries, of);
            }
            Event::Edition(edition) => self.note_edition(edition),
            Event::Duplicate(copied) => self.copied(copied),
            Event::PeerHolds(revisions) => self.learn(revisions),
            Event::LeftBehind(left) => self.report_left_behind(left),
            Event::Declined(records) => self.declined = records,
        }
        Ok(())
    }

    fn begin_batch(&mut self) {
        self.permits.begin_incoming();
    }

    async fn make_room(&mut self, bytes: u64) -> Result<(), Overload> {
        self.permits.reserve_incoming(bytes).await
    }

    fn stage(&mut self, bytes: u64) -> Result<(), Overload> {
        self.permits.reserve_shapes(bytes)
    }

    fn on_chunk_sent(&mut self, bytes: u64) -> Result<(), Overload> {
        self.permits.sent(bytes)
    }
}

/// Returns whether the decision lets entries leave; then the log is written before. Decisions on
/// incoming entries are written together with these.
fn discloses(verdict: &Verdict) -> bool {
    let leaves = matches!(verdict.operation, Operation::Import | Operation::Browse | Operation::Pull);
    leaves && verdict.allowed && verdict.volume.entries > 0
}

/// Returns the log's action for a decision.
fn audit_action(verdict: &Verdict) -> AuditAction {
    match verdict.operation {
        Operation::Push if verdict.ours => AuditAction::Took,
        Operation::Delete if verdict.ours => AuditAction::TookDeletions,
        Operation::Pull if verdict.ours => AuditAction::Gave,
        operation => operation.into(),
    }
}

/// Returns the request that a channel's complements answer: a hash of its binding, so that no
/// complement can be replayed in another channel.
#[must_use]
pub fn request_of(binding: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix(b"stronghold/request/v1").chain_update(binding).finalize().into()
}

/// Returns the secret of a session's reconciliation: a hash of the channel's binding, which only
/// its two ends know.
#[must_use]
pub fn secret_of(binding: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix(b"stronghold/session/v1").chain_update(binding).finalize().into()
}

/// Returns the stamp that a session leaves in the snapshots of both devices: the first bytes of a
/// hash of the channel's binding, which only its two ends know.
#[must_use]
pub(crate) fn stamp_of(binding: &[u8; 32]) -> Stamp {
    let hash: [u8; 32] =
        Sha256::new_with_prefix(b"stronghold/stamp/v1").chain_update(binding).finalize().into();
    Stamp::from_bytes(std::array::from_fn(|at| hash[at]))
}

/// Returns the wire form of a one-time key.
pub(crate) fn recipient_key(secret: &RecipientSecretKey) -> Option<RecipientKey> {
    RecipientKey::new(secret.public().to_bytes()).ok()
}
