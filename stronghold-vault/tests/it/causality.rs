//! Tests which revisions replace which, over real sessions: devices that were away, copies,
//! restored backups, and peers that lie about it. `model.rs` runs random histories; these are the
//! named cases at their full number of edits.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::RngSeed};
use stronghold_sync::{
    Ancestors, Decision, MAX_ANCESTORS, Operation, Replaced, RevisionId, Selection, ShortId,
    message::Message,
    session::{Consent, Push, SessionRequest, SyncOptions, Take},
};
use stronghold_vault::{Entry, Labels, RevisionInfo, Stronghold};

use crate::{
    common::{all_entries, at, get, import_all, ms, new, shapes},
    effort,
    model::link::{Allowed, PAIR, Replica, key, run_seen},
};

const RECORD: &str = "shared/a/one";

fn replicas<const N: usize>() -> [Replica; N] {
    std::array::from_fn(|number| Replica::new(number, N))
}

/// Holds a plain sync in both directions and returns its messages. Each side takes what its own
/// rules allow.
fn sync(asking: &mut Replica, asked: &mut Replica) -> Vec<Message> {
    let everything = Selection::everything();
    let policy = asking.stronghold.policy();
    let granted = |operation| match policy.decide(&asked.device, operation, &everything, ms(0)) {
        Decision::Allowed(grant) => Some(grant),
        _ => None,
    };
    let consent =
        Consent { push: granted(Operation::Push), delete: granted(Operation::Delete), ..Consent::default() };
    let ask = SessionRequest::Sync(SyncOptions {
        selection: everything.clone(),
        take: Some(Take::Granted(consent)),
        push: granted(Operation::Pull).map_or(Push::NotGranted, Push::Granted),
        names: false,
        key: key(),
        secret: [9; 32],
        pair: Some(PAIR),
    });
    let mut sent = Vec::new();
    let outcome = run_seen(ask, [9; 32], (asking, 0), (asked, 0), |_, message: &Message| {
        sent.push(message.clone());
        true
    });
    assert!(matches!(outcome, (Some(Ok(_)), Some(Ok(_)))), "{outcome:?}");
    sent
}

fn put(replica: &mut Replica, value: &str) -> RevisionId {
    replica.stronghold.write(&at(RECORD), value.as_bytes(), Labels::new(), ms(1)).unwrap()
}

fn edit(replica: &mut Replica, times: usize) {
    (0..times).for_each(|time| _ = put(replica, &time.to_string()));
}

fn remove(replica: &mut Replica) -> RevisionId {
    replica.stronghold.remove(&at(RECORD), ms(1)).unwrap()
}

fn heads(replica: &Replica) -> BTreeSet<RevisionId> {
    shapes(&replica.stronghold).iter().map(|shape| shape.revision).collect()
}

fn history(replica: &Replica) -> Vec<RevisionInfo> {
    replica.stronghold.history(&at(RECORD)).unwrap()
}

fn assert_all_have<const N: usize>(replicas: [&Replica; N], expected: &[RevisionId]) {
    let expected: BTreeSet<RevisionId> = expected.iter().copied().collect();
    replicas.iter().for_each(|replica| assert_eq!(heads(replica), expected, "{:?}", replica.device));
}

#[test]
fn a_deletion_stays_however_often_the_record_was_edited_while_a_device_was_away() {
    for edits in [260, 5_000] {
        let [mut here, mut away] = replicas();
        put(&mut here, "old");
        sync(&mut here, &mut away);
        edit(&mut here, edits);
        let deletion = remove(&mut here);
        sync(&mut away, &mut here);
        assert_all_have([&here, &away], &[deletion]);
    }
}

#[test]
fn a_deletion_stays_where_the_last_value_had_come_by_a_third_device() {
    for edits in [3_000, 6_000] {
        let [mut a, mut b, mut c] = replicas();
        put(&mut a, "first");
        sync(&mut a, &mut b);
        sync(&mut a, &mut c);
        edit(&mut a, 100);
        sync(&mut a, &mut c);
        sync(&mut c, &mut b);
        edit(&mut a, edits);
        let deletion = remove(&mut a);
        sync(&mut b, &mut a);
        sync(&mut b, &mut c);
        assert_all_have([&a, &b, &c], &[deletion]);
    }
}

#[test]
fn a_restored_backup_that_was_not_edited_takes_the_newer_value() {
    for since in [1, 30, 300] {
        let [mut a, mut b] = replicas();
        put(&mut a, "old");
        sync(&mut a, &mut b);
        let backup = b.commit();
        for _ in 0..since {
            edit(&mut a, 1);
            sync(&mut a, &mut b);
        }
        let newest = put(&mut a, "new");
        b.load(&backup);
        sync(&mut b, &mut a);
        assert_all_have([&a, &b], &[newest]);
    }
}

