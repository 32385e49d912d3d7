//! Tests opening a channel: the devices that get in, those that do not, and the errors of both
//! sides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use stronghold_net::{Channel, ChannelError, Expect, FrameError, Timeouts, Trust};
use stronghold_vault::Identity;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, copy, duplex, split},
    net::{TcpListener, TcpStream},
    time::sleep,
};

fn device() -> Identity {
    Identity::generate().unwrap()
}

fn trusting(identity: &Identity) -> Trust {
    let known = identity.device();
    Trust::known(move |device| *device == known)
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

#[tokio::test]
async fn two_devices_that_know_each_other_meet_over_tcp() {
    let (asker, asked) = (device(), device());
    let (near, far) = tcp_pair().await;
    let (asking, answering) = tokio::join!(
        Channel::connect(near, &asker, Expect::Device(asked.device())),
        Channel::accept(far, &asked, trusting(&asker)),
    );
    let (mut asking, mut answering) = (asking.unwrap(), answering.unwrap());
    assert_eq!(asking.peer(), asked.public());
    assert_eq!(answering.peer(), asker.public());

    asking.feed("ping").await.unwrap();
    asking.flush().await.unwrap();
    assert_eq!(answering.receive::<String>().await.unwrap(), "ping");
    answering.feed(&(1u8, "pong")).await.unwrap();
    answering.close().await.unwrap();
    assert_eq!(asking.receive::<(u8, String)>().await.unwrap(), (1, "pong".to_owned()));
    assert_eq!(asking.receive::<u8>().await.unwrap_err(), ChannelError::Closed);
    assert_eq!(answering.receive::<u8>().await.unwrap_err(), ChannelError::Closed);
    assert_eq!(asking.bytes_in(), answering.bytes_out());
    assert_eq!(asking.bytes_out(), answering.bytes_in());
}

#[tokio::test]
async fn the_binding_is_shared_and_fresh() {
    let (asker, asked) = (device(), device());
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (near, far) = duplex(4096);
        let (asking, answering) = tokio::join!(
            Channel::connect(near, &asker, Expect::Device(asked.device())),
            Channel::accept(far, &asked, trusting(&asker)),
        );
        let binding = asking.unwrap().channel_binding();
        assert_eq!(binding, answering.unwrap().channel_binding());
        assert!(!seen.contains(&binding));
        seen.push(binding);
    }
}

/// However much the refused peer sends, and whether it sends before or after the refusal.
#[tokio::test]
async fn an_unknown_client_is_refused_and_told() {
    for (messages, pause) in [(0, 0), (20, 0), (3, 30), (20, 1300), (10, 60)].repeat(3) {
        let (asker, asked) = (device(), device());
        let (near, far) = tcp_pair().await;
        let client = async {
            let mut channel = Channel::connect(near, &asker, Expect::Device(asked.device())).await?;
            for _ in 0..messages {
                tokio::time::sleep(Duration::from_millis(pause / messages)).await;
                channel.feed(&[7u8; 20_000][..]).await?;
                channel.flush().await?;
            }
            channel.receive::<u8>().await
        };
        let server = Channel::accept(far, &asked, Trust::known(|_| false));
        let (client, server) = tokio::join!(client, server);
        assert_eq!(client.unwrap_err(), ChannelError::NotTrusted, "{messages} {pause}");
        assert_eq!(server.unwrap_err(), ChannelError::UnknownDevice(asker.device()));
    }
}

#[tokio::test]
async fn another_server_key_than_the_pinned_one_is_refused() {
    let (asker, asked, impostor) = (device(), device(), device());
    let (near, far) = tcp_pair().await;
    let (asking, answering) = tokio::join!(
        Channel::connect(near, &asker, Expect::Device(asked.device())),
        Channel::accept(far, &impostor, Trust::Anyone),
    );
    assert_eq!(asking.unwrap_err(), ChannelError::WrongDevice(impostor.device()));
    assert_eq!(answering.unwrap_err(), ChannelError::NotTrusted);
}

#[tokio::test]
async fn trust_may_change_while_running() {
    let (asker, asked) = (device(), device());
    let switch = Arc::new(AtomicBool::new(false));
    let read = switch.clone();
    let trust = Trust::known(move |_| read.load(Ordering::Relaxed));
    for trusted in [false, true, false] {
        switch.store(trusted, Ordering::Relaxed);
        let (near, far) = duplex(4096);
        let (_asking, answering) = tokio::join!(
            Channel::connect(near, &asker, Expect::Anyone),
            Channel::accept(far, &asked, trust.clone()),
        );
        assert_eq!(answering.is_ok(), trusted);
    }
}

