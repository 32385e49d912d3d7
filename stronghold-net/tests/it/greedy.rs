//! Tests devices that announce much, send much, read slowly or stall, and the shares of a server
//! that each and all get, over real sockets.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::attacker::{Hostile, shapes};
use crate::common::{ALL, Device, friends, limits};
use stronghold_net::{ChannelError, Direction, Limits, NoHandler, Peer, PeerError, Server, SyncRequest};
use stronghold_sync::{
    Ancestors, DeviceId, Operation, RevisionId, Selection, Timestamp,
    message::{Message, Refusal},
    session::{MAX_SEALED, SessionError},
};
use stronghold_vault::{Entry, Labels, Revision};
use tokio::{
    io::duplex,
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

const PUSH: &[Operation] = &[Operation::Push];

/// Creates a device that grants these operations to others, and the others.
fn devices(number: usize, may: &[Operation]) -> (Device, Vec<Device>) {
    let victim = Device::new("victim");
    let others: Vec<Device> = (0..number).map(|number| Device::new(&format!("other {number}"))).collect();
    for other in &others {
        victim.grant(other, may, "**");
        other.grant(&victim, ALL, "**");
    }
    (victim, others)
}

async fn serving(device: &Device, limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(&device.home).with_limits(limits);
    tokio::spawn(async move { server.run(listener, std::future::pending()).await });
    address
}

async fn connected(address: SocketAddr, device: &Device, victim: &Device) -> Peer<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    Peer::connect(stream, &device.home, victim.device()).await.unwrap()
}

async fn push(address: SocketAddr, device: &Device, victim: &Device) -> Result<u64, PeerError> {
    let peer = connected(address, device, victim).await;
    Ok(peer
        .sync(SyncRequest::new(Selection::everything(), Direction::Push), &mut NoHandler)
        .await?
        .summary
        .sent)
}

/// Two devices with four sessions each announce the largest batch, send some of it and stall: an
/// honest device is served as if they did not exist. Those that stay slower than the limit are told
/// to stop.
#[tokio::test]
async fn an_honest_sync_beside_stalling_devices_goes_on_and_they_are_ended() {
    let (victim, others) = devices(3, PUSH);
    let pace = Duration::from_millis(1500);
    let address = serving(&victim, limits(|limits| limits.pace = pace)).await;
    let mut stalling = Vec::new();
    for (number, device) in others[..2].iter().cycle().take(8).enumerate() {
        let mut hostile = Hostile::connect(address, device, &victim).await;
        hostile.begin_push("**").await;
        hostile.offer(shapes(number as u32, 1, 0)).await;
        hostile.begin_batch(MAX_SEALED, 200_000).await;
        stalling.push(hostile);
    }
    others[2].put_all((0..6).map(|n| (format!("s/v/{n}"), "x".repeat(1 << 20))));
    let start = Instant::now();
    assert_eq!(push(address, &others[2], &victim).await.unwrap(), 6);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    // A byte now and then does not help.
    sleep(pace).await;
    for hostile in &mut stalling {
        let _ = hostile.channel.feed(&Message::Chunk(vec![7])).await;
        let heard = hostile.channel.receive::<Message>().await;
        let is_ended = matches!(heard, Ok(Message::Refused(Refusal::Stopped)) | Err(ChannelError::Cut));
        assert!(is_ended, "{heard:?}");
    }
}

/// Two devices hold all of the memory for batches; a third, which needs more, waits, and continues
/// when one releases it.
#[tokio::test]
async fn who_needs_memory_that_others_have_waits_until_one_gives_it_back() {
    let (victim, others) = devices(3, PUSH);
    // The minimum: twice the largest batch, of which the last half is for one session at a time.
    let address = serving(&victim, limits(|limits| limits.batch_bytes = 0)).await;
    let mut holding = Vec::new();
    for (number, device) in others[..2].iter().enumerate() {
        let mut hostile = Hostile::connect(address, device, &victim).await;
        hostile.begin_push("**").await;
        hostile.offer(shapes(number as u32, 1, 0)).await;
        hostile.begin_batch(MAX_SEALED, 9 << 20).await;
        holding.push(hostile);
    }
    sleep(Duration::from_millis(500)).await;
    others[2].put("s/v/r", &"x".repeat(1 << 20));
    let pushing = push(address, &others[2], &victim);
    tokio::pin!(pushing);
    assert!(timeout(Duration::from_secs(2), &mut pushing).await.is_err(), "it did not wait");
    assert!(victim.entries().is_empty());
    drop(holding.pop());
    assert_eq!(timeout(Duration::from_secs(20), pushing).await.unwrap().unwrap(), 1);
    assert_eq!(victim.entries().len(), 1);
}

