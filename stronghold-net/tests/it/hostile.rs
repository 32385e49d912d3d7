//! Tests peers that break the protocol, over a real channel and real files: the result is a typed
//! error that names the fault, and files that are unchanged, byte for byte.
//!
//! The list below has the other attacks of a hostile device, and the tests that show that they
//! fail. `attacker.rs` is such a device: paired, past the gate, over a real socket, and free
//! in the messages it sends.
//!
//! Rights and values:
//! - A responder gains nothing; `push` destroys nothing beyond restoring, and its values are not
//!   read in place of local ones; one device does not block another's sync by a record with many
//!   heads; many deletions need the consent of the side that loses them: `guest.rs`, and for each
//!   rule and each kind of history `stronghold-sync/tests/it/session/rules.rs` and
//!   `stronghold-vault/tests/it/retention.rs`.
//! - Refusals and pushes leave undo intact: `guest.rs`, `stronghold-vault/tests/it/undo.rs`. They
//!   write little: `log.rs`.
//! - Entries that no rule covers are not disclosed, neither by the answer nor by the work for it:
//!   `guest.rs`, `stronghold-vault/tests/it/requests.rs`,
//!   `what_is_outside_a_grant_changes_no_byte_of_the_answer` in
//!   `stronghold-cli/tests/it/permission.rs`.
//! - A name that looks like another device's id gains nothing: `stronghold-cli/tests/it/peers.rs`,
//!   `stronghold-vault/tests/it/known.rs`.
//!
//! Memory and time:
//! - Lists, announcements, and slow or stalled batches take no more than a share: `greedy.rs`,
//!   `stronghold-cli/tests/it/flood`.
//! - Syncs without changes do not grow the log: `log.rs`. The longest selection is answered:
//!   `guest.rs`; a long first message is not an endless handshake: `handshake.rs`, the tests of
//!   `ephemeral`.
//!
//! Identities:
//! - An observer, a man in the middle or a thief of a knock identifies and impersonates no device:
//!   `observer.rs`, `between.rs`, the tests of `ephemeral`, `server.rs`.
//! - There is no pairing without both persons: `stronghold-cli/tests/it/terminal.rs` and `pairing.rs`.
//!   A stranger prevents no pairing, and a man in the middle joins none: `settling.rs`,
//!   `pairing.rs`.
//! - Two snapshots of one identity in use are reported, and an honest device never is: `copied.rs`,
//!   in `stronghold-cli/tests` too.
//!
//! The device itself:
//! - A link, a lock or another file in place of one's own: `stronghold-cli/tests/it/place.rs`,
//!   `stronghold-snapshot/tests/it/obstacles.rs`. Another or an older snapshot in place of this one,
//!   and one with an old passphrase: `stronghold-cli/tests/it/rollback.rs`.
//! - A crafted file costs little, and ordinary memory has no key: `stronghold-cli/tests/it/memory.rs`,
//!   `stronghold-vault/tests/it/memory.rs`.
//! - Terminal control characters are shown, not obeyed: `stronghold-cli/tests/it/terminal.rs`,
//!   `names.rs`, `local.rs`.

use crate::{
    common::{Device, channels, friends},
    tampered::Tampered,
};
use std::sync::atomic::Ordering::Relaxed;

use stronghold_net::{
    ChannelError, Direction, FrameError, NoHandler, Outcome, Peer, PeerError, SyncRequest,
    internals::{DriveError, Host, VaultHost, drive, request_of, secret_of},
    now,
};
use stronghold_snapshot::{Manifest, RecipientPublicKey, RecipientSecretKey, seal_complement};
use stronghold_sync::{
    Edition, Selection, Timestamp,
    message::{Batch, Message, Open, RecipientKey, Refusal, Request, Volume},
    session::{
        Event, Initiator, PeerMisbehaved, Push, Responder, SessionError, SessionRequest, Summary,
        SyncOptions, Take, Task, TaskError, TaskResult,
    },
};
use stronghold_vault::Entry;
use tokio::io::DuplexStream;

type Channel = stronghold_net::Channel<DuplexStream>;

fn key(secret: &RecipientSecretKey) -> RecipientKey {
    RecipientKey::new(secret.public().to_bytes()).unwrap()
}

/// Answers as `device`, with its messages tampered with; then hangs up.
async fn answer_badly(
    device: &Device,
    mut channel: Channel,
    tamper: impl FnMut(usize, Message) -> Option<Message> + Send + 'static,
) {
    let secret = RecipientSecretKey::generate().unwrap();
    let policy = device.home.lock().stronghold().policy().clone();
    let mut handler = NoHandler;
    let (peer, binding) = (channel.peer().device(), channel.channel_binding());
    let session = Responder::new(policy, peer, now(), key(&secret), secret_of(&binding));
    let mut host = VaultHost::new(device.home.clone(), &channel, secret, &mut handler);
    let _ = drive(&mut channel, Tampered::new(session, tamper), &mut host).await;
}

