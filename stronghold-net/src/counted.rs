//! A stream that counts its bytes: what a sync costs on the wire, TLS included; and that ends when there are too many.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Counts what passes, in both directions. What arrives may not be more than `most`.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    io: S,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    most: u64,
}

/// More arrived than may.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes")]
pub(crate) struct TooMany;

impl<S> Counted<S> {
    /// Takes so many bytes.
    pub(crate) fn up_to(most: u64, io: S) -> Self {
        Self { io, bytes_in: 0, bytes_out: 0, most }
    }

    /// Takes any number of them from now on.
    pub(crate) fn unbounded(&mut self) {
        self.most = u64::MAX;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.bytes_in += (buf.filled().len() - before) as u64;
        if self.bytes_in > self.most {
            return Poll::Ready(Err(io::Error::other(TooMany)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.bytes_out += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bytes))?;
        self.bytes_out += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
