//! Tests a server: the connections that pass the gate, the shares of each peer and of all, and the
//! server's end.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::{ALL, Device, between, friends, limits};
use stronghold_net::{
    BoxFuture, Channel, ChannelError, Direction, Event, Expect, Limits, NoHandler, Outcome, Peer, PeerError,
    Server, SessionHandler, SyncRequest,
};
use stronghold_sync::{
    DeviceId, Operation, Pending, Selection, Timestamp, message::Refusal, session::SessionError,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{sleep, timeout},
};

/// A time limit far above any duration here.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Events of a server.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    fn count(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| is_it(event)).count()
    }

    fn turned_away(&self) -> u64 {
        let of = |event: &Event| if let Event::TurnedAway(number) = event { *number } else { 0 };
        self.0.lock().unwrap().iter().map(of).sum()
    }

    /// Waits until an event was reported.
    async fn until(&self, is_it: impl Fn(&Event) -> bool) {
        self.until_as_many(1, is_it).await;
    }

    /// Waits until an event was reported a number of times.
    async fn until_as_many(&self, number: usize, is_it: impl Fn(&Event) -> bool) {
        let waiting = async {
            while self.count(&is_it) < number {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(TIMEOUT, waiting).await.unwrap();
    }
}

fn server(device: &Device, limits: Limits) -> (Server, Told) {
    let told = Told::default();
    let telling = told.clone();
    let server = Server::new(&device.home).with_limits(limits);
    (server.on_event(move |event| telling.0.lock().unwrap().push(event)), told)
}

fn short() -> Limits {
    limits(|limits| limits.handshake_timeout = Duration::from_millis(300))
}

async fn sync_over(io: DuplexStream, asker: &Device, asked: DeviceId) -> Result<Outcome, PeerError> {
    let peer = Peer::connect(io, &asker.home, asked).await?;
    peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await
}

/// Syncs with a server over a stream in memory.
async fn sync_with(server: &Server, asker: &Device, asked: &Device) -> Result<Outcome, PeerError> {
    let (near, far) = duplex(1 << 20);
    tokio::join!(sync_over(near, asker, asked.device()), server.answer(far)).0
}

fn is_busy(result: &Result<Outcome, PeerError>) -> bool {
    matches!(result, Err(PeerError::Session(SessionError::Refused(Refusal::Busy))))
}

/// Runs a server on a socket. Returns its address and the means to stop it.
async fn running(server: Server) -> (std::net::SocketAddr, oneshot::Sender<()>, impl Future<Output = ()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let run = tokio::spawn(async move { server.run(listener, async { drop(stopped.await) }).await });
    (address, stop, async { timeout(TIMEOUT, run).await.unwrap().unwrap() })
}

async fn connected(address: std::net::SocketAddr, asker: &Device, asked: &Device) -> Peer<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    Peer::connect(stream, &asker.home, asked.device()).await.unwrap()
}

#[tokio::test]
async fn paired_devices_are_answered_over_any_stream() {
    let (asker, asked) = friends();
    asked.put("a/v/one", "1");
    asker.put("a/v/two", "2");
    let (server, told) = server(&asked, Limits::default());
    let outcome = sync_with(&server, &asker, &asked).await.unwrap();
    assert_eq!((outcome.summary.received, outcome.summary.sent), (1, 1));
    assert!(outcome.bytes_in > 1000 && outcome.bytes_out > 1000);
    assert_eq!(asker.entries(), asked.entries());
    assert_eq!(told.count(|event| matches!(event, Event::Started(device) if *device == asker.device())), 1);
    assert_eq!(told.count(|event| matches!(event, Event::Done(_, summary) if summary.sent == 1)), 1);
}

/// Gate, handshake and cards included: hiding the devices' identities costs no round trip.
#[tokio::test]
async fn a_sync_of_equals_is_one_round_trip_and_few_bytes() {
    let (asker, asked) = friends();
    asked.put_all((0..1000).map(|n| (format!("a/v/{n}"), "value".to_owned())));
    let (server, _) = server(&asked, Limits::default());
    sync_with(&server, &asker, &asked).await.unwrap();
    let equal = sync_with(&server, &asker, &asked).await.unwrap();
    assert_eq!(equal.summary.round_trips, 1);
    let bytes = equal.bytes_in + equal.bytes_out;
    assert!(bytes < 5_000, "{bytes}");
}

