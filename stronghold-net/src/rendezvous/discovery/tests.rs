//! What is announced and heard on the LAN, without one.

use std::sync::Mutex;
use stronghold_sync::Timestamp;

use super::*;
use crate::common::{Device, friends};

fn resolved(service: &ServiceInfo) -> ResolvedService {
    service.clone().as_resolved_service()
}

fn announced(secrets: &[(DeviceId, Rendezvous)]) -> ServiceInfo {
    service(secrets, "192.0.2.7:4747".parse().unwrap()).unwrap()
}

#[test]
fn only_a_paired_device_recognises_an_announcement() {
    let own = DeviceId::from_bytes([1; 32]);
    let secrets: Vec<_> = (0..30).map(|n| (own, Rendezvous::from_bytes([n; 32]))).collect();
    let service = resolved(&announced(&secrets));
    assert!(secrets.iter().all(|(_, secret)| is_of(&service, secret, &own)));
    assert!(!is_of(&service, &Rendezvous::from_bytes([30; 32]), &own), "a stranger's secret");
    assert!(!is_of(&service, &secrets[0].1, &DeviceId::from_bytes([2; 32])), "its own, reflected");
    assert_eq!(addresses(&service), ["192.0.2.7:4747".parse().unwrap()]);
}

#[test]
fn two_announcements_have_nothing_in_common_but_service_address_and_number() {
    let own = DeviceId::from_bytes([1; 32]);
    for peers in [0, 1, 8, 9, 56, 60] {
        let secrets: Vec<_> = (0..peers).map(|n| (own, Rendezvous::from_bytes([n; 32]))).collect();
        let texts = || -> BTreeSet<String> {
            let service = announced(&secrets);
            let strings = service.get_properties().iter().map(|string| string.val_str().to_owned());
            let tags = strings.flat_map(|text| {
                text.as_bytes()
                    .chunks(16)
                    .map(|tag| String::from_utf8_lossy(tag).into_owned())
                    .collect::<Vec<_>>()
            });
            tags.chain([service.get_fullname().to_owned(), service.get_hostname().to_owned()]).collect()
        };
        let (one, two) = (texts(), texts());
        assert!(one.is_disjoint(&two));
        assert_eq!(one.len(), usize::from(peers).clamp(1, 56).next_multiple_of(8) + 2);
    }
}

#[test]
fn what_others_announce_is_no_device_of_ours() {
    let secret = Rendezvous::from_bytes([1; 32]);
    for name in ["printer", "", "\u{e9}\u{e9}\u{e9}\u{e9}", "00112233445566778899aabbccddeeff00"] {
        let service =
            ServiceInfo::new(SERVICE, name, "host.local.", "192.0.2.7", 1, &[("0", "0011")][..]).unwrap();
        assert!(!is_of(&resolved(&service), &secret, &ANY_DEVICE));
    }
}

/// What stands where announcements stand, and what was announced there.
#[derive(Default)]
struct Paper {
    standing: Mutex<BTreeSet<String>>,
    announced: Mutex<Vec<usize>>,
    is_torn: std::sync::atomic::AtomicBool,
}

impl Board for Paper {
    fn announce(&self, secrets: &Secrets) -> Result<String, DiscoveryError> {
        let mut announced = self.announced.lock().unwrap();
        announced.push(secrets.len());
        if self.is_torn.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(DiscoveryError("torn".into()));
        }
        let name = announced.len().to_string();
        self.standing.lock().unwrap().insert(name.clone());
        Ok(name)
    }

    fn withdraw(&self, name: &str) {
        assert!(self.standing.lock().unwrap().remove(name), "{name} does not stand");
    }
}

impl Paper {
    /// How many secrets each announcement so far was for, and which stand.
    fn so_far(&self) -> (Vec<usize>, Vec<String>) {
        let standing = self.standing.lock().unwrap().iter().cloned().collect();
        (self.announced.lock().unwrap().clone(), standing)
    }

    async fn after(&self, audience: &Audience, time: Duration) -> (Vec<usize>, Vec<String>) {
        let _ = tokio::time::timeout(time, renew(self, audience)).await;
        self.so_far()
    }
}

const INSTANT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn an_announcement_stands_for_a_quarter_of_an_hour_and_is_withdrawn_for_the_next() {
    let audience = Audience::Pairing(Rendezvous::from_bytes([1; 32]));
    let names = |number: u32| vec![number.to_string()];
    for (time, announced) in [
        (INSTANT, 1),
        (ROTATION - INSTANT, 1),
        (ROTATION + INSTANT, 2),
        (ROTATION * 2 - INSTANT, 2),
        (ROTATION * 2 + INSTANT, 3),
    ] {
        let expected = (vec![1; announced as usize], names(announced));
        assert_eq!(Paper::default().after(&audience, time).await, expected, "{time:?}");
    }
}

