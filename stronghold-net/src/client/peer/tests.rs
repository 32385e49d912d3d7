//! What a request comes to: which ways it goes, how long it waits, what it leaves.

use stronghold_sync::{Change, Location, Rule, Skipped, Timestamp};

use super::*;
use crate::{
    common::{ALL, Device, channels, friends},
    session::handler::NoHandler,
};

fn id(name: &str) -> LocationId {
    name.parse::<Location>().unwrap().id()
}

fn outcome(number: u64, name: &str) -> Outcome {
    let location: Location = name.parse().unwrap();
    let plan = Plan {
        changes_here: vec![(location.id(), Change::New)],
        changes_there: vec![(location.id(), Change::Deleted)],
        names: [(location.id(), location.clone())].into(),
        unchanged: number,
        ..Plan::default()
    };
    let summary = Summary {
        received: number,
        sent: 2 * number,
        deleted: 3 * number,
        conflicts: 4 * number,
        unchanged: 5 * number,
        round_trips: 6 * number,
    };
    Outcome {
        summary,
        plan,
        declined: vec![location.id()],
        bytes_in: 7 * number,
        bytes_out: 8 * number,
        way: Way::Direct,
    }
}

/// What was done is summed up; what is the same on both sides, and is left, is what the last one
/// found.
#[test]
fn sessions_that_go_on_with_each_other_are_told_of_as_one() {
    let both = outcome(1, "a/v/first").and(outcome(10, "a/v/second"));
    let (first, second) = (id("a/v/first"), id("a/v/second"));
    let summary =
        Summary { received: 11, sent: 22, deleted: 33, conflicts: 44, unchanged: 5, round_trips: 66 };
    let plan = Plan {
        changes_here: vec![(first, Change::New), (second, Change::New)],
        changes_there: vec![(first, Change::Deleted), (second, Change::Deleted)],
        names: ["a/v/first", "a/v/second"].map(|name| (id(name), name.parse().unwrap())).into(),
        unchanged: 10,
        ..Plan::default()
    };
    let expected = Outcome {
        summary,
        plan,
        declined: vec![first, second],
        bytes_in: 77,
        bytes_out: 88,
        way: Way::Direct,
    };
    assert_eq!(both, expected);
}

#[test]
fn a_session_goes_on_while_something_is_left_for_later_and_something_went() {
    let left = |why: &[SkipReason], sent| {
        let not_given = why.iter().map(|why| Skipped { location: id("a/v/r"), why: *why }).collect();
        let plan = Plan { not_given, ..Plan::default() };
        Outcome { plan, summary: Summary { sent, ..Summary::default() }, ..Outcome::default() }.has_more()
    };
    assert!(left(&[SkipReason::Later], 1) && left(&[SkipReason::TooLarge, SkipReason::Later], 1));
    assert!(!left(&[SkipReason::Later], 0), "it would not end");
    assert!(!left(&[SkipReason::TooLarge, SkipReason::MayNotPull], 1) && !left(&[], 1));
    let unplanned = Outcome { summary: Summary { sent: 1, ..Summary::default() }, ..Outcome::default() };
    assert!(!unplanned.has_more());
}

async fn sync(asker: &Device, asked: &Device, request: SyncRequest) -> Result<Outcome, PeerError> {
    let (near, far) = channels(asker, asked).await;
    let (mut here, mut there) = (NoHandler, NoHandler);
    let asking = Peer::from_channel(near, &asker.home).sync(request, &mut here);
    tokio::join!(asking, Peer::from_channel(far, &asked.home).answer(&mut there)).0
}

fn everything(ways: Direction) -> SyncRequest {
    SyncRequest::new(Selection::everything(), ways)
}

