//! What an observer of the connection sees: captured bytes of pairings and syncs, searched for whatever names a device.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

mod common;

use std::{
    collections::HashSet,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use common::{ALL, Device};
use stronghold_net::{Pairing, Peer, Server, Unattended, Ways, own_identity};
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

/// Two devices with names and entries that would be recognised.
fn devices(mark: &str) -> (Device, Device) {
    let (asker, asked) =
        (Device::new(&format!("phone of {mark}")), Device::new(&format!("laptop of {mark}")));
    asker.grant(&asked, ALL, "**");
    asked.grant(&asker, ALL, "**");
    asked.put(&format!("{mark}/vault of {mark}/record of {mark}"), &format!("secret of {mark}"));
    (asker, asked)
}

/// Everything that a pairing of the two puts on the wire.
async fn pairing(asker: &Device, asked: &Device) -> Vec<u8> {
    let (near, far, bytes) = captured();
    let shown = Pairing::new().unwrap();
    let typed = shown.code().reveal().parse().unwrap();
    let identities = [asker, asked].map(|device| own_identity(&device.home).unwrap());
    let name = |device: &Device| device.home.lock().stronghold().name().to_owned();
    let (asker, asked) = (name(asker), name(asked));
    let (joined, listened) = tokio::join!(
        async { Pairing::join(near, &identities[0], &asker, typed).await.unwrap().confirm().await },
        async { shown.meet(far, &identities[1], &asked).await.unwrap().confirm().await },
    );
    assert_eq!((joined.unwrap().name, listened.unwrap().name), (asked, asker));
    let captured = bytes.lock().unwrap().clone();
    captured
}

/// Everything that a sync of the two puts on the wire.
async fn sync(asker: &Device, asked: &Device) -> Vec<u8> {
    let (near, far, bytes) = captured();
    let server = Server::new(&asked.home);
    let asking = async {
        let peer = Peer::connect(near, &asker.home, asked.device()).await.unwrap();
        peer.sync(Selection::everything(), Ways::Default, &mut Unattended).await.unwrap()
    };
    tokio::join!(asking, server.answer(far));
    let captured = bytes.lock().unwrap().clone();
    captured
}

/// What names these devices: ids and keys, as they are and as text, names, places, secrets.
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

/// All sequences of 8 bytes in it, but for those with the head of a TLS record: that has its length, which signatures make
/// vary by a few bytes.
fn windows(bytes: &[u8]) -> HashSet<&[u8]> {
    bytes.windows(8).filter(|part| !part.windows(3).any(|head| head == [0x17, 3, 3])).collect()
}

#[tokio::test]
async fn nothing_on_the_wire_names_a_device_or_is_the_same_twice() {
    let (asker, asked) = devices("marigold");
    let (other_asker, other_asked) = devices("hyacinth");
    for is_pairing in [true, false] {
        let mut captures = Vec::new();
        for (asker, asked) in [(&asker, &asked), (&asker, &asked), (&other_asker, &other_asked)] {
            captures.push(if is_pairing { pairing(asker, asked).await } else { sync(asker, asked).await });
        }
        let [first, second, of_others] = captures.try_into().unwrap();
        assert!(first.len() > 2000 && second.len() > 2000);
        for telltale in telltales([&asker, &asked], "marigold") {
            for capture in [&first, &second] {
                assert!(!capture.windows(telltale.len()).any(|part| part == telltale), "{telltale:02x?}");
            }
        }
        // What two sessions of the same devices have in common, those of others have too: it is the protocol's.
        let (second, of_others) = (windows(&second), windows(&of_others));
        let of_the_pair: Vec<&[u8]> = windows(&first)
            .into_iter()
            .filter(|part| second.contains(part) && !of_others.contains(part))
            .collect();
        assert!(
            of_the_pair.is_empty(),
            "in both sessions of the pair, and in none of others: {of_the_pair:02x?}"
        );
    }
}

/// What an observer does see, as PROTOCOL.md says: that it is Stronghold.
#[tokio::test]
async fn the_protocols_name_is_seen() {
    let (asker, asked) = devices("marigold");
    let alpn = stronghold_net::ALPN;
    for capture in [pairing(&asker, &asked).await, sync(&asker, &asked).await] {
        assert!(capture.windows(alpn.len()).any(|part| part == alpn));
    }
}
