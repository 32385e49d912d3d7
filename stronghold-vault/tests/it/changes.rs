//! Changes noted while they are made: stored alone they lead to the same state, and taken back they
//! leave none.

use std::fmt;

use proptest::prelude::*;
use stronghold_sync::{DeviceId, Operation, Rule, Selection};
use stronghold_vault::{
    AuditAction, AuditRecord, Entry, Labels, Peer, PendingStep, Rendezvous, Revision, Stronghold,
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
            Self::Copy(from, to) => _ = held.copy(&at(&name(from)), &at(&name(to)), now),
            Self::Remove(which) => _ = held.remove(&at(&name(which)), now),
            Self::Import(to, value, from) => {
                let revision = Revision {
                    salt: [value; 32],
                    author: device(from),
                    ancestors: stronghold_sync::Ancestors::default(),
                    deleted: value == 0,
                    labels: Labels::new(),
                    time: 1,
                    value: if value == 0 { vec![] } else { vec![value] }.into(),
                };
                let entry = Entry { location: at(&name(to)), revision };
                held.import(&[entry], device(from), now, |_, _, _| Ok(())).unwrap();
            }
            Self::Purge => _ = held.purge(&Selection::everything()),
            Self::Undo => _ = held.undo(now).unwrap(),
            Self::Redo => _ = held.redo(now).unwrap(),
            Self::Grant(to) => {
                _ = held.policy_mut().grant(Rule {
                    device: device(to),
                    operations: Operation::ALL.into(),
                    selection: Selection::everything(),
                    expires: Some(now),
                    ask: false,
                })
            }
            Self::Revoke(which) => _ = held.revoke(&device(which), now),
            Self::Pair(with) => held.peers_mut().insert(
                device(with),
                Peer {
                    name: format!("device {with}"),
                    own_name: "its own".into(),
                    spki: vec![with; 91],
                    address: None,
                    paired: now,
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
                held.log_decision(AuditRecord::about(device(about), AuditAction::Pull, time));
            }
            Self::Rename(number) => held.rename(&format!("name {number}")),
            Self::NewIdentity => _ = held.renew_identity(now).unwrap(),
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
                held.begin_step(PendingStep::command("test", now));
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

#[test]
fn what_is_no_change_of_this_state_is_refused() {
    let mut held = new();
    put(&mut held, "c/v/r", "one", 1);
    let before = bytes(&held);
    held.begin_changes();
    held.begin_step(PendingStep::command("put", 2));
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
