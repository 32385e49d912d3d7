//! Copies of records at other locations: their history, conflicts and disclosures come along.

use crate::common::{at, copy, get, merge, ms, new, put, shapes};
use stronghold_sync::{DeviceId, Selection};
use stronghold_vault::{MAX_HISTORY, PendingStep, Stronghold, WriteError};

fn values(stronghold: &Stronghold, location: &str) -> Vec<String> {
    let history = stronghold.history(&at(location)).unwrap();
    let value = |revision| stronghold.read_revision(&at(location), revision).unwrap().value.to_vec();
    let live = history.iter().filter(|version| !version.deleted);
    live.map(|version| String::from_utf8(value(&version.revision)).unwrap()).collect()
}

#[test]
fn the_history_comes_along_with_its_authors_and_survives_a_save() {
    let (mut here, mut there) = (new(), new());
    put(&mut there, "a/v/one", "first", 1);
    merge(&mut here, &there, 2);
    put(&mut here, "a/v/one", "second", 3);
    here.copy(&at("a/v/one"), &at("b/w/two"), ms(4)).unwrap();
    let here = copy(&here);
    assert_eq!(values(&here, "b/w/two"), ["second", "second", "first"]);
    let history = here.history(&at("b/w/two")).unwrap();
    let authors: Vec<DeviceId> = history.iter().filter_map(|version| version.author).collect();
    let (own, other) = (here.identity().device(), there.identity().device());
    assert_eq!(authors, [own, own, other]);
    assert_eq!(history.iter().filter(|version| version.head).count(), 1);
    assert_eq!((get(&here, "a/v/one").as_deref(), here.verify().is_ok()), (Some("second"), true));
}

/// Histories kept for steps of the source are not kept for the copy.
#[test]
fn no_more_of_a_history_is_copied_than_is_kept() {
    let mut here = new();
    for number in 1..=16 {
        here.begin_step(PendingStep::command("put", ms(number)));
        put(&mut here, "a/v/one", &number.to_string(), number);
        let _ = here.end_step();
    }
    here.copy(&at("a/v/one"), &at("b/w/two"), ms(17)).unwrap();
    let kept = [(at("a/v/one"), 15), (at("b/w/two"), MAX_HISTORY)];
    assert_eq!(here.replaced(&Selection::everything()), kept);
    assert_eq!(values(&here, "b/w/two")[..3], ["16", "16", "15"]);
}

#[test]
fn a_conflict_arrives_as_a_conflict() {
    let (mut here, mut there) = (new(), new());
    put(&mut here, "a/v/one", "mine", 1);
    put(&mut there, "a/v/one", "theirs", 1);
    merge(&mut here, &there, 2);
    here.copy(&at("a/v/one"), &at("a/v/two"), ms(3)).unwrap();
    let conflicts = here.conflicts(&Selection::everything()).unwrap();
    let names: Vec<String> = conflicts.iter().map(|(location, _)| location.to_string()).collect();
    assert_eq!(names, ["a/v/one", "a/v/two"]);
    let mut values = values(&here, "a/v/two");
    values.sort();
    assert_eq!(values, ["mine", "mine", "theirs", "theirs"]);
}

#[test]
fn a_record_is_not_copied_onto_another_but_where_one_was() {
    let mut here = new();
    put(&mut here, "a/v/one", "one", 1);
    put(&mut here, "a/v/two", "two", 1);
    let before = shapes(&here).len();
    assert_eq!(here.copy(&at("a/v/one"), &at("a/v/two"), ms(2)), Err(WriteError::Exists));
    assert_eq!(here.copy(&at("a/v/none"), &at("a/v/new"), ms(2)), Err(WriteError::NotFound));
    here.remove(&at("a/v/two"), ms(3)).unwrap();
    assert_eq!(here.copy(&at("a/v/two"), &at("a/v/new"), ms(4)), Err(WriteError::NotFound));
    assert_eq!(shapes(&here).len(), before);
    here.copy(&at("a/v/one"), &at("a/v/two"), ms(5)).unwrap();
    // There and back again: each revision is in the history once.
    here.remove(&at("a/v/one"), ms(6)).unwrap();
    here.copy(&at("a/v/two"), &at("a/v/one"), ms(7)).unwrap();
    assert_eq!(values(&here, "a/v/one"), ["one", "one", "one", "two"]);
    assert!(copy(&here).verify().is_ok());
}

#[test]
fn a_device_that_had_the_value_is_known_to_have_it_under_the_new_name() {
    let mut here = new();
    let phone = DeviceId::from_bytes([7; 32]);
    put(&mut here, "a/v/one", "known", 1);
    let heads: Vec<_> = shapes(&here).iter().map(|shape| shape.revision).collect();
    here.record_disclosed(&phone, heads);
    here.copy(&at("a/v/one"), &at("a/v/two"), ms(2)).unwrap();
    here.remove(&at("a/v/one"), ms(3)).unwrap();
    let everything = Selection::everything();
    let known: Vec<_> = here.disclosed_to(&phone, &everything).map(|record| record.unwrap()).collect();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].location, at("a/v/two"));
}

#[test]
fn a_move_is_undone_as_one_step_and_meets_an_edit_as_a_conflict() {
    let mut here = new();
    put(&mut here, "a/v/one", "value", 1);
    let mut there = copy(&here);
    here.begin_step(PendingStep::command("move", ms(2)));
    here.copy(&at("a/v/one"), &at("a/v/two"), ms(2)).unwrap();
    here.remove(&at("a/v/one"), ms(2)).unwrap();
    here.end_step();
    put(&mut there, "a/v/one", "edited", 3);
    let mut both = copy(&here);
    merge(&mut both, &there, 4);
    assert_eq!(get(&both, "a/v/one").as_deref(), Some("edited"));
    assert_eq!(both.conflicts(&Selection::everything()).unwrap().len(), 1);
    here.undo(ms(5)).unwrap();
    assert_eq!((get(&here, "a/v/one").as_deref(), get(&here, "a/v/two")), (Some("value"), None));
}
