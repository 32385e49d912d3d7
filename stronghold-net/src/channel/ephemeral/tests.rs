//! Tests peers that have a knock, or even the pairing's secret, but are not the paired device.

use stronghold_sync::{
    Edition, Selection,
    message::{Message, Open, PROTOCOL, Request},
};
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::{Channel, ChannelError, Expect, FrameError, Timeouts, Trust};

const NONCE: Nonce = [9; 16];

/// Two paired devices.
struct Pair {
    asker: Identity,
    asked: Identity,
    secret: Rendezvous,
}

impl Pair {
    fn new() -> Self {
        let [asker, asked] = [(); 2].map(|()| Identity::generate().unwrap());
        Self { asker, asked, secret: Rendezvous::from_bytes([5; 32]) }
    }

    fn asking_as(&self, own: &Identity) -> EphemeralIdentities {
        let peer = self.asked.public().clone();
        EphemeralIdentities::new(Role::Connected, &self.secret, &NONCE, own.duplicate(), peer).unwrap()
    }

    fn asked(&self) -> EphemeralIdentities {
        let peer = self.asker.public().clone();
        EphemeralIdentities::new(Role::Accepted, &self.secret, &NONCE, self.asked.duplicate(), peer).unwrap()
    }

    /// Accepts as the responder, and waits for a message.
    async fn accept(&self, io: DuplexStream) -> Result<Message, ChannelError> {
        Channel::accept_covered(io, self.asked(), Timeouts::default()).await?.receive().await
    }

    /// Connects as the initiator, and waits for a message.
    async fn connect(&self, io: DuplexStream) -> Result<Message, ChannelError> {
        let covered = self.asking_as(&self.asker);
        Channel::connect_covered(io, covered, Timeouts::default()).await?.receive().await
    }

    /// Attacks the responder over a channel opened with the secret. Returns the attack's result and
    /// the responder's.
    async fn hostile_asker<T>(
        &self,
        attack: impl AsyncFnOnce(Channel<DuplexStream>) -> T,
    ) -> (T, Result<Message, ChannelError>) {
        let (near, far) = duplex(1 << 16);
        let covered = self.asking_as(&self.asker);
        let attacking = async {
            let expect = Expect::Device(covered.peers_cover);
            attack(Channel::connect(near, &covered.cover, expect).await.unwrap()).await
        };
        tokio::join!(attacking, self.accept(far))
    }

    /// Attacks the initiator in the same way. Returns the initiator's result.
    async fn hostile_asked(
        &self,
        attack: impl AsyncFnOnce(&mut Channel<DuplexStream>),
    ) -> Result<Message, ChannelError> {
        let (near, far) = duplex(1 << 16);
        let covered = self.asked();
        let attacking = async {
            let mut channel = Channel::accept(far, &covered.cover, Trust::Anyone).await.unwrap();
            let _: IdentityProof = channel.receive().await.unwrap();
            attack(&mut channel).await;
            channel.flush().await.unwrap();
            channel
        };
        tokio::join!(self.connect(near), attacking).0
    }
}

fn open() -> Message {
    let request = Request::Browse { selection: Selection::everything() };
    Message::Open(Open { protocol: PROTOCOL, request, edition: Edition::default(), pair_key: false })
}

fn is_misbehaviour(outcome: &Result<Message, ChannelError>) -> bool {
    matches!(outcome, Err(ChannelError::Misbehaved(FrameError::BadEncoding)))
}

#[tokio::test]
async fn the_paired_devices_meet_as_themselves() {
    let pair = Pair::new();
    let (near, far) = duplex(1 << 16);
    let asking = async {
        let covered = pair.asking_as(&pair.asker);
        let mut channel = Channel::connect_covered(near, covered, Timeouts::default()).await.unwrap();
        assert_eq!((channel.own(), channel.peer()), (pair.asker.public(), pair.asked.public()));
        channel.feed(&open()).await.unwrap();
        assert_eq!(channel.receive::<Message>().await.unwrap(), Message::End);
        channel
    };
    let answering = async {
        let mut channel = Channel::accept_covered(far, pair.asked(), Timeouts::default()).await.unwrap();
        assert_eq!((channel.own(), channel.peer()), (pair.asked.public(), pair.asker.public()));
        assert_eq!(channel.receive::<Message>().await.unwrap(), open());
        channel.feed(&Message::End).await.unwrap();
        channel.flush().await.unwrap();
        channel
    };
    let (asking, answering) = tokio::join!(asking, answering);
    assert_eq!(asking.channel_binding(), answering.channel_binding());
}

