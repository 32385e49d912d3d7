//! The host of a session: does its actions on a Stronghold and its file, with the one-time key.

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
        Action, Changes, Duplicate, Export, Import, LeftBehind, Lookup, LookupResult, TaskError, TaskResult,
        Verdict,
    },
};
use stronghold_vault::{
    AuditAction, AuditRecord, ExportError, PendingStep, PublicIdentity, RejectReason, Stronghold,
};
use tokio::time::timeout;

pub use self::fault::HostError;
use crate::{
    driver::{Host, Overload},
    handler::{PlanDecision, SessionHandler, StaysBehind},
    knowledge::PeerKnowledge,
    memory::BatchPermits,
    shared::{SharedVault, now},
};

/// Does a session's actions on a [`SharedVault`]: the [`Host`] of a [`Peer`](crate::Peer) and of a
/// [`Server`](crate::Server).
pub struct VaultHost<'a> {
    home: SharedVault,
    peer: PublicIdentity,
    /// The peer's batches.
    awaited: ComplementReceiver,
    /// How many batches were sealed for it.
    sealed: u64,
    /// Records that imported batches have deleted, emptied or shortened here.
    lost: u64,
    /// The step that a session which the peer asked for is; `None` where it is a part of this side's own.
    step: Option<PendingStep>,
    /// Of the peer, to be remembered with the next change.
    learnt: PeerKnowledge,
    /// Whether two snapshots of the peer's identity are in use.
    is_copied: bool,
    attendant: &'a mut dyn SessionHandler,
    /// How long a person may think.
    patience: Duration,
    /// What this session's batches may take of the memory that all sessions share.
    flight: BatchPermits,
    /// What browsing found.
    pub found: Vec<Listing>,
    /// What the plan would do, for a dry run.
    pub plan: Option<Plan>,
    /// Records of which the peer did not want all that it was to be given.
    pub declined: Vec<LocationId>,
    /// Why an action failed.
    pub error: Option<HostError>,
}

