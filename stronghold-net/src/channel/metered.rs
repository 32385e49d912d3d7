//! Counts the bytes of a stream, TLS included, and fails a handshake that is too long.
//!
//! The connecting side of a handshake sends its first message in the same flight as the end of the
//! handshake. So the accepting side reads one TLS record (RFC 8446 §5.1) at a time, and checks the
//! limit between records: at most one record that follows the handshake is read with it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that counts bytes in both directions, and limits those of a handshake.
#[derive(Debug)]
pub(crate) struct MeteredStream<S> {
    io: S,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// During a handshake: the maximum bytes, and the position in a record if records are read one
    /// by one.
    handshake: Option<(u64, Option<Record>)>,
}

/// An error for more bytes than the limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more bytes than may arrive")]
pub(crate) struct TooMany;

/// A record in progress: type, version and length, then the body.
#[derive(Debug, Default)]
struct Record {
    head: [u8; HEAD],
    /// Bytes of the head that have arrived.
    arrived: usize,
    /// Bytes of the body that are missing.
    left: usize,
}

const HEAD: usize = 5;
/// Bytes to read at a time during a handshake.
const PIECE: usize = 2048;

impl Record {
    /// Returns the number of missing bytes of the head or, after it, of the body.
    fn missing(&self) -> usize {
        if self.arrived < HEAD { HEAD - self.arrived } else { self.left }
    }

    /// Returns whether the last record is complete and the next has not begun.
    fn is_between(&self) -> bool {
        self.arrived == 0
    }

    /// Takes the next bytes of the record, at most as many as are missing.
    fn take(&mut self, bytes: &[u8]) {
        if self.arrived < HEAD {
            self.head[self.arrived..][..bytes.len()].copy_from_slice(bytes);
            self.arrived += bytes.len();
            self.left = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
        } else {
            self.left -= bytes.len();
        }
        if self.arrived == HEAD && self.left == 0 {
            self.arrived = 0;
        }
    }
}

impl<S> MeteredStream<S> {
    /// Wraps a stream that begins with a handshake of at most `most` bytes.
    pub(crate) fn up_to(most: u64, io: S) -> Self {
        Self { io, bytes_in: 0, bytes_out: 0, handshake: Some((most, None)) }
    }

    /// Wraps a stream that begins with a handshake; the limit is checked before each record, so
    /// that the last one may exceed it.
    pub(crate) fn up_to_in_records(most: u64, io: S) -> Self {
        Self { io, bytes_in: 0, bytes_out: 0, handshake: Some((most, Some(Record::default()))) }
    }

    /// Removes the limit.
    pub(crate) fn unbounded(&mut self) {
        self.handshake = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, bytes_in, handshake, .. } = &mut *self;
        let (most, record) = match handshake {
            Some((most, Some(record))) => (*most, record),
            Some((most, None)) => return counted(io, cx, buf, bytes_in, *most),
            None => return counted(io, cx, buf, bytes_in, u64::MAX),
        };
        if record.is_between() && *bytes_in > most {
            return Poll::Ready(Err(io::Error::other(TooMany)));
        }
        let mut piece = [0; PIECE];
        let length = record.missing().min(PIECE).min(buf.remaining());
        let mut piece = ReadBuf::new(&mut piece[..length]);
        ready!(Pin::new(io).poll_read(cx, &mut piece))?;
        record.take(piece.filled());
        *bytes_in += piece.filled().len() as u64;
        buf.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

fn counted<S: AsyncRead + Unpin>(
    io: &mut S,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    bytes_in: &mut u64,
    most: u64,
) -> Poll<io::Result<()>> {
    let before = buf.filled().len();
    ready!(Pin::new(io).poll_read(cx, buf))?;
    *bytes_in += (buf.filled().len() - before) as u64;
    match *bytes_in > most {
        true => Poll::Ready(Err(io::Error::other(TooMany))),
        false => Poll::Ready(Ok(())),
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn record(length: u16) -> Vec<u8> {
        let mut record = vec![23, 3, 3];
        record.extend(length.to_be_bytes());
        record.extend(vec![7; usize::from(length)]);
        record
    }

    /// A read returns nothing from behind the record; the bytes pass unchanged.
    #[tokio::test]
    async fn one_record_is_read_at_a_time() {
        let sent = [record(10), record(0), record(5000), record(3)].concat();
        let mut stream = MeteredStream::up_to_in_records(1 << 20, &sent[..]);
        let (mut ends, mut read) = (Vec::new(), Vec::new());
        while read.len() < sent.len() {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.unwrap();
            read.extend_from_slice(&piece[..length]);
            ends.push(read.len());
        }
        assert_eq!(read, sent);
        assert!([5, 15, 20, 25, 5025, 5033].iter().all(|end| ends.contains(end)), "{ends:?}");
    }

    /// However few bytes arrive at a time.
    #[tokio::test]
    async fn records_that_come_in_pieces_are_whole() {
        use tokio::io::AsyncWriteExt;

        let sent = [record(10), record(0), record(300)].concat();
        let (near, mut far) = tokio::io::duplex(3);
        let mut stream = MeteredStream::up_to_in_records(1 << 20, near);
        let mut read = Vec::new();
        let sending = async {
            far.write_all(&sent).await.unwrap();
            drop(far);
        };
        let (length, ()) = tokio::join!(stream.read_to_end(&mut read), sending);
        assert_eq!((length.unwrap(), stream.bytes_in), (sent.len(), sent.len() as u64));
        assert_eq!(read, sent);
    }

    /// Whole buffers or several, both ways, are counted as they pass; and what is taken at once is
    /// up to the stream below.
    #[tokio::test]
    async fn each_byte_is_counted_both_ways() {
        use tokio::io::AsyncWriteExt;

        let (near, mut far) = tokio::io::duplex(100);
        let mut counted = MeteredStream::up_to(10, near);
        counted.write_all(b"12345").await.unwrap();
        let several = [io::IoSlice::new(b"67"), io::IoSlice::new(b"8")];
        let written = counted.write_vectored(&several).await.unwrap() as u64;
        assert_eq!((counted.bytes_out, counted.bytes_in), (5 + written, 0));
        assert!(MeteredStream::up_to(1, Vec::new()).is_write_vectored());
        far.write_all(&[7; 10]).await.unwrap();
        counted.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(counted.bytes_in, 10, "as many as may arrive");
        far.write_all(&[7; 1]).await.unwrap();
        assert!(counted.read_u8().await.is_err());
        counted.unbounded();
        far.write_all(&[7; 50]).await.unwrap();
        counted.read_exact(&mut [0; 50]).await.unwrap();
        assert_eq!(counted.bytes_in, 61);
    }

    #[tokio::test]
    async fn more_than_a_handshake_may_have_is_an_error() {
        let sent = [record(100), record(100), record(100)].concat();
        let read = async |most| {
            let mut all = Vec::new();
            MeteredStream::up_to_in_records(most, &sent[..]).read_to_end(&mut all).await.map(|_| all.len())
        };
        // The last record may follow the handshake.
        assert_eq!(read(315).await.unwrap(), 315);
        assert!(read(209).await.is_err() && read(104).await.is_err());
    }
}
