//! Pairing: the right code once, a wrong code never, and nobody in between.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic: that is the report")]

use serde_bytes::ByteBuf;
use stronghold_net::{
    Channel, ChannelError, Expect, Misbehaved, PairingCode, Trust,
    pairing::{Knock, MAX_NAME, Paired, PairingError, join},
};
use stronghold_vault::Identity;
use tokio::io::{DuplexStream, duplex};

type Outcome = Result<Paired<DuplexStream>, PairingError>;
/// An introduction as it is on the wire: proof and name.
type Introduction = (ByteBuf, String);

fn device() -> Identity {
    Identity::generate().unwrap()
}

/// A code and its copy on the other screen.
fn codes() -> (PairingCode, PairingCode) {
    let code = PairingCode::generate().unwrap();
    let copy = code.reveal().parse().unwrap();
    (code, copy)
}

async fn strangers(joiner: &Identity, listener: &Identity) -> (Channel<DuplexStream>, Channel<DuplexStream>) {
    let (near, far) = duplex(4096);
    let (near, far) = tokio::join!(
        Channel::connect(near, joiner, Expect::Anyone),
        Channel::accept(far, listener, Trust::Anyone),
    );
    (near.unwrap(), far.unwrap())
}

async fn listen(channel: Channel<DuplexStream>, code: PairingCode, name: &str) -> Outcome {
    Knock::receive(channel).await?.answer(code, name).await
}

async fn pair(shown: PairingCode, typed: PairingCode) -> (Outcome, Outcome) {
    let (near, far) = strangers(&device(), &device()).await;
    tokio::join!(join(near, typed, "phone"), listen(far, shown, "laptop"))
}

#[tokio::test]
async fn the_same_code_pairs_and_leaves_a_channel_to_use() {
    let (joiner, listener) = (device(), device());
    let (near, far) = strangers(&joiner, &listener).await;
    let (shown, typed) = codes();
    let (joined, listened) = tokio::join!(join(near, typed, "phone"), listen(far, shown, "laptop"));
    let (mut joined, mut listened) = (joined.unwrap(), listened.unwrap());
    assert_eq!((&joined.peer, joined.name.as_str()), (listener.public(), "laptop"));
    assert_eq!((&listened.peer, listened.name.as_str()), (joiner.public(), "phone"));

    joined.channel.send("all of it, please").await.unwrap();
    joined.channel.flush().await.unwrap();
    assert_eq!(listened.channel.receive::<String>().await.unwrap(), "all of it, please");
}

#[tokio::test]
async fn a_wrong_code_is_told_to_both() {
    let (joined, listened) = pair(PairingCode::generate().unwrap(), PairingCode::generate().unwrap()).await;
    assert_eq!(joined.unwrap_err(), PairingError::WrongCode);
    assert_eq!(listened.unwrap_err(), PairingError::WrongCode);
}

#[tokio::test]
async fn every_wrong_character_is_a_wrong_code() {
    for place in 0..16 {
        let (shown, _) = codes();
        let mut text: Vec<char> = shown.reveal().chars().filter(|c| *c != '-').collect();
        text[place] = if text[place] == '7' { '8' } else { '7' };
        let typed = text.into_iter().collect::<String>().parse().unwrap();
        let (joined, listened) = pair(shown, typed).await;
        assert_eq!(joined.unwrap_err(), PairingError::WrongCode);
        assert_eq!(listened.unwrap_err(), PairingError::WrongCode);
    }
}

/// Two people, one code, and someone who terminates both channels and passes every message on.
#[tokio::test]
async fn someone_in_between_is_found_out() {
    let (near, mut to_joiner) = strangers(&device(), &device()).await;
    let (mut to_listener, far) = strangers(&device(), &device()).await;
    let (shown, typed) = codes();
    let relay = async {
        let knock: Introduction = to_joiner.receive().await.unwrap();
        to_listener.send(&knock).await.unwrap();
        let answer: Option<Introduction> = to_listener.receive().await.unwrap();
        to_joiner.send(&answer).await.unwrap();
        to_joiner.flush().await.unwrap();
        answer
    };
    let (joined, listened, answer) =
        tokio::join!(join(near, typed, "phone"), listen(far, shown, "laptop"), relay);
    assert_eq!(joined.unwrap_err(), PairingError::WrongCode);
    assert_eq!(listened.unwrap_err(), PairingError::WrongCode);
    assert!(answer.is_none());
}

