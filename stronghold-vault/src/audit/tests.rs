//! Tests of the log: which decisions share an entry, what is kept, and what tampering is detected.

use super::{checkpoint::tampered, *};
use crate::ages::ms;

fn decided(device: u8, allowed: bool) -> AuditRecord {
    AuditRecord {
        time: ms(1),
        device: DeviceId::from_bytes([device; 32]),
        action: AuditAction::Pull,
        selection: "wallet/**".into(),
        allowed,
        entries: 0,
        bytes: 0,
    }
}

fn counts(log: &AuditLog) -> Vec<u64> {
    log.entries().map(|logged| logged.count).collect()
}

fn encoded(log: &AuditLog) -> usize {
    rmp_serde::to_vec(log).unwrap().len()
}

#[test]
fn equal_decisions_of_one_device_and_day_are_one_entry() {
    let mut log = AuditLog::default();
    for time in (0..1000).map(ms) {
        log.append(AuditRecord { time, ..decided(1, false) });
        log.append(AuditRecord { time, entries: 2, bytes: 10, ..decided(2, true) });
    }
    assert_eq!(counts(&log), [1000, 1000]);
    log.append(decided(1, true));
    log.append(AuditRecord { time: ms(DAY - 1), ..decided(1, false) });
    log.append(AuditRecord { action: AuditAction::Browse, ..decided(1, false) });
    assert_eq!(counts(&log), [1001, 1000, 1, 1]);
    log.append(AuditRecord { time: ms(DAY), ..decided(1, false) });
    assert_eq!(counts(&log), [1001, 1000, 1, 1, 1], "another day");
    let other = log.entries().nth(1).unwrap();
    assert_eq!((other.first, other.last, other.entries, other.bytes), (ms(0), ms(999), 2000, 10_000));
    assert!(log.is_intact());
}

#[test]
fn a_long_selection_is_cut_and_told_apart_by_its_hash() {
    let mut log = AuditLog::default();
    let long = "\u{e9}".repeat(60_000);
    for end in ["a", "a", "b"] {
        log.append(AuditRecord { selection: format!("{long}{end}"), ..decided(1, true) });
    }
    log.append(AuditRecord { selection: "\u{e9}".repeat(MAX_SELECTION_LEN), ..decided(1, true) });
    assert_eq!(counts(&log), [2, 1, 1]);
    let [one, other, short] = [0, 1, 2].map(|at| log.entries().nth(at).unwrap());
    assert_eq!((one.selection.chars().count(), &one.selection), (MAX_SELECTION_LEN, &other.selection));
    assert!(one.whole.is_some() && one.whole != other.whole && short.whole.is_none());
    assert_eq!(one.whole.unwrap().as_bytes()[..], Sha256::digest(format!("{long}a"))[..]);
}

/// A device that keeps changing its selection uses up only its own entries of the day; other
/// devices lose none.
#[test]
fn one_device_can_not_fill_the_log() {
    let mut log = AuditLog::default();
    log.append(decided(2, true));
    for number in 0..20_000 {
        log.append(AuditRecord { selection: format!("{number:0300}"), ..decided(1, number % 2 == 0) });
    }
    assert_eq!(log.entries().count(), 1 + MAX_SELECTIONS_PER_DAY + 2);
    assert_eq!(log.entries().map(|logged| logged.count).sum::<u64>(), 20_001);
    assert!(log.is_intact() && log.totals().is_empty() && encoded(&log) < 40_000);
    let further = |log: &AuditLog| log.entries().last().unwrap().whole;
    let before = further(&log);
    log.append(AuditRecord { selection: "yet another".into(), ..decided(1, false) });
    assert_ne!(further(&log), before);
}

