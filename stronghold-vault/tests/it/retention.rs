//! Retention of replaced values and of the knowledge about them: no device's writes wash away
//! another device's value, and no number of edits brings an old value back.

use crate::common::{at, copy, get, merge, ms, new, put};
use proptest::prelude::*;
use stronghold_vault::{RETENTION, Stronghold};

const R: &str = "wallet/web/bank";
const DAY: u64 = 24 * 60 * 60 * 1000;
/// The retention time, in milliseconds.
const KEPT: u64 = RETENTION.as_millis() as u64;

fn values(stronghold: &Stronghold) -> Vec<String> {
    let history = stronghold.history(&at(R)).unwrap();
    let open = |version: &stronghold_vault::RevisionInfo| {
        let value = stronghold.read_revision(&at(R), &version.revision).unwrap().value;
        String::from_utf8(value.to_vec()).unwrap()
    };
    history.iter().filter(|version| !version.deleted).map(open).collect()
}

#[test]
fn fourteen_pushes_of_nothing_leave_the_owners_value_in_the_history() {
    let (mut here, mut phone) = (new(), new());
    put(&mut here, R, "original", 1);
    merge(&mut phone, &here, 1);
    for n in 0..14 {
        put(&mut phone, R, "", n);
        merge(&mut here, &phone, n);
    }
    assert_eq!(get(&here, R).as_deref(), Some(""));
    assert!(values(&here).contains(&"original".to_owned()));
    // Kept for 90 days after replacement; later it goes with the next write.
    put(&mut phone, R, "", KEPT - 1);
    merge(&mut here, &phone, KEPT - 1);
    assert!(values(&here).contains(&"original".to_owned()));
    put(&mut phone, R, "", KEPT + DAY);
    merge(&mut here, &phone, KEPT + DAY);
    assert!(!values(&here).contains(&"original".to_owned()));
}

#[test]
fn eighty_heads_and_one_over_them_leave_the_owners_value_in_the_history() {
    let mut here = new();
    put(&mut here, R, "original", 1);
    let mut phone = new();
    merge(&mut phone, &here, 1);
    let common = copy(&phone);
    for n in 0..80 {
        let mut beside = copy(&common);
        put(&mut beside, R, &format!("head {n}"), 2);
        merge(&mut phone, &beside, 2);
    }
    merge(&mut here, &phone, 2);
    put(&mut phone, R, "", 3);
    merge(&mut here, &phone, 3);
    assert!(values(&here).contains(&"original".to_owned()));
    put(&mut phone, R, "", 4);
    merge(&mut here, &phone, 4);
    assert!(values(&here).contains(&"original".to_owned()));
}

#[test]
fn what_one_device_delivers_does_not_wash_away_what_another_did() {
    let (mut here, mut laptop, mut phone) = (new(), new(), new());
    put(&mut laptop, R, "of the laptop", 1);
    merge(&mut here, &laptop, 1);
    merge(&mut phone, &here, 1);
    for n in 0..30 {
        put(&mut phone, R, "", n);
        merge(&mut here, &phone, n);
        let _ = here.remove(&at(R), ms(n)); // nor does a deletion count as a value
    }
    assert!(values(&here).contains(&"of the laptop".to_owned()));
}

#[test]
fn who_wrote_a_revision_and_who_brought_it_are_told_and_a_foreign_time_is_no_later_than_it_came() {
    let (mut here, mut laptop, mut phone) = (new(), new(), new());
    put(&mut phone, R, "attacker", u64::MAX);
    merge(&mut laptop, &phone, 50);
    put(&mut here, R, "own", 200);
    merge(&mut here, &laptop, 100);
    let reading = here.read(&at(R)).unwrap();
    assert_eq!((&**reading.revision.value, reading.modified, reading.conflict), (&b"own"[..], ms(200), true));
    let history = here.history(&at(R)).unwrap();
    let foreign = history.iter().find(|version| version.via.is_some()).unwrap();
    assert_eq!(foreign.author, Some(phone.identity().device()));
    assert_eq!((foreign.via, foreign.time), (Some(laptop.identity().device()), ms(100)));
    let own = history.iter().find(|version| version.via.is_none()).unwrap();
    assert_eq!(own.author, Some(here.identity().device()));
    assert_eq!(copy(&here).history(&at(R)).unwrap(), history, "also after it was stored");
    assert_eq!(
        here.list(&"**".parse().unwrap()).collect::<Result<Vec<_>, _>>().unwrap()[0].modified,
        ms(200)
    );
}

