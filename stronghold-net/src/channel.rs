//! Carries messages between two authenticated devices, over any byte stream.
//!
//! No length that a peer sends sizes an allocation: a frame's length is checked first, and the
//! buffer grows as bytes arrive. The buffers are not wiped: values cross a channel only sealed to
//! the receiver's key.

pub(crate) mod ephemeral;
pub(crate) mod frame;
pub(crate) mod metered;
pub(crate) mod tls;

mod covered;
#[cfg(test)]
mod tests;

use std::{fmt, io, sync::Arc, time::Duration};

use rustls::{CommonState, ConnectionCommon};
use serde::{Serialize, de::DeserializeOwned};
use stronghold_vault::{Identity, PublicIdentity};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zeroize::Zeroizing;

use crate::{
    ChannelError, Expect, FrameError, Trust,
    channel::{
        frame::{MAX_FRAME, Role},
        metered::MeteredStream,
        tls::{ALPN, Verifier},
    },
};

/// Limits on how long a channel waits for its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Limit for the whole handshake. Default 10 s.
    pub handshake: Duration,
    /// Limit for each call of `receive`, `flush` or `close`; a peer that trickles bytes gains no
    /// time. Default 30 s.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(10), idle: Duration::from_secs(30) }
    }
}

/// An open channel to one authenticated device.
///
/// Open it with [`connect`](Self::connect) or [`accept`](Self::accept). [`feed`](Self::feed) queues
/// messages; [`flush`](Self::flush), [`receive`](Self::receive) and [`close`](Self::close) write
/// them to the stream, so messages that belong together share a packet. After an error every later
/// call returns the same error. If a channel is dropped without `close`, its peer sees a
/// [cut](ChannelError::Cut). Cancelling a call loses nothing: the next call continues it.
///
/// Over TCP, set `TCP_NODELAY`: a channel already coalesces its writes.
///
/// ```
/// use stronghold_net::{Channel, Expect, Identity, Trust};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (laptop, phone) = (Identity::generate()?, Identity::generate()?);
/// let known = laptop.device();
/// let (near, far) = tokio::io::duplex(4096);
/// let (asking, answering) = tokio::join!(
///     Channel::connect(near, &laptop, Expect::Device(phone.device())),
///     Channel::accept(far, &phone, Trust::known(move |device| *device == known)),
/// );
/// let (mut asking, mut answering) = (asking?, answering?);
/// assert_eq!(asking.channel_binding(), answering.channel_binding());
///
/// asking.feed("what do you hold?").await?;
/// asking.flush().await?;
/// assert_eq!(answering.receive::<String>().await?, "what do you hold?");
/// # Ok(())
/// # }
/// ```
pub struct Channel<S> {
    stream: TlsStream<MeteredStream<S>>,
    own: PublicIdentity,
    peer: PublicIdentity,
    binding: Zeroizing<[u8; 32]>,
    role: Role,
    timeouts: Timeouts,
    received: u64,
    sent: u64,
    last_frame: u64,
    /// At most one frame, as far as it has arrived.
    inbox: Vec<u8>,
    /// Frames that wait for a flush; `taken` counts the bytes that TLS has taken.
    outbox: Vec<u8>,
    written: usize,
    failed: Option<ChannelError>,
    /// The error that ended writing. What has arrived can still be read.
    unwritable: Option<ChannelError>,
    /// `true` until the peer's card, its first message, has arrived.
    awaits_card: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Channel<S> {
    /// Connects over `io` as `identity`, with the default [`Timeouts`].
    ///
    /// Success means that the peer authenticated as the device that `expect` names. Whether the
    /// peer trusts this device shows on the first [`receive`](Self::receive).
    ///
    /// # Errors
    /// [`ChannelError::WrongDevice`] when another device answers; any other variant when the
    /// handshake fails.
    pub async fn connect(io: S, identity: &Identity, expect: Expect) -> Result<Self, ChannelError> {
        Self::connect_with(io, identity, expect, Timeouts::default()).await
    }

    /// Connects as [`connect`](Self::connect) does, with other timeouts.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn connect_with(
        io: S,
        identity: &Identity,
        expect: Expect,
        timeouts: Timeouts,
    ) -> Result<Self, ChannelError> {
        let verifier = Verifier::new(expect.into());
        let connector = TlsConnector::from(Arc::new(tls::client_config(identity, verifier.clone())?));
        let handshake =
            connector.connect(tls::no_name(), MeteredStream::up_to(MAX_HANDSHAKE, io)).into_fallible();
        match timeout(timeouts.handshake, handshake).await {
            Ok(Ok(stream)) => {
                Self::opened(stream.into(), identity, Role::Connected, timeouts).map(Self::unbounded)
            }
            Ok(Err((error, io))) => {
                let is_silent = io.bytes_in == 0;
                drain_after(&error, io).await;
                Err(match (verifier.refused(), ChannelError::from_io(&error)) {
                    (Some(device), _) => ChannelError::WrongDevice(device),
                    (None, ChannelError::Cut) if is_silent => ChannelError::TurnedAway,
                    (None, other) => other,
                })
            }
            Err(_) => Err(ChannelError::TimedOut(timeouts.handshake)),
        }
    }

