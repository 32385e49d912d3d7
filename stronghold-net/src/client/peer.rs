//! Sends a request to a peer, or answers one: import, browse, fetch and sync over an open channel.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use stronghold_snapshot::{RecipientSecretKey, SharedVault, VaultFile, VaultFileError, now};
use stronghold_sync::{
    Decision, DeviceId, Edition, EntryId, Grant, LocationId, Operation, Plan, Selection, SkipReason, Stamps,
    message::{Listing, RecipientKey},
    reconcile::PairSecret,
    session::{
        Consent, Initiator, Push, Responder, SessionError, SessionRequest, Summary, SyncOptions, Take,
    },
};
use stronghold_vault::{PublicIdentity, RandomnessError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Channel, ChannelError, Limits, Stream, Timeouts,
    channel::{ephemeral::EphemeralIdentities, frame::Role},
    rendezvous::preauth,
    server::memory::BatchPermits,
    session::{
        binding::{pair_secret_of, secret_of},
        driver::{DriveError, Overload, drive},
        handler::SessionHandler,
        host::{HostError, VaultHost, recipient_key},
    },
    transport::{Link, Way},
};

/// Time to wait for the peer's next message: longer than [`Limits::approval_timeout`], since the
/// peer may ask a person.
const PERSON_WAIT: Duration = Duration::from_secs(90);

/// Direction of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// Receive; push too, if this side's policy lets the peer pull.
    Default,
    /// Receive only.
    Pull,
    /// Push only: an error if this side's policy does not let the peer pull.
    Push,
    /// Receive and push: an error if this side's policy does not let the peer pull.
    Both,
}

/// A sync to request from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it requests nothing before `Peer::sync`"]
pub struct SyncRequest {
    /// Entries to sync.
    pub selection: Selection,
    /// Direction of the sync.
    pub direction: Direction,
    /// Entries to accept beyond this side's own rules on what the peer may write and delete here.
    pub beyond: Beyond,
    /// `true` to have the plan name also the entries that only the peer holds, which costs their
    /// names on the wire.
    pub names: bool,
}

/// Entries that a sync accepts beyond this side's own rules on what the peer may write and delete
/// here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Beyond {
    /// No entries: the plan lists those that wait for a rule.
    #[default]
    Nothing,
    /// These entries: a person has seen them by name.
    These(BTreeSet<EntryId>),
    /// All entries that the peer pushes.
    Everything,
}

impl SyncRequest {
    /// Creates a request for the entries that the rules of both sides cover.
    pub fn new(selection: Selection, ways: Direction) -> Self {
        Self { selection, direction: ways, beyond: Beyond::Nothing, names: false }
    }

    /// Accepts entries beyond the rules of this side.
    pub fn beyond(self, beyond: Beyond) -> Self {
        Self { beyond, ..self }
    }

    /// Sets whether the plan has the names of the peer's entries.
    pub fn with_names(self, names: bool) -> Self {
        Self { names, ..self }
    }
}

/// The result of an import, a fetch or a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Summary of the session.
    pub summary: Summary,
    /// The plan of a sync; after a dry run, the changes it would have made. Empty for an import and
    /// a fetch, which make none.
    pub plan: Plan,
    /// Records that the peer declined in part or whole, for a limit of its own.
    pub declined: Vec<LocationId>,
    /// Bytes received, including the channel's overhead.
    pub bytes_in: u64,
    /// Bytes sent, including the channel's overhead.
    pub bytes_out: u64,
    /// The way that the connection took at the end.
    pub way: Way,
}

impl Outcome {
    /// Returns whether a further session is needed: this one sent some entries, but there were too
    /// many for one session.
    pub fn has_more(&self) -> bool {
        let is_left = self.plan.not_given.iter().any(|left| left.why == SkipReason::Later);
        is_left && self.summary.sent > 0
    }

