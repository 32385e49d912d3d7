//! Tests the end of a pairing: both devices saved the peer, or neither did, or a side reports what
//! it can't know; and a stranger's claim ends no pairing.

use std::{cell::Cell, net::SocketAddr};

use stronghold_net::{
    ChannelError, DialError, Invitation, Listener, Pairing, PairingCode, dial_pairing,
    pairing::{Paired, PairingError, PendingPairing, Settled, Unsettled},
};
use stronghold_vault::Identity;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

/// A simulated disk: whether it has the pairing, and whether it is full.
#[derive(Default)]
struct Disk {
    has: Cell<bool>,
    is_full: bool,
}

impl Disk {
    fn full() -> Self {
        Self { is_full: true, ..Self::default() }
    }

    async fn settle(&self, paired: &mut Paired<DuplexStream>) -> Result<Settled, Unsettled<&'static str>> {
        let save = async |_: &Paired<DuplexStream>| match self.is_full {
            true => Err("full"),
            false => {
                self.has.set(true);
                Ok(())
            }
        };
        let take_back = async |()| {
            self.has.set(false);
            Ok(())
        };
        paired.settle(save, take_back).await.map(|((), settled)| settled)
    }
}

/// Creates a joiner and a listener, to whose pairing both persons agreed.
async fn agreed() -> (Paired<DuplexStream>, Paired<DuplexStream>) {
    let (near, far) = duplex(4096);
    let shown = Pairing::new().unwrap();
    let typed = shown.code().reveal().parse().unwrap();
    let [joiner, listener] = [Identity::generate().unwrap(), Identity::generate().unwrap()];
    let confirmed =
        async |met: Result<PendingPairing<DuplexStream>, PairingError>| met.unwrap().confirm().await.unwrap();
    tokio::join!(async { confirmed(Pairing::join(near, &joiner, "phone", typed).await).await }, async {
        confirmed(shown.respond(far, &listener, "laptop").await).await
    },)
}

#[tokio::test]
async fn both_have_it_or_neither() {
    for (at_joiner, at_listener) in [
        (Disk::default(), Disk::default()),
        (Disk::full(), Disk::default()),
        (Disk::default(), Disk::full()),
        (Disk::full(), Disk::full()),
    ] {
        let (mut joiner, mut listener) = agreed().await;
        let (joined, listened) =
            tokio::join!(at_joiner.settle(&mut joiner), at_listener.settle(&mut listener));
        assert_eq!(at_joiner.has.get(), at_listener.has.get());
        match (at_joiner.is_full, at_listener.is_full) {
            (false, false) => {
                assert_eq!((joined.unwrap(), listened.unwrap()), (Settled::Both, Settled::Both));
                assert!(at_joiner.has.get());
            }
            (true, false) => {
                assert!(matches!((joined, listened), (Err(Unsettled::Save("full")), Err(Unsettled::There))));
            }
            // The joiner has not tried.
            (_, true) => {
                assert!(matches!((joined, listened), (Err(Unsettled::There), Err(Unsettled::Save("full")))));
            }
        }
    }
}

/// Cut after the listener saved: it reports that it does not know, and the joiner that it saved
/// nothing.
#[tokio::test]
async fn who_is_cut_off_says_what_it_knows() {
    let (joiner, mut listener) = agreed().await;
    let disk = Disk::default();
    drop(joiner);
    assert!(matches!(disk.settle(&mut listener).await, Ok(Settled::Here(_))));
    assert!(disk.has.get());

    let (mut joiner, listener) = agreed().await;
    let disk = Disk::default();
    drop(listener);
    assert!(matches!(disk.settle(&mut joiner).await, Err(Unsettled::Channel(_))));
    assert!(!disk.has.get());
}

/// Undoing can fail too: then this side reports that it alone has the pairing.
#[tokio::test]
async fn what_can_not_be_taken_back_is_said() {
    let (mut joiner, mut listener) = agreed().await;
    let (full, listened) = (Disk::full(), listener.settle(async |_| Ok(()), async |()| Err("full by now")));
    let (joined, listened) = tokio::join!(full.settle(&mut joiner), listened);
    assert!(matches!(joined, Err(Unsettled::Save("full"))));
    assert!(matches!(listened, Err(Unsettled::TakeBack("full by now"))));
}

