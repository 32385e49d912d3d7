//! Writing back: what stood before is read again, and holds against a later sync.
#![allow(clippy::unwrap_used)] // a panic here is the report, in helper functions too

mod common;

use common::{at, copy, get, merge, new, put};
use stronghold_vault::Stronghold;

fn undo(stronghold: &mut Stronghold, before: &Stronghold) -> Vec<String> {
    let changed = stronghold.changed_since(before);
    for location in &changed {
        stronghold.write_back(location, before, 9).unwrap();
    }
    changed.iter().map(ToString::to_string).collect()
}

#[test]
fn an_edit_a_new_record_and_a_deletion_are_written_back_and_hold_against_a_sync() {
    let mut here = new();
    put(&mut here, "c/v/edited", "old", 1);
    put(&mut here, "c/v/removed", "kept", 1);
    put(&mut here, "c/v/untouched", "same", 1);
    let before = copy(&here);
    put(&mut here, "c/v/edited", "new", 1);
    put(&mut here, "c/w/added", "by mistake", 1);
    here.remove(&at("c/v/removed"), 2).unwrap();
    let mut there = copy(&here); // a sync that carried the mistake
    assert_eq!(undo(&mut here, &before), ["c/v/edited", "c/v/removed", "c/w/added"]);
    for _ in 0..2 {
        for (name, expected) in [
            ("c/v/edited", Some("old")),
            ("c/v/removed", Some("kept")),
            ("c/v/untouched", Some("same")),
            ("c/w/added", None),
        ] {
            assert_eq!(get(&here, name).as_deref(), expected, "{name}");
        }
        merge(&mut here, &there, 3);
    }
    merge(&mut there, &here, 3);
    assert_eq!(get(&there, "c/v/edited").as_deref(), Some("old"));
    assert_eq!(get(&there, "c/w/added"), None);
    assert!(undo(&mut here, &copy(&there)).is_empty());
}

#[test]
fn a_conflict_that_was_resolved_is_a_conflict_again_with_both_values() {
    let (mut here, mut there) = (new(), new());
    put(&mut here, "c/v/r", "mine", 1);
    put(&mut there, "c/v/r", "theirs", 1);
    merge(&mut here, &there, 3);
    let before = copy(&here);
    put(&mut here, "c/v/r", "decided", 1);
    undo(&mut here, &before);
    assert!(here.read(&at("c/v/r")).unwrap().conflict);
    let mut heads = here.history(&at("c/v/r")).unwrap();
    heads.retain(|version| version.head);
    let value = |id| here.read_revision(&at("c/v/r"), id).unwrap().value.to_vec();
    let mut values: Vec<Vec<u8>> = heads.iter().map(|version| value(&version.revision)).collect();
    values.sort();
    assert_eq!(values, [b"mine".to_vec(), b"theirs".to_vec()]);
}

#[test]
fn undoing_what_was_undone_brings_it_again() {
    let mut here = new();
    put(&mut here, "c/v/r", "one", 1);
    let before = copy(&here);
    put(&mut here, "c/v/r", "two", 1);
    let after = copy(&here);
    undo(&mut here, &before);
    assert_eq!(get(&here, "c/v/r").as_deref(), Some("one"));
    undo(&mut here, &after);
    assert_eq!(get(&here, "c/v/r").as_deref(), Some("two"));
}