    /// Adds the result of the session that continued this one.
    pub fn and(mut self, next: Self) -> Self {
        let (sum, added) = (&mut self.summary, next.summary);
        sum.received += added.received;
        sum.sent += added.sent;
        sum.deleted += added.deleted;
        sum.conflicts += added.conflicts;
        sum.round_trips += added.round_trips;
        let (before, mut plan) = (self.plan, next.plan);
        plan.changes_here.splice(..0, before.changes_here);
        plan.changes_there.splice(..0, before.changes_there);
        plan.names.extend(before.names);
        self.plan = plan;
        self.declined.extend(next.declined);
        self.bytes_in += next.bytes_in;
        self.bytes_out += next.bytes_out;
        self.way = next.way;
        self
    }
}

/// An error of a request or an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The session ended in an error.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// This side failed to run an action.
    #[error(transparent)]
    Host(#[from] HostError),
    /// This side's policy does not let the peer have the entries to push.
    #[error("this device's policy does not let the peer pull it")]
    NothingToPush,
    /// This device is not paired with the device, or was before pairings had a rendezvous secret.
    #[error("this device is not paired with it")]
    Unpaired,
    /// The device was revoked during its session.
    #[error("the device was revoked")]
    Revoked,
    /// Too many sessions, of this device or in total, or too many entries listed in them.
    #[error("too many sessions at a time, or too much that they tell of")]
    Busy,
    /// This side's snapshot can't be used now.
    #[error("this device's snapshot can't be used now: {0}")]
    NotReady(String),
    /// The peer is slower than the limit.
    #[error("the peer is too slow")]
    TooSlow,
    /// The session took longer than the limit.
    #[error("the session took longer than {} seconds", .0.as_secs())]
    TooLong(Duration),
    /// The system returned no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] RandomnessError),
}

impl From<VaultFileError> for PeerError {
    fn from(error: VaultFileError) -> Self {
        HostError::from(error).into()
    }
}

/// A paired device at the other end of an open channel, for one request: each request consumes the
/// peer, and closes the channel at its end.
///
/// Acknowledged batches are durable, even if a request fails after them: the next request continues
/// with the missing entries.
#[derive(Debug)]
pub struct Peer<S = Stream> {
    channel: Channel<S>,
    home: SharedVault,
    link: Link,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Peer<S> {
    /// Opens a channel over `io` to a device that `home` is paired with. Success means that the
    /// peer holds the pairing's secret. With its first message it proves to be the device; until
    /// then this side accepts nothing from it and lists no entry to it.
    ///
    /// # Errors
    /// [`PeerError::Unpaired`], or [`PeerError::Channel`]: [`ChannelError::TurnedAway`] when the
    /// device is no longer paired with this one, [`ChannelError::Stranger`] when another one
    /// answers.
    pub async fn connect(mut io: S, home: &SharedVault, device: DeviceId) -> Result<Self, PeerError> {
        let known = home.call(move |vault| {
            let stronghold = vault.stronghold();
            let known = stronghold.peers().get(&device)?;
            let peer = PublicIdentity::from_spki(&known.spki).ok()?;
            Some((known.rendezvous.clone()?, peer, stronghold.identity().duplicate()))
        });
        let (secret, peer, own) = known.await.ok_or(PeerError::Unpaired)?;
        let knocked = preauth::send_token(&mut io, &secret, &device).await;
        let nonce = knocked.map_err(|error| ChannelError::from_io(&error))?;
        let covered = EphemeralIdentities::new(Role::Connected, &secret, &nonce, own, peer)
            .map_err(ChannelError::from)?;
        let channel = Channel::connect_covered(io, covered, Timeouts::default()).await?;
        Ok(Self::from_channel(channel, home))
    }

    /// Uses an open channel, such as that of a pairing.
    pub fn from_channel(channel: Channel<S>, home: &SharedVault) -> Self {
        Self { channel, home: home.clone(), link: Link::default() }
    }

    /// Keeps a handle on the connection that carries the channel.
    #[cfg(feature = "iroh")]
    pub(crate) fn with_link(self, link: Link) -> Self {
        Self { link, ..self }
    }

    /// Returns the way that the connection takes at this moment.
    pub fn way(&self) -> Way {
        self.link.way()
    }

    /// Returns the channel, for messages other than a request's.
    pub fn into_channel(self) -> Channel<S> {
        self.channel
    }

    /// Returns the peer's device id.
    pub fn device(&self) -> DeviceId {
        self.channel.peer().device()
    }

    /// Imports all selected entries of the peer.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn import(
        self,
        selection: Selection,
        handler: &mut dyn SessionHandler,
    ) -> Result<Outcome, PeerError> {
        Ok(self.ask(handler, |key| SessionRequest::Import { selection, key }).await?.0)
    }

