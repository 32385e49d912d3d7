//! Tests an attacker between two paired devices who holds a knock back and uses it first. It sees
//! keys of that one connection only, receives no entry and impersonates no device. (For an attacker
//! who also has the pairing's secret, see the tests of `ephemeral`.)

use crate::common::{Device, friends};
use stronghold_net::{Channel, ChannelError, Expect, Peer, PeerError, Server, Trust};
use stronghold_vault::Identity;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};

/// Begins a connection of `asker` to `asked` and intercepts it after its knock. Returns the knock,
/// the stream behind it, and the error in which the connection ends.
async fn held_back(asker: &Device, asked: &Device) -> ([u8; 32], DuplexStream, JoinHandle<PeerError>) {
    let (near, mut middle) = duplex(1 << 20);
    let (home, device) = (asker.home.clone(), asked.device());
    let asking = tokio::spawn(async move { Peer::connect(near, &home, device).await.unwrap_err() });
    let mut knock = [0; 32];
    middle.read_exact(&mut knock).await.unwrap();
    (knock, middle, asking)
}

/// Handshakes with each end in place of its peer, with the intercepted knock. Returns the keys that
/// both showed.
async fn shown_between(asker: &Device, asked: &Device, server: &Server) -> Vec<Vec<u8>> {
    let own = Identity::generate().unwrap();
    let (knock, middle, asking) = held_back(asker, asked).await;
    let (mut to_asked, far) = duplex(1 << 20);
    let with_asked = async {
        to_asked.write_all(&knock).await.unwrap();
        let mut channel = Channel::connect(to_asked, &own, Expect::Anyone).await.unwrap();
        assert_eq!(channel.receive::<String>().await.unwrap_err(), ChannelError::NotTrusted);
        channel.peer().clone()
    };
    let (shown, ()) = tokio::join!(with_asked, server.answer(far));
    // The initiator ends the handshake before it has shown anything.
    let refused = Channel::accept(middle, &own, Trust::Anyone).await;
    assert_eq!(refused.unwrap_err(), ChannelError::NotTrusted);
    let found = asking.await.unwrap();
    assert!(matches!(found, PeerError::Channel(ChannelError::Stranger)), "{found:?}");
    vec![shown.spki().to_vec(), shown.device().as_bytes().to_vec()]
}

/// Relays the knock before its sender's own handshake, and handshakes itself.
#[tokio::test]
async fn who_intercepts_a_knock_learns_no_id_key_or_name() {
    let (asker, asked) = friends();
    let server = Server::new(&asked.home);
    let mut seen = Vec::new();
    for _ in 0..2 {
        for shown in shown_between(&asker, &asked, &server).await {
            for device in [&asker, &asked] {
                let home = device.home.lock();
                let public = home.stronghold().identity().public();
                assert_ne!(shown, public.spki(), "a device's key");
                assert_ne!(shown, public.device().as_bytes(), "a device's id");
            }
            assert!(!seen.contains(&shown), "the same in two connections");
            seen.push(shown);
        }
    }
}
