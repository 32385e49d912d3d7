//! Connects to a device wherever it is: over TCP first, then over QUIC, directly or through a
//! relay.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use stronghold_snapshot::SharedVault;
use stronghold_sync::DeviceId;
use stronghold_vault::Identity;
use tokio::{net::lookup_host, time::timeout};

use super::dial::{DialError, dial, dial_pairing};
use crate::{
    Invitation, Pairing, Peer, PeerError, Relays, Stream,
    pairing::{PairingError, PendingPairing},
    quic::dial::{QuicError, Target, dial as dial_quic},
    rendezvous::tags::{ANY_DEVICE, of_code},
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
    first(dial(home, device, at), across(home, device, at, relays)).await
}

/// Opens a channel to the device that shows the invitation's code, as [`dial_pairing`] does; where
/// that does not succeed soon, also over QUIC. With `at`, tries only the host in it; otherwise the
/// invitation's and the relays. Returns the address that worked, if it was over TCP.
///
/// # Errors
/// [`DialError`]; [`DialError::Nowhere`] if both failed.
pub async fn dial_pairing_across(
    invitation: &Invitation,
    identity: &Identity,
    name: &str,
    at: Option<&str>,
    relays: &Relays,
) -> Result<(PendingPairing, Option<String>), DialError> {
    let near = async {
        let (met, address) = dial_pairing(invitation, identity, name, at).await?;
        Ok((met, Some(address)))
    };
    let far = async {
        let addresses = match at {
            Some(host) => look_up(host).await.unwrap_or_default(),
            None => invitation.addresses.clone(),
        };
        let secret = of_code(&invitation.code);
        let target = Target { secret, own: ANY_DEVICE, peer: ANY_DEVICE, addresses };
        let (stream, _) = open(&target, at, relays).await?;
        let met = Pairing::join(stream, identity, name, invitation.code.copy()).await;
        Ok((met.map_err(|error| Far::Failed(error.into()))?, None))
    };
    first(near, far).await
}

/// Returns the first of both that opens; the second one begins when the first failed, or was given
/// its head start.
async fn first<T>(
    near: impl Future<Output = Result<T, DialError>>,
    far: impl Future<Output = Result<T, Far>>,
) -> Result<T, DialError> {
    tokio::pin!(near);
    let failed = match timeout(HEAD_START, &mut near).await {
        Ok(Ok(opened)) => return Ok(opened),
        Ok(Err(error)) if is_final(&error) => return Err(error),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    if let Some(failed) = failed {
        return far.await.map_err(|far| far.after(failed));
    }
    tokio::pin!(far);
    tokio::select! {
        near = &mut near => match near {
            Err(error) if !is_final(&error) => far.await.map_err(|far| far.after(error)),
            done => done,
        },
        far = &mut far => match far {
            Ok(opened) => Ok(opened),
            Err(far) => near.await.map_err(|error| far.after(error)),
        },
    }
}

/// Returns whether another way can't do better.
fn is_final(error: &DialError) -> bool {
    matches!(
        error,
        DialError::Peer(PeerError::Unpaired | PeerError::Host(_)) | DialError::Pairing(PairingError::Itself)
    )
}

/// Reason why the device was not reached over QUIC.
enum Far {
    /// There is nothing to try: no known address and no relay.
    Untried,
    Failed(DialError),
}

impl Far {
    /// Returns the error to report after that of TCP. What answered there says more than silence
    /// here, and silence at the same host says nothing new.
    fn after(self, near: DialError) -> DialError {
        let is_answer = matches!(near, DialError::Peer(_) | DialError::Pairing(_));
        match self {
            Self::Untried | Self::Failed(DialError::Far(QuicError::NoAnswer(_))) => near,
            Self::Failed(DialError::Far(_)) if is_answer => near,
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
    let target = Target { secret, own, peer: device, addresses };
    let (stream, link) = open(&target, at, relays).await?;
    let peer = Peer::connect(stream, home, device).await;
    Ok(peer.map_err(|error| Far::Failed(error.into()))?.with_link(link))
}

/// Opens a stream to the target: at its addresses, and through the relays unless an address was
/// given, which is then the only one.
async fn open(target: &Target, at: Option<&str>, relays: &Relays) -> Result<(Stream, Link), Far> {
    let none = Relays::default();
    let relays = if at.is_some() { &none } else { relays };
    if target.addresses.is_empty() && relays.is_empty() {
        return Err(Far::Untried);
    }
    let opened = dial_quic(target, relays).await;
    let (stream, link) = opened.map_err(|error| Far::Failed(DialError::Far(error)))?;
    Ok((Box::new(stream), Link::from(link)))
}

async fn look_up(host: &str) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(LOOK_UP, lookup_host(host)).await;
    Ok(found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?.take(MOST).collect())
}
