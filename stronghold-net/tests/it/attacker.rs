//! Provides a hostile device: paired, past the gate and the handshake over a real socket, and free
//! in the messages it sends.

use std::net::SocketAddr;

use stronghold_net::{Channel, Peer};
use stronghold_sync::{
    Ancestors, Edition, LocationId, RevisionId, Selection, Shape,
    message::{Agreed, Batch, Message, Open, PROTOCOL, Propose, Request},
};
use tokio::net::TcpStream;

use crate::common::Device;

/// A hostile device's connection to a server.
pub(crate) struct Hostile {
    pub(crate) channel: Channel<TcpStream>,
}

impl Hostile {
    /// Connects as `device`, which `victim` is paired with.
    pub(crate) async fn connect(address: SocketAddr, device: &Device, victim: &Device) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let peer = Peer::connect(stream, &device.home, victim.device()).await.unwrap();
        Self { channel: peer.into_channel() }
    }

    pub(crate) async fn say(&mut self, message: Message) {
        self.channel.feed(&message).await.unwrap();
        self.channel.flush().await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Message {
        self.channel.receive().await.unwrap()
    }

    pub(crate) async fn ask(&mut self, request: Request) {
        self.say(Message::Open(Open {
            protocol: PROTOCOL,
            request,
            edition: Edition::default(),
            pair_key: false,
        }))
        .await;
    }

    /// Opens a sync that only pushes. Returns the permitted scopes.
    pub(crate) async fn begin_push(&mut self, selection: &str) -> Agreed {
        let selection: Selection = selection.parse().unwrap();
        self.ask(Request::Sync { selection, pull: false, push: true }).await;
        match self.hear().await {
            Message::Agreed(agreed) => agreed,
            other => panic!("{other:?}"),
        }
    }

    /// Continues with a push of these shapes, up to the first batch.
    pub(crate) async fn offer(&mut self, shapes: Vec<Shape>) {
        self.say(Message::Offer(shapes.clone())).await;
        self.say(Message::DigestEnd).await;
        self.until(|message| matches!(message, Message::DiffEnd)).await;
        self.say(Message::Push(shapes)).await;
        self.say(Message::Propose(Propose { key: None })).await;
        self.until(|message| matches!(message, Message::End)).await;
    }

    /// Offers these shapes, whatever the scopes permit. Returns how many of them the peer wants.
    pub(crate) async fn offer_as_much_as_is_wanted(&mut self, shapes: Vec<Shape>) -> usize {
        self.say(Message::Offer(shapes.clone())).await;
        self.say(Message::DigestEnd).await;
        self.until(|message| matches!(message, Message::DiffEnd)).await;
        self.say(Message::Push(shapes)).await;
        self.say(Message::Propose(Propose { key: None })).await;
        let mut wanted = 0;
        loop {
            match self.hear().await {
                Message::Want(positions) => wanted += positions.len(),
                Message::Accept(_) | Message::End => return wanted,
                Message::Refused(_) => return 0,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Announces a batch, and sends this much of it.
    pub(crate) async fn begin_batch(&mut self, len: u64, sent: usize) {
        self.say(Message::Batch(Batch { index: 0, entries: 1, len })).await;
        for _ in 0..sent / CHUNK {
            self.say(Message::Chunk(vec![7; CHUNK])).await;
        }
    }

    pub(crate) async fn until(&mut self, is_it: impl Fn(&Message) -> bool) {
        loop {
            let heard = self.hear().await;
            assert!(!matches!(heard, Message::Refused(_)), "{heard:?}");
            if is_it(&heard) {
                return;
            }
        }
    }
}

const CHUNK: usize = 48 << 10;

/// Returns shapes of records that no device has, in order, from this number on, each with a number
/// of ancestors.
pub(crate) fn shapes(from: u32, number: u32, ancestors: usize) -> Vec<Shape> {
    let location: stronghold_sync::Location = "shared/v/r".parse().unwrap();
    (from..from + number)
        .map(|number| {
            let (mut record, mut revision) = ([0; 16], [0; 32]);
            record[..4].copy_from_slice(&number.to_be_bytes());
            revision[..4].copy_from_slice(&number.to_be_bytes());
            let ancestor = |at: usize| {
                let mut id = revision;
                id[8..16].copy_from_slice(&(at as u64 + 1).to_be_bytes());
                RevisionId::from_bytes(id)
            };
            Shape {
                location: LocationId {
                    record: stronghold_sync::RecordId::from_bytes(record),
                    ..location.id()
                },
                revision: RevisionId::from_bytes(revision),
                ancestors: Ancestors::from_newest_first((0..ancestors).map(ancestor).collect()).unwrap(),
                size: 1,
                deleted: false,
            }
        })
        .collect()
}

/// Returns shapes of a number of concurrent revisions of one record.
pub(crate) fn heads_of_one_record(number: u32) -> Vec<Shape> {
    let location: stronghold_sync::Location = "shared/v/crowd".parse().unwrap();
    shapes(0, number, 0).into_iter().map(|shape| Shape { location: location.id(), ..shape }).collect()
}