#[test]
fn a_cover_key_is_of_its_secret_nonce_device_and_part() {
    let devices = [DeviceId::from_bytes([1; 32]), DeviceId::from_bytes([2; 32])];
    let mut seen = std::collections::BTreeSet::new();
    for secret in [[1; 32], [2; 32]].map(Rendezvous::from_bytes) {
        for nonce in [[1; 16], [2; 16]] {
            for device in devices {
                for role in [Role::Connected, Role::Accepted] {
                    let key = || ephemeral_identity(role, &secret, &nonce, &device).unwrap().device();
                    assert_eq!(key(), key());
                    assert!(seen.insert(key()));
                }
            }
        }
    }
}

/// An attacker that overheard a knock has a valid knock, but not the cover key that follows from
/// it.
#[tokio::test]
async fn another_key_in_tls_than_the_cover_is_refused_by_both() {
    let pair = Pair::new();
    let other = Identity::generate().unwrap();
    for shown in [&other, &pair.asker, &pair.asked] {
        let (near, far) = duplex(1 << 16);
        let attacking = async {
            let mut channel = Channel::connect(near, shown, Expect::Anyone).await.unwrap();
            assert!(![pair.asker.public(), pair.asked.public()].contains(&channel.peer()));
            channel.receive::<Message>().await
        };
        let (heard, accepted) = tokio::join!(attacking, pair.accept(far));
        assert_eq!((heard, accepted), (Err(ChannelError::NotTrusted), Err(ChannelError::Stranger)));

        let (near, far) = duplex(1 << 16);
        let attacking = Channel::accept(far, shown, Trust::Anyone);
        let (connected, accepted) = tokio::join!(pair.connect(near), attacking);
        assert_eq!(connected, Err(ChannelError::Stranger));
        assert_eq!(accepted.unwrap_err(), ChannelError::NotTrusted, "and it was shown no key");
    }
}

/// Possession of the secret does not make a device.
#[tokio::test]
async fn another_devices_card_is_refused_by_both() {
    let pair = Pair::new();
    let thief = Identity::generate().unwrap();
    let (near, far) = duplex(1 << 16);
    let attacking = async {
        let covered = pair.asking_as(&thief);
        Channel::connect_covered(near, covered, Timeouts::default()).await?.receive::<Message>().await
    };
    let (heard, accepted) = tokio::join!(attacking, pair.accept(far));
    assert_eq!((heard, accepted), (Err(ChannelError::NotTrusted), Err(ChannelError::WrongCard)));

    let refused = pair.hostile_asked(async |channel| {
        channel.feed(&IdentityProof::new(Role::Accepted, &channel.channel_binding(), &thief)).await.unwrap();
        channel.feed(&Message::End).await.unwrap();
    });
    assert_eq!(refused.await, Err(ChannelError::WrongCard));
}

/// A card is signed for one role in one channel: a card from another channel, a reflected card and
/// one with another device's signature are invalid.
#[tokio::test]
async fn a_card_from_elsewhere_is_refused_by_both() {
    let pair = Pair::new();
    let thief = Identity::generate().unwrap();
    let forged = |role, binding: &[u8; 32], of: &Identity| IdentityProof {
        spki: ByteBuf::from(of.public().spki()),
        signature: IdentityProof::new(role, binding, &thief).signature,
    };
    for kind in 0..5 {
        let card = |role: Role, binding: [u8; 32], own: &Identity, other: &Identity| match kind {
            0 => IdentityProof::new(role, &[7; 32], own),
            1 => IdentityProof::new(role.other(), &binding, own),
            2 => IdentityProof::new(role.other(), &binding, other),
            3 => IdentityProof {
                spki: ByteBuf::from(thief.public().spki()),
                ..IdentityProof::new(role, &binding, own)
            },
            _ => forged(role, &binding, own),
        };
        let (heard, accepted) = pair
            .hostile_asker(async |mut channel| {
                let card = card(Role::Connected, channel.channel_binding(), &pair.asker, &pair.asked);
                channel.feed(&card).await.unwrap();
                channel.feed(&open()).await.unwrap();
                (
                    channel.receive::<Option<IdentityProof>>().await.unwrap().is_none(),
                    channel.receive::<u8>().await,
                )
            })
            .await;
        // The initiator learns that it is not known, and sees no card.
        assert_eq!((heard, accepted), ((true, Err(ChannelError::Closed)), Err(ChannelError::WrongCard)));

        let refused = pair.hostile_asked(async |channel| {
            let card = card(Role::Accepted, channel.channel_binding(), &pair.asked, &pair.asker);
            channel.feed(&card).await.unwrap();
            channel.feed(&Message::End).await.unwrap();
        });
        assert_eq!(refused.await, Err(ChannelError::WrongCard), "{kind}");
    }
}