async fn sync(device: &Device, channel: Channel) -> Result<Outcome, PeerError> {
    let peer = Peer::from_channel(channel, &device.home);
    peer.sync(SyncRequest::new(Selection::everything(), Direction::Default), &mut NoHandler).await
}

async fn answer(device: &Device, channel: Channel) -> Result<Summary, PeerError> {
    Peer::from_channel(channel, &device.home).answer(&mut NoHandler).await
}

/// Creates two devices, each with entries that the other lacks.
fn devices() -> (Device, Device) {
    let (asker, asked) = friends();
    asker.put("a/v/own", "asker's");
    asked.put_all((0..5).map(|n| (format!("a/v/{n}"), format!("value {n}"))));
    (asker, asked)
}

fn misbehaved(result: Result<Outcome, PeerError>) -> PeerMisbehaved {
    match result {
        Err(PeerError::Session(SessionError::PeerMisbehaved(misbehaviour))) => misbehaviour,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_honest_session_of_the_same_kind_succeeds() {
    let (asker, asked) = devices();
    let (near, far) = channels(&asker, &asked).await;
    let (outcome, ()) =
        tokio::join!(sync(&asker, near), answer_badly(&asked, far, |_, message| Some(message)));
    assert_eq!((outcome.as_ref().unwrap().summary.received, outcome.unwrap().summary.sent), (5, 1));
    assert_eq!(asker.entries(), asked.entries());
}

#[tokio::test]
async fn a_peer_that_hangs_up_after_any_message_leaves_the_old_state_or_the_new() {
    for last in 0.. {
        let (asker, asked) = devices();
        let before = asker.entries();
        let (near, far) = channels(&asker, &asked).await;
        let tamper = move |index, message| (index < last).then_some(message);
        let (result, ()) = tokio::join!(sync(&asker, near), answer_badly(&asked, far, tamper));
        match result {
            Ok(outcome) => {
                assert_eq!(outcome.summary.received, 5);
                assert!(last >= 6, "finished after {last} messages");
                return;
            }
            Err(PeerError::Channel(ChannelError::Cut | ChannelError::Closed)) => {}
            Err(other) => panic!("after {last} messages: {other:?}"),
        }
        let entries = asker.entries();
        assert!(entries == before || entries.len() == 6, "neither old nor new after {last} messages");
        let (near, far) = channels(&asker, &asked).await;
        let again = tokio::join!(sync(&asker, near), answer_badly(&asked, far, |_, m| Some(m)));
        again.0.unwrap();
        assert_eq!(asker.entries(), asked.entries(), "after {last} messages");
    }
}

#[tokio::test]
async fn an_asker_that_hangs_up_after_any_message_leaves_the_old_state_or_the_new() {
    for last in 1.. {
        let (asker, asked) = devices();
        let before = asked.entries();
        let (mut near, far) = channels(&asker, &asked).await;
        let asking = async {
            let secret = RecipientSecretKey::generate().unwrap();
            let selection = Selection::everything();
            let push = asker.home.lock().stronghold().policy().decide(
                &near.peer().device(),
                stronghold_sync::Operation::Pull,
                &selection,
                now(),
            );
            let stronghold_sync::Decision::Allowed(push) = push else { panic!("not allowed") };
            let session = Initiator::new(SessionRequest::Sync(SyncOptions {
                selection,
                take: Some(Take::Everything),
                push: Push::Granted(push),
                names: false,
                key: key(&secret),
                secret: secret_of(&near.channel_binding()),
                pair: None,
            }));
            let mut handler = NoHandler;
            let mut host = VaultHost::new(asker.home.clone(), &near, secret, &mut handler);
            let session = Tampered::new(session, move |index, message| (index < last).then_some(message));
            let sent = session.sent.clone();
            let finished = drive(&mut near, session, &mut host).await;
            let whole = sent.load(Relaxed) <= last;
            drop(near);
            (finished, whole)
        };
        let answering = answer(&asked, far);
        let ((_, whole), answered) = tokio::join!(asking, answering);
        if whole {
            answered.unwrap();
            assert_eq!(asked.entries().len(), 6);
            return;
        }
        match answered {
            Ok(_) | Err(PeerError::Channel(ChannelError::Cut | ChannelError::Closed)) => {}
            Err(other) => panic!("after {last} messages: {other:?}"),
        }
        let entries = asked.entries();
        assert!(entries == before || entries.len() == 6, "neither old nor new after {last} messages");
    }
}

#[tokio::test]
async fn a_message_in_place_of_any_other_is_out_of_order_or_worse_and_nothing_is_kept() {
    let intruders = [
        Message::End,
        Message::DigestEnd,
        Message::Ack(9),
        Message::Chunk(vec![1, 2, 3]),
        Message::Batch(Batch { index: 0, entries: 1, len: u64::MAX }),
        Message::Granted(Volume { entries: u64::MAX, bytes: u64::MAX }),
        Message::Open(Open {
            protocol: 1,
            request: Request::Browse { selection: Selection::everything() },
            edition: Edition::default(),
            pair_key: false,
        }),
    ];
    for intruder in intruders {
        for at in 0..4 {
            let (asker, asked) = devices();
            let before = asker.bytes();
            let (near, far) = channels(&asker, &asked).await;
            let message = intruder.clone();
            let tamper = move |index, honest| Some(if index == at { message.clone() } else { honest });
            let (result, ()) = tokio::join!(sync(&asker, near), answer_badly(&asked, far, tamper));
            misbehaved(result);
            assert_eq!(asker.bytes(), before, "{intruder:?} at {at}");
        }
    }
}

/// A host that seals other entries than requested.
struct Forger<'a, F> {
    host: VaultHost<'a>,
    device: &'a Device,
    forge: F,
    binding: [u8; 32],
    receiver: stronghold_sync::DeviceId,
}

impl<F: Fn(Vec<Entry>) -> Vec<Entry> + Send> Host for Forger<'_, F> {
    async fn notify(&mut self, event: Event) -> Result<(), TaskError> {
        self.host.notify(event).await
    }

    async fn perform(&mut self, task: Task) -> Result<TaskResult, TaskError> {
        let Task::Export(export) = &task else { return self.host.perform(task).await };
        let home = self.device.home.lock();
        let stronghold = home.stronghold();
        let entries = stronghold.export(&export.grant, &export.entries, now()).unwrap();
        let manifest = Manifest {
            sender: stronghold.identity().device(),
            receiver: self.receiver,
            request: request_of(&self.binding),
            index: 0,
        };
        let to = RecipientPublicKey::from_bytes(export.key.as_bytes()).unwrap();
        let forged = (self.forge)(entries);
        Ok(TaskResult::Sealed(seal_complement(&forged, &to, stronghold.identity(), &manifest).unwrap()))
    }
}

