//! Simulates a paired device with all rules that breaks the protocol: it hangs up after any
//! message, sends another in place of any, or damages a batch.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use stronghold_net::{
    Channel, ChannelError, NoHandler, Peer, PeerError, SharedVault,
    internals::{DriveError, VaultHost, drive, secret_of},
    now,
};
use stronghold_snapshot::RecipientSecretKey;
use stronghold_sync::{
    Decision, DeviceId, Operation, Selection,
    message::{Batch, Message, Open, RecipientKey, Refusal, Request, Volume},
    session::{Initiator, Push, SessionError, SessionRequest, SyncOptions, Take},
};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::Mutex};

use self::tampered::Tampered;
use super::{
    clients::{Reaction, runtime},
    stage::{Inside, Stage, open},
};

#[path = "../../../../stronghold-net/tests/it/tampered.rs"]
mod tampered;

/// Breaks the protocol in a different way each time.
pub(crate) struct Breaker {
    inside: Inside,
    /// Bytes of its snapshot before each session.
    pristine: Vec<u8>,
    /// A copy of the snapshot for each concurrent session.
    copies: Vec<Mutex<PathBuf>>,
    address: SocketAddr,
    server: DeviceId,
    /// Index of the message that ends its only batch: a breach up to there leaves nothing at the
    /// server.
    last: usize,
    _folder: TempDir,
}

impl Breaker {
    pub(crate) fn new(stage: &Stage, sessions: usize) -> Self {
        let inside = stage.paired("breaker");
        stage.a.ok(&["grant", "breaker", "pull", "push", "delete", "--select", "**"]);
        inside.device.lock().unwrap().ok(&["grant", "a", "pull", "push", "delete", "--select", "**"]);
        let folder = TempDir::new().unwrap();
        let copies = (0..sessions).map(|number| Mutex::new(folder.path().join(number.to_string())));
        let mut breaker = Self {
            copies: copies.collect(),
            pristine: Vec::new(),
            address: stage.address,
            server: stage.server,
            last: 0,
            inside,
            _folder: folder,
        };
        breaker.last = breaker.run_honest_session();
        breaker
    }

    /// Runs an honest session; returns the index of its chunk message.
    fn run_honest_session(&mut self) -> usize {
        self.inside.device.lock().unwrap().put("d/v/first", "the breaker's");
        self.pristine = fs::read(&self.inside.snapshot).unwrap();
        let chunk = Arc::new(AtomicUsize::new(usize::MAX));
        let found = chunk.clone();
        let tamper = move |at: usize, message: Message| {
            if matches!(message, Message::Chunk(_)) {
                found.store(at, Relaxed);
            }
            Some(message)
        };
        let heard = runtime().block_on(self.session(0, tamper));
        assert_eq!(heard, Reaction::Done);
        self.inside.device.lock().unwrap().put("d/v/second", "what never gets there");
        self.pristine = fs::read(&self.inside.snapshot).unwrap();
        let chunk = chunk.load(Relaxed);
        assert_ne!(chunk, usize::MAX, "the breaker gave nothing");
        chunk
    }

    /// Breaks the protocol in the way given by `number`.
    pub(crate) async fn breach(&self, number: usize) -> Reaction {
        let intruders = intruders();
        let (way, at) = (number % (intruders.len() + 3), number / (intruders.len() + 3) % (self.last + 1));
        if way == intruders.len() + 2 {
            return self.send_garbage().await;
        }
        let tamper = move |index: usize, message: Message| match way.checked_sub(intruders.len()) {
            None if index == at => Some(intruders[way].clone()),
            Some(0) if index == at => None,
            // Whatever else is wrong, the batch is unusable.
            _ => Some(damaged(message)),
        };
        self.session(number, tamper).await
    }

