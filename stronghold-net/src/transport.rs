//! Opens and accepts the streams that carry channels. The rest of the crate, and its users, name no
//! transport: another one is added here.

use std::{fmt, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// Time limit for a connection attempt.
const CONNECT: Duration = Duration::from_secs(10);
/// Time to wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A stream to another device, however it is carried.
pub type Stream = Box<dyn ByteStream>;

/// A byte stream in both directions. Implemented for every type that qualifies.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> ByteStream for S {}

/// A socket at which other devices connect.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens at an address such as `0.0.0.0:4747`, or `127.0.0.1:0` for any free port.
    ///
    /// # Errors
    /// The system's error, for example when the address is taken.
    pub async fn bind(address: &str) -> io::Result<Self> {
        Ok(Self(TcpListener::bind(address).await?))
    }

    /// Returns the address at which it listens.
    ///
    /// # Errors
    /// The system's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Returns the next stream and where it comes from. Retries when one can't be accepted.
    pub async fn accept(&self) -> (Stream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => return (coalesced(stream), address),
                Err(_) => sleep(ACCEPT_AGAIN).await,
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(listener)
    }
}

/// Takes over a socket, such as that of a service manager, within a tokio runtime.
impl TryFrom<std::net::TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self(TcpListener::from_std(listener)?))
    }
}

/// Connects to an address.
pub(crate) async fn connect(address: &str) -> io::Result<Stream> {
    let connected = timeout(CONNECT, TcpStream::connect(address)).await;
    Ok(coalesced(connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?))
}

/// Sends at once what a channel writes: it coalesces its writes itself.
fn coalesced(stream: TcpStream) -> Stream {
    let _ = stream.set_nodelay(true);
    Box::new(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that blocks would keep the thread from whoever connects.
    #[tokio::test]
    async fn a_socket_that_was_handed_over_blocks_no_thread() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener::try_from(socket).unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        let text = address.to_string();
        let ((_, from), connected) = tokio::join!(listener.accept(), connect(&text));
        assert!(connected.is_ok() && from.ip().is_loopback());
    }
}
