//! Where a device is looked for, in which order, and what is told where it is nowhere.

use tokio::{net::TcpListener, time::sleep};

use super::*;
use crate::{
    Server,
    common::{Device, friends},
    discovery::DiscoveryError,
};

const FAR: &str = "192.0.2.7:1";
const OTHER: &str = "192.0.2.8:1";
const LOCAL: &str = "127.0.0.1:1";
const LOCAL_TOO: &str = "[::1]:1";

/// What comes of an address, after so many milliseconds.
#[derive(Clone, Copy)]
enum At {
    Opens(u64),
    Nobody(u64),
    Itself(u64),
}

/// What the search comes to.
enum Lan {
    Finds(&'static [&'static str]),
    Fails,
    /// It is not asked.
    Unasked,
}

fn nobody(address: &str) -> DialError {
    DialError::Unreachable { address: address.to_owned(), source: io::ErrorKind::TimedOut.into() }
}

/// Which address opened or what is told, after how many milliseconds; addresses that are not said
/// have nobody there at once.
async fn found(known: &[&str], lan: Lan, outcomes: &[(&str, At)]) -> (Result<String, String>, u128) {
    let begun = Instant::now();
    let outcomes: Vec<(String, At)> = outcomes.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
    let open = |address: String| {
        let at = outcomes.iter().find(|(name, _)| *name == address).map_or(At::Nobody(0), |(_, at)| *at);
        async move {
            let (after, done) = match at {
                At::Opens(after) => (after, Ok(address)),
                At::Nobody(after) => (after, Err(nobody(&address))),
                At::Itself(after) => (after, Err(PairingError::Itself.into())),
            };
            sleep(Duration::from_millis(after)).await;
            done
        }
    };
    let search = || match lan {
        Lan::Finds(found) => Ok(Search::that_finds(found.iter().map(|at| at.parse().unwrap()).collect())),
        Lan::Fails => Err(DiscoveryError::new("no multicast")),
        Lan::Unasked => panic!("the LAN is searched"),
    };
    let known = known.iter().map(|address| (*address).to_owned()).collect();
    let done = first(known, search, open).await.map_err(|error| error.to_string());
    (done, begun.elapsed().as_millis())
}

fn opens(address: &str, after: u128) -> (Result<String, String>, u128) {
    (Ok(address.into()), after)
}

fn fails(error: &DialError, after: u128) -> (Result<String, String>, u128) {
    (Err(error.to_string()), after)
}

#[tokio::test(start_paused = true)]
async fn known_addresses_are_tried_first_and_alone() {
    let quick = [(FAR, At::Opens(300)), (OTHER, At::Opens(200))];
    assert_eq!(found(&[FAR, OTHER], Lan::Unasked, &quick).await, opens(OTHER, 200));
    assert_eq!(found(&[FAR], Lan::Unasked, &[(FAR, At::Opens(499))]).await, opens(FAR, 499));
    // One that fails ends no other.
    let one = [(FAR, At::Nobody(0)), (OTHER, At::Opens(400))];
    assert_eq!(found(&[FAR, OTHER], Lan::Unasked, &one).await, opens(OTHER, 400));
}

#[tokio::test(start_paused = true)]
async fn the_lan_is_searched_where_nothing_known_opens_soon() {
    let there = [(OTHER, At::Opens(100))];
    assert_eq!(found(&[], Lan::Finds(&[OTHER]), &there).await, opens(OTHER, 100));
    assert_eq!(found(&[FAR], Lan::Finds(&[OTHER]), &there).await, opens(OTHER, 100), "nobody is there");
    let slow = [(FAR, At::Opens(3_000)), (OTHER, At::Opens(100))];
    assert_eq!(found(&[FAR], Lan::Finds(&[OTHER]), &slow).await, opens(OTHER, 600));
    // What is known may still be the better.
    assert_eq!(found(&[FAR], Lan::Finds(&[]), &slow).await, opens(FAR, 3_000));
    assert_eq!(found(&[FAR], Lan::Finds(&[OTHER]), &[(FAR, At::Opens(900))]).await, opens(FAR, 900));
    // Of several that are found one opens.
    assert_eq!(found(&[], Lan::Finds(&[FAR, LOCAL, OTHER]), &there).await, opens(OTHER, 100));
}

#[tokio::test(start_paused = true)]
async fn the_search_ends_and_what_is_under_way_does_not() {
    assert_eq!(found(&[], Lan::Finds(&[]), &[]).await, fails(&DialError::NotFound, 12_000));
    assert_eq!(found(&[FAR], Lan::Finds(&[OTHER]), &[]).await, fails(&nobody(FAR), 12_000), "the first");
    let late = [(FAR, At::Opens(13_000))];
    assert_eq!(found(&[FAR], Lan::Finds(&[]), &late).await, opens(FAR, 13_000));
    let late = [(FAR, At::Nobody(13_000))];
    assert_eq!(found(&[FAR], Lan::Finds(&[]), &late).await, fails(&nobody(FAR), 13_000));
}

