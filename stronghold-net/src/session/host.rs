//! Implements a session's host: runs its tasks on a Stronghold and its file, with the one-time key.

mod fault;
#[cfg(test)]
mod tests;
pub(crate) mod work;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use stronghold_snapshot::{RecipientSecretKey, SharedVault, VaultFile, now, offload};
use stronghold_sync::{
    DeviceId, Edition, Location, LocationId, Operation, Pending, Plan, RevisionId, Stamp, Timestamp,
    message::{Listing, RecipientKey},
    session::{Duplicate, Event, Export, Import, LeftBehind, Task, TaskError, TaskResult, Verdict},
};
use stronghold_vault::{AuditAction, AuditRecord, PendingStep, PublicIdentity};
use tokio::time::timeout;

pub use self::fault::HostError;
use self::work::{VaultWork, lock};
use crate::{
    Channel,
    server::memory::BatchPermits,
    session::{
        driver::{Host, Overload},
        handler::{BoxFuture, LeftBehindReport, PlanDecision, SessionHandler},
    },
};

/// A host that runs a session's tasks on a [`SharedVault`], on threads that may block: the [`Host`]
/// of a [`Peer`](crate::Peer) and of a [`Server`](crate::Server).
#[must_use = "a host does nothing before it is driven"]
pub struct VaultHost<'a> {
    work: Arc<Mutex<VaultWork>>,
    home: SharedVault,
    peer: DeviceId,
    handler: &'a mut dyn SessionHandler,
    /// Limit on the time that a person takes to decide.
    approval_timeout: Duration,
    /// Share of this session's batches in the memory that all sessions share.
    permits: BatchPermits,
    /// Entries that browsing found.
    pub(crate) found: Vec<Listing>,
    /// The plan, empty before there is one.
    pub(crate) plan: Plan,
    /// Records that the peer declined in part or whole.
    pub(crate) declined: Vec<LocationId>,
    /// The error of a failed task.
    pub(crate) error: Option<HostError>,
}

impl<'a> VaultHost<'a> {
    /// Creates a host for a channel: complements answer this channel's request and no other.
    /// `secret` is this side's one-time key.
    pub fn new<S>(
        home: SharedVault,
        channel: &Channel<S>,
        secret: RecipientSecretKey,
        handler: &'a mut dyn SessionHandler,
    ) -> Self {
        let (peer, own) = (channel.peer().clone(), channel.own().device());
        Self::for_peer(home, peer, own, secret, &channel.channel_binding(), handler)
    }

    pub(crate) fn for_peer(
        home: SharedVault,
        peer: PublicIdentity,
        own: DeviceId,
        secret: RecipientSecretKey,
        binding: &[u8; 32],
        handler: &'a mut dyn SessionHandler,
    ) -> Self {
        let device = peer.device();
        let work = VaultWork::new(home.clone(), peer, own, secret, binding);
        Self {
            work: Arc::new(Mutex::new(work)),
            home,
            peer: device,
            handler,
            approval_timeout: crate::Limits::default().approval_timeout,
            permits: BatchPermits::default(),
            found: Vec::new(),
            plan: Plan::default(),
            declined: Vec::new(),
            error: None,
        }
    }

    /// Sets the time after which an unanswered request for approval is denied.
    pub fn with_approval_timeout(mut self, limit: Duration) -> Self {
        self.approval_timeout = limit;
        self
    }

    /// Sets the stamp that this side shows to the peer.
    pub(crate) fn with_stamp(self, stamp: Option<Stamp>) -> Self {
        lock(&self.work).knowledge.shows(stamp);
        self
    }

    /// Records the session's changes as a step of their own, since the peer requested them. `name`
    /// is the peer's name here.
    pub(crate) fn serving(self, name: &str) -> Self {
        lock(&self.work).step = Some(PendingStep::served(&format!("serve: {name}"), now()));
        self
    }