#[tokio::test]
async fn no_card_and_two_cards_are_misbehaviour() {
    let pair = Pair::new();
    let (heard, accepted) = pair
        .hostile_asker(async |mut channel| {
            channel.feed(&open()).await.unwrap();
            channel.receive::<u8>().await
        })
        .await;
    assert_eq!(heard, Err(ChannelError::Cut), "not a word");
    assert!(is_misbehaviour(&accepted), "{accepted:?}");
    let none = pair.hostile_asked(async |channel| channel.feed(&Message::End).await.unwrap()).await;
    assert!(is_misbehaviour(&none), "{none:?}");

    let (_, twice) = pair
        .hostile_asker(async |mut channel| {
            for _ in 0..2 {
                let card = IdentityProof::new(Role::Connected, &channel.channel_binding(), &pair.asker);
                channel.feed(&card).await.unwrap();
            }
            let _ = channel.receive::<Option<IdentityProof>>().await;
            channel
        })
        .await;
    assert!(is_misbehaviour(&twice), "{twice:?}");
    let twice = pair.hostile_asked(async |channel| {
        for _ in 0..2 {
            let card = IdentityProof::new(Role::Accepted, &channel.channel_binding(), &pair.asked);
            channel.feed(&card).await.unwrap();
        }
    });
    let twice = twice.await;
    assert!(is_misbehaviour(&twice), "{twice:?}");
}

/// Bytes before a card are bounded as those of a handshake, not as a message.
#[tokio::test]
async fn a_card_without_end_is_a_handshake_without_end() {
    let pair = Pair::new();
    let (_, accepted) = pair
        .hostile_asker(async |mut channel| {
            let sent = channel.feed(&vec![7_u8; 60_000]).await;
            let _ = channel.flush().await;
            (sent, channel)
        })
        .await;
    assert_eq!(accepted, Err(FrameError::LongHandshake.into()));
}

/// A message behind the card counts as a message, whatever its length and flight.
#[tokio::test]
async fn a_long_message_behind_the_card_is_taken() {
    let pair = Pair::new();
    for length in [10_000, 16_000, 25_000, 60_000] {
        let message = Message::Chunk(vec![7; length]);
        let (_, accepted) = pair
            .hostile_asker(async |mut channel| {
                let card = IdentityProof::new(Role::Connected, &channel.channel_binding(), &pair.asker);
                channel.feed(&card).await.unwrap();
                channel.feed(&message).await.unwrap();
                channel.flush().await.unwrap();
                channel
            })
            .await;
        assert!(accepted.is_ok_and(|accepted| accepted == message), "{length}");
    }
}

/// A peer with the secret that handshakes but shows no card gets no more time than the handshake.
#[tokio::test(start_paused = true)]
async fn who_shows_no_card_is_cut_when_the_handshakes_time_is_over() {
    let pair = Pair::new();
    let begun = tokio::time::Instant::now();
    let (_, accepted) = pair.hostile_asker(async |channel| channel).await;
    let handshake = Timeouts::default().handshake;
    assert_eq!(
        (accepted, begun.elapsed().as_secs()),
        (Err(ChannelError::TimedOut(handshake)), handshake.as_secs())
    );
}

/// A call that is cancelled between the card and the message loses neither.
#[tokio::test]
async fn a_dropped_receive_loses_no_card() {
    let pair = Pair::new();
    let (near, far) = duplex(1 << 16);
    let (asking, answering) = tokio::join!(
        Channel::connect_covered(near, pair.asking_as(&pair.asker), Timeouts::default()),
        Channel::accept_covered(far, pair.asked(), Timeouts::default()),
    );
    let (mut asking, mut answering) = (asking.unwrap(), answering.unwrap());
    answering.flush().await.unwrap();
    let soon = std::time::Duration::from_millis(20);
    assert!(tokio::time::timeout(soon, asking.receive::<Message>()).await.is_err());
    answering.feed(&Message::End).await.unwrap();
    answering.flush().await.unwrap();
    assert_eq!(asking.receive::<Message>().await, Ok(Message::End));
}
