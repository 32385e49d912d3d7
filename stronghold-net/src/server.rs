//! Answers paired devices: on a socket, or over any stream of an application.

pub(crate) mod admission;
pub(crate) mod health;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod pace;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stronghold_snapshot::{SharedVault, VaultFile, offload};
use stronghold_sync::{
    DeviceId,
    message::{Message, Refusal},
    session::Summary,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use crate::{
    Channel, ChannelError, Limits, Listener, Stream, Timeouts,
    channel::ephemeral::EphemeralIdentities,
    client::peer::{PeerError, answer},
    rendezvous::preauth::PreAuth,
    server::{
        admission::AdmissionQueue,
        health::{Change, Health, reason},
        memory::{BatchPermits, MemoryBudget},
        pace::Pace,
    },
    session::{
        handler::{NoHandler, SessionHandler},
        host::HostError,
    },
    transport::Arriving,
};

/// Interval between reports of rejected connections.
const TELL_TURNED_AWAY: Duration = Duration::from_secs(10);
/// Interval between checks whether a device was revoked during its session, and whether the
/// snapshot can be used.
const LOOK: Duration = Duration::from_secs(1);

/// An event of a server.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A paired device authenticated; its session begins.
    Started(DeviceId),
    /// A session ended well.
    Done(DeviceId, Summary),
    /// A session failed.
    Failed(DeviceId, PeerError),
    /// The snapshot can't be used, for this reason: it is missing, damaged, rolled back, in use, or
    /// can't be written. Paired devices are refused as this one is not ready. Reported once, within
    /// a second.
    NotReady(String),
    /// The snapshot can be used again.
    Ready,
    /// Number of connections since the last report that came from no paired device, or broke off
    /// before they were authenticated. Reported every ten seconds at most.
    TurnedAway(u64),
}

/// A server for the devices that a Stronghold is paired with, under its current policy. Changes
/// that another process makes in the snapshot apply from the next request on; a revoked device's
/// sessions end within a second or two. Clones share the limits.
#[derive(Clone)]
#[must_use = "a server answers only while it runs"]
pub struct Server {
    home: SharedVault,
    limits: Limits,
    shared: Arc<Shared>,
    handlers: Arc<dyn Fn() -> Box<dyn SessionHandler> + Send + Sync>,
    on_event: Arc<dyn Fn(Event) + Send + Sync>,
}

/// State that all sessions of a server share.
#[derive(Debug)]
struct Shared {
    gate: PreAuth,
    pace: Pace,
    memory: MemoryBudget,
    health: Health,
    sessions: Mutex<HashMap<DeviceId, usize>>,
    turned_away: AtomicU64,
}

impl Shared {
    fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            gate: PreAuth::default(),
            pace: Pace::default(),
            memory: MemoryBudget::of(limits),
            health: Health::default(),
            sessions: Mutex::default(),
            turned_away: AtomicU64::default(),
        })
    }
}

impl Server {
    /// Creates a server with the default [`Limits`] and no handler: requests that need approval are
    /// denied.
    pub fn new(home: &SharedVault) -> Self {
        Self {
            home: home.clone(),
            limits: Limits::default(),
            shared: Shared::new(&Limits::default()),
            handlers: Arc::new(|| Box::new(NoHandler)),
            on_event: Arc::new(|_| ()),
        }
    }