/// Garbage, TLS without a knock, a stranger's knock, one for another device: none gets an answer.
#[tokio::test]
async fn whoever_is_not_paired_hears_nothing() {
    let (asker, asked) = friends();
    let stranger = Device::new("stranger");
    stranger.grant(&asked, ALL, "**"); // it knows the device, and the device does not know it
    let (server, told) = server(&asked, short());

    for bytes in [&[][..], &[0; 31], &[0; 32], &[0x16, 3, 1, 2, 0], &[255; 5000]] {
        let (mut near, far) = duplex(1 << 20);
        let silence = async {
            near.write_all(bytes).await.unwrap();
            let mut heard = Vec::new();
            let _ = near.read_to_end(&mut heard).await;
            assert!(heard.is_empty(), "{heard:?}");
        };
        tokio::join!(silence, server.answer(far));
    }
    let (near, far) = duplex(1 << 20);
    let (refused, ()) = tokio::join!(sync_over(near, &stranger, asked.device()), server.answer(far));
    assert!(matches!(refused, Err(PeerError::Channel(ChannelError::TurnedAway))), "{refused:?}");

    // Without a knock, TLS fails, even with the right key.
    let (near, far) = duplex(1 << 20);
    let identity = asker.home.identity();
    let (refused, ()) =
        tokio::join!(Channel::connect(near, &identity, Expect::Device(asked.device())), server.answer(far));
    assert_eq!(refused.unwrap_err(), ChannelError::TurnedAway);
    assert_eq!((told.turned_away(), told.count(|event| !matches!(event, Event::TurnedAway(_)))), (7, 0));
}

/// A knock is valid for the intended device only, and once.
#[tokio::test]
async fn an_overheard_knock_opens_nothing() {
    let (asker, asked) = friends();
    let (near, mut overheard) = duplex(1 << 20);
    let mut knock = [0; 32];
    let listening = async {
        overheard.read_exact(&mut knock).await.unwrap();
        drop(overheard);
    };
    let (failed, ()) = tokio::join!(sync_over(near, &asker, asked.device()), listening);
    assert!(failed.is_err());

    // The knock opens nothing at its sender; at the intended device it begins a handshake, once.
    let heard_after = |server: Server, knock: [u8; 32]| async move {
        let (mut near, far) = duplex(1 << 20);
        let identity = stronghold_vault::Identity::generate().unwrap();
        near.write_all(&knock).await.unwrap();
        tokio::join!(Channel::connect(near, &identity, Expect::Anyone), server.answer(far)).0
    };
    let (of_asker, _) = server(&asker, short());
    assert_eq!(heard_after(of_asker, knock).await.unwrap_err(), ChannelError::TurnedAway);
    let (of_asked, told) = server(&asked, short());
    let first = heard_after(of_asked.clone(), knock).await;
    // The prober sees only a key of this knock (tests/it/between.rs), and its own key is refused.
    assert_eq!(first.unwrap().receive::<String>().await.unwrap_err(), ChannelError::NotTrusted);
    assert_eq!(heard_after(of_asked, knock).await.unwrap_err(), ChannelError::TurnedAway);
    assert_eq!(told.turned_away(), 2);
}

#[tokio::test]
async fn a_knock_lets_nobody_in_but_the_device_it_is_of() {
    let (asker, asked) = friends();
    let thief = Device::new("thief");
    // The thief has the asker's rendezvous secret, but not its key.
    let secret = between(&asker.device(), &asked.device());
    thief.grant(&asked, ALL, "**");
    thief.change(|stronghold| {
        let mut peer = stronghold.peers().get(&asked.device()).unwrap().clone();
        peer.rendezvous = Some(secret);
        stronghold.peers_mut().insert(asked.device(), peer);
    });
    let (server, told) = server(&asked, Limits::default());
    let refused = sync_with(&server, &thief, &asked).await;
    assert!(matches!(refused, Err(PeerError::Channel(ChannelError::NotTrusted))), "{refused:?}");
    assert_eq!(told.turned_away(), 1);
}

