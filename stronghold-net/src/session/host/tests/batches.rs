//! What a host does with the batches of a peer.

use std::sync::Arc;

use stronghold_sync::{Losses, Timestamp, session::Expected};

use super::*;

#[tokio::test]
async fn a_batch_is_durable_with_what_it_tells_of_the_peer_before_it_is_told_of() {
    let (own, peer) = friends();
    peer.put_all(["a/v/1", "a/v/2"].map(|name| (name.to_owned(), name.to_owned())));
    let within = Arc::new(Expected::Within(Scope::of("a/**".parse().unwrap())));
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    host.notify(Event::Edition(Edition { generation: 4, stamp: None })).await.unwrap();
    let before = generation(&own);
    let import = Import { sealed: sealed(&peer, &own, &exported(&peer, &own), 0), expected: within.clone() };
    let taken = Changes { received: 2, deleted: 0, conflicts: 0 };
    assert_eq!(host.perform(Task::Import(import)).await, Ok(TaskResult::Imported(taken)));
    assert_eq!((generation(&own), own.entries()), (before + 1, peer.entries()));
    let home = own.opened_again();
    let brought = entries(&peer);
    assert!(
        brought.iter().all(|entry| home
            .lock()
            .stronghold()
            .peers()
            .was_disclosed_to(&peer.device(), &entry.revision))
    );
    let stamp = home.lock().stronghold().peers().own_stamp(&peer.device());
    assert_eq!(stamp, Some(crate::session::binding::stamp_of(&BINDING)), "the peer has it too");
    host.flush_knowledge().await.unwrap();
    assert_eq!(generation(&own), before + 1, "nothing is left to be written");
    drop(host);
    assert_eq!(noting.told, [format!("taken {taken:?}")]);
}

/// Ten losses of twenty are not many; one more, in whichever batch, is not taken where nobody could
/// be asked.
#[tokio::test]
async fn losses_are_counted_over_all_batches_of_a_session() {
    let (own, peer) = friends();
    let names = |from: usize, to: usize| (from..to).map(|n| (format!("a/v/{n:02}"), "value".to_owned()));
    peer.put_all(names(0, 20));
    let everything = exported(&peer, &own);
    own.change(|stronghold| {
        stronghold.import(&everything, peer.device(), Timestamp::from_millis(1), |_, _, _| Ok(())).unwrap();
    });
    (0..11).for_each(|n| peer.remove(&format!("a/v/{n:02}")));
    let deletions: Vec<Entry> =
        exported(&peer, &own).into_iter().filter(|entry| entry.revision.deleted).collect();
    let within = Arc::new(Expected::Within(Scope::of("**".parse().unwrap())));
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    let mut answers = Vec::new();
    for (index, batch) in [&deletions[..6], &deletions[6..10], &deletions[10..]].into_iter().enumerate() {
        let import = Import { sealed: sealed(&peer, &own, batch, index as u64), expected: within.clone() };
        answers.push(host.perform(Task::Import(import)).await);
    }
    let taken = |deleted| Ok(TaskResult::Imported(Changes { received: deleted, deleted, conflicts: 0 }));
    assert_eq!(
        answers,
        [taken(6), taken(4), Err(TaskError::Deletions(Losses { lost: 11, of: 20, there: false }))]
    );
    assert_eq!(own.entries().len(), 10);
}