#[test]
fn the_oldest_entries_become_sums_and_nothing_is_uncounted() {
    let mut log = AuditLog::default();
    for day in 0..250 {
        for number in 0..40 {
            let time = ms(day * DAY + number);
            let selection = format!("{number:0400}");
            log.append(AuditRecord {
                time,
                selection,
                entries: 1,
                bytes: 3,
                ..decided(1 + (day % 2) as u8, true)
            });
        }
    }
    let kept: u64 = counts(&log).iter().sum();
    let folded: u64 = log.totals().iter().map(|sum| sum.count).sum();
    assert_eq!((kept + folded, log.totals().len()), (10_000, 2));
    assert!(folded > 4_000 && kept > 3_000, "{folded} and {kept}");
    assert!((MAX_BYTES * 3 / 4..=MAX_BYTES).contains(&encoded(&log)), "{}", encoded(&log));
    assert_eq!((log.totals()[0].first, log.totals()[0].bytes), (ms(0), 3 * log.totals()[0].count));
    assert!(log.is_intact());

    let stored = rmp_serde::to_vec(&log).unwrap();
    let loaded = || rmp_serde::from_slice::<AuditLog>(&stored).unwrap();
    assert!(loaded().is_intact());
    for tamper in tampered() {
        let mut log = loaded();
        tamper(&mut log.checkpoint);
        assert!(!log.is_intact());
    }
}

#[test]
fn every_field_of_an_entry_is_in_the_chain() {
    let log = || {
        let mut log = AuditLog::default();
        (1..4).for_each(|device| {
            log.append(AuditRecord { selection: "x".repeat(300), ..decided(device, true) })
        });
        log
    };
    assert!(log().is_intact());
    let changes: [fn(&mut AuditEntry); 10] = [
        |logged| logged.device = DeviceId::from_bytes([9; 32]),
        |logged| logged.action = AuditAction::Push,
        |logged| logged.selection.push('x'),
        |logged| logged.whole = Some(SelectionHash::of([b"other", b""])),
        |logged| logged.allowed = false,
        |logged| logged.count += 1,
        |logged| logged.first = Timestamp::MAX,
        |logged| logged.last = Timestamp::MAX,
        |logged| logged.entries += 1,
        |logged| logged.bytes += 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        for at in 0..3 {
            let mut log = log();
            change(&mut log.entries[at].logged);
            assert!(!log.is_intact(), "change {number} of entry {at}");
        }
    }
    let mut without = log();
    without.entries.remove(1);
    assert!(!without.is_intact());
    let mut exchanged = log();
    exchanged.entries.swap(0, 1);
    assert!(!exchanged.is_intact());
}

#[test]
fn what_was_collected_elsewhere_is_counted_as_if_here() {
    let (mut log, mut collected) = (AuditLog::default(), AuditLog::default());
    log.append(decided(1, false));
    (0..5).for_each(|_| collected.append(decided(1, false)));
    collected.append(decided(2, true));
    assert!(!collected.is_empty());
    log.absorb(&collected);
    assert_eq!(counts(&log), [6, 1]);
    assert!(log.is_intact() && AuditLog::default().is_empty());
}

#[test]
fn sums_that_were_collected_elsewhere_are_added_to_those_here() {
    let (mut log, mut collected) = (AuditLog::default(), AuditLog::default());
    log.append(AuditRecord { time: ms(5), entries: 1, bytes: 10, ..decided(2, true) });
    log.append(AuditRecord { time: ms(6), ..decided(3, true) });
    collected.append(AuditRecord { time: ms(9), entries: 2, bytes: 20, ..decided(2, true) });
    collected.append(AuditRecord { time: ms(2), entries: 4, bytes: 40, ..decided(2, true) });
    collected.append(AuditRecord { time: ms(7), action: AuditAction::Browse, ..decided(1, false) });
    collected.append(AuditRecord { time: ms(8), ..decided(4, true) });
    log.fold_first(2);
    collected.fold_first(2);
    assert!(!log.is_empty() && log.entries().next().is_none(), "sums alone are something");
    log.absorb(&collected);
    let sum = |device: u8, deed, allowed, count, first, last, entries, bytes| AuditTotal {
        device: DeviceId::from_bytes([device; 32]),
        action: deed,
        allowed,
        count,
        first: ms(first),
        last: ms(last),
        entries,
        bytes,
    };
    let expected = [
        sum(1, AuditAction::Browse, false, 1, 7, 7, 0, 0),
        sum(2, AuditAction::Pull, true, 3, 2, 9, 7, 70),
        sum(3, AuditAction::Pull, true, 1, 6, 6, 0, 0),
    ];
    assert_eq!(log.totals(), expected);
    assert_eq!((counts(&log), log.is_intact()), (vec![1], true));
}