#[tokio::test]
async fn sessions_are_limited_per_device_and_in_all() {
    let asked = Device::new("asked");
    let askers: Vec<Device> = (0..3).map(|number| Device::new(&format!("asker {number}"))).collect();
    for asker in &askers {
        asked.grant(asker, ALL, "**");
        asker.grant(&asked, ALL, "**");
    }
    let limits = limits(|limits| {
        limits.sessions = 3;
        limits.sessions_per_peer = 2;
    });
    let (server, told) = server(&asked, limits);
    let (address, stop, over) = running(server).await;
    // Open channels without a request count as sessions.
    let held = [connected(address, &askers[0], &asked).await, connected(address, &askers[0], &asked).await];
    told.until_as_many(2, |event| matches!(event, Event::Started(_))).await;
    let sync = |asker: usize| {
        let (askers, asked) = (&askers, &asked);
        async move {
            let peer = connected(address, &askers[asker], asked).await;
            peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await
        }
    };
    assert!(is_busy(&sync(0).await), "the third of this device");
    sync(1).await.unwrap();
    let third = connected(address, &askers[1], &asked).await;
    told.until_as_many(5, |event| matches!(event, Event::Started(_))).await;
    assert!(is_busy(&sync(2).await), "the fourth of all");
    drop((held, third));
    told.until_as_many(5, |event| matches!(event, Event::Failed(..))).await;
    sync(2).await.unwrap();
    sync(0).await.unwrap();
    drop(stop);
    over.await;
}

#[tokio::test]
async fn what_another_process_writes_into_the_snapshot_holds_at_once() {
    let (asker, asked) = (Device::new("asker"), Device::new("asked"));
    asker.grant(&asked, ALL, "**");
    asked.grant(&asker, &[], "**");
    asked.put("a/v/one", "1");
    let (server, _) = server(&asked, Limits::default());
    let denied = sync_with(&server, &asker, &asked).await;
    assert!(matches!(denied, Err(PeerError::Session(SessionError::Refused(Refusal::NotPermitted)))));
    let elsewhere = asked.opened_again();
    let public = asker.home.lock().stronghold().identity().device();
    let grant = stronghold_sync::Rule {
        device: public,
        operations: [Operation::Pull].into(),
        selection: Selection::everything(),
        expires: None,
        ask: false,
    };
    let change = |stronghold: &mut stronghold_vault::Stronghold| {
        stronghold.policy_mut().grant(grant);
        Ok(())
    };
    elsewhere.lock().update(change).unwrap();
    assert_eq!(sync_with(&server, &asker, &asked).await.unwrap().summary.received, 1);
}

#[tokio::test]
async fn a_device_that_is_revoked_loses_its_running_session() {
    let (asker, asked) = friends();
    let (server, told) = server(&asked, Limits::default());
    let (address, stop, over) = running(server).await;
    let peer = connected(address, &asker, &asked).await;
    told.until(|event| matches!(event, Event::Started(_))).await;
    let elsewhere = asked.opened_again();
    let revoke = |stronghold: &mut stronghold_vault::Stronghold| {
        stronghold.revoke(&asker.device(), Timestamp::from_millis(1));
        Ok(())
    };
    elsewhere.lock().update(revoke).unwrap();
    told.until(|event| matches!(event, Event::Failed(_, PeerError::Revoked))).await;
    let refused =
        peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await;
    assert!(refused.is_err(), "{refused:?}");
    // The device is a stranger now: it gets no answer until it is paired again.
    let stream = TcpStream::connect(address).await.unwrap();
    let again = Peer::connect(stream, &asker.home, asked.device()).await;
    assert!(matches!(again, Err(PeerError::Channel(ChannelError::TurnedAway))));
    drop(stop);
    over.await;
}

/// A handler that approves, or never answers.
struct Person(bool);

