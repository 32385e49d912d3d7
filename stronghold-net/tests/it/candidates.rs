//! Devices that have synchronised before name the records that have changed since, and compare
//! these alone.

use stronghold_net::{Direction, NoHandler, Peer, SyncRequest};
use stronghold_sync::{
    Edition, Location, LocationId, Selection,
    message::{Agreed, Message, Open, PROTOCOL, RecordList, Request},
    reconcile::{Digest, SetDigest},
};

use crate::common::{Device, channels, friends};

fn everything() -> Selection {
    Selection::everything()
}

fn id(location: &str) -> LocationId {
    location.parse::<Location>().unwrap().id()
}

fn request() -> SyncRequest {
    SyncRequest::new(everything(), Direction::Default)
}

/// Returns two devices that hold the same fifty records, and have told each other.
async fn level_devices() -> (Device, Device) {
    let (asker, asked) = friends();
    asked.put_all((0..50).map(|n| (format!("a/v/record-{n}"), "1".to_owned())));
    let (near, far) = channels(&asker, &asked).await;
    let mut handlers = (NoHandler, NoHandler);
    let (outcome, answered) = tokio::join!(
        Peer::from_channel(near, &asker.home).sync(request(), &mut handlers.0),
        Peer::from_channel(far, &asked.home).answer(&mut handlers.1),
    );
    answered.unwrap();
    assert_eq!(outcome.unwrap().summary.received, 50);
    (asker, asked)
}

#[tokio::test]
async fn a_responder_names_the_records_that_changed_since_the_last_sync() {
    let (asker, asked) = level_devices().await;
    for changed in [&[][..], &["a/v/record-7"], &["a/v/record-7", "a/v/new"]] {
        changed.iter().for_each(|location| asked.put(location, "2"));
        let (mut near, far) = channels(&asker, &asked).await;
        let listening = async {
            let selection = everything();
            near.feed(&Message::Open(Open {
                protocol: PROTOCOL,
                request: Request::Sync { selection, pull: true, push: true },
                edition: Edition::default(),
                pair_key: false,
            }))
            .await
            .unwrap();
            near.flush().await.unwrap();
            let agreed = near.receive().await.unwrap();
            drop(near);
            agreed
        };
        let mut handler = NoHandler;
        let (heard, _) = tokio::join!(listening, Peer::from_channel(far, &asked.home).answer(&mut handler));
        let mut expected: Vec<LocationId> = changed.iter().map(|location| id(location)).collect();
        expected.sort();
        let Message::Agreed(agreed) = heard else { panic!("{heard:?}") };
        assert_eq!(agreed.candidates, Some(RecordList::new(expected).unwrap()));
    }
}

#[tokio::test]
async fn an_initiator_describes_the_records_that_either_side_names_alone() {
    let (asker, asked) = level_devices().await;
    asker.put("a/v/record-7", "2");
    let (near, mut far) = channels(&asker, &asked).await;
    let answering = async {
        assert!(matches!(far.receive().await.unwrap(), Message::Open(_)));
        let everything = || Some(Selection::everything());
        far.feed(&Message::Agreed(Agreed {
            pull: everything(),
            push: everything(),
            delete: everything(),
            held: Some(SetDigest::default()),
            day: None,
            candidates: Some(RecordList::new(vec![id("a/v/record-9")]).unwrap()),
            edition: Edition::default(),
            copied: false,
        }))
        .await
        .unwrap();
        far.flush().await.unwrap();
        let heard =
            [far.receive().await.unwrap(), far.receive().await.unwrap(), far.receive().await.unwrap()];
        drop(far);
        heard
    };
    let mut handler = NoHandler;
    let (_, heard) =
        tokio::join!(Peer::from_channel(near, &asker.home).sync(request(), &mut handler), answering);
    let [Message::Candidates(named), Message::Digest(Digest::Symbols(symbols)), Message::DigestEnd] = heard
    else {
        panic!("{heard:?}");
    };
    assert_eq!((named.as_slice(), symbols.len()), (&[id("a/v/record-7")][..], 2 * 8));
}
