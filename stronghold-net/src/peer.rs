//! Asking a peer, and answering one: the three operations over an open channel.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use stronghold_snapshot::{RecipientSecretKey, VaultFile, VaultFileError};
use stronghold_sync::{
    Decision, DeviceId, Edition, EntryId, Grant, LocationId, Operation, Plan, Selection, SkipReason, Stamps,
    message::{Listing, RecipientKey},
    session::{
        Consent, Initiator, Push, Responder, SessionError, SessionRequest, Summary, SyncOptions, Take,
    },
};
use stronghold_vault::PublicIdentity;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Channel, ChannelError, Limits, Timeouts,
    driver::{DriveError, Overload, drive},
    ephemeral::EphemeralIdentities,
    frame::Role,
    handler::SessionHandler,
    host::{HostError, VaultHost, recipient_key, secret_of},
    memory::BatchPermits,
    preauth,
    shared::{SharedVault, now, own_identity},
};

/// How long this side waits for the peer's next message: longer than [`Limits::approval_timeout`], since someone may be asked there.
const PERSON_WAIT: Duration = Duration::from_secs(90);

/// Which ways a sync goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Receive; give too, if this side's policy lets the peer pull.
    Default,
    /// Receive only.
    Pull,
    /// Give only: an error if this side's policy does not let the peer pull.
    Push,
    /// Both, likewise.
    Both,
}

/// A sync to ask a peer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// Of what.
    pub selection: Selection,
    /// Which ways it goes.
    pub direction: Direction,
    /// What is taken beyond what this side's own rules let the peer write and delete here.
    pub beyond: Beyond,
    /// Whether the plan is to name also what only the peer holds: it costs their names.
    pub names: bool,
}

/// What a sync takes beyond what this side's own rules let the peer write and delete here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beyond {
    /// Nothing: it is told what waits.
    #[default]
    Nothing,
    /// These: a person has seen them by name.
    These(BTreeSet<EntryId>),
    /// Everything that the peer gives.
    Everything,
}

impl SyncRequest {
    /// A sync that takes and gives what the rules of both sides cover.
    #[must_use]
    pub fn new(selection: Selection, ways: Direction) -> Self {
        Self { selection, direction: ways, beyond: Beyond::Nothing, names: false }
    }

    /// The same, taking also what no rule here covers.
    #[must_use]
    pub fn beyond(self, beyond: Beyond) -> Self {
        Self { beyond, ..self }
    }

    /// The same, with names in the plan.
    #[must_use]
    pub fn with_names(self, names: bool) -> Self {
        Self { names, ..self }
    }
}

/// What asking a peer came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was done.
    pub summary: Summary,
    /// What browsing found.
    pub found: Vec<Listing>,
    /// What a sync planned; after a dry run, what it would have done.
    pub plan: Option<Plan>,
    /// Records of which the peer did not want all that it was to be given: a limit of its own.
    pub declined: Vec<LocationId>,
    /// Bytes received, with all of the channel's own.
    pub bytes_in: u64,
    /// Bytes sent, likewise.
    pub bytes_out: u64,
}

impl Outcome {
    /// Returns whether there was too much for one session, and this one has given some of it: another goes on.
    #[must_use]
    pub fn has_more(&self) -> bool {
        let plan = self.plan.as_ref();
        let is_left =
            plan.is_some_and(|plan| plan.not_given.iter().any(|left| left.why == SkipReason::Later));
        is_left && self.summary.sent > 0
    }

    /// Adds what the session came to that went on with this one.
    #[must_use]
    pub fn and(mut self, next: Self) -> Self {
        let (sum, added) = (&mut self.summary, next.summary);
        sum.received += added.received;
        sum.sent += added.sent;
        sum.deleted += added.deleted;
        sum.conflicts += added.conflicts;
        sum.round_trips += added.round_trips;
        let (before, mut plan) = (self.plan.unwrap_or_default(), next.plan.unwrap_or_default());
        plan.changes_here.splice(..0, before.changes_here);
        plan.changes_there.splice(..0, before.changes_there);
        plan.names.extend(before.names);
        self.plan = Some(plan);
        self.declined.extend(next.declined);
        self.bytes_in += next.bytes_in;
        self.bytes_out += next.bytes_out;
        self
    }
}