async fn listening() -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn copy(code: &PairingCode) -> PairingCode {
    code.reveal().parse().unwrap()
}

async fn joined(code: PairingCode, addresses: Vec<SocketAddr>) -> Result<PendingPairing, DialError> {
    let invitation = Invitation { code, addresses };
    dial_pairing(&invitation, &Identity::generate().unwrap(), "phone", None).await.map(|(met, _)| met)
}

/// At one of the code's addresses a stranger immediately claims that the code is wrong. The joiner
/// still pairs with the listener at the other address.
#[tokio::test]
async fn a_stranger_that_says_that_the_code_is_wrong_ends_no_join() {
    let ((strangers, stranger_at), (listeners, listener_at)) = (listening().await, listening().await);
    let (shown, stranger) = (Pairing::new().unwrap(), Pairing::new().unwrap());
    let code = copy(shown.code());
    let [one, other] = [Identity::generate().unwrap(), Identity::generate().unwrap()];
    let lying = tokio::spawn(async move {
        assert_eq!(stranger.wait(&strangers, &one, "x").await.unwrap_err(), PairingError::WrongCode);
    });
    let listening = tokio::spawn(async move {
        // After the stranger's claim.
        lying.await.unwrap();
        shown.wait(&listeners, &other, "laptop").await.unwrap().0
    });
    let met = joined(code, vec![stranger_at, listener_at]).await.unwrap();
    assert_eq!((met.name(), listening.await.unwrap().name()), ("laptop", "phone"));
}

/// Without another answer, the claim is reported as a claim.
#[tokio::test]
async fn what_a_stranger_says_is_told_as_its_word() {
    let (listener, at) = listening().await;
    let stranger = Pairing::new().unwrap();
    let identity = Identity::generate().unwrap();
    let lying = async { stranger.wait(&listener, &identity, "x").await };
    let code = PairingCode::generate().unwrap();
    let (result, _) = tokio::join!(joined(code, vec![at]), lying);
    let error = result.unwrap_err();
    assert!(matches!(error, DialError::Pairing(PairingError::SaidWrong)), "{error}");
    assert!(!error.to_string().contains("burnt"));
}

/// A listener that only hangs up is no different.
#[tokio::test]
async fn one_who_hangs_up_ends_no_join_either() {
    let ((silent, silent_at), (listeners, listener_at)) = (listening().await, listening().await);
    let shown = Pairing::new().unwrap();
    let code = copy(shown.code());
    let identity = Identity::generate().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = silent.accept().await;
        let _ = stream.read_u8().await;
    });
    let (met, waited) =
        tokio::join!(joined(code, vec![silent_at, listener_at]), shown.wait(&listeners, &identity, "laptop"));
    assert_eq!((met.unwrap().name(), waited.unwrap().0.name()), ("laptop", "phone"));
}

/// Who could not save has said so and hung up; after everything else the channel is there to be
/// used, no longer patient.
#[tokio::test(start_paused = true)]
async fn the_channel_stays_open_where_it_may_be_used() {
    for (at_joiner, at_listener) in
        [(Disk::default(), Disk::default()), (Disk::full(), Disk::default()), (Disk::default(), Disk::full())]
    {
        let (mut joiner, mut listener) = agreed().await;
        let _ = tokio::join!(at_joiner.settle(&mut joiner), at_listener.settle(&mut listener));
        let silence = ChannelError::TimedOut(std::time::Duration::from_secs(30));
        let expected = match (at_joiner.is_full, at_listener.is_full) {
            (false, false) => [silence.clone(), silence],
            _ => [ChannelError::Closed, ChannelError::Closed],
        };
        let (at_joiner, at_listener) =
            tokio::join!(joiner.channel.receive::<bool>(), listener.channel.receive::<bool>());
        assert_eq!([at_joiner.unwrap_err(), at_listener.unwrap_err()], expected);
    }
}
