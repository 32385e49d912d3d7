//! Connects to a device wherever it is: over TCP first, then over QUIC, directly or through a
//! relay.

use std::{io, net::SocketAddr, time::Duration};

use stronghold_snapshot::SharedVault;
use stronghold_sync::DeviceId;
use tokio::{net::lookup_host, time::timeout};

use super::dial::{DialError, dial};
use crate::{
    Peer, PeerError, Relays, Stream,
    quic::dial::{Target, dial as dial_quic},
    transport::Link,
};

/// Head start of TCP before QUIC is tried too.
const HEAD_START: Duration = Duration::from_millis(1500);
/// Time limit for the look-up of a host's name.
const LOOK_UP: Duration = Duration::from_secs(3);
/// Maximum addresses of a host that are tried.
const MOST: usize = 4;

/// Opens a channel to a paired device, as [`dial`] does; where that does not succeed soon, also
/// over QUIC, and returns the first that opens. With `at`, tries the host in it at the port of the
/// pair; otherwise the device's last host, and the relays.
///
/// # Errors
/// [`DialError`]; [`DialError::Nowhere`] if both failed.
pub async fn dial_across(
    home: &SharedVault,
    device: DeviceId,
    at: Option<&str>,
    relays: &Relays,
) -> Result<Peer, DialError> {
    let near = dial(home, device, at);
    tokio::pin!(near);
    let failed = match timeout(HEAD_START, &mut near).await {
        Ok(Ok(peer)) => return Ok(peer),
        Ok(Err(error)) if is_final(&error) => return Err(error),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let far = across(home, device, at, relays);
    let Some(failed) = failed else {
        tokio::pin!(far);
        return tokio::select! {
            near = &mut near => match near {
                Err(error) if !is_final(&error) => far.await.map_err(|far| far.after(error)),
                done => done,
            },
            far = &mut far => match far {
                Ok(peer) => Ok(peer),
                Err(far) => near.await.map_err(|error| far.after(error)),
            },
        };
    };
    far.await.map_err(|far| far.after(failed))
}

/// Returns whether another way can't do better.
fn is_final(error: &DialError) -> bool {
    matches!(error, DialError::Peer(PeerError::Unpaired | PeerError::Host(_)))
}

/// Reason why the device was not reached over QUIC.
enum Far {
    /// There is nothing to try: no known address and no relay.
    Untried,
    Failed(DialError),
}

impl Far {
    /// Returns the error to report after that of TCP.
    fn after(self, near: DialError) -> DialError {
        match self {
            Self::Untried => near,
            Self::Failed(DialError::Far(far)) => DialError::Nowhere { near: Box::new(near), far },
            Self::Failed(error) => error,
        }
    }
}

async fn across(
    home: &SharedVault,
    device: DeviceId,
    at: Option<&str>,
    relays: &Relays,
) -> Result<Peer, Far> {
    let known = home.call(move |vault| {
        let stronghold = vault.stronghold();
        let peer = stronghold.peers().get(&device)?;
        Some((peer.address.clone(), peer.rendezvous.clone()?, stronghold.identity().device()))
    });
    let unpaired = || Far::Failed(PeerError::Unpaired.into());
    let (known, secret, own) = known.await.ok_or_else(unpaired)?;
    let addresses = match at.or(known.as_deref()) {
        Some(host) => look_up(host).await.unwrap_or_default(),
        None => Vec::new(),
    };
    // An address that is said is the only one.
    let none = Relays::default();
    let relays = if at.is_some() { &none } else { relays };
    if addresses.is_empty() && relays.is_empty() {
        return Err(Far::Untried);
    }
    let target = Target { secret, own, peer: device, addresses };
    let (stream, link) =
        dial_quic(&target, relays).await.map_err(|error| Far::Failed(DialError::Far(error)))?;
    let stream: Stream = Box::new(stream);
    let peer = Peer::connect(stream, home, device).await;
    Ok(peer.map_err(|error| Far::Failed(error.into()))?.with_link(Link::from(link)))
}

async fn look_up(host: &str) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(LOOK_UP, lookup_host(host)).await;
    Ok(found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?.take(MOST).collect())
}
