//! Simulates paired devices that announce, describe and send as much as they can at once, to bound
//! a server's total memory.

use std::{net::SocketAddr, time::Duration};

use stronghold_net::{Channel, Peer, SharedVault};
use stronghold_sync::{
    Ancestors, DeviceId, Edition, Location, LocationId, RecordId, RevisionId, Selection, Shape,
    message::{Batch, Message, Open, PROTOCOL, Propose, Request},
    session::MAX_SEALED,
};
use tokio::{net::TcpStream, time::timeout};

/// Size of a chunk of a batch, in bytes, and number of shapes in a message.
const CHUNK: usize = 48 << 10;
const PART: u32 = 100;
/// Maximum time that a device goes on.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The resource that a greedy device uses up.
#[derive(Clone, Copy)]
pub(crate) enum Greed {
    /// Memory for the shapes that it describes.
    Shapes,
    /// Memory for the batches that it sends.
    Chunks,
}

/// Sends until the server refuses or stops reading; returns the connection, still open.
pub(crate) async fn greedy(
    address: SocketAddr,
    home: SharedVault,
    server: DeviceId,
    greed: Greed,
) -> Option<Channel<TcpStream>> {
    let stream = TcpStream::connect(address).await.ok()?;
    let peer = timeout(TIMEOUT, Peer::connect(stream, &home, server)).await.ok()?.ok()?;
    let mut channel = peer.into_channel();
    let selection: Selection = "**".parse().unwrap();
    let request = Request::Sync { selection, pull: false, push: true };
    send_message(
        &mut channel,
        Message::Open(Open { protocol: PROTOCOL, request, edition: Edition::default(), pair_key: false }),
    )
    .await?;
    let _ = timeout(TIMEOUT, async {
        match greed {
            Greed::Shapes => send_shapes(&mut channel).await,
            Greed::Chunks => send_chunks(&mut channel).await,
        }
    })
    .await;
    Some(channel)
}

async fn send_shapes(channel: &mut Channel<TcpStream>) -> Option<()> {
    for part in 0.. {
        send_message(channel, Message::Offer(shapes(part * PART, PART))).await?;
    }
    None
}

async fn send_chunks(channel: &mut Channel<TcpStream>) -> Option<()> {
    send_message(channel, Message::Offer(shapes(0, 1))).await?;
    send_message(channel, Message::DigestEnd).await?;
    until(channel, |message| matches!(message, Message::DiffEnd)).await?;
    send_message(channel, Message::Push(shapes(0, 1))).await?;
    send_message(channel, Message::Propose(Propose { key: None })).await?;
    until(channel, |message| matches!(message, Message::End)).await?;
    send_message(channel, Message::Batch(Batch { index: 0, entries: 1, len: MAX_SEALED })).await?;
    // All chunks of the batch but the last.
    for _ in 1..usize::try_from(MAX_SEALED).unwrap() / CHUNK {
        send_message(channel, Message::Chunk(vec![7; CHUNK])).await?;
    }
    None
}

async fn send_message(channel: &mut Channel<TcpStream>, message: Message) -> Option<()> {
    channel.feed(&message).await.ok()?;
    channel.flush().await.ok()
}

async fn until(channel: &mut Channel<TcpStream>, is_it: impl Fn(&Message) -> bool) -> Option<()> {
    while !is_it(&channel.receive().await.ok()?) {}
    Some(())
}

/// Returns shapes of records that no device has, in order, each with as many ancestors as fit a
/// message.
fn shapes(from: u32, number: u32) -> Vec<Shape> {
    let location = "shared/v/r".parse::<Location>().unwrap().id();
    let of = |number: u32| {
        let (mut record, mut revision) = ([0; 16], [0; 32]);
        record[..4].copy_from_slice(&number.to_be_bytes());
        revision[..4].copy_from_slice(&number.to_be_bytes());
        let ancestors = (1..=50u64).map(|at| {
            let mut id = revision;
            id[..8].copy_from_slice(&(u64::from(number) << 8 | at).to_be_bytes());
            RevisionId::from_bytes(id)
        });
        Shape {
            location: LocationId { record: RecordId::from_bytes(record), ..location },
            revision: RevisionId::from_bytes(revision),
            ancestors: Ancestors::from_newest_first(ancestors.collect()).unwrap(),
            size: 1,
            deleted: false,
        }
    };
    (from..from + number).map(of).collect()
}
