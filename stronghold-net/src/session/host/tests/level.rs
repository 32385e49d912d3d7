//! The heads that the peer is found to hold, by digests.

use stronghold_sync::{LocationId, Selection, session::DigestQuery};

use super::*;

fn scope() -> Scope {
    Scope::of("**".parse().unwrap())
}

fn told(own: &Device, peer: &Device, revisions: &[RevisionId]) -> Vec<bool> {
    let home = own.opened_again();
    let home = home.lock();
    let peers = home.stronghold().peers();
    revisions.iter().map(|revision| peers.was_disclosed_to(&peer.device(), revision)).collect()
}

fn head(own: &Device, location: &str) -> RevisionId {
    let id = location.parse::<Location>().unwrap().id();
    own.opened_again().lock().stronghold().shapes_at(&id)[0].revision
}

fn ids(names: &[&str]) -> Vec<LocationId> {
    let mut ids: Vec<_> = names.iter().map(|name| name.parse::<Location>().unwrap().id()).collect();
    ids.sort();
    ids
}

async fn digest(host: &mut VaultHost<'_>) {
    let query = Box::new(DigestQuery::new(scope(), [8; 32], true));
    assert!(matches!(host.perform(Task::Digest(query)).await, Ok(TaskResult::Digest(_))));
}

async fn end(host: &mut VaultHost<'_>, except: Vec<RevisionId>) {
    host.notify(Event::PeerHoldsAll { except }).await.unwrap();
    host.notify(Event::Sent { entries: 1, of: 1 }).await.unwrap();
    host.flush_knowledge().await.unwrap();
}

/// Creates two devices, of which the first holds two records; returns their heads.
fn two_records() -> (Device, Device, [RevisionId; 2]) {
    let (own, peer) = friends();
    let heads = ["a/v/same", "a/v/changed"].map(|location| {
        own.put(location, "1");
        head(&own, location)
    });
    (own, peer, heads)
}

/// A head that is written after the digest was not compared: nobody is said to hold it.
#[tokio::test]
async fn what_was_not_compared_is_not_known_to_be_held() {
    let (own, peer, [same, old]) = two_records();
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    digest(&mut host).await;
    own.put("a/v/changed", "2");
    let new = head(&own, "a/v/changed");
    end(&mut host, Vec::new()).await;
    assert_eq!(told(&own, &peer, &[same, old, new]), [true, true, false]);
}

/// If the file changes between the digest and the shapes, either may have been compared: the sets
/// are found equal by the digest alone, and the shapes are collected for what is offered; or those
/// of some records are compared.
#[tokio::test]
async fn only_what_both_digest_and_shapes_have_is_known_to_be_held() {
    let records = ids(&["a/v/same", "a/v/changed", "a/v/here"]);
    for task in [Task::Shapes(scope()), Task::ShapesAt(scope(), records)] {
        let (own, peer, [same, old]) = two_records();
        let mut noting = Noting::default();
        let mut host = host(&own, &peer, &mut noting);
        digest(&mut host).await;
        own.put("a/v/changed", "2");
        own.put("a/v/here", "1");
        let (new, here) = (head(&own, "a/v/changed"), head(&own, "a/v/here"));
        assert!(host.perform(task).await.is_ok());
        end(&mut host, vec![here]).await;
        assert_eq!(told(&own, &peer, &[same, old, new, here]), [true, false, false, false]);
    }
}

#[tokio::test]
async fn of_some_records_only_those_in_scope_are_collected() {
    let (own, peer) = friends();
    let names = ["a/v/one", "a/v/two", "a/w/three", "b/v/four"];
    names.iter().for_each(|location| own.put(location, "1"));
    let mut noting = Noting::default();
    let mut host = host(&own, &peer, &mut noting);
    let asked = ids(&["a/v/one", "a/w/three", "b/v/four", "a/v/none"]);
    let selection = |text: &str| text.parse::<Selection>().unwrap();
    for (scope, expected) in [
        (scope(), &["a/v/one", "a/w/three", "b/v/four"][..]),
        (Scope::of(selection("a/**")), &["a/v/one", "a/w/three"]),
        (Scope::of(selection("a/**")).within(selection("*/w/*")), &["a/w/three"]),
        (Scope::of(selection("c/**")), &[]),
    ] {
        let Ok(TaskResult::Shapes(shapes)) = host.perform(Task::ShapesAt(scope, asked.clone())).await else {
            panic!("no shapes");
        };
        assert_eq!(shapes.iter().map(|shape| shape.location).collect::<Vec<_>>(), ids(expected));
    }
}
