//! Tests pairing: the right code works once, a wrong code never; a man in the middle fails, and
//! peers without the code learn nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stronghold_net::{
    Channel, ChannelError, Expect, FrameError, Listener, Pairing, PairingCode, Trust,
    pairing::{CODE_LIFE, MAX_NAME, Paired, PairingError, PendingPairing, Unsettled},
};
use stronghold_vault::{Identity, Stronghold};
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
};

type Outcome = Result<Paired<DuplexStream>, PairingError>;

/// The listener's answer as on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Answer {
    Welcome(ByteBuf, Card),
    WrongCode,
    Expired,
}

/// A card as on the wire: key, name, signature.
type Card = (ByteBuf, String, ByteBuf);

fn device() -> Identity {
    Identity::generate().unwrap()
}

/// Creates a pairing, and its code as typed on the other screen.
fn codes() -> (Pairing, PairingCode) {
    let shown = Pairing::new().unwrap();
    let typed = shown.code().reveal().parse().unwrap();
    (shown, typed)
}

fn wrong_code() -> PairingCode {
    PairingCode::generate().unwrap()
}

async fn met(met: Result<PendingPairing<DuplexStream>, PairingError>) -> Outcome {
    met?.confirm().await
}

async fn listen(io: DuplexStream, shown: Pairing, identity: &Identity, name: &str) -> Outcome {
    met(shown.respond(io, identity, name).await).await
}

async fn join(io: DuplexStream, typed: PairingCode, identity: &Identity, name: &str) -> Outcome {
    met(Pairing::join(io, identity, name, typed).await).await
}

async fn pair(shown: Pairing, typed: PairingCode) -> (Outcome, Outcome) {
    let (near, far) = duplex(4096);
    let (joiner, listener) = (device(), device());
    tokio::join!(join(near, typed, &joiner, "phone"), listen(far, shown, &listener, "laptop"))
}

/// Opens a channel to a joiner, in the listener's place.
async fn in_place_of_the_listener(io: DuplexStream) -> Channel<DuplexStream> {
    Channel::accept(io, &device(), Trust::Anyone).await.unwrap()
}

/// Opens a channel to a listener, in the joiner's place.
async fn in_place_of_the_joiner(io: DuplexStream) -> Channel<DuplexStream> {
    Channel::connect(io, &device(), Expect::Anyone).await.unwrap()
}

#[tokio::test]
async fn the_same_code_pairs_and_leaves_a_channel_to_use() {
    let (joiner, listener) = (device(), device());
    let (near, far) = duplex(4096);
    let (shown, typed) = codes();
    let (joined, listened) =
        tokio::join!(join(near, typed, &joiner, "phone"), listen(far, shown, &listener, "laptop"));
    let (mut joined, mut listened) = (joined.unwrap(), listened.unwrap());
    assert_eq!((&joined.peer, joined.name.as_str()), (listener.public(), "laptop"));
    assert_eq!((&listened.peer, listened.name.as_str()), (joiner.public(), "phone"));
    assert_eq!(joined.rendezvous, listened.rendezvous);
    assert_eq!((joined.channel.own(), joined.channel.peer()), (joiner.public(), listener.public()));

    joined.channel.feed("all of it, please").await.unwrap();
    joined.channel.flush().await.unwrap();
    assert_eq!(listened.channel.receive::<String>().await.unwrap(), "all of it, please");
}

#[tokio::test]
async fn each_pairing_has_a_rendezvous_of_its_own() {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (shown, typed) = codes();
        let (joined, listened) = pair(shown, typed).await;
        let rendezvous = joined.unwrap().rendezvous;
        assert_eq!(rendezvous, listened.unwrap().rendezvous);
        assert!(!seen.contains(&rendezvous));
        seen.push(rendezvous);
    }
}

#[tokio::test]
async fn a_wrong_code_is_told_to_both() {
    for _ in 0..20 {
        let (joined, listened) = pair(codes().0, wrong_code()).await;
        assert_eq!(joined.unwrap_err(), PairingError::SaidWrong);
        assert_eq!(listened.unwrap_err(), PairingError::WrongCode);
    }
}

/// Runs as many real tries as requested: `STRONGHOLD_EFFORT=codes=100000`.
#[tokio::test]
#[ignore = "a hundred thousand handshakes take minutes: `cargo xtask soak codes`"]
async fn no_wrong_code_is_accepted_and_each_costs_a_new_one() {
    let tries = crate::effort::count("codes", 100_000);
    for _ in 0..tries {
        let (joined, listened) = pair(codes().0, wrong_code()).await;
        assert_eq!(joined.unwrap_err(), PairingError::SaidWrong);
        assert_eq!(listened.unwrap_err(), PairingError::WrongCode);
    }
}

