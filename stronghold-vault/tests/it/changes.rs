//! Changes noted while they are made: stored alone they lead to the same state, and taken back they
//! leave none.

use std::fmt;

use proptest::prelude::*;
use stronghold_sync::{DeviceId, Operation, Rule, Selection, Stamp};
use stronghold_vault::{
    AuditAction, AuditRecord, DecodeError, EncodeError, Entry, Labels, MAX_HISTORY, Peer, PendingStep,
    Rendezvous, Revision, STEPS, Step, Stronghold,
};

use crate::common::*;

#[derive(Clone, Debug)]
enum Act {
    Write(u8, u8),
    Remove(u8),
    Copy(u8, u8),
    Import(u8, u8, u8),
    Purge,
    Undo,
    Redo,
    Grant(u8),
    Revoke(u8),
    Pair(u8),
    Disclose(u8, bool),
    Log(u8, u8),
    Rename(u8),
    NewIdentity,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..6_u8, any::<u8>()).prop_map(|(at, value)| Act::Write(at, value)),
        2 => (0..6_u8).prop_map(Act::Remove),
        2 => (0..6_u8, 0..6_u8).prop_map(|(from, to)| Act::Copy(from, to)),
        4 => (0..6_u8, 0..4_u8, 0..4_u8).prop_map(|(at, value, from)| Act::Import(at, value, from)),
        1 => Just(Act::Purge),
        2 => Just(Act::Undo),
        1 => Just(Act::Redo),
        1 => (0..4_u8).prop_map(Act::Grant),
        1 => (0..4_u8).prop_map(Act::Revoke),
        2 => (0..4_u8).prop_map(Act::Pair),
        2 => (0..4_u8, any::<bool>()).prop_map(|(device, all)| Act::Disclose(device, all)),
        2 => (0..4_u8, 0..3_u8).prop_map(|(device, day)| Act::Log(device, day)),
        1 => any::<u8>().prop_map(Act::Rename),
        1 => Just(Act::NewIdentity),
    ]
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 32])
}

