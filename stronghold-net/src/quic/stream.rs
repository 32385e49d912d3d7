//! The stream of a connection, as the channel takes it.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use iroh::{
    TransportAddr,
    endpoint::{Connection, RecvStream, SendStream, VarInt},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

use super::{Kept, relays::shown};

/// Time for the peer to acknowledge the last bytes.
const DELIVERED: Duration = Duration::from_secs(2);
/// Time for the peer to hear that the connection ends.
const CLOSED: Duration = Duration::from_secs(1);
/// Code of a connection that ends as it should; it tells nothing.
pub(super) const DONE: VarInt = VarInt::from_u32(0);

/// The only stream of a connection. `shutdown` waits until the peer has what was written; dropping
/// it ends the connection.
pub(crate) struct QuicStream {
    send: SendStream,
    receive: RecvStream,
    connection: Connection,
    _endpoint: Arc<Kept>,
    delivered: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl QuicStream {
    pub(super) fn new(
        connection: Connection,
        (send, receive): (SendStream, RecvStream),
        endpoint: Arc<Kept>,
    ) -> Self {
        Self { send, receive, connection, _endpoint: endpoint, delivered: None }
    }
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        self.connection.close(DONE, b"");
    }
}

impl fmt::Debug for QuicStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicStream").finish_non_exhaustive()
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.receive), context, buffer)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let send = &mut this.send;
        let delivered = this.delivered.get_or_insert_with(|| {
            let _ = send.finish();
            let stopped = send.stopped();
            Box::pin(async move {
                let _ = timeout(DELIVERED, stopped).await;
            })
        });
        ready!(delivered.as_mut().poll(context));
        // A future that is done must not be polled again.
        this.delivered = Some(Box::pin(std::future::ready(())));
        Poll::Ready(Ok(()))
    }
}

/// A dialed connection, beside its stream: tells its way, and ends it with its endpoint.
pub(crate) struct Link {
    connection: Connection,
    endpoint: Arc<Kept>,
}

impl Link {
    pub(super) fn new(connection: &Connection, endpoint: Arc<Kept>) -> Self {
        Self { connection: connection.clone(), endpoint }
    }

    /// Returns the relay through which the connection goes at this moment; `None` if it is direct.
    pub(crate) fn relay(&self) -> Option<String> {
        let paths = self.connection.paths();
        let mut chosen = paths.iter().filter(|path| path.is_selected());
        chosen.find_map(|path| match path.remote_addr() {
            TransportAddr::Relay(url) => Some(shown(url)),
            _ => None,
        })
    }

    /// Ends the connection, and tells the peer.
    pub(crate) async fn close(self) {
        self.connection.close(DONE, b"");
        let _ = timeout(CLOSED, self.endpoint.0.close()).await;
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("relay", &self.relay()).finish_non_exhaustive()
    }
}
