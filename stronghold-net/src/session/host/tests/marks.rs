//! The marks that a host writes of the peer's acknowledgements.

use std::collections::BTreeSet;

use stronghold_sync::{Timestamp, session::Acknowledged};

use super::*;

fn everything() -> Acknowledged {
    Acknowledged { scope: Scope::of("**".parse().unwrap()), except: BTreeSet::new() }
}

fn acknowledged(own: &Device, peer: &Device) -> u64 {
    own.opened_again().lock().stronghold().peers().acknowledged(&peer.device())
}

async fn compare(host: &mut VaultHost<'_>) {
    let shapes = host.perform(Task::Shapes(everything().scope)).await;
    assert!(matches!(shapes, Ok(TaskResult::Shapes(_))));
}

async fn end(host: &mut VaultHost<'_>) {
    host.notify(Event::Sent { entries: 1, of: 1 }).await.unwrap();
    host.notify(Event::Acknowledged(everything())).await.unwrap();
    host.flush_knowledge().await.unwrap();
}

#[tokio::test]
async fn what_only_this_session_has_written_since_is_acknowledged_too() {
    let (own, peer) = friends();
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    compare(&mut host).await;
    let before = generation(&own);
    host.notify(Event::PeerHolds(vec![revision(1)])).await.unwrap();
    host.flush_knowledge().await.unwrap();
    assert_eq!((generation(&own), acknowledged(&own, &peer)), (before + 1, 0));
    compare(&mut host).await;
    end(&mut host).await;
    assert_eq!((generation(&own), acknowledged(&own, &peer)), (before + 2, before + 2));
}

#[tokio::test]
async fn what_another_process_has_written_since_is_not_acknowledged() {
    for nothing_before in [true, false] {
        let (own, peer) = friends();
        let mut noting = Noting::default();
        let mut host = host(&own, &peer, &mut noting);
        compare(&mut host).await;
        let compared = generation(&own);
        if !nothing_before {
            host.notify(Event::PeerHolds(vec![revision(1)])).await.unwrap();
            host.flush_knowledge().await.unwrap();
        }
        let level = generation(&own);
        let other = own.opened_again();
        let write = |name: &str| {
            let location: Location = name.parse().unwrap();
            other.lock().update(|stronghold| {
                Ok(stronghold.write(&location, b"1", Default::default(), Timestamp::from_millis(1))?)
            })
        };
        write("a/v/meanwhile").unwrap();
        // Its level is not that of the next change either.
        host.notify(Event::PeerHolds(vec![revision(2)])).await.unwrap();
        host.flush_knowledge().await.unwrap();
        end(&mut host).await;
        assert_eq!((level - compared, acknowledged(&own, &peer)), (u64::from(!nothing_before), level));
    }
}

#[tokio::test]
async fn an_update_that_changes_nothing_raises_no_level() {
    let (own, peer) = friends();
    own.put("a/v/1", "1");
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    compare(&mut host).await;
    let before = generation(&own);
    lock(&host.work).write_knowledge().unwrap();
    assert_eq!(generation(&own), before);
    own.opened_again()
        .lock()
        .update(|stronghold| Ok(stronghold.remove(&"a/v/1".parse().unwrap(), Timestamp::from_millis(2))?))
        .unwrap();
    end(&mut host).await;
    assert_eq!(acknowledged(&own, &peer), before);
}

#[tokio::test]
async fn of_two_snapshots_of_one_identity_neither_acknowledges_for_the_other() {
    let (own, peer) = friends();
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    host.notify(Event::Duplicate(Duplicate::Theirs)).await.unwrap();
    compare(&mut host).await;
    end(&mut host).await;
    assert_eq!(acknowledged(&own, &peer), 0);
}

#[tokio::test]
async fn what_is_acknowledged_waits_for_another_write_unless_lists_are_long_or_it_is_long_ago() {
    for (edits, lists_are_long, expected) in [(60, false, false), (64, false, true), (1, true, true)] {
        let (own, peer) = friends();
        own.put_all((0..=65).map(|_| ("a/v/r".to_owned(), "value".to_owned())));
        (1..edits).for_each(|_| own.put("a/v/s", "value"));
        let mut noting = Noting::default();
        let mut host = host(&own, &peer, &mut noting);
        compare(&mut host).await;
        if lists_are_long {
            let shapes = own.home.lock().stronghold().shapes(&everything().scope, &Mapping::default());
            let lists = shapes.iter().map(|shape| shape.ancestors.as_slice().len());
            lock(&host.work).knowledge.passes(lists);
        }
        let before = generation(&own);
        host.notify(Event::Acknowledged(everything())).await.unwrap();
        host.flush_knowledge().await.unwrap();
        assert_eq!(generation(&own) > before, expected, "{edits} {lists_are_long}");
        assert_eq!(acknowledged(&own, &peer) > 0, expected, "{edits} {lists_are_long}");
    }
}