#[tokio::test(start_paused = true)]
async fn what_was_on_this_machine_is_not_looked_for_on_others() {
    for known in [&[LOCAL][..], &[LOCAL, LOCAL_TOO]] {
        assert_eq!(found(known, Lan::Unasked, &[]).await, fails(&nobody(LOCAL), 0));
    }
    let slow = [(LOCAL, At::Opens(20_000))];
    assert_eq!(found(&[LOCAL], Lan::Unasked, &slow).await, opens(LOCAL, 20_000));
    let there = [(OTHER, At::Opens(0))];
    for known in [&[LOCAL, FAR][..], &[FAR, LOCAL], &["laptop.example:1"]] {
        assert_eq!(found(known, Lan::Finds(&[OTHER]), &there).await, opens(OTHER, 0), "{known:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_lan_can_not_be_searched_what_is_known_counts() {
    let why = DialError::Discovery(DiscoveryError::new("no multicast"));
    assert_eq!(found(&[], Lan::Fails, &[]).await, fails(&why, 0));
    assert_eq!(found(&[FAR], Lan::Fails, &[]).await, fails(&nobody(FAR), 0));
    assert_eq!(found(&[FAR], Lan::Fails, &[(FAR, At::Opens(3_000))]).await, opens(FAR, 3_000));
}

/// The device itself has answered: no other address is asked.
#[tokio::test(start_paused = true)]
async fn what_the_device_itself_shows_ends_the_search() {
    let itself = DialError::Pairing(PairingError::Itself);
    assert_eq!(found(&[FAR], Lan::Unasked, &[(FAR, At::Itself(0))]).await, fails(&itself, 0));
    let after_another = [(FAR, At::Nobody(100)), (OTHER, At::Itself(200))];
    assert_eq!(found(&[FAR, OTHER], Lan::Unasked, &after_another).await, fails(&itself, 200));
    let and_before = [(FAR, At::Itself(100)), (OTHER, At::Opens(200))];
    assert_eq!(found(&[FAR, OTHER], Lan::Unasked, &and_before).await, fails(&itself, 100));
    let found_there = [(OTHER, At::Itself(1_000))];
    assert_eq!(found(&[], Lan::Finds(&[OTHER]), &found_there).await, fails(&itself, 1_000));
}

#[test]
fn what_keeps_a_connection_away_is_told_in_plain_words() {
    for (kind, expected) in [
        (io::ErrorKind::ConnectionRefused, "nobody listens there"),
        (io::ErrorKind::TimedOut, "nothing answers there"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
    ] {
        let error = DialError::Unreachable { address: FAR.into(), source: kind.into() };
        assert_eq!(error.to_string(), format!("can't reach {FAR}: {expected}"));
    }
}

/// The address as it is remembered in the file.
fn remembered(own: &Device, peer: &Device) -> Option<String> {
    let home = own.opened_again();
    let home = home.lock();
    home.stronghold().peers().get(&peer.device()).unwrap().address.clone()
}

#[tokio::test]
async fn the_address_that_worked_is_remembered_and_written_where_it_is_another() {
    let (own, peer) = friends();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Server::new(&peer.home);
    let running = tokio::spawn(async move { server.run(listener, std::future::pending()).await });
    let reached = dial(&own.home, peer.device(), Some(&address)).await.unwrap();
    assert_eq!(reached.device(), peer.device());
    assert_eq!(remembered(&own, &peer), Some(address.clone()));
    let before = own.bytes();
    dial(&own.home, peer.device(), Some(&address)).await.unwrap();
    dial(&own.home, peer.device(), None).await.unwrap();
    assert!(own.bytes() == before, "nothing is new");
    running.abort();
    let _ = running.await;
    // At an address that is said, and nowhere else; and the one that worked stays.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    for (at, tried) in [(Some(nobody.as_str()), nobody.as_str()), (None, &address)] {
        let error = dial(&own.home, peer.device(), at).await.unwrap_err().to_string();
        assert_eq!(error, format!("can't reach {tried}: nobody listens there"));
    }
    assert_eq!(remembered(&own, &peer), Some(address));
}

#[tokio::test]
async fn a_device_that_shares_no_secret_is_not_reached() {
    let (own, peer) = friends();
    let stranger = Device::new("stranger");
    let unpaired = async |device| {
        let done = dial(&own.home, device, Some(LOCAL)).await;
        matches!(done, Err(DialError::Peer(PeerError::Unpaired)))
    };
    assert!(unpaired(stranger.device()).await);
    own.change(|stronghold| {
        let mut known = stronghold.peers().get(&peer.device()).unwrap().clone();
        known.rendezvous = None;
        stronghold.peers_mut().insert(peer.device(), known);
    });
    assert!(unpaired(peer.device()).await);
}