impl<'a> VaultHost<'a> {
    /// `binding` is the channel's: complements answer this channel's request and no other.
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
            awaited: ComplementReceiver::new(secret, peer.clone(), receiver, request_of(binding)),
            peer,
            sealed: 0,
            lost: 0,
            step: None,
            learnt: PeerKnowledge::new(stamp_of(binding)),
            is_copied: false,
            attendant,
            patience: crate::Limits::default().approval_timeout,
            flight: BatchPermits::default(),
            found: Vec::new(),
            plan: None,
            declined: Vec::new(),
            error: None,
        }
    }

    /// Takes a person's silence for a no after so long.
    #[must_use]
    pub fn with_approval_timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Shows this stamp to the peer.
    #[must_use]
    pub fn with_stamp(mut self, stamp: Option<Stamp>) -> Self {
        self.learnt.shows(stamp);
        self
    }

    /// Makes what is changed a step of its own: the peer asked for it.
    #[must_use]
    pub fn serving(mut self) -> Self {
        let name = self.home.lock().stronghold().peers().name_of(&self.peer.device());
        self.step = Some(PendingStep::served(&format!("serve: {name}"), now()));
        self
    }

    /// Takes the memory for batches out of what is shared.
    pub(crate) fn with_permits(mut self, flight: BatchPermits) -> Self {
        self.flight = flight;
        self
    }

    /// The home is held while what comes first in the scope is matched: the rules, where a peer asks. What the peer asks for
    /// is held against the names of those alone, and while others may use the home.
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
        if self.learnt.is_due_before_leaving() {
            self.write_learnt()?;
        }
        let to = RecipientPublicKey::from_bytes(export.key.as_bytes()).map_err(|_| HostError::BadKey)?;
        let mut home = self.home.lock();
        let stronghold = home.refresh()?;
        let entries = stronghold.export(&export.grant, &export.entries, now())?;
        let manifest = Manifest {
            sender: stronghold.identity().device(),
            receiver: self.peer.device(),
            request: *self.awaited.request(),
            index: self.sealed,
        };
        let sealed = seal_complement(&entries, &to, stronghold.identity(), &manifest)?;
        self.sealed += 1;
        Ok(TaskResult::Sealed(sealed))
    }

    /// Changes the Stronghold, as a part of the step that this session is a part of.
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
        let entries = self.awaited.open(&import.sealed)?;
        // The peer has written it before the batch left.
        self.learnt.is_stamped_there = true;
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
            // What it brings it holds. Only now are these held here: what is not may be forgotten.
            host.learnt.write(stronghold, &host.peer.device(), brought);
            Ok(report)
        })?;
        self.learnt.written();
        self.lost += report.deleted + report.shrunk;
        let taken =
            Changes { received: report.received, deleted: report.deleted, conflicts: report.conflicts };
        self.attendant.on_received(taken);
        Ok(TaskResult::Imported(taken))
    }

    fn log(&mut self, verdicts: Vec<Verdict>) -> Result<TaskResult, HostError> {
        let (time, device) = (now(), self.peer.device());
        verdicts.iter().for_each(|verdict| self.attendant.on_decision(device, verdict));
        let is_urgent = verdicts.iter().any(lets_leave);
        let decided = |verdict: Verdict| AuditRecord {
            time,
            device,
            deed: deed(&verdict),
            selection: verdict.selection,
            allowed: verdict.allowed,
            entries: verdict.volume.entries,
            bytes: verdict.volume.bytes,
        };
        self.home.log_later(verdicts.into_iter().map(decided));
        if !is_urgent {
            self.home.write_log_if_due();
            return Ok(TaskResult::Logged);
        }
        self.update(|host, stronghold| {
            host.learnt.write(stronghold, &device, []);
            Ok(())
        })?;
        self.learnt.written();
        Ok(TaskResult::Logged)
    }

    /// Looks up what a session needs to know.
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

    /// Tells the attendant, by name, what stays where it is.
    fn left(&mut self, left: LeftBehind) {
        let names =
            |stronghold: &Stronghold| left.ungiven.iter().filter_map(|id| stronghold.names_of(id)).collect();
        let ungiven = names(self.home.lock().stronghold());
        let LeftBehind { not_given, not_taken, untaken, .. } = left;
        self.attendant
            .on_left_behind(self.peer.device(), &StaysBehind { not_given, ungiven, not_taken, untaken });
    }

    async fn confirm(&mut self, plan: &Plan) -> TaskResult {
        let asked = self.attendant.confirm_losses(self.peer.device(), plan);
        match timeout(self.patience, asked).await {
            Ok(true) => TaskResult::Approved,
            _ => TaskResult::Denied,
        }
    }

    /// Of what the peer holds, notes what was not known before: where nothing is new, nothing has to be written.
    fn learn(&mut self, revisions: Vec<RevisionId>) {
        let device = self.peer.device();
        let mut home = self.home.lock();
        // Where the file can't be read, all of it counts as new: what memory has may never have been written.
        let peers = home.refresh().ok().map(Stronghold::peers);
        let is_new =
            |revision: &RevisionId| !peers.is_some_and(|peers| peers.was_disclosed_to(&device, revision));
        self.learnt.revisions.extend(revisions.into_iter().filter(is_new));
    }

    /// Makes durable what was learnt that the peer holds or is about to have: before any of it leaves, and when the
    /// session is over.
    ///
    /// # Errors
    /// [`HostError::VaultFile`] when it can't be written; it is then tried again with the next change.
    pub(crate) fn keep_learnt(&mut self) -> Result<(), HostError> {
        if self.learnt.is_due() { self.write_learnt() } else { Ok(()) }
    }

    fn write_learnt(&mut self) -> Result<(), HostError> {
        self.update(|host, stronghold| {
            host.learnt.write(stronghold, &host.peer.device(), []);
            Ok(())
        })?;
        self.learnt.written();
        Ok(())
    }

    /// What is untrue of it is the peer's loss: it is only remembered, and told to whoever looks.
    fn told_edition(&mut self, edition: Edition) {
        let device = self.peer.device();
        let seen = self.home.lock().stronghold().peers().get(&device).map_or(0, |peer| peer.generation);
        // Of two that are used by turns one is always behind the other.
        if (1..seen).contains(&edition.generation) && !self.is_copied {
            self.attendant.on_rollback(device, edition.generation, seen);
        }
        self.learnt.edition = Some(edition);
    }

    fn copied(&mut self, copied: Duplicate) {
        self.is_copied |= copied == Duplicate::Theirs;
        self.attendant.on_duplicate(self.peer.device(), copied);
    }

    fn plan(&mut self, plan: Plan) -> TaskResult {
        let answer = match self.attendant.review_plan(&plan) {
            PlanDecision::Proceed => TaskResult::Proceed { deletions_confirmed: false },
            PlanDecision::ProceedWithDeletions => TaskResult::Proceed { deletions_confirmed: true },
            PlanDecision::Stop => TaskResult::Stop,
        };
        self.plan = Some(plan);
        answer
    }

    async fn ask(&mut self, pending: &[Pending]) -> TaskResult {
        let asked = self.attendant.approve(self.peer.device(), pending);
        match timeout(self.patience, asked).await {
            Ok(true) => TaskResult::Approved,
            _ => TaskResult::Denied,
        }
    }

    /// Keeps the reason and tells the session whose fault it is.
    fn fault(&mut self, error: HostError) -> TaskResult {
        let failure = error.failure();
        if failure == TaskError::Local {
            self.error = Some(error);
        }
        TaskResult::Failed(failure)
    }
}

