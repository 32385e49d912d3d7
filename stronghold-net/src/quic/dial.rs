//! Connects to a paired device's endpoint, at addresses that are known of it and through relays.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use iroh::{
    Endpoint, EndpointAddr, SecretKey, TransportAddr, Watcher,
    endpoint::{ConnectError, ConnectingError, Connection, ConnectionError},
};
use stronghold_sync::DeviceId;
use stronghold_vault::{Rendezvous, random};
use tokio::time::{sleep, timeout};

use super::{
    Kept, bind, endpoint, keys,
    relays::Relays,
    stream::{Link, QuicStream},
};

/// Time limit for a device that is dialed at known addresses alone.
const DIRECT: Duration = Duration::from_secs(4);
/// Time limit for a device that is dialed through a relay, too.
const RELAYED: Duration = Duration::from_secs(10);

/// Time for which a connection through a relay waits for a direct path before it is used.
const DIRECT_PATH: Duration = Duration::from_secs(2);
/// Interval between looks at the paths.
const LOOK: Duration = Duration::from_millis(50);

/// An error that kept a device from being reached over QUIC.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuicError {
    /// No answer at its addresses, and there is no relay.
    #[error("nothing answers at {0}")]
    NoAnswer(String),
    /// Something answers there that is not the device.
    #[error("not the device answers at {0}")]
    NotTheDevice(String),
    /// The relay was not reached, or is none.
    #[error("the relay {0} can't be reached")]
    NoRelay(String),
    /// The relay was reached; the device was not, there or directly.
    #[error("the device is not at the relay {0}")]
    NotAtRelay(String),
    /// This device could not open a socket.
    #[error("no socket can be opened: {0}")]
    Socket(String),
}

/// The device to dial: the pairing's secret, the two devices, and addresses known of the peer.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) secret: Rendezvous,
    pub(crate) own: DeviceId,
    pub(crate) peer: DeviceId,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Opens a stream to the peer's endpoint: directly where one of its addresses answers, else through
/// a relay, if there is one.
pub(crate) async fn dial(target: &Target, relays: &Relays) -> Result<(QuicStream, Link), QuicError> {
    let index = random::<1>().map_or(0, |[byte]| byte);
    match attempt(target, relays, index).await {
        // Another device has the port, and its answer ended the connection. A new endpoint, which
        // does not know the address, asks the relays alone.
        Err((_, true)) if !relays.is_empty() && !target.addresses.is_empty() => {
            let elsewhere = Target { addresses: Vec::new(), ..target.clone() };
            attempt(&elsewhere, relays, index.wrapping_add(1)).await
        }
        attempted => attempted,
    }
    .map_err(|(error, _)| error)
}

/// Dials once, with one of the keys. An error says whether it was told, not waited for in vain.
async fn attempt(
    target: &Target,
    relays: &Relays,
    index: u8,
) -> Result<(QuicStream, Link), (QuicError, bool)> {
    let key = SecretKey::from_bytes(&keys::dial_seed(&target.secret, &target.own, index % keys::DIAL_KEYS));
    let alpn = keys::alpn(&target.secret, &target.peer);
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let bound = bind(endpoint(key, &alpn, relays), any).await;
    let own = Arc::new(Kept(bound.map_err(|error| (QuicError::Socket(error), false))?));
    let limit = if relays.is_empty() { DIRECT } else { RELAYED };
    let is_answered = match timeout(limit, connect(&own.0, target, relays, &alpn)).await {
        Ok(Ok(connection)) => match open(&connection, &own).await {
            Some(stream) => return Ok((stream, Link::new(&connection, own))),
            None => true,
        },
        Ok(Err(error)) => is_answer(&error),
        Err(_) => false,
    };
    Err((failed(&own.0, target, relays, is_answered), is_answered))
}

async fn connect(
    own: &Endpoint,
    target: &Target,
    relays: &Relays,
    alpn: &[u8],
) -> Result<Connection, ConnectError> {
    let there = SecretKey::from_bytes(&keys::listen_seed(&target.secret, &target.peer)).public();
    let port = keys::port(&target.secret, &target.peer);
    let direct = target.addresses.iter().map(|at| TransportAddr::Ip(SocketAddr::new(at.ip(), port)));
    let relayed = relays.urls().iter().cloned().map(TransportAddr::Relay);
    let connecting = own.connect(EndpointAddr::from_parts(there, direct.chain(relayed)), alpn).await;
    connecting.inspect_err(|error| tracing::debug!(%error, "no connection over QUIC"))
}

/// Opens the stream, once there is a direct path, or it has been waited for.
async fn open(connection: &Connection, own: &Arc<Kept>) -> Option<QuicStream> {
    let is_direct = || connection.paths().iter().any(|path| path.is_selected() && path.is_ip());
    let _ = timeout(DIRECT_PATH, async {
        while !is_direct() && connection.close_reason().is_none() {
            sleep(LOOK).await;
        }
    })
    .await;
    let streams = connection.open_bi().await.ok()?;
    Some(QuicStream::new(connection.clone(), streams, own.clone()))
}

/// Returns whether the error is an answer, not the lack of one.
fn is_answer(error: &ConnectError) -> bool {
    match error {
        ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. } => {
            !matches!(source, ConnectionError::TimedOut)
        }
        ConnectError::Connection { source, .. } => !matches!(source, ConnectionError::TimedOut),
        _ => false,
    }
}

/// Returns the reason for a failed attempt, as far as it shows; `is_answered` if it was told, not
/// waited for in vain.
fn failed(own: &Endpoint, target: &Target, relays: &Relays, is_answered: bool) -> QuicError {
    let port = keys::port(&target.secret, &target.peer);
    let at = || {
        let each = target.addresses.iter().map(|at| SocketAddr::new(at.ip(), port).to_string());
        each.collect::<Vec<_>>().join(", ")
    };
    let is_online = own.home_relay_status().get().iter().any(|relay| relay.is_connected());
    match (relays.is_empty(), is_answered, is_online) {
        (true, true, _) => QuicError::NotTheDevice(at()),
        (true, false, _) => QuicError::NoAnswer(at()),
        (false, _, true) => QuicError::NotAtRelay(relays.list()),
        (false, _, false) => QuicError::NoRelay(relays.list()),
    }
}