/// The same two devices, but another channel: what was proved on one is not proved on the other.
#[tokio::test]
async fn a_proof_is_good_on_its_own_channel_only() {
    let (joiner, listener) = (device(), device());
    let (shown, typed) = codes();
    let (near, mut far) = strangers(&joiner, &listener).await;
    let capture = async {
        let knock: Introduction = far.receive().await.unwrap();
        drop(far);
        knock
    };
    let (_joined, knock) = tokio::join!(join(near, typed, "phone"), capture);

    let (mut near, far) = strangers(&joiner, &listener).await;
    near.send(&knock).await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(listen(far, shown, "laptop").await.unwrap_err(), PairingError::WrongCode);
}

#[tokio::test]
async fn a_listener_that_does_not_know_the_code_is_not_believed() {
    for reflect in [true, false] {
        let (near, mut far) = strangers(&device(), &device()).await;
        let impostor = async {
            let (proof, name): Introduction = far.receive().await.unwrap();
            let proof = if reflect { proof } else { ByteBuf::from([0; 32]) };
            far.send(&Some((proof, name))).await.unwrap();
            far.receive::<()>().await
        };
        let code = PairingCode::generate().unwrap();
        let (joined, impostor) = tokio::join!(join(near, code, "phone"), impostor);
        assert_eq!(joined.unwrap_err(), PairingError::Impostor);
        assert_eq!(impostor.unwrap_err(), ChannelError::Cut);
    }
}

#[tokio::test]
async fn a_name_that_was_not_proved_is_not_believed() {
    let (near, mut to_joiner) = strangers(&device(), &device()).await;
    let typed = PairingCode::generate().unwrap();
    let renaming = async {
        let (proof, name): Introduction = to_joiner.receive().await.unwrap();
        to_joiner.send(&Some((proof, name + "!"))).await.unwrap();
        to_joiner.close().await.unwrap();
    };
    let (joined, ()) = tokio::join!(join(near, typed, "phone"), renaming);
    assert_eq!(joined.unwrap_err(), PairingError::Impostor);
}

/// The code is still in the listener's hand after each of these: nothing reached `answer`.
#[tokio::test]
async fn garbage_before_a_proof_burns_nothing() {
    let (shown, typed) = codes();
    let listener = device();

    let (near, far) = strangers(&device(), &listener).await;
    drop(near);
    assert_eq!(Knock::receive(far).await.unwrap_err(), ChannelError::Cut);

    let (mut near, far) = strangers(&device(), &listener).await;
    near.close().await.unwrap();
    assert_eq!(Knock::receive(far).await.unwrap_err(), ChannelError::Closed);

    for proof in [&b""[..], &[0; 31], &[0; 33]] {
        let (mut near, far) = strangers(&device(), &listener).await;
        near.send(&(ByteBuf::from(proof), "phone")).await.unwrap();
        near.flush().await.unwrap();
        assert_eq!(Knock::receive(far).await.unwrap_err(), Misbehaved::BadEncoding.into());
    }

    let (near, far) = strangers(&device(), &listener).await;
    let (joined, listened) = tokio::join!(join(near, typed, "phone"), listen(far, shown, "laptop"));
    assert!(joined.is_ok() && listened.is_ok());
}

#[tokio::test]
async fn a_joiner_that_vanishes_before_the_end_is_not_paired() {
    let (mut near, far) = strangers(&device(), &device()).await;
    let (shown, _) = codes();
    near.send(&(ByteBuf::from([0; 32]), "phone")).await.unwrap();
    near.flush().await.unwrap();
    drop(near);
    assert!(listen(far, shown, "laptop").await.is_err());
}

#[tokio::test]
async fn names_have_1_to_64_characters() {
    let longest = "\u{e9}".repeat(MAX_NAME);
    let (near, far) = strangers(&device(), &device()).await;
    let (shown, typed) = codes();
    let (joined, listened) = tokio::join!(join(near, typed, &longest), listen(far, shown, "l"));
    joined.unwrap();
    assert_eq!(listened.unwrap().name, longest);

    for name in ["", &format!("{longest}x")] {
        let (near, far) = strangers(&device(), &device()).await;
        let (shown, typed) = codes();
        let (joined, listened) = tokio::join!(join(near, typed, name), listen(far, shown, "l"));
        assert_eq!(joined.unwrap_err(), PairingError::BadName);
        assert_eq!(listened.unwrap_err(), ChannelError::Cut.into());
    }
}

#[tokio::test]
async fn a_device_is_not_paired_with_itself() {
    let only = device();
    let (near, far) = strangers(&only, &only).await;
    let (shown, typed) = codes();
    let (joined, listened) = tokio::join!(join(near, typed, "me"), listen(far, shown, "me"));
    assert_eq!(joined.unwrap_err(), PairingError::Itself);
    assert_eq!(listened.unwrap_err(), ChannelError::Cut.into());
}
