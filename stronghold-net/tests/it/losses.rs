//! Many deleted, emptied or shortened values stop a session until a person confirms, for every
//! operation.

use crate::common::{Device, channels, friends};
use stronghold_net::{
    Beyond, BoxFuture, Direction, HostError, NoHandler, Peer, PeerError, PlanDecision, SessionHandler,
    SyncRequest,
};
use stronghold_sync::{Plan, Selection, session::SessionError};

/// A way to lose a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Deleted,
    Emptied,
    Shortened,
}

#[derive(Clone, Copy, Debug)]
enum Entrance {
    /// The initiator would lose the values.
    Pull,
    Take,
    Import,
    Fetch,
    /// The responder would lose the values, and the initiator has confirmed.
    Push,
}

/// A handler that proceeds with any plan.
struct Bold;

impl SessionHandler for Bold {
    fn review_plan(&mut self, _: &Plan) -> BoxFuture<PlanDecision> {
        Box::pin(async { PlanDecision::ProceedWithDeletions })
    }
}

/// Creates two devices with the same twenty values, of which the second then loses a number.
async fn after(loss: Loss, lost: usize) -> (Device, Device) {
    let (loser, other) = friends();
    let location = |n: usize| format!("c/v/{n:02}");
    loser.put_all((0..20).map(|n| (location(n), "a value of some length, as a key has it".to_owned())));
    other.put("c/v/other", "1");
    let both = SyncRequest::new(Selection::everything(), Direction::Both);
    let (near, far) = channels(&loser, &other).await;
    let (mut near_by, mut far_off) = (NoHandler, NoHandler);
    let (here, there) = tokio::join!(
        Peer::from_channel(near, &loser.home).sync(both, &mut near_by),
        Peer::from_channel(far, &other.home).answer(&mut far_off),
    );
    assert!(here.is_ok() && there.is_ok());
    match loss {
        Loss::Deleted => (0..lost).for_each(|n| other.remove(&location(n))),
        Loss::Emptied => other.put_all((0..lost).map(|n| (location(n), String::new()))),
        Loss::Shortened => other.put_all((0..lost).map(|n| (location(n), "a value".to_owned()))),
    }
    (loser, other)
}

/// Returns whether the session stopped for a confirmation.
async fn stops(entrance: Entrance, loser: &Device, other: &Device) -> bool {
    let (asker, asked) = match entrance {
        Entrance::Push => (other, loser),
        _ => (loser, other),
    };
    let (near, far) = channels(asker, asked).await;
    let (peer, all) = (Peer::from_channel(near, &asker.home), Selection::everything());
    let (mut shy, mut bold) = (NoHandler, Bold);
    let asking = async {
        match entrance {
            Entrance::Pull => peer.sync(SyncRequest::new(all, Direction::Pull), &mut shy).await,
            Entrance::Take => {
                let take = SyncRequest::new(all, Direction::Pull).beyond(Beyond::Everything);
                peer.sync(take, &mut shy).await
            }
            Entrance::Import => peer.import(all, &mut shy).await,
            Entrance::Fetch => peer.fetch(all, &mut shy).await,
            Entrance::Push => peer.sync(SyncRequest::new(all, Direction::Push), &mut bold).await,
        }
    };
    let mut silent = NoHandler;
    let (asking, answered) = tokio::join!(asking, Peer::from_channel(far, &asked.home).answer(&mut silent));
    let result = if matches!(entrance, Entrance::Push) { answered.map(drop) } else { asking.map(drop) };
    match result {
        Ok(()) => false,
        Err(PeerError::Session(SessionError::Deletions(_)) | PeerError::Host(HostError::Deletions(_))) => {
            true
        }
        Err(error) => panic!("{entrance:?}: {error}"),
    }
}

#[tokio::test]
async fn many_losses_stop_at_every_entrance_and_few_at_none() {
    for entrance in [Entrance::Pull, Entrance::Take, Entrance::Import, Entrance::Fetch, Entrance::Push] {
        for loss in [Loss::Deleted, Loss::Emptied, Loss::Shortened] {
            if matches!((entrance, loss), (Entrance::Fetch, Loss::Deleted)) {
                continue; // a fetch brings values alone
            }
            let (loser, other) = after(loss, 11).await;
            let before = (loser.entries(), other.entries());
            assert!(stops(entrance, &loser, &other).await, "{entrance:?}, {loss:?}");
            assert!(
                before == (loser.entries(), other.entries()),
                "{entrance:?}, {loss:?}: something changed"
            );
            let (loser, other) = after(loss, 10).await;
            assert!(!stops(entrance, &loser, &other).await, "{entrance:?}, {loss:?}: ten are not many");
            assert_eq!(loser.entries(), other.entries(), "{entrance:?}, {loss:?}");
        }
    }
}