impl Host for VaultHost<'_> {
    async fn act(&mut self, action: Action) -> Option<TaskResult> {
        let done = match action {
            Action::Send(_) | Action::Finished(_) => return None,
            Action::Listing(found) => {
                self.found = found;
                return None;
            }
            Action::Incoming(volume) => {
                self.attendant.on_incoming(volume);
                return None;
            }
            Action::Sent { entries, of } => {
                self.learnt.is_stamped_there = true;
                self.attendant.on_sent(entries, of);
                return None;
            }
            Action::Edition(edition) => {
                self.told_edition(edition);
                return None;
            }
            Action::Duplicate(copied) => {
                self.copied(copied);
                return None;
            }
            Action::PeerHolds(revisions) => {
                self.learn(revisions);
                return None;
            }
            Action::LeftBehind(left) => {
                self.left(left);
                return None;
            }
            Action::Declined(records) => {
                self.declined = records;
                return None;
            }
            Action::Lookup(look) => self.look(&look),
            Action::Confirm(plan) => Ok(self.confirm(&plan).await),
            Action::Approve(pending) => Ok(self.ask(&pending).await),
            Action::Plan(plan) => Ok(self.plan(*plan)),
            Action::Shapes(scope) => self.shapes(&scope),
            Action::List(grant) => self.list(&grant),
            Action::Export(export) => self.export(&export),
            Action::Import(import) => self.import(&import),
            Action::Log(verdicts) => self.log(verdicts),
        };
        if let Ok(TaskResult::Sealed(sealed)) = &done {
            self.flight.reserve_outgoing(sealed.len()).await;
        }
        Some(done.unwrap_or_else(|error| self.fault(error)))
    }

    fn begin_batch(&mut self) {
        self.flight.begin_incoming();
    }

    async fn make_room(&mut self, bytes: u64) -> Result<(), Overload> {
        self.flight.reserve_incoming(bytes).await
    }

    fn stage(&mut self, bytes: u64) -> Result<(), Overload> {
        self.flight.reserve_shapes(bytes)
    }

    fn gave(&mut self, bytes: u64) -> Result<(), Overload> {
        self.flight.sent(bytes)
    }
}

/// Whether something leaves by it: then the log has it before. What comes in is written together with it.
fn lets_leave(verdict: &Verdict) -> bool {
    let leaves = matches!(verdict.operation, Operation::Import | Operation::Browse | Operation::Pull);
    leaves && verdict.allowed && verdict.volume.entries > 0
}

/// What the log calls a decision.
fn deed(verdict: &Verdict) -> AuditAction {
    match verdict.operation {
        Operation::Push if verdict.ours => AuditAction::Took,
        Operation::Delete if verdict.ours => AuditAction::TookDeletions,
        Operation::Pull if verdict.ours => AuditAction::Gave,
        operation => operation.into(),
    }
}

/// What the complements of a channel answer: a hash of its binding, so that none can be replayed in another.
#[must_use]
pub fn request_of(binding: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix(b"stronghold/request/v1").chain_update(binding).finalize().into()
}

/// The secret of a session's reconciliation: a hash of the channel's binding, which only its two ends know.
#[must_use]
pub fn secret_of(binding: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix(b"stronghold/session/v1").chain_update(binding).finalize().into()
}

/// The stamp that a session leaves in the snapshots of both its devices: the first bytes of a hash of the channel's binding,
/// which only its two ends know.
#[must_use]
pub(crate) fn stamp_of(binding: &[u8; 32]) -> Stamp {
    let hash: [u8; 32] =
        Sha256::new_with_prefix(b"stronghold/stamp/v1").chain_update(binding).finalize().into();
    Stamp::from_bytes(std::array::from_fn(|at| hash[at]))
}

/// The wire form of a one-time key.
pub(crate) fn recipient_key(secret: &RecipientSecretKey) -> Option<RecipientKey> {
    RecipientKey::new(secret.public().to_bytes()).ok()
}