#[test]
fn an_edit_to_an_empty_value_beside_a_deletion_is_a_conflict() {
    let (mut here, mut there) = (new(), new());
    put(&mut here, R, "value", 1);
    merge(&mut there, &here, 1);
    put(&mut here, R, "", 2);
    there.remove(&at(R), ms(2)).unwrap();
    merge(&mut here, &there, 3);
    assert!(here.read(&at(R)).unwrap().conflict);
}

/// Writes `edits` times, and then deletes if `deleted`, while the other device is away; then both
/// sync, in both directions and once more.
fn edits_while_away(edits: u64, deleted: bool) {
    let (mut here, mut away) = (new(), new());
    put(&mut here, R, "first", 1);
    merge(&mut away, &here, 1);
    for n in 0..edits {
        put(&mut here, R, &n.to_string(), 2);
    }
    if deleted {
        here.remove(&at(R), ms(3)).unwrap();
    }
    let expected = (!deleted).then(|| (edits - 1).to_string());
    for _ in 0..2 {
        merge(&mut here, &away, 4);
        merge(&mut away, &here, 4);
        for side in [&here, &away] {
            assert_eq!(get(side, R), expected, "{edits} edits");
            assert!(!side.is_conflict(&at(R).id()).unwrap());
            assert_eq!(side.history(&at(R)).unwrap().iter().filter(|version| version.head).count(), 1);
        }
    }
}

#[test]
fn three_hundred_and_five_thousand_edits_do_not_bring_an_old_value_back() {
    for edits in [300, 5_000] {
        edits_while_away(edits, false);
        edits_while_away(edits, true);
    }
}

#[test]
fn nor_do_those_of_a_device_that_had_it_from_another() {
    let (mut here, mut there, mut away) = (new(), new(), new());
    put(&mut here, R, "first", 1);
    merge(&mut away, &here, 1);
    for turn in 0..3 {
        for n in 0..4_500 {
            put(&mut here, R, &format!("{turn}/{n}"), 2);
        }
        merge(&mut there, &here, 3);
        for n in 0..4_500 {
            put(&mut there, R, &format!("{turn}/{n}"), 4);
        }
        merge(&mut here, &copy(&there), 5);
    }
    here.remove(&at(R), ms(6)).unwrap();
    merge(&mut here, &away, 7);
    merge(&mut away, &here, 7);
    assert_eq!((get(&here, R), get(&away, R)), (None, None));
    assert_eq!(away.history(&at(R)).unwrap().iter().filter(|version| version.head).count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// However edits and syncs alternate among three devices, one of them away: the values that it
    /// still shows are replaced.
    #[test]
    fn what_has_travelled_is_never_cut_while_there_is_room(
        turns in proptest::collection::vec((0..2usize, 1..1_500u64, any::<bool>()), 1..8),
    ) {
        let mut devices = [new(), new()];
        let mut away = new();
        put(&mut devices[0], R, "first", 1);
        merge(&mut away, &devices[0], 1);
        let first = copy(&devices[0]);
        merge(&mut devices[1], &first, 1);
        for (who, edits, meet) in turns {
            for n in 0..edits {
                put(&mut devices[who], R, &n.to_string(), 2);
            }
            if meet {
                let [one, two] = &mut devices;
                merge(one, two, 3);
                merge(two, one, 3);
            }
        }
        for device in &mut devices {
            let heads = |of: &Stronghold| of.history(&at(R)).unwrap().iter().filter(|version| version.head).count();
            let before = heads(device);
            merge(device, &away, 4);
            prop_assert_eq!(heads(device), before, "the old value is known to be replaced");
        }
    }
}
