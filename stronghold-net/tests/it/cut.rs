//! Cuts a connection after every single byte, in either direction: each side has its old state or
//! all of the new one, and the next sync completes. (Time is simulated, so that waits for a dead
//! peer cost nothing.)

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::common::{KEY, entries_in, friends};
use stronghold_net::{Direction, NoHandler, Outcome, Peer, PeerError, Server, SharedVault, SyncRequest};
use stronghold_snapshot::{Unlock, VaultFile};
use stronghold_sync::{DeviceId, Selection};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// One end of a connection that is cut after a number of bytes in, or out.
struct Cutting {
    io: DuplexStream,
    left_in: usize,
    left_out: usize,
}

impl AsyncRead for Cutting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut part = buf.take(self.left_in);
        if part.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        self.left_in -= read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Cutting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let most = bytes.len().min(self.left_out);
        if most == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &bytes[..most]))?;
        self.left_out -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

type Entries = Vec<(String, String)>;

/// Two devices' files before the sync, in a folder where writing is cheap.
struct Stage {
    folder: TempDir,
    files: [Vec<u8>; 2],
    asked: DeviceId,
    old: [Entries; 2],
    new: Entries,
}

impl Stage {
    /// Gives each device an entry that the other lacks, and one that the other has replaced.
    fn new() -> Self {
        let (asker, asked) = friends();
        asker.put("a/v/of the asker", "1");
        asked.put("a/v/of the asked", "2");
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let old = [asker.entries(), asked.entries()];
        let mut new = old.concat();
        new.sort();
        Self {
            folder: folder.unwrap(),
            files: [asker.bytes(), asked.bytes()],
            asked: asked.device(),
            old,
            new,
        }
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["asker", "asked"].map(|name| self.folder.path().join(name))
    }

    /// Runs one sync from these files over a connection with this cut. Returns how it ended for the
    /// initiator.
    async fn sync(&self, left_in: usize, left_out: usize) -> Result<Outcome, PeerError> {
        let [asker, asked] = self.paths().map(|path| {
            let home = VaultFile::open(&path, &Unlock::Key(&KEY)).unwrap();
            SharedVault::new(home)
        });
        let (near, far) = duplex(1 << 16);
        let asking = async {
            let near = Cutting { io: near, left_in, left_out };
            let peer = Peer::connect(near, &asker, self.asked).await?;
            peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await
        };
        let server = Server::new(&asked);
        tokio::join!(asking, server.answer(far)).0
    }

    /// Cuts at this point, then syncs again.
    async fn cut(&self, left_in: usize, left_out: usize) -> bool {
        let place = format!("cut after {left_in} bytes in, {left_out} out");
        for (path, bytes) in self.paths().iter().zip(&self.files) {
            std::fs::write(path, bytes).unwrap();
        }
        let is_whole = self.sync(left_in, left_out).await.is_ok();
        for (path, old) in self.paths().iter().zip(&self.old) {
            let entries = entries_in(path);
            assert!(entries == *old || entries == self.new, "{place}: neither old nor new: {entries:?}");
            assert!(!is_whole || entries == self.new, "{place}: it was said to be done");
        }
        self.sync(usize::MAX, usize::MAX).await.unwrap();
        self.paths().iter().for_each(|path| assert_eq!(entries_in(path), self.new, "{place}, and again"));
        is_whole
    }
}

/// Returns the distance between cuts: one byte at full effort.
fn step() -> usize {
    ((1.0 / crate::effort::factor()) as usize).max(1)
}

#[tokio::test(start_paused = true)]
async fn cut_after_every_byte_that_the_asker_receives() {
    let stage = Stage::new();
    let mut cut = 0;
    while !stage.cut(cut, usize::MAX).await {
        cut += step();
    }
    assert!(cut > 3000, "the session was over after {cut} bytes");
}

#[tokio::test(start_paused = true)]
async fn cut_after_every_byte_that_the_asker_sends() {
    let stage = Stage::new();
    let mut cut = 0;
    while !stage.cut(usize::MAX, cut).await {
        cut += step();
    }
    assert!(cut > 3000, "the session was over after {cut} bytes");
}
