//! Undo and redo, step by step: earlier values are readable again, and survive a later sync.

use crate::common::{at, copy, get, merge, ms, new, put};
use stronghold_sync::{DeviceId, Operation, Rule, Selection};
use stronghold_vault::{PendingStep, RulesOutcome, STEPS, Stronghold, UndoSkipReason};

/// Makes one step of several changes.
fn step(stronghold: &mut Stronghold, word: &str, change: impl FnOnce(&mut Stronghold)) {
    step_of(stronghold, &mut PendingStep::command(word, ms(1)), change);
}

fn step_of(stronghold: &mut Stronghold, underway: &mut PendingStep, change: impl FnOnce(&mut Stronghold)) {
    stronghold.begin_step(underway.clone());
    change(stronghold);
    *underway = stronghold.end_step().unwrap();
}

fn put_step(stronghold: &mut Stronghold, location: &str, value: &str) {
    step(stronghold, "put", |stronghold| put(stronghold, location, value, 1));
}

fn undo(stronghold: &mut Stronghold) -> Vec<String> {
    let expected = stronghold.would_undo();
    let moved = stronghold.undo(ms(9)).unwrap();
    assert_eq!(moved, expected);
    moved.map_or_else(Vec::new, |moved| moved.records.iter().map(ToString::to_string).collect())
}

fn redo(stronghold: &mut Stronghold) -> Vec<String> {
    let expected = stronghold.would_redo();
    let moved = stronghold.redo(ms(9)).unwrap();
    assert_eq!(moved, expected);
    moved.map_or_else(Vec::new, |moved| moved.records.iter().map(ToString::to_string).collect())
}

fn words(stronghold: &Stronghold) -> Vec<String> {
    stronghold.steps().map(|step| step.word().to_owned()).collect()
}

#[test]
fn an_edit_a_new_record_and_a_deletion_are_written_back_and_hold_against_a_sync() {
    let mut here = new();
    put(&mut here, "c/v/edited", "old", 1);
    put(&mut here, "c/v/removed", "kept", 1);
    put(&mut here, "c/v/untouched", "same", 1);
    step(&mut here, "mistake", |here| {
        put(here, "c/v/edited", "new", 1);
        put(here, "c/w/added", "by mistake", 1);
        here.remove(&at("c/v/removed"), ms(2)).unwrap();
    });
    let mut there = copy(&here); // a sync that carried the mistake
    assert_eq!(undo(&mut here), ["c/v/edited", "c/v/removed", "c/w/added"]);
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
    assert!(undo(&mut here).is_empty());
}

#[test]
fn a_conflict_that_was_resolved_is_a_conflict_again_with_both_values() {
    let (mut here, mut there) = (new(), new());
    put(&mut here, "c/v/r", "mine", 1);
    put(&mut there, "c/v/r", "theirs", 1);
    merge(&mut here, &there, 3);
    put_step(&mut here, "c/v/r", "decided");
    undo(&mut here);
    assert!(here.read(&at("c/v/r")).unwrap().conflict);
    let mut heads = here.history(&at("c/v/r")).unwrap();
    heads.retain(|version| version.head);
    let value = |id| here.read_revision(&at("c/v/r"), id).unwrap().value.to_vec();
    let mut values: Vec<Vec<u8>> = heads.iter().map(|version| value(&version.revision)).collect();
    values.sort();
    assert_eq!(values, [b"mine".to_vec(), b"theirs".to_vec()]);
    assert_eq!(redo(&mut here), ["c/v/r"]);
    assert_eq!(get(&here, "c/v/r").as_deref(), Some("decided"));
    assert!(!here.read(&at("c/v/r")).unwrap().conflict);
}

#[test]
fn each_undo_goes_one_further_back_and_each_redo_one_forward_as_often_as_one_likes() {
    let mut here = new();
    for n in 0..6 {
        put_step(&mut here, "c/v/r", &n.to_string());
        put_step(&mut here, &format!("c/w/{n}"), "beside");
    }
    for turn in 0..3 {
        let mut here = copy(&here); // also after it was stored
        for n in (0..5).rev() {
            assert_eq!(undo(&mut here).len(), 1);
            assert_eq!(undo(&mut here), ["c/v/r"]);
            assert_eq!(get(&here, "c/v/r"), Some(n.to_string()));
            if turn > 0 {
                assert_eq!((redo(&mut here), undo(&mut here)), (vec!["c/v/r".into()], vec!["c/v/r".into()]));
                assert_eq!(get(&here, "c/v/r"), Some(n.to_string()));
            }
        }
        for n in 1..6 {
            assert_eq!(redo(&mut here), ["c/v/r"]);
            assert_eq!(get(&here, "c/v/r"), Some(n.to_string()));
            assert_eq!(redo(&mut here).len(), 1);
        }
        assert!(redo(&mut here).is_empty());
    }
}

