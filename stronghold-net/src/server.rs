//! Answering peers on a listening socket.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use stronghold_vault::Identity;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};

use crate::{
    Channel, ChannelError, PairingCode, Trust,
    host::{Attendant, SharedHome},
    pairing::{Knock, Paired, PairingError},
    peer::{PeerError, answer},
};

/// The most connections answered at a time.
const MAX_CONNECTIONS: usize = 64;

/// The most connections that may be about to show a pairing proof.
const MAX_KNOCKS: usize = 16;

/// How long to wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What a server tells of one connection.
#[derive(Debug)]
pub enum Served {
    /// A session came to its end.
    Done(stronghold_sync::DeviceId, stronghold_sync::session::Summary),
    /// It did not, or there was none: with the device, if it is known.
    Failed(Option<stronghold_sync::DeviceId>, PeerError),
}

/// Answers paired devices on `listener` until `once` is satisfied, or for ever. A connection that can't be accepted (too
/// many files are open, say) is not the end: the next is tried after a moment.
///
/// `attendant` makes the attendant of each session; `told` hears how each connection ended.
pub async fn serve<A: Attendant + 'static>(
    listener: TcpListener,
    home: SharedHome,
    once: bool,
    attendant: impl Fn() -> A,
    told: impl Fn(SocketAddr, Served) + Send + Sync + 'static,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let told = Arc::new(told);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, address) = accepted(&listener).await;
        let (home, told, mut attendant) = (home.clone(), told.clone(), attendant());
        let connection = async move {
            let served = serve_one(stream, &home, &mut attendant).await;
            let session = matches!(served, Served::Done(..) | Served::Failed(Some(_), _));
            told(address, served);
            drop(place);
            session
        };
        if once {
            if connection.await {
                return;
            }
        } else {
            tokio::spawn(connection);
        }
    }
}

async fn serve_one(stream: TcpStream, home: &SharedHome, attendant: &mut dyn Attendant) -> Served {
    let mut channel = match accept(stream, home).await {
        Ok(channel) => channel,
        Err(error) => return Served::Failed(None, error.into()),
    };
    let device = channel.peer().device();
    home.lock().begin_step();
    match answer(&mut channel, home, attendant).await {
        Ok(summary) => {
            let _ = channel.close().await;
            Served::Done(device, summary)
        }
        Err(error) => Served::Failed(Some(device), error),
    }
}

async fn accept(stream: TcpStream, home: &SharedHome) -> Result<Channel<TcpStream>, ChannelError> {
    let _ = stream.set_nodelay(true);
    let identity = own_identity(home)?;
    let peers = home.clone();
    let trust = Trust::known(move |device| {
        peers.lock().refresh().is_ok_and(|stronghold| stronghold.peers().by_id(device).is_some())
    });
    Channel::accept(stream, &identity, trust).await
}

/// Waits on `listener` for one device that shows a proof of `code`, and answers it as `my_name`.
///
/// Connections that show none are dropped and burn nothing; the first proof, right or wrong, is the only one.
///
/// # Errors
/// [`PairingError::WrongCode`] when it is wrong: the code is burnt.
pub async fn wait_to_pair(
    listener: &TcpListener,
    identity: &Identity,
    code: PairingCode,
    my_name: &str,
) -> Result<(Paired<TcpStream>, SocketAddr), PairingError> {
    let mut knocks = JoinSet::new();
    let secret = identity.to_bytes();
    loop {
        tokio::select! {
            (stream, address) = accepted(listener), if knocks.len() < MAX_KNOCKS => {
                let identity = Identity::from_bytes(&secret).map_err(ChannelError::from)?;
                knocks.spawn(async move { knock(stream, &identity).await.map(|knock| (knock, address)) });
            }
            Some(knocked) = knocks.join_next() => {
                if let Ok(Ok((knock, address))) = knocked {
                    return Ok((knock.answer(code, my_name).await?, address));
                }
            }
        }
    }
}

async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}

async fn knock(stream: TcpStream, identity: &Identity) -> Result<Knock<TcpStream>, ChannelError> {
    let _ = stream.set_nodelay(true);
    Knock::receive(Channel::accept(stream, identity, Trust::Anyone).await?).await
}

/// A copy of this device's identity, to open a channel with while the home is free for others.
///
/// # Errors
/// [`ChannelError::Identity`] if the key can't be copied; no key is known to fail.
pub fn own_identity(home: &SharedHome) -> Result<Identity, ChannelError> {
    let bytes = home.lock().stronghold().identity().to_bytes();
    Ok(Identity::from_bytes(&bytes)?)
}