/// Two persons, one code, and an attacker who terminates both channels and relays every message.
#[tokio::test]
async fn someone_in_between_is_found_out() {
    let ((near, left), (right, far)) = (duplex(4096), duplex(4096));
    let (shown, typed) = codes();
    let relay = async {
        let mut to_joiner = in_place_of_the_listener(left).await;
        let mut to_listener = in_place_of_the_joiner(right).await;
        let proof: ByteBuf = to_joiner.receive().await.unwrap();
        to_listener.feed(&proof).await.unwrap();
        let answer: Answer = to_listener.receive().await.unwrap();
        to_joiner.feed(&answer).await.unwrap();
        to_joiner.flush().await.unwrap();
        answer
    };
    let (joiner, listener) = (device(), device());
    let (joined, listened, answer) =
        tokio::join!(join(near, typed, &joiner, "phone"), listen(far, shown, &listener, "laptop"), relay);
    assert_eq!(joined.unwrap_err(), PairingError::SaidWrong);
    assert_eq!(listened.unwrap_err(), PairingError::WrongCode);
    assert!(matches!(answer, Answer::WrongCode), "it is shown no card");
}

/// A proof of one channel is invalid in another one, even with the same code and devices.
#[tokio::test]
async fn a_proof_is_good_on_its_own_channel_only() {
    let (shown, typed) = codes();
    let (near, far) = duplex(4096);
    let capture = async {
        let mut channel = in_place_of_the_listener(far).await;
        channel.receive::<ByteBuf>().await.unwrap()
    };
    let joiner = device();
    let (_joined, proof) = tokio::join!(join(near, typed, &joiner, "phone"), capture);

    let (near, far) = duplex(4096);
    let replay = async {
        let mut channel = in_place_of_the_joiner(near).await;
        channel.feed(&proof).await.unwrap();
        channel.receive::<Answer>().await.unwrap()
    };
    let listener = device();
    let (listened, answer) = tokio::join!(listen(far, shown, &listener, "laptop"), replay);
    assert_eq!(listened.unwrap_err(), PairingError::WrongCode);
    assert!(matches!(answer, Answer::WrongCode));
}

#[tokio::test]
async fn a_listener_that_does_not_know_the_code_is_not_believed() {
    for reflect in [true, false] {
        let (near, far) = duplex(4096);
        let impostor = async {
            let mut channel = in_place_of_the_listener(far).await;
            let proof: ByteBuf = channel.receive().await.unwrap();
            let proof = if reflect { proof } else { ByteBuf::from([0; 32]) };
            let card = (ByteBuf::from(device().public().spki()), "laptop".into(), ByteBuf::from([0; 64]));
            channel.feed(&Answer::Welcome(proof, card)).await.unwrap();
            channel.receive::<Card>().await
        };
        let joiner = device();
        let (joined, impostor) = tokio::join!(join(near, wrong_code(), &joiner, "phone"), impostor);
        assert_eq!(joined.unwrap_err(), PairingError::Impostor);
        assert_eq!(impostor.unwrap_err(), ChannelError::Cut, "it is shown no card");
    }
}

#[tokio::test]
async fn either_person_may_say_no() {
    for joiner_declines in [true, false] {
        let (near, far) = duplex(4096);
        let (shown, typed) = codes();
        let (joiner, listener) = (device(), device());
        let say = |met: PendingPairing<DuplexStream>, declines: bool| async move {
            if declines {
                met.decline().await;
                return Err(PairingError::Declined);
            }
            met.confirm().await
        };
        let joining =
            async { say(Pairing::join(near, &joiner, "phone", typed).await?, joiner_declines).await };
        let listening = async { say(shown.respond(far, &listener, "laptop").await?, !joiner_declines).await };
        let (joined, listened): (Outcome, Outcome) = tokio::join!(joining, listening);
        assert_eq!(joined.unwrap_err(), PairingError::Declined);
        assert_eq!(listened.unwrap_err(), PairingError::Declined);
    }
}