#[test]
fn a_record_that_was_changed_since_is_named_and_left() {
    let mut here = new();
    step(&mut here, "import", |here| {
        put(here, "c/v/one", "1", 1);
        put(here, "c/v/two", "2", 1);
    });
    let mut there = copy(&here);
    put(&mut there, "c/v/one", "others", 2);
    merge(&mut here, &there, 3); // no step
    let moved = here.undo(ms(4)).unwrap().unwrap();
    assert_eq!(moved.records, [at("c/v/two")]);
    assert_eq!(moved.skipped, [(at("c/v/one"), UndoSkipReason::ChangedSince)]);
    assert_eq!((get(&here, "c/v/one").as_deref(), get(&here, "c/v/two")), (Some("others"), None));
    assert_eq!(redo(&mut here), ["c/v/two"]);
}

#[test]
fn what_changes_nothing_is_no_step_and_the_oldest_of_seventeen_goes() {
    let mut here = new();
    step(&mut here, "nothing", |_| {});
    step(&mut here, "log", |here| here.rename("other"));
    assert!(here.steps().next().is_none());
    for n in 0..STEPS + 1 {
        put_step(&mut here, "c/v/r", &n.to_string());
        step(&mut here, "nothing", |_| {});
    }
    assert_eq!(here.steps().count(), STEPS);
    for n in (0..STEPS).rev() {
        undo(&mut here);
        assert_eq!(get(&here, "c/v/r"), Some(n.to_string()), "however many values that takes");
    }
    assert!(undo(&mut here).is_empty());
    // Revisions that only steps kept are dropped with the steps.
    for n in 0..STEPS + 1 {
        put_step(&mut here, &format!("c/w/{n}"), "x");
    }
    assert!(here.history(&at("c/v/r")).unwrap().len() <= 1 + stronghold_vault::MAX_HISTORY);
}

#[test]
fn one_step_may_take_many_commits_and_another_in_between() {
    let mut here = new();
    put(&mut here, "c/v/r", "before", 1);
    let mut sync = PendingStep::command("sync", ms(5));
    for n in 0..3 {
        step_of(&mut here, &mut sync, |here| put(here, "c/v/r", &n.to_string(), 1));
        here = copy(&here);
    }
    put_step(&mut here, "c/v/other", "x");
    step_of(&mut here, &mut sync, |here| put(here, "c/v/more", "y", 1));
    assert_eq!(words(&here), ["put", "sync"]);
    assert_eq!(undo(&mut here), ["c/v/other"]);
    assert_eq!(undo(&mut here), ["c/v/more", "c/v/r"]);
    assert_eq!(get(&here, "c/v/r").as_deref(), Some("before"));
}

#[test]
fn what_peers_push_leaves_the_owners_own_last_steps_in_the_list() {
    let mut here = new();
    for n in 0..STEPS / 2 {
        put_step(&mut here, "c/v/mine", &n.to_string());
    }
    undo(&mut here);
    for n in 0..40 {
        let mut served = PendingStep::served("serve: phone", ms(n));
        step_of(&mut here, &mut served, |here| put(here, "c/v/theirs", &n.to_string(), 1));
    }
    assert_eq!(words(&here).iter().filter(|word| *word == "put").count(), STEPS / 2);
    assert_eq!(redo(&mut here), ["c/v/mine"], "and what was taken back can still be done again");
}

#[test]
fn purged_values_are_not_brought_back_and_that_is_said() {
    let mut here = new();
    put_step(&mut here, "c/v/r", "secret");
    put_step(&mut here, "c/v/r", "new");
    put_step(&mut here, "c/v/s", "other");
    assert_eq!(here.purge(&"c/v/r".parse().unwrap()), 1);
    assert_eq!(undo(&mut here), ["c/v/s"]);
    for _ in 0..2 {
        let moved = here.undo(ms(9)).unwrap().unwrap();
        assert_eq!(moved.skipped, [(at("c/v/r"), UndoSkipReason::Purged)]);
    }
    assert_eq!(get(&here, "c/v/r").as_deref(), Some("new"));
    assert!(here.undo(ms(9)).unwrap().is_none());
}