/// Who is paired or revoked meanwhile, by another process too, is known at the next look.
#[tokio::test(start_paused = true)]
async fn another_audience_is_told_at_the_next_look() {
    let (own, peer) = friends();
    let late = Device::new("late");
    let audience = Audience::Peers(own.home.clone());
    let secrets = audience.secrets().await;
    let shared = crate::common::between(&own.device(), &peer.device());
    assert_eq!(secrets, [(own.device(), shared)]);
    let paper = Paper::default();
    let changing = async {
        sleep(LOOK * 3 - INSTANT).await;
        own.grant(&late, &[], "**");
        sleep(INSTANT * 2).await;
        assert_eq!(paper.so_far(), (vec![1, 2], vec!["2".into()]));
        let elsewhere = own.opened_again();
        let revoke = |stronghold: &mut stronghold_vault::Stronghold| {
            stronghold.revoke(&peer.device(), Timestamp::from_millis(1));
            Ok(())
        };
        elsewhere.lock().update(revoke).unwrap();
        sleep(LOOK).await;
        assert_eq!(paper.so_far(), (vec![1, 2, 1], vec!["3".into()]));
        // From here on a whole quarter of an hour.
        sleep(ROTATION - LOOK).await;
        assert_eq!(paper.so_far(), (vec![1, 2, 1], vec!["3".into()]));
        sleep(LOOK).await;
        assert_eq!(paper.so_far(), (vec![1, 2, 1, 1], vec!["4".into()]));
    };
    tokio::select! {
        () = renew(&paper, &audience) => panic!("it ended"),
        () = changing => {}
    }
}

/// A peer of a time before devices had secrets is announced to nobody.
#[tokio::test]
async fn the_audience_is_all_that_share_a_secret_or_the_code() {
    let (own, peer) = friends();
    let code = PairingCode::generate().unwrap();
    assert_eq!(Audience::Pairing(of_code(&code)).secrets().await, [(ANY_DEVICE, of_code(&code))]);
    own.change(|stronghold| {
        let mut known = stronghold.peers().get(&peer.device()).unwrap().clone();
        known.rendezvous = None;
        stronghold.peers_mut().insert(peer.device(), known);
    });
    assert_eq!(Audience::Peers(own.home.clone()).secrets().await, []);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_announced_is_tried_again_at_the_next_look() {
    let audience = Audience::Pairing(Rendezvous::from_bytes([1; 32]));
    let paper = Paper { is_torn: true.into(), ..Paper::default() };
    assert_eq!(paper.after(&audience, LOOK * 2 + INSTANT).await, (vec![1; 3], vec![]));
}

/// A service of these addresses, which the secret's owner is told of.
fn at(addresses: &[&str], secret: &Rendezvous) -> ServiceEvent {
    let nonce: Nonce = random().unwrap();
    let strings = strings(&[(ANY_DEVICE, secret.clone())], &nonce).unwrap();
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let name = hex::text(&nonce);
    let service =
        ServiceInfo::new(SERVICE, &name, "host.local.", addresses.as_slice(), 4747, strings.as_slice());
    ServiceEvent::ServiceResolved(Box::new(resolved(&service.unwrap())))
}

#[test]
fn each_address_is_told_once_and_ipv4_first() {
    let (secret, other) = (Rendezvous::from_bytes([1; 32]), Rendezvous::from_bytes([2; 32]));
    let mut heard = Heard { secret: secret.clone(), device: ANY_DEVICE, told: BTreeSet::new() };
    let parsed = |addresses: &[&str]| -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    };
    let first = at(&["2001:db8::7", "192.0.2.9", "192.0.2.7"], &secret);
    assert_eq!(heard.news(&first), parsed(&["192.0.2.7:4747", "192.0.2.9:4747", "[2001:db8::7]:4747"]));
    assert_eq!(heard.news(&first), []);
    assert_eq!(heard.news(&at(&["192.0.2.7", "192.0.2.8"], &secret)), parsed(&["192.0.2.8:4747"]));
    assert_eq!(heard.news(&at(&["192.0.2.10"], &other)), [], "another's");
    assert_eq!(heard.news(&ServiceEvent::SearchStarted(SERVICE.into())), []);
    assert_eq!(heard.news(&at(&["192.0.2.10"], &secret)), parsed(&["192.0.2.10:4747"]));
}