/// Sends a number of parts of a list. Returns whether they are kept.
async fn tells(hostile: &mut Hostile, parts: u32) -> bool {
    hostile.begin_push("**").await;
    for part in 0..parts {
        if hostile.channel.feed(&Message::Offer(shapes(part * 100, 100, 10))).await.is_err() {
            return false;
        }
    }
    let _ = hostile.channel.feed(&Message::DigestEnd).await;
    loop {
        match hostile.channel.receive::<Message>().await {
            Ok(Message::DiffEnd) => return true,
            Ok(Message::Needed(_)) => {}
            Ok(Message::Refused(Refusal::Busy)) | Err(ChannelError::Cut | ChannelError::Closed) => {
                return false;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The entry lists of a device are kept up to a quarter of the memory; it is free again when the
/// device is gone.
#[tokio::test]
async fn the_memory_of_what_is_told_is_shared_too() {
    let (victim, others) = devices(2, PUSH);
    let staged_bytes = 1_600_000;
    let address = serving(&victim, limits(|limits| limits.shape_bytes = staged_bytes)).await;
    let part = rmp_serde::to_vec(&Message::Offer(shapes(0, 100, 10))).unwrap().len() + 32;
    let fit = u32::try_from(staged_bytes / 4 / part).unwrap();
    let connect = |device: usize| Hostile::connect(address, &others[device], &victim);

    assert!(!tells(&mut connect(0).await, 2 * fit).await, "more than a quarter");
    let mut held = connect(0).await;
    assert!(tells(&mut held, fit - 1).await);
    // Another session of the device has the rest of its share, and the other device its own.
    assert!(!tells(&mut connect(0).await, 3).await);
    assert!(tells(&mut connect(1).await, fit - 1).await);
    others[1].put("s/v/r", "honest");
    assert_eq!(push(address, &others[1], &victim).await.unwrap(), 1);
    drop(held);
    let again = async {
        while !tells(&mut connect(0).await, fit - 1).await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), again).await.unwrap();
}

/// If one of two sessions of a device ends, the device may begin one more, but not two.
#[tokio::test]
async fn a_devices_sessions_are_counted_when_they_end_one_by_one() {
    let (victim, others) = devices(1, ALL);
    let address = serving(&victim, limits(|limits| limits.sessions_per_peer = 2)).await;
    let (one, _two) = (
        Hostile::connect(address, &others[0], &victim).await,
        Hostile::connect(address, &others[0], &victim).await,
    );
    let is_busy = async || {
        let result = push(address, &others[0], &victim).await;
        matches!(result, Err(PeerError::Session(SessionError::Refused(Refusal::Busy))))
    };
    sleep(Duration::from_millis(200)).await;
    assert!(is_busy().await);
    drop(one);
    sleep(Duration::from_millis(200)).await;
    let _three = Hostile::connect(address, &others[0], &victim).await;
    sleep(Duration::from_millis(200)).await;
    assert!(is_busy().await);
}

/// A record that was edited for years has the maximum of ancestors. Their shapes have none of them,
/// except where the receiver's heads can't be known: there 700 such records exceed a device's share
/// of a server's memory for entry lists.
#[tokio::test]
async fn records_with_long_lines_of_edits_go_over_in_as_many_sessions_as_it_takes() {
    for (direction, expected) in [(Direction::Both, 1), (Direction::Push, 4)] {
        assert_eq!(sessions_for_long_lines(direction).await, expected, "{direction:?}");
    }
}

async fn sessions_for_long_lines(direction: Direction) -> u32 {
    let (asker, asked) = friends();
    let line: Vec<RevisionId> = (0..4096u64)
        .map(|number| RevisionId::from_bytes(std::array::from_fn(|at| number.to_le_bytes()[at % 8])))
        .collect();
    let ancestors = Ancestors::from_newest_first(line).unwrap();
    let entries: Vec<Entry> = (0..700)
        .map(|number| Entry {
            location: format!("a/v/{number}").parse().unwrap(),
            revision: Revision {
                salt: [7; 32],
                author: asker.device(),
                ancestors: ancestors.clone(),
                deleted: false,
                labels: Labels::new(),
                time: Timestamp::from_millis(1),
                value: b"value".to_vec().into(),
            },
        })
        .collect();
    let from = DeviceId::from_bytes([9; 32]);
    asker.change(|stronghold| {
        stronghold.import(&entries, from, Timestamp::from_millis(1), |_, _, _| Ok(())).unwrap()
    });
    let server = Server::new(&asked.home);
    let mut sessions = 0;
    loop {
        let (near, far) = duplex(1 << 20);
        let asking = async {
            let peer = Peer::connect(near, &asker.home, asked.device()).await?;
            peer.sync(SyncRequest::new(Selection::everything(), direction), &mut NoHandler).await
        };
        let outcome = tokio::join!(asking, server.answer(far)).0.unwrap();
        sessions += 1;
        if !outcome.has_more() {
            break;
        }
    }
    assert_eq!(asked.entries().len(), 700);
    sessions
}