#[tokio::test]
async fn an_expired_code_is_told_from_a_wrong_one() {
    let shown = Pairing::with_lifetime(Duration::ZERO).unwrap();
    let typed = shown.code().reveal().parse().unwrap();
    let (joined, listened) = pair(shown, typed).await;
    assert_eq!(joined.unwrap_err(), PairingError::SaidExpired);
    assert_eq!(listened.unwrap_err(), PairingError::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_code_that_nobody_uses_expires_in_ten_minutes() {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let start = tokio::time::Instant::now();
    let waited = codes().0.wait(&listener, &device(), "laptop").await;
    assert_eq!(waited.unwrap_err(), PairingError::Expired);
    assert!((CODE_LIFE..CODE_LIFE + Duration::from_secs(1)).contains(&start.elapsed()));
}

/// The open port shows no device: the key in the handshake is made for this pairing only.
#[tokio::test]
async fn whoever_connects_to_a_pairing_sees_no_device() {
    let listener = device();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let (near, far) = duplex(4096);
        let probing = async { in_place_of_the_joiner(near).await.peer().device() };
        let (probed, listened) = tokio::join!(probing, codes().0.respond(far, &listener, "laptop"));
        assert!(listened.is_err());
        keys.push(probed);
    }
    assert!(keys[0] != keys[1] && !keys.contains(&listener.device()));
}

#[tokio::test]
async fn silent_and_loud_strangers_burn_nothing_and_keep_nobody_out() {
    let socket = Listener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (shown, typed) = codes();
    let (joiner, listener) = (device(), device());
    let strangers = async {
        let mut silent = Vec::new();
        for number in 0..100u8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if number % 3 == 0 {
                stream.write_all(&[number; 500]).await.unwrap();
            }
            if number % 10 == 0 {
                // A handshake, and then no proof, or one of another length.
                let mut channel = Channel::connect(stream, &device(), Expect::Anyone).await;
                if let Ok(channel) = &mut channel {
                    let _ = channel.feed(&ByteBuf::from(vec![0; usize::from(number % 20) + 20])).await;
                    let _ = channel.flush().await;
                }
                drop(channel);
            } else {
                silent.push(stream);
            }
        }
        let stream = TcpStream::connect(address).await.unwrap();
        let met = Pairing::join(stream, &joiner, "phone", typed).await.unwrap();
        drop(silent);
        met.confirm().await.unwrap()
    };
    let waiting = async {
        let (met, _) = shown.wait(&socket, &listener, "laptop").await.unwrap();
        met.confirm().await.unwrap()
    };
    let (listened, joined) = tokio::join!(waiting, strangers);
    assert_eq!((&joined.peer, &listened.peer), (listener.public(), joiner.public()));
}

#[tokio::test]
async fn a_joiner_that_vanishes_before_the_end_is_not_paired() {
    let (near, far) = duplex(4096);
    let (shown, typed) = codes();
    let (joiner, listener) = (device(), device());
    let vanishing = async { drop(Pairing::join(near, &joiner, "phone", typed).await.unwrap()) };
    let (listened, ()) = tokio::join!(listen(far, shown, &listener, "laptop"), vanishing);
    assert_eq!(listened.unwrap_err(), ChannelError::Cut.into());
}

#[tokio::test]
async fn names_have_1_to_64_characters() {
    let longest = "\u{e9}".repeat(MAX_NAME);
    let (near, far) = duplex(4096);
    let (shown, typed) = codes();
    let (joiner, listener) = (device(), device());
    let (joined, listened) =
        tokio::join!(join(near, typed, &joiner, &longest), listen(far, shown, &listener, "l"));
    drop(joined.unwrap());
    assert_eq!(listened.unwrap().name, longest);

    for name in ["", &format!("{longest}x")] {
        let (near, far) = duplex(4096);
        let (shown, typed) = codes();
        let (joined, listened) =
            tokio::join!(join(near, typed, &joiner, name), listen(far, shown, &listener, "l"));
        assert_eq!(joined.unwrap_err(), PairingError::BadName);
        assert!(matches!(listened.unwrap_err(), PairingError::Channel(_)));
    }
}

/// A listener of no name shows itself to nobody, whatever the joiner proves.
#[tokio::test]
async fn a_listener_has_a_name_too() {
    let (near, far) = duplex(4096);
    let (shown, typed) = codes();
    let (joiner, listener) = (device(), device());
    let (joined, listened) =
        tokio::join!(join(near, typed, &joiner, "phone"), listen(far, shown, &listener, "a\nb"));
    assert_eq!(listened.unwrap_err(), PairingError::BadName);
    assert_eq!(joined.unwrap_err(), PairingError::Channel(ChannelError::Cut));
}

#[tokio::test]
async fn a_device_is_not_paired_with_itself() {
    let only = device();
    let (near, far) = duplex(4096);
    let (shown, typed) = codes();
    let (joined, listened) = tokio::join!(join(near, typed, &only, "me"), listen(far, shown, &only, "me"));
    assert_eq!(joined.unwrap_err(), PairingError::Itself);
    assert!(matches!(listened.unwrap_err(), PairingError::Itself | PairingError::Channel(_)));
}