    /// Lists the entries that the peer holds.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn browse(
        self,
        selection: Selection,
        handler: &mut dyn SessionHandler,
    ) -> Result<Vec<Listing>, PeerError> {
        Ok(self.ask(handler, |_| SessionRequest::Browse { selection }).await?.1)
    }

    /// Fetches selected entries from the peer.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn fetch(
        self,
        selection: Selection,
        handler: &mut dyn SessionHandler,
    ) -> Result<Outcome, PeerError> {
        Ok(self.ask(handler, |key| SessionRequest::Fetch { selection, key }).await?.0)
    }

    /// Syncs with the peer: each side receives the entries that it lacks, as far as both policies
    /// allow. The plan lists the entries that wait for a rule.
    ///
    /// # Errors
    /// [`PeerError`]; [`PeerError::NothingToPush`] when the direction demands a push that this
    /// side's policy forbids.
    pub async fn sync(
        self,
        request: SyncRequest,
        handler: &mut dyn SessionHandler,
    ) -> Result<Outcome, PeerError> {
        let SyncRequest { selection, direction: ways, beyond, names } = request;
        let [pull, push, delete] = granted(&self.home, self.device(), selection.clone()).await?;
        let given = match (ways, pull) {
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
            Some(also) => Some(Take::Granted(Consent { push, delete, also })),
        };
        let secret = secret_of(&self.channel.channel_binding());
        let pair = self.home.call(pair_secret(self.device())).await;
        let sync = |key| {
            SessionRequest::Sync(SyncOptions { selection, take, push: given, names, key, secret, pair })
        };
        Ok(self.ask(handler, sync).await?.0)
    }

    /// Answers one request of the peer instead.
    ///
    /// # Errors
    /// [`PeerError`]; [`ChannelError::Closed`] when the peer sent no request.
    pub async fn answer(mut self, handler: &mut dyn SessionHandler) -> Result<Summary, PeerError> {
        let (limits, flight) = (Limits::default(), BatchPermits::default());
        let summary = answer(&mut self.channel, &self.home, handler, &limits, flight).await?;
        let _ = self.channel.close().await;
        Ok(summary)
    }

    /// Runs a request. Returns its outcome, and the entries that browsing found.
    async fn ask(
        mut self,
        handler: &mut dyn SessionHandler,
        ask: impl FnOnce(RecipientKey) -> SessionRequest,
    ) -> Result<(Outcome, Vec<Listing>), PeerError> {
        self.channel.set_idle_timeout(PERSON_WAIT);
        let (mut outcome, found) = asked(&mut self.channel, &self.home, handler, ask).await?;
        let _ = self.channel.close_both().await;
        outcome.bytes_in = self.channel.bytes_in();
        outcome.bytes_out = self.channel.bytes_out();
        outcome.way = self.link.way();
        self.link.close().await;
        Ok((outcome, found))
    }
}