    /// Accepts a connection over `io` as `identity`, with the default [`Timeouts`].
    ///
    /// Success means that the peer authenticated as a device that `trust` accepts.
    ///
    /// # Errors
    /// [`ChannelError::UnknownDevice`] when `trust` rejects the device; any other variant when the
    /// handshake fails.
    pub async fn accept(io: S, identity: &Identity, trust: Trust) -> Result<Self, ChannelError> {
        Self::accept_with(io, identity, trust, Timeouts::default()).await
    }

    /// Accepts as [`accept`](Self::accept) does, with other timeouts.
    ///
    /// # Errors
    /// As for [`accept`](Self::accept).
    pub async fn accept_with(
        io: S,
        identity: &Identity,
        trust: Trust,
        timeouts: Timeouts,
    ) -> Result<Self, ChannelError> {
        Self::accept_bounded(io, identity, trust, timeouts).await.map(Self::unbounded)
    }

    /// Accepts a connection whose bytes still count towards the handshake's limit.
    async fn accept_bounded(
        io: S,
        identity: &Identity,
        trust: Trust,
        timeouts: Timeouts,
    ) -> Result<Self, ChannelError> {
        let verifier = Verifier::new(trust);
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(identity, verifier.clone())?));
        let handshake = acceptor.accept(MeteredStream::up_to_in_records(MAX_HANDSHAKE, io)).into_fallible();
        match timeout(timeouts.handshake, handshake).await {
            Ok(Ok(stream)) => Self::opened(stream.into(), identity, Role::Accepted, timeouts),
            Ok(Err((error, io))) => {
                drain_after(&error, io).await;
                Err(verifier
                    .refused()
                    .map_or_else(|| ChannelError::from_io(&error), ChannelError::UnknownDevice))
            }
            Err(_) => Err(ChannelError::TimedOut(timeouts.handshake)),
        }
    }

    /// Queues a message behind those that wait for [`flush`](Self::flush); flushes when 65 KiB
    /// wait.
    ///
    /// # Errors
    /// [`ChannelError::Unsendable`] when the message is longer than [`MAX_FRAME`]; any other
    /// variant when the channel failed.
    pub async fn feed<M: Serialize + ?Sized>(&mut self, message: &M) -> Result<(), ChannelError> {
        self.check_writable()?;
        let queued = self.queue(message);
        self.latch(queued)?;
        if self.outbox.len() >= MAX_FRAME { self.flush().await } else { Ok(()) }
    }

    /// Writes all queued messages to the stream.
    ///
    /// # Errors
    /// Fails when the channel failed, or when the peer does not accept all bytes within the idle
    /// timeout.
    pub async fn flush(&mut self) -> Result<(), ChannelError> {
        self.check_writable()?;
        let idle = self.timeouts.idle;
        let flushed = timeout(idle, self.write_out()).await.unwrap_or(Err(ChannelError::TimedOut(idle)));
        self.unwritable = flushed.as_ref().err().cloned();
        flushed
    }

    /// Flushes, then waits for the peer's next message. What the peer sent before it hung up still
    /// arrives, although nothing can be written any more.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] and [`ChannelError::Cut`] at the end of the stream,
    /// [`ChannelError::NotTrusted`] when the peer refused this device, [`ChannelError::Misbehaved`]
    /// when the peer sends anything but the expected message.
    pub async fn receive<M: DeserializeOwned>(&mut self) -> Result<M, ChannelError> {
        self.check_open()?;
        let idle = self.timeouts.idle;
        let arrived = timeout(idle, self.next_frame()).await.unwrap_or(Err(ChannelError::TimedOut(idle)));
        let message = arrived.and_then(|()| self.take_message());
        self.latch(message)
    }

    /// Flushes and closes in order: the peer's next call, and each later call here, returns
    /// [`ChannelError::Closed`].
    ///
    /// # Errors
    /// Fails when the channel failed before, or when the close does not finish within the idle
    /// timeout.
    pub async fn close(&mut self) -> Result<(), ChannelError> {
        self.flush().await?;
        let idle = self.timeouts.idle;
        let closed = match timeout(idle, self.stream.shutdown()).await {
            Ok(done) => done.map_err(|error| ChannelError::from_io(&error)),
            Err(_) => Err(ChannelError::TimedOut(idle)),
        };
        self.latch(closed)?;
        self.failed = Some(ChannelError::Closed);
        Ok(())
    }

    /// Closes, then waits up to 2 s for the peer to close too, which it does once it wrote the
    /// session's result.
    pub(crate) async fn close_both(&mut self) -> Result<(), ChannelError> {
        self.close().await?;
        let mut rest = (&mut self.stream).take(MAX_FRAME as u64);
        let _ = timeout(SETTLED, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        Ok(())
    }

    fn unbounded(mut self) -> Self {
        self.stream.get_mut().0.unbounded();
        self
    }

    fn opened(
        stream: TlsStream<MeteredStream<S>>,
        identity: &Identity,
        role: Role,
        timeouts: Timeouts,
    ) -> Result<Self, ChannelError> {
        let (peer, binding) = match &stream {
            TlsStream::Client(client) => established(client.get_ref().1),
            TlsStream::Server(server) => established(server.get_ref().1),
        }?;
        Ok(Self {
            stream,
            own: identity.public().clone(),
            peer,
            binding,
            role,
            timeouts,
            received: 0,
            sent: 0,
            last_frame: 0,
            inbox: Vec::new(),
            outbox: Vec::new(),
            written: 0,
            failed: None,
            unwritable: None,
            awaits_card: false,
        })
    }

    async fn write_out(&mut self) -> Result<(), ChannelError> {
        if let Err(error) = self.write_all().await {
            return Err(self.last_words(&error).await);
        }
        Ok(())
    }

    /// Counts each byte that TLS took at once, so that cancellation neither repeats nor loses
    /// bytes.
    async fn write_all(&mut self) -> io::Result<()> {
        while self.written < self.outbox.len() {
            self.written += self.stream.write(&self.outbox[self.written..]).await?;
        }
        self.outbox.clear();
        self.written = 0;
        self.stream.flush().await
    }

    /// Returns the peer's refusal, if one arrives, in place of a write error: a peer that refuses
    /// this device says so and hangs up, so that the pending write fails first.
    async fn last_words(&mut self, error: &io::Error) -> ChannelError {
        match timeout(LINGER, self.stream.fill_buf()).await {
            Ok(Err(heard)) => ChannelError::from_io(&heard),
            _ => ChannelError::from_io(error),
        }
    }

    /// Waits for the next message, after the peer's card where that is due.
    async fn next_frame(&mut self) -> Result<(), ChannelError> {
        if self.awaits_card {
            self.fill_inbox().await?;
            self.take_card()?;
        }
        self.fill_inbox().await
    }

    async fn fill_inbox(&mut self) -> Result<(), ChannelError> {
        if self.unwritable.is_none() {
            self.unwritable = self.write_out().await.err();
        }
        loop {
            let missing = frame::missing(&self.inbox)?;
            if missing == 0 {
                return Ok(());
            }
            let arrived = match self.stream.fill_buf().await {
                Ok([]) if self.inbox.is_empty() => Err(ChannelError::Closed),
                Ok([]) => Err(ChannelError::Cut),
                Ok(arrived) => Ok(arrived),
                Err(error) => Err(ChannelError::from_io(&error)),
            };
            let arrived = arrived.map_err(|error| self.unwritable.clone().unwrap_or(error))?;
            let taken = arrived.len().min(missing);
            self.inbox.extend_from_slice(&arrived[..taken]);
            self.stream.consume(taken);
        }
    }
}

