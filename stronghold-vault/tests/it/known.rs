//! Disclosures: a record disclosed to a device is listed until it changes, even after the device
//! was revoked.

use crate::common::{at, bytes, copy, merge, ms, new, put, shapes};
use stronghold_sync::{
    DeviceId, EntryId, Operation, RevisionId, Rule, Selection, Shape, Stamp, Stamps, Timestamp,
};
use stronghold_vault::{
    AuditAction, AuditRecord, DeviceNameError, FindPeerError, Identity, Peer, PendingStep, Rendezvous,
    Revoked, Stronghold,
};

const LAPTOP: DeviceId = DeviceId::from_bytes([0xA1; 32]);
const PHONE: DeviceId = DeviceId::from_bytes([0xB2; 32]);

fn peer(name: &str) -> Peer {
    Peer {
        name: name.into(),
        own_name: format!("own {name}"),
        spki: Vec::new(),
        address: None,
        paired: ms(1),
        generation: 0,
        rendezvous: None,
    }
}

fn heads(stronghold: &Stronghold, location: &str) -> Vec<RevisionId> {
    let at = at(location).id();
    shapes(stronghold).iter().filter(|shape| shape.location == at).map(|shape| shape.revision).collect()
}

/// Records that the device received the heads of the record.
fn tell(stronghold: &mut Stronghold, device: &DeviceId, location: &str) {
    let heads = heads(stronghold, location);
    stronghold.record_disclosed(device, heads);
}