/// Why asking or answering a peer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The session ended in an error.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// This side could not do its part.
    #[error(transparent)]
    Host(#[from] HostError),
    /// This side's policy does not let the peer have what was to be given.
    #[error("this side's policy does not let the peer pull it")]
    NothingToPush,
    /// This device is not paired with it, or was before devices had a rendezvous secret.
    #[error("this device is not paired with it")]
    Unpaired,
    /// The device was revoked while its session ran.
    #[error("the device was revoked")]
    Revoked,
    /// Too many sessions, of this device or in all, or too much that they tell of.
    #[error("too many sessions at a time, or too much that they tell of")]
    Busy,
    /// This side's snapshot can't be used now.
    #[error("this side's snapshot can't be used now: {0}")]
    NotReady(String),
    /// The peer is slower than a peer may be.
    #[error("the peer is too slow")]
    TooSlow,
    /// The session took longer than a session may.
    #[error("the session took longer than {} seconds", .0.as_secs())]
    TooLong(Duration),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl From<VaultFileError> for PeerError {
    fn from(error: VaultFileError) -> Self {
        HostError::from(error).into()
    }
}

/// A paired device at the other end of an open channel, to be asked one thing: each request takes the peer, and closes the
/// channel when it is done.
///
/// Batches that were confirmed are durable, also where a request fails after them: asked again, it goes on with what is
/// missing.
#[derive(Debug)]
pub struct Peer<S> {
    channel: Channel<S>,
    home: SharedVault,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Peer<S> {
    /// Opens a channel over `io` to a device that `home` is paired with. Success means that the other end holds the pairing's secret.
    /// It proves to be the device with its first message, before which nothing of it is taken and no entry is told of.
    ///
    /// # Errors
    /// [`PeerError::Unpaired`], or [`PeerError::Channel`]: [`ChannelError::TurnedAway`] when it is no longer paired with
    /// this one, [`ChannelError::Stranger`] when another answers.
    pub async fn connect(mut io: S, home: &SharedVault, device: DeviceId) -> Result<Self, PeerError> {
        let (secret, peer) = {
            let home = home.lock();
            let known = home.stronghold().peers().get(&device).ok_or(PeerError::Unpaired)?;
            let peer = PublicIdentity::from_spki(&known.spki).map_err(|_| PeerError::Unpaired)?;
            (known.rendezvous.clone().ok_or(PeerError::Unpaired)?, peer)
        };
        let own = own_identity(home)?;
        let knocked = preauth::send_token(&mut io, &secret, &device).await;
        let nonce = knocked.map_err(|error| ChannelError::from_io(&error))?;
        let covered = EphemeralIdentities::new(Role::Connected, &secret, &nonce, own, peer)
            .map_err(ChannelError::from)?;
        let channel = Channel::connect_covered(io, covered, Timeouts::default()).await?;
        Ok(Self::from_channel(channel, home))
    }

    /// Uses a channel that is open, such as that of a pairing.
    #[must_use]
    pub fn from_channel(channel: Channel<S>, home: &SharedVault) -> Self {
        Self { channel, home: home.clone() }
    }

    /// The channel, for other messages than those of a request.
    #[must_use]
    pub fn into_channel(self) -> Channel<S> {
        self.channel
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.channel.peer().device()
    }

    /// Takes everything selected from the peer: a full import.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn import(
        self,
        selection: Selection,
        attendant: &mut dyn SessionHandler,
    ) -> Result<Outcome, PeerError> {
        self.ask(attendant, |key| SessionRequest::Import { selection, key }).await
    }

    /// Asks which entries the peer holds.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn browse(
        self,
        selection: Selection,
        attendant: &mut dyn SessionHandler,
    ) -> Result<Outcome, PeerError> {
        self.ask(attendant, |_| SessionRequest::Browse { selection }).await
    }

    /// Takes picked entries from the peer.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn fetch(
        self,
        selection: Selection,
        attendant: &mut dyn SessionHandler,
    ) -> Result<Outcome, PeerError> {
        self.ask(attendant, |key| SessionRequest::Fetch { selection, key }).await
    }

    /// Syncs with the peer: each side takes what it lacks, as far as both policies allow; what waits for a rule is in the
    /// plan.
    ///
    /// # Errors
    /// [`PeerError`]; [`PeerError::NothingToPush`] when it was to give, and its own policy does not let it.
    pub async fn sync(
        self,
        request: SyncRequest,
        attendant: &mut dyn SessionHandler,
    ) -> Result<Outcome, PeerError> {
        let SyncRequest { selection, direction: ways, beyond, names } = request;
        let granted = |operation| granted(&self.home, self.device(), operation, &selection);
        let push = match (ways, granted(Operation::Pull)?) {
            (Direction::Pull, _) => Push::No,
            (_, Some(grant)) => Push::Granted(grant),
            (Direction::Default, None) => Push::NotGranted,
            (Direction::Push | Direction::Both, None) => return Err(PeerError::NothingToPush),
        };
        let also = match beyond {
            Beyond::Everything => None,
            Beyond::These(entries) => Some(entries),
            Beyond::Nothing => Some(BTreeSet::new()),
        };
        let take = match also {
            _ if ways == Direction::Push => None,
            None => Some(Take::Everything),
            Some(also) => {
                let (push, delete) = (granted(Operation::Push)?, granted(Operation::Delete)?);
                Some(Take::Granted(Consent { push, delete, also }))
            }
        };
        let secret = secret_of(&self.channel.channel_binding());
        self.ask(attendant, |key| {
            SessionRequest::Sync(SyncOptions { selection, take, push, names, key, secret })
        })
        .await
    }

    /// Answers one request of the peer instead.
    ///
    /// # Errors
    /// [`PeerError`]. [`ChannelError::Closed`] when the peer asked nothing.
    pub async fn answer(mut self, attendant: &mut dyn SessionHandler) -> Result<Summary, PeerError> {
        let (limits, flight) = (Limits::default(), BatchPermits::default());
        let summary = answer(&mut self.channel, &self.home, attendant, &limits, flight).await?;
        let _ = self.channel.close().await;
        Ok(summary)
    }

    async fn ask(
        mut self,
        attendant: &mut dyn SessionHandler,
        ask: impl FnOnce(RecipientKey) -> SessionRequest,
    ) -> Result<Outcome, PeerError> {
        self.channel.set_idle_timeout(PERSON_WAIT);
        let mut outcome = asked(&mut self.channel, &self.home, attendant, ask).await?;
        let _ = self.channel.close_both().await;
        outcome.bytes_in = self.channel.bytes_in();
        outcome.bytes_out = self.channel.bytes_out();
        Ok(outcome)
    }
}

