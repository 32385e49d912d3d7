//! The API of a Stronghold for an embedding application: write, read, remove, history, conflicts,
//! storage, and limits.

use crate::common::*;
use stronghold_sync::{
    Ancestors, Decision, DeviceId, EntryId, Location, Mapping, OnConflict, Operation, Policy, Replaced,
    Resolution, RevisionId, Rule, Selection,
};
use stronghold_vault::{
    Entry, ImportError, ImportReport, Labels, MAX_HEADS, MAX_HISTORY, MAX_LABELS, MAX_VALUE, ReadError,
    RejectReason, Revision, RevisionInfo, Stronghold, WriteError,
};
use zeroize::Zeroizing;

const R: &str = "wallet/web/mail";

fn revision(value: &[u8]) -> Revision {
    Revision {
        salt: [9; 32],
        author: DeviceId::from_bytes([8; 32]),
        ancestors: Ancestors::default(),
        deleted: false,
        labels: Labels::new(),
        time: ms(1),
        value: Zeroizing::new(value.to_vec()),
    }
}

fn entry(location: &str, revision: Revision) -> Entry {
    Entry { location: at(location), revision }
}

#[test]
fn what_is_written_is_read_until_it_is_removed() {
    let mut vault = new();
    assert_eq!(vault.read(&at(R)).unwrap_err(), ReadError::NotFound);
    assert_eq!(vault.remove(&at(R), ms(1)), Err(WriteError::NotFound));
    let labels = Labels::from([("from".to_owned(), "csv".to_owned())]);
    let id = vault.write(&at(R), b"one", labels.clone(), ms(5)).unwrap();
    let read = vault.read(&at(R)).unwrap();
    assert_eq!(
        (read.id, &read.revision.labels, read.revision.time, read.conflict),
        (id, &labels, ms(5), false)
    );
    assert_eq!(&**read.revision.value, b"one");
    vault.write(&at(R), b"", Labels::new(), ms(6)).unwrap();
    assert_eq!(get(&vault, R).as_deref(), Some(""), "an empty value is a value");
    vault.remove(&at(R), ms(7)).unwrap();
    assert_eq!(vault.read(&at(R)).unwrap_err(), ReadError::NotFound);
    assert_eq!(vault.remove(&at(R), ms(8)), Err(WriteError::NotFound), "it is deleted once");
    put(&mut vault, R, "again", 9);
    assert_eq!(get(&vault, R).as_deref(), Some("again"));
}

#[test]
fn the_last_ten_values_stay_readable() {
    let mut vault = new();
    (0..15).for_each(|n| put(&mut vault, R, &format!("v{n}"), n));
    let history = vault.history(&at(R)).unwrap();
    assert_eq!(history.len(), 1 + MAX_HISTORY);
    assert!(history[0].head && history[1..].iter().all(|version| !version.head));
    let values: Vec<String> = history
        .iter()
        .map(|version| vault.read_revision(&at(R), &version.revision).unwrap())
        .map(|revision| String::from_utf8(revision.value.to_vec()).unwrap())
        .collect();
    assert_eq!(values, (4..15).rev().map(|n| format!("v{n}")).collect::<Vec<_>>());
    let old = history[3].revision;
    vault.resolve(&at(R), &old, ms(20)).unwrap();
    assert_eq!(get(&vault, R).as_deref(), Some("v11"), "an old value is restored by writing it again");
    let unknown = RevisionId::from_bytes([1; 32]);
    assert_eq!(vault.read_revision(&at(R), &unknown), Err(ReadError::NoSuchRevision));
    assert_eq!(vault.resolve(&at(R), &unknown, ms(21)), Err(WriteError::NoSuchRevision));
}

