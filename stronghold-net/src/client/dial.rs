//! Connects to a device: at a known address, or at one found on the LAN.

#[cfg(test)]
#[cfg(feature = "discovery")]
mod tests;

use std::{future::Future, io, net::SocketAddr, time::Duration};

use stronghold_snapshot::SharedVault;
use stronghold_sync::DeviceId;
use stronghold_vault::Identity;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    HostError, Invitation, Pairing, Peer, PeerError, Stream,
    pairing::{PairingError, PendingPairing},
    rendezvous::discovery::{Search, search_for_code, search_for_peer},
    transport,
};

/// Head start of the known addresses before the LAN is searched too.
const HEAD_START: Duration = Duration::from_millis(500);
/// Time for which [`dial`] searches the LAN.
pub const SEARCH_TIME: Duration = Duration::from_secs(12);

/// An error that kept a device from being reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No answer at the address.
    #[error("can't reach {address}: {}", reason(.source))]
    Unreachable {
        /// The address, as given.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// The search found no such device.
    #[error("it was not found on this network")]
    NotFound,
    /// The search could not start.
    #[cfg(feature = "discovery")]
    #[error(transparent)]
    Discovery(#[from] crate::discovery::DiscoveryError),
    /// The device was not reached over QUIC.
    #[cfg(feature = "iroh")]
    #[error(transparent)]
    Far(#[from] crate::QuicError),
    /// The device was reached neither over TCP nor over QUIC.
    #[cfg(feature = "iroh")]
    #[error("{near}; over QUIC, {far}")]
    Nowhere {
        /// The error over TCP.
        near: Box<DialError>,
        /// The error over QUIC.
        far: crate::QuicError,
    },
    /// The device answered, but the channel to it failed.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The device answered, but the pairing failed.
    #[error(transparent)]
    Pairing(#[from] PairingError),
}

/// Returns the text for a connection error.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".into(),
        io::ErrorKind::TimedOut => "nothing answers there".into(),
        _ => error.to_string(),
    }
}

/// Opens a channel to a paired device. With `at`, tries only that address; otherwise the device's
/// last address and, if that fails, addresses found on the LAN. Remembers the address that worked.
///
/// # Errors
/// [`DialError`] with the first error, if no address works.
pub async fn dial(home: &SharedVault, device: DeviceId, at: Option<&str>) -> Result<Peer, DialError> {
    let known = home.call(move |vault| {
        let peer = vault.stronghold().peers().get(&device)?;
        Some((peer.address.clone(), peer.rendezvous.clone()?))
    });
    let (known, secret) = known.await.ok_or(PeerError::Unpaired)?;
    let open = |address: String| {
        let home = home.clone();
        async move {
            let peer = Peer::connect(connect(&address).await?, &home, device).await?;
            Ok((peer, address))
        }
    };
    let (peer, address) = match at {
        Some(at) => open(at.to_owned()).await?,
        None => first(known.clone().into_iter().collect(), || search_for_peer(&secret, device), open).await?,
    };
    if known.as_deref() != Some(&address) {
        let remembered = home.update_async(move |stronghold| {
            stronghold.peers_mut().set_address(&device, address);
            Ok::<_, HostError>(())
        });
        remembered.await.map_err(PeerError::from)?;
    }
    Ok(peer)
}

/// Opens a channel to the device that shows the invitation's code, as `identity` under the name
/// `name`. With `at`, tries only that address; otherwise the invitation's addresses and those found
/// on the LAN. Returns the pending pairing and the address that worked.
///
/// # Errors
/// [`DialError`] with the first error, if no address works.
pub async fn dial_pairing(
    invitation: &Invitation,
    identity: &Identity,
    name: &str,
    at: Option<&str>,
) -> Result<(PendingPairing, String), DialError> {
    let open = |address: String| {
        let (identity, code) = (identity.duplicate(), invitation.code.copy());
        let name = name.to_owned();
        async move {
            let met = Pairing::join(connect(&address).await?, &identity, &name, code).await?;
            Ok((met, address))
        }
    };
    match at {
        Some(at) => open(at.to_owned()).await,
        None => {
            let known = invitation.addresses.iter().map(SocketAddr::to_string).collect();
            first(known, || search_for_code(&invitation.code), open).await
        }
    }
}

/// Returns the first channel that opens, at a known address or one found on the LAN. Reports an
/// address's error only if no address works.
async fn first<T, F, E>(
    known: Vec<String>,
    search: impl FnOnce() -> Result<Search, E>,
    open: impl Fn(String) -> F,
) -> Result<T, DialError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, DialError>> + Send + 'static,
    E: Into<DialError>,
{
    // A device that was on this very machine is not searched for on others.
    let is_local = |address: &String| address.parse::<SocketAddr>().is_ok_and(|at| at.ip().is_loopback());
    let is_worth_a_search = known.is_empty() || !known.iter().all(is_local);
    let mut attempts = DialRace { pending: JoinSet::new(), wrong: None };
    known.into_iter().for_each(|address| attempts.begin(open(address)));
    if let Ok(Some(opened)) = timeout(HEAD_START, attempts.success()).await {
        return Ok(opened);
    }
    if !is_worth_a_search || attempts.is_settled() {
        return attempts.success().await.ok_or(attempts.wrong(DialError::NotFound));
    }
    let mut searching = match search() {
        Ok(searching) => searching,
        Err(error) => return attempts.success().await.ok_or(attempts.wrong(error.into())),
    };
    let end = Instant::now() + SEARCH_TIME;
    while !attempts.is_settled() {
        tokio::select! {
            opened = attempts.success(), if !attempts.pending.is_empty() => {
                if let Some(opened) = opened {
                    return Ok(opened);
                }
            }
            address = searching.next() => attempts.begin(open(address.to_string())),
            () = sleep_until(end) => break,
        }
    }
    attempts.success().await.ok_or(attempts.wrong(DialError::NotFound))
}

/// Attempts in progress, and the error to report if all fail.
struct DialRace<T> {
    pending: JoinSet<Result<T, DialError>>,
    wrong: Option<DialError>,
}

impl<T: Send + 'static> DialRace<T> {
    fn begin(&mut self, attempt: impl Future<Output = Result<T, DialError>> + Send + 'static) {
        self.pending.spawn(attempt);
    }

    /// Returns the first success; `None` once all attempts failed, or one of them with a final
    /// error.
    async fn success(&mut self) -> Option<T> {
        while !self.is_settled() {
            match self.pending.join_next().await? {
                Ok(Ok(opened)) => return Some(opened),
                Ok(Err(error)) if self.wrong.is_none() || is_final(&error) => self.wrong = Some(error),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        None
    }

    /// Returns whether no other address can do better.
    fn is_settled(&self) -> bool {
        self.wrong.as_ref().is_some_and(is_final)
    }

    fn wrong(&mut self, otherwise: DialError) -> DialError {
        self.wrong.take().unwrap_or(otherwise)
    }
}

/// Returns whether the device itself caused the error, so that other addresses cannot help. A claim
/// by an unauthenticated peer never ends the search: anyone may answer at an address.
fn is_final(error: &DialError) -> bool {
    matches!(error, DialError::Pairing(PairingError::Itself))
}

async fn connect(address: &str) -> Result<Stream, DialError> {
    let connected = transport::connect(address).await;
    connected.map_err(|source| DialError::Unreachable { address: address.to_owned(), source })
}
