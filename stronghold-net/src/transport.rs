//! Opens and accepts the streams that carry channels. The rest of the crate, and its users, name no
//! transport: another one is added here.

use std::{fmt, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

#[cfg(feature = "iroh")]
use crate::quic;

/// Time limit for a connection attempt.
const CONNECT: Duration = Duration::from_secs(10);
/// Time to wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A stream to another device, however it is carried.
pub type Stream = Box<dyn ByteStream>;

/// A byte stream in both directions. Implemented for every type that qualifies.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> ByteStream for S {}

/// The way that a connection took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// TCP, or a stream of the application.
    #[default]
    Tcp,
    /// QUIC from address to address, across NATs if there are any.
    Direct,
    /// QUIC through the relay at this address.
    Relay(String),
}

/// A handle on a dialed connection beside its stream.
#[derive(Debug, Default)]
pub(crate) struct Link(#[cfg(feature = "iroh")] Option<quic::stream::Link>);

impl Link {
    /// Returns the way that the connection takes at this moment.
    pub(crate) fn way(&self) -> Way {
        #[cfg(feature = "iroh")]
        if let Some(link) = &self.0 {
            return link.relay().map_or(Way::Direct, Way::Relay);
        }
        Way::Tcp
    }

    /// Ends the connection, after its stream was closed.
    pub(crate) async fn close(&mut self) {
        #[cfg(feature = "iroh")]
        if let Some(link) = self.0.take() {
            link.close().await;
        }
    }
}

#[cfg(feature = "iroh")]
impl From<quic::stream::Link> for Link {
    fn from(link: quic::stream::Link) -> Self {
        Self(Some(link))
    }
}

/// A socket at which other devices connect.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    #[cfg(feature = "iroh")]
    quic: Option<quic::listen::QuicListener>,
}

/// A connection that arrived, and may still have to open.
pub(crate) enum Arriving {
    /// A stream that is open, and where it comes from.
    Open(Stream, SocketAddr),
    /// A connection whose handshake is to come.
    #[cfg(feature = "iroh")]
    Quic(Box<quic::listen::Arriving>),
}

impl Arriving {
    /// Returns where the stream comes from; `None` where that says little.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Open(_, address) => Some(*address),
            #[cfg(feature = "iroh")]
            Self::Quic(_) => None,
        }
    }

    /// Opens the stream.
    pub(crate) async fn open(self) -> io::Result<Stream> {
        match self {
            Self::Open(stream, _) => Ok(stream),
            #[cfg(feature = "iroh")]
            Self::Quic(arriving) => Ok(Box::new(arriving.open().await?)),
        }
    }
}

impl Listener {
    /// Listens at an address such as `0.0.0.0:4747`, or `127.0.0.1:0` for any free port.
    ///
    /// # Errors
    /// The system's error, for example when the address is taken.
    pub async fn bind(address: &str) -> io::Result<Self> {
        Ok(TcpListener::bind(address).await?.into())
    }

    /// Returns the address at which it listens.
    ///
    /// # Errors
    /// The system's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Listens for QUIC connections too.
    #[cfg(feature = "iroh")]
    #[must_use]
    pub fn with_quic(self, listener: quic::listen::QuicListener) -> Self {
        Self { quic: Some(listener), ..self }
    }

    /// Returns the next connection, over whatever it arrives.
    pub(crate) async fn next(&self) -> Arriving {
        #[cfg(feature = "iroh")]
        if let Some(quic) = &self.quic {
            return tokio::select! {
                (stream, address) = self.accept() => Arriving::Open(stream, address),
                arriving = quic.next() => Arriving::Quic(Box::new(arriving)),
            };
        }
        let (stream, address) = self.accept().await;
        Arriving::Open(stream, address)
    }

    /// Returns the next stream over TCP and where it comes from. Retries when one can't be
    /// accepted.
    pub async fn accept(&self) -> (Stream, SocketAddr) {
        loop {
            match self.tcp.accept().await {
                Ok((stream, address)) => return (coalesced(stream), address),
                Err(_) => sleep(ACCEPT_AGAIN).await,
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self {
            tcp: listener,
            #[cfg(feature = "iroh")]
            quic: None,
        }
    }
}

/// Takes over a socket, such as that of a service manager, within a tokio runtime.
impl TryFrom<std::net::TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener::from_std(listener)?.into())
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