    /// Sets the limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.shared = Shared::new(&limits);
        self.limits = limits;
        self
    }

    /// Sets a function that creates the handler of each session.
    pub fn with_handler<A: SessionHandler + 'static>(
        mut self,
        new_handler: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        self.handlers = Arc::new(move || Box::new(new_handler()));
        self
    }

    /// Sets a callback for events.
    pub fn on_event(mut self, told: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.on_event = Arc::new(told);
        self
    }

    /// Answers on `listener` until `stop` resolves. Then accepts no more connections, gives running
    /// sessions [`Limits::shutdown_grace`] to end, and cuts the remaining ones; their acknowledged
    /// batches are durable. If a connection can't be accepted (for example with too many open
    /// files), tries the next one after a moment.
    pub async fn run(&self, listener: impl Into<Listener>, stop: impl Future<Output = ()>) {
        let listener = listener.into();
        let mut strangers = AdmissionQueue::with_capacity(self.limits.unauthenticated);
        let mut handshakes = AdmissionQueue::with_capacity(self.limits.handshakes);
        let mut sessions = JoinSet::new();
        let mut report = interval(TELL_TURNED_AWAY);
        let looking = self.clone();
        let looking = AbortOnDrop(tokio::spawn(async move { looking.watch_snapshot().await }));
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = sessions.join_next() => {}
                channel = handshakes.next() => {
                    if let Some(channel) = self.count_rejected(channel) {
                        let server = self.clone();
                        sessions.spawn(async move { server.session(channel).await });
                    }
                }
                knocked = strangers.next() => {
                    if let Some((stream, covered)) = self.count_rejected(knocked) {
                        let server = self.clone();
                        let opening = async move { server.in_time(server.open(stream, covered)).await };
                        self.count(handshakes.admit(opening));
                    }
                }
                arriving = listener.next() => {
                    let server = self.clone();
                    let gate = async move { server.in_time(server.admit(arriving)).await };
                    self.count(strangers.admit(gate));
                }
                _ = report.tick() => {
                    self.report_rejected();
                    if self.home.is_log_due() {
                        let home = self.home.clone();
                        sessions.spawn(async move { write_log(&home).await });
                    }
                }
            }
        }
        drop((listener, strangers, handshakes, looking));
        let ended =
            timeout(self.limits.shutdown_grace, async { while sessions.join_next().await.is_some() {} })
                .await;
        if ended.is_err() {
            tracing::warn!(left = sessions.len(), "sessions did not end in time and are cut");
        }
        self.report_rejected();
        write_log(&self.home).await;
    }

    /// Answers one connection over any stream: preauthentication, handshake and session. Reports
    /// the result as events.
    pub async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send>(&self, io: S) {
        let opened = async {
            let (io, covered) = self.in_time(self.pre_authenticate(io)).await?;
            self.in_time(self.open(io, covered)).await
        };
        match self.count_rejected(opened.await) {
            Some(channel) => self.session(channel).await,
            None => self.report_rejected(),
        }
    }

    /// Opens the stream of a connection that arrived, and admits it.
    async fn admit(&self, arriving: Arriving) -> Result<(Stream, EphemeralIdentities), ChannelError> {
        let stream = arriving.open().await.map_err(|error| ChannelError::from_io(&error))?;
        self.pre_authenticate(stream).await
    }

    /// Admits a connection that presents a valid knock of a paired device.
    async fn pre_authenticate<S: AsyncRead + Unpin>(
        &self,
        mut io: S,
    ) -> Result<(S, EphemeralIdentities), ChannelError> {
        let admitted = self.shared.gate.admit(&mut io, &self.home).await;
        let covered = admitted.map_err(|error| ChannelError::from_io(&error))?;
        let covered = covered.ok_or(ChannelError::TurnedAway)?;
        let _ = self.check_snapshot().await;
        Ok((io, covered))
    }

    /// Runs the handshake with an admitted connection and checks the peer's card: only the paired
    /// device passes.
    async fn open<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        io: S,
        covered: EphemeralIdentities,
    ) -> Result<Channel<S>, ChannelError> {
        if !self.shared.pace.turn(&covered.peer.device()).await {
            return Err(ChannelError::TurnedAway);
        }
        let timeouts = Timeouts { handshake: self.limits.handshake_timeout, idle: self.limits.idle_timeout };
        Channel::accept_covered(io, covered, timeouts).await
    }

    async fn in_time<T>(
        &self,
        opening: impl Future<Output = Result<T, ChannelError>>,
    ) -> Result<T, ChannelError> {
        let limit = self.limits.handshake_timeout;
        timeout(limit, opening).await.unwrap_or(Err(ChannelError::TimedOut(limit)))
    }

    /// Counts a rejected connection.
    fn count_rejected<T>(&self, opened: Result<T, ChannelError>) -> Option<T> {
        if let Err(error) = &opened {
            tracing::debug!(%error, "a connection was turned away");
        }
        self.count(opened.is_err());
        opened.ok()
    }

    fn count(&self, turned_away: bool) {
        self.shared.turned_away.fetch_add(u64::from(turned_away), Ordering::Relaxed);
    }

    fn report_rejected(&self) {
        match self.shared.turned_away.swap(0, Ordering::Relaxed) {
            0 => {}
            number => (self.on_event)(Event::TurnedAway(number)),
        }
    }

    async fn session<S: AsyncRead + AsyncWrite + Unpin + Send>(&self, mut channel: Channel<S>) {
        let device = channel.peer().device();
        tracing::info!(device = %device.fingerprint(), "a session begins");
        (self.on_event)(Event::Started(device));
        let done = self.run_session(&mut channel, device).await;
        self.shared.pace.ended(device, done.is_ok());
        if let Err(refusal) = done.as_ref().map_err(last_word)
            && let Some(refusal) = refusal
        {
            let _ = channel.feed(&Message::Refused(refusal)).await;
        }
        let _ = channel.close().await;
        match done {
            Ok(summary) => {
                tracing::info!(device = %device.fingerprint(), received = summary.received, sent = summary.sent, "a session ended");
                (self.on_event)(Event::Done(device, summary));
            }
            Err(error) => {
                if let PeerError::Host(HostError::Home(error)) = &error {
                    self.tell(self.shared.health.note(reason(error)));
                }
                tracing::warn!(device = %device.fingerprint(), %error, "a session failed");
                (self.on_event)(Event::Failed(device, error));
            }
        }
    }

    async fn run_session<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        channel: &mut Channel<S>,
        device: DeviceId,
    ) -> Result<Summary, PeerError> {
        let _place = SessionSlot::of(&self.shared, device, &self.limits).ok_or(PeerError::Busy)?;
        self.check_snapshot().await.map_err(PeerError::NotReady)?;
        let mut handler = (self.handlers)();
        let limit = self.limits.session_timeout;
        let flight = BatchPermits::new(&self.shared.memory, device);
        tokio::select! {
            done = timeout(limit, answer(channel, &self.home, &mut *handler, &self.limits, flight)) => {
                done.unwrap_or(Err(PeerError::TooLong(limit)))
            }
            () = self.until_revoked(device) => Err(PeerError::Revoked),
        }
    }

    /// Checks every second whether the snapshot can be used.
    async fn watch_snapshot(&self) {
        loop {
            let _ = self.check_snapshot().await;
            sleep(LOOK).await;
        }
    }

    /// Checks whether the snapshot can be used, and reports a change.
    async fn check_snapshot(&self) -> Result<(), String> {
        let (shared, home) = (self.shared.clone(), self.home.clone());
        let (found, change) = offload(move || shared.health.check(&home)).await;
        self.tell(change);
        found
    }

    fn tell(&self, change: Option<Change>) {
        match change {
            None => {}
            Some(Change::NotReady(reason)) => {
                tracing::warn!(%reason, "the snapshot can't be used");
                (self.on_event)(Event::NotReady(reason));
            }
            Some(Change::Ready) => {
                tracing::info!("the snapshot can be used again");
                (self.on_event)(Event::Ready);
            }
        }
    }

    /// Resolves once the device is unpaired.
    async fn until_revoked(&self, device: DeviceId) {
        let is_known = move |vault: &mut VaultFile| {
            // A file that can't be read now does not revoke the device.
            vault.refresh().is_err() || vault.stronghold().peers().get(&device).is_some()
        };
        while self.home.call(is_known).await {
            sleep(LOOK).await;
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Returns the refusal to send to the peer if the session itself could not send one.
fn last_word(error: &PeerError) -> Option<Refusal> {
    match error {
        PeerError::Busy => Some(Refusal::Busy),
        PeerError::NotReady(_) => Some(Refusal::NotReady),
        PeerError::Revoked => Some(Refusal::NotPermitted),
        PeerError::TooLong(_) | PeerError::TooSlow => Some(Refusal::Stopped),
        _ => None,
    }
}

/// Writes the queued log records; if that fails, they stay queued.
async fn write_log(home: &SharedVault) {
    if let Err(error) = home.write_log_async().await {
        tracing::warn!(%error, "the log could not be written");
    }
}

/// A task that is aborted when this is dropped.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A session's place among those of its device and of the server, freed when dropped.
struct SessionSlot<'a> {
    shared: &'a Shared,
    device: DeviceId,
}

impl<'a> SessionSlot<'a> {
    fn of(shared: &'a Shared, device: DeviceId, limits: &Limits) -> Option<Self> {
        let mut sessions = shared.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let of_device = sessions.get(&device).copied().unwrap_or(0);
        if of_device >= limits.sessions_per_peer || sessions.values().sum::<usize>() >= limits.sessions {
            return None;
        }
        sessions.insert(device, of_device + 1);
        Some(Self { shared, device })
    }
}

impl Drop for SessionSlot<'_> {
    fn drop(&mut self) {
        let mut sessions = self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_device) = sessions.get_mut(&self.device) {
            *of_device -= 1;
            if *of_device == 0 {
                sessions.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session could not say itself is said for it; where it could, or where nobody listens,
    /// nothing is.
    #[test]
    fn the_peer_hears_why_it_is_not_served() {
        for (error, expected) in [
            (PeerError::Busy, Some(Refusal::Busy)),
            (PeerError::NotReady("gone".into()), Some(Refusal::NotReady)),
            (PeerError::Revoked, Some(Refusal::NotPermitted)),
            (PeerError::TooLong(Duration::ZERO), Some(Refusal::Stopped)),
            (PeerError::TooSlow, Some(Refusal::Stopped)),
            (PeerError::Unpaired, None),
            (PeerError::Channel(ChannelError::Cut), None),
        ] {
            assert_eq!(last_word(&error), expected, "{error}");
        }
    }

    #[test]
    fn places_are_for_each_device_and_for_all_and_free_again() {
        let limits = Limits { sessions: 3, sessions_per_peer: 2, ..Limits::default() };
        let shared = Shared::new(&limits);
        let device = |number| DeviceId::from_bytes([number; 32]);
        let place = |number| SessionSlot::of(&shared, device(number), &limits);
        let (one, two) = (place(1).unwrap(), place(1).unwrap());
        assert!(place(1).is_none(), "two of a device");
        let three = place(2).unwrap();
        assert!(place(2).is_none() && place(3).is_none(), "three of all");
        drop(one);
        assert!(place(1).is_some());
        let four = place(3).unwrap();
        assert!(place(1).is_none() && place(2).is_none());
        drop((two, three, four));
        assert!(shared.sessions.lock().unwrap().is_empty());
    }
}