impl SessionHandler for Person {
    fn approve(&mut self, _: DeviceId, pending: &[Pending]) -> BoxFuture<bool> {
        assert!(!pending.is_empty());
        let answers = self.0;
        Box::pin(async move {
            if !answers {
                std::future::pending::<()>().await;
            }
            true
        })
    }
}

#[tokio::test]
async fn a_person_who_does_not_answer_has_said_no() {
    let (asker, asked) = (Device::new("asker"), Device::new("asked"));
    asker.grant(&asked, ALL, "**");
    asked.grant(&asker, &[], "**");
    asked.change(|stronghold| {
        stronghold.policy_mut().grant(stronghold_sync::Rule {
            device: asker.device(),
            operations: [Operation::Pull].into(),
            selection: Selection::everything(),
            expires: None,
            ask: true,
        });
    });
    asked.put("a/v/one", "1");
    let limits = limits(|limits| limits.approval_timeout = Duration::from_millis(200));
    for (answers, received) in [(false, None), (true, Some(1))] {
        let server = server(&asked, limits.clone()).0.with_handler(move || Person(answers));
        let done = sync_with(&server, &asker, &asked).await;
        match received {
            Some(received) => assert_eq!(done.unwrap().summary.received, received),
            None => {
                assert!(matches!(done, Err(PeerError::Session(SessionError::Refused(Refusal::NotPermitted)))))
            }
        }
    }
}

#[tokio::test]
async fn silence_ends_by_itself_at_each_stage() {
    let (asker, asked) = friends();
    let limits = limits(|limits| {
        limits.handshake_timeout = Duration::from_millis(200);
        limits.idle_timeout = Duration::from_millis(200);
    });
    let (server, told) = server(&asked, limits);
    let (address, stop, over) = running(server).await;
    let silent = TcpStream::connect(address).await.unwrap();
    let peer = connected(address, &asker, &asked).await;
    told.until(|event| matches!(event, Event::Failed(_, PeerError::Channel(ChannelError::TimedOut(_)))))
        .await;
    drop((silent, peer, stop));
    over.await;
    assert_eq!(told.turned_away(), 1);
}

#[tokio::test]
async fn a_session_may_not_last_for_ever() {
    let (asker, asked) = friends();
    let limits = limits(|limits| limits.session_timeout = Duration::from_millis(200));
    let (server, told) = server(&asked, limits);
    let (near, far) = duplex(1 << 20);
    let asking = async {
        let peer = Peer::connect(near, &asker.home, asked.device()).await.unwrap();
        sleep(Duration::from_millis(400)).await;
        peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await
    };
    let (refused, ()) = tokio::join!(asking, server.answer(far));
    assert!(refused.is_err());
    assert_eq!(told.count(|event| matches!(event, Event::Failed(_, PeerError::TooLong(_)))), 1);
}

#[tokio::test]
async fn a_flood_of_silent_connections_keeps_no_peer_out() {
    let (asker, asked) = friends();
    asked.put("a/v/one", "1");
    let (server, _) = server(&asked, limits(|limits| limits.unauthenticated = 16));
    let (address, stop, over) = running(server).await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(TcpStream::connect(address).await.unwrap());
    }
    let peer = connected(address, &asker, &asked).await;
    let outcome = peer
        .sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler)
        .await
        .unwrap();
    assert_eq!(outcome.summary.received, 1);
    drop((stop, flood));
    over.await;
}

/// A handshake that does not end is cut at 16 KiB, whatever its content.
#[tokio::test]
async fn a_handshake_may_not_fill_the_memory() {
    let (near, far) = duplex(1 << 20);
    let identity = stronghold_vault::Identity::generate().unwrap();
    let endless = async {
        let mut near = near;
        // A handshake record of 16 KiB that announces a message of 60,000 bytes, and another.
        let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xea, 0x60];
        record.resize(5 + 0x4000, 0);
        let _ = near.write_all(&record).await;
        let _ = near.write_all(&record).await;
        let mut heard = Vec::new();
        let _ = near.read_to_end(&mut heard).await;
    };
    let trust = stronghold_net::Trust::Anyone;
    let (accepted, ()) = tokio::join!(Channel::accept(far, &identity, trust), endless);
    let expected = ChannelError::Misbehaved(stronghold_net::FrameError::LongHandshake);
    assert_eq!(accepted.unwrap_err(), expected);
}