#[test]
fn rules_are_put_back_but_never_those_of_a_device_that_was_revoked_since() {
    let rule = |device: u8| Rule {
        device: DeviceId::from_bytes([device; 32]),
        operations: [Operation::Pull].into(),
        selection: Selection::everything(),
        expires: None,
        ask: false,
    };
    let grant = |here: &mut Stronghold, device| {
        step(here, "grant", |here| {
            here.policy_mut().grant(rule(device));
        })
    };
    let mut here = new();
    grant(&mut here, 1);
    grant(&mut here, 2);
    let moved = here.undo(ms(9)).unwrap().unwrap();
    assert_eq!(
        (moved.records.len(), moved.rules, here.policy().rules().count()),
        (0, RulesOutcome::PutBack, 1)
    );
    here.redo(ms(9)).unwrap();
    assert_eq!(here.policy().rules().count(), 2);
    here.revoke(&rule(1).device, ms(10));
    assert_eq!(here.policy().rules().count(), 1);
    here.undo(ms(9)).unwrap();
    here.undo(ms(9)).unwrap();
    here.redo(ms(9)).unwrap();
    here.redo(ms(9)).unwrap();
    assert!(here.policy().rules().all(|rule| rule.device != DeviceId::from_bytes([1; 32])));
}

#[test]
fn what_a_purge_would_remove_is_told_with_its_number_and_nothing_else() {
    let mut here = new();
    for (location, values) in [("a/v/once", 1), ("a/v/thrice", 3), ("b/v/twice", 2)] {
        (0..values).for_each(|number| put(&mut here, location, &number.to_string(), number));
    }
    let told = |here: &Stronghold, selection: &str| -> Vec<(String, usize)> {
        let replaced = here.replaced(&selection.parse().unwrap());
        replaced.into_iter().map(|(at, count)| (at.to_string(), count)).collect()
    };
    assert_eq!(told(&here, "**"), [("a/v/thrice".to_owned(), 2), ("b/v/twice".to_owned(), 1)]);
    assert_eq!(told(&here, "b"), [("b/v/twice".to_owned(), 1)]);
    assert_eq!(here.purge(&"a".parse().unwrap()), 2);
    assert_eq!(told(&here, "**"), [("b/v/twice".to_owned(), 1)]);
}

#[test]
fn records_are_told_in_the_order_of_their_names() {
    let mut here = new();
    let names: Vec<String> = (0..9).map(|n| format!("client-{n}/vault-{}/record-{n}", 9 - n)).collect();
    step(&mut here, "import", |here| names.iter().for_each(|name| put(here, name, "one", 1)));
    names.iter().for_each(|name| put(&mut here, name, "two", 1));
    let all = |told: Vec<(stronghold_sync::Location, usize)>| -> Vec<String> {
        told.into_iter().map(|(at, _)| at.to_string()).collect()
    };
    assert_eq!(all(here.replaced(&Selection::everything())), names);
    let left: Vec<_> = here.would_undo().unwrap().skipped;
    assert_eq!(left, names.iter().map(|name| (at(name), UndoSkipReason::ChangedSince)).collect::<Vec<_>>());
    step(&mut here, "import", |here| names.iter().for_each(|name| put(here, name, "three", 1)));
    assert_eq!(undo(&mut here), names);
}

#[test]
fn what_is_written_back_has_its_labels_and_the_time_of_going_back() {
    let mut here = new();
    let labels = stronghold_vault::Labels::from([("from".to_owned(), "csv".to_owned())]);
    here.write(&at("c/v/r"), b"old", labels.clone(), ms(1)).unwrap();
    put_step(&mut here, "c/v/r", "new");
    here.undo(ms(77)).unwrap();
    let read = here.read(&at("c/v/r")).unwrap();
    assert_eq!((read.revision.labels, read.modified), (labels, ms(77)));
    assert_eq!(here.history(&at("c/v/r")).unwrap().len(), 3);
    here.redo(ms(78)).unwrap();
    assert_eq!(here.read(&at("c/v/r")).unwrap().modified, ms(78));
}