/// Answers one request of the peer at the other end of the channel.
pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedVault,
    handler: &mut dyn SessionHandler,
    limits: &Limits,
    flight: BatchPermits,
) -> Result<Summary, PeerError> {
    let secret = RecipientSecretKey::generate()?;
    let key = recipient_key(&secret).ok_or(RandomnessError::UNUSABLE)?;
    let device = channel.peer().device();
    let mut policy = home.call(|vault| vault.refresh().map(|here| here.policy().clone())).await?;
    // Expired rules are recorded, so that they stay expired if the clock is set back.
    if policy.observe_time(now()) {
        let observed = home.update_async(|stronghold| {
            stronghold.policy_mut().observe_time(now());
            Ok::<_, VaultFileError>(())
        });
        observed.await?;
    }
    let about =
        home.call(move |vault| (vault.stronghold().peers().name_of(&device), edition(vault, &device)));
    let (name, (edition, stamps)) = about.await;
    let session = Responder::new(policy, device, now(), key, secret_of(&channel.channel_binding()))
        .with_edition(edition, stamps)
        .with_entry_limit(limits.entries_per_session);
    let session = match home.call(pair_secret(device)).await {
        Some(pair) => session.with_pair_secret(pair),
        None => session,
    };
    let mut host = VaultHost::new(home.clone(), channel, secret, handler)
        .with_stamp(edition.stamp)
        .serving(&name)
        .with_approval_timeout(limits.approval_timeout)
        .with_permits(flight);
    let driven = drive(channel, session, &mut host).await;
    finish(driven, &mut host).await
}

async fn asked<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedVault,
    handler: &mut dyn SessionHandler,
    ask: impl FnOnce(RecipientKey) -> SessionRequest,
) -> Result<(Outcome, Vec<Listing>), PeerError> {
    let secret = RecipientSecretKey::generate()?;
    let key = recipient_key(&secret).ok_or(RandomnessError::UNUSABLE)?;
    let device = channel.peer().device();
    let (edition, stamps) = home.call(move |vault| edition(vault, &device)).await;
    let session = Initiator::with_edition(ask(key), edition, stamps);
    let mut host = VaultHost::new(home.clone(), channel, secret, handler).with_stamp(edition.stamp);
    let driven = drive(channel, session, &mut host).await;
    let summary = finish(driven, &mut host).await?;
    let (plan, declined) = (host.plan, host.declined);
    Ok((Outcome { summary, plan, declined, ..Outcome::default() }, host.found))
}

/// Returns a function that returns the secret for reconciliations with a paired device.
fn pair_secret(peer: DeviceId) -> impl FnOnce(&mut VaultFile) -> Option<PairSecret> + Send + 'static {
    move |vault| Some(pair_secret_of(vault.stronghold().peers().get(&peer)?.rendezvous.as_ref()?))
}

/// Returns the edition of this side's snapshot to report to a peer, and the stamps remembered of
/// the peer.
fn edition(home: &VaultFile, peer: &DeviceId) -> (Edition, Stamps) {
    let peers = home.stronghold().peers();
    let generation = home.file().sealer().generation();
    (Edition { generation, stamp: peers.own_stamp(peer) }, peers.stamps(peer))
}

/// Returns the grants that this side's policy has for the peer, to pull, push and delete: the
/// command to sync is the approval that an `ask` rule demands.
async fn granted(
    home: &SharedVault,
    peer: DeviceId,
    selection: Selection,
) -> Result<[Option<Grant>; 3], PeerError> {
    let granted = home.call(move |vault| {
        let policy = vault.refresh()?.policy();
        let decide = |operation| match policy.decide(&peer, operation, &selection, now()) {
            Decision::Allowed(grant) => Some(grant),
            Decision::Ask(pending) => Some(pending.approve()),
            Decision::Denied => None,
        };
        Ok([Operation::Pull, Operation::Push, Operation::Delete].map(decide))
    });
    granted.await
}

/// Writes the facts learnt about the peer since the last write. Prefers the host's error to the
/// session's, which says less.
async fn finish(driven: Result<Summary, DriveError>, host: &mut VaultHost<'_>) -> Result<Summary, PeerError> {
    let kept = host.flush_knowledge().await;
    match (driven, host.error.take()) {
        (Ok(summary), _) => Ok(kept.map(|()| summary)?),
        (Err(_), Some(error)) => Err(error.into()),
        (Err(DriveError::Channel(error)), None) => Err(error.into()),
        (Err(DriveError::Session(error)), None) => Err(error.into()),
        (Err(DriveError::Overload(Overload::Full)), None) => Err(PeerError::Busy),
        (Err(DriveError::Overload(Overload::Slow)), None) => Err(PeerError::TooSlow),
    }
}