fn name(at_number: u8) -> String {
    format!("c{}/v{}/r{at_number}", at_number % 2, at_number % 3)
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Act {
    fn run(&self, held: &mut Stronghold, now: u64) {
        match *self {
            Self::Write(to, value) => put(held, &name(to), &format!("value {value}"), now),
            Self::Copy(from, to) => _ = held.copy(&at(&name(from)), &at(&name(to)), ms(now)),
            Self::Remove(which) => _ = held.remove(&at(&name(which)), ms(now)),
            Self::Import(to, value, from) => {
                let revision = Revision {
                    salt: [value; 32],
                    author: device(from),
                    ancestors: stronghold_sync::Ancestors::default(),
                    deleted: value == 0,
                    labels: Labels::new(),
                    time: ms(1),
                    value: if value == 0 { vec![] } else { vec![value] }.into(),
                };
                let entry = Entry { location: at(&name(to)), revision };
                held.import(&[entry], device(from), ms(now), |_, _, _| Ok(())).unwrap();
            }
            Self::Purge => _ = held.purge(&Selection::everything()),
            Self::Undo => _ = held.undo(ms(now)).unwrap(),
            Self::Redo => _ = held.redo(ms(now)).unwrap(),
            Self::Grant(to) => {
                _ = held.policy_mut().grant(Rule {
                    device: device(to),
                    operations: Operation::ALL.into(),
                    selection: Selection::everything(),
                    expires: Some(ms(now)),
                    ask: false,
                })
            }
            Self::Revoke(which) => _ = held.revoke(&device(which), ms(now)),
            Self::Pair(with) => held.peers_mut().insert(
                device(with),
                Peer {
                    name: format!("device {with}"),
                    own_name: "its own".into(),
                    spki: vec![with; 91],
                    address: None,
                    paired: ms(now),
                    generation: 0,
                    rendezvous: Some(Rendezvous::from_bytes([with; 32])),
                },
            ),
            Self::Disclose(to, all) => {
                let heads = shapes(held).into_iter().map(|shape| shape.revision);
                let known: Vec<_> = heads.take(if all { 100 } else { 1 }).collect();
                held.record_disclosed(&device(to), known);
            }
            Self::Log(about, day) => {
                let time = u64::from(day) * 86_400_000 + now;
                held.log_decision(AuditRecord::about(device(about), AuditAction::Pull, ms(time)));
            }
            Self::Rename(number) => held.rename(&format!("name {number}")),
            Self::NewIdentity => _ = held.renew_identity(ms(now)).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each group of acts is one change of the file. Some are taken back instead.
    #[test]
    fn changes_lead_to_the_same_state_and_taken_back_leave_none(
        groups in prop::collection::vec((prop::collection::vec(acts(), 0..6), any::<bool>(), prop::bool::weighted(0.3)), 1..12)
    ) {
        let mut held = new();
        let mut stored = copy(&held);
        let mut now = 1;
        for (acts, in_step, taken_back) in groups {
            let before = bytes(&held);
            held.begin_changes();
            if in_step {
                held.begin_step(PendingStep::command("test", ms(now)));
            }
            for act in &acts {
                now += 1;
                act.run(&mut held, now);
            }
            let _ = held.end_step();
            if taken_back {
                held.revert_changes();
                prop_assert_eq!(bytes(&held), before, "{:?}", acts);
                continue;
            }
            let changes = held.changes().unwrap();
            held.keep_changes();
            prop_assert_eq!(changes.is_empty(), bytes(&held) == before, "{:?}", acts);
            stored.apply_changes(&changes).unwrap();
            prop_assert_eq!(bytes(&stored), bytes(&held), "{:?}", acts);
        }
    }
}

#[test]
fn a_change_costs_what_it_changes_whatever_else_there_is() {
    let len = |records: u32| {
        let mut held = new();
        for n in 0..records {
            put(&mut held, &format!("c/v/{n}"), "value", 1);
        }
        held.begin_changes();
        put(&mut held, "c/v/7", "another", 2);
        held.changes().unwrap().len()
    };
    assert_eq!(len(10), len(1000));
    assert!(len(10) < 700, "{}", len(10));
}

/// Makes a change of one step, and returns it as it is stored.
fn step(held: &mut Stronghold, now: u64, locations: &[&str]) -> Vec<u8> {
    held.begin_changes();
    held.begin_step(PendingStep::command(&format!("step {now}"), ms(now)));
    locations.iter().for_each(|location| put(held, location, &format!("value {now}"), now));
    let _ = held.end_step();
    let changes = held.changes().unwrap().to_vec();
    held.keep_changes();
    changes
}

fn open_part(payload: &[u8], location: &str, to_write: bool) -> Stronghold {
    let read = |range: std::ops::Range<u64>| {
        Ok::<_, DecodeError>(payload[range.start as usize..range.end as usize].to_vec().into())
    };
    Stronghold::open_records(payload.len() as u64, read, &[at(location).id()], to_write).unwrap()
}

fn words(held: &Stronghold) -> Vec<&str> {
    held.steps().map(Step::word).collect()
}

#[test]
fn a_record_that_was_opened_alone_follows_what_others_change() {
    let mut whole = new();
    Act::Log(1, 1).run(&mut whole, 1);
    step(&mut whole, 2, &["c/v/one", "c/v/two", "d/w/three"]);
    let payload = bytes(&whole);
    let mut changes = step(&mut whole, 3, &["c/v/one", "c/v/two", "d/w/three", "e/x/four"]);
    whole.begin_changes();
    Act::Log(2, 1).run(&mut whole, 4);
    changes.extend(&*whole.changes().unwrap());
    for (to_write, steps) in [(false, &[][..]), (true, &["step 3", "step 2"][..])] {
        let mut part = open_part(&payload, "c/v/one", to_write);
        assert_eq!(get(&part, "c/v/one").as_deref(), Some("value 2"));
        part.apply_changes(&changes).unwrap();
        assert_eq!(get(&part, "c/v/one").as_deref(), Some("value 3"));
        assert_eq!(part.history(&at("c/v/one")).unwrap(), whole.history(&at("c/v/one")).unwrap());
        assert_eq!((shapes(&part).len(), part.log().entries().count()), (1, 0), "nothing else is there");
        assert_eq!(words(&part), steps);
    }
}

#[test]
fn a_change_of_a_record_that_was_opened_alone_is_one_of_the_whole() {
    let mut whole = new();
    step(&mut whole, 1, &["c/v/one", "c/v/two"]);
    let mut part = open_part(&bytes(&whole), "c/v/one", true);
    whole.apply_changes(&step(&mut part, 2, &["c/v/one"])).unwrap();
    assert_eq!(words(&whole), ["step 2", "step 1"]);
    assert_eq!(get(&whole, "c/v/one").as_deref(), Some("value 2"));
    assert_eq!(whole.undo(ms(3)).unwrap().map(|moved| moved.records), Some(vec![at("c/v/one")]));
    assert_eq!(get(&whole, "c/v/one").as_deref(), Some("value 1"));
    part.begin_changes();
    Act::Log(1, 1).run(&mut part, 5);
    assert_eq!(part.changes().unwrap_err(), EncodeError, "the log is not there");
    let mut to_read = open_part(&bytes(&whole), "c/v/one", false);
    to_read.begin_changes();
    to_read.begin_step(PendingStep::command("put", ms(6)));
    put(&mut to_read, "c/v/one", "value", 6);
    let _ = to_read.end_step();
    assert_eq!(to_read.changes().unwrap_err(), EncodeError, "the steps are not there");
}

#[test]
fn all_that_is_known_of_other_devices_is_in_a_change() {
    let mut held = new();
    put(&mut held, "c/v/r", "value", 1);
    let mut stored = copy(&held);
    let stamp = Stamp::from_bytes([5; 8]);
    let unknown = |number: u8| stronghold_sync::RevisionId::from_bytes([number; 32]);
    let acts: [&dyn Fn(&mut Stronghold); 15] = [
        &|held| Act::Pair(1).run(held, 1),
        &|held| Act::Pair(2).run(held, 2),
        &|held| held.peers_mut().note_stamp(&device(1), None, stamp),
        &|held| held.peers_mut().note_stamp(&device(1), Some(stamp), Stamp::from_bytes([6; 8])),
        &|held| held.peers_mut().take_stamp(&device(2), None, stamp),
        &|held| held.peers_mut().restore(&device(2), None),
        &|held| held.peers_mut().set_address(&device(1), "host:1".into()),
        &|held| held.peers_mut().set_generation(&device(1), 9),
        &|held| Act::Disclose(1, true).run(held, 3),
        &|held| held.record_disclosed(&device(2), [unknown(1)]),
        &|held| held.record_disclosed(&device(2), [unknown(2)]),
        // More than twice as many as are held: they are forgotten.
        &|held| held.record_disclosed(&device(2), [unknown(3)]),
        &|held| _ = held.peers_mut().rename(&device(1), "another name").unwrap(),
        &|held| Act::Revoke(1).run(held, 4),
        &|held| Act::Pair(1).run(held, 5),
    ];
    for (number, act) in acts.iter().enumerate() {
        held.begin_changes();
        act(&mut held);
        let changes = held.changes().unwrap();
        assert!(!changes.is_empty(), "{number}");
        stored.apply_changes(&changes).unwrap();
        assert_eq!(bytes(&stored), bytes(&held), "{number}");
    }
}

#[test]
fn what_was_kept_for_a_step_goes_with_it_and_nothing_else_is_stored_for_that() {
    let mut held = new();
    let now = STEPS as u64 - 3;
    for number in 1..=now {
        step(&mut held, number, &["c/v/r"]);
    }
    for number in now + 1..=STEPS as u64 {
        step(&mut held, number, &["c/v/other"]);
    }
    let kept = |held: &Stronghold| held.replaced(&"c/v/r".parse().unwrap())[0].1;
    assert_eq!(kept(&held), STEPS - 4);
    assert!(kept(&held) > MAX_HISTORY);
    let mut stored = copy(&held);
    let (mut lens, mut left) = (Vec::new(), Vec::new());
    for number in 20..23 {
        let changes = step(&mut held, number, &["c/v/third"]);
        stored.apply_changes(&changes).unwrap();
        assert_eq!(bytes(&stored), bytes(&held));
        lens.push(changes.len());
        left.push(kept(&held));
    }
    assert_eq!(left, [12, 11, MAX_HISTORY], "the second step names what the first left");
    assert!(lens[0] + 1000 < lens[1], "{lens:?}");
}

#[test]
fn what_is_no_change_of_this_state_is_refused() {
    let mut held = new();
    put(&mut held, "c/v/r", "one", 1);
    let before = bytes(&held);
    held.begin_changes();
    held.begin_step(PendingStep::command("put", ms(2)));
    put(&mut held, "d/w/r", "two", 2);
    Act::Pair(1).run(&mut held, 3);
    Act::Log(1, 1).run(&mut held, 4);
    let _ = held.end_step();
    let changes = held.changes().unwrap();
    let base = || Stronghold::from_payload(&before).unwrap();
    for end in 1..changes.len() {
        // Cut between two items it is another, smaller change.
        let _ = base().apply_changes(&changes[..end]);
    }
    assert!(base().apply_changes(&changes[..changes.len() - 1]).is_err());
    assert!(base().apply_changes(&[9, 0, 0, 0, 0]).is_err(), "an unknown kind");
    assert!(base().apply_changes(&[1, 0xff, 0xff, 0xff, 0xff]).is_err());
    for (client, vault) in [("a/b", "v"), ("a", ""), ("", "v")] {
        let key = serde_bytes::Bytes::new(&[1; 32]);
        let mut change = stronghold_vault::encoding::encode_after(5, &(client, vault, key)).unwrap();
        let len = (change.len() - 5) as u32;
        change[..5].copy_from_slice(&[&[2][..], &len.to_be_bytes()].concat());
        assert!(base().apply_changes(&change).is_err(), "{client}/{vault} is no name");
    }
    let mut twice = base();
    twice.apply_changes(&changes).unwrap();
    assert!(twice.apply_changes(&changes).is_err(), "the vault is new only once");
    for at in 0..changes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut altered = changes.to_vec();
            altered[at] ^= flip;
            if base().apply_changes(&altered).is_ok() {
                let mut applied = base();
                applied.apply_changes(&altered).unwrap();
                let _ = applied.verify();
                applied.list(&Selection::everything()).for_each(drop);
            }
        }
    }
}

#[test]
fn a_device_that_keeps_its_name_is_no_change() {
    let mut held = Stronghold::new("own").unwrap();
    held.begin_changes();
    held.rename("other");
    assert!(!held.changes().unwrap().is_empty());
    held.rename("own");
    assert!(held.changes().unwrap().is_empty());
}
