//! Forgetting: when ids, histories and tombstones go, and which ones stay.

use std::{collections::BTreeSet, time::Duration};

use stronghold_sync::{DeviceId, Location, Mapping, Scope, Selection, session::Acknowledged};
use stronghold_vault::{Labels, Peer, PendingStep, RETENTION, Stronghold};

use crate::common::{at, ms, new};

const PEER: DeviceId = DeviceId::from_bytes([7; 32]);
const OTHER: DeviceId = DeviceId::from_bytes([8; 32]);
const RECORD: &str = "a/v/r";

fn peer() -> Peer {
    let (name, own_name) = ("peer".to_owned(), String::new());
    Peer { name, own_name, spki: Vec::new(), address: None, paired: ms(0), generation: 0, rendezvous: None }
}

/// A Stronghold that is paired with these devices.
fn paired(devices: &[DeviceId]) -> Stronghold {
    let mut stronghold = new();
    devices.iter().for_each(|device| stronghold.peers_mut().insert(*device, peer()));
    stronghold
}

fn acknowledge(stronghold: &mut Stronghold, device: DeviceId, generation: u64) {
    let everything = Acknowledged { scope: Scope::of(Selection::everything()), except: BTreeSet::new() };
    stronghold.peers_mut().acknowledge(&device, &everything, generation);
}

/// Writes a record so many times, each in a generation of its own from `first` on.
fn edit(stronghold: &mut Stronghold, first: u64, times: u64) {
    for generation in first..first + times {
        stronghold.set_generation(generation);
        stronghold.write(&at(RECORD), b"value", Labels::new(), ms(1)).unwrap();
    }
}

fn list_len(stronghold: &Stronghold) -> usize {
    let shapes = stronghold.shapes(&Scope::of(Selection::everything()), &Mapping::default());
    shapes.iter().map(|shape| shape.ancestors.as_slice().len()).max().unwrap_or_default()
}

fn tombstones(stronghold: &Stronghold) -> Vec<Location> {
    let shapes = stronghold.shapes(&Scope::of(Selection::everything()), &Mapping::default());
    let deleted = shapes.iter().filter(|shape| shape.deleted);
    let mut names: Vec<Location> =
        deleted.map(|shape| stronghold.names_of(&shape.location).unwrap()).collect();
    names.sort();
    names
}

fn history_len(stronghold: &Stronghold) -> usize {
    stronghold.history(&at(RECORD)).unwrap().len()
}

#[test]
fn a_list_grows_until_all_devices_have_passed_it() {
    let mut stronghold = paired(&[PEER, OTHER]);
    edit(&mut stronghold, 1, 50);
    acknowledge(&mut stronghold, OTHER, 50);
    edit(&mut stronghold, 51, 30);
    assert_eq!(list_len(&stronghold), 79, "one has passed nothing");
    acknowledge(&mut stronghold, PEER, 80);
    edit(&mut stronghold, 81, 1);
    assert_eq!(list_len(&stronghold), 32, "50 to 80, replaced after what the other has passed, and one more");
    edit(&mut stronghold, 82, 69);
    assert_eq!(list_len(&stronghold), 100);
    acknowledge(&mut stronghold, OTHER, 150);
    edit(&mut stronghold, 151, 1);
    assert_eq!(list_len(&stronghold), 71, "80 to 150: the first has passed 80");
    let revoked = stronghold.revoke(&PEER, ms(1));
    assert_eq!(revoked, 0);
    edit(&mut stronghold, 152, 100);
    acknowledge(&mut stronghold, OTHER, 300);
    stronghold.forget(ms(1));
    assert_eq!(list_len(&stronghold), 32);
}

#[test]
fn without_another_device_the_newest_ids_stay() {
    let mut stronghold = new();
    edit(&mut stronghold, 1, 100);
    assert_eq!(list_len(&stronghold), 32);
}

#[test]
fn what_a_new_file_counts_is_younger_than_what_was_acknowledged_of_the_former() {
    let mut stronghold = paired(&[PEER]);
    edit(&mut stronghold, 1, 10);
    acknowledge(&mut stronghold, PEER, 1000);
    edit(&mut stronghold, 1, 100);
    assert_eq!(list_len(&stronghold), 100);
}

#[test]
fn a_deleted_record_keeps_its_history_for_ninety_days_and_until_all_have_the_deletion() {
    let mut stronghold = paired(&[PEER]);
    edit(&mut stronghold, 1, 50);
    acknowledge(&mut stronghold, PEER, 50);
    stronghold.set_generation(60);
    stronghold.remove(&at(RECORD), ms(5)).unwrap();
    stronghold.forget(ms(u64::MAX));
    assert_eq!((list_len(&stronghold), history_len(&stronghold)), (32, 11), "it lacks the deletion");
    acknowledge(&mut stronghold, PEER, 60);
    stronghold.forget(ms(4).saturating_add(RETENTION));
    assert_eq!((list_len(&stronghold), history_len(&stronghold)), (32, 11));
    stronghold.forget(ms(5).saturating_add(RETENTION));
    assert_eq!((list_len(&stronghold), history_len(&stronghold)), (4, 1));
    assert_eq!(tombstones(&stronghold), [at(RECORD)]);
}