#[test]
fn a_copy_by_hand_and_an_image_that_is_restored_with_its_notes_lose_nothing() {
    let [mut a, mut b, mut copy] = replicas();
    put(&mut a, "first");
    sync(&mut a, &mut b);
    copy.load(&b.commit());
    let values = [put(&mut b, "b"), put(&mut copy, "copy"), put(&mut a, "a")];
    sync(&mut a, &mut b);
    sync(&mut a, &mut copy);
    sync(&mut b, &mut copy);
    sync(&mut a, &mut b);
    assert_all_have([&a, &b, &copy], &values);

    let [mut a, mut b] = replicas();
    put(&mut a, "first");
    sync(&mut a, &mut b);
    let image = a.commit();
    let before = put(&mut a, "before");
    sync(&mut a, &mut b);
    a.load(&image);
    let after = put(&mut a, "after");
    sync(&mut a, &mut b);
    assert_all_have([&a, &b], &[before, after]);
}

#[test]
fn a_restored_value_is_deleted_again_by_those_who_know_of_the_deletion() {
    let [mut a, mut b] = replicas();
    put(&mut a, "old");
    sync(&mut a, &mut b);
    let backup = a.commit();
    let deletion = remove(&mut a);
    sync(&mut a, &mut b);
    a.load(&backup);
    sync(&mut a, &mut b);
    assert_all_have([&a, &b], &[deletion]);
}

/// A head takes over the list of the one that it replaces, even if its own list
/// lacks it.
#[test]
fn what_a_replaced_head_had_replaced_is_known_to_its_successor() {
    let [mut a, mut b, mut c] = replicas();
    let old = put(&mut a, "old");
    sync(&mut a, &mut b);
    sync(&mut a, &mut c);
    let middle = put(&mut a, "middle");
    sync(&mut a, &mut b);
    put(&mut b, "new");
    let mut entries = all_entries(&b.stronghold);
    entries[0].revision.ancestors = Ancestors::from_newest_first(vec![middle]).unwrap();
    import_all(&mut a.stronghold, &entries).unwrap();
    assert!(shapes(&a.stronghold)[0].ancestors.contains(&old));
    sync(&mut c, &mut a);
    assert_all_have([&a, &b, &c], &[entries[0].revision.id()]);
}

#[test]
fn a_shape_names_only_heads_that_the_peer_holds() {
    for asking_is_ahead in [false, true] {
        let [mut ahead, mut behind] = replicas();
        let shown = put(&mut ahead, "old");
        sync(&mut ahead, &mut behind);
        edit(&mut ahead, 300);
        let sent = match asking_is_ahead {
            true => sync(&mut ahead, &mut behind),
            false => sync(&mut behind, &mut ahead),
        };
        let lists = sent.iter().filter_map(|message| match message {
            Message::Missing(shapes) | Message::Push(shapes) => Some(shapes),
            _ => None,
        });
        let named: Vec<&[ShortId]> =
            lists.flatten().map(|shape| shape.ancestors.as_slice()).filter(|ids| !ids.is_empty()).collect();
        assert_eq!(named, [&[shown.short()][..]], "asking is ahead: {asking_is_ahead}");
        assert_eq!(heads(&ahead), heads(&behind));
    }
}

#[test]
fn lists_that_differ_are_no_difference() {
    let [mut a, mut b] = replicas();
    edit(&mut a, 10);
    let mut entries = all_entries(&a.stronghold);
    entries[0].revision.ancestors = entries[0].revision.ancestors.parents_only();
    import_all(&mut b.stronghold, &entries).unwrap();
    assert_ne!(shapes(&a.stronghold), shapes(&b.stronghold));
    let sent = sync(&mut a, &mut b);
    assert!(matches!(&sent[..], [Message::Open(_), Message::Agreed(_), Message::End]), "{sent:?}");
}

/// Has a liar hold its heads with one more id in their lists.
fn forge(liar: &mut Replica, replicas: usize, claimed: RevisionId) {
    let mut entries = all_entries(&liar.stronghold);
    for Entry { revision, .. } in &mut entries {
        let claim = Replaced { id: claimed, shared: true, ancestors: &Ancestors::default() };
        revision.ancestors = revision.ancestors.merged_with(&[claim]);
    }
    liar.replace(replicas);
    import_all(&mut liar.stronghold, &entries).unwrap();
}

/// Whoever may write can say that a value replaces another: it could have written over it as well.
/// The value stays in the history, and the one in its place shows who gave it.
#[test]
fn a_peer_that_may_write_forges_a_list_and_the_value_stays_in_the_history() {
    for liar_asks in [false, true] {
        let [mut a, mut b, mut liar] = replicas();
        a.allow(2, Allowed { delete: false, ..Allowed::ALL });
        put(&mut a, "first");
        sync(&mut a, &mut b);
        sync(&mut a, &mut liar);
        let victim = put(&mut b, "of b, which the liar never saw");
        sync(&mut a, &mut b);
        let forged = put(&mut liar, "forged");
        forge(&mut liar, 3, victim);
        match liar_asks {
            true => sync(&mut liar, &mut a),
            false => sync(&mut a, &mut liar),
        };
        assert_eq!(heads(&a), [forged].into());
        let (head, old) = (&history(&a)[0], &history(&a)[1]);
        assert_eq!((head.revision, head.via), (forged, Some(liar.device)));
        assert_eq!((old.revision, old.head), (victim, false));
    }
}