/// Answers one request of the peer at the other end of the channel.
pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedVault,
    attendant: &mut dyn SessionHandler,
    limits: &Limits,
    flight: BatchPermits,
) -> Result<Summary, PeerError> {
    let secret = RecipientSecretKey::generate().map_err(|_| PeerError::NoRandomness)?;
    let key = recipient_key(&secret).ok_or(PeerError::NoRandomness)?;
    let (policy, edition, stamps) = {
        let mut home = home.lock();
        let mut policy = home.refresh()?.policy().clone();
        // That a rule has expired is kept, so that it stays so whatever the clock says later.
        if policy.observe_time(now()) {
            home.update(|stronghold| {
                stronghold.policy_mut().observe_time(now());
                Ok::<_, VaultFileError>(())
            })?;
        }
        let (edition, stamps) = edition(&home, &channel.peer().device());
        (policy, edition, stamps)
    };
    let binding = channel.channel_binding();
    let mut session = Responder::new(policy, channel.peer().device(), now(), key, secret_of(&binding))
        .with_edition(edition, stamps)
        .with_entry_limit(limits.entries_per_session);
    let mut host = VaultHost::new(home.clone(), channel.peer().clone(), secret, &binding, attendant)
        .with_stamp(edition.stamp)
        .serving()
        .with_approval_timeout(limits.approval_timeout)
        .with_permits(flight);
    let driven = drive(channel, &mut session, &mut host).await;
    finish(driven, &mut host)
}

async fn asked<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedVault,
    attendant: &mut dyn SessionHandler,
    ask: impl FnOnce(RecipientKey) -> SessionRequest,
) -> Result<Outcome, PeerError> {
    let secret = RecipientSecretKey::generate().map_err(|_| PeerError::NoRandomness)?;
    let key = recipient_key(&secret).ok_or(PeerError::NoRandomness)?;
    let (edition, stamps) = edition(&home.lock(), &channel.peer().device());
    let mut session = Initiator::with_edition(ask(key), edition, stamps);
    let binding = channel.channel_binding();
    let mut host = VaultHost::new(home.clone(), channel.peer().clone(), secret, &binding, attendant)
        .with_stamp(edition.stamp);
    let driven = drive(channel, &mut session, &mut host).await;
    let summary = finish(driven, &mut host)?;
    let (found, plan, declined) = (host.found, host.plan, host.declined);
    Ok(Outcome { summary, found, plan, declined, bytes_in: 0, bytes_out: 0 })
}

/// What a peer is told of this side's snapshot, and what is remembered of its own.
fn edition(home: &VaultFile, peer: &DeviceId) -> (Edition, Stamps) {
    let peers = home.stronghold().peers();
    let generation = home.file().sealer().generation();
    (Edition { generation, stamp: peers.own_stamp(peer) }, peers.stamps(peer))
}

/// What this side's policy lets the peer do: the command to sync is the consent that an `ask` rule wants.
fn granted(
    home: &SharedVault,
    peer: DeviceId,
    operation: Operation,
    selection: &Selection,
) -> Result<Option<Grant>, PeerError> {
    let mut home = home.lock();
    Ok(match home.refresh()?.policy().decide(&peer, operation, selection, now()) {
        Decision::Allowed(grant) => Some(grant),
        Decision::Ask(pending) => Some(pending.approve()),
        Decision::Denied => None,
    })
}

/// Writes what was learnt of the peer since the last write. This side's own reason says more than the session's.
fn finish(driven: Result<Summary, DriveError>, host: &mut VaultHost<'_>) -> Result<Summary, PeerError> {
    let kept = host.keep_learnt();
    match (driven, host.error.take()) {
        (Ok(summary), _) => Ok(kept.map(|()| summary)?),
        (Err(_), Some(error)) => Err(error.into()),
        (Err(DriveError::Channel(error)), None) => Err(error.into()),
        (Err(DriveError::Session(error)), None) => Err(error.into()),
        (Err(DriveError::Overload(Overload::Full)), None) => Err(PeerError::Busy),
        (Err(DriveError::Overload(Overload::Slow)), None) => Err(PeerError::TooSlow),
    }
}