impl<S> Channel<S> {
    /// Returns the peer's identity.
    pub fn peer(&self) -> &PublicIdentity {
        &self.peer
    }

    /// Returns this side's public identity.
    pub fn own(&self) -> &PublicIdentity {
        &self.own
    }

    /// Returns 32 bytes that only the two ends of this channel know and no other channel has: the
    /// TLS exporter (RFC 8446 §7.5) with the label `EXPORTER-stronghold-binding-v1` and no context.
    /// Key material: use whatever is derived from it in this channel only, and never display it.
    pub fn channel_binding(&self) -> [u8; 32] {
        *self.binding
    }

    /// Returns the bytes received so far below TLS, handshake included.
    pub fn bytes_in(&self) -> u64 {
        self.stream.get_ref().0.bytes_in
    }

    /// Returns the bytes sent so far below TLS, handshake included.
    pub fn bytes_out(&self) -> u64 {
        self.stream.get_ref().0.bytes_out
    }

    /// Returns the length of the last received message's frame, in bytes.
    pub(crate) fn last_frame(&self) -> u64 {
        self.last_frame
    }

    /// Returns this side's role in the connection.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Replaces the ephemeral identities of TLS by those that both sides have proved inside the
    /// channel.
    pub(crate) fn set_identities(&mut self, own: PublicIdentity, peer: PublicIdentity) {
        self.own = own;
        self.peer = peer;
    }