    /// Takes the memory of batches from the budget that all sessions share.
    pub(crate) fn with_permits(mut self, permits: BatchPermits) -> Self {
        self.permits = permits;
        self
    }

    /// Runs `work` on a thread that may block.
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut VaultWork) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let this = self.work.clone();
        offload(move || work(&mut lock(&this))).await
    }

    /// Runs `work`, which changes the file, on a thread that may block; again and again while
    /// another process holds the file's lock, up to the file's limit.
    async fn change<T: Send + 'static>(
        &mut self,
        work: impl Fn(&mut VaultWork) -> Result<T, HostError> + Send + Sync + 'static,
    ) -> Result<T, HostError> {
        let this = self.work.clone();
        let is_in_use = |error: &HostError| matches!(error, HostError::Home(error) if error.is_in_use());
        self.home.retry_while(is_in_use, move || work(&mut lock(&this))).await
    }

    async fn export(&mut self, export: Export) -> Result<TaskResult, HostError> {
        if self.run(|work| Ok(work.knowledge.is_due_before_leaving())).await? {
            self.change(VaultWork::write_knowledge).await?;
        }
        let sealed = self.run(move |work| work.export(&export)).await?;
        self.permits.reserve_outgoing(sealed.len()).await;
        Ok(TaskResult::Sealed(sealed))
    }

    async fn import(&mut self, import: Import) -> Result<TaskResult, HostError> {
        let Import { sealed, expected } = import;
        let entries = self.run(move |work| work.open(sealed)).await?;
        let taken = self.change(move |work| work.import(&entries, &expected)).await?;
        self.handler.on_received(taken);
        Ok(TaskResult::Imported(taken))
    }

    async fn log(&mut self, verdicts: Vec<Verdict>) -> Result<(), HostError> {
        let (time, device) = (now(), self.peer);
        verdicts.iter().for_each(|verdict| self.handler.on_decision(device, verdict));
        let is_urgent = verdicts.iter().any(discloses);
        self.home.log_later(verdicts.into_iter().map(|verdict| audit_record(device, time, verdict)));
        if is_urgent {
            return self.change(VaultWork::write_knowledge).await;
        }
        if self.home.is_log_due()
            && let Err(error) = self.change(VaultWork::write_log).await
        {
            tracing::warn!(%error, "the log could not be written");
        }
        Ok(())
    }

    /// Reports to the handler, by name, the entries that are left behind.
    async fn report_left_behind(&mut self, left: LeftBehind) {
        let LeftBehind { not_given, ungiven, not_taken, untaken } = left;
        let names = move |vault: &mut VaultFile| -> Vec<Location> {
            ungiven.iter().filter_map(|id| vault.stronghold().names_of(id)).collect()
        };
        let ungiven = self.home.call(names).await;
        self.handler.on_left_behind(self.peer, &LeftBehindReport { not_given, ungiven, not_taken, untaken });
    }

    async fn confirm(&mut self, plan: &Plan) -> TaskResult {
        let asked = self.handler.confirm_losses(self.peer, plan);
        self.answered(asked).await
    }

    async fn ask(&mut self, pending: &[Pending]) -> TaskResult {
        let asked = self.handler.approve(self.peer, pending);
        self.answered(asked).await
    }

    async fn answered(&mut self, asked: BoxFuture<bool>) -> TaskResult {
        match timeout(self.approval_timeout, asked).await {
            Ok(true) => TaskResult::Approved,
            _ => TaskResult::Denied,
        }
    }

    async fn plan(&mut self, plan: Plan) -> TaskResult {
        let decision = self.handler.review_plan(&plan).await;
        self.plan = plan;
        match decision {
            PlanDecision::Proceed => TaskResult::Proceed { deletions_confirmed: false },
            PlanDecision::ProceedWithDeletions => TaskResult::Proceed { deletions_confirmed: true },
            PlanDecision::Stop => TaskResult::Stop,
        }
    }

    /// Writes the facts learnt about the peer, if any are due: before an entry leaves for the peer,
    /// and at the end of the session.
    ///
    /// # Errors
    /// [`HostError::Home`] when they can't be written; the next change tries again.
    pub(crate) async fn flush_knowledge(&mut self) -> Result<(), HostError> {
        if self.run(|work| Ok(work.is_due())).await? {
            self.change(VaultWork::write_knowledge).await?;
        }
        Ok(())
    }

    /// Stores and reports the peer's edition. A false claim harms only the peer, since nothing else
    /// depends on it.
    async fn note_edition(&mut self, edition: Edition) {
        let rolled_back = self.run(move |work| Ok(work.note_edition(edition))).await;
        if let Ok(Some(seen)) = rolled_back {
            self.handler.on_rollback(self.peer, edition.generation, seen);
        }
    }

    /// Collects the revisions that the peer holds.
    async fn learn(
        &mut self,
        revisions: impl FnOnce(&mut VaultWork) -> Vec<RevisionId> + Send + 'static,
    ) -> Result<(), TaskError> {
        let learnt = self.run(move |work| {
            let revisions = revisions(work);
            work.learn(revisions);
            Ok(())
        });
        learnt.await.map_err(|error| self.classify_error(error))
    }

    fn copied(&mut self, copied: Duplicate) {
        lock(&self.work).is_copied |= copied == Duplicate::Theirs;
        self.handler.on_duplicate(self.peer, copied);
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
            Task::Lookup(look) => self.run(move |work| work.look(&look)).await,
            Task::Confirm(plan) => Ok(self.confirm(&plan).await),
            Task::Approve(pending) => Ok(self.ask(&pending).await),
            Task::Plan(plan) => Ok(self.plan(*plan).await),
            Task::Shapes(scope) => self.run(move |work| work.shapes(&scope)).await,
            Task::ShapesAt(scope, records) => self.run(move |work| work.shapes_at(&scope, &records)).await,
            Task::Digest(query) => self.run(move |work| work.digest(&query)).await,
            Task::List(grant) => self.run(move |work| work.list(&grant)).await,
            Task::Export(export) => self.export(export).await,
            Task::Import(import) => self.import(import).await,
        };
        done.map_err(|error| self.classify_error(error))
    }

    async fn notify(&mut self, event: Event) -> Result<(), TaskError> {
        match event {
            Event::Log(verdicts) => {
                let logged = self.log(verdicts).await;
                return logged.map_err(|error| self.classify_error(error));
            }
            Event::Asking => self.handler.on_asking(self.peer),
            Event::Listing(found) => self.found = found,
            Event::Incoming(volume) => self.handler.on_incoming(volume),
            Event::Sent { entries, of } => {
                lock(&self.work).knowledge.is_stamped_there = true;
                self.handler.on_sent(entries, of);
            }
            Event::Edition(edition) => self.note_edition(edition).await,
            Event::Duplicate(copied) => self.copied(copied),
            Event::PeerHolds(revisions) => self.learn(move |_| revisions).await?,
            Event::PeerHoldsAll { except } => {
                self.learn(move |work| work.unknown_except(except)).await?;
            }
            Event::Acknowledged(acknowledged) => lock(&self.work).acknowledge(acknowledged),
            Event::LeftBehind(left) => self.report_left_behind(left).await,
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

/// Returns the log's record of a decision.
pub(crate) fn audit_record(device: DeviceId, time: Timestamp, verdict: Verdict) -> AuditRecord {
    AuditRecord {
        time,
        device,
        action: audit_action(&verdict),
        selection: verdict.selection,
        allowed: verdict.allowed,
        entries: verdict.volume.entries,
        bytes: verdict.volume.bytes,
    }
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

/// Returns the wire form of a one-time key.
pub(crate) fn recipient_key(secret: &RecipientSecretKey) -> Option<RecipientKey> {
    RecipientKey::new(secret.public().to_bytes()).ok()
}