#[tokio::test]
async fn a_stopped_server_lets_sessions_end_and_then_cuts_them() {
    let (asker, asked) = friends();
    asked.put("a/v/one", "1");
    for (grace, expected) in [(Duration::from_secs(20), true), (Duration::from_millis(50), false)] {
        let (server, told) = server(&asked, limits(|limits| limits.shutdown_grace = grace));
        let (address, stop, over) = running(server).await;
        let peer = connected(address, &asker, &asked).await;
        told.until(|event| matches!(event, Event::Started(_))).await;
        drop(stop);
        let late = async {
            sleep(Duration::from_millis(300)).await;
            peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await
        };
        let (done, ()) = tokio::join!(late, over);
        assert_eq!(done.is_ok(), expected, "{done:?}");
        assert!(TcpStream::connect(address).await.is_err(), "it accepts no more");
    }
}

/// After a command has ended, either file can be copied, moved or inspected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_sync_has_returned_both_files_are_as_it_leaves_them() {
    let (asker, asked) = friends();
    let (server, _) = server(&asked, Limits::default());
    let (address, stop, over) = running(server).await;
    for round in 0..20 {
        asked.put(&format!("a/v/{round}"), "to be taken");
        let peer = connected(address, &asker, &asked).await;
        let request = SyncRequest::new(Selection::everything(), Direction::Default);
        assert_eq!(peer.sync(request, &mut NoHandler).await.unwrap().summary.received, 1);
        let left = (asker.bytes(), asked.bytes());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(left == (asker.bytes(), asked.bytes()), "round {round}");
    }
    drop(stop);
    over.await;
}

