//! Listens for paired devices: one endpoint for each, since an endpoint has one key.
//!
//! An endpoint costs a UDP socket for each family of addresses, and a connection to the relay if
//! there is one. So only so many devices are served at a time; TCP serves all.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use iroh::{EndpointId, SecretKey, Watcher, endpoint::Incoming};
use stronghold_snapshot::SharedVault;
use stronghold_sync::DeviceId;
use stronghold_vault::Rendezvous;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::sleep,
};

use super::{
    Kept, bind, endpoint, keys,
    relays::{Relays, shown},
    stream::QuicStream,
};
use crate::rendezvous::tags::ANY_DEVICE;

/// Maximum number of devices that are served at a time: the first ones, by their ids.
pub const MAX_ENDPOINTS: usize = 32;
/// Interval between checks of the pairings and the relay.
const LOOK: Duration = Duration::from_secs(1);
/// Interval between attempts to open a socket that could not be opened.
const AGAIN: u32 = 30;
/// Maximum connections that wait for the server to take them; more are refused.
const WAITING: usize = 64;
/// Handshakes in progress beyond which an address must show that it is no forged one.
const UNPROVEN: usize = 8;
/// Number of checks without a relay until that is told.
const UNREACHED: u32 = 8;

/// An event of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuicEvent {
    /// A paired device can reach this one at this UDP port.
    Listening(DeviceId, u16),
    /// No socket could be opened for a paired device, for this reason. It is tried again.
    Failed(DeviceId, String),
    /// This number of paired devices is not served: there are more than [`MAX_ENDPOINTS`].
    TooMany(usize),
    /// This relay is connected: paired devices find this one there.
    Relay(String),
    /// No relay can be reached. It is tried again.
    NoRelay,
}

/// Endpoints for the devices that a Stronghold is paired with, at which these can connect.
#[must_use = "it listens only while it is held"]
pub struct QuicListener {
    arriving: Mutex<mpsc::Receiver<Arriving>>,
    task: JoinHandle<()>,
}

impl QuicListener {
    /// Listens at the IP address of `at`, at a port for each paired device, and at the relays.
    /// Follows the pairings: a device that is paired later can connect, a revoked one can't.
    pub fn open(
        home: &SharedVault,
        at: SocketAddr,
        relays: Relays,
        on_event: impl Fn(QuicEvent) + Send + Sync + 'static,
    ) -> Self {
        Self::of(Source::Home(home.clone()), at, relays, on_event)
    }

    /// Listens for the one device that has the secret, such as that of a pairing code; the ids of
    /// both are not known yet.
    pub(crate) fn for_secret(
        secret: Rendezvous,
        at: SocketAddr,
        relays: Relays,
        on_event: impl Fn(QuicEvent) + Send + Sync + 'static,
    ) -> Self {
        Self::of(Source::Secret(secret), at, relays, on_event)
    }

    fn of(
        source: Source,
        at: SocketAddr,
        relays: Relays,
        on_event: impl Fn(QuicEvent) + Send + Sync + 'static,
    ) -> Self {
        let (sender, arriving) = mpsc::channel(WAITING);
        let keeper = Keeper {
            source,
            at,
            relays,
            sender,
            on_event: Box::new(on_event),
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            left_out: 0,
            relay: None,
            without: 0,
        };
        Self { arriving: Mutex::new(arriving), task: tokio::spawn(keeper.run()) }
    }

    /// Returns the next connection, whose handshake has not begun. Waits forever once the listener
    /// ended.
    pub(crate) async fn next(&self) -> Arriving {
        match self.arriving.lock().await.recv().await {
            Some(arriving) => arriving,
            None => std::future::pending().await,
        }
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for QuicListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicListener").finish_non_exhaustive()
    }
}

/// A connection that wants to open.
pub(crate) struct Arriving {
    incoming: Incoming,
    allowed: Arc<[EndpointId]>,
    endpoint: Arc<Kept>,
    _place: Place,
}

