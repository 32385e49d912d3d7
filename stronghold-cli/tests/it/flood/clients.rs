//! Simulates hostile clients, and records the server's reaction.

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use stronghold_net::{
    Channel, ChannelError, Direction, Expect, NoHandler, Peer, PeerError, SharedVault, SyncRequest,
};
use stronghold_sync::{DeviceId, Selection, message::Refusal, session::SessionError};
use stronghold_vault::Identity;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Maximum wait for the server to hang up, longer than its wait for a handshake.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Time for which a silent connection is held.
const HOLD: Duration = Duration::from_secs(2);

/// The outcome of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reaction {
    /// The server sent no byte.
    Nothing,
    Denied,
    Busy,
    /// The server reported that the client broke the protocol.
    Misbehaved,
    /// The connection ended.
    Cut,
    /// The request succeeded.
    Done,
    Other(String),
}

/// Counts of each outcome.
#[derive(Default)]
pub(crate) struct Tally(Mutex<BTreeMap<Reaction, usize>>);

impl Tally {
    pub(crate) fn all(&self) -> Vec<(Reaction, usize)> {
        self.0.lock().unwrap().iter().map(|(heard, number)| (heard.clone(), *number)).collect()
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs `connections` clients, up to `parallel` at a time; counts finished ones in `done`.
pub(crate) fn flood<F>(
    connections: usize,
    parallel: usize,
    done: &Arc<AtomicUsize>,
    client: impl Fn(usize) -> F,
) -> Tally
where
    F: Future<Output = Reaction> + Send + 'static,
{
    let tally = Tally::default();
    runtime().block_on(async {
        let mut clients = JoinSet::new();
        for number in 0..connections + parallel {
            if number < connections {
                clients.spawn(client(number));
            }
            if number >= parallel
                && let Some(heard) = clients.join_next().await
            {
                done.fetch_add(1, Relaxed);
                *tally.0.lock().unwrap().entry(heard.unwrap()).or_default() += 1;
            }
        }
    });
    tally
}

async fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads until the server hangs up.
async fn read_reaction(mut stream: TcpStream) -> Reaction {
    let mut said = Vec::new();
    match timeout(TIMEOUT, stream.read_to_end(&mut said)).await {
        // A reset counts as an end: the server hangs up with bytes unread.
        Ok(_) if said.is_empty() => Reaction::Nothing,
        Ok(_) => Reaction::Other(format!("{} bytes", said.len())),
        Err(_) => Reaction::Other("the connection stays open".into()),
    }
}

/// Runs a client that knows nothing of Stronghold, or is silent: a silent one lets the next client
/// start as soon as it holds a place.
pub(crate) async fn garbage(address: SocketAddr, number: usize, places: Arc<Semaphore>) -> Reaction {
    let mut stream = connected(address).await;
    match number % 6 {
        0 => {
            let mut bytes = vec![0; 32 + number * 31 % 5000];
            getrandom::fill(&mut bytes).unwrap();
            let _ = stream.write_all(&bytes).await;
            read_reaction(stream).await
        }
        1 => {
            let identity = Identity::generate().unwrap();
            match Channel::connect(stream, &identity, Expect::Anyone).await {
                Err(ChannelError::TurnedAway) => Reaction::Nothing,
                other => Reaction::Other(format!("{other:?}")),
            }
        }
        2 => {
            stream.write_all(&[7; 5]).await.unwrap();
            stream.shutdown().await.unwrap();
            read_reaction(stream).await
        }
        3 => {
            stream.write_all(&[7; 32]).await.unwrap();
            Reaction::Nothing // gone at once
        }
        silent => {
            stream.write_all(&[7; 31][..if silent == 4 { 0 } else { 31 }]).await.unwrap();
            let place = places.acquire_owned().await.unwrap();
            tokio::spawn(async move {
                sleep(HOLD).await;
                drop((stream, place));
            });
            Reaction::Nothing
        }
    }
}

/// Opens connections that have sent 31 bytes.
pub(crate) async fn held(address: SocketAddr, number: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..number {
        let mut stream = connected(address).await;
        stream.write_all(&[7; 31]).await.unwrap();
        streams.push(stream);
    }
    streams
}

/// Connects with a secret and a TLS key that the server does not know.
pub(crate) async fn stranger(address: SocketAddr, home: SharedVault, server: DeviceId) -> Reaction {
    match Peer::connect(connected(address).await, &home, server).await {
        Err(PeerError::Channel(ChannelError::TurnedAway)) => Reaction::Nothing,
        other => Reaction::Other(format!("{other:?}")),
    }
}

/// Lets a device without any rule ask for everything.
pub(crate) async fn denied(address: SocketAddr, home: SharedVault, server: DeviceId) -> Reaction {
    let peer = match Peer::connect(connected(address).await, &home, server).await {
        Ok(peer) => peer,
        Err(error) => return Reaction::Other(error.to_string()),
    };
    match peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await {
        Err(PeerError::Session(SessionError::Refused(Refusal::NotPermitted))) => Reaction::Denied,
        Err(PeerError::Session(SessionError::Refused(Refusal::Busy))) => Reaction::Busy,
        other => Reaction::Other(format!("{other:?}")),
    }
}