    /// Changes the idle timeout of `receive`, `flush` and `close`, for example while a person
    /// decides.
    pub fn set_idle_timeout(&mut self, idle: Duration) {
        self.timeouts.idle = idle;
    }

    fn queue<M: Serialize + ?Sized>(&mut self, message: &M) -> Result<(), ChannelError> {
        frame::encode(&mut self.outbox, self.role, self.sent, message)?;
        self.sent += 1;
        Ok(())
    }

    /// Decodes the complete frame in the inbox and clears the inbox.
    fn take_message<M: DeserializeOwned>(&mut self) -> Result<M, ChannelError> {
        let message = frame::decode(&self.inbox, self.role.other(), self.received)?;
        self.received += 1;
        self.last_frame = self.inbox.len() as u64;
        self.inbox.clear();
        Ok(message)
    }

    fn check_open(&self) -> Result<(), ChannelError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn check_writable(&self) -> Result<(), ChannelError> {
        self.check_open()?;
        self.unwritable.clone().map_or(Ok(()), Err)
    }

    fn latch<T>(&mut self, outcome: Result<T, ChannelError>) -> Result<T, ChannelError> {
        outcome.inspect_err(|error| self.failed = Some(error.clone()))
    }
}

impl<S> fmt::Debug for Channel<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("peer", &self.peer)
            .field("role", &self.role)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// Returns the peer and the binding of a finished handshake. Refuses one without ALPN, since rustls
/// accepts a peer that offers no protocol.
fn established<D>(tls: &ConnectionCommon<D>) -> Result<(PublicIdentity, Zeroizing<[u8; 32]>), ChannelError> {
    let state: &CommonState = tls;
    if state.alpn_protocol() != Some(ALPN) {
        return Err(ChannelError::Incompatible("no application protocol".into()));
    }
    let [key] = state.peer_certificates().unwrap_or_default() else {
        return Err(FrameError::Tls("not one public key".into()).into());
    };
    let peer = tls::public_identity(key).map_err(|error| ChannelError::from_tls(&error))?;
    let mut binding = Zeroizing::new([0; 32]);
    tls.export_keying_material(binding.as_mut_slice(), BINDING_LABEL, None)
        .map_err(|error| ChannelError::from_tls(&error))?;
    Ok((peer, binding))
}

/// After a refusal by TLS, waits a moment, as [`drain`] does.
async fn drain_after<S: AsyncRead + AsyncWrite + Unpin>(error: &io::Error, io: S) {
    // No other error was reported to the peer.
    if error.kind() == io::ErrorKind::InvalidData {
        drain(io).await;
    }
}

/// Waits up to a second for the peer to read its refusal and hang up: dropping a TCP stream with
/// unread bytes resets it, which may lose the refusal.
async fn drain<S: AsyncRead + AsyncWrite + Unpin>(mut io: S) {
    let drained = async {
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(MAX_FRAME as u64), &mut tokio::io::sink()).await
    };
    let _ = timeout(LINGER, drained).await;
}

/// Maximum bytes of the peer's half of a handshake, in whole records; an honest one has under 2
/// KiB. Bounds the memory that a connection takes before it is authenticated.
const MAX_HANDSHAKE: u64 = 16 * 1024;
const LINGER: Duration = Duration::from_secs(1);
const SETTLED: Duration = Duration::from_secs(2);
pub(crate) const BINDING_LABEL: &[u8] = b"EXPORTER-stronghold-binding-v1";