/// Which ways a sync goes, by what is asked for and by whether this side lets the peer pull.
#[tokio::test]
async fn a_sync_goes_the_ways_that_are_asked_for_as_far_as_rules_allow() {
    for (ways, may_pull, expected) in [
        (Direction::Default, true, Some((1, 1))),
        (Direction::Default, false, Some((1, 0))),
        (Direction::Pull, true, Some((1, 0))),
        (Direction::Pull, false, Some((1, 0))),
        (Direction::Push, true, Some((0, 1))),
        (Direction::Push, false, None),
        (Direction::Both, true, Some((1, 1))),
        (Direction::Both, false, None),
    ] {
        let (asker, asked) = (Device::new("asker"), Device::new("asked"));
        asked.grant(&asker, ALL, "**");
        let rules: Vec<_> =
            ALL.iter().copied().filter(|operation| may_pull || *operation != Operation::Pull).collect();
        asker.grant(&asked, &rules, "**");
        asker.put("a/v/of the asker", "1");
        asked.put("a/v/of the asked", "2");
        let done = sync(&asker, &asked, everything(ways)).await;
        match expected {
            Some(expected) => {
                let Summary { received, sent, .. } = done.unwrap().summary;
                assert_eq!((received, sent), expected, "{ways:?} {may_pull}");
            }
            None => assert!(matches!(done, Err(PeerError::NothingToPush)), "{ways:?}: {done:?}"),
        }
    }
}

/// What no rule here lets the peer write waits, and comes when a person has seen it.
#[tokio::test]
async fn a_sync_takes_beyond_its_rules_what_it_is_told_to() {
    let devices = || {
        let (asker, asked) = (Device::new("asker"), Device::new("asked"));
        asked.grant(&asker, ALL, "**");
        asker.grant(&asked, &[Operation::Push], "mine/**");
        asked.put_all(["mine/v/r", "other/v/r", "other/v/s"].map(|name| (name.to_owned(), "1".to_owned())));
        (asker, asked)
    };
    let (asker, asked) = devices();
    let names = |device: &Device| device.entries().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let done = sync(&asker, &asked, everything(Direction::Pull)).await.unwrap();
    assert_eq!(names(&asker), ["mine/v/r"]);
    let plan = done.plan;
    assert_eq!(plan.beyond.len(), 2);
    let seen: BTreeSet<_> = plan
        .beyond
        .iter()
        .filter(|shape| shape.location == id("other/v/r"))
        .map(|shape| shape.entry())
        .collect();
    sync(&asker, &asked, everything(Direction::Pull).beyond(Beyond::These(seen))).await.unwrap();
    assert_eq!(names(&asker), ["mine/v/r", "other/v/r"]);
    sync(&asker, &asked, everything(Direction::Pull).beyond(Beyond::Everything)).await.unwrap();
    assert_eq!(names(&asker), ["mine/v/r", "other/v/r", "other/v/s"]);
    // A push takes nothing, whatever is said.
    let (asker, asked) = devices();
    asker.grant(&asked, ALL, "**");
    sync(&asker, &asked, everything(Direction::Push).beyond(Beyond::Everything)).await.unwrap();
    assert_eq!(names(&asker), [""; 0]);
}

/// The command is the consent that a rule wants which asks a person.
#[tokio::test]
async fn a_rule_that_asks_is_granted_to_who_gives_the_command() {
    let (own, peer) = (Device::new("own"), Device::new("peer"));
    own.grant(&peer, &[Operation::Push], "a/**");
    own.change(|stronghold| {
        stronghold.policy_mut().grant(Rule {
            device: peer.device(),
            operations: [Operation::Pull].into(),
            selection: "a/**".parse().unwrap(),
            expires: None,
            ask: true,
        })
    });
    for (operation, selection, expected) in [
        (Operation::Push, "a/v/*", true),
        (Operation::Pull, "a/v/*", true),
        (Operation::Delete, "a/v/*", false),
        (Operation::Pull, "b/**", false),
    ] {
        let grants = granted(&own.home, peer.device(), selection.parse().unwrap()).await.unwrap();
        let grant = grants.into_iter().flatten().find(|grant| grant.operation() == operation);
        let location = "a/v/r".parse().unwrap();
        let covers = grant.as_ref().map(|grant| (grant.scope().covers(&location), grant.operation()));
        assert_eq!(covers, expected.then_some((true, operation)), "{operation:?} {selection}");
    }
}

