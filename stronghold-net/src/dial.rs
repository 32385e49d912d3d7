//! Getting to a device over TCP: at an address that is known, or wherever the LAN says that it is.

#[cfg(test)]
mod tests;

use std::{future::Future, io, net::SocketAddr, time::Duration};

use stronghold_sync::DeviceId;
use stronghold_vault::Identity;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    HostError, Invitation, Pairing, Peer, PeerError,
    discovery::{DiscoveryError, Search, search_for_code, search_for_peer},
    pairing::{PairingError, PendingPairing},
    shared::SharedVault,
    tcp,
};

/// How long known addresses are tried alone, before the LAN is searched too.
const HEAD_START: Duration = Duration::from_millis(500);
/// How long the LAN is searched.
const SEARCH: Duration = Duration::from_secs(12);

/// Why a device was not reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// At the address nobody listens, or nothing answers.
    #[error("can't reach {address}: {}", reason(.source))]
    Unreachable {
        /// As it was given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// It was searched for and not found.
    #[error("it was not found on this network")]
    NotFound,
    /// It could not be searched for.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// It was there, and no channel to it came about.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// It was there, and no pairing came about.
    #[error(transparent)]
    Pairing(#[from] PairingError),
}

/// What kept a connection from coming about.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".into(),
        io::ErrorKind::TimedOut => "nothing answers there".into(),
        _ => error.to_string(),
    }
}

/// Opens a channel to a paired device: at `at`, if that is said, and nowhere else; else where it was last, or, when it is not
/// there, where it is found on the LAN. The address that worked is remembered.
///
/// # Errors
/// [`DialError`].
pub async fn dial(
    home: &SharedVault,
    device: DeviceId,
    at: Option<&str>,
) -> Result<Peer<TcpStream>, DialError> {
    let (known, secret) = {
        let home = home.lock();
        let peer = home.stronghold().peers().get(&device).ok_or(PeerError::Unpaired)?;
        (peer.address.clone(), peer.rendezvous.clone().ok_or(PeerError::Unpaired)?)
    };
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
        let mut home = home.lock();
        let remembered = home.update(|stronghold| {
            stronghold.peers_mut().set_address(&device, address);
            Ok::<_, HostError>(())
        });
        remembered.map_err(PeerError::from)?;
    }
    Ok(peer)
}

/// Meets the device that shows the invitation's code, as `identity`, which calls itself `name`: at `at`, if that is said, and
/// nowhere else; else at the invitation's addresses, or where it is found on the LAN. With the address.
///
/// # Errors
/// [`DialError`].
pub async fn dial_pairing(
    invitation: &Invitation,
    identity: &Identity,
    name: &str,
    at: Option<&str>,
) -> Result<(PendingPairing<TcpStream>, String), DialError> {
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

/// What opens first: at a known address, or at one that the LAN is found to have. What went wrong at an address is told
/// only where none works.
async fn first<T, F>(
    known: Vec<String>,
    search: impl FnOnce() -> Result<Search, DiscoveryError>,
    open: impl Fn(String) -> F,
) -> Result<T, DialError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, DialError>> + Send + 'static,
{
    // What was on this very machine is not looked for on others.
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
    let end = Instant::now() + SEARCH;
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

/// Attempts under way, and what first went wrong with one.
struct DialRace<T> {
    pending: JoinSet<Result<T, DialError>>,
    wrong: Option<DialError>,
}

impl<T: Send + 'static> DialRace<T> {
    fn begin(&mut self, attempt: impl Future<Output = Result<T, DialError>> + Send + 'static) {
        self.pending.spawn(attempt);
    }

    /// The first that succeeds; none when all under way have failed, or one in a way that ends it all.
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

    /// Whether it is known that no other address would do better.
    fn is_settled(&self) -> bool {
        self.wrong.as_ref().is_some_and(is_final)
    }

    fn wrong(&mut self, otherwise: DialError) -> DialError {
        self.wrong.take().unwrap_or(otherwise)
    }
}

/// Whether the device itself has shown it: looking elsewhere changes nothing. What somebody says who has proved nothing does
/// not end the search: anybody may answer at an address.
fn is_final(error: &DialError) -> bool {
    matches!(error, DialError::Pairing(PairingError::Itself))
}

async fn connect(address: &str) -> Result<TcpStream, DialError> {
    let connected = tcp::connect(address).await;
    connected.map_err(|source| DialError::Unreachable { address: address.to_owned(), source })
}
