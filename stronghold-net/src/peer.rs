//! Asking a peer, and answering one: the three operations over an open channel.

use stronghold_snapshot::{HomeError, RecipientSecret};
use stronghold_sync::{
    Decision, DeviceId, Grant, Operation, Plan, Selection,
    message::Listing,
    session::{Ask, Asked, Asking, SessionError, Summary, SyncAsk},
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Channel, ChannelError,
    driver::{DriveError, drive},
    host::{Attendant, HomeHost, HostError, SharedHome, now, recipient_key, secret_of},
};

/// Which ways a sync goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Receive; give too, if this side's policy lets the peer pull.
    Default,
    /// Receive only.
    Pull,
    /// Give only: an error if this side's policy does not let the peer pull.
    Push,
    /// Both, likewise.
    Both,
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
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl From<HomeError> for PeerError {
    fn from(error: HomeError) -> Self {
        HostError::from(error).into()
    }
}

/// Takes everything selected from the peer: a full import.
///
/// # Errors
/// [`PeerError`]; batches that were confirmed are durable all the same.
pub async fn import<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedHome,
    selection: Selection,
    attendant: &mut dyn Attendant,
) -> Result<Outcome, PeerError> {
    ask(channel, home, attendant, |key| Ask::Import { selection, key }).await
}

/// Asks which entries the peer holds.
///
/// # Errors
/// [`PeerError`].
pub async fn browse<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedHome,
    selection: Selection,
    attendant: &mut dyn Attendant,
) -> Result<Outcome, PeerError> {
    ask(channel, home, attendant, |_| Ask::Browse { selection }).await
}

/// Takes picked entries from the peer.
///
/// # Errors
/// [`PeerError`]; batches that were confirmed are durable all the same.
pub async fn fetch<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedHome,
    selection: Selection,
    attendant: &mut dyn Attendant,
) -> Result<Outcome, PeerError> {
    ask(channel, home, attendant, |key| Ask::Fetch { selection, key }).await
}

/// Syncs with the peer: each side takes what it lacks, as far as both policies allow.
///
/// # Errors
/// [`PeerError`]; batches that were confirmed are durable all the same.
pub async fn sync<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedHome,
    selection: Selection,
    ways: Ways,
    attendant: &mut dyn Attendant,
) -> Result<Outcome, PeerError> {
    let push = match ways {
        Ways::Pull => None,
        Ways::Default => may_give(home, channel.peer().device(), &selection)?,
        Ways::Push | Ways::Both => {
            let grant = may_give(home, channel.peer().device(), &selection)?;
            Some(grant.ok_or(PeerError::NothingToPush)?)
        }
    };
    let pull = ways != Ways::Push;
    let secret = secret_of(&channel.binding());
    ask(channel, home, attendant, |key| Ask::Sync(SyncAsk { selection, pull, push, key, secret })).await
}

/// Answers one request of the peer at the other end of the channel.
///
/// # Errors
/// [`PeerError`]. [`ChannelError::Closed`] when the peer asked nothing.
pub async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedHome,
    attendant: &mut dyn Attendant,
) -> Result<Summary, PeerError> {
    let secret = RecipientSecret::generate().map_err(|_| PeerError::NoRandomness)?;
    let key = recipient_key(&secret).ok_or(PeerError::NoRandomness)?;
    let (policy, generation) = {
        let mut home = home.lock();
        (home.refresh()?.policy().clone(), home.file().lineage().generation())
    };
    let binding = channel.binding();
    let mut session = Asked::new(policy, channel.peer().device(), now(), key, secret_of(&binding))
        .at_generation(generation);
    let mut host = HomeHost::new(home.clone(), channel.peer().clone(), secret, &binding, attendant);
    let driven = drive(channel, &mut session, &mut host).await;
    finish(driven, &mut host)
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send>(
    channel: &mut Channel<S>,
    home: &SharedHome,
    attendant: &mut dyn Attendant,
    ask: impl FnOnce(stronghold_sync::message::RecipientKey) -> Ask,
) -> Result<Outcome, PeerError> {
    let secret = RecipientSecret::generate().map_err(|_| PeerError::NoRandomness)?;
    let key = recipient_key(&secret).ok_or(PeerError::NoRandomness)?;
    let generation = home.lock().file().lineage().generation();
    let mut session = Asking::at_generation(ask(key), generation);
    let binding = channel.binding();
    let mut host = HomeHost::new(home.clone(), channel.peer().clone(), secret, &binding, attendant);
    let driven = drive(channel, &mut session, &mut host).await;
    let summary = finish(driven, &mut host)?;
    Ok(Outcome { summary, found: host.found, plan: host.plan })
}

/// What this side's policy lets the peer take: the command to give it is the consent that an `ask` rule wants.
fn may_give(home: &SharedHome, peer: DeviceId, selection: &Selection) -> Result<Option<Grant>, PeerError> {
    let mut home = home.lock();
    Ok(match home.refresh()?.policy().decide(&peer, Operation::Pull, selection, now()) {
        Decision::Allowed(grant) => Some(grant),
        Decision::Ask(pending) => Some(pending.approve()),
        Decision::Denied => None,
    })
}

/// Writes what was learnt of the peer since the last write. This side's own reason says more than the session's.
fn finish(driven: Result<Summary, DriveError>, host: &mut HomeHost<'_>) -> Result<Summary, PeerError> {
    let kept = host.keep_learnt();
    match (driven, host.error.take()) {
        (Ok(summary), _) => Ok(kept.map(|()| summary)?),
        (Err(_), Some(error)) => Err(error.into()),
        (Err(DriveError::Channel(error)), None) => Err(error.into()),
        (Err(DriveError::Session(error)), None) => Err(error.into()),
    }
}