#[test]
fn what_is_counted_does_not_overflow() {
    let most = AuditRecord { entries: u64::MAX, bytes: u64::MAX - 1, ..decided(1, true) };
    let mut log = AuditLog::default();
    for time in [5, 3, 4].map(ms) {
        log.append(AuditRecord { time, ..most.clone() });
    }
    let held = log.entries().next().unwrap().clone();
    assert_eq!((held.count, held.first, held.last), (3, ms(3), ms(5)));
    assert_eq!((held.entries, held.bytes), (u64::MAX, u64::MAX));
    log.entries[0].logged.count = u64::MAX;
    log.append(most.clone());
    assert_eq!(counts(&log), [u64::MAX]);
    let other = AuditLog { checkpoint: Checkpoint::default(), entries: Vec::new() };
    log.fold_first(1);
    log.absorb(&other);
    log.append(most);
    log.fold_first(1);
    let sum = &log.totals()[0];
    assert_eq!((log.totals().len(), sum.count, sum.entries, sum.bytes), (1, u64::MAX, u64::MAX, u64::MAX));
}

/// A device of its own for each entry, of which each weighs 256 bytes: `full` of them are as many
/// as the log holds.
fn weighing(number: usize) -> AuditEntry {
    let mut device = [0; 32];
    device[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let device = DeviceId::from_bytes(device);
    let logged = AuditEntry::from(AuditRecord { device, selection: "x".repeat(80), ..decided(0, true) });
    assert_eq!(logged.weight(), 256);
    logged
}

#[test]
fn no_entry_is_folded_until_the_log_is_over_its_limit_and_then_an_eighth_is() {
    let full = MAX_BYTES / 256;
    let mut log = AuditLog::default();
    log.entries.extend((1..full).map(|number| ChainedEntry { logged: weighing(number), hash: [0; 32] }));
    log.rehash(0);
    log.add(weighing(full));
    assert_eq!((log.entries().count(), log.totals().len(), log.is_intact()), (full, 0, true));
    log.add(weighing(full + 1));
    assert_eq!(log.entries().count(), AFTER_FOLDING / 256);
    assert_eq!(log.totals().len(), full + 1 - AFTER_FOLDING / 256, "each device has a sum");
    assert_eq!(log.entries().last(), Some(&weighing(full + 1)), "the newest are left");
    assert!(log.is_intact());
    log.add(weighing(1));
    assert!(log.is_intact(), "the chain goes on");
}

#[test]
fn an_entry_weighs_no_less_than_it_takes() {
    for selection in ["", "wallet/**", &"x".repeat(MAX_SELECTION_LEN), &"x".repeat(MAX_SELECTION_LEN + 1)] {
        let mut log = AuditLog::default();
        let empty = encoded(&log);
        let most = u64::MAX;
        let selection = selection.to_owned();
        log.append(AuditRecord {
            time: ms(most),
            selection,
            entries: most,
            bytes: most,
            ..decided(0xFF, true)
        });
        log.entries[0].logged.count = most;
        let (weight, taken) = (log.entries[0].logged.weight(), encoded(&log) - empty);
        let whole = if log.entries[0].logged.whole.is_some() { 33 } else { 0 };
        assert_eq!(weight, 176 + log.entries[0].logged.selection.len() + whole);
        assert!((weight - 80..=weight).contains(&taken), "{taken} bytes, as {weight}");
    }
}

#[test]
fn the_sixty_fifth_selection_of_a_day_is_counted_with_all_further_ones() {
    let mut log = AuditLog::default();
    let asked = |selection: &str| AuditRecord { selection: selection.into(), ..decided(1, true) };
    // Who asks for what that entry is called has asked for it as for anything else.
    log.append(asked(FURTHER_SELECTIONS));
    (1..MAX_SELECTIONS_PER_DAY).for_each(|number| log.append(asked(&number.to_string())));
    assert_eq!(log.entries().count(), MAX_SELECTIONS_PER_DAY);
    assert!(log.entries().all(|logged| logged.whole.is_none()));
    let long = "y".repeat(MAX_SELECTION_LEN + 1);
    let hash = |parts: &[&[u8]]| <[u8; 32]>::from(Sha256::digest(parts.concat()));
    let one = hash(&[b"one"]);
    let two = hash(&[&one, b"two"]);
    let three = hash(&[&two, &hash(&[long.as_bytes()])]);
    for (number, (selection, whole)) in [("one", one), ("two", two), (&long, three)].into_iter().enumerate() {
        log.append(AuditRecord { time: ms(2 + number as u64), entries: 1, bytes: 10, ..asked(selection) });
        let number = 1 + number as u64;
        let expected = AuditEntry {
            device: DeviceId::from_bytes([1; 32]),
            action: AuditAction::Pull,
            selection: "(further selections)".into(),
            whole: Some(SelectionHash(whole)),
            allowed: true,
            count: number,
            first: ms(2),
            last: ms(1 + number),
            entries: number,
            bytes: 10 * number,
        };
        assert_eq!(log.entries().last(), Some(&expected));
        assert_eq!(log.entries().count(), MAX_SELECTIONS_PER_DAY + 1);
    }
    log.append(AuditRecord { allowed: false, ..asked("one") });
    log.append(asked("7"));
    log.append(AuditRecord { time: ms(DAY), ..asked("one") });
    log.append(AuditRecord { device: DeviceId::from_bytes([2; 32]), ..asked("one") });
    let counts = counts(&log);
    assert_eq!(
        counts[MAX_SELECTIONS_PER_DAY..],
        [3, 1, 1, 1],
        "not of what is refused, another day's or another's"
    );
    assert_eq!((counts[0], counts[7]), (1, 2), "what it has asked before is counted there");
    let words: Vec<&str> =
        log.entries().skip(MAX_SELECTIONS_PER_DAY).map(|logged| logged.selection.as_str()).collect();
    assert_eq!(words, [FURTHER_SELECTIONS, FURTHER_SELECTIONS, "one", "one"]);
    assert!(log.is_intact());
}

#[test]
fn each_deed_has_its_name_and_each_operation_is_one() {
    let names = [
        (AuditAction::Import, "import"),
        (AuditAction::Browse, "browse"),
        (AuditAction::Pull, "pull"),
        (AuditAction::Push, "push"),
        (AuditAction::Delete, "delete"),
        (AuditAction::Revoked, "revoked"),
        (AuditAction::Took, "took"),
        (AuditAction::TookDeletions, "took deletions"),
        (AuditAction::Gave, "gave"),
        (AuditAction::Renewed, "renewed"),
    ];
    for (deed, name) in names {
        assert_eq!(deed.name(), name);
    }
    for operation in Operation::ALL {
        assert_eq!(AuditAction::from(operation).name(), operation.name());
    }
    let about = AuditRecord::about(DeviceId::from_bytes([7; 32]), AuditAction::Renewed, ms(9));
    let (deed, selection) = (AuditAction::Renewed, String::new());
    assert_eq!(about, AuditRecord { time: ms(9), action: deed, selection, ..decided(7, true) });
}

#[test]
fn decisions_collected_elsewhere_are_in_the_log_of_the_stronghold() {
    let mut collected = AuditLog::default();
    collected.append(decided(1, true));
    collected.append(decided(1, true));
    let mut stronghold = crate::Stronghold::new("a").unwrap();
    stronghold.log_decision(decided(2, false));
    stronghold.log_decisions(&collected);
    assert_eq!(counts(stronghold.log()), [1, 2]);
    assert!(stronghold.log().is_intact());
}
