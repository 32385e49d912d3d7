//! Opens and accepts TCP connections, with `TCP_NODELAY`: a channel coalesces its writes itself.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// Time limit for a connection attempt.
const CONNECT: Duration = Duration::from_secs(10);
/// Time to wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Connects to an address.
pub(crate) async fn connect(address: &str) -> io::Result<TcpStream> {
    let connected = timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Returns the next connection. Retries when one can't be accepted.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let _ = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}