async fn sync_with_forger(
    forge: impl Fn(Vec<Entry>) -> Vec<Entry> + Send,
) -> (Device, Vec<(String, String)>, Result<Outcome, PeerError>) {
    let (asker, asked) = devices();
    let before = asker.entries();
    let (near, far) = channels(&asker, &asked).await;
    let (binding, receiver) = (near.channel_binding(), near.own().device());
    let device = &asked;
    let wrap = move |host| Forger { host, device, forge, binding, receiver };
    // The wrapped host borrows from the test, so it is driven here and not spawned.
    let (result, ()) = tokio::join!(sync(&asker, near), async {
        answer_forged(device, far, wrap).await;
    });
    (asker, before, result)
}

async fn answer_forged<'a, H: Host>(
    device: &'a Device,
    mut channel: Channel,
    wrap: impl FnOnce(VaultHost<'a>) -> H,
) {
    let secret = RecipientSecretKey::generate().unwrap();
    let policy = device.home.lock().stronghold().policy().clone();
    let (peer, binding) = (channel.peer().device(), channel.channel_binding());
    let session = Responder::new(policy, peer, now(), key(&secret), secret_of(&binding));
    let handler = Box::leak(Box::new(NoHandler));
    let host = VaultHost::new(device.home.clone(), &channel, secret, handler);
    let _ = drive(&mut channel, session, &mut wrap(host)).await;
}

#[tokio::test]
async fn a_batch_sealed_by_the_book_is_taken() {
    let (asker, before, result) = sync_with_forger(|entries| entries).await;
    result.unwrap();
    assert_ne!(asker.entries(), before);
    assert_eq!(asker.entries().len(), 6);
}

#[tokio::test]
async fn an_unasked_revision_ends_the_session_and_nothing_of_the_batch_is_kept() {
    let (asker, before, result) = sync_with_forger(|mut entries| {
        let mut extra = entries[0].clone();
        extra.location = "a/v/unasked".parse().unwrap();
        entries.push(extra);
        entries
    })
    .await;
    assert_eq!(misbehaved(result), PeerMisbehaved::Unrequested);
    assert_eq!(asker.entries(), before);
}