#[test]
fn a_list_is_in_the_order_of_names_and_within_the_selection() {
    let mut vault = new();
    for name in ["b/v/2", "a/w/x/y", "a/v/1", "b/v/1"] {
        put(&mut vault, name, "12345", 3);
    }
    vault.remove(&at("b/v/1"), ms(4)).unwrap();
    let names = |selection: &str| -> Vec<String> {
        let selection = selection.parse().unwrap();
        let listed = vault.list(&selection).collect::<Result<Vec<_>, _>>().unwrap();
        assert!(listed.iter().all(|entry| entry.size == 5 && entry.modified == ms(3) && !entry.conflict));
        let mut locations: Vec<_> = vault.locations(&selection).collect();
        locations.sort();
        assert!(listed.iter().map(|entry| &entry.location).eq(&locations));
        listed.iter().map(|entry| entry.location.to_string()).collect()
    };
    assert_eq!(names("**"), ["a/v/1", "a/w/x/y", "b/v/2"]);
    assert_eq!(
        (vault.clients(), vault.vaults("a"), vault.vaults("b")),
        (vec!["a", "b"], vec!["v", "w"], vec!["v"])
    );
    assert!(vault.vaults("c").is_empty());
    assert_eq!(names("a/w"), ["a/w/x/y"]);
    assert!(names("c").is_empty());
    vault.remove(&at("b/v/2"), ms(4)).unwrap();
    vault.remove(&at("a/v/1"), ms(4)).unwrap();
    assert_eq!(
        (vault.clients(), vault.vaults("a")),
        (vec!["a"], vec!["w"]),
        "deleted records are of no vault"
    );
}

/// Returns two copies of one Stronghold, edited separately.
fn apart(on_one: impl FnOnce(&mut Stronghold), on_two: impl FnOnce(&mut Stronghold)) -> [Stronghold; 2] {
    let mut one = new();
    put(&mut one, R, "base", 1);
    let mut two = copy(&one);
    on_one(&mut one);
    on_two(&mut two);
    [one, two]
}

