//! Local sync between two Strongholds: only selected records arrive, under their own or mapped
//! names; conflicts end as configured; many losses need a person's confirmation; and the plan
//! matches the result.

use stronghold_snapshot::{Merge, MergeError, Merged};
use stronghold_sync::{Mapping, OnConflict, Selection, Timestamp};
use stronghold_vault::{Labels, Stronghold};

const NOW: u64 = 1_700_000_000_000;

fn new() -> Stronghold {
    Stronghold::new("device").unwrap()
}

fn put(stronghold: &mut Stronghold, location: &str, value: &str) {
    stronghold
        .write(&location.parse().unwrap(), value.as_bytes(), Labels::new(), Timestamp::from_millis(NOW))
        .unwrap();
}

fn remove(stronghold: &mut Stronghold, location: &str) {
    stronghold.remove(&location.parse().unwrap(), Timestamp::from_millis(NOW)).unwrap();
}

/// Returns all readable records: names and values.
fn readable(stronghold: &Stronghold) -> Vec<(String, String)> {
    let listed = stronghold.list(&Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap();
    let value = |location| stronghold.read(location).unwrap().revision.value.to_vec();
    listed
        .iter()
        .map(|entry| (entry.location.to_string(), String::from_utf8(value(&entry.location)).unwrap()))
        .collect()
}

fn merge(selection: &str) -> Merge {
    Merge {
        selection: selection.parse().unwrap(),
        mapping: Mapping::default(),
        on_conflict: OnConflict::KeepBoth,
        deletions_confirmed: false,
        now: Timestamp::from_millis(NOW),
    }
}

/// Runs a merge and checks that its effect matches the plan.
fn run(merge: &Merge, into: &mut Stronghold, from: &Stronghold) -> Merged {
    let planned = Merged::from(&merge.plan(into, from));
    let merged = merge.run(into, from).unwrap();
    assert_eq!(merged, planned);
    merged
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn what_is_selected_comes_and_nothing_else() {
    let (mut into, mut from) = (new(), new());
    put(&mut into, "own/v/r", "mine");
    for location in ["a/v/one", "a/v/two", "a/w/one", "b/v/one"] {
        put(&mut from, location, location);
    }
    let merged = run(&merge("a/v/**"), &mut into, &from);
    assert_eq!(merged, Merged { received: 2, ..Merged::default() });
    assert_eq!(
        readable(&into),
        pairs(&[("a/v/one", "a/v/one"), ("a/v/two", "a/v/two"), ("own/v/r", "mine")])
    );
    let again = run(&merge("a/v/**"), &mut into, &from);
    assert_eq!(again, Merged { unchanged: 2, ..Merged::default() });
    let all = run(&merge("**"), &mut into, &from);
    assert_eq!((all.received, readable(&into).len()), (2, 5));
}

#[test]
fn it_arrives_under_the_name_that_was_said() {
    let (mut into, mut from) = (new(), new());
    put(&mut from, "wallet/v/r", "value");
    put(&mut from, "other/v/r", "not selected");
    put(&mut into, "wallet/v/r", "another record");
    let mut mapping = Mapping::default();
    mapping.add("wallet=purse").unwrap();
    let renamed = Merge { mapping, ..merge("wallet/**") };
    assert_eq!(run(&renamed, &mut into, &from).received, 1);
    assert_eq!(readable(&into), pairs(&[("purse/v/r", "value"), ("wallet/v/r", "another record")]));
    assert_eq!(run(&renamed, &mut into, &from), Merged { unchanged: 1, ..Merged::default() });
}

#[test]
fn a_conflict_ends_as_was_said() {
    for (on_conflict, shown, conflicts) in [
        (OnConflict::KeepBoth, None, 1),
        (OnConflict::KeepLocal, Some("here"), 0),
        (OnConflict::TakeOther, Some("there"), 0),
    ] {
        let (mut into, mut from) = (new(), new());
        put(&mut into, "a/v/r", "here");
        put(&mut from, "a/v/r", "there");
        let merged = Merge { on_conflict, ..merge("**") }.run(&mut into, &from).unwrap();
        assert_eq!((merged.received, merged.conflicts), (1, conflicts), "{on_conflict:?}");
        assert_eq!(
            into.is_conflict(&"a/v/r".parse::<stronghold_sync::Location>().unwrap().id()).unwrap(),
            conflicts == 1
        );
        if let Some(shown) = shown {
            assert_eq!(readable(&into), pairs(&[("a/v/r", shown)]));
        }
        assert_eq!(
            into.history(&"a/v/r".parse().unwrap()).unwrap().len(),
            if conflicts == 1 { 2 } else { 3 }
        );
    }
}

#[test]
fn many_losses_want_a_persons_word() {
    let (mut into, mut from) = (new(), new());
    (0..30).for_each(|number| put(&mut into, &format!("a/v/{number}"), "a value that is long enough"));
    merge("**").run(&mut from, &into).unwrap();
    (0..11).for_each(|number| remove(&mut from, &format!("a/v/{number}")));
    let before = readable(&into);
    let refused = merge("**").run(&mut into, &from);
    assert_eq!(refused, Err(MergeError::Deletions { deleted: 11, of: 30 }));
    assert_eq!(readable(&into), before);
    let confirmed = Merge { deletions_confirmed: true, ..merge("**") };
    assert_eq!(run(&confirmed, &mut into, &from).deleted, 11);
    assert_eq!(readable(&into).len(), 19);
}

#[test]
fn values_that_are_emptied_count_as_losses_and_ten_are_not_many() {
    for (removed, emptied, refused) in [(4, 6, false), (5, 6, true), (0, 11, true), (10, 0, false)] {
        let (mut into, mut from) = (new(), new());
        (0..30).for_each(|number| put(&mut into, &format!("a/v/{number}"), "a value that is long enough"));
        merge("**").run(&mut from, &into).unwrap();
        (0..removed).for_each(|number| remove(&mut from, &format!("a/v/{number}")));
        (10..10 + emptied).for_each(|number| put(&mut from, &format!("a/v/{number}"), ""));
        let merged = merge("**").run(&mut into, &from);
        let received = removed + emptied;
        let expected = match refused {
            true => Err(MergeError::Deletions { deleted: received, of: 30 }),
            false => Ok(Merged { received, deleted: removed, conflicts: 0, unchanged: 30 - received }),
        };
        assert_eq!(merged, expected, "{removed} and {emptied}");
    }
}

#[test]
fn a_conflict_of_equals_is_none_and_those_that_are_settled_are_not_counted() {
    let (mut into, mut from) = (new(), new());
    for number in 0..3 {
        put(&mut into, &format!("a/v/{number}"), "here");
        put(&mut from, &format!("a/v/{number}"), if number == 0 { "here" } else { "there" });
    }
    let kept = Merge { on_conflict: OnConflict::KeepLocal, ..merge("a/v/1") };
    assert_eq!(kept.run(&mut into, &from), Ok(Merged { received: 1, ..Merged::default() }));
    let merged = merge("**").run(&mut into, &from);
    assert_eq!(merged, Ok(Merged { received: 2, deleted: 0, conflicts: 1, unchanged: 0 }));
}

#[test]
fn records_that_only_this_side_holds_count_among_those_that_are_not_lost() {
    for (own, refused) in [(79, true), (80, false)] {
        let (mut into, mut from) = (new(), new());
        (0..30).for_each(|number| put(&mut into, &format!("a/v/{number}"), "a value that is long enough"));
        merge("**").run(&mut from, &into).unwrap();
        (0..11).for_each(|number| remove(&mut from, &format!("a/v/{number}")));
        (0..own).for_each(|number| put(&mut into, &format!("own/v/{number}"), "x"));
        let expected = MergeError::Deletions { deleted: 11, of: 30 + own };
        assert_eq!(merge("**").run(&mut into, &from).err(), refused.then_some(expected));
    }
}

/// Records that the mapping does not reach have no part in the merge and make no loss look small.
#[test]
fn under_other_names_the_records_of_these_names_alone_are_counted() {
    let (mut into, mut from) = (new(), new());
    (0..30).for_each(|number| put(&mut from, &format!("a/v/{number}"), "a value that is long enough"));
    let mut mapping = Mapping::default();
    mapping.add("a=b").unwrap();
    let renamed = Merge { mapping, ..merge("a/**") };
    renamed.run(&mut into, &from).unwrap();
    (0..200).for_each(|number| put(&mut into, &format!("own/v/{number}"), "x"));
    (0..11).for_each(|number| remove(&mut from, &format!("a/v/{number}")));
    assert_eq!(renamed.run(&mut into, &from), Err(MergeError::Deletions { deleted: 11, of: 30 }));
    let confirmed = Merge { deletions_confirmed: true, ..renamed };
    let merged = run(&confirmed, &mut into, &from);
    assert_eq!((merged.deleted, merged.unchanged), (11, 19));
}