impl Arriving {
    /// Runs the QUIC handshake. Refuses every key but those of the paired device for which the
    /// endpoint is.
    pub(crate) async fn open(self) -> io::Result<QuicStream> {
        let connection = self.incoming.await.map_err(io::Error::other)?;
        if !self.allowed.contains(&connection.remote_id()) {
            connection.close(super::stream::DONE, b"");
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let streams = connection.accept_bi().await.map_err(io::Error::other)?;
        Ok(QuicStream::new(connection, streams, self.endpoint))
    }
}

/// One of the handshakes in progress.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(all.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open endpoint. Dropped, it accepts no more, and closes with its last connection.
struct Opened {
    secret: Rendezvous,
    endpoint: Arc<Kept>,
    task: JoinHandle<()>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The devices to listen for.
enum Source {
    /// Those that a Stronghold is paired with.
    Home(SharedVault),
    /// The one that has this secret.
    Secret(Rendezvous),
}

impl Source {
    /// Returns the own id, and the secrets with the devices.
    async fn pairs(&self) -> (DeviceId, BTreeMap<DeviceId, Rendezvous>) {
        let home = match self {
            Self::Home(home) => home,
            Self::Secret(secret) => return (ANY_DEVICE, BTreeMap::from([(ANY_DEVICE, secret.clone())])),
        };
        let pairs = home.call(|vault| {
            // A file that can't be read now revokes no device.
            let _ = vault.refresh();
            let peers = vault.stronghold().peers().iter();
            let pairs = peers.filter_map(|(device, peer)| Some((*device, peer.rendezvous.clone()?)));
            (vault.stronghold().identity().device(), pairs.collect())
        });
        pairs.await
    }
}

/// Keeps an endpoint open for each paired device.
struct Keeper {
    source: Source,
    at: SocketAddr,
    relays: Relays,
    sender: mpsc::Sender<Arriving>,
    on_event: Box<dyn Fn(QuicEvent) + Send + Sync>,
    open: BTreeMap<DeviceId, Opened>,
    /// The devices whose sockets could not be opened, with the checks until the next attempt.
    failed: BTreeMap<DeviceId, u32>,
    left_out: usize,
    relay: Option<String>,
    /// Number of checks since a relay was connected.
    without: u32,
}

impl Keeper {
    async fn run(mut self) {
        let handshakes = Arc::new(AtomicUsize::new(0));
        loop {
            self.follow(&handshakes).await;
            self.watch_relay();
            sleep(LOOK).await;
        }
    }

    /// Opens and closes endpoints, so that there is one for each paired device.
    async fn follow(&mut self, handshakes: &Arc<AtomicUsize>) {
        let (own, pairs) = self.source.pairs().await;
        self.open.retain(|device, opened| pairs.get(device) == Some(&opened.secret));
        self.failed.retain(|device, left| {
            *left -= 1;
            pairs.contains_key(device) && *left > 0
        });
        let left_out = pairs.len().saturating_sub(MAX_ENDPOINTS);
        if std::mem::replace(&mut self.left_out, left_out) != left_out && left_out > 0 {
            (self.on_event)(QuicEvent::TooMany(left_out));
        }
        for (device, secret) in pairs {
            let is_due = !self.open.contains_key(&device) && !self.failed.contains_key(&device);
            if is_due && self.open.len() < MAX_ENDPOINTS {
                self.open(own, device, secret, handshakes).await;
            }
        }
    }

    /// Opens the endpoint for one device: at the port that both derive, or at any if that is taken.
    async fn open(
        &mut self,
        own: DeviceId,
        device: DeviceId,
        secret: Rendezvous,
        handshakes: &Arc<AtomicUsize>,
    ) {
        let builder = || {
            let key = SecretKey::from_bytes(&keys::listen_seed(&secret, &own));
            endpoint(key, &keys::alpn(&secret, &own), &self.relays)
        };
        let at = |port| SocketAddr::new(self.at.ip(), port);
        let bound = match bind(builder(), at(keys::port(&secret, &own))).await {
            Ok(endpoint) => Ok(endpoint),
            Err(_) => bind(builder(), at(0)).await,
        };
        match bound {
            Ok(endpoint) => {
                let port = endpoint.bound_sockets().first().map_or(0, SocketAddr::port);
                let keys = (0..keys::DIAL_KEYS).map(|index| keys::dial_seed(&secret, &device, index));
                let allowed = keys.map(|seed| SecretKey::from_bytes(&seed).public()).collect();
                let endpoint = Arc::new(Kept(endpoint));
                let accepting = accept(endpoint.clone(), allowed, self.sender.clone(), handshakes.clone());
                let task = tokio::spawn(accepting);
                self.open.insert(device, Opened { secret, endpoint, task });
                (self.on_event)(QuicEvent::Listening(device, port));
            }
            Err(reason) => {
                self.failed.insert(device, AGAIN);
                (self.on_event)(QuicEvent::Failed(device, reason));
            }
        }
    }