/// A device that is refused again and again waits before each handshake; a well-behaved device does
/// not.
#[tokio::test(start_paused = true)]
async fn a_device_whose_sessions_fail_is_served_in_its_turn() {
    let (asked, refused, honest) = (Device::new("asked"), Device::new("refused"), Device::new("honest"));
    for asker in [&refused, &honest] {
        asker.grant(&asked, ALL, "**");
    }
    asked.grant(&refused, &[], "**");
    asked.grant(&honest, ALL, "**");
    let (server, _) = server(&asked, Limits::default());
    let start = tokio::time::Instant::now();
    for _ in 0..20 {
        sync_with(&server, &honest, &asked).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for _ in 0..20 {
        sync_with(&server, &refused, &asked).await.unwrap_err();
    }
    assert!(start.elapsed() >= Duration::from_millis(180), "{:?}", start.elapsed());
}

/// Paired devices hear that it is not ready, others nothing; it is told once, and once when it is
/// ready again.
#[tokio::test]
async fn a_snapshot_that_is_gone_is_told_of_and_a_paired_device_hears_it() {
    let (asker, asked) = friends();
    let (server, told) = server(&asked, Limits::default());
    let (path, away) = (asked.path(), asked.path().with_extension("away"));
    std::fs::rename(&path, &away).unwrap();
    for _ in 0..2 {
        let refused = sync_with(&server, &asker, &asked).await;
        let heard = matches!(refused, Err(PeerError::Session(SessionError::Refused(Refusal::NotReady))));
        assert!(heard, "{refused:?}");
    }
    std::fs::rename(&away, &path).unwrap();
    sync_with(&server, &asker, &asked).await.unwrap();
    let told: Vec<String> = told
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|event| match event {
            Event::NotReady(_) => "not ready".into(),
            Event::Ready => "ready".into(),
            Event::Started(_) => "started".into(),
            Event::Failed(_, PeerError::NotReady(_)) => "failed".into(),
            Event::Done(..) => "done".into(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["not ready", "started", "failed", "started", "failed", "ready", "started", "done"]);
}

#[tokio::test]
async fn a_snapshot_that_is_gone_is_told_of_though_nobody_calls() {
    let (_, asked) = friends();
    let (path, away) = (asked.path(), asked.path().with_extension("away"));
    std::fs::rename(&path, &away).unwrap();
    let (server, told) = server(&asked, Limits::default());
    let (_, stop, ended) = running(server).await;
    told.until(|event| matches!(event, Event::NotReady(_))).await;
    std::fs::rename(&away, &path).unwrap();
    told.until(|event| matches!(event, Event::Ready)).await;
    drop(stop);
    ended.await;
}

/// A change that a session could not write is told of as the snapshot's, until one is written.
#[tokio::test]
async fn a_snapshot_that_can_not_be_written_is_told_of() {
    let (asker, asked) = friends();
    asker.put("a/v/r", "1");
    let (server, told) = server(&asked, Limits::default());
    asked.home.lock().set_lock_wait(Duration::from_millis(10));
    let (mut other, _) = stronghold_snapshot::SnapshotFile::open(
        &asked.path(),
        &stronghold_snapshot::Unlock::Key(&crate::common::KEY),
    )
    .unwrap();
    let locked = other.lock(Duration::ZERO).unwrap();
    sync_with(&server, &asker, &asked).await.unwrap_err();
    assert_eq!(told.count(|event| matches!(event, Event::NotReady(why) if why.contains("in use"))), 1);
    assert_eq!(told.count(|event| matches!(event, Event::Ready)), 0);
    drop(locked);
    sync_with(&server, &asker, &asked).await.unwrap();
    sync_with(&server, &asker, &asked).await.unwrap();
    assert_eq!(told.count(|event| matches!(event, Event::Ready)), 1);
    assert_eq!(asked.entries().len(), 1);
}

/// Who is too long is told so, and what is missing is not held against it.
#[tokio::test]
async fn a_session_that_is_ended_hears_why() {
    let (asker, asked) = friends();
    let limits = limits(|limits| limits.session_timeout = Duration::from_millis(100));
    let (server, _) = server(&asked, limits);
    let (near, far) = duplex(1 << 20);
    let asking = async {
        let mut channel = Peer::connect(near, &asker.home, asked.device()).await.unwrap().into_channel();
        channel.receive::<stronghold_sync::message::Message>().await
    };
    let (heard, ()) = tokio::join!(asking, server.answer(far));
    assert_eq!(heard, Ok(stronghold_sync::message::Message::Refused(Refusal::Stopped)));
}

/// A server that is stopped looks at nothing any more; where nobody was turned away, nothing is
/// said of it.
#[tokio::test]
async fn a_stopped_server_tells_nothing_more() {
    let (asker, asked) = friends();
    let (server, told) = server(&asked, Limits::default());
    let (address, stop, over) = running(server).await;
    let peer = connected(address, &asker, &asked).await;
    peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await.unwrap();
    drop(stop);
    over.await;
    std::fs::remove_file(asked.path()).unwrap();
    sleep(Duration::from_millis(1200)).await;
    let is_of_the_session = |event: &Event| matches!(event, Event::Started(_) | Event::Done(..));
    assert_eq!((told.count(is_of_the_session), told.count(|_| true)), (2, 2));
}

/// The decisions of the last minute are in the file once the server has stopped, although the vault is
/// still open here.
#[tokio::test]
async fn the_log_is_written_before_the_server_ends() {
    let (asker, asked) = friends();
    asked.put("a/v/one", "1");
    let (serving, _) = server(&asked, Limits::default());
    let (address, stop, ended) = running(serving).await;
    for _ in 0..3 {
        let peer = connected(address, &asker, &asked).await;
        peer.sync(SyncRequest::new(Selection::everything(), Direction::Both), &mut NoHandler).await.unwrap();
    }
    asked.change(|stronghold| stronghold.policy_mut().revoke(&asker.device()));
    let peer = connected(address, &asker, &asked).await;
    peer.browse(Selection::everything(), &mut NoHandler).await.unwrap_err();
    stop.send(()).unwrap();
    ended.await;
    let file = asked.opened_again();
    let denied = |home: &stronghold_net::SharedVault| {
        home.lock()
            .stronghold()
            .log()
            .entries()
            .filter(|logged| !logged.allowed)
            .map(|logged| logged.count)
            .sum::<u64>()
    };
    assert_eq!(denied(&file), 1);
    drop(asked);
}