/// Someone may be asked at the other end: an answer may take a minute and a half, and no longer.
#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_person_at_the_other_end() {
    let (asker, asked) = friends();
    asked.put("a/v/r", "1");
    for (seconds, is_answered) in [(89, true), (91, false)] {
        let (near, far) = channels(&asker, &asked).await;
        let (mut here, mut there) = (NoHandler, NoHandler);
        let begun = tokio::time::Instant::now();
        let asking = Peer::from_channel(near, &asker.home).browse(Selection::everything(), &mut here);
        let answering = async {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Peer::from_channel(far, &asked.home).answer(&mut there).await
        };
        let asking = async { (asking.await, begun.elapsed()) };
        let ((asked, waited), _) = tokio::join!(asking, answering);
        if is_answered {
            let found: Vec<_> = asked.unwrap().into_iter().map(|found| found.location.to_string()).collect();
            assert_eq!(found, ["a/v/r"]);
        } else {
            let expected = ChannelError::TimedOut(Duration::from_secs(90));
            assert!(matches!(asked, Err(PeerError::Channel(error)) if error == expected));
            assert_eq!(waited, Duration::from_secs(90));
        }
    }
}

/// The bytes of both directions, as the other end counts them.
#[tokio::test]
async fn an_outcome_has_the_bytes_of_its_channel() {
    let (asker, asked) = friends();
    asked.put("a/v/r", &"x".repeat(10_000));
    let (near, mut far) = channels(&asker, &asked).await;
    let (mut here, mut there) = (NoHandler, NoHandler);
    let asking = Peer::from_channel(near, &asker.home).sync(everything(Direction::Both), &mut here);
    let answering = async {
        let (limits, flight) = (Limits::default(), BatchPermits::default());
        answer(&mut far, &asked.home, &mut there, &limits, flight).await.unwrap();
        far.close_both().await.unwrap();
        (far.bytes_out(), far.bytes_in())
    };
    let (outcome, counted) = tokio::join!(asking, answering);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.bytes_in, outcome.bytes_out), counted);
    assert!(outcome.bytes_in > 10_000 && outcome.bytes_out > 3_000);
}

async fn browsed(asker: &Device, asked: &Device) -> Result<Summary, PeerError> {
    let (near, far) = channels(asker, asked).await;
    let (mut here, mut there) = (NoHandler, NoHandler);
    let asking = Peer::from_channel(near, &asker.home).browse(Selection::everything(), &mut here);
    tokio::join!(asking, Peer::from_channel(far, &asked.home).answer(&mut there)).1
}

/// That a rule has expired stays so whatever the clock says later; where none has, nothing is
/// written for it.
#[tokio::test]
async fn a_rule_that_has_expired_is_noted_when_a_device_asks() {
    let rule = |device: &Device, expires| Rule {
        device: device.device(),
        operations: [Operation::Browse].into(),
        selection: Selection::everything(),
        expires: Some(expires),
        ask: false,
    };
    let span = Duration::from_secs(1_000);
    for (expires, has_expired) in [(now().saturating_sub(span), true), (now().saturating_add(span), false)] {
        let (asker, asked) = (Device::new("asker"), Device::new("asked"));
        asker.grant(&asked, ALL, "**");
        asked.grant(&asker, &[], "**");
        asked.change(|stronghold| {
            stronghold.policy_mut().grant(rule(&asker, expires));
        });
        let before = asked.home.lock().file().sealer().generation();
        assert_eq!(browsed(&asker, &asked).await.is_err(), has_expired);
        let home = asked.opened_again();
        let home = home.lock();
        let policy = home.stronghold().policy();
        assert_eq!(
            policy.has_expired(&rule(&asker, expires), Timestamp::default()),
            has_expired,
            "by a clock that is set back"
        );
        // The expiry is a write of its own, and so is a decision as the first of its minute.
        assert_eq!(home.file().sealer().generation(), before + 1);
    }
}