#[test]
fn deletions_wait_for_each_device_that_has_not_acknowledged_them() {
    let waiting = |stronghold: &Stronghold| {
        [PEER, OTHER].map(|device| stronghold.awaited(&device).map(|found| (found.deletions, found.since)))
    };
    let mut stronghold = paired(&[PEER, OTHER]);
    assert_eq!(waiting(&stronghold), [None, None]);
    for (generation, name) in [(1, "a/v/first"), (2, "a/v/second")] {
        stronghold.set_generation(generation);
        stronghold.write(&at(name), b"value", Labels::new(), ms(5)).unwrap();
        stronghold.remove(&at(name), ms(10 * generation)).unwrap();
    }
    stronghold.write(&at("a/v/kept"), b"value", Labels::new(), ms(5)).unwrap();
    assert_eq!(waiting(&stronghold), [Some((2, ms(10))), Some((2, ms(10)))]);
    acknowledge(&mut stronghold, PEER, 1);
    acknowledge(&mut stronghold, OTHER, 2);
    assert_eq!(waiting(&stronghold), [Some((1, ms(20))), None]);
    stronghold.revoke(&PEER, ms(30));
    assert_eq!(waiting(&stronghold), [None, None]);
}

#[test]
fn what_a_step_names_stays() {
    let mut stronghold = paired(&[PEER]);
    edit(&mut stronghold, 1, 5);
    stronghold.begin_step(PendingStep::command("remove", ms(5)));
    stronghold.remove(&at(RECORD), ms(5)).unwrap();
    stronghold.end_step();
    acknowledge(&mut stronghold, PEER, 100);
    stronghold.set_forgetting(0, 0, Duration::ZERO);
    stronghold.forget(ms(u64::MAX));
    assert_eq!((tombstones(&stronghold).len(), history_len(&stronghold)), (1, 6));
    assert!(stronghold.undo(ms(6)).unwrap().is_some() && stronghold.contains(&at(RECORD)));
}

#[test]
fn the_oldest_deletions_go_and_a_failed_write_brings_them_back() {
    let mut stronghold = paired(&[PEER]);
    for (time, name) in (1..).zip(["a/v/one", "a/v/two", "b/v/three", "b/v/four"]) {
        stronghold.write(&at(name), b"value", Labels::new(), ms(time)).unwrap();
        stronghold.remove(&at(name), ms(time)).unwrap();
    }
    stronghold.write(&at("b/v/kept"), b"value", Labels::new(), ms(1)).unwrap();
    acknowledge(&mut stronghold, PEER, 100);
    stronghold.set_forgetting(32, 2, RETENTION);
    let four = ["a/v/one", "a/v/two", "b/v/four", "b/v/three"].map(at);
    stronghold.forget(ms(3).saturating_add(RETENTION));
    assert_eq!(tombstones(&stronghold), [&four[1..]].concat(), "of three that are old enough, two stay");
    let before = stronghold.to_payload().unwrap();
    stronghold.begin_changes();
    stronghold.forget(ms(4).saturating_add(RETENTION));
    assert_eq!(tombstones(&stronghold), four[2..]);
    stronghold.revert_changes();
    assert_eq!(*stronghold.to_payload().unwrap(), *before);
    stronghold.forget(ms(4).saturating_add(RETENTION));
    let again = Stronghold::from_payload(&stronghold.to_payload().unwrap()).unwrap();
    assert_eq!(tombstones(&again), four[2..]);
    assert!(again.contains(&at("b/v/kept")) && !again.contains(&at("a/v/one")));
}

#[test]
fn of_what_was_disclosed_what_is_held_stays() {
    let mut stronghold = paired(&[PEER]);
    edit(&mut stronghold, 1, 3);
    let held: Vec<_> = stronghold.history(&at(RECORD)).unwrap().iter().map(|held| held.revision).collect();
    let gone = stronghold_sync::RevisionId::from_bytes([1; 32]);
    stronghold.record_disclosed(&PEER, held.iter().copied().chain([gone]));
    assert!(stronghold.peers().was_disclosed_to(&PEER, &gone));
    stronghold.forget(ms(1));
    assert!(!stronghold.peers().was_disclosed_to(&PEER, &gone));
    assert!(held.iter().all(|held| stronghold.peers().was_disclosed_to(&PEER, held)));
}