#[test]
fn a_link_local_address_is_told_with_its_interface() {
    let ServiceEvent::ServiceResolved(mut service) = at(&["fe80::7"], &Rendezvous::from_bytes([1; 32]))
    else {
        panic!("not resolved")
    };
    let of = |service: &ResolvedService| match addresses(service)[..] {
        [SocketAddr::V6(v6)] => (v6.ip().to_string(), v6.port(), v6.scope_id()),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(of(&service), ("fe80::7".into(), 4747, 0));
    let interface = if_addrs::Interface {
        name: "eth0".into(),
        addr: if_addrs::IfAddr::V6(if_addrs::Ifv6Addr {
            ip: "fe80::7".parse().unwrap(),
            netmask: "ffff::".parse().unwrap(),
            prefixlen: 16,
            broadcast: None,
        }),
        index: Some(3),
        oper_status: if_addrs::IfOperStatus::Up,
        is_p2p: false,
    };
    service.addresses = [ScopedIp::from(&interface)].into();
    assert_eq!(of(&service), ("fe80::7".into(), 4747, 3));
}

/// Only so many strings are looked at: no more are sent.
#[test]
fn a_tag_counts_where_tags_may_be() {
    let secret = Rendezvous::from_bytes([1; 32]);
    let nonce = [9; 16];
    let tag = hex::text(&truncate::<8>(tag(&secret, TagContext::Announcement, &nonce, &ANY_DEVICE)));
    let found = |before: usize, text: &str| {
        let mut strings = vec![("x".to_owned(), "0".repeat(16 * TAGS_PER_STRING)); before];
        strings.iter_mut().enumerate().for_each(|(key, (name, _))| *name = key.to_string());
        strings.push(("last".into(), text.into()));
        let service =
            ServiceInfo::new(SERVICE, &hex::text(&nonce), "host.local.", "192.0.2.7", 1, strings.as_slice());
        is_of(&resolved(&service.unwrap()), &secret, &ANY_DEVICE)
    };
    for (before, text, expected) in [
        (0, tag.clone(), true),
        (3, tag.clone(), true),
        (4, tag.clone(), false),
        (0, format!("{}{tag}", "0".repeat(16)), true),
        (0, format!("0{tag}"), false),
        (0, tag[..15].to_owned(), false),
    ] {
        assert_eq!(found(before, &text), expected, "{before} {text}");
    }
}

#[test]
fn a_device_is_announced_where_it_listens() {
    let announced = |listening: &str| service(&[], listening.parse().unwrap()).unwrap();
    for (everywhere, on) in [("0.0.0.0:4747", "[IPv4]"), ("[::]:4747", "[All]")] {
        let service = announced(everywhere);
        assert!(service.is_addr_auto() && service.get_addresses().is_empty());
        let said = format!("{service:?}");
        assert!(said.contains(&format!("supported_intfs: {on}")), "{said}");
    }
    let service = announced("192.0.2.7:4747");
    assert!(!service.is_addr_auto() && !service.requires_probe());
    assert_eq!(
        service.get_addresses().iter().copied().collect::<Vec<_>>(),
        ["192.0.2.7".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(service.get_port(), 4747);
}

#[test]
fn an_address_is_best_that_others_reach() {
    let machine = ["127.0.0.1", "169.254.1.1", "192.0.2.9", "::1", "fe80::7", "2001:db8::7", "192.0.2.7"];
    let best = |listening: &str, machine: &[&str]| -> Vec<String> {
        let machine = machine.iter().map(|address| address.parse().unwrap());
        best(machine, listening.parse().unwrap()).iter().map(ToString::to_string).collect()
    };
    assert_eq!(best("0.0.0.0:1", &machine), ["192.0.2.7:1", "192.0.2.9:1"]);
    assert_eq!(best("[::]:1", &machine), ["192.0.2.7:1", "192.0.2.9:1", "[2001:db8::7]:1"]);
    let many: Vec<String> = (1..=9).map(|last| format!("192.0.2.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(best("0.0.0.0:1", &many).len(), 8, "as many as a link has");
    // Who listens at one address is reached there and nowhere else.
    for one in ["127.0.0.1:1", "192.0.2.77:1", "[fe80::1]:1"] {
        assert_eq!(reachable_at(one.parse().unwrap()), [one.parse().unwrap()]);
    }
    assert!(
        reachable_at("0.0.0.0:1".parse().unwrap()).iter().all(|at| at.is_ipv4() && !at.ip().is_loopback())
    );
}

/// Its end is dropped with the task that holds it.
#[tokio::test]
async fn a_search_gives_what_it_finds_and_ends_with_its_owner() {
    let found = ["192.0.2.7:1", "192.0.2.8:1"].map(|address| address.parse().unwrap());
    let mut search = Search::that_finds(found.to_vec());
    assert_eq!([search.next().await, search.next().await], found);
    let listening = search.listening.abort_handle();
    assert!(tokio::time::timeout(Duration::from_millis(10), search.next()).await.is_err(), "it goes on");
    assert!(!listening.is_finished());
    drop(search);
    tokio::task::yield_now().await;
    assert!(listening.is_finished());
}

/// Nothing is announced here: what ends is the daemon, and what renews.
#[tokio::test]
async fn an_announcement_ends_with_its_owner() {
    let Ok(daemon) = ServiceDaemon::new() else { return };
    let renewing = tokio::spawn(std::future::pending());
    let (task, of_daemon) = (renewing.abort_handle(), daemon.clone());
    let status = || of_daemon.status().unwrap().recv_timeout(Duration::from_millis(200));
    assert_eq!(status(), Ok(mdns_sd::DaemonStatus::Running));
    drop(Announcement { daemon, renewing });
    tokio::task::yield_now().await;
    assert!(task.is_finished());
    assert_ne!(status(), Ok(mdns_sd::DaemonStatus::Running));
}

#[test]
fn outside_of_a_runtime_nothing_is_announced_or_searched() {
    let (device, other) = friends();
    let address = "127.0.0.1:4747".parse().unwrap();
    assert!(Announcement::for_peers(&device.home, address).is_err());
    assert!(search_for_peer(&Rendezvous::from_bytes([1; 32]), other.device()).is_err());
}