fn known(stronghold: &Stronghold, device: &DeviceId) -> Vec<String> {
    let listed =
        stronghold.disclosed_to(device, &Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap();
    listed.iter().map(|entry| entry.location.to_string()).collect()
}

/// Creates three records, two of which the laptop received.
fn shared() -> Stronghold {
    let mut here = new();
    here.peers_mut().insert(LAPTOP, peer("laptop"));
    for name in ["c/v/mail", "c/v/shop", "c/w/root"] {
        put(&mut here, name, "value", 1);
    }
    tell(&mut here, &LAPTOP, "c/v/mail");
    tell(&mut here, &LAPTOP, "c/v/shop");
    here
}

#[test]
fn a_record_is_known_until_it_is_changed_or_removed() {
    let mut here = shared();
    assert_eq!(known(&here, &LAPTOP), ["c/v/mail", "c/v/shop"]);
    assert!(known(&here, &PHONE).is_empty());
    let web =
        here.disclosed_to(&LAPTOP, &"c/v/shop".parse().unwrap()).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(web, here.list(&"c/v/shop".parse().unwrap()).collect::<Result<Vec<_>, _>>().unwrap());
    put(&mut here, "c/v/mail", "changed", 2);
    here.remove(&at("c/v/shop"), ms(2)).unwrap();
    assert!(known(&here, &LAPTOP).is_empty());
    tell(&mut here, &LAPTOP, "c/v/shop");
    assert!(known(&here, &LAPTOP).is_empty(), "that it is deleted is no value");
}

#[test]
fn a_value_that_is_written_again_is_known_again() {
    let mut here = shared();
    here.begin_step(PendingStep::command("put", ms(2)));
    put(&mut here, "c/v/mail", "changed", 2);
    here.end_step();
    here.undo(ms(3)).unwrap();
    assert_eq!(known(&here, &LAPTOP), ["c/v/mail", "c/v/shop"], "undo gives it another id");
    put(&mut here, "c/w/root", "changed", 2);
    put(&mut here, "c/w/root", "value", 3);
    assert_eq!(known(&here, &LAPTOP).len(), 2, "that it never had");
}

#[test]
fn of_a_conflict_one_known_value_is_enough() {
    let mut here = shared();
    let mut there = copy(&here);
    put(&mut here, "c/v/mail", "here", 2);
    put(&mut there, "c/v/mail", "there", 9);
    merge(&mut here, &there, 3);
    assert_eq!(known(&here, &LAPTOP), ["c/v/shop"]);
    let theirs = heads(&there, "c/v/mail");
    here.record_disclosed(&LAPTOP, theirs);
    assert_eq!(known(&here, &LAPTOP), ["c/v/mail", "c/v/shop"]);
}

#[test]
fn it_outlives_revoking_and_the_payload() {
    let mut here = shared();
    here.peers_mut().remove(&LAPTOP, ms(7));
    let here = copy(&here);
    let revoked = Revoked { name: "laptop".into(), time: ms(7) };
    assert_eq!(here.peers().find("laptop"), Err(FindPeerError::Revoked(revoked.clone())));
    assert_eq!(here.peers().find("A1A1-a1a1"), Err(FindPeerError::Revoked(revoked)));
    let device = here.peers().find_including_revoked("laptop").unwrap();
    assert_eq!((device, known(&here, &device).len()), (LAPTOP, 2));
}

#[test]
fn a_device_is_found_by_the_name_given_here_a_former_name_and_the_beginning_of_its_id() {
    let mut here = shared();
    let find = |here: &Stronghold, text: &str| here.peers().find_including_revoked(text);
    for text in ["laptop", "a1a1", "A1A1a1", "a1a1-a1a1-a1a1-a1a1", "A1A1-A1", LAPTOP.to_string().as_str()] {
        assert_eq!(find(&here, text), Ok(LAPTOP), "{text}");
    }
    for text in ["", "a1a", "nobody", "b2b2", "own laptop", "Laptop", "-a1a1", "a-1-a"] {
        assert_eq!(find(&here, text), Err(FindPeerError::None), "{text}");
    }
    here.peers_mut().remove(&LAPTOP, ms(7));
    here.peers_mut().insert(PHONE, peer("laptop"));
    assert_eq!(find(&here, "laptop"), Err(FindPeerError::Several), "who has the name, and who had it");
    assert_eq!(here.peers().find("laptop").map(|(device, _)| device), Ok(PHONE));
    assert_eq!((find(&here, "a1a1"), find(&here, "b2b2")), (Ok(LAPTOP), Ok(PHONE)));
    tell(&mut here, &PHONE, "c/w/root");
    here.peers_mut().remove(&PHONE, ms(8));
    assert_eq!(find(&here, "laptop"), Err(FindPeerError::Several));
    here.peers_mut().insert(LAPTOP, peer("desk"));
    assert_eq!((find(&here, "desk"), find(&here, "laptop")), (Ok(LAPTOP), Ok(PHONE)));
    here.peers_mut().remove(&LAPTOP, ms(9));
    assert_eq!(find(&here, "desk"), Ok(LAPTOP), "the name it was last called by");
    // A device that is revoked during its request has no name left.
    let nameless = DeviceId::from_bytes([0xC3; 32]);
    tell(&mut here, &nameless, "c/w/root");
    assert_eq!(find(&here, "c3c3"), Ok(nameless));
}

#[test]
fn a_name_that_is_the_beginning_of_anothers_id_means_neither() {
    let mut here = new();
    here.peers_mut().insert(LAPTOP, peer("laptop"));
    here.peers_mut().insert(PHONE, peer("a1a1-a1a1"));
    assert_eq!(here.peers().find("a1a1-a1a1"), Err(FindPeerError::Several));
    assert_eq!(here.peers().find_including_revoked("a1a1-a1a1"), Err(FindPeerError::Several));
    assert_eq!(here.peers().find("a1a1a1a1").map(|(device, _)| device), Ok(LAPTOP));
    here.peers_mut().remove(&LAPTOP, ms(7));
    assert_eq!(
        here.peers().find_including_revoked("a1a1-a1a1"),
        Err(FindPeerError::Several),
        "the id of one that was revoked"
    );
}

#[test]
fn no_device_gets_the_name_that_another_has_or_had() {
    let mut here = shared();
    let peers = here.peers_mut();
    assert_eq!(peers.name_for(&PHONE, "Laptop"), "Laptop-b2b2");
    assert_eq!(peers.name_for(&LAPTOP, "laptop"), "laptop", "paired again");
    assert_eq!(peers.name_for(&PHONE, "lap\u{3164}top"), "lap\\u{3164}top-b2b2");
    assert_eq!(peers.name_for(&PHONE, "a1a1-a1a1"), "a1a1-a1a1-peer-b2b2");
    peers.remove(&LAPTOP, ms(7));
    assert_eq!(peers.name_for(&PHONE, "laptop"), "laptop-b2b2");
    peers.insert(PHONE, peer("phone"));
    for (name, why) in [
        ("Laptop", DeviceNameError::Taken),
        ("a1a1", DeviceNameError::LikeId),
        ("ph\u{200b}one", DeviceNameError::Hidden),
        ("", DeviceNameError::Length),
        ("a\tb", DeviceNameError::Control),
    ] {
        assert_eq!(peers.rename(&PHONE, name), Err(why), "{name:?}");
    }
    assert_eq!(peers.rename(&PHONE, "Phone").as_deref(), Ok("phone"));
    assert_eq!(here.peers().find("Phone").map(|(device, _)| device), Ok(PHONE));
    assert_eq!(here.peers().find("phone"), Err(FindPeerError::None));
}

#[test]
fn what_is_not_held_any_more_is_forgotten_in_time() {
    let mut here = new();
    put(&mut here, "c/v/kept", "value", 1);
    tell(&mut here, &LAPTOP, "c/v/kept");
    let mut twin = copy(&here);
    for n in 0..1_000 {
        put(&mut here, "c/v/changing", &n.to_string(), 1);
        tell(&mut here, &LAPTOP, "c/v/changing");
        put(&mut twin, "c/v/changing", &n.to_string(), 1);
        here.purge(&Selection::everything());
        twin.purge(&Selection::everything());
    }
    assert_eq!(known(&here, &LAPTOP), ["c/v/changing", "c/v/kept"]);
    let more = bytes(&here).len() - bytes(&twin).len();
    assert!(more < 50, "{more} bytes more than one that remembers but one record");
}

#[test]
fn of_many_that_are_held_none_is_forgotten() {
    let mut here = new();
    for n in 0..300 {
        put(&mut here, &format!("c/v/{n}"), "one", 1);
        put(&mut here, &format!("c/v/{n}"), "two", 2);
    }
    let all: Vec<RevisionId> = shapes(&here).iter().map(|shape| shape.revision).collect();
    let gone = (0..1_000u16).map(|n| {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        RevisionId::from_bytes(id)
    });
    here.record_disclosed(&LAPTOP, all.into_iter().chain(gone.clone()));
    assert_eq!(known(&here, &LAPTOP).len(), 300);
    assert!(!gone.into_iter().any(|revision| here.peers().was_disclosed_to(&LAPTOP, &revision)));
}

#[test]
fn that_a_snapshot_was_further_is_known_also_after_it_is_paired_again() {
    let mut here = new();
    here.peers_mut().insert(LAPTOP, peer("laptop"));
    here.peers_mut().set_generation(&LAPTOP, 9);
    here.peers_mut().insert(LAPTOP, peer("laptop"));
    assert_eq!(here.peers().get(&LAPTOP).unwrap().generation, 9);
}

#[test]
fn revoking_ends_trust_and_rules_and_leaves_the_name() {
    let mut here = shared();
    let rule = Rule {
        device: LAPTOP,
        operations: [Operation::Pull].into(),
        selection: Selection::everything(),
        expires: None,
        ask: false,
    };
    here.policy_mut().grant(rule);
    assert_eq!(here.revoke(&LAPTOP, ms(7)), 1);
    assert!(here.peers().get(&LAPTOP).is_none() && here.policy().rules().count() == 0);
    assert_eq!(here.peers().name_of(&LAPTOP), "laptop");
    assert_eq!(here.peers().name_of(&PHONE), PHONE.fingerprint());
    let revoked: Vec<(DeviceId, Timestamp)> =
        here.peers().revoked().map(|(device, revoked)| (*device, revoked.time)).collect();
    assert_eq!(revoked, [(LAPTOP, ms(7))]);
    assert!(here.peers_mut().remove(&LAPTOP, ms(8)).is_none(), "once");
}

#[test]
fn a_pairing_that_is_taken_back_leaves_what_stood_there() {
    let mut here = shared();
    let before = here.peers().get(&LAPTOP).cloned();
    here.peers_mut().insert(LAPTOP, peer("laptop anew"));
    assert_eq!(here.peers().name_of(&LAPTOP), "laptop anew");
    here.peers_mut().restore(&LAPTOP, before);
    assert_eq!(here.peers().name_of(&LAPTOP), "laptop");
    here.peers_mut().insert(PHONE, peer("phone"));
    here.peers_mut().restore(&PHONE, None);
    assert!(here.peers().get(&PHONE).is_none());
}

#[test]
fn where_a_device_was_reached_is_remembered_of_paired_ones_only() {
    let mut here = shared();
    here.peers_mut().set_address(&LAPTOP, "192.0.2.7:4747".into());
    here.peers_mut().set_address(&PHONE, "192.0.2.8:4747".into());
    assert_eq!(here.peers().get(&LAPTOP).unwrap().address.as_deref(), Some("192.0.2.7:4747"));
    assert!(here.peers().get(&PHONE).is_none());
}

/// The one head of a record.
fn head(stronghold: &Stronghold, location: &str) -> Shape {
    let at = at(location).id();
    shapes(stronghold).into_iter().find(|shape| shape.location == at).unwrap()
}

#[test]
fn a_device_lacks_what_it_never_had_and_a_deletion_only_of_what_it_had() {
    let mut here = shared();
    let lacks = |here: &Stronghold, name: &str| here.lacks(&LAPTOP, &head(here, name));
    assert_eq!((lacks(&here, "c/v/mail"), lacks(&here, "c/w/root")), (false, true));
    here.remove(&at("c/v/mail"), ms(2)).unwrap();
    here.remove(&at("c/w/root"), ms(2)).unwrap();
    assert_eq!((lacks(&here, "c/v/mail"), lacks(&here, "c/w/root")), (true, false));
    tell(&mut here, &LAPTOP, "c/v/mail");
    assert!(!lacks(&here, "c/v/mail"), "the deletion too");
    here.purge(&Selection::everything());
    here.remove(&at("c/v/shop"), ms(2)).unwrap();
    let deletion = head(&here, "c/v/shop");
    assert!(here.lacks(&LAPTOP, &deletion) && !here.lacks(&PHONE, &deletion));
    let elsewhere = Shape { location: at("d/v/r").id(), ..deletion };
    assert!(!here.lacks(&LAPTOP, &elsewhere));
    put(&mut here, "c/v/mail", "new", 3);
    assert!(lacks(&here, "c/v/mail"));
}

#[test]
fn a_head_is_delivered_by_the_device_that_brought_it_and_by_no_other() {
    let (mut here, mut there) = (new(), new());
    put(&mut there, "c/v/theirs", "value", 1);
    put(&mut here, "c/v/own", "value", 1);
    merge(&mut here, &there, 2);
    let device = there.identity().device();
    let (theirs, own) = (head(&here, "c/v/theirs").entry(), head(&here, "c/v/own").entry());
    assert!(here.is_delivered_by(&device, &theirs));
    assert!(!here.is_delivered_by(&PHONE, &theirs) && !here.is_delivered_by(&device, &own));
    assert!(!here.is_delivered_by(&device, &EntryId { revision: own.revision, ..theirs }));
    assert!(!here.is_delivered_by(&device, &EntryId { location: at("c/v/none").id(), ..theirs }));
    put(&mut here, "c/v/theirs", "changed", 3);
    assert!(!here.is_delivered_by(&device, &theirs), "it is no head any more");
    put(&mut there, "c/v/theirs", "again", 4);
    let beside = head(&there, "c/v/theirs").entry();
    merge(&mut here, &there, 5);
    assert!(here.is_delivered_by(&device, &beside), "beside a head of this device");
}

#[test]
fn an_old_value_counts_only_where_a_head_says_it_again() {
    let mut here = shared();
    put(&mut here, "c/v/mail", "two", 2);
    put(&mut here, "c/v/shop", "", 2);
    here.remove(&at("c/v/shop"), ms(3)).unwrap();
    tell(&mut here, &LAPTOP, "c/v/shop");
    put(&mut here, "c/v/shop", "", 4);
    assert!(known(&here, &LAPTOP).is_empty(), "an empty value is not what the deletion was");
    put(&mut here, "c/v/mail", "value", 5);
    assert_eq!(known(&here, &LAPTOP), ["c/v/mail"]);
    assert!(known(&here, &PHONE).is_empty());
    let mut there = copy(&here);
    put(&mut there, "c/v/mail", "theirs", 6);
    here.remove(&at("c/v/mail"), ms(6)).unwrap();
    merge(&mut here, &there, 7);
    assert!(known(&here, &LAPTOP).is_empty(), "of the heads the one is another value, the other none");
}

#[test]
fn of_revisions_that_are_not_held_twice_as_many_as_are_held_are_remembered() {
    let mut here = new();
    put(&mut here, "c/v/a", "one", 1);
    put(&mut here, "c/v/a", "two", 2); // head and history are held: two
    let gone = |n: u8| RevisionId::from_bytes([n; 32]);
    let held = heads(&here, "c/v/a")[0];
    here.record_disclosed(&LAPTOP, [gone(1), gone(2), gone(3), held]);
    let knows = |here: &Stronghold, n| here.peers().was_disclosed_to(&LAPTOP, &gone(n));
    assert!((1..=3).all(|n| knows(&here, n)));
    here.record_disclosed(&LAPTOP, [gone(2), held]);
    assert!((1..=3).all(|n| knows(&here, n)), "each counts once");
    here.record_disclosed(&PHONE, [gone(4)]);
    here.record_disclosed(&LAPTOP, [gone(4)]);
    assert!(!(1..=4).any(|n| knows(&here, n)) && here.peers().was_disclosed_to(&LAPTOP, &held));
    assert!(here.peers().was_disclosed_to(&PHONE, &gone(4)), "of each device by itself");
}

#[test]
fn the_more_are_held_the_more_are_remembered() {
    let mut here = new();
    for value in ["one", "two", "three"] {
        put(&mut here, "c/v/a", value, 1);
    }
    let gone = |n: u8| RevisionId::from_bytes([n; 32]);
    here.record_disclosed(&LAPTOP, (1..=6).map(gone));
    let knows = |here: &Stronghold, n| here.peers().was_disclosed_to(&LAPTOP, &gone(n));
    assert!((1..=6).all(|n| knows(&here, n)), "twice as many as are held");
    here.record_disclosed(&LAPTOP, [gone(7)]);
    assert!(!(1..=7).any(|n| knows(&here, n)), "one more");
}

#[test]
fn of_a_conflict_each_head_is_of_the_device_that_delivered_it() {
    let (mut here, mut there) = (new(), new());
    put(&mut here, "c/v/mail", "here", 1);
    put(&mut there, "c/v/mail", "there", 1);
    let [own, theirs] = [&here, &there].map(|stronghold| shapes(stronghold)[0].entry());
    merge(&mut here, &there, 2);
    let device = there.identity().device();
    assert_eq!(heads(&here, "c/v/mail").len(), 2);
    assert!(here.is_delivered_by(&device, &theirs) && !here.is_delivered_by(&device, &own));
    assert!(!here.is_delivered_by(&PHONE, &theirs));
}

/// Shapes of many records are not copied while they are collected.
#[test]
fn shapes_take_as_much_room_as_there_are_records() {
    let mut here = new();
    (0..5).for_each(|n| put(&mut here, &format!("c/v/{n}"), "value", 1));
    let shapes = shapes(&here);
    assert_eq!((shapes.len(), shapes.capacity()), (5, 5));
}

#[test]
fn a_device_of_which_nothing_is_told_is_not_remembered() {
    let mut here = new();
    let before = bytes(&here);
    here.record_disclosed(&PHONE, []);
    assert_eq!(bytes(&here), before);
    assert_eq!(here.peers().find_including_revoked(&PHONE.to_string()), Err(FindPeerError::None));
}

#[test]
fn stamps_are_kept_of_paired_devices_as_long_as_they_are() {
    let stamp = |n: u8| Stamp::from_bytes([n; 8]);
    let mut here = shared();
    let peers = here.peers_mut();
    let mut expected = Stamps::default();
    for (shown, next) in [(None, stamp(1)), (Some(stamp(1)), stamp(2))] {
        peers.note_stamp(&LAPTOP, shown, next);
        expected.note(shown, next);
        assert_eq!(peers.stamps(&LAPTOP), expected);
    }
    peers.take_stamp(&LAPTOP, None, stamp(3));
    peers.take_stamp(&LAPTOP, Some(stamp(9)), stamp(4));
    assert_eq!(peers.own_stamp(&LAPTOP), Some(stamp(3)), "it showed another");
    peers.take_stamp(&LAPTOP, Some(stamp(3)), stamp(5));
    assert_eq!((peers.own_stamp(&LAPTOP), peers.stamps(&LAPTOP)), (Some(stamp(5)), expected.clone()));
    peers.note_stamp(&PHONE, None, stamp(1));
    peers.take_stamp(&PHONE, None, stamp(1));
    assert_eq!((peers.own_stamp(&PHONE), peers.stamps(&PHONE)), (None, Stamps::default()), "not paired");

    let mut here = copy(&here);
    let before = here.peers().get(&LAPTOP).cloned();
    here.peers_mut().restore(&LAPTOP, before);
    assert_eq!(here.peers().own_stamp(&LAPTOP), Some(stamp(5)), "it was paired before");
    here.peers_mut().insert(PHONE, peer("phone"));
    here.peers_mut().take_stamp(&PHONE, None, stamp(6));
    here.peers_mut().restore(&PHONE, None);
    assert_eq!(here.peers().own_stamp(&PHONE), None);
    here.peers_mut().remove(&LAPTOP, ms(7));
    here.peers_mut().insert(LAPTOP, peer("laptop"));
    assert_eq!((here.peers().own_stamp(&LAPTOP), here.peers().stamps(&LAPTOP)), (None, Stamps::default()));
}

#[test]
fn pairing_again_keeps_what_the_other_side_can_not_tell() {
    let mut here = new();
    let whole = |address: Option<&str>, generation| Peer {
        address: address.map(str::to_owned),
        generation,
        paired: ms(9),
        rendezvous: Some(Rendezvous::from_bytes([generation as u8; 32])),
        ..peer("laptop")
    };
    here.peers_mut().insert(LAPTOP, whole(Some("one:1"), 4));
    assert_eq!(here.peers().get(&LAPTOP), Some(&whole(Some("one:1"), 4)));
    here.peers_mut().insert(LAPTOP, whole(None, 5));
    let kept = |address, peer: Peer| Peer { address: Some(String::from(address)), generation: 4, ..peer };
    assert_eq!(here.peers().get(&LAPTOP), Some(&kept("one:1", whole(None, 5))));
    here.peers_mut().insert(LAPTOP, whole(Some("two:2"), 6));
    assert_eq!(here.peers().get(&LAPTOP), Some(&kept("two:2", whole(None, 6))));
    here.peers_mut().set_generation(&LAPTOP, 8);
    here.peers_mut().set_generation(&PHONE, 8);
    assert_eq!(here.peers().get(&LAPTOP).map(|peer| peer.generation), Some(8));
    let paired: Vec<&DeviceId> = here.peers().iter().map(|(device, _)| device).collect();
    assert_eq!(paired, [&LAPTOP]);
    let rendezvous = Rendezvous::from_bytes([7; 32]);
    assert_eq!((rendezvous.as_bytes(), format!("{rendezvous:?}")), (&[7; 32], "Rendezvous(..)".to_owned()));
}

#[test]
fn who_is_paired_again_is_revoked_no_more_and_one_that_is_renamed_is_known_by_that_name() {
    let mut here = shared();
    here.peers_mut().remove(&LAPTOP, ms(7));
    here.peers_mut().insert(LAPTOP, peer("desk"));
    assert_eq!(here.peers().revoked().count(), 0);
    assert_eq!(here.peers_mut().rename(&LAPTOP, "table").as_deref(), Ok("desk"));
    assert_eq!(here.peers_mut().rename(&PHONE, "nobody").as_deref(), Ok(""));
    here.peers_mut().remove(&LAPTOP, ms(8));
    assert_eq!(here.peers().name_of(&LAPTOP), "table");
    let revoked = here.peers().revoked().next().map(|(device, revoked)| (*device, revoked.clone()));
    assert_eq!(revoked, Some((LAPTOP, Revoked { name: "table".into(), time: ms(8) })));
    assert_eq!(
        (here.peers().find_including_revoked("table"), here.peers().find_including_revoked("desk")),
        (Ok(LAPTOP), Err(FindPeerError::None))
    );
}

#[test]
fn what_a_device_was_called_before_is_not_stored() {
    let mut here = new();
    here.peers_mut().insert(LAPTOP, Peer { own_name: "its own".into(), ..peer("its former name") });
    put(&mut here, "c/v/r", "value", 1);
    tell(&mut here, &LAPTOP, "c/v/r");
    let is_stored =
        |here: &Stronghold, name: &str| bytes(here).windows(name.len()).any(|part| part == name.as_bytes());
    assert!(is_stored(&here, "its former name"));
    assert_eq!(here.peers_mut().rename(&LAPTOP, "its new name").as_deref(), Ok("its former name"));
    assert!(!is_stored(&here, "its former name") && is_stored(&here, "its new name"));
    here.peers_mut().insert(LAPTOP, peer("another"));
    assert!(!is_stored(&here, "its new name"));
}

#[test]
fn revoking_and_a_new_identity_are_logged_and_every_paired_device_is_told() {
    let mut here = shared();
    here.peers_mut().insert(PHONE, peer("phone"));
    let was = here.identity().device();
    let paired = here.renew_identity(ms(9)).unwrap();
    assert_eq!(paired, [(LAPTOP, peer("laptop")), (PHONE, peer("phone"))]);
    assert!(here.identity().device() != was && here.peers().iter().next().is_none());
    assert_eq!(
        here.peers().find("laptop"),
        Err(FindPeerError::Revoked(Revoked { name: "laptop".into(), time: ms(9) }))
    );
    let mut expected = stronghold_vault::AuditLog::default();
    for (device, deed) in
        [(was, AuditAction::Renewed), (LAPTOP, AuditAction::Revoked), (PHONE, AuditAction::Revoked)]
    {
        expected.append(AuditRecord::about(device, deed, ms(9)));
    }
    assert!(here.log().entries().eq(expected.entries()));
    assert_eq!(known(&here, &LAPTOP), ["c/v/mail", "c/v/shop"]);
    here.rename("other");
    assert_eq!(copy(&here).name(), "other");
}

#[test]
fn a_peers_public_key_is_the_one_it_was_paired_with() {
    let public = Identity::from_bytes(&[7; 32]).unwrap().public().clone();
    let with = |spki: &[u8]| Peer { spki: spki.to_vec(), ..peer("laptop") }.public().ok();
    assert_eq!((with(public.spki()), with(&[])), (Some(public), None));
}