    /// Reports when a relay is connected, and when none has been for a while.
    fn watch_relay(&mut self) {
        if self.relays.is_empty() || self.open.is_empty() {
            return;
        }
        let all = self.open.values().flat_map(|opened| opened.endpoint.0.home_relay_status().get());
        let connected = all.filter(|relay| relay.is_connected()).map(|relay| shown(relay.url())).next();
        self.without = if connected.is_some() { 0 } else { self.without.saturating_add(1) };
        if connected.is_some() && connected != self.relay {
            self.relay.clone_from(&connected);
            (self.on_event)(QuicEvent::Relay(connected.unwrap_or_default()));
        } else if self.without == UNREACHED {
            self.relay = None;
            (self.on_event)(QuicEvent::NoRelay);
        }
    }
}

/// Hands on what arrives at one endpoint. Never waits for the server, so that nothing piles up.
async fn accept(
    endpoint: Arc<Kept>,
    allowed: Arc<[EndpointId]>,
    sender: mpsc::Sender<Arriving>,
    handshakes: Arc<AtomicUsize>,
) {
    while let Some(incoming) = endpoint.0.accept().await {
        if handshakes.load(Ordering::Relaxed) >= UNPROVEN && !incoming.remote_addr_validated() {
            let _ = incoming.retry();
            continue;
        }
        let (allowed, endpoint) = (allowed.clone(), endpoint.clone());
        let arriving = Arriving { incoming, allowed, endpoint, _place: Place::take(&handshakes) };
        if let Err(full) = sender.try_send(arriving) {
            full.into_inner().incoming.ignore();
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::{EndpointAddr, endpoint::ConnectionError};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::{Listener, Server, Way, common::friends, dial_across};

    /// Address at which no device answers over TCP.
    const NO_TCP: &str = "127.0.0.1:1";

    /// Checks that a stranger who knows the endpoint's key, port and protocol is refused at once,
    /// and that any number of strangers does not keep the paired device away.
    #[tokio::test(flavor = "multi_thread")]
    async fn strangers_are_refused_and_hinder_nobody() {
        let (own, peer) = friends();
        let device = peer.device();
        let secret = own.home.lock().stronghold().peers().get(&device).unwrap().rendezvous.clone().unwrap();
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (told, mut events) = mpsc::unbounded_channel();
        let quic = QuicListener::open(&peer.home, at, Relays::default(), move |event| _ = told.send(event));
        let server = Server::new(&peer.home);
        let running = tokio::spawn(async move {
            server.run(listener.with_quic(quic), std::future::pending()).await;
        });
        let port = keys::port(&secret, &device);
        assert_eq!(events.recv().await, Some(QuicEvent::Listening(own.device(), port)));

        let alpn = keys::alpn(&secret, &device);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let stranger = bind(endpoint(SecretKey::generate(), &alpn, &Relays::default()), any).await.unwrap();
        let id = SecretKey::from_bytes(&keys::listen_seed(&secret, &device)).public();
        let there = EndpointAddr::new(id).with_ip_addr(SocketAddr::new(any.ip(), port));
        let begun = Instant::now();
        // More than wait for the server, or than are known to be no forged ones.
        let crowd: Vec<_> = (0..4 * WAITING)
            .map(|_| {
                let (stranger, there) = (stranger.clone(), there.clone());
                tokio::spawn(async move {
                    let Ok(connection) = stranger.connect(there, &alpn).await else { return true };
                    let closed = timeout(Duration::from_secs(8), connection.closed()).await;
                    matches!(closed, Ok(ConnectionError::ApplicationClosed(_)))
                })
            })
            .collect();
        let reached = dial_across(&own.home, device, Some(NO_TCP), &Relays::default()).await.unwrap();
        assert_eq!((reached.device(), reached.way()), (device, Way::Direct));
        for one in crowd {
            assert!(one.await.unwrap(), "a stranger was kept waiting for its knock");
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        // Without the protocol's name there is no key to see.
        let other = stranger.connect(there, b"stronghold/1").await;
        assert!(other.is_err());
        running.abort();
    }
}