#[tokio::test]
async fn an_altered_revision_ends_the_session_and_nothing_of_the_batch_is_kept() {
    type Alter = fn(&mut Entry);
    let alterations: [(Alter, PeerMisbehaved); 4] = [
        (|entry| entry.revision.value = b"altered".to_vec().into(), PeerMisbehaved::Unrequested),
        (|entry| entry.revision.time = Timestamp::from_millis(7), PeerMisbehaved::Unrequested),
        (|entry| entry.revision.deleted = true, PeerMisbehaved::OverLimits),
        (|entry| entry.revision.salt[0] ^= 1, PeerMisbehaved::Unrequested),
    ];
    for (alter, found) in alterations {
        let (asker, before, result) = sync_with_forger(move |mut entries| {
            alter(entries.last_mut().unwrap());
            entries
        })
        .await;
        assert_eq!(misbehaved(result), found);
        assert_eq!(asker.entries(), before);
    }
}

#[tokio::test]
async fn every_kind_of_damage_to_a_batch_on_the_wire_is_found() {
    for at in [0, 9, 40, 700, 1500, 2000] {
        let (asker, asked) = devices();
        let before = asker.entries();
        let (near, far) = channels(&asker, &asked).await;
        let tamper = move |_, message| match message {
            Message::Chunk(mut bytes) => {
                let at = at % bytes.len();
                bytes[at] ^= 1;
                Some(Message::Chunk(bytes))
            }
            other => Some(other),
        };
        let (result, ()) = tokio::join!(sync(&asker, near), answer_badly(&asked, far, tamper));
        assert_eq!(misbehaved(result), PeerMisbehaved::BadBatch, "byte {at}");
        assert_eq!(asker.entries(), before);
    }
}

#[tokio::test]
async fn garbage_in_place_of_a_message_is_a_bad_encoding() {
    let (asker, asked) = devices();
    let before = (asker.bytes(), asked.bytes());
    let (near, mut far) = channels(&asker, &asked).await;
    let garbage = async {
        far.feed(&vec![0u64; 100]).await.unwrap();
        far.flush().await.unwrap();
        let _ = far.receive::<Message>().await;
        drop(far);
    };
    let (result, ()) = tokio::join!(sync(&asker, near), garbage);
    assert!(matches!(
        result,
        Err(PeerError::Channel(ChannelError::Misbehaved(
            FrameError::BadEncoding | FrameError::TrailingBytes(_)
        )))
    ));
    let (mut near, far) = channels(&asker, &asked).await;
    near.feed("hello?").await.unwrap();
    near.flush().await.unwrap();
    let answered = answer(&asked, far).await;
    assert!(matches!(answered, Err(PeerError::Channel(ChannelError::Misbehaved(_)))), "{answered:?}");
    assert_eq!((asker.bytes(), asked.bytes()), before);
}

#[tokio::test]
async fn a_newer_protocol_is_incompatible_and_the_asker_is_told() {
    let (asker, asked) = devices();
    let before = (asker.bytes(), asked.bytes());
    let (mut near, far) = channels(&asker, &asked).await;
    let request = Request::Browse { selection: Selection::everything() };
    near.feed(&Message::Open(Open { protocol: 2, request, edition: Edition::default(), pair_key: false }))
        .await
        .unwrap();
    let (answered, told) = tokio::join!(answer(&asked, far), near.receive::<Message>());
    assert!(matches!(
        answered,
        Err(PeerError::Session(SessionError::PeerIncompatible { ours: 1, theirs: 2 }))
    ));
    assert_eq!(told.unwrap(), Message::Refused(Refusal::Version));
    assert_eq!((asker.bytes(), asked.bytes()), before);
}

#[tokio::test]
async fn a_peer_that_wants_what_was_not_offered_gets_nothing() {
    let (asker, asked) = devices();
    let (near, far) = channels(&asker, &asked).await;
    let asking = async {
        let secret = RecipientSecretKey::generate().unwrap();
        let selection = Selection::everything();
        let session = Initiator::new(SessionRequest::Sync(SyncOptions {
            selection,
            take: Some(Take::Everything),
            push: Push::No,
            names: false,
            key: key(&secret),
            secret: secret_of(&near.channel_binding()),
            pair: None,
        }));
        let mut near = near;
        let mut handler = NoHandler;
        let mut host = VaultHost::new(asker.home.clone(), &near, secret, &mut handler);
        let tamper = |_, message| match message {
            Message::Want(_) => Some(Message::Want(vec![99])),
            other => Some(other),
        };
        drive(&mut near, Tampered::new(session, tamper), &mut host).await
    };
    let (asking, answered) = tokio::join!(asking, answer(&asked, far));
    assert!(matches!(
        answered,
        Err(PeerError::Session(SessionError::PeerMisbehaved(PeerMisbehaved::Unrequested)))
    ));
    assert_eq!(asking, Err(DriveError::Session(SessionError::Refused(Refusal::ProtocolError))));
}