    /// Runs a session from the pristine snapshot, with each message replaced by the result of
    /// `tamper`.
    async fn session(
        &self,
        number: usize,
        tamper: impl FnMut(usize, Message) -> Option<Message> + Send + 'static,
    ) -> Reaction {
        let copy = self.copies[number % self.copies.len()].lock().await;
        fs::write(&*copy, &self.pristine).unwrap();
        let home = open(&copy, &self.inside.key);
        match self.opened(&home).await {
            Ok(mut channel) => run_tampered(&mut channel, &home, tamper).await,
            Err(error) => Reaction::Other(error.to_string()),
        }
    }

    /// Sends bytes that are not a message.
    async fn send_garbage(&self) -> Reaction {
        let mut channel = match self.opened(&self.inside.home()).await {
            Ok(channel) => channel,
            Err(error) => return Reaction::Other(error.to_string()),
        };
        channel.feed(&vec![0_u64; 100]).await.unwrap();
        match channel.receive::<Message>().await {
            Ok(Message::Refused(Refusal::Busy)) => Reaction::Busy,
            Ok(Message::Refused(Refusal::ProtocolError)) => Reaction::Misbehaved,
            Err(ChannelError::Closed | ChannelError::Cut) => Reaction::Cut,
            other => Reaction::Other(format!("{other:?}")),
        }
    }

    /// Opens a channel past the gate, for arbitrary messages.
    async fn opened(&self, home: &SharedVault) -> Result<Channel<TcpStream>, PeerError> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(Peer::connect(stream, home, self.server).await?.into_channel())
    }
}

/// Returns valid messages that are wrong wherever they are inserted.
fn intruders() -> [Message; 7] {
    let request = Request::Browse { selection: Selection::everything() };
    [
        Message::End,
        Message::DigestEnd,
        Message::Ack(9),
        Message::Chunk(vec![1, 2, 3]),
        Message::Batch(Batch { index: 0, entries: 1, len: u64::MAX }),
        Message::Granted(Volume { entries: u64::MAX, bytes: u64::MAX }),
        Message::Open(Open {
            protocol: 99,
            request,
            edition: stronghold_sync::Edition::default(),
            pair_key: false,
        }),
    ]
}

fn damaged(message: Message) -> Message {
    match message {
        Message::Chunk(mut bytes) => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            Message::Chunk(bytes)
        }
        other => other,
    }
}

async fn run_tampered(
    channel: &mut Channel<TcpStream>,
    home: &SharedVault,
    mut tamper: impl FnMut(usize, Message) -> Option<Message> + Send + 'static,
) -> Reaction {
    let secret = RecipientSecretKey::generate().unwrap();
    let selection = Selection::everything();
    let peer = channel.peer().device();
    let policy = home.lock().stronghold().policy().clone();
    let Decision::Allowed(push) = policy.decide(&peer, Operation::Pull, &selection, now()) else {
        panic!("the breaker lets the server pull");
    };
    let key = RecipientKey::new(secret.public().to_bytes()).unwrap();
    let session = Initiator::new(SessionRequest::Sync(SyncOptions {
        selection,
        take: Some(Take::Everything),
        push: Push::Granted(push),
        names: false,
        key,
        secret: secret_of(&channel.channel_binding()),
        pair: None,
    }));
    let mut handler = NoHandler;
    let mut host = VaultHost::new(home.clone(), channel, secret, &mut handler);
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = is_cut.clone();
    let session = Tampered::new(session, move |number, message| {
        let tampered = tamper(number, message);
        cut.fetch_or(tampered.is_none(), Relaxed);
        tampered
    });
    let driven = drive(channel, session, &mut host).await;
    match driven {
        Ok(_) if is_cut.load(Relaxed) => Reaction::Cut,
        Ok(_) => Reaction::Done,
        Err(DriveError::Session(SessionError::Refused(Refusal::Busy))) => Reaction::Busy,
        Err(DriveError::Session(SessionError::Refused(Refusal::ProtocolError | Refusal::Version))) => {
            Reaction::Misbehaved
        }
        Err(DriveError::Channel(ChannelError::Closed | ChannelError::Cut)) => Reaction::Cut,
        Err(other) => Reaction::Other(other.to_string()),
    }
}