#[tokio::test]
async fn a_proof_of_another_length_is_no_try() {
    for length in [0, 31, 33] {
        let (near, far) = duplex(4096);
        let garbage = async {
            let mut channel = in_place_of_the_joiner(near).await;
            channel.feed(&ByteBuf::from(vec![0; length])).await.unwrap();
            channel.flush().await.unwrap();
            let _ = channel.receive::<Answer>().await;
        };
        let listener = device();
        let (listened, ()) = tokio::join!(listen(far, codes().0, &listener, "laptop"), garbage);
        assert_eq!(listened.unwrap_err(), ChannelError::from(FrameError::BadEncoding).into());
    }
}

/// Two devices whose persons have agreed.
async fn agreed(name: &str) -> (Paired<DuplexStream>, Paired<DuplexStream>) {
    let (near, far) = duplex(4096);
    let (shown, typed) = codes();
    let (joiner, listener) = (device(), device());
    let (joined, listened) =
        tokio::join!(join(near, typed, &joiner, name), listen(far, shown, &listener, "laptop"));
    (joined.unwrap(), listened.unwrap())
}

/// Under the name that is said, or its own, or one that no other device has; with all that the two
/// need to meet again.
#[tokio::test]
async fn a_paired_device_is_remembered_under_a_name_of_its_own() {
    let mut stronghold = Stronghold::new("own").unwrap();
    let (mut names, before) = (Vec::new(), stronghold_net::now());
    for (said, address) in [(None, None), (Some("work"), Some("192.0.2.7:4747")), (None, None)] {
        let (_, listened) = agreed("phone").await;
        let address = address.map(str::to_owned);
        let name = listened.save_in(&mut stronghold, said, address.clone());
        let peer = stronghold.peers().get(&listened.peer.device()).unwrap().clone();
        assert!((before..=stronghold_net::now()).contains(&peer.paired));
        let expected = stronghold_vault::Peer {
            name: name.clone(),
            own_name: "phone".into(),
            spki: listened.peer.spki().to_vec(),
            address,
            paired: peer.paired,
            generation: 0,
            rendezvous: Some(listened.rendezvous.clone()),
        };
        assert_eq!(peer, expected);
        names.push(name);
        // Once more, it is updated.
        assert_eq!(listened.save_in(&mut stronghold, said, None), names[names.len() - 1]);
    }
    assert_eq!(names[..2], ["phone", "work"]);
    assert!(names[2].starts_with("phone") && names[2] != "phone", "{names:?}");
    assert_eq!(stronghold.peers().iter().count(), 3);
}

/// A person has two minutes; when both have said yes, a message has as long as any.
#[tokio::test(start_paused = true)]
async fn a_pairing_waits_for_persons_and_its_channel_no_longer() {
    let (near, far) = duplex(4096);
    let (shown, typed) = codes();
    let (joiner, listener) = (device(), device());
    let (joined, listened) =
        tokio::join!(Pairing::join(near, &joiner, "phone", typed), shown.respond(far, &listener, "laptop"),);
    let (joined, listened) = (joined.unwrap(), listened.unwrap());
    let late = async {
        tokio::time::sleep(Duration::from_secs(119)).await;
        listened.confirm().await
    };
    let (joined, listened) = tokio::join!(joined.confirm(), late);
    let (mut joined, _listened) = (joined.unwrap(), listened.unwrap());
    let silent = joined.channel.receive::<u8>().await;
    assert_eq!(silent.unwrap_err(), ChannelError::TimedOut(Duration::from_secs(30)));

    let (mut joined, listened) = agreed("phone").await;
    let saving = joined.settle(async |_| Ok::<_, ()>(()), async |()| Ok(()));
    let Err(Unsettled::Channel(silent)) = saving.await else { panic!("it settled") };
    assert_eq!(silent, ChannelError::TimedOut(Duration::from_secs(120)), "another process may be writing");
    drop(listened);
}

/// A no is heard before the yes is said, and who says it stays a moment to be heard.
#[tokio::test(start_paused = true)]
async fn a_no_is_heard_and_ends_the_channel() {
    let (near, far) = duplex(4096);
    let (shown, typed) = codes();
    let (joiner, listener) = (device(), device());
    let listening = async { shown.respond(far, &listener, "laptop").await.unwrap().decline().await };
    let joining = async {
        let met = Pairing::join(near, &joiner, "phone", typed).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        met.confirm().await
    };
    let start = tokio::time::Instant::now();
    let (joined, ()) = tokio::join!(joining, listening);
    assert_eq!(joined.unwrap_err(), PairingError::Declined);
    assert_eq!(start.elapsed(), Duration::from_millis(500), "it need not wait any longer");
}