#[tokio::test]
async fn garbage_is_refused_by_both_sides() {
    let identity = device();
    let (mut near, far) = tcp_pair().await;
    near.write_all(b"GET / HTTP/1.1\r\nHost: vault\r\n\r\n").await.unwrap();
    let accepted = Channel::accept(far, &identity, Trust::Anyone).await;
    assert!(matches!(accepted.unwrap_err(), ChannelError::Misbehaved(FrameError::Tls(_))));

    let (near, mut far) = tcp_pair().await;
    far.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
    let connected = Channel::connect(near, &identity, Expect::Anyone).await;
    assert!(matches!(connected.unwrap_err(), ChannelError::Misbehaved(FrameError::Tls(_))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_costs_the_handshake_timeout_only() {
    let identity = device();
    let (near, _far) = duplex(4096);
    let mut timeouts = Timeouts::default();
    timeouts.handshake = Duration::from_secs(3);
    let connected = Channel::connect_with(near, &identity, Expect::Anyone, timeouts).await;
    assert_eq!(connected.unwrap_err(), ChannelError::TimedOut(Duration::from_secs(3)));
    let (_near, far) = duplex(4096);
    let accepted = Channel::accept(far, &identity, Trust::Anyone).await;
    assert_eq!(accepted.unwrap_err(), ChannelError::TimedOut(Duration::from_secs(10)));
}

/// An observer of the handshake sees no device id and no public key in clear.
#[tokio::test]
async fn a_listener_on_the_wire_sees_no_identity() {
    let (asker, asked) = (device(), device());
    let ((near, mut from_near), (far, mut from_far)) = (duplex(4096), duplex(4096));
    let relay = async {
        let (mut seen, mut forth, mut back) = (Vec::new(), [0; 4096], [0; 4096]);
        loop {
            let (chunk, to) = tokio::select! {
                n = from_near.read(&mut forth) => (&forth[..n.unwrap()], &mut from_far),
                n = from_far.read(&mut back) => (&back[..n.unwrap()], &mut from_near),
            };
            if chunk.is_empty() {
                return seen;
            }
            seen.extend_from_slice(chunk);
            to.write_all(chunk).await.unwrap();
        }
    };
    let ends = async {
        let (asking, answering) = tokio::join!(
            Channel::connect(near, &asker, Expect::Device(asked.device())),
            Channel::accept(far, &asked, trusting(&asker)),
        );
        (asking.unwrap().bytes_in(), answering.unwrap().bytes_in())
    };
    let (seen, (to_asker, to_asked)) = tokio::join!(relay, ends);
    assert_eq!(seen.len() as u64, to_asker + to_asked);
    for identity in [&asker, &asked] {
        for secret in [&identity.device().as_bytes()[..8], &identity.public().spki()[40..56]] {
            assert!(!seen.windows(secret.len()).any(|window| window == secret));
        }
    }
}

/// Relays bytes in large pieces: the end of a handshake together with everything that follows.
async fn gathering(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut gathered = vec![0; 1 << 18];
    loop {
        sleep(Duration::from_millis(20)).await;
        match from.read(&mut gathered).await {
            Ok(0) | Err(_) => return,
            Ok(length) => to.write_all(&gathered[..length]).await.unwrap(),
        }
    }
}

/// Bytes in the same flight as the end of the handshake do not count towards it, however many.
#[tokio::test]
async fn a_long_first_message_is_not_taken_for_a_handshake() {
    let (asking, answering) = (device(), device());
    for (round, length) in [15_000, 25_000, 60_000].into_iter().cycle().take(60).enumerate() {
        let (near, middle) = duplex(1 << 18);
        let (further, far) = duplex(1 << 18);
        let ((from_near, to_near), (from_far, to_far)) = (split(middle), split(further));
        let sent = tokio::spawn(gathering(from_near, to_far));
        let answered = tokio::spawn(async move {
            let _ = copy(&mut BufReader::new(from_far), &mut { to_near }).await;
        });
        let connecting = async {
            let mut channel =
                Channel::connect(near, &asking, Expect::Device(answering.device())).await.unwrap();
            channel.feed(&"x".repeat(length)).await.unwrap();
            channel.receive::<bool>().await.unwrap()
        };
        let accepting = async {
            let mut channel = Channel::accept(far, &answering, trusting(&asking)).await.unwrap();
            assert_eq!(channel.receive::<String>().await.unwrap().len(), length);
            channel.feed(&true).await.unwrap();
            channel.flush().await.unwrap();
            channel
        };
        assert!(tokio::join!(connecting, accepting).0, "round {round}");
        sent.abort();
        answered.abort();
    }
}