#[test]
fn nothing_gives_way_to_an_entry_that_its_giver_may_not_write_or_delete() {
    for (deletes, allowed) in [
        (true, Allowed { delete: false, ..Allowed::ALL }),
        (false, Allowed { push: false, ..Allowed::ALL }),
        (true, Allowed { push: false, delete: false, ..Allowed::ALL }),
        (false, Allowed { push: false, delete: false, ..Allowed::ALL }),
    ] {
        for liar_asks in [false, true] {
            let [mut a, mut liar] = replicas();
            put(&mut a, "first");
            sync(&mut a, &mut liar);
            a.allow(1, allowed);
            let kept = put(&mut a, "kept");
            let forged = if deletes { remove(&mut liar) } else { put(&mut liar, "forged") };
            forge(&mut liar, 2, kept);
            let sent = match liar_asks {
                true => sync(&mut liar, &mut a),
                false => sync(&mut a, &mut liar),
            };
            assert!(!sent.is_empty());
            assert_eq!((heads(&a), get(&a.stronghold, RECORD)), ([kept].into(), Some("kept".into())));
            assert!(history(&a).iter().all(|info| info.revision != forged));
        }
    }
}

/// A step of a random history of one record on three devices.
#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Remove(usize),
    /// All heads of one device go to another, in this order.
    Give(usize, usize, Vec<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    let two = (0..3usize, 1..3usize).prop_map(|(one, by)| (one, (one + by) % 3));
    let order = Just((0..8).collect::<Vec<usize>>()).prop_shuffle();
    prop_oneof![
        3 => (0..3usize).prop_map(Step::Write),
        1 => (0..3usize).prop_map(Step::Remove),
        4 => (two, order).prop_map(|((from, to), order)| Step::Give(from, to, order)),
    ]
}

/// An oracle that never forgets: the past of every revision, and the revisions that a device knows.
#[derive(Default)]
struct Oracle {
    past: BTreeMap<RevisionId, BTreeSet<RevisionId>>,
    known: [BTreeSet<RevisionId>; 3],
}

impl Oracle {
    fn heads(&self, on: usize) -> BTreeSet<RevisionId> {
        let known = &self.known[on];
        let replaced: BTreeSet<RevisionId> = known.iter().flat_map(|id| &self.past[id]).copied().collect();
        known.difference(&replaced).copied().collect()
    }

    fn written(&mut self, on: usize, id: RevisionId) {
        self.past.insert(id, self.known[on].clone());
        self.known[on].insert(id);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: effort::count("cases", 500) as u32,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x11_57),
        ..ProptestConfig::default()
    })]

    /// Every id in a list was replaced by the list's head, and none is missing; heads are those of
    /// the oracle, whatever the order of entries in a batch, and again after the same batch.
    #[test]
    fn lists_are_sound_and_complete(steps in proptest::collection::vec(step(), 1..40)) {
        let (mut devices, mut oracle): ([Stronghold; 3], _) = (std::array::from_fn(|_| new()), Oracle::default());
        for step in steps {
            match step {
                Step::Write(on) => {
                    oracle.written(on, devices[on].write(&at(RECORD), b"value", Labels::new(), ms(1)).unwrap());
                }
                Step::Remove(on) => {
                    devices[on].remove(&at(RECORD), ms(1)).into_iter().for_each(|id| oracle.written(on, id));
                }
                Step::Give(from, to, order) => {
                    let entries = all_entries(&devices[from]);
                    let turned: Vec<Entry> = order.iter().filter_map(|at| entries.get(*at)).cloned().collect();
                    prop_assume!(turned.len() == entries.len());
                    import_all(&mut devices[to], &turned).unwrap();
                    let before = shapes(&devices[to]);
                    import_all(&mut devices[to], &entries).unwrap();
                    prop_assert_eq!(before, shapes(&devices[to]), "again, in another order");
                    let known = oracle.known[from].clone();
                    oracle.known[to].extend(known);
                }
            }
            for (on, device) in devices.iter().enumerate() {
                let held = shapes(device);
                let ids: BTreeSet<RevisionId> = held.iter().map(|head| head.revision).collect();
                prop_assert_eq!(ids, oracle.heads(on));
                for head in held {
                    let past: BTreeSet<ShortId> =
                        oracle.past[&head.revision].iter().map(RevisionId::short).collect();
                    let list: BTreeSet<ShortId> = head.ancestors.as_slice().iter().copied().collect();
                    prop_assert_eq!(list.len(), head.ancestors.as_slice().len(), "none twice");
                    prop_assert!(list.len() <= MAX_ANCESTORS);
                    prop_assert_eq!(list, past);
                }
            }
        }
    }
}