#[test]
fn a_conflict_keeps_both_values_until_it_is_resolved() {
    let [mut one, mut two] = apart(|one| put(one, R, "left", 5), |two| put(two, R, "right", 9));
    assert_eq!(merge(&mut one, &two, 10).1.conflicts, 1);
    let read = one.read(&at(R)).unwrap();
    assert!(read.conflict && &**read.revision.value == b"right", "the latest is shown");
    let found = one.conflicts(&Selection::everything()).unwrap();
    assert_eq!((found.len(), found[0].1.len(), found[0].0.to_string().as_str()), (1, 2, R));
    assert!(
        one.is_conflict(&at(R).id()).unwrap()
            && one.list(&Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap()[0].conflict
    );
    let left = found[0].1.iter().find(|version| version.time == ms(5)).unwrap().revision;
    one.resolve(&at(R), &left, ms(11)).unwrap();
    assert_eq!(get(&one, R).as_deref(), Some("left"));
    assert!(one.conflicts(&Selection::everything()).unwrap().is_empty());
    assert_eq!(merge(&mut two, &one, 12).1.conflicts, 0);
    assert_eq!(get(&two, R).as_deref(), Some("left"));
    assert_eq!(shapes(&one), shapes(&two));
}

#[test]
fn equal_content_written_on_both_sides_is_no_conflict() {
    let [mut one, mut two] = apart(|one| put(one, R, "same", 5), |two| put(two, R, "same", 9));
    assert_eq!(merge(&mut one, &two, 10).1.conflicts, 0);
    assert!(!one.read(&at(R)).unwrap().conflict);
    assert_eq!(shapes(&one).len(), 2, "both stay heads");
    assert_eq!(
        one.list(&Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap().len(),
        1,
        "and are shown as one"
    );
    merge(&mut two, &one, 11);
    assert_eq!(merge(&mut one, &two, 12).0.take.len(), 0, "and nothing is left to do");
    put(&mut one, R, "next", 13);
    assert_eq!(shapes(&one).len(), 1, "the next write replaces both");
    assert_eq!(merge(&mut two, &one, 14).1.conflicts, 0);
    assert_eq!(shapes(&one), shapes(&two));
}

#[test]
fn a_concurrent_edit_and_deletion_shows_the_edit_and_is_a_conflict() {
    let [mut one, mut two] =
        apart(|one| assert!(one.remove(&at(R), ms(9)).is_ok()), |two| put(two, R, "edit", 5));
    assert_eq!(merge(&mut one, &two, 10).1.conflicts, 1);
    assert_eq!(merge(&mut two, &one, 11).1.deleted, 0);
    for side in [&one, &two] {
        let read = side.read(&at(R)).unwrap();
        assert!(read.conflict && &**read.revision.value == b"edit");
    }
    let versions = one.conflicts(&Selection::everything()).unwrap().remove(0).1;
    let deletion = versions.iter().find(|version| version.deleted).unwrap().revision;
    one.resolve(&at(R), &deletion, ms(12)).unwrap();
    assert_eq!(merge(&mut two, &one, 13).1.deleted, 1);
    assert_eq!(get(&two, R), None);
}

#[test]
fn deletions_travel_and_a_reverse_sync_does_not_resurrect() {
    let [mut one, mut two] = apart(|one| assert!(one.remove(&at(R), ms(2)).is_ok()), |_| ());
    assert!(merge(&mut one, &two, 3).0.is_empty(), "the old value does not come back");
    assert_eq!(merge(&mut two, &one, 4).1.deleted, 1);
    merge(&mut one, &two, 5);
    assert_eq!((get(&one, R), get(&two, R)), (None, None));
}

#[test]
fn take_theirs_never_overwrites_newer_with_older() {
    let [mut newer, older] = apart(|one| put(one, R, "newer", 2), |_| ());
    let (plan, _) = merge_with(&mut newer, &older, &Mapping::default(), OnConflict::TakeOther, 3);
    assert!(plan.is_empty());
    assert_eq!(get(&newer, R).as_deref(), Some("newer"));
}

#[test]
fn keep_mine_still_receives_an_update() {
    let [newer, mut older] = apart(|one| put(one, R, "newer", 2), |_| ());
    merge_with(&mut older, &newer, &Mapping::default(), OnConflict::KeepLocal, 3);
    assert_eq!(get(&older, R).as_deref(), Some("newer"));
}

#[test]
fn both_sides_taking_theirs_do_not_swap_values() {
    let [mut one, mut two] = apart(|one| put(one, R, "one", 2), |two| put(two, R, "two", 3));
    merge_with(&mut one, &two, &Mapping::default(), OnConflict::TakeOther, 4);
    merge_with(&mut two, &one, &Mapping::default(), OnConflict::TakeOther, 5);
    assert_eq!((get(&one, R).as_deref(), get(&two, R).as_deref()), (Some("two"), Some("two")));
    assert_eq!(shapes(&one), shapes(&two));
    assert_eq!(one.history(&at(R)).unwrap().len(), 4, "what gave way stays in the history");
}

#[test]
fn a_conflict_that_turns_out_equal_is_settled_without_writing() {
    let [mut one, two] = apart(|one| put(one, R, "same", 2), |two| put(two, R, "same", 3));
    let (plan, _) = merge_with(&mut one, &two, &Mapping::default(), OnConflict::KeepLocal, 4);
    assert_eq!((plan.resolve.len(), shapes(&one).len()), (1, 2));
}

#[test]
fn mapped_records_land_under_the_new_name_and_are_readable() {
    let (mut into, mut from) = (new(), new());
    put(&mut into, "there/web/own", "own", 1);
    for name in ["wallet/web/a", "wallet/keys/b", "work/web/c"] {
        put(&mut from, name, name, 1);
    }
    let mut mapping = Mapping::default();
    for rule in ["wallet=new", "wallet/web=there/web", "work/web=there/fresh"] {
        mapping.add(rule).unwrap();
    }
    assert_eq!(merge_with(&mut into, &from, &mapping, OnConflict::KeepBoth, 2).1.received, 3);
    assert_eq!(get(&into, "there/web/a").as_deref(), Some("wallet/web/a"), "into a vault that was there");
    assert_eq!(get(&into, "new/keys/b").as_deref(), Some("wallet/keys/b"), "into a client that was not");
    assert_eq!(get(&into, "there/fresh/c").as_deref(), Some("work/web/c"));
    assert_eq!(get(&into, "there/web/own").as_deref(), Some("own"));
    assert_eq!(into.list(&Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap().len(), 4);
    let again = copy(&into);
    let (plan, _) = merge_with(&mut into, &from, &mapping, OnConflict::KeepBoth, 3);
    assert!(plan.is_empty() && plan.unchanged == 3);
    assert_eq!(bytes(&into), bytes(&again));
    assert_eq!(into.verify().unwrap(), 4);
}

#[test]
fn records_that_a_mapping_brings_together_are_merged() {
    let (mut into, mut from) = (new(), new());
    put(&mut from, "wallet/web/a", "old", 1);
    let mut mapping = Mapping::default();
    mapping.add("wallet=purse").unwrap();
    let copied = copy(&from);
    merge_with(&mut from, &copied, &mapping, OnConflict::KeepBoth, 2);
    put(&mut from, "purse/web/a", "new", 3);
    let (plan, report) = merge_with(&mut into, &from, &mapping, OnConflict::KeepBoth, 4);
    assert_eq!((plan.take.len(), report.received, report.conflicts), (1, 1, 0));
    let (plan, _) = merge_with(&mut into, &from, &mapping, OnConflict::KeepBoth, 5);
    assert_eq!((plan.is_empty(), plan.unchanged), (true, 1));
    assert_eq!(get(&into, "purse/web/a").as_deref(), Some("new"));
}

#[test]
fn a_record_selection_is_applied_by_the_sender() {
    let mut vault = new();
    put(&mut vault, "wallet/web/a", "a", 1);
    put(&mut vault, "wallet/web/b", "b", 1);
    let device = stronghold_sync::DeviceId::from_bytes([1; 32]);
    let selection: Selection = "wallet/web/a".parse().unwrap();
    let operations = [Operation::Pull, Operation::Browse].into();
    vault.policy_mut().grant(Rule { device, operations, selection, expires: Some(ms(10)), ask: false });
    let granted =
        |operation, now| match vault.policy().decide(&device, operation, &Selection::everything(), now) {
            Decision::Allowed(grant) => grant,
            other => panic!("{other:?}"),
        };
    let (pull, browse) = (granted(Operation::Pull, ms(0)), granted(Operation::Browse, ms(0)));
    let told = vault.shapes(pull.scope(), &Mapping::default());
    assert_eq!(told.iter().map(|shape| shape.location).collect::<Vec<_>>(), [at("wallet/web/a").id()]);
    assert_eq!(vault.list_for_peer(&browse, ms(0)).unwrap().len(), 1);
    assert!(vault.list_for_peer(&browse, ms(10)).unwrap().is_empty(), "the rule has expired");
    let all: Vec<EntryId> = shapes(&vault).iter().map(|shape| shape.entry()).collect();
    assert!(
        vault.export(&pull, &all, ms(0)).is_err(),
        "what is not granted does not leave, whoever asks for it"
    );
    assert_eq!(vault.export(&pull, &[told[0].entry()], ms(0)).unwrap().len(), 1);
    assert!(vault.export(&pull, &[told[0].entry()], ms(10)).is_err());
    *vault.policy_mut() = Policy::default();
    assert!(vault.export(&pull, &[told[0].entry()], ms(0)).is_err(), "revoked in between");
}

#[test]
fn asking_for_an_unknown_vault_does_not_fail_the_whole_export() {
    let mut vault = new();
    put(&mut vault, R, "value", 1);
    let mut wanted = vec![shapes(&vault)[0].entry()];
    let unknown = |location: &str| EntryId { location: at(location).id(), ..wanted[0] };
    let others = [unknown("wallet/no-vault/mail"), unknown("nobody/web/mail"), unknown("wallet/web/none")];
    let no_revision = EntryId { revision: RevisionId::from_bytes([1; 32]), ..wanted[0] };
    wanted.extend(others.into_iter().chain([no_revision]));
    assert_eq!(export(&vault, &wanted).unwrap().len(), 1);
}

#[test]
fn a_record_removed_since_it_was_told_of_does_not_fail_the_whole_export() {
    let mut vault = new();
    put(&mut vault, R, "value", 1);
    put(&mut vault, "wallet/web/other", "other", 1);
    let told: Vec<EntryId> = shapes(&vault).iter().map(|shape| shape.entry()).collect();
    vault.remove(&at(R), ms(2)).unwrap();
    let entries = export(&vault, &told).unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.location.to_string()).collect::<Vec<_>>(),
        ["wallet/web/other"]
    );
}

#[test]
fn history_stays_on_the_device_that_made_it() {
    let mut vault = new();
    put(&mut vault, R, "old", 1);
    let old = shapes(&vault)[0].entry();
    put(&mut vault, R, "new", 2);
    assert!(export(&vault, &[old]).unwrap().is_empty());
}

#[test]
fn an_import_error_is_returned_and_nothing_of_the_batch_is_kept() {
    let mut from = new();
    (0..200).for_each(|n| put(&mut from, &format!("wallet/web/{n}"), "value", n));
    let mut into = new();
    put(&mut into, "wallet/web/7", "own", 1);
    let before = bytes(&into);
    for bad in [0, 100, 199] {
        let mut entries = all_entries(&from);
        let wanted: Vec<EntryId> = entries
            .iter()
            .map(|entry| EntryId { location: entry.location.id(), revision: entry.revision.id() })
            .collect();
        entries[bad].revision.value.push(b'!');
        let asked = |_: &Location, entry: &EntryId, _: &Revision| match wanted.contains(entry) {
            true => Ok(()),
            false => Err(RejectReason::Unrequested),
        };
        assert_eq!(
            into.import(&entries, from.identity().device(), ms(1), asked),
            Err(ImportError::Unacceptable(RejectReason::Unrequested))
        );
        assert_eq!(bytes(&into), before, "the altered one is number {bad}");
        entries[bad].revision = revision(&vec![0; MAX_VALUE + 1]);
        assert_eq!(import_all(&mut into, &entries), Err(ImportError::Unacceptable(RejectReason::OverLimits)));
        assert_eq!(bytes(&into), before);
    }
    assert_eq!(import_all(&mut into, &all_entries(&from)).unwrap().received, 200);
}

#[test]
fn every_changed_part_of_a_revision_gives_another_shape() {
    let entry = EntryId { location: at(R).id(), revision: revision(b"value").id() };
    let mut from = new();
    import_all(&mut from, &[self::entry(R, revision(b"value"))]).unwrap();
    assert_eq!(
        shapes(&from),
        [revision(b"value").shape(&entry)],
        "the shape of what travels is the one that was told"
    );
    let labels = Labels::from([("name".to_owned(), "text".to_owned())]);
    let labelled = Revision { labels, ..revision(b"value") };
    import_all(&mut from, &[self::entry("wallet/web/b", labelled.clone())]).unwrap();
    let other = EntryId { location: at("wallet/web/b").id(), revision: labelled.id() };
    assert!(shapes(&from).contains(&labelled.shape(&other)));
}

#[test]
fn what_is_over_the_limits_is_neither_written_nor_taken() {
    let mut vault = new();
    let before = bytes(&vault);
    let long = Labels::from([("n".to_owned(), "t".repeat(MAX_LABELS))]);
    let too_large = Err(WriteError::TooLarge);
    assert_eq!(vault.write(&at(R), &vec![0; MAX_VALUE + 1], Labels::new(), ms(1)), too_large);
    assert_eq!(vault.write(&at(R), b"", long.clone(), ms(1)), too_large);
    let over = Err(ImportError::Unacceptable(RejectReason::OverLimits));
    assert_eq!(import_all(&mut vault, &[entry(R, Revision { labels: long, ..revision(b"") })]), over);
    assert_eq!(import_all(&mut vault, &[entry(R, Revision { deleted: true, ..revision(b"x") })]), over);
    assert_eq!(bytes(&vault), before);
    vault.write(&at(R), &vec![7; MAX_VALUE], Labels::new(), ms(1)).unwrap();
    assert_eq!(vault.read(&at(R)).unwrap().revision.value.len(), MAX_VALUE);
    let many = Labels::from_iter((0..MAX_LABELS / 4).map(|n| (format!("{n:04}"), String::new())));
    vault.write(&at(R), b"", many.clone(), ms(2)).unwrap();
    assert_eq!(vault.read(&at(R)).unwrap().revision.labels, many);
}

#[test]
fn a_peer_can_not_pile_up_versions_beside_each_other() {
    let mut vault = new();
    let version = |n: usize| entry(R, Revision { time: ms(n as u64), ..revision(b"v") });
    let full: Vec<Entry> = (0..MAX_HEADS).map(version).collect();
    assert_eq!(import_all(&mut vault, &full).unwrap().received, MAX_HEADS as u64);
    let before = bytes(&vault);
    let too_many = Err(ImportError::Unacceptable(RejectReason::TooManyHeads));
    assert_eq!(import_all(&mut vault, &[version(MAX_HEADS)]), too_many);
    assert_eq!(bytes(&vault), before);
    let mut other = copy(&vault);
    put(&mut other, R, "resolved", 1);
    assert_eq!(merge(&mut vault, &other, 2).1.received, 1, "what replaces them all is taken");
    assert_eq!(shapes(&vault).len(), 1);
}

#[test]
fn the_same_revision_under_two_names_is_two_records() {
    let mut vault = new();
    import_all(&mut vault, &[entry("c/v/a", revision(b"x")), entry("c/v/b", revision(b"x"))]).unwrap();
    assert_eq!((get(&vault, "c/v/a").as_deref(), get(&vault, "c/v/b").as_deref()), (Some("x"), Some("x")));
    vault.remove(&at("c/v/a"), ms(1)).unwrap();
    assert_eq!(get(&vault, "c/v/b").as_deref(), Some("x"));
}

#[test]
fn an_import_counts_what_it_did() {
    let [mut one, two] = apart(|one| put(one, R, "left", 5), |two| put(two, R, "right", 9));
    let entries = all_entries(&two);
    let report = import_all(&mut one, &entries).unwrap();
    assert_eq!((report.received, report.known, report.conflicts, report.deleted), (1, 0, 1, 0));
    let again = import_all(&mut one, &entries).unwrap();
    assert_eq!((again.received, again.known, again.conflicts, again.deleted), (0, 1, 0, 0));
}

#[test]
fn writing_into_a_client_that_was_loaded_keeps_its_records() {
    let mut vault = new();
    put(&mut vault, R, "value", 1);
    let mut loaded = copy(&vault);
    put(&mut loaded, "wallet/web/other", "other", 2);
    put(&mut loaded, "wallet/new/other", "other", 2);
    let loaded = copy(&loaded);
    assert_eq!(get(&loaded, R).as_deref(), Some("value"));
    assert_eq!(loaded.list(&Selection::everything()).collect::<Result<Vec<_>, _>>().unwrap().len(), 3);
}

#[test]
fn an_import_tells_what_was_deleted_and_shrunk_and_leaves_the_rest() {
    let (mut here, mut there) = (new(), new());
    let long = "x".repeat(100);
    for name in ["deleted", "emptied", "halved", "less", "more", "untouched"] {
        put(&mut there, &format!("c/v/{name}"), &long, 1);
    }
    merge(&mut here, &there, 2);
    assert_eq!(here.readable(), 6);
    there.remove(&at("c/v/deleted"), ms(3)).unwrap();
    for (name, value) in
        [("emptied", ""), ("halved", &long[..40]), ("less", &long[..60]), ("more", &long.repeat(2))]
    {
        put(&mut there, &format!("c/v/{name}"), value, 3);
    }
    put(&mut there, "c/v/new", "", 3);
    put(&mut there, "c/v/gone", "", 3);
    there.remove(&at("c/v/gone"), ms(4)).unwrap();
    let report = merge(&mut here, &there, 4).1;
    let expected = ImportReport { received: 7, deleted: 1, shrunk: 2, conflicts: 0, known: 0 };
    assert_eq!((report, here.readable()), (expected, 6));

    // A short value beside a long one replaces nothing.
    put(&mut here, "c/v/untouched", &long.to_uppercase(), 5);
    put(&mut there, "c/v/untouched", "short", 5);
    let report = merge(&mut here, &there, 6).1;
    assert_eq!((report.received, report.shrunk, report.conflicts), (1, 0, 1));
}

#[test]
fn conflicts_are_told_in_the_order_of_names_with_their_heads_alone() {
    let names: Vec<String> = (0..9).map(|n| format!("c/v{}/{n}", n % 3)).collect();
    let mut here = new();
    names.iter().for_each(|name| put(&mut here, name, "base", 1));
    let mut there = copy(&here);
    names.iter().for_each(|name| put(&mut here, name, "left", 2));
    names.iter().for_each(|name| put(&mut there, name, "right", 3));
    put(&mut there, "c/other/one", "beside", 3);
    merge(&mut here, &there, 4);
    let told = here.conflicts(&Selection::everything()).unwrap();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(told.iter().map(|(at, _)| at.to_string()).collect::<Vec<_>>(), sorted);
    for (location, heads) in &told {
        let mut expected = here.history(location).unwrap();
        assert_eq!(expected.iter().map(|version| version.head).collect::<Vec<_>>(), [true, true, false]);
        expected.truncate(2);
        assert_eq!(heads, &expected);
    }
    let of_one: Selection = "c/v1".parse().unwrap();
    assert_eq!(here.conflicts(&of_one).unwrap().len(), 3);
    assert_eq!(here.is_conflict(&at("c/other/one").id()), Ok(false));
    assert_eq!(here.is_conflict(&at("c/other/none").id()), Ok(false));
    let stored = copy(&here);
    assert_eq!(stored.conflicts(&of_one), here.conflicts(&of_one));
}

#[test]
fn a_history_tells_of_each_version_what_is_known_of_it() {
    let mut here = new();
    let labels = Labels::from([("from".to_owned(), "csv".to_owned())]);
    let first = here.write(&at(R), b"12345", labels, ms(5)).unwrap();
    let deletion = here.remove(&at(R), ms(6)).unwrap();
    let author = Some(here.identity().device());
    let version = |revision, time, size, deleted, head| RevisionInfo {
        revision,
        time,
        author,
        via: None,
        size,
        deleted,
        head,
    };
    let expected = [version(deletion, ms(6), 0, true, true), version(first, ms(5), 5 + 11, false, false)];
    assert_eq!(here.history(&at(R)).unwrap(), expected);
    assert_eq!(here.history(&at("wallet/web/none")), Err(ReadError::NotFound));
    let old = here.read_revision(&at(R), &first).unwrap();
    assert_eq!((&**old.value, old.deleted, old.time), (&b"12345"[..], false, ms(5)));
    assert_eq!(here.read_revision(&at("wallet/web/none"), &first), Err(ReadError::NotFound));
    assert_eq!(here.resolve(&at("wallet/web/none"), &first, ms(7)), Err(WriteError::NotFound));
    assert_eq!((here.verify(), here.readable()), (Ok(2), 0));
}

#[test]
fn a_conflict_is_settled_as_a_plan_says_and_only_where_there_is_one() {
    let [mut one, two] = apart(|one| put(one, R, "left", 5), |two| put(two, R, "right", 9));
    let right = shapes(&two)[0].revision;
    merge(&mut one, &two, 10);
    let before = bytes(&one);
    let unknown = RevisionId::from_bytes([1; 32]);
    let resolution = |location: &str, winners: &[RevisionId]| Resolution {
        location: at(location).id(),
        winners: winners.to_vec(),
    };
    for nothing in [resolution("wallet/web/none", &[right]), resolution(R, &[unknown]), resolution(R, &[])] {
        assert_eq!(one.apply_resolution(&nothing, ms(11)), Ok(false));
    }
    assert_eq!(bytes(&one), before);
    assert_eq!(one.apply_resolution(&resolution(R, &[right, unknown]), ms(11)), Ok(true));
    let read = one.read(&at(R)).unwrap();
    assert_eq!((&**read.revision.value, read.modified, read.conflict), (&b"right"[..], ms(11), false));
    let before = bytes(&one);
    assert_eq!(one.apply_resolution(&resolution(R, &[right]), ms(12)), Ok(false), "it is settled");
    assert_eq!(bytes(&one), before);
}

#[test]
fn what_has_been_told_to_another_device_is_noted_as_such_for_good() {
    let mut vault = new();
    put(&mut vault, R, "one", 1);
    let old = shapes(&vault)[0].clone();
    let parents = |vault: &Stronghold| {
        let mut next = copy(vault);
        put(&mut next, R, "next", 2);
        shapes(&next)[0].ancestors.clone()
    };
    let of = |shared| {
        Ancestors::for_successor(&[Replaced { id: old.revision, shared, ancestors: &old.ancestors }])
    };
    assert_ne!(of(false), of(true));
    assert_eq!(parents(&vault), of(false));
    let mut remembered = copy(&vault);
    remembered.record_disclosed(&DeviceId::from_bytes([7; 32]), [old.revision]);
    assert_eq!(parents(&remembered), of(true), "another is known to have it");
    export(&vault, &[old.entry()]).unwrap();
    assert_eq!(parents(&copy(&vault)), of(true));
}

#[test]
fn shapes_come_in_the_order_of_entries_and_within_their_scope() {
    let mut vault = new();
    for n in 0..12 {
        put(&mut vault, &format!("c{}/v{}/{n}", n % 2, n % 3), "x", 1);
    }
    let all = shapes(&vault);
    assert!(all.len() == 12 && all.is_sorted_by_key(|shape| shape.entry()));
    for (selection, expected) in
        [("**", 12), ("c1", 6), ("c1/v0", 2), ("c1/v0/3", 1), ("c2", 0), ("c1/v0/4", 0)]
    {
        let selection: Selection = selection.parse().unwrap();
        let scope = stronghold_sync::Scope::of(selection.clone());
        let told = vault.shapes(&scope, &Mapping::default());
        let named = vault.named_shapes(&selection);
        assert_eq!((told.len(), named.len()), (expected, expected), "{selection}");
        for (shape, (name, again)) in told.iter().zip(&named) {
            assert_eq!((shape, at(name).id()), (again, shape.location));
            assert_eq!(vault.names_of(&shape.location), Some(at(name)));
            assert!(all.contains(shape));
        }
    }
    assert_eq!(vault.names_of(&at("c1/v0/4").id()), None);
}

#[test]
fn why_a_session_does_not_expect_an_entry_is_why_it_is_not_accepted() {
    use stronghold_sync::session::Unexpected;
    for (why, expected) in [
        (Unexpected::Unrequested, RejectReason::Unrequested),
        (Unexpected::NotPermitted, RejectReason::NotPermitted),
        (Unexpected::Withdrawn, RejectReason::Withdrawn),
    ] {
        assert_eq!(RejectReason::from(why), expected);
    }
}
