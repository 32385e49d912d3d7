//! Searches the captured bytes of pairings and syncs for anything that identifies a device.

use std::{
    collections::HashSet,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use crate::common::{ALL, Device};
use stronghold_net::{Direction, NoHandler, Pairing, Peer, Server, SyncRequest};
use stronghold_sync::Selection;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// One end of a connection whose bytes are captured, both ways.
struct Captured {
    io: DuplexStream,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Captured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.bytes.lock().unwrap().extend_from_slice(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Captured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.bytes.lock().unwrap().extend_from_slice(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn captured() -> (Captured, DuplexStream, Arc<Mutex<Vec<u8>>>) {
    let (near, far) = duplex(1 << 20);
    let bytes = Arc::default();
    (Captured { io: near, bytes: Arc::clone(&bytes) }, far, bytes)
}

/// Creates two devices with recognisable names and entries.
fn devices(mark: &str) -> (Device, Device) {
    let (asker, asked) =
        (Device::new(&format!("phone of {mark}")), Device::new(&format!("laptop of {mark}")));
    asker.grant(&asked, ALL, "**");
    asked.grant(&asker, ALL, "**");
    asked.put(&format!("{mark}/vault of {mark}/record of {mark}"), &format!("secret of {mark}"));
    (asker, asked)
}

/// Returns all bytes of a pairing of the two on the wire.
async fn pairing(asker: &Device, asked: &Device) -> Vec<u8> {
    let (near, far, bytes) = captured();
    let shown = Pairing::new().unwrap();
    let typed = shown.code().reveal().parse().unwrap();
    let identities = [asker, asked].map(|device| device.home.identity());
    let name = |device: &Device| device.home.lock().stronghold().name().to_owned();
    let (asker, asked) = (name(asker), name(asked));
    let (joined, listened) = tokio::join!(
        async { Pairing::join(near, &identities[0], &asker, typed).await.unwrap().confirm().await },
        async { shown.respond(far, &identities[1], &asked).await.unwrap().confirm().await },
    );
    assert_eq!((joined.unwrap().name, listened.unwrap().name), (asked, asker));
    bytes.lock().unwrap().clone()
}

/// Returns all bytes of a sync of the two on the wire.
async fn sync(asker: &Device, asked: &Device) -> Vec<u8> {
    let (near, far, bytes) = captured();
    let server = Server::new(&asked.home);
    let asking = async {
        let peer = Peer::connect(near, &asker.home, asked.device()).await.unwrap();
        peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler)
            .await
            .unwrap()
    };
    tokio::join!(asking, server.answer(far));
    bytes.lock().unwrap().clone()
}

/// Returns what identifies these devices: ids and keys, raw and as text, names, locations, secrets.
fn telltales(devices: [&Device; 2], mark: &str) -> Vec<Vec<u8>> {
    let mut found = vec![mark.as_bytes().to_vec()];
    for device in devices {
        let home = device.home.lock();
        let public = home.stronghold().identity().public();
        let id = public.device();
        found.extend([id.as_bytes()[..8].to_vec(), id.to_string().as_bytes()[..16].to_vec()]);
        found.extend([id.fingerprint().into_bytes(), public.spki()[60..76].to_vec()]);
        for (_, peer) in home.stronghold().peers().iter() {
            found.push(peer.rendezvous.as_ref().unwrap().as_bytes()[..8].to_vec());
        }
    }
    found
}

/// Returns all sequences of 16 bytes that look random, as a tag or an id would. The protocol's own
/// constants have few distinct values, except its name and the head of the hello, which are left
/// out.
fn random_looking(bytes: &[u8]) -> HashSet<&[u8]> {
    let own_name = stronghold_net::ALPN;
    let names_it = |part: &[u8]| own_name.windows(4).any(|name| part.windows(4).any(|found| found == name));
    let differs = |part: &[u8]| part.iter().collect::<HashSet<_>>().len() >= 12;
    bytes.windows(16).filter(|part| differs(part) && !names_it(part)).collect()
}

/// Returns the capture with zeros in place of the constant parts of a ClientHello (RFC 8446
/// §4.1.2). TLS shuffles its extensions, and some of their orders look random. Its random, its
/// session id and its key share stay.
fn without_hellos_constants(mut capture: Vec<u8>) -> Vec<u8> {
    let at = capture.windows(2).take(64).position(|head| head == [0x16, 0x03]).unwrap();
    let number = |at: usize| usize::from(u16::from_be_bytes([capture[at], capture[at + 1]]));
    let end = at + 5 + number(at + 3);
    let session_id = at + 43;
    let suites = session_id + 1 + usize::from(capture[session_id]);
    let compressions = suites + 2 + number(suites);
    let mut extension = compressions + 1 + usize::from(capture[compressions]) + 2;
    let mut constant = vec![at..at + 11, session_id..session_id + 1];
    let mut since = suites;
    while extension < end {
        let (kind, next) = (number(extension), extension + 4 + number(extension + 2));
        if kind == KEY_SHARE {
            constant.push(since..extension + 10);
            since = next;
        }
        extension = next;
    }
    constant.push(since..end);
    assert!(constant.len() == 4 && extension == end, "a hello with one key share");
    constant.into_iter().for_each(|part| capture[part].fill(0));
    capture
}

/// The extension of RFC 8446 §4.2.8.
const KEY_SHARE: usize = 51;

#[tokio::test]
async fn nothing_on_the_wire_names_a_device_or_is_the_same_twice() {
    let (asker, asked) = devices("marigold");
    for is_pairing in [true, false] {
        let mut captures = Vec::new();
        for _ in 0..2 {
            captures.push(if is_pairing {
                pairing(&asker, &asked).await
            } else {
                sync(&asker, &asked).await
            });
        }
        for telltale in telltales([&asker, &asked], "marigold") {
            for capture in &captures {
                assert!(!capture.windows(telltale.len()).any(|part| part == telltale), "{telltale:02x?}");
            }
        }
        let [first, second] = <[Vec<u8>; 2]>::try_from(captures).unwrap().map(without_hellos_constants);
        let [first, second] = [&first, &second].map(|capture| random_looking(capture));
        assert!(first.len() > 2000 && second.len() > 2000);
        let twice: Vec<_> = first.intersection(&second).collect();
        assert!(twice.is_empty(), "in both sessions: {twice:02x?}");
    }
}

/// An observer does see that it is Stronghold, as PROTOCOL.md says.
#[tokio::test]
async fn the_protocols_name_is_seen() {
    let (asker, asked) = devices("marigold");
    let alpn = stronghold_net::ALPN;
    for capture in [pairing(&asker, &asked).await, sync(&asker, &asked).await] {
        assert!(capture.windows(alpn.len()).any(|part| part == alpn));
    }
}
